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

#include "shm/holds.h"
#include "shm/layout.h"
#include "shm/order.h"
#include "shm/settings.h"
#include "shm/table.h"
#include "shm/view.h"

#define TARN_SHM_DIRECTORY "/dev/shm"
#define NS_PER_MS          INT64_C(1000000)

/* Keeps what a hit does not need out of its way. */
#define TARN_SLOW   __attribute__((noinline))
#define TARN_INLINE inline __attribute__((always_inline))

struct tarn_embedded;

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
    struct tarn_embedded *embedded;
    pthread_mutex_t message_mutex;
    struct tarn_message message;
    uint64_t pid, start_time, pid_namespace; /* of this process */
    char *name;
    char *directory;
    char *segment_path;
    bool temporary; /* the directory goes with the pool */
};

struct tarn_ahead; /* reads ahead of one session; ahead.c */

/* What the session has of one page in its mini-transaction. */
struct tarn_mtr_page {
    uint32_t frame_plus_one; /* 0: empty place */
    uint32_t shadow_plus_one;
    uint8_t hold; /* its pin */
    bool fresh;   /* NEW and not cached: CLAIMED until the end */
    bool writable;
    bool ranges;
    uint16_t claim; /* of a fresh page */
    struct tarn_page_id id;
};

/* A frame claimed to keep old bytes in. */
struct tarn_shadow {
    uint32_t frame;
    unsigned claim;
};

#define PINNED_SHARED  (UINT64_C(1) << 40)
#define PINNED_INSIDE  UINT64_MAX
#define TARN_HITS_NONE UINT32_MAX

struct tarn_session {
    /* What a hit reads and writes of this process's own memory. */
    uint32_t hits_file; /* of the hits counted here; TARN_HITS_NONE: the next one is no plain hit */
    uint32_t hits_left; /* until one is timed */
    uint32_t hits_from; /* hits_left when they were published */
    int refusal;        /* 0, or what every call answers: -EBADF, -ECHILD */
    unsigned slot;
    unsigned hold_next;    /* tried first; below holds_marked */
    unsigned holds_marked; /* holds that the marks cover */
    uint64_t shared_holds; /* bit set: that hold says shared */
    struct tarn_view view; /* a copy, so that a hit follows one pointer less */
    struct tarn_slot *shared;
    tarn_half *hold[TARN_HOLDS_MAX];
    /* What each hold is used for: 0: it is empty; frame + 1: a pin of the caller's, with
     * PINNED_SHARED while it is latched; PINNED_INSIDE: the library's own. Unpin looks here: a load
     * of the hold itself would wait for the barrier that stored it. The last one is never empty. */
    uint64_t pinned[TARN_HOLDS_MAX + 1];
    uint64_t sticky_bit;

    struct tarn_pool *pool;
    struct tarn_session *next; /* in the list of closed ones */
    int32_t wait_ms, frame_wait_ms, writer_wait_ms;
    uint32_t loads;                             /* since the writer was called for them */
    uint32_t bitmap_hand;                       /* where the search for a FREE frame goes on */
    uint64_t free_claims[TARN_CLAIMS_MAX / 64]; /* bit set: that claim place is empty */
    unsigned dirtied;                           /* pages since the writer was last told */

