/* SPDX-License-Identifier: MIT */
/* Where pools live: directories that are given, made, temporary or wrong; what is left. */
#include <sys/resource.h>

#include "lib/check.h"
#include "lib/directory.h"
#include "lib/io/io.h"
#include "tests/process.h"

static struct tarn_message message;

static const char *segment_path(void)
{
    static char path[1024];

    snprintf(path, sizeof(path), "/dev/shm/tarn.%s", test_pool_name());
    return path;
}

static int open_in(const char *directory)
{
    struct tarn_embedded_options options = {
        .size = sizeof(options), .directory = directory, .frame_bytes = FRAMES * PAGE_BYTES};

    message = (struct tarn_message){""};
    return tarn_open_embedded(&options, &pool, &session, &message);
}

/* Embedded pools. */

START_TEST(temporary_pool_is_where_the_environment_says)
{
    static const char *const elsewhere[] = {NULL, "", "relative"};
    struct tarn_pool_info info = {.size = sizeof(info)};

    for (unsigned i = 0; i < sizeof(elsewhere) / sizeof(elsewhere[0]); i++) {
        if (elsewhere[i] == NULL)
            unsetenv("TMPDIR");
        else
            setenv("TMPDIR", elsewhere[i], 1);
        ck_assert_int_eq(tarn_open_embedded(NULL, &pool, &session, NULL), 0);
        ck_assert_int_eq(tarn_pool_info(pool, &info), 0);
        ck_assert(strncmp(info.directory, "/tmp/tarn-", 10) == 0);
        ck_assert_int_eq(tarn_detach(pool), 0);
    }
    setenv("TMPDIR", test_path("none"), 1);
    ck_assert_int_eq(tarn_open_embedded(NULL, &pool, &session, NULL), -ENOENT);
    ck_assert_int_eq(open_in(NULL), -ENOENT);
    ck_assert(says(message.text, "none"));
}
END_TEST

START_TEST(temporary_pool_that_cannot_be_made_leaves_nothing)
{
    struct tarn_embedded_options options = {.size = sizeof(options), .page_bytes = 3};

    setenv("TMPDIR", test_dir(), 1);
    ck_assert_int_eq(tarn_open_embedded(&options, &pool, &session, &message), -EINVAL);
    ck_assert_int_eq(rmdir(test_dir()), 0);
}
END_TEST

