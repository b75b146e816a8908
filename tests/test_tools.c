/* SPDX-License-Identifier: MIT */
/* The command `tarn` as a user and as a program meets it: exit statuses, messages, JSON. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <tarn.h>
#include <unistd.h>

#include "lib/internal.h"
#include "shm/table.h"
#include "tests/test.h"

/* What the newest command left. */
static struct {
    int status;
    char out[1 << 20];
    char err[4096];
} ran;

static void slurp(const char *path, char *text, size_t text_bytes)
{
    FILE *file = fopen(path, "re");
    ck_assert_ptr_nonnull(file);
    text[fread(text, 1, text_bytes - 1, file)] = 0;
    fclose(file);
}

static const char *command(void)
{
    const char *tarn = getenv("TARN");
    if (tarn == NULL || access(tarn, X_OK) != 0)
        test_skip("TARN names no command");
    return tarn;
}

/* Runs a line of shell in the test's directory; $TARN is the command, $N the pool's name. It is
 * never ended by a signal. */
__attribute__((format(printf, 1, 2))) static int run(const char *format, ...)
{
    char line[2000], whole[5000];
    va_list list;
    va_start(list, format);
    vsnprintf(line, sizeof line, format, list);
    va_end(list);
    command();
    setenv("N", test_pool_name(), 1);
    snprintf(whole, sizeof whole, "cd '%s' && { %s; } >.out 2>.err </dev/null", test_dir(), line);
    int status = system(whole);
    ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) < 126, "%s: wait status %#x", line,
                  (unsigned)status);
    ran.status = WEXITSTATUS(status);
    slurp(test_path(".out"), ran.out, sizeof ran.out);
    slurp(test_path(".err"), ran.err, sizeof ran.err);
    return ran.status;
}

static void assert_out(const char *words)
{
    ck_assert_msg(strstr(ran.out, words) != NULL, "no '%s' in: %.1500s%.300s", words, ran.out,
                  ran.err);
}

static void assert_runs(const char *line)
{
    ck_assert_msg(run("%s", line) == 0, "%s: exit %d: %s%.1500s", line, ran.status, ran.err,
                  ran.out);
}

static void make_pool(void)
{
    assert_runs("\"$TARN\" init \"$N\" --dir pool --frames 1M --sessions 8");
}

static struct tarn_pool *attach(void)
{
    struct tarn_message message = {""};
    struct tarn_pool *pool;
    int result = tarn_attach(test_pool_name(), NULL, &pool, &message);
    ck_assert_msg(result == 0, "attach: %s", message.text);
    return pool;
}

static struct tarn_session *open_session(struct tarn_pool *pool)
{
    struct tarn_session *session;
    ck_assert_int_eq(tarn_session_open(pool, NULL, &session), 0);
    return session;
}

static pid_t start_writer(void)
{
    const char *tarn = command();
    pid_t pid = fork();
    ck_assert_int_ge(pid, 0);
    if (pid == 0) {
        ck_assert_int_eq(chdir(test_dir()), 0);
        execl(tarn, tarn, "writer", test_pool_name(), "--dir", "pool", (char *)NULL);
        _exit(127);
    }
    return pid;
}

/* Until a dump says so; some seconds at most. */
static void wait_for(const char *section, const char *words)
{
    for (int i = 0; i < 300; i++) {
        if (run("\"$TARN\" dump \"$N\" --json %s", section) == 0 && strstr(ran.out, words) != NULL)
            return;
        tarn_sleep_ns(20 * NS_PER_MS);
    }
    ck_abort_msg("no '%s' in: %s", words, ran.out);
}

static void wait_for_writer(pid_t pid)
{
    char words[64];
    snprintf(words, sizeof words, "\"pid\": %d, \"process\": \"running\", \"role\": \"writer\"",
             (int)pid);
    wait_for("sessions", words);
}

static void assert_ends(pid_t pid, int signal_number)
{
    int status;
    ck_assert_int_eq(kill(pid, signal_number), 0);
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 0, "wait status %#x",
                  (unsigned)status);
}

static bool segment_exists(void)
{
    char path[200];
    snprintf(path, sizeof path, "/dev/shm/tarn.%s", test_pool_name());
    return access(path, F_OK) == 0;
}

