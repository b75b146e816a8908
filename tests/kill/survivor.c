/* SPDX-License-Identifier: MIT */
#include "tests/kill/survivor.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "lib/check.h"

enum {
    BATCH = 8,
    CHANGED_PAGES_MAX = 3,
    WAIT_MS = 30000, /* never, for a test */
};

uint64_t survivor_random, survivor_sequence = 1;

static uint8_t disk[OPERATION_PAGES][OPERATION_PAGE_BYTES];

/* Pages that were found whole: most are so again. */
static uint8_t known[OPERATION_PAGES][OPERATION_PAGE_BYTES];
static uint64_t known_sequence[OPERATION_PAGES];

uint64_t survivor_draw(uint64_t count)
{
    uint64_t z = (survivor_random += UINT64_C(0x9e3779b97f4a7c15));
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return (z ^ (z >> 31)) % count;
}

void survivor_read_disk(int fd)
{
    if (pread(fd, disk, sizeof disk, 0) != (ssize_t)sizeof disk)
        violated("the data file cannot be read");
}

static void report(void *context, const struct tarn_violation *violation)
{
    const struct survivor *survivor = context;
    char text[512] = "";
    size_t length = 0;
    for (int i = 0; i < TARN_VIOLATION_VALUES && violation->value[i].name != NULL; i++)
        length += (size_t)snprintf(text + length, sizeof text - length, " %s=%#" PRIx64,
                                   violation->value[i].name, violation->value[i].value);
    violated("%s: %s: %s;%s", survivor->where, tarn_rules[violation->rule].name,
             tarn_rules[violation->rule].text, text);
}

static bool is_inside(void *context, unsigned slot)
{
    const struct survivor *survivor = context;
    return survivor->inside(slot);
}

void survivor_check_rules(const struct survivor *survivor)
{
    struct tarn_check_options options = {.stopped = is_inside,
                                         .context = (void *)(uintptr_t)survivor};
    struct tarn_pool *pool = survivor->pool;
    tarn_check_view(&pool->view, &options, report, NULL);
    for (unsigned slot = 1; slot <= pool->view.slot_max; slot++)
        if (tarn_load_relaxed(&tarn_view_slot(&pool->view, slot)->state) != SLOT_FREE &&
            pool->sessions[slot] == NULL && pool->dead(pool, slot))
            violated("%s: slot %u is not reaped", survivor->where, slot);
}

/* Pages. */

static const void *page_data(const struct survivor *survivor, uint64_t number, bool *ret_clean)
{
    const struct tarn_view *view = &survivor->pool->view;
    uint64_t word;
    uint32_t frame = tarn_table_find(view, tarn_page_id(survivor->file, number).value, &word);
    bool cached = frame != TARN_NO_FRAME && (frame_word_state(word) == FRAME_VALID ||
                                             frame_word_state(word) == FRAME_EVICTING);
    *ret_clean =
        cached && !dirty_word_dirty(tarn_load_acquire(&view->descriptors[frame].dirty_word));
    return cached ? tarn_view_frame(view, frame) : disk[number];
}

static uint64_t sequence_of(const void *data, uint64_t number)
{
    if (known_sequence[number] != 0 && memcmp(data, known[number], OPERATION_PAGE_BYTES) == 0)
        return known_sequence[number];
    uint64_t found = operation_sequence(data, number);
    if (found != 0) {
        memcpy(known[number], data, OPERATION_PAGE_BYTES);
        known_sequence[number] = found;
    }
    return found;
}

static void check_page(const struct survivor *survivor, const void *data, uint64_t number)
{
    uint64_t found = sequence_of(data, number);
    if (found == 0)
        violated("%s: page %" PRIu64 " is not whole", survivor->where, number);
    else if (found != survivor->sequence[number])
        violated("%s: page %" PRIu64 " has sequence number %" PRIu64 ", not %" PRIu64,
                 survivor->where, number, found, survivor->sequence[number]);
}

void survivor_check_pages(struct survivor *survivor, const struct change *change)
{
    unsigned count = change->state == CHANGE_NONE ? 0 : change->page_count, changed = 0;
    bool has_new[OPERATION_PAGES_MAX] = {false}, clean;
    for (unsigned i = 0; i < count; i++) {
        uint64_t number = change->page[i];
        const void *data = page_data(survivor, number, &clean);
        has_new[i] = sequence_of(data, number) == change->sequence;
        changed += has_new[i];
    }
    if (changed != 0 && changed != count)
        violated("%s: %u of %u pages have changed: half a mini-transaction", survivor->where,
                 changed, count);
    if (change->state == CHANGE_COMMITTED && changed == 0)
        violated("%s: what was committed is gone", survivor->where);
    if (change->state == CHANGE_ABORTED && changed != 0)
        violated("%s: what was aborted is there", survivor->where);
    for (unsigned i = 0; i < count; i++)
        if (has_new[i])
            survivor->sequence[change->page[i]] = change->sequence;
    for (uint64_t number = 0; number < OPERATION_PAGES; number++) {
        const void *data = page_data(survivor, number, &clean);
        check_page(survivor, data, number);
        if (clean && memcmp(data, disk[number], OPERATION_PAGE_BYTES) != 0)
            violated("%s: page %" PRIu64 " is clean, and the file has another", survivor->where,
                     number);
    }
}

