/* SPDX-License-Identifier: MIT */
/* The flush scheduler: who is served when, what is written together and how often, and that each
 * request ends, once. The disk holds writes back, so that what would be a matter of time is not.
 */
#include "tests/disk.h"

enum { DEPTH = 8, SCATTERED = 100 };

/* True once the expression is, within five seconds. */
#define comes_true(expression)                                                                     \
    __extension__({                                                                                \
        bool true_ = false;                                                                        \
        for (int i_ = 0; i_ < 5000 && !(true_ = (expression)); i_++)                               \
            sleep_ms(1);                                                                           \
        true_;                                                                                     \
    })

static int hold_writes(const struct tarn_io_request *request)
{
    return request->kind == TARN_IO_REQUEST_WRITE ? DISK_HOLDS : DISK_PASSES;
}

/* Pool, writer on a disk that does as it is told, and a file of 1000 pages. */
static void begin(int backend, unsigned depth, enum tarn_writer_durable durable, disk_fate *fate)
{
    struct tarn_writer_options options = {.backend = (enum tarn_io_backend)backend,
                                          .depth = depth,
                                          .durable = durable,
                                          .io_ops = &disk_ops};

    begin_pool(2048);
    disk.durable = durable == TARN_WRITER_DURABLE_ALWAYS;
    begin_writer_with(&options);
    file = make_file(session, "data", 1000);
    assert_ok(session, tarn_flush_all(session));
    if (disk.durable && !file_word_direct(tarn_load_relaxed(&pool->view.files[file].word)))
        test_skip("the file system has no direct I/O");
    disk.seen_count = 0;
    disk.fate = fate;
}

static void end(void)
{
    disk.fate = NULL;
    ck_assert_int_eq(end_writer(), 0);
    ck_assert(!disk.overlaps);
    assert_consistent(pool);
}

static void set(const char *first, const char *second)
{
    const char *assignments[] = {first, second};
    struct tarn_message message = {""};
    int result = tarn_pool_set(pool, assignments, second == NULL ? 1 : 2);

    tarn_pool_message(pool, &message);
    ck_assert_msg(result == 0, "%s: %s", first, message.text);
}

/* Every dirty page is the cleaner's. */
static void clean_all(void)
{
    set("dirty_frames_low=0", "dirty_frames_high=0");
}

/* It counts dirty pages now and then, when it is called. */
#define cleaner_comes_to(expression) comes_true((tarn_wake_writer(pool), (expression)))

/* Pages two apart, so that no two go in one write. */
static void fill_scattered(uint32_t in_file, int byte)
{
    for (unsigned i = 0; i < SCATTERED; i++)
        fill_page(session, tarn_page_id(in_file, 2 * i), byte);
}

static unsigned seen_writes(uint32_t of_file, uint64_t number)
{
    unsigned count = 0;

    for (unsigned i = 0; i < disk.seen_count; i++)
        count += disk.seen[i].count > 0 && disk.seen[i].file == of_file &&
                 number >= disk.seen[i].first && number < disk.seen[i].first + disk.seen[i].count;
    return count;
}

static unsigned seen_syncs(void)
{
    unsigned count = 0;

    for (unsigned i = 0; i < disk.seen_count; i++)
        count += disk.seen[i].count == 0;
    return count;
}

static unsigned asked_count(void)
{
    unsigned count = 0;

    for (unsigned slot = 1; slot <= pool->view.slot_max; slot++)
        count += request_word_state(tarn_load_acquire(
                     &tarn_view_slot(&pool->view, slot)->request.word)) == REQUEST_ASKED;
    return count;
}

static void *flush_page(void *argument)
{
    struct work *work = argument;

    __atomic_store_n(&work->result, tarn_flush_page(work->session, work->id), __ATOMIC_RELEASE);
    return NULL;
}

static void *flush_file(void *argument)
{
    struct work *work = argument;

    __atomic_store_n(&work->result, tarn_flush_file(work->session, tarn_page_file(work->id)),
                     __ATOMIC_RELEASE);
    return NULL;
}

