/* SPDX-License-Identifier: MIT */
#include "tools/trace.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define CSV_HEADER "version,time,op,size,lbn"

/* Dense numbers of pages: open addressing, the table at most half full. */
struct numbering {
    uint64_t *keys; /* page + 1; 0: empty */
    uint32_t *numbers;
    uint32_t bits;
    uint32_t count;
};

struct reader {
    struct trace trace;
    uint32_t request_space, reference_space;
    struct numbering numbering;
    uint32_t page_bytes;
    bool csv;
};

static uint32_t place_of(const struct numbering *numbering, uint64_t key)
{
    uint32_t mask = (UINT32_C(1) << numbering->bits) - 1;
    uint32_t place = (uint32_t)(key * UINT64_C(0x9e3779b97f4a7c15) >> (64 - numbering->bits));
    while (numbering->keys[place] != 0 && numbering->keys[place] != key)
        place = (place + 1) & mask;
    return place;
}

static bool numbering_grow(struct numbering *numbering)
{
    struct numbering old = *numbering;
    struct numbering new = {.bits = old.bits == 0 ? 16 : old.bits + 1, .count = old.count};
    if (new.bits > 31)
        return false;
    new.keys = calloc(UINT64_C(1) << new.bits, sizeof *new.keys);
    new.numbers = calloc(UINT64_C(1) << new.bits, sizeof *new.numbers);
    if (new.keys == NULL || new.numbers == NULL) {
        free(new.keys);
        free(new.numbers);
        return false;
    }
    for (uint64_t i = 0; old.keys != NULL && i < UINT64_C(1) << old.bits; i++) {
        if (old.keys[i] == 0)
            continue;
        uint32_t place = place_of(&new, old.keys[i]);
        new.keys[place] = old.keys[i];
        new.numbers[place] = old.numbers[i];
    }
    free(old.keys);
    free(old.numbers);
    *numbering = new;
    return true;
}

static bool number_page(struct numbering *numbering, uint64_t page, uint32_t *ret_number)
{
    if (numbering->keys == NULL || numbering->count >= UINT32_C(1) << (numbering->bits - 1)) {
        if (!numbering_grow(numbering))
            return false;
    }
    uint32_t place = place_of(numbering, page + 1);
    if (numbering->keys[place] == 0) {
        numbering->keys[place] = page + 1;
        numbering->numbers[place] = numbering->count++;
    }
    *ret_number = numbering->numbers[place];
    return true;
}

/* Makes room for one more element. */
static bool grow(void **array, uint32_t *space, uint32_t used, size_t element_bytes)
{
    if (used < *space)
        return true;
    if (*space > UINT32_MAX / 2)
        return false;
    uint32_t wanted = *space == 0 ? 65536 : *space * 2;
    void *grown = realloc(*array, wanted * element_bytes);
    if (grown == NULL)
        return false;
    *array = grown;
    *space = wanted;
    return true;
}

static bool add_request(struct reader *reader, bool write, uint64_t page, uint64_t count)
{
    struct trace *trace = &reader->trace;
    void *requests = trace->requests;
    bool grown =
        grow(&requests, &reader->request_space, trace->request_count, sizeof *trace->requests);
    trace->requests = requests;
    if (!grown)
        return false;
    trace->requests[trace->request_count++] = (struct trace_request){
        .first = trace->reference_count, .count = (uint32_t)count, .write = write};
    for (uint64_t i = 0; i < count; i++) {
        void *pages = trace->pages;
        grown =
            grow(&pages, &reader->reference_space, trace->reference_count, sizeof *trace->pages);
        trace->pages = pages;
        if (!grown ||
            !number_page(&reader->numbering, page + i, &trace->pages[trace->reference_count]))
            return false;
        trace->reference_count++;
    }
    return true;
}

