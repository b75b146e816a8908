/* SPDX-License-Identifier: MIT */
/* Each kind of request x each fault, once and until it goes x each backend: whoever waits is told
 * what happened, others go on, nothing is lost, and when the fault has gone all works again; or the
 * writer says that durability has ended.
 *
 * The faults are put in before the backend (tests/inject.c): what a try would have been answered,
 * not a device that really fails. Misses are read with preadv2() whatever the writer's backend is;
 * their faults are answers of that call.
 */
#include "tests/disk.h"

#include <sys/uio.h>

#include "tests/backends.h"

enum {
    BACKENDS = 3,
    FRAME_COUNT = 256,
    PATIENT_MS = 30000,
    HASTY_MS = 300, /* what a fault that never ends makes somebody wait */
};

static const struct tarn_io_ops *const backends[BACKENDS] = {
    &tarn_io_uring_ops,
    &tarn_io_threads_ops,
    &simdisk_ops,
};

/* True once the expression is, within ten seconds. */
#define comes_true(expression)                                                                     \
    __extension__({                                                                                \
        bool true_ = false;                                                                        \
        for (int i_ = 0; i_ < 10000 && !(true_ = (expression)); i_++)                              \
            sleep_ms(1);                                                                           \
        true_;                                                                                     \
    })

/* Every instance that the library opens, also a session's for reading ahead. */
static const struct tarn_io_ops *backend, *injected;

static void use_backend(const struct tarn_io_ops *ops)
{
    backend = ops;
    injected = injected_ops(ops);
}

int __real_tarn_io_open(const struct tarn_io_options *options, struct tarn_io **ret_io);
int __wrap_tarn_io_open(const struct tarn_io_options *options, struct tarn_io **ret_io);
int __wrap_tarn_io_open(const struct tarn_io_options *options, struct tarn_io **ret_io)
{
    struct tarn_io_options with = *options;

    with.ops = injected;
    return __real_tarn_io_open(&with, ret_io);
}

/* Reads of misses. */

static const struct tarn_page_id *missed; /* NULL: none is to fail */
static struct tarn_page_id missed_page;

ssize_t __real_preadv64v2(int fd, const struct iovec *pieces, int count, off_t offset, int flags);
ssize_t __wrap_preadv64v2(int fd, const struct iovec *pieces, int count, off_t offset, int flags);
ssize_t __wrap_preadv64v2(int fd, const struct iovec *pieces, int count, off_t offset, int flags)
{
    const struct tarn_page_id *id = missed;
    bool meets = id != NULL && (uint64_t)offset / PAGE_BYTES == tarn_page_number(*id);
    enum fault fault = meets ? fault_of_call() : FAULT_NONE;
    /* Whole sectors, as devices have them. */
    struct iovec half = {pieces->iov_base, pieces->iov_len / 2 / 512 * 512};

    if (fault == FAULT_DELAY)
        sleep_ms(5);
    while (fault == FAULT_NEVER && injection.fault == FAULT_NEVER)
        sleep_ms(1);
    if (fault == FAULT_SHORT && half.iov_len > 0)
        return __real_preadv64v2(fd, &half, 1, offset, flags);
    if (fault == FAULT_ZERO)
        return 0;
    if (fault != FAULT_NONE && fault_result(fault) < 0) {
        errno = (int)-fault_result(fault);
        return -1;
    }
    return __real_preadv64v2(fd, pieces, count, offset, flags);
}

/* The requests that can fail, and what somebody does for them to be made. */

enum {
    TRANSFERS = 1, /* can be short, or move nothing */
    SYNCS = 2,     /* two failures in a row end durability */
    READS = 4,
    BLOCKS = 8,   /* as long as the device does */
    POLLS = 16,   /* nobody waits for it by itself */
    RETRIES = 32, /* another way is taken if it fails */
    DURABLE = 64, /* the writer may do durable writes */
};

struct site {
    const char *name;
    unsigned what;
    bool (*meets)(const struct tarn_io_request *request);
    int (*act)(void);
};

static struct tarn_session *actor;
static uint32_t other_file;

static bool has_id(const struct tarn_io_request *request, unsigned what)
{
    return request->id >> 32 == what;
}

static bool writes_page(const struct tarn_io_request *request)
{
    return request->kind == TARN_IO_REQUEST_WRITE && has_id(request, ID_WRITE) &&
           (uint32_t)request->file == file;
}

static bool writes_durably(const struct tarn_io_request *request)
{
    return request->durable && writes_page(request);
}

