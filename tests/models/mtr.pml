/* SPDX-License-Identifier: MIT */
/* A mini-transaction and what becomes of it when its session dies at any step. The first reaper
 * may die at any step too; the second one finishes.
 *
 * M changes pages 0 and 1 (in frames 0 and 1), or what a variant says, and commits or aborts. N
 * changes page 0 between. O reads both optimistically. T takes FREE frames of the pool, scribbles
 * over them and gives them back. Q looks for the NEW page.
 *
 * Variants: EARLY: a page that is only locked is released early and taken again. RANGES: page 0
 * alone, by declared ranges that overlap, which may turn to whole. NEW: page 0, and page 2 that is
 * NEW and not cached.
 *
 * A page's byte is m + 16 * n: changes by M, changes by N. Holds: who reads consistently sees the
 * same m everywhere; in the end m is what M has committed, n what N has, everything committed is
 * dirty, every latch free, and every frame that M had claimed is FREE or its committed NEW page. */
#ifndef MUT
#define MUT 0
#endif
#ifndef NM
#define NM 1                       /* mini-transactions of M */
#endif
#ifndef NN
#define NN 1
#endif
#define NONE 9
#define FREE 0                     /* frame words; nobody but M and T claims */
#define CLAIMED 1                  /* by M */
#define VALID 2
#define THEIRS 3                   /* CLAIMED by T */
#define NIL 0                      /* mtr words */
#define ACTIVE 1
#define COMMITTED 2
#define POOL 2                     /* frames 2 and 3 */
#define FRAMES 4

byte st[FRAMES], gen[FRAMES], page[FRAMES];
byte a[FRAMES], b[FRAMES];         /* a page's bytes, or a whole shadow's; b only with RANGES */
byte lx[2], ver[2];                /* latches: 0 nobody, 1 M, 2 N; versions */
bool dirty[FRAMES];
byte table = NONE, table_gen;      /* table entry of page 2 */

/* A shadow of ranges: the first covers byte a, the second both. */
byte count[FRAMES], old1a[FRAMES], old2a[FRAMES], old2b[FRAMES];

/* M's slot. The mtr word is {ms, mc}; an entry is one word {ep, es, er}. */
byte ms, mc;
byte ep[3], es[3];                 /* frame, shadow */
bool er[3];                        /* the shadow has ranges */
byte claim[2];                     /* announced frames: shadows, NEW pages */
bool live = 1;                     /* slot state */
bool m_dead, m_done;
byte reaping;                      /* the slot's claim byte: which reaper has it */
byte committed, committed_n;

#define DIE       if :: m_dead = 1; goto out :: true fi
#define STEP(x)   atomic { x; DIE }
#define LATER(v)  v = (v + 1) % 8
#ifdef NEW
#define TO_FREE(f) st[f] = FREE; gen[f] = (gen[f] + 1) % 4
#else
#define TO_FREE(f) st[f] = FREE
#endif
#define IS_LIVE (table != NONE && gen[table] == table_gen && st[table] != FREE && page[table] == 2)

inline claim_frame(i) {
    do
    :: claim[i] != NONE -> break
    :: else ->
        if :: st[2] == FREE -> n = 2 :: st[3] == FREE -> n = 3 fi;
#if MUT != 1
        STEP(claim[i] = n);                          /* MUT 1: not announced before */
#endif
        atomic {
            if
            :: st[n] == FREE -> st[n] = CLAIMED; if :: MUT == 1 -> DIE :: else fi; claim[i] = n
            :: else -> claim[i] = NONE
            fi;
            n = 0; DIE
        }
    od
}

inline unclaim(i) {
    STEP(TO_FREE(claim[i]));
    STEP(claim[i] = NONE)
}

inline announce(j, f) {
#if MUT == 2
    STEP(ep[j] = f);                                 /* two words, and an old shadow stands there */
#else
    STEP(ep[j] = f; es[j] = NONE; er[j] = 0);
#endif
    if
    :: mc <= j -> STEP(ms = ACTIVE; mc = j + 1)
    :: else
    fi
}