START_TEST(each_command_has_help)
{
    static const char *const commands[] = {"",     "init",  "destroy", "writer", "dump",
                                           "stat", "check", "replay",  "bench",  "set"};
    for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++) {
        ck_assert_int_eq(run("\"$TARN\" %s --help", commands[i]), 0);
        ck_assert_int_eq(strncmp(ran.out, "usage: tarn ", 12), 0);
        ck_assert_str_eq(ran.err, "");
    }
    ck_assert_int_eq(run("\"$TARN\" --version"), 0);
    ck_assert_int_eq(strncmp(ran.out, "tarn 0.", 7), 0);
}
END_TEST

/* Command line, words of the message. */
static const char *const misuses[][2] = {
    {"", "usage: tarn"},
    {"frobnicate", "no command 'frobnicate'"},
    {"init", "1 operand is needed"},
    {"init a b", "'b' is one operand too many"},
    {"init ../x", "not a pool's name"},
    {"init \"$N\" --dir pool --frames 12Q", "'12Q' is not a size"},
    {"init \"$N\" --dir pool --frames '64 '", "'64 ' is not a size"}, /* once 64 << 50 */
    {"init \"$N\" --dir pool --frames -4K", "'-4K' is not a size"},
    {"init \"$N\" --dir pool --frames 99999999999T", "is not within"},
    {"init \"$N\" --dir pool --frames 4K", ""},
    {"init \"$N\" --dir pool --page-size 4095", "4095 is not within 4096 and 65536"},
    {"init \"$N\" --dir pool --page-size 5000", ""},
    {"init \"$N\" --dir pool --sessions 0", "--sessions: 0 is not within 1 and 1024"},
    {"init \"$N\" --dir pool --sessions many", "'many' is not a number"},
    {"init \"$N\" --dir pool --mode 0777", "0777"},
    {"init \"$N\" --dir pool --mode 0888", "0888"},
    {"init \"$N\" --dir pool --frames", "--frames needs a value"},
    {"init \"$N\" --dir pool --policy fifo", "there is no policy 'fifo'"},
    {"init \"$N\" --dir pool --colour red", "no option --colour"},
    {"init \"$N\" --dir pool -x", "no option -x"},
    {"init \"$N\" --dir pool --shm-dir /nowhere/at/all", ""},
    {"destroy \"$N\"", "no pool"},
    {"destroy \"$N\" --force=yes", "--force takes no value"},
    {"writer \"$N\"", "no pool"},
    {"writer \"$N\" --dir nowhere", ""},
    {"writer \"$N\" --backend steam", "'steam' is none of auto, uring, threads"},
    {"writer \"$N\" --depth 0", "is not within 1 and 1024"},
    {"writer \"$N\" --durable often", "is none of measured, always, never"},
    {"dump \"$N\"", "there is no segment"},
    {"dump ./nowhere", "there is no segment ./nowhere"},
    {"dump \"$N\" everything", "there is no section 'everything'"},
    {"dump \"$N\" page", "3 operands are needed"},
    {"dump \"$N\" page 17", "'17' is not a page"},
    {"dump \"$N\" page 1:x", "'1:x' is not a page"},
    {"dump \"$N\" page 0:1", "'0:1' is not a page"},
    {"set", "1 operand is needed"},
    {"set \"$N\"", "there is no segment"},
    {"set \"$N\" free_frames_low=1", "no pool"},
    {"stat \"$N\"", "there is no segment"},
    {"stat \"$N\" --by colour", "neither file nor session"},
    {"stat \"$N\" 0", "INTERVAL"},
    {"stat \"$N\" 1 0", "COUNT"},
    {"check \"$N\"", "there is no segment"},
    {"check", "1 operand is needed"},
    {"replay t --simulate --policy clock,fifo", "there is no policy 'fifo'"},
    {"replay t --simulate --frames 101%", "'101%' is neither"},
    {"replay t --simulate --frames 5,,x", "'x' is neither"},
    {"replay t --simulate --by name", "neither page nor lbn"},
    {"replay t --simulate --plot t.pdf", "neither in .svg nor in .png"},
    {"replay t --simulate", "t: "},
    {"replay --simulate", "1 operand is needed"},
    {"replay t --simulate --workload loop", "one operand too many"},
    {"replay --simulate --workload loops", "there is no workload 'loops'"},
};
#define MISUSES ((int)(sizeof misuses / sizeof misuses[0]))

START_TEST(misuse_is_told_and_changes_nothing)
{
    const char *line = misuses[_i][0];
    ck_assert_msg(run("\"$TARN\" %s", line) == 2, "%s: exit %d", line, ran.status);
    ck_assert_str_eq(ran.out, "");
    ck_assert_msg(strstr(ran.err, misuses[_i][1]) != NULL && strlen(ran.err) > 20, "%s: %s", line,
                  ran.err);
    ck_assert(strstr(ran.err, "tarn") != NULL);
    ck_assert(!segment_exists());
    ck_assert_int_ne(access(test_path("pool"), F_OK), 0);
}
END_TEST

