/* SPDX-License-Identifier: MIT */
/* The cleaner: whom it calls, how many frames it keeps FREE, what it writes and what not, and that
 * it sleeps. Its pool has a writer in a process of its own, so that it can be stopped and killed.
 */
#include <signal.h>

#include "lib/policy/policy.h"
#include "shm/holds.h"
#include "tests/process.h"

enum { CLEANER_FRAMES = 1024, CLEANER_PAGES = 4096, HELD = 16, BATCH = 50 };

static pid_t writer;

static void begin_with_policy(const char *policy)
{
    struct tarn_init_options options = {.size = sizeof(options),
                                        .directory = test_path("pool"),
                                        .frame_bytes = CLEANER_FRAMES * PAGE_BYTES,
                                        .session_count = 16,
                                        .policy = policy};

    ck_assert_int_eq(tarn_init(test_pool_name(), &options, NULL), 0);
    pool = attach_pool(test_pool_name());
    session = open_session(pool);
    writer = start_writer(test_pool_name(), session);
    file = make_file(session, "data", CLEANER_PAGES);
}

static void begin_cleaner(void)
{
    begin_with_policy(NULL);
}

/* By which what is not used leaves in turn. */
static void begin_lru(void)
{
    begin_with_policy("lru");
}

static void end_cleaner(void)
{
    stop_writer(writer);
    assert_consistent(pool);
    ck_assert_int_eq(tarn_detach(pool), 0);
}

/* True once the expression is, within ten seconds. */
#define comes_true(expression)                                                                     \
    __extension__({                                                                                \
        bool true_ = false;                                                                        \
        for (int i_ = 0; i_ < 10000 && !(true_ = (expression)); i_++)                              \
            sleep_ms(1);                                                                           \
        true_;                                                                                     \
    })

static unsigned frames_in(unsigned state)
{
    unsigned count = 0;

    for (uint32_t frame = 0; frame < CLEANER_FRAMES; frame++)
        count +=
            frame_word_state(tarn_load_acquire(&pool->view.descriptors[frame].frame_word)) == state;
    return count;
}

static unsigned dirty_frames(void)
{
    unsigned count = 0;

    for (uint32_t frame = 0; frame < CLEANER_FRAMES; frame++)
        count += dirty_word_dirty(tarn_load_acquire(&pool->view.descriptors[frame].dirty_word));
    return count;
}

static uint64_t counted(unsigned counter)
{
    uint64_t count = 0;

    for (unsigned slot = 1; slot <= pool->view.slot_max; slot++)
        count += tarn_load_relaxed(&tarn_view_slot(&pool->view, slot)->counter[counter]);
    return count;
}

static bool is_cached(struct tarn_page_id id)
{
    uint64_t word;

    return tarn_table_find(&pool->view, id.value, &word) != TARN_NO_FRAME;
}

static bool is_dirty(struct tarn_page_id id)
{
    uint64_t word;
    uint32_t frame = tarn_table_find(&pool->view, id.value, &word);

    return frame != TARN_NO_FRAME &&
           dirty_word_dirty(tarn_load_acquire(&pool->view.descriptors[frame].dirty_word));
}

static void set(const char *low, const char *high)
{
    const char *const assignments[] = {low, high};
    struct tarn_message message = {""};
    int result = tarn_pool_set(pool, assignments, 2);

    tarn_pool_message(pool, &message);
    ck_assert_msg(result == 0, "%s", message.text);
}

static uint32_t setting(unsigned which)
{
    uint32_t values[SET_COUNT];

    tarn_settings_read(&pool->view, values);
    return values[which];
}

static void read_one(uint64_t number)
{
    struct tarn_pin pin;

    assert_ok(session, tarn_pin(session, page(number), TARN_HINT_NONE, &pin));
    assert_ok(session, tarn_unpin(session, pin));
}

static void read_many(uint64_t number, unsigned count)
{
    struct tarn_page_id ids[BATCH];
    struct tarn_pin pins[BATCH];

    for (unsigned i = 0; i < count; i++)
        ids[i] = page(number + i);
    assert_ok(session, tarn_pin_many(session, ids, count, TARN_HINT_NONE, pins));
    assert_ok(session, tarn_unpin_many(session, pins, count));
}

static void read_ahead(uint64_t number, unsigned count)
{
    struct tarn_page_id ids[BATCH];

    for (unsigned i = 0; i < count; i++)
        ids[i] = page(number + i);
    for (unsigned i = 0; i < count; i += 10)
        assert_ok(session, tarn_prefetch(session, ids + i, 10));
    read_many(number, count);
}

