/* SPDX-License-Identifier: MIT */
#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <tarn.h>

#include "tools/decode.h"
#include "tools/segment.h"
#include "tools/tool.h"

static const char help[] =
    "usage: tarn set NAME [OPTION...] [KEY=VALUE...]\n"
    "\n"
    "Changes what can be changed while a pool works, all of it or nothing but for shares; without "
    "a\n"
    "KEY=VALUE shows it. What is set stays set, over writers and segments, until it is set to\n"
    "'default'.\n"
    "\n"
    "  free_frames_low    the writer evicts when fewer frames than this are free\n"
    "  free_frames_high   so many at most it keeps free when many are used; both 0: none\n"
    "  dirty_frames_low   ... until so many are dirty\n"
    "  dirty_frames_high  the writer writes when more frames than this are dirty ...\n"
    "  write_rate         KiB a second that the writer writes at most, but for single pages that\n"
    "                     somebody waits for; 0: no limit\n"
    "  share:FILE         frames that the pages of a file may take, named by its id or its path "
    "in\n"
    "                     the pool's file table; default: no limit\n"
    "\n"
    "Shares are set by the writer, one after the other, when all else has been checked and set: "
    "if\n"
    "there is none, or it fails, what stands before stays set.\n"
    "\n"
    "A VALUE is a number, of frames also a percentage of the pool's frames (5%), or 'default'.\n"
    "\n"
    "  --json           shows the values for programs, after what is set here\n"
    "  --shm-dir DIR    where segments are (/dev/shm)\n"
    "  -h, --help       this text\n";

enum { JSON = 256, SHM_DIR };

static const struct option options[] = {
    {"json", no_argument, NULL, JSON},
    {"shm-dir", required_argument, NULL, SHM_DIR},
    {NULL, 0, NULL, 0},
};

#define ASSIGNMENTS_MAX 64

struct share {
    uint32_t file;
    uint64_t frames; /* 0: no limit */
};

/* What is to be set: shares apart from the others. */
struct work {
    const char *settings[ASSIGNMENTS_MAX];
    struct share shares[ASSIGNMENTS_MAX];
    unsigned setting_count, share_count;
};

/* By id or path; 0: there is none. */
static uint32_t find_file(const struct tarn_file_record *records, uint32_t file_count,
                          const char *name)
{
    bool is_id = name[0] != 0 && strspn(name, "0123456789") == strlen(name);
    unsigned long long id = is_id ? strtoull(name, NULL, 10) : 0;
    for (uint32_t file = 1; file <= file_count; file++)
        if (records[file].id != 0 && (is_id ? file == id : strcmp(records[file].path, name) == 0))
            return file;
    return 0;
}

/* "300", "5%", "default". */
static bool parse_frames(const char *text, uint32_t frame_count, uint64_t *ret_frames)
{
    char *end;
    if (strcmp(text, "default") == 0) {
        *ret_frames = 0;
        return true;
    }
    uint64_t value = strtoull(text, &end, 10); /* too large a number is ULLONG_MAX */
    bool percent = *end == '%';
    if (!isdigit((unsigned char)text[0]) || end[percent] != 0 || value == 0 ||
        value > (percent ? 100 : frame_count))
        return false;
    value = percent ? frame_count * value / 100 : value;
    *ret_frames = value > 0 ? value : 1;
    return true;
}

/* One "share:FILE=VALUE"; a path may have a '=' in it. */
static int add_share(struct work *work, const struct tarn_pool *pool,
                     const struct tarn_file_record *records, const char *assignment)
{
    const struct tarn_geometry *geometry = &pool->view.geometry;
    const char *name = assignment + strlen(SEGMENT_SHARE_KEY), *value = strrchr(name, '=');
    struct share *share = &work->shares[work->share_count++];
    char path[TARN_PATH_BYTES];
    if (value == NULL || value - name >= TARN_PATH_BYTES)
        return tool_error("'%.80s' is not share:FILE=VALUE", assignment);
    snprintf(path, sizeof path, "%.*s", (int)(value - name), name);
    share->file = find_file(records, geometry->file_count, path);
    if (share->file == 0)
        return tool_error("pool %s has no file '%s'; 'tarn dump %s files' shows them", pool->name,
                          path, pool->name);
    if (!parse_frames(value + 1, geometry->frame_count, &share->frames))
        return tool_error("%.80s: neither 1 to %" PRIu32
                          " frames, nor 1%% to 100%% of them, nor 'default'",
                          assignment, geometry->frame_count);
    return TOOL_GOOD;
}

/* The pool's file table; NULL: it has been said why not. */
static struct tarn_file_record *read_table(const struct tarn_pool *pool)
{
    uint32_t file_count = pool->view.geometry.file_count;
    struct tarn_message message = {"no memory for the file table"};
    struct tarn_file_record *records = calloc((size_t)file_count + 1, sizeof *records);
    if (records != NULL &&
        tarn_directory_read_files(pool->directory_fd, records, file_count, &message) == 0)
        return records;
    tool_error("%s", message.text);
    free(records);
    return NULL;
}

