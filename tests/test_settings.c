/* SPDX-License-Identifier: MIT */
/* What can be changed while a pool works: bounds, all or nothing, where it is kept, who sees it. */
#include "lib/directory.h"
#include "tests/pool.h"

enum { SETTING_FRAMES = 256 };

static void begin_settings(void)
{
    pool = init_pool(test_pool_name(), test_path("pool"), SETTING_FRAMES, 8);
    session = open_session(pool);
}

static void end_settings(void)
{
    assert_consistent(pool);
    ck_assert_int_eq(tarn_detach(pool), 0);
}

static uint64_t value_of(struct tarn_pool *of, const char *key)
{
    struct tarn_setting setting = {.size = sizeof(setting)};

    ck_assert_int_eq(tarn_pool_get(of, key, &setting), 0);
    ck_assert_uint_le(setting.value, setting.max);
    return setting.value;
}

static bool is_set(const char *key)
{
    struct tarn_setting setting = {.size = sizeof(setting)};

    ck_assert_int_eq(tarn_pool_get(pool, key, &setting), 0);
    ck_assert(setting.is_set == (strcmp(setting.from, "set") == 0));
    ck_assert(setting.is_set || setting.value == setting.default_value);
    return setting.is_set;
}

static int set(const char *assignment)
{
    return tarn_pool_set(pool, &assignment, 1);
}

static int set_two(const char *first, const char *second)
{
    const char *const assignments[] = {first, second};

    return tarn_pool_set(pool, assignments, 2);
}

static void assert_refused(const char *words, int result, int expected)
{
    struct tarn_message message = {""};

    ck_assert_int_eq(tarn_pool_message(pool, &message), 0);
    ck_assert_msg(result == expected, "%d, not %d: %s", result, expected, message.text);
    ck_assert_msg(says(message.text, words), "no '%s' in: %s", words, message.text);
}

START_TEST(values_follow_from_the_frames_until_they_are_set)
{
    unsigned count = 0;

    while (tarn_pool_setting_key(count) != NULL)
        ck_assert(!is_set(tarn_pool_setting_key(count++)));
    ck_assert_uint_eq(count, SET_COUNT);
    ck_assert_uint_eq(value_of(pool, "free_frames_low"), SETTING_FRAMES / 64);
    ck_assert_uint_eq(value_of(pool, "free_frames_high"), SETTING_FRAMES / 16);
    ck_assert_int_eq(set("free_frames_high=100"), 0);
    ck_assert_int_eq(set("dirty_frames_low=10%"), 0);
    ck_assert(is_set("free_frames_high") && is_set("dirty_frames_low"));
    ck_assert(!is_set("free_frames_low") && !is_set("dirty_frames_high"));
    ck_assert_uint_eq(value_of(pool, "free_frames_high"), 100);
    ck_assert_uint_eq(value_of(pool, "dirty_frames_low"), SETTING_FRAMES / 10);
    ck_assert_int_eq(set_two("free_frames_high=default", "dirty_frames_low=default"), 0);
    ck_assert(!is_set("free_frames_high") && !is_set("dirty_frames_low"));
}
END_TEST

