/* SPDX-License-Identifier: MIT */
/* tarn bench: loops over a pool of its own, and beside each the bare loop, the least that anybody
 * could do.
 *
 * The loops of a workload take turns in short slices, all processes at the same time, so that
 * whatever disturbs one disturbs the other; what is told are medians over the slices.
 */
#include "tools/bench.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tools/children.h"
#include "tools/tool.h"

enum {
    ROUNDS_MIN = 3,
    ENDED_MS_MAX = 30000, /* a writer flushes before it ends */
};

static const char help_head[] =
    "usage: tarn bench WORKLOAD [OPTION...]\n"
    "\n"
    "Measures a pool of its own, made for it and removed again, and beside each loop a bare one\n"
    "that does the least that anybody could. Workloads:\n"
    "\n";

static const char help_tail[] =
    "\n"
    "  -p, --processes N    work in N processes at the same time (1)\n"
    "  -s, --seconds S      measure about so long (2)\n"
    "  -n, --pages N        over so many pages\n"
    "      --frames SIZE    with so much memory for pages\n"
    "      --write-percent N\n"
    "                       of the operations of mixed change a page (50)\n"
    "      --zipf S         mixed takes page n with a frequency of 1 / n^S (0: all pages alike)\n"
    "      --dir DIR        make the data file in DIR (/dev/shm; for miss, flush and mixed\n"
    "                       $TMPDIR or /var/tmp)\n"
    "      --json           print the results as JSON\n";

static void pause_ns(long ns)
{
    const struct timespec pause = {.tv_nsec = ns};
    nanosleep(&pause, NULL);
}

static uint32_t file_pages(const struct bench *bench)
{
    return bench->workload->own_file ? 2 * bench->page_count : bench->page_count;
}

/* The pool. */

/* Pages whose first words chain all of them, in a file that has all its blocks. */
static bool make_data(const struct bench *bench, unsigned number)
{
    enum { PAGES_AT_ONCE = 256 };
    char path[600];
    uint32_t page_count = file_pages(bench);
    size_t page_bytes = bench->page_bytes;
    uint32_t *next = calloc(page_count, sizeof *next);
    uint8_t *pages = calloc(PAGES_AT_ONCE, page_bytes);
    bool good = next != NULL && pages != NULL;
    bench_data_path(bench, number, path, sizeof path);
    int fd = good ? open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600) : -1;
    good = good && fd >= 0;
    if (good)
        bench_make_cycle(next, page_count, 1);
    for (uint32_t first = 0; good && first < page_count; first += PAGES_AT_ONCE) {
        uint32_t count = page_count - first < PAGES_AT_ONCE ? page_count - first : PAGES_AT_ONCE;
        memset(pages, 0, count * page_bytes);
        for (uint32_t i = 0; i < count; i++) {
            uint64_t word = next[first + i];
            memcpy(pages + i * page_bytes + bench_offset(first + i), &word, sizeof word);
        }
        tool_progress("data file", first, page_count);
        good = pwrite(fd, pages, count * page_bytes, (off_t)(first * page_bytes)) ==
               (ssize_t)(count * page_bytes);
    }
    tool_progress_end();
    good = good && fsync(fd) == 0;
    if (!good)
        tool_error("%s: %s", path, strerror(errno));
    if (fd >= 0)
        close(fd);
    free(pages);
    free(next);
    return good;
}

