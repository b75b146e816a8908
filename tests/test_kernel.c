/* SPDX-License-Identifier: MIT */
/* Kernels, file systems and devices that are not here, as their answers to calls tell of them; and
 * what /proc says of processes, at moments that cannot be waited for. */
#include <sys/timerfd.h>

#include "lib/check.h"
#include "lib/directory.h"
#include "lib/io/io.h"
#include "lib/writer/writer.h"
#include "tests/calls.h"
#include "tests/process.h"

static struct tarn_message message;

static const char *segment_path(void)
{
    static char path[256];

    snprintf(path, sizeof(path), "/dev/shm/tarn.%s", test_pool_name());
    return path;
}

static void make_bytes(const char *path, off_t bytes)
{
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

    ck_assert_int_eq(ftruncate(fd, bytes), 0);
    close(fd);
}

/* Files. */

enum { DISK_PAGES = 8 };
static ino_t disk_inode;

static void show_disk(struct stat *status)
{
    if (status->st_ino != disk_inode)
        return;
    status->st_mode = S_IFBLK | 0600;
    status->st_rdev = 0x700;
    status->st_size = 0;
}

static void make_disk(void)
{
    struct stat status;

    make_bytes(file_path("disk"), DISK_PAGES * PAGE_BYTES);
    ck_assert_int_eq(stat(file_path("disk"), &status), 0);
    disk_inode = status.st_ino;
    calls.device_bytes = DISK_PAGES * PAGE_BYTES;
    calls.status = show_disk;
}

START_TEST(block_device_keeps_its_size)
{
    struct tarn_file_record record;
    struct stat status;
    uint64_t count;
    uint32_t disk;

    begin_with_pool();
    make_disk();
    assert_ok(session, tarn_file_open(session, "disk", 0, &disk));
    assert_ok(session, tarn_file_page_count(session, disk, &count));
    ck_assert_uint_eq(count, DISK_PAGES);
    ck_assert_int_eq(tarn_directory_find_file(pool->directory_fd, disk, &record, &message), 0);
    ck_assert_uint_eq(record.device, 0x700);
    ck_assert_uint_eq(record.inode, 0);
    fill_page(session, tarn_page_id(disk, 5), 'x');
    assert_ok(session, tarn_flush_all(session));
    ck_assert(disk_has(file_path("disk"), 5, 'x'));
    assert_fails(session, -EFBIG, "disk", tarn_file_extend(session, disk, DISK_PAGES + 1));
    assert_ok(session, tarn_file_truncate(session, disk, 2, -1));
    assert_ok(session, tarn_file_page_count(session, disk, &count));
    ck_assert_uint_eq(count, 2);
    calls.status = NULL;
    ck_assert_int_eq(stat(file_path("disk"), &status), 0);
    ck_assert_int_eq(status.st_size, DISK_PAGES * PAGE_BYTES);
    calls.status = show_disk;
    /* Its size is the device's once more when the segment is built again. */
    end_with_pool();
    pool = open_pool(test_path("pool"), FRAMES, &session);
    assert_ok(session, tarn_file_page_count(session, disk, &count));
    ck_assert_uint_eq(count, DISK_PAGES);
    ck_assert(page_has(session, tarn_page_id(disk, 5), 'x'));
    assert_ok(session, tarn_file_drop(session, disk, 0, -1));
    ck_assert(exists(file_path("disk")));
    end_with_pool();
    calls_end();
}
END_TEST

START_TEST(block_device_without_a_size)
{
    uint32_t disk;

    begin_with_pool();
    make_disk();
    calls.device_bytes = -EIO;
    assert_fails(session, -EIO, "disk", tarn_file_open(session, "disk", 0, &disk));
    calls.device_bytes = PAGE_BYTES + 512;
    assert_fails(session, -EDOM, "disk", tarn_file_open(session, "disk", 0, &disk));
    calls.device_bytes = PAGE_BYTES;
    assert_ok(session, tarn_file_open(session, "disk", 0, &disk));
    end_with_pool();
    calls.device_bytes = -EIO;
    struct tarn_embedded_options options = {.size = sizeof(options),
                                            .directory = test_path("pool")};
    assert_fails_with(message, -EIO, "size of disk",
                      tarn_open_embedded(&options, &pool, &session, &message));
    calls_end();
}
END_TEST

static bool is_direct(uint32_t id)
{
    struct tarn_file_record record;

    ck_assert_int_eq(tarn_directory_find_file(pool->directory_fd, id, &record, &message), 0);
    return record.direct;
}

START_TEST(direct_blocks_must_divide_a_page)
{
    uint32_t plain, none, small, large;
    int fd;

    begin_with_pool();
    fd = open(file_path("data"), O_RDWR | O_DIRECT | O_CLOEXEC);
    if (fd < 0)
        test_skip("the file system has no direct I/O: %s", strerror(errno));
    close(fd);
    plain = make_file(session, "plain", 1);
    calls.direct_align = 1;
    none = make_file(session, "none", 1);
    calls.direct_align = 512;
    small = make_file(session, "small", 1);
    calls.direct_align = 2 * PAGE_BYTES;
    large = make_file(session, "large", 1);
    calls.direct_align = 0;
    calls_fail("statx", 1, ENOSYS);
    ck_assert(is_direct(make_file(session, "old", 1)));
    ck_assert(calls_end());
    ck_assert(is_direct(plain) && is_direct(small));
    ck_assert(!is_direct(none) && !is_direct(large));
    fill_page(session, tarn_page_id(large, 0), 'l');
    assert_ok(session, tarn_flush_all(session));
    ck_assert(disk_has(file_path("large"), 0, 'l'));
    end_with_pool();
}
END_TEST

START_TEST(file_system_that_cannot_allocate)
{
    uint64_t count;

    begin_with_pool();
    calls_fail("fallocate64", 1, EOPNOTSUPP);
    assert_ok(session, tarn_file_extend(session, file, PAGES + 9));
    ck_assert(calls_end());
    assert_ok(session, tarn_file_page_count(session, file, &count));
    ck_assert_uint_eq(count, PAGES + 9);
    ck_assert(page_has(session, page(PAGES + 8), 0));
    end_with_pool();
}
END_TEST

static void show_fifo(struct stat *status)
{
    status->st_mode = S_IFIFO | 0600;
}

