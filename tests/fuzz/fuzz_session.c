/* SPDX-License-Identifier: MIT */
/* Sessions work in a segment that somebody overwrites, between their calls and inside of them; one
 * of them dies, the other reaps and looks. Each call succeeds, fails or refuses, and ends. */
#include <string.h>

#include "shm/check.h"
#include "tests/fuzz/fuzz.h"

enum { PINS = 8, CALLS_MAX = 100 };

/* One session, and what it has. */
struct user {
    struct tarn_session *session;
    struct tarn_pin pin[PINS];
    unsigned pins;
    struct tarn_optimistic token;
};

static struct world world;

static void noise_now(void *context)
{
    noise_apply(&world.pool[0]->view, context);
    hooks_arm((unsigned)take(context, 1), noise_now, context);
}

static struct tarn_page_id some_page(struct input *input)
{
    uint8_t byte = (uint8_t)take(input, 1);
    if (byte < 192)
        return tarn_page_id(1, byte % (WORLD_PAGES + 2));
    return tarn_page_id((uint32_t)take(input, 2), byte & 15);
}

/* A page that is handed out can be read to its end. */
static void read_all(const void *data)
{
    const volatile uint8_t *byte = data;
    for (unsigned at = 0; at < 4096; at += 64)
        (void)byte[at];
    (void)byte[4095];
}

static void pin(struct user *user, struct input *input)
{
    static const unsigned hints[] = {0, TARN_HINT_KEEP, TARN_HINT_ONCE, TARN_HINT_SEQUENTIAL};
    struct tarn_page_id id = some_page(input);
    if (user->pins == PINS)
        return;
    uint64_t which = take(input, 1);
    /* A ring costs more than all the rest, so few read ahead. */
    unsigned hint = which == 255 ? TARN_HINT_SEQUENTIAL : hints[which % 3];
    if (tarn_pin(user->session, id, hint, &user->pin[user->pins]) == 0)
        read_all(user->pin[user->pins++].data);
}

static void pin_many(struct user *user, struct input *input)
{
    struct tarn_page_id ids[3];
    for (unsigned i = 0; i < 3; i++)
        ids[i] = some_page(input);
    unsigned count = 1 + (take(input, 1) > 250) * 2;
    if (user->pins + count <= PINS &&
        tarn_pin_many(user->session, ids, count, 0, &user->pin[user->pins]) == 0)
        for (unsigned i = 0; i < count; i++)
            read_all(user->pin[user->pins++].data);
}

static void unpin(struct user *user, struct input *input)
{
    if (user->pins == 0)
        return;
    unsigned which = (unsigned)take(input, 1) % user->pins;
    tarn_unlatch_shared(user->session, user->pin[which]);
    tarn_unpin(user->session, user->pin[which]);
    user->pin[which] = user->pin[--user->pins];
}

static void latch(struct user *user, struct input *input)
{
    if (user->pins > 0)
        tarn_latch_shared(user->session, user->pin[take(input, 1) % user->pins],
                          (int32_t)take(input, 1) % 4);
}

static void look(struct user *user, struct input *input)
{
    if (tarn_optimistic_begin(user->session, some_page(input), &user->token) == 0) {
        read_all(user->token.data);
        tarn_optimistic_valid(user->session, &user->token);
    }
}

static void copy(struct user *user, struct input *input)
{
    uint8_t bytes[64];
    tarn_page_copy(user->session, some_page(input), (uint32_t)take(input, 2), sizeof bytes, bytes);
}

static void begin(struct user *user, struct input *input)
{
    tarn_mtr_begin(user->session, 1 + (unsigned)take(input, 1) % 4);
}

static void write_some(struct tarn_writable_page page, uint32_t offset, uint32_t bytes)
{
    memset((uint8_t *)page.data + offset, 0x5a, bytes);
}

