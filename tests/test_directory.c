/* SPDX-License-Identifier: MIT */
/* The pool's directory: its two files, and the segment that is built from them. */
#include <glob.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/vfs.h>

#include "lib/directory.h"
#include "tests/pool.h"

static int open_directory(const char *path)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    ck_assert_int_ge(fd, 0);
    return fd;
}

static void write_file(const char *path, const char *text)
{
    FILE *stream = fopen(path, "w");

    ck_assert_ptr_nonnull(stream);
    fputs(text, stream);
    fclose(stream);
}

static struct tarn_directory_options some_options(void)
{
    return (struct tarn_directory_options){
        .frame_bytes = UINT64_C(5) << 32,
        .page_bytes = 8192,
        .session_count = 1024,
        .file_count = 3,
        .mode = 0660,
        .recovery_number = UINT64_MAX,
        .uuid = {0, 1, 127, 128, 255},
        .name = "a.b_c-D",
        .policy = "2q",
        .shm_directory = "/dev/shm/a b",
        .setting = {[SET_FREE_HIGH] = SETTING_SET, [SET_DIRTY_LOW] = UINT32_MAX},
    };
}

START_TEST(options_are_read_as_they_were_written)
{
    struct tarn_directory_options wrote = some_options(), got;
    struct tarn_message message = {""};
    int fd = open_directory(test_dir());

    ck_assert_int_eq(tarn_directory_write_options(fd, &wrote, &message), 0);
    memset(&got, 0, sizeof(got));
    ck_assert_int_eq(tarn_directory_read_options(fd, &got, &message), 0);
    ck_assert_mem_eq(&wrote, &got, sizeof(got));
    close(fd);
}
END_TEST

#define WHOLE_OPTIONS(frame_bytes, page_bytes, sessions, files)                                    \
    "tarn options 1\nname x\nuuid 00112233445566778899aabbccddeeff\nframe_bytes " frame_bytes      \
    "\npage_bytes " page_bytes "\nsession_count " sessions "\nfile_count " files                   \
    "\nmode 0600\nrecovery_number 1\nshm_directory /dev/shm\n"

START_TEST(damaged_options_are_refused)
{
    static const char *const texts[] = {
        "",
        "tarn options 2\n",
        "tarn options 1\n",
        "tarn options 1\nname x\n",
        "tarn options 1\nfoo bar\n",
        "tarn options 1\nfoo\n",
        "tarn options 1\npage_bytes 4096x\n",
        "tarn options 1\npage_bytes -1\n",
        "tarn options 1\npage_bytes 99999999999\n",
        "tarn options 1\nname a\nname b\n",
        "tarn options 1\nuuid 12\n",
        "tarn options 1\nuuid 00112233445566778899aabbccddeefg\n",
        "tarn options 1\nframe_bytes 99999999999999999999999\n",
        "tarn options 1\nfree_frames_low 2147483648\n",
        "tarn options 1\nfree_frames_low x\n",
        "tarn options 1\nfree_frames_low 1\nfree_frames_low 1\n",
        WHOLE_OPTIONS("65536", "0", "1", "1"), /* once a division by it */
        WHOLE_OPTIONS("65536", "5000", "1", "1"),
        WHOLE_OPTIONS("4096", "4096", "1", "1"),
        WHOLE_OPTIONS("65536", "4096", "0", "1"),
        WHOLE_OPTIONS("65536", "4096", "1", "4000000000"),
    };
    struct tarn_directory_options got;
    struct tarn_message message = {""};
    int fd = open_directory(test_dir());

    assert_fails_with(message, -ENOTDIR, "options",
                      tarn_directory_read_options(fd, &got, &message));
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        write_file(test_path("options"), texts[i]);
        assert_fails_with(message, -ENOTDIR, "options",
                          tarn_directory_read_options(fd, &got, &message));
    }
    close(fd);
}
END_TEST

