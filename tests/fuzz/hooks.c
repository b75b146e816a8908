/* SPDX-License-Identifier: MIT */
/* What stands between the code under test and the system, by the linker's --wrap. */
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "lib/io/io.h"
#include "tests/fuzz/fuzz.h"

static int64_t clock_ns = INT64_C(1000000000000);
static int64_t call_begun_ns;
static bool started;

void broken(const char *format, ...)
{
    va_list list;
    va_start(list, format);
    dprintf(STDERR_FILENO, "broken: ");
    vdprintf(STDERR_FILENO, format, list);
    dprintf(STDERR_FILENO, "\n");
    va_end(list);
    abort();
}

void hooks_begin_call(void)
{
    call_begun_ns = clock_ns;
}

void hooks_start(void)
{
    started = true;
    hooks_begin_call();
}

static void pass_time(int64_t ns)
{
    clock_ns += ns > 0 ? ns : 0;
    if (clock_ns - call_begun_ns > CALL_NS_MAX)
        broken("a wait has no end");
}

int __real_clock_gettime(clockid_t clock, struct timespec *ret_time);
int __wrap_clock_gettime(clockid_t clock, struct timespec *ret_time);
int __wrap_clock_gettime(clockid_t clock, struct timespec *ret_time)
{
    if (!started)
        return __real_clock_gettime(clock, ret_time);
    /* Who looks at the clock again and again gets on too. */
    pass_time(100);
    *ret_time = (struct timespec){clock_ns / 1000000000, clock_ns % 1000000000};
    return 0;
}

/* syscall() has up to six arguments; who gives fewer leaves the rest to chance. */
long __real_syscall(long number, long a, long b, long c, long d, long e, long f);
long __wrap_syscall(long number, long a, long b, long c, long d, long e, long f);
long __wrap_syscall(long number, long a, long b, long c, long d, long e, long f)
{
    bool sleeps = number == SYS_clock_nanosleep;
    if (started && (sleeps || (number == SYS_futex && b == FUTEX_WAIT))) {
        const struct timespec *time = (const struct timespec *)(sleeps ? c : d);
        pass_time(time->tv_sec * INT64_C(1000000000) + time->tv_nsec);
        return 0;
    }
    return __real_syscall(number, a, b, c, d, e, f);
}

int __real_tarn_io_wait(struct tarn_io *io, int64_t wait_ns,
                        struct tarn_io_completion *ret_completions, unsigned count_max);
int __wrap_tarn_io_wait(struct tarn_io *io, int64_t wait_ns,
                        struct tarn_io_completion *ret_completions, unsigned count_max);
int __wrap_tarn_io_wait(struct tarn_io *io, int64_t wait_ns,
                        struct tarn_io_completion *ret_completions, unsigned count_max)
{
    if (!started)
        return __real_tarn_io_wait(io, wait_ns, ret_completions, count_max);
    /* The disk is waited for; what only time or others could bring is not. */
    int64_t real_ns = wait_ns != 0 && tarn_io_in_flight(io) > 0 ? NS_PER_MS * 1000 : 0;
    int count = __real_tarn_io_wait(io, real_ns, ret_completions, count_max);
    if (count == 0)
        pass_time(wait_ns < 0 ? NS_PER_MS : wait_ns);
    return count;
}

/* The end of a watch costs the kernel more than all else together: there is none. */
int __real_inotify_init1(int flags);
int __wrap_inotify_init1(int flags);
int __wrap_inotify_init1(int flags)
{
    errno = EMFILE;
    return started ? -1 : __real_inotify_init1(flags);
}

/* A segment is mapped where nothing else is for far around: an index that nobody has checked ends
 * in the guard. */

#define GUARD_BYTES (UINT64_C(3) << 40)

static struct {
    uint8_t *room;
    bool used;
} guards[4];

