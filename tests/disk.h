/* SPDX-License-Identifier: MIT */
/* A writer on a thread of the test's process, and a disk that does as the test says: between the
 * writer and its backend stands one more, which holds requests back, lets them fail, or carries
 * them out before they are waited for.
 */
#ifndef TARN_TESTS_DISK_H
#define TARN_TESTS_DISK_H

#include "lib/io/backend.h"
#include "lib/writer/state.h"
#include "tests/process.h"

/* What becomes of a write or sync; or a negative errno: it fails so. */
enum {
    DISK_PASSES,
    DISK_HOLDS,   /* asked again, until it is something else */
    DISK_AT_ONCE, /* done before the call that submits it returns */
};

typedef int disk_fate(const struct tarn_io_request *request);

enum { DISK_SEEN_MAX = 65536, DISK_REQUESTS_MAX = 8192 };

/* Each write and sync that was carried out, oldest first. */
struct disk_request {
    uint64_t first, count; /* pages; 0, 0: a sync */
    uint32_t file;
    bool durable;
};

static struct {
    const struct tarn_io_ops *behind;
    disk_fate *_Atomic fate; /* NULL: everything passes */
    struct tarn_io_request_list held;
    _Atomic unsigned held_count, seen_count, failed_count;
    _Atomic uint64_t held_pages;
    _Atomic int wait_error; /* not 0: the backend as a whole fails, once */
    bool durable;           /* has durable writes; told before it is opened */
    _Atomic bool overlaps;  /* two writes of one page were in flight */
    struct disk_request seen[DISK_SEEN_MAX];
    struct disk_request writes[DISK_REQUESTS_MAX]; /* by request; the backend changes those */
} disk __attribute__((unused));

static inline uint64_t request_first(const struct tarn_io_request *request)
{
    return (request->offset - request->bytes_done) / PAGE_BYTES;
}

static inline uint64_t request_count(const struct tarn_io_request *request)
{
    return (request->bytes + request->bytes_done) / PAGE_BYTES;
}

static inline bool request_writes(const struct tarn_io_request *request, uint32_t of_file,
                                  uint64_t number)
{
    return request->kind == TARN_IO_REQUEST_WRITE && (uint32_t)request->file == of_file &&
           number >= request_first(request) &&
           number < request_first(request) + request_count(request);
}

static inline void note_write(const struct tarn_io *io, const struct tarn_io_request *request)
{
    if (io->request_count > DISK_REQUESTS_MAX)
        ck_abort_msg("more than %d requests at once", DISK_REQUESTS_MAX);
    disk.writes[request - io->requests] = (struct disk_request){.first = request_first(request),
                                                                .count = request_count(request),
                                                                .file = (uint32_t)request->file};
}

/* All that the writer has not been told the end of. */
static inline void look_for_overlaps(const struct tarn_io *io,
                                     const struct tarn_io_request *request)
{
    const struct disk_request *own = &disk.writes[request - io->requests];
    for (unsigned i = 0; i < io->request_count; i++) {
        const struct disk_request *other = &disk.writes[i];
        if (other != own && io->requests[i].kind == TARN_IO_REQUEST_WRITE &&
            other->file == own->file && other->first < own->first + own->count &&
            own->first < other->first + other->count)
            disk.overlaps = true;
    }
}

static inline void see(const struct tarn_io_request *request)
{
    bool is_write = request->kind == TARN_IO_REQUEST_WRITE;
    unsigned at = disk.seen_count;
    /* A check takes a lock of libcheck's, which a fork beside this thread would leave taken. */
    if (at == DISK_SEEN_MAX)
        ck_abort_msg("more than %d requests", DISK_SEEN_MAX);
    disk.seen[at] = (struct disk_request){is_write ? request_first(request) : 0,
                                          is_write ? request_count(request) : 0,
                                          (uint32_t)request->file, request->durable};
    disk.seen_count = at + 1;
}

static inline int64_t do_at_once(const struct tarn_io *io, const struct tarn_io_request *request)
{
    int fd = io->files[request->file].fd;
    int64_t result = request->kind == TARN_IO_REQUEST_SYNC
                         ? fdatasync(fd)
                         : pwrite(fd, request->data, request->bytes, (off_t)request->offset);
    return result < 0 ? -errno : result;
}

/* Of one request. True: it is the true backend's now. */
static inline bool decide(struct tarn_io *io, struct tarn_io_request *request)
{
    disk_fate *fate = disk.fate;
    int what = fate == NULL ? DISK_PASSES : fate(request);
    if (what == DISK_HOLDS) {
        tarn_io_list_push(&disk.held, request);
        return false;
    }
    if (what >= 0)
        see(request);
    else
        disk.failed_count++;
    if (what == DISK_PASSES)
        return true;
    request->result = what < 0 ? what : do_at_once(io, request);
    tarn_io_list_push(&io->done, request);
    return false;
}