void survivor_check_disk(const struct survivor *survivor, const struct change *change)
{
    for (unsigned i = 0; i < (change == NULL ? OPERATION_PAGES : change->page_count); i++) {
        uint64_t number = change == NULL ? i : change->page[i];
        uint64_t found = sequence_of(disk[number], number);
        if (found != survivor->sequence[number])
            violated("%s: page %" PRIu64 " of the file has sequence number %" PRIu64
                     ", not %" PRIu64,
                     survivor->where, number, found, survivor->sequence[number]);
    }
}

/* Work. */

/* The first of some pages in a row; not the last page, which somebody may share. */
static uint64_t draw_pages(const struct survivor *survivor, unsigned count)
{
    for (;;) {
        uint64_t first = survivor_draw(OPERATION_PAGES - count);
        bool open = false;
        for (unsigned i = 0; survivor->open != NULL && i < survivor->open->page_count; i++)
            open = open || survivor->open->page[i] - first < count;
        if (!open)
            return first;
    }
}

static int read_pages(const struct survivor *survivor, struct tarn_session *session)
{
    static uint8_t bytes[OPERATION_PAGE_BYTES];
    struct tarn_page_id ids[BATCH];
    struct tarn_pin pins[BATCH];
    uint64_t first = draw_pages(survivor, BATCH), one = draw_pages(survivor, 1);
    for (unsigned i = 0; i < BATCH; i++)
        ids[i] = tarn_page_id(survivor->file, first + i);
    int done = tarn_pin_many(session, ids, BATCH, 0, pins);
    for (unsigned i = 0; done >= 0 && i < BATCH; i++) {
        done = tarn_latch_shared(session, pins[i], WAIT_MS);
        if (done >= 0)
            check_page(survivor, pins[i].data, first + i);
        if (done >= 0)
            done = tarn_unlatch_shared(session, pins[i]);
    }
    if (done >= 0)
        done = tarn_unpin_many(session, pins, BATCH);
    if (done >= 0)
        done = tarn_page_copy(session, tarn_page_id(survivor->file, one), 0, sizeof bytes, bytes);
    if (done >= 0)
        check_page(survivor, bytes, one);
    return done;
}

static int change_pages(struct survivor *survivor, struct tarn_session *session)
{
    struct tarn_writable_page page;
    unsigned count = 1 + (unsigned)survivor_draw(CHANGED_PAGES_MAX);
    uint64_t first = draw_pages(survivor, count), sequence = ++survivor_sequence;
    bool commits = survivor_draw(4) != 0;
    int done = tarn_mtr_begin(session, count);
    for (unsigned i = 0; done >= 0 && i < count; i++) {
        struct tarn_page_id id = tarn_page_id(survivor->file, first + i);
        done = tarn_mtr_write(session, id, WAIT_MS, &page);
        if (done >= 0) {
            check_page(survivor, page.data, first + i);
            operation_fill(page.data, first + i, sequence);
        }
    }
    if (done >= 0)
        done = commits ? tarn_mtr_commit(session, 0) : tarn_mtr_abort(session);
    for (unsigned i = 0; done >= 0 && commits && i < count; i++)
        survivor->sequence[first + i] = sequence;
    return done;
}

void survivor_work(struct survivor *survivor, unsigned rounds)
{
    struct tarn_session_options patience = {
        .size = sizeof patience, .wait_ms = WAIT_MS, .frame_wait_ms = WAIT_MS};
    struct tarn_message message = {""};
    struct tarn_session *session = NULL;
    int done = tarn_session_open(survivor->pool, &patience, &session);
    for (unsigned i = 0; done >= 0 && i < rounds; i++)
        done =
            survivor_draw(2) == 0 ? read_pages(survivor, session) : change_pages(survivor, session);
    bool destroyed = tarn_load_acquire(&survivor->pool->view.control->life) == LIFE_DESTROYED;
    if (done < 0 && !(destroyed && done == -ESHUTDOWN)) {
        tarn_pool_message(survivor->pool, &message);
        violated("%s: %d: %s", survivor->where, done,
                 session == NULL ? message.text : tarn_session_message(session));
    }
    tarn_session_close(session);
}
