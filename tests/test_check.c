/* SPDX-License-Identifier: MIT */
/* The oracle over a segment in plain memory: a sound one passes, and each rule that is broken by
 * hand is found, by name and place, and nothing else with it. */
#include "shm/check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "shm/table.h"
#include "tests/test.h"

enum { FRAMES = 64, SESSIONS = 4, FILES = 4, FILE_PAGES = 100 };

/* What stands where in the sound segment. */
enum {
    READER = 1,  /* pins PINNED, shares SHARED */
    CHANGER = 2, /* has LATCHED in a mini-transaction with SHADOW, NEW without */
    EMPTY_SLOT = 3,
    FRAME_PINNED = 3,
    FRAME_SHARED = 4,
    FRAME_DIRTY = 5,
    FRAME_LATCHED = 6,
    FRAME_SHADOW = 7,
    FRAME_NEW = 8,
    FRAME_LEAVING = 9, /* EVICTING by READER */
    FRAME_EMPTY = 20,
    HOME_LOCKED = 2, /* bucket, by READER */
};

static struct tarn_view view;

static struct tarn_descriptor *descriptor(uint32_t frame)
{
    return &view.descriptors[frame];
}

static uint64_t page_of(uint32_t frame)
{
    return page_id_of(1, frame * 7);
}

static void set_frame_word(uint32_t frame, unsigned owner, unsigned state)
{
    tarn_store_relaxed(&descriptor(frame)->frame_word, frame_word_of(5, owner, state));
}

static void claim(unsigned slot, uint32_t frame)
{
    struct tarn_slot *shared = tarn_view_slot(&view, slot);
    unsigned place = 0;
    while (tarn_half_load_relaxed(&shared->claim[place]) != 0)
        place++;
    tarn_half_store_relaxed(&shared->claim[place], frame + 1);
    set_frame_word(frame, slot, FRAME_CLAIMED);
}

/* Enters a page as a load does; leaves the frame CLAIMED. */
static void enter_page(unsigned slot, uint32_t frame, uint64_t page_id)
{
    uint32_t victim;
    set_frame_word(frame, slot, FRAME_CLAIMED);
    tarn_store_relaxed(&descriptor(frame)->page_id, page_id);
    ck_assert_uint_eq(tarn_table_insert(&view, page_id, frame,
                                        tarn_load_relaxed(&descriptor(frame)->frame_word), 0,
                                        &victim),
                      TARN_NO_FRAME);
}

static void load_page(uint32_t frame)
{
    enter_page(READER, frame, page_of(frame));
    set_frame_word(frame, 0, FRAME_VALID);
}

static void hold(unsigned slot, unsigned place, uint32_t word)
{
    struct tarn_hold_line *line = tarn_view_hold_line(&view, slot, place / HOLD_LINE_HOLDS);
    tarn_half_store_relaxed(&line->mark, place % HOLD_LINE_HOLDS + 1);
    tarn_half_store_relaxed(&line->hold[place % HOLD_LINE_HOLDS], word);
}

static void set_mtr(unsigned count, unsigned state)
{
    tarn_store_relaxed(&tarn_view_slot(&view, CHANGER)->mtr, mtr_word_of(9, count, state));
}

static void set_mtr_entry(unsigned place, uint32_t frame, uint32_t shadow_plus_one)
{
    tarn_store_relaxed(&tarn_view_slot(&view, CHANGER)->mtr_entry[place],
                       mtr_entry_of(frame, shadow_plus_one, false));
}

static void begin_sessions(void)
{
    struct tarn_slot *reader = tarn_view_slot(&view, READER);
    struct tarn_slot *changer = tarn_view_slot(&view, CHANGER);
    tarn_store_relaxed(&reader->state, SLOT_LIVE);
    tarn_store_relaxed(&changer->state, SLOT_LIVE);

    hold(READER, 0, hold_of(FRAME_PINNED));
    hold(READER, 1, hold_of(FRAME_SHARED) | HOLD_SHARED);
    tarn_or_full(&descriptor(FRAME_SHARED)->sticky_word, tarn_sticky_bit(&view, READER));
    tarn_half_store_relaxed(&reader->claim[0], FRAME_LEAVING + 1);
    set_frame_word(FRAME_LEAVING, READER, FRAME_EVICTING);
    tarn_store_relaxed(&reader->home_lock, HOME_LOCKED + 1);
    tarn_store_relaxed(&view.home_locks[HOME_LOCKED], READER);

    hold(CHANGER, 0, hold_of(FRAME_LATCHED));
    hold(CHANGER, 1, hold_of(FRAME_NEW));
    tarn_store_relaxed(&descriptor(FRAME_LATCHED)->latch_word, latch_word_taken(0, CHANGER));
    claim(CHANGER, FRAME_SHADOW);
    claim(CHANGER, FRAME_NEW);
    enter_page(CHANGER, FRAME_NEW, page_of(FRAME_NEW));
    set_mtr_entry(0, FRAME_LATCHED, FRAME_SHADOW + 1);
    set_mtr_entry(1, FRAME_NEW, 0);
    set_mtr(2, MTR_ACTIVE);
}

