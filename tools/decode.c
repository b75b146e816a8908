/* SPDX-License-Identifier: MIT */
#include "tools/decode.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "shm/words.h"
#include "tools/tool.h"

static const char *const frame_states[] = {"FREE", "CLAIMED", "VALID", "EVICTING"};
static const char *const mtr_states[] = {"NONE", "ACTIVE", "COMMITTED", "?"};
static const char *const request_states[] = {"NONE", "ASKED", "DONE", "?"};

void decode_frame_word(struct json_object *object, const char *key, uint64_t word)
{
    struct json_object *decoded = json_object_new_object();
    tool_json_text(decoded, "state", frame_states[frame_word_state(word)]);
    tool_json_count(decoded, "generation", frame_word_generation(word));
    tool_json_count(decoded, "owner", frame_word_owner(word));
    tool_json_bool(decoded, "waiters", word & FRAME_WAITERS);
    tool_json_bool(decoded, "revocable", word & FRAME_REVOCABLE);
    json_object_object_add(object, key, decoded);
}

void decode_latch_word(struct json_object *object, const char *key, uint64_t word)
{
    struct json_object *decoded = json_object_new_object();
    tool_json_count(decoded, "owner", latch_word_owner(word));
    tool_json_count(decoded, "version", word >> LATCH_VERSION_SHIFT);
    tool_json_bool(decoded, "waiters", word & LATCH_WAITERS);
    json_object_object_add(object, key, decoded);
}

void decode_dirty_word(struct json_object *object, const char *key, uint64_t word)
{
    struct json_object *decoded = json_object_new_object();
    tool_json_bool(decoded, "dirty", dirty_word_dirty(word));
    tool_json_count(decoded, "mark", dirty_word_mark(word));
    json_object_object_add(object, key, decoded);
}

void decode_mtr_word(struct json_object *object, const char *key, uint64_t word)
{
    struct json_object *decoded = json_object_new_object();
    tool_json_text(decoded, "state", mtr_states[mtr_word_state(word)]);
    tool_json_count(decoded, "pages", mtr_word_count(word));
    tool_json_count(decoded, "serial", mtr_word_serial(word));
    json_object_object_add(object, key, decoded);
}

void decode_request_word(struct json_object *object, const char *key, uint64_t word)
{
    struct json_object *decoded = json_object_new_object();
    tool_json_text(decoded, "state", request_states[request_word_state(word)]);
    tool_json_count(decoded, "errno", (uint64_t)-request_word_result(word));
    tool_json_count(decoded, "serial", request_word_serial(word));
    json_object_object_add(object, key, decoded);
}

static void decode_entry_word(struct json_object *object, const char *key, uint64_t word)
{
    struct json_object *decoded = json_object_new_object();
    tool_json_count(decoded, "frame_plus_one", entry_frame_plus_one(word));
    tool_json_count(decoded, "tag", entry_tag(word));
    tool_json_count(decoded, "generation", entry_generation(word));
    tool_json_bool(decoded, "more", word & ENTRY_MORE);
    json_object_object_add(object, key, decoded);
}

static void decode_mtr_entry_word(struct json_object *object, const char *key, uint64_t word)
{
    struct json_object *decoded = json_object_new_object();
    tool_json_count(decoded, "frame_plus_one", mtr_entry_frame_plus_one(word));
    tool_json_count(decoded, "shadow_plus_one", mtr_entry_shadow_plus_one(word));
    tool_json_bool(decoded, "ranges", word & MTR_ENTRY_RANGES);
    json_object_object_add(object, key, decoded);
}

static void decode_wait_word(struct json_object *object, const char *key, uint64_t word)
{
    struct json_object *decoded = json_object_new_object();
    tool_json_text(decoded, "what", decode_wait(word & 255));
    tool_json_count(decoded, "object", word >> 8);
    json_object_object_add(object, key, decoded);
}