static void change(struct user *user, struct input *input)
{
    struct tarn_page_id id = some_page(input);
    struct tarn_locked_page locked;
    struct tarn_writable_page page;
    uint64_t which = take(input, 1);
    int32_t wait_ms = (int32_t)(which >> 4) % 4;
    uint32_t offset = (uint32_t)take(input, 2) % 4096, bytes = 1 + (uint32_t)take(input, 1);
    switch (which & 7) {
    case 0:
        if (tarn_mtr_lock(user->session, id, wait_ms, &locked) == 0)
            read_all(locked.data);
        break;
    case 1:
        if (tarn_mtr_write(user->session, id, wait_ms, &page) == 0)
            write_some(page, 0, 4096);
        break;
    case 2:
        if (tarn_mtr_new(user->session, id, wait_ms, &page) == 0)
            write_some(page, 0, 4096);
        break;
    case 3:
        tarn_mtr_release(user->session, id);
        break;
    case 4:
        if (tarn_mtr_lock_if(user->session, &user->token, wait_ms, &locked) == 0)
            read_all(locked.data);
        break;
    case 5:
        if (tarn_mtr_write_if(user->session, &user->token, wait_ms, &page) == 0)
            write_some(page, 0, 4096);
        break;
    default:
        if (tarn_mtr_write_range(user->session, id, offset, bytes, wait_ms, &page) == 0)
            write_some(page, offset, bytes);
    }
}

static void end(struct user *user, struct input *input)
{
    if (take(input, 1) & 1)
        tarn_mtr_abort(user->session);
    else
        tarn_mtr_commit(user->session, 0);
}

static void ask(struct user *user, struct input *input)
{
    uint64_t which = take(input, 1), count;
    uint32_t file = (uint32_t)take(input, 1);
    uint32_t frame = file % WORLD_FRAMES;
    switch (which % 8) {
    case 0:
        tarn_flush_page(user->session, some_page(input));
        break;
    case 1:
        tarn_flush_file(user->session, file);
        break;
    case 2:
        tarn_file_open(user->session, "data", 0, &file);
        break;
    case 3:
        tarn_file_truncate(user->session, file, 3, 0);
        break;
    case 4:
        tarn_file_page_count(user->session, file, &count);
        break;
    case 5:
        tarn_frames_evict(user->session, 4, 64);
        break;
    case 6:
        tarn_frame_evict(user->session, frame);
        break;
    default:
        tarn_home_tidy(user->session, file % user->session->view.geometry.bucket_count);
    }
}

static void tell_nobody(void *context, const struct tarn_violation *violation)
{
    (void)context, (void)violation;
}

static bool slot_dead(void *context, unsigned slot)
{
    (void)context;
    return world.dead >> slot & 1;
}

static void check(void)
{
    struct tarn_check_options options = {.dead = slot_dead};
    tarn_check_view(&world.pool[1]->view, &options, tell_nobody, NULL);
}

/* The other sessions may die, those that noise has made too. */
static void reap(struct user *users, struct input *input)
{
    uint64_t dying = take(input, 1);
    if ((dying & 1) != 0 && users[0].session != NULL) {
        world_kill(&world, 0, users[0].session);
        users[0] = (struct user){.session = NULL};
    }
    world.dead |= dying & ~UINT64_C(1);
    for (unsigned i = 0; i < 2; i++)
        if (users[i].session != NULL)
            world.dead &= ~(UINT64_C(1) << users[i].session->slot);
    tarn_reap_all(world.pool[1], users[1].session);
}

static void close_user(struct user *users, unsigned who)
{
    if (users[who].session != NULL)
        tarn_session_close(users[who].session);
    users[who] = (struct user){.session = NULL};
    world_free_closed(&world, who);
}

static void step(struct user *users, struct input *input)
{
    typedef void call(struct user * user, struct input * input);
    static call *const calls[] = {pin,   pin,    unpin,  latch,    look, copy,
                                  begin, change, change, pin_many, end,  ask};
    enum { CALLS = sizeof calls / sizeof calls[0] };
    uint64_t byte = take(input, 1);
    unsigned who = byte >> 7, what = (byte & 127) % (CALLS + 6);
    hooks_begin_call();
    if (what < CALLS) {
        if (users[who].session == NULL)
            users[who].session = world_session(&world, who);
        if (users[who].session != NULL)
            calls[what](&users[who], input);
    } else if (what == CALLS) {
        check();
    } else if (what == CALLS + 1) {
        reap(users, input);
    } else if (what == CALLS + 2) {
        close_user(users, who);
    } else if (what == CALLS + 3) {
        hooks_arm(1 + (unsigned)take(input, 1), noise_now, input);
    } else {
        noise_apply(&world.pool[0]->view, input);
    }
}

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc, (void)argv;
    world_make(&world);
    world_attach(&world);
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    struct input input = {data, data + bytes};
    struct user users[2] = {{.session = NULL}, {.session = NULL}};
    world_reset(&world);
    for (unsigned i = 0; i < CALLS_MAX && input.at < input.end; i++)
        step(users, &input);
    hooks_disarm();
    hooks_begin_call();
    close_user(users, 0);
    close_user(users, 1);
    return 0;
}