static void *flush_all(void *argument)
{
    struct work *work = argument;

    __atomic_store_n(&work->result, tarn_flush_all(work->session), __ATOMIC_RELEASE);
    return NULL;
}

static bool has_ended(const struct work *work)
{
    return __atomic_load_n(&work->result, __ATOMIC_ACQUIRE) != 12345;
}

/* Together. */

START_TEST(page_asked_for_by_several_and_the_cleaner_is_written_once)
{
    struct work work[5];

    begin(_i, DEPTH, TARN_WRITER_DURABLE_NEVER, hold_writes);
    clean_all();
    fill_page(session, page(7), 77);
    ck_assert(cleaner_comes_to(disk.held_count == 1));
    for (unsigned i = 0; i < 5; i++)
        start_work(&work[i], i == 4 ? flush_all : flush_page, open_session(pool), page(7), -1);
    ck_assert(comes_true(asked_count() == 5));
    sleep_ms(20); /* the writer has seen them */
    ck_assert_uint_eq(disk.held_count, 1);
    disk.fate = NULL;
    for (unsigned i = 0; i < 5; i++)
        ck_assert_int_eq(end_work(&work[i]), 0);
    ck_assert_uint_eq(seen_writes(file, 7), 1);
    ck_assert_uint_eq(seen_syncs(), 1);
    ck_assert(!is_dirty(page(7)) && disk_has(file_path("data"), 7, 77));
    end();
}
END_TEST

START_TEST(scattered_pages_reach_the_full_depth)
{
    struct work work;

    begin(_i, 32, TARN_WRITER_DURABLE_NEVER, hold_writes);
    fill_scattered(file, 1);
    start_work(&work, flush_file, session, page(0), -1);
    ck_assert(comes_true(disk.held_count == 32));
    sleep_ms(20);
    ck_assert_uint_eq(disk.held_count, 32);
    disk.fate = NULL;
    ck_assert_int_eq(end_work(&work), 0);
    ck_assert_uint_eq(seen_syncs(), 1);
    end();
}
END_TEST

START_TEST(neighbours_go_in_writes_of_512_kib)
{
    begin(_i, 64, TARN_WRITER_DURABLE_NEVER, NULL);
    for (unsigned i = 0; i < 300; i++)
        fill_page(session, page(i), 3);
    assert_ok(session, tarn_flush_file(session, file));
    ck_assert_uint_eq(disk.seen_count, 4);
    for (unsigned i = 0; i < 3; i++)
        ck_assert_uint_eq(disk.seen[i].count, i < 2 ? 128 : 44);
    for (unsigned i = 0; i < 300; i++)
        ck_assert(disk_has(file_path("data"), i, 3));
    end();
}
END_TEST

/* Who wants many places in a row must not wait for ever for those who want few, and who wants few
 * must not find the memory full of holes. */
START_TEST(runs_of_all_lengths_find_room)
{
    struct work work;
    uint64_t seed = test_seed();

    begin(_i, DEPTH, TARN_WRITER_DURABLE_NEVER, NULL);
    for (unsigned round = 0; round < 20; round++) {
        for (unsigned i = 0; i < 300; i++)
            fill_page(session, page(i % 3 == 0 ? test_random(&seed) % 400 : 500 + i),
                      (int)round + 1);
        start_work(&work, flush_all, open_session(pool), page(0), -1);
        assert_ok(session, tarn_flush_file(session, file));
        ck_assert_int_eq(end_work(&work), 0);
        assert_ok(work.session, tarn_session_close(work.session));
    }
    disk.fate = NULL;
    join_writer();
    ck_assert_uint_eq(writer->arena.used_places[FLUSH_WIDE], 0);
    ck_assert_int_eq(close_writer(), 0);
    ck_assert(!disk.overlaps);
}
END_TEST

/* Everything. */

