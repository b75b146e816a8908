/* SPDX-License-Identifier: MIT */
/* The system calls that the library makes, of the running process; each is a point. The harness's
 * own go to the real kernel. Only what the library asks for is here, as it asks for it.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "lib/internal.h"
#include "tests/kill/memory.h"

/* What stands instead of a function of the C library, which __real_ still is. */
#define WRAP(type, name, parameters)                                                               \
    type __real_##name parameters;                                                                 \
    type __wrap_##name parameters;                                                                 \
    type __wrap_##name parameters

/* To the real one if the harness calls; otherwise it is a point. */
#define PASS_HARNESS(call)                                                                         \
    do {                                                                                           \
        if (world_running == NULL)                                                                 \
            return call;                                                                           \
        world_point();                                                                             \
    } while (0)

/* Here the call may be made to fail. */
#define MAY_FAIL(error, failed)                                                                    \
    do {                                                                                           \
        if (world_call_fails(error))                                                               \
            return failed;                                                                         \
    } while (0)

enum { FD_FIRST = 1000 };

static int fail(int error)
{
    errno = error;
    return -1;
}

bool world_call_fails(int error)
{
    struct world_fault *fault = &world_fault;

    if (world_running == NULL || world_running != fault->process || fault->held)
        return false;
    fault->calls++;
    if (fault->calls != fault->at && (!fault->stays || fault->calls < fault->at))
        return false;
    if (++fault->happened == 1000000)
        world_fail("process %u does not give up", world_running->pid);
    if (fault->error == FAULT_SHORT) {
        fault->halves = true;
        return false;
    }
    errno = fault->error == 0 ? error : fault->error;
    return true;
}

/* Nodes. */

struct node *world_node(const char *path)
{
    for (unsigned i = 0; i < WORLD_NODES; i++)
        if (world.nodes[i].used && strcmp(world.nodes[i].path, path) == 0 && path[0] != 0)
            return &world.nodes[i];
    return NULL;
}

static struct node *new_node(enum node_type type, const char *path, unsigned mode)
{
    for (unsigned i = 0; i < WORLD_NODES; i++) {
        struct node *node = &world.nodes[i];

        if (node->used)
            continue;
        *node = (struct node){.used = true, .type = type, .mode = mode & 0777};
        node->inode = ++world.inode_last;
        node->version = next_version();
        if (strlen(path) >= sizeof node->path)
            world_fail("path too long: %s", path);
        strcpy(node->path, path);
        return node;
    }
    world_fail("too many files");
}

static void drop_node(struct node *node)
{
    for (unsigned i = 0; i < WORLD_DESCRIPTIONS; i++)
        if (world.descriptions[i].used && world.descriptions[i].node == node)
            return;
    if (node->path[0] != 0)
        return;
    if (node == world.segment)
        world.segment = NULL;
    node->used = false;
    node->version = next_version();
}

static void resize(struct node *node, size_t size)
{
    if (size > NODE_BYTES_MAX)
        world_fail("%s is too large for the world", node->path);
    if (size > node->size)
        memset((char *)world_node_data(node) + node->size, 0, size - node->size);
    node->size = size;
    node->version = next_version();
}

/* The path of a name beside a descriptor, into PATH_MAX bytes. */
static void resolve(int directory_fd, const char *name, char *ret_path)
{
    const struct description *directory = world_description(directory_fd);

    if (name[0] == '/' || directory == NULL)
        snprintf(ret_path, PATH_MAX, "%s", name);
    else if (strcmp(name, ".") == 0)
        snprintf(ret_path, PATH_MAX, "%s", directory->node->path);
    else
        snprintf(ret_path, PATH_MAX, "%s/%s", directory->node->path, name);
}

static struct node *node_at(int directory_fd, const char *name)
{
    char path[PATH_MAX];

    resolve(directory_fd, name, path);
    return world_node(path);
}

static void unlink_node(struct node *node)
{
    node->path[0] = 0;
    drop_node(node);
}

/* Descriptions. A descriptor is one; nothing here makes two of one. */

