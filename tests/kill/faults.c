/* SPDX-License-Identifier: MIT */
/* Each system call, request to the disk and allocation that an operation makes, fails once, or from
 * then on: of the process that does the operation, or of the writer that serves it. Whatever comes
 * of the operation, it ends; nothing is lost or half done; the pool works when the fault has gone,
 * or says that its durability has ended.
 *
 * Nothing depends on the machine or the time: a line that begins with --replay, given to this
 * program, does that one again.
 */
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/internal.h"
#include "tests/kill/ends.h"

enum { FAILURES_MAX = 5, WORKS = 2 };

/* What fails. */
static struct {
    uint64_t state; /* seed of the pool it happens in */
    unsigned operation;
    bool writers; /* a call of the writer's */
    bool stays;
    int error;
    uint64_t at;
} now;

static const int errors[] = {0, EIO, EINTR, FAULT_SHORT};
static uint64_t faults, refusals;
static int answer; /* of the operation */

static void print_fault(void)
{
    char text[128];
    int length =
        snprintf(text, sizeof text, "# --replay %" PRIu64 ":%s:%d:%d:%d:%" PRIu64 "\n", now.state,
                 operations[now.operation].name, now.writers, now.stays, now.error, now.at);

    if (write(STDOUT_FILENO, text, (size_t)length) != length)
        return;
}

static bool is_failed(void)
{
    return world.segment != NULL && tarn_load_relaxed(&world.view.control->failed) != 0;
}

static bool is_end(const struct operation *operation)
{
    return (operation->flags & (OPERATION_BEGINS_POOL | OPERATION_ENDS_POOL)) != 0;
}

static unsigned page(void)
{
    return (unsigned)(now.state + 5) % OPERATION_PAGES;
}

/* Who destroys by force gives up what the disk refuses, and says so; not what the process has no
 * means to write. */
static bool is_given_up(const struct process *victim)
{
    int result = victim->result;

    return strcmp(operations[now.operation].name, "destroy-force") == 0 && result < 0 &&
           result != -ENOMEM && result != -EMFILE && result != -ENOLCK;
}

/* A writer that gave up has said so and left; another one comes. */
static void replace_writer(void)
{
    for (unsigned i = 0; i < WORLD_PROCESSES; i++)
        if (world.processes[i].serves && world.processes[i].state != PROCESS_IDLE)
            return;
    stage_writer();
}

/* Whatever the operation has left is given back; no call for that may fail. */
static void end_operation(struct process *victim, const struct operation *operation)
{
    stage_must_do(victim, operation_rest, "rest");
    process_do(victim, operation->finish);
    if (victim->actor.session != NULL)
        stage_must_do(victim, operation_rest, "rest");
}

/* Nothing is left of who has left: memory, descriptors, mappings. */
static void leave(struct process *victim)
{
    if (victim->actor.writer != NULL)
        process_do(victim, operations[now.operation].finish);
    if (victim->actor.pool != NULL)
        stage_must_do(victim, operation_leave, "leave");
    if (world_holdings(victim) != 0)
        oracle_broken("descriptors or mappings are left", victim->pid, world_holdings(victim));
    if (victim->blocks != 0)
        oracle_broken("memory is left", victim->pid, victim->blocks);
}

/* Is the file in the table in the pool's directory? */
static bool is_known(const char *name)
{
    const struct node *table = world_node(WORLD_DIRECTORY "/files");
    const char *text = world_node_data(table);

    return strcmp(name, "tmp") == 0 || memmem(text, table->size, name, strlen(name)) != NULL;
}

/* Of names there are the pool's, and those in its table. One that could not be removed stays;
 * whoever drops a file is told. */
static void check_names(void)
{
    bool told = strcmp(operations[now.operation].name, "file-drop") == 0 && answer < 0;
    static const char *const own[] = {"options", "files", "lock", "data"};

    for (unsigned i = 0; i < WORLD_NODES; i++) {
        const struct node *node = &world.nodes[i];
        size_t length = strlen(WORLD_DIRECTORY "/");
        bool known = !node->used || node->type != NODE_FILE || node == world.segment ||
                     node->path[0] == 0 || world_fault.removal || told;

        for (unsigned j = 0; j < sizeof own / sizeof own[0]; j++)
            known = known || strcmp(node->path + length, own[j]) == 0;
        if (!known && (strncmp(node->path, WORLD_DIRECTORY "/", length) != 0 ||
                       !is_known(node->path + length))) {
            printf("# %s\n", node->path);
            oracle_broken("a file is left", node->inode, 0);
        }
    }
}

/* The fault has gone: everything works, or says why not. */
static void go_on(struct process *victim)
{
    const struct operation *operation = &operations[now.operation];
    struct actor *actors[] = {&victim->actor, &stage.other->actor};
    struct model after = stage.model;

    replace_writer();
    world_settle();
    oracle_acknowledge(&after, victim, operation);
    if ((operation->flags & OPERATION_WRITES) == 0)
        end_operation(victim, operation);
    stage_must_do(stage.other, operation_rest, "rest");
    oracle_segment();
    oracle_pages(&after, actors, 2);
    if (victim->state == PROCESS_IDLE && now.at % 2 != 0)
        leave(victim);
    check_names();
    process_kill(victim, false);
    stage_must_do(stage.survivor, stage_reap, "reap");
    oracle_segment();
    replace_writer();
    for (unsigned i = 0; !is_failed() && i < WORKS; i++)
        stage_work(stage_draw(2) == 0 ? stage.survivor : stage.third, stage_draw_operation(),
                   page(), &after);
    if (!is_failed() && stage_is_for_members(operation))
        stage_work(stage.third, now.operation, page(), &after);
    oracle_segment();
}

