/* SPDX-License-Identifier: MIT */
/* Replacement policies: each against a slow model of itself, what holds for all of them, and how
 * many misses the default may have. TARN_TEST_TRACE names a block trace to measure it on. */
#include "lib/policy/policy.h"

#include <stdlib.h>
#include <string.h>

#include "tests/test.h"
#include "tools/simulate.h"
#include "tools/trace.h"
#include "tools/workload.h"

enum {
    FRAMES_MAX = 128,
    PAGES_MAX = 1024, /* of the random streams, numbered from 1 on */
    KINDS_MAX = 7,
};

/* Oldest first. */
struct list {
    uint32_t pages[FRAMES_MAX];
    uint32_t count;
};

/* Every policy once more, as slow and as plain as can be: by page, not by frame, with searches. */
struct model {
    uint32_t frame_count;
    struct list queue[2];
    bool touched[PAGES_MAX];
    uint32_t in_frame[FRAMES_MAX]; /* page; 0: none */
    uint64_t left[2][PAGES_MAX];   /* when it became a ghost; 0: it is none */
    uint64_t lefts[2];             /* ghosts so far */
    uint32_t hand;
    uint64_t swept, epoch, moves;
    uint64_t last[PAGES_MAX], before[PAGES_MAX], moved[PAGES_MAX];
    uint32_t small, credit[PAGES_MAX];
    bool adaptive;
};

static uint32_t list_remove(struct list *list, uint32_t at)
{
    uint32_t page = list->pages[at];
    list->count--;
    memmove(&list->pages[at], &list->pages[at + 1], (list->count - at) * sizeof page);
    return page;
}

static void list_add(struct list *list, uint32_t page)
{
    list->pages[list->count++] = page;
}

static bool look(struct model *model, uint32_t page)
{
    bool touched = model->touched[page];
    model->touched[page] = false;
    return touched;
}

static void ghost_add(struct model *model, unsigned ghost, uint32_t page)
{
    model->left[ghost][page] = ++model->lefts[ghost];
}

/* How many have left since, or UINT64_MAX. It is no ghost any more. */
static uint64_t ghost_take(struct model *model, unsigned ghost, uint32_t page, uint32_t size)
{
    uint64_t left = model->left[ghost][page], age = model->lefts[ghost] - left;
    model->left[ghost][page] = 0;
    return left != 0 && age < size ? age : UINT64_MAX;
}

/* A clock with a hand over frames. */
static uint32_t clock_victim(struct model *model)
{
    for (;;) {
        uint32_t page = model->in_frame[model->hand];
        model->hand = (model->hand + 1) % model->frame_count;
        if (!look(model, page))
            return page;
    }
}

static void nothing_loaded(struct model *model, uint32_t page)
{
    (void)model, (void)page;
}

static uint32_t sieve_victim(struct model *model)
{
    struct list *list = &model->queue[0];
    for (;;) {
        uint32_t page = list->pages[model->hand];
        bool touched = look(model, page);
        if (touched)
            model->hand++;
        else
            list_remove(list, model->hand);
        if (model->hand == list->count)
            model->hand = 0;
        if (!touched)
            return page;
    }
}

static void newest_loaded(struct model *model, uint32_t page)
{
    list_add(&model->queue[0], page);
}

static void two_q_loaded(struct model *model, uint32_t page)
{
    bool again = ghost_take(model, 0, page, model->frame_count / 2) != UINT64_MAX;
    list_add(&model->queue[again], page);
}

static uint32_t two_q_victim(struct model *model)
{
    if (model->queue[0].count > model->frame_count / 4 || model->queue[1].count == 0) {
        uint32_t page = list_remove(&model->queue[0], 0);
        ghost_add(model, 0, page);
        return page;
    }
    for (;;) {
        uint32_t page = list_remove(&model->queue[1], 0);
        if (!look(model, page))
            return page;
        list_add(&model->queue[1], page);
    }
}

static void sweep(struct model *model, void (*touched)(struct model *, uint32_t))
{
    for (unsigned i = 0; i < 8; i++) {
        uint32_t page = model->in_frame[model->swept++ % model->frame_count];
        if (page != 0 && look(model, page))
            touched(model, page);
    }
}