static bool syncs(const struct tarn_io_request *request)
{
    return request->kind == TARN_IO_REQUEST_SYNC && has_id(request, ID_SYNC) &&
           (uint32_t)request->file == file;
}

static bool syncs_size(const struct tarn_io_request *request)
{
    return request->kind == TARN_IO_REQUEST_SYNC && has_id(request, ID_OP_SYNC);
}

static bool polls_for_calls(const struct tarn_io_request *request)
{
    return request->kind == TARN_IO_REQUEST_POLL && has_id(request, ID_WAKE);
}

static bool polls_for_stop(const struct tarn_io_request *request)
{
    return request->kind == TARN_IO_REQUEST_POLL && has_id(request, ID_STOP);
}

static bool reads_ahead(const struct tarn_io_request *request)
{
    return request->kind == TARN_IO_REQUEST_READ;
}

static int flush_page(void)
{
    return tarn_flush_page(actor, page(1));
}

static int extend(void)
{
    return tarn_file_extend(actor, file, PAGES + 8);
}

static int miss(void)
{
    struct tarn_pin pin;
    int result = tarn_pin(actor, page(20), 0, &pin);

    return result < 0 ? result : tarn_unpin(actor, pin);
}

static int miss_many(void)
{
    struct tarn_page_id ids[8];
    struct tarn_pin pins[8];

    for (unsigned i = 0; i < 8; i++)
        ids[i] = page(30 + 2 * i);
    int result = tarn_pin_many(actor, ids, 8, 0, pins);
    return result < 0 ? result : tarn_unpin_many(actor, pins, 8);
}

static const struct site sites[] = {
    {"page write", TRANSFERS, writes_page, flush_page},
    {"durable page write", TRANSFERS | DURABLE | RETRIES, writes_durably, flush_page},
    {"sync", SYNCS, syncs, flush_page},
    {"sync of a new size", 0, syncs_size, extend},
    {"poll for calls", POLLS, polls_for_calls, flush_page},
    {"poll for the end", POLLS | RETRIES, polls_for_stop, flush_page},
    {"read of a miss", TRANSFERS | READS | BLOCKS, NULL, miss},
    {"read of many", TRANSFERS | READS | BLOCKS | RETRIES, reads_ahead, miss_many},
};
enum { SITES = sizeof sites / sizeof sites[0] };

/* A cell of the table: a fault befalls the site's next try, or each until it has gone. */
struct cell {
    const struct site *site;
    enum fault fault;
    bool stays;
};
static struct cell cells[SITES * FAULT_COUNT * 2];
static int cell_count;

static bool makes_sense(const struct cell *cell)
{
    bool transfers = (cell->site->what & TRANSFERS) != 0;

    if (cell->fault == FAULT_SHORT)
        return transfers;
    if (cell->fault == FAULT_ZERO) /* of a sync that is its success */
        return transfers || (cell->site->what & POLLS) != 0;
    return cell->fault != FAULT_NEVER || cell->stays;
}

static void make_cells(void)
{
    for (unsigned i = 0; i < SITES; i++)
        for (unsigned fault = FAULT_EIO; fault < FAULT_COUNT; fault++)
            for (unsigned stays = 0; stays < 2; stays++) {
                cells[cell_count] = (struct cell){&sites[i], (enum fault)fault, stays != 0};
                cell_count += makes_sense(&cells[cell_count]);
            }
}

/* What the table says. */

static bool ends_durability(const struct cell *cell)
{
    return (cell->site->what & SYNCS) != 0 && cell->stays && fault_result(cell->fault) < 0;
}

static int expected(const struct cell *cell)
{
    unsigned what = cell->site->what;
    int64_t error = fault_result(cell->fault);
    bool passes = cell->fault == FAULT_EINTR || cell->fault == FAULT_EAGAIN;

    if (ends_durability(cell))
        return -ENOTRECOVERABLE;
    if (cell->fault == FAULT_NEVER)
        return (what & BLOCKS) != 0 || what == (POLLS | RETRIES) ? 0 : -ETIMEDOUT;
    if ((what & (RETRIES | POLLS)) != 0 || (passes && !cell->stays))
        return 0;
    if ((what & READS) != 0 && passes)
        return -EIO;
    if (cell->fault == FAULT_ZERO)
        return (what & READS) != 0 ? -ENODATA : -EIO;
    /* A first failed sync has the pages written once more. */
    return (what & SYNCS) != 0 ? 0 : (int)error;
}

