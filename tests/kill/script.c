/* SPDX-License-Identifier: MIT */
#include "tests/kill/script.h"

#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/directory.h"
#include "lib/io/io.h"
#include "lib/writer/writer.h"
#include "shm/check.h"
#include "shm/settings.h"
#include "shm/table.h"

#define POOL_NAME "schedule"
#define DIRECTORY "/pool"
#define DATA      "data"

enum {
    WORDS = TARN_PAGE_BYTES_MIN / 8,
    RANGE_WORDS = 8, /* at the beginning: what ranges are declared of */
    FILE_ID = 1,
};

struct script_state script;

static struct process *looker; /* checks in the end */
static struct process *writers[2];

void script_wrong(const char *format, ...)
{
    va_list arguments;

    if (script.wrong[0] != 0)
        return;
    va_start(arguments, format);
    vsnprintf(script.wrong, sizeof script.wrong, format, arguments);
    va_end(arguments);
}

static struct tarn_page_id id_of(uint64_t page)
{
    return tarn_page_id(FILE_ID, page);
}

/* Pages: each word says which page it is of, and from which change it is. */

static uint64_t word_of(uint64_t page, uint64_t sequence, unsigned i)
{
    return (page + 1) << 40 | sequence << 16 | i;
}

static void fill_words(uint64_t *words, uint64_t page, uint64_t sequence, unsigned first,
                       unsigned end)
{
    for (unsigned i = first; i < end; i++)
        words[i] = word_of(page, sequence, i);
}

/* False: torn, or another page. */
static bool read_page(const uint64_t *words, uint64_t page, struct page_truth *ret_read)
{
    uint64_t ranges = words[0] >> 16 & 0xffffff, whole = words[WORDS - 1] >> 16 & 0xffffff;

    *ret_read = (struct page_truth){.whole = whole, .ranges = ranges};
    for (unsigned i = 0; i < WORDS; i++)
        if (words[i] != word_of(page, i < RANGE_WORDS ? ranges : whole, i))
            return false;
    return true;
}

static bool same(struct page_truth a, struct page_truth b)
{
    return a.whole == b.whole && a.ranges == b.ranges;
}

static bool is_dead(const struct player *player)
{
    return player->process->state == PROCESS_DYING || player->process->state == PROCESS_DEAD;
}

/* Whoever is dead and had changed the page: what became of that nobody will see there. */
static void forget(uint64_t page)
{
    for (unsigned i = 0; i < script.player_count; i++) {
        struct player *player = &script.players[i];

        for (unsigned j = 0; is_dead(player) && j < player->page_count; j++)
            if (player->page[j] == page)
                player->page[j--] = player->page[--player->page_count];
    }
}

/* A change that has been seen, or has returned, is what all pages of it have from now on. */
static void decide(struct player *player)
{
    player->changing = CHANGING_NOTHING;
    for (unsigned i = 0; i < player->page_count; i++)
        script.truth[player->page[i]] = player->becomes;
    script.committed |= UINT64_C(1) << player->becomes.ranges % 64;
    if (!is_dead(player))
        for (unsigned i = 0; i < player->page_count; i++)
            forget(player->page[i]);
}

/* Somebody has it under way, and may have committed it. */
static struct player *who_commits(uint64_t page, struct page_truth read)
{
    for (unsigned i = 0; i < script.player_count; i++) {
        struct player *player = &script.players[i];

        for (unsigned j = 0; player->changing == COMMITTING && j < player->page_count; j++)
            if (player->page[j] == page && same(player->becomes, read))
                return player;
    }
    return NULL;
}

/* Who is dead and has not committed this page has committed none. */
static void undo(uint64_t page)
{
    for (unsigned i = 0; i < script.player_count; i++) {
        struct player *player = &script.players[i];

        for (unsigned j = 0; is_dead(player) && j < player->page_count; j++)
            if (player->page[j] == page && player->changing == COMMITTING)
                player->changing = CHANGING_NOTHING;
    }
}

