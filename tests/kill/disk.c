/* SPDX-License-Identifier: MIT */
/* The disk: stands where the library has its io_uring backend. Requests take a while that is drawn,
 * so they complete in any order; they go on when the process that made them is dead, with its bytes
 * as they were, and keep its open file description and so its locks until they are done. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/internal.h"
#include "lib/io/backend.h"
#include "tests/kill/memory.h"

enum { DISK_NS_MIN = 20000, TRANSFER_BYTES_MAX = 65536 };

struct simdisk world_disk;

/* Polls of an instance, in its process's memory. */
struct disk {
    struct tarn_io_request_list polls;
};

static int disk_open(struct tarn_io *io, const struct tarn_io_options *options)
{
    (void)options;
    /* Who is refused this one takes threads, which are no part of the world. */
    world_hold_faults(true);
    io->state = calloc(1, sizeof(struct disk));
    world_hold_faults(false);
    io->descriptor = -1;
    io->capabilities.durable_writes = true;
    io->capabilities.transfer_bytes_max = TRANSFER_BYTES_MAX;
    return 0;
}

static void disk_close(struct tarn_io *io)
{
    free(io->state);
}

static void end_poll(struct tarn_io *io, const struct tarn_io_request *which, int64_t result)
{
    struct disk *disk = io->state;
    struct tarn_io_request_list rest = {NULL, NULL};
    struct tarn_io_request *poll;

    while ((poll = tarn_io_list_pop(&disk->polls)) != NULL) {
        if (poll == which) {
            poll->result = result;
            tarn_io_list_push(&io->done, poll);
        } else {
            tarn_io_list_push(&rest, poll);
        }
    }
    disk->polls = rest;
}

static void begin(struct tarn_io *io, struct tarn_io_request *request)
{
    struct description *description = world_description(io->files[request->file].fd);

    world_point();
    if (description == NULL || world_call_fails(EIO)) {
        bool ends = tarn_io_request_finished(request, description == NULL ? -EBADF : -errno);
        tarn_io_list_push(ends ? &io->done : &io->queued, request);
        return;
    }
    for (unsigned i = 0; i < WORLD_REQUESTS; i++) {
        struct disk_request *disk = &world.requests[i];
        uint64_t takes = DISK_NS_MIN + world_draw(&world.random, world.disk_ns_max - DISK_NS_MIN);

        if (disk->process != NULL)
            continue;
        *disk = (struct disk_request){.process = world_running,
                                      .pid = world_running->pid,
                                      .request = request,
                                      .description = description,
                                      .kind = request->kind,
                                      .durable = request->durable,
                                      .data = request->data,
                                      .bytes = world_transfer_bytes(request->bytes),
                                      .offset = request->offset,
                                      .done_ns = world.now_ns + takes,
                                      .begun = world.write_count,
                                      .disk_begun = world_disk.write_count};
        description->in_flight++;
        return;
    }
    world_fail("too many requests to the disk");
}

static int disk_submit(struct tarn_io *io)
{
    struct disk *disk = io->state;
    struct tarn_io_request *request;

    while ((request = tarn_io_list_pop(&io->queued)) != NULL) {
        if (request->kind == TARN_IO_REQUEST_POLL) {
            tarn_io_list_push(&disk->polls, request);
        } else if (request->kind == TARN_IO_REQUEST_CANCEL) {
            end_poll(io, request->target, -ECANCELED);
            tarn_io_request_free(io, request);
        } else {
            begin(io, request);
        }
    }
    return 0;
}

/* Before a write is carried out. */
static void remember(const struct disk_request *disk)
{
    const struct node *node = disk->description->node;

    if (disk->kind == TARN_IO_REQUEST_WRITE && world_disk.undo_max > 0 &&
        !simdisk_write(&world_disk, node->inode, disk->offset,
                       (char *)world_node_data(node) + disk->offset, disk->bytes))
        world_fail("too much that is not synced");
}

static void written_durably(const struct disk_request *disk)
{
    struct node *node = disk->description->node;

    node_written_durably(node, (size_t)disk->result, disk->offset);
    simdisk_durable(&world_disk, node->inode, disk->offset, (size_t)disk->result);
}

