/* SPDX-License-Identifier: MIT */
#include "lib/check.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

struct check {
    struct tarn_pool *pool;
    tarn_violation_report *report;
    void *context;
};

bool tarn_stopped_by_kernel(const struct tarn_pool *pool, unsigned slot)
{
    const struct tarn_slot *shared = tarn_view_slot(&pool->view, slot);
    char path[64], text[512];
    if (pool->pid_namespace == 0 ||
        tarn_load_relaxed(&shared->pid_namespace) != pool->pid_namespace)
        return false;
    snprintf(path, sizeof path, "/proc/%" PRIu64 "/stat", tarn_load_relaxed(&shared->pid));
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    ssize_t bytes = read(fd, text, sizeof text - 1);
    close(fd);
    if (bytes <= 0)
        return false;
    text[bytes] = 0;
    const char *after_name = strrchr(text, ')');
    return after_name != NULL && after_name[1] == ' ' &&
           (after_name[2] == 'T' || after_name[2] == 't');
}

static bool is_dead(void *context, unsigned slot)
{
    const struct check *check = context;
    return check->pool->dead(check->pool, slot);
}

static bool is_stopped(void *context, unsigned slot)
{
    const struct check *check = context;
    return tarn_stopped_by_kernel(check->pool, slot);
}

static void let_time_pass(void *context)
{
    (void)context;
    tarn_sleep_ns(2 * NS_PER_MS);
}

static void pass_on(void *context, const struct tarn_violation *violation)
{
    const struct check *check = context;
    check->report(check->context, violation);
}

int tarn_check_pool(struct tarn_pool *pool, tarn_violation_report *report, void *context)
{
    struct check check = {pool, report, context};
    struct tarn_check_options options = {is_dead, is_stopped, let_time_pass, &check};
    int result = tarn_pool_usable(pool);
    return result < 0 ? result : tarn_check_view(&pool->view, &options, pass_on, NULL);
}