/* What was read of a page is what it is now. */
static void judge(const char *how, uint64_t page, const void *data)
{
    struct page_truth read;
    const uint64_t *words = data;

    if (!read_page(words, page, &read)) {
        script_wrong("page %u %s: torn, or another page (words %#llx ... %#llx)", (unsigned)page,
                     how, (unsigned long long)words[0], (unsigned long long)words[WORDS - 1]);
        return;
    }
    if (same(read, script.truth[page])) {
        undo(page);
        return;
    }
    struct player *player = who_commits(page, read);
    if (player != NULL)
        decide(player);
    else
        script_wrong("page %u %s: has change %u, ranges of %u; committed are %u and %u",
                     (unsigned)page, how, (unsigned)read.whole, (unsigned)read.ranges,
                     (unsigned)script.truth[page].whole, (unsigned)script.truth[page].ranges);
}

/* Steps. Each returns 0 or what the library said; what is wrong is noted. */

static int step_pin(struct player *player, struct tarn_session *session, uint64_t page)
{
    return tarn_pin(session, id_of(page), TARN_HINT_NONE, &player->pin);
}

/* Somebody has begun to write it anew. */
static bool may_be_zeros(uint64_t page)
{
    for (unsigned i = 0; i < script.player_count; i++)
        if (script.players[i].fresh && script.players[i].changing != CHANGING_NOTHING &&
            script.players[i].page[0] == page)
            return true;
    return false;
}

/* Without a latch the bytes may be changing; but they are this page's. */
static int step_unpin(struct player *player, struct tarn_session *session, uint64_t page)
{
    const uint64_t *words = player->pin.data;

    for (unsigned i = 0; i < WORDS; i += 64)
        if (words[i] >> 40 != page + 1 && !(words[i] == 0 && may_be_zeros(page)))
            script_wrong("page %u pinned: word %u is %#llx", (unsigned)page, i,
                         (unsigned long long)words[i]);
    return tarn_unpin(session, player->pin);
}

static int step_latch(struct player *player, struct tarn_session *session, uint64_t page)
{
    int result = step_pin(player, session, page);

    if (result == 0)
        result = tarn_latch_shared(session, player->pin, -1);
    if (result == 0)
        judge("latched shared", page, player->pin.data);
    return result;
}

static int step_unlatch(struct player *player, struct tarn_session *session, uint64_t page)
{
    judge("latched shared still", page, player->pin.data);
    int result = tarn_unlatch_shared(session, player->pin);
    return result < 0 ? result : tarn_unpin(session, player->pin);
}

static int step_optimistic(struct player *player, struct tarn_session *session, uint64_t page)
{
    uint64_t copy[WORDS];
    int result = tarn_optimistic_begin(session, id_of(page), &player->optimistic);

    player->read = (struct page_truth){0, 0};
    if (result < 0)
        return result;
    memcpy(copy, player->optimistic.data, sizeof copy / 2);
    world_point();
    memcpy(copy + WORDS / 2, (const uint64_t *)player->optimistic.data + WORDS / 2,
           sizeof copy / 2);
    if (!read_page(copy, page, &player->read))
        player->read.whole = 0;
    return 0;
}

/* What was read may be of the moment at which the call began. */
static int step_valid(struct player *player, struct tarn_session *session, uint64_t page)
{
    struct page_truth before = script.truth[page];
    struct player *player_before = who_commits(page, player->read);

    if (tarn_optimistic_valid(session, &player->optimistic) == 0)
        return 0;
    if (player->read.whole == 0)
        script_wrong("page %u read optimistically: torn, and called valid", (unsigned)page);
    else if (!same(player->read, before) && !same(player->read, script.truth[page]) &&
             player_before == NULL && who_commits(page, player->read) == NULL)
        script_wrong("page %u read optimistically: change %u called valid; committed is %u",
                     (unsigned)page, (unsigned)player->read.ranges, (unsigned)before.ranges);
    return 0;
}

