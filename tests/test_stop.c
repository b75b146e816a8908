/* SPDX-License-Identifier: MIT */
/* A process that is stopped by SIGSTOP delays those who want what it holds, and nobody else. It is
 * not taken for dead, `tarn dump waits` names it, and when it goes on, everything does.
 */
#include "lib/check.h"
#include "shm/table.h"
#include "tests/load.h"

enum {
    FRAME_COUNT = 128,
    SHORT_MS = 30,        /* what waits for the stopped process is given up after */
    HELD = LOAD_PAGES - 1 /* the page that it holds */
};

/* What is done by the process that is to be stopped, and how far it has got. */
struct stopped {
    struct load *load;
    void (*hold)(struct worker *worker);
    void (*let_go)(struct worker *worker);
    _Atomic bool holds, lets_go;
    _Atomic uint64_t steps;
    pid_t pid;
};

static struct load *load;
static struct stopped *stopped;
static pid_t writer_pid;
static struct tarn_session *hasty; /* waits a short time */
static uint64_t reaps;

static void begin_stop(void)
{
    struct tarn_session_options options = {
        .size = sizeof options, .wait_ms = SHORT_MS, .frame_wait_ms = NEVER_MS};

    load = share_memory(sizeof *load);
    stopped = share_memory(sizeof *stopped);
    stopped->load = load;
    pool = make_load(load, FRAME_COUNT, 8, &writer_pid);
    session = open_patient_session(pool);
    ck_assert_int_eq(tarn_session_open(pool, &options, &hasty), 0);
}

static void end_stop(void)
{
    assert_no_errors(load);
    ck_assert_int_eq(tarn_check_pool(pool, report_violation, NULL), 0);
    end_tarn_writer(pool, writer_pid);
    ck_assert_int_eq(tarn_detach(pool), 0);
}

/* The process that is stopped. */

static void hold_and_let_go(void *argument)
{
    struct stopped *self = argument;
    struct worker worker;

    open_worker(&worker, self->load, 1);
    self->hold(&worker);
    self->holds = true;
    while (!self->lets_go)
        sleep_ms(1);
    if (self->let_go != NULL)
        self->let_go(&worker);
    _exit(self->load->errors != 0 || tarn_detach(worker.pool) != 0);
}

/* Started, holds, is stopped. */
static void stop_while(void (*hold)(struct worker *), void (*let_go)(struct worker *))
{
    stopped->hold = hold;
    stopped->let_go = let_go;
    stopped->pid = start_process(hold_and_let_go, stopped);
    wait_until(stopped->holds || load->errors > 0);
    assert_no_errors(load);
    stop_process(stopped->pid);
    reaps = tarn_load_relaxed(&pool->view.control->reaps);
}

static void assert_goes_on(void)
{
    stopped->lets_go = true;
    continue_process(stopped->pid);
    assert_ends_well(stopped->pid);
}

static void assert_not_reaped(void)
{
    ck_assert_uint_eq(tarn_load_relaxed(&pool->view.control->reaps), reaps);
    ck_assert_uint_ne(slot_of_process(pool, stopped->pid), 0);
    ck_assert_int_eq(tarn_check_pool(pool, report_violation, NULL), 0);
}

/* The others. */

/* Everything that does not need page HELD: hits, misses, evictions, changes, flushes, joining. */
static void assert_others_work(void)
{
    struct worker worker = {.load = load, .pool = pool, .session = session, .random = 1};
    struct tarn_session *other = open_patient_session(pool);

    for (unsigned group = 0; group < LOAD_GROUPS - 1; group++) {
        assert_works(load, read_group(&worker, group));
        assert_works(load, write_group(&worker, group, true));
    }
    for (unsigned page = 0; page < HELD; page++)
        assert_works(load, copy_page(&worker, page));
    assert_ok(session, tarn_flush_page(session, load_id(load, 1)));
    assert_ok(session, tarn_flush_all(session));
    ck_assert_int_eq(tarn_session_close(other), 0);
    assert_no_errors(load);
}

/* Somebody who waits for page HELD, without a limit. */
struct waiter {
    struct work work;
    int (*want)(struct tarn_session *own, int32_t wait_ms);
};

