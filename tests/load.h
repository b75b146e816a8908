/* SPDX-License-Identifier: MIT */
/* A load whose every page is verified, done by processes of which some are killed.
 *
 * The pages of a file are in groups. A mini-transaction takes all pages of a group, in ascending
 * order, and gives them the same new sequence number; so a group whose pages differ is half a
 * change. What a page has to hold follows from its number and its sequence number. In a group of
 * odd number a change is a few declared ranges, in one of even number it is every byte.
 *
 * A sequence number is drawn while the group's first page is held exclusively, so that later
 * changes have higher ones, also when those who drew were killed before or after their commit. What
 * anybody has seen committed is the group's floor: whoever looks later must not see less.
 */
#ifndef TARN_TESTS_LOAD_H
#define TARN_TESTS_LOAD_H

#include "tests/process.h"

enum {
    LOAD_SINGLES = 60, /* groups of 1 page, */
    LOAD_TRIPLES = 24, /* of 3, */
    LOAD_LARGE = 16,   /* and of 16 */
    LOAD_GROUPS = LOAD_SINGLES + LOAD_TRIPLES + LOAD_LARGE,
    LOAD_PAGES = LOAD_SINGLES + 3 * LOAD_TRIPLES + 16 * LOAD_LARGE,
    LOAD_GROUP_PAGES_MAX = 16,
    LOAD_WORDS = PAGE_BYTES / 8,
    LOAD_WORKERS_MAX = 8,
};

struct load {
    char name[64];
    char path[512]; /* of the data file */
    uint32_t file;
    unsigned group_count; /* that are worked on: the first ones */
    _Atomic bool flushless;
    _Atomic bool ends;
    _Atomic unsigned errors;
    char error[512]; /* the first one */
    _Atomic uint64_t cursor;
    _Atomic uint64_t drawn[LOAD_GROUPS];
    _Atomic uint64_t floor[LOAD_GROUPS];
    _Atomic uint64_t steps[LOAD_WORKERS_MAX]; /* done by those who are never killed */
};

/* A thread that works. */
struct worker {
    struct load *load;
    struct tarn_pool *pool;
    struct tarn_session *session;
    uint64_t random;
    _Atomic uint64_t *mark; /* counts moments that are worth being killed at; may be NULL */
    void (*at_mark)(struct worker *worker); /* called at these moments; may be NULL */
    uint64_t copy[LOAD_WORDS];
};

static inline unsigned group_pages(unsigned group)
{
    return group < LOAD_SINGLES ? 1 : group < LOAD_SINGLES + LOAD_TRIPLES ? 3 : 16;
}

static inline unsigned group_first(unsigned group)
{
    if (group < LOAD_SINGLES)
        return group;
    group -= LOAD_SINGLES;
    if (group < LOAD_TRIPLES)
        return LOAD_SINGLES + 3 * group;
    return LOAD_SINGLES + 3 * LOAD_TRIPLES + 16 * (group - LOAD_TRIPLES);
}

static inline unsigned group_of(unsigned page)
{
    unsigned group = 0;

    while (page >= group_first(group) + group_pages(group))
        group++;
    return group;
}

/* Words of a page that change with each change of a group of odd number, and where they are. */
static const unsigned load_ranges[] = {1, 2, 30, 31, 32, 255, 256, 300, 511};
#define LOAD_RANGES (sizeof load_ranges / sizeof load_ranges[0])

static inline uint64_t load_mix(uint64_t page, uint64_t sequence, unsigned i)
{
    uint64_t z = (page << 40 ^ sequence << 10 ^ i) * UINT64_C(0x9e3779b97f4a7c15);

    return z ^ z >> 29;
}

