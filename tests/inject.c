/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "tests/backends.h"

enum { HELD_MAX = 64 };

#define DELAY_NS INT64_C(5000000)
#define LOOK_NS  INT64_C(2000000) /* while something is held back */

const char *const fault_names[FAULT_COUNT] = {"none",  "EIO",  "ENOSPC", "EINTR", "EAGAIN",
                                              "short", "zero", "delay",  "never"};

struct injection injection;

/* The backend behind, and what is kept from it. */
static const struct tarn_io_ops *inner;
static struct tarn_io_ops outer;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER; /* guards `held` */
static struct held {
    struct tarn_io *io; /* NULL: unused */
    struct tarn_io_request *request;
    int64_t until_ns; /* negative: until the fault has gone */
} held[HELD_MAX];

void inject(enum fault fault, int count, bool (*meets)(const struct tarn_io_request *request))
{
    injection.fault = FAULT_NONE;
    injection.meets = meets;
    injection.met = 0;
    injection.left = count;
    injection.fault = fault;
}

void inject_nothing(void)
{
    injection.fault = FAULT_NONE;
}

int64_t fault_result(enum fault fault)
{
    static const int64_t results[FAULT_COUNT] = {
        [FAULT_EIO] = -EIO,
        [FAULT_ENOSPC] = -ENOSPC,
        [FAULT_EINTR] = -EINTR,
        [FAULT_EAGAIN] = -EAGAIN,
    };
    return results[fault];
}

static int64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
}

static int64_t half_of(const struct tarn_io *io, const struct tarn_io_request *request)
{
    int fd = io->files[request->file].fd;
    size_t half = request->bytes / 2 / SIMDISK_SECTOR_BYTES * SIMDISK_SECTOR_BYTES;
    struct iovec piece = {request->data, half};
    off_t offset = (off_t)request->offset;
    if (inner == &simdisk_ops)
        return simdisk_transfer(request, fd, half);
    int64_t result = request->kind == TARN_IO_REQUEST_READ
                         ? preadv2(fd, &piece, 1, offset, 0)
                         : pwritev2(fd, &piece, 1, offset, request->durable ? RWF_DSYNC : 0);
    return result < 0 ? -errno : result;
}

static enum fault take_fault(enum fault fault)
{
    if (injection.left > 0)
        injection.left--;
    injection.met++;
    return fault;
}

enum fault fault_of_call(void)
{
    enum fault fault = injection.fault;
    return fault == FAULT_NONE || injection.left == 0 || injection.meets != NULL
               ? FAULT_NONE
               : take_fault(fault);
}

/* Does the fault befall this try? */
static enum fault fault_of(const struct tarn_io_request *request)
{
    enum fault fault = injection.fault;
    bool transfer = request->kind == TARN_IO_REQUEST_READ || request->kind == TARN_IO_REQUEST_WRITE;
    if (fault == FAULT_NONE || injection.left == 0 || request->kind == TARN_IO_REQUEST_CANCEL ||
        injection.meets == NULL || !injection.meets(request) ||
        (fault == FAULT_SHORT && (!transfer || request->bytes < 2 * SIMDISK_SECTOR_BYTES)))
        return FAULT_NONE;
    return take_fault(fault);
}

static void hold(struct tarn_io *io, struct tarn_io_request *request, int64_t until_ns)
{
    unsigned i = 0;
    pthread_mutex_lock(&mutex);
    while (i < HELD_MAX && held[i].io != NULL)
        i++;
    if (i == HELD_MAX)
        abort();
    held[i] = (struct held){io, request, until_ns};
    injection.held++;
    pthread_mutex_unlock(&mutex);
}

/* Hands on those whose time has come. True: more are held. */
static bool let_go(struct tarn_io *io, struct tarn_io_request_list *passed)
{
    bool more = false;
    pthread_mutex_lock(&mutex);
    for (unsigned i = 0; i < HELD_MAX; i++) {
        if (held[i].io != io)
            continue;
        if (held[i].until_ns < 0 ? injection.fault == FAULT_NEVER : held[i].until_ns > now_ns()) {
            more = true;
            continue;
        }
        tarn_io_list_push(passed, held[i].request);
        held[i].io = NULL;
        injection.held--;
    }
    pthread_mutex_unlock(&mutex);
    return more;
}

static bool apply(struct tarn_io *io)
{
    struct tarn_io_request_list passed = {0};
    struct tarn_io_request *request;
    while ((request = tarn_io_list_pop(&io->queued)) != NULL) {
        enum fault fault = fault_of(request);
        if (fault == FAULT_NONE) {
            tarn_io_list_push(&passed, request);
        } else if (fault == FAULT_DELAY || fault == FAULT_NEVER) {
            hold(io, request, fault == FAULT_DELAY ? now_ns() + DELAY_NS : -1);
        } else {
            int64_t result = fault == FAULT_SHORT ? half_of(io, request) : fault_result(fault);
            bool ends = tarn_io_request_finished(request, result);
            /* A retry is a try of its own. */
            tarn_io_list_push(ends ? &io->done : &io->queued, request);
        }
    }
    bool more = let_go(io, &passed);
    tarn_io_list_append(&io->queued, &passed);
    return more;
}

static int injected_open(struct tarn_io *io, const struct tarn_io_options *options)
{
    int error = inner->open(io, options);
    if (injection.plain)
        io->capabilities.durable_writes = false;
    return error;
}

static int injected_submit(struct tarn_io *io)
{
    apply(io);
    return inner->submit(io);
}

static int injected_wait(struct tarn_io *io, int64_t wait_ns_max)
{
    bool more = apply(io);
    if (io->done.first != NULL)
        wait_ns_max = 0;
    else if (more && (wait_ns_max < 0 || wait_ns_max > LOOK_NS))
        wait_ns_max = LOOK_NS;
    return inner->wait(io, wait_ns_max);
}

const struct tarn_io_ops *injected_ops(const struct tarn_io_ops *backend)
{
    inner = backend;
    outer = *backend;
    outer.open = injected_open;
    outer.submit = injected_submit;
    outer.wait = injected_wait;
    return &outer;
}
