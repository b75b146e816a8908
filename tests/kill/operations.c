/* SPDX-License-Identifier: MIT */
#include "tests/kill/operations.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/directory.h"
#include "lib/internal.h"
#include "lib/writer/writer.h"

#define WORDS (OPERATION_PAGE_BYTES / 8)

enum { WAIT_MS = 1000, FRAME_WAIT_MS = 100, SHORT_WAIT_MS = 3, DEPTH = 4 };

/* What an actor has beside pins, for operation_rest(). */
enum { HAS_LATCH = 1, HAS_CLAIM = 2, HAS_EVICTING = 4 };

/* Pages. The words that a change by ranges changes; all others stay as the last whole one left
 * them, whose number the third word has. The sums are cheap, so that many pages can be checked. */

static const unsigned range_words[] = {1, 70, 71, 255, 300, 511};
enum { RANGES = sizeof range_words / sizeof range_words[0] };

static uint64_t base_of(uint64_t number, uint64_t sequence)
{
    uint64_t z = number * 0x9e3779b97f4a7c15u + sequence * 0xbf58476d1ce4e5b9u;

    return (z ^ (z >> 29)) * 0x94d049bb133111ebu;
}

static uint64_t word_of(uint64_t base, unsigned place)
{
    return base + place * 0xd6e8feb86659fd93u;
}

void operation_fill(void *page, uint64_t number, uint64_t sequence)
{
    uint64_t *words = page, base = base_of(number, sequence);

    words[0] = number;
    words[1] = words[2] = sequence;
    for (unsigned i = 3; i < WORDS; i++)
        words[i] = word_of(base, i);
}

void operation_fill_ranges(void *page, uint64_t sequence)
{
    uint64_t *words = page, base = base_of(words[0], sequence);

    words[1] = sequence;
    for (unsigned i = 1; i < RANGES; i++)
        words[range_words[i]] = word_of(base, range_words[i]);
}

/* The differences add up to those of the words that ranges change, or something is wrong. */
uint64_t operation_sequence(const void *page, uint64_t number)
{
    const uint64_t *words = page;
    uint64_t ranges = base_of(number, words[1]), whole = base_of(number, words[2]);
    unsigned different = 0, expected = 0;

    for (unsigned i = 3; i < WORDS; i++)
        different += words[i] != word_of(whole, i);
    for (unsigned i = 1; i < RANGES; i++) {
        uint64_t word = words[range_words[i]];

        if (word != word_of(ranges, range_words[i]))
            return 0;
        expected += word != word_of(whole, range_words[i]);
    }
    return words[0] == number && different == expected ? words[1] : 0;
}

/* Actors. */

static int note(struct actor *actor, int result, const char *call)
{
    const char *text = actor->session == NULL ? "" : tarn_session_message(actor->session);

    if (result < 0)
        snprintf(actor->message, sizeof actor->message, "%s: %d: %s", call, result, text);
    return result;
}

/* What may happen to anybody in a small pool that is in use. */
static bool is_excused(int result)
{
    return result == -ENOBUFS || result == -EBUSY || result == -ETIMEDOUT || result == -EDEADLK;
}

