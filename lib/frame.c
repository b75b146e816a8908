/* SPDX-License-Identifier: MIT */
/* Free frames and eviction. */
#include <inttypes.h>
#include <string.h>

#include "lib/internal.h"

/* Words of the bitmap (64 frames each) that one search looks at before it evicts: what the writer
 * has freed may be anywhere. The next search goes on behind it, so that few words are looked at for
 * each frame that is found. */
#define SEARCH_WORDS 4096u

/* The same just behind the clock's hand, where those who evict by themselves have freed some. */
#define HAND_WORDS 64u

/* Frames in one eviction batch: marked all, then one scan of the holds. */
#define BATCH 64u

/* A session calls the writer when it has loaded a part of the frames, but some pages at most. */
#define CALL_DIVISOR   256u
#define CALL_EVERY_MAX 64u

unsigned tarn_claim_place(struct tarn_session *session)
{
    uint64_t *word = session->free_claims;
    while (*word == 0)
        word++;
    unsigned bit = (unsigned)__builtin_ctzll(*word);
    *word &= *word - 1;
    return (unsigned)(word - session->free_claims) * 64 + bit;
}

/* Takes the announcement back, after the frame word no longer names this session. */
void tarn_claim_end(struct tarn_session *session, unsigned place)
{
    tarn_half_store_release(&session->shared->claim[place], 0);
    session->free_claims[place / 64] |= UINT64_C(1) << place % 64;
}

void tarn_frame_loaded(struct tarn_session *session)
{
    uint32_t every = session->view.geometry.frame_count / CALL_DIVISOR;
    if (++session->loads < (every < CALL_EVERY_MAX ? every : CALL_EVERY_MAX))
        return;
    session->loads = 0;
    tarn_call_cleaner(session->pool);
}

void tarn_frames_freed(struct tarn_pool *pool)
{
    if (order_freed_before_wanted(pool->view.control))
        tarn_wake(&pool->view.control->freed);
}

static void bitmap_set(const struct tarn_view *view, uint32_t frame)
{
    tarn_or_full(&view->bitmap[frame / 64], UINT64_C(1) << frame % 64);
}

static void bitmap_clear(const struct tarn_view *view, uint32_t frame)
{
    tarn_and_full(&view->bitmap[frame / 64], ~(UINT64_C(1) << frame % 64));
}

/* FREE -> CLAIMED, announced first. What an earlier page left is made harmless: its readers see
 * another version, nobody is taken for one who shares it. A page that was dropped or truncated may
 * have been dirty: the mark stays, the flag goes. */
static bool claim(struct tarn_session *session, uint32_t frame, unsigned place)
{
    struct tarn_descriptor *descriptor = &session->view.descriptors[frame];
    uint64_t seen = tarn_load_acquire(&descriptor->frame_word);
    if (frame_word_state(seen) != FRAME_FREE)
        return false;
    if (!PLANTED(CLAIM_ANNOUNCED_AFTER_CAS))
        tarn_half_store_relaxed(&session->shared->claim[place], frame + 1);
    if (!tarn_cas_full(&descriptor->frame_word, seen, frame_word_claimed(seen, session->slot))) {
        tarn_half_store_release(&session->shared->claim[place], 0);
        return false;
    }
    if (PLANTED(CLAIM_ANNOUNCED_AFTER_CAS))
        tarn_half_store_relaxed(&session->shared->claim[place], frame + 1);
    tarn_store_relaxed(&descriptor->sticky_word, 0);
    tarn_fetch_add_full(&descriptor->latch_word, LATCH_VERSION_ONE);
    uint64_t dirty = tarn_load_relaxed(&descriptor->dirty_word);
    if (dirty_word_dirty(dirty))
        tarn_store_relaxed(&descriptor->dirty_word, dirty_word_cleaned(dirty));
    return true;
}

/* Looks through some words of the bitmap, backwards: what was evicted last is behind the clock's
 * hand. */
