/* SPDX-License-Identifier: MIT */
/* What broke the systems before this one, each tried here.
 *
 * Elsewhere: segments from before a reboot, of another version, layout or byte order, truncated,
 * behind a link, of another owner or mode, and short reads (test_errors); a segment removed while
 * in use and built again (test_directory); a stopped process (test_stop); a newcomer killed at each
 * step of joining (kill/life); late writes of a dead writer (test_fence).
 */
#include <linux/sched.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/syscall.h>

#include "lib/check.h"
#include "tests/load.h"

enum { WORKERS = 3 };

/* Between the test and its processes. */
struct stage {
    char name[64];
    uint32_t file;
    int (*hold)(struct tarn_session *own);
    _Atomic bool ready, goes_on, ends;
    _Atomic unsigned count, inside, errors;
};

static struct stage *stage;
static pid_t writer_pid;

static void begin_traps(void)
{
    stage = share_memory(sizeof *stage);
    snprintf(stage->name, sizeof stage->name, "%s", test_pool_name());
    pool = init_pool(stage->name, test_path("pool"), FRAMES, 8);
    session = open_patient_session(pool);
    writer_pid = start_tarn_writer(stage->name);
    wait_until(writer_process(pool) == writer_pid);
    stage->file = file = make_file(session, "data", PAGES);
}

static void end_traps(void)
{
    /* Nobody wanted what the last of the dead held. */
    if (writer_pid == 0)
        tarn_reap_all(pool, NULL);
    ck_assert_int_eq(tarn_check_pool(pool, report_violation, NULL), 0);
    if (writer_pid != 0)
        end_tarn_writer(pool, writer_pid);
    ck_assert_int_eq(tarn_detach(pool), 0);
}

/* Whoever is dead then has to be reaped by those who want what it holds. */
static void end_writer(void)
{
    end_tarn_writer(pool, writer_pid);
    writer_pid = 0;
}

static void be_holder(void *argument)
{
    struct stage *on = argument;

    file = on->file;
    int result = on->hold(open_patient_session(attach_pool(on->name)));
    on->ready = true;
    while (result >= 0 && !on->goes_on)
        sleep_ms(1);
    _exit(result < 0);
}

/* A process with a session of its own that does this, and then nothing. */
static pid_t start_holder(int (*hold)(struct tarn_session *own))
{
    pid_t pid;

    stage->hold = hold;
    stage->ready = stage->goes_on = false;
    pid = start_process(be_holder, stage);
    wait_until(stage->ready);
    return pid;
}

static int hold_exclusive(struct tarn_session *own)
{
    struct tarn_writable_page writable;

    if (tarn_mtr_begin(own, 1) < 0 || tarn_mtr_write(own, page(1), NEVER_MS, &writable) < 0)
        return -1;
    memset(writable.data, 'x', PAGE_BYTES);
    return 0;
}

static int hold_pins(struct tarn_session *own)
{
    struct tarn_pin pin;

    for (unsigned i = 0; i < TARN_HOLDS_MAX; i++)
        if (tarn_pin(own, page(PAGES - 1), 0, &pin) < 0)
            return -1;
    return 0;
}

static bool reap_all_finds_nobody(struct tarn_pool *by)
{
    return tarn_reap_all(by, NULL) == 0;
}

static void end_at_once(void *argument)
{
    (void)argument;
}

static void live_on(void *argument)
{
    (void)argument;
    for (;;)
        pause();
}

/* Pages and frames. */

START_TEST(dirty_page_keeps_its_frame_until_it_is_written)
{
    enum { DIRTY = FRAMES / 4 };

    stop_process(writer_pid);
    for (unsigned i = 0; i < DIRTY; i++)
        fill_page(session, page(i), 'a' + (int)i);
    for (unsigned round = 0; round < 3; round++)
        for (unsigned i = DIRTY; i < PAGES; i++)
            ck_assert(page_has(session, page(i), 0));
    for (unsigned i = 0; i < DIRTY; i++) {
        ck_assert(disk_has(file_path("data"), i, 0));
        ck_assert(page_has(session, page(i), 'a' + (int)i));
    }
    continue_process(writer_pid);
    drive_out(page(0));
    ck_assert(page_has(session, page(0), 'a'));
}
END_TEST

static int hold_new(struct tarn_session *own)
{
    struct tarn_writable_page writable;

    if (tarn_mtr_begin(own, 1) < 0 || tarn_mtr_new(own, page(1), 0, &writable) < 0)
        return -1;
    memset(writable.data, 'x', PAGE_BYTES);
    return 0;
}