START_TEST(read_that_brings_nothing)
{
    begin_with_pool();
    calls_fail("preadv64v2", 1, EAGAIN);
    ck_assert(page_has(session, page(1), 0));
    ck_assert(calls_end());
    calls_fail("preadv64v2", 1, EIO);
    assert_fails(session, -EIO, "page 2", tarn_page_copy(session, page(2), 0, 1, &(char){0}));
    ck_assert(calls_end());
    calls_fail("end", 1, 0);
    assert_fails(session, -ENODATA, "short read",
                 tarn_page_copy(session, page(2), 0, 1, &(char){0}));
    ck_assert(calls_end());
    calls.status = show_fifo;
    calls_fail("end", 1, 0);
    assert_fails(session, -ENODATA, "short read",
                 tarn_page_copy(session, page(2), 0, 1, &(char){0}));
    ck_assert(calls_end());
    ck_assert(page_has(session, page(2), 0));
    end_with_pool();
}
END_TEST

START_TEST(writer_that_cannot_be_called)
{
    begin_with_pool();
    for (unsigned at = 1; at <= 6; at++) {
        fill_page(session, page(at), (int)at);
        calls_fail("wake", 1, at % 2 == 0 ? EIO : EAGAIN);
        assert_ok(session, tarn_flush_all(session));
        calls_end();
        ck_assert(disk_has(file_path("data"), at, (int)at));
    }
    end_with_pool();
}
END_TEST

static uint64_t pages_of(uint32_t id)
{
    uint64_t count = 0;

    return tarn_file_page_count(session, id, &count) < 0 ? 0 : count;
}

/* The name stays, or is another file's by now. */
START_TEST(dropped_file_that_keeps_its_name)
{
    uint32_t dropped;

    begin_with_pool();
    dropped = make_file(session, "dropped", 2);
    calls.path = "dropped";
    calls_fail("unlinkat", 1, EPERM);
    assert_fails(session, -EPERM, "file", tarn_file_drop(session, dropped, 1, -1));
    ck_assert(calls_end());
    ck_assert(exists(file_path("dropped")));
    ck_assert_uint_eq(pages_of(dropped), 0);
    dropped = make_file(session, "dropped", 2);
    calls.path = "dropped";
    calls_fail("unlinkat", 1, ENOENT);
    assert_ok(session, tarn_file_drop(session, dropped, 1, -1));
    ck_assert(calls_end());
    dropped = make_file(session, "dropped", 2);
    ck_assert_int_eq(unlink(file_path("dropped")), 0);
    assert_ok(session, tarn_file_drop(session, dropped, 1, -1));
    dropped = make_file(session, "dropped", 2);
    for (unsigned i = 0; i < 2; i++) {
        calls_fail(i == 0 ? "inode" : "device", 1, 0);
        assert_ok(session, tarn_file_drop(session, dropped, 1, -1));
        ck_assert(calls_end());
        ck_assert(exists(file_path("dropped")));
        dropped = make_file(session, "dropped", 2);
    }
    assert_ok(session, tarn_file_drop(session, dropped, 1, -1));
    ck_assert(!exists(file_path("dropped")));
    end_with_pool();
}
END_TEST

/* Numbers of other devices. */
static dev_t shown_device;

static void show_other_devices(struct stat *status)
{
    status->st_dev += shown_device++;
}

START_TEST(users_of_a_file)
{
    static const char *const names[] = {"opendir", "fstat64", "readdir64"};
    char text[64], self[16];
    int fd = open(test_path("used"), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    int other = open(test_path("used"), O_RDWR | O_CLOEXEC);

    snprintf(self, sizeof(self), "%d", (int)getpid());
    tarn_file_users(fd, text, sizeof(text));
    ck_assert_str_eq(text, self);
    /* The first that is found is cut, and the last. */
    tarn_file_users(fd, text, 3);
    ck_assert_int_eq(strncmp(text, self, 2), 0);
    ck_assert_uint_eq(strlen(text), 2);
    calls.status = show_other_devices;
    tarn_file_users(fd, text, sizeof(text));
    ck_assert(says(text, "not to be seen"));
    calls_end();
    for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        calls_fail(names[i], 1, 0);
        tarn_file_users(fd, text, sizeof(text));
        ck_assert(calls_end());
        ck_assert(says(text, "not to be seen"));
    }
    calls_fail("opendir", 2, EACCES);
    tarn_file_users(fd, text, sizeof(text));
    ck_assert(calls_end());
    close(other);
    close(fd);
}
END_TEST

static void *run_writer(void *argument)
{
    ck_assert_int_eq(tarn_writer_run(argument), 0);
    return NULL;
}

/* A writer that cannot measure which way to be durable is quicker takes the one that all have. */
START_TEST(durable_writes_that_cannot_be_measured)
{
    static const struct {
        const char *name, *path;
        unsigned at;
        bool stays, measured;
    } failures[] = {
        {"fdatasync", NULL, 1, false, false},   {"pwritev64v2", NULL, 1, false, false},
        {"pwritev64v2", NULL, 2, false, false}, {"pwrite64", NULL, 1, false, false},
        {"pwrite64", NULL, 2, false, false},    {"fsync", NULL, 1, false, false},
        {"fstatfs64", NULL, 1, false, false},   {"aligned_alloc", NULL, 1, false, false},
        {"openat64", ".", 1, true, false},      {"openat64", ".", 1, false, true},
    };

    struct tarn_writer_options options = {.backend = TARN_IO_THREADS};
    struct tarn_writer *measures;
    pthread_t thread;

    pool = init_pool(test_pool_name(), test_path("pool"), FRAMES, 8);
    session = open_session(pool);
    for (unsigned i = 0; i < sizeof(failures) / sizeof(failures[0]); i++) {
        calls.on_disk = true;
        calls.path = failures[i].path;
        calls.stays = failures[i].stays;
        calls_fail(failures[i].name, failures[i].at, 0);
        struct tarn_pool *own = attach_pool(test_pool_name());
        ck_assert_int_eq(tarn_writer_open(own, &options, &measures), 0);
        ck_assert_int_eq(pthread_create(&thread, NULL, run_writer, measures), 0);
        wait_until(calls.refused != NULL);
        if (failures[i].measured)
            wait_until(writer_process(pool) != 0);
        ck_assert(calls_end());
        file = make_file(session, "data", PAGES);
        const struct tarn_writer_info *info = &pool->view.control->writer;
        ck_assert_msg((info->durable_ns != 0) == failures[i].measured, "%s", failures[i].name);
        ck_assert_int_eq(info->synced_ns != 0, failures[i].measured);
        fill_page(session, page(1), (uint8_t)('a' + i));
        assert_ok(session, tarn_flush_page(session, page(1)));
        ck_assert(disk_has(file_path("data"), 1, (uint8_t)('a' + i)));
        tarn_writer_stop(measures);
        pthread_join(thread, NULL);
        tarn_writer_close(measures);
        ck_assert_int_eq(tarn_detach(own), 0);
    }
}
END_TEST

/* Segments. */

static int init_it(void)
{
    struct tarn_init_options options = {.size = sizeof(options),
                                        .directory = test_path("pool"),
                                        .frame_bytes = FRAMES * PAGE_BYTES,
                                        .session_count = 60};

    message = (struct tarn_message){""};
    return tarn_init(test_pool_name(), &options, &message);
}

