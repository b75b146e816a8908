/* SPDX-License-Identifier: MIT */
/* The same load and the same kills for every system of tests/peers/kill.
 *
 * usage: PROGRAM DIRECTORY PROCESSES KILLS SEED HANG_SECONDS
 *
 * PROCESSES processes read and change random pages. Every few milliseconds one of them, drawn from
 * the seed like the moment, gets SIGKILL. Then each of the others has to change and read the very
 * page at which the killed one was; who has not done so after HANG_SECONDS hangs. A page carries
 * its number, a sequence and a checksum; what is torn, or older than a change whose commit had
 * returned before, is wrong. A new process takes the place of the killed one.
 *
 * After a kill that others did not survive, all are killed, the pages made anew, and all begin
 * again. Prints one object in JSON.
 */
#include "tests/peers/kill_load.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
    PROCESSES_MAX = 16,
    KILLS_MAX = 100000,
    WARM_UP_MS = 1000,
    BEGIN_SECONDS = 120,
    WORDS = KILL_PAGE_BYTES / 8 - 3
};

struct page {
    uint64_t number, sequence, checksum, words[WORDS];
};
_Static_assert(sizeof(struct page) == KILL_PAGE_BYTES, "page");

struct worker {
    pid_t pid;     /* the process of this load; 0: none. The parent's */
    pid_t victim;  /* who gets the signal */
    uint32_t page; /* the one it is at */
    uint32_t probe;
    uint32_t lost;
    uint64_t ops;
};

/* SHARED by the processes. */
struct state {
    uint32_t probe, probe_page;
    uint32_t torn, older;
    struct worker worker[PROCESSES_MAX];
    uint64_t begun[KILL_PAGES], committed[KILL_PAGES];
};

enum outcome { SURVIVED, RESTARTED, HUNG, WRONG, OUTCOMES };

static struct state *state;
static const char *directory;
static unsigned process_count, kill_count, hang_seconds;
static uint64_t seed;
static unsigned outcomes[OUTCOMES], dropped, torn, older;
static double go_on_ms[KILLS_MAX];

void kill_die(const char *what, const char *why)
{
    fprintf(stderr, "%s: %s\n", what, why);
    exit(1);
}

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static void sleep_us(uint64_t us)
{
    nanosleep(&(struct timespec){.tv_sec = (time_t)(us / 1000000),
                                 .tv_nsec = (long)(us % 1000000 * 1000)},
              NULL);
}

/* splitmix64 */
static uint64_t draw(uint64_t *random)
{
    uint64_t z = *random += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

static uint32_t load(const uint32_t *word)
{
    return __atomic_load_n(word, __ATOMIC_SEQ_CST);
}

static void add(uint32_t *word)
{
    __atomic_add_fetch(word, 1, __ATOMIC_SEQ_CST);
}

static void raise_to(uint64_t *word, uint64_t value)
{
    uint64_t seen = __atomic_load_n(word, __ATOMIC_SEQ_CST);
    while (seen < value && !__atomic_compare_exchange_n(word, &seen, value, false, __ATOMIC_SEQ_CST,
                                                        __ATOMIC_SEQ_CST))
        continue;
}

/* Pages. */

static uint64_t checksum_of(const struct page *page)
{
    uint64_t sum = page->number * 31 + page->sequence;
    for (unsigned i = 0; i < WORDS; i++)
        sum = (sum ^ page->words[i]) * UINT64_C(0x100000001b3);
    return sum;
}

static void fill(struct page *page, uint32_t number, uint64_t sequence)
{
    page->number = number;
    page->sequence = sequence;
    uint64_t random = (uint64_t)number << 32 ^ sequence;
    for (unsigned i = 0; i < WORDS; i++)
        page->words[i] = draw(&random);
    page->checksum = checksum_of(page);
}

/* `at_least`: a change whose commit had returned before the page was asked for. */
static void check(const struct page *page, uint32_t number, uint64_t at_least)
{
    if (page->number != number || page->checksum != checksum_of(page) ||
        page->sequence > __atomic_load_n(&state->begun[number], __ATOMIC_SEQ_CST))
        add(&state->torn);
    else if (page->sequence < at_least)
        add(&state->older);
}

void kill_page_make(void *bytes, uint32_t page)
{
    fill(bytes, page, 0);
}

uint64_t kill_page_change(void *bytes, uint32_t page)
{
    check(bytes, page, __atomic_load_n(&state->committed[page], __ATOMIC_SEQ_CST));
    uint64_t sequence = __atomic_load_n(&state->begun[page], __ATOMIC_SEQ_CST) + 1;
    raise_to(&state->begun[page], sequence);
    fill(bytes, page, sequence);
    return sequence;
}

/* One process of the load. */

static int change(void *handle, uint32_t page)
{
    uint64_t sequence;
    int result = kill_peer.change(handle, page, &sequence);
    if (result == KILL_DONE)
        raise_to(&state->committed[page], sequence);
    return result;
}

static int read_page(void *handle, uint32_t page)
{
    struct page copy;
    uint64_t at_least = __atomic_load_n(&state->committed[page], __ATOMIC_SEQ_CST);
    int result = kill_peer.read(handle, page, &copy);
    if (result == KILL_DONE)
        check(&copy, page, at_least);
    return result;
}

static void *open_peer(struct worker *worker)
{
    void *handle;
    while ((handle = kill_peer.open(directory)) == NULL) {
        if (kill_peer.close == NULL)
            _exit(3);
        sleep_us(10000);
    }
    worker->victim = kill_peer.victim == NULL ? getpid() : kill_peer.victim(handle);
    return handle;
}

static _Noreturn void work(struct worker *worker, uint64_t random)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    void *handle = open_peer(worker);
    for (;;) {
        uint32_t probe = load(&state->probe);
        bool probing = probe != worker->probe;
        uint32_t page = probing ? load(&state->probe_page) : draw(&random) % KILL_PAGES;
        bool changes = draw(&random) & 1;
        __atomic_store_n(&worker->page, page, __ATOMIC_SEQ_CST);
        int result = KILL_DONE;
        if (probing || changes)
            result = change(handle, page);
        if (result == KILL_DONE && (probing || !changes))
            result = read_page(handle, page);
        if (result != KILL_DONE) {
            add(&worker->lost);
            if (kill_peer.close == NULL)
                _exit(3);
            kill_peer.close(handle);
            handle = open_peer(worker);
            continue;
        }
        if (probing)
            __atomic_store_n(&worker->probe, probe, __ATOMIC_SEQ_CST);
        worker->ops++;
    }
}

