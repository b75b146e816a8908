/* SPDX-License-Identifier: MIT */
/* Only where coverage is counted: a process that ends by _exit() writes its counts too. */
#include <sys/syscall.h>
#include <unistd.h>

void __gcov_dump(void);

void _exit(int status)
{
    __gcov_dump();
    syscall(SYS_exit_group, status);
    __builtin_unreachable();
}
