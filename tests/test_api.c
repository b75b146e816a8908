/* SPDX-License-Identifier: MIT */
/* Pools, files, pins, flushes, sessions, as tarn.h says; in one process and between forked ones. */
#include "lib/directory.h"
#include "tests/pool.h"

/* Words. */

START_TEST(page_ids_hold_file_and_number)
{
    struct tarn_page_id id = tarn_page_id(65535, (UINT64_C(1) << 48) - 1);

    ck_assert_uint_eq(tarn_page_file(id), 65535);
    ck_assert_uint_eq(tarn_page_number(id), (UINT64_C(1) << 48) - 1);
    ck_assert_uint_ne(tarn_page_id(1, 2).value, tarn_page_id(2, 1).value);
}
END_TEST

START_TEST(every_result_has_words)
{
    ck_assert_ptr_nonnull(tarn_strerror(0));
    ck_assert_ptr_nonnull(tarn_strerror(-99999));
    ck_assert_str_ne(tarn_strerror(-ENOBUFS), tarn_strerror(-EMFILE));
    ck_assert_str_ne(tarn_version(), "");
}
END_TEST

/* Embedded pools. */

START_TEST(temporary_pool_leaves_nothing)
{
    struct tarn_pool_info info = {.size = sizeof(info)};
    char directory[1024], segment[1024];

    pool = open_pool(NULL, FRAMES, &session);
    file = make_file(session, "data", 4);
    fill_page(session, page(3), 'a');
    ck_assert_int_eq(tarn_pool_info(pool, &info), 0);
    ck_assert_uint_eq(info.page_bytes, PAGE_BYTES);
    ck_assert_uint_eq(info.frame_count, FRAMES);
    ck_assert_uint_eq(info.session_count, 8);
    snprintf(directory, sizeof(directory), "%s", info.directory);
    snprintf(segment, sizeof(segment), "%s", info.segment_path);
    ck_assert(exists(directory));
    ck_assert_int_eq(tarn_detach(pool), 0);
    ck_assert(!exists(directory));
    ck_assert(!exists(segment));
}
END_TEST

START_TEST(embedded_pool_has_the_policy_asked_for)
{
    struct tarn_embedded_options options = {
        .size = sizeof(options), .directory = test_path("pool"), .policy = "lru"};
    struct tarn_directory_options kept;
    struct tarn_message message = {""};

    ck_assert_int_eq(tarn_open_embedded(&options, &pool, &session, &message), 0);
    ck_assert_int_eq(tarn_directory_read_options(pool->directory_fd, &kept, &message), 0);
    ck_assert_str_eq(kept.policy, "lru");
    ck_assert_int_eq(tarn_detach(pool), 0);
    options.directory = test_path("other");
    options.policy = "fifo";
    assert_fails_with(message, -EINVAL, "no policy 'fifo'",
                      tarn_open_embedded(&options, &pool, &session, &message));
}
END_TEST

START_TEST(directory_keeps_its_files)
{
    uint64_t page_count;

    begin_with_pool();
    fill_page(session, page(7), 'a');
    ck_assert_int_eq(tarn_detach(pool), 0);
    ck_assert(disk_has(file_path("data"), 7, 'a'));

    pool = open_pool(test_path("pool"), FRAMES, &session);
    assert_ok(session, tarn_file_open(session, "data", 0, &file));
    assert_ok(session, tarn_file_page_count(session, file, &page_count));
    ck_assert_uint_eq(page_count, PAGES);
    ck_assert(page_has(session, page(7), 'a'));
    ck_assert_int_eq(tarn_detach(pool), 0);
}
END_TEST

START_TEST(files_keep_their_ids_from_one_opening_to_the_next)
{
    uint32_t second, again;

    begin_with_pool();
    second = make_file(session, "second", 1);
    ck_assert_int_eq(tarn_detach(pool), 0);
    pool = open_pool(test_path("pool"), FRAMES, &session);
    assert_ok(session, tarn_file_open(session, "second", 0, &again));
    ck_assert_uint_eq(again, second);
    assert_ok(session, tarn_file_open(session, "data", 0, &again));
    ck_assert_uint_eq(again, file);
    end_with_pool();
}
END_TEST