static void decode_file_word(struct json_object *object, const char *key, uint64_t word)
{
    static const char *const states[] = {"FREE", "OPEN", "DROPPED", "?"};
    static const char *const kinds[] = {"raw", "temporary", "?", "?"};
    struct json_object *decoded = json_object_new_object();
    tool_json_text(decoded, "state", states[file_word_state(word)]);
    tool_json_text(decoded, "kind", kinds[file_word_kind(word)]);
    tool_json_bool(decoded, "direct", file_word_direct(word));
    tool_json_count(decoded, "incarnation", file_word_incarnation(word));
    json_object_object_add(object, key, decoded);
}

static void decode_hold(struct json_object *object, const char *key, uint64_t word)
{
    struct json_object *decoded = json_object_new_object();
    tool_json_count(decoded, "frame_plus_one", hold_frame_plus_one((uint32_t)word));
    tool_json_bool(decoded, "shared", word & HOLD_SHARED);
    json_object_object_add(object, key, decoded);
}

void decode_page(struct json_object *object, const char *key, uint64_t page_id)
{
    tool_json_print(object, key, "%" PRIu32 ":%" PRIu64, page_id_file(page_id),
                    page_id_number(page_id));
}

void decode_hex(struct json_object *object, const char *key, uint64_t word)
{
    tool_json_print(object, key, "0x%016" PRIx64, word);
}

void decode_named(struct json_object *object, const char *name, uint64_t value)
{
    static const struct {
        const char *name;
        void (*decode)(struct json_object *object, const char *key, uint64_t word);
    } decoders[] = {
        {"frame_word", decode_frame_word},
        {"other_frame_word", decode_frame_word},
        {"latch_word", decode_latch_word},
        {"dirty_word", decode_dirty_word},
        {"mtr_word", decode_mtr_word},
        {"mtr_entry_word", decode_mtr_entry_word},
        {"request_word", decode_request_word},
        {"entry_word", decode_entry_word},
        {"wait_word", decode_wait_word},
        {"file_word", decode_file_word},
        {"hold", decode_hold},
        {"page", decode_page},
        {"sticky", decode_hex},
    };
    for (size_t i = 0; i < sizeof decoders / sizeof decoders[0]; i++)
        if (strcmp(decoders[i].name, name) == 0) {
            decoders[i].decode(object, name, value);
            return;
        }
    tool_json_count(object, name, value);
}

const char *decode_wait(uint64_t what)
{
    static const char *const names[WAIT_COUNT] = {
#define X(upper, lower) #lower,
        TARN_WAITS(X)
#undef X
    };
    return what < WAIT_COUNT ? names[what] : "?";
}

const char *decode_role(uint64_t role)
{
    static const char *const names[] = {"session", "writer", "standby", "tool"};
    return role < sizeof names / sizeof names[0] ? names[role] : "?";
}

/* Text. */

static bool is_nothing(struct json_object *value)
{
    switch (json_object_get_type(value)) {
    case json_type_null:
        return true;
    case json_type_boolean:
        return !json_object_get_boolean(value);
    case json_type_int:
        return json_object_get_uint64(value) == 0;
    default:
        return false;
    }
}

static void print_braces(struct json_object *object, FILE *out)
{
    const char *before = "";
    fputc('{', out);
    json_object_object_foreach(object, key, value)
    {
        if (is_nothing(value))
            continue;
        if (json_object_is_type(value, json_type_boolean))
            fprintf(out, "%s%s", before, key);
        else if (json_object_is_type(value, json_type_string))
            fprintf(out, "%s%s", before, json_object_get_string(value));
        else
            fprintf(out, "%s%s %s", before, key, json_object_get_string(value));
        before = ", ";
    }
    fputc('}', out);
}

/* Names and paths are other people's bytes: a terminal gets no control characters of theirs. */
static void print_plain(const char *text, FILE *out)
{
    for (; *text != 0; text++)
        fputc((unsigned char)*text < ' ' || *text == 0x7f ? '?' : *text, out);
}

