/* SPDX-License-Identifier: MIT */
/* The life of a writer: standby, takeover, work, end. */
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "lib/writer/state.h"

#define DEPTH_DEFAULT   64u
#define DEPTH_MAX       (TARN_IO_DEPTH_MAX - SYNCS_MAX)
#define COMPLETIONS_MAX 64u
#define LOOK_WAIT_NS    ((int64_t)1000 * NS_PER_MS) /* those whom nobody watches */
#define HOLDER_WAIT_NS  NS_PER_MS                   /* those who hold a page that is to go */
#define STANDBY_WAIT_MS 1000
#define DYING_WAIT_MS   2 /* a writer that is dead, and not yet taken apart */

static void report(const struct tarn_writer *writer, const char *text)
{
    if (writer->options.report != NULL)
        writer->options.report(writer->options.context, text);
}

static void free_writer(struct tarn_writer *writer)
{
    if (writer->stop_fd >= 0)
        close(writer->stop_fd);
    free(writer->records);
    free(writer->files);
    free(writer->frames);
    tarn_writer_victims_close(writer);
    free(writer->served);
    free(writer->watches);
    free(writer->slot_watch);
    free(writer);
}

int tarn_writer_open(struct tarn_pool *pool, const struct tarn_writer_options *options,
                     struct tarn_writer **ret_writer)
{
    const struct tarn_geometry *geometry = &pool->view.geometry;
    struct tarn_writer *writer = calloc(1, sizeof *writer);
    if (writer == NULL)
        return tarn_pool_fail(pool, -ENOMEM, "no memory for a writer");
    writer->pool = pool;
    writer->view = &pool->view;
    writer->options = *options;
    writer->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    writer->wake_fd = writer->fifo_fd = -1;
    writer->records = calloc((size_t)geometry->file_count + 1, sizeof *writer->records);
    writer->files = calloc((size_t)geometry->file_count + 1, sizeof *writer->files);
    writer->frames = calloc(geometry->frame_count, sizeof *writer->frames);
    writer->served = calloc((size_t)geometry->slot_count + 1, sizeof *writer->served);
    writer->watches = calloc((size_t)2 * geometry->slot_count, sizeof *writer->watches);
    writer->slot_watch = calloc((size_t)geometry->slot_count + 1, sizeof *writer->slot_watch);
    int result = 0;
    if (writer->stop_fd < 0 || writer->records == NULL || writer->files == NULL ||
        writer->frames == NULL || writer->served == NULL || writer->watches == NULL ||
        writer->slot_watch == NULL)
        result = tarn_pool_fail(pool, -ENOMEM, "no memory for a writer of %" PRIu32 " frames",
                                geometry->frame_count);
    for (uint32_t id = 0; result == 0 && id <= geometry->file_count; id++)
        writer->files[id].fd = -1;
    struct tarn_session_options session = {.size = sizeof session, .name = "writer"};
    if (result == 0)
        result = tarn_session_open_as(pool, &session, ROLE_STANDBY, &writer->session);
    if (result < 0) {
        free_writer(writer);
        return result;
    }
    *ret_writer = writer;
    return 0;
}

void tarn_writer_stop(struct tarn_writer *writer)
{
    uint64_t one = 1;
    /* A full counter says the same. */
    if (write(writer->stop_fd, &one, sizeof one) < 0)
        return;
}

void tarn_writer_close(struct tarn_writer *writer)
{
    if (writer == NULL)
        return;
    tarn_session_close(writer->session);
    free_writer(writer);
}

void tarn_writer_close_in_child(struct tarn_writer *writer)
{
    tarn_io_close_in_child(writer->io);
    const int fds[] = {writer->stop_fd, writer->wake_fd, writer->fifo_fd};
    for (unsigned i = 0; i < sizeof fds / sizeof fds[0]; i++)
        if (fds[i] >= 0)
            close(fds[i]);
    for (unsigned i = 0; i < writer->watch_count; i++)
        if (writer->watches[i].fd >= 0)
            close(writer->watches[i].fd);
    for (uint32_t id = 1; id <= writer->file_last; id++)
        if (writer->files[id].fd >= 0)
            close(writer->files[id].fd);
}

