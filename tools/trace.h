/* SPDX-License-Identifier: MIT */
/* Block traces: read into memory as requests on pages, or made up. */
#ifndef TARN_TOOLS_TRACE_H
#define TARN_TOOLS_TRACE_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

/* A request touches pages[first] to pages[first + count - 1]. */
struct trace_request {
    uint32_t first;
    uint32_t count;
    bool write;
};

struct trace {
    struct trace_request *requests;
    uint32_t request_count;
    uint32_t *pages; /* all references in order; pages are numbered by their first touch */
    uint32_t reference_count;
    uint32_t page_count; /* distinct pages */
};

/* Reads a trace: the CSV with the header "version,time,op,size,lbn" (op 2a writes, 28 reads; size
 * in bytes; lbn in 512-byte sectors), or lines "op,page" (op w or r). page_bytes 0: a request is
 * one reference, of its block number, whatever its size. False: it could not be read; the message
 * says where. */
bool trace_read(const char *path, uint32_t page_bytes, struct trace *ret_trace, char *ret_message,
                size_t message_bytes);

void trace_free(struct trace *trace);

/* Writes a made-up trace of 114,000 requests on 270,000 pages of 4 KiB, the same each time: three
 * passes and a bit of 64 KiB requests over everything, and small requests on a few hot places. */
bool trace_generate(FILE *file);

#endif
