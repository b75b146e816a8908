/* SPDX-License-Identifier: MIT */
/* What the processes of a replay share, and what each of them does. */
#ifndef TARN_TOOLS_REPLAY_H
#define TARN_TOOLS_REPLAY_H

#include "lib/internal.h"
#include "tools/trace.h"

enum { REPLAY_PROCESSES_MAX = 64 };

/* One of the processes, and who comes in its place after it was killed. SHARED, changed by that
 * process alone, so it says what was done up to the kill. */
struct replay_progress {
    tarn_word requests;   /* done: process i of N does requests i, i + N, i + 2N... */
    tarn_word references; /* pages read or written, also of requests that a kill cut short */
    tarn_word request_ns_max;
    tarn_word stall_ns_max; /* longest step: one page, one batch read or one mini-transaction */
    uint8_t pad[TARN_LINE_BYTES - 4 * 8];
    struct tarn_histogram request_ns;
};

struct replay_shared { /* SHARED */
    tarn_word errors;  /* add: pages that were not what they have to be */
    uint8_t pad[TARN_LINE_BYTES - 8];
    struct replay_progress progress[REPLAY_PROCESSES_MAX];
    tarn_word floors[]; /* by page: the newest sequence number that anybody has seen committed */
};

struct replay {
    const char *name;
    const struct tarn_attach_options *attach;
    struct trace trace;
    unsigned process_count;
    bool verify;
    uint32_t file;
    uint32_t page_bytes;
    unsigned step_pages; /* pages a step takes at once, at most */
    struct replay_shared *shared;
};

enum {
    REPLAY_STEP_PAGES_MAX = 16,
    REPLAY_MESSAGES_MAX = 10, /* wrong pages that are named; all are counted */
};

/* With --simulate: a command of its own. Returns the exit status. */
int replay_simulate(int argc, char **argv);

/* What a new process does: its share of the trace, from where the one before it got to. Returns
 * the exit status. */
int replay_work(const struct replay *replay, unsigned number);

/* Is this copy of a page whole, itself, and no older than sequence number `floor`? Counts and
 * names it if not. `source` says where the copy is from. Its sequence number is returned, 0 for a
 * page that was never written. */
uint64_t replay_check_page(const struct replay *replay, uint32_t page, const void *bytes,
                           uint64_t floor, const char *source);

#endif
