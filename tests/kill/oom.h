/* SPDX-License-Identifier: MIT */
/* Death by the kernel's OOM killer, in a memory control group made for who is to die; cgroup v1 or
 * v2, as root. Each run has a group of its own, named after the process that kills, which is there
 * only while somebody dies in it.
 */
#ifndef TARN_TESTS_KILL_OOM_H
#define TARN_TESTS_KILL_OOM_H

#include <dirent.h>

#include "tests/process.h"

#define OOM_GROUP_BYTES (8u << 20)
#define OOM_GROUP_NAME  "tarn-life-"

struct oom_place {
    const char *directory, *limit, *no_swap, *no_swap_value;
    char group[64];
};

static struct oom_place oom_places[] = {
    {"/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.swappiness", "0", ""},
    {"/sys/fs/cgroup", "memory.max", "memory.swap.max", "0", ""},
};
#define OOM_PLACES (sizeof oom_places / sizeof oom_places[0])

static inline bool write_word(const char *directory, const char *name, const char *word)
{
    char path[256];

    snprintf(path, sizeof path, "%s/%s", directory, name);
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    bool written = fd >= 0 && write(fd, word, strlen(word)) == (ssize_t)strlen(word);
    if (fd >= 0)
        close(fd);
    return written;
}

/* The group that could be made, with its limit; NULL: none. */
static inline const struct oom_place *make_oom_group(void)
{
    char limit[32];

    snprintf(limit, sizeof limit, "%u", OOM_GROUP_BYTES);
    for (unsigned i = 0; i < OOM_PLACES; i++) {
        const struct oom_place *place = &oom_places[i];

        if (mkdir(place->group, 0700) != 0 && errno != EEXIST)
            continue;
        write_word(place->group, place->no_swap, place->no_swap_value);
        if (write_word(place->group, place->limit, limit))
            return place;
        rmdir(place->group);
    }
    return NULL;
}

/* False: somebody is in it. */
static inline bool remove_oom_groups(void)
{
    bool removed = true;

    for (unsigned i = 0; i < OOM_PLACES; i++)
        removed = (rmdir(oom_places[i].group) == 0 || errno != EBUSY) && removed;
    return removed;
}

/* Groups of runs that were killed themselves. */
static inline void remove_left_oom_groups(const char *directory)
{
    DIR *listing = opendir(directory);

    for (struct dirent *entry; listing != NULL && (entry = readdir(listing)) != NULL;) {
        int pid;

        if (sscanf(entry->d_name, OOM_GROUP_NAME "%d", &pid) == 1 && kill(pid, 0) != 0 &&
            errno == ESRCH)
            unlinkat(dirfd(listing), entry->d_name, AT_REMOVEDIR);
    }
    if (listing != NULL)
        closedir(listing);
}

/* NULL, or why there is no OOM killer to die by. Before those who are to die are forked: the group
 * is this process's. */
static inline const char *oom_refused(void)
{
    for (unsigned i = 0; i < OOM_PLACES; i++) {
        struct oom_place *place = &oom_places[i];

        remove_left_oom_groups(place->directory);
        snprintf(place->group, sizeof place->group, "%s/" OOM_GROUP_NAME "%d", place->directory,
                 (int)getpid());
    }
    bool possible = make_oom_group() != NULL;

    remove_oom_groups();
    return possible ? NULL : "no memory control group can be made";
}

/* Another one of the run may remove the group before it is joined. */
static inline bool join_oom_group(void)
{
    const struct oom_place *place = make_oom_group();
    char pid[16];

    snprintf(pid, sizeof pid, "%d", (int)getpid());
    return place != NULL && write_word(place->group, "cgroup.procs", pid);
}

/* More than fits, again and again: somebody else in the group may be killed first. */
static void *eat_all(void *argument)
{
    enum { BYTES = 8 * OOM_GROUP_BYTES, STEP_BYTES = OOM_GROUP_BYTES / 16 };
    int64_t begun_ms = now_ms();
    char *bytes = mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    (void)argument;
    if (bytes == MAP_FAILED)
        _exit(1);
    while (!join_oom_group() && now_ms() - begun_ms < NEVER_MS)
        sleep_ms(1);
    for (size_t at = 0; now_ms() - begun_ms < NEVER_MS; at = (at + STEP_BYTES) % BYTES) {
        memset(bytes + at, 1, STEP_BYTES);
        tarn_sleep_ns(NS_PER_MS / 10);
    }
    _exit(1);
}

/* The process goes on with what it does, until it is killed. The thread is there before the process
 * joins, since a full group has no room for it. */
static inline void eat_memory(void)
{
    pthread_t thread;

    if (pthread_create(&thread, NULL, eat_all, NULL) != 0)
        _exit(1);
}

#endif
