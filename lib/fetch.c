/* SPDX-License-Identifier: MIT */
/* Pins: the hit, and everything a miss needs. */
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "lib/hit.h"
#include "lib/internal.h"

/* Interrupted reads of one page; it bounds what would otherwise be a loop without an end. */
#define RETRY_COUNT_MAX 100u

/* Pages that a sequential miss reads ahead. */
#define SEQUENTIAL_AHEAD 8u

void tarn_hold_raise_marks(struct tarn_session *session, unsigned index)
{
    for (unsigned line = 0; line <= index / HOLD_LINE_HOLDS; line++) {
        tarn_half *mark = &tarn_view_hold_line(&session->view, session->slot, line)->mark;
        bool last = line == index / HOLD_LINE_HOLDS;
        uint32_t count = last ? index % HOLD_LINE_HOLDS + 1 : HOLD_LINE_HOLDS | HOLD_MARK_NEXT;
        tarn_half_store_release(mark, count);
    }
    session->holds_marked = index + 1;
}

/* Lowers the marks to what is in use; called where time does not matter, so that others have less
 * to search after a session had many pins once. */
static void lower_marks(struct tarn_session *session)
{
    unsigned need = session->holds_marked;
    while (need > 1 && session->pinned[need - 1] == 0)
        need--;
    if (need == session->holds_marked)
        return;
    tarn_hold_raise_marks(session, need - 1);
    if (session->hold_next >= need)
        session->hold_next = 0;
}

int tarn_hold_find(struct tarn_session *session)
{
    for (unsigned hold = 0; hold < TARN_HOLDS_MAX; hold++) {
        if (session->pinned[hold] != 0)
            continue;
        if (hold >= session->holds_marked && !PLANTED(MARK_NOT_RAISED))
            tarn_hold_raise_marks(session, hold);
        session->hold_next = hold;
        return (int)hold;
    }
    return tarn_fail(session, -EMFILE, "session %u has %u pins, the most it can have; unpin some",
                     session->slot, TARN_HOLDS_MAX);
}

void tarn_hits_publish(struct tarn_session *session)
{
    if (session->hits_from != session->hits_left)
        tarn_hits_add(session, session->hits_file, session->hits_from - session->hits_left);
    session->hits_from = session->hits_left;
}

static TARN_SLOW void begin_sample(struct tarn_session *session)
{
    tarn_hits_publish(session);
    session->hits_left = session->hits_from = TARN_SAMPLE_EVERY;
    session->hits_file = TARN_HITS_NONE;
}

static void count_miss(struct tarn_session *session, struct tarn_page_id id)
{
    tarn_hits_publish(session);
    tarn_counter(session, COUNTER_MISSES, 1);
    /* A damaged table may have a page of any file. */
    if (tarn_page_file(id) <= session->view.geometry.file_count)
        tarn_fetch_add_full(&session->view.files[tarn_page_file(id)].misses, 1);
}

/* Whoever wants a page that is on its way out takes it back. The hold is stored first; the CAS is
 * the second look. */
static bool pin_rescued(struct tarn_session *session, uint32_t frame, uint64_t word, unsigned hold)
{
    if (!PLANTED(HOLD_AFTER_RESCUE))
        tarn_half_store_release(session->hold[hold], hold_of(frame));
    if (tarn_cas_full(&session->view.descriptors[frame].frame_word, word, frame_word_valid(word))) {
        if (PLANTED(HOLD_AFTER_RESCUE))
            tarn_half_store_release(session->hold[hold], hold_of(frame));
        tarn_counter(session, COUNTER_RESCUES, 1);
        return true;
    }
    tarn_half_store_release(session->hold[hold], 0);
    return false;
}

