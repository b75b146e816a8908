/* SPDX-License-Identifier: MIT */
/* Requests to the writer: asked in the session's own slot, answered there by CAS. */
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "lib/internal.h"

/* Takes the request back. False: the answer was faster. */
static bool withdraw(struct tarn_request *request, uint64_t asked)
{
    return tarn_cas_full(&request->word, asked,
                         request_word_of(request_word_serial(asked), 0, REQUEST_NONE));
}

static bool writer_lives(struct tarn_pool *pool)
{
    return tarn_byte_locked(pool->ask_fd, TARN_LOCK_WRITER);
}

static int no_writer(struct tarn_session *session)
{
    return tarn_fail(session, -ENOTCONN,
                     "pool %s has had no writer for %d ms: start 'tarn writer %s --dir %s'",
                     session->pool->name, session->writer_wait_ms, session->pool->name,
                     session->pool->directory);
}

/* Waits until the word is no longer the asked one. */
static int wait_for_answer(struct tarn_session *session, tarn_word *word, uint64_t asked,
                           int64_t wait_ms)
{
    struct tarn_wait wait;
    uint64_t writer_seen = tarn_now_ns();
    int result = 0;
    tarn_wait_begin(&wait, session, WAIT_WRITER, 0, wait_ms);
    while (result == 0 && tarn_load_acquire(word) == asked) {
        result = tarn_wait_round(&wait, word, asked, 0, TARN_NOBODY);
        uint64_t now = tarn_now_ns();
        if (result < 0 || wait.asked_ns == 0)
            continue;
        if (writer_lives(session->pool))
            writer_seen = now;
        else if (session->writer_wait_ms >= 0 &&
                 now - writer_seen > (uint64_t)session->writer_wait_ms * NS_PER_MS)
            result = no_writer(session);
        /* A wake-up may have been lost with a writer that died. */
        if (wait.step_ns >= 4 * (uint64_t)NS_PER_MS)
            tarn_wake_writer(session->pool);
    }
    tarn_wait_end(&wait, -1);
    return result;
}

int tarn_ask(struct tarn_session *session, unsigned kind, uint32_t file, uint64_t number,
             unsigned flags, const char *path, int64_t holder_wait_ms)
{
    struct tarn_request *request = &session->shared->request;
    int result = tarn_session_check_life(session);
    if (result < 0)
        return result;
    uint64_t asked = request_word_of(request_word_serial(tarn_load_relaxed(&request->word)) + 1, 0,
                                     REQUEST_ASKED);
    tarn_store_relaxed(&request->kind, kind);
    tarn_store_relaxed(&request->file, file);
    tarn_store_relaxed(&request->number, number);
    tarn_store_relaxed(&request->flags, flags);
    tarn_store_relaxed(&request->answer, 0);
    tarn_store_relaxed(&request->answer_slot, 0);
    tarn_store_relaxed(&request->wait_ms, (uint64_t)holder_wait_ms);
    if (path != NULL)
        snprintf(request->path, sizeof request->path, "%s", path);
    tarn_store_release(&request->word, asked); /* pairs: "request" */
    tarn_wake_writer(session->pool);

    result = wait_for_answer(
        session, &request->word, asked,
        session->wait_ms < 0 || holder_wait_ms < 0 ? -1 : session->wait_ms + holder_wait_ms);
    if (result < 0 && withdraw(request, asked))
        return result;
    uint64_t answered = tarn_load_acquire(&request->word); /* pairs: "answer" */
    return request_word_result(answered);
}

/* The words for an answer, where the writer's code alone would not say enough. */
static int explain(struct tarn_session *session, int result, const char *what)
{
    int error = (int)tarn_load_relaxed(&session->view.control->failed);
    switch (result) {
    case 0:
    case -ENOTCONN:
    case -ETIMEDOUT:
    case -ESHUTDOWN:
    case -EDEADLK:
        return result;
    case -ENOTRECOVERABLE:
        return tarn_fail(session, result,
                         "flush of %s: the writer's syncs failed (%s): nothing is acknowledged as"
                         " durable any more; mend the disk, destroy the pool with --force, init"
                         " again",
                         what, strerror(error));
    default:
        return tarn_fail(session, result,
                         "flush of %s: %s; the pages that failed stay dirty and"
                         " are tried again",
                         what, tarn_strerror(result));
    }
}

