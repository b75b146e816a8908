/* SPDX-License-Identifier: MIT */
/* One page is changed, copied, written, synced, evicted and loaded again, while the session M, the
 * writer, the evictor E and the loader L die at any step and a standby takes over.
 *
 * `disk` is what is durable, `cache` what a read brings. A write goes on in the device after its
 * process has died. A sync makes durable what had been written when it began, or fails: then all
 * that was not durable is lost, and the next sync succeeds.
 *
 * With DURABLE a write may be asked to be durable by itself. It is, or it fails: then it is not
 * there, and nor is what was not durable before, and no sync tells of that any more. What ends
 * first, a sync or a durable write, is told first.
 *
 * A value is a number of commits. Holds: a load brings the last committed value; what is written is
 * a committed value, as new as was asked for; when a flush is acknowledged, it is durable; in the
 * end a page that is clean or not in the pool is durable in its last committed state. */
#ifndef MUT
#define MUT 0
#endif
#ifndef NM
#define NM 2                       /* mini-transactions */
#endif
#ifndef NW
#define NW 2                       /* writes of each writer */
#endif
#ifndef NE
#define NE 1
#endif
#ifndef NL
#define NL 1
#endif
#ifndef MAXC
#define MAXC 2                     /* deaths */
#endif
#ifndef FAILS
#define FAILS 1                    /* syncs that fail */
#endif
#ifndef DURABLE
#define DURABLE 0                  /* a write may be durable by itself */
#endif
#define FREE 0
#define CLAIMED 1                  /* by L */
#define VALID 2
#define EVICTING 3                 /* by E */
#define NIL 0
#define ACTIVE 1
#define COMMITTED 2
#define NONE 15

byte frame = VALID;                /* frame word */
bool x;                            /* latch word: X by M, version */
byte version;
bool dirty;                        /* dirty word: flag, mark */
byte mark;
bool hold;                         /* M's */
byte val, disk, cache;
byte mtr, serial;                  /* mtr word */
byte entry;                        /* 0: no shadow yet; 1, 2: that shadow */
byte shadow[2];
byte committed, returned;          /* commits; those whose caller knows */
byte flight[2], sync[2], snap[2];  /* by writer; sync: 0 none, 1 in flight, 2 done, 3 failed */
byte durable[2];                   /* of the write: 0 it is not, else as sync */
bool sync_first[2];                /* both have ended, the sync first */
bool m_dead, e_dead, l_dead, w_ended;
byte deaths, failures;
#define DIE(who)     if :: deaths < MAXC -> deaths++; who = 1; goto out :: true fi
#define THERE        (frame == VALID || frame == EVICTING)
#if MUT == 1
#define MARK dirty = 1                                       /* no mark in the word */
#elif MUT == 2
#define MARK if :: !dirty -> dirty = 1; mark++ :: else fi    /* "it is dirty already" */
#else
#define MARK dirty = 1; mark++
#endif

#define STEP(s)  atomic { s; DIE(m_dead) }
proctype M()
{
    byte rounds = NM;
    do
    :: rounds > 0 ->
        rounds--;
        atomic {
            if
            :: THERE -> frame = VALID; hold = 1              /* a pin, and a rescue */
            :: else -> goto next
            fi;
            DIE(m_dead)
        }
        STEP(mtr = ACTIVE);
        STEP(entry = 0);
        STEP(!x -> x = 1);
        STEP(shadow[0] = val);
        STEP(entry = 1);
        STEP(val++);
        if                                                   /* another shadow takes over */
        :: true ->
            STEP(shadow[1] = val - 1);
            STEP(entry = 2);
            STEP(shadow[0] = 9)                              /* given back, and used otherwise */
        :: true
        fi;
        if
        :: true ->
            STEP(mtr = COMMITTED; committed++);
#if MUT == 3
            STEP(x = 0; version++);
            STEP(hold = 0);                                  /* marked after the pin has gone */
#endif
            STEP(MARK)
        :: true -> STEP(val = shadow[entry - 1])
        fi;
        if
        :: x -> STEP(x = 0; version++)
        :: else
        fi;
        STEP(mtr = NIL; serial++; returned = committed);
        atomic { shadow[0] = 9; shadow[1] = 9 }
        hold = 0;
next:
        skip
    :: else -> break
    od;
out:
    rounds = 0
}

