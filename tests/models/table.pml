/* SPDX-License-Identifier: MIT */
/* Pages are entered into the table under their homes' locks, looked up without, and the `more` bit
 * is set and cleared.
 *
 * Two buckets of one word; bucket 0 is the home of pages 0 and 2, bucket 1 of page 1; what does not
 * fit stands in the other bucket, and then the home's word says `more`, whose word it is or was. So
 * an entry of one home may stand in the word that carries the bit of the other. The sessions 0 and
 * 1 load pages (LOAD0 and LOAD1 times), session 2 tidies a home (TIDY times), as the writer does; V
 * evicts (EVICT times), in one step: how that may fail is another model. L looks pages up (LOOK
 * times). Up to MAXC of the sessions die at any step, and a reaper cleans up.
 *
 * Holds: never two frames valid for one page; a page that is there all the time of a lookup is
 * found; in the end every valid frame is found, and no lock is left. */
#ifndef MUT
#define MUT 0
#endif
#ifndef LOAD0
#define LOAD0 2
#endif
#ifndef LOAD1
#define LOAD1 1
#endif
#ifndef TIDY
#define TIDY 1
#endif
#ifndef EVICT
#define EVICT 1
#endif
#ifndef LOOK
#define LOOK 1
#endif
#ifndef MAXC
#define MAXC 1
#endif
#define FRAMES 3
#define FREE 0
#define CLAIMED 1
#define VALID 2
#define NONE 7

byte st[FRAMES], own[FRAMES], gen[FRAMES]; /* frame words */
byte page[FRAMES];
byte tf[2], tg[2];                 /* table words: frame, generation, */
bool more[2];                      /* and the bit, which is the home's */
byte lock[2];                      /* home locks: slot + 1 */
byte claim[3], home[3];            /* slots; home: bucket + 1 */
bool dead[3];
byte deaths;
byte left[3];                      /* how often each page has left */

#define DIE(s)   if :: deaths < MAXC -> deaths++; dead[s] = 1; goto out :: true fi
#define STEP(x)  atomic { x; DIE(s) }
#define HOME(p)  (p & 1)
#define TO_FREE(f) st[f] = FREE; own[f] = 0; gen[f] = (gen[f] + 1) % 8
#define SAME(f, g) (f != NONE && gen[f] == g && st[f] != FREE)
#define IS_VALID(f, p) (st[f] == VALID && page[f] == p)
#define THERE(p) (IS_VALID(0, p) || IS_VALID(1, p) || IS_VALID(2, p))
#define TWICE(a, b) (st[a] == VALID && st[b] == VALID && page[a] == page[b])
#define ONE_EACH assert(!TWICE(0, 1) && !TWICE(0, 2) && !TWICE(1, 2))
#if MUT == 10
#define LIVE(f, g) (SAME(f, g) && st[f] == VALID)    /* one that is being read is not */
#else
#define LIVE(f, g) SAME(f, g)
#endif

/* The word of bucket i: is its entry that of page p? Else f == NONE. */
inline look_at(i) {
    atomic { f = tf[i]; g = tg[i] }
    atomic { if :: SAME(f, g) :: else -> f = NONE fi }
    atomic { if :: f != NONE && page[f] != p -> f = NONE :: else fi }
}

inline search() {
    beyond = more[HOME(p)];
    look_at(HOME(p));
    if
    :: f == NONE && beyond -> look_at(1 - HOME(p))
    :: else
    fi;
    beyond = 0
}

inline lock_home(h) {
#if MUT == 8
    STEP(lock[h] == 0 -> lock[h] = s + 1);           /* announced after it is taken */
    STEP(home[s] = h + 1)
#else
    STEP(home[s] = h + 1);
    STEP(lock[h] == 0 -> lock[h] = s + 1)
#endif
}

inline unlock_home(h) {
    STEP(lock[h] = 0);
    STEP(home[s] = 0)
}

/* A loop in the library: what it saw is compared, so another home's entry is not lost. */
inline set_more(h) {
    do
    :: atomic { e_f = tf[h]; e_g = tg[h]; e_more = more[h] }
        if
        :: e_more -> break
        :: else ->
            atomic {
                if
                :: tf[h] == e_f && tg[h] == e_g && !more[h] -> more[h] = 1; DIE(s); break
                :: else
                fi
            }
        fi
    od;
    atomic { e_f = 0; e_g = 0; e_more = 0 }
}

