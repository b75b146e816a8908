/* SPDX-License-Identifier: MIT */
/* The cache of Berkeley DB under the loads of writer_load.c: its mpool alone, in files of the
 * directory that all processes map. Who changes a page is not kept from those who read it, and a
 * page that leaves is written into the kernel's page cache, not synced: this library, as Debian
 * builds it, does without O_DIRECT whatever DB_DIRECT_DB says. */
#include <db.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/peers/writer_load.h"

struct handle {
    DB_ENV *environment;
    DB_MPOOLFILE *file;
};

static void check(int result, const char *what)
{
    if (result != 0)
        load_die(what, db_strerror(result));
}

static DB_ENV *open_environment(const char *directory, uint64_t cache_bytes, u_int32_t flags)
{
    DB_ENV *environment;
    check(db_env_create(&environment, 0), "db_env_create");
    check(environment->set_cachesize(environment, (u_int32_t)(cache_bytes >> 30),
                                     (u_int32_t)(cache_bytes & ((1u << 30) - 1)), 1),
          "set_cachesize");
    check(environment->open(environment, directory, DB_INIT_MPOOL | DB_THREAD | flags, 0600),
          "DB_ENV->open");
    return environment;
}

static void make_bdb(const char *directory, uint64_t cache_bytes)
{
    /* Its regions stay for those who open it. */
    open_environment(directory, cache_bytes, DB_CREATE);
}

static void *open_bdb(const char *directory, uint64_t cache_bytes)
{
    char path[512];
    struct handle *handle = calloc(1, sizeof *handle);
    if (handle == NULL)
        load_die(directory, "no memory");
    handle->environment = open_environment(directory, cache_bytes, 0);
    check(handle->environment->memp_fcreate(handle->environment, &handle->file, 0), "memp_fcreate");
    snprintf(path, sizeof path, "%s/pages", directory);
    check(handle->file->open(handle->file, path, DB_NOMMAP, 0600, LOAD_PAGE_BYTES),
          "DB_MPOOLFILE->open");
    return handle;
}

/* What is behind DB_MPOOLFILE->get(), which loses DB_MPOOL_DIRTY on the way in this version (a
 * check of the flags clears it): pages changed through it are never written. */
int __memp_fget(DB_MPOOLFILE *file, db_pgno_t *number, DB_THREAD_INFO *thread, DB_TXN *transaction,
                u_int32_t flags, void *ret_data);

static char *get(struct handle *handle, uint32_t page, u_int32_t flags)
{
    db_pgno_t number = page;
    void *data;
    check(__memp_fget(handle->file, &number, NULL, NULL, flags, &data), "memp_fget");
    return data;
}

static void put(struct handle *handle, void *data)
{
    check(handle->file->put(handle->file, data, DB_PRIORITY_UNCHANGED, 0), "memp_fput");
}

static uint64_t read_bdb(void *context, uint32_t page)
{
    char *data = get(context, page, 0);
    uint64_t word;
    memcpy(&word, data + load_offset(page), sizeof word);
    put(context, data);
    return word;
}

static void change_bdb(void *context, uint32_t page)
{
    char *data = get(context, page, DB_MPOOL_DIRTY);
    uint64_t word;
    memcpy(&word, data + load_offset(page), sizeof word);
    word++;
    memcpy(data + load_offset(page), &word, sizeof word);
    put(context, data);
}

static void flush_bdb(void *context)
{
    struct handle *handle = context;
    check(handle->environment->memp_sync(handle->environment, NULL), "memp_sync");
}

static struct load_hits hits_bdb(void *context)
{
    struct handle *handle = context;
    DB_MPOOL_STAT *all;
    check(handle->environment->memp_stat(handle->environment, &all, NULL, 0), "memp_stat");
    struct load_hits hits = {(uint64_t)all->st_cache_hit, (uint64_t)all->st_cache_miss};
    free(all);
    return hits;
}

const struct load_cache load_cache = {
    .make = make_bdb,
    .open = open_bdb,
    .read = read_bdb,
    .change = change_bdb,
    .flush = flush_bdb,
    .hits = hits_bdb,
};
