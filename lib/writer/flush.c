/* SPDX-License-Identifier: MIT */
/* Writes and syncs. At most one write of a page is in flight; a page is clean only after a sync
 * that began after its write had completed.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/writer/state.h"

/* The part of what can be in flight that each class is sure of, and the cleaner's at most. */
#define SURE_SHARE       8
#define BACKGROUND_SHARE 2

/* While somebody asks for pages now and then, so many writes of the cleaner may be before his in
 * the device, and each so long. */
#define CALM_NS     ((uint64_t)100 * NS_PER_MS)
#define CALM_WRITES 2u
#define CALM_PAGES  16u

/* More than this one sync serves better: several waiters, or many pages. */
#define DURABLE_WAITERS 4u
#define DURABLE_PAGES   16u

/* A paced write is as long as the rate allows in this time, and so much is caught up with at most
 * if it was late. */
#define PACED_NS (NS_PER_MS / 4)

/* Handed to the device together. All that come with one wait would leave it idle while they are
 * copied; each by itself costs a call. */
#define SUBMIT_WRITES 8u

#define BUSY_WAIT_NS_MIN (NS_PER_MS / 4)
#define BUSY_WAIT_NS_MAX (16 * NS_PER_MS)

bool tarn_writer_failed(const struct tarn_writer *writer)
{
    return tarn_load_relaxed(&writer->view->control->failed) != 0;
}

/* Durability has ended for good: nothing is written any more, nothing acknowledged. */
static void fail_for_good(struct tarn_writer *writer, int error)
{
    tarn_store_release(&writer->view->control->failed, (uint64_t)-error);
    tarn_writer_batches_fail(writer, -ENOTRECOVERABLE);
    writer->background = NULL;
}

/* A page beyond the end of its file is never written. */
static bool is_inside_file(const struct tarn_writer *writer, uint64_t page_id)
{
    const struct tarn_file_entry *file = &writer->view->files[page_id_file(page_id)];
    return file_word_state(tarn_load_relaxed(&file->word)) == FILE_OPEN &&
           page_id_number(page_id) < tarn_load_relaxed(&file->page_count);
}

static struct frame_state *state_of(struct tarn_writer *writer, uint32_t frame, uint64_t generation)
{
    struct frame_state *state = &writer->frames[frame];
    if (state->generation != generation && !state->in_flight) {
        state->generation = generation;
        state->written = state->alone = false;
    }
    return state;
}

/* An image is on disk and not synced: entries that it serves need no write. */
static void image_written(struct tarn_writer *writer, const struct staged_page *page)
{
    uint64_t mark = dirty_word_mark(page->dirty_word);
    struct frame_state *state = state_of(writer, page->frame, page->generation);
    if (state->generation == page->generation) {
        state->written = true;
        state->written_mark = mark;
    }
    for (struct flush_entry *entry = state->entries; entry != NULL; entry = entry->next)
        if (entry->state == ENTRY_NEEDED && entry->generation == page->generation &&
            entry->mark <= mark) {
            entry->state = ENTRY_WRITTEN;
            entry->batch->needed--;
        }
}

/* Returns whether the page is clean now. */
static bool image_durable(struct tarn_writer *writer, const struct staged_page *page)
{
    uint64_t mark = dirty_word_mark(page->dirty_word);
    struct frame_state *state = state_of(writer, page->frame, page->generation);
    if (state->generation == page->generation && state->written_mark <= mark)
        state->written = false;
    for (struct flush_entry *entry = state->entries, *next; entry != NULL; entry = next) {
        next = entry->next;
        if (entry->generation == page->generation && entry->mark <= mark)
            tarn_writer_entry_done(writer, entry);
    }
    if (PLANTED(CLEANED_WHATEVER_MARK))
        tarn_and_full(&writer->view->descriptors[page->frame].dirty_word, ~UINT64_C(1));
    /* If the page has changed since the copy, its mark has, and it stays dirty. */
    return page->clears && tarn_cas_full(&writer->view->descriptors[page->frame].dirty_word,
                                         page->dirty_word, dirty_word_cleaned(page->dirty_word));
}

/* An image is not on disk after all: those who need it have it written again. */
static void image_lost(struct tarn_writer *writer, const struct staged_page *page)
{
    struct frame_state *state = state_of(writer, page->frame, page->generation);
    if (state->generation == page->generation)
        state->written = false;
    for (struct flush_entry *entry = state->entries; entry != NULL; entry = entry->next) {
        if (entry->generation != page->generation)
            continue;
        if (entry->state == ENTRY_WRITTEN) {
            entry->state = ENTRY_NEEDED;
            entry->batch->needed++;
            entry->batch->sync_asked = false;
        }
        tarn_writer_entry_queue(entry);
    }
}