struct description *description_of_fd(int fd)
{
    return fd < FD_FIRST || fd >= FD_FIRST + WORLD_DESCRIPTIONS
               ? NULL
               : &world.descriptions[fd - FD_FIRST];
}

struct description *world_description(int fd)
{
    struct description *description = description_of_fd(fd);

    return description != NULL && description->used && description->open &&
                   description->process == world_running
               ? description
               : NULL;
}

static int new_description(struct node *node, int flags)
{
    for (int i = 0; i < WORLD_DESCRIPTIONS; i++) {
        struct description *description = &world.descriptions[i];

        if (description->used)
            continue;
        *description = (struct description){
            .used = true, .open = true, .process = world_running, .node = node, .flags = flags};
        return FD_FIRST + i;
    }
    world_fail("too many descriptors");
}

/* Its locks go with the last that keeps it alive: descriptor, mapping, or a request to the disk. */
void world_description_drop(struct description *description)
{
    if (description->open || description->mapped || description->in_flight > 0)
        return;
    for (unsigned i = 0; i < WORLD_LOCKS; i++)
        if (world.locks[i].description == description)
            world.locks[i].description = NULL;
    description->used = false;
    drop_node(description->node);
}

unsigned world_holdings(const struct process *process)
{
    unsigned count = 0;

    for (unsigned i = 0; i < WORLD_DESCRIPTIONS; i++) {
        const struct description *description = &world.descriptions[i];

        count += description->used && description->process == process &&
                 (description->open || description->mapped);
    }
    return count;
}

bool world_description_readable(const struct description *description)
{
    return description->node->size > 0;
}

/* Locks. */

static bool overlaps(const struct file_lock *lock, const struct description *description,
                     int64_t first, int64_t last)
{
    return lock->description != NULL && lock->description->node == description->node &&
           lock->first <= last && first <= lock->last;
}

static struct file_lock *find_conflict(const struct description *description, bool exclusive,
                                       int64_t first, int64_t last)
{
    for (unsigned i = 0; i < WORLD_LOCKS; i++) {
        struct file_lock *lock = &world.locks[i];

        if (overlaps(lock, description, first, last) && lock->description != description &&
            (exclusive || lock->exclusive))
            return lock;
    }
    return NULL;
}

static int set_lock(struct description *description, const struct flock *asked, int64_t last)
{
    struct file_lock *unused = NULL;

    if (asked->l_type != F_UNLCK &&
        find_conflict(description, asked->l_type == F_WRLCK, asked->l_start, last) != NULL)
        return fail(EAGAIN);
    for (unsigned i = 0; i < WORLD_LOCKS; i++) {
        struct file_lock *lock = &world.locks[i];

        /* The library never locks a part of what it has locked. */
        if (overlaps(lock, description, asked->l_start, last) && lock->description == description)
            lock->description = NULL;
        if (lock->description == NULL)
            unused = lock;
    }
    if (asked->l_type == F_UNLCK)
        return 0;
    if (unused == NULL)
        world_fail("too many locks");
    *unused = (struct file_lock){description, asked->l_start, last, asked->l_type == F_WRLCK};
    return 0;
}

int __real_fcntl64(int fd, int command, ...);
int __wrap_fcntl64(int fd, int command, ...);
int __wrap_fcntl64(int fd, int command, ...)
{
    va_list arguments;

    va_start(arguments, command);
    struct flock *lock = va_arg(arguments, struct flock *);
    va_end(arguments);
    PASS_HARNESS(__real_fcntl64(fd, command, lock));
    struct description *description = world_description(fd);
    if (description == NULL)
        return fail(EBADF);
    if (command != F_OFD_SETLK && command != F_OFD_GETLK)
        return 0;
    MAY_FAIL(ENOLCK, -1);
    int64_t last = lock->l_len == 0 ? INT64_MAX : lock->l_start + lock->l_len - 1;
    if (command == F_OFD_SETLK)
        return set_lock(description, lock, last);
    if (find_conflict(description, lock->l_type == F_WRLCK, lock->l_start, last) == NULL)
        lock->l_type = F_UNLCK;
    return 0;
}

/* Names. */