START_TEST(page_reserved_and_never_written_is_read_from_disk)
{
    pid_t pid;

    fill_page(session, page(1), 'a');
    drive_out(page(1));
    end_writer();
    pid = start_holder(hold_new);
    kill_process(pid);
    ck_assert(page_has(session, page(1), 'a'));
}
END_TEST

/* Processes that read and change pages of a pool that has hardly any frames: joined pages leave
 * before they are pinned, and are changed while somebody wants their frame. */
static void work_in_few_frames(void *argument)
{
    struct survivor *self = argument;
    struct worker worker;

    open_worker(&worker, self->load, self->number);
    for (unsigned step = 0; step < 3000 && self->load->errors == 0; step++) {
        unsigned at = (unsigned)(atomic_fetch_add(&self->load->cursor, 1) / WORKERS);

        if (copy_page(&worker, at * 7 % LOAD_PAGES) < 0 ||
            (step % 4 == 0 && write_group(&worker, at % LOAD_SINGLES, true) < 0))
            break;
    }
    _exit(self->load->errors != 0 || tarn_detach(worker.pool) != 0);
}

START_TEST(joined_or_changed_page_that_leaves_at_once_is_looked_for_again)
{
    struct load *load = share_memory(sizeof *load);
    struct survivor workers[WORKERS];
    pid_t pids[WORKERS];

    pool = make_load(load, TARN_FRAME_COUNT_MIN, 8, &writer_pid);
    for (unsigned i = 0; i < WORKERS; i++) {
        workers[i] = (struct survivor){load, i};
        pids[i] = start_process(work_in_few_frames, &workers[i]);
    }
    for (unsigned i = 0; i < WORKERS; i++) {
        int status;

        ck_assert_int_eq(waitpid(pids[i], &status, 0), pids[i]);
        assert_no_errors(load);
        ck_assert_int_eq(status, 0);
    }
    assert_file_holds_all(load, pool);
}
END_TEST

START_TEST(closing_drops_no_changed_page)
{
    struct tarn_pool *other = attach_pool(stage->name);
    struct tarn_session *own = open_patient_session(other);

    fill_page(own, page(1), 'a');
    ck_assert_int_eq(tarn_session_close(own), 0);
    ck_assert_int_eq(tarn_detach(other), 0);
    ck_assert(page_has(session, page(1), 'a'));
    assert_ok(session, tarn_flush_page(session, page(1)));
    ck_assert(disk_has(file_path("data"), 1, 'a'));
}
END_TEST

START_TEST(second_change_of_a_page_reaches_the_disk)
{
    struct tarn_pin pin;

    assert_ok(session, tarn_pin(session, page(1), TARN_HINT_NONE, &pin));
    for (int byte = 'a'; byte <= 'e'; byte++) {
        fill_page(session, page(1), byte);
        assert_ok(session, tarn_flush_page(session, page(1)));
        ck_assert(disk_has(file_path("data"), 1, byte));
    }
    assert_ok(session, tarn_unpin(session, pin));
    drive_out(page(1));
    ck_assert(page_has(session, page(1), 'e'));
}
END_TEST

START_TEST(unpin_below_zero_is_noticed)
{
    struct tarn_pin pin, again;

    assert_ok(session, tarn_pin(session, page(1), TARN_HINT_NONE, &pin));
    assert_ok(session, tarn_unpin(session, pin));
    assert_fails(session, -EINVAL, "", tarn_unpin(session, pin));
    assert_ok(session, tarn_pin(session, page(2), TARN_HINT_NONE, &again));
    assert_fails(session, -EINVAL, "", tarn_unpin(session, pin));
    assert_ok(session, tarn_unpin(session, again));
}
END_TEST

/* One who needs a frame while all are dirty waits for a write, and neither fails nor hangs. */
static void pin_another(void *argument)
{
    struct stage *on = argument;
    struct tarn_session_options options = {.size = sizeof options, .frame_wait_ms = NEVER_MS};
    struct tarn_session *own;
    struct tarn_pin pin;

    if (tarn_session_open(attach_pool(on->name), &options, &own) < 0)
        _exit(1);
    on->ready = true;
    _exit(tarn_pin(own, tarn_page_id(on->file, PAGES - 1), 0, &pin) < 0);
}

