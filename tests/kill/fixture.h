/* SPDX-License-Identifier: MIT */
/* The pool in which victims are killed, and who else is there: this process, attached all the time
 * with one page pinned and another latched; a writer; a second handle of this process, on a copy of
 * the segment.
 */
#ifndef TESTS_KILL_FIXTURE_H
#define TESTS_KILL_FIXTURE_H

#include <sys/types.h>

#include "tests/kill/survivor.h"

/* Nobody else may be a writer, or the pool's end would wait for it. */
enum { FIXTURE_WITHOUT_WRITER = OPERATION_WRITES | OPERATION_ENDS_POOL };

struct fixture {
    char pool_name[64], directory[128];
    uint64_t page; /* first of those that operations work on */
    struct actor self;
    struct survivor survivor; /* of this process, on the pool */
    struct tarn_pool *copy;
    uint8_t *seen; /* room for the segment, to compare with */
    int data_fd;
    pid_t writer; /* 0: there is none */
};
extern struct fixture fixture;

/* The test itself cannot go on. */
_Noreturn void fixture_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Makes the pool as an operation with these flags needs it. */
void fixture_set(unsigned flags);
void fixture_clear(unsigned flags);

/* What a program that fails leaves behind. */
void fixture_remove(void);

/* A child that dies with this process. */
pid_t fixture_fork(void);

struct actor fixture_actor(void);

struct tarn_slot *fixture_slot(unsigned slot);

/* The slots that a process has in the pool; bit by number. */
uint64_t fixture_slots_of(pid_t pid);

void fixture_check_pins(void);

void fixture_start_writer(void);
/* Stops it where it is idle; after some seconds, where it is. */
void fixture_pause_writer(void);
void fixture_continue_writer(void);
void fixture_end_writer(void);

#endif
