/* SPDX-License-Identifier: MIT */
/* How long a death is felt: no test, it prints numbers and judges none.
 *
 * From SIGKILL of a process that holds a page to the page being had by one who waits for it, in a
 * pool of 64 MiB and in one of 4 GiB that the holder has mapped to the last page, beside one other
 * busy process and beside 15. How long the reaper itself works. From the death of a writer to the
 * next one being at work.
 *
 * --kills N: of each kind. --takeovers 1: nothing else. --realtime 1: with two busy processes, as
 * root, on a machine that others use too: those get no processor that these want. CK_RUN_CASE says
 * which pools: small, large, busy.
 */
#include <sched.h>
#include <sys/statvfs.h>

#include "tests/load.h"

enum {
    KILLS = 200,
    PAGES_HELD = 3,
    BUSY_MAX = 15,
    SETTLE_MS = 12, /* by then who waits sleeps as long as it ever does */
    TURN_NS = 4000000,
};

#define MIB (UINT64_C(1) << 20)

struct stage {
    char name[64];
    uint32_t file;
    unsigned held; /* pages that a holder takes */
    _Atomic bool ready, ends;
    _Atomic uint64_t had_ns;
};

/* Nanoseconds, to be sorted. */
struct series {
    uint64_t *ns;
    unsigned count;
};

static struct stage *stage;
static pid_t writer_pids[2], busy_pids[BUSY_MAX];
static unsigned busy_count, kills;
static uint64_t random_state;

static int compare_ns(const void *a, const void *b)
{
    uint64_t left = *(const uint64_t *)a, right = *(const uint64_t *)b;

    return left < right ? -1 : left > right;
}

static void series_add(struct series *series, uint64_t ns)
{
    if (series->ns == NULL)
        series->ns = calloc(kills, sizeof *series->ns);
    series->ns[series->count++] = ns;
}

static void series_print(struct series *series, const char *words)
{
    const struct tarn_geometry *geometry = &pool->view.geometry;
    unsigned count = series->count;

    if (count == 0)
        return;
    qsort(series->ns, count, sizeof *series->ns, compare_ns);
    printf("# %5llu MiB, %2u busy: %-39s %5u times, p50 %8.3f, p99 %8.3f, max %8.3f ms\n",
           (unsigned long long)((uint64_t)geometry->frame_count * geometry->page_bytes / MIB),
           busy_count + 1, words, count, (double)series->ns[count / 2] / 1e6,
           (double)series->ns[count * 99 / 100] / 1e6, (double)series->ns[count - 1] / 1e6);
    fflush(stdout);
    free(series->ns);
    *series = (struct series){.count = 0};
}

static uint64_t cpu_ns(void)
{
    struct timespec time;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    return (uint64_t)time.tv_sec * 1000000000 + (uint64_t)time.tv_nsec;
}

/* Processes. */

/* 0: like everybody. Who sleeps is above the holder that spins. */
static void set_priority(int priority)
{
    struct sched_param param = {.sched_priority = priority};

    if (test_option("realtime", 0) != 0 && busy_count <= 1)
        sched_setscheduler(0, priority == 0 ? SCHED_OTHER : SCHED_RR, &param);
}

/* Maps every page, so that the kernel has to unmap them when it dies. */
static void hold_and_spin(void *argument)
{
    struct stage *on = argument;
    set_priority(1);
    struct tarn_pool *mine = attach_pool(on->name);
    struct tarn_session *own = open_patient_session(mine);
    const volatile uint8_t *frames = mine->view.base;
    struct tarn_writable_page writable;

    for (uint64_t at = 0; at < mine->view.geometry.segment_bytes; at += 4096)
        (void)frames[at];
    assert_ok(own, tarn_mtr_begin(own, on->held));
    for (unsigned i = 0; i < on->held; i++) {
        assert_ok(own, tarn_mtr_write(own, tarn_page_id(on->file, i), NEVER_MS, &writable));
        memset(writable.data, 'x', PAGE_BYTES);
    }
    on->ready = true;
    for (;;)
        continue;
}

