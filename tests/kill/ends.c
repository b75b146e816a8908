/* SPDX-License-Identifier: MIT */
#include "tests/kill/ends.h"

#include <errno.h>

/* All that was committed is there, in a pool that works. */
static void check_pool(struct process *visitor, bool has_file)
{
    struct model model = stage.model;

    stage_must_do(visitor, operation_leave, "leave");
    stage_writer();
    struct process *member = stage_process();
    if (has_file)
        member->actor.file = 0;
    stage_must_do(member, operation_enter, "enter");
    stage_must_do(member, stage_reap, "reap");
    oracle_segment();
    if (!has_file)
        return;
    oracle_pages(&model, NULL, 0);
    for (unsigned i = 0; i < 2; i++)
        stage_work(member, stage_draw_operation(), (unsigned)stage_draw(OPERATION_PAGES), &model);
    oracle_segment();
}

/* One who comes finds a pool that works, or is told what to do about it: destroy it again, or build
 * the segment of the closed pool, or that there is none. */
void ends_come_after(const struct operation *operation)
{
    struct process *visitor = stage_process();
    bool begins = (operation->flags & OPERATION_BEGINS_POOL) != 0;
    int result = process_do(visitor, operation_attach);

    if (result == -ESHUTDOWN) {
        stage_must_do(visitor, operation->run, "again");
        result = -ENOENT;
    }
    if (result == -ENOENT && world_node(WORLD_DIRECTORY "/options") == NULL && begins) {
        stage_must_do(visitor, operation->run, "again");
        result = process_do(visitor, operation_attach);
    } else if (result == -ENOENT && world_node(WORLD_DIRECTORY "/options") != NULL) {
        stage_must_do(visitor, operation_build, "build");
        result = process_do(visitor, operation_attach);
    }
    if (result == 0) {
        check_pool(visitor, !begins);
    } else if (result != -ENOENT || begins) {
        stage_must(visitor, result, "attach afterwards");
    } else {
        struct model model = stage.model;
        oracle_pages(&model, NULL, 0);
    }
}

/* Everybody is killed, and with them what is not on disk, but for the segment. */
void ends_clear_stage(const struct operation *operation)
{
    struct process *const all[] = {stage.writer, stage.survivor, stage.third, stage.other};

    if (operation->flags & OPERATION_BEGINS_POOL) {
        world_begin(stage.random);
        return;
    }
    for (unsigned i = 0; i < sizeof all / sizeof all[0]; i++)
        process_kill(all[i], false);
}

uint64_t ends_sweep(const struct operation *operation, bool (*takes)(uint64_t k))
{
    static struct world_saved *at_point;
    uint64_t random = stage.random;

    ends_clear_stage(operation);
    struct process *victim = stage_process();
    stage_set_up(victim, 0);
    process_call(victim, operation->run);
    for (;;) {
        enum process_state state = process_resume(victim, 1);

        if (state == PROCESS_IDLE)
            break;
        if (state == PROCESS_WAITS) {
            process_let_wait(victim);
        } else if (takes(victim->points)) {
            stage.random = random + victim->points;
            at_point = world_save(at_point);
            process_kill(victim, false);
            ends_come_after(operation);
            world_restore(at_point);
        }
    }
    stage_must(victim, victim->result, operation->name);
    uint64_t points = victim->points;
    stage.random = random;
    ends_come_after(operation);
    world_restore(stage.base);
    return points;
}
