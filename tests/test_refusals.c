/* SPDX-License-Identifier: MIT */
/* Every call of a session that may not be used, and every argument that makes no sense: its code,
 * and nothing changed.
 */
#include "tests/process.h"

enum { PAGES_OF_REFUSALS = 2 };

/* Each call with arguments that would do. */

static struct tarn_page_id id;
static struct tarn_pin pin;
static struct tarn_optimistic token;
static uint32_t number;
static uint64_t count;
static struct tarn_locked_page locked;
static struct tarn_writable_page writable;

static int pin_one(struct tarn_session *own)
{
    return tarn_pin(own, id, TARN_HINT_NONE, &pin);
}

static int unpin_one(struct tarn_session *own)
{
    return tarn_unpin(own, pin);
}

static int pin_many(struct tarn_session *own)
{
    return tarn_pin_many(own, &id, 1, TARN_HINT_NONE, &pin);
}

static int unpin_many(struct tarn_session *own)
{
    return tarn_unpin_many(own, &pin, 1);
}

static int prefetch(struct tarn_session *own)
{
    return tarn_prefetch(own, &id, 1);
}

static int latch(struct tarn_session *own)
{
    return tarn_latch_shared(own, pin, -1);
}

static int unlatch(struct tarn_session *own)
{
    return tarn_unlatch_shared(own, pin);
}

static int optimistic(struct tarn_session *own)
{
    return tarn_optimistic_begin(own, id, &token);
}

static int copy_page(struct tarn_session *own)
{
    uint8_t bytes[8];

    return tarn_page_copy(own, id, 0, sizeof(bytes), bytes);
}

static int open_file(struct tarn_session *own)
{
    return tarn_file_open(own, "data", 0, &number);
}

static int page_count(struct tarn_session *own)
{
    return tarn_file_page_count(own, file, &count);
}

static int extend(struct tarn_session *own)
{
    return tarn_file_extend(own, file, PAGES);
}

static int truncate_file(struct tarn_session *own)
{
    return tarn_file_truncate(own, file, PAGES, -1);
}

static int drop_file(struct tarn_session *own)
{
    return tarn_file_drop(own, file, 0, -1);
}

static int set_share(struct tarn_session *own)
{
    return tarn_file_set_share(own, file, 1);
}

static int share(struct tarn_session *own)
{
    return tarn_file_share(own, file, &count);
}

static int flush_page(struct tarn_session *own)
{
    return tarn_flush_page(own, id);
}

static int flush_file(struct tarn_session *own)
{
    return tarn_flush_file(own, file);
}

static int begin(struct tarn_session *own)
{
    return tarn_mtr_begin(own, PAGES_OF_REFUSALS);
}

static int lock_page(struct tarn_session *own)
{
    return tarn_mtr_lock(own, id, -1, &locked);
}

static int write_page(struct tarn_session *own)
{
    return tarn_mtr_write(own, id, -1, &writable);
}

static int write_range(struct tarn_session *own)
{
    return tarn_mtr_write_range(own, id, 0, 8, -1, &writable);
}

static int new_page(struct tarn_session *own)
{
    return tarn_mtr_new(own, id, -1, &writable);
}

static int lock_if(struct tarn_session *own)
{
    return tarn_mtr_lock_if(own, &token, -1, &locked);
}

static int write_if(struct tarn_session *own)
{
    return tarn_mtr_write_if(own, &token, -1, &writable);
}

static int release(struct tarn_session *own)
{
    return tarn_mtr_release(own, id);
}

static int commit(struct tarn_session *own)
{
    return tarn_mtr_commit(own, 0);
}

