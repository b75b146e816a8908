/* SPDX-License-Identifier: MIT */
/* Memory, threads, descriptors and the kernel's patience run out at one call after the other, in
 * what the world of tests/kill does not have: real backends, embedded pools, policies. Each call
 * fails once; what is left of it is nothing, and the next try succeeds.
 */
#include <ftw.h>
#include <glob.h>
#include <limits.h>

#include "lib/directory.h"
#include "lib/io/io.h"
#include "lib/policy/policy.h"
#include "tests/calls.h"
#include "tests/process.h"

static bool something_fails;
static const char *place;

/* libcheck would need memory for it. */
#define must(condition)                                                                            \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            calls_end();                                                                           \
            ck_abort_msg("%s", #condition);                                                        \
        }                                                                                          \
    } while (0)

static unsigned entry_count;

static int count_entry(const char *path, const struct stat *status, int type, struct FTW *ftw)
{
    (void)path, (void)status, (void)type, (void)ftw;
    entry_count++;
    return 0;
}

/* Files in the test's directory, and segments of its pools. */
static unsigned count_files(void)
{
    char pattern[128];
    glob_t found;

    entry_count = 0;
    nftw(test_dir(), count_entry, 8, FTW_PHYS);
    snprintf(pattern, sizeof(pattern), "/dev/shm/tarn.%s*", test_pool_name());
    glob(pattern, 0, NULL, &found);
    snprintf(pattern, sizeof(pattern), "/dev/shm/tarn.embedded-%d-*", (int)getpid());
    glob(pattern, GLOB_APPEND, NULL, &found);
    entry_count += (unsigned)found.gl_pathc;
    globfree(&found);
    return entry_count;
}

static void remove_segments(void)
{
    char pattern[128];
    glob_t found;

    snprintf(pattern, sizeof(pattern), "/dev/shm/tarn.embedded-%d-*", (int)getpid());
    if (glob(pattern, 0, NULL, &found) != 0)
        return;
    for (size_t i = 0; i < found.gl_pathc; i++)
        unlink(found.gl_pathv[i]);
    globfree(&found);
}

/* Calls that remove something; a lock file that cannot be locked stays where it is, since somebody
 * else may have locked it; and what seems to be another's is not removed. */
static bool may_leave_files(const char *name)
{
    static const char *const names[] = {"unlink", "unlinkat", "rmdir", "fcntl64",
                                        "inode",  "device",   "type"};

    for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (strcmp(name, names[i]) == 0)
            return true;
    return false;
}

static void assert_nothing_left(unsigned at, struct holdings before, unsigned *files)
{
    struct holdings after = calls_holdings();
    const char *name = calls.refused;

    ck_assert_msg(after.descriptors == before.descriptors, "call %u, %s, leaves a descriptor open",
                  at, name);
    ck_assert_msg(after.mappings == before.mappings, "call %u, %s, leaves a mapping", at, name);
    unsigned count = count_files();
    ck_assert_msg(may_leave_files(name) || count <= *files, "call %u, %s, leaves a file", at, name);
    if (*files != UINT_MAX)
        *files = count;
}

/* Calls `work` with each of its calls failing, or it and all after it, until it makes fewer. It
 * returns true on success. */
static void fail_each_once_or_for_good(bool (*work)(void), bool stays)
{
    bool happened = true;

    ck_assert(work());
    struct holdings before = calls_holdings();
    unsigned files = stays ? UINT_MAX : count_files();
    something_fails = true;
    for (unsigned at = 1; happened; at++) {
        ck_assert_uint_lt(at, 10000);
        calls.stays = stays;
        calls_fail(NULL, at, 0);
        work();
        happened = calls_end();
        if (happened)
            assert_nothing_left(at, before, &files);
    }
    something_fails = false;
    ck_assert(work());
}

static void fail_each(bool (*work)(void))
{
    fail_each_once_or_for_good(work, false);
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
    setenv("TMPDIR", test_dir(), 1);
    fail_each(use_embedded);
    /* What could not be removed. */
    ck_assert_int_lt(count_files(), 8);
    remove_segments();
}
END_TEST

