/* SPDX-License-Identifier: MIT */
/* Processes, time, saving. */
#include "tests/kill/world.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "lib/internal.h"
#include "tests/kill/memory.h"

enum { STACK_BYTES = 1 << 18, RED_ZONE = 1024 };

/* A process that needs longer than this hangs. */
#define LIMIT_NS  (INT64_C(1000) * 1000 * NS_PER_MS)
#define WAITS_MAX 1000000

unsigned tarn_planted; /* of shm/planted.h */
struct world world;
struct process *world_running;
struct world_fault world_fault;
uintptr_t hook_begin;
size_t hook_bytes;

static ucontext_t harness;
static char *memory; /* of each process: its heap, then its stack */
static char *node_memory;

_Noreturn void world_fail(const char *format, ...)
{
    va_list arguments;

    hook_bytes = 0;
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
    abort();
}

uint64_t world_draw(uint64_t *state, uint64_t below)
{
    uint64_t z = (*state += 0x9e3779b97f4a7c15u); /* splitmix64 */

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return (z ^ (z >> 31)) % below;
}

uint64_t next_version(void)
{
    static uint64_t version;

    return ++version;
}

static void *reserve(size_t bytes)
{
    void *area = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    if (area == MAP_FAILED)
        world_fail("no memory for the world");
    return area;
}

void world_begin(uint64_t seed)
{
    if (memory == NULL) {
        memory = reserve((size_t)WORLD_PROCESSES * (MEMORY_BYTES + STACK_BYTES));
        node_memory = reserve((size_t)WORLD_NODES * NODE_BYTES_MAX);
    }
    world = (struct world){
        .random = seed, .now_ns = 1000000000, .disk_ns_max = 200000, .pid_last = 1000};
}

/* Memory of processes. */

static unsigned index_of(const struct process *process)
{
    return (unsigned)(process - world.processes);
}

char *process_memory(const struct process *process)
{
    return memory + (size_t)index_of(process) * (MEMORY_BYTES + STACK_BYTES);
}

static char *stack_of(const struct process *process)
{
    return process_memory(process) + MEMORY_BYTES;
}

void *world_node_data(const struct node *node)
{
    return node_memory + (size_t)(node - world.nodes) * NODE_BYTES_MAX;
}

/* Running. */

/* What it has written and the disk has not done yet is still in its memory. */
static bool needs_memory(const struct process *process)
{
    if (process->state != PROCESS_NONE && process->state != PROCESS_DEAD)
        return true;
    for (unsigned i = 0; i < WORLD_REQUESTS; i++)
        if (world.requests[i].process == process)
            return true;
    return false;
}

/* The place of who died last is taken last: its actor is still looked at. */
struct process *process_new(void)
{
    for (unsigned i = 0; i < WORLD_PROCESSES; i++) {
        struct process *process = &world.processes[(world.pid_last + i) % WORLD_PROCESSES];

        if (needs_memory(process))
            continue;
        *process = (struct process){
            .state = PROCESS_IDLE, .pid = ++world.pid_last, .version = next_version()};
        return process;
    }
    world_fail("too many processes");
}

static void enter(struct process *process)
{
    struct actor *other = process->actor.other;

    world_running = process;
    process->version = next_version();
    if (other != NULL) /* whose session prepare() may use */
        ((struct process *)((char *)other - offsetof(struct process, actor)))->version =
            next_version();
    tarn_open_pools = process->open_pools;
    hook_begin = world.segment == NULL ? 0 : (uintptr_t)world_node_data(world.segment);
    hook_bytes = world.segment == NULL ? 0 : world.segment->size;
    errno = process->error_number;
}

static void leave(struct process *process, enum process_state state)
{
    process->error_number = errno;
    process->open_pools = tarn_open_pools;
    tarn_open_pools = NULL;
    process->stack_low = (char *)__builtin_frame_address(0) - RED_ZONE;
    process->state = state;
    hook_bytes = 0;
    world_running = NULL;
    swapcontext(&process->context, &harness);
    enter(process);
}

static void run_function(void)
{
    struct process *process = world_running;

    process->result = process->function(&process->actor);
    for (;;)
        leave(process, PROCESS_IDLE);
}

void process_call(struct process *process, int (*function)(struct actor *actor))
{
    if (process->state != PROCESS_IDLE)
        world_fail("process %u does something already", process->pid);
    process->function = function;
    process->points = 0;
    process->state = PROCESS_READY;
    process->version = next_version();
    getcontext(&process->context);
    process->context.uc_stack.ss_sp = stack_of(process);
    process->context.uc_stack.ss_size = STACK_BYTES;
    process->context.uc_link = NULL;
    makecontext(&process->context, run_function, 0);
    process->stack_low = stack_of(process) + STACK_BYTES - 2 * RED_ZONE;
}

bool process_can_run(struct process *process)
{
    return process->state == PROCESS_READY ||
           (process->state == PROCESS_WAITS &&
            (process->wake_ns <= world.now_ns ||
             (process->ready != NULL && process->ready(process))));
}