#define TRY(call)                                                                                  \
    do {                                                                                           \
        int result_ = note(actor, call, #call);                                                    \
        if (result_ < 0)                                                                           \
            return is_excused(result_) ? 1 : result_;                                              \
    } while (0)

static struct tarn_page_id id_of(const struct actor *actor, unsigned i)
{
    return tarn_page_id(actor->file, (actor->page + i) % OPERATION_PAGES);
}

/* Of calls without a handle, which say why they failed in actor->said. */
static int said(struct actor *actor, int result, const char *call)
{
    if (result < 0)
        snprintf(actor->message, sizeof actor->message, "%s: %.240s", call, actor->said.text);
    return result;
}

int operation_attach(struct actor *actor)
{
    return said(actor, tarn_attach(actor->pool_name, NULL, &actor->pool, &actor->said), "attach");
}

static int open_session(struct actor *actor)
{
    static const struct tarn_session_options options = {
        .size = sizeof options, .name = "actor", .frame_wait_ms = FRAME_WAIT_MS};

    TRY(tarn_session_open(actor->pool, &options, &actor->session));
    return 0;
}

int operation_enter(struct actor *actor)
{
    if (actor->pool == NULL)
        TRY(operation_attach(actor));
    if (actor->session == NULL)
        TRY(open_session(actor));
    if (actor->file == 0)
        TRY(tarn_file_open(actor->session, "data", 0, &actor->file));
    return 0;
}

int operation_leave(struct actor *actor)
{
    int result = tarn_detach(actor->pool);

    actor->pool = NULL;
    actor->session = NULL;
    return result;
}

static int init(struct actor *actor)
{
    const struct tarn_init_options options = {.size = sizeof options,
                                              .directory = actor->directory,
                                              .frame_bytes =
                                                  OPERATION_FRAMES * OPERATION_PAGE_BYTES,
                                              .page_bytes = OPERATION_PAGE_BYTES,
                                              .session_count = OPERATION_SESSIONS,
                                              .file_count = OPERATION_FILES};

    return said(actor, tarn_init(actor->pool_name, &options, &actor->said), "init");
}

int operation_make_pool(struct actor *actor)
{
    uint64_t page[WORDS];
    char path[256];
    int result = init(actor);

    if (result < 0)
        return result;
    snprintf(path, sizeof path, "%s/data", actor->directory);
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    for (unsigned i = 0; fd >= 0 && i < OPERATION_PAGES; i++) {
        operation_fill(page, i, 1);
        if (pwrite(fd, page, sizeof page, (off_t)(i * sizeof page)) != (ssize_t)sizeof page)
            return -errno;
    }
    return fd < 0 ? -errno : close(fd);
}

int operation_build(struct actor *actor)
{
    return said(actor, tarn_segment_build(actor->directory, actor->pool_name, NULL, &actor->said),
                "build");
}

static int open_writer(struct actor *actor)
{
    /* Both ways to durability, by a bit of what was drawn. */
    const struct tarn_writer_options options = {
        .depth = DEPTH,
        .durable = actor->page % 2 == 0 ? TARN_WRITER_DURABLE_ALWAYS : TARN_WRITER_DURABLE_NEVER};

    return tarn_writer_open(actor->pool, &options, &actor->writer);
}

int operation_serve(struct actor *actor)
{
    TRY(operation_attach(actor));
    TRY(open_writer(actor));
    int result = tarn_writer_run(actor->writer);
    tarn_writer_close(actor->writer);
    actor->writer = NULL;
    operation_leave(actor);
    return result;
}

static int abort_mtr(struct actor *actor)
{
    int result = note(actor, tarn_mtr_abort(actor->session), "abort");

    if (actor->change.state == CHANGE_BEGUN)
        actor->change.state = CHANGE_ABORTED;
    return result;
}

int operation_rest(struct actor *actor)
{
    struct tarn_session *session = actor->session;

    if (session == NULL)
        return 0;
    session->wait_ms = WAIT_MS;
    if (session->mtr_state == MTR_ACTIVE)
        TRY(abort_mtr(actor));
    if (actor->state & HAS_LATCH)
        TRY(tarn_unlatch_shared(session, actor->pin[0]));
    if (actor->state & HAS_CLAIM)
        tarn_frame_unclaim(session, actor->frame, actor->claim);
    if (actor->state & HAS_EVICTING) {
        tarn_word *frame_word = &session->view.descriptors[actor->frame].frame_word;
        uint64_t seen = tarn_load_acquire(frame_word);
        if (frame_word_is(seen, FRAME_EVICTING, session->slot))
            tarn_cas_full(frame_word, seen, frame_word_valid(seen));
        tarn_claim_end(session, actor->claim);
    }
    for (unsigned i = 0; i < actor->pin_count; i++)
        TRY(tarn_unpin(session, actor->pin[i]));
    actor->pin_count = 0;
    actor->state = 0;
    return 0;
}

int operation_drop_strays(struct actor *actor)
{
    for (uint32_t file = 1; file <= OPERATION_FILES; file++) {
        uint64_t word = tarn_load_acquire(&actor->pool->view.files[file].word);
        if (file != actor->file && file_word_state(word) == FILE_OPEN)
            TRY(tarn_file_drop(actor->session, file, 1, WAIT_MS));
    }
    return 0;
}

/* What operations begin with. */

static int nothing(struct actor *actor)
{
    (void)actor;
    return 0;
}

static int pin_next(struct actor *actor, unsigned i)
{
    TRY(tarn_pin(actor->session, id_of(actor, i), 0, &actor->pin[actor->pin_count]));
    actor->pin_count++;
    return 0;
}

static int pin_one(struct actor *actor)
{
    return pin_next(actor, 0);
}

static int unpin_all(struct actor *actor)
{
    while (actor->pin_count > 0) {
        actor->pin_count--;
        TRY(tarn_unpin(actor->session, actor->pin[actor->pin_count]));
    }
    return 0;
}

/* The first pages are in the pool, or are not. */
static int be_cached(struct actor *actor, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        if (pin_next(actor, i) != 0)
            return operation_rest(actor) < 0 ? -EIO : 1;
    return unpin_all(actor);
}

static uint32_t frame_of(const struct actor *actor, unsigned i, uint64_t *ret_word)
{
    return tarn_table_find(&actor->session->view, id_of(actor, i).value, ret_word);
}

static int be_missing(struct actor *actor, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        uint64_t word;
        uint32_t frame = frame_of(actor, i, &word);
        if (frame != TARN_NO_FRAME &&
            (frame_word_state(word) != FRAME_VALID || !tarn_frame_evict(actor->session, frame)))
            return 1;
    }
    return 0;
}

