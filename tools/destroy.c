/* SPDX-License-Identifier: MIT */
#include <stdio.h>
#include <tarn.h>

#include "tools/tool.h"

static const char help[] =
    "usage: tarn destroy NAME [OPTION...]\n"
    "\n"
    "Ends a pool: writes what is committed, then removes the segment, the options and the file\n"
    "table. Data files stay.\n"
    "\n"
    "  --force          although processes are attached: they get an error from then on; and\n"
    "                   although changes cannot be written\n"
    "  --data           the directory and the data files inside it go too\n"
    "  --shm-dir DIR    where segments are (/dev/shm)\n"
    "  -h, --help       this text\n";

enum { FORCE = 256, DATA, SHM_DIR };

static const struct option options[] = {
    {"force", no_argument, NULL, FORCE},
    {"data", no_argument, NULL, DATA},
    {"shm-dir", required_argument, NULL, SHM_DIR},
    {NULL, 0, NULL, 0},
};

int tool_destroy(int argc, char **argv)
{
    const char *shm_directory = NULL;
    struct tarn_message message = {""};
    unsigned flags = 0;
    int option;
    while ((option = tool_getopt(argc, argv, "", options, help)) != -1) {
        if (option == FORCE)
            flags |= TARN_DESTROY_FORCE;
        else if (option == DATA)
            flags |= TARN_DESTROY_DATA;
        else
            shm_directory = optarg;
    }
    tool_operands(argc, argv, 1, 1);
    tool_busy("writing what is committed");
    int result = tarn_destroy(argv[optind], shm_directory, flags, &message);
    tool_busy_end();
    return result == 0 ? TOOL_GOOD : tool_error("%s", message.text);
}