START_TEST(frame_that_a_write_will_free_is_waited_for)
{
    struct tarn_pin pins[TARN_HOLDS_MAX], pin;
    struct tarn_session_options options = {.size = sizeof options, .frame_wait_ms = 1};
    struct tarn_session *hasty;
    unsigned dirty = 0;
    pid_t pid;

    stop_process(writer_pid);
    ck_assert_int_eq(tarn_session_open(pool, &options, &hasty), 0);
    for (unsigned i = 0; i < TARN_HOLDS_MAX - 4; i++)
        assert_ok(session, tarn_pin(session, page(i), TARN_HINT_NONE, &pins[i]));
    for (;; dirty++) { /* until all the others are dirty */
        struct tarn_writable_page writable;

        if (tarn_mtr_begin(hasty, 1) < 0)
            break;
        if (tarn_mtr_write(hasty, page(TARN_HOLDS_MAX + dirty), 0, &writable) < 0) {
            tarn_mtr_abort(hasty);
            break;
        }
        memset(writable.data, 'd', PAGE_BYTES);
        ck_assert_int_eq(tarn_mtr_commit(hasty, 0), 1);
    }
    ck_assert_uint_gt(dirty, 0);
    for (unsigned i = PAGES - 16; tarn_pin(hasty, page(i), TARN_HINT_NONE, &pin) == 0; i++)
        ck_assert_uint_lt(i, PAGES - 2);
    pid = start_process(pin_another, stage);
    wait_until(stage->ready);
    sleep_ms(50);
    ck_assert_int_eq(waitpid(pid, NULL, WNOHANG), 0);
    continue_process(writer_pid);
    assert_ends_well(pid);
    for (unsigned i = 0; i < TARN_HOLDS_MAX - 4; i++)
        assert_ok(session, tarn_unpin(session, pins[i]));
}
END_TEST

START_TEST(page_latched_by_a_dead_process_is_had)
{
    struct tarn_writable_page writable;

    fill_page(session, page(1), 'a');
    end_writer();
    kill_process(start_holder(hold_exclusive));
    assert_ok(session, tarn_mtr_begin(session, 1));
    assert_ok(session, tarn_mtr_write(session, page(1), NEVER_MS, &writable));
    ck_assert(filled_with(writable.data, 'a'));
    assert_ok(session, tarn_mtr_commit(session, 0));
}
END_TEST

/* Two processes want a page that is on its way out, by one who has stopped or died there. */
START_TEST(page_on_its_way_out_is_taken_back)
{
    const struct tarn_view *view = &pool->view;
    struct tarn_pin pin;
    uint64_t word;

    for (unsigned round = 0; round < 2; round++) {
        pid_t pid = start_holder(hold_pins);
        unsigned slot = slot_of_process(pool, pid);

        assert_ok(session, tarn_pin(session, page(1), TARN_HINT_NONE, &pin));
        assert_ok(session, tarn_unpin(session, pin));
        stop_process(pid);
        /* What an eviction has done up to its scan of the holds. */
        tarn_half_store_relaxed(&tarn_view_slot(view, slot)->claim[TARN_CLAIMS_MAX - 1],
                                pin.frame + 1);
        word = tarn_load_acquire(&view->descriptors[pin.frame].frame_word);
        ck_assert(tarn_cas_full(&view->descriptors[pin.frame].frame_word, word,
                                frame_word_evicting(word, slot)));
        if (round == 0)
            fill_page(session, page(1), 'a');
        kill_process(pid);
        wait_until(slot_of_process(pool, pid) == 0);
        word = tarn_load_acquire(&view->descriptors[pin.frame].frame_word);
        ck_assert_uint_eq(frame_word_state(word), FRAME_VALID);
        ck_assert(page_has(session, page(1), 'a'));
        ck_assert_int_eq(tarn_check_pool(pool, report_violation, NULL), 0);
    }
}
END_TEST

/* Processes: who owns what the dead held. */

/* Takes page 1 exclusively, again and again; nobody else is inside. */
static void take_turns(void *argument)
{
    struct stage *on = argument;
    struct tarn_session *own = open_patient_session(attach_pool(on->name));
    struct tarn_locked_page locked;

    while (!on->ends) {
        if (tarn_mtr_begin(own, 1) < 0 ||
            tarn_mtr_lock(own, tarn_page_id(on->file, 1), NEVER_MS, &locked) < 0 ||
            atomic_fetch_add(&on->inside, 1) != 0)
            on->errors++;
        on->count++;
        atomic_fetch_sub(&on->inside, 1);
        if (tarn_mtr_abort(own) < 0)
            on->errors++;
    }
}

START_TEST(latch_of_the_dead_gets_one_owner)
{
    pid_t pids[2];

    end_writer();
    for (unsigned i = 0; i < 2; i++)
        pids[i] = start_process(take_turns, stage);
    for (unsigned i = 0; i < 30; i++) {
        pid_t pid = start_holder(hold_exclusive);
        unsigned before = stage->count;

        kill_process(pid);
        wait_until(stage->count > before + 10);
    }
    stage->ends = true;
    for (unsigned i = 0; i < 2; i++)
        assert_ends_well(pids[i]);
    ck_assert_uint_eq(stage->errors, 0);
}
END_TEST

