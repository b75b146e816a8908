/* SPDX-License-Identifier: MIT */
#include "tests/calls.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <linux/fs.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/vfs.h>
#include <unistd.h>

struct calls calls;

void calls_fail(const char *name, unsigned at, int error)
{
    calls.name = name;
    calls.error = error;
    calls.refused = NULL;
    calls.countdown = at;
}

bool calls_end(void)
{
    bool happened = calls.refused != NULL;

    calls.countdown = 0;
    calls.name = calls.path = NULL;
    calls.stays = calls.locked = calls.without_features = false;
    calls.sleepless = calls.other_user = calls.on_disk = false;
    calls.error = 0;
    calls.status = NULL;
    calls.read = NULL;
    calls.direct_align = 0;
    calls.device_bytes = 0;
    calls.without_tmpfile = 0;
    return happened;
}

/* errno says how, if the call fails. */
static bool fails(const char *name, const char *path, int likely)
{
    unsigned seen = calls.countdown;

    /* What one comes back from by asking again does not stay. */
    bool passes = calls.stays && calls.name == NULL && (likely == EINTR || likely == EBUSY);

    if (seen == 0 || passes || (calls.name != NULL && strcmp(name, calls.name) != 0) ||
        (calls.path != NULL && (path == NULL || strstr(path, calls.path) == NULL)))
        return false;
    while (seen != 0 && !(calls.stays && seen == 1))
        if (atomic_compare_exchange_weak(&calls.countdown, &seen, seen - 1))
            break;
    if (seen != 1)
        return false;
    calls.refused = name;
    errno = calls.error == 0 ? likely : calls.error;
    return true;
}

#define WRAP(type, name, parameters)                                                               \
    type __real_##name parameters;                                                                 \
    type __wrap_##name parameters;                                                                 \
    type __wrap_##name parameters