static int step_copy(struct tarn_session *session, uint64_t page)
{
    uint64_t copy[WORDS];
    struct page_truth read, before = script.truth[page];
    int result = tarn_page_copy(session, id_of(page), 0, sizeof copy, copy);

    if (result == 0 && (!read_page(copy, page, &read) || !same(read, before)))
        judge("copied", page, copy);
    return result;
}

static void begin_change(struct player *player, uint64_t page, unsigned page_count)
{
    player->changing = CHANGING;
    player->fresh = false;
    player->page_count = page_count;
    for (unsigned i = 0; i < page_count; i++) {
        player->page[i] = page + i;
        script.touched[page + i] = true;
    }
}

/* The pages are its own: later changes have higher numbers. */
static void number_change(struct player *player)
{
    script.sequence++;
    player->becomes = (struct page_truth){script.sequence, script.sequence};
}

static int end_change(struct player *player, struct tarn_session *session, bool commit)
{
    if (!commit) {
        int result = tarn_mtr_abort(session);

        player->changing = CHANGING_NOTHING;
        return result;
    }
    player->changing = COMMITTING;
    int result = tarn_mtr_commit(session, 0);
    if (result != 1)
        return result < 0 ? result : -EPROTO;
    if (player->changing == COMMITTING)
        decide(player);
    return 0;
}

static int step_write(struct player *player, struct tarn_session *session, uint64_t page,
                      unsigned page_count, bool commit)
{
    int result = tarn_mtr_begin(session, page_count);

    begin_change(player, page, page_count);
    for (unsigned i = 0; result == 0 && i < page_count; i++) {
        struct tarn_writable_page writable;

        result = tarn_mtr_write(session, id_of(page + i), -1, &writable);
        if (result < 0)
            break;
        judge("latched exclusively", page + i, writable.data);
        if (i == 0)
            number_change(player);
        fill_words(writable.data, page + i, player->becomes.whole, 0, WORDS / 2);
        world_point();
        fill_words(writable.data, page + i, player->becomes.whole, WORDS / 2, WORDS);
        world_point();
    }
    return result < 0 ? result : end_change(player, session, commit);
}

/* Two ranges that overlap. */
static int step_ranges(struct player *player, struct tarn_session *session, uint64_t page,
                       bool commit)
{
    static const unsigned ranges[2][2] = {{0, RANGE_WORDS / 2}, {2, RANGE_WORDS}};
    int result = tarn_mtr_begin(session, 1);

    begin_change(player, page, 1);
    for (unsigned i = 0; result == 0 && i < 2; i++) {
        struct tarn_writable_page writable;
        unsigned first = ranges[i][0], end = ranges[i][1];

        result =
            tarn_mtr_write_range(session, id_of(page), first * 8, (end - first) * 8, -1, &writable);
        if (result < 0)
            break;
        if (i == 0) {
            judge("latched exclusively", page, writable.data);
            number_change(player);
        }
        player->becomes.whole = script.truth[page].whole;
        fill_words(writable.data, page, player->becomes.ranges, first, end);
        world_point();
    }
    return result < 0 ? result : end_change(player, session, commit);
}

/* The page is about to be written over, unread: who had it before and lives has committed. */
static void decide_those_before(const struct player *own, uint64_t page)
{
    for (unsigned i = 0; i < script.player_count; i++) {
        struct player *player = &script.players[i];

        for (unsigned j = 0; player->changing == COMMITTING && j < player->page_count; j++)
            if (player != own && !is_dead(player) && player->page[j] == page)
                decide(player);
    }
}

