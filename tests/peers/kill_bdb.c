/* SPDX-License-Identifier: MIT */
/* The cache of Berkeley DB under the load of kill_load.c: its mpool, with its locks, without
 * transactions.
 *
 * As the descriptions of DB_ENV->failchk() and of applications without transactions have it: every
 * handle says how threads are told apart (the default: process and thread) and how one asks whether
 * they live, the environment knows how many there may be, and after each death a monitor calls
 * failchk(). If that answers DB_RUNRECOVERY, all leave the environment, and it is made anew.
 * DB_REGISTER is no help: it wants DB_RECOVER, and that wants transactions.
 *
 * A page is pinned by memp_fget(), with DB_MPOOL_DIRTY to be changed. That keeps nobody else from
 * the page (without locks readers saw half a change before anybody was killed), so it is locked
 * under its number with lock_get(), as the library's own access methods do. All pages fit into the
 * cache, so that a page is never in doubt for having been written too late, nor for not having been
 * written at all: this version loses DB_MPOOL_DIRTY in a check of its flags.
 */
#include <db.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/peers/kill_load.h"

struct handle {
    DB_ENV *environment;
    DB_MPOOLFILE *file;
    u_int32_t locker;
};

static int is_alive(DB_ENV *environment, pid_t pid, db_threadid_t thread, u_int32_t flags)
{
    (void)environment, (void)thread, (void)flags;
    return kill(pid, 0) == 0 || errno == EPERM;
}

static void say_nothing(const DB_ENV *environment, const char *message)
{
    (void)environment, (void)message;
}

static DB_ENV *open_environment(const char *directory, u_int32_t flags)
{
    DB_ENV *environment;
    if (db_env_create(&environment, 0) != 0)
        return NULL;
    environment->set_errfile(environment, NULL);
    environment->set_msgcall(environment, say_nothing);
    if (environment->set_isalive(environment, is_alive) != 0 ||
        environment->set_thread_count(environment, 64) != 0 ||
        environment->set_cachesize(environment, 0, 3 * KILL_CACHE_BYTES, 1) != 0 ||
        environment->open(environment, directory, DB_INIT_LOCK | DB_INIT_MPOOL | DB_THREAD | flags,
                          0600) != 0)
        return NULL;
    return environment;
}

/* What is left of an environment that cannot be used any more is removed. */
static void make_bdb(const char *directory)
{
    char path[512], page[KILL_PAGE_BYTES];
    DB_ENV *environment;
    if (db_env_create(&environment, 0) == 0)
        environment->remove(environment, directory, DB_FORCE);
    snprintf(path, sizeof path, "%s/pages", directory);
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
    for (uint32_t i = 0; fd >= 0 && i < KILL_PAGES; i++) {
        kill_page_make(page, i);
        if (write(fd, page, sizeof page) != sizeof page)
            kill_die(path, strerror(errno));
    }
    close(fd);
    environment = open_environment(directory, DB_CREATE);
    if (environment == NULL)
        kill_die(directory, "no environment");
    environment->close(environment, 0);
}

static void *open_bdb(const char *directory)
{
    char path[512];
    struct handle *handle = calloc(1, sizeof *handle);
    snprintf(path, sizeof path, "%s/pages", directory);
    if (handle == NULL || (handle->environment = open_environment(directory, 0)) == NULL ||
        handle->environment->lock_id(handle->environment, &handle->locker) != 0 ||
        handle->environment->memp_fcreate(handle->environment, &handle->file, 0) != 0 ||
        handle->file->open(handle->file, path, DB_NOMMAP, 0600, KILL_PAGE_BYTES) != 0)
        return NULL;
    return handle;
}

/* Takes the lock of a page, then pins it. */
static int get(struct handle *handle, uint32_t page, db_lockmode_t mode, u_int32_t flags,
               DB_LOCK *ret_lock, void **ret_data)
{
    db_pgno_t number = page;
    DBT object = {.data = &number, .size = sizeof number};
    DB_ENV *environment = handle->environment;
    if (environment->lock_get(environment, handle->locker, 0, &object, mode, ret_lock) != 0)
        return KILL_LOST;
    return handle->file->get(handle->file, &number, NULL, flags, ret_data) == 0 ? KILL_DONE
                                                                                : KILL_LOST;
}

static int put(struct handle *handle, DB_LOCK *lock, void *data)
{
    DB_ENV *environment = handle->environment;
    return handle->file->put(handle->file, data, DB_PRIORITY_UNCHANGED, 0) == 0 &&
                   environment->lock_put(environment, lock) == 0
               ? KILL_DONE
               : KILL_LOST;
}

static int read_bdb(void *context, uint32_t page, void *ret_copy)
{
    DB_LOCK lock;
    void *data;
    if (get(context, page, DB_LOCK_READ, 0, &lock, &data) != KILL_DONE)
        return KILL_LOST;
    memcpy(ret_copy, data, KILL_PAGE_BYTES);
    return put(context, &lock, data);
}

static int change_bdb(void *context, uint32_t page, uint64_t *ret_sequence)
{
    DB_LOCK lock;
    void *data;
    if (get(context, page, DB_LOCK_WRITE, DB_MPOOL_DIRTY, &lock, &data) != KILL_DONE)
        return KILL_LOST;
    *ret_sequence = kill_page_change(data, page);
    return put(context, &lock, data);
}

static int failchk(const char *directory)
{
    DB_ENV *environment = open_environment(directory, 0);
    return environment != NULL && environment->failchk(environment, 0) == 0 ? KILL_DONE : KILL_LOST;
}

const struct kill_peer kill_peer = {
    .make = make_bdb,
    .open = open_bdb,
    .read = read_bdb,
    .change = change_bdb,
    .after_kill = failchk,
};
