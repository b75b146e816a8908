/* SPDX-License-Identifier: MIT */
/* Requests on a pool of threads. The caller's thread watches the polls itself, in the same ppoll()
 * that waits for the eventfd with which a worker says that something is done. */
#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "lib/io/backend.h"

enum { THREAD_COUNT_DEFAULT = 16 };

struct pool {
    struct tarn_io *io;
    pthread_mutex_t mutex; /* guards work, done and stopping */
    pthread_cond_t work_came;
    struct tarn_io_request_list work;
    struct tarn_io_request_list done;
    bool stopping;
    unsigned poll_count; /* the caller's thread's alone, as what follows */
    struct tarn_io_request *polls[TARN_IO_POLL_COUNT_MAX];
    struct pollfd poll_fds[1 + TARN_IO_POLL_COUNT_MAX]; /* eventfd; then one for each of polls */
    unsigned thread_count;
    pthread_t threads[];
};

static int64_t try_once(const struct tarn_io *io, const struct tarn_io_request *request)
{
    int fd = io->files[request->file].fd;
    size_t bytes = tarn_io_request_try_bytes(io, request);
    int64_t result = -1;

    switch (request->kind) {
    case TARN_IO_REQUEST_READ:
        result = pread(fd, request->data, bytes, (off_t)request->offset);
        break;
    case TARN_IO_REQUEST_WRITE:
        result = request->durable ? pwritev2(fd, &(struct iovec){request->data, bytes}, 1,
                                             (off_t)request->offset, RWF_DSYNC)
                                  : pwrite(fd, request->data, bytes, (off_t)request->offset);
        break;
    case TARN_IO_REQUEST_SYNC:
        result = fdatasync(fd);
        break;
    default:
        assert(false);
    }
    return result < 0 ? -errno : result;
}

/* Holds on entry and on return: mutex. */
static void carry_out(struct pool *pool, struct tarn_io_request *request)
{
    pthread_mutex_unlock(&pool->mutex);
    while (!tarn_io_request_finished(request, try_once(pool->io, request)))
        continue;
    pthread_mutex_lock(&pool->mutex);
    if (!pool->done.first)
        eventfd_write(pool->io->descriptor, 1);
    tarn_io_list_push(&pool->done, request);
}

static void *work(void *argument)
{
    struct pool *pool = argument;

    pthread_mutex_lock(&pool->mutex);
    while (!pool->stopping) {
        struct tarn_io_request *request = tarn_io_list_pop(&pool->work);
        if (request)
            carry_out(pool, request);
        else
            pthread_cond_wait(&pool->work_came, &pool->mutex);
    }
    pthread_mutex_unlock(&pool->mutex);
    return NULL;
}

/* Signals of the application are not for these threads: they inherit a mask with all blocked. */
static int start_threads(struct pool *pool, unsigned thread_count)
{
    sigset_t all, before;
    int error = 0;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    while (!error && pool->thread_count < thread_count) {
        error = -pthread_create(&pool->threads[pool->thread_count], NULL, work, pool);
        if (!error)
            pool->thread_count++;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return error;
}

static void threads_close(struct tarn_io *io)
{
    struct pool *pool = io->state;

    pthread_mutex_lock(&pool->mutex);
    pool->stopping = true;
    pthread_cond_broadcast(&pool->work_came);
    pthread_mutex_unlock(&pool->mutex);
    for (unsigned i = 0; i < pool->thread_count; i++)
        pthread_join(pool->threads[i], NULL);
    pthread_cond_destroy(&pool->work_came);
    pthread_mutex_destroy(&pool->mutex);
    close(io->descriptor);
    free(pool);
}

/* ppoll() refuses more descriptors than a process may have, the eventfd among them. */
static unsigned poll_count_max(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) || limit.rlim_cur > TARN_IO_POLL_COUNT_MAX)
        return TARN_IO_POLL_COUNT_MAX;
    return (unsigned)limit.rlim_cur - 1;
}

