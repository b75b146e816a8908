/* SPDX-License-Identifier: MIT */
/* Words of the segment that make no sense, and askers that are gone: whoever reads them goes on. */
#include "tests/process.h"

enum { NONSENSE = (1u << 28) - 1 };

/* Waits. */

START_TEST(waits_for_nobody_and_nothing_are_no_cycles)
{
    static const unsigned kinds[] = {WAIT_LOAD, WAIT_SHARED, WAIT_EXCLUSIVE, WAIT_DRAIN, 200};
    struct tarn_session *holder = open_session(pool);
    struct tarn_locked_page locked;
    struct tarn_pin pin;

    assert_ok(holder, tarn_mtr_begin(holder, 1));
    assert_ok(holder, tarn_mtr_lock(holder, page(1), -1, &locked));
    assert_ok(session, tarn_pin(session, page(1), 0, &pin));
    for (unsigned i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        tarn_store_release(&holder->shared->wait, (uint64_t)NONSENSE << 8 | kinds[i]);
        assert_fails(session, -ETIMEDOUT, "a latch", tarn_latch_shared(session, pin, 20));
    }
    tarn_store_release(&holder->shared->wait, 0);
    assert_ok(holder, tarn_mtr_abort(holder));
    /* A latch of a session that there cannot be. */
    tarn_word *latch = &pool->view.descriptors[pin.frame].latch_word;
    uint64_t word = tarn_load_acquire(latch);
    tarn_store_release(latch, latch_word_taken(word, pool->view.slot_max + 1));
    assert_fails(session, -ETIMEDOUT, "a latch", tarn_latch_shared(session, pin, 20));
    tarn_store_release(latch, word);
    assert_ok(session, tarn_latch_shared(session, pin, -1));
    assert_ok(session, tarn_unlatch_shared(session, pin));
    assert_ok(session, tarn_unpin(session, pin));
}
END_TEST

/* Mini-transactions. */

enum { NEW_PAGE = 40 };

/* Has changed page 1, locked 2 and 3, and made a new one, and stops. */
static void change_and_stop(void *argument)
{
    struct tarn_writable_page writable;
    struct tarn_locked_page locked;
    struct tarn_session *own;
    uint32_t id;

    own = open_session(attach_pool(argument));
    assert_ok(own, tarn_file_open(own, "data", 0, &id));
    assert_ok(own, tarn_mtr_begin(own, 4));
    assert_ok(own, tarn_mtr_write(own, tarn_page_id(id, 1), -1, &writable));
    memset(writable.data, 'h', PAGE_BYTES / 2);
    assert_ok(own, tarn_mtr_lock(own, tarn_page_id(id, 2), -1, &locked));
    assert_ok(own, tarn_mtr_lock(own, tarn_page_id(id, 3), -1, &locked));
    assert_ok(own, tarn_mtr_new(own, tarn_page_id(id, NEW_PAGE), -1, &writable));
    memset(writable.data, 'n', PAGE_BYTES);
    kill(getpid(), SIGSTOP);
}

static int cancel_state;

/* The dead session's slot, which nobody reaps until the test does: the writer is a thread of this
 * handle, and waits for its mutex. */
static struct tarn_slot *begin_with_dead_change(void)
{
    char name[64];
    int status;

    for (unsigned i = 1; i <= 3; i++)
        fill_page(session, page(i), 'o');
    snprintf(name, sizeof(name), "%s", pool->name);
    pid_t child = start_process(change_and_stop, name);
    ck_assert_int_eq(waitpid(child, &status, WUNTRACED), child);
    ck_assert(WIFSTOPPED(status));
    unsigned slot = slot_of_process(pool, child);
    ck_assert_uint_ne(slot, 0);
    cancel_state = tarn_pool_lock(pool);
    kill_process(child);
    return tarn_view_slot(&pool->view, slot);
}

static void reap_dead_change(struct tarn_slot *shared)
{
    unsigned slot = 1;

    while (tarn_view_slot(&pool->view, slot) != shared)
        slot++;
    tarn_pool_unlock(pool, cancel_state);
    tarn_reap(pool, slot, session);
    wait_until(tarn_load_acquire(&shared->state) == SLOT_FREE);
}