/* The role. */

/* Whom a standby watches: the writer as its slot says. */
struct predecessor {
    uint64_t slot, pid, serial;
    int fd;
    bool dead;
};

static void watch_predecessor(const struct tarn_writer *writer, struct predecessor *known)
{
    const struct tarn_pool *pool = writer->pool;
    struct predecessor now = {.slot = tarn_load_acquire(&writer->view->control->writer_slot),
                              .fd = -1};
    if (now.slot >= 1 && now.slot <= writer->view->slot_max) {
        const struct tarn_slot *slot = tarn_view_slot(writer->view, (unsigned)now.slot);
        now.pid = tarn_load_relaxed(&slot->pid);
        now.serial = tarn_load_relaxed(&slot->serial);
        if (tarn_load_relaxed(&slot->pid_namespace) != pool->pid_namespace)
            now.pid = 0;
    }
    if (now.slot == known->slot && now.pid == known->pid && now.serial == known->serial)
        return;
    if (known->fd >= 0)
        close(known->fd);
    if (now.pid != 0 && pool->pid_namespace != 0)
        now.fd = (int)syscall(SYS_pidfd_open, (pid_t)now.pid, 0);
    /* A pid that cannot be opened any more is that of one who has ended. */
    now.dead = now.pid != 0 && now.fd < 0;
    *known = now;
}

/* Sleeps until the writer has ended, or it is time to look. True: told to stop. */
static bool wait_for_predecessor(const struct tarn_writer *writer, struct predecessor *known)
{
    watch_predecessor(writer, known);
    struct pollfd fds[] = {
        {.fd = writer->stop_fd, .events = POLLIN},
        {.fd = known->dead ? -1 : known->fd, .events = POLLIN},
    };
    if (poll(fds, 2, known->dead ? DYING_WAIT_MS : STANDBY_WAIT_MS) > 0 && fds[1].revents != 0)
        known->dead = true;
    return fds[0].revents != 0 || tarn_load_acquire(&writer->view->control->life) != LIFE_OPEN;
}

/* 0: the role byte is this handle's; 1: told to stop before that. */
static int take_role(struct tarn_writer *writer)
{
    struct tarn_control *control = writer->view->control;
    struct predecessor known = {.fd = -1};
    bool waited = false;
    int result;
    while ((result = tarn_lock_byte(writer->pool->map_fd, TARN_LOCK_WRITER, F_WRLCK)) == -EAGAIN) {
        if (writer->options.no_standby) {
            result = tarn_pool_fail(writer->pool, -EBUSY, "pool %s has a writer already",
                                    writer->pool->name);
            break;
        }
        if (!waited) {
            tarn_store_relaxed(&control->standby_slot, writer->session->slot);
            report(writer, "standby");
            tarn_writer_durable_measure(writer);
        }
        waited = true;
        if (wait_for_predecessor(writer, &known)) {
            result = 1;
            break;
        }
    }
    if (result == 0 && !waited)
        tarn_writer_durable_measure(writer);
    if (known.fd >= 0)
        close(known.fd);
    if (tarn_load_relaxed(&control->standby_slot) == writer->session->slot)
        tarn_store_relaxed(&control->standby_slot, 0);
    return result;
}

static void give_role_back(struct tarn_writer *writer)
{
    tarn_store_relaxed(&writer->session->shared->role, ROLE_STANDBY);
    tarn_store_release(&writer->view->control->writer_slot, 0);
    tarn_lock_byte(writer->pool->map_fd, TARN_LOCK_WRITER, F_UNLCK);
}

/* What it works with. */

static void use_capabilities(struct tarn_writer *writer, const struct tarn_io_capabilities *io)
{
    tarn_writer_arena_run_max(writer, io->transfer_bytes_max);
    writer->durable =
        io->durable_writes && (writer->options.durable == TARN_WRITER_DURABLE_ALWAYS ||
                               (writer->options.durable == TARN_WRITER_DURABLE_MEASURED &&
                                writer->synced_ns != 0 && writer->durable_ns < writer->synced_ns));
}

