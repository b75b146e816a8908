/* SPDX-License-Identifier: MIT */
#include "shm/table.h"

#include "shm/order.h"

static uint32_t bucket_after(const struct tarn_view *view, uint32_t bucket, uint32_t distance)
{
    uint32_t next = bucket + distance;
    return next < view->geometry.bucket_count ? next : next - view->geometry.bucket_count;
}

uint32_t tarn_table_search(const struct tarn_view *view, uint64_t page_id, uint64_t *ret_frame_word)
{
    struct tarn_home home = tarn_home_of(view, page_id);
    const struct tarn_bucket *bucket = &view->buckets[home.bucket];
    uint32_t probes = tarn_load_acquire(&bucket->entry[0]) & ENTRY_MORE ? TARN_PROBE_BUCKETS : 1;
    for (uint32_t probe = 0; probe < probes; probe++) {
        bucket = &view->buckets[bucket_after(view, home.bucket, probe)];
        for (uint32_t i = 0; i < TARN_BUCKET_WORDS; i++) {
            uint64_t entry = tarn_load_acquire(&bucket->entry[i]);
            if (entry_tag(entry) == home.tag &&
                tarn_entry_is_page(view, entry, page_id, ret_frame_word))
                return entry_frame_plus_one(entry) - 1;
        }
    }
    return TARN_NO_FRAME;
}

bool tarn_entry_live(const struct tarn_view *view, uint64_t entry)
{
    uint32_t frame = entry_frame_plus_one(entry) - 1;
    if (frame >= view->geometry.frame_count)
        return false;
    uint64_t word = tarn_load_acquire(&view->descriptors[frame].frame_word);
    return ((frame_word_generation(word) ^ entry_generation(entry)) &
            TARN_MASK(ENTRY_GENERATION_BITS)) == 0 &&
           frame_word_state(word) != FRAME_FREE;
}

/* Sets `more` at the home. Bounded: only entry CASes of the few homes that share the word get in
 * between. */
static void set_more(const struct tarn_view *view, uint32_t bucket)
{
    tarn_word *first = &view->buckets[bucket].entry[0];
    for (;;) {
        uint64_t seen = tarn_load_acquire(first);
        if (seen & ENTRY_MORE || tarn_cas_full(first, seen, seen | ENTRY_MORE))
            return;
    }
}

/* A word of one bucket that is not live, the page's own place first; NULL: none. */
static tarn_word *place_in(const struct tarn_view *view, uint32_t bucket, uint32_t place,
                           uint64_t *ret_seen)
{
    for (uint32_t i = 0; i < TARN_BUCKET_WORDS; i++) {
        tarn_word *word = &view->buckets[bucket].entry[(place + i) & 7];
        uint64_t seen = tarn_load_acquire(word);
        if (!tarn_entry_live(view, seen)) {
            *ret_seen = seen;
            return word;
        }
    }
    return NULL;
}

uint32_t tarn_table_insert(const struct tarn_view *view, uint64_t page_id, uint32_t frame,
                           uint64_t frame_word, uint32_t attempt, uint32_t *ret_victim)
{
    struct tarn_home home = tarn_home_of(view, page_id);
    uint64_t found_word;
    uint32_t found = tarn_table_search(view, page_id, &found_word);
    if (found != TARN_NO_FRAME)
        return found;

    uint64_t entry = entry_of(frame, home.tag, frame_word_generation(frame_word));
    for (uint32_t probe = 0; probe < TARN_PROBE_BUCKETS; probe++) {
        uint32_t bucket = bucket_after(view, home.bucket, probe);
        for (;;) {
            uint64_t seen;
            tarn_word *word = place_in(view, bucket, home.place, &seen);
            if (word == NULL)
                break;
            if (probe > 0)
                set_more(view, home.bucket);
            /* Another home's insertion may take the word first; each such loss fills one word,
             * so a bucket is tried at most a few times. */
            uint64_t more = PLANTED(MORE_LOST_BY_ENTRY) ? 0 : seen & ENTRY_MORE;
            if (order_entry_before_page_count(word, seen, entry | more))
                return TARN_NO_FRAME;
        }
    }
    uint32_t choice = attempt % (TARN_PROBE_BUCKETS * TARN_BUCKET_WORDS);
    uint32_t victim_bucket = bucket_after(view, home.bucket, choice / TARN_BUCKET_WORDS);
    uint64_t victim =
        tarn_load_acquire(&view->buckets[victim_bucket].entry[choice % TARN_BUCKET_WORDS]);
    *ret_victim = entry_frame_plus_one(victim) - 1;
    return TARN_TABLE_FULL;
}

/* True if a live page whose home is `bucket` stands beyond it. */
static bool stands_beyond(const struct tarn_view *view, uint32_t bucket)
{
    for (uint32_t probe = 1; probe < TARN_PROBE_BUCKETS; probe++) {
        const struct tarn_bucket *beyond = &view->buckets[bucket_after(view, bucket, probe)];
        for (uint32_t i = 0; i < TARN_BUCKET_WORDS; i++) {
            uint64_t entry = tarn_load_acquire(&beyond->entry[i]);
            if (!tarn_entry_live(view, entry))
                continue;
            uint32_t frame = entry_frame_plus_one(entry) - 1;
            uint64_t page_id = tarn_load_relaxed(&view->descriptors[frame].page_id);
            if (tarn_home_of(view, page_id).bucket == bucket)
                return true;
        }
    }
    return false;
}

void tarn_table_tidy(const struct tarn_view *view, uint32_t bucket)
{
    tarn_word *first = &view->buckets[bucket].entry[0];
    uint64_t seen = tarn_load_acquire(first);
    if (seen & ENTRY_MORE && !stands_beyond(view, bucket))
        tarn_cas_full(first, seen, seen & ~ENTRY_MORE);
}