/* A writer that was awake needs no call. */
static bool is_late(const struct cell *cell)
{
    return cell->site->what & POLLS && cell->fault == FAULT_NEVER;
}

static struct tarn_session *open_with_wait(int32_t wait_ms)
{
    struct tarn_session_options options = {.size = sizeof options, .wait_ms = wait_ms};
    struct tarn_session *opened;

    ck_assert_int_eq(tarn_session_open(pool, &options, &opened), 0);
    return opened;
}

static bool is_refused(void)
{
    struct tarn_io_options options = {.backend = TARN_IO_URING, .depth = 1};
    struct tarn_io *io = NULL;
    int error = tarn_io_open(&options, &io);

    tarn_io_close(io);
    return error != 0;
}

/* The writer as well as sessions work on this backend from now on. */
static void begin_writer_of(int which)
{
    struct tarn_writer_options options = {.durable = injection.plain ? TARN_WRITER_DURABLE_NEVER
                                                                     : TARN_WRITER_DURABLE_ALWAYS};

    use_backend(backends[which]);
    if (is_refused())
        test_skip("%s is refused here", backend->name);
    begin_writer_with(&options);
}

static void evict(struct tarn_page_id id)
{
    uint64_t word;

    for (uint32_t frame;
         (frame = tarn_table_find(&session->view, id.value, &word)) != TARN_NO_FRAME;)
        tarn_frame_evict(session, frame);
}

/* Page 1 is dirty, those that are read are not in the pool. Polls are begun with the writer. */
static void begin_cell(const struct cell *cell, int which)
{
    begin_pool(FRAME_COUNT);
    injection.plain = (cell->site->what & DURABLE) == 0;
    begin_writer_of(which);
    actor = open_with_wait(cell->fault == FAULT_NEVER ? HASTY_MS : PATIENT_MS);
    file = make_file(session, "data", PAGES);
    other_file = make_file(session, "other", 8);
    for (unsigned number = 20; number < 50; number += 2)
        fill_page(session, page(number), (int)number);
    assert_ok(session, tarn_flush_all(session));
    for (unsigned number = 20; number < 50; number += 2)
        evict(page(number));
    fill_page(session, page(1), 12);
    if (cell->site->what & POLLS)
        ck_assert_int_eq(end_writer(), 0);
    missed = cell->site->meets == NULL ? &missed_page : NULL;
    missed_page = page(20);
    inject(cell->fault, cell->stays ? -1 : 1, cell->site->meets);
    if (cell->site->what & POLLS)
        begin_writer_of(which);
}

/* Those whom the fault does not concern. */
static void assert_others_go_on(int byte)
{
    struct tarn_page_id id = tarn_page_id(other_file, 3);

    fill_page(session, id, byte);
    assert_ok(session, tarn_flush_page(session, id));
    ck_assert(disk_has(file_path("other"), 3, byte));
}

static const struct cell *now;

static void *act(void *argument)
{
    ((struct work *)argument)->result = now->site->act();
    return NULL;
}

static int act_with_fault(void)
{
    bool calls_fail = (now->site->what & POLLS) != 0 && now->fault == FAULT_NEVER;
    struct work work;

    start_work(&work, act, actor, page(1), 0);
    if (now->fault == FAULT_NEVER) {
        ck_assert(comes_true(injection.met > 0));
        if (!calls_fail)
            assert_others_go_on(1);
        if (now->site->what & BLOCKS)
            inject_nothing();
    }
    int result = end_work(&work);
    if (!ends_durability(now) && !calls_fail)
        assert_others_go_on(2);
    ck_assert_uint_gt(injection.met, 0);
    return result;
}

static void assert_all_works(void)
{
    assert_ok(session, tarn_flush_all(session));
    ck_assert(!is_dirty(page(1)));
    ck_assert(disk_has(file_path("data"), 1, 12));
    for (unsigned number = 20; number < 50; number += 2)
        ck_assert(page_has(session, page(number), (int)number));
    assert_ok(session, now->site->act());
    assert_ok(session, tarn_file_extend(session, file, PAGES + 16));
    ck_assert_uint_eq(tarn_load_relaxed(&pool->view.control->failed), 0);
}

/* Nothing is acknowledged any more, and what there is can be read. */
static void assert_has_failed(void)
{
    assert_fails(session, -ENOTRECOVERABLE, "init", tarn_flush_all(session));
    ck_assert(page_has(session, page(1), 12));
    ck_assert(page_has(session, page(20), 20));
    ck_assert(is_dirty(page(1)));
}

