/* SPDX-License-Identifier: MIT */
#include "tools/dump.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "lib/directory.h"
#include "tools/tool.h"

static const char help[] =
    "usage: tarn dump NAME|FILE [OPTION...] [SECTION]\n"
    "\n"
    "Shows what a pool has, live and without disturbing anybody, or a copy of its segment (a FILE\n"
    "has a '/' in it). Without a SECTION: all of them but frames, table and page.\n"
    "\n"
    "  superblock       name, versions, geometry\n"
    "  options          every value in force and where it came from\n"
    "  sessions         who is attached, and how it is with the process\n"
    "  files            the file table, with counters\n"
    "  counts           frames by state; the writer's figures\n"
    "  frames           descriptors of all frames that are not FREE\n"
    "  table            entries of the page table, and micro-locks\n"
    "  holds            who pins or latches what, by frame\n"
    "  waits            who waits for whom since when, with cycles\n"
    "  page FILE:NO     a cached page: its descriptor and its bytes\n"
    "\n"
    "  --json           for programs\n"
    "  --shm-dir DIR    where segments are (/dev/shm)\n"
    "  -h, --help       this text\n";

enum { JSON = 256, SHM_DIR };

static const struct option options[] = {
    {"json", no_argument, NULL, JSON},
    {"shm-dir", required_argument, NULL, SHM_DIR},
    {NULL, 0, NULL, 0},
};

static const struct {
    const char *name;
    int (*print)(struct dump *dump);
    bool in_summary;
} sections[] = {
    {"superblock", dump_superblock, true}, {"options", dump_options, true},
    {"counts", dump_counts, true},         {"sessions", dump_sessions, true},
    {"files", dump_files, true},           {"holds", dump_holds, true},
    {"waits", dump_waits, true},           {"frames", dump_frames, false},
    {"table", dump_table, false},          {"page", dump_page, false},
};
#define SECTIONS (sizeof sections / sizeof sections[0])

void dump_object(struct dump *dump, const char *name, struct json_object *object)
{
    if (dump->json) {
        printf("\"%s\": %s", name,
               json_object_to_json_string_ext(object, JSON_C_TO_STRING_SPACED |
                                                          JSON_C_TO_STRING_NOSLASHESCAPE));
    } else {
        printf("%s:\n", name);
        decode_print_lines(object);
    }
    json_object_put(object);
}

static void add_uuid(struct json_object *object, const char *key, const uint8_t *bytes)
{
    char text[33];
    for (int i = 0; i < 16; i++)
        snprintf(text + 2 * i, 3, "%02x", bytes[i]);
    tool_json_text(object, key, text);
}

static void add_geometry(struct json_object *object, const struct tarn_geometry *geometry)
{
    const struct {
        const char *key;
        uint64_t value;
    } members[] = {
        {"segment_bytes", geometry->segment_bytes},
        {"page_bytes", geometry->page_bytes},
        {"frame_count", geometry->frame_count},
        {"session_count", geometry->session_count},
        {"slot_count", geometry->slot_count},
        {"file_count", geometry->file_count},
        {"bucket_count", geometry->bucket_count},
        {"group_slots", geometry->group_slots},
        {"control_offset", geometry->control_offset},
        {"files_offset", geometry->files_offset},
        {"slots_offset", geometry->slots_offset},
        {"holds_offset", geometry->holds_offset},
        {"table_offset", geometry->table_offset},
        {"home_locks_offset", geometry->home_locks_offset},
        {"descriptors_offset", geometry->descriptors_offset},
        {"bitmap_offset", geometry->bitmap_offset},
        {"frames_offset", geometry->frames_offset},
    };
    for (size_t i = 0; i < sizeof members / sizeof members[0]; i++)
        tool_json_count(object, members[i].key, members[i].value);
}

