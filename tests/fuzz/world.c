/* SPDX-License-Identifier: MIT */
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/writer/writer.h"
#include "tests/fuzz/fuzz.h"

static struct world *made;

static int remove_entry(const char *path, const struct stat *status, int type, struct FTW *ftw)
{
    (void)status, (void)type, (void)ftw;
    return remove(path);
}

static void remove_world(const struct world *world)
{
    char wake_path[TARN_PATH_BYTES];
    tarn_wake_path(world->segment_path, wake_path);
    unlink(wake_path);
    unlink(world->segment_path);
    nftw(world->directory, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
}

/* A process of its own takes the names away when this one has ended, whichever way. */
static void remove_at_end(const struct world *world)
{
    int fds[2];
    char byte;
    if (pipe2(fds, O_CLOEXEC) != 0)
        broken("no pipe");
    pid_t pid = fork();
    if (pid < 0)
        broken("no process");
    if (pid > 0) {
        close(fds[0]);
        return; /* the other end is closed by this process's end */
    }
    setsid();
    dup2(fds[0], STDIN_FILENO);
    close_range(STDOUT_FILENO, ~0u, 0);
    while (read(STDIN_FILENO, &byte, 1) > 0)
        continue;
    remove_world(world);
    _exit(0);
}

static void check(int result, const struct tarn_message *message)
{
    if (result < 0)
        broken("the world cannot be made: %d: %s", result, message->text);
}

/* Writes pages, leaves some dirty: what a writer has not got round to yet. */
static void fill(struct tarn_session *session)
{
    struct tarn_message message = {""};
    uint32_t file;
    check(tarn_file_open(session, "data", TARN_FILE_CREATE | TARN_FILE_BUFFERED, &file), &message);
    check(tarn_file_extend(session, file, WORLD_PAGES), &message);
    for (uint64_t number = 0; number < WORLD_FRAMES / 2; number++) {
        struct tarn_writable_page page;
        if (number == 8)
            check(tarn_flush_all(session), &message);
        check(tarn_mtr_begin(session, 1), &message);
        check(tarn_mtr_write(session, tarn_page_id(file, number), 0, &page), &message);
        memset(page.data, (int)number, 4096);
        check(tarn_mtr_commit(session, 0), &message);
    }
}

static void keep_image(struct world *world, const struct tarn_view *view)
{
    world->image_bytes = view->geometry.segment_bytes;
    if (world->image == NULL)
        world->image = malloc(world->image_bytes);
    memcpy(world->image, view->base, world->image_bytes);
}

void world_directory(struct world *world)
{
    snprintf(world->directory, sizeof world->directory, "/dev/shm/tarn-fuzz-%d", (int)getpid());
    snprintf(world->name, sizeof world->name, "fuzz-%d", (int)getpid());
    snprintf(world->segment_path, sizeof world->segment_path, "/dev/shm/tarn.%s", world->name);
    remove_at_end(world);
    if (mkdir(world->directory, 0700) != 0)
        broken("no directory %s", world->directory);
}

/* The writer runs on a thread only while the pool is made, with the system's own time. */
void world_make(struct world *world)
{
    struct tarn_message message = {""};
    struct tarn_pool *pool;
    struct tarn_session *session;
    world_directory(world);
    made = world;
    const struct tarn_init_options init = {
        .size = sizeof init,
        .directory = world->directory,
        .frame_bytes = (uint64_t)WORLD_FRAMES * 4096,
        .session_count = WORLD_SESSIONS,
        .file_count = WORLD_FILES,
    };
    check(tarn_init(world->name, &init, &message), &message);
    const struct tarn_embedded_options embedded = {.size = sizeof embedded,
                                                   .directory = world->directory};
    check(tarn_open_embedded(&embedded, &pool, &session, &message), &message);
    fill(session);
    tarn_session_close(session);
    /* The end of an embedded pool removes its segment: it is put back as it was. */
    keep_image(world, &pool->view);
    check(tarn_detach(pool), &message);
    int fd = open(world->segment_path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0 || write(fd, world->image, world->image_bytes) != (ssize_t)world->image_bytes)
        broken("the segment cannot be put back");
    close(fd);
}

static bool is_dead(struct tarn_pool *pool, unsigned slot)
{
    (void)pool;
    return made->dead >> slot & 1;
}

void world_attach(struct world *world)
{
    struct tarn_message message = {""};
    hooks_start();
    for (unsigned handle = 0; handle < 2; handle++) {
        check(tarn_attach(world->name, NULL, &world->pool[handle], &message), &message);
        world->pool[handle]->dead = is_dead;
        /* No call has a reason to write the first page. */
        if (mprotect(world->pool[handle]->view.base, TARN_PAGE_BYTES_MIN, PROT_READ) != 0)
            broken("the first page can be written");
    }
    /* Its writer's session is in the image still. */
    world->dead = UINT64_MAX;
    tarn_reap_all(world->pool[0], NULL);
    keep_image(world, &world->pool[0]->view);
}

void world_reset(struct world *world)
{
    world->dead = 0;
    memcpy(world->pool[0]->view.base + TARN_PAGE_BYTES_MIN, world->image + TARN_PAGE_BYTES_MIN,
           world->image_bytes - TARN_PAGE_BYTES_MIN);
}

struct tarn_session *world_session(struct world *world, unsigned handle)
{
    struct tarn_session_options options = {
        .size = sizeof options, .wait_ms = 5, .frame_wait_ms = 3, .writer_wait_ms = 2};
    struct tarn_session *session;
    hooks_begin_call();
    return tarn_session_open(world->pool[handle], &options, &session) == 0 ? session : NULL;
}

void world_free_closed(struct world *world, unsigned handle)
{
    struct tarn_session *session = world->pool[handle]->closed;
    while (session != NULL) {
        struct tarn_session *next = session->next;
        tarn_session_free(session);
        session = next;
    }
    world->pool[handle]->closed = NULL;
}

void world_kill(struct world *world, unsigned handle, struct tarn_session *session)
{
    struct tarn_pool *pool = world->pool[handle];
    pool->sessions[session->slot] = NULL;
    tarn_lock_byte(pool->map_fd, TARN_LOCK_LIFE + session->slot, F_UNLCK);
    world->dead |= UINT64_C(1) << session->slot;
    tarn_session_free(session);
}
