/* SPDX-License-Identifier: MIT */
/* The loops of `tarn bench hit` over what else there is: the page caches of Berkeley DB and of the
 * kernel (pread and mmap).
 *
 * usage: peer bdb|pread|mmap DIRECTORY PAGES PROCESSES SECONDS
 *
 * DIRECTORY is empty. Prints two numbers: ns for a hit with the next page known (independent), and
 * with the next page in the page that is read (chained): medians over slices in which the two take
 * turns, all processes at the same time. Made by tests/peers/run, without Berkeley DB where db.h is
 * absent.
 */
#ifdef HAVE_DB
#include <db.h>
#endif
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
    PAGE_BYTES = 4096,
    SLICE_NS = 20000000,
    LOOK_OPS = 64,
    ROUNDS_MAX = 1000,
    PROCESSES_MAX = 64
};

struct peer {
    const char *directory;
    char path[512];
    uint32_t page_count;
    unsigned process_count;
    unsigned rounds;
    int fd;
    const uint8_t *map;
    uint8_t *copy;
    uint32_t *order;
    uint32_t position;
    uint64_t next;
    uint64_t sum;
#ifdef HAVE_DB
    DB_ENV *environment;
    DB_MPOOLFILE *file;
#endif
};

/* SHARED by the processes. */
struct slices {
    unsigned arrived;
    uint64_t begin_ns;
    unsigned begun;
    float ns_per_op[2][ROUNDS_MAX * PROCESSES_MAX];
};

typedef uint64_t read_function(struct peer *peer, uint64_t page);

static void die(const char *what)
{
    perror(what);
    exit(1);
}

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static uint32_t offset_of(uint64_t page)
{
    return (uint32_t)(page % 64 * 64);
}

static uint64_t word_of(const void *data, uint64_t page)
{
    uint64_t word;
    memcpy(&word, (const uint8_t *)data + offset_of(page), sizeof word);
    return word;
}

/* All pages in one cycle, in random order (Sattolo). */
static uint32_t *make_cycle(uint32_t count, uint64_t seed)
{
    uint32_t *next = calloc(count, sizeof *next);
    if (next == NULL)
        die("calloc");
    for (uint32_t i = 0; i < count; i++)
        next[i] = i;
    for (uint32_t i = count - 1; i > 0; i--) {
        seed = seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
        uint32_t other = (uint32_t)((seed >> 32) * i >> 32), page = next[i];
        next[i] = next[other];
        next[other] = page;
    }
    return next;
}

static void make_file(struct peer *peer)
{
    uint8_t page[PAGE_BYTES];
    uint32_t *next = make_cycle(peer->page_count, 1);
    FILE *file = fopen(peer->path, "w");
    if (file == NULL)
        die(peer->path);
    for (uint32_t i = 0; i < peer->page_count; i++) {
        uint64_t word = next[i];
        memset(page, 0, sizeof page);
        memcpy(page + offset_of(i), &word, sizeof word);
        if (fwrite(page, sizeof page, 1, file) != 1)
            die(peer->path);
    }
    if (fclose(file) != 0)
        die(peer->path);
    free(next);
}

static uint64_t read_pread(struct peer *peer, uint64_t page)
{
    if (pread(peer->fd, peer->copy, PAGE_BYTES, (off_t)(page * PAGE_BYTES)) != PAGE_BYTES)
        die("pread");
    return word_of(peer->copy, page);
}

static uint64_t read_mmap(struct peer *peer, uint64_t page)
{
    return word_of(peer->map + page * PAGE_BYTES, page);
}

#ifdef HAVE_DB
static void check_db(int result, const char *what)
{
    if (result == 0)
        return;
    fprintf(stderr, "%s: %s\n", what, db_strerror(result));
    exit(1);
}

/* An environment in files of /dev/shm that all processes map: its cache alone, no locks, no log. */
static void open_db(struct peer *peer, int create)
{
    uint64_t bytes = (uint64_t)peer->page_count * PAGE_BYTES * 3 / 2 + (1 << 22);
    check_db(db_env_create(&peer->environment, 0), "db_env_create");
    if (create)
        check_db(peer->environment->set_cachesize(peer->environment, (u_int32_t)(bytes >> 30),
                                                  (u_int32_t)(bytes & ((1u << 30) - 1)), 1),
                 "set_cachesize");
    check_db(peer->environment->open(peer->environment, peer->directory,
                                     DB_INIT_MPOOL | DB_THREAD | (create ? DB_CREATE : 0), 0600),
             "DB_ENV->open");
    check_db(peer->environment->memp_fcreate(peer->environment, &peer->file, 0), "memp_fcreate");
    /* DB_NOMMAP: pages in the cache, not a mapping of the file. */
    check_db(peer->file->open(peer->file, peer->path, DB_NOMMAP, 0600, PAGE_BYTES),
             "DB_MPOOLFILE->open");
}

static uint64_t read_bdb(struct peer *peer, uint64_t page)
{
    db_pgno_t number = (db_pgno_t)page;
    void *data;
    check_db(peer->file->get(peer->file, &number, NULL, 0, &data), "memp_fget");
    uint64_t word = word_of(data, page);
    check_db(peer->file->put(peer->file, data, DB_PRIORITY_UNCHANGED, 0), "memp_fput");
    return word;
}
#endif

