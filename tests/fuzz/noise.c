/* SPDX-License-Identifier: MIT */
#include <string.h>

#include "tests/fuzz/fuzz.h"

/* Indexes that are just inside, just outside, or far out. */
static uint32_t some_index(struct input *input, uint32_t count)
{
    uint8_t byte = (uint8_t)take(input, 1);
    switch (byte) {
    case 255:
        return count;
    case 254:
        return count - 1;
    case 253:
        return TARN_FRAME_MAX;
    case 252:
        return count + 1;
    case 251:
        return UINT32_MAX - 1;
    default:
        return byte % count;
    }
}

static unsigned some_owner(struct input *input, const struct tarn_view *view)
{
    uint8_t byte = (uint8_t)take(input, 1);
    return byte >= 248 ? TARN_SLOT_MAX - (byte & 7) : byte % (view->slot_max + 3);
}

static uint64_t some_word(struct input *input, const struct tarn_view *view, uint64_t now)
{
    uint32_t frames = view->geometry.frame_count;
    switch (take(input, 1) % 14) {
    case 0:
        return take(input, 8);
    case 1:
        return take(input, 1);
    case 2: { /* a frame word */
        unsigned owner = some_owner(input, view);
        uint64_t flags = take(input, 1);
        return frame_word_of(frame_word_generation(now), owner, flags & 3) |
               (flags & 4 ? FRAME_WAITERS : 0) | (flags & 8 ? FRAME_REVOCABLE : 0);
    }
    case 3:
        return now ^ UINT64_C(1) << (take(input, 1) & 63);
    case 4: /* a latch word */
        return (now & ~TARN_MASK(TARN_OWNER_BITS)) | some_owner(input, view);
    case 5:
        return hold_of(some_index(input, frames)) | (take(input, 1) & 1);
    case 6:
        return (uint64_t)some_index(input, frames) + 1;
    case 7: {
        uint32_t frame = some_index(input, frames), shadow = some_index(input, frames);
        return mtr_entry_of(frame, shadow + 1, take(input, 1) & 1);
    }
    case 8:
        return mtr_word_of(mtr_word_serial(now), (unsigned)take(input, 1) & 63,
                           (unsigned)take(input, 1) & 3);
    case 9:
        return (now & ~UINT64_C(3)) | (take(input, 1) & 3); /* state of a request or file */
    case 10:
        return UINT64_MAX - take(input, 1);
    case 11: /* a wait */
        return (uint64_t)some_index(input, frames) << 8 | take(input, 1) % (WAIT_COUNT + 1);
    case 12:
        return page_id_of((uint32_t)take(input, 2), take(input, 1));
    default:
        return 0;
    }
}

/* A page, of any file, that the table then has in a frame. */
static void enter_page(const struct tarn_view *view, struct input *input)
{
    uint32_t frame = (uint32_t)take(input, 1) % view->geometry.frame_count;
    uint64_t page = page_id_of((uint32_t)take(input, 2), take(input, 1));
    struct tarn_descriptor *descriptor = &view->descriptors[frame];
    struct tarn_home home = tarn_home_of(view, page);
    uint64_t word = some_word(input, view, tarn_load_relaxed(&descriptor->frame_word));
    tarn_store_relaxed(&descriptor->page_id, page);
    tarn_store_relaxed(&descriptor->frame_word, word);
    tarn_store_relaxed(&view->buckets[home.bucket].entry[home.place],
                       entry_of(frame, home.tag, frame_word_generation(word)));
}

static tarn_word *word_of_slot(struct tarn_slot *slot, struct input *input)
{
    uint64_t which = take(input, 1);
    switch (which % 8) {
    case 0:
        return &slot->state;
    case 1:
        return &slot->wait;
    case 2:
        return &slot->home_lock;
    case 3:
        return &slot->mtr;
    case 4:
        return &slot->mtr_entry[which / 8 % 64];
    case 5: /* pid, start_time, pid_namespace, role, joined_ns */
        return &slot->pid + which / 8 % 5;
    default: /* word, kind, file, number, flags, answer, wait_ms, answer_slot, path */
        return &slot->request.word + which / 8;
    }
}