static void *wait_for_held(void *argument)
{
    struct waiter *waiter = argument;

    waiter->work.result = waiter->want(waiter->work.session, -1);
    return NULL;
}

static void start_waiter(struct waiter *waiter, int (*want)(struct tarn_session *, int32_t))
{
    struct tarn_session_options endless = {.size = sizeof endless, .wait_ms = -1};

    waiter->want = want;
    ck_assert_int_eq(tarn_session_open(pool, &endless, &waiter->work.session), 0);
    ck_assert_int_eq(pthread_create(&waiter->work.thread, NULL, wait_for_held, waiter), 0);
}

/* The row of `tarn dump waits` names the stopped process among those who are waited for. */
static void assert_dump_names_it(void)
{
    char line[1024], words[128], text[8192] = "";
    FILE *out;

    snprintf(line, sizeof line, "'%s' dump '%s' --json waits", getenv("TARN"), load->name);
    snprintf(words, sizeof words, "\"pid\": %d, \"process\": \"stopped\"", (int)stopped->pid);
    for (int64_t begun = now_ms(); strstr(text, words) == NULL;) {
        ck_assert_msg(now_ms() - begun < NEVER_MS, "no '%s' in: %s", words, text);
        out = popen(line, "r");
        ck_assert_ptr_nonnull(out);
        text[fread(text, 1, sizeof text - 1, out)] = 0;
        ck_assert_int_eq(pclose(out), 0);
    }
}

/* All that is promised while the process is stopped, and when it goes on. */
static void assert_delays_only(int (*want)(struct tarn_session *own, int32_t wait_ms))
{
    struct waiter waiter;

    assert_others_work();
    assert_fails(hasty, -ETIMEDOUT, "", want(hasty, SHORT_MS));
    start_waiter(&waiter, want);
    assert_dump_names_it();
    assert_others_work();
    assert_not_reaped();
    assert_goes_on();
    assert_ok(waiter.work.session, end_work(&waiter.work));
    assert_ok(hasty, want(hasty, NEVER_MS));
}

/* Wants. */

static int want_exclusive(struct tarn_session *own, int32_t wait_ms)
{
    struct tarn_locked_page page;
    int result = tarn_mtr_begin(own, 1);

    if (result == 0)
        result = tarn_mtr_lock(own, load_id(load, HELD), wait_ms, &page);
    tarn_mtr_abort(own);
    return result;
}

static int want_shared(struct tarn_session *own, int32_t wait_ms)
{
    struct tarn_pin pin;
    int result = tarn_pin(own, load_id(load, HELD), 0, &pin);

    if (result < 0)
        return result;
    result = tarn_latch_shared(own, pin, wait_ms);
    if (result == 0)
        tarn_unlatch_shared(own, pin);
    tarn_unpin(own, pin);
    return result;
}

static int want_copy(struct tarn_session *own, int32_t wait_ms)
{
    char byte;

    (void)wait_ms; /* the session's */
    return tarn_page_copy(own, load_id(load, HELD), 0, 1, &byte);
}

static int want_optimistic(struct tarn_session *own, int32_t wait_ms)
{
    struct tarn_optimistic optimistic;

    (void)wait_ms;
    return tarn_optimistic_begin(own, load_id(load, HELD), &optimistic);
}

/* Holds. */

static struct tarn_pin held_pin;

static void hold_pin(struct worker *worker)
{
    LOAD_CALL(worker, tarn_pin(worker->session, load_id(worker->load, HELD), 0, &held_pin));
}

START_TEST(stopped_with_a_pin)
{
    struct tarn_session *own = hasty;

    stop_while(hold_pin, NULL);
    assert_others_work();
    assert_ok(own, want_shared(own, SHORT_MS));
    assert_ok(own, want_exclusive(own, SHORT_MS));
    assert_fails(own, -EBUSY, "", tarn_file_truncate(own, load->file, HELD, SHORT_MS));
    assert_not_reaped();
    assert_goes_on();
    assert_ok(own, tarn_file_truncate(own, load->file, HELD, SHORT_MS));
}
END_TEST

static void hold_shared(struct worker *worker)
{
    hold_pin(worker);
    LOAD_CALL(worker, tarn_latch_shared(worker->session, held_pin, 0));
}

