/* SPDX-License-Identifier: MIT */
/* The oracle on an attached pool, for tests. */
#ifndef TARN_LIB_CHECK_H
#define TARN_LIB_CHECK_H

#include "lib/internal.h"
#include "shm/check.h"

/* As tarn_check_view(), with the handle's own proof of death, while the pool works. Sessions of
 * stopped processes are known by /proc. `report` gets `context`. Returns the number of violations,
 * or what the handle answers. */
int tarn_check_pool(struct tarn_pool *pool, tarn_violation_report *report, void *context);

/* Is the process of a slot stopped (SIGSTOP, or a debugger)? False where that cannot be known:
 * another pid namespace. */
bool tarn_stopped_by_kernel(const struct tarn_pool *pool, unsigned slot);

#endif
