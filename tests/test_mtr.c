/* SPDX-License-Identifier: MIT */
/* Latches, optimistic reads and mini-transactions, as tarn.h says. */
#include "tests/pool.h"

/* Latches and optimistic reads. */

static void *latch_page(void *argument)
{
    struct work *work = argument;
    struct tarn_pin pin;
    int64_t begin;

    assert_ok(work->session, tarn_pin(work->session, work->id, TARN_HINT_NONE, &pin));
    begin = now_ms();
    work->result = tarn_latch_shared(work->session, pin, work->wait_ms);
    work->took_ms = now_ms() - begin;
    if (work->result == 0)
        assert_ok(work->session, tarn_unlatch_shared(work->session, pin));
    assert_ok(work->session, tarn_unpin(work->session, pin));
    return NULL;
}

static void *lock_page(void *argument)
{
    struct work *work = argument;
    struct tarn_locked_page locked;
    int64_t begin = now_ms();

    assert_ok(work->session, tarn_mtr_begin(work->session, 1));
    work->result = tarn_mtr_lock(work->session, work->id, work->wait_ms, &locked);
    work->took_ms = now_ms() - begin;
    assert_ok(work->session, tarn_mtr_abort(work->session));
    return NULL;
}

START_TEST(shared_latches_are_shared)
{
    struct tarn_session *other = open_session(pool);
    struct tarn_pin pin;
    struct work work;

    assert_ok(session, tarn_pin(session, page(1), TARN_HINT_NONE, &pin));
    assert_ok(session, tarn_latch_shared(session, pin, 0));
    start_work(&work, latch_page, other, page(1), 0);
    ck_assert_int_eq(end_work(&work), 0);
    assert_ok(session, tarn_unlatch_shared(session, pin));
    assert_ok(session, tarn_unpin(session, pin));
}
END_TEST

START_TEST(shared_latch_waits_for_the_exclusive_holder)
{
    struct tarn_session *other = open_session(pool);
    struct tarn_locked_page locked;
    struct work work;

    assert_ok(session, tarn_mtr_begin(session, 1));
    assert_ok(session, tarn_mtr_lock(session, page(77), -1, &locked));
    start_work(&work, latch_page, other, page(77), 0);
    ck_assert_int_eq(end_work(&work), -ETIMEDOUT);
    ck_assert_int_lt(work.took_ms, 50);
    start_work(&work, latch_page, other, page(77), 60);
    ck_assert_int_eq(end_work(&work), -ETIMEDOUT);
    ck_assert_int_ge(work.took_ms, 60);
    ck_assert_int_lt(work.took_ms, 1000);
    ck_assert_ptr_nonnull(strstr(tarn_session_message(other), "77"));

    start_work(&work, latch_page, other, page(77), -1);
    sleep_ms(30);
    assert_ok(session, tarn_mtr_abort(session));
    ck_assert_int_eq(end_work(&work), 0);
}
END_TEST

START_TEST(exclusive_latch_waits_for_all_shared_holders)
{
    struct tarn_session *other = open_session(pool), *third = open_session(pool);
    struct tarn_pin mine, others;
    struct work work;

    assert_ok(session, tarn_pin(session, page(77), TARN_HINT_NONE, &mine));
    assert_ok(session, tarn_latch_shared(session, mine, -1));
    assert_ok(other, tarn_pin(other, page(77), TARN_HINT_NONE, &others));
    assert_ok(other, tarn_latch_shared(other, others, -1));
    start_work(&work, lock_page, third, page(77), 40);
    ck_assert_int_eq(end_work(&work), -ETIMEDOUT);
    ck_assert_int_ge(work.took_ms, 40);
    assert_ok(session, tarn_unlatch_shared(session, mine));
    start_work(&work, lock_page, third, page(77), 40);
    ck_assert_int_eq(end_work(&work), -ETIMEDOUT);
    start_work(&work, lock_page, third, page(77), -1);
    sleep_ms(20);
    assert_ok(other, tarn_unlatch_shared(other, others));
    ck_assert_int_eq(end_work(&work), 0);
    assert_ok(session, tarn_latch_shared(session, mine, 0));
    assert_ok(session, tarn_unlatch_shared(session, mine));
    assert_ok(session, tarn_unpin(session, mine));
    assert_ok(other, tarn_unpin(other, others));
}
END_TEST

