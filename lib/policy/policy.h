/* SPDX-License-Identifier: MIT */
/* Which page leaves the pool next: one interface, several published algorithms.
 *
 * The state is private to one process and knows nothing of shared memory: frames are numbers, pages
 * are ids. Nobody tells it of a hit. A hit leaves at most a bit behind, the frame's access hint,
 * and a policy asks for it, and takes it back, when it looks at the frame. So one code serves the
 * writer of a live pool, which cannot see hits, and a simulation.
 *
 * Whoever drives it says tarn_policy_loaded() for each page that has come into a frame, and asks
 * tarn_policy_victim() for the frame that is to become free. If that page has to stay after all
 * (it is pinned, or was touched just now), it is loaded once more: for every policy that is the
 * same as a page that was missed soon after it had left. After a takeover all pages are loaded in
 * the order of their frames, and what else was known is learned again.
 *
 * No event costs more than a bounded number of steps on average.
 */
#ifndef TARN_LIB_POLICY_H
#define TARN_LIB_POLICY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TARN_POLICY_NONE UINT32_MAX

/* Was the page in this frame touched since the last call? Takes the hint away. A page that is to be
 * kept longer than others may answer yes more than once. */
typedef bool tarn_policy_take(void *context, uint32_t frame);

struct tarn_policy_kind;
struct tarn_policy;

/* By number, from 0 on; NULL: there are no more. Number 0 is the default. */
const struct tarn_policy_kind *tarn_policy_kind(unsigned number);

/* NULL: there is none of that name. */
const struct tarn_policy_kind *tarn_policy_kind_named(const char *name);

const char *tarn_policy_name(const struct tarn_policy_kind *kind);

/* All memory it will ever need is allocated here. NULL: there is not so much. */
struct tarn_policy *tarn_policy_create(const struct tarn_policy_kind *kind, uint32_t frame_count,
                                       tarn_policy_take *take, void *context);
void tarn_policy_destroy(struct tarn_policy *policy);

/* Frame holds `page` (not 0) now, whatever was known of it; the access hint is clear. `once`: the
 * page is not expected to be touched again, and leaves first if it is not. */
void tarn_policy_loaded(struct tarn_policy *policy, uint32_t frame, uint64_t page, bool once);

/* The frame whose page is to leave, which is forgotten; TARN_POLICY_NONE: no frame has a page. */
uint32_t tarn_policy_victim(struct tarn_policy *policy);

/* The frame is free for another reason: its file was dropped, somebody else has evicted it. */
void tarn_policy_removed(struct tarn_policy *policy, uint32_t frame);

/* The page that the frame is known to hold; 0: none. */
uint64_t tarn_policy_page(const struct tarn_policy *policy, uint32_t frame);

#endif
