/* SPDX-License-Identifier: MIT */
/* Mini-transactions: pages changed together, all or nothing, whoever dies when.
 *
 * The slot's entries {frame, shadow} and its mtr word say at every instruction what a reaper has
 * to do. An entry is stored before its latch is taken, and cleared after it is released; the
 * shadow is complete before the entry names it, and named before the caller gets the pointer.
 */
#include <inttypes.h>
#include <string.h>

#include "lib/hit.h"
#include "lib/internal.h"

/* A shadow of declared ranges: how many, which, and their old bytes, in the order of declaration.
 * Stored in the order bytes, range, count. SHARED, session owner. */
#define RANGES_MAX 62u
struct ranges {
    tarn_word count;
    tarn_half range[RANGES_MAX]; /* offset << 16 | length - 1 */
    uint8_t bytes[];
};
_Static_assert(sizeof(struct ranges) == 256, "old bytes begin at 256");

static uint32_t range_offset(uint32_t range)
{
    return range >> 16;
}

static uint32_t range_bytes(uint32_t range)
{
    return (range & 0xffff) + 1;
}

/* Puts the old bytes of the ranges over `image`, newest first, so that where ranges overlap the
 * oldest bytes stay. Bytes of the segment are checked: nothing outside page or shadow is touched.
 */
static void overlay_ranges(const struct ranges *ranges, uint64_t count, uint32_t page_bytes,
                           uint8_t *image)
{
    uint32_t begins[RANGES_MAX];
    uint32_t at = 0;
    if (count > RANGES_MAX)
        count = RANGES_MAX;
    for (uint64_t i = 0; i < count; i++) {
        begins[i] = at;
        at += range_bytes(tarn_half_load_relaxed(&ranges->range[i]));
    }
    for (uint64_t left = count; left-- > 0;) {
        uint64_t i = PLANTED(RANGES_UNDONE_OLDEST_FIRST) ? count - 1 - left : left;
        uint32_t range = tarn_half_load_relaxed(&ranges->range[i]);
        uint32_t offset = range_offset(range), bytes = range_bytes(range);
        if (offset + bytes <= page_bytes &&
            begins[i] + bytes <= page_bytes - (uint32_t)sizeof(struct ranges))
            memcpy(image + offset, ranges->bytes + begins[i], bytes);
    }
}

static uint64_t count_ranges(const uint8_t *shadow)
{
    const struct ranges *ranges = (const struct ranges *)(const void *)shadow;
    return tarn_load_acquire(&ranges->count); /* pairs: "ranges" */
}

void tarn_shadow_restore(const struct tarn_view *view, uint64_t entry)
{
    uint32_t frame = mtr_entry_frame_plus_one(entry) - 1;
    uint32_t shadow = mtr_entry_shadow_plus_one(entry) - 1;
    if (frame >= view->geometry.frame_count || shadow >= view->geometry.frame_count ||
        frame == shadow)
        return;
    uint8_t *page = tarn_view_frame(view, frame);
    const uint8_t *old = tarn_view_frame(view, shadow);
    if (entry & MTR_ENTRY_RANGES)
        overlay_ranges((const struct ranges *)old, count_ranges(old), view->geometry.page_bytes,
                       page);
    else
        memcpy(page, old, view->geometry.page_bytes);
}

__attribute__((no_sanitize("thread"))) void tarn_shadow_image(const struct tarn_view *view,
                                                              uint64_t entry, uint8_t *ret_image)
{
    uint32_t frame = mtr_entry_frame_plus_one(entry) - 1;
    uint32_t shadow = mtr_entry_shadow_plus_one(entry) - 1;
    uint32_t page_bytes = view->geometry.page_bytes;
    if (frame >= view->geometry.frame_count)
        return;
    bool named = mtr_entry_shadow_plus_one(entry) != 0 && shadow < view->geometry.frame_count;
    bool ranges = (entry & MTR_ENTRY_RANGES) != 0;
    tarn_racy_copy(ret_image, tarn_view_frame(view, named && !ranges ? shadow : frame), page_bytes);
    if (named && ranges) {
        /* The page first, then the count, then what it counts: a range that is declared later has
         * no bytes in the copy of the page. A private copy, since the owner goes on meanwhile. */
        uint8_t copy[TARN_PAGE_BYTES_MAX] __attribute__((aligned(8)));
        tarn_fence_load_load();
        uint64_t count = count_ranges(tarn_view_frame(view, shadow));
        tarn_racy_copy(copy, tarn_view_frame(view, shadow), page_bytes);
        overlay_ranges((const struct ranges *)(const void *)copy, count, page_bytes, ret_image);
    }
}

