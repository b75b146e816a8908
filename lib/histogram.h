/* SPDX-License-Identifier: MIT */
/* What is read out of histograms; those who only count need lib/internal.h alone. */
#ifndef TARN_LIB_HISTOGRAM_H
#define TARN_LIB_HISTOGRAM_H

#include <stdint.h>

#include "shm/layout.h"

/* Adds the counts of a slot's histogram, which may be changing, to private sums. */
void tarn_histogram_add(uint64_t sums[TARN_BUCKETS], const struct tarn_histogram *histogram);

uint64_t tarn_histogram_total(const uint64_t counts[TARN_BUCKETS]);

/* The time that `per_mille` of 1,000 measured times do not exceed (500: the median), drawn evenly
 * inside its bucket, so at most a quarter too high or too low; 0 if nothing was measured. */
uint64_t tarn_percentile_ns(const uint64_t counts[TARN_BUCKETS], unsigned per_mille);

#endif
