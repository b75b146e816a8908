/* SPDX-License-Identifier: MIT */
/* What a hit is made of, inline: pins, and pages that a mini-transaction takes. */
#ifndef TARN_LIB_HIT_H
#define TARN_LIB_HIT_H

#include "lib/internal.h"

/* Hits between two that are timed. They are counted in private memory, and published then, when one
 * is in another file, and where time does not matter. */
#define TARN_SAMPLE_EVERY 256u

/* Makes the marks cover hold `index`, line after line, before anything is stored there. */
void tarn_hold_raise_marks(struct tarn_session *session, unsigned index);

/* Makes the first empty hold the next one, under a mark. Returns it, or -EMFILE with a message. */
int tarn_hold_find(struct tarn_session *session);

/* Takes an empty hold for the library's own use; returns its number, or -EMFILE with a message. */
static inline int tarn_hold_take(struct tarn_session *session)
{
    int hold = (int)session->hold_next;
    if (__builtin_expect(session->pinned[hold] != 0, 0))
        hold = tarn_hold_find(session);
    if (__builtin_expect(hold >= 0, 1))
        session->pinned[hold] = PINNED_INSIDE;
    return hold;
}

static inline void tarn_hold_give(struct tarn_session *session, unsigned hold)
{
    tarn_half_store_release(session->hold[hold], 0); /* pairs: "hold" */
    session->pinned[hold] = 0;
}

/* Whoever reads in sequence has not come back to the page. */
static inline void tarn_touch(struct tarn_descriptor *descriptor, unsigned hints)
{
    uint32_t hint = tarn_half_load_relaxed(&descriptor->hint);
    if (__builtin_expect(hint >= HINT_TOUCHED && (hints & TARN_HINT_KEEP) == 0, 1))
        return;
    uint32_t wanted = hints & TARN_HINT_KEEP         ? HINT_KEEP
                      : hints & TARN_HINT_SEQUENTIAL ? HINT_LOADED
                                                     : HINT_TOUCHED;
    if (hint < wanted && (hints & TARN_HINT_ONCE) == 0)
        tarn_half_store_relaxed(&descriptor->hint, wanted);
}

/* Adds what was counted in private to the slot. */
void tarn_hits_publish(struct tarn_session *session);

/* Hits that are not counted in private. */
static inline void tarn_hits_add(struct tarn_session *session, uint32_t file, uint64_t hits)
{
    tarn_count(&session->shared->file_hits[file % TARN_FILE_CELLS], hits);
}

/* The page is there and VALID: announces the hold and makes sure. */
static TARN_INLINE bool tarn_pin_valid(struct tarn_session *session, uint32_t frame, uint64_t word,
                                       unsigned hold)
{
    order_hold_before_frame_word(session->hold[hold], hold_of(frame));
    if (__builtin_expect(tarn_load_acquire(&session->view.descriptors[frame].frame_word) == word,
                         1) ||
        PLANTED(HIT_WITHOUT_SECOND_LOOK))
        return true;
    tarn_half_store_release(session->hold[hold], 0);
    return false;
}

#endif
