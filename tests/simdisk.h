/* SPDX-License-Identifier: MIT */
/* A disk with a volatile cache: what it still has when power goes.
 *
 * The bytes are where the caller keeps them, as the newest writes left them. Here stands what each
 * sector was before each write that no sync has covered yet. When power goes, some of these writes
 * are taken back: all of them, or some and not in the order in which they were made, or parts of
 * them, down to single sectors.
 */
#ifndef TESTS_SIMDISK_H
#define TESTS_SIMDISK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { SIMDISK_SECTOR_BYTES = 512 };

struct simdisk_undo {
    uint64_t file, sector;
    uint64_t write; /* number of the write before which the sector was so */
    uint8_t bytes[SIMDISK_SECTOR_BYTES];
};

struct simdisk {
    uint64_t write_count;
    unsigned undo_count, undo_max;
    struct simdisk_undo *undo; /* oldest first; the caller's memory */
};

enum simdisk_cut {
    SIMDISK_LOSES,    /* everything that was not synced */
    SIMDISK_REORDERS, /* any of the writes that were not */
    SIMDISK_TEARS,    /* any sectors of these */
    SIMDISK_CUT_COUNT,
};

/* A write of whole sectors is about to be made over `old`. False: no more room to remember. */
bool simdisk_write(struct simdisk *disk, uint64_t file, uint64_t offset, const void *old,
                   size_t bytes);

/* What was written there last is durable. */
void simdisk_durable(struct simdisk *disk, uint64_t file, uint64_t offset, size_t bytes);

/* A sync has ended that began when write_count was `begun`. */
void simdisk_sync(struct simdisk *disk, uint64_t file, uint64_t begun);

/* The file's bytes have changed in a way that is durable, or it is gone. */
void simdisk_forget(struct simdisk *disk, uint64_t file);

/* Is all of it as it will be after a loss of power? */
bool simdisk_is_durable(const struct simdisk *disk, uint64_t file, uint64_t offset, size_t bytes);

/* Power goes: put() gets each sector that is to be as it was. Returns how many. */
unsigned simdisk_cut(struct simdisk *disk, uint64_t seed, enum simdisk_cut how,
                     void (*put)(void *context, uint64_t file, uint64_t offset, const void *bytes),
                     void *context);

#endif