static void set_word(struct tarn_session *session, unsigned count, unsigned state)
{
    session->mtr_state = state;
    session->mtr_count = count;
    uint64_t word = mtr_word_of(session->mtr_serial, count, state);
    tarn_store_release(&session->shared->mtr, word); /* pairs: "mtr" */
}

static struct tarn_descriptor *descriptor_of(struct tarn_session *session,
                                             const struct tarn_mtr_page *page)
{
    return &session->view.descriptors[page->frame_plus_one - 1];
}

/* Announced shadows in reserve: frame and claim place. */
void tarn_shadows_trim(struct tarn_session *session, unsigned keep)
{
    while (session->shadow_count > keep) {
        struct tarn_shadow *shadow = &session->shadow[--session->shadow_count];
        tarn_frame_unclaim(session, shadow->frame, shadow->claim);
    }
}

/* Claims shadows until there are `want`. What it has it gives back before it waits, so that two who
 * each have half of the frames do not wait for each other. */
static int reserve_shadows(struct tarn_session *session, unsigned want)
{
    struct tarn_wait wait = {.session = NULL};
    int result = 0;
    while (session->shadow_count < want) {
        struct tarn_shadow *shadow = &session->shadow[session->shadow_count];
        result =
            tarn_frame_claim_again(session, wait.session != NULL, &shadow->frame, &shadow->claim);
        if (result == 0) {
            session->shadow_count++;
            continue;
        }
        tarn_shadows_trim(session, 0);
        if (wait.session == NULL)
            tarn_wait_begin(&wait, session, WAIT_FRAME, 0, session->frame_wait_ms);
        wait.spins = UINT32_MAX; /* a look at all frames was longer than any spin */
        result = tarn_wait_round(&wait, NULL, 0, 0, TARN_EVERYBODY);
        if (result < 0)
            break;
    }
    if (wait.session != NULL)
        tarn_wait_end(&wait, LATENCY_FRAME);
    return result == -ETIMEDOUT ? tarn_frames_exhausted(session) : result;
}

int tarn_mtr_begin(struct tarn_session *session, unsigned page_count_max)
{
    if (session->refusal != 0)
        return tarn_session_refuse(session);
    if (session->mtr_state != MTR_NONE)
        return tarn_fail(session, -EINPROGRESS,
                         "session %u has a mini-transaction already: commit or abort it first",
                         session->slot);
    if (page_count_max < 1)
        return tarn_fail(session, -EINVAL, "a mini-transaction of 0 pages");
    if (page_count_max > session->mtr_possible)
        return tarn_fail(session, -E2BIG,
                         "a mini-transaction of %u pages: the most in pool %s is %u",
                         page_count_max, session->pool->name, session->mtr_possible);
    int result = tarn_session_check_life(session);
    if (result == 0 && session->shadow_count < page_count_max)
        result = reserve_shadows(session, page_count_max);
    if (result < 0)
        return result;
    session->mtr_max = page_count_max;
    session->mtr_error = 0;
    set_word(session, 0, MTR_ACTIVE);
    return 0;
}

/* After these the mini-transaction goes on; after any other only abort is left. */
static int note_error(struct tarn_session *session, int result)
{
    switch (result) {
    case 0:
    case -ETIMEDOUT:
    case -EAGAIN:
    case -EALREADY:
    case -ERANGE:
    case -EINVAL:
        break;
    default:
        session->mtr_error = result;
    }
    return result;
}

/* Why a call inside a mini-transaction is refused. */
static TARN_SLOW int refuse_call(struct tarn_session *session)
{
    if (session->refusal != 0)
        return tarn_session_refuse(session);
    if (session->mtr_state != MTR_ACTIVE)
        return tarn_fail(session, -ESRCH, "session %u has no mini-transaction: begin one",
                         session->slot);
    return tarn_fail(session, -ECANCELED,
                     "an earlier call of this mini-transaction failed (%s): abort it",
                     tarn_strerror(session->mtr_error));
}