START_TEST(destroyed_while_its_names_go)
{
    static const char *const paths[] = {"/tarn.", "/pool"};
    static const char *const names[] = {"unlink", "open64"};

    for (unsigned i = 0; i < 2; i++) {
        ck_assert_int_eq(init_it(), 0);
        for (unsigned at = 1; at < 4 && exists(segment_path()); at++) {
            calls.path = paths[i];
            calls_fail(names[i], at, ENOENT);
            int result = tarn_destroy(test_pool_name(), NULL, TARN_DESTROY_DATA, &message);
            ck_assert(calls_end());
            ck_assert_int_eq(result == 0 || result == -ENOTDIR, 1);
        }
        unlink(segment_path());
        tarn_segment_build(test_path("pool"), NULL, NULL, &message);
        tarn_destroy(test_pool_name(), NULL, TARN_DESTROY_DATA, &message);
        ck_assert(!exists(segment_path()) && !exists(test_path("pool")));
    }
}
END_TEST

static void lock_options(void *argument)
{
    int fd = open(argument, O_RDWR | O_CLOEXEC);

    if (tarn_lock_byte(fd, TARN_LOCK_OPTIONS, F_WRLCK) == 0)
        pause();
}

START_TEST(settings_that_cannot_be_stored)
{
    static const char *const assignments[] = {"dirty_frames_high=20"}, *const none[] = {NULL};
    static const struct {
        const char *name, *path;
        int error, result;
    } failures[] = {
        {"openat64", "lock", EACCES, -EPERM},
        {"fcntl64", NULL, ENOLCK, -ENOLCK},
        {"openat64", "options", EMFILE, -EMFILE},
        {"fsync", NULL, EIO, -EIO},
    };
    struct tarn_setting setting = {.size = sizeof(setting)};

    ck_assert_int_eq(init_it(), 0);
    pool = attach_pool(test_pool_name());
    ck_assert_int_eq(tarn_pool_get(pool, NULL, &setting), -EINVAL);
    ck_assert_int_eq(tarn_pool_get(pool, "dirty_frames_high", NULL), -EINVAL);
    ck_assert_int_eq(tarn_pool_set(pool, none, 1), -EINVAL);
    ck_assert_int_eq(tarn_pool_set(pool, NULL, 1), -EINVAL);
    for (unsigned i = 0; i < sizeof(failures) / sizeof(failures[0]); i++) {
        calls.path = failures[i].path;
        calls_fail(failures[i].name, 1, failures[i].error);
        ck_assert_int_eq(tarn_pool_set(pool, assignments, 1), failures[i].result);
        ck_assert_msg(calls_end(), "%s, %s", failures[i].name, failures[i].path);
        ck_assert_int_eq(tarn_pool_get(pool, "dirty_frames_high", &setting), 0);
        ck_assert(!setting.is_set);
    }
    pid_t other = start_process(lock_options, (void *)(uintptr_t)test_path("pool/lock"));
    int fd = open(test_path("pool/lock"), O_RDWR | O_CLOEXEC);
    wait_until(tarn_byte_locked(fd, TARN_LOCK_OPTIONS));
    calls.sleepless = true;
    ck_assert_int_eq(tarn_pool_set(pool, assignments, 1), -EBUSY);
    calls_end();
    kill_process(other);
    close(fd);
    ck_assert_int_eq(tarn_pool_set(pool, assignments, 1), 0);
    ck_assert_int_eq(tarn_pool_get(pool, "dirty_frames_high", &setting), 0);
    ck_assert(setting.is_set && setting.value == 20);
    ck_assert_int_eq(tarn_detach(pool), 0);
}
END_TEST

static ino_t options_inode;
static uid_t shown_uid;
static gid_t shown_gid;

static void show_owner(struct stat *status)
{
    if (status->st_ino != options_inode)
        return;
    status->st_uid = shown_uid;
    status->st_gid = shown_gid;
}

static int set_as_another(uid_t uid, gid_t gid, unsigned refusals)
{
    static const char *const assignments[] = {"dirty_frames_high=20"};
    struct stat status;

    ck_assert_int_eq(stat(test_path("pool/options"), &status), 0);
    options_inode = status.st_ino;
    shown_uid = uid;
    shown_gid = gid;
    calls.status = show_owner;
    calls.stays = refusals == 2;
    calls_fail("fchown", refusals > 0, EPERM);
    int result = tarn_pool_set(pool, assignments, 1);
    bool refused = calls_end();
    ck_assert_int_eq(refused, refusals > 0);
    return result;
}

/* What the owner could read must not become somebody else's alone. */
START_TEST(settings_stay_the_owners)
{
    struct tarn_init_options options = {.size = sizeof(options),
                                        .directory = test_path("pool"),
                                        .frame_bytes = FRAMES * PAGE_BYTES};
    struct stat before, after;

    for (unsigned group = 0; group < 2; group++) {
        options.mode = group ? 0660 : 0600;
        ck_assert_int_eq(tarn_init(test_pool_name(), &options, &message), 0);
        pool = attach_pool(test_pool_name());
        /* Root may give it back; the group gets it if nobody can; nobody else needs to read it. */
        ck_assert_int_eq(set_as_another(getuid() + 1, getgid(), 0), 0);
        ck_assert_int_eq(set_as_another(getuid() + 1, getgid() + 1, 1), 0);
        ck_assert_int_eq(set_as_another(getuid() + 1, getgid(), 2), 0);
        ck_assert_int_eq(stat(test_path("pool/options"), &before), 0);
        ck_assert_int_eq(set_as_another(getuid(), getgid() + 1, 2), group ? -EPERM : 0);
        ck_assert_int_eq(stat(test_path("pool/options"), &after), 0);
        ck_assert_int_eq(before.st_ino == after.st_ino, group);
        ck_assert(!exists(test_path("pool/options.new")));
        ck_assert_int_eq(tarn_detach(pool), 0);
        ck_assert_int_eq(tarn_destroy(test_pool_name(), NULL, TARN_DESTROY_DATA, &message), 0);
    }
}
END_TEST