static void image_failed(struct tarn_writer *writer, const struct staged_page *page, int error)
{
    uint64_t mark = dirty_word_mark(page->dirty_word);
    struct flush_entry *entry = writer->frames[page->frame].entries;
    for (struct flush_entry *next; entry != NULL; entry = next) {
        next = entry->next;
        if (entry->state != ENTRY_NEEDED || entry->generation != page->generation ||
            entry->mark > mark)
            continue;
        if (entry->batch->error == 0)
            entry->batch->error = error;
        tarn_writer_entry_done(writer, entry);
    }
}

/* Writes. */

/* Nobody waits for less than many pages, and the writer is not to end. */
static bool is_paced(const struct tarn_writer *writer, enum flush_class class)
{
    return writer->write_rate != 0 && class != FLUSH_PAGES && !writer->stopping;
}

static void pace(struct tarn_writer *writer, size_t bytes)
{
    uint64_t earliest = writer->now_ns - PACED_NS;
    if (writer->paced_ns < earliest)
        writer->paced_ns = earliest;
    writer->paced_ns += (uint64_t)bytes * 1000000000 / ((uint64_t)writer->write_rate << 10);
}

static void start_write(struct tarn_writer *writer, struct chunk *chunk)
{
    uint64_t offset = chunk->number << writer->view->page_shift;
    size_t bytes = (size_t)chunk->page_count << writer->view->page_shift;
    uint32_t index = (uint32_t)(chunk - writer->arena.chunks);
    tarn_writer_chunk_shrink(writer, chunk, chunk->page_count);
    chunk->in_flight = true;
    chunk->epoch = writer->files[chunk->file].epoch;
    unsigned flags = chunk->durable && !PLANTED(DURABLE_NOT_ASKED_FOR) ? TARN_IO_DURABLE : 0;
    if (is_paced(writer, chunk->class))
        pace(writer, bytes);
    int result = tarn_io_write(writer->io, chunk->file, chunk_data(writer, chunk), bytes, offset,
                               flags, io_id(ID_WRITE, index));
    if (result < 0)
        tarn_writer_write_completed(writer, index, result);
    /* The device begins while the next pages are copied. What it does not take stays queued. */
    else if (++writer->writes_queued >= SUBMIT_WRITES && tarn_io_submit(writer->io) == 0)
        writer->writes_queued = 0;
}

/* Those of a class who have something to write are sure of so many; what of that they do not use is
 * nobody else's. */
static unsigned left_for(const struct tarn_writer *writer, enum flush_class class, unsigned free,
                         unsigned all, const unsigned *used)
{
    unsigned sure = all / SURE_SHARE > 0 ? all / SURE_SHARE : 1;
    unsigned kept = 0;
    for (unsigned other = 0; other < FLUSH_CLASSES; other++)
        if (other != class && writer->wanted[other] && used[other] < sure)
            kept += sure - used[other];
    return free > kept ? free - kept : 0;
}

/* Who waits for a frame waits for the cleaner, and is no less in a hurry. */
static bool is_calm(const struct tarn_writer *writer)
{
    return writer->now_ns - writer->waited_ns < CALM_NS &&
           tarn_load_relaxed(&writer->view->control->frames_wanted) == 0;
}

unsigned tarn_writer_background_depth(const struct tarn_writer *writer, bool calm)
{
    unsigned depth = writer->arena.chunk_count / BACKGROUND_SHARE;
    return calm && depth > CALM_WRITES ? CALM_WRITES : depth;
}

