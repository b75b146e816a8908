/* SPDX-License-Identifier: MIT */
#include "shm/check.h"

#include <limits.h>
#include <string.h>

#include "shm/settings.h"
#include "shm/table.h"

/* Looks, a pause apart, that a suspicion must stand; and for what takes somebody's turn: some 3 s,
 * since a writer that cannot watch a process asks once a second whether it lives. */
#define LOOKS         5u
#define LOOKS_PATIENT 1500u

#define SUSPICIONS 64u

/* In a segment that is all wrong there is no end of suspicions to be patient with: after so many
 * rounds with violations of that kind, the others of that kind are left untold. */
#define PATIENT_ROUNDS 3u

const struct tarn_rule tarn_rules[RULE_COUNT] = {
#define X(name, when, text) {#name, HOLDS_##when, text},
    TARN_RULES(X)
#undef X
};

struct checker;

/* Examines one place and calls suspect() for whatever does not hold there. */
typedef void examiner(struct checker *checker, uint32_t place);

struct suspicion {
    struct tarn_violation violation;
    examiner *examine;
    uint32_t place;
};

struct checker {
    const struct tarn_view *view;
    const struct tarn_check_options *options;
    tarn_violation_report *report;
    struct tarn_check_counts counts;
    int violations;
    unsigned patient_rounds; /* that found violations */

    examiner *examine; /* what is being examined, */
    uint32_t place;    /* and where */

    /* While looking again: what for, and whether it has been seen. */
    const struct tarn_violation *again;
    bool seen_again;

    unsigned suspicion_count;
    struct suspicion suspicion[SUSPICIONS];
};

static bool same_violation(const struct tarn_violation *a, const struct tarn_violation *b)
{
    if (a->rule != b->rule)
        return false;
    for (unsigned i = 0; i < TARN_VIOLATION_VALUES; i++)
        if (a->value[i].name != b->value[i].name || a->value[i].value != b->value[i].value)
            return false;
    return true;
}

static bool is_dead(const struct checker *c, unsigned slot)
{
    return c->options->dead != NULL && c->options->dead(c->options->context, slot);
}

static bool is_stopped(const struct checker *c, unsigned slot)
{
    return c->options->stopped != NULL && c->options->stopped(c->options->context, slot);
}

/* True if a session that the violation names may stay inside a call for ever. */
static bool excused(const struct checker *c, const struct tarn_violation *violation)
{
    if (tarn_rules[violation->rule].when != HOLDS_BETWEEN_CALLS)
        return false;
    for (unsigned i = 0; i < TARN_VIOLATION_VALUES && violation->value[i].name != NULL; i++) {
        const struct tarn_violation_value *v = &violation->value[i];
        if (strcmp(v->name, "slot") != 0 && strcmp(v->name, "owner") != 0 &&
            strcmp(v->name, "writer") != 0)
            continue;
        if (v->value >= 1 && v->value <= c->view->slot_max &&
            (is_stopped(c, (unsigned)v->value) || is_dead(c, (unsigned)v->value)))
            return true;
    }
    return false;
}

static void tell(struct checker *c, const struct tarn_violation *violation)
{
    if (excused(c, violation))
        return;
    if (c->violations < INT_MAX)
        c->violations++;
    c->report(c->options->context, violation);
}

static bool still_there(struct checker *c, const struct suspicion *suspicion)
{
    c->again = &suspicion->violation;
    c->seen_again = false;
    suspicion->examine(c, suspicion->place);
    c->again = NULL;
    return c->seen_again;
}

/* Looks at all suspicions again until each has gone away or stood long enough. */
static void settle(struct checker *c)
{
    unsigned looks = c->patient_rounds < PATIENT_ROUNDS ? LOOKS_PATIENT : LOOKS;
    for (unsigned look = 1; look <= looks && c->suspicion_count > 0; look++) {
        unsigned kept = 0;
        int before = c->violations;
        c->options->pause(c->options->context);
        for (unsigned i = 0; i < c->suspicion_count; i++) {
            const struct suspicion *s = &c->suspicion[i];
            bool always = tarn_rules[s->violation.rule].when == HOLDS_ALWAYS;
            if (!still_there(c, s) || (look == LOOKS && excused(c, &s->violation)))
                continue;
            if (look == LOOKS_PATIENT || (look == LOOKS && always))
                tell(c, &s->violation);
            else
                c->suspicion[kept++] = *s;
        }
        c->suspicion_count = kept;
        c->patient_rounds += look == LOOKS_PATIENT && c->violations > before;
    }
    c->suspicion_count = 0;
}

