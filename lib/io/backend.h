/* SPDX-License-Identifier: MIT */
/* What io.c and the two backends share. io.c keeps the requests and carries them on; a backend
 * takes them from `queued`, lets the kernel try once, tells tarn_io_request_finished() what came
 * of it, and puts finished ones into `done`. */
#ifndef TARN_IO_BACKEND_H
#define TARN_IO_BACKEND_H

#include "lib/io/io.h"

enum tarn_io_request_kind {
    TARN_IO_REQUEST_IDLE = 0,
    TARN_IO_REQUEST_READ,
    TARN_IO_REQUEST_WRITE,
    TARN_IO_REQUEST_SYNC,
    TARN_IO_REQUEST_POLL,
    TARN_IO_REQUEST_CANCEL, /* of a poll; its own outcome tells nobody anything */
};

/* Tries in a row without a byte moved before -EINTR, -EAGAIN or a foreign -ECANCELED is the result.
 * It bounds what would otherwise be a loop without an end. */
enum { TARN_IO_RETRY_COUNT_MAX = 100 };

struct tarn_io_request {
    struct tarn_io_request *next;   /* in the one list that it is in */
    struct tarn_io_request *target; /* poll that a cancel is for */
    uint64_t id;
    char *data;      /* what is left of a read or write: from where, */
    size_t bytes;    /* how much, */
    uint64_t offset; /* and where in the file */
    size_t bytes_done;
    int64_t result;
    enum tarn_io_request_kind kind;
    int file; /* file number; descriptor of a poll */
    unsigned retry_count;
    bool durable; /* of a write */
    bool cancelled;
};

struct tarn_io_request_list {
    struct tarn_io_request *first;
    struct tarn_io_request *last;
};

struct tarn_io_file {
    int fd; /* -1: none */
    unsigned in_flight;
};

struct tarn_io_ops {
    const char *name;
    /* Sets io->state, io->descriptor and the capabilities. */
    int (*open)(struct tarn_io *io, const struct tarn_io_options *options);
    void (*close)(struct tarn_io *io);
    /* Before io->files is changed; NULL: nothing to do. */
    int (*set_file)(struct tarn_io *io, unsigned file, int fd);
    int (*submit)(struct tarn_io *io);
    /* Submits and waits once, not longer than told. May come back early with 0 and nothing done:
     * io.c looks again. -EINTR: a signal came. */
    int (*wait)(struct tarn_io *io, int64_t wait_ns_max);
};

struct tarn_io {
    const struct tarn_io_ops *ops;
    void *state;    /* the backend's */
    int descriptor; /* the backend's one descriptor: ring or eventfd */
    struct tarn_io_capabilities capabilities;
    struct tarn_io_request *requests;
    unsigned request_count; /* that were ever used; those beyond are untouched memory */
    unsigned in_flight;
    unsigned poll_count;
    unsigned poll_count_max; /* the backend may make it smaller at open */
    struct tarn_io_request_list idle;
    struct tarn_io_request_list queued;
    struct tarn_io_request_list done;
    struct tarn_io_file *files;
    unsigned file_count;
    char *buffer; /* as registered, or NULL */
    size_t buffer_bytes;
    size_t try_bytes_max; /* of a transfer; tests make it small */
};

extern const struct tarn_io_ops tarn_io_uring_ops;
extern const struct tarn_io_ops tarn_io_threads_ops;

/* Takes what one try gave, negative errno included. True: finished, and `result` is set. False:
 * to be tried again as it now is. */
bool tarn_io_request_finished(struct tarn_io_request *request, int64_t result);

/* Bytes that the next try may transfer. */
size_t tarn_io_request_try_bytes(const struct tarn_io *io, const struct tarn_io_request *request);

/* Back to the idle ones. */
void tarn_io_request_free(struct tarn_io *io, struct tarn_io_request *request);

void tarn_io_list_push(struct tarn_io_request_list *list, struct tarn_io_request *request);
struct tarn_io_request *tarn_io_list_pop(struct tarn_io_request_list *list); /* NULL: empty */
/* Moves all of `from` to the end of `list`. */
void tarn_io_list_append(struct tarn_io_request_list *list, struct tarn_io_request_list *from);

#endif
