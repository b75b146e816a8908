/* SPDX-License-Identifier: MIT */
/* The words, the plan and the page table of a segment, in private memory. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "shm/holds.h"
#include "shm/order.h"
#include "shm/table.h"
#include "tests/test.h"

static struct tarn_view view;

static void make_view(uint64_t frame_count, uint32_t session_count)
{
    struct tarn_geometry geometry;
    ck_assert_int_eq(tarn_geometry_plan(frame_count, 4096, session_count, 4, &geometry), 0);
    /* Frames are never touched here. */
    void *base = aligned_alloc(4096, geometry.frames_offset + 4096);
    ck_assert_ptr_nonnull(base);
    memset(base, 0, geometry.frames_offset + 4096);
    tarn_view_set(&view, base, &geometry);
}

static void free_view(void)
{
    free(view.base);
}

START_TEST(frame_word_steps_its_generation_on_every_way_into_free)
{
    uint64_t word = 0;
    for (uint64_t generation = 0; generation < 5; generation++) {
        ck_assert_uint_eq(frame_word_generation(word), generation);
        ck_assert_uint_eq(frame_word_state(word), FRAME_FREE);
        word = frame_word_claimed(word, TARN_SLOT_MAX);
        ck_assert(frame_word_is(word, FRAME_CLAIMED, TARN_SLOT_MAX));
        word = frame_word_valid(word | FRAME_WAITERS | FRAME_REVOCABLE);
        ck_assert_uint_eq(word & (FRAME_WAITERS | FRAME_REVOCABLE), 0);
        ck_assert(frame_word_is(word, FRAME_VALID, 0));
        word = frame_word_evicting(word, 7);
        ck_assert(frame_word_is(word, FRAME_EVICTING, 7));
        ck_assert_uint_eq(frame_word_generation(word), generation);
        word = frame_word_freed(word);
    }
    /* The generation wraps into nothing else. */
    word = frame_word_freed(frame_word_of(TARN_MASK(FRAME_GENERATION_BITS), 0, FRAME_VALID));
    ck_assert_uint_eq(word, 0);
}
END_TEST

START_TEST(latch_word_gets_a_new_version_by_each_release)
{
    uint64_t word = latch_word_taken(LATCH_VERSION_ONE, 12);
    ck_assert_uint_eq(latch_word_owner(word), 12);
    uint64_t released = latch_word_released(word | LATCH_WAITERS);
    ck_assert_uint_eq(released, 2 * LATCH_VERSION_ONE);
    ck_assert_uint_eq(latch_word_owner(released), 0);
    ck_assert_uint_eq(latch_word_released(latch_word_taken(UINT64_MAX, 3)), 0);
}
END_TEST

START_TEST(dirty_word_keeps_its_mark_when_cleaned)
{
    uint64_t word = dirty_word_changed(dirty_word_changed(0));
    ck_assert(dirty_word_dirty(word));
    ck_assert_uint_eq(dirty_word_mark(word), 2);
    ck_assert(!dirty_word_dirty(dirty_word_cleaned(word)));
    ck_assert_uint_eq(dirty_word_mark(dirty_word_cleaned(word)), 2);
    ck_assert_uint_ne(dirty_word_changed(dirty_word_cleaned(word)), word);
}
END_TEST

START_TEST(packed_words_give_back_what_was_put_in)
{
    uint64_t state = test_seed();
    for (int i = 0; i < 10000; i++) {
        uint32_t frame = (uint32_t)(test_random(&state) % (TARN_FRAME_MAX + 1));
        uint32_t shadow = (uint32_t)(test_random(&state) % (TARN_FRAME_MAX + 1));
        uint32_t tag = (uint32_t)(test_random(&state) & TARN_MASK(ENTRY_TAG_BITS));
        uint64_t generation = test_random(&state);
        uint64_t entry = entry_of(frame, tag, generation) | ENTRY_MORE;
        ck_assert_uint_eq(entry_frame_plus_one(entry), frame + 1);
        ck_assert_uint_eq(entry_tag(entry), tag);
        ck_assert_uint_eq(entry_generation(entry), generation & TARN_MASK(ENTRY_GENERATION_BITS));
        ck_assert_uint_eq(hold_frame_plus_one(hold_of(frame) | HOLD_SHARED), frame + 1);
        uint64_t mtr = mtr_entry_of(frame, shadow + 1, i & 1);
        ck_assert_uint_eq(mtr_entry_frame_plus_one(mtr), frame + 1);
        ck_assert_uint_eq(mtr_entry_shadow_plus_one(mtr), shadow + 1);
        ck_assert_int_eq((mtr & MTR_ENTRY_RANGES) != 0, i & 1);
        uint64_t serial = test_random(&state) & TARN_MASK(REQUEST_SERIAL_BITS);
        uint64_t request = request_word_of(serial, -(i % 200), REQUEST_DONE);
        ck_assert_uint_eq(request_word_serial(request), serial);
        ck_assert_int_eq(request_word_result(request), -(i % 200));
        ck_assert_uint_eq(request_word_state(request), REQUEST_DONE);
        uint64_t word = mtr_word_of(serial, (unsigned)i % 61, MTR_COMMITTED);
        ck_assert_uint_eq(mtr_word_serial(word), serial);
        ck_assert_uint_eq(mtr_word_count(word), (unsigned)i % 61);
    }
}
END_TEST