START_TEST(flush_of_everything_waits_for_writes_in_flight)
{
    struct work one, all;

    begin(_i, DEPTH, TARN_WRITER_DURABLE_NEVER, hold_writes);
    fill_page(session, page(1), 11);
    start_work(&one, flush_page, open_session(pool), page(1), -1);
    ck_assert(comes_true(disk.held_count == 1));
    start_work(&all, flush_all, open_session(pool), page(0), -1);
    sleep_ms(50);
    ck_assert(!has_ended(&all) && !has_ended(&one));
    disk.fate = NULL;
    ck_assert_int_eq(end_work(&one), 0);
    ck_assert_int_eq(end_work(&all), 0);
    ck_assert_uint_eq(seen_writes(file, 1), 1);
    ck_assert(disk_has(file_path("data"), 1, 11));
    end();
}
END_TEST

static int hold_later_ones(const struct tarn_io_request *request)
{
    return request->kind == TARN_IO_REQUEST_WRITE && !request_writes(request, file, 0)
               ? DISK_HOLDS
               : DISK_PASSES;
}

START_TEST(flush_of_everything_is_not_extended_by_later_changes)
{
    struct work all;

    begin(_i, DEPTH, TARN_WRITER_DURABLE_NEVER, hold_writes);
    fill_page(session, page(0), 1);
    start_work(&all, flush_all, open_session(pool), page(0), -1);
    ck_assert(comes_true(disk.held_count == 1));
    for (unsigned i = 1; i < 20; i++)
        fill_page(session, page(2 * i), 2);
    disk.fate = hold_later_ones;
    ck_assert_int_eq(end_work(&all), 0);
    ck_assert_uint_eq(disk.held_count, 0);
    ck_assert(is_dirty(page(2)) && !is_dirty(page(0)));
    end();
}
END_TEST

static _Atomic bool changes_end;

static void *change_always(void *argument)
{
    struct work *work = argument;

    for (int i = 0; !changes_end; i++)
        fill_page(work->session, work->id, i % 250);
    work->result = 0;
    return NULL;
}

START_TEST(page_that_never_stays_clean_holds_up_no_flush)
{
    struct work work;

    begin(_i, DEPTH, TARN_WRITER_DURABLE_NEVER, NULL);
    start_work(&work, change_always, open_session(pool), page(3), -1);
    for (int i = 0; i < 50; i++) {
        fill_page(session, page(8), i);
        assert_ok(session, tarn_flush_all(session));
        ck_assert(disk_has(file_path("data"), 8, i));
    }
    changes_end = true;
    ck_assert_int_eq(end_work(&work), 0);
    end();
}
END_TEST

static int fail_three_and_forty(const struct tarn_io_request *request)
{
    return request_writes(request, file, 3) || request_writes(request, file, 40) ? -EIO
                                                                                 : DISK_PASSES;
}

START_TEST(flush_of_everything_tells_failures_and_leaves_healthy_pages_durable)
{
    begin(_i, DEPTH, TARN_WRITER_DURABLE_NEVER, fail_three_and_forty);
    for (unsigned i = 0; i < 60; i++)
        fill_page(session, page(i), (int)i + 1);
    assert_fails(session, -EIO, "", tarn_flush_all(session));
    for (unsigned i = 0; i < 60; i++) {
        bool bad = i == 3 || i == 40;
        ck_assert_int_eq(is_dirty(page(i)), bad);
        ck_assert(disk_has(file_path("data"), i, bad ? 0 : (int)i + 1));
    }
    disk.fate = NULL;
    assert_ok(session, tarn_flush_all(session));
    ck_assert(disk_has(file_path("data"), 3, 4) && disk_has(file_path("data"), 40, 41));
    end();
}
END_TEST

/* Classes. */

/* The cleaner has all that it may have in flight, and more to do. */
static void begin_with_cleaner_at_work(int backend, enum tarn_writer_durable durable)
{
    begin(backend, DEPTH, durable, hold_writes);
    fill_scattered(file, 5);
    clean_all(); /* what it begins with is all that it has until that ends */
    ck_assert(cleaner_comes_to(disk.held_count == DEPTH / 2));
    sleep_ms(20);
    ck_assert_uint_eq(disk.held_count, DEPTH / 2);
}

