/* SPDX-License-Identifier: MIT */
/* What a hit is made of, inline: pins, and pages that a mini-transaction takes. */
#ifndef TARN_LIB_HIT_H
#define TARN_LIB_HIT_H

#include "lib/internal.h"

/* Hits between two that are timed. */
#define TARN_SAMPLE_EVERY 256u

/* Makes the marks cover hold `index`, line after line, before anything is stored there. */
void tarn_hold_raise_marks(struct tarn_session *session, unsigned index);

/* -EMFILE, with a message. */
int tarn_hold_none(struct tarn_session *session);

/* Takes an empty hold and raises the mark; returns its number, or -EMFILE with a message. */
static inline int tarn_hold_take(struct tarn_session *session)
{
    uint64_t free_holds = session->free_holds;
    if (__builtin_expect(free_holds == 0, 0))
        return tarn_hold_none(session);
    unsigned index = (unsigned)__builtin_ctzll(free_holds);
    session->free_holds = free_holds & (free_holds - 1);
    if (__builtin_expect(index >= session->holds_marked, 0))
        tarn_hold_raise_marks(session, index);
    return (int)index;
}

static inline void tarn_hold_give(struct tarn_session *session, unsigned hold)
{
    tarn_half_store_release(session->hold[hold], 0); /* pairs: "hold" */
    session->pinned[hold] = 0;
    session->free_holds |= UINT64_C(1) << hold;
}

static inline void tarn_touch(struct tarn_descriptor *descriptor, unsigned hints)
{
    uint32_t hint = tarn_half_load_relaxed(&descriptor->hint);
    uint32_t wanted = hints & TARN_HINT_KEEP ? HINT_KEEP : HINT_TOUCHED;
    if (__builtin_expect(hint < wanted, 0) && (hints & TARN_HINT_ONCE) == 0)
        tarn_half_store_relaxed(&descriptor->hint, wanted);
}

static inline tarn_word *tarn_hits_of(struct tarn_session *session, struct tarn_page_id id)
{
    return &session->shared->file_hits[page_id_file(id.value) % TARN_FILE_CELLS];
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
