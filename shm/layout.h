/* SPDX-License-Identifier: MIT */
/* What stands where in a segment. docs/format.md shows it by offset.
 *
 * Every struct marked SHARED is fixed: no pointer, bool, enum, long or size_t inside. A change of
 * any of them changes TARN_FORMAT_VERSION. Behind each field: who may change it.
 */
#ifndef TARN_SHM_LAYOUT_H
#define TARN_SHM_LAYOUT_H

#include "shm/atomic.h"
#include "shm/words.h"

#define TARN_MAGIC          "tarnpool"
#define TARN_BYTE_ORDER     UINT64_C(0x0102030405060708)
#define TARN_FORMAT_VERSION 3u

#define TARN_PAGE_BYTES_MIN     4096u
#define TARN_PAGE_BYTES_MAX     65536u
#define TARN_SESSION_MAX        1024u
#define TARN_FRAME_COUNT_MIN    16u
#define TARN_FILE_COUNT_MAX     65535u
#define TARN_FILE_COUNT_DEFAULT 256u

/* Slots beyond those asked for: of the writer, its standbys, and who destroys the pool. */
#define TARN_SLOTS_RESERVED 4u

/* Byte locks on the segment file, far beyond its end: each slot has a life and a claim byte. */
#define TARN_LOCK_LIFE    (INT64_C(1) << 40)
#define TARN_LOCK_CLAIM   (INT64_C(2) << 40)
#define TARN_LOCK_WRITER  (INT64_C(3) << 40) /* the role of the writer */
#define TARN_LOCK_DESTROY (INT64_C(4) << 40) /* one destroy at a time */

/* Byte that the writer locks on the description of every file it writes through. */
#define TARN_LOCK_FENCE (INT64_C(1) << 60)

/* Superblock: the first page, written once, covered by its checksum. */

struct tarn_geometry { /* SHARED, written once */
    uint64_t segment_bytes;
    uint64_t control_offset;
    uint64_t files_offset;
    uint64_t slots_offset;
    uint64_t holds_offset; /* first lines of all slots, then second lines, and so on */
    uint64_t table_offset;
    uint64_t home_locks_offset;
    uint64_t descriptors_offset;
    uint64_t bitmap_offset;
    uint64_t frames_offset;
    uint32_t frame_count;
    uint32_t page_bytes;
    uint32_t session_count; /* asked for; slots 1 to session_count */
    uint32_t slot_count;    /* session_count + TARN_SLOTS_RESERVED */
    uint32_t file_count;    /* file ids 1 to file_count */
    uint32_t bucket_count;
    uint32_t group_slots; /* slots that share a sticky bit: slot / group_slots */
    uint32_t reserved;
};

#define TARN_NAME_BYTES 64
#define TARN_PATH_BYTES 1024

struct tarn_superblock { /* SHARED, written once before the segment has a name */
    char magic[8];       /* these five never move, in no format */
    uint64_t byte_order;
    uint32_t format_version;
    uint32_t superblock_bytes;
    uint64_t layout_hash; /* of the sizes and offsets of all shared structs */
    uint64_t checksum;    /* of the first page with this field 0 */
    struct tarn_geometry geometry;
    uint8_t pool_uuid[16];
    uint8_t boot_id[16];
    uint64_t recovery_number; /* equal to the one in the pool's directory, or out of date */
    uint64_t created_s;       /* CLOCK_REALTIME */
    uint32_t mode;
    uint32_t uid;
    uint32_t gid;
    uint32_t reserved;
    char name[TARN_NAME_BYTES];
    char directory[TARN_PATH_BYTES];
};
_Static_assert(sizeof(struct tarn_superblock) <= 4096, "the superblock is one page");

/* Control: the second page, what all share. */

enum {
    LIFE_OPEN = 1,
    LIFE_DESTROYED = 2, /* set by destroy, never taken back */
};

/* The writer's own figures, for people; stored by the writer only. */
struct tarn_writer_info { /* SHARED */
    char backend[16];
    uint32_t registered_buffer;
    uint32_t registered_files;
    uint32_t deferred; /* io_uring completes when its one thread asks */
    uint32_t depth;
    int32_t refused; /* negative errno with which io_uring was refused */
    int32_t buffer_refused;
    int32_t files_refused;
    int32_t deferred_refused;
    uint64_t takeovers;
    uint64_t takeover_ns; /* newest: from the role byte to the end of the fence */
    uint32_t depth_asked; /* 0: the default is in force */
    uint32_t staging_bytes;
    uint32_t run_bytes; /* of a write, at most */
    uint32_t background_depth;
    uint32_t background_calm_depth;
    uint32_t durable;       /* few pages are durable by their write */
    uint32_t durable_asked; /* enum tarn_writer_durable */
    uint32_t durable_able;  /* the backend can */
    uint64_t durable_ns;    /* as measured; 0: not */
    uint64_t synced_ns;
};