START_TEST(pool_is_made_looked_at_and_ended)
{
    assert_runs("\"$TARN\" init \"$N\" --dir pool --frames 2M --page-size 8K --sessions 5 --files 7"
                " --mode 0660 --policy 2q");
    ck_assert_int_eq(run("\"$TARN\" init \"$N\" --dir pool"), 2);
    assert_runs("\"$TARN\" dump \"$N\"");
    assert_out("page_bytes           8192");
    assert_out("frame_count          256");
    assert_out("session_count        5");
    assert_out("file_count           7");
    assert_out("mode                 0660");
    assert_out("policy             2q  ");
    assert_out("backend            no writer has run yet");
    assert_runs("\"$TARN\" check \"$N\"");
    assert_out("0 violations");
    assert_runs("\"$TARN\" destroy \"$N\"");
    ck_assert(!segment_exists());
    ck_assert_int_ne(access(test_path("pool/options"), F_OK), 0);
}
END_TEST

START_TEST(settings_are_shown_and_changed)
{
    make_pool();
    assert_runs("\"$TARN\" set \"$N\"");
    assert_out("free_frames_low        4        4         128  default: 1/64 of the frames");
    assert_runs("\"$TARN\" set \"$N\" free_frames_low=3% dirty_frames_high=200");
    ck_assert_str_eq(ran.out, "");
    assert_runs("\"$TARN\" dump \"$N\" options | tr -s ' '");
    assert_out("free_frames_low 7 set\n");
    assert_out("dirty_frames_high 200 set\n");
    assert_out("write_rate 0 default: no limit\n");
    ck_assert_int_eq(run("\"$TARN\" set \"$N\" free_frames_high=50 dirty_frames_low=201"), 2);
    ck_assert(strstr(ran.err, "dirty_frames_low (201) would be above dirty_frames_high (200)"));
    assert_runs("\"$TARN\" set \"$N\" --json dirty_frames_high=default | python3 -m json.tool");
    assert_out("\"setting\": \"dirty_frames_high\",\n            \"value\": 85,");
    assert_runs("\"$TARN\" set \"$N\"");
    assert_out("free_frames_high      16       16         128  default");
    assert_out("free_frames_low        7        4         128  set\n");
}
END_TEST

START_TEST(everything_for_programs_is_json)
{
    make_pool();
    assert_runs("for s in '' superblock options counts sessions files holds waits frames table; do"
                " \"$TARN\" dump \"$N\" --json $s >json && python3 -m json.tool json >/dev/null &&"
                " grep -q '\"format\": 1' json || exit 1; done");
    assert_runs("\"$TARN\" check \"$N\" --json >json && python3 -m json.tool json >/dev/null");
    assert_runs("for by in '' '--by file' '--by session'; do"
                " \"$TARN\" stat \"$N\" --json $by >json && python3 -m json.tool json >/dev/null &&"
                " grep -q '\"format\": 1' json || exit 1; done");
    ck_assert_int_eq(run("\"$TARN\" dump \"$N\" --json page 1:0 | python3 -m json.tool"), 0);
    assert_out("\"cached\": false");
    ck_assert_int_eq(run("\"$TARN\" dump \"$N\" page 1:0"), 1);
}
END_TEST

START_TEST(looking_changes_nothing)
{
    make_pool();
    assert_runs("cksum </dev/shm/tarn.\"$N\" >before; ls -l pool >>before;"
                " for s in '' frames table; do \"$TARN\" dump \"$N\" $s; done;"
                " \"$TARN\" stat \"$N\"; \"$TARN\" check \"$N\";"
                " cksum </dev/shm/tarn.\"$N\" >after; ls -l pool >>after; cmp before after");
}
END_TEST

START_TEST(output_that_cannot_be_written_is_an_error)
{
    make_pool();
    ck_assert_int_eq(run("\"$TARN\" dump \"$N\" >/dev/full"), 2);
    ck_assert(strstr(ran.err, "No space left") != NULL);
}
END_TEST

/* Copies. */

static void make_copy(void)
{
    make_pool();
    assert_runs("cp /dev/shm/tarn.\"$N\" copy");
}

