/* SPDX-License-Identifier: MIT */
#include "tests/kill/schedule.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/internal.h"

/* Who waits for something lets the time pass before one that comes later in the order gets the
 * turn: so long that its flush ends. */
#define PATIENCE_NS ((uint64_t)6 * NS_PER_MS)

/* So long the kernel takes to unmap the memory of who was killed early, and to drop its locks. */
#define DYING_NS ((uint64_t)20 * NS_PER_MS)

/* A flush takes less if nobody is dead and the writer is told of it. */
#define FLUSH_NS ((uint64_t)500 * NS_PER_MS)

/* The cleaner counts what is dirty so often, and not by itself. */
#define CLEAN_NS ((uint64_t)20 * NS_PER_MS)

/* More than any of them needs. */
#define STEPS_MAX 200000

/* A sweep of two players: every so many steps a first turn, and all second ones that are near. */
enum { SWEEP_STRIDE = 10, SWEEP_NEAR = 64, SWEEP_END = 600 };

enum { ACTORS = SCENARIO_PLAYERS + 1 };

static const struct scenario *scenario;
static struct world_saved *saved;
static struct script_state saved_script;

static struct {
    struct process *actors[ACTORS]; /* the first that can run runs */
    uint64_t patience_ns[ACTORS];   /* by place in `all` */
    struct process *all[ACTORS];
    unsigned count;
    uint64_t died_ns;
    unsigned lost; /* the turn: those at the end of the order */
    uint64_t steps, kills;
} turns;

void schedule_prepare(const struct scenario *which)
{
    scenario = which;
    script_begin(1, scenario->writers, (scenario->flags & SCENARIO_DURABLE) != 0);
    for (unsigned i = 0; i < SCENARIO_PLAYERS && scenario->run[i] != NULL; i++)
        script_player();
    for (unsigned i = 0; i < script.player_count; i++) {
        struct player *player = &script.players[i];

        if (scenario->set_up[i] != NULL) {
            script_call(player, scenario->set_up[i]);
            process_finish(player->process);
        }
    }
    world_settle();
    for (unsigned i = 0; i < script.player_count; i++)
        if (script.players[i].dies)
            process_kill(script.players[i].process, false);
        else
            script_call(&script.players[i], scenario->run[i]);
    if (scenario->flags & SCENARIO_CLEAN)
        world.now_ns +=
            CLEAN_NS; /* a count of the cleaner's is over: nothing makes it look again */
    if (scenario->flags & SCENARIO_STOPS) {
        script.flush_ns_max = FLUSH_NS;
        world_settle_for(FLUSH_NS); /* the writer looks by itself for a while */
    }
    if (script.wrong[0] != 0)
        world_fail("%s: %s", scenario->name, script.wrong);
    turns.count = 0;
    for (unsigned i = 0; i < script.player_count; i++)
        turns.all[turns.count++] = script.players[i].process;
    if (scenario->flags & SCENARIO_WRITER) {
        turns.all[turns.count++] = script_writer(0);
        script_writer(0)->serves = false;
    }
    if (scenario->flags & SCENARIO_SLOW_DISK)
        world.disk_ns_max = 10 * NS_PER_MS;
    saved = world_save(saved);
    saved_script = script;
}

/* Turns. */

static unsigned place_of(const struct process *process)
{
    unsigned i = 0;

    while (turns.all[i] != process)
        i++;
    return i;
}

static void set_order(unsigned order)
{
    struct process *rest[ACTORS];
    unsigned count = turns.count;

    memcpy(rest, turns.all, sizeof rest);
    for (unsigned i = 0; i < turns.count; i++, count--) {
        unsigned which = order % count;

        order /= count;
        turns.actors[i] = rest[which];
        memmove(rest + which, rest + which + 1, (count - which - 1) * sizeof *rest);
    }
}

static unsigned order_count(void)
{
    unsigned orders = 1;

    for (unsigned i = 2; i <= turns.count; i++)
        orders *= i;
    return orders;
}

static bool is_over(const struct process *process)
{
    return process->state == PROCESS_IDLE || process->state == PROCESS_DYING ||
           process->state == PROCESS_DEAD;
}

static bool all_done(void)
{
    for (unsigned i = 0; i < script.player_count; i++)
        if (!is_over(script.players[i].process))
            return false;
    return true;
}

/* Those who serve and take no turns. */
static bool serve(void)
{
    bool any = false;

    for (unsigned i = 0; i < WORLD_PROCESSES; i++) {
        struct process *process = &world.processes[i];

        if (process->serves && process_can_run(process)) {
            process_resume(process, UINT64_MAX);
            any = true;
        }
    }
    return any;
}