static tarn_word *word_of_control(struct tarn_control *control, struct input *input)
{
    tarn_word *const words[] = {
        &control->life,  &control->failed,        &control->writer_slot,   &control->clock_hand,
        &control->freed, &control->frames_wanted, &control->writer_sleeps, &control->standby_slot,
    };
    return words[take(input, 1) % (sizeof words / sizeof words[0])];
}

/* A word of the kind that the input names. */
static tarn_word *some_place(const struct tarn_view *view, struct input *input, unsigned kind)
{
    const struct tarn_geometry *g = &view->geometry;
    struct tarn_descriptor *descriptor = &view->descriptors[take(input, 1) % g->frame_count];
    switch (kind) {
    case 0:
    case 1:
        return &descriptor->frame_word;
    case 2:
        return &descriptor->latch_word;
    case 3:
        return &descriptor->sticky_word + take(input, 1) % 4; /* page_id, dirty_word, hint */
    case 4:
    case 5:
        return &view->buckets[take(input, 1) % g->bucket_count].entry[take(input, 1) & 7];
    case 6:
        return &view->home_locks[take(input, 1) % g->bucket_count];
    case 7:
        return &view->bitmap[take(input, 1) % ((g->frame_count + 63) / 64)];
    case 8:
        return &view->files[take(input, 1) % (g->file_count + 1)].word + (take(input, 1) & 1);
    case 9:
        return word_of_control(view->control, input);
    case 10: /* bytes of a page: ranges, if it is a shadow */
        return (tarn_word *)(void *)tarn_view_frame(view,
                                                    (uint32_t)take(input, 1) % g->frame_count) +
               take(input, 1) % 64;
    case 11: /* anywhere */
        return (tarn_word *)(void *)(view->base + TARN_PAGE_BYTES_MIN) +
               take(input, 4) % ((g->segment_bytes - TARN_PAGE_BYTES_MIN) / 8);
    default:
        return word_of_slot(tarn_view_slot(view, 1 + (unsigned)take(input, 1) % view->slot_max),
                            input);
    }
}

/* Holds, marks and claims have 32 bits. */
static void overwrite_half(const struct tarn_view *view, struct input *input)
{
    unsigned slot = 1 + (unsigned)take(input, 1) % view->slot_max;
    unsigned which = (unsigned)take(input, 2);
    struct tarn_hold_line *line = tarn_view_hold_line(view, slot, which / 4 % TARN_HOLD_LINES);
    tarn_half *half = &tarn_view_slot(view, slot)->claim[which / 4 % TARN_CLAIMS_MAX];
    if (which % 4 == 0)
        half = &line->mark;
    else if (which % 4 < 3)
        half = &line->hold[which / 16 % HOLD_LINE_HOLDS];
    tarn_half_store_relaxed(half, (uint32_t)some_word(input, view, tarn_half_load_relaxed(half)));
}

void noise_apply(const struct tarn_view *view, struct input *input)
{
    unsigned kind = (unsigned)take(input, 1) % 24;
    if (kind >= 22) {
        enter_page(view, input);
    } else if (kind >= 19) {
        overwrite_half(view, input);
    } else if (kind == 18) {
        /* A run of bytes: names and paths without an end. */
        uint64_t at = TARN_PAGE_BYTES_MIN +
                      take(input, 4) % (view->geometry.segment_bytes - TARN_PAGE_BYTES_MIN);
        uint64_t bytes = take(input, 2);
        if (bytes > view->geometry.segment_bytes - at)
            bytes = view->geometry.segment_bytes - at;
        memset(view->base + at, (int)take(input, 1), bytes);
    } else {
        tarn_word *word = some_place(view, input, kind);
        tarn_store_relaxed(word, some_word(input, view, tarn_load_relaxed(word)));
    }
}