START_TEST(what_is_out_of_bounds_changes_nothing)
{
    struct tarn_setting setting = {.size = sizeof(setting) - 1};

    assert_refused("no setting 'colour'", set("colour=1"), -EINVAL);
    assert_refused("free_frames_low, free_frames_high", set("=1"), -EINVAL);
    assert_refused("not KEY=VALUE", set("free_frames_low"), -EINVAL);
    assert_refused("NULL", tarn_pool_set(pool, NULL, 1), -EINVAL);
    assert_refused("free_frames_high=129 is not within 0 and 128 of the 256",
                   set("free_frames_high=129"), -EINVAL);
    assert_refused("is not within 0 and 256", set("dirty_frames_high=257"), -EINVAL);
    assert_refused("101%", set("dirty_frames_high=101%"), -EINVAL);
    assert_refused("neither", set("dirty_frames_high=5%%"), -EINVAL);
    assert_refused("neither", set("dirty_frames_high=-1"), -EINVAL);
    assert_refused("neither", set("dirty_frames_high= 1"), -EINVAL);
    assert_refused("neither", set("dirty_frames_high="), -EINVAL);
    assert_refused("neither", set("dirty_frames_high=99999999999999999999"), -EINVAL);
    assert_refused("is not within", set("dirty_frames_high=18446744073709551615%"), -EINVAL);
    assert_refused("free_frames_low (17) would be above free_frames_high (16, the default)",
                   set("free_frames_low=17"), -EINVAL);
    assert_refused("free_frames_low (4, the default) would be above free_frames_high (3)",
                   set("free_frames_high=3"), -EINVAL);
    assert_refused("write_rate=5%: neither a number nor 'default'", set("write_rate=5%"), -EINVAL);
    assert_refused("write_rate=2147483648 is not within 0 and 2147483647",
                   set("write_rate=2147483648"), -EINVAL);
    ck_assert_int_eq(set("write_rate=2147483647"), 0);
    ck_assert_int_eq(set("write_rate=default"), 0);
    assert_refused("dirty_frames_high=900", set_two("free_frames_low=5", "dirty_frames_high=900"),
                   -EINVAL);
    assert_refused("size", tarn_pool_get(pool, "free_frames_low", &setting), -EINVAL);
    setting.size = sizeof(setting);
    assert_refused("'colour'", tarn_pool_get(pool, "colour", &setting), -EINVAL);
    for (unsigned i = 0; i < SET_COUNT; i++)
        ck_assert(!is_set(tarn_pool_setting_key(i)));
    ck_assert_int_eq(tarn_pool_set(pool, NULL, 0), 0);
    ck_assert_int_eq(set_two("free_frames_low=0", "free_frames_high=0"), 0);
    ck_assert_int_eq(set_two("free_frames_low=100%", "free_frames_low=0%"), -EINVAL);
    ck_assert_int_eq(set_two("dirty_frames_low=100%", "dirty_frames_high=100%"), 0);
}
END_TEST

START_TEST(what_is_set_outlives_the_segment)
{
    struct tarn_message message = {""};

    ck_assert_int_eq(set_two("free_frames_low=7", "dirty_frames_low=11"), 0);
    ck_assert_int_eq(tarn_detach(pool), 0);
    char path[100];
    snprintf(path, sizeof(path), "/dev/shm/tarn.%s", test_pool_name());
    ck_assert_int_eq(unlink(path), 0);
    int result = tarn_segment_build(test_path("pool"), NULL, NULL, &message);
    ck_assert_msg(result == 0, "%s", message.text);
    pool = attach_pool(test_pool_name());
    ck_assert_uint_eq(value_of(pool, "free_frames_low"), 7);
    ck_assert_uint_eq(value_of(pool, "dirty_frames_low"), 11);
    ck_assert(is_set("free_frames_low") && !is_set("free_frames_high"));
}
END_TEST

static struct tarn_directory_options read_options(void)
{
    struct tarn_directory_options options;
    struct tarn_message message = {""};
    int result = tarn_directory_read_options(pool->directory_fd, &options, &message);

    ck_assert_msg(result == 0, "%s", message.text);
    return options;
}

START_TEST(what_cannot_be_kept_is_not_set)
{
    ck_assert_int_eq(set("free_frames_low=7"), 0);
    ck_assert_int_eq(mkdir(file_path("options.new"), 0700), 0);
    assert_refused("options", set("free_frames_low=8"), -EISDIR);
    ck_assert_uint_eq(value_of(pool, "free_frames_low"), 7);
    ck_assert_int_eq(rmdir(file_path("options.new")), 0);
    ck_assert_int_eq(set("free_frames_low=8"), 0);
    ck_assert_uint_eq(read_options().setting[SET_FREE_LOW], SETTING_SET | 8);
}
END_TEST

START_TEST(what_root_sets_stays_the_owners)
{
    struct stat status;

    if (chown(file_path("options"), 4711, 4712) != 0)
        return; /* not root */
    ck_assert_int_eq(set("free_frames_low=7"), 0);
    ck_assert_int_eq(stat(file_path("options"), &status), 0);
    ck_assert_uint_eq(status.st_uid, 4711);
    ck_assert_uint_eq(status.st_gid, 4712);
    ck_assert_uint_eq(status.st_mode & 0777, 0600);
}
END_TEST

