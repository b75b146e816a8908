/* SPDX-License-Identifier: MIT */
/* Pool, writer and first session in one call. */
#include <fcntl.h>
#include <ftw.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/directory.h"
#include "lib/internal.h"
#include "lib/writer/writer.h"

struct tarn_embedded {
    struct tarn_writer *writer;
    pthread_t thread;
    int result;
};

static void *run_writer(void *argument)
{
    struct tarn_embedded *embedded = argument;
    embedded->result = tarn_writer_run(embedded->writer);
    return NULL;
}

/* The thread takes no signals: they are for the program. */
static int start_writer(struct tarn_pool *pool)
{
    struct tarn_embedded *embedded = calloc(1, sizeof *embedded);
    if (embedded == NULL)
        return tarn_pool_fail(pool, -ENOMEM, "no memory for the writer of pool %s", pool->name);
    struct tarn_writer_options options = {.no_standby = true};
    int result = tarn_byte_locked(pool->ask_fd, TARN_LOCK_WRITER)
                     ? tarn_pool_fail(pool, -EBUSY, "directory %s is in use: pool %s has a writer",
                                      pool->directory, pool->name)
                     : tarn_writer_open(pool, &options, &embedded->writer);
    if (result == 0) {
        sigset_t all, before;
        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &before);
        result = -pthread_create(&embedded->thread, NULL, run_writer, embedded);
        pthread_sigmask(SIG_SETMASK, &before, NULL);
        if (result < 0) {
            tarn_writer_close(embedded->writer);
            tarn_pool_fail(pool, result, "no thread for the writer of pool %s: %s", pool->name,
                           strerror(-result));
        }
    }
    if (result < 0) {
        free(embedded);
        return result;
    }
    pool->embedded = embedded;
    return 0;
}

static int remove_entry(const char *path, const struct stat *status, int type, struct FTW *ftw)
{
    (void)status, (void)type, (void)ftw;
    remove(path);
    return 0;
}

static void remove_tree(const char *directory)
{
    nftw(directory, remove_entry, 8, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
}

int tarn_embedded_end(struct tarn_pool *pool)
{
    struct tarn_embedded *embedded = pool->embedded;
    tarn_writer_stop(embedded->writer);
    pthread_join(embedded->thread, NULL);
    tarn_writer_close(embedded->writer);
    int result = embedded->result;
    free(embedded);
    pool->embedded = NULL;
    /* What could not be written stays in the segment: the next open goes on with it. */
    if (result < 0 && !pool->temporary)
        return result;
    tarn_cas_full(&pool->view.control->life, LIFE_OPEN, LIFE_DESTROYED);
    unlink(pool->segment_path);
    char wake_path[TARN_PATH_BYTES];
    tarn_wake_path(pool->segment_path, wake_path);
    unlink(wake_path);
    if (pool->temporary)
        remove_tree(pool->directory);
    return 0;
}

void tarn_embedded_close_in_child(struct tarn_pool *pool)
{
    tarn_writer_close_in_child(pool->embedded->writer);
    free(pool->embedded);
    pool->embedded = NULL;
}

/* Where an embedded pool is to live: its directory and name. */
struct place {
    char directory[TARN_PATH_BYTES];
    char name[TARN_NAME_BYTES];
    char shm_directory[TARN_PATH_BYTES];
    bool temporary;
    bool exists;
};

static int find_temporary_place(struct place *place, struct tarn_message *message)
{
    const char *parent = getenv("TMPDIR");
    snprintf(place->directory, sizeof place->directory, "%s/tarn-XXXXXX",
             parent != NULL && parent[0] == '/' ? parent : "/tmp");
    if (mkdtemp(place->directory) == NULL)
        return tarn_message_fail(message, -errno, "temporary directory %s: %s", place->directory,
                                 strerror(errno));
    snprintf(place->name, sizeof place->name, "embedded-%ld-%s", (long)getpid(),
             strrchr(place->directory, '-') + 1);
    place->temporary = true;
    return 0;
}

/* A directory that has been a pool before keeps its name; a new one is named by its inode. */
static int find_place(const char *directory, struct place *place, struct tarn_message *message)
{
    struct stat status;
    struct tarn_directory_options options;
    if (snprintf(place->directory, sizeof place->directory, "%s", directory) >=
        (int)sizeof place->directory)
        return tarn_message_fail(message, -EINVAL, "directory %.80s...: too long", directory);
    if (mkdir(directory, 0700) != 0 && errno != EEXIST)
        return tarn_message_fail(message, -errno, "directory %s: %s", directory, strerror(errno));
    int fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &status) != 0) {
        int result = -errno;
        if (fd >= 0)
            close(fd);
        return tarn_message_fail(message, result, "directory %s: %s", directory, strerror(-result));
    }
    place->exists = faccessat(fd, TARN_DIRECTORY_OPTIONS, F_OK, 0) == 0;
    int result = place->exists ? tarn_directory_read_options(fd, &options, message) : 0;
    close(fd);
    if (result < 0)
        return result;
    if (place->exists) {
        memcpy(place->name, options.name, sizeof place->name);
        memcpy(place->shm_directory, options.shm_directory, sizeof place->shm_directory);
    } else {
        snprintf(place->name, sizeof place->name, "embedded-%" PRIx64 "-%" PRIx64,
                 (uint64_t)status.st_dev, (uint64_t)status.st_ino);
    }
    return 0;
}

