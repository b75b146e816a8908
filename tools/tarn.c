/* SPDX-License-Identifier: MIT */
/* The command: picks the subcommand. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <tarn.h>

#include "tools/tool.h"

static const struct {
    const char *name;
    int (*run)(int argc, char **argv);
    const char *summary;
} subcommands[] = {
    {"init", tool_init, "make a pool"},
    {"destroy", tool_destroy, "end a pool"},
    {"writer", tool_writer, "run the process that writes a pool's pages to disk"},
    {"set", tool_set, "change what can be changed while a pool works, or show it"},
    {"dump", tool_dump, "show what a pool has: sessions, files, frames, holds, waits"},
    {"stat", tool_stat, "show what a pool does: counters and latencies"},
    {"check", tool_check, "look whether a pool is as it must be"},
    {"replay", tool_replay, "work through a block trace, with content verified"},
    {"bench", tool_bench, "measure hits, misses, updates and flushes"},
};
#define SUBCOMMANDS (sizeof subcommands / sizeof subcommands[0])

static void print_help(FILE *out)
{
    fputs("usage: tarn COMMAND [OPTION...] [OPERAND...]\n"
          "       tarn --help | --version\n"
          "\n"
          "Commands ('tarn COMMAND --help' and 'man tarn-COMMAND' say more):\n",
          out);
    for (size_t i = 0; i < SUBCOMMANDS; i++)
        fprintf(out, "  %-8s  %s\n", subcommands[i].name, subcommands[i].summary);
    fputs("\n"
          "Exit status: 0 done; 1 the answer is no (check, replay --verify); 2 trouble.\n",
          out);
}

static int run(int argc, char **argv)
{
    if (argc < 2) {
        print_help(stderr);
        return TOOL_TROUBLE;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
        print_help(stdout);
        return TOOL_GOOD;
    }
    if (strcmp(argv[1], "--version") == 0) {
        printf("tarn %s\n", tarn_version());
        return TOOL_GOOD;
    }
    for (size_t i = 0; i < SUBCOMMANDS; i++)
        if (strcmp(argv[1], subcommands[i].name) == 0) {
            tool_begin(argv[1]);
            return subcommands[i].run(argc - 1, argv + 1);
        }
    fprintf(stderr, "tarn: no command '%s'\nTry 'tarn --help'.\n", argv[1]);
    return TOOL_TROUBLE;
}

int main(int argc, char **argv)
{
    int status = run(argc, argv);
    if (fflush(stdout) == 0 && !ferror(stdout))
        return status;
    fprintf(stderr, "tarn: standard output: %s\n", strerror(errno));
    return TOOL_TROUBLE;
}
