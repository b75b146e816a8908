/* SPDX-License-Identifier: MIT */
/* tarn replay: a block trace, split over processes that share a pool; some of them killed. */
#include "tools/replay.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "lib/histogram.h"
#include "tools/children.h"
#include "tools/tool.h"

enum { KILLS_TIMED_MAX = 10000 };

/* What the segment has counted, of everybody. */
struct counts {
    uint64_t misses, joins, commits, reads, pages_written, reaps, takeovers;
};

struct run {
    struct replay replay;
    struct tarn_pool *pool;
    struct tarn_session *session;
    char path[64]; /* the data file, in the pool's directory */
    size_t shared_bytes;
    pid_t pids[REPLAY_PROCESSES_MAX]; /* 0: not running */
    unsigned running;
    uint64_t kill_every_ns; /* 0: never */
    unsigned kills;
    uint64_t reap_ns[KILLS_TIMED_MAX]; /* from the SIGKILL until the slot is free */
    unsigned reaps_timed;
    bool json;
    bool failed;
    uint64_t random;
    struct counts before, counts;
    uint64_t elapsed_ns, flush_ns;
    uint32_t pages_verified;
};

static const char help[] =
    "usage: tarn replay NAME TRACE [OPTION...]\n"
    "       tarn replay --generate FILE\n"
    "       tarn replay TRACE --simulate [OPTION...], which see: tarn replay --simulate --help\n"
    "\n"
    "Replays a block trace on a file of its own in pool NAME, which needs a writer. The file is\n"
    "dropped at the end. TRACE is CSV with the header \"version,time,op,size,lbn\" (op 2a writes,\n"
    "28 reads) or has lines \"op,page\" (op w or r).\n"
    "\n"
    "  -p, --processes N        share the work among N processes (4)\n"
    "      --verify             give each page an id, a sequence number and a checksum, and check\n"
    "                           them in every read, and all of the file at the end\n"
    "      --kill-every SECONDS kill one process with SIGKILL each time, start another instead\n"
    "      --seed N             for the choice of whom to kill (1)\n"
    "      --json               print the results as JSON\n"
    "      --shm-dir DIR        where the segment is (/dev/shm)\n"
    "      --generate FILE      write a made-up trace, 114,000 requests on 270,000 pages\n";

static void count_all(const struct tarn_view *view, struct counts *ret_counts)
{
    struct counts counts = {
        .reaps = tarn_load_relaxed(&view->control->reaps),
        .takeovers = view->control->writer.takeovers,
    };
    for (unsigned slot = 1; slot <= view->slot_max; slot++) {
        const tarn_word *counter = tarn_view_slot(view, slot)->counter;
        counts.misses += tarn_load_relaxed(&counter[COUNTER_MISSES]);
        counts.joins += tarn_load_relaxed(&counter[COUNTER_JOINS]);
        counts.commits += tarn_load_relaxed(&counter[COUNTER_COMMITS]);
        counts.reads += tarn_load_relaxed(&counter[COUNTER_READS]);
        counts.pages_written += tarn_load_relaxed(&counter[COUNTER_PAGES_WRITTEN]);
    }
    *ret_counts = counts;
}

static bool start_process(struct run *run, unsigned number)
{
    pid_t pid = children_fork(SIGKILL);
    if (pid < 0)
        return false;
    if (pid == 0) {
        tarn_detach(run->pool);
        _exit(replay_work(&run->replay, number));
    }
    run->pids[number] = pid;
    run->running++;
    return true;
}

static void kill_all(struct run *run)
{
    for (unsigned i = 0; i < run->replay.process_count; i++) {
        if (run->pids[i] == 0)
            continue;
        kill(run->pids[i], SIGKILL);
        waitpid(run->pids[i], NULL, 0);
        run->pids[i] = 0;
        run->running--;
    }
}

