/* SPDX-License-Identifier: MIT */
/* Sections frames, table and page. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "shm/table.h"
#include "tools/dump.h"
#include "tools/tool.h"

static void add_descriptor(struct json_object *row, const struct tarn_view *view, uint32_t frame)
{
    static const char *const hints[] = {"once", "cold", "loaded", "touched", "keep"};
    const struct tarn_descriptor *descriptor = &view->descriptors[frame];
    uint32_t hint = tarn_half_load_relaxed(&descriptor->hint);
    tool_json_count(row, "frame", frame);
    decode_frame_word(row, "frame_word", tarn_load_acquire(&descriptor->frame_word));
    decode_page(row, "page", tarn_load_relaxed(&descriptor->page_id));
    decode_latch_word(row, "latch_word", tarn_load_acquire(&descriptor->latch_word));
    decode_hex(row, "sticky_word", tarn_load_relaxed(&descriptor->sticky_word));
    decode_dirty_word(row, "dirty_word", tarn_load_relaxed(&descriptor->dirty_word));
    tool_json_text(row, "hint", hint <= HINT_KEEP ? hints[hint] : "?");
}

int dump_frames(struct dump *dump)
{
    const struct tarn_view *view = &dump->segment.pool.view;
    struct rows rows;
    rows_begin(&rows, dump->json, "frames");
    for (uint32_t frame = 0; frame < view->geometry.frame_count; frame++) {
        uint64_t word = tarn_load_acquire(&view->descriptors[frame].frame_word);
        if (frame_word_state(word) == FRAME_FREE)
            continue;
        struct json_object *row = json_object_new_object();
        add_descriptor(row, view, frame);
        rows_add(&rows, row);
    }
    rows_end(&rows);
    return TOOL_GOOD;
}

static void add_entry(struct rows *rows, const struct tarn_view *view, uint32_t bucket,
                      unsigned place)
{
    uint64_t entry = tarn_load_acquire(&view->buckets[bucket].entry[place]);
    uint32_t frame = entry_frame_plus_one(entry) - 1;
    if (entry_frame_plus_one(entry) == 0)
        return;
    struct json_object *row = json_object_new_object();
    tool_json_count(row, "bucket", bucket);
    tool_json_count(row, "place", place);
    tool_json_count(row, "frame", frame);
    tool_json_count(row, "tag", entry_tag(entry));
    tool_json_count(row, "generation", entry_generation(entry));
    tool_json_bool(row, "more", entry & ENTRY_MORE);
    bool live = tarn_entry_live(view, entry);
    tool_json_bool(row, "live", live);
    if (live) {
        uint64_t page_id = tarn_load_relaxed(&view->descriptors[frame].page_id);
        decode_page(row, "page", page_id);
        tool_json_count(row, "home", tarn_home_of(view, page_id).bucket);
    } else {
        json_object_object_add(row, "page", NULL);
        json_object_object_add(row, "home", NULL);
    }
    rows_add(rows, row);
}

int dump_table(struct dump *dump)
{
    const struct tarn_view *view = &dump->segment.pool.view;
    struct rows rows;
    rows_begin(&rows, dump->json, "table");
    for (uint32_t bucket = 0; bucket < view->geometry.bucket_count; bucket++)
        for (unsigned place = 0; place < TARN_BUCKET_WORDS; place++)
            add_entry(&rows, view, bucket, place);
    rows_end(&rows);
    if (dump->json)
        fputs(",\n", stdout);
    rows_begin(&rows, dump->json, "home_locks");
    for (uint32_t bucket = 0; bucket < view->geometry.bucket_count; bucket++) {
        uint64_t owner = tarn_load_acquire(&view->home_locks[bucket]);
        if (owner == 0)
            continue;
        struct json_object *row = json_object_new_object();
        tool_json_count(row, "bucket", bucket);
        tool_json_count(row, "owner", owner);
        rows_add(&rows, row);
    }
    rows_end(&rows);
    return TOOL_GOOD;
}

/* Copies a page that may change meanwhile; what was copied counts only if no word has changed. */
__attribute__((no_sanitize("thread"))) static void copy_page(uint64_t *bytes, const uint64_t *page,
                                                             size_t count)
{
    for (size_t i = 0; i < count; i++)
        bytes[i] = page[i];
}

