/* SPDX-License-Identifier: MIT */
/* The backends behind io.h: the same tests on both, then what is refused, and how it shows. */
#include <errno.h>
#include <fcntl.h>

#include <limits.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "lib/io/backend.h"
#include "tests/test.h"

enum {
    PAGE_BYTES = 4096,
    FILE_COUNT = 4,
    DEPTH = 16,
    TIME_LIMIT_S = 30,
    ONE_THREAD = 3, /* beside the backends: io_uring for one thread */
};

#define MILLISECOND_NS INT64_C(1000000)
#define PATIENCE_NS    (10 * 1000 * MILLISECOND_NS)

static bool is_refusal(int error)
{
    return error == -EPERM || error == -ENOSYS || error == -ENOMEM || error == -EOPNOTSUPP;
}

static struct tarn_io *open_with(struct tarn_io_options options)
{
    struct tarn_io *io;

    if ((int)options.backend == ONE_THREAD) {
        options.backend = TARN_IO_URING;
        options.one_thread = true;
    }
    int error = tarn_io_open(&options, &io);
    if (options.backend == TARN_IO_URING && is_refusal(error))
        test_skip("io_uring is refused here: %s", strerror(-error));
    ck_assert_int_eq(error, 0);
    return io;
}

static struct tarn_io *open_backend(int backend, unsigned depth)
{
    return open_with((struct tarn_io_options){
        .backend = (enum tarn_io_backend)backend,
        .depth = depth,
        .file_count = FILE_COUNT,
    });
}

static bool is_uring(const struct tarn_io *io)
{
    return strcmp(tarn_io_capabilities(io)->backend, "io_uring") == 0;
}

static int scratch_file(void)
{
    char path[PATH_MAX];

    snprintf(path, sizeof(path), "%s/scratch", test_dir());
    int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    ck_assert_int_ge(fd, 0);
    unlink(path);
    return fd;
}

/* The same file through another open file description. */
static int reopened(int fd, int flags)
{
    char path[64];

    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    return open(path, flags | O_CLOEXEC);
}

/* One that is direct where the file system can do that, else an ordinary one. */
static int direct_file(void)
{
    int fd = scratch_file();
    int direct = reopened(fd, O_RDWR | O_DIRECT);

    if (direct < 0)
        return fd;
    close(fd);
    return direct;
}

static char *pages(size_t bytes)
{
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    ck_assert_ptr_ne(memory, MAP_FAILED);
    return memory;
}

static void fill(char *data, size_t bytes, unsigned seed)
{
    for (size_t i = 0; i < bytes; i++)
        data[i] = (char)((i * 31 + i / 251 + seed) & 0xff);
}

static bool is_filled(const char *data, size_t bytes, unsigned seed)
{
    for (size_t i = 0; i < bytes; i++) {
        if (data[i] != (char)((i * 31 + i / 251 + seed) & 0xff))
            return false;
    }
    return true;
}

static int64_t now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
}

/* Result of the one request that is to complete next. */
static int64_t result_of(struct tarn_io *io, uint64_t id)
{
    struct tarn_io_completion completion;

    ck_assert_int_eq(tarn_io_wait(io, PATIENCE_NS, &completion, 1), 1);
    ck_assert_uint_eq(completion.id, id);
    return completion.result;
}

static bool is_quiet(struct tarn_io *io)
{
    struct tarn_io_completion completion;

    return tarn_io_wait(io, 20 * MILLISECOND_NS, &completion, 1) == 0;
}

static void write_whole(struct tarn_io *io, char *data, size_t bytes)
{
    ck_assert_int_eq(tarn_io_write(io, 0, data, bytes, 0, 0, 1), 0);
    ck_assert_int_eq(result_of(io, 1), (int64_t)bytes);
}

static void roundtrip(struct tarn_io *io)
{
    enum { BYTES = 3 * PAGE_BYTES };
    char *data = pages(2 * BYTES);
    int fd = scratch_file();

    fill(data, BYTES, 1);
    ck_assert_int_eq(tarn_io_set_file(io, 0, fd), 0);
    write_whole(io, data, BYTES);
    ck_assert_int_eq(tarn_io_read(io, 0, data + BYTES, BYTES, 0, 2), 0);
    ck_assert_int_eq(result_of(io, 2), BYTES);
    ck_assert(is_filled(data + BYTES, BYTES, 1));
    ck_assert_int_eq(tarn_io_set_file(io, 0, -1), 0);
    munmap(data, 2 * BYTES);
    close(fd);
}

/* The buffer that is registered is half of the memory that is used. */
START_TEST(written_pages_are_read_back)
{
    enum { COUNT = 256, FROM = COUNT / 2 };
    static const size_t into[] = {0, COUNT - 1, COUNT}; /* registered, across its end, not */
    char *data = pages(2 * COUNT * PAGE_BYTES);
    struct tarn_io *io = open_with((struct tarn_io_options){
        .backend = (enum tarn_io_backend)_i,
        .depth = DEPTH,
        .file_count = FILE_COUNT,
        .buffer = data,
        .buffer_bytes = COUNT * PAGE_BYTES,
    });
    struct tarn_io_completion completions[DEPTH];
    bool seen[COUNT] = {false};

    ck_assert_int_eq(tarn_io_set_file(io, 3, direct_file()), 0);
    for (unsigned i = 0; i < COUNT; i++)
        fill(data + (FROM + i) * PAGE_BYTES, PAGE_BYTES, i);
    for (unsigned queued = 0, done = 0; done < COUNT;) {
        size_t at = (size_t)queued * 77 % COUNT;
        if (queued < COUNT && !tarn_io_write(io, 3, data + (FROM + at) * PAGE_BYTES, PAGE_BYTES,
                                             at * PAGE_BYTES, 0, at)) {
            queued++;
            continue;
        }
        int count = tarn_io_wait(io, PATIENCE_NS, completions, DEPTH);
        ck_assert_int_gt(count, 0);
        for (int i = 0; i < count; i++) {
            ck_assert_int_eq(completions[i].result, PAGE_BYTES);
            ck_assert(!seen[completions[i].id]);
            seen[completions[i].id] = true;
            done++;
        }
    }
    ck_assert(is_quiet(io));
    for (unsigned i = 0; i < 3; i++) {
        char *page = data + into[i] * PAGE_BYTES;
        memset(page, 0, 2 * PAGE_BYTES);
        ck_assert_int_eq(tarn_io_read(io, 3, page, 2 * PAGE_BYTES, 42 * PAGE_BYTES, i), 0);
        ck_assert_int_eq(result_of(io, i), 2 * PAGE_BYTES);
        ck_assert(is_filled(page, PAGE_BYTES, 42));
        ck_assert(is_filled(page + PAGE_BYTES, PAGE_BYTES, 43));
    }
    tarn_io_close(io);
}
END_TEST

