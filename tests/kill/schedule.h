/* SPDX-License-Identifier: MIT */
/* The deterministic scheduler: a few players on a page or two, each of which runs until somebody
 * else gets the turn, in every order that matters.
 *
 * A schedule is an order of the players, the first that can run runs, and the steps (accesses to
 * the segment, system calls) at which the one that runs goes to the end of the order, or is killed.
 * So two such steps are two preemptions, and a few at random moments are PCT (Burckhardt et al.,
 * "A Randomized Scheduler with Probabilistic Guarantees of Finding Bugs"). A schedule that has
 * found something is printed, and replays exactly.
 */
#ifndef TESTS_KILL_SCHEDULE_H
#define TESTS_KILL_SCHEDULE_H

#include "tests/kill/script.h"

enum { SCENARIO_PLAYERS = 3, SCHEDULE_TURNS = 12 };

enum {
    SCENARIO_KILLS = 1,  /* somebody may die, */
    SCENARIO_FIRST = 2,  /* and only the first of them */
    SCENARIO_WRITER = 4, /* the writer is one of those that take turns */
    SCENARIO_STOPS = 8,  /* who has lost the turn stands still until all others are done */
    SCENARIO_SLOW_DISK = 16,
    SCENARIO_DURABLE = 32, /* the writer uses durable writes */
    SCENARIO_CLEAN = 64,   /* in the end the cleaner has made everything clean */
};

struct scenario {
    const char *name;
    unsigned writers;                     /* 0 to 2 */
    unsigned flags;                       /* SCENARIO_* */
    const char *set_up[SCENARIO_PLAYERS]; /* done before, one after the other */
    const char *run[SCENARIO_PLAYERS];    /* NULL: fewer players */
};

extern const struct scenario scenarios[];
extern const unsigned scenario_count;

/* One of them; or drawn from a seed, "drawn-SEED": there is one of these at a time. */
const struct scenario *scenario_of(const char *name);

enum turn { TURN_LAST, TURN_KILL, TURN_KILL_EARLY };

struct schedule {
    unsigned order; /* which permutation */
    unsigned disk;  /* how long its requests take */
    unsigned turn_count;
    struct {
        uint64_t step;
        enum turn turn;
    } turns[SCHEDULE_TURNS];
};

struct exploration {
    uint64_t schedules, kills, steps;
    struct schedule found; /* if script.wrong says something */
};

/* One scenario is prepared; the functions below work on it. */
void schedule_prepare(const struct scenario *scenario);

/* Runs it once; false: script.wrong says what is wrong. */
bool schedule_run(const struct schedule *schedule);

/* So many schedules as the seed draws them: PCT of depth 3, and at random. False: found something.
 */
bool schedule_draw(uint64_t seed, unsigned count, struct exploration *exploration);

/* Two turns near each other, the first at every tenth step (of two players; of more less often)
 * from one on that the seed says. */
bool schedule_sweep(uint64_t seed, struct exploration *exploration);

/* All with up to `preemptions` (2) turns, and one kill; every `stride`th step of each. */
bool schedule_exhaust(unsigned preemptions, unsigned stride, struct exploration *exploration);

/* "NAME:ORDER:DISK:37,80k,91K", and back. */
void schedule_print(const struct schedule *schedule, char *ret_text, size_t bytes);
bool schedule_parse(const char *text, const struct scenario **ret_scenario,
                    struct schedule *ret_schedule);

#endif