/* Calls that are passed on, or fail. */
#define CALL(type, name, parameters, arguments, path, likely, failed)                              \
    WRAP(type, name, parameters)                                                                   \
    {                                                                                              \
        return fails(#name, path, likely) ? (failed) : __real_##name arguments;                    \
    }

/* Memory, threads. */

CALL(void *, malloc, (size_t bytes), (bytes), NULL, ENOMEM, NULL)
CALL(void *, calloc, (size_t count, size_t bytes), (count, bytes), NULL, ENOMEM, NULL)
CALL(void *, realloc, (void *block, size_t bytes), (block, bytes), NULL, ENOMEM, NULL)
CALL(void *, aligned_alloc, (size_t to, size_t bytes), (to, bytes), NULL, ENOMEM, NULL)
CALL(int, posix_memalign, (void **ret_block, size_t to, size_t bytes), (ret_block, to, bytes), NULL,
     ENOMEM, errno)
CALL(char *, strdup, (const char *text), (text), NULL, ENOMEM, NULL)
CALL(FILE *, open_memstream, (char **ret_text, size_t *ret_bytes), (ret_text, ret_bytes), NULL,
     ENOMEM, NULL)
CALL(int, pthread_create,
     (pthread_t * ret_thread, const pthread_attr_t *attributes, void *(*function)(void *),
      void *argument),
     (ret_thread, attributes, function, argument), NULL, EAGAIN, errno)
CALL(void *, mmap64, (void *at, size_t bytes, int protection, int flags, int fd, off_t offset),
     (at, bytes, protection, flags, fd, offset), NULL, ENOMEM, MAP_FAILED)

WRAP(int, fclose, (FILE * stream))
{
    bool refused = fails("fclose", NULL, ENOMEM);
    int result = __real_fclose(stream);

    return refused ? EOF : result;
}

/* Names. */

int __real_open64(const char *path, int flags, ...);
int __wrap_open64(const char *path, int flags, ...);
int __wrap_open64(const char *path, int flags, ...)
{
    va_list arguments;

    va_start(arguments, flags);
    mode_t mode = va_arg(arguments, mode_t);
    va_end(arguments);
    if (calls.without_tmpfile != 0 && (flags & O_TMPFILE) == O_TMPFILE) {
        errno = calls.without_tmpfile;
        return -1;
    }
    return fails("open64", path, EMFILE) ? -1 : __real_open64(path, flags, mode);
}

int __real_openat64(int directory_fd, const char *name, int flags, ...);
int __wrap_openat64(int directory_fd, const char *name, int flags, ...);
int __wrap_openat64(int directory_fd, const char *name, int flags, ...)
{
    va_list arguments;

    va_start(arguments, flags);
    mode_t mode = va_arg(arguments, mode_t);
    va_end(arguments);
    return fails("openat64", name, EMFILE) ? -1 : __real_openat64(directory_fd, name, flags, mode);
}

CALL(int, mkdir, (const char *path, mode_t mode), (path, mode), path, ENOSPC, -1)
CALL(int, mkfifo, (const char *path, mode_t mode), (path, mode), path, ENOSPC, -1)
CALL(int, unlink, (const char *path), (path), path, EIO, -1)
CALL(int, unlinkat, (int fd, const char *name, int flags), (fd, name, flags), name, EIO, -1)
CALL(int, rmdir, (const char *path), (path), path, EIO, -1)
CALL(int, renameat, (int from_fd, const char *from, int to_fd, const char *to),
     (from_fd, from, to_fd, to), from, EIO, -1)
CALL(int, renameat2, (int from_fd, const char *from, int to_fd, const char *to, unsigned flags),
     (from_fd, from, to_fd, to, flags), from, EINVAL, -1)
CALL(int, linkat, (int from_fd, const char *from, int to_fd, const char *to, int flags),
     (from_fd, from, to_fd, to, flags), to, ENOSPC, -1)
CALL(char *, realpath, (const char *path, char *ret_path), (path, ret_path), path, ENOMEM, NULL)
CALL(ssize_t, readlink, (const char *path, char *ret_path, size_t bytes), (path, ret_path, bytes),
     path, EACCES, -1)
CALL(ssize_t, readlinkat, (int fd, const char *path, char *ret_path, size_t bytes),
     (fd, path, ret_path, bytes), path, EACCES, -1)
CALL(int, chmod, (const char *path, mode_t mode), (path, mode), path, EPERM, -1)
CALL(int, access, (const char *path, int mode), (path, mode), path, EACCES, -1)
CALL(DIR *, opendir, (const char *path), (path), path, EMFILE, NULL)
CALL(DIR *, fdopendir, (int fd), (fd), NULL, ENOMEM, NULL)
CALL(struct dirent *, readdir64, (DIR * directory), (directory), NULL, EIO, NULL)

/* Descriptors. */

CALL(int, fchmod, (int fd, mode_t mode), (fd, mode), NULL, EPERM, -1)
CALL(int, dup3, (int fd, int other, int flags), (fd, other, flags), NULL, EMFILE, -1)
CALL(int, eventfd, (unsigned value, int flags), (value, flags), NULL, EMFILE, -1)
CALL(int, inotify_init1, (int flags), (flags), NULL, EMFILE, -1)
CALL(int, inotify_add_watch, (int fd, const char *path, uint32_t mask), (fd, path, mask), path,
     ENOSPC, -1)
CALL(int, poll, (struct pollfd * fds, nfds_t count, int wait_ms), (fds, count, wait_ms), NULL,
     EINTR, -1)
CALL(int, ppoll,
     (struct pollfd * fds, nfds_t count, const struct timespec *limit, const sigset_t *mask),
     (fds, count, limit, mask), NULL, EINTR, -1)
CALL(int, getrlimit64, (int what, struct rlimit *limit), (what, limit), NULL, EINVAL, -1)
CALL(ssize_t, getrandom, (void *bytes, size_t count, unsigned flags), (bytes, count, flags), NULL,
     EINTR, -1)

WRAP(int, close, (int fd))
{
    bool refused = fails("close", NULL, EIO);
    int result = __real_close(fd);

    return refused ? -1 : result;
}

int __real_fcntl64(int fd, int command, ...);
int __wrap_fcntl64(int fd, int command, ...);
int __wrap_fcntl64(int fd, int command, ...)
{
    va_list arguments;

    va_start(arguments, command);
    void *argument = va_arg(arguments, void *);
    va_end(arguments);
    if (fails("fcntl64", NULL, ENOLCK))
        return -1;
    return calls.locked && command == F_OFD_GETLK ? 0 : __real_fcntl64(fd, command, argument);
}

int __real_ioctl(int fd, unsigned long what, ...);
int __wrap_ioctl(int fd, unsigned long what, ...);
int __wrap_ioctl(int fd, unsigned long what, ...)
{
    va_list arguments;

    va_start(arguments, what);
    void *argument = va_arg(arguments, void *);
    va_end(arguments);
    if (what != BLKGETSIZE64 || calls.device_bytes == 0)
        return __real_ioctl(fd, what, argument);
    errno = calls.device_bytes < 0 ? (int)-calls.device_bytes : 0;
    if (calls.device_bytes > 0)
        *(uint64_t *)argument = (uint64_t)calls.device_bytes;
    return calls.device_bytes < 0 ? -1 : 0;
}

/* The writer opens pidfds. Six arguments are taken whatever the call has. */
long __real_syscall(long number, ...);
long __wrap_syscall(long number, ...);
__attribute__((no_sanitize("address"))) long __wrap_syscall(long number, ...)
{
    long argument[6];
    va_list arguments;

    va_start(arguments, number);
    for (unsigned i = 0; i < 6; i++)
        argument[i] = va_arg(arguments, long);
    va_end(arguments);
    if (number == SYS_pidfd_open && fails("syscall", NULL, EMFILE))
        return -1;
    if (number == SYS_clock_nanosleep && calls.sleepless)
        return 0;
    return __real_syscall(number, argument[0], argument[1], argument[2], argument[3], argument[4],
                          argument[5]);
}

/* What files are. */

static int disguised(int result, struct stat *status)
{
    if (result != 0)
        return result;
    if (calls.status != NULL)
        calls.status(status);
    status->st_ino += fails("inode", NULL, 0);
    status->st_dev += fails("device", NULL, 0);
    if (fails("type", NULL, 0))
        status->st_mode = S_IFIFO | 0600;
    return 0;
}

WRAP(uid_t, geteuid, (void))
{
    return calls.other_user ? 12345 : __real_geteuid();
}

#define STATUS(name, parameters, arguments, path)                                                  \
    WRAP(int, name, parameters)                                                                    \
    {                                                                                              \
        return fails(#name, path, EIO) ? -1 : disguised(__real_##name arguments, status);          \
    }
STATUS(fstat64, (int fd, struct stat *status), (fd, status), NULL)
STATUS(stat64, (const char *path, struct stat *status), (path, status), path)
STATUS(lstat64, (const char *path, struct stat *status), (path, status), path)
STATUS(fstatat64, (int fd, const char *name, struct stat *status, int flags),
       (fd, name, status, flags), name)

WRAP(int, statx, (int fd, const char *name, int flags, unsigned mask, struct statx *status))
{
    if (fails("statx", name, ENOSYS))
        return -1;
    int result = __real_statx(fd, name, flags, mask, status);
    if (calls.direct_align != 0) {
        status->stx_mask |= STATX_DIOALIGN;
        status->stx_dio_offset_align = calls.direct_align == 1 ? 0 : calls.direct_align;
    }
    return result;
}

/* A disk's, wherever the tests run. */
WRAP(int, fstatfs64, (int fd, struct statfs *system))
{
    if (fails("fstatfs64", NULL, EIO))
        return -1;
    int result = __real_fstatfs64(fd, system);
    if (calls.on_disk)
        system->f_type = 0;
    return result;
}

/* Nothing is given away: it is only said so. */
WRAP(int, fchown, (int fd, uid_t uid, gid_t gid))
{
    (void)fd;
    (void)uid;
    (void)gid;
    return fails("fchown", NULL, EPERM) ? -1 : 0;
}

/* Bytes. Events do not fail so. */

static bool is(int fd, mode_t type)
{
    struct stat status;

    return __real_fstat64(fd, &status) == 0 && (status.st_mode & S_IFMT) == type;
}

static bool is_file(int fd)
{
    return is(fd, S_IFREG);
}

WRAP(ssize_t, read, (int fd, void *bytes, size_t count))
{
    if (is_file(fd) && fails("read", NULL, EIO))
        return -1;
    if (is_file(fd) && fails("end", NULL, 0))
        return 0;
    ssize_t result = calls.read == NULL ? -2 : calls.read(fd, bytes, count);
    return result == -2 ? __real_read(fd, bytes, count) : result;
}

WRAP(ssize_t, write, (int fd, const void *bytes, size_t count))
{
    if ((is_file(fd) && fails("write", NULL, ENOSPC)) ||
        (is(fd, S_IFIFO) && fails("wake", NULL, EIO)))
        return -1;
    return __real_write(fd, bytes, count);
}

WRAP(ssize_t, pread64, (int fd, void *bytes, size_t count, off_t offset))
{
    if (fails("pread64", NULL, EIO))
        return -1;
    return fails("end", NULL, 0) ? 0 : __real_pread64(fd, bytes, count, offset);
}

WRAP(ssize_t, preadv64v2, (int fd, const struct iovec *pieces, int count, off_t offset, int flags))
{
    if (fails("preadv64v2", NULL, EIO))
        return -1;
    return fails("end", NULL, 0) ? 0 : __real_preadv64v2(fd, pieces, count, offset, flags);
}

CALL(ssize_t, pwrite64, (int fd, const void *bytes, size_t count, off_t offset),
     (fd, bytes, count, offset), NULL, ENOSPC, -1)
CALL(ssize_t, pwritev64v2, (int fd, const struct iovec *pieces, int count, off_t offset, int flags),
     (fd, pieces, count, offset, flags), NULL, ENOSPC, -1)
CALL(int, fsync, (int fd), (fd), NULL, EIO, -1)
CALL(int, fdatasync, (int fd), (fd), NULL, EIO, -1)
CALL(int, ftruncate64, (int fd, off_t size), (fd, size), NULL, ENOSPC, -1)
CALL(int, fallocate64, (int fd, int mode, off_t offset, off_t size), (fd, mode, offset, size), NULL,
     ENOSPC, -1)
CALL(int, posix_fallocate64, (int fd, off_t offset, off_t size), (fd, offset, size), NULL, ENOSPC,
     errno)

/* io_uring; its results are negative errnos. */

WRAP(int, io_uring_queue_init, (unsigned depth, struct io_uring *ring, unsigned flags))
{
    if (fails("io_uring_queue_init", NULL, ENOMEM))
        return -errno;
    int result = __real_io_uring_queue_init(depth, ring, flags);
    if (result == 0 && calls.without_features)
        ring->features = 0;
    return result;
}

CALL(int, io_uring_ring_dontfork, (struct io_uring * ring), (ring), NULL, ENOMEM, -errno)
CALL(int, io_uring_register_buffers,
     (struct io_uring * ring, const struct iovec *pieces, unsigned count), (ring, pieces, count),
     NULL, ENOMEM, -errno)
CALL(int, io_uring_register_files, (struct io_uring * ring, const int *fds, unsigned count),
     (ring, fds, count), NULL, ENOMEM, -errno)
CALL(int, io_uring_register_files_update,
     (struct io_uring * ring, unsigned at, const int *fds, unsigned count), (ring, at, fds, count),
     NULL, ENOMEM, -errno)
CALL(int, io_uring_submit, (struct io_uring * ring), (ring), NULL, EBUSY,
     errno == CALLS_NOTHING ? 0 : -errno)
CALL(int, io_uring_submit_and_get_events, (struct io_uring * ring), (ring), NULL, EBUSY, -errno)
CALL(int, io_uring_submit_and_wait_timeout,
     (struct io_uring * ring, struct io_uring_cqe **ret_cqe, unsigned count,
      struct __kernel_timespec *limit, sigset_t *mask),
     (ring, ret_cqe, count, limit, mask), NULL, EBUSY, -errno)

/* Of the harness. */

struct holdings calls_holdings(void)
{
    struct holdings holdings = {0, 0};
    char line[512];
    FILE *maps = fopen("/proc/self/maps", "re");

    for (int fd = 0; fd < 256; fd++)
        holdings.descriptors += fd != fileno(maps) && __real_fcntl64(fd, F_GETFD) >= 0;
    while (fgets(line, sizeof(line), maps) != NULL)
        holdings.mappings += strstr(line, "/tarn.") != NULL || strstr(line, "io_uring") != NULL;
    fclose(maps);
    return holdings;
}
