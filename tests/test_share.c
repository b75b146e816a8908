/* SPDX-License-Identifier: MIT */
/* Shares: a file has no more pages in the pool than it may, whoever reads it and however; others
 * keep theirs. The pool has a writer in a process of its own, so that it can be stopped and killed.
 */
#include <signal.h>

#include "lib/directory.h"
#include "tests/process.h"

enum { SHARE_FRAMES = 1024, SHARE_PAGES = 4096, BATCH = 50, SLACK = 16 };

static pid_t writer;
static uint32_t other;

static void begin_share(void)
{
    struct tarn_init_options options = {.size = sizeof(options),
                                        .directory = test_path("pool"),
                                        .frame_bytes = SHARE_FRAMES * PAGE_BYTES,
                                        .session_count = 16};

    ck_assert_int_eq(tarn_init(test_pool_name(), &options, NULL), 0);
    pool = attach_pool(test_pool_name());
    session = open_session(pool);
    writer = start_writer(test_pool_name(), session);
    file = make_file(session, "data", SHARE_PAGES);
    other = make_file(session, "other", SHARE_PAGES);
}

static void end_share(void)
{
    stop_writer(writer);
    assert_consistent(pool);
    ck_assert_int_eq(tarn_detach(pool), 0);
}

static void kill_writer(void)
{
    kill_process(writer);
    writer = 0;
}

static void next_writer(void)
{
    writer = start_writer(test_pool_name(), session);
}

/* Pages of a file that are in the pool. */
static unsigned cached(uint32_t of)
{
    unsigned count = 0;
    uint64_t word;

    for (uint64_t number = 0; number < SHARE_PAGES; number++)
        count +=
            tarn_table_find(&pool->view, tarn_page_id(of, number).value, &word) != TARN_NO_FRAME;
    return count;
}

static uint64_t share_of(uint32_t of)
{
    uint64_t frames;

    assert_ok(session, tarn_file_share(session, of, &frames));
    return frames;
}

static void read_pages(uint32_t of, uint64_t number, unsigned count, unsigned hint)
{
    struct tarn_page_id ids[BATCH];
    struct tarn_pin pins[BATCH];

    for (uint64_t end = number + count; number < end; number += count) {
        count = end - number < BATCH ? (unsigned)(end - number) : BATCH;
        for (unsigned i = 0; i < count; i++)
            ids[i] = tarn_page_id(of, number + i);
        assert_ok(session, tarn_pin_many(session, ids, count, hint, pins));
        assert_ok(session, tarn_unpin_many(session, pins, count));
    }
}

/* Waits for the writer after each part, so that none of it is a question of time. */
static void scan(uint32_t of, uint64_t number, unsigned count, unsigned hint, unsigned limit)
{
    for (uint64_t end = number + count; number < end; number += BATCH) {
        read_pages(of, number, BATCH, hint);
        wait_until(cached(of) <= limit + SLACK);
    }
}

static void change_pages(uint32_t of, uint64_t number, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        fill_page(session, tarn_page_id(of, number + i), 7);
}

/* The hot pages of the other file are touched now and then only: what the policy makes of that is
 * another question than the one here, so they are not touched at all. */
START_TEST(others_keep_their_pages)
{
    static const unsigned hints[] = {TARN_HINT_NONE, TARN_HINT_KEEP, TARN_HINT_ONCE};
    enum { LIMIT = SHARE_FRAMES / 10, HOT = 800 };

    assert_ok(session, tarn_file_set_share(session, file, LIMIT));
    read_pages(other, 0, HOT, TARN_HINT_NONE);
    ck_assert_uint_eq(cached(other), HOT);
    scan(file, 0, SHARE_PAGES / BATCH * BATCH, hints[_i], LIMIT);
    ck_assert_uint_eq(cached(other), HOT);
    /* And it has what it may have. */
    ck_assert_uint_ge(cached(file), LIMIT / 2);
}
END_TEST