static int open_path(const char *path, int flags, unsigned mode)
{
    struct node *node = world_node(path);

    if ((flags & O_TMPFILE) == O_TMPFILE)
        return new_description(new_node(NODE_FILE, "", mode), flags);
    if (node == NULL && (flags & O_CREAT) == 0)
        return fail(ENOENT);
    if (node != NULL && (flags & O_EXCL) != 0)
        return fail(EEXIST);
    if (node == NULL)
        node = new_node(NODE_FILE, path, mode);
    else if ((flags & O_DIRECTORY) != 0 && node->type != NODE_DIRECTORY)
        return fail(ENOTDIR);
    if ((flags & O_TRUNC) != 0 && node->type == NODE_FILE)
        resize(node, 0);
    return new_description(node, flags);
}

static unsigned mode_argument(int flags, va_list arguments)
{
    bool makes = (flags & O_CREAT) != 0 || (flags & O_TMPFILE) == O_TMPFILE;

    return makes ? va_arg(arguments, unsigned) : 0;
}

int __real_open64(const char *path, int flags, ...);
int __wrap_open64(const char *path, int flags, ...);
int __wrap_open64(const char *path, int flags, ...)
{
    va_list arguments;

    va_start(arguments, flags);
    unsigned mode = mode_argument(flags, arguments);
    va_end(arguments);
    PASS_HARNESS(__real_open64(path, flags, mode));
    MAY_FAIL(EMFILE, -1);
    return open_path(path, flags, mode);
}

int __real_openat64(int directory_fd, const char *name, int flags, ...);
int __wrap_openat64(int directory_fd, const char *name, int flags, ...);
int __wrap_openat64(int directory_fd, const char *name, int flags, ...)
{
    char path[PATH_MAX];
    va_list arguments;

    va_start(arguments, flags);
    unsigned mode = mode_argument(flags, arguments);
    va_end(arguments);
    PASS_HARNESS(__real_openat64(directory_fd, name, flags, mode));
    MAY_FAIL(EMFILE, -1);
    resolve(directory_fd, name, path);
    return open_path(path, flags, mode);
}

WRAP(int, close, (int fd))
{
    PASS_HARNESS(__real_close(fd));
    struct description *description = world_description(fd);
    if (description == NULL)
        return fail(EBADF);
    description->open = false;
    world_description_drop(description);
    return 0;
}

WRAP(int, dup3, (int fd, int other_fd, int flags))
{
    PASS_HARNESS(__real_dup3(fd, other_fd, flags));
    MAY_FAIL(EMFILE, -1);
    struct description *other = world_description(other_fd);
    if (world_description(fd) == NULL || other == NULL)
        return fail(EBADF);
    other->open = false;
    world_description_drop(other);
    *other = *world_description(fd); /* the other one is closed at once */
    return other_fd;
}

WRAP(int, mkdir, (const char *path, mode_t mode))
{
    PASS_HARNESS(__real_mkdir(path, mode));
    MAY_FAIL(ENOSPC, -1);
    if (world_node(path) != NULL)
        return fail(EEXIST);
    new_node(NODE_DIRECTORY, path, mode);
    return 0;
}

WRAP(int, mkfifo, (const char *path, mode_t mode))
{
    PASS_HARNESS(__real_mkfifo(path, mode));
    MAY_FAIL(ENOSPC, -1);
    if (world_node(path) != NULL)
        return fail(EEXIST);
    new_node(NODE_FIFO, path, mode);
    return 0;
}

static int unlink_at(int directory_fd, const char *name)
{
    struct node *node = node_at(directory_fd, name);

    if (node == NULL)
        return fail(ENOENT);
    unlink_node(node);
    return 0;
}

WRAP(int, unlink, (const char *path))
{
    PASS_HARNESS(__real_unlink(path));
    if (world_call_fails(EIO)) {
        world_fault.removal = true;
        return -1;
    }
    return unlink_at(AT_FDCWD, path);
}

WRAP(int, unlinkat, (int directory_fd, const char *name, int flags))
{
    PASS_HARNESS(__real_unlinkat(directory_fd, name, flags));
    if (world_call_fails(EIO)) {
        world_fault.removal = true;
        return -1;
    }
    return unlink_at(directory_fd, name);
}

