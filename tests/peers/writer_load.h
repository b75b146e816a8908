/* SPDX-License-Identifier: MIT */
/* Loads that write, over one cache of pages: what each cache does for them. */
#ifndef TARN_TESTS_PEERS_WRITER_LOAD_H
#define TARN_TESTS_PEERS_WRITER_LOAD_H

#include <stdint.h>

enum {
    LOAD_PAGE_BYTES = 4096,
};

struct load_hits {
    uint64_t hits, misses;
};

/* One cache. Each process opens it for itself; what fails ends the process with a message. The file
 * of the pages is DIRECTORY/pages and has its size. */
struct load_cache {
    /* Before the processes; NULL: somebody else has made it. */
    void (*make)(const char *directory, uint64_t cache_bytes);
    void *(*open)(const char *directory, uint64_t cache_bytes);
    /* Returns a word of the page. */
    uint64_t (*read)(void *handle, uint32_t page);
    /* Adds one to a word of the page. */
    void (*change)(void *handle, uint32_t page);
    void (*flush)(void *handle);
    void (*flush_page)(void *handle, uint32_t page); /* NULL: it has no such call */
    struct load_hits (*hits)(void *handle);          /* NULL: somebody else asks */
};

extern const struct load_cache load_cache;

/* Ends the process. */
_Noreturn void load_die(const char *what, const char *why);

/* Where in a page the word is: spread over the lines. */
static inline uint32_t load_offset(uint32_t page)
{
    return page % 64 * 64;
}

#endif