START_TEST(directory_of_an_embedded_pool_cannot_be_had)
{
    static char path[2 * TARN_PATH_BYTES];
    int fd = open(test_path("plain"), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

    memset(path, 'x', sizeof(path) - 1);
    ck_assert_int_eq(open_in(path), -EINVAL);
    ck_assert_int_eq(open_in(test_path("no/such")), -ENOENT);
    ck_assert_int_eq(open_in(test_path("plain")), -ENOTDIR);
    close(fd);
    ck_assert_int_eq(mkdir(test_path("damaged"), 0700), 0);
    fd = open(test_path("damaged/options"), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    close(fd);
    ck_assert_int_lt(open_in(test_path("damaged")), 0);
}
END_TEST

START_TEST(second_writer_of_an_embedded_pool)
{
    struct tarn_pool *first;

    begin_with_pool();
    first = pool;
    ck_assert_int_lt(open_in(test_path("pool")), 0);
    ck_assert_int_lt(
        tarn_open_embedded(
            &(struct tarn_embedded_options){.size = sizeof(struct tarn_embedded_options),
                                            .directory = test_path("pool")},
            &pool, &session, NULL),
        0);
    ck_assert_int_eq(tarn_detach(first), 0);
}
END_TEST

/* All that a child must not use is closed: reads ahead, and the watch of another process. */
static void attach_and_wait(void *argument)
{
    open_session(attach_pool(argument));
    pause();
}

START_TEST(child_of_a_busy_process)
{
    char name[64];
    struct tarn_page_id ids[16];
    pid_t other, child;

    begin_with_pool();
    snprintf(name, sizeof(name), "%s", pool->name);
    other = start_process(attach_and_wait, name);
    wait_until(slot_of_process(pool, other) != 0);
    for (unsigned i = 0; i < 16; i++)
        ids[i] = page(i);
    assert_ok(session, tarn_prefetch(session, ids, 16));
    assert_ok(session, tarn_flush_all(session));
    sleep_ms(20);
    child = fork();
    if (child == 0)
        _exit(tarn_flush_all(session) != -ECHILD || tarn_detach(pool) < -ECHILD);
    assert_ends_well(child);
    fill_page(session, page(1), 'a');
    kill_process(other);
    end_with_pool();
}
END_TEST

/* Pools of several processes. */

START_TEST(arguments_of_places)
{
    static char path[2 * TARN_PATH_BYTES];
    struct tarn_init_options options = {.size = sizeof(options), .mode = 0400};
    struct tarn_attach_options attach = {.size = sizeof(attach), .shm_directory = path};
    struct tarn_pool *handle;

    memset(path, 'x', sizeof(path) - 1);
    options.directory = test_path("pool");
    ck_assert_int_eq(tarn_init(test_pool_name(), &options, &message), -EINVAL);
    options.mode = 0777;
    ck_assert_int_eq(tarn_init(test_pool_name(), &options, &message), -EINVAL);
    options.mode = 0600;
    options.directory = path;
    ck_assert_int_eq(tarn_init(test_pool_name(), &options, &message), -EINVAL);
    options.directory = test_path("no/such");
    ck_assert_int_eq(tarn_init(test_pool_name(), &options, &message), -ENOENT);
    options.directory = test_path("pool");
    options.shm_directory = path;
    ck_assert_int_eq(tarn_init(test_pool_name(), &options, &message), -EINVAL);
    ck_assert_int_eq(tarn_attach(test_pool_name(), &attach, &handle, &message), -EINVAL);
    ck_assert(!exists(test_path("pool")));

    ck_assert_int_eq(tarn_segment_build(test_path("none"), NULL, NULL, &message), -ENOENT);
    close(open(test_path("plain"), O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
    ck_assert_int_eq(tarn_segment_build(test_path("plain"), NULL, NULL, &message), -ENOTDIR);
    ck_assert_int_eq(tarn_segment_build(test_dir(), NULL, NULL, &message), -ENOTDIR);
    ck_assert_int_eq(tarn_detach(init_pool(test_pool_name(), test_path("pool"), FRAMES, 4)), 0);
    ck_assert_int_eq(tarn_segment_build(test_path("pool"), NULL, path, &message), -EINVAL);
}
END_TEST

/* All defaults: 64 MiB, beside the program. */
START_TEST(pool_without_options)
{
    char directory[128];

    ck_assert_int_eq(chdir(test_dir()), 0);
    ck_assert_int_eq(tarn_init(test_pool_name(), NULL, &message), 0);
    snprintf(directory, sizeof(directory), "%s.tarn", test_pool_name());
    ck_assert(exists(directory));
    ck_assert_int_eq(tarn_destroy(test_pool_name(), NULL, TARN_DESTROY_DATA, &message), 0);
    ck_assert(!exists(directory));
    ck_assert_int_eq(chdir("/"), 0);
}
END_TEST

/* The segment says that it is of another boot, or of another opening of its directory. */
static void make_leftover(bool of_another_boot)
{
    union {
        struct tarn_superblock superblock;
        uint8_t bytes[TARN_PAGE_BYTES_MIN];
    } first;
    int fd = open(segment_path(), O_RDWR | O_CLOEXEC);

    ck_assert_int_eq(pread(fd, &first, sizeof(first), 0), sizeof(first));
    if (of_another_boot)
        first.superblock.boot_id[0] ^= 1;
    else
        first.superblock.recovery_number--;
    first.superblock.checksum = tarn_superblock_checksum(&first);
    ck_assert_int_eq(pwrite(fd, &first, sizeof(first), 0), sizeof(first));
    close(fd);
}

static int destroy_it(unsigned flags)
{
    message = (struct tarn_message){""};
    return tarn_destroy(test_pool_name(), NULL, flags, &message);
}

START_TEST(leftover_of_another_boot_is_destroyed)
{
    ck_assert_int_eq(tarn_detach(init_pool(test_pool_name(), test_path("pool"), FRAMES, 4)), 0);
    make_leftover(true);
    ck_assert_int_eq(destroy_it(TARN_DESTROY_DATA), 0);
    ck_assert(!exists(segment_path()) && !exists(test_path("pool")));
}
END_TEST

START_TEST(leftover_without_its_directory_is_destroyed)
{
    ck_assert_int_eq(tarn_detach(init_pool(test_pool_name(), test_path("pool"), FRAMES, 4)), 0);
    ck_assert_int_eq(rename(test_path("pool"), test_path("moved")), 0);
    make_leftover(true);
    ck_assert_int_eq(destroy_it(0), 0);
    ck_assert(!exists(segment_path()) && exists(test_path("moved")));
}
END_TEST

START_TEST(leftover_that_somebody_uses_is_not_destroyed)
{
    pool = init_pool(test_pool_name(), test_path("pool"), FRAMES, 4);
    make_leftover(true);
    /* Attached, but nobody in it: the directory's lock is held. */
    ck_assert_int_eq(destroy_it(0), -EBUSY);
    session = open_session(pool);
    ck_assert_int_eq(destroy_it(0), -EBUSY);
    ck_assert(says(message.text, "still attached"));
    ck_assert(exists(segment_path()));
    ck_assert_int_eq(destroy_it(TARN_DESTROY_FORCE), 0);
    ck_assert(!exists(segment_path()));
}
END_TEST

START_TEST(data_files_outside_of_the_directory_stay)
{
    static const char *const names[] = {"inside", "sub/inside", "../beside", "sub/../dots"};
    char path[1024];
    pid_t writer;

    pool = init_pool(test_pool_name(), test_path("pool"), FRAMES, 4);
    ck_assert_int_eq(mkdir(test_path("pool/sub"), 0700), 0);
    session = open_session(pool);
    writer = start_writer(test_pool_name(), session);
    for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        make_file(session, names[i], 1);
    snprintf(path, sizeof(path), "%s", test_path("absolute"));
    make_file(session, path, 1);
    ck_assert_int_eq(tarn_detach(pool), 0);
    stop_writer(writer);
    ck_assert_int_eq(destroy_it(TARN_DESTROY_DATA), 0);
    ck_assert(!exists(test_path("pool/inside")) && !exists(test_path("pool/sub/inside")));
    ck_assert(exists(test_path("beside")) && exists(test_path("absolute")));
    ck_assert(exists(test_path("pool/dots")));
}
END_TEST

START_TEST(data_file_that_cannot_be_removed)
{
    pid_t writer;

    pool = init_pool(test_pool_name(), test_path("pool"), FRAMES, 4);
    session = open_session(pool);
    writer = start_writer(test_pool_name(), session);
    make_file(session, "data", 1);
    make_file(session, "gone", 1);
    ck_assert_int_eq(tarn_detach(pool), 0);
    stop_writer(writer);
    ck_assert_int_eq(unlink(test_path("pool/gone")), 0);
    ck_assert_int_eq(unlink(test_path("pool/data")), 0);
    ck_assert_int_eq(mkdir(test_path("pool/data"), 0700), 0);
    ck_assert_int_eq(destroy_it(TARN_DESTROY_DATA), -EISDIR);
    ck_assert(says(message.text, "data"));
    ck_assert(exists(test_path("pool/options")));
}
END_TEST

/* Deeper than paths go; in the end nothing is left of it. */
START_TEST(directory_that_is_too_deep)
{
    char name[201];
    int depth = 0;

    memset(name, 'd', sizeof(name) - 1);
    name[sizeof(name) - 1] = 0;
    ck_assert_int_eq(tarn_detach(init_pool(test_pool_name(), test_path("pool"), FRAMES, 4)), 0);
    ck_assert_int_eq(chdir(test_path("pool")), 0);
    for (; depth < 6; depth++) {
        ck_assert_int_eq(mkdir(name, 0700), 0);
        ck_assert_int_eq(chdir(name), 0);
    }
    ck_assert_int_eq(tarn_segment_build(".", NULL, NULL, &message), -EINVAL);
    ck_assert(says(message.text, "too long"));
    struct tarn_init_options options = {.size = sizeof(options), .directory = "."};
    ck_assert_int_eq(tarn_init("too-deep", &options, &message), -EINVAL);
    ck_assert(says(message.text, "too long"));
    for (; depth > 0; depth--) {
        ck_assert_int_eq(chdir(".."), 0);
        ck_assert_int_eq(rmdir(name), 0);
    }
    ck_assert_int_eq(chdir("/"), 0);
}
END_TEST

/* Two handles, closed in the order of their opening; and calls with none. */
START_TEST(handles_come_and_go)
{
    struct tarn_pool_info info = {.size = sizeof(info)};
    struct tarn_pool *second;

    pool = init_pool(test_pool_name(), test_path("pool"), FRAMES, 4);
    second = attach_pool(test_pool_name());
    ck_assert_int_eq(tarn_detach(pool), 0);
    ck_assert_int_eq(tarn_pool_info(second, &info), 0);
    ck_assert_int_eq(tarn_detach(second), 0);
    ck_assert_int_eq(tarn_pool_info(NULL, &info), -EBADF);
    ck_assert_int_eq(tarn_attach(NULL, NULL, NULL, &message), -EINVAL);
    ck_assert_int_eq(tarn_session_close(NULL), 0);
}
END_TEST

/* A process was killed, and its data file is not what it was; then it is. */
static void die_embedded(void *argument)
{
    pool = open_pool(argument, FRAMES, &session);
    file = make_file(session, "data", PAGES);
    fill_page(session, page(3), 'k');
    kill(getpid(), SIGKILL);
}

START_TEST(data_file_that_is_away_for_a_while)
{
    int status;
    pid_t child;

    ck_assert_int_eq(tarn_detach(init_pool(test_pool_name(), test_path("pool"), FRAMES, 8)), 0);
    child = start_process(die_embedded, (void *)(uintptr_t)test_path("pool"));
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert(WIFSIGNALED(status));
    ck_assert_int_eq(rename(file_path("data"), file_path("away")), 0);
    ck_assert_int_eq(open_in(test_path("pool")), 0);
    file = 1;
    assert_fails(session, -EBADFD, "data", tarn_page_copy(session, page(4), 0, 1, &(char){0}));
    ck_assert_int_lt(tarn_file_open(session, "data", 0, &file), 0);
    ck_assert_int_eq(rename(file_path("away"), file_path("data")), 0);
    assert_ok(session, tarn_file_open(session, "data", 0, &file));
    ck_assert_uint_eq(file, 1);
    ck_assert(page_has(session, page(3), 'k') && page_has(session, page(4), 0));
    assert_ok(session, tarn_flush_all(session));
    ck_assert(disk_has(file_path("data"), 3, 'k'));
    end_with_pool();
}
END_TEST

START_TEST(file_of_many_pages_is_cut)
{
    enum { MANY_FRAMES = 4500, MANY_PAGES = 4400 };
    uint64_t left;

    session = NULL;
    pool = open_pool(test_path("pool"), MANY_FRAMES, &session);
    file = make_file(session, "data", MANY_PAGES);
    for (unsigned i = 0; i < MANY_PAGES; i++)
        ck_assert(page_has(session, page(i), 0));
    assert_ok(session, tarn_file_truncate(session, file, 1, -1));
    assert_ok(session, tarn_file_page_count(session, file, &left));
    ck_assert_uint_eq(left, 1);
    assert_fails(session, -ERANGE, "page 1", tarn_page_copy(session, page(1), 0, 1, &(char){0}));
    end_with_pool();
}
END_TEST

/* What is asked of the kernel. */

START_TEST(stopped_process_is_told_from_others)
{
    struct tarn_slot *shared;
    char name[64];
    unsigned slot;
    pid_t other;

    begin_with_pool();
    snprintf(name, sizeof(name), "%s", pool->name);
    other = start_process(attach_and_wait, name);
    wait_until((slot = slot_of_process(pool, other)) != 0);
    shared = tarn_view_slot(&pool->view, slot);
    ck_assert(!tarn_stopped_by_kernel(pool, slot));
    stop_process(other);
    ck_assert(tarn_stopped_by_kernel(pool, slot));
    uint64_t namespace = tarn_load_relaxed(&shared->pid_namespace);
    tarn_store_relaxed(&shared->pid_namespace, namespace + 1);
    ck_assert(!tarn_stopped_by_kernel(pool, slot));
    tarn_store_relaxed(&shared->pid_namespace, namespace);
    kill_process(other);
    ck_assert(!tarn_stopped_by_kernel(pool, slot));
    ck_assert_int_eq(tarn_check_pool(NULL, report_violation, NULL), -EBADF);
    end_with_pool();
}
END_TEST

START_TEST(no_descriptor_is_left)
{
    static const enum tarn_io_backend backends[] = {TARN_IO_URING, TARN_IO_THREADS};
    struct rlimit before, none = {3, 3};

    ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &before), 0);
    none.rlim_max = before.rlim_max;
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &none), 0);
    for (unsigned i = 0; i < 2; i++) {
        struct tarn_io_options options = {.backend = backends[i], .depth = 4, .file_count = 1};
        struct tarn_io *io = NULL;

        ck_assert_int_lt(tarn_io_open(&options, &io), 0);
        ck_assert_ptr_null(io);
    }
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &before), 0);
}
END_TEST

