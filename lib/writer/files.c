/* SPDX-License-Identifier: MIT */
/* Files as they come into the pool: the writer alone changes the file table, in DIR/files and in
 * the segment.
 */
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/writer/state.h"

int tarn_writer_table_write(struct tarn_writer *writer)
{
    return tarn_directory_write_files(writer->pool->directory_fd, writer->records,
                                      writer->view->geometry.file_count, NULL);
}

/* Entering. */

/* Gives the open file its place among the writer's, and in the ring. */
static int place_file(struct tarn_writer *writer, uint32_t id, int fd)
{
    struct data_file *file = &writer->files[id];
    struct stat status;
    int result = tarn_io_set_file(writer->io, id, fd);
    if (result < 0)
        return result;
    file->fd = fd;
    file->error = 0;
    file->block = fstat(fd, &status) == 0 && S_ISBLK(status.st_mode);
    file->temporary = writer->records[id].kind == FILE_TEMPORARY;
    file->sync_failures = file->write_failures = 0;
    file->dropped = file->durable_refused = false;
    if (id > writer->file_last)
        writer->file_last = id;
    return 0;
}

static void publish_file(struct tarn_writer *writer, uint32_t id, uint64_t page_count)
{
    const struct tarn_file_record *record = &writer->records[id];
    struct tarn_file_entry *entry = file_entry(writer, id);
    uint32_t share = tarn_record_share(record, writer->view->geometry.frame_count);
    tarn_store_relaxed(&entry->page_count, page_count);
    tarn_store_relaxed(&entry->share, share_word_of(share, false));
    tarn_store_release(&entry->word, file_word_of(record->incarnation, record->direct, record->kind,
                                                  FILE_OPEN)); /* pairs: "file" */
}

/* One file of the table, at takeover or when it is asked for again. One that is gone stays in the
 * table: its pages cannot be written, and say so. */
static int enter_file(struct tarn_writer *writer, uint32_t id)
{
    const struct tarn_file_record *record = &writer->records[id];
    struct tarn_file_entry *entry = file_entry(writer, id);
    struct tarn_message message;
    if (id > writer->file_last)
        writer->file_last = id;
    int fd = tarn_record_open(writer->pool->directory_fd, record, O_RDWR, &message);
    if (fd < 0) {
        writer->files[id].error = fd;
        if (writer->options.report != NULL)
            writer->options.report(writer->options.context, message.text);
        return 0;
    }
    int result = tarn_fence_lock(fd, record->path, &message);
    if (result == 0)
        result = place_file(writer, id, fd);
    if (result < 0) {
        close(fd);
        return tarn_pool_fail(writer->pool, result, "%s",
                              result == -EBUSY ? message.text : tarn_strerror(result));
    }
    /* A writer died between the table and the segment's array: nobody knows the file yet. */
    uint64_t word = tarn_load_acquire(&entry->word);
    if (file_word_incarnation(word) != record->incarnation) {
        int64_t bytes = tarn_file_bytes(fd);
        uint32_t page_bytes = writer->view->geometry.page_bytes;
        publish_file(writer, id, bytes < 0 ? 0 : (uint64_t)bytes / page_bytes);
    }
    return 0;
}

int tarn_writer_files_enter(struct tarn_writer *writer)
{
    struct tarn_message message;
    uint32_t file_count = writer->view->geometry.file_count;
    int result = tarn_directory_read_files(writer->pool->directory_fd, writer->records, file_count,
                                           &message);
    if (result < 0)
        return tarn_pool_fail(writer->pool, result, "%s", message.text);
    for (uint32_t id = 1; result == 0 && id <= file_count; id++) {
        if (writer->records[id].id != 0)
            result = enter_file(writer, id);
        else
            writer->files[id].dropped =
                file_word_state(tarn_load_acquire(&file_entry(writer, id)->word)) == FILE_DROPPED;
    }
    return result;
}

void tarn_writer_file_close(struct tarn_writer *writer, uint32_t id)
{
    struct data_file *file = &writer->files[id];
    if (file->fd < 0)
        return;
    if (writer->io != NULL)
        tarn_io_set_file(writer->io, id, -1);
    close(file->fd); /* and with it the fence */
    file->fd = -1;
    file->written.count = file->syncing.count = 0;
}

void tarn_writer_files_close(struct tarn_writer *writer)
{
    for (uint32_t id = 1; id <= writer->file_last; id++) {
        struct data_file *file = &writer->files[id];
        tarn_writer_file_close(writer, id);
        free(file->written.pages);
        free(file->syncing.pages);
        free(file->op.frames);
        free(file->op.page_ids);
        *file = (struct data_file){.fd = -1};
    }
}

