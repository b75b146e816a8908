/* SPDX-License-Identifier: MIT */
/* Settings: what can be changed while the pool works. A word that nobody has set is 0, and the
 * value then follows from the size of the pool. Whoever reads one keeps it within its bounds.
 */
#ifndef TARN_SHM_SETTINGS_H
#define TARN_SHM_SETTINGS_H

#include "shm/view.h"

/* By SET_*; NULL beyond. */
const char *tarn_setting_key(unsigned setting);

/* Counts frames, and so may be given as a percentage of them. */
bool tarn_setting_is_frames(unsigned setting);

/* SET_*, or SET_COUNT: there is none of that name. */
unsigned tarn_setting_named(const char *key);

uint32_t tarn_setting_default(const struct tarn_geometry *geometry, unsigned setting);

/* The default in words. */
const char *tarn_setting_default_words(unsigned setting);

/* Values are 0 to this. */
uint32_t tarn_setting_max(const struct tarn_geometry *geometry, unsigned setting);

/* The value of one that a word may hold: set or not, whatever bits. */
uint32_t tarn_setting_value(const struct tarn_geometry *geometry, unsigned setting, uint64_t word);

/* Is the word one that a pool of this size can have? A low mark above its high one is none. */
bool tarn_setting_word_valid(const struct tarn_geometry *geometry, unsigned index, uint64_t word);

/* What one is now. */
uint32_t tarn_setting(const struct tarn_view *view, unsigned setting);

/* What all of them are now. */
void tarn_settings_read(const struct tarn_view *view, uint32_t ret_values[SET_COUNT]);

static inline bool tarn_setting_is_set(const struct tarn_view *view, unsigned setting)
{
    uint64_t word = tarn_load_relaxed(&view->control->setting[setting / 2]);
    return setting_of(word, setting % 2) & SETTING_SET;
}

#endif
