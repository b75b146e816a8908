/* SPDX-License-Identifier: MIT */
/* tarn under the loads of writer_load.c. The pool has the name of the directory, and a writer; both
 * are made by tests/peers/writer, which asks for the hits as well. */
#include <stdlib.h>
#include <string.h>
#include <tarn.h>

#include "tests/peers/writer_load.h"

struct handle {
    struct tarn_pool *pool;
    struct tarn_session *session;
    uint32_t file;
};

static void check(const struct handle *handle, int result)
{
    if (result < 0)
        load_die("tarn", handle->session == NULL ? tarn_strerror(result)
                                                 : tarn_session_message(handle->session));
}

/* With TARN_LOAD_BUFFERED set, through the page cache. */
static void *open_tarn(const char *directory, uint64_t cache_bytes)
{
    struct tarn_message message;
    struct handle *handle = calloc(1, sizeof *handle);
    const char *slash = strrchr(directory, '/');
    (void)cache_bytes;
    if (handle == NULL ||
        tarn_attach(slash == NULL ? directory : slash + 1, NULL, &handle->pool, &message) < 0)
        load_die(directory, handle == NULL ? "no memory" : message.text);
    check(handle, tarn_session_open(handle->pool, NULL, &handle->session));
    check(handle, tarn_file_open(handle->session, "pages",
                                 getenv("TARN_LOAD_BUFFERED") != NULL ? TARN_FILE_BUFFERED : 0,
                                 &handle->file));
    return handle;
}

static uint64_t read_tarn(void *context, uint32_t page)
{
    struct handle *handle = context;
    struct tarn_pin pin;
    uint64_t word;
    check(handle, tarn_pin(handle->session, tarn_page_id(handle->file, page), 0, &pin));
    check(handle, tarn_latch_shared(handle->session, pin, -1));
    memcpy(&word, (const char *)pin.data + load_offset(page), sizeof word);
    tarn_unlatch_shared(handle->session, pin);
    tarn_unpin(handle->session, pin);
    return word;
}

static void change_tarn(void *context, uint32_t page)
{
    struct handle *handle = context;
    struct tarn_writable_page writable;
    uint64_t word;
    check(handle, tarn_mtr_begin(handle->session, 1));
    check(handle, tarn_mtr_write_range(handle->session, tarn_page_id(handle->file, page),
                                       load_offset(page), sizeof word, -1, &writable));
    memcpy(&word, (char *)writable.data + load_offset(page), sizeof word);
    word++;
    memcpy((char *)writable.data + load_offset(page), &word, sizeof word);
    check(handle, tarn_mtr_commit(handle->session, 0));
}

static void flush_tarn(void *context)
{
    struct handle *handle = context;
    check(handle, tarn_flush_file(handle->session, handle->file));
}

static void flush_page_tarn(void *context, uint32_t page)
{
    struct handle *handle = context;
    check(handle, tarn_flush_page(handle->session, tarn_page_id(handle->file, page)));
}

const struct load_cache load_cache = {
    .open = open_tarn,
    .read = read_tarn,
    .change = change_tarn,
    .flush = flush_tarn,
    .flush_page = flush_page_tarn,
};