/* Who runs next; NULL: time is to pass first. */
static struct process *whose_turn(void)
{
    for (unsigned i = 0; i < turns.count; i++) {
        struct process *process = turns.actors[i];

        if (is_over(process))
            continue;
        if (process_can_run(process))
            return process;
        bool serves = place_of(process) >= script.player_count;
        if (!serves && i + turns.lost < turns.count && (scenario->flags & SCENARIO_STOPS) != 0)
            return NULL;
        if (!serves && turns.patience_ns[place_of(process)] > 0)
            return NULL;
    }
    return NULL;
}

static void take_apart(void)
{
    for (unsigned i = 0; i < turns.count; i++)
        if (turns.all[i]->state == PROCESS_DYING)
            process_take_apart(turns.all[i]);
}

/* Time brings nothing any more; false: nor can anybody run. */
static bool give_up_patience(void)
{
    bool any = false;

    for (unsigned i = 0; i < turns.count; i++) {
        turns.patience_ns[i] = 0;
        any |= process_can_run(turns.all[i]);
    }
    return any;
}

static void pass_time(void)
{
    uint64_t before_ns = world.now_ns;

    if (before_ns - turns.died_ns >= DYING_NS)
        take_apart();
    if (!world_pass_time()) {
        if (!give_up_patience())
            script_wrong("everybody waits for ever");
        return;
    }
    for (unsigned i = 0; i < turns.count; i++) {
        struct process *process = turns.actors[i];
        uint64_t *patience_ns = &turns.patience_ns[place_of(process)];

        if (process->state != PROCESS_WAITS)
            continue;
        uint64_t passed_ns = world.now_ns - before_ns;
        *patience_ns -= passed_ns < *patience_ns ? passed_ns : *patience_ns;
    }
}

static void take_turn(struct process *process, enum turn turn)
{
    unsigned i = 0;

    while (turns.actors[i] != process)
        i++;
    memmove(turns.actors + i, turns.actors + i + 1, (turns.count - i - 1) * sizeof *turns.actors);
    turns.actors[turns.count - 1] = process;
    turns.lost++;
    bool first = process == turns.all[0];
    if (turn != TURN_LAST && (first || (scenario->flags & SCENARIO_FIRST) == 0)) {
        process_kill(process, turn == TURN_KILL_EARLY);
        turns.died_ns = world.now_ns;
        turns.kills++;
    }
    script_check_always();
}

static void finish(void)
{
    take_apart();
    for (unsigned i = 0; i < 2; i++)
        if (script_writer(i) != NULL && !is_over(script_writer(i)))
            script_writer(i)->serves = true;
    world_settle();
    if (scenario->flags & SCENARIO_CLEAN) {
        world_settle_for(CLEAN_NS);
        script_check_clean();
    }
    if (script.wrong[0] == 0)
        script_check_end();
}

bool schedule_run(const struct schedule *schedule)
{
    unsigned next = 0;

    world_restore(saved);
    script = saved_script;
    world.random += schedule->disk;
    turns.steps = turns.lost = 0;
    set_order(schedule->order);
    for (unsigned i = 0; i < turns.count; i++)
        turns.patience_ns[i] = scenario->flags & SCENARIO_WRITER ? 0 : PATIENCE_NS;
    while (script.wrong[0] == 0 && !all_done()) {
        if (serve())
            continue;
        struct process *process = whose_turn();
        if (process == NULL) {
            pass_time();
            continue;
        }
        uint64_t budget = next < schedule->turn_count ? schedule->turns[next].step - turns.steps
                                                      : STEPS_MAX - turns.steps;
        if (budget == 0 && next == schedule->turn_count) {
            script_wrong("no end after %d steps", STEPS_MAX);
        } else if (budget == 0) {
            take_turn(process, schedule->turns[next++].turn);
        } else {
            uint64_t before = process->points;

            process_resume(process, budget);
            turns.steps += process->points - before;
        }
    }
    if (script.wrong[0] == 0)
        finish();
    return script.wrong[0] == 0;
}

/* Exploring. */

static bool try_schedule(const struct schedule *schedule, struct exploration *exploration)
{
    exploration->schedules++;
    exploration->found = *schedule;
    turns.kills = 0;

    bool fine = schedule_run(schedule);
    exploration->steps += turns.steps;
    exploration->kills += turns.kills;
    return fine;
}

static void add_turn(struct schedule *schedule, uint64_t step, enum turn turn)
{
    unsigned at = schedule->turn_count++;

    for (; at > 0 && schedule->turns[at - 1].step > step; at--)
        schedule->turns[at] = schedule->turns[at - 1];
    schedule->turns[at].step = step;
    schedule->turns[at].turn = turn;
}

/* Anywhere, or near the one before: what goes wrong takes a few steps of the other one. */
static uint64_t draw_step(uint64_t *state, uint64_t before, uint64_t steps_max)
{
    uint64_t near = UINT64_C(1) << world_draw(state, 7);

    return world_draw(state, 2) == 0 ? world_draw(state, steps_max)
                                     : before + 1 + world_draw(state, near);
}

