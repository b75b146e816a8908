/* SPDX-License-Identifier: MIT */
/* Each error of tarn.h provoked: its code, a message that names the object, and nothing changed. */
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include "tests/pool.h"

static struct tarn_message message;

static const char *pool_name_of(struct tarn_pool *of)
{
    static struct tarn_pool_info info;

    info.size = sizeof(info);
    ck_assert_int_eq(tarn_pool_info(of, &info), 0);
    return info.name;
}

/* Pools that cannot be attached. */

static const char *segment_path(void)
{
    static char path[1024];

    snprintf(path, sizeof(path), "/dev/shm/tarn.%s", test_pool_name());
    return path;
}

static void init_only(void)
{
    ck_assert_int_eq(tarn_detach(init_pool(test_pool_name(), test_path("pool"), FRAMES, 4)), 0);
}

union first_page {
    struct tarn_superblock superblock;
    uint8_t bytes[4096];
};

static void access_first_page(union first_page *first, bool store)
{
    int fd = open(segment_path(), O_RDWR | O_CLOEXEC);
    ssize_t length =
        store ? pwrite(fd, first, sizeof(*first), 0) : pread(fd, first, sizeof(*first), 0);

    ck_assert_int_eq(length, sizeof(*first));
    close(fd);
}

/* Attaching a segment whose first page has been changed so fails, changes no byte of it, and works
 * again when the page is as it was. */
static void assert_refuses(const union first_page *changed, int result, const char *text)
{
    union first_page before, after;
    struct tarn_pool *handle = NULL;

    access_first_page(&before, false);
    after = *changed;
    access_first_page(&after, true);
    assert_fails_with(message, result, text,
                      tarn_attach(test_pool_name(), NULL, &handle, &message));
    ck_assert_ptr_null(handle);
    access_first_page(&after, false);
    ck_assert_mem_eq(&after, changed, sizeof(after));
    access_first_page(&before, true);
    ck_assert_int_eq(tarn_detach(attach_pool(test_pool_name())), 0);
}

static void sign(union first_page *first)
{
    first->superblock.checksum = tarn_superblock_checksum(first);
}

START_TEST(no_such_pool)
{
    struct tarn_pool *handle;

    assert_fails_with(message, -ENOENT, test_pool_name(),
                      tarn_attach(test_pool_name(), NULL, &handle, &message));
    assert_fails_with(message, -ENOENT, test_pool_name(),
                      tarn_destroy(test_pool_name(), NULL, 0, &message));
}
END_TEST

START_TEST(pool_exists)
{
    struct tarn_init_options options = {.size = sizeof(options), .directory = test_path("other")};

    init_only();
    assert_fails_with(message, -EEXIST, test_pool_name(),
                      tarn_init(test_pool_name(), &options, &message));
    ck_assert(!exists(test_path("other")));
    ck_assert_int_eq(tarn_detach(attach_pool(test_pool_name())), 0);
}
END_TEST

START_TEST(directory_has_a_pool_already)
{
    struct tarn_init_options options = {.size = sizeof(options), .directory = test_path("pool")};
    char name[64];

    init_only();
    snprintf(name, sizeof(name), "%s-2", test_pool_name());
    assert_fails_with(message, -EEXIST, test_path("pool"), tarn_init(name, &options, &message));
    ck_assert_int_eq(tarn_detach(attach_pool(test_pool_name())), 0);
}
END_TEST

START_TEST(not_a_segment)
{
    union first_page changed;

    init_only();
    access_first_page(&changed, false);
    changed.superblock.magic[0] ^= 1;
    sign(&changed);
    assert_refuses(&changed, -ENOTTY, segment_path());
    memset(&changed, 0, sizeof(changed));
    assert_refuses(&changed, -ENOTTY, segment_path());
}
END_TEST

START_TEST(damaged_segment)
{
    union first_page changed;

    init_only();
    access_first_page(&changed, false);
    changed.superblock.geometry.frames_offset += 4096;
    assert_refuses(&changed, -ENOTTY, segment_path());
    sign(&changed);
    assert_refuses(&changed, -ENOTTY, segment_path());
}
END_TEST

START_TEST(other_version)
{
    union first_page changed;

    init_only();
    access_first_page(&changed, false);
    changed.superblock.format_version = 999;
    sign(&changed);
    assert_refuses(&changed, -EPROTONOSUPPORT, "999");
}
END_TEST

START_TEST(other_layout)
{
    union first_page changed;

    init_only();
    access_first_page(&changed, false);
    changed.superblock.layout_hash ^= 1;
    sign(&changed);
    assert_refuses(&changed, -EPROTOTYPE, segment_path());
}
END_TEST