static int step_new(struct player *player, struct tarn_session *session, uint64_t page, bool commit)
{
    struct tarn_writable_page writable;
    int result = tarn_mtr_begin(session, 1);

    begin_change(player, page, 1);
    player->fresh = true;
    if (result == 0)
        result = tarn_mtr_new(session, id_of(page), -1, &writable);
    if (result < 0)
        return result;
    decide_those_before(player, page);
    number_change(player);
    fill_words(writable.data, page, player->becomes.whole, 0, WORDS);
    world_point();
    return end_change(player, session, commit);
}

static int step_lock(struct tarn_session *session, uint64_t page, bool patient)
{
    struct tarn_locked_page locked;
    int result = tarn_mtr_begin(session, 1);

    if (result < 0)
        return result;
    result = tarn_mtr_lock(session, id_of(page), patient ? -1 : 0, &locked);
    if (result == 0) {
        judge("locked", page, locked.data);
        result = tarn_mtr_release(session, id_of(page));
    } else if (result == -ETIMEDOUT && !patient) {
        result = 0;
    }
    int aborted = tarn_mtr_abort(session);
    return result < 0 ? result : aborted;
}

static int step_evict(struct tarn_session *session, uint64_t page)
{
    uint64_t word;
    uint32_t frame = tarn_table_find(&session->view, id_of(page).value, &word);

    if (frame != TARN_NO_FRAME)
        tarn_frame_evict(session, frame);
    return 0;
}

/* On disk, and synced, is what was committed when the flush was asked for, or something newer that
 * has been committed too. */
static void judge_disk(uint64_t page, uint64_t least)
{
    const struct node *node = world_node(DIRECTORY "/" DATA);
    const uint64_t *words = world_node_data(node);
    struct page_truth read;

    words += page * WORDS;
    if (!read_page(words, page, &read))
        script_wrong("page %u flushed: torn on disk", (unsigned)page);
    else if (read.ranges < least)
        script_wrong("page %u flushed: change %u on disk, %u was committed", (unsigned)page,
                     (unsigned)read.ranges, (unsigned)least);
    else if ((script.committed >> read.ranges % 64 & 1) == 0 && who_commits(page, read) == NULL)
        script_wrong("page %u flushed: change %u on disk was never committed", (unsigned)page,
                     (unsigned)read.ranges);
    else if (read.ranges == least && !world_synced(node, page * WORDS * 8))
        script_wrong("page %u flushed: written, not synced", (unsigned)page);
}

static int step_flush(struct tarn_session *session, uint64_t page)
{
    uint64_t least = script.truth[page].ranges, begun_ns = world.now_ns;
    int result = tarn_flush_page(session, id_of(page));

    if (result == 0)
        judge_disk(page, least);
    if (world.now_ns - begun_ns > script.flush_ns_max)
        script_wrong("page %u flushed: it took %u ms", (unsigned)page,
                     (unsigned)((world.now_ns - begun_ns) / NS_PER_MS));
    return result;
}

static int step_flush_at_once(struct tarn_session *session, uint64_t page)
{
    int32_t wait_ms = session->wait_ms;

    session->wait_ms = 0;
    int result = tarn_flush_page(session, id_of(page));
    session->wait_ms = wait_ms;
    return result == -ETIMEDOUT ? 0 : result;
}

static int step_truncate(struct tarn_session *session, uint64_t count)
{
    int result = tarn_file_truncate(session, FILE_ID, count, 100);

    return result == -EBUSY ? 0 : result;
}

static int step_extend(struct tarn_session *session, uint64_t count)
{
    return tarn_file_extend(session, FILE_ID, count);
}

static int step_set(struct player *player, uint64_t which)
{
    static const struct script_set sets[] = {
        {{"dirty_frames_low=0", "dirty_frames_high=0"},
         {SET_DIRTY_LOW, SET_DIRTY_HIGH},
         2,
         SETTING_SET},
        {{"free_frames_low=2"}, {SET_FREE_LOW}, 1, SETTING_SET | 2},
        {{"free_frames_high=6"}, {SET_FREE_HIGH}, 1, SETTING_SET | 6},
    };
    const struct script_set *set = &sets[which % (sizeof sets / sizeof sets[0])];

    player->set = set;
    int result = tarn_pool_set(player->process->actor.pool, set->assignments, set->count);
    for (unsigned i = 0; result == 0 && i < set->count; i++)
        script.settings[set->settings[i]] = set->half;
    player->set = NULL;
    return result;
}

