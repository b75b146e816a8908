/* SPDX-License-Identifier: MIT */
/* Life and death: byte locks on the segment, and what /proc knows of a process. */
#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "lib/internal.h"

/* PF_EXITING of linux/sched.h: the task will never run another user instruction. */
#define PF_EXITING 0x4u

uint64_t tarn_now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

int tarn_lock_byte(int fd, int64_t offset, short type)
{
    struct flock lock = {
        .l_type = type, .l_whence = SEEK_SET, .l_start = offset, .l_len = 1, .l_pid = 0};
    for (;;) {
        if (fcntl(fd, F_OFD_SETLK, &lock) == 0)
            return 0;
        if (errno == EACCES)
            return -EAGAIN;
        if (errno != EINTR)
            return -errno;
    }
}

bool tarn_byte_locked(int fd, int64_t offset)
{
    struct flock lock = {
        .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = offset, .l_len = 1, .l_pid = 0};
    /* A question that fails proves nothing, so the answer is the careful one. */
    return fcntl(fd, F_OFD_GETLK, &lock) != 0 || lock.l_type != F_UNLCK;
}

/* What /proc/PID/stat or /proc/PID/task/TID/stat says. */
struct task {
    uint64_t start_time;
    unsigned flags;
};

static bool read_stat(int directory_fd, const char *path, struct task *ret_task)
{
    char text[1024];
    int fd = openat(directory_fd, path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    ssize_t bytes = read(fd, text, sizeof text - 1);
    close(fd);
    if (bytes <= 0)
        return false;
    text[bytes] = 0;
    /* The name may hold blanks and parentheses: fields are counted from the last one. */
    char *after = strrchr(text, ')');
    unsigned flags;
    uint64_t start_time;
    if (after == NULL || sscanf(after + 1,
                                " %*c %*d %*d %*d %*d %*d %u %*u %*u %*u %*u %*u %*u %*d %*d %*d"
                                " %*d %*d %*d %" SCNu64,
                                &flags, &start_time) != 2)
        return false;
    *ret_task = (struct task){.start_time = start_time, .flags = flags};
    return true;
}

/* Does the task in this directory of /proc have its memory still? Asked before its stat is read:
 * that takes a reference to the memory, and if the task gives up its own meanwhile, the reader is
 * the last one, and unmaps it all. A task that may not be asked has none for all that is known. */
static bool has_memory(int directory_fd, const char *task)
{
    char path[300], target[2];
    snprintf(path, sizeof path, "%s/exe", task);
    return readlinkat(directory_fd, path, target, sizeof target) >= 0;
}

/* Sum over the tasks listed, so that two listings can be compared; 0: the listing proves nothing.
 */
static uint64_t exiting_tasks(int tasks_fd)
{
    int fd = openat(tasks_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return 0;
    DIR *tasks = fdopendir(fd);
    if (tasks == NULL) {
        close(fd);
        return 0;
    }
    uint64_t sum = 0;
    bool all = true;
    struct dirent *entry;
    errno = 0;
    while (all && (entry = readdir(tasks)) != NULL) {
        if (entry->d_name[0] == '.')
            continue;
        char path[300];
        struct task task;
        snprintf(path, sizeof path, "%s/stat", entry->d_name);
        all = !has_memory(tasks_fd, entry->d_name) && read_stat(tasks_fd, path, &task) &&
              (task.flags & PF_EXITING) != 0;
        sum = sum * 31 + strtoull(entry->d_name, NULL, 10);
        errno = 0;
    }
    if (errno != 0)
        all = false;
    closedir(tasks);
    return all ? sum : 0;
}

/* The early proof: long before the kernel has unmapped a killed process and given up its locks, all
 * its tasks are marked as exiting. */
static bool exiting(const struct tarn_pool *pool, const struct tarn_slot *slot)
{
    if (pool->pid_namespace == 0 || tarn_load_relaxed(&slot->pid_namespace) != pool->pid_namespace)
        return false;
    uint64_t pid = tarn_load_relaxed(&slot->pid);
    char path[64];
    struct task before, after;
    snprintf(path, sizeof path, "/proc/%" PRIu64, pid);
    if (has_memory(AT_FDCWD, path))
        return false;
    snprintf(path, sizeof path, "/proc/%" PRIu64 "/stat", pid);
    if (!read_stat(AT_FDCWD, path, &before) ||
        before.start_time != tarn_load_relaxed(&slot->start_time))
        return false;
    snprintf(path, sizeof path, "/proc/%" PRIu64 "/task", pid);
    int tasks_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (tasks_fd < 0)
        return false;
    uint64_t first = exiting_tasks(tasks_fd);
    bool proven = first != 0 && first == exiting_tasks(tasks_fd);
    close(tasks_fd);
    /* Still the same process, so the tasks were its tasks. */
    snprintf(path, sizeof path, "/proc/%" PRIu64 "/stat", pid);
    return proven && read_stat(AT_FDCWD, path, &after) && after.start_time == before.start_time;
}

bool tarn_dead_by_kernel(struct tarn_pool *pool, unsigned slot)
{
    const struct tarn_slot *shared = tarn_view_slot(&pool->view, slot);
    if (!tarn_byte_locked(pool->ask_fd, TARN_LOCK_LIFE + slot))
        return true;
    return tarn_load_acquire(&shared->state) == SLOT_LIVE && /* pairs: "slot live" */
           exiting(pool, shared);
}

void tarn_identify_process(struct tarn_pool *pool)
{
    struct task task;
    struct stat namespace;
    pool->pid = (uint64_t)getpid();
    pool->start_time = read_stat(AT_FDCWD, "/proc/self/stat", &task) ? task.start_time : 0;
    /* A /proc that was mounted in another namespace speaks of other processes: no early proof. */
    char self[32] = "";
    bool ours = readlink("/proc/self", self, sizeof self - 1) > 0 &&
                strtoull(self, NULL, 10) == pool->pid && pool->start_time != 0;
    pool->pid_namespace =
        ours && stat("/proc/self/ns/pid", &namespace) == 0 ? (uint64_t) namespace.st_ino : 0;
}

bool tarn_boot_id(uint8_t *ret_boot_id)
{
    char text[64];
    int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
    ssize_t bytes = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
    if (fd >= 0)
        close(fd);
    unsigned count = 0;
    for (ssize_t i = 0; i + 1 < bytes && count < 16; i++) {
        unsigned byte;
        if (text[i] != '-' && sscanf(text + i, "%2x", &byte) == 1) {
            ret_boot_id[count++] = (uint8_t)byte;
            i++;
        }
    }
    return count == 16;
}
