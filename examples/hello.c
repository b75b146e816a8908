/* SPDX-License-Identifier: MIT */
/* Counts its runs on the first page of a file. */
#include <err.h>
#include <inttypes.h>
#include <stdio.h>
#include <tarn.h>

int main(void)
{
    struct tarn_embedded_options options = {.size = sizeof(options), .directory = "hello.tarn"};
    struct tarn_message message;
    struct tarn_pool *pool;
    struct tarn_session *session;
    struct tarn_writable_page page;
    uint32_t file;

    if (tarn_open_embedded(&options, &pool, &session, &message) < 0)
        errx(1, "%s", message.text);
    if (tarn_file_open(session, "runs", TARN_FILE_CREATE, &file) < 0 ||
        tarn_file_extend(session, file, 1) < 0 || tarn_mtr_begin(session, 1) < 0 ||
        tarn_mtr_write(session, tarn_page_id(file, 0), -1, &page) < 0)
        errx(1, "%s", tarn_session_message(session));
    printf("run %" PRIu64 "\n", ++*(uint64_t *)page.data);
    if (tarn_mtr_commit(session, TARN_COMMIT_FLUSH) != 0)
        errx(1, "%s", tarn_session_message(session));
    return tarn_detach(pool) < 0;
}
