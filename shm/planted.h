/* SPDX-License-Identifier: MIT */
/* Planted bugs: one realistic mistake each, at the place where it would be made. The tests of
 * tests/kill are built with TARN_PLANTED, switch on one after the other, and have to catch each;
 * in every other build a switch is a constant false, and nothing of it is left.
 */
#ifndef TARN_SHM_PLANTED_H
#define TARN_SHM_PLANTED_H

#include <stdbool.h>

/* Name, what is wrong. docs/testing.md says what each breaks and what catches it. */
#define TARN_PLANTED_BUGS(X)                                                                       \
    X(STICKY_CLEARED_BY_EVICTOR, "an evictor clears the sticky word of a frame before it is FREE")

enum {
    PLANTED_NOTHING = 0,
#define X(name, text) PLANTED_##name,
    TARN_PLANTED_BUGS(X)
#undef X
        PLANTED_COUNT
};

#ifdef TARN_PLANTED
extern unsigned tarn_planted; /* PLANTED_*; the program that tests has it */
#define PLANTED(name) (tarn_planted == PLANTED_##name)
#else
#define PLANTED(name) ((void)PLANTED_##name, false)
#endif

#endif