int dump_superblock(struct dump *dump)
{
    const struct tarn_superblock *superblock = &dump->segment.superblock;
    struct json_object *object = json_object_new_object();
    char created[64] = "";
    time_t seconds = (time_t)superblock->created_s;
    struct tm broken_down;
    if (gmtime_r(&seconds, &broken_down) != NULL)
        strftime(created, sizeof created, "%Y-%m-%dT%H:%M:%SZ", &broken_down);
    tool_json_text(object, "path", dump->segment.path);
    tool_json_text(object, "name", superblock->name);
    tool_json_text(object, "directory", superblock->directory);
    tool_json_bool(object, "live", dump->segment.live);
    tool_json_count(object, "format_version", superblock->format_version);
    decode_hex(object, "layout_hash", superblock->layout_hash);
    add_uuid(object, "pool_uuid", superblock->pool_uuid);
    add_uuid(object, "boot_id", superblock->boot_id);
    tool_json_count(object, "recovery_number", superblock->recovery_number);
    tool_json_text(object, "created", created);
    tool_json_print(object, "mode", "%04o", superblock->mode);
    tool_json_count(object, "uid", superblock->uid);
    tool_json_count(object, "gid", superblock->gid);
    add_geometry(object, &superblock->geometry);
    dump_object(dump, "superblock", object);
    return TOOL_GOOD;
}

void dump_session_key(struct dump *dump, struct json_object *row, unsigned slot)
{
    const struct tarn_slot *shared = tarn_view_slot(&dump->segment.pool.view, slot);
    char name[TARN_SESSION_NAME_BYTES + 1] = "";
    memcpy(name, shared->name, TARN_SESSION_NAME_BYTES);
    tool_json_count(row, "slot", slot);
    tool_json_text(row, "name", name);
    tool_json_count(row, "pid", tarn_load_relaxed(&shared->pid));
    tool_json_text(row, "process", segment_process(&dump->segment, slot));
}

static unsigned count_holds(const struct tarn_view *view, unsigned slot)
{
    unsigned count = 0;
    for (unsigned line = 0; line < TARN_HOLD_LINES; line++)
        for (unsigned i = 0; i < HOLD_LINE_HOLDS; i++)
            count += tarn_half_load_relaxed(&tarn_view_hold_line(view, slot, line)->hold[i]) != 0;
    return count;
}

int dump_sessions(struct dump *dump)
{
    const struct tarn_view *view = &dump->segment.pool.view;
    struct rows rows;
    rows_begin(&rows, dump->json, "sessions");
    for (unsigned slot = 1; slot <= view->slot_max; slot++) {
        const struct tarn_slot *shared = tarn_view_slot(view, slot);
        if (tarn_load_acquire(&shared->state) == SLOT_FREE)
            continue;
        unsigned claims = 0;
        for (unsigned i = 0; i < TARN_CLAIMS_MAX; i++)
            claims += tarn_half_load_relaxed(&shared->claim[i]) != 0;
        struct json_object *row = json_object_new_object();
        dump_session_key(dump, row, slot);
        tool_json_text(row, "role", decode_role(tarn_load_relaxed(&shared->role)));
        tool_json_double(row, "age_s",
                         segment_age(&dump->segment, tarn_load_relaxed(&shared->joined_ns)));
        tool_json_count(row, "pins", count_holds(view, slot));
        tool_json_count(row, "claims", claims);
        decode_mtr_word(row, "mtr", tarn_load_acquire(&shared->mtr));
        decode_named(row, "wait_word", tarn_load_acquire(&shared->wait));
        decode_request_word(row, "request", tarn_load_acquire(&shared->request.word));
        rows_add(&rows, row);
    }
    rows_end(&rows);
    return TOOL_GOOD;
}

