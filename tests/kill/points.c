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

#include "lib/internal.h"
#include "tests/kill/oracle.h"
#include "tests/kill/world.h"

enum {
    NOBODY = UINT16_MAX, /* no other process is in the middle of anything */
    STEPS_OTHER = 40,    /* of it when the victim waits */
    FAILURES_MAX = 5,
    WAITS_MAX = 20000,
};

/* One point. */
struct point {
    uint64_t state;         /* seed of the pool it happens in */
    unsigned victim, other; /* operations */
    unsigned page;
    unsigned other_page;
    uint64_t other_points; /* that the other one has passed */
    bool locks_stay;       /* the kernel takes the dead one apart later */
    uint64_t k, j; /* points that the victim, and the first reaper, have passed; j 0: it lives */
};

static struct {
    struct process *writer, *survivor, *third, *other;
} cast;
static struct model model;
static struct world_saved *base, *at_victim, *at_reaper;
static struct point now;
static uint64_t random_state;
static uint64_t kills, doubles;
static unsigned long long sequences;
static struct point wanted; /* of --replay */
static bool replays;

static void print_point(void)
{
    char text[256];
    int length = snprintf(
        text, sizeof text,
        "# --replay %" PRIu64 ":%s:%s:%u:%u:%" PRIu64 ":%d:%" PRIu64 ":%" PRIu64 "\n", now.state,
        operations[now.victim].name, now.other == NOBODY ? "-" : operations[now.other].name,
        now.page, now.other_page, now.other_points, now.locks_stay, now.k, now.j);

    if (write(STDOUT_FILENO, text, (size_t)length) != length)
        return;
}

/* Processes. */

static uint64_t draw(uint64_t below)
{
    return world_draw(&random_state, below);
}

static struct process *new_process(void)
{
    struct process *process = process_new();

    process->actor.pool_name = WORLD_POOL;
    process->actor.directory = WORLD_DIRECTORY;
    process->actor.file = 1;
    return process;
}

static int must(struct process *process, int result, const char *what)
{
    if (result < 0) {
        printf("# %s: %s\n", what, process->actor.message);
        oracle_broken(what, process->pid, (unsigned long long)-result);
    }
    return result;
}

static int must_do(struct process *process, int (*function)(struct actor *actor), const char *what)
{
    return must(process, process_do(process, function), what);
}

static struct process *new_member(void)
{
    struct process *process = new_process();

    must_do(process, operation_enter, "enter");
    return process;
}

static struct process *start_writer(void)
{
    struct process *process = new_process();

    process->serves = true;
    process_call(process, operation_serve);
    world_settle();
    return process;
}

static int reap(struct actor *actor)
{
    return tarn_reap_all(actor->pool, actor->session);
}

static bool is_for_members(const struct operation *operation)
{
    return (operation->flags & (OPERATION_NO_SESSION | OPERATION_NO_POOL | OPERATION_WRITES |
                                OPERATION_OTHER | OPERATION_ENDS_POOL)) == 0;
}

static unsigned draw_for_members(void)
{
    unsigned which;

    do
        which = (unsigned)draw(operation_count);
    while (!is_for_members(&operations[which]));
    return which;
}

static void set_up(struct process *process, unsigned page)
{
    process->actor.page = page;
    process->actor.sequence = ++sequences + 1;
    process->actor.other = process == cast.other ? NULL : &cast.other->actor;
    process->actor.change.state = CHANGE_NONE;
    process->actor.message[0] = 0;
}

/* A whole operation, from the beginning to the end. */
static void work(struct process *process, unsigned which, unsigned page, struct model *of)
{
    const struct operation *operation = &operations[which];
    struct actor *actors[] = {&process->actor};

    set_up(process, page);
    if (must_do(process, operation->prepare, "prepare") == 0) {
        must_do(process, operation->run, operation->name);
        oracle_acknowledge(of, process, operation);
    }
    must_do(process, operation_rest, "rest");
    must_do(process, operation->finish, "finish");
    oracle_pages(of, actors, 1);
}

/* The pool in which it happens: seed 0 is a new one. */
static void make_state(uint64_t seed)
{
    random_state = seed;
    sequences = 0;
    world_begin(seed);
    struct process *first = new_process();
    must_do(first, operation_make_pool, "make");
    cast.writer = start_writer();
    first->actor.file = 0;
    must_do(first, operation_enter, "enter");
    cast.survivor = first;
    cast.third = new_member();
    cast.other = new_member();
    for (unsigned page = 0; page < OPERATION_PAGES; page++)
        model.sequence[page] = model.durable[page] = 1;
    struct process *const members[] = {cast.survivor, cast.third, cast.other};
    for (unsigned i = 0; seed != 0 && i < 10 + draw(50); i++)
        work(members[draw(3)], draw_for_members(), (unsigned)draw(OPERATION_PAGES), &model);
    oracle_segment();
    base = world_save(base);
}

