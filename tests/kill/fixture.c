/* SPDX-License-Identifier: MIT */
#include "tests/kill/fixture.h"

#include <fcntl.h>
#include <ftw.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/writer/writer.h"

#define WRITER_IDLE_NS (5000 * NS_PER_MS)

struct fixture fixture;

void fixture_fail(const char *format, ...)
{
    va_list list;
    va_start(list, format);
    printf("Bail out! ");
    vprintf(format, list);
    printf("\n");
    va_end(list);
    exit(1);
}

pid_t fixture_fork(void)
{
    fflush(stdout);
    pid_t pid = fork();
    if (pid < 0)
        fixture_fail("fork: %s", strerror(errno));
    if (pid == 0)
        prctl(PR_SET_PDEATHSIG, SIGKILL);
    return pid;
}

struct actor fixture_actor(void)
{
    return (struct actor){.pool_name = fixture.pool_name,
                          .directory = fixture.directory,
                          .file = fixture.self.file,
                          .page = fixture.page,
                          .sequence = ++survivor_sequence};
}

struct tarn_slot *fixture_slot(unsigned slot)
{
    return tarn_view_slot(&fixture.self.pool->view, slot);
}

uint64_t fixture_slots_of(pid_t pid)
{
    uint64_t slots = 0;
    for (unsigned slot = 1; slot <= fixture.self.pool->view.slot_max; slot++)
        if (tarn_load_acquire(&fixture_slot(slot)->state) == SLOT_LIVE &&
            tarn_load_relaxed(&fixture_slot(slot)->pid) == (uint64_t)pid)
            slots |= UINT64_C(1) << slot;
    return slots;
}

/* The writer. */

static struct actor served; /* in the writer's process */

static void stop_serving(int signal)
{
    (void)signal;
    if (served.writer != NULL)
        tarn_writer_stop(served.writer);
}

void fixture_start_writer(void)
{
    served = fixture_actor();
    fixture.writer = fixture_fork();
    if (fixture.writer > 0)
        return;
    signal(SIGTERM, stop_serving);
    _exit(operation_serve(&served) != 0);
}

/* It has nothing to do and nothing of the pool: it is asleep, or about to be. */
static bool writer_idle(void)
{
    uint64_t slots = fixture_slots_of(fixture.writer);
    if (slots == 0 || tarn_load_acquire(&fixture.self.pool->view.control->writer_sleeps) == 0)
        return false;
    const struct tarn_slot *own = fixture_slot((unsigned)__builtin_ctzll(slots));
    bool idle = tarn_load_acquire(&own->home_lock) == 0;
    for (unsigned i = 0; i < TARN_CLAIMS_MAX; i++)
        idle = idle && tarn_half_load_acquire(&own->claim[i]) == 0;
    for (unsigned slot = 1; slot <= fixture.self.pool->view.slot_max; slot++)
        idle = idle && request_word_state(tarn_load_acquire(&fixture_slot(slot)->request.word)) !=
                           REQUEST_ASKED;
    return idle;
}

void fixture_pause_writer(void)
{
    uint64_t begun = tarn_now_ns();
    for (bool stopped = false; fixture.writer != 0 && !stopped;) {
        int status;
        bool late = tarn_now_ns() - begun > WRITER_IDLE_NS;
        if (late || writer_idle()) {
            kill(fixture.writer, SIGSTOP);
            if (waitpid(fixture.writer, &status, WUNTRACED) != fixture.writer ||
                !WIFSTOPPED(status))
                fixture_fail("the writer has ended: status %#x", (unsigned)status);
            stopped = late || writer_idle();
        }
        if (!stopped) {
            fixture_continue_writer();
            tarn_sleep_ns(NS_PER_MS / 5);
        }
    }
}

void fixture_continue_writer(void)
{
    if (fixture.writer != 0)
        kill(fixture.writer, SIGCONT);
}

void fixture_end_writer(void)
{
    int status;
    if (fixture.writer == 0)
        return;
    fixture_continue_writer();
    kill(fixture.writer, SIGTERM);
    if (waitpid(fixture.writer, &status, 0) != fixture.writer || status != 0)
        violated("the writer has ended with status %#x", (unsigned)status);
    fixture.writer = 0;
}

/* The pool. */

