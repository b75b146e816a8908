/* SPDX-License-Identifier: MIT */
#include "tests/kill/reapers.h"

#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/internal.h"

enum { PAGES = 3, PINNED = 4, MISSING = 20 /* from the actor's first page on */ };

static struct tarn_page_id id_of(const struct actor *actor, unsigned i)
{
    return tarn_page_id(actor->file, (actor->page + i) % OPERATION_PAGES);
}

static bool change_pages(struct actor *dead, bool all)
{
    struct tarn_writable_page page;
    bool done = tarn_mtr_begin(dead->session, PAGES) == 0;
    for (unsigned i = 0; done && i < PAGES; i++) {
        if (i + 1 == PAGES && !all) {
            done = tarn_mtr_write_range(dead->session, id_of(dead, i), 64, 64, 0, &page) == 0;
            if (done)
                memset((uint8_t *)page.data + 64, 'x', 64);
        } else {
            done = tarn_mtr_write(dead->session, id_of(dead, i), 0, &page) == 0;
            if (done)
                operation_fill(page.data, tarn_page_number(id_of(dead, i)), dead->sequence);
        }
    }
    return done;
}

/* Takes of everything something, and ends without a word. */
static _Noreturn void die_inside(struct actor *dead, bool committed)
{
    struct tarn_pin pin;
    bool done = operation_enter(dead) == 0 && change_pages(dead, committed);
    struct tarn_session *session = dead->session;
    if (done && committed)
        tarn_store_release(&session->shared->mtr,
                           mtr_word_of(session->mtr_serial, session->mtr_count, MTR_COMMITTED));
    done = done && tarn_pin(session, id_of(dead, PINNED), 0, &pin) == 0 &&
           tarn_latch_shared(session, pin, 0) == 0;
    if (done && tarn_frame_claim(session, &dead->frame, &dead->claim) == 0)
        tarn_fetch_enter(session, id_of(dead, MISSING), dead->frame, 0);
    if (done) {
        tarn_store_relaxed(&session->shared->home_lock, 1);
        done = tarn_cas_full(&session->view.home_locks[0], 0, session->slot);
    }
    _exit(!done);
}

static int prepare(struct actor *actor, bool committed)
{
    struct actor dead = {.pool_name = actor->pool_name,
                         .directory = actor->directory,
                         .file = actor->file,
                         .page = actor->page,
                         .sequence = actor->sequence};
    int status;
    actor->change = (struct change){.state = committed ? CHANGE_COMMITTED : CHANGE_ABORTED,
                                    .page_count = PAGES,
                                    .sequence = actor->sequence};
    for (unsigned i = 0; i < PAGES; i++)
        actor->change.page[i] = tarn_page_number(id_of(actor, i));
    pid_t pid = fork();
    if (pid == 0)
        die_inside(&dead, committed);
    return waitpid(pid, &status, 0) == pid && status == 0 ? 0 : -EIO;
}

static int prepare_active(struct actor *actor)
{
    return prepare(actor, false);
}

static int prepare_committed(struct actor *actor)
{
    return prepare(actor, true);
}

static int reap(struct actor *actor)
{
    return tarn_reap_all(actor->pool, actor->session) == 1 ? 0 : -EIO;
}

/* The writer would be faster, so there is none. */
const struct operation reapers[REAPERS] = {
    {"reap-active", OPERATION_CHANGES | OPERATION_WRITES, prepare_active, reap, operation_rest},
    {"reap-committed", OPERATION_CHANGES | OPERATION_WRITES, prepare_committed, reap,
     operation_rest},
};