START_TEST(pins_of_killed_processes_do_not_add_up)
{
    for (unsigned i = 0; i < 30; i++)
        kill_process(start_holder(hold_pins));
    assert_ok(session, tarn_file_truncate(session, file, PAGES - 1, NEVER_MS));
}
END_TEST

static int hold_frames(struct tarn_session *own)
{
    return tarn_mtr_begin(own, FRAMES / 4);
}

START_TEST(frames_of_killed_processes_come_back)
{
    struct tarn_pin pins[TARN_HOLDS_MAX];

    end_writer();
    for (unsigned i = 0; i < 20; i++)
        kill_process(start_holder(hold_frames));
    for (unsigned i = 0; i < TARN_HOLDS_MAX; i++)
        assert_ok(session, tarn_pin(session, page(i), TARN_HINT_NONE, &pins[i]));
    assert_ok(session, tarn_unpin_many(session, pins, TARN_HOLDS_MAX));
}
END_TEST

/* Processes: who is dead. */

START_TEST(zombie_that_nobody_waits_for_is_dead)
{
    pid_t pid;

    fill_page(session, page(1), 'a');
    end_writer();
    pid = start_holder(hold_exclusive);
    ck_assert_int_eq(kill(pid, SIGKILL), 0);
    ck_assert(page_has(session, page(1), 'a'));
    ck_assert_int_eq(kill(pid, 0), 0); /* it is still there, for who asks like that */
    ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
}
END_TEST

/* A process that gets a pid of our choice, and does nothing. */
static pid_t start_process_as(pid_t pid)
{
    struct clone_args arguments = {
        .exit_signal = SIGCHLD, .set_tid = (uint64_t)(uintptr_t)&pid, .set_tid_size = 1};
    pid_t result = (pid_t)syscall(SYS_clone3, &arguments, sizeof arguments);

    if (result == 0)
        for (;;)
            pause();
    return result;
}

START_TEST(pid_that_is_another_process_now_keeps_nobody_alive)
{
    pid_t pid;

    fill_page(session, page(1), 'a');
    end_writer();
    pid = start_holder(hold_exclusive);
    kill_process(pid);
    if (start_process_as(pid) != pid)
        test_skip("pids cannot be chosen: %s", strerror(errno));
    ck_assert_uint_ne(slot_of_process(pool, pid), 0);
    ck_assert(page_has(session, page(1), 'a'));
    ck_assert_uint_eq(slot_of_process(pool, pid), 0);
    kill_process(pid);
}
END_TEST

/* The early proof is about the process that joined: not about one with its pid. */
START_TEST(pid_of_a_dead_process_kills_nobody)
{
    pid_t pid = start_holder(hold_pins), zombie;
    struct tarn_slot *slot = tarn_view_slot(&pool->view, slot_of_process(pool, pid));
    siginfo_t info;

    sleep_ms(50); /* two processes of one pid never start in the same clock tick */
    zombie = start_process(end_at_once, NULL);

    ck_assert_int_eq(waitid(P_PID, (id_t)zombie, &info, WEXITED | WNOWAIT), 0);
    end_writer();
    tarn_store_relaxed(&slot->pid, (uint64_t)zombie);
    ck_assert(reap_all_finds_nobody(pool));
    tarn_store_relaxed(&slot->pid_namespace, 1);
    ck_assert(reap_all_finds_nobody(pool));
    ck_assert_int_eq(waitpid(zombie, NULL, 0), zombie);
    kill_process(pid);
    ck_assert_int_eq(tarn_reap_all(pool, NULL), 1);
}
END_TEST

static void hold_in_another_namespace(void *argument)
{
    if (unshare(CLONE_NEWPID) != 0)
        _exit(77);
    pid_t pid = start_process(be_holder, argument);
    int status;
    waitpid(pid, &status, 0);
    _exit(status != 0);
}

START_TEST(process_of_another_pid_namespace_lives_until_it_dies)
{
    pid_t pid;
    int status;

    fill_page(session, page(1), 'a');
    stage->hold = hold_exclusive;
    pid = start_process(hold_in_another_namespace, stage);
    wait_until(stage->ready || waitpid(pid, &status, WNOHANG) == pid);
    if (!stage->ready)
        test_skip("no new pid namespace: status %#x", (unsigned)status);
    ck_assert(reap_all_finds_nobody(pool));
    ck_assert_int_eq(tarn_check_pool(pool, report_violation, NULL), 0);
    /* The holder goes with the one who started it. */
    kill_process(pid);
    ck_assert(page_has(session, page(1), 'a'));
}
END_TEST

/* Processes: fork, exec, and a pool attached twice. */

