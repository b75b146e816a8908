/* SPDX-License-Identifier: MIT */
/* Calls for the cleaner: a session has used something up, says that it calls, and wakes the writer
 * if that sleeps; the writer takes the call back, looks, and sleeps.
 *
 * Session 0 calls CALLS times, session 1 once. Up to MAXC sessions die or are stopped for good at
 * any step, and the first writer dies; a session's death wakes the writer, a stop does not. No
 * clock: every wake-up that counts is a real one. The cleaner sees to all that it finds.
 *
 * Holds: what a call that has returned was for is seen to; of the dead no call stands. */
#ifndef MUT
#define MUT 0
#endif
#ifndef CALLS
#define CALLS 2
#endif
#ifndef MAXC
#define MAXC 1
#endif

bool need[2], asked[2];            /* something is to be done; a call for it has returned */
bool called, sleeps, fifo;         /* the words of the segment; a byte waits in the FIFO */
bool ended, w_ended;               /* a session has died: the kernel tells the writer */
bool stopped;
byte deaths;

#if MUT == 6
#define DIE      if :: deaths < MAXC -> deaths++; goto out :: true fi   /* nobody is told */
#else
#define DIE                                                                                        \
    if                                                                                             \
    :: deaths < MAXC -> deaths++; if :: ended = 1 :: stopped = 1 fi; goto out                      \
    :: true                                                                                        \
    fi
#endif
#define STEP(x)  atomic { x; DIE }

proctype session(byte s; byte calls)
{
    bool asleep;
    do
    :: calls > 0 ->
        STEP(calls--; need[s] = 1; asked[s] = 0);
#if MUT == 1
        STEP(asleep = sleeps);                       /* MUT 1: looks first, then calls */
#endif
        STEP(called = 1);
#if MUT == 5
        STEP(asleep = sleeps; sleeps = 0);           /* MUT 5: who wakes it clears the flag */
#elif MUT != 1
        STEP(asleep = sleeps);
#endif
        if
        :: asleep -> STEP(fifo = 1)
        :: else
        fi;
        atomic { asked[s] = 1; asleep = 0 }
    :: else -> break
    od;
out:
    atomic { calls = 0; asleep = 0 }
}

#define WDIE     if :: me == 0 && !w_ended -> w_ended = 1; goto out :: true fi
#define WSTEP(x) atomic { x; WDIE }

inline clean() {
    cleaning = 0;
#if MUT != 2
    WSTEP(called = 0);
#endif
    WSTEP(need[0] = 0);
    WSTEP(need[1] = 0);
#if MUT == 2
    WSTEP(called = 0);                               /* MUT 2: taken back after the look */
#endif
    skip
}

proctype W(bool me)
{
    bool cleaning = (MUT != 7 || !me);               /* MUT 7: a successor waits to be called */
    bool seen;
    if
    :: me == 1 ->
end_standby:
        w_ended
    :: else
    fi;
    do
    :: if
        :: cleaning -> clean()
        :: else
        fi;
#if MUT == 4
        WSTEP(seen = called);                        /* MUT 4: looked for first, then the flag */
        WSTEP(sleeps = 1);
#else
        WSTEP(sleeps = 1);
#if MUT != 3
        WSTEP(seen = called);                        /* MUT 3: not looked for before it sleeps */
#endif
#endif
        if
        :: seen -> seen = 0; clean()
        :: else
        fi;
end:
        fifo || ended;                               /* a byte in the FIFO, or somebody's death */
        WSTEP(sleeps = 0);
        WSTEP(cleaning = fifo; fifo = 0; ended = 0)
    od;
out:
    atomic { cleaning = 0; seen = 0 }
}

proctype end_of_all()
{
    timeout ->
    assert(stopped || !called);
    assert(!(need[0] && asked[0]) && !(need[1] && asked[1]))
}

init
{
    atomic {
        run session(0, CALLS);
        run session(1, 1);
        run W(0);
        run W(1);
        run end_of_all()
    }
}