static inline void load_fill(void *data, unsigned page, uint64_t sequence, bool ranges)
{
    uint64_t *words = data;

    for (unsigned i = 2; i < LOAD_WORDS; i++)
        words[i] = load_mix(page, ranges ? 0 : sequence, i);
    for (unsigned i = 1; ranges && i < LOAD_RANGES; i++)
        words[load_ranges[i]] = load_mix(page, sequence, load_ranges[i]);
    words[0] = page;
    words[1] = sequence;
}

/* Notes what is wrong; the first error is kept. */
__attribute__((format(printf, 2, 3))) static inline void load_error(struct load *load,
                                                                    const char *format, ...)
{
    va_list list;

    if (atomic_fetch_add(&load->errors, 1) != 0)
        return;
    va_start(list, format);
    vsnprintf(load->error, sizeof load->error, format, list);
    va_end(list);
}

static inline void assert_no_errors(const struct load *load)
{
    ck_assert_msg(load->errors == 0, "%u errors; the first: %s", load->errors, load->error);
}

/* A call that has to work; what it returned. */
static inline int load_call(struct worker *worker, int result, const char *call)
{
    if (result < 0)
        load_error(worker->load, "process %d: %s: %d: %s", (int)getpid(), call, result,
                   tarn_session_message(worker->session));
    return result;
}

/* Does the page hold what its number and sequence number say? Its sequence number, or 0. */
static inline uint64_t load_check(struct load *load, unsigned page, const void *data,
                                  const char *source)
{
    uint64_t expected[LOAD_WORDS];
    const uint64_t *words = data;

    load_fill(expected, page, words[1], group_of(page) % 2 == 1);
    if (memcmp(expected, words, PAGE_BYTES) == 0)
        return words[1];
    unsigned i = 0;
    while (expected[i] == words[i])
        i++;
    load_error(load, "process %d: page %u, %s: word %u is %#llx, not %#llx (sequence %llu)",
               (int)getpid(), page, source, i, (unsigned long long)words[i],
               (unsigned long long)expected[i], (unsigned long long)words[1]);
    return 0;
}

static inline void load_raise(struct load *load, unsigned group, uint64_t sequence)
{
    uint64_t seen = atomic_load(&load->floor[group]);

    while (seen < sequence && !atomic_compare_exchange_weak(&load->floor[group], &seen, sequence))
        continue;
}

/* The page as it is now is no older than what was seen before the look at it. */
static inline uint64_t load_see(struct load *load, unsigned group, unsigned page, const void *data,
                                uint64_t floor, const char *source)
{
    uint64_t sequence = load_check(load, page, data, source);

    if (sequence != 0 && (sequence < floor || sequence > atomic_load(&load->drawn[group])))
        load_error(load, "process %d: page %u, %s: sequence %llu, at least %llu, at most %llu",
                   (int)getpid(), page, source, (unsigned long long)sequence,
                   (unsigned long long)floor, (unsigned long long)load->drawn[group]);
    return sequence;
}

static inline struct tarn_page_id load_id(const struct load *load, unsigned page)
{
    return tarn_page_id(load->file, page);
}

static inline unsigned draw(struct worker *worker, unsigned count)
{
    return (unsigned)(test_random(&worker->random) % count);
}

/* Small groups as often as large ones, though there are more of them. */
static inline unsigned draw_group(struct worker *worker)
{
    unsigned kind = draw(worker, 3);
    unsigned group = kind == 0   ? draw(worker, LOAD_SINGLES)
                     : kind == 1 ? LOAD_SINGLES + draw(worker, LOAD_TRIPLES)
                                 : LOAD_SINGLES + LOAD_TRIPLES + draw(worker, LOAD_LARGE);

    return group < worker->load->group_count ? group : draw(worker, worker->load->group_count);
}

static inline void pass_mark(struct worker *worker)
{
    if (worker->mark != NULL)
        atomic_fetch_add(worker->mark, 1);
    if (worker->at_mark != NULL)
        worker->at_mark(worker);
}

/* Operations: negative when a call failed that must not. */

#define LOAD_CALL(worker, call) load_call(worker, call, #call)