static void use_and_detach(void *argument)
{
    struct tarn_pin pin;

    (void)argument;
    if (tarn_pin(session, page(1), 0, &pin) != -ECHILD || tarn_detach(pool) != 0)
        _exit(1);
}

/* Another process finds nobody dead. */
static void reap_as_another(void *argument)
{
    struct stage *on = argument;

    _exit(tarn_reap_all(attach_pool(on->name), NULL) != 0);
}

START_TEST(forked_child_drops_none_of_its_parents_locks)
{
    struct tarn_writable_page writable;

    assert_ok(session, tarn_mtr_begin(session, 1));
    assert_ok(session, tarn_mtr_write(session, page(1), 0, &writable));
    memset(writable.data, 'a', PAGE_BYTES);
    assert_ends_well(start_process(use_and_detach, NULL));
    kill_process(start_process(live_on, NULL));
    assert_ends_well(start_process(reap_as_another, stage));
    ck_assert_int_eq(tarn_mtr_commit(session, 0), 1);
    ck_assert(page_has(session, page(1), 'a'));
}
END_TEST

static int hold_and_exec(struct tarn_session *own)
{
    if (hold_exclusive(own) < 0)
        return -1;
    execl("/bin/sleep", "sleep", "1000", (char *)NULL);
    return -1;
}

START_TEST(exec_while_attached_is_a_death)
{
    pid_t pid;

    fill_page(session, page(1), 'a');
    end_writer();
    stage->hold = hold_and_exec;
    pid = start_process(be_holder, stage);
    wait_until(slot_of_process(pool, pid) != 0);
    wait_until(!tarn_byte_locked(pool->ask_fd, TARN_LOCK_LIFE + slot_of_process(pool, pid)));
    ck_assert(page_has(session, page(1), 'a'));
    kill_process(pid);
}
END_TEST

START_TEST(pool_attached_twice_in_one_process)
{
    struct tarn_pool *other = attach_pool(stage->name), *third = attach_pool(stage->name);
    struct tarn_session *own = open_patient_session(other);
    struct tarn_writable_page writable;

    assert_ok(session, tarn_mtr_begin(session, 1));
    assert_ok(session, tarn_mtr_write(session, page(1), 0, &writable));
    memset(writable.data, 'a', PAGE_BYTES);
    /* Neither its own sessions nor those of the other handles are dead to a handle, and closing
     * one handle drops no lock of another. */
    ck_assert(reap_all_finds_nobody(pool));
    ck_assert(reap_all_finds_nobody(other));
    ck_assert_int_eq(tarn_detach(third), 0);
    ck_assert(reap_all_finds_nobody(other));
    assert_ends_well(start_process(reap_as_another, stage));
    fill_page(own, page(2), 'b');
    ck_assert_int_eq(tarn_detach(other), 0);
    assert_ends_well(start_process(reap_as_another, stage));
    ck_assert_int_eq(tarn_mtr_commit(session, 0), 1);
    ck_assert(page_has(session, page(1), 'a'));
    ck_assert(page_has(session, page(2), 'b'));
}
END_TEST

static void *leave_session_open(void *argument)
{
    struct work *work = argument;

    work->session = open_patient_session(pool);
    work->result = hold_exclusive(work->session);
    return NULL;
}

START_TEST(thread_that_ends_keeps_its_session)
{
    struct work work;

    start_work(&work, leave_session_open, NULL, page(1), 0);
    ck_assert_int_eq(end_work(&work), 0);
    assert_ends_well(start_process(reap_as_another, stage));
    ck_assert_int_eq(tarn_mtr_commit(work.session, 0), 1);
    ck_assert(page_has(session, page(1), 'x'));
}
END_TEST

static void *wait_for_latch(void *argument)
{
    struct work *work = argument;
    struct tarn_locked_page locked;

    if (tarn_mtr_begin(work->session, 1) < 0)
        return NULL;
    stage->ready = true;
    work->result = tarn_mtr_lock(work->session, work->id, NEVER_MS, &locked);
    pthread_testcancel();
    return NULL;
}

START_TEST(thread_cancelled_in_a_wait_leaves_nothing_behind)
{
    struct tarn_session *other = open_patient_session(pool);
    struct tarn_locked_page locked;
    struct work work;
    void *result;

    assert_ok(session, tarn_mtr_begin(session, 1));
    assert_ok(session, tarn_mtr_lock(session, page(1), 0, &locked));
    start_work(&work, wait_for_latch, other, page(1), 0);
    wait_until(stage->ready && tarn_load_acquire(&other->shared->wait) != 0);
    ck_assert_int_eq(pthread_cancel(work.thread), 0);
    sleep_ms(20);
    assert_ok(session, tarn_mtr_commit(session, 0));
    ck_assert_int_eq(pthread_join(work.thread, &result), 0);
    ck_assert_ptr_eq(result, PTHREAD_CANCELED);
    ck_assert_int_eq(work.result, 0); /* the wait went on to its end */
    assert_ok(other, tarn_mtr_abort(other));
    assert_ok(session, tarn_mtr_begin(session, 1));
    assert_ok(session, tarn_mtr_lock(session, page(1), 0, &locked));
    assert_ok(session, tarn_mtr_abort(session));
    ck_assert_int_eq(tarn_session_close(other), 0);
}
END_TEST

