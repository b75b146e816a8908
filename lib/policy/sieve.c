/* SPDX-License-Identifier: MIT */
/* SIEVE (Zhang, Yang, Yue, Vigfusson, Rashmi, "SIEVE is Simpler than LRU", NSDI 2024): the hand
 * goes from old to new and leaves what was touched where it is. */
#include "lib/policy/state.h"

static void leaves(struct tarn_policy *policy, uint32_t frame)
{
    if (policy->sieve.hand == frame + 1)
        policy->sieve.hand = policy->frames[frame].newer;
}

static uint32_t victim(struct tarn_policy *policy)
{
    for (;;) {
        if (policy->sieve.hand == 0)
            policy->sieve.hand = tarn_policy_queue_oldest(policy, QUEUE_OWN) + 1;
        uint32_t frame = policy->sieve.hand - 1;
        if (tarn_policy_look(policy, frame)) {
            policy->sieve.hand = policy->frames[frame].newer;
        } else {
            tarn_policy_queue_remove(policy, frame);
            return frame;
        }
    }
}

const struct tarn_policy_kind tarn_policy_sieve = {
    .name = "sieve",
    .queue_count = 1,
    .loaded = tarn_policy_loaded_newest,
    .victim = victim,
    .leaves = leaves,
};