/* The micro-lock of a home bucket. Announced first; a dead holder's is released by its reaper. */
static int lock_home(struct tarn_session *session, uint32_t bucket, int64_t wait_ms)
{
    tarn_word *lock = &session->view.home_locks[bucket];
    struct tarn_wait wait = {.session = NULL};
    int result = 0;
    if (!PLANTED(HOME_ANNOUNCED_AFTER_LOCK))
        tarn_store_relaxed(&session->shared->home_lock, (uint64_t)bucket + 1);
    for (;;) {
        uint64_t owner = tarn_load_acquire(lock); /* pairs: "home" */
        if (owner == 0 && tarn_cas_full(lock, 0, session->slot))
            break;
        if (wait.session == NULL)
            tarn_wait_begin(&wait, session, WAIT_HOME, bucket, wait_ms);
        result = tarn_wait_round(&wait, NULL, 0, 0, (unsigned)owner);
        if (result < 0)
            break;
    }
    if (PLANTED(HOME_ANNOUNCED_AFTER_LOCK))
        tarn_store_relaxed(&session->shared->home_lock, (uint64_t)bucket + 1);
    if (wait.session != NULL)
        tarn_wait_end(&wait, -1);
    if (result < 0)
        tarn_store_release(&session->shared->home_lock, 0);
    return result;
}

static void unlock_home(struct tarn_session *session, uint32_t bucket)
{
    tarn_store_release(&session->view.home_locks[bucket], 0); /* pairs: "home" */
    tarn_store_release(&session->shared->home_lock, 0);
}

void tarn_home_tidy(struct tarn_session *session, uint32_t bucket)
{
    tarn_store_relaxed(&session->shared->home_lock, (uint64_t)bucket + 1);
    if (PLANTED(TIDIED_WITHOUT_LOCK) ||
        tarn_cas_full(&session->view.home_locks[bucket], 0, session->slot)) {
        tarn_table_tidy(&session->view, bucket);
        tarn_store_release(&session->view.home_locks[bucket], 0); /* pairs: "home" */
    }
    tarn_store_release(&session->shared->home_lock, 0);
}

/* Is the page inside an open file? Asked once the frame stands in the table, so that a truncate
 * that lowers the count later finds the frame. */
static int check_page(struct tarn_session *session, struct tarn_page_id id)
{
    uint32_t file = tarn_page_file(id);
    const struct tarn_view *view = &session->view;
    if (file == 0 || file > view->geometry.file_count ||
        file_word_state(tarn_load_acquire(&view->files[file].word)) != FILE_OPEN)
        return tarn_fail(session, -ENXIO, "pool %s has no file %u; tarn_file_open() gives ids",
                         session->pool->name, file);
    uint64_t page_count = tarn_load_acquire(&view->files[file].page_count); /* pairs: "file" */
    if (tarn_page_number(id) >= page_count)
        return tarn_fail(session, -ERANGE,
                         "page %" PRIu64 " of file %u: the file has %" PRIu64 " pages",
                         tarn_page_number(id), file, page_count);
    return 0;
}

/* Every word of the probe range is live: makes room by evicting one of their frames. */
static bool make_room(struct tarn_session *session, uint32_t victim)
{
    if (victim < session->view.geometry.frame_count && tarn_frame_evict(session, victim))
        return true;
    tarn_call_cleaner(session->pool);
    return false;
}

int tarn_fetch_enter(struct tarn_session *session, struct tarn_page_id id, uint32_t frame,
                     int64_t wait_ms)
{
    const struct tarn_view *view = &session->view;
    struct tarn_descriptor *descriptor = &view->descriptors[frame];
    uint32_t bucket = tarn_home_of(view, id.value).bucket;
    if (!PLANTED(PAGE_ID_AFTER_ENTRY))
        tarn_store_relaxed(&descriptor->page_id, id.value);
    uint64_t word = tarn_load_relaxed(&descriptor->frame_word);
    struct tarn_wait wait = {.session = NULL};
    int result;
    for (unsigned attempt = 0;; attempt++) {
        uint32_t victim;
        result = PLANTED(HOME_NOT_LOCKED) ? 0 : lock_home(session, bucket, wait_ms);
        if (result < 0)
            break;
        uint32_t found = tarn_table_insert(view, id.value, frame, word, attempt, &victim);
        unlock_home(session, bucket);
        if (PLANTED(PAGE_ID_AFTER_ENTRY))
            tarn_store_relaxed(&descriptor->page_id, id.value);
        if (found == TARN_NO_FRAME) {
            result = PLANTED(PAGE_COUNT_NOT_ASKED_AGAIN) ? 0 : check_page(session, id);
            break;
        }
        if (found != TARN_TABLE_FULL) {
            result = -EEXIST;
            break;
        }
        if (make_room(session, victim))
            continue;
        if (wait.session == NULL)
            tarn_wait_begin(&wait, session, WAIT_FRAME, 0,
                            wait_ms == 0 ? 0 : session->frame_wait_ms);
        result = tarn_wait_round(&wait, NULL, 0, 0, TARN_EVERYBODY);
        if (result < 0)
            break;
    }
    if (wait.session != NULL)
        tarn_wait_end(&wait, -1);
    return result;
}

