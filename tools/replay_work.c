/* SPDX-License-Identifier: MIT */
/* A process of a replay: page reads and mini-transactions, and with --verify what every page has
 * to contain.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>

#include "tools/replay.h"
#include "tools/tool.h"

/* The beginning of a page; the rest is filled with numbers that follow from it. A page that was
 * never written is zeros. */
struct page_header {
    uint64_t page;
    uint64_t sequence; /* changes of the page, from 1 on */
    uint64_t writer;   /* pid */
    uint32_t checksum; /* of the page with this field 0 */
    uint32_t reserved;
};

struct process {
    const struct replay *replay;
    struct replay_progress *progress;
    struct tarn_session *session;
    uint8_t copy[TARN_PAGE_BYTES_MAX];
};

static uint32_t checksum_of(const void *bytes, uint32_t page_bytes)
{
    struct page_header header;
    memcpy(&header, bytes, sizeof header);
    header.checksum = 0;
    uLong sum = crc32(0, (const Bytef *)&header, sizeof header);
    return (uint32_t)crc32(sum, (const Bytef *)bytes + sizeof header,
                           page_bytes - (uInt)sizeof header);
}

static void fill_page(const struct replay *replay, uint32_t page, uint64_t sequence, void *bytes)
{
    struct page_header header = {.page = page, .sequence = sequence, .writer = (uint64_t)getpid()};
    uint64_t value = (uint64_t)page << 32 ^ sequence << 8 ^ header.writer;
    uint64_t *words = bytes;
    for (uint32_t i = sizeof header / 8; i < replay->page_bytes / 8; i++)
        words[i] = value += UINT64_C(0x9e3779b97f4a7c15);
    memcpy(bytes, &header, sizeof header);
    header.checksum = checksum_of(bytes, replay->page_bytes);
    memcpy(bytes, &header, sizeof header);
}

static bool all_zeros(const uint8_t *bytes, uint32_t count)
{
    return bytes[0] == 0 && memcmp(bytes, bytes + 1, count - 1) == 0;
}

uint64_t replay_check_page(const struct replay *replay, uint32_t page, const void *bytes,
                           uint64_t floor, const char *source)
{
    struct page_header header;
    const char *wrong = NULL;
    memcpy(&header, bytes, sizeof header);
    if (header.sequence == 0) {
        if (!all_zeros(bytes, replay->page_bytes))
            wrong = "neither zeros nor a page of this replay";
    } else if (header.checksum != checksum_of(bytes, replay->page_bytes)) {
        wrong = "checksum is wrong";
    } else if (header.page != page) {
        wrong = "another page";
    }
    if (wrong == NULL && header.sequence < floor)
        wrong = "older than a version already seen";
    if (wrong != NULL && tarn_fetch_add_full(&replay->shared->errors, 1) < REPLAY_MESSAGES_MAX)
        tool_error("page %" PRIu32 ", %s: %s (page %" PRIu64 ", sequence %" PRIu64
                   ", writer %" PRIu64 "; at least sequence %" PRIu64 ")",
                   page, source, wrong, header.page, header.sequence, header.writer, floor);
    return header.sequence;
}

/* Bounded: the word only rises, and each round lost is a rise by another process. */
static void raise_floor(tarn_word *floor, uint64_t sequence)
{
    for (;;) {
        uint64_t seen = tarn_load_acquire(floor);
        if (seen >= sequence || tarn_cas_full(floor, seen, sequence))
            return;
    }
}

static void raise_word(tarn_word *word, uint64_t value)
{
    if (value > tarn_load_relaxed(word))
        tarn_store_relaxed(word, value);
}

static struct tarn_page_id id_of(const struct process *process, uint32_t page)
{
    return tarn_page_id(process->replay->file, page);
}

/* Under a shared latch, through a pin that stays. */
static int read_latched(struct process *process, uint32_t page, struct tarn_pin pin)
{
    const struct replay *replay = process->replay;
    tarn_word *floor = &replay->shared->floors[page];
    uint64_t least = tarn_load_acquire(floor);
    int result = tarn_latch_shared(process->session, pin, -1);
    if (result < 0)
        return result;
    if (replay->verify)
        raise_floor(floor, replay_check_page(replay, page, pin.data, least, "latched read"));
    else
        memcpy(process->copy, pin.data, replay->page_bytes);
    return tarn_unlatch_shared(process->session, pin);
}

static int read_copy(struct process *process, uint32_t page)
{
    const struct replay *replay = process->replay;
    tarn_word *floor = &replay->shared->floors[page];
    uint64_t least = tarn_load_acquire(floor);
    int result = tarn_page_copy(process->session, id_of(process, page), 0, replay->page_bytes,
                                process->copy);
    if (result == 0 && replay->verify)
        raise_floor(floor, replay_check_page(replay, page, process->copy, least, "copied read"));
    return result;
}