static void make_sound_segment(void)
{
    struct tarn_geometry geometry;
    ck_assert_int_eq(tarn_geometry_plan(FRAMES, 4096, SESSIONS, FILES, &geometry), 0);
    uint8_t *base = aligned_alloc(4096, geometry.segment_bytes);
    ck_assert_ptr_nonnull(base);
    memset(base, 0, geometry.segment_bytes);
    tarn_view_set(&view, base, &geometry);

    struct tarn_superblock *superblock = (struct tarn_superblock *)(void *)base;
    memcpy(superblock->magic, TARN_MAGIC, sizeof superblock->magic);
    superblock->byte_order = TARN_BYTE_ORDER;
    superblock->format_version = TARN_FORMAT_VERSION;
    superblock->superblock_bytes = sizeof *superblock;
    superblock->layout_hash = tarn_layout_hash();
    superblock->geometry = geometry;
    superblock->checksum = tarn_superblock_checksum(base);
    tarn_store_relaxed(&view.control->life, LIFE_OPEN);
    tarn_store_relaxed(&view.files[1].word, file_word_of(1, false, FILE_RAW, FILE_OPEN));
    tarn_store_relaxed(&view.files[1].page_count, FILE_PAGES);

    for (uint32_t frame = FRAME_PINNED; frame <= FRAME_LEAVING; frame++)
        if (frame != FRAME_SHADOW && frame != FRAME_NEW)
            load_page(frame);
    tarn_store_relaxed(&descriptor(FRAME_DIRTY)->dirty_word, dirty_word_changed(0));
    begin_sessions();
}

/* What the oracle said. */
static struct {
    unsigned count;
    struct tarn_violation violation[256];
} said;

static void listen(void *context, const struct tarn_violation *violation)
{
    (void)context;
    if (said.count < 256)
        said.violation[said.count++] = *violation;
}

static int check(const struct tarn_check_options *options)
{
    static const struct tarn_check_options at_rest;
    said.count = 0;
    int violations = tarn_check_view(&view, options == NULL ? &at_rest : options, listen, NULL);
    ck_assert_uint_eq((unsigned)violations, said.count);
    return violations;
}

static void set_superblock(void)
{
    ((struct tarn_superblock *)(void *)view.base)->created_s++;
}

static void set_life(void)
{
    tarn_store_relaxed(&view.control->life, 7);
}

static void low_mark_above_high_one(void)
{
    tarn_store_relaxed(&view.control->setting[1], (SETTING_SET | UINT64_C(1)) << 32);
}

static void setting_beyond_frames(void)
{
    tarn_store_relaxed(&view.control->setting[1], (SETTING_SET | UINT64_C(1) << 30) << 32);
}

static void file_of_no_state(void)
{
    tarn_store_relaxed(&view.files[2].word, 3);
}

static void slot_of_no_state(void)
{
    tarn_store_relaxed(&tarn_view_slot(&view, EMPTY_SLOT)->state, 2);
}

static void session_in_reserved_slot(void)
{
    tarn_store_relaxed(&tarn_view_slot(&view, SESSIONS + 1)->state, SLOT_LIVE);
}

static void free_slot_with_mtr(void)
{
    tarn_store_relaxed(&tarn_view_slot(&view, EMPTY_SLOT)->mtr, mtr_word_of(1, 0, MTR_ACTIVE));
}

static void free_slot_with_mark(void)
{
    hold(EMPTY_SLOT, 0, hold_of(FRAME_PINNED));
}

static void free_slot_with_claim(void)
{
    tarn_half_store_relaxed(&tarn_view_slot(&view, EMPTY_SLOT)->claim[90], FRAME_EMPTY + 1);
}

