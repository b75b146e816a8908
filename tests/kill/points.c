/* SPDX-License-Identifier: MIT */
/* Layer 1 of the kill proof: for every operation a process is left standing for good at each of its
 * accesses to shared memory and each of its system calls; a survivor reaps; then everything that
 * can be known of the pool must hold, and the others go on. The reaper dies at each of its points
 * too. Another process is in the middle of an operation on the same pages meanwhile.
 *
 * Nothing depends on the machine or the time: a line that begins with --replay, given to this
 * program, does the one point that it names again.
 */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "shm/planted.h"
#include "tests/kill/ends.h"

enum {
    NOBODY = UINT16_MAX, /* no other process is in the middle of anything */
    STEPS_OTHER = 40,    /* of it when the victim waits */
    FAILURES_MAX = 5,
    WAITS_MAX = 20000,
    WAITS_TAKEN = 30, /* points of one that waits longer are not taken */
    WORK_SHORT = 2,   /* operations after a death, and now and then */
    WORK_LONG = 1000,
    WORK_LONG_EVERY = 2000,
};

/* One point. */
struct point {
    uint64_t state;         /* seed of the pool it happens in */
    unsigned victim, other; /* operations */
    unsigned page;
    unsigned other_page;
    uint64_t other_points; /* that the other one has passed */
    bool locks_stay;       /* the kernel takes the dead one apart later */
    bool sparse;           /* few points within a page are counted */
    uint64_t k, j; /* points that the victim, and the first reaper, have passed; j 0: it lives */
};

static struct world_saved *at_victim, *at_reaper;
static struct point now;
static uint64_t kills, doubles;
static struct point wanted; /* of --replay */
static bool replays;

static void print_point(void)
{
    char text[256];
    int length = snprintf(
        text, sizeof text,
        "# --replay %" PRIu64 ":%s:%s:%u:%u:%" PRIu64 ":%d:%d:%" PRIu64 ":%" PRIu64 "\n", now.state,
        operations[now.victim].name, now.other == NOBODY ? "-" : operations[now.other].name,
        now.page, now.other_page, now.other_points, now.locks_stay, now.sparse, now.k, now.j);

    if (write(STDOUT_FILENO, text, (size_t)length) != length)
        return;
}

/* After a death. */

static void replace_writer(void)
{
    for (unsigned i = 0; i < WORLD_PROCESSES; i++)
        if (world.processes[i].serves)
            return;
    stage_writer();
}

/* The others come to the end of what they were at; then some more work; all is checked. */
static void go_on(struct process *victim)
{
    struct actor *actors[] = {&victim->actor, &stage.other->actor, &stage.survivor->actor,
                              &stage.third->actor};
    const struct operation *other = now.other == NOBODY ? NULL : &operations[now.other];
    struct model after = stage.model;

    if (victim->state == PROCESS_IDLE)
        oracle_acknowledge(&after, victim, &operations[now.victim]);
    if (victim->state == PROCESS_DYING)
        process_take_apart(victim);
    replace_writer();
    if (other != NULL) {
        stage_must(stage.other, process_finish(stage.other), other->name);
        oracle_acknowledge(&after, stage.other, other);
        stage_must_do(stage.other, other->finish, "finish");
    }
    stage_must_do(stage.other, operation_rest, "rest");
    oracle_segment();
    oracle_pages(&after, actors, 4);
    struct process *member = stage.survivor->state == PROCESS_IDLE ? stage.survivor : stage.third;
    unsigned count = stage_draw(WORK_LONG_EVERY) == 0 ? WORK_LONG : WORK_SHORT;
    for (unsigned i = 0; i < count; i++)
        stage_work(stage_draw(2) == 0 ? member : stage.other, stage_draw_operation(),
                   (unsigned)(now.page + stage_draw(4)) % OPERATION_PAGES, &after);
    oracle_segment();
}

/* What happens after a death follows from where it was. */
static void seed_point(void)
{
    stage.random = now.state + now.k * 1000003 + now.j * 7919 + now.victim;
}

/* Somebody who comes, and takes every slot that there is. */
static int come_and_go(struct actor *actor)
{
    struct tarn_session *session;
    int result = operation_attach(actor);

    for (unsigned i = 0; result == 0 && i <= OPERATION_SESSIONS; i++)
        result = tarn_session_open(actor->pool, NULL, &session);
    operation_leave(actor);
    return result == -EUSERS ? 0 : result;
}

