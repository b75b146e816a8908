/* SPDX-License-Identifier: MIT */
/* The cleaner: keeps some frames FREE and the dirty ones below a mark, so that sessions need not
 * evict. It works when it is called (a session has loaded or changed some pages; a batch of its own
 * has ended), and while frames are used up also when it expects that too few will be left. Nobody
 * uses any: it sleeps.
 *
 * How many are kept FREE follows from demand: twice as many as were used up between two looks
 * lately, since so many may be before the next. Between the low and the high mark, that is.
 */
#include <stdlib.h>

#include "lib/writer/state.h"

#define EVICT_BATCH   64u
#define EVICT_LOOKS   1024u /* that a search without success counts as */
#define TIDY_BUCKETS  64u
#define CLEAN_PAGES   1024u /* in one background batch, at most */
#define SAMPLES_MAX   2048u /* descriptors that an estimate looks at: a cache miss each */
#define FREE_SEEN     256u  /* frames looked at to count the FREE ones */
#define COUNT_WAIT_NS ((uint64_t)10 * NS_PER_MS)  /* between two estimates */
#define RATE_NS       ((uint64_t)4 * NS_PER_MS)   /* over which use is measured */
#define DECAY_NS      ((uint64_t)200 * NS_PER_MS) /* in which an eighth of the peak is forgotten */
#define NEXT_NS_MIN   ((uint64_t)NS_PER_MS)
#define NEXT_NS_MAX   ((uint64_t)100 * NS_PER_MS)

void tarn_writer_cleaner_init(struct tarn_writer *writer)
{
    writer->cleaning = true;
}

static bool is_free(const struct tarn_view *view, uint32_t frame)
{
    return frame_word_state(tarn_load_relaxed(&view->descriptors[frame].frame_word)) == FRAME_FREE;
}

/* FREE frames as the bitmap says, and the first of them themselves: a bit that stays behind matters
 * where there are few. Not counted beyond `enough`. */
static uint32_t count_free(const struct tarn_writer *writer, uint32_t enough)
{
    const struct tarn_view *view = writer->view;
    uint32_t free = 0;
    for (uint32_t frame = 0; frame < view->geometry.frame_count && free < enough; frame += 64) {
        uint64_t bits = tarn_load_relaxed(&view->bitmap[frame / 64]);
        for (; bits != 0 && free < enough; bits &= bits - 1) {
            uint32_t one = frame + (uint32_t)__builtin_ctzll(bits);
            free += one < view->geometry.frame_count && (free >= FREE_SEEN || is_free(view, one));
        }
    }
    return free;
}

/* Dirty frames; of a large pool an estimate from evenly spread ones. */
static uint64_t count_dirty(const struct tarn_writer *writer)
{
    const struct tarn_view *view = writer->view;
    uint32_t frames = view->geometry.frame_count;
    uint32_t stride = (frames + SAMPLES_MAX - 1) / SAMPLES_MAX;
    uint64_t dirty = 0;
    for (uint32_t frame = writer->clean_hand % stride; frame < frames; frame += stride)
        dirty += dirty_word_dirty(tarn_load_relaxed(&view->descriptors[frame].dirty_word));
    return dirty * stride;
}

bool tarn_writer_worth_cleaning(const struct tarn_writer *writer, uint32_t frame,
                                struct flush_entry *ret_entry)
{
    const struct tarn_descriptor *descriptor = &writer->view->descriptors[frame];
    if (!dirty_word_dirty(tarn_load_relaxed(&descriptor->dirty_word)) ||
        latch_word_owner(tarn_load_relaxed(&descriptor->latch_word)) != 0 ||
        !tarn_writer_entry_of(writer, frame, ret_entry))
        return false;
    const struct data_file *file = &writer->files[page_id_file(ret_entry->page_id)];
    return file->fd >= 0 && file->background_ns <= writer->now_ns && file->op.state == OP_NONE;
}

/* Fills `entries` with dirty pages: first those that are to leave, but for what is pinned, which
 * would not leave when it is clean; then, of the `others` from the hand on, those not touched
 * lately, then any: a page that is pinned all the time becomes clean too. */
