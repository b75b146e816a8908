/* SPDX-License-Identifier: MIT */
/* What the subcommands share: options, messages, progress, JSON.
 *
 * A subcommand is one function int tool_NAME(int argc, char **argv) with its own name in argv[0];
 * what it returns is the exit status.
 */
#ifndef TARN_TOOLS_TOOL_H
#define TARN_TOOLS_TOOL_H

#include <getopt.h>
#include <json-c/json.h>
#include <stdbool.h>
#include <stdint.h>

enum {
    TOOL_GOOD = 0,
    TOOL_BAD = 1,     /* done, and the answer is no: violations, content that is not right */
    TOOL_TROUBLE = 2, /* could not be done, or was not understood */
};

int tool_init(int argc, char **argv);
int tool_destroy(int argc, char **argv);
int tool_writer(int argc, char **argv);
int tool_set(int argc, char **argv);
int tool_dump(int argc, char **argv);
int tool_stat(int argc, char **argv);
int tool_check(int argc, char **argv);
int tool_replay(int argc, char **argv);
int tool_bench(int argc, char **argv);

/* Called once before the subcommand: its name, for messages. */
void tool_begin(const char *name);

/* getopt_long() that prints `help` and exits with 0 when asked for it (--help, -h: 'h' need not be
 * among the options), and exits with TOOL_TROUBLE after a message if it meets an option that there
 * is not. */
int tool_getopt(int argc, char **argv, const char *letters, const struct option *options,
                const char *help);

/* After the options: exits with TOOL_TROUBLE unless that many operands are left. */
void tool_operands(int argc, char **argv, int count_min, int count_max);

/* Numbers, and sizes in bytes (4096, 64K, 64M, 4G, 1T); what is none, or outside the limits, is a
 * message that names the option, and exit with TOOL_TROUBLE. */
uint64_t tool_number(const char *option, const char *text, uint64_t min, uint64_t max);
uint64_t tool_size(const char *option, const char *text, uint64_t min, uint64_t max);

/* "tarn NAME: message" on standard error. Returns TOOL_TROUBLE. */
int tool_error(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Ends with TOOL_TROUBLE after "tarn NAME: message" and where to find help. */
_Noreturn void tool_misuse(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* "what: 40 % of 1234567" on a terminal, from the first second on; total 0: not known. */
void tool_progress(const char *what, uint64_t done, uint64_t total);

/* Takes the line back. */
void tool_progress_end(void);

/* The same around a call that does not say how far it is: shows the seconds that it takes. */
void tool_busy(const char *what);
void tool_busy_end(void);

/* An object with "format": 1, and its end: printed as one line and freed. */
struct json_object *tool_json_begin(void);
void tool_json_end(struct json_object *object);

void tool_json_count(struct json_object *object, const char *key, uint64_t value);
void tool_json_double(struct json_object *object, const char *key, double value);
void tool_json_bool(struct json_object *object, const char *key, bool value);
void tool_json_text(struct json_object *object, const char *key, const char *value);

/* Printed text, as one value. */
void tool_json_print(struct json_object *object, const char *key, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#endif
