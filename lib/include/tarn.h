/* SPDX-License-Identifier: MIT */
/* tarn: a buffer manager that several processes share.
 *
 * A pool is a directory (options, file table), its data files and, while it is open, one segment of
 * shared memory: frames, page table, descriptors. Processes attach the segment, open sessions and
 * pin, latch and change pages; one writer process (`tarn writer`, or a thread of
 * tarn_open_embedded()) does all writing to disk.
 *
 * Results. Calls return 0, a count or a documented positive outcome, else a negative errno with one
 * meaning each (see ERRORS). A message for people, which names the object and the way out, is in
 * the session (tarn_session_message()), in the pool handle (tarn_pool_message()), or, where there
 * is no handle yet, in a struct tarn_message of the caller's. Outputs come last, are called
 * ret_..., and stay untouched when a call fails.
 *
 * Blocking. "Blocks" says that a call may wait for the disk, the writer, or another session. No
 * wait is without an end: a waiter asks after a millisecond whether the one it waits for is alive
 * and cleans up after it if not. A process that is stopped, not dead, is waited for, up to the
 * caller's own limit. Limits are in milliseconds: 0 tries, -1 is no limit.
 *
 * Limits. Pages: 4096, 8192, 16384, 32768 or 65536 bytes. Frames: 16 to 2^28 - 2. Sessions: 1 to
 * 1024. Files: 1 to 65535 ids, 256 unless asked for. Pages a file: 2^48 - 1. Pins of a session: 60.
 * Pages of a mini-transaction: 60.
 *
 * Trust. Processes of one user, or of one group where the pool was made so: they may be buggy or be
 * killed at any instruction, not malicious. A stray store of a living process into the segment is
 * not caught. Whatever bytes the segment holds, the library keeps the memory of its own process
 * safe: each offset and index is checked where it is used.
 *
 * Threads. A session is used by one thread at a time, any thread; handing it on needs the ordering
 * that any object needs. A pool handle may be used by all threads at once. tarn_session_close() may
 * be called by any thread while no other uses the session; tarn_detach() closes all sessions, while
 * none is in use. A thread that ends keeps its sessions open: they belong to the process. Deferred
 * cancellation is disabled inside waits; asynchronous cancellation is not supported. No call is
 * async-signal-safe. The library starts no thread but for tarn_open_embedded(), and installs no
 * signal handler.
 *
 * Fork, exec, exit. A forked child has none of its parent's handles: each call on one answers
 * -ECHILD, and nothing of the parent's is changed or unlocked; tarn_detach() there only frees
 * memory. The child attaches anew. exec and exit without detaching are deaths like any other: what
 * the process held is taken back by the others, an open mini-transaction is undone.
 *
 * Handles are pointers to opaque structs that never move; pins and tokens are small structs that
 * may be copied and kept anywhere. Nothing here is a macro or an inline function with an atomic
 * inside.
 */
#ifndef TARN_H
#define TARN_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define TARN_API __attribute__((visibility("default")))
#else
#define TARN_API
#endif

