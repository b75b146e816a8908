/* SPDX-License-Identifier: MIT */
/* The packed words of the segment: their bits, and the pure functions that change them.
 *
 * The low 32 bits of the frame word and of the latch word hold everything that a sleeper waits
 * for, since a futex compares 32 bits. docs/concurrency.md says who may make which change.
 */
#ifndef TARN_SHM_WORDS_H
#define TARN_SHM_WORDS_H

#include <stdbool.h>
#include <stdint.h>

#include "shm/planted.h"

/* Slot numbers name sessions in words: 1 to TARN_SLOT_MAX; 0 is nobody. */
#define TARN_OWNER_BITS 12
#define TARN_SLOT_MAX   4095u

/* Frame indexes: 0 to TARN_FRAME_MAX. Words hold the index + 1; 0 is none. */
#define TARN_FRAME_BITS 28
#define TARN_FRAME_MAX  ((1u << TARN_FRAME_BITS) - 2)

#define TARN_MASK(bits) ((UINT64_C(1) << (bits)) - 1)

/* Page id: file 1 to 65535 above, page number below. 0 is none. */
#define TARN_FILE_BITS   16
#define TARN_NUMBER_BITS 48
_Static_assert(TARN_FILE_BITS + TARN_NUMBER_BITS == 64, "page id");

static inline uint32_t page_id_file(uint64_t id)
{
    return (uint32_t)(id >> TARN_NUMBER_BITS);
}

static inline uint64_t page_id_number(uint64_t id)
{
    return id & TARN_MASK(TARN_NUMBER_BITS);
}

static inline uint64_t page_id_of(uint32_t file, uint64_t number)
{
    return (uint64_t)file << TARN_NUMBER_BITS | number;
}

/* Frame word: {generation, owner, revocable, waiters, state}. */

enum {
    FRAME_FREE = 0,     /* nobody's */
    FRAME_CLAIMED = 1,  /* owner's alone: being read, a shadow, or NEW and not committed */
    FRAME_VALID = 2,    /* the page in the descriptor */
    FRAME_EVICTING = 3, /* valid still; whoever wants it may make it VALID again */
};

#define FRAME_STATE_BITS      2
#define FRAME_WAITERS_BITS    1
#define FRAME_REVOCABLE_BITS  1
#define FRAME_GENERATION_BITS 48
_Static_assert(FRAME_STATE_BITS + FRAME_WAITERS_BITS + FRAME_REVOCABLE_BITS + TARN_OWNER_BITS +
                       FRAME_GENERATION_BITS ==
                   64,
               "frame word");

#define FRAME_WAITERS          (UINT64_C(1) << FRAME_STATE_BITS)
#define FRAME_REVOCABLE        (UINT64_C(1) << (FRAME_STATE_BITS + FRAME_WAITERS_BITS))
#define FRAME_OWNER_SHIFT      (FRAME_STATE_BITS + FRAME_WAITERS_BITS + FRAME_REVOCABLE_BITS)
#define FRAME_GENERATION_SHIFT (FRAME_OWNER_SHIFT + TARN_OWNER_BITS)

static inline unsigned frame_word_state(uint64_t word)
{
    return (unsigned)(word & TARN_MASK(FRAME_STATE_BITS));
}

static inline unsigned frame_word_owner(uint64_t word)
{
    return (unsigned)(word >> FRAME_OWNER_SHIFT & TARN_MASK(TARN_OWNER_BITS));
}

static inline uint64_t frame_word_generation(uint64_t word)
{
    return word >> FRAME_GENERATION_SHIFT;
}

static inline bool frame_word_is(uint64_t word, unsigned state, unsigned owner)
{
    return frame_word_state(word) == state && frame_word_owner(word) == owner;
}

static inline uint64_t frame_word_of(uint64_t generation, unsigned owner, unsigned state)
{
    return generation << FRAME_GENERATION_SHIFT | (uint64_t)owner << FRAME_OWNER_SHIFT | state;
}

/* FREE -> CLAIMED(owner). */
static inline uint64_t frame_word_claimed(uint64_t word, unsigned owner)
{
    return frame_word_of(frame_word_generation(word), owner, FRAME_CLAIMED);
}

/* CLAIMED -> VALID and EVICTING -> VALID. Whoever takes the waiters bit away wakes. */
static inline uint64_t frame_word_valid(uint64_t word)
{
    return frame_word_of(frame_word_generation(word), 0, FRAME_VALID);
}

/* VALID -> EVICTING(owner). */
static inline uint64_t frame_word_evicting(uint64_t word, unsigned owner)
{
    return frame_word_of(frame_word_generation(word), owner, FRAME_EVICTING);
}

/* Any -> FREE: the one place where the generation steps, so no way into FREE can leave it out. */
static inline uint64_t frame_word_freed(uint64_t word)
{
    uint64_t step = PLANTED(GENERATION_NOT_STEPPED) ? 0 : 1;
    return frame_word_of(frame_word_generation(word) + step, 0, FRAME_FREE);
}

