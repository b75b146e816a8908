/* SPDX-License-Identifier: MIT */
/* One slot of the session table: join, leave, reap, with two byte locks (life and claim) and the
 * early proof of death.
 *
 * Each process has two open file descriptions of the segment. MAP holds the life bytes of its
 * sessions; ASK asks, claims and reaps. Locks of one description never conflict with each other,
 * so a lock is granted if it is free or already this description's.
 *
 * Process 0 has two sessions and a thread that reaps next to them; process 1 is another newcomer;
 * process 2 only reaps; process 3 reaps, cannot be killed and looks at the end. Processes 0 to 2
 * can be killed between any two steps. A killed process is exiting: it takes no further step, but
 * the kernel drops its locks later, one by one.
 *
 * Holds: nobody alive is reaped, a session alone owns its slot and has its life byte, nothing is
 * left in a FREE slot, and in the end every dead session has been reaped and no lock stays.
 *
 * PAIR, OTHER, NEAR, MORTAL add process 0's second session, process 1, process 0's reaping thread
 * and process 2; TWIN lets process 0 go on in a second thread after its first has exited. */
#ifndef MUT
#define MUT 0
#endif
#ifndef KILLS
#define KILLS 2
#endif
#ifndef ROUNDS
#define ROUNDS 1                   /* how often a session of process 0 joins */
#endif
#define FREE 0
#define LIVE 1
bool state = FREE;
byte who = 9;                      /* {pid, start time, namespace}: 9 is nobody */
byte things;                       /* what the session has announced: session + 1 */
byte life, claim;                  /* 0: free, else process + 1 */
bool mutex[4];                     /* a handle's own, around joining and reaping */
bool mine[4];                      /* a handle's private table (MUT 15 only) */
bool exiting[4], inside[3];
byte kills;
bool twin, leader_left;            /* process 0 made a second thread; its first one has exited */
#define LOCK(p)   atomic { !mutex[p] || MUT == 10 -> mutex[p] = 1 }
#define UNLOCK(p) mutex[p] = 0
#define MINE(lock, p)   (lock == 0 || lock == p + 1)
#define ALIVE(s)  (inside[s] && !exiting[s / 2])
#define NOBODY    (!ALIVE(0) && !ALIVE(1) && !ALIVE(2))
#define TASKS(q)  (q == 0 && twin -> 3 : 1)
#if MUT == 8
#define ALL_EXITING(q) (exiting[q] || (q == 0 && leader_left))       /* asks the first task only */
#else
#define ALL_EXITING(q) (exiting[q] || (q == 0 && leader_left && listing == 1))
#endif

inline clean() {                   /* takes the dead session's things, FREE comes last */
#if MUT == 14
    atomic { assert(NOBODY); state = FREE }
    things = 0
#else
    atomic { assert(NOBODY); things = 0 }
    atomic { assert(NOBODY); state = FREE }
#endif
}

/* Every task of the process exiting, in two equal listings that are not empty. The directory may
 * be unreadable at any time. */
inline early_proof() {
    atomic {
        q = who;
        if
        :: q == 9 -> listing = 0
        :: q != 9 -> listing = TASKS(q)
        :: listing = 0
        fi
    }
    if
    :: listing == 0 -> dead = (MUT == 6)
    :: else -> dead = ALL_EXITING(q)
    fi;
#if MUT != 7 && MUT != 8
    if
    :: dead && listing -> dead = (listing == TASKS(q))
    :: else
    fi;
#endif
    atomic { q = 0; listing = 0 }
}

inline ask_dead(p) {
#if MUT == 3
    dead = MINE(life, p);          /* asked through MAP, which never conflicts with itself */
#else
    dead = (life == 0);
#endif
    if
    :: !dead -> early_proof()
    :: else
    fi
}