START_TEST(other_byte_order)
{
    union first_page changed;

    init_only();
    access_first_page(&changed, false);
    changed.superblock.byte_order = __builtin_bswap64(changed.superblock.byte_order);
    sign(&changed);
    assert_refuses(&changed, -ENOEXEC, segment_path());
}
END_TEST

START_TEST(from_before_a_reboot)
{
    union first_page changed;

    init_only();
    access_first_page(&changed, false);
    changed.superblock.boot_id[0] ^= 1;
    sign(&changed);
    assert_refuses(&changed, -ESTALE, segment_path());
}
END_TEST

START_TEST(out_of_date)
{
    union first_page changed;

    init_only();
    access_first_page(&changed, false);
    changed.superblock.recovery_number--;
    sign(&changed);
    assert_refuses(&changed, -EREMCHG, test_path("pool"));
}
END_TEST

START_TEST(truncated_segment)
{
    struct tarn_pool *handle;
    struct stat status;

    init_only();
    ck_assert_int_eq(stat(segment_path(), &status), 0);
    ck_assert_int_eq(truncate(segment_path(), status.st_size - 4096), 0);
    assert_fails_with(message, -EMSGSIZE, segment_path(),
                      tarn_attach(test_pool_name(), NULL, &handle, &message));
    ck_assert_int_eq(truncate(segment_path(), 100), 0);
    assert_fails_with(message, -EMSGSIZE, segment_path(),
                      tarn_attach(test_pool_name(), NULL, &handle, &message));
}
END_TEST

START_TEST(wrong_owner_or_mode)
{
    struct tarn_pool *handle;

    init_only();
    ck_assert_int_eq(chmod(segment_path(), 0666), 0);
    assert_fails_with(message, -EPERM, segment_path(),
                      tarn_attach(test_pool_name(), NULL, &handle, &message));
    ck_assert_int_eq(chmod(segment_path(), 0600), 0);
    ck_assert_int_eq(tarn_detach(attach_pool(test_pool_name())), 0);
    if (geteuid() != 0)
        return;
    ck_assert_int_eq(chown(segment_path(), 65534, 65534), 0);
    assert_fails_with(message, -EPERM, segment_path(),
                      tarn_attach(test_pool_name(), NULL, &handle, &message));
}
END_TEST

START_TEST(segment_behind_a_symbolic_link)
{
    struct tarn_pool *handle;
    char elsewhere[1100];

    init_only();
    snprintf(elsewhere, sizeof(elsewhere), "%s-moved", segment_path());
    ck_assert_int_eq(rename(segment_path(), elsewhere), 0);
    ck_assert_int_eq(symlink(elsewhere, segment_path()), 0);
    assert_fails_with(message, -EPERM, segment_path(),
                      tarn_attach(test_pool_name(), NULL, &handle, &message));
}
END_TEST

START_TEST(pool_of_another_user)
{
    struct tarn_pool *handle;
    pid_t pid;

    if (geteuid() != 0)
        test_skip("only root can become another user");
    init_only();
    pid = fork();
    if (pid == 0) {
        ck_assert_int_eq(setgid(65534), 0);
        ck_assert_int_eq(setuid(65534), 0);
        assert_fails_with(message, -EPERM, segment_path(),
                          tarn_attach(test_pool_name(), NULL, &handle, &message));
        _exit(0);
    }
    assert_ends_well(pid);
}
END_TEST

START_TEST(directory_is_gone)
{
    struct tarn_init_options options = {.size = sizeof(options), .directory = "/dev/null"};
    struct tarn_pool *handle;

    assert_fails_with(message, -ENOTDIR, "/dev/null",
                      tarn_init(test_pool_name(), &options, &message));
    ck_assert(!exists(segment_path()));
    init_only();
    ck_assert_int_eq(rename(test_path("pool"), test_path("elsewhere")), 0);
    assert_fails_with(message, -ENOTDIR, test_path("pool"),
                      tarn_attach(test_pool_name(), NULL, &handle, &message));
}
END_TEST

START_TEST(shared_memory_is_full)
{
    struct tarn_init_options options = {.size = sizeof(options),
                                        .directory = test_path("pool"),
                                        .page_bytes = 65536,
                                        .frame_bytes = UINT64_C(1) << 43};

    assert_fails_with(message, -ENOSPC, "/dev/shm",
                      tarn_init(test_pool_name(), &options, &message));
    ck_assert(!exists(segment_path()));
    ck_assert(!exists(test_path("pool")));
}
END_TEST

