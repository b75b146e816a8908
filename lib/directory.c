/* SPDX-License-Identifier: MIT */
/* The pool's directory: two small text files, each written whole, and who has them in use. */
#include "lib/directory.h"

#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

/* A table of 65,535 files with long paths stays far below this. */
#define TEXT_BYTES_MAX ((off_t)1 << 30)

int tarn_directory_errno(int error)
{
    if (error == ENOENT || error == ENOTDIR || error == ELOOP)
        return -ENOTDIR;
    return error == EACCES ? -EPERM : -error;
}

/* The whole of a file as a string, to be freed. */
static int read_text(int directory_fd, const char *name, char **ret_text,
                     struct tarn_message *message)
{
    struct stat status;
    int fd = openat(directory_fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0)
        return tarn_message_fail(message, tarn_directory_errno(errno),
                                 "the pool's directory has no readable file '%s': %s", name,
                                 strerror(errno));
    int result = 0;
    char *text = NULL;
    if (fstat(fd, &status) != 0)
        result = tarn_message_fail(message, -errno, "'%s' in the pool's directory: %s", name,
                                   strerror(errno));
    else if (!S_ISREG(status.st_mode) || status.st_size > TEXT_BYTES_MAX)
        result = tarn_message_fail(message, -ENOTDIR,
                                   "'%s' in the pool's directory is not a file"
                                   " of tarn's",
                                   name);
    else if ((text = malloc((size_t)status.st_size + 1)) == NULL)
        result = tarn_message_fail(message, -ENOMEM, "no memory to read '%s'", name);
    size_t bytes = 0;
    while (result == 0 && bytes < (size_t)status.st_size) {
        ssize_t got = read(fd, text + bytes, (size_t)status.st_size - bytes);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            result = tarn_message_fail(message, -errno, "reading '%s': %s", name, strerror(errno));
        if (got <= 0)
            break;
        bytes += (size_t)got;
    }
    close(fd);
    if (result < 0) {
        free(text);
        return result;
    }
    text[bytes] = 0;
    *ret_text = text;
    return 0;
}

static int write_all(int fd, const char *text, size_t bytes)
{
    while (bytes > 0) {
        ssize_t done = write(fd, text, bytes);
        if (done < 0 && errno == EINTR)
            continue;
        if (done < 0)
            return -errno;
        text += done;
        bytes -= (size_t)done;
    }
    return 0;
}

/* What root, or another one of the group, writes stays theirs who could read what it replaces. */
static int keep_owner(int directory_fd, const char *name, int fd, mode_t mode)
{
    struct stat old, made;
    if (fstatat(directory_fd, name, &old, AT_SYMLINK_NOFOLLOW) != 0 || fstat(fd, &made) != 0 ||
        (old.st_uid == made.st_uid && old.st_gid == made.st_gid) ||
        fchown(fd, old.st_uid, old.st_gid) == 0)
        return 0;
    bool others = (mode & S_IRWXG) != 0 && old.st_gid != made.st_gid;
    return !others || fchown(fd, (uid_t)-1, old.st_gid) == 0 ? 0 : -errno;
}

/* Whoever reads the file sees the old text or the new one, after a power cut too. */
static int write_text(int directory_fd, const char *name, mode_t mode, const char *text,
                      size_t bytes, struct tarn_message *message)
{
    char temporary[64];
    snprintf(temporary, sizeof temporary, "%s.new", name);
    int fd = openat(directory_fd, temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW,
                    0600);
    int result = fd < 0 ? -errno : 0;
    if (result == 0)
        result = keep_owner(directory_fd, name, fd, mode);
    if (result == 0 && fchmod(fd, mode) != 0)
        result = -errno;
    if (result == 0)
        result = write_all(fd, text, bytes);
    if (result == 0 && fsync(fd) != 0)
        result = -errno;
    if (fd >= 0 && close(fd) != 0 && result == 0)
        result = -errno;
    if (result == 0 && renameat(directory_fd, temporary, directory_fd, name) != 0)
        result = -errno;
    if (result == 0 && fsync(directory_fd) != 0)
        result = -errno;
    if (result == 0)
        return 0;
    unlinkat(directory_fd, temporary, 0);
    return tarn_message_fail(message, result, "writing '%s' in the pool's directory: %s", name,
                             strerror(-result));
}

/* Options: one table says how each setting is written and read. */

enum setting_kind {
    SETTING_NUMBER,
    SETTING_MODE,
    SETTING_UUID,
    SETTING_TEXT,
};