void *__real_mmap64(void *address, size_t bytes, int protection, int flags, int fd, off_t offset);
void *__wrap_mmap64(void *address, size_t bytes, int protection, int flags, int fd, off_t offset);
void *__wrap_mmap64(void *address, size_t bytes, int protection, int flags, int fd, off_t offset)
{
    unsigned i = 0;
    if (!started || fd < 0 || (flags & MAP_SHARED) == 0)
        return __real_mmap64(address, bytes, protection, flags, fd, offset);
    while (guards[i].used)
        if (++i == sizeof guards / sizeof guards[0])
            broken("more than %u segments", i);
    if (guards[i].room == NULL)
        guards[i].room = __real_mmap64(NULL, 2 * GUARD_BYTES, PROT_NONE,
                                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (guards[i].room == MAP_FAILED)
        broken("no address space");
    void *base = __real_mmap64(guards[i].room + GUARD_BYTES, bytes, protection, flags | MAP_FIXED,
                               fd, offset);
    guards[i].used = base != MAP_FAILED;
    return base;
}

int __real_munmap(void *address, size_t bytes);
int __wrap_munmap(void *address, size_t bytes);
int __wrap_munmap(void *address, size_t bytes)
{
    for (unsigned i = 0; i < sizeof guards / sizeof guards[0]; i++)
        if (guards[i].used && address == guards[i].room + GUARD_BYTES) {
            guards[i].used = false;
            return __real_mmap64(address, bytes, PROT_NONE,
                                 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1,
                                 0) == MAP_FAILED
                       ? -1
                       : 0;
        }
    return __real_munmap(address, bytes);
}

/* Noise may be a path: nothing outside of the pool's directory is touched. */
static bool is_elsewhere(int directory_fd, const char *path)
{
    errno = ENOENT;
    return started && directory_fd != AT_FDCWD && strchr(path, '/') != NULL;
}

int __real_openat64(int directory_fd, const char *path, int flags, mode_t mode);
int __wrap_openat64(int directory_fd, const char *path, int flags, mode_t mode);
int __wrap_openat64(int directory_fd, const char *path, int flags, mode_t mode)
{
    return is_elsewhere(directory_fd, path) ? -1 : __real_openat64(directory_fd, path, flags, mode);
}

int __real_fstatat64(int directory_fd, const char *path, struct stat *ret_status, int flags);
int __wrap_fstatat64(int directory_fd, const char *path, struct stat *ret_status, int flags);
int __wrap_fstatat64(int directory_fd, const char *path, struct stat *ret_status, int flags)
{
    return is_elsewhere(directory_fd, path)
               ? -1
               : __real_fstatat64(directory_fd, path, ret_status, flags);
}

int __real_unlinkat(int directory_fd, const char *path, int flags);
int __wrap_unlinkat(int directory_fd, const char *path, int flags);
int __wrap_unlinkat(int directory_fd, const char *path, int flags)
{
    return is_elsewhere(directory_fd, path) ? -1 : __real_unlinkat(directory_fd, path, flags);
}

/* Comparisons. clang calls these before each comparison of integers in what is instrumented. */

static unsigned countdown;
static hook_function *hook;
static void *hook_context;

void hooks_arm(unsigned comparisons, hook_function *function, void *context)
{
    countdown = comparisons;
    hook = function;
    hook_context = context;
}

void hooks_disarm(void)
{
    countdown = 0;
}

static inline void compared(void)
{
    if (__builtin_expect(countdown != 0 && --countdown == 0, 0))
        hook(hook_context);
}

#define WRAP_COMPARISON(name, type)                                                                \
    void __real___sanitizer_cov_trace_##name(type a, type b);                                      \
    void __wrap___sanitizer_cov_trace_##name(type a, type b);                                      \
    __attribute__((no_sanitize("coverage"))) void __wrap___sanitizer_cov_trace_##name(type a,      \
                                                                                      type b)      \
    {                                                                                              \
        compared();                                                                                \
        __real___sanitizer_cov_trace_##name(a, b);                                                 \
    }
WRAP_COMPARISON(cmp4, uint32_t)
WRAP_COMPARISON(cmp8, uint64_t)
WRAP_COMPARISON(const_cmp4, uint32_t)
WRAP_COMPARISON(const_cmp8, uint64_t)

/* Ends. */

static jmp_buf exit_place;
static bool exit_caught;

_Noreturn void __real_exit(int status);
_Noreturn void __wrap_exit(int status);
_Noreturn void __wrap_exit(int status)
{
    if (!exit_caught)
        __real_exit(status);
    longjmp(exit_place, status + 1);
}

int hooks_catch_exit(int (*function)(void *argument), void *argument)
{
    int jumped = setjmp(exit_place);
    exit_caught = true;
    int status = jumped == 0 ? function(argument) : jumped - 1;
    exit_caught = false;
    return status;
}
