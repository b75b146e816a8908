/* SPDX-License-Identifier: MIT */
/* Waiting for others: every wait has an end, asks whether the one it waits for lives, and looks for
 * cycles. */
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <linux/futex.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "lib/internal.h"

#define SPINS         200u
#define STEP_FIRST_NS NS_PER_MS
#define STEP_MAX_NS   (4 * NS_PER_MS)
#define POLL_FIRST_NS (NS_PER_MS / 20)

/* The half of a word that holds state, owner and waiters. */
static uint32_t *low_half(tarn_word *word)
{
    uint32_t *halves = (uint32_t *)(void *)word;
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    return halves + 1;
#else
    return halves;
#endif
}

void tarn_sleep_ns(int64_t ns)
{
    struct timespec time = {.tv_sec = ns / 1000000000, .tv_nsec = ns % 1000000000};
    syscall(SYS_clock_nanosleep, CLOCK_MONOTONIC, 0, &time, NULL);
}

void tarn_wake(tarn_word *word)
{
    syscall(SYS_futex, low_half(word), FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}

static void futex_wait(tarn_word *word, uint64_t seen, uint64_t ns)
{
    struct timespec time = {.tv_sec = (time_t)(ns / 1000000000u),
                            .tv_nsec = (long)(ns % 1000000000u)};
    syscall(SYS_futex, low_half(word), FUTEX_WAIT, (uint32_t)seen, &time, NULL, 0);
}

void tarn_wait_begin(struct tarn_wait *wait, struct tarn_session *session, unsigned what,
                     uint64_t object, int64_t wait_ms)
{
    *wait = (struct tarn_wait){.session = session, .what = what, .object = object};
    wait->begun_ns = tarn_now_ns();
    wait->deadline_ns = wait_ms < 0 ? UINT64_MAX : wait->begun_ns + (uint64_t)wait_ms * NS_PER_MS;
}

static unsigned waits_counter(unsigned what)
{
    static const unsigned counters[WAIT_COUNT] = {
        [WAIT_LOAD] = COUNTER_WAITS_LOAD,       [WAIT_SHARED] = COUNTER_WAITS_LATCH,
        [WAIT_EXCLUSIVE] = COUNTER_WAITS_LATCH, [WAIT_DRAIN] = COUNTER_WAITS_LATCH,
        [WAIT_FRAME] = COUNTER_WAITS_FRAME,     [WAIT_HOME] = COUNTER_WAITS_HOME,
        [WAIT_WRITER] = COUNTER_WAITS_WRITER,
    };
    return counters[what];
}

/* From here on the wait stands in the slot, for people and for those who look for cycles. */
static void publish(struct tarn_wait *wait)
{
    struct tarn_session *session = wait->session;
    tarn_store_relaxed(&session->shared->wait_since_ns, wait->begun_ns);
    tarn_store_release(&session->shared->wait, wait->object << 8 | wait->what); /* pairs: "wait" */
    tarn_counter(session, waits_counter(wait->what), 1);
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &wait->cancel_state);
    wait->published = true;
}

void tarn_wait_end(struct tarn_wait *wait, int latency)
{
    if (wait->published) {
        tarn_store_release(&wait->session->shared->wait, 0);
        pthread_setcancelstate(wait->cancel_state, NULL);
    }
    if (latency >= 0)
        tarn_latency_add(wait->session, (unsigned)latency, tarn_now_ns() - wait->begun_ns);
}

/* A walk along "waits for". `path` marks the slots passed; the sum of what each says of its wait
 * identifies the cycle. */
struct walk {
    const struct tarn_view *view;
    unsigned home; /* the slot that asks */
    uint64_t seen[(TARN_SLOT_MAX + 64) / 64];
};

static uint64_t follow(struct walk *walk, unsigned slot);

static uint64_t follow_owner(struct walk *walk, unsigned owner, uint64_t identity)
{
    if (owner == walk->home)
        return identity;
    if (owner == 0 || owner > walk->view->slot_max || walk->seen[owner / 64] >> owner % 64 & 1)
        return 0;
    uint64_t rest = follow(walk, owner);
    return rest == 0 ? 0 : rest * 31 + identity;
}

