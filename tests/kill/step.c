/* SPDX-License-Identifier: MIT */
/* A process killed at every instruction: the library as it is installed, under PTRACE_SINGLESTEP.
 *
 * A child, the victim, does one operation in a small pool, instruction by instruction. Whenever one
 * has changed the segment, a copy of it is reaped with the victim declared dead. Then no rule may
 * be broken; every page holds what was last committed, those of the mini-transaction that was cut
 * off are all old or all new; what the living have is as it was; and now and then the copy is
 * worked on. At each 50th instruction another victim is killed for real, and this process, which
 * was attached all the time, reaps it and works on.
 *
 * The writer, where there is one, is stopped while a victim steps, so that a copy shows one moment;
 * it gets its turn when a session waits.
 */
#include <getopt.h>
#include <inttypes.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/random.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/kill/fixture.h"
#include "tests/kill/reapers.h"

enum {
    KILL_EVERY = 50,      /* instructions */
    WORK_EVERY = 16,      /* copies, of which one is worked on */
    ROUNDS = 10,          /* of that work */
    TURN_EVERY = 1000,    /* instructions of one who waits, at least */
    OPERATIONS_MAX = 256, /* named */
    REPORTS_MAX = 10,     /* of one operation */
};

#define PRIME  UINT64_C(1000000007)
#define SECOND UINT64_C(1000000000)

/* What is done unless told otherwise: whole, in a minute. */
static const char *const usual[] = {"pin-miss", "mtr-1", "mtr-ranges-3", "mtr-new", "session-open"};

/* How far the victim has got. */
enum { BEGUN, READY, RAN };

/* Memory of this process and the victim. */
struct common {
    struct actor actor, other;
    unsigned other_slot; /* 0: there is no neighbour */
    _Atomic unsigned phase;
    int result;
};

struct result {
    uint64_t steps, states, kills, violations;
    bool skipped, cut, kills_cut; /* cut: there was no time for all instructions, or kills */
};

static struct {
    const char *operations[OPERATIONS_MAX]; /* names; none: the usual ones */
    unsigned operation_count;
    bool all;
    uint64_t seconds, seed;
    uint64_t step; /* the only one to look at; UINT64_MAX: all */
} options = {.seconds = 60, .step = UINT64_MAX};

/* Of the operation that is being done. */
static const struct operation *operation;
static struct result result;
static struct common *common;
static pid_t victim;
static uint64_t living; /* slots that are not the victim's; bit by number */
static uint64_t step;

/* The stepped run: the address after so many instructions, and how often it had been there. */
static struct {
    uint64_t *address;
    uint32_t *pass;
    uint64_t room;
} trace;

extern const char __executable_start, etext;

void violated(const char *format, ...)
{
    va_list list;
    if (result.violations++ >= REPORTS_MAX)
        return;
    printf("# VIOLATION, %s, step %" PRIu64 ": ", operation->name, step);
    va_start(list, format);
    vprintf(format, list);
    va_end(list);
    printf("\n#   replay: --operations %s --seed %" PRIu64 " --step %" PRIu64, operation->name,
           options.seed, step);
    uint64_t at = step < trace.room ? trace.address[step] : 0;
    if (at >= (uintptr_t)&__executable_start && at < (uintptr_t)&etext)
        printf("; addr2line -f -e step %#" PRIx64, at - (uintptr_t)&__executable_start);
    printf("\n");
}

/* The victim. */

/* Something at the place of a mapping of this process, so that the victim's is elsewhere. */
static void occupy(const struct tarn_pool *pool)
{
    void *base = pool->view.base;
    if (mmap(base, pool->view.geometry.segment_bytes, PROT_NONE,
             MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) != base)
        _exit(3);
}

static int enter(struct actor *actor, unsigned flags)
{
    if (flags & OPERATION_NO_POOL)
        return 0;
    return flags & OPERATION_NO_SESSION ? operation_attach(actor) : operation_enter(actor);
}

static int leave(struct actor *actor)
{
    int rested = operation_rest(actor);
    int left = actor->pool == NULL ? 0 : operation_leave(actor);
    return rested != 0 ? rested : left;
}

