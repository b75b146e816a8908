/* SPDX-License-Identifier: MIT */
/* What a hostile day brings besides kills: things done to the pool's files from outside while
 * processes work, clocks that jump, and forks at a bad moment.
 *
 * Elsewhere: pids used again, zombies, pid namespaces, exec, a pool attached twice, threads that
 * end or are cancelled, a segment removed or replaced, two inits, destroy while others join,
 * planted links, init on a full /dev/shm (test_traps); modes, owners and sizes at attach
 * (test_errors); stopped processes (test_stop).
 */
#include <sched.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/time.h>

#include "lib/check.h"
#include "tests/load.h"

/* Clocks. */

static _Atomic bool clock_jumps;
static _Atomic uint64_t wall_clock_asked;

/* In place of libc's: a wall clock that is a day off, now ahead and now behind. */
int clock_gettime(clockid_t id, struct timespec *ret_time)
{
    int result = (int)syscall(SYS_clock_gettime, id, ret_time);

    if (clock_jumps && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE))
        ret_time->tv_sec += wall_clock_asked++ % 2 == 0 ? 86400 : -86400;
    return result;
}

time_t time(time_t *ret_time)
{
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    if (ret_time != NULL)
        *ret_time = now.tv_sec;
    return now.tv_sec;
}

/* Pages that the pool certainly keeps. */
enum { CACHED = FRAMES / 4 };

struct stage {
    char name[64];
    uint32_t file;
    _Atomic bool ready, goes_on;
    _Atomic int result;
    _Atomic pid_t child;
};

static struct stage *stage;
static pid_t writer_pid;

static void begin_hostile(void)
{
    stage = share_memory(sizeof *stage);
    snprintf(stage->name, sizeof stage->name, "%s", test_pool_name());
    pool = init_pool(stage->name, test_path("pool"), FRAMES, 8);
    session = open_patient_session(pool);
    writer_pid = start_tarn_writer(stage->name);
    wait_until(writer_process(pool) == writer_pid);
    stage->file = file = make_file(session, "data", PAGES);
}

static void end_hostile(void)
{
    ck_assert_int_eq(tarn_check_pool(pool, report_violation, NULL), 0);
    end_tarn_writer(pool, writer_pid);
    ck_assert_int_eq(tarn_detach(pool), 0);
}

/* Has page 1 half changed, and stays. */
static void hold_page(struct stage *on)
{
    struct tarn_session *own = open_patient_session(attach_pool(on->name));
    struct tarn_writable_page writable;

    file = on->file;
    assert_ok(own, tarn_mtr_begin(own, 1));
    assert_ok(own, tarn_mtr_write(own, page(1), NEVER_MS, &writable));
    memset(writable.data, 'x', PAGE_BYTES / 2);
    on->ready = true;
}

static void *lock_with_limit(void *argument)
{
    struct work *work = argument;
    struct tarn_locked_page locked;

    assert_ok(work->session, tarn_mtr_begin(work->session, 1));
    work->result = tarn_mtr_lock(work->session, work->id, work->wait_ms, &locked);
    assert_ok(work->session, tarn_mtr_abort(work->session));
    return NULL;
}

START_TEST(wall_clock_that_jumps_is_not_asked)
{
    struct tarn_pool *own_pool;
    struct tarn_session *own, *other;
    struct tarn_locked_page locked;
    struct tarn_page_id ids[8];
    struct work work;
    uint32_t own_file;

    own_pool = open_pool(NULL, FRAMES, &own); /* the writer is a thread of this process */
    other = open_session(own_pool);
    own_file = make_file(own, "data", PAGES);
    clock_jumps = true;
    for (unsigned i = 0; i < PAGES; i++)
        fill_page(own, tarn_page_id(own_file, i), 'a');
    assert_ok(own, tarn_flush_all(own));
    for (unsigned i = 0; i < 8; i++)
        ids[i] = tarn_page_id(own_file, i);
    assert_ok(own, tarn_prefetch(own, ids, 8));
    assert_ok(own, tarn_mtr_begin(own, 1));
    assert_ok(own, tarn_mtr_lock(own, ids[0], 0, &locked));
    start_work(&work, lock_with_limit, other, ids[0], 30);
    ck_assert_int_eq(end_work(&work), -ETIMEDOUT);
    start_work(&work, lock_with_limit, other, ids[0], NEVER_MS);
    wait_until(tarn_load_acquire(&other->shared->wait) != 0);
    assert_ok(own, tarn_mtr_commit(own, 0));
    ck_assert_int_eq(end_work(&work), 0);
    assert_ok(own, tarn_file_extend(own, own_file, 2 * PAGES));
    clock_jumps = false;
    ck_assert_uint_eq(wall_clock_asked, 0);
    assert_consistent(own_pool);
    ck_assert_int_eq(tarn_detach(own_pool), 0);
}
END_TEST

