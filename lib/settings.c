/* SPDX-License-Identifier: MIT */
/* Settings of a pool that works: read, and changed by whoever is attached. The segment has what
 * holds now, DIR/options what a segment built later begins with.
 */
#include "shm/settings.h"

#include <ctype.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/directory.h"
#include "lib/internal.h"

#define LOCK_WAIT_MS 5000

const char *tarn_pool_setting_key(unsigned index)
{
    return tarn_setting_key(index);
}

static int no_setting(struct tarn_pool *pool, const char *key, size_t length)
{
    char keys[256] = "";
    for (unsigned i = 0; i < SET_COUNT; i++)
        snprintf(keys + strlen(keys), sizeof keys - strlen(keys), "%s%s", i == 0 ? "" : ", ",
                 tarn_setting_key(i));
    return tarn_pool_fail(pool, -EINVAL, "there is no setting '%.*s'; there are %s", (int)length,
                          key, keys);
}

int tarn_pool_get(struct tarn_pool *pool, const char *key, struct tarn_setting *ret_setting)
{
    int result = tarn_pool_usable(pool);
    if (result < 0)
        return result;
    if (key == NULL || ret_setting == NULL || ret_setting->size != sizeof *ret_setting)
        return tarn_pool_fail(pool, -EINVAL, "get: size is not sizeof(struct tarn_setting)");
    unsigned setting = tarn_setting_named(key);
    if (setting == SET_COUNT)
        return no_setting(pool, key, strlen(key));
    uint32_t values[SET_COUNT];
    tarn_settings_read(&pool->view, values);
    *ret_setting = (struct tarn_setting){
        .size = sizeof *ret_setting,
        .value = values[setting],
        .default_value = tarn_setting_default(&pool->view.geometry, setting),
        .max = tarn_setting_max(&pool->view.geometry, setting),
        .is_set = tarn_setting_is_set(&pool->view, setting),
        .from =
            tarn_setting_is_set(&pool->view, setting) ? "set" : tarn_setting_default_words(setting),
    };
    return 0;
}

/* "300", "5%", "default" -> what the word gets. False: none of these. */
static bool parse_value(const struct tarn_geometry *geometry, unsigned setting, const char *text,
                        uint64_t *ret_value, bool *ret_default)
{
    char *end;
    *ret_default = strcmp(text, "default") == 0;
    *ret_value = 0;
    if (*ret_default)
        return true;
    errno = 0;
    uint64_t value = strtoull(text, &end, 10);
    bool percent = *end == '%' && tarn_setting_is_frames(setting);
    if (!isdigit((unsigned char)text[0]) || end[percent] != 0 || errno != 0)
        return false;
    /* More than all is too much, also where a hundredth is less than a frame. */
    if (percent && value > 100)
        *ret_value = UINT64_MAX;
    else
        *ret_value = percent ? geometry->frame_count * value / 100 : value;
    return true;
}

/* One "KEY=VALUE" into the words. */
static int assign(struct tarn_pool *pool, const char *assignment, uint64_t *words)
{
    const struct tarn_geometry *geometry = &pool->view.geometry;
    char key[64];
    size_t length = strcspn(assignment, "=");
    if (assignment[length] == 0)
        return tarn_pool_fail(pool, -EINVAL, "'%.80s' is not KEY=VALUE", assignment);
    snprintf(key, sizeof key, "%.*s", (int)length, assignment);
    unsigned setting = tarn_setting_named(key);
    if (setting == SET_COUNT)
        return no_setting(pool, assignment, length < 80 ? length : 80);
    const char *text = assignment + length + 1;
    uint64_t value;
    bool is_default;
    if (!parse_value(geometry, setting, text, &value, &is_default))
        return tarn_pool_fail(
            pool, -EINVAL, "%s=%.80s: neither a number%s nor 'default'", key, text,
            tarn_setting_is_frames(setting) ? " of frames, a percentage of them," : "");
    uint32_t max = tarn_setting_max(geometry, setting);
    if (value > max && !tarn_setting_is_frames(setting))
        return tarn_pool_fail(pool, -EINVAL, "%s=%.80s is not within 0 and %" PRIu32, key, text,
                              max);
    if (value > max)
        return tarn_pool_fail(pool, -EINVAL,
                              "%s=%.80s is not within 0 and %" PRIu32 " of the %" PRIu32
                              " frames of pool %s",
                              key, text, max, geometry->frame_count, pool->name);
    uint64_t *word = &words[setting / 2];
    *word = setting_word_with(*word, setting % 2, is_default ? 0 : SETTING_SET | (uint32_t)value);
    return 0;
}

static int check_marks(struct tarn_pool *pool, const uint64_t *words)
{
    const struct tarn_geometry *geometry = &pool->view.geometry;
    for (unsigned i = 0; i < TARN_SETTING_WORDS; i++) {
        unsigned low = 2 * i, high = 2 * i + 1;
        if (tarn_setting_word_valid(geometry, i, words[i]))
            continue;
        bool low_set = setting_of(words[i], 0) & SETTING_SET;
        return tarn_pool_fail(pool, -EINVAL,
                              "%s (%" PRIu32 "%s) would be above %s (%" PRIu32 "%s): set both",
                              tarn_setting_key(low),
                              low_set ? setting_of(words[i], 0) & SETTING_VALUE_MAX
                                      : tarn_setting_default(geometry, low),
                              low_set ? "" : ", the default", tarn_setting_key(high),
                              tarn_setting_value(geometry, high, words[i]),
                              setting_of(words[i], 1) & SETTING_SET ? "" : ", the default");
    }
    return 0;
}