static uint32_t choose(struct tarn_writer *writer, struct flush_entry *entries, uint32_t room,
                       bool others)
{
    const struct tarn_view *view = writer->view;
    uint32_t frames = view->geometry.frame_count;
    uint32_t looks = frames / 4 > CLEAN_PAGES ? frames / 4 : frames;
    uint32_t count = 0, looked = 0;
    for (uint32_t i = 0; i < writer->victims.leaving_count && count < room; i++) {
        uint32_t frame = writer->victims.leaving[i];
        count += !tarn_writer_victims_held(writer, frame) &&
                 tarn_writer_worth_cleaning(writer, frame, &entries[count]);
    }
    if (!others)
        return count;
    for (; looked < looks && count < room; looked++) {
        uint32_t frame = (uint32_t)(((uint64_t)writer->clean_hand + looked) % frames);
        if (tarn_half_load_relaxed(&view->descriptors[frame].hint) < HINT_TOUCHED &&
            !writer->victims.leaves[frame] &&
            tarn_writer_worth_cleaning(writer, frame, &entries[count]))
            count++;
    }
    uint32_t cold = count;
    for (uint32_t i = 0; i < looks && cold < room / 4 && count < room; i++) {
        uint32_t frame = (uint32_t)(((uint64_t)writer->clean_hand + i) % frames);
        if (tarn_half_load_relaxed(&view->descriptors[frame].hint) >= HINT_TOUCHED &&
            !writer->victims.leaves[frame] &&
            tarn_writer_worth_cleaning(writer, frame, &entries[count]))
            count++;
    }
    writer->clean_hand = (uint32_t)(((uint64_t)writer->clean_hand + looked) % frames);
    return count;
}

/* Starts to write some of what is dirty. False: nothing can be written. */
static bool clean_some(struct tarn_writer *writer, bool others)
{
    uint32_t frames = writer->view->geometry.frame_count;
    uint32_t room = frames / 8 < CLEAN_PAGES ? frames / 8 : CLEAN_PAGES;
    struct flush_entry *entries = calloc(room, sizeof *entries);
    uint32_t count = 0;
    /* A quarter at a time, until something is found or all have been seen. */
    for (unsigned i = 0; entries != NULL && i < 4 && count == 0; i++)
        count = choose(writer, entries, room, others);
    if (count == 0) {
        free(entries);
        return false;
    }
    writer->background = tarn_writer_batch_of(writer, entries, count, FLUSH_BACKGROUND);
    return writer->background != NULL;
}

/* What sessions have used up since the last look. */
static void see_demand(struct tarn_writer *writer, uint32_t free)
{
    struct demand *demand = &writer->demand;
    uint64_t now_ns = tarn_now_ns();
    uint32_t used = demand->free > free ? demand->free - free : 0;
    for (; now_ns - demand->decayed_ns >= DECAY_NS && demand->peak > 0;
         demand->decayed_ns += DECAY_NS)
        demand->peak -= demand->peak / 8 + 1;
    demand->decayed_ns = demand->peak == 0 ? now_ns : demand->decayed_ns;
    if (used > demand->peak) {
        demand->peak = used;
        demand->decayed_ns = now_ns;
    }
    demand->used += used;
    if (now_ns - demand->rated_ns < RATE_NS)
        return;
    uint64_t rate = demand->used * (1000 * NS_PER_MS) / (now_ns - demand->rated_ns);
    demand->rate = (demand->rate + rate) / 2;
    demand->used = 0;
    demand->rated_ns = now_ns;
}

/* How many FREE frames are too few, and how many there are to be then. */
struct reserve {
    uint32_t few, enough;
};

static struct reserve reserve_of(const struct tarn_writer *writer)
{
    uint32_t low = writer->setting[SET_FREE_LOW], high = writer->setting[SET_FREE_HIGH];
    uint32_t wanted = writer->demand.peak < high / 2 ? 2 * writer->demand.peak : high;
    struct reserve reserve = {.few = wanted - wanted / 4, .enough = low + (high - low) / 4};
    if (reserve.few < low)
        reserve.few = low;
    if (reserve.enough < wanted)
        reserve.enough = wanted;
    return reserve;
}

/* The next look, if frames go on being used up as they are. */
static void expect_demand(struct tarn_writer *writer, const struct reserve *reserve)
{
    struct demand *demand = &writer->demand;
    uint64_t spare = demand->free > reserve->few ? demand->free - reserve->few : 0;
    demand->next_ns = 0;
    if (demand->rate == 0 || writer->victims.leaving_count > 0)
        return;
    uint64_t ns = spare * (1000 * NS_PER_MS) / demand->rate;
    if (ns < NEXT_NS_MAX)
        demand->next_ns = tarn_now_ns() + (ns > NEXT_NS_MIN ? ns : NEXT_NS_MIN);
}

/* Makes frames FREE from too few until enough. True: eviction alone does not get there. */
static bool fill_reserve(struct tarn_writer *writer, const struct reserve *reserve)
{
    uint32_t frames = writer->view->geometry.frame_count, free = writer->demand.free;
    if (free >= (writer->filling ? reserve->enough : reserve->few)) {
        writer->filling = false;
        return false;
    }
    if (!writer->filling)
        writer->looked = 0;
    writer->filling = true;
    uint32_t want = reserve->enough - free;
    if (want > EVICT_BATCH)
        want = EVICT_BATCH;
    uint32_t freed = tarn_writer_victims_evict(writer, want, true);
    if (freed > 0)
        tarn_frames_freed(writer->pool);
    writer->demand.free += freed;
    writer->looked = freed > want / 2 ? 0 : writer->looked + EVICT_LOOKS;
    /* Four times around wears every access hint down; what is left is dirty or in use. Those that
     * have to be written call when they are. */
    writer->cleaning |= !tarn_writer_victims_wait(writer) && writer->looked < 4 * (uint64_t)frames;
    return writer->looked >= frames || writer->victims.leaving_count > 0;
}

