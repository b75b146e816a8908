/* SPDX-License-Identifier: MIT */
/* The sessions as the writer sees them: what they ask for, and whether they live. */
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "lib/writer/state.h"

void tarn_writer_answer(struct tarn_writer *writer, unsigned slot, uint64_t asked, int result)
{
    tarn_word *word = &tarn_view_slot(writer->view, slot)->request.word;
    if (PLANTED(ANSWERED_WITHOUT_SERIAL))
        asked = tarn_load_acquire(word);
    uint64_t done = request_word_of(request_word_serial(asked), result, REQUEST_DONE);
    if (writer->served[slot] == asked)
        writer->served[slot] = 0;
    /* A session that gave up has taken the word back: then nobody waits for this. */
    if (tarn_cas_full(word, asked, done)) /* pairs: "answer" */
        tarn_wake(word);
}

/* Requests. */

/* The requests that a batch answers. */
static void attach_requests(struct tarn_writer *writer, struct flush_batch *batch,
                            const struct flush_request *requests, unsigned count)
{
    struct flush_request *copy = malloc(count * sizeof *copy);
    if (batch != NULL && copy != NULL) {
        memcpy(copy, requests, count * sizeof *copy);
        batch->requests = copy;
        batch->request_count = count;
        return;
    }
    /* A batch without requests ends all the same. */
    free(copy);
    for (unsigned i = 0; i < count; i++)
        tarn_writer_answer(writer, requests[i].slot, requests[i].asked, -ENOMEM);
}

static int by_file(const void *a, const void *b)
{
    uint32_t left = ((const struct flush_request *)a)->file;
    uint32_t right = ((const struct flush_request *)b)->file;
    return left < right ? -1 : left > right;
}

/* Flushes of files and of everything: those for the same share a batch. Those that find no room
 * are seen again when a batch has ended. */
static void open_wide_batches(struct tarn_writer *writer, struct flush_request *requests,
                              unsigned count)
{
    qsort(requests, count, sizeof *requests, by_file);
    for (unsigned first = 0, end; first < count; first = end) {
        for (end = first; end < count && requests[end].file == requests[first].file; end++)
            if (writer->batch_count[FLUSH_WIDE] == WIDE_BATCHES_MAX)
                writer->served[requests[end].slot] = 0;
        if (writer->batch_count[FLUSH_WIDE] < WIDE_BATCHES_MAX)
            attach_requests(writer, tarn_writer_batch_open_file(writer, requests[first].file),
                            &requests[first], end - first);
    }
}

static bool file_exists(const struct tarn_writer *writer, uint64_t file)
{
    return file >= 1 && file <= writer->view->geometry.file_count &&
           file_word_state(tarn_load_acquire(&writer->view->files[file].word)) == FILE_OPEN;
}

/* Some pages: copied out of the slot, then judged. */
static void take_pages(struct tarn_writer *writer, unsigned slot, uint64_t asked, uint64_t count)
{
    const struct tarn_request *request = &tarn_view_slot(writer->view, slot)->request;
    struct flush_request flush = {.asked = asked, .slot = slot};
    uint64_t page_ids[TARN_MTR_ENTRIES_MAX];
    int result = count > TARN_MTR_ENTRIES_MAX ? -EINVAL : 0;
    for (uint64_t i = 0; result == 0 && i < count; i++) {
        page_ids[i] = tarn_load_relaxed(&request->page_id[i]);
        if (!file_exists(writer, page_id_file(page_ids[i])))
            result = -ENXIO;
    }
    tarn_fence_load_load();
    if (tarn_load_acquire(&request->word) != asked)
        writer->served[slot] = 0; /* taken back meanwhile */
    else if (result < 0)
        tarn_writer_answer(writer, slot, asked, result);
    else {
        writer->waited_ns = writer->now_ns;
        attach_requests(writer, tarn_writer_batch_open_pages(writer, page_ids, (uint32_t)count),
                        &flush, 1);
    }
}

/* Takes one request in. True: a flush of a file or of all, to be opened with others. */
static bool take_request(struct tarn_writer *writer, unsigned slot, uint64_t asked,
                         struct flush_request *ret_request)
{
    const struct tarn_request *request = &tarn_view_slot(writer->view, slot)->request;
    struct request_words words = {
        .kind = tarn_load_relaxed(&request->kind),
        .file = tarn_load_relaxed(&request->file),
        .number = tarn_load_relaxed(&request->number),
        .flags = tarn_load_relaxed(&request->flags),
        .wait_ms = (int64_t)tarn_load_relaxed(&request->wait_ms),
    };
    tarn_fence_load_load();
    /* Taken back meanwhile: these may be the words of the next request. */
    if (tarn_load_acquire(&request->word) != asked)
        return false;
    if (tarn_writer_failed(writer)) {
        tarn_writer_answer(writer, slot, asked, -ENOTRECOVERABLE);
        return false;
    }
    writer->served[slot] = asked;
    *ret_request = (struct flush_request){.asked = asked, .slot = slot};
    switch (words.kind) {
    case ASK_FLUSH_ALL:
        return true;
    case ASK_FLUSH_FILE:
        ret_request->file = (uint32_t)words.file;
        if (file_exists(writer, words.file))
            return true;
        tarn_writer_answer(writer, slot, asked, -ENXIO);
        return false;
    case ASK_FLUSH_PAGES:
        take_pages(writer, slot, asked, words.number);
        return false;
    default:
        tarn_writer_file_request(writer, slot, asked, &words);
        return false;
    }
}

/* Processes. */

static bool is_other_process(const struct tarn_writer *writer, const struct tarn_slot *slot)
{
    const struct tarn_pool *pool = writer->pool;
    return tarn_load_relaxed(&slot->pid) != pool->pid || pool->pid_namespace == 0 ||
           tarn_load_relaxed(&slot->pid_namespace) != pool->pid_namespace;
}