static int one_cached(struct actor *actor)
{
    return be_cached(actor, 1);
}

static int three_cached(struct actor *actor)
{
    return be_cached(actor, 3);
}

static int one_missing(struct actor *actor)
{
    return be_missing(actor, 1);
}

static int three_missing(struct actor *actor)
{
    return be_missing(actor, 3);
}

/* Mini-transactions. */

enum { WHOLE, RANGES_ONLY, RANGES_THEN_WHOLE, LOCKED_THEN_WHOLE, NEW, IF_UNCHANGED };

static void begin_change(struct actor *actor, unsigned count)
{
    actor->change =
        (struct change){.state = CHANGE_BEGUN, .page_count = count, .sequence = actor->sequence};
    for (unsigned i = 0; i < count; i++)
        actor->change.page[i] = tarn_page_number(id_of(actor, i));
}

static int declare_ranges(struct actor *actor, struct tarn_page_id id,
                          struct tarn_writable_page *ret_page)
{
    for (unsigned i = 0; i < RANGES; i++)
        TRY(tarn_mtr_write_range(actor->session, id, range_words[i] * 8, 8, WAIT_MS, ret_page));
    return 0;
}

static int change_page(struct actor *actor, unsigned i, int how)
{
    struct tarn_session *session = actor->session;
    struct tarn_page_id id = id_of(actor, i);
    struct tarn_writable_page page;
    struct tarn_locked_page locked;
    struct tarn_optimistic optimistic;

    switch (how) {
    case RANGES_ONLY:
    case RANGES_THEN_WHOLE:
        if (declare_ranges(actor, id, &page) != 0)
            return 1;
        operation_fill_ranges(page.data, actor->sequence);
        if (how == RANGES_ONLY)
            return 0;
        TRY(tarn_mtr_write(session, id, WAIT_MS, &page));
        break;
    case LOCKED_THEN_WHOLE:
        TRY(tarn_mtr_lock(session, id, WAIT_MS, &locked));
        TRY(tarn_mtr_write(session, id, WAIT_MS, &page));
        break;
    case NEW:
        TRY(tarn_mtr_new(session, id, WAIT_MS, &page));
        break;
    case IF_UNCHANGED:
        TRY(tarn_optimistic_begin(session, id, &optimistic));
        int result = tarn_mtr_write_if(session, &optimistic, WAIT_MS, &page);
        if (result == -EAGAIN)
            return 1;
        TRY(result);
        break;
    default:
        TRY(tarn_mtr_write(session, id, WAIT_MS, &page));
    }
    operation_fill(page.data, tarn_page_number(id), actor->sequence);
    return 0;
}

/* Begins, and changes the pages; 1: it was excused, and aborted. */
static int begin_mtr(struct actor *actor, unsigned count, int how)
{
    begin_change(actor, count);
    int result = tarn_mtr_begin(actor->session, count);
    if (result < 0) {
        actor->change.state = CHANGE_ABORTED;
        TRY(result);
    }
    for (unsigned i = 0; i < count; i++) {
        result = change_page(actor, i, how);
        if (result != 0) {
            TRY(abort_mtr(actor));
            return result;
        }
    }
    return 0;
}

/* 1: it is committed, and asked to be durable, and was not in time. */
static int commit(struct actor *actor, unsigned flags)
{
    int result = tarn_mtr_commit(actor->session, flags);

    actor->change.state = result < 0 ? CHANGE_ABORTED : CHANGE_COMMITTED;
    TRY(result);
    return flags & TARN_COMMIT_FLUSH ? result : 0;
}

