/* SPDX-License-Identifier: MIT */
/* Counters and latencies. They stand in the sessions' own slots and are never reset, so what a pool
 * did in an interval is the difference of two readings. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "lib/histogram.h"
#include "tools/segment.h"
#include "tools/tool.h"

static const char help[] =
    "usage: tarn stat NAME|FILE [OPTION...] [INTERVAL [COUNT]]\n"
    "\n"
    "Shows what a pool has done since it was made; with an INTERVAL (seconds) what it does in\n"
    "each, COUNT times or until interrupted.\n"
    "\n"
    "  --by file        a line for each file\n"
    "  --by session     a line for each slot that was ever used\n"
    "  --json           for programs: one object for each interval\n"
    "  --shm-dir DIR    where segments are (/dev/shm)\n"
    "  -h, --help       this text\n";

enum { BY = 256, JSON, SHM_DIR };
enum by { BY_POOL, BY_FILE, BY_SESSION };

static const struct option options[] = {
    {"by", required_argument, NULL, BY},
    {"json", no_argument, NULL, JSON},
    {"shm-dir", required_argument, NULL, SHM_DIR},
    {NULL, 0, NULL, 0},
};

struct arguments {
    enum by by;
    bool json;
    uint64_t interval_s; /* 0: once, since the beginning */
    uint64_t count;      /* 0: until interrupted */
};

static const char *const counter_names[] = {
#define X(upper, lower) #lower,
    TARN_COUNTERS(X)
#undef X
};

static const char *const latency_names[] = {
#define X(upper, lower) #lower,
    TARN_LATENCIES(X)
#undef X
};

/* Counters of one slot, of all, or their change. */
struct figures {
    uint64_t counter[COUNTER_COUNT];
    uint64_t evictions_by_writer;
    uint64_t bucket[LATENCY_COUNT][TARN_BUCKETS];
    uint64_t max_ns[LATENCY_COUNT]; /* since the beginning */
};

struct file_figures {
    uint64_t hits, misses, reads, writes, syncs, errors;
};

/* One reading: everything, since what is shown is chosen later. */
struct reading {
    uint64_t time_ns;
    struct figures total;
    struct figures *slot;      /* by slot number */
    struct file_figures *file; /* by file id */
};

static bool reading_make(struct reading *reading, const struct tarn_view *view)
{
    reading->slot = calloc(view->slot_max + 1, sizeof *reading->slot);
    reading->file = calloc((size_t)view->geometry.file_count + 1, sizeof *reading->file);
    return reading->slot != NULL && reading->file != NULL;
}

static void reading_free(struct reading *reading)
{
    free(reading->slot);
    free(reading->file);
}

static void read_slot(struct reading *reading, const struct tarn_view *view, unsigned slot)
{
    const struct tarn_slot *shared = tarn_view_slot(view, slot);
    struct figures *mine = &reading->slot[slot], *total = &reading->total;
    memset(mine, 0, sizeof *mine);
    for (unsigned i = 0; i < COUNTER_COUNT; i++)
        mine->counter[i] = tarn_load_relaxed(&shared->counter[i]);
    /* Hits are counted by file alone. */
    for (unsigned i = 0; i < TARN_FILE_CELLS; i++)
        mine->counter[COUNTER_HITS] += tarn_load_relaxed(&shared->file_hits[i]);
    for (unsigned i = 0; i < COUNTER_COUNT; i++)
        total->counter[i] += mine->counter[i];
    /* Writer and standby have slots of their own, beyond those of sessions. */
    if (slot > view->geometry.session_count)
        mine->evictions_by_writer = mine->counter[COUNTER_EVICTIONS];
    total->evictions_by_writer += mine->evictions_by_writer;
    for (unsigned i = 0; i < LATENCY_COUNT; i++) {
        tarn_histogram_add(mine->bucket[i], &shared->latency[i]);
        tarn_histogram_add(total->bucket[i], &shared->latency[i]);
        mine->max_ns[i] = tarn_load_relaxed(&shared->latency_max_ns[i]);
        if (mine->max_ns[i] > total->max_ns[i])
            total->max_ns[i] = mine->max_ns[i];
    }
}