START_TEST(file_table_keeps_every_path)
{
    struct tarn_file_record wrote[4] = {{.incarnation = 1000}}, got[4], one;
    struct tarn_message message = {""};
    int fd = open_directory(test_dir());

    wrote[1] = (struct tarn_file_record){.id = 1,
                                         .incarnation = 7,
                                         .kind = FILE_RAW,
                                         .direct = true,
                                         .device = UINT64_MAX,
                                         .inode = 1,
                                         .share = UINT32_MAX,
                                         .path = " a b\nc\\d\t\\040\x7f\xff "};
    wrote[3] = (struct tarn_file_record){
        .id = 3, .incarnation = 1000, .kind = FILE_TEMPORARY, .path = "end"};
    memset(wrote[3].path, 'x', TARN_PATH_BYTES - 1);
    close(creat(test_path(TARN_DIRECTORY_LOCK), 0600));
    ck_assert_int_eq(tarn_directory_write_files(fd, wrote, 3, &message), 0);
    ck_assert_int_eq(tarn_directory_read_files(fd, got, 3, &message), 0);
    for (int i = 0; i < 4; i++) {
        ck_assert_uint_eq(got[i].id, wrote[i].id);
        ck_assert_uint_eq(got[i].incarnation, wrote[i].incarnation);
        ck_assert_uint_eq(got[i].kind, wrote[i].kind);
        ck_assert_int_eq(got[i].direct, wrote[i].direct);
        ck_assert_uint_eq(got[i].share, wrote[i].share);
        ck_assert_uint_eq(got[i].device, wrote[i].device);
        ck_assert_str_eq(got[i].path, wrote[i].path);
    }
    ck_assert_int_eq(tarn_directory_find_file(fd, 3, &one, &message), 0);
    ck_assert_uint_eq(one.incarnation, 1000);
    assert_fails_with(message, -ENXIO, "file 2", tarn_directory_find_file(fd, 2, &one, &message));
    assert_fails_with(message, -ENOTDIR, "id", tarn_directory_read_files(fd, got, 2, &message));
    close(fd);
}
END_TEST

START_TEST(options_larger_than_any_are_refused)
{
    struct tarn_directory_options got;
    struct tarn_message message = {""};
    int fd = open_directory(test_dir());

    write_file(test_path("options"), "tarn options 1\n");
    ck_assert_int_eq(truncate(test_path("options"), ((off_t)1 << 30) + 1), 0);
    assert_fails_with(message, -ENOTDIR, "not a file of tarn's",
                      tarn_directory_read_options(fd, &got, &message));
    close(fd);
}
END_TEST

START_TEST(path_longer_than_any_is_refused)
{
    static char text[2 * TARN_PATH_BYTES];
    struct tarn_file_record got[4];
    struct tarn_message message = {""};
    int fd = open_directory(test_dir());
    int length = snprintf(text, sizeof(text),
                          "tarn files 1\nincarnation 1\nfile 1 1 raw direct"
                          " 1 1 ");

    memset(text + length, 'x', TARN_PATH_BYTES);
    strcat(text, "\nend\n");
    write_file(test_path("files"), text);
    assert_fails_with(message, -ENOTDIR, "damaged",
                      tarn_directory_read_files(fd, got, 3, &message));
    ck_assert(tarn_is_temporary_name("tmp.1.2"));
    ck_assert(!tarn_is_temporary_name("tmp.1.2x") && !tarn_is_temporary_name("tmp.1"));
    close(fd);
}
END_TEST