/* Its entries, and what of them makes no sense. */
static void spoil_entries(struct tarn_slot *shared, unsigned state)
{
    uint64_t word = tarn_load_acquire(&shared->mtr);
    uint64_t second = tarn_load_relaxed(&shared->mtr_entry[1]);
    uint64_t third = tarn_load_relaxed(&shared->mtr_entry[2]);
    uint32_t frame2 = mtr_entry_frame_plus_one(second) - 1;
    uint32_t frame3 = mtr_entry_frame_plus_one(third) - 1;

    tarn_store_relaxed(&shared->mtr_entry[1], mtr_entry_of(frame2, NONSENSE, false));
    tarn_store_relaxed(&shared->mtr_entry[2], mtr_entry_of(frame3, frame3 + 1, false));
    for (unsigned i = mtr_word_count(word); i < TARN_MTR_ENTRIES_MAX; i++)
        tarn_store_relaxed(&shared->mtr_entry[i], mtr_entry_of(NONSENSE - 1, NONSENSE, true));
    tarn_store_release(&shared->mtr,
                       mtr_word_of(mtr_word_serial(word), TARN_MTR_ENTRIES_MAX + 1, state));
}

START_TEST(dead_change_with_entries_of_nonsense_is_undone)
{
    struct tarn_slot *shared = begin_with_dead_change();

    spoil_entries(shared, MTR_ACTIVE);
    reap_dead_change(shared);
    for (unsigned i = 1; i <= 3; i++)
        ck_assert(page_has(session, page(i), 'o'));
    ck_assert(page_has(session, page(NEW_PAGE), 0));
}
END_TEST

START_TEST(dead_commit_with_entries_of_nonsense_is_finished)
{
    struct tarn_slot *shared = begin_with_dead_change();
    uint64_t entry = tarn_load_relaxed(&shared->mtr_entry[3]);
    uint32_t frame = mtr_entry_frame_plus_one(entry) - 1;
    tarn_word *frame_word = &pool->view.descriptors[frame].frame_word;
    uint8_t copy[PAGE_BYTES];

    /* Somebody waited for the new page. */
    tarn_store_release(frame_word, tarn_load_acquire(frame_word) | FRAME_WAITERS);
    spoil_entries(shared, MTR_COMMITTED);
    reap_dead_change(shared);
    assert_ok(session, tarn_page_copy(session, page(1), 0, PAGE_BYTES, copy));
    ck_assert(copy[0] == 'h' && copy[PAGE_BYTES - 1] == 'o');
    ck_assert(page_has(session, page(2), 'o') && page_has(session, page(3), 'o'));
    ck_assert(page_has(session, page(NEW_PAGE), 'n'));
    ck_assert_uint_eq(tarn_load_acquire(frame_word) & FRAME_WAITERS, 0);
}
END_TEST

START_TEST(image_of_a_shadow_that_cannot_be)
{
    uint8_t image[PAGE_BYTES];
    uint64_t word;

    fill_page(session, page(1), 'i');
    uint32_t frame = tarn_table_find(&pool->view, page(1).value, &word);
    memset(image, 0, sizeof(image));
    tarn_shadow_image(&pool->view, mtr_entry_of(NONSENSE - 1, 1, false), image);
    ck_assert(filled_with(image, 0));
    tarn_shadow_image(&pool->view, mtr_entry_of(frame, NONSENSE, false), image);
    ck_assert(filled_with(image, 'i'));
}
END_TEST

/* Requests. */