static void read_file(struct reading *reading, const struct tarn_view *view, uint32_t file)
{
    const struct tarn_file_entry *entry = &view->files[file];
    struct file_figures *figures = &reading->file[file];
    *figures = (struct file_figures){
        .misses = tarn_load_relaxed(&entry->misses),
        .reads = tarn_load_relaxed(&entry->reads),
        .writes = tarn_load_relaxed(&entry->writes),
        .syncs = tarn_load_relaxed(&entry->syncs),
        .errors = tarn_load_relaxed(&entry->errors),
    };
    for (unsigned slot = 1; slot <= view->slot_max; slot++)
        figures->hits +=
            tarn_load_relaxed(&tarn_view_slot(view, slot)->file_hits[file % TARN_FILE_CELLS]);
}

static bool file_open(const struct tarn_view *view, uint32_t file)
{
    return file_word_state(tarn_load_acquire(&view->files[file].word)) == FILE_OPEN;
}

static void take_reading(struct reading *reading, const struct tarn_view *view)
{
    reading->time_ns = tarn_now_ns();
    memset(&reading->total, 0, sizeof reading->total);
    for (unsigned slot = 1; slot <= view->slot_max; slot++)
        read_slot(reading, view, slot);
    for (uint32_t file = 1; file <= view->geometry.file_count; file++)
        if (file_open(view, file))
            read_file(reading, view, file);
}

/* now - before; the counts of histograms wrap at 2^32. */
static struct figures difference(const struct figures *now, const struct figures *before)
{
    struct figures change = *now;
    for (unsigned i = 0; i < COUNTER_COUNT; i++)
        change.counter[i] -= before->counter[i];
    change.evictions_by_writer -= before->evictions_by_writer;
    for (unsigned i = 0; i < LATENCY_COUNT; i++)
        for (unsigned b = 0; b < TARN_BUCKETS; b++)
            change.bucket[i][b] = (now->bucket[i][b] - before->bucket[i][b]) & UINT32_MAX;
    return change;
}

/* The columns of a line for pool or session: a width, a heading, and what stands there. */
static double pages_a_write(const struct figures *f)
{
    return f->counter[COUNTER_WRITES] == 0
               ? 0
               : (double)f->counter[COUNTER_PAGES_WRITTEN] / (double)f->counter[COUNTER_WRITES];
}

static void print_heading(const char *first)
{
    printf(
        "%-10s %10s %8s %7s %8s %8s %6s %8s %8s %6s %7s %7s | %7s %7s %7s %6s %7s | %6s %8s %7s\n",
        first, "hits", "misses", "joins", "evict_w", "evict_s", "stalls", "reads", "writes",
        "pg/wr", "flushes", "syncs", "w_load", "w_latch", "w_frame", "w_home", "w_write", "reaps",
        "commits", "aborts");
}

static void print_line(const char *first, const struct figures *f)
{
    const uint64_t *c = f->counter;
    printf("%-10s %10" PRIu64 " %8" PRIu64 " %7" PRIu64 " %8" PRIu64 " %8" PRIu64 " %8" PRIu64
           " %6" PRIu64 " %8" PRIu64 " %6.1f %7" PRIu64 " %7" PRIu64 " | %7" PRIu64 " %7" PRIu64
           " %7" PRIu64 " %6" PRIu64 " %7" PRIu64 " | %6" PRIu64 " %8" PRIu64 " %7" PRIu64 "\n",
           first, c[COUNTER_HITS], c[COUNTER_MISSES], c[COUNTER_JOINS], f->evictions_by_writer,
           c[COUNTER_EVICTIONS] - f->evictions_by_writer, c[COUNTER_STALLS], c[COUNTER_READS],
           c[COUNTER_WRITES], pages_a_write(f), c[COUNTER_FLUSHES], c[COUNTER_SYNCS],
           c[COUNTER_WAITS_LOAD], c[COUNTER_WAITS_LATCH], c[COUNTER_WAITS_FRAME],
           c[COUNTER_WAITS_HOME], c[COUNTER_WAITS_WRITER], c[COUNTER_REAPS], c[COUNTER_COMMITS],
           c[COUNTER_ABORTS]);
}

static void print_latencies(const struct figures *f)
{
    printf("\n%-16s %10s %10s %10s %10s %12s\n", "latency, us", "times", "p50", "p99", "p99.9",
           "max ever");
    for (unsigned i = 0; i < LATENCY_COUNT; i++)
        printf("%-16s %10" PRIu64 " %10.2f %10.2f %10.2f %12.2f\n", latency_names[i],
               tarn_histogram_total(f->bucket[i]),
               (double)tarn_percentile_ns(f->bucket[i], 500) * 1e-3,
               (double)tarn_percentile_ns(f->bucket[i], 990) * 1e-3,
               (double)tarn_percentile_ns(f->bucket[i], 999) * 1e-3, (double)f->max_ns[i] * 1e-3);
}

