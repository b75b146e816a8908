/* SPDX-License-Identifier: MIT */
/* What users and disks give as text: traces, the two files of a pool's directory, names, sizes,
 * operands, and bytes that have to become JSON. The first byte says which. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/directory.h"
#include "tests/fuzz/fuzz.h"
#include "tools/tool.h"
#include "tools/trace.h"

enum { FILES = 8, TEXT_BYTES_MAX = 4096 };

static char trace_path[64];
static int trace_fd, directory_fd;

static void put(int fd, const uint8_t *data, size_t bytes)
{
    if (ftruncate(fd, 0) != 0 || pwrite(fd, data, bytes, 0) != (ssize_t)bytes)
        broken("no room for an input");
}

/* Numbers of pages are dense, and requests stand one behind the other. */
static void read_trace(const uint8_t *data, size_t bytes)
{
    struct trace trace;
    char message[256];
    uint64_t references = 0;
    put(trace_fd, data, bytes);
    if (!trace_read(trace_path, 65536, &trace, message, sizeof message))
        return;
    for (uint32_t i = 0; i < trace.request_count; i++) {
        if (trace.requests[i].first != references)
            broken("request %u begins at %u", i, trace.requests[i].first);
        references += trace.requests[i].count;
    }
    if (references != trace.reference_count)
        broken("%u references", trace.reference_count);
    for (uint32_t i = 0; i < trace.reference_count; i++)
        if (trace.pages[i] >= trace.page_count)
            broken("page %u of %u", trace.pages[i], trace.page_count);
    trace_free(&trace);
}

static void put_text(const char *name, const uint8_t *data, size_t bytes)
{
    int fd = openat(directory_fd, name, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
        broken("no file %s", name);
    put(fd, data, bytes);
    close(fd);
}

/* What was read is written and read again as the same. */
static void read_files(const uint8_t *data, size_t bytes)
{
    static struct tarn_file_record records[FILES + 1], again[FILES + 1], one;
    struct tarn_message message;
    put_text(TARN_DIRECTORY_FILES, data, bytes);
    tarn_directory_find_file(directory_fd, 1, &one, &message);
    if (tarn_directory_read_files(directory_fd, records, FILES, &message) < 0)
        return;
    for (uint32_t id = 1; id <= FILES; id++)
        if (records[id].id != 0 && records[id].id != id)
            broken("file %u in place %u", records[id].id, id);
    if (tarn_directory_write_files(directory_fd, records, FILES, &message) < 0 ||
        tarn_directory_read_files(directory_fd, again, FILES, &message) < 0)
        broken("the file table does not come back: %s", message.text);
    for (uint32_t id = 1; id <= FILES; id++)
        if (records[id].id != again[id].id || strcmp(records[id].path, again[id].path) != 0 ||
            records[id].incarnation != again[id].incarnation ||
            records[id].direct != again[id].direct || records[id].kind != again[id].kind)
            broken("file %u does not come back", id);
}

/* Options that can be read are those of a pool that could be built. */
static void read_options(const uint8_t *data, size_t bytes)
{
    struct tarn_directory_options options;
    struct tarn_message message;
    struct tarn_geometry plan;
    put_text(TARN_DIRECTORY_OPTIONS, data, bytes);
    if (tarn_directory_read_options(directory_fd, &options, &message) < 0)
        return;
    if (tarn_geometry_plan(options.frame_bytes / options.page_bytes, options.page_bytes,
                           options.session_count, options.file_count, &plan) < 0)
        broken("options of a pool that cannot be");
}

/* A size has digits and perhaps one unit, a number digits alone. */
static int parse_size(void *argument)
{
    const char *text = argument;
    size_t digits = strspn(text, "0123456789"), bytes = strlen(text);
    tool_size("size", text, 0, UINT64_MAX);
    if (digits == 0 || digits + strspn(text + digits, "KMGTkmgt") != bytes || bytes > digits + 1)
        broken("'%s' is a size", text);
    tool_number("number", text, 0, UINT64_MAX);
    if (digits != bytes)
        broken("'%s' is a number", text);
    return 0;
}

static void read_number(char *text)
{
    hooks_catch_exit(parse_size, text);
}

static void read_name(char *text)
{
    char path[TARN_PATH_BYTES];
    struct tarn_message message;
    bool temporary = tarn_is_temporary_name(text);
    if (tarn_segment_path(text, NULL, path, &message) == 0 &&
        (strchr(text, '/') != NULL || strcmp(path + strlen("/dev/shm/tarn."), text) != 0))
        broken("'%s' is %s", text, path);
    if (temporary && strncmp(text, "tmp.", 4) != 0)
        broken("'%s' is a temporary file", text);
}

static void make_json(const char *text)
{
    struct json_object *object = json_object_new_object(), *again;
    struct json_tokener *tokener = json_tokener_new();
    tool_json_text(object, "text", text);
    const char *json = json_object_to_json_string_ext(object, JSON_C_TO_STRING_SPACED |
                                                                  JSON_C_TO_STRING_NOSLASHESCAPE);
    json_tokener_set_flags(tokener, JSON_TOKENER_STRICT | JSON_TOKENER_VALIDATE_UTF8);
    again = json_tokener_parse_ex(tokener, json, (int)strlen(json) + 1);
    if (again == NULL || !json_object_equal(object, again))
        broken("no JSON: %s", json);
    json_object_put(again);
    json_object_put(object);
    json_tokener_free(tokener);
}

static int run_tool(void *argument)
{
    static int (*const tools[])(int argc, char **argv) = {tool_dump, tool_stat, tool_check};
    char *text = argument, *argv[8] = {(char *)"tool"};
    int argc = 1;
    unsigned which = (unsigned char)*text;
    for (char *word = text + (which != 0); argc < 7; argc++) {
        argv[argc] = word;
        word += strcspn(word, "\n");
        if (*word == 0)
            break;
        *word++ = 0;
    }
    optind = 0;
    return tools[which % 3](argc + (argc < 7), argv);
}

/* Operands and options that name no pool: nothing is opened. */
static void read_operands(char *text)
{
    for (char *c = text; *c != 0; c++)
        if (*c == '/')
            *c = '.';
    hooks_catch_exit(run_tool, text);
}

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc, (void)argv;
    static struct world world;
    world_directory(&world);
    trace_fd = memfd_create("trace", MFD_CLOEXEC);
    snprintf(trace_path, sizeof trace_path, "/proc/self/fd/%d", trace_fd);
    directory_fd = open(world.directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (directory_fd < 0)
        broken("no directory");
    put_text(TARN_DIRECTORY_LOCK, (const uint8_t *)"", 0);
    stdout = fopen("/dev/null", "we");
    stderr = fopen("/dev/null", "we");
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    static void (*const readers[])(const uint8_t *data, size_t bytes) = {read_trace, read_files,
                                                                         read_options};
    static void (*const strings[])(char *text) = {read_number, read_name, read_operands};
    char text[TEXT_BYTES_MAX + 1];
    if (bytes == 0 || bytes > TEXT_BYTES_MAX)
        return 0;
    unsigned which = data[0] % 7;
    memcpy(text, data + 1, bytes - 1);
    text[bytes - 1] = 0;
    if (which < 3)
        readers[which](data + 1, bytes - 1);
    else if (which < 6)
        strings[which - 3](text);
    else
        make_json(text);
    return 0;
}
