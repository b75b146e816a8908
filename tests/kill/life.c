/* SPDX-License-Identifier: MIT */
/* Real life: processes that do everything at once die in every way that there is, at any moment,
 * while others work on that are never started again. What anybody reads is verified all the time;
 * the segment is looked through again and again; who is stopped must not be taken for dead; and now
 * and then everybody dies at once, and what was committed is there after the warm restart.
 *
 * --kills N: so many; --seconds N: no longer than that. Stops last 1 to 5 s if there are more than
 * 5,000 kills. The seed draws deaths and moments; where they hit depends on the machine.
 */
#include "lib/check.h"
#include "tests/kill/habits.h"
#include "tests/kill/oom.h"

enum {
    FRAME_COUNT = 200, /* fewer than pages */
    SESSIONS = 40,
    SURVIVORS = 3,
    VICTIMS = 7,
    WRITERS = 2, /* one of them the standby */
    STOPS_MAX = 2,
    DEAD_SLOTS_MAX = 256,
    KILLS = 500,
    KILLS_LONG = 5000,
    LIVES = 4, /* of the pool, in a short run */
};

/* Ways to die. */
#define DEATHS(X)                                                                                  \
    X(KILLED, "SIGKILL at work")                                                                   \
    X(NEWBORN, "SIGKILL while attaching")                                                          \
    X(WHILE_STOPPED, "SIGKILL while stopped")                                                      \
    X(FAULT, "SIGSEGV")                                                                            \
    X(EXIT, "exit without detaching")                                                              \
    X(EXEC, "exec while attached")                                                                 \
    X(MEMORY, "OOM killer")                                                                        \
    X(WRITER, "SIGKILL of the writer")                                                             \
    X(STANDBY, "SIGKILL of the standby")                                                           \
    X(EVERYBODY, "everybody at once")

enum {
#define X(name, words) DEATH_##name,
    DEATHS(X)
#undef X
        DEATH_COUNT
};

static const char *const death_words[] = {
#define X(name, words) words,
    DEATHS(X)
#undef X
};

/* What a victim is asked to do to itself, at its next mark. */
enum { WISH_NONE, WISH_EXIT, WISH_EXEC, WISH_MEMORY, WISH_FORK };

struct victim {
    struct load *load;
    uint64_t number;
    _Atomic bool works;
    _Atomic unsigned wish;
    _Atomic uint64_t mark;
};

/* What everybody sees. */
struct life {
    struct load load;
    struct victim victims[VICTIMS];
    _Atomic unsigned stopped;     /* processes, right now */
    _Atomic uint64_t stops;       /* so far */
    _Atomic uint64_t stall_ns[2]; /* longest of a survivor; [1]: while somebody was stopped */
};

/* The slots of one process, to see what becomes of them. */
struct known_slot {
    unsigned slot;
    uint64_t serial;
    uint64_t since_ns;
};

struct stopped {
    pid_t pid;       /* 0: nobody */
    unsigned victim; /* VICTIMS: a writer */
    uint64_t until_ns;
    struct known_slot slot[4];
    unsigned slot_count;
};

static struct life *life;
static struct load *load;
static struct survivor survivors[SURVIVORS];
static pid_t survivor_pids[SURVIVORS], victim_pids[VICTIMS], writer_pids[WRITERS];
static bool doomed[VICTIMS], frozen[VICTIMS];
static struct stopped stops[STOPS_MAX];
static struct known_slot dead_slots[DEAD_SLOTS_MAX];
static unsigned dead_slot_count;
static uint64_t random_state, kills_wanted, next_number;
static uint64_t deaths[DEATH_COUNT], writer_deaths, forks, lives, looks, reap_ns_max;
static const char *memory_refused;

static unsigned roll(unsigned count)
{
    return (unsigned)(test_random(&random_state) % count);
}

static uint64_t kills(void)
{
    uint64_t sum = 0;

    for (unsigned i = 0; i < DEATH_COUNT; i++)
        sum += deaths[i];
    return sum;
}

/* Survivors. */