/* Also while most frames are FREE, and with pages that are touched all the time. */
START_TEST(limit_is_lowered_and_lifted_while_it_works)
{
    read_pages(file, 0, 600, TARN_HINT_NONE);
    ck_assert_uint_eq(cached(file), 600);
    assert_ok(session, tarn_file_set_share(session, file, 300));
    wait_until(cached(file) <= 300);
    read_pages(file, 0, 50, TARN_HINT_KEEP);
    assert_ok(session, tarn_file_set_share(session, file, 1));
    wait_until(cached(file) <= 1);
    read_pages(file, 0, 50, TARN_HINT_KEEP);
    read_pages(file, 0, 50, TARN_HINT_KEEP);
    wait_until(cached(file) <= 1 + SLACK);
    assert_ok(session, tarn_file_set_share(session, file, 0));
    read_pages(file, 0, 600, TARN_HINT_NONE);
    sleep_ms(50);
    ck_assert_uint_eq(cached(file), 600);
    ck_assert_uint_eq(share_of(file), 0);
}
END_TEST

/* Written before they leave; nothing of them is lost. */
START_TEST(dirty_pages_leave_too)
{
    const char *const marks[] = {"dirty_frames_low=100%", "dirty_frames_high=100%"};

    ck_assert_int_eq(tarn_pool_set(pool, marks, 2), 0);
    change_pages(file, 0, 400);
    assert_ok(session, tarn_file_set_share(session, file, 100));
    wait_until(cached(file) <= 100);
    for (unsigned i = 0; i < 400; i++)
        ck_assert(page_has(session, page(i), 7));
    wait_until(cached(file) <= 100 + SLACK);
}
END_TEST

static int64_t processor_ms(void)
{
    struct timespec time;
    clockid_t clock;

    ck_assert_int_eq(clock_getcpuclockid(writer, &clock), 0);
    ck_assert_int_eq(clock_gettime(clock, &time), 0);
    return time.tv_sec * 1000 + time.tv_nsec / 1000000;
}

/* A whole second and more in which it wakes up once at most and does next to nothing, among twenty
 * of them. */
static bool comes_quiet(void)
{
    for (int i = 0; i < 20; i++) {
        long before = switches_of(writer);
        int64_t begun_ms = processor_ms();
        sleep_ms(1500);
        if (switches_of(writer) - before <= 1 && processor_ms() - begun_ms < 20)
            return true;
    }
    return false;
}

/* They stay, in the way of nobody: the writer sleeps, other pages of the file leave, and so do they
 * when they are released. */
START_TEST(pinned_pages_stay_and_nobody_spins)
{
    enum { HELD = 40, LIMIT = 20 };
    struct tarn_session *holder = open_session(pool);
    struct tarn_pin pins[HELD];
    uint64_t word;

    for (unsigned i = 0; i < HELD; i++)
        assert_ok(holder, tarn_pin(holder, page(i), 0, &pins[i]));
    change_pages(file, 0, HELD / 2);
    assert_ok(session, tarn_file_set_share(session, file, LIMIT));
    scan(file, 100, 20 * BATCH, TARN_HINT_NONE, HELD + LIMIT);
    for (unsigned i = 0; i < HELD; i++)
        ck_assert(tarn_table_find(&pool->view, page(i).value, &word) != TARN_NO_FRAME);
    ck_assert(comes_quiet());
    for (unsigned i = 0; i < HELD; i++)
        assert_ok(holder, tarn_unpin(holder, pins[i]));
    scan(file, 2000, 4 * BATCH, TARN_HINT_NONE, LIMIT);
    wait_until(cached(file) <= LIMIT + SLACK);
}
END_TEST

/* Several files over theirs: one whose pages are all pinned does not keep others from leaving. */
START_TEST(files_take_turns)
{
    struct tarn_session *holder = open_session(pool);
    struct tarn_pin pins[20];

    for (unsigned i = 0; i < 20; i++)
        assert_ok(holder, tarn_pin(holder, page(i), 0, &pins[i]));
    read_pages(other, 0, 300, TARN_HINT_NONE);
    assert_ok(session, tarn_file_set_share(session, file, 1));
    assert_ok(session, tarn_file_set_share(session, other, 50));
    wait_until(cached(other) <= 50);
    ck_assert_uint_eq(cached(file), 20);
    for (unsigned i = 0; i < 20; i++)
        assert_ok(holder, tarn_unpin(holder, pins[i]));
}
END_TEST

