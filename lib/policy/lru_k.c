/* SPDX-License-Identifier: MIT */
/* LRU-K with K = 2 (O'Neil, O'Neil, Weikum, "The LRU-K Page Replacement Algorithm for Database Disk
 * Buffering", SIGMOD 1993): the page leaves whose last touch but one is longest ago. Time is the
 * epoch, a round of collecting hints; touches in one epoch count as one (the paper's correlated
 * references). So pages stand in a queue for each epoch, and the oldest of these is found in a
 * bitmap. Ghosts keep the last touch of pages that have left (the paper's retained information).
 */
#include "lib/policy/state.h"

#define EPOCHS 4096u /* that are told apart: 512 turnovers of the pool */

enum {
    QUEUE_FIRST = QUEUE_OWN, /* touched in one epoch only, as far as is known */
    QUEUE_EPOCHS,            /* by the last epoch but one, modulo EPOCHS */
};

static unsigned queue_of(uint32_t before)
{
    return before == 0 ? QUEUE_FIRST : QUEUE_EPOCHS + before % EPOCHS;
}

static void place(struct tarn_policy *policy, uint32_t frame)
{
    struct lru_k *lru_k = &policy->lru_k;
    unsigned queue = queue_of(policy->frames[frame].before);
    tarn_policy_queue_add(policy, frame, queue);
    if (queue == QUEUE_FIRST)
        return;
    queue -= QUEUE_EPOCHS;
    lru_k->words[queue / 64] |= UINT64_C(1) << queue % 64;
    lru_k->summary |= UINT64_C(1) << queue / 64;
}

static void leaves(struct tarn_policy *policy, uint32_t frame)
{
    struct lru_k *lru_k = &policy->lru_k;
    unsigned queue = policy->frames[frame].queue;
    if (queue == QUEUE_FIRST || tarn_policy_queue_count(policy, queue) > 1)
        return;
    queue -= QUEUE_EPOCHS;
    lru_k->words[queue / 64] &= ~(UINT64_C(1) << queue % 64);
    if (lru_k->words[queue / 64] == 0)
        lru_k->summary &= ~(UINT64_C(1) << queue / 64);
}

static void touched(struct tarn_policy *policy, uint32_t frame)
{
    struct policy_frame *entry = &policy->frames[frame];
    tarn_policy_queue_remove(policy, frame);
    if (entry->last != policy->lru_k.epoch) {
        entry->before = entry->last;
        entry->last = policy->lru_k.epoch;
    }
    place(policy, frame);
}

/* What stands in the queue that the next epoch needs is as good as never touched twice. Each frame
 * moves once in EPOCHS rounds at most. */
static void next_epoch(struct tarn_policy *policy)
{
    unsigned queue = queue_of(++policy->lru_k.epoch);
    while (tarn_policy_queue_count(policy, queue) > 0) {
        uint32_t frame = tarn_policy_queue_oldest(policy, queue);
        tarn_policy_queue_remove(policy, frame);
        policy->frames[frame].before = 0;
        place(policy, frame);
    }
}

static void loaded(struct tarn_policy *policy, uint32_t frame)
{
    struct lru_k *lru_k = &policy->lru_k;
    struct policy_frame *entry = &policy->frames[frame];
    uint32_t age, last;
    while (lru_k->epoch <= policy->swept / policy->frame_count)
        next_epoch(policy);
    if (tarn_policy_ghost_take(&policy->ghost[0], entry->page, &age, &last) &&
        lru_k->epoch - last < EPOCHS)
        entry->before = last;
    entry->last = lru_k->epoch;
    place(policy, frame);
}

/* The queue of the oldest epoch that has one. One does. */
static unsigned oldest_queue(const struct lru_k *lru_k)
{
    unsigned start = (lru_k->epoch + 1) % EPOCHS;
    uint64_t bits = lru_k->words[start / 64] & UINT64_MAX << start % 64;
    if (bits != 0)
        return QUEUE_EPOCHS + start / 64 * 64 + (unsigned)__builtin_ctzll(bits);
    uint64_t words = lru_k->summary & (UINT64_MAX << start / 64 << 1);
    unsigned word = (unsigned)__builtin_ctzll(words != 0 ? words : lru_k->summary);
    return QUEUE_EPOCHS + word * 64 + (unsigned)__builtin_ctzll(lru_k->words[word]);
}

static uint32_t victim(struct tarn_policy *policy)
{
    for (;;) {
        unsigned queue = QUEUE_FIRST;
        if (tarn_policy_queue_count(policy, queue) == 0)
            queue = oldest_queue(&policy->lru_k);
        uint32_t frame = tarn_policy_queue_oldest(policy, queue);
        if (!tarn_policy_look(policy, frame)) {
            tarn_policy_queue_remove(policy, frame);
            tarn_policy_ghost_add(&policy->ghost[0], policy->frames[frame].page,
                                  policy->frames[frame].last);
            return frame;
        }
        touched(policy, frame);
    }
}

const struct tarn_policy_kind tarn_policy_lru_2 = {
    .name = "lru-2",
    .queue_count = 1 + EPOCHS,
    .ghost_percent = {100, 0},
    .sampled = true,
    .loaded = loaded,
    .victim = victim,
    .touched = touched,
    .leaves = leaves,
};