static void home_lock_beyond_table(void)
{
    tarn_store_relaxed(&tarn_view_slot(&view, CHANGER)->home_lock, 1000);
}

static void wait_for_no_reason(void)
{
    tarn_store_relaxed(&tarn_view_slot(&view, CHANGER)->wait, WAIT_COUNT);
}

static void wait_for_no_frame(void)
{
    tarn_store_relaxed(&tarn_view_slot(&view, CHANGER)->wait, FRAMES << 8 | WAIT_LOAD);
}

static void request_of_no_kind(void)
{
    tarn_store_relaxed(&tarn_view_slot(&view, READER)->request.word,
                       request_word_of(1, 0, REQUEST_ASKED));
}

static void claim_of_no_frame(void)
{
    tarn_half_store_relaxed(&tarn_view_slot(&view, READER)->claim[127], FRAMES + 1);
}

static void hold_beyond_mark(void)
{
    tarn_half_store_relaxed(&tarn_view_hold_line(&view, READER, 0)->mark, 1);
}

static void hold_in_line_not_marked(void)
{
    hold(READER, 20, hold_of(FRAME_PINNED));
}

static void hold_of_no_frame(void)
{
    hold(READER, 2, hold_of(FRAMES));
}

static void hold_of_free_frame(void)
{
    hold(READER, 2, hold_of(FRAME_EMPTY));
}

static void hold_of_foreign_claim(void)
{
    hold(READER, 2, hold_of(FRAME_SHADOW));
}

static void sticky_word_cleared(void)
{
    tarn_store_relaxed(&descriptor(FRAME_SHARED)->sticky_word, 0);
}

static void shared_under_exclusive(void)
{
    hold(READER, 2, hold_of(FRAME_LATCHED) | HOLD_SHARED);
    tarn_or_full(&descriptor(FRAME_LATCHED)->sticky_word, tarn_sticky_bit(&view, READER));
}

static void mtr_of_no_state(void)
{
    set_mtr(2, 3);
}

static void mtr_of_no_frame(void)
{
    set_mtr_entry(2, FRAMES, 0);
    set_mtr(3, MTR_ACTIVE);
}

static void mtr_page_twice(void)
{
    set_mtr_entry(2, FRAME_NEW, 0);
    set_mtr(3, MTR_ACTIVE);
}

static void shadow_not_claimed(void)
{
    set_frame_word(FRAME_SHADOW, 0, FRAME_FREE);
}

static void mtr_page_not_pinned(void)
{
    hold(CHANGER, 1, 0);
}

static void free_frame_with_owner(void)
{
    set_frame_word(FRAME_EMPTY, READER, FRAME_FREE);
}

static void valid_frame_with_waiters(void)
{
    tarn_or_full(&descriptor(FRAME_DIRTY)->frame_word, FRAME_WAITERS);
}

static void claimed_by_free_slot(void)
{
    set_frame_word(FRAME_EMPTY, EMPTY_SLOT, FRAME_CLAIMED);
}

static void claimed_by_no_slot(void)
{
    set_frame_word(FRAME_EMPTY, 4000, FRAME_CLAIMED);
}

static void claimed_and_not_announced(void)
{
    set_frame_word(FRAME_EMPTY, READER, FRAME_CLAIMED);
}

static void evicting_and_not_announced(void)
{
    tarn_half_store_relaxed(&tarn_view_slot(&view, READER)->claim[0], 0);
}

static tarn_word *entry_of_frame(uint32_t frame, uint32_t *ret_bucket)
{
    for (*ret_bucket = 0; *ret_bucket < view.geometry.bucket_count; ++*ret_bucket)
        for (unsigned i = 0; i < TARN_BUCKET_WORDS; i++) {
            tarn_word *word = &view.buckets[*ret_bucket].entry[i];
            if (entry_frame_plus_one(tarn_load_relaxed(word)) == frame + 1)
                return word;
        }
    ck_abort_msg("no entry");
}

static void page_lost_from_table(void)
{
    uint32_t bucket;
    tarn_store_relaxed(entry_of_frame(FRAME_DIRTY, &bucket), 0);
}

static void page_entered_twice(void)
{
    uint32_t bucket;
    uint64_t entry = tarn_load_relaxed(entry_of_frame(FRAME_DIRTY, &bucket));
    tarn_store_relaxed(&view.buckets[(bucket + 1) % view.geometry.bucket_count].entry[7], entry);
}