/* Latch word: {version, waiters, owner}. */

#define LATCH_WAITERS_BITS 1
#define LATCH_VERSION_BITS 51
_Static_assert(TARN_OWNER_BITS + LATCH_WAITERS_BITS + LATCH_VERSION_BITS == 64, "latch word");

#define LATCH_WAITERS       (UINT64_C(1) << TARN_OWNER_BITS)
#define LATCH_VERSION_SHIFT (TARN_OWNER_BITS + LATCH_WAITERS_BITS)
#define LATCH_VERSION_ONE   (UINT64_C(1) << LATCH_VERSION_SHIFT)

static inline unsigned latch_word_owner(uint64_t word)
{
    return (unsigned)(word & TARN_MASK(TARN_OWNER_BITS));
}

/* Nobody -> exclusive. A free word has no waiters bit. */
static inline uint64_t latch_word_taken(uint64_t word, unsigned owner)
{
    return (word >> LATCH_VERSION_SHIFT) << LATCH_VERSION_SHIFT | owner;
}

/* Exclusive -> nobody; also after an abort, a failed wait, and by the reaper. */
static inline uint64_t latch_word_released(uint64_t word)
{
    uint64_t step = PLANTED(VERSION_NOT_STEPPED) ? 0 : 1;
    return ((word >> LATCH_VERSION_SHIFT) + step) << LATCH_VERSION_SHIFT;
}

/* Dirty word: {mark, dirty}. */

static inline bool dirty_word_dirty(uint64_t word)
{
    return word & 1;
}

static inline uint64_t dirty_word_mark(uint64_t word)
{
    return word >> 1;
}

static inline uint64_t dirty_word_changed(uint64_t word)
{
    return (dirty_word_mark(word) + 1) << 1 | 1;
}

static inline uint64_t dirty_word_cleaned(uint64_t word)
{
    return word & ~UINT64_C(1);
}

/* Hold: {frame + 1, shared}, 32 bits. */

#define HOLD_SHARED 1u
_Static_assert(TARN_FRAME_BITS + 1 <= 32, "hold");

static inline uint32_t hold_of(uint32_t frame)
{
    return (frame + 1) << 1;
}

/* The frame + 1 that a hold names; 0: an empty hold. */
static inline uint32_t hold_frame_plus_one(uint32_t hold)
{
    return hold >> 1;
}

/* Mark of a line of holds: {next line in use, holds to search in this line}. */
#define HOLD_LINE_HOLDS 15u
#define HOLD_MARK_NEXT  16u

static inline uint32_t hold_mark_count(uint32_t mark)
{
    uint32_t count = mark & 15u;
    return count;
}

/* Table entry: {generation, more, tag, frame + 1}. */

#define ENTRY_TAG_BITS        11
#define ENTRY_MORE_BITS       1
#define ENTRY_GENERATION_BITS 24
_Static_assert(TARN_FRAME_BITS + ENTRY_TAG_BITS + ENTRY_MORE_BITS + ENTRY_GENERATION_BITS == 64,
               "table entry");

#define ENTRY_MORE             (UINT64_C(1) << (TARN_FRAME_BITS + ENTRY_TAG_BITS))
#define ENTRY_GENERATION_SHIFT (TARN_FRAME_BITS + ENTRY_TAG_BITS + ENTRY_MORE_BITS)

static inline uint64_t entry_of(uint32_t frame, uint32_t tag, uint64_t generation)
{
    return (generation & TARN_MASK(ENTRY_GENERATION_BITS)) << ENTRY_GENERATION_SHIFT |
           (uint64_t)tag << TARN_FRAME_BITS | (frame + 1);
}

static inline uint32_t entry_frame_plus_one(uint64_t entry)
{
    return (uint32_t)(entry & TARN_MASK(TARN_FRAME_BITS));
}

static inline uint32_t entry_tag(uint64_t entry)
{
    return (uint32_t)(entry >> TARN_FRAME_BITS & TARN_MASK(ENTRY_TAG_BITS));
}

static inline uint64_t entry_generation(uint64_t entry)
{
    return entry >> ENTRY_GENERATION_SHIFT;
}

/* Mini-transaction word: {serial, count, state} and its entries {ranges, shadow + 1, frame +
 * 1} */

enum {
    MTR_NONE = 0,
    MTR_ACTIVE = 1,
    MTR_COMMITTED = 2,
};

#define MTR_STATE_BITS  2
#define MTR_COUNT_BITS  6
#define MTR_SERIAL_BITS 56
_Static_assert(MTR_STATE_BITS + MTR_COUNT_BITS + MTR_SERIAL_BITS == 64, "mtr word");

