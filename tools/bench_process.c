/* SPDX-License-Identifier: MIT */
/* A measuring process of tarn bench. */
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "tools/bench.h"
#include "tools/tool.h"

enum {
    CHECK_NS = 20000,    /* how often a loop looks at the clock, about */
    PING_PONGS = 200000, /* an even number */
};

static void pause_ns(long ns)
{
    const struct timespec pause = {.tv_nsec = ns};
    nanosleep(&pause, NULL);
}

/* A processor of its own for each process, as far as there are enough. */
static void stay_on_processor(unsigned number)
{
    cpu_set_t all, one;
    if (sched_getaffinity(0, sizeof all, &all) != 0)
        return;
    unsigned skip = number % (unsigned)CPU_COUNT(&all);
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
        if (!CPU_ISSET(cpu, &all) || skip-- > 0)
            continue;
        CPU_ZERO(&one);
        CPU_SET(cpu, &one);
        sched_setaffinity(0, sizeof one, &one);
        return;
    }
}

uint32_t bench_random_below(uint64_t *state, uint32_t limit)
{
    *state = *state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (uint32_t)((*state >> 32) * limit >> 32);
}

void bench_make_cycle(uint32_t *next, uint32_t count, uint64_t seed)
{
    for (uint32_t i = 0; i < count; i++)
        next[i] = i;
    for (uint32_t i = count - 1; i > 0; i--) {
        uint32_t other = bench_random_below(&seed, i);
        uint32_t page = next[i];
        next[i] = next[other];
        next[other] = page;
    }
}

void bench_data_path(const struct bench *bench, unsigned number, char *ret_path, size_t bytes)
{
    snprintf(ret_path, bytes, "%s/pool/data.%u", bench->directory,
             bench->workload->own_file ? number : 0);
}

double bench_ping_pong(tarn_word *ball, unsigned number)
{
    uint64_t begun_ns = 0;
    stay_on_processor(number);
    for (uint64_t i = number; i < 2 * PING_PONGS; i += 2) {
        if (i >= PING_PONGS && begun_ns == 0)
            begun_ns = tarn_now_ns();
        while (tarn_load_acquire(ball) != i)
            ;
        tarn_store_release(ball, i + 1);
    }
    return (double)(tarn_now_ns() - begun_ns) / PING_PONGS;
}

static int fail(const struct bench_process *process, int result)
{
    const char *message = process->session == NULL ? "" : tarn_session_message(process->session);
    tool_error("%s", message[0] == '\0' ? strerror(-result) : message);
    return result;
}

/* A place of its own in the chain and in the order for each process. */
static bool make_order(struct bench_process *process, unsigned number)
{
    uint32_t *pages = calloc(process->page_count, sizeof *pages);
    process->order = calloc(process->page_count, sizeof *process->order);
    if (pages == NULL || process->order == NULL) {
        free(pages);
        return false;
    }
    bench_make_cycle(pages, process->page_count, 2 + number);
    for (uint32_t i = 0; i < process->page_count; i++)
        process->order[i] = tarn_page_id(process->file, pages[i]);
    process->order_count = process->page_count;
    process->next = pages[0];
    free(pages);
    return true;
}

enum { DRAWS = 1 << 20 };

/* Page n with a probability in proportion to (n + 1)^-exponent, spread over the file by the order
 * that all processes have in common. */
static bool draw_order(const struct bench *bench, struct bench_process *process, unsigned number)
{
    uint32_t count = process->page_count;
    double *sums = calloc(count, sizeof *sums), sum = 0;
    uint32_t *pages = calloc(count, sizeof *pages);
    process->order = calloc(DRAWS, sizeof *process->order);
    process->order_count = DRAWS;
    process->random = 1000 + number;
    bool good = sums != NULL && pages != NULL && process->order != NULL;
    if (good)
        bench_make_cycle(pages, count, 1);
    for (uint32_t page = 0; good && page < count; page++)
        sums[page] = sum += pow(page + 1, -bench->zipf);
    for (uint32_t i = 0; good && i < DRAWS; i++) {
        double drawn = bench_random_below(&process->random, UINT32_MAX) * 0x1p-32 * sum;
        uint32_t low = 0, high = count - 1;
        while (low < high) {
            uint32_t middle = low + (high - low) / 2;
            if (sums[middle] < drawn)
                low = middle + 1;
            else
                high = middle;
        }
        process->order[i] = tarn_page_id(process->file, pages[low]);
    }
    free(sums);
    free(pages);
    return good;
}