inline lock(j, f) {
#if MUT != 3
    announce(j, f);
#endif
    STEP(lx[f] == 0 -> lx[f] = 1)                    /* who shares it is another model's */
}

inline shadow_whole(j, s) {
#if MUT == 4
    STEP(a[p] = a[p] + 1);                           /* handed out before the shadow is named */
#endif
    STEP(a[s] = a[p]);
#if MUT == 3
    STEP(ep[j] = p; es[j] = s; er[j] = 0);           /* MUT 3: announced after latch and copy */
    STEP(ms = ACTIVE; mc = j + 1);
#endif
    STEP(es[j] = s);
#if MUT != 4
    STEP(a[p] = a[p] + 1)
#endif
}

inline release_early(j, f) {
#if MUT == 5
    STEP(ep[j] = NONE; es[j] = NONE);                /* entry before latch */
    STEP(lx[f] = 0; LATER(ver[f]))
#elif MUT == 6
    STEP(lx[f] = 0; LATER(ver[f]))                   /* the entry stays */
#else
    STEP(lx[f] = 0; LATER(ver[f]));
    STEP(ep[j] = NONE; es[j] = NONE)
#endif
}

/* Two ranges that overlap, then perhaps the whole page. */
inline write_ranges(j, s, spare) {
    lock(j, 0);
#if MUT != 7
    STEP(count[s] = 0);                              /* MUT 7: whatever stands there */
#endif
    STEP(es[j] = s; er[j] = 1);
#if MUT == 8
    STEP(count[s] = 1);                              /* count before the bytes */
    STEP(old1a[s] = a[0]);
#else
    STEP(old1a[s] = a[0]);
#if MUT != 9
    STEP(count[s] = 1);
#endif
#endif
    STEP(a[0] = a[0] + 5);
#if MUT == 9
    STEP(count[s] = 1);                              /* handed out before the count */
#endif
    if
    :: STEP(old2a[s] = a[0]);
        STEP(old2b[s] = b[0]);
        STEP(count[s] = 2)
    :: true ->
        claim_frame(spare);
        n = claim[spare];
        STEP(a[n] = a[0]; b[n] = b[0]);
#if MUT != 10
        STEP(a[n] = old1a[s]);                       /* MUT 10: not overlaid with old bytes */
#endif
#if MUT == 11
        STEP(es[j] = n);                             /* shadow and its kind in two words */
        STEP(er[j] = 0);
        unclaim(1 - spare);
#elif MUT == 12
        unclaim(1 - spare);                          /* given back while the entry names it */
        STEP(es[j] = n; er[j] = 0);
#else
        STEP(es[j] = n; er[j] = 0);
        unclaim(1 - spare);
#endif
        n = 0
    fi;
    STEP(a[0] = a[0] - 4);
    STEP(b[0] = b[0] + 1)
}

/* Claimed, entered in the table, zeroed; then named in the mini-transaction. No latch. */
inline write_new(j, i) {
    claim_frame(i);
    STEP(page[claim[i]] = 2);
    STEP(table = claim[i]; table_gen = gen[claim[i]]);
    STEP(a[claim[i]] = 0);
#if MUT == 13
    STEP(st[claim[i]] = VALID);                      /* VALID before the commit point */
#endif
#if MUT != 14
    announce(j, claim[i]);                           /* MUT 14: "it is announced as a claim" */
#endif
    STEP(a[claim[i]] = 1)
}