/* An operation of the test's own process. */
#define assert_works(load, operation)                                                              \
    do {                                                                                           \
        int worked_ = (operation);                                                                 \
        assert_no_errors(load);                                                                    \
        ck_assert_int_ge(worked_, 0);                                                              \
    } while (0)

/* All pages of a group under shared latches. */
static inline int read_group(struct worker *worker, unsigned group)
{
    struct load *load = worker->load;
    struct tarn_page_id ids[LOAD_GROUP_PAGES_MAX];
    struct tarn_pin pins[LOAD_GROUP_PAGES_MAX];
    unsigned first = group_first(group), count = group_pages(group);
    uint64_t floor = atomic_load(&load->floor[group]), sequence = 0;

    for (unsigned i = 0; i < count; i++)
        ids[i] = load_id(load, first + i);
    if (LOAD_CALL(worker, tarn_pin_many(worker->session, ids, count, 0, pins)) < 0)
        return -1;
    for (unsigned i = 0; i < count; i++)
        if (LOAD_CALL(worker, tarn_latch_shared(worker->session, pins[i], NEVER_MS)) < 0)
            return -1;
    for (unsigned i = 0; i < count; i++) {
        uint64_t one = load_see(load, group, first + i, pins[i].data, floor, "shared");

        if (i > 0 && one != sequence)
            load_error(load, "group %u: half a change: %llu and %llu", group,
                       (unsigned long long)sequence, (unsigned long long)one);
        sequence = one;
    }
    for (unsigned i = 0; i < count; i++)
        if (LOAD_CALL(worker, tarn_unlatch_shared(worker->session, pins[i])) < 0)
            return -1;
    load_raise(load, group, sequence);
    return LOAD_CALL(worker, tarn_unpin_many(worker->session, pins, count));
}

/* One page, optimistically. */
static inline int copy_page(struct worker *worker, unsigned page)
{
    struct load *load = worker->load;
    unsigned group = group_of(page);
    uint64_t floor = atomic_load(&load->floor[group]);

    if (LOAD_CALL(worker, tarn_page_copy(worker->session, load_id(load, page), 0, PAGE_BYTES,
                                         worker->copy)) < 0)
        return -1;
    load_raise(load, group, load_see(load, group, page, worker->copy, floor, "copy"));
    return 0;
}

enum { WRITE_WHOLE, WRITE_LOCKED, WRITE_NEW, WRITE_RANGES };

/* Takes one page of the running mini-transaction; what is there already is checked. */
static inline int take_page(struct worker *worker, unsigned group, unsigned page, int how,
                            struct tarn_writable_page *ret_page)
{
    struct load *load = worker->load;
    struct tarn_session *own = worker->session;
    struct tarn_page_id id = load_id(load, page);
    struct tarn_locked_page locked;
    int result = 0;

    if (how == WRITE_NEW)
        return LOAD_CALL(worker, tarn_mtr_new(own, id, NEVER_MS, ret_page));
    if (how == WRITE_LOCKED)
        result = LOAD_CALL(worker, tarn_mtr_lock(own, id, NEVER_MS, &locked));
    if (result == 0 && how == WRITE_RANGES)
        result = LOAD_CALL(worker, tarn_mtr_write_range(own, id, 8, 16, NEVER_MS, ret_page));
    else if (result == 0)
        result = LOAD_CALL(worker, tarn_mtr_write(own, id, NEVER_MS, ret_page));
    if (result == 0)
        load_see(load, group, page, ret_page->data, atomic_load(&load->floor[group]), "exclusive");
    return result;
}

static inline int change_page(struct worker *worker, unsigned page, int how, uint64_t sequence,
                              struct tarn_writable_page *writable)
{
    struct load *load = worker->load;
    uint64_t *words = writable->data;