static void suspect(struct checker *c, struct tarn_violation violation)
{
    if (c->again != NULL) {
        c->seen_again = c->seen_again || same_violation(c->again, &violation);
    } else if (c->options->pause == NULL) {
        tell(c, &violation);
    } else {
        if (c->suspicion_count == SUSPICIONS)
            settle(c);
        c->suspicion[c->suspicion_count++] = (struct suspicion){violation, c->examine, c->place};
    }
}

/* SUSPECT(checker, rule, {"place", index}, {"word", value}, ...) */
#define SUSPECT(c, name, ...) suspect(c, (struct tarn_violation){RULE_##name, {__VA_ARGS__}})

/* Counts only on the first look at a place. */
static void count(const struct checker *c, uint64_t *counter)
{
    if (c->again == NULL)
        ++*counter;
}

static bool slot_live(const struct tarn_view *view, unsigned slot)
{
    return slot >= 1 && slot <= view->slot_max &&
           tarn_load_acquire(&tarn_view_slot(view, slot)->state) == SLOT_LIVE;
}

static bool slot_announces(const struct tarn_view *view, unsigned slot, uint32_t frame)
{
    const struct tarn_slot *shared = tarn_view_slot(view, slot);
    for (unsigned i = 0; i < TARN_CLAIMS_MAX; i++)
        if (tarn_half_load_acquire(&shared->claim[i]) == frame + 1)
            return true;
    return false;
}

static bool slot_pins(const struct tarn_view *view, unsigned slot, uint32_t frame)
{
    for (unsigned line = 0; line < TARN_HOLD_LINES; line++) {
        const struct tarn_hold_line *holds = tarn_view_hold_line(view, slot, line);
        for (unsigned i = 0; i < HOLD_LINE_HOLDS; i++)
            if (hold_frame_plus_one(tarn_half_load_acquire(&holds->hold[i])) == frame + 1)
                return true;
    }
    return false;
}

static bool mtr_names(const struct tarn_view *view, unsigned slot, uint32_t frame)
{
    const struct tarn_slot *shared = tarn_view_slot(view, slot);
    uint64_t word = tarn_load_acquire(&shared->mtr);
    if (mtr_word_state(word) == MTR_NONE)
        return false;
    for (unsigned i = 0; i < mtr_word_count(word); i++)
        if (mtr_entry_frame_plus_one(tarn_load_acquire(&shared->mtr_entry[i])) == frame + 1)
            return true;
    return false;
}

/* Superblock and control. */

static void examine_superblock(struct checker *c, uint32_t place)
{
    const struct tarn_view *view = c->view;
    int result = tarn_superblock_check(view->base, view->geometry.segment_bytes);
    if (result != 0 ||
        memcmp(&view->superblock->geometry, &view->geometry, sizeof view->geometry) != 0)
        SUSPECT(c, superblock, {"superblock", place}, {"errno", (uint64_t)-result});
    uint64_t life = tarn_load_acquire(&view->control->life);
    if (life != LIFE_OPEN && life != LIFE_DESTROYED)
        SUSPECT(c, life, {"control", place}, {"life", life});
    for (unsigned i = 0; i < TARN_SETTING_WORDS; i++) {
        uint64_t word = tarn_load_acquire(&view->control->setting[i]);
        if (!tarn_setting_word_valid(&view->geometry, i, word))
            SUSPECT(c, setting, {"control", place}, {"setting", i}, {"word", word});
    }
}

/* Files. */

static void examine_file(struct checker *c, uint32_t file)
{
    uint64_t word = tarn_load_acquire(&c->view->files[file].word);
    if (file_word_state(word) > FILE_DROPPED || file_word_kind(word) > FILE_TEMPORARY)
        SUSPECT(c, file_word, {"file", file}, {"file_word", word});
}

/* Slots. */

