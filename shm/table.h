/* SPDX-License-Identifier: MIT */
/* The page table: a clustered hash from page id to frame. Eight neighbouring pages share a home
 * bucket of eight words, one cache line; what does not fit stands in one of the next seven, which
 * are read only if the home's `more` bit is set.
 *
 * An entry is live while its frame's word has its generation and is not FREE, and it is this
 * page's if the descriptor's page id is this page too. Entries are never removed: eviction steps
 * the generation, which makes them stale.
 */
#ifndef TARN_SHM_TABLE_H
#define TARN_SHM_TABLE_H

#include "shm/view.h"

#define TARN_NO_FRAME UINT32_MAX

struct tarn_home {
    uint32_t bucket;
    uint32_t place; /* in the bucket, where the page stands unless it is taken */
    uint32_t tag;
};

static inline struct tarn_home tarn_home_of(const struct tarn_view *view, uint64_t page_id)
{
    /* Fibonacci hashing (Knuth) of what the eight neighbours have in common. Its high bits spread
     * the homes of a run of pages evenly, far better than chance would, so that a run that fits in
     * the pool has its home buckets to itself. The place is turned by home: pages eight apart would
     * all want the same one. */
    uint64_t hash = (page_id >> 3) * UINT64_C(0x9e3779b97f4a7c15);
    return (struct tarn_home){
        .bucket = (uint32_t)((hash >> 32) * view->geometry.bucket_count >> 32),
        .place = (uint32_t)(page_id + (hash >> 16)) & 7,
        .tag = (uint32_t)((hash >> 24 & 0xff) << 3 | (page_id & 7)),
    };
}

/* An entry with a tag that matches: is it this page's? Stores the frame word it saw. */
static inline bool tarn_entry_is_page(const struct tarn_view *view, uint64_t entry,
                                      uint64_t page_id, uint64_t *ret_frame_word)
{
    uint32_t frame = entry_frame_plus_one(entry) - 1;
    if (frame >= view->geometry.frame_count)
        return false;
    const struct tarn_descriptor *descriptor = &view->descriptors[frame];
    uint64_t word = tarn_load_acquire(&descriptor->frame_word); /* pairs: "page" */
    if (((frame_word_generation(word) ^ entry_generation(entry)) &
         TARN_MASK(ENTRY_GENERATION_BITS)) != 0 ||
        frame_word_state(word) == FRAME_FREE)
        return false;
    if (tarn_load_relaxed(&descriptor->page_id) != page_id)
        return false;
    *ret_frame_word = word;
    return true;
}

/* Buckets beyond the home, and places in the home other than the page's own. */
uint32_t tarn_table_search(const struct tarn_view *view, uint64_t page_id,
                           uint64_t *ret_frame_word);

/* The frame of the page if it stands in its own place: unless its home is shared, it does. */
static inline uint32_t tarn_table_find_at_home(const struct tarn_view *view, uint64_t page_id,
                                               uint64_t *ret_frame_word)
{
    struct tarn_home home = tarn_home_of(view, page_id);
    uint64_t entry = tarn_load_acquire(&view->buckets[home.bucket].entry[home.place]);
    if (entry_tag(entry) == home.tag && tarn_entry_is_page(view, entry, page_id, ret_frame_word))
        return entry_frame_plus_one(entry) - 1;
    return TARN_NO_FRAME;
}

/* The frame that holds the page, or is about to; TARN_NO_FRAME: none. Writes nothing. The caller
 * pins, or otherwise makes sure, and looks again if the frame word has changed. */
static inline uint32_t tarn_table_find(const struct tarn_view *view, uint64_t page_id,
                                       uint64_t *ret_frame_word)
{
    uint32_t frame = tarn_table_find_at_home(view, page_id, ret_frame_word);
    return frame != TARN_NO_FRAME ? frame : tarn_table_search(view, page_id, ret_frame_word);
}

/* Is the entry live: would it be lost if it were overwritten? */
bool tarn_entry_live(const struct tarn_view *view, uint64_t entry);

/* Enters a CLAIMED frame for its page. The home lock is held. TARN_NO_FRAME: entered. A frame: the
 * page stands there already. TARN_TABLE_FULL: every word of the probe range is live; *ret_victim is
 * then one of their frames. */
#define TARN_TABLE_FULL (UINT32_MAX - 1)
uint32_t tarn_table_insert(const struct tarn_view *view, uint64_t page_id, uint32_t frame,
                           uint64_t frame_word, uint32_t attempt, uint32_t *ret_victim);

/* Clears the `more` bit of a home bucket if no live page of this home stands beyond it. The home
 * lock is held. */
void tarn_table_tidy(const struct tarn_view *view, uint32_t bucket);

#endif