static bool make_pool(struct bench *bench)
{
    char directory[600];
    struct tarn_message message;
    uint64_t frame_count = (uint64_t)bench->page_count * bench->workload->frames_percent / 100;
    if (bench->workload->own_file)
        frame_count *= bench->process_count;
    if (frame_count < 4096)
        frame_count = 4096;
    if (bench->frame_bytes != 0)
        frame_count = bench->frame_bytes / bench->page_bytes;
    snprintf(directory, sizeof directory, "%s/pool", bench->directory);
    struct tarn_init_options options = {
        .size = sizeof options,
        .directory = directory,
        .frame_bytes = frame_count * bench->page_bytes,
        .page_bytes = bench->page_bytes,
        .session_count =
            bench->process_count + bench->workload->idle_sessions * bench->process_count,
    };
    if (tarn_init(bench->name, &options, &message) < 0) {
        tool_error("%s", message.text);
        return false;
    }
    unsigned files = bench->workload->own_file ? bench->process_count : 1;
    for (unsigned i = 0; i < files; i++)
        if (!make_data(bench, i))
            return false;
    return true;
}

static const char *log_path(const struct bench *bench)
{
    static char path[600];
    snprintf(path, sizeof path, "%s/writer.log", bench->directory);
    return path;
}

/* What the writer had to say: of interest if something failed. */
static void print_log(const struct bench *bench)
{
    char line[512];
    FILE *log = fopen(log_path(bench), "re");
    while (log != NULL && fgets(line, sizeof line, log) != NULL)
        fputs(line, stderr);
    if (log != NULL)
        fclose(log);
}