static bool parse_op(const char *text, size_t length, bool *ret_write)
{
    static const struct {
        const char *text;
        bool write;
    } ops[] = {{"2a", true}, {"28", false}, {"w", true},     {"r", false},
               {"W", true},  {"R", false},  {"write", true}, {"read", false}};
    for (size_t i = 0; i < sizeof ops / sizeof ops[0]; i++) {
        if (strlen(ops[i].text) == length && memcmp(ops[i].text, text, length) == 0) {
            *ret_write = ops[i].write;
            return true;
        }
    }
    return false;
}

static bool parse_number(const char **text, char end, uint64_t *ret_number)
{
    char *after;
    if (**text < '0' || **text > '9')
        return false;
    errno = 0;
    *ret_number = strtoull(*text, &after, 10);
    if (errno != 0 || *after != end)
        return false;
    *text = after + (end != '\0');
    return true;
}

/* "version,time,op,size,lbn". */
static const char *add_csv_line(struct reader *reader, const char *line)
{
    uint64_t ignored, bytes, sector;
    bool write;
    if (!parse_number(&line, ',', &ignored) || !parse_number(&line, ',', &ignored))
        return "no version and time";
    size_t length = strcspn(line, ",");
    if (!parse_op(line, length, &write) || line[length] != ',')
        return "op is neither 2a nor 28";
    line += length + 1;
    if (!parse_number(&line, ',', &bytes) || !parse_number(&line, '\0', &sector))
        return "no size and block number";
    if (bytes == 0 || bytes > UINT64_C(1) << 30 || sector > UINT64_C(1) << 54)
        return "size or block number out of range";
    if (reader->page_bytes == 0)
        return add_request(reader, write, sector, 1) ? NULL : "out of memory";
    uint64_t first = sector * 512 / reader->page_bytes;
    uint64_t end = (sector * 512 + bytes + reader->page_bytes - 1) / reader->page_bytes;
    return add_request(reader, write, first, end - first) ? NULL : "out of memory";
}

/* "op,page". */
static const char *add_plain_line(struct reader *reader, const char *line)
{
    uint64_t page;
    bool write;
    size_t length = strcspn(line, ",");
    if (!parse_op(line, length, &write) || line[length] != ',')
        return "op is neither w nor r";
    line += length + 1;
    if (!parse_number(&line, '\0', &page) || page == UINT64_MAX)
        return "no page number";
    return add_request(reader, write, page, 1) ? NULL : "out of memory";
}

static const char *add_line(struct reader *reader, char *line, uint64_t line_number)
{
    line[strcspn(line, "\r\n")] = '\0';
    if (line_number == 1 && strcmp(line, CSV_HEADER) == 0) {
        reader->csv = true;
        return NULL;
    }
    if (line[0] == '\0' || line[0] == '#')
        return NULL;
    return reader->csv ? add_csv_line(reader, line) : add_plain_line(reader, line);
}

static bool read_lines(struct reader *reader, FILE *file, const char *path, char *ret_message,
                       size_t message_bytes)
{
    char *line = NULL;
    size_t line_bytes = 0;
    uint64_t line_number = 0;
    const char *wrong = NULL;
    while (wrong == NULL && getline(&line, &line_bytes, file) > 0)
        wrong = add_line(reader, line, ++line_number);
    free(line);
    if (wrong != NULL)
        snprintf(ret_message, message_bytes, "%s, line %llu: %s", path,
                 (unsigned long long)line_number, wrong);
    else if (ferror(file))
        snprintf(ret_message, message_bytes, "%s: %s", path, strerror(errno));
    else if (reader->trace.request_count == 0)
        snprintf(ret_message, message_bytes, "%s: no requests", path);
    else
        return true;
    return false;
}

bool trace_read(const char *path, uint32_t page_bytes, struct trace *ret_trace, char *ret_message,
                size_t message_bytes)
{
    struct reader reader = {.page_bytes = page_bytes};
    FILE *file = fopen(path, "re");
    if (file == NULL) {
        snprintf(ret_message, message_bytes, "%s: %s", path, strerror(errno));
        return false;
    }
    bool done = read_lines(&reader, file, path, ret_message, message_bytes);
    fclose(file);
    reader.trace.page_count = reader.numbering.count;
    free(reader.numbering.keys);
    free(reader.numbering.numbers);
    if (done)
        *ret_trace = reader.trace;
    else
        trace_free(&reader.trace);
    return done;
}

