/* SPDX-License-Identifier: MIT */
/* What the files of the writer share: one thread works on all of it.
 *
 * A request becomes a batch: the pages that are dirty when it is first seen, each with the mark
 * that has to become durable. Batches share writes: what is known of a page in flight or written
 * stands by frame. A page goes from its batch's queue into a chunk of staging memory, with the
 * chunk to the disk, from there to its file's list of written pages, and with a sync that begins
 * after that to durable.
 */
#ifndef TARN_LIB_WRITER_STATE_H
#define TARN_LIB_WRITER_STATE_H

#include "lib/directory.h"
#include "lib/io/io.h"
#include "lib/policy/policy.h"
#include "lib/writer/writer.h"

#define SYNCS_MAX        16u /* in flight beside the chunks */
#define WIDE_BATCHES_MAX 8u  /* flushes of files and of everything; more wait together */

/* Who is served first. Each class is sure of a share of what can be in flight, so that none starves
 * another. */
enum flush_class {
    FLUSH_PAGES,      /* somebody waits for a few pages */
    FLUSH_WIDE,       /* somebody waits for a file or for everything */
    FLUSH_BACKGROUND, /* the cleaner */
    FLUSH_CLASSES
};

/* A page in a batch. */
enum {
    ENTRY_NEEDED,  /* no image as new as the mark is on disk */
    ENTRY_WRITTEN, /* one is, and waits for a sync */
    ENTRY_DONE,    /* durable, or not in the pool any more, or failed */
};

struct flush_entry {
    struct flush_entry *next; /* of the same frame, in other batches */
    struct flush_batch *batch;
    uint64_t page_id, generation, mark;
    uint32_t frame;
    uint8_t state; /* ENTRY_* */
    bool queued;
};

/* What a request asks for: read once, before its word was found unchanged. */
struct request_words {
    uint64_t kind, file, number, flags;
    int64_t wait_ms;
};

/* A flush that somebody waits for. */
struct flush_request {
    uint64_t asked; /* the request word */
    unsigned slot;
    uint32_t file; /* 0: all */
};

struct flush_batch {
    struct flush_batch *next;
    struct flush_entry *entries; /* by page id */
    uint32_t *queue;             /* ring of entry indexes that are to be written */
    uint32_t entry_count, queue_first, queue_count;
    uint32_t left;                  /* entries that are not DONE */
    uint32_t needed;                /* entries that are NEEDED */
    struct flush_request *requests; /* that it answers */
    unsigned request_count;
    int error; /* first one of a page in it */
    enum flush_class class;
    bool sync_asked;
};

/* An image of a page, in staging memory or on disk. */
struct staged_page {
    uint64_t generation;
    uint64_t dirty_word; /* as it was before the copy: the image has its mark */
    uint32_t frame;
    bool clears; /* false: taken from a shadow, proves nothing about the page in the frame */
};

struct staged_list {
    struct staged_page *pages;
    uint32_t count, room;
};

/* A write: neighbours, in as many places of the staging memory in a row. */
struct chunk {
    uint64_t number; /* of the first page */
    uint64_t epoch;
    uint32_t file, page_count;
    uint32_t place, place_count;
    enum flush_class class;
    bool in_flight;
    bool durable; /* by itself, without a sync */
};

/* Staging memory, and the writes that can be in flight. */
struct arena {
    uint8_t *data;
    size_t bytes;
    struct staged_page *pages; /* by place */
    uint64_t *taken;           /* places: a bit each */
    uint32_t place_count, free_place_count;
    uint32_t run_pages_max;
    struct chunk *chunks;
    unsigned *free_chunks;
    unsigned chunk_count, free_chunk_count;
    unsigned used_chunks[FLUSH_CLASSES];
    uint32_t used_places[FLUSH_CLASSES];
};

struct frame_state {
    struct flush_entry *entries;
    uint64_t generation; /* that the marks are about */
    uint64_t flight_mark, written_mark;
    bool in_flight, written;
    bool alone; /* was in a write of many that failed: is written by itself, to find the bad one */
};

enum file_op_state {
    OP_NONE,
    OP_HOLDERS, /* nothing has changed but the count: waits until nobody holds a page */
    OP_DISCARD, /* pages are being thrown away: no way back */
    OP_SIZED,   /* the file has its new size, which is to be synced */
    OP_SYNC,    /* the sync is in flight */
};