static unsigned operation_named(const char *name)
{
    for (unsigned i = 0; i < operation_count; i++)
        if (strcmp(operations[i].name, name) == 0)
            return i;
    return NOBODY;
}

/* Somebody wants frames, and the same pages: finds out by itself that it waits for a dead one. */
static void meet_dead(struct process *member)
{
    const unsigned which[] = {operation_named("evict"), stage_draw_operation()};

    for (unsigned i = 0; i < 2; i++) {
        const struct operation *operation = &operations[which[i]];

        stage_set_up(member, now.page);
        if (stage_must_do(member, operation->prepare, "prepare") == 0)
            stage_must_do(member, operation->run, operation->name);
        stage_must_do(member, operation_rest, "rest");
        stage_must_do(member, operation->finish, "finish");
    }
}

/* Which points there have been of an operation, in whatever pool. */
enum { POINTS_MAX = 1 << 16, OPERATIONS_MAX = 64 };
static uint8_t seen[2][OPERATIONS_MAX][POINTS_MAX / 8]; /* all that count; few within a page */
static uint64_t last_points[OPERATIONS_MAX];            /* of the operation's newest sweep */

static void mark_seen(void)
{
    uint64_t k = now.k < POINTS_MAX ? now.k : POINTS_MAX - 1;

    seen[now.sparse][now.victim][k / 8] |= (uint8_t)(1u << k % 8);
}

/* The claim byte of who it was about to join, or to reap. */
static bool has_claim(const struct process *process)
{
    for (unsigned i = 0; i < WORLD_LOCKS; i++) {
        const struct file_lock *lock = &world.locks[i];

        if (lock->description != NULL && lock->description->process == process &&
            lock->first > TARN_LOCK_CLAIM && lock->first < TARN_LOCK_WRITER)
            return true;
    }
    return false;
}

/* All dead ones are reaped at once, but for those whose claim byte another dead one has until the
 * kernel takes it apart. */
static void reap_dead(struct process *reaper)
{
    bool again = false;

    stage_must_do(reaper, stage_reap, "reap");
    for (unsigned i = 0; i < WORLD_PROCESSES; i++) {
        struct process *process = &world.processes[i];

        if (process->state == PROCESS_DYING && has_claim(process)) {
            process_take_apart(process);
            again = true;
        }
    }
    if (again)
        stage_must_do(reaper, stage_reap, "reap");
    oracle_segment();
}

static bool is_writer(void)
{
    return (operations[now.victim].flags & OPERATION_WRITES) != 0;
}

static void kill_victim(struct process *victim)
{
    uint64_t sequences = stage.sequences;

    now.j = 0;
    seed_point();
    process_kill(victim, now.locks_stay);
    uint64_t how = stage_draw(8);
    if (how <= 1 && !is_writer())
        meet_dead(stage.survivor);
    else if (how == 2)
        stage_must_do(stage_process(), come_and_go, "come");
    reap_dead(stage.survivor);
    go_on(victim);
    stage.sequences = sequences;
    mark_seen();
    kills++;
}

/* Double kills. */

/* The reaper dies as well; somebody else finishes. Or the writer that followed. */
static void kill_second(struct process *victim, struct process *second)
{
    uint64_t sequences = stage.sequences;

    now.j = second->points;
    if (replays && now.j != wanted.j)
        return;
    at_reaper = world_save(at_reaper);
    seed_point();
    process_kill(second, now.locks_stay);
    if (stage_draw(2) == 0 && !is_writer())
        meet_dead(stage.third);
    reap_dead(stage.third);
    if (second->state == PROCESS_DYING)
        process_take_apart(second);
    go_on(victim);
    doubles++;
    world_restore(at_reaper);
    stage.sequences = sequences;
}

static bool asks_disk(const struct process *process)
{
    for (unsigned i = 0; i < WORLD_REQUESTS; i++)
        if (world.requests[i].process == process)
            return true;
    return false;
}