struct setting {
    const char *key;
    enum setting_kind kind;
    size_t offset, bytes;
};

#define SETTING(member, kind)                                                                      \
    {                                                                                              \
#member, kind, offsetof(struct tarn_directory_options, member),                            \
            sizeof((struct tarn_directory_options *)0)->member                                     \
    }

static const struct setting settings[] = {
    SETTING(name, SETTING_TEXT),
    SETTING(uuid, SETTING_UUID),
    SETTING(frame_bytes, SETTING_NUMBER),
    SETTING(page_bytes, SETTING_NUMBER),
    SETTING(session_count, SETTING_NUMBER),
    SETTING(file_count, SETTING_NUMBER),
    SETTING(policy, SETTING_TEXT),
    SETTING(mode, SETTING_MODE),
    SETTING(recovery_number, SETTING_NUMBER),
    SETTING(shm_directory, SETTING_TEXT),
};
#define SETTING_COUNT (sizeof settings / sizeof settings[0])
#define OPTIONS_TITLE "tarn options 1"

static uint64_t number_of(const void *place, size_t bytes)
{
    uint32_t half;
    uint64_t whole;
    if (bytes == sizeof half) {
        memcpy(&half, place, sizeof half);
        return half;
    }
    memcpy(&whole, place, sizeof whole);
    return whole;
}

static bool parse_number(const char *value, int base, void *place, size_t bytes)
{
    char *end;
    errno = 0;
    uint64_t whole = strtoull(value, &end, base);
    uint32_t half = (uint32_t)whole;
    if (!isdigit((unsigned char)value[0]) || *end != 0 || errno != 0 ||
        (bytes == sizeof half && half != whole))
        return false;
    memcpy(place, bytes == sizeof half ? (void *)&half : (void *)&whole, bytes);
    return true;
}

static bool parse_uuid(const char *value, uint8_t *place)
{
    if (strlen(value) != 32 || strspn(value, "0123456789abcdef") != 32)
        return false;
    for (unsigned i = 0; i < 16; i++) {
        unsigned byte;
        sscanf(value + 2 * i, "%2x", &byte);
        place[i] = (uint8_t)byte;
    }
    return true;
}

static bool parse_setting(const struct setting *setting, const char *value, void *place)
{
    switch (setting->kind) {
    case SETTING_NUMBER:
        return parse_number(value, 10, place, setting->bytes);
    case SETTING_MODE:
        return parse_number(value, 8, place, setting->bytes);
    case SETTING_UUID:
        return parse_uuid(value, place);
    default:
        return (size_t)snprintf(place, setting->bytes, "%s", value) < setting->bytes;
    }
}

/* What can be changed while the pool works is there only if it was. */
static bool parse_live_setting(unsigned setting, const char *value,
                               struct tarn_directory_options *options)
{
    uint32_t number;
    if (setting == SET_COUNT || !parse_number(value, 10, &number, sizeof number) ||
        number > SETTING_VALUE_MAX)
        return false;
    options->setting[setting] = SETTING_SET | number;
    return true;
}

/* One line "key value". Returns the setting's bit; 0: not a setting, or not a value of it. */
static uint64_t parse_option_line(char *line, struct tarn_directory_options *options)
{
    char *value = strchr(line, ' ');
    if (value == NULL)
        return 0;
    *value++ = 0;
    for (unsigned i = 0; i < SETTING_COUNT; i++)
        if (strcmp(line, settings[i].key) == 0)
            return parse_setting(&settings[i], value, (char *)options + settings[i].offset)
                       ? UINT64_C(1) << i
                       : 0;
    unsigned live = tarn_setting_named(line);
    return parse_live_setting(live, value, options) ? UINT64_C(1) << (SETTING_COUNT + live) : 0;
}