/* Completions are matched by id, whatever their order; each request has its own file content. */
START_TEST(mixed_storm_keeps_ids_and_bytes_apart)
{
    enum { SLOTS = 32, ROUNDS = 4000, BYTES = 2 * PAGE_BYTES };
    struct tarn_io *io = open_backend(_i, SLOTS);
    char *data = pages(SLOTS * BYTES);
    struct {
        unsigned version;
        bool busy, reading;
    } slots[SLOTS] = {{0, false, false}};
    struct tarn_io_completion completions[5];
    uint64_t random = test_seed();
    unsigned busy = 0;

    ck_assert_int_eq(tarn_io_set_file(io, 0, scratch_file()), 0);
    for (unsigned round = 0; round < ROUNDS || busy > 0; round++) {
        unsigned s = (unsigned)(test_random(&random) % SLOTS);
        char *at = data + (size_t)s * BYTES;
        if (round < ROUNDS && !slots[s].busy) {
            slots[s].reading = slots[s].version > 0 && test_random(&random) % 2;
            if (slots[s].reading) {
                memset(at, 0, BYTES);
                ck_assert_int_eq(tarn_io_read(io, 0, at, BYTES, (uint64_t)s * BYTES, s), 0);
            } else {
                fill(at, BYTES, s * 7 + ++slots[s].version);
                ck_assert_int_eq(tarn_io_write(io, 0, at, BYTES, (uint64_t)s * BYTES, 0, s), 0);
            }
            slots[s].busy = true;
            busy++;
            if (test_random(&random) % 4)
                continue;
        }
        int count = tarn_io_wait(io, busy ? PATIENCE_NS : 0, completions, 5);
        ck_assert(count > 0 || busy == 0);
        for (int i = 0; i < count; i++) {
            s = (unsigned)completions[i].id;
            ck_assert(slots[s].busy);
            ck_assert_int_eq(completions[i].result, BYTES);
            if (slots[s].reading)
                ck_assert(is_filled(data + (size_t)s * BYTES, BYTES, s * 7 + slots[s].version));
            slots[s].busy = false;
            busy--;
        }
    }
    ck_assert_uint_eq(tarn_io_in_flight(io), 0);
    tarn_io_close(io);
}
END_TEST

START_TEST(requests_beyond_the_depth_are_busy_until_a_completion_is_taken)
{
    struct tarn_io *io = open_backend(_i, 3);
    struct tarn_io_completion completions[3];
    char data[4] = "abc";
    int fd = scratch_file();

    ck_assert_int_eq(tarn_io_set_file(io, 0, fd), 0);
    for (unsigned i = 0; i < 3; i++)
        ck_assert_int_eq(tarn_io_write(io, 0, data + i, 1, i, 0, i), 0);
    ck_assert_int_eq(tarn_io_write(io, 0, data, 1, 3, 0, 3), -EBUSY);
    ck_assert_int_eq(tarn_io_sync(io, 0, 3), -EBUSY);

    /* Carried out, and both queues perhaps empty: still in flight for the caller. */
    ck_assert_int_eq(tarn_io_submit(io), 0);
    usleep(50000);
    ck_assert_uint_eq(tarn_io_in_flight(io), 3);
    ck_assert_int_eq(tarn_io_read(io, 0, data, 1, 0, 3), -EBUSY);
    ck_assert_int_eq(tarn_io_wait(io, PATIENCE_NS, completions, 1), 1);
    ck_assert_uint_eq(tarn_io_in_flight(io), 2);
    ck_assert_int_eq(tarn_io_sync(io, 0, 3), 0);
    ck_assert_int_eq(tarn_io_sync(io, 0, 4), -EBUSY);
    tarn_io_close(io);
}
END_TEST

START_TEST(completions_that_were_not_taken_come_with_the_next_call)
{
    struct tarn_io *io = open_backend(_i, DEPTH);
    struct tarn_io_completion completions[4];
    unsigned seen = 0;
    char byte = 'x';
    int fd = scratch_file();

    ck_assert_int_eq(tarn_io_set_file(io, 0, fd), 0);
    for (unsigned i = 0; i < 10; i++)
        ck_assert_int_eq(tarn_io_write(io, 0, &byte, 1, i, 0, i), 0);
    ck_assert_int_eq(tarn_io_submit(io), 0);
    usleep(50000);
    for (unsigned taken = 0; taken < 10;) {
        int count = tarn_io_wait(io, PATIENCE_NS, completions, 4);
        ck_assert_int_ge(count, 1);
        ck_assert_int_le(count, 4);
        for (int i = 0; i < count; i++)
            seen |= 1u << completions[i].id;
        taken += (unsigned)count;
    }
    ck_assert_uint_eq(seen, (1u << 10) - 1);
    ck_assert_int_eq(tarn_io_wait(io, -1, completions, 4), 0);
    tarn_io_close(io);
}
END_TEST

/* Also where the kernel completes only when it is asked to. */
START_TEST(completion_is_seen_without_waiting)
{
    struct tarn_io *io = open_backend(_i, DEPTH);
    struct tarn_io_completion completion;
    int fd = direct_file(), count = 0;
    char *data = pages(PAGE_BYTES);

    ck_assert_int_eq(tarn_io_set_file(io, 0, fd), 0);
    ck_assert_int_eq(tarn_io_write(io, 0, data, PAGE_BYTES, 0, TARN_IO_DURABLE, 1), 0);
    ck_assert_int_eq(tarn_io_submit(io), 0);
    for (int64_t start = now_ns(); count == 0 && now_ns() - start < PATIENCE_NS;)
        count = tarn_io_wait(io, 0, &completion, 1);
    ck_assert_int_eq(count, 1);
    ck_assert_int_eq(completion.result, PAGE_BYTES);
    tarn_io_close(io);
}
END_TEST

START_TEST(short_transfers_are_carried_on)
{
    struct tarn_io *io = open_backend(_i, DEPTH);

    io->try_bytes_max = 1000;
    roundtrip(io);
    io->try_bytes_max = 1;
    roundtrip(io);
    tarn_io_close(io);
}
END_TEST

/* Pages of the file that the kernel has and the device has not; -1: it does not say. */
static int64_t undurable_pages(int fd)
{
    enum { CACHESTAT = 451 };
    struct {
        uint64_t from, bytes;
    } all = {0, 0};
    struct {
        uint64_t cached, dirty, writeback, evicted, recently_evicted;
    } pages;

    return syscall(CACHESTAT, fd, &all, &pages, 0) ? -1 : (int64_t)(pages.dirty + pages.writeback);
}

/* From within the registered buffer and from elsewhere, carried on in parts. */
START_TEST(durable_write_leaves_nothing_for_a_sync)
{
    char *data = pages(2 * PAGE_BYTES);
    struct tarn_io *io = open_with((struct tarn_io_options){
        .backend = (enum tarn_io_backend)_i,
        .depth = DEPTH,
        .file_count = 1,
        .buffer = data,
        .buffer_bytes = PAGE_BYTES,
    });
    int fd = scratch_file();

    ck_assert(tarn_io_capabilities(io)->durable_writes);
    ck_assert_int_eq(tarn_io_set_file(io, 0, fd), 0);
    write_whole(io, data, PAGE_BYTES);
    if (undurable_pages(fd) <= 0)
        test_skip("cachestat() tells nothing here");
    ck_assert_int_eq(fdatasync(fd), 0);
    for (unsigned i = 0; i < 4; i++) {
        io->try_bytes_max = i < 2 ? PAGE_BYTES : 1000;
        fill(data, 2 * PAGE_BYTES, i);
        ck_assert_int_eq(tarn_io_write(io, 0, data + i % 2 * PAGE_BYTES, PAGE_BYTES,
                                       (uint64_t)i * PAGE_BYTES, TARN_IO_DURABLE, i),
                         0);
        ck_assert_int_eq(result_of(io, i), PAGE_BYTES);
        ck_assert_int_eq(undurable_pages(fd), 0);
    }
    tarn_io_close(io);
}
END_TEST

