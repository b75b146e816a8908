/* SPDX-License-Identifier: MIT */
#include <string.h>
#include <unistd.h>

#include "tools/bench.h"

/* The pages in order, as a loop goes through them: kept in registers meanwhile. */
struct walk {
    const struct tarn_page_id *order;
    uint32_t position, count;
};

static inline struct walk walk_begin(const struct bench_process *process)
{
    return (struct walk){process->order, process->position, process->order_count};
}

static inline struct tarn_page_id walk_next(struct walk *walk)
{
    struct tarn_page_id id = walk->order[walk->position];
    walk->position = walk->position + 1 == walk->count ? 0 : walk->position + 1;
    return id;
}

/* `sum`: of what was read, so that the reads are not left out. */
static inline void walk_end(struct bench_process *process, const struct walk *walk, uint64_t sum)
{
    process->position = walk->position;
    process->sum += sum;
}

/* The word with the next page; it may be changing in an optimistic read. */
static inline uint64_t read_page(const void *data, struct tarn_page_id id)
{
    return tarn_load_relaxed((const tarn_word *)((const uint8_t *)data + bench_offset(id.value)));
}

static inline void change_page(void *data, struct tarn_page_id id)
{
    uint64_t count;
    uint8_t *at = (uint8_t *)data + bench_offset(id.value) + sizeof count;
    memcpy(&count, at, sizeof count);
    count++;
    memcpy(at, &count, sizeof count);
}

/* The floor of finding a page: its line of the table and its descriptor are loaded. */
static inline uint32_t bare_find(const struct tarn_view *view, struct tarn_page_id id)
{
    uint64_t frame_word;
    struct tarn_home home = tarn_home_of(view, id.value);
    uint64_t entry = tarn_load_relaxed(&view->buckets[home.bucket].entry[home.place]);
    uint32_t frame = entry_frame_plus_one(entry) - 1;
    if (entry_tag(entry) == home.tag &&
        tarn_load_relaxed(&view->descriptors[frame].page_id) == id.value)
        return frame;
    return tarn_table_search(view, id.value, &frame_word); /* its place was taken */
}

/* Hits. */

static inline int hit_page(struct tarn_session *session, struct tarn_page_id id, uint64_t *ret_word)
{
    struct tarn_pin pin;
    int result = tarn_pin(session, id, TARN_HINT_NONE, &pin);
    if (result < 0)
        return result;
    *ret_word = read_page(pin.data, id);
    return tarn_unpin(session, pin);
}

static int hit(struct bench_process *process, uint64_t ops)
{
    struct tarn_session *session = process->session;
    struct walk walk = walk_begin(process);
    uint64_t word = 0, sum = 0;
    int result = 0;
    for (uint64_t i = 0; i < ops && result >= 0; i++) {
        result = hit_page(session, walk_next(&walk), &word);
        sum += word;
    }
    walk_end(process, &walk, sum);
    return result;
}

static int hit_chained(struct bench_process *process, uint64_t ops)
{
    struct tarn_session *session = process->session;
    uint64_t page = process->next;
    int result = 0;
    for (uint64_t i = 0; i < ops && result >= 0; i++)
        result = hit_page(session, tarn_page_id(process->file, page), &page);
    process->next = page;
    return result;
}

static inline uint64_t bare_hit_page(const struct tarn_view *view, tarn_half *line,
                                     struct tarn_page_id id)
{
    uint32_t frame = bare_find(view, id);
    tarn_half_fetch_add_full(line, hold_of(frame));
    uint64_t word = read_page(tarn_view_frame(view, frame), id);
    tarn_half_store_release(line, 0);
    return word;
}

static int bare_hit(struct bench_process *process, uint64_t ops)
{
    const struct tarn_view *view = process->view;
    tarn_half *line = process->line;
    struct walk walk = walk_begin(process);
    uint64_t sum = 0;
    for (uint64_t i = 0; i < ops; i++)
        sum += bare_hit_page(view, line, walk_next(&walk));
    walk_end(process, &walk, sum);
    return 0;
}