static TARN_INLINE int check_active(struct tarn_session *session)
{
    if (__builtin_expect(session->refusal != 0 || session->mtr_state != MTR_ACTIVE ||
                             session->mtr_error != 0,
                         0))
        return refuse_call(session);
    return 0;
}

static inline struct tarn_mtr_page *find_page(struct tarn_session *session, struct tarn_page_id id)
{
    for (unsigned i = 0; i < session->mtr_count; i++)
        if (session->mtr_page[i].frame_plus_one != 0 && session->mtr_page[i].id.value == id.value)
            return &session->mtr_page[i];
    return NULL;
}

static int taken_already(struct tarn_session *session, struct tarn_page_id id)
{
    return tarn_fail(session, -EALREADY,
                     "page %" PRIu64 " of file %u is in this mini-transaction already",
                     tarn_page_number(id), tarn_page_file(id));
}

static TARN_SLOW int too_many_pages(struct tarn_session *session)
{
    return note_error(session,
                      tarn_fail(session, -E2BIG,
                                "one page more than the %u that this mini-transaction was begun"
                                " for",
                                session->mtr_max));
}

/* An empty place among the entries; the first that an early release left, or the next. */
static inline int find_place(struct tarn_session *session)
{
    unsigned used = 0, place = session->mtr_count;
    for (unsigned i = session->mtr_count; i-- > 0;)
        if (session->mtr_page[i].frame_plus_one == 0)
            place = i;
        else
            used++;
    return used < session->mtr_max ? (int)place : too_many_pages(session);
}

static tarn_word *entry_of_page(struct tarn_session *session, const struct tarn_mtr_page *page)
{
    return &session->shared->mtr_entry[page - session->mtr_page];
}

/* Names the frame in an entry, before its latch word or its commit can. Pairs: "entry", as do the
 * stores that name a shadow. */
static inline void announce(struct tarn_session *session, struct tarn_mtr_page *page,
                            uint32_t frame)
{
    unsigned place = (unsigned)(page - session->mtr_page);
    page->frame_plus_one = frame + 1;
    tarn_store_release(&session->shared->mtr_entry[place], mtr_entry_of(frame, 0, false));
    if (place == session->mtr_count)
        set_word(session, place + 1, MTR_ACTIVE);
}

/* The latch, if it was this mtr's, is free again; then the entry, then the hold. */
static inline void forget(struct tarn_session *session, struct tarn_mtr_page *page)
{
    tarn_store_release(entry_of_page(session, page), 0);
    tarn_hold_give(session, page->hold);
    page->frame_plus_one = 0;
}

/* Does this session hold the frame shared through a pin of its own? Waiting for that would never
 * end. */
static int check_own_share(struct tarn_session *session, struct tarn_page_id id, uint32_t frame)
{
    if (session->shared_holds == 0 || !tarn_slot_shares(&session->view, session->slot, frame))
        return 0;
    return tarn_fail(session, -EALREADY,
                     "page %" PRIu64 " of file %u is latched shared by this session: unlatch it"
                     " first",
                     tarn_page_number(id), tarn_page_file(id));
}

/* Pin and latch with one barrier, of a page that is cached and that nobody has. True: X is held,
 * but for shared holders that may have to be drained. False: nothing is taken. A frame that is
 * another page's by the time of the second look was latched for that moment, its bytes not used. */
static TARN_INLINE bool take_at_once(struct tarn_session *session, struct tarn_mtr_page *page,
                                     const struct tarn_optimistic *expected)
{
    uint64_t word;
    uint32_t frame = tarn_table_find_at_home(&session->view, page->id.value, &word);
    if (frame == TARN_NO_FRAME || frame_word_state(word) != FRAME_VALID ||
        session->shared_holds != 0)
        return false;
    struct tarn_descriptor *descriptor = &session->view.descriptors[frame];
    uint64_t latch = tarn_load_acquire(&descriptor->latch_word);
    if (latch_word_owner(latch) != 0 ||
        (expected != NULL && (expected->frame != frame || expected->version != latch)))
        return false;
    announce(session, page, frame);
    tarn_half *hold = session->hold[page->hold];
    bool latched =
        order_hold_and_latch(hold, hold_of(frame), &descriptor->latch_word, latch, session->slot);
    if (latched && (tarn_load_acquire(&descriptor->frame_word) == word ||
                    PLANTED(TAKEN_WITHOUT_SECOND_LOOK))) {
        tarn_touch(descriptor, TARN_HINT_NONE);
        tarn_hits_add(session, page_id_file(page->id.value), 1);
        return true;
    }
    if (latched)
        tarn_latch_release(&descriptor->latch_word, session->slot);
    tarn_store_release(entry_of_page(session, page), 0);
    tarn_half_store_release(hold, 0);
    page->frame_plus_one = 0;
    return false;
}