/* A read that did not bring a page: what of it is the file's, what the device's fault. */
static int read_failed(struct tarn_session *session, struct tarn_page_id id, int fd, int64_t got)
{
    uint32_t file = tarn_page_file(id);
    uint32_t page_bytes = session->view.geometry.page_bytes;
    uint64_t end = (tarn_page_number(id) + 1) * page_bytes;
    char name[256];
    struct stat status;
    tarn_counter(session, COUNTER_READ_ERRORS, 1);
    tarn_fetch_add_full(&session->view.files[file].errors, 1);
    tarn_file_words(session, file, name, sizeof name);
    if (got < 0)
        return tarn_fail(session, (int)got, "page %" PRIu64 " of %s: read: %s",
                         tarn_page_number(id), name, strerror((int)-got));
    if (fstat(fd, &status) == 0 && S_ISREG(status.st_mode) && (uint64_t)status.st_size < end)
        return tarn_fail(session, -EBADFD,
                         "page %" PRIu64 " of %s: the file was shrunk to %" PRIu64
                         " bytes underneath the pool; bring its bytes back, or truncate it",
                         tarn_page_number(id), name, (uint64_t)status.st_size);
    return tarn_fail(session, -ENODATA,
                     "page %" PRIu64 " of %s: short read, %" PRId64 " of %u bytes",
                     tarn_page_number(id), name, got, page_bytes);
}

int tarn_fetch_read(struct tarn_session *session, struct tarn_page_id id, void *ret_page)
{
    int fd = tarn_file_fd(session, tarn_page_file(id));
    if (fd < 0)
        return fd;
    uint32_t page_bytes = session->view.geometry.page_bytes;
    int64_t offset = (int64_t)(tarn_page_number(id) * page_bytes);
    uint32_t got = 0, retry_count = 0;
    while (got < page_bytes) {
        struct iovec piece = {(uint8_t *)ret_page + got, page_bytes - got};
        int64_t bytes = preadv2(fd, &piece, 1, offset + got, 0);
        bool passes = bytes < 0 && (errno == EINTR || errno == EAGAIN);
        if (passes && ++retry_count < RETRY_COUNT_MAX)
            continue;
        if (bytes < 0)
            return read_failed(session, id, fd, passes ? -EIO : -errno);
        if (bytes == 0)
            return read_failed(session, id, fd, got);
        got += (uint32_t)bytes;
    }
    tarn_counter(session, COUNTER_READS, 1);
    tarn_fetch_add_full(&session->view.files[tarn_page_file(id)].reads, 1);
    return 0;
}

/* A frame for the page, entered and held. 0; -EAGAIN: look again; or an error. */
static int claim_for(struct tarn_session *session, struct tarn_page_id id, unsigned hold,
                     uint32_t *ret_frame, unsigned *ret_claim)
{
    int result = check_page(session, id);
    if (result < 0)
        return result;
    lower_marks(session);
    uint32_t frame;
    unsigned claim;
    result = tarn_frame_claim_wait(session, session->frame_wait_ms, &frame, &claim);
    if (result < 0)
        return result;
    tarn_half_store_release(session->hold[hold], hold_of(frame));
    if (PLANTED(ENTRY_AFTER_READ))
        tarn_fetch_read(session, id, tarn_view_frame(&session->view, frame));
    result = tarn_fetch_enter(session, id, frame, session->wait_ms);
    if (result < 0) {
        tarn_half_store_release(session->hold[hold], 0);
        tarn_frame_unclaim(session, frame, claim);
        return result == -EEXIST ? -EAGAIN : result;
    }
    *ret_frame = frame;
    *ret_claim = claim;
    return 0;
}

/* Of a page that was read for this call. */
static void set_hint(struct tarn_session *session, uint32_t frame, unsigned hints)
{
    uint32_t hint = hints & TARN_HINT_KEEP ? HINT_KEEP : HINT_LOADED;
    tarn_half_store_relaxed(&session->view.descriptors[frame].hint,
                            hints & TARN_HINT_ONCE ? HINT_ONCE : hint);
}

