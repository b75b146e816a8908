/* SPDX-License-Identifier: MIT */
/* Staging memory: places for one page each. A run of neighbours gets as many in a row as it needs,
 * the lowest that are free, so that few pages in flight stay in the processor's cache. */
#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "lib/writer/state.h"

#define STAGING_BYTES_MAX ((size_t)7 << 20) /* leaves room for the ring below RLIMIT_MEMLOCK */
#define PAGES_A_WRITE     32u               /* that there is room for, on average */
#define RUN_BYTES_MAX     ((size_t)512 << 10)

/* A shorter run than was asked for is taken from here on: who waits for many places in a row could
 * wait for ever for those who want few. */
#define RUN_PAGES_ENOUGH 16u

int tarn_writer_arena_open(struct tarn_writer *writer, unsigned depth)
{
    struct arena *arena = &writer->arena;
    uint32_t page_bytes = writer->view->geometry.page_bytes;
    if (depth < FLUSH_CLASSES)
        depth = FLUSH_CLASSES; /* each has one write at least */
    arena->place_count = (uint32_t)(STAGING_BYTES_MAX / page_bytes);
    if (arena->place_count > depth * PAGES_A_WRITE)
        arena->place_count = depth * PAGES_A_WRITE;
    arena->bytes = (size_t)arena->place_count * page_bytes;
    arena->data =
        mmap(NULL, arena->bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (arena->data == MAP_FAILED)
        arena->data = NULL;
    arena->chunk_count = depth < arena->place_count ? depth : arena->place_count;
    arena->pages = calloc(arena->place_count, sizeof *arena->pages);
    arena->chunks = calloc(arena->chunk_count, sizeof *arena->chunks);
    arena->free_chunks = calloc(arena->chunk_count, sizeof *arena->free_chunks);
    arena->taken = calloc(arena->place_count / 64 + 1, sizeof *arena->taken);
    if (arena->data == NULL || arena->pages == NULL || arena->chunks == NULL ||
        arena->free_chunks == NULL || arena->taken == NULL)
        return -ENOMEM;
    madvise(arena->data, arena->bytes, MADV_DONTFORK);
    arena->free_place_count = arena->place_count;
    for (unsigned i = 0; i < arena->chunk_count; i++)
        arena->free_chunks[i] = arena->chunk_count - 1 - i;
    arena->free_chunk_count = arena->chunk_count;
    arena->run_pages_max = 1;
    return 0;
}

void tarn_writer_arena_run_max(struct tarn_writer *writer, size_t bytes_max)
{
    size_t bytes = bytes_max < RUN_BYTES_MAX ? bytes_max : RUN_BYTES_MAX;
    uint32_t pages = (uint32_t)(bytes >> writer->view->page_shift);
    uint32_t quarter = writer->arena.place_count / 4;
    if (pages > quarter)
        pages = quarter;
    writer->arena.run_pages_max = pages > 0 ? pages : 1;
}

void tarn_writer_arena_close(struct tarn_writer *writer)
{
    struct arena *arena = &writer->arena;
    if (arena->data != NULL)
        munmap(arena->data, arena->bytes);
    free(arena->pages);
    free(arena->chunks);
    free(arena->free_chunks);
    free(arena->taken);
    *arena = (struct arena){.data = NULL};
}

/* The first place from `from` on that is taken, or is not; `end` if there is none. */
static uint32_t next_place(const struct arena *arena, uint32_t from, uint32_t end, bool taken)
{
    while (from < end) {
        uint64_t word = arena->taken[from / 64];
        uint64_t bits = (taken ? word : ~word) >> (from % 64);
        if (bits != 0) {
            from += (uint32_t)__builtin_ctzll(bits);
            return from < end ? from : end;
        }
        from = (from / 64 + 1) * 64;
    }
    return end;
}

static void mark(struct arena *arena, uint32_t place, uint32_t count, bool taken)
{
    for (uint32_t end = place + count; place < end;) {
        uint32_t bits = 64 - place % 64 < end - place ? 64 - place % 64 : end - place;
        uint64_t mask = (bits == 64 ? ~UINT64_C(0) : (UINT64_C(1) << bits) - 1) << (place % 64);
        if (taken)
            arena->taken[place / 64] |= mask;
        else
            arena->taken[place / 64] &= ~mask;
        place += bits;
    }
    arena->free_place_count += taken ? 0 - count : count;
}

/* Where so many free places in a row begin; else the longest row there is, if that is enough. */
static uint32_t find_places(const struct arena *arena, uint32_t count, uint32_t *ret_place)
{
    uint32_t longest = 0, place = 0;
    while (longest < count &&
           (place = next_place(arena, place, arena->place_count, false)) < arena->place_count) {
        uint32_t limit = arena->place_count - place < count ? arena->place_count : place + count;
        uint32_t end = next_place(arena, place, limit, true);
        if (end - place > longest) {
            longest = end - place;
            *ret_place = place;
        }
        place = end;
    }
    return longest >= count || longest >= RUN_PAGES_ENOUGH ? longest : 0;
}

struct chunk *tarn_writer_chunk_take(struct tarn_writer *writer, uint32_t count,
                                     enum flush_class class)
{
    struct arena *arena = &writer->arena;
    uint32_t place = 0;
    if (arena->free_chunk_count == 0 || (count = find_places(arena, count, &place)) == 0)
        return NULL;
    struct chunk *chunk = &arena->chunks[arena->free_chunks[--arena->free_chunk_count]];
    *chunk = (struct chunk){.place = place, .place_count = count, .class = class};
    mark(arena, place, count, true);
    arena->used_chunks[class]++;
    arena->used_places[class] += count;
    return chunk;
}

void tarn_writer_chunk_shrink(struct tarn_writer *writer, struct chunk *chunk, uint32_t count)
{
    struct arena *arena = &writer->arena;
    mark(arena, chunk->place + count, chunk->place_count - count, false);
    arena->used_places[chunk->class] -= chunk->place_count - count;
    chunk->place_count = count;
}

void tarn_writer_chunk_give(struct tarn_writer *writer, struct chunk *chunk)
{
    struct arena *arena = &writer->arena;
    tarn_writer_chunk_shrink(writer, chunk, 0);
    arena->used_chunks[chunk->class]--;
    chunk->in_flight = false;
    arena->free_chunks[arena->free_chunk_count++] = (unsigned)(chunk - arena->chunks);
}
