/* SPDX-License-Identifier: MIT */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/hit.h"
#include "lib/internal.h"

int tarn_pool_lock(struct tarn_pool *pool)
{
    int state;
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &state);
    pthread_mutex_lock(&pool->mutex);
    return state;
}

void tarn_pool_unlock(struct tarn_pool *pool, int cancel_state)
{
    pthread_mutex_unlock(&pool->mutex);
    pthread_setcancelstate(cancel_state, NULL);
}

int tarn_session_refuse(struct tarn_session *session)
{
    return tarn_fail(session, session->refusal,
                     session->refusal == -ECHILD
                         ? "session %u was opened before fork: attach anew in the child"
                         : "session %u is closed",
                     session->slot);
}

int tarn_session_refuse_life(struct tarn_session *session)
{
    return tarn_fail(session, -ESHUTDOWN, "pool %s was destroyed while attached; detach",
                     session->pool->name);
}

const char *tarn_session_message(const struct tarn_session *session)
{
    return session->message.text;
}

/* Takes a slot: claim byte, then life byte; whatever stands there then is a dead session's.
 * Takes: the pool's mutex is held. Returns 0, -EAGAIN: somebody has it. */
static int take_slot(struct tarn_pool *pool, unsigned slot)
{
    if (!PLANTED(JOINED_WITHOUT_CLAIM_BYTE) &&
        tarn_lock_byte(pool->ask_fd, TARN_LOCK_CLAIM + slot, F_WRLCK) != 0)
        return -EAGAIN;
    if (tarn_lock_byte(pool->map_fd, TARN_LOCK_LIFE + slot, F_WRLCK) != 0) {
        tarn_lock_byte(pool->ask_fd, TARN_LOCK_CLAIM + slot, F_UNLCK);
        return -EAGAIN;
    }
    struct tarn_slot *shared = tarn_view_slot(&pool->view, slot);
    if (tarn_load_acquire(&shared->state) != SLOT_FREE) /* pairs: "slot free" */
        tarn_clear_slot(pool, slot);
    return 0;
}

/* Says who it is, then LIVE, then gives the claim byte back. */
static void enter_slot(struct tarn_pool *pool, unsigned slot, unsigned role, const char *name)
{
    struct tarn_slot *shared = tarn_view_slot(&pool->view, slot);
    tarn_store_relaxed(&shared->pid, pool->pid);
    tarn_store_relaxed(&shared->start_time, pool->start_time);
    tarn_store_relaxed(&shared->pid_namespace, pool->pid_namespace);
    tarn_store_relaxed(&shared->role, role);
    tarn_store_relaxed(&shared->joined_ns, tarn_now_ns());
    tarn_count(&shared->serial, 1);
    snprintf(shared->name, sizeof shared->name, "%s",
             name != NULL ? name : program_invocation_short_name);
    tarn_store_release(&shared->state, SLOT_LIVE); /* pairs: "slot live" */
    tarn_lock_byte(pool->ask_fd, TARN_LOCK_CLAIM + slot, F_UNLCK);
}

/* One walk over the slots that the role may have. Returns a slot that is taken, or 0; *ret_dying
 * is set if a slot belongs to a process that the kernel has not wholly taken apart. */
static unsigned find_slot(struct tarn_pool *pool, unsigned role, bool *ret_dying)
{
    unsigned asked = pool->view.geometry.session_count;
    unsigned first = role == ROLE_SESSION ? 1 : asked + 1;
    unsigned last = role == ROLE_SESSION ? asked : pool->view.slot_max;
    for (int reap = 0; reap <= 1; reap++)
        for (unsigned slot = first; slot <= last; slot++) {
            const struct tarn_slot *shared = tarn_view_slot(&pool->view, slot);
            bool live = tarn_load_relaxed(&shared->state) != SLOT_FREE;
            if (pool->sessions[slot] != NULL || (live && (!reap || !pool->dead(pool, slot))))
                continue;
            if (take_slot(pool, slot) == 0)
                return slot;
            *ret_dying = true;
        }
    return 0;
}

static struct tarn_session *new_session(struct tarn_pool *pool,
                                        const struct tarn_session_options *options)
{
    struct tarn_session *session = NULL;
    if (posix_memalign((void **)&session, TARN_LINE_BYTES, sizeof *session) != 0)
        return NULL;
    memset(session, 0, sizeof *session);
    session->pool = pool;
    session->view = pool->view;
    session->hold_next = TARN_HOLDS_MAX;
    session->pinned[TARN_HOLDS_MAX] = PINNED_INSIDE;
    session->hits_file = TARN_HITS_NONE;
    session->hits_left = session->hits_from = TARN_SAMPLE_EVERY;
    memset(session->free_claims, 0xff, sizeof session->free_claims);
    int32_t wait_ms = options == NULL ? 0 : options->wait_ms;
    int32_t frame_wait_ms = options == NULL ? 0 : options->frame_wait_ms;
    int32_t writer_wait_ms = options == NULL ? 0 : options->writer_wait_ms;
    session->wait_ms = wait_ms == 0 ? 60000 : wait_ms;
    session->frame_wait_ms = frame_wait_ms == 0 ? 2000 : frame_wait_ms;
    session->writer_wait_ms = writer_wait_ms == 0 ? 5000 : writer_wait_ms;
    const struct tarn_geometry *geometry = &pool->view.geometry;
    session->mtr_possible = geometry->frame_count / 2 < TARN_MTR_ENTRIES_MAX
                                ? geometry->frame_count / 2
                                : TARN_MTR_ENTRIES_MAX;
    unsigned fair = geometry->frame_count / 16 / geometry->session_count;
    session->shadow_keep = fair < 2 ? fair : 2;
    return session;
}