static int open_idle_sessions(struct bench_process *process, unsigned count)
{
    struct tarn_pin pin;
    struct tarn_session *idle;
    int result = 0;
    for (unsigned i = 0; i < count && result >= 0; i++) {
        result = tarn_session_open(process->pool, NULL, &idle);
        if (result < 0)
            break;
        result = tarn_pin(idle, tarn_page_id(process->file, 0), TARN_HINT_NONE, &pin);
        if (result >= 0)
            result = tarn_latch_shared(idle, pin, -1);
        if (result >= 0)
            result = tarn_unlatch_shared(idle, pin);
        if (result >= 0)
            result = tarn_unpin(idle, pin);
        process->sticky_bits |= tarn_sticky_bit(process->view, idle->slot);
    }
    return result;
}

/* Fills the pool: hits are hits from the first slice on, and misses have to evict. */
static int fill_pool(struct bench_process *process)
{
    struct tarn_page_id ids[BENCH_BATCH];
    struct tarn_pin pins[BENCH_BATCH];
    uint32_t fits = process->view->geometry.frame_count;
    uint32_t page_count = process->page_count < fits ? process->page_count : fits;
    int result = 0;
    for (uint32_t page = 0; page < page_count && result >= 0; page += BENCH_BATCH) {
        unsigned count = page_count - page < BENCH_BATCH ? page_count - page : BENCH_BATCH;
        for (unsigned i = 0; i < count; i++)
            ids[i] = tarn_page_id(process->file, page + i);
        result = tarn_pin_many(process->session, ids, count, TARN_HINT_NONE, pins);
        if (result >= 0)
            result = tarn_unpin_many(process->session, pins, count);
    }
    return result;
}

static int open_data(const struct bench *bench, struct bench_process *process, unsigned number)
{
    char path[600];
    bench_data_path(bench, number, path, sizeof path);
    process->fd = open(path, O_RDWR | O_DIRECT | O_CLOEXEC);
    if (process->fd < 0)
        process->fd = open(path, O_RDWR | O_CLOEXEC);
    if (process->fd < 0)
        return -errno;
    return tarn_file_open(process->session, path, 0, &process->file);
}

static int open_process(const struct bench *bench, struct bench_process *process, unsigned number)
{
    struct tarn_message message;
    int result = tarn_attach(bench->name, NULL, &process->pool, &message);
    if (result < 0) {
        tool_error("%s", message.text);
        return result;
    }
    result = tarn_session_open(process->pool, NULL, &process->session);
    if (result < 0)
        return fail(process, result);
    process->view = &process->pool->view;
    process->page_bytes = bench->page_bytes;
    process->page_count = bench->page_count;
    process->line = aligned_alloc(TARN_LINE_BYTES, TARN_LINE_BYTES);
    process->copy = aligned_alloc(TARN_PAGE_BYTES_MAX, TARN_PAGE_BYTES_MAX);
    if (process->line == NULL || process->copy == NULL)
        return fail(process, -ENOMEM);
    memset(process->line, 0, TARN_LINE_BYTES);
    memset(process->copy, 0, TARN_PAGE_BYTES_MAX);
    result = open_data(bench, process, number);
    process->write_percent = bench->write_percent;
    if (result >= 0 && !(bench->workload->drawn ? draw_order(bench, process, number)
                                                : make_order(process, number)))
        result = -ENOMEM;
    if (result >= 0)
        result = fill_pool(process);
    if (result >= 0)
        result = open_idle_sessions(process, bench->workload->idle_sessions);
    return result < 0 ? fail(process, result) : 0;
}