/* Who has ended by itself. */
static void collect(struct run *run)
{
    for (unsigned i = 0; i < run->replay.process_count; i++) {
        int status;
        if (run->pids[i] == 0 || waitpid(run->pids[i], &status, WNOHANG) != run->pids[i])
            continue;
        if (WIFSIGNALED(status))
            tool_error("process %d was ended by signal %d", (int)run->pids[i], WTERMSIG(status));
        run->failed |= status != 0;
        run->pids[i] = 0;
        run->running--;
    }
}

/* The slot of a process with one session; 0: none yet. */
static unsigned slot_of(const struct tarn_view *view, pid_t pid)
{
    for (unsigned slot = 1; slot <= view->slot_max; slot++) {
        const struct tarn_slot *shared = tarn_view_slot(view, slot);
        if (tarn_load_acquire(&shared->state) == SLOT_LIVE &&
            tarn_load_relaxed(&shared->pid) == (uint64_t)pid)
            return slot;
    }
    return 0;
}

/* Waits until somebody has taken back what the dead process had, a few seconds at most. */
static void time_reap(struct run *run, unsigned slot, uint64_t serial, uint64_t killed_ns)
{
    const struct tarn_slot *shared = tarn_view_slot(&run->pool->view, slot);
    const struct timespec pause = {.tv_nsec = 50000};
    for (;;) {
        bool free = tarn_load_acquire(&shared->state) == SLOT_FREE ||
                    tarn_load_relaxed(&shared->serial) != serial;
        uint64_t ns = tarn_now_ns() - killed_ns;
        if (free && run->reaps_timed < KILLS_TIMED_MAX)
            run->reap_ns[run->reaps_timed++] = ns;
        if (free || ns > UINT64_C(5000000000))
            return;
        nanosleep(&pause, NULL);
    }
}

/* Kills one of those that run, and starts another that goes on with what the dead one left. */
static bool kill_one(struct run *run)
{
    const struct tarn_view *view = &run->pool->view;
    run->random = run->random * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    unsigned skip = (unsigned)((run->random >> 33) % run->running), number = 0;
    while (run->pids[number] == 0 || skip-- > 0)
        number++;
    unsigned slot = slot_of(view, run->pids[number]);
    uint64_t serial = slot == 0 ? 0 : tarn_load_relaxed(&tarn_view_slot(view, slot)->serial);
    uint64_t killed_ns = tarn_now_ns();
    kill(run->pids[number], SIGKILL);
    if (slot != 0)
        time_reap(run, slot, serial, killed_ns);
    waitpid(run->pids[number], NULL, 0);
    run->pids[number] = 0;
    run->running--;
    run->kills++;
    return start_process(run, number);
}

static uint64_t sum_of(const struct run *run, size_t word_offset)
{
    uint64_t sum = 0;
    for (unsigned i = 0; i < run->replay.process_count; i++) {
        const uint8_t *progress = (const uint8_t *)&run->replay.shared->progress[i];
        sum += tarn_load_relaxed((const tarn_word *)(progress + word_offset));
    }
    return sum;
}

static uint64_t max_of(const struct run *run, size_t word_offset)
{
    uint64_t max = 0;
    for (unsigned i = 0; i < run->replay.process_count; i++) {
        const uint8_t *progress = (const uint8_t *)&run->replay.shared->progress[i];
        uint64_t value = tarn_load_relaxed((const tarn_word *)(progress + word_offset));
        max = value > max ? value : max;
    }
    return max;
}

