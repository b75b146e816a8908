/* SPDX-License-Identifier: MIT */
/* What the systems that this one descends from test, each by its name: as seen by processes that
 * share a pool, with a disk that holds requests back where it matters when one ends.
 */
#include <dirent.h>
#include <math.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#include "tests/disk.h"
#include "tools/workload.h"

/* Processes beside the test's own. */

enum { NOT_YET = 12345, PEERS_MAX = 8, HASTY_MS = 20 };

struct peer { /* shared with its process */
    pid_t pid;
    struct tarn_page_id id;
    int byte;
    _Atomic int result;         /* NOT_YET until its call has returned */
    _Atomic unsigned step;      /* how far it is */
    _Atomic unsigned goes_on;   /* how far it may go */
    _Atomic uint64_t committed; /* changes that it has committed */
};

/* No test depends on how long a frame or a writer is waited for, unless it says so. */
static struct tarn_session *open_session_that_waits(int32_t frame_wait_ms)
{
    struct tarn_session_options options = {
        .size = sizeof(options), .frame_wait_ms = frame_wait_ms, .writer_wait_ms = NEVER_MS};
    struct tarn_session *opened;

    ck_assert_int_eq(tarn_session_open(pool, &options, &opened), 0);
    return opened;
}

/* In the peer: its own pool and session. What it has got of the writer's files would keep the next
 * writer waiting. */
static void join_pool(void)
{
    if (writer != NULL)
        tarn_writer_close_in_child(writer);
    pool = attach_pool(test_pool_name());
    session = open_session_that_waits(NEVER_MS);
}

/* Tells that the step is done, and waits until it may go on. */
static void step(struct peer *peer)
{
    unsigned done = ++peer->step;

    while (peer->goes_on < done)
        sleep_ms(1);
}

static struct peer *new_peer(struct tarn_page_id id)
{
    struct peer *peer = share_memory(sizeof(*peer));

    peer->id = id;
    peer->result = NOT_YET;
    return peer;
}

static struct peer *start_peer(void (*work)(void *peer), struct tarn_page_id id)
{
    struct peer *peer = new_peer(id);

    peer->pid = start_process(work, peer);
    return peer;
}

static int end_peer(const struct peer *peer)
{
    assert_ends_well(peer->pid);
    return peer->result;
}

/* Sleeps until what it waits for, one of WAIT_*, happens. */
static bool waits_for(const struct peer *peer, unsigned what)
{
    unsigned slot = slot_of_process(pool, peer->pid);

    return slot != 0 &&
           (tarn_load_relaxed(&tarn_view_slot(&pool->view, slot)->wait) & 0xff) == what;
}

static void flush_its_page(void *argument)
{
    struct peer *peer = argument;

    join_pool();
    peer->result = tarn_flush_page(session, peer->id);
}

static void flush_its_file(void *argument)
{
    struct peer *peer = argument;

    join_pool();
    peer->result = tarn_flush_file(session, tarn_page_file(peer->id));
}

static void flush_everything(void *argument)
{
    struct peer *peer = argument;

    join_pool();
    peer->result = tarn_flush_all(session);
}

/* What a page of a stamped file holds. */
static int stamp(uint64_t number)
{
    return 1 + (int)(number % 250);
}

static void pin_its_page(void *argument)
{
    struct peer *peer = argument;
    struct tarn_pin pin;

    join_pool();
    int result = tarn_pin(session, peer->id, 0, &pin);
    if (result == 0 && !filled_with(pin.data, stamp(tarn_page_number(peer->id))))
        result = -EILSEQ;
    peer->result = result;
}

/* The disk. */

static int hold_all(const struct tarn_io_request *request)
{
    (void)request;
    return DISK_HOLDS;
}

static int hold_writes(const struct tarn_io_request *request)
{
    return request->kind == TARN_IO_REQUEST_WRITE ? DISK_HOLDS : DISK_PASSES;
}

static int hold_syncs(const struct tarn_io_request *request)
{
    return request->kind == TARN_IO_REQUEST_SYNC ? DISK_HOLDS : DISK_PASSES;
}

static int all_at_once(const struct tarn_io_request *request)
{
    (void)request;
    return DISK_AT_ONCE;
}

static int fail_writes(const struct tarn_io_request *request)
{
    return request->kind == TARN_IO_REQUEST_WRITE ? -EIO : DISK_PASSES;
}

static uint32_t slow_file;            /* set before the fate that asks for it */
static _Atomic unsigned slow_arrived; /* how often it was asked about a write to it */

static int hold_slow_file(const struct tarn_io_request *request)
{
    if (request->kind != TARN_IO_REQUEST_WRITE || (uint32_t)request->file != slow_file)
        return DISK_PASSES;
    slow_arrived++;
    return DISK_HOLDS;
}

static int hold_all_count_slow_file(const struct tarn_io_request *request)
{
    slow_arrived += (uint32_t)request->file == slow_file;
    return DISK_HOLDS;
}

/* Writes that have been carried out and had the page in them. */
static unsigned writes_of(struct tarn_page_id id)
{
    unsigned count = 0, end = disk.seen_count;
    uint64_t number = tarn_page_number(id);

    for (unsigned i = 0; i < end; i++)
        count += disk.seen[i].file == tarn_page_file(id) && number >= disk.seen[i].first &&
                 number - disk.seen[i].first < disk.seen[i].count;
    return count;
}

/* A file that is there before the pool knows it, with something else in each page. */
static uint32_t open_stamped_file(const char *name, uint64_t pages)
{
    uint8_t bytes[PAGE_BYTES];
    uint32_t id;
    FILE *stream = fopen(file_path(name), "w");

    ck_assert_ptr_nonnull(stream);
    for (uint64_t number = 0; number < pages; number++) {
        memset(bytes, stamp(number), sizeof(bytes));
        ck_assert_uint_eq(fwrite(bytes, PAGE_BYTES, 1, stream), 1);
    }
    ck_assert_int_eq(fclose(stream), 0);
    assert_ok(session, tarn_file_open(session, name, 0, &id));
    return id;
}

/* A pool with a stamped file; everything passes. */
static void begin_disk(unsigned frame_count)
{
    begin_pool(frame_count);
    begin_writer_on_disk(TARN_IO_AUTO, NULL);
    file = open_stamped_file("data", PAGES);
}

static void end_disk(void)
{
    disk.fate = NULL;
    ck_assert_int_eq(end_writer(), 0);
    ck_assert(!disk.overlaps);
    assert_consistent(pool);
    ck_assert_int_eq(tarn_detach(pool), 0);
}

/* Two settings at once: a low mark and its high one. */
static void set_marks(const char *low, const char *high)
{
    const char *const assignments[] = {low, high};

    ck_assert_int_eq(tarn_pool_set(pool, assignments, 2), 0);
}

/* The cleaner writes whatever is dirty, when it is called. */
static void begin_cleaning(void)
{
    set_marks("dirty_frames_low=0", "dirty_frames_high=0");
}

/* Calls the writer, as sessions do that change much or find few free frames; true. */
static bool call_cleaner(void)
{
    tarn_wake_writer(pool);
    return true;
}

/* Reads of pages by those who miss them. SHARED with all peers. */
static struct {
    _Atomic unsigned begun[PAGES];
    _Atomic unsigned inside; /* of all pages, now */
    _Atomic bool held[PAGES];
    _Atomic bool fails[PAGES]; /* the read that ends next */
} * reads;

/* The library's reads of pages come through here. */
ssize_t preadv2(int fd, const struct iovec *pieces, int count, off_t offset, int flags)
{
    uint64_t number = (uint64_t)offset / PAGE_BYTES;

    if (reads != NULL && number < PAGES) {
        reads->begun[number]++;
        reads->inside++;
        while (reads->held[number])
            sleep_ms(1);
        reads->inside--;
        if (atomic_exchange(&reads->fails[number], false)) {
            errno = EIO;
            return -1;
        }
    }
    return syscall(SYS_preadv2, fd, pieces, (long)count, (long)offset, 0L, (long)flags);
}

static void begin_reads(unsigned frame_count)
{
    reads = share_memory(sizeof(*reads));
    begin_disk(frame_count);
}

/* Life. */

static void change_its_page(void *argument)
{
    struct peer *peer = argument;

    join_pool();
    fill_page(session, peer->id, peer->byte);
    int result = tarn_flush_page(session, peer->id);
    ck_assert(page_has(session, peer->id, peer->byte));
    peer->result = result == 0 ? tarn_detach(pool) : result;
}

START_TEST(lifecycle)
{
    struct tarn_message message = {""};
    char segment[TARN_PATH_BYTES];
    struct peer *peers[3];

    for (int life = 1; life <= 3; life++) {
        begin_pool(FRAMES);
        snprintf(segment, sizeof(segment), "%s", pool->segment_path);
        begin_writer(TARN_IO_AUTO);
        file = make_file(session, "data", 8);
        for (unsigned i = 0; i < 3; i++) {
            ck_assert(page_has(session, page(i), life - 1));
            peers[i] = new_peer(page(i));
            peers[i]->byte = life;
            peers[i]->pid = start_process(change_its_page, peers[i]);
        }
        for (unsigned i = 0; i < 3; i++) {
            ck_assert_int_eq(end_peer(peers[i]), 0);
            ck_assert(page_has(session, page(i), life));
        }
        fill_page(session, page(7), life);
        assert_fails_with(message, -EBUSY, "", tarn_destroy(test_pool_name(), NULL, 0, &message));
        ck_assert_int_eq(end_writer(), 0);
        fill_page(session, page(6), life);
        assert_consistent(pool);
        ck_assert_int_eq(tarn_detach(pool), 0);
        /* Nobody has it, and what was changed last is still in the segment. */
        ck_assert_int_eq(tarn_destroy(test_pool_name(), NULL, 0, &message), 0);
        ck_assert(disk_has(file_path("data"), 7, life) && disk_has(file_path("data"), 6, life));
        ck_assert(!exists(segment) && !exists(file_path("options")) && !exists(file_path("files")));
        ck_assert_int_eq(tarn_attach(test_pool_name(), NULL, &pool, &message), -ENOENT);
    }
}
END_TEST