static int pass_the_waiters_page(const struct tarn_io_request *request)
{
    return request_writes(request, file, 501) || request->kind != TARN_IO_REQUEST_WRITE
               ? DISK_PASSES
               : DISK_HOLDS;
}

START_TEST(who_waits_goes_ahead_of_the_cleaner)
{
    struct work work;

    begin_with_cleaner_at_work(_i, TARN_WRITER_DURABLE_NEVER);
    disk.fate = pass_the_waiters_page;
    fill_page(session, page(501), 1);
    start_work(&work, flush_page, open_session(pool), page(501), -1);
    ck_assert_int_eq(end_work(&work), 0);
    ck_assert_uint_eq(disk.held_count, DEPTH / 2);
    ck_assert(disk_has(file_path("data"), 501, 1));
    end();
}
END_TEST

/* Four writes as long as they may be would be all of it. */
START_TEST(cleaner_has_half_of_the_staging_memory_at_most)
{
    struct work work;

    begin(_i, DEPTH, TARN_WRITER_DURABLE_NEVER, hold_writes);
    for (unsigned i = 0; i < 400; i++)
        fill_page(session, page(i), 5);
    clean_all();
    ck_assert(cleaner_comes_to(disk.held_count >= 2));
    sleep_ms(50);
    ck_assert_uint_le(disk.held_pages, DEPTH * 32 / 2);
    disk.fate = pass_the_waiters_page;
    fill_page(session, page(501), 1);
    start_work(&work, flush_page, open_session(pool), page(501), -1);
    ck_assert_int_eq(end_work(&work), 0);
    ck_assert_uint_ge(disk.held_count, 2);
    end();
}
END_TEST

START_TEST(who_waits_for_a_page_in_flight_comes_after_that_write)
{
    struct work work;

    begin_with_cleaner_at_work(_i, TARN_WRITER_DURABLE_NEVER);
    fill_page(session, page(0), 6); /* the one in flight is older */
    start_work(&work, flush_page, open_session(pool), page(0), -1);
    sleep_ms(20);
    ck_assert(!has_ended(&work));
    disk.fate = NULL;
    ck_assert_int_eq(end_work(&work), 0);
    ck_assert(disk_has(file_path("data"), 0, 6));
    end();
}
END_TEST

START_TEST(backlog_of_the_cleaner_blocks_no_flush_of_everything)
{
    struct work all;

    begin_with_cleaner_at_work(_i, TARN_WRITER_DURABLE_NEVER);
    start_work(&all, flush_all, open_session(pool), page(0), -1);
    ck_assert(comes_true(disk.held_count == DEPTH));
    disk.fate = NULL;
    ck_assert_int_eq(end_work(&all), 0);
    for (unsigned i = 0; i < SCATTERED; i++)
        ck_assert(disk_has(file_path("data"), 2 * i, 5));
    end();
}
END_TEST

static uint32_t cleaners_file;
static _Atomic int passes_left;
static _Atomic bool cleaner_writes;

/* Some writes of those who wait pass; none of the cleaner's. */
static int pass_some(const struct tarn_io_request *request)
{
    if (request->kind != TARN_IO_REQUEST_WRITE)
        return DISK_PASSES;
    if ((uint32_t)request->file == cleaners_file)
        cleaner_writes = true;
    else if (passes_left > 0) {
        passes_left--;
        return DISK_PASSES;
    }
    return DISK_HOLDS;
}