START_TEST(damaged_file_table_is_refused)
{
    static const char *const texts[] = {
        "",
        "tarn files 1\n",
        "tarn files 1\nincarnation 1\n",
        "tarn files 1\nincarnation 1\nfile 1 1 raw direct 1 1 x\n",
        "tarn files 1\nincarnation 1\nfile 1 2 raw direct 1 1 x\nend\n",
        "tarn files 1\nincarnation 1\nfile 0 1 raw direct 1 1 x\nend\n",
        "tarn files 1\nincarnation 1\nfile 4 1 raw direct 1 1 x\nend\n",
        "tarn files 1\nincarnation 1\nfile 1 1 raw neither 1 1 x\nend\n",
        "tarn files 1\nincarnation 1\nfile 1 1 raw direct 1 1 \nend\n",
        "tarn files 1\nincarnation 1\nfile 1 1 raw direct 1 1 a\\9\nend\n",
        "tarn files 1\nincarnation 1\nfile 1 1 raw direct 1 1 a\\17\nend\n",
        "tarn files 1\nincarnation 1\nfile 1 1 raw direct 1 1 a\\000\nend\n",
        "tarn files 1\nincarnation 1\nfile 1 1 raw direct 1 1 a\\777\nend\n",
        "tarn files 1\nincarnation 1\nfile 1 1 raw direct 1 1\nend\n",
        "tarn files 1\nincarnation 1\nfile 1 1 odd direct 1 1 x\nend\n",
        "tarn files 1\nincarnation 1\nfile 1 1 raw direct share=x 1 1 x\nend\n",
        "tarn files 1\nincarnation 1\nfile 1 1 raw direct share=5x 1 1 x\nend\n",
        "tarn files 1\nincarnation 1\nfile 1 1 raw direct share=5\nend\n",
        "tarn files 1\nfile 1 1 raw direct 1 1 x\nend\n",
        "tarn files 1\nincarnation 1\nfile 1 1 raw direct 1 1 x\nfile 1 1 raw direct 1 1 y\nend\n",
    };
    struct tarn_file_record got[4];
    struct tarn_message message = {""};
    int fd = open_directory(test_dir());

    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        write_file(test_path("files"), texts[i]);
        assert_fails_with(message, -ENOTDIR, "damaged",
                          tarn_directory_read_files(fd, got, 3, &message));
    }
    close(fd);
}
END_TEST

START_TEST(what_stands_under_a_files_name_is_that_file_or_refused)
{
    struct tarn_file_record record = {.id = 1, .kind = FILE_RAW, .path = "data"};
    struct tarn_message message = {""};
    struct stat status;
    int directory_fd = open_directory(test_dir());

    write_file(test_path("data"), "x");
    ck_assert_int_eq(stat(test_path("data"), &status), 0);
    tarn_file_identity(&status, &record.device, &record.inode);
    int fd = tarn_record_open(directory_fd, &record, O_RDWR, &message);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(rename(test_path("data"), test_path("moved")), 0);
    assert_fails_with(message, -EBADFD, "data",
                      tarn_record_open(directory_fd, &record, O_RDWR, &message));
    write_file(test_path("data"), "y");
    assert_fails_with(message, -EBADFD, "replaced",
                      tarn_record_open(directory_fd, &record, O_RDWR, &message));
    unlink(test_path("data"));
    ck_assert_int_eq(mkfifo(test_path("data"), 0600), 0);
    assert_fails_with(message, -EBADFD, "replaced",
                      tarn_record_open(directory_fd, &record, O_RDONLY, &message));
    close(fd);
    close(directory_fd);
}
END_TEST

static unsigned mode_of(const char *path)
{
    struct stat status;

    ck_assert_msg(stat(path, &status) == 0, "%s: %s", path, strerror(errno));
    return status.st_mode & 0777;
}

static const char *segment_path(void)
{
    static char path[TARN_PATH_BYTES];

    ck_assert_int_eq(tarn_segment_path(test_pool_name(), NULL, path, NULL), 0);
    return path;
}

static const char *wake_path(void)
{
    static char path[TARN_PATH_BYTES];

    tarn_wake_path(segment_path(), path);
    return path;
}

START_TEST(umask_does_not_keep_the_group_out)
{
    struct tarn_init_options options = {
        .size = sizeof(options), .directory = test_path("pool"), .mode = 0660};
    struct tarn_message message = {""};

    test_dir();
    umask(0777);
    int result = tarn_init(test_pool_name(), &options, &message);
    umask(0022);
    ck_assert_msg(result == 0, "%s", message.text);
    ck_assert_uint_eq(mode_of(segment_path()), 0660);
    ck_assert_uint_eq(mode_of(wake_path()), 0660);
    ck_assert_uint_eq(mode_of(test_path("pool")), 0770);
    ck_assert_uint_eq(mode_of(test_path("pool/options")), 0660);
    ck_assert_uint_eq(mode_of(test_path("pool/files")), 0660);
    ck_assert_uint_eq(mode_of(test_path("pool/lock")), 0660);
    ck_assert_int_eq(tarn_destroy(test_pool_name(), NULL, TARN_DESTROY_DATA, &message), 0);
    ck_assert(!exists(test_path("pool")));
    ck_assert(!exists(segment_path()) && !exists(wake_path()));
}
END_TEST

