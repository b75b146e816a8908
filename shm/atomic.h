/* SPDX-License-Identifier: MIT */
/* Shared words and the operations on them: the only file that knows libatomic_ops.
 *
 * The memory order is in the name; there is no default. A full barrier is always a locked
 * read-modify-write (a CAS or an add): with clang a full fence or a full store becomes mfence,
 * which costs four times as much, and under gcc's ThreadSanitizer neither compiles.
 */
#ifndef TARN_SHM_ATOMIC_H
#define TARN_SHM_ATOMIC_H

#include <atomic_ops.h>
#include <stdbool.h>
#include <stdint.h>

/* Emulated operations work in one process only, silently. */
#if defined(AO_USE_PTHREAD_DEFS) || defined(AO_EMULATE_CAS) || defined(AO_USE_EMULATION)
#error "tarn needs real atomic instructions: libatomic_ops was configured to emulate them"
#endif
#if !defined(AO_HAVE_compare_and_swap_full) || !defined(AO_HAVE_fetch_and_add_full) ||             \
    !defined(AO_HAVE_int_fetch_and_add_full) || !defined(AO_HAVE_int_store_release) ||             \
    !defined(AO_HAVE_or_full) || !defined(AO_HAVE_and_full)
#error "libatomic_ops lacks an operation that tarn needs on this machine"
#endif
_Static_assert(sizeof(AO_t) == 8, "shared words have 64 bits");
_Static_assert(sizeof(unsigned int) == 4, "holds have 32 bits");

#define TARN_LINE_BYTES 64

/* SHARED. Only the functions below may touch the value. */
typedef struct {
    AO_t value;
} tarn_word;

/* SHARED. The same with 32 bits: holds, announced frames. */
typedef struct {
    unsigned int value;
} tarn_half;

static inline uint64_t tarn_load_relaxed(const tarn_word *word)
{
    return AO_load(&word->value);
}

static inline uint64_t tarn_load_acquire(const tarn_word *word)
{
    return AO_load_acquire(&word->value);
}

static inline void tarn_store_relaxed(tarn_word *word, uint64_t value)
{
    AO_store(&word->value, value);
}

static inline void tarn_store_release(tarn_word *word, uint64_t value)
{
    AO_store_release(&word->value, value);
}

static inline bool tarn_cas_full(tarn_word *word, uint64_t expected, uint64_t desired)
{
    return AO_compare_and_swap_full(&word->value, expected, desired) != 0;
}

static inline uint64_t tarn_fetch_add_full(tarn_word *word, uint64_t addend)
{
    return AO_fetch_and_add_full(&word->value, addend);
}

static inline void tarn_or_full(tarn_word *word, uint64_t bits)
{
    AO_or_full(&word->value, bits);
}

static inline void tarn_and_full(tarn_word *word, uint64_t bits)
{
    AO_and_full(&word->value, bits);
}

/* A counter that only its owner changes: no locked instruction, readers see a whole value. */
static inline void tarn_count(tarn_word *word, uint64_t addend)
{
    AO_store(&word->value, AO_load(&word->value) + addend);
}

static inline uint32_t tarn_half_load_relaxed(const tarn_half *half)
{
    return AO_int_load(&half->value);
}

static inline uint32_t tarn_half_load_acquire(const tarn_half *half)
{
    return AO_int_load_acquire(&half->value);
}

static inline void tarn_half_store_relaxed(tarn_half *half, uint32_t value)
{
    AO_int_store(&half->value, value);
}

static inline void tarn_half_store_release(tarn_half *half, uint32_t value)
{
    AO_int_store_release(&half->value, value);
}

static inline uint32_t tarn_half_fetch_add_full(tarn_half *half, uint32_t addend)
{
    return AO_int_fetch_and_add_full(&half->value, addend);
}

static inline void tarn_half_count(tarn_half *half, uint32_t addend)
{
    AO_int_store(&half->value, AO_int_load(&half->value) + addend);
}

/* Stores before it are seen before stores after it. */
static inline void tarn_fence_store_store(void)
{
    AO_nop_write();
}

/* Loads before it are done before loads after it. */
static inline void tarn_fence_load_load(void)
{
    AO_nop_read();
}

/* What a spinning loop does between two looks. */
static inline void tarn_relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#endif
}

#endif