static void *use_session(void *argument)
{
    struct work *work = argument;
    struct tarn_pin pin;

    work->result = tarn_pin(work->session, work->id, 0, &pin);
    if (work->result == 0 && filled_with(pin.data, stamp(tarn_page_number(work->id))))
        work->result = tarn_unpin(work->session, pin);
    return NULL;
}

START_TEST(handle_semantics)
{
    struct tarn_pin pin, copy, again, theirs, churn;
    struct work work;

    begin_disk(FRAMES);
    struct tarn_session *other = open_session(pool);
    struct tarn_pool *second = attach_pool(test_pool_name());
    struct tarn_session *third = open_session(second);
    /* A pin is a value: whichever copy comes first gives it back. */
    assert_ok(session, tarn_pin(session, page(5), 0, &pin));
    assert_ok(session, tarn_pin(session, page(5), 0, &again));
    copy = pin;
    assert_ok(session, tarn_unpin(session, copy));
    assert_fails(session, -EINVAL, "", tarn_unpin(session, pin));
    /* It is one session's alone, and its data is one page for all. */
    assert_fails(other, -EINVAL, "", tarn_unpin(other, again));
    assert_ok(other, tarn_pin(other, page(5), 0, &theirs));
    ck_assert_ptr_eq(theirs.data, again.data);
    assert_ok(third, tarn_pin(third, page(5), 0, &pin));
    fill_page(third, page(5), 251);
    ck_assert(filled_with(again.data, 251) && filled_with(pin.data, 251));
    /* It stays where it is, whatever else comes and goes. */
    for (unsigned i = 0; i < 4 * PAGES; i++) {
        if (i % PAGES == 5)
            continue;
        assert_ok(other, tarn_pin(other, page(i % PAGES), 0, &churn));
        ck_assert(filled_with(churn.data, stamp(i % PAGES)));
        assert_ok(other, tarn_unpin(other, churn));
    }
    ck_assert(filled_with(again.data, 251));
    /* A session is handed on to another thread. */
    start_work(&work, use_session, session, page(9), 0);
    ck_assert_int_eq(end_work(&work), 0);
    /* A closed session holds nothing, and answers. */
    assert_fails(session, -EBUSY, "", tarn_file_truncate(session, file, 5, 0));
    ck_assert_int_eq(tarn_session_close(other), 0);
    ck_assert_int_eq(tarn_unpin(other, theirs), -EBADF);
    ck_assert_int_eq(tarn_detach(second), 0);
    assert_ok(session, tarn_unpin(session, again));
    assert_ok(session, tarn_file_truncate(session, file, 5, 0));
    end_disk();
}
END_TEST

/* Stamped with file and number, which a page that is found under another name has not. */
static void name_page(struct tarn_page_id id)
{
    struct tarn_writable_page named;

    assert_ok(session, tarn_mtr_begin(session, 1));
    assert_ok(session, tarn_mtr_new(session, id, -1, &named));
    memcpy(named.data, &id, sizeof(id));
    ck_assert_int_eq(tarn_mtr_commit(session, 0), 1);
}

enum { TABLE_PAGES = 200, TABLE_FILES = 3 };

static struct tarn_page_id draw_page(uint64_t *random)
{
    uint64_t number = test_random(random);

    return tarn_page_id(1 + (uint32_t)(number % TABLE_FILES), number / 8 % TABLE_PAGES);
}

static void look_pages_up(void *argument)
{
    struct peer *peer = argument;
    struct tarn_page_id ids[8];
    struct tarn_pin pins[8];
    uint64_t random = test_seed() + peer->id.value;

    join_pool();
    peer->result = 0;
    for (unsigned i = 0; i < 1000; i++) {
        for (unsigned k = 0; k < 8; k++)
            ids[k] = draw_page(&random);
        assert_ok(session, tarn_pin_many(session, ids, 8, 0, pins));
        for (unsigned k = 0; k < 8; k++)
            if (memcmp(pins[k].data, &ids[k], sizeof(ids[k])) != 0)
                peer->result = -EILSEQ;
        assert_ok(session, tarn_unpin_many(session, pins, 8));
    }
}

START_TEST(page_table)
{
    struct peer *peers[4];
    unsigned cached = 0, valid = 0;
    uint64_t word;

    begin_pool(128);
    begin_writer_on_disk(TARN_IO_AUTO, NULL);
    for (unsigned i = 1; i <= TABLE_FILES; i++) {
        char name[] = {'f', (char)('0' + i), 0};
        ck_assert_uint_eq(make_file(session, name, TABLE_PAGES), i);
        for (unsigned number = 0; number < TABLE_PAGES; number++)
            name_page(tarn_page_id(i, number));
    }
    for (unsigned i = 0; i < 4; i++)
        peers[i] = start_peer(look_pages_up, tarn_page_id(1, i));
    for (unsigned i = 0; i < 4; i++)
        ck_assert_int_eq(end_peer(peers[i]), 0);
    ck_assert_int_eq(end_writer(), 0);
    /* Each page is in one frame at most, and found there. */
    for (unsigned i = 0; i < TABLE_FILES * TABLE_PAGES; i++) {
        struct tarn_page_id id = tarn_page_id(1 + i / TABLE_PAGES, i % TABLE_PAGES);
        uint32_t frame = tarn_table_find(&pool->view, id.value, &word);
        cached += frame != TARN_NO_FRAME;
        if (frame != TARN_NO_FRAME)
            ck_assert(tarn_load_relaxed(&pool->view.descriptors[frame].page_id) == id.value);
    }
    for (uint32_t frame = 0; frame < 128; frame++)
        valid += frame_word_state(tarn_load_relaxed(&pool->view.descriptors[frame].frame_word)) ==
                 FRAME_VALID;
    ck_assert_uint_eq(cached, valid);
    ck_assert_uint_gt(cached, 64);
    assert_consistent(pool);
}
END_TEST

/* Misses. */

/* One reads; the others wait for him. */
static void begin_shared_miss(uint64_t number, struct peer **peers, unsigned count)
{
    reads->held[number] = true;
    peers[0] = start_peer(pin_its_page, page(number));
    wait_until(reads->begun[number] == 1);
    for (unsigned i = 1; i < count; i++)
        peers[i] = start_peer(pin_its_page, page(number));
    for (unsigned i = 1; i < count; i++)
        wait_until(waits_for(peers[i], WAIT_LOAD));
    ck_assert_uint_eq(reads->begun[number], 1);
}

START_TEST(miss_ownership_and_recovery)
{
    struct peer *peers[3];

    begin_reads(FRAMES);
    begin_shared_miss(7, peers, 3);
    /* Pages beside it are nobody's business. */
    ck_assert(page_has(session, page(6), stamp(6)));
    reads->held[7] = false;
    for (unsigned i = 0; i < 3; i++)
        ck_assert_int_eq(end_peer(peers[i]), 0);
    ck_assert_uint_eq(reads->begun[7], 1);

    /* The owner's error is the owner's alone: the next one tries for himself. */
    begin_shared_miss(8, peers, 3);
    reads->fails[8] = true;
    reads->held[8] = false;
    ck_assert_int_eq(end_peer(peers[0]), -EIO);
    for (unsigned i = 1; i < 3; i++)
        ck_assert_int_eq(end_peer(peers[i]), 0);
    ck_assert_uint_eq(reads->begun[8], 2);

    /* So is the owner's death. */
    begin_shared_miss(9, peers, 3);
    kill_process(peers[0]->pid);
    wait_until(reads->begun[9] == 2);
    ck_assert_int_eq(peers[1]->result, NOT_YET);
    reads->held[9] = false;
    for (unsigned i = 1; i < 3; i++)
        ck_assert_int_eq(end_peer(peers[i]), 0);
    ck_assert_uint_eq(reads->begun[9], 2);
    ck_assert(page_has(session, page(9), stamp(9)));
    end_disk();
}
END_TEST

/* Neighbours, which have one home in the table. */
START_TEST(parallel_misses_of_different_pages)
{
    struct peer *peers[4];

    begin_reads(FRAMES);
    for (unsigned i = 0; i < 4; i++) {
        reads->held[16 + i] = true;
        peers[i] = start_peer(pin_its_page, page(16 + i));
    }
    wait_until(reads->inside == 4);
    /* Each ends with its own read. */
    for (unsigned left = 4; left-- > 0;) {
        reads->held[16 + left] = false;
        ck_assert_int_eq(end_peer(peers[left]), 0);
        ck_assert_uint_eq(reads->inside, left);
        for (unsigned i = 0; i < left; i++)
            ck_assert_int_eq(peers[i]->result, NOT_YET);
    }
    end_disk();
}
END_TEST

static const struct tarn_descriptor *descriptor_of(struct tarn_page_id id)
{
    uint64_t word;
    uint32_t frame = tarn_table_find(&pool->view, id.value, &word);

    return frame == TARN_NO_FRAME ? NULL : &pool->view.descriptors[frame];
}

static unsigned frame_state(const struct tarn_descriptor *descriptor)
{
    return frame_word_state(tarn_load_acquire(&descriptor->frame_word));
}