static inline uint64_t mtr_word_of(uint64_t serial, unsigned count, unsigned state)
{
    return serial << (MTR_STATE_BITS + MTR_COUNT_BITS) | (uint64_t)count << MTR_STATE_BITS | state;
}

static inline unsigned mtr_word_state(uint64_t word)
{
    return (unsigned)(word & TARN_MASK(MTR_STATE_BITS));
}

static inline unsigned mtr_word_count(uint64_t word)
{
    return (unsigned)(word >> MTR_STATE_BITS & TARN_MASK(MTR_COUNT_BITS));
}

static inline uint64_t mtr_word_serial(uint64_t word)
{
    return word >> (MTR_STATE_BITS + MTR_COUNT_BITS);
}

#define MTR_ENTRY_RANGES (UINT64_C(1) << (2 * TARN_FRAME_BITS))

static inline uint64_t mtr_entry_of(uint32_t frame, uint32_t shadow_plus_one, bool ranges)
{
    return (ranges ? MTR_ENTRY_RANGES : 0) | (uint64_t)shadow_plus_one << TARN_FRAME_BITS |
           (frame + 1);
}

static inline uint32_t mtr_entry_frame_plus_one(uint64_t entry)
{
    return (uint32_t)(entry & TARN_MASK(TARN_FRAME_BITS));
}

static inline uint32_t mtr_entry_shadow_plus_one(uint64_t entry)
{
    return (uint32_t)(entry >> TARN_FRAME_BITS & TARN_MASK(TARN_FRAME_BITS));
}

/* Request word: {serial, result, state}. */

enum {
    REQUEST_NONE = 0,
    REQUEST_ASKED = 1, /* by the session that owns the slot */
    REQUEST_DONE = 2,  /* by the writer, by CAS on the asked word */
};

#define REQUEST_STATE_BITS  2
#define REQUEST_RESULT_BITS 14
#define REQUEST_SERIAL_BITS 48
_Static_assert(REQUEST_STATE_BITS + REQUEST_RESULT_BITS + REQUEST_SERIAL_BITS == 64, "request");

/* `result` is a negative errno, or 0. */
static inline uint64_t request_word_of(uint64_t serial, int result, unsigned state)
{
    return serial << (REQUEST_STATE_BITS + REQUEST_RESULT_BITS) |
           (uint64_t)(uint32_t)(-result) << REQUEST_STATE_BITS | state;
}

static inline unsigned request_word_state(uint64_t word)
{
    return (unsigned)(word & TARN_MASK(REQUEST_STATE_BITS));
}

static inline int request_word_result(uint64_t word)
{
    return -(int)(word >> REQUEST_STATE_BITS & TARN_MASK(REQUEST_RESULT_BITS));
}

static inline uint64_t request_word_serial(uint64_t word)
{
    return word >> (REQUEST_STATE_BITS + REQUEST_RESULT_BITS);
}

/* Setting: half a word: {was it set, value}. Low and high mark of one thing share a word, low mark
 * below, so that nobody sees one of another time than the other. */

#define SETTING_VALUE_BITS 31
#define SETTING_SET        (1u << SETTING_VALUE_BITS)
#define SETTING_VALUE_MAX  (SETTING_SET - 1)

static inline uint32_t setting_of(uint64_t word, unsigned half)
{
    return (uint32_t)(word >> (half * 32));
}

static inline uint64_t setting_word_with(uint64_t word, unsigned half, uint32_t setting)
{
    return (word & ~((uint64_t)UINT32_MAX << (half * 32))) | (uint64_t)setting << (half * 32);
}

/* File word: {incarnation, direct, kind, state}. */

enum {
    FILE_FREE = 0,
    FILE_OPEN = 1,
    FILE_DROPPED = 2,
};

enum {
    FILE_RAW = 0,
    FILE_TEMPORARY = 1,
};

static inline uint64_t file_word_of(uint64_t incarnation, bool direct, unsigned kind,
                                    unsigned state)
{
    return incarnation << 5 | (uint64_t)direct << 4 | (uint64_t)kind << 2 | state;
}

static inline unsigned file_word_state(uint64_t word)
{
    return (unsigned)(word & 3);
}

static inline unsigned file_word_kind(uint64_t word)
{
    return (unsigned)(word >> 2 & 3);
}

static inline bool file_word_direct(uint64_t word)
{
    return word >> 4 & 1;
}

static inline uint64_t file_word_incarnation(uint64_t word)
{
    return word >> 5;
}

/* Share word of a file: {limit in frames, full}. */

#define SHARE_FULL 1u /* it has as many, or more; a hint */

static inline uint64_t share_word_of(uint32_t limit, bool full)
{
    return (uint64_t)limit << 1 | full;
}

/* In frames; 0: none. A limit that no pool of so many frames can have set is one of all of them. */
static inline uint32_t share_word_limit(uint64_t word, uint32_t frame_count)
{
    return word >> 1 < frame_count ? (uint32_t)(word >> 1) : frame_count;
}

#endif
