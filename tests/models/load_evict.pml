/* SPDX-License-Identifier: MIT */
/* A page is found, loaded, joined, read ahead and evicted through the page table.
 *
 * Two pages, two frames, a table of two words. A page's home is one word; if that is taken, its
 * entry stands in the other one, and the home's `more` bit says so. HOMES=1: word 0 is the home of
 * both pages; HOMES=2: each page has its own. Sessions 0 and 1 fetch pages (FETCH0 and FETCH1
 * times), change them and write them; session 2 reads ahead (AHEAD times), E evicts, T clears the
 * `more` bit (TIDY times) as the writer does. All but T have the slot of their number, E is 3. Up
 * to MAXC of them die at any step, and the first reaper too; the second one finishes.
 *
 * Holds: never two frames valid for one page; who has pinned a page sees its newest bytes; in the
 * end every frame is FREE, or VALID and found, and nothing is announced, held or locked. */
#ifndef MUT
#define MUT 0
#endif
#ifndef HOMES
#define HOMES 1
#endif
#ifndef FETCH0
#define FETCH0 2
#endif
#ifndef FETCH1
#define FETCH1 1
#endif
#ifndef AHEAD
#define AHEAD 0
#endif
#ifndef TIDY
#define TIDY 0
#endif
#ifndef EVICT
#define EVICT 1
#endif
#ifndef MAXC
#define MAXC 1
#endif
#ifndef EIO
#define EIO 0                      /* reads may fail */
#endif
#ifndef NP
#define NP 2
#endif
#define FREE 0
#define CLAIMED 1
#define VALID 2
#define EVICTING 3
#define NONE 7
#define E_SLOT 3

byte st[2], own[2], gen[2];        /* frame words */
bool revocable[2];
byte page[2];                      /* descriptors: page id */
byte bytes[2];                     /* 4 * page + version */
byte disk[2];                      /* newest version of each page, written at once */
byte tf[2], tg[2];                 /* table words: frame, generation, and the home's bit */
bool more[2];
byte lock[2];                      /* home locks: slot + 1 */
byte hold[4], claim[4], home[4];   /* slots; home: number + 1 of the lock taken or about to be */
bool dead[4];
byte deaths, reaping;

#define DIE(s)   if :: deaths < MAXC -> deaths++; dead[s] = 1; goto out :: true fi
#define STEP(x)  atomic { x; DIE(s) }
#define HOME(p)  (HOMES == 2 -> p : 0)
#define UNOWNED(f) st[f] = FREE; own[f] = 0; revocable[f] = 0
#define TO_FREE(f) UNOWNED(f); gen[f] = (gen[f] + 1) % 8
#define THERE(f)  (st[f] == VALID || st[f] == EVICTING)
#if MUT == 7
#define GONE(f)   (st[f] == FREE || st[f] == EVICTING)           /* "it is on its way out" */
#else
#define GONE(f)   (st[f] == FREE)
#endif
#define LIVE(f, g) (f != NONE && gen[f] == g && !GONE(f))
#define ONE_EACH  assert(!(THERE(0) && THERE(1) && page[0] == page[1]))
#define NEWEST(f) (4 * page[f] + disk[page[f]])

/* Is the entry in word i that of page p? Then f, g and the state it saw, else f == NONE. */
inline look_at(i) {
    atomic {
        if
        :: LIVE(f, g) && page[f] == p -> state = st[f]; taken_away = revocable[f]
        :: else -> f = NONE
        fi
    }
}

inline search() {
    atomic { f = tf[HOME(p)]; g = tg[HOME(p)]; beyond = more[HOME(p)] }
    look_at(HOME(p));
    if
    :: f == NONE && beyond ->
        atomic { f = tf[1 - HOME(p)]; g = tg[1 - HOME(p)]; beyond = 0 }
        look_at(1 - HOME(p))
    :: else -> beyond = 0
    fi
}