/* Reads the page into a frame of its own: entry first, then the read. A thread that were cancelled
 * in the read would leave the frame CLAIMED in a process that lives. */
static int load_claimed(struct tarn_session *session, struct tarn_page_id id, unsigned hints,
                        unsigned hold, uint32_t *ret_frame)
{
    uint64_t begun = tarn_now_ns();
    uint32_t frame;
    unsigned claim;
    int result = claim_for(session, id, hold, &frame, &claim);
    if (result < 0)
        return result;
    if (PLANTED(VALID_BEFORE_READ))
        tarn_frame_publish(session, frame, claim);
    if (!PLANTED(ENTRY_AFTER_READ))
        result = tarn_fetch_read(session, id, tarn_view_frame(&session->view, frame));
    if (result < 0) {
        tarn_half_store_release(session->hold[hold], 0);
        tarn_frame_unclaim(session, frame, claim);
        return result;
    }
    set_hint(session, frame, hints);
    tarn_frame_publish(session, frame, claim);
    tarn_frame_loaded(session);
    count_miss(session, id);
    tarn_latency_add(session, LATENCY_MISS, tarn_now_ns() - begun);
    *ret_frame = frame;
    return 0;
}

static int load(struct tarn_session *session, struct tarn_page_id id, unsigned hints, unsigned hold,
                uint32_t *ret_frame)
{
    int cancel_state;
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel_state);
    int result = load_claimed(session, id, hints, hold, ret_frame);
    pthread_setcancelstate(cancel_state, NULL);
    return result;
}

/* The page is in a frame that somebody else is reading: waits, or takes a read ahead's frame away.
 */
static int join(struct tarn_session *session, struct tarn_page_id id, uint32_t frame, uint64_t word)
{
    tarn_word *frame_word = &session->view.descriptors[frame].frame_word;
    if (frame_word_owner(word) == session->slot) {
        if (session->ahead == NULL || (word & FRAME_REVOCABLE) == 0)
            return tarn_fail(session, -EALREADY,
                             "page %" PRIu64 " of file %u is NEW in this mini-transaction",
                             tarn_page_number(id), tarn_page_file(id));
        tarn_ahead_harvest(session, id.value);
        /* No read of this session's is behind a word that is still the same: it would wait for
         * itself for ever. */
        tarn_frame_revoke(session, frame, word);
        return 0;
    }
    if (word & FRAME_REVOCABLE) {
        tarn_frame_revoke(session, frame, word);
        return 0;
    }
    struct tarn_wait wait;
    tarn_wait_begin(&wait, session, WAIT_LOAD, frame, session->wait_ms);
    int result = 0;
    while (result == 0) {
        uint64_t seen = tarn_load_acquire(frame_word);
        if (frame_word_state(seen) != FRAME_CLAIMED || (seen & FRAME_REVOCABLE) != 0 ||
            frame_word_generation(seen) != frame_word_generation(word))
            break;
        result = tarn_wait_round(&wait, frame_word, seen, FRAME_WAITERS, frame_word_owner(seen));
    }
    tarn_wait_end(&wait, LATENCY_JOIN);
    tarn_counter(session, COUNTER_JOINS, 1);
    return result;
}

/* Pins what is in the frame once the wait is over. */
static inline int planted_join(struct tarn_session *session, struct tarn_page_id id, uint32_t frame,
                               uint64_t word, unsigned hold)
{
    int result = join(session, id, frame, word);
    word = tarn_load_acquire(&session->view.descriptors[frame].frame_word);
    return result < 0 ? result : tarn_pin_valid(session, frame, word, hold);
}

/* One look at a page that stands in the table. 1: pinned; 0: look again; or an error. */
static int pin_found(struct tarn_session *session, struct tarn_page_id id, uint32_t frame,
                     uint64_t word, unsigned hold)
{
    switch (frame_word_state(word)) {
    case FRAME_VALID:
        return tarn_pin_valid(session, frame, word, hold);
    case FRAME_EVICTING:
        return pin_rescued(session, frame, word, hold);
    case FRAME_CLAIMED:
        if (PLANTED(JOINER_DOES_NOT_LOOK_AGAIN))
            return planted_join(session, id, frame, word, hold);
        return join(session, id, frame, word);
    default:
        return 0;
    }
}

