/* SPDX-License-Identifier: MIT */
/* Which pages leave: what the pool's policy chooses, made to fit a pool that lives. The policy is
 * told of pages that have come in by looking at frames that were empty, and it looks at the access
 * hints. A victim that is dirty waits aside until the cleaner has written it; one that somebody
 * has, that cannot be written, or that was touched while it waited, is the policy's again.
 *
 * A file with more than its share gives up pages of its own first: of a file with a limit there is
 * a list of those that the policy knows, and the oldest ones are taken from the policy.
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
#define SHARE_LOOKS     32u /* at touched pages, before one of them leaves all the same */

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

/* Shares. */

static uint32_t excess(const struct share *share)
{
    return share->limit != 0 && share->count > share->limit ? share->count - share->limit : 0;
}

static bool is_full(const struct share *share)
{
    return share->limit != 0 && share->count >= share->limit;
}

static void publish_share(struct tarn_writer *writer, uint32_t file)
{
    const struct share *share = &writer->victims.shares[file];
    tarn_store_relaxed(&file_entry(writer, file)->share,
                       share_word_of(share->limit, is_full(share)));
}

/* A page more, or less: what follows from the count. */
static void count_page(struct tarn_writer *writer, uint32_t file, bool more)
{
    struct victims *victims = &writer->victims;
    struct share *share = &victims->shares[file];
    uint32_t before = excess(share);
    bool was_full = is_full(share);
    share->count += more ? 1 : UINT32_MAX;
    victims->listed += more ? 1 : UINT32_MAX;
    victims->over += excess(share) - before;
    if (is_full(share) != was_full)
        publish_share(writer, file);
}

static void link_newest(struct victims *victims, uint32_t frame)
{
    struct share_frame *entry = &victims->share_frames[frame];
    struct share *share = &victims->shares[entry->file];
    entry->newer = 0;
    entry->older = share->newest;
    if (share->newest != 0)
        victims->share_frames[share->newest - 1].newer = frame + 1;
    else
        share->oldest = frame + 1;
    share->newest = frame + 1;
}

static void unlink_frame(struct victims *victims, uint32_t frame)
{
    const struct share_frame *entry = &victims->share_frames[frame];
    struct share *share = &victims->shares[entry->file];
    if (entry->newer != 0)
        victims->share_frames[entry->newer - 1].older = entry->older;
    else
        share->newest = entry->older;
    if (entry->older != 0)
        victims->share_frames[entry->older - 1].newer = entry->newer;
    else
        share->oldest = entry->newer;
}

/* The policy has got the page. */
static void enlist(struct tarn_writer *writer, uint32_t frame, uint64_t page_id)
{
    struct victims *victims = &writer->victims;
    uint32_t file = page_id_file(page_id);
    if (file > writer->view->geometry.file_count || victims->shares[file].limit == 0)
        return;
    victims->share_frames[frame].file = file;
    link_newest(victims, frame);
    count_page(writer, file, true);
}

/* It has it no more. */
static void unlist(struct tarn_writer *writer, uint32_t frame)
{
    struct victims *victims = &writer->victims;
    uint32_t file = victims->share_frames[frame].file;
    if (file == 0)
        return;
    unlink_frame(victims, frame);
    victims->share_frames[frame].file = 0;
    count_page(writer, file, false);
}

static void forget(struct tarn_writer *writer, uint32_t frame)
{
    tarn_policy_removed(writer->victims.policy, frame);
    unlist(writer, frame);
}

