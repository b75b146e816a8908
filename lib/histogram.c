/* SPDX-License-Identifier: MIT */
#include "lib/histogram.h"

#include "lib/internal.h"

/* Below 2^BASE ns there is one bucket; from there on four to a power of two. */
#define BASE 2u
_Static_assert(TARN_BUCKETS == 4 * (32 - BASE), "four buckets each from 4 ns to 2^31 ns");

unsigned tarn_bucket_of(uint64_t ns)
{
    if (ns < 1u << BASE)
        return 0;
    unsigned exponent = 63u - (unsigned)__builtin_clzll(ns);
    unsigned bucket = (exponent - BASE) * 4 + (unsigned)(ns >> (exponent - BASE) & 3);
    return bucket < TARN_BUCKETS ? bucket : TARN_BUCKETS - 1;
}

uint64_t tarn_bucket_floor(unsigned bucket)
{
    return bucket == 0 ? 0 : (UINT64_C(4) + bucket % 4) << bucket / 4;
}

void tarn_latency_add(struct tarn_session *session, unsigned which, uint64_t ns)
{
    struct tarn_slot *shared = session->shared;
    tarn_half_count(&shared->latency[which].count[tarn_bucket_of(ns)], 1);
    if (ns > tarn_load_relaxed(&shared->latency_max_ns[which]))
        tarn_store_relaxed(&shared->latency_max_ns[which], ns);
}

void tarn_histogram_add(uint64_t sums[TARN_BUCKETS], const struct tarn_histogram *histogram)
{
    for (unsigned i = 0; i < TARN_BUCKETS; i++)
        sums[i] += tarn_half_load_relaxed(&histogram->count[i]);
}

uint64_t tarn_histogram_total(const uint64_t counts[TARN_BUCKETS])
{
    uint64_t total = 0;
    for (unsigned i = 0; i < TARN_BUCKETS; i++)
        total += counts[i];
    return total;
}

uint64_t tarn_percentile_ns(const uint64_t counts[TARN_BUCKETS], unsigned per_mille)
{
    uint64_t total = tarn_histogram_total(counts);
    if (total == 0)
        return 0;
    /* In two parts, so that no product overflows. Rank 1 is the smallest time. */
    uint64_t rank = total / 1000 * per_mille + (total % 1000 * per_mille + 999) / 1000;
    if (rank == 0)
        rank = 1;
    unsigned bucket = 0;
    while (bucket < TARN_BUCKETS - 1 && rank > counts[bucket])
        rank -= counts[bucket++];
    uint64_t floor = tarn_bucket_floor(bucket);
    uint64_t width = tarn_bucket_floor(bucket + 1) - floor;
    return floor + (uint64_t)((double)width * (double)rank / (double)(counts[bucket] + 1));
}