/* What can be changed while the pool works; shm/settings.h says how it is read. */
#define TARN_SETTINGS(X)                                                                           \
    X(FREE_LOW, free_frames_low)                                                                   \
    X(FREE_HIGH, free_frames_high)                                                                 \
    X(DIRTY_LOW, dirty_frames_low)                                                                 \
    X(DIRTY_HIGH, dirty_frames_high)                                                               \
    X(WRITE_RATE, write_rate)
enum {
#define X(upper, lower) SET_##upper,
    TARN_SETTINGS(X)
#undef X
        SET_COUNT
};
#define TARN_SETTING_WORDS 8u /* two settings each */
_Static_assert(SET_COUNT <= 2 * TARN_SETTING_WORDS, "room for the settings");

struct tarn_control {      /* SHARED, one page */
    tarn_word life;        /* CAS, destroy only */
    tarn_word failed;      /* writer: 0, or the positive errno that made durability stop */
    tarn_word writer_slot; /* hint, stored by the writer that has the role byte */
    uint8_t pad0[TARN_LINE_BYTES - 3 * 8];
    tarn_word clock_hand; /* hint: add, anybody who looks for victims */
    uint8_t pad1[TARN_LINE_BYTES - 8];
    tarn_word freed; /* add by who wakes those who wait for frames: they sleep on its low half */
    tarn_word
        frames_wanted; /* 1 by who waits for a frame, 0 by who wakes; a hint that may stay 1 */
    uint8_t pad2[TARN_LINE_BYTES - 2 * 8];
    tarn_word writer_sleeps;  /* writer only: 1 by CAS before it sleeps, 0 when it is awake */
    tarn_word cleaner_called; /* 1 by who has used frames up or changed pages, then the flag above
                                 is read; 0 by the writer, by CAS before it looks */
    uint8_t pad3[TARN_LINE_BYTES - 2 * 8];
    tarn_word standby_slot; /* hint, stored by the standby */
    tarn_word reaps_early;  /* add, reaper: by PF_EXITING */
    tarn_word reaps;        /* add, reaper */
    tarn_word reap_ns_max;  /* hint: reaper */
    uint8_t pad4[TARN_LINE_BYTES - 4 * 8];
    tarn_word setting[TARN_SETTING_WORDS]; /* who has the lock byte of the options */
    struct tarn_writer_info writer;        /* hint: writer only */
    uint8_t pad5[4096 - 6 * TARN_LINE_BYTES - sizeof(struct tarn_writer_info)];
};
_Static_assert(sizeof(struct tarn_control) == 4096, "one page");

/* Files: entry 0 is unused, so an id is an index. */

struct tarn_file_entry {  /* SHARED, one line */
    tarn_word word;       /* writer: {incarnation, direct, kind, state} */
    tarn_word page_count; /* writer, CAS: a page below it lies inside the file */
    tarn_word misses;     /* counters: add */
    tarn_word reads;      /* pages */
    tarn_word writes;     /* pages; writer */
    tarn_word syncs;      /* writer */
    tarn_word errors;
    tarn_word share; /* writer: {limit, full}; it reads the limit in the table alone */
};
_Static_assert(sizeof(struct tarn_file_entry) == TARN_LINE_BYTES, "one line");

/* Session slots. */

enum {
    SLOT_FREE = 0,
    SLOT_LIVE = 1,
};

enum {
    ROLE_SESSION = 0,
    ROLE_WRITER = 1,
    ROLE_STANDBY = 2,
    ROLE_TOOL = 3,
};

/* What a session waits for: the word {frame or slot, what}. */
#define TARN_WAITS(X)                                                                              \
    X(NONE, none)                                                                                  \
    X(LOAD, load)                 /* frame: a page that another session reads */                   \
    X(SHARED, latch_shared)       /* frame: its exclusive holder */                                \
    X(EXCLUSIVE, latch_exclusive) /* frame: its exclusive holder */                                \
    X(DRAIN, drain_shared)        /* frame: its shared holders */                                  \
    X(FRAME, free_frame)          /* no object */                                                  \
    X(HOME, home_lock)            /* bucket */                                                     \
    X(WRITER, writer)             /* an answer to the request in this slot */