static void work_to_the_end(void *argument)
{
    const struct survivor *self = argument;
    struct worker worker;

    open_worker(&worker, load, self->number);
    while (!load->ends) {
        uint64_t stops_before = life->stops, begun = tarn_now_ns();
        bool stopped = life->stopped != 0;

        if (work_steadily(&worker) < 0)
            break;
        uint64_t took = tarn_now_ns() - begun;
        stopped = stopped || life->stops != stops_before;
        uint64_t longest = life->stall_ns[stopped];
        while (took > longest &&
               !atomic_compare_exchange_weak(&life->stall_ns[stopped], &longest, took))
            continue;
        /* The others need the processors too. */
        if (atomic_fetch_add(&load->steps[self->number], 1) % 8 == 0)
            tarn_sleep_ns(NS_PER_MS / 5);
    }
    _exit(tarn_detach(worker.pool) != 0 || load->errors != 0);
}

/* Victims. */

/* A child that exec does not follow: its parent's handles are none of its own, and it attaches. */
static void live_as_child(struct worker *worker)
{
    struct worker own;
    struct tarn_pin pin;

    if (tarn_pin(worker->session, load_id(load, 0), 0, &pin) != -ECHILD)
        load_error(load, "a forked child has a session of its parent's");
    open_worker(&own, load, worker->random);
    int result = read_group(&own, draw_group(&own));
    _exit(result < 0 || tarn_detach(own.pool) != 0);
}

static struct victim *self_as_victim;

static void come_to_mark(struct worker *worker)
{
    switch (atomic_exchange(&self_as_victim->wish, WISH_NONE)) {
    case WISH_EXIT:
        _exit(0);
    case WISH_EXEC:
        execl("/bin/sleep", "sleep", "0.05", (char *)NULL);
        _exit(127);
    case WISH_MEMORY:
        eat_memory();
        return;
    case WISH_FORK:
        if (fork() == 0)
            live_as_child(worker);
        return;
    default:
        return;
    }
}

struct pursuit {
    struct worker worker;
    habit *habit;
};

static void *pursue(void *argument)
{
    struct pursuit *pursuit = argument;

    while (pursuit->habit(&pursuit->worker) >= 0)
        continue;
    _exit(1);
}

/* One in four has two sessions, used by two threads. */
static void be_victim(void *argument)
{
    struct victim *victim = self_as_victim = argument;
    struct pursuit first, second;
    pthread_t thread;

    signal(SIGSEGV, SIG_DFL);
    open_worker(&first.worker, load, 100 + victim->number);
    first.worker.mark = &victim->mark;
    first.worker.at_mark = come_to_mark;
    first.habit = habits[draw(&first.worker, HABITS)];
    if (draw(&first.worker, 4) == 0) {
        first.habit = do_anything;
        second = first;
        second.worker.random++;
        second.worker.session = open_patient_session(first.worker.pool);
        if (pthread_create(&thread, NULL, pursue, &second) != 0)
            _exit(1);
    }
    victim->works = true;
    pursue(&first);
}

static void start_victim(unsigned i)
{
    life->victims[i] = (struct victim){.load = load, .number = next_number++};
    doomed[i] = frozen[i] = false;
    victim_pids[i] = start_process(be_victim, &life->victims[i]);
}

/* Slots of the dead and of the stopped. */

static unsigned slots_of(pid_t pid, struct known_slot *ret_slots, unsigned most)
{
    unsigned count = 0;

    for (unsigned slot = 1; slot <= pool->view.slot_max && count < most; slot++) {
        const struct tarn_slot *shared = tarn_view_slot(&pool->view, slot);

        if (tarn_load_acquire(&shared->state) == SLOT_LIVE &&
            tarn_load_relaxed(&shared->pid) == (uint64_t)pid)
            ret_slots[count++] = (struct known_slot){.slot = slot,
                                                     .serial = tarn_load_relaxed(&shared->serial),
                                                     .since_ns = tarn_now_ns()};
    }
    return count;
}

static bool slot_is_still(const struct known_slot *known)
{
    const struct tarn_slot *shared = tarn_view_slot(&pool->view, known->slot);

    return tarn_load_acquire(&shared->state) == SLOT_LIVE &&
           tarn_load_relaxed(&shared->serial) == known->serial;
}