START_TEST(pin_does_not_keep_anybody_from_changing)
{
    struct tarn_session *other = open_session(pool);
    struct tarn_pin pin;

    assert_ok(session, tarn_pin(session, page(1), TARN_HINT_NONE, &pin));
    fill_page(other, page(1), 'a');
    ck_assert(filled_with(pin.data, 'a'));
    assert_ok(session, tarn_unpin(session, pin));
}
END_TEST

START_TEST(optimistic_read_counts_until_the_page_changes)
{
    struct tarn_optimistic optimistic;

    fill_page(session, page(1), 'a');
    assert_ok(session, tarn_optimistic_begin(session, page(1), &optimistic));
    ck_assert(filled_with(optimistic.data, 'a'));
    ck_assert_int_eq(tarn_optimistic_valid(session, &optimistic), 1);
    ck_assert_int_eq(tarn_optimistic_valid(session, &optimistic), 1);
    fill_page(session, page(2), 'b');
    ck_assert_int_eq(tarn_optimistic_valid(session, &optimistic), 1);
    fill_page(session, page(1), 'b');
    ck_assert_int_eq(tarn_optimistic_valid(session, &optimistic), 0);
}
END_TEST

START_TEST(optimistic_read_does_not_count_across_an_abort)
{
    struct tarn_optimistic optimistic;
    struct tarn_writable_page writable;

    assert_ok(session, tarn_optimistic_begin(session, page(1), &optimistic));
    assert_ok(session, tarn_mtr_begin(session, 1));
    assert_ok(session, tarn_mtr_write(session, page(1), -1, &writable));
    memset(writable.data, 'x', PAGE_BYTES);
    ck_assert_int_eq(tarn_optimistic_valid(session, &optimistic), 0);
    assert_ok(session, tarn_mtr_abort(session));
    ck_assert_int_eq(tarn_optimistic_valid(session, &optimistic), 0);
}
END_TEST

START_TEST(optimistic_read_does_not_count_when_the_page_has_left)
{
    struct tarn_optimistic optimistic;

    assert_ok(session, tarn_optimistic_begin(session, page(1), &optimistic));
    for (int i = 0; i < 3; i++)
        drive_out(page(1));
    ck_assert_int_eq(tarn_optimistic_valid(session, &optimistic), 0);
}
END_TEST

/* The frame was given up and not used again, so its version stood still, and the read counted. */
START_TEST(optimistic_read_does_not_count_when_its_frame_is_free)
{
    struct tarn_optimistic optimistic;

    fill_page(session, page(100), 'a');
    assert_ok(session, tarn_optimistic_begin(session, page(100), &optimistic));
    assert_ok(session, tarn_file_truncate(session, file, 50, 1000));
    ck_assert_int_eq(tarn_optimistic_valid(session, &optimistic), 0);
}
END_TEST

static void *begin_optimistic(void *argument)
{
    struct work *work = argument;
    struct tarn_optimistic optimistic;

    work->result = tarn_optimistic_begin(work->session, work->id, &optimistic);
    if (work->result == 0)
        work->result = *(const uint8_t *)optimistic.data;
    return NULL;
}

START_TEST(optimistic_read_waits_while_the_page_is_held)
{
    struct tarn_session *other = open_session(pool);
    struct tarn_writable_page writable;
    struct work work;

    assert_ok(session, tarn_mtr_begin(session, 1));
    assert_ok(session, tarn_mtr_write(session, page(1), -1, &writable));
    start_work(&work, begin_optimistic, other, page(1), 0);
    sleep_ms(20);
    memset(writable.data, 'a', PAGE_BYTES);
    assert_ok(session, tarn_mtr_commit(session, 0));
    ck_assert_int_eq(end_work(&work), 'a');
}
END_TEST

START_TEST(copied_bytes_are_of_one_moment)
{
    uint8_t bytes[PAGE_BYTES];
    struct work work;
    unsigned different = 0;
    int last = -1;

    fill_page(session, page(1), 0);
    start_work(&work, fill_all_the_time, open_session(pool), page(1), 0);
    for (int i = 0; i < 20000; i++) {
        assert_ok(session, tarn_page_copy(session, page(1), 0, PAGE_BYTES, bytes));
        ck_assert(filled_with(bytes, bytes[0]));
        different += bytes[0] != last;
        last = bytes[0];
    }
    stop = true;
    end_work(&work);
    ck_assert_uint_gt(different, 1);
}
END_TEST

