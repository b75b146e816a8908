/* SPDX-License-Identifier: MIT */
/* Operations of one who cleans up after a process that has died over everything at once. They fork,
 * so they are for processes, not for coroutines.
 */
#ifndef TESTS_KILL_REAPERS_H
#define TESTS_KILL_REAPERS_H

#include "tests/kill/operations.h"

enum { REAPERS = 2 };

extern const struct operation reapers[REAPERS];

#endif