static void hold_in_another_time(void *argument)
{
    const char offsets[] = "monotonic 864000 0\nboottime 864000 0\n";
    struct stage *on = argument;
    int fd = -1, status;

    if (unshare(CLONE_NEWTIME) == 0)
        fd = open("/proc/self/timens_offsets", O_WRONLY | O_CLOEXEC);
    if (fd < 0 || write(fd, offsets, sizeof offsets - 1) < 0)
        _exit(77);
    pid_t pid = fork();
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        hold_page(on);
        for (;;)
            pause();
    }
    on->child = pid;
    waitpid(pid, &status, 0);
    _exit(0);
}

/* Its monotonic clock, and its start time in /proc, are ten days ahead of ours. */
START_TEST(process_of_another_time_lives_until_it_dies)
{
    struct work work;
    pid_t pid;
    int status;

    fill_page(session, page(1), 'a');
    pid = start_process(hold_in_another_time, stage);
    wait_until(stage->ready || waitpid(pid, &status, WNOHANG) == pid);
    if (!stage->ready)
        test_skip("no time namespace: status %#x", (unsigned)status);
    start_work(&work, lock_with_limit, session, page(1), 50);
    ck_assert_int_eq(end_work(&work), -ETIMEDOUT);
    ck_assert_int_eq(tarn_reap_all(pool, NULL), 0);
    ck_assert_int_eq(tarn_check_pool(pool, report_violation, NULL), 0);
    ck_assert_int_eq(kill(stage->child, SIGKILL), 0);
    ck_assert(page_has(session, page(1), 'a'));
    assert_ends_well(pid);
}
END_TEST

/* Fork. */

static void fork_and_hold(void *argument)
{
    struct stage *on = argument;

    hold_page(on);
    on->ready = false;
    pid_t pid = fork();
    if (pid == 0) {
        /* Attaches anew, and works beside what is left of its parent. */
        struct tarn_session *own = open_patient_session(attach_pool(on->name));

        fill_page(own, page(2), 'c');
        on->ready = true;
        while (!on->goes_on)
            sleep_ms(1);
        fill_page(own, page(2), 'd');
        on->result = 1;
        _exit(0);
    }
    on->child = pid;
    for (;;)
        pause();
}

/* The child has the parent's descriptors for a moment, and must not keep its locks alive. */
START_TEST(parent_that_dies_before_its_child_is_dead)
{
    pid_t pid;

    fill_page(session, page(1), 'a');
    pid = start_process(fork_and_hold, stage);
    wait_until(stage->child > 0 && stage->ready);
    kill_process(pid);
    ck_assert(page_has(session, page(1), 'a'));
    ck_assert(page_has(session, page(2), 'c'));
    ck_assert_uint_ne(slot_of_process(pool, stage->child), 0);
    stage->goes_on = true;
    wait_until(stage->result == 1);
    ck_assert(page_has(session, page(2), 'd'));
    wait_until(slot_of_process(pool, stage->child) == 0);
}
END_TEST

/* The pool's files. */

static const char *segment_path(void)
{
    static char path[1024];

    snprintf(path, sizeof path, "/dev/shm/tarn.%s", test_pool_name());
    return path;
}

START_TEST(attached_processes_do_not_ask_for_modes_owners_and_names_again)
{
    struct tarn_message message = {""};
    struct tarn_pool *none;
    uint32_t other;

    fill_page(session, page(1), 'a');
    ck_assert_int_eq(chmod(segment_path(), 0), 0);
    ck_assert_int_eq(rename(test_path("pool"), test_path("moved")), 0);
    fill_page(session, page(1), 'b');
    assert_ok(session, tarn_flush_all(session));
    ck_assert(disk_has(test_path("moved/data"), 1, 'b'));
    assert_ok(session, tarn_file_open(session, "new", TARN_FILE_CREATE, &other));
    assert_ok(session, tarn_file_extend(session, other, 4));
    fill_page(session, tarn_page_id(other, 1), 'c');
    assert_ok(session, tarn_flush_all(session));
    ck_assert(disk_has(test_path("moved/new"), 1, 'c'));
    int result = tarn_attach(stage->name, NULL, &none, &message);
    ck_assert_msg(result < 0, "attached to a segment of mode 0");
    ck_assert_int_eq(chmod(segment_path(), 0600), 0);
    assert_fails_with(message, -ENOTDIR, "", tarn_attach(stage->name, NULL, &none, &message));
    ck_assert_int_eq(rename(test_path("moved"), test_path("pool")), 0);
    ck_assert_int_eq(tarn_detach(attach_pool(stage->name)), 0);
}
END_TEST

