/* SPDX-License-Identifier: MIT */
/* The writes of a killed writer go on for a while without it. They never land on what its successor
 * has written: that one waits until the last of them has ended.
 */
#include <sys/sysmacros.h>

#include "lib/check.h"
#include "tests/load.h"

enum {
    FRAME_COUNT = 512, /* more than pages: nothing is written but by a flush */
    SETTLE_MS = 60,    /* longer than writes without an owner go on where nothing slows them down */
    SLOW_WRITES = 100  /* a second, of a writer that is slowed down */
};

#define CGROUP "/sys/fs/cgroup/blkio/tarn"

static struct load *load;
static struct worker worker;
static pid_t writer_pid, standby_pid;

static void begin_fence(void)
{
    load = share_memory(sizeof *load);
    pool = make_load(load, FRAME_COUNT, 8, &writer_pid);
    session = open_patient_session(pool);
    worker = (struct worker){.load = load, .pool = pool, .session = session, .random = test_seed()};
    assert_ok(session, tarn_flush_all(session));
}

static void end_fence(void)
{
    assert_file_holds_all(load, pool);
    ck_assert_int_eq(tarn_check_pool(pool, report_violation, NULL), 0);
    if (standby_pid != 0)
        end_tarn_writer(pool, standby_pid);
    end_tarn_writer(pool, writer_pid);
    ck_assert_int_eq(tarn_detach(pool), 0);
}

/* Pages with unchanged ones between them, so that each group is a write of its own. */
static void change_every_other_group(void)
{
    for (unsigned group = 0; group < LOAD_GROUPS; group += 2)
        assert_works(load, write_group(&worker, group, true));
    assert_no_errors(load);
}

static void *flush_everything(void *argument)
{
    struct work *work = argument;

    work->result = tarn_flush_all(work->session);
    return NULL;
}

static void assert_file_is_newest(void)
{
    int fd = open(load->path, O_RDONLY | O_CLOEXEC);

    for (unsigned page = 0; page < LOAD_PAGES; page++)
        read_file(load, fd, page, load->floor[group_of(page)]);
    close(fd);
    assert_no_errors(load);
}

/* The successor writes everything anew; what the dead one has left must not come after it. */
static void take_over(void)
{
    pid_t successors[2] = {standby_pid};

    kill_process(writer_pid);
    successors[1] = start_tarn_writer(load->name);
    change_every_other_group();
    assert_ok(session, tarn_flush_all(session));
    assert_file_is_newest();
    /* Whoever was faster. */
    writer_pid = writer_process(pool);
    standby_pid = successors[0] + successors[1] - writer_pid;
}

START_TEST(late_writes_of_a_killed_writer_change_nothing)
{
    struct tarn_session *other = open_patient_session(pool);
    uint64_t random = test_seed();
    struct work work;

    standby_pid = start_tarn_writer(load->name);
    for (unsigned round = 0; round < 50; round++) {
        uint64_t until_ns;

        wait_until(slot_of_process(pool, standby_pid) != 0);
        change_every_other_group();
        start_work(&work, flush_everything, other, load_id(load, 0), 0);
        until_ns = tarn_now_ns() + test_random(&random) % 3000000;
        while (tarn_now_ns() < until_ns)
            continue;
        take_over();
        assert_ok(other, end_work(&work));
        sleep_ms(SETTLE_MS);
        assert_file_is_newest();
    }
    ck_assert_int_eq(tarn_session_close(other), 0);
}
END_TEST

/* A control group in which the device of the tests takes few writes a second. */

static bool write_text(const char *path, const char *text)
{
    FILE *out = fopen(path, "we");

    if (out == NULL)
        return false;
    bool written = fputs(text, out) >= 0;
    return fclose(out) == 0 && written;
}

static void slow_down(pid_t pid)
{
    struct stat status;
    char text[64];

    ck_assert_int_eq(stat(load->path, &status), 0);
    if (mkdir(CGROUP, 0700) != 0 && errno != EEXIST)
        test_skip("no control group of block devices: %s", strerror(errno));
    snprintf(text, sizeof text, "%u:%u %d", major(status.st_dev), minor(status.st_dev),
             SLOW_WRITES);
    if (!write_text(CGROUP "/blkio.throttle.write_iops_device", text))
        test_skip("device %s cannot be slowed down", text);
    snprintf(text, sizeof text, "%d", (int)pid);
    ck_assert(write_text(CGROUP "/cgroup.procs", text));
}

