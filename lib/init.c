/* SPDX-License-Identifier: MIT */
/* The beginning of a pool; its end is in destroy.c. */
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/directory.h"
#include "lib/internal.h"
#include "lib/policy/policy.h"

/* What was made and goes again if the rest fails. */
struct init {
    struct tarn_directory_options options;
    char directory[TARN_PATH_BYTES];
    int directory_fd, lock_fd;
    bool made_directory, made_files;
    struct tarn_message *message;
};

static int check_options(struct init *init, const char *name,
                         const struct tarn_init_options *options)
{
    static const struct tarn_init_options defaults = {.size = sizeof defaults};
    if (options == NULL)
        options = &defaults;
    if (options->size != sizeof *options)
        return tarn_message_fail(init->message, -EINVAL,
                                 "init: options->size is not sizeof(struct tarn_init_options)");
    struct tarn_directory_options *o = &init->options;
    o->page_bytes = options->page_bytes == 0 ? 4096 : options->page_bytes;
    o->frame_bytes = options->frame_bytes == 0 ? UINT64_C(64) << 20 : options->frame_bytes;
    o->session_count = options->session_count == 0 ? 64 : options->session_count;
    o->file_count = options->file_count == 0 ? TARN_FILE_COUNT_DEFAULT : options->file_count;
    o->mode = options->mode == 0 ? 0600 : options->mode;
    const char *policy = options->policy;
    if (policy == NULL)
        policy = tarn_policy_name(tarn_policy_kind(0));
    if (tarn_policy_kind_named(policy) == NULL)
        return tarn_message_fail(init->message, -EINVAL, "pool %s: there is no policy '%s'", name,
                                 policy);
    snprintf(o->policy, sizeof o->policy, "%s", policy);

    char segment_path[TARN_PATH_BYTES];
    const char *shm = options->shm_directory == NULL ? TARN_SHM_DIRECTORY : options->shm_directory;
    int result = tarn_segment_path(name, shm, segment_path, init->message);
    if (result < 0)
        return result;
    snprintf(o->name, sizeof o->name, "%s", name);
    snprintf(o->shm_directory, sizeof o->shm_directory, "%s", shm);
    if (access(segment_path, F_OK) == 0)
        return tarn_message_fail(init->message, -EEXIST, "pool %s exists already: %s", name,
                                 segment_path);

    struct tarn_geometry plan;
    if (tarn_geometry_plan(o->frame_bytes / o->page_bytes, o->page_bytes, o->session_count,
                           o->file_count, &plan) < 0)
        return tarn_message_fail(init->message, -EINVAL,
                                 "pool %s: %" PRIu64 " bytes in pages of %u, %u sessions, %u files:"
                                 " pages are 4 to 64 KiB, a power of two; 16 to 2^28 - 2 of them;"
                                 " 1 to 1024 sessions; 1 to 65535 files",
                                 name, o->frame_bytes, o->page_bytes, o->session_count,
                                 o->file_count);
    if ((o->mode & 0600) != 0600 || (o->mode & ~0660u) != 0)
        return tarn_message_fail(init->message, -EINVAL,
                                 "pool %s: mode %04o: 0600 or, to let the"
                                 " group in, 0660",
                                 name, o->mode);
    return 0;
}

/* A directory with the mode's access: who may read may search. */
static int make_directory(struct init *init, const char *directory)
{
    char path[TARN_PATH_BYTES];
    if ((directory == NULL ? snprintf(path, sizeof path, "%s.tarn", init->options.name)
                           : snprintf(path, sizeof path, "%s", directory)) >= (int)sizeof path)
        return tarn_message_fail(init->message, -EINVAL, "the path %.80s... is too long", path);
    init->made_directory = mkdir(path, 0700) == 0;
    if (!init->made_directory && errno != EEXIST)
        return tarn_message_fail(init->message, -errno, "making directory %s: %s", path,
                                 strerror(errno));
    snprintf(init->directory, sizeof init->directory, "%s", path);
    unsigned mode = init->options.mode;
    if (init->made_directory && chmod(path, mode | (mode & 0440) >> 2) != 0)
        return tarn_message_fail(init->message, -errno, "mode of directory %s: %s", path,
                                 strerror(errno));
    char *absolute = realpath(path, NULL);
    if (absolute == NULL || strlen(absolute) >= sizeof init->directory) {
        free(absolute);
        return tarn_message_fail(init->message, -EINVAL,
                                 "the path of directory %s is too long, or"
                                 " not to be found",
                                 path);
    }
    snprintf(init->directory, sizeof init->directory, "%s", absolute);
    free(absolute);
    init->directory_fd = open(init->directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (init->directory_fd < 0)
        return tarn_message_fail(init->message, -errno, "directory %s: %s", path, strerror(errno));
    return 0;
}

/* The options come last: they are what makes a directory a pool's. */
static int make_files(struct init *init)
{
    struct tarn_directory_options *options = &init->options;
    init->lock_fd =
        tarn_directory_lock(init->directory_fd, init->directory, options->mode, init->message);
    if (init->lock_fd < 0)
        return init->lock_fd;
    if (faccessat(init->directory_fd, TARN_DIRECTORY_OPTIONS, F_OK, AT_SYMLINK_NOFOLLOW) == 0)
        return tarn_message_fail(init->message, -EEXIST,
                                 "directory %s has a pool already; 'tarn writer %s --dir %s' opens"
                                 " it",
                                 init->directory, options->name, init->directory);
    init->made_files = true;
    if (getrandom(options->uuid, sizeof options->uuid, 0) != sizeof options->uuid)
        return tarn_message_fail(init->message, -EIO, "no random numbers for the pool's uuid");
    struct tarn_file_record *records = calloc((size_t)options->file_count + 1, sizeof *records);
    if (records == NULL)
        return tarn_message_fail(init->message, -ENOMEM, "no memory for the file table");
    int result =
        tarn_directory_write_files(init->directory_fd, records, options->file_count, init->message);
    free(records);
    if (result == 0)
        result = tarn_directory_write_options(init->directory_fd, options, init->message);
    return result;
}

int tarn_init(const char *name, const struct tarn_init_options *options,
              struct tarn_message *ret_message)
{
    struct init init = {.directory_fd = -1, .lock_fd = -1, .message = ret_message};
    int result = check_options(&init, name, options);
    if (result == 0)
        result = make_directory(&init, options == NULL ? NULL : options->directory);
    if (result == 0)
        result = make_files(&init);
    if (result == 0)
        result =
            tarn_segment_build_locked(init.directory_fd, init.directory, NULL, NULL, ret_message);
    if (result < 0 && init.made_files)
        tarn_directory_remove_files(init.directory_fd);
    if (result < 0 && init.made_directory)
        rmdir(init.directory);
    if (init.lock_fd >= 0)
        close(init.lock_fd);
    if (init.directory_fd >= 0)
        close(init.directory_fd);
    return result;
}