WRAP(int, rmdir, (const char *path))
{
    PASS_HARNESS(__real_rmdir(path));
    if (world_call_fails(EIO)) {
        world_fault.removal = true;
        return -1;
    }
    return unlink_at(AT_FDCWD, path);
}

static int rename_node(struct node *node, const char *path, unsigned flags)
{
    struct node *target = world_node(path);

    if (node == NULL)
        return fail(ENOENT);
    if (target != NULL && flags != 0)
        return fail(EEXIST);
    if (target != NULL)
        unlink_node(target);
    strcpy(node->path, path);
    return 0;
}

WRAP(int, renameat, (int from_fd, const char *from, int to_fd, const char *to))
{
    char path[PATH_MAX];

    PASS_HARNESS(__real_renameat(from_fd, from, to_fd, to));
    MAY_FAIL(EIO, -1);
    resolve(to_fd, to, path);
    return rename_node(node_at(from_fd, from), path, 0);
}

WRAP(int, renameat2, (int from_fd, const char *from, int to_fd, const char *to, unsigned flags))
{
    char path[PATH_MAX];

    PASS_HARNESS(__real_renameat2(from_fd, from, to_fd, to, flags));
    MAY_FAIL(ENOSPC, -1);
    resolve(to_fd, to, path);
    return rename_node(node_at(from_fd, from), path, flags);
}

/* Of a file without a name. */
WRAP(int, linkat, (int from_fd, const char *from, int to_fd, const char *to, int flags))
{
    int fd;

    PASS_HARNESS(__real_linkat(from_fd, from, to_fd, to, flags));
    MAY_FAIL(ENOSPC, -1);
    if (sscanf(from, "/proc/self/fd/%d", &fd) != 1 || world_description(fd) == NULL)
        return fail(ENOENT);
    return rename_node(world_description(fd)->node, to, 1);
}

WRAP(int, access, (const char *path, int mode))
{
    PASS_HARNESS(__real_access(path, mode));
    MAY_FAIL(EACCES, -1);
    return world_node(path) == NULL ? fail(ENOENT) : 0;
}

WRAP(int, faccessat, (int directory_fd, const char *name, int mode, int flags))
{
    PASS_HARNESS(__real_faccessat(directory_fd, name, mode, flags));
    MAY_FAIL(EACCES, -1);
    return node_at(directory_fd, name) == NULL ? fail(ENOENT) : 0;
}

WRAP(char *, realpath, (const char *path, char *resolved))
{
    PASS_HARNESS(__real_realpath(path, resolved));
    MAY_FAIL(EACCES, NULL);
    if (world_node(path) == NULL) {
        errno = ENOENT;
        return NULL;
    }
    return strdup(path);
}

WRAP(ssize_t, readlink, (const char *path, char *text, size_t bytes))
{
    PASS_HARNESS(__real_readlink(path, text, bytes));
    return fail(ENOENT);
}

/* What files are. */

static int describe(const struct node *node, struct stat *ret_status)
{
    static const mode_t types[] = {S_IFREG, S_IFDIR, S_IFIFO, S_IFREG};

    if (node == NULL)
        return fail(ENOENT);
    *ret_status = (struct stat){.st_dev = 1,
                                .st_ino = node->inode,
                                .st_mode = types[node->type] | node->mode,
                                .st_nlink = node->path[0] != 0,
                                .st_uid = geteuid(),
                                .st_gid = getegid(),
                                .st_size = (off_t)node->size};
    return 0;
}

WRAP(int, fstat64, (int fd, struct stat *status))
{
    PASS_HARNESS(__real_fstat64(fd, status));
    MAY_FAIL(EIO, -1);
    struct description *description = world_description(fd);
    return description == NULL ? fail(EBADF) : describe(description->node, status);
}

WRAP(int, stat64, (const char *path, struct stat *status))
{
    PASS_HARNESS(__real_stat64(path, status));
    MAY_FAIL(EIO, -1);
    return describe(world_node(path), status);
}