/* Opening. */

static bool is_pools_own(const struct tarn_writer *writer, const struct stat *status)
{
    static const char *const names[] = {TARN_DIRECTORY_OPTIONS, TARN_DIRECTORY_FILES,
                                        TARN_DIRECTORY_LOCK};
    struct stat own;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (fstatat(writer->pool->directory_fd, names[i], &own, 0) == 0 &&
            own.st_ino == status->st_ino && own.st_dev == status->st_dev)
            return true;
    return fstat(writer->pool->map_fd, &own) == 0 && own.st_ino == status->st_ino &&
           own.st_dev == status->st_dev;
}

/* The id of a file that the table has already: by its key, or by what it is. 0: none. */
static uint32_t find_record(const struct tarn_writer *writer, unsigned kind, const char *path,
                            const struct stat *status)
{
    uint64_t device = 0, inode = 0;
    if (status != NULL)
        tarn_file_identity(status, &device, &inode);
    for (uint32_t id = 1; id <= writer->view->geometry.file_count; id++) {
        const struct tarn_file_record *record = &writer->records[id];
        if (record->id == 0 || record->kind != kind)
            continue;
        if (strcmp(record->path, path) == 0 ||
            (status != NULL && record->device == device && record->inode == inode))
            return id;
    }
    return 0;
}

static uint32_t find_free_id(const struct tarn_writer *writer)
{
    for (uint32_t id = 1; id <= writer->view->geometry.file_count; id++)
        if (writer->records[id].id == 0 && writer->files[id].op.state == OP_NONE)
            return id;
    return 0;
}

