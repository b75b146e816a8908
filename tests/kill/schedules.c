/* SPDX-License-Identifier: MIT */
/* The scheduler's two tests. All scenarios, with thousands of schedules each, find nothing; and
 * with --planted, each of the planted bugs is found within ten seeds, so that it means something
 * that they find nothing.
 *
 * What has been found is printed as a schedule, which --replay (with --bug NAME) runs again.
 */
#include <getopt.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "shm/planted.h"
#include "tests/kill/schedule.h"

enum {
    SEEDS = 10,
    DRAWS = 500,          /* schedules of one scenario */
    DRAWS_OF_SEED = 1000, /* the same with a planted bug */
    DRAWN = 20,           /* scenarios */
    CHILD_SECONDS = 120,  /* of a processor: more is a loop without an end */
    TEXT_BYTES = 1024,
};

static const char *const bug_names[PLANTED_COUNT] = {"none",
#define X(name, text) #name,
                                                     TARN_PLANTED_BUGS(X)
#undef X
};

/* The scenario that shows a bug with the least. */
static const struct {
    unsigned bug;
    const char *scenario;
} catches[] = {
    {PLANTED_GENERATION_NOT_STEPPED, "evict_load"},
    {PLANTED_VERSION_NOT_STEPPED, "optimistic"},
    {PLANTED_OWNER_STORED_AFTER_CAS, "change_cold"},
    {PLANTED_WAKER_CLEARS_SLEEP_FLAG, "flush_stopped"},
    {PLANTED_MORE_LOST_BY_ENTRY, "home_full"},
    {PLANTED_CLAIM_ANNOUNCED_AFTER_CAS, "load_kill"},
    {PLANTED_CLAIM_ENDED_BEFORE_VALID, "load_kill"},
    {PLANTED_CLEAN_DECIDED_BEFORE_SCAN, "change_evict"},
    {PLANTED_STICKY_CLEARED_BY_EVICTOR, "share_evict"},
    {PLANTED_HIT_WITHOUT_SECOND_LOOK, "pin_evict"},
    {PLANTED_HOLD_AFTER_RESCUE, "rescue_evict"},
    {PLANTED_MARK_NOT_RAISED, "holds"},
    {PLANTED_HOME_NOT_LOCKED, "load_load"},
    {PLANTED_HOME_ANNOUNCED_AFTER_LOCK, "load_kill"},
    {PLANTED_TIDIED_WITHOUT_LOCK, "home_tidy"},
    {PLANTED_PAGE_ID_AFTER_ENTRY, "load_load"},
    {PLANTED_PAGE_COUNT_NOT_ASKED_AGAIN, "truncate"},
    {PLANTED_ENTRY_AFTER_READ, "load_change"},
    {PLANTED_VALID_BEFORE_READ, "load_load"},
    {PLANTED_JOINER_DOES_NOT_LOOK_AGAIN, "load_join"},
    {PLANTED_STICKY_NOT_SET, "share_change"},
    {PLANTED_SHARED_WITHOUT_SECOND_LOOK, "share_change"},
    {PLANTED_STICKY_CLEARED_BY_FAILED_DRAIN, "share_try"},
    {PLANTED_TOKEN_WITHOUT_GENERATION, "optimistic_move"},
    {PLANTED_TAKEN_WITHOUT_SECOND_LOOK, "change_evict"},
    {PLANTED_ANNOUNCED_AFTER_LATCH, "change_cold"},
    {PLANTED_SHADOW_NAMED_BEFORE_COPY, "change_change"},
    {PLANTED_RANGE_COUNTED_BEFORE_BYTES, "change_ranges"},
    {PLANTED_RANGES_UNDONE_OLDEST_FIRST, "change_ranges"},
    {PLANTED_RANGES_NOT_RESTORED, "change_ranges"},
    {PLANTED_SHADOWS_GIVEN_BACK_FIRST, "abort_load"},
    {PLANTED_NO_COMMIT_POINT, "change_two"},
    {PLANTED_RELEASED_BEFORE_DIRTY, "change_kill"},
    {PLANTED_HOLD_GIVEN_BEFORE_DIRTY, "change_evict"},
    {PLANTED_NEW_VALID_BEFORE_COMMIT, "new_page"},
    {PLANTED_HOLDS_REAPED_BEFORE_MTR, "reap_reap"},
    {PLANTED_SHADOWS_REAPED_BEFORE_MTR, "reap_reap"},
    {PLANTED_RESTORED_WITHOUT_LATCH, "abort_change"},
    {PLANTED_REAPED_COMMIT_LEFT_CLEAN, "change_kill"},
    {PLANTED_EVICTING_NOT_RESCUED, "evict_kill"},
    {PLANTED_HOME_LOCK_NOT_REAPED, "load_kill"},
    {PLANTED_REQUEST_NOT_WITHDRAWN, "flush_kill"},
    {PLANTED_SLOT_FREE_BEFORE_CLEARED, "close_join"},
    {PLANTED_REAPED_WITHOUT_CLAIM_BYTE, "reap_join"},
    {PLANTED_JOINED_WITHOUT_CLAIM_BYTE, "reap_join"},
    {PLANTED_LIFE_BYTE_GIVEN_BEFORE_CLEARED, "close_join"},
    {PLANTED_SLOW_TAKEN_FOR_DEAD, "change_change"},
    {PLANTED_ANSWERED_WITHOUT_SERIAL, "flush_again"},
    {PLANTED_REQUESTS_LOST_AT_TAKEOVER, "takeover"},
    {PLANTED_FENCE_NOT_WAITED_FOR, "takeover_slow"},
    {PLANTED_TWO_WRITES_IN_FLIGHT, "flush_again"},
    {PLANTED_UNCOMMITTED_BYTES_WRITTEN, "flush_abort"},
    {PLANTED_TORN_COPY_WRITTEN, "flush_abort"},
    {PLANTED_CLEANED_WHATEVER_MARK, "flush_change"},
    {PLANTED_CLEAN_BEFORE_SYNC, "flush_change"},
    {PLANTED_SYNC_TAKES_LATER_WRITES, "flush_two"},
    {PLANTED_DURABLE_NOT_ASKED_FOR, "durable_change"},
    {PLANTED_CALLED_AFTER_WAKE_UP, "set_clean"},
    {PLANTED_CALL_TAKEN_AFTER_LOOK, "set_clean"},
    {PLANTED_CALL_NOT_LOOKED_FOR, "set_clean"},
    {PLANTED_SETTINGS_NOT_LOCKED, "set_set"},
    {PLANTED_SETTING_BEFORE_OPTIONS, "set_set"},
    {PLANTED_SHARE_ANSWERED_FIRST, "share_set"},
    {PLANTED_COUNT_LOWERED_AFTER_SCAN, "truncate_writer"},
    {PLANTED_COUNT_RAISED_BEFORE_SIZE, "extend"},
};