START_TEST(copy_takes_the_bytes_that_were_asked_for)
{
    struct tarn_writable_page writable;
    uint8_t bytes[4] = {9, 9, 9, 9};

    assert_ok(session, tarn_mtr_begin(session, 1));
    assert_ok(session, tarn_mtr_write(session, page(1), -1, &writable));
    memcpy((uint8_t *)writable.data + 100, "\1\2\3", 3);
    assert_ok(session, tarn_mtr_commit(session, 0));
    assert_ok(session, tarn_page_copy(session, page(1), 101, 2, bytes));
    ck_assert_mem_eq(bytes, "\2\3\11\11", 4);
    assert_fails(session, -EINVAL, "4096", tarn_page_copy(session, page(1), 4095, 2, bytes));
}
END_TEST

/* Mini-transactions. */

START_TEST(commit_keeps_and_abort_restores_every_page)
{
    struct tarn_writable_page writable;

    for (uint64_t number = 0; number < 20; number++)
        fill_page(session, page(number), 'a');
    assert_ok(session, tarn_mtr_begin(session, 20));
    for (uint64_t number = 0; number < 20; number++) {
        assert_ok(session, tarn_mtr_write(session, page(number), -1, &writable));
        memset(writable.data, 'b', PAGE_BYTES);
    }
    assert_ok(session, tarn_mtr_abort(session));
    for (uint64_t number = 0; number < 20; number++)
        ck_assert(page_has(session, page(number), 'a'));

    assert_ok(session, tarn_mtr_begin(session, 20));
    for (uint64_t number = 0; number < 20; number++) {
        assert_ok(session, tarn_mtr_write(session, page(number), -1, &writable));
        memset(writable.data, 'c', PAGE_BYTES);
    }
    ck_assert_int_eq(tarn_mtr_commit(session, 0), 1);
    for (uint64_t number = 0; number < 20; number++)
        ck_assert(page_has(session, page(number), 'c'));
}
END_TEST

START_TEST(declared_ranges_are_restored)
{
    struct tarn_writable_page writable, again;
    uint8_t bytes[PAGE_BYTES];

    fill_page(session, page(1), 'a');
    assert_ok(session, tarn_mtr_begin(session, 1));
    assert_ok(session, tarn_mtr_write_range(session, page(1), 10, 20, -1, &writable));
    memset((uint8_t *)writable.data + 10, 'b', 20);
    assert_ok(session, tarn_mtr_write_range(session, page(1), 4000, 96, -1, &again));
    ck_assert_ptr_eq(again.data, writable.data);
    memset((uint8_t *)writable.data + 4000, 'c', 96);
    /* Overlapping: the bytes kept aside must be the oldest. */
    assert_ok(session, tarn_mtr_write_range(session, page(1), 0, 40, -1, &again));
    memset(writable.data, 'd', 40);
    assert_ok(session, tarn_mtr_abort(session));
    ck_assert(page_has(session, page(1), 'a'));

    assert_ok(session, tarn_mtr_begin(session, 1));
    assert_ok(session, tarn_mtr_write_range(session, page(1), 8, 8, -1, &writable));
    memset((uint8_t *)writable.data + 8, 'b', 8);
    assert_ok(session, tarn_mtr_commit(session, 0));
    assert_ok(session, tarn_page_copy(session, page(1), 0, PAGE_BYTES, bytes));
    ck_assert_mem_eq(bytes, "aaaaaaaabbbbbbbbaaaaaaaa", 24);
}
END_TEST

START_TEST(range_inside_of_a_range_is_kept_once)
{
    struct tarn_writable_page writable;
    char *bytes;

    fill_page(session, page(1), 'o');
    assert_ok(session, tarn_mtr_begin(session, 1));
    assert_ok(session, tarn_mtr_write_range(session, page(1), 64, 32, -1, &writable));
    bytes = writable.data;
    memset(bytes + 64, 'n', 32);
    /* What it would keep now are no old bytes any more. */
    assert_ok(session, tarn_mtr_write_range(session, page(1), 72, 8, -1, &writable));
    memset(bytes + 72, 'm', 8);
    assert_ok(session, tarn_mtr_abort(session));
    ck_assert(page_has(session, page(1), 'o'));
}
END_TEST