static void make_new(uint64_t number, unsigned count)
{
    struct tarn_writable_page writable;

    for (unsigned i = 0; i < count; i++) {
        assert_ok(session, tarn_mtr_begin(session, 1));
        assert_ok(session, tarn_mtr_new(session, page(number + i), -1, &writable));
        assert_ok(session, tarn_mtr_commit(session, 0));
    }
}

static void read_singly(uint64_t number, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        read_one(number + i);
}

static void change(uint64_t number, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        fill_page(session, page(number + i), (int)(number % 250) + 1);
}

/* Once only pages read or changed one by one called the writer. */
static void (*const users[])(uint64_t number, unsigned count) = {read_singly, read_many, read_ahead,
                                                                 change, make_new};
enum { USERS = sizeof users / sizeof users[0] };

/* Nobody uses up more than the least reserve without waiting until it is there again, so nobody has
 * to evict: if only the writer is called in time. */
START_TEST(whoever_uses_frames_up_calls_the_writer)
{
    set("free_frames_low=200", "free_frames_high=300");
    for (uint64_t number = 0; number < CLEANER_PAGES - BATCH; number += BATCH) {
        users[_i](number, BATCH);
        ck_assert_msg(comes_true(frames_in(FRAME_FREE) >= 200), "after page %llu: %u free",
                      (unsigned long long)number, frames_in(FRAME_FREE));
    }
    ck_assert_uint_eq(counted(COUNTER_STALLS), 0);
    ck_assert_uint_gt(counted(COUNTER_EVICTIONS), CLEANER_PAGES / 2);
}
END_TEST

/* What was used up while nobody looked may be used up so again. */
START_TEST(reserve_follows_demand)
{
    set("free_frames_low=120", "free_frames_high=512");
    for (uint64_t number = 0; number < CLEANER_FRAMES; number += BATCH)
        read_many(number, BATCH);
    ck_assert(comes_true(frames_in(FRAME_FREE) >= 120));
    set("free_frames_low=16", "free_frames_high=512");
    /* Three quarters of twice as many are the least; without demand 140 are the most. Demand is
     * forgotten in a second, so one round may pass while the writer does not get to run. */
    bool followed = false;
    for (uint64_t number = 2000; number < 2500 && !followed; number += 2 * BATCH + 4) {
        kill(writer, SIGSTOP);
        read_many(number, BATCH);
        read_many(number + BATCH, BATCH);
        kill(writer, SIGCONT);
        read_many(number + 2 * BATCH, 4);
        followed = comes_true(frames_in(FRAME_FREE) >= 150);
    }
    ck_assert(followed);
    /* Not far beyond: a reserve is no cache. */
    sleep_ms(50);
    ck_assert_uint_le(frames_in(FRAME_FREE), 512 + 64);
}
END_TEST

START_TEST(marks_are_obeyed_when_they_are_set_and_by_the_next_writer)
{
    for (uint64_t number = 0; number < CLEANER_FRAMES; number += BATCH)
        read_many(number, BATCH);
    ck_assert(comes_true(frames_in(FRAME_FREE) >= setting(SET_FREE_LOW)));
    ck_assert_uint_lt(frames_in(FRAME_FREE), 300);
    set("free_frames_low=300", "free_frames_high=300");
    ck_assert(comes_true(frames_in(FRAME_FREE) >= 300));
    kill(writer, SIGKILL);
    ck_assert_int_eq(waitpid(writer, NULL, 0), writer);
    for (uint64_t number = 2000; number < 2250; number += BATCH)
        read_many(number, BATCH);
    writer = start_writer(test_pool_name(), session);
    ck_assert(comes_true(frames_in(FRAME_FREE) >= 300));
}
END_TEST

START_TEST(no_reserve_is_kept_if_none_is_wanted)
{
    set("free_frames_low=0", "free_frames_high=0");
    for (uint64_t number = 0; number < 2 * CLEANER_FRAMES; number += BATCH)
        read_many(number, BATCH);
    ck_assert_uint_gt(counted(COUNTER_STALLS), 0);
    ck_assert_uint_eq(
        tarn_load_relaxed(&tarn_view_slot(&pool->view, (unsigned)tarn_load_relaxed(
                                                           &pool->view.control->writer_slot))
                               ->counter[COUNTER_EVICTIONS]),
        0);
}
END_TEST

