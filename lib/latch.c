/* SPDX-License-Identifier: MIT */
/* Latches and optimistic reads. */
#include <inttypes.h>
#include <string.h>

#include "lib/hit.h"
#include "lib/internal.h"

#define OPTIMISTIC_TRIES 4

/* A pin of this session: its hold's present value, or 0 with a message. */
static uint32_t held_value(struct tarn_session *session, struct tarn_pin pin)
{
    uint32_t value = 0;
    if (pin.hold < TARN_HOLDS_MAX && pin.frame < session->view.geometry.frame_count)
        value = tarn_half_load_relaxed(session->hold[pin.hold]);
    if (value != 0 && (value & ~HOLD_SHARED) == hold_of(pin.frame))
        return value;
    tarn_fail(session, -EINVAL,
              "hold %u of frame %u is not a pin of session %u: given back already?", pin.hold,
              pin.frame, session->slot);
    return 0;
}

/* A call that does not fit what the session has of the pinned page. */
static int refuse_page(struct tarn_session *session, int result, uint32_t frame, const char *why)
{
    struct tarn_page_id id = tarn_page_in(session, frame);
    return tarn_fail(session, result, "page %" PRIu64 " of file %u %s", tarn_page_number(id),
                     tarn_page_file(id), why);
}

static int wait_for_exclusive(struct tarn_wait *wait, struct tarn_descriptor *descriptor,
                              uint64_t seen)
{
    return tarn_wait_round(wait, &descriptor->latch_word, seen, LATCH_WAITERS,
                           latch_word_owner(seen));
}

int tarn_latch_shared(struct tarn_session *session, struct tarn_pin pin, int32_t wait_ms)
{
    if (session->refusal != 0)
        return tarn_session_refuse(session);
    uint32_t value = held_value(session, pin);
    if (value == 0)
        return -EINVAL;
    if (wait_ms < -1)
        return tarn_fail(session, -EINVAL, "a wait of %d ms: 0 tries, -1 has no limit", wait_ms);
    struct tarn_descriptor *descriptor = &session->view.descriptors[pin.frame];
    tarn_half *hold = session->hold[pin.hold];
    struct tarn_wait wait = {.session = NULL};
    int result = 0;
    if ((value & HOLD_SHARED) != 0)
        return refuse_page(session, -EALREADY, pin.frame,
                           "is latched shared through this pin already");
    for (;;) {
        uint64_t seen = tarn_load_acquire(&descriptor->latch_word);
        if (latch_word_owner(seen) == 0) {
            order_shared_before_latch_word(hold);
            if ((tarn_load_acquire(&descriptor->sticky_word) & session->sticky_bit) == 0 &&
                !PLANTED(STICKY_NOT_SET))
                tarn_or_full(&descriptor->sticky_word, session->sticky_bit);
            if (tarn_load_acquire(&descriptor->latch_word) == seen ||
                PLANTED(SHARED_WITHOUT_SECOND_LOOK))
                break;
            tarn_half_store_release(hold, value); /* retract, and wait with the pin alone */
            continue;
        }
        if (latch_word_owner(seen) == session->slot) {
            result = refuse_page(session, -EALREADY, pin.frame,
                                 "is held exclusively by this mini-transaction already");
            break;
        }
        if (wait.session == NULL)
            tarn_wait_begin(&wait, session, WAIT_SHARED, pin.frame, wait_ms);
        result = wait_for_exclusive(&wait, descriptor, seen);
        if (result < 0)
            break;
    }
    if (wait.session != NULL)
        tarn_wait_end(&wait, LATENCY_SHARED);
    if (result == 0) {
        session->shared_holds |= UINT64_C(1) << pin.hold;
        session->pinned[pin.hold] |= PINNED_SHARED;
        tarn_counter(session, COUNTER_LATCHES_SHARED, 1);
    }
    return result;
}

int tarn_unlatch_shared(struct tarn_session *session, struct tarn_pin pin)
{
    if (session->refusal != 0)
        return tarn_session_refuse(session);
    uint32_t value = held_value(session, pin);
    if (value == 0)
        return -EINVAL;
    if ((value & HOLD_SHARED) == 0)
        return refuse_page(session, -EINVAL, pin.frame, "is not latched through this pin");
    tarn_half_store_release(session->hold[pin.hold], hold_of(pin.frame)); /* pairs: "hold" */
    session->pinned[pin.hold] &= ~PINNED_SHARED;
    session->shared_holds &= ~(UINT64_C(1) << pin.hold);
    return 0;
}