/* The copy, mapped to be changed. */
static struct tarn_view map_copy(void)
{
    struct tarn_view view;
    struct stat status;
    int fd = open(test_path("copy"), O_RDWR | O_CLOEXEC);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(fstat(fd, &status), 0);
    void *base = mmap(NULL, (size_t)status.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    ck_assert_ptr_ne(base, MAP_FAILED);
    close(fd);
    const struct tarn_superblock *superblock = base;
    tarn_view_set(&view, base, &superblock->geometry);
    return view;
}

static void plant_session(const struct tarn_view *view, unsigned slot, const char *name)
{
    struct tarn_slot *shared = tarn_view_slot(view, slot);
    snprintf(shared->name, sizeof shared->name, "%s", name);
    tarn_store_relaxed(&shared->joined_ns, 1000000000u * slot);
    tarn_store_relaxed(&shared->state, SLOT_LIVE);
}

/* Session `slot` has frame `slot` latched, and waits for the latch of `frame`. */
static void plant_wait(const struct tarn_view *view, unsigned slot, uint32_t frame)
{
    struct tarn_slot *shared = tarn_view_slot(view, slot);
    struct tarn_descriptor *descriptor = &view->descriptors[slot];
    tarn_store_relaxed(&descriptor->page_id, page_id_of(1, 100 + slot));
    tarn_store_relaxed(&descriptor->frame_word, frame_word_of(3, 0, FRAME_VALID));
    tarn_store_relaxed(&descriptor->latch_word, latch_word_taken(0, slot));
    struct tarn_hold_line *holds = tarn_view_hold_line(view, slot, 0);
    tarn_half_store_relaxed(&holds->mark, 1);
    tarn_half_store_relaxed(&holds->hold[0], hold_of(slot));
    tarn_store_relaxed(&shared->wait, (uint64_t)frame << 8 | WAIT_EXCLUSIVE);
    tarn_store_relaxed(&shared->wait_since_ns, 5000000000u);
}

START_TEST(copy_is_looked_at_like_a_pool)
{
    make_copy();
    struct tarn_view view = map_copy();
    plant_session(&view, 2, "planted");
    assert_runs("\"$TARN\" dump ./copy");
    assert_out("live                 no");
    assert_out("planted");
    assert_out("copied");
    assert_runs("\"$TARN\" check ./copy");
    assert_out("slots_live 1");
    assert_runs("\"$TARN\" stat ./copy");
}
END_TEST

START_TEST(violation_in_a_copy_is_named)
{
    make_copy();
    struct tarn_view view = map_copy();
    tarn_store_relaxed(&view.descriptors[7].latch_word, latch_word_taken(0, 3));
    ck_assert_int_eq(run("\"$TARN\" check ./copy"), 1);
    assert_out("latch_owner: not so: ");
    assert_out("frame 7 latch_word {owner 3} owner 3");
    ck_assert_int_eq(run("\"$TARN\" check ./copy --json >json; s=$?; python3 -m json.tool json;"
                         " exit $s"),
                     1);
    assert_out("\"rule\": \"latch_owner\"");
    assert_out("\"violation_count\": 1");
}
END_TEST

START_TEST(cycle_of_waits_is_named)
{
    make_copy();
    struct tarn_view view = map_copy();
    for (unsigned slot = 1; slot <= 4; slot++) {
        char name[8];
        snprintf(name, sizeof name, "s%u", slot);
        plant_session(&view, slot, name);
    }
    plant_wait(&view, 1, 2);
    plant_wait(&view, 2, 3);
    plant_wait(&view, 3, 2);
    assert_runs("\"$TARN\" dump ./copy --json waits");
    assert_out("\"chain\": [ 1, 2, 3 ]");
    assert_out("\"cycles\": [\n{ \"slots\": [ 2, 3 ] }]");
    assert_runs("\"$TARN\" dump ./copy waits");
    assert_out("latch_exclusive");
    assert_out("1:102");
    assert_runs("\"$TARN\" dump ./copy --json holds");
    assert_out("\"frame\": 2, \"page\": \"1:102\", \"hold\": \"exclusive\", \"slot\": 2");
}
END_TEST

START_TEST(words_of_others_do_no_harm_to_a_terminal)
{
    make_copy();
    struct tarn_view view = map_copy();
    plant_session(&view, 1, "a\033[2Jb\xff\xc3\xa4");
    assert_runs("\"$TARN\" dump ./copy sessions");
    ck_assert_ptr_null(strchr(ran.out, 033));
    assert_out("a?[2Jb?\xc3\xa4");
    plant_session(&view, 2, "\xed\xa0\x80 \xe0\x80\x80 \xf4\x90\x80\x80 \xf0\x80\x80\x80 \xc0\x80");
    assert_runs("\"$TARN\" dump ./copy --json sessions >json && python3 -m json.tool json");
}
END_TEST

/* Makes ./bad; words of what is said of it. */
static const char *const bad_files[][2] = {
    {": >bad", "not a tarn segment"},
    {"head -c 100 /dev/urandom >bad", "not a tarn segment"},
    {"head -c 40000 /dev/urandom >bad", "not a tarn segment"},
    {"head -c 40000 /dev/zero >bad", "not a tarn segment"},
    {"head -c 300000 copy >bad", "bytes and says that it has"},
    {"cat copy copy >bad", "bytes and says that it has"},
    {"{ head -c 16 copy; printf '\\7'; tail -c +18 copy; } >bad", "format version 7"},
    {"{ head -c 8 copy; printf '\\1\\2\\3\\4\\5\\6\\7\\10'; tail -c +17 copy; } >bad",
     "other byte order"},
    {"{ head -c 24 copy; printf 'XXXXXXXX'; tail -c +33 copy; } >bad", "layout"},
    {"{ head -c 400 copy; printf X; tail -c +402 copy; } >bad", "not a tarn segment"},
    {"mkdir bad", "not a regular file"},
    {"mkfifo bad", "not a regular file"},
    {"ln -s bad bad", "symbolic link"},
};
#define BAD_FILES ((int)(sizeof bad_files / sizeof bad_files[0]))

START_TEST(file_that_is_no_segment_is_refused)
{
    static const char *const commands[] = {"dump", "stat", "check"};
    make_copy();
    assert_runs(bad_files[_i][0]);
    for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++) {
        ck_assert_int_eq(run("\"$TARN\" %s ./bad", commands[i]), 2);
        ck_assert_str_eq(ran.out, "");
        ck_assert_msg(strstr(ran.err, bad_files[_i][1]) != NULL, "%s: %s", bad_files[_i][0],
                      ran.err);
    }
}
END_TEST