/* Enters frame n. f == NONE: done; f == n: no room; else the page stands there already. */
inline insert() {
#if MUT == 6
    f = NONE;                                        /* not looked again inside */
#else
    search();
#endif
    i = HOME(p);
    do
    :: f != NONE -> break
    :: else ->
        atomic { f = tf[i]; g = tg[i]; seen_more = more[i] }
        atomic {
            if
            :: !LIVE(f, g) -> skip
            :: LIVE(f, g) && i == HOME(p) -> i = 1 - i; f = NONE; goto again
            :: LIVE(f, g) && i != HOME(p) -> f = n; break
            fi
        }
#if MUT != 1
        if :: i != HOME(p) -> set_more(HOME(p)) :: else fi;
#endif
        atomic {
            if
            :: MUT == 9 || (tf[i] == f && tg[i] == g && more[i] == seen_more) ->
                tf[i] = n; tg[i] = gen[n];           /* MUT 9: by a store */
                if :: MUT == 4 -> more[i] = 0 :: else fi;
                f = NONE; DIE(s); goto entered       /* MUT 4: the bit is not kept */
            :: else -> f = NONE
            fi
        }
again:
        skip
    od;
entered:
    atomic { g = 0; seen_more = 0 }
}

proctype session(byte s; byte rounds)
{
    byte p, f = NONE, g, n, i, e_f, e_g;
    bool beyond, seen_more, e_more;
    do
    :: rounds > 0 ->
        rounds--;
        if :: p = 0 :: p = 1 :: p = 2 fi;
        search();
        if
        :: f != NONE -> goto next
        :: f == NONE && st[0] == FREE -> n = 0
        :: f == NONE && st[1] == FREE -> n = 1
        :: f == NONE && st[2] == FREE -> n = 2
        :: else -> goto next
        fi;
        STEP(claim[s] = n);
        atomic {
            if
            :: st[n] == FREE -> st[n] = CLAIMED; own[n] = s
            :: else -> claim[s] = NONE; goto next
            fi;
            DIE(s)
        }
#if MUT != 13
        STEP(page[n] = p);                           /* MUT 13: after the entry */
#endif
#if MUT != 5
        lock_home(HOME(p));                          /* MUT 5: without the lock */
#endif
        insert();
#if MUT != 5
        unlock_home(HOME(p));
#endif
#if MUT == 1
        if :: f == NONE && i != HOME(p) -> set_more(HOME(p)) :: else fi;
#endif
        i = 0;                                       /* MUT 1: after the lock is free */
#if MUT == 13
        STEP(page[n] = p);
#endif
        atomic {
            assert(st[n] == CLAIMED && own[n] == s);
            if
            :: f == NONE -> st[n] = VALID; own[n] = 0; ONE_EACH
            :: else -> TO_FREE(n)
            fi;
            DIE(s)
        }
        STEP(claim[s] = NONE);
next:
        atomic { p = 0; f = NONE; g = 0; n = 0 }
    :: else -> break
    od;
out:
    atomic {
        p = 0; f = NONE; g = 0; n = 0; i = 0; e_f = 0; e_g = 0; beyond = 0; seen_more = 0;
        e_more = 0; rounds = 0
    }
}