static void examine_free_slot(struct checker *c, unsigned slot)
{
    const struct tarn_slot *shared = tarn_view_slot(c->view, slot);
    uint64_t mtr = tarn_load_acquire(&shared->mtr);
    uint64_t wait = tarn_load_acquire(&shared->wait);
    uint64_t home = tarn_load_acquire(&shared->home_lock);
    uint64_t request = tarn_load_acquire(&shared->request.word);
    uint32_t mark = tarn_half_load_acquire(&tarn_view_hold_line(c->view, slot, 0)->mark);
    if (mtr_word_state(mtr) != MTR_NONE || wait != 0 || home != 0 || mark != 0 ||
        request_word_state(request) == REQUEST_ASKED)
        SUSPECT(c, slot_free, {"slot", slot}, {"mark", mark}, {"mtr_word", mtr},
                {"wait_word", wait}, {"request_word", request}, {"home_lock", home});
    for (unsigned i = 0; i < TARN_CLAIMS_MAX; i++) {
        uint32_t claim = tarn_half_load_acquire(&shared->claim[i]);
        if (claim != 0)
            SUSPECT(c, slot_free_claim, {"slot", slot}, {"claim", i}, {"frame", claim - 1});
    }
}

static void examine_wait(struct checker *c, unsigned slot)
{
    uint64_t word = tarn_load_acquire(&tarn_view_slot(c->view, slot)->wait);
    uint64_t object = word >> 8;
    bool known = true;
    switch (word & 255) {
    case WAIT_LOAD:
    case WAIT_SHARED:
    case WAIT_EXCLUSIVE:
    case WAIT_DRAIN:
        known = object < c->view->geometry.frame_count;
        break;
    case WAIT_HOME:
        known = object < c->view->geometry.bucket_count;
        break;
    default:
        known = (word & 255) < WAIT_COUNT;
    }
    if (!known)
        SUSPECT(c, slot_wait, {"slot", slot}, {"wait_word", word});
}

static void examine_claims(struct checker *c, unsigned slot)
{
    const struct tarn_slot *shared = tarn_view_slot(c->view, slot);
    for (unsigned i = 0; i < TARN_CLAIMS_MAX; i++) {
        uint32_t claim = tarn_half_load_acquire(&shared->claim[i]);
        if (claim > c->view->geometry.frame_count)
            SUSPECT(c, claim_frame, {"slot", slot}, {"claim", i}, {"frame", claim - 1});
    }
}

static void examine_shared_hold(struct checker *c, unsigned slot, uint32_t frame)
{
    const struct tarn_descriptor *descriptor = &c->view->descriptors[frame];
    uint64_t latch = tarn_load_acquire(&descriptor->latch_word);
    uint64_t sticky = tarn_load_acquire(&descriptor->sticky_word);
    unsigned owner = latch_word_owner(latch);
    if ((sticky & tarn_sticky_bit(c->view, slot)) == 0)
        SUSPECT(c, hold_sticky, {"slot", slot}, {"frame", frame}, {"sticky", sticky},
                {"owner", owner});
    if (owner == 0 || owner == slot || owner > c->view->slot_max)
        return;
    uint64_t wait = tarn_load_acquire(&tarn_view_slot(c->view, owner)->wait);
    if (wait != ((uint64_t)frame << 8 | WAIT_DRAIN))
        SUSPECT(c, hold_shared, {"slot", slot}, {"frame", frame}, {"owner", owner},
                {"latch_word", latch}, {"wait_word", wait});
}

static void examine_hold(struct checker *c, unsigned slot, uint32_t hold)
{
    uint32_t frame = hold_frame_plus_one(hold) - 1;
    count(c, &c->counts.holds);
    if (frame >= c->view->geometry.frame_count) {
        SUSPECT(c, hold_frame, {"slot", slot}, {"frame", frame}, {"hold", hold});
        return;
    }
    uint64_t word = tarn_load_acquire(&c->view->descriptors[frame].frame_word);
    if (frame_word_state(word) == FRAME_FREE ||
        (frame_word_state(word) == FRAME_CLAIMED && frame_word_owner(word) != slot))
        SUSPECT(c, hold_page, {"slot", slot}, {"frame", frame}, {"frame_word", word});
    if (hold & HOLD_SHARED)
        examine_shared_hold(c, slot, frame);
}