static void check_cell(int which)
{
    begin_cell(now, which);
    int result = act_with_fault();
    ck_assert_msg(result == expected(now) || (result == 0 && is_late(now)),
                  "%s, %s%s, %s: %d, not %d: %s", now->site->name, fault_names[now->fault],
                  now->stays ? " stays" : "", backend->name, result, expected(now),
                  tarn_session_message(actor));
    inject_nothing();
    ck_assert(comes_true(injection.held == 0));
    if (ends_durability(now))
        assert_has_failed();
    else
        assert_all_works();
    assert_consistent(pool);
    ck_assert_int_eq(end_writer(), ends_durability(now) ? -ENOTRECOVERABLE : 0);
    ck_assert_int_eq(tarn_session_close(actor), 0);
    ck_assert_int_eq(tarn_detach(pool), 0);
}

START_TEST(fault_befalls_a_request)
{
    now = &cells[_i / BACKENDS];
    printf("# %s, %s%s, %s\n", now->site->name, fault_names[now->fault], now->stays ? " stays" : "",
           backends[_i % BACKENDS]->name);
    fflush(stdout);
    check_cell(_i % BACKENDS);
}
END_TEST

/* Without a writer: a write that is to be durable by itself, beside one that is not. */

static bool is_durable(const struct tarn_io_request *request)
{
    return request->durable;
}

enum { WRITE_BYTES = 2 * PAGE_BYTES };

static int64_t expected_of_write(enum fault fault, bool stays)
{
    bool passes = fault == FAULT_EINTR || fault == FAULT_EAGAIN;

    if (fault == FAULT_ZERO)
        return -EIO;
    return fault_result(fault) < 0 && (stays || !passes) ? fault_result(fault) : WRITE_BYTES;
}

static void write_both(struct tarn_io *io, const char *data, enum fault fault, bool stays)
{
    struct tarn_io_completion done;

    inject(fault, stays ? -1 : 1, is_durable);
    ck_assert_int_eq(tarn_io_write(io, 0, data, WRITE_BYTES, 0, TARN_IO_DURABLE, 1), 0);
    ck_assert_int_eq(tarn_io_write(io, 0, data, WRITE_BYTES, WRITE_BYTES, 0, 2), 0);
    for (unsigned i = 0; i < 2; i++) {
        ck_assert_int_eq(tarn_io_wait(io, 10000 * NS_PER_MS, &done, 1), 1);
        ck_assert_msg(done.result == (done.id == 2 ? WRITE_BYTES : expected_of_write(fault, stays)),
                      "%s%s, %s: %lld", fault_names[fault], stays ? " stays" : "", backend->name,
                      (long long)done.result);
        ck_assert_uint_gt(injection.met, 0);
        if (fault == FAULT_NEVER && i == 0) {
            ck_assert_uint_eq(done.id, 2);
            ck_assert_int_eq(tarn_io_wait(io, 20 * NS_PER_MS, &done, 1), 0);
            inject_nothing();
        }
    }
}