/* The steps before the commit point or the abort. */
inline change() {
#ifdef RANGES
    write_ranges(0, claim[0], 1)
#else
#ifdef NEW
    p = 0;
    lock(0, p);
    shadow_whole(0, claim[0]);
    write_new(1, 1)
#else
    p = (k == 1 -> 0 : 1);
#ifdef EARLY
    lock(0, p);
    if
    :: release_early(0, p);
        p = 1 - p;
        lock(MUT == 6, p);
        shadow_whole(MUT == 6, claim[0]);
        p = 1 - p;
        lock(1 + (MUT == 6), p);
        shadow_whole(1 + (MUT == 6), claim[1])
    :: p = 1 - p;
        lock(1, p);
        shadow_whole(1, claim[0]);
        p = 1 - p;
        release_early(0, p);
        lock((MUT == 6 -> 2 : 0), p);
        shadow_whole((MUT == 6 -> 2 : 0), claim[1])
    fi
#else
    lock(0, p);
    shadow_whole(0, claim[0]);
    p = 1 - p;
    lock(1, p);
    shadow_whole(1, claim[1])
#endif
#endif
#endif
}

inline mark_page(f) {
    if
    :: MUT == 15 && f < POOL || MUT == 16 && f >= POOL || MUT == 23 -> skip
    :: else -> STEP(dirty[f] = 1)
    fi
}

inline publish_page(f) {
    if
    :: f >= POOL ->
        if :: MUT == 23 -> STEP(dirty[f] = 1) :: else fi;
        STEP(st[f] = VALID);
        if :: MUT == 16 -> STEP(dirty[f] = 1) :: else fi;  /* VALID before it is dirty */
        STEP(claim[1] = NONE);
        STEP(ep[j] = NONE; es[j] = NONE)
    :: else
    fi
}

inline release_page(f) {
    if :: MUT == 23 -> STEP(dirty[f] = 1) :: else fi;  /* page by page */
    STEP(lx[f] = 0; LATER(ver[f]));
    if :: MUT == 15 -> STEP(dirty[f] = 1) :: else fi   /* released before it is dirty */
}

inline abort_page(f, s) {
    if
    :: f < POOL ->
        if
        :: er[j] ->
            if :: count[s] == 2 -> STEP(a[f] = old2a[s]); STEP(b[f] = old2b[s]) :: else fi;
            if :: count[s] >= 1 -> STEP(a[f] = old1a[s]) :: else fi
        :: else ->
            STEP(a[f] = a[s]);
#ifdef RANGES
            STEP(b[f] = b[s])
#endif
        fi;
#if MUT == 17
        STEP(lx[f] = 0)                              /* same version: "nothing has changed" */
#else
        STEP(lx[f] = 0; LATER(ver[f]))
#endif
    :: else -> unclaim(1)
    fi
}

proctype M()
{
    byte k, j, p, n;
    bool commits;
    do
    :: k < NM ->
        k++;
        claim_frame(0);
#if !defined(RANGES) && !defined(NEW)
        claim_frame(1);
#endif
        STEP(ms = ACTIVE; mc = 0);
        change();
        if :: commits = 1 :: commits = 0 fi;
        if
        :: commits && MUT != 18 -> STEP(ms = COMMITTED; committed++)
        :: else
        fi;
        j = 0;
        do
        :: commits && j < mc -> if :: ep[j] != NONE -> mark_page(ep[j]) :: else fi; j++
        :: else -> break
        od;
#ifdef NEW
        j = 0;
        do
        :: commits && j < mc -> if :: ep[j] != NONE -> publish_page(ep[j]) :: else fi; j++
        :: else -> break
        od;
#endif
        j = 0;
        do
        :: j < mc ->
            if
            :: commits && MUT == 18 && j == 1 -> STEP(ms = COMMITTED; committed++)
            :: else                                  /* MUT 18: after the first release */
            fi;
            if
            :: ep[j] == NONE || MUT == 6 && j == 0 -> skip
            :: else ->
                if
                :: commits -> release_page(ep[j])
                :: else -> abort_page(ep[j], es[j])
                fi;
#if MUT != 2
                STEP(ep[j] = NONE; es[j] = NONE; er[j] = 0)
#endif
            fi;
            j++
        :: else -> break
        od;
        STEP(ms = NIL; mc = 0);
        if                                           /* one shadow is kept for the next */
        :: claim[1] != NONE -> unclaim(1)
        :: else
        fi;
        commits = 0; p = 0
    :: else -> break
    od;
out:
    atomic { k = 0; j = 0; p = 0; n = 0; commits = 0; m_done = 1 }
}