START_TEST(damaged_inside_is_shown_as_it_is)
{
    uint64_t state = test_seed() + (uint64_t)_i;
    make_copy();
    struct tarn_view view = map_copy();
    uint64_t *words = (uint64_t *)(void *)(view.base + view.geometry.control_offset);
    size_t count = (view.geometry.frames_offset - view.geometry.control_offset) / 8;
    for (size_t i = 0; i < count; i++)
        if (test_random(&state) % 16 < (unsigned)_i)
            words[i] = test_random(&state) >> test_random(&state) % 64;
    for (unsigned slot = 1; slot <= view.slot_max; slot += 2)
        tarn_store_relaxed(&tarn_view_slot(&view, slot)->state, SLOT_LIVE);
    assert_runs("for s in '' frames table; do \"$TARN\" dump ./copy $s >text || exit 1;"
                " \"$TARN\" dump ./copy --json $s >json || exit 1;"
                " python3 -m json.tool json >/dev/null || exit 1; done");
    assert_runs("\"$TARN\" stat ./copy --by session && \"$TARN\" stat ./copy --by file");
    ck_assert_int_eq(run("\"$TARN\" check ./copy --json >json; s=$?;"
                         " python3 -m json.tool json >/dev/null || exit 3; exit $s"),
                     1);
}
END_TEST

/* A pool at work. */

START_TEST(writer_serves_until_it_is_told_to_end)
{
    make_pool();
    pid_t writer = start_writer();
    wait_for_writer(writer);
    wait_for("options", "\"registered_files\"");
    assert_out("\"backend\"");
    assert_out("\"deferred_completions\"");
    assert_ends(writer, SIGTERM);
    assert_runs("\"$TARN\" dump \"$N\" sessions");
    assert_out("none");
    assert_runs("\"$TARN\" check \"$N\"");
}
END_TEST

START_TEST(standby_takes_over_from_a_killed_writer)
{
    int status;
    make_pool();
    pid_t writer = start_writer();
    wait_for_writer(writer);
    pid_t standby = start_writer();
    wait_for("sessions", "\"role\": \"standby\"");
    ck_assert_int_eq(kill(writer, SIGKILL), 0);
    ck_assert_int_eq(waitpid(writer, &status, 0), writer);
    wait_for_writer(standby);
    assert_ends(standby, SIGINT);
    assert_runs("\"$TARN\" check \"$N\"");
}
END_TEST

START_TEST(writer_builds_the_segment_that_is_gone)
{
    make_pool();
    assert_runs("rm /dev/shm/tarn.\"$N\"");
    pid_t writer = start_writer();
    wait_for_writer(writer);
    assert_runs("\"$TARN\" dump \"$N\" superblock");
    assert_out("recovery_number      2");
    assert_ends(writer, SIGTERM);
}
END_TEST