static int threads_open(struct tarn_io *io, const struct tarn_io_options *options)
{
    unsigned thread_count = options->thread_count;
    if (thread_count == 0)
        thread_count =
            options->depth < THREAD_COUNT_DEFAULT ? options->depth : THREAD_COUNT_DEFAULT;

    int event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (event_fd < 0)
        return -errno;
    struct pool *pool = calloc(1, sizeof(*pool) + thread_count * sizeof(pool->threads[0]));
    if (!pool) {
        close(event_fd);
        return -ENOMEM;
    }
    pool->io = io;
    pthread_mutex_init(&pool->mutex, NULL);
    pthread_cond_init(&pool->work_came, NULL);
    pool->poll_fds[0] = (struct pollfd){.fd = event_fd, .events = POLLIN};
    io->poll_count_max = poll_count_max();
    io->descriptor = event_fd;
    io->capabilities.durable_writes = true;
    io->state = pool;

    int error = start_threads(pool, thread_count);
    if (error)
        threads_close(io);
    return error;
}

static void add_poll(struct pool *pool, struct tarn_io_request *request)
{
    unsigned i = pool->poll_count++;

    pool->polls[i] = request;
    pool->poll_fds[1 + i] = (struct pollfd){.fd = request->file, .events = POLLIN};
}

static void finish_poll(struct pool *pool, unsigned i, int64_t result)
{
    unsigned last = --pool->poll_count;

    pool->polls[i]->result = result;
    tarn_io_list_push(&pool->io->done, pool->polls[i]);
    pool->polls[i] = pool->polls[last];
    pool->poll_fds[1 + i] = pool->poll_fds[1 + last];
}

static void cancel_poll(struct pool *pool, const struct tarn_io_request *target)
{
    for (unsigned i = 0; i < pool->poll_count; i++) {
        if (pool->polls[i] == target) {
            finish_poll(pool, i, -ECANCELED);
            return;
        }
    }
}

static int threads_submit(struct tarn_io *io)
{
    struct pool *pool = io->state;
    struct tarn_io_request_list work_list = {0};
    struct tarn_io_request *request;

    while ((request = tarn_io_list_pop(&io->queued))) {
        if (request->kind == TARN_IO_REQUEST_POLL) {
            add_poll(pool, request);
        } else if (request->kind == TARN_IO_REQUEST_CANCEL) {
            cancel_poll(pool, request->target);
            tarn_io_request_free(io, request);
        } else {
            tarn_io_list_push(&work_list, request);
        }
    }
    if (work_list.first) {
        pthread_mutex_lock(&pool->mutex);
        tarn_io_list_append(&pool->work, &work_list);
        pthread_cond_broadcast(&pool->work_came);
        pthread_mutex_unlock(&pool->mutex);
    }
    return 0;
}

static void collect_polls(struct pool *pool)
{
    for (unsigned i = pool->poll_count; i-- > 0;) {
        int events = pool->poll_fds[1 + i].revents;
        if (events)
            finish_poll(pool, i, events & POLLNVAL ? -EBADF : events);
    }
}

static int threads_wait(struct tarn_io *io, int64_t wait_ns_max)
{
    struct pool *pool = io->state;
    eventfd_t wakeups;

    threads_submit(io);
    if (io->done.first)
        wait_ns_max = 0;

    struct timespec limit = {
        .tv_sec = wait_ns_max / 1000000000,
        .tv_nsec = wait_ns_max % 1000000000,
    };
    int ret = ppoll(pool->poll_fds, 1 + pool->poll_count, wait_ns_max < 0 ? NULL : &limit, NULL);
    if (ret < 0)
        return -errno;
    collect_polls(pool);
    /* The eventfd is emptied first: what is pushed after it was looked at wakes us once more. */
    if (pool->poll_fds[0].revents) {
        eventfd_read(io->descriptor, &wakeups);
        pthread_mutex_lock(&pool->mutex);
        tarn_io_list_append(&io->done, &pool->done);
        pthread_mutex_unlock(&pool->mutex);
    }
    return 0;
}

const struct tarn_io_ops tarn_io_threads_ops = {
    .name = "threads",
    .open = threads_open,
    .close = threads_close,
    .submit = threads_submit,
    .wait = threads_wait,
};
