/* SPDX-License-Identifier: MIT */
/* Every place where a store must be seen before a later load, by name. Each is a locked
 * read-modify-write; docs/concurrency.md has a row for each, with its partner.
 */
#ifndef TARN_SHM_ORDER_H
#define TARN_SHM_ORDER_H

#include "shm/layout.h"

/* Order "hold / frame word": an empty hold of mine names a frame, then I read its frame word.
 * Partner: order_evicting_before_holds(). */
static inline void order_hold_before_frame_word(tarn_half *hold, uint32_t value)
{
    tarn_half_fetch_add_full(hold, value);
}

/* The same for several holds that were stored already, this one among them. */
static inline void order_holds_before_frame_words(tarn_half *hold)
{
    tarn_half_fetch_add_full(hold, 0);
}

/* Order "hold / latch word": my hold says shared, then I read the latch word.
 * Partner: order_latch_before_holds(). */
static inline void order_shared_before_latch_word(tarn_half *hold)
{
    tarn_half_fetch_add_full(hold, HOLD_SHARED);
}

/* Order "EVICTING / holds": the frame is marked, then I scan the holds. */
static inline bool order_evicting_before_holds(tarn_word *frame_word, uint64_t seen, unsigned owner)
{
    return tarn_cas_full(frame_word, seen, frame_word_evicting(seen, owner));
}

/* A lock word that says that somebody has it, and then who: a kill between the two leaves a lock
 * that nobody reaps. */
static inline bool planted_owner_after_cas(tarn_word *latch_word, uint64_t seen, unsigned owner)
{
    if (!tarn_cas_full(latch_word, seen, latch_word_taken(seen, TARN_SLOT_MAX)))
        return false;
    tarn_store_relaxed(latch_word, latch_word_taken(seen, owner));
    return true;
}

/* Order "X / holds": the latch is mine, then I scan the holds of those who may share it. */
static inline bool order_latch_before_holds(tarn_word *latch_word, uint64_t seen, unsigned owner)
{
    if (PLANTED(OWNER_STORED_AFTER_CAS))
        return planted_owner_after_cas(latch_word, seen, owner);
    return tarn_cas_full(latch_word, seen, latch_word_taken(seen, owner));
}

/* Both at once, with one barrier: an empty hold of mine names a frame and its latch is mine, then I
 * read the frame word and scan the holds. Partners: order_evicting_before_holds(),
 * order_shared_before_latch_word(). */
static inline bool order_hold_and_latch(tarn_half *hold, uint32_t value, tarn_word *latch_word,
                                        uint64_t seen, unsigned owner)
{
    tarn_half_store_release(hold, value);
    return tarn_cas_full(latch_word, seen, latch_word_taken(seen, owner));
}

/* Order "sleep flag / requests": the writer says it sleeps, then looks for requests once more.
 * Partner: order_request_before_sleep(). */
static inline void order_sleep_before_requests(struct tarn_control *control)
{
    tarn_cas_full(&control->writer_sleeps, 0, 1);
}

/* The other side: what the writer shall see is stored, then I look whether it sleeps. The flag
 * stays: a session that dies or is stopped before it has woken the writer hides nothing from the
 * next one. */
static inline bool order_request_before_sleep(struct tarn_control *control)
{
    if (PLANTED(WAKER_CLEARS_SLEEP_FLAG))
        return tarn_cas_full(&control->writer_sleeps, 1, 0);
    return tarn_fetch_add_full(&control->writer_sleeps, 0) == 1;
}

/* Order "page count / frames": the lower count is published, then the frames are scanned.
 * Partner: order_entry_before_page_count(). */
static inline bool order_page_count_before_frames(tarn_word *page_count, uint64_t seen,
                                                  uint64_t count)
{
    return tarn_cas_full(page_count, seen, count);
}

/* The other side: my frame stands in the table, then I read count and incarnation. */
static inline bool order_entry_before_page_count(tarn_word *entry, uint64_t seen, uint64_t value)
{
    return tarn_cas_full(entry, seen, value);
}

/* Order "wanted / frames": I say that somebody waits for a frame, then I look for one once more.
 * Partner: order_freed_before_wanted(). */
static inline void order_wanted_before_frames(struct tarn_control *control)
{
    tarn_or_full(&control->frames_wanted, 1);
}

/* The other side: frames were freed, then I look whether somebody wants one. The flag goes before
 * `freed` steps, the word that they sleep on: who has set it before that sees the step. */
static inline bool order_freed_before_wanted(struct tarn_control *control)
{
    if (tarn_fetch_add_full(&control->frames_wanted, 0) == 0)
        return false;
    tarn_store_relaxed(&control->frames_wanted, 0);
    tarn_fetch_add_full(&control->freed, 1);
    return true;
}

#endif
