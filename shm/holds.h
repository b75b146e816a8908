/* SPDX-License-Identifier: MIT */
/* Holds of sessions: how others look for them. A slot's first line has the mark 0 while no hold
 * was ever raised, so a scan over all slots reads one line each, side by side.
 */
#ifndef TARN_SHM_HOLDS_H
#define TARN_SHM_HOLDS_H

#include "shm/view.h"

/* One line of a slot: how many of its holds have to be searched; *ret_next: the next line too. */
static inline unsigned tarn_hold_line_count(const struct tarn_hold_line *line, bool *ret_next)
{
    uint32_t mark = tarn_half_load_acquire(&line->mark);
    *ret_next = (mark & HOLD_MARK_NEXT) != 0;
    return hold_mark_count(mark);
}

/* Does a slot have a hold with one of the two values? */
static inline bool tarn_slot_has_hold(const struct tarn_view *view, unsigned slot, uint32_t value,
                                      uint32_t other)
{
    bool next = true;
    for (unsigned l = 0; next && l < TARN_HOLD_LINES; l++) {
        const struct tarn_hold_line *line = tarn_view_hold_line(view, slot, l);
        unsigned count = tarn_hold_line_count(line, &next);
        for (unsigned i = 0; i < count; i++) {
            uint32_t hold = tarn_half_load_acquire(&line->hold[i]); /* pairs: "hold" */
            if (hold == value || hold == other)
                return true;
        }
    }
    return false;
}

/* Does a slot hold the frame shared? */
static inline bool tarn_slot_shares(const struct tarn_view *view, unsigned slot, uint32_t frame)
{
    return tarn_slot_has_hold(view, slot, hold_of(frame) | HOLD_SHARED,
                              hold_of(frame) | HOLD_SHARED);
}

/* Does a slot hold the frame at all? */
static inline bool tarn_slot_pins(const struct tarn_view *view, unsigned slot, uint32_t frame)
{
    return tarn_slot_has_hold(view, slot, hold_of(frame), hold_of(frame) | HOLD_SHARED);
}

/* A slot that pins the frame; 0: nobody. */
static inline unsigned tarn_frame_holder(const struct tarn_view *view, uint32_t frame)
{
    for (unsigned slot = 1; slot <= view->slot_max; slot++)
        if (tarn_slot_pins(view, slot, frame))
            return slot;
    return 0;
}

#endif
