/* SPDX-License-Identifier: MIT */
/* Cleaning up after a session: the reaper's work, and the same for one that closes.
 *
 * Each step is idempotent, so that a second reaper begins at the top; none waits, needs a frame or
 * memory. The order is the point: the mini-transaction is decided before anything that it needs
 * (shadows, holds) is given back.
 */
#include <fcntl.h>

#include "lib/internal.h"

/* EVICTING(owner) or CLAIMED(owner) of a dead or closing session goes back. Bounded: the word is
 * changed by others only towards states that are not this owner's. */
static bool give_back_frame(const struct tarn_view *view, uint32_t frame, unsigned owner)
{
    tarn_word *frame_word = &view->descriptors[frame].frame_word;
    for (;;) {
        uint64_t seen = tarn_load_acquire(frame_word);
        uint64_t back;
        if (frame_word_is(seen, FRAME_CLAIMED, owner))
            back = frame_word_freed(seen);
        else if (frame_word_is(seen, FRAME_EVICTING, owner) && !PLANTED(EVICTING_NOT_RESCUED))
            back = frame_word_valid(seen);
        else
            return false;
        if (!tarn_cas_full(frame_word, seen, back))
            continue;
        if (frame_word_state(back) == FRAME_FREE)
            tarn_or_full(&view->bitmap[frame / 64], UINT64_C(1) << frame % 64);
        if (seen & FRAME_WAITERS)
            tarn_wake(frame_word);
        return true;
    }
}

static void mark_dirty(struct tarn_descriptor *descriptor)
{
    tarn_store_relaxed(&descriptor->dirty_word,
                       dirty_word_changed(tarn_load_relaxed(&descriptor->dirty_word)));
}

static struct tarn_descriptor *descriptor_of(const struct tarn_view *view, uint64_t entry)
{
    uint32_t frame = mtr_entry_frame_plus_one(entry) - 1;
    return frame < view->geometry.frame_count ? &view->descriptors[frame] : NULL;
}

/* Of a committed mini-transaction. A page is touched only while frame word or latch word names the
 * session. */
static void mark_page(const struct tarn_view *view, uint64_t entry, unsigned owner)
{
    struct tarn_descriptor *descriptor = descriptor_of(view, entry);
    if (descriptor == NULL)
        return;
    uint64_t latch = tarn_load_acquire(&descriptor->latch_word);
    if (frame_word_is(tarn_load_acquire(&descriptor->frame_word), FRAME_CLAIMED, owner) ||
        (latch_word_owner(latch) == owner && mtr_entry_shadow_plus_one(entry) != 0 &&
         !PLANTED(REAPED_COMMIT_LEFT_CLEAN)))
        mark_dirty(descriptor);
}

static void publish_page(const struct tarn_view *view, uint64_t entry, unsigned owner)
{
    struct tarn_descriptor *descriptor = descriptor_of(view, entry);
    uint64_t seen;
    do {
        if (descriptor == NULL)
            return;
        seen = tarn_load_acquire(&descriptor->frame_word);
        if (!frame_word_is(seen, FRAME_CLAIMED, owner))
            return;
    } while (!tarn_cas_full(&descriptor->frame_word, seen, frame_word_valid(seen)));
    if (seen & FRAME_WAITERS)
        tarn_wake(&descriptor->frame_word);
}

static void release_page(const struct tarn_view *view, uint64_t entry, unsigned owner,
                         bool committed)
{
    struct tarn_descriptor *descriptor = descriptor_of(view, entry);
    if (descriptor == NULL)
        return;
    uint64_t latch = tarn_load_acquire(&descriptor->latch_word);
    if (latch_word_owner(latch) != owner && !PLANTED(RESTORED_WITHOUT_LATCH))
        return;
    if (!committed && mtr_entry_shadow_plus_one(entry) != 0)
        tarn_shadow_restore(view, entry);
    tarn_latch_release(&descriptor->latch_word, owner);
}

/* Undone, or brought to its end in the order of a commit: all pages dirty, NEW ones VALID, then the
 * others released. */
static void finish_mtr(const struct tarn_view *view, struct tarn_slot *shared, unsigned slot)
{
    uint64_t word = tarn_load_acquire(&shared->mtr); /* pairs: "mtr" */
    unsigned state = mtr_word_state(word), count = mtr_word_count(word);
    if (state == MTR_NONE)
        return;
    if (count > TARN_MTR_ENTRIES_MAX)
        count = TARN_MTR_ENTRIES_MAX;
    for (unsigned i = 0; i < count && state == MTR_COMMITTED; i++)
        mark_page(view, tarn_load_relaxed(&shared->mtr_entry[i]), slot);
    for (unsigned i = 0; i < count && state == MTR_COMMITTED; i++)
        publish_page(view, tarn_load_relaxed(&shared->mtr_entry[i]), slot);
    for (unsigned i = 0; i < count; i++)
        release_page(view, tarn_load_relaxed(&shared->mtr_entry[i]), slot, state == MTR_COMMITTED);
    tarn_store_release(&shared->mtr, mtr_word_of(mtr_word_serial(word) + 1, 0, MTR_NONE));
}