static TARN_SLOW int fetch_slowly(struct tarn_session *session, struct tarn_page_id id,
                                  unsigned hints, unsigned hold, uint32_t *ret_frame)
{
    int result = 0;
    if (session->ahead != NULL)
        tarn_ahead_harvest(session, 0);
    for (;;) {
        uint64_t word;
        uint32_t frame = tarn_table_find(&session->view, id.value, &word);
        if (frame != TARN_NO_FRAME) {
            result = pin_found(session, id, frame, word, hold);
            if (result == 0)
                continue;
            if (result < 0)
                return result;
            if (hints & TARN_HINT_BATCHED) {
                set_hint(session, frame, hints);
                count_miss(session, id);
            } else {
                tarn_touch(&session->view.descriptors[frame], hints);
                tarn_hits_add(session, tarn_page_file(id), 1);
            }
            *ret_frame = frame;
            return 0;
        }
        result = tarn_session_check_life(session);
        if (result == 0)
            result = load(session, id, hints, hold, ret_frame);
        if (result != -EAGAIN)
            break;
    }
    if (result == 0 && (hints & TARN_HINT_SEQUENTIAL) != 0) {
        struct tarn_page_id next[SEQUENTIAL_AHEAD];
        for (unsigned i = 0; i < SEQUENTIAL_AHEAD; i++)
            next[i] = tarn_page_id(tarn_page_file(id), tarn_page_number(id) + 1 + i);
        tarn_ahead_read(session, next, SEQUENTIAL_AHEAD, true);
    }
    return result;
}

int tarn_fetch(struct tarn_session *session, struct tarn_page_id id, unsigned hints, unsigned hold,
               uint32_t *ret_frame)
{
    uint64_t word;
    uint32_t frame = tarn_table_find_at_home(&session->view, id.value, &word);
    if (frame == TARN_NO_FRAME || frame_word_state(word) != FRAME_VALID ||
        (hints & TARN_HINT_BATCHED) != 0 || !tarn_pin_valid(session, frame, word, hold))
        return fetch_slowly(session, id, hints, hold, ret_frame);
    tarn_touch(&session->view.descriptors[frame], hints);
    tarn_hits_add(session, tarn_page_file(id), 1);
    *ret_frame = frame;
    return 0;
}

int tarn_fetch_new(struct tarn_session *session, struct tarn_page_id id, unsigned hold,
                   uint32_t *ret_frame, unsigned *ret_claim)
{
    int result = 0;
    for (;;) {
        uint64_t word;
        uint32_t frame = tarn_table_find(&session->view, id.value, &word);
        if (frame != TARN_NO_FRAME) {
            result = pin_found(session, id, frame, word, hold);
            if (result == 1) {
                *ret_frame = frame;
                *ret_claim = UINT32_MAX;
                return 0;
            }
        } else {
            result = claim_for(session, id, hold, ret_frame, ret_claim);
            if (result == 0) {
                memset(tarn_view_frame(&session->view, *ret_frame), 0,
                       session->view.geometry.page_bytes);
                set_hint(session, *ret_frame, TARN_HINT_NONE);
                tarn_frame_loaded(session);
                return 0;
            }
        }
        if (result < 0 && result != -EAGAIN)
            return result;
    }
}

static TARN_SLOW int pin_slowly(struct tarn_session *session, struct tarn_page_id id,
                                unsigned hints, struct tarn_pin *ret_pin)
{
    int hold = tarn_hold_take(session);
    if (hold < 0)
        return hold;
    uint32_t frame;
    int result = tarn_fetch(session, id, hints, (unsigned)hold, &frame);
    if (result < 0) {
        session->pinned[hold] = 0;
        return result;
    }
    session->pinned[hold] = (uint64_t)frame + 1;
    *ret_pin = (struct tarn_pin){tarn_view_frame(&session->view, frame), frame, (uint32_t)hold};
    return 0;
}