START_TEST(commit_of_nothing_is_durable)
{
    struct tarn_locked_page locked;

    assert_ok(session, tarn_mtr_begin(session, 1));
    assert_ok(session, tarn_mtr_lock(session, page(1), -1, &locked));
    ck_assert_int_eq(tarn_mtr_commit(session, TARN_COMMIT_FLUSH), 0);
}
END_TEST

START_TEST(many_ranges_and_then_the_whole_page_are_restored)
{
    struct tarn_writable_page writable;

    fill_page(session, page(1), 'a');
    assert_ok(session, tarn_mtr_begin(session, 1));
    for (uint32_t i = 0; i < 500; i++) {
        assert_ok(session, tarn_mtr_write_range(session, page(1), 8 * i, 8, -1, &writable));
        memset((uint8_t *)writable.data + 8 * i, 'b', 8);
    }
    assert_ok(session, tarn_mtr_abort(session));
    ck_assert(page_has(session, page(1), 'a'));

    assert_ok(session, tarn_mtr_begin(session, 1));
    assert_ok(session, tarn_mtr_write_range(session, page(1), 100, 8, -1, &writable));
    memset((uint8_t *)writable.data + 100, 'b', 8);
    assert_ok(session, tarn_mtr_write(session, page(1), -1, &writable));
    memset(writable.data, 'c', PAGE_BYTES);
    assert_ok(session, tarn_mtr_abort(session));
    ck_assert(page_has(session, page(1), 'a'));
}
END_TEST

START_TEST(locked_page_can_be_written_or_given_back)
{
    struct tarn_session *other = open_session(pool);
    struct tarn_writable_page writable;
    struct tarn_locked_page locked;

    fill_page(session, page(1), 'a');
    assert_ok(session, tarn_mtr_begin(session, 2));
    assert_ok(session, tarn_mtr_lock(session, page(1), -1, &locked));
    ck_assert(filled_with(locked.data, 'a'));
    assert_ok(session, tarn_mtr_write(session, page(1), -1, &writable));
    ck_assert_ptr_eq(writable.data, locked.data);
    memset(writable.data, 'b', PAGE_BYTES);
    assert_ok(session, tarn_mtr_lock(session, page(2), -1, &locked));
    assert_ok(session, tarn_mtr_release(session, page(2)));
    fill_page(other, page(2), 'c');
    assert_ok(session, tarn_mtr_lock(session, page(2), -1, &locked));
    ck_assert(filled_with(locked.data, 'c'));
    assert_fails(session, -EBUSY, "1", tarn_mtr_release(session, page(1)));
    assert_ok(session, tarn_mtr_commit(session, 0));
    ck_assert(page_has(other, page(1), 'b'));
    ck_assert(page_has(other, page(2), 'c'));
}
END_TEST

START_TEST(released_pages_make_room_for_others)
{
    struct tarn_locked_page locked;

    assert_ok(session, tarn_mtr_begin(session, 1));
    for (uint64_t number = 0; number < 100; number++) {
        assert_ok(session, tarn_mtr_lock(session, page(number), -1, &locked));
        assert_ok(session, tarn_mtr_release(session, page(number)));
    }
    assert_ok(session, tarn_mtr_commit(session, 0));
}
END_TEST