START_TEST(stopped_with_a_shared_latch)
{
    stop_while(hold_shared, NULL);
    assert_ok(hasty, want_shared(hasty, 0));
    assert_ok(hasty, want_copy(hasty, 0));
    assert_ok(hasty, want_optimistic(hasty, 0));
    assert_delays_only(want_exclusive);
}
END_TEST

static void hold_exclusive(struct worker *worker)
{
    struct tarn_writable_page page;

    LOAD_CALL(worker, tarn_mtr_begin(worker->session, 1));
    LOAD_CALL(worker,
              tarn_mtr_write(worker->session, load_id(worker->load, HELD), NEVER_MS, &page));
    memset(page.data, 'x', PAGE_BYTES / 2);
}

static void abort_change(struct worker *worker)
{
    LOAD_CALL(worker, tarn_mtr_abort(worker->session));
}

START_TEST(stopped_in_the_middle_of_a_change)
{
    stop_while(hold_exclusive, abort_change);
    assert_fails(hasty, -ETIMEDOUT, "", want_shared(hasty, SHORT_MS));
    assert_fails(hasty, -ETIMEDOUT, "", want_copy(hasty, 0));
    assert_fails(hasty, -ETIMEDOUT, "", want_optimistic(hasty, 0));
    assert_fails(hasty, -ETIMEDOUT, "", want_exclusive(hasty, SHORT_MS));
    /* A flush takes the page as it was before: nobody waits. */
    assert_ok(session, tarn_flush_page(session, load_id(load, HELD)));
    assert_delays_only(want_shared);
}
END_TEST

static void hold_new(struct worker *worker)
{
    struct tarn_writable_page page;

    /* Only a page that is not cached is claimed for it. */
    for (unsigned i = 0; i < 2 * FRAME_COUNT; i++)
        copy_page(worker, i);
    LOAD_CALL(worker, tarn_mtr_begin(worker->session, 1));
    LOAD_CALL(worker, tarn_mtr_new(worker->session, load_id(worker->load, HELD), NEVER_MS, &page));
}

START_TEST(stopped_with_a_new_page)
{
    stop_while(hold_new, abort_change);
    assert_fails(hasty, -ETIMEDOUT, "", want_exclusive(hasty, SHORT_MS));
    assert_delays_only(want_copy);
}
END_TEST

static void hold_nothing(struct worker *worker)
{
    LOAD_CALL(worker, read_group(worker, 0));
}

START_TEST(stopped_while_sleeping)
{
    stop_while(hold_nothing, NULL);
    assert_others_work();
    assert_ok(hasty, want_exclusive(hasty, SHORT_MS));
    assert_not_reaped();
    assert_goes_on();
}
END_TEST

/* Reads ahead stay in flight until the session calls again: whoever wants the pages takes them. */
static void hold_prefetches(struct worker *worker)
{
    struct tarn_page_id ids[LOAD_GROUP_PAGES_MAX];

    for (unsigned i = 0; i < 2 * FRAME_COUNT; i++)
        copy_page(worker, i);
    for (unsigned i = 0; i < LOAD_GROUP_PAGES_MAX; i++)
        ids[i] = load_id(worker->load, HELD - i);
    LOAD_CALL(worker, tarn_prefetch(worker->session, ids, LOAD_GROUP_PAGES_MAX));
}

START_TEST(stopped_with_reads_ahead_in_flight)
{
    struct worker worker = {.load = load, .pool = pool, .session = hasty, .random = 1};

    stop_while(hold_prefetches, hold_prefetches);
    assert_works(load, write_group(&worker, LOAD_GROUPS - 1, true));
    for (unsigned i = 0; i < LOAD_GROUP_PAGES_MAX; i++)
        assert_works(load, copy_page(&worker, HELD - i));
    assert_no_errors(load);
    assert_others_work();
    assert_not_reaped();
    assert_goes_on();
    assert_works(load, read_group(&worker, LOAD_GROUPS - 1));
}
END_TEST

/* The process is caught while it reads a page. */