/* Pages that a batch of this class may have in its next write. */
static uint32_t room_for(struct tarn_writer *writer, enum flush_class class)
{
    const struct arena *arena = &writer->arena;
    uint32_t room =
        left_for(writer, class, arena->free_place_count, arena->place_count, arena->used_places);
    if (room > arena->run_pages_max)
        room = arena->run_pages_max;
    if (class == FLUSH_BACKGROUND) {
        uint32_t most = arena->place_count / BACKGROUND_SHARE, used = arena->used_places[class];
        uint32_t left = most > used ? most - used : 0;
        room = left < room ? left : room;
    }
    if (room == 0)
        return 0;
    if (left_for(writer, class, arena->free_chunk_count, arena->chunk_count, arena->used_chunks) ==
        0)
        return 0;
    if (class == FLUSH_BACKGROUND &&
        arena->used_chunks[class] >= tarn_writer_background_depth(writer, is_calm(writer)))
        return 0;
    if (class == FLUSH_BACKGROUND && is_calm(writer) && room > CALM_PAGES)
        room = CALM_PAGES;
    if (!is_paced(writer, class))
        return room;
    writer->paced |= writer->paced_ns > writer->now_ns;
    if (writer->paced_ns > writer->now_ns)
        return 0;
    uint64_t bytes = ((uint64_t)writer->write_rate << 10) * PACED_NS / 1000000000;
    uint32_t pages = (uint32_t)(bytes >> writer->view->page_shift);
    return pages < 1 ? 1 : pages < room ? pages : room;
}

static struct flush_entry *queued_entry(const struct flush_batch *batch, uint32_t i)
{
    uint32_t at = batch->queue_first + i;
    return &batch->entries[batch->queue[at < batch->entry_count ? at : at - batch->entry_count]];
}

/* How many of the first entries of the queue are neighbours. */
static uint32_t run_length(const struct tarn_writer *writer, const struct flush_batch *batch,
                           uint32_t limit)
{
    const struct flush_entry *first = queued_entry(batch, 0);
    uint32_t count = 1;
    if (limit > batch->queue_count)
        limit = batch->queue_count;
    if (writer->frames[first->frame].alone)
        return 1;
    while (count < limit) {
        const struct flush_entry *entry = queued_entry(batch, count);
        if (entry->page_id != first->page_id + count || writer->frames[entry->frame].alone)
            break;
        count++;
    }
    return count;
}

static struct flush_entry *dequeue(struct flush_batch *batch)
{
    struct flush_entry *entry = queued_entry(batch, 0);
    batch->queue_first = batch->queue_first + 1 < batch->entry_count ? batch->queue_first + 1 : 0;
    batch->queue_count--;
    entry->queued = false;
    return entry;
}

/* Somebody waits for this page, so it is looked at again. The cleaner takes another one: what is
 * held or changed all the time must not keep it from the rest. */
static void requeue(struct tarn_writer *writer, struct flush_entry *entry)
{
    if (entry->batch->class == FLUSH_BACKGROUND)
        tarn_writer_entry_done(writer, entry);
    else
        tarn_writer_entry_queue(entry);
}

enum step {
    STEP_STAGE, /* copy it now */
    STEP_LATER, /* an older image is in flight, or the file's end is not decided */
    STEP_NONE,  /* nothing to do, or somebody does it */
};

static enum step next_step(struct tarn_writer *writer, struct flush_entry *entry)
{
    if (entry->state != ENTRY_NEEDED)
        return STEP_NONE;
    const struct data_file *file = &writer->files[page_id_file(entry->page_id)];
    if (file->fd < 0 && file->error != 0)
        entry->batch->error = file->error;
    else if (!is_inside_file(writer, entry->page_id) && file->op.state == OP_HOLDERS)
        return STEP_LATER;
    if (file->fd < 0 || !is_inside_file(writer, entry->page_id)) {
        tarn_writer_entry_done(writer, entry);
        return STEP_NONE;
    }
    struct frame_state *state = state_of(writer, entry->frame, entry->generation);
    if (!state->in_flight || PLANTED(TWO_WRITES_IN_FLIGHT))
        return STEP_STAGE;
    return state->generation == entry->generation && state->flight_mark >= entry->mark ? STEP_NONE
                                                                                       : STEP_LATER;
}

/* Adds the page to the chunk. False: it was not added. */
static bool stage_entry(struct tarn_writer *writer, struct flush_entry *entry, struct chunk *chunk)
{
    size_t offset = (size_t)chunk->page_count << writer->view->page_shift;
    struct staged_page *page = chunk_page(writer, chunk, chunk->page_count);
    enum stage stage = tarn_writer_stage(writer, entry->frame, entry->generation,
                                         chunk_data(writer, chunk) + offset, page);
    /* A mark never goes back: this image would serve nobody who waits. */
    if (stage == STAGE_DONE && dirty_word_mark(page->dirty_word) < entry->mark)
        stage = STAGE_DAMAGED;
    switch (stage) {
    case STAGE_DONE:
        writer->frames[entry->frame].in_flight = true;
        writer->frames[entry->frame].flight_mark = dirty_word_mark(page->dirty_word);
        chunk->page_count++;
        return true;
    case STAGE_BUSY:
        requeue(writer, entry);
        writer->busy_pages |= entry->queued;
        return false;
    case STAGE_DAMAGED:
        if (entry->batch->error == 0)
            entry->batch->error = -EBUSY;
        break;
    case STAGE_CLEAN:
    case STAGE_GONE:
        break;
    }
    tarn_writer_entry_done(writer, entry);
    return false;
}