START_TEST(file_system_without_unnamed_files)
{
    static const int errors[] = {EOPNOTSUPP, EISDIR, EINVAL};
    static const struct {
        const char *name;
        unsigned at;
        int error, result;
    } failures[] = {
        {"getrandom", 2, EINTR, 0},          {"renameat2", 1, EEXIST, -EEXIST},
        {"renameat2", 1, EINVAL, -EINVAL},   {"posix_fallocate64", 1, EFBIG, -ENOSPC},
        {"posix_fallocate64", 1, EIO, -EIO}, {"open64", 2, EROFS, -EROFS},
    };

    for (unsigned i = 0; i < sizeof(errors) / sizeof(errors[0]); i++) {
        calls.without_tmpfile = errors[i];
        ck_assert_int_eq(init_it(), 0);
        calls_end();
        ck_assert_int_eq(tarn_detach(attach_pool(test_pool_name())), 0);
        ck_assert_int_eq(tarn_destroy(test_pool_name(), NULL, TARN_DESTROY_DATA, &message), 0);
    }
    for (unsigned i = 0; i < sizeof(failures) / sizeof(failures[0]); i++) {
        calls.without_tmpfile = EOPNOTSUPP;
        calls.path = strcmp(failures[i].name, "open64") == 0 ? "/tarn." : NULL;
        calls_fail(failures[i].name, failures[i].at, failures[i].error);
        ck_assert_int_eq(init_it(), failures[i].result);
        ck_assert(calls_end());
        ck_assert(exists(segment_path()) == (failures[i].result == 0));
        ck_assert(exists(test_path("pool")) == (failures[i].result == 0));
        if (failures[i].result == 0)
            ck_assert_int_eq(tarn_destroy(test_pool_name(), NULL, TARN_DESTROY_DATA, &message), 0);
    }
    calls.without_tmpfile = EACCES;
    ck_assert_int_eq(init_it(), -EACCES);
    calls_end();
}
END_TEST

static bool is_file(int fd, const char *words)
{
    char link[64], path[256];

    snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof(path) - 1);
    path[length < 0 ? 0 : length] = 0;
    return says(path, words);
}

/* What is read of the boot's id. */
static const char *boot_text;

static ssize_t show_boot(int fd, void *bytes, size_t count)
{
    return is_file(fd, "boot_id") ? snprintf(bytes, count, "%s", boot_text) : -2;
}

START_TEST(boot_that_is_not_to_be_told)
{
    struct tarn_pool *handle;

    ck_assert_int_eq(init_it(), 0);
    boot_text = "01234567-89ab-cdef-0123-456789abcdef\n";
    calls.read = show_boot;
    ck_assert_int_eq(tarn_attach(test_pool_name(), NULL, &handle, &message), -ESTALE);
    ck_assert(says(message.text, "reboot"));
    /* Nobody can tell: it counts as this one. */
    boot_text = "no numbers\n";
    ck_assert_int_eq(tarn_attach(test_pool_name(), NULL, &handle, &message), 0);
    ck_assert_int_eq(tarn_segment_build(test_path("pool"), NULL, NULL, &message), -EBUSY);
    ck_assert_int_eq(tarn_detach(handle), 0);
    ck_assert_int_eq(tarn_segment_build(test_path("pool"), NULL, NULL, &message), -EEXIST);
    ck_assert(says(message.text, "exists already"));
    calls.path = "boot_id";
    calls_fail("open64", 1, EMFILE);
    ck_assert_int_eq(tarn_segment_build(test_path("pool"), NULL, NULL, &message), -EEXIST);
    ck_assert(calls_end());
}
END_TEST

START_TEST(segment_of_another_boot_that_stays)
{
    ck_assert_int_eq(init_it(), 0);
    boot_text = "01234567-89ab-cdef-0123-456789abcdef\n";
    calls.read = show_boot;
    calls_fail("unlink", 1, EACCES);
    assert_fails_with(message, -EACCES, "out of date",
                      tarn_segment_build(test_path("pool"), NULL, NULL, &message));
    ck_assert(exists(segment_path()));
    /* Gone by itself, and there again. */
    calls_fail("unlink", 1, ENOENT);
    assert_fails_with(message, -EEXIST, "exists already",
                      tarn_segment_build(test_path("pool"), NULL, NULL, &message));
    ck_assert_int_eq(tarn_segment_build(test_path("pool"), NULL, NULL, &message), 0);
    /* Whatever the kernel refuses to tell, it is not built again while it is there. */
    for (unsigned at = 1; at < 10; at++) {
        calls_fail("fstat64", at, EIO);
        ck_assert_int_lt(tarn_segment_build(test_path("pool"), NULL, NULL, &message), 0);
        calls_fail("type", at, 0);
        ck_assert_int_lt(tarn_segment_build(test_path("pool"), NULL, NULL, &message), 0);
        ck_assert(exists(segment_path()));
    }
    calls_end();
    ck_assert_int_eq(rename(test_path("pool"), test_path("moved")), 0);
    ck_assert_int_eq(tarn_destroy(test_pool_name(), NULL, 0, &message), 0);
    ck_assert(!exists(segment_path()) && exists(test_path("moved")));
}
END_TEST

static int attach_it(void)
{
    int result;

    message = (struct tarn_message){""};
    result = tarn_attach(test_pool_name(), NULL, &pool, &message);
    ck_assert(result < 0 || tarn_detach(pool) == 0);
    return result;
}

START_TEST(segment_that_may_not_be_opened)
{
    static const struct {
        const char *name, *path;
        unsigned at;
        int error, result;
        const char *words;
    } failures[] = {
        {"open64", "/tarn.", 1, EACCES, -EPERM, "no permission"},
        {"open64", "/tarn.", 1, EPERM, -EPERM, "no permission"},
        {"open64", "/tarn.", 1, ELOOP, -EPERM, "symbolic link"},
        {"open64", "/tarn.", 1, EISDIR, -ENOTTY, "is a directory"},
        {"open64", "/tarn.", 1, ENFILE, -ENFILE, "segment"},
        {"open64", "/tarn.", 2, ENOENT, -EBUSY, "replaced"},
        {"open64", "/tarn.", 2, ENFILE, -ENFILE, "segment"},
        {"open64", "/pool", 1, ENOENT, -ENOTDIR, "directory"},
        {"open64", "/pool", 1, ENOTDIR, -ENOTDIR, "directory"},
        {"open64", "/pool", 1, ELOOP, -ENOTDIR, "directory"},
        {"open64", "/pool", 1, EACCES, -EPERM, "directory"},
        {"open64", "/pool", 1, ENFILE, -ENFILE, "directory"},
        {"openat64", "lock", 1, EACCES, -EPERM, "lock file"},
        {"fcntl64", NULL, 1, EACCES, -EBUSY, "try again"},
        {"fcntl64", NULL, 1, ENOLCK, -ENOLCK, "try again"},
        {"type", NULL, 1, 0, -ENOTTY, "not a regular file"},
        {"end", NULL, 1, 0, -ENOTTY, "segment"},
    };

    ck_assert_int_eq(init_it(), 0);
    for (unsigned i = 0; i < sizeof(failures) / sizeof(failures[0]); i++) {
        calls.path = failures[i].path;
        calls_fail(failures[i].name, failures[i].at, failures[i].error);
        assert_fails_with(message, failures[i].result, failures[i].words, attach_it());
        ck_assert_msg(calls_end(), "%s, %s", failures[i].name, failures[i].path);
    }
    /* What has the name is another segment by now. */
    for (unsigned i = 0; i < 2; i++)
        for (unsigned at = 1; at < 10; at++) {
            calls_fail(i == 0 ? "inode" : "device", at, 0);
            int result = attach_it();
            ck_assert(result == 0 || (result == -EBUSY && says(message.text, "replaced")));
            calls_end();
        }
    calls.other_user = true;
    assert_fails_with(message, -EPERM, "not yours", attach_it());
    calls_end();
    ck_assert_int_eq(attach_it(), 0);
}
END_TEST

