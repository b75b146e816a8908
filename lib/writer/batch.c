/* SPDX-License-Identifier: MIT */
/* Batches: sets of pages, each with the mark that is to become durable. A batch is never extended
 * by later changes, and a page in it counts as done when an image as new as its mark is durable,
 * not when it is clean.
 */
#include <stdlib.h>

#include "lib/writer/state.h"

bool tarn_writer_entry_of(const struct tarn_writer *writer, uint32_t frame,
                          struct flush_entry *ret_entry)
{
    const struct tarn_descriptor *descriptor = &writer->view->descriptors[frame];
    uint64_t dirty = tarn_load_acquire(&descriptor->dirty_word);
    if (!dirty_word_dirty(dirty))
        return false;
    uint64_t word = tarn_load_acquire(&descriptor->frame_word);
    uint64_t page_id = tarn_load_acquire(&descriptor->page_id);
    /* Read again behind the generation, so that mark and page belong together. */
    dirty = tarn_load_acquire(&descriptor->dirty_word);
    uint64_t again = tarn_load_acquire(&descriptor->frame_word);
    uint32_t file = page_id_file(page_id);
    /* A NEW page is CLAIMED until its commit is done with it: nobody can have asked for it. */
    if (frame_word_state(word) == FRAME_FREE || frame_word_state(word) == FRAME_CLAIMED ||
        !dirty_word_dirty(dirty) || frame_word_generation(word) != frame_word_generation(again) ||
        file == 0 || file > writer->view->geometry.file_count)
        return false;
    *ret_entry = (struct flush_entry){
        .page_id = page_id,
        .generation = frame_word_generation(word),
        .mark = dirty_word_mark(dirty),
        .frame = frame,
    };
    return true;
}

static int by_page_id(const void *a, const void *b)
{
    uint64_t left = ((const struct flush_entry *)a)->page_id;
    uint64_t right = ((const struct flush_entry *)b)->page_id;
    return left < right ? -1 : left > right;
}

static void append(struct tarn_writer *writer, struct flush_batch *batch)
{
    struct flush_batch **link = &writer->batches;
    while (*link != NULL)
        link = &(*link)->next;
    *link = batch;
}

/* An image that is on disk already, and waits for its sync, serves as well. */
static uint8_t state_now(const struct tarn_writer *writer, const struct flush_entry *entry)
{
    const struct frame_state *state = &writer->frames[entry->frame];
    return state->written && state->generation == entry->generation &&
                   state->written_mark >= entry->mark
               ? ENTRY_WRITTEN
               : ENTRY_NEEDED;
}

struct flush_batch *tarn_writer_batch_of(struct tarn_writer *writer, struct flush_entry *entries,
                                         uint32_t count, enum flush_class class)
{
    struct flush_batch *batch = calloc(1, sizeof *batch);
    uint32_t *queue = calloc((size_t)count + 1, sizeof *queue);
    if (batch == NULL || queue == NULL) {
        free(batch);
        free(queue);
        free(entries);
        return NULL;
    }
    qsort(entries, count, sizeof *entries, by_page_id);
    batch->class = class;
    batch->entries = entries;
    batch->queue = queue;
    batch->entry_count = batch->left = batch->needed = count;
    for (uint32_t i = 0; i < count; i++) {
        struct flush_entry *entry = &entries[i];
        struct frame_state *state = &writer->frames[entry->frame];
        entry->batch = batch;
        entry->next = state->entries;
        state->entries = entry;
        entry->state = state_now(writer, entry);
        if (entry->state == ENTRY_WRITTEN)
            batch->needed--;
        else
            tarn_writer_entry_queue(entry);
    }
    append(writer, batch);
    writer->batch_count[class]++;
    return batch;
}

/* The one page, if it is in the pool and dirty. */
static uint32_t collect_page(const struct tarn_writer *writer, uint64_t page_id,
                             struct flush_entry *ret_entry)
{
    uint64_t word;
    uint32_t frame = tarn_table_find(writer->view, page_id, &word);
    return frame != TARN_NO_FRAME && tarn_writer_entry_of(writer, frame, ret_entry) &&
           ret_entry->page_id == page_id;
}

