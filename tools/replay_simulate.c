/* SPDX-License-Identifier: MIT */
/* tarn replay --simulate: a trace, or a made-up workload, through the replacement policies. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "tools/plot.h"
#include "tools/replay.h"
#include "tools/tool.h"
#include "tools/workload.h"

enum {
    POLICIES_MAX = 16,
    SIZES_MAX = 64,
    PAGE_BYTES = 4096, /* of the pages that a trace's requests are cut into */
};

struct size {
    double value;
    bool percent;
};

struct simulation {
    const char *policies[POLICIES_MAX];
    unsigned policy_count;
    struct size sizes[SIZES_MAX];
    unsigned size_count;
    const char *workload; /* NULL: a trace */
    const char *plot;
    bool json, by_block;
    struct references trace;
    struct plot_point points[POLICIES_MAX * SIZES_MAX];
    unsigned point_count;
};

static const char opt_name[] = "opt";

static const char help[] =
    "usage: tarn replay TRACE --simulate [OPTION...]\n"
    "       tarn replay --simulate --workload NAME [OPTION...]\n"
    "\n"
    "Counts the misses of a trace, or of a made-up workload, for each replacement policy and each\n"
    "size of the cache. Nothing is read or written, and no pool is needed.\n"
    "\n"
    "      --policy NAME[,...]  s3-fifo-adaptive (the best measured), s3-fifo, clock, sieve, 2q,\n"
    "                           lru, lru-2, opt (knows the future); all (the default)\n"
    "      --frames N[%][,...]  sizes of the cache: frames, or percent of the trace's pages (10%;\n"
    "                           with --plot a series)\n"
    "      --by page|lbn        what is cached: pages of 4 KiB (the default), or whole requests "
    "by\n"
    "                           their block number\n"
    "      --workload NAME      instead of a trace: zipf-0.7, zipf-0.99, zipf-1.2,\n"
    "                           zipf-0.99-scan-20, zipf-0.99-scan-50, drift, drift-half,\n"
    "                           drift-beyond, jump, loop, twice: a million references, most to\n"
    "                           100,000 pages, of which the percent of --frames are taken\n"
    "      --plot FILE          draw miss ratio over cache size: .svg or .png; needs gnuplot\n"
    "      --json               print the results as JSON, one list\n";

static void add_policy(struct simulation *simulation, const char *name)
{
    if (simulation->policy_count == POLICIES_MAX)
        tool_misuse("--policy: more than %d names", POLICIES_MAX);
    simulation->policies[simulation->policy_count++] = name;
}

static void parse_policies(struct simulation *simulation, char *text)
{
    const struct tarn_policy_kind *kind;
    simulation->policy_count = 0;
    for (char *name = strtok(text, ","); name != NULL; name = strtok(NULL, ",")) {
        if (strcmp(name, "all") == 0) {
            for (unsigned i = 0; (kind = tarn_policy_kind(i)) != NULL; i++)
                add_policy(simulation, tarn_policy_name(kind));
            add_policy(simulation, opt_name);
        } else if (strcmp(name, opt_name) == 0 || tarn_policy_kind_named(name) != NULL) {
            add_policy(simulation, name);
        } else {
            tool_misuse("--policy: there is no policy '%s'", name);
        }
    }
    if (simulation->policy_count == 0)
        tool_misuse("--policy: no name");
}

static void parse_sizes(struct simulation *simulation, char *text)
{
    simulation->size_count = 0;
    for (char *part = strtok(text, ","); part != NULL; part = strtok(NULL, ",")) {
        char *end;
        struct size size = {.value = strtod(part, &end)};
        size.percent = *end == '%';
        if (end == part || end[size.percent] != '\0' || !(size.value > 0) ||
            size.value > (size.percent ? 100 : 1e9))
            tool_misuse("--frames: '%s' is neither a number of frames nor a percentage", part);
        if (simulation->size_count == SIZES_MAX)
            tool_misuse("--frames: more than %d sizes", SIZES_MAX);
        simulation->sizes[simulation->size_count++] = size;
    }
    if (simulation->size_count == 0)
        tool_misuse("--frames: no size");
}

static uint32_t frames_of(const struct simulation *simulation, struct size size)
{
    uint32_t pages = simulation->workload != NULL ? WORKLOAD_PAGES : simulation->trace.page_count;
    double frames = size.percent ? pages * size.value / 100 : size.value;
    return frames < 1 ? 1 : (uint32_t)frames;
}

static bool run_policy(const char *name, const struct references *references, uint32_t frame_count,
                       uint64_t *ret_misses)
{
    if (strcmp(name, opt_name) == 0)
        return simulate_opt(references, frame_count, ret_misses);
    return simulate(tarn_policy_kind_named(name), references, frame_count, ret_misses);
}

/* All policies at one size. */
static bool run_size(struct simulation *simulation, struct size size)
{
    struct references references = simulation->trace;
    uint32_t frame_count = frames_of(simulation, size);
    bool done = simulation->workload == NULL ||
                workload_make(simulation->workload, frame_count, &references);
    for (unsigned i = 0; done && i < simulation->policy_count; i++) {
        uint64_t misses = 0;
        tool_progress("simulate", simulation->point_count,
                      simulation->policy_count * simulation->size_count);
        done = run_policy(simulation->policies[i], &references, frame_count, &misses);
        simulation->points[simulation->point_count++] = (struct plot_point){
            .policy = simulation->policies[i],
            .frames = frame_count,
            .references = references.count,
            .misses = misses,
        };
    }
    if (simulation->workload != NULL)
        free(references.pages);
    return done;
}