START_TEST(read_across_the_end_gives_what_there_was)
{
    struct tarn_io *io = open_backend(_i, DEPTH);
    char *data = pages(4 * PAGE_BYTES);
    int fds[] = {scratch_file(), direct_file()};

    for (unsigned i = 0; i < 2; i++) {
        ck_assert_int_eq(tarn_io_set_file(io, 0, fds[i]), 0);
        ck_assert_int_eq(ftruncate(fds[i], PAGE_BYTES + 100), 0);
        ck_assert_int_eq(tarn_io_read(io, 0, data, 4 * PAGE_BYTES, 0, 1), 0);
        ck_assert_int_eq(result_of(io, 1), PAGE_BYTES + 100);
        ck_assert_int_eq(ftruncate(fds[i], 2 * PAGE_BYTES), 0);
        ck_assert_int_eq(tarn_io_read(io, 0, data, 4 * PAGE_BYTES, 0, 2), 0);
        ck_assert_int_eq(result_of(io, 2), 2 * PAGE_BYTES);
        ck_assert_int_eq(tarn_io_read(io, 0, data, PAGE_BYTES, 2 * PAGE_BYTES, 3), 0);
        ck_assert_int_eq(result_of(io, 3), 0);
    }
    tarn_io_close(io);
}
END_TEST

/* The kernel writes 6000 bytes and reports them; the rest must be asked for, and refused. */
START_TEST(short_write_is_never_counted_as_whole)
{
    struct tarn_io *io = open_backend(_i, DEPTH);
    char data[2 * PAGE_BYTES] = {0};
    struct stat status;
    int fd = scratch_file();

    signal(SIGXFSZ, SIG_IGN);
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &(struct rlimit){6000, 6000}), 0);
    ck_assert_int_eq(tarn_io_set_file(io, 0, fd), 0);
    ck_assert_int_eq(tarn_io_write(io, 0, data, sizeof(data), 0, 0, 1), 0);
    ck_assert_int_eq(result_of(io, 1), -EFBIG);
    ck_assert_int_eq(fstat(fd, &status), 0);
    ck_assert_int_eq(status.st_size, 6000);
    tarn_io_close(io);
}
END_TEST

START_TEST(failures_come_with_their_id)
{
    struct tarn_io *io = open_backend(_i, DEPTH);
    struct tarn_io_completion completions[1];
    int64_t results[5] = {1, 1, 1, 1, 1};
    char data[100];
    int full = open("/dev/full", O_RDWR | O_CLOEXEC);
    int memory = open("/proc/self/mem", O_RDONLY | O_CLOEXEC);

    fill(data, sizeof(data), 0);
    ck_assert_int_eq(tarn_io_set_file(io, 0, scratch_file()), 0);
    ck_assert_int_eq(tarn_io_set_file(io, 1, full), 0);
    ck_assert_int_eq(tarn_io_set_file(io, 2, memory), 0);
    ck_assert_int_eq(tarn_io_write(io, 1, data, sizeof(data), 0, 0, 0), 0);
    ck_assert_int_eq(tarn_io_read(io, 2, data, sizeof(data), 0, 1), 0);
    ck_assert_int_eq(tarn_io_write(io, 2, data, sizeof(data), 0, 0, 2), 0);
    ck_assert_int_eq(tarn_io_sync(io, 3, 3), 0);
    ck_assert_int_eq(tarn_io_write(io, 0, data, sizeof(data), 0, 0, 4), 0);
    for (unsigned i = 0; i < 5; i++) {
        ck_assert_int_eq(tarn_io_wait(io, PATIENCE_NS, completions, 1), 1);
        ck_assert_int_eq(results[completions[0].id], 1);
        results[completions[0].id] = completions[0].result;
    }
    ck_assert_int_eq(results[0], -ENOSPC);
    ck_assert_int_eq(results[1], -EIO);
    ck_assert_int_eq(results[2], -EBADF);
    ck_assert_int_eq(results[3], -EBADF);
    ck_assert_int_eq(results[4], sizeof(data));
    tarn_io_close(io);
}
END_TEST

START_TEST(sync_reports_its_result)
{
    struct tarn_io *io = open_backend(_i, DEPTH);
    char byte = 'x';
    int ends[2];

    ck_assert_int_eq(pipe(ends), 0);
    ck_assert_int_eq(tarn_io_set_file(io, 0, scratch_file()), 0);
    ck_assert_int_eq(tarn_io_set_file(io, 1, ends[1]), 0);
    write_whole(io, &byte, 1);
    ck_assert_int_eq(tarn_io_sync(io, 0, 7), 0);
    ck_assert_int_eq(result_of(io, 7), 0);
    ck_assert_int_eq(tarn_io_sync(io, 1, 8), 0);
    ck_assert_int_eq(result_of(io, 8), -EINVAL);
    tarn_io_close(io);
}
END_TEST

START_TEST(bad_arguments_are_refused)
{
    struct tarn_io_options good = {.depth = 1, .file_count = 1}, bad[6];
    struct tarn_io *io = NULL;
    char byte;

    good.backend = (enum tarn_io_backend)_i;
    for (unsigned i = 0; i < 6; i++)
        bad[i] = good;
    bad[0].depth = 0;
    bad[1].depth = TARN_IO_DEPTH_MAX + 1;
    bad[2].file_count = TARN_IO_FILE_COUNT_MAX + 1;
    bad[3].buffer_bytes = 1;
    bad[4].buffer = &byte;
    bad[5].thread_count = TARN_IO_THREAD_COUNT_MAX + 1;
    for (unsigned i = 0; i < 6; i++)
        ck_assert_int_eq(tarn_io_open(&bad[i], &io), -EINVAL);
    ck_assert_ptr_null(io);
    tarn_io_close(NULL);
    tarn_io_close_in_child(NULL);

    io = open_with(good);
    ck_assert_int_eq(tarn_io_read(io, 1, &byte, 1, 0, 0), -EINVAL);
    ck_assert_int_eq(tarn_io_write(io, 0, &byte, 0, 0, 0, 0), -EINVAL);
    ck_assert_int_eq(tarn_io_write(io, 0, &byte, 1, UINT64_MAX, 0, 0), -EINVAL);
    ck_assert_int_eq(tarn_io_write(io, 0, &byte, 1, INT64_MAX, 0, 0), -EINVAL);
    ck_assert_int_eq(tarn_io_write(io, 0, &byte, 1, 0, 2, 0), -EINVAL);
    io->capabilities.durable_writes = false;
    ck_assert_int_eq(tarn_io_write(io, 0, &byte, 1, 0, TARN_IO_DURABLE, 0), -EINVAL);
    ck_assert_int_eq(tarn_io_sync(io, 1, 0), -EINVAL);
    ck_assert_int_eq(tarn_io_poll(io, -1, 0), -EINVAL);
    ck_assert_int_eq(tarn_io_set_file(io, 1, 0), -EINVAL);
    ck_assert_int_eq(tarn_io_set_file(io, 0, -2), -EINVAL);
    ck_assert_uint_eq(tarn_io_in_flight(io), 0);
    tarn_io_close(io);
}
END_TEST

