/* SPDX-License-Identifier: MIT */
/* Who waits for a free frame, and who wakes it: `wanted` is set before each look, and cleared by who
 * has freed a frame before it steps `freed`, the word that waiters sleep on.
 *
 * Two waiters want a frame each; two processes free one each, and a third one takes a frame and
 * gives it back. A waiter may die. There is no limit of time here, so a wake-up that is lost leaves
 * somebody asleep for ever.
 *
 * Holds: every waiter that lives gets its frame. */
#ifndef MUT
#define MUT 0
#endif
#ifndef MAXC
#define MAXC 1
#endif

byte free, freed, deaths;
bool wanted;
bool asleep[2];

inline give() {
#if MUT == 4
    atomic { w = wanted };
    free++;                        /* MUT 4: asks before it has freed */
#else
    free++;                        /* by a CAS, so the next look comes after it */
    atomic { w = wanted };
#endif
    if
    :: w ->
#if MUT == 3
        freed++;
        atomic { asleep[0] = 0; asleep[1] = 0 };
        wanted = 0                 /* MUT 3: clears last */
#else
        wanted = 0;
#if MUT != 5
        freed++;                   /* MUT 5: the word stays */
#endif
        atomic { asleep[0] = 0; asleep[1] = 0 }
#endif
    :: else
    fi
}

proctype waiter(byte me) {
    byte seen;
#if MUT == 2
    wanted = 1;                    /* MUT 2: once, before all looks */
#endif
    do
    ::  seen = freed;
        if
        :: deaths < MAXC -> deaths++; break
        :: true
        fi;
#if MUT == 1
        if :: atomic { free > 0 -> free-- }; break :: else fi;
        wanted = 1;                /* MUT 1: after the look */
#elif MUT == 6
        wanted = 1;
        seen = freed;              /* MUT 6: the word is read after that */
        if :: atomic { free > 0 -> free-- }; break :: else fi;
#elif MUT == 2
        if :: atomic { free > 0 -> free-- }; break :: else fi;
#else
        wanted = 1;
        if :: atomic { free > 0 -> free-- }; break :: else fi;
#endif
        if
        :: atomic { freed == seen -> asleep[me] = 1 };
           asleep[me] == 0
        :: freed != seen
        fi
    od
}

proctype freer() {
    bool w;
    give()
}

proctype taker() {
    bool w;
    if
    :: atomic { free > 0 -> free-- };
       give()
    :: true
    fi
}

init {
    atomic {
        run waiter(0);
        run waiter(1);
        run freer();
        run freer();
        run taker()
    }
}
