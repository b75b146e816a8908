/* SPDX-License-Identifier: MIT */
/* Calls of the library to the kernel and the C library that a test answers in their place: they
 * fail, or tell of a kernel, a file system or a device that is not here. Where nothing is said they
 * are the real ones. For all threads of the process alike.
 */
#ifndef TARN_TESTS_CALLS_H
#define TARN_TESTS_CALLS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>

enum { CALLS_NOTHING = 10000 }; /* no errno: the ring takes nothing */

struct calls {
    const char *_Atomic name;    /* which fails, as meson.build has it; NULL: any */
    const char *_Atomic path;    /* only with this in its path; NULL: any */
    _Atomic unsigned countdown;  /* the call that fails, counted down; 0: none */
    _Atomic bool stays;          /* and all after it */
    _Atomic int error;           /* 0: what is likely for the call */
    const char *_Atomic refused; /* the name of the call that failed last */

    /* What is asked; 0: the kernel's answer. */
    void (*_Atomic status)(struct stat *status); /* of a file: changes it, if need be */
    ssize_t (*_Atomic read)(int fd, void *bytes, size_t count); /* -2: the kernel's */
    _Atomic unsigned direct_align;                              /* of statx(); 1: none */
    _Atomic int64_t device_bytes;  /* of a block device, or a negative errno */
    _Atomic bool locked;           /* whoever asks for a lock is told so */
    _Atomic bool without_features; /* of io_uring */
    _Atomic bool sleepless;        /* nobody sleeps: limits of time are reached at once */
    _Atomic bool other_user;       /* than root */
    _Atomic bool on_disk;          /* no file system is one of memory */
    _Atomic int without_tmpfile;   /* the errno of a file system that has no O_TMPFILE */
};

extern struct calls calls;

/* The `at`th call of the name from now on fails; NULL: of whatever name. "inode", "device", "type":
 * not the call fails, but what it says of a file is another file's; "end": a file ends there;
 * "wake": a write to a FIFO. */
void calls_fail(const char *name, unsigned at, int error);

/* All are the real ones again. True: the one that was to fail has failed. */
bool calls_end(void);

/* What this process has: descriptors, mappings of files. */
struct holdings {
    unsigned descriptors, mappings;
};
struct holdings calls_holdings(void);

#endif
