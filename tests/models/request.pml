/* SPDX-License-Identifier: MIT */
/* Requests to the writer: asked in the session's slot, answered there by CAS; the writer sleeps and
 * is woken; writer and sessions die, a successor takes over, a slot gets another session.
 *
 * Two slots. Session 0 asks ASKS times and may give up each time; session 1 asks once. Up to MAXC
 * of the sessions and the first writer die at any step; a reaper clears the slot of a dead session,
 * and another session goes on there. What is asked for stands in two words beside the request word;
 * the answer to a request is its own value. All waits here are without a limit, and nobody looks by
 * the clock: so every wake-up that counts is a real one.
 *
 * Holds: what the writer works on was asked as it reads it; whoever gets an answer gets that to the
 * newest thing asked for, and once; nobody who lives waits for ever. */
#ifndef MUT
#define MUT 0
#endif
#ifndef ASKS
#define ASKS 2
#endif
#ifndef MAXC
#define MAXC 1
#endif
#ifndef WDIES
#define WDIES 1                    /* the first writer may die */
#endif
#define NONE 0
#define ASKED 1
#define DONE 2

byte st[2], serial[2], result[2];  /* request words */
byte kind[2], number[2];           /* what is asked for: both have the same value */
bool dead[2];
bool sleeps, fifo;                 /* the writer's flag; a byte waits in its FIFO */
bool w_ended;
byte deaths, value;                /* value: what was asked for last, for anybody */
#if MUT == 8
byte served[2];                    /* MUT 8: the successor believes what its predecessor took */
#endif

#define DIE(s)   if :: deaths < MAXC -> deaths++; dead[s] = 1; goto out :: true fi
#define STEP(x)  atomic { x; DIE(s) }
#define IS(s, w) (st[s] == ASKED && serial[s] == w)

inline words(s) {
#if MUT != 11
    STEP(kind[s] = mine);
    STEP(number[s] = mine)
#else
    skip
#endif
}

inline wake() {
#if MUT == 6
    atomic { if :: sleeps -> sleeps = 0 :: else -> goto woken fi; DIE(s) }
    STEP(fifo = 1);                /* MUT 6: whoever wakes it clears the flag */
#else
#if MUT == 5
    if :: asleep -> STEP(fifo = 1) :: else fi;
#else
    atomic { asleep = sleeps; DIE(s) }
    if :: asleep -> STEP(fifo = 1) :: else fi;
#endif
#endif
woken:
    asleep = 0
}

proctype session(byte s; byte asks; bool gives_up)
{
    byte mine, w;
    bool asleep;
    do
    :: asks > 0 ->
        atomic { asks--; value++; mine = value; w = (MUT == 1 -> serial[s] : serial[s] + 1) }
        words(s);
#if MUT == 5
        atomic { asleep = sleeps; DIE(s) }           /* looked at before it is asked */
#endif
        STEP(st[s] = ASKED; serial[s] = w; result[s] = 0);
#if MUT == 11
        STEP(kind[s] = mine);                        /* the words after the word */
        STEP(number[s] = mine);
#endif
        wake();
        if
        :: atomic { !IS(s, w) -> DIE(s) }
        :: gives_up ->
            atomic {
                if
                :: IS(s, w) -> st[s] = NONE; DIE(s); goto next
                :: else -> DIE(s)
                fi
            }
        fi;
        atomic { assert(st[s] == DONE && serial[s] == w && result[s] == mine); DIE(s) }
next:
        atomic { mine = 0; w = 0 }
    :: else -> break
    od;
    atomic { mine = 0; w = 0; asks = 0 }
    goto left;
out:
    atomic { mine = 0; w = 0; asks = 0; asleep = 0 }
left:
    skip
}

#define WDIE     if :: me == 0 && WDIES && !w_ended -> w_ended = 1; goto out :: true fi
#define WSTEP(x) atomic { x; WDIE }

/* One look at a slot: takes what is asked, unless it has been taken already. */
inline look_at(s) {
    atomic { w = serial[s]; asked = st[s] == ASKED }
    if
#if MUT == 8
    :: asked && served[s] != w + 1 ->
#else
    :: asked && taken[s] != w + 1 ->
#endif
        k = kind[s];
        n = number[s];
        atomic {
            if
            :: MUT != 3 && !IS(s, w)                 /* MUT 3: not asked again */
            :: else ->
                assert(k == n);
                what[s] = k;
                taken[s] = w + 1;
#if MUT == 8
                served[s] = w + 1;
#endif
                WDIE
            fi
        }
    :: else
    fi;
    atomic { w = 0; k = 0; n = 0; asked = 0 }
}

inline answer(s) {
    atomic {
        if
        :: MUT == 2 -> st[s] = DONE; serial[s] = taken[s] - 1; result[s] = what[s]   /* a store */
        :: MUT != 2 && IS(s, taken[s] - 1) -> st[s] = DONE; result[s] = what[s]
        :: else
        fi;
        taken[s] = 0; what[s] = 0;
#if MUT == 8
        served[s] = 0;
#endif
        WDIE
    }
}

proctype W(bool me)
{
    byte taken[2], what[2];        /* requests being worked on: serial + 1, and what they ask for */
    byte w, k, n;
    bool asked;
    if
    :: me == 1 ->
end_standby:
        w_ended
    :: else
    fi;
    do
    :: look_at(0);
        look_at(1);
work:
        do                                           /* work ends in any order, or later */
        :: taken[0] -> answer(0)
        :: taken[1] -> answer(1)
        :: true -> break
        od;
#if MUT == 4
        look_at(0);                                  /* the last look, then the flag */
        look_at(1);
        WSTEP(sleeps = 1);
#else
        WSTEP(sleeps = 1);
#if MUT != 9
        look_at(0);                                  /* MUT 9: no look after the flag */
        look_at(1);
#endif
#endif
#if MUT == 7
        WSTEP(fifo = 0);                             /* drained after the last look */
#endif
end:
        if                                           /* a completion, or the FIFO */
        :: taken[0] || taken[1] -> WSTEP(sleeps = 0); goto work
        :: fifo -> WSTEP(sleeps = 0); WSTEP(fifo = 0)
        fi
    od;
out:
    atomic { taken[0] = 0; taken[1] = 0; what[0] = 0; what[1] = 0; w = 0; k = 0; n = 0; asked = 0 }
}

/* A dead session's request is withdrawn; another session comes into the slot. */
proctype reaper()
{
    byte x;
    do
    :: atomic { dead[0] || dead[1] -> if :: dead[0] -> x = 0 :: dead[1] -> x = 1 fi }
#if MUT != 10
        atomic { if :: st[x] != NONE -> st[x] = NONE :: else fi }    /* MUT 10: it stands */
#endif
        atomic { dead[x] = 0; run session(x, 1, 0); x = 0 }
    :: timeout -> assert(st[0] != ASKED && st[1] != ASKED); break
    od
}

init
{
    atomic {
        run session(0, ASKS, 1);
        run session(1, 1, 0);
        run W(0);
        run W(1);
        run reaper()
    }
}
