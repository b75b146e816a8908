/* SPDX-License-Identifier: MIT */
/* The writer: what it makes durable and what it says when it cannot, how one takes over from
 * another, and what it does about files. Its own state is within reach here, so that an error of
 * the device can be put where one is wanted.
 */
#include <signal.h>
#include <sys/mount.h>

#include "lib/policy/state.h"
#include "shm/holds.h"
#include "tests/disk.h"

/* As tarn(1) does it: a thread takes the signal. */
static void *stop_on_signal(void *process_writer)
{
    sigset_t signals;
    int signal_number;

    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigwait(&signals, &signal_number);
    tarn_writer_stop(process_writer);
    return NULL;
}

/* A writer in a process of its own. */
static pid_t fork_writer(enum tarn_io_backend backend)
{
    pid_t pid = fork();

    if (pid != 0)
        return pid;
    struct tarn_writer_options options = {.backend = backend};
    struct tarn_writer *process_writer;
    struct tarn_pool *own = attach_pool(test_pool_name());
    pthread_t thread;
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, NULL);
    int result = tarn_writer_open(own, &options, &process_writer);
    if (result == 0 && pthread_create(&thread, NULL, stop_on_signal, process_writer) == 0 &&
        pthread_detach(thread) == 0)
        result = tarn_writer_run(process_writer);
    _exit(result == 0 ? 0 : 1);
}

static void kill_and_wait(pid_t pid)
{
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
}

/* True once the expression is, within five seconds. */
#define comes_true(expression)                                                                     \
    __extension__({                                                                                \
        bool true_ = false;                                                                        \
        for (int i_ = 0; i_ < 5000 && !(true_ = (expression)); i_++)                               \
            sleep_ms(1);                                                                           \
        true_;                                                                                     \
    })

/* Flushing. The loop variable is the backend. */

START_TEST(neighbours_are_written_together_and_synced_once)
{
    begin_pool(1024);
    begin_writer((enum tarn_io_backend)_i);
    file = make_file(session, "data", 200);
    uint64_t writes = writer_count(COUNTER_WRITES), syncs = writer_count(COUNTER_SYNCS);
    for (unsigned i = 0; i < 200; i++)
        fill_page(session, page(i), (int)i + 1);
    assert_ok(session, tarn_flush_all(session));
    ck_assert_uint_eq(writer_count(COUNTER_WRITES) - writes, 2);
    ck_assert_uint_eq(writer_count(COUNTER_SYNCS) - syncs, 1);
    for (unsigned i = 0; i < 200; i++) {
        ck_assert(disk_has(file_path("data"), i, (int)i + 1));
        ck_assert(!is_dirty(page(i)));
    }
    assert_ok(session, tarn_flush_all(session));
    ck_assert_uint_eq(writer_count(COUNTER_SYNCS) - syncs, 1);
    ck_assert_int_eq(end_writer(), 0);
    assert_consistent(pool);
}
END_TEST

START_TEST(page_and_file_flushes_write_what_was_asked_for)
{
    begin_pool(256);
    begin_writer((enum tarn_io_backend)_i);
    file = make_file(session, "data", 8);
    uint32_t other = make_file(session, "other", 8);
    fill_page(session, page(1), 11);
    fill_page(session, page(2), 22);
    fill_page(session, tarn_page_id(other, 1), 33);
    assert_ok(session, tarn_flush_page(session, page(1)));
    ck_assert(disk_has(file_path("data"), 1, 11));
    ck_assert(disk_has(file_path("data"), 2, 0));
    assert_ok(session, tarn_flush_file(session, other));
    ck_assert(disk_has(file_path("other"), 1, 33));
    ck_assert(disk_has(file_path("data"), 2, 0));
    ck_assert(is_dirty(page(2)));
    /* The end writes the rest. */
    ck_assert_int_eq(end_writer(), 0);
    ck_assert(disk_has(file_path("data"), 2, 22));
    ck_assert(!is_dirty(page(2)));
}
END_TEST

static void *flush_often(void *argument)
{
    struct work *work = argument;

    work->result = 0;
    for (int i = 0; i < 200 && work->result == 0; i++) {
        fill_page(work->session, work->id, 1 + i % 250);
        work->result =
            i % 8 == 7 ? tarn_flush_all(work->session) : tarn_flush_page(work->session, work->id);
    }
    return NULL;
}

START_TEST(many_who_flush_share_writes_and_syncs)
{
    struct work work[8];

    begin_pool(256);
    begin_writer((enum tarn_io_backend)_i);
    file = make_file(session, "data", 8);
    uint64_t syncs = writer_count(COUNTER_SYNCS);
    for (unsigned i = 0; i < 8; i++)
        start_work(&work[i], flush_often, open_session(pool), page(i), -1);
    for (unsigned i = 0; i < 8; i++) {
        ck_assert_int_eq(end_work(&work[i]), 0);
        ck_assert(disk_has(file_path("data"), i, 200));
    }
    ck_assert_uint_le(writer_count(COUNTER_SYNCS) - syncs, 8 * 200);
    ck_assert_int_eq(end_writer(), 0);
    assert_consistent(pool);
}
END_TEST

