/* SPDX-License-Identifier: MIT */
/* Sections holds and waits: who has what, and who waits for whom. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "shm/holds.h"
#include "tools/dump.h"
#include "tools/tool.h"

struct held {
    uint32_t frame;
    unsigned slot;
    bool shared;
};

static int compare_held(const void *a, const void *b)
{
    const struct held *x = a, *y = b;
    if (x->frame != y->frame)
        return x->frame < y->frame ? -1 : 1;
    return x->slot < y->slot ? -1 : x->slot > y->slot;
}

static bool slot_live(const struct tarn_view *view, unsigned slot)
{
    return slot >= 1 && slot <= view->slot_max &&
           tarn_load_acquire(&tarn_view_slot(view, slot)->state) == SLOT_LIVE;
}

/* All holds of all live slots, by frame. Returns their number. */
static size_t collect_holds(const struct tarn_view *view, struct held *held)
{
    size_t count = 0;
    for (unsigned slot = 1; slot <= view->slot_max; slot++) {
        if (!slot_live(view, slot))
            continue;
        for (unsigned i = 0; i < TARN_HOLDS_MAX; i++) {
            const struct tarn_hold_line *line =
                tarn_view_hold_line(view, slot, i / HOLD_LINE_HOLDS);
            uint32_t hold = tarn_half_load_acquire(&line->hold[i % HOLD_LINE_HOLDS]);
            uint32_t frame = hold_frame_plus_one(hold) - 1;
            if (hold_frame_plus_one(hold) != 0 && frame < view->geometry.frame_count)
                held[count++] = (struct held){frame, slot, hold & HOLD_SHARED};
        }
    }
    qsort(held, count, sizeof *held, compare_held);
    return count;
}

/* A hold has no time of its own: it is no older than the session, and no younger than the wait that
 * the session is in. */
static void add_hold(struct dump *dump, struct rows *rows, const struct held *held)
{
    const struct tarn_view *view = &dump->segment.pool.view;
    const struct tarn_descriptor *descriptor = &view->descriptors[held->frame];
    const struct tarn_slot *shared = tarn_view_slot(view, held->slot);
    bool exclusive = latch_word_owner(tarn_load_acquire(&descriptor->latch_word)) == held->slot;
    bool waits = tarn_load_acquire(&shared->wait) != 0;
    struct json_object *row = json_object_new_object();
    tool_json_count(row, "frame", held->frame);
    decode_page(row, "page", tarn_load_relaxed(&descriptor->page_id));
    tool_json_text(row, "hold", exclusive ? "exclusive" : held->shared ? "shared" : "pin");
    dump_session_key(dump, row, held->slot);
    tool_json_double(row, "since_at_most_s",
                     segment_age(&dump->segment, tarn_load_relaxed(&shared->joined_ns)));
    tool_json_double(row, "since_at_least_s",
                     waits ? segment_age(&dump->segment, tarn_load_relaxed(&shared->wait_since_ns))
                           : 0);
    rows_add(rows, row);
}

int dump_holds(struct dump *dump)
{
    const struct tarn_view *view = &dump->segment.pool.view;
    struct held *held = malloc((size_t)view->slot_max * TARN_HOLDS_MAX * sizeof *held);
    struct rows rows;
    if (held == NULL)
        return tool_error("out of memory");
    rows_begin(&rows, dump->json, "holds");
    size_t count = collect_holds(view, held);
    for (size_t i = 0; i < count; i++)
        add_hold(dump, &rows, &held[i]);
    rows_end(&rows);
    free(held);
    return TOOL_GOOD;
}

/* Waits. */

/* Does `slot` stand in the way of what `waiter` waits for? */
static bool blocks(const struct tarn_view *view, unsigned waiter, unsigned slot)
{
    uint64_t wait = tarn_load_acquire(&tarn_view_slot(view, waiter)->wait);
    uint64_t object = wait >> 8, what = wait & 255;
    bool of_frame =
        what == WAIT_LOAD || what == WAIT_SHARED || what == WAIT_EXCLUSIVE || what == WAIT_DRAIN;
    if (slot == waiter || !slot_live(view, slot) ||
        (of_frame && object >= view->geometry.frame_count))
        return false;
    switch (what) {
    case WAIT_LOAD:
        return frame_word_owner(tarn_load_acquire(&view->descriptors[object].frame_word)) == slot;
    case WAIT_SHARED:
    case WAIT_EXCLUSIVE:
        return latch_word_owner(tarn_load_acquire(&view->descriptors[object].latch_word)) == slot;
    case WAIT_DRAIN:
        return tarn_slot_shares(view, slot, (uint32_t)object);
    case WAIT_HOME:
        return object < view->geometry.bucket_count &&
               tarn_load_acquire(&view->home_locks[object]) == slot;
    case WAIT_WRITER:
        return tarn_load_relaxed(&view->control->writer_slot) == slot;
    default:
        return false;
    }
}

