/* SPDX-License-Identifier: MIT */
/* References made up by name, the same each time. */
#ifndef TARN_TOOLS_WORKLOAD_H
#define TARN_TOOLS_WORKLOAD_H

#include "tools/simulate.h"

enum {
    WORKLOAD_PAGES = 100000, /* those that matter; scans go beyond them */
    WORKLOAD_REFERENCES = 1000000,
};

/* By number, from 0 on; NULL: there are no more. */
const char *workload_name(unsigned number);

/* For a cache of so many frames: some have a shape that follows from it. The pages are allocated.
 * False: there is none of that name, or out of memory. */
bool workload_make(const char *name, uint32_t frame_count, struct references *ret_references);

#endif