/* The hit: announces a hold of the frame, makes sure, counts. False: nothing was done. */
static TARN_INLINE bool hit(struct tarn_session *session, uint32_t frame, uint64_t word,
                            unsigned hints, struct tarn_pin *ret_pin)
{
    unsigned hold = session->hold_next;
    if (__builtin_expect(frame_word_state(word) != FRAME_VALID, 0) ||
        !tarn_pin_valid(session, frame, word, hold))
        return false;
    ret_pin->data = tarn_view_frame(&session->view, frame);
    /* In one store: the pin is passed on in a register, and a load of both halves just after two
     * stores would wait until those have left the store buffer. */
    const uint32_t names[] = {frame, hold};
    memcpy(&ret_pin->frame, names, sizeof names);
    session->pinned[hold] = (uint64_t)frame + 1;
    tarn_touch(&session->view.descriptors[frame], hints);
    if (__builtin_expect(--session->hits_left == 0, 0))
        begin_sample(session);
    return true;
}

/* The page is not in its own place of the table: elsewhere, or nowhere. */
static TARN_SLOW int pin_elsewhere(struct tarn_session *session, struct tarn_page_id id,
                                   unsigned hints, struct tarn_pin *ret_pin)
{
    uint64_t word;
    uint32_t frame = tarn_table_search(&session->view, id.value, &word);
    if (frame != TARN_NO_FRAME && hit(session, frame, word, hints, ret_pin))
        return 0;
    return pin_slowly(session, id, hints, ret_pin);
}

/* Refused; or a hit in another file than the one before; or the one that is timed. */
static TARN_SLOW int pin_with_attention(struct tarn_session *session, struct tarn_page_id id,
                                        unsigned hints, struct tarn_pin *ret_pin)
{
    if (session->refusal != 0)
        return tarn_session_refuse(session);
    bool timed = session->hits_file == TARN_HITS_NONE;
    tarn_hits_publish(session);
    session->hits_file = page_id_file(id.value);
    if (!timed)
        return tarn_pin(session, id, hints, ret_pin);
    uint64_t begun = tarn_now_ns();
    int result = tarn_pin(session, id, hints, ret_pin);
    if (session->hits_left != TARN_SAMPLE_EVERY)
        tarn_latency_add(session, LATENCY_HIT, tarn_now_ns() - begun);
    tarn_hits_publish(session);
    return result;
}

/* The hold that is tried first is in use: another one, and again. */
static TARN_SLOW int pin_with_other_hold(struct tarn_session *session, struct tarn_page_id id,
                                         unsigned hints, struct tarn_pin *ret_pin)
{
    int hold = tarn_hold_find(session);
    return hold < 0 ? hold : tarn_pin(session, id, hints, ret_pin);
}

/* Every call out of here is the last thing done, so that a hit saves no registers for it. */
int tarn_pin(struct tarn_session *session, struct tarn_page_id id, unsigned hints,
             struct tarn_pin *ret_pin)
{
    if (__builtin_expect(session->hits_file != page_id_file(id.value), 0))
        return pin_with_attention(session, id, hints, ret_pin);
    if (__builtin_expect(session->pinned[session->hold_next] != 0, 0))
        return pin_with_other_hold(session, id, hints, ret_pin);
    uint64_t word;
    uint32_t frame = tarn_table_find_at_home(&session->view, id.value, &word);
    if (__builtin_expect(frame == TARN_NO_FRAME, 0))
        return pin_elsewhere(session, id, hints, ret_pin);
    if (__builtin_expect(hit(session, frame, word, hints, ret_pin), 1))
        return 0;
    return pin_slowly(session, id, hints, ret_pin);
}

static TARN_SLOW int unpin_refused(struct tarn_session *session, struct tarn_pin pin)
{
    if (pin.hold < TARN_HOLDS_MAX && pin.frame < session->view.geometry.frame_count &&
        tarn_half_load_relaxed(session->hold[pin.hold]) == (hold_of(pin.frame) | HOLD_SHARED)) {
        struct tarn_page_id id = tarn_page_in(session, pin.frame);
        return tarn_fail(session, -EBUSY,
                         "page %" PRIu64 " of file %u is latched through this pin: unlatch it"
                         " first",
                         tarn_page_number(id), tarn_page_file(id));
    }
    return tarn_fail(session, -EINVAL,
                     "hold %u of frame %u is not a pin of session %u: given back already?",
                     pin.hold, pin.frame, session->slot);
}

int tarn_unpin(struct tarn_session *session, struct tarn_pin pin)
{
    if (__builtin_expect(session->refusal != 0, 0))
        return tarn_session_refuse(session);
    if (__builtin_expect(
            pin.hold >= TARN_HOLDS_MAX || session->pinned[pin.hold] != (uint64_t)pin.frame + 1, 0))
        return unpin_refused(session, pin);
    tarn_hold_give(session, pin.hold);
    return 0;
}

