/* SPDX-License-Identifier: MIT */
/* Requests on io_uring. An entry's user data is the index of its request, never a pointer. */
#include <assert.h>
#include <errno.h>
#include <liburing.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/uio.h>

#include "lib/io/backend.h"

/* Without the first, completions that find no room are lost; without the second, a wait with a
 * limit would need an entry of its own. Both are there since Linux 5.11. */
#define FEATURES_NEEDED (IORING_FEAT_NODROP | IORING_FEAT_EXT_ARG)

/* After which entries that were refused are offered again, while others are in flight. */
#define REFUSED_WAIT_NS INT64_C(10000000)

struct uring {
    struct io_uring ring;
    unsigned prepared; /* entries made whose completion has not been seen */
};

static void register_buffer(struct tarn_io *io, struct io_uring *ring,
                            const struct tarn_io_options *options)
{
    struct iovec vector = {options->buffer, options->buffer_bytes};

    if (!options->buffer)
        return;
    io->capabilities.buffer_refused = io_uring_register_buffers(ring, &vector, 1);
    if (io->capabilities.buffer_refused)
        return;
    io->capabilities.registered_buffer = true;
    io->buffer = options->buffer;
    io->buffer_bytes = options->buffer_bytes;
}

static void register_files(struct tarn_io *io, struct io_uring *ring)
{
    if (io->file_count == 0)
        return;

    int *fds = malloc(io->file_count * sizeof(*fds));
    if (!fds) {
        io->capabilities.files_refused = -ENOMEM;
        return;
    }
    for (unsigned i = 0; i < io->file_count; i++)
        fds[i] = -1;
    io->capabilities.files_refused = io_uring_register_files(ring, fds, io->file_count);
    io->capabilities.registered_files = !io->capabilities.files_refused;
    free(fds);
}

/* A ring for one thread is not interrupted for each completion, and needs no lock in the kernel
 * (Linux 6.1). Others may move between threads: there a completion would wait until the thread that
 * submitted, and not the one that waits, enters the kernel. */
static int open_ring(struct tarn_io *io, struct io_uring *ring,
                     const struct tarn_io_options *options)
{
    if (options->one_thread) {
        io->capabilities.deferred_refused = io_uring_queue_init(
            options->depth, ring,
            IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_TASKRUN_FLAG);
        if (!io->capabilities.deferred_refused)
            return 0;
    }
    return io_uring_queue_init(options->depth, ring, 0);
}

static int uring_open(struct tarn_io *io, const struct tarn_io_options *options)
{
    struct uring *uring = calloc(1, sizeof(*uring));
    if (!uring)
        return -ENOMEM;

    int error = open_ring(io, &uring->ring, options);
    if (error) {
        free(uring);
        return error;
    }
    if ((uring->ring.features & FEATURES_NEEDED) != FEATURES_NEEDED)
        error = -EOPNOTSUPP;
    else
        error = io_uring_ring_dontfork(&uring->ring);
    if (error) {
        io_uring_queue_exit(&uring->ring);
        free(uring);
        return error;
    }
    register_buffer(io, &uring->ring, options);
    register_files(io, &uring->ring);
    io->descriptor = uring->ring.ring_fd;
    io->capabilities.durable_writes = true;
    io->capabilities.deferred = uring->ring.flags & IORING_SETUP_DEFER_TASKRUN;
    io->state = uring;
    return 0;
}

static void uring_close(struct tarn_io *io)
{
    struct uring *uring = io->state;

    /* The kernel takes a closed ring apart some time later; the caller's files and memory are
     * to be free of it on return. */
    if (io->capabilities.registered_files)
        io_uring_unregister_files(&uring->ring);
    if (io->capabilities.registered_buffer)
        io_uring_unregister_buffers(&uring->ring);
    io_uring_queue_exit(&uring->ring);
    free(uring);
}

static int uring_set_file(struct tarn_io *io, unsigned file, int fd)
{
    struct uring *uring = io->state;

    if (!io->capabilities.registered_files)
        return 0;
    int ret = io_uring_register_files_update(&uring->ring, file, &fd, 1);
    return ret < 0 ? ret : 0;
}

static bool is_registered(const struct tarn_io *io, const char *data, size_t bytes)
{
    uintptr_t offset = (uintptr_t)data - (uintptr_t)io->buffer; /* huge if data is in front */

    return bytes <= io->buffer_bytes && offset <= io->buffer_bytes - bytes;
}

static void prepare_transfer(struct tarn_io *io, struct io_uring_sqe *sqe, int fd,
                             const struct tarn_io_request *request)
{
    unsigned bytes = (unsigned)tarn_io_request_try_bytes(io, request);
    bool fixed = is_registered(io, request->data, bytes);

    if (request->kind == TARN_IO_REQUEST_READ) {
        if (fixed)
            io_uring_prep_read_fixed(sqe, fd, request->data, bytes, request->offset, 0);
        else
            io_uring_prep_read(sqe, fd, request->data, bytes, request->offset);
    } else {
        if (fixed)
            io_uring_prep_write_fixed(sqe, fd, request->data, bytes, request->offset, 0);
        else
            io_uring_prep_write(sqe, fd, request->data, bytes, request->offset);
        sqe->rw_flags = request->durable ? RWF_DSYNC : 0;
    }
    /* What could not be done without blocking is better off where blocking is allowed. */
    if (request->retry_count > 0)
        sqe->flags |= IOSQE_ASYNC;
}

