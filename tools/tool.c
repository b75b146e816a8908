/* SPDX-License-Identifier: MIT */
#include "tools/tool.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define JSON_FORMAT 1

static const char *tool_name = "";

void tool_begin(const char *name)
{
    tool_name = name;
}

static void print_error(const char *format, va_list list)
{
    tool_progress_end();
    fflush(stdout);
    fprintf(stderr, "tarn %s: ", tool_name);
    vfprintf(stderr, format, list);
    fputc('\n', stderr);
}

int tool_error(const char *format, ...)
{
    va_list list;
    va_start(list, format);
    print_error(format, list);
    va_end(list);
    return TOOL_TROUBLE;
}

void tool_misuse(const char *format, ...)
{
    va_list list;
    va_start(list, format);
    print_error(format, list);
    va_end(list);
    fprintf(stderr, "Try 'tarn %s --help'.\n", tool_name);
    exit(TOOL_TROUBLE);
}

/* Options. */

static _Noreturn void refuse_option(char **argv, const struct option *options, int option)
{
    const char *text = argv[optind - 1];
    if (option == ':') {
        for (const struct option *o = options; o->name != NULL; o++)
            if (o->val == optopt)
                tool_misuse("--%s needs a value", o->name);
        tool_misuse("-%c needs a value", optopt);
    }
    if (optopt != 0 && strncmp(text, "--", 2) != 0)
        tool_misuse("no option -%c", optopt);
    int length = (int)strcspn(text, "=");
    if (optopt != 0)
        tool_misuse("%.*s takes no value", length, text);
    tool_misuse("no option %.*s, or not the only one that begins so", length, text);
}

int tool_getopt(int argc, char **argv, const char *letters, const struct option *options,
                const char *help)
{
    char with_help[64];
    snprintf(with_help, sizeof with_help, ":h%s", letters);
    opterr = 0;
    /* Looked for first, so that it answers in whatever company it comes. */
    if (optind <= 1)
        for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++)
            if (strcmp(argv[i], "--help") == 0) {
                fputs(help, stdout);
                exit(fflush(stdout) == 0 ? TOOL_GOOD : TOOL_TROUBLE);
            }
    int option = getopt_long(argc, argv, with_help, options, NULL);
    if (option == 'h') {
        fputs(help, stdout);
        exit(fflush(stdout) == 0 ? TOOL_GOOD : TOOL_TROUBLE);
    }
    if (option == '?' || option == ':')
        refuse_option(argv, options, option);
    return option;
}

void tool_operands(int argc, char **argv, int count_min, int count_max)
{
    if (argc - optind < count_min)
        tool_misuse("something is missing: %d operand%s needed, %d given", count_min,
                    count_min == 1 ? " is" : "s are", argc - optind);
    if (argc - optind > count_max)
        tool_misuse("'%s' is one operand too many", argv[optind + count_max]);
}

static uint64_t parse(const char *option, const char *text, bool size, uint64_t min, uint64_t max)
{
    const char *kind = size ? "size (bytes, or with K, M, G or T)" : "number";
    char *end;
    errno = 0;
    uint64_t value = strtoull(text, &end, 10);
    unsigned shift = 0;
    if (size && *end != 0) {
        const char *units = "KMGTkmgt";
        const char *unit = strchr(units, *end);
        if (unit != NULL) {
            shift = 10 * (unsigned)((unit - units) % 4 + 1);
            end++;
        }
    }
    /* strtoull takes signs and blanks; a size has none. */
    if (text[0] < '0' || text[0] > '9' || *end != 0)
        tool_misuse("%s: '%s' is not a %s", option, text, kind);
    if (errno != 0 || value > UINT64_MAX >> shift || value << shift < min || value << shift > max)
        tool_misuse("%s: %s is not within %" PRIu64 " and %" PRIu64, option, text, min, max);
    return value << shift;
}

uint64_t tool_number(const char *option, const char *text, uint64_t min, uint64_t max)
{
    return parse(option, text, false, min, max);
}

uint64_t tool_size(const char *option, const char *text, uint64_t min, uint64_t max)
{
    return parse(option, text, true, min, max);
}

/* Progress. */

#define PROGRESS_FIRST_NS UINT64_C(1000000000)
#define PROGRESS_STEP_NS  UINT64_C(200000000)

static struct {
    uint64_t begun_ns, shown_ns; /* 0: not */
} progress;

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

void tool_progress(const char *what, uint64_t done, uint64_t total)
{
    uint64_t now = now_ns();
    if (progress.begun_ns == 0)
        progress.begun_ns = now;
    if (now - progress.begun_ns < PROGRESS_FIRST_NS || now - progress.shown_ns < PROGRESS_STEP_NS ||
        !isatty(STDERR_FILENO))
        return;
    progress.shown_ns = now;
    if (total != 0)
        fprintf(stderr, "\r%s: %.0f %% of %" PRIu64 "\033[K", what,
                100 * (double)done / (double)total, total);
    else
        fprintf(stderr, "\r%s: %" PRIu64 "\033[K", what, done);
}