/* An extension, truncation or drop at work. */
struct file_op {
    enum file_op_state state;
    unsigned slot; /* 0: nobody waits any more */
    uint64_t asked;
    unsigned kind; /* ASK_FILE_* */
    bool unlink;
    uint64_t count, count_before;
    uint64_t deadline_ns;
    uint32_t *frames; /* that hold pages beyond the count */
    uint64_t *page_ids;
    uint32_t frame_count, held; /* held: which of them somebody had */
};

struct data_file {
    int fd;    /* -1: not entered */
    int error; /* with which it could not be opened */
    bool block, temporary;
    bool sync_in_flight, sync_wanted;
    bool durable_refused;   /* the kernel cannot write durably here */
    bool dropped;           /* wholly, by a writer that may not have answered */
    bool beyond;            /* has pages in the pool beyond its end */
    unsigned sync_failures; /* in a row */
    unsigned write_failures;
    uint64_t epoch; /* raised when a sync fails: what is in flight then is written once more */
    uint64_t sync_epoch;
    uint64_t background_ns; /* the cleaner leaves the file alone until then */
    struct staged_list written, syncing;
    struct file_op op;
};

/* A process whose end the kernel tells. */
struct watch {
    uint64_t pid;
    int fd; /* -1: place is empty */
    bool seen, cancelled;
};

/* Why a page waits to leave. */
enum {
    LEAVES_NOT,
    LEAVES_CHOSEN, /* by the policy */
    LEAVES_OVER,   /* its file has more than its share */
};

/* A file with a limit: its pages that the policy knows, in the order in which they came in. */
struct share {
    uint32_t newest, oldest; /* frame + 1; 0: none */
    uint32_t count, limit;   /* limit: 0: none, and no list */
};

struct share_frame {
    uint32_t newer, older; /* frame + 1; 0: none */
    uint32_t file;         /* 0: in no list */
};

/* Who leaves next. Each frame is the policy's, or `empty`, or `leaving`. */
struct victims {
    struct tarn_policy *policy;
    uint64_t *generations; /* by frame: of the page that is known */
    uint32_t *empty;       /* had no page when they were looked at last */
    uint32_t *leaving;     /* chosen, but dirty; the first chosen first */
    uint8_t *leaves;       /* by frame: LEAVES_* */
    uint32_t empty_count, leaving_count, leaving_max;
    uint32_t empty_hand; /* in `empty` */
    uint32_t hand;       /* of a look at all frames */
    uint64_t *held;      /* bitmap: pinned when it was looked at last in this round */
    uint32_t *held_list; /* its bits */
    uint32_t held_count;
    bool held_known; /* in this round */

    struct share *shares;             /* by file */
    struct share_frame *share_frames; /* by frame */
    uint32_t share_hand;              /* file that gives pages up now */
    uint32_t listed;                  /* frames in the lists */
    uint32_t over;                    /* of them, beyond the limits of their files */
    uint32_t over_leaving;            /* of those that leave: LEAVES_OVER */
};

/* How many frames sessions use up, and how fast. */
struct demand {
    uint32_t free; /* at the end of the last look */
    uint32_t peak; /* used up between two looks: at once as many as were seen, then slowly less */
    uint64_t decayed_ns;
    uint64_t rate; /* a second, smoothed */
    uint64_t used; /* since rated_ns */
    uint64_t rated_ns;
    uint64_t next_ns; /* a look is worth while then, if nobody calls before; 0: not */
};

/* Ids of I/O: what completed in the upper half, which one in the lower. */
enum {
    ID_WRITE = 1, /* chunk */
    ID_SYNC,      /* file */
    ID_OP_SYNC,   /* file */
    ID_STOP,
    ID_WAKE,
    ID_FIFO,    /* the FIFO's name has changed */
    ID_PROCESS, /* watch */
};

static inline uint64_t io_id(unsigned what, uint32_t which)
{
    return (uint64_t)what << 32 | which;
}

struct tarn_writer {
    struct tarn_pool *pool;
    struct tarn_session *session;
    struct tarn_writer_options options;
    const struct tarn_view *view;
    int stop_fd, wake_fd, fifo_fd;
    struct tarn_io *io;
    uint64_t now_ns; /* of this round */

    struct tarn_file_record *records; /* by id, as in DIR/files */
    struct data_file *files;          /* by id */
    uint32_t file_last;               /* highest id ever entered */
    struct frame_state *frames;

    struct arena arena;
    unsigned syncs_in_flight, op_syncs_in_flight;
    unsigned writes_queued; /* since the last were handed over between two waits */

