/* SPDX-License-Identifier: MIT */
/* main() of every suite. libcheck forks each test and writes TAP into a pipe; a process of its own,
 * the reporter, reads it, marks the skipped tests, passes the lines on, and removes what each test
 * leaves behind. It is in a session of its own, so it still clears up when the suite is killed.
 */
#include "tests/test.h"

#include <dirent.h>
#include <errno.h>
#include <ftw.h>
#include <limits.h>
#include <linux/close_range.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { TEST_COUNT_MAX = 999, REASON_BYTES = 160 };

/* Lives in memory that the suite, its tests and the reporter share. */
struct test_run {
    unsigned test_number; /* of the running test, as libcheck counts in its TAP lines */
    char skip_reasons[TEST_COUNT_MAX + 1][REASON_BYTES];
};

static struct test_run *run;
static uint64_t seed;
static pid_t suite_pid;
static char **command_line;

static _Noreturn void die(const char *what)
{
    printf("Bail out! %s: %s\n", what, strerror(errno));
    exit(EXIT_FAILURE);
}

uint64_t test_seed(void)
{
    return seed;
}

uint64_t test_random(uint64_t *state)
{
    /* splitmix64: any seed is good, neighbouring ones too. */
    uint64_t z = (*state += 0x9e3779b97f4a7c15u);

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

uint64_t test_option(const char *name, uint64_t otherwise)
{
    for (char **word = command_line; word[0] != NULL && word[1] != NULL; word++)
        if (strncmp(word[0], "--", 2) == 0 && strcmp(word[0] + 2, name) == 0)
            return strtoull(word[1], NULL, 0);
    return otherwise;
}

const char *test_pool_name(void)
{
    static char name[64];

    snprintf(name, sizeof(name), "test-%d-%03u", (int)suite_pid, run->test_number);
    return name;
}

static void dir_path(char *path, size_t path_bytes, const char *prefix)
{
    const char *base = getenv("TMPDIR");

    snprintf(path, path_bytes, "%s/tarn-%s", base != NULL && base[0] == '/' ? base : "/tmp",
             prefix);
}

const char *test_dir(void)
{
    static char path[PATH_MAX];

    dir_path(path, sizeof(path), test_pool_name());
    if (mkdir(path, 0700) != 0 && errno != EEXIST)
        ck_abort_msg("%s: %s", path, strerror(errno));
    return path;
}

const char *test_path(const char *name)
{
    /* All are kept, within reach of the leak checker, until the test's process ends. */
    static struct kept {
        struct kept *next;
        char path[PATH_MAX];
    } * all;
    struct kept *kept = malloc(sizeof(*kept));

    if (kept == NULL)
        ck_abort_msg("out of memory");
    kept->next = all;
    all = kept;
    snprintf(kept->path, sizeof(kept->path), "%s/%s", test_dir(), name);
    return kept->path;
}

void test_skip(const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(run->skip_reasons[run->test_number], REASON_BYTES, format, arguments);
    va_end(arguments);
    _exit(EXIT_SUCCESS);
}

/* Runs first in the process of each test. */
static void begin_test(void)
{
    /* What a test or its children print must not get between the lines of TAP. */
    dup2(STDERR_FILENO, STDOUT_FILENO);
    /* A program that a test starts must not keep the pipe to the reporter open. */
    close_range(STDERR_FILENO + 1, ~0u, CLOSE_RANGE_CLOEXEC);
    if (run->test_number == TEST_COUNT_MAX)
        ck_abort_msg("more than %d tests in one suite", TEST_COUNT_MAX);
    run->test_number++;
}

TCase *test_case(Suite *suite, const char *name, int seconds)
{
    TCase *tcase = tcase_create(name);

    tcase_set_timeout(tcase, seconds);
    tcase_add_checked_fixture(tcase, begin_test, NULL);
    suite_add_tcase(suite, tcase);
    return tcase;
}

static int remove_entry(const char *path, const struct stat *status, int type, struct FTW *ftw)
{
    (void)status;
    (void)type;
    (void)ftw;
    remove(path);
    return 0;
}

/* Removes the entries of a directory whose names begin with prefix, and all that is in them. */
static void remove_all(const char *directory, const char *prefix)
{
    char path[PATH_MAX];
    struct dirent *entry;
    DIR *dir = opendir(directory);

    if (dir == NULL)
        return;
    while ((entry = readdir(dir)) != NULL) {
        if (strncmp(entry->d_name, prefix, strlen(prefix)) != 0)
            continue;
        snprintf(path, sizeof(path), "%s/%s", directory, entry->d_name);
        nftw(path, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
    }
    closedir(dir);
}

/* Removes segments and directories of the tests whose pool names begin with pool_prefix. */
static void clear_up(const char *pool_prefix)
{
    char path[PATH_MAX];
    char *slash;

    snprintf(path, sizeof(path), "tarn.%s", pool_prefix);
    remove_all("/dev/shm", path);
    dir_path(path, sizeof(path), pool_prefix);
    slash = strrchr(path, '/');
    *slash = '\0';
    remove_all(path, slash + 1);
}

/* Passes on "ok 1 - FILE:CASE:TEST: MESSAGE" as "ok 1 - CASE: TEST", what is wrong on a line of
 * its own. */
static void report_result(char *line, unsigned number)
{
    const char *reason = number <= TEST_COUNT_MAX ? run->skip_reasons[number] : "";
    char *save;
    char prefix[64];
    const char *verdict = strtok_r(line, "-", &save);

    strtok_r(NULL, ":", &save);
    const char *case_name = strtok_r(NULL, ":", &save);
    const char *test_name = strtok_r(NULL, ":", &save);
    const char *message = save;

    printf("%s- %s: %s", verdict, case_name, test_name);
    if (reason[0] != '\0')
        printf(" # SKIP %s", reason);
    putchar('\n');
    if (strncmp(line, "not", 3) == 0)
        printf("#%s\n", message);
    snprintf(prefix, sizeof(prefix), "test-%d-%03u", (int)suite_pid, number);
    clear_up(prefix);
}

/* Reads libcheck's TAP up to the plan, which it prints last, or until all writers are gone. */
static _Noreturn void report(int tap_fd)
{
    char *line = NULL;
    size_t line_bytes = 0;
    unsigned number = 0;
    ssize_t length;
    char prefix[32];
    bool at_end = false;
    FILE *tap = fdopen(tap_fd, "r");

    setsid();
    while (!at_end && tap != NULL && (length = getline(&line, &line_bytes, tap)) > 0) {
        line[length - 1] = '\0';
        at_end = strncmp(line, "1..", 3) == 0;
        if (at_end)
            puts(line);
        else if (sscanf(line, "ok %u - ", &number) == 1 || sscanf(line, "not ok %u", &number) == 1)
            report_result(line, number);
        else
            printf("# %s\n", line);
        fflush(stdout);
    }
    snprintf(prefix, sizeof(prefix), "test-%d-", (int)suite_pid);
    clear_up(prefix);
    _exit(at_end ? EXIT_SUCCESS : EXIT_FAILURE);
}

static pid_t start_reporter(char *tap_path, size_t tap_path_bytes)
{
    int fds[2];
    pid_t pid;

    if (pipe(fds) != 0)
        die("pipe");
    fflush(stdout);
    pid = fork();
    if (pid < 0)
        die("fork");
    if (pid == 0) {
        close(fds[1]);
        report(fds[0]);
    }
    close(fds[0]);
    snprintf(tap_path, tap_path_bytes, "/dev/fd/%d", fds[1]);
    return pid;
}

static void choose_seed(void)
{
    const char *given = getenv("TARN_TEST_SEED");

    if (given != NULL && given[0] != '\0')
        seed = strtoull(given, NULL, 0);
    else if (getrandom(&seed, sizeof(seed), 0) != sizeof(seed))
        die("getrandom");
    printf("# TARN_TEST_SEED=%llu\n", (unsigned long long)seed);
}

static void print_places_of_failures(SRunner *runner)
{
    TestResult **failures = srunner_failures(runner);

    for (int i = 0; i < srunner_ntests_failed(runner); i++) {
        const char *message = tr_msg(failures[i]);

        printf("# %s:%d: %.*s\n", tr_lfile(failures[i]), tr_lno(failures[i]),
               (int)strcspn(message, "\n"), message);
    }
    free(failures);
}

int main(int argc, char **argv)
{
    char tap_path[32];
    int failed_count;
    int status = 0;
    pid_t reporter;
    SRunner *runner;
    Suite *suite = suite_create(argc > 0 ? argv[0] : "suite");

    run = mmap(NULL, sizeof(*run), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (run == MAP_FAILED)
        die("mmap");
    suite_pid = getpid();
    command_line = argv;
    choose_seed();
    test_suite(suite);
    reporter = start_reporter(tap_path, sizeof(tap_path));

    runner = srunner_create(suite);
    srunner_set_tap(runner, tap_path);
    srunner_run_all(runner, CK_SILENT);
    failed_count = srunner_ntests_failed(runner);
    waitpid(reporter, &status, 0);
    print_places_of_failures(runner);
    srunner_free(runner);
    return failed_count == 0 && status == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