    if (how != WRITE_RANGES) {
        load_fill(words, page, sequence, group_of(page) % 2 == 1);
        return 0;
    }
    words[1] = sequence;
    words[2] = load_mix(page, sequence, 2);
    for (unsigned i = 2; i < LOAD_RANGES; i++) {
        if (LOAD_CALL(worker, tarn_mtr_write_range(worker->session, load_id(load, page),
                                                   8 * load_ranges[i], 8, 0, writable)) < 0)
            return -1;
        words[load_ranges[i]] = load_mix(page, sequence, load_ranges[i]);
    }
    return 0;
}

/* Locks a page of another group without waiting, and gives it back early. */
static inline int lock_and_release(struct worker *worker, unsigned group)
{
    struct tarn_locked_page locked;
    unsigned other = (group + 1 + draw(worker, LOAD_GROUPS - 1)) % LOAD_GROUPS;
    struct tarn_page_id id = load_id(worker->load, group_first(other));
    int result = tarn_mtr_lock(worker->session, id, 0, &locked);

    if (result == -ETIMEDOUT)
        return 0;
    if (load_call(worker, result, "tarn_mtr_lock") < 0)
        return -1;
    return LOAD_CALL(worker, tarn_mtr_release(worker->session, id));
}

/* Gives all pages of a group a new sequence number, in one mini-transaction. */
static inline int write_group(struct worker *worker, unsigned group, bool commit)
{
    struct load *load = worker->load;
    struct tarn_writable_page writable[LOAD_GROUP_PAGES_MAX];
    unsigned first = group_first(group), count = group_pages(group);
    int how = group % 2 == 1 ? WRITE_RANGES - (int)(draw(worker, 8) == 0) * WRITE_RANGES
                             : (int)draw(worker, WRITE_NEW + 1);

    if (LOAD_CALL(worker, tarn_mtr_begin(worker->session, count + 1)) < 0)
        return -1;
    if (take_page(worker, group, first, how, &writable[0]) < 0)
        return -1;
    uint64_t sequence = atomic_fetch_add(&load->drawn[group], 1) + 1;
    if (draw(worker, 4) == 0 && lock_and_release(worker, group) < 0)
        return -1;
    for (unsigned i = 0; i < count; i++) {
        if (i > 0 && take_page(worker, group, first + i, how, &writable[i]) < 0)
            return -1;
        if (i + 1 == count) /* the end is near, and short */
            pass_mark(worker);
        if (change_page(worker, first + i, how, sequence, &writable[i]) < 0)
            return -1;
    }
    if (!commit)
        return LOAD_CALL(worker, tarn_mtr_abort(worker->session));
    if (LOAD_CALL(worker, tarn_mtr_commit(worker->session, 0)) < 0)
        return -1;
    load_raise(load, group, sequence);
    return 0;
}

/* The page in the data file; looked at again while the writer changes it. */
static inline uint64_t read_file(struct load *load, int fd, unsigned page, uint64_t floor)
{
    uint64_t words[LOAD_WORDS], expected[LOAD_WORDS];
    ssize_t length = 0;

    for (int i = 0; i < 1000; i++) {
        length = pread(fd, words, PAGE_BYTES, (off_t)page * PAGE_BYTES);
        load_fill(expected, page, words[1], group_of(page) % 2 == 1);
        if (length == PAGE_BYTES && memcmp(words, expected, PAGE_BYTES) == 0)
            break;
        sleep_ms(1);
    }
    if (length == PAGE_BYTES)
        return load_see(load, group_of(page), page, words, floor, "data file");
    load_error(load, "page %u of the data file: pread: %zd", page, length);
    return 0;
}