/* Takes from files what they have beyond their shares, although frames are FREE. True: some of it
 * is to be written first. */
static bool keep_shares(struct tarn_writer *writer)
{
    const struct victims *victims = &writer->victims;
    uint32_t want = victims->over + victims->over_leaving;
    writer->in_vain = victims->over == 0 ? 0 : writer->in_vain + 1;
    if (want == 0)
        return false;
    unsigned freed =
        tarn_writer_victims_evict(writer, want < EVICT_BATCH ? want : EVICT_BATCH, false);
    if (freed > 0) {
        tarn_frames_freed(writer->pool);
        writer->in_vain = 0;
    }
    writer->demand.free += freed;
    /* Twice around at least; what is left is pinned or cannot be written. */
    writer->cleaning |= victims->over > 0 && !tarn_writer_victims_wait(writer) &&
                        writer->in_vain < victims->listed / (EVICT_BATCH / 2) + 2;
    return victims->over_leaving > 0;
}

/* Above the high mark until the low one is reached. */
static bool too_dirty(struct tarn_writer *writer)
{
    uint64_t again_ns = writer->dirty_counted_ns + COUNT_WAIT_NS;
    if (writer->now_ns < again_ns) {
        if (writer->demand.next_ns == 0 || again_ns < writer->demand.next_ns)
            writer->demand.next_ns = again_ns;
        return writer->draining;
    }
    writer->dirty_counted_ns = writer->now_ns;
    uint64_t dirty = count_dirty(writer);
    writer->draining = dirty > writer->setting[writer->draining ? SET_DIRTY_LOW : SET_DIRTY_HIGH];
    return writer->draining;
}

/* Takes down `more` bits that nothing stands behind any more, some buckets at a time. */
static void tidy_some(struct tarn_writer *writer)
{
    const struct tarn_view *view = writer->view;
    for (unsigned i = 0; i < TIDY_BUCKETS; i++) {
        writer->tidy_hand = (writer->tidy_hand + 1) % view->geometry.bucket_count;
        if (tarn_load_relaxed(&view->buckets[writer->tidy_hand].entry[0]) & ENTRY_MORE)
            tarn_home_tidy(writer->session, writer->tidy_hand);
    }
}

/* Looks again when the first of the files that are left alone for an error is tried again. */
static void expect_retry(struct tarn_writer *writer)
{
    for (uint32_t id = 1; id <= writer->file_last; id++) {
        uint64_t again_ns = writer->files[id].background_ns;
        if (again_ns > writer->now_ns &&
            (writer->demand.next_ns == 0 || again_ns < writer->demand.next_ns))
            writer->demand.next_ns = again_ns;
    }
}

void tarn_writer_clean(struct tarn_writer *writer)
{
    bool called = writer->cleaning;
    writer->cleaning = false;
    if (!called)
        return;
    /* Before it looks: who calls from here on is looked at again. Pairs: "call". */
    if (!PLANTED(CALL_TAKEN_AFTER_LOOK))
        tarn_cas_full(&writer->view->control->cleaner_called, 1, 0);
    writer->demand.next_ns = 0;
    if (tarn_writer_failed(writer) || writer->stopping)
        return;
    writer->victims.held_known = false;
    tarn_settings_read(writer->view, writer->setting);
    tidy_some(writer);
    writer->cleaning = tarn_writer_victims_learn(writer);
    uint32_t frames = writer->view->geometry.frame_count;
    uint32_t free = count_free(writer, 2 * writer->setting[SET_FREE_HIGH]);
    see_demand(writer, free);
    writer->demand.free = free;
    struct reserve reserve = reserve_of(writer);
    bool wants_frames = fill_reserve(writer, &reserve);
    wants_frames |= keep_shares(writer);
    expect_demand(writer, &reserve);
    bool wants_clean = too_dirty(writer);
    bool began = (wants_frames || wants_clean) && writer->background == NULL &&
                 clean_some(writer, wants_clean || writer->looked >= frames);
    /* The end of the batch calls again, or a session. If there is nothing to write and nothing to
     * evict, everything is in use. */
    if ((wants_frames || wants_clean) && !began)
        expect_retry(writer);
    if (!began && writer->background == NULL && !writer->cleaning)
        writer->filling = writer->draining = false;
    if (PLANTED(CALL_TAKEN_AFTER_LOOK))
        tarn_cas_full(&writer->view->control->cleaner_called, 1, 0);
}