/* Files. */

START_TEST(new_pages_are_zeros_and_on_disk)
{
    struct stat status;
    uint64_t page_count;

    assert_ok(session, tarn_file_page_count(session, file, &page_count));
    ck_assert_uint_eq(page_count, PAGES);
    ck_assert_int_eq(stat(file_path("data"), &status), 0);
    ck_assert_int_eq(status.st_size, (off_t)PAGES * PAGE_BYTES);
    ck_assert(page_has(session, page(PAGES - 1), 0));
}
END_TEST

START_TEST(extending_to_less_changes_nothing)
{
    uint64_t page_count;

    fill_page(session, page(PAGES - 1), 'a');
    assert_ok(session, tarn_file_extend(session, file, 1));
    assert_ok(session, tarn_file_page_count(session, file, &page_count));
    ck_assert_uint_eq(page_count, PAGES);
    ck_assert(page_has(session, page(PAGES - 1), 'a'));
}
END_TEST

START_TEST(file_opened_again_has_the_same_id)
{
    uint32_t again;

    assert_ok(session, tarn_file_open(session, "data", 0, &again));
    ck_assert_uint_eq(again, file);
    assert_ok(session, tarn_file_open(session, file_path("data"), TARN_FILE_CREATE, &again));
    ck_assert_uint_eq(again, file);
}
END_TEST

START_TEST(existing_file_is_entered_with_what_it_holds)
{
    uint8_t bytes[2 * PAGE_BYTES];
    const char *path = test_path("elsewhere");
    uint32_t entered;
    uint64_t page_count;
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

    memset(bytes, 'a', PAGE_BYTES);
    memset(bytes + PAGE_BYTES, 'b', PAGE_BYTES);
    ck_assert_int_eq(write(fd, bytes, sizeof(bytes)), sizeof(bytes));
    close(fd);
    assert_ok(session, tarn_file_open(session, path, 0, &entered));
    assert_ok(session, tarn_file_page_count(session, entered, &page_count));
    ck_assert_uint_eq(page_count, 2);
    ck_assert(page_has(session, tarn_page_id(entered, 1), 'b'));
}
END_TEST

START_TEST(truncated_pages_are_gone_though_changed)
{
    struct stat status;
    uint64_t page_count;

    fill_page(session, page(9), 'a');
    fill_page(session, page(10), 'b');
    assert_ok(session, tarn_file_truncate(session, file, 10, 1000));
    assert_ok(session, tarn_file_page_count(session, file, &page_count));
    ck_assert_uint_eq(page_count, 10);
    ck_assert_int_eq(stat(file_path("data"), &status), 0);
    ck_assert_int_eq(status.st_size, 10 * PAGE_BYTES);
    ck_assert(page_has(session, page(9), 'a'));

    assert_ok(session, tarn_file_extend(session, file, 20));
    ck_assert(page_has(session, page(10), 0));
}
END_TEST

START_TEST(dropped_file_stays_on_disk_unless_unlinked)
{
    uint32_t second = make_file(session, "second", 2);
    uint32_t again;

    fill_page(session, page(1), 'a');
    assert_ok(session, tarn_flush_file(session, file));
    assert_ok(session, tarn_file_drop(session, file, 0, 1000));
    ck_assert(disk_has(file_path("data"), 1, 'a'));
    assert_ok(session, tarn_file_drop(session, second, 1, 1000));
    ck_assert(!exists(file_path("second")));

    assert_ok(session, tarn_file_open(session, "data", 0, &again));
    file = again;
    ck_assert(page_has(session, page(1), 'a'));
}
END_TEST

START_TEST(id_of_a_dropped_file_brings_back_none_of_its_pages)
{
    fill_page(session, page(1), 'a');
    assert_ok(session, tarn_file_drop(session, file, 1, 1000));
    file = make_file(session, "data", PAGES);
    ck_assert(page_has(session, page(1), 0));
}
END_TEST

