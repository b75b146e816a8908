/* SPDX-License-Identifier: MIT */
/* Which pages leave: what the pool's policy chooses, made to fit a pool that lives. The policy is
 * told of pages that have come in by looking at frames that were empty, and it looks at the access
 * hints. A victim that is dirty waits aside until the cleaner has written it; one that somebody
 * has, that cannot be written, or that was touched while it waited, is the policy's again.
 */
#include <stdlib.h>

#include "lib/writer/state.h"
#include "shm/holds.h"

#define EVICT_BATCH     64u
#define LOOKS_MAX       1024u /* victims that are asked for in one round */
#define LEARN_LOOKS     1024u /* empty frames that are looked at in one round: all of a reserve */
#define CHECKS          64u   /* frames in a round of which what is known is compared */
#define LEAVING_DIVISOR 8u    /* of the frames, that wait at most */
#define LEAVING_MAX     4096u

/* For the policy; what is kept longer than others answers yes twice. */
static bool take_hint(void *context, uint32_t frame)
{
    const struct tarn_writer *writer = context;
    tarn_half *hint = &writer->view->descriptors[frame].hint;
    uint32_t seen = tarn_half_load_relaxed(hint);
    if (seen < HINT_TOUCHED)
        return false;
    tarn_half_store_relaxed(hint, seen == HINT_KEEP ? HINT_TOUCHED : HINT_LOADED);
    return true;
}

int tarn_writer_victims_open(struct tarn_writer *writer)
{
    struct victims *victims = &writer->victims;
    uint32_t frames = writer->view->geometry.frame_count;
    struct tarn_directory_options options;
    struct tarn_message message;
    int result = tarn_directory_read_options(writer->pool->directory_fd, &options, &message);
    if (result < 0)
        return tarn_pool_fail(writer->pool, result, "%s", message.text);
    const struct tarn_policy_kind *kind = tarn_policy_kind_named(options.policy);
    if (kind == NULL)
        return tarn_pool_fail(writer->pool, -EINVAL, "pool %s: there is no policy '%s'",
                              writer->pool->name, options.policy);
    victims->leaving_max =
        frames / LEAVING_DIVISOR < LEAVING_MAX ? frames / LEAVING_DIVISOR + 1 : LEAVING_MAX;
    victims->policy = tarn_policy_create(kind, frames, take_hint, writer);
    victims->generations = calloc(frames, sizeof *victims->generations);
    victims->empty = calloc(frames, sizeof *victims->empty);
    victims->leaving = calloc(victims->leaving_max, sizeof *victims->leaving);
    victims->leaves = calloc(frames, sizeof *victims->leaves);
    victims->held = calloc((frames + 63) / 64, sizeof *victims->held);
    victims->held_list =
        calloc((size_t)writer->view->slot_max * TARN_HOLDS_MAX, sizeof *victims->held_list);
    if (victims->policy == NULL || victims->generations == NULL || victims->empty == NULL ||
        victims->leaving == NULL || victims->leaves == NULL || victims->held == NULL ||
        victims->held_list == NULL)
        return tarn_pool_fail(writer->pool, -ENOMEM, "no memory to choose among %u frames", frames);
    for (uint32_t frame = 0; frame < frames; frame++)
        victims->empty[frame] = frame;
    victims->empty_count = frames;
    return 0;
}

void tarn_writer_victims_close(struct tarn_writer *writer)
{
    tarn_policy_destroy(writer->victims.policy);
    free(writer->victims.generations);
    free(writer->victims.empty);
    free(writer->victims.leaving);
    free(writer->victims.leaves);
    free(writer->victims.held);
    free(writer->victims.held_list);
}

/* Gives the page in the frame to the policy. False: there is none. */
static bool learn(struct tarn_writer *writer, uint32_t frame)
{
    const struct tarn_descriptor *descriptor = &writer->view->descriptors[frame];
    uint64_t word = tarn_load_acquire(&descriptor->frame_word);
    uint64_t page_id = tarn_load_relaxed(&descriptor->page_id);
    if (frame_word_state(word) == FRAME_FREE || frame_word_state(word) == FRAME_CLAIMED ||
        page_id == 0)
        return false;
    writer->victims.generations[frame] = frame_word_generation(word);
    tarn_policy_loaded(writer->victims.policy, frame, page_id,
                       tarn_half_load_relaxed(&descriptor->hint) == HINT_ONCE);
    return true;
}

/* The frame is nobody's among policy, `empty` and `leaving`. */
static void place(struct tarn_writer *writer, uint32_t frame)
{
    if (!learn(writer, frame))
        writer->victims.empty[writer->victims.empty_count++] = frame;
}

/* Is the page that is known still in the frame? */
static bool is_known(const struct tarn_writer *writer, uint32_t frame)
{
    uint64_t word = tarn_load_acquire(&writer->view->descriptors[frame].frame_word);
    return (frame_word_state(word) == FRAME_VALID || frame_word_state(word) == FRAME_EVICTING) &&
           frame_word_generation(word) == writer->victims.generations[frame];
}

