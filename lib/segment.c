/* SPDX-License-Identifier: MIT */
/* Building a segment: formatted where nobody can see it, then given its name in one step. */
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "lib/directory.h"
#include "lib/internal.h"

/* What a build works on. */
struct build {
    int directory_fd;
    const char *directory; /* absolute */
    struct tarn_directory_options options;
    char path[TARN_PATH_BYTES];
    struct tarn_geometry geometry;
    struct tarn_file_record *records; /* by id */
    uint64_t *page_counts;
    struct tarn_message *message;
};

/* What stands at the beginning of a segment. */
struct head {
    union {
        struct tarn_superblock superblock;
        uint8_t bytes[TARN_PAGE_BYTES_MIN];
    };
    struct tarn_control control;
};

static int read_head(const char *path, struct head *ret_head, struct stat *ret_status)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0)
        return -errno;
    memset(ret_head, 0, sizeof *ret_head);
    int result = fstat(fd, ret_status) != 0 ? -errno : 0;
    if (result == 0 && (!S_ISREG(ret_status->st_mode) ||
                        pread(fd, ret_head, sizeof *ret_head, 0) < (ssize_t)sizeof ret_head->bytes))
        result = -ENOTTY;
    close(fd);
    return result;
}

/* Removes a segment of this same pool that nobody can attach any more. Takes: DIR/lock is held
 * exclusively, so nobody is attached. -EEXIST: what has the name stays. */
static int remove_outdated(const struct build *build)
{
    struct head head;
    struct stat status;
    uint8_t boot_id[16];
    int result = read_head(build->path, &head, &status);
    if (result == -ENOENT)
        return 0;
    if (result == 0)
        result = tarn_superblock_check(head.bytes, (uint64_t)status.st_size);
    bool truncated = result == -EMSGSIZE;
    const struct tarn_superblock *superblock = &head.superblock;
    if ((result < 0 && !truncated) || memcmp(superblock->pool_uuid, build->options.uuid, 16) != 0)
        return tarn_message_fail(build->message, -EEXIST,
                                 "%s exists, and is not a segment of this pool: give the pool"
                                 " another name, or remove it",
                                 build->path);
    bool other_boot = tarn_boot_id(boot_id) && memcmp(boot_id, superblock->boot_id, 16) != 0;
    if (!truncated && !other_boot &&
        superblock->recovery_number == build->options.recovery_number &&
        tarn_load_relaxed(&head.control.life) == LIFE_OPEN)
        return tarn_message_fail(build->message, -EEXIST, "pool %s exists already: %s",
                                 build->options.name, build->path);
    return unlink(build->path) == 0 || errno == ENOENT
               ? 0
               : tarn_message_fail(build->message, -errno, "removing %s, which is out of date: %s",
                                   build->path, strerror(errno));
}

/* A raw file may have got another identity by a reboot or a restore; nothing of it is cached. What
 * a writer of the segment before this one has still in flight lands before anybody reads. */
static int enter_raw_file(struct build *build, uint32_t id)
{
    struct tarn_file_record *record = &build->records[id];
    struct stat status;
    if (fstatat(build->directory_fd, record->path, &status, 0) != 0)
        return tarn_message_fail(
            build->message, -EBADFD, "data file %s: %s; put it back, or take its line out of %s/%s",
            record->path, strerror(errno), build->directory, TARN_DIRECTORY_FILES);
    tarn_file_identity(&status, &record->device, &record->inode);
    int fd = tarn_record_open(build->directory_fd, record, O_RDWR, build->message);
    if (fd < 0)
        return fd;
    int result = tarn_fence_lock(fd, record->path, build->message);
    if (result < 0) {
        close(fd);
        return result;
    }
    /* An extension that a power cut interrupted may have left part of a page. */
    int64_t bytes = tarn_file_bytes(fd);
    close(fd);
    if (bytes < 0)
        return tarn_message_fail(build->message, (int)bytes, "size of %s: %s", record->path,
                                 strerror((int)-bytes));
    build->page_counts[id] = (uint64_t)bytes / build->options.page_bytes;
    return 0;
}

/* Reads the table, enters the raw files, drops the temporary ones. */
static int enter_files(struct build *build)
{
    uint32_t file_count = build->options.file_count;
    int result =
        tarn_directory_read_files(build->directory_fd, build->records, file_count, build->message);
    for (uint32_t id = 1; result == 0 && id <= file_count; id++) {
        struct tarn_file_record *record = &build->records[id];
        if (record->id != 0 && record->kind == FILE_TEMPORARY)
            *record = (struct tarn_file_record){0};
        else if (record->id != 0)
            result = enter_raw_file(build, id);
    }
    if (result == 0)
        result = tarn_directory_write_files(build->directory_fd, build->records, file_count,
                                            build->message);
    if (result == 0)
        tarn_directory_remove_temporary(build->directory_fd);
    return result;
}

