/* SPDX-License-Identifier: MIT */
#include "shm/settings.h"

#include <string.h>

#define RESERVE_MAX 512u

static const char *const keys[SET_COUNT] = {
#define X(upper, lower) #lower,
    TARN_SETTINGS(X)
#undef X
};

const char *tarn_setting_key(unsigned setting)
{
    return setting < SET_COUNT ? keys[setting] : NULL;
}

unsigned tarn_setting_named(const char *key)
{
    unsigned setting = 0;
    while (setting < SET_COUNT && strcmp(keys[setting], key) != 0)
        setting++;
    return setting;
}

/* A small pool has few frames to spare, a large one needs no more than a fast disk fills. */
static uint32_t reserve(uint32_t frames)
{
    uint32_t few = frames / 16 < 4 ? frames / 16 : 4;
    uint32_t low = frames / 64 > few ? frames / 64 : few;
    return low < RESERVE_MAX ? low : RESERVE_MAX;
}

uint32_t tarn_setting_default(const struct tarn_geometry *geometry, unsigned setting)
{
    uint32_t frames = geometry->frame_count;
    switch (setting) {
    case SET_FREE_LOW:
        return reserve(frames);
    case SET_FREE_HIGH:
        return frames / 16 > 2 * reserve(frames) ? 4 * reserve(frames) : 2 * reserve(frames);
    case SET_DIRTY_LOW:
        return frames / 4;
    case SET_DIRTY_HIGH:
        return frames / 3;
    default:
        return 0;
    }
}

const char *tarn_setting_default_words(unsigned setting)
{
    static const char *const words[SET_COUNT] = {
        [SET_FREE_LOW] = "default: 1/64 of the frames, 512 at most",
        [SET_FREE_HIGH] = "default: 1/16 of the frames, 2048 at most",
        [SET_DIRTY_LOW] = "default: 1/4 of the frames",
        [SET_DIRTY_HIGH] = "default: 1/3 of the frames",
        [SET_WRITE_RATE] = "default: no limit",
    };
    return words[setting];
}

bool tarn_setting_is_frames(unsigned setting)
{
    return setting <= SET_DIRTY_HIGH;
}

/* A reserve of more than half of the pool would be no cache. */
uint32_t tarn_setting_max(const struct tarn_geometry *geometry, unsigned setting)
{
    if (!tarn_setting_is_frames(setting))
        return SETTING_VALUE_MAX;
    return setting <= SET_FREE_HIGH ? geometry->frame_count / 2 : geometry->frame_count;
}

static uint32_t value_alone(const struct tarn_geometry *geometry, unsigned setting, uint64_t word)
{
    uint32_t half = setting_of(word, setting % 2), max = tarn_setting_max(geometry, setting);
    if ((half & SETTING_SET) == 0)
        return tarn_setting_default(geometry, setting);
    uint32_t value = half & SETTING_VALUE_MAX;
    return value < max ? value : max;
}

uint32_t tarn_setting_value(const struct tarn_geometry *geometry, unsigned setting, uint64_t word)
{
    uint32_t value = value_alone(geometry, setting, word);
    /* Of the marks, the one beside it in its word is the higher one. */
    if (!tarn_setting_is_frames(setting) || setting % 2 != 0)
        return value;
    uint32_t high = value_alone(geometry, setting + 1, word);
    return value < high ? value : high;
}

bool tarn_setting_word_valid(const struct tarn_geometry *geometry, unsigned index, uint64_t word)
{
    for (unsigned half = 0; half < 2; half++) {
        unsigned setting = 2 * index + half;
        uint32_t bits = setting_of(word, half);
        if (bits == 0)
            continue;
        if (setting >= SET_COUNT || (bits & SETTING_SET) == 0 ||
            (bits & SETTING_VALUE_MAX) != tarn_setting_value(geometry, setting, word))
            return false;
    }
    /* A default may be the one that is out of place. */
    return 2 * index >= SET_COUNT || !tarn_setting_is_frames(2 * index) ||
           value_alone(geometry, 2 * index, word) <= value_alone(geometry, 2 * index + 1, word);
}

uint32_t tarn_setting(const struct tarn_view *view, unsigned setting)
{
    return tarn_setting_value(&view->geometry, setting,
                              tarn_load_relaxed(&view->control->setting[setting / 2]));
}

void tarn_settings_read(const struct tarn_view *view, uint32_t ret_values[SET_COUNT])
{
    for (unsigned setting = 0; setting < SET_COUNT; setting += 2) {
        uint64_t word = tarn_load_relaxed(&view->control->setting[setting / 2]);
        for (unsigned i = setting; i < setting + 2 && i < SET_COUNT; i++)
            ret_values[i] = tarn_setting_value(&view->geometry, i, word);
    }
}
