/* SPDX-License-Identifier: MIT */
/* dump, stat and check look at a segment that is noise, or becomes noise while they look, and at
 * files that are no whole segments. What they print is JSON, or lines without control characters.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/fuzz/fuzz.h"
#include "tools/tool.h"

static struct world world;

/* The pool's segment, and a copy of it. */
static struct file {
    char path[160];
    int fd;
    struct tarn_view view;
} files[2];

static void noise_now(void *context)
{
    struct input *input = context;
    unsigned which = (unsigned)take(input, 1);
    noise_apply(&files[which & 1].view, input);
    hooks_arm(which / 2, noise_now, context);
}

static void make_file(struct file *file, const char *path)
{
    struct tarn_geometry geometry;
    snprintf(file->path, sizeof file->path, "%s", path);
    memcpy(&geometry, world.image + offsetof(struct tarn_superblock, geometry), sizeof geometry);
    file->fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (file->fd < 0 || ftruncate(file->fd, (off_t)world.image_bytes) != 0)
        broken("%s cannot be made", path);
    void *base = mmap(NULL, world.image_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file->fd, 0);
    if (base == MAP_FAILED)
        broken("%s cannot be mapped", path);
    tarn_view_set(&file->view, base, &geometry);
}

/* Bytes of names and paths, with a checksum that is right. */
static void edit_superblock(struct file *file, struct input *input)
{
    struct tarn_superblock *superblock = (struct tarn_superblock *)(void *)file->view.base;
    uint64_t which = take(input, 1);
    char *text = which & 1 ? superblock->name : superblock->directory;
    size_t room = which & 1 ? sizeof superblock->name : sizeof superblock->directory;
    for (unsigned i = 0; i < 8; i++)
        text[take(input, 1) % room] = (char)take(input, 1);
    text[room - 1] = 0;
    superblock->created_s ^= take(input, 8);
    if ((which & 2) == 0)
        superblock->checksum = tarn_superblock_checksum(superblock);
}

struct call {
    int (*tool)(int argc, char **argv);
    char *argv[8];
    int argc;
};

static int run(void *argument)
{
    struct call *call = argument;
    optind = 0;
    tool_begin(call->argv[0]);
    return call->tool(call->argc, call->argv);
}

static void plan(struct call *call, struct input *input, char *path)
{
    static const char *const sections[] = {
        "superblock", "options", "sessions", "files", "counts", "frames", "table", "holds", "waits",
    };
    static const char *const pages[] = {"1:0", "1:3", "2:281474976710655", "65535:7"};
    static const char *const by[] = {"--by=file", "--by=session"};
    uint8_t which = (uint8_t)take(input, 1);
    unsigned what = which % 16;
    *call = (struct call){tool_dump, {(char *)"dump", path}, 2};
    if (what < 9) {
        call->argv[call->argc++] = (char *)sections[what];
    } else if (what == 9) {
        call->argv[call->argc++] = (char *)"page";
        call->argv[call->argc++] = (char *)pages[which / 32 % 4];
    } else if (what >= 14) {
        *call = (struct call){tool_check, {(char *)"check", path}, 2};
    } else if (what >= 11) {
        *call = (struct call){tool_stat, {(char *)"stat", path}, 2};
        if (what == 11) {
            call->argv[call->argc++] = (char *)"1";
            call->argv[call->argc++] = (char *)"2";
        } else {
            call->argv[call->argc++] = (char *)by[what & 1];
        }
    }
    if (which & 16)
        call->argv[call->argc++] = (char *)"--json";
}

static void check_json(const char *text, size_t bytes)
{
    struct json_tokener *tokener = json_tokener_new();
    json_tokener_set_flags(tokener, JSON_TOKENER_STRICT | JSON_TOKENER_VALIDATE_UTF8);
    while (bytes > 0) {
        struct json_object *object = json_tokener_parse_ex(tokener, text, (int)bytes);
        size_t used = json_tokener_get_parse_end(tokener);
        if (object == NULL)
            broken("no JSON: %s\n%.*s", json_tokener_error_desc(json_tokener_get_error(tokener)),
                   (int)bytes, text);
        json_object_put(object);
        used += text[used] == '\n';
        text += used;
        bytes -= used;
    }
    json_tokener_free(tokener);
}

static void check_lines(const char *text, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++)
        if (((unsigned char)text[i] < ' ' && text[i] != '\n') || text[i] == 0x7f)
            broken("a control character for the terminal: %#x in\n%.*s", text[i], (int)bytes, text);
}

/* Runs it with its output caught. */
static void call_tool(struct call *call)
{
    char *text = NULL;
    size_t bytes = 0;
    FILE *out = stdout;
    stdout = open_memstream(&text, &bytes);
    hooks_begin_call();
    int status = hooks_catch_exit(run, call);
    hooks_disarm();
    fclose(stdout);
    stdout = out;
    bool json = strcmp(call->argv[call->argc - 1], "--json") == 0;
    if (status < TOOL_GOOD || status > TOOL_TROUBLE)
        broken("exit status %d", status);
    if (json && status != TOOL_TROUBLE)
        check_json(text, bytes);
    else if (!json)
        check_lines(text, bytes);
    free(text);
}

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    char path[TARN_PATH_BYTES];
    (void)argc, (void)argv;
    world_make(&world);
    make_file(&files[0], world.segment_path);
    snprintf(path, sizeof path, "%s/copy", world.directory);
    make_file(&files[1], path);
    stderr = fopen("/dev/null", "we");
    hooks_start();
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    struct input input = {data, data + bytes};
    struct call call;
    uint8_t how = (uint8_t)take(&input, 1);
    /* What works is looked at for seconds of virtual time: seldom. */
    struct file *file = &files[how % 16 != 0 || take(&input, 1) % 8 != 0];
    memcpy(file->view.base, world.image, world.image_bytes);
    plan(&call, &input, file->path);
    if (how & 128)
        edit_superblock(file, &input);
    for (unsigned i = 0; i < (how >> 4 & 3) * 8 && input.at < input.end; i++)
        noise_apply(&file->view, &input);
    bool cut = (how & 64) != 0 && take(&input, 1) < 16;
    if (cut && ftruncate(file->fd, (off_t)take(&input, 3)) != 0)
        broken("%s cannot be cut", file->path);
    if (!cut)
        hooks_arm((unsigned)take(&input, 2), noise_now, &input);
    call_tool(&call);
    if (cut && ftruncate(file->fd, (off_t)world.image_bytes) != 0)
        broken("%s cannot be made whole", file->path);
    return 0;
}
