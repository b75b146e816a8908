/* SPDX-License-Identifier: MIT */
/* Sections options and counts: what a pool works with, and how full it is. */
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/directory.h"
#include "lib/writer/writer.h"
#include "tools/dump.h"
#include "tools/tool.h"

#define SHMEM_ENABLED "/sys/kernel/mm/transparent_hugepage/shmem_enabled"
#define HUGE_BYTES    (UINT64_C(2) << 20)

static void add(struct rows *rows, const char *option, const char *value, const char *from)
{
    struct json_object *row = json_object_new_object();
    tool_json_text(row, "option", option);
    tool_json_text(row, "value", value);
    tool_json_text(row, "from", from);
    rows_add(rows, row);
}

static void add_number(struct rows *rows, const char *option, uint64_t value, const char *from)
{
    char text[32];
    snprintf(text, sizeof text, "%" PRIu64, value);
    add(rows, option, text, from);
}

/* What init was given, or took: the directory keeps it; the segment has it too. */
static void add_pool(struct rows *rows, const struct segment *segment)
{
    const struct tarn_superblock *superblock = &segment->superblock;
    const struct tarn_geometry *geometry = &superblock->geometry;
    struct tarn_directory_options options;
    char mode[16];
    int fd = open(superblock->directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool read = fd >= 0 && tarn_directory_read_options(fd, &options, NULL) == 0;
    const char *from = read ? "directory" : "segment";
    if (fd >= 0)
        close(fd);
    snprintf(mode, sizeof mode, "%04o", read ? options.mode : superblock->mode);
    add(rows, "directory", superblock->directory, "segment");
    add_number(rows, "frames",
               read ? options.frame_bytes : (uint64_t)geometry->frame_count * geometry->page_bytes,
               from);
    add_number(rows, "page_size", read ? options.page_bytes : geometry->page_bytes, from);
    add_number(rows, "sessions", read ? options.session_count : geometry->session_count, from);
    add_number(rows, "files", read ? options.file_count : geometry->file_count, from);
    add(rows, "mode", mode, from);
    add_number(rows, "recovery_number",
               read ? options.recovery_number : superblock->recovery_number, from);
    if (read)
        add(rows, "policy", options.policy, from);
    if (read)
        add(rows, "shm_dir",
            options.shm_directory[0] != 0 ? options.shm_directory : TARN_SHM_DIRECTORY, from);
}

static void add_shares(struct rows *rows, const struct segment *segment)
{
    struct tarn_file_record *records = segment_records(segment);
    char key[SEGMENT_SHARE_BYTES];
    for (uint32_t file = 1; file <= segment->pool.view.geometry.file_count; file++) {
        uint32_t limit = segment_share(segment, file, records, key);
        if (limit != 0)
            add_number(rows, key, limit, "set");
    }
    free(records);
}

static void add_settings(struct rows *rows, const struct tarn_view *view)
{
    uint32_t values[SET_COUNT];
    tarn_settings_read(view, values);
    for (unsigned i = 0; i < SET_COUNT; i++)
        add_number(rows, tarn_setting_key(i), values[i],
                   tarn_setting_is_set(view, i) ? "set" : tarn_setting_default_words(i));
}

/* "yes", or "no" with the reason. */
static void add_got(struct rows *rows, const char *option, bool got, int refused)
{
    char text[128];
    snprintf(text, sizeof text, "%s%s%s", got ? "yes" : "no", refused != 0 ? ": " : "",
             refused != 0 ? tarn_strerror(refused < -4095 ? -4095 : refused) : "");
    add(rows, option, text, "writer");
}

/* How a few pages that somebody waits for become durable. */
static void add_durable(struct rows *rows, const struct tarn_writer_info *writer)
{
    char from[128] = "option";
    if (writer->durable_able == 0)
        snprintf(from, sizeof from, "backend: it has no durable writes");
    else if (writer->durable_asked == TARN_WRITER_DURABLE_MEASURED && writer->synced_ns == 0)
        snprintf(from, sizeof from, "could not be measured");
    else if (writer->durable_asked == TARN_WRITER_DURABLE_MEASURED)
        snprintf(from, sizeof from,
                 "measured: durable write %" PRIu64 " us, write and sync %" PRIu64 " us",
                 writer->durable_ns / 1000, writer->synced_ns / 1000);
    add(rows, "single_page", writer->durable ? "durable write" : "write and sync", from);
}

static void add_schedule(struct rows *rows, const struct tarn_writer_info *writer)
{
    add_number(rows, "depth", writer->depth,
               writer->depth_asked == 0               ? "default"
               : writer->depth_asked == writer->depth ? "option"
                                                      : "option, within what the backend takes");
    add_number(rows, "cleaner_depth", writer->background_depth, "half of depth");
    add_number(rows, "cleaner_depth_while_flushing", writer->background_calm_depth, "default");
    add_number(rows, "staging_bytes", writer->staging_bytes, "depth, page_size");
    add_number(rows, "write_bytes_max", writer->run_bytes, "backend, staging_bytes");
    add_durable(rows, writer);
}

static void add_writer(struct rows *rows, const struct tarn_writer_info *writer)
{
    char backend[sizeof writer->backend + 1] = "";
    memcpy(backend, writer->backend, sizeof writer->backend);
    if (backend[0] == 0) {
        add(rows, "backend", "no writer has run yet", "writer");
        return;
    }
    add(rows, "backend", backend, "writer");
    add_schedule(rows, writer);
    add_got(rows, "io_uring", writer->refused == 0 && strcmp(backend, "io_uring") == 0,
            writer->refused);
    add_got(rows, "registered_buffer", writer->registered_buffer != 0, writer->buffer_refused);
    add_got(rows, "registered_files", writer->registered_files != 0, writer->files_refused);
    add_got(rows, "deferred_completions", writer->deferred != 0, writer->deferred_refused);
}

/* The bytes of the mapping that stand in huge pages. Each is touched once, since only what is
 * mapped here is counted here. */
static bool huge_bytes(const struct segment *segment, uint64_t *ret_bytes)
{
    const uint8_t *base = segment->pool.view.base;
    const tarn_word *word;
    char line[256];
    uint64_t kilobytes;
    uintptr_t begin;
    bool mine = false, found = false;
    for (uint64_t at = 0; at < segment->superblock.geometry.segment_bytes; at += HUGE_BYTES) {
        word = (const tarn_word *)(const void *)(base + at);
        (void)tarn_load_acquire(word);
    }
    FILE *maps = fopen("/proc/self/smaps", "re");
    while (maps != NULL && !found && fgets(line, sizeof line, maps) != NULL) {
        if (sscanf(line, "%" SCNxPTR "-", &begin) == 1 && strchr(line, '-') != NULL &&
            strchr(line, ':') > strchr(line, '-'))
            mine = begin == (uintptr_t)base;
        found = mine && (sscanf(line, "ShmemPmdMapped: %" SCNu64 " kB", &kilobytes) == 1);
    }
    if (maps != NULL)
        fclose(maps);
    if (found)
        *ret_bytes = kilobytes * 1024;
    return found;
}

static void add_huge_pages(struct rows *rows, const struct segment *segment)
{
    char text[128] = "";
    uint64_t bytes;
    FILE *file = fopen(SHMEM_ENABLED, "re");
    if (file != NULL && fgets(text, sizeof text, file) != NULL) {
        text[strcspn(text, "\n")] = 0;
        add(rows, "shmem_enabled", text, "system");
    }
    if (file != NULL)
        fclose(file);
    if (!segment->live || !huge_bytes(segment, &bytes))
        return;
    snprintf(text, sizeof text, "%" PRIu64 " of %" PRIu64 " bytes", bytes,
             segment->superblock.geometry.segment_bytes);
    add(rows, "huge_pages", text, "system");
}

int dump_options(struct dump *dump)
{
    struct rows rows;
    rows_begin(&rows, dump->json, "options");
    add_pool(&rows, &dump->segment);
    add(&rows, "wait_ms", "60000", "default of a session");
    add(&rows, "frame_wait_ms", "2000", "default of a session");
    add(&rows, "writer_wait_ms", "5000", "default of a session");
    add_settings(&rows, &dump->segment.pool.view);
    add_shares(&rows, &dump->segment);
    add_writer(&rows, &dump->segment.pool.view.control->writer);
    add_huge_pages(&rows, &dump->segment);
    rows_end(&rows);
    return TOOL_GOOD;
}

int dump_counts(struct dump *dump)
{
    const struct tarn_view *view = &dump->segment.pool.view;
    const struct tarn_control *control = view->control;
    uint64_t states[4] = {0}, dirty = 0;
    for (uint32_t frame = 0; frame < view->geometry.frame_count; frame++) {
        const struct tarn_descriptor *descriptor = &view->descriptors[frame];
        unsigned state = frame_word_state(tarn_load_relaxed(&descriptor->frame_word));
        states[state]++;
        if (state == FRAME_VALID || state == FRAME_EVICTING)
            dirty += dirty_word_dirty(tarn_load_relaxed(&descriptor->dirty_word));
    }
    uint64_t life = tarn_load_acquire(&control->life);
    uint64_t failed = tarn_load_acquire(&control->failed);
    struct json_object *object = json_object_new_object();
    tool_json_text(object, "life",
                   life == LIFE_OPEN        ? "open"
                   : life == LIFE_DESTROYED ? "destroyed"
                                            : "?");
    tool_json_text(object, "durability",
                   failed == 0                            ? "good"
                   : strerrorname_np((int)failed) == NULL ? "failed"
                                                          : strerrorname_np((int)failed));
    tool_json_count(object, "free", states[FRAME_FREE]);
    tool_json_count(object, "claimed", states[FRAME_CLAIMED]);
    tool_json_count(object, "valid", states[FRAME_VALID]);
    tool_json_count(object, "evicting", states[FRAME_EVICTING]);
    tool_json_count(object, "dirty", dirty);
    tool_json_count(object, "writer_slot", tarn_load_relaxed(&control->writer_slot));
    tool_json_count(object, "standby_slot", tarn_load_relaxed(&control->standby_slot));
    tool_json_bool(object, "writer_sleeps", tarn_load_relaxed(&control->writer_sleeps) != 0);
    tool_json_count(object, "frames_wanted", tarn_load_relaxed(&control->frames_wanted));
    tool_json_count(object, "reaps", tarn_load_relaxed(&control->reaps));
    tool_json_count(object, "reaps_early", tarn_load_relaxed(&control->reaps_early));
    tool_json_count(object, "reap_ns_max", tarn_load_relaxed(&control->reap_ns_max));
    tool_json_count(object, "takeovers", control->writer.takeovers);
    tool_json_count(object, "takeover_ns", control->writer.takeover_ns);
    dump_object(dump, "counts", object);
    return TOOL_GOOD;
}
