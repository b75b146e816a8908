/* SPDX-License-Identifier: MIT */
/* The two handles, and what the files of lib/ offer each other. */
#ifndef TARN_LIB_INTERNAL_H
#define TARN_LIB_INTERNAL_H

#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>
#include <tarn.h>

#include "shm/layout.h"
#include "shm/order.h"
#include "shm/table.h"
#include "shm/view.h"

#define TARN_SHM_DIRECTORY "/dev/shm"
#define NS_PER_MS          INT64_C(1000000)

struct tarn_io;
struct tarn_writer;

/* Who proves death: the kernel, or in a test a given set. Returns whether the session in `slot` is
 * dead. */
typedef bool tarn_liveness(struct tarn_pool *pool, unsigned slot);

/* A data file as this process has it open. */
struct tarn_open_file {
    int fd; /* -1: not open */
    uint64_t incarnation;
};

struct tarn_pool {
    struct tarn_pool *next; /* list of open handles, for the fork handler and for closed handles */
    int refusal;            /* 0, or what every call answers: -ECHILD */
    struct tarn_view view;
    int map_fd;       /* mapped; holds the life bytes of this handle's sessions */
    int ask_fd;       /* the same inode again: asks, claims, reaps */
    int directory_fd; /* the pool's directory; -1: none (temporary embedded pools have one too) */
    int lock_fd;      /* DIR/lock, locked shared as long as the handle lives */
    int wake_fd;      /* the writer's FIFO, open for writing; -1: not yet */
    tarn_liveness *dead;
    pthread_mutex_t mutex;             /* joins, leaves and reaps; the session array; open_files */
    struct tarn_session **sessions;    /* by slot number */
    struct tarn_session *closed;       /* sessions closed, kept until detach */
    struct tarn_open_file *open_files; /* by file id */
    struct tarn_writer *writer;        /* of an embedded pool */
    pthread_mutex_t message_mutex;
    struct tarn_message message;
    uint64_t pid, start_time, pid_namespace; /* of this process */
    char *name;
    char *directory;
    char *segment_path;
    bool temporary; /* the directory goes with the pool */
};

/* A read of a page that was asked for ahead. */
struct tarn_ahead;

/* What the session has of one page in its mini-transaction. */
struct tarn_mtr_page {
    uint32_t frame_plus_one; /* 0: empty place */
    uint32_t shadow_plus_one;
    uint8_t hold; /* its pin */
    bool fresh;   /* NEW and not cached: CLAIMED until the end */
    bool writable;
    bool ranges;
    struct tarn_page_id id;
};

struct tarn_session {
    /* What a hit reads and writes of this process's own memory. */
    int refusal; /* 0, or what every call answers: -EBADF, -ECHILD */
    unsigned slot;
    uint64_t free_holds;   /* bit set: that hold is empty; 60 bits */
    uint64_t sample;       /* hits until the next one is timed */
    struct tarn_view view; /* a copy, so that a hit follows one pointer less */
    struct tarn_slot *shared;
    tarn_half *hold[TARN_HOLDS_MAX];
    uint64_t sticky_bit;

    struct tarn_pool *pool;
    struct tarn_session *next; /* in the list of closed ones */
    int32_t wait_ms, frame_wait_ms, writer_wait_ms;
    uint32_t bitmap_hand; /* where the search for a FREE frame goes on */
    uint32_t claim_count; /* claims in use are among the first claim_count */

    /* Mini-transaction: what the slot says, and what only its owner needs to know. */
    unsigned mtr_state; /* MTR_* */
    unsigned mtr_count, mtr_max;
    uint64_t mtr_serial;
    int mtr_error; /* 0, or why only abort is left */
    unsigned shadow_count, shadow_keep;
    uint32_t shadow[TARN_MTR_ENTRIES_MAX + 1]; /* frames claimed for shadows, announced */
    struct tarn_mtr_page mtr_page[TARN_MTR_ENTRIES_MAX];