START_TEST(arguments_of_init)
{
    struct tarn_init_options good = {.size = sizeof(good), .directory = test_path("pool")};
    struct tarn_init_options options = good;
    char long_name[65] = "";
    const char *const names[] = {"", ".hidden", "a/b", "a b", memset(long_name, 'x', 64)};

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        assert_fails_with(message, -EINVAL, names[i], tarn_init(names[i], &options, &message));
    options.page_bytes = 5000;
    assert_fails_with(message, -EINVAL, "5000", tarn_init(test_pool_name(), &options, &message));
    options = good;
    options.frame_bytes = 15 * PAGE_BYTES;
    assert_fails_with(message, -EINVAL, "16", tarn_init(test_pool_name(), &options, &message));
    options = good;
    options.session_count = 1025;
    assert_fails_with(message, -EINVAL, "1024", tarn_init(test_pool_name(), &options, &message));
    options = good;
    options.size--;
    assert_fails_with(message, -EINVAL, "size", tarn_init(test_pool_name(), &options, &message));
    ck_assert(!exists(segment_path()));
    ck_assert(!exists(test_path("pool")));
}
END_TEST

/* Destroying. */

START_TEST(attached_pool_is_not_destroyed)
{
    char pid[16];

    pool = init_pool(test_pool_name(), test_path("pool"), FRAMES, 4);
    session = open_session(pool);
    snprintf(pid, sizeof(pid), "%d", (int)getpid());
    assert_fails_with(message, -EBUSY, pid, tarn_destroy(test_pool_name(), NULL, 0, &message));
    ck_assert(exists(segment_path()));
    ck_assert_int_eq(tarn_detach(pool), 0);
    assert_fails_with(message, 0, "", tarn_destroy(test_pool_name(), NULL, 0, &message));
    ck_assert(!exists(segment_path()));
}
END_TEST

START_TEST(forced_destroy_is_an_error_to_the_attached)
{
    struct tarn_session *another;
    struct tarn_locked_page locked;
    struct tarn_pin pin, other;
    pid_t writer;

    pool = init_pool(test_pool_name(), test_path("pool"), FRAMES, 4);
    session = open_session(pool);
    writer = start_writer(test_pool_name(), session);
    file = make_file(session, "data", PAGES);
    fill_page(session, page(1), 'a');
    assert_ok(session, tarn_pin(session, page(1), TARN_HINT_NONE, &pin));
    assert_fails_with(message, 0, "",
                      tarn_destroy(test_pool_name(), NULL, TARN_DESTROY_FORCE, &message));
    ck_assert(!exists(segment_path()));

    /* The memory is there still. */
    ck_assert(filled_with(pin.data, 'a'));
    assert_fails(session, -ESHUTDOWN, test_pool_name(), tarn_pin(session, page(99), 0, &other));
    assert_fails(session, -ESHUTDOWN, test_pool_name(), tarn_flush_all(session));
    assert_fails(session, -ESHUTDOWN, test_pool_name(), tarn_mtr_begin(session, 1));
    ck_assert_int_eq(tarn_mtr_lock(session, page(1), 0, &locked), -ESRCH);
    ck_assert_int_eq(tarn_session_open(pool, NULL, &another), -ESHUTDOWN);
    assert_ok(session, tarn_unpin(session, pin));
    ck_assert_int_eq(tarn_detach(pool), 0);
    waitpid(writer, NULL, 0);
    ck_assert(disk_has(test_path("pool/data"), 1, 'a'));
}
END_TEST

START_TEST(destroy_with_data_leaves_nothing)
{
    pid_t writer;

    pool = init_pool(test_pool_name(), test_path("pool"), FRAMES, 4);
    session = open_session(pool);
    writer = start_writer(test_pool_name(), session);
    file = make_file(session, "data", PAGES);
    ck_assert_int_eq(tarn_detach(pool), 0);
    stop_writer(writer);
    ck_assert(exists(test_path("pool/data")));
    assert_fails_with(message, 0, "",
                      tarn_destroy(test_pool_name(), NULL, TARN_DESTROY_DATA, &message));
    ck_assert(!exists(test_path("pool")));
}
END_TEST

START_TEST(directory_in_use)
{
    struct tarn_embedded_options options = {.size = sizeof(options),
                                            .directory = test_path("pool")};
    struct tarn_session *other_session;
    struct tarn_pool *other;

    begin_with_pool();
    assert_fails_with(message, -EBUSY, test_path("pool"),
                      tarn_open_embedded(&options, &other, &other_session, &message));
    fill_page(session, page(1), 'a');
    end_with_pool();
}
END_TEST

/* Handles. */

