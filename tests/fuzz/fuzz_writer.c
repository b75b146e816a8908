/* SPDX-License-Identifier: MIT */
/* A writer takes over a segment that is noise, with requests in its slots, gets more noise while it
 * works, and is told to stop: it does, after it has served and flushed what it can. */
#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/directory.h"
#include "lib/writer/writer.h"
#include "tests/fuzz/fuzz.h"

static struct world world;
static char *table; /* DIR/files as it was made */
static size_t table_bytes;

static void noise_now(void *context)
{
    noise_apply(&world.pool[1]->view, context);
    hooks_arm((unsigned)take(context, 1), noise_now, context);
}

/* What a session asks; its words may be noise afterwards. */
static void ask(struct input *input)
{
    static const char *const paths[] = {"data", "other", "tmp.1.1", "/dev/null", "a/../../b"};
    const struct tarn_view *view = &world.pool[0]->view;
    struct tarn_slot *slot = tarn_view_slot(view, 1 + (unsigned)take(input, 1) % view->slot_max);
    struct tarn_request *request = &slot->request;
    uint64_t kind = take(input, 1) % (ASK_FILE_SHARE + 2);
    tarn_store_relaxed(&slot->state, SLOT_LIVE);
    tarn_store_relaxed(&request->kind, kind);
    tarn_store_relaxed(&request->file, take(input, 1) % (WORLD_FILES + 2));
    tarn_store_relaxed(&request->number, take(input, 1));
    tarn_store_relaxed(&request->flags, take(input, 1));
    tarn_store_relaxed(&request->wait_ms, take(input, 1) % 8);
    if (kind == ASK_FILE_OPEN)
        strcpy(request->path, paths[take(input, 1) % (sizeof paths / sizeof paths[0])]);
    for (unsigned i = 0; kind == ASK_FLUSH_PAGES && i < 8; i++)
        tarn_store_relaxed(&request->page_id[i], page_id_of(1 + (i == 7), take(input, 1)));
    tarn_store_relaxed(&request->word, request_word_of(7, 0, REQUEST_ASKED));
}

/* A page that is dirty, so that there is something to write. */
static void make_dirty(struct input *input)
{
    const struct tarn_view *view = &world.pool[0]->view;
    tarn_store_relaxed(&view->descriptors[take(input, 1) % WORLD_FRAMES].dirty_word,
                       dirty_word_changed(take(input, 1)));
}

static bool is_made(const char *name)
{
    static const char *const made[] = {".",    "..",        TARN_DIRECTORY_OPTIONS,
                                       "lock", "data.kept", TARN_DIRECTORY_FILES};
    for (size_t i = 0; i < sizeof made / sizeof made[0]; i++)
        if (strcmp(name, made[i]) == 0)
            return true;
    return false;
}

/* The pool's directory as it was made: the writer has changed it. */
static void reset_directory(void)
{
    int directory_fd = world.pool[1]->directory_fd;
    int fd = openat(directory_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *directory = fdopendir(fd);
    struct dirent *entry;
    while (directory != NULL && (entry = readdir(directory)) != NULL)
        if (!is_made(entry->d_name))
            unlinkat(directory_fd, entry->d_name, 0);
    closedir(directory);
    fd = openat(directory_fd, TARN_DIRECTORY_FILES, O_WRONLY | O_TRUNC | O_CLOEXEC);
    if (fd < 0 || write(fd, table, table_bytes) != (ssize_t)table_bytes)
        broken("the file table cannot be put back");
    close(fd);
    fd = openat(directory_fd, "data.kept", O_RDWR | O_CLOEXEC);
    if (linkat(directory_fd, "data.kept", directory_fd, "data", 0) != 0 || fd < 0 ||
        ftruncate(fd, WORLD_PAGES * 4096) != 0)
        broken("the data file cannot be put back");
    close(fd);
}

static void keep_directory(void)
{
    int directory_fd = world.pool[1]->directory_fd;
    int fd = openat(directory_fd, TARN_DIRECTORY_FILES, O_RDONLY | O_CLOEXEC);
    struct stat status;
    if (fd < 0 || fstat(fd, &status) != 0)
        broken("there is no file table");
    table_bytes = (size_t)status.st_size;
    table = malloc(table_bytes);
    if (table == NULL || read(fd, table, table_bytes) != (ssize_t)table_bytes ||
        linkat(directory_fd, "data", directory_fd, "data.kept", 0) != 0)
        broken("the directory cannot be kept");
    close(fd);
}

static void run_writer(struct input *input)
{
    static const struct tarn_writer_options options = {
        .no_standby = true, .depth = 4, .durable = TARN_WRITER_DURABLE_ALWAYS};
    struct tarn_writer *writer;
    hooks_begin_call();
    if (tarn_writer_open(world.pool[1], &options, &writer) < 0)
        return;
    tarn_writer_stop(writer);
    hooks_arm((unsigned)take(input, 2), noise_now, input);
    tarn_writer_run(writer);
    hooks_disarm();
    hooks_begin_call();
    tarn_writer_close(writer);
}

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc, (void)argv;
    world_make(&world);
    world_attach(&world);
    keep_directory();
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    struct input input = {data, data + bytes};
    world_reset(&world);
    reset_directory();
    uint8_t how = (uint8_t)take(&input, 1);
    for (unsigned i = 0; i < (how & 7); i++)
        make_dirty(&input);
    for (unsigned i = 0; i < (how >> 3 & 3); i++)
        ask(&input);
    for (unsigned i = 0; i < (how >> 5) && input.at < input.end; i++)
        noise_apply(&world.pool[0]->view, &input);
    world.dead = take(&input, 1);
    run_writer(&input);
    world_free_closed(&world, 1);
    return 0;
}
