/* SPDX-License-Identifier: MIT */
/* Memory, threads and descriptors run out at one call after the other, in what the world of
 * tests/kill does not have: real backends, embedded pools, policies. Each call fails once; what is
 * left of it is nothing, and the next try succeeds.
 */
#include <glob.h>

#include "lib/io/io.h"
#include "lib/policy/policy.h"
#include "tests/process.h"

/* The call that fails, counted down; 0: none. */
static _Atomic unsigned countdown;
static bool something_fails;

static bool fails(void)
{
    unsigned seen = countdown;

    while (seen != 0)
        if (atomic_compare_exchange_weak(&countdown, &seen, seen - 1))
            return seen == 1;
    return false;
}

void *__real_malloc(size_t bytes);
void *__wrap_malloc(size_t bytes);
void *__wrap_malloc(size_t bytes)
{
    return fails() ? NULL : __real_malloc(bytes);
}

void *__real_calloc(size_t count, size_t bytes);
void *__wrap_calloc(size_t count, size_t bytes);
void *__wrap_calloc(size_t count, size_t bytes)
{
    return fails() ? NULL : __real_calloc(count, bytes);
}

void *__real_realloc(void *block, size_t bytes);
void *__wrap_realloc(void *block, size_t bytes);
void *__wrap_realloc(void *block, size_t bytes)
{
    return fails() ? NULL : __real_realloc(block, bytes);
}

int __real_posix_memalign(void **ret_block, size_t alignment, size_t bytes);
int __wrap_posix_memalign(void **ret_block, size_t alignment, size_t bytes);
int __wrap_posix_memalign(void **ret_block, size_t alignment, size_t bytes)
{
    return fails() ? ENOMEM : __real_posix_memalign(ret_block, alignment, bytes);
}

int __real_pthread_create(pthread_t *ret_thread, const pthread_attr_t *attributes,
                          void *(*function)(void *), void *argument);
int __wrap_pthread_create(pthread_t *ret_thread, const pthread_attr_t *attributes,
                          void *(*function)(void *), void *argument);
int __wrap_pthread_create(pthread_t *ret_thread, const pthread_attr_t *attributes,
                          void *(*function)(void *), void *argument)
{
    return fails() ? EAGAIN : __real_pthread_create(ret_thread, attributes, function, argument);
}

static unsigned count_descriptors(void)
{
    unsigned count = 0;

    for (int fd = 0; fd < 256; fd++)
        count += fcntl(fd, F_GETFD) >= 0;
    return count;
}

/* Calls `work` with each of its calls failing, until it makes fewer. It returns true on success. */
static void fail_each(bool (*work)(void))
{
    unsigned before;
    bool done = false;

    ck_assert(work());
    before = count_descriptors();
    something_fails = true;
    for (unsigned at = 1; !done; at++) {
        ck_assert_uint_lt(at, 10000);
        countdown = at;
        work();
        done = countdown != 0;
        countdown = 0;
        ck_assert_msg(count_descriptors() == before, "call %u leaves a descriptor open", at);
    }
    something_fails = false;
    ck_assert(work());
}

static enum tarn_io_backend backend;

static bool open_backend(void)
{
    struct tarn_io_options options = {.backend = backend, .depth = 4, .file_count = 2};
    struct tarn_io *io = NULL;

    if (tarn_io_open(&options, &io) < 0)
        return false;
    tarn_io_close(io);
    return true;
}

START_TEST(backend_that_cannot_be_had)
{
    backend = (enum tarn_io_backend)_i;
    if (!open_backend())
        test_skip("this backend is refused here");
    fail_each(open_backend);
}
END_TEST

static bool takes_nothing(void *context, uint32_t frame)
{
    (void)context, (void)frame;
    return false;
}

static bool create_policies(void)
{
    const struct tarn_policy_kind *kind;
    bool done = true;

    for (unsigned i = 0; (kind = tarn_policy_kind(i)) != NULL; i++) {
        struct tarn_policy *policy = tarn_policy_create(kind, 16, takes_nothing, NULL);

        done = done && policy != NULL;
        tarn_policy_destroy(policy);
    }
    return done;
}

START_TEST(policy_that_cannot_be_had)
{
    fail_each(create_policies);
}
END_TEST

static bool use_embedded(void)
{
    struct tarn_embedded_options options = {
        .size = sizeof(options), .frame_bytes = 32 * PAGE_BYTES, .session_count = 2};
    struct tarn_page_id ids[8];
    struct tarn_pool *own;
    struct tarn_session *worker;
    uint32_t data;
    /* A writer that has not come up is not waited for long. */
    struct tarn_session_options waits = {.size = sizeof(waits),
                                         .writer_wait_ms = something_fails ? 50 : 0};
    int result = tarn_open_embedded(&options, &own, &worker, NULL);

    if (result < 0)
        return false;
    result = tarn_session_open(own, &waits, &worker);
    if (result == 0)
        result = tarn_file_open(worker, "data", TARN_FILE_CREATE, &data);
    if (result == 0)
        result = tarn_file_extend(worker, data, 16);
    for (unsigned i = 0; i < 8; i++)
        ids[i] = tarn_page_id(data, i);
    if (result == 0)
        result = tarn_prefetch(worker, ids, 8);
    if (result >= 0)
        result = tarn_flush_all(worker);
    /* Whatever was refused, a pool can be left. */
    tarn_detach(own);
    return result == 0;
}

START_TEST(embedded_pool_that_cannot_be_had)
{
    char pattern[64];
    glob_t left;

    setenv("TMPDIR", test_dir(), 1);
    fail_each(use_embedded);
    ck_assert_int_eq(rmdir(test_dir()), 0);
    snprintf(pattern, sizeof(pattern), "/dev/shm/tarn.embedded-%d-*", (int)getpid());
    ck_assert_int_eq(glob(pattern, 0, NULL, &left), GLOB_NOMATCH);
}
END_TEST

void test_suite(Suite *suite)
{
    TCase *tcase = test_case(suite, "scarce", 100);

    tcase_add_loop_test(tcase, backend_that_cannot_be_had, TARN_IO_URING, TARN_IO_THREADS + 1);
    tcase_add_test(tcase, policy_that_cannot_be_had);
    tcase_add_test(tcase, embedded_pool_that_cannot_be_had);
}
