/* SPDX-License-Identifier: MIT */
#include "tests/kill/oracle.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "lib/internal.h"
#include "shm/check.h"

unsigned oracle_failures;
void (*oracle_failed)(void);

void oracle_broken(const char *what, unsigned long long a, unsigned long long b)
{
    printf("# %s: %llu, %llu\n", what, a, b);
    fflush(stdout);
    oracle_failures++;
    oracle_failed();
}

static void report(void *context, const struct tarn_violation *violation)
{
    (void)context;
    printf("# %s:", tarn_rules[violation->rule].text);
    for (unsigned i = 0; i < TARN_VIOLATION_VALUES && violation->value[i].name != NULL; i++)
        printf(" %s %#" PRIx64, violation->value[i].name, violation->value[i].value);
    putchar('\n');
}

static bool dead(void *context, unsigned slot)
{
    (void)context;
    return world_dead(slot);
}

static bool in_the_middle(void *context, unsigned slot)
{
    const struct process *process = world_process_of(slot);

    (void)context;
    return process != NULL && process->state != PROCESS_IDLE;
}

/* What a session at rest has in the segment is what it counts itself. */
static void check_session(const struct process *process)
{
    const struct tarn_session *session = process->actor.session;
    unsigned holds = 0, counted = 0, claims = 0;

    if (session == NULL || process->state != PROCESS_IDLE)
        return;
    for (unsigned i = 0; i < TARN_HOLDS_MAX; i++) {
        holds += session->hold[i]->value != 0;
        counted += session->pinned[i] != 0;
    }
    for (unsigned i = 0; i < TARN_CLAIMS_MAX; i++)
        claims += session->shared->claim[i].value != 0;
    if (holds != counted)
        oracle_broken("holds of a living session, as it counts them", holds, counted);
    if (claims != session->shadow_count && process->actor.state == 0 && session->ahead == NULL)
        oracle_broken("frames announced by a living session, as it counts them", claims,
                      session->shadow_count);
}

void oracle_segment(void)
{
    const struct tarn_check_options options = {.dead = dead, .stopped = in_the_middle};

    if (tarn_check_view(&world.view, &options, report, NULL) != 0)
        oracle_broken("rules of the segment are broken", 0, 0);
    for (unsigned i = 0; i < WORLD_PROCESSES; i++)
        check_session(&world.processes[i]);
}

/* As it was found when the file last changed. */
static uint64_t on_disk(unsigned page)
{
    static uint64_t version, found[OPERATION_PAGES];
    const struct node *node = world_node(WORLD_DIRECTORY "/data");
    const char *data = world_node_data(node);

    for (unsigned i = 0; node->version != version && i < OPERATION_PAGES; i++)
        found[i] = operation_sequence(data + (size_t)i * OPERATION_PAGE_BYTES, i);
    version = node->version;
    return found[page];
}

static uint64_t in_pool(unsigned page)
{
    uint64_t word;
    uint32_t frame = world.segment == NULL
                         ? TARN_NO_FRAME
                         : tarn_table_find(&world.view, tarn_page_id(1, page).value, &word);

    return frame == TARN_NO_FRAME ? on_disk(page)
                                  : operation_sequence(tarn_view_frame(&world.view, frame), page);
}

/* In the pool and not dirty: what is on disk is the same. */
static bool is_clean(unsigned page)
{
    uint64_t word;
    uint32_t frame = world.segment == NULL
                         ? TARN_NO_FRAME
                         : tarn_table_find(&world.view, tarn_page_id(1, page).value, &word);

    return frame != TARN_NO_FRAME &&
           !dirty_word_dirty(world.view.descriptors[frame].dirty_word.value);
}

static bool is_in(const struct change *change, unsigned page)
{
    for (unsigned i = 0; i < change->page_count; i++)
        if (change->page[i] == page)
            return true;
    return false;
}

/* All or nothing, as far as another change is not on top of it. */
static void check_change(const struct model *of, const struct change *change)
{
    unsigned old = 0, new = 0;

    for (unsigned i = 0; i < change->page_count; i++) {
        uint64_t seen = in_pool((unsigned)change->page[i]);

        old += seen == of->sequence[change->page[i]];
        new += seen == change->sequence;
    }
    if ((change->state == CHANGE_BEGUN && old > 0 && new > 0) ||
        (change->state == CHANGE_COMMITTED && old > 0) ||
        (change->state == CHANGE_ABORTED && new > 0))
        oracle_broken("a change is not all or nothing, or not as its call returned", old, new);
}

/* Everybody is at rest. What the pages have from now on is what they have now. */
void oracle_pages(struct model *of, struct actor **actors, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        if (actors[i]->change.state != CHANGE_NONE)
            check_change(of, &actors[i]->change);
    for (unsigned page = 0; page < OPERATION_PAGES; page++) {
        uint64_t seen = in_pool(page), disk = on_disk(page);
        bool known = seen == of->sequence[page];

        for (unsigned i = 0; i < count; i++) {
            const struct change *change = &actors[i]->change;

            if (!is_in(change, page))
                continue;
            known |= change->state != CHANGE_ABORTED && seen == change->sequence;
            /* Drawn before the one acknowledged, and committed after it. */
            if (disk == change->sequence && disk < of->durable[page])
                of->durable[page] = disk;
        }
        if (known && seen < of->durable[page])
            of->durable[page] = seen;
        if (!known || seen == 0)
            oracle_broken("a page is not as the last change left it", page, seen);
        if (is_clean(page) && seen != disk)
            oracle_broken("a page that is not dirty is not what is on disk", page, disk);
        if (disk == 0 || disk < of->durable[page])
            oracle_broken("a page on disk is older than acknowledged", page, disk);
        of->sequence[page] = seen;
    }
    for (unsigned i = 0; i < count; i++)
        actors[i]->change.state = CHANGE_NONE;
}

void oracle_acknowledge(struct model *of, const struct process *process,
                        const struct operation *operation)
{
    const struct change *change = &process->actor.change;
    unsigned both = OPERATION_CHANGES | OPERATION_ASKS;

    if (process->result != 0 || change->state != CHANGE_COMMITTED ||
        (operation->flags & both) != both)
        return;
    for (unsigned i = 0; i < change->page_count; i++)
        of->durable[change->page[i]] = change->sequence;
}