static bool is_watch_of(const struct watch *watch, uint64_t pid)
{
    return watch->fd >= 0 && !watch->cancelled && watch->pid == pid;
}

/* The watch of a process, or an empty place; NULL: there is none. Each slot remembers where it was
 * found: a look at all slots is one comparison each. */
static struct watch *find_watch(struct tarn_writer *writer, unsigned slot, uint64_t pid)
{
    struct watch *found = &writer->watches[writer->slot_watch[slot]];
    if (writer->slot_watch[slot] < writer->watch_count && is_watch_of(found, pid))
        return found;
    found = NULL;
    for (unsigned i = 0; i < writer->watch_count; i++) {
        struct watch *watch = &writer->watches[i];
        if (is_watch_of(watch, pid)) {
            found = watch;
            break;
        }
        if (watch->fd < 0 && found == NULL)
            found = watch;
    }
    if (found == NULL && writer->watch_count == 2 * writer->view->slot_max)
        return NULL;
    if (found == NULL) {
        found = &writer->watches[writer->watch_count++];
        found->fd = -1;
    }
    writer->slot_watch[slot] = (uint32_t)(found - writer->watches);
    return found;
}

/* Has the kernel tell when the session's process ends. */
static void watch_slot(struct tarn_writer *writer, unsigned slot)
{
    struct tarn_pool *pool = writer->pool;
    const struct tarn_slot *shared = tarn_view_slot(writer->view, slot);
    if (pool->pid_namespace == 0 ||
        tarn_load_relaxed(&shared->pid_namespace) != pool->pid_namespace) {
        writer->timer = true;
        tarn_reap(pool, slot, writer->session);
        return;
    }
    uint64_t pid = tarn_load_relaxed(&shared->pid);
    struct watch *watch = find_watch(writer, slot, pid);
    /* More processes came and went between two looks than there are places. */
    if (watch == NULL) {
        writer->timer = true;
        tarn_reap(pool, slot, writer->session);
        return;
    }
    if (watch->fd >= 0) {
        watch->seen = true;
        return;
    }
    /* Dead, and perhaps in the hands of a reaper that is stopped: its pidfd would fire at once,
     * again and again. */
    bool dead = pool->dead(pool, slot);
    int fd = dead ? -1 : (int)syscall(SYS_pidfd_open, (pid_t)pid, 0);
    uint32_t index = (uint32_t)(watch - writer->watches);
    if (fd >= 0 && tarn_io_poll(writer->io, fd, io_id(ID_PROCESS, index)) == 0)
        *watch = (struct watch){.pid = pid, .fd = fd, .seen = true};
    else if (fd >= 0)
        close(fd);
    /* It may have ended before it was watched, and its pid be another's. */
    if (watch->fd < 0)
        writer->timer = true;
    tarn_reap(pool, slot, writer->session);
}

static void forget_unseen_watches(struct tarn_writer *writer)
{
    for (unsigned i = 0; i < writer->watch_count; i++) {
        struct watch *watch = &writer->watches[i];
        if (watch->fd >= 0 && !watch->seen && !watch->cancelled &&
            tarn_io_poll_cancel(writer->io, io_id(ID_PROCESS, i)) == 0)
            watch->cancelled = true;
        watch->seen = false;
    }
}

void tarn_writer_process_ended(struct tarn_writer *writer, uint32_t index)
{
    struct watch *watch = &writer->watches[index];
    close(watch->fd);
    watch->fd = -1;
    if (watch->cancelled)
        return;
    for (unsigned slot = 1; slot <= writer->view->slot_max; slot++) {
        const struct tarn_slot *shared = tarn_view_slot(writer->view, slot);
        if (tarn_load_acquire(&shared->state) == SLOT_FREE ||
            tarn_load_relaxed(&shared->pid) != watch->pid)
            continue;
        /* The kernel may not have given up its locks yet: then the next look finds it. */
        if (tarn_reap(writer->pool, slot, writer->session) == 0)
            writer->timer = true;
    }
}

void tarn_writer_watches_close(struct tarn_writer *writer)
{
    for (unsigned i = 0; i < writer->watch_count; i++)
        if (writer->watches[i].fd >= 0)
            close(writer->watches[i].fd);
    writer->watch_count = 0;
}

void tarn_writer_look(struct tarn_writer *writer)
{
    struct flush_request requests[TARN_SESSION_MAX + TARN_SLOTS_RESERVED];
    unsigned count = 0;
    /* Not every death has an event: who calls exec lives on, and its session does not. */
    if (writer->now_ns - writer->asked_lives_ns >= (uint64_t)1000 * NS_PER_MS) {
        writer->asked_lives_ns = writer->now_ns;
        tarn_reap_all(writer->pool, writer->session);
    }
    writer->look = false;
    writer->looked_ns = writer->now_ns;
    writer->timer = writer->fifo_lost;
    for (unsigned slot = 1; slot <= writer->view->slot_max; slot++) {
        const struct tarn_slot *shared = tarn_view_slot(writer->view, slot);
        if (tarn_load_acquire(&shared->state) == SLOT_FREE) /* pairs: "slot live" */
            continue;
        if (is_other_process(writer, shared))
            watch_slot(writer, slot);
        uint64_t asked = tarn_load_acquire(&shared->request.word); /* pairs: "request" */
        if (request_word_state(asked) == REQUEST_ASKED && !writer->stopping &&
            writer->served[slot] != asked)
            count += take_request(writer, slot, asked, &requests[count]);
    }
    open_wide_batches(writer, requests, count);
    forget_unseen_watches(writer);
}