static int bare_hit_chained(struct bench_process *process, uint64_t ops)
{
    const struct tarn_view *view = process->view;
    tarn_half *line = process->line;
    uint64_t page = process->next;
    for (uint64_t i = 0; i < ops; i++)
        page = bare_hit_page(view, line, tarn_page_id(process->file, page));
    process->next = page;
    return 0;
}

static int many(struct bench_process *process, uint64_t ops)
{
    struct tarn_session *session = process->session;
    struct walk walk = walk_begin(process);
    struct tarn_page_id ids[BENCH_BATCH];
    struct tarn_pin pins[BENCH_BATCH];
    uint64_t sum = 0;
    int result = 0;
    for (uint64_t done = 0; done < ops && result >= 0; done += BENCH_BATCH) {
        for (unsigned i = 0; i < BENCH_BATCH; i++)
            ids[i] = walk_next(&walk);
        result = tarn_pin_many(session, ids, BENCH_BATCH, TARN_HINT_NONE, pins);
        if (result < 0)
            break;
        for (unsigned i = 0; i < BENCH_BATCH; i++)
            sum += read_page(pins[i].data, ids[i]);
        result = tarn_unpin_many(session, pins, BENCH_BATCH);
    }
    walk_end(process, &walk, sum);
    return result;
}

/* Optimistic reads. */

static inline int optimistic_page(struct tarn_session *session, struct tarn_page_id id,
                                  uint64_t *ret_word)
{
    struct tarn_optimistic optimistic;
    uint64_t word;
    do {
        int result = tarn_optimistic_begin(session, id, &optimistic);
        if (result < 0)
            return result;
        word = read_page(optimistic.data, id);
    } while (tarn_optimistic_valid(session, &optimistic) != 1);
    *ret_word = word;
    return 0;
}

static int optimistic(struct bench_process *process, uint64_t ops)
{
    struct tarn_session *session = process->session;
    struct walk walk = walk_begin(process);
    uint64_t word = 0, sum = 0;
    int result = 0;
    for (uint64_t i = 0; i < ops && result >= 0; i++) {
        result = optimistic_page(session, walk_next(&walk), &word);
        sum += word;
    }
    walk_end(process, &walk, sum);
    return result;
}

static int optimistic_chained(struct bench_process *process, uint64_t ops)
{
    struct tarn_session *session = process->session;
    uint64_t page = process->next;
    int result = 0;
    for (uint64_t i = 0; i < ops && result >= 0; i++)
        result = optimistic_page(session, tarn_page_id(process->file, page), &page);
    process->next = page;
    return result;
}

static inline uint64_t bare_read_page(const struct tarn_view *view, struct tarn_page_id id)
{
    return read_page(tarn_view_frame(view, bare_find(view, id)), id);
}

static int bare_read(struct bench_process *process, uint64_t ops)
{
    const struct tarn_view *view = process->view;
    struct walk walk = walk_begin(process);
    uint64_t sum = 0;
    for (uint64_t i = 0; i < ops; i++)
        sum += bare_read_page(view, walk_next(&walk));
    walk_end(process, &walk, sum);
    return 0;
}

static int bare_read_chained(struct bench_process *process, uint64_t ops)
{
    const struct tarn_view *view = process->view;
    uint64_t page = process->next;
    for (uint64_t i = 0; i < ops; i++)
        page = bare_read_page(view, tarn_page_id(process->file, page));
    process->next = page;
    return 0;
}

/* Updates. */

static int update_page(struct tarn_session *session, struct tarn_page_id id, bool whole)
{
    struct tarn_writable_page writable;
    int result = tarn_mtr_begin(session, 1);
    if (result < 0)
        return result;
    if (whole)
        result = tarn_mtr_write(session, id, -1, &writable);
    else
        result = tarn_mtr_write_range(session, id, bench_offset(id.value) + sizeof(uint64_t),
                                      sizeof(uint64_t), -1, &writable);
    if (result < 0)
        return result;
    change_page(writable.data, id);
    return tarn_mtr_commit(session, 0);
}

static int update(struct bench_process *process, uint64_t ops, bool whole)
{
    struct walk walk = walk_begin(process);
    int result = 0;
    for (uint64_t i = 0; i < ops && result >= 0; i++)
        result = update_page(process->session, walk_next(&walk), whole);
    walk_end(process, &walk, 0);
    return result;
}