/* Every so often while the survivor reaps, or a new writer takes over, it dies. */
static void kill_seconds(struct process *victim, uint64_t stride, uint64_t *random)
{
    struct process *second = stage.survivor;

    if (is_writer()) {
        if (victim->state == PROCESS_DYING)
            process_take_apart(victim);
        stage_must_do(stage.survivor, stage_reap, "reap");
        second = stage_process();
    }
    process_call(second, is_writer() ? operation_serve : stage_reap);
    for (;;) {
        uint64_t points = replays ? 1 : 1 + world_draw(random, 2 * stride - 1);
        enum process_state state = process_resume(second, points);

        if (state == PROCESS_IDLE || (state == PROCESS_WAITS && !asks_disk(second)))
            return;
        if (state == PROCESS_WAITS)
            process_let_wait(second);
        else
            kill_second(victim, second);
    }
}

/* How often points are taken. 1: every one; 0: none. */
struct strides {
    uint64_t kill, two; /* of the victim's points, for single and for double kills */
    uint64_t second;    /* of the points of the second one */
};

/* The victim stands at a point. */
static void at_point(struct process *victim, bool single, bool two, const struct strides *strides,
                     uint64_t *random)
{
    at_victim = world_save(at_victim);
    if (single) {
        kill_victim(victim);
        world_restore(at_victim);
    }
    if (two) {
        process_kill(victim, now.locks_stay);
        kill_seconds(victim, strides->second, random);
        world_restore(at_victim);
    }
}

/* The victim waits: those that serve, time, and now and then the other one go on. False: it is a
 * writer that has nothing to do any more. */
static bool let_wait(struct process *victim, unsigned waits)
{
    bool other = now.other != NOBODY && stage.other->state != PROCESS_IDLE;

    if (other && (is_writer() || waits % 8 == 7)) {
        if (process_resume(stage.other, STEPS_OTHER) == PROCESS_WAITS)
            process_let_wait(stage.other);
        return true;
    }
    if (is_writer() && !asks_disk(victim))
        return false;
    process_let_wait(victim);
    return true;
}

static bool set_stage(struct process **ret_victim)
{
    const struct operation *operation = &operations[now.victim];
    struct process *victim = stage_process();

    stage_set_up(victim, now.page);
    if ((operation->flags & OPERATION_NO_POOL) == 0)
        stage_must_do(victim, operation_attach, "attach");
    if ((operation->flags & (OPERATION_NO_POOL | OPERATION_NO_SESSION)) == 0)
        stage_must_do(victim, operation_enter, "enter");
    *ret_victim = victim;
    if (stage_must_do(victim, operation->prepare, "prepare") != 0)
        return false;
    if (now.other != NOBODY) {
        stage_set_up(stage.other, now.other_page);
        if (stage_must_do(stage.other, operations[now.other].prepare, "prepare") != 0)
            return false;
    }
    if (is_writer()) {
        process_kill(stage.writer, false);
        stage_must_do(stage.survivor, stage_reap, "reap");
    }
    if (now.other != NOBODY) {
        process_call(stage.other, operations[now.other].run);
        process_resume(stage.other, now.other_points);
    }
    return true;
}

/* Of operations that begin or end a pool. */
static uint64_t ends_stride, *ends_random;

static bool takes_end(uint64_t k)
{
    bool takes = replays ? k == wanted.k : world_draw(ends_random, ends_stride) == 0;

    if (!takes)
        return false;
    now.k = k;
    mark_seen();
    kills++;
    return true;
}

static uint64_t sweep_end(uint64_t stride, uint64_t *random)
{
    ends_stride = stride;
    ends_random = random;
    now.other = NOBODY;
    now.locks_stay = false;
    stage.random = now.state;
    return ends_sweep(&operations[now.victim], takes_end);
}

static bool is_end(unsigned which)
{
    return (operations[which].flags & (OPERATION_BEGINS_POOL | OPERATION_ENDS_POOL)) != 0;
}

/* The operation runs through, and dies on the way as often as `strides` says. Returns its points;
 * 0: it cannot be done in this state. */