START_TEST(very_late_writes_of_a_killed_writer_change_nothing)
{
    struct tarn_session *other = open_patient_session(pool);
    const struct tarn_file_entry *entry = &pool->view.files[load->file];
    struct work work;

    for (unsigned round = 0; round < 5; round++) {
        uint64_t writes = tarn_load_relaxed(&entry->writes);

        slow_down(writer_pid);
        standby_pid = standby_pid != 0 ? standby_pid : start_tarn_writer(load->name);
        wait_until(slot_of_process(pool, standby_pid) != 0);
        change_every_other_group();
        start_work(&work, flush_everything, other, load_id(load, 0), 0);
        wait_until(tarn_load_relaxed(&entry->writes) > writes);
        take_over();
        assert_ok(other, end_work(&work));
        sleep_ms(1000 * LOAD_GROUPS / 2 / SLOW_WRITES + SETTLE_MS);
        assert_file_is_newest();
    }
    ck_assert_int_eq(tarn_session_close(other), 0);
}
END_TEST

/* Whichever way the test has ended. */
static void remove_cgroup(void)
{
    for (unsigned i = 0; i < 100 && rmdir(CGROUP) != 0 && errno == EBUSY; i++)
        sleep_ms(10);
}

/* What is in flight is known by a lock on the description that it uses, whoever has that. */

static _Atomic bool *has_fence;

static void keep_fence(void *argument)
{
    int fd = open(argument, O_RDWR | O_CLOEXEC);

    while (tarn_lock_byte(fd, TARN_LOCK_FENCE, F_WRLCK) != 0)
        continue;
    *has_fence = true;
    pause();
}

START_TEST(takeover_writes_nothing_before_the_fence_is_free)
{
    struct tarn_session_options options = {.size = sizeof options, .wait_ms = 300};
    const struct tarn_file_entry *entry = &pool->view.files[load->file];
    struct tarn_session *hasty;
    uint64_t before[LOAD_WORDS], after[LOAD_WORDS];
    int fd = open(load->path, O_RDONLY | O_CLOEXEC);
    pid_t fence_pid;

    has_fence = share_memory(sizeof *has_fence);
    ck_assert_int_eq(tarn_session_open(pool, &options, &hasty), 0);
    fence_pid = start_process(keep_fence, load->path);
    kill_process(writer_pid);
    wait_until(*has_fence);
    writer_pid = start_tarn_writer(load->name);
    wait_until(tarn_byte_locked(pool->ask_fd, TARN_LOCK_WRITER));

    ck_assert_int_eq(pread(fd, before, PAGE_BYTES, 0), PAGE_BYTES);
    uint64_t writes = tarn_load_relaxed(&entry->writes);
    change_every_other_group();
    assert_fails(hasty, -ETIMEDOUT, "", tarn_flush_page(hasty, load_id(load, 0)));
    assert_fails(hasty, -ETIMEDOUT, "", tarn_flush_all(hasty));
    ck_assert_int_eq(pread(fd, after, PAGE_BYTES, 0), PAGE_BYTES);
    ck_assert_mem_eq(before, after, PAGE_BYTES);
    ck_assert_uint_eq(tarn_load_relaxed(&entry->writes), writes);

    kill_process(fence_pid);
    assert_ok(session, tarn_flush_all(session));
    assert_file_is_newest();
    close(fd);
}
END_TEST

void test_suite(Suite *suite)
{
    TCase *tcase = test_case(suite, "fence", 90);

    tcase_add_unchecked_fixture(tcase, NULL, remove_cgroup);
    tcase_add_checked_fixture(tcase, begin_fence, end_fence);
    tcase_add_test(tcase, late_writes_of_a_killed_writer_change_nothing);
    tcase_add_test(tcase, very_late_writes_of_a_killed_writer_change_nothing);
    tcase_add_test(tcase, takeover_writes_nothing_before_the_fence_is_free);
}