void test_suite(Suite *suite)
{
    TCase *embedded = test_case(suite, "embedded", 30);
    TCase *shared = test_case(suite, "shared", 60);
    TCase *kernel = test_case(suite, "kernel", 30);

    tcase_add_test(embedded, temporary_pool_is_where_the_environment_says);
    tcase_add_test(embedded, temporary_pool_that_cannot_be_made_leaves_nothing);
    tcase_add_test(embedded, directory_of_an_embedded_pool_cannot_be_had);
    tcase_add_test(embedded, second_writer_of_an_embedded_pool);
    tcase_add_test(embedded, child_of_a_busy_process);
    tcase_add_test(shared, arguments_of_places);
    tcase_add_test(shared, pool_without_options);
    tcase_add_test(shared, leftover_of_another_boot_is_destroyed);
    tcase_add_test(shared, leftover_without_its_directory_is_destroyed);
    tcase_add_test(shared, leftover_that_somebody_uses_is_not_destroyed);
    tcase_add_test(shared, data_files_outside_of_the_directory_stay);
    tcase_add_test(shared, data_file_that_cannot_be_removed);
    tcase_add_test(shared, directory_that_is_too_deep);
    tcase_add_test(shared, handles_come_and_go);
    tcase_add_test(shared, data_file_that_is_away_for_a_while);
    tcase_add_test(shared, file_of_many_pages_is_cut);
    tcase_add_test(kernel, stopped_process_is_told_from_others);
    tcase_add_test(kernel, no_descriptor_is_left);
}