inline lock_home() {
#if MUT == 3
    STEP(lock[HOME(p)] == 0 -> lock[HOME(p)] = s + 1);           /* announced after it is taken */
    STEP(home[s] = HOME(p) + 1)
#else
    STEP(home[s] = HOME(p) + 1);
    STEP(lock[HOME(p)] == 0 -> lock[HOME(p)] = s + 1)
#endif
}

inline unlock_home() {
    STEP(lock[HOME(p)] = 0);
    STEP(home[s] = 0)
}

/* Enters frame n for page p; f == NONE: done; else the page stands there already. */
inline enter() {
    STEP(page[n] = p);
#if MUT != 4
    lock_home();                                                 /* MUT 4: without the lock */
#endif
#if MUT == 5
    f = NONE;                                                    /* not looked again inside */
#else
    search();
#endif
    do
    :: f != NONE -> break
    :: else ->
        atomic { f = tf[HOME(p)]; g = tg[HOME(p)]; i = HOME(p) }
        if
        :: !LIVE(f, g) -> skip
        :: else ->
            i = 1 - HOME(p);
#if MUT != 6
            STEP(more[HOME(p)] = 1);
#endif
            atomic { f = tf[i]; g = tg[i] }
            if :: !LIVE(f, g) -> skip :: else -> f = NONE; goto again fi
        fi;
        atomic {
            if
            :: tf[i] == f && tg[i] == g ->
                tf[i] = n; tg[i] = gen[n]; f = NONE; g = 0; DIE(s); break
            :: else -> f = NONE
            fi
        }
again:
        skip
    od;
#if MUT != 4
    unlock_home();
#endif
#if MUT == 6
    STEP(more[HOME(p)] = more[HOME(p)] || i != HOME(p));         /* after the lock is free */
#endif
    i = 0
}