static int step_share(struct player *player, struct tarn_session *session, uint64_t frames)
{
    player->share = (uint32_t)frames;
    int result = tarn_file_set_share(session, FILE_ID, frames);
    if (result == 0)
        script.share = (uint32_t)frames;
    player->share = 0;
    return result;
}

/* A page that may lie beyond the end of the file. */
static int step_at_end(struct player *player, struct tarn_session *session, uint64_t page)
{
    int result = tarn_pin(session, id_of(page), TARN_HINT_NONE, &player->pin);

    return result == -ERANGE && page >= world.view.files[FILE_ID].page_count.value ? 0 : result;
}

static int open_all(struct actor *actor)
{
    struct tarn_session *session;

    while (tarn_session_open(actor->pool, NULL, &session) == 0)
        ;
    return 0;
}

/* Where there is no session to be had, its script is at its end. */
static int step_session(struct player *player, bool open)
{
    struct actor *actor = &player->process->actor;

    if (open) {
        int result = tarn_session_open(actor->pool, NULL, &actor->session);

        if (result == -EUSERS)
            player->script = "";
        return result == -EUSERS ? 0 : result;
    }
    struct tarn_session *session = actor->session;
    actor->session = NULL;
    return tarn_session_close(session);
}

static int do_change(struct player *player, struct tarn_session *session, char step, uint64_t page)
{
    switch (step) {
    case 'w':
    case 'W':
    case 'a':
        return step_write(player, session, page, step == 'W' ? 2 : 1, step != 'a');
    case 'g':
    case 'b':
        return step_ranges(player, session, page, step == 'g');
    case 'n':
    case 'm':
        return step_new(player, session, page, step == 'n');
    default:
        world_fail("step %c?", step);
    }
}

static int do_step(struct player *player, char step, uint64_t page)
{
    struct tarn_session *session = player->process->actor.session;
    int result;

    switch (step) {
    case 'p':
        result = step_pin(player, session, page);
        return result < 0 ? result : step_unpin(player, session, page);
    case 'h':
        return step_pin(player, session, page);
    case 'H':
        return step_unpin(player, session, page);
    case 's':
        result = step_latch(player, session, page);
        return result < 0 ? result : step_unlatch(player, session, page);
    case 'S':
        return step_latch(player, session, page);
    case 'U':
        return step_unlatch(player, session, page);
    case 'o':
        result = step_optimistic(player, session, page);
        return result < 0 ? result : step_valid(player, session, page);
    case 'O':
        return step_optimistic(player, session, page);
    case 'V':
        return step_valid(player, session, page);
    case 'c':
        return step_copy(session, page);
    case 'l':
    case 't':
        return step_lock(session, page, step == 'l');
    case 'e':
        return step_evict(session, page);
    case 'T':
        tarn_home_tidy(session, tarn_home_of(&session->view, id_of(page).value).bucket);
        return 0;
    case 'f':
        return step_flush(session, page);
    case 'k':
        return step_flush_at_once(session, page);
    case 'x':
        return step_extend(session, page);
    case 'y':
        return step_truncate(session, page);
    case 'q':
        return step_at_end(player, session, page);
    case 'C':
    case 'J':
        return step_session(player, step == 'J');
    case 'D':
        player->dies = true;
        return 0;
    case 'Z':
        return open_all(&player->process->actor);
    case 'r':
        tarn_reap_all(session->pool, session);
        return 0;
    case 'G':
        return step_set(player, page);
    case 'z':
        return step_share(player, session, page);
    default:
        return do_change(player, session, step, page);
    }
}

