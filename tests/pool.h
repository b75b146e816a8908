/* SPDX-License-Identifier: MIT */
/* A pool to test with, and what to say of the results of calls. */
#ifndef TARN_TESTS_POOL_H
#define TARN_TESTS_POOL_H

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <tarn.h>
#include <time.h>
#include <unistd.h>

#include "lib/internal.h"
#include "shm/check.h"
#include "shm/table.h"
#include "tests/test.h"

#define PAGE_BYTES 4096u

/* Not inlined: gcc would take the comparison for a doubt about the message's pointer. */
static __attribute__((noinline, unused)) bool says(const char *message, const char *words)
{
    return strstr(message, words) != NULL;
}

/* The call does not fail. */
#define assert_ok(session, call)                                                                   \
    do {                                                                                           \
        int got_ = (call);                                                                         \
        ck_assert_msg(got_ >= 0, "%s: %d: %s", #call, got_, tarn_session_message(session));        \
    } while (0)

/* The call fails with this result, and the message has these words. */
#define assert_fails(session, expected, words, call)                                               \
    do {                                                                                           \
        int got_ = (call);                                                                         \
        const char *said_ = tarn_session_message(session);                                         \
        ck_assert_msg(got_ == (expected), "%s: %d, not %s: %s", #call, got_, #expected, said_);    \
        ck_assert_msg(says(said_, words), "%s: no '%s' in: %s", #call, words, said_);              \
    } while (0)

/* The same where the message is in a struct tarn_message. */
#define assert_fails_with(message, expected, words, call)                                          \
    do {                                                                                           \
        const char *said_ = (message).text;                                                        \
        (message) = (struct tarn_message){""};                                                     \
        int got_ = (call);                                                                         \
        ck_assert_msg(got_ == (expected), "%s: %d, not %s: %s", #call, got_, #expected, said_);    \
        ck_assert_msg(says(said_, words), "%s: no '%s' in: %s", #call, words, said_);              \
    } while (0)

static inline void sleep_ms(long ms)
{
    struct timespec time = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};

    nanosleep(&time, NULL);
}

static inline int64_t now_ms(void)
{
    return (int64_t)(tarn_now_ns() / 1000000);
}

static inline bool exists(const char *path)
{
    return access(path, F_OK) == 0;
}

/* Pool, writer thread and session; directory NULL: temporary. */
static inline struct tarn_pool *open_pool(const char *directory, unsigned frame_count,
                                          struct tarn_session **ret_session)
{
    struct tarn_embedded_options options = {.size = sizeof(options),
                                            .directory = directory,
                                            .frame_bytes = (uint64_t)frame_count * PAGE_BYTES,
                                            .page_bytes = PAGE_BYTES,
                                            .session_count = 8};
    struct tarn_message message = {""};
    struct tarn_pool *pool;
    int result = tarn_open_embedded(&options, &pool, ret_session, &message);

    ck_assert_msg(result == 0, "tarn_open_embedded: %d: %s", result, message.text);
    return pool;
}

static inline struct tarn_session *open_session(struct tarn_pool *pool)
{
    struct tarn_message message = {""};
    struct tarn_session *session;
    int result = tarn_session_open(pool, NULL, &session);

    tarn_pool_message(pool, &message);
    ck_assert_msg(result == 0, "tarn_session_open: %d: %s", result, message.text);
    return session;
}

/* A pool of the name that has no writer yet. */
static inline struct tarn_pool *init_pool(const char *name, const char *directory,
                                          unsigned frame_count, unsigned session_count)
{
    struct tarn_init_options options = {.size = sizeof(options),
                                        .directory = directory,
                                        .frame_bytes = (uint64_t)frame_count * PAGE_BYTES,
                                        .page_bytes = PAGE_BYTES,
                                        .session_count = session_count};
    struct tarn_message message = {""};
    struct tarn_pool *pool;
    int result = tarn_init(name, &options, &message);

    ck_assert_msg(result == 0, "tarn_init: %d: %s", result, message.text);
    result = tarn_attach(name, NULL, &pool, &message);
    ck_assert_msg(result == 0, "tarn_attach: %d: %s", result, message.text);
    return pool;
}

static inline struct tarn_pool *attach_pool(const char *name)
{
    struct tarn_message message = {""};
    struct tarn_pool *pool;
    int result = tarn_attach(name, NULL, &pool, &message);

    ck_assert_msg(result == 0, "tarn_attach: %d: %s", result, message.text);
    return pool;
}

/* `tarn writer NAME` in a process of its own; returns once it serves. */
static inline pid_t start_writer(const char *name, struct tarn_session *session)
{
    const char *command = getenv("TARN");
    pid_t pid;
    int result = -ENOTCONN;

    if (command == NULL || !exists(command))
        test_skip("there is no command: TARN says '%s'", command == NULL ? "" : command);
    pid = fork();
    if (pid == 0) {
        execl(command, command, "writer", name, (char *)NULL);
        _exit(127);
    }
    for (int i = 0; i < 500 && result == -ENOTCONN; i++) {
        sleep_ms(10);
        result = tarn_flush_all(session);
    }
    assert_ok(session, result);
    return pid;
}

/* SIGTERM, as a user ends it; it leaves with 0. */
static inline void stop_writer(pid_t pid)
{
    int status;

    kill(pid, SIGTERM);
#ifdef __SANITIZE_THREAD__
    /* ThreadSanitizer keeps a signal back until a call that it knows; the ring's are none. */
    while (waitpid(pid, &status, WNOHANG) == 0) {
        sleep_ms(50);
        kill(pid, SIGTERM);
    }
#else
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
#endif
    ck_assert_msg(status == 0, "the writer ended with status %#x", (unsigned)status);
}

/* A file of so many pages. */
static inline uint32_t make_file(struct tarn_session *session, const char *path, uint64_t pages)
{
    uint32_t file;

    assert_ok(session, tarn_file_open(session, path, TARN_FILE_CREATE, &file));
    assert_ok(session, tarn_file_extend(session, file, pages));
    return file;
}

/* Fills a page with a byte, in a mini-transaction of its own. */
static inline void fill_page(struct tarn_session *session, struct tarn_page_id id, int byte)
{
    struct tarn_writable_page page;

    assert_ok(session, tarn_mtr_begin(session, 1));
    assert_ok(session, tarn_mtr_write(session, id, -1, &page));
    memset(page.data, byte, PAGE_BYTES);
    ck_assert_int_eq(tarn_mtr_commit(session, 0), 1);
}

static inline bool filled_with(const void *data, int byte)
{
    const uint8_t *bytes = data;

    for (unsigned i = 0; i < PAGE_BYTES; i++)
        if (bytes[i] != byte)
            return false;
    return true;
}

/* The page as the pool has it holds nothing but this byte. */
static inline bool page_has(struct tarn_session *session, struct tarn_page_id id, int byte)
{
    uint8_t copy[PAGE_BYTES];

    assert_ok(session, tarn_page_copy(session, id, 0, PAGE_BYTES, copy));
    return filled_with(copy, byte);
}

/* The same on disk. */
static inline bool disk_has(const char *path, uint64_t number, int byte)
{
    uint8_t copy[PAGE_BYTES];
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t length = pread(fd, copy, PAGE_BYTES, (off_t)(number * PAGE_BYTES));

    ck_assert_msg(length == PAGE_BYTES, "pread of page %llu of %s: %zd", (unsigned long long)number,
                  path, length);
    close(fd);
    return filled_with(copy, byte);
}

/* The child ended by itself, with 0. */
static inline void assert_ends_well(pid_t pid)
{
    int status;

    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert_msg(status == 0, "the child ended with status %#x", (unsigned)status);
}

static inline void pause_check(void *context)
{
    (void)context;
    sleep_ms(2);
}

static inline void report_violation(void *context, const struct tarn_violation *violation)
{
    (void)context;
    printf("# %s: %s", tarn_rules[violation->rule].name, tarn_rules[violation->rule].text);
    for (int i = 0; i < TARN_VIOLATION_VALUES && violation->value[i].name != NULL; i++)
        printf(" %s=%#llx", violation->value[i].name,
               (unsigned long long)violation->value[i].value);
    printf("\n");
    fflush(stdout);
}

/* No rule of the segment is broken. */
static inline void assert_consistent(struct tarn_pool *pool)
{
    struct tarn_check_options options = {.pause = pause_check};

    ck_assert_int_eq(tarn_check_view(&pool->view, &options, report_violation, NULL), 0);
}

/* What most tests use: a pool in test_path("pool"), its writer on a thread, and a file "data" in
 * it. tarn_init() makes the directory, under the test's name, so that a segment that a failed test
 * leaves is removed with it. */
enum { FRAMES = 64, PAGES = 128 };

static __attribute__((unused)) struct tarn_pool *pool;
static __attribute__((unused)) struct tarn_session *session;
static __attribute__((unused)) uint32_t file;

static inline void begin_with_pool(void)
{
    ck_assert_int_eq(tarn_detach(init_pool(test_pool_name(), test_path("pool"), FRAMES, 8)), 0);
    pool = open_pool(test_path("pool"), FRAMES, &session);
    file = make_file(session, "data", PAGES);
}

static inline void end_with_pool(void)
{
    assert_consistent(pool);
    ck_assert_int_eq(tarn_detach(pool), 0);
}

static inline struct tarn_page_id page(uint64_t number)
{
    return tarn_page_id(file, number);
}

static inline const char *file_path(const char *name)
{
    char path[64];

    snprintf(path, sizeof(path), "pool/%s", name);
    return test_path(path);
}

/* The pool has not this page any more, unless somebody holds it. */
static inline void drive_out(struct tarn_page_id id)
{
    uint32_t frame;
    uint64_t word;

    assert_ok(session, tarn_flush_all(session));
    for (int i = 0; i < 10; i++) {
        frame = tarn_table_find(&session->view, id.value, &word);
        if (frame != TARN_NO_FRAME)
            tarn_frame_evict(session, frame);
    }
}

/* Work for a thread. */
struct work {
    pthread_t thread;
    struct tarn_session *session;
    struct tarn_page_id id;
    int32_t wait_ms;
    int result;
    int64_t took_ms;
};

static inline void start_work(struct work *work, void *(*function)(void *),
                              struct tarn_session *worker, struct tarn_page_id id, int32_t wait_ms)
{
    *work = (struct work){.session = worker, .id = id, .wait_ms = wait_ms, .result = 12345};
    ck_assert_int_eq(pthread_create(&work->thread, NULL, function, work), 0);
}

static inline int end_work(struct work *work)
{
    ck_assert_int_eq(pthread_join(work->thread, NULL), 0);
    return work->result;
}

static _Atomic bool stop __attribute__((unused));

static inline void *fill_all_the_time(void *argument)
{
    struct work *work = argument;

    for (int byte = 0; !stop; byte = (byte + 1) % 250)
        fill_page(work->session, work->id, byte);
    return NULL;
}

#endif