static const struct {
    const char *name;
    int (*call)(struct tarn_session *own);
    bool in_mtr;
} calls[] = {
    {"pin", pin_one, false},
    {"unpin", unpin_one, false},
    {"pin_many", pin_many, false},
    {"unpin_many", unpin_many, false},
    {"prefetch", prefetch, false},
    {"latch_shared", latch, false},
    {"unlatch_shared", unlatch, false},
    {"optimistic_begin", optimistic, false},
    {"page_copy", copy_page, false},
    {"file_open", open_file, false},
    {"file_page_count", page_count, false},
    {"file_extend", extend, false},
    {"file_truncate", truncate_file, false},
    {"file_set_share", set_share, false},
    {"file_share", share, false},
    {"file_drop", drop_file, false},
    {"flush_page", flush_page, false},
    {"flush_file", flush_file, false},
    {"flush_all", tarn_flush_all, false},
    {"mtr_begin", begin, false},
    {"mtr_lock", lock_page, true},
    {"mtr_write", write_page, true},
    {"mtr_write_range", write_range, true},
    {"mtr_new", new_page, true},
    {"mtr_lock_if", lock_if, true},
    {"mtr_write_if", write_if, true},
    {"mtr_release", release, true},
    {"mtr_commit", commit, true},
    {"mtr_abort", tarn_mtr_abort, true},
};
enum { CALLS = sizeof(calls) / sizeof(calls[0]) };

static void begin_refusals(void)
{
    begin_with_pool();
    id = page(1);
}

/* The first call that does not answer so. */
static const char *first_other(struct tarn_session *own, int expected, bool mtr_alone)
{
    for (unsigned i = 0; i < CALLS; i++)
        if ((calls[i].in_mtr || !mtr_alone) && calls[i].call(own) != expected)
            return calls[i].name;
    return tarn_optimistic_valid(own, &token) && !mtr_alone ? "optimistic_valid" : "none";
}

START_TEST(closed_session)
{
    struct tarn_session *other = open_session(pool);

    assert_ok(other, optimistic(other));
    assert_ok(other, tarn_session_close(other));
    ck_assert_str_eq(first_other(other, -EBADF, false), "none");
    end_with_pool();
}
END_TEST

START_TEST(session_of_the_parent)
{
    pid_t pid;

    assert_ok(session, begin(session));
    pid = fork();
    if (pid == 0)
        _exit(strcmp(first_other(session, -ECHILD, false), "none") != 0 ||
              tarn_session_close(session) != -ECHILD);
    assert_ends_well(pid);
    assert_ok(session, tarn_mtr_abort(session));
    end_with_pool();
}
END_TEST

START_TEST(no_mini_transaction)
{
    assert_ok(session, optimistic(session));
    ck_assert_str_eq(first_other(session, -ESRCH, true), "none");
    end_with_pool();
}
END_TEST

/* What failed once has to be aborted. */
START_TEST(failed_mini_transaction)
{
    assert_ok(session, optimistic(session));
    assert_ok(session, begin(session));
    assert_fails(session, -ENXIO, "", tarn_mtr_lock(session, tarn_page_id(60000, 1), -1, &locked));
    for (unsigned i = 0; i < CALLS; i++)
        if (calls[i].in_mtr && calls[i].call != tarn_mtr_abort && calls[i].call != commit)
            assert_fails(session, -ECANCELED, "abort it", calls[i].call(session));
    ck_assert_int_lt(commit(session), 0);
    assert_fails(session, -ESRCH, "no mini-transaction", tarn_mtr_abort(session));
    end_with_pool();
}
END_TEST

START_TEST(arguments_of_pages)
{
    struct tarn_pin none = {.frame = UINT32_MAX, .hold = UINT32_MAX};
    struct tarn_pin other;
    uint8_t bytes[8];

    assert_fails(session, -EINVAL, "", tarn_prefetch(session, NULL, 1));
    assert_ok(session, tarn_prefetch(session, NULL, 0));
    assert_fails(session, -EINVAL, "4097", tarn_page_copy(session, id, 4096, 1, bytes));
    assert_fails(session, -EINVAL, "", tarn_page_copy(session, id, 4097, 0, bytes));
    assert_fails(session, -EINVAL, "", tarn_page_copy(session, id, 0, 8, NULL));
    assert_ok(session, tarn_page_copy(session, id, 4096, 0, NULL));
    assert_ok(session, pin_one(session));
    other = pin;
    other.frame = UINT32_MAX;
    assert_fails(session, -EINVAL, "not a pin", tarn_latch_shared(session, none, -1));
    assert_fails(session, -EINVAL, "not a pin", tarn_latch_shared(session, other, -1));
    assert_fails(session, -EINVAL, "not a pin", tarn_unlatch_shared(session, other));
    other.frame = pin.frame == 0 ? 1 : pin.frame - 1;
    assert_fails(session, -EINVAL, "not a pin", tarn_latch_shared(session, other, -1));
    assert_fails(session, -EINVAL, "not latched", tarn_unlatch_shared(session, pin));
    ck_assert_int_eq(tarn_unpin_many(session, (struct tarn_pin[]){none, other, pin}, 3), -EINVAL);
    assert_fails(session, -EINVAL, "", tarn_unpin(session, pin));
    token = (struct tarn_optimistic){.frame = UINT32_MAX};
    ck_assert_int_eq(tarn_optimistic_valid(session, &token), 0);
    end_with_pool();
}
END_TEST

