/* SPDX-License-Identifier: MIT */
/* What the players do; script.h says what the letters mean. Pages 0 to 7 and 64 to 71 have the same
 * home in the table. Page 0 is loaded first, so it is in the first frame, and the next page that is
 * loaded after it has been evicted is in that frame too. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "tests/kill/schedule.h"

#define KILLS  SCENARIO_KILLS
#define FIRST  (SCENARIO_KILLS | SCENARIO_FIRST)
#define WRITER SCENARIO_WRITER
#define STOPS  SCENARIO_STOPS
#define SLOW   SCENARIO_SLOW_DISK
#define DSYNC  SCENARIO_DURABLE
#define CLEAN  SCENARIO_CLEAN

const struct scenario scenarios[] = {
    {"pin_evict", 0, 0, {"p0"}, {"p0 h0", "e0 p1"}},
    {"rescue_evict", 0, 0, {"p0"}, {"p0", "e0 e0 p1"}},
    {"holds", 0, 0, {"p0 p1"}, {"h0 h1 h0", "e1 e0"}},
    {"load_load", 0, 0, {0}, {"p0 s0", "p0 s0"}},
    {"load_kill", 0, KILLS, {0}, {"p0", "p1"}},
    {"load_join", 0, 0, {0}, {"p0 e0 p1", "p0"}},
    {"load_change", 1, 0, {0}, {"s0", "w0 f0 e0"}},
    {"evict_kill", 0, KILLS, {"p0"}, {"e0", "p0"}},
    {"evict_load", 0, 0, {"p0"}, {"e0 p1 p0", "p1 p2"}},
    {"home_full", 0, 0, {"p0 p1 p2 p3 p4 p5 p6 p7 p64"}, {"e0 p0 p64", "p64"}},
    {"home_tidy", 0, 0, {"p0 p1 p2 p3 p4 p5 p6 p7"}, {"p64", "T0"}},
    {"share_change", 0, 0, {"p0"}, {"s0 s0", "w0"}},
    {"share_evict", 0, 0, {"p0"}, {"S0", "e0"}},
    {"share_try", 0, 0, {"p0"}, {"S0", "t0"}},
    {"optimistic", 0, 0, {"p0"}, {"o0 c0", "w0 w0"}},
    {"optimistic_move", 0, 0, {"p2 p1 p0"}, {"O0 V0", "e2 e1 e0 w0"}},
    {"change_change", 0, KILLS, {"p0"}, {"w0 w0", "w0"}},
    {"change_kill", 0, KILLS, {"p0"}, {"w0", "s0"}},
    {"change_cold", 0, KILLS, {0}, {"w0", "w0"}},
    {"change_two", 0, KILLS, {0}, {"W0", "s1 s0"}},
    {"change_evict", 0, 0, {"p0"}, {"w0", "e0 p1"}},
    {"change_ranges", 0, KILLS, {"p0"}, {"g0 b0", "s0 o0"}},
    {"abort_load", 0, 0, {"p0"}, {"a0", "p1 p2"}},
    {"abort_change", 0, FIRST, {"p0"}, {"a0", "w0"}},
    {"new_page", 0, KILLS, {0}, {"n0", "s0"}},
    {"new_abort", 0, 0, {0}, {"m0 m0", "s0 l0"}},
    {"reap_change", 0, FIRST, {"p0"}, {"w0", "r s0", "p1 p2"}},
    {"reap_reap", 0, KILLS, {"p0"}, {"W0", "r", "r s1"}},
    {"reap_join", 0, 0, {"h0 D", "C", "Z"}, {"", "J h0", "r"}},
    {"close_join", 0, KILLS, {"h0", "C", "Z"}, {"C", "J h0", ""}},
    {"flush_kill", 1, KILLS, {0}, {"w0 f0", "w1 f1"}},
    {"flush_change", 1, WRITER, {"w0"}, {"f0", "w0 w0"}},
    {"flush_two", 1, SLOW, {"w0 w1"}, {"f0", "f1"}},
    {"flush_abort", 1, WRITER, {"w0"}, {"f0", "a0"}},
    {"flush_again", 1, SLOW, {"w0"}, {"k0 w0 f0", "w0"}},
    {"durable_kill", 1, KILLS | DSYNC, {0}, {"w0 f0", "w1 f1"}},
    {"durable_change", 1, WRITER | DSYNC, {"w0"}, {"f0", "w0 w0"}},
    {"durable_again", 1, SLOW | DSYNC, {"w0"}, {"k0 w0 f0", "w0"}},
    {"flush_stopped", 1, STOPS, {"w0 w1"}, {"f0", "f1"}},
    {"takeover", 2, KILLS | WRITER, {0}, {"w0 f0 w0 f0"}},
    {"takeover_slow", 2, KILLS | WRITER | SLOW, {0}, {"w0 k0 w0 f0"}},
    {"set_clean", 1, WRITER | CLEAN, {"w0 w1"}, {"f2", "G0"}},
    {"set_set", 0, KILLS, {0}, {"G1", "G2"}},
    {"share_set", 2, KILLS | WRITER, {"p0 p1 p2 p3"}, {"z3 z1 p4"}},
    {"truncate", 1, 0, {0}, {"q20", "y16"}},
    {"truncate_writer", 1, WRITER, {0}, {"q20", "y16"}},
    {"extend", 1, WRITER, {"y32"}, {"q35 q33", "x40"}},
};
const unsigned scenario_count = sizeof scenarios / sizeof scenarios[0];

/* Steps that can follow each other in any order, the last one only with a writer. */
static const char steps[] = "pppsssoocwwwWgabnmlteeeTrGff";

static void draw_script(uint64_t *state, unsigned count, bool writer, char *ret_script)
{
    static const unsigned pages[] = {0, 0, 0, 1, 1, 64};
    enum { STEPS = sizeof steps - 1, PAGES = sizeof pages / sizeof pages[0] };

    *ret_script = 0;
    for (unsigned i = 0; i < count; i++) {
        char step = steps[world_draw(state, writer ? STEPS : STEPS - 2)];

        ret_script += sprintf(ret_script, "%c%u ", step, pages[world_draw(state, PAGES)]);
    }
}

static const struct scenario *draw_scenario(uint64_t seed)
{
    static char name[32], set_up[SCENARIO_PLAYERS][64], run[SCENARIO_PLAYERS][64];
    static struct scenario scenario;
    uint64_t state = seed;
    unsigned writers = (unsigned)world_draw(&state, 3);
    bool writer = writers == 2;

    snprintf(name, sizeof name, "drawn-%" PRIu64, seed);
    scenario = (struct scenario){.name = name, .writers = writers};
    scenario.flags = (world_draw(&state, 2) == 0 ? KILLS : 0) | (writer ? WRITER : 0) |
                     (world_draw(&state, 4) == 0 ? SLOW : 0) |
                     (world_draw(&state, 2) == 0 ? DSYNC : 0);
    for (unsigned i = 0; i < 2 + world_draw(&state, 2); i++) {
        draw_script(&state, (unsigned)world_draw(&state, 3), writers > 0, set_up[i]);
        draw_script(&state, 1 + (unsigned)world_draw(&state, 3), writers > 0, run[i]);
        scenario.set_up[i] = set_up[i];
        scenario.run[i] = run[i];
    }
    return &scenario;
}

const struct scenario *scenario_of(const char *name)
{
    uint64_t seed;

    for (unsigned i = 0; i < scenario_count; i++)
        if (strcmp(scenarios[i].name, name) == 0)
            return &scenarios[i];
    return sscanf(name, "drawn-%" SCNu64, &seed) == 1 ? draw_scenario(seed) : NULL;
}