int tarn_directory_read_options(int directory_fd, struct tarn_directory_options *ret_options,
                                struct tarn_message *message)
{
    char *text, *save;
    int result = read_text(directory_fd, TARN_DIRECTORY_OPTIONS, &text, message);
    if (result < 0)
        return result;
    struct tarn_directory_options options = {0};
    uint64_t seen = 0;
    unsigned line_number = 1;
    char *line = strtok_r(text, "\n", &save);
    bool sound = line != NULL && strcmp(line, OPTIONS_TITLE) == 0;
    while (sound && (line = strtok_r(NULL, "\n", &save)) != NULL) {
        uint64_t bit = parse_option_line(line, &options);
        line_number++;
        sound = bit != 0 && (seen & bit) == 0;
        seen |= bit;
    }
    free(text);
    if (!sound)
        return tarn_message_fail(message, -ENOTDIR,
                                 "line %u of '%s' in the pool's directory is"
                                 " not understood",
                                 line_number, TARN_DIRECTORY_OPTIONS);
    if ((seen & TARN_MASK(SETTING_COUNT)) != TARN_MASK(SETTING_COUNT))
        return tarn_message_fail(message, -ENOTDIR, "'%s' in the pool's directory is not complete",
                                 TARN_DIRECTORY_OPTIONS);
    struct tarn_geometry plan;
    if (options.page_bytes == 0 ||
        tarn_geometry_plan(options.frame_bytes / options.page_bytes, options.page_bytes,
                           options.session_count, options.file_count, &plan) < 0)
        return tarn_message_fail(message, -ENOTDIR,
                                 "the numbers in '%s' in the pool's directory are outside the"
                                 " limits",
                                 TARN_DIRECTORY_OPTIONS);
    *ret_options = options;
    return 0;
}

int tarn_directory_write_options(int directory_fd, const struct tarn_directory_options *options,
                                 struct tarn_message *message)
{
    char *text = NULL;
    size_t bytes = 0;
    FILE *stream = open_memstream(&text, &bytes);
    if (stream == NULL)
        return tarn_message_fail(message, -ENOMEM, "no memory to write the pool's options");
    fprintf(stream, OPTIONS_TITLE "\n");
    for (unsigned i = 0; i < SETTING_COUNT; i++) {
        const struct setting *setting = &settings[i];
        const char *place = (const char *)options + setting->offset;
        fprintf(stream, "%s ", setting->key);
        if (setting->kind == SETTING_NUMBER)
            fprintf(stream, "%" PRIu64, number_of(place, setting->bytes));
        else if (setting->kind == SETTING_MODE)
            fprintf(stream, "%04" PRIo64, number_of(place, setting->bytes));
        else if (setting->kind == SETTING_TEXT)
            fprintf(stream, "%s", place);
        for (unsigned j = 0; setting->kind == SETTING_UUID && j < setting->bytes; j++)
            fprintf(stream, "%02x", (unsigned)(uint8_t)place[j]);
        fputc('\n', stream);
    }
    for (unsigned i = 0; i < SET_COUNT; i++)
        if (options->setting[i] & SETTING_SET)
            fprintf(stream, "%s %" PRIu32 "\n", tarn_setting_key(i),
                    options->setting[i] & SETTING_VALUE_MAX);
    int result = fclose(stream) != 0 ? tarn_message_fail(message, -ENOMEM,
                                                         "no memory to write the"
                                                         " pool's options")
                                     : write_text(directory_fd, TARN_DIRECTORY_OPTIONS,
                                                  options->mode, text, bytes, message);
    free(text);
    return result;
}

/* File table. */

#define FILES_TITLE "tarn files 1"

static void print_path(FILE *stream, const char *path)
{
    for (; *path != 0; path++) {
        unsigned char byte = (unsigned char)*path;
        if (byte <= ' ' || byte == '\\' || byte == 127)
            fprintf(stream, "\\%03o", (unsigned)byte);
        else
            fputc(byte, stream);
    }
}

static bool parse_path(const char *text, char *ret_path)
{
    size_t length = 0;
    while (*text != 0 && length < TARN_PATH_BYTES - 1) {
        unsigned byte = (unsigned char)*text++;
        if (byte == '\\') {
            if (sscanf(text, "%3o", &byte) != 1 || byte == 0 || byte > 255 || strlen(text) < 3)
                return false;
            text += 3;
        }
        ret_path[length++] = (char)byte;
    }
    ret_path[length] = 0;
    return *text == 0 && length > 0;
}

/* "file ID INCARNATION KIND direct|buffered [share=FRAMES] DEVICE INODE PATH" */
static bool parse_record(const char *line, struct tarn_file_record *ret_record)
{
    struct tarn_file_record record = {0};
    char kind[16], access[16];
    int share_at = 0, device_at = 0, path_at = 0;
    if (sscanf(line, "file %" SCNu32 " %" SCNu64 " %15s %15s %n", &record.id, &record.incarnation,
               kind, access, &share_at) != 4)
        return false;
    line += share_at;
    sscanf(line, "share=%" SCNu32 " %n", &record.share, &device_at);
    line += device_at;
    if (sscanf(line, "%" SCNu64 " %" SCNu64 " %n", &record.device, &record.inode, &path_at) != 2 ||
        !parse_path(line + path_at, record.path))
        return false;
    bool raw = strcmp(kind, "raw") == 0;
    record.kind = raw ? FILE_RAW : FILE_TEMPORARY;
    record.direct = strcmp(access, "direct") == 0;
    *ret_record = record;
    return (raw || strcmp(kind, "temporary") == 0) &&
           (record.direct || strcmp(access, "buffered") == 0);
}

