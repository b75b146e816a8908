/* SPDX-License-Identifier: MIT */
/* Processes of a test: started, stopped, killed, waited for. */
#ifndef TARN_TESTS_PROCESS_H
#define TARN_TESTS_PROCESS_H

#include <signal.h>
#include <spawn.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/prctl.h>

#include "tests/pool.h"

/* No test depends on a time: this is how long something may take before it counts as never. A
 * virtual machine may stand still for half a minute, and its clock goes on. */
#define NEVER_MS 60000

/* Waits until the condition holds. */
#define wait_until(condition)                                                                      \
    do {                                                                                           \
        int64_t begun_ = now_ms();                                                                 \
        while (!(condition)) {                                                                     \
            ck_assert_msg(now_ms() - begun_ < NEVER_MS, "waited in vain for: %s", #condition);     \
            sleep_ms(1);                                                                           \
        }                                                                                          \
    } while (0)

/* For a disk that others keep busy. */
static const struct tarn_session_options patience = {.size = sizeof patience,
                                                     .wait_ms = NEVER_MS,
                                                     .frame_wait_ms = NEVER_MS,
                                                     .writer_wait_ms = NEVER_MS};

static inline struct tarn_session *open_patient_session(struct tarn_pool *of)
{
    struct tarn_session *own;

    ck_assert_int_eq(tarn_session_open(of, &patience, &own), 0);
    return own;
}

/* Memory that a test shares with the processes that it forks; zeros. */
static inline void *share_memory(size_t bytes)
{
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    ck_assert_ptr_ne(memory, MAP_FAILED);
    return memory;
}

/* A forked process that does `work` and ends; it does not outlive the test. */
static inline pid_t start_process(void (*work)(void *argument), void *argument)
{
    pid_t parent = getpid();
    pid_t pid = fork();

    ck_assert_int_ge(pid, 0);
    if (pid != 0)
        return pid;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    /* 0: the parent is in another pid namespace. */
    if (getppid() == parent || getppid() == 0)
        work(argument);
    _exit(0);
}

/* `tarn writer NAME` in a process of its own, which may become a standby; is not waited for.
 * Spawned: fork handlers beside threads that use the pool write to memory that those read. */
static inline pid_t start_tarn_writer(const char *name)
{
    char command[] = "tarn", subcommand[] = "writer";
    char *arguments[] = {command, subcommand, (char *)(uintptr_t)name, NULL};
    const char *path = getenv("TARN");
    posix_spawn_file_actions_t actions;
    pid_t pid;

    if (path == NULL || access(path, X_OK) != 0)
        test_skip("there is no command: TARN says '%s'", path == NULL ? "" : path);
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
    ck_assert_int_eq(posix_spawn(&pid, path, &actions, NULL, arguments, environ), 0);
    posix_spawn_file_actions_destroy(&actions);
    return pid;
}

/* Ends the process by SIGKILL; it must not have ended before. */
static inline void kill_process(pid_t pid)
{
    int status;

    ck_assert_int_eq(kill(pid, SIGKILL), 0);
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert_msg(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL,
                  "process %d ended before it was killed: status %#x", (int)pid, (unsigned)status);
}

/* Returns when no thread of the process runs any more. */
static inline void stop_process(pid_t pid)
{
    int status;

    ck_assert_int_eq(kill(pid, SIGSTOP), 0);
    ck_assert_int_eq(waitpid(pid, &status, WUNTRACED), pid);
    ck_assert_msg(WIFSTOPPED(status), "process %d has ended: status %#x", (int)pid,
                  (unsigned)status);
}

/* Returns when it runs, or has ended: a stop that overtook this would not be told to anybody. */
static inline void continue_process(pid_t pid)
{
    siginfo_t info;

    ck_assert_int_eq(kill(pid, SIGCONT), 0);
    ck_assert(waitid(P_PID, (id_t)pid, &info, WCONTINUED) == 0 || errno == ECHILD);
}

/* The first slot that a session of the process has; 0: none. */
static inline unsigned slot_of_process(const struct tarn_pool *of, pid_t pid)
{
    for (unsigned slot = 1; slot <= of->view.slot_max; slot++) {
        const struct tarn_slot *shared = tarn_view_slot(&of->view, slot);

        if (tarn_load_acquire(&shared->state) == SLOT_LIVE &&
            tarn_load_relaxed(&shared->pid) == (uint64_t)pid)
            return slot;
    }
    return 0;
}

/* Ends a writer or standby as an operator does. */
static inline void end_tarn_writer(const struct tarn_pool *of, pid_t pid)
{
    /* Before that it does not know the signal. */
    wait_until(slot_of_process(of, pid) != 0);
    ck_assert_int_eq(kill(pid, SIGTERM), 0);
    assert_ends_well(pid);
}

/* The process that has the writer's role as the segment says; 0: nobody. */
static inline pid_t writer_process(const struct tarn_pool *of)
{
    uint64_t slot = tarn_load_acquire(&of->view.control->writer_slot);
    const struct tarn_slot *shared = tarn_view_slot(&of->view, (unsigned)slot);

    if (slot == 0 || tarn_load_acquire(&shared->state) != SLOT_LIVE ||
        tarn_load_relaxed(&shared->role) != ROLE_WRITER)
        return 0;
    return (pid_t)tarn_load_relaxed(&shared->pid);
}

/* How often a process has gone to sleep. */
static inline long switches_of(pid_t pid)
{
    char path[64], line[256];
    long count = -1;

    snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
    FILE *stream = fopen(path, "r");
    while (stream != NULL && fgets(line, sizeof(line), stream) != NULL)
        sscanf(line, "voluntary_ctxt_switches: %ld", &count);
    if (stream != NULL)
        fclose(stream);
    return count;
}

#endif
