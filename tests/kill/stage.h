/* SPDX-License-Identifier: MIT */
/* Who plays in the world beside the one that is killed, and in what pool. */
#ifndef TESTS_KILL_STAGE_H
#define TESTS_KILL_STAGE_H

#include "tests/kill/oracle.h"

struct stage {
    /* Members of the pool, at rest in `base`; `other` is the one that may be in the middle of
     * something. */
    struct process *writer, *survivor, *third, *other;
    struct model model;       /* of `base`; not changed by what happens later */
    struct world_saved *base; /* where everything begins */
    uint64_t random;          /* that stage_draw() draws from */
    uint64_t sequences;       /* of changes, given out */
};

extern struct stage stage;

/* A pool in the state that follows from the seed; 0: a new one. */
void stage_make(uint64_t seed);

uint64_t stage_draw(uint64_t below);

/* A process that knows the pool; one that has entered it; a writer that serves. */
struct process *stage_process(void);
struct process *stage_member(void);
struct process *stage_writer(void);

/* A negative result breaks the test. */
int stage_must(struct process *process, int result, const char *what);
int stage_must_do(struct process *process, int (*function)(struct actor *actor), const char *what);

/* For the actor of an operation that is about to begin. */
void stage_set_up(struct process *process, unsigned page);

/* A whole operation of a member at rest, checked. */
void stage_work(struct process *process, unsigned which, unsigned page, struct model *of);

/* Can a member do it that has a session, alone? */
bool stage_is_for_members(const struct operation *operation);
unsigned stage_draw_operation(void);

int stage_reap(struct actor *actor);

#endif