START_TEST(file_number_changes_only_when_nothing_is_in_flight_for_it)
{
    struct tarn_io *io = open_backend(_i, DEPTH);
    int first = scratch_file(), second = scratch_file();
    char data[] = "first", byte;

    ck_assert_int_eq(tarn_io_set_file(io, 0, first), 0);
    ck_assert_int_eq(tarn_io_write(io, 0, data, sizeof(data), 0, 0, 1), 0);
    ck_assert_int_eq(tarn_io_set_file(io, 0, second), -EBUSY);
    ck_assert_int_eq(tarn_io_set_file(io, 1, second), 0);
    ck_assert_int_eq(tarn_io_submit(io), 0);
    ck_assert_int_eq(tarn_io_set_file(io, 0, -1), -EBUSY);
    ck_assert_int_eq(result_of(io, 1), sizeof(data));

    ck_assert_int_eq(tarn_io_set_file(io, 0, 1 << 20), -EBADF);
    ck_assert_int_eq(tarn_io_read(io, 0, &byte, 1, 0, 2), 0);
    ck_assert_int_eq(result_of(io, 2), 1);
    ck_assert_int_eq(tarn_io_set_file(io, 0, second), 0);
    ck_assert_int_eq(tarn_io_read(io, 0, &byte, 1, 0, 3), 0);
    ck_assert_int_eq(result_of(io, 3), 0);
    ck_assert_int_eq(tarn_io_set_file(io, 0, -1), 0);
    ck_assert_int_eq(tarn_io_read(io, 0, &byte, 1, 0, 4), 0);
    ck_assert_int_eq(result_of(io, 4), -EBADF);
    tarn_io_close(io);
}
END_TEST

static int lock_description(int fd)
{
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_len = 1};

    return fcntl(fd, F_OFD_SETLK, &lock) ? -errno : 0;
}

/* The kernel takes a dead process's ring apart some time later. */
static bool gets_unlocked(int other)
{
    for (int64_t start = now_ns(); now_ns() - start < PATIENCE_NS; usleep(1000)) {
        if (lock_description(other) == 0)
            return true;
    }
    return false;
}

START_TEST(registered_file_lives_until_it_is_taken_back)
{
    struct tarn_io *io = open_backend(_i, DEPTH);
    int fd = scratch_file(), other = reopened(fd, O_RDWR);
    char byte = 'x';

    ck_assert_int_eq(lock_description(fd), 0);
    ck_assert_int_eq(tarn_io_set_file(io, 0, fd), 0);
    if (tarn_io_capabilities(io)->registered_files) {
        close(fd);
        write_whole(io, &byte, 1);
        ck_assert_int_eq(lock_description(other), -EAGAIN);
        ck_assert_int_eq(tarn_io_set_file(io, 0, -1), 0);
        ck_assert(gets_unlocked(other));
    }
    tarn_io_close(io);
}
END_TEST

START_TEST(closing_lets_go_of_files)
{
    struct tarn_io *io = open_backend(_i, DEPTH);
    int fd = scratch_file(), other = reopened(fd, O_RDWR);
    char byte = 'x';

    ck_assert_int_eq(lock_description(fd), 0);
    ck_assert_int_eq(tarn_io_set_file(io, 0, fd), 0);
    write_whole(io, &byte, 1);
    tarn_io_close(io);
    ck_assert_int_eq(lock_description(other), -EAGAIN);
    close(fd);
    ck_assert_int_eq(lock_description(other), 0);
}
END_TEST

/* Forks a child that drops what it got, says so and stays; then waits for its death. */
static _Noreturn void fork_and_wait(struct tarn_io *io, int fd, int ready)
{
    if (fork() == 0) {
        close(fd);
        tarn_io_close_in_child(io);
        ck_assert_int_eq(write(ready, "x", 1), 1);
    }
    pause();
    _exit(0);
}

START_TEST(forked_child_does_not_hold_the_files_of_a_killed_parent)
{
    struct tarn_io *io = open_backend(_i, DEPTH);
    int fd = scratch_file(), other = reopened(fd, O_RDWR), ends[2];
    char byte;

    tarn_io_close(io);
    ck_assert_int_eq(pipe(ends), 0);
    ck_assert_int_eq(lock_description(fd), 0);
    pid_t parent = fork();
    if (parent == 0) {
        io = open_backend(_i, DEPTH);
        ck_assert_int_eq(tarn_io_set_file(io, 0, fd), 0);
        fork_and_wait(io, fd, ends[1]);
    }
    close(fd);
    ck_assert_int_eq(read(ends[0], &byte, 1), 1);
    ck_assert_int_eq(lock_description(other), -EAGAIN);
    kill(parent, SIGKILL);
    waitpid(parent, NULL, 0);
    ck_assert(gets_unlocked(other));
}
END_TEST

START_TEST(close_carries_out_what_is_queued_and_in_flight)
{
    enum { BYTES = 256 * PAGE_BYTES };
    struct tarn_io *io = open_backend(_i, DEPTH);
    char *data = pages((size_t)DEPTH * BYTES), *back = pages(BYTES);
    int fd = direct_file(), ends[2];

    ck_assert_int_eq(pipe(ends), 0);
    ck_assert_int_eq(tarn_io_poll(io, ends[0], 100), 0);
    ck_assert_int_eq(tarn_io_set_file(io, 0, fd), 0);
    for (unsigned i = 0; i < DEPTH; i++) {
        char *at = data + (size_t)i * BYTES;
        fill(at, BYTES, i);
        ck_assert_int_eq(tarn_io_write(io, 0, at, BYTES, (uint64_t)i * BYTES, 0, i), 0);
        if (i == DEPTH / 2)
            ck_assert_int_eq(tarn_io_submit(io), 0);
    }
    tarn_io_close(io);
    memset(data, 0xee, (size_t)DEPTH * BYTES);
    for (unsigned i = 0; i < DEPTH; i++) {
        ck_assert_int_eq(pread(fd, back, BYTES, (off_t)i * BYTES), BYTES);
        ck_assert(is_filled(back, BYTES, i));
    }
}
END_TEST

START_TEST(poll_completes_when_the_fifo_becomes_readable)
{
    struct tarn_io *io = open_backend(_i, DEPTH);

    char path[PATH_MAX];

    snprintf(path, sizeof(path), "%s/fifo", test_dir());
    ck_assert_int_eq(mkfifo(path, 0600), 0);
    int fd = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC);
    ck_assert_int_ge(fd, 0);
    for (uint64_t id = 1; id < 4; id++) {
        char byte = 'w';
        ck_assert_int_eq(tarn_io_poll(io, fd, id), 0);
        ck_assert(is_quiet(io));
        ck_assert_uint_eq(tarn_io_in_flight(io), 0);
        ck_assert_int_eq(write(fd, &byte, 1), 1);
        ck_assert_int_eq(result_of(io, id), POLLIN);
        ck_assert(is_quiet(io)); /* once, though it is still readable */
        ck_assert_int_eq(read(fd, &byte, 1), 1);
    }
    tarn_io_close(io);
}
END_TEST

START_TEST(poll_completes_when_the_process_dies)
{
    struct tarn_io *io = open_backend(_i, DEPTH);
    pid_t child = fork();

    if (child == 0) {
        pause();
        _exit(0);
    }
    int pidfd = (int)syscall(SYS_pidfd_open, child, 0);
    ck_assert_int_ge(pidfd, 0);
    ck_assert_int_eq(tarn_io_poll(io, pidfd, 5), 0);
    ck_assert(is_quiet(io));
    kill(child, SIGKILL);
    ck_assert_int_ne(result_of(io, 5) & POLLIN, 0);
    waitpid(child, NULL, 0);
    tarn_io_close(io);
}
END_TEST

