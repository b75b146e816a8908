/* SPDX-License-Identifier: MIT */
/* Power goes while processes change and flush pages: of what no sync has covered the disk keeps
 * what it likes, and what was in flight has arrived or not, sector by sector. Memory is gone, the
 * directory is there; a pool is built over it.
 *
 * What a flush has answered for is there. A page that nobody was writing is whole; of one that
 * somebody was, each sector is as new as what was flushed, and none has what was never committed.
 *
 * Only the data file's bytes are lost like that. That names and sizes come and go with a loss of
 * power as the library expects, this does not show.
 *
 * --cuts N: so many; --seed S: the first one's; --planted NAME: with one of shm/planted.h, which
 * has to be found.
 */
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/internal.h"
#include "tests/kill/memory.h"
#include "tests/kill/stage.h"

enum {
    PLAYERS = 3,
    STEPS = 30,        /* that a player does at most */
    TURNS_MAX = 600,   /* until the power goes */
    POINTS_MAX = 400,  /* in one turn */
    PAGES_AT_ONCE = 3, /* of a mini-transaction */
    UNDO_MAX = 16384,
    FAILURES_MAX = 5,
};

/* What is known of each page: only one player changes it. */
static struct {
    uint64_t begun;     /* the newest change whose commit has been called, */
    uint64_t committed; /* has returned, */
    uint64_t floor;     /* has been flushed */
    bool stable;        /* nobody was writing it when the power went */
} pages[OPERATION_PAGES];

static uint64_t seed, changes;
static unsigned failures, torn, older;
static enum simdisk_cut how;
static struct process *players[PLAYERS];

static void broken(const char *what, unsigned page, unsigned long long a, unsigned long long b)
{
    printf("# %s: page %u: %llu, %llu\n# --seed %" PRIu64 " --cuts 1\n", what, page, a, b, seed);
    if (tarn_planted != 0) {
        puts("ok 1 - power cuts: what is planted is found");
        exit(0);
    }
    if (++failures == FAILURES_MAX)
        exit(1);
}

static uint64_t draw(uint64_t below)
{
    return stage_draw(below);
}

/* Players. */

static struct tarn_page_id id_of(const struct actor *actor, unsigned page)
{
    return tarn_page_id(actor->file, page);
}

static void change(struct actor *actor, unsigned player)
{
    unsigned count = 1 + (unsigned)draw(PAGES_AT_ONCE), page[PAGES_AT_ONCE];
    unsigned first = (unsigned)draw(OPERATION_PAGES / PLAYERS - count + 1);
    unsigned flags = draw(4) == 0 ? TARN_COMMIT_FLUSH : 0;
    uint64_t sequence = ++changes + 1;
    struct tarn_writable_page writable;
    int result = tarn_mtr_begin(actor->session, count);

    for (unsigned i = 0; result >= 0 && i < count; i++) {
        page[i] = (first + i) * PLAYERS + player;
        result = tarn_mtr_write(actor->session, id_of(actor, page[i]), -1, &writable);
        if (result >= 0)
            operation_fill(writable.data, page[i], sequence);
        world_point();
    }
    if (result < 0) {
        tarn_mtr_abort(actor->session);
        return;
    }
    for (unsigned i = 0; i < count; i++)
        pages[page[i]].begun = sequence;
    result = tarn_mtr_commit(actor->session, flags);
    for (unsigned i = 0; result >= 0 && i < count; i++) {
        pages[page[i]].committed = sequence;
        if (flags != 0 && result == 0)
            pages[page[i]].floor = sequence;
    }
}

static void flush(struct actor *actor)
{
    uint64_t committed[OPERATION_PAGES];
    unsigned what = (unsigned)draw(4), page = (unsigned)draw(OPERATION_PAGES);
    int result;

    for (unsigned i = 0; i < OPERATION_PAGES; i++)
        committed[i] = pages[i].committed;
    if (what == 0)
        result = tarn_flush_all(actor->session);
    else if (what == 1)
        result = tarn_flush_file(actor->session, actor->file);
    else
        result = tarn_flush_page(actor->session, id_of(actor, page));
    for (unsigned i = 0; result == 0 && i < OPERATION_PAGES; i++)
        if ((what <= 1 || i == page) && committed[i] > pages[i].floor)
            pages[i].floor = committed[i];
}