/* What a child found, in memory that it shares with its parent. */
struct outcome {
    bool fine;
    struct exploration exploration;
    char text[TEXT_BYTES];
};

static struct outcome *outcome;
static unsigned tests, failures;
static unsigned draws = DRAWS, drawn = DRAWN, stride;

static void explore(const struct scenario *scenario, unsigned bug, uint64_t seed)
{
    struct exploration *exploration = &outcome->exploration;
    bool drawn_scenario = strncmp(scenario->name, "drawn", 5) == 0;
    char schedule[256];

    schedule_prepare(scenario);
    tarn_planted = bug;
    if (stride != 0)
        outcome->fine = schedule_exhaust(2, stride, exploration);
    else
        outcome->fine = schedule_draw(seed, draws, exploration) &&
                        (drawn_scenario || schedule_sweep(seed, exploration));
    schedule_print(&exploration->found, schedule, sizeof schedule);
    if (!outcome->fine)
        snprintf(outcome->text, sizeof outcome->text, "%s: %s", schedule, script.wrong);
}

/* In a process of its own: a bug may do anything. True: it found nothing. */
static bool explore_in_child(const struct scenario *scenario, unsigned bug, uint64_t seed)
{
    const struct rlimit limit = {CHILD_SECONDS, CHILD_SECONDS};
    int status;

    memset(outcome, 0, sizeof *outcome);
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) {
        if (stride == 0)
            setrlimit(RLIMIT_CPU, &limit);
        explore(scenario, bug, seed);
        _exit(0);
    }
    if (pid < 0 || waitpid(pid, &status, 0) != pid)
        abort();
    if (status != 0) {
        outcome->fine = false;
        snprintf(outcome->text, sizeof outcome->text, "%s: ended with status %#x", scenario->name,
                 (unsigned)status);
    }
    return outcome->fine;
}

static void tell(bool fine, const char *name, const char *words)
{
    failures += !fine;
    printf("%sok %u - %s: %s\n", fine ? "" : "not ", ++tests, name, words);
    fflush(stdout);
}

static uint64_t schedules, kills;

static void explore_one(const struct scenario *scenario, unsigned bug, uint64_t seed)
{
    const struct exploration *exploration = &outcome->exploration;

    if (explore_in_child(scenario, bug, seed))
        snprintf(outcome->text, sizeof outcome->text, "%" PRIu64 " schedules, %" PRIu64 " kills",
                 exploration->schedules, exploration->kills);
    tell(outcome->fine, scenario->name, outcome->text);
    schedules += exploration->schedules;
    kills += exploration->kills;
}