/* The page moves to the next bucket, which is not looked at without `more`. */
static void page_out_of_reach(void)
{
    uint32_t bucket;
    tarn_word *word = entry_of_frame(FRAME_DIRTY, &bucket);
    uint64_t entry = tarn_load_relaxed(word);
    tarn_store_relaxed(word, 0);
    tarn_store_relaxed(&view.buckets[(bucket + 1) % view.geometry.bucket_count].entry[7], entry);
}

static void page_in_two_frames(void)
{
    uint32_t home = tarn_home_of(&view, page_of(FRAME_DIRTY)).bucket;
    load_page(FRAME_EMPTY);
    uint32_t bucket;
    tarn_store_relaxed(entry_of_frame(FRAME_EMPTY, &bucket), 0);
    tarn_store_relaxed(&descriptor(FRAME_EMPTY)->page_id, page_of(FRAME_DIRTY));
    tarn_store_relaxed(&view.buckets[home].entry[6],
                       entry_of(FRAME_EMPTY, tarn_home_of(&view, page_of(FRAME_DIRTY)).tag, 5));
}

static void page_of_closed_file(void)
{
    enter_page(READER, FRAME_EMPTY, page_id_of(3, 1));
    set_frame_word(FRAME_EMPTY, 0, FRAME_VALID);
}

static void page_of_no_file(void)
{
    enter_page(READER, FRAME_EMPTY, page_id_of(FILES + 1, 1));
    set_frame_word(FRAME_EMPTY, 0, FRAME_VALID);
}

static void page_beyond_end(void)
{
    enter_page(READER, FRAME_EMPTY, page_id_of(1, FILE_PAGES));
    set_frame_word(FRAME_EMPTY, 0, FRAME_VALID);
}

static void dirty_without_mark(void)
{
    tarn_store_relaxed(&descriptor(FRAME_PINNED)->dirty_word, 1);
}

static void free_latch_with_waiters(void)
{
    tarn_store_relaxed(&descriptor(FRAME_PINNED)->latch_word, LATCH_WAITERS);
}

static void latched_by_free_slot(void)
{
    tarn_store_relaxed(&descriptor(FRAME_DIRTY)->latch_word, EMPTY_SLOT);
}

static void free_frame_latched(void)
{
    tarn_store_relaxed(&descriptor(FRAME_EMPTY)->latch_word, CHANGER);
}

static void latched_outside_of_mtr(void)
{
    tarn_store_relaxed(&descriptor(FRAME_DIRTY)->latch_word, CHANGER);
    hold(CHANGER, 2, hold_of(FRAME_DIRTY));
}

static void latched_without_pin(void)
{
    hold(CHANGER, 0, 0);
    hold(CHANGER, 1, hold_of(FRAME_NEW));
}

static void entry_of_no_frame(void)
{
    tarn_store_relaxed(&view.buckets[1].entry[4], FRAMES + 1);
}

static void entry_of_another_page(void)
{
    uint32_t bucket;
    uint64_t entry = tarn_load_relaxed(entry_of_frame(FRAME_DIRTY, &bucket));
    uint32_t far = (bucket + TARN_PROBE_BUCKETS) % view.geometry.bucket_count;
    tarn_store_relaxed(&view.buckets[far].entry[4], entry);
}

static void more_in_second_word(void)
{
    tarn_or_full(&view.buckets[1].entry[1], ENTRY_MORE);
}

static void home_lock_not_announced(void)
{
    tarn_store_relaxed(&view.home_locks[HOME_LOCKED + 1], READER);
}

static void home_lock_of_free_slot(void)
{
    tarn_store_relaxed(&view.home_locks[HOME_LOCKED + 1], EMPTY_SLOT);
}

#define ALONE RULE_COUNT