enum process_state process_resume(struct process *process, uint64_t points)
{
    if (world_running != NULL)
        world_fail("a process resumes another one");
    if (!process_can_run(process))
        return process->state;
    process->stop_at = points == UINT64_MAX ? UINT64_MAX : process->points + points;
    enter(process);
    swapcontext(&harness, &process->context);
    return process->state;
}

void world_point(void)
{
    struct process *process = world_running;

    if (process == NULL)
        return;
    if (process->points == process->stop_at)
        leave(process, PROCESS_READY);
    process->points++;
}

void world_wait(bool (*ready)(struct process *process), const void *wait_for, uint64_t wake_ns)
{
    struct process *process = world_running;

    if (process == NULL)
        world_fail("the harness waits");
    process->ready = ready;
    process->wait_for = wait_for;
    process->woken = false;
    process->wake_ns = wake_ns;
    leave(process, PROCESS_WAITS);
}

/* All that serve run until each of them waits; false: none could. */
static bool serve(void)
{
    bool any = false, again = true;

    for (unsigned i = 0; again && i < 1000; i++) {
        again = false;
        for (unsigned j = 0; j < WORLD_PROCESSES; j++) {
            struct process *process = &world.processes[j];

            if (process->serves && process_can_run(process)) {
                process_resume(process, UINT64_MAX);
                any = again = true;
            }
        }
    }
    return any;
}

/* Time passes up to the next thing that happens to this process, to those that serve, or on the
 * disk. NULL: on the disk, or to those that serve within a tenth of a millisecond. */
static bool pass_time(const struct process *process)
{
    uint64_t next = process == NULL ? UINT64_MAX : process->wake_ns;

    for (unsigned i = 0; i < WORLD_PROCESSES; i++) {
        const struct process *other = &world.processes[i];

        if (process != NULL && other->serves && other->state == PROCESS_WAITS &&
            other->wake_ns < next)
            next = other->wake_ns;
    }
    for (unsigned i = 0; i < WORLD_REQUESTS; i++) {
        const struct disk_request *request = &world.requests[i];

        if (request->process != NULL && !request->done && request->done_ns < next)
            next = request->done_ns;
    }
    if (next == UINT64_MAX)
        return false;
    if (next > world.now_ns)
        world.now_ns = next;
    disk_advance();
    return true;
}

bool world_pass_time(void)
{
    uint64_t next = UINT64_MAX;

    for (unsigned i = 0; i < WORLD_PROCESSES; i++) {
        const struct process *process = &world.processes[i];

        if (process->state == PROCESS_WAITS && process->wake_ns > world.now_ns &&
            process->wake_ns < next)
            next = process->wake_ns;
    }
    for (unsigned i = 0; i < WORLD_REQUESTS; i++) {
        const struct disk_request *request = &world.requests[i];

        if (request->process != NULL && !request->done && request->done_ns < next)
            next = request->done_ns;
    }
    if (next == UINT64_MAX)
        return false;
    if (next > world.now_ns)
        world.now_ns = next;
    disk_advance();
    return true;
}

bool world_synced(const struct node *node, size_t offset)
{
    return node->written[offset / WORLD_BLOCK_BYTES % WORLD_BLOCKS] <= node->synced;
}

void world_settle(void)
{
    for (unsigned i = 0; i < WAITS_MAX; i++) {
        if (!serve() && !pass_time(NULL))
            return;
    }
    world_fail("those that serve never wait");
}

void world_settle_for(uint64_t ns)
{
    for (unsigned i = 0; i < WAITS_MAX; i++) {
        uint64_t next = UINT64_MAX;

        world_settle();
        for (unsigned j = 0; j < WORLD_PROCESSES; j++) {
            const struct process *process = &world.processes[j];

            if (process->serves && process->state == PROCESS_WAITS && process->wake_ns < next)
                next = process->wake_ns;
        }
        if (next == UINT64_MAX || next > world.now_ns + ns)
            return;
        world.now_ns = next > world.now_ns ? next : world.now_ns;
    }
    world_fail("those that serve have something to do again and again");
}

void process_let_wait(struct process *process)
{
    if (process->state != PROCESS_WAITS)
        world_fail("process %u cannot go on", process->pid);
    if (!serve() && !process_can_run(process) && !pass_time(process))
        world_fail("process %u waits for ever", process->pid);
}

int process_finish(struct process *process)
{
    uint64_t begun_ns = world.now_ns;

    for (unsigned i = 0; process_resume(process, UINT64_MAX) != PROCESS_IDLE; i++) {
        process_let_wait(process);
        if (i == WAITS_MAX || world.now_ns - begun_ns > LIMIT_NS)
            world_fail("process %u does not come to an end", process->pid);
    }
    return process->result;
}

int process_do(struct process *process, int (*function)(struct actor *actor))
{
    process_call(process, function);
    return process_finish(process);
}

