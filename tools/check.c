/* SPDX-License-Identifier: MIT */
#include "shm/check.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "tools/decode.h"
#include "tools/segment.h"
#include "tools/tool.h"

static const char help[] =
    "usage: tarn check NAME|FILE [OPTION...]\n"
    "\n"
    "Looks whether everything holds that must hold in a pool's segment, and names what does not,\n"
    "with place and values. A pool that works is looked at without disturbing it; a FILE (it has\n"
    "a '/' in it) is a copy of a segment, taken while no session was inside a call.\n"
    "\n"
    "  --json           for programs\n"
    "  --shm-dir DIR    where segments are (/dev/shm)\n"
    "  -h, --help       this text\n"
    "\n"
    "Exit status: 0 if all holds; 1 if something does not; 2 if it could not be looked at.\n";

enum { JSON = 256, SHM_DIR };

static const struct option options[] = {
    {"json", no_argument, NULL, JSON},
    {"shm-dir", required_argument, NULL, SHM_DIR},
    {NULL, 0, NULL, 0},
};

/* What a screen takes; the number of all is told. */
#define VIOLATIONS_SHOWN 1000

struct check {
    struct segment segment;
    bool json;
    unsigned shown;
    struct json_object *violations;
};

static const char *rule_when(const struct tarn_rule *rule)
{
    static const char *const words[] = {"always", "soon", "between calls"};
    return words[rule->when];
}

static bool check_dead(void *context, unsigned slot)
{
    struct check *check = context;
    return segment_dead(&check->segment, slot);
}

static bool check_stopped(void *context, unsigned slot)
{
    struct check *check = context;
    return segment_stopped(&check->segment, slot);
}

static void check_pause(void *context)
{
    (void)context;
    tarn_sleep_ns(2 * NS_PER_MS);
}

static struct json_object *values_of(const struct tarn_violation *violation)
{
    struct json_object *values = json_object_new_object();
    for (unsigned i = 0; i < TARN_VIOLATION_VALUES && violation->value[i].name != NULL; i++)
        decode_named(values, violation->value[i].name, violation->value[i].value);
    return values;
}

static void show_violation(void *context, const struct tarn_violation *violation)
{
    struct check *check = context;
    const struct tarn_rule *rule = &tarn_rules[violation->rule];
    struct json_object *values;
    if (check->shown++ >= VIOLATIONS_SHOWN)
        return;
    values = values_of(violation);
    if (check->json) {
        struct json_object *row = json_object_new_object();
        tool_json_text(row, "rule", rule->name);
        tool_json_text(row, "must_hold", rule->text);
        tool_json_text(row, "when", rule_when(rule));
        json_object_object_add(row, "values", values);
        json_object_array_add(check->violations, row);
        return;
    }
    printf("%s: not so: %s:", rule->name, rule->text);
    json_object_object_foreach(values, key, value)
    {
        char text[256];
        decode_print(value, text, sizeof text);
        printf(" %s %s", key, text);
    }
    putchar('\n');
    json_object_put(values);
}

static void show_result(const struct check *check, int violations,
                        const struct tarn_check_counts *counts)
{
    const struct {
        const char *name;
        uint64_t value;
    } members[] = {
        {"frames_free", counts->frames[FRAME_FREE]},
        {"frames_claimed", counts->frames[FRAME_CLAIMED]},
        {"frames_valid", counts->frames[FRAME_VALID]},
        {"frames_evicting", counts->frames[FRAME_EVICTING]},
        {"frames_dirty", counts->dirty},
        {"frames_latched", counts->latched},
        {"holds", counts->holds},
        {"table_entries_live", counts->live_entries},
        {"slots_live", counts->live_slots},
        {"bitmap_wrong", counts->bitmap_wrong},
    };
    if (check->json) {
        struct json_object *object = tool_json_begin();
        tool_json_text(object, "path", check->segment.path);
        tool_json_bool(object, "live", check->segment.live);
        tool_json_count(object, "rules", RULE_COUNT);
        tool_json_count(object, "violation_count", (uint64_t)violations);
        json_object_object_add(object, "violations", check->violations);
        for (size_t i = 0; i < sizeof members / sizeof members[0]; i++)
            tool_json_count(object, members[i].name, members[i].value);
        tool_json_end(object);
        return;
    }
    if (violations > VIOLATIONS_SHOWN)
        printf("... and %d more\n", violations - VIOLATIONS_SHOWN);
    printf("%s: %u rules, %d violation%s; ", check->segment.path, (unsigned)RULE_COUNT, violations,
           violations == 1 ? "" : "s");
    for (size_t i = 0; i < sizeof members / sizeof members[0]; i++)
        printf("%s%s %" PRIu64, i > 0 ? ", " : "", members[i].name, members[i].value);
    putchar('\n');
}

int tool_check(int argc, char **argv)
{
    struct check check = {.json = false};
    struct tarn_check_options how = {check_dead, check_stopped, check_pause, &check};
    struct tarn_check_counts counts;
    const char *shm_directory = NULL;
    int option;
    while ((option = tool_getopt(argc, argv, "", options, help)) != -1) {
        if (option == JSON)
            check.json = true;
        else
            shm_directory = optarg;
    }
    tool_operands(argc, argv, 1, 1);
    int status = segment_open(argv[optind], shm_directory, &check.segment);
    if (status != 0)
        return status;
    if (!check.segment.live)
        how = (struct tarn_check_options){.context = &check};
    check.violations = json_object_new_array();
    tool_busy("checking");
    int violations = tarn_check_view(&check.segment.pool.view, &how, show_violation, &counts);
    tool_busy_end();
    show_result(&check, violations, &counts);
    if (!check.json)
        json_object_put(check.violations);
    segment_close(&check.segment);
    return violations == 0 ? TOOL_GOOD : TOOL_BAD;
}
