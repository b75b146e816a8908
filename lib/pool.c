/* SPDX-License-Identifier: MIT */
/* Handles: attach, detach, fork. */
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/directory.h"
#include "lib/internal.h"

/* Pools at least this large are worth huge pages. */
#define HUGE_PAGES_FROM (UINT64_C(64) << 20)

/* The only global state: the open handles, so that a forked child can close what it must not use,
 * and a closed handle can be told from an open one. */
struct tarn_pool *tarn_open_pools;
static pthread_mutex_t open_pools_mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_once_t fork_handlers_once = PTHREAD_ONCE_INIT;

/* The child gets every handle at rest: none in the middle of opening a file or of a reap. */
static void before_fork(void)
{
    pthread_mutex_lock(&open_pools_mutex);
    for (struct tarn_pool *pool = tarn_open_pools; pool != NULL; pool = pool->next) {
        pthread_mutex_lock(&pool->mutex);
        pthread_mutex_lock(&pool->message_mutex);
    }
}

static void after_fork_in_parent(void)
{
    for (struct tarn_pool *pool = tarn_open_pools; pool != NULL; pool = pool->next) {
        pthread_mutex_unlock(&pool->message_mutex);
        pthread_mutex_unlock(&pool->mutex);
    }
    pthread_mutex_unlock(&open_pools_mutex);
}

static void close_descriptors(struct tarn_pool *pool)
{
    int *fds[] = {&pool->map_fd, &pool->ask_fd, &pool->directory_fd, &pool->lock_fd,
                  &pool->wake_fd};
    for (size_t i = 0; i < sizeof fds / sizeof fds[0]; i++) {
        if (*fds[i] >= 0)
            close(*fds[i]);
        *fds[i] = -1;
    }
    for (uint32_t file = 0; pool->open_files != NULL && file <= pool->view.geometry.file_count;
         file++) {
        if (pool->open_files[file].fd >= 0)
            close(pool->open_files[file].fd);
        pool->open_files[file].fd = -1;
    }
}

/* The child closes, and never unlocks: the descriptions, and with them the locks, are its parent's.
 * The mapping is not there. */
static void after_fork_in_child(void)
{
    for (struct tarn_pool *pool = tarn_open_pools; pool != NULL; pool = pool->next) {
        pool->refusal = -ECHILD;
        close_descriptors(pool);
        for (unsigned slot = 1; slot <= pool->view.slot_max; slot++)
            if (pool->sessions[slot] != NULL) {
                pool->sessions[slot]->hits_file = TARN_HITS_NONE;
                pool->sessions[slot]->refusal = -ECHILD;
                tarn_ahead_close_in_child(pool->sessions[slot]);
            }
        if (pool->embedded != NULL)
            tarn_embedded_close_in_child(pool);
    }
    after_fork_in_parent();
}

static void install_fork_handlers(void)
{
    pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child);
}

/* Takes: open_pools_mutex, held since before the first descriptor was opened, so that no child gets
 * one that is not in the list yet. */
static void list_add(struct tarn_pool *pool)
{
    pool->next = tarn_open_pools;
    tarn_open_pools = pool;
}

static void list_remove(struct tarn_pool *pool)
{
    pthread_mutex_lock(&open_pools_mutex);
    struct tarn_pool **link = &tarn_open_pools;
    while (*link != pool)
        link = &(*link)->next;
    *link = pool->next;
    pthread_mutex_unlock(&open_pools_mutex);
}

int tarn_pool_usable(struct tarn_pool *pool)
{
    pthread_mutex_lock(&open_pools_mutex);
    struct tarn_pool *p = tarn_open_pools;
    while (p != NULL && p != pool)
        p = p->next;
    int result = p == NULL ? -EBADF : p->refusal;
    pthread_mutex_unlock(&open_pools_mutex);
    return result;
}

