/* SPDX-License-Identifier: MIT */
/* A load over one cache of pages, and the kill of its processes: what each system does for it. */
#ifndef TARN_TESTS_PEERS_KILL_LOAD_H
#define TARN_TESTS_PEERS_KILL_LOAD_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

enum {
    KILL_PAGE_BYTES = 4096,
    KILL_PAGES = 4096,
    KILL_CACHE_BYTES = KILL_PAGES * KILL_PAGE_BYTES / 2 /* so that pages come and go */
};

/* What a call of a system says. */
enum {
    KILL_DONE = 0,
    KILL_LOST = 1 /* this process, or its connection, has to begin again */
};

/* One system. Each process opens it for itself. */
struct kill_peer {
    /* Makes the pages anew, with what kill_page_make() gives, while nobody else uses them. */
    void (*make)(const char *directory);
    /* NULL: cannot be opened now. */
    void *(*open)(const char *directory);
    void (*close)(void *handle); /* NULL: a process that has lost its handle ends */
    /* Whom to kill; NULL: the process itself. */
    pid_t (*victim)(void *handle);
    int (*read)(void *handle, uint32_t page, void *ret_copy);
    /* Calls kill_page_change() where the system lets a page be changed, then commits. */
    int (*change)(void *handle, uint32_t page, uint64_t *ret_sequence);
    /* Done by a process of its own after each kill; NULL: nothing is asked for. KILL_LOST: the
     * system says that everybody has to begin again. */
    int (*after_kill)(const char *directory);
    /* How long a server may take to notice a death, in milliseconds. */
    unsigned notice_ms;
};

extern const struct kill_peer kill_peer;

/* The first state of a page. */
void kill_page_make(void *bytes, uint32_t page);

/* Changes a page in place; notes it if it was not what it had to be. Returns its new sequence. */
uint64_t kill_page_change(void *bytes, uint32_t page);

/* Ends the process. */
_Noreturn void kill_die(const char *what, const char *why);

#endif
