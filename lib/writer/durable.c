/* SPDX-License-Identifier: MIT */
/* Which is the quicker way to make a page durable: one write with RWF_DSYNC, or a write and then a
 * sync. Tried on a nameless file in the pool's directory, as most of the data files are beside it.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "lib/writer/state.h"

#define TRIES_MAX     8u
#define TRIES_NS_MAX  ((uint64_t)20 * NS_PER_MS)
#define TMPFS         0x01021994
#define SCRATCH_BYTES 4096

static bool write_once(int fd, const void *data, off_t offset, int flags, uint64_t *ret_ns)
{
    struct iovec vector = {(void *)(uintptr_t)data, SCRATCH_BYTES};
    uint64_t begun = tarn_now_ns();
    bool good = pwritev2(fd, &vector, 1, offset, flags) == SCRATCH_BYTES &&
                (flags != 0 || fdatasync(fd) == 0);
    *ret_ns = tarn_now_ns() - begun;
    return good;
}

/* The best of a few of each, in turn. */
static bool measure(int fd, const void *data, uint64_t *ret_durable_ns, uint64_t *ret_synced_ns)
{
    uint64_t begun = tarn_now_ns(), durable_ns, synced_ns;
    *ret_durable_ns = *ret_synced_ns = UINT64_MAX;
    for (unsigned i = 0; i < TRIES_MAX && tarn_now_ns() - begun < TRIES_NS_MAX; i++) {
        if (!write_once(fd, data, 0, RWF_DSYNC, &durable_ns) ||
            !write_once(fd, data, SCRATCH_BYTES, 0, &synced_ns))
            return false;
        if (durable_ns < *ret_durable_ns)
            *ret_durable_ns = durable_ns;
        if (synced_ns < *ret_synced_ns)
            *ret_synced_ns = synced_ns;
    }
    return true;
}

void tarn_writer_durable_measure(struct tarn_writer *writer)
{
    int directory_fd = writer->pool->directory_fd;
    struct statfs system;
    writer->durable_ns = writer->synced_ns = 0;
    if (writer->options.durable != TARN_WRITER_DURABLE_MEASURED ||
        fstatfs(directory_fd, &system) != 0 || system.f_type == TMPFS)
        return;
    void *data = aligned_alloc(SCRATCH_BYTES, SCRATCH_BYTES);
    int fd = openat(directory_fd, ".", O_TMPFILE | O_RDWR | O_DIRECT | O_CLOEXEC, 0600);
    if (fd < 0)
        fd = openat(directory_fd, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (fd >= 0 && data != NULL) {
        memset(data, 0, SCRATCH_BYTES);
        /* The places are there before the first try: a file's blocks are made once. */
        bool made = pwrite(fd, data, SCRATCH_BYTES, 0) == SCRATCH_BYTES &&
                    pwrite(fd, data, SCRATCH_BYTES, SCRATCH_BYTES) == SCRATCH_BYTES &&
                    fsync(fd) == 0;
        if (!made || !measure(fd, data, &writer->durable_ns, &writer->synced_ns))
            writer->durable_ns = writer->synced_ns = 0;
    }
    if (fd >= 0)
        close(fd);
    free(data);
}