START_TEST(arguments_of_mini_transactions)
{
    assert_ok(session, optimistic(session));
    assert_ok(session, begin(session));
    assert_fails(session, -EINVAL, "-2", tarn_mtr_lock(session, id, -2, &locked));
    assert_fails(session, -EINVAL, "-2", tarn_mtr_new(session, id, -2, &writable));
    assert_fails(session, -EINVAL, "bytes 0",
                 tarn_mtr_write_range(session, id, 0, 0, -1, &writable));
    assert_fails(session, -EINVAL, "4104",
                 tarn_mtr_write_range(session, id, 4096, 8, -1, &writable));
    assert_fails(session, -ESRCH, "not in this", tarn_mtr_release(session, id));
    /* Tokens of no page, of one that has left, and of one that has been taken. */
    struct tarn_optimistic other = token;
    other.version = 0;
    assert_fails(session, -EAGAIN, "read it again", tarn_mtr_lock_if(session, &other, 0, &locked));
    other = token;
    other.frame++;
    assert_fails(session, -EAGAIN, "read it again", tarn_mtr_lock_if(session, &other, 0, &locked));
    other = token;
    other.id = page(PAGES - 1);
    assert_fails(session, -EAGAIN, "read it again", tarn_mtr_lock_if(session, &other, 0, &locked));
    assert_ok(session, lock_page(session));
    assert_fails(session, -EALREADY, "", tarn_mtr_lock_if(session, &token, 0, &locked));
    assert_fails(session, -EALREADY, "", new_page(session));
    assert_ok(session, tarn_mtr_abort(session));
    assert_ok(session, begin(session));
    assert_fails(session, -EINVAL, "0x80", tarn_mtr_commit(session, 0x80));
    if (tarn_mtr_abort(session) < 0)
        assert_fails(session, -ESRCH, "", tarn_mtr_abort(session));
    end_with_pool();
}
END_TEST

/* More pins than a session has holds for are no pages of a mini-transaction. */
START_TEST(no_hold_is_left)
{
    static struct tarn_pin pins[TARN_HOLDS_MAX];
    static struct tarn_page_id ids[TARN_HOLDS_MAX];
    int result;

    for (unsigned i = 0; i < TARN_HOLDS_MAX; i++)
        ids[i] = page(1);
    assert_ok(session, optimistic(session));
    assert_ok(session, begin(session));
    assert_ok(session, tarn_pin_many(session, ids, TARN_HOLDS_MAX - 16, 0, pins));
    for (unsigned i = TARN_HOLDS_MAX - 16; i < TARN_HOLDS_MAX; i++)
        if (tarn_pin(session, page(1), 0, &pins[i]) < 0)
            pins[i] = pins[0];
    ck_assert_int_eq(tarn_pin(session, page(2), 0, &pin), -EMFILE);
    ck_assert_int_eq(tarn_pin_many(session, ids, 1, 0, &pin), -EMFILE);
    result = write_page(session);
    ck_assert(result == 0 || result == -EMFILE);
    assert_ok(session, tarn_mtr_abort(session));
    assert_ok(session, begin(session));
    result = new_page(session);
    ck_assert(result == 0 || result == -EMFILE);
    assert_ok(session, tarn_mtr_abort(session));
    ck_assert_int_eq(tarn_latch_shared(session, pins[0], -2), -EINVAL);
}
END_TEST

