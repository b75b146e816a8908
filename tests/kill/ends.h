/* SPDX-License-Identifier: MIT */
/* Kills while a pool is made or destroyed: nobody else is attached, so there are no survivors, but
 * somebody comes later. */
#ifndef TESTS_KILL_ENDS_H
#define TESTS_KILL_ENDS_H

#include "tests/kill/stage.h"

/* Does the operation in the stage's pool, or where none is, and kills at each point for which
 * takes() says so; everything is as before afterwards. Returns the operation's points. */
uint64_t ends_sweep(const struct operation *operation, bool (*takes)(uint64_t k));

/* The parts of it: what the operation needs to begin; what must be possible afterwards. */
void ends_clear_stage(const struct operation *operation);
void ends_come_after(const struct operation *operation);

#endif