START_TEST(session_table_is_full)
{
    struct tarn_session *sessions[4], *another;

    pool = init_pool(test_pool_name(), test_path("pool"), FRAMES, 4);
    for (int i = 0; i < 4; i++)
        sessions[i] = open_session(pool);
    ck_assert_int_eq(tarn_session_open(pool, NULL, &another), -EUSERS);
    ck_assert_int_eq(tarn_pool_message(pool, &message), 0);
    ck_assert_ptr_nonnull(strstr(message.text, test_pool_name()));
    ck_assert_ptr_nonnull(strstr(message.text, "4"));
    ck_assert_int_eq(tarn_session_close(sessions[2]), 0);
    another = open_session(pool);
    ck_assert_int_eq(tarn_session_close(another), 0);
    ck_assert_int_eq(tarn_detach(pool), 0);
}
END_TEST

START_TEST(sessions_of_the_dead_do_not_fill_the_table)
{
    pool = init_pool(test_pool_name(), test_path("pool"), FRAMES, 4);
    for (int i = 0; i < 10; i++) {
        pid_t pid = fork();

        if (pid == 0) {
            struct tarn_pool *mine = attach_pool(test_pool_name());

            open_session(mine);
            open_session(mine);
            raise(SIGKILL);
        }
        waitpid(pid, NULL, 0);
    }
    for (int i = 0; i < 4; i++)
        open_session(pool);
    assert_consistent(pool);
    ck_assert_int_eq(tarn_detach(pool), 0);
}
END_TEST

START_TEST(closed_handle)
{
    struct tarn_session *other = open_session(pool);
    struct tarn_pool *second = attach_pool(pool_name_of(pool));
    struct tarn_pool_info info = {.size = sizeof(info)};
    struct tarn_pin pin;
    uint64_t page_count;

    assert_ok(other, tarn_session_close(other));
    assert_fails(other, -EBADF, "closed", tarn_pin(other, page(1), 0, &pin));
    assert_fails(other, -EBADF, "closed", tarn_mtr_begin(other, 1));
    assert_fails(other, -EBADF, "closed", tarn_mtr_commit(other, 0));
    assert_fails(other, -EBADF, "closed", tarn_flush_all(other));
    assert_fails(other, -EBADF, "closed", tarn_file_page_count(other, file, &page_count));
    assert_fails(other, -EBADF, "closed", tarn_session_close(other));
    ck_assert_int_eq(tarn_detach(second), 0);
    ck_assert_int_eq(tarn_detach(second), -EBADF);
    ck_assert_int_eq(tarn_pool_info(second, &info), -EBADF);
    ck_assert_int_eq(tarn_session_open(second, NULL, &other), -EBADF);
}
END_TEST

/* Files. */

START_TEST(no_such_file)
{
    struct tarn_pin pin;
    uint64_t page_count;
    uint32_t other;

    assert_fails(session, -ENOENT, "missing", tarn_file_open(session, "missing", 0, &other));
    assert_fails(session, -ENXIO, "200", tarn_pin(session, tarn_page_id(200, 0), 0, &pin));
    assert_fails(session, -ENXIO, "200", tarn_file_page_count(session, 200, &page_count));
    assert_fails(session, -ENXIO, "60000", tarn_file_extend(session, 60000, 1));
    assert_fails(session, -ENXIO, "0", tarn_pin(session, tarn_page_id(0, 0), 0, &pin));
    assert_ok(session, tarn_file_drop(session, file, 1, 1000));
    assert_fails(session, -ENXIO, "", tarn_pin(session, page(0), 0, &pin));
    assert_fails(session, -ENXIO, "", tarn_flush_file(session, file));
    assert_fails(session, -ENXIO, "", tarn_file_drop(session, file, 1, 1000));
}
END_TEST

START_TEST(file_exists)
{
    uint32_t other;

    assert_fails(session, -EEXIST, "data",
                 tarn_file_open(session, "data", TARN_FILE_CREATE | TARN_FILE_EXCLUSIVE, &other));
    assert_fails(session, -EINVAL, "0x100000", tarn_file_open(session, "data", 1u << 20, &other));
}
END_TEST

START_TEST(size_is_not_whole_pages)
{
    const char *path = test_path("odd");
    uint32_t other;
    struct stat status;
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

    ck_assert_int_eq(ftruncate(fd, PAGE_BYTES + 100), 0);
    assert_fails(session, -EDOM, path, tarn_file_open(session, path, TARN_FILE_CREATE, &other));
    ck_assert_int_eq(fstat(fd, &status), 0);
    ck_assert_int_eq(status.st_size, PAGE_BYTES + 100);
    close(fd);
}
END_TEST

