/* SPDX-License-Identifier: MIT */
/* What a pool does without the kernel, and without io_uring. */
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/syscall.h>

#include "lib/check.h"
#include "tests/process.h"

enum { ROUNDS = 20000, HELD_PAGES = 16 };

#define LOAD_SYSTEM_CALL                                                                           \
    BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (uint32_t)offsetof(struct seccomp_data, nr))
#define IF_CALLED(number, action)                                                                  \
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)(number), 0, 1),                                 \
        BPF_STMT(BPF_RET | BPF_K, (uint32_t)(action))

static bool install_filter(struct sock_filter *filter, size_t count)
{
    struct sock_fprog program = {(unsigned short)count, filter};

    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
           prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

/* From here on any system call but the end of the process kills it. */
static void forbid_system_calls(void)
{
    struct sock_filter filter[] = {
        LOAD_SYSTEM_CALL,
        IF_CALLED(SYS_exit_group, SECCOMP_RET_ALLOW),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
    };

    if (!install_filter(filter, sizeof filter / sizeof filter[0]))
        _exit(1);
}

static void ask_the_time(void *argument)
{
    (void)argument;
    forbid_system_calls();
    _exit(tarn_now_ns() == 0);
}

/* The clock is read without the kernel nearly everywhere; a sanitizer calls it when it likes. */
static void skip_where_it_cannot_be_told(void)
{
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    test_skip("sanitizers make system calls");
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
    test_skip("sanitizers make system calls");
#endif
#endif
    int status;
    pid_t pid = start_process(ask_the_time, NULL);

    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    if (WIFSIGNALED(status))
        test_skip("reading the clock is a system call here");
}

struct hit {
    char name[64];
    uint32_t file;
    int (*round)(struct tarn_session *own, const struct tarn_page_id *ids, unsigned round);
};

static struct hit hit;

static void run_rounds(void *argument)
{
    struct hit *what = argument;
    struct tarn_pool *mine = attach_pool(what->name);
    struct tarn_session *own = open_session(mine);
    struct tarn_page_id ids[HELD_PAGES];

    for (unsigned i = 0; i < HELD_PAGES; i++)
        ids[i] = tarn_page_id(what->file, i);
    /* What comes once: pages are read, holds marked, frames to keep old bytes in reserved. */
    for (unsigned round = 0; round < 100; round++)
        if (what->round(own, ids, round) < 0)
            _exit(2);
    forbid_system_calls();
    for (unsigned round = 0; round < ROUNDS; round++)
        if (what->round(own, ids, round) < 0)
            _exit(3);
    _exit(0);
}

static void begin_hit(void)
{
    skip_where_it_cannot_be_told();
    begin_with_pool();
    snprintf(hit.name, sizeof hit.name, "%s", pool->name);
    hit.file = file;
}

static void assert_calls_nothing(int (*round)(struct tarn_session *, const struct tarn_page_id *,
                                              unsigned))
{
    int status;
    pid_t pid;

    hit.round = round;
    pid = start_process(run_rounds, &hit);
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert_msg(!WIFSIGNALED(status) || WTERMSIG(status) != SIGSYS, "it made a system call");
    ck_assert_msg(status == 0, "status %#x", (unsigned)status);
}

static int pin_one(struct tarn_session *own, const struct tarn_page_id *ids, unsigned round)
{
    struct tarn_pin pin;
    int result = tarn_pin(own, ids[round % HELD_PAGES], TARN_HINT_NONE, &pin);

    return result < 0 ? result : tarn_unpin(own, pin);
}

START_TEST(pin_of_a_cached_page_makes_no_system_call)
{
    assert_calls_nothing(pin_one);
}
END_TEST

static int pin_all(struct tarn_session *own, const struct tarn_page_id *ids, unsigned round)
{
    struct tarn_pin pins[HELD_PAGES];
    int result = tarn_pin_many(own, ids, 1 + round % HELD_PAGES, TARN_HINT_KEEP, pins);

    return result < 0 ? result : tarn_unpin_many(own, pins, 1 + round % HELD_PAGES);
}

START_TEST(pin_of_many_makes_no_system_call)
{
    assert_calls_nothing(pin_all);
}
END_TEST

static int share(struct tarn_session *own, const struct tarn_page_id *ids, unsigned round)
{
    struct tarn_pin pin;
    int result = tarn_pin(own, ids[round % HELD_PAGES], TARN_HINT_NONE, &pin);

    if (result == 0)
        result = tarn_latch_shared(own, pin, -1);
    if (result == 0)
        result = tarn_unlatch_shared(own, pin);
    return result < 0 ? result : tarn_unpin(own, pin);
}

START_TEST(shared_latch_makes_no_system_call)
{
    assert_calls_nothing(share);
}
END_TEST

static int read_optimistically(struct tarn_session *own, const struct tarn_page_id *ids,
                               unsigned round)
{
    struct tarn_optimistic optimistic;
    uint8_t bytes[64];
    int result = tarn_optimistic_begin(own, ids[round % HELD_PAGES], &optimistic);

    if (result < 0 || tarn_optimistic_valid(own, &optimistic) != 1)
        return -1;
    return tarn_page_copy(own, ids[round % HELD_PAGES], 8, sizeof bytes, bytes);
}

START_TEST(optimistic_read_makes_no_system_call)
{
    assert_calls_nothing(read_optimistically);
}
END_TEST

/* Declared ranges, whole pages, locks given back, aborts; the bytes that were there stay. */
static int change(struct tarn_session *own, const struct tarn_page_id *ids, unsigned round)
{
    struct tarn_writable_page page;
    struct tarn_locked_page locked;
    int result = tarn_mtr_begin(own, 2);

    if (result == 0)
        result = tarn_mtr_lock(own, ids[round % HELD_PAGES], -1, &locked);
    if (result == 0)
        result = tarn_mtr_release(own, ids[round % HELD_PAGES]);
    if (result == 0)
        result = tarn_mtr_write(own, ids[(round + 1) % HELD_PAGES], -1, &page);
    if (result == 0)
        memset(page.data, 'a', 100);
    if (result == 0)
        result = tarn_mtr_write_range(own, ids[(round + 2) % HELD_PAGES], 8, 8, -1, &page);
    return result < 0 ? result : tarn_mtr_abort(own);
}

START_TEST(mini_transaction_makes_no_system_call)
{
    assert_calls_nothing(change);
}
END_TEST

/* As many commits as there are without a word to the writer. */
static int commit(struct tarn_session *own, const struct tarn_page_id *ids, unsigned round)
{
    struct tarn_writable_page page;
    int result = tarn_mtr_begin(own, 1);

    if (result == 0)
        result = tarn_mtr_write_range(own, ids[round % HELD_PAGES], 8, 8, -1, &page);
    if (result == 0)
        memcpy((uint8_t *)page.data + 8, &round, sizeof round);
    return result < 0 ? result : tarn_mtr_commit(own, 0);
}

static void commit_under_filter(void *argument)
{
    struct hit *what = argument;
    struct tarn_pool *mine = attach_pool(what->name);
    struct tarn_session *own = open_session(mine);
    struct tarn_page_id id = tarn_page_id(what->file, 0);

    for (unsigned round = 0; round < 10; round++)
        if (commit(own, &id, 0) < 0)
            _exit(2);
    own->dirtied = 0;
    forbid_system_calls();
    for (unsigned round = 0; round < 30; round++)
        if (commit(own, &id, 0) < 0)
            _exit(3);
    _exit(0);
}

START_TEST(commit_makes_no_system_call)
{
    assert_ends_well(start_process(commit_under_filter, &hit));
}
END_TEST

/* Without io_uring. */

static void refuse_io_uring(void)
{
    struct sock_filter filter[] = {
        LOAD_SYSTEM_CALL,
        IF_CALLED(SYS_io_uring_setup, SECCOMP_RET_ERRNO | EPERM),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };

    ck_assert(install_filter(filter, sizeof filter / sizeof filter[0]));
}

static void assert_dump_says(const char *section, const char *words)
{
    char line[1024], text[16384];

    snprintf(line, sizeof line, "'%s' dump '%s' --json %s", getenv("TARN"), pool->name, section);
    FILE *out = popen(line, "r");
    ck_assert_ptr_nonnull(out);
    text[fread(text, 1, sizeof text - 1, out)] = 0;
    ck_assert_int_eq(pclose(out), 0);
    ck_assert_msg(strstr(text, words) != NULL, "no '%s' in: %s", words, text);
}

START_TEST(everything_works_where_io_uring_is_refused)
{
    struct tarn_page_id ids[HELD_PAGES];
    struct tarn_pin pins[HELD_PAGES];
    pid_t writer_pid;

    refuse_io_uring();
    pool = init_pool(test_pool_name(), test_path("pool"), FRAMES, 8);
    session = open_session(pool);
    writer_pid = start_tarn_writer(test_pool_name());
    wait_until(writer_process(pool) == writer_pid);
    file = make_file(session, "data", PAGES);
    for (unsigned i = 0; i < PAGES; i++)
        fill_page(session, page(i), 'a' + (int)(i % 20));
    assert_ok(session, tarn_flush_all(session));
    for (unsigned i = 0; i < HELD_PAGES; i++)
        ids[i] = page(i);
    drive_out(page(PAGES - 1));
    assert_ok(session, tarn_prefetch(session, ids, HELD_PAGES));
    assert_ok(session, tarn_pin_many(session, ids, HELD_PAGES, TARN_HINT_SEQUENTIAL, pins));
    for (unsigned i = 0; i < HELD_PAGES; i++)
        ck_assert(filled_with(pins[i].data, 'a' + (int)i));
    assert_ok(session, tarn_unpin_many(session, pins, HELD_PAGES));
    for (unsigned i = 0; i < PAGES; i++)
        ck_assert(disk_has(file_path("data"), i, 'a' + (int)(i % 20)));
    assert_dump_says("options", "\"option\": \"backend\", \"value\": \"threads\"");
    assert_dump_says("options", "\"option\": \"io_uring\", \"value\": \"no: ");
    assert_consistent(pool);
    end_tarn_writer(pool, writer_pid);
    ck_assert_int_eq(tarn_detach(pool), 0);
}
END_TEST

void test_suite(Suite *suite)
{
    TCase *hits = test_case(suite, "hit", 20);
    TCase *refused = test_case(suite, "refused", 20);

    tcase_add_checked_fixture(hits, begin_hit, end_with_pool);
    tcase_add_test(hits, pin_of_a_cached_page_makes_no_system_call);
    tcase_add_test(hits, pin_of_many_makes_no_system_call);
    tcase_add_test(hits, shared_latch_makes_no_system_call);
    tcase_add_test(hits, optimistic_read_makes_no_system_call);
    tcase_add_test(hits, mini_transaction_makes_no_system_call);
    tcase_add_test(hits, commit_makes_no_system_call);
    tcase_add_test(refused, everything_works_where_io_uring_is_refused);
}