/* A holder must hold nobody up, and its change must not get to the disk. */
START_TEST(page_held_exclusively_is_flushed_as_it_was)
{
    struct tarn_writable_page whole, range;
    struct tarn_locked_page locked;

    begin_pool(256);
    begin_writer((enum tarn_io_backend)_i);
    file = make_file(session, "data", 8);
    for (unsigned i = 0; i < 3; i++)
        fill_page(session, page(i), 10 + (int)i);
    struct tarn_session *holder = open_session(pool);
    assert_ok(holder, tarn_mtr_begin(holder, 3));
    assert_ok(holder, tarn_mtr_write(holder, page(0), -1, &whole));
    memset(whole.data, 99, PAGE_BYTES);
    assert_ok(holder, tarn_mtr_write_range(holder, page(1), 100, 8, -1, &range));
    memset((uint8_t *)range.data + 100, 99, 8);
    assert_ok(holder, tarn_mtr_write_range(holder, page(1), 104, 500, -1, &range));
    memset((uint8_t *)range.data + 104, 98, 500);
    assert_ok(holder, tarn_mtr_lock(holder, page(2), -1, &locked));

    assert_ok(session, tarn_flush_all(session));
    for (unsigned i = 0; i < 3; i++) {
        ck_assert(disk_has(file_path("data"), i, 10 + (int)i));
        ck_assert(is_dirty(page(i)));
    }
    ck_assert_int_eq(tarn_mtr_commit(holder, 0), 1);
    assert_ok(session, tarn_flush_all(session));
    ck_assert(disk_has(file_path("data"), 0, 99));
    for (unsigned i = 0; i < 3; i++)
        ck_assert(!is_dirty(page(i)));
    ck_assert_int_eq(end_writer(), 0);
}
END_TEST

/* A small pool that changes many more pages than it holds. */
START_TEST(cleaner_keeps_up_with_pages_that_do_not_fit)
{
    uint64_t seed = test_seed();
    static int expected[1000];

    begin_pool(16);
    begin_writer((enum tarn_io_backend)_i);
    file = make_file(session, "data", 1000);
    for (int i = 0; i < 5000; i++) {
        unsigned number = (unsigned)(test_random(&seed) % 1000);

        expected[number] = 1 + i % 250;
        fill_page(session, page(number), expected[number]);
    }
    for (unsigned i = 0; i < 1000; i++)
        ck_assert(page_has(session, page(i), expected[i]));
    assert_ok(session, tarn_flush_all(session));
    for (unsigned i = 0; i < 1000; i++)
        ck_assert(disk_has(file_path("data"), i, expected[i]));
    ck_assert_int_eq(end_writer(), 0);
    assert_consistent(pool);
}
END_TEST

/* Reads the page with this hint. */
static void read_page(struct tarn_session *reader, uint64_t number, unsigned hints)
{
    struct tarn_pin pin;

    assert_ok(reader, tarn_pin(reader, page(number), hints, &pin));
    assert_ok(reader, tarn_unpin(reader, pin));
}

START_TEST(pages_leave_by_the_policy_that_the_pool_was_made_with)
{
    const struct tarn_policy_kind *kind = tarn_policy_kind((unsigned)_i);
    struct tarn_init_options options = {.size = sizeof(options),
                                        .directory = test_path("pool"),
                                        .frame_bytes = 256 * PAGE_BYTES,
                                        .session_count = 8,
                                        .policy = tarn_policy_name(kind)};
    struct tarn_message message = {""};

    ck_assert_int_eq(tarn_init(test_pool_name(), &options, &message), 0);
    begin_writer(TARN_IO_AUTO);
    pool = attach_pool(test_pool_name());
    session = open_session(pool);
    file = make_file(session, "data", 2000);
    for (unsigned i = 0; i < 6000; i++) {
        read_page(session, i % 2000, i % 3 == 0 ? TARN_HINT_ONCE : TARN_HINT_NONE);
        if (i % 7 == 0)
            fill_page(session, page(i % 2000), (int)(i % 250));
    }
    for (unsigned i = 4000; i < 6000; i++)
        if (i % 7 == 0)
            ck_assert(page_has(session, page(i % 2000), (int)(i % 250)));
    ck_assert_uint_gt(tarn_load_relaxed(&writer->session->shared->counter[COUNTER_EVICTIONS]), 0);
    assert_consistent(pool);
    ck_assert_int_eq(tarn_detach(pool), 0);
    join_writer();
    ck_assert_str_eq(writer->victims.policy->kind->name, options.policy);
    ck_assert_int_eq(close_writer(), 0);
}
END_TEST

/* A frame may be given out twice, or never again, if it is in two places, or in none. */
START_TEST(each_frame_is_known_to_the_policy_or_empty_or_leaving)
{
    unsigned seen[FRAMES] = {0};

    ck_assert_int_eq(tarn_detach(init_pool(test_pool_name(), test_path("pool"), FRAMES, 8)), 0);
    begin_writer(TARN_IO_AUTO);
    pool = attach_pool(test_pool_name());
    session = open_session(pool);
    file = make_file(session, "data", PAGES);
    for (unsigned i = 0; i < 20 * PAGES; i++) {
        read_page(session, i * 7 % PAGES, i % 5 == 0 ? TARN_HINT_KEEP : TARN_HINT_NONE);
        if (i % 3 == 0)
            fill_page(session, page(i * 11 % PAGES), (int)(i % 250));
        if (i % 16 == 0)
            tarn_frames_evict(session, 4, 256); /* as sessions do that find no free frame */
    }
    ck_assert_int_eq(tarn_detach(pool), 0);
    tarn_writer_stop(writer);
    pthread_join(writer_thread, NULL);
    for (uint32_t frame = 0; frame < FRAMES; frame++)
        seen[frame] = tarn_policy_page(writer->victims.policy, frame) != 0;
    for (uint32_t i = 0; i < writer->victims.empty_count; i++)
        seen[writer->victims.empty[i]]++;
    for (uint32_t i = 0; i < writer->victims.leaving_count; i++) {
        ck_assert(writer->victims.leaves[writer->victims.leaving[i]]);
        seen[writer->victims.leaving[i]]++;
    }
    for (uint32_t frame = 0; frame < FRAMES; frame++)
        ck_assert_msg(seen[frame] == 1, "frame %u: %u times", frame, seen[frame]);
    tarn_writer_close(writer);
    tarn_detach(writer_pool);
    ck_assert_int_eq(writer_result, 0);
}
END_TEST