static bool replay_requests(struct run *run)
{
    uint64_t begun_ns = tarn_now_ns(), kill_ns = begun_ns + run->kill_every_ns;
    bool good = true;
    count_all(&run->pool->view, &run->before);
    for (unsigned i = 0; i < run->replay.process_count && good; i++)
        good = start_process(run, i);
    while (good && run->running > 0) {
        uint64_t now_ns = tarn_now_ns();
        if (run->kill_every_ns != 0 && now_ns >= kill_ns) {
            good = kill_one(run);
            kill_ns += run->kill_every_ns;
        }
        uint64_t requests = sum_of(run, offsetof(struct replay_progress, requests));
        tool_progress("replay", requests, run->replay.trace.request_count);
        good = good && !children_wait(50 * NS_PER_MS);
        collect(run);
        good = good && !run->failed;
    }
    tool_progress_end();
    kill_all(run);
    run->elapsed_ns = tarn_now_ns() - begun_ns;
    count_all(&run->pool->view, &run->counts);
    return good && !run->failed;
}

/* A batch of pages in the data file, as anybody reads it, and in the pool: both have to be the
 * same, and no older than what was seen. Nobody changes them any more. */
static bool verify_pages(struct run *run, int fd, uint32_t first, unsigned count, uint8_t *bytes)
{
    const struct replay *replay = &run->replay;
    struct tarn_page_id ids[REPLAY_STEP_PAGES_MAX];
    struct tarn_pin pins[REPLAY_STEP_PAGES_MAX];
    size_t page_bytes = replay->page_bytes;
    ssize_t got = pread(fd, bytes, count * page_bytes, (off_t)(first * page_bytes));
    if (got != (ssize_t)(count * page_bytes)) {
        tool_error("%s, from page %" PRIu32 " on: %s", run->path, first,
                   got < 0 ? strerror(errno) : "the file ends there");
        return false;
    }
    for (unsigned i = 0; i < count; i++)
        ids[i] = tarn_page_id(replay->file, first + i);
    if (tarn_pin_many(run->session, ids, count, TARN_HINT_ONCE, pins) < 0) {
        tool_error("%s", tarn_session_message(run->session));
        return false;
    }
    for (unsigned i = 0; i < count; i++) {
        const uint8_t *page = bytes + i * page_bytes;
        uint64_t floor = tarn_load_relaxed(&replay->shared->floors[first + i]);
        replay_check_page(replay, first + i, page, floor, "data file");
        if (memcmp(page, pins[i].data, page_bytes) != 0) {
            tool_error("page %" PRIu32 ": the data file and the pool differ", first + i);
            tarn_fetch_add_full(&replay->shared->errors, 1);
        }
    }
    tarn_unpin_many(run->session, pins, count);
    return true;
}

static bool verify_file(struct run *run)
{
    uint32_t page_count = run->replay.trace.page_count, done = 0;
    int fd = openat(run->pool->directory_fd, run->path, O_RDONLY | O_CLOEXEC);
    uint8_t *bytes = malloc((size_t)run->replay.step_pages * run->replay.page_bytes);
    bool good = fd >= 0 && bytes != NULL;
    if (!good)
        tool_error("%s: %s", run->path, strerror(errno));
    while (good && done < page_count) {
        unsigned count = run->replay.step_pages;
        count = page_count - done < count ? page_count - done : count;
        good = verify_pages(run, fd, done, count, bytes) && !children_wait(0);
        done += count;
        tool_progress("verify", done, page_count);
    }
    tool_progress_end();
    run->pages_verified = good ? done : 0;
    free(bytes);
    if (fd >= 0)
        close(fd);
    return good;
}

static bool flush(struct run *run)
{
    uint64_t begun_ns = tarn_now_ns();
    int result = tarn_flush_file(run->session, run->replay.file);
    run->flush_ns = tarn_now_ns() - begun_ns;
    if (result < 0)
        tool_error("%s", tarn_session_message(run->session));
    return result == 0;
}

