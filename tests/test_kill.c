/* SPDX-License-Identifier: MIT */
/* Processes killed by SIGKILL at random moments, 1,000 in all, while others work on: after each
 * kill the dead are reaped, no rule of the segment is broken, and the others, which are never
 * started again, have gone on. What every page holds is verified all the time.
 *
 * The moments are drawn from the seed; where they hit depends on the machine.
 */
#include <unistd.h>

#include "lib/check.h"
#include "tests/load.h"

enum {
    FRAME_COUNT = 200, /* fewer than pages */
    SURVIVORS = 2,
    VICTIMS = 3,
    KILL_DELAY_NS = 3000000,
    OTHER_PAGES = 64, /* of the file that grows and shrinks */
};

struct scenario;

/* One who is to be killed; it says in shared memory how far it has got. */
struct victim {
    const struct scenario *scenario;
    struct load *load;
    uint64_t number;
    _Atomic uint64_t begun_ns, ended_ns; /* of a whole life that nobody ends */
    _Atomic bool works;
    _Atomic uint64_t mark;
    pid_t pid;
};

struct scenario {
    int (*work)(struct worker *worker); /* done again and again; NULL: `live` is the work */
    void (*live)(struct victim *victim);
    unsigned kills;
    unsigned victims; /* at a time */
    unsigned at_once; /* killed one right after the other */
};

static struct load *load;
static struct victim *victims;
static struct survivor survivors[SURVIVORS];
static pid_t survivor_pids[SURVIVORS];
static pid_t writer_pid, standby_pid;
static uint64_t random_state;

static void begin_load(void)
{
    load = share_memory(sizeof *load);
    victims = share_memory(VICTIMS * sizeof *victims);
    random_state = test_seed();
    pool = make_load(load, FRAME_COUNT, 16, &writer_pid);
    standby_pid = start_tarn_writer(load->name);
    for (unsigned i = 0; i < SURVIVORS; i++) {
        survivors[i] = (struct survivor){load, i};
        survivor_pids[i] = start_process(survive, &survivors[i]);
    }
    for (unsigned i = 0; i < SURVIVORS; i++)
        wait_until(load->steps[i] > 0 || load->errors > 0);
    assert_no_errors(load);
}

static void end_load(void)
{
    load->ends = true;
    for (unsigned i = 0; i < SURVIVORS; i++) {
        int status;

        ck_assert_int_eq(waitpid(survivor_pids[i], &status, 0), survivor_pids[i]);
        assert_no_errors(load);
        ck_assert_int_eq(status, 0);
    }
    assert_file_holds_all(load, pool);
    ck_assert_int_eq(tarn_check_pool(pool, report_violation, NULL), 0);
    end_tarn_writer(pool, standby_pid);
    end_tarn_writer(pool, writer_pid);
    ck_assert_int_eq(tarn_detach(pool), 0);
}

/* After a kill. */

/* Each survivor goes on. */
static void wait_for_steps(unsigned steps)
{
    uint64_t before[SURVIVORS];

    for (unsigned i = 0; i < SURVIVORS; i++)
        before[i] = load->steps[i];
    for (unsigned i = 0; i < SURVIVORS; i++)
        wait_until(load->steps[i] >= before[i] + steps || load->errors > 0);
    assert_no_errors(load);
}

/* This process only looks: others have to do the reaping. */
static void assert_survived(pid_t dead)
{
    wait_for_steps(2);
    wait_until(slot_of_process(pool, dead) == 0 || load->errors > 0);
    ck_assert_int_eq(tarn_check_pool(pool, report_violation, NULL), 0);
    assert_no_errors(load);
}

/* Victims. */

static void be_victim(void *argument)
{
    struct victim *victim = argument;
    struct worker worker;

    if (victim->scenario->work == NULL) {
        victim->scenario->live(victim);
        return;
    }
    open_worker(&worker, victim->load, victim->number);
    worker.mark = &victim->mark;
    victim->works = true;
    while (victim->scenario->work(&worker) >= 0)
        continue;
    _exit(1);
}

static void start_victim(struct victim *victim, const struct scenario *scenario, uint64_t number)
{
    *victim = (struct victim){.scenario = scenario, .load = load, .number = 100 + number};
    victim->pid = start_process(be_victim, victim);
}

/* Some time from 0 to `most`; awake, so that it may be short. */
static void let_pass(uint64_t most_ns)
{
    uint64_t until_ns = tarn_now_ns() + test_random(&random_state) % (most_ns + 1);

    while (tarn_now_ns() < until_ns)
        continue;
}