START_TEST(fault_befalls_a_durable_write)
{
    struct tarn_io_options options = {.backend = TARN_IO_URING, .depth = 4, .file_count = 1};
    char data[WRITE_BYTES], back[2 * WRITE_BYTES];
    struct tarn_io *io;

    use_backend(backends[_i]);
    if (tarn_io_open(&options, &io) != 0)
        test_skip("%s is refused here", backend->name);
    int fd = open(test_path("scratch"), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    ck_assert_int_eq(tarn_io_set_file(io, 0, fd), 0);
    for (unsigned i = 0; i < 2 * FAULT_COUNT; i++) {
        enum fault fault = (enum fault)(i / 2);
        if (fault == FAULT_NONE || (fault == FAULT_NEVER && i % 2 == 0))
            continue;
        memset(data, (int)i, sizeof data);
        write_both(io, data, fault, i % 2 != 0);
        ck_assert_int_eq(pread(fd, back, sizeof back, 0), sizeof back);
        ck_assert_mem_eq(back + WRITE_BYTES, data, WRITE_BYTES);
        if (expected_of_write(fault, i % 2 != 0) > 0)
            ck_assert_mem_eq(back, data, WRITE_BYTES);
    }
    tarn_io_close(io);
    close(fd);
}
END_TEST

/* A disk that forgets what was not synced. */

static const char *const cut_names[SIMDISK_CUT_COUNT] = {"loses", "reorders", "tears"};

/* Each sector is one of the two. */
static void assert_sectors(uint64_t number, int old, int new, bool may_be_torn)
{
    uint8_t copy[PAGE_BYTES];
    int fd = open(file_path("data"), O_RDONLY | O_CLOEXEC);

    ck_assert_int_eq(pread(fd, copy, PAGE_BYTES, (off_t)(number * PAGE_BYTES)), PAGE_BYTES);
    close(fd);
    for (unsigned i = 0; i < PAGE_BYTES; i++) {
        ck_assert(copy[i] == old || copy[i] == new);
        ck_assert_int_eq(copy[i], copy[i / SIMDISK_SECTOR_BYTES * SIMDISK_SECTOR_BYTES]);
        ck_assert(may_be_torn || copy[i] == copy[0]);
    }
}

static bool no_sync(const struct tarn_io_request *request)
{
    return request->kind == TARN_IO_REQUEST_SYNC;
}

/* Page by page, of a flush that came to its end and of one that did not. */
START_TEST(power_goes_during_a_flush)
{
    struct tarn_writer_options options = {.backend = TARN_IO_URING,
                                          .durable = TARN_WRITER_DURABLE_NEVER};
    uint64_t random = test_seed() + (uint64_t)_i;

    use_backend(&simdisk_ops);
    injection.plain = true;
    simdisk_set(random, 100000);
    begin_pool(FRAME_COUNT);
    begin_writer_with(&options);
    actor = open_with_wait(HASTY_MS);
    file = make_file(session, "data", PAGES);
    for (unsigned number = 0; number < 64; number++)
        fill_page(session, page(number), 1);
    assert_ok(session, tarn_flush_all(session));
    for (unsigned number = 0; number < 64; number += 2)
        fill_page(session, page(number), 2);
    inject(FAULT_NEVER, -1, no_sync);
    assert_fails(actor, -ETIMEDOUT, "", tarn_flush_all(actor));
    ck_assert_uint_gt(injection.held, 0);
    /* Which this device has taken, and will not have kept. */
    unsigned lost = simdisk_power_cut(random, (enum simdisk_cut)_i);
    printf("# %s: %u sectors\n", cut_names[_i], lost);
    ck_assert_uint_gt(lost, 0);
    for (unsigned number = 0; number < 64; number++)
        assert_sectors(number, 1, number % 2 == 0 ? 2 : 1, _i == SIMDISK_TEARS);
    inject_nothing();
    end_writer();
    ck_assert_int_eq(tarn_session_close(actor), 0);
    ck_assert_int_eq(tarn_detach(pool), 0);
}
END_TEST

/* What is left when nothing is moved is the writer's own work. */
START_TEST(null_backend_moves_nothing)
{
    struct tarn_writer_options options = {.backend = TARN_IO_URING,
                                          .durable = TARN_WRITER_DURABLE_NEVER};
    struct timespec before, after;
    clockid_t clock;

    use_backend(&null_ops);
    begin_pool(FRAME_COUNT);
    begin_writer_with(&options);
    file = make_file(session, "data", PAGES);
    ck_assert_int_eq(pthread_getcpuclockid(writer_thread, &clock), 0);
    clock_gettime(clock, &before);
    for (unsigned round = 0; round < 20; round++) {
        for (unsigned number = 0; number < PAGES; number++)
            fill_page(session, page(number), 1);
        assert_ok(session, tarn_flush_all(session));
    }
    clock_gettime(clock, &after);
    for (unsigned number = 0; number < PAGES; number++)
        ck_assert(!is_dirty(page(number)) && disk_has(file_path("data"), number, 0));
    printf("# %.0f ns of processor a page\n", ((double)(after.tv_sec - before.tv_sec) * 1e9 +
                                               (double)(after.tv_nsec - before.tv_nsec)) /
                                                  (20.0 * PAGES));
    ck_assert_int_eq(end_writer(), 0);
    ck_assert_int_eq(tarn_detach(pool), 0);
}
END_TEST

void test_suite(Suite *suite)
{
    TCase *tcase = test_case(suite, "faults", 60);

    make_cells();
    tcase_add_loop_test(tcase, fault_befalls_a_request, 0, cell_count * BACKENDS);
    tcase_add_loop_test(tcase, fault_befalls_a_durable_write, 0, BACKENDS);
    tcase_add_loop_test(tcase, power_goes_during_a_flush, 0, SIMDISK_CUT_COUNT);
    tcase_add_test(tcase, null_backend_moves_nothing);
}