void tarn_writer_victims_share(struct tarn_writer *writer, uint32_t file)
{
    struct victims *victims = &writer->victims;
    struct share *share = &victims->shares[file];
    uint32_t frames = writer->view->geometry.frame_count, had = share->limit;
    uint32_t limit = tarn_record_share(&writer->records[file], frames);
    while (limit == 0 && share->oldest != 0)
        unlist(writer, share->oldest - 1);
    victims->over -= excess(share);
    share->limit = limit;
    victims->over += excess(share);
    /* At takeover the policy knows none yet. */
    for (uint32_t frame = 0; limit != 0 && had == 0 && frame < frames; frame++) {
        if (victims->empty_count == frames)
            break;
        uint64_t page_id = tarn_policy_page(victims->policy, frame);
        if (page_id_file(page_id) == file)
            enlist(writer, frame, page_id);
    }
    publish_share(writer, file);
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
    victims->shares =
        calloc((size_t)writer->view->geometry.file_count + 1, sizeof *victims->shares);
    victims->share_frames = calloc(frames, sizeof *victims->share_frames);
    if (victims->policy == NULL || victims->shares == NULL || victims->share_frames == NULL ||
        victims->generations == NULL || victims->empty == NULL || victims->leaving == NULL ||
        victims->leaves == NULL || victims->held == NULL || victims->held_list == NULL)
        return tarn_pool_fail(writer->pool, -ENOMEM, "no memory to choose among %u frames", frames);
    for (uint32_t frame = 0; frame < frames; frame++)
        victims->empty[frame] = frame;
    victims->empty_count = frames;
    for (uint32_t file = 1; file <= writer->view->geometry.file_count; file++)
        tarn_writer_victims_share(writer, file);
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
    free(writer->victims.shares);
    free(writer->victims.share_frames);
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
    enlist(writer, frame, page_id);
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
        forget(writer, frame);
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
static unsigned look_at_leaving(struct tarn_writer *writer, uint32_t *batch, unsigned want,
                                bool others)
{
    struct victims *victims = &writer->victims;
    uint32_t left = 0;
    unsigned count = 0;
    for (uint32_t i = 0; i < victims->leaving_count; i++) {
        uint32_t frame = victims->leaving[i];
        if (!others && victims->leaves[frame] != LEAVES_OVER) {
            victims->leaving[left++] = frame;
            continue;
        }
        bool chosen = is_known(writer, frame) && !take_hint(writer, frame);
        bool clean = is_clean(writer, frame);
        if (chosen && !(clean && count < want) && (clean || worth_writing(writer, frame))) {
            victims->leaving[left++] = frame;
            continue;
        }
        victims->over_leaving -= victims->leaves[frame] == LEAVES_OVER;
        victims->leaves[frame] = LEAVES_NOT;
        if (chosen && clean)
            batch[count++] = frame;
        else
            place(writer, frame);
    }
    victims->leaving_count = left;
    return count;
}

/* A page that the policy does not have any more leaves: now, when it is written, or not. */
static unsigned let_go(struct tarn_writer *writer, uint32_t frame, uint8_t why, uint32_t *batch,
                       unsigned count)
{
    struct victims *victims = &writer->victims;
    if (!is_known(writer, frame)) {
        place(writer, frame);
    } else if (is_clean(writer, frame)) {
        batch[count++] = frame;
    } else if (worth_writing(writer, frame)) {
        victims->leaves[frame] = why;
        victims->over_leaving += why == LEAVES_OVER;
        victims->leaving[victims->leaving_count++] = frame;
    } else {
        place(writer, frame);
    }
    return count;
}

/* The file at the hand, or the next, that has more than its share; 0: none has. */
static uint32_t file_over(struct tarn_writer *writer)
{
    struct victims *victims = &writer->victims;
    uint32_t file_count = writer->view->geometry.file_count;
    for (uint32_t i = 0; victims->over > 0 && i <= file_count; i++, victims->share_hand++) {
        victims->share_hand %= file_count + 1;
        if (excess(&victims->shares[victims->share_hand]) > 0)
            return victims->share_hand;
    }
    return 0;
}

/* Its oldest page that nobody has pinned, and nobody has touched lately if there is one soon. The
 * policy forgets it. */
static uint32_t over_victim(struct tarn_writer *writer, uint32_t file)
{
    struct victims *victims = &writer->victims;
    for (unsigned looks = 0; looks < 2 * SHARE_LOOKS; looks++) {
        uint32_t frame = victims->shares[file].oldest - 1;
        bool touched = take_hint(writer, frame) && looks < SHARE_LOOKS;
        if (!touched && !tarn_writer_victims_held(writer, frame)) {
            forget(writer, frame);
            return frame;
        }
        unlink_frame(victims, frame);
        link_newest(victims, frame);
    }
    return TARN_POLICY_NONE;
}

static unsigned choose_over(struct tarn_writer *writer, uint32_t *batch, unsigned count,
                            unsigned want)
{
    struct victims *victims = &writer->victims;
    for (unsigned i = 0; i < EVICT_BATCH && count < want && !tarn_writer_victims_wait(writer);
         i++) {
        uint32_t file = file_over(writer), leaving = victims->leaving_count;
        if (file == 0)
            break;
        uint32_t frame = over_victim(writer, file);
        unsigned before = count;
        if (frame != TARN_POLICY_NONE)
            count = let_go(writer, frame, LEAVES_OVER, batch, count);
        /* Another one's turn, if this one's pages are in use. */
        if (count == before && victims->leaving_count == leaving)
            victims->share_hand++;
    }
    return count;
}

/* When as many wait as may, the disk is behind: others do not leave in their place. */
unsigned tarn_writer_victims_evict(struct tarn_writer *writer, unsigned want, bool others)
{
    uint32_t batch[EVICT_BATCH] = {0};
    if (want > EVICT_BATCH)
        want = EVICT_BATCH;
    unsigned count = look_at_leaving(writer, batch, want, others);
    count = choose_over(writer, batch, count, want);
    for (unsigned looks = 0;
         others && looks < LOOKS_MAX && count < want && !tarn_writer_victims_wait(writer);
         looks++) {
        uint32_t frame = tarn_policy_victim(writer->victims.policy);
        if (frame == TARN_POLICY_NONE)
            break;
        unlist(writer, frame);
        count = let_go(writer, frame, LEAVES_CHOSEN, batch, count);
    }
    unsigned freed = tarn_frames_evict_these(writer->session, batch, count);
    for (unsigned i = 0; i < count; i++)
        place(writer, batch[i]);
    return freed;
}
