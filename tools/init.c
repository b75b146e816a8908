/* SPDX-License-Identifier: MIT */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <tarn.h>

#include "shm/layout.h"
#include "tools/tool.h"

static const char help[] =
    "usage: tarn init NAME [OPTION...]\n"
    "\n"
    "Makes a pool: its directory and its segment. 'tarn writer NAME' then does its writing.\n"
    "\n"
    "  --dir DIR        the pool's directory (./NAME.tarn); made if it is not there\n"
    "  --frames SIZE    memory for pages: 64M, 4G, ... (64M)\n"
    "  --page-size N    bytes of a page: 4K, 8K, 16K, 32K or 64K (4K)\n"
    "  --sessions N     sessions at a time, 1 to 1024 (64)\n"
    "  --files N        files at a time, 1 to 65535 (256)\n"
    "  --mode MODE      permission bits of segment and directory's files, octal: 0600 or 0660,\n"
    "                   which lets the group attach (0600)\n"
    "  --policy NAME    by which pages leave the pool: s3-fifo-adaptive (the default), s3-fifo,\n"
    "                   clock, sieve, 2q, lru or lru-2\n"
    "  --shm-dir DIR    where segments are (/dev/shm)\n"
    "  -h, --help       this text\n";

enum { DIR_OPTION = 256, FRAMES, PAGE_SIZE, SESSIONS, FILES, MODE, POLICY, SHM_DIR };

static const struct option options[] = {
    {"dir", required_argument, NULL, DIR_OPTION},
    {"frames", required_argument, NULL, FRAMES},
    {"page-size", required_argument, NULL, PAGE_SIZE},
    {"sessions", required_argument, NULL, SESSIONS},
    {"files", required_argument, NULL, FILES},
    {"mode", required_argument, NULL, MODE},
    {"policy", required_argument, NULL, POLICY},
    {"shm-dir", required_argument, NULL, SHM_DIR},
    {NULL, 0, NULL, 0},
};

static uint32_t parse_mode(const char *text)
{
    char *end;
    unsigned long mode = strtoul(text, &end, 8);
    if (text[0] < '0' || text[0] > '7' || *end != 0 || (mode & ~0660ul) != 0 ||
        (mode & 0600) != 0600)
        tool_misuse("--mode: '%s' is not a mode that a pool can have: 0600, 0640 or 0660", text);
    return (uint32_t)mode;
}

int tool_init(int argc, char **argv)
{
    struct tarn_init_options init = {.size = sizeof init};
    struct tarn_message message = {""};
    int option;
    while ((option = tool_getopt(argc, argv, "", options, help)) != -1) {
        switch (option) {
        case DIR_OPTION:
            init.directory = optarg;
            break;
        case FRAMES:
            init.frame_bytes = tool_size("--frames", optarg, 1, UINT64_MAX);
            break;
        case PAGE_SIZE:
            init.page_bytes = (uint32_t)tool_size("--page-size", optarg, TARN_PAGE_BYTES_MIN,
                                                  TARN_PAGE_BYTES_MAX);
            break;
        case SESSIONS:
            init.session_count = (uint32_t)tool_number("--sessions", optarg, 1, TARN_SESSION_MAX);
            break;
        case FILES:
            init.file_count = (uint32_t)tool_number("--files", optarg, 1, TARN_FILE_COUNT_MAX);
            break;
        case MODE:
            init.mode = parse_mode(optarg);
            break;
        case POLICY:
            init.policy = optarg;
            break;
        default:
            init.shm_directory = optarg;
        }
    }
    tool_operands(argc, argv, 1, 1);
    tool_busy("taking the memory");
    int result = tarn_init(argv[optind], &init, &message);
    tool_busy_end();
    return result == 0 ? TOOL_GOOD : tool_error("%s", message.text);
}
