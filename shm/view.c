/* SPDX-License-Identifier: MIT */
#include "shm/view.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>

_Static_assert(offsetof(struct tarn_superblock, byte_order) == 8, "never moves");
_Static_assert(offsetof(struct tarn_superblock, format_version) == 16, "never moves");
_Static_assert(offsetof(struct tarn_superblock, layout_hash) == 24, "never moves");

/* FNV-1a (Fowler, Noll, Vo): each step is a bijection of the state, so any single changed bit
 * changes the result. */
static uint64_t hash_bytes(uint64_t hash, const void *bytes, size_t count)
{
    const uint8_t *byte = bytes;
    for (size_t i = 0; i < count; i++)
        hash = (hash ^ byte[i]) * UINT64_C(0x100000001b3);
    return hash;
}

#define HASH_START UINT64_C(0xcbf29ce484222325)

uint64_t tarn_superblock_checksum(const void *page)
{
    size_t field = offsetof(struct tarn_superblock, checksum);
    uint64_t zero = 0;
    uint64_t hash = hash_bytes(HASH_START, page, field);
    hash = hash_bytes(hash, &zero, sizeof zero);
    field += sizeof zero;
    return hash_bytes(hash, (const uint8_t *)page + field, TARN_PAGE_BYTES_MIN - field);
}

uint64_t tarn_layout_hash(void)
{
    static const uint32_t shape[] = {
        sizeof(struct tarn_superblock),
        offsetof(struct tarn_superblock, geometry),
        offsetof(struct tarn_superblock, name),
        sizeof(struct tarn_geometry),
        sizeof(struct tarn_control),
        offsetof(struct tarn_control, freed),
        offsetof(struct tarn_control, writer),
        sizeof(struct tarn_writer_info),
        sizeof(struct tarn_file_entry),
        sizeof(struct tarn_slot),
        offsetof(struct tarn_slot, mtr),
        offsetof(struct tarn_slot, claim),
        offsetof(struct tarn_slot, request),
        offsetof(struct tarn_slot, counter),
        offsetof(struct tarn_slot, latency),
        sizeof(struct tarn_hold_line),
        sizeof(struct tarn_descriptor),
        offsetof(struct tarn_descriptor, hint),
        TARN_OWNER_BITS,
        TARN_FRAME_BITS,
        FRAME_OWNER_SHIFT,
        FRAME_GENERATION_SHIFT,
        LATCH_VERSION_SHIFT,
        ENTRY_TAG_BITS,
        ENTRY_GENERATION_SHIFT,
        MTR_COUNT_BITS,
        COUNTER_COUNT,
        LATENCY_COUNT,
    };
    return hash_bytes(HASH_START, shape, sizeof shape);
}

static uint64_t align_up(uint64_t value, uint64_t alignment)
{
    return (value + alignment - 1) / alignment * alignment;
}