/* All processes begin each slice together: the last that arrives says when. */
static uint64_t begin_slice(const struct bench *bench, uint64_t slice)
{
    struct bench_shared *shared = bench->shared;
    if (tarn_fetch_add_full(&shared->arrived, 1) + 1 == bench->process_count * (slice + 1)) {
        tarn_store_relaxed(&shared->begin_ns, tarn_now_ns() + (bench->process_count > 1) * 200000);
        tarn_store_release(&shared->begun, slice + 1);
    }
    while (tarn_load_acquire(&shared->begun) <= slice)
        pause_ns(50000);
    uint64_t begin_ns = tarn_load_relaxed(&shared->begin_ns), now_ns;
    while ((now_ns = tarn_now_ns()) < begin_ns)
        tarn_relax();
    return now_ns;
}

/* Operations between two looks at the clock: a multiple of what one call does. */
static uint64_t ops_a_look(const struct bench_workload *workload, float ns_per_op)
{
    uint64_t ops = ns_per_op > 0 ? (uint64_t)(CHECK_NS / ns_per_op) : 1;
    return (ops / workload->call_ops + 1) * workload->call_ops;
}

static int run_loop(const struct bench *bench, struct bench_process *process, bench_loop *loop,
                    float *ret_ns_per_op, uint64_t *ret_ops)
{
    const struct bench_workload *workload = bench->workload;
    uint64_t ops = ops_a_look(workload, *ret_ns_per_op), done = 0, ns;
    uint64_t limit_ns = workload->slice_ms * (uint64_t)NS_PER_MS;
    uint64_t begun_ns = tarn_now_ns();
    do {
        int result = loop(process, ops);
        if (result < 0)
            return result;
        done += ops;
        ns = tarn_now_ns() - begun_ns;
    } while (ns < limit_ns);
    *ret_ns_per_op = (float)ns / (float)done;
    *ret_ops += done;
    return 0;
}

/* One call at a time, each with what the clock costs taken off. */
static int run_sampled(const struct bench *bench, struct bench_process *process,
                       struct bench_result *result, unsigned pair, uint64_t clock_ns)
{
    const struct bench_workload *workload = bench->workload;
    uint64_t limit_ns = workload->slice_ms * (uint64_t)NS_PER_MS, begun_ns = tarn_now_ns(), now_ns;
    do {
        uint64_t call_ns = tarn_now_ns();
        int error = workload->pairs[pair].tarn(process, workload->call_ops);
        if (error < 0)
            return error;
        now_ns = tarn_now_ns();
        uint64_t ns = now_ns - call_ns > clock_ns ? now_ns - call_ns - clock_ns : 0;
        if (result->sample_count[pair] < BENCH_SAMPLES_MAX)
            result->samples[pair][result->sample_count[pair]++] =
                ns < UINT32_MAX ? (uint32_t)ns : UINT32_MAX;
    } while (now_ns - begun_ns < limit_ns);
    return 0;
}

/* A slice that is one call, with something untimed before it. */
static int run_prepared(const struct bench *bench, struct bench_process *process,
                        struct bench_result *result, unsigned pair, enum bench_kind kind,
                        float *ret_ns_per_op)
{
    const struct bench_workload *workload = bench->workload;
    bench_loop *loop = kind == BENCH_BARE ? workload->pairs[pair].bare : workload->pairs[pair].tarn;
    int error = kind == BENCH_BARE ? 0 : workload->prepare(process, bench->page_count);
    uint64_t begun_ns = tarn_now_ns();
    if (error >= 0)
        error = loop(process, bench->page_count);
    if (error < 0)
        return error;
    uint64_t ns = tarn_now_ns() - begun_ns;
    *ret_ns_per_op = (float)ns / (float)bench->page_count;
    if (kind != BENCH_BARE && result->sample_count[pair] < BENCH_SAMPLES_MAX) {
        result->samples[pair][result->sample_count[pair]++] =
            ns < UINT32_MAX ? (uint32_t)ns : UINT32_MAX;
        result->ops[pair] += bench->page_count;
    }
    return 0;
}

bool bench_kind_runs(const struct bench *bench, unsigned kind)
{
    if (bench->workload->drawn) /* a pause would let the writer catch up */
        return kind == BENCH_TARN || kind == BENCH_SAMPLED;
    if (kind == BENCH_SAMPLED)
        return bench->workload->prepare == NULL;
    if (kind == BENCH_TARN_ALONE || kind == BENCH_BARE_ALONE)
        return bench->process_count > 1 && bench->workload->prepare == NULL;
    return true;
}