WRAP(int, lstat64, (const char *path, struct stat *status))
{
    PASS_HARNESS(__real_lstat64(path, status));
    MAY_FAIL(EIO, -1);
    return describe(world_node(path), status);
}

WRAP(int, fstatat64, (int directory_fd, const char *name, struct stat *status, int flags))
{
    PASS_HARNESS(__real_fstatat64(directory_fd, name, status, flags));
    MAY_FAIL(EIO, -1);
    return describe(node_at(directory_fd, name), status);
}

WRAP(int, statx, (int directory_fd, const char *name, int flags, unsigned mask, struct statx *to))
{
    PASS_HARNESS(__real_statx(directory_fd, name, flags, mask, to));
    return fail(ENOSYS);
}

WRAP(int, fchmod, (int fd, mode_t mode))
{
    PASS_HARNESS(__real_fchmod(fd, mode));
    MAY_FAIL(EPERM, -1);
    if (world_description(fd) == NULL)
        return fail(EBADF);
    world_description(fd)->node->mode = mode & 0777;
    return 0;
}

WRAP(int, chmod, (const char *path, mode_t mode))
{
    PASS_HARNESS(__real_chmod(path, mode));
    MAY_FAIL(EPERM, -1);
    if (world_node(path) == NULL)
        return fail(ENOENT);
    world_node(path)->mode = mode & 0777;
    return 0;
}

/* Directories. */

struct listing {
    struct node *node;
    unsigned next;
    int fd;
    struct dirent entry;
};

WRAP(DIR *, opendir, (const char *path))
{
    PASS_HARNESS(__real_opendir(path));
    errno = ENOENT;
    return NULL;
}

WRAP(DIR *, fdopendir, (int fd))
{
    PASS_HARNESS(__real_fdopendir(fd));
    MAY_FAIL(ENOMEM, NULL);
    struct description *description = world_description(fd);
    struct listing *listing = calloc(1, sizeof *listing);
    if (description == NULL || listing == NULL)
        return NULL;
    listing->node = description->node;
    listing->fd = fd;
    return (DIR *)listing;
}

WRAP(struct dirent *, readdir64, (DIR * directory))
{
    PASS_HARNESS(__real_readdir64(directory));
    MAY_FAIL(EIO, NULL);
    struct listing *listing = (struct listing *)directory;
    size_t length = strlen(listing->node->path);

    for (; listing->next < WORLD_NODES; listing->next++) {
        const struct node *node = &world.nodes[listing->next];

        if (!node->used || strncmp(node->path, listing->node->path, length) != 0 ||
            node->path[length] != '/')
            continue;
        snprintf(listing->entry.d_name, sizeof listing->entry.d_name, "%s",
                 node->path + length + 1);
        listing->next++;
        return &listing->entry;
    }
    return NULL;
}

WRAP(int, closedir, (DIR * directory))
{
    PASS_HARNESS(__real_closedir(directory));
    int result = close(((struct listing *)directory)->fd);
    free(directory);
    return result;
}

/* Bytes. */

static ssize_t read_at(const struct node *node, void *bytes, size_t count, size_t offset)
{
    if (offset >= node->size)
        return 0;
    if (count > node->size - offset)
        count = node->size - offset;
    memcpy(bytes, (char *)world_node_data(node) + offset, count);
    return (ssize_t)count;
}

static ssize_t write_at(struct node *node, const void *bytes, size_t count, size_t offset)
{
    if (offset + count > node->size)
        resize(node, offset + count);
    memcpy((char *)world_node_data(node) + offset, bytes, count);
    node->version = next_version();
    world.write_count++;
    for (size_t block = offset / WORLD_BLOCK_BYTES; block * WORLD_BLOCK_BYTES < offset + count;
         block++)
        node->written[block % WORLD_BLOCKS] = world.write_count;
    return (ssize_t)count;
}

void node_written_durably(struct node *node, size_t count, size_t offset)
{
    for (size_t block = offset / WORLD_BLOCK_BYTES; block * WORLD_BLOCK_BYTES < offset + count;
         block++)
        node->written[block % WORLD_BLOCKS] = node->synced;
}

