/* SPDX-License-Identifier: MIT */
/* Files that grow, shrink and go.
 *
 * The count of pages in the segment is the truth about where a file ends; what lies beyond it on
 * disk is garbage, which an extension cuts off first. So an operation that a killed writer has
 * left half done needs no record: its successor throws the pages beyond the count away and answers
 * the request, which still stands, once more.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/writer/state.h"
#include "shm/holds.h"

/* Pages thrown away in one round; others are served in between. */
#define DISCARD_FRAMES 4096u

static void end_op(struct tarn_writer *writer, uint32_t id, int result)
{
    struct file_op *op = &writer->files[id].op;
    if (op->slot != 0)
        tarn_writer_answer(writer, op->slot, op->asked, result);
    free(op->frames);
    free(op->page_ids);
    *op = (struct file_op){.state = OP_NONE};
    writer->look = true; /* for requests that waited for this one */
}

/* The request has been withdrawn, or its session is gone. */
static bool is_withdrawn(const struct tarn_writer *writer, const struct file_op *op)
{
    return op->slot == 0 ||
           tarn_load_acquire(&tarn_view_slot(writer->view, op->slot)->request.word) != op->asked;
}

/* Who stands in the way, and at which page. What is asked in the slot next is answered by this
 * writer too, which writes over this then. */
static void answer_holder(struct tarn_writer *writer, const struct file_op *op, unsigned holder)
{
    if (is_withdrawn(writer, op))
        return;
    struct tarn_request *request = &tarn_view_slot(writer->view, op->slot)->request;
    tarn_store_relaxed(&request->answer_slot, holder);
    tarn_store_relaxed(&request->answer, page_id_number(op->page_ids[op->held]));
}

/* Frames of the file at and beyond the count. One scan finds them all: who enters a page after
 * the count was lowered reads the count again, and gives the frame back. */
static int collect_frames(struct tarn_writer *writer, uint32_t id, struct file_op *op)
{
    const struct tarn_view *view = writer->view;
    uint32_t room = 0;
    for (uint32_t frame = 0; frame < view->geometry.frame_count; frame++) {
        const struct tarn_descriptor *descriptor = &view->descriptors[frame];
        uint64_t page_id = tarn_load_acquire(&descriptor->page_id), word;
        if (page_id_file(page_id) != id || page_id_number(page_id) < op->count ||
            tarn_table_find(view, page_id, &word) != frame)
            continue;
        if (op->frame_count == room) {
            room = room == 0 ? 64 : room * 2;
            uint32_t *frames = realloc(op->frames, room * sizeof *frames);
            if (frames != NULL)
                op->frames = frames;
            uint64_t *page_ids = realloc(op->page_ids, room * sizeof *page_ids);
            if (page_ids != NULL)
                op->page_ids = page_ids;
            if (frames == NULL || page_ids == NULL)
                return -ENOMEM;
        }
        op->frames[op->frame_count] = frame;
        op->page_ids[op->frame_count++] = page_id;
    }
    return 0;
}

/* Lowers the count, or marks the file as dropped: nobody brings pages beyond in from now on. */
static void publish_end(struct tarn_writer *writer, uint32_t id, struct file_op *op)
{
    struct tarn_file_entry *entry = file_entry(writer, id);
    if (op->kind == ASK_FILE_DROP) {
        uint64_t word = tarn_load_relaxed(&entry->word);
        order_page_count_before_frames(&entry->word, word, (word & ~UINT64_C(3)) | FILE_DROPPED);
    } else {
        order_page_count_before_frames(&entry->page_count, op->count_before, op->count);
    }
}

static void take_end_back(struct tarn_writer *writer, uint32_t id, struct file_op *op)
{
    struct tarn_file_entry *entry = file_entry(writer, id);
    if (op->kind == ASK_FILE_DROP) {
        uint64_t word = tarn_load_relaxed(&entry->word);
        tarn_cas_full(&entry->word, word, (word & ~UINT64_C(3)) | FILE_OPEN);
    } else {
        tarn_cas_full(&entry->page_count, op->count, op->count_before);
    }
}

