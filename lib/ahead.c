/* SPDX-License-Identifier: MIT */
/* Reads ahead: many pages in flight, on a ring of the session's own, into private memory.
 *
 * A frame is claimed and entered before its read begins, as for every read; its bytes are copied
 * when the read is done, since what a ring has in flight outlives a process, and a frame would be
 * another page's by then. A frame that is read ahead without anybody waiting is revocable: whoever
 * wants the page, or the frame, takes it away. So a session that is stopped, or does something
 * else, holds up nobody.
 */
#include <stdlib.h>
#include <string.h>

#include "lib/internal.h"
#include "lib/io/io.h"

#define AHEAD_MAX 32u
#define FILES_MAX 16u

struct read_ahead {
    bool used, revocable;
    struct tarn_page_id id;
    uint32_t frame;
    unsigned claim, file;
    uint64_t generation;
};

struct tarn_ahead {
    struct tarn_io *io; /* NULL: io_uring is refused; then nothing is read ahead */
    uint8_t *buffers;
    bool failed;
    unsigned in_flight;
    struct read_ahead read[AHEAD_MAX];
    struct {
        uint32_t id; /* of the pool */
        uint64_t incarnation;
        unsigned in_flight;
    } file[FILES_MAX];
};

static struct tarn_ahead *ahead_of(struct tarn_session *session)
{
    if (session->ahead != NULL)
        return session->ahead;
    struct tarn_ahead *ahead = calloc(1, sizeof *ahead);
    if (ahead == NULL)
        return NULL;
    size_t bytes = (size_t)AHEAD_MAX * session->view.geometry.page_bytes;
    ahead->buffers = aligned_alloc(4096, bytes);
    struct tarn_io_options options = {
        .backend = TARN_IO_URING, .depth = AHEAD_MAX, .file_count = FILES_MAX};
    if (ahead->buffers != NULL && tarn_io_open(&options, &ahead->io) < 0)
        ahead->io = NULL;
    session->ahead = ahead;
    return ahead;
}

/* The ring's number for a file, or FILES_MAX: all numbers are in use. */
static unsigned file_number(struct tarn_session *session, struct tarn_ahead *ahead, uint32_t id)
{
    uint64_t incarnation = file_word_incarnation(tarn_load_acquire(&session->view.files[id].word));
    unsigned idle = FILES_MAX;
    for (unsigned i = 0; i < FILES_MAX; i++) {
        if (ahead->file[i].id == id && ahead->file[i].incarnation == incarnation)
            return i;
        if (ahead->file[i].in_flight == 0 && (idle == FILES_MAX || ahead->file[i].id == 0))
            idle = i;
    }
    int fd = idle < FILES_MAX ? tarn_file_fd(session, id) : -1;
    if (fd < 0 || tarn_io_set_file(ahead->io, idle, fd) < 0)
        return FILES_MAX;
    ahead->file[idle].id = id;
    ahead->file[idle].incarnation = incarnation;
    return idle;
}

/* The read's frame becomes wholly this session's again; false: it was taken away. */
static bool keep(struct tarn_session *session, const struct read_ahead *read)
{
    tarn_word *frame_word = &session->view.descriptors[read->frame].frame_word;
    for (;;) {
        uint64_t seen = tarn_load_acquire(frame_word);
        if (!frame_word_is(seen, FRAME_CLAIMED, session->slot) ||
            frame_word_generation(seen) != read->generation)
            return false;
        if ((seen & FRAME_REVOCABLE) == 0 ||
            tarn_cas_full(frame_word, seen, seen & ~FRAME_REVOCABLE))
            return true;
    }
}

static void complete(struct tarn_session *session, unsigned i, int64_t result)
{
    struct tarn_ahead *ahead = session->ahead;
    struct read_ahead *read = &ahead->read[i];
    uint32_t page_bytes = session->view.geometry.page_bytes;
    read->used = false;
    ahead->in_flight--;
    ahead->file[read->file].in_flight--;
    if (!keep(session, read)) {
        tarn_claim_end(session, read->claim);
        return;
    }
    if (result != page_bytes) {
        /* Whoever wants the page reads it again, and gets the error with its words. */
        tarn_frame_unclaim(session, read->frame, read->claim);
        return;
    }
    memcpy(tarn_view_frame(&session->view, read->frame), ahead->buffers + (size_t)i * page_bytes,
           page_bytes);
    tarn_half_store_relaxed(&session->view.descriptors[read->frame].hint, HINT_LOADED);
    tarn_frame_publish(session, read->frame, read->claim);
    tarn_frame_loaded(session);
    tarn_counter(session, COUNTER_READS, 1);
    tarn_fetch_add_full(&session->view.files[tarn_page_file(read->id)].reads, 1);
}

/* The ring has failed. What it may still do goes to private memory: the frames are given back, and
 * nothing is read ahead by this session any more. */
static void give_up(struct tarn_session *session)
{
    struct tarn_ahead *ahead = session->ahead;
    ahead->failed = true;
    for (unsigned i = 0; i < AHEAD_MAX; i++)
        if (ahead->read[i].used)
            complete(session, i, -EIO);
}

