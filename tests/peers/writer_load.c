/* SPDX-License-Identifier: MIT */
/* Loads that write, over the cache of writer_tarn.c or writer_bdb.c. Made and run by
 * tests/peers/writer.
 *
 * usage: load DIRECTORY PAGES CACHE-BYTES flush alternate|runs|third
 *        load DIRECTORY PAGES CACHE-BYTES mixed PROCESSES SECONDS uniform|zipf
 *        load DIRECTORY PAGES CACHE-BYTES read SECONDS
 *        load DIRECTORY PAGES CACHE-BYTES flush-page SECONDS
 *        load DIRECTORY PAGES CACHE-BYTES change SECONDS
 *        load DIRECTORY PAGES CACHE-BYTES change-flush SECONDS PAGES
 *
 * PAGES stand in the file DIRECTORY/pages. Prints one line of JSON. Between "ready" on its output
 * and a line of input it waits, so that others may look before it and after it begins.
 */
#include <math.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tests/peers/writer_load.h"

enum {
    SAMPLES_MAX = 1 << 22,
    PROCESSES_MAX = 64,
    RUN_PAGES = 32,    /* dirty neighbours */
    RUN_APART = 96,    /* from the beginning of one run to the next */
    DRAWN = 1 << 20,   /* operations of a mixed load, drawn before it begins; then from the first */
    LOOK_OPS = 16,     /* between two looks at the clock */
    WARM_PERCENT = 50, /* of the time of a mixed load goes by before it counts */
};

static struct {
    const char *directory;
    uint32_t page_count;
    uint64_t cache_bytes;
    uint64_t random;
} load;

/* SHARED by the processes of a mixed load. */
struct counts {
    uint64_t ops;
    struct load_hits before, after;
};

_Noreturn void load_die(const char *what, const char *why)
{
    fprintf(stderr, "%s: %s\n", what, why);
    exit(1);
}

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* splitmix64 */
static uint64_t next_random(void)
{
    uint64_t z = (load.random += UINT64_C(0x9e3779b97f4a7c15));
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

static uint32_t below(uint32_t limit)
{
    return (uint32_t)((next_random() >> 32) * limit >> 32);
}

static void *open_cache(void)
{
    return load_cache.open(load.directory, load.cache_bytes);
}

static void wait_for_start(void)
{
    char line[16];
    printf("ready\n");
    fflush(stdout);
    if (fgets(line, sizeof line, stdin) == NULL)
        exit(1);
}

/* Dirty pages to the disk. */

static bool is_dirty(const char *pattern, uint32_t page)
{
    if (strcmp(pattern, "alternate") == 0)
        return page % 2 == 0;
    if (strcmp(pattern, "runs") == 0)
        return page % RUN_APART < RUN_PAGES;
    return below(3) == 0;
}

/* All are in the cache before some are changed, in a random order. */
static int run_flush(const char *pattern)
{
    void *handle = open_cache();
    uint32_t *pages = calloc(load.page_count, sizeof *pages), count = 0;
    uint64_t sum = 0;
    if (pages == NULL)
        load_die("flush", "no memory");
    for (uint32_t page = 0; page < load.page_count; page++) {
        sum += load_cache.read(handle, page);
        if (is_dirty(pattern, page))
            pages[count++] = page;
    }
    for (uint32_t i = count; i > 1; i--) {
        uint32_t other = below(i), page = pages[i - 1];
        pages[i - 1] = pages[other];
        pages[other] = page;
    }
    for (uint32_t i = 0; i < count; i++)
        load_cache.change(handle, pages[i]);
    wait_for_start();
    uint64_t begun_ns = now_ns();
    load_cache.flush(handle);
    printf("{\"pages\": %u, \"seconds\": %.6f, \"sum\": %llu}\n", count,
           (double)(now_ns() - begun_ns) * 1e-9, (unsigned long long)(sum % 10));
    return 0;
}

/* Half of the operations change a page. */

static double *make_zipf(void)
{
    double *sums = calloc(load.page_count, sizeof *sums), sum = 0;
    if (sums == NULL)
        load_die("mixed", "no memory");
    for (uint32_t page = 0; page < load.page_count; page++)
        sums[page] = sum += pow(page + 1, -0.99);
    return sums;
}

/* The popular pages are spread over the file. */
static uint32_t draw_page(const double *sums)
{
    if (sums == NULL)
        return below(load.page_count);
    double drawn = (double)(next_random() >> 11) * 0x1p-53 * sums[load.page_count - 1];
    uint32_t low = 0, high = load.page_count - 1;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (sums[middle] < drawn)
            low = middle + 1;
        else
            high = middle;
    }
    return (uint32_t)(low * UINT64_C(2654435761) % load.page_count);
}

/* Page number, and whether it is changed in the lowest bit. */
static uint32_t *draw_operations(const double *sums, unsigned number)
{
    uint32_t *operations = calloc(DRAWN, sizeof *operations);
    if (operations == NULL)
        load_die("mixed", "no memory");
    load.random = 17 * (number + 1);
    for (uint32_t i = 0; i < DRAWN; i++)
        operations[i] = draw_page(sums) << 1 | (next_random() & 1);
    return operations;
}