static bool is_clean(const struct tarn_writer *writer, uint32_t frame)
{
    const struct tarn_descriptor *descriptor = &writer->view->descriptors[frame];
    return !dirty_word_dirty(tarn_load_relaxed(&descriptor->dirty_word)) &&
           latch_word_owner(tarn_load_relaxed(&descriptor->latch_word)) == 0;
}

bool tarn_writer_victims_learn(struct tarn_writer *writer)
{
    struct victims *victims = &writer->victims;
    uint32_t frames = writer->view->geometry.frame_count;
    uint32_t looks = victims->empty_count < LEARN_LOOKS ? victims->empty_count : LEARN_LOOKS;
    uint32_t learned = 0;
    for (uint32_t i = 0; i < looks; i++) {
        if (victims->empty_hand >= victims->empty_count)
            victims->empty_hand = 0;
        if (learn(writer, victims->empty[victims->empty_hand])) {
            victims->empty[victims->empty_hand] = victims->empty[--victims->empty_count];
            learned++;
        } else {
            victims->empty_hand++;
        }
    }
    /* Sessions evict too, now and then. */
    for (unsigned i = 0; i < CHECKS; i++) {
        uint32_t frame = victims->hand = (victims->hand + 1) % frames;
        if (tarn_policy_page(victims->policy, frame) == 0 || is_known(writer, frame))
            continue;
        tarn_policy_removed(victims->policy, frame);
        place(writer, frame);
    }
    return learned > LEARN_LOOKS / 2;
}

/* A scan of all holds; what is pinned right after it is found by eviction itself. */
static void look_at_holds(struct tarn_writer *writer)
{
    const struct tarn_view *view = writer->view;
    struct victims *victims = &writer->victims;
    while (victims->held_count > 0) {
        uint32_t frame = victims->held_list[--victims->held_count];
        victims->held[frame / 64] &= ~(UINT64_C(1) << frame % 64);
    }
    for (unsigned slot = 1; slot <= view->slot_max; slot++) {
        bool next = true;
        for (unsigned l = 0; next && l < TARN_HOLD_LINES; l++) {
            const struct tarn_hold_line *line = tarn_view_hold_line(view, slot, l);
            unsigned count = tarn_hold_line_count(line, &next);
            for (unsigned i = 0; i < count; i++) {
                uint32_t plus_one = hold_frame_plus_one(tarn_half_load_acquire(&line->hold[i]));
                if (plus_one == 0 || plus_one > view->geometry.frame_count)
                    continue;
                uint32_t frame = plus_one - 1;
                victims->held[frame / 64] |= UINT64_C(1) << frame % 64;
                victims->held_list[victims->held_count++] = frame;
            }
        }
    }
    victims->held_known = true;
}

bool tarn_writer_victims_held(struct tarn_writer *writer, uint32_t frame)
{
    if (!writer->victims.held_known)
        look_at_holds(writer);
    return writer->victims.held[frame / 64] >> frame % 64 & 1;
}

/* To be written so that it can leave? */
static bool worth_writing(struct tarn_writer *writer, uint32_t frame)
{
    struct flush_entry entry;
    return tarn_writer_worth_cleaning(writer, frame, &entry) &&
           !tarn_writer_victims_held(writer, frame);
}

/* Of those that wait, the ones that need not any more: clean ones go to `batch`. */
static unsigned look_at_leaving(struct tarn_writer *writer, uint32_t *batch, unsigned want)
{
    struct victims *victims = &writer->victims;
    uint32_t left = 0;
    unsigned count = 0;
    for (uint32_t i = 0; i < victims->leaving_count; i++) {
        uint32_t frame = victims->leaving[i];
        bool chosen = is_known(writer, frame) && !take_hint(writer, frame);
        bool clean = is_clean(writer, frame);
        victims->leaves[frame] = false;
        if (chosen && clean && count < want) {
            batch[count++] = frame;
        } else if (chosen && (clean || worth_writing(writer, frame))) {
            victims->leaves[frame] = true;
            victims->leaving[left++] = frame;
        } else {
            place(writer, frame);
        }
    }
    victims->leaving_count = left;
    return count;
}

/* When as many wait as may, the disk is behind: others do not leave in their place. */
unsigned tarn_writer_victims_evict(struct tarn_writer *writer, unsigned want)
{
    struct victims *victims = &writer->victims;
    uint32_t batch[EVICT_BATCH] = {0};
    if (want > EVICT_BATCH)
        want = EVICT_BATCH;
    unsigned count = look_at_leaving(writer, batch, want);
    for (unsigned looks = 0; looks < LOOKS_MAX && count < want && !tarn_writer_victims_wait(writer);
         looks++) {
        uint32_t frame = tarn_policy_victim(victims->policy);
        if (frame == TARN_POLICY_NONE)
            break;
        if (!is_known(writer, frame)) {
            place(writer, frame);
        } else if (is_clean(writer, frame)) {
            batch[count++] = frame;
        } else if (worth_writing(writer, frame)) {
            victims->leaves[frame] = true;
            victims->leaving[victims->leaving_count++] = frame;
        } else {
            place(writer, frame);
        }
    }
    unsigned freed = tarn_frames_evict_these(writer->session, batch, count);
    for (unsigned i = 0; i < count; i++)
        place(writer, batch[i]);
    return freed;
}