/* The kernel's own copies are no accesses of the process. */
ssize_t node_transfer(struct node *node, void *bytes, size_t count, size_t offset, bool writes)
{
    size_t hooked = hook_bytes;

    hook_bytes = 0;
    ssize_t done =
        writes ? write_at(node, bytes, count, offset) : read_at(node, bytes, count, offset);
    hook_bytes = hooked;
    return done;
}

void world_hold_faults(bool held)
{
    world_fault.held = held;
}

size_t world_transfer_bytes(size_t bytes)
{
    bool halves = world_fault.halves && world_running == world_fault.process;

    world_fault.halves = false;
    return halves ? (bytes + 1) / 2 : bytes;
}

static ssize_t transfer(int fd, void *bytes, size_t count, int64_t offset, bool writes)
{
    struct description *description = world_description(fd);

    if (description == NULL || description->node->type != NODE_FILE)
        return fail(EBADF);
    size_t at = offset < 0 ? description->offset : (size_t)offset;
    count = world_transfer_bytes(count);
    ssize_t done = node_transfer(description->node, bytes, count, at, writes);
    if (offset < 0)
        description->offset += (size_t)done;
    return done;
}

WRAP(ssize_t, pread64, (int fd, void *bytes, size_t count, off_t offset))
{
    PASS_HARNESS(__real_pread64(fd, bytes, count, offset));
    MAY_FAIL(EIO, -1);
    return transfer(fd, bytes, count, offset, false);
}

WRAP(ssize_t, preadv64v2, (int fd, const struct iovec *pieces, int count, off_t offset, int flags))
{
    PASS_HARNESS(__real_preadv64v2(fd, pieces, count, offset, flags));
    MAY_FAIL(EIO, -1);
    return transfer(fd, pieces->iov_base, pieces->iov_len, offset, false);
}

WRAP(ssize_t, pwrite64, (int fd, const void *bytes, size_t count, off_t offset))
{
    PASS_HARNESS(__real_pwrite64(fd, bytes, count, offset));
    MAY_FAIL(ENOSPC, -1);
    return transfer(fd, (void *)(uintptr_t)bytes, count, offset, true);
}

WRAP(ssize_t, read, (int fd, void *bytes, size_t count))
{
    PASS_HARNESS(__real_read(fd, bytes, count));
    struct description *description = world_description(fd);
    if (description == NULL)
        return fail(EBADF);
    struct node *node = description->node;
    if (node->type == NODE_FILE)
        MAY_FAIL(EIO, -1);
    if (node->type == NODE_FILE)
        return transfer(fd, bytes, count, -1, false);
    if (node->size == 0)
        return fail(EAGAIN);
    count = count < node->size ? count : node->size;
    node->size = node->type == NODE_EVENT ? 0 : node->size - count;
    memset(bytes, 0, count);
    return (ssize_t)count;
}

WRAP(ssize_t, write, (int fd, const void *bytes, size_t count))
{
    PASS_HARNESS(__real_write(fd, bytes, count));
    struct description *description = world_description(fd);
    if (description == NULL)
        return fail(EBADF);
    if (description->node->type != NODE_EVENT)
        MAY_FAIL(ENOSPC, -1);
    if (description->node->type == NODE_FILE)
        return transfer(fd, (void *)(uintptr_t)bytes, count, -1, true);
    if (description->node->size + count > 4096)
        return fail(EAGAIN);
    description->node->size += count;
    return (ssize_t)count;
}

WRAP(int, ftruncate64, (int fd, off_t size))
{
    PASS_HARNESS(__real_ftruncate64(fd, size));
    MAY_FAIL(ENOSPC, -1);
    if (world_description(fd) == NULL)
        return fail(EBADF);
    resize(world_description(fd)->node, (size_t)size);
    return 0;
}

WRAP(int, fallocate64, (int fd, int mode, off_t offset, off_t size))
{
    PASS_HARNESS(__real_fallocate64(fd, mode, offset, size));
    MAY_FAIL(ENOSPC, -1);
    struct description *description = world_description(fd);
    if (description == NULL)
        return fail(EBADF);
    if ((size_t)(offset + size) > description->node->size)
        resize(description->node, (size_t)(offset + size));
    return 0;
}