/* ERRORS: what a negative result means, here and nowhere else. tarn_strerror() gives the words.
 *
 * Finding and attaching a pool
 *   -ENOENT          no such pool: no segment, or no directory, of that name
 *   -EEXIST          the pool, or the file, exists
 *   -ENOTTY          not a segment: the file has no tarn superblock, or a damaged one
 *   -EPROTONOSUPPORT a segment of another format version
 *   -EPROTOTYPE      a segment of this version with another layout (a different build)
 *   -ENOEXEC         a segment of the other byte order
 *   -ESTALE          a segment from before a reboot
 *   -EREMCHG         out of date: the directory has been opened by a newer segment since
 *   -EMSGSIZE        truncated: the segment has not the size that it says it has
 *   -EPERM           wrong owner or mode of segment or directory
 *   -EUSERS          session table full
 *   -EBUSY           still attached, still pinned or latched, or in use; the message says by whom
 *   -ENOSPC          /dev/shm, or the disk, is full
 *   -ENOTDIR         the pool's directory is not one, or lacks its options or file table
 * Handles
 *   -EBADF           the handle is closed
 *   -ECHILD          the handle was made before fork; attach anew
 *   -ESHUTDOWN       the pool was destroyed while attached
 *   -EINVAL          an argument is outside what its description allows
 * Files
 *   -ENXIO           no such file in the pool (never opened, or dropped)
 *   -ENFILE          the file table is full
 *   -ERANGE          page beyond the end of the file
 *   -EDOM            the file's size is not a whole number of pages
 *   -EBADFD          the file is gone, replaced, or shrunk underneath the pool
 *   -ENODATA         short read inside the file
 *   -EIO             the device failed (other errors of open, read and write come as they are)
 * Pages
 *   -EMFILE          too many holds: the session has 60 pins
 *   -EALREADY        taken already: this session has the latch, or the page in its mini-transaction
 *   -EDEADLK         waiting would close a cycle through this session
 *   -ETIMEDOUT       the limit is over, the object still taken; of a try, too
 *   -EAGAIN          changed since: the version token is old
 *   -ENOBUFS         everything pinned: no frame can be had; the message has the numbers
 *   -ENOTCONN        no writer
 *   -ENOTRECOVERABLE the writer could not make changes durable twice in a row; what is cached can
 *                    be read, nothing is acknowledged as durable any more
 * Mini-transactions
 *   -E2BIG           more pages than tarn_mtr_begin() was told
 *   -EINPROGRESS     a mini-transaction is active already
 *   -ESRCH           no mini-transaction is active, or the page is not in it
 *   -ECANCELED       an earlier call of this mini-transaction failed: only abort is left
 * Anything
 *   -ENOMEM          no memory
 */

struct tarn_pool;    /* an attached pool, of one process */
struct tarn_session; /* what one thread at a time works through */

/* Message for people: what went wrong, with which object, what to do. */
struct tarn_message {
    char text[512];
};

/* A page: file id above, page number (from 0) in the low 48 bits. Make it with tarn_page_id(). */
struct tarn_page_id {
    uint64_t value;
};

/* A pinned page. `data` stays readable memory until the pin is given back; what stands there is
 * fixed only under a latch. The rest is the library's. May be copied; is given back once. */
struct tarn_pin {
    const void *data;
    uint32_t frame;
    uint32_t hold;
};

/* A version token of an optimistic read. Needs nothing given back. */
struct tarn_optimistic {
    const void *data;
    uint64_t version;
    struct tarn_page_id id;
    uint32_t frame;
    uint32_t generation;
};

/* A page that a mini-transaction holds exclusively and has not declared to change. */
struct tarn_locked_page {
    const void *data;
    uint32_t entry;
    uint32_t reserved;
};

/* A page that a mini-transaction may change. */
struct tarn_writable_page {
    void *data;
    uint32_t entry;
    uint32_t reserved;
};

/* What a caller knows about its use of a page; may be combined with |. */
enum tarn_hint {
    TARN_HINT_NONE = 0,
    TARN_HINT_ONCE = 1,       /* not soon again: leaves the pool first */
    TARN_HINT_SEQUENTIAL = 2, /* the next pages of the file follow */
    TARN_HINT_KEEP = 4        /* keep longer than others */
};

/* "0.1.0". */
TARN_API const char *tarn_version(void);

/* Words for a negative result; a static string, never NULL. */
TARN_API const char *tarn_strerror(int result);

/* number: 0 to 2^48 - 1, file: 1 to 65535; other bits are cut off. */
TARN_API struct tarn_page_id tarn_page_id(uint32_t file, uint64_t number);
TARN_API uint32_t tarn_page_file(struct tarn_page_id id);
TARN_API uint64_t tarn_page_number(struct tarn_page_id id);

