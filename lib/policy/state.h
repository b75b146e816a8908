/* SPDX-License-Identifier: MIT */
/* What policies are made of: frames in queues, and ghosts, the pages that have left. */
#ifndef TARN_LIB_POLICY_STATE_H
#define TARN_LIB_POLICY_STATE_H

#include "lib/policy/policy.h"

/* Queues by number. Those from QUEUE_OWN on are the policy's own. */
enum {
    QUEUE_NONE, /* the frame has no page */
    QUEUE_ONCE, /* loaded to be touched once */
    QUEUE_OWN,
};

struct policy_queue {
    uint32_t newest, oldest; /* frame + 1; 0: none */
    uint32_t count;
};

struct policy_frame {
    uint64_t page;
    uint32_t newer, older; /* in its queue; frame + 1; 0: none */
    uint32_t last;         /* the policy's own; 0 when a page comes in */
    uint32_t before;       /* likewise */
    uint16_t queue;
};

/* The last pages that have left: a ring, and a hash over it. */
struct policy_ghost {
    uint64_t *pages; /* by place in the ring; 0: none */
    uint32_t *notes; /* by place: what the policy wants to know again */
    uint32_t *next;  /* by place: the next of the same hash, place + 1 */
    uint32_t *heads; /* by hash: place + 1 */
    uint32_t size, place;
    unsigned hash_bits;
};

struct tarn_policy_kind {
    const char *name;
    unsigned queue_count;      /* of its own */
    unsigned ghost_percent[2]; /* of the frames */
    /* Hints are collected all the time, a part of the frames with each load. */
    bool sampled;
    void (*init)(struct tarn_policy *policy);
    /* A page has come in. It is in no queue yet. */
    void (*loaded)(struct tarn_policy *policy, uint32_t frame);
    /* Chooses among its own queues, one of which is not empty, and takes the frame out. */
    uint32_t (*victim)(struct tarn_policy *policy);
    /* If sampled: the page was touched since it was looked at last. */
    void (*touched)(struct tarn_policy *policy, uint32_t frame);
    /* The frame is taken out of its queue. May be NULL. */
    void (*leaves)(struct tarn_policy *policy, uint32_t frame);
};

struct tarn_policy {
    const struct tarn_policy_kind *kind;
    uint32_t frame_count;
    tarn_policy_take *take;
    void *context;
    struct policy_frame *frames;
    struct policy_queue *queues;
    struct policy_ghost ghost[2];
    uint32_t resident; /* frames with a page */
    uint32_t looks;    /* for this victim, so far */
    uint64_t swept;    /* frames, if sampled */
    union {
        struct s3_fifo {
            uint32_t small;            /* frames that the small queue may have */
            uint32_t least, most;      /* what that may become */
            uint32_t recent;           /* ghosts as young as this say that it is wrong */
            uint32_t credit_small_max; /* a larger small queue means that credit is not to be had */
        } s3;
        struct {
            uint32_t hand; /* frame + 1; 0: the oldest */
        } sieve;
        struct lru_k {
            uint32_t epoch;
            uint64_t words[64]; /* a bit for each queue that is not empty */
            uint64_t summary;   /* a bit for each word that is not 0 */
        } lru_k;
    };
};

/* Frames that are in the queues of one policy. */
void tarn_policy_queue_add(struct tarn_policy *policy, uint32_t frame, unsigned queue);
void tarn_policy_queue_remove(struct tarn_policy *policy, uint32_t frame);

static inline uint32_t tarn_policy_queue_count(const struct tarn_policy *policy, unsigned queue)
{
    return policy->queues[queue].count;
}

/* TARN_POLICY_NONE: the queue is empty. */
static inline uint32_t tarn_policy_queue_oldest(const struct tarn_policy *policy, unsigned queue)
{
    return policy->queues[queue].oldest - 1;
}

/* Was the frame touched? No, if the search for this victim has been long already: a hit may set a
 * hint faster than it is taken. */
bool tarn_policy_look(struct tarn_policy *policy, uint32_t frame);

/* For a policy of one queue: the page comes in as its newest; the oldest one leaves that was not
 * touched, and those that were go around once more. */
void tarn_policy_loaded_newest(struct tarn_policy *policy, uint32_t frame);
uint32_t tarn_policy_victim_untouched(struct tarn_policy *policy);

void tarn_policy_ghost_add(struct policy_ghost *ghost, uint64_t page, uint32_t note);

/* Takes the page out. `ret_age`: how many others have left since; `ret_note` may be NULL. */
bool tarn_policy_ghost_take(struct policy_ghost *ghost, uint64_t page, uint32_t *ret_age,
                            uint32_t *ret_note);

extern const struct tarn_policy_kind tarn_policy_clock, tarn_policy_lru, tarn_policy_lru_2,
    tarn_policy_2q, tarn_policy_sieve, tarn_policy_s3_fifo, tarn_policy_s3_fifo_adaptive;

#endif