START_TEST(idle_writer_sleeps)
{
    begin_pool(256);
    pid_t pid = fork_writer((enum tarn_io_backend)_i);
    file = make_file(session, "data", 64);
    for (unsigned i = 0; i < 60; i++)
        fill_page(session, page(i), 7);
    assert_ok(session, tarn_flush_all(session));
    sleep_ms(200);
    long before = switches_of(pid);
    sleep_ms(2500);
    ck_assert_int_le(switches_of(pid) - before, 1);
    /* And it is there when it is called: nothing else would wake it. */
    fill_page(session, page(0), 8);
    assert_ok(session, tarn_flush_all(session));
    kill(pid, SIGTERM);
    assert_ends_well(pid);
}
END_TEST

START_TEST(writer_without_its_fifo_still_answers)
{
    char path[TARN_PATH_BYTES];

    begin_pool(256);
    begin_writer((enum tarn_io_backend)_i);
    file = make_file(session, "data", 8);
    tarn_wake_path(pool->segment_path, path);
    unlink(path);
    struct tarn_pool *late = attach_pool(test_pool_name());
    struct tarn_session *other = open_session(late);
    for (int i = 0; i < 3; i++) {
        fill_page(other, page(0), 10 + i);
        assert_ok(other, tarn_flush_all(other));
        ck_assert(disk_has(file_path("data"), 0, 10 + i));
        sleep_ms(20);
    }
    tarn_detach(late);
    ck_assert_int_eq(end_writer(), 0);
}
END_TEST

/* Errors of the device. */

static _Atomic int syncs_to_fail;

static int fail_syncs(const struct tarn_io_request *request)
{
    if (request->kind != TARN_IO_REQUEST_SYNC || syncs_to_fail == 0)
        return DISK_PASSES;
    syncs_to_fail--;
    return -EIO;
}

START_TEST(failed_sync_has_the_pages_written_again)
{
    begin_pool(256);
    begin_writer_on_disk((enum tarn_io_backend)_i, fail_syncs);
    file = make_file(session, "data", 8);
    fill_page(session, page(1), 11);
    uint64_t written = writer_count(COUNTER_PAGES_WRITTEN);
    syncs_to_fail = 1;
    assert_ok(session, tarn_flush_all(session));
    ck_assert_uint_eq(syncs_to_fail, 0);
    ck_assert_uint_ge(writer_count(COUNTER_PAGES_WRITTEN) - written, 2);
    ck_assert(disk_has(file_path("data"), 1, 11));
    ck_assert(!is_dirty(page(1)));
    ck_assert_uint_eq(tarn_load_relaxed(&pool->view.control->failed), 0);
    /* Not in a row with the first one. */
    fill_page(session, page(1), 12);
    syncs_to_fail = 1;
    assert_ok(session, tarn_flush_page(session, page(1)));
    ck_assert_int_eq(end_writer(), 0);
}
END_TEST

START_TEST(second_failed_sync_in_a_row_ends_durability_for_good)
{
    struct tarn_message message = {""};
    uint32_t other;

    begin_pool(256);
    begin_writer_on_disk((enum tarn_io_backend)_i, fail_syncs);
    file = make_file(session, "data", 8);
    fill_page(session, page(1), 11);
    syncs_to_fail = 2;
    assert_fails(session, -ENOTRECOVERABLE, "", tarn_flush_all(session));
    assert_fails(session, -ENOTRECOVERABLE, "", tarn_flush_page(session, page(2)));
    assert_fails(session, -ENOTRECOVERABLE, "",
                 tarn_file_open(session, "other", TARN_FILE_CREATE, &other));
    ck_assert(is_dirty(page(1)) && page_has(session, page(1), 11));
    ck_assert_uint_eq(tarn_load_relaxed(&pool->view.control->failed), EIO);
    ck_assert_int_eq(end_writer(), -ENOTRECOVERABLE);
    /* Its successor knows. */
    begin_writer((enum tarn_io_backend)_i);
    assert_fails(session, -ENOTRECOVERABLE, "", tarn_flush_all(session));
    ck_assert_int_eq(end_writer(), -ENOTRECOVERABLE);
    tarn_detach(pool);
    assert_fails_with(message, -ENOTRECOVERABLE, "",
                      tarn_destroy(test_pool_name(), NULL, 0, &message));
    ck_assert(exists(test_path("pool/options")));
    ck_assert_int_eq(tarn_destroy(test_pool_name(), NULL, TARN_DESTROY_FORCE, &message),
                     -ENOTRECOVERABLE);
    ck_assert(!exists(test_path("pool/options")));
}
END_TEST

/* A sparse file of 64 pages on a file system with room for none: writes into holes fail, those of
 * pages that have their blocks succeed. */
static const char *full_disk(void)
{
    char command[TARN_PATH_BYTES + 64];
    const char *directory = test_path("disk"), *path = test_path("disk/data");

    mkdir(directory, 0700);
    if (mount("tarn-test", directory, "tmpfs", 0, "size=1m") != 0)
        test_skip("no right to mount");
    int fd = open(path, O_RDWR | O_CREAT, 0600);
    uint8_t zeros[PAGE_BYTES] = {0};
    ck_assert_int_eq(ftruncate(fd, 64 * PAGE_BYTES), 0);
    for (unsigned i = 0; i < 64; i += 2)
        ck_assert_int_eq(pwrite(fd, zeros, PAGE_BYTES, i * PAGE_BYTES), PAGE_BYTES);
    close(fd);
    snprintf(command, sizeof(command), "cat /dev/zero 2>/dev/null >'%s'", test_path("disk/filler"));
    ck_assert_int_ne(system(command), -1);
    return path;
}

