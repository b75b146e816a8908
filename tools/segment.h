/* SPDX-License-Identifier: MIT */
/* A segment to look at: mapped read-only, without a slot, a lock, or anything that its sessions
 * could notice. */
#ifndef TARN_TOOLS_SEGMENT_H
#define TARN_TOOLS_SEGMENT_H

#include "lib/directory.h"

struct segment {
    struct tarn_pool pool; /* no handle: only what the view and the proof of death need */
    struct tarn_superblock superblock;
    char path[TARN_PATH_BYTES];
    bool live; /* the pool's own segment, of this boot; otherwise a copy, in which nobody dies */
};

/* name: of a pool, or a path if it has a '/'. shm_directory: NULL: the default. 0, or TOOL_TROUBLE
 * with the message printed. */
int segment_open(const char *name, const char *shm_directory, struct segment *ret_segment);

void segment_close(struct segment *segment);

/* The file table by id, which has the paths; NULL if it cannot be read. To be freed. */
struct tarn_file_record *segment_records(const struct segment *segment);

/* The limit of a file, and its key as `tarn set` takes it: with the path, or with the id if the
 * records do not have it. 0: it has none, or there is no such file. */
#define SEGMENT_SHARE_KEY   "share:"
#define SEGMENT_SHARE_BYTES (TARN_PATH_BYTES + sizeof SEGMENT_SHARE_KEY)
uint32_t segment_share(const struct segment *segment, uint32_t file,
                       const struct tarn_file_record *records, char *ret_key);

/* How it is with the process of a LIVE slot: "running", "stopped", "dead", "unknown" (it lives, in
 * another pid namespace), "copied". */
const char *segment_process(struct segment *segment, unsigned slot);

/* For struct tarn_check_options; `context` is the segment. */
bool segment_dead(void *context, unsigned slot);
bool segment_stopped(void *context, unsigned slot);

/* Number of seconds from a CLOCK_MONOTONIC time of this boot until now; of a copy: until the newest
 * time that stands in it. */
double segment_age(const struct segment *segment, uint64_t then_ns);

#endif