START_TEST(cleaner_is_not_starved_by_those_who_wait)
{
    struct work work;

    begin(_i, DEPTH, TARN_WRITER_DURABLE_NEVER, pass_some);
    cleaners_file = file;
    uint32_t other = make_file(session, "other", 1000);
    fill_scattered(other, 1);
    start_work(&work, flush_file, session, tarn_page_id(other, 0), -1);
    ck_assert(comes_true(disk.held_count == DEPTH));
    struct tarn_session *second = open_session(pool);
    /* Before the cleaner is called: what its batch has not, it writes when that has ended. */
    fill_page(second, page(0), 1);
    clean_all();
    /* As long as there are others the whole depth could be theirs. */
    for (unsigned i = 0; i < SCATTERED - 2 * DEPTH && !cleaner_writes; i++) {
        passes_left = 1;
        tarn_wake_writer(pool);
        ck_assert(comes_true(passes_left == 0));
        ck_assert(comes_true(disk.held_count == DEPTH));
        sleep_ms(2);
    }
    ck_assert(cleaner_writes);
    disk.fate = NULL;
    ck_assert_int_eq(end_work(&work), 0);
    end();
}
END_TEST

/* Ends. */

START_TEST(waiter_that_dies_holds_up_nobody)
{
    struct work work;

    begin(_i, DEPTH, TARN_WRITER_DURABLE_NEVER, hold_writes);
    fill_page(session, page(1), 9);
    pid_t pid = fork();
    if (pid == 0) {
        struct tarn_session *own = open_session(attach_pool(test_pool_name()));
        tarn_flush_page(own, page(1));
        _exit(0);
    }
    ck_assert(comes_true(disk.held_count == 1));
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    ck_assert(comes_true(asked_count() == 0)); /* reaped: its request is withdrawn */
    start_work(&work, flush_page, open_session(pool), page(1), -1);
    disk.fate = NULL;
    ck_assert_int_eq(end_work(&work), 0);
    ck_assert_uint_eq(seen_writes(file, 1), 1);
    end();
}
END_TEST

static void *drop_file(void *argument)
{
    struct work *work = argument;

    __atomic_store_n(&work->result, tarn_file_drop(work->session, tarn_page_file(work->id), 1, -1),
                     __ATOMIC_RELEASE);
    return NULL;
}

START_TEST(requests_for_a_file_that_goes_end)
{
    struct work one, whole, all, drop;

    begin(_i, DEPTH, TARN_WRITER_DURABLE_NEVER, hold_writes);
    fill_scattered(file, 4);
    start_work(&one, flush_page, open_session(pool), page(198), -1);
    start_work(&whole, flush_file, open_session(pool), page(0), -1);
    start_work(&all, flush_all, open_session(pool), page(0), -1);
    ck_assert(comes_true(disk.held_count == DEPTH && asked_count() == 3));
    start_work(&drop, drop_file, session, page(0), -1);
    ck_assert(comes_true(asked_count() == 4));
    sleep_ms(20);
    disk.fate = NULL;
    ck_assert_int_eq(end_work(&drop), 0);
    /* What had not been written when it went is nobody's concern any more. */
    ck_assert_int_eq(end_work(&one), 0);
    ck_assert_int_eq(end_work(&whole), 0);
    ck_assert_int_eq(end_work(&all), 0);
    end();
}
END_TEST

START_TEST(told_to_stop_it_drains_what_is_in_flight_and_queued)
{
    struct work work;

    begin(_i, DEPTH, TARN_WRITER_DURABLE_NEVER, hold_writes);
    set("write_rate=1", NULL); /* which the end does not wait for */
    fill_scattered(file, 8);
    start_work(&work, flush_page, open_session(pool), page(0), -1);
    ck_assert(comes_true(disk.held_count == 1));
    tarn_writer_stop(writer);
    ck_assert(comes_true(disk.held_count == DEPTH));
    disk.fate = NULL;
    ck_assert_int_eq(end_work(&work), 0);
    ck_assert_int_eq(end_writer(), 0);
    for (unsigned i = 0; i < SCATTERED; i++)
        ck_assert(!is_dirty(page(2 * i)) && disk_has(file_path("data"), 2 * i, 8));
}
END_TEST

/* Pacing. */

START_TEST(paced_flush_delays_no_single_page)
{
    struct work work;

    begin(_i, DEPTH, TARN_WRITER_DURABLE_NEVER, NULL);
    set("write_rate=1", NULL);
    fill_scattered(file, 2);
    start_work(&work, flush_file, open_session(pool), page(0), -1);
    for (unsigned i = 0; i < 20; i++) {
        fill_page(session, page(501), (int)i);
        assert_ok(session, tarn_flush_page(session, page(501)));
        ck_assert(disk_has(file_path("data"), 501, (int)i));
    }
    ck_assert(!has_ended(&work));
    set("write_rate=default", NULL);
    ck_assert_int_eq(end_work(&work), 0);
    end();
}
END_TEST