    struct flush_batch *batches; /* oldest first */
    unsigned batch_count[FLUSH_CLASSES];
    bool durable;                   /* few pages are written durably */
    uint64_t durable_ns, synced_ns; /* as measured; 0: not */
    uint64_t waited_ns;             /* when somebody asked for pages last */
    uint64_t paced_ns;              /* the next paced write is not before that */
    uint32_t write_rate;            /* KiB a second; 0: no limit */
    bool paced;                     /* one waits for that */
    bool wanted[FLUSH_CLASSES];     /* who has something to write in this round */
    bool busy_pages;                /* a page could not be copied: another look soon */
    uint64_t busy_wait_ns;

    uint64_t *served; /* by slot: request word that is being worked on */
    struct watch *watches;
    uint32_t *slot_watch; /* by slot: its watch, or an old one's place */
    unsigned watch_count;
    bool look; /* at the slots */
    uint64_t looked_ns, asked_lives_ns;
    bool timer; /* somebody, or the FIFO, is to be looked at once a second */
    bool fifo_lost;

    struct victims victims;
    uint32_t setting[SET_COUNT]; /* as they were when the cleaner was called last */
    bool cleaning;               /* the cleaner has been called */
    bool filling, draining;      /* from one of its marks to the other */
    struct demand demand;
    uint64_t looked;  /* frames, since eviction last got what it wanted */
    uint32_t in_vain; /* rounds in which no file that has more than its share has lost a page */
    struct flush_batch *background;
    uint32_t clean_hand, tidy_hand;
    uint64_t dirty_counted_ns;

    bool stop_asked, stopping;
    struct flush_batch *last; /* the flush that it ends with */
    int result;               /* of that */
};

/* stage.c. */

enum stage {
    STAGE_DONE,
    STAGE_BUSY,    /* changing; later */
    STAGE_CLEAN,   /* no image is needed any more */
    STAGE_GONE,    /* another page, or none, is in the frame */
    STAGE_DAMAGED, /* latched by nobody, as after a stray store: it would never be copied */
};
enum stage tarn_writer_stage(struct tarn_writer *writer, uint32_t frame, uint64_t generation,
                             uint8_t *ret_image, struct staged_page *ret_page);

/* arena.c. */

int tarn_writer_arena_open(struct tarn_writer *writer, unsigned depth);
void tarn_writer_arena_close(struct tarn_writer *writer);
/* A run is at most as long as a request that gains something by it. */
void tarn_writer_arena_run_max(struct tarn_writer *writer, size_t bytes_max);
/* With room for so many pages, or for fewer. NULL: not now. */
struct chunk *tarn_writer_chunk_take(struct tarn_writer *writer, uint32_t count,
                                     enum flush_class class);
/* Gives back what is beyond so many pages; or everything. */
void tarn_writer_chunk_shrink(struct tarn_writer *writer, struct chunk *chunk, uint32_t count);
void tarn_writer_chunk_give(struct tarn_writer *writer, struct chunk *chunk);

static inline struct staged_page *chunk_page(const struct tarn_writer *writer,
                                             const struct chunk *chunk, uint32_t i)
{
    return &writer->arena.pages[chunk->place + i];
}

static inline uint8_t *chunk_data(const struct tarn_writer *writer, const struct chunk *chunk)
{
    return writer->arena.data + ((size_t)chunk->place << writer->view->page_shift);
}

/* durable.c. */

void tarn_writer_durable_measure(struct tarn_writer *writer);

/* batch.c. */

/* A batch of what is dirty now: of some pages, of a file, of all (file 0). NULL: no memory. */
struct flush_batch *tarn_writer_batch_open_pages(struct tarn_writer *writer,
                                                 const uint64_t *page_ids, uint32_t count);
struct flush_batch *tarn_writer_batch_open_file(struct tarn_writer *writer, uint32_t file);
/* Of these pages; takes the array. */
struct flush_batch *tarn_writer_batch_of(struct tarn_writer *writer, struct flush_entry *entries,
                                         uint32_t count, enum flush_class class);
/* Fills in what is known of the page in a frame: false: it is not dirty, or nobody's. */
bool tarn_writer_entry_of(const struct tarn_writer *writer, uint32_t frame,
                          struct flush_entry *ret_entry);
void tarn_writer_entry_done(struct tarn_writer *writer, struct flush_entry *entry);
void tarn_writer_entry_queue(struct flush_entry *entry);
/* Ends it: answers whoever waits, frees. */
void tarn_writer_batch_close(struct tarn_writer *writer, struct flush_batch *batch);
void tarn_writer_batches_fail(struct tarn_writer *writer, int error);
/* To the next writer, which finds their requests where this one did: a writer that cannot go on
 * answers none. */