static uint32_t claim_from_bitmap(struct tarn_session *session, uint32_t words, unsigned place)
{
    const struct tarn_view *view = &session->view;
    uint32_t frame_count = view->geometry.frame_count;
    uint32_t word_count = (frame_count + 63) / 64;
    uint32_t at = session->bitmap_hand % word_count;
    for (uint32_t looked = 0; looked < words && looked < word_count; looked++) {
        uint64_t bits = tarn_load_relaxed(&view->bitmap[at]);
        while (bits != 0) {
            uint32_t frame = at * 64 + (uint32_t)__builtin_ctzll(bits);
            bits &= bits - 1;
            if (frame >= frame_count)
                break;
            bool mine = claim(session, frame, place);
            bitmap_clear(view, frame);
            if (mine) {
                session->bitmap_hand = at;
                return frame;
            }
        }
        at = at == 0 ? word_count - 1 : at - 1;
    }
    session->bitmap_hand = at;
    return TARN_NO_FRAME;
}

/* A batch of frames marked EVICTING by this session. */
struct batch {
    unsigned count;
    uint32_t frame[BATCH];
    uint64_t word[BATCH]; /* as marked; 0: taken back */
    unsigned place[BATCH];
    uint64_t filter[8]; /* by the low 9 bits of the frame: most holds name none of these */
};

/* VALID, as `seen` -> EVICTING, if it is worth while. */
static void mark(struct tarn_session *session, uint32_t frame, uint64_t seen, struct batch *batch)
{
    struct tarn_descriptor *descriptor = &session->view.descriptors[frame];
    if (dirty_word_dirty(tarn_load_relaxed(&descriptor->dirty_word)) ||
        latch_word_owner(tarn_load_relaxed(&descriptor->latch_word)) != 0)
        return;
    unsigned place = tarn_claim_place(session);
    tarn_half_store_relaxed(&session->shared->claim[place], frame + 1);
    if (!order_evicting_before_holds(&descriptor->frame_word, seen, session->slot)) {
        tarn_claim_end(session, place);
        return;
    }
    batch->frame[batch->count] = frame;
    batch->word[batch->count] = frame_word_evicting(seen, session->slot);
    batch->place[batch->count] = place;
    batch->filter[frame / 64 % 8] |= UINT64_C(1) << frame % 64;
    batch->count++;
}

/* Has the file of the frame's page all of its share, or more? As far as the writer has seen: who
 * needs a frame before the writer looks again takes one of that file, which may have got more. */
static bool has_full_share(const struct tarn_view *view, const struct tarn_descriptor *descriptor)
{
    uint32_t file = page_id_file(tarn_load_relaxed(&descriptor->page_id));
    return file <= view->geometry.file_count &&
           (tarn_load_relaxed(&view->files[file].share) & SHARE_FULL) != 0;
}

/* Looks at one frame as a victim. Returns 1 if it is FREE, or was made so. */
static unsigned consider(struct tarn_session *session, uint32_t frame, struct batch *batch)
{
    struct tarn_descriptor *descriptor = &session->view.descriptors[frame];
    uint64_t seen = tarn_load_acquire(&descriptor->frame_word);
    if (frame_word_state(seen) == FRAME_FREE) {
        bitmap_set(&session->view, frame);
        return 1;
    }
    /* Of this session too: it may need the frame more than what it read ahead. */
    if (frame_word_state(seen) == FRAME_CLAIMED && (seen & FRAME_REVOCABLE) != 0)
        return tarn_frame_revoke(session, frame, seen);
    if (frame_word_state(seen) != FRAME_VALID)
        return 0;
    uint32_t hint = tarn_half_load_relaxed(&descriptor->hint);
    if (hint > HINT_COLD && !has_full_share(&session->view, descriptor))
        tarn_half_store_relaxed(&descriptor->hint, hint - 1);
    else
        mark(session, frame, seen, batch);
    return 0;
}

/* EVICTING -> VALID of a frame that somebody holds, or that is dirty. */
static void take_back(struct tarn_session *session, struct batch *batch, unsigned i)
{
    struct tarn_descriptor *descriptor = &session->view.descriptors[batch->frame[i]];
    uint64_t word = batch->word[i];
    if (word != 0) {
        tarn_cas_full(&descriptor->frame_word, word, frame_word_valid(word));
        tarn_counter(session, COUNTER_EVICTIONS_REFUSED, 1);
    }
    batch->word[i] = 0;
}

