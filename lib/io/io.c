/* SPDX-License-Identifier: MIT */
#include "lib/io/io.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "lib/io/backend.h"

/* The kernel moves at most 2 GiB less a page at once, and a count must fit an io_uring entry. */
#define TRY_BYTES_MAX ((size_t)1 << 30)

/* What one request to a disk moves at best: larger ones the kernel cuts anyway. */
#define TRANSFER_BYTES_MAX ((size_t)512 << 10)

/* Direct I/O ends between sectors only at the end of the file. */
#define SECTOR_BYTES_MIN 512

void tarn_io_list_push(struct tarn_io_request_list *list, struct tarn_io_request *request)
{
    request->next = NULL;
    if (list->first)
        list->last->next = request;
    else
        list->first = request;
    list->last = request;
}

struct tarn_io_request *tarn_io_list_pop(struct tarn_io_request_list *list)
{
    struct tarn_io_request *request = list->first;

    if (request)
        list->first = request->next;
    return request;
}

void tarn_io_list_append(struct tarn_io_request_list *list, struct tarn_io_request_list *from)
{
    if (!from->first)
        return;
    if (list->first)
        list->last->next = from->first;
    else
        list->first = from->first;
    list->last = from->last;
    from->first = NULL;
}

static bool is_transfer(const struct tarn_io_request *request)
{
    return request->kind == TARN_IO_REQUEST_READ || request->kind == TARN_IO_REQUEST_WRITE;
}

/* The kernel cancels what a thread has submitted when that thread ends, so -ECANCELED without a
 * cancel of ours is no answer. */
static bool is_worth_another_try(const struct tarn_io_request *request, int64_t result)
{
    return result == -EINTR || result == -EAGAIN || (result == -ECANCELED && !request->cancelled);
}

bool tarn_io_request_finished(struct tarn_io_request *request, int64_t result)
{
    if (is_worth_another_try(request, result) && request->retry_count < TARN_IO_RETRY_COUNT_MAX) {
        request->retry_count++;
        return false;
    }
    if (request->durable && (result == -EINVAL || result == -ENOSYS))
        result = -EOPNOTSUPP;
    request->result = result;
    if (!is_transfer(request))
        return true;

    if (result > 0) {
        assert((size_t)result <= request->bytes);
        request->data += result;
        request->bytes -= (size_t)result;
        request->offset += (uint64_t)result;
        request->bytes_done += (size_t)result;
        request->retry_count = 0;
        if (request->bytes > 0)
            return false;
        request->result = (int64_t)request->bytes_done;
    } else if (result == 0) {
        /* A write that moves nothing and gives no reason would be tried for ever. */
        request->result =
            request->kind == TARN_IO_REQUEST_READ ? (int64_t)request->bytes_done : -EIO;
    } else if (result == -EINVAL && request->kind == TARN_IO_REQUEST_READ &&
               request->bytes_done % SECTOR_BYTES_MIN != 0) {
        /* A direct read went up to an odd end of the file; going on there is misaligned. */
        request->result = (int64_t)request->bytes_done;
    }
    return true;
}

size_t tarn_io_request_try_bytes(const struct tarn_io *io, const struct tarn_io_request *request)
{
    return request->bytes < io->try_bytes_max ? request->bytes : io->try_bytes_max;
}

static size_t request_count_max(unsigned depth)
{
    return depth + 2 * (size_t)TARN_IO_POLL_COUNT_MAX;
}

/* NULL only if polls and their cancels fill the table. */
static struct tarn_io_request *request_new(struct tarn_io *io, enum tarn_io_request_kind kind,
                                           int file, uint64_t id)
{
    struct tarn_io_request *request = tarn_io_list_pop(&io->idle);

    if (!request) {
        if (io->request_count == request_count_max(io->capabilities.depth))
            return NULL;
        request = &io->requests[io->request_count++];
    }
    *request = (struct tarn_io_request){.kind = kind, .file = file, .id = id};
    return request;
}

void tarn_io_request_free(struct tarn_io *io, struct tarn_io_request *request)
{
    request->kind = TARN_IO_REQUEST_IDLE;
    tarn_io_list_push(&io->idle, request);
}