static void miss_all_the_time(void *argument)
{
    struct stopped *self = argument;
    struct worker worker;

    open_worker(&worker, self->load, 1);
    while (!self->lets_go && copy_page(&worker, draw(&worker, LOAD_PAGES)) == 0)
        self->steps++;
    _exit(self->load->errors != 0 || tarn_detach(worker.pool) != 0);
}

/* The page that stands in the table and is being read by the process, or 0. */
static uint64_t page_being_read(pid_t pid)
{
    unsigned slot = slot_of_process(pool, pid);
    const struct tarn_slot *shared = tarn_view_slot(&pool->view, slot);

    for (unsigned i = 0; slot != 0 && i < TARN_CLAIMS_MAX; i++) {
        uint32_t frame = tarn_half_load_relaxed(&shared->claim[i]) - 1;
        uint64_t word, page_id;

        if (frame >= FRAME_COUNT)
            continue;
        page_id = tarn_load_relaxed(&pool->view.descriptors[frame].page_id);
        if (tarn_table_find(&pool->view, page_id, &word) == frame &&
            frame_word_is(word, FRAME_CLAIMED, slot))
            return page_id;
    }
    return 0;
}

START_TEST(stopped_while_reading_a_page)
{
    struct tarn_page_id id = {0};
    struct tarn_pin pin;
    unsigned caught = 0;

    stopped->pid = start_process(miss_all_the_time, stopped);
    for (int64_t begun = now_ms(); caught < 3;) {
        uint64_t steps = stopped->steps;

        ck_assert_msg(now_ms() - begun < NEVER_MS, "never caught while reading");
        wait_until(stopped->steps > steps + 5 || load->errors > 0);
        assert_no_errors(load);
        stop_process(stopped->pid);
        id.value = page_being_read(stopped->pid);
        if (id.value != 0) {
            reaps = tarn_load_relaxed(&pool->view.control->reaps);
            assert_fails(hasty, -ETIMEDOUT, "", tarn_pin(hasty, id, 0, &pin));
            for (unsigned page = 0; page < LOAD_PAGES; page++)
                if (page != tarn_page_number(id)) {
                    assert_ok(session, tarn_pin(session, load_id(load, page), 0, &pin));
                    assert_ok(session, tarn_unpin(session, pin));
                }
            assert_not_reaped();
            caught++;
        }
        continue_process(stopped->pid);
    }
    assert_ok(session, tarn_pin(session, id, 0, &pin));
    assert_ok(session, tarn_unpin(session, pin));
    assert_goes_on();
}
END_TEST

/* One who waits and is stopped meanwhile is passed over. */

static void wait_shared(struct worker *worker)
{
    hold_pin(worker);
    worker->load->cursor = 1;
    LOAD_CALL(worker, tarn_latch_shared(worker->session, held_pin, NEVER_MS * 10));
}

START_TEST(stopped_while_waiting)
{
    struct tarn_locked_page page;

    assert_ok(session, tarn_mtr_begin(session, 1));
    assert_ok(session, tarn_mtr_lock(session, load_id(load, HELD), 0, &page));
    stopped->hold = wait_shared;
    stopped->pid = start_process(hold_and_let_go, stopped);
    wait_until(load->cursor == 1);
    sleep_ms(20);
    stop_process(stopped->pid);
    reaps = tarn_load_relaxed(&pool->view.control->reaps);
    assert_ok(session, tarn_mtr_commit(session, 0));
    assert_others_work();
    for (unsigned i = 0; i < 100; i++) {
        assert_ok(hasty, want_exclusive(hasty, NEVER_MS));
        assert_ok(hasty, want_shared(hasty, NEVER_MS));
    }
    assert_not_reaped();
    assert_goes_on();
}
END_TEST

/* The writer. */

static int want_flush(struct tarn_session *own, int32_t wait_ms)
{
    (void)wait_ms;
    return tarn_flush_all(own);
}