START_TEST(temporary_file_outgrows_the_pool)
{
    uint32_t temporary;

    assert_ok(session, tarn_file_open(session, "scratch", TARN_FILE_TEMPORARY, &temporary));
    assert_ok(session, tarn_file_extend(session, temporary, 4 * FRAMES));
    for (uint64_t i = 0; i < 4 * FRAMES; i++)
        fill_page(session, tarn_page_id(temporary, i), (int)(i % 251));
    for (uint64_t i = 0; i < 4 * FRAMES; i++)
        ck_assert(page_has(session, tarn_page_id(temporary, i), (int)(i % 251)));
    assert_ok(session, tarn_file_drop(session, temporary, 0, 1000));
}
END_TEST

START_TEST(temporary_file_is_gone_at_the_next_opening)
{
    uint32_t temporary;

    pool = open_pool(test_path("pool"), FRAMES, &session);
    assert_ok(session, tarn_file_open(session, "scratch", TARN_FILE_TEMPORARY, &temporary));
    assert_ok(session, tarn_file_extend(session, temporary, 4));
    fill_page(session, tarn_page_id(temporary, 1), 'a');
    ck_assert_int_eq(tarn_detach(pool), 0);
    pool = open_pool(test_path("pool"), FRAMES, &session);
    assert_fails(session, -ENOENT, "scratch", tarn_file_open(session, "scratch", 0, &temporary));
    ck_assert_int_eq(tarn_detach(pool), 0);
}
END_TEST

START_TEST(buffered_file_holds_what_is_flushed)
{
    uint32_t buffered;

    assert_ok(session, tarn_file_open(session, "buffered", TARN_FILE_CREATE | TARN_FILE_BUFFERED,
                                      &buffered));
    assert_ok(session, tarn_file_extend(session, buffered, 4));
    fill_page(session, tarn_page_id(buffered, 2), 'a');
    assert_ok(session, tarn_flush_file(session, buffered));
    ck_assert(disk_has(file_path("buffered"), 2, 'a'));
}
END_TEST

/* Pins. */

START_TEST(pin_brings_the_page_and_keeps_it)
{
    struct tarn_pin pin;

    fill_page(session, page(5), 'a');
    assert_ok(session, tarn_pin(session, page(5), TARN_HINT_NONE, &pin));
    drive_out(page(5));
    ck_assert(filled_with(pin.data, 'a'));
    assert_ok(session, tarn_unpin(session, pin));
}
END_TEST

START_TEST(changed_page_comes_back_from_disk)
{
    for (uint64_t number = 0; number < PAGES; number++)
        fill_page(session, page(number), (int)number);
    for (uint64_t number = 0; number < PAGES; number++)
        ck_assert(page_has(session, page(number), (int)number));
}
END_TEST

START_TEST(nested_pins_are_given_back_one_by_one)
{
    struct tarn_pin outer, inner;

    fill_page(session, page(5), 'a');
    assert_ok(session, tarn_pin(session, page(5), TARN_HINT_NONE, &outer));
    assert_ok(session, tarn_pin(session, page(5), TARN_HINT_NONE, &inner));
    ck_assert_ptr_eq(outer.data, inner.data);
    assert_ok(session, tarn_unpin(session, outer));
    drive_out(page(5));
    ck_assert(filled_with(inner.data, 'a'));
    assert_ok(session, tarn_unpin(session, inner));
    assert_fails(session, -EINVAL, "pin", tarn_unpin(session, inner));
    assert_fails(session, -EINVAL, "pin", tarn_unpin(session, outer));
}
END_TEST

START_TEST(pin_outlives_latch_and_mini_transaction)
{
    struct tarn_writable_page writable;
    struct tarn_pin before, inside;

    assert_ok(session, tarn_pin(session, page(5), TARN_HINT_NONE, &before));
    assert_ok(session, tarn_mtr_begin(session, 1));
    assert_ok(session, tarn_mtr_write(session, page(5), -1, &writable));
    ck_assert_ptr_eq(writable.data, before.data);
    memset(writable.data, 'a', PAGE_BYTES);
    assert_ok(session, tarn_pin(session, page(6), TARN_HINT_NONE, &inside));
    assert_ok(session, tarn_latch_shared(session, inside, -1));
    assert_ok(session, tarn_mtr_commit(session, 0));
    ck_assert(filled_with(before.data, 'a'));
    assert_ok(session, tarn_unlatch_shared(session, inside));
    drive_out(page(5));
    ck_assert(filled_with(before.data, 'a'));
    assert_ok(session, tarn_unpin(session, before));
    assert_ok(session, tarn_unpin(session, inside));
}
END_TEST