static void lru_touched(struct model *model, uint32_t page)
{
    struct list *list = &model->queue[0];
    for (uint32_t i = 0; i < list->count; i++)
        if (list->pages[i] == page)
            list_remove(list, i);
    list_add(list, page);
}

static void lru_loaded(struct model *model, uint32_t page)
{
    list_add(&model->queue[0], page);
    sweep(model, lru_touched);
}

static uint32_t lru_victim(struct model *model)
{
    for (;;) {
        uint32_t page = list_remove(&model->queue[0], 0);
        if (!look(model, page))
            return page;
        list_add(&model->queue[0], page);
    }
}

static void lru_2_touched(struct model *model, uint32_t page)
{
    if (model->last[page] != model->epoch) {
        model->before[page] = model->last[page];
        model->last[page] = model->epoch;
    }
    model->moved[page] = ++model->moves;
}

/* The place in queue[0] of the page to leave: least `before`, then first moved. Of pages with that
 * `before` alone, if it is not UINT64_MAX. */
static uint32_t lru_2_first(const struct model *model, uint64_t before)
{
    const struct list *list = &model->queue[0];
    uint32_t best = UINT32_MAX;
    for (uint32_t i = 0; i < list->count; i++) {
        uint32_t page = list->pages[i], other = best == UINT32_MAX ? 0 : list->pages[best];
        if (before != UINT64_MAX && model->before[page] != before)
            continue;
        if (best == UINT32_MAX || model->before[page] < model->before[other] ||
            (model->before[page] == model->before[other] &&
             model->moved[page] < model->moved[other]))
            best = i;
    }
    return best;
}

static void lru_2_loaded(struct model *model, uint32_t page)
{
    uint32_t old;
    while (model->epoch <= model->swept / model->frame_count)
        if (++model->epoch > 4096)
            while ((old = lru_2_first(model, model->epoch - 4096)) != UINT32_MAX) {
                model->before[model->queue[0].pages[old]] = 0;
                model->moved[model->queue[0].pages[old]] = ++model->moves;
            }
    bool again = ghost_take(model, 0, page, model->frame_count) != UINT64_MAX &&
                 model->epoch - model->last[page] < 4096;
    model->before[page] = again ? model->last[page] : 0;
    model->last[page] = model->epoch;
    model->moved[page] = ++model->moves;
    list_add(&model->queue[0], page);
    sweep(model, lru_2_touched);
}

static uint32_t lru_2_victim(struct model *model)
{
    for (;;) {
        uint32_t at = lru_2_first(model, UINT64_MAX), page = model->queue[0].pages[at];
        if (!look(model, page)) {
            ghost_add(model, 0, page);
            return list_remove(&model->queue[0], at);
        }
        lru_2_touched(model, page);
    }
}

static void s3_fifo_loaded(struct model *model, uint32_t page)
{
    uint32_t frames = model->frame_count, most = frames - frames / 10, least = frames / 100;
    if (model->adaptive && ghost_take(model, 1, page, frames / 20) != UINT64_MAX)
        model->small = model->small > least + 4 ? model->small - 4 : least;
    uint64_t age = ghost_take(model, 0, page, frames * 9 / 10);
    if (model->adaptive && age < frames / 20)
        model->small = model->small + 4 < most ? model->small + 4 : most;
    model->credit[page] = 0;
    list_add(&model->queue[age != UINT64_MAX], page);
}

static uint32_t s3_fifo_victim(struct model *model)
{
    for (;;) {
        bool main = model->queue[0].count <= model->small && model->queue[1].count > 0;
        uint32_t page = list_remove(&model->queue[main], 0);
        bool touched = look(model, page), stays = touched;
        if (main && touched && model->credit[page] < 3) {
            model->credit[page]++;
        } else if (main && !touched && model->credit[page] > 0 &&
                   model->small <= (model->adaptive ? model->frame_count / 20 : 0)) {
            model->credit[page]--;
            stays = true;
        }
        if (!stays) {
            ghost_add(model, main, page);
            return page;
        }
        list_add(&model->queue[1], page);
    }
}

static const struct {
    const char *name;
    void (*loaded)(struct model *model, uint32_t page);
    uint32_t (*victim)(struct model *model);
} models[] = {
    {"clock", nothing_loaded, clock_victim},
    {"sieve", newest_loaded, sieve_victim},
    {"2q", two_q_loaded, two_q_victim},
    {"lru", lru_loaded, lru_victim},
    {"lru-2", lru_2_loaded, lru_2_victim},
    {"s3-fifo", s3_fifo_loaded, s3_fifo_victim},
    {"s3-fifo-adaptive", s3_fifo_loaded, s3_fifo_victim},
};