START_TEST(plan_refuses_what_is_outside_the_limits)
{
    struct tarn_geometry g;
    ck_assert_int_eq(tarn_geometry_plan(15, 4096, 1, 1, &g), -EINVAL);
    ck_assert_int_eq(tarn_geometry_plan((uint64_t)TARN_FRAME_MAX + 2, 4096, 1, 1, &g), -EINVAL);
    ck_assert_int_eq(tarn_geometry_plan(16, 2048, 1, 1, &g), -EINVAL);
    ck_assert_int_eq(tarn_geometry_plan(16, 6144, 1, 1, &g), -EINVAL);
    ck_assert_int_eq(tarn_geometry_plan(16, 131072, 1, 1, &g), -EINVAL);
    ck_assert_int_eq(tarn_geometry_plan(16, 4096, 0, 1, &g), -EINVAL);
    ck_assert_int_eq(tarn_geometry_plan(16, 4096, 1025, 1, &g), -EINVAL);
    ck_assert_int_eq(tarn_geometry_plan(16, 4096, 1, 0, &g), -EINVAL);
    ck_assert_int_eq(tarn_geometry_plan(16, 4096, 1, 65536, &g), -EINVAL);
    ck_assert_int_eq(tarn_geometry_plan(16, 4096, 1024, 65535, &g), 0);
    ck_assert_int_eq(tarn_geometry_plan((uint64_t)TARN_FRAME_MAX + 1, 65536, 1, 1, &g), 0);
}
END_TEST

START_TEST(memory_beside_the_frames_is_bounded)
{
    static const uint64_t frames[] = {16384, 262144, 16777216};
    for (unsigned i = 0; i < 3; i++)
        for (uint32_t sessions = 1; sessions <= 1024; sessions *= 4) {
            struct tarn_geometry g;
            ck_assert_int_eq(tarn_geometry_plan(frames[i], 4096, sessions, 256, &g), 0);
            uint64_t slots = (uint64_t)g.slot_count * 8192;
            ck_assert_uint_le(tarn_geometry_overhead(&g) * 1000,
                              frames[i] * 4096 * 22 + slots * 1000);
        }
}
END_TEST

/* A frame as its loader leaves it. */
static uint32_t enter(uint32_t frame, uint64_t page_id)
{
    struct tarn_descriptor *descriptor = &view.descriptors[frame];
    uint64_t word = frame_word_claimed(tarn_load_relaxed(&descriptor->frame_word), 1);
    uint32_t victim;
    tarn_store_relaxed(&descriptor->frame_word, word);
    tarn_store_relaxed(&descriptor->page_id, page_id);
    uint32_t found = tarn_table_insert(&view, page_id, frame, word, 0, &victim);
    tarn_store_relaxed(&descriptor->frame_word,
                       found == TARN_NO_FRAME ? frame_word_valid(word) : frame_word_freed(word));
    return found;
}

static void evict(uint32_t frame)
{
    tarn_word *word = &view.descriptors[frame].frame_word;
    tarn_store_relaxed(word, frame_word_freed(tarn_load_relaxed(word)));
}

static uint32_t find(uint64_t page_id)
{
    uint64_t word;
    return tarn_table_find(&view, page_id, &word);
}

START_TEST(entered_page_is_found_until_its_frame_is_free)
{
    make_view(64, 4);
    uint64_t page = page_id_of(1, 77);
    ck_assert_uint_eq(find(page), TARN_NO_FRAME);
    ck_assert_uint_eq(enter(5, page), TARN_NO_FRAME);
    ck_assert_uint_eq(find(page), 5);
    ck_assert_uint_eq(enter(6, page), 5); /* never two frames for one page */
    evict(5);
    ck_assert_uint_eq(find(page), TARN_NO_FRAME);
    ck_assert_uint_eq(enter(6, page), TARN_NO_FRAME);
    ck_assert_uint_eq(find(page), 6);
    /* The same frame for another page: its old entry is stale by the generation. */
    ck_assert_uint_eq(enter(5, page_id_of(2, 77)), TARN_NO_FRAME);
    ck_assert_uint_eq(find(page), 6);
    free_view();
}
END_TEST