/* Changes and reads a page of its own. */
static void be_busy(void *argument)
{
    struct stage *on = argument;
    set_priority(0);
    struct tarn_session *own = open_patient_session(attach_pool(on->name));
    struct tarn_page_id id = tarn_page_id(on->file, TARN_MTR_ENTRIES_MAX + own->slot % BUSY_MAX);

    for (int byte = 0; !on->ends; byte = (byte + 1) % 250)
        fill_page(own, id, byte);
}

static pid_t start_holder(unsigned held)
{
    stage->ready = false;
    stage->held = held;
    pid_t pid = start_process(hold_and_spin, stage);
    wait_until(stage->ready);
    return pid;
}

static void begin(uint64_t mib, unsigned busy)
{
    stage = share_memory(sizeof *stage);
    busy_count = busy;
    set_priority(2);
    random_state = test_seed();
    kills = (unsigned)test_option("kills", KILLS);
    snprintf(stage->name, sizeof stage->name, "%s", test_pool_name());
    pool = init_pool(stage->name, test_path("pool"), (unsigned)(mib * MIB / PAGE_BYTES), 40);
    session = open_patient_session(pool);
    writer_pids[0] = start_tarn_writer(stage->name);
    wait_until(writer_process(pool) == writer_pids[0]);
    writer_pids[1] = start_tarn_writer(stage->name);
    stage->file = file = make_file(session, "data", 2 * TARN_MTR_ENTRIES_MAX);
    for (unsigned i = 0; i < 2 * TARN_MTR_ENTRIES_MAX; i++)
        fill_page(session, page(i), 'a');
    for (unsigned i = 0; i < busy; i++)
        busy_pids[i] = start_process(be_busy, stage);
}

static void end(void)
{
    stage->ends = true;
    for (unsigned i = 0; i < busy_count; i++)
        assert_ends_well(busy_pids[i]);
    for (unsigned i = 2; i-- > 0;)
        end_tarn_writer(pool, writer_pids[i]);
    ck_assert_int_eq(tarn_detach(pool), 0);
    ck_assert_int_eq(tarn_destroy(stage->name, NULL, TARN_DESTROY_DATA, NULL), 0);
}

/* From the death of a holder. */

static void *wait_for_page(void *argument)
{
    struct work *work = argument;
    struct tarn_locked_page locked;

    assert_ok(session, tarn_mtr_begin(session, 1));
    work->result = tarn_mtr_lock(session, work->id, NEVER_MS, &locked);
    stage->had_ns = tarn_now_ns();
    assert_ok(session, tarn_mtr_abort(session));
    return NULL;
}

static void measure_waits(void)
{
    struct series waits = {.count = 0};

    for (unsigned i = 0; i < kills; i++) {
        struct work work;
        pid_t pid = start_holder(PAGES_HELD);

        start_work(&work, wait_for_page, session, page(1), NEVER_MS);
        sleep_ms(SETTLE_MS);
        tarn_sleep_ns((int64_t)(test_random(&random_state) % TURN_NS));
        uint64_t begun_ns = tarn_now_ns();
        ck_assert_int_eq(kill(pid, SIGKILL), 0);
        ck_assert_int_eq(end_work(&work), 0);
        series_add(&waits, stage->had_ns - begun_ns);
        ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
    }
    series_print(&waits, "SIGKILL to the page being had");
}

/* A session with as many changed pages as there may be. Only the last step is the reaper's work. */
static void measure_reaps(void)
{
    struct series proofs = {.count = 0}, walls = {.count = 0}, cpus = {.count = 0};

    for (unsigned i = 0; i < kills; i++) {
        pid_t pid = start_holder(TARN_MTR_ENTRIES_MAX);
        unsigned slot = slot_of_process(pool, pid);
        uint64_t begun_ns = tarn_now_ns();

        ck_assert_int_eq(kill(pid, SIGKILL), 0);
        while (!pool->dead(pool, slot))
            tarn_sleep_ns(NS_PER_MS / 20);
        uint64_t dead_ns = tarn_now_ns(), cpu_before = cpu_ns();
        int reaped = tarn_reap(pool, slot, session);
        uint64_t cpu_after = cpu_ns(), reaped_ns = tarn_now_ns();
        if (reaped == 1) { /* not the writer */
            series_add(&proofs, dead_ns - begun_ns);
            series_add(&walls, reaped_ns - dead_ns);
            series_add(&cpus, cpu_after - cpu_before);
        }
        ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
        wait_until(slot_of_process(pool, pid) == 0);
    }
    series_print(&proofs, "SIGKILL to the proof of death");
    series_print(&walls, "a reap of 60 pages, by the clock");
    series_print(&cpus, "a reap of 60 pages, of processor");
}