/* Processes: reaping. */

enum { WIDE = FRAMES / 4 };

static int hold_wide(struct tarn_session *own)
{
    struct tarn_writable_page writable;
    int result = tarn_mtr_begin(own, WIDE);

    for (unsigned i = 0; result == 0 && i < WIDE; i++) {
        result = tarn_mtr_write(own, page(i), 0, &writable);
        if (result == 0)
            memset(writable.data, 'x', PAGE_BYTES);
    }
    return result;
}

static void reap_when_told(void *argument)
{
    struct stage *on = argument;
    struct tarn_pool *mine = attach_pool(on->name);

    atomic_fetch_add(&on->count, 1);
    while (!on->goes_on)
        continue;
    tarn_reap_all(mine, NULL);
    on->inside++;
    for (;;)
        pause();
}

static void assert_undone(void)
{
    for (unsigned i = 0; i < WIDE; i++)
        ck_assert(page_has(session, page(i), 'a'));
    /* A reaper killed after the last latch leaves nothing that anybody waits for: without a writer
     * the rest is taken back when somebody looks. */
    tarn_reap_all(pool, session);
    ck_assert_int_eq(tarn_check_pool(pool, report_violation, NULL), 0);
}

START_TEST(reaper_killed_while_reaping)
{
    uint64_t random = test_seed();

    for (unsigned i = 0; i < WIDE; i++)
        fill_page(session, page(i), 'a');
    end_writer();
    for (unsigned round = 0; round < 50; round++) {
        pid_t dead = start_holder(hold_wide), reaper;

        stage->count = 0;
        reaper = start_process(reap_when_told, stage);
        wait_until(stage->count == 1);
        kill_process(dead);
        uint64_t until_ns = tarn_now_ns() + test_random(&random) % 300000;
        stage->goes_on = true;
        while (tarn_now_ns() < until_ns)
            continue;
        kill_process(reaper);
        assert_undone();
    }
}
END_TEST

START_TEST(two_reapers_and_a_newcomer_at_once)
{
    struct tarn_session *others[6];

    for (unsigned i = 0; i < WIDE; i++)
        fill_page(session, page(i), 'a');
    end_writer();
    for (unsigned i = 0; i < 6; i++) /* one slot is left */
        others[i] = open_patient_session(pool);
    for (unsigned round = 0; round < 50; round++) {
        struct tarn_session *newcomer;
        pid_t dead = start_holder(hold_wide), reapers[2];

        stage->count = stage->inside = 0;
        for (unsigned i = 0; i < 2; i++)
            reapers[i] = start_process(reap_when_told, stage);
        wait_until(stage->count == 2);
        kill_process(dead);
        stage->goes_on = true;
        newcomer = open_patient_session(pool);
        fill_page(newcomer, page(WIDE), 'n');
        wait_until(stage->inside == 2);
        fill_page(newcomer, page(WIDE), 'm');
        ck_assert_int_eq(tarn_session_close(newcomer), 0);
        assert_undone();
        for (unsigned i = 0; i < 2; i++)
            kill_process(reapers[i]);
    }
    for (unsigned i = 0; i < 6; i++)
        ck_assert_int_eq(tarn_session_close(others[i]), 0);
}
END_TEST

/* Processes: the segment. */

static const char *segment_path(void)
{
    static char path[1024];

    snprintf(path, sizeof path, "/dev/shm/tarn.%s", test_pool_name());
    return path;
}

START_TEST(segment_unlinked_while_in_use)
{
    struct tarn_message message = {""};
    struct tarn_pool *none;

    ck_assert_int_eq(unlink(segment_path()), 0);
    fill_page(session, page(1), 'a');
    assert_ok(session, tarn_flush_all(session));
    ck_assert(disk_has(file_path("data"), 1, 'a'));
    ck_assert_int_eq(tarn_session_close(open_patient_session(pool)), 0);
    assert_fails_with(message, -ENOENT, "", tarn_attach(stage->name, NULL, &none, &message));
}
END_TEST

