/* SPDX-License-Identifier: MIT */
/* The check of a first page: what it lets pass describes a segment that lies inside its file. */
#include <string.h>

#include "tests/fuzz/fuzz.h"

enum { CHECKSUM_AT = offsetof(struct tarn_superblock, checksum), SIZE_BYTES = 8 };

static uint8_t sound[TARN_PAGE_BYTES_MIN];

size_t LLVMFuzzerMutate(uint8_t *data, size_t bytes, size_t bytes_max);

static void repair(uint8_t *page)
{
    uint64_t checksum = tarn_superblock_checksum(page);
    memcpy(page + CHECKSUM_AT, &checksum, sizeof checksum);
}

/* An input is a first page and the size of its file. Three in four get a right checksum again, and
 * half of these offsets that follow from the numbers. */
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t bytes, size_t bytes_max, unsigned seed);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t bytes, size_t bytes_max, unsigned seed)
{
    struct tarn_superblock superblock;
    if (bytes_max < sizeof sound + SIZE_BYTES)
        return LLVMFuzzerMutate(data, bytes, bytes_max);
    if (bytes < sizeof sound + SIZE_BYTES || seed % 64 == 0)
        memcpy(data, sound, sizeof sound);
    /* Most of the page is said by its first hundred bytes. */
    LLVMFuzzerMutate(data, seed & 4 ? 192 : sizeof sound, seed & 4 ? 192 : sizeof sound);
    memcpy(&superblock, data, sizeof superblock);
    struct tarn_geometry *g = &superblock.geometry;
    if (seed & 8 && tarn_geometry_plan(g->frame_count % (1u << 20), g->page_bytes, g->session_count,
                                       g->file_count, g) == 0)
        memcpy(data, &superblock, sizeof superblock);
    memcpy(data + sizeof sound, &g->segment_bytes, SIZE_BYTES);
    if (seed % 4 != 0)
        repair(data);
    return sizeof sound + SIZE_BYTES;
}

/* Each part begins where its type may begin, behind the one before. */
static void check_geometry(const struct tarn_geometry *g)
{
    const struct {
        uint64_t offset, bytes, alignment;
    } parts[] = {
        {g->control_offset, sizeof(struct tarn_control), 4096},
        {g->files_offset, (g->file_count + 1) * sizeof(struct tarn_file_entry), 64},
        {g->slots_offset, g->slot_count * sizeof(struct tarn_slot), 64},
        {g->holds_offset, g->slot_count * TARN_HOLD_LINES * sizeof(struct tarn_hold_line), 64},
        {g->table_offset, g->bucket_count * sizeof(struct tarn_bucket), 64},
        {g->home_locks_offset, g->bucket_count * sizeof(tarn_word), 8},
        {g->descriptors_offset, (uint64_t)g->frame_count * sizeof(struct tarn_descriptor), 64},
        {g->bitmap_offset, ((uint64_t)g->frame_count + 63) / 64 * 8, 8},
        {g->frames_offset, (uint64_t)g->frame_count * g->page_bytes, g->page_bytes},
    };
    uint64_t end = TARN_PAGE_BYTES_MIN;
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        if (parts[i].offset < end || parts[i].offset % parts[i].alignment != 0)
            broken("part %zu of the segment begins at %llu", i,
                   (unsigned long long)parts[i].offset);
        end = parts[i].offset + parts[i].bytes;
    }
    if (end != g->segment_bytes || g->slot_count > TARN_SLOT_MAX ||
        g->group_slots * 64 < g->slot_count || g->bucket_count < TARN_PROBE_BUCKETS)
        broken("the geometry does not fit together");
}

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc, (void)argv;
    struct tarn_superblock superblock = {
        .byte_order = TARN_BYTE_ORDER,
        .format_version = TARN_FORMAT_VERSION,
        .superblock_bytes = sizeof superblock,
        .layout_hash = tarn_layout_hash(),
        .name = "sound",
        .directory = "/sound",
    };
    memcpy(superblock.magic, TARN_MAGIC, sizeof superblock.magic);
    tarn_geometry_plan(64, 4096, 4, 4, &superblock.geometry);
    memcpy(sound, &superblock, sizeof superblock);
    repair(sound);
    if (tarn_superblock_check(sound, superblock.geometry.segment_bytes) != 0)
        broken("the sound page is refused");
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    uint8_t page[TARN_PAGE_BYTES_MIN] = {0};
    uint64_t size = 0;
    struct tarn_superblock superblock;
    memcpy(page, data, bytes < sizeof page ? bytes : sizeof page);
    if (bytes >= sizeof page + sizeof size)
        memcpy(&size, data + sizeof page, sizeof size);
    if (tarn_superblock_check(page, size) != 0)
        return 0;
    memcpy(&superblock, page, sizeof superblock);
    if (size != superblock.geometry.segment_bytes)
        broken("a segment of another size than its file's passes");
    check_geometry(&superblock.geometry);
    return 0;
}