/* A session other than mine that holds the frame shared; 0: none. Only groups whose sticky bit is
 * set have to be searched. */
static unsigned find_sharer(struct tarn_session *session, uint32_t frame, uint64_t sticky)
{
    const struct tarn_view *view = &session->view;
    unsigned group_slots = view->geometry.group_slots;
    for (; sticky != 0; sticky &= sticky - 1) {
        unsigned first = (unsigned)__builtin_ctzll(sticky) * group_slots + 1;
        for (unsigned slot = first; slot < first + group_slots && slot <= view->slot_max; slot++)
            if (slot != session->slot && tarn_slot_shares(view, slot, frame))
                return slot;
    }
    return 0;
}

/* Waits until the shared holders have gone; new ones see the latch word and retract. */
static TARN_SLOW int drain(struct tarn_session *session, uint32_t frame, int64_t wait_ms)
{
    tarn_word *sticky_word = &session->view.descriptors[frame].sticky_word;
    uint64_t sticky = tarn_load_acquire(sticky_word);
    unsigned sharer = find_sharer(session, frame, sticky);
    int result = 0;
    if (sharer != 0) {
        struct tarn_wait wait;
        tarn_wait_begin(&wait, session, WAIT_DRAIN, frame, wait_ms);
        while (result == 0 && sharer != 0) {
            result = tarn_wait_round(&wait, NULL, 0, 0, sharer);
            sharer = find_sharer(session, frame, sticky);
        }
        if (sharer == 0)
            result = 0;
        tarn_wait_end(&wait, -1);
    }
    if (result == 0 || PLANTED(STICKY_CLEARED_BY_FAILED_DRAIN))
        tarn_store_relaxed(sticky_word, 0);
    return result;
}

/* Pairs: "latch", with every load of the word that is acted on. */
void tarn_latch_release(tarn_word *latch_word, unsigned owner)
{
    for (;;) { /* bounded: only waiters set their bit meanwhile */
        uint64_t seen = tarn_load_acquire(latch_word);
        if (latch_word_owner(seen) != owner)
            return;
        if (!tarn_cas_full(latch_word, seen, latch_word_released(seen)))
            continue;
        if (seen & LATCH_WAITERS)
            tarn_wake(latch_word);
        return;
    }
}

/* Somebody has it: waits, takes it. */
static TARN_SLOW int take_latch(struct tarn_session *session, uint32_t frame, uint64_t expected,
                                int64_t wait_ms)
{
    tarn_word *latch_word = &session->view.descriptors[frame].latch_word;
    struct tarn_wait wait = {.session = NULL};
    int result = 0;
    while (result == 0) {
        uint64_t seen = tarn_load_acquire(latch_word);
        if (expected != 0 && seen != expected) {
            result = -EAGAIN;
        } else if (latch_word_owner(seen) == 0) {
            if (order_latch_before_holds(latch_word, seen, session->slot))
                break;
        } else {
            if (wait.session == NULL)
                tarn_wait_begin(&wait, session, WAIT_EXCLUSIVE, frame, wait_ms);
            result =
                tarn_wait_round(&wait, latch_word, seen, LATCH_WAITERS, latch_word_owner(seen));
        }
    }
    if (wait.session != NULL)
        tarn_wait_end(&wait, LATENCY_EXCLUSIVE);
    return result;
}

int tarn_latch_exclusive(struct tarn_session *session, uint32_t frame, uint64_t expected,
                         int64_t wait_ms)
{
    struct tarn_descriptor *descriptor = &session->view.descriptors[frame];
    uint64_t seen = tarn_load_acquire(&descriptor->latch_word);
    int result = 0;
    if (latch_word_owner(seen) != 0 || (expected != 0 && seen != expected) ||
        !order_latch_before_holds(&descriptor->latch_word, seen, session->slot))
        result = take_latch(session, frame, expected, wait_ms);
    return result < 0 ? result : tarn_latch_drained(session, frame, wait_ms);
}