static int open_io(struct tarn_writer *writer)
{
    const struct arena *arena = &writer->arena;
    const struct tarn_io_options options = {
        .backend = writer->options.backend,
        .ops = writer->options.io_ops,
        .depth = arena->chunk_count + SYNCS_MAX,
        .file_count = writer->view->geometry.file_count + 1,
        .buffer = arena->data,
        .buffer_bytes = arena->bytes,
        .one_thread = true,
    };
    int result = tarn_io_open(&options, &writer->io);
    if (result == 0)
        use_capabilities(writer, tarn_io_capabilities(writer->io));
    return result;
}

static bool is_our_fifo(const struct tarn_writer *writer, const char *path)
{
    struct stat named, opened;
    return lstat(path, &named) == 0 && fstat(writer->wake_fd, &opened) == 0 &&
           S_ISFIFO(opened.st_mode) && named.st_ino == opened.st_ino;
}

/* Opened for writing too, so that it has no end. Its name is watched: without it, sessions that
 * come later cannot wake the writer, which then looks by itself once a second. */
static void open_fifo(struct tarn_writer *writer)
{
    char path[TARN_PATH_BYTES];
    tarn_wake_path(writer->pool->segment_path, path);
    if (access(path, F_OK) != 0)
        tarn_wake_fifo_make(writer->pool->segment_path, writer->view->superblock->mode);
    writer->wake_fd = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC | O_NOFOLLOW);
    writer->fifo_fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
    writer->fifo_lost =
        writer->wake_fd < 0 || !is_our_fifo(writer, path) || writer->fifo_fd < 0 ||
        inotify_add_watch(writer->fifo_fd, path, IN_ATTRIB | IN_DELETE_SELF | IN_MOVE_SELF) < 0 ||
        !is_our_fifo(writer, path);
}

static void drain(int fd)
{
    char bytes[4096];
    while (read(fd, bytes, sizeof bytes) > 0)
        continue;
}

/* Asks for the next event of a kind; if that cannot be, the timer looks instead. */
static void poll_again(struct tarn_writer *writer, unsigned what)
{
    int fd = what == ID_STOP   ? writer->stop_fd
             : what == ID_WAKE ? writer->wake_fd
                               : writer->fifo_fd;
    if (fd < 0 || tarn_io_poll(writer->io, fd, io_id(what, 0)) < 0)
        writer->fifo_lost = true;
}

static void publish_figures(struct tarn_writer *writer, uint64_t takeover_ns)
{
    struct tarn_writer_info *info = &writer->view->control->writer;
    const struct tarn_io_capabilities *io = tarn_io_capabilities(writer->io);
    snprintf(info->backend, sizeof info->backend, "%s", io->backend);
    info->registered_buffer = io->registered_buffer;
    info->registered_files = io->registered_files;
    info->deferred = io->deferred;
    info->depth = writer->arena.chunk_count;
    info->depth_asked = writer->options.depth;
    info->staging_bytes = (uint32_t)writer->arena.bytes;
    info->run_bytes = writer->arena.run_pages_max << writer->view->page_shift;
    info->background_depth = tarn_writer_background_depth(writer, false);
    info->background_calm_depth = tarn_writer_background_depth(writer, true);
    info->durable = writer->durable;
    info->durable_asked = writer->options.durable;
    info->durable_able = io->durable_writes;
    info->durable_ns = writer->durable_ns;
    info->synced_ns = writer->synced_ns;
    info->refused = io->refused;
    info->buffer_refused = io->buffer_refused;
    info->files_refused = io->files_refused;
    info->deferred_refused = io->deferred_refused;
    info->takeovers++;
    info->takeover_ns = takeover_ns;
    tarn_counter(writer->session, COUNTER_TAKEOVERS, 1);
}

/* From the role byte to the first write: the dead are reaped, and what an earlier writer still has
 * in flight has landed. */