    /* Mini-transaction: what the slot says, and what only its owner needs to know. */
    unsigned mtr_state; /* MTR_* */
    unsigned mtr_count, mtr_max;
    unsigned mtr_possible; /* pages: the most in this pool */
    uint64_t mtr_serial;
    int mtr_error; /* 0, or why only abort is left */
    unsigned shadow_count, shadow_keep;
    unsigned shadow_used; /* of this mini-transaction: the first ones */
    struct tarn_shadow shadow[TARN_MTR_ENTRIES_MAX];
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

/* The page in a frame, for messages. */
static inline struct tarn_page_id tarn_page_in(const struct tarn_session *session, uint32_t frame)
{
    return (struct tarn_page_id){tarn_load_relaxed(&session->view.descriptors[frame].page_id)};
}

/* pool.c: handles. */

/* The open handles of this process. Named here for tests in which one process plays several. */
extern struct tarn_pool *tarn_open_pools;

/* Opens a segment by its path (no writer needed): both descriptions, checks, mapping; and the
 * directory, whose DIR/lock it has shared. */
int tarn_pool_open(const char *segment_path, const char *name, struct tarn_pool **ret_pool,
                   struct tarn_message *message);

bool tarn_name_valid(const char *name);

/* "SHM-DIRECTORY/tarn.NAME" into TARN_PATH_BYTES; -EINVAL. shm_directory NULL: the default. */
int tarn_segment_path(const char *name, const char *shm_directory, char *ret_path,
                      struct tarn_message *message);

/* 0, -EBADF or -ECHILD: is this an open handle of this process? */
int tarn_pool_usable(struct tarn_pool *pool);

/* -ESHUTDOWN once the pool is destroyed, with a message in the session; else 0. */
int tarn_session_refuse_life(struct tarn_session *session);

static inline int tarn_session_check_life(struct tarn_session *session)
{
    return tarn_load_relaxed(&session->view.control->life) == LIFE_OPEN
               ? 0
               : tarn_session_refuse_life(session);
}

/* What a closed or forked session answers, with a message. */
int tarn_session_refuse(struct tarn_session *session);
void tarn_session_free(struct tarn_session *session);

/* A descriptor for reading a file of the pool; opened at first use. Returns it, or a negative errno
 * with a message. */
int tarn_file_fd(struct tarn_session *session, uint32_t file);

/* "PATH (file N)", for messages: reads the pool's directory. */
void tarn_file_words(struct tarn_session *session, uint32_t file, char *ret_text, size_t bytes);

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

/* The 16 bytes of this boot; false where the system does not tell. */
bool tarn_boot_id(uint8_t *ret_boot_id);

/* reap.c. */

/* Reaps the session in `slot` if it is dead and nobody else does already. 1: reaped; 0: not. `own`:
 * for the counter, may be NULL. */
int tarn_reap(struct tarn_pool *pool, unsigned slot, struct tarn_session *own);

/* All dead ones. Returns how many. */
int tarn_reap_all(struct tarn_pool *pool, struct tarn_session *own);

/* Takes back everything a slot has: the reaper's work, and of one who closes. The caller has the
 * right to it. */
void tarn_clear_slot(struct tarn_pool *pool, unsigned slot);

/* The pool's mutex, with cancellation off meanwhile. */
int tarn_pool_lock(struct tarn_pool *pool);
void tarn_pool_unlock(struct tarn_pool *pool, int cancel_state);

/* wait.c. */

/* One wait for something to change; what it is for stands in the slot while it sleeps. */
struct tarn_wait {
    struct tarn_session *session;
    unsigned what; /* WAIT_* */
    uint64_t object;
    uint64_t begun_ns;
    uint64_t deadline_ns; /* UINT64_MAX: none */
    uint64_t step_ns;     /* next sleep; 0: spins still */
    uint64_t asked_ns;    /* when it last asked who lives and who waits */
    uint64_t cycle;       /* of the first walk that found one; 0: none */
    unsigned spins;
    bool published;
    int cancel_state;
};

/* wait_ms: 0: the first round ends it; -1: no limit. */
void tarn_wait_begin(struct tarn_wait *wait, struct tarn_session *session, unsigned what,
                     uint64_t object, int64_t wait_ms);

/* Nobody, and everybody, for tarn_wait_round(). */
#define TARN_NOBODY    0u
#define TARN_EVERYBODY UINT32_MAX

/* One round: spins at first; then sets `waiters_bit` in `word` (0: none) and sleeps until its low
 * half is no longer that of `seen`, for the next step at most (word NULL: only sleeps). After the
 * first millisecond reaps `owner` if dead, and looks for cycles. 0: look again; -ETIMEDOUT,
 * -EDEADLK, -ESHUTDOWN with a message. */
int tarn_wait_round(struct tarn_wait *wait, tarn_word *word, uint64_t seen, uint64_t waiters_bit,
                    unsigned owner);

/* Takes the publication back; adds the time to histogram LATENCY_*, if that is not -1. */
void tarn_wait_end(struct tarn_wait *wait, int latency);

void tarn_wake(tarn_word *word);
void tarn_sleep_ns(int64_t ns);

/* The writer's FIFO, beside the segment; TARN_PATH_BYTES. */
void tarn_wake_path(const char *segment_path, char *ret_path);

/* Takes the byte of the options: a descriptor that holds it. -EBUSY: somebody has had it 5 s. */
int tarn_options_lock(struct tarn_pool *pool);
void tarn_options_unlock(int fd);

/* Wakes the writer if it sleeps: after what it shall see has been stored. */
void tarn_wake_writer(struct tarn_pool *pool);

/* The same for the cleaner, which looks at frames once more, awake or not. */
void tarn_call_cleaner(struct tarn_pool *pool);

/* frame.c: free frames and eviction. */

/* Claims a FREE frame, announced in claim place `*ret_claim`, evicting if there is none; never
 * waits. Returns 0 or -EAGAIN: none right now. */
int tarn_frame_claim(struct tarn_session *session, uint32_t *ret_frame, unsigned *ret_claim);

/* The same; `again`: this session has just found none, which is counted once. */
int tarn_frame_claim_again(struct tarn_session *session, bool again, uint32_t *ret_frame,
                           unsigned *ret_claim);

/* The same, waiting up to wait_ms for one. -ENOBUFS with the numbers. */
int tarn_frame_claim_wait(struct tarn_session *session, int64_t wait_ms, uint32_t *ret_frame,
                          unsigned *ret_claim);

/* -ENOBUFS, with the numbers of a pool in which no frame can be had. */
int tarn_frames_exhausted(struct tarn_session *session);

/* Gives a claimed frame back: CLAIMED -> FREE, wakes joiners, takes the claim back. */
void tarn_frame_unclaim(struct tarn_session *session, uint32_t frame, unsigned claim);

/* Evicts up to `want` frames (to FREE), looking at up to `looks` frames from the hand on. Returns
 * how many. */
unsigned tarn_frames_evict(struct tarn_session *session, unsigned want, unsigned looks);

/* Evicts those of these frames, 64 at most, that are clean and nobody's. Returns how many. */
unsigned tarn_frames_evict_these(struct tarn_session *session, const uint32_t *frames,
                                 unsigned count);

/* A claim place of this session that is empty, and giving it back. There are always enough: 61 for
 * shadows, 60 for NEW pages, 64 for an eviction batch, 32 for reads ahead, a few for loads. */
unsigned tarn_claim_place(struct tarn_session *session);
void tarn_claim_end(struct tarn_session *session, unsigned place);

/* Evicts this one, if it is clean and nobody's. */
bool tarn_frame_evict(struct tarn_session *session, uint32_t frame);

/* CLAIMED and revocable, as `seen` -> FREE. 1: done; 0: it has changed. */
unsigned tarn_frame_revoke(struct tarn_session *session, uint32_t frame, uint64_t seen);

/* A page has come into a frame: now and then calls the writer, so that it fills up the reserve of
 * free frames before that is empty. */
void tarn_frame_loaded(struct tarn_session *session);

/* After frames became FREE, or clean: tells those who wait for frames. */
void tarn_frames_freed(struct tarn_pool *pool);

/* Forces one frame out although dirty (truncate, drop): 0: it is not this page any more; -EBUSY:
 * held; *ret_holder then is a slot. */
int tarn_frame_discard(struct tarn_session *session, uint32_t frame, uint64_t page_id,
                       unsigned *ret_holder);

/* fetch.c. */

/* Pins into the hold, bringing the page into the pool if it is not there. 0 or an error, with a
 * message; blocks like tarn_pin(). */
int tarn_fetch(struct tarn_session *session, struct tarn_page_id id, unsigned hints, unsigned hold,
               uint32_t *ret_frame);

/* A page of this session's own CLAIMED frame is entered in the table, and lies inside its file. 0;
 * -EEXIST: it stands there already, look again; else an error with a message, and the entry is to
 * be made stale by giving the frame back. */
int tarn_fetch_enter(struct tarn_session *session, struct tarn_page_id id, uint32_t frame,
                     int64_t wait_ms);

/* Clears the `more` bit of a home bucket if nothing stands beyond it; waits for nobody. */
void tarn_home_tidy(struct tarn_session *session, uint32_t bucket);

/* Reads one page from its file into memory: 0, -EBADFD, -ENODATA, -EIO, with a message. */
int tarn_fetch_read(struct tarn_session *session, struct tarn_page_id id, void *ret_page);

/* A hint inside the library: the page was read by a batch, so finding it is no hit. */
#define TARN_HINT_BATCHED 0x80000000u

/* As tarn_fetch(), for a page to be written anew: not read. *ret_claim: UINT_MAX: it was cached,
 * and is pinned; else the frame is CLAIMED by this session under that claim, in the table, held. */
int tarn_fetch_new(struct tarn_session *session, struct tarn_page_id id, unsigned hold,
                   uint32_t *ret_frame, unsigned *ret_claim);

/* CLAIMED -> VALID of a frame that is this session's; takes the claim back, wakes. */
void tarn_frame_publish(struct tarn_session *session, uint32_t frame, unsigned claim);

/* latch.c. */

/* Takes X on a frame that is pinned and announced in the mtr. `expected`: 0, or the only latch
 * word to take it from (-EAGAIN if it has another). */
int tarn_latch_exclusive(struct tarn_session *session, uint32_t frame, uint64_t expected,
                         int64_t wait_ms);

/* The latch is this session's: waits for those who share it. If that fails, gives it back. */
int tarn_latch_drained(struct tarn_session *session, uint32_t frame, int64_t wait_ms);

/* Owner -> nobody; a step of the version; wakes. Nothing happens if `owner` does not have it. */
void tarn_latch_release(tarn_word *latch_word, unsigned owner);

/* Copies bytes that others may be changing: what it copied counts only if a version check says so
 * afterwards. The one place of the library that is exempt from ThreadSanitizer. */
void tarn_racy_copy(void *to, const void *from, size_t bytes);

/* ahead.c: reads ahead, many in flight. */

/* Claims, enters and reads those of the pages that nobody has yet, waiting for no other session;
 * the pages then are VALID and in no hold. `revocable`: begins the reads, and returns; else waits
 * for them. Returns how many were begun. Errors of single pages are left to whoever fetches them.
 */
unsigned tarn_ahead_read(struct tarn_session *session, const struct tarn_page_id *ids,
                         unsigned count, bool revocable);

/* Finishes what is complete of this session's reads; `page_id` not 0: waits for that one. */
void tarn_ahead_harvest(struct tarn_session *session, uint64_t page_id);

/* Waits for reads in flight and frees the rest; takes a session without any. */
void tarn_ahead_free(struct tarn_session *session);

/* mtr.c. */

/* Copies a shadow back over a page: whole, or the ranges. Used by abort and reaper. */
void tarn_shadow_restore(const struct tarn_view *view, uint64_t entry);

/* The image of a page under X as it was before its mini-transaction changed it: page or shadow, as
 * the entry says. It counts only if latch word and mtr word have not changed meanwhile. */
void tarn_shadow_image(const struct tarn_view *view, uint64_t entry, uint8_t *ret_image);

/* Gives back shadows until `keep` are left. */
void tarn_shadows_trim(struct tarn_session *session, unsigned keep);

/* request.c. */

/* Makes up to TARN_MTR_ENTRIES_MAX pages durable, together. */
int tarn_flush_pages(struct tarn_session *session, const struct tarn_page_id *ids, unsigned count);

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

/* In a forked child: closes what it has of its parent's rings. */
void tarn_ahead_close_in_child(struct tarn_session *session);
void tarn_embedded_close_in_child(struct tarn_pool *pool);

/* embedded.c. Stops the writer and removes the segment; a negative errno: the flush failed, and the
 * segment stays. */
int tarn_embedded_end(struct tarn_pool *pool);

#endif