/* Calls for the records one by one; returns what is wrong with the text, or NULL. */
static const char *parse_files(char *text, struct tarn_file_record *records, uint32_t file_count)
{
    char *save;
    uint64_t newest = 0;
    char *line = strtok_r(text, "\n", &save);
    if (line == NULL || strcmp(line, FILES_TITLE) != 0)
        return "its first line is not '" FILES_TITLE "'";
    line = strtok_r(NULL, "\n", &save);
    if (line == NULL || sscanf(line, "incarnation %" SCNu64, &newest) != 1)
        return "its second line is not the newest incarnation";
    memset(records, 0, ((size_t)file_count + 1) * sizeof *records);
    records[0].incarnation = newest;
    while ((line = strtok_r(NULL, "\n", &save)) != NULL && strcmp(line, "end") != 0) {
        struct tarn_file_record record;
        if (!parse_record(line, &record))
            return "a line is not understood";
        if (record.id < 1 || record.id > file_count || records[record.id].id != 0 ||
            record.incarnation > newest)
            return "an id or an incarnation is out of its range or there twice";
        records[record.id] = record;
    }
    return line == NULL ? "its end is missing" : NULL;
}

int tarn_directory_read_files(int directory_fd, struct tarn_file_record *records,
                              uint32_t file_count, struct tarn_message *message)
{
    char *text;
    int result = read_text(directory_fd, TARN_DIRECTORY_FILES, &text, message);
    if (result < 0)
        return result;
    const char *wrong = parse_files(text, records, file_count);
    free(text);
    return wrong == NULL ? 0
                         : tarn_message_fail(message, -ENOTDIR,
                                             "'%s' in the pool's directory is"
                                             " damaged: %s",
                                             TARN_DIRECTORY_FILES, wrong);
}

int tarn_directory_write_files(int directory_fd, const struct tarn_file_record *records,
                               uint32_t file_count, struct tarn_message *message)
{
    struct stat status;
    char *text = NULL;
    size_t bytes = 0;
    if (fstatat(directory_fd, TARN_DIRECTORY_LOCK, &status, AT_SYMLINK_NOFOLLOW) != 0)
        return tarn_message_fail(message, tarn_directory_errno(errno),
                                 "'%s' in the pool's directory: %s", TARN_DIRECTORY_LOCK,
                                 strerror(errno));
    FILE *stream = open_memstream(&text, &bytes);
    if (stream == NULL)
        return tarn_message_fail(message, -ENOMEM, "no memory to write the file table");
    fprintf(stream, FILES_TITLE "\nincarnation %" PRIu64 "\n", records[0].incarnation);
    for (uint32_t id = 1; id <= file_count; id++) {
        const struct tarn_file_record *record = &records[id];
        if (record->id == 0)
            continue;
        fprintf(stream, "file %" PRIu32 " %" PRIu64 " %s %s ", id, record->incarnation,
                record->kind == FILE_RAW ? "raw" : "temporary",
                record->direct ? "direct" : "buffered");
        if (record->share != 0)
            fprintf(stream, "share=%" PRIu32 " ", record->share);
        fprintf(stream, "%" PRIu64 " %" PRIu64 " ", record->device, record->inode);
        print_path(stream, record->path);
        fputc('\n', stream);
    }
    fprintf(stream, "end\n");
    int result = fclose(stream) != 0
                     ? tarn_message_fail(message, -ENOMEM, "no memory to write the file table")
                     : write_text(directory_fd, TARN_DIRECTORY_FILES, status.st_mode & 0777, text,
                                  bytes, message);
    free(text);
    return result;
}

int tarn_directory_find_file(int directory_fd, uint32_t id, struct tarn_file_record *ret_record,
                             struct tarn_message *message)
{
    char *text, *save;
    int result = read_text(directory_fd, TARN_DIRECTORY_FILES, &text, message);
    if (result < 0)
        return result;
    bool found = false;
    for (char *line = strtok_r(text, "\n", &save); line != NULL && !found;
         line = strtok_r(NULL, "\n", &save)) {
        struct tarn_file_record record;
        found = parse_record(line, &record) && record.id == id;
        if (found)
            *ret_record = record;
    }
    free(text);
    return found ? 0 : tarn_message_fail(message, -ENXIO, "the pool has no file %" PRIu32, id);
}