enum {
#define X(upper, lower) WAIT_##upper,
    TARN_WAITS(X)
#undef X
        WAIT_COUNT
};

/* Counters of a session: changed by the session alone, never reset, carried on by the slot's next
 * user. Hits are counted in file_hits alone: a hit stores one counter. */
#define TARN_COUNTERS(X)                                                                           \
    X(HITS, hits)                                                                                  \
    X(MISSES, misses)                                                                              \
    X(JOINS, joins)                                                                                \
    X(OPTIMISTIC, optimistic_reads)                                                                \
    X(OPTIMISTIC_FAILED, optimistic_failures)                                                      \
    X(READS, reads)                                                                                \
    X(READ_ERRORS, read_errors)                                                                    \
    X(PREFETCHES, prefetches)                                                                      \
    X(PREFETCHES_REVOKED, prefetches_revoked)                                                      \
    X(EVICTIONS, evictions)                                                                        \
    X(EVICTIONS_REFUSED, evictions_refused)                                                        \
    X(STALLS, stalls) /* a frame was wanted and none was free: evicted by itself, or waited */     \
    X(RESCUES, rescues)                                                                            \
    X(LATCHES_SHARED, latches_shared)                                                              \
    X(LATCHES_EXCLUSIVE, latches_exclusive)                                                        \
    X(COMMITS, commits)                                                                            \
    X(ABORTS, aborts)                                                                              \
    X(FLUSHES, flushes)                                                                            \
    X(REAPS, reaps)                                                                                \
    X(WAITS_LOAD, waits_load)                                                                      \
    X(WAITS_LATCH, waits_latch)                                                                    \
    X(WAITS_FRAME, waits_frame)                                                                    \
    X(WAITS_HOME, waits_home)                                                                      \
    X(WAITS_WRITER, waits_writer)                                                                  \
    X(WRITES, writes) /* requests to the disk; writer */                                           \
    X(PAGES_WRITTEN, pages_written)                                                                \
    X(SYNCS, syncs)                                                                                \
    X(WRITE_ERRORS, write_errors)                                                                  \
    X(TAKEOVERS, takeovers)
enum {
#define X(upper, lower) COUNTER_##upper,
    TARN_COUNTERS(X)
#undef X
        COUNTER_COUNT
};
#define TARN_COUNTER_SPACE 56
_Static_assert(COUNTER_COUNT <= TARN_COUNTER_SPACE, "room for the counters");

/* Latencies of what can block (hits: one in 256), in nanoseconds. */
#define TARN_LATENCIES(X)                                                                          \
    X(HIT, hit)                                                                                    \
    X(MISS, miss)                                                                                  \
    X(JOIN, join)                                                                                  \
    X(SHARED, latch_shared)                                                                        \
    X(EXCLUSIVE, latch_exclusive)                                                                  \
    X(FRAME, free_frame)                                                                           \
    X(COMMIT, commit)                                                                              \
    X(FLUSH, flush)
enum {
#define X(upper, lower) LATENCY_##upper,
    TARN_LATENCIES(X)
#undef X
        LATENCY_COUNT
};

/* Buckets of a histogram: four to a power of two, from 4 ns to 2^31 ns; the last takes the rest. */
#define TARN_BUCKETS 120

struct tarn_histogram { /* SHARED, session owner; counts wrap at 2^32 */
    tarn_half count[TARN_BUCKETS];
};

#define TARN_HOLDS_MAX          60u
#define TARN_HOLD_LINES         4u
#define TARN_MTR_ENTRIES_MAX    60u
#define TARN_CLAIMS_MAX         256u
#define TARN_FILE_CELLS         64u
#define TARN_SESSION_NAME_BYTES 32

/* Kinds of requests to the writer. */
enum {
    ASK_NONE = 0,
    ASK_FLUSH_PAGES = 1, /* number: how many page ids stand where others have a path */
    ASK_FLUSH_FILE = 2,  /* file */
    ASK_FLUSH_ALL = 3,
    ASK_FILE_OPEN = 4,   /* flags, path; answer: file */
    ASK_FILE_EXTEND = 5, /* file, number: new page count */
    ASK_FILE_TRUNCATE = 6,
    ASK_FILE_DROP = 7,  /* file, flags */
    ASK_FILE_SHARE = 8, /* file, number: frames; 0: no limit */
};