/* Pins, announces, latches. `expected`: NULL, or the token that must still hold. */
static int take(struct tarn_session *session, struct tarn_page_id id,
                const struct tarn_optimistic *expected, int32_t wait_ms,
                struct tarn_mtr_page **ret_page)
{
    int place = find_place(session);
    if (place < 0)
        return place;
    int hold = tarn_hold_take(session);
    if (hold < 0)
        return note_error(session, hold);
    struct tarn_mtr_page *page = &session->mtr_page[place];
    *page = (struct tarn_mtr_page){.id = id, .hold = (uint8_t)hold};
    int result;
    if (__builtin_expect(take_at_once(session, page, expected), 1)) {
        result = tarn_latch_drained(session, page->frame_plus_one - 1, wait_ms);
        if (result < 0) {
            forget(session, page);
            return note_error(session, result);
        }
        *ret_page = page;
        return 0;
    }
    uint32_t frame;
    result = tarn_fetch(session, id, TARN_HINT_NONE, (unsigned)hold, &frame);
    if (result < 0) {
        tarn_hold_give(session, (unsigned)hold);
        return note_error(session, result);
    }
    result = expected != NULL && expected->frame != frame ? -EAGAIN
                                                          : check_own_share(session, id, frame);
    if (!PLANTED(ANNOUNCED_AFTER_LATCH))
        announce(session, page, frame);
    if (result == 0)
        result =
            tarn_latch_exclusive(session, frame, expected == NULL ? 0 : expected->version, wait_ms);
    if (PLANTED(ANNOUNCED_AFTER_LATCH))
        announce(session, page, frame);
    if (result < 0) {
        forget(session, page);
        return note_error(session, result);
    }
    *ret_page = page;
    return 0;
}

static int changed_since(struct tarn_session *session, const struct tarn_optimistic *optimistic)
{
    return tarn_fail(session, -EAGAIN,
                     "page %" PRIu64 " of file %u has changed since it was read: read it again",
                     tarn_page_number(optimistic->id), tarn_page_file(optimistic->id));
}

/* The token, asked before anything is taken; a page that left the pool has changed for it. */
static int take_if(struct tarn_session *session, const struct tarn_optimistic *optimistic,
                   int32_t wait_ms, struct tarn_mtr_page **ret_page)
{
    uint64_t word;
    if (find_page(session, optimistic->id) != NULL)
        return taken_already(session, optimistic->id);
    uint32_t frame = tarn_table_find(&session->view, optimistic->id.value, &word);
    if (optimistic->version == 0 || frame == TARN_NO_FRAME || frame != optimistic->frame ||
        tarn_load_acquire(&session->view.descriptors[frame].latch_word) != optimistic->version)
        return changed_since(session, optimistic);
    int result = take(session, optimistic->id, optimistic, wait_ms, ret_page);
    return result == -EAGAIN ? changed_since(session, optimistic) : result;
}

static inline int begin_call(struct tarn_session *session, int32_t wait_ms)
{
    int result = check_active(session);
    if (result == 0 && wait_ms < -1)
        result = tarn_fail(session, -EINVAL, "a wait of %d ms: 0 tries, -1 has no limit", wait_ms);
    return result;
}

static void hand_out_locked(struct tarn_session *session, const struct tarn_mtr_page *page,
                            struct tarn_locked_page *ret_page)
{
    *ret_page =
        (struct tarn_locked_page){.data = tarn_view_frame(&session->view, page->frame_plus_one - 1),
                                  .entry = (uint32_t)(page - session->mtr_page)};
}

/* The shadow is named before the caller's first store. */
static inline void hand_out_writable(struct tarn_session *session, const struct tarn_mtr_page *page,
                                     struct tarn_writable_page *ret_page)
{
    tarn_fence_store_store(); /* pairs: "shadow" */
    *ret_page = (struct tarn_writable_page){
        .data = tarn_view_frame(&session->view, page->frame_plus_one - 1),
        .entry = (uint32_t)(page - session->mtr_page)};
}