START_TEST(failed_write_keeps_the_page_dirty_and_hides_no_good_one)
{
    begin_pool(256);
    begin_writer((enum tarn_io_backend)_i);
    const char *path = full_disk();
    assert_ok(session, tarn_file_open(session, path, 0, &file));
    for (unsigned i = 0; i < 64; i++)
        fill_page(session, page(i), (int)i + 1);
    int result = tarn_flush_file(session, file);
    bool good = true;
    for (unsigned i = 0; i < 64; i++)
        good = good && is_dirty(page(i)) == (i % 2 == 1) &&
               disk_has(path, i, i % 2 == 0 ? (int)i + 1 : 0);
    int good_one = tarn_flush_page(session, page(2));
    int bad_one = tarn_flush_page(session, page(3));
    unlink(test_path("disk/filler"));
    int after = tarn_flush_file(session, file);
    bool all = true;
    for (unsigned i = 0; i < 64; i++)
        all = all && !is_dirty(page(i)) && disk_has(path, i, (int)i + 1);
    int end = end_writer();
    umount2(test_path("disk"), MNT_DETACH);
    ck_assert_int_eq(result, -ENOSPC);
    ck_assert(good);
    ck_assert_int_eq(good_one, 0);
    ck_assert_int_eq(bad_one, -ENOSPC);
    ck_assert_int_eq(after, 0);
    ck_assert(all);
    ck_assert_int_eq(end, 0);
}
END_TEST

/* Taking over. */

START_TEST(told_to_stop_it_flushes_and_leaves)
{
    begin_pool(256);
    pid_t pid = fork_writer((enum tarn_io_backend)_i);
    file = make_file(session, "data", 64);
    for (unsigned i = 0; i < 64; i++)
        fill_page(session, page(i), (int)i + 1);
    kill(pid, SIGTERM);
    assert_ends_well(pid);
    for (unsigned i = 0; i < 64; i++) {
        ck_assert(disk_has(file_path("data"), i, (int)i + 1));
        ck_assert(!is_dirty(page(i)));
    }
    ck_assert(!tarn_byte_locked(pool->ask_fd, TARN_LOCK_WRITER));
    assert_consistent(pool);
}
END_TEST

START_TEST(standby_takes_over_from_a_killed_writer)
{
    begin_pool(512);
    pid_t pid = fork_writer((enum tarn_io_backend)_i);
    file = make_file(session, "data", 400);
    pid_t standby = fork_writer((enum tarn_io_backend)_i);
    ck_assert(comes_true(tarn_load_relaxed(&pool->view.control->standby_slot) != 0));
    for (int round = 1; round <= 8; round++) {
        for (unsigned i = 0; i < 400; i++)
            fill_page(session, page(i), round);
        struct tarn_session *other = open_session(pool);
        struct work work;
        start_work(&work, flush_often, other, page(0), -1);
        sleep_ms(round);
        kill_and_wait(pid);
        assert_ok(session, tarn_flush_all(session));
        for (unsigned i = 1; i < 400; i++)
            ck_assert(disk_has(file_path("data"), i, round));
        ck_assert_int_eq(end_work(&work), 0);
        tarn_session_close(other);
        pid = standby;
        standby = fork_writer((enum tarn_io_backend)_i);
        ck_assert(comes_true(tarn_load_relaxed(&pool->view.control->standby_slot) != 0));
    }
    ck_assert_uint_eq(pool->view.control->writer.takeovers, 9);
    kill(standby, SIGTERM);
    assert_ends_well(standby);
    kill(pid, SIGTERM);
    assert_ends_well(pid);
    assert_consistent(pool);
}
END_TEST

/* What the dead writer's description still holds is what its requests still do. */
START_TEST(nothing_is_written_before_the_last_write_of_a_dead_writer_has_landed)
{
    int ready[2];
    char byte;

    begin_pool(256);
    begin_writer((enum tarn_io_backend)_i);
    file = make_file(session, "data", 8);
    ck_assert_int_eq(end_writer(), 0);
    ck_assert_int_eq(pipe(ready), 0);
    pid_t late = fork();
    if (late == 0) {
        uint8_t old[PAGE_BYTES];
        int fd = open(file_path("data"), O_RDWR);

        memset(old, 66, sizeof(old));
        tarn_lock_byte(fd, TARN_LOCK_FENCE, F_WRLCK);
        if (write(ready[1], "x", 1) != 1)
            _exit(1);
        sleep_ms(300);
        _exit(pwrite(fd, old, sizeof(old), 0) == PAGE_BYTES ? 0 : 1);
    }
    ck_assert_int_eq(read(ready[0], &byte, 1), 1);
    fill_page(session, page(0), 77);
    int64_t begun = now_ms();
    begin_writer((enum tarn_io_backend)_i);
    assert_ok(session, tarn_flush_all(session));
    ck_assert_int_ge(now_ms() - begun, 250);
    assert_ends_well(late);
    ck_assert(disk_has(file_path("data"), 0, 77));
    ck_assert_int_eq(end_writer(), 0);
}
END_TEST

static void *flush_once(void *argument)
{
    struct work *work = argument;

    work->result = tarn_flush_all(work->session);
    return NULL;
}

static void fill_pages(unsigned count, int byte)
{
    for (unsigned i = 0; i < count; i++)
        fill_page(session, page(i), byte);
}

/* Many writes of old images are in flight when the writer is killed, on io_uring beyond its death:
 * each page must be written again only after that, and so end as its newest image. */
