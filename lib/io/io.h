/* SPDX-License-Identifier: MIT */
/* Asynchronous reads, writes and syncs on a fixed set of buffers and files: one face, two backends.
 *
 * uring.c puts them on io_uring (the only file that knows liburing); threads.c on a pool of
 * threads with pread, pwrite and fdatasync. TARN_IO_AUTO takes io_uring and, where the kernel
 * refuses it (EPERM and ENOSYS in containers, ENOMEM under a small RLIMIT_MEMLOCK), the threads.
 * What was got is in the capabilities, for people to see.
 *
 * An instance is used by one thread at a time; between calls it may move to another, unless it was
 * opened for one thread: then the one that opened it makes all calls, the close too. Each request
 * carries an id of the caller's; each request completes exactly once, with that id, in any order.
 * A completion means the whole request: short transfers, -EINTR and -EAGAIN are carried on inside.
 * A read that meets the end of the file completes with the bytes that there were. Nothing is
 * ordered but by waiting. Durable is what a sync covered, and what was written as durable.
 *
 * Files are regular files and block devices, opened without O_NONBLOCK. A write beyond
 * RLIMIT_FSIZE raises SIGXFSZ as pwrite does.
 */
#ifndef TARN_IO_H
#define TARN_IO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    TARN_IO_DEPTH_MAX = 1024,
    TARN_IO_FILE_COUNT_MAX = 65536,
    TARN_IO_THREAD_COUNT_MAX = 256,
    TARN_IO_POLL_COUNT_MAX = 1280,
};

/* Flags of a write. */
enum { TARN_IO_DURABLE = 1 };

enum tarn_io_backend {
    TARN_IO_AUTO = 0,
    TARN_IO_URING = 1,
    TARN_IO_THREADS = 2,
};

struct tarn_io_ops; /* backend.h */

struct tarn_io_options {
    enum tarn_io_backend backend;
    unsigned depth;        /* requests in flight at most; 1 to TARN_IO_DEPTH_MAX */
    unsigned thread_count; /* of the threads backend; 0: chosen (16, or depth if that is less) */
    unsigned file_count;   /* file numbers 0 to file_count - 1; to TARN_IO_FILE_COUNT_MAX */
    void *buffer;          /* memory to register, aligned to pages, up to 1 GiB; NULL: none */
    size_t buffer_bytes;
    const struct tarn_io_ops *ops; /* not NULL: this backend, which is not the library's */
    bool one_thread; /* all calls come from the thread that opens: cheaper on io_uring */
};

struct tarn_io_capabilities {
    const char *backend; /* "io_uring" or "threads" */
    bool registered_buffer;
    bool registered_files;
    bool deferred;       /* one thread's io_uring: completes when that thread asks */
    bool durable_writes; /* TARN_IO_DURABLE may be asked for; a file can refuse it all the same */
    unsigned depth;
    size_t transfer_bytes_max; /* a larger request gains nothing: what batches are cut to */
    int refused;               /* negative errno with which io_uring was refused; 0: it was not */
    int buffer_refused;        /* the same for registering the buffer */
    int files_refused;         /* the same for registering the files */
    int deferred_refused;
};

struct tarn_io_completion {
    uint64_t id;
    int64_t result; /* bytes of a read or write, 0 of a sync, poll mask of a poll; else -errno */
};

struct tarn_io;

/* Makes an instance. Errors: -EINVAL (an option out of its range), -ENOMEM, -EAGAIN (no thread to
 * be had), -EMFILE, -ENFILE; with TARN_IO_URING also the kernel's refusal. */
int tarn_io_open(const struct tarn_io_options *options, struct tarn_io **ret_io);

/* Takes the polls back, carries out what is queued, waits for what is in flight and frees the
 * instance; the results are lost. The files stay open: they are the caller's. Takes NULL. */
void tarn_io_close(struct tarn_io *io);

/* The only call that a forked child may make: it closes the one descriptor that the child got with
 * the instance, so that a ring does not outlive the parent in the child. Async-signal-safe. The
 * memory is left alone, and the parent's instance is not touched. Takes NULL. */
void tarn_io_close_in_child(struct tarn_io *io);

/* Valid until the close. */
const struct tarn_io_capabilities *tarn_io_capabilities(const struct tarn_io *io);

/* Gives file number `file` the descriptor `fd`, or takes it back with -1; only while no request
 * for that number is in flight (-EBUSY). The caller keeps the descriptor open until then. With
 * registered files the kernel keeps the open file description alive until the number is taken
 * back or given another one. Errors: -EINVAL (no such number), -EBUSY, -EBADF: these change
 * nothing; -ENOMEM: the number has no file. */
int tarn_io_set_file(struct tarn_io *io, unsigned file, int fd);

/* Queue a request. The data must stay until the completion. Data inside the registered buffer is
 * transferred with the fixed-buffer operations. Nothing reaches the kernel before tarn_io_submit()
 * or tarn_io_wait(). -EBUSY: `depth` requests are in flight, take a completion first. -EINVAL: no
 * such number, no bytes, or the end is beyond INT64_MAX. A number without a file completes with
 * -EBADF.
 *
 * With TARN_IO_DURABLE (RWF_DSYNC) the completion of a write means that its bytes, and what is
 * needed to find them in the file, are durable; it says nothing of other writes. -EOPNOTSUPP: the
 * kernel does not do this with this file, and parts may have been written: write it again without
 * the flag, and sync. (The kernel's -EINVAL becomes that too: which of both it means, the write
 * without the flag tells.) Any other error has to be taken as one of a sync as well: it may be of
 * an earlier write to the file, of which the kernel tells a descriptor once, whoever asks. -EINVAL
 * at once: a flag that is none, or TARN_IO_DURABLE without the capability. */
int tarn_io_read(struct tarn_io *io, unsigned file, void *data, size_t bytes, uint64_t offset,
                 uint64_t id);
int tarn_io_write(struct tarn_io *io, unsigned file, const void *data, size_t bytes,
                  uint64_t offset, unsigned flags, uint64_t id);

/* fdatasync of the file. It covers the writes that had completed when it was queued. */
int tarn_io_sync(struct tarn_io *io, unsigned file, uint64_t id);

/* One completion when `fd` becomes readable, or has an error or a hang-up. Does not count against
 * the depth. -EBUSY: TARN_IO_POLL_COUNT_MAX are waiting, or, with the threads, as many as
 * RLIMIT_NOFILE allowed descriptors at the open. -EINVAL: `fd` is negative. The caller keeps the
 * descriptor open until the completion. */
int tarn_io_poll(struct tarn_io *io, int fd, uint64_t id);

/* Takes a poll back; it still completes, with -ECANCELED, unless it was faster. -ENOENT: no poll
 * with this id. */
int tarn_io_poll_cancel(struct tarn_io *io, uint64_t id);

/* Hands what is queued to the kernel. 0, or a negative errno after which what was not handed over
 * is still queued. */
int tarn_io_submit(struct tarn_io *io);

/* Submits, waits until there is a completion or the time is over (0: does not wait; negative: no
 * limit), and stores up to `count` completions. Returns how many; 0 when the time is over, when a
 * signal came, and at once when nothing is queued or in flight, polls included. Negative errno:
 * nothing was taken, and nothing is in flight that could be waited for. */
int tarn_io_wait(struct tarn_io *io, int64_t wait_ns_max,
                 struct tarn_io_completion *ret_completions, unsigned count);

/* Reads, writes and syncs whose completion has not been taken; polls are not counted. */
unsigned tarn_io_in_flight(const struct tarn_io *io);

#endif
