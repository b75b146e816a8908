/* SPDX-License-Identifier: MIT */
#include "tools/simulate.h"

#include <stdlib.h>

struct cache {
    uint8_t *hints;     /* by frame: touched since it was looked at */
    uint32_t *frame_of; /* by page: frame + 1; 0: not cached */
    uint32_t *page_in;  /* by frame */
    uint32_t used;      /* frames, from 0 on */
};

static bool take(void *context, uint32_t frame)
{
    uint8_t *hints = context;
    bool touched = hints[frame] != 0;
    hints[frame] = 0;
    return touched;
}

/* A frame for a page that is missed. */
static uint32_t make_room(struct cache *cache, struct tarn_policy *policy, uint32_t frame_count)
{
    if (cache->used < frame_count)
        return cache->used++;
    uint32_t frame = tarn_policy_victim(policy);
    cache->frame_of[cache->page_in[frame]] = 0;
    return frame;
}

static uint64_t run(struct cache *cache, struct tarn_policy *policy,
                    const struct references *references, uint32_t frame_count)
{
    uint64_t misses = 0;
    for (uint32_t i = 0; i < references->count; i++) {
        uint32_t page = references->pages[i];
        if (cache->frame_of[page] != 0) {
            cache->hints[cache->frame_of[page] - 1] = 1;
            continue;
        }
        misses++;
        uint32_t frame = make_room(cache, policy, frame_count);
        cache->frame_of[page] = frame + 1;
        cache->page_in[frame] = page;
        cache->hints[frame] = 0;
        tarn_policy_loaded(policy, frame, (uint64_t)page + 1, false);
    }
    return misses;
}

bool simulate(const struct tarn_policy_kind *kind, const struct references *references,
              uint32_t frame_count, uint64_t *ret_misses)
{
    struct cache cache = {
        .hints = calloc(frame_count, sizeof *cache.hints),
        .frame_of = calloc(references->page_count, sizeof *cache.frame_of),
        .page_in = calloc(frame_count, sizeof *cache.page_in),
    };
    struct tarn_policy *policy = tarn_policy_create(kind, frame_count, take, cache.hints);
    bool done =
        cache.hints != NULL && cache.frame_of != NULL && cache.page_in != NULL && policy != NULL;
    if (done)
        *ret_misses = run(&cache, policy, references, frame_count);
    tarn_policy_destroy(policy);
    free(cache.hints);
    free(cache.frame_of);
    free(cache.page_in);
    return done;
}

/* The next uses of cached pages, the latest first. A use that has passed is less than any that is
 * to come, so it stays behind those and harms nothing. */
struct uses {
    uint32_t *heap;
    uint32_t count;
};

static void push(struct uses *uses, uint32_t use)
{
    uint32_t at = uses->count++;
    for (; at > 0 && uses->heap[(at - 1) / 2] < use; at = (at - 1) / 2)
        uses->heap[at] = uses->heap[(at - 1) / 2];
    uses->heap[at] = use;
}

static uint32_t pop(struct uses *uses)
{
    uint32_t first = uses->heap[0], use = uses->heap[--uses->count], at = 0;
    for (;;) {
        uint32_t child = 2 * at + 1;
        if (child + 1 < uses->count && uses->heap[child + 1] > uses->heap[child])
            child++;
        if (child >= uses->count || uses->heap[child] <= use)
            break;
        uses->heap[at] = uses->heap[child];
        at = child;
    }
    uses->heap[at] = use;
    return first;
}

/* By reference: where the same page is referred to next; the count: nowhere. */
static void find_next_uses(const struct references *references, uint32_t *seen, uint32_t *next)
{
    for (uint32_t page = 0; page < references->page_count; page++)
        seen[page] = references->count;
    for (uint32_t i = references->count; i-- > 0;) {
        next[i] = seen[references->pages[i]];
        seen[references->pages[i]] = i;
    }
}

static uint64_t run_opt(const struct references *references, uint32_t frame_count,
                        const uint32_t *next, uint8_t *cached, struct uses *uses)
{
    uint64_t misses = 0;
    uint32_t used = 0, dead = 0; /* dead: cached and not used again */
    for (uint32_t i = 0; i < references->count; i++) {
        uint32_t page = references->pages[i];
        if (!cached[page]) {
            misses++;
            if (used < frame_count)
                used++;
            else if (dead > 0)
                dead--;
            else
                cached[references->pages[pop(uses)]] = 0;
            cached[page] = 1;
        }
        if (next[i] == references->count)
            dead++;
        else
            push(uses, next[i]);
    }
    return misses;
}

bool simulate_opt(const struct references *references, uint32_t frame_count, uint64_t *ret_misses)
{
    uint32_t *seen = calloc(references->page_count, sizeof *seen);
    uint32_t *next = calloc(references->count, sizeof *next);
    uint8_t *cached = calloc(references->page_count, sizeof *cached);
    struct uses uses = {.heap = calloc(references->count, sizeof *uses.heap)};
    bool done = seen != NULL && next != NULL && cached != NULL && uses.heap != NULL;
    if (done) {
        find_next_uses(references, seen, next);
        *ret_misses = run_opt(references, frame_count, next, cached, &uses);
    }
    free(seen);
    free(next);
    free(cached);
    free(uses.heap);
    return done;
}