/* What depends on the slot. */
static void place_session(struct tarn_session *session, unsigned slot)
{
    const struct tarn_view *view = &session->view;
    session->slot = slot;
    session->shared = tarn_view_slot(view, slot);
    session->sticky_bit = tarn_sticky_bit(view, slot);
    session->bitmap_hand =
        (uint32_t)((uint64_t)view->geometry.frame_count / 64 * (slot - 1) / view->slot_max);
    session->mtr_serial = mtr_word_serial(tarn_load_relaxed(&session->shared->mtr));
    for (unsigned i = 0; i < TARN_HOLDS_MAX; i++)
        session->hold[i] =
            &tarn_view_hold_line(view, slot, i / HOLD_LINE_HOLDS)->hold[i % HOLD_LINE_HOLDS];
}

/* How long a join waits for the kernel to take dead processes apart, if that is all that is in the
 * way: 340 ms for 4 GiB of small pages. */
#define DYING_WAIT_ROUNDS 100

int tarn_session_open_as(struct tarn_pool *pool, const struct tarn_session_options *options,
                         unsigned role, struct tarn_session **ret_session)
{
    struct tarn_session *session = new_session(pool, options);
    if (session == NULL)
        return tarn_pool_fail(pool, -ENOMEM, "no memory for a session of pool %s", pool->name);

    unsigned slot = 0;
    for (int round = 0; slot == 0 && round < DYING_WAIT_ROUNDS; round++) {
        bool dying = false;
        int cancel_state = tarn_pool_lock(pool);
        slot = find_slot(pool, role, &dying);
        if (slot != 0) {
            place_session(session, slot);
            pool->sessions[slot] = session;
            enter_slot(pool, slot, role, options == NULL ? NULL : options->name);
        }
        tarn_pool_unlock(pool, cancel_state);
        if (slot == 0 && !dying)
            break;
        if (slot == 0)
            tarn_sleep_ns(10 * NS_PER_MS);
    }
    if (slot == 0) {
        tarn_session_free(session);
        return tarn_pool_fail(pool, -EUSERS,
                              "all %u sessions of pool %s are in use ('tarn dump %s sessions' says"
                              " by whom); close some, or init with more --sessions",
                              pool->view.geometry.session_count, pool->name, pool->name);
    }
    /* The writer watches the process from now on. */
    tarn_wake_writer(pool);
    *ret_session = session;
    return 0;
}

int tarn_session_open(struct tarn_pool *pool, const struct tarn_session_options *options,
                      struct tarn_session **ret_session)
{
    int result = tarn_pool_usable(pool);
    if (result == -EBADF)
        return result;
    if (result == -ECHILD)
        return tarn_pool_fail(pool, result, "pool %s was attached before fork: attach anew",
                              pool->name);
    if (ret_session == NULL || (options != NULL && options->size != sizeof *options))
        return tarn_pool_fail(pool, -EINVAL,
                              "session: options->size is not sizeof(struct tarn_session_options)");
    if (options != NULL &&
        (options->wait_ms < -1 || options->frame_wait_ms < -1 || options->writer_wait_ms < -1 ||
         (options->name != NULL && strlen(options->name) >= TARN_SESSION_NAME_BYTES)))
        return tarn_pool_fail(pool, -EINVAL,
                              "session: a wait is below -1, or the name longer than 31 bytes");
    if (tarn_load_relaxed(&pool->view.control->life) != LIFE_OPEN)
        return tarn_pool_fail(pool, -ESHUTDOWN, "pool %s was destroyed while attached; detach",
                              pool->name);
    return tarn_session_open_as(pool, options, ROLE_SESSION, ret_session);
}

void tarn_session_free(struct tarn_session *session)
{
    if (session == NULL)
        return;
    tarn_ahead_free(session);
    free(session);
}

int tarn_session_close(struct tarn_session *session)
{
    if (session == NULL)
        return 0;
    if (session->refusal != 0)
        return tarn_session_refuse(session);
    struct tarn_pool *pool = session->pool;
    /* Reads that were begun end before their frames are given back; they go to private memory. */
    tarn_ahead_free(session);
    tarn_hits_publish(session);
    int cancel_state = tarn_pool_lock(pool);
    if (PLANTED(LIFE_BYTE_GIVEN_BEFORE_CLEARED))
        tarn_lock_byte(pool->map_fd, TARN_LOCK_LIFE + session->slot, F_UNLCK);
    tarn_clear_slot(pool, session->slot);
    pool->sessions[session->slot] = NULL;
    session->hits_file = TARN_HITS_NONE;
    session->refusal = -EBADF;
    session->next = pool->closed;
    pool->closed = session;
    tarn_lock_byte(pool->map_fd, TARN_LOCK_LIFE + session->slot, F_UNLCK);
    tarn_pool_unlock(pool, cancel_state);
    return 0;
}
