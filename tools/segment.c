/* SPDX-License-Identifier: MIT */
#include "tools/segment.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/check.h"
#include "tools/tool.h"

/* Opens and checks everything that can be known before mapping. */
static int open_file(struct segment *segment, const char *name)
{
    const char *path = segment->path;
    struct stat status;
    union {
        struct tarn_superblock superblock;
        uint8_t bytes[TARN_PAGE_BYTES_MIN];
    } page;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return errno == ENOENT ? tool_error("no pool %s: there is no segment %s", name, path)
                               : tool_error("%s: %s", path, strerror(errno));
    segment->pool.ask_fd = fd;
    if (fstat(fd, &status) != 0 || !S_ISREG(status.st_mode))
        return tool_error("%s is not a regular file, so no segment", path);
    ssize_t bytes = pread(fd, &page, sizeof page, 0);
    if (bytes < 0)
        return tool_error("%s: %s", path, strerror(errno));
    if (bytes < (ssize_t)sizeof page)
        return tool_error("%s: %s", path, tarn_strerror(-ENOTTY));
    int result = tarn_superblock_check(&page, (uint64_t)status.st_size);
    if (result == -EPROTONOSUPPORT)
        return tool_error("%s has format version %u, this command %u", path,
                          page.superblock.format_version, TARN_FORMAT_VERSION);
    if (result == -EMSGSIZE)
        return tool_error("%s has %" PRIu64 " bytes and says that it has %" PRIu64, path,
                          (uint64_t)status.st_size, page.superblock.geometry.segment_bytes);
    if (result < 0)
        return tool_error("%s: %s", path, tarn_strerror(result));
    segment->superblock = page.superblock;
    return 0;
}

/* True if the file is the segment that sessions of this boot attach. */
static bool is_live(const struct segment *segment, const char *shm_directory, bool by_name)
{
    char path[TARN_PATH_BYTES];
    uint8_t boot_id[16];
    struct stat mine, other;
    if (tarn_boot_id(boot_id) && memcmp(boot_id, segment->superblock.boot_id, sizeof boot_id) != 0)
        return false;
    if (by_name)
        return true;
    return tarn_segment_path(segment->superblock.name, shm_directory, path, NULL) == 0 &&
           fstat(segment->pool.ask_fd, &mine) == 0 && stat(path, &other) == 0 &&
           mine.st_dev == other.st_dev && mine.st_ino == other.st_ino;
}

int segment_open(const char *name, const char *shm_directory, struct segment *ret_segment)
{
    bool by_name = strchr(name, '/') == NULL;
    struct tarn_message message;
    struct segment *segment = ret_segment;
    memset(segment, 0, sizeof *segment);
    segment->pool.ask_fd = segment->pool.map_fd = -1;
    if (by_name) {
        if (tarn_segment_path(name, shm_directory, segment->path, &message) < 0)
            return tool_error("%s", message.text);
    } else if (snprintf(segment->path, sizeof segment->path, "%s", name) >= TARN_PATH_BYTES) {
        return tool_error("the path is too long");
    }
    int result = open_file(segment, name);
    if (result == 0) {
        const struct tarn_geometry *geometry = &segment->superblock.geometry;
        void *base =
            mmap(NULL, geometry->segment_bytes, PROT_READ, MAP_SHARED, segment->pool.ask_fd, 0);
        if (base == MAP_FAILED)
            result = tool_error("mapping %s: %s", segment->path, strerror(errno));
        else
            tarn_view_set(&segment->pool.view, base, geometry);
    }
    if (result != 0) {
        segment_close(segment);
        return result;
    }
    segment->live = is_live(segment, shm_directory, by_name);
    tarn_identify_process(&segment->pool);
    return 0;
}

struct tarn_file_record *segment_records(const struct segment *segment)
{
    uint32_t file_count = segment->superblock.geometry.file_count;
    struct tarn_file_record *records = calloc((size_t)file_count + 1, sizeof *records);
    int fd = open(segment->superblock.directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (records == NULL || fd < 0 || tarn_directory_read_files(fd, records, file_count, NULL) < 0) {
        free(records);
        records = NULL;
    }
    if (fd >= 0)
        close(fd);
    return records;
}

uint32_t segment_share(const struct segment *segment, uint32_t file,
                       const struct tarn_file_record *records, char *ret_key)
{
    const struct tarn_view *view = &segment->pool.view;
    const struct tarn_file_entry *entry = &view->files[file];
    if (file_word_state(tarn_load_acquire(&entry->word)) != FILE_OPEN)
        return 0;
    if (records != NULL && records[file].id != 0)
        snprintf(ret_key, SEGMENT_SHARE_BYTES, SEGMENT_SHARE_KEY "%s", records[file].path);
    else
        snprintf(ret_key, SEGMENT_SHARE_BYTES, SEGMENT_SHARE_KEY "%" PRIu32, file);
    return share_word_limit(tarn_load_relaxed(&entry->share), view->geometry.frame_count);
}

void segment_close(struct segment *segment)
{
    if (segment->pool.view.base != NULL)
        munmap(segment->pool.view.base, segment->pool.view.geometry.segment_bytes);
    if (segment->pool.ask_fd >= 0)
        close(segment->pool.ask_fd);
    segment->pool.view.base = NULL;
    segment->pool.ask_fd = -1;
}

bool segment_dead(void *context, unsigned slot)
{
    struct segment *segment = context;
    return segment->live && tarn_dead_by_kernel(&segment->pool, slot);
}

bool segment_stopped(void *context, unsigned slot)
{
    const struct segment *segment = context;
    return segment->live && tarn_stopped_by_kernel(&segment->pool, slot);
}

const char *segment_process(struct segment *segment, unsigned slot)
{
    if (!segment->live)
        return "copied";
    if (segment_dead(segment, slot))
        return "dead";
    uint64_t namespace =
        tarn_load_relaxed(&tarn_view_slot(&segment->pool.view, slot)->pid_namespace);
    if (segment->pool.pid_namespace == 0 || namespace != segment->pool.pid_namespace)
        return "unknown";
    return segment_stopped(segment, slot) ? "stopped" : "running";
}

/* The newest time that some slot names. */
static uint64_t newest_ns(const struct tarn_view *view)
{
    uint64_t newest = 0;
    for (unsigned slot = 1; slot <= view->slot_max; slot++) {
        const struct tarn_slot *shared = tarn_view_slot(view, slot);
        uint64_t joined = tarn_load_relaxed(&shared->joined_ns);
        uint64_t since = tarn_load_relaxed(&shared->wait_since_ns);
        newest = joined > newest ? joined : newest;
        newest = since > newest ? since : newest;
    }
    return newest;
}

double segment_age(const struct segment *segment, uint64_t then_ns)
{
    uint64_t now = segment->live ? tarn_now_ns() : newest_ns(&segment->pool.view);
    return then_ns < now ? (double)(now - then_ns) * 1e-9 : 0;
}