static bool set_stage(const struct operation *operation, struct process **ret_victim)
{
    if (is_end(operation))
        ends_clear_stage(operation);
    struct process *victim = stage_process();
    *ret_victim = victim;
    stage_set_up(victim, page());
    if (is_end(operation))
        return true;
    if (operation->flags & OPERATION_WRITES) {
        process_kill(stage.writer, false);
        stage_must_do(stage.survivor, stage_reap, "reap");
    }
    if ((operation->flags & OPERATION_NO_POOL) == 0)
        stage_must_do(victim, operation_attach, "attach");
    if ((operation->flags & (OPERATION_NO_POOL | OPERATION_NO_SESSION)) == 0)
        stage_must_do(victim, operation_enter, "enter");
    return stage_must_do(victim, operation->prepare, "prepare") == 0;
}

/* The operation with one fault. False: it makes fewer calls than that, or cannot be done. */
static bool try_fault(void)
{
    const struct operation *operation = &operations[now.operation];
    struct process *victim;

    stage.random = now.operation + now.at;
    bool possible = set_stage(operation, &victim);
    if (possible) {
        world_fault = (struct world_fault){.process = now.writers ? stage.writer : victim,
                                           .at = now.at,
                                           .stays = now.stays,
                                           .error = now.error};
        process_call(victim, operation->run);
        victim->serves = (operation->flags & OPERATION_WRITES) != 0;
        if (victim->serves)
            world_settle();
        else
            process_finish(victim);
        world_fault.process = NULL;
        answer = victim->result;
        refusals += victim->state == PROCESS_IDLE && victim->result != 0;
        possible = world_fault.happened > 0;
    }
    if (possible) {
        faults++;
        if (is_end(operation) && !is_given_up(victim))
            ends_come_after(operation);
        else if (!is_end(operation))
            go_on(victim);
    }
    world_restore(stage.base);
    return possible;
}

/* What a call can come back from by itself stays no fault for ever. */
static bool makes_sense(void)
{
    unsigned flags = operations[now.operation].flags;

    if (now.writers && (flags & OPERATION_ASKS) == 0)
        return false;
    return !now.stays || now.error == 0 || now.error == EIO;
}

static void sweep(void)
{
    uint64_t sequences = stage.sequences;

    if (!makes_sense())
        return;
    for (now.at = 1; try_fault(); now.at++)
        stage.sequences = sequences;
    stage.sequences = sequences;
}

static void count_failure(void)
{
    print_fault();
    if (oracle_failures >= FAILURES_MAX)
        exit(EXIT_FAILURE);
}

static void handle_abort(int number)
{
    world_running = NULL; /* what follows is the harness's */
    print_fault();
    signal(number, SIG_DFL);
}

/* All that can fail in a new pool, then in drawn ones until the time is over. */
static void sweep_all(uint64_t seed, unsigned rounds)
{
    for (unsigned round = 0; round < rounds; round++) {
        now.state = round == 0 ? 0 : seed + round;
        stage_make(now.state);
        for (now.operation = 0; now.operation < operation_count; now.operation++)
            for (unsigned i = 0; i < 2 * 2 * sizeof errors / sizeof errors[0]; i++) {
                now.error = errors[i / 4];
                now.writers = i / 2 % 2 != 0;
                now.stays = i % 2 != 0;
                sweep();
            }
    }
}

static void replay(const char *text)
{
    char operation[64];
    int writers, stays;

    if (sscanf(text, "%" SCNu64 ":%63[^:]:%d:%d:%d:%" SCNu64, &now.state, operation, &writers,
               &stays, &now.error, &now.at) != 6)
        exit(2);
    while (now.operation < operation_count &&
           strcmp(operations[now.operation].name, operation) != 0)
        now.operation++;
    if (now.operation == operation_count)
        exit(2);
    now.writers = writers != 0;
    now.stays = stays != 0;
    stage_make(now.state);
    try_fault();
}

int main(int argc, char **argv)
{
    const char *text = getenv("TARN_TEST_SEED");
    uint64_t seed = text != NULL ? strtoull(text, NULL, 10) : (uint64_t)getpid() * 1000;
    unsigned rounds = argc == 3 ? (unsigned)strtoul(argv[2], NULL, 10) : 5;

    setvbuf(stdout, NULL, _IOLBF, 0);
    oracle_failed = count_failure;
    signal(SIGABRT, handle_abort);
    signal(SIGSEGV, handle_abort);
    printf("1..1\n# seed %" PRIu64 "; TARN_TEST_SEED=%" PRIu64 " replays this run\n", seed, seed);
    if (argc == 3 && strcmp(argv[1], "--replay") == 0)
        replay(argv[2]);
    else if (argc == 1 || (argc == 3 && strcmp(argv[1], "--rounds") == 0))
        sweep_all(seed, rounds);
    else
        return fputs("usage: faults [--rounds N | --replay FAULT]\n", stderr), 2;
    printf("%s 1 - faults: a pool survives each of them\n", oracle_failures == 0 ? "ok" : "not ok");
    printf("# %" PRIu64 " faults; %" PRIu64 " operations did not succeed\n", faults, refusals);
    return oracle_failures != 0;
}