START_TEST(late_writes_of_a_killed_writer_change_nothing)
{
    enum { COUNT = 1500 };
    uint64_t seed = test_seed();
    struct work work;

    begin_pool(2048);
    pid_t pid = fork_writer((enum tarn_io_backend)_i);
    file = make_file(session, "data", COUNT);
    struct tarn_session *other = open_session(pool);
    for (int round = 0; round < 12; round++) {
        pid_t standby = fork_writer((enum tarn_io_backend)_i);
        ck_assert(comes_true(tarn_load_relaxed(&pool->view.control->standby_slot) != 0));
        fill_pages(COUNT, 2 * round + 1);
        start_work(&work, flush_once, other, page(0), 0);
        struct timespec moment = {.tv_nsec = (long)(test_random(&seed) % 4000000)};
        nanosleep(&moment, NULL);
        kill_and_wait(pid);
        pid = standby;
        fill_pages(COUNT, 2 * round + 2);
        assert_ok(session, tarn_flush_all(session));
        ck_assert_int_eq(end_work(&work), 0);
        for (int look = 0; look < 2; look++) {
            for (unsigned i = 0; i < COUNT; i++)
                ck_assert_msg(disk_has(file_path("data"), i, 2 * round + 2),
                              "page %u in round %d, look %d", i, round, look);
            sleep_ms(60);
        }
    }
    kill(pid, SIGTERM);
    assert_ends_well(pid);
    assert_consistent(pool);
}
END_TEST

START_TEST(only_one_of_two_writers_works)
{
    struct tarn_writer_options options = {.no_standby = true};
    struct tarn_writer *second;

    begin_pool(256);
    begin_writer((enum tarn_io_backend)_i);
    file = make_file(session, "data", 8);
    ck_assert_int_eq(tarn_writer_open(pool, &options, &second), 0);
    ck_assert_int_eq(tarn_writer_run(second), -EBUSY);
    tarn_writer_close(second);
    ck_assert_int_eq(end_writer(), 0);
}
END_TEST

START_TEST(killed_session_is_reaped_though_nobody_waits_for_it)
{
    int ready[2];
    char byte;

    begin_pool(256);
    begin_writer((enum tarn_io_backend)_i);
    file = make_file(session, "data", 8);
    fill_page(session, page(1), 11);
    ck_assert_int_eq(pipe(ready), 0);
    pid_t child = fork();
    if (child == 0) {
        struct tarn_pool *own = attach_pool(test_pool_name());
        struct tarn_session *mine = open_session(own);
        struct tarn_writable_page change;

        assert_ok(mine, tarn_mtr_begin(mine, 1));
        assert_ok(mine, tarn_mtr_write(mine, page(1), -1, &change));
        memset(change.data, 99, PAGE_BYTES);
        if (write(ready[1], "x", 1) == 1)
            pause();
        _exit(1);
    }
    ck_assert_int_eq(read(ready[0], &byte, 1), 1);
    uint64_t reaps = tarn_load_relaxed(&pool->view.control->reaps);
    kill_and_wait(child);
    bool reaped = comes_true(tarn_load_relaxed(&pool->view.control->reaps) == reaps + 1);
    ck_assert_msg(reaped, "%d reaps", (int)(tarn_load_relaxed(&pool->view.control->reaps) - reaps));
    ck_assert(page_has(session, page(1), 11));
    ck_assert_int_eq(end_writer(), 0);
    assert_consistent(pool);
}
END_TEST

START_TEST(requests_may_be_taken_back_and_asked_again)
{
    struct tarn_session_options options = {.size = sizeof(options), .wait_ms = 30};
    struct tarn_session *hasty;

    begin_pool(256);
    pid_t pid = fork_writer((enum tarn_io_backend)_i);
    file = make_file(session, "data", 64);
    ck_assert_int_eq(tarn_session_open(pool, &options, &hasty), 0);
    for (int i = 0; i < 5; i++) {
        fill_page(session, page(1), 10 + i);
        kill(pid, SIGSTOP);
        assert_fails(hasty, -ETIMEDOUT, "", tarn_flush_all(hasty));
        assert_fails(hasty, -ETIMEDOUT, "", tarn_flush_page(hasty, page(1)));
        assert_fails(hasty, -ETIMEDOUT, "", tarn_file_truncate(hasty, file, 60 - (unsigned)i, 0));
        kill(pid, SIGCONT);
        assert_ok(session, tarn_flush_all(session));
        ck_assert(disk_has(file_path("data"), 1, 10 + i));
    }
    for (int i = 0; i < 2000; i++) {
        hasty->wait_ms = i % 3;
        fill_page(session, page(1), 1 + i % 250);
        int result = i % 2 ? tarn_flush_all(hasty) : tarn_flush_page(hasty, page(1));
        ck_assert(result == 0 || result == -ETIMEDOUT);
        ck_assert(result != 0 || disk_has(file_path("data"), 1, 1 + i % 250));
    }
    kill(pid, SIGTERM);
    assert_ends_well(pid);
    assert_consistent(pool);
}
END_TEST

/* Files. */

START_TEST(file_is_what_it_is_by_whatever_path)
{
    uint32_t other;

    begin_pool(256);
    begin_writer((enum tarn_io_backend)_i);
    file = make_file(session, "data", 8);
    ck_assert_int_eq(symlink("data", file_path("link")), 0);
    ck_assert_int_eq(link(file_path("data"), file_path("hard")), 0);
    const char *const same[] = {"data", "./data", "link", "hard", file_path("data")};
    for (size_t i = 0; i < sizeof(same) / sizeof(same[0]); i++) {
        assert_ok(session, tarn_file_open(session, same[i], TARN_FILE_CREATE, &other));
        ck_assert_uint_eq(other, file);
        assert_fails(
            session, -EEXIST, "",
            tarn_file_open(session, same[i], TARN_FILE_CREATE | TARN_FILE_EXCLUSIVE, &other));
    }
    mkdir(file_path("dir"), 0700);
    mkfifo(file_path("fifo"), 0600);
    const char *const never[] = {"options", "files",     "lock",    "dir",
                                 "fifo",    "/dev/null", "tmp.1.1", pool->segment_path};
    for (size_t i = 0; i < sizeof(never) / sizeof(never[0]); i++)
        assert_fails(session, -EINVAL, "",
                     tarn_file_open(session, never[i], TARN_FILE_CREATE, &other));
    assert_fails(session, -ENOENT, "", tarn_file_open(session, "none", 0, &other));
    assert_fails(session, -ENOENT, "",
                 tarn_file_open(session, "none/none", TARN_FILE_CREATE, &other));
    ck_assert_int_eq(end_writer(), 0);
}
END_TEST

