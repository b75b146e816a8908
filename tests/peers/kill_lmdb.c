/* SPDX-License-Identifier: MIT */
/* LMDB under the load of kill_load.c: a page is the value of a key, a change a write transaction.
 * There is one writer at a time, under a robust mutex; a value is never changed in place. As
 * lmdb.h has it, mdb_reader_check() is called after each death, so that the snapshot of a dead
 * reader does not keep old pages from being used again. */
#include <lmdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/peers/kill_load.h"

struct handle {
    MDB_env *environment;
    MDB_dbi pages;
};

static struct handle *open_with(const char *directory, unsigned flags)
{
    MDB_txn *transaction;
    struct handle *handle = calloc(1, sizeof *handle);
    if (handle == NULL || mdb_env_create(&handle->environment) != 0 ||
        mdb_env_set_mapsize(handle->environment, (size_t)1 << 30) != 0 ||
        mdb_env_open(handle->environment, directory, 0, 0600) != 0 ||
        mdb_txn_begin(handle->environment, NULL, flags & MDB_CREATE ? 0 : MDB_RDONLY,
                      &transaction) != 0 ||
        mdb_dbi_open(transaction, NULL, MDB_INTEGERKEY | flags, &handle->pages) != 0 ||
        mdb_txn_commit(transaction) != 0)
        return NULL;
    return handle;
}

static void *open_lmdb(const char *directory)
{
    return open_with(directory, 0);
}

static MDB_val key_of(uint32_t *page)
{
    return (MDB_val){sizeof *page, page};
}

/* In an environment without a past: nobody has it open. */
static void make_lmdb(const char *directory)
{
    static const char *const names[] = {"data.mdb", "lock.mdb"};
    char path[512];
    for (unsigned i = 0; i < 2; i++) {
        snprintf(path, sizeof path, "%s/%s", directory, names[i]);
        unlink(path);
    }
    struct handle *handle = open_with(directory, MDB_CREATE);
    MDB_txn *transaction;
    if (handle == NULL || mdb_txn_begin(handle->environment, NULL, 0, &transaction) != 0)
        kill_die(directory, "no environment");
    for (uint32_t page = 0; page < KILL_PAGES; page++) {
        MDB_val key = key_of(&page), value = {KILL_PAGE_BYTES, NULL};
        if (mdb_put(transaction, handle->pages, &key, &value, MDB_RESERVE) != 0)
            kill_die(directory, "mdb_put");
        kill_page_make(value.mv_data, page);
    }
    if (mdb_txn_commit(transaction) != 0)
        kill_die(directory, "mdb_txn_commit");
    mdb_env_close(handle->environment);
    free(handle);
}

static int read_lmdb(void *context, uint32_t page, void *ret_copy)
{
    struct handle *handle = context;
    MDB_txn *transaction;
    MDB_val key = key_of(&page), value;
    if (mdb_txn_begin(handle->environment, NULL, MDB_RDONLY, &transaction) != 0)
        return KILL_LOST;
    int result = mdb_get(transaction, handle->pages, &key, &value);
    if (result == 0)
        memcpy(ret_copy, value.mv_data, KILL_PAGE_BYTES);
    mdb_txn_abort(transaction);
    return result == 0 ? KILL_DONE : KILL_LOST;
}

static int change_lmdb(void *context, uint32_t page, uint64_t *ret_sequence)
{
    struct handle *handle = context;
    MDB_txn *transaction;
    MDB_val key = key_of(&page), value;
    uint64_t copy[KILL_PAGE_BYTES / 8];
    if (mdb_txn_begin(handle->environment, NULL, 0, &transaction) != 0)
        return KILL_LOST;
    if (mdb_get(transaction, handle->pages, &key, &value) != 0)
        return KILL_LOST;
    memcpy(copy, value.mv_data, sizeof copy);
    *ret_sequence = kill_page_change(copy, page);
    value = (MDB_val){sizeof copy, copy};
    if (mdb_put(transaction, handle->pages, &key, &value, 0) != 0)
        return KILL_LOST;
    return mdb_txn_commit(transaction) == 0 ? KILL_DONE : KILL_LOST;
}

static int check_readers(const char *directory)
{
    struct handle *handle = open_with(directory, 0);
    int dead;
    return handle != NULL && mdb_reader_check(handle->environment, &dead) == 0 ? KILL_DONE
                                                                               : KILL_LOST;
}

const struct kill_peer kill_peer = {
    .make = make_lmdb,
    .open = open_lmdb,
    .read = read_lmdb,
    .change = change_lmdb,
    .after_kill = check_readers,
};
