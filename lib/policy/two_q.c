/* SPDX-License-Identifier: MIT */
/* 2Q (Johnson, Shasha, "2Q: A Low Overhead High Performance Buffer Management Replacement
 * Algorithm", VLDB 1994), the full version with the sizes of the paper. The main queue is a clock
 * instead of LRU, since all there is to go by is a hint. */
#include "lib/policy/state.h"

enum {
    QUEUE_IN = QUEUE_OWN, /* A1in */
    QUEUE_MAIN,           /* Am */
};

#define IN_DIVISOR 4u /* Kin: of the frames */

static void loaded(struct tarn_policy *policy, uint32_t frame)
{
    uint32_t age;
    bool again = tarn_policy_ghost_take(&policy->ghost[0], policy->frames[frame].page, &age, NULL);
    tarn_policy_queue_add(policy, frame, again ? QUEUE_MAIN : QUEUE_IN);
}

static uint32_t victim(struct tarn_policy *policy)
{
    uint32_t frame;
    if (tarn_policy_queue_count(policy, QUEUE_IN) > policy->frame_count / IN_DIVISOR ||
        tarn_policy_queue_count(policy, QUEUE_MAIN) == 0) {
        frame = tarn_policy_queue_oldest(policy, QUEUE_IN);
        tarn_policy_queue_remove(policy, frame);
        tarn_policy_ghost_add(&policy->ghost[0], policy->frames[frame].page, 0);
        return frame;
    }
    for (;;) {
        frame = tarn_policy_queue_oldest(policy, QUEUE_MAIN);
        tarn_policy_queue_remove(policy, frame);
        if (!tarn_policy_look(policy, frame))
            return frame;
        tarn_policy_queue_add(policy, frame, QUEUE_MAIN);
    }
}

const struct tarn_policy_kind tarn_policy_2q = {
    .name = "2q",
    .queue_count = 2,
    .ghost_percent = {50, 0}, /* Kout */
    .loaded = loaded,
    .victim = victim,
};