static void print_value(struct json_object *value, FILE *out)
{
    switch (json_object_get_type(value)) {
    case json_type_null:
        fputc('-', out);
        break;
    case json_type_boolean:
        fputs(json_object_get_boolean(value) ? "yes" : "no", out);
        break;
    case json_type_object:
        print_braces(value, out);
        break;
    case json_type_array:
        for (size_t i = 0; i < json_object_array_length(value); i++) {
            fputs(i > 0 ? ", " : "", out);
            print_value(json_object_array_get_idx(value, i), out);
        }
        break;
    default:
        print_plain(json_object_get_string(value), out);
    }
}

void decode_print(struct json_object *value, char *text, size_t text_bytes)
{
    FILE *out = fmemopen(text, text_bytes, "w");
    text[0] = 0;
    if (out == NULL)
        return;
    print_value(value, out);
    fclose(out);
    text[text_bytes - 1] = 0;
}

static void print_cells(struct rows *rows, struct json_object *row)
{
    char text[1200];
    unsigned column = 0;
    json_object_object_foreach(row, key, value)
    {
        bool last = ++column == (unsigned)json_object_object_length(row);
        bool number = json_object_is_type(value, json_type_int) ||
                      json_object_is_type(value, json_type_double);
        (void)key;
        decode_print(value, text, sizeof text);
        int width = column <= 24 ? (int)rows->width[column - 1] : 0;
        if (number)
            printf("%*s%s", width, text, last ? "\n" : "  ");
        else
            printf("%-*s%s", last ? 0 : width, text, last ? "\n" : "  ");
    }
}

static void measure(struct rows *rows, struct json_object *row)
{
    char text[1200];
    unsigned column = 0;
    json_object_object_foreach(row, key, value)
    {
        decode_print(value, text, sizeof text);
        unsigned width = (unsigned)strlen(text), head = (unsigned)strlen(key);
        width = width > head ? width : head;
        if (column < 24 && rows->width[column] < width)
            rows->width[column] = width;
        column++;
    }
}

/* The first rows, with the names of the columns. */
static void print_pending(struct rows *rows)
{
    for (unsigned i = 0; i < rows->pending_count; i++)
        measure(rows, rows->pending[i]);
    unsigned column = 0;
    if (rows->pending_count > 0) {
        json_object_object_foreach(rows->pending[0], key, value)
        {
            bool number = json_object_is_type(value, json_type_int) ||
                          json_object_is_type(value, json_type_double);
            int width = column < 24 ? (int)rows->width[column] : 0;
            bool last = ++column == (unsigned)json_object_object_length(rows->pending[0]);
            printf(number ? "%*s%s" : "%-*s%s", last && !number ? 0 : width, key,
                   last ? "\n" : "  ");
        }
    }
    for (unsigned i = 0; i < rows->pending_count; i++) {
        print_cells(rows, rows->pending[i]);
        json_object_put(rows->pending[i]);
    }
    rows->pending_count = 0;
    rows->begun = true;
}

void rows_begin(struct rows *rows, bool json, const char *name)
{
    *rows = (struct rows){.json = json};
    if (json)
        printf("\"%s\": [", name);
    else
        printf("%s:\n", name);
}

void rows_add(struct rows *rows, struct json_object *row)
{
    if (rows->json) {
        printf("%s%s", rows->begun ? ",\n" : "\n",
               json_object_to_json_string_ext(row, JSON_C_TO_STRING_SPACED |
                                                       JSON_C_TO_STRING_NOSLASHESCAPE));
        json_object_put(row);
        rows->begun = true;
        return;
    }
    if (rows->begun) {
        print_cells(rows, row);
        json_object_put(row);
        return;
    }
    rows->pending[rows->pending_count++] = row;
    if (rows->pending_count == sizeof rows->pending / sizeof rows->pending[0])
        print_pending(rows);
}

void rows_end(struct rows *rows)
{
    if (rows->json)
        printf("]");
    else if (!rows->begun && rows->pending_count == 0)
        puts("  none");
    else if (!rows->begun)
        print_pending(rows);
}

void decode_print_lines(struct json_object *object)
{
    char text[1200];
    json_object_object_foreach(object, key, value)
    {
        decode_print(value, text, sizeof text);
        printf("  %-20s %s\n", key, text);
    }
}