/* Opens and looks at everything that can be known before mapping. */
static int open_segment(const char *path, const char *name, int *ret_fd,
                        struct tarn_superblock *ret_superblock, struct tarn_message *message)
{
    int fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0) {
        switch (errno) {
        case ENOENT:
            return tarn_message_fail(message, -ENOENT,
                                     "no pool %s: there is no segment %s; make one with 'tarn init"
                                     " %s', or bring its directory back with 'tarn writer %s"
                                     " --dir DIR'",
                                     name, path, name, name);
        case EACCES:
        case EPERM:
        case ELOOP:
            return tarn_message_fail(message, -EPERM,
                                     "segment %s: %s; attach as its owner, or make the pool with"
                                     " --mode 0660 for the group",
                                     path, errno == ELOOP ? "is a symbolic link" : "no permission");
        case EISDIR:
            return tarn_message_fail(message, -ENOTTY, "%s is a directory, not a segment", path);
        default:
            return tarn_message_fail(message, -errno, "segment %s: %s", path, strerror(errno));
        }
    }

    int result = 0;
    struct stat status;
    union {
        struct tarn_superblock superblock;
        uint8_t bytes[TARN_PAGE_BYTES_MIN];
    } page;
    memset(&page, 0, sizeof page);
    if (fstat(fd, &status) != 0 || !S_ISREG(status.st_mode))
        result =
            tarn_message_fail(message, -ENOTTY, "%s is not a regular file, so no segment", path);
    else if (pread(fd, &page, sizeof page, 0) < (ssize_t)sizeof page)
        result = memcmp(page.superblock.magic, TARN_MAGIC, sizeof page.superblock.magic) == 0
                     ? -EMSGSIZE
                     : -ENOTTY;
    else
        result = tarn_superblock_check(&page, (uint64_t)status.st_size);

    if (result == -EPROTONOSUPPORT)
        tarn_message_fail(message, result, "segment %s has format version %u, this library %u",
                          path, page.superblock.format_version, TARN_FORMAT_VERSION);
    else if (result == -EMSGSIZE)
        tarn_message_fail(message, result,
                          "segment %s was truncated: it has %" PRIu64 " of %" PRIu64
                          " bytes; stop all, remove it, and start 'tarn writer %s --dir DIR'",
                          path, (uint64_t)status.st_size, page.superblock.geometry.segment_bytes,
                          name);
    else if (result < 0 && S_ISREG(status.st_mode))
        tarn_message_fail(message, result, "segment %s: %s", path, tarn_strerror(result));
    if (result == 0 &&
        ((status.st_mode & 0007) != 0 || status.st_uid != page.superblock.uid ||
         (status.st_mode & 0777) != page.superblock.mode ||
         (status.st_uid != geteuid() && geteuid() != 0 && (status.st_mode & 0060) != 0060)))
        result = tarn_message_fail(
            message, -EPERM,
            "segment %s: owner %u and mode %04o are not what it was made with (%u, %04o), or not"
            " yours; set them back, or destroy the pool",
            path, (unsigned)status.st_uid, (unsigned)status.st_mode & 0777, page.superblock.uid,
            page.superblock.mode);
    if (result < 0) {
        close(fd);
        return result;
    }
    *ret_superblock = page.superblock;
    *ret_fd = fd;
    return 0;
}

static int check_boot(const struct tarn_superblock *superblock, const char *path,
                      struct tarn_message *message)
{
    uint8_t boot_id[16];
    if (!tarn_boot_id(boot_id) || memcmp(boot_id, superblock->boot_id, sizeof boot_id) == 0)
        return 0;
    return tarn_message_fail(message, -ESTALE,
                             "segment %s is from before a reboot; 'tarn writer %s --dir %s' builds"
                             " a new one",
                             path, superblock->name, superblock->directory);
}

/* Holds DIR/lock shared, so that nobody builds another segment over the same files. */
static int join_directory(struct tarn_pool *pool, const struct tarn_superblock *superblock,
                          struct tarn_message *message)
{
    const char *directory = superblock->directory;
    pool->directory_fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (pool->directory_fd < 0)
        return tarn_message_fail(message, tarn_directory_errno(errno),
                                 "directory %s of pool %s: %s", directory, superblock->name,
                                 strerror(errno));
    pool->lock_fd = openat(pool->directory_fd, TARN_DIRECTORY_LOCK, O_RDWR | O_CLOEXEC);
    if (pool->lock_fd < 0)
        return tarn_message_fail(message, tarn_directory_errno(errno), "lock file %s/%s: %s",
                                 directory, TARN_DIRECTORY_LOCK, strerror(errno));
    int result = tarn_lock_byte(pool->lock_fd, 0, F_RDLCK);
    if (result < 0)
        return tarn_message_fail(message, result == -EAGAIN ? -EBUSY : result,
                                 "directory %s: another process is building its segment; try"
                                 " again",
                                 directory);
    struct tarn_directory_options options;
    result = tarn_directory_read_options(pool->directory_fd, &options, message);
    if (result < 0)
        return result;
    if (options.recovery_number != superblock->recovery_number ||
        memcmp(options.uuid, superblock->pool_uuid, sizeof options.uuid) != 0)
        return tarn_message_fail(message, -EREMCHG,
                                 "segment %s is out of date: number %" PRIu64 ", directory %s has"
                                 " %" PRIu64 "; start 'tarn writer %s --dir %s' to build it again",
                                 pool->segment_path, superblock->recovery_number, directory,
                                 options.recovery_number, superblock->name, directory);
    return 0;
}

/* A description of its own, of the same inode, for asking: a lock never conflicts with the
 * description that holds it. */