static void print_json(const struct simulation *simulation)
{
    struct json_object *list = json_object_new_array();
    for (unsigned i = 0; i < simulation->point_count; i++) {
        const struct plot_point *point = &simulation->points[i];
        struct json_object *object = json_object_new_object();
        tool_json_text(object, "policy", point->policy);
        tool_json_count(object, "frames", point->frames);
        tool_json_count(object, "references", point->references);
        tool_json_count(object, "misses", point->misses);
        tool_json_double(object, "miss_ratio", (double)point->misses / (double)point->references);
        json_object_array_add(list, object);
    }
    printf("%s\n", json_object_to_json_string_ext(list, JSON_C_TO_STRING_PLAIN));
    json_object_put(list);
}

/* A line for each policy, a column for each size. */
static void print_table(const struct simulation *simulation)
{
    unsigned policies = simulation->policy_count;
    printf("%-18s", "frames");
    for (unsigned i = 0; i < simulation->point_count; i += policies)
        printf(" %8" PRIu32, simulation->points[i].frames);
    printf("\n");
    for (unsigned policy = 0; policy < policies; policy++) {
        printf("%-18s", simulation->policies[policy]);
        for (unsigned i = policy; i < simulation->point_count; i += policies) {
            const struct plot_point *point = &simulation->points[i];
            printf(" %8.4f", (double)point->misses / (double)point->references);
        }
        printf("\n");
    }
}

static int run(struct simulation *simulation, const char *path)
{
    struct trace trace = {0};
    char message[512];
    bool done = true;
    if (path != NULL) {
        if (!trace_read(path, simulation->by_block ? 0 : PAGE_BYTES, &trace, message,
                        sizeof message))
            return tool_error("%s", message);
        simulation->trace = (struct references){
            .pages = trace.pages,
            .count = trace.reference_count,
            .page_count = trace.page_count,
        };
    }
    for (unsigned i = 0; done && i < simulation->size_count; i++)
        done = run_size(simulation, simulation->sizes[i]);
    tool_progress_end();
    trace_free(&trace);
    if (!done)
        return tool_error("out of memory");
    if (simulation->json)
        print_json(simulation);
    else
        print_table(simulation);
    if (simulation->plot == NULL)
        return TOOL_GOOD;
    const char *title = path != NULL ? path : simulation->workload;
    return plot_write(simulation->plot, title, simulation->points, simulation->point_count,
                      simulation->policy_count);
}

static bool is_workload(const char *name)
{
    const char *known;
    for (unsigned i = 0; (known = workload_name(i)) != NULL; i++)
        if (strcmp(known, name) == 0)
            return true;
    return false;
}

int replay_simulate(int argc, char **argv)
{
    enum { SIMULATE = 256, POLICY, FRAMES, BY, WORKLOAD, PLOT, JSON };
    static const struct option options[] = {
        {"simulate", no_argument, NULL, SIMULATE},
        {"policy", required_argument, NULL, POLICY},
        {"frames", required_argument, NULL, FRAMES},
        {"by", required_argument, NULL, BY},
        {"workload", required_argument, NULL, WORKLOAD},
        {"plot", required_argument, NULL, PLOT},
        {"json", no_argument, NULL, JSON},
        {NULL, 0, NULL, 0},
    };
    static struct simulation simulation;
    static char all[] = "all", one_size[] = "10%",
                series[] = "1%,2%,3%,5%,7%,10%,15%,20%,25%,30%,40%,50%,60%,70%,80%";
    int option;
    while ((option = tool_getopt(argc, argv, "", options, help)) != -1) {
        if (option == POLICY)
            parse_policies(&simulation, optarg);
        else if (option == FRAMES)
            parse_sizes(&simulation, optarg);
        else if (option == BY && strcmp(optarg, "lbn") != 0 && strcmp(optarg, "page") != 0)
            tool_misuse("--by: '%s' is neither page nor lbn", optarg);
        else if (option == BY)
            simulation.by_block = strcmp(optarg, "lbn") == 0;
        else if (option == WORKLOAD && !is_workload(optarg))
            tool_misuse("--workload: there is no workload '%s'", optarg);
        else if (option == WORKLOAD)
            simulation.workload = optarg;
        else if (option == PLOT)
            simulation.plot = optarg;
        else if (option == JSON)
            simulation.json = true;
    }
    int operands = simulation.workload == NULL;
    tool_operands(argc, argv, operands, operands);
    if (simulation.plot != NULL && !plot_can_write(simulation.plot))
        tool_misuse("--plot: '%s' ends neither in .svg nor in .png", simulation.plot);
    if (simulation.policy_count == 0)
        parse_policies(&simulation, all);
    if (simulation.size_count == 0)
        parse_sizes(&simulation, simulation.plot != NULL ? series : one_size);
    return run(&simulation, operands > 0 ? argv[optind] : NULL);
}