static int compare_ns(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

enum unit { COUNT, RATIO, RATE, NANOSECONDS };

struct figure {
    const char *key;   /* in JSON */
    const char *label; /* for people */
    enum unit unit;
    double value;
};

enum { FIGURES_MAX = 24 };

static unsigned collect_figures(struct run *run, struct figure figures[FIGURES_MAX])
{
    double seconds = (double)run->elapsed_ns / 1e9;
    double requests = (double)sum_of(run, offsetof(struct replay_progress, requests));
    double references = (double)sum_of(run, offsetof(struct replay_progress, references));
    double misses = (double)(run->counts.misses - run->before.misses);
    double joins = (double)(run->counts.joins - run->before.joins);
    uint64_t takeovers = run->counts.takeovers - run->before.takeovers;
    uint64_t times[TARN_BUCKETS] = {0};
    for (unsigned i = 0; i < run->replay.process_count; i++)
        tarn_histogram_add(times, &run->replay.shared->progress[i].request_ns);
    qsort(run->reap_ns, run->reaps_timed, sizeof run->reap_ns[0], compare_ns);

    unsigned count = 0;
#define ADD(key, label, unit, value)                                                               \
    figures[count++] = (struct figure){key, label, unit, (double)(value)}
    ADD("requests", "requests", COUNT, requests);
    ADD("page_references", "page references", COUNT, references);
    ADD("misses", "pages read from disk", COUNT, misses);
    ADD("hit_ratio", "hit ratio", RATIO, references > 0 ? 1 - (misses + joins) / references : 0);
    ADD("elapsed_ns", "time", NANOSECONDS, run->elapsed_ns);
    ADD("requests_per_second", "requests", RATE, requests / seconds);
    ADD("pages_per_second", "pages", RATE, references / seconds);
    ADD("p50_ns", "request, median", NANOSECONDS, tarn_percentile_ns(times, 500));
    ADD("p99_ns", "request, 99 %", NANOSECONDS, tarn_percentile_ns(times, 990));
    ADD("p999_ns", "request, 99.9 %", NANOSECONDS, tarn_percentile_ns(times, 999));
    ADD("max_ns", "request, longest", NANOSECONDS,
        max_of(run, offsetof(struct replay_progress, request_ns_max)));
    ADD("stall_max_ns", "longest stall of a survivor", NANOSECONDS,
        max_of(run, offsetof(struct replay_progress, stall_ns_max)));
    ADD("kills", "processes killed", COUNT, run->kills);
    if (run->reaps_timed > 0) {
        ADD("reap_p50_ns", "kill to reaped, median", NANOSECONDS,
            run->reap_ns[run->reaps_timed / 2]);
        ADD("reap_max_ns", "kill to reaped, longest", NANOSECONDS,
            run->reap_ns[run->reaps_timed - 1]);
    }
    ADD("takeovers", "writers that took over", COUNT, takeovers);
    if (takeovers > 0)
        ADD("takeover_ns", "time to take over", NANOSECONDS,
            run->pool->view.control->writer.takeover_ns);
    ADD("flush_ns", "flush at the end", NANOSECONDS, run->flush_ns);
    if (run->replay.verify) {
        ADD("pages_verified", "pages verified in the file", COUNT, run->pages_verified);
        ADD("errors", "wrong pages", COUNT, tarn_load_relaxed(&run->replay.shared->errors));
    }
#undef ADD
    return count;
}

static void print_figure(const struct figure *figure)
{
    double value = figure->value;
    printf("%-28s ", figure->label);
    if (figure->unit == COUNT)
        printf("%14.0f\n", value);
    else if (figure->unit == RATIO)
        printf("%14.3f\n", value);
    else if (figure->unit == RATE)
        printf("%14.0f /s\n", value);
    else if (value < 1e6)
        printf("%14.1f us\n", value / 1e3);
    else if (value < 1e9)
        printf("%14.1f ms\n", value / 1e6);
    else
        printf("%14.1f s\n", value / 1e9);
}

static void print_figures(struct run *run)
{
    struct figure figures[FIGURES_MAX];
    unsigned count = collect_figures(run, figures);
    if (!run->json) {
        for (unsigned i = 0; i < count; i++)
            print_figure(&figures[i]);
        return;
    }
    struct json_object *object = tool_json_begin();
    for (unsigned i = 0; i < count; i++) {
        if (figures[i].unit == RATIO || figures[i].unit == RATE)
            tool_json_double(object, figures[i].key, figures[i].value);
        else
            tool_json_count(object, figures[i].key, (uint64_t)figures[i].value);
    }
    tool_json_end(object);
}

/* A step may hold its pages and as many shadows, in every process at once. */
static unsigned step_pages_of(uint32_t frame_count, unsigned process_count)
{
    unsigned pages = frame_count / 4 / process_count;
    if (pages < 1)
        return 1;
    return pages < REPLAY_STEP_PAGES_MAX ? pages : REPLAY_STEP_PAGES_MAX;
}

static bool open_pool(struct run *run)
{
    struct tarn_message message;
    struct tarn_session_options options = {.size = sizeof options, .name = "replay parent"};
    if (tarn_attach(run->replay.name, run->replay.attach, &run->pool, &message) < 0) {
        tool_error("%s", message.text);
        return false;
    }
    if (tarn_session_open(run->pool, &options, &run->session) < 0) {
        tarn_pool_message(run->pool, &message);
        tool_error("%s", message.text);
        return false;
    }
    run->replay.page_bytes = run->pool->view.geometry.page_bytes;
    run->replay.step_pages =
        step_pages_of(run->pool->view.geometry.frame_count, run->replay.process_count);
    return true;
}

/* Zeros up to the last page. A file that has all its blocks behaves like one in use: a hole costs
 * nothing to read, and the first write into it more than others. */
static bool write_zeros(struct run *run, int fd)
{
    const size_t piece = (size_t)4 << 20;
    uint64_t bytes = (uint64_t)run->replay.trace.page_count * run->replay.page_bytes;
    void *zeros = aligned_alloc(4096, piece);
    bool good = zeros != NULL;
    if (good)
        memset(zeros, 0, piece);
    for (uint64_t done = 0; done < bytes && good;) {
        size_t part = bytes - done < piece ? (size_t)(bytes - done) : piece;
        ssize_t put = pwrite(fd, zeros, part, (off_t)done);
        good = put > 0 && !children_wait(0);
        done += good ? (uint64_t)put : 0;
        tool_progress("data file", done / run->replay.page_bytes, run->replay.trace.page_count);
    }
    tool_progress_end();
    free(zeros);
    return good && fdatasync(fd) == 0;
}

static bool make_file(struct run *run)
{
    const int flags = O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC;
    snprintf(run->path, sizeof run->path, "replay.%d", (int)getpid());
    int fd = openat(run->pool->directory_fd, run->path, flags | O_DIRECT, 0600);
    if (fd < 0 && errno == EINVAL)
        fd = openat(run->pool->directory_fd, run->path, flags, 0600);
    bool good = fd >= 0 && write_zeros(run, fd);
    if (!good && !children_wait(0))
        tool_error("%s/%s: %s", run->pool->directory, run->path, strerror(errno));
    if (fd >= 0)
        close(fd);
    return good;
}

/* Enters the file into the pool, or takes it away again. */
static bool open_file(struct run *run)
{
    bool good = make_file(run);
    if (good && tarn_file_open(run->session, run->path, 0, &run->replay.file) < 0) {
        tool_error("%s", tarn_session_message(run->session));
        good = false;
    }
    if (!good)
        unlinkat(run->pool->directory_fd, run->path, 0);
    return good;
}

static bool map_shared(struct run *run)
{
    run->shared_bytes = sizeof *run->replay.shared +
                        run->replay.trace.page_count * sizeof run->replay.shared->floors[0];
    void *shared =
        mmap(NULL, run->shared_bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED) {
        tool_error("cannot map memory: %s", strerror(errno));
        return false;
    }
    run->replay.shared = shared;
    return true;
}

static void close_all(struct run *run)
{
    if (run->replay.file != 0 && tarn_file_drop(run->session, run->replay.file, 1, 5000) < 0)
        tool_error("%s stays: %s", run->path, tarn_session_message(run->session));
    if (run->pool != NULL)
        tarn_detach(run->pool);
    if (run->replay.shared != NULL)
        munmap(run->replay.shared, run->shared_bytes);
    trace_free(&run->replay.trace);
}

static int replay_trace(struct run *run, const char *path)
{
    char message[512];
    int status = TOOL_TROUBLE;
    bool good;
    children_begin();
    if (!open_pool(run))
        goto out;
    if (!trace_read(path, run->replay.page_bytes, &run->replay.trace, message, sizeof message)) {
        tool_error("%s", message);
        goto out;
    }
    if (!map_shared(run) || !open_file(run))
        goto out;
    good = replay_requests(run) && flush(run) && (!run->replay.verify || verify_file(run));
    if (!children_wait(0))
        print_figures(run);
    if (good && tarn_load_relaxed(&run->replay.shared->errors) != 0)
        status = TOOL_BAD;
    else if (good)
        status = TOOL_GOOD;
out:
    close_all(run);
    return status;
}

static int generate(const char *path)
{
    FILE *file = fopen(path, "we");
    if (file == NULL)
        return tool_error("%s: %s", path, strerror(errno));
    bool good = trace_generate(file);
    good = fclose(file) == 0 && good;
    return good ? TOOL_GOOD : tool_error("%s: %s", path, strerror(errno));
}

static void parse_options(struct run *run, struct tarn_attach_options *attach, int argc,
                          char **argv, const char **ret_generate)
{
    enum { VERIFY = 256, KILL_EVERY, SEED, JSON, SHM_DIR, GENERATE };
    static const struct option options[] = {
        {"processes", required_argument, NULL, 'p'},
        {"verify", no_argument, NULL, VERIFY},
        {"kill-every", required_argument, NULL, KILL_EVERY},
        {"seed", required_argument, NULL, SEED},
        {"json", no_argument, NULL, JSON},
        {"shm-dir", required_argument, NULL, SHM_DIR},
        {"generate", required_argument, NULL, GENERATE},
        {NULL, 0, NULL, 0},
    };
    int option;
    while ((option = tool_getopt(argc, argv, "p:", options, help)) != -1) {
        switch (option) {
        case 'p':
            run->replay.process_count =
                (unsigned)tool_number("--processes", optarg, 1, REPLAY_PROCESSES_MAX);
            break;
        case VERIFY:
            run->replay.verify = true;
            break;
        case KILL_EVERY:
            run->kill_every_ns = tool_number("--kill-every", optarg, 1, 3600) * 1000000000;
            break;
        case SEED:
            run->random = tool_number("--seed", optarg, 0, UINT64_MAX);
            break;
        case JSON:
            run->json = true;
            break;
        case SHM_DIR:
            attach->shm_directory = optarg;
            break;
        case GENERATE:
            *ret_generate = optarg;
            break;
        }
    }
}

static bool is_simulation(int argc, char **argv)
{
    for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++)
        if (strcmp(argv[i], "--simulate") == 0)
            return true;
    return false;
}

int tool_replay(int argc, char **argv)
{
    if (is_simulation(argc, argv))
        return replay_simulate(argc, argv);
    static struct run run = {.replay.process_count = 4, .random = 1};
    struct tarn_attach_options attach = {.size = sizeof attach};
    const char *generate_path = NULL;
    parse_options(&run, &attach, argc, argv, &generate_path);
    if (generate_path != NULL) {
        tool_operands(argc, argv, 0, 0);
        return generate(generate_path);
    }
    tool_operands(argc, argv, 2, 2);
    run.replay.name = argv[optind];
    run.replay.attach = &attach;
    return replay_trace(&run, argv[optind + 1]);
}
