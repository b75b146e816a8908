/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "tests/backends.h"

enum { FILES_MAX = 64, UNDO_MAX = 16384, NS_MAX_DEFAULT = 200000 };

/* The disk, whoever uses it. */
static struct {
    pthread_mutex_t mutex;
    struct simdisk disk;
    struct {
        uint64_t inode;
        int fd; /* a description of its own, through the page cache */
    } files[FILES_MAX];
    unsigned file_count;
    uint64_t random, ns_max;
} device = {.mutex = PTHREAD_MUTEX_INITIALIZER, .ns_max = NS_MAX_DEFAULT};

/* A request that is under way. */
struct flight {
    struct tarn_io_request *request;
    uint64_t done_ns;
    uint64_t begun; /* the disk's write_count at its begin */
};

struct state {
    struct tarn_io_request_list polls;
    unsigned flight_count;
    struct flight flights[TARN_IO_DEPTH_MAX];
};

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static _Noreturn void fail(const char *what)
{
    fprintf(stderr, "simulated disk: %s: %s\n", what, strerror(errno));
    abort();
}

void simdisk_set(uint64_t seed, uint64_t ns_max)
{
    device.random = seed;
    device.ns_max = ns_max;
}

static uint64_t draw(uint64_t below)
{
    uint64_t z = (device.random += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return below == 0 ? 0 : (z ^ (z >> 31)) % below;
}

/* Holds: the device's mutex, as all that follows. */
static int open_file(int fd, uint64_t *ret_inode)
{
    char path[64];
    struct stat status;
    if (fstat(fd, &status) != 0)
        return -errno;
    *ret_inode = status.st_ino;
    for (unsigned i = 0; i < device.file_count; i++)
        if (device.files[i].inode == status.st_ino)
            return device.files[i].fd;
    if (device.file_count == FILES_MAX)
        fail("too many files");
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    int own = open(path, O_RDWR | O_CLOEXEC);
    if (own < 0)
        fail(path);
    device.files[device.file_count].inode = status.st_ino;
    device.files[device.file_count++].fd = own;
    return own;
}

static void remember(int fd, uint64_t inode, uint64_t offset, size_t bytes)
{
    if (device.disk.undo == NULL) {
        device.disk.undo = calloc(UNDO_MAX, sizeof *device.disk.undo);
        device.disk.undo_max = device.disk.undo == NULL ? 0 : UNDO_MAX;
    }
    char *old = calloc(1, bytes);
    if (old == NULL || pread(fd, old, bytes, (off_t)offset) < 0 ||
        !simdisk_write(&device.disk, inode, offset, old, bytes))
        fail("cannot remember what was there");
    free(old);
}

static int64_t carry_out(const struct tarn_io_request *request, int its_fd, uint64_t begun,
                         size_t bytes)
{
    uint64_t inode = 0;
    int fd = open_file(its_fd, &inode);
    int64_t result = fd < 0 ? fd : 0;
    if (fd < 0)
        return result;
    switch (request->kind) {
    case TARN_IO_REQUEST_READ:
        result = pread(fd, request->data, bytes, (off_t)request->offset);
        break;
    case TARN_IO_REQUEST_WRITE:
        remember(fd, inode, request->offset, bytes);
        result = pwrite(fd, request->data, bytes, (off_t)request->offset);
        if (result > 0 && request->durable)
            simdisk_durable(&device.disk, inode, request->offset, (size_t)result);
        break;
    default:
        simdisk_sync(&device.disk, inode, begun);
        break;
    }
    return result < 0 ? -errno : result;
}

int64_t simdisk_transfer(const struct tarn_io_request *request, int fd, size_t bytes)
{
    pthread_mutex_lock(&device.mutex);
    int64_t result = carry_out(request, fd, 0, bytes);
    pthread_mutex_unlock(&device.mutex);
    return result;
}

static void put_back(void *context, uint64_t file, uint64_t offset, const void *bytes)
{
    (void)context;
    for (unsigned i = 0; i < device.file_count; i++)
        if (device.files[i].inode == file && pwrite(device.files[i].fd, bytes, SIMDISK_SECTOR_BYTES,
                                                    (off_t)offset) != SIMDISK_SECTOR_BYTES)
            fail("cannot put back what was there");
}

unsigned simdisk_power_cut(uint64_t seed, enum simdisk_cut how)
{
    pthread_mutex_lock(&device.mutex);
    unsigned count = simdisk_cut(&device.disk, seed, how, put_back, NULL);
    pthread_mutex_unlock(&device.mutex);
    return count;
}

/* The backend. */

static int sim_open(struct tarn_io *io, const struct tarn_io_options *options)
{
    (void)options;
    io->descriptor = eventfd(0, EFD_CLOEXEC);
    if (io->descriptor < 0)
        return -errno;
    io->state = calloc(1, sizeof(struct state));
    if (io->state == NULL) {
        close(io->descriptor);
        return -ENOMEM;
    }
    io->capabilities.durable_writes = true;
    return 0;
}

static void sim_close(struct tarn_io *io)
{
    close(io->descriptor);
    free(io->state);
}

static void end_poll(struct tarn_io *io, const struct tarn_io_request *which, int64_t result)
{
    struct state *state = io->state;
    struct tarn_io_request_list rest = {0};
    struct tarn_io_request *poll;
    while ((poll = tarn_io_list_pop(&state->polls)) != NULL) {
        tarn_io_list_push(poll == which ? &io->done : &rest, poll);
        if (poll == which)
            poll->result = result;
    }
    state->polls = rest;
}

static void begin(struct tarn_io *io, struct tarn_io_request *request)
{
    struct state *state = io->state;
    pthread_mutex_lock(&device.mutex);
    state->flights[state->flight_count++] =
        (struct flight){request, now_ns() + draw(device.ns_max), device.disk.write_count};
    pthread_mutex_unlock(&device.mutex);
}

static void end(struct tarn_io *io, struct tarn_io_request *request, int64_t result)
{
    bool ends = tarn_io_request_finished(request, result);
    tarn_io_list_push(ends ? &io->done : &io->queued, request);
}

/* What is a file's goes to begin_one(). */
static void take_queued(struct tarn_io *io,
                        void (*begin_one)(struct tarn_io *io, struct tarn_io_request *request))
{
    struct state *state = io->state;
    struct tarn_io_request *request;
    while ((request = tarn_io_list_pop(&io->queued)) != NULL) {
        if (request->kind == TARN_IO_REQUEST_POLL) {
            tarn_io_list_push(&state->polls, request);
        } else if (request->kind == TARN_IO_REQUEST_CANCEL) {
            end_poll(io, request->target, -ECANCELED);
            tarn_io_request_free(io, request);
        } else {
            begin_one(io, request);
        }
    }
}

static int sim_submit(struct tarn_io *io)
{
    take_queued(io, begin);
    return 0;
}

/* Those whose time has come. Returns how long the next one takes; negative: there is none. */
static int64_t advance(struct tarn_io *io)
{
    struct state *state = io->state;
    uint64_t now = now_ns();
    int64_t next = -1;
    for (unsigned i = 0; i < state->flight_count;) {
        struct flight flight = state->flights[i];
        if (flight.done_ns > now) {
            int64_t left = (int64_t)(flight.done_ns - now);
            next = next < 0 || left < next ? left : next;
            i++;
            continue;
        }
        state->flights[i] = state->flights[--state->flight_count];
        pthread_mutex_lock(&device.mutex);
        int64_t result = carry_out(flight.request, io->files[flight.request->file].fd, flight.begun,
                                   tarn_io_request_try_bytes(io, flight.request));
        pthread_mutex_unlock(&device.mutex);
        end(io, flight.request, result);
    }
    return next;
}

static int wait_for_polls(struct tarn_io *io, int64_t wait_ns_max)
{
    struct state *state = io->state;
    struct pollfd fds[TARN_IO_POLL_COUNT_MAX];
    struct tarn_io_request *polls[TARN_IO_POLL_COUNT_MAX];
    struct timespec limit = {wait_ns_max / 1000000000, wait_ns_max % 1000000000};
    unsigned count = 0;
    for (struct tarn_io_request *poll = state->polls.first; poll != NULL; poll = poll->next) {
        fds[count] = (struct pollfd){.fd = poll->file, .events = POLLIN};
        polls[count++] = poll;
    }
    if (ppoll(fds, count, wait_ns_max < 0 ? NULL : &limit, NULL) < 0)
        return -errno;
    for (unsigned i = 0; i < count; i++)
        if (fds[i].revents != 0)
            end_poll(io, polls[i], fds[i].revents & POLLNVAL ? -EBADF : fds[i].revents);
    return 0;
}

static int wait_for_any(struct tarn_io *io, int64_t wait_ns_max)
{
    int64_t next = advance(io);
    if (io->done.first != NULL || io->queued.first != NULL)
        wait_ns_max = 0;
    else if (next >= 0 && (wait_ns_max < 0 || next < wait_ns_max))
        wait_ns_max = next;
    int error = wait_for_polls(io, wait_ns_max);
    advance(io);
    return error;
}

static int sim_wait(struct tarn_io *io, int64_t wait_ns_max)
{
    sim_submit(io);
    return wait_for_any(io, wait_ns_max);
}

static void succeed(struct tarn_io *io, struct tarn_io_request *request)
{
    end(io, request, request->kind == TARN_IO_REQUEST_SYNC ? 0 : (int64_t)request->bytes);
}

static int null_submit(struct tarn_io *io)
{
    take_queued(io, succeed);
    return 0;
}

static int null_wait(struct tarn_io *io, int64_t wait_ns_max)
{
    null_submit(io);
    return wait_for_any(io, wait_ns_max);
}

const struct tarn_io_ops simdisk_ops = {
    .name = "simdisk",
    .open = sim_open,
    .close = sim_close,
    .submit = sim_submit,
    .wait = sim_wait,
};

const struct tarn_io_ops null_ops = {
    .name = "null",
    .open = sim_open,
    .close = sim_close,
    .submit = null_submit,
    .wait = null_wait,
};