static void format(const struct build *build, uint8_t *base, const struct stat *status)
{
    struct tarn_view view;
    tarn_view_set(&view, base, &build->geometry);
    struct tarn_superblock *superblock = (struct tarn_superblock *)base;
    *superblock = (struct tarn_superblock){
        .magic = TARN_MAGIC,
        .byte_order = TARN_BYTE_ORDER,
        .format_version = TARN_FORMAT_VERSION,
        .superblock_bytes = sizeof *superblock,
        .layout_hash = tarn_layout_hash(),
        .geometry = build->geometry,
        .recovery_number = build->options.recovery_number,
        .created_s = (uint64_t)time(NULL),
        .mode = status->st_mode & 0777,
        .uid = status->st_uid,
        .gid = status->st_gid,
    };
    memcpy(superblock->pool_uuid, build->options.uuid, 16);
    tarn_boot_id(superblock->boot_id);
    snprintf(superblock->name, sizeof superblock->name, "%s", build->options.name);
    snprintf(superblock->directory, sizeof superblock->directory, "%s", build->directory);

    for (uint32_t id = 1; id <= build->geometry.file_count; id++) {
        const struct tarn_file_record *record = &build->records[id];
        if (record->id == 0)
            continue;
        tarn_store_relaxed(&view.files[id].page_count, build->page_counts[id]);
        tarn_store_relaxed(
            &view.files[id].share,
            share_word_of(tarn_record_share(record, build->geometry.frame_count), false));
        tarn_store_relaxed(&view.files[id].word, file_word_of(record->incarnation, record->direct,
                                                              record->kind, FILE_OPEN));
    }
    for (uint32_t frame = 0; frame < build->geometry.frame_count; frame += 64) {
        uint32_t rest = build->geometry.frame_count - frame;
        tarn_store_relaxed(&view.bitmap[frame / 64], rest < 64 ? TARN_MASK(rest) : UINT64_MAX);
    }
    /* Those that do not fit a pool whose size was changed by hand are forgotten. */
    for (unsigned i = 0; i < TARN_SETTING_WORDS; i++) {
        const uint32_t *pair = &build->options.setting[2 * i];
        uint64_t word = setting_word_with(pair[0], 1, pair[1]);
        if (tarn_setting_word_valid(&build->geometry, i, word))
            tarn_store_relaxed(&view.control->setting[i], word);
    }
    tarn_store_relaxed(&view.control->life, LIFE_OPEN);
    superblock->checksum = tarn_superblock_checksum(base);
}

/* All of the memory now: a full /dev/shm is an error here, and not SIGBUS in the middle of work. */
static int allocate(const struct build *build, int fd)
{
    int error;
    do
        error = posix_fallocate(fd, 0, (off_t)build->geometry.segment_bytes);
    while (error == EINTR);
    if (error == ENOSPC || error == EFBIG)
        return tarn_message_fail(build->message, -ENOSPC,
                                 "no room for the %" PRIu64 " bytes of segment %s: use fewer frames"
                                 " or another --shm-dir",
                                 build->geometry.segment_bytes, build->path);
    return error == 0 ? 0
                      : tarn_message_fail(build->message, -error, "allocating segment %s: %s",
                                          build->path, strerror(error));
}

static int fill(const struct build *build, int fd)
{
    struct stat status;
    /* fchmod, since the umask must not take the group's access away. */
    if (fchmod(fd, build->options.mode) != 0 || fstat(fd, &status) != 0)
        return tarn_message_fail(build->message, -errno, "mode of segment %s: %s", build->path,
                                 strerror(errno));
    int result = allocate(build, fd);
    if (result < 0)
        return result;
    size_t bytes = build->geometry.frames_offset;
    void *base = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (base == MAP_FAILED)
        return tarn_message_fail(build->message, -errno, "mapping segment %s: %s", build->path,
                                 strerror(errno));
    format(build, base, &status);
    munmap(base, bytes);
    return 0;
}

static int name_failed(const struct build *build, int error)
{
    return tarn_message_fail(build->message, -error,
                             error == EEXIST ? "%s exists already: %s" : "naming segment %s: %s",
                             build->path, strerror(error));
}

/* File systems without O_TMPFILE: a random name that nobody attaches. */
static int create_under_random_name(const struct build *build)
{
    uint64_t random;
    char path[TARN_PATH_BYTES + 32];
    if (getrandom(&random, sizeof random, 0) != sizeof random)
        random = (uint64_t)getpid() << 32 ^ tarn_now_ns();
    snprintf(path, sizeof path, "%s.%016" PRIx64, build->path, random);
    int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return tarn_message_fail(build->message, -errno, "making segment %s: %s", path,
                                 strerror(errno));
    int result = fill(build, fd);
    if (result == 0 && renameat2(AT_FDCWD, path, AT_FDCWD, build->path, RENAME_NOREPLACE) != 0)
        result = name_failed(build, errno);
    if (result < 0)
        unlink(path);
    close(fd);
    return result;
}

