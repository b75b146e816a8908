/* SPDX-License-Identifier: MIT */
/* What the fuzzers share. Each is a program of its own, fuzz_NAME.c, run by libFuzzer; an input is
 * read from the front as a little program: what to do, and what to overwrite meanwhile.
 */
#ifndef TARN_TESTS_FUZZ_H
#define TARN_TESTS_FUZZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/internal.h"

/* What is left of an input. Beyond its end everything is 0. */
struct input {
    const uint8_t *at, *end;
};

static inline uint64_t take(struct input *input, unsigned bytes)
{
    uint64_t value = 0;
    for (unsigned i = 0; i < bytes && input->at < input->end; i++)
        value |= (uint64_t)*input->at++ << 8 * i;
    return value;
}

/* Says what broke, and aborts: libFuzzer keeps the input. */
_Noreturn void broken(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* hooks.c. From hooks_start() on segments are mapped with nothing around them, and time is virtual:
 * a sleep or a futex wait ends at once, and the clock has moved. Whoever spends more of it than
 * this in one call waits without an end. */
#define CALL_NS_MAX (INT64_C(60) * 1000000000)
void hooks_start(void);
void hooks_begin_call(void);

/* While set: called before the next comparison of integers in library and command that is
 * `comparisons` away, and told to arm itself again. So words change between check and use. */
typedef void hook_function(void *context);
void hooks_arm(unsigned comparisons, hook_function *function, void *context);
void hooks_disarm(void);

/* Calls function(argument) and comes back also when it calls exit(); returns the exit status, or
 * what it returned. */
int hooks_catch_exit(int (*function)(void *argument), void *argument);

/* world.c: a pool in a temporary directory, its segment, and two handles. */
enum { WORLD_FRAMES = 24, WORLD_SESSIONS = 4, WORLD_FILES = 4, WORLD_PAGES = 40 };

struct world {
    char name[64], directory[64], segment_path[96];
    uint8_t *image; /* the segment as it was made: some pages cached, dirty, nobody in it */
    size_t image_bytes;
    struct tarn_pool *pool[2];
    uint64_t dead; /* bit set: the session in that slot counts as dead */
};

/* The directory alone; all names go when the process ends. */
void world_directory(struct world *world);

/* The pool in it. */
void world_make(struct world *world);

/* Attaches both handles. */
void world_attach(struct world *world);

/* The segment as it was made, nobody dead. */
void world_reset(struct world *world);

/* A session of a handle whose waits are short. NULL: refused. */
struct tarn_session *world_session(struct world *world, unsigned handle);

/* Frees what closed sessions leave in a handle. */
void world_free_closed(struct world *world, unsigned handle);

/* Forgets a session, as if its process had died. */
void world_kill(struct world *world, unsigned handle, struct tarn_session *session);

/* noise.c: overwrites one thing of the segment, as the input says; never the first page. */
void noise_apply(const struct tarn_view *view, struct input *input);

#endif