/* Death. */

void process_kill(struct process *process, bool locks_stay)
{
    process->state = PROCESS_DYING;
    process->serves = false;
    if (!locks_stay)
        process_take_apart(process);
}

void process_take_apart(struct process *process)
{
    process->state = PROCESS_DEAD;
    for (unsigned i = 0; i < WORLD_DESCRIPTIONS; i++) {
        struct description *description = &world.descriptions[i];

        if (description->used && description->process == process) {
            description->open = description->mapped = false;
            world_description_drop(description);
        }
    }
}

struct process *world_process(unsigned pid)
{
    for (unsigned i = 0; i < WORLD_PROCESSES; i++) {
        struct process *process = &world.processes[i];

        if (process->pid == pid && process->state != PROCESS_NONE &&
            process->state != PROCESS_DYING && process->state != PROCESS_DEAD)
            return process;
    }
    return NULL;
}

struct process *world_process_of(unsigned slot)
{
    const struct tarn_slot *shared = tarn_view_slot(&world.view, slot);

    return shared->state.value == SLOT_FREE ? NULL : world_process((unsigned)shared->pid.value);
}

bool world_dead(unsigned slot)
{
    return tarn_view_slot(&world.view, slot)->state.value != SLOT_FREE &&
           world_process_of(slot) == NULL;
}

/* Saving. */

struct saved_part {
    size_t bytes;
    uint64_t version; /* that `copy` is of; 0: of none */
    char *copy;
    size_t room;
};

struct world_saved {
    struct world world;
    struct saved_part nodes[WORLD_NODES], heaps[WORLD_PROCESSES], stacks[WORLD_PROCESSES];
};

/* Nothing is copied if it is this version already. Version 0 is like no other. */
static void save_part(struct saved_part *part, const void *at, size_t bytes, uint64_t version)
{
    bool same = version != 0 && version == part->version && bytes == part->bytes;

    part->bytes = bytes;
    part->version = version;
    if (same || bytes == 0)
        return;
    if (bytes > part->room) {
        free(part->copy);
        part->copy = malloc(bytes);
        part->room = bytes;
    }
    memcpy(part->copy, at, bytes);
}

static void restore_part(const struct saved_part *part, void *at, uint64_t version)
{
    if (part->bytes > 0 && (version == 0 || version != part->version))
        memcpy(at, part->copy, part->bytes);
}

/* The segment changes without a system call. What is in no use may change unseen until it is used
 * again. */
static uint64_t version_of(struct node *node)
{
    if (!node->used)
        node->version = next_version();
    return node == world.segment ? 0 : node->version;
}

static size_t stack_bytes(const struct process *process)
{
    bool runs = process->state == PROCESS_READY || process->state == PROCESS_WAITS;

    return runs ? (size_t)(stack_of(process) + STACK_BYTES - process->stack_low) : 0;
}

struct world_saved *world_save(struct world_saved *saved)
{
    if (saved == NULL)
        saved = calloc(1, sizeof *saved);
    for (unsigned i = 0; i < WORLD_NODES; i++) {
        struct node *node = &world.nodes[i];
        bool file = node->used && node->type == NODE_FILE;

        save_part(&saved->nodes[i], world_node_data(node), file ? node->size : 0, version_of(node));
    }
    for (unsigned i = 0; i < WORLD_PROCESSES; i++) {
        struct process *process = &world.processes[i];

        if (!needs_memory(process))
            process->version = next_version();
        save_part(&saved->heaps[i], process_memory(process),
                  needs_memory(process) ? process->memory_used : 0, process->version);
        save_part(&saved->stacks[i], process->stack_low, stack_bytes(process), process->version);
    }
    saved->world = world;
    return saved;
}

void world_restore(const struct world_saved *saved)
{
    uint64_t nodes[WORLD_NODES], processes[WORLD_PROCESSES];

    for (unsigned i = 0; i < WORLD_NODES; i++)
        nodes[i] = version_of(&world.nodes[i]);
    for (unsigned i = 0; i < WORLD_PROCESSES; i++)
        processes[i] = world.processes[i].version;
    world = saved->world;
    for (unsigned i = 0; i < WORLD_NODES; i++)
        restore_part(&saved->nodes[i], world_node_data(&world.nodes[i]), nodes[i]);
    for (unsigned i = 0; i < WORLD_PROCESSES; i++) {
        struct process *process = &world.processes[i];

        restore_part(&saved->heaps[i], process_memory(process), processes[i]);
        restore_part(&saved->stacks[i], process->stack_low, processes[i]);
    }
}

void world_saved_free(struct world_saved *saved)
{
    for (unsigned i = 0; saved != NULL && i < WORLD_NODES; i++)
        free(saved->nodes[i].copy);
    for (unsigned i = 0; saved != NULL && i < WORLD_PROCESSES; i++) {
        free(saved->heaps[i].copy);
        free(saved->stacks[i].copy);
    }
    free(saved);
}