/* Single pages without a pin, several pinned together. */
static int read_pages(struct process *process, const uint32_t *pages, unsigned count)
{
    struct tarn_page_id ids[REPLAY_STEP_PAGES_MAX];
    struct tarn_pin pins[REPLAY_STEP_PAGES_MAX];
    if (count == 1)
        return read_copy(process, pages[0]);
    for (unsigned i = 0; i < count; i++)
        ids[i] = id_of(process, pages[i]);
    int result = tarn_pin_many(process->session, ids, count, TARN_HINT_NONE, pins);
    for (unsigned i = 0; i < count && result >= 0; i++)
        result = read_latched(process, pages[i], pins[i]);
    return result < 0 ? result : tarn_unpin_many(process->session, pins, count);
}

static int write_page(struct process *process, uint32_t page, uint64_t *ret_sequence)
{
    const struct replay *replay = process->replay;
    struct tarn_writable_page writable;
    int result = tarn_mtr_write(process->session, id_of(process, page), -1, &writable);
    if (result < 0)
        return result;
    if (!replay->verify) {
        memcpy(writable.data, process->copy, replay->page_bytes);
        return 0;
    }
    uint64_t least = tarn_load_acquire(&replay->shared->floors[page]);
    *ret_sequence = 1 + replay_check_page(replay, page, writable.data, least, "page to change");
    fill_page(replay, page, *ret_sequence, writable.data);
    return 0;
}

static int compare_pages(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

/* In one mini-transaction; in ascending order, so that no two of them wait for each other. */
static int write_pages(struct process *process, const uint32_t *pages, unsigned count)
{
    uint32_t sorted[REPLAY_STEP_PAGES_MAX];
    uint64_t sequences[REPLAY_STEP_PAGES_MAX];
    memcpy(sorted, pages, count * sizeof *pages);
    qsort(sorted, count, sizeof *sorted, compare_pages);
    int result = tarn_mtr_begin(process->session, count);
    for (unsigned i = 0; i < count && result >= 0; i++)
        result = write_page(process, sorted[i], &sequences[i]);
    if (result >= 0)
        result = tarn_mtr_commit(process->session, 0);
    for (unsigned i = 0; i < count && result >= 0 && process->replay->verify; i++)
        raise_floor(&process->replay->shared->floors[sorted[i]], sequences[i]);
    return result;
}

static int do_request(struct process *process, const struct trace_request *request)
{
    const struct replay *replay = process->replay;
    uint64_t request_begun_ns = tarn_now_ns(), begun_ns = request_begun_ns;
    for (uint32_t done = 0; done < request->count;) {
        const uint32_t *pages = &replay->trace.pages[request->first + done];
        unsigned count =
            request->count - done < replay->step_pages ? request->count - done : replay->step_pages;
        int result =
            request->write ? write_pages(process, pages, count) : read_pages(process, pages, count);
        if (result < 0)
            return result;
        uint64_t now_ns = tarn_now_ns();
        raise_word(&process->progress->stall_ns_max, now_ns - begun_ns);
        tarn_count(&process->progress->references, count);
        begun_ns = now_ns;
        done += count;
    }
    uint64_t ns = begun_ns - request_begun_ns;
    raise_word(&process->progress->request_ns_max, ns);
    tarn_half_count(&process->progress->request_ns.count[tarn_bucket_of(ns)], 1);
    return 0;
}

static int do_requests(struct process *process, unsigned number)
{
    const struct replay *replay = process->replay;
    tarn_word *done = &process->progress->requests;
    for (;;) {
        uint64_t index = number + tarn_load_relaxed(done) * replay->process_count;
        if (index >= replay->trace.request_count)
            return 0;
        int result = do_request(process, &replay->trace.requests[index]);
        if (result < 0)
            return result;
        tarn_count(done, 1);
    }
}

int replay_work(const struct replay *replay, unsigned number)
{
    struct tarn_pool *pool;
    struct tarn_message message;
    /* A takeover may come between: it is waited for. */
    struct tarn_session_options options = {.size = sizeof options,
                                           .name = "replay",
                                           .wait_ms = -1,
                                           .frame_wait_ms = 30000,
                                           .writer_wait_ms = 30000};
    struct process *process = calloc(1, sizeof *process);
    if (process == NULL)
        return tool_error("out of memory");
    process->replay = replay;
    process->progress = &replay->shared->progress[number];
    int result = tarn_attach(replay->name, replay->attach, &pool, &message);
    if (result < 0) {
        free(process);
        return tool_error("%s", message.text);
    }
    result = tarn_session_open(pool, &options, &process->session);
    if (result < 0) {
        tarn_pool_message(pool, &message);
        tool_error("%s", message.text);
    } else {
        result = do_requests(process, number);
        if (result < 0)
            tool_error("%s", tarn_session_message(process->session));
    }
    tarn_detach(pool);
    free(process);
    return result < 0 ? TOOL_TROUBLE : TOOL_GOOD;
}