static int change_pages(struct actor *actor, unsigned count, int how)
{
    int result = begin_mtr(actor, count, how);

    return result != 0 ? result : commit(actor, 0);
}

static int change_and_abort(struct actor *actor, unsigned count, int how)
{
    int result = begin_mtr(actor, count, how);

    return result != 0 ? result : abort_mtr(actor);
}

#define MTR(name, what, count, how)                                                                \
    static int name(struct actor *actor)                                                           \
    {                                                                                              \
        return what(actor, count, how);                                                            \
    }
MTR(mtr_1, change_pages, 1, WHOLE)
MTR(mtr_3, change_pages, 3, WHOLE)
MTR(mtr_16, change_pages, 16, WHOLE)
MTR(mtr_abort_1, change_and_abort, 1, WHOLE)
MTR(mtr_abort_3, change_and_abort, 3, LOCKED_THEN_WHOLE)
MTR(mtr_ranges_1, change_pages, 1, RANGES_ONLY)
MTR(mtr_ranges_3, change_pages, 3, RANGES_ONLY)
MTR(mtr_ranges_abort, change_and_abort, 2, RANGES_ONLY)
MTR(mtr_ranges_whole, change_pages, 2, RANGES_THEN_WHOLE)
MTR(mtr_ranges_whole_abort, change_and_abort, 1, RANGES_THEN_WHOLE)
MTR(mtr_new, change_pages, 2, NEW)
MTR(mtr_new_abort, change_and_abort, 2, NEW)
MTR(mtr_if, change_pages, 2, IF_UNCHANGED)

/* Changes two pages of which it takes the second first, gives it back, and takes it again. */
static int mtr_release(struct actor *actor)
{
    struct tarn_locked_page locked;

    begin_change(actor, 2);
    int result = tarn_mtr_begin(actor->session, 3);
    if (result < 0)
        actor->change.state = CHANGE_ABORTED;
    TRY(result);
    result = tarn_mtr_lock(actor->session, id_of(actor, 1), WAIT_MS, &locked);
    if (result == 0)
        result = tarn_mtr_release(actor->session, id_of(actor, 1));
    if (result == 0)
        result = tarn_mtr_lock(actor->session, id_of(actor, 2), WAIT_MS, &locked);
    for (unsigned i = 0; result == 0 && i < 2; i++)
        result = change_page(actor, i, WHOLE);
    if (result == 0)
        return commit(actor, 0);
    TRY(abort_mtr(actor));
    TRY(result);
    return result;
}

static int mtr_flush(struct actor *actor)
{
    int result = begin_mtr(actor, 2, WHOLE);

    return result != 0 ? result : commit(actor, TARN_COMMIT_FLUSH);
}

/* Sessions and handles. */

static int attach(struct actor *actor)
{
    return operation_attach(actor);
}

static int detach(struct actor *actor)
{
    return actor->pool == NULL ? 0 : operation_leave(actor);
}

static int prepare_detach(struct actor *actor)
{
    TRY(operation_attach(actor));
    return open_session(actor);
}

/* With pins, and pages changed and not committed. */
static int prepare_detach_busy(struct actor *actor)
{
    int result = prepare_detach(actor);

    if (result == 0)
        result = pin_next(actor, 3);
    return result != 0 ? result : begin_mtr(actor, 2, WHOLE);
}

static int finish_detach(struct actor *actor)
{
    actor->pin_count = 0;
    return detach(actor);
}

static int detach_busy(struct actor *actor)
{
    TRY(operation_leave(actor));
    actor->change.state = CHANGE_ABORTED;
    return 0;
}

static int close_session(struct actor *actor)
{
    struct tarn_session *session = actor->session;

    actor->session = NULL;
    actor->pin_count = 0;
    TRY(tarn_session_close(session));
    return 0;
}

static int prepare_close_busy(struct actor *actor)
{
    int result = open_session(actor);

    if (result == 0)
        result = pin_next(actor, 4);
    return result != 0 ? result : begin_mtr(actor, 3, RANGES_ONLY);
}

static int close_busy(struct actor *actor)
{
    TRY(close_session(actor));
    actor->change.state = CHANGE_ABORTED;
    return 0;
}

static int finish_session(struct actor *actor)
{
    return actor->session == NULL ? 0 : close_session(actor);
}

/* Files. */

static int open_file(struct actor *actor, unsigned flags)
{
    char name[64];

    snprintf(name, sizeof name, "own-%llu", (unsigned long long)actor->sequence);
    TRY(tarn_file_open(actor->session, name, flags, &actor->own_file));
    return 0;
}