int tarn_mtr_lock(struct tarn_session *session, struct tarn_page_id id, int32_t wait_ms,
                  struct tarn_locked_page *ret_page)
{
    struct tarn_mtr_page *page;
    int result = begin_call(session, wait_ms);
    if (result == 0 && find_page(session, id) != NULL)
        result = taken_already(session, id);
    if (result == 0)
        result = take(session, id, NULL, wait_ms, &page);
    if (result == 0)
        hand_out_locked(session, page, ret_page);
    return result;
}

int tarn_mtr_lock_if(struct tarn_session *session, const struct tarn_optimistic *optimistic,
                     int32_t wait_ms, struct tarn_locked_page *ret_page)
{
    struct tarn_mtr_page *page;
    int result = begin_call(session, wait_ms);
    if (result == 0)
        result = take_if(session, optimistic, wait_ms, &page);
    if (result == 0)
        hand_out_locked(session, page, ret_page);
    return result;
}

/* The next reserved shadow becomes the page's. begin reserved enough of them. */
static uint32_t next_shadow(struct tarn_session *session)
{
    return session->shadow[session->shadow_used++].frame;
}

static void shadow_whole(struct tarn_session *session, struct tarn_mtr_page *page)
{
    const struct tarn_view *view = &session->view;
    uint32_t frame = page->frame_plus_one - 1;
    uint32_t shadow = next_shadow(session);
    if (PLANTED(SHADOW_NAMED_BEFORE_COPY))
        tarn_store_release(entry_of_page(session, page), mtr_entry_of(frame, shadow + 1, false));
    memcpy(tarn_view_frame(view, shadow), tarn_view_frame(view, frame), view->geometry.page_bytes);
    tarn_store_release(entry_of_page(session, page), mtr_entry_of(frame, shadow + 1, false));
    page->shadow_plus_one = shadow + 1;
    page->writable = true;
}

/* A page that was written in ranges is to be writable as a whole: the whole old page is put
 * together in another shadow, and one store changes the entry over. */
static int ranges_to_whole(struct tarn_session *session, struct tarn_mtr_page *page)
{
    const struct tarn_view *view = &session->view;
    uint32_t frame = page->frame_plus_one - 1;
    struct tarn_shadow spare;
    int result = tarn_frame_claim_wait(session, session->frame_wait_ms, &spare.frame, &spare.claim);
    if (result < 0)
        return note_error(session, result);
    uint8_t *image = tarn_view_frame(view, spare.frame);
    uint32_t old = page->shadow_plus_one - 1;
    memcpy(image, tarn_view_frame(view, frame), view->geometry.page_bytes);
    const uint8_t *ranges = tarn_view_frame(view, old);
    overlay_ranges((const struct ranges *)ranges, count_ranges(ranges), view->geometry.page_bytes,
                   image);
    tarn_store_release(entry_of_page(session, page), mtr_entry_of(frame, spare.frame + 1, false));
    page->shadow_plus_one = spare.frame + 1;
    page->ranges = false;
    for (unsigned i = 0; i < session->shadow_used; i++)
        if (session->shadow[i].frame == old) {
            struct tarn_shadow given = session->shadow[i];
            session->shadow[i] = spare;
            tarn_frame_unclaim(session, given.frame, given.claim);
        }
    return 0;
}

int tarn_mtr_write(struct tarn_session *session, struct tarn_page_id id, int32_t wait_ms,
                   struct tarn_writable_page *ret_page)
{
    int result = begin_call(session, wait_ms);
    if (result < 0)
        return result;
    struct tarn_mtr_page *page = find_page(session, id);
    if (page == NULL)
        result = take(session, id, NULL, wait_ms, &page);
    if (result == 0 && page->ranges)
        result = ranges_to_whole(session, page);
    else if (result == 0 && !page->writable)
        shadow_whole(session, page);
    if (result == 0)
        hand_out_writable(session, page, ret_page);
    return result;
}

int tarn_mtr_write_if(struct tarn_session *session, const struct tarn_optimistic *optimistic,
                      int32_t wait_ms, struct tarn_writable_page *ret_page)
{
    struct tarn_mtr_page *page;
    int result = begin_call(session, wait_ms);
    if (result == 0)
        result = take_if(session, optimistic, wait_ms, &page);
    if (result == 0) {
        shadow_whole(session, page);
        hand_out_writable(session, page, ret_page);
    }
    return result;
}

