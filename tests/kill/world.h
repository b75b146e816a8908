/* SPDX-License-Identifier: MIT */
/* A small world in one process: logical processes that are coroutines, and as much of a kernel as
 * the library asks for: files, descriptors, OFD locks, futexes, a clock, a disk.
 *
 * The library is built with -fsanitize=thread and linked with hook.c: each of its accesses to the
 * segment, and each system call, is a point at which a process can be left standing. Everything
 * that happens follows from the calls below; all of it can be saved and brought back.
 *
 * A process is killed by never being resumed. What the kernel does then, closing its descriptors
 * and so dropping its locks, happens at once or, like for a process whose memory takes long to
 * unmap, later: it is then known to be dead (world_dead() stands for PF_EXITING) with its locks
 * still held. What it had submitted to the disk goes on, and keeps its descriptors alive.
 */
#ifndef TESTS_KILL_WORLD_H
#define TESTS_KILL_WORLD_H

#include <stddef.h>
#include <stdint.h>
#include <ucontext.h>

#include "shm/view.h"
#include "tests/kill/operations.h"

struct tarn_pool;
struct tarn_io_request;

enum {
    WORLD_PROCESSES = 12,
    WORLD_NODES = 32,
    WORLD_DESCRIPTIONS = 160,
    WORLD_LOCKS = 128,
    WORLD_REQUESTS = 128,
    WORLD_BLOCKS = 96,
    WORLD_BLOCK_BYTES = 4096,
    WORLD_SIZES = 24, /* of blocks of memory: powers of two */
};

enum process_state {
    PROCESS_NONE,
    PROCESS_IDLE,  /* called nothing, or what it called has returned */
    PROCESS_READY, /* stands at a point, or has not begun */
    PROCESS_WAITS, /* for `ready` or a time */
    PROCESS_DYING, /* dead, its descriptors not closed yet */
    PROCESS_DEAD,
};

struct process {
    enum process_state state;
    unsigned pid;
    bool serves;      /* goes on by itself while others wait: a writer */
    uint64_t points;  /* passed since it was called */
    uint64_t stop_at; /* of them */
    uint64_t wake_ns; /* when it no longer waits; UINT64_MAX: not by time */
    bool (*ready)(struct process *process);
    const void *wait_for; /* what ready() looks at */
    bool woken;           /* from a futex */
    int error_number;     /* its errno */
    int (*function)(struct actor *actor);
    int result;
    struct actor actor;
    struct tarn_pool *open_pools; /* its copy of the library's one global */
    ucontext_t context;
    char *stack_low;  /* below it nothing is in use */
    uint64_t version; /* steps when its memory may have changed */
    size_t memory_used;
    unsigned blocks; /* of memory that it has not freed */
    void *memory_free[WORLD_SIZES];
};

enum node_type { NODE_FILE, NODE_DIRECTORY, NODE_FIFO, NODE_EVENT };

struct node {
    bool used;
    enum node_type type;
    char path[160]; /* empty: unlinked */
    uint64_t inode;
    unsigned mode;
    size_t size;                    /* bytes of a file; of a FIFO or an event: what can be read */
    uint64_t written[WORLD_BLOCKS]; /* the world's write_count when a block was written */
    uint64_t synced;                /* what was written up to then is on the device */
    uint64_t version;               /* steps when a file is changed by other means than a mapping */
};

struct description {
    bool used, open, mapped;
    struct process *process;
    struct node *node;
    int flags;
    size_t offset;
    unsigned in_flight;
};

struct file_lock {
    struct description *description; /* NULL: unused */
    int64_t first, last;
    bool exclusive;
};

/* A request to the disk. */
struct disk_request {
    struct process *process; /* NULL: unused */
    unsigned pid;            /* so that a process that came later is not told */
    struct tarn_io_request *request;
    struct description *description;
    int kind; /* enum tarn_io_request_kind */
    bool durable;
    void *data;
    size_t bytes;
    uint64_t offset;
    uint64_t done_ns;
    uint64_t begun;      /* write_count when it was submitted */
    uint64_t disk_begun; /* the same of world_disk */
    bool done;
    int64_t result;
};