static void look(struct actor *actor)
{
    struct tarn_pin pin;

    if (tarn_pin(actor->session, id_of(actor, (unsigned)draw(OPERATION_PAGES)), 0, &pin) == 0)
        tarn_unpin(actor->session, pin);
}

static int play(struct actor *actor)
{
    unsigned player = 0;

    while (&players[player]->actor != actor)
        player++;
    for (unsigned i = 0; i < STEPS; i++) {
        unsigned what = (unsigned)draw(10);
        if (what < 6)
            change(actor, player);
        else if (what < 8)
            flush(actor);
        else
            look(actor);
    }
    return 0;
}

/* A while with everybody at work. */
static void let_work(void)
{
    struct process *all[PLAYERS + 1] = {players[0], players[1], players[2], stage.writer};

    for (unsigned i = 0; i < PLAYERS; i++)
        process_call(players[i], play);
    for (uint64_t turns = draw(TURNS_MAX); turns > 0; turns--) {
        unsigned first = (unsigned)draw(PLAYERS + 1), i = 0;
        while (i <= PLAYERS && !process_can_run(all[(first + i) % (PLAYERS + 1)]))
            i++;
        if (i <= PLAYERS)
            process_resume(all[(first + i) % (PLAYERS + 1)], 1 + draw(POINTS_MAX));
        else if (!world_pass_time())
            return;
    }
}

/* Power. */

static void put_back(void *context, uint64_t inode, uint64_t offset, const void *bytes)
{
    struct node *node = context;

    if (node->inode == inode)
        memcpy((char *)world_node_data(node) + offset, bytes, SIMDISK_SECTOR_BYTES);
}

static void cut_power(struct node *data)
{
    disk_arrives();
    for (unsigned i = 0; i < OPERATION_PAGES; i++)
        pages[i].stable = simdisk_is_durable(
            &world_disk, data->inode, (uint64_t)i * OPERATION_PAGE_BYTES, OPERATION_PAGE_BYTES);
    simdisk_cut(&world_disk, draw(UINT64_MAX), how, put_back, data);
    data->version = next_version();
    for (unsigned i = 0; i < WORLD_PROCESSES; i++)
        if (world.processes[i].state != PROCESS_NONE && world.processes[i].state != PROCESS_DEAD)
            process_kill(&world.processes[i], false);
}

/* Which change a sector is from; 0: from none that may be there. */
static uint64_t sequence_of(unsigned page, unsigned sector, const char *bytes)
{
    static char filled[OPERATION_PAGE_BYTES];

    for (uint64_t sequence = pages[page].begun; sequence >= pages[page].floor; sequence--) {
        operation_fill(filled, page, sequence);
        if (memcmp(bytes, filled + sector * SIMDISK_SECTOR_BYTES, SIMDISK_SECTOR_BYTES) == 0)
            return sequence;
    }
    return 0;
}

static void check_disk(const struct node *data)
{
    for (unsigned page = 0; page < OPERATION_PAGES; page++) {
        const char *bytes = (char *)world_node_data(data) + page * OPERATION_PAGE_BYTES;
        uint64_t first = sequence_of(page, 0, bytes);
        bool whole = true;

        for (unsigned i = 0; i < OPERATION_PAGE_BYTES / SIMDISK_SECTOR_BYTES; i++) {
            uint64_t sequence = sequence_of(page, i, bytes + i * SIMDISK_SECTOR_BYTES);
            if (sequence == 0)
                broken("older than flushed, or never committed", page, pages[page].floor, i);
            whole = whole && sequence == first;
        }
        if (!whole && (pages[page].stable || how != SIMDISK_TEARS))
            broken("torn", page, pages[page].floor, pages[page].begun);
        torn += !whole;
        older += first < pages[page].committed;
    }
}

/* Afterwards. */

static int lose_memory(struct actor *actor)
{
    char path[TARN_PATH_BYTES], wake_path[TARN_PATH_BYTES + 8];

    if (tarn_segment_path(actor->pool_name, NULL, path, NULL) != 0)
        return -1;
    tarn_wake_path(path, wake_path);
    unlink(path);
    unlink(wake_path);
    return 0;
}