/* Pools. */

struct tarn_init_options {
    size_t size;               /* sizeof(struct tarn_init_options) */
    const char *directory;     /* NULL: "./NAME.tarn"; made if it is not there */
    const char *shm_directory; /* NULL: "/dev/shm" */
    uint64_t frame_bytes;      /* bytes of all frames; 0: 64 MiB. Rounded down to whole pages */
    uint32_t page_bytes;       /* 0: 4096 */
    uint32_t session_count;    /* 0: 64 */
    uint32_t file_count;       /* 0: 256 */
    uint32_t mode;             /* permission bits of segment and directory's files; 0: 0600. 0660
                                  lets the group in */
    const char *policy;        /* by which pages leave: s3-fifo-adaptive (NULL), s3-fifo, clock,
                                  sieve, 2q, lru or lru-2 */
};

/* Makes a pool: directory with options and file table, and the segment, which appears whole or not
 * at all. name: 1 to 63 of A-Z a-z 0-9 . _ -, not beginning with a dot. Blocks for the disk.
 * Nothing is left behind on an error. Errors: -EEXIST, -EINVAL, -ENOSPC, -EPERM, -EBUSY, and those
 * of the file system. */
TARN_API int tarn_init(const char *name, const struct tarn_init_options *options,
                       struct tarn_message *ret_message);

/* What a pool that exists says of itself. */
struct tarn_pool_info {
    size_t size; /* set by the caller: sizeof(struct tarn_pool_info) */
    uint32_t page_bytes;
    uint32_t frame_count;
    uint32_t session_count;
    uint32_t file_count;
    uint64_t segment_bytes;
    const char *name; /* these live as long as the handle */
    const char *directory;
    const char *segment_path;
};

enum tarn_destroy_flags {
    TARN_DESTROY_FORCE = 1, /* although attached: those get -ESHUTDOWN from then on */
    TARN_DESTROY_DATA = 2   /* the directory and the data files inside it too */
};

/* Ends a pool: what is committed goes to disk, then segment, options and file table go. Data files
 * stay unless TARN_DESTROY_DATA is given, and files outside the directory always stay. Blocks for
 * the disk. Errors: those of tarn_attach() that leave doubt what it is; -EBUSY: attached, by the
 * processes in the message; -ENOTRECOVERABLE, -EIO: changes could not be written, the pool is still
 * there (with FORCE it goes all the same); -ENOMEM, -EMFILE: this process could not write them, and
 * may try again. shm_directory: NULL: "/dev/shm". */
TARN_API int tarn_destroy(const char *name, const char *shm_directory, unsigned flags,
                          struct tarn_message *ret_message);

struct tarn_attach_options {
    size_t size;               /* sizeof(struct tarn_attach_options) */
    const char *shm_directory; /* NULL: "/dev/shm" */
};

/* Attaches a pool; options may be NULL. Populates the shared descriptors: 81 ms for each GiB of
 * them. May be called several times in a process, also for one pool. Errors: "Finding and attaching
 * a pool" above. */
TARN_API int tarn_attach(const char *name, const struct tarn_attach_options *options,
                         struct tarn_pool **ret_pool, struct tarn_message *ret_message);

/* Closes all sessions (which aborts open mini-transactions) and frees the handle. Takes NULL. Of an
 * embedded pool it blocks for the disk, stops the writer and ends the pool; if changes could not be
 * written it says so with the writer's error, and the next open of the directory goes on with them.
 * In a forked child: frees memory, touches nothing shared. -EBADF: not an open handle. */
TARN_API int tarn_detach(struct tarn_pool *pool);

TARN_API int tarn_pool_info(struct tarn_pool *pool, struct tarn_pool_info *ret_info);

/* The message of the newest call on this handle that failed, in any thread. */
TARN_API int tarn_pool_message(struct tarn_pool *pool, struct tarn_message *ret_message);