int tarn_latch_drained(struct tarn_session *session, uint32_t frame, int64_t wait_ms)
{
    struct tarn_descriptor *descriptor = &session->view.descriptors[frame];
    int result = 0;
    if (tarn_load_acquire(&descriptor->sticky_word) != 0)
        result = drain(session, frame, wait_ms);
    if (result < 0)
        tarn_latch_release(&descriptor->latch_word, session->slot);
    else
        tarn_counter(session, COUNTER_LATCHES_EXCLUSIVE, 1);
    return result;
}

/* The token of a page found in a frame. False: it is being changed, or on its way in or out;
 * *ret_latch is what its latch word was. */
static TARN_INLINE bool make_token(struct tarn_session *session, struct tarn_page_id id,
                                   uint32_t frame, uint64_t word,
                                   struct tarn_optimistic *ret_optimistic, uint64_t *ret_latch)
{
    struct tarn_descriptor *descriptor = &session->view.descriptors[frame];
    uint64_t latch = tarn_load_acquire(&descriptor->latch_word);
    *ret_latch = latch;
    /* The frame word once more: the version was read while the frame was this page's, so a later
     * use of the frame for another page has another version. */
    if (__builtin_expect(frame_word_state(word) != FRAME_VALID || latch_word_owner(latch) != 0 ||
                             tarn_load_acquire(&descriptor->frame_word) != word,
                         0))
        return false;
    ret_optimistic->data = tarn_view_frame(&session->view, frame);
    ret_optimistic->version = latch;
    ret_optimistic->id = id;
    ret_optimistic->frame = frame;
    ret_optimistic->generation = (uint32_t)frame_word_generation(word);
    if (__builtin_expect(tarn_half_load_relaxed(&descriptor->hint) < HINT_TOUCHED, 0))
        tarn_half_store_relaxed(&descriptor->hint, HINT_TOUCHED);
    tarn_counter(session, COUNTER_OPTIMISTIC, 1);
    return true;
}

/* One look, wherever the page stands. False: not now; *ret_frame (TARN_NO_FRAME: to be fetched)
 * and *ret_latch say why. */
static bool look(struct tarn_session *session, struct tarn_page_id id,
                 struct tarn_optimistic *ret_optimistic, uint32_t *ret_frame, uint64_t *ret_latch)
{
    uint64_t word;
    uint32_t frame = tarn_table_find(&session->view, id.value, &word);
    *ret_frame = TARN_NO_FRAME;
    if (frame == TARN_NO_FRAME || frame_word_state(word) != FRAME_VALID)
        return false;
    *ret_frame = frame;
    return make_token(session, id, frame, word, ret_optimistic, ret_latch);
}

/* The page is elsewhere, not there, or being changed: fetches it, waits for its holder. */
static TARN_SLOW int begin_slowly(struct tarn_session *session, struct tarn_page_id id,
                                  struct tarn_optimistic *ret_optimistic)
{
    struct tarn_wait wait = {.session = NULL};
    uint32_t fetched = TARN_NO_FRAME, hint = HINT_LOADED;
    int result = 0;
    while (result == 0) {
        uint32_t frame;
        uint64_t latch = 0;
        if (look(session, id, ret_optimistic, &frame, &latch)) {
            /* What was read for this call has not been touched twice. */
            if (frame == fetched)
                tarn_half_store_relaxed(&session->view.descriptors[frame].hint, hint);
            break;
        }
        if (frame == TARN_NO_FRAME) {
            int hold = tarn_hold_take(session);
            if (hold < 0) {
                result = hold;
                break;
            }
            result = tarn_fetch(session, id, TARN_HINT_NONE, (unsigned)hold, &frame);
            if (result == 0) {
                fetched = frame;
                hint = tarn_half_load_relaxed(&session->view.descriptors[frame].hint);
            }
            tarn_hold_give(session, (unsigned)hold);
        } else if (latch_word_owner(latch) == session->slot) {
            result = tarn_fail(session, -EALREADY,
                               "this mini-transaction holds page %" PRIu64 " of file %u already",
                               tarn_page_number(id), tarn_page_file(id));
        } else if (latch_word_owner(latch) != 0) {
            /* The page may have moved to another frame, and have another holder there. */
            if (wait.session != NULL && wait.object != frame) {
                tarn_wait_end(&wait, LATENCY_SHARED);
                wait.session = NULL;
            }
            if (wait.session == NULL)
                tarn_wait_begin(&wait, session, WAIT_SHARED, frame, session->wait_ms);
            result = wait_for_exclusive(&wait, &session->view.descriptors[frame], latch);
        }
    }
    if (wait.session != NULL)
        tarn_wait_end(&wait, LATENCY_SHARED);
    return result;
}