static void prepare_file_request(struct tarn_io *io, struct io_uring_sqe *sqe,
                                 const struct tarn_io_request *request)
{
    bool registered = io->capabilities.registered_files;
    int fd = registered ? request->file : io->files[request->file].fd;

    if (request->kind == TARN_IO_REQUEST_SYNC)
        io_uring_prep_fsync(sqe, fd, IORING_FSYNC_DATASYNC);
    else
        prepare_transfer(io, sqe, fd, request);
    if (registered)
        sqe->flags |= IOSQE_FIXED_FILE;
}

static uint64_t request_index(const struct tarn_io *io, const struct tarn_io_request *request)
{
    return (uint64_t)(request - io->requests);
}

static void prepare(struct tarn_io *io, struct io_uring_sqe *sqe,
                    const struct tarn_io_request *request)
{
    if (request->kind == TARN_IO_REQUEST_POLL)
        io_uring_prep_poll_add(sqe, request->file, POLLIN);
    else if (request->kind == TARN_IO_REQUEST_CANCEL)
        io_uring_prep_cancel64(sqe, request_index(io, request->target), 0);
    else
        prepare_file_request(io, sqe, request);
    io_uring_sqe_set_data64(sqe, request_index(io, request));
}

/* Moves what is queued into the ring, as far as there is room. */
static void fill(struct tarn_io *io)
{
    struct uring *uring = io->state;
    struct io_uring_sqe *sqe;

    while (io->queued.first && (sqe = io_uring_get_sqe(&uring->ring))) {
        prepare(io, sqe, tarn_io_list_pop(&io->queued));
        uring->prepared++;
    }
}

/* Submits until no more than one ringful is left, which is in the ring. */
static int flush_to_last(struct tarn_io *io)
{
    struct uring *uring = io->state;

    for (fill(io); io->queued.first; fill(io)) {
        int ret = io_uring_submit(&uring->ring);
        if (ret <= 0)
            return ret < 0 ? ret : -EAGAIN;
    }
    return 0;
}

static int uring_submit(struct tarn_io *io)
{
    struct uring *uring = io->state;
    int error = flush_to_last(io);

    /* The kernel stops after an entry that it cannot take; its completion says why. */
    while (!error && io_uring_sq_ready(&uring->ring) > 0) {
        int ret = io_uring_submit(&uring->ring);
        if (ret <= 0)
            error = ret < 0 ? ret : -EAGAIN;
    }
    return error;
}

/* Returns how many there were. */
static unsigned reap(struct tarn_io *io)
{
    struct uring *uring = io->state;
    struct io_uring_cqe *cqe;
    unsigned head, count = 0;

    io_uring_for_each_cqe(&uring->ring, head, cqe)
    {
        struct tarn_io_request *request = &io->requests[cqe->user_data];

        assert(cqe->user_data < io->request_count && request->kind != TARN_IO_REQUEST_IDLE);
        if (request->kind == TARN_IO_REQUEST_CANCEL)
            tarn_io_request_free(io, request);
        else if (tarn_io_request_finished(request, cqe->res))
            tarn_io_list_push(&io->done, request);
        else
            tarn_io_list_push(&io->queued, request);
        count++;
    }
    io_uring_cq_advance(&uring->ring, count);
    uring->prepared -= count;
    return count;
}

static struct __kernel_timespec *timespec_of(struct __kernel_timespec *limit, int64_t wait_ns_max)
{
    limit->tv_sec = wait_ns_max / 1000000000;
    limit->tv_nsec = wait_ns_max % 1000000000;
    return wait_ns_max < 0 ? NULL : limit;
}

/* A refusal to take more (-EAGAIN, -EBUSY) must keep us neither from what was taken before, nor for
 * long from asking again. */
static int wait_refused(struct uring *uring, int64_t wait_ns_max, int error)
{
    struct __kernel_timespec limit;
    struct io_uring_cqe *cqe;

    if (uring->prepared == io_uring_sq_ready(&uring->ring))
        return error;
    if (wait_ns_max < 0 || wait_ns_max > REFUSED_WAIT_NS)
        wait_ns_max = REFUSED_WAIT_NS;
    return io_uring_wait_cqes(&uring->ring, &cqe, 1, timespec_of(&limit, wait_ns_max), NULL);
}

/* What is done and has not been put into the queue: it is put there when we ask for it. */
static bool has_events(const struct io_uring *ring)
{
    return IO_URING_READ_ONCE(*ring->sq.kflags) & (IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW);
}

static int submit_and_look(struct io_uring *ring)
{
    if (io_uring_sq_ready(ring) == 0 && !has_events(ring))
        return 0;
    return io_uring_submit_and_get_events(ring);
}

static int submit_and_wait(struct tarn_io *io, int64_t wait_ns_max)
{
    struct uring *uring = io->state;
    struct __kernel_timespec limit;
    struct io_uring_cqe *cqe;

    int error = flush_to_last(io);
    if (!error && wait_ns_max == 0)
        error = submit_and_look(&uring->ring);
    else if (!error)
        error = io_uring_submit_and_wait_timeout(&uring->ring, &cqe, 1,
                                                 timespec_of(&limit, wait_ns_max), NULL);
    if (error >= 0 || error == -ETIME || error == -EINTR)
        return error;
    if (io_uring_sq_ready(&uring->ring) == 0)
        return error;
    return wait_refused(uring, wait_ns_max, error);
}

static int uring_wait(struct tarn_io *io, int64_t wait_ns_max)
{
    if (reap(io) > 0)
        wait_ns_max = 0;
    int error = submit_and_wait(io, wait_ns_max);
    if (reap(io) > 0 || error >= 0 || error == -ETIME)
        return 0;
    return error;
}

const struct tarn_io_ops tarn_io_uring_ops = {
    .name = "io_uring",
    .open = uring_open,
    .close = uring_close,
    .set_file = uring_set_file,
    .submit = uring_submit,
    .wait = uring_wait,
};