START_TEST(sixty_pins_of_a_session_and_no_more)
{
    struct tarn_pin pins[61];

    for (unsigned i = 0; i < 60; i++)
        assert_ok(session, tarn_pin(session, page(i % 30), TARN_HINT_NONE, &pins[i]));
    assert_fails(session, -EMFILE, "60", tarn_pin(session, page(1), TARN_HINT_NONE, &pins[60]));
    assert_ok(session, tarn_unpin(session, pins[17]));
    assert_ok(session, tarn_pin(session, page(99), TARN_HINT_NONE, &pins[17]));
    assert_ok(session, tarn_unpin_many(session, pins, 60));
}
END_TEST

START_TEST(pin_many_pins_all_or_none)
{
    struct tarn_page_id ids[16];
    struct tarn_pin pins[60];

    for (unsigned i = 0; i < 16; i++) {
        ids[i] = page(7 * i);
        fill_page(session, ids[i], (int)i + 1);
    }
    drive_out(page(0));
    assert_ok(session, tarn_pin_many(session, ids, 16, TARN_HINT_NONE, pins));
    for (unsigned i = 0; i < 16; i++)
        ck_assert(filled_with(pins[i].data, (int)i + 1));
    assert_ok(session, tarn_unpin_many(session, pins, 16));

    ids[9] = page(PAGES);
    assert_fails(session, -ERANGE, "128", tarn_pin_many(session, ids, 16, 0, pins));
    ids[9] = page(9);
    for (unsigned i = 0; i < 50; i++)
        assert_ok(session, tarn_pin(session, page(i), TARN_HINT_NONE, &pins[i]));
    assert_fails(session, -EMFILE, "50 of 60", tarn_pin_many(session, ids, 16, 0, pins + 50));
    assert_ok(session, tarn_unpin_many(session, pins, 50));
    for (unsigned i = 0; i < 60; i++)
        assert_ok(session, tarn_pin(session, page(i % 30), TARN_HINT_NONE, &pins[i]));
    assert_ok(session, tarn_unpin_many(session, pins, 60));
}
END_TEST

START_TEST(pin_many_takes_one_page_many_times)
{
    struct tarn_page_id ids[4] = {page(3), page(4), page(3), page(3)};
    struct tarn_pin pins[4];

    assert_ok(session, tarn_pin_many(session, ids, 4, TARN_HINT_NONE, pins));
    ck_assert_ptr_eq(pins[0].data, pins[3].data);
    assert_ok(session, tarn_unpin_many(session, pins, 4));
    assert_fails(session, -EINVAL, "pin", tarn_unpin(session, pins[2]));
}
END_TEST

START_TEST(unpin_many_gives_back_all_that_are_pins)
{
    struct tarn_page_id ids[3] = {page(3), page(4), page(5)};
    struct tarn_pin pins[3];

    assert_ok(session, tarn_pin_many(session, ids, 3, TARN_HINT_NONE, pins));
    assert_ok(session, tarn_unpin(session, pins[1]));
    assert_fails(session, -EINVAL, "pin", tarn_unpin_many(session, pins, 3));
    assert_fails(session, -EINVAL, "pin", tarn_unpin(session, pins[0]));
    assert_fails(session, -EINVAL, "pin", tarn_unpin(session, pins[2]));
}
END_TEST

START_TEST(batch_larger_than_what_is_free_reads_all_the_same)
{
    struct tarn_page_id ids[50];
    struct tarn_pin pins[50];

    for (unsigned i = 0; i < PAGES; i++)
        fill_page(session, page(i), (int)i);
    for (unsigned begin = 0; begin + 50 <= PAGES; begin += 39) {
        for (unsigned i = 0; i < 50; i++)
            ids[i] = page(begin + i);
        assert_ok(session, tarn_pin_many(session, ids, 50, TARN_HINT_ONCE, pins));
        for (unsigned i = 0; i < 50; i++)
            ck_assert(filled_with(pins[i].data, (int)(begin + i)));
        assert_ok(session, tarn_unpin_many(session, pins, 50));
    }
}
END_TEST