START_TEST(paced_writer_keeps_to_its_rate)
{
    begin(_i, DEPTH, TARN_WRITER_DURABLE_NEVER, NULL);
    set("write_rate=2000", NULL);
    fill_scattered(file, 2);
    int64_t begun = now_ms();
    assert_ok(session, tarn_flush_file(session, file));
    /* 100 pages; the first is free, and a millisecond is caught up with. */
    ck_assert_int_ge(now_ms() - begun, 99 * 4 * 1000 / 2000 - 5);
    end();
}
END_TEST

/* A full disk. */

static _Atomic unsigned tries;

static int is_full(const struct tarn_io_request *request)
{
    tries += request_writes(request, file, 0);
    return request->kind == TARN_IO_REQUEST_WRITE ? -ENOSPC : DISK_PASSES;
}

static unsigned dirty_scattered(void)
{
    unsigned dirty = 0;

    for (unsigned i = 0; i < SCATTERED; i++)
        dirty += is_dirty(page(2 * i));
    return dirty;
}

/* Nobody flushes, or calls the writer: it tries again by itself, less and less often, and each page
 * is written once when it can be. */
START_TEST(full_disk_is_written_when_there_is_room_again)
{
    begin(_i, DEPTH, TARN_WRITER_DURABLE_NEVER, is_full);
    fill_scattered(file, 9);
    set("dirty_frames_low=10", "dirty_frames_high=20");
    ck_assert(comes_true(tries >= 4));
    unsigned failed = disk.failed_count;
    ck_assert_uint_le(failed, (tries + 1) * SCATTERED);
    ck_assert_uint_eq(dirty_scattered(), SCATTERED);
    ck_assert_uint_eq(disk.seen_count, 0);
    disk.fate = NULL;
    ck_assert(comes_true(dirty_scattered() <= 20));
    for (unsigned i = 0; i < SCATTERED; i++) {
        ck_assert(page_has(session, page(2 * i), 9));
        ck_assert_uint_le(seen_writes(file, 2 * i), 1);
        ck_assert(is_dirty(page(2 * i)) || disk_has(file_path("data"), 2 * i, 9));
    }
    ck_assert_uint_eq(tarn_load_relaxed(&pool->view.control->failed), 0);
    end();
}
END_TEST

/* Durable writes. */

START_TEST(single_page_is_durable_by_one_write)
{
    begin(_i, DEPTH, TARN_WRITER_DURABLE_ALWAYS, NULL);
    fill_page(session, page(5), 55);
    assert_ok(session, tarn_flush_page(session, page(5)));
    ck_assert_uint_eq(disk.seen_count, 1);
    ck_assert(disk.seen[0].durable && disk.seen[0].first == 5 && disk.seen[0].count == 1);
    ck_assert(!is_dirty(page(5)) && disk_has(file_path("data"), 5, 55));
    /* Many pages share a sync. */
    fill_scattered(file, 1);
    assert_ok(session, tarn_flush_file(session, file));
    ck_assert_uint_eq(seen_syncs(), 1);
    for (unsigned i = 1; i < disk.seen_count; i++)
        ck_assert(!disk.seen[i].durable);
    end();
}
END_TEST

/* There a failure is told to whoever asks first. */
START_TEST(buffered_file_gets_no_durable_write)
{
    uint32_t buffered;

    begin(_i, DEPTH, TARN_WRITER_DURABLE_ALWAYS, NULL);
    assert_ok(session, tarn_file_open(session, "buffered", TARN_FILE_CREATE | TARN_FILE_BUFFERED,
                                      &buffered));
    assert_ok(session, tarn_file_extend(session, buffered, 10));
    disk.seen_count = 0;
    fill_page(session, tarn_page_id(buffered, 5), 55);
    assert_ok(session, tarn_flush_page(session, tarn_page_id(buffered, 5)));
    ck_assert_uint_eq(disk.seen_count, 2);
    ck_assert(!disk.seen[0].durable);
    ck_assert_uint_eq(seen_syncs(), 1);
    end();
}
END_TEST