/* How long a life takes that nobody ends. */
static uint64_t measure_life(const struct scenario *scenario)
{
    uint64_t longest_ns = 0;

    for (unsigned i = 0; i < 5; i++) {
        start_victim(&victims[0], scenario, i);
        victims[0].begun_ns = tarn_now_ns();
        assert_ends_well(victims[0].pid);
        assert_no_errors(load);
        if (victims[0].ended_ns - victims[0].begun_ns > longest_ns)
            longest_ns = victims[0].ended_ns - victims[0].begun_ns;
    }
    return longest_ns < 20000000 ? longest_ns : 20000000;
}

/* Kills those who live only a short while: at any moment from their birth on. */
static void kill_newborn(const struct scenario *scenario)
{
    uint64_t life_ns = measure_life(scenario);

    for (unsigned kills = 0; kills < scenario->kills;) {
        int status;

        start_victim(&victims[0], scenario, kills);
        let_pass(life_ns);
        kill(victims[0].pid, SIGKILL);
        ck_assert_int_eq(waitpid(victims[0].pid, &status, 0), victims[0].pid);
        assert_no_errors(load);
        if (WIFSIGNALED(status)) {
            kills++;
            assert_survived(victims[0].pid);
        }
    }
}

/* Any moment, or one soon after the victim has passed a mark. */
static void choose_moment(const struct victim *victim)
{
    uint64_t seen = victim->mark, until_ns = tarn_now_ns() + KILL_DELAY_NS;

    if (test_random(&random_state) % 3 == 0) {
        let_pass(KILL_DELAY_NS);
        return;
    }
    while (victim->mark == seen && tarn_now_ns() < until_ns)
        continue;
    let_pass(UINT64_C(1000) << test_random(&random_state) % 10);
}

static void kill_working(const struct scenario *scenario)
{
    uint64_t number = 0;

    for (unsigned i = 0; i < scenario->victims; i++)
        start_victim(&victims[i], scenario, number++);
    for (unsigned kills = 0, next = 0; kills < scenario->kills;) {
        pid_t dead[VICTIMS];

        for (unsigned i = 0; i < scenario->victims; i++)
            wait_until(victims[i].works || load->errors > 0);
        choose_moment(&victims[next % scenario->victims]);
        for (unsigned i = 0; i < scenario->at_once; i++) {
            dead[i] = victims[(next + i) % scenario->victims].pid;
            ck_assert_int_eq(kill(dead[i], SIGKILL), 0);
            if (i + 1 < scenario->at_once)
                let_pass(KILL_DELAY_NS / 10);
        }
        for (unsigned i = 0; i < scenario->at_once; i++, kills++) {
            int status;

            ck_assert_int_eq(waitpid(dead[i], &status, 0), dead[i]);
            assert_no_errors(load);
            ck_assert_msg(WIFSIGNALED(status), "a victim ended by itself: %#x", (unsigned)status);
            assert_survived(dead[i]);
            start_victim(&victims[next++ % scenario->victims], scenario, number++);
        }
    }
    for (unsigned i = 0; i < scenario->victims; i++) {
        kill_process(victims[i].pid);
        assert_survived(victims[i].pid);
    }
}

/* Attach and join. */

static void attach_and_leave(struct victim *victim)
{
    struct worker worker;

    open_worker(&worker, victim->load, victim->number);
    if (read_group(&worker, draw_group(&worker)) < 0 || tarn_detach(worker.pool) != 0)
        _exit(1);
    victim->ended_ns = tarn_now_ns();
}

static const struct scenario attaching = {.live = attach_and_leave, .kills = 150};

START_TEST(killed_while_attaching)
{
    kill_newborn(&attaching);
}
END_TEST

static int join_and_leave(struct worker *worker)
{
    struct tarn_session *own = worker->session, *other;
    struct tarn_pin pin;

    pass_mark(worker);
    int result = tarn_session_open(worker->pool, NULL, &other);
    if (result == 0) {
        worker->session = other;
        result = LOAD_CALL(worker, tarn_pin(other, load_id(worker->load, 1), 0, &pin));
        worker->session = own;
        tarn_session_close(other);
    } else {
        load_error(worker->load, "tarn_session_open: %d", result);
    }
    /* Handles of closed sessions are kept until the pool is detached. */
    if (draw(worker, 64) == 0) {
        _Atomic uint64_t *mark = worker->mark;

        tarn_detach(worker->pool);
        open_worker(worker, worker->load, worker->random);
        worker->mark = mark;
    }
    return result;
}