/* Pages of one home bucket, however the hash spreads them. */
static unsigned pages_of_bucket(uint32_t bucket, uint64_t *pages, unsigned count)
{
    unsigned found = 0;
    for (uint64_t number = 0; found < count; number++) {
        uint64_t page = page_id_of(1, number);
        if (tarn_home_of(&view, page).bucket == bucket)
            pages[found++] = page;
    }
    return found;
}

START_TEST(page_beyond_its_home_is_found_and_more_is_cleared_after_it)
{
    uint64_t pages[24];
    make_view(256, 4);
    pages_of_bucket(3, pages, 24);
    for (uint32_t i = 0; i < 24; i++)
        ck_assert_uint_eq(enter(i, pages[i]), TARN_NO_FRAME);
    for (uint32_t i = 0; i < 24; i++)
        ck_assert_uint_eq(find(pages[i]), i);
    tarn_table_tidy(&view, 3);
    ck_assert(tarn_load_relaxed(&view.buckets[3].entry[0]) & ENTRY_MORE);
    for (uint32_t i = 8; i < 24; i++)
        evict(i);
    tarn_table_tidy(&view, 3);
    ck_assert(!(tarn_load_relaxed(&view.buckets[3].entry[0]) & ENTRY_MORE));
    for (uint32_t i = 0; i < 8; i++)
        ck_assert_uint_eq(find(pages[i]), i);
    free_view();
}
END_TEST

START_TEST(full_probe_range_names_a_victim_inside_it)
{
    enum { RANGE = TARN_BUCKET_WORDS * TARN_PROBE_BUCKETS };
    uint64_t pages[RANGE + 1];
    uint32_t victim = UINT32_MAX;
    make_view(1024, 4);
    pages_of_bucket(9, pages, RANGE + 1);
    for (uint32_t i = 0; i < RANGE; i++)
        ck_assert_uint_eq(enter(i, pages[i]), TARN_NO_FRAME);
    uint64_t word = frame_word_claimed(0, 1);
    tarn_store_relaxed(&view.descriptors[500].frame_word, word);
    ck_assert_uint_eq(tarn_table_insert(&view, pages[RANGE], 500, word, 0, &victim),
                      TARN_TABLE_FULL);
    ck_assert_uint_lt(victim, RANGE);
    evict(victim);
    ck_assert_uint_eq(tarn_table_insert(&view, pages[RANGE], 500, word, 0, &victim), TARN_NO_FRAME);
    free_view();
}
END_TEST

START_TEST(run_of_pages_that_fits_stands_in_its_own_places)
{
    make_view(4096, 4);
    unsigned elsewhere = 0;
    for (uint32_t i = 0; i < 4096; i++)
        ck_assert_uint_eq(enter(i, page_id_of(3, 1000000 + i)), TARN_NO_FRAME);
    for (uint32_t i = 0; i < 4096; i++) {
        uint64_t word;
        elsewhere += tarn_table_find_at_home(&view, page_id_of(3, 1000000 + i), &word) != i;
        ck_assert_uint_eq(find(page_id_of(3, 1000000 + i)), i);
    }
    ck_assert_uint_lt(elsewhere, 410); /* a tenth */
    free_view();
}
END_TEST

/* Random pages come and go; the table says the same as a plain list. */
START_TEST(table_agrees_with_a_list_of_pages)
{
    enum { FRAMES = 128, PAGES = 400 };
    uint64_t state = test_seed();
    uint32_t frame_of[PAGES];
    make_view(FRAMES, 4);
    memset(frame_of, 0xff, sizeof frame_of);
    for (int round = 0; round < 200000; round++) {
        uint32_t p = (uint32_t)(test_random(&state) % PAGES);
        uint64_t page = page_id_of(1 + p % 3, p * 5);
        uint32_t frame = (uint32_t)(test_random(&state) % FRAMES);
        ck_assert_uint_eq(find(page), frame_of[p]);
        bool is_free =
            frame_word_state(tarn_load_relaxed(&view.descriptors[frame].frame_word)) == FRAME_FREE;
        if (is_free && enter(frame, page) == TARN_NO_FRAME) {
            ck_assert_uint_eq(frame_of[p], TARN_NO_FRAME);
            frame_of[p] = frame;
        } else if (!is_free && round % 3 != 0) {
            evict(frame);
            for (uint32_t other = 0; other < PAGES; other++)
                if (frame_of[other] == frame)
                    frame_of[other] = TARN_NO_FRAME;
        }
        tarn_table_tidy(&view, (uint32_t)round % view.geometry.bucket_count);
    }
    free_view();
}
END_TEST