START_TEST(arguments_of_files)
{
    char path[TARN_PATH_BYTES + 1];

    memset(path, 'x', TARN_PATH_BYTES);
    path[TARN_PATH_BYTES] = 0;
    assert_fails(session, -EINVAL, "path", tarn_file_open(session, NULL, 0, &number));
    assert_fails(session, -EINVAL, "path", tarn_file_open(session, "", 0, &number));
    assert_fails(session, -EINVAL, "path", tarn_file_open(session, path, 0, &number));
    assert_fails(session, -EINVAL, "path", tarn_file_open(session, "a\nb", 0, &number));
    assert_fails(session, -EINVAL, "0x40", tarn_file_open(session, "data", 0x40, &number));
    assert_fails(session, -EINVAL, "wait -2", tarn_file_truncate(session, file, 1, -2));
    assert_fails(session, -EINVAL, "", tarn_file_extend(session, file, UINT64_MAX));
    assert_fails(session, -ENXIO, "no file 0", tarn_flush_file(session, 0));
    assert_fails(session, -ENXIO, "no file 60000", tarn_flush_file(session, 60000));
    assert_fails(session, -ENXIO, "no file 60000",
                 tarn_flush_page(session, tarn_page_id(60000, 1)));
    assert_fails(session, -ENXIO, "", tarn_pin(session, tarn_page_id(60000, 1), 0, &pin));
    assert_fails(session, -ENXIO, "", tarn_pin(session, tarn_page_id(0, 1), 0, &pin));
    assert_ok(session,
              tarn_prefetch(session,
                            (struct tarn_page_id[]){
                                {0}, tarn_page_id(60000, 1), tarn_page_id(9, 1), page(PAGES)},
                            4));
    end_with_pool();
}
END_TEST

START_TEST(arguments_of_sessions)
{
    struct tarn_session_options options = {.size = sizeof(options)};
    struct tarn_session *other = NULL;

    ck_assert_int_eq(tarn_session_open(pool, NULL, NULL), -EINVAL);
    options.size--;
    ck_assert_int_eq(tarn_session_open(pool, &options, &other), -EINVAL);
    options = (struct tarn_session_options){.size = sizeof(options), .wait_ms = -2};
    ck_assert_int_eq(tarn_session_open(pool, &options, &other), -EINVAL);
    options = (struct tarn_session_options){.size = sizeof(options), .frame_wait_ms = -2};
    ck_assert_int_eq(tarn_session_open(pool, &options, &other), -EINVAL);
    options = (struct tarn_session_options){.size = sizeof(options), .writer_wait_ms = -2};
    ck_assert_int_eq(tarn_session_open(pool, &options, &other), -EINVAL);
    options = (struct tarn_session_options){.size = sizeof(options),
                                            .name = "a name that is longer than it may be"};
    ck_assert_int_eq(tarn_session_open(pool, &options, &other), -EINVAL);
    ck_assert_ptr_null(other);
    ck_assert_int_eq(tarn_session_close(NULL), 0);
    end_with_pool();
}
END_TEST