static int take_over(struct tarn_writer *writer)
{
    struct tarn_control *control = writer->view->control;
    uint64_t begun = tarn_now_ns();
    tarn_store_release(&control->writer_slot, writer->session->slot);
    tarn_store_relaxed(&writer->session->shared->role, ROLE_WRITER);
    tarn_reap_all(writer->pool, writer->session);
    unsigned depth = writer->options.depth == 0          ? DEPTH_DEFAULT
                     : writer->options.depth < DEPTH_MAX ? writer->options.depth
                                                         : DEPTH_MAX;
    int result = tarn_writer_arena_open(writer, depth);
    if (result == 0)
        result = open_io(writer);
    if (result < 0)
        return tarn_pool_fail(writer->pool, result, "the writer of pool %s cannot start: %s",
                              writer->pool->name, strerror(-result));
    result = tarn_writer_files_enter(writer);
    if (result < 0)
        return result;
    open_fifo(writer);
    for (unsigned what = ID_STOP; what <= ID_FIFO; what++)
        poll_again(writer, what);
    tarn_writer_cleaner_init(writer);
    result = tarn_writer_victims_open(writer);
    if (result < 0)
        return result;
    publish_figures(writer, tarn_now_ns() - begun);
    report(writer, "writer");
    return 0;
}

static void stop_work(struct tarn_writer *writer)
{
    tarn_io_close(writer->io);
    writer->io = NULL;
    tarn_writer_batches_leave(writer);
    tarn_writer_watches_close(writer);
    tarn_writer_files_close(writer);
    if (writer->wake_fd >= 0)
        close(writer->wake_fd);
    if (writer->fifo_fd >= 0)
        close(writer->fifo_fd);
    writer->wake_fd = writer->fifo_fd = -1;
    tarn_writer_arena_close(writer);
}

/* The loop. */

static void fifo_changed(struct tarn_writer *writer)
{
    char path[TARN_PATH_BYTES];
    drain(writer->fifo_fd);
    tarn_wake_path(writer->pool->segment_path, path);
    writer->fifo_lost = writer->fifo_lost || !is_our_fifo(writer, path);
}

static void completed(struct tarn_writer *writer, const struct tarn_io_completion *completion)
{
    uint32_t which = (uint32_t)completion->id;
    unsigned what = (unsigned)(completion->id >> 32);
    switch (what) {
    case ID_WRITE:
        tarn_writer_write_completed(writer, which, completion->result);
        return;
    case ID_SYNC:
        tarn_writer_sync_completed(writer, which, completion->result);
        return;
    case ID_OP_SYNC:
        tarn_writer_op_sync_completed(writer, which, completion->result);
        return;
    case ID_PROCESS:
        tarn_writer_process_ended(writer, which);
        return;
    case ID_STOP:
        /* A poll that failed tells nothing. */
        writer->stop_asked |= completion->result > 0;
        if (writer->stop_asked)
            return;
        break;
    case ID_WAKE:
        drain(writer->wake_fd);
        writer->look = writer->cleaning = true;
        break;
    case ID_FIFO:
        fifo_changed(writer);
        writer->look = true;
        break;
    }
    poll_again(writer, what);
}

/* Everything that is dirty now is the last that this writer flushes; requests that come later are
 * the next writer's. */
static void begin_end(struct tarn_writer *writer)
{
    tarn_writer_look(writer);
    writer->stopping = true;
    tarn_writer_files_stop(writer);
    writer->last = tarn_writer_failed(writer) ? NULL : tarn_writer_batch_open_file(writer, 0);
    if (writer->last == NULL)
        writer->result = tarn_writer_failed(writer) ? -ENOTRECOVERABLE : -ENOMEM;
}