static unsigned latch_owner(const struct tarn_descriptor *descriptor)
{
    return latch_word_owner(tarn_load_acquire(&descriptor->latch_word));
}

static void hold_changed_page(void *argument)
{
    struct peer *peer = argument;
    struct tarn_writable_page change;

    join_pool();
    assert_ok(session, tarn_mtr_begin(session, 1));
    assert_ok(session, tarn_mtr_write(session, peer->id, -1, &change));
    memset(change.data, 251, PAGE_BYTES);
    step(peer);
    peer->result = tarn_mtr_commit(session, 0);
}

/* The states of a page's life, as they follow each other. */
START_TEST(descriptor_states)
{
    begin_reads(FRAMES);
    ck_assert_ptr_null(descriptor_of(page(3)));
    reads->held[3] = true;
    struct peer *reader = start_peer(pin_its_page, page(3));
    wait_until(reads->inside == 1);
    const struct tarn_descriptor *descriptor = descriptor_of(page(3));
    ck_assert_ptr_nonnull(descriptor);
    ck_assert(frame_word_is(tarn_load_acquire(&descriptor->frame_word), FRAME_CLAIMED,
                            slot_of_process(pool, reader->pid)));
    uint64_t generation = frame_word_generation(tarn_load_acquire(&descriptor->frame_word));
    reads->held[3] = false;
    ck_assert_int_eq(end_peer(reader), 0);
    ck_assert_uint_eq(frame_state(descriptor), FRAME_VALID);
    ck_assert(!is_dirty(page(3)) && latch_owner(descriptor) == 0);
    struct peer *changer = start_peer(hold_changed_page, page(3));
    wait_until(changer->step == 1);
    ck_assert_uint_eq(latch_owner(descriptor), slot_of_process(pool, changer->pid));
    changer->goes_on = 1;
    ck_assert_int_eq(end_peer(changer), 1);
    ck_assert(is_dirty(page(3)) && latch_owner(descriptor) == 0);
    /* Dirty all through write and sync; clean after both. */
    disk.fate = hold_all;
    struct peer *flusher = start_peer(flush_its_page, page(3));
    wait_until(disk.held_count == 1);
    ck_assert(is_dirty(page(3)));
    disk.fate = hold_syncs;
    wait_until(writes_of(page(3)) == 1 && disk.held_count == 1);
    ck_assert(is_dirty(page(3)) && flusher->result == NOT_YET);
    ck_assert_uint_eq(tarn_frame_evict(session, (uint32_t)(descriptor - pool->view.descriptors)),
                      0);
    disk.fate = NULL;
    ck_assert_int_eq(end_peer(flusher), 0);
    ck_assert(!is_dirty(page(3)));
    drive_out(page(3));
    ck_assert_ptr_null(descriptor_of(page(3)));
    ck_assert_uint_gt(frame_word_generation(tarn_load_acquire(&descriptor->frame_word)),
                      generation);
    ck_assert(page_has(session, page(3), 251));
    end_disk();
}
END_TEST

/* Completions. */

static _Atomic uint64_t passes_from; /* pages */

static int hold_below(const struct tarn_io_request *request)
{
    return request->kind == TARN_IO_REQUEST_WRITE && request_first(request) < passes_from
               ? DISK_HOLDS
               : DISK_PASSES;
}

/* Its flush has returned: the page is on disk at that moment. */
static void flush_and_look(void *argument)
{
    struct peer *peer = argument;

    join_pool();
    int result = tarn_flush_page(session, peer->id);
    bool on_disk = disk_has(file_path("data"), tarn_page_number(peer->id), 251);
    peer->result = result == 0 && !on_disk ? -EILSEQ : result;
}

START_TEST(completion_order)
{
    struct peer *peers[4];

    begin_disk(FRAMES);
    disk.fate = hold_below;
    passes_from = UINT64_MAX;
    for (unsigned i = 0; i < 4; i++) {
        fill_page(session, page(20 * i), 251);
        peers[i] = start_peer(flush_and_look, page(20 * i));
    }
    wait_until(disk.held_count == 4);
    /* The last first. */
    for (unsigned left = 4; left-- > 0;) {
        passes_from = 20 * left;
        wait_until(writes_of(page(20 * left)) == 1);
        for (unsigned i = 0; i < left; i++)
            ck_assert(peers[i]->result == NOT_YET && is_dirty(page(20 * i)));
    }
    for (unsigned i = 0; i < 4; i++) {
        ck_assert_int_eq(end_peer(peers[i]), 0);
        ck_assert(!is_dirty(page(20 * i)));
    }
    end_disk();
}
END_TEST

static void change_and_flush(void *argument)
{
    struct peer *peer = argument;

    join_pool();
    peer->result = 0;
    for (unsigned i = 0; i < 200 && peer->result == 0; i++) {
        struct tarn_page_id id = page(tarn_page_number(peer->id) + i % 16);

        fill_page(session, id, 1 + (int)i);
        peer->result = tarn_flush_page(session, id);
        if (!disk_has(file_path("data"), tarn_page_number(id), 1 + (int)i))
            peer->result = -EILSEQ;
    }
}

/* Each request is complete before the call that submits it has returned. */
START_TEST(early_completion)
{
    struct peer *peers[4];

    begin_disk(32);
    disk.fate = all_at_once;
    for (unsigned i = 0; i < 4; i++)
        peers[i] = start_peer(change_and_flush, page(16 * i));
    for (unsigned i = 0; i < 4; i++)
        ck_assert_int_eq(end_peer(peers[i]), 0);
    for (unsigned i = 0; i < 64; i++)
        ck_assert(page_has(session, page(i), 200 - (int)((200 - i % 16 - 1) % 16)));
    end_disk();
}
END_TEST

/* Options. */

static struct tarn_pool_info info_of(struct tarn_pool *of)
{
    struct tarn_pool_info info = {.size = sizeof(info)};

    ck_assert_int_eq(tarn_pool_info(of, &info), 0);
    return info;
}

static struct tarn_setting setting_of_pool(const char *key)
{
    struct tarn_setting setting = {.size = sizeof(setting)};

    ck_assert_int_eq(tarn_pool_get(pool, key, &setting), 0);
    return setting;
}

static void assert_writer_is(const char *backend, unsigned depth)
{
    const struct tarn_writer_info *is = &pool->view.control->writer;

    assert_ok(session, tarn_flush_all(session));
    ck_assert(backend == NULL || strcmp(is->backend, backend) == 0);
    ck_assert(is->depth > 0 && is->depth <= depth);
    /* What was not given is what there is, and why not more. */
    ck_assert((strcmp(is->backend, "io_uring") == 0) == (is->refused == 0) || backend != NULL);
}

START_TEST(options_resolution)
{
    struct tarn_init_options all = {.size = sizeof(all)};
    struct tarn_init_options odd = {.size = sizeof(odd),
                                    .directory = "odd",
                                    .frame_bytes = 100 * 8192 + 5000,
                                    .page_bytes = 8192,
                                    .session_count = 3,
                                    .file_count = 2};
    struct tarn_writer_options writer_options = {.backend = TARN_IO_THREADS, .depth = 4};
    struct tarn_message message = {""};
    char name[80];

    /* Nothing is said: everything has its default. */
    ck_assert_int_eq(chdir(test_dir()), 0);
    ck_assert_int_eq(tarn_init(test_pool_name(), &all, &message), 0);
    pool = attach_pool(test_pool_name());
    session = open_session_that_waits(NEVER_MS);
    struct tarn_pool_info info = info_of(pool);
    ck_assert(info.page_bytes == 4096 && info.frame_count == 16384);
    ck_assert(info.session_count == 64 && info.file_count == 256);
    snprintf(name, sizeof(name), "%s.tarn", test_pool_name());
    ck_assert_str_eq(strrchr(info.directory, '/') + 1, name);
    begin_writer(TARN_IO_AUTO);
    assert_writer_is(NULL, 64);
    ck_assert_int_eq(end_writer(), 0);
    begin_writer_with(&writer_options);
    assert_writer_is("threads", 4);
    ck_assert_int_eq(end_writer(), 0);
    /* What is set goes before the default, and gives way to it again. */
    uint64_t low = setting_of_pool("free_frames_low").value;
    ck_assert_uint_eq(low, setting_of_pool("free_frames_low").default_value);
    set_marks("free_frames_low=1%", "free_frames_high=50%");
    ck_assert_uint_eq(setting_of_pool("free_frames_low").value, 163);
    ck_assert_uint_eq(setting_of_pool("free_frames_high").value, 8192);
    ck_assert_str_ne(setting_of_pool("dirty_frames_low").from,
                     setting_of_pool("free_frames_low").from);
    set_marks("free_frames_low=default", "free_frames_high=default");
    ck_assert_uint_eq(setting_of_pool("free_frames_low").value, low);
    ck_assert_int_eq(tarn_detach(pool), 0);
    /* What is said holds, in whole pages. */
    snprintf(name, sizeof(name), "%s-odd", test_pool_name());
    ck_assert_int_eq(tarn_init(name, &odd, &message), 0);
    pool = attach_pool(name);
    info = info_of(pool);
    ck_assert(info.page_bytes == 8192 && info.frame_count == 100);
    ck_assert(info.session_count == 3 && info.file_count == 2);
    ck_assert_int_eq(tarn_detach(pool), 0);
}
END_TEST

static unsigned entries_of(const char *directory)
{
    struct dirent **entries;
    int count = scandir(directory, &entries, NULL, NULL);

    for (int i = 0; i < count; i++)
        free(entries[i]);
    if (count >= 0)
        free(entries);
    return (unsigned)count;
}