START_TEST(destroy_refuses_while_attached_unless_forced)
{
    char words[32];
    make_pool();
    struct tarn_pool *pool = attach();
    struct tarn_session *session = open_session(pool);
    snprintf(words, sizeof words, "%d", (int)getpid());
    ck_assert_int_eq(run("\"$TARN\" destroy \"$N\""), 2);
    ck_assert_msg(strstr(ran.err, words) != NULL, "%s", ran.err);
    ck_assert(segment_exists());
    assert_runs("\"$TARN\" destroy \"$N\" --force --data");
    ck_assert(!segment_exists());
    ck_assert_int_ne(access(test_path("pool"), F_OK), 0);
    ck_assert_int_eq(tarn_mtr_begin(session, 1), -ESHUTDOWN);
    ck_assert_int_eq(tarn_detach(pool), 0);
}
END_TEST

static uint32_t open_file(struct tarn_session *session)
{
    uint32_t file;
    int result = tarn_file_open(session, "data", TARN_FILE_CREATE, &file);
    ck_assert_msg(result == 0, "%s", tarn_session_message(session));
    result = tarn_file_extend(session, file, 50);
    ck_assert_msg(result == 0, "%s", tarn_session_message(session));
    return file;
}

START_TEST(shares_are_shown_and_changed)
{
    uint32_t file;
    make_pool();
    pid_t writer = start_writer();
    wait_for_writer(writer);
    struct tarn_pool *pool = attach();
    ck_assert_int_eq(tarn_file_open(open_session(pool), "a=b", TARN_FILE_CREATE, &file), 0);
    ck_assert_uint_eq(file, 1);
    ck_assert_int_eq(tarn_detach(pool), 0);
    assert_runs("\"$TARN\" set \"$N\" share:a=b=10% free_frames_low=7");
    assert_runs("\"$TARN\" set \"$N\" | tr -s ' '");
    assert_out("share:a=b 25 256 256 set\n");
    assert_out("free_frames_low 7 4 128 set\n");
    assert_runs("\"$TARN\" dump \"$N\" files --json | python3 -m json.tool");
    assert_out("\"share\": 25,");
    assert_runs("\"$TARN\" dump \"$N\" options | tr -s ' '");
    assert_out("share:a=b 25 set\n");
    assert_runs("mv pool/files pool/away && \"$TARN\" set \"$N\" | tr -s ' ';"
                " mv pool/away pool/files");
    assert_out("share:1 25 256 256 set\n");
    assert_runs("\"$TARN\" set \"$N\" share:1=1% && \"$TARN\" set \"$N\" | tr -s ' '");
    assert_out("share:a=b 2 256 256 set\n");
    static const char *const wrong[][2] = {
        {"share:a=b", "no file 'a'"},
        {"share:a", "is not share:FILE=VALUE"},
        {"share:=5", "no file ''"},
        {"share:2=5", "no file '2'"},
        {"share:1=0", "neither 1 to 256 frames"},
        {"share:1=257", "neither 1 to 256 frames"},
        {"share:1=101%", "neither 1 to 256 frames"},
        {"share:1=0%", "neither 1 to 256 frames"},
        {"share:1=5%%", "neither 1 to 256 frames"},
        {"share:1=99999999999999999999", "neither 1 to 256 frames"},
        {"share:1=-1", "neither 1 to 256 frames"},
        {"share:1=", "neither 1 to 256 frames"},
    };
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        char command[200];
        snprintf(command, sizeof(command), "\"$TARN\" set \"$N\" free_frames_low=9 '%s'",
                 wrong[i][0]);
        ck_assert_msg(run("%s", command) == 2, "%s is not refused", command);
        ck_assert_msg(strstr(ran.err, wrong[i][1]), "no '%s' in: %s", wrong[i][1], ran.err);
    }
    ck_assert_int_eq(run("\"$TARN\" set \"$N\" colour=1 share:1=9"), 2);
    assert_runs("\"$TARN\" set \"$N\" | tr -s ' '");
    assert_out("share:a=b 2 256 256 set\n");
    assert_out("free_frames_low 7 4 128 set\n");
    assert_runs("\"$TARN\" set \"$N\" share:1=default && \"$TARN\" set \"$N\"");
    ck_assert(strstr(ran.out, "share:") == NULL);
    assert_ends(writer, SIGTERM);
    /* Without a writer: what stands before has been set. */
    ck_assert_int_eq(run("\"$TARN\" set \"$N\" share:1=5 free_frames_low=8"), 2);
    ck_assert(strstr(ran.err, "no writer"));
    assert_runs("\"$TARN\" set \"$N\" | tr -s ' '");
    assert_out("free_frames_low 8 4 128 set\n");
    ck_assert(strstr(ran.out, "share:") == NULL);
}
END_TEST