/* All who hold the frame shared. */
static uint64_t follow_sharers(struct walk *walk, uint32_t frame, unsigned slot, uint64_t identity)
{
    for (unsigned other = 1; other <= walk->view->slot_max; other++) {
        if (other == slot || !tarn_slot_shares(walk->view, other, frame))
            continue;
        uint64_t cycle = follow_owner(walk, other, identity);
        if (cycle != 0)
            return cycle;
    }
    return 0;
}

/* 0, or the identity of a cycle through the slot that asks. Depth: at most the number of slots.
 * A wait may stand in a slot after it is over, for as long as its session does not run; the frame
 * may be another page's by then, or a shadow of the slot that asks. Who still waits for the word
 * has set the waiters bit in it. */
static uint64_t follow(struct walk *walk, unsigned slot)
{
    const struct tarn_view *view = walk->view;
    const struct tarn_slot *shared = tarn_view_slot(view, slot);
    walk->seen[slot / 64] |= UINT64_C(1) << slot % 64;
    uint64_t wait = tarn_load_acquire(&shared->wait); /* pairs: "wait" */
    uint64_t identity = tarn_load_relaxed(&shared->wait_since_ns) ^ wait << 1;
    uint64_t object = wait >> 8;
    switch (wait & 255) {
    case WAIT_LOAD:
        if (object < view->geometry.frame_count) {
            uint64_t word = tarn_load_acquire(&view->descriptors[object].frame_word);
            if (frame_word_state(word) == FRAME_CLAIMED && (word & FRAME_WAITERS) != 0)
                return follow_owner(walk, frame_word_owner(word), identity | 1);
        }
        return 0;
    case WAIT_SHARED:
        /* It may have the latch already, and not have said so yet. */
        if (object < view->geometry.frame_count && tarn_slot_shares(view, slot, (uint32_t)object))
            return 0;
        __attribute__((fallthrough));
    case WAIT_EXCLUSIVE:
        if (object < view->geometry.frame_count) {
            uint64_t word = tarn_load_acquire(&view->descriptors[object].latch_word);
            if ((word & LATCH_WAITERS) != 0)
                return follow_owner(walk, latch_word_owner(word), identity | 1);
        }
        return 0;
    case WAIT_DRAIN:
        return object < view->geometry.frame_count
                   ? follow_sharers(walk, (uint32_t)object, slot, identity | 1)
                   : 0;
    default:
        return 0;
    }
}

/* What is waited for, in the words of those who do not know frames. */
static void describe(const struct tarn_wait *wait, char *ret_text, size_t bytes)
{
    static const char *const words[WAIT_COUNT] = {
        [WAIT_LOAD] = "the read of",     [WAIT_SHARED] = "a latch on",
        [WAIT_EXCLUSIVE] = "a latch on", [WAIT_DRAIN] = "the readers of",
        [WAIT_FRAME] = "a free frame",   [WAIT_HOME] = "a bucket of the page table",
        [WAIT_WRITER] = "the writer",
    };
    switch (wait->what) {
    case WAIT_LOAD:
    case WAIT_SHARED:
    case WAIT_EXCLUSIVE:
    case WAIT_DRAIN: {
        struct tarn_page_id id = tarn_page_in(wait->session, (uint32_t)wait->object);
        snprintf(ret_text, bytes, "%s page %" PRIu64 " of file %u", words[wait->what],
                 tarn_page_number(id), tarn_page_file(id));
        break;
    }
    default:
        snprintf(ret_text, bytes, "%s", words[wait->what]);
    }
}

/* A cycle counts only if a second walk, a round later, finds the same one: the words that make it
 * are read one after the other. */
static int ask_cycle(struct tarn_wait *wait)
{
    struct walk walk = {.view = &wait->session->view, .home = wait->session->slot};
    uint64_t cycle = follow(&walk, wait->session->slot);
    if (cycle == 0 || cycle != wait->cycle) {
        wait->cycle = cycle;
        return 0;
    }
    char object[64];
    describe(wait, object, sizeof object);
    return tarn_fail(wait->session, -EDEADLK,
                     "session %u waits for %s in a cycle of sessions that wait for each other; give"
                     " up what it holds ('tarn dump %s waits' shows who waits for whom)",
                     wait->session->slot, object, wait->session->pool->name);
}

