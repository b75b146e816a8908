/* SPDX-License-Identifier: MIT */
/* A stream of references against a cache of some frames, without I/O: the very code by which a
 * pool's writer chooses victims, told no more than that knows. A hit sets a bit, and the policy
 * takes the bits away when it looks. */
#ifndef TARN_TOOLS_SIMULATE_H
#define TARN_TOOLS_SIMULATE_H

#include "lib/policy/policy.h"

/* References in order; pages are numbered from 0 to page_count - 1. */
struct references {
    uint32_t *pages;
    uint32_t count;
    uint32_t page_count;
};

/* How many of the references miss in a cache that is empty at first. False: out of memory. */
bool simulate(const struct tarn_policy_kind *kind, const struct references *references,
              uint32_t frame_count, uint64_t *ret_misses);

/* The same of OPT, which knows what comes (Belady, "A Study of Replacement Algorithms for a
 * Virtual-Storage Computer", 1966): no policy misses less. */
bool simulate_opt(const struct references *references, uint32_t frame_count, uint64_t *ret_misses);

#endif