/* A word is what most ranges are: no call for it. */
static void copy_range(uint8_t *to, const uint8_t *from, uint32_t bytes)
{
    if (bytes == sizeof(uint64_t))
        memcpy(to, from, sizeof(uint64_t));
    else
        memcpy(to, from, bytes);
}

/* Declares one more range. False: it does not fit, the page has to turn to whole. */
static inline bool add_range(struct tarn_session *session, struct tarn_mtr_page *page,
                             uint32_t offset, uint32_t bytes)
{
    const struct tarn_view *view = &session->view;
    struct ranges *ranges =
        (struct ranges *)(void *)tarn_view_frame(view, page->shadow_plus_one - 1);
    uint64_t count = tarn_load_relaxed(&ranges->count);
    uint64_t known = count < RANGES_MAX ? count : RANGES_MAX;
    uint32_t at = 0;
    for (uint64_t i = 0; i < known; i++) {
        uint32_t range = tarn_half_load_relaxed(&ranges->range[i]);
        uint32_t end = range_offset(range) + range_bytes(range);
        if (offset >= range_offset(range) && offset + bytes <= end)
            return true; /* declared already, its old bytes are kept */
        at += range_bytes(range);
    }
    if (count >= RANGES_MAX ||
        at + bytes > view->geometry.page_bytes - (uint32_t)sizeof(struct ranges))
        return false;
    if (PLANTED(RANGE_COUNTED_BEFORE_BYTES))
        tarn_store_release(&ranges->count, count + 1);
    copy_range(ranges->bytes + at, tarn_view_frame(view, page->frame_plus_one - 1) + offset, bytes);
    tarn_fence_store_store();
    tarn_half_store_relaxed(&ranges->range[count], offset << 16 | (bytes - 1));
    tarn_store_release(&ranges->count, count + 1); /* pairs: "ranges" */
    return true;
}

/* Turns a page that is only locked into one with an empty list of ranges. */
static inline void shadow_ranges(struct tarn_session *session, struct tarn_mtr_page *page)
{
    uint32_t shadow = next_shadow(session);
    struct ranges *ranges = (struct ranges *)(void *)tarn_view_frame(&session->view, shadow);
    tarn_store_relaxed(&ranges->count, 0);
    tarn_store_release(entry_of_page(session, page),
                       mtr_entry_of(page->frame_plus_one - 1, shadow + 1, true));
    page->shadow_plus_one = shadow + 1;
    page->ranges = true;
    page->writable = true;
}

int tarn_mtr_write_range(struct tarn_session *session, struct tarn_page_id id, uint32_t offset,
                         uint32_t bytes, int32_t wait_ms, struct tarn_writable_page *ret_page)
{
    int result = begin_call(session, wait_ms);
    if (result < 0)
        return result;
    uint32_t page_bytes = session->view.geometry.page_bytes;
    if (bytes == 0 || offset >= page_bytes || bytes > page_bytes - offset)
        return tarn_fail(session, -EINVAL, "bytes %u to %" PRIu64 " of a page of %u bytes", offset,
                         (uint64_t)offset + bytes, page_bytes);
    struct tarn_mtr_page *page = find_page(session, id);
    if (page == NULL)
        result = take(session, id, NULL, wait_ms, &page);
    if (result == 0 && !page->writable)
        shadow_ranges(session, page);
    if (result == 0 && page->ranges && !add_range(session, page, offset, bytes))
        result = ranges_to_whole(session, page);
    if (result == 0)
        hand_out_writable(session, page, ret_page);
    return result;
}