/* Settings: what can be changed while the pool works.
 *
 *   free_frames_low    the writer evicts when fewer frames than this are free
 *   free_frames_high   so many at most it keeps free when many are used; both 0: sessions evict
 *                      by themselves
 *   dirty_frames_low   ... until so many are dirty
 *   dirty_frames_high  the writer writes when more frames than this are dirty ...
 *   write_rate         KiB a second that it writes at most, but for single pages that somebody
 *                      waits for; 0: no limit
 */
struct tarn_setting {
    size_t size;            /* set by the caller: sizeof(struct tarn_setting) */
    uint64_t value;         /* in force */
    uint64_t default_value; /* of frames: follows from how many there are */
    uint64_t max;           /* values are 0 to this; a low mark at most its high one */
    int is_set;             /* 0: the default is in force */
    const char *from;       /* where the value comes from, in words; static */
};

/* The key of the setting `index`, from 0 on; NULL: there are no more. */
TARN_API const char *tarn_pool_setting_key(unsigned index);

TARN_API int tarn_pool_get(struct tarn_pool *pool, const char *key,
                           struct tarn_setting *ret_setting);

/* Sets `count` settings, all or none: "KEY=VALUE", where the value is a number, of frames also a
 * percentage of them ("5%"), or "default". Holds from then on for everybody, through the end of the
 * writer and of the segment: it is kept in the pool's directory. Who is killed in here leaves all
 * old or, some at a time, new values. Blocks for the disk, and up to 5 s for others who set.
 * Errors: -EINVAL (unknown key, no value, out of bounds), -EBUSY, -ESHUTDOWN, those of the file
 * system. */
TARN_API int tarn_pool_set(struct tarn_pool *pool, const char *const *assignments, unsigned count);

struct tarn_embedded_options {
    size_t size;            /* sizeof(struct tarn_embedded_options) */
    const char *directory;  /* made if it is not there; NULL: a temporary pool */
    uint64_t frame_bytes;   /* 0: 64 MiB */
    uint32_t page_bytes;    /* 0: 4096 */
    uint32_t session_count; /* 0: 64 */
    const char *policy;     /* as in struct tarn_init_options; of a directory that is a pool already
                               the one that it was made with counts, as for the sizes */
};

/* Pool, writer and first session in one call: no name, no daemon. The writer is a thread of this
 * process, with all signals blocked. tarn_detach() flushes, stops the writer and removes the
 * segment; a temporary pool leaves nothing, a directory keeps its files. More sessions may be
 * opened on the pool. options may be NULL. Errors: those of tarn_init() and tarn_attach(); -EBUSY:
 * the directory is in use by another process. */
TARN_API int tarn_open_embedded(const struct tarn_embedded_options *options,
                                struct tarn_pool **ret_pool, struct tarn_session **ret_session,
                                struct tarn_message *ret_message);

/* Sessions. */

struct tarn_session_options {
    size_t size;            /* sizeof(struct tarn_session_options) */
    const char *name;       /* for people, up to 31 bytes; NULL: the program's name */
    int32_t wait_ms;        /* longest wait for a page that another session reads, a micro-lock, the
                               writer; 0: 60,000; -1: no limit */
    int32_t frame_wait_ms;  /* longest wait for a free frame; 0: 2,000 */
    int32_t writer_wait_ms; /* longest time without any writer alive; 0: 5,000 */
};

/* Opens a session; options may be NULL. Takes back slots of dead sessions first if none is free.
 * Errors: -EUSERS, -ENOMEM, -ESHUTDOWN, -EBADF, -ECHILD. */
TARN_API int tarn_session_open(struct tarn_pool *pool, const struct tarn_session_options *options,
                               struct tarn_session **ret_session);

/* Aborts an open mini-transaction, gives back all pins and latches, frees the slot. Takes NULL. The
 * handle answers -EBADF until tarn_detach(). Does not block. */