static void begin_cut(struct tarn_writer *writer, uint32_t id, enum file_op_state state)
{
    struct file_op *op = &writer->files[id].op;
    if (!PLANTED(COUNT_LOWERED_AFTER_SCAN))
        publish_end(writer, id, op);
    int result = collect_frames(writer, id, op);
    if (PLANTED(COUNT_LOWERED_AFTER_SCAN))
        publish_end(writer, id, op);
    op->state = state;
    if (result < 0) {
        /* Past the point of no return the next takeover goes on with it. */
        if (state == OP_HOLDERS)
            take_end_back(writer, id, op);
        end_op(writer, id, result);
    }
}

/* The slot that holds the page in a frame, or 0. */
static unsigned holder_of(const struct tarn_writer *writer, uint32_t frame, uint64_t page_id)
{
    const struct tarn_view *view = writer->view;
    uint64_t word;
    if (tarn_table_find(view, page_id, &word) != frame)
        return 0;
    /* A page that is only read ahead is anybody's to take away. */
    if (frame_word_state(word) == FRAME_CLAIMED)
        return word & FRAME_REVOCABLE ? 0 : frame_word_owner(word);
    unsigned holder = tarn_frame_holder(view, frame);
    /* Still the same page, or the hold is on another one. */
    return tarn_load_acquire(&view->descriptors[frame].page_id) == page_id ? holder : 0;
}

/* Somebody who holds one of the frames, or 0. Nothing is changed: until nobody does, the operation
 * can still be given up as if it had never been asked for. The one that was held last is asked
 * first: a wait is then one look. */
static unsigned find_holder(struct tarn_writer *writer, struct file_op *op)
{
    for (uint32_t i = 0; i < op->frame_count; i++) {
        uint32_t at = (op->held + i) % op->frame_count;
        unsigned holder = holder_of(writer, op->frames[at], op->page_ids[at]);
        if (holder != 0) {
            op->held = at;
            return holder;
        }
    }
    return 0;
}

/* Throws pages away, so many at a time; those that somebody holds stay on the list. Returns a
 * holder, or 0. */
static unsigned discard_frames(struct tarn_writer *writer, struct file_op *op)
{
    unsigned holder = 0;
    uint32_t kept = 0, looked = 0;
    for (; looked < op->frame_count && looked - kept < DISCARD_FRAMES; looked++) {
        unsigned one = 0;
        if (tarn_frame_discard(writer->session, op->frames[looked], op->page_ids[looked], &one) ==
            0)
            continue;
        holder = one;
        op->frames[kept] = op->frames[looked];
        op->page_ids[kept++] = op->page_ids[looked];
    }
    if (kept < looked)
        tarn_frames_freed(writer->pool);
    uint32_t rest = op->frame_count - looked;
    if (rest > 0) {
        memmove(op->frames + kept, op->frames + looked, rest * sizeof *op->frames);
        memmove(op->page_ids + kept, op->page_ids + looked, rest * sizeof *op->page_ids);
    }
    op->frame_count = kept + rest;
    return holder;
}

/* Only the very file: after a death in between, the name may be another's by now. */
static int unlink_own(struct tarn_writer *writer, const struct tarn_file_record *record)
{
    char name[TARN_PATH_BYTES];
    struct stat status;
    uint64_t device, inode;
    tarn_record_file_name(record, name);
    if (fstatat(writer->pool->directory_fd, name, &status, AT_SYMLINK_NOFOLLOW) != 0)
        return errno == ENOENT ? 0 : -errno;
    tarn_file_identity(&status, &device, &inode);
    if (device != record->device || inode != record->inode)
        return 0;
    return unlinkat(writer->pool->directory_fd, name, 0) == 0 || errno == ENOENT ? 0 : -errno;
}

/* The file first, if it goes too: a writer that dies in between leaves a file in the table that is
 * marked as dropped, and the next one goes on; the other way round the file would stay. */