START_TEST(poll_tells_hang_ups_and_bad_descriptors)
{
    struct tarn_io *io = open_backend(_i, DEPTH);
    int ends[2];

    ck_assert_int_eq(pipe(ends), 0);
    ck_assert_int_eq(tarn_io_poll(io, ends[0], 1), 0);
    ck_assert_int_eq(tarn_io_submit(io), 0);
    close(ends[1]);
    ck_assert_int_eq(result_of(io, 1), POLLHUP);
    close(ends[0]);
    ck_assert_int_eq(tarn_io_poll(io, ends[0], 2), 0);
    ck_assert_int_eq(result_of(io, 2), -EBADF);
    tarn_io_close(io);
}
END_TEST

START_TEST(poll_taken_back_completes_as_canceled)
{
    struct tarn_io *io = open_backend(_i, 1);
    int ends[2];

    ck_assert_int_eq(pipe(ends), 0);
    for (unsigned submitted = 0; submitted < 2; submitted++) {
        ck_assert_int_eq(tarn_io_poll(io, ends[0], 1), 0);
        ck_assert_int_eq(tarn_io_poll(io, ends[0], 2), 0);
        if (submitted)
            ck_assert(is_quiet(io));
        ck_assert_int_eq(tarn_io_poll_cancel(io, 2), 0);
        ck_assert_int_eq(tarn_io_poll_cancel(io, 2), -ENOENT);
        ck_assert_int_eq(tarn_io_poll_cancel(io, 3), -ENOENT);
        ck_assert_int_eq(result_of(io, 2), -ECANCELED);
        ck_assert_int_eq(tarn_io_poll_cancel(io, 2), -ENOENT);
        ck_assert(is_quiet(io));
        ck_assert_int_eq(write(ends[1], "x", 1), 1);
        ck_assert_int_eq(result_of(io, 1), POLLIN);
        ck_assert_int_eq(read(ends[0], &(char){0}, 1), 1);
    }
    tarn_io_close(io);
}
END_TEST

/* The completion stands there when the cancel is queued: it comes once, and the cancel does not
 * hit the poll that takes its place. */
START_TEST(cancel_that_comes_too_late_hits_nobody)
{
    struct tarn_io *io = open_backend(_i, 1);
    int ends[2];

    ck_assert_int_eq(pipe(ends), 0);
    for (unsigned i = 0; i < 3000; i++) {
        ck_assert_int_eq(tarn_io_poll(io, ends[0], 1), 0);
        ck_assert_int_eq(tarn_io_submit(io), 0);
        ck_assert_int_eq(write(ends[1], "x", 1), 1);
        ck_assert_int_eq(tarn_io_poll_cancel(io, 1), 0);
        int64_t result = result_of(io, 1);
        ck_assert(result == POLLIN || result == -ECANCELED);
        ck_assert_int_eq(tarn_io_poll(io, ends[0], 2), 0);
        ck_assert_int_eq(result_of(io, 2), POLLIN);
        ck_assert_int_eq(read(ends[0], &(char){0}, 1), 1);
    }
    ck_assert_int_eq(tarn_io_wait(io, -1, &(struct tarn_io_completion){0}, 1), 0);
    tarn_io_close(io);
}
END_TEST

/* As many as can be. */
static unsigned queue_polls(struct tarn_io *io, int fd)
{
    unsigned count = 0;
    int error;

    while ((error = tarn_io_poll(io, fd, count)) == 0)
        count++;
    ck_assert_int_eq(error, -EBUSY);
    return count;
}

/* Far more entries than a ring of depth 1 has room for, in either queue. */
START_TEST(full_queues_are_not_an_error)
{
    struct tarn_io *io = open_backend(_i, 1);
    struct tarn_io_completion completions[100];
    static bool seen[TARN_IO_POLL_COUNT_MAX];
    char byte = 'x';
    int ends[2];

    ck_assert_int_eq(pipe(ends), 0);
    ck_assert_int_eq(tarn_io_set_file(io, 0, scratch_file()), 0);
    unsigned poll_count = queue_polls(io, ends[0]);
    ck_assert_int_eq(tarn_io_write(io, 0, &byte, 1, 0, 0, 9999), 0);
    ck_assert_int_eq(result_of(io, 9999), 1);
    for (unsigned i = 0; i < poll_count; i += 2)
        ck_assert_int_eq(tarn_io_poll_cancel(io, i), 0);
    ck_assert_int_eq(tarn_io_submit(io), 0);
    ck_assert_int_eq(write(ends[1], &byte, 1), 1);
    for (unsigned taken = 0; taken < poll_count;) {
        int count = tarn_io_wait(io, PATIENCE_NS, completions, 100);
        ck_assert_int_gt(count, 0);
        for (int i = 0; i < count; i++) {
            uint64_t id = completions[i].id;
            ck_assert(!seen[id]);
            seen[id] = true;
            ck_assert_int_eq(completions[i].result, id % 2 ? POLLIN : -ECANCELED);
        }
        taken += (unsigned)count;
    }
    ck_assert(is_quiet(io));
    tarn_io_close(io);
}
END_TEST

/* ppoll() takes no more descriptors than a process may have, even if all are the same. */
START_TEST(polls_go_up_to_what_the_kernel_takes)
{
    static const rlim_t limits[] = {100, 2 * TARN_IO_POLL_COUNT_MAX};
    struct rlimit limit;
    int ends[2];

    ck_assert_int_eq(pipe(ends), 0);
    ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
    for (unsigned i = 0; i < 2 && limits[i] <= limit.rlim_max; i++) {
        limit.rlim_cur = limits[i];
        ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
        struct tarn_io *io = open_backend(_i, 1);
        unsigned poll_count = is_uring(io) || i == 1 ? TARN_IO_POLL_COUNT_MAX : 99;
        ck_assert_uint_eq(queue_polls(io, ends[0]), poll_count);
        ck_assert(is_quiet(io));
        tarn_io_close(io);
    }
}
END_TEST

START_TEST(wait_keeps_to_its_limit)
{
    struct tarn_io *io = open_backend(_i, DEPTH);
    struct tarn_io_completion completion;
    int ends[2];

    ck_assert_int_eq(tarn_io_wait(io, -1, &completion, 1), 0); /* nothing to wait for */
    ck_assert_int_eq(pipe(ends), 0);
    ck_assert_int_eq(tarn_io_poll(io, ends[0], 1), 0);
    int64_t start = now_ns();
    ck_assert_int_eq(tarn_io_wait(io, 0, &completion, 1), 0);
    ck_assert_int_lt(now_ns() - start, 5000 * MILLISECOND_NS);
    start = now_ns();
    ck_assert_int_eq(tarn_io_wait(io, 30 * MILLISECOND_NS, &completion, 1), 0);
    ck_assert_int_ge(now_ns() - start, 30 * MILLISECOND_NS);
    ck_assert_int_lt(now_ns() - start, 5000 * MILLISECOND_NS);
    ck_assert_int_eq(write(ends[1], "x", 1), 1);
    ck_assert_int_eq(tarn_io_wait(io, INT64_MAX, &completion, 1), 1);
    tarn_io_close(io);
}
END_TEST

static void remember(int number)
{
    (void)number;
}

