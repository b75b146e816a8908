/* SPDX-License-Identifier: MIT */
/* What world.c, kernel.c and disk.c share. */
#ifndef TESTS_KILL_MEMORY_H
#define TESTS_KILL_MEMORY_H

#include <sys/types.h>

#include "tests/kill/world.h"
#include "tests/simdisk.h"

enum { MEMORY_BYTES = 1 << 24, NODE_BYTES_MAX = 1 << 21 };

char *process_memory(const struct process *process);

/* No two states of a file, or of a process's memory, have the same version. */
uint64_t next_version(void);

/* As the kernel moves bytes, whoever asks for it. */
ssize_t node_transfer(struct node *node, void *bytes, size_t count, size_t offset, bool writes);

/* What node_transfer() has just written is on the device. */
void node_written_durably(struct node *node, size_t count, size_t offset);

/* Whosever it is. */
struct description *description_of_fd(int fd);

/* Carries out what the disk has done by now. */
void disk_advance(void);

/* What the disk would lose with the power; it remembers nothing before it is given memory. */
extern struct simdisk world_disk;

/* Power goes: what is in flight arrives, with nobody to be told, and nothing of it is durable. */
void disk_arrives(void);

#endif