/* Each thread sets both marks, to values that are far apart. */
static void *set_both(void *argument)
{
    struct work *work = argument;
    const char *const near[] = {"dirty_frames_low=1", "dirty_frames_high=2"};
    const char *const far[] = {"dirty_frames_high=200", "dirty_frames_low=199"};
    const char *const *assignments = work->wait_ms == 0 ? near : far;

    work->result = 0;
    for (int i = 0; i < 8 && work->result == 0; i++)
        work->result =
            tarn_pool_set(work->wait_ms < 2 ? pool : attach_pool(test_pool_name()), assignments, 2);
    return NULL;
}

START_TEST(those_who_set_at_once_take_turns)
{
    struct work work[3];
    pid_t pid;

    for (int i = 0; i < 3; i++) {
        start_work(&work[i], set_both, session, page(0), i);
    }
    pid = fork();
    if (pid == 0) {
        struct tarn_pool *own = attach_pool(test_pool_name());
        const char *assignment = "free_frames_low=7";
        for (int i = 0; i < 8; i++)
            if (tarn_pool_set(own, &assignment, 1) != 0)
                _exit(1);
        _exit(0);
    }
    for (int i = 0; i < 100000; i++) {
        uint32_t values[SET_COUNT];
        tarn_settings_read(&pool->view, values);
        uint32_t low = values[SET_DIRTY_LOW], high = values[SET_DIRTY_HIGH];
        ck_assert_msg((low == 1 && high == 2) || (low == 199 && high == 200) ||
                          (low == SETTING_FRAMES / 4 && high == SETTING_FRAMES / 3),
                      "%u and %u", low, high);
    }
    for (int i = 0; i < 3; i++)
        ck_assert_int_eq(end_work(&work[i]), 0);
    assert_ends_well(pid);
    ck_assert_uint_eq(value_of(pool, "free_frames_low"), 7);
    struct tarn_directory_options options = read_options();
    for (unsigned i = 0; i < SET_COUNT; i++)
        ck_assert_uint_eq(options.setting[i] & SETTING_VALUE_MAX,
                          is_set(tarn_setting_key(i)) ? value_of(pool, tarn_setting_key(i)) : 0);
}
END_TEST

static int take_options(void)
{
    int fd = open(file_path("lock"), O_RDWR | O_CLOEXEC);

    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(tarn_lock_byte(fd, TARN_LOCK_OPTIONS, F_WRLCK), 0);
    return fd;
}

START_TEST(who_is_stopped_while_setting_is_waited_for_some_seconds)
{
    int fd = take_options();

    assert_refused("another process", set("free_frames_low=7"), -EBUSY);
    ck_assert(!is_set("free_frames_low"));
    close(fd);
    ck_assert_int_eq(set("free_frames_low=7"), 0);
}
END_TEST

static void *set_one(void *argument)
{
    (void)argument;
    return set("free_frames_low=7") == -ESHUTDOWN ? NULL : argument;
}

/* An embedded pool that ends keeps its options, and who destroys still needs them to flush. */
START_TEST(who_sets_while_the_pool_ends_leaves_the_options)
{
    tarn_word *life = &pool->view.control->life;
    int fd = take_options();
    pthread_t thread;
    void *failed;

    ck_assert_int_eq(pthread_create(&thread, NULL, set_one, pool), 0);
    tarn_sleep_ns(50 * NS_PER_MS);
    tarn_store_release(life, LIFE_DESTROYED);
    close(fd);
    ck_assert_int_eq(pthread_join(thread, &failed), 0);
    ck_assert(exists(file_path("options")));
    ck_assert(read_options().setting[SET_FREE_LOW] == 0);
    ck_assert_ptr_null(failed);
    tarn_store_release(life, LIFE_OPEN);
    ck_assert_int_eq(set("free_frames_low=7"), 0);
}
END_TEST

static void *destroy(void *argument)
{
    (void)argument;
    return tarn_destroy(test_pool_name(), NULL, TARN_DESTROY_FORCE, NULL) == 0 ? NULL : argument;
}

START_TEST(who_destroys_waits_for_who_sets)
{
    int fd = take_options();
    pthread_t thread;
    void *failed;

    ck_assert_int_eq(pthread_create(&thread, NULL, destroy, pool), 0);
    tarn_sleep_ns(100 * NS_PER_MS);
    ck_assert_uint_eq(tarn_load_acquire(&pool->view.control->life), LIFE_OPEN);
    close(fd);
    ck_assert_int_eq(pthread_join(thread, &failed), 0);
    ck_assert_ptr_null(failed);
    ck_assert(!exists(file_path("options")));
}
END_TEST