static int file_open_new(struct actor *actor)
{
    return open_file(actor, TARN_FILE_CREATE);
}

static int file_open_temporary(struct actor *actor)
{
    return open_file(actor, TARN_FILE_TEMPORARY);
}

static int file_open_existing(struct actor *actor)
{
    uint32_t file;

    TRY(tarn_file_open(actor->session, "data", 0, &file));
    return file == actor->file ? 0 : note(actor, -EIO, "the data file has another id");
}

static int file_drop(struct actor *actor)
{
    if (actor->own_file == 0)
        return 0;
    TRY(tarn_file_drop(actor->session, actor->own_file, 1, WAIT_MS));
    actor->own_file = 0;
    return 0;
}

static int file_extend(struct actor *actor)
{
    TRY(tarn_file_extend(actor->session, actor->own_file, 9));
    return 0;
}

static int file_truncate(struct actor *actor)
{
    TRY(tarn_file_truncate(actor->session, actor->own_file, 1, WAIT_MS));
    return 0;
}

/* Of the file that is dropped later, and of the one that all work with. */
static int file_share(struct actor *actor)
{
    TRY(tarn_file_set_share(actor->session, actor->own_file, 1));
    TRY(tarn_file_set_share(actor->session, actor->file, actor->page % 2 ? 6 : 0));
    return 0;
}

/* A file of some pages, of which two are changed and one is in the pool. */
static int prepare_file(struct actor *actor)
{
    struct tarn_writable_page page;
    struct tarn_pin pin;

    int result = file_open_new(actor);
    if (result != 0)
        return result;
    TRY(tarn_file_extend(actor->session, actor->own_file, 5));
    TRY(tarn_pin(actor->session, tarn_page_id(actor->own_file, 4), 0, &pin));
    TRY(tarn_unpin(actor->session, pin));
    if (tarn_mtr_begin(actor->session, 2) < 0)
        return 0;
    for (unsigned i = 1; i <= 2; i++)
        if (tarn_mtr_write(actor->session, tarn_page_id(actor->own_file, i), WAIT_MS, &page) == 0)
            operation_fill(page.data, i, actor->sequence);
    if (tarn_mtr_commit(actor->session, 0) < 0)
        TRY(tarn_mtr_abort(actor->session));
    return 0;
}

static int finish_file(struct actor *actor)
{
    TRY(operation_rest(actor));
    return file_drop(actor);
}

/* Pins, latches, reads. */

static int pin_many(struct actor *actor)
{
    struct tarn_page_id ids[3];

    for (unsigned i = 0; i < 3; i++)
        ids[i] = id_of(actor, i);
    TRY(tarn_pin_many(actor->session, ids, 3, 0, actor->pin));
    actor->pin_count = 3;
    return 0;
}

static int prefetch(struct actor *actor)
{
    struct tarn_page_id ids[3];

    for (unsigned i = 0; i < 3; i++)
        ids[i] = id_of(actor, i);
    TRY(tarn_prefetch(actor->session, ids, 3));
    return pin_next(actor, 1);
}

static int pin_sequential(struct actor *actor)
{
    TRY(tarn_pin(actor->session, id_of(actor, 0), TARN_HINT_SEQUENTIAL, &actor->pin[0]));
    actor->pin_count = 1;
    return pin_next(actor, 2);
}

/* A new session, since only one without reads in flight is at rest. */
static int prepare_ahead(struct actor *actor)
{
    int result = open_session(actor);

    return result != 0 ? result : be_missing(actor, 3);
}

static int latch_shared(struct actor *actor)
{
    TRY(tarn_latch_shared(actor->session, actor->pin[0], WAIT_MS));
    actor->state |= HAS_LATCH;
    return 0;
}

static int prepare_latched(struct actor *actor)
{
    int result = pin_one(actor);

    return result != 0 ? result : latch_shared(actor);
}

static int unlatch_shared(struct actor *actor)
{
    actor->state &= ~(unsigned)HAS_LATCH;
    TRY(tarn_unlatch_shared(actor->session, actor->pin[0]));
    return 0;
}

static int optimistic(struct actor *actor)
{
    struct tarn_optimistic optimistic;

    TRY(tarn_optimistic_begin(actor->session, id_of(actor, 0), &optimistic));
    tarn_optimistic_valid(actor->session, &optimistic);
    return 0;
}