static bool clear_claims(const struct tarn_view *view, struct tarn_slot *shared, unsigned slot)
{
    bool freed = false;
    for (unsigned i = 0; i < TARN_CLAIMS_MAX; i++) {
        uint32_t frame_plus_one = tarn_half_load_relaxed(&shared->claim[i]);
        if (frame_plus_one == 0)
            continue;
        if (frame_plus_one <= view->geometry.frame_count)
            freed |= give_back_frame(view, frame_plus_one - 1, slot);
        tarn_half_store_release(&shared->claim[i], 0);
    }
    uint64_t home = tarn_load_relaxed(&shared->home_lock);
    if (home != 0 && home <= view->geometry.bucket_count && !PLANTED(HOME_LOCK_NOT_REAPED)) {
        /* The one store inside that matters, the entry's CAS, happened or did not. */
        tarn_cas_full(&view->home_locks[home - 1], slot, 0);
    }
    tarn_store_release(&shared->home_lock, 0);
    return freed;
}

static void clear_holds(const struct tarn_view *view, unsigned slot)
{
    for (unsigned line = TARN_HOLD_LINES; line-- > 0;) {
        struct tarn_hold_line *holds = tarn_view_hold_line(view, slot, line);
        for (unsigned i = 0; i < HOLD_LINE_HOLDS; i++)
            tarn_half_store_release(&holds->hold[i], 0);
        tarn_half_store_release(&holds->mark, 0);
    }
}

/* The writer may be answering; its CAS is on the asked word. */
static void withdraw_request(struct tarn_slot *shared)
{
    uint64_t word = tarn_load_acquire(&shared->request.word);
    uint64_t none = request_word_of(request_word_serial(word), 0, REQUEST_NONE);
    if (request_word_state(word) == REQUEST_NONE)
        return;
    if (!tarn_cas_full(&shared->request.word, word, none))
        tarn_store_release(&shared->request.word, none);
}

void tarn_clear_slot(struct tarn_pool *pool, unsigned slot)
{
    const struct tarn_view *view = &pool->view;
    struct tarn_slot *shared = tarn_view_slot(view, slot);
    if (PLANTED(SLOT_FREE_BEFORE_CLEARED))
        tarn_store_release(&shared->state, SLOT_FREE);
    if (PLANTED(HOLDS_REAPED_BEFORE_MTR))
        clear_holds(view, slot);
    if (PLANTED(SHADOWS_REAPED_BEFORE_MTR))
        clear_claims(view, shared, slot);
    finish_mtr(view, shared, slot);
    bool freed = clear_claims(view, shared, slot);
    clear_holds(view, slot);
    if (!PLANTED(REQUEST_NOT_WITHDRAWN))
        withdraw_request(shared);
    tarn_store_relaxed(&shared->wait, 0);
    tarn_store_relaxed(&shared->wait_since_ns, 0);
    tarn_store_release(&shared->state, SLOT_FREE); /* pairs: "slot free" */
    if (freed)
        tarn_frames_freed(pool);
}

int tarn_reap(struct tarn_pool *pool, unsigned slot, struct tarn_session *own)
{
    struct tarn_slot *shared = tarn_view_slot(&pool->view, slot);
    /* Asked before the claim: one who is stopped while it asks must not have the claim of a session
     * that lives, since nobody else could reap that one then. */
    if (tarn_load_acquire(&shared->state) == SLOT_FREE || !pool->dead(pool, slot))
        return 0;
    uint64_t begun = tarn_now_ns();
    int cancel_state = tarn_pool_lock(pool);
    int reaped = 0;
    /* All sessions of a handle share its descriptions, and so its claims: the mutex and this
     * test keep a handle from reaping its own. */
    if (pool->sessions[slot] == NULL &&
        (PLANTED(REAPED_WITHOUT_CLAIM_BYTE) ||
         tarn_lock_byte(pool->ask_fd, TARN_LOCK_CLAIM + slot, F_WRLCK) == 0)) {
        if (tarn_load_acquire(&shared->state) != SLOT_FREE && pool->dead(pool, slot)) {
            bool early = tarn_byte_locked(pool->ask_fd, TARN_LOCK_LIFE + slot);
            tarn_store_relaxed(&shared->reaped_pid, tarn_load_relaxed(&shared->pid));
            tarn_clear_slot(pool, slot);
            tarn_fetch_add_full(&pool->view.control->reaps, 1);
            if (early)
                tarn_fetch_add_full(&pool->view.control->reaps_early, 1);
            reaped = 1;
        }
        tarn_lock_byte(pool->ask_fd, TARN_LOCK_CLAIM + slot, F_UNLCK);
    }
    tarn_pool_unlock(pool, cancel_state);
    if (reaped) {
        uint64_t took = tarn_now_ns() - begun;
        if (took > tarn_load_relaxed(&pool->view.control->reap_ns_max))
            tarn_store_relaxed(&pool->view.control->reap_ns_max, took);
        if (own != NULL)
            tarn_counter(own, COUNTER_REAPS, 1);
    }
    return reaped;
}

int tarn_reap_all(struct tarn_pool *pool, struct tarn_session *own)
{
    int count = 0;
    for (unsigned slot = 1; slot <= pool->view.slot_max; slot++)
        if (tarn_load_relaxed(&tarn_view_slot(&pool->view, slot)->state) != SLOT_FREE &&
            pool->dead(pool, slot))
            count += tarn_reap(pool, slot, own);
    return count;
}