/* The write is all that a waiter needs, so it may as well be durable by itself. After a failure of
 * one, or of a sync, syncs have to show first that they work. Through the page cache there is none:
 * a page that could not be written is told there to whoever asks first, a sync or a durable write
 * of others, and which of two answers came first nobody knows. */
static bool is_durable(const struct tarn_writer *writer, const struct flush_batch *batch,
                       const struct chunk *chunk)
{
    const struct data_file *file = &writer->files[chunk->file];
    return writer->durable && batch->class == FLUSH_PAGES && batch->left == chunk->page_count &&
           chunk->page_count <= DURABLE_PAGES &&
           writer->batch_count[FLUSH_PAGES] <= DURABLE_WAITERS && !file->temporary &&
           writer->records[chunk->file].direct && !file->durable_refused &&
           file->sync_failures == 0;
}

/* Writes the run of neighbours that the queue begins with, or what of it can be copied now. Returns
 * how many entries were taken off the queue. */
static uint32_t write_run(struct tarn_writer *writer, struct flush_batch *batch,
                          struct chunk *chunk)
{
    const struct flush_entry *first = queued_entry(batch, 0);
    uint32_t count = 0;
    chunk->file = page_id_file(first->page_id);
    chunk->number = page_id_number(first->page_id);
    while (chunk->page_count < chunk->place_count && chunk->page_count == count &&
           (count == 0 || next_step(writer, queued_entry(batch, 0)) == STEP_STAGE)) {
        stage_entry(writer, dequeue(batch), chunk);
        count++;
    }
    chunk->durable = is_durable(writer, batch, chunk);
    if (chunk->page_count > 0)
        start_write(writer, chunk);
    else
        tarn_writer_chunk_give(writer, chunk);
    return count;
}

/* Goes once through the queue of a batch, as far as there is room. */
static void write_batch(struct tarn_writer *writer, struct flush_batch *batch)
{
    for (uint32_t rounds = batch->queue_count; rounds > 0;) {
        enum step step = next_step(writer, queued_entry(batch, 0));
        if (step == STEP_STAGE) {
            uint32_t room = room_for(writer, batch->class);
            uint32_t length =
                room == 0 ? 0 : run_length(writer, batch, room < rounds ? room : rounds);
            struct chunk *chunk =
                length == 0 ? NULL : tarn_writer_chunk_take(writer, length, batch->class);
            if (chunk == NULL)
                return;
            rounds -= write_run(writer, batch, chunk);
            continue;
        }
        struct flush_entry *entry = dequeue(batch);
        if (step == STEP_LATER)
            requeue(writer, entry);
        rounds--;
    }
}

static bool list_add(struct staged_list *list, const struct staged_page *page)
{
    if (list->count == list->room) {
        uint32_t room = list->room == 0 ? 64 : list->room * 2;
        struct staged_page *larger = realloc(list->pages, room * sizeof *larger);
        if (larger == NULL)
            return false;
        list->pages = larger;
        list->room = room;
    }
    list->pages[list->count++] = *page;
    return true;
}

/* The cleaner leaves a file with errors alone for a while, longer each time; what fails meanwhile
 * is of the same time. */
static void back_off(struct tarn_writer *writer, struct data_file *file)
{
    if (file->background_ns > writer->now_ns)
        return;
    unsigned shift = file->write_failures < 7 ? file->write_failures : 7;
    file->write_failures++;
    file->background_ns = writer->now_ns + ((uint64_t)100 * NS_PER_MS << shift);
}