static void examine_holds(struct checker *c, unsigned slot)
{
    bool reached = true; /* a scan that follows the marks comes to this line */
    for (unsigned line = 0; line < TARN_HOLD_LINES; line++) {
        const struct tarn_hold_line *holds = tarn_view_hold_line(c->view, slot, line);
        uint32_t mark = tarn_half_load_acquire(&holds->mark);
        for (unsigned i = 0; i < HOLD_LINE_HOLDS; i++) {
            uint32_t hold = tarn_half_load_acquire(&holds->hold[i]);
            if (hold == 0)
                continue;
            if (!reached || i >= hold_mark_count(mark))
                SUSPECT(c, hold_mark, {"slot", slot}, {"line", line}, {"place", i}, {"mark", mark},
                        {"hold", hold});
            examine_hold(c, slot, hold);
        }
        reached = reached && (mark & HOLD_MARK_NEXT) != 0;
    }
}

static void examine_shadow(struct checker *c, unsigned slot, unsigned place, uint32_t shadow)
{
    uint64_t word = tarn_load_acquire(&c->view->descriptors[shadow].frame_word);
    if (!frame_word_is(word, FRAME_CLAIMED, slot) || !slot_announces(c->view, slot, shadow))
        SUSPECT(c, mtr_shadow, {"slot", slot}, {"entry", place}, {"frame", shadow},
                {"frame_word", word});
}

/* Does an earlier entry name one of the frames of this one? */
static bool named_before(const struct tarn_slot *shared, unsigned place, uint64_t entry)
{
    uint32_t frame = mtr_entry_frame_plus_one(entry), shadow = mtr_entry_shadow_plus_one(entry);
    for (unsigned i = 0; i < place; i++) {
        uint64_t other = tarn_load_acquire(&shared->mtr_entry[i]);
        if (mtr_entry_frame_plus_one(other) == 0)
            continue;
        if (mtr_entry_frame_plus_one(other) == frame || mtr_entry_shadow_plus_one(other) == frame ||
            (shadow != 0 && (mtr_entry_shadow_plus_one(other) == shadow ||
                             mtr_entry_frame_plus_one(other) == shadow)))
            return true;
    }
    return frame == shadow;
}

static void examine_mtr(struct checker *c, unsigned slot)
{
    const struct tarn_slot *shared = tarn_view_slot(c->view, slot);
    uint64_t word = tarn_load_acquire(&shared->mtr);
    unsigned entries = mtr_word_count(word);
    if (mtr_word_state(word) > MTR_COMMITTED || entries > TARN_MTR_ENTRIES_MAX)
        SUSPECT(c, mtr_word, {"slot", slot}, {"mtr_word", word});
    if (mtr_word_state(word) == MTR_NONE)
        return;
    for (unsigned i = 0; i < entries; i++) {
        uint64_t entry = tarn_load_acquire(&shared->mtr_entry[i]);
        uint32_t frame = mtr_entry_frame_plus_one(entry);
        uint32_t shadow = mtr_entry_shadow_plus_one(entry);
        if (frame == 0)
            continue;
        if (frame > c->view->geometry.frame_count || shadow > c->view->geometry.frame_count) {
            SUSPECT(c, mtr_frame, {"slot", slot}, {"entry", i}, {"mtr_word", word},
                    {"mtr_entry_word", entry});
            continue;
        }
        if (named_before(shared, i, entry))
            SUSPECT(c, mtr_frame_twice, {"slot", slot}, {"entry", i}, {"frame", frame - 1},
                    {"mtr_word", word}, {"mtr_entry_word", entry});
        if (shadow != 0)
            examine_shadow(c, slot, i, shadow - 1);
        if (!slot_pins(c->view, slot, frame - 1))
            SUSPECT(c, mtr_pin, {"slot", slot}, {"entry", i}, {"frame", frame - 1},
                    {"mtr_word", word});
    }
}