START_TEST(page_files_and_counters_are_shown)
{
    struct tarn_writable_page page;
    make_pool();
    pid_t writer = start_writer();
    struct tarn_pool *pool = attach();
    struct tarn_session *session = open_session(pool);
    uint32_t file = open_file(session);
    ck_assert_int_eq(tarn_mtr_begin(session, 1), 0);
    ck_assert_int_eq(tarn_mtr_write(session, tarn_page_id(file, 7), -1, &page), 0);
    memcpy((char *)page.data + 16, "sixteen letters.", 16);
    ck_assert_int_ge(tarn_mtr_commit(session, 0), 0);
    struct tarn_pin pin;
    ck_assert_int_eq(tarn_pin(session, tarn_page_id(file, 7), 0, &pin), 0);
    ck_assert_int_eq(tarn_unpin(session, pin), 0);

    ck_assert_int_eq(run("\"$TARN\" dump \"$N\" page %u:7", file), 0);
    assert_out("whole                yes");
    assert_out("{VALID");
    assert_out("|sixteen letters.|");
    assert_runs("\"$TARN\" dump \"$N\" --json files");
    assert_out("\"page_count\": 50");
    assert_out("\"path\": \"data\"");
    assert_runs("\"$TARN\" stat \"$N\" --json");
    assert_out("\"commits\": 1");
    assert_out("\"misses\": 1");
    assert_out("\"hits\": 1");
    assert_runs("\"$TARN\" stat \"$N\" --by file 1 1");
    assert_runs("\"$TARN\" stat \"$N\" 1 1");
    assert_out("latch_exclusive");
    assert_runs("\"$TARN\" check \"$N\"");
    ck_assert_int_eq(tarn_detach(pool), 0);
    assert_ends(writer, SIGTERM);
}
END_TEST

/* A process that pins a page and then waits for one that its parent has. */
static pid_t start_waiter(uint32_t file)
{
    pid_t pid = fork();
    ck_assert_int_ge(pid, 0);
    if (pid != 0)
        return pid;
    struct tarn_pin pin;
    struct tarn_session *session = open_session(attach());
    ck_assert_int_eq(tarn_pin(session, tarn_page_id(file, 2), 0, &pin), 0);
    ck_assert_int_eq(tarn_pin(session, tarn_page_id(file, 1), 0, &pin), 0);
    tarn_latch_shared(session, pin, -1);
    pause();
    _exit(0);
}

START_TEST(who_holds_and_waits_and_is_stopped_is_shown)
{
    char words[100];
    int status;
    struct tarn_locked_page page;
    make_pool();
    pid_t writer = start_writer();
    struct tarn_pool *pool = attach();
    struct tarn_session *session = open_session(pool);
    uint32_t file = open_file(session);
    ck_assert_int_eq(tarn_mtr_begin(session, 1), 0);
    ck_assert_int_eq(tarn_mtr_lock(session, tarn_page_id(file, 1), -1, &page), 0);
    pid_t waiter = start_waiter(file);

    snprintf(words, sizeof words,
             "\"pid\": %d, \"process\": \"running\", \"waits_for\": "
             "\"latch_shared\"",
             (int)waiter);
    wait_for("waits", words);
    snprintf(words, sizeof words, "\"page\": \"%u:1\"", file);
    assert_out(words);
    snprintf(words, sizeof words, "\"pid\": %d", (int)getpid());
    assert_out(words);
    assert_runs("\"$TARN\" dump \"$N\" --json holds");
    snprintf(words, sizeof words, "\"page\": \"%u:2\", \"hold\": \"pin\"", file);
    assert_out(words);
    snprintf(words, sizeof words, "\"page\": \"%u:1\", \"hold\": \"exclusive\"", file);
    assert_out(words);

    ck_assert_int_eq(kill(waiter, SIGSTOP), 0);
    snprintf(words, sizeof words, "\"pid\": %d, \"process\": \"stopped\"", (int)waiter);
    wait_for("sessions", words);
    assert_runs("\"$TARN\" check \"$N\"");
    ck_assert_int_eq(kill(waiter, SIGKILL), 0);
    ck_assert_int_eq(waitpid(waiter, &status, 0), waiter);
    ck_assert_int_eq(tarn_detach(pool), 0);
    assert_runs("\"$TARN\" check \"$N\"");
    assert_ends(writer, SIGTERM);
}
END_TEST