/* Data files. */

void tarn_record_file_name(const struct tarn_file_record *record, char *ret_name)
{
    if (record->kind == FILE_TEMPORARY)
        snprintf(ret_name, TARN_PATH_BYTES, "tmp.%" PRIu32 ".%" PRIu64, record->id,
                 record->incarnation);
    else
        snprintf(ret_name, TARN_PATH_BYTES, "%s", record->path);
}

bool tarn_is_temporary_name(const char *name)
{
    unsigned id;
    unsigned long long incarnation;
    int end = 0;
    return sscanf(name, "tmp.%u.%llu%n", &id, &incarnation, &end) == 2 && name[end] == 0;
}

void tarn_file_identity(const struct stat *status, uint64_t *ret_device, uint64_t *ret_inode)
{
    bool block = S_ISBLK(status->st_mode);
    *ret_device = block ? status->st_rdev : status->st_dev;
    *ret_inode = block ? 0 : status->st_ino;
}

static bool is_file_of(const struct tarn_file_record *record, const struct stat *status)
{
    uint64_t device, inode;
    tarn_file_identity(status, &device, &inode);
    return (S_ISREG(status->st_mode) || S_ISBLK(status->st_mode)) && device == record->device &&
           inode == record->inode;
}

int tarn_record_open(int directory_fd, const struct tarn_file_record *record, int flags,
                     struct tarn_message *message)
{
    char name[TARN_PATH_BYTES];
    struct stat status;
    tarn_record_file_name(record, name);
    /* Asked before it is opened: opening a FIFO that stands there now could block. */
    if (fstatat(directory_fd, name, &status, 0) != 0)
        return tarn_message_fail(message, errno == ENOENT ? -EBADFD : -errno,
                                 "data file %s (%" PRIu32 "): %s", record->path, record->id,
                                 strerror(errno));
    int fd = -1;
    if (is_file_of(record, &status)) {
        fd = openat(directory_fd, name, flags | O_CLOEXEC | (record->direct ? O_DIRECT : 0));
        if (fd < 0)
            return tarn_message_fail(message, -errno, "data file %s (%" PRIu32 "): %s",
                                     record->path, record->id, strerror(errno));
        if (fstat(fd, &status) == 0 && is_file_of(record, &status))
            return fd;
        close(fd);
    }
    return tarn_message_fail(message, -EBADFD,
                             "data file %s (%" PRIu32 ") was replaced by another"
                             " one; put it back, or drop it",
                             record->path, record->id);
}

int64_t tarn_file_bytes(int fd)
{
    struct stat status;
    uint64_t bytes;
    if (fstat(fd, &status) != 0)
        return -errno;
    if (!S_ISBLK(status.st_mode))
        return status.st_size;
    return ioctl(fd, BLKGETSIZE64, &bytes) == 0 ? (int64_t)bytes : -errno;
}

int64_t tarn_file_pages(int fd, uint32_t page_bytes, const char *path, struct tarn_message *message)
{
    int64_t bytes = tarn_file_bytes(fd);
    if (bytes < 0)
        return tarn_message_fail(message, (int)bytes, "size of %s: %s", path,
                                 strerror((int)-bytes));
    if (bytes % page_bytes != 0)
        return tarn_message_fail(message, -EDOM,
                                 "%s has %" PRId64 " bytes, which are not whole"
                                 " pages of %" PRIu32,
                                 path, bytes, page_bytes);
    return bytes / page_bytes;
}