START_TEST(arguments_of_handles)
{
    struct tarn_message message = {""};
    struct tarn_embedded_options embedded = {.size = sizeof(embedded) - 1};
    struct tarn_attach_options attach = {.size = sizeof(attach) - 1};
    struct tarn_pool_info info = {.size = sizeof(info) - 1};
    struct tarn_session *other;
    struct tarn_pool *handle;

    ck_assert_int_eq(tarn_open_embedded(&embedded, &handle, &other, &message), -EINVAL);
    ck_assert_int_eq(tarn_open_embedded(NULL, NULL, &other, &message), -EINVAL);
    ck_assert_int_eq(tarn_open_embedded(NULL, &handle, NULL, NULL), -EINVAL);
    ck_assert_int_eq(tarn_attach(test_pool_name(), &attach, &handle, &message), -EINVAL);
    ck_assert_int_eq(tarn_attach(test_pool_name(), NULL, NULL, &message), -EINVAL);
    attach =
        (struct tarn_attach_options){.size = sizeof(attach), .shm_directory = test_path("none")};
    ck_assert_int_lt(tarn_attach(test_pool_name(), &attach, &handle, &message), 0);
    ck_assert_int_lt(tarn_attach("no/name", NULL, &handle, &message), 0);
    ck_assert_int_lt(tarn_attach(NULL, NULL, &handle, &message), 0);
    ck_assert_int_eq(tarn_pool_info(pool, &info), -EINVAL);
    ck_assert_int_eq(tarn_pool_info(pool, NULL), -EINVAL);
    ck_assert_int_eq(tarn_pool_message(pool, NULL), -EINVAL);
    ck_assert_int_eq(tarn_pool_message(NULL, &message), -EBADF);
    ck_assert_int_eq(tarn_destroy(test_pool_name(), NULL, 0x80, &message), -EINVAL);
    ck_assert_int_lt(tarn_destroy("no/name", NULL, 0, &message), 0);
    ck_assert_str_eq(tarn_strerror(-123456), "unknown result");
    ck_assert_ptr_nonnull(tarn_strerror(1));
    ck_assert_ptr_nonnull(tarn_strerror(7));
    end_with_pool();
}
END_TEST

/* Every place where the page's entry may stand has another page's: one of them has to go. Made by
 * hand: entries of cached pages are put there once more. */
static void crowd(struct tarn_page_id wanted, unsigned cached)
{
    const struct tarn_view *view = &pool->view;
    uint32_t home = tarn_home_of(view, wanted.value).bucket;

    for (unsigned i = 0; i < TARN_PROBE_BUCKETS * TARN_BUCKET_WORDS; i++) {
        uint32_t bucket = (home + i / TARN_BUCKET_WORDS) % view->geometry.bucket_count;
        tarn_word *entry = &view->buckets[bucket].entry[i % TARN_BUCKET_WORDS];
        uint64_t word, seen = tarn_load_acquire(entry);
        uint32_t frame = tarn_table_find(view, page(i % cached).value, &word);

        ck_assert_uint_ne(frame, TARN_NO_FRAME);
        if (!tarn_entry_live(view, seen))
            tarn_store_release(entry, entry_of(frame, 0, frame_word_generation(word)));
    }
}

START_TEST(table_without_a_place)
{
    enum { CACHED = 32 };
    struct tarn_session_options options = {.size = sizeof(options), .frame_wait_ms = 20};
    struct tarn_pin pins[CACHED], last;
    struct tarn_session *hasty;

    ck_assert_int_eq(tarn_session_open(pool, &options, &hasty), 0);
    for (unsigned i = 0; i < CACHED; i++)
        assert_ok(session, tarn_pin(session, page(i), 0, &pins[i]));
    drive_out(page(PAGES - 1));
    crowd(page(PAGES - 1), CACHED);
    /* Nothing of it can go. */
    assert_fails(hasty, -ETIMEDOUT, "free frame", tarn_pin(hasty, page(PAGES - 1), 0, &last));
    assert_ok(session, tarn_unpin_many(session, pins, CACHED));
    assert_ok(hasty, tarn_pin(hasty, page(PAGES - 1), 0, &last));
    assert_ok(hasty, tarn_unpin(hasty, last));
    /* The entries made by hand go with their frames. */
    for (unsigned i = 0; i < CACHED; i++)
        drive_out(page(i));
    end_with_pool();
}
END_TEST

void test_suite(Suite *suite)
{
    TCase *tcase = test_case(suite, "refusals", 30);

    tcase_add_checked_fixture(tcase, begin_refusals, NULL);
    tcase_add_test(tcase, closed_session);
    tcase_add_test(tcase, session_of_the_parent);
    tcase_add_test(tcase, no_mini_transaction);
    tcase_add_test(tcase, failed_mini_transaction);
    tcase_add_test(tcase, arguments_of_pages);
    tcase_add_test(tcase, arguments_of_mini_transactions);
    tcase_add_test(tcase, no_hold_is_left);
    tcase_add_test(tcase, arguments_of_files);
    tcase_add_test(tcase, arguments_of_sessions);
    tcase_add_test(tcase, arguments_of_handles);
    tcase_add_test(tcase, table_without_a_place);
}