static bool take(void *context, uint32_t frame)
{
    bool *hints = context, touched = hints[frame];
    hints[frame] = false;
    return touched;
}

/* Half of the references to few pages that wander, the others to all; now and then a scan. */
static uint32_t next_page(uint64_t *random, uint32_t i, uint32_t frame_count)
{
    uint64_t drawn = test_random(random);
    uint32_t pages = 4 * frame_count < PAGES_MAX ? 4 * frame_count : PAGES_MAX - 1;
    if (i / 300 % 8 == 7)
        return 1 + i % pages;
    if (drawn % 2 == 0)
        return 1 + (uint32_t)((i / 50 + (drawn >> 8) % (frame_count / 2)) % pages);
    return 1 + (uint32_t)((drawn >> 8) % pages);
}

static void compare_with_model(unsigned number, uint32_t frame_count, uint32_t reference_count)
{
    static struct model model;
    static bool hints[FRAMES_MAX];
    static uint32_t frame_of[PAGES_MAX]; /* frame + 1 */
    uint64_t random = test_seed() + number * 1000 + frame_count;
    bool adaptive = strcmp(models[number].name, "s3-fifo-adaptive") == 0;
    const struct tarn_policy_kind *kind = tarn_policy_kind_named(models[number].name);
    struct tarn_policy *policy = tarn_policy_create(kind, frame_count, take, hints);
    model = (struct model){.frame_count = frame_count, .adaptive = adaptive};
    model.small = frame_count / (adaptive ? 100 : 10);
    memset(hints, 0, sizeof hints);
    memset(frame_of, 0, sizeof frame_of);
    uint32_t used = 0;
    for (uint32_t i = 0; i < reference_count; i++) {
        uint32_t page = next_page(&random, i, frame_count);
        if (frame_of[page] != 0) {
            hints[frame_of[page] - 1] = model.touched[page] = true;
            continue;
        }
        uint32_t frame = used;
        if (used < frame_count) {
            used++;
        } else {
            frame = tarn_policy_victim(policy);
            uint32_t expected = models[number].victim(&model);
            ck_assert_msg(model.in_frame[frame] == expected,
                          "%s, %u frames, reference %u: page %u leaves, not %u",
                          models[number].name, frame_count, i, model.in_frame[frame], expected);
            frame_of[expected] = 0;
        }
        frame_of[page] = frame + 1;
        model.in_frame[frame] = page;
        hints[frame] = model.touched[page] = false;
        tarn_policy_loaded(policy, frame, page, false);
        models[number].loaded(&model, page);
    }
    tarn_policy_destroy(policy);
}

START_TEST(each_policy_does_what_a_slow_model_of_it_does)
{
    static const uint32_t frame_counts[] = {8, 40, FRAMES_MAX};
    for (unsigned number = 0; number < sizeof models / sizeof models[0]; number++)
        for (unsigned i = 0; i < 3; i++)
            compare_with_model(number, frame_counts[i], 20000);
}
END_TEST

START_TEST(every_policy_has_a_model)
{
    ck_assert_uint_eq(sizeof models / sizeof models[0], KINDS_MAX);
    ck_assert_ptr_nonnull(tarn_policy_kind(KINDS_MAX - 1));
    ck_assert_ptr_null(tarn_policy_kind(KINDS_MAX));
    ck_assert_str_eq(tarn_policy_name(tarn_policy_kind(0)), "s3-fifo-adaptive");
    ck_assert_ptr_null(tarn_policy_kind_named("nobody's"));
}
END_TEST

