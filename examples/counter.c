/* SPDX-License-Identifier: MIT */
/* Two processes add to two counters on one page, always to both; a third watches that they are
 * always equal.
 *
 *     tarn init demo && (tarn writer demo &)
 *     counter demo
 */
#include <err.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <tarn.h>
#include <unistd.h>

enum { ROUNDS = 100000 };

struct counters {
    uint64_t first, second;
};

static struct tarn_pool *pool;
static struct tarn_session *session;
static struct tarn_page_id page_id;

static void check(int result)
{
    if (result < 0)
        errx(1, "%s", tarn_session_message(session));
}

static void open_file(const char *name)
{
    struct tarn_message message;
    uint32_t file;

    if (tarn_attach(name, NULL, &pool, &message) < 0)
        errx(1, "%s", message.text);
    if (tarn_session_open(pool, NULL, &session) < 0) {
        tarn_pool_message(pool, &message);
        errx(1, "%s", message.text);
    }
    check(tarn_file_open(session, "counters", TARN_FILE_CREATE, &file));
    check(tarn_file_extend(session, file, 1));
    page_id = tarn_page_id(file, 0);
}

static void add(void)
{
    struct tarn_writable_page page;
    struct counters *counters;

    check(tarn_mtr_begin(session, 1));
    check(tarn_mtr_write_range(session, page_id, 0, sizeof(*counters), -1, &page));
    counters = page.data;
    counters->first++;
    counters->second++;
    check(tarn_mtr_commit(session, 0));
}

static uint64_t read_counters(void)
{
    struct tarn_pin pin;
    struct counters counters;

    check(tarn_pin(session, page_id, 0, &pin));
    check(tarn_latch_shared(session, pin, -1));
    counters = *(const struct counters *)pin.data;
    check(tarn_unlatch_shared(session, pin));
    check(tarn_unpin(session, pin));
    if (counters.first != counters.second)
        errx(1, "half a change");
    return counters.first;
}

int main(int argc, char **argv)
{
    uint64_t begin, added;
    int status;
    pid_t pid;

    if (argc != 2)
        errx(1, "usage: counter NAME");
    open_file(argv[1]);
    begin = read_counters();
    for (int child = 0; child < 2; child++) {
        if (fork() != 0)
            continue;
        open_file(argv[1]); /* a child has none of its parent's handles */
        for (int i = 0; i < ROUNDS; i++)
            add();
        return tarn_detach(pool) < 0;
    }
    while ((pid = waitpid(-1, &status, WNOHANG)) >= 0) {
        if (pid > 0 && status != 0)
            errx(1, "a process has failed");
        read_counters();
    }
    added = read_counters() - begin;
    printf("%" PRIu64 " more\n", added);
    return added != 2 * ROUNDS || tarn_detach(pool) < 0;
}