/* Where the pages stand unless their homes are shared. Lines of the table that are not in the cache
 * come together. */
static inline void find_places(const struct tarn_view *view, const struct tarn_page_id *ids,
                               unsigned count, const tarn_word **ret_places, uint32_t *ret_tags)
{
    for (unsigned i = 0; i < count; i++) {
        struct tarn_home home = tarn_home_of(view, ids[i].value);
        ret_places[i] = &view->buckets[home.bucket].entry[home.place];
        ret_tags[i] = home.tag;
        __builtin_prefetch(ret_places[i]);
    }
}

/* Finds the pages and stores the holds of those that are there; the others get a hold alone, and
 * their frame is TARN_NO_FRAME. Returns for how many there was an empty hold. */
static inline unsigned store_holds(struct tarn_session *session, const struct tarn_page_id *ids,
                                   unsigned count, uint64_t *ret_words, struct tarn_pin *ret_pins)
{
    const struct tarn_view *view = &session->view;
    const tarn_word *places[TARN_HOLDS_MAX];
    uint32_t tags[TARN_HOLDS_MAX];
    unsigned hold = 0;
    find_places(view, ids, count, places, tags);
    for (unsigned i = 0; i < count; i++, hold++) {
        while (session->pinned[hold] != 0)
            if (++hold > TARN_HOLDS_MAX)
                return i;
        if (__builtin_expect(hold >= session->holds_marked, 0))
            tarn_hold_raise_marks(session, hold);
        uint64_t entry = tarn_load_acquire(places[i]);
        uint32_t frame = entry_frame_plus_one(entry) - 1;
        if (__builtin_expect(entry_tag(entry) != tags[i] ||
                                 !tarn_entry_is_page(view, entry, ids[i].value, &ret_words[i]),
                             0))
            frame = tarn_table_search(view, ids[i].value, &ret_words[i]);
        if (__builtin_expect(
                frame == TARN_NO_FRAME || frame_word_state(ret_words[i]) != FRAME_VALID, 0)) {
            frame = TARN_NO_FRAME;
        } else {
            tarn_half_store_relaxed(session->hold[hold], hold_of(frame));
            /* The walk through the page tables of the processor goes on beside the other pages. */
            __builtin_prefetch(tarn_view_frame(view, frame));
        }
        ret_pins[i].frame = frame;
        ret_pins[i].hold = hold;
    }
    return count;
}

static TARN_SLOW void count_hits_one_by_one(struct tarn_session *session,
                                            const struct tarn_page_id *ids,
                                            const struct tarn_pin *pins, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        if (pins[i].frame != TARN_NO_FRAME)
            tarn_hits_add(session, page_id_file(ids[i].value), 1);
}

/* Stores all holds, then one barrier, then looks at all frame words once more. Returns how many are
 * pinned; the others have a hold that is taken, and no frame. Or -EMFILE: nothing is taken. */
static int pin_present(struct tarn_session *session, const struct tarn_page_id *ids, unsigned count,
                       unsigned hints, struct tarn_pin *pins)
{
    uint64_t other_file = 0; /* bits in which the ids differ */
    uint64_t words[TARN_HOLDS_MAX];
    unsigned stored = store_holds(session, ids, count, words, pins);
    if (__builtin_expect(stored < count, 0)) {
        while (stored-- > 0)
            tarn_half_store_release(session->hold[pins[stored].hold], 0);
        return -EMFILE;
    }
    order_holds_before_frame_words(session->hold[pins[0].hold]);
    unsigned pinned = 0;
    for (unsigned i = 0; i < count; i++) {
        uint32_t frame = pins[i].frame;
        if (__builtin_expect(frame == TARN_NO_FRAME ||
                                 tarn_load_acquire(&session->view.descriptors[frame].frame_word) !=
                                     words[i],
                             0)) {
            tarn_half_store_release(session->hold[pins[i].hold], 0);
            session->pinned[pins[i].hold] = PINNED_INSIDE;
            pins[i].frame = TARN_NO_FRAME;
            continue;
        }
        tarn_touch(&session->view.descriptors[frame], hints);
        session->pinned[pins[i].hold] = (uint64_t)frame + 1;
        other_file |= ids[i].value ^ ids[0].value;
        pins[i].data = tarn_view_frame(&session->view, frame);
        pinned++;
    }
    if (__builtin_expect(page_id_file(other_file) != 0, 0))
        count_hits_one_by_one(session, ids, pins, count);
    else
        tarn_hits_add(session, page_id_file(ids[0].value), pinned);
    return (int)pinned;
}