/* The processes. */

static void begin_worker(unsigned index, unsigned life)
{
    struct worker *worker = &state->worker[index];
    worker->probe = state->probe - 1; /* its first work is the probe */
    pid_t pid = fork();
    if (pid < 0)
        kill_die("fork", strerror(errno));
    if (pid == 0)
        work(worker, seed ^ (uint64_t)life << 32 ^ index);
    worker->pid = pid;
}

static void end_worker(unsigned index)
{
    struct worker *worker = &state->worker[index];
    if (worker->pid == 0)
        return;
    kill(worker->pid, SIGKILL);
    waitpid(worker->pid, NULL, 0);
    worker->pid = 0;
}

static bool has_ended(unsigned index)
{
    struct worker *worker = &state->worker[index];
    if (worker->pid != 0 && waitpid(worker->pid, NULL, WNOHANG) == worker->pid)
        worker->pid = 0;
    return worker->pid == 0;
}

/* Waits until all but one have changed and read the page in question. */
static enum outcome wait_for_all(unsigned but, unsigned seconds)
{
    uint64_t deadline_ns = now_ns() + (uint64_t)seconds * 1000000000u;
    for (unsigned i = 0; i < process_count; i++) {
        while (i != but && load(&state->worker[i].probe) != state->probe) {
            if (has_ended(i))
                return RESTARTED;
            if (now_ns() > deadline_ns)
                return HUNG;
            sleep_us(200);
        }
    }
    return SURVIVED;
}

static void begin_again(unsigned life)
{
    for (unsigned i = 0; i < process_count; i++)
        end_worker(i);
    memset(state->begun, 0, sizeof state->begun);
    memset(state->committed, 0, sizeof state->committed);
    kill_peer.make(directory);
    for (unsigned i = 0; i < process_count; i++)
        begin_worker(i, life);
    if (wait_for_all(process_count, BEGIN_SECONDS) != SURVIVED)
        kill_die(directory, "the load does not begin");
}

/* What the system asks for after a death, by a process of its own: it may hang, too. */
static enum outcome clean_up(void)
{
    if (kill_peer.after_kill == NULL)
        return SURVIVED;
    pid_t pid = fork();
    if (pid == 0)
        _exit(kill_peer.after_kill(directory));
    uint64_t deadline_ns = now_ns() + (uint64_t)hang_seconds * 1000000000u;
    int status;
    while (waitpid(pid, &status, WNOHANG) == 0) {
        if (now_ns() > deadline_ns) {
            kill(pid, SIGKILL);
            waitpid(pid, NULL, 0);
            return HUNG;
        }
        sleep_us(100);
    }
    return WIFEXITED(status) && WEXITSTATUS(status) == KILL_DONE ? SURVIVED : RESTARTED;
}