START_TEST(prefetched_pages_are_what_they_are)
{
    struct tarn_page_id ids[32];

    for (unsigned i = 0; i < PAGES; i++)
        fill_page(session, page(i), (int)i);
    assert_ok(session, tarn_flush_all(session));
    for (unsigned round = 0; round < 4; round++) {
        for (unsigned i = 0; i < 32; i++)
            ids[i] = page(32 * round + i);
        int begun = tarn_prefetch(session, ids, 32);

        ck_assert_int_ge(begun, 0);
        ck_assert_int_le(begun, 32);
        for (unsigned i = 0; i < 32; i++)
            ck_assert(page_has(session, ids[i], (int)(32 * round + i)));
    }
}
END_TEST

START_TEST(prefetched_page_may_be_changed_by_another_session)
{
    struct tarn_session *other = open_session(pool);
    struct tarn_page_id ids[32];

    for (unsigned i = 0; i < PAGES; i++)
        fill_page(session, page(i), 'a');
    assert_ok(session, tarn_flush_all(session));
    for (unsigned i = 0; i < 32; i++)
        ids[i] = page(i);
    ck_assert_int_ge(tarn_prefetch(session, ids, 32), 0);
    for (unsigned i = 0; i < 32; i++)
        fill_page(other, page(i), 'b');
    for (unsigned i = 0; i < 32; i++)
        ck_assert(page_has(session, page(i), 'b'));
    assert_ok(other, tarn_session_close(other));
}
END_TEST

/* Flushes. */

START_TEST(flushed_page_is_on_disk)
{
    fill_page(session, page(3), 'a');
    assert_ok(session, tarn_flush_page(session, page(3)));
    ck_assert(disk_has(file_path("data"), 3, 'a'));
    assert_ok(session, tarn_flush_page(session, page(4)));
}
END_TEST

START_TEST(flushed_file_is_on_disk)
{
    for (uint64_t number = 0; number < PAGES; number++)
        fill_page(session, page(number), (int)number);
    assert_ok(session, tarn_flush_file(session, file));
    for (uint64_t number = 0; number < PAGES; number++)
        ck_assert(disk_has(file_path("data"), number, (int)number));
}
END_TEST

START_TEST(everything_flushed_is_on_disk)
{
    uint32_t second = make_file(session, "second", 8);

    fill_page(session, page(3), 'a');
    fill_page(session, tarn_page_id(second, 4), 'b');
    assert_ok(session, tarn_flush_all(session));
    ck_assert(disk_has(file_path("data"), 3, 'a'));
    ck_assert(disk_has(file_path("second"), 4, 'b'));
}
END_TEST

START_TEST(flush_of_a_page_that_is_changed_all_the_time_ends)
{
    struct work work;

    start_work(&work, fill_all_the_time, open_session(pool), page(1), 0);
    for (int i = 0; i < 20; i++)
        assert_ok(session, tarn_flush_page(session, page(1)));
    stop = true;
    end_work(&work);
}
END_TEST

START_TEST(flush_writes_no_uncommitted_byte)
{
    struct tarn_session *other = open_session(pool);
    struct tarn_writable_page writable;

    fill_page(session, page(1), 'a');
    assert_ok(other, tarn_mtr_begin(other, 1));
    assert_ok(other, tarn_mtr_write(other, page(1), -1, &writable));
    memset(writable.data, 'b', PAGE_BYTES);
    assert_ok(session, tarn_flush_all(session));
    ck_assert(disk_has(file_path("data"), 1, 'a'));
    assert_ok(other, tarn_mtr_abort(other));
    assert_ok(session, tarn_flush_all(session));
    ck_assert(disk_has(file_path("data"), 1, 'a'));
}
END_TEST

/* Sessions and threads. */

