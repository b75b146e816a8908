/* SPDX-License-Identifier: MIT */
/* Backends for tests, given to a writer from outside, and faults for any backend. */
#ifndef TESTS_BACKENDS_H
#define TESTS_BACKENDS_H

#include <stdatomic.h>

#include "lib/io/backend.h"
#include "tests/simdisk.h"

/* Real files on a disk that can lose what was not synced: requests take a while that is drawn and
 * so complete in any order; what the kernel itself has of the files is left out of account. The
 * process has one such disk. */
extern const struct tarn_io_ops simdisk_ops;

/* Everything succeeds at once and nothing is moved: what is left is the caller's own work. */
extern const struct tarn_io_ops null_ops;

/* Each request takes up to so long. */
void simdisk_set(uint64_t seed, uint64_t ns_max);

/* A read or write, at once. */
int64_t simdisk_transfer(const struct tarn_io_request *request, int fd, size_t bytes);

/* Power goes while nothing is in flight: sectors of the files become what they were. Returns how
 * many. */
unsigned simdisk_power_cut(uint64_t seed, enum simdisk_cut how);

/* Faults. Between the caller and a backend stands another one, which lets a request's try end as
 * told, without the backend. It sees tries, not system calls: what the kernel does before it
 * answers so is not done. */

enum fault {
    FAULT_NONE,
    FAULT_EIO,
    FAULT_ENOSPC,
    FAULT_EINTR,
    FAULT_EAGAIN,
    FAULT_SHORT, /* half of the bytes are transferred, at least a sector */
    FAULT_ZERO,  /* 0 is the answer, and nothing is done */
    FAULT_DELAY, /* is handed on some milliseconds later */
    FAULT_NEVER, /* is handed on when the fault has gone */
    FAULT_COUNT,
};

extern const char *const fault_names[FAULT_COUNT];

struct injection {
    _Atomic enum fault fault;
    _Atomic int left;      /* tries that it befalls yet; negative: all, until that changes */
    _Atomic unsigned met;  /* tries that it befell */
    _Atomic unsigned held; /* that wait for their time */
    bool (*meets)(const struct tarn_io_request *request); /* NULL: a call that is no request */
    bool plain; /* instances opened now cannot do durable writes */
};
extern struct injection injection;

void inject(enum fault fault, int count, bool (*meets)(const struct tarn_io_request *request));
void inject_nothing(void);

/* A negative errno, or 0. */
int64_t fault_result(enum fault fault);

/* For a system call that a test stands before: what befalls it. */
enum fault fault_of_call(void);

/* The backend with faults before it; for one backend at a time. */
const struct tarn_io_ops *injected_ops(const struct tarn_io_ops *inner);

#endif