TARN_API int tarn_session_close(struct tarn_session *session);

/* The message of this session's newest call that failed; valid until the next that fails. */
TARN_API const char *tarn_session_message(const struct tarn_session *session);

/* Files. */

enum tarn_file_flags {
    TARN_FILE_CREATE = 1,    /* make it if it is not there, with no pages */
    TARN_FILE_EXCLUSIVE = 2, /* with CREATE: -EEXIST if it is there */
    TARN_FILE_TEMPORARY = 4, /* never synced, gone at restart; path: only a name; implies CREATE */
    TARN_FILE_BUFFERED = 8   /* through the page cache; otherwise O_DIRECT where there is */
};

/* Enters a file into the pool, or finds it there: a raw file, every byte of it the user's, or a
 * block device. path: relative to the pool's directory, or absolute. Any process can open any file
 * of the pool under the id, which stays the same until the file is dropped. Blocks for the writer.
 * Errors: -ENOENT (no such file to enter), -EEXIST, -EDOM, -ENFILE, -EINVAL, -EBUSY (it is just
 * being dropped), -ENOTCONN, those of open. */
TARN_API int tarn_file_open(struct tarn_session *session, const char *path, unsigned flags,
                            uint32_t *ret_file);

/* Whole pages of the file. Does not block. Errors: -ENXIO. */
TARN_API int tarn_file_page_count(struct tarn_session *session, uint32_t file,
                                  uint64_t *ret_page_count);

/* Makes the file at least page_count pages long; the new pages are zeros. Durable when it returns.
 * Less than there are is no error and changes nothing. Blocks. Errors: -ENXIO, -ENOSPC, -EFBIG,
 * -ENOTCONN. */
TARN_API int tarn_file_extend(struct tarn_session *session, uint32_t file, uint64_t page_count);

/* Makes the file at most page_count pages long; pages beyond, changed or not, leave the pool.
 * Blocks for those who hold such pages up to wait_ms. Errors: -ENXIO, -EBUSY (a page is held;
 * nothing has changed; the message names the holder), -ENOTCONN. */
TARN_API int tarn_file_truncate(struct tarn_session *session, uint32_t file, uint64_t page_count,
                                int32_t wait_ms);

/* Takes the file out of the pool, unlinked if `unlink` is not 0 (temporary files always). What was
 * changed and not flushed is dropped with it. Its id answers -ENXIO, and may be given to another
 * file later. Blocks and fails like tarn_file_truncate(); with the error of the unlink if the file
 * is out of the pool and still has its name. */
TARN_API int tarn_file_drop(struct tarn_session *session, uint32_t file, int unlink,
                            int32_t wait_ms);

/* How many frames of the pool the file's pages may take, so that others keep theirs; 0, and at
 * first: no limit. Kept by the writer: pages of a file that has more leave before any others, hints
 * or not, also while frames are free. So a file may have more for a while: by what is loaded
 * between two looks of the writer, by pages that are pinned or not written yet, and for as long as
 * there is no writer. Holds until it is set again, over writers and segments; a dropped file's
 * share goes with it. Blocks for the writer, not until pages have left. Errors: -ENXIO, -EINVAL
 * (more frames than the pool has), -ENOTCONN, -EBADFD, those of writing the file table. */
TARN_API int tarn_file_set_share(struct tarn_session *session, uint32_t file, uint64_t frames);

/* What was set; 0: no limit. Does not block. Errors: -ENXIO. */
TARN_API int tarn_file_share(struct tarn_session *session, uint32_t file, uint64_t *ret_frames);

/* Pins. */

/* Pins a page: brings it into the pool if it is not there (blocks for the disk, a free frame, or
 * another session that reads it) and keeps it there. The same page may be pinned again; each pin is
 * given back by itself. hints: enum tarn_hint. Errors: -EMFILE, -ERANGE, -ENXIO, -ENOBUFS, -EBADFD,
 * -ENODATA, -EIO, -ETIMEDOUT, -ESHUTDOWN. */