START_TEST(requests_that_make_no_sense_are_refused)
{
    static char long_path[TARN_PATH_BYTES];
    uint64_t before, after;

    memset(long_path, 'x', sizeof(long_path) - 1);
    assert_ok(session, tarn_file_page_count(session, file, &before));
    ck_assert_int_eq(tarn_ask(session, 99, file, 0, 0, NULL, 0), -EINVAL);
    ck_assert_int_eq(tarn_ask(session, ASK_FILE_OPEN, 0, 0, 0, "", 0), -EINVAL);
    ck_assert_int_eq(tarn_ask(session, ASK_FILE_OPEN, 0, 0, 0, "./tmp.1.2", 0), -EINVAL);
    ck_assert_int_eq(tarn_ask(session, ASK_FILE_EXTEND, file, UINT64_C(1) << 50, 0, NULL, 0),
                     -EINVAL);
    ck_assert_int_lt(tarn_ask(session, ASK_FILE_EXTEND, NONSENSE, 1, 0, NULL, 0), 0);
    ck_assert_int_lt(tarn_ask(session, ASK_FILE_TRUNCATE, 0, 1, 0, NULL, 0), 0);
    ck_assert_int_eq(tarn_ask(session, ASK_FILE_SHARE, file, UINT64_C(1) << 40, 0, NULL, 0),
                     -EINVAL);
    ck_assert_int_eq(tarn_ask(session, ASK_FILE_SHARE, NONSENSE, 1, 0, NULL, 0), -ENXIO);
    ck_assert_int_lt(tarn_ask(session, ASK_FILE_DROP, file + 1, 1, 0, NULL, 0), 0);
    ck_assert_int_eq(tarn_ask(session, ASK_FLUSH_FILE, NONSENSE, 0, 0, NULL, 0), -ENXIO);
    ck_assert_int_eq(tarn_ask(session, ASK_FLUSH_PAGES, 0, 1000, 0, NULL, 0), -EINVAL);
    assert_ok(session, tarn_file_page_count(session, file, &after));
    ck_assert_uint_eq(before, after);
    ck_assert(page_has(session, page(PAGES - 1), 0));
}
END_TEST

static void truncate_for_ever(void *argument)
{
    struct tarn_session *own = open_session(attach_pool(argument));
    uint32_t id;

    assert_ok(own, tarn_file_open(own, "data", 0, &id));
    tarn_file_truncate(own, id, 2, -1);
}

/* Who asked is killed while somebody holds a page that would go: nothing has changed. */
START_TEST(cut_whose_asker_is_killed_is_taken_back)
{
    char name[64];
    struct tarn_pin pin;
    uint64_t left;

    snprintf(name, sizeof(name), "%s", pool->name);
    fill_page(session, page(9), 'k');
    assert_ok(session, tarn_pin(session, page(9), 0, &pin));
    pid_t child = start_process(truncate_for_ever, name);
    wait_until(tarn_file_page_count(session, file, &left) == 0 && left == 2);
    kill_process(child);
    wait_until(tarn_file_page_count(session, file, &left) == 0 && left == PAGES);
    ck_assert(filled_with(pin.data, 'k'));
    assert_ok(session, tarn_unpin(session, pin));
    assert_ok(session, tarn_file_truncate(session, file, 9, -1));
    assert_ok(session, tarn_file_extend(session, file, PAGES));
    ck_assert(page_has(session, page(9), 0));
}
END_TEST

static void *flush_at_last(void *argument)
{
    struct work *work = argument;

    work->result = tarn_flush_all(work->session);
    return NULL;
}

/* Without a limit, the writer may come late. */
START_TEST(writer_is_waited_for_without_a_limit)
{
    struct tarn_session_options options = {.size = sizeof(options), .writer_wait_ms = -1};
    struct tarn_session *patient;
    struct work work;

    pool = init_pool(test_pool_name(), test_path("pool"), FRAMES, 4);
    ck_assert_int_eq(tarn_session_open(pool, &options, &patient), 0);
    start_work(&work, flush_at_last, patient, page(0), 0);
    wait_until(tarn_load_acquire(&patient->shared->wait) != 0);
    sleep_ms(20);
    pid_t writer = start_tarn_writer(test_pool_name());
    ck_assert_int_eq(end_work(&work), 0);
    end_tarn_writer(pool, writer);
    ck_assert_int_eq(tarn_detach(pool), 0);
}
END_TEST

void test_suite(Suite *suite)
{
    TCase *words = test_case(suite, "words", 60);
    TCase *late = test_case(suite, "late", 60);

    tcase_add_checked_fixture(words, begin_with_pool, end_with_pool);
    tcase_add_test(words, waits_for_nobody_and_nothing_are_no_cycles);
    tcase_add_test(words, dead_change_with_entries_of_nonsense_is_undone);
    tcase_add_test(words, dead_commit_with_entries_of_nonsense_is_finished);
    tcase_add_test(words, image_of_a_shadow_that_cannot_be);
    tcase_add_test(words, requests_that_make_no_sense_are_refused);
    tcase_add_test(words, cut_whose_asker_is_killed_is_taken_back);
    tcase_add_test(late, writer_is_waited_for_without_a_limit);
}
