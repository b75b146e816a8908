/* SPDX-License-Identifier: MIT */
/* The sections of `tarn dump`: each prints itself, as text or as one member of a JSON object. */
#ifndef TARN_TOOLS_DUMP_H
#define TARN_TOOLS_DUMP_H

#include "tools/decode.h"
#include "tools/segment.h"

struct dump {
    struct segment segment;
    bool json;
    uint64_t page_id; /* of section page */
};

/* Each returns an exit status. */
int dump_superblock(struct dump *dump);
int dump_options(struct dump *dump);
int dump_sessions(struct dump *dump);
int dump_files(struct dump *dump);
int dump_counts(struct dump *dump); /* frames by state, and what the writer says */
int dump_frames(struct dump *dump);
int dump_table(struct dump *dump);
int dump_page(struct dump *dump);
int dump_holds(struct dump *dump);
int dump_waits(struct dump *dump);

/* Adds what names a session in a row: slot, name, pid, process. */
void dump_session_key(struct dump *dump, struct json_object *row, unsigned slot);

/* Prints an object as the section `name`, and frees it. */
void dump_object(struct dump *dump, const char *name, struct json_object *object);

#endif