TARN_API int tarn_pin(struct tarn_session *session, struct tarn_page_id id, unsigned hints,
                      struct tarn_pin *ret_pin);

/* Gives a pin back. Does not block. Errors: -EINVAL (not a pin of this session), -EBUSY (latched
 * through it). */
TARN_API int tarn_unpin(struct tarn_session *session, struct tarn_pin pin);

/* Pins `count` (1 to 60) pages with one barrier; those missing are read together, many in flight.
 * All or none. Blocks and fails like tarn_pin(). */
TARN_API int tarn_pin_many(struct tarn_session *session, const struct tarn_page_id *ids,
                           unsigned count, unsigned hints, struct tarn_pin *ret_pins);

/* Gives them all back; on an error those that are pins are given back all the same. */
TARN_API int tarn_unpin_many(struct tarn_session *session, const struct tarn_pin *pins,
                             unsigned count);

/* Begins to read pages that are not in the pool, and does not wait for them: up to 32 in flight a
 * session, the rest is passed over. Whoever needs such a page before it is there reads it himself.
 * A hint: only arguments are errors. Returns the number of reads begun. */
TARN_API int tarn_prefetch(struct tarn_session *session, const struct tarn_page_id *ids,
                           unsigned count);

/* Latches a pinned page shared: until it is unlatched nobody changes it. Blocks for an exclusive
 * holder up to wait_ms. Errors: -EALREADY, -ETIMEDOUT, -EDEADLK, -EINVAL. */
TARN_API int tarn_latch_shared(struct tarn_session *session, struct tarn_pin pin, int32_t wait_ms);

/* Keeps the pin. Does not block. Errors: -EINVAL: no latch is held through this pin. */
TARN_API int tarn_unlatch_shared(struct tarn_session *session, struct tarn_pin pin);

/* Begins a read that writes nothing shared: `data` may be read at once, but counts only if
 * tarn_optimistic_valid() says 1 afterwards. What is read before that may be half a change, or
 * another page: do not follow an offset from it without checking it against the page size, and copy
 * what you need before you ask. Loads the page if it is not in the pool; blocks then, and while the
 * page is held exclusively, up to the session's wait_ms. Errors: those of tarn_pin(), -EDEADLK. */
TARN_API int tarn_optimistic_begin(struct tarn_session *session, struct tarn_page_id id,
                                   struct tarn_optimistic *ret_optimistic);

/* 1: everything read since begin was the page, unchanged; 0: begin again (also with a handle that
 * is closed or from before a fork: begin says which). Does not block. */
TARN_API int tarn_optimistic_valid(struct tarn_session *session,
                                   const struct tarn_optimistic *optimistic);

/* Copies bytes of a page as they stand at one moment; optimistic, after a few failures under a
 * shared latch. offset + bytes at most a page. Blocks and fails like tarn_pin() and
 * tarn_latch_shared(). */
TARN_API int tarn_page_copy(struct tarn_session *session, struct tarn_page_id id, uint32_t offset,
                            uint32_t bytes, void *ret_bytes);

/* Mini-transactions. */

/* Pages changed together: all or nothing, whoever dies when. One at a time for each session. After
 * a call inside that failed for another reason than -ETIMEDOUT of a lock, -EAGAIN, -EALREADY,
 * -ERANGE or -EINVAL, only tarn_mtr_abort() is allowed. */

/* Begins, for at most page_count_max (1 to 60) pages. Reserves frames to keep the old bytes in;
 * blocks for them up to the session's frame_wait_ms. Errors: -EINPROGRESS, -E2BIG (more than 60, or
 * more than the pool could ever hold), -ENOBUFS, -ESHUTDOWN. */
TARN_API int tarn_mtr_begin(struct tarn_session *session, unsigned page_count_max);

