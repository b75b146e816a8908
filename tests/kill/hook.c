/* SPDX-License-Identifier: MIT */
/* The runtime that -fsanitize=thread calls for: each access to the segment is a point. And the
 * memory of processes, and copies, which the compiler does not show. */
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/kill/memory.h"

#define HOOK(type, name, parameters)                                                               \
    type name parameters;                                                                          \
    type name parameters

bool hook_sparse;

/* In the pages themselves a few points stand for all. */
static inline bool is_passed_over(uintptr_t address)
{
    uintptr_t offset = address % TARN_PAGE_BYTES_MIN;

    return hook_sparse && address >= (uintptr_t)world.view.frames && offset > 8 && offset != 256 &&
           offset % 1024 != 0;
}

static inline void touch(const void *address)
{
    if ((uintptr_t)address - hook_begin < hook_bytes && !is_passed_over((uintptr_t)address))
        world_point();
}

#define PLAIN(bytes)                                                                               \
    HOOK(void, __tsan_read##bytes, (void *address))                                                \
    {                                                                                              \
        touch(address);                                                                            \
    }                                                                                              \
    HOOK(void, __tsan_write##bytes, (void *address))                                               \
    {                                                                                              \
        touch(address);                                                                            \
    }                                                                                              \
    HOOK(void, __tsan_unaligned_read##bytes, (void *address))                                      \
    {                                                                                              \
        touch(address);                                                                            \
    }                                                                                              \
    HOOK(void, __tsan_unaligned_write##bytes, (void *address))                                     \
    {                                                                                              \
        touch(address);                                                                            \
    }
PLAIN(1)
PLAIN(2)
PLAIN(4)
PLAIN(8)
PLAIN(16)

HOOK(void, __tsan_read_range, (void *address, size_t bytes))
{
    (void)bytes;
    touch(address);
}

HOOK(void, __tsan_write_range, (void *address, size_t bytes))
{
    (void)bytes;
    touch(address);
}

HOOK(void, __tsan_init, (void))
{
}

HOOK(void, __tsan_func_entry, (void *caller))
{
    (void)caller;
}

HOOK(void, __tsan_func_exit, (void))
{
}

HOOK(void, __tsan_atomic_thread_fence, (int order))
{
    (void)order;
}

HOOK(void, __tsan_atomic_signal_fence, (int order))
{
    (void)order;
}

/* One process runs at a time, so that plain operations are atomic. */
#define CHANGE(bits, name, expression)                                                             \
    HOOK(uint##bits##_t, __tsan_atomic##bits##_##name,                                             \
         (volatile uint##bits##_t * address, uint##bits##_t operand, int order))                   \
    {                                                                                              \
        (void)order;                                                                               \
        touch((const void *)address);                                                              \
        uint##bits##_t old = *address;                                                             \
        *address = (uint##bits##_t)(expression);                                                   \
        return old;                                                                                \
    }
#define ATOMIC(bits)                                                                               \
    HOOK(uint##bits##_t, __tsan_atomic##bits##_load,                                               \
         (const volatile uint##bits##_t *address, int order))                                      \
    {                                                                                              \
        (void)order;                                                                               \
        touch((const void *)address);                                                              \
        return *address;                                                                           \
    }                                                                                              \
    HOOK(void, __tsan_atomic##bits##_store,                                                        \
         (volatile uint##bits##_t * address, uint##bits##_t value, int order))                     \
    {                                                                                              \
        (void)order;                                                                               \
        touch((const void *)address);                                                              \
        *address = value;                                                                          \
    }                                                                                              \
    CHANGE(bits, exchange, operand)                                                                \
    CHANGE(bits, fetch_add, old + operand)                                                         \
    CHANGE(bits, fetch_sub, old - operand)                                                         \
    CHANGE(bits, fetch_and, old &operand)                                                          \
    CHANGE(bits, fetch_or, old | operand)                                                          \
    CHANGE(bits, fetch_xor, old ^ operand)                                                         \
    HOOK(int, __tsan_atomic##bits##_compare_exchange_strong,                                       \
         (volatile uint##bits##_t * address, uint##bits##_t * expected, uint##bits##_t desired,    \
          int order, int failure_order))                                                           \
    {                                                                                              \
        (void)order, (void)failure_order;                                                          \
        touch((const void *)address);                                                              \
        if (*address != *expected) {                                                               \
            *expected = *address;                                                                  \
            return 0;                                                                              \
        }                                                                                          \
        *address = desired;                                                                        \
        return 1;                                                                                  \
    }                                                                                              \
    HOOK(int, __tsan_atomic##bits##_compare_exchange_weak,                                         \
         (volatile uint##bits##_t * address, uint##bits##_t * expected, uint##bits##_t desired,    \
          int order, int failure_order))                                                           \
    {                                                                                              \
        return __tsan_atomic##bits##_compare_exchange_strong(address, expected, desired, order,    \
                                                             failure_order);                       \
    }                                                                                              \
    HOOK(uint##bits##_t, __tsan_atomic##bits##_compare_exchange_val,                               \
         (volatile uint##bits##_t * address, uint##bits##_t expected, uint##bits##_t desired,      \
          int order, int failure_order))                                                           \
    {                                                                                              \
        __tsan_atomic##bits##_compare_exchange_strong(address, &expected, desired, order,          \
                                                      failure_order);                              \
        return expected;                                                                           \
    }
ATOMIC(8)
ATOMIC(16)
ATOMIC(32)
ATOMIC(64)

/* Copies, in words, as a processor makes them; the harness's own at once. */

void *__real_memcpy(void *to, const void *from, size_t bytes);
void *__wrap_memcpy(void *to, const void *from, size_t bytes);
void *__real_memset(void *to, int value, size_t bytes);
void *__wrap_memset(void *to, int value, size_t bytes);

static bool is_shared(const void *address)
{
    return (uintptr_t)address - hook_begin < hook_bytes;
}

void *__wrap_memcpy(void *to, const void *from, size_t bytes)
{
    char *target = to;
    const char *source = from;

    if (!is_shared(to) && !is_shared(from))
        return __real_memcpy(to, from, bytes);
    while (bytes > 0) {
        size_t piece = bytes < sizeof(uint64_t) ? 1 : sizeof(uint64_t);

        touch(is_shared(target) ? target : source);
        __real_memcpy(target, source, piece);
        target += piece;
        source += piece;
        bytes -= piece;
    }
    return to;
}

void *__wrap_memset(void *to, int value, size_t bytes)
{
    if (!is_shared(to))
        return __real_memset(to, value, bytes);
    for (size_t at = 0; at < bytes;) {
        size_t piece = bytes - at < sizeof(uint64_t) ? 1 : sizeof(uint64_t);

        touch((char *)to + at);
        __real_memset((char *)to + at, value, piece);
        at += piece;
    }
    return to;
}

/* Memory of the running process: blocks of powers of two, with their size before them. */

enum { HEADER_BYTES = 16 };

void *__real_malloc(size_t bytes);
void *__wrap_malloc(size_t bytes);
void *__real_calloc(size_t count, size_t bytes);
void *__wrap_calloc(size_t count, size_t bytes);
void *__real_realloc(void *block, size_t bytes);
void *__wrap_realloc(void *block, size_t bytes);
void *__real_aligned_alloc(size_t alignment, size_t bytes);
void *__wrap_aligned_alloc(size_t alignment, size_t bytes);
int __real_posix_memalign(void **ret_block, size_t alignment, size_t bytes);
int __wrap_posix_memalign(void **ret_block, size_t alignment, size_t bytes);
void __real_free(void *block);
void __wrap_free(void *block);
char *__wrap_strdup(const char *text);

static size_t *size_of(void *block)
{
    return (size_t *)(void *)((char *)block - HEADER_BYTES);
}

static void *allocate(size_t bytes, size_t alignment)
{
    struct process *process = world_running;
    unsigned size = 5;

    process->blocks++;
    while (((size_t)1 << size) < bytes)
        size++;
    void *block = size < WORLD_SIZES && alignment <= 64 ? process->memory_free[size] : NULL;
    if (block != NULL) {
        __real_memcpy(&process->memory_free[size], block, sizeof(void *));
        return block;
    }
    uintptr_t begin = (uintptr_t)process_memory(process) + process->memory_used + HEADER_BYTES;
    begin = (begin + alignment - 1) / alignment * alignment;
    process->memory_used = begin + ((size_t)1 << size) - (uintptr_t)process_memory(process);
    if (size >= WORLD_SIZES || process->memory_used > MEMORY_BYTES)
        world_fail("process %u needs too much memory", process->pid);
    *size_of((void *)begin) = size;
    return (void *)begin;
}

void *__wrap_malloc(size_t bytes)
{
    if (world_call_fails(ENOMEM))
        return NULL;
    return world_running == NULL ? __real_malloc(bytes) : allocate(bytes, 64);
}

void *__wrap_calloc(size_t count, size_t bytes)
{
    if (world_running == NULL)
        return __real_calloc(count, bytes);
    if (world_call_fails(ENOMEM))
        return NULL;
    return __real_memset(allocate(count * bytes, 64), 0, count * bytes);
}

void *__wrap_aligned_alloc(size_t alignment, size_t bytes)
{
    return world_running == NULL ? __real_aligned_alloc(alignment, bytes)
                                 : allocate(bytes, alignment);
}

int __wrap_posix_memalign(void **ret_block, size_t alignment, size_t bytes)
{
    if (world_running == NULL)
        return __real_posix_memalign(ret_block, alignment, bytes);
    if (world_call_fails(ENOMEM))
        return ENOMEM;
    *ret_block = allocate(bytes, alignment);
    return 0;
}

/* A block from inside the C library is not of a process. */
static bool is_of_process(const void *block)
{
    return world_running != NULL &&
           (uintptr_t)block - (uintptr_t)process_memory(world_running) < MEMORY_BYTES;
}

void __wrap_free(void *block)
{
    if (block == NULL)
        return;
    if (!is_of_process(block)) {
        __real_free(block);
        return;
    }
    size_t size = *size_of(block);
    world_running->blocks--;
    __real_memcpy(block, &world_running->memory_free[size], sizeof(void *));
    world_running->memory_free[size] = block;
}

void *__wrap_realloc(void *block, size_t bytes)
{
    if (world_running == NULL)
        return __real_realloc(block, bytes);
    if (world_call_fails(ENOMEM))
        return NULL;
    void *larger = allocate(bytes, 64);
    if (block != NULL) {
        size_t room = (size_t)1 << *size_of(block);

        __real_memcpy(larger, block, room < bytes ? room : bytes);
        __wrap_free(block);
    }
    return larger;
}

/* A stream into memory of the process: the C library's own would be freed by each who was saved
 * while it had the text. */

struct memory_stream {
    char **place;
    size_t *bytes;
};

static ssize_t append(void *context, const char *text, size_t bytes)
{
    struct memory_stream *stream = context;
    char *larger = __wrap_realloc(*stream->place, *stream->bytes + bytes + 1);

    if (larger == NULL)
        return 0;
    *stream->place = larger;
    __real_memcpy(larger + *stream->bytes, text, bytes);
    *stream->bytes += bytes;
    larger[*stream->bytes] = 0;
    return (ssize_t)bytes;
}

static int free_stream(void *context)
{
    __wrap_free(context);
    return 0;
}

FILE *__real_open_memstream(char **place, size_t *bytes);
FILE *__wrap_open_memstream(char **place, size_t *bytes);
FILE *__wrap_open_memstream(char **place, size_t *bytes)
{
    if (world_running == NULL)
        return __real_open_memstream(place, bytes);
    struct memory_stream *stream = __wrap_malloc(sizeof *stream);
    if (stream == NULL)
        return NULL;
    *stream = (struct memory_stream){place, bytes};
    *place = NULL;
    *bytes = 0;
    return fopencookie(stream, "w", (cookie_io_functions_t){.write = append, .close = free_stream});
}

char *__wrap_strdup(const char *text)
{
    size_t bytes = strlen(text) + 1;
    char *copy = __wrap_malloc(bytes);

    return copy == NULL ? NULL : __real_memcpy(copy, text, bytes);
}