int tarn_mtr_new(struct tarn_session *session, struct tarn_page_id id, int32_t wait_ms,
                 struct tarn_writable_page *ret_page)
{
    int result = begin_call(session, wait_ms);
    if (result < 0)
        return result;
    if (find_page(session, id) != NULL)
        return taken_already(session, id);
    int place = find_place(session);
    if (place < 0)
        return place;
    int hold = tarn_hold_take(session);
    if (hold < 0)
        return note_error(session, hold);
    uint32_t frame;
    unsigned claim;
    result = tarn_fetch_new(session, id, (unsigned)hold, &frame, &claim);
    if (result == 0 && claim == UINT32_MAX)
        result = check_own_share(session, id, frame);
    if (result < 0) {
        tarn_hold_give(session, (unsigned)hold);
        return note_error(session, result);
    }
    struct tarn_mtr_page *page = &session->mtr_page[place];
    *page = (struct tarn_mtr_page){.id = id, .hold = (uint8_t)hold};
    announce(session, page, frame);
    if (PLANTED(NEW_VALID_BEFORE_COMMIT) && claim != UINT32_MAX)
        tarn_frame_publish(session, frame, claim);
    if (claim != UINT32_MAX) {
        page->fresh = page->writable = true;
        page->claim = (uint16_t)claim;
        hand_out_writable(session, page, ret_page);
        return 0;
    }
    /* It was cached: a write like any other, of zeros. */
    result = tarn_latch_exclusive(session, frame, 0, wait_ms);
    if (result < 0) {
        forget(session, page);
        return note_error(session, result);
    }
    shadow_whole(session, page);
    hand_out_writable(session, page, ret_page);
    memset(ret_page->data, 0, session->view.geometry.page_bytes);
    return 0;
}

int tarn_mtr_release(struct tarn_session *session, struct tarn_page_id id)
{
    int result = check_active(session);
    if (result < 0)
        return result;
    struct tarn_mtr_page *page = find_page(session, id);
    if (page == NULL)
        return tarn_fail(session, -ESRCH,
                         "page %" PRIu64 " of file %u is not in this mini-transaction",
                         tarn_page_number(id), tarn_page_file(id));
    if (page->writable)
        return tarn_fail(session, -EBUSY,
                         "page %" PRIu64 " of file %u may have been changed: it stays until commit"
                         " or abort",
                         tarn_page_number(id), tarn_page_file(id));
    tarn_latch_release(&descriptor_of(session, page)->latch_word, session->slot);
    forget(session, page);
    return 0;
}

/* Were any bytes of a wholly shadowed page changed? Compared in pieces, so that a change near the
 * front is found early. */
static bool was_changed(struct tarn_session *session, const struct tarn_mtr_page *page)
{
    enum { PIECE = 256 };
    if (page->ranges || page->fresh)
        return true;
    const uint8_t *now = tarn_view_frame(&session->view, page->frame_plus_one - 1);
    const uint8_t *old = tarn_view_frame(&session->view, page->shadow_plus_one - 1);
    for (uint32_t at = 0; at < session->view.geometry.page_bytes; at += PIECE)
        if (memcmp(now + at, old + at, PIECE) != 0)
            return true;
    return false;
}

/* NONE, then shadows go back: a reaper that finds the word still set needs them. */
static inline void end(struct tarn_session *session)
{
    session->mtr_serial++;
    set_word(session, 0, MTR_NONE);
    session->mtr_error = 0;
    session->shadow_used = 0;
    if (session->shadow_count > session->shadow_keep)
        tarn_shadows_trim(session, session->shadow_keep);
}

static inline void mark_dirty(struct tarn_session *session, struct tarn_descriptor *descriptor)
{
    uint64_t word = tarn_load_relaxed(&descriptor->dirty_word);
    tarn_store_release(&descriptor->dirty_word, dirty_word_changed(word)); /* pairs: "dirty" */
    session->dirtied += !dirty_word_dirty(word);
}

/* All pages are dirty before the first can be seen: who has seen one of them may have the others
 * flushed. And each before its release: who evicts looks at holds first, at the dirty word second.
 * True: some are NEW. */
static inline bool mark_pages(struct tarn_session *session)
{
    bool fresh = false;
    for (unsigned i = 0; i < session->mtr_count; i++) {
        struct tarn_mtr_page *page = &session->mtr_page[i];
        if (page->frame_plus_one == 0)
            continue;
        struct tarn_descriptor *descriptor = descriptor_of(session, page);
        if (PLANTED(HOLD_GIVEN_BEFORE_DIRTY))
            tarn_half_store_release(session->hold[page->hold], 0);
        if (PLANTED(RELEASED_BEFORE_DIRTY))
            tarn_latch_release(&descriptor->latch_word, session->slot);
        if (page->writable)
            mark_dirty(session, descriptor);
        fresh |= page->fresh;
    }
    return fresh;
}

/* NEW pages first: until they are VALID, a flush passes them over. */
static TARN_SLOW void publish_pages(struct tarn_session *session)
{
    for (unsigned i = 0; i < session->mtr_count; i++) {
        struct tarn_mtr_page *page = &session->mtr_page[i];
        if (page->frame_plus_one == 0 || !page->fresh)
            continue;
        tarn_frame_publish(session, page->frame_plus_one - 1, page->claim);
        forget(session, page);
    }
}

