/* SPDX-License-Identifier: MIT */
/* What those do who are to be killed: everything that a session can be used for, each with marks
 * at moments that are worth being killed at. The operations are those of tests/load.h, so whatever
 * they read is verified.
 */
#ifndef TARN_TESTS_KILL_HABITS_H
#define TARN_TESTS_KILL_HABITS_H

#include "tests/load.h"

/* Of the file that grows and shrinks. */
#define OTHER_PAGES 64

/* Attaches anew now and then: handles of closed sessions are kept until the pool is detached. */
static inline int attach_again(struct worker *worker)
{
    _Atomic uint64_t *mark = worker->mark;
    void (*at_mark)(struct worker *) = worker->at_mark;

    if (tarn_detach(worker->pool) != 0)
        return -1;
    open_worker(worker, worker->load, worker->random);
    worker->mark = mark;
    worker->at_mark = at_mark;
    pass_mark(worker);
    return 0;
}

static inline int attach_and_leave(struct worker *worker)
{
    pass_mark(worker);
    if (read_group(worker, draw_group(worker)) < 0)
        return -1;
    return attach_again(worker);
}

static inline int join_and_leave(struct worker *worker)
{
    struct tarn_session *own = worker->session, *other;
    struct tarn_pin pin;

    pass_mark(worker);
    int result = tarn_session_open(worker->pool, &patience, &other);
    if (result == 0) {
        worker->session = other;
        result = LOAD_CALL(worker, tarn_pin(other, load_id(worker->load, 1), 0, &pin));
        worker->session = own;
        tarn_session_close(other);
    } else {
        load_error(worker->load, "tarn_session_open: %d", result);
    }
    return result == 0 && draw(worker, 64) == 0 ? attach_again(worker) : result;
}

/* Pages that are there, a few that all want. */
static inline int pin_and_latch(struct worker *worker)
{
    unsigned group = draw(worker, 4);

    pass_mark(worker);
    return draw(worker, 2) == 0 ? read_group(worker, group) : copy_page(worker, group);
}

/* Pages that are not there. Those who do this want the same ones at the same time, so that one
 * reads and the others join. */
static inline int miss_and_join(struct worker *worker)
{
    uint64_t at = atomic_fetch_add(&worker->load->cursor, 1) / 2;

    pass_mark(worker);
    return copy_page(worker, (unsigned)(at * 7 % LOAD_PAGES));
}

static inline int read_ahead(struct worker *worker)
{
    struct load *of = worker->load;
    struct tarn_page_id ids[32];
    struct tarn_pin pins[16];
    unsigned first = draw(worker, LOAD_PAGES - 32);

    for (unsigned i = 0; i < 32; i++)
        ids[i] = load_id(of, first + i);
    pass_mark(worker);
    if (LOAD_CALL(worker, tarn_prefetch(worker->session, ids, 32)) < 0)
        return -1;
    if (draw(worker, 2) == 0)
        return copy_page(worker, first + draw(worker, 32));
    for (unsigned i = 0; i < 16; i++)
        ids[i] = load_id(of, (first + 64 + 5 * i) % LOAD_PAGES);
    if (LOAD_CALL(worker, tarn_pin_many(worker->session, ids, 16, TARN_HINT_ONCE, pins)) < 0)
        return -1;
    return LOAD_CALL(worker, tarn_unpin_many(worker->session, pins, 16));
}

static inline int change_groups(struct worker *worker)
{
    return write_group(worker, draw_group(worker), draw(worker, 3) != 0);
}

static inline int flush_groups(struct worker *worker)
{
    unsigned group = draw_group(worker);

    return write_group(worker, group, true) < 0 ? -1 : flush_group(worker, group);
}

static inline int grow_and_shrink(struct worker *worker)
{
    struct tarn_session *own = worker->session;
    struct tarn_writable_page writable;
    uint32_t other;
    unsigned count = 1 + draw(worker, OTHER_PAGES);
    bool temporary = draw(worker, 2) == 0;

    pass_mark(worker);
    int result = tarn_file_open(own, temporary ? "temporary" : "other",
                                temporary ? TARN_FILE_TEMPORARY : TARN_FILE_CREATE, &other);

    if (result == 0)
        result = tarn_file_extend(own, other, count);
    if (result == 0)
        result = tarn_file_set_share(own, draw(worker, 4) == 0 ? worker->load->file : other,
                                     draw(worker, 2) == 0 ? 0 : draw(worker, OTHER_PAGES));
    if (result == 0 && tarn_mtr_begin(own, 1) == 0) {
        result = tarn_mtr_new(own, tarn_page_id(other, draw(worker, count)), NEVER_MS, &writable);
        if (result == 0)
            memset(writable.data, 'x', PAGE_BYTES);
        pass_mark(worker);
        tarn_mtr_commit(own, 0);
    }
    if (result == 0)
        result = temporary ? tarn_file_drop(own, other, 1, 100)
                           : tarn_file_truncate(own, other, draw(worker, count), 100);
    /* Others may shrink or drop it at the same time. */
    return result == -ENXIO || result == -ERANGE || result == -EBUSY
               ? 0
               : load_call(worker, result, "growing and shrinking");
}

static inline int do_anything(struct worker *worker)
{
    switch (draw(worker, 8)) {
    case 0:
        return pin_and_latch(worker);
    case 1:
        return miss_and_join(worker);
    case 2:
        return read_ahead(worker);
    case 3:
        return draw(worker, 4) == 0 ? flush_groups(worker) : 0;
    case 4:
        return draw(worker, 4) == 0 ? grow_and_shrink(worker) : 0;
    default:
        return change_groups(worker);
    }
}

typedef int habit(struct worker *worker);

static habit *const habits[] = {
    attach_and_leave, join_and_leave, pin_and_latch, miss_and_join,   read_ahead,
    change_groups,    change_groups,  flush_groups,  grow_and_shrink, do_anything,
};
#define HABITS (sizeof habits / sizeof habits[0])

#endif