static int finish_drop(struct tarn_writer *writer, uint32_t id)
{
    struct data_file *file = &writer->files[id];
    struct tarn_file_record record = writer->records[id];
    bool unlinks = file->op.unlink || record.kind == FILE_TEMPORARY;
    int unlinked = unlinks ? unlink_own(writer, &record) : 0;
    writer->records[id] = (struct tarn_file_record){0};
    int result = tarn_writer_table_write(writer);
    if (result < 0) {
        writer->records[id] = record;
        return result;
    }
    tarn_writer_victims_share(writer, id);
    tarn_writer_batches_forget_file(writer, id);
    tarn_writer_file_close(writer, id);
    tarn_store_release(&file_entry(writer, id)->page_count, 0);
    return unlinked;
}

/* The new size is on the device, or it is not. */
static void end_size(struct tarn_writer *writer, uint32_t id, int result)
{
    struct file_op *op = &writer->files[id].op;
    if (result == 0 && op->kind == ASK_FILE_EXTEND)
        tarn_store_release(&file_entry(writer, id)->page_count, op->count); /* pairs: "file" */
    end_op(writer, id, result);
}

static int set_size(struct tarn_writer *writer, uint32_t id, uint64_t count)
{
    struct data_file *file = &writer->files[id];
    if (file->block)
        return 0;
    return ftruncate(file->fd, (off_t)(count << writer->view->page_shift)) == 0 ? 0 : -errno;
}

/* A size is durable like a page: after a sync. Tried again while too many are in flight. */
static void begin_op_sync(struct tarn_writer *writer, uint32_t id)
{
    struct data_file *file = &writer->files[id];
    file->op.state = OP_SIZED;
    if (file->temporary) {
        end_size(writer, id, 0);
        return;
    }
    if (writer->op_syncs_in_flight == SYNCS_MAX / 2 ||
        tarn_io_sync(writer->io, id, io_id(ID_OP_SYNC, id)) < 0)
        return;
    writer->op_syncs_in_flight++;
    file->op.state = OP_SYNC;
}

void tarn_writer_op_sync_completed(struct tarn_writer *writer, uint32_t id, int64_t result)
{
    writer->op_syncs_in_flight--;
    if (result < 0)
        tarn_writer_sync_failed(writer, id, (int)result);
    end_size(writer, id, (int)result);
}

/* All pages are out: the file itself. */
static void finish_cut(struct tarn_writer *writer, uint32_t id)
{
    struct file_op *op = &writer->files[id].op;
    if (op->kind == ASK_FILE_DROP) {
        end_op(writer, id, finish_drop(writer, id));
        return;
    }
    int result =
        writer->files[id].fd < 0 ? writer->files[id].error : set_size(writer, id, op->count);
    if (result < 0)
        end_op(writer, id, result);
    else
        begin_op_sync(writer, id);
}

static void work_on(struct tarn_writer *writer, uint32_t id)
{
    struct data_file *file = &writer->files[id];
    struct file_op *op = &file->op;
    bool all = op->kind == ASK_FILE_DROP;
    if (op->state == OP_SIZED)
        begin_op_sync(writer, id);
    if (op->state < OP_HOLDERS || op->state > OP_DISCARD ||
        tarn_writer_writes_beyond(writer, id, all ? 0 : op->count) || (all && file->sync_in_flight))
        return;
    unsigned holder = 0;
    if (op->state == OP_HOLDERS) {
        holder = find_holder(writer, op);
        if (holder != 0 && (writer->now_ns >= op->deadline_ns || is_withdrawn(writer, op))) {
            take_end_back(writer, id, op);
            answer_holder(writer, op, holder);
            end_op(writer, id, -EBUSY);
            return;
        }
        if (holder == 0)
            op->state = OP_DISCARD;
    }
    if (op->state == OP_DISCARD) {
        /* Whoever pins one now came too late; he is waited for, since some are gone already. */
        holder = discard_frames(writer, op);
        if (holder != 0 && op->slot != 0 && writer->now_ns >= op->deadline_ns) {
            tarn_writer_answer(writer, op->slot, op->asked, -ETIMEDOUT);
            op->slot = 0;
        }
        if (op->frame_count == 0)
            finish_cut(writer, id);
    }
    if (holder != 0 && holder <= writer->view->slot_max)
        tarn_reap(writer->pool, holder, writer->session);
}