int tarn_optimistic_begin(struct tarn_session *session, struct tarn_page_id id,
                          struct tarn_optimistic *ret_optimistic)
{
    if (__builtin_expect(session->refusal != 0, 0))
        return tarn_session_refuse(session);
    uint64_t word, latch;
    uint32_t frame = tarn_table_find_at_home(&session->view, id.value, &word);
    if (__builtin_expect(frame != TARN_NO_FRAME, 1) &&
        make_token(session, id, frame, word, ret_optimistic, &latch))
        return 0;
    return begin_slowly(session, id, ret_optimistic);
}

/* The version says that the frame has not changed; the generation that the page has not left it:
 * while the frame is FREE its version stands still, and the page may be changed in another one. */
int tarn_optimistic_valid(struct tarn_session *session, const struct tarn_optimistic *optimistic)
{
    if (__builtin_expect(session->refusal != 0, 0)) {
        tarn_session_refuse(session);
        return 0;
    }
    if (__builtin_expect(optimistic->frame >= session->view.geometry.frame_count, 0))
        return 0;
    tarn_fence_load_load();
    const struct tarn_descriptor *descriptor = &session->view.descriptors[optimistic->frame];
    uint64_t word = tarn_load_relaxed(&descriptor->frame_word);
    if (__builtin_expect(tarn_load_relaxed(&descriptor->latch_word) == optimistic->version &&
                             ((uint32_t)frame_word_generation(word) == optimistic->generation ||
                              PLANTED(TOKEN_WITHOUT_GENERATION)),
                         1))
        return 1;
    tarn_counter(session, COUNTER_OPTIMISTIC_FAILED, 1);
    return 0;
}

__attribute__((no_sanitize("thread"), noinline)) void tarn_racy_copy(void *to, const void *from,
                                                                     size_t bytes)
{
    /* Not memcpy: ThreadSanitizer intercepts that wherever it is called from. */
    uint8_t *target = to;
    const uint8_t *source = from;
    size_t at = 0;
    for (; at + sizeof(uint64_t) <= bytes; at += sizeof(uint64_t)) {
        uint64_t piece;
        __builtin_memcpy(&piece, source + at, sizeof piece);
        __builtin_memcpy(target + at, &piece, sizeof piece);
    }
    for (; at < bytes; at++)
        target[at] = source[at];
}

/* Under a shared latch, after the optimistic tries have failed. */
static int copy_latched(struct tarn_session *session, struct tarn_page_id id, uint32_t offset,
                        uint32_t bytes, void *ret_bytes)
{
    struct tarn_pin pin;
    int result = tarn_pin(session, id, TARN_HINT_NONE, &pin);
    if (result < 0)
        return result;
    result = tarn_latch_shared(session, pin, session->wait_ms);
    if (result == 0) {
        memcpy(ret_bytes, (const uint8_t *)pin.data + offset, bytes);
        tarn_unlatch_shared(session, pin);
    }
    tarn_unpin(session, pin);
    return result;
}

int tarn_page_copy(struct tarn_session *session, struct tarn_page_id id, uint32_t offset,
                   uint32_t bytes, void *ret_bytes)
{
    if (session->refusal != 0)
        return tarn_session_refuse(session);
    uint32_t page_bytes = session->view.geometry.page_bytes;
    if (offset > page_bytes || bytes > page_bytes - offset || (ret_bytes == NULL && bytes != 0))
        return tarn_fail(session, -EINVAL, "copy of bytes %u to %" PRIu64 " of a page of %u bytes",
                         offset, (uint64_t)offset + bytes, page_bytes);
    for (int i = 0; i < OPTIMISTIC_TRIES; i++) {
        struct tarn_optimistic optimistic;
        int result = tarn_optimistic_begin(session, id, &optimistic);
        if (result < 0)
            return result;
        tarn_racy_copy(ret_bytes, (const uint8_t *)optimistic.data + offset, bytes);
        if (tarn_optimistic_valid(session, &optimistic))
            return 0;
    }
    return copy_latched(session, id, offset, bytes, ret_bytes);
}