static void *use_session(void *argument)
{
    struct tarn_session *mine = argument;
    struct tarn_pin pin;

    fill_page(mine, page(1), 'a');
    assert_ok(mine, tarn_pin(mine, page(2), TARN_HINT_NONE, &pin));
    assert_ok(mine, tarn_latch_shared(mine, pin, -1));
    return NULL;
}

static void *close_session(void *argument)
{
    ck_assert_int_eq(tarn_session_close(argument), 0);
    return NULL;
}

static void in_a_thread(void *(*function)(void *), void *argument)
{
    pthread_t thread;

    ck_assert_int_eq(pthread_create(&thread, NULL, function, argument), 0);
    ck_assert_int_eq(pthread_join(thread, NULL), 0);
}

START_TEST(session_moves_between_threads)
{
    in_a_thread(use_session, session);
    fill_page(session, page(1), 'b');
    in_a_thread(close_session, open_session(pool));
}
END_TEST

START_TEST(closing_gives_back_what_a_thread_left)
{
    struct tarn_session *other = open_session(pool);
    struct tarn_writable_page writable;

    fill_page(session, page(3), 'a');
    in_a_thread(use_session, other);
    assert_ok(other, tarn_mtr_begin(other, 1));
    assert_ok(other, tarn_mtr_write(other, page(3), -1, &writable));
    memset(writable.data, 'b', PAGE_BYTES);
    in_a_thread(close_session, other);
    ck_assert_int_eq(tarn_session_close(other), -EBADF);
    fill_page(session, page(2), 'c');
    ck_assert(page_has(session, page(3), 'a'));
    ck_assert_int_eq(tarn_session_close(NULL), 0);
}
END_TEST

START_TEST(detach_closes_all_sessions)
{
    struct tarn_session *other;
    struct tarn_writable_page writable;

    begin_with_pool();
    other = open_session(pool);
    assert_ok(other, tarn_mtr_begin(other, 1));
    assert_ok(other, tarn_mtr_write(other, page(1), -1, &writable));
    memset(writable.data, 'b', PAGE_BYTES);
    ck_assert_int_eq(tarn_detach(pool), 0);
    ck_assert(disk_has(file_path("data"), 1, 0));
    ck_assert_int_eq(tarn_detach(NULL), 0);
}
END_TEST

/* Processes. */

START_TEST(processes_share_pages)
{
    struct tarn_pool_info info = {.size = sizeof(info)};
    pid_t pids[4];

    ck_assert_int_eq(tarn_pool_info(pool, &info), 0);
    for (int child = 0; child < 4; child++) {
        pids[child] = fork();
        if (pids[child] == 0) {
            struct tarn_pool *mine = attach_pool(info.name);
            struct tarn_session *own = open_session(mine);

            for (int i = 0; i < 1000; i++) {
                struct tarn_writable_page one, two;

                assert_ok(own, tarn_mtr_begin(own, 2));
                assert_ok(own, tarn_mtr_write_range(own, page(1), 0, 8, -1, &one));
                assert_ok(own, tarn_mtr_write(own, page(2), -1, &two));
                ++*(uint64_t *)one.data;
                ++*(uint64_t *)two.data;
                if (i % 10 == 9)
                    assert_ok(own, tarn_mtr_abort(own));
                else
                    assert_ok(own, tarn_mtr_commit(own, 0));
            }
            _exit(tarn_detach(mine) != 0);
        }
    }
    for (int child = 0; child < 4; child++)
        assert_ends_well(pids[child]);
    for (uint64_t number = 1; number <= 2; number++) {
        uint64_t count;

        assert_ok(session, tarn_page_copy(session, page(number), 0, 8, &count));
        ck_assert_uint_eq(count, 3600);
    }
}
END_TEST