WRAP(int, posix_fallocate64, (int fd, off_t offset, off_t size))
{
    PASS_HARNESS(__real_posix_fallocate64(fd, offset, size));
    MAY_FAIL(ENOSPC, errno);
    if (world_description(fd) == NULL)
        return EBADF;
    resize(world_description(fd)->node, (size_t)(offset + size));
    return 0;
}

WRAP(int, fsync, (int fd))
{
    PASS_HARNESS(__real_fsync(fd));
    MAY_FAIL(EIO, -1);
    return world_description(fd) == NULL ? fail(EBADF) : 0;
}

WRAP(int, fdatasync, (int fd))
{
    PASS_HARNESS(__real_fdatasync(fd));
    MAY_FAIL(EIO, -1);
    return world_description(fd) == NULL ? fail(EBADF) : 0;
}

/* Mappings: all of a file, where its bytes are. The first that is mapped is the segment. */

WRAP(void *, mmap64, (void *at, size_t bytes, int protection, int flags, int fd, off_t offset))
{
    PASS_HARNESS(__real_mmap64(at, bytes, protection, flags, fd, offset));
    MAY_FAIL(ENOMEM, MAP_FAILED);
    if (flags & MAP_ANONYMOUS)
        return calloc(1, bytes);
    struct description *description = world_description(fd);
    if (description == NULL || bytes > description->node->size) {
        errno = EBADF;
        return MAP_FAILED;
    }
    /* A part is mapped by who builds it, unseen by others; it changes without a system call. */
    description->node->version = 0;
    if (bytes == description->node->size && description->node->path[0] != 0) {
        const struct tarn_superblock *superblock = world_node_data(description->node);

        description->mapped = true;
        world.segment = description->node;
        tarn_view_set(&world.view, world_node_data(world.segment), &superblock->geometry);
        hook_begin = (uintptr_t)world_node_data(world.segment);
        hook_bytes = world.segment->size;
    }
    return world_node_data(description->node);
}

WRAP(int, munmap, (void *at, size_t bytes))
{
    PASS_HARNESS(__real_munmap(at, bytes));
    for (unsigned i = 0; i < WORLD_DESCRIPTIONS; i++) {
        struct description *description = &world.descriptions[i];

        if (description->used && description->mapped && description->process == world_running &&
            world_node_data(description->node) == at) {
            description->mapped = false;
            world_description_drop(description);
            return 0;
        }
    }
    for (unsigned i = 0; i < WORLD_NODES; i++)
        if (world.nodes[i].used && world_node_data(&world.nodes[i]) == at)
            world.nodes[i].version = next_version();
    /* Not a file: memory. */
    if ((uintptr_t)at - (uintptr_t)process_memory(world_running) < MEMORY_BYTES)
        free(at);
    return 0;
}

WRAP(int, madvise, (void *at, size_t bytes, int advice))
{
    PASS_HARNESS(__real_madvise(at, bytes, advice));
    return 0;
}

/* Events, time. */

WRAP(int, eventfd, (unsigned value, int flags))
{
    PASS_HARNESS(__real_eventfd(value, flags));
    MAY_FAIL(EMFILE, -1);
    return new_description(new_node(NODE_EVENT, "", 0600), O_RDWR);
}

WRAP(int, inotify_init1, (int flags))
{
    PASS_HARNESS(__real_inotify_init1(flags));
    MAY_FAIL(EMFILE, -1);
    return new_description(new_node(NODE_EVENT, "", 0600), O_RDWR);
}

WRAP(int, inotify_add_watch, (int fd, const char *path, uint32_t mask))
{
    PASS_HARNESS(__real_inotify_add_watch(fd, path, mask));
    MAY_FAIL(ENOSPC, -1);
    return world_node(path) == NULL ? fail(ENOENT) : 1;
}

struct poll_set {
    struct pollfd *fds;
    nfds_t count;
};

