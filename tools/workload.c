/* SPDX-License-Identifier: MIT */
#include "tools/workload.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

struct maker {
    uint32_t *pages;
    uint32_t count, frame_count;
    uint64_t random;
};

static uint64_t next_random(uint64_t *state)
{
    /* splitmix64 */
    uint64_t z = (*state += UINT64_C(0x9e3779b97f4a7c15));
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

static uint32_t below(struct maker *maker, uint32_t limit)
{
    return (uint32_t)((next_random(&maker->random) >> 32) * limit >> 32);
}

static bool percent(struct maker *maker, unsigned parameter)
{
    return below(maker, 100) < parameter;
}

/* Page n with a probability in proportion to (n + 1)^-exponent; of all references, some percent go
 * to pages that are never seen again: a scan. */
static bool make_zipf(struct maker *maker, double exponent, unsigned scan)
{
    double *sums = calloc(WORKLOAD_PAGES, sizeof *sums);
    double sum = 0;
    uint32_t scanned = WORKLOAD_PAGES;
    if (sums == NULL)
        return false;
    for (uint32_t page = 0; page < WORKLOAD_PAGES; page++)
        sums[page] = sum += pow(page + 1, -exponent);
    while (maker->count < WORKLOAD_REFERENCES) {
        double drawn = (double)(next_random(&maker->random) >> 11) * 0x1p-53 * sum;
        uint32_t low = 0, high = WORKLOAD_PAGES - 1;
        while (low < high) {
            uint32_t middle = low + (high - low) / 2;
            if (sums[middle] < drawn)
                low = middle + 1;
            else
                high = middle;
        }
        maker->pages[maker->count++] = percent(maker, scan) ? scanned++ : low;
    }
    free(sums);
    return true;
}

/* Nine in ten references go to a hot set of a part of the cache. It wanders over all pages once, or
 * jumps by its own size. */
static bool make_drift(struct maker *maker, double hot_part, unsigned jumps)
{
    uint32_t hot = (uint32_t)(maker->frame_count * hot_part) + 1;
    for (; maker->count < WORKLOAD_REFERENCES; maker->count++) {
        uint32_t from = (uint32_t)((uint64_t)maker->count * WORKLOAD_PAGES / WORKLOAD_REFERENCES);
        if (jumps)
            from = from / hot * hot;
        maker->pages[maker->count] = percent(maker, 90)
                                         ? (from + below(maker, hot)) % WORKLOAD_PAGES
                                         : below(maker, WORKLOAD_PAGES);
    }
    return true;
}

/* Around and around a little more than fits. */
static bool make_loop(struct maker *maker, double cache_part, unsigned unused)
{
    uint32_t length = (uint32_t)(maker->frame_count * cache_part);
    (void)unused;
    for (; maker->count < WORKLOAD_REFERENCES; maker->count++)
        maker->pages[maker->count] = maker->count % length;
    return true;
}

/* Every page twice, part of a cache apart; half of the references in between are to new pages. */
static bool make_twice(struct maker *maker, double cache_part, unsigned unused)
{
    uint32_t apart = (uint32_t)(maker->frame_count * cache_part / 2);
    (void)unused;
    for (uint32_t page = 0; maker->count + 1 < WORKLOAD_REFERENCES; page++) {
        maker->pages[maker->count++] = page;
        if (page >= apart)
            maker->pages[maker->count++] = page - apart;
    }
    return true;
}

static const struct {
    const char *name;
    bool (*make)(struct maker *maker, double number, unsigned option);
    double number;
    unsigned option;
} workloads[] = {
    {"zipf-0.7", make_zipf, 0.7, 0},
    {"zipf-0.99", make_zipf, 0.99, 0},
    {"zipf-1.2", make_zipf, 1.2, 0},
    {"zipf-0.99-scan-20", make_zipf, 0.99, 20},
    {"zipf-0.99-scan-50", make_zipf, 0.99, 50},
    {"drift", make_drift, 0.8, 0},
    {"drift-half", make_drift, 0.5, 0},
    {"drift-beyond", make_drift, 1.3, 0},
    {"jump", make_drift, 0.8, 1},
    {"loop", make_loop, 1.1, 0},
    {"twice", make_twice, 0.5, 0},
};

const char *workload_name(unsigned number)
{
    return number < sizeof workloads / sizeof workloads[0] ? workloads[number].name : NULL;
}

bool workload_make(const char *name, uint32_t frame_count, struct references *ret_references)
{
    struct maker maker = {.frame_count = frame_count, .random = 1};
    for (unsigned i = 0; i < sizeof workloads / sizeof workloads[0]; i++) {
        if (strcmp(workloads[i].name, name) != 0)
            continue;
        maker.pages = calloc(WORKLOAD_REFERENCES + 1, sizeof *maker.pages);
        if (maker.pages == NULL ||
            !workloads[i].make(&maker, workloads[i].number, workloads[i].option)) {
            free(maker.pages);
            return false;
        }
        /* No number of a page is larger than that of the references to scanned ones. */
        *ret_references = (struct references){
            .pages = maker.pages,
            .count = maker.count,
            .page_count = WORKLOAD_PAGES + WORKLOAD_REFERENCES,
        };
        return true;
    }
    return false;
}