static int update_range(struct bench_process *process, uint64_t ops)
{
    return update(process, ops, false);
}

static int update_whole(struct bench_process *process, uint64_t ops)
{
    return update(process, ops, true);
}

/* Reads, and as many changes among them as asked for. */
static int mixed(struct bench_process *process, uint64_t ops)
{
    struct walk walk = walk_begin(process);
    uint64_t word = 0, sum = 0;
    int result = 0;
    for (uint64_t i = 0; i < ops && result >= 0; i++) {
        struct tarn_page_id id = walk_next(&walk);
        if (bench_random_below(&process->random, 100) < process->write_percent)
            result = update_page(process->session, id, false);
        else
            result = hit_page(process->session, id, &word);
        sum += word;
    }
    walk_end(process, &walk, sum);
    return result;
}

/* Takes the page's own latch, so that a tarn loop of another process that is not done yet stays
 * right. */
static void bare_latch(tarn_word *latch_word, unsigned slot)
{
    for (;;) {
        uint64_t seen = tarn_load_acquire(latch_word);
        if (latch_word_owner(seen) == 0 &&
            tarn_cas_full(latch_word, seen, latch_word_taken(seen, slot)))
            return;
        tarn_relax();
    }
}

static void bare_unlatch(tarn_word *latch_word)
{
    uint64_t seen = tarn_load_relaxed(latch_word);
    if (!tarn_cas_full(latch_word, seen, latch_word_released(seen))) {
        seen = tarn_load_relaxed(latch_word); /* only the waiters bit can have come */
        tarn_cas_full(latch_word, seen, latch_word_released(seen));
    }
    if (seen & LATCH_WAITERS)
        tarn_wake(latch_word);
}

/* `copy_bytes`: of the page, put aside first. */
static inline int bare_change(struct bench_process *process, uint64_t ops, uint32_t copy_bytes)
{
    const struct tarn_view *view = process->view;
    struct walk walk = walk_begin(process);
    for (uint64_t i = 0; i < ops; i++) {
        struct tarn_page_id id = walk_next(&walk);
        uint32_t frame = bare_find(view, id);
        tarn_word *latch_word = &view->descriptors[frame].latch_word;
        uint8_t *data = tarn_view_frame(view, frame);
        bare_latch(latch_word, process->session->slot);
        memcpy(process->copy, data, copy_bytes);
        change_page(data, id);
        bare_unlatch(latch_word);
    }
    walk_end(process, &walk, process->copy[0]);
    return 0;
}

static int bare_update(struct bench_process *process, uint64_t ops)
{
    return bare_change(process, ops, 0);
}

static int bare_update_copy(struct bench_process *process, uint64_t ops)
{
    return bare_change(process, ops, process->page_bytes);
}

/* The exclusive latch of a page that idle sessions have shared: their bits are put back each time,
 * as if they had just done so. */

static int exclusive(struct bench_process *process, uint64_t ops, uint64_t sticky_bits)
{
    uint64_t frame_word;
    struct tarn_page_id id = tarn_page_id(process->file, 0);
    uint32_t frame = tarn_table_find(process->view, id.value, &frame_word);
    tarn_word *sticky_word = &process->view->descriptors[frame].sticky_word;
    struct tarn_locked_page locked;
    int result = 0;
    for (uint64_t i = 0; i < ops && result >= 0; i++) {
        if (sticky_bits != 0)
            tarn_or_full(sticky_word, sticky_bits);
        result = tarn_mtr_begin(process->session, 1);
        if (result >= 0)
            result = tarn_mtr_lock(process->session, id, -1, &locked);
        if (result >= 0)
            result = tarn_mtr_commit(process->session, 0);
    }
    return result;
}

static int exclusive_sticky(struct bench_process *process, uint64_t ops)
{
    return exclusive(process, ops, process->sticky_bits);
}

static int exclusive_alone(struct bench_process *process, uint64_t ops)
{
    return exclusive(process, ops, 0);
}

/* The disk. */

