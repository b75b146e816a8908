/* SPDX-License-Identifier: MIT */
/* Files cut short and dropped while others are at work, and other ends that once did not come. */
#include "tests/pool.h"

static struct tarn_session *other;

static void touch_pages(uint64_t first, uint64_t end)
{
    struct tarn_pin pin;
    for (uint64_t number = first; number < end; number++) {
        assert_ok(session, tarn_pin(session, page(number), TARN_HINT_ONCE, &pin));
        assert_ok(session, tarn_unpin(session, pin));
    }
}

static void set_up(unsigned frame_count, uint64_t page_count)
{
    pool = open_pool(NULL, frame_count, &session);
    other = open_session(pool);
    assert_ok(session, tarn_file_open(session, "data", TARN_FILE_CREATE, &file));
    assert_ok(session, tarn_file_extend(session, file, page_count));
}

static void tear_down(void)
{
    ck_assert_int_eq(tarn_detach(pool), 0);
}

/* Was: a frame that had become a shadow still carried the id of a page that was to go, and whoever
 * cut the file waited for it for ever. */
START_TEST(truncate_is_not_held_up_by_a_frame_that_has_become_a_shadow)
{
    set_up(16, 400);
    touch_pages(380, 384);
    struct tarn_pin pin;
    assert_ok(session, tarn_pin(session, page(390), 0, &pin));
    for (int round = 0; round < 20; round++) {
        assert_fails(other, -EBUSY, "data", tarn_file_truncate(other, file, 300, 0));
        /* Other pages push the old ones out; shadows take their frames, and keep them. */
        touch_pages(10 + (uint64_t)round * 10, 20 + (uint64_t)round * 10);
        assert_ok(session, tarn_mtr_begin(session, 4));
        assert_ok(session, tarn_mtr_abort(session));
        assert_ok(session, tarn_mtr_begin(session, 1));
        assert_ok(session, tarn_mtr_abort(session));
        touch_pages(380, 384);
    }
    assert_ok(session, tarn_unpin(session, pin));
    assert_ok(session, tarn_mtr_begin(session, 4));
    assert_ok(other, tarn_file_truncate(other, file, 300, 5000));
    assert_ok(session, tarn_mtr_abort(session));
    tear_down();
}
END_TEST

/* Was: nobody could copy the page whole, so the flush and the writer's end waited for ever. */
static _Atomic bool stop_changing;

static void *change_often(void *argument)
{
    struct tarn_session *own = argument;
    struct tarn_writable_page writable;
    while (!stop_changing) {
        assert_ok(own, tarn_mtr_begin(own, 1));
        assert_ok(own, tarn_mtr_write(own, page(0), -1, &writable));
        ++*(uint64_t *)writable.data;
        assert_ok(own, tarn_mtr_commit(own, 0));
    }
    return NULL;
}

START_TEST(page_that_is_changed_all_the_time_can_be_flushed)
{
    pthread_t threads[2];
    set_up(64, 10);
    struct tarn_session *third = open_session(pool);
    stop_changing = false;
    pthread_create(&threads[0], NULL, change_often, other);
    pthread_create(&threads[1], NULL, change_often, third);
    for (int i = 0; i < 20; i++)
        assert_ok(session, tarn_flush_page(session, page(0)));
    stop_changing = true;
    pthread_join(threads[0], NULL);
    pthread_join(threads[1], NULL);
    tear_down();
}
END_TEST

/* Was: a session passed over the frames of its own reads ahead, and found none. */
START_TEST(reads_ahead_leave_frames_for_the_session_that_began_them)
{
    set_up(16, 100);
    for (int round = 0; round < 20; round++) {
        struct tarn_page_id ids[32];
        for (unsigned i = 0; i < 32; i++)
            ids[i] = page((uint64_t)(round * 32 + (int)i) % 90);
        assert_ok(session, tarn_prefetch(session, ids, 32));
        assert_ok(session, tarn_mtr_begin(session, 8));
        assert_ok(session, tarn_mtr_abort(session));
        touch_pages(90, 100);
    }
    tear_down();
}
END_TEST

/* Was: 60 shadows, 60 NEW pages and an eviction batch needed more claims than a slot had. */
START_TEST(largest_transaction_of_new_pages_finds_room_for_its_claims)
{
    set_up(400, 20000);
    for (unsigned round = 0; round < 30; round++) {
        struct tarn_writable_page writable;
        touch_pages(round * 300, round * 300 + 300);
        assert_ok(session, tarn_mtr_begin(session, 60));
        for (unsigned i = 0; i < 60; i++)
            assert_ok(session, tarn_mtr_new(session, page(10000 + round * 60 + i), -1, &writable));
        assert_ok(session, tarn_mtr_commit(session, 0));
    }
    tear_down();
}
END_TEST