struct tarn_request { /* SHARED, session owner, but for what the writer answers */
    tarn_word word;   /* owner: release store of ASKED; writer: CAS ASKED -> DONE */
    tarn_word kind;
    tarn_word file;
    tarn_word number;
    tarn_word flags;
    tarn_word answer;      /* writer, before DONE */
    tarn_word wait_ms;     /* how long the writer may wait for holders (truncate, drop) */
    tarn_word answer_slot; /* writer, before DONE: the session that stood in the way, or 0 */
    union {
        char path[TARN_PATH_BYTES];
        tarn_word page_id[TARN_PATH_BYTES / 8];
    };
};

struct tarn_slot {           /* SHARED; session owner unless said otherwise */
    tarn_word state;         /* owner, or the reaper that has its claim byte */
    tarn_word pid;           /* pid in the namespace below, stored before LIVE */
    tarn_word start_time;    /* field 22 of /proc/PID/stat */
    tarn_word pid_namespace; /* inode of /proc/PID/ns/pid */
    tarn_word role;
    tarn_word joined_ns; /* CLOCK_MONOTONIC */
    tarn_word wait;      /* {object, WAIT_*}: object << 8 | what; 0: does not wait */
    tarn_word wait_since_ns;
    tarn_word home_lock;  /* bucket + 1 whose micro-lock is taken or about to be */
    tarn_word serial;     /* sessions that have used this slot; stored while joining */
    tarn_word reaped_pid; /* reaper: who was reaped here last */
    uint8_t pad0[5 * 8];
    char name[TARN_SESSION_NAME_BYTES];
    uint8_t pad1[TARN_LINE_BYTES - TARN_SESSION_NAME_BYTES];

    tarn_word mtr; /* owner or reaper */
    uint8_t pad2[TARN_LINE_BYTES - 8];
    tarn_word mtr_entry[64];          /* owner */
    tarn_half claim[TARN_CLAIMS_MAX]; /* frame + 1: announced before the frame word is changed */

    struct tarn_request request;

    tarn_word counter[TARN_COUNTER_SPACE];
    tarn_word latency_max_ns[LATENCY_COUNT];
    tarn_word file_hits[TARN_FILE_CELLS]; /* hits by file id mod 64; COUNTER_HITS is their sum */
    struct tarn_histogram latency[LATENCY_COUNT];
};
_Static_assert(sizeof(struct tarn_slot) % TARN_LINE_BYTES == 0, "slots are whole lines");

struct tarn_hold_line { /* SHARED, session owner; the reaper after death */
    tarn_half mark;     /* raised before a hold beyond it is stored */
    tarn_half hold[HOLD_LINE_HOLDS];
};
_Static_assert(sizeof(struct tarn_hold_line) == TARN_LINE_BYTES, "one line");
_Static_assert(TARN_HOLD_LINES *HOLD_LINE_HOLDS == TARN_HOLDS_MAX, "holds of a session");
_Static_assert(sizeof(struct tarn_slot) + TARN_HOLD_LINES * TARN_LINE_BYTES <= 8192,
               "8 KiB a session");

/* Page table and descriptors. */

#define TARN_BUCKET_WORDS  8u
#define TARN_PROBE_BUCKETS 8u

struct tarn_bucket { /* SHARED, one line; insertion by CAS under the home's micro-lock */
    tarn_word entry[TARN_BUCKET_WORDS];
};

enum {
    HINT_ONCE = 0,   /* to be touched once only */
    HINT_COLD = 1,   /* sessions that had to evict by themselves have looked a few times */
    HINT_LOADED = 2, /* not touched since it was loaded, or since the writer looked */
    HINT_TOUCHED = 3,
    HINT_KEEP = 4,
};

struct tarn_descriptor {   /* SHARED, one cache line: what a hit reads of a frame */
    tarn_word frame_word;  /* CAS only; owner slot and generation inside */
    tarn_word latch_word;  /* CAS only; owner slot and version inside */
    tarn_word sticky_word; /* bits set by or, cleared by the exclusive holder or the loader */
    tarn_word page_id;     /* loader, while CLAIMED */
    tarn_word dirty_word;  /* under X or CLAIMED: {changed}; writer: CAS to clean */
    tarn_half hint;        /* hint: anybody; HINT_* */
    uint8_t pad[TARN_LINE_BYTES - 5 * 8 - 4];
};
_Static_assert(sizeof(struct tarn_descriptor) == TARN_LINE_BYTES, "one cache line");

#endif