START_TEST(segment_of_the_group)
{
    struct tarn_init_options options = {.size = sizeof(options),
                                        .directory = test_path("pool"),
                                        .frame_bytes = FRAMES * PAGE_BYTES,
                                        .mode = 0660};

    ck_assert_int_eq(tarn_init(test_pool_name(), &options, &message), 0);
    calls.other_user = true;
    ck_assert_int_eq(attach_it(), 0);
    calls_end();
    ck_assert_int_eq(chmod(segment_path(), 0640), 0);
    assert_fails_with(message, -EPERM, "0640", attach_it());
    ck_assert_int_eq(chmod(segment_path(), 0664), 0);
    assert_fails_with(message, -EPERM, "0664", attach_it());
}
END_TEST

START_TEST(directory_that_may_not_be_had)
{
    static const struct {
        const char *name, *path;
        unsigned at;
        int error, result;
    } failures[] = {
        {"openat64", "lock", 2, EACCES, -EPERM}, {"openat64", "lock", 2, EROFS, -EROFS},
        {"fchmod", NULL, 1, EPERM, -EPERM},      {"inode", NULL, 1, 0, -EBUSY},
        {"device", NULL, 1, 0, -EBUSY},          {"fcntl64", NULL, 1, EACCES, -EBUSY},
    };

    for (unsigned i = 0; i < sizeof(failures) / sizeof(failures[0]); i++) {
        calls.path = failures[i].path;
        calls_fail(failures[i].name, failures[i].at, failures[i].error);
        ck_assert_int_eq(init_it(), failures[i].result);
        ck_assert_msg(calls_end(), "%s, %s", failures[i].name, failures[i].path);
        unlink(test_path("pool/lock"));
        rmdir(test_path("pool"));
    }
    ck_assert_int_eq(init_it(), 0);
    /* A FIFO that cannot be had is none: the writer looks by itself. */
    calls_fail("lstat64", 1, EIO);
    ck_assert_int_eq(tarn_wake_fifo_make(segment_path(), 0600), -EEXIST);
    ck_assert(calls_end());
    calls_fail("chmod", 1, EPERM);
    ck_assert_int_eq(tarn_wake_fifo_make(segment_path(), 0600), -EPERM);
    ck_assert(calls_end());
}
END_TEST

START_TEST(data_file_that_changes_between_two_looks)
{
    static const char *const names[] = {"inode", "device", "type", "fstat64", "fstatat64"};
    uint32_t other;

    begin_with_pool();
    fill_page(session, page(1), '1');
    for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        for (unsigned at = 1; at < 12; at++) {
            calls_fail(names[i], at, 0);
            int result = tarn_file_open(session, "other", TARN_FILE_CREATE, &other);
            calls_end();
            if (result == 0)
                assert_ok(session, tarn_file_drop(session, other, 0, -1));
            unlink(file_path("other"));
        }
    ck_assert(page_has(session, page(1), '1'));
    assert_ok(session, tarn_file_open(session, "other", TARN_FILE_CREATE, &other));
    end_with_pool();
}
END_TEST

/* Processes. */

static void attach_and_wait(void *argument)
{
    open_session(attach_pool(argument));
    pause();
}

static void assert_ends_by_kill(pid_t pid)
{
    int status;

    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

/* A process that is dead, while others still see its locks: a zombie, and a kernel that says so. */
static unsigned begin_with_zombie(pid_t *ret_pid)
{
    unsigned slot;
    siginfo_t info;

    ck_assert_int_eq(init_it(), 0);
    pool = attach_pool(test_pool_name());
    if (pool->pid_namespace == 0)
        test_skip("/proc is another pid namespace's");
    *ret_pid = start_process(attach_and_wait, (void *)(uintptr_t)test_pool_name());
    wait_until((slot = slot_of_process(pool, *ret_pid)) != 0);
    calls.locked = true;
    ck_assert(!tarn_dead_by_kernel(pool, slot));
    ck_assert_int_eq(kill(*ret_pid, SIGKILL), 0);
    ck_assert_int_eq(waitid(P_PID, (id_t)*ret_pid, &info, WEXITED | WNOWAIT), 0);
    return slot;
}

START_TEST(death_is_proven_or_not_taken_for_granted)
{
    pid_t pid;
    unsigned slot = begin_with_zombie(&pid), unproven = 0;
    bool happened = true;

    ck_assert(tarn_dead_by_kernel(pool, slot));
    for (unsigned at = 1; happened; at++) {
        ck_assert_uint_lt(at, 100);
        calls_fail(NULL, at, 0);
        calls.locked = true;
        bool proven = tarn_dead_by_kernel(pool, slot);
        const char *name = calls.refused;
        happened = calls_end();
        /* A link that cannot be read is that of one who has no memory; a lock that cannot be asked
         * for counts as held, and so does not matter here, nor does a closing. */
        if (happened && strcmp(name, "readlinkat") != 0 && strcmp(name, "fcntl64") != 0 &&
            strcmp(name, "close") != 0)
            ck_assert_msg(!proven, "call %u, %s, fails, and proves a death", at, name);
        unproven += happened && !proven;
    }
    ck_assert_uint_gt(unproven, 10);
    assert_ends_by_kill(pid);
    ck_assert_int_eq(tarn_detach(pool), 0);
}
END_TEST

/* What /proc says of a task, beginning with the `told_from`th question. */
static const char *told;
static unsigned told_from;

static ssize_t tell(int fd, void *bytes, size_t count)
{
    (void)fd;
    if (told_from > 1) {
        told_from--;
        return -2;
    }
    return snprintf(bytes, count, "%s", told);
}

START_TEST(odd_words_of_the_kernel_prove_nothing)
{
    static const char *const texts[] = {
        "",
        "1 (name",
        "1 (name) Z 1 1 1",
        "1 (name) Z 1 1 1 0 -1 4 0 0 0 0 0 0 0 0 20 0 1 0 1",  /* another start */
        "1 (name) Z 1 1 1 0 -1 64 0 0 0 0 0 0 0 0 20 0 1 0 1", /* and not exiting */
    };
    pid_t pid;
    unsigned slot = begin_with_zombie(&pid);

    /* The process, its task, the task again, the process again. */
    for (unsigned from = 1; from <= 4; from++)
        for (unsigned i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
            told = texts[i];
            told_from = from;
            calls.read = tell;
            bool proven = tarn_dead_by_kernel(pool, slot);
            /* Of a task only the flags are asked. */
            ck_assert_msg(proven == (i == 3 && (from == 2 || from == 3) && told_from > 1),
                          "from %u, '%s'", from, told);
            calls.read = NULL;
        }
    calls_end();
    assert_ends_by_kill(pid);
    ck_assert_int_eq(tarn_detach(pool), 0);
}
END_TEST

START_TEST(stopped_is_who_the_kernel_says_is)
{
    static const struct {
        const char *text;
        bool stopped;
    } cases[] = {
        {"1 (a) T) T 1", true}, {"1 (a) t 1", true}, {"1 (a) S 1", false},
        {"1 (a", false},        {"1 (a)T", false},   {"", false},
    };
    unsigned slot;

    ck_assert_int_eq(init_it(), 0);
    pool = attach_pool(test_pool_name());
    session = open_session(pool);
    slot = slot_of_process(pool, getpid());
    told_from = 1;
    for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        told = cases[i].text;
        calls.read = tell;
        ck_assert_msg(tarn_stopped_by_kernel(pool, slot) == cases[i].stopped, "'%s'", told);
        calls.read = NULL;
    }
    calls_fail("open64", 1, EMFILE);
    ck_assert(!tarn_stopped_by_kernel(pool, slot));
    calls_fail("read", 1, EIO);
    ck_assert(!tarn_stopped_by_kernel(pool, slot));
    ck_assert(calls_end());
    ck_assert_int_eq(tarn_detach(pool), 0);
}
END_TEST