/* After a death. */

static void replace_writer(void)
{
    for (unsigned i = 0; i < WORLD_PROCESSES; i++)
        if (world.processes[i].serves)
            return;
    start_writer();
}

/* The others come to the end of what they were at; then some more work; all is checked. */
static void go_on(struct process *victim)
{
    struct actor *actors[] = {&victim->actor, &cast.other->actor, &cast.survivor->actor};
    const struct operation *other = now.other == NOBODY ? NULL : &operations[now.other];
    struct model after = model;

    if (victim->state == PROCESS_IDLE)
        oracle_acknowledge(&after, victim, &operations[now.victim]);
    if (victim->state == PROCESS_DYING)
        process_take_apart(victim);
    replace_writer();
    if (other != NULL) {
        must(cast.other, process_finish(cast.other), other->name);
        oracle_acknowledge(&after, cast.other, other);
        must_do(cast.other, other->finish, "finish");
    }
    must_do(cast.other, operation_rest, "rest");
    oracle_segment();
    oracle_pages(&after, actors, 3);
    struct process *reaper = cast.survivor->state == PROCESS_IDLE ? cast.survivor : cast.third;
    for (unsigned i = 0; i < 2; i++)
        work(draw(2) == 0 ? reaper : cast.other, draw_for_members(),
             (unsigned)(now.page + draw(4)) % OPERATION_PAGES, &after);
    oracle_segment();
}

/* What happens after a death follows from where it was. */
static void seed_point(void)
{
    random_state = now.state + now.k * 1000003 + now.j * 7919 + now.victim;
}

/* The reaper dies as well; somebody else finishes. */
static void kill_reaper(struct process *victim)
{
    struct process *reaper = cast.survivor;
    unsigned long long sequences_before = sequences;

    seed_point();
    process_kill(reaper, now.locks_stay);
    must_do(cast.third, reap, "second reap");
    if (reaper->state == PROCESS_DYING) {
        /* Until now it had the claim byte of who it was about to reap. */
        process_take_apart(reaper);
        must_do(cast.third, reap, "third reap");
    }
    oracle_segment();
    go_on(victim);
    sequences = sequences_before;
    doubles++;
}

/* Every so often while the survivor reaps, it dies. */
static void kill_reapers(struct process *victim, uint64_t stride, uint64_t *random)
{
    process_call(cast.survivor, reap);
    for (;;) {
        uint64_t points = replays ? 1 : 1 + world_draw(random, 2 * stride - 1);

        if (process_resume(cast.survivor, points) == PROCESS_IDLE)
            return;
        if (cast.survivor->state == PROCESS_WAITS) {
            process_let_wait(cast.survivor);
            continue;
        }
        now.j = cast.survivor->points;
        if (replays && now.j != wanted.j)
            continue;
        at_reaper = world_save(at_reaper);
        kill_reaper(victim);
        world_restore(at_reaper);
    }
}

/* The survivor wants the same pages: it finds out by itself that it waits for a dead one. */
static void meet_dead(void)
{
    const struct operation *operation = &operations[draw_for_members()];

    set_up(cast.survivor, now.page);
    if (must_do(cast.survivor, operation->prepare, "prepare") == 0)
        must_do(cast.survivor, operation->run, operation->name);
    must_do(cast.survivor, operation_rest, "rest");
    must_do(cast.survivor, operation->finish, "finish");
}

/* Which points there have been of an operation, in whatever pool. */
enum { POINTS_MAX = 1 << 16, OPERATIONS_MAX = 64 };
static uint8_t seen[OPERATIONS_MAX][POINTS_MAX / 8];
static uint64_t last_points[OPERATIONS_MAX]; /* of the operation's newest sweep */

static void mark_seen(void)
{
    uint64_t k = now.k < POINTS_MAX ? now.k : POINTS_MAX - 1;

    seen[now.victim][k / 8] |= (uint8_t)(1u << k % 8);
}

static void kill_victim(struct process *victim)
{
    unsigned long long sequences_before = sequences;

    now.j = 0;
    seed_point();
    process_kill(victim, now.locks_stay);
    if (now.k % 4 == 3 && (operations[now.victim].flags & OPERATION_WRITES) == 0)
        meet_dead();
    must_do(cast.survivor, reap, "reap");
    oracle_segment();
    go_on(victim);
    sequences = sequences_before;
    mark_seen();
    kills++;
}