START_TEST(file_entered_by_one_process_is_open_to_all)
{
    struct tarn_pool_info info = {.size = sizeof(info)};
    int to_parent[2];
    uint32_t second = 0;
    pid_t pid;

    ck_assert_int_eq(tarn_pool_info(pool, &info), 0);
    ck_assert_int_eq(pipe(to_parent), 0);
    pid = fork();
    if (pid == 0) {
        struct tarn_pool *mine = attach_pool(info.name);
        struct tarn_session *own = open_session(mine);

        second = make_file(own, "second", 100);
        for (uint64_t i = 0; i < 100; i++)
            fill_page(own, tarn_page_id(second, i), 'a');
        ck_assert_int_eq(write(to_parent[1], &second, sizeof(second)), sizeof(second));
        _exit(tarn_detach(mine) != 0);
    }
    assert_ends_well(pid);
    ck_assert_int_eq(read(to_parent[0], &second, sizeof(second)), sizeof(second));
    for (uint64_t i = 0; i < 100; i++)
        ck_assert(page_has(session, tarn_page_id(second, i), 'a'));
}
END_TEST

START_TEST(killed_process_leaves_nothing_behind)
{
    struct tarn_pool_info info = {.size = sizeof(info)};
    struct tarn_writable_page writable;
    int ready[2];
    char byte;
    pid_t pid;

    ck_assert_int_eq(tarn_pool_info(pool, &info), 0);
    fill_page(session, page(1), 'a');
    ck_assert_int_eq(pipe(ready), 0);
    pid = fork();
    if (pid == 0) {
        struct tarn_pool *mine = attach_pool(info.name);
        struct tarn_session *own = open_session(mine);
        struct tarn_pin pin;

        assert_ok(own, tarn_pin(own, page(2), TARN_HINT_NONE, &pin));
        assert_ok(own, tarn_latch_shared(own, pin, -1));
        assert_ok(own, tarn_mtr_begin(own, 2));
        assert_ok(own, tarn_mtr_write(own, page(1), -1, &writable));
        memset(writable.data, 'b', PAGE_BYTES);
        assert_ok(own, tarn_mtr_new(own, page(3), -1, &writable));
        ck_assert_int_eq(write(ready[1], "r", 1), 1);
        pause();
    }
    ck_assert_int_eq(read(ready[0], &byte, 1), 1);
    kill(pid, SIGKILL);
    assert_ok(session, tarn_mtr_begin(session, 3));
    for (uint64_t number = 1; number <= 3; number++) {
        assert_ok(session, tarn_mtr_write(session, page(number), 5000, &writable));
        ck_assert(filled_with(writable.data, number == 1 ? 'a' : 0));
    }
    assert_ok(session, tarn_mtr_commit(session, 0));
    waitpid(pid, NULL, 0);
}
END_TEST

START_TEST(child_has_none_of_its_parents_handles)
{
    struct tarn_writable_page writable;
    struct tarn_pin pin;
    pid_t pid;

    fill_page(session, page(1), 'a');
    assert_ok(session, tarn_pin(session, page(2), TARN_HINT_NONE, &pin));
    assert_ok(session, tarn_mtr_begin(session, 1));
    assert_ok(session, tarn_mtr_write(session, page(1), -1, &writable));
    memset(writable.data, 'b', PAGE_BYTES);
    pid = fork();
    if (pid == 0) {
        struct tarn_message message;
        struct tarn_session *another;
        struct tarn_pin other_pin;
        uint64_t count;

        assert_fails(session, -ECHILD, "fork", tarn_mtr_commit(session, 0));
        assert_fails(session, -ECHILD, "fork", tarn_mtr_abort(session));
        assert_fails(session, -ECHILD, "fork", tarn_unpin(session, pin));
        assert_fails(session, -ECHILD, "fork", tarn_pin(session, page(1), 0, &other_pin));
        assert_fails(session, -ECHILD, "fork", tarn_file_page_count(session, file, &count));
        assert_fails(session, -ECHILD, "fork", tarn_flush_all(session));
        assert_fails(session, -ECHILD, "fork", tarn_session_close(session));
        ck_assert_int_eq(tarn_session_open(pool, NULL, &another), -ECHILD);
        ck_assert_int_eq(tarn_pool_message(pool, &message), 0);
        ck_assert_ptr_nonnull(strstr(message.text, "fork"));
        _exit(tarn_detach(pool) != 0);
    }
    assert_ends_well(pid);
    ck_assert_int_eq(tarn_mtr_commit(session, 0), 1);
    ck_assert(page_has(session, page(1), 'b'));
    assert_ok(session, tarn_unpin(session, pin));
    fill_page(session, page(2), 'c');
}
END_TEST