/* Was: a page that somebody had read ahead and not asked for counted as held. */
START_TEST(page_that_is_only_read_ahead_holds_up_no_truncate)
{
    struct tarn_page_id id;
    set_up(64, 100);
    for (int round = 0; round < 20; round++) {
        id = page(50);
        assert_ok(other, tarn_prefetch(other, &id, 1));
        assert_ok(session, tarn_file_truncate(session, file, 10, 0));
        assert_ok(session, tarn_file_extend(session, file, 100));
    }
    tear_down();
}
END_TEST

/* Was: a limit of -1 in the session made the shortest wait of all. */
START_TEST(session_without_a_limit_waits_for_the_holder_as_long_as_the_call_says)
{
    struct tarn_session_options options = {.size = sizeof(options), .wait_ms = -1};
    struct tarn_session *patient;
    struct tarn_pin pin;
    set_up(64, 100);
    ck_assert_int_eq(tarn_session_open(pool, &options, &patient), 0);
    assert_ok(session, tarn_pin(session, page(50), 0, &pin));
    assert_fails(patient, -EBUSY, "data", tarn_file_truncate(patient, file, 10, 200));
    assert_ok(session, tarn_unpin(session, pin));
    tear_down();
}
END_TEST

/* A writer that died past the point of no return, as its successor finds it: the lower count, or
 * the mark of a drop, is published, and some of the pages are gone. */
static pid_t writer;

static void *ask_to_truncate(void *argument)
{
    (void)argument;
    assert_ok(other, tarn_file_truncate(other, file, 10, -1));
    return NULL;
}

static void *ask_to_extend(void *argument)
{
    (void)argument;
    assert_ok(other, tarn_file_extend(other, file, 64));
    return NULL;
}

static void begin_half_done(void)
{
    struct tarn_writable_page writable;
    pool = init_pool(test_pool_name(), test_path("pool"), 256, 4);
    session = open_session(pool);
    other = open_session(pool);
    writer = start_writer(test_pool_name(), session);
    assert_ok(session, tarn_file_open(session, "data", TARN_FILE_CREATE, &file));
    assert_ok(session, tarn_file_extend(session, file, 64));
    assert_ok(session, tarn_mtr_begin(session, 1));
    assert_ok(session, tarn_mtr_write(session, page(20), -1, &writable));
    *(uint64_t *)writable.data = 99;
    assert_ok(session, tarn_mtr_commit(session, 0));
    kill(writer, SIGKILL);
    waitpid(writer, NULL, 0);
}

static void finish_half_done(void *(*ask)(void *))
{
    pthread_t thread;
    tarn_store_release(&pool->view.files[file].page_count, 10);
    pthread_create(&thread, NULL, ask, NULL);
    sleep_ms(50);
    writer = start_writer(test_pool_name(), session);
    pthread_join(thread, NULL);
}

static void end_half_done(void)
{
    struct tarn_message message = {""};
    tarn_detach(pool);
    kill(writer, SIGTERM);
    waitpid(writer, NULL, 0);
    ck_assert_int_eq(tarn_destroy(test_pool_name(), NULL, TARN_DESTROY_DATA, &message), 0);
}

START_TEST(truncation_that_a_dead_writer_began_joins_the_request_for_it)
{
    uint64_t count;
    begin_half_done();
    finish_half_done(ask_to_truncate);
    assert_ok(session, tarn_file_page_count(session, file, &count));
    ck_assert_uint_eq(count, 10);
    end_half_done();
}
END_TEST

/* Was: the extension began before the old pages were gone, and brought them back. */
START_TEST(extension_after_a_cut_of_a_dead_writer_brings_zeros)
{
    uint64_t value = 1;
    begin_half_done();
    finish_half_done(ask_to_extend);
    assert_ok(session, tarn_page_copy(session, page(20), 0, sizeof(value), &value));
    ck_assert_uint_eq(value, 0);
    end_half_done();
}
END_TEST

void test_suite(Suite *suite)
{
    TCase *cut = test_case(suite, "cut", 60);
    tcase_add_test(cut, truncate_is_not_held_up_by_a_frame_that_has_become_a_shadow);
    tcase_add_test(cut, page_that_is_only_read_ahead_holds_up_no_truncate);
    tcase_add_test(cut, session_without_a_limit_waits_for_the_holder_as_long_as_the_call_says);
    tcase_add_test(cut, truncation_that_a_dead_writer_began_joins_the_request_for_it);
    tcase_add_test(cut, extension_after_a_cut_of_a_dead_writer_brings_zeros);
    TCase *ends = test_case(suite, "ends", 60);
    tcase_add_test(ends, page_that_is_changed_all_the_time_can_be_flushed);
    tcase_add_test(ends, reads_ahead_leave_frames_for_the_session_that_began_them);
    tcase_add_test(ends, largest_transaction_of_new_pages_finds_room_for_its_claims);
}