static ssize_t tell_of_self(int fd, void *bytes, size_t count)
{
    return is_file(fd, "/stat") ? tell(fd, bytes, count) : -2;
}

/* Without an early proof: it says nothing that is not so, and the locks still tell. */
START_TEST(process_that_does_not_know_itself)
{
    static const struct {
        const char *name;
        unsigned at;
    } calls_that_fail[] = {{"readlink", 1}, {"stat64", 1}};

    ck_assert_int_eq(init_it(), 0);
    for (unsigned i = 0; i < sizeof(calls_that_fail) / sizeof(calls_that_fail[0]); i++) {
        calls_fail(calls_that_fail[i].name, calls_that_fail[i].at, EACCES);
        pool = attach_pool(test_pool_name());
        ck_assert(calls_end());
        ck_assert_uint_eq(pool->pid_namespace, 0);
        session = open_session(pool);
        ck_assert(!tarn_stopped_by_kernel(pool, slot_of_process(pool, getpid())));
        ck_assert_int_eq(tarn_detach(pool), 0);
    }
    told = "1 (name";
    told_from = 1;
    calls.path = NULL;
    calls.read = tell_of_self;
    pool = attach_pool(test_pool_name());
    calls_end();
    ck_assert_uint_eq(pool->start_time, 0);
    ck_assert_uint_eq(pool->pid_namespace, 0);
    ck_assert_int_eq(tarn_detach(pool), 0);
}
END_TEST

/* Limits of time, with a clock that does not wait for them. */

static void lock_fence(void *argument)
{
    int fd = open(argument, O_RDWR | O_CLOEXEC);

    if (tarn_lock_byte(fd, TARN_LOCK_FENCE, F_WRLCK) == 0)
        pause();
}

START_TEST(data_file_of_two_pools)
{
    pid_t other;
    int fd;

    make_bytes(test_path("data"), PAGE_BYTES);
    fd = open(test_path("data"), O_RDWR | O_CLOEXEC);
    other = start_process(lock_fence, (void *)(uintptr_t)test_path("data"));
    wait_until(tarn_byte_locked(fd, TARN_LOCK_FENCE));
    calls.sleepless = true;
    assert_fails_with(message, -EBUSY, "two pools", tarn_fence_lock(fd, "data", &message));
    calls_end();
    kill_process(other);
    ck_assert_int_eq(tarn_fence_lock(fd, "data", &message), 0);
    calls_fail("fcntl64", 1, ENOLCK);
    assert_fails_with(message, -ENOLCK, "locking data", tarn_fence_lock(fd, "data", &message));
    ck_assert(calls_end());
    close(fd);
}
END_TEST

static void attach_only(void *argument)
{
    attach_pool(argument);
    kill(getpid(), SIGSTOP);
}

static void open_many_sessions(void *argument)
{
    struct tarn_pool *own = attach_pool(argument);

    for (unsigned i = 0; i < 60; i++)
        open_session(own);
    pause();
}

START_TEST(who_destroys_is_told_who_is_there)
{
    char words[32];
    pid_t killed, other;
    int status;

    ck_assert_int_eq(init_it(), 0);
    killed = start_process(attach_and_wait, (void *)(uintptr_t)test_pool_name());
    pool = attach_pool(test_pool_name());
    wait_until(slot_of_process(pool, killed) != 0);
    ck_assert_int_eq(tarn_detach(pool), 0);
    kill_process(killed);
    /* Somebody who is attached, and has no session. */
    other = start_process(attach_only, (void *)(uintptr_t)test_pool_name());
    ck_assert_int_eq(waitpid(other, &status, WUNTRACED), other);
    calls.sleepless = true;
    snprintf(words, sizeof(words), "%d", (int)other);
    assert_fails_with(message, -EBUSY, words, tarn_destroy(test_pool_name(), NULL, 0, &message));
    calls_end();
    kill_process(other);
    /* More than can be named. */
    other = start_process(open_many_sessions, (void *)(uintptr_t)test_pool_name());
    pool = attach_pool(test_pool_name());
    wait_until(tarn_load_acquire(&tarn_view_slot(&pool->view, 60)->state) == SLOT_LIVE);
    tarn_store_relaxed(&tarn_view_slot(&pool->view, 1)->role, 9);
    ck_assert_int_eq(tarn_detach(pool), 0);
    assert_fails_with(message, -EBUSY, "session",
                      tarn_destroy(test_pool_name(), NULL, 0, &message));
    ck_assert(says(message.text, "?"));
    kill_process(other);
    ck_assert_int_eq(tarn_destroy(test_pool_name(), NULL, 0, &message), 0);
}
END_TEST

/* Reading ahead. The writer is another process: its ring is no matter here. */

enum { AHEAD_FILES = 20 };