static void examine_live_slot(struct checker *c, unsigned slot)
{
    const struct tarn_slot *shared = tarn_view_slot(c->view, slot);
    uint64_t home = tarn_load_acquire(&shared->home_lock);
    if (home > c->view->geometry.bucket_count)
        SUSPECT(c, slot_home_lock, {"slot", slot}, {"home_lock", home});
    uint64_t request = tarn_load_acquire(&shared->request.word);
    uint64_t kind = tarn_load_acquire(&shared->request.kind);
    if (request_word_state(request) > REQUEST_DONE ||
        (request_word_state(request) == REQUEST_ASKED && (kind < 1 || kind > ASK_FILE_SHARE)))
        SUSPECT(c, slot_request, {"slot", slot}, {"request_word", request}, {"kind", kind});
    examine_wait(c, slot);
    examine_claims(c, slot);
    examine_holds(c, slot);
    examine_mtr(c, slot);
}

static void examine_slot(struct checker *c, uint32_t slot)
{
    const struct tarn_slot *shared = tarn_view_slot(c->view, slot);
    uint64_t state = tarn_load_acquire(&shared->state);
    uint64_t role = tarn_load_relaxed(&shared->role);
    if (state == SLOT_FREE) {
        examine_free_slot(c, slot);
        return;
    }
    bool asked_for = slot <= c->view->geometry.session_count;
    if (state != SLOT_LIVE || role > ROLE_TOOL || asked_for != (role == ROLE_SESSION)) {
        SUSPECT(c, slot_state, {"slot", slot}, {"state", state}, {"role", role});
        return;
    }
    count(c, &c->counts.live_slots);
    if (is_dead(c, slot))
        SUSPECT(c, slot_reaped, {"slot", slot}, {"pid", tarn_load_relaxed(&shared->pid)},
                {"serial", tarn_load_relaxed(&shared->serial)});
    examine_live_slot(c, slot);
}

/* Frames. */

static uint32_t bucket_after(const struct tarn_view *view, uint32_t bucket, uint32_t distance)
{
    uint32_t next = bucket + distance;
    return next < view->geometry.bucket_count ? next : next - view->geometry.bucket_count;
}

/* What the table has of one page: entries of the frame asked about, and another frame. */
struct found {
    uint32_t entries;
    uint32_t probe; /* of the last entry: buckets beyond the home */
    uint32_t other;
    uint64_t other_word;
};

static struct found find_page(const struct tarn_view *view, uint64_t page_id, uint32_t frame)
{
    struct tarn_home home = tarn_home_of(view, page_id);
    struct found found = {.other = TARN_NO_FRAME};
    for (uint32_t probe = 0; probe < TARN_PROBE_BUCKETS; probe++) {
        const struct tarn_bucket *bucket = &view->buckets[bucket_after(view, home.bucket, probe)];
        for (uint32_t i = 0; i < TARN_BUCKET_WORDS; i++) {
            uint64_t entry = tarn_load_acquire(&bucket->entry[i]), word;
            if (entry_tag(entry) != home.tag || !tarn_entry_is_page(view, entry, page_id, &word))
                continue;
            if (entry_frame_plus_one(entry) == frame + 1) {
                found.entries++;
                found.probe = probe;
            } else {
                found.other = entry_frame_plus_one(entry) - 1;
                found.other_word = word;
            }
        }
    }
    return found;
}

static void examine_in_table(struct checker *c, uint32_t frame, uint64_t word, uint64_t page_id)
{
    struct found found = find_page(c->view, page_id, frame);
    uint32_t home = tarn_home_of(c->view, page_id).bucket;
    uint64_t first = tarn_load_acquire(&c->view->buckets[home].entry[0]);
    if (found.entries != 1)
        SUSPECT(c, frame_in_table, {"frame", frame}, {"frame_word", word}, {"page", page_id},
                {"home", home}, {"entries", found.entries});
    else if (found.probe > 0 && (first & ENTRY_MORE) == 0)
        SUSPECT(c, frame_reachable, {"frame", frame}, {"frame_word", word}, {"page", page_id},
                {"home", home}, {"buckets_beyond", found.probe});
    if (found.other != TARN_NO_FRAME)
        SUSPECT(c, page_twice, {"frame", frame}, {"page", page_id}, {"frame_word", word},
                {"other_frame", found.other}, {"other_frame_word", found.other_word});
}

