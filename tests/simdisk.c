/* SPDX-License-Identifier: MIT */
#include "tests/simdisk.h"

#include <assert.h>
#include <string.h>

bool simdisk_write(struct simdisk *disk, uint64_t file, uint64_t offset, const void *old,
                   size_t bytes)
{
    assert(offset % SIMDISK_SECTOR_BYTES == 0 && bytes % SIMDISK_SECTOR_BYTES == 0);
    disk->write_count++;
    if (bytes / SIMDISK_SECTOR_BYTES > disk->undo_max - disk->undo_count)
        return false;
    for (size_t at = 0; at < bytes; at += SIMDISK_SECTOR_BYTES) {
        struct simdisk_undo *undo = &disk->undo[disk->undo_count++];
        undo->file = file;
        undo->sector = (offset + at) / SIMDISK_SECTOR_BYTES;
        undo->write = disk->write_count;
        memcpy(undo->bytes, (const char *)old + at, SIMDISK_SECTOR_BYTES);
    }
    return true;
}

static bool is_within(const struct simdisk_undo *undo, uint64_t file, uint64_t offset, size_t bytes)
{
    uint64_t at = undo->sector * SIMDISK_SECTOR_BYTES;
    return undo->file == file && at + SIMDISK_SECTOR_BYTES > offset && at < offset + bytes;
}

/* Of what lies there, all up to a write. */
static void drop(struct simdisk *disk, uint64_t file, uint64_t offset, size_t bytes, uint64_t write)
{
    unsigned kept = 0;
    for (unsigned i = 0; i < disk->undo_count; i++) {
        if (is_within(&disk->undo[i], file, offset, bytes) && disk->undo[i].write <= write)
            continue;
        if (kept != i)
            disk->undo[kept] = disk->undo[i];
        kept++;
    }
    disk->undo_count = kept;
}

void simdisk_durable(struct simdisk *disk, uint64_t file, uint64_t offset, size_t bytes)
{
    drop(disk, file, offset, bytes, UINT64_MAX);
}

void simdisk_sync(struct simdisk *disk, uint64_t file, uint64_t begun)
{
    drop(disk, file, 0, INT64_MAX, begun);
}

void simdisk_forget(struct simdisk *disk, uint64_t file)
{
    drop(disk, file, 0, INT64_MAX, UINT64_MAX);
}

bool simdisk_is_durable(const struct simdisk *disk, uint64_t file, uint64_t offset, size_t bytes)
{
    for (unsigned i = 0; i < disk->undo_count; i++)
        if (is_within(&disk->undo[i], file, offset, bytes))
            return false;
    return true;
}

static uint64_t mix(uint64_t z)
{
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

/* The same for all sectors of a write unless it tears. */
static bool is_lost(const struct simdisk_undo *undo, uint64_t seed, enum simdisk_cut how)
{
    uint64_t key = seed + undo->write * 0x9e3779b97f4a7c15u;
    if (how == SIMDISK_TEARS)
        key = mix(key) + undo->sector * 0x9e3779b97f4a7c15u + undo->file;
    return how == SIMDISK_LOSES || (mix(key) & 1) != 0;
}

/* Has a newer write of the sector got through? */
static bool is_covered(const struct simdisk *disk, unsigned i, uint64_t seed, enum simdisk_cut how)
{
    const struct simdisk_undo *undo = &disk->undo[i];
    for (unsigned j = i + 1; j < disk->undo_count; j++)
        if (disk->undo[j].sector == undo->sector && disk->undo[j].file == undo->file &&
            !is_lost(&disk->undo[j], seed, how))
            return true;
    return false;
}

unsigned simdisk_cut(struct simdisk *disk, uint64_t seed, enum simdisk_cut how,
                     void (*put)(void *context, uint64_t file, uint64_t offset, const void *bytes),
                     void *context)
{
    unsigned count = 0;
    for (unsigned i = disk->undo_count; i-- > 0;) {
        const struct simdisk_undo *undo = &disk->undo[i];
        if (!is_lost(undo, seed, how) || is_covered(disk, i, seed, how))
            continue;
        put(context, undo->file, undo->sector * SIMDISK_SECTOR_BYTES, undo->bytes);
        count++;
    }
    disk->undo_count = 0;
    return count;
}