proctype N()
{
    byte k;
    do
    :: k < NN ->
        k++;
        atomic { lx[0] == 0 -> lx[0] = 2 }
        a[0] = a[0] + 16;
#ifdef RANGES
        b[0] = b[0] + 16;
#endif
        atomic { committed_n++; lx[0] = 0; LATER(ver[0]) }
    :: else -> break
    od;
    k = 0
}

/* Page 0 and page 1; with RANGES both bytes of page 0; with NEW page 0 alone. */
#ifdef RANGES
#define SECOND 0
#define OTHER b[0]
#else
#define SECOND 1
#define OTHER a[1]
#endif
proctype O()
{
    byte v, w, x, y;
    atomic { lx[0] == 0 -> v = ver[0] }
    atomic { lx[SECOND] == 0 -> w = ver[SECOND] }
    x = a[0];
    y = OTHER;
    atomic { if :: lx[0] == 0 && ver[0] == v :: else -> goto out fi }
    atomic {
        if
        :: lx[SECOND] == 0 && ver[SECOND] == w -> assert((x & 15) == (y & 15))
        :: else
        fi
    }
out:
    atomic { v = 0; w = 0; x = 0; y = 0 }
}

/* Whoever has seen a change may have all of it made durable: what is dirty is flushed. */
proctype P()
{
    atomic { lx[0] == 0 -> assert((a[0] & 15) == 0 || dirty[SECOND]) }
}

proctype T()
{
    byte n;
    if
    :: st[2] == FREE -> n = 2
    :: st[3] == FREE -> n = 3
    :: m_done -> goto out
    fi;
    atomic { if :: st[n] == FREE -> st[n] = THEIRS :: else -> goto out fi }
    atomic { a[n] = 7; b[n] = 7; count[n] = 2; old1a[n] = 7; old2a[n] = 7; old2b[n] = 7 }
    atomic { TO_FREE(n) }
out:
    n = 0
}

/* Who wants the NEW page: joins, or finds it as it was committed, or not at all. */
proctype Q()
{
    byte f, g;
    do
    :: atomic {
        if
        :: !IS_LIVE -> assert(committed == 0); break
        :: IS_LIVE && st[table] == VALID -> assert(committed == 1 && a[table] == 1 && dirty[0]); break
        :: else -> f = table; g = gen[f]
        fi
    }
        atomic { !(st[f] == CLAIMED && gen[f] == g); f = 0; g = 0 }
    od
}

#define RDIE      if :: me == 1 -> reaping = 0; goto out :: true fi
#define RSTEP(x)  atomic { x; RDIE }

inline clear_claim(i) {
    if
    :: claim[i] != NONE ->
        atomic { if :: st[claim[i]] == CLAIMED -> TO_FREE(claim[i]) :: else fi; RDIE }
        RSTEP(claim[i] = NONE)
    :: else
    fi
}

inline finish_mark(f, s) {
    if
    :: MUT == 24 -> skip
    :: f != NONE && f >= POOL && st[f] == CLAIMED && MUT != 19 -> RSTEP(dirty[f] = 1)
    :: f < POOL && lx[f] == 1 && s != NONE -> RSTEP(dirty[f] = 1)
    :: else
    fi
}

inline finish_new(f) {
    if
    :: f != NONE && f >= POOL && st[f] == CLAIMED ->
        if :: MUT == 24 -> RSTEP(dirty[f] = 1) :: else fi;
        atomic { if :: st[f] == CLAIMED -> st[f] = VALID :: else fi; RDIE }
        if :: MUT == 19 -> RSTEP(dirty[f] = 1) :: else fi      /* VALID before it is dirty */
    :: else
    fi
}