bool tarn_writer_files_work(struct tarn_writer *writer)
{
    bool waits = false;
    for (uint32_t id = 1; id <= writer->file_last; id++)
        if (writer->files[id].op.state != OP_NONE) {
            work_on(writer, id);
            enum file_op_state state = writer->files[id].op.state;
            waits |= state != OP_NONE && state != OP_SYNC;
        }
    return waits;
}

bool tarn_writer_files_busy(const struct tarn_writer *writer)
{
    for (uint32_t id = 1; id <= writer->file_last; id++)
        if (writer->files[id].op.state >= OP_SIZED)
            return true;
    return false;
}

/* Those on whom nothing depends yet are taken back, the rest is left to the next writer. */
void tarn_writer_files_stop(struct tarn_writer *writer)
{
    for (uint32_t id = 1; id <= writer->file_last; id++) {
        struct file_op *op = &writer->files[id].op;
        if (op->state == OP_HOLDERS)
            take_end_back(writer, id, op);
        if (op->state == OP_HOLDERS || op->state == OP_DISCARD) {
            op->slot = 0;
            end_op(writer, id, 0);
        }
    }
}

/* Marks the files that have pages in the pool beyond their ends. */
static void find_pages_beyond(struct tarn_writer *writer)
{
    const struct tarn_view *view = writer->view;
    for (uint32_t frame = 0; frame < view->geometry.frame_count; frame++) {
        uint64_t page_id = tarn_load_acquire(&view->descriptors[frame].page_id), word;
        uint32_t id = page_id_file(page_id);
        if (id >= 1 && id <= writer->file_last &&
            page_id_number(page_id) >= tarn_load_acquire(&file_entry(writer, id)->page_count) &&
            tarn_table_find(view, page_id, &word) == frame)
            writer->files[id].beyond = true;
    }
}

/* What a dead writer has begun and nobody asks for any more is brought to its end. */
void tarn_writer_files_resume(struct tarn_writer *writer)
{
    find_pages_beyond(writer);
    for (uint32_t id = 1; id <= writer->file_last; id++) {
        struct data_file *file = &writer->files[id];
        struct tarn_file_entry *entry = file_entry(writer, id);
        bool beyond = file->beyond;
        bool drop = file_word_state(tarn_load_acquire(&entry->word)) == FILE_DROPPED;
        file->beyond = false;
        if (writer->records[id].id == 0 || file->op.state != OP_NONE || (!drop && !beyond))
            continue;
        uint64_t count = tarn_load_acquire(&entry->page_count);
        file->op = (struct file_op){.kind = drop ? ASK_FILE_DROP : ASK_FILE_TRUNCATE,
                                    .count = drop ? 0 : count,
                                    .count_before = count};
        begin_cut(writer, id, OP_DISCARD);
    }
}

/* Requests. */

/* Room first, then the count: a page below the count always lies inside the file. */
static void extend(struct tarn_writer *writer, uint32_t id)
{
    struct data_file *file = &writer->files[id];
    struct file_op *op = &file->op;
    unsigned shift = writer->view->page_shift;
    if (op->count <= op->count_before) {
        end_op(writer, id, 0);
        return;
    }
    if (file->block || op->count > (uint64_t)INT64_MAX >> shift) {
        end_op(writer, id, -EFBIG);
        return;
    }
    if (PLANTED(COUNT_RAISED_BEFORE_SIZE))
        tarn_store_release(&file_entry(writer, id)->page_count, op->count);
    /* What lies beyond the count is garbage; the new pages are zeros. */
    int result = set_size(writer, id, op->count_before);
    off_t offset = (off_t)(op->count_before << shift);
    off_t bytes = (off_t)((op->count - op->count_before) << shift);
    if (result == 0 && fallocate(file->fd, 0, offset, bytes) != 0)
        result = errno == EOPNOTSUPP ? set_size(writer, id, op->count) : -errno;
    if (result < 0) {
        set_size(writer, id, op->count_before);
        end_op(writer, id, result);
        return;
    }
    begin_op_sync(writer, id);
}