/* This process only looks: others have to do the reaping. */
static void look_at_the_dead(void)
{
    uint64_t now = tarn_now_ns();
    unsigned left = 0;

    for (unsigned i = 0; i < dead_slot_count; i++) {
        struct known_slot known = dead_slots[i];

        if (slot_is_still(&known)) {
            ck_assert_msg(now - known.since_ns < NEVER_MS * (uint64_t)NS_PER_MS,
                          "slot %u of a dead process is not reaped", known.slot);
            dead_slots[left++] = known;
        } else if (now - known.since_ns > reap_ns_max) {
            reap_ns_max = now - known.since_ns;
        }
    }
    dead_slot_count = left;
}

/* Who is dead and not reaped yet is in dead_slots. */
static void note_violation(void *context, const struct tarn_violation *violation)
{
    unsigned *count = context;

    if (violation->rule == RULE_slot_reaped)
        return;
    report_violation(NULL, violation);
    ++*count;
}

static void look_through_segment(void)
{
    unsigned violations = 0;

    looks++;
    tarn_check_pool(pool, note_violation, &violations);
    ck_assert_uint_eq(violations, 0);
    assert_no_errors(load);
}

static void look_at_survivors(void)
{
    static uint64_t steps[SURVIVORS], since_ns[SURVIVORS];
    uint64_t now = tarn_now_ns();

    assert_no_errors(load);
    for (unsigned i = 0; i < SURVIVORS; i++) {
        ck_assert_msg(waitpid(survivor_pids[i], NULL, WNOHANG) == 0, "survivor %u has ended", i);
        if (load->steps[i] != steps[i] || since_ns[i] == 0) {
            steps[i] = load->steps[i];
            since_ns[i] = now;
        }
        ck_assert_msg(now - since_ns[i] < 2 * NEVER_MS * (uint64_t)NS_PER_MS,
                      "survivor %u does not go on", i);
    }
}

static void count_death(unsigned death, pid_t pid)
{
    unsigned room = DEAD_SLOTS_MAX - dead_slot_count;

    deaths[death]++;
    dead_slot_count += slots_of(pid, dead_slots + dead_slot_count, room);
}

/* Whoever is asked to die has died: is replaced. */
static void victim_ended(unsigned i, unsigned death, int status)
{
    bool as_asked =
        death == DEATH_EXIT || death == DEATH_EXEC
            ? WIFEXITED(status) && WEXITSTATUS(status) == 0
            : WIFSIGNALED(status) && WTERMSIG(status) == (death == DEATH_FAULT ? SIGSEGV : SIGKILL);

    assert_no_errors(load);
    ck_assert_msg(as_asked, "a victim ended by itself: %#x instead of '%s'", (unsigned)status,
                  death_words[death]);
    if (death == DEATH_MEMORY)
        remove_oom_groups();
    count_death(death, victim_pids[i]);
    start_victim(i);
}

/* What passes by itself. */

static unsigned doomed_to[VICTIMS];

static void look_at_the_doomed(void)
{
    for (unsigned i = 0; i < VICTIMS; i++) {
        int status;

        if (doomed[i] && waitpid(victim_pids[i], &status, WNOHANG) == victim_pids[i])
            victim_ended(i, doomed_to[i], status);
    }
}

static void end_stop(struct stopped *stopped)
{
    for (unsigned i = 0; i < stopped->slot_count; i++)
        ck_assert_msg(slot_is_still(&stopped->slot[i]), "slot %u of a stopped process was reaped",
                      stopped->slot[i].slot);
    if (stopped->victim < VICTIMS && roll(3) == 0) {
        kill_process(stopped->pid);
        count_death(DEATH_WHILE_STOPPED, stopped->pid);
        start_victim(stopped->victim);
    } else {
        continue_process(stopped->pid);
        if (stopped->victim < VICTIMS)
            frozen[stopped->victim] = false;
    }
    stopped->pid = 0;
    life->stopped--;
}

static void let_pass_ms(unsigned most)
{
    unsigned ms = roll(most + 1);

    do {
        for (unsigned i = 0; i < STOPS_MAX; i++)
            if (stops[i].pid != 0 && tarn_now_ns() > stops[i].until_ns)
                end_stop(&stops[i]);
        look_at_the_doomed();
        look_at_the_dead();
        look_at_survivors();
        sleep_ms(1);
    } while (ms-- > 0);
}

