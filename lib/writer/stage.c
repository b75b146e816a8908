/* SPDX-License-Identifier: MIT */
/* Copying a page while others may change it: kept only if nothing has changed meanwhile. */
#include "lib/writer/state.h"

/* Looks at a page again before it is left for later: a change takes less than a microsecond. */
#define COPY_TRIES 3

/* After so long without a whole copy it takes a latch, and waits so long for that. */
#define LATCH_AFTER_NS ((uint64_t)NS_PER_MS)
#define LATCH_WAIT_MS  2

/* The entry of a frame in the mini-transaction of the session that has it exclusively. */
static bool find_mtr_entry(const struct tarn_slot *slot, uint64_t mtr, uint32_t frame,
                           const tarn_word **ret_place, uint64_t *ret_entry)
{
    unsigned count = mtr_word_count(mtr);
    for (unsigned i = 0; i < count && i < TARN_MTR_ENTRIES_MAX; i++) {
        uint64_t entry = tarn_load_acquire(&slot->mtr_entry[i]); /* pairs: "entry" */
        if (mtr_entry_frame_plus_one(entry) == frame + 1) {
            *ret_place = &slot->mtr_entry[i];
            *ret_entry = entry;
            return true;
        }
    }
    return false;
}

/* Same mini-transaction, on the same side of its commit point. */
static bool same_mtr(uint64_t seen, uint64_t now)
{
    return mtr_word_state(now) == mtr_word_state(seen) &&
           mtr_word_serial(now) == mtr_word_serial(seen);
}

static bool same_latch(const struct tarn_descriptor *descriptor, uint64_t latch)
{
    return ((tarn_load_acquire(&descriptor->latch_word) ^ latch) & ~LATCH_WAITERS) == 0;
}

/* A page that a session has exclusively, in its newest committed state: before the commit point
 * that is the page with the old bytes, after it the page as it stands, whose mark may still be the
 * old one. Neither proves that the page is clean. */
static enum stage copy_committed(struct tarn_writer *writer, uint32_t frame, uint64_t latch,
                                 uint8_t *ret_image)
{
    const struct tarn_view *view = writer->view;
    const struct tarn_descriptor *descriptor = &view->descriptors[frame];
    unsigned owner = latch_word_owner(latch);
    if (owner > view->slot_max)
        return STAGE_DAMAGED;
    const struct tarn_slot *slot = tarn_view_slot(view, owner);
    uint64_t mtr = tarn_load_acquire(&slot->mtr); /* pairs: "mtr" */
    const tarn_word *place;
    uint64_t entry;
    /* The entry comes before the latch and goes after it. */
    if (mtr_word_state(mtr) == MTR_NONE || !find_mtr_entry(slot, mtr, frame, &place, &entry))
        return same_latch(descriptor, latch) ? STAGE_DAMAGED : STAGE_BUSY;
    if (mtr_word_state(mtr) == MTR_ACTIVE && !PLANTED(UNCOMMITTED_BYTES_WRITTEN))
        tarn_shadow_image(view, entry, ret_image);
    else
        tarn_racy_copy(ret_image, tarn_view_frame(view, frame), view->geometry.page_bytes);
    tarn_fence_load_load(); /* pairs: "shadow" */
    /* An entry that has got a shadow meanwhile is another word, and came before the first store. */
    return tarn_load_acquire(place) == entry && same_mtr(mtr, tarn_load_acquire(&slot->mtr)) &&
                   same_latch(descriptor, latch)
               ? STAGE_DONE
               : STAGE_BUSY;
}

static enum stage try_copy(struct tarn_writer *writer, uint32_t frame, uint64_t generation,
                           uint8_t *ret_image, struct staged_page *ret_page)
{
    const struct tarn_view *view = writer->view;
    const struct tarn_descriptor *descriptor = &view->descriptors[frame];
    uint64_t word = tarn_load_acquire(&descriptor->frame_word);
    if (frame_word_generation(word) != generation || frame_word_state(word) == FRAME_FREE)
        return STAGE_GONE;
    /* It was VALID when its batch was made, and becomes CLAIMED through FREE alone. */
    if (frame_word_state(word) == FRAME_CLAIMED)
        return STAGE_DAMAGED;
    uint64_t latch = tarn_load_acquire(&descriptor->latch_word);
    /* Before the copy: the image is at least as new as this mark. */
    uint64_t dirty = tarn_load_acquire(&descriptor->dirty_word); /* pairs: "dirty" */
    if (!dirty_word_dirty(dirty))
        return STAGE_CLEAN;

    bool free = latch_word_owner(latch) == 0;
    enum stage copied;
    if (free) {
        tarn_racy_copy(ret_image, tarn_view_frame(view, frame), view->geometry.page_bytes);
        tarn_fence_load_load();
        copied = tarn_load_acquire(&descriptor->latch_word) == latch ? STAGE_DONE : STAGE_BUSY;
    } else {
        copied = copy_committed(writer, frame, latch, ret_image);
    }
    word = tarn_load_acquire(&descriptor->frame_word);
    if (frame_word_generation(word) != generation)
        return STAGE_GONE;
    if (copied != STAGE_DONE && !PLANTED(TORN_COPY_WRITTEN))
        return copied;
    if (tarn_load_acquire(&descriptor->dirty_word) != dirty)
        return STAGE_BUSY;
    *ret_page = (struct staged_page){
        .generation = generation, .dirty_word = dirty, .frame = frame, .clears = free};
    return STAGE_DONE;
}

/* A page that is changed so often that no copy of it stays whole: under a shared latch, which those
 * who change it wait for as long as the copy takes. */
static enum stage copy_latched(struct tarn_writer *writer, uint32_t frame, uint64_t generation,
                               uint8_t *ret_image, struct staged_page *ret_page)
{
    struct tarn_session *session = writer->session;
    uint64_t page_id = tarn_load_relaxed(&writer->view->descriptors[frame].page_id);
    struct tarn_pin pin;
    enum stage stage = STAGE_BUSY;
    uint64_t word;
    if (tarn_table_find(writer->view, page_id, &word) != frame ||
        frame_word_generation(word) != generation || frame_word_state(word) == FRAME_CLAIMED)
        return STAGE_BUSY;
    int32_t wait_ms = session->wait_ms;
    session->wait_ms = LATCH_WAIT_MS;
    if (tarn_pin(session, (struct tarn_page_id){page_id}, TARN_HINT_ONCE, &pin) == 0) {
        if (tarn_latch_shared(session, pin, LATCH_WAIT_MS) == 0) {
            stage = try_copy(writer, frame, generation, ret_image, ret_page);
            tarn_unlatch_shared(session, pin);
        }
        tarn_unpin(session, pin);
    }
    session->wait_ms = wait_ms;
    return stage;
}

enum stage tarn_writer_stage(struct tarn_writer *writer, uint32_t frame, uint64_t generation,
                             uint8_t *ret_image, struct staged_page *ret_page)
{
    enum stage stage = STAGE_BUSY;
    for (unsigned i = 0; i < COPY_TRIES && stage == STAGE_BUSY; i++)
        stage = try_copy(writer, frame, generation, ret_image, ret_page);
    if (stage == STAGE_BUSY && writer->busy_wait_ns >= LATCH_AFTER_NS)
        stage = copy_latched(writer, frame, generation, ret_image, ret_page);
    return stage;
}