static int bare_miss(struct bench_process *process, uint64_t ops)
{
    struct walk walk = walk_begin(process);
    uint64_t sum = 0;
    for (uint64_t i = 0; i < ops; i++) {
        struct tarn_page_id id = walk_next(&walk);
        ssize_t got = pread(process->fd, process->copy, process->page_bytes,
                            (off_t)(tarn_page_number(id) * process->page_bytes));
        if (got != (ssize_t)process->page_bytes)
            return got < 0 ? -errno : -ENODATA;
        sum += read_page(process->copy, id);
    }
    walk_end(process, &walk, sum);
    return 0;
}

/* Every second page, so that no two can go in one write. */
static int make_dirty(struct bench_process *process, uint64_t ops)
{
    int result = 0;
    for (uint64_t i = 0; i < ops && result >= 0; i++)
        result = update_page(process->session, tarn_page_id(process->file, 2 * i), false);
    return result;
}

static int flush(struct bench_process *process, uint64_t ops)
{
    (void)ops;
    return tarn_flush_file(process->session, process->file);
}

/* The pages between, which the pool does not hold. */
static int bare_flush(struct bench_process *process, uint64_t ops)
{
    for (uint64_t i = 0; i < ops; i++) {
        ssize_t put = pwrite(process->fd, process->copy, process->page_bytes,
                             (off_t)((2 * i + 1) * process->page_bytes));
        if (put != (ssize_t)process->page_bytes)
            return put < 0 ? -errno : -EIO;
    }
    return fdatasync(process->fd) == 0 ? 0 : -errno;
}

const struct bench_workload bench_workloads[] = {
    {.name = "hit",
     .what = "pin and unpin a cached page",
     .pairs = {{"independent", hit, bare_hit}, {"chained", hit_chained, bare_hit_chained}},
     .page_count = 10000,
     .frames_percent = 130,
     .call_ops = 1,
     .slice_ms = 5},
    {.name = "hot",
     .what = "pin and unpin one page",
     .pairs = {{"independent", hit, bare_hit}, {"chained", hit_chained, bare_hit_chained}},
     .page_count = 1,
     .frames_percent = 130,
     .call_ops = 1,
     .slice_ms = 5},
    {.name = "many",
     .what = "pin and unpin 16 cached pages at once",
     .pairs = {{"independent", many, bare_hit}},
     .page_count = 10000,
     .frames_percent = 130,
     .call_ops = BENCH_BATCH,
     .slice_ms = 5},
    {.name = "read",
     .what = "optimistic read of a cached page",
     .pairs = {{"independent", optimistic, bare_read},
               {"chained", optimistic_chained, bare_read_chained}},
     .page_count = 10000,
     .frames_percent = 130,
     .call_ops = 1,
     .slice_ms = 5},
    {.name = "update",
     .what = "change 8 bytes of a cached page in a mini-transaction",
     .pairs = {{"range", update_range, bare_update}, {"page", update_whole, bare_update_copy}},
     .page_count = 10000,
     .frames_percent = 400,
     .call_ops = 1,
     .slice_ms = 5},
    {.name = "sticky",
     .what = "exclusive latch of a page that 64 idle sessions have shared",
     .pairs = {{"latch", exclusive_sticky, exclusive_alone}},
     .page_count = 1,
     .frames_percent = 130,
     .call_ops = 1,
     .slice_ms = 5,
     .idle_sessions = BENCH_STICKY_SESSIONS},
    {.name = "miss",
     .what = "pin a page that is not in the pool",
     .pairs = {{"independent", hit, bare_miss}},
     .page_count = 65536,
     .frames_percent = 10,
     .call_ops = 1,
     .slice_ms = 100,
     .disk = true},
    {.name = "flush",
     .what = "dirty pages to the disk, none beside another",
     .pairs = {{"alternate", flush, bare_flush}},
     .prepare = make_dirty,
     .page_count = 16384,
     .frames_percent = 400,
     .disk = true,
     .own_file = true},
    {.name = "mixed",
     .what = "reads and changes over more pages than the pool holds",
     .pairs = {{"mixed", mixed, NULL}},
     .page_count = 262144,
     .frames_percent = 6,
     .call_ops = 1,
     .slice_ms = 100,
     .disk = true,
     .drawn = true},
};
const unsigned bench_workload_count = sizeof bench_workloads / sizeof bench_workloads[0];