START_TEST(signal_ends_the_wait)
{
    struct tarn_io *io = open_backend(_i, DEPTH);
    struct tarn_io_completion completion;
    int ends[2];

    ck_assert_int_eq(pipe(ends), 0);
    ck_assert_int_eq(tarn_io_poll(io, ends[0], 1), 0);
    /* Interrupts again and again, in case the first comes before the wait. */
    sigaction(SIGALRM, &(struct sigaction){.sa_handler = remember, .sa_flags = SA_RESTART}, NULL);
    setitimer(ITIMER_REAL, &(struct itimerval){{0, 20000}, {0, 20000}}, NULL);
    ck_assert_int_eq(tarn_io_wait(io, -1, &completion, 1), 0);
    ck_assert_int_eq(tarn_io_wait(io, PATIENCE_NS, &completion, 1), 0);
    setitimer(ITIMER_REAL, &(struct itimerval){{0, 0}, {0, 0}}, NULL);
    ck_assert_int_eq(write(ends[1], "x", 1), 1);
    ck_assert_int_eq(result_of(io, 1), POLLIN);
    tarn_io_close(io);
}
END_TEST

START_TEST(signals_are_left_to_the_application)
{
    struct tarn_io *io;
    sigset_t set, pending;

    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    io = open_backend(_i, DEPTH);
    sigprocmask(SIG_BLOCK, &set, NULL);
    kill(getpid(), SIGUSR1); /* would end the process if another thread took it */
    roundtrip(io);
    sigpending(&pending);
    ck_assert_int_eq(sigismember(&pending, SIGUSR1), 1);
    tarn_io_close(io);
}
END_TEST

struct mover {
    struct tarn_io *io;
    char *data;
    int poll_fd;
};

static void *queue_submit_and_leave(void *argument)
{
    struct mover *mover = argument;

    for (unsigned i = 0; i < DEPTH; i++)
        tarn_io_write(mover->io, i % 2, mover->data, 64 * PAGE_BYTES, i * 64 * PAGE_BYTES, 0, i);
    tarn_io_poll(mover->io, mover->poll_fd, 100);
    tarn_io_submit(mover->io);
    tarn_io_sync(mover->io, 0, 200); /* refused, the depth is used up: tells nobody anything */
    return NULL;
}

/* The kernel cancels what a thread submitted when the thread ends; nobody may notice. */
START_TEST(requests_outlive_the_thread_that_submitted_them)
{
    struct tarn_io *io = open_backend(_i, DEPTH);
    int ends[2];
    struct mover mover = {.io = io, .data = pages(64 * PAGE_BYTES)};
    struct tarn_io_completion completion;

    ck_assert_int_eq(pipe(ends), 0);
    mover.poll_fd = ends[0];
    ck_assert_int_eq(tarn_io_set_file(io, 0, scratch_file()), 0);
    ck_assert_int_eq(tarn_io_set_file(io, 1, direct_file()), 0);
    for (unsigned round = 0; round < 20; round++) {
        pthread_t thread;
        ck_assert_int_eq(pthread_create(&thread, NULL, queue_submit_and_leave, &mover), 0);
        ck_assert_int_eq(pthread_join(thread, NULL), 0);
        for (unsigned i = 0; i < DEPTH; i++) {
            ck_assert_int_eq(tarn_io_wait(io, PATIENCE_NS, &completion, 1), 1);
            ck_assert_uint_lt(completion.id, DEPTH);
            ck_assert_int_eq(completion.result, 64 * PAGE_BYTES);
        }
        ck_assert_int_eq(tarn_io_wait(io, MILLISECOND_NS, &completion, 1), 0);
        ck_assert_int_eq(write(ends[1], "x", 1), 1);
        ck_assert_int_eq(result_of(io, 100), POLLIN);
        ck_assert_int_eq(read(ends[0], &(char){0}, 1), 1);
    }
    tarn_io_close(io);
}
END_TEST

/* For the calling thread alone, and for good. */
static void install_filter(struct sock_filter *filter, unsigned short length)
{
    struct sock_fprog program = {length, filter};

    ck_assert_int_eq(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
    ck_assert_int_eq(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program), 0);
}

#define FIELD(name)           offsetof(struct seccomp_data, name)
#define LOAD(name)            BPF_STMT(BPF_LD | BPF_W | BPF_ABS, FIELD(name))
#define SKIP_IF(value, count) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, value, count, 0)
#define REFUSE(error)         BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (unsigned)(error))
#define ALLOW                 BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)

static void refuse_system_call(unsigned number, int error)
{
    struct sock_filter filter[] = {LOAD(nr), SKIP_IF(number, 1), ALLOW, REFUSE(error)};

    install_filter(filter, 4);
}

/* Waits go through. */
static void refuse_submits(int error)
{
    struct sock_filter filter[] = {
        LOAD(nr),      SKIP_IF(SYS_io_uring_enter, 1),
        ALLOW,         LOAD(args[1]), /* how many */
        SKIP_IF(0, 1), REFUSE(error),
        ALLOW,
    };

    install_filter(filter, 7);
}

struct refused {
    struct tarn_io *io;
    int writable;
};

static void *submit_in_vain(void *argument)
{
    struct refused *refused = argument;
    struct tarn_io *io = refused->io;
    struct tarn_io_completion completion;

    refuse_submits(EAGAIN);
    ck_assert_int_eq(tarn_io_submit(io), -EAGAIN);
    if (refused->writable < 0) {
        ck_assert_int_eq(tarn_io_wait(io, -1, &completion, 1), -EAGAIN);
    } else {
        ck_assert(is_quiet(io));
        ck_assert_int_eq(write(refused->writable, "x", 1), 1);
        ck_assert_int_eq(result_of(io, 100), POLLIN);
    }
    ck_assert_uint_eq(tarn_io_in_flight(io), DEPTH);
    return NULL;
}

/* Alone, and beside a poll that the kernel has taken before: that one still completes. */
START_TEST(refused_submit_leaves_the_requests_queued)
{
    struct refused refused = {.io = open_backend(_i, DEPTH), .writable = -1};
    struct tarn_io_completion completion;
    int ends[2];
    char byte = 'x';
    pthread_t thread;

    ck_assert_int_eq(pipe(ends), 0);
    ck_assert_int_eq(tarn_io_set_file(refused.io, 0, scratch_file()), 0);
    for (unsigned round = 0; is_uring(refused.io) && round < 2; round++) {
        for (unsigned i = 0; i < DEPTH; i++)
            ck_assert_int_eq(tarn_io_write(refused.io, 0, &byte, 1, i, 0, i), 0);
        ck_assert_int_eq(pthread_create(&thread, NULL, submit_in_vain, &refused), 0);
        ck_assert_int_eq(pthread_join(thread, NULL), 0);
        for (unsigned i = 0; i < DEPTH; i++) {
            ck_assert_int_eq(tarn_io_wait(refused.io, PATIENCE_NS, &completion, 1), 1);
            ck_assert_int_eq(completion.result, 1);
        }
        refused.writable = ends[1];
        ck_assert_int_eq(tarn_io_poll(refused.io, ends[0], 100), 0);
        ck_assert_int_eq(tarn_io_submit(refused.io), 0);
    }
    tarn_io_close(refused.io);
}
END_TEST

START_TEST(close_does_not_hang_on_requests_that_were_refused)
{
    struct tarn_io *io = open_backend(_i, DEPTH);
    char byte = 'x';

    if (is_uring(io))
        refuse_submits(EBUSY);
    ck_assert_int_eq(tarn_io_set_file(io, 0, scratch_file()), 0);
    ck_assert_int_eq(tarn_io_write(io, 0, &byte, 1, 0, 0, 1), 0);
    tarn_io_close(io);
}
END_TEST

