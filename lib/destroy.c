/* SPDX-License-Identifier: MIT */
/* The end of a pool: what is committed goes to disk, then its names go. */
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/directory.h"
#include "lib/internal.h"
#include "lib/writer/writer.h"

/* How long the kernel may take to take dead processes apart before they count as attached. */
#define DYING_WAIT_MS 2000

/* How long a writer that makes no progress is waited for. */
#define WRITER_WAIT_MS 60000

/* Inside the directory: reached without ".." and without a first slash. */
static bool is_inside(const char *path)
{
    return path[0] != '/' && strncmp(path, "../", 3) != 0 && strstr(path, "/../") == NULL;
}

static int remove_data_files(int directory_fd, struct tarn_message *message)
{
    struct tarn_directory_options options;
    int result = tarn_directory_read_options(directory_fd, &options, message);
    if (result < 0)
        return result;
    struct tarn_file_record *records = calloc((size_t)options.file_count + 1, sizeof *records);
    if (records == NULL)
        return tarn_message_fail(message, -ENOMEM, "no memory for the table of %u files",
                                 options.file_count);
    result = tarn_directory_read_files(directory_fd, records, options.file_count, message);
    for (uint32_t id = 1; result == 0 && id <= options.file_count; id++)
        if (records[id].id != 0 && records[id].kind == FILE_RAW && is_inside(records[id].path) &&
            unlinkat(directory_fd, records[id].path, 0) != 0 && errno != ENOENT)
            result = tarn_message_fail(message, -errno, "removing data file %s: %s",
                                       records[id].path, strerror(errno));
    free(records);
    return result;
}

static int remove_segment(const char *segment_path, struct tarn_message *message)
{
    char wake_path[TARN_PATH_BYTES + 8];
    tarn_wake_path(segment_path, wake_path);
    if (unlink(segment_path) != 0 && errno != ENOENT)
        return tarn_message_fail(message, -errno, "removing %s: %s", segment_path, strerror(errno));
    unlink(wake_path);
    return 0;
}

int tarn_pool_remove(const char *segment_path, const char *directory, bool data,
                     struct tarn_message *message)
{
    int result = remove_segment(segment_path, message);
    if (result < 0)
        return result;
    int directory_fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (directory_fd < 0)
        return errno == ENOENT ? 0
                               : tarn_message_fail(message, -errno,
                                                   "the segment is gone; directory %s is left: %s",
                                                   directory, strerror(errno));
    tarn_directory_remove_temporary(directory_fd);
    if (data)
        result = remove_data_files(directory_fd, message);
    if (result == 0) {
        result = tarn_directory_remove_files(directory_fd);
        if (result < 0)
            tarn_message_fail(message, result, "the segment is gone; the pool's files in %s: %s",
                              directory, strerror(-result));
    }
    close(directory_fd);
    if (result == 0 && data)
        rmdir(directory);
    return result;
}

/* Names the sessions of other processes, the newest last; returns how many there are. */
static unsigned name_sessions(struct tarn_pool *pool, char *ret_text, size_t bytes)
{
    static const char *const roles[] = {"session", "writer", "standby", "tool"};
    unsigned count = 0;
    size_t length = 0;
    for (unsigned slot = 1; slot <= pool->view.slot_max; slot++) {
        const struct tarn_slot *shared = tarn_view_slot(&pool->view, slot);
        if (tarn_load_acquire(&shared->state) == SLOT_FREE || pool->dead(pool, slot))
            continue;
        uint64_t role = tarn_load_relaxed(&shared->role);
        count++;
        if (length + 1 < bytes)
            length += (size_t)snprintf(ret_text + length, bytes - length, "%s%" PRIu64 " (%s)",
                                       length == 0 ? "" : ", ", tarn_load_relaxed(&shared->pid),
                                       role < 4 ? roles[role] : "?");
    }
    return count;
}