static uint64_t sweep(const struct strides *strides, uint64_t *random)
{
    const struct operation *operation = &operations[now.victim];
    struct process *victim;
    uint64_t sequences = stage.sequences;
    enum process_state state = PROCESS_READY;

    hook_sparse = now.sparse;
    if (is_end(now.victim))
        return sweep_end(strides->kill, random);
    stage.random = now.state + now.victim;
    bool possible = set_stage(&victim);
    if (possible)
        process_call(victim, operation->run);
    for (unsigned waits = 0; possible && state != PROCESS_IDLE;) {
        bool single = strides->kill != 0;
        bool two = strides->two != 0 && world_draw(random, strides->two) == 0;
        uint64_t points = replays || !single ? 1 : 1 + world_draw(random, 2 * strides->kill - 1);

        state = process_resume(victim, points);
        if (state == PROCESS_WAITS && (waits++ == WAITS_MAX || !let_wait(victim, waits)))
            break;
        if (state != PROCESS_READY)
            continue;
        now.k = victim->points;
        single &= waits < WAITS_TAKEN;
        two &= waits < WAITS_TAKEN;
        if (replays)
            single = now.k == wanted.k && wanted.j == 0, two = now.k == wanted.k && wanted.j != 0;
        if (single || two)
            at_point(victim, single, two, strides, random);
    }
    uint64_t points = possible ? victim->points : 0;
    now.k = now.j = 0;
    if (possible && state == PROCESS_IDLE) {
        stage_must(victim, victim->result, operation->name);
        stage_must_do(victim, operation->finish, "finish");
    } else if (possible) {
        process_kill(victim, false);
        stage_must_do(stage.survivor, stage_reap, "reap");
    }
    if (possible)
        go_on(victim);
    world_restore(stage.base);
    stage.sequences = sequences;
    return points;
}

static unsigned long count_seen(bool sparse)
{
    unsigned long count = 0;

    for (unsigned i = 0; i < OPERATIONS_MAX; i++)
        for (unsigned j = 0; j < POINTS_MAX / 8; j++)
            count += (unsigned)__builtin_popcount(seen[sparse][i][j]);
    return count;
}

/* What a run is to do. */
struct plan {
    uint64_t seed, kills, doubles;
    int64_t seconds; /* 0: until kills and doubles are reached */
    bool all;        /* first every point of every operation in a new pool */
};

enum { KILLS_A_SWEEP = 60, DOUBLES_A_SWEEP = 24, REAPERS_A_POINT = 5, REAPER_POINTS = 400 };

/* One operation, in company or alone, with both kinds of death. */
static void sweep_some(unsigned which, uint64_t *random)
{
    uint64_t points = last_points[which] == 0 ? 400 : last_points[which];
    struct strides strides = {points / KILLS_A_SWEEP + 1,
                              KILLS_A_SWEEP * REAPERS_A_POINT / DOUBLES_A_SWEEP,
                              REAPER_POINTS / REAPERS_A_POINT};

    now.victim = which;
    now.page = (unsigned)world_draw(random, OPERATION_PAGES);
    now.locks_stay = world_draw(random, 3) == 0;
    now.other = NOBODY;
    if ((operations[which].flags & OPERATION_OTHER) == 0 && world_draw(random, 3) != 0) {
        do
            now.other = (unsigned)world_draw(random, operation_count);
        while (!stage_is_for_members(&operations[now.other]));
        points = last_points[now.other] == 0 ? 400 : last_points[now.other];
        now.other_page = (unsigned)(now.page + world_draw(random, 3)) % OPERATION_PAGES;
        now.other_points = world_draw(random, points + points / 4 + 1);
    }
    points = sweep(&strides, random);
    if (points != 0)
        last_points[which] = points;
}

static void sweep_all(uint64_t *random)
{
    const struct strides every = {1, 0, 0};

    stage_make(0);
    for (int locks_stay = 0; locks_stay <= 1; locks_stay++)
        for (unsigned i = 0; i < operation_count; i++) {
            now = (struct point){.victim = i, .other = NOBODY, .page = 5, .locks_stay = locks_stay};
            last_points[i] = sweep(&every, random);
        }
}

static void run(const struct plan *plan)
{
    uint64_t random = plan->seed;
    time_t until = time(NULL) + plan->seconds;

    if (plan->all) {
        sweep_all(&random);
        memset(last_points, 0, sizeof last_points);
    }
    for (uint64_t round = 0;; round++) {
        now = (struct point){.state = round == 0 ? 0 : plan->seed + round, .sparse = true};
        stage_make(now.state);
        for (unsigned i = 0; i < operation_count; i++) {
            if (plan->seconds != 0 ? time(NULL) >= until
                                   : kills >= plan->kills && doubles >= plan->doubles)
                return;
            sweep_some(i, &random);
        }
    }
}

static void count_failure(void)
{
    print_point();
    if (oracle_failures >= FAILURES_MAX || tarn_planted != 0)
        exit(EXIT_FAILURE);
}

