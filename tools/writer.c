/* SPDX-License-Identifier: MIT */
#include "lib/writer/writer.h"

#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "lib/directory.h"
#include "tools/tool.h"

static const char help[] =
    "usage: tarn writer NAME [OPTION...]\n"
    "\n"
    "Runs the process that writes a pool's changed pages to disk. While another writer lives it\n"
    "waits as standby, and takes over when that one dies. If the segment is gone, is from before\n"
    "a reboot or is out of date, it is built again from the pool's directory. SIGTERM and SIGINT\n"
    "flush and end it.\n"
    "\n"
    "  --dir DIR        the pool's directory (./NAME.tarn), to build the segment from\n"
    "  --shm-dir DIR    where segments are (/dev/shm, or where the directory says)\n"
    "  --backend B      auto, uring or threads (auto: io_uring unless it is refused)\n"
    "  --depth N        writes in flight, 1 to 1024 (64)\n"
    "  --durable D      a few pages that somebody waits for by one durable write: always, never "
    "or\n"
    "                   measured (measured: if that is quicker than a write and a sync)\n"
    "  -h, --help       this text\n";

enum { DIR_OPTION = 256, SHM_DIR, BACKEND, DEPTH, DURABLE };

static const struct option options[] = {
    {"dir", required_argument, NULL, DIR_OPTION},  {"shm-dir", required_argument, NULL, SHM_DIR},
    {"backend", required_argument, NULL, BACKEND}, {"depth", required_argument, NULL, DEPTH},
    {"durable", required_argument, NULL, DURABLE}, {NULL, 0, NULL, 0},
};

struct arguments {
    const char *name, *directory, *shm_directory;
    struct tarn_writer_options writer;
};

static enum tarn_io_backend parse_backend(const char *text)
{
    static const char *const names[] = {
        [TARN_IO_AUTO] = "auto", [TARN_IO_URING] = "uring", [TARN_IO_THREADS] = "threads"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (strcmp(text, names[i]) == 0)
            return (enum tarn_io_backend)i;
    tool_misuse("--backend: '%s' is none of auto, uring, threads", text);
}

static enum tarn_writer_durable parse_durable(const char *text)
{
    static const char *const names[] = {[TARN_WRITER_DURABLE_MEASURED] = "measured",
                                        [TARN_WRITER_DURABLE_ALWAYS] = "always",
                                        [TARN_WRITER_DURABLE_NEVER] = "never"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (strcmp(text, names[i]) == 0)
            return (enum tarn_writer_durable)i;
    tool_misuse("--durable: '%s' is none of measured, always, never", text);
}

static void parse_options(int argc, char **argv, struct arguments *arguments)
{
    int option;
    while ((option = tool_getopt(argc, argv, "", options, help)) != -1) {
        switch (option) {
        case DIR_OPTION:
            arguments->directory = optarg;
            break;
        case SHM_DIR:
            arguments->shm_directory = optarg;
            break;
        case BACKEND:
            arguments->writer.backend = parse_backend(optarg);
            break;
        case DURABLE:
            arguments->writer.durable = parse_durable(optarg);
            break;
        default:
            arguments->writer.depth =
                (unsigned)tool_number("--depth", optarg, 1, TARN_IO_DEPTH_MAX);
        }
    }
    tool_operands(argc, argv, 1, 1);
    arguments->name = argv[optind];
}

static void report(void *context, const char *text)
{
    fprintf(stderr, "tarn writer: pool %s: %s\n", (const char *)context, text);
}

/* Is there no segment that could be attached, so that building one takes nothing from anybody? */
static bool buildable(int result)
{
    return result == -ENOENT || result == -ESTALE || result == -EREMCHG;
}

/* Where the pool's segment is, if the command line does not say so: what its directory says. */
static const char *recorded_shm_directory(const char *directory,
                                          struct tarn_directory_options *recorded)
{
    int fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return NULL;
    int result = tarn_directory_read_options(fd, recorded, NULL);
    close(fd);
    return result == 0 && recorded->shm_directory[0] != 0 ? recorded->shm_directory : NULL;
}

/* Attaches; builds the segment first where that is what is missing. */
static int attach(const struct arguments *arguments, struct tarn_pool **ret_pool)
{
    struct tarn_attach_options attach_options = {sizeof attach_options, arguments->shm_directory};
    struct tarn_directory_options recorded;
    struct tarn_message message = {""}, build_message = {""};
    char directory[PATH_MAX];
    snprintf(directory, sizeof directory, "%s%s",
             arguments->directory != NULL ? arguments->directory : arguments->name,
             arguments->directory != NULL ? "" : ".tarn");
    if (attach_options.shm_directory == NULL)
        attach_options.shm_directory = recorded_shm_directory(directory, &recorded);

    int result = tarn_attach(arguments->name, &attach_options, ret_pool, &message);
    if (buildable(result) && (arguments->directory != NULL || access(directory, F_OK) == 0)) {
        tool_busy("building the segment");
        int built = tarn_segment_build(directory, arguments->name, attach_options.shm_directory,
                                       &build_message);
        tool_busy_end();
        /* Where this failed, a writer started at the same moment may have been faster. */
        result = tarn_attach(arguments->name, &attach_options, ret_pool, &message);
        if (result < 0 && built < 0)
            message = build_message;
    }
    return result == 0 ? TOOL_GOOD : tool_error("%s", message.text);
}

/* The signals that end it. */
static sigset_t ends(void)
{
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    return signals;
}

/* Before there are other threads: the one that waits for them gets these signals. */
static void block_signals(void)
{
    sigset_t signals = ends();
    pthread_sigmask(SIG_BLOCK, &signals, NULL);
    /* A data file at its limit is an error of that write, not the end of the writer. */
    signal(SIGXFSZ, SIG_IGN);
    signal(SIGPIPE, SIG_IGN);
}

static void *stop_on_signal(void *context)
{
    struct tarn_writer *writer = context;
    sigset_t signals = ends();
    int signal_number;
    sigwait(&signals, &signal_number);
    tarn_writer_stop(writer);
    return NULL;
}

/* Runs the writer until a signal, or until it cannot go on. */
static int run(struct tarn_writer *writer)
{
    pthread_t thread;
    int result = -pthread_create(&thread, NULL, stop_on_signal, writer);
    if (result < 0)
        return result;
    result = tarn_writer_run(writer);
    /* If no signal has ended its wait, this one does. */
    pthread_kill(thread, SIGTERM);
    pthread_join(thread, NULL);
    return result;
}

int tool_writer(int argc, char **argv)
{
    struct arguments arguments = {.writer.report = report};
    struct tarn_pool *pool;
    struct tarn_writer *writer = NULL;
    struct tarn_message message = {""};
    parse_options(argc, argv, &arguments);
    arguments.writer.context = (void *)(uintptr_t)arguments.name;
    if (attach(&arguments, &pool) != 0)
        return TOOL_TROUBLE;
    block_signals();
    int result = tarn_writer_open(pool, &arguments.writer, &writer);
    if (result == 0)
        result = run(writer);
    if (result < 0) {
        tarn_pool_message(pool, &message);
        tool_error("%s", message.text[0] != 0 ? message.text : tarn_strerror(result));
    }
    if (writer != NULL)
        tarn_writer_close(writer);
    tarn_detach(pool);
    return result == 0 ? TOOL_GOOD : TOOL_TROUBLE;
}
