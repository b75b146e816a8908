/* SPDX-License-Identifier: MIT */
/* CLOCK (Corbato, "A Paging Experiment with the Multics System", 1968), as a queue: a frame that
 * was touched goes around once more. */
#include "lib/policy/state.h"

const struct tarn_policy_kind tarn_policy_clock = {
    .name = "clock",
    .queue_count = 1,
    .loaded = tarn_policy_loaded_newest,
    .victim = tarn_policy_victim_untouched,
};
