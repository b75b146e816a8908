/* SPDX-License-Identifier: MIT */
/* Everything that can be known of a pool in the world, whoever has died when. */
#ifndef TESTS_KILL_ORACLE_H
#define TESTS_KILL_ORACLE_H

#include "tests/kill/world.h"

/* The pool in the world. */
#define WORLD_POOL      "world"
#define WORLD_DIRECTORY "/pool"

/* What each page has, by the mini-transactions that have returned, and what is on disk at least. */
struct model {
    uint64_t sequence[OPERATION_PAGES];
    uint64_t durable[OPERATION_PAGES];
};

extern unsigned oracle_failures;

/* Called after each of them; prints where it was, and may end the program. */
extern void (*oracle_failed)(void);

void oracle_broken(const char *what, unsigned long long a, unsigned long long b);

/* The rules of the segment (tarn_check_view()), and that each session at rest has there what it
 * counts itself. Processes that are in the middle of something count as stopped, those that were
 * killed as dead. */
void oracle_segment(void);

/* Everybody is at rest. Changes are all or nothing, and as their calls returned; every page is as
 * one of them or the model says, and on disk as well if it is not dirty; the disk is as new as was
 * acknowledged. From then on the model is
 * what there is. */
void oracle_pages(struct model *model, struct actor **actors, unsigned count);

/* An operation has run: if it was a flush that returned, its change is durable from now on. */
void oracle_acknowledge(struct model *model, const struct process *process,
                        const struct operation *operation);

#endif
