/* SPDX-License-Identifier: MIT */
/* Death by the kernel's OOM killer, in a memory control group made for who is to die; cgroup v1 or
 * v2, as root. The group is there only while somebody dies in it.
 */
#ifndef TARN_TESTS_KILL_OOM_H
#define TARN_TESTS_KILL_OOM_H

#include "tests/pool.h"

#define OOM_GROUP_BYTES (8u << 20)

struct oom_place {
    const char *group, *limit, *no_swap, *no_swap_value;
};

static const struct oom_place oom_places[] = {
    {"/sys/fs/cgroup/memory/tarn-life", "memory.limit_in_bytes", "memory.swappiness", "0"},
    {"/sys/fs/cgroup/tarn-life", "memory.max", "memory.swap.max", "0"},
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

/* Works as soon as nobody is in it. */
static inline void remove_oom_groups(void)
{
    for (unsigned i = 0; i < OOM_PLACES; i++)
        rmdir(oom_places[i].group);
}

/* NULL, or why there is no OOM killer to die by. */
static inline const char *oom_refused(void)
{
    bool possible = make_oom_group() != NULL;

    remove_oom_groups();
    return possible ? NULL : "no memory control group can be made";
}

static void *eat_all(void *argument)
{
    (void)argument;
    for (unsigned i = 0; i < 64; i++) {
        char *bytes = malloc(OOM_GROUP_BYTES / 16);
        if (bytes != NULL)
            memset(bytes, (int)i, OOM_GROUP_BYTES / 16);
        tarn_sleep_ns(NS_PER_MS / 10);
    }
    _exit(1);
}

/* The process goes on with what it does, until it is killed. Another one may remove the group
 * between two steps. */
static inline void eat_memory(void)
{
    char pid[16];
    pthread_t thread;

    snprintf(pid, sizeof pid, "%d", (int)getpid());
    for (unsigned i = 0; i < 1000; i++) {
        const struct oom_place *place = make_oom_group();

        if (place != NULL && write_word(place->group, "cgroup.procs", pid) &&
            pthread_create(&thread, NULL, eat_all, NULL) == 0)
            return;
    }
    _exit(1);
}

#endif