/* All that can happen to a pool's frames, in any order. */
static void drive(struct tarn_policy *policy, bool *hints, uint64_t *pages, uint32_t frame_count)
{
    uint64_t random = test_seed();
    for (uint32_t i = 0; i < 20000; i++) {
        uint64_t drawn = test_random(&random);
        uint32_t frame = (uint32_t)((drawn >> 8) % frame_count);
        switch (drawn % 8) {
        case 0:
        case 1:
            frame = tarn_policy_victim(policy);
            if (frame == TARN_POLICY_NONE)
                break;
            ck_assert_uint_lt(frame, frame_count);
            ck_assert_uint_ne(pages[frame], 0);
            ck_assert_uint_eq(tarn_policy_page(policy, frame), 0);
            if (drawn & 64) { /* somebody has it */
                tarn_policy_loaded(policy, frame, pages[frame], drawn & 128);
                break;
            }
            pages[frame] = 0;
            break;
        case 2:
            tarn_policy_removed(policy, frame);
            pages[frame] = 0;
            break;
        case 3:
        case 4:
            pages[frame] = 1 + (drawn >> 40) % (2 * (uint64_t)frame_count);
            hints[frame] = false;
            tarn_policy_loaded(policy, frame, pages[frame], (drawn >> 32) % 8 == 0);
            break;
        default:
            hints[frame] = true;
        }
        ck_assert_uint_eq(tarn_policy_page(policy, frame == TARN_POLICY_NONE ? 0 : frame),
                          pages[frame == TARN_POLICY_NONE ? 0 : frame]);
    }
}

START_TEST(each_frame_with_a_page_is_chosen_once_and_no_other)
{
    static const uint32_t frame_counts[] = {1, 2, 7, 100};
    const struct tarn_policy_kind *kind;
    for (unsigned number = 0; (kind = tarn_policy_kind(number)) != NULL; number++) {
        for (unsigned i = 0; i < 4; i++) {
            static bool hints[FRAMES_MAX];
            uint64_t pages[FRAMES_MAX] = {0};
            struct tarn_policy *policy = tarn_policy_create(kind, frame_counts[i], take, hints);
            ck_assert_uint_eq(tarn_policy_victim(policy), TARN_POLICY_NONE);
            drive(policy, hints, pages, frame_counts[i]);
            for (uint32_t left = 0; left < frame_counts[i]; left++)
                if (pages[left] != 0) {
                    uint32_t frame = tarn_policy_victim(policy);
                    ck_assert_uint_lt(frame, frame_counts[i]);
                    ck_assert_uint_eq(tarn_policy_page(policy, frame), 0);
                }
            ck_assert_uint_eq(tarn_policy_victim(policy), TARN_POLICY_NONE);
            tarn_policy_destroy(policy);
        }
    }
}
END_TEST

/* A policy with all its frames loaded, from page 1 on. */
static struct tarn_policy *full_policy(unsigned number, uint32_t frame_count,
                                       tarn_policy_take *take_hint, void *context)
{
    const struct tarn_policy_kind *kind = tarn_policy_kind(number);
    struct tarn_policy *policy = tarn_policy_create(kind, frame_count, take_hint, context);
    for (uint32_t frame = 0; frame < frame_count; frame++)
        tarn_policy_loaded(policy, frame, frame + 1, false);
    return policy;
}

START_TEST(page_loaded_to_be_touched_once_leaves_first)
{
    for (unsigned number = 0; number < KINDS_MAX; number++) {
        bool hints[100] = {false};
        struct tarn_policy *policy = full_policy(number, 100, take, hints);
        for (uint32_t frame = 40; frame < 44; frame++)
            tarn_policy_loaded(policy, frame, 1000 + frame, true);
        hints[41] = true; /* but one was, again */
        ck_assert_uint_eq(tarn_policy_victim(policy), 40);
        ck_assert_uint_eq(tarn_policy_victim(policy), 42);
        ck_assert_uint_eq(tarn_policy_victim(policy), 43);
        for (unsigned i = 0; i < 20; i++)
            ck_assert_uint_ne(tarn_policy_victim(policy), 41);
        tarn_policy_destroy(policy);
    }
}
END_TEST

START_TEST(victim_that_could_not_leave_is_not_the_next_one)
{
    for (unsigned number = 0; number < KINDS_MAX; number++) {
        bool hints[100] = {false};
        struct tarn_policy *policy = full_policy(number, 100, take, hints);
        uint32_t kept = tarn_policy_victim(policy);
        tarn_policy_loaded(policy, kept, kept + 1, false);
        for (unsigned i = 0; i < 50; i++)
            ck_assert_uint_ne(tarn_policy_victim(policy), kept);
        tarn_policy_destroy(policy);
    }
}
END_TEST

struct always {
    uint64_t looks;
};