void trace_free(struct trace *trace)
{
    free(trace->requests);
    free(trace->pages);
    *trace = (struct trace){0};
}

/* Shape of what is made up, taken from traces of virtual machines' disks. */
enum {
    REQUESTS = 113900,
    CHUNK_PAGES = 16, /* a large request */
    RUN_CHUNKS = 64,  /* large requests in sequence before the next place */
    RUNS = 264,       /* RUNS * RUN_CHUNKS * CHUNK_PAGES = 270,336 pages */
    LARGE_PERCENT = 54,
    AGAIN_PERCENT = 15, /* large requests that come back to a place of a short while ago */
    AGAIN_CHUNKS = 512,
    WRITE_PERCENT = 59,
    SECTORS_PER_PAGE = 8,
};

static uint64_t next_random(uint64_t *state)
{
    /* splitmix64 */
    uint64_t z = (*state += UINT64_C(0x9e3779b97f4a7c15));
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

static uint32_t random_below(uint64_t *state, uint32_t limit)
{
    return (uint32_t)((next_random(state) >> 32) * limit >> 32);
}

static void shuffle(uint64_t *state, uint16_t *runs)
{
    for (uint32_t i = RUNS - 1; i > 0; i--) {
        uint32_t other = random_below(state, i + 1);
        uint16_t run = runs[i];
        runs[i] = runs[other];
        runs[other] = run;
    }
}

/* Small requests crowd at the low pages: half of them on one page in eight of all. */
static uint32_t hot_page(uint64_t *state)
{
    uint64_t u = next_random(state) >> 43;
    return (uint32_t)(((u * u >> 21) * u >> 21) * (RUNS * RUN_CHUNKS * CHUNK_PAGES - CHUNK_PAGES) >>
                      21);
}

/* Where the large requests go: in sequence through each run, the runs in random order. */
struct passes {
    uint16_t runs[RUNS];
    uint32_t run, chunk;
    uint32_t recent[AGAIN_CHUNKS]; /* a ring */
    uint32_t count;
};

static uint32_t large_page(struct passes *passes, uint64_t *state)
{
    bool again = random_below(state, 100) < AGAIN_PERCENT;
    if (again && passes->count >= AGAIN_CHUNKS)
        return passes->recent[random_below(state, AGAIN_CHUNKS)];
    if (passes->chunk == RUN_CHUNKS) {
        passes->chunk = 0;
        passes->run = (passes->run + 1) % RUNS;
        if (passes->run == 0)
            shuffle(state, passes->runs);
    }
    uint32_t page = (passes->runs[passes->run] * RUN_CHUNKS + passes->chunk++) * CHUNK_PAGES;
    passes->recent[passes->count++ % AGAIN_CHUNKS] = page;
    return page;
}

bool trace_generate(FILE *file)
{
    static const uint16_t small_sectors[] = {1, 3, 8, 8, 16, 16, 16, 24, 24, 128};
    uint64_t state = 1;
    struct passes passes = {.run = RUNS - 1, .chunk = RUN_CHUNKS};
    for (uint16_t i = 0; i < RUNS; i++)
        passes.runs[i] = i;
    fprintf(file, CSV_HEADER "\n");
    for (uint32_t request = 0; request < REQUESTS; request++) {
        uint32_t page, sectors;
        if (random_below(&state, 100) < LARGE_PERCENT) {
            page = large_page(&passes, &state);
            sectors = CHUNK_PAGES * SECTORS_PER_PAGE;
        } else {
            page = hot_page(&state);
            sectors = small_sectors[random_below(&state, sizeof small_sectors / 2)];
        }
        const char *op = random_below(&state, 100) < WRITE_PERCENT ? "2a" : "28";
        fprintf(file, "1,%u,%s,%u,%u\n", request / 16, op, sectors * 512, page * SECTORS_PER_PAGE);
    }
    return ferror(file) == 0;
}