/* How often points are taken. 1: every one; 0: none. */
struct strides {
    uint64_t kill, reaper; /* of the victim's points, for single and for double kills */
    uint64_t reap;         /* of the reaper's points */
};

/* Once around: the victim at the point where it stands. */
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
        kill_reapers(victim, strides->reap, random);
        world_restore(at_victim);
    }
}

/* The victim waits: those that serve, time, and now and then the other one go on. False: it is a
 * writer that has nothing to do any more. */
static bool let_wait(struct process *victim, unsigned waits)
{
    bool writes = (operations[now.victim].flags & OPERATION_WRITES) != 0;
    bool other = now.other != NOBODY && cast.other->state != PROCESS_IDLE;

    if (other && (writes || waits % 8 == 7)) {
        if (process_resume(cast.other, STEPS_OTHER) == PROCESS_WAITS)
            process_let_wait(cast.other);
        return true;
    }
    for (unsigned i = 0; writes && i < WORLD_REQUESTS; i++)
        if (world.requests[i].process == victim)
            writes = false;
    if (!writes)
        process_let_wait(victim);
    return !writes;
}

static bool set_stage(struct process **ret_victim)
{
    const struct operation *operation = &operations[now.victim];
    struct process *victim = new_process();

    set_up(victim, now.page);
    if (operation->flags & OPERATION_WRITES) {
        process_kill(cast.writer, false);
        must_do(cast.survivor, reap, "reap");
    }
    if ((operation->flags & OPERATION_NO_POOL) == 0)
        must_do(victim, operation_attach, "attach");
    if ((operation->flags & (OPERATION_NO_POOL | OPERATION_NO_SESSION)) == 0)
        must_do(victim, operation_enter, "enter");
    *ret_victim = victim;
    if (must_do(victim, operation->prepare, "prepare") != 0)
        return false;
    if (now.other == NOBODY)
        return true;
    set_up(cast.other, now.other_page);
    if (must_do(cast.other, operations[now.other].prepare, "prepare") != 0)
        return false;
    process_call(cast.other, operations[now.other].run);
    process_resume(cast.other, now.other_points);
    return true;
}

/* The operation runs through, and dies on the way as often as `strides` says. Returns its points;
 * 0: it cannot be done in this state. */
static uint64_t sweep(const struct strides *strides, uint64_t *random)
{
    const struct operation *operation = &operations[now.victim];
    struct process *victim;
    unsigned long long sequences_before = sequences;
    enum process_state state = PROCESS_READY;

    random_state = now.state + now.victim;
    bool possible = set_stage(&victim);
    if (possible)
        process_call(victim, operation->run);
    for (unsigned waits = 0; possible && state != PROCESS_IDLE;) {
        bool single = strides->kill != 0;
        bool two = strides->reaper != 0 && world_draw(random, strides->reaper) == 0;
        uint64_t points = replays || !single ? 1 : 1 + world_draw(random, 2 * strides->kill - 1);

        state = process_resume(victim, points);
        if (state == PROCESS_WAITS && (waits++ == WAITS_MAX || !let_wait(victim, waits)))
            break;
        if (state != PROCESS_READY)
            continue;
        now.k = victim->points;
        if (replays)
            single = now.k == wanted.k && wanted.j == 0, two = now.k == wanted.k && wanted.j != 0;
        if (single || two)
            at_point(victim, single, two, strides, random);
    }
    uint64_t points = possible ? victim->points : 0;
    now.k = now.j = 0;
    if (possible && state == PROCESS_IDLE) {
        must(victim, victim->result, operation->name);
        must_do(victim, operation->finish, "finish");
    } else if (possible) {
        process_kill(victim, false);
        must_do(cast.survivor, reap, "reap");
    }
    if (possible)
        go_on(victim);
    world_restore(base);
    sequences = sequences_before;
    return points;
}

static unsigned long count_seen(void)
{
    unsigned long count = 0;

    for (unsigned i = 0; i < OPERATIONS_MAX; i++)
        for (unsigned j = 0; j < POINTS_MAX / 8; j++)
            count += (unsigned)__builtin_popcount(seen[i][j]);
    return count;
}

