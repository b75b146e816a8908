/* SPDX-License-Identifier: MIT */
/* The writer: everything that goes to disk goes through one of these. `tarn writer` runs it as a
 * process, an embedded pool on a thread.
 */
#ifndef TARN_LIB_WRITER_WRITER_H
#define TARN_LIB_WRITER_WRITER_H

#include "lib/internal.h"
#include "lib/io/io.h"

/* Whether a few pages that somebody waits for are made durable by their write alone. */
enum tarn_writer_durable {
    TARN_WRITER_DURABLE_MEASURED = 0, /* if that is the quicker way */
    TARN_WRITER_DURABLE_ALWAYS = 1,   /* where the kernel can */
    TARN_WRITER_DURABLE_NEVER = 2,
};

struct tarn_writer_options {
    enum tarn_io_backend backend;
    const struct tarn_io_ops *io_ops; /* not NULL: instead of it, for tests and measurements */
    unsigned depth;                   /* writes in flight; 0: 64 */
    enum tarn_writer_durable durable;
    bool no_standby; /* -EBUSY instead of waiting while another writer lives */
    /* Told (from the thread that runs) when the role changes; may be NULL. */
    void (*report)(void *context, const char *text);
    void *context;
};

struct tarn_writer;

/* Makes a writer for a pool that stays attached as long as the writer lives. */
int tarn_writer_open(struct tarn_pool *pool, const struct tarn_writer_options *options,
                     struct tarn_writer **ret_writer);

/* Waits as standby for the role if another has it, takes over behind the fence, then works until it
 * is told to stop; flushes, gives the role back. 0, or a negative errno with a message in the pool.
 */
int tarn_writer_run(struct tarn_writer *writer);

/* Tells tarn_writer_run() to flush and return; from any thread, or a signal handler. */
void tarn_writer_stop(struct tarn_writer *writer);

void tarn_writer_close(struct tarn_writer *writer);

/* All that a forked child may do: closes what the child got, so that it keeps neither the parent's
 * ring nor the fences of its files alive. */
void tarn_writer_close_in_child(struct tarn_writer *writer);

#endif