static struct player *player_of(const struct actor *actor)
{
    for (unsigned i = 0; i < script.player_count; i++)
        if (&script.players[i].process->actor == actor)
            return &script.players[i];
    world_fail("not a player");
}

static int play(struct actor *actor)
{
    struct player *player = player_of(actor);

    while (*player->script != 0) {
        char step = *player->script++;
        if (step == ' ')
            continue;
        uint64_t page = 0;
        for (; isdigit((unsigned char)*player->script); player->script++)
            page = page * 10 + (uint64_t)(*player->script - '0');
        if (strchr("qxyCJZDrG", step) == NULL)
            script.touched[page] = true;
        int result = do_step(player, step, page);
        if (result < 0) {
            script_wrong("step %c%u of player %u: %d: %s", step, (unsigned)page,
                         (unsigned)(player - script.players), result,
                         actor->session == NULL ? "" : tarn_session_message(actor->session));
            return result;
        }
    }
    return 0;
}

void script_call(struct player *player, const char *steps)
{
    player->script = steps;
    process_call(player->process, play);
}

/* Setting up. */

static int attach(struct actor *actor)
{
    struct tarn_message message;
    int result = tarn_attach(POOL_NAME, NULL, &actor->pool, &message);

    if (result == 0)
        result = tarn_session_open(actor->pool, NULL, &actor->session);
    if (result < 0)
        world_fail("attach: %d: %s", result, message.text);
    return 0;
}

static int make_pool(struct actor *actor)
{
    struct tarn_init_options options = {.size = sizeof options,
                                        .directory = DIRECTORY,
                                        .frame_bytes = SCRIPT_FRAMES * TARN_PAGE_BYTES_MIN,
                                        .page_bytes = TARN_PAGE_BYTES_MIN,
                                        .session_count = SCRIPT_PLAYERS + 2,
                                        .file_count = 2};
    struct tarn_message message;
    int result = tarn_init(POOL_NAME, &options, &message);

    if (result < 0)
        world_fail("init: %d: %s", result, message.text);
    return attach(actor);
}

static int write_forever(struct actor *actor)
{
    struct tarn_writer_options options = {.backend = TARN_IO_URING,
                                          .depth = 4,
                                          .durable = script.durable ? TARN_WRITER_DURABLE_ALWAYS
                                                                    : TARN_WRITER_DURABLE_NEVER};
    struct tarn_message message;
    int result = tarn_attach(POOL_NAME, NULL, &actor->pool, &message);

    if (result == 0)
        result = tarn_writer_open(actor->pool, &options, &actor->writer);
    if (result == 0)
        result = tarn_writer_run(actor->writer);
    script_wrong("the writer ended: %d", result);
    return result;
}

static int make_file(struct actor *actor)
{
    struct tarn_session *session = actor->session;
    uint32_t file;
    int result = tarn_file_open(session, DATA, TARN_FILE_CREATE, &file);

    if (result == 0)
        result = tarn_file_extend(session, file, SCRIPT_PAGES);
    for (uint64_t page = 0; result == 0 && page < SCRIPT_PAGES; page++) {
        struct tarn_writable_page writable;

        tarn_mtr_begin(session, 1);
        result = tarn_mtr_new(session, id_of(page), -1, &writable);
        if (result < 0)
            break;
        fill_words(writable.data, page, 1, 0, WORDS);
        tarn_mtr_commit(session, 0);
        if (page % 8 == 7)
            result = tarn_flush_all(session);
    }
    if (result < 0 || file != FILE_ID)
        world_fail("file: %d: %s", result, tarn_session_message(session));
    for (uint32_t frame = 0; frame < SCRIPT_FRAMES; frame++)
        tarn_frame_evict(session, frame);
    return 0;
}

struct process *script_writer(unsigned which)
{
    return writers[which];
}

