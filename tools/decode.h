/* SPDX-License-Identifier: MIT */
/* Words of a segment as objects that a program reads, and objects as text that people read. */
#ifndef TARN_TOOLS_DECODE_H
#define TARN_TOOLS_DECODE_H

#include <json-c/json.h>
#include <stdbool.h>
#include <stdint.h>

#include "shm/view.h"

/* Adds a decoded word under `key`. */
void decode_frame_word(struct json_object *object, const char *key, uint64_t word);
void decode_latch_word(struct json_object *object, const char *key, uint64_t word);
void decode_dirty_word(struct json_object *object, const char *key, uint64_t word);
void decode_mtr_word(struct json_object *object, const char *key, uint64_t word);
void decode_request_word(struct json_object *object, const char *key, uint64_t word);
void decode_page(struct json_object *object, const char *key, uint64_t page_id);
void decode_hex(struct json_object *object, const char *key, uint64_t word);

/* A value that the oracle names, by its name. */
void decode_named(struct json_object *object, const char *name, uint64_t value);

/* The word for WAIT_*, SLOT roles and kinds of requests; "?" for what is none. */
const char *decode_wait(uint64_t what);
const char *decode_role(uint64_t role);

/* The same as text, in one line: "{VALID, generation 17}". What is 0, false or null is left out of
 * braces. */
void decode_print(struct json_object *value, char *text, size_t text_bytes);

/* Rows of one kind to standard output: as a JSON array, or as columns under their names. */
struct rows {
    bool json;
    bool begun;
    unsigned pending_count;
    struct json_object *pending[64]; /* until the widths of the columns are known */
    unsigned width[24];
};

/* json: prints `"name": [`. */
void rows_begin(struct rows *rows, bool json, const char *name);

/* Takes the row. All rows have the same keys. */
void rows_add(struct rows *rows, struct json_object *row);
void rows_end(struct rows *rows);

/* An object as lines "key  value"; takes nothing. */
void decode_print_lines(struct json_object *object);

#endif