START_TEST(failed_init_leaves_nothing_and_takes_nothing)
{
    struct tarn_init_options options = {.size = sizeof(options),
                                        .directory = test_path("pool"),
                                        .shm_directory = test_path("shm"),
                                        .frame_bytes = UINT64_C(8) << 20};
    struct tarn_message message = {""};
    char path[TARN_PATH_BYTES];

    assert_fails_with(message, -ENOENT, "shm", tarn_init(test_pool_name(), &options, &message));
    ck_assert(!exists(test_path("pool")));

    ck_assert_int_eq(mkdir(test_path("pool"), 0700), 0);
    write_file(test_path("pool/mine"), "x");
    ck_assert_int_lt(tarn_init(test_pool_name(), &options, &message), 0);
    ck_assert(exists(test_path("pool/mine")));
    ck_assert(!exists(test_path("pool/options")) && !exists(test_path("pool/lock")));

    ck_assert_int_eq(mkdir(test_path("shm"), 0700), 0);
    if (mount("tarn-test", test_path("shm"), "tmpfs", 0, "size=4m") != 0)
        test_skip("no right to mount");
    int result = tarn_init(test_pool_name(), &options, &message);
    struct statfs after;
    int stated = statfs(test_path("shm"), &after);
    snprintf(path, sizeof(path), "%s/tarn.%s", options.shm_directory, test_pool_name());
    bool left = exists(path);
    umount(test_path("shm"));
    ck_assert_msg(result == -ENOSPC, "%d: %s", result, message.text);
    ck_assert(!left && stated == 0 && after.f_bfree == after.f_blocks);
    ck_assert(!exists(test_path("pool/options")) && !exists(test_path("pool/lock")));
}
END_TEST

/* From here on, in this process, no file system has O_TMPFILE. */
static bool refuse_tmpfile(void)
{
    const unsigned tmpfile = O_TMPFILE & ~O_DIRECTORY;
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_openat, 0, 3),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[2])),
        BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, tmpfile, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EOPNOTSUPP),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {.len = sizeof(code) / sizeof(code[0]), .filter = code};

    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
           prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

START_TEST(segment_appears_whole_where_there_is_no_tmpfile)
{
    struct tarn_message message = {""};
    char pattern[TARN_PATH_BYTES + 32];
    glob_t found;

    test_dir();
    if (!refuse_tmpfile())
        test_skip("no seccomp");
    ck_assert_int_eq(open("/tmp", O_TMPFILE | O_RDWR, 0600), -1);
    pool = init_pool(test_pool_name(), test_path("pool"), 64, 8);
    assert_consistent(pool);
    tarn_detach(pool);
    unlink(segment_path());
    ck_assert_int_eq(mkdir(segment_path(), 0700), 0);
    assert_fails_with(message, -EEXIST, test_pool_name(),
                      tarn_segment_build(test_path("pool"), test_pool_name(), NULL, &message));
    rmdir(segment_path());
    ck_assert_msg(tarn_segment_build(test_path("pool"), test_pool_name(), NULL, &message) == 0,
                  "%s", message.text);
    snprintf(pattern, sizeof(pattern), "%s.*", segment_path());
    ck_assert_int_eq(glob(pattern, 0, NULL, &found), 0);
    ck_assert_uint_eq(found.gl_pathc, 1);
    ck_assert_str_eq(found.gl_pathv[0], wake_path());
    globfree(&found);
}
END_TEST

/* A pool with a raw file of 5 pages and a temporary one, closed again; its segment is there. */
static void make_pool(void)
{
    uint32_t other;

    begin_with_pool();
    ck_assert_int_eq(tarn_file_truncate(session, file, 5, 0), 0);
    assert_ok(session, tarn_file_open(session, "scratch", TARN_FILE_TEMPORARY, &other));
    fill_page(session, page(4), 44);
    end_with_pool();
}

static int build(struct tarn_message *message)
{
    return tarn_segment_build(test_path("pool"), test_pool_name(), NULL, message);
}