#define WDIE     if :: me == 0 && deaths < MAXC -> deaths++; goto out :: true fi
#define WSTEP(s) atomic { s; WDIE }
#if MUT == 27
#define SYNC_FIRST true                                      /* told in any order */
#else
#define SYNC_FIRST sync_first[me]
#endif
#define AGAIN(c) atomic { if :: c :: else -> goto again fi }
proctype W(bool me)
{
    byte rounds = NW, d, v, image, asked, word, place;
    bool held;                                               /* the latch, when it was copied */
    bool flying, stale; byte f_mark, f_asked; bool f_clears; /* the write in flight */
    bool written; byte w_mark, w_asked; bool w_clears;       /* complete, not synced */
    byte s_mark, s_asked; bool s_clears;                     /* being synced */
    if
    :: me == 1 && MUT != 4 && MUT != 5 ->
        atomic { w_ended && flight[0] == NONE && sync[0] != 1 }      /* dead, and drained */
    :: me == 1 && MUT == 4 -> atomic { w_ended }             /* no fence */
    :: me == 0 || MUT == 5                                   /* MUT 5: two write at a time */
    fi;
    do
    :: rounds > 0 && !flying && dirty && THERE ->
        rounds--;
        atomic { v = version; held = x; asked = returned }
#if MUT != 6
        atomic { if :: dirty -> d = mark :: else -> goto again fi }
#endif
        if
        :: !held ->
            image = val;
#if MUT != 10
            AGAIN(!x && version == v)                        /* MUT 10: not looked at again */
#endif
        :: held ->
            atomic { if :: mtr != NIL -> word = mtr; image = serial :: else -> goto again fi }
            place = entry;
            word = word + 4 * image;
            if
            :: word % 4 == ACTIVE && place != 0 -> image = shadow[place - 1]
            :: word % 4 == ACTIVE && place == 0 -> image = val
            :: word % 4 == COMMITTED -> image = val
            fi;
#if MUT != 8
            AGAIN(entry == place);                           /* MUT 8: not looked at again */
#endif
#if MUT != 9
            AGAIN(mtr == word % 4 && serial == word / 4);    /* MUT 9: not looked at again; one */
            AGAIN(x && version == v)                         /* of the two would do here */
#endif
        fi;
#if MUT == 6
        atomic { if :: dirty -> d = mark :: else -> goto again fi }  /* read after the copy */
#else
        AGAIN(THERE && dirty && mark == d);
#endif
#if MUT == 11
        if :: !held && dirty && mark == d -> dirty = 0 :: else fi;   /* clean when submitted */
#endif
        assert(image >= asked && image <= committed);
        WSTEP(flight[me] = image; flying = 1; stale = 0; f_mark = d; f_asked = asked;
              f_clears = !held; if :: DURABLE -> durable[me] = 1 :: true fi);
again:
        atomic { d = 0; v = 0; image = 0; asked = 0; held = 0; word = 0; place = 0 }
    :: flying && flight[me] == NONE && (durable[me] == 0 || sync[me] < 2 || !sync_first[me]) ->
        atomic {
            flying = 0;
            if
            :: durable[me] == 3 && MUT != 23 ->              /* MUT 23: taken for done */
#if MUT != 24
                written = 0; w_mark = 0; w_asked = 0; w_clears = 0;
#if MUT != 25
                s_mark = 0; s_asked = 0; s_clears = 0
#else
                skip                                         /* MUT 25: a sync in flight counts */
#endif
#else
                skip                                         /* MUT 24: it tells of itself alone */
#endif
            :: stale && MUT != 13 && (durable[me] != 3 || MUT == 23)
                                                             /* MUT 13: taken as written */
            :: durable[me] != 0 && (durable[me] != 3 || MUT == 23) && (!stale || MUT == 13) ->
                assert(disk >= f_asked);
                if
                :: f_clears && dirty && (mark == f_mark || MUT == 26) -> dirty = 0
                :: else                                      /* MUT 26: changed meanwhile or not */
                fi
            :: else ->
                w_clears = f_clears || written && w_clears && w_mark == f_mark;
                w_mark = f_mark; w_asked = f_asked; written = 1
            fi;
            f_mark = 0; f_asked = 0; f_clears = 0; stale = 0; durable[me] = 0;
#if MUT == 14
            if                                               /* "the sync will have it too" */
            :: sync[me] == 1 -> s_mark = w_mark; s_clears = w_clears; s_asked = w_asked; written = 0
            :: else
            fi;
#elif MUT == 15
            if                                               /* clean when written */
            :: w_clears && dirty && mark == w_mark -> dirty = 0
            :: else
            fi;
#endif
            WDIE
        }
    :: written && sync[me] == 0 ->
        atomic {
            s_mark = w_mark; s_asked = w_asked; s_clears = w_clears; snap[me] = cache;
            sync[me] = 1; written = 0; w_mark = 0; w_asked = 0; w_clears = 0;
            WDIE
        }
    :: sync[me] == 2 && (durable[me] < 2 || SYNC_FIRST) ->
        assert(disk >= s_asked);
        atomic {
            if
            :: s_clears && dirty && (mark == s_mark || MUT == 16) -> dirty = 0
            :: else                                          /* MUT 16: changed meanwhile or not */
            fi;
            sync[me] = 0; s_mark = 0; s_asked = 0; s_clears = 0;
            WDIE
        }
    :: sync[me] == 3 && (durable[me] < 2 || SYNC_FIRST) ->
        atomic {
#if MUT == 17
            snap[me] = cache; sync[me] = 1;                  /* synced again, not written again */
#elif MUT == 18
            sync[me] = 0; stale = flying;                    /* what is complete counts still */
#else
            sync[me] = 0; stale = flying; written = 0; w_mark = 0; w_asked = 0; w_clears = 0;
#endif
            WDIE
        }
    :: !flying && !written && sync[me] == 0 -> break         /* told to leave */
    od;
out:
    atomic {
        rounds = 0; d = 0; v = 0; image = 0; asked = 0; held = 0; word = 0; place = 0;
        flying = 0; stale = 0; f_mark = 0; f_asked = 0; f_clears = 0;
        written = 0; w_mark = 0; w_asked = 0; w_clears = 0; s_mark = 0; s_asked = 0; s_clears = 0;
        w_ended = w_ended || !me
    }
}