/* Makes sure that nobody else is attached, and keeps everybody out from then on. */
static int shut_out(struct tarn_pool *pool, struct tarn_message *message)
{
    char users[256];
    unsigned sessions = 0;
    for (int waited_ms = 0; waited_ms < DYING_WAIT_MS; waited_ms += 10) {
        int result = tarn_lock_byte(pool->lock_fd, 0, F_WRLCK);
        if (result != -EAGAIN)
            return result == 0 ? 0
                               : tarn_message_fail(message, result, "locking directory %s: %s",
                                                   pool->directory, strerror(-result));
        sessions = name_sessions(pool, users, sizeof users);
        if (sessions > 0)
            break;
        tarn_sleep_ns(10 * NS_PER_MS);
    }
    if (sessions == 0)
        tarn_file_users(pool->lock_fd, users, sizeof users);
    return tarn_message_fail(message, -EBUSY,
                             "pool %s is attached by processes %s: end them, or"
                             " destroy it with --force",
                             pool->name, users);
}

/* What the writer has done so far, so that one that works is not taken for one that hangs. */
static uint64_t writer_progress(const struct tarn_pool *pool)
{
    uint64_t progress = 0;
    for (unsigned slot = pool->view.geometry.session_count + 1; slot <= pool->view.slot_max; slot++)
        progress +=
            tarn_load_relaxed(&tarn_view_slot(&pool->view, slot)->counter[COUNTER_PAGES_WRITTEN]);
    return progress;
}

/* Waits until no writer has the role: it leaves by itself once the pool is destroyed. */
static int wait_for_writer(struct tarn_pool *pool, struct tarn_message *message)
{
    uint64_t progress = writer_progress(pool);
    for (int waited_ms = 0; tarn_byte_locked(pool->ask_fd, TARN_LOCK_WRITER); waited_ms++) {
        if (writer_progress(pool) != progress) {
            progress = writer_progress(pool);
            waited_ms = 0;
        }
        if (waited_ms == WRITER_WAIT_MS)
            return tarn_message_fail(message, -ETIMEDOUT,
                                     "the writer of pool %s has not done anything for %d s: kill it"
                                     " and destroy again",
                                     pool->name, WRITER_WAIT_MS / 1000);
        tarn_wake_writer(pool);
        tarn_sleep_ns(NS_PER_MS);
    }
    return 0;
}

/* Writes what is committed and not yet on disk, as a writer that is told to stop at once. */
static int flush_rest(struct tarn_pool *pool, struct tarn_message *message)
{
    static const struct tarn_writer_options options = {.no_standby = true,
                                                       .durable = TARN_WRITER_DURABLE_NEVER};
    struct tarn_writer *writer;
    int result = tarn_writer_open(pool, &options, &writer);
    if (result == 0) {
        tarn_writer_stop(writer);
        result = tarn_writer_run(writer);
        tarn_writer_close(writer);
    }
    if (result < 0)
        tarn_pool_message(pool, message);
    return result;
}

static int flush_forced(struct tarn_pool *pool, struct tarn_message *message)
{
    /* Another writer may be faster, and leaves as well. */
    for (;;) {
        int result = wait_for_writer(pool, message);
        if (result == 0)
            result = flush_rest(pool, message);
        if (result != -EBUSY || !tarn_byte_locked(pool->ask_fd, TARN_LOCK_WRITER))
            return result;
    }
}

/* With force, changes that the disk refuses go with the pool; those that this process has not the
 * means to write stay for who destroys it again, as they do if another writer may still write. */
static bool lacks_means(int result)
{
    return result == -ENOMEM || result == -EMFILE || result == -ENFILE || result == -EAGAIN ||
           result == -EUSERS || result == -ENOLCK || result == -ETIMEDOUT;
}