static int flush(struct tarn_session *session, unsigned kind, uint32_t file, uint64_t number,
                 const char *what)
{
    uint64_t begun = tarn_now_ns();
    int result = explain(session, tarn_ask(session, kind, file, number, 0, NULL, 0), what);
    if (result == 0)
        tarn_counter(session, COUNTER_FLUSHES, 1);
    tarn_latency_add(session, LATENCY_FLUSH, tarn_now_ns() - begun);
    return result;
}

static int check_file(struct tarn_session *session, uint32_t file)
{
    if (session->refusal != 0)
        return tarn_session_refuse(session);
    const struct tarn_view *view = &session->view;
    if (file >= 1 && file <= view->geometry.file_count &&
        file_word_state(tarn_load_acquire(&view->files[file].word)) == FILE_OPEN)
        return 0;
    return tarn_fail(session, -ENXIO, "pool %s has no file %u; tarn_file_open() gives ids",
                     session->pool->name, file);
}

int tarn_flush_pages(struct tarn_session *session, const struct tarn_page_id *ids, unsigned count)
{
    struct tarn_request *request = &session->shared->request;
    char what[64];
    /* Nobody reads them: the newest request is answered or taken back. */
    for (unsigned i = 0; i < count; i++)
        tarn_store_relaxed(&request->page_id[i], ids[i].value);
    snprintf(what, sizeof what,
             count == 1 ? "page %" PRIu64 " of file %u"
                        : "page %" PRIu64 " of file %u, and %u more",
             tarn_page_number(ids[0]), tarn_page_file(ids[0]), count - 1);
    return flush(session, ASK_FLUSH_PAGES, 0, count, what);
}

int tarn_flush_page(struct tarn_session *session, struct tarn_page_id id)
{
    int result = check_file(session, tarn_page_file(id));
    return result < 0 ? result : tarn_flush_pages(session, &id, 1);
}

int tarn_flush_file(struct tarn_session *session, uint32_t file)
{
    int result = check_file(session, file);
    if (result < 0)
        return result;
    char what[32];
    snprintf(what, sizeof what, "file %u", file);
    return flush(session, ASK_FLUSH_FILE, file, 0, what);
}

int tarn_flush_all(struct tarn_session *session)
{
    if (session->refusal != 0)
        return tarn_session_refuse(session);
    return flush(session, ASK_FLUSH_ALL, 0, 0, "all files");
}

/* Refusals that need the file's name. */
static int file_refused(struct tarn_session *session, int result, const char *path)
{
    switch (result) {
    case -ENOTCONN:
    case -ETIMEDOUT:
    case -ESHUTDOWN:
        return result;
    case -EDOM:
        return tarn_fail(session, result,
                         "%s: its size is not a whole number of pages of %u bytes; pad it, or init"
                         " a pool with smaller pages",
                         path, session->view.geometry.page_bytes);
    case -ENFILE:
        return tarn_fail(session, result, "%s: the file table of pool %s is full (%u files)", path,
                         session->pool->name, session->view.geometry.file_count);
    case -ENOENT:
        return tarn_fail(session, result,
                         "%s: no such file (directory %s); TARN_FILE_CREATE makes"
                         " one",
                         path, session->pool->directory);
    default:
        return tarn_fail(session, result, "%s: %s", path, tarn_strerror(result));
    }
}