static _Noreturn void be_victim(void)
{
    struct actor *actor = &common->actor, *other = &common->other;
    occupy(fixture.self.pool);
    occupy(fixture.copy);
    int done = 0;
    if (operation->flags & OPERATION_OTHER) {
        done = enter(other, 0);
        common->other_slot = done == 0 ? other->session->slot : 0;
        actor->other = other;
    }
    if (done == 0)
        done = enter(actor, operation->flags);
    if (done == 0)
        done = operation->prepare(actor);
    common->result = done;
    if (done != 0 || ptrace(PTRACE_TRACEME, 0, NULL, NULL) != 0)
        _exit(2);
    common->phase = READY;
    raise(SIGSTOP);
    done = operation->run(actor);
    common->result = done;
    common->phase = RAN;
    raise(SIGSTOP);
    if (done >= 0) /* 1: it could not be done, as may happen to anybody */
        done = operation->finish(actor);
    if (done == 0)
        done = leave(actor);
    if (done == 0)
        done = leave(other);
    common->result = done;
    _exit(done != 0);
}

/* One who does the operation: in the fixture's pool, or in a place beside it if that has to be
 * empty. */
static struct actor one_who_acts(void)
{
    static char name[sizeof fixture.pool_name + 8], directory[sizeof fixture.directory + 8];
    struct actor actor = fixture_actor();
    if ((operation->flags & OPERATION_BEGINS_POOL) == 0)
        return actor;
    snprintf(name, sizeof name, "%s-begun", fixture.pool_name);
    snprintf(directory, sizeof directory, "%s/begun", fixture.directory);
    actor.pool_name = name;
    actor.directory = directory;
    return actor;
}

/* False: the operation cannot be done. */
static bool start_victim(void)
{
    int status;
    if (operation->flags & FIXTURE_WITHOUT_WRITER) /* something to write */
        survivor_work(&fixture.survivor, ROUNDS);
    *common = (struct common){.actor = one_who_acts(), .other = fixture_actor()};
    victim = fixture_fork();
    if (victim == 0)
        be_victim();
    waitpid(victim, &status, 0);
    if (WIFSTOPPED(status) && common->phase == READY)
        return true;
    if (common->result != 1)
        fixture_fail("prepare: %d, status %#x: %s", common->result, (unsigned)status,
                     common->actor.message);
    return false;
}

/* Lets it run by one request to ptrace. False: it has stopped at its end. */
static bool let_run(int request)
{
    int status;
    if (ptrace(request, victim, NULL, NULL) != 0 || waitpid(victim, &status, 0) != victim)
        fixture_fail("ptrace: %s", strerror(errno));
    if (!WIFSTOPPED(status) || (WSTOPSIG(status) != SIGTRAP && WSTOPSIG(status) != SIGSTOP))
        fixture_fail("step %" PRIu64 ": the victim has ended by itself: %#x", step,
                     (unsigned)status);
    return common->phase != RAN;
}

/* Lets it finish by itself what it has done. */
static void finish_victim(void)
{
    int status;
    do {
        ptrace(PTRACE_CONT, victim, NULL, NULL);
        waitpid(victim, &status, 0);
    } while (WIFSTOPPED(status));
    if (status != 0 || common->result != 0)
        violated("it has ended with %d, status %#x: %s", common->result, (unsigned)status,
                 common->actor.message);
    victim = 0;
}

/* Copies. */

static bool dead_on_copy(struct tarn_pool *pool, unsigned slot)
{
    (void)pool;
    return (living >> slot & 1) == 0;
}

/* The writer was stopped, and the neighbour stands, in the middle of something. */
static bool inside(unsigned slot)
{
    return tarn_load_relaxed(&fixture_slot(slot)->role) != ROLE_SESSION ||
           slot == common->other_slot;
}

static void set_fixture(void)
{
    fixture_set(operation->flags);
    fixture.copy->dead = dead_on_copy;
    fixture.survivor.inside = inside;
}

/* The living have what they had. */
static void check_living(void)
{
    struct tarn_view before;
    tarn_view_set(&before, fixture.seen, &fixture.copy->view.geometry);
    for (unsigned slot = 1; slot <= before.slot_max; slot++) {
        bool same = memcmp(tarn_view_slot(&before, slot), tarn_view_slot(&fixture.copy->view, slot),
                           sizeof(struct tarn_slot)) == 0;
        for (unsigned line = 0; line < TARN_HOLD_LINES; line++)
            same = same && memcmp(tarn_view_hold_line(&before, slot, line),
                                  tarn_view_hold_line(&fixture.copy->view, slot, line),
                                  sizeof(struct tarn_hold_line)) == 0;
        if ((living >> slot & 1) != 0 && !same)
            violated("copy: the reaper has changed slot %u, which lives", slot);
    }
}