/* How long there is nothing to do. */
static int64_t wait_time(const struct tarn_writer *writer, bool holders)
{
    if (writer->look || writer->cleaning || (writer->stop_asked && !writer->stopping))
        return 0;
    int64_t wait_ns = writer->timer ? LOOK_WAIT_NS : -1;
    if (holders)
        wait_ns = HOLDER_WAIT_NS;
    uint64_t next_ns = tarn_writer_clean_next_ns(writer), now_ns = tarn_now_ns();
    if (next_ns != 0 && next_ns <= now_ns)
        return 0;
    if (next_ns != 0 && (wait_ns < 0 || (int64_t)(next_ns - now_ns) < wait_ns))
        wait_ns = (int64_t)(next_ns - now_ns);
    if (writer->paced) {
        int64_t left_ns = (int64_t)(writer->paced_ns - writer->now_ns);
        if (wait_ns < 0 || left_ns < wait_ns)
            wait_ns = left_ns;
    }
    if (writer->busy_pages && (wait_ns < 0 || (int64_t)writer->busy_wait_ns < wait_ns))
        wait_ns = (int64_t)writer->busy_wait_ns;
    return wait_ns;
}

/* Sleeps, unless somebody came after the last look: whoever comes then writes to the FIFO. */
static int sleep_until_called(struct tarn_writer *writer, bool holders)
{
    struct tarn_io_completion completions[COMPLETIONS_MAX];
    struct tarn_control *control = writer->view->control;
    order_sleep_before_requests(control);
    tarn_writer_look(writer);
    /* A call for the cleaner while the writer was awake wrote nothing to the FIFO. */
    if (tarn_load_acquire(&control->cleaner_called) != 0 && !PLANTED(CALL_NOT_LOOKED_FOR)) {
        writer->cleaning = true;
        tarn_writer_clean(writer);
    }
    tarn_writer_flush(writer);
    int64_t wait_ns = wait_time(writer, holders);
    int count = tarn_io_wait(writer->io, wait_ns, completions, COMPLETIONS_MAX);
    tarn_store_relaxed(&control->writer_sleeps, 0);
    if (count < 0)
        return tarn_pool_fail(writer->pool, count, "the writer of pool %s cannot go on: %s",
                              writer->pool->name, strerror(-count));
    writer->now_ns = tarn_now_ns();
    if (writer->timer && writer->now_ns - writer->looked_ns >= LOOK_WAIT_NS)
        writer->look = writer->cleaning = true;
    uint64_t next_ns = tarn_writer_clean_next_ns(writer);
    writer->cleaning |= next_ns != 0 && next_ns <= writer->now_ns;
    for (int i = 0; i < count; i++)
        completed(writer, &completions[i]);
    return 0;
}

static bool has_ended(const struct tarn_writer *writer)
{
    return writer->stopping && writer->batches == NULL && !tarn_writer_files_busy(writer) &&
           tarn_io_in_flight(writer->io) == 0;
}

static int work(struct tarn_writer *writer)
{
    const struct tarn_control *control = writer->view->control;
    int result = 0;
    writer->now_ns = tarn_now_ns();
    /* First what a dead writer has begun: a request for it that still stands joins in, and one that
     * would contradict it waits. */
    tarn_writer_files_resume(writer);
    for (unsigned slot = 1; PLANTED(REQUESTS_LOST_AT_TAKEOVER) && slot <= writer->view->slot_max;
         slot++)
        writer->served[slot] = tarn_load_acquire(&tarn_view_slot(writer->view, slot)->request.word);
    tarn_writer_look(writer);
    while (result == 0) {
        if (writer->look)
            tarn_writer_look(writer);
        if (tarn_load_acquire(&control->life) != LIFE_OPEN)
            writer->stop_asked = true;
        if (writer->stop_asked && !writer->stopping)
            begin_end(writer);
        bool holders = tarn_writer_files_work(writer);
        tarn_writer_flush(writer);
        tarn_writer_clean(writer);
        if (has_ended(writer))
            return writer->result;
        result = sleep_until_called(writer, holders);
    }
    return result;
}

int tarn_writer_run(struct tarn_writer *writer)
{
    int result = take_role(writer);
    if (result != 0)
        return result < 0 ? result : 0;
    result = take_over(writer);
    if (result == 0)
        result = work(writer);
    stop_work(writer);
    give_role_back(writer);
    return result;
}