/* From the death of a writer. */

/* Waits for the standby to work; when the dead writer's lock on the data file was free, which is
 * the last of its locks: once its last request has ended. 0: that was not seen. */
static uint64_t see_takeover(int fd, uint64_t takeovers)
{
    const volatile uint64_t *now = &pool->view.control->writer.takeovers;
    uint64_t free_ns = 0;

    while (*now == takeovers) {
        if (free_ns == 0 && !tarn_byte_locked(fd, TARN_LOCK_FENCE))
            free_ns = tarn_now_ns();
        tarn_sleep_ns(NS_PER_MS / 20);
    }
    return free_ns;
}

static void measure_takeovers(void)
{
    struct series locks = {.count = 0}, roles = {.count = 0}, answers = {.count = 0};
    const struct tarn_control *control = pool->view.control;
    int fd = open(file_path("data"), O_RDWR | O_CLOEXEC);

    for (unsigned i = 0; i < kills; i++) {
        wait_until(tarn_load_acquire(&control->standby_slot) != 0);
        sleep_ms(SETTLE_MS);
        for (unsigned n = 0; n < TARN_MTR_ENTRIES_MAX; n++)
            fill_page(session, page(n), (int)i);
        uint64_t takeovers = control->writer.takeovers, begun_ns = tarn_now_ns();
        ck_assert_int_eq(kill(writer_pids[0], SIGKILL), 0);
        uint64_t free_ns = see_takeover(fd, takeovers), taken_ns = tarn_now_ns();
        assert_ok(session, tarn_flush_all(session));
        if (free_ns != 0) {
            series_add(&locks, free_ns - begun_ns);
            series_add(&roles, taken_ns - free_ns);
            series_add(&answers, tarn_now_ns() - free_ns);
        }
        ck_assert_int_eq(waitpid(writer_pids[0], NULL, 0), writer_pids[0]);
        writer_pids[0] = writer_pids[1];
        writer_pids[1] = start_tarn_writer(stage->name);
    }
    close(fd);
    series_print(&locks, "SIGKILL of the writer to its locks free");
    series_print(&roles, "from there to the standby at work");
    series_print(&answers, "from there to all changes on disk");
}

static void measure(uint64_t mib, unsigned busy)
{
    struct statvfs shm;

    if (statvfs("/dev/shm", &shm) != 0 || shm.f_bavail * shm.f_bsize < 5 * mib / 4 * MIB)
        test_skip("no room for %llu MiB in /dev/shm", (unsigned long long)mib);
    begin(mib, busy);
    if (test_option("takeovers", 0) == 0) {
        measure_waits();
        measure_reaps();
    }
    measure_takeovers();
    end();
}

START_TEST(small_pool)
{
    measure(64, 1);
}
END_TEST

START_TEST(large_pool)
{
    measure(4096, 1);
}
END_TEST

START_TEST(small_pool_of_16_busy_processes)
{
    measure(64, BUSY_MAX);
}
END_TEST

START_TEST(large_pool_of_16_busy_processes)
{
    measure(4096, BUSY_MAX);
}
END_TEST

void test_suite(Suite *suite)
{
    TCase *tcase = test_case(suite, "small", 3600);

    tcase_add_test(tcase, small_pool);
    tcase = test_case(suite, "large", 3600);
    tcase_add_test(tcase, large_pool);
    tcase = test_case(suite, "busy", 3600);
    tcase_add_test(tcase, small_pool_of_16_busy_processes);
    tcase_add_test(tcase, large_pool_of_16_busy_processes);
}