/* A change that the dead have left to stand at one instruction stands at all later ones. */
static void check_progress(const struct survivor *after)
{
    static uint64_t stands;
    const struct change *change = &common->actor.change;
    if (change->state == CHANGE_NONE || change->page_count == 0)
        return;
    if (after->sequence[change->page[0]] == change->sequence)
        stands = change->sequence;
    else if (stands == change->sequence)
        violated("copy: a change that was there is gone");
}

/* The victim dies now, as this copy has it. */
static void examine_copy(void)
{
    struct survivor after = fixture.survivor;
    after.where = "copy";
    after.pool = fixture.copy;
    memcpy(fixture.copy->view.base, fixture.seen, fixture.copy->view.geometry.segment_bytes);
    if (operation->flags & FIXTURE_WITHOUT_WRITER)
        survivor_read_disk(fixture.data_fd);
    /* Now and then nobody knows it yet. */
    if (result.states % WORK_EVERY == WORK_EVERY / 2 && common->other_slot == 0) {
        after.open = &common->actor.change;
        survivor_work(&after, ROUNDS);
        after.open = NULL;
    }
    tarn_reap_all(fixture.copy, NULL);
    survivor_check_rules(&after);
    check_living();
    survivor_check_pages(&after, &common->actor.change);
    check_progress(&after);
    if (result.states++ % WORK_EVERY != 0)
        return;
    /* The neighbour dies too: it would be waited for. */
    uint64_t lived = living;
    static const struct change none;
    living &= ~(UINT64_C(1) << common->other_slot);
    tarn_reap_all(fixture.copy, NULL);
    after.where = "copy, at work";
    survivor_work(&after, ROUNDS);
    survivor_check_rules(&after);
    survivor_check_pages(&after, &none);
    living = lived;
}

/* Stepping. */

static void note_address(void)
{
    if (step >= trace.room) {
        trace.room = trace.room == 0 ? 1 << 16 : 2 * trace.room;
        trace.address = realloc(trace.address, trace.room * sizeof *trace.address);
        trace.pass = realloc(trace.pass, trace.room * sizeof *trace.pass);
        if (trace.address == NULL || trace.pass == NULL)
            fixture_fail("no memory");
    }
    trace.address[step] =
        (uint64_t)ptrace(PTRACE_PEEKUSER, victim, offsetof(struct user, regs.rip), NULL);
}

static void look_at_segment(void)
{
    size_t bytes = fixture.self.pool->view.geometry.segment_bytes;
    if (memcmp(fixture.seen, fixture.self.pool->view.base, bytes) == 0)
        return;
    memcpy(fixture.seen, fixture.self.pool->view.base, bytes);
    /* A single one is looked at in every way, some times. */
    unsigned times = options.step == UINT64_MAX ? 1 : options.step == step ? 4 * WORK_EVERY : 0;
    for (unsigned i = 0; i < times; i++)
        examine_copy();
}

static bool victim_waits(void)
{
    for (unsigned slot = 1; slot <= fixture.self.pool->view.slot_max; slot++)
        if ((living >> slot & 1) == 0 && tarn_load_relaxed(&fixture_slot(slot)->wait) != 0)
            return true;
    return false;
}

/* One whole run, until `end_ns`. */
static void step_through(uint64_t end_ns)
{
    uint64_t turn = 0;
    bool running = true;
    fixture_pause_writer();
    survivor_read_disk(fixture.data_fd);
    memcpy(fixture.seen, fixture.self.pool->view.base,
           fixture.self.pool->view.geometry.segment_bytes);
    living = fixture_slots_of(getpid()) | fixture_slots_of(fixture.writer) |
             UINT64_C(1) << common->other_slot;
    step = 0;
    note_address();
    while (running && !result.cut) {
        running = let_run(PTRACE_SINGLESTEP);
        step++;
        note_address();
        look_at_segment();
        if (step - turn >= TURN_EVERY && victim_waits()) {
            turn = step;
            fixture_continue_writer();
            fixture_pause_writer();
            survivor_read_disk(fixture.data_fd);
        }
        result.cut = tarn_now_ns() >= end_ns;
    }
    result.steps = step;
}

/* Real kills. */

