/* SPDX-License-Identifier: MIT */
/* S3-FIFO (Yang, Zhang, Qiu, Yue, Rashmi, "FIFO Queues Are All You Need for Cache Eviction", SOSP
 * 2023): a page comes into a small queue; only if it is touched there, or missed soon after it has
 * left, does it come into the main queue, which is a clock.
 *
 * The published policy counts up to three touches. Here is one bit, and it is found at the end of a
 * queue; in the small queue one touch is enough.
 *
 * The adaptive one, the default, differs in two things. (1) The size of its small queue follows
 * from what it did wrong lately, as in ARC (Megiddo, Modha, "ARC: A Self-Tuning, Low Overhead
 * Replacement Cache", FAST 2003): a page that is missed just after it left the small queue makes
 * that larger, one that is missed just after it left the main queue makes it smaller. Otherwise a
 * hot set that moves has to be missed twice. (2) A page that was touched in each of several rounds
 * through the main queue is kept for as many rounds without a touch, three at most, as in a clock
 * with counters (Smith, "Sequentiality and Prefetching in Database Systems", TODS 1978), but only
 * while the small queue is small: where the hot set moves, what was hot is not worth keeping.
 */
#include "lib/policy/state.h"

enum {
    QUEUE_SMALL = QUEUE_OWN,
    QUEUE_MAIN,
};

/* ghost[GHOST_MAIN] tells what left the main queue lately, and has no part in choosing. */
enum { GHOST_SMALL, GHOST_MAIN };

#define GHOST_SMALL_PERCENT 90u
#define GHOST_MAIN_PERCENT  5u

/* The adaptive policy's; docs/replacement.md has the measurements that they come from. */
#define SMALL_LEAST_DIVISOR  100u /* of the frames */
#define SMALL_STEP           4u   /* frames, for each wrong choice */
#define CREDIT_MAX           3u   /* rounds without a touch */
#define CREDIT_SMALL_DIVISOR 20u  /* of the frames */

/* The published one's. */
#define SMALL_DIVISOR 10u

static void init(struct tarn_policy *policy)
{
    uint32_t small = policy->frame_count / SMALL_DIVISOR;
    policy->s3 = (struct s3_fifo){.small = small, .least = small, .most = small};
}

static void init_adaptive(struct tarn_policy *policy)
{
    uint32_t frames = policy->frame_count;
    policy->s3 = (struct s3_fifo){
        .small = frames / SMALL_LEAST_DIVISOR,
        .least = frames / SMALL_LEAST_DIVISOR,
        .most = frames - frames / SMALL_DIVISOR,
        .recent = policy->ghost[GHOST_MAIN].size,
        .credit_small_max = frames / CREDIT_SMALL_DIVISOR,
    };
}

/* A page comes back soon after it left. */
static void adapt(struct s3_fifo *s3, bool left_small)
{
    if (left_small)
        s3->small = s3->most - s3->small > SMALL_STEP ? s3->small + SMALL_STEP : s3->most;
    else
        s3->small = s3->small - s3->least > SMALL_STEP ? s3->small - SMALL_STEP : s3->least;
}

static void loaded(struct tarn_policy *policy, uint32_t frame)
{
    struct s3_fifo *s3 = &policy->s3;
    uint64_t page = policy->frames[frame].page;
    uint32_t age;
    if (tarn_policy_ghost_take(&policy->ghost[GHOST_MAIN], page, &age, NULL))
        adapt(s3, false);
    bool again = tarn_policy_ghost_take(&policy->ghost[GHOST_SMALL], page, &age, NULL);
    if (again && age < s3->recent)
        adapt(s3, true);
    tarn_policy_queue_add(policy, frame, again ? QUEUE_MAIN : QUEUE_SMALL);
}

/* Takes the oldest frame of the small queue out of it; false: it has moved to the main queue. */
static bool leave_small(struct tarn_policy *policy, uint32_t frame)
{
    tarn_policy_queue_remove(policy, frame);
    if (tarn_policy_look(policy, frame)) {
        tarn_policy_queue_add(policy, frame, QUEUE_MAIN);
        return false;
    }
    tarn_policy_ghost_add(&policy->ghost[GHOST_SMALL], policy->frames[frame].page, 0);
    return true;
}

/* The same of the main queue; false: another round. */
static bool leave_main(struct tarn_policy *policy, uint32_t frame)
{
    uint32_t *credit = &policy->frames[frame].last;
    tarn_policy_queue_remove(policy, frame);
    if (tarn_policy_look(policy, frame)) {
        *credit += *credit < CREDIT_MAX;
    } else if (*credit > 0 && policy->s3.small <= policy->s3.credit_small_max) {
        (*credit)--;
    } else {
        tarn_policy_ghost_add(&policy->ghost[GHOST_MAIN], policy->frames[frame].page, 0);
        return true;
    }
    tarn_policy_queue_add(policy, frame, QUEUE_MAIN);
    return false;
}

static uint32_t victim(struct tarn_policy *policy)
{
    for (;;) {
        bool small = tarn_policy_queue_count(policy, QUEUE_SMALL) > policy->s3.small ||
                     tarn_policy_queue_count(policy, QUEUE_MAIN) == 0;
        uint32_t frame = tarn_policy_queue_oldest(policy, small ? QUEUE_SMALL : QUEUE_MAIN);
        if (small ? leave_small(policy, frame) : leave_main(policy, frame))
            return frame;
    }
}

const struct tarn_policy_kind tarn_policy_s3_fifo = {
    .name = "s3-fifo",
    .queue_count = 2,
    .ghost_percent = {[GHOST_SMALL] = GHOST_SMALL_PERCENT},
    .init = init,
    .loaded = loaded,
    .victim = victim,
};

const struct tarn_policy_kind tarn_policy_s3_fifo_adaptive = {
    .name = "s3-fifo-adaptive",
    .queue_count = 2,
    .ghost_percent = {[GHOST_SMALL] = GHOST_SMALL_PERCENT, [GHOST_MAIN] = GHOST_MAIN_PERCENT},
    .init = init_adaptive,
    .loaded = loaded,
    .victim = victim,
};
