/* SPDX-License-Identifier: MIT */
/* Everything that can be done with a pool, one operation each, in a form that can be stopped
 * anywhere: what the kill tests kill. Used in one process, where actors are coroutines, and by
 * forked children alike; so operations hold everything they have in the actor.
 */
#ifndef TESTS_KILL_OPERATIONS_H
#define TESTS_KILL_OPERATIONS_H

#include <stdbool.h>
#include <stdint.h>
#include <tarn.h>

struct tarn_writer;

enum {
    OPERATION_PAGE_BYTES = 4096,
    OPERATION_FRAMES = 48, /* of the pool that the operations are made for */
    OPERATION_SESSIONS = 6,
    OPERATION_FILES = 8,
    OPERATION_PAGES = 96,     /* of its data file, all of them filled; more than frames */
    OPERATION_PAGES_MAX = 16, /* that one operation works on */
};

/* What a mini-transaction is about to do, for who checks afterwards: pages have their old sequence
 * numbers or the new one, all of them alike. It is filled in before tarn_mtr_begin(). */
enum { CHANGE_NONE, CHANGE_BEGUN, CHANGE_COMMITTED, CHANGE_ABORTED };
struct change {
    unsigned state; /* CHANGE_*; BEGUN: may have happened or not; the others: call returned */
    unsigned page_count;
    uint64_t page[OPERATION_PAGES_MAX];
    uint64_t sequence;
};

/* One process as the operations see it. */
struct actor {
    const char *pool_name;
    const char *directory;        /* of the pool */
    struct tarn_pool *pool;       /* NULL: not attached */
    struct tarn_session *session; /* NULL: none open */
    struct tarn_writer *writer;   /* NULL: is none */
    struct actor *other;          /* a living neighbour that prepare() may use; NULL: nobody */
    uint32_t file;                /* the data file */
    uint64_t page;                /* first of those that the operation is to work on */
    uint64_t sequence;            /* drawn by who drives the actor: of the next change */
    struct change change;
    struct tarn_pin pin[OPERATION_PAGES_MAX];
    unsigned pin_count;
    uint32_t own_file;     /* 0: none; a file that the operation has made */
    uint32_t frame, claim; /* what an internal operation has */
    unsigned state;        /* how far prepare() and run() have got, for finish() */
    char message[256];     /* of a call that failed unexpectedly */
    struct tarn_message said;
};

enum {
    OPERATION_NO_SESSION = 1,    /* the actor needs no session: prepare() begins without one */
    OPERATION_NO_POOL = 2,       /* nor a handle: it is not attached */
    OPERATION_ASKS = 4,          /* a writer must run beside it */
    OPERATION_WRITES = 8,        /* is a writer: nobody else may be one */
    OPERATION_OTHER = 16,        /* actor->other must be there */
    OPERATION_CHANGES = 32,      /* actor->change says what it does to pages */
    OPERATION_FILE = 64,         /* changes the file table or the size of a file */
    OPERATION_ENDS_POOL = 128,   /* the pool is gone when it has run; nobody may be attached */
    OPERATION_BEGINS_POOL = 256, /* there is no pool before it */
};

/* prepare(), run() and finish() return 0, or a negative errno that nobody expected, which fails the
 * test; prepare() returns 1 if the operation cannot be done in the state that the pool is in. All
 * three are called by the actor. Only run() is stopped. finish() gives back what the other two have
 * taken, so that the actor is as before prepare(). */
struct operation {
    const char *name;
    unsigned flags; /* OPERATION_* */
    int (*prepare)(struct actor *actor);
    int (*run)(struct actor *actor);
    int (*finish)(struct actor *actor);
};

extern const struct operation operations[];
extern const unsigned operation_count;

/* Writes a page as the change `sequence` leaves it: all of it, or, over what is there, only the
 * words that change by declared ranges. */
void operation_fill(void *page, uint64_t number, uint64_t sequence);
void operation_fill_ranges(void *page, uint64_t sequence);

/* The sequence number of a page that is whole; 0: it is not. */
uint64_t operation_sequence(const void *page, uint64_t number);

/* Makes the pool, nobody attached, and a file "data" of OPERATION_PAGES pages with the sequence
 * number 1 in its directory. */
int operation_make_pool(struct actor *actor);

/* Builds the segment of a closed pool, as `tarn writer NAME --dir DIR` does. */
int operation_build(struct actor *actor);

/* Attaches, opens a session, enters the file (asks the writer) if the actor does not know it. */
int operation_enter(struct actor *actor);
int operation_attach(struct actor *actor);
int operation_leave(struct actor *actor);

/* The life of a writer, attach and detach included; ends when it is stopped, or the pool is. */
int operation_serve(struct actor *actor);

/* Gives back whatever the actor holds. */
int operation_rest(struct actor *actor);

/* Drops files that other actors made and died over. */
int operation_drop_strays(struct actor *actor);

#endif