/* Pinned all the time or not; only what somebody has exclusively stays for later. */
START_TEST(dirty_pages_are_written_above_the_high_mark_until_the_low_one)
{
    struct tarn_page_id held = page(0), locked = page(1);
    struct tarn_session *other = open_session(pool);
    struct tarn_locked_page locked_page;
    struct tarn_pin pin;

    set("dirty_frames_low=100%", "dirty_frames_high=100%");
    change(0, 300);
    assert_ok(session, tarn_pin(session, held, 0, &pin));
    assert_ok(other, tarn_mtr_begin(other, 1));
    assert_ok(other, tarn_mtr_lock(other, locked, -1, &locked_page));
    set("dirty_frames_low=100", "dirty_frames_high=300");
    sleep_ms(50);
    ck_assert_uint_eq(dirty_frames(), 300);
    change(300, 64);
    ck_assert(comes_true(dirty_frames() <= 100));
    set("dirty_frames_low=0", "dirty_frames_high=0");
    ck_assert(comes_true(dirty_frames() == 1));
    ck_assert(is_dirty(locked) && !is_dirty(held));
    assert_ok(other, tarn_mtr_commit(other, 0));
    assert_ok(session, tarn_unpin(session, pin));
    change(400, 64); /* a session calls now and then */
    ck_assert(comes_true(dirty_frames() < 32));
}
END_TEST

/* To write what is pinned would free no frame. */
START_TEST(pinned_pages_are_not_written_for_frames)
{
    struct tarn_pin pins[HELD];
    struct tarn_session *other = open_session(pool);
    uint64_t writes;

    set("dirty_frames_low=100%", "dirty_frames_high=100%");
    set("free_frames_low=100", "free_frames_high=200");
    change(0, HELD);
    for (unsigned i = 0; i < HELD; i++)
        assert_ok(other, tarn_pin(other, page(i), 0, &pins[i]));
    writes = tarn_load_relaxed(&pool->view.files[file].writes);
    for (uint64_t number = BATCH; number < CLEANER_PAGES - BATCH; number += BATCH) {
        read_many(number, BATCH);
        ck_assert(comes_true(frames_in(FRAME_FREE) >= 100));
    }
    ck_assert_uint_eq(tarn_load_relaxed(&pool->view.files[file].writes), writes);
    for (unsigned i = 0; i < HELD; i++) {
        ck_assert(is_dirty(page(i)));
        assert_ok(other, tarn_unpin(other, pins[i]));
    }
    /* Released, they are written and leave like others. */
    unsigned cached = HELD;
    for (int round = 0; round < 100 && cached > 0; round++) {
        sleep_ms(round); /* a disk that is busy */
        for (uint64_t number = BATCH; number < CLEANER_PAGES - BATCH; number += BATCH) {
            read_many(number, BATCH);
            ck_assert(comes_true(frames_in(FRAME_FREE) >= 100));
        }
        cached = 0;
        for (unsigned i = 0; i < HELD; i++)
            cached += is_cached(page(i));
    }
    ck_assert_uint_eq(cached, 0);
    for (unsigned i = 0; i < HELD; i++)
        ck_assert(page_has(session, page(i), 1));
}
END_TEST

/* A whole second and more in which it wakes up once at most, among twenty of them. */
static bool comes_quiet(void)
{
    for (int i = 0; i < 20; i++) {
        long before = switches_of(writer);
        sleep_ms(1500);
        if (switches_of(writer) - before <= 1)
            return true;
    }
    return false;
}

/* After demand at its highest, with dirty and pinned pages, and a reserve that cannot be filled. */
START_TEST(idle_means_idle)
{
    struct tarn_pin pins[HELD];

    set("dirty_frames_low=100%", "dirty_frames_high=100%");
    change(0, 200);
    for (unsigned i = 0; i < HELD; i++)
        assert_ok(session, tarn_pin(session, page(i), 0, &pins[i]));
    for (uint64_t number = 200; number < CLEANER_PAGES - BATCH; number += 40)
        read_many(number, 40);
    /* What was begun may take a while. */
    ck_assert(comes_quiet());
    change(0, 1);
    assert_ok(session, tarn_flush_all(session));
}
END_TEST

void test_suite(Suite *suite)
{
    TCase *tcase = test_case(suite, "cleaner", 60);

    tcase_add_checked_fixture(tcase, begin_cleaner, end_cleaner);
    tcase_add_loop_test(tcase, whoever_uses_frames_up_calls_the_writer, 0, USERS);
    tcase_add_test(tcase, reserve_follows_demand);
    tcase_add_test(tcase, marks_are_obeyed_when_they_are_set_and_by_the_next_writer);
    tcase_add_test(tcase, no_reserve_is_kept_if_none_is_wanted);
    tcase_add_test(tcase, dirty_pages_are_written_above_the_high_mark_until_the_low_one);
    tcase_add_test(tcase, idle_means_idle);

    tcase = test_case(suite, "cleaner, lru", 60);
    tcase_add_checked_fixture(tcase, begin_lru, end_cleaner);
    tcase_add_test(tcase, pinned_pages_are_not_written_for_frames);
}