int tarn_geometry_plan(uint64_t frame_count, uint32_t page_bytes, uint32_t session_count,
                       uint32_t file_count, struct tarn_geometry *ret_geometry)
{
    if (page_bytes < TARN_PAGE_BYTES_MIN || page_bytes > TARN_PAGE_BYTES_MAX ||
        (page_bytes & (page_bytes - 1)) != 0)
        return -EINVAL;
    if (frame_count < TARN_FRAME_COUNT_MIN || frame_count > TARN_FRAME_MAX + 1)
        return -EINVAL;
    if (session_count < 1 || session_count > TARN_SESSION_MAX)
        return -EINVAL;
    if (file_count < 1 || file_count > TARN_FILE_COUNT_MAX)
        return -EINVAL;

    struct tarn_geometry g = {
        .frame_count = (uint32_t)frame_count,
        .page_bytes = page_bytes,
        .session_count = session_count,
        .slot_count = session_count + TARN_SLOTS_RESERVED,
        .file_count = file_count,
        /* Twice as many words as frames, and never less than one whole probe. */
        .bucket_count = (uint32_t)((2 * frame_count + TARN_BUCKET_WORDS - 1) / TARN_BUCKET_WORDS),
    };
    if (g.bucket_count < TARN_PROBE_BUCKETS)
        g.bucket_count = TARN_PROBE_BUCKETS;
    g.group_slots = (g.slot_count + 63) / 64;

    g.control_offset = TARN_PAGE_BYTES_MIN;
    g.files_offset = g.control_offset + sizeof(struct tarn_control);
    g.slots_offset = align_up(
        g.files_offset + ((uint64_t)file_count + 1) * sizeof(struct tarn_file_entry), 4096);
    g.holds_offset = g.slots_offset + (uint64_t)g.slot_count * sizeof(struct tarn_slot);
    g.table_offset =
        g.holds_offset + (uint64_t)g.slot_count * TARN_HOLD_LINES * sizeof(struct tarn_hold_line);
    g.home_locks_offset = g.table_offset + (uint64_t)g.bucket_count * sizeof(struct tarn_bucket);
    g.descriptors_offset = align_up(
        g.home_locks_offset + (uint64_t)g.bucket_count * sizeof(tarn_word), TARN_LINE_BYTES);
    g.bitmap_offset = g.descriptors_offset + frame_count * sizeof(struct tarn_descriptor);
    uint64_t end = g.bitmap_offset + (frame_count + 63) / 64 * sizeof(tarn_word);
    g.frames_offset = align_up(end, page_bytes);
    g.segment_bytes = g.frames_offset + frame_count * page_bytes;
    *ret_geometry = g;
    return 0;
}

uint64_t tarn_geometry_overhead(const struct tarn_geometry *geometry)
{
    return geometry->frames_offset;
}

int tarn_superblock_check(const void *page, uint64_t file_bytes)
{
    struct tarn_superblock sb;
    memcpy(&sb, page, sizeof sb);
    if (memcmp(sb.magic, TARN_MAGIC, sizeof sb.magic) != 0)
        return -ENOTTY;
    if (sb.byte_order == __builtin_bswap64(TARN_BYTE_ORDER))
        return -ENOEXEC;
    if (sb.byte_order != TARN_BYTE_ORDER)
        return -ENOTTY;
    if (sb.format_version != TARN_FORMAT_VERSION)
        return -EPROTONOSUPPORT;
    if (sb.layout_hash != tarn_layout_hash() || sb.superblock_bytes != sizeof sb)
        return -EPROTOTYPE;
    if (sb.checksum != tarn_superblock_checksum(page))
        return -ENOTTY;

    /* Every offset follows from five numbers, so plan again and compare. */
    struct tarn_geometry plan;
    const struct tarn_geometry *g = &sb.geometry;
    if (tarn_geometry_plan(g->frame_count, g->page_bytes, g->session_count, g->file_count, &plan) !=
            0 ||
        memcmp(&plan, g, sizeof plan) != 0)
        return -ENOTTY;
    if (sb.name[TARN_NAME_BYTES - 1] != 0 || sb.directory[TARN_PATH_BYTES - 1] != 0)
        return -ENOTTY;
    if (file_bytes != g->segment_bytes)
        return -EMSGSIZE;
    return 0;
}

void tarn_view_set(struct tarn_view *view, void *base, const struct tarn_geometry *geometry)
{
    const struct tarn_geometry *g = geometry;
    uint8_t *b = base;
    *view = (struct tarn_view){
        .base = b,
        .frames = b + g->frames_offset,
        .descriptors = (struct tarn_descriptor *)(b + g->descriptors_offset),
        .buckets = (struct tarn_bucket *)(b + g->table_offset),
        .holds = (struct tarn_hold_line *)(b + g->holds_offset),
        .home_locks = (tarn_word *)(b + g->home_locks_offset),
        .bitmap = (tarn_word *)(b + g->bitmap_offset),
        .slots = (struct tarn_slot *)(b + g->slots_offset),
        .files = (struct tarn_file_entry *)(b + g->files_offset),
        .control = (struct tarn_control *)(b + g->control_offset),
        .superblock = (const struct tarn_superblock *)b,
        .page_shift = (unsigned)__builtin_ctz(g->page_bytes),
        .slot_max = g->slot_count,
        .geometry = *g,
    };
}