/* Those that were not there: read together, then pinned one by one. */
static int pin_missing(struct tarn_session *session, const struct tarn_page_id *ids, unsigned count,
                       unsigned hints, struct tarn_pin *pins)
{
    struct tarn_page_id missing[TARN_HOLDS_MAX];
    unsigned missing_count = 0;
    for (unsigned i = 0; i < count; i++)
        if (pins[i].frame == TARN_NO_FRAME)
            missing[missing_count++] = ids[i];
    unsigned batched =
        missing_count < 2 ? 0 : tarn_ahead_read(session, missing, missing_count, false);
    hints &= ~(unsigned)TARN_HINT_SEQUENTIAL;
    for (unsigned i = 0; i < count; i++) {
        if (pins[i].frame != TARN_NO_FRAME)
            continue;
        unsigned batch_hint = batched > 0 ? TARN_HINT_BATCHED : 0;
        int result = tarn_fetch(session, ids[i], hints | batch_hint, pins[i].hold, &pins[i].frame);
        batched -= batched > 0;
        if (result < 0) {
            pins[i].frame = TARN_NO_FRAME;
            return result;
        }
        session->pinned[pins[i].hold] = (uint64_t)pins[i].frame + 1;
        pins[i].data = tarn_view_frame(&session->view, pins[i].frame);
    }
    return 0;
}

static TARN_SLOW int refuse_many(struct tarn_session *session, unsigned count)
{
    if (session->refusal != 0)
        return tarn_session_refuse(session);
    if (count < 1 || count > TARN_HOLDS_MAX)
        return tarn_fail(session, -EINVAL, "%u pages: pin_many takes 1 to %u", count,
                         TARN_HOLDS_MAX);
    unsigned used = 0;
    for (unsigned hold = 0; hold < TARN_HOLDS_MAX; hold++)
        used += session->pinned[hold] != 0;
    return tarn_fail(session, -EMFILE, "%u more pins: session %u has %u of %u already", count,
                     session->slot, used, TARN_HOLDS_MAX);
}

int tarn_pin_many(struct tarn_session *session, const struct tarn_page_id *ids, unsigned count,
                  unsigned hints, struct tarn_pin *ret_pins)
{
    if (__builtin_expect(session->refusal != 0 || count < 1 || count > TARN_HOLDS_MAX, 0))
        return refuse_many(session, count);
    int result = pin_present(session, ids, count, hints, ret_pins);
    if (__builtin_expect(result < 0, 0))
        return refuse_many(session, count);
    if (__builtin_expect((unsigned)result < count, 0)) {
        result = pin_missing(session, ids, count, hints, ret_pins);
        if (result < 0) {
            for (unsigned i = 0; i < count; i++)
                tarn_hold_give(session, ret_pins[i].hold);
            return result;
        }
    }
    return 0;
}

int tarn_unpin_many(struct tarn_session *session, const struct tarn_pin *pins, unsigned count)
{
    if (session->refusal != 0)
        return tarn_session_refuse(session);
    int result = 0;
    for (unsigned i = 0; i < count; i++) {
        struct tarn_pin pin = pins[i];
        if (__builtin_expect(pin.hold < TARN_HOLDS_MAX &&
                                 session->pinned[pin.hold] == (uint64_t)pin.frame + 1,
                             1))
            tarn_hold_give(session, pin.hold);
        else if (result == 0)
            result = unpin_refused(session, pin);
    }
    return result;
}

int tarn_prefetch(struct tarn_session *session, const struct tarn_page_id *ids, unsigned count)
{
    if (session->refusal != 0)
        return tarn_session_refuse(session);
    if (ids == NULL && count != 0)
        return tarn_fail(session, -EINVAL, "prefetch: no page ids");
    int result = tarn_session_check_life(session);
    return result < 0 ? result : (int)tarn_ahead_read(session, ids, count, true);
}
