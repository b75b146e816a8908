/* SPDX-License-Identifier: MIT */
#include <stdio.h>
#include <tarn.h>

#include "tools/decode.h"
#include "tools/segment.h"
#include "tools/tool.h"

static const char help[] =
    "usage: tarn set NAME [OPTION...] [KEY=VALUE...]\n"
    "\n"
    "Changes what can be changed while a pool works, all of it or nothing; without a KEY=VALUE "
    "shows\n"
    "it. What is set stays set, over writers and segments, until it is set to 'default'.\n"
    "\n"
    "  free_frames_low    the writer evicts when fewer frames than this are free\n"
    "  free_frames_high   so many at most it keeps free when many are used; both 0: none\n"
    "  dirty_frames_low   ... until so many are dirty\n"
    "  dirty_frames_high  the writer writes when more frames than this are dirty ...\n"
    "  write_rate         KiB a second that the writer writes at most, but for single pages that\n"
    "                     somebody waits for; 0: no limit\n"
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

static int set(const char *name, const char *shm_directory, char **assignments, int count)
{
    struct tarn_attach_options attach = {.size = sizeof attach, .shm_directory = shm_directory};
    struct tarn_message message = {""};
    struct tarn_pool *pool;
    int result = tarn_attach(name, &attach, &pool, &message);
    if (result < 0)
        return tool_error("%s", message.text);
    result = tarn_pool_set(pool, (const char *const *)assignments, (unsigned)count);
    if (result < 0)
        tarn_pool_message(pool, &message);
    tarn_detach(pool);
    return result < 0 ? tool_error("%s", message.text) : TOOL_GOOD;
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
    tool_operands(argc, argv, 1, 1 + 64);
    const char *name = argv[optind];
    int count = argc - optind - 1;
    int result = count > 0 ? set(name, shm_directory, argv + optind + 1, count) : TOOL_GOOD;
    return result == TOOL_GOOD && (count == 0 || json) ? show(name, shm_directory, json) : result;
}