START_TEST(new_page_is_zeros_cached_or_not)
{
    struct tarn_writable_page writable;

    fill_page(session, page(1), 'a');
    fill_page(session, page(2), 'a');
    drive_out(page(1));
    drive_out(page(1));
    fill_page(session, page(2), 'b');
    assert_ok(session, tarn_mtr_begin(session, 2));
    for (uint64_t number = 1; number <= 2; number++) {
        assert_ok(session, tarn_mtr_new(session, page(number), -1, &writable));
        ck_assert(filled_with(writable.data, 0));
        memset(writable.data, 'c', PAGE_BYTES);
    }
    assert_ok(session, tarn_mtr_abort(session));
    ck_assert(page_has(session, page(1), 'a'));
    ck_assert(page_has(session, page(2), 'b'));

    assert_ok(session, tarn_mtr_begin(session, 2));
    for (uint64_t number = 1; number <= 2; number++) {
        assert_ok(session, tarn_mtr_new(session, page(number), -1, &writable));
        memset(writable.data, 'd', PAGE_BYTES);
    }
    assert_ok(session, tarn_mtr_commit(session, TARN_COMMIT_FLUSH));
    ck_assert(page_has(session, page(1), 'd'));
    ck_assert(disk_has(file_path("data"), 1, 'd'));
    ck_assert(disk_has(file_path("data"), 2, 'd'));
}
END_TEST

START_TEST(new_page_that_was_never_read_is_written_to_disk)
{
    struct tarn_writable_page writable;

    assert_ok(session, tarn_mtr_begin(session, 1));
    assert_ok(session, tarn_mtr_new(session, page(120), -1, &writable));
    memset(writable.data, 'a', PAGE_BYTES);
    assert_ok(session, tarn_mtr_abort(session));
    ck_assert(page_has(session, page(120), 0));

    assert_ok(session, tarn_mtr_begin(session, 1));
    assert_ok(session, tarn_mtr_new(session, page(121), -1, &writable));
    memset(writable.data, 'b', PAGE_BYTES);
    assert_ok(session, tarn_mtr_commit(session, 0));
    drive_out(page(121));
    ck_assert(disk_has(file_path("data"), 121, 'b'));
    ck_assert(page_has(session, page(121), 'b'));
}
END_TEST

START_TEST(reader_of_a_new_page_waits_for_its_commit)
{
    struct tarn_session *other = open_session(pool);
    struct tarn_writable_page writable;
    struct work work;

    assert_ok(session, tarn_mtr_begin(session, 1));
    assert_ok(session, tarn_mtr_new(session, page(120), -1, &writable));
    start_work(&work, begin_optimistic, other, page(120), 0);
    sleep_ms(20);
    memset(writable.data, 'a', PAGE_BYTES);
    assert_ok(session, tarn_mtr_commit(session, 0));
    ck_assert_int_eq(end_work(&work), 'a');
}
END_TEST

START_TEST(take_if_unchanged_since_the_token)
{
    struct tarn_session *other = open_session(pool);
    struct tarn_optimistic seen;
    struct tarn_writable_page writable;
    struct tarn_locked_page locked;

    fill_page(session, page(1), 'a');
    assert_ok(session, tarn_optimistic_begin(session, page(1), &seen));
    assert_ok(session, tarn_mtr_begin(session, 1));
    assert_ok(session, tarn_mtr_lock_if(session, &seen, -1, &locked));
    ck_assert(filled_with(locked.data, 'a'));
    assert_ok(session, tarn_mtr_commit(session, 0));

    assert_ok(session, tarn_optimistic_begin(session, page(1), &seen));
    assert_ok(session, tarn_mtr_begin(session, 1));
    assert_ok(session, tarn_mtr_write_if(session, &seen, -1, &writable));
    memset(writable.data, 'b', PAGE_BYTES);
    assert_ok(session, tarn_mtr_commit(session, 0));

    assert_ok(session, tarn_optimistic_begin(session, page(1), &seen));
    fill_page(other, page(1), 'c');
    assert_ok(session, tarn_mtr_begin(session, 1));
    assert_fails(session, -EAGAIN, "1", tarn_mtr_lock_if(session, &seen, -1, &locked));
    assert_fails(session, -EAGAIN, "1", tarn_mtr_write_if(session, &seen, -1, &writable));
    /* Nothing is taken, and the mini-transaction goes on. */
    assert_ok(session, tarn_mtr_write(session, page(1), -1, &writable));
    ck_assert(filled_with(writable.data, 'c'));
    assert_ok(session, tarn_mtr_commit(session, 0));
}
END_TEST

