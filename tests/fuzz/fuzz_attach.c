/* SPDX-License-Identifier: MIT */
/* A file of any bytes and any size is attached: an error, or a pool to work with. What is in the
 * first page is repaired in a share of the inputs, so that what stands behind the checksum is
 * reached. */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "shm/check.h"
#include "tests/fuzz/fuzz.h"

static struct world world;
static int fd;

/* How an input begins; the rest of it are edits. */
struct plan {
    uint8_t kind;  /* bit 0: raw bytes instead of edits; bit 1: without a repaired checksum */
    uint8_t edits; /* at most */
    uint16_t cut;  /* bytes that are missing at the end, or too many; 0: none */
};

static void write_all(const uint8_t *bytes, size_t count, uint64_t at)
{
    if (pwrite(fd, bytes, count, (off_t)at) != (ssize_t)count)
        broken("the segment cannot be written");
}

/* Fields of the first page that say something, more often than any other bytes. */
static uint64_t some_offset(struct input *input)
{
    static const uint16_t fields[] = {
        offsetof(struct tarn_superblock, magic),
        offsetof(struct tarn_superblock, byte_order),
        offsetof(struct tarn_superblock, format_version),
        offsetof(struct tarn_superblock, superblock_bytes),
        offsetof(struct tarn_superblock, layout_hash),
        offsetof(struct tarn_superblock, geometry.segment_bytes),
        offsetof(struct tarn_superblock, geometry.frames_offset),
        offsetof(struct tarn_superblock, geometry.frame_count),
        offsetof(struct tarn_superblock, geometry.page_bytes),
        offsetof(struct tarn_superblock, geometry.session_count),
        offsetof(struct tarn_superblock, geometry.slot_count),
        offsetof(struct tarn_superblock, geometry.file_count),
        offsetof(struct tarn_superblock, geometry.bucket_count),
        offsetof(struct tarn_superblock, pool_uuid),
        offsetof(struct tarn_superblock, boot_id),
        offsetof(struct tarn_superblock, recovery_number),
        offsetof(struct tarn_superblock, mode),
        offsetof(struct tarn_superblock, uid),
        offsetof(struct tarn_superblock, name),
        offsetof(struct tarn_superblock, name) + TARN_NAME_BYTES - 8,
        offsetof(struct tarn_superblock, directory),
        offsetof(struct tarn_superblock, directory) + TARN_PATH_BYTES - 8,
        TARN_PAGE_BYTES_MIN + offsetof(struct tarn_control, life),
    };
    uint64_t which = take(input, 2);
    return which % 4 != 0 ? fields[which / 4 % (sizeof fields / sizeof fields[0])]
                          : which / 4 % (2 * TARN_PAGE_BYTES_MIN - 8);
}

/* The first two pages as they were made, with some bytes changed. */
static void edit(struct input *input, unsigned edits, uint8_t *pages)
{
    memcpy(pages, world.image, 2 * TARN_PAGE_BYTES_MIN);
    for (unsigned i = 0; i < edits && input->at < input->end; i++) {
        uint64_t at = some_offset(input), bytes = 1 + (take(input, 1) & 7);
        for (uint64_t b = 0; b < bytes; b++)
            pages[at + b] ^= (uint8_t)take(input, 1);
    }
}

static void repair(uint8_t *pages)
{
    uint64_t checksum = tarn_superblock_checksum(pages);
    memcpy(pages + offsetof(struct tarn_superblock, checksum), &checksum, sizeof checksum);
}

static uint64_t write_segment(struct input *input)
{
    struct plan plan = {.kind = (uint8_t)take(input, 1), .edits = (uint8_t)take(input, 1) & 7};
    uint8_t pages[2 * TARN_PAGE_BYTES_MIN];
    plan.cut = (uint16_t)take(input, 2);
    if ((plan.kind & 3) == 3) {
        memcpy(pages, world.image, sizeof pages);
        size_t bytes = (size_t)(input->end - input->at);
        memcpy(pages, input->at, bytes < sizeof pages ? bytes : sizeof pages);
    } else {
        edit(input, plan.edits, pages);
    }
    if ((plan.kind & 2) == 0)
        repair(pages);
    write_all(pages, sizeof pages, 0);
    int64_t size = (int64_t)world.image_bytes;
    if (plan.cut != 0 && plan.kind & 4)
        size = plan.kind & 8 ? size - plan.cut : plan.cut;
    return (uint64_t)size;
}

static void tell_nobody(void *context, const struct tarn_violation *violation)
{
    (void)context, (void)violation;
}

/* What every pool that can be attached can do. */
static void use(struct tarn_pool *pool)
{
    struct tarn_check_options options = {.context = NULL};
    struct tarn_session *session;
    struct tarn_pin pin;
    if (tarn_session_open(pool, NULL, &session) == 0) {
        session->frame_wait_ms = session->writer_wait_ms = session->wait_ms = 2;
        if (tarn_pin(session, tarn_page_id(1, 3), 0, &pin) == 0)
            tarn_unpin(session, pin);
        tarn_session_close(session);
    }
    tarn_check_view(&pool->view, &options, tell_nobody, NULL);
}

static bool is_known(int result)
{
    static const int known[] = {-ENOTTY,   -ENOEXEC,   -EPROTONOSUPPORT, -EPROTOTYPE,
                                -EMSGSIZE, -ESTALE,    -EREMCHG,         -EPERM,
                                -ENOTDIR,  -ESHUTDOWN, -EINVAL,          -EBUSY};
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (known[i] == result)
            return true;
    return result == 0;
}

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc, (void)argv;
    world_make(&world);
    fd = open(world.segment_path, O_RDWR | O_CLOEXEC);
    if (fd < 0)
        broken("no segment");
    hooks_start();
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    struct input input = {data, data + bytes};
    struct tarn_message message = {""};
    struct tarn_pool *pool;
    uint64_t size = write_segment(&input);
    bool cut = size != world.image_bytes;
    if (cut && ftruncate(fd, (off_t)size) != 0)
        broken("the segment cannot be cut");
    hooks_begin_call();
    int result = tarn_attach(world.name, NULL, &pool, &message);
    if (!is_known(result))
        broken("attach: %d: %s", result, message.text);
    if (result == 0) {
        use(pool);
        tarn_detach(pool);
    }
    /* The rest as it was, for the next. */
    if (cut && ftruncate(fd, 0) == 0)
        write_all(world.image, world.image_bytes, 0);
    return 0;
}