void tool_progress_end(void)
{
    if (progress.shown_ns != 0)
        fputs("\r\033[K", stderr);
    progress.begun_ns = progress.shown_ns = 0;
}

static struct {
    pthread_t thread;
    pthread_mutex_t mutex;
    pthread_cond_t over;
    const char *what; /* NULL: no call is waited for */
} busy = {.mutex = PTHREAD_MUTEX_INITIALIZER, .over = PTHREAD_COND_INITIALIZER};

static void *show_busy(void *unused)
{
    struct timespec next;
    unsigned seconds = 0;
    (void)unused;
    pthread_mutex_lock(&busy.mutex);
    clock_gettime(CLOCK_REALTIME, &next);
    while (busy.what != NULL) {
        next.tv_sec++;
        while (busy.what != NULL &&
               pthread_cond_timedwait(&busy.over, &busy.mutex, &next) != ETIMEDOUT)
            ;
        if (busy.what != NULL)
            fprintf(stderr, "\r%s: %u s\033[K", busy.what, ++seconds);
    }
    if (seconds > 0)
        fputs("\r\033[K", stderr);
    pthread_mutex_unlock(&busy.mutex);
    return NULL;
}

void tool_busy(const char *what)
{
    if (!isatty(STDERR_FILENO))
        return;
    busy.what = what;
    if (pthread_create(&busy.thread, NULL, show_busy, NULL) != 0)
        busy.what = NULL;
}

void tool_busy_end(void)
{
    if (busy.what == NULL)
        return;
    pthread_mutex_lock(&busy.mutex);
    busy.what = NULL;
    pthread_cond_signal(&busy.over);
    pthread_mutex_unlock(&busy.mutex);
    pthread_join(busy.thread, NULL);
}

/* JSON. */

static void add(struct json_object *object, const char *key, struct json_object *value)
{
    if (object == NULL || value == NULL || json_object_object_add(object, key, value) != 0) {
        tool_error("out of memory");
        exit(TOOL_TROUBLE);
    }
}

struct json_object *tool_json_begin(void)
{
    struct json_object *object = json_object_new_object();
    tool_json_count(object, "format", JSON_FORMAT);
    return object;
}

void tool_json_end(struct json_object *object)
{
    puts(json_object_to_json_string_ext(object,
                                        JSON_C_TO_STRING_SPACED | JSON_C_TO_STRING_NOSLASHESCAPE));
    json_object_put(object);
}

void tool_json_count(struct json_object *object, const char *key, uint64_t value)
{
    add(object, key, json_object_new_uint64(value));
}

void tool_json_double(struct json_object *object, const char *key, double value)
{
    char text[32];
    snprintf(text, sizeof text, "%.6g", value);
    /* What cannot be said as a number (nothing measured) is null. */
    if (isfinite(value))
        add(object, key, json_object_new_double_s(value, text));
    else
        json_object_object_add(object, key, NULL);
}

void tool_json_bool(struct json_object *object, const char *key, bool value)
{
    add(object, key, json_object_new_boolean(value));
}

/* Length of the UTF-8 character that begins here; 0: none does. What the first byte leaves open,
 * the second decides: no longer form than needed, no surrogate, nothing above 0x10ffff. */
static size_t character_bytes(const unsigned char *text)
{
    size_t length = text[0] < 0x80 ? 1 : text[0] >= 0xf0 ? 4 : text[0] >= 0xe0 ? 3 : 2;
    if (text[0] >= 0x80 && (text[0] < 0xc2 || text[0] > 0xf4))
        return 0;
    for (size_t i = 1; i < length; i++)
        if ((text[i] & 0xc0) != 0x80)
            return 0;
    if ((text[0] == 0xe0 && text[1] < 0xa0) || (text[0] == 0xed && text[1] > 0x9f) ||
        (text[0] == 0xf0 && text[1] < 0x90) || (text[0] == 0xf4 && text[1] > 0x8f))
        return 0;
    return length;
}

/* Names and paths are other people's bytes, and JSON is UTF-8: what is not becomes '?'. */
void tool_json_text(struct json_object *object, const char *key, const char *value)
{
    char *text = strdup(value);
    for (char *c = text; c != NULL && *c != 0;) {
        size_t length = character_bytes((const unsigned char *)c);
        if (length == 0)
            *c = '?';
        c += length == 0 ? 1 : length;
    }
    add(object, key, text == NULL ? NULL : json_object_new_string(text));
    free(text);
}

void tool_json_print(struct json_object *object, const char *key, const char *format, ...)
{
    char text[512];
    va_list list;
    va_start(list, format);
    vsnprintf(text, sizeof text, format, list);
    va_end(list);
    tool_json_text(object, key, text);
}