/* All dirty pages of a file, or (0) of all. */
static struct flush_entry *collect_file(const struct tarn_writer *writer, uint32_t file,
                                        uint32_t *ret_count)
{
    struct flush_entry *entries = NULL;
    uint32_t count = 0, room = 0;
    for (uint32_t frame = 0; frame < writer->view->geometry.frame_count; frame++) {
        struct flush_entry entry;
        if (!tarn_writer_entry_of(writer, frame, &entry) ||
            (file != 0 && page_id_file(entry.page_id) != file))
            continue;
        if (count == room) {
            room = room == 0 ? 64 : room * 2;
            struct flush_entry *larger = realloc(entries, room * sizeof *larger);
            if (larger == NULL) {
                free(entries);
                return NULL;
            }
            entries = larger;
        }
        entries[count++] = entry;
    }
    *ret_count = count;
    return entries == NULL ? calloc(1, sizeof *entries) : entries;
}

struct flush_batch *tarn_writer_batch_open_pages(struct tarn_writer *writer,
                                                 const uint64_t *page_ids, uint32_t count)
{
    struct flush_entry *entries = calloc((size_t)count + 1, sizeof *entries);
    uint32_t dirty = 0;
    if (entries == NULL)
        return NULL;
    for (uint32_t i = 0; i < count; i++)
        dirty += collect_page(writer, page_ids[i], &entries[dirty]);
    return tarn_writer_batch_of(writer, entries, dirty, FLUSH_PAGES);
}

struct flush_batch *tarn_writer_batch_open_file(struct tarn_writer *writer, uint32_t file)
{
    uint32_t count = 0;
    struct flush_entry *entries = collect_file(writer, file, &count);
    return entries == NULL ? NULL : tarn_writer_batch_of(writer, entries, count, FLUSH_WIDE);
}

void tarn_writer_entry_queue(struct flush_entry *entry)
{
    struct flush_batch *batch = entry->batch;
    if (entry->queued)
        return;
    uint32_t at = batch->queue_first + batch->queue_count;
    batch->queue[at < batch->entry_count ? at : at - batch->entry_count] =
        (uint32_t)(entry - batch->entries);
    batch->queue_count++;
    entry->queued = true;
}

void tarn_writer_entry_done(struct tarn_writer *writer, struct flush_entry *entry)
{
    if (entry->state == ENTRY_DONE)
        return;
    struct flush_entry **link = &writer->frames[entry->frame].entries;
    while (*link != entry)
        link = &(*link)->next;
    *link = entry->next;
    if (entry->state == ENTRY_NEEDED)
        entry->batch->needed--;
    entry->batch->left--;
    entry->state = ENTRY_DONE;
}

static void free_batch(struct flush_batch *batch)
{
    free(batch->requests);
    free(batch->queue);
    free(batch->entries);
    free(batch);
}

void tarn_writer_batch_close(struct tarn_writer *writer, struct flush_batch *batch)
{
    struct flush_batch **link = &writer->batches;
    while (*link != batch)
        link = &(*link)->next;
    *link = batch->next;
    for (unsigned i = 0; i < batch->request_count; i++)
        tarn_writer_answer(writer, batch->requests[i].slot, batch->requests[i].asked, batch->error);
    if (batch == writer->last)
        writer->result = batch->error;
    writer->batch_count[batch->class]--;
    if (batch->class == FLUSH_WIDE)
        writer->look = true; /* for those who could not be taken in */
    if (batch == writer->background) {
        writer->background = NULL;
        writer->cleaning = true;
    }
    free_batch(batch);
}

void tarn_writer_batches_leave(struct tarn_writer *writer)
{
    for (struct flush_batch *batch = writer->batches, *next; batch != NULL; batch = next) {
        next = batch->next;
        free_batch(batch);
    }
    writer->batches = writer->background = writer->last = NULL;
}

void tarn_writer_batches_fail(struct tarn_writer *writer, int error)
{
    for (struct flush_batch *batch = writer->batches; batch != NULL; batch = batch->next) {
        if (batch->left > 0)
            batch->error = error;
        for (uint32_t i = 0; i < batch->entry_count; i++)
            tarn_writer_entry_done(writer, &batch->entries[i]);
    }
}

void tarn_writer_batches_forget_file(struct tarn_writer *writer, uint32_t file)
{
    for (struct flush_batch *batch = writer->batches; batch != NULL; batch = batch->next)
        for (uint32_t i = 0; i < batch->entry_count; i++)
            if (page_id_file(batch->entries[i].page_id) == file)
                tarn_writer_entry_done(writer, &batch->entries[i]);
}