proctype session(byte s; byte rounds)
{
    byte p, f = NONE, g, n, i, state, buffer;
    bool beyond, taken_away;
    do
    :: rounds > 0 ->
        rounds--;
        if :: p = 0 :: NP == 2 -> p = 1 fi;
look:
        search();
        if
        :: f == NONE -> goto load
        :: f != NONE && s == 2 -> goto next                      /* it is there: nothing to do */
        :: f != NONE && s != 2 && state == VALID ->
            STEP(hold[s] = f);
            atomic {
                if
                :: gen[f] == g && st[f] == VALID -> DIE(s); goto use
                :: else -> hold[s] = NONE; goto look
                fi
            }
        :: f != NONE && s != 2 && state == EVICTING ->
            STEP(hold[s] = f);
            atomic {
                if
                :: gen[f] == g && st[f] == EVICTING -> st[f] = VALID; own[f] = 0; DIE(s); goto use
                :: else -> hold[s] = NONE; goto look
                fi
            }
        :: f != NONE && s != 2 && state == CLAIMED && taken_away ->
            atomic {
                if
                :: gen[f] == g && st[f] == CLAIMED && revocable[f] -> TO_FREE(f)
                :: else
                fi;
                DIE(s); goto look
            }
        :: f != NONE && s != 2 && state == CLAIMED && !taken_away ->
            atomic { !(st[f] == CLAIMED && gen[f] == g && !revocable[f]) -> goto look }
        fi;
load:
#if MUT == 8
        buffer = 4 * p + disk[p];                                /* read before the entry is in */
#endif
        if :: st[0] == FREE -> n = 0 :: st[1] == FREE -> n = 1 :: else -> goto next fi;
#if MUT != 9
        STEP(claim[s] = n);                                      /* MUT 9: announced after */
#endif
        atomic {
            if
            :: st[n] == FREE -> st[n] = CLAIMED; own[n] = s; bytes[n] = 31
            :: else -> claim[s] = NONE; goto next
            fi;
            DIE(s); claim[s] = n
        }
#if MUT == 10
        STEP(revocable[n] = (s == 2));                           /* before the entry is in */
#endif
        if
        :: s != 2 -> hold[s] = n
        :: else
        fi;
#if MUT == 11
        STEP(bytes[n] = 4 * p + disk[p]);                        /* valid before it is entered */
        atomic { st[n] = VALID; own[n] = 0; ONE_EACH }
#endif
        enter();
        if
        :: f != NONE ->
            hold[s] = NONE;
            atomic { if :: own[n] == s && st[n] == CLAIMED -> TO_FREE(n) :: else fi; DIE(s) }
            atomic { claim[s] = NONE; if :: s == 2 -> goto next :: else -> goto look fi }
        :: else
        fi;
        g = gen[n];
        if
        :: s == 2 ->
#if MUT != 10
            STEP(revocable[n] = 1);
#endif
#if MUT != 8
            buffer = 4 * p + disk[p];
#endif
#if MUT == 12
            STEP(bytes[n] = buffer);                             /* while it may be taken away */
#endif
            atomic {
                if
                :: gen[n] == g && st[n] == CLAIMED && own[n] == s -> revocable[n] = 0
                :: MUT == 2 && !(gen[n] == g && st[n] == CLAIMED && own[n] == s)
                :: else -> claim[s] = NONE; goto next
                fi;
                DIE(s)
            }
#if MUT != 12
            STEP(bytes[n] = buffer)
#endif
        :: s != 2 && MUT == 8 -> STEP(bytes[n] = buffer)
        :: s != 2 && MUT != 8 -> STEP(bytes[n] = 4 * p + disk[p])
        :: s != 2 && EIO ->
            hold[s] = NONE;
            STEP(TO_FREE(n));
            claim[s] = NONE;
            goto next
        fi;
        atomic {
            assert(MUT == 11 || MUT == 2 || st[n] == CLAIMED && own[n] == s && !revocable[n]);
            st[n] = VALID; own[n] = 0; f = n; ONE_EACH; DIE(s)
        }
        STEP(claim[s] = NONE);
        if :: s == 2 -> goto next :: else fi;
use:
        atomic { assert(THERE(f) && page[f] == p && bytes[f] == NEWEST(f)); DIE(s) }
        atomic {
            assert(THERE(f) && page[f] == p && bytes[f] == NEWEST(f));
            if :: disk[p] == 0 -> disk[p]++; bytes[f] = NEWEST(f) :: else fi;
            hold[s] = NONE
        }
next:
        atomic { p = 0; f = NONE; g = 0; n = 0; state = 0; buffer = 0; taken_away = 0 }
    :: else -> break
    od;
out:
    atomic {
        p = 0; f = NONE; g = 0; n = 0; i = 0; state = 0; buffer = 0; beyond = 0; taken_away = 0;
        rounds = 0
    }
}

proctype E()
{
    byte s = E_SLOT, rounds = EVICT, f, g;
    bool busy;
    do
    :: rounds > 0 ->
        rounds--;
end:
        if
        :: st[0] == VALID || revocable[0] -> f = 0
        :: st[1] == VALID || revocable[1] -> f = 1
        fi;
        STEP(claim[s] = f);
        atomic {
            g = gen[f];
            if
            :: st[f] == VALID -> st[f] = EVICTING; own[f] = s
            :: st[f] == CLAIMED && revocable[f] -> TO_FREE(f); goto next
            :: else -> goto next
            fi;
            DIE(s)
        }
        busy = hold[0] == f;
        busy = busy || hold[1] == f;
        if
        :: busy ->
            atomic { if :: st[f] == EVICTING -> st[f] = VALID; own[f] = 0 :: else fi }
        :: else ->
#if MUT == 13
            STEP(tf[HOME(page[f])] = NONE);                      /* entry before the last CAS */
#endif
            atomic {
                if
                :: st[f] == EVICTING && gen[f] == g && MUT != 1 -> TO_FREE(f)
                :: st[f] == EVICTING && gen[f] == g && MUT == 1 -> UNOWNED(f)
                :: else                                          /* MUT 1: same generation */
                fi;
                DIE(s)
            }
        fi;
next:
        atomic { claim[s] = NONE; f = 0; g = 0; busy = 0 }
    :: else -> break
    od;
out:
    atomic { f = 0; g = 0; busy = 0; rounds = 0 }
}