static void check_fallback(int refused)
{
    struct tarn_io_options options = {.backend = TARN_IO_URING, .depth = 4, .file_count = 1};
    struct tarn_io *io = NULL;

    ck_assert_int_eq(tarn_io_open(&options, &io), refused);
    ck_assert_ptr_null(io);
    options.backend = TARN_IO_AUTO;
    io = open_with(options);
    ck_assert_str_eq(tarn_io_capabilities(io)->backend, "threads");
    ck_assert_int_eq(tarn_io_capabilities(io)->refused, refused);
    ck_assert(!tarn_io_capabilities(io)->registered_buffer);
    ck_assert(!tarn_io_capabilities(io)->registered_files);
    roundtrip(io);
    tarn_io_close(io);
}

START_TEST(uring_refused_by_seccomp_falls_back_to_threads)
{
    static const int errors[] = {EPERM, ENOSYS, ENOMEM};

    refuse_system_call(SYS_io_uring_setup, errors[_i]);
    check_fallback(-errors[_i]);
}
END_TEST

START_TEST(auto_takes_uring_and_says_so)
{
    tarn_io_close(open_backend(TARN_IO_URING, 7));
    struct tarn_io *io = open_backend(TARN_IO_AUTO, 7);

    ck_assert_str_eq(tarn_io_capabilities(io)->backend, "io_uring");
    ck_assert_int_eq(tarn_io_capabilities(io)->refused, 0);
    ck_assert_uint_eq(tarn_io_capabilities(io)->depth, 7);
    ck_assert(tarn_io_capabilities(io)->registered_files);
    ck_assert_int_eq(tarn_io_capabilities(io)->files_refused, 0);
    ck_assert(!tarn_io_capabilities(io)->registered_buffer);
    ck_assert_int_eq(tarn_io_capabilities(io)->buffer_refused, 0);
    roundtrip(io);
    tarn_io_close(io);
}
END_TEST

/* As of a kernel that does not know it. */
static bool refuse_deferred;
struct io_uring;

int __real_io_uring_queue_init(unsigned entries, struct io_uring *ring, unsigned flags);
int __wrap_io_uring_queue_init(unsigned entries, struct io_uring *ring, unsigned flags);
int __wrap_io_uring_queue_init(unsigned entries, struct io_uring *ring, unsigned flags)
{
    return refuse_deferred && flags ? -EINVAL : __real_io_uring_queue_init(entries, ring, flags);
}

START_TEST(ring_for_one_thread_defers_or_says_why_not)
{
    for (unsigned i = 0; i < 2; i++) {
        struct tarn_io *io = open_backend(ONE_THREAD, DEPTH);
        const struct tarn_io_capabilities *got = tarn_io_capabilities(io);

        ck_assert_str_eq(got->backend, "io_uring");
        ck_assert_int_eq(got->refused, 0);
        ck_assert_int_eq(got->deferred, got->deferred_refused == 0);
        if (refuse_deferred)
            ck_assert_int_eq(got->deferred_refused, -EINVAL);
        roundtrip(io);
        tarn_io_close(io);
        refuse_deferred = true;
    }
    refuse_deferred = false;
}
END_TEST

static void limit_locked_memory(rlim_t bytes)
{
    struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct data[2];
    struct rlimit limit;

    ck_assert_int_eq(syscall(SYS_capget, &header, data), 0);
    data[0].effective &= ~(1u << CAP_IPC_LOCK);
    ck_assert_int_eq(syscall(SYS_capset, &header, data), 0);
    ck_assert_int_eq(getrlimit(RLIMIT_MEMLOCK, &limit), 0);
    if (limit.rlim_max > bytes) {
        limit = (struct rlimit){bytes, bytes};
        ck_assert_int_eq(setrlimit(RLIMIT_MEMLOCK, &limit), 0);
    }
}

START_TEST(refused_buffer_is_used_unregistered)
{
    enum { BYTES = 8 << 20 };
    char *data = pages(BYTES);
    int fd = scratch_file();

    limit_locked_memory(BYTES / 2);
    struct tarn_io *io = open_with((struct tarn_io_options){
        .backend = (enum tarn_io_backend)_i,
        .depth = 4,
        .file_count = 1,
        .buffer = data,
        .buffer_bytes = BYTES,
    });
    ck_assert(!tarn_io_capabilities(io)->registered_buffer);
    ck_assert_int_eq(tarn_io_capabilities(io)->buffer_refused, -ENOMEM);
    ck_assert(tarn_io_capabilities(io)->registered_files);
    fill(data, PAGE_BYTES, 3);
    ck_assert_int_eq(tarn_io_set_file(io, 0, fd), 0);
    write_whole(io, data, PAGE_BYTES);
    ck_assert_int_eq(tarn_io_read(io, 0, data + PAGE_BYTES, PAGE_BYTES, 0, 2), 0);
    ck_assert_int_eq(result_of(io, 2), PAGE_BYTES);
    ck_assert(is_filled(data + PAGE_BYTES, PAGE_BYTES, 3));
    tarn_io_close(io);
}
END_TEST

START_TEST(ring_refused_for_locked_memory_falls_back_to_threads)
{
    struct tarn_io_options options = {.depth = TARN_IO_DEPTH_MAX, .file_count = 1};

    limit_locked_memory(0);
    struct tarn_io *io = open_with(options);
    if (is_uring(io)) /* kernels that do not count rings */
        ck_assert_int_eq(tarn_io_capabilities(io)->refused, 0);
    else
        ck_assert_int_eq(tarn_io_capabilities(io)->refused, -ENOMEM);
    roundtrip(io);
    tarn_io_close(io);
}
END_TEST

START_TEST(refused_files_are_used_unregistered)
{
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &(struct rlimit){64, 64}), 0);
    struct tarn_io *io = open_with((struct tarn_io_options){
        .backend = (enum tarn_io_backend)_i,
        .depth = 4,
        .file_count = 1000,
    });
    ck_assert(!tarn_io_capabilities(io)->registered_files);
    ck_assert_int_eq(tarn_io_capabilities(io)->files_refused, -EMFILE);
    roundtrip(io);
    ck_assert_int_eq(tarn_io_sync(io, 999, 1), 0);
    ck_assert_int_eq(result_of(io, 1), -EBADF);
    tarn_io_close(io);
}
END_TEST

START_TEST(interrupted_tries_are_repeated_but_not_for_ever)
{
    static const int errors[] = {-EINTR, -EAGAIN, -ECANCELED};
    char data[10];
    struct tarn_io_request request = {.kind = TARN_IO_REQUEST_WRITE, .data = data, .bytes = 10};

    for (unsigned i = 0; i < TARN_IO_RETRY_COUNT_MAX; i++)
        ck_assert(!tarn_io_request_finished(&request, errors[i % 3]));
    ck_assert(!tarn_io_request_finished(&request, 4));
    for (unsigned i = 0; i < TARN_IO_RETRY_COUNT_MAX; i++)
        ck_assert(!tarn_io_request_finished(&request, errors[i % 3]));
    ck_assert(tarn_io_request_finished(&request, -EAGAIN));
    ck_assert_int_eq(request.result, -EAGAIN);

    request = (struct tarn_io_request){.kind = TARN_IO_REQUEST_SYNC};
    ck_assert(!tarn_io_request_finished(&request, -EINTR));
    ck_assert(tarn_io_request_finished(&request, -EIO));
    ck_assert_int_eq(request.result, -EIO);

    request = (struct tarn_io_request){.kind = TARN_IO_REQUEST_POLL, .cancelled = true};
    ck_assert(tarn_io_request_finished(&request, -ECANCELED));
    ck_assert_int_eq(request.result, -ECANCELED);
}
END_TEST

