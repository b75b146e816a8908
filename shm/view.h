/* SPDX-License-Identifier: MIT */
/* A mapped segment as one process sees it: a checked private copy of the geometry, and where
 * everything stands. Nothing else turns an offset or an index of the segment into a pointer.
 */
#ifndef TARN_SHM_VIEW_H
#define TARN_SHM_VIEW_H

#include "shm/layout.h"

struct tarn_view {
    uint8_t *base;
    uint8_t *frames;
    struct tarn_descriptor *descriptors;
    struct tarn_bucket *buckets;
    struct tarn_hold_line *holds;
    tarn_word *home_locks;
    tarn_word *bitmap; /* bit set: the frame may be FREE; wrong either way */
    struct tarn_slot *slots;
    struct tarn_file_entry *files;
    struct tarn_control *control;
    const struct tarn_superblock *superblock;
    unsigned page_shift;
    unsigned slot_max;             /* slots are numbered 1 to slot_max */
    struct tarn_geometry geometry; /* private copy: the segment's may change under us */
};

/* Plans a segment. Returns 0, or -EINVAL if a number is outside the limits. */
int tarn_geometry_plan(uint64_t frame_count, uint32_t page_bytes, uint32_t session_count,
                       uint32_t file_count, struct tarn_geometry *ret_geometry);

/* Bytes beside the frames. */
uint64_t tarn_geometry_overhead(const struct tarn_geometry *geometry);

/* Checks a first page (TARN_PAGE_BYTES_MIN bytes) against itself and the size of its file: 0 or
 * -ENOTTY, -ENOEXEC, -EPROTONOSUPPORT, -EPROTOTYPE, -EMSGSIZE. */
int tarn_superblock_check(const void *page, uint64_t file_bytes);

/* The checksum of a first page, its own field taken as 0. */
uint64_t tarn_superblock_checksum(const void *page);

/* Differs between builds whose shared structs differ. */
uint64_t tarn_layout_hash(void);

/* `geometry` must have passed tarn_superblock_check() or come from tarn_geometry_plan(). */
void tarn_view_set(struct tarn_view *view, void *base, const struct tarn_geometry *geometry);

static inline struct tarn_slot *tarn_view_slot(const struct tarn_view *view, unsigned slot)
{
    return &view->slots[slot - 1];
}

/* Line 0 to TARN_HOLD_LINES - 1 of a slot; all first lines stand together. */
static inline struct tarn_hold_line *tarn_view_hold_line(const struct tarn_view *view,
                                                         unsigned slot, unsigned line)
{
    return &view->holds[line * view->slot_max + slot - 1];
}

static inline uint8_t *tarn_view_frame(const struct tarn_view *view, uint32_t frame)
{
    return view->frames + ((uint64_t)frame << view->page_shift);
}

static inline uint64_t tarn_sticky_bit(const struct tarn_view *view, unsigned slot)
{
    return UINT64_C(1) << (slot - 1) / view->geometry.group_slots;
}

#endif