    struct tarn_ahead *ahead; /* NULL until the first prefetch or batch */
    struct tarn_message message;
};

/* error.c. */

/* Each stores the message and returns `result`. */
int tarn_fail(struct tarn_session *session, int result, const char *format, ...)
    __attribute__((format(printf, 3, 4), cold));
int tarn_pool_fail(struct tarn_pool *pool, int result, const char *format, ...)
    __attribute__((format(printf, 3, 4), cold));
int tarn_message_fail(struct tarn_message *message, int result, const char *format, ...)
    __attribute__((format(printf, 3, 4), cold));

/* pool.c: handles. */

/* Opens a segment by its path (no writer needed): both descriptions, checks, mapping. The directory
 * is opened and DIR/lock taken shared unless `lock_fd` >= 0 is given, which the handle then owns
 * (held exclusively by one who builds; attach makes it shared). */
int tarn_pool_open(const char *segment_path, const char *name, int lock_fd,
                   struct tarn_pool **ret_pool, struct tarn_message *message);

/* 0, -EBADF or -ECHILD: is this an open handle of this process? */
int tarn_pool_usable(struct tarn_pool *pool);

/* -ESHUTDOWN once the pool is destroyed, with a message in the session; else 0. */
int tarn_session_check_life(struct tarn_session *session);

/* A descriptor for reading a file of the pool; opened at first use. Returns it, or a negative errno
 * with a message. */
int tarn_file_fd(struct tarn_session *session, uint32_t file);

/* session.c. */

/* As tarn_session_open(), with a role; those but ROLE_SESSION take the reserved slots. */
int tarn_session_open_as(struct tarn_pool *pool, const struct tarn_session_options *options,
                         unsigned role, struct tarn_session **ret_session);

/* live.c: byte locks, death. */

uint64_t tarn_now_ns(void); /* CLOCK_MONOTONIC */

/* F_OFD_SETLK on one byte. 0, -EAGAIN: taken by another description, or a negative errno. */
int tarn_lock_byte(int fd, int64_t offset, short type);

/* True if another description than fd's has the byte locked. */
bool tarn_byte_locked(int fd, int64_t offset);

/* The liveness of the kernel: life byte, then the early proof of design (PF_EXITING of all tasks).
 */
bool tarn_dead_by_kernel(struct tarn_pool *pool, unsigned slot);

void tarn_identify_process(struct tarn_pool *pool);

/* reap.c. */

/* Reaps the session in `slot` if it is dead and nobody else does already. 1: reaped; 0: not. `own`:
 * for the counter, may be NULL. */
int tarn_reap(struct tarn_pool *pool, unsigned slot, struct tarn_session *own);

/* All dead ones. Returns how many. */
int tarn_reap_all(struct tarn_pool *pool, struct tarn_session *own);

/* Takes back everything a slot has: the reaper's work, and of one who closes. The caller has the
 * right to it. */
void tarn_clear_slot(struct tarn_pool *pool, unsigned slot);

/* wait.c. */

/* One wait: for a word to change, with what it is for published in the slot. */
struct tarn_wait {
    struct tarn_session *session;
    unsigned what; /* WAIT_* */
    uint64_t object;
    uint64_t begun_ns;    /* 0: not begun */
    uint64_t deadline_ns; /* UINT64_MAX: none */
    uint64_t step_ns;     /* next sleep */
    unsigned spins;
};

void tarn_wait_begin(struct tarn_wait *wait, struct tarn_session *session, unsigned what,
                     uint64_t object, int64_t wait_ms);

/* One round: spins at first; then sleeps until the low half of `word` is no longer that of `seen`
 * (word NULL: only sleeps), at most the next step; after the first millisecond reaps `owner` (0:
 * nobody; UINT_MAX: everybody) if dead, and asks for cycles. 0: look again; -ETIMEDOUT, -EDEADLK,
 * -ESHUTDOWN. */
int tarn_wait_round(struct tarn_wait *wait, tarn_word *word, uint64_t seen, unsigned owner);