static void carry_out(struct disk_request *disk)
{
    struct node *node = disk->description->node;

    disk->done = true;
    remember(disk);
    if (disk->kind == TARN_IO_REQUEST_READ)
        disk->process->version = next_version();
    disk->description->in_flight--;
    disk->result =
        node_transfer(node, disk->data, disk->kind == TARN_IO_REQUEST_SYNC ? 0 : disk->bytes,
                      disk->offset, disk->kind == TARN_IO_REQUEST_WRITE);
    if (disk->kind == TARN_IO_REQUEST_SYNC && node->synced < disk->begun)
        node->synced = disk->begun;
    if (disk->kind == TARN_IO_REQUEST_SYNC)
        simdisk_sync(&world_disk, node->inode, disk->disk_begun);
    if (disk->durable)
        written_durably(disk);
    world_description_drop(disk->description);
    /* Nobody is there to be told. */
    if (world_process(disk->pid) == NULL)
        disk->process = NULL;
}

void disk_arrives(void)
{
    for (unsigned i = 0; i < WORLD_REQUESTS; i++) {
        struct disk_request *disk = &world.requests[i];

        if (disk->process == NULL)
            continue;
        disk->durable = false;
        if (!disk->done && disk->kind == TARN_IO_REQUEST_WRITE)
            carry_out(disk);
        else if (!disk->done)
            disk->description->in_flight--;
        disk->process = NULL;
    }
}

/* The oldest first. */
void disk_advance(void)
{
    for (;;) {
        struct disk_request *first = NULL;

        for (unsigned i = 0; i < WORLD_REQUESTS; i++) {
            struct disk_request *disk = &world.requests[i];

            if (disk->process != NULL && !disk->done && disk->done_ns <= world.now_ns &&
                (first == NULL || disk->done_ns < first->done_ns))
                first = disk;
        }
        if (first == NULL)
            return;
        carry_out(first);
    }
}

static bool is_mine(const struct tarn_io *io, const struct disk_request *disk)
{
    return disk->process == world_running && disk->pid == world_running->pid &&
           disk->request >= io->requests && disk->request < io->requests + io->request_count;
}

static void collect(struct tarn_io *io)
{
    struct disk *state = io->state;
    struct tarn_io_request *next;

    disk_advance();
    for (unsigned i = 0; i < WORLD_REQUESTS; i++) {
        struct disk_request *disk = &world.requests[i];

        if (!is_mine(io, disk) || !disk->done)
            continue;
        disk->process = NULL;
        bool ends = tarn_io_request_finished(disk->request, disk->result);
        tarn_io_list_push(ends ? &io->done : &io->queued, disk->request);
    }
    for (struct tarn_io_request *poll = state->polls.first; poll != NULL; poll = next) {
        const struct description *description = world_description(poll->file);

        next = poll->next;
        if (description == NULL || world_description_readable(description))
            end_poll(io, poll, description == NULL ? -EBADF : 1);
    }
}

static bool something_is_done(struct process *process)
{
    const struct tarn_io *io = process->wait_for;
    const struct disk *state = io->state;

    disk_advance();
    for (unsigned i = 0; i < WORLD_REQUESTS; i++) {
        const struct disk_request *disk = &world.requests[i];

        if (disk->process == process && disk->pid == process->pid && disk->done &&
            disk->request >= io->requests && disk->request < io->requests + io->request_count)
            return true;
    }
    for (const struct tarn_io_request *poll = state->polls.first; poll != NULL; poll = poll->next)
        if (world_description_readable(description_of_fd(poll->file)))
            return true;
    return false;
}

static int disk_wait(struct tarn_io *io, int64_t wait_ns_max)
{
    disk_submit(io);
    collect(io);
    disk_submit(io); /* what is to be carried on */
    if (io->done.first != NULL || wait_ns_max == 0)
        return 0;
    world_point();
    world_wait(something_is_done, io,
               wait_ns_max < 0 ? UINT64_MAX : world.now_ns + (uint64_t)wait_ns_max);
    collect(io);
    disk_submit(io);
    return 0;
}

const struct tarn_io_ops tarn_io_uring_ops = {
    .name = "io_uring",
    .open = disk_open,
    .close = disk_close,
    .submit = disk_submit,
    .wait = disk_wait,
};
