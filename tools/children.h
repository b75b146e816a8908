/* SPDX-License-Identifier: MIT */
/* Subcommands that start processes, and end them whatever happens. */
#ifndef TARN_TOOLS_CHILDREN_H
#define TARN_TOOLS_CHILDREN_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* From now on SIGINT, SIGTERM and SIGCHLD wait until children_wait() asks for them. */
void children_begin(void);

/* As fork(). The child dies with its parent, by signal `with_parent`, and leaves SIGINT to it. A
 * failure has been told. */
pid_t children_fork(int with_parent);

/* Sleeps up to wait_ns, or until a signal. True as soon as one has come that asks to stop. */
bool children_wait(int64_t wait_ns);

#endif
