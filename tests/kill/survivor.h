/* SPDX-License-Identifier: MIT */
/* What somebody who lives finds in a pool in which another was killed, and does there. */
#ifndef TESTS_KILL_SURVIVOR_H
#define TESTS_KILL_SURVIVOR_H

#include "lib/internal.h"
#include "tests/kill/operations.h"

struct survivor {
    const char *where; /* for people */
    struct tarn_pool *pool;
    uint32_t file;
    bool (*inside)(unsigned slot);      /* in the middle of a call, and does not go on */
    const struct change *open;          /* a change that is not decided: its pages are left alone */
    uint64_t sequence[OPERATION_PAGES]; /* of the newest committed change of each page */
};

/* The drawn numbers, and the last sequence number; of all survivors of this process. */
extern uint64_t survivor_random, survivor_sequence;

uint64_t survivor_draw(uint64_t count);

/* Something is wrong; the program that checks has this function. */
__attribute__((format(printf, 1, 2))) void violated(const char *format, ...);

/* The data file as it is now, for pages that are not in the pool. */
void survivor_read_disk(int fd);

/* No rule is broken, all who are dead have been reaped. */
void survivor_check_rules(const struct survivor *survivor);

/* Every page has its sequence number; those of the change that was cut off all have the old one or
 * all the new one, which counts from then on. What is clean is as the file has it. Nobody else may
 * be at work. */
void survivor_check_pages(struct survivor *survivor, const struct change *change);

/* The pages of a change that is durable, or all pages (NULL), are in the file as it was last read.
 */
void survivor_check_disk(const struct survivor *survivor, const struct change *change);

/* Reads, changes and gives up changes through a session of its own, and checks all it sees;
 * does nothing in a pool that is being destroyed. */
void survivor_work(struct survivor *survivor, unsigned rounds);

#endif