bool schedule_draw(uint64_t seed, unsigned count, struct exploration *exploration)
{
    uint64_t state = seed * 0x9e3779b97f4a7c15u, steps_max = 1;
    unsigned orders = order_count();

    for (unsigned i = 0; i < count; i++) {
        struct schedule schedule = {.order = i < orders ? i : (unsigned)world_draw(&state, orders),
                                    .disk = (unsigned)world_draw(&state, 1000)};
        /* The first ones show how long they are. */
        unsigned changes = i < orders   ? 0
                           : i % 4 == 0 ? 4 + (unsigned)world_draw(&state, SCHEDULE_TURNS - 5)
                                        : 1 + (unsigned)world_draw(&state, 2);
        uint64_t step = world_draw(&state, steps_max);
        for (unsigned j = 0; j < changes; j++, step = draw_step(&state, step, steps_max))
            add_turn(&schedule, step, TURN_LAST);
        if ((scenario->flags & SCENARIO_KILLS) && i >= orders && world_draw(&state, 3) != 0)
            add_turn(&schedule, draw_step(&state, step, steps_max),
                     i % 2 == 0 ? TURN_KILL : TURN_KILL_EARLY);
        if (!try_schedule(&schedule, exploration))
            return false;
        if (i < orders && turns.steps > steps_max)
            steps_max = turns.steps;
    }
    return true;
}

/* All with one more turn than this one has, from its last one on. */
static bool exhaust(struct schedule schedule, unsigned preemptions, bool kill, unsigned stride,
                    struct exploration *exploration)
{
    if (!try_schedule(&schedule, exploration))
        return false;
    uint64_t end = turns.steps;
    unsigned at = schedule.turn_count;
    uint64_t step = at == 0 ? 0 : schedule.turns[at - 1].step + 1;

    schedule.turn_count++;
    for (; step < end; step += stride) {
        schedule.turns[at].step = step;
        schedule.turns[at].turn = TURN_LAST;
        if (preemptions > 0 && !exhaust(schedule, preemptions - 1, kill, stride, exploration))
            return false;
        schedule.turns[at].turn = step % 2 == 0 ? TURN_KILL : TURN_KILL_EARLY;
        if (kill && !exhaust(schedule, preemptions, false, stride, exploration))
            return false;
    }
    return true;
}

bool schedule_exhaust(unsigned preemptions, unsigned stride, struct exploration *exploration)
{
    bool kill = (scenario->flags & SCENARIO_KILLS) != 0;

    for (unsigned order = 0; order < order_count(); order++)
        if (!exhaust((struct schedule){.order = order}, preemptions, kill, stride, exploration))
            return false;
    return true;
}

bool schedule_sweep(uint64_t seed, struct exploration *exploration)
{
    unsigned stride = SWEEP_STRIDE * order_count() / 2;

    for (unsigned order = 0; order < order_count(); order++) {
        struct schedule schedule = {.order = order, .disk = (unsigned)seed};

        if (!try_schedule(&schedule, exploration))
            return false;
        uint64_t end = turns.steps < SWEEP_END ? turns.steps : SWEEP_END;
        schedule.turn_count = 2;
        for (uint64_t first = seed % stride; first < end; first += stride)
            for (uint64_t second = first + 1; second <= first + SWEEP_NEAR; second++) {
                schedule.turns[0].step = first;
                schedule.turns[1].step = second;
                if (!try_schedule(&schedule, exploration))
                    return false;
            }
    }
    return true;
}

void schedule_print(const struct schedule *schedule, char *ret_text, size_t bytes)
{
    static const char *const marks[] = {"", "k", "K"};
    int at =
        snprintf(ret_text, bytes, "%s:%u:%u:", scenario->name, schedule->order, schedule->disk);

    for (unsigned i = 0; i < schedule->turn_count; i++)
        at += snprintf(ret_text + at, bytes - (size_t)at, "%s%" PRIu64 "%s", i > 0 ? "," : "",
                       schedule->turns[i].step, marks[schedule->turns[i].turn]);
}

bool schedule_parse(const char *text, const struct scenario **ret_scenario,
                    struct schedule *ret_schedule)
{
    char name[64];
    int used = 0;

    *ret_schedule = (struct schedule){.turn_count = 0};
    if (sscanf(text, "%63[^:]:%u:%u:%n", name, &ret_schedule->order, &ret_schedule->disk, &used) !=
            3 ||
        used == 0)
        return false;
    *ret_scenario = scenario_of(name);
    for (text += used; *text != 0 && ret_schedule->turn_count < SCHEDULE_TURNS;) {
        char *end;
        uint64_t step = strtoull(text, &end, 10);
        enum turn turn = *end == 'k' ? TURN_KILL : *end == 'K' ? TURN_KILL_EARLY : TURN_LAST;

        add_turn(ret_schedule, step, turn);
        for (text = end; *text == 'k' || *text == 'K' || *text == ' ' || *text == ','; text++)
            ;
        if (text == end && *text != 0)
            return false;
    }
    return *ret_scenario != NULL;
}