/* A walk along who waits for whom. */
struct walk {
    const struct tarn_view *view;
    unsigned home;
    unsigned length;
    unsigned path[TARN_SLOT_MAX + 1];
    bool seen[TARN_SLOT_MAX + 1];
};

/* Extends the path until it comes back to its first slot. Each slot is entered once. */
static bool find_cycle(struct walk *walk, unsigned slot)
{
    walk->seen[slot] = true;
    walk->path[walk->length++] = slot;
    for (unsigned next = 1; next <= walk->view->slot_max; next++) {
        if ((next != walk->home && walk->seen[next]) || !blocks(walk->view, slot, next))
            continue;
        if (next == walk->home || find_cycle(walk, next))
            return true;
    }
    walk->length--;
    return false;
}

/* "1 -> 3 -> 1" of a cycle, each told by its lowest slot alone; or NULL. */
static struct json_object *cycle_of(const struct tarn_view *view, unsigned slot, bool *ret_lowest)
{
    struct walk *walk = calloc(1, sizeof *walk);
    struct json_object *cycle = NULL;
    *ret_lowest = true;
    if (walk == NULL)
        return NULL;
    walk->view = view;
    walk->home = slot;
    if (find_cycle(walk, slot)) {
        cycle = json_object_new_array();
        for (unsigned i = 0; i < walk->length; i++) {
            json_object_array_add(cycle, json_object_new_int((int)walk->path[i]));
            *ret_lowest = *ret_lowest && walk->path[i] >= slot;
        }
    }
    free(walk);
    return cycle;
}

static struct json_object *blockers_of(struct dump *dump, unsigned slot)
{
    const struct tarn_view *view = &dump->segment.pool.view;
    struct json_object *blockers = json_object_new_array();
    for (unsigned other = 1; other <= view->slot_max; other++) {
        if (!blocks(view, slot, other))
            continue;
        struct json_object *blocker = json_object_new_object();
        dump_session_key(dump, blocker, other);
        json_object_array_add(blockers, blocker);
    }
    return blockers;
}

/* The slots from a waiter on, each waiting for the next: the first of those in the way. */
static struct json_object *chain_of(const struct tarn_view *view, unsigned slot)
{
    struct json_object *chain = json_object_new_array();
    bool seen[TARN_SLOT_MAX + 1] = {false};
    while (slot != 0 && !seen[slot]) {
        unsigned next = 1;
        seen[slot] = true;
        json_object_array_add(chain, json_object_new_int((int)slot));
        while (next <= view->slot_max && !blocks(view, slot, next))
            next++;
        slot = next <= view->slot_max ? next : 0;
    }
    return chain;
}

static void add_wait(struct dump *dump, struct rows *rows, unsigned slot, uint64_t word)
{
    const struct tarn_view *view = &dump->segment.pool.view;
    const struct tarn_slot *shared = tarn_view_slot(view, slot);
    uint64_t what = word & 255, object = word >> 8;
    struct json_object *row = json_object_new_object();
    dump_session_key(dump, row, slot);
    tool_json_text(row, "waits_for", decode_wait(what));
    tool_json_count(row, "object", object);
    if (what >= WAIT_LOAD && what <= WAIT_DRAIN && object < view->geometry.frame_count)
        decode_page(row, "page", tarn_load_relaxed(&view->descriptors[object].page_id));
    else
        json_object_object_add(row, "page", NULL);
    tool_json_double(row, "since_s",
                     segment_age(&dump->segment, tarn_load_relaxed(&shared->wait_since_ns)));
    json_object_object_add(row, "chain", chain_of(view, slot));
    json_object_object_add(row, "blocked_by", blockers_of(dump, slot));
    rows_add(rows, row);
}

int dump_waits(struct dump *dump)
{
    const struct tarn_view *view = &dump->segment.pool.view;
    struct rows rows;
    rows_begin(&rows, dump->json, "waits");
    for (unsigned slot = 1; slot <= view->slot_max; slot++) {
        uint64_t word = tarn_load_acquire(&tarn_view_slot(view, slot)->wait);
        if (word != 0 && slot_live(view, slot))
            add_wait(dump, &rows, slot, word);
    }
    rows_end(&rows);
    if (dump->json)
        fputs(",\n", stdout);
    rows_begin(&rows, dump->json, "cycles");
    for (unsigned slot = 1; slot <= view->slot_max; slot++) {
        bool lowest;
        struct json_object *cycle = tarn_load_acquire(&tarn_view_slot(view, slot)->wait) == 0
                                        ? NULL
                                        : cycle_of(view, slot, &lowest);
        if (cycle == NULL || !lowest) {
            json_object_put(cycle);
            continue;
        }
        struct json_object *row = json_object_new_object();
        json_object_object_add(row, "slots", cycle);
        rows_add(&rows, row);
    }
    rows_end(&rows);
    return TOOL_GOOD;
}