START_TEST(entry_that_names_no_frame_is_not_followed)
{
    make_view(64, 4);
    uint64_t page = page_id_of(1, 5);
    struct tarn_home home = tarn_home_of(&view, page);
    tarn_word *own = &view.buckets[home.bucket].entry[home.place];
    tarn_store_relaxed(own, entry_of(TARN_FRAME_MAX, home.tag, 0));
    ck_assert_uint_eq(find(page), TARN_NO_FRAME);
    ck_assert(!tarn_entry_live(&view, tarn_load_relaxed(own)));
    tarn_store_relaxed(own, (uint64_t)home.tag << TARN_FRAME_BITS);
    ck_assert_uint_eq(find(page), TARN_NO_FRAME);
    free_view();
}
END_TEST

START_TEST(holds_are_searched_as_far_as_the_marks_say)
{
    make_view(64, 1024);
    struct tarn_hold_line *first = tarn_view_hold_line(&view, 700, 0);
    struct tarn_hold_line *second = tarn_view_hold_line(&view, 700, 1);
    tarn_half_store_relaxed(&second->hold[2], hold_of(9) | HOLD_SHARED);
    ck_assert_uint_eq(tarn_frame_holder(&view, 9), 0);
    tarn_half_store_relaxed(&second->mark, 3);
    ck_assert_uint_eq(tarn_frame_holder(&view, 9), 0);
    tarn_half_store_relaxed(&first->mark, HOLD_LINE_HOLDS | HOLD_MARK_NEXT);
    ck_assert_uint_eq(tarn_frame_holder(&view, 9), 700);
    ck_assert(tarn_slot_shares(&view, 700, 9));
    tarn_half_store_relaxed(&second->hold[2], hold_of(9));
    ck_assert(!tarn_slot_shares(&view, 700, 9));
    ck_assert(tarn_slot_pins(&view, 700, 9));
    free_view();
}
END_TEST

START_TEST(every_slot_has_a_sticky_bit)
{
    static const uint32_t sessions[] = {1, 60, 64, 500, 1024};
    for (unsigned i = 0; i < 5; i++) {
        make_view(64, sessions[i]);
        for (unsigned slot = 1; slot <= view.slot_max; slot++) {
            uint64_t bit = tarn_sticky_bit(&view, slot);
            unsigned group = (unsigned)__builtin_ctzll(bit);
            ck_assert_uint_eq(bit & (bit - 1), 0);
            ck_assert_uint_ge(slot, group * view.geometry.group_slots + 1);
            ck_assert_uint_le(slot, (group + 1) * view.geometry.group_slots);
        }
        free_view();
    }
}
END_TEST

void test_suite(Suite *suite)
{
    TCase *words = test_case(suite, "words", 10);
    tcase_add_test(words, frame_word_steps_its_generation_on_every_way_into_free);
    tcase_add_test(words, latch_word_gets_a_new_version_by_each_release);
    tcase_add_test(words, dirty_word_keeps_its_mark_when_cleaned);
    tcase_add_test(words, packed_words_give_back_what_was_put_in);
    TCase *plan = test_case(suite, "plan", 10);
    tcase_add_test(plan, plan_refuses_what_is_outside_the_limits);
    tcase_add_test(plan, memory_beside_the_frames_is_bounded);
    TCase *table = test_case(suite, "table", 30);
    tcase_add_test(table, entered_page_is_found_until_its_frame_is_free);
    tcase_add_test(table, page_beyond_its_home_is_found_and_more_is_cleared_after_it);
    tcase_add_test(table, full_probe_range_names_a_victim_inside_it);
    tcase_add_test(table, run_of_pages_that_fits_stands_in_its_own_places);
    tcase_add_test(table, table_agrees_with_a_list_of_pages);
    tcase_add_test(table, entry_that_names_no_frame_is_not_followed);
    TCase *holds = test_case(suite, "holds", 10);
    tcase_add_test(holds, holds_are_searched_as_far_as_the_marks_say);
    tcase_add_test(holds, every_slot_has_a_sticky_bit);
}