/* Those of the table, or the one that is named; then drawn ones. */
static void explore_all(const char *name, unsigned bug, uint64_t seed)
{
    bool all = name == NULL;

    if (!all && strcmp(name, "drawn") != 0) {
        const struct scenario *scenario = scenario_of(name);

        if (scenario == NULL)
            exit(2);
        explore_one(scenario, bug, seed);
    }
    for (unsigned i = 0; all && i < scenario_count; i++)
        explore_one(&scenarios[i], bug, seed);
    for (unsigned i = 0; (all || strcmp(name, "drawn") == 0) && i < drawn; i++) {
        char text[32];

        snprintf(text, sizeof text, "drawn-%" PRIu64, seed % 1000000 * 1000 + i);
        explore_one(scenario_of(text), bug, seed);
    }
    printf("# %" PRIu64 " schedules, %" PRIu64 " kills\n", schedules, kills);
}

static void catch_bug(unsigned bug, const char *name)
{
    char words[TEXT_BYTES + 64] = "no seed of ten finds it";
    const struct scenario *scenario = scenario_of(name);
    bool caught = false;

    for (uint64_t seed = 1; scenario != NULL && !caught && seed <= SEEDS; seed++)
        if (!explore_in_child(scenario, bug, seed)) {
            caught = true;
            snprintf(words, sizeof words, "seed %u, schedule %u: %s", (unsigned)seed,
                     (unsigned)outcome->exploration.schedules, outcome->text);
        }
    tell(caught, bug_names[bug], words);
}

static void catch_bugs(void)
{
    enum { CATCHES = sizeof catches / sizeof catches[0] };
    bool listed[PLANTED_COUNT] = {true};

    for (unsigned i = 0; i < CATCHES; i++) {
        listed[catches[i].bug] = true;
        catch_bug(catches[i].bug, catches[i].scenario);
    }
    for (unsigned bug = 0; bug < PLANTED_COUNT; bug++)
        if (!listed[bug])
            tell(false, bug_names[bug], "no scenario is meant to find it");
}

static unsigned bug_of(const char *name)
{
    for (unsigned bug = 0; bug < PLANTED_COUNT; bug++)
        if (strcmp(name, bug_names[bug]) == 0)
            return bug;
    fprintf(stderr, "no planted bug is called %s\n", name);
    exit(2);
}

static int replay(const char *text, unsigned bug)
{
    const struct scenario *scenario;
    struct schedule schedule;

    if (!schedule_parse(text, &scenario, &schedule))
        return 2;
    schedule_prepare(scenario);
    tarn_planted = bug;
    bool fine = schedule_run(&schedule);
    puts(fine ? "nothing is wrong" : script.wrong);
    return !fine;
}

static uint64_t choose_seed(void)
{
    const char *given = getenv("TARN_TEST_SEED");
    uint32_t seed = 1;

    if (given == NULL && getrandom(&seed, sizeof seed, 0) != sizeof seed)
        seed = 1;
    return given == NULL ? seed : strtoull(given, NULL, 0);
}

int main(int argc, char **argv)
{
    static const struct option options[] = {
        {"planted", no_argument, NULL, 'p'},       {"replay", required_argument, NULL, 'r'},
        {"bug", required_argument, NULL, 'b'},     {"scenario", required_argument, NULL, 's'},
        {"exhaust", required_argument, NULL, 'e'}, {"draws", required_argument, NULL, 'd'},
        {"drawn", required_argument, NULL, 'n'},   {NULL, 0, NULL, 0}};
    const char *schedule = NULL, *scenario = NULL;
    unsigned bug = PLANTED_NOTHING;
    bool planted = false;

    for (int option; (option = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        planted |= option == 'p';
        if (option == 'r')
            schedule = optarg;
        else if (option == 'b')
            bug = bug_of(optarg);
        else if (option == 's')
            scenario = optarg;
        else if (option == 'e' || option == 'd' || option == 'n')
            *(option == 'e'   ? &stride
              : option == 'd' ? &draws
                              : &drawn) = (unsigned)strtoul(optarg, NULL, 0);
        else if (option != 'p')
            return 2;
    }
    hook_sparse = true;
    if (schedule != NULL)
        return replay(schedule, bug);
    outcome =
        mmap(NULL, sizeof *outcome, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (outcome == MAP_FAILED)
        return 1;
    if (planted) {
        draws = DRAWS_OF_SEED;
        catch_bugs();
    } else {
        uint64_t seed = choose_seed();

        printf("# TARN_TEST_SEED=%" PRIu64 "\n", seed);
        explore_all(scenario, bug, seed);
    }
    printf("1..%u\n", tests);
    return failures != 0;
}