void script_begin(uint64_t seed, unsigned writer_count, bool durable)
{
    world_begin(seed);
    script = (struct script_state){
        .sequence = 1, .committed = 2, .flush_ns_max = UINT64_MAX, .durable = durable};
    for (unsigned page = 0; page < SCRIPT_PAGES; page++)
        script.truth[page] = (struct page_truth){1, 1};
    looker = process_new();
    process_do(looker, make_pool);
    for (unsigned i = 0; i < 2; i++) {
        writers[i] = NULL;
        if (i > 0 && i >= writer_count)
            continue;
        writers[i] = process_new();
        writers[i]->serves = true;
        process_call(writers[i], write_forever);
        world_settle();
        if (i == 0)
            process_do(looker, make_file);
    }
    world_settle();
    if (writer_count == 0)
        process_kill(writers[0], false);
}

struct player *script_player(void)
{
    struct player *player = &script.players[script.player_count++];

    player->process = process_new();
    process_do(player->process, attach);
    return player;
}

/* Checking. */

static void report(void *context, const struct tarn_violation *violation)
{
    char text[SCRIPT_TEXT];
    int at = snprintf(text, sizeof text, "%s: %s:", tarn_rules[violation->rule].name,
                      tarn_rules[violation->rule].text);
    const bool *always = context;

    if (*always && tarn_rules[violation->rule].when != HOLDS_ALWAYS)
        return;
    for (int i = 0; i < TARN_VIOLATION_VALUES && violation->value[i].name != NULL; i++)
        at += snprintf(text + at, sizeof text - (size_t)at, " %s=%#llx", violation->value[i].name,
                       (unsigned long long)violation->value[i].value);
    script_wrong("%s", text);
}

static bool is_slot_dead(void *context, unsigned slot)
{
    (void)context;
    return world_dead(slot);
}

static void check_rules(bool always)
{
    struct tarn_check_options options = {.dead = is_slot_dead, .context = &always};

    tarn_check_view(&world.view, &options, report, NULL);
}

void script_check_always(void)
{
    check_rules(true);
}

static int look(struct actor *actor)
{
    struct tarn_session *session = actor->session;

    tarn_reap_all(actor->pool, session);
    return 0;
}

/* As the pool has the pages, then as the disk has those that are clean. */
static int look_at_pages(struct actor *actor)
{
    struct tarn_session *session = actor->session;
    uint64_t count;
    int result = tarn_file_page_count(session, FILE_ID, &count);

    for (unsigned round = 0; round < 2; round++) {
        for (uint64_t page = 0; page < SCRIPT_PAGES && page < count; page++) {
            struct tarn_pin pin;

            if (!script.touched[page])
                continue;
            result = tarn_pin(session, id_of(page), TARN_HINT_NONE, &pin);
            if (result == 0)
                result = tarn_latch_shared(session, pin, 1000);
            if (result < 0) {
                script_wrong("page %u in the end: %d: %s", (unsigned)page, result,
                             tarn_session_message(session));
                return 0;
            }
            judge(round == 0 ? "in the end" : "read anew", page, pin.data);
            tarn_unlatch_shared(session, pin);
            tarn_unpin(session, pin);
        }
        for (uint32_t frame = 0; frame < SCRIPT_FRAMES; frame++)
            tarn_frame_evict(session, frame);
    }
    return 0;
}

/* What a session that lives takes for its holds is what others see. */
static void check_holds(const struct player *player)
{
    const struct tarn_session *session = player->process->actor.session;

    if (player->process->state != PROCESS_IDLE || session == NULL)
        return;
    for (unsigned i = 0; i < TARN_HOLDS_MAX; i++) {
        uint32_t hold = session->hold[i]->value;
        uint32_t frame_plus_one = (uint32_t)session->pinned[i];

        if (hold_frame_plus_one(hold) != frame_plus_one)
            script_wrong("hold %u of player %u names frame %u, for itself %u", i,
                         (unsigned)(player - script.players), hold_frame_plus_one(hold) - 1,
                         frame_plus_one - 1);
    }
}