START_TEST(segment_is_built_again_from_its_directory)
{
    struct tarn_directory_options before, after;
    struct tarn_message message = {""};
    uint64_t count;

    make_pool();
    int fd = open_directory(test_path("pool"));
    ck_assert_int_eq(tarn_directory_read_options(fd, &before, &message), 0);
    write_file(test_path("pool/tmp.9.9"), "left by a crash");
    ck_assert_msg(build(&message) == 0, "%s", message.text);
    ck_assert_int_eq(tarn_directory_read_options(fd, &after, &message), 0);
    ck_assert_uint_eq(after.recovery_number, before.recovery_number + 1);
    ck_assert(!exists(test_path("pool/tmp.9.9")) && !exists(test_path("pool/tmp.2.2")));
    ck_assert(exists(wake_path()));

    pool = attach_pool(test_pool_name());
    session = open_session(pool);
    assert_ok(session, tarn_file_page_count(session, file, &count));
    ck_assert_uint_eq(count, 5);
    ck_assert(page_has(session, page(4), 44));
    assert_fails(session, -ENXIO, "file 2", tarn_file_page_count(session, 2, &count));
    assert_fails_with(message, -EBUSY, "attached", build(&message));
    assert_consistent(pool);
    ck_assert_int_eq(tarn_detach(pool), 0);
    assert_fails_with(message, -EEXIST, test_pool_name(), build(&message));
    close(fd);
}
END_TEST

START_TEST(removed_segment_is_not_built_again_while_in_use)
{
    struct tarn_message message = {""};
    char pid[32];
    int ready[2];

    make_pool();
    ck_assert_msg(build(&message) == 0, "%s", message.text);
    ck_assert_int_eq(pipe(ready), 0);
    pid_t child = fork();
    if (child == 0) {
        attach_pool(test_pool_name());
        if (write(ready[1], "x", 1) == 1)
            pause();
        _exit(1);
    }
    ck_assert_int_eq(read(ready[0], pid, 1), 1);
    unlink(segment_path());
    snprintf(pid, sizeof(pid), "%d", (int)child);
    assert_fails_with(message, -EBUSY, pid, build(&message));
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    ck_assert_msg(build(&message) == 0, "%s", message.text);
}
END_TEST

static void copy_file(const char *from, const char *to)
{
    char command[2 * TARN_PATH_BYTES];

    snprintf(command, sizeof(command), "cp -p '%s' '%s'", from, to);
    ck_assert_int_eq(system(command), 0);
}

START_TEST(segment_that_nobody_can_attach_is_replaced)
{
    struct tarn_message message = {""};
    struct tarn_pool *other;

    make_pool();
    ck_assert_msg(build(&message) == 0, "%s", message.text);
    copy_file(segment_path(), test_path("old"));
    unlink(segment_path());
    ck_assert_msg(build(&message) == 0, "%s", message.text);

    /* Out of date: a newer one has been built since. */
    copy_file(test_path("old"), segment_path());
    assert_fails_with(message, -EREMCHG, "out of date",
                      tarn_attach(test_pool_name(), NULL, &other, &message));
    ck_assert_msg(build(&message) == 0, "%s", message.text);
    /* Truncated. */
    ck_assert_int_eq(truncate(segment_path(), 8192), 0);
    ck_assert_msg(build(&message) == 0, "%s", message.text);
    /* Destroyed, and the destroyer killed before it removed the name. */
    pool = attach_pool(test_pool_name());
    tarn_store_relaxed(&pool->view.control->life, LIFE_DESTROYED);
    tarn_detach(pool);
    ck_assert_msg(build(&message) == 0, "%s", message.text);
    /* Somebody else's. */
    write_file(segment_path(), "mine");
    assert_fails_with(message, -EEXIST, "not a segment of this pool", build(&message));
    pool = NULL;
}
END_TEST

START_TEST(missing_data_file_is_named)
{
    struct tarn_message message = {""};

    make_pool();
    ck_assert_int_eq(rename(test_path("pool/data"), test_path("pool/away")), 0);
    assert_fails_with(message, -EBADFD, "data", build(&message));
    ck_assert(!exists(segment_path()));
    /* Restored from a backup: another inode. */
    copy_file(test_path("pool/away"), test_path("pool/data"));
    ck_assert_msg(build(&message) == 0, "%s", message.text);
    assert_fails_with(message, -EINVAL, "is called",
                      tarn_segment_build(test_path("pool"), "other", NULL, &message));
    assert_fails_with(message, -ENOENT, "nowhere",
                      tarn_segment_build(test_path("nowhere"), "other", NULL, &message));
}
END_TEST

