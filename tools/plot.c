/* SPDX-License-Identifier: MIT */
#include "tools/plot.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tools/tool.h"

static bool ends_in(const char *text, const char *end)
{
    size_t length = strlen(text), end_length = strlen(end);
    return length > end_length && strcmp(text + length - end_length, end) == 0;
}

bool plot_can_write(const char *path)
{
    return ends_in(path, ".svg") || ends_in(path, ".png");
}

/* A string of gnuplot's, in which only the quote itself means something. */
static void write_quoted(FILE *script, const char *text)
{
    fputc('\'', script);
    for (; *text != '\0'; text++) {
        if (*text == '\'')
            fputc('\'', script);
        fputc(*text, script);
    }
    fputc('\'', script);
}

static void write_script(FILE *script, const char *path, const char *title,
                         const struct plot_point *points, unsigned point_count,
                         unsigned policy_count)
{
    fprintf(script, "set terminal %s size 960,600 background 'white'\nset output ",
            ends_in(path, ".svg") ? "svg" : "pngcairo");
    write_quoted(script, path);
    fprintf(script, "\nset title ");
    write_quoted(script, title);
    fprintf(script, " noenhanced\nset xlabel 'frames'\nset ylabel 'miss ratio'\nset grid\n"
                    "set xrange [0:*]\nset yrange [0:1]\nset key outside noenhanced\n");
    for (unsigned policy = 0; policy < policy_count; policy++) {
        fprintf(script, "$p%u << END\n", policy);
        for (unsigned i = policy; i < point_count; i += policy_count)
            fprintf(script, "%" PRIu32 " %.6f\n", points[i].frames,
                    (double)points[i].misses / points[i].references);
        fprintf(script, "END\n");
    }
    for (unsigned policy = 0; policy < policy_count; policy++)
        fprintf(script, "%s $p%u with linespoints lw 2 title '%s'", policy == 0 ? "plot" : ",",
                policy, points[policy].policy);
    fprintf(script, "\n");
}

/* Runs gnuplot with the script as its input. */
static int run_gnuplot(int script_fd)
{
    char *arguments[] = {(char[]){"gnuplot"}, NULL};
    posix_spawn_file_actions_t actions;
    pid_t pid;
    int status = 0;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, script_fd, STDIN_FILENO);
    /* Where a picture goes whose file cannot be opened. */
    posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
    int error = posix_spawnp(&pid, "gnuplot", &actions, NULL, arguments, environ);
    posix_spawn_file_actions_destroy(&actions);
    if (error == ENOENT)
        return tool_error("--plot needs gnuplot, which is not installed (on Debian, package "
                          "gnuplot-nox)");
    if (error != 0)
        return tool_error("gnuplot cannot be run: %s", strerror(error));
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
    }
    return status == 0 ? TOOL_GOOD : tool_error("gnuplot has failed");
}

int plot_write(const char *path, const char *title, const struct plot_point *points,
               unsigned point_count, unsigned policy_count)
{
    int fd = memfd_create("gnuplot", MFD_CLOEXEC);
    FILE *script = fd < 0 ? NULL : fdopen(fd, "w");
    int status = TOOL_TROUBLE;
    if (script != NULL) {
        write_script(script, path, title, points, point_count, policy_count);
        if (fflush(script) == 0 && lseek(fd, 0, SEEK_SET) == 0)
            status = run_gnuplot(fd);
        fclose(script);
        return status;
    }
    tool_error("%s: %s", path, strerror(errno));
    if (fd >= 0)
        close(fd);
    return status;
}
