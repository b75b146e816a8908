/* SPDX-License-Identifier: MIT */
/* Stands for libFuzzer where there is none, and coverage is counted: gives a fuzzer its seeds, then
 * inputs that are drawn. usage: fuzz_NAME RUNS BYTES [SEED-FILE...]
 */
#include <stdio.h>
#include <stdlib.h>

#include "tests/fuzz/fuzz.h"

enum { INPUT_BYTES_MAX = 8192 };

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);
__attribute__((weak)) size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t bytes, size_t bytes_max,
                                                     unsigned seed);
size_t LLVMFuzzerMutate(uint8_t *data, size_t bytes, size_t bytes_max);

/* What gcc calls before comparisons; hooks.c stands before it. */
#define COMPARISON(name, type)                                                                     \
    void __sanitizer_cov_trace_##name(type a, type b);                                             \
    void __sanitizer_cov_trace_##name(type a, type b)                                              \
    {                                                                                              \
        (void)a, (void)b;                                                                          \
    }
COMPARISON(cmp1, uint8_t)
COMPARISON(cmp2, uint16_t)
COMPARISON(cmp4, uint32_t)
COMPARISON(cmp8, uint64_t)
COMPARISON(const_cmp1, uint8_t)
COMPARISON(const_cmp2, uint16_t)
COMPARISON(const_cmp4, uint32_t)
COMPARISON(const_cmp8, uint64_t)
COMPARISON(cmpf, float)
COMPARISON(cmpd, double)
void __sanitizer_cov_trace_switch(uint64_t value, void *cases);
void __sanitizer_cov_trace_switch(uint64_t value, void *cases)
{
    (void)value, (void)cases;
}

static uint64_t draw(void)
{
    static uint64_t state = 1;
    uint64_t z = (state += 0x9e3779b97f4a7c15u);

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

/* Overwrites a few bytes. */
size_t LLVMFuzzerMutate(uint8_t *data, size_t bytes, size_t bytes_max)
{
    (void)bytes_max;
    for (uint64_t i = draw() % 8; bytes > 0 && i > 0; i--)
        data[draw() % bytes] = (uint8_t)(draw() % 2 == 0 ? draw() % 4 : draw());
    return bytes;
}

/* Half of the inputs are made of small numbers. */
static size_t draw_input(uint8_t *data, size_t bytes_max)
{
    size_t bytes = draw() % (bytes_max + 1);
    uint64_t limit = draw() % 2 == 0 ? 256 : 32;

    for (size_t i = 0; i < bytes; i++)
        data[i] = (uint8_t)(draw() % limit);
    return bytes;
}

static void run_file(const char *path)
{
    static uint8_t data[INPUT_BYTES_MAX];
    FILE *file = fopen(path, "rb");

    if (file == NULL)
        broken("%s cannot be read", path);
    size_t bytes = fread(data, 1, sizeof data, file);
    fclose(file);
    LLVMFuzzerTestOneInput(data, bytes);
    /* And with one thing changed. */
    for (unsigned i = 0; i < 100; i++)
        LLVMFuzzerTestOneInput(data, LLVMFuzzerMutate(data, bytes, sizeof data));
}

int main(int argc, char **argv)
{
    static uint8_t data[INPUT_BYTES_MAX];
    size_t bytes = 0;

    if (argc < 3)
        return fputs("usage: fuzz_NAME RUNS BYTES [SEED-FILE...]\n", stderr), 2;
    unsigned long runs = strtoul(argv[1], NULL, 10), bytes_max = strtoul(argv[2], NULL, 10);
    if (bytes_max > INPUT_BYTES_MAX)
        return 2;
    LLVMFuzzerInitialize(&argc, &argv);
    for (int i = 3; i < argc; i++)
        run_file(argv[i]);
    for (unsigned long i = 0; i < runs; i++) {
        bytes = LLVMFuzzerCustomMutator != NULL
                    ? LLVMFuzzerCustomMutator(data, bytes, bytes_max, (unsigned)draw())
                    : draw_input(data, bytes_max);
        LLVMFuzzerTestOneInput(data, bytes);
    }
    return 0;
}