static pid_t begin_ahead(uint32_t *ret_files, unsigned file_count, unsigned pages)
{
    pid_t writer;
    char name[16];

    ck_assert_int_eq(init_it(), 0);
    pool = attach_pool(test_pool_name());
    session = open_session(pool);
    writer = start_writer(test_pool_name(), session);
    for (unsigned i = 0; i < file_count; i++) {
        snprintf(name, sizeof(name), "file-%u", i);
        ret_files[i] = make_file(session, name, pages);
    }
    return writer;
}

static void end_ahead(pid_t writer)
{
    assert_consistent(pool);
    ck_assert_int_eq(tarn_detach(pool), 0);
    stop_writer(writer);
}

/* More files than the ring has numbers for. */
START_TEST(many_files_are_read_ahead)
{
    uint32_t files[AHEAD_FILES];
    struct tarn_page_id ids[AHEAD_FILES];
    pid_t writer = begin_ahead(files, AHEAD_FILES, 1);

    for (unsigned i = 0; i < AHEAD_FILES; i++)
        ids[i] = tarn_page_id(files[i], 0);
    int begun = tarn_prefetch(session, ids, AHEAD_FILES);
    ck_assert_msg(begun == 0 || begun == 16, "%d reads were begun", begun);
    for (unsigned i = 0; i < AHEAD_FILES; i++)
        ck_assert(page_has(session, ids[i], 0));
    /* A file of the same number that is another. */
    assert_ok(session, tarn_file_drop(session, files[0], 1, -1));
    ck_assert_uint_eq(make_file(session, "again", 1), files[0]);
    assert_ok(session, tarn_prefetch(session, ids, 1));
    ck_assert(page_has(session, ids[0], 0));
    end_ahead(writer);
}
END_TEST

START_TEST(ring_that_fails_is_used_no_more)
{
    static const char *const names[] = {"io_uring_submit", "io_uring_submit_and_wait_timeout",
                                        "io_uring_submit_and_get_events", "aligned_alloc",
                                        "io_uring_register_files_update"};
    struct tarn_page_id ids[60];
    struct tarn_pin pins[60];
    uint32_t data;
    pid_t writer = begin_ahead(&data, 1, 60);

    for (unsigned i = 0; i < 60; i++) {
        ids[i] = tarn_page_id(data, i);
        fill_page(session, ids[i], (int)i);
    }
    for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        struct tarn_session *own = open_session(pool);

        for (unsigned j = 0; j < 60; j++)
            drive_out(ids[j]);
        calls.stays = true;
        calls_fail(names[i], 1, EBADR);
        assert_ok(own, tarn_prefetch(own, ids, 20));
        assert_ok(own, tarn_pin_many(own, ids, 40, 0, pins));
        for (unsigned j = 0; j < 40; j++)
            ck_assert(filled_with(pins[j].data, (int)j));
        assert_ok(own, tarn_unpin_many(own, pins, 40));
        assert_ok(own, tarn_prefetch(own, ids + 40, 20));
        calls_end();
        for (unsigned j = 40; j < 60; j++)
            ck_assert(page_has(own, ids[j], (int)j));
        assert_ok(own, tarn_session_close(own));
    }
    end_ahead(writer);
}
END_TEST

/* Rings. */

static struct tarn_io *open_ring(unsigned depth, unsigned thread_count,
                                 enum tarn_io_backend backend)
{
    struct tarn_io_options options = {
        .backend = backend, .depth = depth, .thread_count = thread_count, .file_count = 2};
    struct tarn_io *io = NULL;
    int result = tarn_io_open(&options, &io);

    if (result < 0 && backend == TARN_IO_URING)
        test_skip("io_uring is refused: %s", strerror(-result));
    ck_assert_int_eq(result, 0);
    return io;
}

START_TEST(ring_of_an_old_kernel)
{
    struct tarn_io_options options = {.depth = 4, .file_count = 0};
    struct tarn_io *io;

    tarn_io_close(open_ring(1, 0, TARN_IO_URING));
    calls.without_features = true;
    ck_assert_int_eq(tarn_io_open(&options, &io), 0);
    ck_assert_str_eq(tarn_io_capabilities(io)->backend, "threads");
    ck_assert_int_eq(tarn_io_capabilities(io)->refused, -EOPNOTSUPP);
    tarn_io_close(io);
    calls.without_features = false;
    ck_assert_int_eq(tarn_io_open(&options, &io), 0);
    ck_assert_str_eq(tarn_io_capabilities(io)->backend, "io_uring");
    ck_assert(!tarn_io_capabilities(io)->registered_files);
    tarn_io_close(io);
    options.file_count = TARN_IO_FILE_COUNT_MAX + 1;
    ck_assert_int_eq(tarn_io_open(&options, &io), -EINVAL);
    calls_end();
}
END_TEST

/* More is queued than the ring has places, and the kernel takes none just now. */
START_TEST(ring_that_takes_nothing_just_now)
{
    static const int errors[] = {EBUSY, EAGAIN, CALLS_NOTHING};
    struct tarn_io_completion done[8];
    int ends[2];

    ck_assert_int_eq(pipe(ends), 0);
    for (unsigned i = 0; i < sizeof(errors) / sizeof(errors[0]); i++) {
        struct tarn_io *io = open_ring(1, 0, TARN_IO_URING);
        int expected = errors[i] == CALLS_NOTHING ? -EAGAIN : -errors[i];

        for (uint64_t id = 1; id <= 4; id++)
            ck_assert_int_eq(tarn_io_poll(io, ends[0], id), 0);
        calls_fail("io_uring_submit", 1, errors[i]);
        ck_assert_int_eq(tarn_io_submit(io), expected);
        ck_assert(calls_end());
        ck_assert_int_eq(tarn_io_submit(io), 0);
        ck_assert_int_eq(tarn_io_poll(io, ends[0], 5), 0);
        calls_fail("io_uring_submit", 1, errors[i]);
        ck_assert_int_eq(tarn_io_submit(io), expected);
        ck_assert(calls_end());
        /* All of them come. */
        ck_assert_int_eq(write(ends[1], "w", 1), 1);
        for (unsigned taken = 0; taken < 5;) {
            int count = tarn_io_wait(io, -1, done, 8);
            ck_assert_int_ge(count, 0);
            taken += (unsigned)count;
        }
        ck_assert_int_eq(read(ends[0], done, 1), 1);
        tarn_io_close(io);
    }
}
END_TEST