/* A session has asked for the file to be cut or dropped: the writer is at it, or will be. */
static bool being_cut(const struct tarn_view *view, uint32_t file)
{
    for (unsigned slot = 1; slot <= view->slot_max; slot++) {
        const struct tarn_request *request = &tarn_view_slot(view, slot)->request;
        uint64_t kind = tarn_load_relaxed(&request->kind);
        if (request_word_state(tarn_load_acquire(&request->word)) == REQUEST_ASKED &&
            (kind == ASK_FILE_TRUNCATE || kind == ASK_FILE_DROP) &&
            tarn_load_relaxed(&request->file) == file)
            return true;
    }
    return false;
}

static void examine_page(struct checker *c, uint32_t frame, uint64_t word, uint64_t page_id)
{
    uint32_t file = page_id_file(page_id);
    uint64_t writer = tarn_load_relaxed(&c->view->control->writer_slot);
    examine_in_table(c, frame, word, page_id);
    if (file == 0 || file > c->view->geometry.file_count) {
        SUSPECT(c, page_file, {"frame", frame}, {"page", page_id}, {"frame_word", word});
        return;
    }
    const struct tarn_file_entry *entry = &c->view->files[file];
    uint64_t file_word = tarn_load_acquire(&entry->word);
    uint64_t pages = tarn_load_acquire(&entry->page_count);
    if ((file_word_state(file_word) == FILE_OPEN && page_id_number(page_id) < pages) ||
        being_cut(c->view, file))
        return;
    if (file_word_state(file_word) != FILE_OPEN)
        SUSPECT(c, page_file, {"frame", frame}, {"page", page_id}, {"frame_word", word},
                {"file_word", file_word}, {"writer", writer});
    else
        SUSPECT(c, page_number, {"frame", frame}, {"page", page_id}, {"frame_word", word},
                {"page_count", pages}, {"writer", writer});
}

static void examine_frame_word(struct checker *c, uint32_t frame, uint64_t word)
{
    unsigned state = frame_word_state(word), owner = frame_word_owner(word);
    bool owned = state == FRAME_CLAIMED || state == FRAME_EVICTING;
    if ((!owned && owner != 0) || (state != FRAME_CLAIMED && (word & FRAME_REVOCABLE) != 0) ||
        (!owned && (word & FRAME_WAITERS) != 0))
        SUSPECT(c, frame_word, {"frame", frame}, {"frame_word", word});
    if (!owned)
        return;
    if (!slot_live(c->view, owner))
        SUSPECT(c, frame_owner, {"frame", frame}, {"frame_word", word}, {"owner", owner});
    else if (!slot_announces(c->view, owner, frame))
        SUSPECT(c, frame_announced, {"frame", frame}, {"frame_word", word}, {"owner", owner});
}

static void examine_latch(struct checker *c, uint32_t frame, uint64_t word)
{
    uint64_t latch = tarn_load_acquire(&c->view->descriptors[frame].latch_word);
    unsigned owner = latch_word_owner(latch), state = frame_word_state(word);
    if (owner == 0) {
        if (latch & LATCH_WAITERS)
            SUSPECT(c, latch_word, {"frame", frame}, {"latch_word", latch});
        return;
    }
    count(c, &c->counts.latched);
    if (!slot_live(c->view, owner)) {
        SUSPECT(c, latch_owner, {"frame", frame}, {"latch_word", latch}, {"owner", owner});
        return;
    }
    if (state == FRAME_FREE || (state == FRAME_CLAIMED && frame_word_owner(word) != owner))
        SUSPECT(c, latch_frame, {"frame", frame}, {"latch_word", latch}, {"frame_word", word},
                {"owner", owner});
    if (!mtr_names(c->view, owner, frame))
        SUSPECT(c, latch_mtr, {"frame", frame}, {"latch_word", latch}, {"owner", owner});
    if (!slot_pins(c->view, owner, frame))
        SUSPECT(c, latch_pin, {"frame", frame}, {"latch_word", latch}, {"owner", owner});
}