/* What is planted, the rule that says so, its place, and a rule that cannot but break with it. */
static const struct {
    void (*plant)(void);
    unsigned rule;
    const char *place;
    uint64_t value;
    unsigned also;
} plants[] = {
    {set_superblock, RULE_superblock, "superblock", 0, ALONE},
    {set_life, RULE_life, "control", 0, ALONE},
    {low_mark_above_high_one, RULE_setting, "control", 0, ALONE},
    {setting_beyond_frames, RULE_setting, "control", 0, ALONE},
    {file_of_no_state, RULE_file_word, "file", 2, ALONE},
    {slot_of_no_state, RULE_slot_state, "slot", EMPTY_SLOT, ALONE},
    {session_in_reserved_slot, RULE_slot_state, "slot", SESSIONS + 1, ALONE},
    {free_slot_with_mtr, RULE_slot_free, "slot", EMPTY_SLOT, ALONE},
    {free_slot_with_mark, RULE_slot_free, "slot", EMPTY_SLOT, ALONE},
    {free_slot_with_claim, RULE_slot_free_claim, "slot", EMPTY_SLOT, ALONE},
    {home_lock_beyond_table, RULE_slot_home_lock, "slot", CHANGER, ALONE},
    {wait_for_no_reason, RULE_slot_wait, "slot", CHANGER, ALONE},
    {wait_for_no_frame, RULE_slot_wait, "slot", CHANGER, ALONE},
    {request_of_no_kind, RULE_slot_request, "slot", READER, ALONE},
    {claim_of_no_frame, RULE_claim_frame, "slot", READER, ALONE},
    {hold_beyond_mark, RULE_hold_mark, "slot", READER, ALONE},
    {hold_in_line_not_marked, RULE_hold_mark, "slot", READER, ALONE},
    {hold_of_no_frame, RULE_hold_frame, "slot", READER, ALONE},
    {hold_of_free_frame, RULE_hold_page, "slot", READER, ALONE},
    {hold_of_foreign_claim, RULE_hold_page, "slot", READER, ALONE},
    {sticky_word_cleared, RULE_hold_sticky, "slot", READER, ALONE},
    {shared_under_exclusive, RULE_hold_shared, "slot", READER, ALONE},
    {mtr_of_no_state, RULE_mtr_word, "slot", CHANGER, ALONE},
    {mtr_of_no_frame, RULE_mtr_frame, "slot", CHANGER, ALONE},
    {mtr_page_twice, RULE_mtr_frame_twice, "slot", CHANGER, ALONE},
    {shadow_not_claimed, RULE_mtr_shadow, "slot", CHANGER, ALONE},
    {mtr_page_not_pinned, RULE_mtr_pin, "slot", CHANGER, ALONE},
    {free_frame_with_owner, RULE_frame_word, "frame", FRAME_EMPTY, ALONE},
    {valid_frame_with_waiters, RULE_frame_word, "frame", FRAME_DIRTY, ALONE},
    {claimed_by_free_slot, RULE_frame_owner, "frame", FRAME_EMPTY, ALONE},
    {claimed_by_no_slot, RULE_frame_owner, "frame", FRAME_EMPTY, ALONE},
    {claimed_and_not_announced, RULE_frame_announced, "frame", FRAME_EMPTY, ALONE},
    {evicting_and_not_announced, RULE_frame_announced, "frame", FRAME_LEAVING, ALONE},
    {page_lost_from_table, RULE_frame_in_table, "frame", FRAME_DIRTY, ALONE},
    {page_entered_twice, RULE_frame_in_table, "frame", FRAME_DIRTY, ALONE},
    {page_out_of_reach, RULE_frame_reachable, "frame", FRAME_DIRTY, ALONE},
    {page_in_two_frames, RULE_page_twice, "frame", FRAME_DIRTY, ALONE},
    {page_of_closed_file, RULE_page_file, "frame", FRAME_EMPTY, ALONE},
    {page_of_no_file, RULE_page_file, "frame", FRAME_EMPTY, ALONE},
    {page_beyond_end, RULE_page_number, "frame", FRAME_EMPTY, ALONE},
    {dirty_without_mark, RULE_dirty_word, "frame", FRAME_PINNED, ALONE},
    {free_latch_with_waiters, RULE_latch_word, "frame", FRAME_PINNED, ALONE},
    {latched_by_free_slot, RULE_latch_owner, "frame", FRAME_DIRTY, ALONE},
    {free_frame_latched, RULE_latch_frame, "frame", FRAME_EMPTY, RULE_latch_mtr},
    {latched_outside_of_mtr, RULE_latch_mtr, "frame", FRAME_DIRTY, ALONE},
    {latched_without_pin, RULE_latch_pin, "frame", FRAME_LATCHED, RULE_mtr_pin},
    {entry_of_no_frame, RULE_entry_word, "bucket", 1, ALONE},
    {entry_of_another_page, RULE_entry_page, "bucket", UINT64_MAX, ALONE},
    {more_in_second_word, RULE_entry_more, "bucket", 1, ALONE},
    {home_lock_not_announced, RULE_home_lock, "bucket", HOME_LOCKED + 1, ALONE},
    {home_lock_of_free_slot, RULE_home_lock, "bucket", HOME_LOCKED + 1, ALONE},
};
#define PLANTS ((int)(sizeof plants / sizeof plants[0]))