START_TEST(more_than_all_is_too_much_in_a_small_pool_too)
{
    pool = init_pool(test_pool_name(), test_path("pool"), 64, 8);
    assert_refused("101%", set("dirty_frames_high=101%"), -EINVAL);
    ck_assert_int_eq(set("dirty_frames_high=100%"), 0);
    ck_assert_uint_eq(value_of(pool, "dirty_frames_high"), 64);
    ck_assert_int_eq(tarn_detach(pool), 0);
}
END_TEST

/* Whatever a stray store leaves in the words, readers get values that a pool can work with. */
START_TEST(noise_is_kept_within_bounds)
{
    tarn_word *words = pool->view.control->setting;
    uint32_t values[SET_COUNT];
    uint64_t state = test_seed();

    for (int i = 0; i < 100000; i++) {
        for (unsigned word = 0; word < TARN_SETTING_WORDS; word++)
            tarn_store_relaxed(&words[word], test_random(&state) >> (i % 3 * 13));
        tarn_settings_read(&pool->view, values);
        for (unsigned j = 0; j < SET_COUNT; j++)
            ck_assert_uint_le(values[j], tarn_setting_max(&pool->view.geometry, j));
        ck_assert_uint_le(values[SET_FREE_LOW], values[SET_FREE_HIGH]);
        ck_assert_uint_le(values[SET_DIRTY_LOW], values[SET_DIRTY_HIGH]);
    }
    for (unsigned word = 0; word < TARN_SETTING_WORDS; word++)
        tarn_store_relaxed(&words[word], UINT64_C(0x7fffffff00000001));
    ck_assert_int_eq(set("free_frames_low=7"), 0);
    ck_assert_uint_eq(value_of(pool, "free_frames_low"), 7);
    ck_assert(!is_set("dirty_frames_low"));
}
END_TEST

START_TEST(handles_that_are_none_set_nothing)
{
    struct tarn_setting setting = {.size = sizeof(setting)};
    pid_t pid = fork();

    if (pid == 0)
        _exit(set("free_frames_low=7") == -ECHILD &&
                      tarn_pool_get(pool, "free_frames_low", &setting) == -ECHILD
                  ? 0
                  : 1);
    assert_ends_well(pid);
    ck_assert_int_eq(tarn_pool_set(NULL, NULL, 0), -EBADF);
    ck_assert_int_eq(tarn_pool_get(NULL, "free_frames_low", &setting), -EBADF);
    ck_assert_int_eq(tarn_destroy(test_pool_name(), NULL, TARN_DESTROY_FORCE, NULL), 0);
    assert_refused("destroyed", set("free_frames_low=7"), -ESHUTDOWN);
    ck_assert(!exists(file_path("options")));
}
END_TEST

void test_suite(Suite *suite)
{
    TCase *tcase = test_case(suite, "settings", 30);

    tcase_add_checked_fixture(tcase, begin_settings, end_settings);
    tcase_add_test(tcase, values_follow_from_the_frames_until_they_are_set);
    tcase_add_test(tcase, what_is_out_of_bounds_changes_nothing);
    tcase_add_test(tcase, what_is_set_outlives_the_segment);
    tcase_add_test(tcase, what_cannot_be_kept_is_not_set);
    tcase_add_test(tcase, what_root_sets_stays_the_owners);
    tcase_add_test(tcase, those_who_set_at_once_take_turns);
    tcase_add_test(tcase, who_is_stopped_while_setting_is_waited_for_some_seconds);
    tcase_add_test(tcase, who_sets_while_the_pool_ends_leaves_the_options);
    tcase_add_test(tcase, noise_is_kept_within_bounds);

    tcase = test_case(suite, "settings without a pool", 30);
    tcase_add_checked_fixture(tcase, begin_settings, NULL);
    tcase_add_test(tcase, handles_that_are_none_set_nothing);
    tcase_add_test(tcase, who_destroys_waits_for_who_sets);

    tcase = test_case(suite, "settings of a small pool", 30);
    tcase_add_test(tcase, more_than_all_is_too_much_in_a_small_pool_too);
}