START_TEST(file_table_is_full)
{
    struct tarn_init_options options = {.size = sizeof(options),
                                        .directory = test_path("pool"),
                                        .frame_bytes = FRAMES * PAGE_BYTES,
                                        .file_count = 2};
    uint32_t other;
    pid_t writer;

    assert_fails_with(message, 0, "", tarn_init(test_pool_name(), &options, &message));
    pool = attach_pool(test_pool_name());
    session = open_session(pool);
    writer = start_writer(test_pool_name(), session);
    make_file(session, "one", 1);
    file = make_file(session, "two", 1);
    assert_fails(session, -ENFILE, "2", tarn_file_open(session, "three", TARN_FILE_CREATE, &other));
    ck_assert(!exists(test_path("pool/three")));
    assert_ok(session, tarn_file_drop(session, file, 1, 1000));
    make_file(session, "three", 1);
    ck_assert_int_eq(tarn_detach(pool), 0);
    stop_writer(writer);
}
END_TEST

START_TEST(page_beyond_the_end)
{
    struct tarn_writable_page writable;
    struct tarn_optimistic optimistic;
    struct tarn_pin pin;
    uint8_t byte;

    assert_fails(session, -ERANGE, "128", tarn_pin(session, page(128), 0, &pin));
    assert_fails(session, -ERANGE, "128", tarn_optimistic_begin(session, page(128), &optimistic));
    assert_fails(session, -ERANGE, "128", tarn_page_copy(session, page(128), 0, 1, &byte));
    assert_ok(session, tarn_mtr_begin(session, 2));
    assert_fails(session, -ERANGE, "128", tarn_mtr_write(session, page(128), -1, &writable));
    assert_fails(session, -ERANGE, "128", tarn_mtr_new(session, page(128), -1, &writable));
    /* The mini-transaction goes on. */
    assert_ok(session, tarn_mtr_write(session, page(127), -1, &writable));
    assert_ok(session, tarn_mtr_commit(session, 0));
}
END_TEST

START_TEST(file_shrunk_underneath)
{
    struct tarn_pin pin;

    ck_assert_int_eq(truncate(test_path("pool/data"), 10 * PAGE_BYTES), 0);
    assert_fails(session, -EBADFD, "data", tarn_pin(session, page(77), 0, &pin));
    assert_fails(session, -EBADFD, "77", tarn_pin(session, page(77), 0, &pin));
    assert_ok(session, tarn_pin(session, page(9), 0, &pin));
    assert_ok(session, tarn_unpin(session, pin));
    ck_assert_int_eq(truncate(test_path("pool/data"), PAGES * PAGE_BYTES), 0);
    assert_ok(session, tarn_pin(session, page(77), 0, &pin));
    assert_ok(session, tarn_unpin(session, pin));
}
END_TEST

START_TEST(file_gone_or_replaced_underneath)
{
    struct tarn_pool *second = attach_pool(pool_name_of(pool));
    struct tarn_session *other = open_session(second);
    struct tarn_pin pin;
    int fd;

    ck_assert_int_eq(rename(test_path("pool/data"), test_path("pool/moved")), 0);
    assert_fails(other, -EBADFD, "data", tarn_pin(other, page(77), 0, &pin));
    fd = open(test_path("pool/data"), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    ck_assert_int_eq(ftruncate(fd, PAGES * PAGE_BYTES), 0);
    close(fd);
    assert_fails(other, -EBADFD, "data", tarn_pin(other, page(77), 0, &pin));
    ck_assert_int_eq(rename(test_path("pool/moved"), test_path("pool/data")), 0);
    assert_ok(other, tarn_pin(other, page(77), 0, &pin));
    ck_assert_int_eq(tarn_detach(second), 0);
}
END_TEST

/* From now on reads of this thread end with this error; 0: with no byte. */
static void refuse_reads(int error)
{
    unsigned result = SECCOMP_RET_ERRNO | (unsigned)error;
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_preadv2, 2, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_preadv, 1, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_pread64, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, result),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {.len = sizeof(filter) / sizeof(filter[0]), .filter = filter};

    ck_assert_int_eq(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
    if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0)
        test_skip("no seccomp here: %s", strerror(errno));
}

static void *pin_with_refused_reads(void *argument)
{
    int error = *(int *)argument;
    struct tarn_pin pin;

    refuse_reads(error);
    assert_fails(session, error == 0 ? -ENODATA : -error, "77",
                 tarn_pin(session, page(77), 0, &pin));
    assert_fails(session, error == 0 ? -ENODATA : -error, "data",
                 tarn_pin(session, page(77), 0, &pin));
    return NULL;
}

/* Loop: 0 the device fails, 1 it reads less than there is. */
START_TEST(read_fails)
{
    int error = _i == 0 ? EIO : 0;
    pthread_t thread;
    struct tarn_pin pin;

    ck_assert_int_eq(pthread_create(&thread, NULL, pin_with_refused_reads, &error), 0);
    ck_assert_int_eq(pthread_join(thread, NULL), 0);
    assert_ok(session, tarn_pin(session, page(77), 0, &pin));
    ck_assert(filled_with(pin.data, 0));
    assert_ok(session, tarn_unpin(session, pin));
}
END_TEST

