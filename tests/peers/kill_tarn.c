/* SPDX-License-Identifier: MIT */
/* tarn under the load of kill_load.c. The pool has the name of the directory, and a writer; both
 * are made by tests/peers/kill. After a kill nothing is asked of anybody. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <tarn.h>

#include "tests/peers/kill_load.h"

struct handle {
    struct tarn_pool *pool;
    struct tarn_session *session;
    uint32_t file;
};

static void *open_tarn(const char *directory)
{
    struct tarn_message message;
    struct handle *handle = calloc(1, sizeof *handle);
    /* As the others: it waits as long as it takes, and it is the load that says who hangs. */
    const struct tarn_session_options patient = {
        .size = sizeof patient, .wait_ms = -1, .frame_wait_ms = -1, .writer_wait_ms = -1};
    const char *slash = strrchr(directory, '/');
    if (handle == NULL ||
        tarn_attach(slash == NULL ? directory : slash + 1, NULL, &handle->pool, &message) < 0)
        return NULL;
    if (tarn_session_open(handle->pool, &patient, &handle->session) < 0 ||
        tarn_file_open(handle->session, "pages", TARN_FILE_CREATE, &handle->file) < 0)
        return NULL;
    return handle;
}

static int lost(struct handle *handle)
{
    fprintf(stderr, "tarn: %s\n", tarn_session_message(handle->session));
    return KILL_LOST;
}

static void make_tarn(const char *directory)
{
    struct handle *handle = open_tarn(directory);
    if (handle == NULL || tarn_file_extend(handle->session, handle->file, KILL_PAGES) < 0)
        kill_die(directory, "no pool, or no writer");
    for (uint32_t page = 0; page < KILL_PAGES; page++) {
        struct tarn_writable_page writable;
        if (tarn_mtr_begin(handle->session, 1) < 0 ||
            tarn_mtr_write(handle->session, tarn_page_id(handle->file, page), -1, &writable) < 0)
            kill_die(directory, tarn_session_message(handle->session));
        kill_page_make(writable.data, page);
        tarn_mtr_commit(handle->session, 0);
    }
    tarn_detach(handle->pool);
    free(handle);
}

static int read_tarn(void *context, uint32_t page, void *ret_copy)
{
    struct handle *handle = context;
    struct tarn_pin pin;
    if (tarn_pin(handle->session, tarn_page_id(handle->file, page), TARN_HINT_NONE, &pin) < 0 ||
        tarn_latch_shared(handle->session, pin, -1) < 0)
        return lost(handle);
    memcpy(ret_copy, pin.data, KILL_PAGE_BYTES);
    tarn_unlatch_shared(handle->session, pin);
    tarn_unpin(handle->session, pin);
    return KILL_DONE;
}

static int change_tarn(void *context, uint32_t page, uint64_t *ret_sequence)
{
    struct handle *handle = context;
    struct tarn_writable_page writable;
    if (tarn_mtr_begin(handle->session, 1) < 0 ||
        tarn_mtr_write(handle->session, tarn_page_id(handle->file, page), -1, &writable) < 0)
        return lost(handle);
    uint64_t sequence = kill_page_change(writable.data, page);
    if (tarn_mtr_commit(handle->session, 0) < 0)
        return lost(handle);
    *ret_sequence = sequence;
    return KILL_DONE;
}

const struct kill_peer kill_peer = {
    .make = make_tarn,
    .open = open_tarn,
    .read = read_tarn,
    .change = change_tarn,
};