/* The command itself, as anybody runs it; it ends, after flushing, with this process. */
static bool start_writer(struct bench *bench)
{
    bench->writer = children_fork(SIGTERM);
    if (bench->writer == 0) {
        char *arguments[] = {"tarn", "writer", bench->name, NULL};
        int log = open(log_path(bench), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
        dup2(log, STDERR_FILENO);
        execv("/proc/self/exe", arguments);
        _exit(TOOL_TROUBLE);
    }
    return bench->writer > 0;
}

/* Ends a child: asks with SIGTERM first if it may take time. */
static void end_child(pid_t *pid, bool ask)
{
    if (*pid <= 0)
        return;
    if (ask) {
        kill(*pid, SIGTERM);
        for (unsigned ms = 0; ms < ENDED_MS_MAX; ms++) {
            if (waitpid(*pid, NULL, WNOHANG) == *pid) {
                *pid = 0;
                return;
            }
            pause_ns(NS_PER_MS);
        }
    }
    kill(*pid, SIGKILL);
    waitpid(*pid, NULL, 0);
    *pid = 0;
}

/* Whatever of it there is. */
static void remove_pool(struct bench *bench)
{
    char path[600];
    for (unsigned i = 0; i < bench->process_count; i++)
        end_child(&bench->pids[i], false);
    end_child(&bench->writer, true);
    tarn_destroy(bench->name, NULL, TARN_DESTROY_FORCE | TARN_DESTROY_DATA, NULL);
    for (unsigned i = 0; i < bench->process_count; i++) {
        bench_data_path(bench, i, path, sizeof path);
        unlink(path);
    }
    snprintf(path, sizeof path, "%s/pool", bench->directory);
    rmdir(path);
    unlink(log_path(bench));
    if (rmdir(bench->directory) != 0)
        tool_error("%s: %s", bench->directory, strerror(errno));
    if (bench->shared != NULL)
        munmap(bench->shared, bench->shared_bytes);
}

/* Starts the measuring processes and waits for all of them. */
static bool run_processes(struct bench *bench)
{
    unsigned running = 0;
    bool good = true;
    for (unsigned i = 0; i < bench->process_count && good; i++) {
        bench->pids[i] = children_fork(SIGKILL);
        if (bench->pids[i] == 0)
            _exit(bench_measure(bench, i));
        good = bench->pids[i] > 0;
        running += good;
    }
    while (running > 0 && good) {
        good = !children_wait(100 * NS_PER_MS);
        for (unsigned i = 0; i < bench->process_count; i++) {
            int status;
            if (bench->pids[i] <= 0 || waitpid(bench->pids[i], &status, WNOHANG) == 0)
                continue;
            if (WIFSIGNALED(status))
                tool_error("process %d was ended by signal %d", (int)bench->pids[i],
                           WTERMSIG(status));
            good = good && status == 0;
            bench->pids[i] = 0;
            running--;
        }
    }
    return good;
}

static double measure_ping_pong(struct bench *bench)
{
    cpu_set_t processors;
    if (sched_getaffinity(0, sizeof processors, &processors) != 0 || CPU_COUNT(&processors) < 2)
        return 0;
    tarn_store_release(&bench->shared->ball, 0);
    pid_t other = children_fork(SIGKILL);
    if (other == 0) {
        bench_ping_pong(&bench->shared->ball, 1);
        _exit(0);
    }
    double ns = other > 0 ? bench_ping_pong(&bench->shared->ball, 0) : 0;
    if (other > 0)
        waitpid(other, NULL, 0);
    sched_setaffinity(0, sizeof processors, &processors);
    return ns;
}

/* Results. */

static int compare_floats(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

static int compare_samples(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

/* The median over all slices of the processes that worked in them. */
static double median_ns(const struct bench *bench, unsigned pair, enum bench_kind kind)
{
    bool alone = kind == BENCH_TARN_ALONE || kind == BENCH_BARE_ALONE;
    unsigned processes = alone ? 1 : bench->process_count, count = processes * bench->rounds;
    float *all = malloc(count * sizeof *all);
    if (all == NULL)
        return 0;
    for (unsigned i = 0; i < processes; i++)
        memcpy(all + i * bench->rounds, bench->shared->results[i].ns_per_op[pair][kind],
               bench->rounds * sizeof *all);
    qsort(all, count, sizeof *all, compare_floats);
    double median = all[count / 2];
    free(all);
    return median;
}

/* Gathers the samples of all processes in the first one's place, as many as fit, and sorts them. */
static uint32_t sort_samples(const struct bench *bench, unsigned pair)
{
    struct bench_result *results = bench->shared->results;
    uint32_t *samples = results[0].samples[pair], count = results[0].sample_count[pair];
    for (unsigned i = 1; i < bench->process_count; i++) {
        /* Each has as many slots of the first one's places, so that none crowds the others out. */
        uint32_t share = BENCH_SAMPLES_MAX / bench->process_count;
        uint32_t more =
            results[i].sample_count[pair] < share ? results[i].sample_count[pair] : share;
        if (count + more > BENCH_SAMPLES_MAX)
            count = BENCH_SAMPLES_MAX - more;
        memcpy(samples + count, results[i].samples[pair], more * sizeof *samples);
        count += more;
    }
    qsort(samples, count, sizeof *samples, compare_samples);
    return count;
}

struct summary {
    double ns, bare_ns, alone_ns, bare_alone_ns;
    uint32_t p50_ns, p99_ns;
    uint64_t ops;
};

static struct summary summarize(const struct bench *bench, unsigned pair)
{
    struct summary summary = {.ns = median_ns(bench, pair, BENCH_TARN),
                              .bare_ns = median_ns(bench, pair, BENCH_BARE),
                              .alone_ns = median_ns(bench, pair, BENCH_TARN_ALONE),
                              .bare_alone_ns = median_ns(bench, pair, BENCH_BARE_ALONE)};
    uint32_t count = sort_samples(bench, pair);
    const uint32_t *samples = bench->shared->results[0].samples[pair];
    if (count > 0) {
        summary.p50_ns = samples[count / 2];
        summary.p99_ns = samples[(uint64_t)count * 99 / 100];
    }
    for (unsigned i = 0; i < bench->process_count; i++)
        summary.ops += bench->shared->results[i].ops[pair];
    return summary;
}

/* What the pool did since it was warm. */
static struct bench_counts counts_of(const struct bench *bench)
{
    const struct bench_counts *before = &bench->shared->before, *after = &bench->shared->after;
    return (struct bench_counts){
        .hits = after->hits - before->hits,
        .misses = after->misses - before->misses,
        .stalls = after->stalls - before->stalls,
        .evictions = after->evictions - before->evictions,
        .evictions_by_writer = after->evictions_by_writer - before->evictions_by_writer,
        .pages_written = after->pages_written - before->pages_written,
        .writes = after->writes - before->writes,
    };
}

static void add_counts(const struct bench *bench, struct json_object *object)
{
    struct bench_counts counts = counts_of(bench);
    tool_json_count(object, "write_percent", bench->write_percent);
    tool_json_double(object, "zipf", bench->zipf);
    tool_json_count(object, "hits", counts.hits);
    tool_json_count(object, "misses", counts.misses);
    tool_json_double(object, "hit_ratio",
                     (double)counts.hits / (double)(counts.hits + counts.misses));
    tool_json_count(object, "stalls", counts.stalls);
    tool_json_double(object, "stall_ratio", (double)counts.stalls / (double)counts.misses);
    tool_json_count(object, "evictions_by_writer", counts.evictions_by_writer);
    tool_json_count(object, "evictions_by_session", counts.evictions - counts.evictions_by_writer);
    tool_json_count(object, "pages_written", counts.pages_written);
    tool_json_double(object, "pages_per_write",
                     (double)counts.pages_written / (double)counts.writes);
}

static struct json_object *pair_to_json(const struct bench *bench, unsigned pair)
{
    struct summary summary = summarize(bench, pair);
    struct json_object *object = json_object_new_object();
    tool_json_text(object, "workload", bench->workload->name);
    tool_json_text(object, "variant", bench->workload->pairs[pair].variant);
    tool_json_count(object, "processes", bench->process_count);
    tool_json_double(object, "seconds", bench->seconds);
    tool_json_count(object, "pages", bench->page_count);
    tool_json_count(object, "ops", summary.ops);
    tool_json_double(object, "ops_per_second", bench->process_count * 1e9 / summary.ns);
    tool_json_double(object, "ns_per_op", summary.ns);
    tool_json_count(object, "p50_ns", summary.p50_ns);
    tool_json_count(object, "p99_ns", summary.p99_ns);
    if (bench_kind_runs(bench, BENCH_BARE)) {
        tool_json_double(object, "bare_ns_per_op", summary.bare_ns);
        tool_json_double(object, "bare_ops_per_second",
                         bench->process_count * 1e9 / summary.bare_ns);
        tool_json_double(object, "ratio_to_bare", summary.ns / summary.bare_ns);
    } else {
        add_counts(bench, object);
    }
    if (bench_kind_runs(bench, BENCH_TARN_ALONE)) {
        tool_json_double(object, "slowdown", summary.ns / summary.alone_ns);
        tool_json_double(object, "bare_slowdown", summary.bare_ns / summary.bare_alone_ns);
    }
    return object;
}

static void print_json(const struct bench *bench)
{
    struct json_object *object = tool_json_begin(), *results = json_object_new_array();
    for (unsigned pair = 0; pair < BENCH_PAIRS_MAX; pair++)
        if (bench->workload->pairs[pair].tarn != NULL)
            json_object_array_add(results, pair_to_json(bench, pair));
    if (bench->ping_pong_ns[0] > 0) {
        tool_json_double(object, "ping_pong_before_ns", bench->ping_pong_ns[0]);
        tool_json_double(object, "ping_pong_after_ns", bench->ping_pong_ns[1]);
    }
    json_object_object_add(object, "results", results);
    tool_json_end(object);
}

static void print_counts(const struct bench *bench)
{
    struct summary s = summarize(bench, 0);
    struct bench_counts counts = counts_of(bench);
    printf("%-9s %10s %10s %12s %10s %8s %8s %8s %10s %10s %8s\n", "changes", "p50 ns", "p99 ns",
           "ops/s", "misses", "hits", "stalls", "of miss", "evict_w", "evict_s", "written");
    printf("%7u %% %10u %10u %12.0f %10" PRIu64 " %6.2f %% %8" PRIu64 " %6.3f %% %10" PRIu64
           " %10" PRIu64 " %8" PRIu64 "\n",
           bench->write_percent, s.p50_ns, s.p99_ns, bench->process_count * 1e9 / s.ns,
           counts.misses, 100 * (double)counts.hits / (double)(counts.hits + counts.misses),
           counts.stalls, 100 * (double)counts.stalls / (double)counts.misses,
           counts.evictions_by_writer, counts.evictions - counts.evictions_by_writer,
           counts.pages_written);
}

static void print_table(const struct bench *bench)
{
    bool alone = bench_kind_runs(bench, BENCH_TARN_ALONE);
    printf("%s: %s; %u pages, processes: %u\n", bench->workload->name, bench->workload->what,
           bench->page_count, bench->process_count);
    if (!bench_kind_runs(bench, BENCH_BARE)) {
        print_counts(bench);
        return;
    }
    printf("%-12s %10s %10s %8s %10s %10s %12s%s\n", "", "ns", "bare", "ratio", "p50", "p99",
           "ops/s", alone ? "  slower by  bare" : "");
    for (unsigned pair = 0; pair < BENCH_PAIRS_MAX; pair++) {
        if (bench->workload->pairs[pair].tarn == NULL)
            continue;
        struct summary s = summarize(bench, pair);
        printf("%-12s %10.1f %10.1f %8.2f %10u %10u %12.0f", bench->workload->pairs[pair].variant,
               s.ns, s.bare_ns, s.ns / s.bare_ns, s.p50_ns, s.p99_ns,
               bench->process_count * 1e9 / s.ns);
        if (alone)
            printf("  %9.2f %5.2f", s.ns / s.alone_ns, s.bare_ns / s.bare_alone_ns);
        putchar('\n');
    }
    if (bench->ping_pong_ns[0] > 0)
        printf("core to core %.0f ns before, %.0f ns after\n", bench->ping_pong_ns[0],
               bench->ping_pong_ns[1]);
}

static bool map_shared(struct bench *bench)
{
    bench->shared_bytes =
        sizeof *bench->shared + bench->process_count * sizeof bench->shared->results[0];
    void *shared =
        mmap(NULL, bench->shared_bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED) {
        tool_error("cannot map memory: %s", strerror(errno));
        return false;
    }
    bench->shared = shared;
    return true;
}

static bool make_directory(struct bench *bench)
{
    char path[sizeof bench->directory];
    const char *base = bench->base;
    if (base == NULL && bench->workload->disk)
        base = getenv("TMPDIR") != NULL ? getenv("TMPDIR") : "/var/tmp";
    if (base == NULL)
        base = "/dev/shm";
    snprintf(bench->name, sizeof bench->name, "bench-%d", (int)getpid());
    snprintf(path, sizeof path, "%s/tarn-bench-XXXXXX", base);
    if (mkdtemp(path) == NULL) {
        tool_error("%s: %s", path, strerror(errno));
        return false;
    }
    memcpy(bench->directory, path, sizeof path);
    return true;
}

/* Slices of all kinds make a round. */
static unsigned rounds_of(const struct bench *bench)
{
    const struct bench_workload *workload = bench->workload;
    unsigned slices = 0;
    for (unsigned i = 0; i < BENCH_PAIRS_MAX * BENCH_KINDS; i++)
        slices += workload->pairs[i / BENCH_KINDS].tarn != NULL &&
                  bench_kind_runs(bench, (enum bench_kind)(i % BENCH_KINDS));
    unsigned slice_ms = workload->slice_ms != 0 ? workload->slice_ms : 250;
    double rounds = bench->seconds * 1000 / (slices * slice_ms);
    if (rounds < ROUNDS_MIN)
        return ROUNDS_MIN;
    return rounds < BENCH_ROUNDS_MAX ? (unsigned)rounds : BENCH_ROUNDS_MAX;
}

static int run_bench(struct bench *bench)
{
    bool good = false;
    children_begin();
    bench->rounds = rounds_of(bench);
    if (!make_directory(bench))
        return TOOL_TROUBLE;
    if (map_shared(bench) && make_pool(bench) && start_writer(bench)) {
        bench->ping_pong_ns[0] = measure_ping_pong(bench);
        good = run_processes(bench);
        bench->ping_pong_ns[1] = good ? measure_ping_pong(bench) : 0;
    }
    if (good && bench->json)
        print_json(bench);
    else if (good)
        print_table(bench);
    if (!good && !children_wait(0))
        print_log(bench);
    remove_pool(bench);
    return good ? TOOL_GOOD : TOOL_TROUBLE;
}

static const char *help(void)
{
    static char text[4096];
    size_t used = (size_t)snprintf(text, sizeof text, "%s", help_head);
    for (unsigned i = 0; i < bench_workload_count; i++)
        used += (size_t)snprintf(text + used, sizeof text - used, "  %-8s %s (%u pages)\n",
                                 bench_workloads[i].name, bench_workloads[i].what,
                                 bench_workloads[i].page_count);
    snprintf(text + used, sizeof text - used, "%s", help_tail);
    return text;
}

static const struct bench_workload *find_workload(const char *name)
{
    for (unsigned i = 0; i < bench_workload_count; i++)
        if (strcmp(bench_workloads[i].name, name) == 0)
            return &bench_workloads[i];
    tool_misuse("no workload '%s'", name);
}

static double parse_zipf(const char *text)
{
    char *end;
    double exponent = strtod(text, &end);
    if (text[0] < '0' || text[0] > '9' || *end != 0 || exponent > 4)
        tool_misuse("--zipf: '%s' is not a number from 0 to 4", text);
    return exponent;
}

int tool_bench(int argc, char **argv)
{
    enum { DIRECTORY = 256, FRAMES, WRITE_PERCENT, ZIPF, JSON };
    static const struct option options[] = {
        {"processes", required_argument, NULL, 'p'},
        {"seconds", required_argument, NULL, 's'},
        {"pages", required_argument, NULL, 'n'},
        {"dir", required_argument, NULL, DIRECTORY},
        {"json", no_argument, NULL, JSON},
        {"frames", required_argument, NULL, FRAMES},
        {"write-percent", required_argument, NULL, WRITE_PERCENT},
        {"zipf", required_argument, NULL, ZIPF},
        {NULL, 0, NULL, 0},
    };
    static struct bench bench = {
        .process_count = 1, .seconds = 2, .page_bytes = 4096, .write_percent = 50};
    int option;
    while ((option = tool_getopt(argc, argv, "p:s:n:", options, help())) != -1) {
        if (option == 'p')
            bench.process_count =
                (unsigned)tool_number("--processes", optarg, 1, BENCH_PROCESSES_MAX);
        else if (option == 's')
            bench.seconds = (double)tool_number("--seconds", optarg, 1, 3600);
        else if (option == 'n')
            bench.page_count = (uint32_t)tool_number("--pages", optarg, 1, 1u << 26);
        else if (option == FRAMES)
            bench.frame_bytes = tool_size("--frames", optarg, 16 * 4096, UINT64_C(1) << 40);
        else if (option == WRITE_PERCENT)
            bench.write_percent = (unsigned)tool_number("--write-percent", optarg, 0, 100);
        else if (option == ZIPF)
            bench.zipf = parse_zipf(optarg);
        else if (option == DIRECTORY)
            bench.base = optarg;
        else
            bench.json = true;
    }
    tool_operands(argc, argv, 1, 1);
    bench.workload = find_workload(argv[optind]);
    if (bench.page_count == 0)
        bench.page_count = bench.workload->page_count;
    return run_bench(&bench);
}