static bool any_readable(struct process *process)
{
    const struct poll_set *set = process->wait_for;
    bool any = false;

    for (nfds_t i = 0; i < set->count; i++) {
        const struct description *description = description_of_fd(set->fds[i].fd);
        bool readable = description != NULL && world_description_readable(description);

        set->fds[i].revents = readable ? POLLIN : 0;
        any |= readable;
    }
    return any;
}

WRAP(int, poll, (struct pollfd * fds, nfds_t count, int wait_ms))
{
    PASS_HARNESS(__real_poll(fds, count, wait_ms));
    MAY_FAIL(EINTR, -1);
    struct poll_set set = {fds, count};
    world_wait(any_readable, &set, world.now_ns + (uint64_t)wait_ms * NS_PER_MS);
    world_running->wait_for = &set;
    return any_readable(world_running);
}

WRAP(int, clock_gettime, (clockid_t clock, struct timespec *ret_time))
{
    if (world_running == NULL)
        return __real_clock_gettime(clock, ret_time);
    world.now_ns += 100;
    *ret_time = (struct timespec){.tv_sec = (time_t)(world.now_ns / 1000000000),
                                  .tv_nsec = (long)(world.now_ns % 1000000000)};
    return 0;
}

static bool was_woken(struct process *process)
{
    return process->woken;
}

static long futex(uint32_t *word, int operation, uint32_t value, const struct timespec *time)
{
    long woken = 0;

    if (operation == FUTEX_WAKE) {
        for (unsigned i = 0; i < WORLD_PROCESSES; i++) {
            struct process *process = &world.processes[i];

            if (process->state == PROCESS_WAITS && process->wait_for == word && !process->woken) {
                process->woken = true;
                woken++;
            }
        }
        return woken;
    }
    if (*word != value)
        return fail(EAGAIN);
    uint64_t ns = (uint64_t)time->tv_sec * 1000000000 + (uint64_t)time->tv_nsec;
    world_wait(was_woken, word, world.now_ns + ns);
    return world_running->woken ? 0 : fail(ETIMEDOUT);
}

long __real_syscall(long number, ...);
long __wrap_syscall(long number, ...);
long __wrap_syscall(long number, ...)
{
    long argument[6];
    va_list arguments;

    va_start(arguments, number);
    for (unsigned i = 0; i < 6; i++)
        argument[i] = va_arg(arguments, long);
    va_end(arguments);
    PASS_HARNESS(__real_syscall(number, argument[0], argument[1], argument[2], argument[3],
                                argument[4], argument[5]));
    const struct timespec *time;
    switch (number) {
    case SYS_futex:
        time = (const struct timespec *)argument[3];
        return futex((uint32_t *)argument[0], (int)argument[1], (uint32_t)argument[2], time);
    case SYS_clock_nanosleep:
        time = (const struct timespec *)argument[2];
        world_wait(NULL, NULL,
                   world.now_ns + (uint64_t)time->tv_sec * 1000000000 + (uint64_t)time->tv_nsec);
        return 0;
    default:
        return fail(ENOSYS);
    }
}

/* The rest. */

WRAP(pid_t, getpid, (void))
{
    return world_running == NULL ? __real_getpid() : (pid_t)world_running->pid;
}

WRAP(ssize_t, getrandom, (void *bytes, size_t count, unsigned flags))
{
    PASS_HARNESS(__real_getrandom(bytes, count, flags));
    MAY_FAIL(EINTR, -1);
    for (size_t i = 0; i < count; i++)
        ((uint8_t *)bytes)[i] = (uint8_t)world_draw(&world.random, 256);
    return (ssize_t)count;
}

/* A process has one thread, so its mutexes are free. */
WRAP(int, pthread_mutex_lock, (pthread_mutex_t * mutex))
{
    return world_running == NULL ? __real_pthread_mutex_lock(mutex) : 0;
}

WRAP(int, pthread_mutex_unlock, (pthread_mutex_t * mutex))
{
    return world_running == NULL ? __real_pthread_mutex_unlock(mutex) : 0;
}

WRAP(bool, tarn_dead_by_kernel, (struct tarn_pool * pool, unsigned slot))
{
    return __real_tarn_dead_by_kernel(pool, slot) || world_dead(slot);
}