static int by_address(const void *left, const void *right)
{
    uint32_t a = *(const uint32_t *)left, b = *(const uint32_t *)right;
    if (trace.address[a] != trace.address[b])
        return trace.address[a] < trace.address[b] ? -1 : 1;
    return a < b ? -1 : a > b;
}

/* A string instruction stops after each round, but at a breakpoint only before the first. */
static bool repeats(uint64_t at)
{
    return at > 0 && trace.address[at] == trace.address[at - 1];
}

static void count_passes(void)
{
    uint32_t count = 0, *order = malloc((result.steps + 1) * sizeof *order);
    if (order == NULL)
        fixture_fail("no memory");
    for (uint32_t i = 0; i <= result.steps; i++)
        if (!repeats(i))
            order[count++] = i;
    qsort(order, count, sizeof *order, by_address);
    for (uint32_t i = 0; i < count; i++) {
        bool first = i == 0 || trace.address[order[i]] != trace.address[order[i - 1]];
        trace.pass[order[i]] = first ? 1 : trace.pass[order[i - 1]] + 1;
    }
    free(order);
}

/* To where the stepped run was after so many instructions, or to the end. */
static void run_to(uint64_t at)
{
    uint64_t begin = at;
    bool running = true;
    while (repeats(begin))
        begin--;
    if (ptrace(PTRACE_POKEUSER, victim, offsetof(struct user, u_debugreg[0]),
               trace.address[begin]) != 0 ||
        ptrace(PTRACE_POKEUSER, victim, offsetof(struct user, u_debugreg[7]), 1) != 0)
        begin = 0; /* no breakpoints here */
    for (uint32_t i = 0; running && begin > 0 && i < trace.pass[begin]; i++)
        running = let_run(PTRACE_CONT);
    for (; running && begin < at; begin++)
        running = let_run(PTRACE_SINGLESTEP);
}

static bool somebody_is_dead(void)
{
    struct tarn_pool *pool = fixture.self.pool;
    bool found = fixture_slots_of(victim) != 0;
    for (unsigned slot = 1; slot <= pool->view.slot_max; slot++)
        found = found || (tarn_load_acquire(&fixture_slot(slot)->state) != SLOT_FREE &&
                          pool->sessions[slot] == NULL && pool->dead(pool, slot));
    return found;
}

/* Half of the time while the kernel still takes the victim apart; or after some work of one who
 * does not know yet. */
static void kill_and_reap(void)
{
    uint64_t begun = tarn_now_ns();
    bool early = survivor_draw(2) == 0;
    kill(victim, SIGKILL);
    if (!early)
        waitpid(victim, NULL, 0);
    if (survivor_draw(4) == 0) {
        fixture.survivor.open = &common->actor.change;
        survivor_work(&fixture.survivor, ROUNDS);
        fixture.survivor.open = NULL;
    }
    while (somebody_is_dead() && tarn_now_ns() - begun < 30 * SECOND)
        if (tarn_reap_all(fixture.self.pool, NULL) == 0)
            tarn_sleep_ns(NS_PER_MS / 20);
    if (somebody_is_dead())
        violated("a killed process is not reaped");
    if (early)
        waitpid(victim, NULL, 0);
    victim = 0;
}

/* What was begun is done again: the pool is gone, and all that was committed is on disk. */
static void end_pool_again(void)
{
    struct tarn_message message = {""};
    int done = tarn_destroy(fixture.pool_name, NULL, TARN_DESTROY_FORCE, &message);
    if (done < 0 && done != -ENOENT)
        violated("destroyed again: %d: %s", done, message.text);
    survivor_read_disk(fixture.data_fd);
    survivor_check_disk(&fixture.survivor, NULL);
    fixture_clear(operation->flags);
    set_fixture();
}

/* A pool that was to be made is there, or can be made, or built; then it goes. */
static void end_begun_pool(void)
{
    struct actor again = one_who_acts();
    struct tarn_message message = {""};
    int done = operation_attach(&again);
    if (done == -ENOENT) {
        done = operation->run(&again);
        if (done == -EEXIST)
            done = operation_build(&again);
        if (done == 0)
            done = operation_attach(&again);
    }
    if (done == 0)
        done = operation_leave(&again);
    if (done != 0)
        violated("begun again: %d: %s", done, again.message);
    done = tarn_destroy(again.pool_name, NULL, TARN_DESTROY_DATA, &message);
    if (done != 0)
        violated("what was begun does not end: %d: %s", done, message.text);
}

