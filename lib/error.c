/* SPDX-License-Identifier: MIT */
#include <stdio.h>
#include <string.h>

#include "lib/internal.h"

const char *tarn_version(void)
{
    return TARN_VERSION;
}

/* Each meaning once; tarn.h has the same list. */
static const struct {
    int result;
    const char *words;
} meanings[] = {
    {0, "success"},
    {-ENOENT, "no such pool or file"},
    {-EEXIST, "the pool or file exists already"},
    {-ENOTTY, "not a tarn segment, or a damaged one"},
    {-EPROTONOSUPPORT, "a segment of another format version"},
    {-EPROTOTYPE, "a segment with another layout, made by a different build"},
    {-ENOEXEC, "a segment of the other byte order"},
    {-ESTALE, "a segment from before a reboot"},
    {-EREMCHG, "out of date: the pool's directory has been opened by a newer segment since"},
    {-EMSGSIZE, "truncated: the segment has not the size that it says"},
    {-EPERM, "wrong owner or mode"},
    {-EUSERS, "session table full"},
    {-EBUSY, "in use"},
    {-ENOSPC, "no space left in shared memory or on the disk"},
    {-ENOTDIR, "not a pool's directory"},
    {-EBADF, "the handle is closed"},
    {-ECHILD, "the handle was made before fork: attach anew in the child"},
    {-ESHUTDOWN, "the pool was destroyed while attached"},
    {-EINVAL, "argument outside what its description allows"},
    {-ENXIO, "no such file in the pool"},
    {-ENFILE, "the pool's file table is full"},
    {-ERANGE, "page beyond the end of the file"},
    {-EDOM, "the file's size is not a whole number of pages"},
    {-EBADFD, "the file is gone, replaced or shrunk underneath the pool"},
    {-ENODATA, "short read inside the file"},
    {-EIO, "input/output error of the device"},
    {-EMFILE, "too many holds in this session"},
    {-EALREADY, "taken already by this session"},
    {-EDEADLK, "waiting would close a cycle through this session"},
    {-ETIMEDOUT, "time limit over, still taken"},
    {-EAGAIN, "changed since the version token was made"},
    {-ENOBUFS, "everything pinned: no frame can be had"},
    {-ENOTCONN, "no writer"},
    {-ENOTRECOVERABLE,
     "the writer could not make changes durable: the pool acknowledges nothing more"},
    {-E2BIG, "mini-transaction too large"},
    {-EINPROGRESS, "a mini-transaction is active already"},
    {-ESRCH, "no mini-transaction is active, or the page is not in it"},
    {-ECANCELED, "an earlier call of this mini-transaction failed: abort it"},
    {-ENOMEM, "out of memory"},
};

const char *tarn_strerror(int result)
{
    for (size_t i = 0; i < sizeof meanings / sizeof meanings[0]; i++)
        if (meanings[i].result == result)
            return meanings[i].words;
    if (result == 1)
        return "committed, not durable yet";
    const char *words = result < 0 ? strerrordesc_np(-result) : NULL;
    return words != NULL ? words : "unknown result";
}

static int set_message(struct tarn_message *message, int result, const char *format, va_list list)
{
    if (message != NULL)
        vsnprintf(message->text, sizeof message->text, format, list);
    return result;
}

int tarn_message_fail(struct tarn_message *message, int result, const char *format, ...)
{
    va_list list;
    va_start(list, format);
    set_message(message, result, format, list);
    va_end(list);
    return result;
}

int tarn_fail(struct tarn_session *session, int result, const char *format, ...)
{
    va_list list;
    va_start(list, format);
    set_message(&session->message, result, format, list);
    va_end(list);
    return result;
}

int tarn_pool_fail(struct tarn_pool *pool, int result, const char *format, ...)
{
    va_list list;
    va_start(list, format);
    pthread_mutex_lock(&pool->message_mutex);
    set_message(&pool->message, result, format, list);
    pthread_mutex_unlock(&pool->message_mutex);
    va_end(list);
    return result;
}