bool tarn_writer_file_drops(const struct tarn_writer *writer, uint32_t id)
{
    uint64_t word = tarn_load_acquire(&file_entry(writer, id)->word);
    /* An id may have been another file's: the table knows the next one before the segment does. */
    return file_word_state(word) == FILE_DROPPED &&
           file_word_incarnation(word) == writer->records[id].incarnation;
}

/* 1: to be worked on. The work of a dead writer may be all done but for the answer. */
static int file_result(struct tarn_writer *writer, uint64_t id, unsigned kind)
{
    if (id < 1 || id > writer->view->geometry.file_count)
        return -ENXIO;
    struct data_file *file = &writer->files[id];
    if (kind == ASK_FILE_DROP && file->dropped) {
        file->dropped = false;
        return 0;
    }
    if (writer->records[id].id == 0)
        return -ENXIO;
    if (kind == ASK_FILE_DROP)
        return 1;
    /* Its file may be gone already; whether it goes itself is known when the drop has ended. */
    if (tarn_writer_file_drops(writer, (uint32_t)id))
        return file->op.state == OP_NONE ? -ENXIO : 1;
    return file->fd < 0 ? file->error : 1;
}

/* The table first: what a writer that dies in between has promised nobody is what its successor
 * works with. */
static int set_share(struct tarn_writer *writer, uint32_t id, uint64_t share)
{
    struct tarn_file_record *record = &writer->records[id];
    uint32_t before = record->share;
    if (share > writer->view->geometry.frame_count)
        return -EINVAL;
    record->share = (uint32_t)share;
    int result = tarn_writer_table_write(writer);
    if (result < 0)
        record->share = before;
    tarn_writer_victims_share(writer, id);
    writer->cleaning = true;
    return result;
}

void tarn_writer_file_request(struct tarn_writer *writer, unsigned slot, uint64_t asked,
                              const struct request_words *words)
{
    unsigned kind = (unsigned)words->kind;
    if (words->kind == ASK_FILE_OPEN) {
        tarn_writer_file_open(writer, slot, asked);
        return;
    }
    uint64_t id = words->file, number = words->number;
    int result = words->kind < ASK_FILE_EXTEND || words->kind > ASK_FILE_SHARE ||
                         number > TARN_MASK(TARN_NUMBER_BITS)
                     ? -EINVAL
                     : file_result(writer, id, kind);
    if (result <= 0) {
        tarn_writer_answer(writer, slot, asked, result);
        return;
    }
    if (kind == ASK_FILE_SHARE && !tarn_writer_file_drops(writer, (uint32_t)id)) {
        if (PLANTED(SHARE_ANSWERED_FIRST))
            tarn_writer_answer(writer, slot, asked, 0);
        tarn_writer_answer(writer, slot, asked, set_share(writer, (uint32_t)id, number));
        return;
    }
    struct file_op *op = &writer->files[id].op;
    uint64_t deadline_ns =
        words->wait_ms < 0 ? UINT64_MAX : writer->now_ns + (uint64_t)words->wait_ms * NS_PER_MS;
    if (op->state == OP_DISCARD && op->slot == 0 && op->kind == kind &&
        (kind == ASK_FILE_DROP || op->count == number)) {
        /* What a dead writer had begun for this very request. */
        op->slot = slot;
        op->asked = asked;
        op->unlink = words->flags != 0;
        op->deadline_ns = deadline_ns;
        return;
    }
    if (op->state != OP_NONE) {
        /* One at a time; the end of that one brings another look. */
        writer->served[slot] = 0;
        return;
    }
    *op = (struct file_op){
        .state = OP_SYNC,
        .slot = slot,
        .asked = asked,
        .kind = kind,
        .unlink = words->flags != 0,
        .count = kind == ASK_FILE_DROP ? 0 : number,
        .count_before = tarn_load_relaxed(&file_entry(writer, (uint32_t)id)->page_count),
        .deadline_ns = deadline_ns,
    };
    if (kind == ASK_FILE_EXTEND)
        extend(writer, (uint32_t)id);
    else if (kind == ASK_FILE_TRUNCATE && op->count > op->count_before)
        end_op(writer, (uint32_t)id, 0);
    else
        begin_cut(writer, (uint32_t)id, OP_HOLDERS);
}