START_TEST(stopped_writer)
{
    struct worker worker = {.load = load, .pool = pool, .session = session, .random = 1};
    struct waiter waiter;
    pid_t standby_pid = start_tarn_writer(load->name);

    assert_ok(session, tarn_flush_all(session));
    wait_until(slot_of_process(pool, standby_pid) != 0);
    stopped->pid = writer_pid;
    stop_process(writer_pid);
    reaps = tarn_load_relaxed(&pool->view.control->reaps);

    /* Hits, misses, evictions of clean pages, changes: nobody needs it for these. */
    for (unsigned group = 0; group < LOAD_GROUPS; group++)
        assert_works(load, read_group(&worker, group));
    for (unsigned group = 0; group < FRAME_COUNT / 4; group++)
        assert_works(load, write_group(&worker, group, true));
    assert_no_errors(load);
    assert_fails(hasty, -ETIMEDOUT, "", want_flush(hasty, 0));
    start_waiter(&waiter, want_flush);
    assert_dump_names_it();
    ck_assert_int_eq(writer_process(pool), writer_pid);
    assert_not_reaped();
    continue_process(writer_pid);
    assert_ok(waiter.work.session, end_work(&waiter.work));
    end_tarn_writer(pool, standby_pid);
}
END_TEST

/* A standby that is stopped is passed over by another one. */
START_TEST(stopped_standby)
{
    pid_t second_pid;

    stopped->pid = start_tarn_writer(load->name);
    wait_until(slot_of_process(pool, stopped->pid) != 0);
    stop_process(stopped->pid);
    second_pid = start_tarn_writer(load->name);
    wait_until(slot_of_process(pool, second_pid) != 0);
    kill_process(writer_pid);
    wait_until(writer_process(pool) == second_pid);
    assert_others_work();
    continue_process(stopped->pid);
    end_tarn_writer(pool, second_pid);
    wait_until(writer_process(pool) == stopped->pid);
    assert_others_work();
    writer_pid = stopped->pid;
}
END_TEST

/* Wherever it is stopped: it keeps others from a few pages, and from nothing for ever. */

static void do_everything(void *argument)
{
    struct stopped *self = argument;
    struct worker worker;

    open_worker(&worker, self->load, 1);
    while (!self->lets_go && work_steadily(&worker) == 0)
        self->steps++;
    _exit(self->load->errors != 0 || tarn_detach(worker.pool) != 0);
}

START_TEST(stopped_at_any_moment)
{
    /* Its pages, those whose insertion needs its micro-lock, and one at each call. */
    enum { ROUNDS = 40, KEPT_MAX = LOAD_GROUP_PAGES_MAX + 2 * TARN_BUCKET_WORDS };
    uint64_t random = test_seed();
    char byte;

    stopped->pid = start_process(do_everything, stopped);
    for (unsigned round = 0; round < ROUNDS; round++) {
        uint64_t steps = stopped->steps;
        unsigned kept = 0;

        wait_until(stopped->steps > steps + test_random(&random) % 4 || load->errors > 0);
        assert_no_errors(load);
        stop_process(stopped->pid);
        reaps = tarn_load_relaxed(&pool->view.control->reaps);
        for (unsigned page = 0; page < LOAD_PAGES; page++) {
            int result = tarn_page_copy(hasty, load_id(load, page), 0, 1, &byte);

            ck_assert_msg(result == 0 || result == -ETIMEDOUT, "page %u: %d: %s", page, result,
                          tarn_session_message(hasty));
            kept += result != 0;
        }
        ck_assert_uint_le(kept, KEPT_MAX);
        ck_assert_uint_eq(tarn_load_relaxed(&pool->view.control->reaps), reaps);
        continue_process(stopped->pid);
    }
    assert_goes_on();
}
END_TEST

void test_suite(Suite *suite)
{
    TCase *tcase = test_case(suite, "stop", 90);

    tcase_add_checked_fixture(tcase, begin_stop, end_stop);
    tcase_add_test(tcase, stopped_with_a_pin);
    tcase_add_test(tcase, stopped_with_a_shared_latch);
    tcase_add_test(tcase, stopped_in_the_middle_of_a_change);
    tcase_add_test(tcase, stopped_with_a_new_page);
    tcase_add_test(tcase, stopped_while_sleeping);
    tcase_add_test(tcase, stopped_with_reads_ahead_in_flight);
    tcase_add_test(tcase, stopped_while_reading_a_page);
    tcase_add_test(tcase, stopped_while_waiting);
    tcase_add_test(tcase, stopped_writer);
    tcase_add_test(tcase, stopped_standby);
    tcase_add_test(tcase, stopped_at_any_moment);
}
