/* SPDX-License-Identifier: MIT */
/* A file is cut and grows again, while the page beyond its new end is loaded, held, changed and
 * written; writer and sessions die at any step, and a successor goes on.
 *
 * The file has two pages, the pool two frames; all is about page 1. RS sessions (0 and 1) pin it,
 * or load it, and change it once. U asks for a truncation to one page, and perhaps gives up waiting;
 * then it asks for two pages again. The writer may have a write of page 1 in flight, which goes on
 * in the device when the writer has died. What a session has is reaped in one step.
 *
 * Holds: a load that has passed both looks at the count finds its page in the file; nobody has the
 * page while the file is cut; a truncation that is taken back has changed nothing; after the growth
 * the page is zeros. */
#ifndef MUT
#define MUT 0
#endif
#ifndef RS
#define RS 2
#endif
#ifndef ROUNDS
#define ROUNDS 1
#endif
#ifndef WRITES
#define WRITES 1                   /* of page 1 */
#endif
#ifndef MAXC
#define MAXC 1                     /* sessions that die */
#endif
#ifndef WDIES
#define WDIES 1
#endif
#define FREE 0
#define CLAIMED 1
#define VALID 2
#define EVICTING 3
#define NONE 7
#define ZEROS 0
#define TRUNCATE 1
#define EXTEND 2
#define HOLDERS 1                  /* the writer's operation: can be taken back, */
#define DISCARD 2                  /* or not any more */

byte st[2], own[2];                /* frame words */
bool entered[2];                   /* the table has a live entry for page 1 */
byte val[2];
byte hold[2];                      /* of the sessions: a frame */
bool dead[2];
byte count = 2;                    /* pages, as the segment says */
byte size = 2;                     /* pages of the file */
byte disk = 1;                     /* page 1 of the file */
byte flight = NONE;                /* a write of page 1: its value */
byte committed = 1;                /* newest value of page 1 */
byte phase;                        /* 0: as it was; 1: the file is cut; 2: and has grown again */
byte request, answer;              /* answer: 0 none, 1 done, 2 a page is held */
byte deaths, writes;
bool w_ended;

#define TO_FREE(f) st[f] = FREE; own[f] = 0; entered[f] = 0
#define THERE(f)   (entered[f] && (st[f] == VALID || st[f] == EVICTING))
#define HELD(f)    (hold[0] == f || hold[1] == f)
#define RIGHT(f)   (phase == 0 && val[f] == committed || phase == 2 && val[f] == ZEROS)
#define DIE(s)     if :: deaths < MAXC -> deaths++; dead[s] = 1; goto out :: true fi
#define STEP(x)    atomic { x; DIE(s) }

proctype R(byte s; byte rounds)
{
    byte f = NONE, n;
    do
    :: rounds > 0 ->
        rounds--;
        atomic {
            if
            :: THERE(0) -> f = 0
            :: THERE(1) -> f = 1
            :: entered[0] && st[0] == CLAIMED || entered[1] && st[1] == CLAIMED -> goto next
            :: else -> f = NONE
            fi
        }
        if
        :: f != NONE ->                              /* pinned, whatever the count is by now */
            STEP(hold[s] = f);
            atomic {
                if
                :: THERE(f) -> st[f] = VALID; own[f] = 0; DIE(s); goto use
                :: else -> hold[s] = NONE; goto next
                fi
            }
        :: f == NONE && count < 2 -> goto next
        :: f == NONE && count == 2 && st[0] == FREE -> n = 0
        :: f == NONE && count == 2 && st[0] != FREE && st[1] == FREE -> n = 1
        :: else -> goto next
        fi;
        atomic {
            if :: st[n] == FREE -> st[n] = CLAIMED; own[n] = s :: else -> goto next fi;
            DIE(s)
        }
        STEP(hold[s] = n);
        atomic {
            if
            :: entered[1 - n] -> hold[s] = NONE; TO_FREE(n); goto next
            :: else -> entered[n] = 1; DIE(s)
            fi
        }
#if MUT != 1
        atomic {                                     /* MUT 1: the count is not looked at again */
            if
            :: count < 2 -> hold[s] = NONE; TO_FREE(n); DIE(s); goto next
            :: else
            fi
        }
#endif
        STEP(assert(size == 2); val[n] = disk);
        STEP(st[n] = VALID; own[n] = 0; f = n);
use:
        atomic { assert(THERE(f) && RIGHT(f)); DIE(s) }
        atomic {
            assert(THERE(f) && RIGHT(f));
            if
            :: phase == 0 && committed == 1 -> committed = 2; val[f] = 2
            :: true
            fi;
            hold[s] = NONE
        }
next:
        atomic { f = NONE; n = 0 }
    :: else -> break
    od;
out:
    atomic { f = NONE; n = 0; rounds = 0 }
}

proctype U()
{
    request = TRUNCATE;
    if
    :: atomic { answer != 0 }
    :: atomic { answer == 0 -> request = 0 }         /* gives up waiting */
    fi;
    atomic { assert(answer != 1 || !THERE(0) && !THERE(1)); answer = 0; request = EXTEND }
    atomic { answer != 0 -> assert(answer == 1 && count == 2) }
}

#define WDIE     if :: me == 0 && WDIES -> goto out :: true fi
#define WSTEP(x) atomic { x; WDIE }
#define IN_THE_WAY(f) (entered[f] && (st[f] == CLAIMED && MUT != 9 || THERE(f) && HELD(f)))