START_TEST(transfer_ends_with_its_last_byte_or_the_end_of_the_file)
{
    char data[1000];
    struct tarn_io_request start = {
        .kind = TARN_IO_REQUEST_READ,
        .data = data,
        .bytes = 1000,
        .offset = 5000,
    };
    struct tarn_io_request request = start;

    ck_assert(!tarn_io_request_finished(&request, 600));
    ck_assert_ptr_eq(request.data, data + 600);
    ck_assert_uint_eq(request.bytes, 400);
    ck_assert_uint_eq(request.offset, 5600);
    ck_assert(tarn_io_request_finished(&request, 400));
    ck_assert_int_eq(request.result, 1000);

    request = start;
    ck_assert(!tarn_io_request_finished(&request, 600));
    ck_assert(tarn_io_request_finished(&request, -EINVAL)); /* misaligned behind an odd end */
    ck_assert_int_eq(request.result, 600);
    request = start;
    ck_assert(!tarn_io_request_finished(&request, 512));
    ck_assert(tarn_io_request_finished(&request, -EINVAL));
    ck_assert_int_eq(request.result, -EINVAL);
    request = start;
    ck_assert(!tarn_io_request_finished(&request, 600));
    ck_assert(tarn_io_request_finished(&request, -EIO));
    ck_assert_int_eq(request.result, -EIO);

    request = start;
    request.kind = TARN_IO_REQUEST_WRITE;
    ck_assert(!tarn_io_request_finished(&request, 600));
    ck_assert(tarn_io_request_finished(&request, 0));
    ck_assert_int_eq(request.result, -EIO);
}
END_TEST

/* As the kernel says it, as older ones and sandboxes do, and as for what is misaligned. */
START_TEST(refused_durable_write_is_told_from_a_failed_one)
{
    static const int refusals[] = {-EOPNOTSUPP, -ENOSYS, -EINVAL};
    const struct tarn_io_request start = {
        .kind = TARN_IO_REQUEST_WRITE, .bytes = 1000, .durable = true};
    struct tarn_io_request request;

    for (unsigned i = 0; i < 3; i++) {
        request = start;
        ck_assert(!tarn_io_request_finished(&request, 600));
        ck_assert(tarn_io_request_finished(&request, refusals[i]));
        ck_assert_int_eq(request.result, -EOPNOTSUPP);
    }
    request = start;
    ck_assert(tarn_io_request_finished(&request, -EIO));
    ck_assert_int_eq(request.result, -EIO);
    request = start;
    request.durable = false;
    ck_assert(tarn_io_request_finished(&request, -EINVAL));
    ck_assert_int_eq(request.result, -EINVAL);
}
END_TEST

/* Some files below /proc are written with a method of old, which takes no flags. */
START_TEST(file_that_cannot_be_written_durably_says_so)
{
    struct tarn_io *io = open_backend(TARN_IO_THREADS, 1);
    int fd = open("/proc/self/oom_score_adj", O_RDWR | O_CLOEXEC);
    char score[8];

    ck_assert_int_ge(fd, 0);
    ssize_t bytes = read(fd, score, sizeof(score));
    ck_assert_int_gt(bytes, 0);
    ck_assert_int_eq(tarn_io_set_file(io, 0, fd), 0);
    ck_assert_int_eq(tarn_io_write(io, 0, score, (size_t)bytes, 0, TARN_IO_DURABLE, 1), 0);
    ck_assert_int_eq(result_of(io, 1), -EOPNOTSUPP);
    write_whole(io, score, (size_t)bytes);
    tarn_io_close(io);
}
END_TEST

/* What all must do alike; a loop's _i is the backend, or ONE_THREAD. */
static void add_all(TCase *tcase, int backend)
{
    const TTest *const tests[] = {
        written_pages_are_read_back,
        mixed_storm_keeps_ids_and_bytes_apart,
        requests_beyond_the_depth_are_busy_until_a_completion_is_taken,
        completions_that_were_not_taken_come_with_the_next_call,
        completion_is_seen_without_waiting,
        short_transfers_are_carried_on,
        durable_write_leaves_nothing_for_a_sync,
        read_across_the_end_gives_what_there_was,
        short_write_is_never_counted_as_whole,
        failures_come_with_their_id,
        sync_reports_its_result,
        bad_arguments_are_refused,
        file_number_changes_only_when_nothing_is_in_flight_for_it,
        registered_file_lives_until_it_is_taken_back,
        closing_lets_go_of_files,
        forked_child_does_not_hold_the_files_of_a_killed_parent,
        close_carries_out_what_is_queued_and_in_flight,
        poll_completes_when_the_fifo_becomes_readable,
        poll_completes_when_the_process_dies,
        poll_tells_hang_ups_and_bad_descriptors,
        poll_taken_back_completes_as_canceled,
        cancel_that_comes_too_late_hits_nobody,
        full_queues_are_not_an_error,
        polls_go_up_to_what_the_kernel_takes,
        wait_keeps_to_its_limit,
        signal_ends_the_wait,
        signals_are_left_to_the_application,
        close_does_not_hang_on_requests_that_were_refused,
        requests_outlive_the_thread_that_submitted_them,
        refused_submit_leaves_the_requests_queued,
    };
    enum { MOVING = 2 }; /* the last of them */

    for (unsigned i = 0; i < sizeof(tests) / sizeof(tests[0]) - MOVING * (backend == ONE_THREAD);
         i++)
        tcase_add_loop_test(tcase, tests[i], backend, backend + 1);
}

static void add_refusals(TCase *tcase)
{
    tcase_add_loop_test(tcase, uring_refused_by_seccomp_falls_back_to_threads, 0, 3);
    tcase_add_test(tcase, ring_refused_for_locked_memory_falls_back_to_threads);
    tcase_add_test(tcase, auto_takes_uring_and_says_so);
    tcase_add_test(tcase, ring_for_one_thread_defers_or_says_why_not);
    for (unsigned i = 0; i < 2; i++) {
        int backend = i == 0 ? TARN_IO_URING : ONE_THREAD;
        tcase_add_loop_test(tcase, refused_buffer_is_used_unregistered, backend, backend + 1);
        tcase_add_loop_test(tcase, refused_files_are_used_unregistered, backend, backend + 1);
    }
}

void test_suite(Suite *suite)
{
    TCase *tries = test_case(suite, "one try", TIME_LIMIT_S);

    tcase_add_test(tries, interrupted_tries_are_repeated_but_not_for_ever);
    tcase_add_test(tries, transfer_ends_with_its_last_byte_or_the_end_of_the_file);
    tcase_add_test(tries, refused_durable_write_is_told_from_a_failed_one);
    tcase_add_test(tries, file_that_cannot_be_written_durably_says_so);
    add_all(test_case(suite, "io_uring", TIME_LIMIT_S), TARN_IO_URING);
    add_all(test_case(suite, "io_uring, one thread", TIME_LIMIT_S), ONE_THREAD);
    add_all(test_case(suite, "threads", TIME_LIMIT_S), TARN_IO_THREADS);
    add_refusals(test_case(suite, "refusals", TIME_LIMIT_S));
}