/* By a description of its own: a thread of this process, too, waits for another. */
int tarn_options_lock(struct tarn_pool *pool)
{
    int fd = openat(pool->directory_fd, TARN_DIRECTORY_LOCK, O_RDWR | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return tarn_pool_fail(pool, tarn_directory_errno(errno), "lock file %s/%s: %s",
                              pool->directory, TARN_DIRECTORY_LOCK, strerror(errno));
    int result = -EAGAIN;
    for (int waited_ms = 0; result == -EAGAIN && waited_ms < LOCK_WAIT_MS; waited_ms++) {
        if (waited_ms > 0)
            tarn_sleep_ns(NS_PER_MS);
        result = PLANTED(SETTINGS_NOT_LOCKED) ? 0 : tarn_lock_byte(fd, TARN_LOCK_OPTIONS, F_WRLCK);
    }
    if (result == 0)
        return fd;
    close(fd);
    return tarn_pool_fail(pool, result == -EAGAIN ? -EBUSY : result,
                          "the settings of pool %s are being changed by another process",
                          pool->name);
}

/* Takes the lock back although a forked child may have got the description. */
void tarn_options_unlock(int fd)
{
    tarn_lock_byte(fd, TARN_LOCK_OPTIONS, F_UNLCK);
    close(fd);
}

static int is_destroyed(struct tarn_pool *pool)
{
    return tarn_pool_fail(pool, -ESHUTDOWN, "pool %s was destroyed", pool->name);
}

/* The directory first: whoever is killed in between has changed nothing yet that anybody works
 * with, and the next who sets something writes what holds. */
static int store(struct tarn_pool *pool, const uint64_t *words)
{
    struct tarn_control *control = pool->view.control;
    struct tarn_directory_options options;
    struct tarn_message message;
    if (tarn_load_acquire(&control->life) != LIFE_OPEN)
        return is_destroyed(pool);
    for (unsigned i = 0; PLANTED(SETTING_BEFORE_OPTIONS) && i < TARN_SETTING_WORDS; i++)
        tarn_store_relaxed(&control->setting[i], words[i]);
    int result = tarn_directory_read_options(pool->directory_fd, &options, &message);
    for (unsigned i = 0; result == 0 && i < 2 * TARN_SETTING_WORDS; i++)
        options.setting[i] = setting_of(words[i / 2], i % 2);
    if (result == 0)
        result = tarn_directory_write_options(pool->directory_fd, &options, &message);
    if (result < 0)
        return tarn_pool_fail(pool, result, "%s", message.text);
    /* Who destroys waits for the byte, but not for ever for one that is stopped here. While the
     * lock file is there the options are still needed: to flush, or to open an embedded pool
     * again. Not to be able to look proves nothing. */
    struct stat status;
    if (fstatat(pool->directory_fd, TARN_DIRECTORY_LOCK, &status, AT_SYMLINK_NOFOLLOW) != 0 &&
        errno == ENOENT) {
        unlinkat(pool->directory_fd, TARN_DIRECTORY_OPTIONS, 0);
        return is_destroyed(pool);
    }
    for (unsigned i = 0; i < TARN_SETTING_WORDS; i++)
        tarn_store_relaxed(&control->setting[i], words[i]);
    return 0;
}

/* Takes: the lock byte of the options. */
static int set_all(struct tarn_pool *pool, const char *const *assignments, unsigned count)
{
    const struct tarn_view *view = &pool->view;
    uint64_t words[TARN_SETTING_WORDS];
    for (unsigned i = 0; i < TARN_SETTING_WORDS; i++) {
        words[i] = tarn_load_relaxed(&view->control->setting[i]);
        /* What a stray store has left is not carried on. */
        if (!tarn_setting_word_valid(&view->geometry, i, words[i]))
            words[i] = 0;
    }
    int result = 0;
    for (unsigned i = 0; result == 0 && i < count; i++)
        result = assign(pool, assignments[i], words);
    if (result == 0)
        result = check_marks(pool, words);
    return result < 0 ? result : store(pool, words);
}

int tarn_pool_set(struct tarn_pool *pool, const char *const *assignments, unsigned count)
{
    int result = tarn_pool_usable(pool);
    if (result < 0)
        return result;
    for (unsigned i = 0; i < count; i++)
        if (assignments == NULL || assignments[i] == NULL)
            return tarn_pool_fail(pool, -EINVAL, "set: assignment %u is NULL", i);
    if (tarn_load_acquire(&pool->view.control->life) != LIFE_OPEN)
        return is_destroyed(pool);
    int cancel_state;
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel_state);
    int fd = tarn_options_lock(pool);
    result = fd < 0 ? fd : set_all(pool, assignments, count);
    if (fd >= 0)
        tarn_options_unlock(fd);
    pthread_setcancelstate(cancel_state, NULL);
    if (result == 0)
        tarn_call_cleaner(pool);
    return result;
}