static int open_to_ask(struct tarn_pool *pool, struct tarn_message *message)
{
    struct stat mine, other;
    const char *path = pool->segment_path;
    pool->ask_fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    bool gone = pool->ask_fd < 0 && errno == ENOENT;
    if (!gone &&
        (pool->ask_fd < 0 || fstat(pool->map_fd, &mine) != 0 || fstat(pool->ask_fd, &other) != 0))
        return tarn_message_fail(message, -errno, "segment %s: %s", path, strerror(errno));
    /* No error that would let one who destroys it take it for a left-over. */
    if (gone || mine.st_ino != other.st_ino || mine.st_dev != other.st_dev)
        return tarn_message_fail(message, -EBUSY,
                                 "segment %s was replaced while being attached; try again", path);
    return 0;
}

/* The first write to a page of shared memory costs 1.2 us a process: paid here, not in a hit. */
static void populate(const struct tarn_view *view)
{
#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif
    /* Where the kernel is older than 5.14 the hits pay, once. */
    madvise(view->base, view->geometry.frames_offset, MADV_POPULATE_WRITE);
}

static int map_segment(struct tarn_pool *pool, const struct tarn_superblock *superblock,
                       struct tarn_message *message)
{
    size_t bytes = superblock->geometry.segment_bytes;
    void *base = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, pool->map_fd, 0);
    if (base == MAP_FAILED)
        return tarn_message_fail(message, -errno, "mapping %zu bytes of %s: %s", bytes,
                                 pool->segment_path, strerror(errno));
    madvise(base, bytes, MADV_DONTFORK);
    madvise(base, bytes, MADV_DONTDUMP);
    if (bytes >= HUGE_PAGES_FROM)
        madvise(base, bytes, MADV_HUGEPAGE);
    tarn_view_set(&pool->view, base, &superblock->geometry);
    return 0;
}

static struct tarn_pool *new_pool(const char *path, const struct tarn_superblock *superblock)
{
    struct tarn_pool *pool = calloc(1, sizeof *pool);
    if (pool == NULL)
        return NULL;
    pool->map_fd = pool->ask_fd = pool->directory_fd = pool->lock_fd = pool->wake_fd = -1;
    pool->dead = tarn_dead_by_kernel;
    pthread_mutex_init(&pool->mutex, NULL);
    pthread_mutex_init(&pool->message_mutex, NULL);
    const struct tarn_geometry *geometry = &superblock->geometry;
    pool->sessions = calloc(geometry->slot_count + 1, sizeof(struct tarn_session *));
    pool->open_files = calloc(geometry->file_count + 1, sizeof *pool->open_files);
    pool->name = strdup(superblock->name);
    pool->directory = strdup(superblock->directory);
    pool->segment_path = strdup(path);
    for (uint32_t file = 0; pool->open_files != NULL && file <= geometry->file_count; file++)
        pool->open_files[file].fd = -1;
    pool->view.geometry = *geometry;
    tarn_identify_process(pool);
    return pool;
}

static void free_pool(struct tarn_pool *pool)
{
    /* The mapping goes before the descriptor: it keeps the locks of the sessions alive. In a
     * forked child there is none. */
    if (pool->view.base != NULL && pool->refusal == 0)
        munmap(pool->view.base, pool->view.geometry.segment_bytes);
    close_descriptors(pool);
    pthread_mutex_destroy(&pool->mutex);
    pthread_mutex_destroy(&pool->message_mutex);
    free(pool->sessions);
    free(pool->open_files);
    free(pool->name);
    free(pool->directory);
    free(pool->segment_path);
    free(pool);
}

static int open_pool(const char *segment_path, const char *name, struct tarn_pool **ret_pool,
                     struct tarn_message *message)
{
    int map_fd = -1;
    struct tarn_superblock superblock;
    int result = open_segment(segment_path, name, &map_fd, &superblock, message);
    if (result == 0) {
        result = check_boot(&superblock, segment_path, message);
        if (result < 0)
            close(map_fd);
    }
    if (result < 0)
        return result;
    struct tarn_pool *pool = new_pool(segment_path, &superblock);
    if (pool == NULL || pool->sessions == NULL || pool->open_files == NULL || pool->name == NULL ||
        pool->directory == NULL || pool->segment_path == NULL)
        result = tarn_message_fail(message, -ENOMEM, "no memory for a handle of pool %s", name);
    if (pool == NULL) {
        close(map_fd);
        return result;
    }
    pool->map_fd = map_fd;
    if (result == 0)
        result = join_directory(pool, &superblock, message);

    if (result == 0)
        result = open_to_ask(pool, message);
    if (result == 0)
        result = map_segment(pool, &superblock, message);
    if (result < 0) {
        free_pool(pool);
        return result;
    }
    list_add(pool);
    *ret_pool = pool;
    return 0;
}