/* A segment that a killed process left goes on where it was; another one is built. */
static int attach_place(const struct place *place, const struct tarn_embedded_options *options,
                        struct tarn_pool **ret_pool, struct tarn_message *message)
{
    const char *shm_directory = place->shm_directory[0] == 0 ? NULL : place->shm_directory;
    struct tarn_attach_options attach = {.size = sizeof attach, .shm_directory = shm_directory};
    int result = 0;
    if (!place->exists) {
        struct tarn_init_options init = {.size = sizeof init, .directory = place->directory};
        if (options != NULL) {
            init.frame_bytes = options->frame_bytes;
            init.page_bytes = options->page_bytes;
            init.session_count = options->session_count;
            init.policy = options->policy;
        }
        result = tarn_init(place->name, &init, message);
        return result < 0 ? result : tarn_attach(place->name, NULL, ret_pool, message);
    }
    result = tarn_attach(place->name, &attach, ret_pool, message);
    switch (result) {
    case -ENOENT:
    case -ESTALE:
    case -EREMCHG:
    case -EMSGSIZE:
    case -ESHUTDOWN:
        result = tarn_segment_build(place->directory, place->name, shm_directory, message);
        return result < 0 ? result : tarn_attach(place->name, &attach, ret_pool, message);
    default:
        return result;
    }
}

/* What a temporary pool that could not be opened has left. */
static void remove_place(const struct place *place)
{
    char path[TARN_PATH_BYTES], wake_path[TARN_PATH_BYTES + 8];
    tarn_segment_path(place->name, NULL, path, NULL);
    tarn_wake_path(path, wake_path);
    unlink(path);
    unlink(wake_path);
    remove_tree(place->directory);
}

int tarn_open_embedded(const struct tarn_embedded_options *options, struct tarn_pool **ret_pool,
                       struct tarn_session **ret_session, struct tarn_message *ret_message)
{
    if (ret_pool == NULL || ret_session == NULL ||
        (options != NULL && options->size != sizeof *options))
        return tarn_message_fail(ret_message, -EINVAL,
                                 "embedded pool: no place for the handles, or options->size is not"
                                 " sizeof(struct tarn_embedded_options)");
    struct place place = {.temporary = false};
    const char *directory = options == NULL ? NULL : options->directory;
    int result = directory == NULL ? find_temporary_place(&place, ret_message)
                                   : find_place(directory, &place, ret_message);
    if (result < 0)
        return result;
    struct tarn_pool *pool = NULL;
    struct tarn_session *session = NULL;
    result = attach_place(&place, options, &pool, ret_message);
    if (result == 0) {
        pool->temporary = place.temporary;
        result = start_writer(pool);
        if (result == 0)
            result = tarn_session_open(pool, NULL, &session);
        if (result < 0) {
            if (ret_message != NULL)
                tarn_pool_message(pool, ret_message);
            tarn_detach(pool);
        }
    }
    if (result < 0) {
        if (place.temporary)
            remove_place(&place);
        return result;
    }
    *ret_pool = pool;
    *ret_session = session;
    return 0;
}