static void take_back_held(struct tarn_session *session, struct batch *batch, uint32_t frame)
{
    if ((batch->filter[frame / 64 % 8] >> frame % 64 & 1) == 0)
        return;
    for (unsigned i = 0; i < batch->count; i++)
        if (batch->frame[i] == frame)
            take_back(session, batch, i);
}

/* One scan over the holds of all sessions, for the whole batch. */
static void scan_holds(struct tarn_session *session, struct batch *batch)
{
    const struct tarn_view *view = &session->view;
    for (unsigned slot = 1; slot <= view->slot_max; slot++) {
        bool next = true;
        for (unsigned l = 0; next && l < TARN_HOLD_LINES; l++) {
            const struct tarn_hold_line *line = tarn_view_hold_line(view, slot, l);
            unsigned count = tarn_hold_line_count(line, &next);
            for (unsigned i = 0; i < count; i++) {
                uint32_t hold = tarn_half_load_acquire(&line->hold[i]); /* pairs: "hold" */
                if (hold != 0)
                    take_back_held(session, batch, hold_frame_plus_one(hold) - 1);
            }
        }
    }
}

/* Holds first, then the dirty word (pairs: "dirty"), then the CAS that decides. `discard`: dirty or
 * not. */
static unsigned evict_batch(struct tarn_session *session, struct batch *batch, bool discard)
{
    const struct tarn_view *view = &session->view;
    unsigned freed = 0;
    if (batch->count == 0)
        return 0;
    if (PLANTED(CLEAN_DECIDED_BEFORE_SCAN))
        discard = true; /* consider() has found it clean */
    scan_holds(session, batch);
    for (unsigned i = 0; i < batch->count; i++) {
        struct tarn_descriptor *descriptor = &view->descriptors[batch->frame[i]];
        uint64_t word = batch->word[i];
        if (PLANTED(STICKY_CLEARED_BY_EVICTOR))
            tarn_store_relaxed(&descriptor->sticky_word, 0);
        if (!discard && dirty_word_dirty(tarn_load_acquire(&descriptor->dirty_word)))
            take_back(session, batch, i);
        else if (word != 0 &&
                 tarn_cas_full(&descriptor->frame_word, word, frame_word_freed(word))) {
            bitmap_set(view, batch->frame[i]);
            freed++;
        }
        tarn_claim_end(session, batch->place[i]);
    }
    tarn_counter(session, COUNTER_EVICTIONS, freed);
    return freed;
}

unsigned tarn_frames_evict(struct tarn_session *session, unsigned want, unsigned looks)
{
    const struct tarn_view *view = &session->view;
    uint32_t frame_count = view->geometry.frame_count;
    struct batch batch = {.count = 0};
    unsigned freed = 0;
    /* The hand is shared and moves in small steps, so that those who look do not look at the same.
     */
    while (looks > 0 && freed < want) {
        unsigned step = looks < 16 ? looks : 16;
        looks -= step;
        uint64_t hand = tarn_fetch_add_full(&view->control->clock_hand, step);
        for (unsigned i = 0; i < step; i++)
            freed += consider(session, (uint32_t)((hand + i) % frame_count), &batch);
        if (batch.count > BATCH - 16 || freed + batch.count >= want || looks == 0) {
            freed += evict_batch(session, &batch, false);
            batch = (struct batch){.count = 0};
        }
    }
    return freed;
}

unsigned tarn_frames_evict_these(struct tarn_session *session, const uint32_t *frames,
                                 unsigned count)
{
    struct batch batch = {.count = 0};
    for (unsigned i = 0; i < count; i++) {
        uint64_t seen = tarn_load_acquire(&session->view.descriptors[frames[i]].frame_word);
        if (frame_word_state(seen) == FRAME_VALID)
            mark(session, frames[i], seen, &batch);
    }
    return evict_batch(session, &batch, false);
}

