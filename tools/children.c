/* SPDX-License-Identifier: MIT */
#include "tools/children.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#include "tools/tool.h"

static sigset_t signals(void)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGCHLD);
    return set;
}

void children_begin(void)
{
    sigset_t set = signals();
    sigprocmask(SIG_BLOCK, &set, NULL);
}

pid_t children_fork(int with_parent)
{
    pid_t parent = getpid();
    fflush(NULL);
    pid_t pid = fork();
    if (pid < 0)
        tool_error("cannot start a process: %s", strerror(errno));
    if (pid == 0) {
        sigset_t set = signals();
        signal(SIGINT, SIG_IGN);
        sigprocmask(SIG_UNBLOCK, &set, NULL);
        prctl(PR_SET_PDEATHSIG, with_parent);
        if (getppid() != parent) /* it died before this was asked for */
            _exit(TOOL_TROUBLE);
    }
    return pid;
}

bool children_wait(int64_t wait_ns)
{
    static bool stop;
    sigset_t set = signals();
    struct timespec limit = {.tv_sec = wait_ns / 1000000000, .tv_nsec = wait_ns % 1000000000};
    int signal = stop ? 0 : sigtimedwait(&set, NULL, &limit);
    if (signal == SIGINT || signal == SIGTERM)
        stop = true;
    return stop;
}