static int open_backend(struct tarn_io *io, const struct tarn_io_options *options)
{
    if (options->ops != NULL) {
        io->ops = options->ops;
        return io->ops->open(io, options);
    }
    if (options->backend != TARN_IO_THREADS) {
        io->ops = &tarn_io_uring_ops;
        int error = io->ops->open(io, options);
        if (!error || options->backend == TARN_IO_URING)
            return error;
        io->capabilities.refused = error;
    }
    io->ops = &tarn_io_threads_ops;
    return io->ops->open(io, options);
}

static bool options_are_valid(const struct tarn_io_options *options)
{
    return (unsigned)options->backend <= TARN_IO_THREADS && options->depth >= 1 &&
           options->depth <= TARN_IO_DEPTH_MAX &&
           options->thread_count <= TARN_IO_THREAD_COUNT_MAX &&
           options->file_count <= TARN_IO_FILE_COUNT_MAX &&
           !options->buffer == !options->buffer_bytes;
}

static void free_memory(struct tarn_io *io)
{
    free(io->files);
    free(io->requests);
    free(io);
}

int tarn_io_open(const struct tarn_io_options *options, struct tarn_io **ret_io)
{
    if (!options_are_valid(options))
        return -EINVAL;

    struct tarn_io *io = calloc(1, sizeof(*io));
    if (!io)
        return -ENOMEM;
    io->capabilities.depth = options->depth;
    io->capabilities.transfer_bytes_max = TRANSFER_BYTES_MAX;
    io->try_bytes_max = TRY_BYTES_MAX;
    io->poll_count_max = TARN_IO_POLL_COUNT_MAX;
    io->file_count = options->file_count;
    io->requests = calloc(request_count_max(options->depth), sizeof(*io->requests));
    io->files = calloc((size_t)options->file_count + 1, sizeof(*io->files));

    int error = io->requests && io->files ? 0 : -ENOMEM;
    for (unsigned i = 0; !error && i < io->file_count; i++)
        io->files[i].fd = -1;
    if (!error)
        error = open_backend(io, options);
    if (error) {
        free_memory(io);
        return error;
    }
    io->capabilities.backend = io->ops->name;
    *ret_io = io;
    return 0;
}

void tarn_io_close(struct tarn_io *io)
{
    struct tarn_io_completion completions[16];

    if (!io)
        return;
    for (unsigned i = 0; i < io->request_count; i++) {
        if (io->requests[i].kind == TARN_IO_REQUEST_POLL)
            tarn_io_poll_cancel(io, io->requests[i].id);
    }
    /* An error says that nothing more can be waited for: what is left never reached the kernel. */
    while (io->in_flight + io->poll_count > 0 && tarn_io_wait(io, -1, completions, 16) >= 0)
        continue;
    io->ops->close(io);
    free_memory(io);
}

void tarn_io_close_in_child(struct tarn_io *io)
{
    if (io)
        close(io->descriptor);
}

const struct tarn_io_capabilities *tarn_io_capabilities(const struct tarn_io *io)
{
    return &io->capabilities;
}

int tarn_io_set_file(struct tarn_io *io, unsigned file, int fd)
{
    if (file >= io->file_count || fd < -1)
        return -EINVAL;
    if (io->files[file].in_flight > 0)
        return -EBUSY;
    if (fd >= 0 && fcntl(fd, F_GETFD) < 0)
        return -errno;

    int error = io->ops->set_file ? io->ops->set_file(io, file, fd) : 0;
    io->files[file].fd = error ? -1 : fd;
    return error;
}

static int queue_file_request(struct tarn_io *io, enum tarn_io_request_kind kind, unsigned file,
                              uint64_t id, struct tarn_io_request **ret_request)
{
    if (file >= io->file_count)
        return -EINVAL;
    if (io->in_flight == io->capabilities.depth)
        return -EBUSY;

    struct tarn_io_request *request = request_new(io, kind, (int)file, id);
    if (!request)
        return -EBUSY;
    io->in_flight++;
    io->files[file].in_flight++;
    tarn_io_list_push(&io->queued, request);
    *ret_request = request;
    return 0;
}

static int queue_transfer(struct tarn_io *io, enum tarn_io_request_kind kind, unsigned file,
                          char *data, size_t bytes, uint64_t offset, bool durable, uint64_t id)
{
    struct tarn_io_request *request;

    /* Beyond this io_uring takes an offset of -1 for "wherever the file position is". */
    if (bytes == 0 || bytes > INT64_MAX || offset > INT64_MAX - bytes)
        return -EINVAL;

    int error = queue_file_request(io, kind, file, id, &request);
    if (error)
        return error;
    request->data = data;
    request->bytes = bytes;
    request->offset = offset;
    request->durable = durable;
    return 0;
}