bool tarn_frame_evict(struct tarn_session *session, uint32_t frame)
{
    struct batch batch = {.count = 0};
    tarn_half_store_relaxed(&session->view.descriptors[frame].hint, HINT_COLD);
    unsigned freed = consider(session, frame, &batch);
    return freed + evict_batch(session, &batch, false) > 0;
}

unsigned tarn_frame_revoke(struct tarn_session *session, uint32_t frame, uint64_t seen)
{
    tarn_word *frame_word = &session->view.descriptors[frame].frame_word;
    if (!tarn_cas_full(frame_word, seen, frame_word_freed(seen)))
        return 0;
    bitmap_set(&session->view, frame);
    if (seen & FRAME_WAITERS)
        tarn_wake(frame_word);
    tarn_counter(session, COUNTER_PREFETCHES_REVOKED, 1);
    return 1;
}

int tarn_frame_claim_again(struct tarn_session *session, bool again, uint32_t *ret_frame,
                           unsigned *ret_claim)
{
    const struct tarn_view *view = &session->view;
    unsigned place = tarn_claim_place(session);
    uint32_t frame = claim_from_bitmap(session, SEARCH_WORDS, place);
    if (frame == TARN_NO_FRAME) {
        /* The reserve is empty, or elsewhere: just behind the hand. */
        session->bitmap_hand = (uint32_t)(tarn_load_relaxed(&view->control->clock_hand) %
                                          view->geometry.frame_count / 64);
        frame = claim_from_bitmap(session, HAND_WORDS, place);
    }
    if (frame == TARN_NO_FRAME) {
        tarn_counter(session, COUNTER_STALLS, !again);
        tarn_call_cleaner(session->pool);
        /* Twice around wears every access hint but KEEP down; what is left is in use. */
        for (unsigned looked = 0; frame == TARN_NO_FRAME; looked += 1024) {
            if (tarn_frames_evict(session, 4, 1024) > 0) {
                session->bitmap_hand = (uint32_t)(tarn_load_relaxed(&view->control->clock_hand) %
                                                  view->geometry.frame_count / 64);
                frame = claim_from_bitmap(session, UINT32_MAX, place);
            } else if (looked >= 4 * view->geometry.frame_count) {
                break;
            }
        }
    }
    if (frame == TARN_NO_FRAME) {
        session->free_claims[place / 64] |= UINT64_C(1) << place % 64;
        return -EAGAIN;
    }
    *ret_frame = frame;
    *ret_claim = place;
    return 0;
}

int tarn_frame_claim(struct tarn_session *session, uint32_t *ret_frame, unsigned *ret_claim)
{
    return tarn_frame_claim_again(session, false, ret_frame, ret_claim);
}

int tarn_frames_exhausted(struct tarn_session *session)
{
    const struct tarn_view *view = &session->view;
    unsigned held = 0, dirty = 0, claimed = 0, sessions = 0;
    for (uint32_t frame = 0; frame < view->geometry.frame_count; frame++) {
        const struct tarn_descriptor *descriptor = &view->descriptors[frame];
        if (frame_word_state(tarn_load_relaxed(&descriptor->frame_word)) == FRAME_CLAIMED)
            claimed++;
        else if (dirty_word_dirty(tarn_load_relaxed(&descriptor->dirty_word)))
            dirty++;
    }
    for (unsigned slot = 1; slot <= view->slot_max; slot++) {
        unsigned before = held;
        for (unsigned i = 0; i < TARN_HOLDS_MAX; i++) {
            const struct tarn_hold_line *line =
                tarn_view_hold_line(view, slot, i / HOLD_LINE_HOLDS);
            held += tarn_half_load_relaxed(&line->hold[i % HOLD_LINE_HOLDS]) != 0;
        }
        sessions += held != before;
    }
    return tarn_fail(session, -ENOBUFS,
                     "no frame can be had of the %u in pool %s: %u pins of %u sessions, %u frames"
                     " claimed (reads, old bytes of mini-transactions), %u dirty; unpin pages,"
                     " start a writer, or init with more --frames",
                     view->geometry.frame_count, session->pool->name, held, sessions, claimed,
                     dirty);
}