START_TEST(simulation_counts_the_misses_of_each_policy)
{
    assert_runs("printf 'r,7\\nr,9\\nr,7\\nw,3\\nr,7\\n' >trace;"
                " \"$TARN\" replay trace --simulate --policy clock,opt --frames 2,34% --json");
    ck_assert_str_eq(
        ran.out,
        "[{\"policy\":\"clock\",\"frames\":2,\"references\":5,\"misses\":3,\"miss_ratio\":0.6},"
        "{\"policy\":\"opt\",\"frames\":2,\"references\":5,\"misses\":3,\"miss_ratio\":0.6},"
        "{\"policy\":\"clock\",\"frames\":1,\"references\":5,\"misses\":5,\"miss_ratio\":1},"
        "{\"policy\":\"opt\",\"frames\":1,\"references\":5,\"misses\":5,\"miss_ratio\":1}]\n");
    assert_runs("printf 'version,time,op,size,lbn\\n1,1,28,8192,8\\n1,1,2a,512,16\\n' >trace;"
                " \"$TARN\" replay trace --simulate --policy clock --frames 9 --json");
    assert_out("\"references\":3,\"misses\":2");
    assert_runs("\"$TARN\" replay trace --simulate --policy clock --frames 9 --json --by lbn");
    assert_out("\"references\":2,\"misses\":2");
    assert_runs("\"$TARN\" replay trace --simulate --frames 1,2");
    assert_out("s3-fifo-adaptive     0.6667   0.6667\n");
}
END_TEST

START_TEST(simulation_is_drawn)
{
    assert_runs("printf 'r,7\\nr,9\\nr,7\\n' >trace");
    ck_assert_int_eq(run("PATH= \"$TARN\" replay trace --simulate --plot x.svg"), 2);
    ck_assert(strstr(ran.err, "gnuplot, which is not installed") != NULL);
    if (run("command -v gnuplot || exit 1") != 0)
        test_skip("no gnuplot");
    assert_runs("\"$TARN\" replay trace --simulate --plot \"it's.svg\" && grep '>lru-2<' it*.svg");
    assert_runs("\"$TARN\" replay trace --simulate --plot x.png && head -c 4 x.png | grep PNG");
    ck_assert_int_eq(run("\"$TARN\" replay trace --simulate --plot nowhere/x.svg"), 2);
    ck_assert(strstr(ran.out, "<svg") == NULL);
}
END_TEST

void test_suite(Suite *suite)
{
    TCase *tcase = test_case(suite, "tools", 30);
    tcase_add_test(tcase, each_command_has_help);
    tcase_add_loop_test(tcase, misuse_is_told_and_changes_nothing, 0, MISUSES);
    tcase_add_test(tcase, simulation_counts_the_misses_of_each_policy);
    tcase_add_test(tcase, simulation_is_drawn);
    tcase_add_test(tcase, pool_is_made_looked_at_and_ended);
    tcase_add_test(tcase, settings_are_shown_and_changed);
    tcase_add_test(tcase, shares_are_shown_and_changed);
    tcase_add_test(tcase, everything_for_programs_is_json);
    tcase_add_test(tcase, looking_changes_nothing);
    tcase_add_test(tcase, output_that_cannot_be_written_is_an_error);
    tcase_add_test(tcase, copy_is_looked_at_like_a_pool);
    tcase_add_test(tcase, violation_in_a_copy_is_named);
    tcase_add_test(tcase, cycle_of_waits_is_named);
    tcase_add_test(tcase, words_of_others_do_no_harm_to_a_terminal);
    tcase_add_loop_test(tcase, file_that_is_no_segment_is_refused, 0, BAD_FILES);
    tcase_add_loop_test(tcase, damaged_inside_is_shown_as_it_is, 1, 6);
    tcase_add_test(tcase, writer_serves_until_it_is_told_to_end);
    tcase_add_test(tcase, standby_takes_over_from_a_killed_writer);
    tcase_add_test(tcase, writer_builds_the_segment_that_is_gone);
    tcase_add_test(tcase, destroy_refuses_while_attached_unless_forced);
    tcase_add_test(tcase, page_files_and_counters_are_shown);
    tcase_add_test(tcase, who_holds_and_waits_and_is_stopped_is_shown);
}
