/* SPDX-License-Identifier: MIT */
/* Players: processes of the world that carry out scripts on a small pool, and check what they see.
 *
 * A script is a list of steps with blanks between them, each a letter and the number of a page:
 *
 *     p pin, look, unpin              w change in a mini-transaction, commit
 *     h H the same in two steps       W the same with the next page too
 *     s pin, latch shared, look       g change declared ranges, commit
 *     S U the same in two steps       a b as w and g, but abort
 *     o optimistic read               n m NEW page: commit, abort
 *     O V the same in two steps       l lock, look, release early
 *     c copy out                      t try to lock, without waiting
 *     e evict the page                T tidy its home
 *     f flush the page, look at disk  k the same, but give up waiting at once
 *     q pin, may be beyond the end    x y extend, truncate to so many pages
 *     C J close the session, open one Z open all there are
 *     r reap                          D die, when this script is at its end
 *     G set something (G0: no page may be dirty; G1, G2: settings that share a word)
 *     z set the file's share to so many frames, in one script of a scene at most
 *
 * What is true of a page (which change was committed last) is known here, outside of the world.
 */
#ifndef TESTS_KILL_SCRIPT_H
#define TESTS_KILL_SCRIPT_H

#include <stdbool.h>
#include <stdint.h>

#include "tests/kill/world.h"

enum {
    SCRIPT_FRAMES = 16,
    SCRIPT_PAGES = 72, /* of the file: the last eight have a home that is another eight's too */
    SCRIPT_PLAYERS = 3,
    SCRIPT_TEXT = 400,
};

enum change_state {
    CHANGING_NOTHING,
    CHANGING,   /* not to be seen by anybody */
    COMMITTING, /* seen or not; once seen it stays */
};

/* An assignment to settings, and what their halves of the words are then. */
struct script_set {
    const char *assignments[2];
    unsigned settings[2];
    unsigned count;
    uint32_t half;
};

struct page_truth {
    uint64_t whole;  /* the newest change of all words */
    uint64_t ranges; /* the newest change of any; that of the words that ranges are made of */
};

struct player {
    struct process *process;
    const char *script; /* what is left */
    enum change_state changing;
    uint64_t page[2]; /* of the change */
    unsigned page_count;
    bool fresh; /* its page may be zeros meanwhile */
    struct page_truth becomes;
    struct tarn_pin pin;
    struct tarn_optimistic optimistic;
    struct page_truth read; /* optimistically */
    bool dies;
    const struct script_set *set; /* under way */
    uint32_t share;               /* likewise */
};

/* Everything that is known beside the world; saved and brought back with it. */
struct script_state {
    struct player players[SCRIPT_PLAYERS];
    unsigned player_count;
    struct page_truth truth[SCRIPT_PAGES];
    bool touched[SCRIPT_PAGES]; /* to be looked at in the end */
    uint64_t sequence;
    uint64_t committed;           /* by sequence number, a bit each */
    uint32_t settings[SET_COUNT]; /* halves of the words: what has been set for certain */
    uint32_t share;               /* of the file: likewise */
    uint64_t flush_ns_max;
    bool durable;            /* single pages by durable writes */
    char wrong[SCRIPT_TEXT]; /* empty: nothing yet */
};

extern struct script_state script;

/* A pool of its own, a file of SCRIPT_PAGES pages on disk, a process that looks in the end and so
 * many writers: the first has the role, the second stands by. */
void script_begin(uint64_t seed, unsigned writer_count, bool durable);

struct process *script_writer(unsigned which);

/* One player more, with a session, that has nothing to do yet. */
struct player *script_player(void);

/* It is to do this; the steps run as the player's process is resumed. */
void script_call(struct player *player, const char *steps);

/* The first thing that is wrong counts. */
void script_wrong(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* No rule is broken that holds at every moment. */
void script_check_always(void);

/* All is at rest: reaps, then everything that can be checked is. */
void script_check_end(void);

/* Nothing is dirty: the cleaner was told so, and nobody has changed a page since. */
void script_check_clean(void);

#endif