int tarn_file_open(struct tarn_session *session, const char *path, unsigned flags,
                   uint32_t *ret_file)
{
    const unsigned known =
        TARN_FILE_CREATE | TARN_FILE_EXCLUSIVE | TARN_FILE_TEMPORARY | TARN_FILE_BUFFERED;
    if (session->refusal != 0)
        return tarn_session_refuse(session);
    if (path == NULL || path[0] == 0 || strlen(path) >= TARN_PATH_BYTES ||
        strpbrk(path, "\n\r\t") != NULL || (flags & ~known) != 0)
        return tarn_fail(session, -EINVAL,
                         "file path: 1 to %d bytes, without line breaks and tabs; flags %#x",
                         TARN_PATH_BYTES - 1, flags);
    int result = tarn_ask(session, ASK_FILE_OPEN, 0, 0, flags, path, 0);
    if (result < 0)
        return file_refused(session, result, path);
    *ret_file = (uint32_t)tarn_load_relaxed(&session->shared->request.answer);
    return 0;
}

int tarn_file_page_count(struct tarn_session *session, uint32_t file, uint64_t *ret_page_count)
{
    int result = check_file(session, file);
    if (result == 0)
        *ret_page_count = tarn_load_acquire(&session->view.files[file].page_count);
    return result;
}

/* A page beyond the new end is held; nothing has changed. */
static int file_held(struct tarn_session *session, const char *name)
{
    const struct tarn_request *request = &session->shared->request;
    uint64_t page = tarn_load_relaxed(&request->answer);
    uint64_t slot = tarn_load_relaxed(&request->answer_slot);
    uint64_t pid = slot < 1 || slot > session->view.slot_max
                       ? 0
                       : tarn_load_relaxed(&tarn_view_slot(&session->view, (unsigned)slot)->pid);
    return tarn_fail(session, -EBUSY,
                     "%s: page %" PRIu64 " is held by session %" PRIu64 " of process %" PRIu64
                     "; nothing was changed",
                     name, page, slot, pid);
}

static int change_file(struct tarn_session *session, unsigned kind, uint32_t file, uint64_t number,
                       unsigned flags, int32_t wait_ms)
{
    int result = check_file(session, file);
    if (result == 0 && (number > TARN_MASK(TARN_NUMBER_BITS) || wait_ms < -1))
        result = tarn_fail(session, -EINVAL, "file %u: page count %" PRIu64 ", wait %d ms", file,
                           number, wait_ms);
    if (result < 0)
        return result;
    result = tarn_ask(session, kind, file, number, flags, NULL, wait_ms);
    if (result == 0)
        return 0;
    char name[256];
    tarn_file_words(session, file, name, sizeof name);
    if (result == -ETIMEDOUT && kind != ASK_FILE_SHARE)
        return tarn_fail(session, result,
                         "%s: not finished in time: somebody holds a page beyond its new end, or"
                         " the writer is slow; it goes on without being asked again",
                         name);
    return result == -EBUSY ? file_held(session, name) : file_refused(session, result, name);
}

int tarn_file_share(struct tarn_session *session, uint32_t file, uint64_t *ret_frames)
{
    const struct tarn_view *view = &session->view;
    int result = check_file(session, file);
    if (result == 0)
        *ret_frames = share_word_limit(tarn_load_relaxed(&view->files[file].share),
                                       view->geometry.frame_count);
    return result;
}

int tarn_file_set_share(struct tarn_session *session, uint32_t file, uint64_t frames)
{
    int result = check_file(session, file);
    if (result < 0)
        return result;
    if (frames > session->view.geometry.frame_count)
        return tarn_fail(session, -EINVAL,
                         "file %u: a share of %" PRIu64 " frames: pool %s has %" PRIu32, file,
                         frames, session->pool->name, session->view.geometry.frame_count);
    return change_file(session, ASK_FILE_SHARE, file, frames, 0, 0);
}

int tarn_file_extend(struct tarn_session *session, uint32_t file, uint64_t page_count)
{
    return change_file(session, ASK_FILE_EXTEND, file, page_count, 0, 0);
}

int tarn_file_truncate(struct tarn_session *session, uint32_t file, uint64_t page_count,
                       int32_t wait_ms)
{
    return change_file(session, ASK_FILE_TRUNCATE, file, page_count, 0, wait_ms);
}

int tarn_file_drop(struct tarn_session *session, uint32_t file, int unlink, int32_t wait_ms)
{
    return change_file(session, ASK_FILE_DROP, file, 0, unlink != 0, wait_ms);
}