static int refuse_durable(const struct tarn_io_request *request)
{
    return request->durable ? -EOPNOTSUPP : DISK_PASSES;
}

START_TEST(refused_durable_write_is_written_and_synced)
{
    begin(_i, DEPTH, TARN_WRITER_DURABLE_ALWAYS, refuse_durable);
    for (int i = 0; i < 3; i++) {
        fill_page(session, page(5), i + 1);
        assert_ok(session, tarn_flush_page(session, page(5)));
    }
    ck_assert_uint_eq(disk.failed_count, 1); /* it is not asked for again */
    ck_assert_uint_eq(seen_writes(file, 5), 3);
    ck_assert_uint_eq(seen_syncs(), 3);
    ck_assert_uint_eq(tarn_load_relaxed(&pool->view.files[file].errors), 0);
    end();
}
END_TEST

static _Atomic int durable_to_fail;
static _Atomic bool syncs_held;

static int fail_durable(const struct tarn_io_request *request)
{
    if (request->durable && durable_to_fail > 0) {
        durable_to_fail--;
        return -EIO;
    }
    return request->kind == TARN_IO_REQUEST_SYNC && syncs_held ? DISK_HOLDS : DISK_PASSES;
}

/* It may have been told of a failed sync: what waits for one, and what is being synced, is written
 * once more. */
START_TEST(failed_durable_write_counts_as_a_failed_sync)
{
    struct work work;

    begin(_i, DEPTH, TARN_WRITER_DURABLE_ALWAYS, fail_durable);
    syncs_held = true;
    fill_page(session, page(0), 1);
    fill_page(session, page(2), 1);
    start_work(&work, flush_file, open_session(pool), page(0), -1);
    ck_assert(comes_true(disk.held_count == 1));
    durable_to_fail = 1;
    fill_page(session, page(9), 99);
    struct work single;
    start_work(&single, flush_page, open_session(pool), page(9), -1);
    ck_assert(comes_true(seen_writes(file, 9) == 1));
    syncs_held = false;
    ck_assert_int_eq(end_work(&single), 0);
    ck_assert_int_eq(end_work(&work), 0);
    ck_assert_uint_eq(seen_writes(file, 0), 2);
    ck_assert_uint_eq(seen_writes(file, 2), 2);
    ck_assert_uint_eq(tarn_load_relaxed(&pool->view.control->failed), 0);
    /* The sync that followed has shown that it works. */
    fill_page(session, page(9), 98);
    assert_ok(session, tarn_flush_page(session, page(9)));
    ck_assert(disk.seen[disk.seen_count - 1].durable);
    end();
}
END_TEST

static _Atomic int fate_of_nine = DISK_HOLDS, fate_of_eleven = DISK_HOLDS;

static int fail_nine_then_eleven(const struct tarn_io_request *request)
{
    if (request->durable)
        return request_writes(request, file, 9) ? fate_of_nine : fate_of_eleven;
    return request->kind == TARN_IO_REQUEST_SYNC && syncs_held ? DISK_HOLDS : DISK_PASSES;
}

/* A durable write from before a failure that fails after it may have been told of what was written
 * in between. */