int dump_files(struct dump *dump)
{
    const struct tarn_view *view = &dump->segment.pool.view;
    struct tarn_file_record *records = segment_records(&dump->segment);
    struct rows rows;
    rows_begin(&rows, dump->json, "files");
    for (uint32_t file = 1; file <= view->geometry.file_count; file++) {
        const struct tarn_file_entry *entry = &view->files[file];
        uint64_t word = tarn_load_acquire(&entry->word);
        if (file_word_state(word) == FILE_FREE)
            continue;
        struct json_object *row = json_object_new_object();
        tool_json_count(row, "file", file);
        decode_named(row, "file_word", word);
        tool_json_count(row, "page_count", tarn_load_relaxed(&entry->page_count));
        tool_json_count(
            row, "share",
            share_word_limit(tarn_load_relaxed(&entry->share), view->geometry.frame_count));
        tool_json_count(row, "misses", tarn_load_relaxed(&entry->misses));
        tool_json_count(row, "reads", tarn_load_relaxed(&entry->reads));
        tool_json_count(row, "writes", tarn_load_relaxed(&entry->writes));
        tool_json_count(row, "syncs", tarn_load_relaxed(&entry->syncs));
        tool_json_count(row, "errors", tarn_load_relaxed(&entry->errors));
        bool known = records != NULL && records[file].id == file &&
                     records[file].incarnation == file_word_incarnation(word);
        tool_json_text(row, "path", known ? records[file].path : "?");
        rows_add(&rows, row);
    }
    rows_end(&rows);
    free(records);
    return TOOL_GOOD;
}

static bool parse_page(const char *text, uint64_t *ret_page_id)
{
    char *end;
    unsigned long long file = strtoull(text, &end, 10);
    if (text[0] < '0' || text[0] > '9' || *end != ':' || file < 1 || file > TARN_FILE_COUNT_MAX)
        return false;
    const char *number_text = end + 1;
    errno = 0;
    unsigned long long number = strtoull(number_text, &end, 10);
    if (number_text[0] < '0' || number_text[0] > '9' || *end != 0 || errno != 0 ||
        number > TARN_MASK(TARN_NUMBER_BITS))
        return false;
    *ret_page_id = page_id_of((uint32_t)file, number);
    return true;
}

/* Which section the operands ask for; SECTIONS: the summary. */
static size_t parse_section(int argc, char **argv, struct dump *dump)
{
    size_t section = 0;
    if (argc - optind < 2)
        return SECTIONS;
    const char *name = argv[optind + 1];
    while (section < SECTIONS && strcmp(sections[section].name, name) != 0)
        section++;
    if (section == SECTIONS)
        tool_misuse("there is no section '%s'", name);
    bool page = sections[section].print == dump_page;
    tool_operands(argc, argv, page ? 3 : 2, page ? 3 : 2);
    if (page && !parse_page(argv[optind + 2], &dump->page_id))
        tool_misuse("'%s' is not a page: FILE:NO, two numbers", argv[optind + 2]);
    return section;
}

static int print_sections(struct dump *dump, size_t chosen)
{
    int status = TOOL_GOOD;
    if (dump->json)
        printf("{\"format\": 1");
    for (size_t i = 0; i < SECTIONS && status != TOOL_TROUBLE; i++) {
        if (chosen == SECTIONS ? !sections[i].in_summary : i != chosen)
            continue;
        if (dump->json)
            fputs(",\n", stdout);
        status = sections[i].print(dump);
    }
    if (dump->json)
        puts("}");
    return status;
}

int tool_dump(int argc, char **argv)
{
    struct dump dump = {.json = false};
    const char *shm_directory = NULL;
    int option;
    while ((option = tool_getopt(argc, argv, "", options, help)) != -1) {
        if (option == JSON)
            dump.json = true;
        else
            shm_directory = optarg;
    }
    tool_operands(argc, argv, 1, 3);
    size_t section = parse_section(argc, argv, &dump);
    int status = segment_open(argv[optind], shm_directory, &dump.segment);
    if (status != 0)
        return status;
    status = print_sections(&dump, section);
    segment_close(&dump.segment);
    return status;
}
