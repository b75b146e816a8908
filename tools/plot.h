/* SPDX-License-Identifier: MIT */
/* Miss ratio curves, drawn by gnuplot. */
#ifndef TARN_TOOLS_PLOT_H
#define TARN_TOOLS_PLOT_H

#include <stdbool.h>
#include <stdint.h>

struct plot_point {
    const char *policy;
    uint32_t frames;
    uint32_t references;
    uint64_t misses;
};

/* Does the name of the file end in .svg or .png? */
bool plot_can_write(const char *path);

/* Points come by size, and for each size by policy, always the same. TOOL_GOOD, or TOOL_TROUBLE
 * with the message printed. */
int plot_write(const char *path, const char *title, const struct plot_point *points,
               unsigned point_count, unsigned policy_count);

#endif