static read_function *open_peer(struct peer *peer, const char *kind)
{
    peer->fd = open(peer->path, O_RDONLY);
    peer->copy = malloc(PAGE_BYTES);
    if (peer->fd < 0 || peer->copy == NULL)
        die(peer->path);
    if (strcmp(kind, "pread") == 0)
        return read_pread;
    if (strcmp(kind, "mmap") == 0) {
        void *map = mmap(NULL, (size_t)peer->page_count * PAGE_BYTES, PROT_READ,
                         MAP_SHARED | MAP_POPULATE, peer->fd, 0);
        if (map == MAP_FAILED)
            die("mmap");
        peer->map = map;
        return read_mmap;
    }
#ifdef HAVE_DB
    if (strcmp(kind, "bdb") == 0) {
        open_db(peer, 0);
        return read_bdb;
    }
#endif
    fprintf(stderr, "no peer '%s'\n", kind);
    exit(2);
}

static void begin_slice(struct slices *slices, unsigned process_count, unsigned slice)
{
    const struct timespec pause = {.tv_nsec = 50000};
    if (__atomic_add_fetch(&slices->arrived, 1, __ATOMIC_SEQ_CST) == process_count * (slice + 1)) {
        slices->begin_ns = now_ns() + 200000;
        __atomic_store_n(&slices->begun, slice + 1, __ATOMIC_RELEASE);
    }
    while (__atomic_load_n(&slices->begun, __ATOMIC_ACQUIRE) <= slice)
        nanosleep(&pause, NULL);
    while (now_ns() < slices->begin_ns)
        ;
}

static float run_slice(struct peer *peer, read_function *read, int chained)
{
    uint64_t begun_ns = now_ns(), ns, done = 0;
    do {
        for (unsigned i = 0; i < LOOK_OPS; i++) {
            if (chained) {
                peer->next = read(peer, peer->next);
                continue;
            }
            peer->sum += read(peer, peer->order[peer->position]);
            peer->position = peer->position + 1 == peer->page_count ? 0 : peer->position + 1;
        }
        done += LOOK_OPS;
        ns = now_ns() - begun_ns;
    } while (ns < SLICE_NS);
    return (float)ns / (float)done;
}

static void work(struct peer *peer, const char *kind, struct slices *slices, unsigned number)
{
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(number % (unsigned)sysconf(_SC_NPROCESSORS_ONLN), &one);
    sched_setaffinity(0, sizeof one, &one);
    read_function *read = open_peer(peer, kind);
    peer->order = make_cycle(peer->page_count, 2 + number);
    peer->next = peer->order[0];
    for (uint32_t page = 0; page < peer->page_count; page++)
        peer->sum += read(peer, page);
    for (unsigned slice = 0; slice < 2 * peer->rounds; slice++) {
        begin_slice(slices, peer->process_count, slice);
        slices->ns_per_op[slice % 2][number * peer->rounds + slice / 2] =
            run_slice(peer, read, slice % 2);
    }
    /* So that the reads are not left out. */
    if (peer->sum == 42)
        putchar('\n');
}

static int compare_floats(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

static int run_processes(struct peer *peer, const char *kind, struct slices *slices)
{
    pid_t pids[PROCESSES_MAX];
    int status, failed = 0;
    for (unsigned i = 0; i < peer->process_count; i++) {
        pids[i] = fork();
        if (pids[i] < 0)
            die("fork");
        if (pids[i] == 0) {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            work(peer, kind, slices, i);
            exit(0);
        }
    }
    for (unsigned i = 0; i < peer->process_count; i++) {
        failed |= wait(&status) < 0 || status != 0;
        /* The others would wait for it. */
        for (unsigned j = 0; j < peer->process_count && failed; j++)
            kill(pids[j], SIGKILL);
    }
    for (int chained = 0; chained < 2 && !failed; chained++) {
        unsigned count = peer->process_count * peer->rounds;
        qsort(slices->ns_per_op[chained], count, sizeof(float), compare_floats);
        printf("%.1f%c", slices->ns_per_op[chained][count / 2], chained ? '\n' : ' ');
    }
    return failed;
}

int main(int argc, char **argv)
{
    struct peer peer = {0};
    if (argc != 6) {
        fprintf(stderr, "usage: peer bdb|pread|mmap DIRECTORY PAGES PROCESSES SECONDS\n");
        return 2;
    }
    peer.directory = argv[2];
    peer.page_count = (uint32_t)atoi(argv[3]);
    peer.process_count = (unsigned)atoi(argv[4]);
    peer.rounds = (unsigned)(atof(argv[5]) * 1e9 / SLICE_NS / 2);
    snprintf(peer.path, sizeof peer.path, "%s/data", peer.directory);
    struct slices *slices =
        mmap(NULL, sizeof *slices, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (slices == MAP_FAILED || peer.process_count > PROCESSES_MAX || peer.rounds > ROUNDS_MAX)
        return 2;
    make_file(&peer);
#ifdef HAVE_DB
    if (strcmp(argv[1], "bdb") == 0)
        open_db(&peer, 1);
#endif
    return run_processes(&peer, argv[1], slices);
}