struct world {
    uint64_t now_ns;
    uint64_t disk_ns_max; /* that a request takes */
    uint64_t write_count;
    uint64_t random; /* drawn by the disk */
    unsigned pid_last;
    uint64_t inode_last;
    struct process processes[WORLD_PROCESSES];
    struct node nodes[WORLD_NODES];
    struct description descriptions[WORLD_DESCRIPTIONS];
    struct file_lock locks[WORLD_LOCKS];
    struct disk_request requests[WORLD_REQUESTS];
    unsigned request_count; /* in flight */
    struct node *segment;   /* NULL: no pool */
    struct tarn_view view;  /* of the segment, for who checks */
};

extern struct world world;
extern struct process *world_running; /* NULL: the harness */

/* Empties the world; `seed` is the disk's. */
void world_begin(uint64_t seed);

/* Says on stderr and ends the program. */
_Noreturn void world_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Processes. */

struct process *process_new(void);

/* It is to call the function; nothing runs yet. */
void process_call(struct process *process, int (*function)(struct actor *actor));

/* Runs it until it has passed so many more points (then it is READY, before the next access), it
 * waits, or its function has returned (IDLE). */
enum process_state process_resume(struct process *process, uint64_t points);

bool process_can_run(struct process *process);

/* Time passes to the next thing that happens to anybody; false: nothing will. */
bool world_pass_time(void);

/* Runs it to its end; while it waits, those that serve run, and time passes. If it does not end:
 * world_fail(). */
int process_finish(struct process *process);

/* Both in one. */
int process_do(struct process *process, int (*function)(struct actor *actor));

/* One step of that: of those that serve, or of time, for one that waits. */
void process_let_wait(struct process *process);

/* Lets those that serve go on until all of them wait; time passes only as far as their disk needs
 * it. */
void world_settle(void);

/* The same, and time passes until they have nothing to do by themselves for so long. */
void world_settle_for(uint64_t ns);

void process_kill(struct process *process, bool locks_stay);
void process_take_apart(struct process *process);

/* Is the session in the slot one of a process that has been killed? For tarn_pool.dead. */
bool world_dead(unsigned slot);

/* The process that has a session in the slot; NULL: none, or a dead one. */
struct process *world_process_of(unsigned slot);

struct process *world_process(unsigned pid);

/* Saving. A snapshot may be restored many times; world_saved_free() when it is not needed. */

struct world_saved;
struct world_saved *world_save(struct world_saved *saved); /* NULL, or one to write over */
void world_restore(const struct world_saved *saved);
void world_saved_free(struct world_saved *saved);

/* Faults: calls of one process that fail. */

enum { FAULT_SHORT = 10000 }; /* no errno: half of the bytes are transferred */

struct world_fault {
    const struct process *process; /* NULL: nothing fails */
    uint64_t at;                   /* which of its calls that can fail; the first is 1 */
    bool stays;                    /* that one and all after it */
    int error;                     /* 0: what is likely for the call */
    uint64_t calls, happened;      /* that it has made; that have failed */
    bool removal;                  /* one that has failed would have removed a name */
    bool halves;                   /* the call that is being made */
    bool held;                     /* nothing fails or counts just now */
};
extern struct world_fault world_fault;

/* Does the call that is being made fail? Then errno says how: as asked, or `error`. */
bool world_call_fails(int error);

void world_hold_faults(bool held);

/* How many of the bytes the call that is being made transfers. */
size_t world_transfer_bytes(size_t bytes);

/* Descriptors and mappings of files that it has. */
unsigned world_holdings(const struct process *process);

/* Files, for who checks. */

struct node *world_node(const char *path);
void *world_node_data(const struct node *node);

/* Has a sync that ended begun after the newest write of the block at this offset had ended, or was
 * that write a durable one? */
bool world_synced(const struct node *node, size_t offset);

/* For hook.c and the disk. */

/* A point: the running process may be left standing here. */
void world_point(void);

/* The running process waits until ready() or the time. */
void world_wait(bool (*ready)(struct process *process), const void *wait_for, uint64_t wake_ns);

struct description *world_description(int fd); /* NULL: not one of the running process */
bool world_description_readable(const struct description *description);
void world_description_drop(struct description *description);

uint64_t world_draw(uint64_t *state, uint64_t below);

/* Where the segment is mapped; 0 bytes while the harness runs. */
extern uintptr_t hook_begin;
extern size_t hook_bytes;

/* Few points within a page, for who goes through combinations of points. */
extern bool hook_sparse;

#endif