/* Nobody keeps it while there is no writer; the next one does, from the table. */
START_TEST(share_outlives_the_writer)
{
    assert_ok(session, tarn_file_set_share(session, file, 100));
    kill_writer();
    ck_assert_uint_eq(share_of(file), 100);
    read_pages(file, 0, 500, TARN_HINT_NONE);
    ck_assert_uint_eq(cached(file), 500);
    /* A stray store is not what counts. */
    tarn_store_relaxed(&pool->view.files[file].share, UINT64_MAX);
    ck_assert_uint_eq(share_of(file), SHARE_FRAMES);
    next_writer();
    wait_until(cached(file) <= 100);
    ck_assert_uint_eq(share_of(file), 100);
    ck_assert_uint_eq(share_of(other), 0);
}
END_TEST

/* Killed when the table has been written and the segment not, or the other way round. */
START_TEST(table_decides_after_a_death)
{
    static struct tarn_file_record records[257];
    uint32_t file_count = pool->view.geometry.file_count;
    struct tarn_message message = {""};

    ck_assert_uint_le(file_count, 256);
    assert_ok(session, tarn_file_set_share(session, file, 100));
    kill_writer();
    ck_assert_int_eq(tarn_directory_read_files(pool->directory_fd, records, file_count, &message),
                     0);
    ck_assert_uint_eq(records[file].share, 100);
    records[file].share = 0;
    records[other].share = 2 * SHARE_FRAMES; /* of a larger pool */
    ck_assert_int_eq(tarn_directory_write_files(pool->directory_fd, records, file_count, &message),
                     0);
    next_writer();
    ck_assert_uint_eq(share_of(file), 0);
    ck_assert_uint_eq(share_of(other), SHARE_FRAMES);
}
END_TEST

START_TEST(share_outlives_the_segment)
{
    struct tarn_message message = {""};
    char path[100];

    assert_ok(session, tarn_file_set_share(session, file, 77));
    stop_writer(writer);
    ck_assert_int_eq(tarn_detach(pool), 0);
    snprintf(path, sizeof(path), "/dev/shm/tarn.%s", test_pool_name());
    ck_assert_int_eq(unlink(path), 0);
    int result = tarn_segment_build(test_path("pool"), NULL, NULL, &message);
    ck_assert_msg(result == 0, "%s", message.text);
    pool = attach_pool(test_pool_name());
    session = open_session(pool);
    ck_assert_uint_eq(share_of(file), 77);
    next_writer();
    ck_assert_uint_eq(share_of(file), 77);
    read_pages(file, 0, 300, TARN_HINT_NONE);
    wait_until(cached(file) <= 77 + SLACK);
}
END_TEST

START_TEST(dropped_file_takes_its_share_with_it)
{
    uint32_t again;

    assert_ok(session, tarn_file_set_share(session, file, 10));
    read_pages(file, 0, 200, TARN_HINT_NONE);
    assert_ok(session, tarn_file_drop(session, file, 1, 1000));
    again = make_file(session, "new", SHARE_PAGES);
    ck_assert_uint_eq(again, file);
    ck_assert_uint_eq(share_of(again), 0);
    read_pages(again, 0, 300, TARN_HINT_NONE);
    sleep_ms(50);
    ck_assert_uint_eq(cached(again), 300);
    assert_ok(session, tarn_file_set_share(session, again, 100));
    wait_until(cached(again) <= 100);
}
END_TEST