START_TEST(take_if_unchanged_does_not_wait_for_the_exclusive_holder)
{
    struct tarn_session *other = open_session(pool);
    struct tarn_optimistic seen;
    struct tarn_locked_page locked;

    assert_ok(session, tarn_optimistic_begin(session, page(1), &seen));
    assert_ok(other, tarn_mtr_begin(other, 1));
    assert_ok(other, tarn_mtr_lock(other, page(1), -1, &locked));
    assert_ok(session, tarn_mtr_begin(session, 1));
    assert_fails(session, -EAGAIN, "1", tarn_mtr_lock_if(session, &seen, -1, &locked));
    assert_ok(session, tarn_mtr_abort(session));
    assert_ok(other, tarn_mtr_abort(other));
}
END_TEST

START_TEST(shared_pages_inside_a_mini_transaction)
{
    struct tarn_writable_page writable;
    struct tarn_pin pin;

    fill_page(session, page(1), 'a');
    assert_ok(session, tarn_mtr_begin(session, 1));
    assert_ok(session, tarn_pin(session, page(1), TARN_HINT_NONE, &pin));
    assert_ok(session, tarn_latch_shared(session, pin, -1));
    assert_ok(session, tarn_mtr_write(session, page(2), -1, &writable));
    memcpy(writable.data, pin.data, PAGE_BYTES);
    assert_ok(session, tarn_mtr_commit(session, 0));
    assert_ok(session, tarn_unlatch_shared(session, pin));
    assert_ok(session, tarn_unpin(session, pin));
    ck_assert(page_has(session, page(2), 'a'));
}
END_TEST

START_TEST(lock_that_timed_out_leaves_the_rest_as_it_was)
{
    struct tarn_session *other = open_session(pool);
    struct tarn_writable_page writable;
    struct tarn_locked_page locked;

    assert_ok(other, tarn_mtr_begin(other, 1));
    assert_ok(other, tarn_mtr_lock(other, page(2), -1, &locked));
    assert_ok(session, tarn_mtr_begin(session, 2));
    assert_ok(session, tarn_mtr_write(session, page(1), -1, &writable));
    memset(writable.data, 'a', PAGE_BYTES);
    assert_fails(session, -ETIMEDOUT, "2", tarn_mtr_write(session, page(2), 10, &writable));
    assert_ok(other, tarn_mtr_abort(other));
    assert_ok(session, tarn_mtr_write(session, page(2), 10, &writable));
    memset(writable.data, 'b', PAGE_BYTES);
    assert_ok(session, tarn_mtr_commit(session, 0));
    ck_assert(page_has(other, page(1), 'a'));
    ck_assert(page_has(other, page(2), 'b'));
}
END_TEST

START_TEST(as_many_pages_as_were_announced)
{
    struct tarn_writable_page writable;
    struct tarn_locked_page locked;

    fill_page(session, page(0), 'a');
    assert_ok(session, tarn_mtr_begin(session, 2));
    assert_ok(session, tarn_mtr_write(session, page(0), -1, &writable));
    memset(writable.data, 'b', PAGE_BYTES);
    assert_ok(session, tarn_mtr_lock(session, page(1), -1, &locked));
    assert_fails(session, -E2BIG, "2", tarn_mtr_lock(session, page(2), -1, &locked));
    /* From here on only abort is left. */
    assert_fails(session, -ECANCELED, "abort", tarn_mtr_write(session, page(1), -1, &writable));
    assert_fails(session, -ECANCELED, "abort", tarn_mtr_commit(session, 0));
    /* A commit that fails has aborted. */
    assert_fails(session, -ESRCH, "", tarn_mtr_abort(session));
    ck_assert(page_has(session, page(0), 'a'));
    assert_fails(session, -E2BIG, "61", tarn_mtr_begin(session, 61));
}
END_TEST

START_TEST(mini_transactions_begin_and_end_once)
{
    struct tarn_locked_page locked;

    assert_fails(session, -ESRCH, "", tarn_mtr_commit(session, 0));
    assert_fails(session, -ESRCH, "", tarn_mtr_abort(session));
    assert_fails(session, -ESRCH, "", tarn_mtr_lock(session, page(1), -1, &locked));
    assert_ok(session, tarn_mtr_begin(session, 1));
    assert_fails(session, -EINPROGRESS, "", tarn_mtr_begin(session, 1));
    assert_fails(session, -ESRCH, "99", tarn_mtr_release(session, page(99)));
    assert_ok(session, tarn_mtr_abort(session));
}
END_TEST