/* Takes the publication back; adds the time to histogram LATENCY_*, if that is not -1. */
void tarn_wait_end(struct tarn_wait *wait, int latency);

void tarn_wake(tarn_word *word);

/* Wakes the writer if it sleeps: after what it shall see has been stored. */
void tarn_wake_writer(struct tarn_pool *pool);

/* frame.c: free frames and eviction. */

/* Claims a FREE frame, announced in claim place `*ret_claim`, evicting if there is none; never
 * waits. Returns 0 or -EAGAIN: none right now. */
int tarn_frame_claim(struct tarn_session *session, uint32_t *ret_frame, unsigned *ret_claim);

/* The same, waiting up to wait_ms for one. -ENOBUFS with the numbers. */
int tarn_frame_claim_wait(struct tarn_session *session, int64_t wait_ms, uint32_t *ret_frame,
                          unsigned *ret_claim);

/* Gives a claimed frame back: CLAIMED -> FREE, wakes joiners, takes the claim back. */
void tarn_frame_unclaim(struct tarn_session *session, uint32_t frame, unsigned claim);

/* Evicts up to `want` frames (to FREE), looking at up to `looks` frames from the hand on. Returns
 * how many. */
unsigned tarn_frames_evict(struct tarn_session *session, unsigned want, unsigned looks);

/* A claim place of this session that is empty. */
unsigned tarn_claim_place(struct tarn_session *session);

/* After frames became FREE, or clean: tells those who wait for frames. */
void tarn_frames_freed(struct tarn_pool *pool);

/* Forces one frame out although dirty (truncate, drop): 0: it is not this page any more; -EBUSY:
 * held; *ret_holder then is a slot. */
int tarn_frame_discard(struct tarn_session *session, uint32_t frame, uint64_t page_id,
                       unsigned *ret_holder);

/* fetch.c. */

/* Pins into hold `hold`. What tarn_pin() is made of; `claimed` (may be NULL) set: the page is NEW,
 * was not cached, and is CLAIMED by the session. */
int tarn_fetch(struct tarn_session *session, struct tarn_page_id id, unsigned hints, unsigned hold,
               uint32_t *ret_frame);

/* The same for a page to be written anew: not read. *ret_claim: UINT_MAX: it was cached, and is
 * pinned; else the frame is CLAIMED by this session under that claim, in the table, and held. */
int tarn_fetch_new(struct tarn_session *session, struct tarn_page_id id, unsigned hold,
                   uint32_t *ret_frame, unsigned *ret_claim);

/* CLAIMED -> VALID of a frame that is this session's; takes the claim back, wakes. */
void tarn_frame_publish(struct tarn_session *session, uint32_t frame, unsigned claim);

/* Takes an empty hold and raises the mark; returns its number or -EMFILE with a message. */
int tarn_hold_take(struct tarn_session *session);
void tarn_hold_give(struct tarn_session *session, unsigned hold);

/* mtr.c. */

/* Copies a shadow back over a page: whole, or the ranges. Used by abort and reaper. */
void tarn_shadow_restore(const struct tarn_view *view, uint64_t entry);

/* Gives back shadows until `keep` are left. */
void tarn_shadows_trim(struct tarn_session *session, unsigned keep);

/* request.c. */

/* Asks the writer and waits for the answer. `number` and `file` as ASK_* say. */
int tarn_ask(struct tarn_session *session, unsigned kind, uint32_t file, uint64_t number,
             unsigned flags, const char *path, int64_t wait_ms);

/* histogram of the session's slot. */

void tarn_latency_add(struct tarn_session *session, unsigned which, uint64_t ns);

/* The bucket of a time, and the least time that falls into a bucket. */
unsigned tarn_bucket_of(uint64_t ns);
uint64_t tarn_bucket_floor(unsigned bucket);

static inline void tarn_counter(struct tarn_session *session, unsigned counter, uint64_t addend)
{
    tarn_count(&session->shared->counter[counter], addend);
}

#endif