/* An assertion, a world that cannot go on, a crash: once, then as if it had not been caught. */
static void tell_point(int number)
{
    print_point();
    raise(number);
}

static void catch_crashes(void)
{
    const struct sigaction action = {.sa_handler = tell_point, .sa_flags = SA_RESETHAND};

    sigaction(SIGABRT, &action, NULL);
    sigaction(SIGSEGV, &action, NULL);
}

/* One of shm/planted.h, that the tests of this suite have to catch. */
static void plant(const char *name)
{
    static const char *const names[] = {"",
#define X(name, text) #name,
                                        TARN_PLANTED_BUGS(X)
#undef X
    };

    for (unsigned i = 1; i < PLANTED_COUNT; i++)
        if (strcmp(names[i], name) == 0)
            tarn_planted = i;
    if (tarn_planted == 0)
        exit(2);
}

static void replay(const char *text)
{
    const struct strides every = {1, 1, 1};
    char victim[64], other[64];
    int locks_stay, sparse;

    if (sscanf(text, "%" SCNu64 ":%63[^:]:%63[^:]:%u:%u:%" SCNu64 ":%d:%d:%" SCNu64 ":%" SCNu64,
               &wanted.state, victim, other, &wanted.page, &wanted.other_page, &wanted.other_points,
               &locks_stay, &sparse, &wanted.k, &wanted.j) != 10)
        exit(2);
    wanted.victim = operation_named(victim);
    wanted.other = operation_named(other);
    if (wanted.victim == NOBODY)
        exit(2);
    wanted.locks_stay = locks_stay != 0;
    wanted.sparse = sparse != 0;
    now = wanted;
    replays = true;
    stage_make(now.state);
    sweep(&every, &(uint64_t){0});
    printf("%u kills, %u double kills, %u failures\n", (unsigned)kills, (unsigned)doubles,
           oracle_failures);
    exit(oracle_failures != 0);
}

static int usage(int status)
{
    puts("usage: points [--seed N] [--kills N] [--doubles N] [--all] [--seconds N]\n"
         "       points [...] --planted NAME\n"
         "       points --replay POINT\n"
         "\n"
         "  --all      begins with every point of every operation\n"
         "  --seconds  goes on for that long, from one drawn pool to the next");
    return status;
}

int main(int argc, char **argv)
{
    static const struct option options[] = {
        {"seed", 1, NULL, 's'},    {"kills", 1, NULL, 'k'},   {"doubles", 1, NULL, 'd'},
        {"all", 0, NULL, 'a'},     {"seconds", 1, NULL, 't'}, {"replay", 1, NULL, 'r'},
        {"planted", 1, NULL, 'p'}, {"help", 0, NULL, 'h'},    {NULL, 0, NULL, 0},
    };
    const char *seed = getenv("TARN_TEST_SEED");
    struct plan plan = {.kills = 50000, .doubles = 20000};
    int option;

    plan.seed = seed != NULL ? strtoull(seed, NULL, 10) : (uint64_t)getpid() * 1000;
    setvbuf(stdout, NULL, _IOLBF, 0);
    oracle_failed = count_failure;
    catch_crashes();
    while ((option = getopt_long(argc, argv, "h", options, NULL)) != -1) {
        uint64_t number = optarg == NULL ? 0 : strtoull(optarg, NULL, 10);

        if (option == 's')
            plan.seed = number;
        else if (option == 'k')
            plan.kills = number;
        else if (option == 'd')
            plan.doubles = number;
        else if (option == 'a')
            plan.all = true;
        else if (option == 't')
            plan.seconds = (int64_t)number;
        else if (option == 'r')
            replay(optarg);
        else if (option == 'p')
            plant(optarg);
        else
            return usage(option == 'h' ? 0 : 2);
    }
    printf("1..1\n# seed %" PRIu64 "; TARN_TEST_SEED=%" PRIu64 " replays this run\n", plan.seed,
           plan.seed);
    run(&plan);
    printf("%s 1 - kill points: everything holds after each death\n",
           oracle_failures == 0 ? "ok" : "not ok");
    printf("# %" PRIu64 " kills, %" PRIu64 " double kills, at %lu points of operations; %lu if"
           " each word of a page is one\n",
           kills, doubles, count_seen(true), count_seen(false));
    return oracle_failures != 0;
}
