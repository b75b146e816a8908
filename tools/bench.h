/* SPDX-License-Identifier: MIT */
/* What is measured: each workload is one or two pairs of loops, tarn's and the bare one. */
#ifndef TARN_TOOLS_BENCH_H
#define TARN_TOOLS_BENCH_H

#include "lib/internal.h"

enum {
    BENCH_PROCESSES_MAX = 64,
    BENCH_ROUNDS_MAX = 1000,
    BENCH_SAMPLES_MAX = 1 << 16,
    BENCH_BATCH = 16,           /* pages that `many` pins at once */
    BENCH_STICKY_SESSIONS = 64, /* that have shared the page of `sticky` and are idle */
    BENCH_PAIRS_MAX = 2,
};

/* One measuring process. */
struct bench_process {
    struct tarn_pool *pool;
    struct tarn_session *session;
    const struct tarn_view *view;
    uint32_t file;
    uint32_t page_count;
    uint32_t page_bytes;
    struct tarn_page_id *order; /* all pages, in random order; or drawn ones */
    uint32_t order_count;
    uint32_t position;
    unsigned write_percent;
    uint64_t random;
    uint64_t next;        /* page that the chained loops go on with */
    tarn_half *line;      /* a private cache line: the hold of the bare loops */
    uint8_t *copy;        /* a private page */
    int fd;               /* the data file, O_DIRECT where that is possible */
    uint64_t sticky_bits; /* of the idle sessions */
    uint64_t sum;         /* of what was read */
};

/* Does `ops` operations. 0, or a negative errno with a message in the session, or in errno. */
typedef int bench_loop(struct bench_process *process, uint64_t ops);

struct bench_pair {
    const char *variant;
    bench_loop *tarn;
    bench_loop *bare; /* NULL: there is none */
};

struct bench_workload {
    const char *name;
    const char *what; /* for people */
    struct bench_pair pairs[BENCH_PAIRS_MAX];
    bench_loop *prepare;     /* untimed, before each slice of either loop; may be NULL */
    uint32_t page_count;     /* unless asked for */
    uint32_t frames_percent; /* frames of the pool, of the pages */
    uint32_t call_ops;       /* operations of one call; 0: the pages of one flush */
    uint32_t slice_ms;       /* 0: one call */
    bool disk;               /* the data file has to be on a disk */
    bool own_file;           /* a file for each process */
    bool drawn;              /* pages are drawn, and what the pool did meanwhile is told */
    unsigned idle_sessions;
};

extern const struct bench_workload bench_workloads[];
extern const unsigned bench_workload_count;

/* What a slice is for. */
enum bench_kind {
    BENCH_TARN,
    BENCH_BARE,
    BENCH_SAMPLED, /* tarn, each call timed by itself */
    BENCH_TARN_ALONE,
    BENCH_BARE_ALONE, /* only the first process works */
    BENCH_KINDS
};

/* The results of one process. SHARED with the parent, who reads them after its end. */
struct bench_result {
    float ns_per_op[BENCH_PAIRS_MAX][BENCH_KINDS][BENCH_ROUNDS_MAX];
    uint64_t ops[BENCH_PAIRS_MAX];                        /* of tarn's loop */
    uint32_t samples[BENCH_PAIRS_MAX][BENCH_SAMPLES_MAX]; /* ns a call */
    uint32_t sample_count[BENCH_PAIRS_MAX];
};

/* What all sessions have counted. */
struct bench_counts {
    uint64_t hits, misses, stalls, evictions, evictions_by_writer, pages_written, writes;
};

struct bench_shared {  /* SHARED */
    tarn_word arrived; /* add: processes at the beginning of a slice, since the start */
    uint8_t pad0[TARN_LINE_BYTES - 8];
    tarn_word begun;    /* by the last that arrived: slices begun */
    tarn_word begin_ns; /* and when that one begins */
    uint8_t pad1[TARN_LINE_BYTES - 2 * 8];
    tarn_word ball; /* of the ping-pong, by whose turn it is */
    uint8_t pad2[TARN_LINE_BYTES - 8];
    struct bench_counts before, after; /* process 0: at a third of the rounds, when the pool works
                                          as it does from then on, and at the end */
    struct bench_result results[];
};

struct bench {
    const struct bench_workload *workload;
    unsigned process_count;
    double seconds;
    uint32_t page_count;
    uint32_t page_bytes;
    unsigned rounds;      /* each has a slice of every kind */
    uint64_t frame_bytes; /* 0: as the workload says */
    unsigned write_percent;
    double zipf; /* exponent; 0: all pages alike */
    bool json;
    const char
        *base; /* the directory that the private one is made in; NULL: as the workload says */
    char name[32];
    char directory[512];
    pid_t writer;
    pid_t pids[BENCH_PROCESSES_MAX];
    struct bench_shared *shared;
    size_t shared_bytes;
    double ping_pong_ns[2]; /* before and after; 0: there is one processor only */
};

/* Whether slices of the kind say something in this bench. */
bool bench_kind_runs(const struct bench *bench, unsigned kind);

/* What process `number` does; returns the exit status. */
int bench_measure(const struct bench *bench, unsigned number);

/* How long a line takes from one processor to another, in ns: what everything contended rests on.
 * Both players call it, with numbers 0 and 1. Moves the caller to processor `number`. */
double bench_ping_pong(tarn_word *ball, unsigned number);

uint32_t bench_random_below(uint64_t *state, uint32_t limit);

/* All pages in one cycle, in random order (Sattolo): next[page] is where the chain goes on. */
void bench_make_cycle(uint32_t *next, uint32_t count, uint64_t seed);

/* The path of the data file that process `number` works on. */
void bench_data_path(const struct bench *bench, unsigned number, char *ret_path, size_t bytes);

/* Where in a page the loops read and write: spread over the lines, as data in pages is. Two words:
 * the next page of the chain, and a counter. */
static inline uint32_t bench_offset(uint64_t page)
{
    return (uint32_t)(page % 64 * TARN_LINE_BYTES);
}

#endif
