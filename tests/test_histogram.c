/* SPDX-License-Identifier: MIT */
#include "lib/histogram.h"

#include <string.h>

#include "lib/internal.h"
#include "tests/test.h"

START_TEST(each_bucket_begins_at_its_floor)
{
    for (unsigned bucket = 1; bucket < TARN_BUCKETS; bucket++) {
        uint64_t floor = tarn_bucket_floor(bucket);
        ck_assert_uint_eq(tarn_bucket_of(floor), bucket);
        ck_assert_uint_eq(tarn_bucket_of(floor - 1), bucket - 1);
    }
}
END_TEST

START_TEST(buckets_span_4_ns_to_4_s)
{
    ck_assert_uint_eq(tarn_bucket_of(0), 0);
    ck_assert_uint_eq(tarn_bucket_floor(0), 0);
    ck_assert_uint_eq(tarn_bucket_of(4), 0);
    ck_assert_uint_eq(tarn_bucket_of(5), 1);
    ck_assert_uint_eq(tarn_bucket_of(8), 4);
    ck_assert_uint_eq(tarn_bucket_of(UINT64_C(1) << 31), TARN_BUCKETS - 4);
    ck_assert_uint_eq(tarn_bucket_of(UINT64_C(1) << 40), TARN_BUCKETS - 1);
    ck_assert_uint_eq(tarn_bucket_of(UINT64_MAX), TARN_BUCKETS - 1);
}
END_TEST

START_TEST(percentile_stands_in_the_bucket_of_its_rank)
{
    uint64_t counts[TARN_BUCKETS] = {0};
    ck_assert_uint_eq(tarn_percentile_ns(counts, 500), 0);
    counts[20] = 990;
    counts[60] = 9;
    counts[100] = 1;
    ck_assert_uint_eq(tarn_histogram_total(counts), 1000);
    ck_assert_uint_eq(tarn_bucket_of(tarn_percentile_ns(counts, 0)), 20);
    ck_assert_uint_eq(tarn_bucket_of(tarn_percentile_ns(counts, 500)), 20);
    ck_assert_uint_eq(tarn_bucket_of(tarn_percentile_ns(counts, 990)), 20);
    ck_assert_uint_eq(tarn_bucket_of(tarn_percentile_ns(counts, 991)), 60);
    ck_assert_uint_eq(tarn_bucket_of(tarn_percentile_ns(counts, 999)), 60);
    ck_assert_uint_eq(tarn_bucket_of(tarn_percentile_ns(counts, 1000)), 100);
}
END_TEST

START_TEST(percentiles_of_drawn_times_are_a_quarter_off_at_most)
{
    uint64_t counts[TARN_BUCKETS] = {0};
    uint64_t state = test_seed();
    for (int i = 0; i < 100000; i++)
        counts[tarn_bucket_of(1000 + test_random(&state) % 9000)]++;
    for (unsigned per_mille = 50; per_mille < 1000; per_mille += 50) {
        double exact = 1000 + 9.0 * per_mille;
        double got = (double)tarn_percentile_ns(counts, per_mille);
        ck_assert_double_le(got, exact * 1.25);
        ck_assert_double_ge(got, exact * 0.75);
    }
}
END_TEST

START_TEST(session_counts_times_and_keeps_the_longest)
{
    static struct tarn_slot slot;
    struct tarn_session session = {.shared = &slot};
    tarn_latency_add(&session, LATENCY_MISS, 100);
    tarn_latency_add(&session, LATENCY_MISS, 70000);
    tarn_latency_add(&session, LATENCY_MISS, 200);
    uint64_t counts[TARN_BUCKETS] = {0};
    tarn_histogram_add(counts, &slot.latency[LATENCY_MISS]);
    ck_assert_uint_eq(tarn_histogram_total(counts), 3);
    ck_assert_uint_eq(counts[tarn_bucket_of(70000)], 1);
    ck_assert_uint_eq(tarn_load_relaxed(&slot.latency_max_ns[LATENCY_MISS]), 70000);
}
END_TEST

void test_suite(Suite *suite)
{
    TCase *tcase = test_case(suite, "histogram", 10);
    tcase_add_test(tcase, each_bucket_begins_at_its_floor);
    tcase_add_test(tcase, buckets_span_4_ns_to_4_s);
    tcase_add_test(tcase, percentile_stands_in_the_bucket_of_its_rank);
    tcase_add_test(tcase, percentiles_of_drawn_times_are_a_quarter_off_at_most);
    tcase_add_test(tcase, session_counts_times_and_keeps_the_longest);
}
