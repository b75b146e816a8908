/* SPDX-License-Identifier: MIT */
/* Each single bit of a segment's first two pages, flipped: attaching gives the error that belongs
 * to the place, or a pool that works. */
#include <stddef.h>

#include "tests/pool.h"

enum { CONTROL_AT = TARN_PAGE_BYTES_MIN };

/* Fields of the second page that a session is refused for; all others of it are hints, counters and
 * figures, with which every value is a correct attach. The first page has no field of that kind:
 * nothing in it changes once the segment has its name. */
static const struct {
    size_t offset, bytes;
    int result; /* of opening a session */
} decisive[] = {
    {offsetof(struct tarn_control, life), 8, -ESHUTDOWN},
};

static int fd;

static void flip(uint64_t bit)
{
    uint8_t byte;
    off_t at = (off_t)(bit / 8);

    ck_assert_int_eq(pread(fd, &byte, 1, at), 1);
    byte ^= (uint8_t)(1u << bit % 8);
    ck_assert_int_eq(pwrite(fd, &byte, 1, at), 1);
}

static void make_pool(void)
{
    char path[TARN_PATH_BYTES];
    struct tarn_pool *made = init_pool(test_pool_name(), test_path("pool"), 16, 1);

    ck_assert_int_eq(tarn_segment_path(test_pool_name(), NULL, path, NULL), 0);
    ck_assert_int_eq(tarn_detach(made), 0);
    fd = open(path, O_RDWR | O_CLOEXEC);
    ck_assert_int_ge(fd, 0);
}

/* Attaches, and works a little. Returns what attaching or opening a session gave. */
static int use_pool(void)
{
    struct tarn_message message = {""};
    struct tarn_pool *attached;
    struct tarn_session *user;
    struct tarn_pin pin;
    int result = tarn_attach(test_pool_name(), NULL, &attached, &message);

    if (result < 0) {
        ck_assert_msg(message.text[0] != 0, "no message with %d", result);
        return result;
    }
    result = tarn_session_open(attached, NULL, &user);
    if (result == 0)
        assert_fails(user, -ENXIO, "no file 1", tarn_pin(user, tarn_page_id(1, 0), 0, &pin));
    ck_assert_int_eq(tarn_detach(attached), 0);
    return result;
}

#define BEHIND(member)                                                                             \
    (offsetof(struct tarn_superblock, member) + sizeof(((struct tarn_superblock *)0)->member))

/* The fields are looked at from the front; what none of them says the checksum does. */
static int expected_in_superblock(uint64_t byte)
{
    if (byte < BEHIND(byte_order))
        return -ENOTTY;
    if (byte < BEHIND(format_version))
        return -EPROTONOSUPPORT;
    if (byte < BEHIND(layout_hash))
        return -EPROTOTYPE;
    return -ENOTTY;
}

START_TEST(every_flipped_bit_of_the_first_page_is_an_error_of_its_own)
{
    make_pool();
    for (uint64_t bit = 0; bit < UINT64_C(8) * TARN_PAGE_BYTES_MIN; bit++) {
        flip(bit);
        int result = use_pool(), expected = expected_in_superblock(bit / 8);
        ck_assert_msg(result == expected, "bit %llu: %d, not %d", (unsigned long long)bit, result,
                      expected);
        flip(bit);
    }
    ck_assert_int_eq(use_pool(), 0);
}
END_TEST

static int expected_in_control(uint64_t byte)
{
    for (size_t i = 0; i < sizeof(decisive) / sizeof(decisive[0]); i++)
        if (byte >= decisive[i].offset && byte < decisive[i].offset + decisive[i].bytes)
            return decisive[i].result;
    return 0;
}

START_TEST(every_flipped_bit_of_the_second_page_is_a_correct_attach)
{
    make_pool();
    for (uint64_t bit = 0; bit < UINT64_C(8) * sizeof(struct tarn_control); bit++) {
        flip(UINT64_C(8) * CONTROL_AT + bit);
        int result = use_pool(), expected = expected_in_control(bit / 8);
        ck_assert_msg(result == expected, "bit %llu: %d, not %d", (unsigned long long)bit, result,
                      expected);
        flip(UINT64_C(8) * CONTROL_AT + bit);
    }
}
END_TEST

START_TEST(a_segment_of_the_other_byte_order_says_so)
{
    uint64_t order = __builtin_bswap64(TARN_BYTE_ORDER);

    make_pool();
    ck_assert_int_eq(
        pwrite(fd, &order, sizeof(order), offsetof(struct tarn_superblock, byte_order)),
        sizeof(order));
    ck_assert_int_eq(use_pool(), -ENOEXEC);
}
END_TEST

void test_suite(Suite *suite)
{
    TCase *flips = test_case(suite, "flips", 100);

    tcase_add_test(flips, every_flipped_bit_of_the_first_page_is_an_error_of_its_own);
    tcase_add_test(flips, every_flipped_bit_of_the_second_page_is_a_correct_attach);
    tcase_add_test(flips, a_segment_of_the_other_byte_order_says_so);
}