/* After the first millisecond, and each few after that. */
static int ask(struct tarn_wait *wait, unsigned owner, uint64_t now)
{
    struct tarn_session *session = wait->session;
    wait->asked_ns = now;
    if (owner == TARN_EVERYBODY)
        tarn_reap_all(session->pool, session);
    else if (PLANTED(SLOW_TAKEN_FOR_DEAD) && owner != TARN_NOBODY)
        tarn_clear_slot(session->pool, owner);
    else if (owner != TARN_NOBODY && owner <= session->view.slot_max && owner != session->slot)
        tarn_reap(session->pool, owner, session);
    int result = tarn_session_check_life(session);
    return result < 0 ? result : ask_cycle(wait);
}

static int time_over(struct tarn_wait *wait, uint64_t now, unsigned owner)
{
    struct tarn_session *session = wait->session;
    char object[64], holder[64] = "";
    describe(wait, object, sizeof object);
    if (owner != TARN_NOBODY && owner <= session->view.slot_max)
        snprintf(holder, sizeof holder, ", held by session %u of process %" PRIu64, owner,
                 tarn_load_relaxed(&tarn_view_slot(&session->view, owner)->pid));
    return tarn_fail(session, -ETIMEDOUT, "session %u waited %" PRIu64 " ms for %s%s",
                     session->slot, (now - wait->begun_ns) / NS_PER_MS, object, holder);
}

int tarn_wait_round(struct tarn_wait *wait, tarn_word *word, uint64_t seen, uint64_t waiters_bit,
                    unsigned owner)
{
    if (wait->deadline_ns == wait->begun_ns)
        return time_over(wait, wait->begun_ns, owner);
    if (wait->spins < SPINS) {
        wait->spins++;
        tarn_relax();
        return 0;
    }
    uint64_t now = tarn_now_ns();
    if (now >= wait->deadline_ns)
        return time_over(wait, now, owner);
    if (!wait->published) {
        publish(wait);
        wait->step_ns = word != NULL ? STEP_FIRST_NS : POLL_FIRST_NS;
    }
    if (now - wait->begun_ns >= NS_PER_MS && now - wait->asked_ns >= NS_PER_MS) {
        int result = ask(wait, owner, now);
        if (result < 0)
            return result;
    }
    uint64_t step =
        wait->step_ns < wait->deadline_ns - now ? wait->step_ns : wait->deadline_ns - now;
    if (word == NULL) {
        tarn_sleep_ns((int64_t)step);
    } else {
        /* Whoever changes the word takes the bit away and wakes. */
        if (waiters_bit != 0 && (seen & waiters_bit) == 0 &&
            !tarn_cas_full(word, seen, seen | waiters_bit))
            return 0;
        futex_wait(word, seen | waiters_bit, step);
    }
    int64_t most = word != NULL ? STEP_MAX_NS : NS_PER_MS;
    wait->step_ns = (int64_t)wait->step_ns * 2 < most ? wait->step_ns * 2 : (uint64_t)most;
    return 0;
}

void tarn_wake_path(const char *segment_path, char *ret_path)
{
    snprintf(ret_path, TARN_PATH_BYTES, "%s.wake", segment_path);
}

void tarn_wake_writer(struct tarn_pool *pool)
{
    if (!order_request_before_sleep(pool->view.control))
        return;
    int cancel_state = tarn_pool_lock(pool);
    if (pool->wake_fd < 0) {
        char path[TARN_PATH_BYTES];
        tarn_wake_path(pool->segment_path, path);
        /* Open for reading too: without a reader a write would raise SIGPIPE. */
        pool->wake_fd = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC | O_NOFOLLOW);
    }
    /* A full FIFO wakes as well; without one the writer looks by itself once a second. */
    if (pool->wake_fd >= 0 && write(pool->wake_fd, "w", 1) < 0 && errno != EAGAIN) {
        close(pool->wake_fd);
        pool->wake_fd = -1;
    }
    tarn_pool_unlock(pool, cancel_state);
}

void tarn_call_cleaner(struct tarn_pool *pool)
{
    if (PLANTED(CALLED_AFTER_WAKE_UP))
        tarn_wake_writer(pool);
    tarn_store_release(&pool->view.control->cleaner_called, 1); /* pairs: "call" */
    if (!PLANTED(CALLED_AFTER_WAKE_UP))
        tarn_wake_writer(pool);
}
