/* SPDX-License-Identifier: MIT */
/* LRU, as exact as hints allow: collected all the time, they say in which eighth of a turnover of
 * the pool a page was touched last. */
#include "lib/policy/state.h"

static void loaded(struct tarn_policy *policy, uint32_t frame)
{
    tarn_policy_queue_add(policy, frame, QUEUE_OWN);
}

static void touched(struct tarn_policy *policy, uint32_t frame)
{
    tarn_policy_queue_remove(policy, frame);
    tarn_policy_queue_add(policy, frame, QUEUE_OWN);
}

static uint32_t victim(struct tarn_policy *policy)
{
    for (;;) {
        uint32_t frame = tarn_policy_queue_oldest(policy, QUEUE_OWN);
        tarn_policy_queue_remove(policy, frame);
        if (!tarn_policy_look(policy, frame))
            return frame;
        tarn_policy_queue_add(policy, frame, QUEUE_OWN);
    }
}

const struct tarn_policy_kind tarn_policy_lru = {
    .name = "lru",
    .queue_count = 1,
    .sampled = true,
    .loaded = loaded,
    .victim = victim,
    .touched = touched,
};