/* Writes of the writer before must have landed before anybody reads from the new segment. */
START_TEST(build_waits_for_the_last_writes_of_an_earlier_writer)
{
    struct tarn_message message = {""};
    int ready[2];
    char byte;

    make_pool();
    ck_assert_int_eq(pipe(ready), 0);
    pid_t child = fork();
    if (child == 0) {
        int fd = open(test_path("pool/data"), O_RDWR);

        tarn_lock_byte(fd, TARN_LOCK_FENCE, F_WRLCK);
        if (write(ready[1], "x", 1) == 1)
            sleep_ms(300);
        _exit(0);
    }
    ck_assert_int_eq(read(ready[0], &byte, 1), 1);
    int64_t begun = now_ms();
    ck_assert_msg(build(&message) == 0, "%s", message.text);
    ck_assert_int_ge(now_ms() - begun, 200);
    assert_ends_well(child);
}
END_TEST

START_TEST(destroy_flushes_what_is_committed)
{
    struct tarn_message message = {""};

    make_pool();
    ck_assert_msg(build(&message) == 0, "%s", message.text);
    pid_t child = fork();
    if (child == 0) {
        pool = attach_pool(test_pool_name());
        session = open_session(pool);
        fill_page(session, page(3), 33);
        struct tarn_writable_page change;
        tarn_mtr_begin(session, 1);
        tarn_mtr_write(session, page(4), -1, &change);
        memset(change.data, 99, PAGE_BYTES);
        kill(getpid(), SIGKILL);
    }
    waitpid(child, NULL, 0);
    ck_assert(!disk_has(test_path("pool/data"), 3, 33));
    ck_assert_msg(tarn_destroy(test_pool_name(), NULL, 0, &message) == 0, "%s", message.text);
    ck_assert(disk_has(test_path("pool/data"), 3, 33));
    ck_assert(disk_has(test_path("pool/data"), 4, 44));
    ck_assert(!exists(segment_path()) && !exists(test_path("pool/options")));
    assert_fails_with(message, -ENOENT, "no pool",
                      tarn_destroy(test_pool_name(), NULL, 0, &message));
}
END_TEST

START_TEST(segment_out_of_date_is_destroyed_alone)
{
    struct tarn_message message = {""};

    make_pool();
    ck_assert_msg(build(&message) == 0, "%s", message.text);
    copy_file(segment_path(), test_path("old"));
    unlink(segment_path());
    ck_assert_msg(build(&message) == 0, "%s", message.text);
    copy_file(test_path("old"), segment_path());
    ck_assert_msg(tarn_destroy(test_pool_name(), NULL, TARN_DESTROY_DATA, &message) == 0, "%s",
                  message.text);
    ck_assert(!exists(segment_path()) && exists(test_path("pool/options")));
    ck_assert(exists(test_path("pool/data")));
}
END_TEST

void test_suite(Suite *suite)
{
    TCase *text = test_case(suite, "text", 10);
    tcase_add_test(text, options_are_read_as_they_were_written);
    tcase_add_test(text, damaged_options_are_refused);
    tcase_add_test(text, file_table_keeps_every_path);
    tcase_add_test(text, options_larger_than_any_are_refused);
    tcase_add_test(text, path_longer_than_any_is_refused);
    tcase_add_test(text, damaged_file_table_is_refused);
    tcase_add_test(text, what_stands_under_a_files_name_is_that_file_or_refused);

    TCase *segment = test_case(suite, "segment", 20);
    tcase_add_test(segment, umask_does_not_keep_the_group_out);
    tcase_add_test(segment, failed_init_leaves_nothing_and_takes_nothing);
    tcase_add_test(segment, segment_appears_whole_where_there_is_no_tmpfile);
    tcase_add_test(segment, segment_is_built_again_from_its_directory);
    tcase_add_test(segment, removed_segment_is_not_built_again_while_in_use);
    tcase_add_test(segment, segment_that_nobody_can_attach_is_replaced);
    tcase_add_test(segment, missing_data_file_is_named);
    tcase_add_test(segment, build_waits_for_the_last_writes_of_an_earlier_writer);
    tcase_add_test(segment, destroy_flushes_what_is_committed);
    tcase_add_test(segment, segment_out_of_date_is_destroyed_alone);
}