proctype session(byte p; byte s; byte rounds)
{
    {
    do
    :: rounds > 0 ->
        rounds--;
        LOCK(p);
#if MUT == 1
        atomic { state == FREE -> state = LIVE; inside[s] = 1; who = p }
#endif
#if MUT != 4
        if :: mine[p] -> goto refused :: else fi;              /* MUT 4: not asked; own locks */
#endif                                                         /* do not conflict */
        atomic { if :: MINE(claim, p) -> claim = p + 1 :: else -> goto refused fi }
        atomic { if :: MINE(life, p) -> life = p + 1 :: else -> goto unclaim fi }
        mine[p] = 1;
#if MUT != 1
        if
        :: state != FREE && MUT != 13 -> clean()               /* a dead session's */
        :: else
        fi;
#if MUT == 9
        claim = 0;
#endif
#if MUT != 11
        who = p;
#endif
        atomic { assert(MUT == 9 || state == FREE || MUT == 13); state = LIVE; inside[s] = 1 }
#endif
#if MUT != 9
        claim = 0;
#endif
        UNLOCK(p);
        atomic { assert(state == LIVE && things == 0 && life == p + 1); things = s + 1 }
#if MUT == 11
        who = p;                   /* until here the dead predecessor's stood there */
#endif
        atomic { assert(state == LIVE && things == s + 1 && life == p + 1) }
#if MUT != 15
        LOCK(p);                   /* leave; MUT 15: not under the mutex */
#endif
        things = 0;
#if MUT == 2
        life = 0;
        atomic { inside[s] = 0; state = FREE }
        mine[p] = 0;
#else
        atomic { assert(state == LIVE && things == 0); inside[s] = 0; state = FREE }
        mine[p] = 0;
        atomic { assert(life == p + 1); life = 0 }
#endif
#if MUT != 15
        UNLOCK(p);
#endif
        goto next;
unclaim:
        claim = 0;
refused:
        UNLOCK(p);
next:
        skip
    :: else -> break
    od
    } unless { exiting[p] }
}

proctype reaper(byte p; byte rounds)
{
    byte q, listing;
    bool dead;
    {
    do
    :: rounds > 0 && state == LIVE ->
        if :: p != 3 -> rounds-- :: else fi;
        LOCK(p);
#if MUT == 12
        ask_dead(p);
#endif
#if MUT != 5
        atomic { if :: MINE(claim, p) -> claim = p + 1 :: else -> goto refused fi }
#endif
#if MUT != 12
        ask_dead(p);
#endif
        if
        :: dead && state != FREE -> clean()
        :: else
        fi;
#if MUT != 5
        claim = 0;
#endif
refused:
        UNLOCK(p);
        dead = 0
    :: timeout ->
        assert(p != 3 || (state == FREE && things == 0 && life == 0 && claim == 0));
        break
    od
    } unless { exiting[p] }
    atomic { q = 0; listing = 0; dead = 0; rounds = 0 }
}

/* Kills, and drops the locks of the killed; lets process 0 go on in a second thread. */
proctype kernel()
{
    byte p;
end:
    do
    :: kills < KILLS ->
        atomic {
            if :: p = 0 :: p = 1 :: p = 2 fi;
            if
            :: !exiting[p] -> exiting[p] = 1; kills++
            :: else -> kills = KILLS
            fi;
            p = 0
        }
    :: kills < KILLS -> kills = KILLS
    :: atomic { exiting[0] && claim == 1 -> claim = 0 }
    :: atomic { exiting[1] && claim == 2 -> claim = 0 }
    :: atomic { exiting[2] && claim == 3 -> claim = 0 }
    :: atomic { exiting[0] && life == 1 -> life = 0 }
    :: atomic { exiting[1] && life == 2 -> life = 0 }
#ifdef TWIN
    :: atomic { !exiting[0] && !twin -> twin = 1 }
    :: atomic { !exiting[0] && twin && !leader_left -> leader_left = 1 }
#endif
    od
}

init
{
    atomic {
        run session(0, 0, ROUNDS);
#ifdef PAIR
        run session(0, 1, 1);
#endif
#ifdef OTHER
        run session(1, 2, 1);
#endif
#ifdef NEAR
        run reaper(0, 1);
#endif
#ifdef MORTAL
        run reaper(2, 1);
#endif
        run reaper(3, 1);
        run kernel()
    }
}