/* A writer knows its own writes alone. MUT 3: they are not waited for. */
#define NO_FLIGHT (flight == NONE || MUT == 3 || MUT == 7 && me == 1)

/* To the request that the operation is for, if it stands. */
inline reply(to, what) {
    atomic { if :: request == to -> answer = what; request = 0 :: else fi; WDIE }
}

inline collect() {
    WSTEP(list[0] = entered[0] && st[0] != FREE);
    WSTEP(list[1] = entered[1] && st[1] != FREE)
}

inline discard(f) {
    if
    :: list[f] && THERE(f) ->
        atomic { if :: THERE(f) -> st[f] = EVICTING; own[f] = 2; WDIE :: else fi }
        busy = hold[0] == f && MUT != 4;             /* MUT 4: holders are not searched */
        busy = busy || hold[1] == f && MUT != 4;
        atomic {
            if
            :: st[f] == EVICTING && !busy -> TO_FREE(f); list[f] = 0
            :: st[f] == EVICTING && busy -> st[f] = VALID; own[f] = 0
            :: else
            fi;
            busy = 0;
            WDIE
        }
    :: list[f] && (!entered[f] || st[f] == FREE || st[f] == CLAIMED && MUT == 9) -> list[f] = 0
    :: else                                          /* MUT 9: a load is not waited for */
    fi
}

proctype W(bool me)
{
    byte op, before;
    bool list[2], busy;
    if
    :: me == 1 ->
end_standby:
        atomic { w_ended && (flight == NONE || MUT == 7) }           /* MUT 7: no fence */
        if
        :: count < 2 && (entered[0] || entered[1]) && MUT != 8 ->    /* MUT 8: does not go on */
            collect();
            op = (MUT == 10 -> HOLDERS : DISCARD);   /* MUT 10: as if nothing had gone yet */
            before = (MUT == 10 -> 2 : 1)
        :: else
        fi
    :: else
    fi;
end_work:
    do
    :: op == 0 && request == TRUNCATE ->
        before = count;
#if MUT == 2
        collect();                                   /* before the count is lowered */
        WSTEP(count = 1);
#else
        WSTEP(count = 1);
        collect();
#endif
        op = HOLDERS
    :: op == 0 && request == EXTEND ->
        if
        :: count == 2
        :: else ->
#if MUT != 6
            WSTEP(size = 1; phase = 1);              /* MUT 6: what is beyond is not cut off */
#endif
            WSTEP(if :: size == 1 -> disk = ZEROS; size = 2 :: else fi);
            WSTEP(count = 2; phase = 2)
        fi;
        reply(EXTEND, 1)
    :: op == HOLDERS && NO_FLIGHT ->
        if
        :: IN_THE_WAY(0) && list[0] || IN_THE_WAY(1) && list[1] ->
            WSTEP(count = before);                   /* given up */
            reply(TRUNCATE, 2);
            op = 0; list[0] = 0; list[1] = 0
        :: list[0] && IN_THE_WAY(0) -> !IN_THE_WAY(0)                /* or waited for */
        :: list[1] && IN_THE_WAY(1) -> !IN_THE_WAY(1)
        :: !(list[0] && IN_THE_WAY(0)) && !(list[1] && IN_THE_WAY(1)) -> op = DISCARD
        fi
    :: op == DISCARD && NO_FLIGHT ->
        discard(0);
        discard(1);
        if
        :: !list[0] && !list[1] ->
            WSTEP(size = 1; phase = 1);
            reply(TRUNCATE, 1);
            op = 0
        :: MUT == 5 && (list[0] || list[1]) ->       /* given up when some have gone */
            WSTEP(count = before);
            reply(TRUNCATE, 2);
            op = 0; list[0] = 0; list[1] = 0
        :: else
        fi
    :: writes < WRITES && flight == NONE && (THERE(0) || THERE(1)) ->
        atomic {
            if
            :: THERE(0) -> flight = val[0]; writes++
            :: THERE(1) -> flight = val[1]; writes++
            :: else
            fi;
            WDIE
        }
    :: me == 0 && WDIES -> goto out                  /* dies while it sleeps */
    :: op == 0 && request == 0 && phase == 2 -> break
    od;
out:
    atomic { op = 0; before = 0; list[0] = 0; list[1] = 0; busy = 0; w_ended = 1 }
}

/* The device, and the reaper. */
proctype outside()
{
end:
    do
    :: atomic {
        flight != NONE ->
        if :: size == 2 || phase == 0 -> disk = flight :: else -> disk = flight; size = 2 fi;
        flight = NONE
    }
    :: atomic {
        dead[0] || dead[1] || w_ended && (st[0] == EVICTING || st[1] == EVICTING) ->
        if :: dead[0] -> hold[0] = NONE :: else fi;
        if :: dead[1] -> hold[1] = NONE :: else fi;
        if :: st[0] == CLAIMED && dead[own[0]] -> TO_FREE(0) :: else fi;
        if :: st[1] == CLAIMED && dead[own[1]] -> TO_FREE(1) :: else fi;
        if :: st[0] == EVICTING && w_ended -> st[0] = VALID; own[0] = 0 :: else fi;
        if :: st[1] == EVICTING && w_ended -> st[1] = VALID; own[1] = 0 :: else fi;
        dead[0] = 0; dead[1] = 0
    }
    od
}

init
{
    atomic {
        hold[0] = NONE; hold[1] = NONE;
        run R(0, ROUNDS);
        if :: RS == 2 -> run R(1, ROUNDS) :: else fi;
        run U();
        run W(0);
        run W(1);
        run outside()
    }
}