START_TEST(truncated_page_is_held)
{
    struct tarn_session *other = open_session(pool);
    struct tarn_pin pin;
    uint64_t page_count;
    char pid[16];

    fill_page(other, page(77), 'a');
    assert_ok(other, tarn_pin(other, page(77), 0, &pin));
    snprintf(pid, sizeof(pid), "%d", (int)getpid());
    assert_fails(session, -EBUSY, "77", tarn_file_truncate(session, file, 10, 20));
    assert_fails(session, -EBUSY, pid, tarn_file_truncate(session, file, 10, 20));
    assert_fails(session, -EBUSY, "77", tarn_file_drop(session, file, 1, 20));
    assert_ok(session, tarn_file_page_count(session, file, &page_count));
    ck_assert_uint_eq(page_count, PAGES);
    ck_assert(page_has(session, page(77), 'a'));
    assert_ok(other, tarn_unpin(other, pin));
    assert_ok(session, tarn_file_truncate(session, file, 10, 20));
}
END_TEST

/* Pages. */

START_TEST(not_a_pin)
{
    struct tarn_session *other = open_session(pool);
    struct tarn_pin pin, wild = {0};

    assert_ok(session, tarn_pin(session, page(77), 0, &pin));
    assert_fails(other, -EINVAL, "pin", tarn_unpin(other, pin));
    assert_fails(other, -EINVAL, "pin", tarn_latch_shared(other, pin, 0));
    assert_fails(session, -EINVAL, "latch", tarn_unlatch_shared(session, pin));
    assert_ok(session, tarn_latch_shared(session, pin, 0));
    assert_fails(session, -EBUSY, "77", tarn_unpin(session, pin));
    assert_ok(session, tarn_unlatch_shared(session, pin));
    assert_ok(session, tarn_unpin(session, pin));
    wild.hold = 4000000000u;
    assert_fails(session, -EINVAL, "pin", tarn_unpin(session, wild));
    wild.hold = 1;
    wild.frame = 4000000000u;
    assert_fails(session, -EINVAL, "pin", tarn_unpin(session, wild));
}
END_TEST

START_TEST(latch_taken_twice)
{
    struct tarn_writable_page writable;
    struct tarn_locked_page locked;
    struct tarn_pin pin, again;

    assert_ok(session, tarn_pin(session, page(77), 0, &pin));
    assert_ok(session, tarn_pin(session, page(77), 0, &again));
    assert_ok(session, tarn_latch_shared(session, pin, 0));
    assert_fails(session, -EALREADY, "77", tarn_latch_shared(session, pin, 0));
    assert_ok(session, tarn_mtr_begin(session, 2));
    /* It would wait for itself. */
    assert_fails(session, -EALREADY, "77", tarn_mtr_lock(session, page(77), -1, &locked));
    assert_fails(session, -EALREADY, "77", tarn_mtr_write(session, page(77), -1, &writable));
    assert_ok(session, tarn_unlatch_shared(session, pin));
    assert_ok(session, tarn_mtr_lock(session, page(77), -1, &locked));
    assert_fails(session, -EALREADY, "77", tarn_mtr_lock(session, page(77), -1, &locked));
    assert_fails(session, -EALREADY, "77", tarn_latch_shared(session, again, -1));
    assert_ok(session, tarn_mtr_commit(session, 0));
    assert_ok(session, tarn_unpin(session, pin));
    assert_ok(session, tarn_unpin(session, again));
}
END_TEST

struct party {
    pthread_t thread;
    struct tarn_session *session;
    uint64_t first, second;
    pthread_barrier_t *barrier;
    int result;
};

static void *lock_two(void *argument)
{
    struct party *party = argument;
    struct tarn_locked_page locked;

    assert_ok(party->session, tarn_mtr_begin(party->session, 2));
    assert_ok(party->session, tarn_mtr_lock(party->session, page(party->first), -1, &locked));
    pthread_barrier_wait(party->barrier);
    party->result = tarn_mtr_lock(party->session, page(party->second), -1, &locked);
    assert_ok(party->session, tarn_mtr_abort(party->session));
    return NULL;
}