void tarn_writer_batches_leave(struct tarn_writer *writer);
void tarn_writer_batches_forget_file(struct tarn_writer *writer, uint32_t file);

/* flush.c. */

/* Writes of the cleaner that may be in flight: while somebody asks for pages now and then (`calm`),
 * and otherwise. */
unsigned tarn_writer_background_depth(const struct tarn_writer *writer, bool calm);
/* Starts what writes and syncs can be started; ends batches that are done. */
void tarn_writer_flush(struct tarn_writer *writer);
void tarn_writer_write_completed(struct tarn_writer *writer, uint32_t chunk, int64_t result);
void tarn_writer_sync_completed(struct tarn_writer *writer, uint32_t file, int64_t result);
void tarn_writer_sync_failed(struct tarn_writer *writer, uint32_t file, int error);
bool tarn_writer_writes_beyond(const struct tarn_writer *writer, uint32_t file, uint64_t count);
bool tarn_writer_failed(const struct tarn_writer *writer);

/* victims.c. */

/* By the policy that the pool was made with. What is in the pool already is learned in the first
 * rounds. */
int tarn_writer_victims_open(struct tarn_writer *writer);
void tarn_writer_victims_close(struct tarn_writer *writer);
/* Looks where pages have come in. True: at so many places that another look is worth while. */
bool tarn_writer_victims_learn(struct tarn_writer *writer);
/* Evicts up to `want` frames: of files that have more than their share first, then, if `others`,
 * what the policy chooses. Returns how many. */
unsigned tarn_writer_victims_evict(struct tarn_writer *writer, unsigned want, bool others);
/* The file's share stands in its record: what keeps it follows. */
void tarn_writer_victims_share(struct tarn_writer *writer, uint32_t file);
/* Does somebody have a pin in the frame? Asked once in a round. */
bool tarn_writer_victims_held(struct tarn_writer *writer, uint32_t frame);
/* Nobody leaves before some of those that are to leave have been written? */
static inline bool tarn_writer_victims_wait(const struct tarn_writer *writer)
{
    return writer->victims.leaving_count == writer->victims.leaving_max;
}

/* cleaner.c. */

void tarn_writer_cleaner_init(struct tarn_writer *writer);
/* A dirty page that can be made clean now. */
bool tarn_writer_worth_cleaning(const struct tarn_writer *writer, uint32_t frame,
                                struct flush_entry *ret_entry);
void tarn_writer_clean(struct tarn_writer *writer);
/* When it is to be called although nobody calls; 0: never. */
static inline uint64_t tarn_writer_clean_next_ns(const struct tarn_writer *writer)
{
    return writer->demand.next_ns;
}

static inline struct tarn_file_entry *file_entry(const struct tarn_writer *writer, uint32_t id)
{
    return &writer->view->files[id];
}

/* files.c. */

/* At takeover: opens and fences the files of the table, brings the segment's array into line. */
int tarn_writer_files_enter(struct tarn_writer *writer);
void tarn_writer_files_close(struct tarn_writer *writer);
void tarn_writer_file_close(struct tarn_writer *writer, uint32_t id);
int tarn_writer_table_write(struct tarn_writer *writer);
void tarn_writer_file_open(struct tarn_writer *writer, unsigned slot, uint64_t asked);

/* resize.c. */

/* What a dead writer has begun and nobody asks for any more is brought to its end. */
void tarn_writer_files_resume(struct tarn_writer *writer);
/* A request that is not a flush. */
void tarn_writer_file_request(struct tarn_writer *writer, unsigned slot, uint64_t asked,
                              const struct request_words *words);
/* Goes on with extensions, truncations, drops; true: some wait and are to be looked at soon. */
/* A drop of the file has begun: it is no file any more, unless that is taken back. */
bool tarn_writer_file_drops(const struct tarn_writer *writer, uint32_t id);

bool tarn_writer_files_work(struct tarn_writer *writer);
void tarn_writer_op_sync_completed(struct tarn_writer *writer, uint32_t file, int64_t result);
bool tarn_writer_files_busy(const struct tarn_writer *writer);
/* Takes back what can be taken back. */
void tarn_writer_files_stop(struct tarn_writer *writer);

/* serve.c. */

void tarn_writer_answer(struct tarn_writer *writer, unsigned slot, uint64_t asked, int result);
/* Looks at all slots: who is there, what they ask for. */
void tarn_writer_look(struct tarn_writer *writer);
void tarn_writer_process_ended(struct tarn_writer *writer, uint32_t watch);
void tarn_writer_watches_close(struct tarn_writer *writer);

#endif