static int page_copy(struct actor *actor)
{
    uint64_t copy[WORDS];

    TRY(tarn_page_copy(actor->session, id_of(actor, 0), 0, sizeof copy, copy));
    if (operation_sequence(copy, tarn_page_number(id_of(actor, 0))) == 0)
        return note(actor, -EIO, "a copy of half a change");
    return 0;
}

/* Against a neighbour that stands in the middle of something. */

/* It has claimed the page's frame, and reads. */
static int prepare_join(struct actor *actor)
{
    struct actor *other = actor->other;

    if (be_missing(actor, 1) != 0 ||
        tarn_frame_claim(other->session, &other->frame, &other->claim) < 0)
        return 1;
    if (tarn_fetch_enter(other->session, id_of(actor, 0), other->frame, 0) < 0) {
        tarn_frame_unclaim(other->session, other->frame, other->claim);
        return 1;
    }
    other->state |= HAS_CLAIM;
    actor->session->wait_ms = SHORT_WAIT_MS;
    return 0;
}

/* It has read the page ahead, and not looked since. */
static int prepare_revoke(struct actor *actor)
{
    int result = prepare_join(actor);

    if (result != 0)
        return result;
    struct actor *other = actor->other;
    tarn_word *frame_word = &other->session->view.descriptors[other->frame].frame_word;
    tarn_cas_full(frame_word, tarn_load_acquire(frame_word),
                  tarn_load_acquire(frame_word) | FRAME_REVOCABLE);
    return 0;
}

/* It is about to evict the page. */
static int prepare_rescue(struct actor *actor)
{
    struct actor *other = actor->other;
    uint64_t word;
    int result = be_cached(actor, 1);

    if (result != 0)
        return result;
    other->frame = frame_of(actor, 0, &word);
    if (other->frame == TARN_NO_FRAME || frame_word_state(word) != FRAME_VALID)
        return 1;
    other->claim = tarn_claim_place(other->session);
    tarn_half_store_relaxed(&other->session->shared->claim[other->claim], other->frame + 1);
    if (!order_evicting_before_holds(&other->session->view.descriptors[other->frame].frame_word,
                                     word, other->session->slot)) {
        tarn_claim_end(other->session, other->claim);
        return 1;
    }
    other->state |= HAS_EVICTING;
    return 0;
}

/* It has the page exclusively. */
static int prepare_wait(struct actor *actor)
{
    struct actor *other = actor->other;
    struct tarn_locked_page locked;
    int result = be_cached(actor, 1);

    if (result == 0)
        result = pin_one(actor);
    if (result != 0)
        return result;
    if (tarn_mtr_begin(other->session, 1) < 0)
        return 1;
    if (tarn_mtr_lock(other->session, id_of(actor, 0), 0, &locked) < 0)
        return 1;
    return 0;
}

static int latch_wait(struct actor *actor)
{
    int result = tarn_latch_shared(actor->session, actor->pin[0], SHORT_WAIT_MS);

    return result == -ETIMEDOUT ? 0
                                : note(actor, result == 0 ? -EIO : result, "latch that is held");
}

/* It shares the page. */
static int prepare_drain(struct actor *actor)
{
    struct actor *other = actor->other;
    int result = be_cached(actor, 1);

    if (result != 0)
        return result;
    if (tarn_pin(other->session, id_of(actor, 0), 0, &other->pin[0]) < 0)
        return 1;
    other->pin_count = 1;
    if (tarn_latch_shared(other->session, other->pin[0], 0) < 0)
        return 1;
    other->state |= HAS_LATCH;
    return 0;
}

static int drain(struct actor *actor)
{
    struct tarn_locked_page locked;

    TRY(tarn_mtr_begin(actor->session, 1));
    int result = tarn_mtr_lock(actor->session, id_of(actor, 0), SHORT_WAIT_MS, &locked);
    return result == -ETIMEDOUT ? 0
                                : note(actor, result == 0 ? -EIO : result, "latch that is shared");
}

/* Frames and the table. */

static int evict(struct actor *actor)
{
    tarn_frames_evict(actor->session, 6, 2 * OPERATION_FRAMES);
    return 0;
}

static int evict_one(struct actor *actor)
{
    uint64_t word;
    uint32_t frame = frame_of(actor, 0, &word);

    if (frame != TARN_NO_FRAME)
        tarn_frame_evict(actor->session, frame);
    return 0;
}

