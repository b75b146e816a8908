/* SPDX-License-Identifier: MIT */
/* Pin, shared and exclusive latch, eviction and its rescue, on one frame.
 *
 * R pins a page and shares it, W pins page 1 and changes it exclusively, NE evictors evict, and
 * load the other page into the frame. A pin is a hold and no counter; who may hold S shows in a
 * sticky word, one bit a group of sessions (GROUP=1: R and W share one). Any of them dies at any
 * step, up to MAXC in one run.
 *
 * BOTH=1: R announces pin and S in one store; else S comes after the pin, as in the library.
 * QUICK_X=1: W announces its pin by a plain store, and the CAS of the latch word is the barrier
 * for both; W looks at the frame word after that.
 *
 * Holds: a pinned frame keeps its page; nobody shares what somebody changes; a load brings what
 * was committed; in the end nothing is held, latched or on its way. */
#ifndef MUT
#define MUT 0
#endif
#ifndef GROUP
#define GROUP 0
#endif
#ifndef BOTH
#define BOTH 0
#endif
#ifndef QUICK_X
#define QUICK_X 0
#endif
#ifndef RR
#define RR 2                       /* rounds of R, W and E */
#endif
#ifndef RW
#define RW 1
#endif
#ifndef RE
#define RE 2
#endif
#ifndef NE
#define NE 1
#endif
#ifndef MAXC
#define MAXC 1
#endif
#define FREE 0
#define CLAIMED 1
#define VALID 2
#define EVICTING 3

byte st = VALID, own, gen;         /* frame word */
byte page = 1;
bool x;                            /* latch word: X by W, version */
byte version;
bool sticky[2];
byte hold[2];                      /* of R and W: 0 none, 1 pin, 2 pin and S */
bool dead[2], e_dead[2];
byte deaths;
byte a, b;                         /* bytes: equal unless W has X */
bool dirty;
bool shadow;                       /* W's entry names a shadow: the page may be changed */
byte disk, committed;              /* of page 1; page 2 is never changed */
#define BIT(s)    (GROUP -> 0 : s)
#define THERE     (st == VALID || st == EVICTING)
#define PINNED(g, p) assert(gen == g && page == p && THERE)
#define RELEASE   x = 0; shadow = 0; version = (MUT == 4 -> version : (version + 1) % 4)
#define DIE(s)    if :: deaths < MAXC -> deaths++; dead[s] = 1; goto out :: true fi
#define EDIE      if :: deaths < MAXC -> deaths++; e_dead[i] = 1; goto out :: true fi
#if MUT == 11
#define MINE (st == EVICTING)                        /* no owner in the word */
#else
#define MINE (st == EVICTING && own == i)
#endif

/* The second look at the frame word; an EVICTING is taken back. */
inline look_again(s, p) {
    atomic {
        if
        :: (MUT == 6 || gen == g) && page == p && st == VALID
        :: (MUT == 6 || gen == g) && page == p && st == EVICTING -> st = VALID; own = 0
        :: else -> goto unpin                        /* MUT 6: the generation may be another */
        fi;
        DIE(s)
    }
    PINNED(g, p)
}

proctype R()
{
    byte rounds = RR, g, p, v;
    do
    :: rounds > 0 ->
        rounds--;
        atomic { if :: THERE -> g = gen; p = page :: else -> goto next fi }
#if BOTH
        atomic { if :: !x -> v = version :: else -> goto next fi }
        atomic { hold[0] = 2; DIE(0) }
#else
        atomic { hold[0] = 1; DIE(0) }
        look_again(0, p);
latch:
        atomic { !x -> v = version; DIE(0) }
        atomic { hold[0] = 2; DIE(0) }
#endif
mark:
#if MUT != 2
        if                                           /* MUT 2: who may hold S does not show */
        :: sticky[BIT(0)] -> skip
        :: else -> atomic { sticky[BIT(0)] = 1; DIE(0) }
        fi;
#endif
#if BOTH
        look_again(0, p);
#endif
        atomic { if :: !x && version == v || MUT == 9 -> DIE(0) :: else -> goto retract fi }
        atomic { assert(a == b); PINNED(g, p); DIE(0) }              /* S; MUT 9: not asked again */
        atomic { assert(a == b); PINNED(g, p) }
        goto unpin;
retract:
        hold[0] = 1;                                 /* keeps the pin, waits until X has gone */
#if BOTH
        atomic { !x -> PINNED(g, p); v = version; DIE(0) }
        atomic { hold[0] = 2; DIE(0); goto mark }
#else
        goto latch;
#endif
unpin:
        hold[0] = 0;
next:
        atomic { g = 0; p = 0; v = 0 }
    :: else -> break
    od;
out:
    atomic { g = 0; p = 0; v = 0; rounds = 0 }
}