START_TEST(wait_that_closes_a_cycle)
{
    struct party parties[3];
    pthread_barrier_t barrier;
    unsigned refused = 0;

    pthread_barrier_init(&barrier, NULL, 3);
    for (unsigned i = 0; i < 3; i++) {
        parties[i] = (struct party){.session = open_session(pool),
                                    .first = 70 + i,
                                    .second = 70 + (i + 1) % 3,
                                    .barrier = &barrier};
        ck_assert_int_eq(pthread_create(&parties[i].thread, NULL, lock_two, &parties[i]), 0);
    }
    for (unsigned i = 0; i < 3; i++) {
        pthread_join(parties[i].thread, NULL);
        ck_assert_msg(parties[i].result == 0 || parties[i].result == -EDEADLK, "%d: %s",
                      parties[i].result, tarn_session_message(parties[i].session));
        if (parties[i].result == 0)
            continue;
        refused++;
        ck_assert_ptr_nonnull(strstr(tarn_session_message(parties[i].session), "cycle"));
        ck_assert_ptr_nonnull(strstr(tarn_session_message(parties[i].session), "7"));
    }
    ck_assert_uint_ge(refused, 1);
    assert_ok(session, tarn_flush_all(session));
}
END_TEST

/* The frame of a page that a stopped session had waited for was a shadow of who asked by then. */
START_TEST(wait_that_is_over_closes_no_cycle)
{
    struct tarn_session *other = open_session(pool);
    struct tarn_locked_page locked;

    assert_ok(other, tarn_mtr_begin(other, 1));
    assert_ok(other, tarn_mtr_lock(other, page(70), 0, &locked));
    assert_ok(session, tarn_mtr_begin(session, 2));
    tarn_store_release(&other->shared->wait, (uint64_t)session->shadow[0].frame << 8 | WAIT_LOAD);
    assert_fails(session, -ETIMEDOUT, "", tarn_mtr_lock(session, page(70), 50, &locked));
    tarn_store_release(&other->shared->wait, 0);
    assert_ok(session, tarn_mtr_abort(session));
    assert_ok(other, tarn_mtr_abort(other));
    ck_assert_int_eq(tarn_session_close(other), 0);
}
END_TEST

START_TEST(everything_is_pinned)
{
    struct tarn_session_options options = {
        .size = sizeof(options), .wait_ms = 100, .frame_wait_ms = 100};
    struct tarn_pin pins[60], one_more;
    unsigned count = 0;
    int result = 0;

    ck_assert_int_eq(tarn_detach(init_pool(test_pool_name(), test_path("pool"), 16, 8)), 0);
    pool = open_pool(test_path("pool"), 16, &session);
    file = make_file(session, "data", PAGES);
    ck_assert_int_eq(tarn_session_close(session), 0);
    ck_assert_int_eq(tarn_session_open(pool, &options, &session), 0);
    while (count < 17 && (result = tarn_pin(session, page(count), 0, &pins[count])) == 0)
        count++;
    ck_assert_uint_ge(count, 8);
    ck_assert_uint_le(count, 16);
    assert_fails(session, -ENOBUFS, "16", tarn_pin(session, page(99), 0, &one_more));
    ck_assert_int_eq(result, -ENOBUFS);
    assert_ok(session, tarn_unpin(session, pins[--count]));
    assert_ok(session, tarn_pin(session, page(99), 0, &pins[count++]));
    assert_ok(session, tarn_unpin_many(session, pins, count));
    assert_fails(session, -E2BIG, "30", tarn_mtr_begin(session, 30));
    end_with_pool();
}
END_TEST

START_TEST(arguments_of_calls)
{
    struct tarn_page_id ids[61] = {{0}};
    struct tarn_writable_page writable;
    struct tarn_pin pins[61];

    assert_fails(session, -EINVAL, "60", tarn_pin_many(session, ids, 0, 0, pins));
    assert_fails(session, -EINVAL, "60", tarn_pin_many(session, ids, 61, 0, pins));
    assert_fails(session, -EINVAL, "", tarn_mtr_begin(session, 0));
    assert_ok(session, tarn_pin(session, page(1), 0, pins));
    assert_fails(session, -EINVAL, "-2", tarn_latch_shared(session, pins[0], -2));
    assert_ok(session, tarn_unpin(session, pins[0]));
    assert_ok(session, tarn_mtr_begin(session, 1));
    assert_fails(session, -EINVAL, "4097",
                 tarn_mtr_write_range(session, page(1), 1, 4096, -1, &writable));
    assert_fails(session, -EINVAL, "",
                 tarn_mtr_write_range(session, page(1), 8, UINT32_MAX - 4, -1, &writable));
    assert_ok(session, tarn_mtr_write_range(session, page(1), 0, 4096, -1, &writable));
    assert_ok(session, tarn_mtr_abort(session));
}
END_TEST