START_TEST(file_of_another_pool_is_refused)
{
    struct tarn_session *other_session;

    begin_pool(256);
    begin_writer((enum tarn_io_backend)_i);
    file = make_file(session, "data", 8);
    struct tarn_pool *other = open_pool(NULL, 64, &other_session);
    assert_fails(other_session, -EBUSY, "",
                 tarn_file_open(other_session, file_path("data"), 0, &file));
    ck_assert_int_eq(tarn_detach(other), 0);
    ck_assert_int_eq(end_writer(), 0);
}
END_TEST

/* It must not have been half done: what was changed is still there, on disk too when flushed. */
START_TEST(truncation_that_is_given_up_has_changed_nothing)
{
    struct tarn_pin pin;
    uint64_t count;

    begin_pool(256);
    begin_writer((enum tarn_io_backend)_i);
    file = make_file(session, "data", 64);
    for (unsigned i = 0; i < 64; i++)
        fill_page(session, page(i), (int)i + 1);
    struct tarn_session *holder = open_session(pool);
    assert_ok(holder, tarn_pin(holder, page(40), 0, &pin));
    int64_t begun = now_ms();
    assert_fails(session, -EBUSY, "", tarn_file_truncate(session, file, 10, 100));
    ck_assert_int_ge(now_ms() - begun, 90);
    ck_assert_uint_eq(tarn_load_relaxed(&session->shared->request.answer_slot), holder->slot);
    assert_fails(session, -EBUSY, "", tarn_file_drop(session, file, 1, 0));
    assert_ok(session, tarn_file_page_count(session, file, &count));
    ck_assert_uint_eq(count, 64);
    assert_ok(session, tarn_flush_all(session));
    for (unsigned i = 0; i < 64; i++)
        ck_assert(disk_has(file_path("data"), i, (int)i + 1));

    assert_ok(holder, tarn_unpin(holder, pin));
    assert_ok(session, tarn_file_truncate(session, file, 10, 0));
    ck_assert(!is_cached(page(10)) && is_cached(page(9)));
    struct stat status;
    ck_assert_int_eq(stat(file_path("data"), &status), 0);
    ck_assert_int_eq(status.st_size, 10 * PAGE_BYTES);
    assert_ok(session, tarn_file_extend(session, file, 64));
    for (unsigned i = 10; i < 64; i++)
        ck_assert(page_has(session, page(i), 0));
    ck_assert(page_has(session, page(9), 10));
    ck_assert_int_eq(end_writer(), 0);
    assert_consistent(pool);
}
END_TEST

static void *truncate_file(void *argument)
{
    struct work *work = argument;

    work->result = tarn_file_truncate(work->session, tarn_page_file(work->id), 10, work->wait_ms);
    return NULL;
}

START_TEST(truncation_that_waits_holds_up_nobody_else)
{
    struct tarn_pin pin;
    struct work work;
    uint32_t other;

    begin_pool(256);
    begin_writer((enum tarn_io_backend)_i);
    file = make_file(session, "data", 64);
    for (unsigned i = 0; i < 64; i++)
        fill_page(session, page(i), (int)i + 1);
    assert_ok(session, tarn_pin(session, page(40), 0, &pin));
    struct tarn_session *waiter = open_session(pool);
    start_work(&work, truncate_file, waiter, page(0), -1);
    sleep_ms(50);
    assert_ok(session, tarn_file_open(session, "other", TARN_FILE_CREATE, &other));
    assert_ok(session, tarn_file_extend(session, other, 10));
    fill_page(session, tarn_page_id(other, 3), 33);
    assert_ok(session, tarn_flush_file(session, other));
    fill_page(session, page(3), 44);
    assert_ok(session, tarn_flush_page(session, page(3)));
    uint64_t asked = tarn_load_relaxed(&waiter->shared->request.word);
    ck_assert_uint_eq(request_word_state(asked), REQUEST_ASKED);
    assert_ok(session, tarn_unpin(session, pin));
    ck_assert_int_eq(end_work(&work), 0);
    ck_assert(disk_has(file_path("data"), 3, 44));
    ck_assert_int_eq(end_writer(), 0);
    assert_consistent(pool);
}
END_TEST