proctype W()
{
    byte rounds = RW, g;
    do
    :: rounds > 0 ->
        rounds--;
        atomic { if :: THERE && page == 1 -> g = gen :: else -> goto next fi }
#if MUT != 8
        atomic { hold[1] = 1; DIE(1) }               /* MUT 8: latched without a pin */
#endif
#if !QUICK_X
        look_again(1, 1);
#endif
        atomic { assert(!x); x = 1; DIE(1) }
#if QUICK_X
        atomic {
            if
            :: gen == g && page == 1 && st == VALID
            :: else -> RELEASE; goto unpin           /* EVICTING too: then one after the other */
            fi;
            DIE(1)
        }
#endif
#if MUT != 5
        if                                           /* MUT 5: does not wait for S */
        :: sticky[BIT(0)] -> atomic { hold[0] != 2; DIE(1) }
        :: else
        fi;
#endif
        atomic { sticky[0] = 0; sticky[1] = 0; DIE(1) }
        atomic { shadow = 1; DIE(1) }
        atomic { PINNED(g, 1); a++; DIE(1) }
        atomic { b++; DIE(1) }
#if MUT == 3
        atomic { RELEASE; DIE(1) }                   /* released before it is dirty */
        atomic { committed = a; hold[1] = 0; DIE(1) }
        atomic { dirty = 1; DIE(1) }
#else
        atomic { PINNED(g, 1); committed = a; DIE(1) }
        atomic { dirty = 1; DIE(1) }
        atomic { RELEASE; DIE(1) }
#endif
unpin:
        hold[1] = 0;
next:
        g = 0
    :: else -> break
    od;
out:
    atomic { g = 0; rounds = 0 }
}

proctype E(byte i)
{
    byte rounds = RE;
    bool busy, seen;
    do
    :: rounds > 0 ->
        rounds--;
#if MUT == 10
        seen = dirty;                                /* before it is known who holds the page */
#endif
        atomic {
            if
            :: st == VALID -> st = EVICTING; own = i
            :: st == EVICTING && own != i -> st = VALID; own = 0; goto next  /* any hand may */
            :: else -> goto next
            fi;
            EDIE
        }
        atomic { busy = hold[0] != 0; EDIE }
        atomic { busy = busy || hold[1] != 0; EDIE }
#if MUT != 10
        seen = dirty;
#endif
        if
        :: busy && MUT != 1 || seen ->               /* MUT 1: does not ask for holds */
            atomic { if :: MINE -> st = VALID; own = 0 :: else fi }
            atomic {                                 /* a cleaner, all in one step */
                if
                :: dirty && !x && !hold[1] -> assert(page == 1 && a == b); disk = a; dirty = 0
                :: else
                fi;
                goto next
            }
        :: else
        fi;
        atomic {
            if
            :: MINE -> st = FREE; own = 0; gen++; assert(!dirty)
            :: else -> goto next
            fi;
            EDIE
        }
        atomic { if :: st == FREE -> st = CLAIMED; own = i :: else -> goto next fi; EDIE }
        atomic { sticky[0] = 0; sticky[1] = 0; EDIE }
        atomic { version = (version + 1) % 4; EDIE }
        atomic {
            page = 3 - page;
            if
            :: page == 1 -> a = disk; b = disk; assert(disk == committed)
            :: else -> a = 7; b = 7
            fi;
            EDIE
        }
        atomic { assert(st == CLAIMED); st = VALID; own = 0; EDIE }
next:
        atomic { busy = 0; seen = 0 }
    :: else -> break
    od;
out:
    atomic { busy = 0; seen = 0; rounds = 0 }
}

proctype reaper()
{
    do
    :: atomic { dead[0] && hold[0] -> hold[0] = 0 }
#if MUT == 7
    :: atomic { dead[1] && hold[1] -> hold[1] = 0 }  /* holds before the mini-transaction */
#endif
    :: atomic {
        dead[1] && x ->
        if
        :: shadow ->
            PINNED(gen, 1);
            a = committed; b = committed
        :: else
        fi
    }
        if :: shadow -> dirty = 1 :: else fi;
        atomic { if :: shadow -> PINNED(gen, 1) :: else fi; RELEASE }
    :: atomic { dead[1] && !x && hold[1] -> hold[1] = 0 }
    :: atomic { st == EVICTING && e_dead[own] -> st = VALID; own = 0 }
    :: atomic { st == CLAIMED && e_dead[own] -> st = FREE; own = 0; gen++ }
    :: timeout ->
        assert(!x && !hold[0] && !hold[1] && a == b && (st == FREE || st == VALID));
        break
    od
}

init
{
    atomic {
        run R();
        run W();
        run E(0);
        if :: NE == 2 -> run E(1) :: else fi;
        run reaper()
    }
}