/* Takes: the byte TARN_LOCK_DESTROY. */
static int destroy_pool(struct tarn_pool *pool, unsigned flags, struct tarn_message *message)
{
    struct tarn_control *control = pool->view.control;
    int result;
    if (flags & TARN_DESTROY_FORCE) {
        /* Who is at setting something ends first: the options are needed to the end. One that is
         * stopped there is not waited for long, and finds out. */
        int options_fd = tarn_options_lock(pool);
        tarn_cas_full(&control->life, LIFE_OPEN, LIFE_DESTROYED);
        if (options_fd >= 0)
            tarn_options_unlock(options_fd);
        result = flush_forced(pool, message);
    } else {
        result = shut_out(pool, message);
        if (result == 0)
            result = flush_rest(pool, message);
        if (result < 0)
            return result;
        tarn_cas_full(&control->life, LIFE_OPEN, LIFE_DESTROYED);
    }
    if (lacks_means(result))
        return result;
    int removed = tarn_pool_remove(pool->segment_path, pool->directory,
                                   (flags & TARN_DESTROY_DATA) != 0, message);
    return result < 0 ? result : removed;
}

/* Does somebody hold a session on the segment? */
static bool in_use(int fd)
{
    struct flock lock = {.l_type = F_WRLCK,
                         .l_whence = SEEK_SET,
                         .l_start = TARN_LOCK_LIFE,
                         .l_len = TARN_SLOT_MAX + 1,
                         .l_pid = 0};
    return fcntl(fd, F_OFD_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
}

/* A segment that cannot be attached any more: `why` says whose its directory is. */
static int destroy_leftover(const char *segment_path, int why, unsigned flags,
                            struct tarn_message *message)
{
    union {
        struct tarn_superblock superblock;
        uint8_t bytes[TARN_PAGE_BYTES_MIN];
    } page;
    int fd = open(segment_path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return tarn_message_fail(message, -errno, "segment %s: %s", segment_path, strerror(errno));
    bool read = pread(fd, &page, sizeof page, 0) == (ssize_t)sizeof page;
    bool used = in_use(fd);
    close(fd);
    if (!read)
        return tarn_message_fail(message, -EMSGSIZE, "segment %s was truncated", segment_path);
    if (used && (flags & TARN_DESTROY_FORCE) == 0)
        return tarn_message_fail(message, -EBUSY, "segment %s is still attached", segment_path);
    const char *directory = page.superblock.directory;
    int directory_fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    /* A directory that a newer segment has opened is that one's. */
    if (why == -EREMCHG || why == -ENOTDIR || directory_fd < 0) {
        if (directory_fd >= 0)
            close(directory_fd);
        return remove_segment(segment_path, message);
    }
    int lock_fd = tarn_directory_lock(directory_fd, directory, page.superblock.mode, message);
    int result =
        lock_fd < 0 && (flags & TARN_DESTROY_FORCE) == 0
            ? lock_fd
            : tarn_pool_remove(segment_path, directory, (flags & TARN_DESTROY_DATA) != 0, message);
    if (lock_fd >= 0)
        close(lock_fd);
    close(directory_fd);
    return result;
}

int tarn_destroy(const char *name, const char *shm_directory, unsigned flags,
                 struct tarn_message *ret_message)
{
    char path[TARN_PATH_BYTES];
    struct tarn_pool *pool;
    if ((flags & ~(unsigned)(TARN_DESTROY_FORCE | TARN_DESTROY_DATA)) != 0)
        return tarn_message_fail(ret_message, -EINVAL, "destroy: unknown flags %#x", flags);
    int result = tarn_segment_path(name, shm_directory, path, ret_message);
    if (result < 0)
        return result;
    result = tarn_pool_open(path, name, &pool, ret_message);
    if (result == -ESTALE || result == -EREMCHG || result == -ENOTDIR)
        return destroy_leftover(path, result, flags, ret_message);
    if (result < 0)
        return result;
    result = tarn_lock_byte(pool->map_fd, TARN_LOCK_DESTROY, F_WRLCK);
    if (result == 0)
        result = destroy_pool(pool, flags, ret_message);
    else
        tarn_message_fail(ret_message, result = -EBUSY,
                          "pool %s is being destroyed by another"
                          " process",
                          name);
    tarn_detach(pool);
    return result;
}