START_TEST(sound_segment_passes)
{
    make_sound_segment();
    struct tarn_check_counts counts;
    static const struct tarn_check_options at_rest;
    ck_assert_int_eq(tarn_check_view(&view, &at_rest, listen, &counts), 0);
    ck_assert_uint_eq(counts.frames[FRAME_VALID], 4);
    ck_assert_uint_eq(counts.frames[FRAME_EVICTING], 1);
    ck_assert_uint_eq(counts.frames[FRAME_CLAIMED], 2);
    ck_assert_uint_eq(counts.dirty, 1);
    ck_assert_uint_eq(counts.latched, 1);
    ck_assert_uint_eq(counts.holds, 4);
    ck_assert_uint_eq(counts.live_entries, 6);
    ck_assert_uint_eq(counts.live_slots, 2);
    free(view.base);
}
END_TEST

START_TEST(planted_violation_is_found_with_its_place)
{
    make_sound_segment();
    plants[_i].plant();
    check(NULL);
    bool found = false;
    for (unsigned i = 0; i < said.count; i++) {
        const struct tarn_violation *v = &said.violation[i];
        ck_assert_msg(v->rule == plants[_i].rule || v->rule == plants[_i].also ||
                          (v->rule == RULE_latch_pin && plants[_i].also == RULE_latch_mtr),
                      "plant %d (%s) breaks %s too", _i, tarn_rules[plants[_i].rule].name,
                      tarn_rules[v->rule].name);
        if (v->rule == plants[_i].rule && strcmp(v->value[0].name, plants[_i].place) == 0 &&
            (plants[_i].value == UINT64_MAX || v->value[0].value == plants[_i].value))
            found = true;
    }
    ck_assert_msg(found, "plant %d (%s) was not found", _i, tarn_rules[plants[_i].rule].name);
    free(view.base);
}
END_TEST

START_TEST(every_rule_has_a_plant)
{
    for (unsigned rule = 0; rule < RULE_COUNT; rule++) {
        bool planted = rule == RULE_slot_reaped; /* needs a death: below */
        for (int i = 0; i < PLANTS; i++)
            planted = planted || plants[i].rule == rule;
        ck_assert_msg(planted, "%s", tarn_rules[rule].name);
    }
}
END_TEST

/* A world in which one session is dead, or stopped, and time passes. */
struct world {
    unsigned dead, stopped, pauses;
    unsigned repair_at;
    void (*repair)(void);
};

static bool world_dead(void *context, unsigned slot)
{
    const struct world *world = context;
    return world->dead == slot;
}

static bool world_stopped(void *context, unsigned slot)
{
    const struct world *world = context;
    return world->stopped == slot;
}

static void world_pause(void *context)
{
    struct world *world = context;
    if (++world->pauses == world->repair_at)
        world->repair();
}

static int check_world(struct world *world)
{
    struct tarn_check_options options = {world_dead, world_stopped, world_pause, world};
    return check(&options);
}

START_TEST(dead_session_is_not_reaped_yet)
{
    make_sound_segment();
    ck_assert_int_eq(check_world(&(struct world){.dead = CHANGER}), 1);
    ck_assert_uint_eq(said.violation[0].rule, RULE_slot_reaped);
    ck_assert_uint_eq(said.violation[0].value[0].value, CHANGER);
    free(view.base);
}
END_TEST

static void give_hold_back(void)
{
    hold(READER, 2, 0);
}

static void announce(void)
{
    tarn_half_store_relaxed(&tarn_view_slot(&view, READER)->claim[1], FRAME_EMPTY + 1);
}

static void change_latch_word(void)
{
    tarn_word *word = &descriptor(FRAME_PINNED)->latch_word;
    tarn_store_relaxed(word, tarn_load_relaxed(word) + LATCH_VERSION_ONE);
}

START_TEST(suspicion_that_goes_away_is_none)
{
    make_sound_segment();
    claimed_and_not_announced();
    ck_assert_int_eq(check_world(&(struct world){.repair_at = 4, .repair = announce}), 0);
    free(view.base);
}
END_TEST