/* A frame entered for a page that is not there, and given back. */
static int table_insert(struct actor *actor)
{
    struct tarn_session *session = actor->session;
    uint32_t frame;
    unsigned claim;

    if (tarn_frame_claim(session, &frame, &claim) < 0)
        return 1;
    int result = tarn_fetch_enter(session, id_of(actor, 0), frame, WAIT_MS);
    tarn_frame_unclaim(session, frame, claim);
    if (result == -EEXIST)
        return 1;
    TRY(result);
    return 0;
}

static int home_tidy(struct actor *actor)
{
    const struct tarn_view *view = &actor->session->view;

    for (unsigned i = 0; i < 3; i++)
        tarn_home_tidy(actor->session, tarn_home_of(view, id_of(actor, 8 * i).value).bucket);
    return 0;
}

/* The writer. */

static int flush_page(struct actor *actor)
{
    TRY(tarn_flush_page(actor->session, id_of(actor, 0)));
    return 0;
}

static int flush_file(struct actor *actor)
{
    TRY(tarn_flush_file(actor->session, actor->file));
    return 0;
}

static int flush_all(struct actor *actor)
{
    TRY(tarn_flush_all(actor->session));
    return 0;
}

/* A writer that ends at once: takes over, does what it is asked for, flushes everything. */
static int writer_life(struct actor *actor)
{
    TRY(open_writer(actor));
    tarn_writer_stop(actor->writer);
    TRY(tarn_writer_run(actor->writer));
    tarn_writer_close(actor->writer);
    actor->writer = NULL;
    return 0;
}

/* A writer that goes on. */
static int writer_work(struct actor *actor)
{
    TRY(open_writer(actor));
    TRY(tarn_writer_run(actor->writer));
    return 0;
}

static int finish_writer(struct actor *actor)
{
    tarn_writer_close(actor->writer);
    actor->writer = NULL;
    return 0;
}

/* Settings. Whatever is left of it keeps the rules. */

static int set(struct actor *actor)
{
    static const char *const assignments[] = {"free_frames_low=1", "free_frames_high=2",
                                              "dirty_frames_low=20%", "dirty_frames_high=30%"};
    static const char *const defaults[] = {"dirty_frames_high=default", "free_frames_low=default",
                                           "dirty_frames_low=default", "free_frames_high=default"};

    TRY(tarn_pool_set(actor->pool, actor->page % 2 ? assignments : defaults, 4));
    return 0;
}

/* The whole pool. */

static int destroy(struct actor *actor)
{
    return said(actor, tarn_destroy(actor->pool_name, NULL, 0, &actor->said), "destroy");
}

static int destroy_force(struct actor *actor)
{
    return said(actor, tarn_destroy(actor->pool_name, NULL, TARN_DESTROY_FORCE, &actor->said),
                "destroy");
}