/* Events. */

/* A victim that can be chosen; VICTIMS: none right now. */
static unsigned choose_victim(void)
{
    for (unsigned i = 0; i < 4 * VICTIMS; i++) {
        unsigned victim = roll(VICTIMS);

        if (!doomed[victim] && !frozen[victim] && life->victims[victim].works)
            return victim;
    }
    return VICTIMS;
}

static void spin(uint64_t most_ns)
{
    uint64_t until_ns = tarn_now_ns() + test_random(&random_state) % (most_ns + 1);

    while (tarn_now_ns() < until_ns)
        continue;
}

/* Any moment, or one soon after the victim has passed a mark. */
static void choose_moment(unsigned i)
{
    const struct victim *victim = &life->victims[i];
    uint64_t seen = victim->mark, until_ns = tarn_now_ns() + 3 * NS_PER_MS;

    while (roll(3) != 0 && victim->mark == seen && tarn_now_ns() < until_ns)
        continue;
    spin(UINT64_C(1000) << roll(10));
}

static int send_and_wait(pid_t pid, int number)
{
    int status;

    ck_assert_int_eq(kill(pid, number), 0);
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    return status;
}

/* One, or several right after each other, so that who reaps may die too. */
static void kill_victims(void)
{
    unsigned chosen[3], count = 1 + roll(4) / 2;
    int status[3];

    for (unsigned n = 0; n < count; n++) {
        chosen[n] = choose_victim();
        if (chosen[n] == VICTIMS) {
            count = n;
            break;
        }
        if (n == 0)
            choose_moment(chosen[0]);
        else
            spin(300000);
        ck_assert_int_eq(kill(victim_pids[chosen[n]], SIGKILL), 0);
        doomed[chosen[n]] = true;
    }
    for (unsigned n = 0; n < count; n++) {
        ck_assert_int_gt(waitpid(victim_pids[chosen[n]], &status[n], 0), 0);
        victim_ended(chosen[n], DEATH_KILLED, status[n]);
    }
}

static void kill_newborn(unsigned i)
{
    victim_ended(i, DEATH_KILLED, send_and_wait(victim_pids[i], SIGKILL));
    spin(2 * NS_PER_MS);
    victim_ended(i, DEATH_NEWBORN, send_and_wait(victim_pids[i], SIGKILL));
}

static void ask_for_death(unsigned i, unsigned wish, unsigned death)
{
    doomed[i] = true;
    doomed_to[i] = death;
    life->victims[i].wish = wish;
}

static bool is_stopped(pid_t pid)
{
    for (unsigned i = 0; i < STOPS_MAX; i++)
        if (stops[i].pid == pid)
            return true;
    return false;
}

static void stop_somebody(pid_t pid, unsigned victim)
{
    unsigned ms = kills_wanted > KILLS_LONG ? 1000 + roll(4000) : 30 + roll(300);

    for (unsigned i = 0; i < STOPS_MAX; i++) {
        if (stops[i].pid != 0 || is_stopped(pid))
            continue;
        life->stopped++;
        life->stops++;
        stop_process(pid);
        stops[i] = (struct stopped){.pid = pid, .victim = victim};
        stops[i].until_ns = tarn_now_ns() + ms * (uint64_t)NS_PER_MS;
        stops[i].slot_count = slots_of(pid, stops[i].slot, 4);
        if (victim < VICTIMS)
            frozen[victim] = true;
        return;
    }
}

static void kill_writer(unsigned i)
{
    bool writes = writer_process(pool) == writer_pids[i];
    pid_t pid = writer_pids[i];

    if (is_stopped(pid))
        return;
    kill_process(pid);
    count_death(writes ? DEATH_WRITER : DEATH_STANDBY, pid);
    writer_deaths += writes;
    writer_pids[i] = start_tarn_writer(load->name);
}

/* Index of who has the role; anybody if nobody has. */
static unsigned find_writer(void)
{
    pid_t pid = writer_process(pool);

    for (unsigned i = 0; i < WRITERS; i++)
        if (writer_pids[i] == pid)
            return i;
    return roll(WRITERS);
}