/* Returns whether the page is clean now. */
static bool page_completed(struct tarn_writer *writer, struct chunk *chunk, uint32_t i, int error)
{
    struct staged_page *page = chunk_page(writer, chunk, i);
    struct data_file *file = &writer->files[chunk->file];
    struct frame_state *state = &writer->frames[page->frame];
    state->in_flight = false;
    /* One bad page must not hide that its neighbours are good; and whether it is the page or the
     * sync that a durable write failed by, a write without it tells. */
    bool again =
        (error != 0 && (chunk->page_count > 1 || chunk->durable)) || chunk->epoch != file->epoch;
    state->alone = error != 0 && chunk->page_count > 1;
    if (error == 0 && !again && chunk->durable)
        return image_durable(writer, page);
    if (error == 0 && !again && !list_add(&file->written, page))
        error = -ENOMEM;
    if (again)
        image_lost(writer, page);
    else if (error != 0)
        image_failed(writer, page, error);
    else if (PLANTED(CLEAN_BEFORE_SYNC))
        image_durable(writer, page);
    else
        image_written(writer, page);
    return false;
}

/* A temporary file promises nothing across a restart, so its pages need no sync. */
static void temporary_durable(struct tarn_writer *writer, struct data_file *file)
{
    bool cleaned = false;
    for (uint32_t i = 0; i < file->written.count; i++)
        cleaned |= image_durable(writer, &file->written.pages[i]);
    file->written.count = 0;
    if (cleaned)
        tarn_frames_freed(writer->pool);
}

static void count_write(struct tarn_writer *writer, const struct chunk *chunk, int error)
{
    struct data_file *file = &writer->files[chunk->file];
    struct tarn_file_entry *entry = &writer->view->files[chunk->file];
    if (error == 0) {
        tarn_counter(writer->session, COUNTER_WRITES, 1);
        tarn_counter(writer->session, COUNTER_PAGES_WRITTEN, chunk->page_count);
        tarn_fetch_add_full(&entry->writes, chunk->page_count);
        file->write_failures = 0;
    } else {
        tarn_counter(writer->session, COUNTER_WRITE_ERRORS, 1);
        tarn_fetch_add_full(&entry->errors, 1);
        back_off(writer, file);
    }
}

/* What was written and not synced may be lost, and the kernel may have marked it clean: all of it
 * is written again. */
static void writes_lost(struct tarn_writer *writer, struct data_file *file)
{
    file->epoch++;
    for (uint32_t i = 0; i < file->syncing.count; i++)
        image_lost(writer, &file->syncing.pages[i]);
    for (uint32_t i = 0; i < file->written.count; i++)
        image_lost(writer, &file->written.pages[i]);
    file->syncing.count = file->written.count = 0;
}

void tarn_writer_write_completed(struct tarn_writer *writer, uint32_t index, int64_t result)
{
    struct chunk *chunk = &writer->arena.chunks[index];
    struct data_file *file = &writer->files[chunk->file];
    int64_t bytes = (int64_t)chunk->page_count << writer->view->page_shift;
    int error = result == bytes ? 0 : result < 0 ? (int)result : -EIO;
    bool refused = chunk->durable && error == -EOPNOTSUPP;
    bool told = chunk->durable && error != 0 && !refused;
    bool newest = chunk->epoch == file->epoch;
    bool cleaned = false;
    if (refused)
        file->durable_refused = true;
    else
        count_write(writer, chunk, error);
    /* Durability has ended meanwhile: nothing is acknowledged any more. */
    if (chunk->durable && error == 0 && tarn_writer_failed(writer))
        error = -ENOTRECOVERABLE;
    for (uint32_t i = 0; i < chunk->page_count; i++)
        cleaned |= page_completed(writer, chunk, i, error);
    if (cleaned)
        tarn_frames_freed(writer->pool);
    if (file->temporary)
        temporary_durable(writer, file);
    tarn_writer_chunk_give(writer, chunk);
    /* The kernel tells of a failed sync once, and may have told it to this write: also of what was
     * written after another failure. That one has counted already. */
    if (told && newest)
        tarn_writer_sync_failed(writer, chunk->file, error);
    else if (told)
        writes_lost(writer, file);
}

bool tarn_writer_writes_beyond(const struct tarn_writer *writer, uint32_t file, uint64_t count)
{
    for (unsigned i = 0; i < writer->arena.chunk_count; i++) {
        const struct chunk *chunk = &writer->arena.chunks[i];
        if (chunk->in_flight && chunk->file == file && chunk->number + chunk->page_count > count)
            return true;
    }
    return false;
}

/* Syncs. */

static void start_sync(struct tarn_writer *writer, uint32_t id)
{
    struct data_file *file = &writer->files[id];
    if (file->written.count == 0) {
        file->sync_wanted = false;
        return;
    }
    if (writer->syncs_in_flight == SYNCS_MAX / 2 ||
        tarn_io_sync(writer->io, id, io_id(ID_SYNC, id)) < 0)
        return;
    struct staged_list list = file->syncing;
    file->syncing = file->written;
    file->written = list;
    file->written.count = 0;
    file->sync_wanted = false;
    file->sync_in_flight = true;
    file->sync_epoch = file->epoch;
    writer->syncs_in_flight++;
}