/* The pool is looked at and used where it was cut off, then made as it was before. */
static void go_on(const char *where)
{
    const unsigned both = OPERATION_CHANGES | OPERATION_ASKS;
    bool alone = fixture.writer == 0, flushes = (operation->flags & both) == both;
    fixture_pause_writer();
    fixture.survivor.where = where;
    survivor_read_disk(fixture.data_fd);
    survivor_check_rules(&fixture.survivor);
    survivor_check_pages(&fixture.survivor, &common->actor.change);
    if (flushes && common->phase == RAN && common->result == 0)
        survivor_check_disk(&fixture.survivor, &common->actor.change);
    if (operation->flags & OPERATION_ENDS_POOL) {
        end_pool_again();
        return;
    }
    if (operation->flags & OPERATION_BEGINS_POOL)
        end_begun_pool();
    fixture_check_pins();
    if (alone)
        fixture_start_writer();
    fixture_continue_writer();
    survivor_work(&fixture.survivor, ROUNDS);
    int done = operation_drop_strays(&fixture.self);
    if (done == 0)
        done = tarn_flush_all(fixture.self.session);
    if (done != 0)
        violated("%s: %d: %s", where, done, tarn_session_message(fixture.self.session));
    survivor_read_disk(fixture.data_fd);
    survivor_check_disk(&fixture.survivor, NULL);
    if (alone)
        fixture_end_writer();
}

static void kill_at(uint64_t at)
{
    step = at;
    if (!start_victim())
        return;
    run_to(at);
    kill_and_reap();
    go_on("live");
    result.kills++;
}

/* Operations. */

static void run_operation(uint64_t end_ns)
{
    uint64_t begun = tarn_now_ns(), first = options.seed % KILL_EVERY;
    result = (struct result){.steps = 0};
    survivor_random = options.seed;
    /* Of writers, the one that ends by itself. */
    result.skipped = strcmp(operation->name, "writer-work") == 0;
    if (result.skipped)
        return;
    set_fixture();
    bool can = start_victim();
    result.skipped = !can;
    if (can) {
        step_through(begun + (end_ns - begun) * 2 / 3);
        fixture_continue_writer();
        if (result.cut)
            kill_and_reap();
        else
            finish_victim();
        go_on("live, after all");
        count_passes();
    }
    /* In an order that leaves no part of the run out if the time is over: a prime permutes them. */
    uint64_t count = result.steps / KILL_EVERY;
    for (uint64_t i = 0; can && i < count && !result.kills_cut; i++) {
        uint64_t at = first + i * PRIME % count * KILL_EVERY;
        if (options.step == UINT64_MAX || options.step == at)
            kill_at(at);
        result.kills_cut = tarn_now_ns() >= end_ns;
    }
    fixture_clear(operation->flags);
}

static unsigned all_count(void)
{
    return operation_count + REAPERS;
}

static const struct operation *one_of_all(unsigned i)
{
    return i < operation_count ? &operations[i] : &reapers[i - operation_count];
}

static bool wanted(const struct operation *one)
{
    const char *const *names = options.operation_count == 0 ? usual : options.operations;
    unsigned count = options.operation_count == 0 ? (unsigned)(sizeof usual / sizeof usual[0])
                                                  : options.operation_count;
    for (unsigned i = 0; !options.all && i < count; i++)
        if (strcmp(names[i], one->name) == 0)
            return true;
    return options.all;
}

static void print_row(const char *name, const struct result *row)
{
    printf("# %-24s %12" PRIu64 " %10" PRIu64 " %10" PRIu64 " %10" PRIu64 "%s%s\n", name,
           row->steps, row->states, row->kills, row->violations,
           row->cut ? "  not every instruction" : "", row->kills_cut ? "  fewer kills" : "");
    fflush(stdout);
}

static uint64_t run_operations(void)
{
    unsigned count = 0, number = 0;
    struct result sum = {.steps = 0};
    uint64_t end = tarn_now_ns() + options.seconds * SECOND;
    for (unsigned i = 0; i < all_count(); i++)
        count += wanted(one_of_all(i));
    printf("# %-24s %12s %10s %10s %10s\n", "operation", "instructions", "states", "real kills",
           "violations");
    for (unsigned i = 0; i < all_count(); i++) {
        operation = one_of_all(i);
        if (!wanted(operation))
            continue;
        uint64_t now = tarn_now_ns();
        run_operation(now + (end > now ? end - now : 0) / (count - number));
        printf("%s %u - %s%s\n", result.violations == 0 ? "ok" : "not ok", ++number,
               operation->name, result.skipped ? " # SKIP not done here" : "");
        print_row(operation->name, &result);
        sum.steps += result.steps;
        sum.states += result.states;
        sum.kills += result.kills;
        sum.violations += result.violations;
    }
    print_row("all", &sum);
    printf("1..%u\n", number);
    return number == 0 ? 1 : sum.violations;
}