static int run_slice(const struct bench *bench, struct bench_process *process, unsigned number,
                     unsigned pair, enum bench_kind kind, unsigned round, uint64_t clock_ns)
{
    const struct bench_pair *loops = &bench->workload->pairs[pair];
    struct bench_result *result = &bench->shared->results[number];
    float *ns_per_op = &result->ns_per_op[pair][kind][round];
    uint64_t other_ops = 0;
    if (bench->workload->prepare != NULL)
        return run_prepared(bench, process, result, pair, kind, ns_per_op);
    if (round > 0)
        *ns_per_op = result->ns_per_op[pair][kind][round - 1]; /* what is to be expected */
    switch (kind) {
    case BENCH_TARN:
        return run_loop(bench, process, loops->tarn, ns_per_op, &result->ops[pair]);
    case BENCH_BARE:
        return run_loop(bench, process, loops->bare, ns_per_op, &other_ops);
    case BENCH_SAMPLED:
        return run_sampled(bench, process, result, pair, clock_ns);
    case BENCH_TARN_ALONE:
        return number == 0 ? run_loop(bench, process, loops->tarn, ns_per_op, &other_ops) : 0;
    case BENCH_BARE_ALONE:
        return number == 0 ? run_loop(bench, process, loops->bare, ns_per_op, &other_ops) : 0;
    case BENCH_KINDS:
        break;
    }
    return 0;
}

static uint64_t cost_of_clock(void)
{
    uint64_t least = UINT64_MAX;
    for (unsigned i = 0; i < 10000; i++) {
        uint64_t begun_ns = tarn_now_ns(), ns = tarn_now_ns() - begun_ns;
        least = ns < least ? ns : least;
    }
    return least;
}

static struct bench_counts count_all(const struct tarn_view *view)
{
    struct bench_counts counts = {0};
    for (unsigned slot = 1; slot <= view->slot_max; slot++) {
        const struct tarn_slot *shared = tarn_view_slot(view, slot);
        uint64_t evictions = tarn_load_relaxed(&shared->counter[COUNTER_EVICTIONS]);
        for (unsigned i = 0; i < TARN_FILE_CELLS; i++)
            counts.hits += tarn_load_relaxed(&shared->file_hits[i]);
        counts.misses += tarn_load_relaxed(&shared->counter[COUNTER_MISSES]);
        counts.stalls += tarn_load_relaxed(&shared->counter[COUNTER_STALLS]);
        counts.pages_written += tarn_load_relaxed(&shared->counter[COUNTER_PAGES_WRITTEN]);
        counts.writes += tarn_load_relaxed(&shared->counter[COUNTER_WRITES]);
        counts.evictions += evictions;
        counts.evictions_by_writer += slot > view->geometry.session_count ? evictions : 0;
    }
    return counts;
}

int bench_measure(const struct bench *bench, unsigned number)
{
    static struct bench_process process = {.fd = -1};
    uint64_t slice = 0, clock_ns = cost_of_clock();
    stay_on_processor(number);
    int result = open_process(bench, &process, number);
    for (unsigned round = 0; round < bench->rounds && result >= 0; round++) {
        if (number == 0 && round == bench->rounds / 3)
            bench->shared->before = count_all(process.view);
        for (unsigned i = 0; i < BENCH_PAIRS_MAX * BENCH_KINDS && result >= 0; i++) {
            unsigned pair = i / BENCH_KINDS, kind = i % BENCH_KINDS;
            if (bench->workload->pairs[pair].tarn == NULL || !bench_kind_runs(bench, kind))
                continue;
            if (number == 0)
                tool_progress("bench", round, bench->rounds);
            begin_slice(bench, slice++);
            result = run_slice(bench, &process, number, pair, kind, round, clock_ns);
            if (result < 0)
                fail(&process, result);
        }
    }
    if (number == 0)
        tool_progress_end();
    if (number == 0 && result >= 0)
        bench->shared->after = count_all(process.view);
    tarn_detach(process.pool);
    return result < 0 ? TOOL_TROUBLE : TOOL_GOOD;
}