/* Touches what is no longer there. */
static void touch_all_pages(void *argument)
{
    struct stage *on = argument;
    struct tarn_session *own = open_patient_session(attach_pool(on->name));
    const struct rlimit no_core = {0, 0};

    setrlimit(RLIMIT_CORE, &no_core);
    signal(SIGBUS, SIG_DFL);
    file = on->file;
    on->ready = true;
    while (!on->goes_on)
        sleep_ms(1);
    for (unsigned i = 0; i < CACHED; i++)
        on->result += page_has(own, page(i), 'a');
}

/* Truncation takes the memory away from everybody, and kills who touches it: nothing else. */
START_TEST(truncated_segment_harms_no_data_file)
{
    struct tarn_message message = {""};
    struct tarn_pool *none;
    struct stat status;
    pid_t pid;
    int ended;

    begin_hostile();
    for (unsigned i = 0; i < CACHED; i++)
        fill_page(session, page(i), 'a');
    assert_ok(session, tarn_flush_all(session));
    ck_assert_int_eq(tarn_detach(pool), 0);
    pid = start_process(touch_all_pages, stage);
    wait_until(stage->ready);
    ck_assert_int_eq(stat(segment_path(), &status), 0);
    ck_assert_int_eq(truncate(segment_path(), status.st_size - (off_t)FRAMES * PAGE_BYTES), 0);
    stage->goes_on = true;
    ck_assert_int_eq(waitpid(pid, &ended, 0), pid);
    ck_assert_msg(WIFSIGNALED(ended) && WTERMSIG(ended) == SIGBUS, "status %#x", (unsigned)ended);
    assert_fails_with(message, -EMSGSIZE, segment_path(),
                      tarn_attach(stage->name, NULL, &none, &message));
    kill(writer_pid, SIGKILL);
    ck_assert_int_eq(waitpid(writer_pid, &ended, 0), writer_pid);
    for (unsigned i = 0; i < CACHED; i++)
        ck_assert(disk_has(file_path("data"), i, 'a'));
    /* And the pool can be built again. */
    pool = open_pool(test_path("pool"), FRAMES, &session);
    session = open_patient_session(pool);
    assert_ok(session, tarn_file_open(session, "data", 0, &file));
    for (unsigned i = 0; i < CACHED; i++)
        ck_assert(page_has(session, page(i), 'a'));
    fill_page(session, page(1), 'b');
    ck_assert_int_eq(tarn_detach(pool), 0);
}
END_TEST

/* Every frame of the segment was allocated when it was made. */
START_TEST(full_shared_memory_stops_nobody)
{
    char bytes[PAGE_BYTES] = {0};
    int fd;

    if (unshare(CLONE_NEWNS) != 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
        mount("tarn", "/dev/shm", "tmpfs", 0, "size=4m") != 0)
        test_skip("no tmpfs of our own: %s", strerror(errno));
    stage = share_memory(sizeof *stage);
    snprintf(stage->name, sizeof stage->name, "%s", test_pool_name());
    pool = init_pool(stage->name, test_path("pool"), FRAMES, 8);
    fd = open("/dev/shm/filler", O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    while (write(fd, bytes, sizeof bytes) > 0)
        continue;
    ck_assert_int_eq(errno, ENOSPC);
    close(fd);
    session = open_patient_session(pool);
    writer_pid = start_tarn_writer(stage->name);
    wait_until(writer_process(pool) == writer_pid);
    file = make_file(session, "data", PAGES);
    for (unsigned i = 0; i < PAGES; i++)
        fill_page(session, page(i), 'a' + (int)i % 20);
    for (unsigned i = 0; i < PAGES; i++)
        ck_assert(page_has(session, page(i), 'a' + (int)i % 20));
    assert_ok(session, tarn_flush_all(session));
    end_hostile();
    ck_assert_int_eq(umount2("/dev/shm", MNT_DETACH), 0);
}
END_TEST

void test_suite(Suite *suite)
{
    TCase *tcase = test_case(suite, "attached", 40);

    tcase_add_checked_fixture(tcase, begin_hostile, end_hostile);
    tcase_add_test(tcase, process_of_another_time_lives_until_it_dies);
    tcase_add_test(tcase, parent_that_dies_before_its_child_is_dead);
    tcase_add_test(tcase, attached_processes_do_not_ask_for_modes_owners_and_names_again);
    tcase = test_case(suite, "alone", 40);
    tcase_add_test(tcase, wall_clock_that_jumps_is_not_asked);
    tcase_add_test(tcase, truncated_segment_harms_no_data_file);
    tcase_add_test(tcase, full_shared_memory_stops_nobody);
}