void tarn_directory_remove_temporary(int directory_fd)
{
    int fd = openat(directory_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *directory = fd < 0 ? NULL : fdopendir(fd);
    struct dirent *entry;
    while (directory != NULL && (entry = readdir(directory)) != NULL)
        if (tarn_is_temporary_name(entry->d_name))
            unlinkat(directory_fd, entry->d_name, 0);
    if (directory != NULL)
        closedir(directory);
    else if (fd >= 0)
        close(fd);
}

int tarn_directory_remove_files(int directory_fd)
{
    /* The options first: without them the rest is nothing, with them it is all needed. */
    if (unlinkat(directory_fd, TARN_DIRECTORY_OPTIONS, 0) != 0 && errno != ENOENT)
        return -errno;
    unlinkat(directory_fd, TARN_DIRECTORY_FILES, 0);
    unlinkat(directory_fd, TARN_DIRECTORY_LOCK, 0);
    return 0;
}

/* Who has a file open, as far as /proc may be read. */

static bool process_has_file(const char *pid, const struct stat *wanted, int own_fd)
{
    char path[300];
    snprintf(path, sizeof path, "/proc/%s/fd", pid);
    DIR *fds = opendir(path);
    if (fds == NULL)
        return false;
    bool own = strtol(pid, NULL, 10) == getpid();
    bool found = false;
    struct dirent *entry;
    while (!found && (entry = readdir(fds)) != NULL) {
        struct stat status;
        if (entry->d_name[0] == '.' || (own && atoi(entry->d_name) == own_fd))
            continue;
        found = fstatat(dirfd(fds), entry->d_name, &status, 0) == 0 &&
                status.st_ino == wanted->st_ino && status.st_dev == wanted->st_dev;
    }
    closedir(fds);
    return found;
}

void tarn_file_users(int fd, char *ret_text, size_t bytes)
{
    struct stat wanted;
    struct dirent *entry;
    size_t length = 0;
    DIR *proc = fstat(fd, &wanted) == 0 ? opendir("/proc") : NULL;
    while (proc != NULL && length + 1 < bytes && (entry = readdir(proc)) != NULL)
        if (isdigit((unsigned char)entry->d_name[0]) &&
            process_has_file(entry->d_name, &wanted, fd))
            length += (size_t)snprintf(ret_text + length, bytes - length, "%s%s",
                                       length == 0 ? "" : ", ", entry->d_name);
    if (proc != NULL)
        closedir(proc);
    if (length == 0)
        snprintf(ret_text, bytes, "processes that are not to be seen from here");
}

bool tarn_directory_has_lock(int directory_fd, int fd)
{
    struct stat named, opened;
    return fstat(fd, &opened) == 0 &&
           fstatat(directory_fd, TARN_DIRECTORY_LOCK, &named, AT_SYMLINK_NOFOLLOW) == 0 &&
           named.st_ino == opened.st_ino && named.st_dev == opened.st_dev;
}

int tarn_directory_lock(int directory_fd, const char *directory, unsigned mode,
                        struct tarn_message *message)
{
    bool made = false;
    int fd = openat(directory_fd, TARN_DIRECTORY_LOCK, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0 && errno == ENOENT) {
        fd = openat(directory_fd, TARN_DIRECTORY_LOCK,
                    O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
        made = fd >= 0;
    }
    if (fd < 0 || (made && fchmod(fd, mode) != 0)) {
        int error = errno;
        /* Whoever has it locked by now works with it. */
        if (made && tarn_lock_byte(fd, 0, F_WRLCK) == 0)
            unlinkat(directory_fd, TARN_DIRECTORY_LOCK, 0);
        if (fd >= 0)
            close(fd);
        return tarn_message_fail(message, error == EACCES ? -EPERM : -error, "lock file %s/%s: %s",
                                 directory, TARN_DIRECTORY_LOCK, strerror(error));
    }
    int result = tarn_lock_byte(fd, 0, F_WRLCK);
    if (result == 0 && tarn_directory_has_lock(directory_fd, fd))
        return fd;
    char users[256] = "another process";
    if (result == -EAGAIN)
        tarn_file_users(fd, users, sizeof users);
    close(fd);
    if (result < 0 && result != -EAGAIN)
        return tarn_message_fail(message, result, "locking %s/%s: %s", directory,
                                 TARN_DIRECTORY_LOCK, strerror(-result));
    return tarn_message_fail(message, -EBUSY,
                             "directory %s is still attached by %s: end these"
                             " first",
                             directory, users);
}

#define FENCE_WAIT_MS 60000

int tarn_fence_lock(int fd, const char *path, struct tarn_message *message)
{
    for (int waited_ms = 0;; waited_ms++) {
        int result = tarn_lock_byte(fd, TARN_LOCK_FENCE, F_WRLCK);
        if (result == 0 || PLANTED(FENCE_NOT_WAITED_FOR))
            return 0;
        if (result != -EAGAIN)
            return tarn_message_fail(message, result, "locking %s: %s", path, strerror(-result));
        if (waited_ms == FENCE_WAIT_MS)
            return tarn_message_fail(message, -EBUSY,
                                     "%s is still being written by another writer:"
                                     " is it a data file of two pools?",
                                     path);
        tarn_sleep_ns(NS_PER_MS);
    }
}