/* Clears the bit of home 0 if no live entry of that home stands beyond it. Never dies. */
proctype T()
{
    byte rounds = TIDY, f, g;
    do
    :: rounds > 0 ->
        rounds--;
#if MUT != 14
        atomic { lock[0] == 0 -> lock[0] = 5 }                   /* MUT 14: without the lock */
#endif
        if
        :: more[0] ->
            atomic { f = tf[1]; g = tg[1] }
            if
            :: LIVE(f, g) && HOME(page[f]) == 0 -> skip
            :: else -> more[0] = 0
            fi
        :: else
        fi;
#if MUT != 14
        lock[0] = 0;
#endif
        atomic { f = 0; g = 0 }
    :: else -> break
    od;
    rounds = 0
}

#define RDIE      if :: me == 1 && deaths < MAXC -> deaths++; reaping = 0; goto out :: true fi
#define RSTEP(x)  atomic { x; RDIE }
#define ANNOUNCED(x) (dead[x] && (hold[x] != NONE || claim[x] != NONE || home[x] != 0))

proctype reaper(byte me)
{
    byte x, f;
    do
    :: atomic {
        reaping == 0 && (ANNOUNCED(0) || ANNOUNCED(1) || ANNOUNCED(2) || ANNOUNCED(3)) ->
        if :: ANNOUNCED(0) -> x = 0 :: ANNOUNCED(1) -> x = 1 :: ANNOUNCED(2) -> x = 2
           :: ANNOUNCED(3) -> x = 3
        fi;
        reaping = me
    }
        if
        :: claim[x] != NONE ->
            f = claim[x];
            atomic {
                if
                :: st[f] == CLAIMED && own[f] == x -> TO_FREE(f)
                :: st[f] == EVICTING && own[f] == x -> st[f] = VALID; own[f] = 0
                :: else
                fi;
                f = 0; RDIE
            }
            RSTEP(claim[x] = NONE)
        :: else
        fi;
        if
        :: home[x] != 0 ->
            atomic {
                if
                :: lock[home[x] - 1] == x + 1 || MUT == 15 -> lock[home[x] - 1] = 0
                :: else                                          /* MUT 15: whoever has it */
                fi;
                RDIE
            }
            RSTEP(home[x] = 0)
        :: else
        fi;
        RSTEP(hold[x] = NONE);
        atomic { reaping = 0; x = 0 }
    :: timeout ->
        f = 0;
        do
        :: f < 2 ->
            assert(st[f] == FREE || st[f] == VALID && bytes[f] == NEWEST(f));
            assert(st[f] == FREE ||
                   tf[HOME(page[f])] == f && tg[HOME(page[f])] == gen[f] ||
                   more[HOME(page[f])] && tf[1 - HOME(page[f])] == f &&
                   tg[1 - HOME(page[f])] == gen[f]);
            assert(lock[f] == 0);
            f++
        :: else -> break
        od;
        f = 0;
        do
        :: f < 4 -> assert(hold[f] == NONE && claim[f] == NONE && home[f] == 0); f++
        :: else -> break
        od;
        break
    od;
out:
    atomic { x = 0; f = 0 }
}

init
{
    byte z;
    atomic {
        do
        :: z < 4 -> hold[z] = NONE; claim[z] = NONE; z++
        :: else -> break
        od;
        tf[0] = NONE; tf[1] = NONE; page[0] = 3; page[1] = 3; z = 0;
        if :: FETCH0 -> run session(0, FETCH0) :: else fi;
        if :: FETCH1 -> run session(1, FETCH1) :: else fi;
        if :: AHEAD -> run session(2, AHEAD) :: else fi;
        if :: TIDY -> run T() :: else fi;
        run E();
        run reaper(1);
        run reaper(2)
    }
}
