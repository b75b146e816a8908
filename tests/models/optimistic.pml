/* SPDX-License-Identifier: MIT */
/* An optimistic read of one frame while it is changed, evicted and loaded again.
 *
 * The reader writes nothing. It loads the latch word (no X) first, then the frame word (VALID),
 * then the page id; reads; and loads the latch word again: equal as a whole word. The loader
 * raises the version after its claim and before it touches page id or bytes, so whoever saw the
 * frame VALID after he read the version cannot miss the raise. The other way round (MUT 1) he can:
 * the frame is evicted and claimed between his two loads, and he starts from the raised version.
 *
 * Holds: what passes the second look is one whole version of the wanted page. */
#ifndef MUT
#define MUT 0
#endif
#define FREE 0
#define CLAIMED 1
#define VALID 2
byte state = VALID;                /* frame word: state and generation */
byte generation;
bool x;                            /* latch word: X and version */
byte version;
byte page = 1;
byte left, right;                  /* the page's bytes: 10 * page + change, in two halves */
byte held;                         /* somebody has a pin */

proctype reader()
{
    byte v, a, b;
    byte rounds = 2;
    do
    :: rounds > 0 ->
        rounds--;
#if MUT == 1
        if :: state == VALID :: else -> goto next fi;
        if :: page == 1 :: else -> goto next fi;
        atomic { if :: !x -> v = version :: else -> goto next fi }
#else
        atomic { if :: !x -> v = version :: else -> goto next fi }
        if :: state == VALID :: else -> goto next fi;
        if :: page == 1 :: else -> goto next fi;
#endif
        a = left;
        b = right;
        atomic {
            if
            :: !x && version == v -> assert(a == b && a / 10 == 1)
            :: else
            fi
        }
next:
        atomic { v = 0; a = 0; b = 0 }
    :: else -> break
    od
}

proctype changer()
{
    byte rounds = 1;
    do
    :: rounds > 0 ->
        rounds--;
        atomic { if :: state == VALID -> held = 1 :: else -> goto next fi }
        x = 1;
        left = left + 1;
        right = right + 1;
        atomic { x = 0; version++ }
        held = 0;
next:
        skip
    :: else -> break
    od
}

proctype loader()
{
    byte rounds = 2;
    do
    :: rounds > 0 ->
        rounds--;
        atomic {
            if
            :: state == VALID && !held -> state = FREE; generation++
            :: else -> goto next
            fi
        }
        state = CLAIMED;
#if MUT == 2
        page = 3 - page;           /* before the version is raised */
        left = 10 * page;
        right = 10 * page;
        version++;
#elif MUT == 3
        page = 3 - page;           /* the version stays */
        left = 10 * page;
        right = 10 * page;
#else
        version++;
        page = 3 - page;
        left = 10 * page;
        right = 10 * page;
#endif
        state = VALID;
next:
        skip
    :: else -> break
    od
}

init
{
    atomic {
        left = 10; right = 10;
        run reader();
        run changer();
        run loader()
    }
}