START_TEST(no_writer)
{
    struct tarn_session_options options = {.size = sizeof(options), .writer_wait_ms = 50};
    int64_t begin = now_ms();
    uint32_t other;

    pool = init_pool(test_pool_name(), test_path("pool"), FRAMES, 4);
    ck_assert_int_eq(tarn_session_open(pool, &options, &session), 0);
    assert_fails(session, -ENOTCONN, test_pool_name(),
                 tarn_file_open(session, "data", TARN_FILE_CREATE, &other));
    assert_fails(session, -ENOTCONN, "tarn writer", tarn_flush_all(session));
    ck_assert_int_ge(now_ms() - begin, 100);
    ck_assert_int_lt(now_ms() - begin, 2000);
    ck_assert(!exists(test_path("pool/data")));
    ck_assert_int_eq(tarn_detach(pool), 0);
}
END_TEST

START_TEST(commit_says_that_the_flush_failed)
{
    struct tarn_session_options options = {.size = sizeof(options), .writer_wait_ms = 50};
    struct tarn_writable_page writable;
    pid_t writer;

    pool = init_pool(test_pool_name(), test_path("pool"), FRAMES, 4);
    session = open_session(pool);
    writer = start_writer(test_pool_name(), session);
    file = make_file(session, "data", PAGES);
    ck_assert_int_eq(tarn_session_close(session), 0);
    ck_assert_int_eq(tarn_session_open(pool, &options, &session), 0);
    kill(writer, SIGKILL);
    waitpid(writer, NULL, 0);
    assert_ok(session, tarn_mtr_begin(session, 1));
    assert_ok(session, tarn_mtr_write(session, page(1), -1, &writable));
    memset(writable.data, 'a', PAGE_BYTES);
    assert_fails(session, 1, "writer", tarn_mtr_commit(session, TARN_COMMIT_FLUSH));
    ck_assert(page_has(session, page(1), 'a'));
    ck_assert_int_eq(tarn_detach(pool), 0);
}
END_TEST

static void add_attaching(Suite *suite)
{
    TCase *tcase = test_case(suite, "attach", 10);

    tcase_add_test(tcase, no_such_pool);
    tcase_add_test(tcase, pool_exists);
    tcase_add_test(tcase, directory_has_a_pool_already);
    tcase_add_test(tcase, not_a_segment);
    tcase_add_test(tcase, damaged_segment);
    tcase_add_test(tcase, other_version);
    tcase_add_test(tcase, other_layout);
    tcase_add_test(tcase, other_byte_order);
    tcase_add_test(tcase, from_before_a_reboot);
    tcase_add_test(tcase, out_of_date);
    tcase_add_test(tcase, truncated_segment);
    tcase_add_test(tcase, wrong_owner_or_mode);
    tcase_add_test(tcase, segment_behind_a_symbolic_link);
    tcase_add_test(tcase, pool_of_another_user);
    tcase_add_test(tcase, directory_is_gone);
    tcase_add_test(tcase, shared_memory_is_full);
    tcase_add_test(tcase, arguments_of_init);
}

static void add_pool(Suite *suite)
{
    TCase *tcase = test_case(suite, "pool", 20);

    tcase_add_test(tcase, attached_pool_is_not_destroyed);
    tcase_add_test(tcase, forced_destroy_is_an_error_to_the_attached);
    tcase_add_test(tcase, destroy_with_data_leaves_nothing);
    tcase_add_test(tcase, directory_in_use);
    tcase_add_test(tcase, session_table_is_full);
    tcase_add_test(tcase, sessions_of_the_dead_do_not_fill_the_table);
    tcase_add_test(tcase, file_table_is_full);
    tcase_add_test(tcase, everything_is_pinned);
    tcase_add_test(tcase, no_writer);
    tcase_add_test(tcase, commit_says_that_the_flush_failed);
}

void test_suite(Suite *suite)
{
    TCase *tcase = test_case(suite, "calls", 10);

    tcase_add_checked_fixture(tcase, begin_with_pool, end_with_pool);
    tcase_add_test(tcase, closed_handle);
    tcase_add_test(tcase, no_such_file);
    tcase_add_test(tcase, file_exists);
    tcase_add_test(tcase, size_is_not_whole_pages);
    tcase_add_test(tcase, page_beyond_the_end);
    tcase_add_test(tcase, file_shrunk_underneath);
    tcase_add_test(tcase, file_gone_or_replaced_underneath);
    tcase_add_loop_test(tcase, read_fails, 0, 2);
    tcase_add_test(tcase, truncated_page_is_held);
    tcase_add_test(tcase, not_a_pin);
    tcase_add_test(tcase, latch_taken_twice);
    tcase_add_test(tcase, wait_that_closes_a_cycle);
    tcase_add_test(tcase, wait_that_is_over_closes_no_cycle);
    tcase_add_test(tcase, arguments_of_calls);
    add_attaching(suite);
    add_pool(suite);
}
