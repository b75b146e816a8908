/* SPDX-License-Identifier: MIT */
#include "lib/policy/policy.h"

#include <stdlib.h>
#include <string.h>

#include "lib/policy/state.h"

/* A sampled policy looks at so many frames for each page that is loaded: a frame is looked at each
 * time that an eighth of the pool has been replaced. */
#define SWEEP_LOOKS 8u

/* Looks at frames for one victim, in rounds over all of them. */
#define ROUNDS_MAX 4u

static const struct tarn_policy_kind *const kinds[] = {
    &tarn_policy_s3_fifo_adaptive,
    &tarn_policy_s3_fifo,
    &tarn_policy_clock,
    &tarn_policy_sieve,
    &tarn_policy_2q,
    &tarn_policy_lru,
    &tarn_policy_lru_2,
};

const struct tarn_policy_kind *tarn_policy_kind(unsigned number)
{
    return number < sizeof kinds / sizeof kinds[0] ? kinds[number] : NULL;
}

const struct tarn_policy_kind *tarn_policy_kind_named(const char *name)
{
    for (unsigned i = 0; i < sizeof kinds / sizeof kinds[0]; i++)
        if (strcmp(kinds[i]->name, name) == 0)
            return kinds[i];
    return NULL;
}

const char *tarn_policy_name(const struct tarn_policy_kind *kind)
{
    return kind->name;
}

static bool create_ghost(struct policy_ghost *ghost, uint32_t size)
{
    if (size == 0)
        return true;
    ghost->size = size;
    while (UINT32_C(1) << ghost->hash_bits < size)
        ghost->hash_bits++;
    ghost->pages = calloc(size, sizeof *ghost->pages);
    ghost->notes = calloc(size, sizeof *ghost->notes);
    ghost->next = calloc(size, sizeof *ghost->next);
    ghost->heads = calloc(UINT64_C(1) << ghost->hash_bits, sizeof *ghost->heads);
    return ghost->pages != NULL && ghost->notes != NULL && ghost->next != NULL &&
           ghost->heads != NULL;
}

static void destroy_ghost(struct policy_ghost *ghost)
{
    free(ghost->pages);
    free(ghost->notes);
    free(ghost->next);
    free(ghost->heads);
}

struct tarn_policy *tarn_policy_create(const struct tarn_policy_kind *kind, uint32_t frame_count,
                                       tarn_policy_take *take, void *context)
{
    struct tarn_policy *policy = calloc(1, sizeof *policy);
    if (policy == NULL)
        return NULL;
    policy->kind = kind;
    policy->frame_count = frame_count;
    policy->take = take;
    policy->context = context;
    policy->frames = calloc(frame_count, sizeof *policy->frames);
    policy->queues = calloc(QUEUE_OWN + kind->queue_count, sizeof *policy->queues);
    bool done = policy->frames != NULL && policy->queues != NULL;
    for (unsigned i = 0; done && i < 2; i++) {
        uint64_t size = (uint64_t)frame_count * kind->ghost_percent[i] / 100;
        done = create_ghost(&policy->ghost[i], (uint32_t)size);
    }
    if (!done) {
        tarn_policy_destroy(policy);
        return NULL;
    }
    if (kind->init != NULL)
        kind->init(policy);
    return policy;
}

void tarn_policy_destroy(struct tarn_policy *policy)
{
    if (policy == NULL)
        return;
    destroy_ghost(&policy->ghost[0]);
    destroy_ghost(&policy->ghost[1]);
    free(policy->queues);
    free(policy->frames);
    free(policy);
}

void tarn_policy_queue_add(struct tarn_policy *policy, uint32_t frame, unsigned queue)
{
    struct policy_queue *to = &policy->queues[queue];
    struct policy_frame *entry = &policy->frames[frame];
    entry->queue = (uint16_t)queue;
    entry->newer = 0;
    entry->older = to->newest;
    if (to->newest != 0)
        policy->frames[to->newest - 1].newer = frame + 1;
    else
        to->oldest = frame + 1;
    to->newest = frame + 1;
    to->count++;
}

void tarn_policy_queue_remove(struct tarn_policy *policy, uint32_t frame)
{
    struct policy_frame *entry = &policy->frames[frame];
    struct policy_queue *from = &policy->queues[entry->queue];
    if (policy->kind->leaves != NULL && entry->queue >= QUEUE_OWN)
        policy->kind->leaves(policy, frame);
    if (entry->newer != 0)
        policy->frames[entry->newer - 1].older = entry->older;
    else
        from->newest = entry->older;
    if (entry->older != 0)
        policy->frames[entry->older - 1].newer = entry->newer;
    else
        from->oldest = entry->newer;
    from->count--;
    entry->queue = QUEUE_NONE;
}

