/* SPDX-License-Identifier: MIT */
/* The pool's directory on disk: options, file table, lock; and the segment built from it. */
#ifndef TARN_LIB_DIRECTORY_H
#define TARN_LIB_DIRECTORY_H

#include <sys/stat.h>

#include "lib/internal.h"

#define TARN_DIRECTORY_OPTIONS "options"
#define TARN_DIRECTORY_FILES   "files"
#define TARN_DIRECTORY_LOCK    "lock"

/* Byte of DIR/lock that is locked by who changes the options of a pool that is attached. */
#define TARN_LOCK_OPTIONS INT64_C(1)

#define TARN_POLICY_BYTES 32u

/* DIR/options: text, a line a setting. */
struct tarn_directory_options {
    uint64_t frame_bytes;
    uint32_t page_bytes, session_count, file_count, mode;
    uint32_t setting[2 * TARN_SETTING_WORDS]; /* by SET_*: as in the segment; 0: never set */
    uint64_t recovery_number;                 /* raised at each build of a segment */
    uint8_t uuid[16];
    char name[TARN_NAME_BYTES];
    char policy[TARN_POLICY_BYTES];
    char shm_directory[TARN_PATH_BYTES];
};

/* One line of DIR/files. */
struct tarn_file_record {
    uint32_t id; /* 0: free */
    uint64_t incarnation;
    unsigned kind; /* FILE_RAW, FILE_TEMPORARY */
    bool direct;
    uint32_t share;             /* frames that its pages may take; 0: no limit */
    uint64_t device, inode;     /* identity; of a block device its rdev and 0 */
    char path[TARN_PATH_BYTES]; /* as opened from the directory: relative to it, or absolute */
};

/* In a pool of so many frames, which may have been more when it was set. */
static inline uint32_t tarn_record_share(const struct tarn_file_record *record,
                                         uint32_t frame_count)
{
    return record->share < frame_count ? record->share : frame_count;
}

int tarn_directory_read_options(int directory_fd, struct tarn_directory_options *ret_options,
                                struct tarn_message *message);

/* Written whole: temporary name, fsync, rename, fsync of the directory. */
int tarn_directory_write_options(int directory_fd, const struct tarn_directory_options *options,
                                 struct tarn_message *message);

/* records: array of file_count + 1, by id; the incarnation of records[0] is the newest that was
 * ever given to a file. */
int tarn_directory_read_files(int directory_fd, struct tarn_file_record *records,
                              uint32_t file_count, struct tarn_message *message);
int tarn_directory_write_files(int directory_fd, const struct tarn_file_record *records,
                               uint32_t file_count, struct tarn_message *message);

/* One record, for a process that opens a file at first use. -ENXIO if there is none. */
int tarn_directory_find_file(int directory_fd, uint32_t id, struct tarn_file_record *ret_record,
                             struct tarn_message *message);

/* Opens the file of a record and checks its identity. flags: O_RDONLY or O_RDWR. -EBADFD: gone, or
 * another one. */
int tarn_record_open(int directory_fd, const struct tarn_file_record *record, int flags,
                     struct tarn_message *message);

/* The name of its file: of a temporary one "tmp.ID.INCARNATION", else the path. TARN_PATH_BYTES. */
void tarn_record_file_name(const struct tarn_file_record *record, char *ret_name);
bool tarn_is_temporary_name(const char *name);

/* What tells a file from another of the same path. */
void tarn_file_identity(const struct stat *status, uint64_t *ret_device, uint64_t *ret_inode);

/* Size of a regular file or block device, or -errno. */
int64_t tarn_file_bytes(int fd);

/* Whole pages in an open raw file or block device. -EDOM, -errno. */
int64_t tarn_file_pages(int fd, uint32_t page_bytes, const char *path,
                        struct tarn_message *message);

/* Takes the fence byte on the very description that is to be written through: it is free once the
 * last write of an earlier writer has ended, dead or not. Waits for that; -EBUSY after a minute. */
int tarn_fence_lock(int fd, const char *path, struct tarn_message *message);

/* The pids of those who have the file behind `fd` open by another descriptor than this one, as
 * text: "12, 34". */
void tarn_file_users(int fd, char *ret_text, size_t bytes);

/* Files of temporary files that nobody knows any more, and what tarn itself has made. */
void tarn_directory_remove_temporary(int directory_fd);
int tarn_directory_remove_files(int directory_fd);

/* What an open of the directory, or of a file in it, answers for an errno: -ENOTDIR only if it is
 * not there, since who destroys a pool then takes it for gone. */
int tarn_directory_errno(int error);

/* Takes DIR/lock exclusively. A descriptor that holds it; -EBUSY: "still attached by PIDs". */
int tarn_directory_lock(int directory_fd, const char *directory, unsigned mode,
                        struct tarn_message *message);

/* Is `fd` the lock file of the directory? One that was removed after it was opened protects
 * nothing. */
bool tarn_directory_has_lock(int directory_fd, int fd);

/* Builds the segment of an existing directory that has none (or one that is out of date or from
 * before a reboot): raises the recovery number, drops temporary files, enters the raw ones, gives
 * it its name. Takes DIR/lock exclusively meanwhile: -EBUSY: "still attached by PIDs". */
int tarn_segment_build(const char *directory, const char *name, const char *shm_directory,
                       struct tarn_message *message);

/* The same under a lock that the caller has. directory: absolute. */
int tarn_segment_build_locked(int directory_fd, const char *directory, const char *name,
                              const char *shm_directory, struct tarn_message *message);

/* The FIFO that wakes the writer, beside the segment. */
int tarn_wake_fifo_make(const char *segment_path, unsigned mode);

/* Removes the names of a pool that has ended: segment, FIFO, and what tarn made in the directory.
 * data: the data files inside the directory too, and the directory if it is empty then. */
int tarn_pool_remove(const char *segment_path, const char *directory, bool data,
                     struct tarn_message *message);

#endif
