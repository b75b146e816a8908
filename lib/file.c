/* SPDX-License-Identifier: MIT */
/* Page ids, and the data files as this process has them open for reading. */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "lib/directory.h"
#include "lib/internal.h"

struct tarn_page_id tarn_page_id(uint32_t file, uint64_t number)
{
    return (struct tarn_page_id){page_id_of(file & (uint32_t)TARN_MASK(TARN_FILE_BITS),
                                            number & TARN_MASK(TARN_NUMBER_BITS))};
}

uint32_t tarn_page_file(struct tarn_page_id id)
{
    return page_id_file(id.value);
}

uint64_t tarn_page_number(struct tarn_page_id id)
{
    return page_id_number(id.value);
}

/* Opens the file as its record in the pool's directory says. Takes: the pool's mutex is held. */
static int open_file(struct tarn_session *session, uint32_t file, uint64_t incarnation)
{
    struct tarn_pool *pool = session->pool;
    struct tarn_file_record record;
    int result = tarn_directory_find_file(pool->directory_fd, file, &record, &session->message);
    if (result < 0)
        return result;
    if (record.incarnation != incarnation)
        return tarn_fail(session, -ENXIO, "file %u of pool %s was dropped", file, pool->name);
    int fd = tarn_record_open(pool->directory_fd, &record, O_RDONLY, &session->message);
    if (fd < 0)
        return fd;
    struct tarn_open_file *open_file = &pool->open_files[file];
    if (open_file->fd >= 0) {
        /* Another thread may be reading through the old descriptor: it keeps its number. */
        result = dup3(fd, open_file->fd, O_CLOEXEC) < 0 ? -errno : 0;
        close(fd);
        if (result < 0)
            return tarn_fail(session, result, "%s: %s", record.path, strerror(-result));
    } else {
        open_file->fd = fd;
    }
    open_file->incarnation = incarnation;
    return open_file->fd;
}

void tarn_file_words(struct tarn_session *session, uint32_t file, char *ret_text, size_t bytes)
{
    struct tarn_file_record record;
    if (tarn_directory_find_file(session->pool->directory_fd, file, &record, NULL) == 0)
        snprintf(ret_text, bytes, "%s (file %u)", record.path, file);
    else
        snprintf(ret_text, bytes, "file %u", file);
}

int tarn_file_fd(struct tarn_session *session, uint32_t file)
{
    struct tarn_pool *pool = session->pool;
    uint64_t incarnation =
        file_word_incarnation(tarn_load_acquire(&session->view.files[file].word));
    int cancel_state = tarn_pool_lock(pool);
    struct tarn_open_file *open = &pool->open_files[file];
    int fd = open->fd >= 0 && open->incarnation == incarnation
                 ? open->fd
                 : open_file(session, file, incarnation);
    tarn_pool_unlock(pool, cancel_state);
    return fd;
}