/* Nothing is set yet if one of them is wrong. Only shares need the file table. */
static int sort_out(struct work *work, const struct tarn_pool *pool, char **assignments, int count)
{
    struct tarn_file_record *records = NULL;
    int result = TOOL_GOOD;
    for (int i = 0; result == TOOL_GOOD && i < count; i++) {
        if (strncmp(assignments[i], SEGMENT_SHARE_KEY, strlen(SEGMENT_SHARE_KEY)) != 0)
            work->settings[work->setting_count++] = assignments[i];
        else if (records == NULL && (records = read_table(pool)) == NULL)
            result = TOOL_TROUBLE;
        else
            result = add_share(work, pool, records, assignments[i]);
    }
    free(records);
    return result;
}

static int set_shares(struct tarn_pool *pool, const struct work *work)
{
    struct tarn_session_options session_options = {.size = sizeof session_options,
                                                   .name = "tarn set"};
    struct tarn_message message = {""};
    struct tarn_session *session;
    if (tarn_session_open(pool, &session_options, &session) < 0) {
        tarn_pool_message(pool, &message);
        return tool_error("%s", message.text);
    }
    int result = 0;
    for (unsigned i = 0; result == 0 && i < work->share_count; i++)
        result = tarn_file_set_share(session, work->shares[i].file, work->shares[i].frames);
    if (result < 0)
        tool_error("%s", tarn_session_message(session));
    tarn_session_close(session);
    return result < 0 ? TOOL_TROUBLE : TOOL_GOOD;
}

static int set(const char *name, const char *shm_directory, char **assignments, int count)
{
    struct tarn_attach_options attach = {.size = sizeof attach, .shm_directory = shm_directory};
    struct work work = {.setting_count = 0};
    struct tarn_message message = {""};
    struct tarn_pool *pool;
    if (tarn_attach(name, &attach, &pool, &message) < 0)
        return tool_error("%s", message.text);
    int result = sort_out(&work, pool, assignments, count);
    if (result == TOOL_GOOD && work.setting_count > 0 &&
        tarn_pool_set(pool, work.settings, work.setting_count) < 0) {
        tarn_pool_message(pool, &message);
        result = tool_error("%s", message.text);
    }
    if (result == TOOL_GOOD && work.share_count > 0)
        result = set_shares(pool, &work);
    tarn_detach(pool);
    return result;
}

static void add_setting(struct rows *rows, const struct tarn_view *view, unsigned setting,
                        uint32_t value)
{
    struct json_object *row = json_object_new_object();
    tool_json_text(row, "setting", tarn_setting_key(setting));
    tool_json_count(row, "value", value);
    tool_json_count(row, "default", tarn_setting_default(&view->geometry, setting));
    tool_json_count(row, "max", tarn_setting_max(&view->geometry, setting));
    tool_json_text(row, "from",
                   tarn_setting_is_set(view, setting) ? "set"
                                                      : tarn_setting_default_words(setting));
    rows_add(rows, row);
}

static void add_share_row(struct rows *rows, const struct segment *segment, uint32_t file,
                          const struct tarn_file_record *records)
{
    char key[SEGMENT_SHARE_BYTES];
    uint32_t frames = segment->pool.view.geometry.frame_count;
    uint32_t limit = segment_share(segment, file, records, key);
    if (limit == 0)
        return;
    struct json_object *row = json_object_new_object();
    tool_json_text(row, "setting", key);
    tool_json_count(row, "value", limit);
    tool_json_count(row, "default", frames);
    tool_json_count(row, "max", frames);
    tool_json_text(row, "from", "set");
    rows_add(rows, row);
}

/* As dump does it: nobody notices. */
static int show(const char *name, const char *shm_directory, bool json)
{
    struct segment segment;
    struct rows rows;
    uint32_t values[SET_COUNT];
    int result = segment_open(name, shm_directory, &segment);
    if (result != 0)
        return result;
    tarn_settings_read(&segment.pool.view, values);
    if (json)
        printf("{\"format\": 1, ");
    rows_begin(&rows, json, "settings");
    for (unsigned i = 0; i < SET_COUNT; i++)
        add_setting(&rows, &segment.pool.view, i, values[i]);
    struct tarn_file_record *records = segment_records(&segment);
    for (uint32_t file = 1; file <= segment.pool.view.geometry.file_count; file++)
        add_share_row(&rows, &segment, file, records);
    free(records);
    rows_end(&rows);
    if (json)
        printf("}\n");
    segment_close(&segment);
    return TOOL_GOOD;
}

int tool_set(int argc, char **argv)
{
    const char *shm_directory = NULL;
    bool json = false;
    int option;
    while ((option = tool_getopt(argc, argv, "", options, help)) != -1) {
        if (option == JSON)
            json = true;
        else
            shm_directory = optarg;
    }
    tool_operands(argc, argv, 1, 1 + ASSIGNMENTS_MAX);
    const char *name = argv[optind];
    int count = argc - optind - 1;
    int result = count > 0 ? set(name, shm_directory, argv + optind + 1, count) : TOOL_GOOD;
    return result == TOOL_GOOD && (count == 0 || json) ? show(name, shm_directory, json) : result;
}