/* The request outlives the writers: told to stop, killed, each of its successors begins anew. */
START_TEST(truncation_goes_on_under_the_next_writer)
{
    struct tarn_pin pin;
    uint64_t count;

    begin_pool(256);
    pid_t pid = fork_writer((enum tarn_io_backend)_i);
    file = make_file(session, "data", 64);
    for (unsigned i = 0; i < 64; i++)
        fill_page(session, page(i), (int)i + 1);
    assert_ok(session, tarn_pin(session, page(40), 0, &pin));
    pid_t asking = fork();
    if (asking == 0) {
        struct tarn_session *own = open_session(attach_pool(test_pool_name()));

        _exit(tarn_file_truncate(own, file, 10, 20000) == 0 ? 0 : 1);
    }
    ck_assert(comes_true(tarn_load_acquire(&pool->view.files[file].page_count) == 10));
    kill(pid, SIGTERM);
    assert_ends_well(pid);
    assert_ok(session, tarn_file_page_count(session, file, &count));
    ck_assert_uint_eq(count, 64);
    ck_assert(disk_has(file_path("data"), 63, 64));

    pid = fork_writer((enum tarn_io_backend)_i);
    ck_assert(comes_true(tarn_load_acquire(&pool->view.files[file].page_count) == 10));
    kill_and_wait(pid);
    fill_page(session, page(40), 99);
    pid = fork_writer((enum tarn_io_backend)_i);
    sleep_ms(100);
    assert_ok(session, tarn_unpin(session, pin));
    assert_ends_well(asking);
    assert_ok(session, tarn_file_extend(session, file, 64));
    ck_assert(page_has(session, page(40), 0) && page_has(session, page(9), 10));
    kill(pid, SIGTERM);
    assert_ends_well(pid);
    assert_consistent(pool);
}
END_TEST

static void *extend_often(void *argument)
{
    struct work *work = argument;
    char name[32];
    uint32_t own;

    snprintf(name, sizeof(name), "own%u", work->session->slot);
    work->result = tarn_file_open(work->session, name, TARN_FILE_CREATE, &own);
    for (uint64_t count = 1; count <= 20 && work->result == 0; count++) {
        work->result = tarn_file_extend(work->session, own, count);
        if (work->result == 0)
            fill_page(work->session, tarn_page_id(own, count - 1), (int)count);
    }
    if (work->result == 0)
        work->result = tarn_file_truncate(work->session, own, 3, 1000);
    if (work->result == 0)
        work->result = tarn_flush_file(work->session, own);
    return NULL;
}

START_TEST(files_change_their_sizes_side_by_side)
{
    struct work work[14];
    char name[32];

    begin_pool(256);
    begin_writer((enum tarn_io_backend)_i);
    for (unsigned i = 0; i < 14; i++)
        start_work(&work[i], extend_often, open_session(pool), (struct tarn_page_id){0}, 0);
    for (unsigned i = 0; i < 14; i++) {
        ck_assert_int_eq(end_work(&work[i]), 0);
        snprintf(name, sizeof(name), "own%u", work[i].session->slot);
        ck_assert(disk_has(file_path(name), 2, 3));
    }
    ck_assert_uint_eq(tarn_load_relaxed(&pool->view.control->failed), 0);
    ck_assert_int_eq(end_writer(), 0);
    assert_consistent(pool);
}
END_TEST

START_TEST(file_that_is_gone_concerns_itself_alone)
{
    begin_pool(256);
    begin_writer((enum tarn_io_backend)_i);
    file = make_file(session, "data", 8);
    uint32_t other = make_file(session, "other", 8);
    ck_assert_int_eq(end_writer(), 0);
    fill_page(session, page(1), 11);
    fill_page(session, tarn_page_id(other, 1), 22);
    ck_assert_int_eq(rename(file_path("data"), file_path("away")), 0);
    begin_writer((enum tarn_io_backend)_i);
    assert_fails(session, -EBADFD, "", tarn_flush_all(session));
    assert_fails(session, -EBADFD, "", tarn_file_extend(session, file, 9));
    ck_assert(disk_has(file_path("other"), 1, 22));
    ck_assert(is_dirty(page(1)));
    ck_assert_int_eq(rename(file_path("away"), file_path("data")), 0);
    assert_ok(session, tarn_file_open(session, "data", 0, &other));
    ck_assert_uint_eq(other, file);
    assert_ok(session, tarn_flush_all(session));
    ck_assert(disk_has(file_path("data"), 1, 11));
    ck_assert_int_eq(end_writer(), 0);
    unlink(file_path("data"));
    begin_writer((enum tarn_io_backend)_i);
    assert_ok(session, tarn_file_drop(session, file, 0, 0));
    ck_assert_int_eq(end_writer(), 0);
    assert_consistent(pool);
}
END_TEST

START_TEST(truncation_of_a_dead_writer_is_brought_to_its_end)
{
    begin_pool(256);
    begin_writer((enum tarn_io_backend)_i);
    file = make_file(session, "data", 64);
    uint32_t other = make_file(session, "other", 64);
    for (unsigned i = 0; i < 64; i++) {
        fill_page(session, page(i), (int)i + 1);
        fill_page(session, tarn_page_id(other, i), (int)i + 1);
    }
    ck_assert_int_eq(end_writer(), 0);
    fill_page(session, page(20), 99);
    /* The words as a writer that dies in the middle leaves them. */
    tarn_store_release(&pool->view.files[file].page_count, 10);
    uint64_t word = tarn_load_relaxed(&pool->view.files[other].word);
    tarn_store_release(&pool->view.files[other].word, (word & ~UINT64_C(3)) | FILE_DROPPED);
    begin_writer((enum tarn_io_backend)_i);
    ck_assert(comes_true(!is_cached(page(10)) && !is_cached(page(63)) && !is_cached(page(20))));
    ck_assert(comes_true(!is_cached(tarn_page_id(other, 0))));
    ck_assert(is_cached(page(9)));
    assert_ok(session, tarn_file_extend(session, file, 64));
    ck_assert(page_has(session, page(20), 0));
    ck_assert(disk_has(file_path("data"), 20, 0));
    ck_assert_int_eq(end_writer(), 0);
    struct tarn_file_record record;
    ck_assert_int_eq(tarn_directory_find_file(pool->directory_fd, other, &record, NULL), -ENXIO);
    assert_consistent(pool);
}
END_TEST