bool tarn_policy_look(struct tarn_policy *policy, uint32_t frame)
{
    return policy->looks++ / ROUNDS_MAX < policy->frame_count &&
           policy->take(policy->context, frame);
}

void tarn_policy_loaded_newest(struct tarn_policy *policy, uint32_t frame)
{
    tarn_policy_queue_add(policy, frame, QUEUE_OWN);
}

uint32_t tarn_policy_victim_untouched(struct tarn_policy *policy)
{
    for (;;) {
        uint32_t frame = tarn_policy_queue_oldest(policy, QUEUE_OWN);
        tarn_policy_queue_remove(policy, frame);
        if (!tarn_policy_look(policy, frame))
            return frame;
        tarn_policy_queue_add(policy, frame, QUEUE_OWN);
    }
}

static uint32_t *ghost_head(const struct policy_ghost *ghost, uint64_t page)
{
    /* The shift by 64 - hash_bits in two steps, as hash_bits may be 0. */
    return &ghost->heads[page * UINT64_C(0x9e3779b97f4a7c15) >> 1 >> (63 - ghost->hash_bits)];
}

/* Takes the page at `place` out of its chain. */
static void unchain(struct policy_ghost *ghost, uint32_t place)
{
    uint32_t *link = ghost_head(ghost, ghost->pages[place]);
    while (*link != place + 1)
        link = &ghost->next[*link - 1];
    *link = ghost->next[place];
    ghost->pages[place] = 0;
}

void tarn_policy_ghost_add(struct policy_ghost *ghost, uint64_t page, uint32_t note)
{
    uint32_t place = ghost->place;
    if (ghost->size == 0)
        return;
    if (ghost->pages[place] != 0)
        unchain(ghost, place);
    uint32_t *head = ghost_head(ghost, page);
    ghost->pages[place] = page;
    ghost->notes[place] = note;
    ghost->next[place] = *head;
    *head = place + 1;
    ghost->place = place + 1 < ghost->size ? place + 1 : 0;
}

bool tarn_policy_ghost_take(struct policy_ghost *ghost, uint64_t page, uint32_t *ret_age,
                            uint32_t *ret_note)
{
    if (ghost->size == 0)
        return false;
    uint32_t link = *ghost_head(ghost, page);
    while (link != 0 && ghost->pages[link - 1] != page)
        link = ghost->next[link - 1];
    if (link == 0)
        return false;
    uint32_t place = link - 1;
    unchain(ghost, place);
    *ret_age = (ghost->place > place ? 0 : ghost->size) + ghost->place - place - 1;
    if (ret_note != NULL)
        *ret_note = ghost->notes[place];
    return true;
}

/* Collects the hints of some frames. */
static void sweep(struct tarn_policy *policy)
{
    uint32_t looks = policy->frame_count < SWEEP_LOOKS ? policy->frame_count : SWEEP_LOOKS;
    for (; looks > 0; looks--) {
        uint32_t frame = (uint32_t)(policy->swept++ % policy->frame_count);
        if (policy->frames[frame].queue >= QUEUE_OWN && policy->take(policy->context, frame))
            policy->kind->touched(policy, frame);
    }
}

void tarn_policy_loaded(struct tarn_policy *policy, uint32_t frame, uint64_t page, bool once)
{
    tarn_policy_removed(policy, frame);
    policy->frames[frame].page = page;
    policy->frames[frame].last = policy->frames[frame].before = 0;
    policy->resident++;
    if (once)
        tarn_policy_queue_add(policy, frame, QUEUE_ONCE);
    else
        policy->kind->loaded(policy, frame);
    if (policy->kind->sampled)
        sweep(policy);
}

/* The first of those that were to be touched once, and have not been since. */
static uint32_t victim_once(struct tarn_policy *policy)
{
    for (;;) {
        uint32_t frame = tarn_policy_queue_oldest(policy, QUEUE_ONCE);
        if (frame == TARN_POLICY_NONE)
            return frame;
        tarn_policy_queue_remove(policy, frame);
        if (!tarn_policy_look(policy, frame))
            return frame;
        policy->kind->loaded(policy, frame);
    }
}

uint32_t tarn_policy_victim(struct tarn_policy *policy)
{
    if (policy->resident == 0)
        return TARN_POLICY_NONE;
    policy->looks = 0;
    uint32_t frame = victim_once(policy);
    if (frame == TARN_POLICY_NONE)
        frame = policy->kind->victim(policy);
    policy->frames[frame].page = 0;
    policy->resident--;
    return frame;
}

void tarn_policy_removed(struct tarn_policy *policy, uint32_t frame)
{
    if (policy->frames[frame].page == 0)
        return;
    tarn_policy_queue_remove(policy, frame);
    policy->frames[frame].page = 0;
    policy->resident--;
}

uint64_t tarn_policy_page(const struct tarn_policy *policy, uint32_t frame)
{
    return policy->frames[frame].page;
}
