/* SPDX-License-Identifier: MIT */
/* The oracle: looks through a segment for anything that the rules of docs/concurrency.md exclude.
 *
 * It only reads, takes no lock and stops nobody. In a pool that works, what it reads changes
 * meanwhile, so a first look finds suspicions: only one that stands in later looks too, with the
 * very same words, is a violation. Rules that hold between the calls of a session but not inside
 * one get more time, and are passed over for a session that is stopped: it may stay inside.
 */
#ifndef TARN_SHM_CHECK_H
#define TARN_SHM_CHECK_H

#include "shm/view.h"

enum {
    HOLDS_ALWAYS = 0,
    HOLDS_SOON = 1,          /* somebody sees to it */
    HOLDS_BETWEEN_CALLS = 2, /* of the sessions that it names */
};

/* What must hold: name, when, words. */
#define TARN_RULES(X)                                                                              \
    X(superblock, ALWAYS, "the superblock is whole, and what it says fits together")               \
    X(life, ALWAYS, "the pool is open or destroyed")                                               \
    X(setting, ALWAYS, "a setting is within its bounds, a low mark not above its high one")        \
    X(file_word, ALWAYS, "a file is free, open or dropped, raw or temporary")                      \
    X(slot_state, ALWAYS, "a slot is FREE or LIVE, and kept for sessions or for other roles")      \
    X(slot_free, ALWAYS, "a FREE slot has no holds, mini-transaction, wait, request or lock")      \
    X(slot_free_claim, ALWAYS, "a FREE slot announces no frame")                                   \
    X(slot_reaped, SOON, "a dead session is reaped; this one is not reaped yet")                   \
    X(slot_home_lock, ALWAYS, "the micro-lock that a session announces is one of a bucket")        \
    X(slot_wait, ALWAYS, "a wait names a reason and an object of the pool")                        \
    X(slot_request, ALWAYS, "a request is of a kind that the writer knows")                        \
    X(claim_frame, ALWAYS, "an announced frame is one of the pool")                                \
    X(hold_mark, ALWAYS, "the marks of a session's lines cover its holds")                         \
    X(hold_frame, ALWAYS, "a hold names a frame of the pool")                                      \
    X(hold_page, BETWEEN_CALLS, "a pinned frame has a page, or is claimed by who pins it")         \
    X(hold_sticky, BETWEEN_CALLS, "the sticky word covers each shared hold")                       \
    X(hold_shared, BETWEEN_CALLS, "nobody shares a latch that is held exclusively")                \
    X(mtr_word, ALWAYS, "a mini-transaction has a known state and at most 60 pages")               \
    X(mtr_frame, ALWAYS, "a mini-transaction names frames of the pool")                            \
    X(mtr_frame_twice, ALWAYS, "a mini-transaction has a page, or a shadow, once")                 \
    X(mtr_shadow, ALWAYS, "a shadow is claimed and announced by its session")                      \
    X(mtr_pin, BETWEEN_CALLS, "the pages of a mini-transaction are pinned by its session")         \
    X(frame_word, ALWAYS, "owner, waiters and revocable fit the state of the frame")               \
    X(frame_owner, ALWAYS, "who has a frame claimed or evicting is a LIVE session")                \
    X(frame_announced, ALWAYS, "who has a frame claimed or evicting announces it")                 \
    X(frame_in_table, ALWAYS, "a frame with a page is in one table entry, where it is looked for") \
    X(frame_reachable, ALWAYS, "`more` is set at home if a page stands beyond")                    \
    X(page_twice, ALWAYS, "a page is in one frame")                                                \
    X(page_file, BETWEEN_CALLS, "a cached page is one of an open file")                            \
    X(page_number, BETWEEN_CALLS, "a cached page lies inside its file")                            \
    X(dirty_word, ALWAYS, "a dirty page has a change mark")                                        \
    X(latch_word, ALWAYS, "a latch that nobody holds has no waiters bit")                          \
    X(latch_owner, ALWAYS, "who holds a latch exclusively is a LIVE session")                      \
    X(latch_frame, BETWEEN_CALLS, "a latched frame has a page, or is claimed by who latched it")   \
    X(latch_mtr, ALWAYS, "a latched page is in the mini-transaction of who latched it")            \
    X(latch_pin, ALWAYS, "a latched page is pinned by who latched it")                             \
    X(entry_word, ALWAYS, "a table entry names a frame of the pool, or nothing")                   \
    X(entry_page, ALWAYS, "a live table entry stands where its frame's page is looked for")        \
    X(entry_more, ALWAYS, "`more` stands in a bucket's first word alone")                          \
    X(home_lock, ALWAYS, "who has a micro-lock is a LIVE session that announces it")

enum {
#define X(name, when, text) RULE_##name,
    TARN_RULES(X)
#undef X
        RULE_COUNT
};

struct tarn_rule {
    const char *name;
    unsigned when; /* HOLDS_* */
    const char *text;
};

/* By RULE_*. */
extern const struct tarn_rule tarn_rules[RULE_COUNT];

/* A place first ("frame", "slot", "bucket", "file"), then the words found there. What is called
 * slot, owner, writer, frame, ... is an index; what ends in _word, page or entry is packed as
 * shm/words.h says. */
struct tarn_violation_value {
    const char *name; /* NULL: no more values */
    uint64_t value;
};

#define TARN_VIOLATION_VALUES 6

struct tarn_violation {
    unsigned rule; /* RULE_* */
    struct tarn_violation_value value[TARN_VIOLATION_VALUES];
};

/* How it is with the sessions, and how to let time pass; each gets `context`. */
struct tarn_check_options {
    bool (*dead)(void *context, unsigned slot);    /* NULL: every LIVE session lives */
    bool (*stopped)(void *context, unsigned slot); /* NULL: none is */
    void (*pause)(void *context); /* some 2 ms; NULL: nothing moves, one look is enough */
    void *context;
};

/* What was seen on the way, at no one moment. */
struct tarn_check_counts {
    uint64_t frames[4]; /* by FRAME_* */
    uint64_t dirty;
    uint64_t latched;
    uint64_t holds;
    uint64_t live_entries;
    uint64_t live_slots;
    uint64_t bitmap_wrong; /* the bitmap is a hint: no violation */
};

typedef void tarn_violation_report(void *context, const struct tarn_violation *violation);

/* Looks through the whole segment; `report` gets the context of the options. ret_counts may be
 * NULL. Returns the number of violations. */
int tarn_check_view(const struct tarn_view *view, const struct tarn_check_options *options,
                    tarn_violation_report *report, struct tarn_check_counts *ret_counts);

#endif