static _Noreturn void usage(int status)
{
    printf("usage: step [--operations all|NAME...] [--seconds N] [--seed N] [--step N] [--list]\n\n"
           "Kills a process at every instruction of operations.\n\n"
           "  --operations  which ones; otherwise five\n"
           "  --seconds     for all together: what has no time left is cut, and says so (60)\n"
           "  --step        looks only at the state after so many instructions\n"
           "  --list        prints the names\n");
    exit(status);
}

static void read_options(int argc, char **argv)
{
    static const struct option known[] = {{"operations", required_argument, NULL, 'o'},
                                          {"seconds", required_argument, NULL, 's'},
                                          {"seed", required_argument, NULL, 'r'},
                                          {"step", required_argument, NULL, 'k'},
                                          {"list", no_argument, NULL, 'l'},
                                          {"help", no_argument, NULL, 'h'},
                                          {NULL, 0, NULL, 0}};
    const char *seed = getenv("TARN_TEST_SEED");
    if (getrandom(&options.seed, sizeof options.seed, 0) != sizeof options.seed)
        options.seed = tarn_now_ns();
    if (seed != NULL && seed[0] != 0)
        options.seed = strtoull(seed, NULL, 0);
    for (int option; (option = getopt_long(argc, argv, "", known, NULL)) != -1;) {
        if (option == 'o')
            options.operations[options.operation_count++] = optarg;
        else if (option == 's')
            options.seconds = strtoull(optarg, NULL, 0);
        else if (option == 'r')
            options.seed = strtoull(optarg, NULL, 0);
        else if (option == 'k')
            options.step = strtoull(optarg, NULL, 0);
        else if (option != 'l')
            usage(option == 'h' ? 0 : 2);
        for (unsigned i = 0; option == 'l' && i < all_count(); i++)
            printf("%s\n", one_of_all(i)->name);
        if (option == 'l')
            exit(0);
    }
    while (optind < argc && options.operation_count < OPERATIONS_MAX)
        options.operations[options.operation_count++] = argv[optind++];
    options.all = options.operation_count == 1 && strcmp(options.operations[0], "all") == 0;
}

static bool may_trace(void)
{
    int status = 1;
    pid_t pid = fixture_fork();
    if (pid == 0)
        _exit(ptrace(PTRACE_TRACEME, 0, NULL, NULL) != 0);
    return waitpid(pid, &status, 0) == pid && status == 0;
}

/* This process and its children share one processor: they take turns, and going from one to the
 * other is twice as fast there. */
static void stay_here(void)
{
    cpu_set_t here;
    CPU_ZERO(&here);
    CPU_SET(sched_getcpu(), &here);
    sched_setaffinity(0, sizeof here, &here);
}

int main(int argc, char **argv)
{
    read_options(argc, argv);
    stay_here();
    printf("# TARN_TEST_SEED=%" PRIu64 "\n", options.seed);
    snprintf(fixture.pool_name, sizeof fixture.pool_name, "test-step-%d", (int)getpid());
    fixture.page = options.seed % (OPERATION_PAGES - OPERATION_PAGES_MAX - 2);
    /* In memory: nothing here is about the disk. */
    snprintf(fixture.directory, sizeof fixture.directory, "/dev/shm/%s", fixture.pool_name);
    common = mmap(NULL, sizeof *common, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (common == MAP_FAILED)
        fixture_fail("no memory");
    if (!may_trace()) {
        printf("1..0 # SKIP ptrace is not allowed here\n");
        return 0;
    }
    /* A child does it, so that nothing is left behind whichever way it ends. */
    pid_t worker = fixture_fork();
    if (worker == 0)
        exit(run_operations() == 0 ? 0 : 1);
    signal(SIGTERM, SIG_IGN);
    signal(SIGINT, SIG_IGN);
    int status = 1;
    waitpid(worker, &status, 0);
    fixture_remove();
    return status != 0;
}