int tarn_pool_open(const char *segment_path, const char *name, struct tarn_pool **ret_pool,
                   struct tarn_message *message)
{
    struct tarn_pool *pool;
    int cancel_state;
    pthread_once(&fork_handlers_once, install_fork_handlers);
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel_state);
    pthread_mutex_lock(&open_pools_mutex);
    int result = open_pool(segment_path, name, &pool, message);
    pthread_mutex_unlock(&open_pools_mutex);
    pthread_setcancelstate(cancel_state, NULL);
    if (result < 0)
        return result;
    populate(&pool->view);
    *ret_pool = pool;
    return 0;
}

bool tarn_name_valid(const char *name)
{
    size_t length = name == NULL ? 0 : strlen(name);
    return length > 0 && length < TARN_NAME_BYTES && name[0] != '.' &&
           strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-") ==
               length;
}

int tarn_segment_path(const char *name, const char *shm_directory, char *ret_path,
                      struct tarn_message *message)
{
    if (!tarn_name_valid(name))
        return tarn_message_fail(message, -EINVAL,
                                 "'%.80s' is not a pool's name: 1 to 63 of A-Z a-z 0-9 . _ -, not"
                                 " beginning with a dot",
                                 name == NULL ? "" : name);
    if (snprintf(ret_path, TARN_PATH_BYTES, "%s/tarn.%s",
                 shm_directory == NULL ? TARN_SHM_DIRECTORY : shm_directory,
                 name) >= TARN_PATH_BYTES)
        return tarn_message_fail(message, -EINVAL, "the path of segment %s is too long", name);
    return 0;
}

int tarn_attach(const char *name, const struct tarn_attach_options *options,
                struct tarn_pool **ret_pool, struct tarn_message *ret_message)
{
    if (ret_pool == NULL || (options != NULL && options->size != sizeof *options))
        return tarn_message_fail(ret_message, -EINVAL,
                                 "attach %s: no place for the handle, or options->size is not"
                                 " sizeof(struct tarn_attach_options)",
                                 name == NULL ? "" : name);
    char path[TARN_PATH_BYTES];
    int result =
        tarn_segment_path(name, options == NULL ? NULL : options->shm_directory, path, ret_message);
    if (result < 0)
        return result;
    struct tarn_pool *pool;
    result = tarn_pool_open(path, name, &pool, ret_message);
    if (result < 0)
        return result;
    /* Whoever destroys may still open it: to finish what a killed one had begun. */
    if (tarn_load_acquire(&pool->view.control->life) == LIFE_DESTROYED) {
        tarn_detach(pool);
        return tarn_message_fail(ret_message, -ESHUTDOWN,
                                 "pool %s is being destroyed; if that was killed, destroy it again",
                                 name);
    }
    *ret_pool = pool;
    return 0;
}

int tarn_detach(struct tarn_pool *pool)
{
    if (pool == NULL)
        return 0;
    int result = tarn_pool_usable(pool);
    if (result == -EBADF)
        return result;
    for (unsigned slot = 1; slot <= pool->view.geometry.session_count; slot++) {
        struct tarn_session *session = pool->sessions[slot];
        if (session != NULL && result == 0)
            tarn_session_close(session);
        else if (session != NULL)
            tarn_session_free(session);
    }
    int ended = pool->embedded != NULL ? tarn_embedded_end(pool) : 0; /* not in a forked child */
    for (struct tarn_session *session = pool->closed; session != NULL;) {
        struct tarn_session *next = session->next;
        tarn_session_free(session);
        session = next;
    }
    list_remove(pool);
    free_pool(pool);
    return ended;
}

int tarn_pool_info(struct tarn_pool *pool, struct tarn_pool_info *ret_info)
{
    int result = tarn_pool_usable(pool);
    if (result < 0)
        return result;
    if (ret_info == NULL || ret_info->size != sizeof *ret_info)
        return tarn_pool_fail(pool, -EINVAL,
                              "pool info: size is not sizeof(struct tarn_pool_info)");
    const struct tarn_geometry *geometry = &pool->view.geometry;
    *ret_info = (struct tarn_pool_info){
        .size = sizeof *ret_info,
        .page_bytes = geometry->page_bytes,
        .frame_count = geometry->frame_count,
        .session_count = geometry->session_count,
        .file_count = geometry->file_count,
        .segment_bytes = geometry->segment_bytes,
        .name = pool->name,
        .directory = pool->directory,
        .segment_path = pool->segment_path,
    };
    return 0;
}

int tarn_pool_message(struct tarn_pool *pool, struct tarn_message *ret_message)
{
    int result = tarn_pool_usable(pool);
    if (result == -EBADF || ret_message == NULL)
        return result == 0 ? -EINVAL : result;
    pthread_mutex_lock(&pool->message_mutex);
    *ret_message = pool->message;
    pthread_mutex_unlock(&pool->message_mutex);
    return 0;
}