/* Clears the bit of a home if no live entry of that home stands beyond it. */
proctype tidier(byte s; byte rounds)
{
    byte h, f = NONE, g, b_f, b_g;
    bool needed;
    do
    :: rounds > 0 ->
        rounds--;
        if :: more[0] -> h = 0 :: more[1] -> h = 1 :: !more[0] && !more[1] -> goto next fi;
#if MUT != 2
        STEP(home[s] = h + 1);                       /* MUT 2: without the lock */
        atomic { if :: lock[h] == 0 -> lock[h] = s + 1; DIE(s) :: else -> goto passed fi }
#endif
        atomic { if :: more[h] -> f = tf[h]; g = tg[h] :: else -> goto unlock fi }
        atomic { b_f = tf[1 - h]; b_g = tg[1 - h] }
        needed = SAME(b_f, b_g);
#if MUT == 11
        needed = needed && st[b_f] == VALID;         /* one that is being read does not count */
#endif
        if :: needed -> needed = (HOME(page[b_f]) == h) :: else fi;
        if
        :: needed && MUT != 12                       /* MUT 12: whatever stands beyond */
        :: else ->
            atomic {
                if
                :: MUT == 3 -> tf[h] = f; tg[h] = g; more[h] = 0         /* by a store */
                :: MUT != 3 && tf[h] == f && tg[h] == g && more[h] -> more[h] = 0
                :: else
                fi;
                DIE(s)
            }
        fi;
unlock:
#if MUT != 2
        STEP(lock[h] = 0);
#endif
passed:
        STEP(home[s] = 0);
next:
        atomic { h = 0; f = NONE; g = 0; b_f = 0; b_g = 0; needed = 0 }
    :: else -> break
    od;
out:
    atomic { h = 0; f = NONE; g = 0; b_f = 0; b_g = 0; needed = 0; rounds = 0 }
}

proctype V()
{
    byte rounds = EVICT, f;
    do
    :: rounds > 0 ->
        rounds--;
end:
        atomic {
            if
            :: st[0] == VALID -> f = 0
            :: st[1] == VALID -> f = 1
            :: st[2] == VALID -> f = 2
            fi;
            left[page[f]]++;
            TO_FREE(f);
            f = 0
        }
    :: else -> break
    od
}

proctype L()
{
    byte rounds = LOOK, p, f = NONE, g, before;
    bool beyond;
    do
    :: rounds > 0 ->
        rounds--;
end:
        atomic {                                     /* looks for a page that is there */
            if
            :: THERE(0) -> p = 0
            :: THERE(1) -> p = 1
            :: THERE(2) -> p = 2
            fi;
            before = left[p]
        }
        search();
        atomic {
            assert(f != NONE || before != left[p]);
            p = 0; f = NONE; g = 0; before = 0
        }
    :: else -> break
    od
}

#define ANNOUNCED(x) (dead[x] && (claim[x] != NONE || home[x] != 0))
#define FOUND(f) (tf[HOME(page[f])] == f && tg[HOME(page[f])] == gen[f] || \
                  more[HOME(page[f])] && tf[1 - HOME(page[f])] == f && \
                  tg[1 - HOME(page[f])] == gen[f])

proctype reaper()
{
    byte x, f;
    do
    :: atomic {
        ANNOUNCED(0) || ANNOUNCED(1) || ANNOUNCED(2) ->
        if :: ANNOUNCED(0) -> x = 0 :: ANNOUNCED(1) -> x = 1 :: ANNOUNCED(2) -> x = 2 fi
    }
        if
        :: claim[x] != NONE ->
            f = claim[x];
            atomic { if :: st[f] == CLAIMED && own[f] == x -> TO_FREE(f) :: else fi; f = 0 }
            claim[x] = NONE
        :: else
        fi;
        if
        :: home[x] != 0 ->
            atomic {
                if
                :: lock[home[x] - 1] == x + 1 || MUT == 7 -> lock[home[x] - 1] = 0
                :: else                              /* MUT 7: whoever has it */
                fi
            }
            home[x] = 0
        :: else
        fi;
        x = 0
    :: timeout ->
        f = 0;
        do
        :: f < FRAMES -> assert(st[f] == FREE || st[f] == VALID && FOUND(f)); f++
        :: else -> break
        od;
        assert(lock[0] == 0 && lock[1] == 0 && home[0] == 0 && home[1] == 0 && home[2] == 0);
        break
    od
}

init
{
    atomic {
        claim[0] = NONE; claim[1] = NONE; claim[2] = NONE;
        tf[0] = NONE; tf[1] = NONE; page[0] = 3; page[1] = 3; page[2] = 3;
        run session(0, LOAD0);
        if :: LOAD1 -> run session(1, LOAD1) :: else fi;
        if :: TIDY -> run tidier(2, TIDY) :: else fi;
        if :: EVICT -> run V() :: else fi;
        if :: LOOK -> run L() :: else fi;
        run reaper()
    }
}