static bool always_touched(void *context, uint32_t frame)
{
    (void)frame;
    ((struct always *)context)->looks++;
    return true;
}

START_TEST(search_ends_though_every_page_is_touched_all_the_time)
{
    for (unsigned number = 0; number < KINDS_MAX; number++) {
        struct always always = {0};
        struct tarn_policy *policy = full_policy(number, 100, always_touched, &always);
        for (unsigned i = 0; i < 200; i++) {
            always.looks = 0;
            uint32_t frame = tarn_policy_victim(policy);
            ck_assert_uint_ne(frame, TARN_POLICY_NONE);
            ck_assert_uint_le(always.looks, 400);
            tarn_policy_loaded(policy, frame, 1000 + i, false);
        }
        tarn_policy_destroy(policy);
    }
}
END_TEST

/* Another frame than frame 0 leaves, and gets a page that was never seen. */
static uint32_t load_others(struct tarn_policy *policy, uint32_t most)
{
    uint32_t loads = 0;
    for (; loads < most; loads++) {
        uint32_t frame = tarn_policy_victim(policy);
        if (frame == 0)
            break;
        tarn_policy_loaded(policy, frame, 1000 + loads, false);
    }
    return loads;
}

START_TEST(lru_2_forgets_what_was_long_ago)
{
    bool hints[8] = {false};
    struct tarn_policy *policy =
        tarn_policy_create(tarn_policy_kind_named("lru-2"), 8, take, hints);
    for (uint32_t frame = 0; frame < 8; frame++)
        tarn_policy_loaded(policy, frame, frame + 1, false);
    hints[0] = true;
    uint32_t loads = load_others(policy, 6000);
    ck_assert_msg(loads > 4000 && loads < 4200, "after %u", loads);
    tarn_policy_destroy(policy);
}
END_TEST

/* Counts what is asked. */
struct counted {
    bool hints[4096];
    uint64_t looks;
};

static bool take_counted(void *context, uint32_t frame)
{
    struct counted *counted = context;
    counted->looks++;
    return take(counted->hints, frame);
}

START_TEST(looks_are_a_few_for_each_load_whatever_the_size)
{
    for (unsigned number = 0; number < KINDS_MAX; number++) {
        static struct counted counted;
        uint64_t random = test_seed(), touches = 0, loads = 20000;
        memset(&counted, 0, sizeof counted);
        struct tarn_policy *policy = full_policy(number, 4096, take_counted, &counted);
        counted.looks = 0;
        for (uint64_t i = 0; i < loads; i++) {
            for (unsigned j = 0; j < 3; j++) {
                bool *hint = &counted.hints[test_random(&random) % 4096];
                touches += !*hint;
                *hint = true;
            }
            uint32_t frame = tarn_policy_victim(policy);
            counted.hints[frame] = false;
            tarn_policy_loaded(policy, frame, 5000 + test_random(&random) % 8192, false);
        }
        /* Each touch is found once; eight looks a load collect; credit is spent. */
        ck_assert_uint_le(counted.looks, loads * 9 + touches * 4);
        tarn_policy_destroy(policy);
    }
}
END_TEST

/* By trial of all: the victim is used again last. */
static uint64_t slow_opt(const struct references *references, uint32_t frame_count)
{
    uint32_t cached[16], used = 0;
    uint64_t misses = 0;
    for (uint32_t i = 0; i < references->count; i++) {
        uint32_t at = 0, last = 0, victim = 0;
        while (at < used && cached[at] != references->pages[i])
            at++;
        if (at < used)
            continue;
        misses++;
        for (uint32_t frame = 0; used == frame_count && frame < used; frame++) {
            uint32_t use = i + 1;
            while (use < references->count && references->pages[use] != cached[frame])
                use++;
            if (use >= last) {
                last = use;
                victim = frame;
            }
        }
        cached[used < frame_count ? used++ : victim] = references->pages[i];
    }
    return misses;
}