/* What is committed is on disk when a flush has returned. */
static inline int flush_group(struct worker *worker, unsigned group)
{
    struct load *load = worker->load;
    uint64_t floor = atomic_load(&load->floor[group]);
    unsigned how = draw(worker, 8);
    int result = how == 0   ? LOAD_CALL(worker, tarn_flush_all(worker->session))
                 : how == 1 ? LOAD_CALL(worker, tarn_flush_file(worker->session, load->file))
                            : LOAD_CALL(worker, tarn_flush_page(worker->session,
                                                                load_id(load, group_first(group))));
    if (result < 0)
        return result;
    int fd = open(load->path, O_RDONLY | O_CLOEXEC);
    read_file(load, fd, group_first(group), floor);
    close(fd);
    return 0;
}

/* A bit of everything: what one who is never killed does. */
static inline int work_steadily(struct worker *worker)
{
    unsigned what = draw(worker, 100);
    unsigned group = draw_group(worker);

    if (what < 45)
        return read_group(worker, group);
    if (what < 65)
        return copy_page(worker, group_first(group) + draw(worker, group_pages(group)));
    if (what < 99 || worker->load->flushless)
        return write_group(worker, group, what < 90);
    return flush_group(worker, group);
}

/* Attaches and opens a session; ends the process if that fails. */
static inline void open_worker(struct worker *worker, struct load *load, uint64_t number)
{
    struct tarn_message message = {""};

    *worker = (struct worker){.load = load, .random = test_seed() + number};
    int result = tarn_attach(load->name, NULL, &worker->pool, &message);
    if (result == 0) {
        result = tarn_session_open(worker->pool, &patience, &worker->session);
        tarn_pool_message(worker->pool, &message);
    }
    if (result < 0) {
        load_error(load, "process %d: attach: %d: %s", (int)getpid(), result, message.text);
        _exit(1);
    }
}

/* A process that works from beginning to end. */
struct survivor {
    struct load *load;
    unsigned number;
};

/* Makes pool and file, each page with sequence number 1. Returns the handle; the writer runs. */
static inline struct tarn_pool *make_load(struct load *load, unsigned frame_count,
                                          unsigned session_count, pid_t *ret_writer)
{
    struct tarn_writable_page writable;
    struct tarn_pool *made;
    struct tarn_session *own;

    snprintf(load->name, sizeof load->name, "%s", test_pool_name());
    snprintf(load->path, sizeof load->path, "%s", test_path("pool/data"));
    load->group_count = LOAD_GROUPS;
    made = init_pool(load->name, test_path("pool"), frame_count, session_count);
    own = open_patient_session(made);
    *ret_writer = start_tarn_writer(load->name);
    wait_until(writer_process(made) == *ret_writer);
    load->file = make_file(own, "data", LOAD_PAGES);
    for (unsigned page = 0; page < LOAD_PAGES; page++) {
        assert_ok(own, tarn_mtr_begin(own, 1));
        assert_ok(own, tarn_mtr_new(own, load_id(load, page), -1, &writable));
        load_fill(writable.data, page, 1, group_of(page) % 2 == 1);
        assert_ok(own, tarn_mtr_commit(own, 0));
        load->drawn[group_of(page)] = load->floor[group_of(page)] = 1;
    }
    ck_assert_int_eq(tarn_session_close(own), 0);
    return made;
}

/* Everything flushed: each group is whole on disk, and as new as anybody has seen it. */
static inline void assert_file_holds_all(struct load *load, struct tarn_pool *of)
{
    struct tarn_session *own = open_patient_session(of);
    int fd = open(load->path, O_RDONLY | O_CLOEXEC);

    ck_assert_int_ge(fd, 0);
    assert_ok(own, tarn_flush_all(own));
    for (unsigned group = 0; group < LOAD_GROUPS; group++) {
        uint64_t sequence = read_file(load, fd, group_first(group), load->floor[group]);

        for (unsigned i = 1; i < group_pages(group); i++)
            if (read_file(load, fd, group_first(group) + i, load->floor[group]) != sequence)
                load_error(load, "group %u: half a change in the data file", group);
    }
    close(fd);
    assert_no_errors(load);
    ck_assert_int_eq(tarn_session_close(own), 0);
}

#endif