static const struct scenario joining = {
    .work = join_and_leave, .kills = 100, .victims = 2, .at_once = 1};

START_TEST(killed_while_opening_and_closing_sessions)
{
    kill_working(&joining);
}
END_TEST

/* Pages that are there, and pages that are not. */

static int pin_and_latch(struct worker *worker)
{
    unsigned group = draw(worker, 4);

    pass_mark(worker);
    return draw(worker, 2) == 0 ? read_group(worker, group) : copy_page(worker, group);
}

static const struct scenario hitting = {
    .work = pin_and_latch, .kills = 90, .victims = 2, .at_once = 1};

START_TEST(killed_while_pinning_and_latching)
{
    kill_working(&hitting);
}
END_TEST

/* The victims want the same pages at the same time, so that one reads and the other joins. */
static int miss_and_join(struct worker *worker)
{
    uint64_t at = atomic_fetch_add(&worker->load->cursor, 1) / 2;

    pass_mark(worker);
    return copy_page(worker, (unsigned)(at * 7 % LOAD_PAGES));
}

static const struct scenario missing = {
    .work = miss_and_join, .kills = 110, .victims = 2, .at_once = 1};

START_TEST(killed_while_missing_joining_and_evicting)
{
    kill_working(&missing);
}
END_TEST

static int read_ahead(struct worker *worker)
{
    struct load *of = worker->load;
    struct tarn_page_id ids[32];
    struct tarn_pin pins[16];
    unsigned first = draw(worker, LOAD_PAGES - 32);

    for (unsigned i = 0; i < 32; i++)
        ids[i] = load_id(of, first + i);
    pass_mark(worker);
    if (LOAD_CALL(worker, tarn_prefetch(worker->session, ids, 32)) < 0)
        return -1;
    if (draw(worker, 2) == 0)
        return copy_page(worker, first + draw(worker, 32));
    for (unsigned i = 0; i < 16; i++)
        ids[i] = load_id(of, (first + 64 + 5 * i) % LOAD_PAGES);
    if (LOAD_CALL(worker, tarn_pin_many(worker->session, ids, 16, TARN_HINT_ONCE, pins)) < 0)
        return -1;
    return LOAD_CALL(worker, tarn_unpin_many(worker->session, pins, 16));
}

static const struct scenario reading_ahead = {
    .work = read_ahead, .kills = 90, .victims = 2, .at_once = 1};

START_TEST(killed_while_reading_ahead_and_in_batches)
{
    kill_working(&reading_ahead);
}
END_TEST

/* Mini-transactions. */

static int change_groups(struct worker *worker)
{
    return write_group(worker, draw_group(worker), draw(worker, 3) != 0);
}

static const struct scenario changing = {
    .work = change_groups, .kills = 200, .victims = 2, .at_once = 1};

START_TEST(killed_inside_mini_transactions)
{
    kill_working(&changing);
}
END_TEST

/* The writer is stopped meanwhile: those who wait for what a dead process held have to reap it. */
START_TEST(killed_inside_mini_transactions_without_a_writer)
{
    static const struct scenario scenario = {
        .work = change_groups, .kills = 0, .victims = 1, .at_once = 1};

    /* Few pages: the survivors need neither frame nor flush, and run into whoever holds one. */
    load->group_count = 8;
    load->flushless = true;
    wait_for_steps(2);
    for (unsigned kills = 0; kills < 50; kills++) {
        start_victim(&victims[0], &scenario, kills);
        wait_until(victims[0].works || load->errors > 0);
        choose_moment(&victims[0]);
        stop_process(writer_pid);
        kill_process(victims[0].pid);
        wait_for_steps(100);
        continue_process(writer_pid);
        assert_survived(victims[0].pid);
    }
}
END_TEST

/* What the writer does for others. */

static int flush_groups(struct worker *worker)
{
    unsigned group = draw_group(worker);

    return write_group(worker, group, true) < 0 ? -1 : flush_group(worker, group);
}

static const struct scenario flushing = {
    .work = flush_groups, .kills = 50, .victims = 2, .at_once = 1};

START_TEST(killed_while_flushing)
{
    kill_working(&flushing);
}
END_TEST