/* What a new pool shows is what is on disk. */
static int read_all(struct actor *actor)
{
    const struct node *data = world_node(WORLD_DIRECTORY "/data");

    for (unsigned page = 0; page < OPERATION_PAGES; page++) {
        struct tarn_pin pin;
        int result = tarn_pin(actor->session, id_of(actor, page), 0, &pin);
        if (result < 0)
            return result;
        if (memcmp(pin.data, (char *)world_node_data(data) + page * OPERATION_PAGE_BYTES,
                   OPERATION_PAGE_BYTES) != 0)
            broken("not as on disk", page, 0, 0);
        tarn_unpin(actor->session, pin);
    }
    return 0;
}

static void begin_again(void)
{
    struct process *first = stage_process();

    stage_must_do(first, lose_memory, "lose memory");
    stage_must_do(first, operation_build, "build");
    stage_writer();
    first->actor.file = 0;
    stage_must_do(first, operation_enter, "enter");
    stage_must_do(first, read_all, "read");
    oracle_segment();
}

static void one_cut(void)
{
    struct node *data = world_node(WORLD_DIRECTORY "/data");

    stage.random = seed;
    how = (enum simdisk_cut)draw(SIMDISK_CUT_COUNT);
    world.random = draw(UINT64_MAX);
    world_disk.undo_count = 0;
    changes = 0;
    for (unsigned i = 0; i < OPERATION_PAGES; i++)
        pages[i].begun = pages[i].committed = pages[i].floor = 1;
    players[0] = stage.survivor;
    players[1] = stage.third;
    players[2] = stage.other;
    let_work();
    cut_power(data);
    check_disk(data);
    begin_again();
    world_restore(stage.base);
}

static void plant(const char *name)
{
    static const char *const names[] = {"",
#define X(name, text) #name,
                                        TARN_PLANTED_BUGS(X)
#undef X
    };

    for (unsigned i = 1; i < PLANTED_COUNT; i++)
        if (strcmp(names[i], name) == 0)
            tarn_planted = i;
    if (tarn_planted == 0)
        exit(2);
}

static void count_failure(void)
{
    broken("a rule", 0, 0, 0);
}

static void tell_seed(int number)
{
    world_running = NULL; /* what follows is the harness's */
    printf("# --seed %" PRIu64 " --cuts 1\n", seed);
    signal(number, SIG_DFL);
}

int main(int argc, char **argv)
{
    const char *text = getenv("TARN_TEST_SEED");
    uint64_t cuts = 1000, planted = 0;

    seed = text != NULL ? strtoull(text, NULL, 10) : (uint64_t)getpid() * 100000;
    for (int i = 1; i + 1 < argc; i += 2) {
        if (strcmp(argv[i], "--cuts") == 0)
            cuts = strtoull(argv[i + 1], NULL, 10);
        else if (strcmp(argv[i], "--seed") == 0)
            seed = strtoull(argv[i + 1], NULL, 10);
        else if (strcmp(argv[i], "--planted") == 0)
            planted = (uint64_t)i + 1;
        else
            return fputs("usage: cuts [--cuts N] [--seed S] [--planted NAME]\n", stderr), 2;
    }
    setvbuf(stdout, NULL, _IOLBF, 0);
    signal(SIGABRT, tell_seed);
    oracle_failed = count_failure;
    printf("1..1\n# TARN_TEST_SEED=%" PRIu64 "\n", seed);
    stage_make(0);
    world_disk.undo = calloc(UNDO_MAX, sizeof *world_disk.undo);
    world_disk.undo_max = UNDO_MAX;
    if (planted != 0)
        plant(argv[planted]);
    for (uint64_t i = 0; i < cuts; i++, seed++)
        one_cut();
    bool failed = failures != 0 || tarn_planted != 0;
    printf("%s 1 - power cuts: what %s\n", failed ? "not ok" : "ok",
           tarn_planted != 0 ? "is planted is found" : "was flushed is there");
    printf("# %" PRIu64 " cuts; %u pages torn, %u older than committed\n", cuts, torn, older);
    return failed;
}