static void mix(struct counts *counts, const uint32_t *operations, double seconds)
{
    void *handle = open_cache();
    uint64_t begun_ns = now_ns(), sum = 0;
    uint64_t warm_ns = begun_ns + (uint64_t)(seconds * 1e7 * WARM_PERCENT);
    uint64_t end_ns = begun_ns + (uint64_t)(seconds * 1e9);
    bool counted = false;
    uint32_t next = 0;
    for (uint64_t now = begun_ns; now < end_ns; now = now_ns()) {
        if (now >= warm_ns && !counted) {
            counted = true;
            counts->ops = 0;
            if (load_cache.hits != NULL)
                counts->before = load_cache.hits(handle);
        }
        for (unsigned i = 0; i < LOOK_OPS; i++, next = (next + 1) % DRAWN) {
            if (operations[next] & 1)
                load_cache.change(handle, operations[next] >> 1);
            else
                sum += load_cache.read(handle, operations[next] >> 1);
        }
        counts->ops += LOOK_OPS;
    }
    if (load_cache.hits != NULL)
        counts->after = load_cache.hits(handle);
    /* So that the reads are not left out. */
    if (sum == 42)
        putchar('\n');
}

static int run_mixed(unsigned process_count, double seconds, const char *shape)
{
    const double *sums = strcmp(shape, "zipf") == 0 ? make_zipf() : NULL;
    struct counts *counts = mmap(NULL, process_count * sizeof *counts, PROT_READ | PROT_WRITE,
                                 MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    uint64_t ops = 0;
    int status = 0;
    if (counts == MAP_FAILED || process_count == 0 || process_count > PROCESSES_MAX)
        return 2;
    const uint32_t *operations[PROCESSES_MAX];
    for (unsigned i = 0; i < process_count; i++)
        operations[i] = draw_operations(sums, i);
    wait_for_start();
    for (unsigned i = 0; i < process_count; i++) {
        pid_t pid = fork();
        if (pid < 0)
            load_die("mixed", "cannot fork");
        if (pid == 0) {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            mix(&counts[i], operations[i], seconds);
            _exit(0);
        }
    }
    for (unsigned i = 0; i < process_count; i++) {
        if (wait(&status) < 0 || status != 0)
            load_die("mixed", "a process failed");
    }
    for (unsigned i = 0; i < process_count; i++)
        ops += counts[i].ops;
    printf("{\"ops_per_second\": %.0f, \"hits\": %llu, \"misses\": %llu}\n",
           (double)ops / (seconds * (100 - WARM_PERCENT) / 100),
           (unsigned long long)(counts[0].after.hits - counts[0].before.hits),
           (unsigned long long)(counts[0].after.misses - counts[0].before.misses));
    return 0;
}

/* Latencies of one operation. */

static int compare_words(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static void read_one(void *handle, uint32_t page)
{
    if (load_cache.read(handle, page) == UINT64_C(0x2a2a2a2a2a2a2a2a))
        putchar('\n');
}

/* The same page each time: only the flush counts. */
static void flush_one(void *handle, uint32_t page)
{
    load_cache.flush_page(handle, page);
}

static void print_latencies(uint32_t *samples, uint32_t count)
{
    qsort(samples, count, sizeof *samples, compare_words);
    printf("{\"ops\": %u, \"p50_us\": %.1f, \"p99_us\": %.1f, \"p999_us\": %.1f, \"max_us\": %.1f}"
           "\n",
           count, samples[count / 2] * 1e-3, samples[(uint64_t)count * 99 / 100] * 1e-3,
           samples[(uint64_t)count * 999 / 1000] * 1e-3, samples[count - 1] * 1e-3);
}

static int run_latencies(bool flushes, double seconds)
{
    void *handle = open_cache();
    uint32_t *samples = calloc(SAMPLES_MAX, sizeof *samples), count = 0;
    if (samples == NULL || (flushes && load_cache.flush_page == NULL))
        return 2;
    wait_for_start();
    uint64_t end_ns = now_ns() + (uint64_t)(seconds * 1e9), before, after = 0;
    while (after < end_ns && count < SAMPLES_MAX) {
        uint32_t page = below(load.page_count);
        if (flushes)
            load_cache.change(handle, page);
        before = now_ns();
        (flushes ? flush_one : read_one)(handle, page);
        after = now_ns();
        samples[count++] = (uint32_t)(after - before);
    }
    print_latencies(samples, count);
    return 0;
}

/* What makes work for the writer while others are measured. */

static int run_changes(double seconds, uint32_t flush_pages)
{
    void *handle = open_cache();
    uint64_t changed = 0;
    wait_for_start();
    uint64_t end_ns = now_ns() + (uint64_t)(seconds * 1e9);
    while (now_ns() < end_ns) {
        if (flush_pages == 0) {
            load_cache.change(handle, below(load.page_count));
            changed++;
            continue;
        }
        /* Those at the beginning of the file, no two beside each other. */
        for (uint32_t i = 0; i < flush_pages; i++)
            load_cache.change(handle, 2 * i % load.page_count);
        load_cache.flush(handle);
        changed += flush_pages;
    }
    printf("{\"pages\": %llu}\n", (unsigned long long)changed);
    return 0;
}

int main(int argc, char **argv)
{
    if (argc < 6)
        load_die("load", "see the head of writer_load.c");
    load.directory = argv[1];
    load.page_count = (uint32_t)atoi(argv[2]);
    load.cache_bytes = (uint64_t)atoll(argv[3]);
    load.random = 1;
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (load_cache.make != NULL)
        load_cache.make(load.directory, load.cache_bytes);
    const char *name = argv[4];
    if (strcmp(name, "flush") == 0)
        return run_flush(argv[5]);
    if (strcmp(name, "mixed") == 0 && argc == 8)
        return run_mixed((unsigned)atoi(argv[5]), atof(argv[6]), argv[7]);
    if (strcmp(name, "read") == 0 || strcmp(name, "flush-page") == 0)
        return run_latencies(name[0] == 'f', atof(argv[5]));
    if (strcmp(name, "change") == 0)
        return run_changes(atof(argv[5]), 0);
    if (strcmp(name, "change-flush") == 0 && argc == 7)
        return run_changes(atof(argv[5]), (uint32_t)atoi(argv[6]));
    load_die("load", "see the head of writer_load.c");
}