START_TEST(segment_replaced_while_in_use)
{
    struct tarn_pool *other;
    struct tarn_session *own;

    ck_assert_int_eq(unlink(segment_path()), 0);
    other = init_pool(stage->name, test_path("other"), FRAMES, 8);
    own = open_patient_session(other);
    fill_page(session, page(1), 'a');
    ck_assert_int_eq(tarn_flush_all(session), 0);
    ck_assert(disk_has(file_path("data"), 1, 'a'));
    assert_fails(own, -ENXIO, "", tarn_flush_file(own, file));
    ck_assert(reap_all_finds_nobody(other));
    ck_assert_int_eq(tarn_detach(other), 0);
}
END_TEST

static void init_at_once(void *argument)
{
    struct stage *on = argument;
    char directory[600];
    struct tarn_init_options options = {
        .size = sizeof options, .directory = directory, .frame_bytes = 1 << 20};

    snprintf(directory, sizeof directory, "%s-%d", on->name, (int)getpid());
    on->count++;
    while (!on->goes_on)
        continue;
    int result = tarn_init(on->name, &options, NULL);
    if (result == 0)
        on->inside++;
    else if (result != -EEXIST)
        on->errors++;
}

START_TEST(two_inits_at_once)
{
    stage = share_memory(sizeof *stage);
    ck_assert_int_eq(chdir(test_dir()), 0);
    for (unsigned round = 0; round < 20; round++) {
        pid_t pids[WORKERS];

        *stage = (struct stage){.goes_on = false};
        snprintf(stage->name, sizeof stage->name, "%s-%u", test_pool_name(), round);
        for (unsigned i = 0; i < WORKERS; i++)
            pids[i] = start_process(init_at_once, stage);
        wait_until(stage->count == WORKERS);
        stage->goes_on = true;
        for (unsigned i = 0; i < WORKERS; i++)
            assert_ends_well(pids[i]);
        ck_assert_uint_eq(stage->errors, 0);
        ck_assert_uint_eq(stage->inside, 1);
        ck_assert_int_eq(tarn_detach(attach_pool(stage->name)), 0);
        ck_assert_int_eq(tarn_destroy(stage->name, NULL, TARN_DESTROY_DATA, NULL), 0);
    }
}
END_TEST

/* Attaches and leaves until the pool is gone; every result is one that the header names. */
static void join_until_destroyed(void *argument)
{
    struct stage *on = argument;
    struct tarn_pool *mine;
    struct tarn_session *own;
    struct tarn_pin pin;

    for (;;) {
        int result = tarn_attach(on->name, NULL, &mine, NULL);

        atomic_fetch_add(&on->count, 1);
        if (result == -ENOENT)
            return;
        if (result == 0) {
            result = tarn_session_open(mine, NULL, &own);
            if (result == 0)
                result = tarn_pin(own, tarn_page_id(on->file, 0), 0, &pin);
            tarn_detach(mine);
        }
        /* Busy, or what belongs to it is already gone. */
        if (result != 0 && result != -ESHUTDOWN && result != -EBUSY && result != -ENOTDIR &&
            result != -EREMCHG && result != -EUSERS) {
            on->errors++;
            fprintf(stderr, "# a newcomer got %d\n", result);
            return;
        }
    }
}

START_TEST(destroyed_while_others_join)
{
    pid_t pids[WORKERS];

    for (unsigned i = 0; i < WORKERS; i++)
        pids[i] = start_process(join_until_destroyed, stage);
    wait_until(stage->count > 10);
    fill_page(session, page(1), 'a');
    ck_assert_int_eq(tarn_destroy(stage->name, NULL, TARN_DESTROY_FORCE, NULL), 0);
    for (unsigned i = 0; i < WORKERS; i++)
        assert_ends_well(pids[i]);
    ck_assert_uint_eq(stage->errors, 0);
    assert_ends_well(writer_pid);
    writer_pid = 0;
    ck_assert(disk_has(file_path("data"), 1, 'a'));
}
END_TEST

START_TEST(link_planted_under_the_pools_names)
{
    struct tarn_message message = {""};
    char wake[1100];
    struct stat status;
    int fd = open(test_path("victim"), O_CREAT | O_RDWR, 0400);

    ck_assert_int_ge(fd, 0);
    close(fd);
    struct tarn_init_options options = {
        .size = sizeof options, .directory = test_path("pool"), .frame_bytes = FRAMES * PAGE_BYTES};
    ck_assert_int_eq(symlink(test_path("victim"), segment_path()), 0);
    assert_fails_with(message, -EEXIST, "", tarn_init(test_pool_name(), &options, &message));
    ck_assert_int_eq(unlink(segment_path()), 0);
    tarn_wake_path(segment_path(), wake);
    ck_assert_int_eq(symlink(test_path("victim"), wake), 0);
    begin_traps();
    fill_page(session, page(1), 'a');
    assert_ok(session, tarn_flush_all(session));
    end_traps();
    ck_assert_int_eq(stat(test_path("victim"), &status), 0);
    ck_assert_int_eq(status.st_mode & 0777, 0400);
    ck_assert_int_eq(status.st_size, 0);
}
END_TEST