/* A page that is clean has what is on disk, and synced. */
static void check_clean_pages(void)
{
    for (uint64_t page = 0; page < SCRIPT_PAGES; page++) {
        uint64_t word;
        uint32_t frame = tarn_table_find(&world.view, id_of(page).value, &word);
        const struct node *node = world_node(DIRECTORY "/" DATA);
        const char *disk = world_node_data(node);

        if (!script.touched[page] || frame == TARN_NO_FRAME ||
            dirty_word_dirty(world.view.descriptors[frame].dirty_word.value))
            continue;
        if (!world_synced(node, page * WORDS * 8))
            script_wrong("page %u is clean and not synced", (unsigned)page);
        if (memcmp(disk + page * WORDS * 8, tarn_view_frame(&world.view, frame), WORDS * 8) != 0)
            script_wrong("page %u is clean and not as on disk", (unsigned)page);
    }
}

/* Who died while it set this may have done it. */
static bool may_be_set(unsigned setting, uint32_t half)
{
    for (unsigned i = 0; i < script.player_count; i++) {
        const struct script_set *set = script.players[i].set;

        for (unsigned j = 0; set != NULL && j < set->count; j++)
            if (set->settings[j] == setting && set->half == half)
                return true;
    }
    return half == script.settings[setting];
}

/* The directory may be ahead of the segment by what somebody did not come to, never behind it. */
static int look_at_settings(struct actor *actor)
{
    struct tarn_directory_options options;
    struct tarn_message message;
    int result = tarn_directory_read_options(actor->pool->directory_fd, &options, &message);

    if (result < 0)
        script_wrong("options in the end: %d: %s", result, message.text);
    for (unsigned i = 0; result == 0 && i < SET_COUNT; i++) {
        uint32_t half = setting_of(world.view.control->setting[i / 2].value, i % 2);

        if (!may_be_set(i, half) || !may_be_set(i, options.setting[i]) ||
            (half != script.settings[i] && options.setting[i] != half))
            script_wrong("%s is %#x, in the directory %#x; set was %#x", tarn_setting_key(i), half,
                         options.setting[i], script.settings[i]);
    }
    return 0;
}

static bool may_be_share(uint32_t frames)
{
    bool may_be = frames == script.share;

    for (unsigned i = 0; i < script.player_count; i++)
        may_be |= script.players[i].share != 0 && frames == script.players[i].share;
    return may_be;
}

/* Here too the directory may be ahead. */
static int look_at_share(struct actor *actor)
{
    uint32_t frames = share_word_limit(world.view.files[FILE_ID].share.value, SCRIPT_FRAMES);
    struct tarn_file_record record;
    struct tarn_message message;
    int result = tarn_directory_find_file(actor->pool->directory_fd, FILE_ID, &record, &message);

    if (result < 0)
        script_wrong("file table in the end: %d: %s", result, message.text);
    else if (!may_be_share(frames) || !may_be_share(record.share) ||
             (frames != script.share && frames != record.share))
        script_wrong("the file's share is %u, in the table %u; set was %u", frames, record.share,
                     script.share);
    return 0;
}

void script_check_clean(void)
{
    for (uint32_t frame = 0; frame < SCRIPT_FRAMES; frame++)
        if (dirty_word_dirty(world.view.descriptors[frame].dirty_word.value))
            script_wrong("frame %u is dirty still, and the cleaner does nothing", frame);
}

void script_check_end(void)
{
    if (world.segment == NULL)
        return;
    process_do(looker, look);
    process_do(looker, look_at_settings);
    process_do(looker, look_at_share);
    check_rules(false);
    check_clean_pages();
    for (unsigned i = 0; i < script.player_count; i++)
        check_holds(&script.players[i]);
    if (script.wrong[0] == 0)
        process_do(looker, look_at_pages);
    if (script.wrong[0] == 0)
        check_rules(false);
}