inline restore(f, s) {
    if
    :: er[j] ->
#if MUT == 20
        if :: count[s] >= 1 -> RSTEP(a[f] = old1a[s]) :: else fi;      /* oldest first */
        if :: count[s] == 2 -> RSTEP(a[f] = old2a[s]); RSTEP(b[f] = old2b[s]) :: else fi
#else
        if :: count[s] == 2 -> RSTEP(a[f] = old2a[s]); RSTEP(b[f] = old2b[s]) :: else fi;
        if :: count[s] >= 1 -> RSTEP(a[f] = old1a[s]) :: else fi
#endif
    :: else ->
        RSTEP(a[f] = a[s]);
#ifdef RANGES
        RSTEP(b[f] = b[s])
#endif
    fi
}

inline finish_page(f, s) {
    if
    :: f == NONE -> skip
    :: f != NONE && f >= POOL -> skip
    :: f < POOL && lx[f] != 1 && MUT != 21 -> skip
    :: f < POOL && (lx[f] == 1 || MUT == 21) ->      /* MUT 21: whoever has the latch */
        if
        :: ms == ACTIVE && s != NONE -> restore(f, s)
        :: ms == COMMITTED && s != NONE && MUT == 24 -> RSTEP(dirty[f] = 1)  /* page by page */
        :: else
        fi;
        atomic { if :: lx[f] == 1 -> lx[f] = 0; LATER(ver[f]) :: else fi; RDIE }
    fi
}

proctype reaper(byte me)
{
    byte j;
again:
    atomic {
        m_dead && live && reaping == 0 || timeout;
        if :: m_dead && live && reaping == 0 -> reaping = me :: else -> goto rest fi
    }
#if MUT == 22
    clear_claim(0);                                  /* before the mini-transaction is decided */
    clear_claim(1);
#endif
    if
    :: ms != NIL ->
        j = 0;
        do
        :: ms == COMMITTED && j < mc -> finish_mark(ep[j], es[j]); j++
        :: else -> break
        od;
#ifdef NEW
        j = 0;
        do
        :: ms == COMMITTED && j < mc -> finish_new(ep[j]); j++
        :: else -> break
        od;
#endif
        j = 0;
        do
        :: j < mc -> finish_page(ep[j], es[j]); j++
        :: else -> break
        od;
        RSTEP(ms = NIL; mc = 0)
    :: else
    fi;
    clear_claim(0);
    clear_claim(1);
    RSTEP(live = 0);
    atomic { reaping = 0; j = 0; goto again }
rest:
    if
    :: me == 2 ->
        atomic {
            assert(lx[0] == 0 && lx[1] == 0 && ms == NIL);
            assert((a[0] & 15) == committed && a[0] / 16 == committed_n);
            assert(committed == 0 || dirty[0]);
            assert(st[2] != THEIRS && st[3] != THEIRS);
            assert(!m_dead || (!live && st[2] != CLAIMED && st[3] != CLAIMED));
#ifdef RANGES
            assert(b[0] == a[0]);
#else
#ifdef NEW
            assert(IS_LIVE == (committed == 1));
            assert(committed == 0 || (st[table] == VALID && a[table] == 1 && dirty[table]));
            assert(st[2] != VALID || table == 2);
            assert(st[3] != VALID || table == 3)
#else
            assert(a[1] == committed && (committed == 0 || dirty[1]))
#endif
#endif
        }
    :: else
    fi;
out:
    j = 0
}

init
{
    atomic {
        ep[0] = NONE; ep[1] = NONE; ep[2] = NONE; es[0] = NONE; es[1] = NONE; es[2] = NONE;
        claim[0] = NONE; claim[1] = NONE; st[0] = VALID; st[1] = VALID;
        /* What an earlier use of the frames has left. */
        count[2] = 2; old1a[2] = 7; old2a[2] = 7; old2b[2] = 7;
        count[3] = 2; old1a[3] = 7; old2a[3] = 7; old2b[3] = 7;
        run M();
        run N();
#ifdef NEW
        run Q();
#else
        run O();
        run P();
#endif
        run T();
        run reaper(1);
        run reaper(2)
    }
}