/* Refused while others are in flight: these are waited for, and it is asked again. */
START_TEST(wait_that_is_refused)
{
    static const int64_t waits[] = {-1, 0, 1000, INT64_C(3600000000000)};
    static const struct itimerspec soon = {.it_value = {.tv_nsec = 20000000}};
    struct tarn_io_completion done[8];
    int timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);

    for (unsigned i = 0; i < sizeof(waits) / sizeof(waits[0]); i++) {
        struct tarn_io *io = open_ring(4, 0, TARN_IO_URING);
        const char *name =
            waits[i] == 0 ? "io_uring_submit_and_get_events" : "io_uring_submit_and_wait_timeout";
        int count = 0;

        /* Nothing is in flight: there is nothing to wait for. */
        ck_assert_int_eq(tarn_io_poll(io, timer, 1), 0);
        calls_fail(name, 1, EBUSY);
        ck_assert_int_eq(tarn_io_wait(io, waits[i], done, 8), -EBUSY);
        ck_assert(calls_end());
        ck_assert_int_eq(tarn_io_submit(io), 0);
        ck_assert_int_eq(tarn_io_poll(io, timer, 2), 0);
        ck_assert_int_eq(timerfd_settime(timer, 0, &soon, NULL), 0);
        calls_fail(name, 1, EBUSY);
        for (unsigned taken = 0; taken < 2; taken += (unsigned)count) {
            count = tarn_io_wait(io, waits[i], done, 8);
            ck_assert_int_ge(count, 0);
        }
        ck_assert(calls_end());
        ck_assert_int_eq(read(timer, done, sizeof(uint64_t)), sizeof(uint64_t));
        /* All is with the kernel, which fails. */
        ck_assert_int_eq(tarn_io_poll(io, timer, 3), 0);
        ck_assert_int_eq(tarn_io_submit(io), 0);
        calls_fail("io_uring_submit_and_wait_timeout", 1, EBADR);
        ck_assert_int_eq(tarn_io_wait(io, 1000, done, 8), -EBADR);
        ck_assert(calls_end());
        tarn_io_close(io);
    }
    close(timer);
}
END_TEST

START_TEST(file_that_the_ring_does_not_take)
{
    struct tarn_io *io = open_ring(4, 0, TARN_IO_URING);
    struct tarn_io_completion done;
    char bytes[8];
    int fd;

    make_bytes(test_path("data"), PAGE_BYTES);
    fd = open(test_path("data"), O_RDWR | O_CLOEXEC);
    if (!tarn_io_capabilities(io)->registered_files)
        test_skip("files cannot be registered");
    ck_assert_int_eq(tarn_io_set_file(io, 0, fd), 0);
    calls_fail("io_uring_register_files_update", 1, ENOMEM);
    ck_assert_int_eq(tarn_io_set_file(io, 0, fd), -ENOMEM);
    ck_assert(calls_end());
    ck_assert_int_eq(tarn_io_set_file(io, 0, fd), 0);
    ck_assert_int_eq(tarn_io_read(io, 0, bytes, (size_t)INT64_MAX + 1, 0, 1), -EINVAL);
    ck_assert_int_eq(tarn_io_read(io, 0, bytes, sizeof(bytes), INT64_MAX, 1), -EINVAL);
    ck_assert_int_eq(tarn_io_read(io, 0, bytes, sizeof(bytes), 0, 1), 0);
    ck_assert_int_eq(tarn_io_wait(io, -1, &done, 1), 1);
    ck_assert_int_eq(done.result, sizeof(bytes));
    tarn_io_close(io);
    close(fd);
}
END_TEST

START_TEST(threads_as_many_as_asked_for)
{
    struct tarn_io *io;
    struct tarn_io_completion done[2];
    int ends[2];

    ck_assert_int_eq(pipe(ends), 0);
    calls_fail("getrlimit64", 1, 0);
    io = open_ring(4, 2, TARN_IO_THREADS);
    ck_assert(calls_end());
    ck_assert_int_eq(tarn_io_poll(io, ends[0], 1), 0);
    calls_fail("ppoll", 1, ENOMEM);
    ck_assert_int_eq(tarn_io_wait(io, -1, done, 2), -ENOMEM);
    ck_assert(calls_end());
    /* A cancel that comes after the end, which nobody has taken yet. */
    ck_assert_int_eq(write(ends[1], "w", 1), 1);
    ck_assert_int_eq(tarn_io_wait(io, -1, NULL, 0), 0);
    ck_assert_int_eq(tarn_io_poll_cancel(io, 1), 0);
    ck_assert_int_eq(tarn_io_submit(io), 0);
    ck_assert_int_eq(tarn_io_wait(io, -1, done, 2), 1);
    ck_assert_uint_eq(done[0].id, 1);
    ck_assert_int_gt(done[0].result, 0);
    tarn_io_close(io);
}
END_TEST

void test_suite(Suite *suite)
{
    TCase *files = test_case(suite, "files", 60);
    TCase *segments = test_case(suite, "segments", 60);
    TCase *processes = test_case(suite, "processes", 60);
    TCase *limits = test_case(suite, "limits", 60);
    TCase *ahead = test_case(suite, "ahead", 60);
    TCase *rings = test_case(suite, "rings", 60);

    tcase_add_test(files, block_device_keeps_its_size);
    tcase_add_test(files, block_device_without_a_size);
    tcase_add_test(files, direct_blocks_must_divide_a_page);
    tcase_add_test(files, file_system_that_cannot_allocate);
    tcase_add_test(files, users_of_a_file);
    tcase_add_test(files, read_that_brings_nothing);
    tcase_add_test(files, writer_that_cannot_be_called);
    tcase_add_test(files, dropped_file_that_keeps_its_name);
    tcase_add_test(files, durable_writes_that_cannot_be_measured);
    tcase_add_test(segments, file_system_without_unnamed_files);
    tcase_add_test(segments, boot_that_is_not_to_be_told);
    tcase_add_test(segments, segment_of_another_boot_that_stays);
    tcase_add_test(segments, destroyed_while_its_names_go);
    tcase_add_test(segments, settings_that_cannot_be_stored);
    tcase_add_test(segments, settings_stay_the_owners);
    tcase_add_test(segments, segment_that_may_not_be_opened);
    tcase_add_test(segments, segment_of_the_group);
    tcase_add_test(segments, directory_that_may_not_be_had);
    tcase_add_test(segments, data_file_that_changes_between_two_looks);
    tcase_add_test(limits, data_file_of_two_pools);
    tcase_add_test(limits, who_destroys_is_told_who_is_there);
    tcase_add_test(ahead, many_files_are_read_ahead);
    tcase_add_test(ahead, ring_that_fails_is_used_no_more);
    tcase_add_test(processes, death_is_proven_or_not_taken_for_granted);
    tcase_add_test(processes, odd_words_of_the_kernel_prove_nothing);
    tcase_add_test(processes, stopped_is_who_the_kernel_says_is);
    tcase_add_test(processes, process_that_does_not_know_itself);
    tcase_add_test(rings, ring_of_an_old_kernel);
    tcase_add_test(rings, ring_that_takes_nothing_just_now);
    tcase_add_test(rings, wait_that_is_refused);
    tcase_add_test(rings, file_that_the_ring_does_not_take);
    tcase_add_test(rings, threads_as_many_as_asked_for);
}