int tarn_io_read(struct tarn_io *io, unsigned file, void *data, size_t bytes, uint64_t offset,
                 uint64_t id)
{
    return queue_transfer(io, TARN_IO_REQUEST_READ, file, data, bytes, offset, false, id);
}

int tarn_io_write(struct tarn_io *io, unsigned file, const void *data, size_t bytes,
                  uint64_t offset, unsigned flags, uint64_t id)
{
    if (flags & ~(io->capabilities.durable_writes ? TARN_IO_DURABLE : 0u))
        return -EINVAL;
    return queue_transfer(io, TARN_IO_REQUEST_WRITE, file, (char *)data, bytes, offset,
                          flags & TARN_IO_DURABLE, id);
}

int tarn_io_sync(struct tarn_io *io, unsigned file, uint64_t id)
{
    struct tarn_io_request *request;

    return queue_file_request(io, TARN_IO_REQUEST_SYNC, file, id, &request);
}

int tarn_io_poll(struct tarn_io *io, int fd, uint64_t id)
{
    if (fd < 0)
        return -EINVAL;
    if (io->poll_count == io->poll_count_max)
        return -EBUSY;

    struct tarn_io_request *request = request_new(io, TARN_IO_REQUEST_POLL, fd, id);
    if (!request)
        return -EBUSY;
    io->poll_count++;
    tarn_io_list_push(&io->queued, request);
    return 0;
}

static struct tarn_io_request *find_poll(struct tarn_io *io, uint64_t id)
{
    for (unsigned i = 0; i < io->request_count; i++) {
        struct tarn_io_request *request = &io->requests[i];
        if (request->kind == TARN_IO_REQUEST_POLL && request->id == id && !request->cancelled)
            return request;
    }
    return NULL;
}

int tarn_io_poll_cancel(struct tarn_io *io, uint64_t id)
{
    struct tarn_io_request *poll = find_poll(io, id);
    if (!poll)
        return -ENOENT;

    struct tarn_io_request *request = request_new(io, TARN_IO_REQUEST_CANCEL, -1, 0);
    if (!request)
        return -EBUSY;
    poll->cancelled = true;
    request->target = poll;
    tarn_io_list_push(&io->queued, request);
    return 0;
}

int tarn_io_submit(struct tarn_io *io)
{
    return io->ops->submit(io);
}

static int64_t now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
}

/* Until something is done; a part of a request that came back, or a cancel, is not. */
static int wait_for_done(struct tarn_io *io, int64_t wait_ns_max)
{
    int64_t start_ns = wait_ns_max > 0 ? now_ns() : 0;
    int64_t left_ns = io->done.first ? 0 : wait_ns_max;

    for (;;) {
        int error = io->ops->wait(io, left_ns);
        if (error < 0)
            return error == -EINTR ? 0 : error;
        if (io->done.first || left_ns == 0)
            return 0;
        if (wait_ns_max > 0) {
            left_ns = wait_ns_max - (now_ns() - start_ns);
            if (left_ns < 0)
                left_ns = 0;
        }
    }
}

static void take_done(struct tarn_io *io, struct tarn_io_completion *ret_completion)
{
    struct tarn_io_request *request = tarn_io_list_pop(&io->done);

    *ret_completion = (struct tarn_io_completion){request->id, request->result};
    if (request->kind == TARN_IO_REQUEST_POLL) {
        io->poll_count--;
    } else {
        io->in_flight--;
        io->files[request->file].in_flight--;
    }
    tarn_io_request_free(io, request);
}

int tarn_io_wait(struct tarn_io *io, int64_t wait_ns_max,
                 struct tarn_io_completion *ret_completions, unsigned count)
{
    if (io->in_flight + io->poll_count == 0)
        return 0;

    int error = wait_for_done(io, wait_ns_max);
    if (error < 0 && !io->done.first)
        return error;

    unsigned taken = 0;
    while (taken < count && io->done.first)
        take_done(io, &ret_completions[taken++]);
    return (int)taken;
}

unsigned tarn_io_in_flight(const struct tarn_io *io)
{
    return io->in_flight;
}