static void do_to_writers(unsigned what)
{
    unsigned writer = find_writer();

    if (what < 65)
        kill_writer(writer);
    else if (what < 75)
        kill_writer((writer + 1) % WRITERS);
    else if (what < 90)
        for (unsigned i = 0; i < WRITERS; i++)
            kill_writer(i);
    else
        stop_somebody(writer_pids[roll(WRITERS)], VICTIMS);
}

static void do_to_victim(unsigned what)
{
    unsigned i = choose_victim();

    if (i == VICTIMS)
        return;
    if (what < 30) {
        kill_newborn(i);
    } else if (what < 50) {
        choose_moment(i);
        victim_ended(i, DEATH_FAULT, send_and_wait(victim_pids[i], SIGSEGV));
    } else if (what < 65) {
        ask_for_death(i, WISH_EXIT, DEATH_EXIT);
    } else if (what < 80) {
        ask_for_death(i, WISH_EXEC, DEATH_EXEC);
    } else if (what < 85 && memory_refused == NULL) {
        ask_for_death(i, WISH_MEMORY, DEATH_MEMORY);
    } else if (what < 92) {
        life->victims[i].wish = WISH_FORK;
        forks++;
    } else {
        choose_moment(i);
        stop_somebody(victim_pids[i], i);
    }
}

static void let_something_happen(void)
{
    unsigned what = roll(100);

    if (what < 50)
        kill_victims();
    else if (what < 80)
        do_to_victim(roll(100));
    else
        do_to_writers(roll(100));
}

/* Lives of the pool. */

static void start_everybody(void)
{
    for (unsigned i = 0; i < SURVIVORS; i++) {
        survivors[i] = (struct survivor){load, i};
        survivor_pids[i] = start_process(work_to_the_end, &survivors[i]);
    }
    for (unsigned i = 0; i < VICTIMS; i++)
        start_victim(i);
    lives++;
}

static void kill_one_of_all(pid_t pid)
{
    ck_assert_int_eq(kill(pid, SIGKILL), 0);
    deaths[DEATH_EVERYBODY]++;
}

/* Nobody is left who could reap; the next writer finds the segment as it is. */
static void kill_everybody(void)
{
    pid_t writer = writer_process(pool);
    int status;

    for (unsigned i = 0; i < STOPS_MAX; i++)
        stops[i].pid = 0;
    life->stopped = 0;
    ck_assert_int_eq(tarn_detach(pool), 0);
    for (unsigned i = 0; i < WRITERS; i++)
        writer_deaths += writer_pids[i] == writer;
    for (unsigned i = 0; i < VICTIMS || i < SURVIVORS || i < WRITERS; i++) {
        if (i < VICTIMS)
            kill_one_of_all(victim_pids[i]);
        if (i < WRITERS)
            kill_one_of_all(writer_pids[i]);
        if (i < SURVIVORS)
            kill_one_of_all(survivor_pids[i]);
    }
    for (unsigned i = 0; i < VICTIMS; i++)
        ck_assert_int_eq(waitpid(victim_pids[i], &status, 0), victim_pids[i]);
    for (unsigned i = 0; i < WRITERS; i++)
        ck_assert_int_eq(waitpid(writer_pids[i], &status, 0), writer_pids[i]);
    for (unsigned i = 0; i < SURVIVORS; i++) {
        ck_assert_int_eq(waitpid(survivor_pids[i], &status, 0), survivor_pids[i]);
        ck_assert_msg(WIFSIGNALED(status), "survivor %u has ended: %#x", i, (unsigned)status);
    }
    assert_no_errors(load);
    dead_slot_count = 0;
}

static void start_writers(void)
{
    for (unsigned i = 0; i < WRITERS; i++)
        writer_pids[i] = start_tarn_writer(load->name);
}

static void restart_warm(void)
{
    start_writers();
    pool = attach_pool(load->name);
    for (unsigned i = 0; i < SURVIVORS; i++)
        wait_until(slot_of_process(pool, survivor_pids[i]) == 0);
    look_through_segment();
    assert_file_holds_all(load, pool);
}

