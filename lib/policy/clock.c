/* SPDX-License-Identifier: MIT */
/* CLOCK (Corbato, "A Paging Experiment with the Multics System", 1968), as a queue: a frame that
 * was touched goes around once more. */
#include "lib/policy/state.h"

static void loaded(struct tarn_policy *policy, uint32_t frame)
{
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

const struct tarn_policy_kind tarn_policy_clock = {
    .name = "clock",
    .queue_count = 1,
    .loaded = loaded,
    .victim = victim,
};