START_TEST(suspicion_with_other_words_is_another)
{
    make_sound_segment();
    free_latch_with_waiters();
    ck_assert_int_eq(check_world(&(struct world){.repair_at = 5, .repair = change_latch_word}), 0);
    ck_assert_int_eq(check_world(&(struct world){.repair_at = 6, .repair = change_latch_word}), 1);
    free(view.base);
}
END_TEST

START_TEST(call_that_takes_a_while_is_no_violation)
{
    make_sound_segment();
    hold_of_free_frame();
    ck_assert_int_eq(check_world(&(struct world){.repair_at = 300, .repair = give_hold_back}), 0);
    hold_of_free_frame();
    ck_assert_int_eq(check_world(&(struct world){0}), 1);
    free(view.base);
}
END_TEST

START_TEST(session_stopped_inside_a_call_breaks_no_rule)
{
    make_sound_segment();
    hold_of_free_frame();
    ck_assert_int_eq(check_world(&(struct world){.stopped = READER}), 0);
    give_hold_back();
    shared_under_exclusive();
    ck_assert_int_eq(check_world(&(struct world){.stopped = CHANGER}), 0);
    ck_assert_int_eq(check_world(&(struct world){.stopped = EMPTY_SLOT}), 1);
    free(view.base);
}
END_TEST

START_TEST(draining_holder_and_asked_truncation_are_waited_for)
{
    make_sound_segment();
    shared_under_exclusive();
    tarn_store_relaxed(&tarn_view_slot(&view, CHANGER)->wait, FRAME_LATCHED << 8 | WAIT_DRAIN);
    ck_assert_int_eq(check(NULL), 0);
    page_beyond_end();
    struct tarn_request *request = &tarn_view_slot(&view, READER)->request;
    tarn_store_relaxed(&request->kind, ASK_FILE_TRUNCATE);
    tarn_store_relaxed(&request->file, 1);
    tarn_store_relaxed(&request->word, request_word_of(1, 0, REQUEST_ASKED));
    ck_assert_int_eq(check(NULL), 0);
    free(view.base);
}
END_TEST

START_TEST(stale_entry_of_a_generation_gone_round_is_allowed)
{
    make_sound_segment();
    uint64_t generation = (UINT64_C(1) << ENTRY_GENERATION_BITS) + 5;
    tarn_store_relaxed(&descriptor(FRAME_DIRTY)->frame_word,
                       frame_word_of(generation, 0, FRAME_VALID));
    entry_of_another_page();
    ck_assert_int_eq(check(NULL), 0);
    free(view.base);
}
END_TEST

/* Whatever stands there, the oracle reads nothing but the segment. */
START_TEST(random_segment_is_reported_and_not_trusted)
{
    uint64_t state = test_seed() + (uint64_t)_i;
    make_sound_segment();
    uint64_t *words = (uint64_t *)(void *)(view.base + view.geometry.control_offset);
    size_t count = (view.geometry.frames_offset - view.geometry.control_offset) / 8;
    for (size_t i = 0; i < count; i++)
        if (test_random(&state) % 8 < (unsigned)_i)
            words[i] = test_random(&state) >> test_random(&state) % 64;
    static const struct tarn_check_options at_rest;
    ck_assert_int_gt(tarn_check_view(&view, &at_rest, listen, NULL), 0);
    free(view.base);
}
END_TEST

void test_suite(Suite *suite)
{
    TCase *tcase = test_case(suite, "check", 20);
    tcase_add_test(tcase, sound_segment_passes);
    tcase_add_loop_test(tcase, planted_violation_is_found_with_its_place, 0, PLANTS);
    tcase_add_test(tcase, every_rule_has_a_plant);
    tcase_add_test(tcase, dead_session_is_not_reaped_yet);
    tcase_add_test(tcase, suspicion_that_goes_away_is_none);
    tcase_add_test(tcase, suspicion_with_other_words_is_another);
    tcase_add_test(tcase, call_that_takes_a_while_is_no_violation);
    tcase_add_test(tcase, session_stopped_inside_a_call_breaks_no_rule);
    tcase_add_test(tcase, draining_holder_and_asked_truncation_are_waited_for);
    tcase_add_test(tcase, stale_entry_of_a_generation_gone_round_is_allowed);
    tcase_add_loop_test(tcase, random_segment_is_reported_and_not_trusted, 1, 9);
}