START_TEST(shared_memory_file_system_is_full)
{
    const char *shm = test_path("shm");
    struct tarn_message message = {""};
    struct tarn_init_options options = {.size = sizeof options,
                                        .directory = test_path("pool"),
                                        .shm_directory = shm,
                                        .frame_bytes = 4 << 20};
    struct tarn_attach_options attach = {sizeof attach, shm};
    int result;

    ck_assert_int_eq(mkdir(shm, 0700), 0);
    if (unshare(CLONE_NEWNS) != 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
        mount("tarn", shm, "tmpfs", 0, "size=3m") != 0)
        test_skip("no tmpfs of our own: %s", strerror(errno));
    result = tarn_init(test_pool_name(), &options, &message);
    ck_assert_msg(result == -ENOSPC, "%d: %s", result, message.text);
    ck_assert_int_eq(rmdir(shm), -1);
    ck_assert(!exists(test_path("pool")));
    options.frame_bytes = 1 << 20; /* the room is not lost */
    ck_assert_int_eq(tarn_init(test_pool_name(), &options, &message), 0);
    ck_assert_int_eq(tarn_attach(test_pool_name(), &attach, &pool, &message), 0);
    ck_assert_int_eq(tarn_detach(pool), 0);
    ck_assert_int_eq(tarn_destroy(test_pool_name(), shm, TARN_DESTROY_DATA, &message), 0);
    ck_assert_int_eq(umount(shm), 0);
}
END_TEST

static void add_pages(Suite *suite)
{
    TCase *tcase = test_case(suite, "pages", 40);

    tcase_add_checked_fixture(tcase, begin_traps, end_traps);
    tcase_add_test(tcase, dirty_page_keeps_its_frame_until_it_is_written);
    tcase_add_test(tcase, page_reserved_and_never_written_is_read_from_disk);
    tcase_add_test(tcase, closing_drops_no_changed_page);
    tcase_add_test(tcase, second_change_of_a_page_reaches_the_disk);
    tcase_add_test(tcase, unpin_below_zero_is_noticed);
    tcase_add_test(tcase, frame_that_a_write_will_free_is_waited_for);
    tcase_add_test(tcase, page_latched_by_a_dead_process_is_had);
    tcase_add_test(tcase, page_on_its_way_out_is_taken_back);
    tcase_add_test(tcase, latch_of_the_dead_gets_one_owner);
    tcase_add_test(tcase, pins_of_killed_processes_do_not_add_up);
    tcase_add_test(tcase, frames_of_killed_processes_come_back);
}

static void add_processes(Suite *suite)
{
    TCase *tcase = test_case(suite, "processes", 40);

    tcase_add_checked_fixture(tcase, begin_traps, end_traps);
    tcase_add_test(tcase, zombie_that_nobody_waits_for_is_dead);
    tcase_add_test(tcase, pid_that_is_another_process_now_keeps_nobody_alive);
    tcase_add_test(tcase, pid_of_a_dead_process_kills_nobody);
    tcase_add_test(tcase, process_of_another_pid_namespace_lives_until_it_dies);
    tcase_add_test(tcase, forked_child_drops_none_of_its_parents_locks);
    tcase_add_test(tcase, exec_while_attached_is_a_death);
    tcase_add_test(tcase, pool_attached_twice_in_one_process);
    tcase_add_test(tcase, thread_that_ends_keeps_its_session);
    tcase_add_test(tcase, thread_cancelled_in_a_wait_leaves_nothing_behind);
    tcase_add_test(tcase, reaper_killed_while_reaping);
    tcase_add_test(tcase, two_reapers_and_a_newcomer_at_once);
    tcase_add_test(tcase, segment_unlinked_while_in_use);
    tcase_add_test(tcase, segment_replaced_while_in_use);
    tcase_add_test(tcase, destroyed_while_others_join);
}

void test_suite(Suite *suite)
{
    TCase *tcase = test_case(suite, "pool", 40);

    add_pages(suite);
    add_processes(suite);
    tcase_add_checked_fixture(tcase, NULL, end_traps);
    tcase_add_test(tcase, joined_or_changed_page_that_leaves_at_once_is_looked_for_again);
    tcase = test_case(suite, "names", 40);
    tcase_add_test(tcase, two_inits_at_once);
    tcase_add_test(tcase, link_planted_under_the_pools_names);
    tcase_add_test(tcase, shared_memory_file_system_is_full);
}