int tarn_frame_claim_wait(struct tarn_session *session, int64_t wait_ms, uint32_t *ret_frame,
                          unsigned *ret_claim)
{
    struct tarn_control *control = session->view.control;
    int result = tarn_frame_claim(session, ret_frame, ret_claim);
    if (result == 0)
        return 0;
    struct tarn_wait wait;
    tarn_wait_begin(&wait, session, WAIT_FRAME, 0, wait_ms);
    for (;;) {
        uint64_t freed = tarn_load_acquire(&control->freed);
        order_wanted_before_frames(control);
        result = tarn_frame_claim_again(session, true, ret_frame, ret_claim);
        if (result == 0)
            break;
        wait.spins = UINT32_MAX; /* a look at all frames was longer than any spin */
        result = tarn_wait_round(&wait, &control->freed, freed, 0, TARN_EVERYBODY);
        if (result < 0)
            break;
    }
    tarn_wait_end(&wait, LATENCY_FRAME);
    return result == -ETIMEDOUT ? tarn_frames_exhausted(session) : result;
}

/* CLAIMED(me) -> VALID or FREE. Bounded: others only add the waiters bit, or revoke.
 * Pairs: "page". */
static bool leave_claimed(struct tarn_session *session, uint32_t frame, bool valid)
{
    tarn_word *frame_word = &session->view.descriptors[frame].frame_word;
    for (;;) {
        uint64_t seen = tarn_load_acquire(frame_word);
        if (!frame_word_is(seen, FRAME_CLAIMED, session->slot))
            return false;
        if (!tarn_cas_full(frame_word, seen,
                           valid ? frame_word_valid(seen) : frame_word_freed(seen)))
            continue;
        if (!valid)
            bitmap_set(&session->view, frame);
        if (seen & FRAME_WAITERS)
            tarn_wake(frame_word);
        return true;
    }
}

void tarn_frame_unclaim(struct tarn_session *session, uint32_t frame, unsigned claim_place)
{
    leave_claimed(session, frame, false);
    tarn_claim_end(session, claim_place);
    if (tarn_load_relaxed(&session->view.control->frames_wanted) != 0)
        tarn_frames_freed(session->pool);
}

void tarn_frame_publish(struct tarn_session *session, uint32_t frame, unsigned claim_place)
{
    if (PLANTED(CLAIM_ENDED_BEFORE_VALID))
        tarn_claim_end(session, claim_place);
    leave_claimed(session, frame, true);
    tarn_claim_end(session, claim_place);
}

int tarn_frame_discard(struct tarn_session *session, uint32_t frame, uint64_t page_id,
                       unsigned *ret_holder)
{
    struct tarn_descriptor *descriptor = &session->view.descriptors[frame];
    uint64_t seen;
    /* A frame that has become a shadow still says whose it was: the table knows. */
    if (tarn_table_find(&session->view, page_id, &seen) != frame)
        return 0;
    unsigned state = frame_word_state(seen);
    *ret_holder = frame_word_owner(seen);
    if (state == FRAME_CLAIMED && (seen & FRAME_REVOCABLE) != 0)
        return tarn_frame_revoke(session, frame, seen) ? 0 : -EBUSY;
    if (state == FRAME_EVICTING)
        tarn_cas_full(&descriptor->frame_word, seen, frame_word_valid(seen));
    if (state != FRAME_VALID)
        return -EBUSY;
    struct batch batch = {.count = 1, .frame = {frame}};
    batch.place[0] = tarn_claim_place(session);
    batch.word[0] = frame_word_evicting(seen, session->slot);
    batch.filter[frame / 64 % 8] |= UINT64_C(1) << frame % 64;
    tarn_half_store_relaxed(&session->shared->claim[batch.place[0]], frame + 1);
    if (!order_evicting_before_holds(&descriptor->frame_word, seen, session->slot)) {
        tarn_claim_end(session, batch.place[0]);
        return -EBUSY;
    }
    if (evict_batch(session, &batch, true) == 1)
        return 0;
    *ret_holder = tarn_frame_holder(&session->view, frame);
    return -EBUSY;
}