/* What a sync in flight will make durable: as much as is, or nothing more. */
#define AS_DISK                                                                                    \
    if :: sync[0] == 1 -> snap[0] = disk :: else fi;                                               \
    if :: sync[1] == 1 -> snap[1] = disk :: else fi

proctype device()
{
    byte w;
    do
    :: atomic { flight[0] != NONE && durable[0] == 0 -> cache = flight[0]; flight[0] = NONE }
    :: atomic { flight[1] != NONE && durable[1] == 0 -> cache = flight[1]; flight[1] = NONE }
#if DURABLE
    :: atomic {
        flight[0] != NONE && durable[0] == 1 || flight[1] != NONE && durable[1] == 1 ->
        if
        :: flight[0] != NONE && durable[0] == 1 -> w = 0
        :: flight[1] != NONE && durable[1] == 1 -> w = 1
        fi;
        if
        :: cache = flight[w]; durable[w] = 2;
#if MUT != 22
            disk = cache; AS_DISK                            /* MUT 22: it was not asked to be */
#endif
        :: failures < FAILS -> failures++; cache = disk; durable[w] = 3; AS_DISK
        fi;
        sync_first[w] = sync[w] >= 2;
        flight[w] = NONE; w = 0
    }
#endif
    :: atomic {
        sync[0] == 1 || sync[1] == 1 ->
        if
        :: sync[0] == 1 -> w = 0
        :: sync[1] == 1 -> w = 1
        fi;
        if
        :: disk = snap[w]; sync[w] = 2
        :: failures < FAILS -> failures++; cache = disk; sync[w] = 3
        fi;
        sync_first[w] = 0;
        snap[w] = 0; w = 0
    }
    :: timeout -> break
    od
}

proctype E()
{
    byte rounds = NE;
    bool busy, seen;
    do
    :: rounds > 0 ->
        rounds--;
#if MUT == 19
        seen = dirty;                                        /* before the frame is marked */
#endif
        atomic { if :: frame == VALID -> frame = EVICTING :: else -> goto next fi; DIE(e_dead) }
#if MUT == 20
        seen = dirty;                                        /* before the holds are searched */
#endif
        busy = hold;
#if MUT != 19 && MUT != 20
        seen = dirty;
#endif
        if
        :: busy || seen -> atomic { if :: frame == EVICTING -> frame = VALID :: else fi }
        :: else ->
            atomic { if :: frame == EVICTING -> frame = FREE :: else fi; DIE(e_dead) }
        fi;
next:
        atomic { busy = 0; seen = 0 }
    :: else -> break
    od;
out:
    atomic { rounds = 0; busy = 0; seen = 0 }
}

proctype L()
{
    byte rounds = NL, buffer;
    do
    :: rounds > 0 ->
        rounds--;
#if MUT == 12
        buffer = cache;                                      /* read before the frame is entered */
#endif
        atomic { if :: frame == FREE -> frame = CLAIMED :: else -> goto next fi; DIE(l_dead) }
#if MUT != 12
        buffer = cache;
#endif
        atomic { val = buffer; DIE(l_dead) }
        atomic { assert(!dirty && val == committed && frame == CLAIMED); frame = VALID }
next:
        buffer = 0
    :: else -> break
    od;
out:
    atomic { rounds = 0; buffer = 0 }
}

proctype reaper()
{
    do
    :: atomic { m_dead && x } ->
        if
        :: mtr == ACTIVE && entry != 0 -> val = shadow[entry - 1]
#if MUT == 21
        :: mtr == COMMITTED -> dirty = 1; mark++             /* flag and mark in two words */
#elif MUT != 7
        :: atomic { mtr == COMMITTED -> MARK }
#endif
        :: else                                              /* MUT 7: not marked by the reaper */
        fi;
        atomic { x = 0; version++ }
    :: atomic { m_dead && !x && (mtr != NIL || hold) -> mtr = NIL; serial++ } hold = 0
    :: atomic { e_dead && frame == EVICTING -> frame = VALID }
    :: atomic { l_dead && frame == CLAIMED -> frame = FREE }
    :: timeout ->
        assert(!x && !hold && (frame == FREE || frame == VALID));
        assert(flight[0] == NONE && flight[1] == NONE);
        assert(frame == FREE || val == committed);
        assert(frame == VALID && dirty || disk == committed);
        break
    od
}

init
{
    atomic {
        flight[0] = NONE; flight[1] = NONE;
        run M();
        run W(0);
        run W(1);
        run E();
        run L();
        run device();
        run reaper()
    }
}
