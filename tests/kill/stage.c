/* SPDX-License-Identifier: MIT */
#include "tests/kill/stage.h"

#include <stdio.h>

#include "lib/internal.h"

struct stage stage;

uint64_t stage_draw(uint64_t below)
{
    return world_draw(&stage.random, below);
}

struct process *stage_process(void)
{
    struct process *process = process_new();

    process->actor.pool_name = WORLD_POOL;
    process->actor.directory = WORLD_DIRECTORY;
    process->actor.file = 1;
    return process;
}

int stage_must(struct process *process, int result, const char *what)
{
    if (result < 0) {
        printf("# %s: %s\n", what, process->actor.message);
        oracle_broken(what, process->pid, (unsigned long long)-result);
    }
    return result;
}

int stage_must_do(struct process *process, int (*function)(struct actor *actor), const char *what)
{
    return stage_must(process, process_do(process, function), what);
}

struct process *stage_member(void)
{
    struct process *process = stage_process();

    stage_must_do(process, operation_enter, "enter");
    return process;
}

struct process *stage_writer(void)
{
    struct process *process = stage_process();

    process->serves = true;
    process_call(process, operation_serve);
    world_settle();
    return process;
}

int stage_reap(struct actor *actor)
{
    return tarn_reap_all(actor->pool, actor->session);
}

bool stage_is_for_members(const struct operation *operation)
{
    return (operation->flags & (OPERATION_NO_SESSION | OPERATION_NO_POOL | OPERATION_WRITES |
                                OPERATION_OTHER | OPERATION_ENDS_POOL | OPERATION_BEGINS_POOL)) ==
           0;
}

unsigned stage_draw_operation(void)
{
    unsigned which;

    do
        which = (unsigned)stage_draw(operation_count);
    while (!stage_is_for_members(&operations[which]));
    return which;
}

void stage_set_up(struct process *process, unsigned page)
{
    process->actor.page = page;
    process->actor.sequence = ++stage.sequences + 1;
    process->actor.other = process == stage.other ? NULL : &stage.other->actor;
    process->actor.change.state = CHANGE_NONE;
    process->actor.message[0] = 0;
}

void stage_work(struct process *process, unsigned which, unsigned page, struct model *of)
{
    const struct operation *operation = &operations[which];
    struct actor *actors[] = {&process->actor};

    stage_set_up(process, page);
    if (stage_must_do(process, operation->prepare, "prepare") == 0) {
        stage_must_do(process, operation->run, operation->name);
        oracle_acknowledge(of, process, operation);
    }
    stage_must_do(process, operation_rest, "rest");
    stage_must_do(process, operation->finish, "finish");
    oracle_pages(of, actors, 1);
}

void stage_make(uint64_t seed)
{
    stage.random = seed;
    stage.sequences = 0;
    world_begin(seed);
    struct process *first = stage_process();
    stage_must_do(first, operation_make_pool, "make");
    stage.writer = stage_writer();
    first->actor.file = 0;
    stage_must_do(first, operation_enter, "enter");
    stage.survivor = first;
    stage.third = stage_member();
    stage.other = stage_member();
    for (unsigned page = 0; page < OPERATION_PAGES; page++)
        stage.model.sequence[page] = stage.model.durable[page] = 1;
    unsigned count = 10 + (unsigned)stage_draw(50);
    struct process *const members[] = {stage.survivor, stage.third, stage.other};
    for (unsigned i = 0; seed != 0 && i < count; i++)
        stage_work(members[stage_draw(3)], stage_draw_operation(),
                   (unsigned)stage_draw(OPERATION_PAGES), &stage.model);
    oracle_segment();
    stage.base = world_save(stage.base);
}