START_TEST(late_failure_of_a_durable_write_loses_what_was_written_since)
{
    struct work nine, eleven;

    begin(_i, DEPTH, TARN_WRITER_DURABLE_ALWAYS, fail_nine_then_eleven);
    syncs_held = true;
    fill_page(session, page(9), 1);
    fill_page(session, page(11), 1);
    start_work(&nine, flush_page, open_session(pool), page(9), -1);
    start_work(&eleven, flush_page, open_session(pool), page(11), -1);
    ck_assert(comes_true(disk.held_count == 2));
    fate_of_nine = -EIO;
    /* Without durability, and its sync is held. */
    ck_assert(comes_true(seen_writes(file, 9) == 1 && disk.held_count == 2));
    fate_of_eleven = -EIO;
    ck_assert(comes_true(seen_writes(file, 11) == 1));
    syncs_held = false;
    ck_assert_int_eq(end_work(&nine), 0);
    ck_assert_int_eq(end_work(&eleven), 0);
    ck_assert_uint_eq(seen_writes(file, 9), 2);
    ck_assert_uint_eq(tarn_load_relaxed(&pool->view.control->failed), 0);
    end();
}
END_TEST

static int fail_all_of_nine(const struct tarn_io_request *request)
{
    return request_writes(request, file, 9) ? -EIO : DISK_PASSES;
}

/* A bad sector is no failed sync, however often it is asked for. */
START_TEST(page_that_cannot_be_written_ends_no_durability)
{
    begin(_i, DEPTH, TARN_WRITER_DURABLE_ALWAYS, fail_all_of_nine);
    for (int i = 0; i < 5; i++) {
        fill_page(session, page(9), i + 1);
        fill_page(session, page(1), i + 1);
        assert_fails(session, -EIO, "", tarn_flush_page(session, page(9)));
        assert_ok(session, tarn_flush_page(session, page(1)));
        ck_assert(disk_has(file_path("data"), 1, i + 1));
    }
    ck_assert_uint_eq(tarn_load_relaxed(&pool->view.control->failed), 0);
    end();
}
END_TEST

void test_suite(Suite *suite)
{
    TCase *together = test_case(suite, "together", 60);
    add_for_backends(together, page_asked_for_by_several_and_the_cleaner_is_written_once);
    add_for_backends(together, scattered_pages_reach_the_full_depth);
    add_for_backends(together, neighbours_go_in_writes_of_512_kib);
    add_for_backends(together, runs_of_all_lengths_find_room);

    TCase *all = test_case(suite, "all", 60);
    add_for_backends(all, flush_of_everything_waits_for_writes_in_flight);
    add_for_backends(all, flush_of_everything_is_not_extended_by_later_changes);
    add_for_backends(all, page_that_never_stays_clean_holds_up_no_flush);
    add_for_backends(all, flush_of_everything_tells_failures_and_leaves_healthy_pages_durable);

    TCase *classes = test_case(suite, "classes", 60);
    add_for_backends(classes, who_waits_goes_ahead_of_the_cleaner);
    add_for_backends(classes, cleaner_has_half_of_the_staging_memory_at_most);
    add_for_backends(classes, who_waits_for_a_page_in_flight_comes_after_that_write);
    add_for_backends(classes, backlog_of_the_cleaner_blocks_no_flush_of_everything);
    add_for_backends(classes, cleaner_is_not_starved_by_those_who_wait);

    TCase *ends = test_case(suite, "ends", 60);
    add_for_backends(ends, waiter_that_dies_holds_up_nobody);
    add_for_backends(ends, requests_for_a_file_that_goes_end);
    add_for_backends(ends, told_to_stop_it_drains_what_is_in_flight_and_queued);

    TCase *paced = test_case(suite, "paced", 60);
    add_for_backends(paced, paced_flush_delays_no_single_page);
    add_for_backends(paced, paced_writer_keeps_to_its_rate);

    TCase *full = test_case(suite, "full", 60);
    add_for_backends(full, full_disk_is_written_when_there_is_room_again);

    TCase *durable = test_case(suite, "durable", 60);
    add_for_backends(durable, single_page_is_durable_by_one_write);
    add_for_backends(durable, buffered_file_gets_no_durable_write);
    add_for_backends(durable, refused_durable_write_is_written_and_synced);
    add_for_backends(durable, failed_durable_write_counts_as_a_failed_sync);
    add_for_backends(durable, late_failure_of_a_durable_write_loses_what_was_written_since);
    add_for_backends(durable, page_that_cannot_be_written_ends_no_durability);
}