static void examine_frame(struct checker *c, uint32_t frame)
{
    const struct tarn_descriptor *descriptor = &c->view->descriptors[frame];
    uint64_t word = tarn_load_acquire(&descriptor->frame_word);
    uint64_t page_id = tarn_load_acquire(&descriptor->page_id);
    uint64_t dirty = tarn_load_acquire(&descriptor->dirty_word);
    unsigned state = frame_word_state(word);
    bool bit = tarn_load_relaxed(&c->view->bitmap[frame / 64]) >> frame % 64 & 1;
    count(c, &c->counts.frames[state]);
    if (bit != (state == FRAME_FREE))
        count(c, &c->counts.bitmap_wrong);
    examine_frame_word(c, frame, word);
    examine_latch(c, frame, word);
    if (state != FRAME_VALID && state != FRAME_EVICTING)
        return;
    if (dirty_word_dirty(dirty))
        count(c, &c->counts.dirty);
    if (dirty_word_dirty(dirty) && dirty_word_mark(dirty) == 0)
        SUSPECT(c, dirty_word, {"frame", frame}, {"page", page_id}, {"dirty_word", dirty});
    examine_page(c, frame, word, page_id);
}

/* Table. */

static void examine_entry(struct checker *c, uint32_t bucket, uint32_t place)
{
    const struct tarn_view *view = c->view;
    uint64_t entry = tarn_load_acquire(&view->buckets[bucket].entry[place]);
    if (place > 0 && (entry & ENTRY_MORE) != 0)
        SUSPECT(c, entry_more, {"bucket", bucket}, {"place", place}, {"entry_word", entry});
    uint32_t frame = entry_frame_plus_one(entry) - 1;
    if (entry_frame_plus_one(entry) == 0 ? (entry & ~ENTRY_MORE) != 0
                                         : frame >= view->geometry.frame_count)
        SUSPECT(c, entry_word, {"bucket", bucket}, {"place", place}, {"entry_word", entry});
    if (!tarn_entry_live(view, entry))
        return;
    count(c, &c->counts.live_entries);
    /* The entry has the low bits of the generation: once they have been round, a stale entry may
     * look live. It costs a word and no more. */
    uint64_t word = tarn_load_acquire(&view->descriptors[frame].frame_word);
    if (frame_word_generation(word) >> ENTRY_GENERATION_BITS != 0)
        return;
    uint64_t page_id = tarn_load_acquire(&view->descriptors[frame].page_id);
    struct tarn_home home = tarn_home_of(view, page_id);
    uint32_t beyond = bucket_after(view, bucket, view->geometry.bucket_count - home.bucket);
    if (entry_tag(entry) != home.tag || beyond >= TARN_PROBE_BUCKETS)
        SUSPECT(c, entry_page, {"bucket", bucket}, {"place", place}, {"entry_word", entry},
                {"frame_word", word}, {"page", page_id}, {"home", home.bucket});
}

static void examine_bucket(struct checker *c, uint32_t bucket)
{
    for (uint32_t place = 0; place < TARN_BUCKET_WORDS; place++)
        examine_entry(c, bucket, place);
    uint64_t lock = tarn_load_acquire(&c->view->home_locks[bucket]);
    unsigned owner = (unsigned)(lock & TARN_MASK(TARN_OWNER_BITS));
    if (lock == 0)
        return;
    uint64_t announced = slot_live(c->view, owner)
                             ? tarn_load_acquire(&tarn_view_slot(c->view, owner)->home_lock)
                             : 0;
    if (announced != (uint64_t)bucket + 1)
        SUSPECT(c, home_lock, {"bucket", bucket}, {"home_lock_word", lock}, {"owner", owner},
                {"announced", announced});
}

static void examine_all(struct checker *c, examiner *examine, uint32_t first, uint32_t last)
{
    c->examine = examine;
    for (c->place = first; c->place <= last; c->place++)
        examine(c, c->place);
}

int tarn_check_view(const struct tarn_view *view, const struct tarn_check_options *options,
                    tarn_violation_report *report, struct tarn_check_counts *ret_counts)
{
    struct checker checker = {.view = view, .options = options, .report = report};
    examine_all(&checker, examine_superblock, 0, 0);
    examine_all(&checker, examine_file, 1, view->geometry.file_count);
    examine_all(&checker, examine_slot, 1, view->slot_max);
    examine_all(&checker, examine_frame, 0, view->geometry.frame_count - 1);
    examine_all(&checker, examine_bucket, 0, view->geometry.bucket_count - 1);
    settle(&checker);
    if (ret_counts != NULL)
        *ret_counts = checker.counts;
    return checker.violations;
}