const struct operation operations[] = {
    {"attach", OPERATION_NO_POOL, nothing, attach, detach},
    {"detach", OPERATION_NO_POOL, prepare_detach, detach, nothing},
    {"detach-busy", OPERATION_NO_POOL | OPERATION_CHANGES, prepare_detach_busy, detach_busy,
     finish_detach},
    {"session-open", OPERATION_NO_SESSION, nothing, open_session, finish_session},
    {"session-close", OPERATION_NO_SESSION, open_session, close_session, nothing},
    {"session-close-busy", OPERATION_NO_SESSION | OPERATION_CHANGES, prepare_close_busy, close_busy,
     nothing},
    {"file-open-new", OPERATION_ASKS | OPERATION_FILE, nothing, file_open_new, finish_file},
    {"file-open-existing", OPERATION_ASKS, nothing, file_open_existing, operation_rest},
    {"file-open-temporary", OPERATION_ASKS | OPERATION_FILE, nothing, file_open_temporary,
     finish_file},
    {"file-extend", OPERATION_ASKS | OPERATION_FILE, prepare_file, file_extend, finish_file},
    {"file-truncate", OPERATION_ASKS | OPERATION_FILE, prepare_file, file_truncate, finish_file},
    {"file-drop", OPERATION_ASKS | OPERATION_FILE, prepare_file, file_drop, finish_file},
    {"file-share", OPERATION_ASKS | OPERATION_FILE, prepare_file, file_share, finish_file},
    {"pin-hit", 0, one_cached, pin_one, operation_rest},
    {"pin-miss", 0, one_missing, pin_one, operation_rest},
    {"pin-join", OPERATION_OTHER, prepare_join, pin_one, operation_rest},
    {"pin-revoke", OPERATION_OTHER, prepare_revoke, pin_one, operation_rest},
    {"pin-rescue", OPERATION_OTHER, prepare_rescue, pin_one, operation_rest},
    {"pin-many-cached", 0, three_cached, pin_many, operation_rest},
    {"pin-many-missing", OPERATION_NO_SESSION, prepare_ahead, pin_many, finish_session},
    {"unpin", 0, pin_one, unpin_all, operation_rest},
    {"prefetch", OPERATION_NO_SESSION, prepare_ahead, prefetch, finish_session},
    {"pin-sequential", OPERATION_NO_SESSION, prepare_ahead, pin_sequential, finish_session},
    {"latch-shared", 0, pin_one, latch_shared, operation_rest},
    {"latch-shared-wait", OPERATION_OTHER, prepare_wait, latch_wait, operation_rest},
    {"unlatch-shared", 0, prepare_latched, unlatch_shared, operation_rest},
    {"latch-exclusive-drain", OPERATION_OTHER, prepare_drain, drain, operation_rest},
    {"optimistic", 0, one_cached, optimistic, operation_rest},
    {"page-copy", 0, one_cached, page_copy, operation_rest},
    {"page-copy-missing", 0, one_missing, page_copy, operation_rest},
    {"mtr-1", OPERATION_CHANGES, one_cached, mtr_1, operation_rest},
    {"mtr-1-missing", OPERATION_CHANGES, one_missing, mtr_1, operation_rest},
    {"mtr-3", OPERATION_CHANGES, three_cached, mtr_3, operation_rest},
    {"mtr-16", OPERATION_CHANGES, nothing, mtr_16, operation_rest},
    {"mtr-abort-1", OPERATION_CHANGES, one_cached, mtr_abort_1, operation_rest},
    {"mtr-abort-3", OPERATION_CHANGES, three_cached, mtr_abort_3, operation_rest},
    {"mtr-release", OPERATION_CHANGES, three_cached, mtr_release, operation_rest},
    {"mtr-ranges-1", OPERATION_CHANGES, one_cached, mtr_ranges_1, operation_rest},
    {"mtr-ranges-3", OPERATION_CHANGES, three_cached, mtr_ranges_3, operation_rest},
    {"mtr-ranges-abort", OPERATION_CHANGES, three_cached, mtr_ranges_abort, operation_rest},
    {"mtr-ranges-whole", OPERATION_CHANGES, three_cached, mtr_ranges_whole, operation_rest},
    {"mtr-ranges-whole-abort", OPERATION_CHANGES, one_cached, mtr_ranges_whole_abort,
     operation_rest},
    {"mtr-new", OPERATION_CHANGES, three_missing, mtr_new, operation_rest},
    {"mtr-new-cached", OPERATION_CHANGES, three_cached, mtr_new, operation_rest},
    {"mtr-new-abort", OPERATION_CHANGES, three_missing, mtr_new_abort, operation_rest},
    {"mtr-if", OPERATION_CHANGES, three_cached, mtr_if, operation_rest},
    {"mtr-flush", OPERATION_CHANGES | OPERATION_ASKS, three_cached, mtr_flush, operation_rest},
    {"evict", 0, nothing, evict, operation_rest},
    {"evict-one", 0, one_cached, evict_one, operation_rest},
    {"table-insert", 0, one_missing, table_insert, operation_rest},
    {"home-tidy", 0, nothing, home_tidy, operation_rest},
    {"flush-page", OPERATION_CHANGES | OPERATION_ASKS, mtr_1, flush_page, operation_rest},
    {"flush-file", OPERATION_CHANGES | OPERATION_ASKS, mtr_3, flush_file, operation_rest},
    {"flush-all", OPERATION_CHANGES | OPERATION_ASKS, mtr_3, flush_all, operation_rest},
    {"set", 0, nothing, set, nothing},
    {"writer-life", OPERATION_NO_SESSION | OPERATION_WRITES, nothing, writer_life, finish_writer},
    {"writer-work", OPERATION_NO_SESSION | OPERATION_WRITES, nothing, writer_work, finish_writer},
    {"init", OPERATION_NO_POOL | OPERATION_BEGINS_POOL, nothing, init, nothing},
    {"destroy", OPERATION_NO_POOL | OPERATION_ENDS_POOL, nothing, destroy, nothing},
    {"destroy-force", OPERATION_NO_POOL | OPERATION_ENDS_POOL, nothing, destroy_force, nothing},
};
const unsigned operation_count = sizeof operations / sizeof operations[0];