static void stop_reporting_writer(void *context, const char *text)
{
    (void)context;
    if (strcmp(text, "writer") == 0)
        tarn_writer_stop(writer);
}

/* With so many descriptors to spare; the result of the writer, which ends as soon as it works. */
static void run_writer_with_few_descriptors(void *argument)
{
    struct tarn_writer_options options = {.report = stop_reporting_writer};
    struct peer *peer = argument;

    join_pool();
    int lowest = dup(STDERR_FILENO);
    close(lowest);
    struct rlimit limit = {.rlim_cur = (rlim_t)(lowest + peer->byte), .rlim_max = 4096};
    setrlimit(RLIMIT_NOFILE, &limit);
    peer->result = tarn_writer_open(pool, &options, &writer);
    if (peer->result == 0)
        peer->result = tarn_writer_run(writer);
}

/* Whatever is missing: nothing is left of the try, and the next one finds its way. */
START_TEST(initialisation_failure)
{
    static const struct {
        struct tarn_init_options options;
        const char *name;
        int result;
    } tries[] = {
        {{.page_bytes = 5000}, NULL, -EINVAL},
        {{.page_bytes = 131072}, NULL, -EINVAL},
        {{.frame_bytes = 15 * PAGE_BYTES}, NULL, -EINVAL},
        {{.session_count = 1025}, NULL, -EINVAL},
        {{.file_count = 65536}, NULL, -EINVAL},
        {{.policy = "mru"}, NULL, -EINVAL},
        {{.directory = "file/pool"}, NULL, -ENOTDIR},
        {{.directory = "no/where"}, NULL, -ENOENT},
        {{.shm_directory = "/no/where"}, NULL, -ENOENT},
        {{.page_bytes = 0}, "a/b", -EINVAL},
        {{.page_bytes = 0}, ".hidden", -EINVAL},
        {{.size = 1}, NULL, -EINVAL},
    };
    struct tarn_message message = {""};
    int result = -1;

    ck_assert_int_eq(chdir(test_dir()), 0);
    close(open("file", O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
    for (unsigned i = 0; i < sizeof(tries) / sizeof(tries[0]); i++) {
        struct tarn_init_options options = tries[i].options;
        options.size += options.size == 0 ? sizeof(options) : 0;
        result =
            tarn_init(tries[i].name == NULL ? test_pool_name() : tries[i].name, &options, &message);
        ck_assert_msg(result == tries[i].result, "%u: %d: %s", i, result, message.text);
        ck_assert_msg(message.text[0] != 0 && entries_of(".") == 3, "%u leaves something", i);
        ck_assert_int_eq(tarn_attach(test_pool_name(), NULL, &pool, &message), -ENOENT);
    }
    begin_pool(FRAMES);
    for (int spare = 0; result < 0; spare++) {
        ck_assert_int_lt(spare, 50);
        struct peer *peer = new_peer(page(0));
        peer->byte = spare;
        peer->pid = start_process(run_writer_with_few_descriptors, peer);
        result = end_peer(peer);
        ck_assert(spare > 0 || result < 0);
    }
    begin_writer(TARN_IO_AUTO);
    file = make_file(session, "data", 8);
    ck_assert_int_eq(end_writer(), 0);
    assert_consistent(pool);
}
END_TEST

/* Frames. */

static void pin_eight_pages(void *argument)
{
    struct peer *peer = argument;
    struct tarn_pin pins[8];

    join_pool();
    for (unsigned i = 0; i < 8; i++)
        assert_ok(session, tarn_pin(session, page(tarn_page_number(peer->id) + i), 0, &pins[i]));
    step(peer);
    peer->result = tarn_unpin_many(session, pins, 8);
}

START_TEST(exhaustion)
{
    struct tarn_session *sessions[16], *more;
    struct tarn_pin pin, pins[TARN_HOLDS_MAX];
    struct peer *peers[2];
    int result = 0;
    unsigned count = 0;

    begin_disk(16);
    struct tarn_session *hasty = open_session_that_waits(HASTY_MS);
    for (unsigned i = 0; i < 2; i++) {
        peers[i] = start_peer(pin_eight_pages, page(8 * i));
        wait_until(peers[i]->step == 1);
    }
    /* Frames: had again when one who has them dies, or gives them back. */
    assert_fails(hasty, -ENOBUFS, "16 pins of 2 sessions", tarn_pin(hasty, page(50), 0, &pin));
    assert_fails(hasty, -ENOBUFS, "of the 16", tarn_mtr_begin(hasty, 1));
    kill_process(peers[0]->pid);
    assert_ok(session, tarn_pin(session, page(50), 0, &pin));
    ck_assert(filled_with(pin.data, stamp(50)));
    peers[1]->goes_on = 1;
    ck_assert_int_eq(end_peer(peers[1]), 0);
    /* Pins of a session. */
    for (unsigned i = 0; i < TARN_HOLDS_MAX; i++)
        assert_ok(hasty, tarn_pin(hasty, page(50), 0, &pins[i]));
    struct tarn_pin untouched = pin;
    assert_fails(hasty, -EMFILE, "", tarn_pin(hasty, page(51), 0, &untouched));
    ck_assert_mem_eq(&untouched, &pin, sizeof(pin));
    assert_ok(hasty, tarn_unpin(hasty, pins[30]));
    assert_ok(hasty, tarn_pin(hasty, page(51), 0, &pins[30]));
    /* Sessions. */
    while (count < 16 && (result = tarn_session_open(pool, NULL, &sessions[count])) == 0)
        count++;
    ck_assert(result == -EUSERS && count > 0);
    ck_assert_int_eq(tarn_session_close(sessions[count / 2]), 0);
    ck_assert_int_eq(tarn_session_open(pool, NULL, &more), 0);
    end_disk();
}
END_TEST

/* Changes pages until there is no frame for one more; what is left is pinned by the session that is
 * returned. */
static struct tarn_session *dirty_all_frames(unsigned *ret_count)
{
    struct tarn_session *hasty = open_session_that_waits(HASTY_MS);
    struct tarn_writable_page change;
    struct tarn_pin pin;
    unsigned count = 0;
    int result;

    while ((result = tarn_mtr_begin(hasty, 1)) == 0 &&
           (result = tarn_mtr_write(hasty, page(count), -1, &change)) == 0) {
        memset(change.data, 251, PAGE_BYTES);
        ck_assert_int_eq(tarn_mtr_commit(hasty, 0), 1);
        count++;
    }
    ck_assert_int_eq(result, -ENOBUFS);
    tarn_mtr_abort(hasty);
    for (uint64_t number = 64; result == 0 || number == 64; number++)
        result = tarn_pin(hasty, page(number), 0, &pin);
    ck_assert_int_eq(result, -ENOBUFS);
    *ret_count = count;
    return hasty;
}

START_TEST(dirty_eviction_with_failing_write_and_recovery)
{
    struct tarn_pin pin;
    unsigned count;

    begin_disk(16);
    disk.fate = fail_writes;
    struct tarn_session *hasty = dirty_all_frames(&count);
    ck_assert_uint_ge(count, 12);
    wait_until(disk.failed_count > 0);
    /* What cannot be written does not leave; what is there can be used. */
    for (unsigned i = 0; i < 8; i++)
        assert_fails(hasty, -ENOBUFS, "dirty", tarn_pin(hasty, page(100 + i), 0, &pin));
    for (unsigned i = 0; i < count; i++) {
        ck_assert(is_dirty(page(i)) && page_has(session, page(i), 251));
        ck_assert(disk_has(file_path("data"), i, stamp(i)));
    }
    assert_fails(session, -EIO, "", tarn_flush_all(session));
    /* The device is well again: nobody has to do anything about it. */
    disk.fate = NULL;
    ck_assert_int_eq(tarn_session_close(hasty), 0);
    for (unsigned i = 0; i < 32; i++) {
        wait_until(tarn_pin(session, page(64 + i), 0, &pin) == 0);
        ck_assert(filled_with(pin.data, stamp(64 + i)));
        assert_ok(session, tarn_unpin(session, pin));
    }
    for (unsigned i = 0; i < count; i++)
        ck_assert(page_has(session, page(i), 251));
    assert_ok(session, tarn_flush_all(session));
    for (unsigned i = 0; i < count; i++)
        ck_assert(disk_has(file_path("data"), i, 251));
    end_disk();
}
END_TEST

/* Flushes. */

/* Every word of the page is the number of the change. Nothing is asserted on the way: libcheck gets
 * a message for each assertion. */
static int commit_version(struct tarn_page_id id, uint64_t version)
{
    struct tarn_writable_page change;
    int result = tarn_mtr_begin(session, 1);

    if (result == 0)
        result = tarn_mtr_write(session, id, -1, &change);
    for (unsigned i = 0; result == 0 && i < PAGE_BYTES / sizeof(version); i++)
        ((uint64_t *)change.data)[i] = version;
    return result == 0 ? tarn_mtr_commit(session, 0) : result;
}

static uint64_t version_on_disk(uint64_t number)
{
    uint64_t words[PAGE_BYTES / sizeof(uint64_t)];
    int fd = open(file_path("data"), O_RDONLY | O_CLOEXEC);

    ck_assert_int_eq(pread(fd, words, PAGE_BYTES, (off_t)(number * PAGE_BYTES)), PAGE_BYTES);
    close(fd);
    ck_assert_int_eq(memcmp(words, words + 1, PAGE_BYTES - sizeof(words[0])), 0);
    return words[0];
}

static void change_all_the_time(void *argument)
{
    struct peer *peer = argument;

    join_pool();
    int result = 1;
    for (uint64_t version = 1; peer->goes_on == 0 && result == 1; version++) {
        result = commit_version(peer->id, version);
        peer->committed = version;
    }
    peer->result = result;
}

START_TEST(flush_consistency_under_redirty)
{
    begin_disk(FRAMES);
    /* Changed again while it is written: the flush has what it asked for, the page stays dirty. */
    ck_assert_int_eq(commit_version(page(1), 1), 1);
    disk.fate = hold_writes;
    struct peer *flusher = start_peer(flush_its_page, page(1));
    wait_until(disk.held_count == 1);
    ck_assert_int_eq(commit_version(page(1), 2), 1);
    disk.fate = NULL;
    ck_assert_int_eq(end_peer(flusher), 0);
    ck_assert(version_on_disk(1) == 1 ? is_dirty(page(1)) : version_on_disk(1) == 2);
    assert_ok(session, tarn_flush_page(session, page(1)));
    ck_assert(version_on_disk(1) == 2 && !is_dirty(page(1)));
    ck_assert_uint_eq(writes_of(page(1)), 2);
    /* And all the time. */
    struct peer *changer = start_peer(change_all_the_time, page(0));
    wait_until(changer->committed > 0);
    for (unsigned i = 0; i < 200; i++) {
        uint64_t before = changer->committed;
        assert_ok(session, tarn_flush_page(session, page(0)));
        uint64_t flushed = version_on_disk(0);
        /* A change is on disk before its process has counted it, but no change after it. */
        ck_assert_uint_ge(flushed, before);
        ck_assert_uint_le(flushed, changer->committed + 1);
    }
    changer->goes_on = 1;
    ck_assert_int_eq(end_peer(changer), 1);
    assert_ok(session, tarn_flush_all(session));
    ck_assert_uint_eq(version_on_disk(0), changer->committed);
    end_disk();
}
END_TEST

static void hold_shared_page(void *argument)
{
    struct peer *peer = argument;
    struct tarn_pin pin;

    join_pool();
    assert_ok(session, tarn_pin(session, peer->id, 0, &pin));
    assert_ok(session, tarn_latch_shared(session, pin, -1));
    step(peer);
    bool same = filled_with(pin.data, peer->byte);
    peer->result = tarn_unlatch_shared(session, pin);
    if (!same)
        peer->result = -EILSEQ;
}

/* The holder is stopped all the while, so it cannot have helped. */
START_TEST(flush_under_shared_latch)
{
    begin_disk(FRAMES);
    fill_page(session, page(4), 251);
    struct peer *holder = new_peer(page(4));
    holder->byte = 251;
    holder->pid = start_process(hold_shared_page, holder);
    wait_until(holder->step == 1);
    stop_process(holder->pid);
    assert_ok(session, tarn_flush_page(session, page(4)));
    ck_assert(disk_has(file_path("data"), 4, 251) && !is_dirty(page(4)));
    continue_process(holder->pid);
    holder->goes_on = 1;
    ck_assert_int_eq(end_peer(holder), 0);
    end_disk();
}
END_TEST

START_TEST(flush_under_exclusive_latch)
{
    begin_disk(FRAMES);
    fill_page(session, page(4), 250);
    struct peer *holder = start_peer(hold_changed_page, page(4));
    wait_until(holder->step == 1);
    stop_process(holder->pid);
    /* What was committed before the call, and nothing of what is not. */
    assert_ok(session, tarn_flush_page(session, page(4)));
    ck_assert(disk_has(file_path("data"), 4, 250));
    assert_ok(session, tarn_flush_all(session));
    ck_assert(disk_has(file_path("data"), 4, 250));
    continue_process(holder->pid);
    holder->goes_on = 1;
    ck_assert_int_eq(end_peer(holder), 1);
    assert_ok(session, tarn_flush_file(session, file));
    ck_assert(disk_has(file_path("data"), 4, 251));
    end_disk();
}
END_TEST

static void change_pages_until_killed(void *argument)
{
    struct peer *peer = argument;

    join_pool();
    for (int round = 1;; round++) {
        for (unsigned i = 0; i < 16; i++)
            fill_page(session, tarn_page_id(tarn_page_file(peer->id), i),
                      round == 1 ? 100 : 101 + round % 2);
        if (round == 1)
            step(peer);
    }
}

/* Everybody is killed, and the memory is gone. */
START_TEST(flush_all_persistence)
{
    struct peer *peers[3];
    uint32_t files[3];
    char path[TARN_PATH_BYTES], wake_path[TARN_PATH_BYTES + 8];

    begin_pool(FRAMES);
    pid_t writer_pid = start_tarn_writer(test_pool_name());
    for (unsigned i = 0; i < 3; i++) {
        char name[] = {'f', (char)('0' + i), 0};
        files[i] = make_file(session, name, 16);
        peers[i] = start_peer(change_pages_until_killed, tarn_page_id(files[i], 0));
        wait_until(peers[i]->step == 1);
    }
    assert_ok(session, tarn_flush_all(session));
    for (unsigned i = 0; i < 3; i++)
        for (unsigned number = 0; number < 16; number++)
            ck_assert(!is_dirty(tarn_page_id(files[i], number)));
    for (unsigned i = 0; i < 3; i++)
        peers[i]->goes_on = 1;
    wait_until(is_dirty(tarn_page_id(files[2], 15)));
    for (unsigned i = 0; i < 3; i++)
        kill_process(peers[i]->pid);
    kill_process(writer_pid);
    snprintf(path, sizeof(path), "%s", pool->segment_path);
    tarn_wake_path(path, wake_path);
    ck_assert_int_eq(tarn_detach(pool), 0);
    ck_assert(unlink(path) == 0 && unlink(wake_path) == 0);
    pool = open_pool(test_path("pool"), FRAMES, &session);
    for (unsigned i = 0; i < 3; i++)
        for (unsigned number = 0; number < 16; number++) {
            uint8_t byte;
            struct tarn_page_id id = tarn_page_id(files[i], number);
            assert_ok(session, tarn_page_copy(session, id, 0, 1, &byte));
            ck_assert_msg(byte >= 100 && byte <= 102, "page %u: %u", number, byte);
            ck_assert(page_has(session, id, byte));
        }
    end_with_pool();
}
END_TEST

/* Failures. */

static uint32_t bad_file, full_file;

/* Page 5 of one file cannot be written, and nothing of another. */
static int fail_bad_pages(const struct tarn_io_request *request)
{
    if (request_writes(request, bad_file, 5))
        return -EIO;
    return request->kind == TARN_IO_REQUEST_WRITE && (uint32_t)request->file == full_file
               ? -ENOSPC
               : DISK_PASSES;
}

static void commit_durably(void *argument)
{
    struct peer *peer = argument;
    struct tarn_writable_page change;

    join_pool();
    assert_ok(session, tarn_mtr_begin(session, 1));
    assert_ok(session, tarn_mtr_write(session, peer->id, -1, &change));
    memset(change.data, 252, PAGE_BYTES);
    peer->result = tarn_mtr_commit(session, TARN_COMMIT_FLUSH);
    ck_assert(page_has(session, peer->id, 252));
}

/* Everybody who needs what fails is told, and nobody else; each is told what it was. */
START_TEST(failure_propagation)
{
    struct peer *peers[PEERS_MAX];

    begin_disk(256);
    bad_file = file;
    full_file = open_stamped_file("full", 16);
    uint32_t good = open_stamped_file("good", 16);
    for (unsigned i = 0; i < 10; i++) {
        fill_page(session, page(i), 251);
        fill_page(session, tarn_page_id(full_file, i), 251);
        fill_page(session, tarn_page_id(good, i), 251);
    }
    const struct {
        void (*work)(void *peer);
        struct tarn_page_id id;
        int result;
    } plan[PEERS_MAX] = {
        {flush_its_page, page(5), -EIO},
        {flush_its_page, page(5), -EIO},
        {flush_its_page, page(6), 0},
        {flush_its_page, tarn_page_id(full_file, 0), -ENOSPC},
        {flush_its_file, page(0), -EIO},
        {flush_its_file, tarn_page_id(full_file, 0), -ENOSPC},
        {flush_its_file, tarn_page_id(good, 0), 0},
        {commit_durably, tarn_page_id(full_file, 15), 1},
    };
    disk.fate = hold_all;
    for (unsigned i = 0; i < PEERS_MAX; i++)
        peers[i] = start_peer(plan[i].work, plan[i].id);
    for (unsigned i = 0; i < PEERS_MAX; i++)
        wait_until(waits_for(peers[i], WAIT_WRITER));
    disk.fate = fail_bad_pages;
    for (unsigned i = 0; i < PEERS_MAX; i++) {
        int result = end_peer(peers[i]);
        ck_assert_msg(result == plan[i].result, "peer %u: %d", i, result);
    }
    int result = tarn_flush_all(session);
    ck_assert_msg(result == -EIO || result == -ENOSPC, "%d", result);
    for (unsigned i = 0; i < 10; i++) {
        ck_assert(is_dirty(page(i)) == (i == 5) && is_dirty(tarn_page_id(full_file, i)));
        ck_assert(!is_dirty(tarn_page_id(good, i)) && disk_has(file_path("good"), i, 251));
        ck_assert(disk_has(file_path("data"), i, i == 5 ? stamp(5) : 251));
    }
    disk.fate = NULL;
    assert_ok(session, tarn_flush_all(session));
    ck_assert(disk_has(file_path("data"), 5, 251) && disk_has(file_path("full"), 15, 252));
    end_disk();
}
END_TEST

static _Atomic int errors_left, write_error, sync_error;

static int fail_some(const struct tarn_io_request *request)
{
    int error = request->kind == TARN_IO_REQUEST_SYNC ? sync_error : write_error;

    if (error == 0 || errors_left == 0)
        return DISK_PASSES;
    errors_left--;
    return error;
}

/* Loop: the error. */
START_TEST(completion_failure)
{
    static const int errors[] = {-EIO, -ENOSPC, -EDQUOT, -EFBIG, -EROFS, -ENOMEM};

    begin_disk(FRAMES);
    for (unsigned round = 0; round < 3; round++) {
        for (unsigned i = 0; i < 8; i++)
            fill_page(session, page(i), 200 + (int)round);
        write_error = round == 0 ? errors[_i] : 0;
        sync_error = round == 1 ? errors[_i] : 0;
        errors_left = round < 2;
        disk.fate = fail_some;
        /* A write of many is tried again page by page; a sync with all its pages. Nobody hears of
         * what was mended so. */
        unsigned before = writes_of(page(3));
        assert_ok(session, tarn_flush_all(session));
        ck_assert_uint_eq(errors_left, 0);
        ck_assert_uint_eq(writes_of(page(3)) - before, round == 1 ? 2 : 1);
        for (unsigned i = 0; i < 8; i++)
            ck_assert(disk_has(file_path("data"), i, 200 + (int)round) && !is_dirty(page(i)));
    }
    /* What cannot be written is said, as often as it is asked for. */
    fill_page(session, page(3), 251);
    write_error = errors[_i];
    errors_left = INT32_MAX;
    for (unsigned i = 0; i < 3; i++) {
        assert_fails(session, errors[_i], "stay dirty", tarn_flush_page(session, page(3)));
        ck_assert(is_dirty(page(3)) && page_has(session, page(3), 251));
    }
    errors_left = 0;
    assert_ok(session, tarn_flush_page(session, page(3)));
    ck_assert(disk_has(file_path("data"), 3, 251));
    ck_assert_uint_eq(tarn_load_relaxed(&pool->view.control->failed), 0);
    end_disk();
}
END_TEST

/* The backend takes nothing any more: this writer ends, and who waits does not notice. */
START_TEST(submit_failure)
{
    struct peer *peers[2];

    begin_disk(FRAMES);
    for (unsigned i = 0; i < 16; i++)
        fill_page(session, page(i), 251);
    disk.fate = hold_all;
    peers[0] = start_peer(flush_everything, page(0));
    peers[1] = start_peer(flush_and_look, page(9));
    for (unsigned i = 0; i < 2; i++)
        wait_until(waits_for(peers[i], WAIT_WRITER));
    wait_until(disk.held_count > 0);
    disk.wait_error = -ENOMEM;
    wait_until(disk.wait_error == 0);
    ck_assert(peers[0]->result == NOT_YET && peers[1]->result == NOT_YET);
    disk.fate = NULL;
    pthread_join(writer_thread, NULL);
    ck_assert_int_eq(close_writer(), -ENOMEM);
    ck_assert(peers[0]->result == NOT_YET && peers[1]->result == NOT_YET);
    for (unsigned i = 0; i < 16; i++)
        ck_assert(is_dirty(page(i)) && page_has(session, page(i), 251));
    begin_writer_on_disk(TARN_IO_AUTO, NULL);
    for (unsigned i = 0; i < 2; i++)
        ck_assert_int_eq(end_peer(peers[i]), 0);
    for (unsigned i = 0; i < 16; i++)
        ck_assert(disk_has(file_path("data"), i, 251) && !is_dirty(page(i)));
    end_disk();
}
END_TEST

/* Those who wait, and the cleaner. */

START_TEST(coordination_with_flushes_in_flight)
{
    static void (*const flushes[])(void *peer) = {flush_its_page, flush_its_page, flush_its_file,
                                                  flush_everything};
    struct peer *peers[4];

    begin_disk(FRAMES);
    for (unsigned changes = 0; changes < 2; changes++) {
        unsigned before = writes_of(page(3));
        fill_page(session, page(3), 240 + 2 * (int)changes);
        disk.fate = hold_writes;
        peers[0] = start_peer(flushes[0], page(3));
        wait_until(disk.held_count == 1);
        if (changes != 0)
            fill_page(session, page(3), 243);
        for (unsigned i = 1; i < 4; i++)
            peers[i] = start_peer(flushes[i], page(3));
        for (unsigned i = 1; i < 4; i++)
            wait_until(waits_for(peers[i], WAIT_WRITER));
        ck_assert_uint_eq(disk.held_count, 1);
        disk.fate = NULL;
        for (unsigned i = 0; i < 4; i++)
            ck_assert_int_eq(end_peer(peers[i]), 0);
        /* All want the same: one write serves them. What came later is written once more. */
        ck_assert_uint_eq(writes_of(page(3)) - before, 1 + changes);
        ck_assert(disk_has(file_path("data"), 3, 240 + 3 * (int)changes) && !is_dirty(page(3)));
    }
    end_disk();
}
END_TEST

/* The cleaner has begun to write a file that the disk takes nothing of. */
static void begin_slow_cleaning(unsigned pages, int byte)
{
    for (unsigned i = 0; i < pages; i++)
        fill_page(session, tarn_page_id(slow_file, i), byte);
    begin_cleaning();
    wait_until(call_cleaner() && disk.held_count > 0);
}

static void begin_with_slow_file(void)
{
    begin_disk(256);
    slow_file = open_stamped_file("slow", PAGES);
    disk.fate = hold_slow_file;
}

START_TEST(foreground_ahead_of_background)
{
    begin_with_slow_file();
    begin_slow_cleaning(100, 251);
    for (unsigned i = 0; i < 20; i++) {
        fill_page(session, page(i), 250);
        assert_ok(session,
                  i % 2 == 0 ? tarn_flush_page(session, page(i)) : tarn_flush_file(session, file));
        ck_assert(disk_has(file_path("data"), i, 250));
    }
    ck_assert_uint_gt(disk.held_count, 0);
    ck_assert_uint_eq(writes_of(tarn_page_id(slow_file, 0)), 0);
    end_disk();
}
END_TEST

START_TEST(foreground_after_older_background)
{
    struct tarn_page_id id;

    begin_with_slow_file();
    id = tarn_page_id(slow_file, 0);
    for (int changes = 0; changes < 2; changes++) {
        unsigned before = writes_of(id);
        disk.fate = hold_slow_file;
        begin_slow_cleaning(1, 240 + changes);
        if (changes != 0)
            fill_page(session, id, 242);
        struct peer *flusher = start_peer(flush_its_page, id);
        wait_until(waits_for(flusher, WAIT_WRITER));
        ck_assert_uint_eq(disk.held_count, 1);
        disk.fate = NULL;
        ck_assert_int_eq(end_peer(flusher), 0);
        ck_assert(disk_has(file_path("slow"), 0, 240 + 2 * changes));
        wait_until(call_cleaner() && !is_dirty(id));
        ck_assert_uint_eq(writes_of(id) - before, 1 + (unsigned)changes);
    }
    end_disk();
}
END_TEST

/* What the cleaner begins after the call is none of its business. */
START_TEST(cleaner_backlog_does_not_block_flush_all)
{
    begin_with_slow_file();
    for (unsigned i = 0; i < 8; i++)
        fill_page(session, page(i), 251);
    disk.fate = hold_all_count_slow_file;
    struct peer *flusher = start_peer(flush_everything, page(0));
    wait_until(disk.held_count > 0 && waits_for(flusher, WAIT_WRITER));
    for (unsigned i = 0; i < 100; i++)
        fill_page(session, tarn_page_id(slow_file, i), 251);
    begin_cleaning();
    wait_until(call_cleaner() && slow_arrived > 0);
    ck_assert_int_eq(flusher->result, NOT_YET);
    disk.fate = hold_slow_file;
    ck_assert_int_eq(end_peer(flusher), 0);
    for (unsigned i = 0; i < 8; i++)
        ck_assert(disk_has(file_path("data"), i, 251));
    for (unsigned i = 0; i < 100; i++)
        ck_assert(is_dirty(tarn_page_id(slow_file, i)));
    end_disk();
}
END_TEST

static unsigned dirty_of(uint32_t of_file, unsigned pages)
{
    unsigned dirty = 0;

    for (unsigned i = 0; i < pages; i++)
        dirty += is_dirty(tarn_page_id(of_file, i));
    return dirty;
}

START_TEST(cleaner_failure_and_retry)
{
    begin_disk(256);
    struct tarn_pool *other = attach_pool(test_pool_name());
    struct tarn_session *theirs = open_session(other);
    disk.fate = fail_writes;
    for (unsigned i = 0; i < 3; i++)
        fill_page(session, page(30 * i), 251);
    begin_cleaning();
    wait_until(call_cleaner() && disk.failed_count > 0);
    /* Nobody has asked for anything: nobody has an error. */
    for (unsigned i = 0; i < 3; i++) {
        ck_assert(page_has(theirs, page(30 * i), 251));
        fill_page(theirs, page(30 * i), 252);
    }
    ck_assert_uint_eq(dirty_of(file, 100), 3);
    disk.fate = NULL;
    /* It tries again by itself. */
    wait_until(dirty_of(file, 100) == 0);
    for (unsigned i = 0; i < 3; i++)
        ck_assert(disk_has(file_path("data"), 30 * i, 252));
    ck_assert_uint_eq(tarn_load_relaxed(&pool->view.control->failed), 0);
    ck_assert_int_eq(tarn_detach(other), 0);
    end_disk();
}
END_TEST

START_TEST(pinned_dirty_page_is_cleaned_after_release)
{
    struct tarn_pin pin;

    begin_disk(FRAMES);
    for (unsigned i = 0; i < 8; i++)
        fill_page(session, page(i), 250);
    assert_ok(session, tarn_pin(session, page(2), 0, &pin));
    struct peer *holder = start_peer(hold_changed_page, page(1));
    wait_until(holder->step == 1);
    begin_cleaning();
    /* A pin is in nobody's way; what is being changed stays dirty. */
    wait_until(call_cleaner() && dirty_of(file, 8) == 1);
    ck_assert(is_dirty(page(1)) && filled_with(pin.data, 250));
    holder->goes_on = 1;
    ck_assert_int_eq(end_peer(holder), 1);
    wait_until(call_cleaner() && !is_dirty(page(1)));
    ck_assert(disk_has(file_path("data"), 1, 251) && disk_has(file_path("data"), 2, 250));
    /* It leaves when it is given back, not before. */
    drive_out(page(2));
    ck_assert(is_cached(page(2)));
    assert_ok(session, tarn_unpin(session, pin));
    drive_out(page(2));
    ck_assert(!is_cached(page(2)));
    end_disk();
}
END_TEST

START_TEST(no_second_write_after_the_cleaner)
{
    begin_disk(FRAMES);
    for (unsigned i = 0; i < 20; i++)
        fill_page(session, page(i), 251);
    begin_cleaning();
    wait_until(call_cleaner() && dirty_of(file, 20) == 0);
    for (unsigned i = 0; i < 20; i++)
        assert_ok(session, tarn_flush_page(session, page(i)));
    assert_ok(session, tarn_flush_file(session, file));
    for (unsigned i = 0; i < 4 * PAGES; i++)
        ck_assert(page_has(session, page(i % PAGES), i % PAGES < 20 ? 251 : stamp(i % PAGES)));
    assert_ok(session, tarn_flush_all(session));
    join_writer();
    for (unsigned i = 0; i < 20; i++)
        ck_assert_uint_eq(writes_of(page(i)), 1);
    ck_assert_int_eq(close_writer(), 0);
}
END_TEST

/* Eviction. */

START_TEST(eviction_interleaved_with_waits)
{
    static const unsigned numbers[] = {100, 101, 102, 102, 103};
    struct peer *peers[5];
    unsigned count;

    begin_disk(16);
    disk.fate = hold_writes;
    struct tarn_session *hasty = dirty_all_frames(&count);
    for (unsigned i = 0; i < 5; i++)
        peers[i] = start_peer(pin_its_page, page(numbers[i]));
    for (unsigned i = 0; i < 5; i++)
        wait_until(waits_for(peers[i], WAIT_FRAME) || waits_for(peers[i], WAIT_LOAD));
    /* Those who need no frame go on, and keep what they have. */
    for (unsigned i = 0; i < count; i++)
        ck_assert(page_has(session, page(i), 251) && is_dirty(page(i)));
    ck_assert_uint_gt(disk.held_count, 0);
    disk.fate = NULL;
    ck_assert_int_eq(tarn_session_close(hasty), 0);
    for (unsigned i = 0; i < 5; i++)
        ck_assert_int_eq(end_peer(peers[i]), 0);
    for (unsigned i = 0; i < count; i++)
        ck_assert(page_has(session, page(i), 251));
    assert_ok(session, tarn_flush_all(session));
    end_disk();
}
END_TEST

static void read_at_the_end(void *argument)
{
    static const unsigned ends[] = {100, 101, 60};
    struct peer *peer = argument;
    struct tarn_optimistic optimistic;
    struct tarn_pin pin, pins[3];
    uint8_t byte;

    join_pool();
    for (unsigned i = 0; i < 3; i++) {
        struct tarn_page_id last = page(ends[i] - 1), beyond = page(ends[i]);
        struct tarn_page_id both[] = {page(3), beyond, last};
        assert_fails(session, -ERANGE, "", tarn_pin(session, beyond, 0, &pin));
        assert_fails(session, -ERANGE, "", tarn_page_copy(session, beyond, 0, 1, &byte));
        assert_fails(session, -ERANGE, "", tarn_optimistic_begin(session, beyond, &optimistic));
        assert_fails(session, -ERANGE, "", tarn_pin_many(session, both, 3, 0, pins));
        ck_assert_int_eq(tarn_prefetch(session, &beyond, 1), 0);
        /* Up to the end is no error, also where more is read ahead. */
        assert_ok(session, tarn_pin(session, last, TARN_HINT_SEQUENTIAL, &pin));
        ck_assert(filled_with(pin.data, i == 1 ? 0 : stamp(ends[i] - 1)));
        assert_ok(session, tarn_unpin(session, pin));
        step(peer);
    }
    peer->result = 0;
}

/* The end is where the file ends now, for every process: zeros are never made up. */
START_TEST(read_beyond_the_end)
{
    struct tarn_pin pin;

    begin_disk(256);
    file = open_stamped_file("short", 100);
    struct peer *reader = start_peer(read_at_the_end, page(0));
    wait_until(reader->step == 1);
    assert_ok(session, tarn_file_extend(session, file, 101));
    reader->goes_on = 1;
    wait_until(reader->step == 2);
    /* Nobody holds a page after calls that failed. */
    assert_ok(session, tarn_file_truncate(session, file, 60, 0));
    reader->goes_on = 2;
    wait_until(reader->step == 3);
    reader->goes_on = 3;
    ck_assert_int_eq(end_peer(reader), 0);
    /* Cut by somebody else: an error too, and the pages before are as they were. */
    ck_assert_int_eq(truncate(file_path("short"), 20 * PAGE_BYTES), 0);
    int result = tarn_pin(session, page(30), 0, &pin);
    ck_assert_msg(result == -ENODATA || result == -EBADFD, "%d", result);
    ck_assert(page_has(session, page(19), stamp(19)));
    ck_assert_int_eq(truncate(file_path("short"), 60 * PAGE_BYTES), 0);
    assert_ok(session, tarn_file_drop(session, file, 0, 0));
    end_disk();
}
END_TEST

static unsigned reads_of(unsigned from, unsigned to)
{
    unsigned count = 0;

    for (unsigned i = from; i < to; i++)
        count += reads->begun[i];
    return count;
}

/* Pages from `hot` to `cold` are used all the time; those from there on come by, one after the
 * other. */
static void assert_hot_pages_stay(unsigned hot, unsigned cold, unsigned hint)
{
    unsigned hot_before = reads_of(hot, cold), cold_before = reads_of(cold, PAGES);
    struct tarn_pin pin;

    for (unsigned i = 0; i < 40 * PAGES; i++) {
        bool is_hot = i % 4 != 0;
        unsigned number = is_hot ? hot + (i - i / 4) % (cold - hot) : cold + i / 4 % (PAGES - cold);
        assert_ok(session, tarn_pin(session, page(number), is_hot ? 0 : hint, &pin));
        ck_assert(filled_with(pin.data, stamp(number)));
        assert_ok(session, tarn_unpin(session, pin));
    }
    unsigned hot_reads = reads_of(hot, cold) - hot_before;
    unsigned cold_reads = reads_of(cold, PAGES) - cold_before;
    ck_assert_msg(cold_reads > 500 && hot_reads < cold_reads / 10, "%u reads of hot pages, %u else",
                  hot_reads, cold_reads);
}

/* Loop: the policy. */
START_TEST(replacer_correctness)
{
    enum { PINNED = 4, DIRTY = 4 };
    struct tarn_init_options options = {.size = sizeof(options),
                                        .directory = test_path("pool"),
                                        .frame_bytes = FRAMES * PAGE_BYTES,
                                        .session_count = 8,
                                        .policy = tarn_policy_name(tarn_policy_kind((unsigned)_i))};
    struct tarn_message message = {""};
    struct tarn_pin pins[PINNED];

    reads = share_memory(sizeof(*reads));
    ck_assert_int_eq(tarn_init(test_pool_name(), &options, &message), 0);
    pool = attach_pool(test_pool_name());
    session = open_session_that_waits(NEVER_MS);
    begin_writer_on_disk(TARN_IO_AUTO, NULL);
    file = open_stamped_file("data", PAGES);
    disk.fate = hold_writes;
    /* Pages 0 to 3 are pinned, 4 to 7 dirty and cannot be written. */
    for (unsigned i = 0; i < PINNED; i++)
        assert_ok(session, tarn_pin(session, page(i), 0, &pins[i]));
    for (unsigned i = 0; i < DIRTY; i++)
        fill_page(session, page(PINNED + i), 251);
    for (unsigned i = 0; i < 2; i++)
        assert_hot_pages_stay(PINNED + DIRTY, 20, i == 0 ? TARN_HINT_ONCE : TARN_HINT_NONE);
    for (unsigned i = 0; i < PINNED + DIRTY; i++)
        ck_assert_uint_eq(reads->begun[i], 1);
    disk.fate = NULL;
    assert_ok(session, tarn_unpin_many(session, pins, PINNED));
    for (unsigned i = 0; i < DIRTY; i++)
        ck_assert(page_has(session, page(PINNED + i), 251));
    end_disk();
}
END_TEST

/* The rest. */

static double share_of(const struct references *references, uint32_t from, uint32_t to)
{
    uint32_t count = 0;

    for (uint32_t i = 0; i < references->count; i++)
        count += references->pages[i] >= from && references->pages[i] < to;
    return (double)count / references->count;
}

static void make(const char *name, uint32_t frame_count, struct references *ret_references)
{
    ck_assert_msg(workload_make(name, frame_count, ret_references), "%s", name);
    ck_assert_double_eq(share_of(ret_references, 0, ret_references->page_count), 1);
}

/* By its definition: page n in proportion to (n + 1)^-exponent, and so many of the references, in
 * percent, to pages that come once. */
static void assert_zipf(const char *name, double exponent, double scan)
{
    struct references references;
    double sum = 0;

    make(name, 1000, &references);
    for (uint32_t i = 0; i < WORKLOAD_PAGES; i++)
        sum += pow(i + 1, -exponent);
    double rest = 1 - scan / 100, within = 0.005;
    ck_assert_double_eq_tol(share_of(&references, WORKLOAD_PAGES, UINT32_MAX), 1 - rest, within);
    for (uint32_t page = 0; page < 3; page++)
        ck_assert_double_eq_tol(share_of(&references, page, page + 1),
                                rest * pow(page + 1, -exponent) / sum, within);
    uint32_t next = WORKLOAD_PAGES, others = 0;
    for (uint32_t i = 0; i < references.count; i++)
        others += references.pages[i] >= WORKLOAD_PAGES && references.pages[i] != next++;
    ck_assert_uint_eq(others, 0);
    free(references.pages);
}

START_TEST(workload_semantics_of_the_benchmark)
{
    struct references one, two;
    const char *name;

    /* The same each time, whatever was made in between. */
    for (unsigned i = 0; (name = workload_name(i)) != NULL; i++) {
        make(name, 1000, &one);
        make(name, 1000, &two);
        ck_assert(one.count == two.count && one.count >= WORKLOAD_REFERENCES - 1);
        ck_assert_int_eq(memcmp(one.pages, two.pages, one.count * sizeof(*one.pages)), 0);
        free(one.pages);
        free(two.pages);
    }
    ck_assert(!workload_make("zipf", 1000, &one));
    assert_zipf("zipf-0.7", 0.7, 0);
    assert_zipf("zipf-0.99", 0.99, 0);
    assert_zipf("zipf-1.2", 1.2, 0);
    assert_zipf("zipf-0.99-scan-20", 0.99, 20);
    assert_zipf("zipf-0.99-scan-50", 0.99, 50);
    /* A tenth more than the cache, around and around. */
    make("loop", 1000, &one);
    uint32_t others = 0;
    for (uint32_t i = 0; i < one.count; i++)
        others += one.pages[i] != i % 1100;
    ck_assert_uint_eq(others, 0);
    free(one.pages);
    /* Twice each, half a cache apart: a quarter of new ones, a quarter of others seen again. */
    make("twice", 1000, &one);
    uint32_t *first = calloc(one.page_count, sizeof(*first)), distance = 0;
    for (uint32_t i = 0; i < one.count; i++) {
        if (first[one.pages[i]] == 0)
            first[one.pages[i]] = i + 1;
        else
            distance = i + 1 - first[one.pages[i]];
    }
    ck_assert_uint_ge(distance, 495);
    ck_assert_uint_le(distance, 505);
    free(first);
    free(one.pages);
    /* Nine in ten to a hot set, four fifths of the cache, which has moved on by the end. */
    make("drift", 1000, &one);
    struct references begin = one, end = one;
    begin.count = end.count = 1000;
    end.pages = one.pages + one.count - 1000;
    ck_assert_double_eq_tol(share_of(&begin, 0, 900), 0.9, 0.05);
    ck_assert_double_eq_tol(share_of(&end, 0, 900), 0.8, 0.2);
    ck_assert_double_eq_tol(share_of(&one, 0, WORKLOAD_PAGES / 2), 0.5, 0.01);
    free(one.pages);
}
END_TEST

/* Loop: the backend. */
START_TEST(several_requests_in_flight)
{
    struct peer *peers[6];

    begin_pool(256);
    begin_writer_on_disk((enum tarn_io_backend)_i, NULL);
    file = open_stamped_file("data", PAGES);
    for (unsigned i = 0; i < 10; i++)
        fill_page(session, page(10 * i), 251);
    disk.fate = hold_writes;
    /* One who asks for much has many in flight, and so have many who ask for one page each. */
    peers[0] = start_peer(flush_everything, page(0));
    wait_until(disk.held_count == 10);
    for (unsigned i = 1; i < 6; i++) {
        fill_page(session, page(10 * i + 5), 251);
        peers[i] = start_peer(flush_and_look, page(10 * i + 5));
    }
    wait_until(disk.held_count == 15);
    for (unsigned i = 0; i < 6; i++)
        ck_assert_int_eq(peers[i]->result, NOT_YET);
    disk.fate = NULL;
    for (unsigned i = 0; i < 6; i++)
        ck_assert_int_eq(end_peer(peers[i]), 0);
    for (unsigned i = 0; i < 10; i++)
        ck_assert(writes_of(page(10 * i)) == 1 && disk_has(file_path("data"), 10 * i, 251));
    for (unsigned i = 1; i < 6; i++)
        ck_assert_uint_eq(writes_of(page(10 * i + 5)), 1);
    end_disk();
}
END_TEST

static _Atomic bool page_one_arrived;

static int hold_all_watch_page_one(const struct tarn_io_request *request)
{
    if (request_writes(request, slow_file, 1))
        page_one_arrived = true;
    return DISK_HOLDS;
}

START_TEST(shutdown_drains)
{
    begin_disk(FRAMES);
    slow_file = file;
    disk.fate = hold_all_watch_page_one;
    for (unsigned i = 0; i < 32; i++)
        fill_page(session, page(2 * i), 250);
    struct peer *before = start_peer(flush_its_page, page(0));
    wait_until(disk.held_count > 0 && waits_for(before, WAIT_WRITER));
    fill_page(session, page(1), 251);
    tarn_writer_stop(writer);
    /* It takes no more requests, and does not leave before the last write and its sync. */
    wait_until(page_one_arrived);
    struct peer *after = start_peer(flush_its_page, page(1));
    wait_until(waits_for(after, WAIT_WRITER));
    ck_assert_int_eq(pthread_tryjoin_np(writer_thread, NULL), EBUSY);
    disk.fate = hold_syncs;
    wait_until(writes_of(page(1)) == 1);
    ck_assert(is_dirty(page(1)) && before->result == NOT_YET);
    ck_assert_int_eq(pthread_tryjoin_np(writer_thread, NULL), EBUSY);
    disk.fate = NULL;
    pthread_join(writer_thread, NULL);
    ck_assert_int_eq(close_writer(), 0);
    ck_assert_int_eq(end_peer(before), 0);
    for (unsigned i = 0; i < 64; i++)
        ck_assert(!is_dirty(page(i)) && page_has(session, page(i),
                                                 i % 2 == 0 ? 250
                                                 : i == 1   ? 251
                                                            : stamp(i)));
    ck_assert(disk_has(file_path("data"), 1, 251) && disk_has(file_path("data"), 62, 250));
    /* Those who came later are the next one's. */
    begin_writer_on_disk(TARN_IO_AUTO, NULL);
    ck_assert_int_eq(end_peer(after), 0);
    end_disk();
}
END_TEST

void test_suite(Suite *suite)
{
    TCase *life = test_case(suite, "life", 60);
    tcase_add_test(life, lifecycle);
    tcase_add_test(life, handle_semantics);

    TCase *misses = test_case(suite, "misses", 60);
    tcase_add_test(misses, page_table);
    tcase_add_test(misses, miss_ownership_and_recovery);
    tcase_add_test(misses, parallel_misses_of_different_pages);

    TCase *states = test_case(suite, "states", 60);
    tcase_add_test(states, descriptor_states);
    tcase_add_test(states, completion_order);
    tcase_add_test(states, early_completion);

    TCase *options = test_case(suite, "options", 60);
    tcase_add_test(options, options_resolution);
    tcase_add_test(options, initialisation_failure);

    TCase *frames = test_case(suite, "frames", 60);
    tcase_add_test(frames, exhaustion);
    tcase_add_test(frames, dirty_eviction_with_failing_write_and_recovery);

    TCase *flush = test_case(suite, "flush", 60);
    tcase_add_test(flush, flush_consistency_under_redirty);
    tcase_add_test(flush, flush_under_shared_latch);
    tcase_add_test(flush, flush_under_exclusive_latch);
    tcase_add_test(flush, flush_all_persistence);
    tcase_add_test(flush, failure_propagation);
    tcase_add_test(flush, coordination_with_flushes_in_flight);

    TCase *background = test_case(suite, "background", 60);
    tcase_add_test(background, foreground_ahead_of_background);
    tcase_add_test(background, foreground_after_older_background);
    tcase_add_test(background, cleaner_backlog_does_not_block_flush_all);
    tcase_add_test(background, cleaner_failure_and_retry);

    TCase *failure = test_case(suite, "failure", 60);
    tcase_add_test(failure, submit_failure);
    tcase_add_loop_test(failure, completion_failure, 0, 6);

    TCase *cleaner = test_case(suite, "cleaner", 60);
    tcase_add_test(cleaner, pinned_dirty_page_is_cleaned_after_release);
    tcase_add_test(cleaner, no_second_write_after_the_cleaner);

    TCase *eviction = test_case(suite, "eviction", 60);
    tcase_add_test(eviction, eviction_interleaved_with_waits);
    tcase_add_test(eviction, read_beyond_the_end);
    tcase_add_loop_test(eviction, replacer_correctness, 0, 7);

    TCase *load = test_case(suite, "load", 60);
    tcase_add_test(load, workload_semantics_of_the_benchmark);
    tcase_add_loop_test(load, several_requests_in_flight, TARN_IO_URING, TARN_IO_THREADS + 1);
    tcase_add_test(load, shutdown_drains);
}