/* Takes a page exclusively without a copy: to read, and perhaps give back early. Blocks for its
 * holders up to wait_ms, and like tarn_pin(). The page stays until commit, abort or
 * tarn_mtr_release(). Errors: those of tarn_pin(), -EALREADY, -ETIMEDOUT, -EDEADLK, -E2BIG, -ESRCH.
 */
TARN_API int tarn_mtr_lock(struct tarn_session *session, struct tarn_page_id id, int32_t wait_ms,
                           struct tarn_locked_page *ret_page);

/* Takes a page exclusively to change it, all of it; or allows that for one already locked; for one
 * already writable it gives the same pointer again. The old bytes are kept aside until commit.
 * Blocks and fails like tarn_mtr_lock(), but for -EALREADY: only a shared latch of this session. */
TARN_API int tarn_mtr_write(struct tarn_session *session, struct tarn_page_id id, int32_t wait_ms,
                            struct tarn_writable_page *ret_page);

/* The same for bytes offset to offset + bytes - 1 alone, which are kept aside; may be called again
 * for other bytes of the page. A store outside of what was declared is the caller's bug: it is not
 * undone by an abort. */
TARN_API int tarn_mtr_write_range(struct tarn_session *session, struct tarn_page_id id,
                                  uint32_t offset, uint32_t bytes, int32_t wait_ms,
                                  struct tarn_writable_page *ret_page);

/* A page that is to be written anew: zeros, without reading it from disk. Must be below the file's
 * page count. */
TARN_API int tarn_mtr_new(struct tarn_session *session, struct tarn_page_id id, int32_t wait_ms,
                          struct tarn_writable_page *ret_page);

/* Lock and write, but only if the page is still as the token says: otherwise -EAGAIN, and nothing
 * is taken. Does not wait: a page that is held exclusively has changed. Waits for shared holders up
 * to wait_ms. */
TARN_API int tarn_mtr_lock_if(struct tarn_session *session,
                              const struct tarn_optimistic *optimistic, int32_t wait_ms,
                              struct tarn_locked_page *ret_page);
TARN_API int tarn_mtr_write_if(struct tarn_session *session,
                               const struct tarn_optimistic *optimistic, int32_t wait_ms,
                               struct tarn_writable_page *ret_page);

/* Gives a locked page back before the end; not one that may have been changed (-EBUSY). Does not
 * block. */
TARN_API int tarn_mtr_release(struct tarn_session *session, struct tarn_page_id id);

enum tarn_commit_flags {
    TARN_COMMIT_FLUSH = 1 /* make the changed pages durable before returning */
};

/* Commits. 0: committed and durable; 1: committed, not (yet) durable (without TARN_COMMIT_FLUSH
 * always, with it when the flush failed: the message says why); negative: aborted, nothing changed.
 * With FLUSH blocks for the disk after the latches are free; otherwise does not block. */
TARN_API int tarn_mtr_commit(struct tarn_session *session, unsigned flags);

/* Undoes. Cannot fail, but for -ESRCH, -EBADF and -ECHILD. Does not block. */
TARN_API int tarn_mtr_abort(struct tarn_session *session);

/* Durability. */

/* When one of these returns 0, every change of the page, of the file, of all files whose commit had
 * returned before the call is on the device; temporary files are only written. Block. Errors:
 * -ENOTCONN, -ENOTRECOVERABLE, -EIO and what else the device says (healthy pages are durable all
 * the same, failed ones stay dirty), -ENXIO, -ETIMEDOUT; -EBUSY: a stray store has left a page
 * latched by nobody. */
TARN_API int tarn_flush_page(struct tarn_session *session, struct tarn_page_id id);
TARN_API int tarn_flush_file(struct tarn_session *session, uint32_t file);
TARN_API int tarn_flush_all(struct tarn_session *session);

#ifdef __cplusplus
}
#endif

#endif