START_TEST(what_cannot_be_set_changes_nothing)
{
    uint64_t frames;
    struct tarn_session_options hasty = {.size = sizeof(hasty), .writer_wait_ms = 1};
    struct tarn_session *own;

    assert_ok(session, tarn_file_set_share(session, file, SHARE_FRAMES));
    assert_fails(session, -EINVAL, "a share of 1025 frames: pool",
                 tarn_file_set_share(session, file, SHARE_FRAMES + 1));
    assert_fails(session, -EINVAL, "18446744073709551615",
                 tarn_file_set_share(session, file, UINT64_MAX));
    assert_fails(session, -ENXIO, "no file 99", tarn_file_set_share(session, 99, 1));
    assert_fails(session, -ENXIO, "no file 0", tarn_file_set_share(session, 0, 1));
    assert_fails(session, -ENXIO, "no file 60000", tarn_file_share(session, 60000, &frames));
    ck_assert_int_eq(mkdir(test_path("pool/files.new"), 0700), 0);
    assert_fails(session, -EISDIR, "", tarn_file_set_share(session, file, 5));
    ck_assert_int_eq(rmdir(test_path("pool/files.new")), 0);
    ck_assert_uint_eq(share_of(file), SHARE_FRAMES);
    kill_writer();
    ck_assert_int_eq(tarn_session_open(pool, &hasty, &own), 0);
    assert_fails(own, -ENOTCONN, "no writer", tarn_file_set_share(own, file, 5));
    ck_assert_uint_eq(share_of(file), SHARE_FRAMES);
    next_writer();
    ck_assert_uint_eq(share_of(file), SHARE_FRAMES);
}
END_TEST

struct setter {
    struct tarn_session *session;
    uint64_t frames;
};

static void *set_often(void *argument)
{
    const struct setter *setter = argument;

    for (int i = 0; i < 50; i++)
        assert_ok(setter->session,
                  tarn_file_set_share(setter->session, i % 2 ? file : other, setter->frames));
    return NULL;
}

START_TEST(two_who_set_at_once)
{
    struct setter setters[2] = {{open_session(pool), 100}, {open_session(pool), 200}};
    pthread_t threads[2];
    static struct tarn_file_record records[257];

    read_pages(file, 0, 400, TARN_HINT_NONE);
    for (int i = 0; i < 2; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, set_often, &setters[i]), 0);
    for (int i = 0; i < 2; i++)
        ck_assert_int_eq(pthread_join(threads[i], NULL), 0);
    ck_assert_int_eq(tarn_directory_read_files(pool->directory_fd, records,
                                               pool->view.geometry.file_count, NULL),
                     0);
    ck_assert_uint_eq(share_of(file), records[file].share);
    ck_assert_uint_eq(share_of(other), records[other].share);
    ck_assert(share_of(file) == 100 || share_of(file) == 200);
    wait_until(cached(file) <= share_of(file));
}
END_TEST

/* Who has to evict without a writer takes pages of a file that has more than its share first,
 * whatever their hints. */
START_TEST(sessions_take_what_is_over_first)
{
    read_pages(other, 0, 300, TARN_HINT_KEEP);
    read_pages(file, 0, 700, TARN_HINT_KEEP);
    stop_process(writer);
    tarn_store_relaxed(&pool->view.files[file].share, share_word_of(100, true));
    unsigned before = cached(other);
    for (int i = 0; i < 6; i++)
        read_pages(file, 1000 + 50 * (unsigned)i, BATCH, TARN_HINT_KEEP);
    /* The hand has been all around, and others' hints were worn down at most. */
    ck_assert_uint_ge(cached(other), before - before / 10);
    continue_process(writer);
}
END_TEST

void test_suite(Suite *suite)
{
    TCase *tcase = test_case(suite, "share", 60);

    tcase_add_checked_fixture(tcase, begin_share, end_share);
    tcase_add_loop_test(tcase, others_keep_their_pages, 0, 3);
    tcase_add_test(tcase, limit_is_lowered_and_lifted_while_it_works);
    tcase_add_test(tcase, dirty_pages_leave_too);
    tcase_add_test(tcase, pinned_pages_stay_and_nobody_spins);
    tcase_add_test(tcase, files_take_turns);
    tcase_add_test(tcase, share_outlives_the_writer);
    tcase_add_test(tcase, table_decides_after_a_death);
    tcase_add_test(tcase, share_outlives_the_segment);
    tcase_add_test(tcase, dropped_file_takes_its_share_with_it);
    tcase_add_test(tcase, what_cannot_be_set_changes_nothing);
    tcase_add_test(tcase, two_who_set_at_once);
    tcase_add_test(tcase, sessions_take_what_is_over_first);
}