static inline void release_pages(struct tarn_session *session)
{
    for (unsigned i = 0; i < session->mtr_count; i++) {
        struct tarn_mtr_page *page = &session->mtr_page[i];
        if (page->frame_plus_one == 0)
            continue;
        tarn_latch_release(&descriptor_of(session, page)->latch_word, session->slot);
        forget(session, page);
    }
}

/* Commits of changed pages between two looks whether the writer sleeps. */
#define TELL_WRITER_EVERY 32u

/* A commit that is refused has aborted. */
static TARN_SLOW int refuse_commit(struct tarn_session *session, int result)
{
    if (session->refusal == 0 && session->mtr_state == MTR_ACTIVE)
        tarn_mtr_abort(session);
    return result;
}

/* The pages that were changed; those that were not are released like locked ones. */
static inline unsigned find_changed(struct tarn_session *session, struct tarn_page_id *ret_ids)
{
    unsigned count = 0;
    for (unsigned i = 0; i < session->mtr_count; i++) {
        struct tarn_mtr_page *page = &session->mtr_page[i];
        if (page->frame_plus_one == 0 || !page->writable)
            continue;
        page->writable = was_changed(session, page);
        ret_ids[count] = page->id;
        count += page->writable;
    }
    return count;
}

static TARN_SLOW int flush_changed(struct tarn_session *session, const struct tarn_page_id *ids,
                                   unsigned count)
{
    uint64_t begun = tarn_now_ns();
    int result = count == 0 ? 0 : tarn_flush_pages(session, ids, count);
    tarn_latency_add(session, LATENCY_COMMIT, tarn_now_ns() - begun);
    return result < 0; /* committed; the message says why it is not durable */
}

int tarn_mtr_commit(struct tarn_session *session, unsigned flags)
{
    int result = check_active(session);
    if (result == 0 && (flags & ~(unsigned)TARN_COMMIT_FLUSH) != 0)
        result = tarn_fail(session, -EINVAL, "commit: unknown flags %#x", flags);
    if (result == 0)
        result = tarn_session_check_life(session);
    if (result < 0)
        return refuse_commit(session, result);
    struct tarn_page_id changed[TARN_MTR_ENTRIES_MAX];
    unsigned changed_count = find_changed(session, changed);
    if (!PLANTED(NO_COMMIT_POINT))
        set_word(session, session->mtr_count, MTR_COMMITTED); /* the commit point */
    if (mark_pages(session))
        publish_pages(session);
    release_pages(session);
    end(session);
    tarn_counter(session, COUNTER_COMMITS, 1);
    if (session->dirtied >= TELL_WRITER_EVERY) {
        session->dirtied = 0;
        tarn_call_cleaner(session->pool);
    }
    return flags & TARN_COMMIT_FLUSH ? flush_changed(session, changed, changed_count) : 1;
}

/* Old bytes back, then the latch; a NEW page goes with its frame. */
static void abort_page(struct tarn_session *session, struct tarn_mtr_page *page)
{
    if (page->fresh) {
        tarn_half_store_release(session->hold[page->hold], 0);
        tarn_frame_unclaim(session, page->frame_plus_one - 1, page->claim);
    } else {
        if (page->writable && !(page->ranges && PLANTED(RANGES_NOT_RESTORED)))
            tarn_shadow_restore(&session->view, tarn_load_relaxed(entry_of_page(session, page)));
        tarn_latch_release(&descriptor_of(session, page)->latch_word, session->slot);
    }
    forget(session, page);
}

int tarn_mtr_abort(struct tarn_session *session)
{
    if (session->refusal != 0)
        return tarn_session_refuse(session);
    if (session->mtr_state != MTR_ACTIVE)
        return tarn_fail(session, -ESRCH, "session %u has no mini-transaction to abort",
                         session->slot);
    if (PLANTED(SHADOWS_GIVEN_BACK_FIRST))
        tarn_shadows_trim(session, 0);
    for (unsigned i = session->mtr_count; i-- > 0;)
        if (session->mtr_page[i].frame_plus_one != 0)
            abort_page(session, &session->mtr_page[i]);
    end(session);
    tarn_counter(session, COUNTER_ABORTS, 1);
    return 0;
}