void tarn_writer_sync_failed(struct tarn_writer *writer, uint32_t id, int error)
{
    struct data_file *file = &writer->files[id];
    tarn_fetch_add_full(&writer->view->files[id].errors, 1);
    tarn_counter(writer->session, COUNTER_WRITE_ERRORS, 1);
    back_off(writer, file);
    writes_lost(writer, file);
    if (++file->sync_failures >= 2)
        fail_for_good(writer, error);
}

void tarn_writer_sync_completed(struct tarn_writer *writer, uint32_t id, int64_t result)
{
    struct data_file *file = &writer->files[id];
    file->sync_in_flight = false;
    writer->syncs_in_flight--;
    if (result < 0) {
        tarn_writer_sync_failed(writer, id, (int)result);
        return;
    }
    tarn_counter(writer->session, COUNTER_SYNCS, 1);
    tarn_fetch_add_full(&writer->view->files[id].syncs, 1);
    if (file->sync_epoch == file->epoch)
        file->sync_failures = 0;
    if (tarn_writer_failed(writer))
        file->syncing.count = 0;
    if (PLANTED(SYNC_TAKES_LATER_WRITES))
        temporary_durable(writer, file);
    bool cleaned = false;
    for (uint32_t i = 0; i < file->syncing.count; i++)
        cleaned |= image_durable(writer, &file->syncing.pages[i]);
    file->syncing.count = 0;
    if (cleaned)
        tarn_frames_freed(writer->pool);
}

/* All its pages are written: what is left waits for syncs. */
static void ask_for_syncs(struct tarn_writer *writer, struct flush_batch *batch)
{
    batch->sync_asked = true;
    for (uint32_t i = 0; i < batch->entry_count; i++)
        if (batch->entries[i].state == ENTRY_WRITTEN)
            writer->files[page_id_file(batch->entries[i].page_id)].sync_wanted = true;
}

static void read_rate(struct tarn_writer *writer)
{
    uint32_t rate = tarn_setting(writer->view, SET_WRITE_RATE);
    if (rate != writer->write_rate)
        writer->paced_ns = writer->now_ns;
    writer->write_rate = rate;
}

static void write_batches(struct tarn_writer *writer)
{
    memset(writer->wanted, 0, sizeof writer->wanted);
    for (const struct flush_batch *batch = writer->batches; batch != NULL; batch = batch->next)
        writer->wanted[batch->class] |= batch->queue_count > 0;
    for (unsigned class = 0; class < FLUSH_CLASSES; class ++) {
        if (!writer->wanted[class])
            continue;
        for (struct flush_batch *batch = writer->batches; batch != NULL; batch = batch->next)
            if (batch->class == class)
                write_batch(writer, batch);
    }
}

void tarn_writer_flush(struct tarn_writer *writer)
{
    bool was_busy = writer->busy_pages;
    bool failed = tarn_writer_failed(writer);
    writer->busy_pages = writer->paced = false;
    read_rate(writer);
    /* Said by this writer, which knows, or by a stray store: nothing goes on either way. */
    if (failed)
        tarn_writer_batches_fail(writer, -ENOTRECOVERABLE);
    if (!failed)
        write_batches(writer);
    for (struct flush_batch *batch = writer->batches; batch != NULL; batch = batch->next)
        if (batch->needed == 0 && batch->left > 0 && !batch->sync_asked)
            ask_for_syncs(writer, batch);
    for (uint32_t id = 1; id <= writer->file_last; id++)
        if (writer->files[id].sync_wanted && !writer->files[id].sync_in_flight && !failed)
            start_sync(writer, id);
    for (struct flush_batch *batch = writer->batches, *next; batch != NULL; batch = next) {
        next = batch->next;
        if (batch->left == 0)
            tarn_writer_batch_close(writer, batch);
    }
    /* Looks again soon at first, then less often. */
    if (!writer->busy_pages)
        writer->busy_wait_ns = 0;
    else if (!was_busy || writer->busy_wait_ns == 0)
        writer->busy_wait_ns = BUSY_WAIT_NS_MIN;
    else if (writer->busy_wait_ns < BUSY_WAIT_NS_MAX)
        writer->busy_wait_ns *= 2;
}