/* Takes what is complete; waits for at least one if `wait`. False: the ring failed. */
static bool take_completions(struct tarn_session *session, bool wait)
{
    struct tarn_io_completion done[AHEAD_MAX];
    int count = tarn_io_wait(session->ahead->io, wait ? NS_PER_MS * 1000 : 0, done, AHEAD_MAX);
    for (int i = 0; i < count; i++)
        complete(session, (unsigned)done[i].id, done[i].result);
    if (count < 0)
        give_up(session);
    return count >= 0;
}

static bool is_reading(const struct tarn_ahead *ahead, uint64_t page_id)
{
    for (unsigned i = 0; i < AHEAD_MAX; i++)
        if (ahead->read[i].used && ahead->read[i].id.value == page_id)
            return true;
    return false;
}

void tarn_ahead_harvest(struct tarn_session *session, uint64_t page_id)
{
    struct tarn_ahead *ahead = session->ahead;
    if (ahead->in_flight == 0)
        return;
    int cancel_state;
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel_state);
    bool works = take_completions(session, false);
    while (works && page_id != 0 && is_reading(ahead, page_id))
        works = take_completions(session, true);
    pthread_setcancelstate(cancel_state, NULL);
}

/* CLAIMED -> CLAIMED and revocable: only once the frame stands in the table. */
static void make_revocable(struct tarn_session *session, uint32_t frame)
{
    tarn_word *frame_word = &session->view.descriptors[frame].frame_word;
    for (;;) { /* bounded: only a waiter's bit gets in between */
        uint64_t seen = tarn_load_acquire(frame_word);
        if (tarn_cas_full(frame_word, seen, seen | FRAME_REVOCABLE))
            return;
    }
}

/* Begins one read. 1: begun; 0: not this one; -1: no room for more. */
static int begin_read(struct tarn_session *session, struct tarn_page_id id, bool revocable)
{
    struct tarn_ahead *ahead = session->ahead;
    const struct tarn_view *view = &session->view;
    uint64_t word;
    uint32_t file = tarn_page_file(id);
    if (file == 0 || file > view->geometry.file_count ||
        tarn_page_number(id) >= tarn_load_acquire(&view->files[file].page_count) ||
        tarn_table_find(view, id.value, &word) != TARN_NO_FRAME)
        return 0;
    struct read_ahead read = {.used = true, .revocable = revocable, .id = id};
    if (tarn_frame_claim(session, &read.frame, &read.claim) < 0)
        return -1;
    /* The descriptor is chosen once the page is entered: from then on the file is not dropped, and
     * its id not given to another, before the frame has left the table. */
    if (tarn_fetch_enter(session, id, read.frame, 0) < 0 ||
        (read.file = file_number(session, ahead, file)) == FILES_MAX) {
        tarn_frame_unclaim(session, read.frame, read.claim);
        return 0;
    }
    read.generation =
        frame_word_generation(tarn_load_relaxed(&view->descriptors[read.frame].frame_word));
    if (revocable)
        make_revocable(session, read.frame);
    unsigned i = 0;
    while (ahead->read[i].used)
        i++;
    uint32_t page_bytes = view->geometry.page_bytes;
    ahead->read[i] = read;
    ahead->in_flight++;
    ahead->file[read.file].in_flight++;
    int result = tarn_io_read(ahead->io, read.file, ahead->buffers + (size_t)i * page_bytes,
                              page_bytes, tarn_page_number(id) * page_bytes, i);
    if (result < 0) {
        complete(session, i, result);
        return 0;
    }
    tarn_counter(session, COUNTER_PREFETCHES, revocable);
    return 1;
}

static bool waits_for_any(const struct tarn_ahead *ahead)
{
    for (unsigned i = 0; i < AHEAD_MAX; i++)
        if (ahead->read[i].used && !ahead->read[i].revocable)
            return true;
    return false;
}

unsigned tarn_ahead_read(struct tarn_session *session, const struct tarn_page_id *ids,
                         unsigned count, bool revocable)
{
    struct tarn_ahead *ahead = ahead_of(session);
    if (ahead == NULL || ahead->io == NULL || ahead->failed)
        return 0;
    int cancel_state;
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel_state);
    bool works = ahead->in_flight == 0 || take_completions(session, false);
    unsigned begun = 0;
    for (unsigned i = 0; works && i < count; i++) {
        while (works && ahead->in_flight == AHEAD_MAX && !revocable)
            works = take_completions(session, true);
        if (!works || ahead->in_flight == AHEAD_MAX)
            break;
        int result = begin_read(session, ids[i], revocable);
        if (result < 0)
            break;
        begun += (unsigned)result;
    }
    if (works && begun != 0 && tarn_io_submit(ahead->io) < 0) {
        give_up(session);
        works = false;
    }
    while (works && waits_for_any(ahead))
        works = take_completions(session, true);
    pthread_setcancelstate(cancel_state, NULL);
    return begun;
}

void tarn_ahead_close_in_child(struct tarn_session *session)
{
    if (session->ahead != NULL && session->ahead->io != NULL) {
        tarn_io_close_in_child(session->ahead->io);
        session->ahead->io = NULL;
    }
}

void tarn_ahead_free(struct tarn_session *session)
{
    struct tarn_ahead *ahead = session->ahead;
    if (ahead == NULL)
        return;
    session->ahead = NULL;
    tarn_io_close(ahead->io);
    free(ahead->buffers);
    free(ahead);
}