static inline void decide_all(struct tarn_io *io)
{
    struct tarn_io_request_list all = disk.held, passed = {0};
    struct tarn_io_request *request;

    for (request = io->queued.first; request != NULL; request = request->next)
        if (request->kind == TARN_IO_REQUEST_WRITE)
            note_write(io, request);
    for (request = io->queued.first; request != NULL; request = request->next)
        if (request->kind == TARN_IO_REQUEST_WRITE)
            look_for_overlaps(io, request);
    tarn_io_list_append(&all, &io->queued);
    disk.held = (struct tarn_io_request_list){0};
    while ((request = tarn_io_list_pop(&all)) != NULL) {
        bool is_ours =
            (request->kind == TARN_IO_REQUEST_WRITE || request->kind == TARN_IO_REQUEST_SYNC) &&
            request->bytes_done == 0 && request->retry_count == 0;
        if (!is_ours || decide(io, request))
            tarn_io_list_push(&passed, request);
    }
    unsigned held_count = 0;
    uint64_t held_pages = 0;
    for (request = disk.held.first; request != NULL; request = request->next) {
        held_count++;
        held_pages += request_count(request);
    }
    disk.held_pages = held_pages;
    disk.held_count = held_count;
    tarn_io_list_append(&io->queued, &passed);
}

static inline int disk_submit(struct tarn_io *io)
{
    decide_all(io);
    return disk.behind->submit(io);
}

static inline int disk_wait(struct tarn_io *io, int64_t wait_ns_max)
{
    int error = disk.wait_error;

    decide_all(io);
    if (error != 0 && io->done.first == NULL) {
        disk.wait_error = 0;
        return error;
    }
    if (io->done.first != NULL)
        wait_ns_max = 0;
    else if (disk.held.first != NULL && (wait_ns_max < 0 || wait_ns_max > NS_PER_MS))
        wait_ns_max = NS_PER_MS;
    return disk.behind->wait(io, wait_ns_max);
}

static inline void disk_close(struct tarn_io *io)
{
    disk.behind->close(io);
}

static inline int disk_set_file(struct tarn_io *io, unsigned number, int fd)
{
    return disk.behind->set_file == NULL ? 0 : disk.behind->set_file(io, number, fd);
}

/* Unless it has durable writes, every write is followed by a sync, which is seen. */
static inline int disk_open(struct tarn_io *io, const struct tarn_io_options *options)
{
    disk.behind = options->backend == TARN_IO_THREADS ? &tarn_io_threads_ops : &tarn_io_uring_ops;
    int error = disk.behind->open(io, options);
    if (error != 0 && options->backend == TARN_IO_AUTO) {
        disk.behind = &tarn_io_threads_ops;
        error = disk.behind->open(io, options);
    }
    io->capabilities.durable_writes = disk.durable;
    return error;
}

static const struct tarn_io_ops disk_ops __attribute__((unused)) = {
    .name = "disk",
    .open = disk_open,
    .close = disk_close,
    .set_file = disk_set_file,
    .submit = disk_submit,
    .wait = disk_wait,
};

static struct tarn_pool *writer_pool __attribute__((unused));
static struct tarn_writer *writer __attribute__((unused));
static pthread_t writer_thread __attribute__((unused));
static int writer_result __attribute__((unused));

static inline void *run_writer(void *result)
{
    *(int *)result = tarn_writer_run(writer);
    return NULL;
}

static inline void begin_writer_with(const struct tarn_writer_options *options)
{
    writer_pool = attach_pool(test_pool_name());
    ck_assert_int_eq(tarn_writer_open(writer_pool, options, &writer), 0);
    ck_assert_int_eq(pthread_create(&writer_thread, NULL, run_writer, &writer_result), 0);
}

static inline void begin_writer(enum tarn_io_backend backend)
{
    struct tarn_writer_options options = {.backend = backend};

    begin_writer_with(&options);
}

static inline void begin_writer_on_disk(enum tarn_io_backend backend, disk_fate *fate)
{
    struct tarn_writer_options options = {.backend = backend, .io_ops = &disk_ops};

    disk.fate = fate;
    begin_writer_with(&options);
}

/* From then on its memory may be looked at. */
static inline void join_writer(void)
{
    tarn_writer_stop(writer);
    pthread_join(writer_thread, NULL);
}

static inline int close_writer(void)
{
    tarn_writer_close(writer);
    writer = NULL;
    tarn_detach(writer_pool);
    return writer_result;
}

static inline int end_writer(void)
{
    join_writer();
    return close_writer();
}

static inline void begin_pool(unsigned frame_count)
{
    pool = init_pool(test_pool_name(), test_path("pool"), frame_count, 16);
    session = open_patient_session(pool);
}

static inline uint64_t writer_count(unsigned counter)
{
    uint64_t count = 0;

    for (unsigned slot = 1; slot <= pool->view.slot_max; slot++)
        count += tarn_load_relaxed(&tarn_view_slot(&pool->view, slot)->counter[counter]);
    return count;
}

static inline bool is_dirty(struct tarn_page_id id)
{
    uint64_t word;
    uint32_t frame = tarn_table_find(&pool->view, id.value, &word);

    return frame != TARN_NO_FRAME &&
           dirty_word_dirty(tarn_load_acquire(&pool->view.descriptors[frame].dirty_word));
}

static inline bool is_cached(struct tarn_page_id id)
{
    uint64_t word;

    return tarn_table_find(&pool->view, id.value, &word) != TARN_NO_FRAME;
}

/* The test with each backend, which is _i. */
static inline void add_for_backends(TCase *tcase, const TTest *test)
{
    tcase_add_loop_test(tcase, test, TARN_IO_URING, TARN_IO_THREADS + 1);
}

#endif