/* The handle into whose mapping the segment is copied. */
static void open_copy(void)
{
    char path[TARN_PATH_BYTES + 8];
    struct tarn_message message = {""};
    const struct tarn_pool *pool = fixture.self.pool;
    size_t bytes = pool->view.geometry.segment_bytes;
    snprintf(path, sizeof path, "%s-copy", pool->segment_path);
    int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0 || write(fd, pool->view.base, bytes) != (ssize_t)bytes)
        fixture_fail("%s: %s", path, strerror(errno));
    close(fd);
    int opened = tarn_pool_open(path, fixture.pool_name, &fixture.copy, &message);
    unlink(path);
    fixture.seen = aligned_alloc(TARN_LINE_BYTES, bytes);
    if (opened < 0 || fixture.seen == NULL)
        fixture_fail("%s: %s", path, message.text);
}

/* The last page is latched, the one before it pinned. */
static void take_pins(void)
{
    struct actor *self = &fixture.self;
    int done = 0;
    for (unsigned i = 0; done == 0 && i < 2; i++, self->pin_count++)
        done = tarn_pin(self->session, tarn_page_id(self->file, OPERATION_PAGES - 1 - i), 0,
                        &self->pin[i]);
    if (done == 0)
        done = tarn_latch_shared(self->session, self->pin[0], 0);
    if (done != 0)
        fixture_fail("pins: %s", tarn_session_message(self->session));
}

void fixture_check_pins(void)
{
    const struct actor *self = &fixture.self;
    const struct tarn_view *view = &self->pool->view;
    for (unsigned i = 0; i < self->pin_count; i++) {
        struct tarn_page_id id = tarn_page_id(self->file, OPERATION_PAGES - 1 - i);
        uint64_t word;
        if (tarn_table_find(view, id.value, &word) != self->pin[i].frame ||
            tarn_slot_shares(view, self->session->slot, self->pin[i].frame) != (i == 0))
            violated("the pin of page %" PRIu64 " is gone", tarn_page_number(id));
    }
}

void fixture_set(unsigned flags)
{
    struct actor *self = &fixture.self;
    char path[sizeof fixture.directory + 8];
    *self = (struct actor){.pool_name = fixture.pool_name, .directory = fixture.directory};
    int done = operation_make_pool(self);
    if (done == 0)
        done = operation_attach(self);
    if (done == 0)
        fixture_start_writer();
    if (done == 0)
        done = operation_enter(self);
    if (done != 0)
        fixture_fail("%d: %s", done, self->message);
    snprintf(path, sizeof path, "%s/data", fixture.directory);
    fixture.data_fd = open(path, O_RDONLY | O_CLOEXEC);
    fixture.survivor = (struct survivor){.where = "live", .pool = self->pool, .file = self->file};
    for (uint64_t number = 0; number < OPERATION_PAGES; number++)
        fixture.survivor.sequence[number] = 1;
    open_copy();
    take_pins();
    if (flags & FIXTURE_WITHOUT_WRITER)
        fixture_end_writer();
    if (flags & OPERATION_ENDS_POOL) {
        /* Nobody is attached, as far as others can see. */
        tarn_session_close(self->session);
        tarn_lock_byte(self->pool->lock_fd, 0, F_UNLCK);
        tarn_lock_byte(fixture.copy->lock_fd, 0, F_UNLCK);
    }
}

void fixture_clear(unsigned flags)
{
    struct tarn_message message = {""};
    close(fixture.data_fd);
    fixture_end_writer();
    int done = tarn_detach(fixture.copy);
    if (done == 0)
        done = tarn_detach(fixture.self.pool);
    if (done == 0)
        done = tarn_destroy(fixture.pool_name, NULL, TARN_DESTROY_DATA, &message);
    if (done < 0 && !(done == -ENOENT && (flags & OPERATION_ENDS_POOL) != 0))
        violated("the pool does not end: %d: %s", done, message.text);
    fixture_remove();
    free(fixture.seen);
}

static int remove_entry(const char *path, const struct stat *status, int type, struct FTW *ftw)
{
    (void)status;
    (void)type;
    (void)ftw;
    return remove(path);
}

void fixture_remove(void)
{
    char path[sizeof fixture.pool_name + 32];
    nftw(fixture.directory, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
    snprintf(path, sizeof path, "/dev/shm/tarn.%s", fixture.pool_name);
    unlink(path);
    snprintf(path, sizeof path, "/dev/shm/tarn.%s.wake", fixture.pool_name);
    unlink(path);
}
