/* SPDX-License-Identifier: MIT */
/* LRU, as exact as hints allow: collected all the time, they say in which eighth of a turnover of
 * the pool a page was touched last. */
#include "lib/policy/state.h"

static void touched(struct tarn_policy *policy, uint32_t frame)
{
    tarn_policy_queue_remove(policy, frame);
    tarn_policy_queue_add(policy, frame, QUEUE_OWN);
}

const struct tarn_policy_kind tarn_policy_lru = {
    .name = "lru",
    .queue_count = 1,
    .sampled = true,
    .loaded = tarn_policy_loaded_newest,
    .victim = tarn_policy_victim_untouched,
    .touched = touched,
};