/* Its file was gone already; that was said to be an error of whoever asked for it. */
START_TEST(drop_of_a_dead_writer_is_no_error_to_others)
{
    struct tarn_pin pin;
    uint32_t other, again;

    begin_pool(256);
    begin_writer((enum tarn_io_backend)_i);
    other = make_file(session, "other", 64);
    assert_ok(session, tarn_pin(session, tarn_page_id(other, 3), 0, &pin));
    ck_assert_int_eq(end_writer(), 0);
    uint64_t word = tarn_load_relaxed(&pool->view.files[other].word);
    tarn_store_release(&pool->view.files[other].word, (word & ~UINT64_C(3)) | FILE_DROPPED);
    ck_assert_int_eq(unlink(file_path("other")), 0);
    begin_writer((enum tarn_io_backend)_i);
    assert_fails(session, -EBUSY, "", tarn_file_open(session, "other", TARN_FILE_CREATE, &again));
    assert_ok(session, tarn_unpin(session, pin));
    ck_assert(comes_true(tarn_file_open(session, "other", TARN_FILE_CREATE, &again) == 0));
    ck_assert_int_eq(end_writer(), 0);
    assert_consistent(pool);
}
END_TEST

START_TEST(incarnations_are_never_given_twice)
{
    uint64_t newest = 0;
    uint32_t other;

    begin_pool(256);
    for (int i = 0; i < 6; i++) {
        begin_writer((enum tarn_io_backend)_i);
        assert_ok(session, tarn_file_open(session, "data", TARN_FILE_CREATE, &other));
        uint64_t one = file_word_incarnation(tarn_load_relaxed(&pool->view.files[other].word));
        ck_assert_uint_gt(one, newest);
        newest = one;
        assert_ok(session, tarn_file_drop(session, other, 1, 0));
        ck_assert(!exists(file_path("data")));
        ck_assert_int_eq(end_writer(), 0);
    }
}
END_TEST

/* It was made and not yet in the table; its name stood in the way of every later one. */
START_TEST(temporary_file_that_a_dead_writer_was_making_is_in_nobodys_way)
{
    struct tarn_file_record record = {.kind = FILE_TEMPORARY};
    char name[TARN_PATH_BYTES];
    uint32_t other;

    begin_pool(256);
    begin_writer((enum tarn_io_backend)_i);
    assert_ok(session, tarn_file_open(session, "first", TARN_FILE_TEMPORARY, &other));
    record.incarnation =
        file_word_incarnation(tarn_load_relaxed(&pool->view.files[other].word)) + 1;
    record.id = other + 1;
    tarn_record_file_name(&record, name);
    int fd = openat(pool->directory_fd, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    ck_assert_int_eq(write(fd, "half a page", 11), 11);
    close(fd);
    assert_ok(session, tarn_file_open(session, "second", TARN_FILE_TEMPORARY, &other));
    ck_assert_uint_eq(other, record.id);
    assert_ok(session, tarn_file_extend(session, other, 1));
    ck_assert(page_has(session, tarn_page_id(other, 0), 0));
    ck_assert_int_eq(end_writer(), 0);
}
END_TEST

void test_suite(Suite *suite)
{
    TCase *flush = test_case(suite, "flush", 30);
    add_for_backends(flush, neighbours_are_written_together_and_synced_once);
    add_for_backends(flush, page_and_file_flushes_write_what_was_asked_for);
    add_for_backends(flush, many_who_flush_share_writes_and_syncs);
    add_for_backends(flush, page_held_exclusively_is_flushed_as_it_was);
    add_for_backends(flush, cleaner_keeps_up_with_pages_that_do_not_fit);
    tcase_add_loop_test(flush, pages_leave_by_the_policy_that_the_pool_was_made_with, 0, 7);
    tcase_add_test(flush, each_frame_is_known_to_the_policy_or_empty_or_leaving);
    add_for_backends(flush, idle_writer_sleeps);
    add_for_backends(flush, writer_without_its_fifo_still_answers);

    TCase *errors = test_case(suite, "errors", 30);
    add_for_backends(errors, failed_sync_has_the_pages_written_again);
    add_for_backends(errors, second_failed_sync_in_a_row_ends_durability_for_good);
    add_for_backends(errors, failed_write_keeps_the_page_dirty_and_hides_no_good_one);

    TCase *takeover = test_case(suite, "takeover", 60);
    add_for_backends(takeover, told_to_stop_it_flushes_and_leaves);
    add_for_backends(takeover, standby_takes_over_from_a_killed_writer);
    add_for_backends(takeover,
                     nothing_is_written_before_the_last_write_of_a_dead_writer_has_landed);
    add_for_backends(takeover, late_writes_of_a_killed_writer_change_nothing);
    add_for_backends(takeover, only_one_of_two_writers_works);
    add_for_backends(takeover, killed_session_is_reaped_though_nobody_waits_for_it);
    add_for_backends(takeover, requests_may_be_taken_back_and_asked_again);

    TCase *files = test_case(suite, "files", 30);
    add_for_backends(files, file_is_what_it_is_by_whatever_path);
    add_for_backends(files, file_of_another_pool_is_refused);
    add_for_backends(files, truncation_that_is_given_up_has_changed_nothing);
    add_for_backends(files, truncation_that_waits_holds_up_nobody_else);
    add_for_backends(files, truncation_of_a_dead_writer_is_brought_to_its_end);
    add_for_backends(files, truncation_goes_on_under_the_next_writer);
    add_for_backends(files, files_change_their_sizes_side_by_side);
    add_for_backends(files, file_that_is_gone_concerns_itself_alone);
    add_for_backends(files, drop_of_a_dead_writer_is_no_error_to_others);
    add_for_backends(files, incarnations_are_never_given_twice);
    add_for_backends(files, temporary_file_that_a_dead_writer_was_making_is_in_nobodys_way);
}