START_TEST(largest_mini_transaction_fits_a_small_pool)
{
    struct tarn_writable_page writable;

    /* Half of the frames for the pages, half for what they held. */
    assert_ok(session, tarn_mtr_begin(session, FRAMES / 2 - 4));
    for (uint64_t i = 0; i < FRAMES / 2 - 4; i++) {
        assert_ok(session, tarn_mtr_write(session, page(i), -1, &writable));
        memset(writable.data, (int)i, PAGE_BYTES);
    }
    assert_ok(session, tarn_mtr_commit(session, 0));
    for (uint64_t i = 0; i < FRAMES / 2 - 4; i++)
        ck_assert(page_has(session, page(i), (int)i));
}
END_TEST

START_TEST(result_of_commit_says_what_is_durable)
{
    struct tarn_writable_page writable;

    assert_ok(session, tarn_mtr_begin(session, 2));
    assert_ok(session, tarn_mtr_write(session, page(1), -1, &writable));
    memset(writable.data, 'a', PAGE_BYTES);
    assert_ok(session, tarn_mtr_write(session, page(100), -1, &writable));
    memset(writable.data, 'b', PAGE_BYTES);
    ck_assert_int_eq(tarn_mtr_commit(session, TARN_COMMIT_FLUSH), 0);
    ck_assert(disk_has(file_path("data"), 1, 'a'));
    ck_assert(disk_has(file_path("data"), 100, 'b'));
}
END_TEST

static void add_mtrs(Suite *suite)
{
    TCase *tcase = test_case(suite, "mtr", 20);

    tcase_add_checked_fixture(tcase, begin_with_pool, end_with_pool);
    tcase_add_test(tcase, commit_keeps_and_abort_restores_every_page);
    tcase_add_test(tcase, declared_ranges_are_restored);
    tcase_add_test(tcase, many_ranges_and_then_the_whole_page_are_restored);
    tcase_add_test(tcase, locked_page_can_be_written_or_given_back);
    tcase_add_test(tcase, released_pages_make_room_for_others);
    tcase_add_test(tcase, new_page_is_zeros_cached_or_not);
    tcase_add_test(tcase, new_page_that_was_never_read_is_written_to_disk);
    tcase_add_test(tcase, reader_of_a_new_page_waits_for_its_commit);
    tcase_add_test(tcase, take_if_unchanged_since_the_token);
    tcase_add_test(tcase, take_if_unchanged_does_not_wait_for_the_exclusive_holder);
    tcase_add_test(tcase, shared_pages_inside_a_mini_transaction);
    tcase_add_test(tcase, lock_that_timed_out_leaves_the_rest_as_it_was);
    tcase_add_test(tcase, as_many_pages_as_were_announced);
    tcase_add_test(tcase, mini_transactions_begin_and_end_once);
    tcase_add_test(tcase, largest_mini_transaction_fits_a_small_pool);
    tcase_add_test(tcase, range_inside_of_a_range_is_kept_once);
    tcase_add_test(tcase, commit_of_nothing_is_durable);
    tcase_add_test(tcase, result_of_commit_says_what_is_durable);
}

void test_suite(Suite *suite)
{
    TCase *tcase = test_case(suite, "latches", 20);

    tcase_add_checked_fixture(tcase, begin_with_pool, end_with_pool);
    tcase_add_test(tcase, shared_latches_are_shared);
    tcase_add_test(tcase, shared_latch_waits_for_the_exclusive_holder);
    tcase_add_test(tcase, exclusive_latch_waits_for_all_shared_holders);
    tcase_add_test(tcase, pin_does_not_keep_anybody_from_changing);
    tcase_add_test(tcase, optimistic_read_counts_until_the_page_changes);
    tcase_add_test(tcase, optimistic_read_does_not_count_across_an_abort);
    tcase_add_test(tcase, optimistic_read_does_not_count_when_the_page_has_left);
    tcase_add_test(tcase, optimistic_read_does_not_count_when_its_frame_is_free);
    tcase_add_test(tcase, optimistic_read_waits_while_the_page_is_held);
    tcase_add_test(tcase, copied_bytes_are_of_one_moment);
    tcase_add_test(tcase, copy_takes_the_bytes_that_were_asked_for);
    add_mtrs(suite);
}