static struct json_object *json_of(const struct figures *f)
{
    struct json_object *object = json_object_new_object();
    struct json_object *latencies = json_object_new_object();
    for (unsigned i = 0; i < COUNTER_COUNT; i++)
        tool_json_count(object, counter_names[i], f->counter[i]);
    tool_json_count(object, "evictions_by_writer", f->evictions_by_writer);
    tool_json_count(object, "evictions_by_session",
                    f->counter[COUNTER_EVICTIONS] - f->evictions_by_writer);
    /* Nothing was missed: null. */
    tool_json_double(object, "stall_ratio",
                     (double)f->counter[COUNTER_STALLS] / (double)f->counter[COUNTER_MISSES]);
    tool_json_double(object, "pages_per_write", pages_a_write(f));
    for (unsigned i = 0; i < LATENCY_COUNT; i++) {
        struct json_object *latency = json_object_new_object();
        tool_json_count(latency, "times", tarn_histogram_total(f->bucket[i]));
        tool_json_count(latency, "p50_ns", tarn_percentile_ns(f->bucket[i], 500));
        tool_json_count(latency, "p99_ns", tarn_percentile_ns(f->bucket[i], 990));
        tool_json_count(latency, "p999_ns", tarn_percentile_ns(f->bucket[i], 999));
        tool_json_count(latency, "max_ever_ns", f->max_ns[i]);
        json_object_object_add(latencies, latency_names[i], latency);
    }
    json_object_object_add(object, "latencies", latencies);
    return object;
}

/* By session. */

static bool slot_used(const struct tarn_view *view, unsigned slot)
{
    return tarn_load_relaxed(&tarn_view_slot(view, slot)->serial) != 0;
}

/* "3 writer": the slot, and who has it now; its counters are those of all who had it. */
static void slot_title(const struct tarn_view *view, unsigned slot, char *text, size_t text_bytes)
{
    const struct tarn_slot *shared = tarn_view_slot(view, slot);
    bool live = tarn_load_acquire(&shared->state) == SLOT_LIVE;
    snprintf(text, text_bytes, "%u %.*s", slot, (int)sizeof shared->name,
             live ? shared->name : "-");
    for (char *c = text; *c != 0; c++)
        if (*c < ' ' || *c == 0x7f)
            *c = '?';
}

static void show_sessions(const struct tarn_view *view, const struct reading *now,
                          const struct reading *before, struct json_object *json)
{
    struct json_object *rows = json == NULL ? NULL : json_object_new_array();
    for (unsigned slot = 1; slot <= view->slot_max; slot++) {
        char title[TARN_SESSION_NAME_BYTES + 16];
        if (!slot_used(view, slot))
            continue;
        struct figures change = difference(&now->slot[slot], &before->slot[slot]);
        slot_title(view, slot, title, sizeof title);
        if (json == NULL) {
            print_line(title, &change);
            continue;
        }
        struct json_object *row = json_of(&change);
        tool_json_count(row, "slot", slot);
        tool_json_text(row, "session", title);
        json_object_array_add(rows, row);
    }
    if (json != NULL)
        json_object_object_add(json, "sessions", rows);
}

/* By file. */

/* Hits are counted in cells by file id modulo their number, so two open files may share one. */
static bool shares_cell(const struct tarn_view *view, uint32_t file)
{
    for (uint32_t other = file % TARN_FILE_CELLS; other <= view->geometry.file_count;
         other += TARN_FILE_CELLS)
        if (other != 0 && other != file && file_open(view, other))
            return true;
    return false;
}

static void show_file(const struct tarn_view *view, uint32_t file, const struct file_figures *now,
                      const struct file_figures *before, struct json_object *rows)
{
    const struct {
        const char *name;
        uint64_t value;
    } members[] = {
        {"hits", now->hits - before->hits},    {"misses", now->misses - before->misses},
        {"reads", now->reads - before->reads}, {"writes", now->writes - before->writes},
        {"syncs", now->syncs - before->syncs}, {"errors", now->errors - before->errors},
    };
    bool shared = shares_cell(view, file);
    if (rows == NULL) {
        printf("%-10" PRIu32, file);
        for (size_t i = 0; i < sizeof members / sizeof members[0]; i++)
            printf(" %11" PRIu64 "%s", members[i].value, i > 0 ? "" : shared ? "*" : " ");
        putchar('\n');
        return;
    }
    struct json_object *row = json_object_new_object();
    tool_json_count(row, "file", file);
    for (size_t i = 0; i < sizeof members / sizeof members[0]; i++)
        tool_json_count(row, members[i].name, members[i].value);
    tool_json_bool(row, "hits_shared", shared);
    json_object_array_add(rows, row);
}