START_TEST(opt_is_the_least_that_can_be)
{
    uint64_t random = test_seed();
    for (unsigned round = 0; round < 50; round++) {
        uint32_t pages[600], frame_count = 1 + (uint32_t)(test_random(&random) % 16);
        struct references references = {.pages = pages, .count = 600, .page_count = 40};
        uint64_t misses, opt;
        for (uint32_t i = 0; i < 600; i++)
            pages[i] = (uint32_t)(test_random(&random) % 40 * (test_random(&random) % 40) / 40);
        ck_assert(simulate_opt(&references, frame_count, &opt));
        ck_assert_uint_eq(opt, slow_opt(&references, frame_count));
        for (unsigned number = 0; number < KINDS_MAX; number++) {
            ck_assert(simulate(tarn_policy_kind(number), &references, frame_count, &misses));
            ck_assert_uint_ge(misses, opt);
        }
    }
}
END_TEST

static double miss_ratio(const char *policy, const struct references *references,
                         uint32_t frame_count)
{
    uint64_t misses;
    ck_assert(simulate(tarn_policy_kind_named(policy), references, frame_count, &misses));
    return (double)misses / references->count;
}

/* What the default may miss, for each miss of a clock. The references are the same each time. */
static const struct {
    const char *name;
    double most;
} bounds[] = {
    {"zipf-0.7", 0.90},
    {"zipf-0.99", 0.87},
    {"zipf-1.2", 0.90},
    {"zipf-0.99-scan-20", 0.87},
    {"zipf-0.99-scan-50", 0.93},
    {"drift", 1.02},
    {"drift-half", 1.02},
    {"drift-beyond", 1.0},
    {"loop", 0.4},
    {"twice", 1.02},
    {"jump", 1.15},
};

START_TEST(default_misses_no_more_than_it_may)
{
    struct references references;
    ck_assert(workload_make(bounds[_i].name, WORKLOAD_PAGES / 10, &references));
    double ours = miss_ratio("s3-fifo-adaptive", &references, WORKLOAD_PAGES / 10);
    double clock = miss_ratio("clock", &references, WORKLOAD_PAGES / 10);
    ck_assert_msg(ours <= bounds[_i].most * clock, "%s: %.4f, %.3f of the clock's %.4f",
                  bounds[_i].name, ours, ours / clock, clock);
    free(references.pages);
}
END_TEST

START_TEST(default_misses_no_more_of_a_trace_than_it_may)
{
    static const struct {
        uint32_t page_bytes;
        double part, most, most_of_clock;
    } cases[] = {{4096, 0.1, 1.02 * 0.815, 0.94},
                 {4096, 0.2, 1.02 * 0.727, 0.94},
                 {0, 0.1, 1, 1.02},
                 {0, 0.2, 1, 1.02}};
    const char *path = getenv("TARN_TEST_TRACE");
    struct trace trace;
    char message[512];
    if (path == NULL)
        test_skip("TARN_TEST_TRACE names no trace");
    ck_assert_msg(trace_read(path, cases[_i].page_bytes, &trace, message, sizeof message), "%s",
                  message);
    struct references references = {
        .pages = trace.pages, .count = trace.reference_count, .page_count = trace.page_count};
    uint32_t frame_count = (uint32_t)(cases[_i].part * trace.page_count);
    double ours = miss_ratio("s3-fifo-adaptive", &references, frame_count);
    double clock = miss_ratio("clock", &references, frame_count);
    ck_assert_double_le(ours, cases[_i].most);
    ck_assert_double_le(ours, cases[_i].most_of_clock * clock);
    trace_free(&trace);
}
END_TEST

void test_suite(Suite *suite)
{
    TCase *tcase = test_case(suite, "policy", 60);
    tcase_add_test(tcase, each_policy_does_what_a_slow_model_of_it_does);
    tcase_add_test(tcase, every_policy_has_a_model);
    tcase_add_test(tcase, each_frame_with_a_page_is_chosen_once_and_no_other);
    tcase_add_test(tcase, page_loaded_to_be_touched_once_leaves_first);
    tcase_add_test(tcase, victim_that_could_not_leave_is_not_the_next_one);
    tcase_add_test(tcase, search_ends_though_every_page_is_touched_all_the_time);
    tcase_add_test(tcase, looks_are_a_few_for_each_load_whatever_the_size);
    tcase_add_test(tcase, lru_2_forgets_what_was_long_ago);
    tcase_add_test(tcase, opt_is_the_least_that_can_be);
    tcase_add_loop_test(tcase, default_misses_no_more_than_it_may, 0,
                        sizeof bounds / sizeof bounds[0]);
    tcase_add_loop_test(tcase, default_misses_no_more_of_a_trace_than_it_may, 0, 4);
}
