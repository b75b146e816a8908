/* SPDX-License-Identifier: MIT */
/* Planted bugs: one realistic mistake each, at the place where it would be made. The tests of
 * tests/kill are built with TARN_PLANTED, switch on one after the other, and have to catch each;
 * in every other build a switch is a constant false, and nothing of it is left.
 */
#ifndef TARN_SHM_PLANTED_H
#define TARN_SHM_PLANTED_H

#include <stdbool.h>

/* Name, what is wrong. docs/testing.md says what each breaks and what catches it. */
#define TARN_PLANTED_BUGS(X)                                                                       \
    X(GENERATION_NOT_STEPPED, "a frame becomes FREE with its old generation")                      \
    X(VERSION_NOT_STEPPED, "a latch is released with its old version")                             \
    X(OWNER_STORED_AFTER_CAS, "a latch is taken first, its owner stored after that")               \
    X(WAKER_CLEARS_SLEEP_FLAG, "who wakes the writer clears its flag first")                       \
    X(MORE_LOST_BY_ENTRY, "an entry over a bucket's first word takes `more` away")                 \
    X(CLAIM_ANNOUNCED_AFTER_CAS, "a frame is CLAIMED first and announced after that")              \
    X(CLAIM_ENDED_BEFORE_VALID, "the announcement goes before the frame is VALID")                 \
    X(CLEAN_DECIDED_BEFORE_SCAN, "an evictor reads the dirty word before it scans the holds")      \
    X(STICKY_CLEARED_BY_EVICTOR,                                                                   \
      "an evictor clears the sticky word of a frame that is not FREE yet")                         \
    X(HIT_WITHOUT_SECOND_LOOK, "a pin does not read the frame word again")                         \
    X(HOLD_AFTER_RESCUE, "a page is rescued first and held after that")                            \
    X(MARK_NOT_RAISED, "a hold is stored beyond the mark of its line")                             \
    X(HOME_NOT_LOCKED, "entries are made without the home's lock")                                 \
    X(HOME_ANNOUNCED_AFTER_LOCK, "a home lock is taken first and announced after that")            \
    X(TIDIED_WITHOUT_LOCK, "`more` is cleared without the home's lock")                            \
    X(PAGE_ID_AFTER_ENTRY, "the frame gets its page id after its entry")                           \
    X(PAGE_COUNT_NOT_ASKED_AGAIN,                                                                  \
      "who enters a page does not look again whether the file still has it")                       \
    X(ENTRY_AFTER_READ, "a page is read first and entered after that")                             \
    X(VALID_BEFORE_READ, "a frame is VALID before its page is read")                               \
    X(JOINER_DOES_NOT_LOOK_AGAIN, "who waited for a read pins whatever the frame has then")        \
    X(STICKY_NOT_SET, "a shared latch leaves the sticky word as it is")                            \
    X(SHARED_WITHOUT_SECOND_LOOK, "a shared latch does not read the latch word again")             \
    X(STICKY_CLEARED_BY_FAILED_DRAIN, "who gave up waiting for readers clears their sticky bits")  \
    X(TOKEN_WITHOUT_GENERATION, "an optimistic read compares the version alone")                   \
    X(TAKEN_WITHOUT_SECOND_LOOK, "pin and latch at once do not read the frame word again")         \
    X(ANNOUNCED_AFTER_LATCH, "the entry of a mini-transaction is stored after its latch is taken") \
    X(SHADOW_NAMED_BEFORE_COPY, "the entry names a shadow that is not complete")                   \
    X(RANGE_COUNTED_BEFORE_BYTES, "a range counts before its old bytes are copied")                \
    X(RANGES_UNDONE_OLDEST_FIRST, "ranges are put back in the order of declaration")               \
    X(RANGES_NOT_RESTORED, "an abort does not put ranges back")                                    \
    X(SHADOWS_GIVEN_BACK_FIRST, "an abort gives its shadows back before the pages are restored")   \
    X(NO_COMMIT_POINT, "a commit releases its pages one by one without COMMITTED")                 \
    X(RELEASED_BEFORE_DIRTY, "a commit releases a page before it is dirty")                        \
    X(HOLD_GIVEN_BEFORE_DIRTY, "a commit gives the hold of a page back before it is dirty")        \
    X(NEW_VALID_BEFORE_COMMIT, "a NEW page is VALID before its commit")                            \
    X(HOLDS_REAPED_BEFORE_MTR,                                                                     \
      "a reaper clears the holds before it finishes the mini-transaction")                         \
    X(SHADOWS_REAPED_BEFORE_MTR, "a reaper gives shadows back before the pages are restored")      \
    X(RESTORED_WITHOUT_LATCH, "a reaper restores a page whose latch is not the dead session's")    \
    X(REAPED_COMMIT_LEFT_CLEAN, "a reaper releases a committed page that is not dirty")            \
    X(EVICTING_NOT_RESCUED, "a reaper leaves EVICTING what a dead evictor marked")                 \
    X(HOME_LOCK_NOT_REAPED, "a reaper leaves the home lock of the dead")                           \
    X(REQUEST_NOT_WITHDRAWN, "a reaper leaves the request of the dead")                            \
    X(SLOT_FREE_BEFORE_CLEARED, "a slot is FREE before it is cleared")                             \
    X(REAPED_WITHOUT_CLAIM_BYTE, "a reaper does not take the claim byte")                          \
    X(JOINED_WITHOUT_CLAIM_BYTE, "a newcomer does not take the claim byte")                        \
    X(LIFE_BYTE_GIVEN_BEFORE_CLEARED,                                                              \
      "who leaves gives the life byte up before the slot is cleared")                              \
    X(SLOW_TAKEN_FOR_DEAD, "an owner that is waited for a millisecond counts as dead")             \
    X(ANSWERED_WITHOUT_SERIAL, "the writer answers whichever request stands in the slot by now")   \
    X(REQUESTS_LOST_AT_TAKEOVER, "a new writer passes over the requests that it finds")            \
    X(FENCE_NOT_WAITED_FOR, "a new writer does not wait for the writes of the old one")            \
    X(TWO_WRITES_IN_FLIGHT, "a page is written while an older image of it is in flight")           \
    X(UNCOMMITTED_BYTES_WRITTEN, "the writer copies a page under change, not its shadow")          \
    X(TORN_COPY_WRITTEN, "the writer does not look whether a page changed during the copy")        \
    X(CLEANED_WHATEVER_MARK, "a page becomes clean although it has changed since its copy")        \
    X(CLEAN_BEFORE_SYNC, "a page is clean and answered for once it is written")                    \
    X(SYNC_TAKES_LATER_WRITES, "a sync makes clean what was written after it began")               \
    X(DURABLE_NOT_ASKED_FOR, "a write is taken for durable that was not asked to be")              \
    X(CALLED_AFTER_WAKE_UP, "who calls the cleaner says so after it has woken the writer")         \
    X(CALL_TAKEN_AFTER_LOOK, "the cleaner takes a call back after it has looked")                  \
    X(CALL_NOT_LOOKED_FOR, "the writer sleeps without a look whether the cleaner was called")      \
    X(SETTINGS_NOT_LOCKED, "who changes a setting does not take the byte of the options")          \
    X(SETTING_BEFORE_OPTIONS, "a setting holds before the directory has it")                       \
    X(SHARE_ANSWERED_FIRST, "who sets a share is answered before the file table has it")           \
    X(COUNT_LOWERED_AFTER_SCAN, "a truncation scans the frames before it lowers the count")        \
    X(COUNT_RAISED_BEFORE_SIZE, "an extension raises the count before the file has grown")

enum {
    PLANTED_NOTHING = 0,
#define X(name, text) PLANTED_##name,
    TARN_PLANTED_BUGS(X)
#undef X
        PLANTED_COUNT
};

#ifdef TARN_PLANTED
extern unsigned tarn_planted; /* PLANTED_*; the program that tests has it */
#define PLANTED(name) (tarn_planted == PLANTED_##name)
#else
#define PLANTED(name) ((void)PLANTED_##name, false)
#endif

#endif