static void sync_directory_of(int directory_fd, const char *path)
{
    char parent[TARN_PATH_BYTES];
    snprintf(parent, sizeof parent, "%s", path);
    char *slash = strrchr(parent, '/');
    if (slash != NULL)
        slash[slash == parent ? 1 : 0] = 0;
    int fd = openat(directory_fd, slash == NULL ? "." : parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return;
    fsync(fd);
    close(fd);
}

/* O_DIRECT where the file system has it and its blocks divide a page. */
static bool takes_direct(const struct tarn_writer *writer, const char *name)
{
    struct statx status;
    int fd = openat(writer->pool->directory_fd, name, O_RDWR | O_DIRECT | O_CLOEXEC);
    if (fd < 0)
        return false;
    close(fd);
    if (statx(writer->pool->directory_fd, name, 0, STATX_DIOALIGN, &status) != 0 ||
        (status.stx_mask & STATX_DIOALIGN) == 0)
        return true;
    return status.stx_dio_offset_align != 0 &&
           writer->view->geometry.page_bytes % status.stx_dio_offset_align == 0;
}

/* Makes the file if it is not there and may be made; *ret_made says so. A temporary one has a name
 * that was never in the table: what stands there was made by a writer that died before it was. */
static int make_file(const struct tarn_writer *writer, const char *name, bool temporary,
                     bool *ret_made)
{
    int directory_fd = writer->pool->directory_fd;
    mode_t mode = (mode_t)writer->view->superblock->mode & 0666;
    if (temporary)
        unlinkat(directory_fd, name, 0);
    int fd = openat(directory_fd, name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return -errno;
    int result = fchmod(fd, mode) == 0 ? 0 : -errno;
    close(fd);
    if (result < 0) {
        unlinkat(directory_fd, name, 0);
        return result;
    }
    if (!temporary)
        sync_directory_of(directory_fd, name);
    *ret_made = true;
    return 0;
}

/* Opens what stands there under the record's name, fences it, and fills in the rest of the record.
 * Returns a descriptor. */
static int open_new(struct tarn_writer *writer, struct tarn_file_record *record, bool buffered,
                    int64_t *ret_pages)
{
    char name[TARN_PATH_BYTES];
    struct stat status;
    tarn_record_file_name(record, name);
    if (fstatat(writer->pool->directory_fd, name, &status, 0) != 0)
        return -errno;
    tarn_file_identity(&status, &record->device, &record->inode);
    record->direct = !buffered && takes_direct(writer, name);
    int fd = tarn_record_open(writer->pool->directory_fd, record, O_RDWR, NULL);
    if (fd < 0)
        return fd;
    int64_t result = tarn_file_pages(fd, writer->view->geometry.page_bytes, name, NULL);
    int locked = result < 0 ? 0 : tarn_lock_byte(fd, TARN_LOCK_FENCE, F_WRLCK);
    if (locked < 0)
        result = locked == -EAGAIN ? -EBUSY : locked; /* a data file of another pool */
    if (result < 0) {
        close(fd);
        return (int)result;
    }
    *ret_pages = result;
    return fd;
}

/* A file that the table does not have. Returns its id. */
static int enter_new(struct tarn_writer *writer, const char *path, unsigned flags, bool make)
{
    uint32_t id = find_free_id(writer);
    if (id == 0)
        return -ENFILE;
    struct tarn_file_record record = {
        .id = id,
        .incarnation = writer->records[0].incarnation + 1,
        .kind = flags & TARN_FILE_TEMPORARY ? FILE_TEMPORARY : FILE_RAW,
    };
    char name[TARN_PATH_BYTES];
    int64_t pages = 0;
    bool made = false;
    snprintf(record.path, sizeof record.path, "%s", path);
    tarn_record_file_name(&record, name);
    int result = make ? make_file(writer, name, record.kind == FILE_TEMPORARY, &made) : 0;
    int fd = result < 0 ? result : open_new(writer, &record, flags & TARN_FILE_BUFFERED, &pages);
    if (fd >= 0) {
        writer->records[0].incarnation++;
        writer->records[id] = record;
        result = tarn_writer_table_write(writer);
        if (result == 0)
            result = place_file(writer, id, fd);
        if (result < 0) {
            writer->records[id] = (struct tarn_file_record){0};
            tarn_writer_table_write(writer);
            close(fd);
        }
    } else {
        result = fd;
    }
    if (result < 0) {
        if (made)
            unlinkat(writer->pool->directory_fd, name, 0);
        return result;
    }
    publish_file(writer, id, (uint64_t)pages);
    return (int)id;
}

/* A path that names a file of tarn's own making. */
static bool is_reserved_path(const char *path)
{
    while (strncmp(path, "./", 2) == 0)
        path += 2;
    return tarn_is_temporary_name(path);
}

/* What stands in a request's answer once the file may have been made for it: a successor that finds
 * the file there must not call that an error. */
static uint64_t begun_mark(uint64_t asked)
{
    return UINT64_C(1) << 63 | request_word_serial(asked);
}

/* Returns an id. */
static int open_file(struct tarn_writer *writer, const char *path, unsigned flags,
                     struct tarn_request *request, uint64_t asked)
{
    if (tarn_load_relaxed(&request->answer) == begun_mark(asked))
        flags &= ~(unsigned)TARN_FILE_EXCLUSIVE;
    struct stat status;
    bool temporary = (flags & TARN_FILE_TEMPORARY) != 0;
    bool create = (flags & (TARN_FILE_CREATE | TARN_FILE_TEMPORARY)) != 0;
    if (path[0] == 0 || (!temporary && is_reserved_path(path)))
        return -EINVAL;
    bool there = false;
    if (!temporary) {
        there = fstatat(writer->pool->directory_fd, path, &status, 0) == 0;
        if (!there && errno != ENOENT)
            return -errno;
        if (there && ((!S_ISREG(status.st_mode) && !S_ISBLK(status.st_mode)) ||
                      is_pools_own(writer, &status)))
            return -EINVAL;
    }
    uint32_t id =
        find_record(writer, temporary ? FILE_TEMPORARY : FILE_RAW, path, there ? &status : NULL);
    if ((id != 0 || there) && (flags & TARN_FILE_EXCLUSIVE) != 0)
        return -EEXIST;
    if (id != 0 && tarn_writer_file_drops(writer, id))
        return -EBUSY; /* no file any more, and still has its name */
    if (id != 0 && writer->files[id].fd < 0) {
        int result = enter_file(writer, id);
        if (result == 0)
            result = writer->files[id].error;
        if (result < 0)
            return result;
    }
    if (id != 0)
        return (int)id;
    tarn_store_relaxed(&request->answer, begun_mark(asked));
    return there || create ? enter_new(writer, path, flags, !there) : -ENOENT;
}

void tarn_writer_file_open(struct tarn_writer *writer, unsigned slot, uint64_t asked)
{
    struct tarn_request *request = &tarn_view_slot(writer->view, slot)->request;
    char path[TARN_PATH_BYTES];
    unsigned flags = (unsigned)tarn_load_relaxed(&request->flags);
    tarn_racy_copy(path, request->path, sizeof path);
    tarn_fence_load_load();
    /* Withdrawn while it was copied: the path may be half of the next one. */
    if (tarn_load_acquire(&request->word) != asked)
        return;
    int result = memchr(path, 0, sizeof path) == NULL
                     ? -EINVAL
                     : open_file(writer, path, flags, request, asked);
    if (result > 0)
        tarn_store_relaxed(&request->answer, (uint64_t)result);
    tarn_writer_answer(writer, slot, asked, result > 0 ? 0 : result);
}