static unsigned lost_by_others(unsigned but)
{
    unsigned lost = 0;
    for (unsigned i = 0; i < process_count; i++)
        lost += i == but ? 0 : load(&state->worker[i].lost);
    return lost;
}

/* One kill, and all that comes after it. */
static enum outcome kill_one(unsigned index, unsigned life)
{
    struct worker *worker = &state->worker[index];
    unsigned before = lost_by_others(index);
    uint64_t begun_ns = now_ns();
    kill(worker->victim, SIGKILL);
    if (kill_peer.close == NULL)
        end_worker(index);
    state->probe_page = load(&worker->page);
    add(&state->probe);
    enum outcome outcome = clean_up();
    if (outcome == SURVIVED)
        outcome = wait_for_all(index, hang_seconds);
    go_on_ms[life] = (double)(now_ns() - begun_ns) / 1e6;
    unsigned at_first = lost_by_others(index);
    if (outcome == SURVIVED && kill_peer.close == NULL)
        begin_worker(index, life + 1);
    if (outcome == SURVIVED && kill_peer.notice_ms != 0) {
        /* They may have been quicker than the server, which ends them now. */
        for (unsigned ms = 0; ms < kill_peer.notice_ms && lost_by_others(index) == before; ms++)
            sleep_us(1000);
        add(&state->probe);
    }
    if (outcome == SURVIVED)
        outcome = wait_for_all(process_count, hang_seconds);
    unsigned lost = lost_by_others(index) - before;
    if (lost != at_first - before)
        go_on_ms[life] = (double)(now_ns() - begun_ns) / 1e6;
    torn += state->torn != 0;
    older += state->torn == 0 && state->older != 0;
    bool wrong = state->torn + state->older != 0;
    if (wrong || outcome != SURVIVED) {
        dropped += process_count - 1;
        begin_again(life + 1);
        go_on_ms[life] = (double)(now_ns() - begun_ns) / 1e6;
        outcome = wrong ? WRONG : outcome;
    } else if (lost > 0) {
        dropped += lost;
        outcome = RESTARTED;
    }
    state->torn = state->older = 0;
    return outcome;
}

static int by_size(const void *a, const void *b)
{
    double left = *(const double *)a, right = *(const double *)b;
    return left < right ? -1 : left > right;
}

static void print_results(void)
{
    uint64_t ops = 0;
    for (unsigned i = 0; i < process_count; i++)
        ops += state->worker[i].ops;
    qsort(go_on_ms, kill_count, sizeof *go_on_ms, by_size);
    printf("{\"kills\": %u, \"survived\": %u, \"restarted\": %u, \"hung\": %u, \"torn\": %u,"
           " \"older\": %u, \"dropped\": %u, \"p50_ms\": %.2f, \"p99_ms\": %.2f, \"max_ms\": %.2f,"
           " \"ops\": %llu}\n",
           kill_count, outcomes[SURVIVED], outcomes[RESTARTED], outcomes[HUNG], torn, older,
           dropped, go_on_ms[kill_count / 2], go_on_ms[kill_count * 99 / 100],
           go_on_ms[kill_count - 1], (unsigned long long)ops);
}

int main(int argc, char **argv)
{
    if (argc != 6)
        kill_die(argv[0], "usage: PROGRAM DIRECTORY PROCESSES KILLS SEED HANG_SECONDS");
    directory = argv[1];
    process_count = (unsigned)atoi(argv[2]);
    kill_count = (unsigned)atoi(argv[3]);
    seed = strtoull(argv[4], NULL, 10);
    hang_seconds = (unsigned)atoi(argv[5]);
    if (process_count < 2 || process_count > PROCESSES_MAX || kill_count < 1 ||
        kill_count > KILLS_MAX)
        kill_die(argv[0], "2 to 16 processes, 1 to 100000 kills");
    state = mmap(NULL, sizeof *state, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (state == MAP_FAILED)
        kill_die("mmap", strerror(errno));
    begin_again(0);
    /* Whoever is wrong before anybody dies is not judged by deaths. */
    sleep_us(WARM_UP_MS * 1000);
    if (state->torn + state->older != 0)
        kill_die(directory, "wrong data before the first kill");
    uint64_t random = seed;
    for (unsigned life = 0; life < kill_count; life++) {
        sleep_us(1000 + draw(&random) % 10000);
        outcomes[kill_one((unsigned)(draw(&random) % process_count), life)]++;
    }
    for (unsigned i = 0; i < process_count; i++)
        end_worker(i);
    print_results();
    return 0;
}