static void show_files(const struct tarn_view *view, const struct reading *now,
                       const struct reading *before, struct json_object *json)
{
    struct json_object *rows = json == NULL ? NULL : json_object_new_array();
    bool shared = false;
    if (json == NULL)
        printf("%-10s %11s  %11s %11s %11s %11s %11s\n", "file", "hits", "misses", "reads",
               "writes", "syncs", "errors");
    for (uint32_t file = 1; file <= view->geometry.file_count; file++) {
        if (!file_open(view, file))
            continue;
        shared = shared || shares_cell(view, file);
        show_file(view, file, &now->file[file], &before->file[file], rows);
    }
    if (json != NULL)
        json_object_object_add(json, "files", rows);
    else if (shared)
        printf("* hits of all open files whose ids are equal modulo %u\n", TARN_FILE_CELLS);
}

/* One line, or one block of lines, or one JSON object. */
static void show(const struct arguments *arguments, const struct tarn_view *view,
                 const struct reading *now, const struct reading *before, uint64_t number)
{
    bool once = arguments->interval_s == 0;
    double seconds = once ? 0 : (double)(now->time_ns - before->time_ns) * 1e-9;
    struct figures change = difference(&now->total, &before->total);
    struct json_object *json = NULL;
    if (arguments->json) {
        json = tool_json_begin();
        tool_json_double(json, "seconds", seconds);
        json_object_object_add(json, "total", json_of(&change));
    } else if (arguments->by != BY_FILE && (arguments->by != BY_POOL || number % 20 == 0)) {
        print_heading(arguments->by == BY_SESSION ? "session" : once ? "since" : "seconds");
    }
    if (arguments->by == BY_SESSION) {
        show_sessions(view, now, before, json);
    } else if (arguments->by == BY_FILE) {
        show_files(view, now, before, json);
    } else if (json == NULL) {
        char title[32] = "init";
        if (!once)
            snprintf(title, sizeof title, "%.2f", seconds);
        print_line(title, &change);
        if (once || (arguments->count != 0 && number + 1 == arguments->count))
            print_latencies(once ? &change : &now->total);
    }
    if (json != NULL)
        tool_json_end(json);
    fflush(stdout);
}

static int run(const struct arguments *arguments, const struct tarn_view *view)
{
    struct reading readings[2] = {0};
    int status = TOOL_GOOD;
    if (!reading_make(&readings[0], view) || !reading_make(&readings[1], view)) {
        status = tool_error("out of memory");
    } else if (arguments->interval_s == 0) {
        take_reading(&readings[1], view);
        show(arguments, view, &readings[1], &readings[0], 0);
    } else {
        take_reading(&readings[0], view);
        for (uint64_t i = 0; (arguments->count == 0 || i < arguments->count) && !ferror(stdout);
             i++) {
            tarn_sleep_ns((int64_t)(arguments->interval_s * 1000000000u));
            struct reading *now = &readings[(i + 1) % 2], *before = &readings[i % 2];
            take_reading(now, view);
            show(arguments, view, now, before, i);
        }
    }
    reading_free(&readings[0]);
    reading_free(&readings[1]);
    return status;
}

static enum by parse_by(const char *text)
{
    if (strcmp(text, "file") == 0)
        return BY_FILE;
    if (strcmp(text, "session") == 0)
        return BY_SESSION;
    tool_misuse("--by: '%s' is neither file nor session", text);
}

int tool_stat(int argc, char **argv)
{
    struct arguments arguments = {.by = BY_POOL};
    const char *shm_directory = NULL;
    static struct segment segment;
    int option;
    while ((option = tool_getopt(argc, argv, "", options, help)) != -1) {
        if (option == BY)
            arguments.by = parse_by(optarg);
        else if (option == JSON)
            arguments.json = true;
        else
            shm_directory = optarg;
    }
    tool_operands(argc, argv, 1, 3);
    if (argc - optind > 1)
        arguments.interval_s = tool_number("INTERVAL", argv[optind + 1], 1, 86400);
    if (argc - optind > 2)
        arguments.count = tool_number("COUNT", argv[optind + 2], 1, UINT32_MAX);
    int status = segment_open(argv[optind], shm_directory, &segment);
    if (status != 0)
        return status;
    status = run(&arguments, &segment.pool.view);
    segment_close(&segment);
    return status;
}