static int create_segment(const struct build *build)
{
    char directory[TARN_PATH_BYTES], link_path[64];
    snprintf(directory, sizeof directory, "%s", build->path);
    *strrchr(directory, '/') = 0;
    int fd = open(directory[0] == 0 ? "/" : directory, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (fd < 0 && (errno == EOPNOTSUPP || errno == EISDIR || errno == EINVAL))
        return create_under_random_name(build);
    if (fd < 0)
        return tarn_message_fail(build->message, -errno, "making a segment in %s: %s", directory,
                                 strerror(errno));
    int result = fill(build, fd);
    snprintf(link_path, sizeof link_path, "/proc/self/fd/%d", fd);
    if (result == 0 && linkat(AT_FDCWD, link_path, AT_FDCWD, build->path, AT_SYMLINK_FOLLOW) != 0)
        result = name_failed(build, errno);
    close(fd);
    return result;
}

int tarn_wake_fifo_make(const char *segment_path, unsigned mode)
{
    char path[TARN_PATH_BYTES + 8];
    struct stat status;
    tarn_wake_path(segment_path, path);
    if (mkfifo(path, 0600) != 0) {
        if (errno != EEXIST || lstat(path, &status) != 0 || !S_ISFIFO(status.st_mode))
            return -EEXIST;
    }
    return chmod(path, mode) == 0 ? 0 : -errno;
}

static int build_segment(struct build *build)
{
    struct tarn_directory_options *options = &build->options;
    /* Whoever reads options has checked that they can be planned. */
    tarn_geometry_plan(options->frame_bytes / options->page_bytes, options->page_bytes,
                       options->session_count, options->file_count, &build->geometry);
    int result = remove_outdated(build);
    if (result < 0)
        return result;
    build->records = calloc((size_t)options->file_count + 1, sizeof *build->records);
    build->page_counts = calloc((size_t)options->file_count + 1, sizeof *build->page_counts);
    if (build->records == NULL || build->page_counts == NULL)
        result = tarn_message_fail(build->message, -ENOMEM, "no memory for the file table");
    if (result == 0)
        result = enter_files(build);
    /* Durable before the segment can be seen: two segments never have the same number. */
    options->recovery_number++;
    if (result == 0)
        result = tarn_directory_write_options(build->directory_fd, options, build->message);
    if (result == 0)
        result = create_segment(build);
    free(build->records);
    free(build->page_counts);
    /* Without it nobody is worse off than by a look of the writer once a second. */
    if (result == 0)
        tarn_wake_fifo_make(build->path, options->mode);
    return result;
}

int tarn_segment_build_locked(int directory_fd, const char *directory, const char *name,
                              const char *shm_directory, struct tarn_message *message)
{
    struct build build = {.directory_fd = directory_fd, .directory = directory, .message = message};
    int result = tarn_directory_read_options(directory_fd, &build.options, message);
    if (result < 0)
        return result;
    if (name != NULL && strcmp(name, build.options.name) != 0)
        return tarn_message_fail(message, -EINVAL, "the pool in %s is called %s, not %s", directory,
                                 build.options.name, name);
    if (shm_directory != NULL &&
        snprintf(build.options.shm_directory, sizeof build.options.shm_directory, "%s",
                 shm_directory) >= (int)sizeof build.options.shm_directory)
        return tarn_message_fail(message, -EINVAL, "the path %.80s... is too long", shm_directory);
    result =
        tarn_segment_path(build.options.name, build.options.shm_directory, build.path, message);
    return result < 0 ? result : build_segment(&build);
}

int tarn_segment_build(const char *directory, const char *name, const char *shm_directory,
                       struct tarn_message *message)
{
    struct tarn_directory_options options;
    char *absolute = realpath(directory, NULL);
    int directory_fd = absolute == NULL ? -1 : open(absolute, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int result = 0;
    if (directory_fd < 0)
        result = tarn_message_fail(message, errno == ENOENT ? -ENOENT : -ENOTDIR,
                                   "pool directory %s: %s", directory, strerror(errno));
    else if (strlen(absolute) >= TARN_PATH_BYTES)
        result = tarn_message_fail(message, -EINVAL, "the path %.80s... is too long", absolute);
    if (result == 0)
        result = tarn_directory_read_options(directory_fd, &options, message);
    int lock_fd =
        result < 0 ? -1 : tarn_directory_lock(directory_fd, absolute, options.mode, message);
    if (result == 0 && lock_fd < 0)
        result = lock_fd;
    if (result == 0)
        result = tarn_segment_build_locked(directory_fd, absolute, name, shm_directory, message);
    if (lock_fd >= 0)
        close(lock_fd);
    if (directory_fd >= 0)
        close(directory_fd);
    free(absolute);
    return result;
}