/* Those who are to live come to their end in order. */
static void end_everybody(void)
{
    int status;

    for (unsigned i = 0; i < STOPS_MAX; i++)
        if (stops[i].pid != 0)
            end_stop(&stops[i]);
    for (unsigned i = 0; i < VICTIMS; i++) {
        ck_assert_int_eq(kill(victim_pids[i], SIGKILL), 0);
        ck_assert_int_eq(waitpid(victim_pids[i], &status, 0), victim_pids[i]);
        count_death(DEATH_KILLED, victim_pids[i]);
    }
    load->ends = true;
    for (unsigned i = 0; i < SURVIVORS; i++) {
        ck_assert_int_eq(waitpid(survivor_pids[i], &status, 0), survivor_pids[i]);
        assert_no_errors(load);
        ck_assert_int_eq(status, 0);
    }
    wait_until((look_at_the_dead(), dead_slot_count == 0));
    assert_file_holds_all(load, pool);
    look_through_segment();
    for (unsigned i = WRITERS; i-- > 0;) /* in any order */
        end_tarn_writer(pool, writer_pids[i]);
}

static void print_table(uint64_t begun_ns)
{
    uint64_t steps = 0;

    for (unsigned i = 0; i < SURVIVORS; i++)
        steps += load->steps[i];
    for (unsigned i = 0; i < DEATH_COUNT; i++)
        printf("# %-26s %8llu\n", death_words[i], (unsigned long long)deaths[i]);
    printf("# %-26s %8llu (%llu of a writer) in %.0f s\n", "kills", (unsigned long long)kills(),
           (unsigned long long)writer_deaths, (double)(tarn_now_ns() - begun_ns) / 1e9);
    printf("# %-26s %8llu\n", "stops", (unsigned long long)life->stops);
    printf("# %-26s %8llu\n", "forks", (unsigned long long)forks);
    printf("# %-26s %8llu\n", "warm restarts", (unsigned long long)lives - 1);
    printf("# %-26s %8llu\n", "survivors' operations", (unsigned long long)steps);
    printf("# %-26s %8llu\n", "looks at the segment", (unsigned long long)looks);
    printf("# %-26s %8.1f ms\n", "longest until reaped", (double)reap_ns_max / 1e6);
    printf("# %-26s %8.1f ms\n", "longest stall", (double)life->stall_ns[0] / 1e6);
    printf("# %-26s %8.1f ms\n", "the same, amid a stop", (double)life->stall_ns[1] / 1e6);
    printf("# %-26s %8u\n", "violations", load->errors);
    if (memory_refused != NULL)
        printf("# without the OOM killer: %s\n", memory_refused);
    fflush(stdout);
}

START_TEST(killed_in_every_way)
{
    uint64_t begun_ns = tarn_now_ns();
    uint64_t until_ns = begun_ns + test_option("seconds", 1000000) * 1000000000;
    uint64_t round = kills_wanted / LIVES < KILLS ? kills_wanted / LIVES : KILLS;

    life = share_memory(sizeof *life);
    load = &life->load;
    random_state = test_seed();
    memory_refused = oom_refused();
    pool = make_load(load, FRAME_COUNT, SESSIONS, &writer_pids[0]);
    writer_pids[1] = start_tarn_writer(load->name);
    start_everybody();
    for (unsigned events = 0; kills() < kills_wanted && tarn_now_ns() < until_ns; events++) {
        let_something_happen();
        let_pass_ms(8);
        if (events % 4 == 0)
            look_through_segment();
        if (kills() >= lives * round && kills() < kills_wanted) {
            kill_everybody();
            restart_warm();
            start_everybody();
        }
    }
    end_everybody();
    ck_assert_int_eq(tarn_detach(pool), 0);
    wait_until(remove_oom_groups()); /* children of the dead may be in it */
    print_table(begun_ns);
}
END_TEST

void test_suite(Suite *suite)
{
    kills_wanted = test_option("kills", KILLS);
    TCase *tcase = test_case(suite, "life", 110 + (int)(kills_wanted > KILLS ? kills_wanted : 0));

    tcase_add_test(tcase, killed_in_every_way);
}