/* The same pool again and again: what it was told to be durable is there. */
static bool reopen_embedded(void)
{
    static unsigned durable, newest;
    struct tarn_embedded_options options = {.size = sizeof(options),
                                            .directory = place,
                                            .frame_bytes = 32 * PAGE_BYTES,
                                            .session_count = 2};
    struct tarn_session_options waits = {.size = sizeof(waits), .writer_wait_ms = 50};
    struct tarn_writable_page page;
    struct tarn_session *worker;
    struct tarn_pool *own;
    uint32_t data;
    unsigned copy;
    int result = tarn_open_embedded(&options, &own, &worker, NULL);

    if (result < 0)
        return false;
    if (something_fails)
        result = tarn_session_open(own, &waits, &worker);
    if (result == 0)
        result = tarn_file_open(worker, "data", TARN_FILE_CREATE, &data);
    if (result == 0)
        result = tarn_file_extend(worker, data, 1);
    if (result == 0)
        result = tarn_page_copy(worker, tarn_page_id(data, 0), 0, sizeof(copy), &copy);
    must(result != 0 || (copy >= durable && copy <= newest));
    if (result == 0)
        result = tarn_mtr_begin(worker, 1);
    if (result == 0)
        result = tarn_mtr_write(worker, tarn_page_id(data, 0), -1, &page);
    if (result == 0) {
        *(unsigned *)page.data = ++newest;
        result = tarn_mtr_commit(worker, TARN_COMMIT_FLUSH);
        durable = result == 0 ? newest : durable;
    }
    /* Another file of the same number: the descriptor is another's. */
    for (unsigned i = 0; result == 0 && i < 2; i++) {
        result = tarn_file_open(worker, "short", TARN_FILE_CREATE, &data);
        if (result == 0)
            result = tarn_file_extend(worker, data, 1);
        if (result == 0)
            result = tarn_page_copy(worker, tarn_page_id(data, 0), 0, sizeof(copy), &copy);
        must(result != 0 || copy == 0);
        if (result == 0)
            result = tarn_file_drop(worker, data, 0, -1);
    }
    if (result < 0 && !something_fails)
        printf("# %d: %s\n", result, tarn_session_message(worker));
    return tarn_detach(own) == 0 && result == 0;
}

START_TEST(pool_of_a_directory_that_cannot_be_had)
{
    place = test_path("pool");
    fail_each(reopen_embedded);
}
END_TEST

/* Nothing fails while this is called. What is there may be a pool, a closed one, or no more than
 * some files in its directory. */
static void remove_pool(void)
{
    const char *name = test_pool_name();

    int result = tarn_segment_build(place, NULL, NULL, NULL);
    must(result == 0 || result == -EEXIST || !exists(test_path("pool/options")));
    result = tarn_destroy(name, NULL, TARN_DESTROY_DATA, NULL);
    must(result == 0 || (result == -ENOENT && !exists(test_path("pool/options"))));
    unlink(test_path("pool/lock"));
    rmdir(place);
}

static int make_pool(struct tarn_pool **ret_pool)
{
    struct tarn_init_options options = {.size = sizeof(options),
                                        .directory = place,
                                        .frame_bytes = 32 * PAGE_BYTES,
                                        .session_count = 2};
    int result = tarn_init(test_pool_name(), &options, NULL);

    return result < 0 ? result : tarn_attach(test_pool_name(), NULL, ret_pool, NULL);
}

/* From nothing to nothing. */
static bool live_and_die(void)
{
    struct tarn_session *worker;
    struct tarn_pool *handle;
    int result = make_pool(&handle);

    if (result == 0) {
        result = tarn_session_open(handle, NULL, &worker);
        must(tarn_detach(handle) == 0);
    }
    if (result == 0)
        result = tarn_destroy(test_pool_name(), NULL, TARN_DESTROY_DATA, NULL);
    calls.countdown = 0;
    bool is_there = exists(test_path("pool/options"));
    if (result < 0 || is_there)
        remove_pool();
    return result == 0 && !is_there;
}

START_TEST(pool_that_cannot_be_made_or_destroyed)
{
    place = test_path("pool");
    fail_each_once_or_for_good(live_and_die, _i != 0);
}
END_TEST

/* A segment of another boot. */
static bool destroy_leftover(void)
{
    unsigned at = calls.countdown;
    union {
        struct tarn_superblock superblock;
        uint8_t bytes[TARN_PAGE_BYTES_MIN];
    } first;
    char path[128];
    struct tarn_pool *handle;

    calls.countdown = 0;
    must(make_pool(&handle) == 0 && tarn_detach(handle) == 0);
    snprintf(path, sizeof(path), "/dev/shm/tarn.%s", test_pool_name());
    int fd = open(path, O_RDWR | O_CLOEXEC);
    must(pread(fd, &first, sizeof(first), 0) == sizeof(first));
    first.superblock.boot_id[0] ^= 1;
    first.superblock.checksum = tarn_superblock_checksum(&first);
    must(pwrite(fd, &first, sizeof(first), 0) == sizeof(first));
    close(fd);
    calls.countdown = at;
    int result = tarn_destroy(test_pool_name(), NULL, TARN_DESTROY_DATA, NULL);
    calls.countdown = 0;
    bool is_there = exists(path) || exists(test_path("pool/options"));
    if (result < 0 || is_there)
        remove_pool();
    return result == 0 && !is_there;
}

START_TEST(leftover_that_cannot_be_destroyed)
{
    place = test_path("pool");
    fail_each(destroy_leftover);
}
END_TEST

void test_suite(Suite *suite)
{
    TCase *tcase = test_case(suite, "scarce", 100);

    tcase_add_loop_test(tcase, backend_that_cannot_be_had, TARN_IO_URING, TARN_IO_THREADS + 1);
    tcase_add_test(tcase, policy_that_cannot_be_had);
    tcase_add_test(tcase, embedded_pool_that_cannot_be_had);
    tcase_add_test(tcase, pool_of_a_directory_that_cannot_be_had);
    tcase_add_loop_test(tcase, pool_that_cannot_be_made_or_destroyed, 0, 2);
    tcase_add_test(tcase, leftover_that_cannot_be_destroyed);
}
