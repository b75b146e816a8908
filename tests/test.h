/* SPDX-License-Identifier: MIT */
/* What every suite of C tests is built on. A file tests/test_NAME.c is one program and one suite:
 *
 *     START_TEST(eviction_of_a_pinned_page_is_refused)
 *     {
 *         ck_assert_int_eq(...);
 *     }
 *     END_TEST
 *
 *     void test_suite(Suite *suite)
 *     {
 *         TCase *tcase = test_case(suite, "eviction", 10);
 *         tcase_add_test(tcase, eviction_of_a_pinned_page_is_refused);
 *     }
 *
 * Each test runs in a process of its own, which leads a process group: what a test has forked and
 * left behind is killed when it ends. The results are printed as TAP.
 *
 * Each check takes a lock of libcheck's for a moment. Threads that run while the test forks must
 * make none: the lock would stay taken in the child.
 */
#ifndef TARN_TEST_H
#define TARN_TEST_H

#include <check.h>
#include <stdint.h>

/* Adds the file's test cases to the suite. Each test file has one; support.c has main(). */
void test_suite(Suite *suite);

/* A test case whose tests may take so many seconds each (stretched under sanitizers). All test
 * cases come from here: it is what skipping and the clearing up rest on. */
TCase *test_case(Suite *suite, const char *name, int seconds);

/* Ends the running test as skipped. Only in the test's own process. */
_Noreturn void test_skip(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* A pool name that no other test uses, the same all through one test. Segments whose names begin
 * with it are removed when the test has ended, whichever way it ends. */
const char *test_pool_name(void);

/* An empty directory of the running test, an absolute path; removed with its contents. */
const char *test_dir(void);

/* DIR/NAME in test_dir(); the string lives as long as the test. */
const char *test_path(const char *name);

/* The seed of this run: TARN_TEST_SEED, or a random one. It is printed at the start; a run with the
 * same seed draws the same numbers. */
uint64_t test_seed(void);

/* The number that follows --NAME on the program's command line; `otherwise` where it is not. */
uint64_t test_option(const char *name, uint64_t otherwise);

/* The next number of a sequence; begin it with test_seed(), plus a number for each process. */
uint64_t test_random(uint64_t *state);

#endif