static void add_files(Suite *suite)
{
    TCase *tcase = test_case(suite, "files", 20);

    tcase_add_checked_fixture(tcase, begin_with_pool, end_with_pool);
    tcase_add_test(tcase, new_pages_are_zeros_and_on_disk);
    tcase_add_test(tcase, extending_to_less_changes_nothing);
    tcase_add_test(tcase, file_opened_again_has_the_same_id);
    tcase_add_test(tcase, existing_file_is_entered_with_what_it_holds);
    tcase_add_test(tcase, truncated_pages_are_gone_though_changed);
    tcase_add_test(tcase, dropped_file_stays_on_disk_unless_unlinked);
    tcase_add_test(tcase, id_of_a_dropped_file_brings_back_none_of_its_pages);
    tcase_add_test(tcase, temporary_file_outgrows_the_pool);
    tcase_add_test(tcase, buffered_file_holds_what_is_flushed);
}

static void add_pins(Suite *suite)
{
    TCase *tcase = test_case(suite, "pins", 20);

    tcase_add_checked_fixture(tcase, begin_with_pool, end_with_pool);
    tcase_add_test(tcase, pin_brings_the_page_and_keeps_it);
    tcase_add_test(tcase, changed_page_comes_back_from_disk);
    tcase_add_test(tcase, nested_pins_are_given_back_one_by_one);
    tcase_add_test(tcase, pin_outlives_latch_and_mini_transaction);
    tcase_add_test(tcase, sixty_pins_of_a_session_and_no_more);
    tcase_add_test(tcase, pin_many_pins_all_or_none);
    tcase_add_test(tcase, pin_many_takes_one_page_many_times);
    tcase_add_test(tcase, unpin_many_gives_back_all_that_are_pins);
    tcase_add_test(tcase, batch_larger_than_what_is_free_reads_all_the_same);
    tcase_add_test(tcase, prefetched_pages_are_what_they_are);
    tcase_add_test(tcase, prefetched_page_may_be_changed_by_another_session);
}

static void add_flushes(Suite *suite)
{
    TCase *tcase = test_case(suite, "flush", 20);

    tcase_add_checked_fixture(tcase, begin_with_pool, end_with_pool);
    tcase_add_test(tcase, flushed_page_is_on_disk);
    tcase_add_test(tcase, flushed_file_is_on_disk);
    tcase_add_test(tcase, everything_flushed_is_on_disk);
    tcase_add_test(tcase, flush_of_a_page_that_is_changed_all_the_time_ends);
    tcase_add_test(tcase, flush_writes_no_uncommitted_byte);
}

static void add_sessions(Suite *suite)
{
    TCase *tcase = test_case(suite, "sessions", 20);

    tcase_add_checked_fixture(tcase, begin_with_pool, end_with_pool);
    tcase_add_test(tcase, session_moves_between_threads);
    tcase_add_test(tcase, closing_gives_back_what_a_thread_left);
    tcase_add_test(tcase, processes_share_pages);
    tcase_add_test(tcase, file_entered_by_one_process_is_open_to_all);
    tcase_add_test(tcase, killed_process_leaves_nothing_behind);
    tcase_add_test(tcase, child_has_none_of_its_parents_handles);
}

void test_suite(Suite *suite)
{
    TCase *tcase = test_case(suite, "pool", 20);

    tcase_add_test(tcase, page_ids_hold_file_and_number);
    tcase_add_test(tcase, every_result_has_words);
    tcase_add_test(tcase, temporary_pool_leaves_nothing);
    tcase_add_test(tcase, embedded_pool_has_the_policy_asked_for);
    tcase_add_test(tcase, directory_keeps_its_files);
    tcase_add_test(tcase, files_keep_their_ids_from_one_opening_to_the_next);
    tcase_add_test(tcase, temporary_file_is_gone_at_the_next_opening);
    tcase_add_test(tcase, detach_closes_all_sessions);
    add_files(suite);
    add_pins(suite);
    add_flushes(suite);
    add_sessions(suite);
}