#define COPY_TRIES 500

/* Returns the frame the page was copied from, TARN_NO_FRAME if it is not cached. *ret_whole: the
 * copy is of one moment, with nobody inside. */
static uint32_t copy_cached(struct dump *dump, uint64_t *bytes, bool *ret_whole)
{
    const struct tarn_view *view = &dump->segment.pool.view;
    uint32_t frame = TARN_NO_FRAME;
    *ret_whole = false;
    for (int tries = 0; tries < COPY_TRIES && !*ret_whole; tries++) {
        uint64_t word;
        if (tries > 0)
            tarn_sleep_ns(NS_PER_MS);
        frame = tarn_table_find(view, dump->page_id, &word);
        if (frame == TARN_NO_FRAME)
            continue;
        const struct tarn_descriptor *descriptor = &view->descriptors[frame];
        uint64_t latch = tarn_load_acquire(&descriptor->latch_word);
        copy_page(bytes, (const uint64_t *)(const void *)tarn_view_frame(view, frame),
                  view->geometry.page_bytes / 8);
        tarn_fence_load_load();
        *ret_whole = frame_word_state(word) != FRAME_CLAIMED && latch_word_owner(latch) == 0 &&
                     tarn_load_acquire(&descriptor->latch_word) == latch &&
                     frame_word_generation(tarn_load_acquire(&descriptor->frame_word)) ==
                         frame_word_generation(word);
    }
    return frame;
}

static void print_hex_json(const uint8_t *bytes, size_t count)
{
    fputs(",\n\"bytes\": \"", stdout);
    for (size_t i = 0; i < count; i++)
        printf("%02x", bytes[i]);
    putchar('"');
}

/* As hexdump -C: lines that repeat the one before become a star. */
static void print_hex(const uint8_t *bytes, size_t count)
{
    bool star = false;
    for (size_t at = 0; at < count; at += 16) {
        if (at > 0 && at + 16 < count && memcmp(bytes + at, bytes + at - 16, 16) == 0) {
            if (!star)
                puts("*");
            star = true;
            continue;
        }
        star = false;
        printf("%08zx ", at);
        for (size_t i = 0; i < 16; i++)
            printf("%s%02x", i == 8 ? "  " : " ", bytes[at + i]);
        fputs("  |", stdout);
        for (size_t i = 0; i < 16; i++)
            putchar(bytes[at + i] >= ' ' && bytes[at + i] < 0x7f ? bytes[at + i] : '.');
        puts("|");
    }
}

int dump_page(struct dump *dump)
{
    const struct tarn_view *view = &dump->segment.pool.view;
    bool whole;
    uint64_t *bytes = malloc(view->geometry.page_bytes);
    if (bytes == NULL)
        return tool_error("out of memory");
    uint32_t frame = copy_cached(dump, bytes, &whole);
    bool cached = frame != TARN_NO_FRAME;
    struct json_object *object = json_object_new_object();
    tool_json_bool(object, "cached", cached);
    if (cached) {
        tool_json_bool(object, "whole", whole);
        add_descriptor(object, view, frame);
    } else {
        decode_page(object, "page", dump->page_id);
    }
    dump_object(dump, "page", object);
    if (cached && dump->json)
        print_hex_json((const uint8_t *)bytes, view->geometry.page_bytes);
    else if (cached)
        print_hex((const uint8_t *)bytes, view->geometry.page_bytes);
    free(bytes);
    return cached ? TOOL_GOOD : TOOL_BAD;
}