static int grow_and_shrink(struct worker *worker)
{
    struct tarn_session *own = worker->session;
    struct tarn_writable_page writable;
    uint32_t other;
    unsigned count = 1 + draw(worker, OTHER_PAGES);
    bool temporary = draw(worker, 2) == 0;

    pass_mark(worker);
    int result = tarn_file_open(own, temporary ? "temporary" : "other",
                                temporary ? TARN_FILE_TEMPORARY : TARN_FILE_CREATE, &other);

    if (result == 0)
        result = tarn_file_extend(own, other, count);
    if (result == 0 && tarn_mtr_begin(own, 1) == 0) {
        result = tarn_mtr_new(own, tarn_page_id(other, draw(worker, count)), NEVER_MS, &writable);
        if (result == 0)
            memset(writable.data, 'x', PAGE_BYTES);
        tarn_mtr_commit(own, 0);
    }
    if (result == 0)
        result = temporary ? tarn_file_drop(own, other, 1, 100)
                           : tarn_file_truncate(own, other, draw(worker, count), 100);
    /* Others may shrink or drop it at the same time. */
    return result == -ENXIO || result == -ERANGE || result == -EBUSY
               ? 0
               : load_call(worker, result, "growing and shrinking");
}

static const struct scenario resizing = {
    .work = grow_and_shrink, .kills = 40, .victims = 2, .at_once = 1};

START_TEST(killed_while_files_grow_and_shrink)
{
    kill_working(&resizing);
}
END_TEST

/* The writer's role. */

START_TEST(killed_writers_and_standbys)
{
    struct tarn_session *own = open_patient_session(pool);

    for (unsigned kills = 0; kills < 60; kills++) {
        bool standby = kills % 3 == 2;
        pid_t dead = standby ? standby_pid : writer_pid;

        let_pass(10 * KILL_DELAY_NS);
        kill_process(dead);
        if (!standby) {
            writer_pid = standby_pid;
            wait_until(writer_process(pool) == writer_pid || load->errors > 0);
        }
        standby_pid = start_tarn_writer(load->name);
        if (kills % 5 == 0)
            assert_ok(own, tarn_flush_all(own));
        assert_survived(dead);
    }
    ck_assert_int_eq(tarn_session_close(own), 0);
}
END_TEST

/* Everything together. */

static int do_anything(struct worker *worker)
{
    switch (draw(worker, 8)) {
    case 0:
        return pin_and_latch(worker);
    case 1:
        return miss_and_join(worker);
    case 2:
        return read_ahead(worker);
    case 3:
        return draw(worker, 4) == 0 ? flush_groups(worker) : 0;
    case 4:
        return draw(worker, 4) == 0 ? grow_and_shrink(worker) : 0;
    default:
        return change_groups(worker);
    }
}

static void *work_on_thread(void *argument)
{
    struct worker *worker = argument;

    while (do_anything(worker) >= 0)
        continue;
    _exit(1);
}

/* A process of two sessions, used by two threads. */
static int do_anything_twice(struct worker *worker)
{
    struct worker other = *worker;
    pthread_t thread;

    if (tarn_session_open(worker->pool, NULL, &other.session) < 0)
        return -1;
    other.random++;
    if (pthread_create(&thread, NULL, work_on_thread, &other) != 0)
        return -1;
    work_on_thread(worker);
    return -1;
}

static const struct scenario storm = {
    .work = do_anything_twice, .kills = 60, .victims = 3, .at_once = 2};

START_TEST(killed_two_at_a_time_amid_everything)
{
    kill_working(&storm);
}
END_TEST

void test_suite(Suite *suite)
{
    TCase *tcase = test_case(suite, "kill", 100);

    tcase_add_checked_fixture(tcase, begin_load, end_load);
    tcase_add_test(tcase, killed_while_attaching);
    tcase_add_test(tcase, killed_while_opening_and_closing_sessions);
    tcase_add_test(tcase, killed_while_pinning_and_latching);
    tcase_add_test(tcase, killed_while_missing_joining_and_evicting);
    tcase_add_test(tcase, killed_while_reading_ahead_and_in_batches);
    tcase_add_test(tcase, killed_inside_mini_transactions);
    tcase_add_test(tcase, killed_inside_mini_transactions_without_a_writer);
    tcase_add_test(tcase, killed_while_flushing);
    tcase_add_test(tcase, killed_while_files_grow_and_shrink);
    tcase_add_test(tcase, killed_writers_and_standbys);
    tcase_add_test(tcase, killed_two_at_a_time_amid_everything);
}