static bool ends_pool(unsigned which)
{
    return (operations[which].flags & OPERATION_ENDS_POOL) != 0;
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
        while (!is_for_members(&operations[now.other]));
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

    make_state(0);
    for (int locks_stay = 0; locks_stay <= 1; locks_stay++)
        for (unsigned i = 0; i < operation_count; i++) {
            now = (struct point){.victim = i, .other = NOBODY, .page = 5, .locks_stay = locks_stay};
            if (!ends_pool(i))
                last_points[i] = sweep(&every, random);
        }
}

static void run(const struct plan *plan)
{
    uint64_t random = plan->seed;
    time_t until = time(NULL) + plan->seconds;

    if (plan->all)
        sweep_all(&random);
    for (uint64_t round = 0;; round++) {
        now = (struct point){.state = round == 0 ? 0 : plan->seed + round, .other = NOBODY};
        make_state(now.state);
        for (unsigned i = 0; i < operation_count; i++) {
            if (plan->seconds != 0 ? time(NULL) >= until
                                   : kills >= plan->kills && doubles >= plan->doubles)
                return;
            if (!ends_pool(i))
                sweep_some(i, &random);
        }
    }
}

static void count_failure(void)
{
    print_point();
    if (oracle_failures >= FAILURES_MAX)
        exit(EXIT_FAILURE);
}

static void handle_abort(int number)
{
    (void)number;
    print_point();
}

static void replay(const char *text)
{
    const struct strides every = {1, 1, 1};
    char victim[64], other[64];
    int locks_stay;

    if (sscanf(text, "%" SCNu64 ":%63[^:]:%63[^:]:%u:%u:%" SCNu64 ":%d:%" SCNu64 ":%" SCNu64,
               &wanted.state, victim, other, &wanted.page, &wanted.other_page, &wanted.other_points,
               &locks_stay, &wanted.k, &wanted.j) != 9)
        exit(2);
    wanted.victim = wanted.other = NOBODY;
    for (unsigned i = 0; i < operation_count; i++) {
        if (strcmp(operations[i].name, victim) == 0)
            wanted.victim = i;
        if (strcmp(operations[i].name, other) == 0)
            wanted.other = i;
    }
    if (wanted.victim == NOBODY)
        exit(2);
    wanted.locks_stay = locks_stay != 0;
    now = wanted;
    replays = true;
    make_state(now.state);
    sweep(&every, &(uint64_t){0});
    printf("%u kills, %u double kills, %u oracle_failures\n", (unsigned)kills, (unsigned)doubles,
           oracle_failures);
    exit(oracle_failures != 0);
}

static void usage(void)
{
    puts("usage: points [--seed N] [--kills N] [--doubles N] [--all] [--seconds N]\n"
         "       points --replay POINT");
}

int main(int argc, char **argv)
{
    static const struct option options[] = {
        {"seed", 1, NULL, 's'}, {"kills", 1, NULL, 'k'},   {"doubles", 1, NULL, 'd'},
        {"all", 0, NULL, 'a'},  {"seconds", 1, NULL, 't'}, {"replay", 1, NULL, 'r'},
        {"help", 0, NULL, 'h'}, {NULL, 0, NULL, 0},
    };
    const char *seed = getenv("TARN_TEST_SEED");
    struct plan plan = {.kills = 50000, .doubles = 20000};
    int option;

    plan.seed = seed != NULL ? strtoull(seed, NULL, 10) : (uint64_t)getpid() * 1000;
    setvbuf(stdout, NULL, _IOLBF, 0);
    oracle_failed = count_failure;
    signal(SIGABRT, handle_abort);
    signal(SIGSEGV, handle_abort);
    while ((option = getopt_long(argc, argv, "h", options, NULL)) != -1) {
        uint64_t number = optarg == NULL ? 0 : strtoull(optarg, NULL, 10);

        switch (option) {
        case 's':
            plan.seed = number;
            break;
        case 'k':
            plan.kills = number;
            break;
        case 'd':
            plan.doubles = number;
            break;
        case 'a':
            plan.all = true;
            break;
        case 't':
            plan.seconds = (int64_t)number;
            break;
        case 'r':
            replay(optarg);
            break;
        case 'h':
            usage();
            return 0;
        default:
            usage();
            return 2;
        }
    }
    printf("1..1\n# seed %" PRIu64 "; TARN_TEST_SEED=%" PRIu64 " replays this run\n", plan.seed,
           plan.seed);
    run(&plan);
    printf("%s 1 - kill points: everything holds after each death\n",
           oracle_failures == 0 ? "ok" : "not ok");
    printf("# %" PRIu64 " kills, %" PRIu64 " double kills, %lu distinct points of operations\n",
           kills, doubles, count_seen());
    return oracle_failures != 0;
}
