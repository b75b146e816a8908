/* SPDX-License-Identifier: MIT */
/* A B+tree that processes share: 64-bit keys and values in one file of a pool.
 *
 *     tarn init demo && (tarn writer demo &)
 *     btree demo --processes 4 --count 100000 --kills 10
 *
 * Page 0 says which page is free next. Page 1 is the root for ever. A node is a level, a count and
 * sorted entries; an entry of an inner node is the least key of a child, and the child's page.
 *
 * Everybody goes down optimistically: reads what he needs of a node, asks whether it counts, begins
 * with the child, asks whether the node still stands unchanged: then the child was the right one
 * when it was begun. A writer then takes the leaf only if it is still as he saw it. Nodes that are
 * full are split on the way down, each split a mini-transaction of its own, so a parent has room.
 *
 * Nodes are never waited for with another in hand, so no wait can close a cycle. No page is given
 * back: a leaf whose entries are all deleted stays, and takes new ones.
 */
#include <err.h>
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <tarn.h>
#include <unistd.h>

enum { META_PAGE = 0, ROOT_PAGE = 1, FIRST_FREE_PAGE = 2, EXTEND_PAGES = 256 };

#define NO_KEY UINT64_MAX /* all others may be keys */

struct entry {
    uint64_t key;
    uint64_t value; /* in an inner node: page number of the child */
};

struct node {
    uint64_t level; /* 0: leaf */
    uint64_t count;
    struct entry entry[];
};

struct tree {
    struct tarn_session *session;
    uint32_t file;
    uint32_t page_bytes;
    uint64_t capacity; /* entries a node */
};

/* Where a descent has come to. */
struct place {
    struct tarn_optimistic parent; /* of the node, if that is not the root */
    struct tarn_optimistic node;
    uint64_t upper; /* keys of the node are below it; NO_KEY: no limit */
};

/* The one place that reads what others may be changing: what it returns counts only if
 * tarn_optimistic_valid() says so afterwards. */
__attribute__((no_sanitize("thread"))) static uint64_t peek(const uint64_t *word)
{
    return *(const volatile uint64_t *)word;
}

static struct tarn_page_id page(const struct tree *tree, uint64_t number)
{
    return tarn_page_id(tree->file, number);
}

/* Entries in a node; never more than it has room for, whatever stands there. */
static uint64_t count_of(const struct tree *tree, const struct node *node)
{
    uint64_t count = peek(&node->count);

    return count < tree->capacity ? count : tree->capacity;
}

/* How many entries have keys up to `key`. */
static uint64_t rank(const struct tree *tree, const struct node *node, uint64_t key)
{
    uint64_t low = 0, high = count_of(tree, node);

    while (low < high) {
        uint64_t middle = (low + high) / 2;

        if (peek(&node->entry[middle].key) <= key)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static void insert_entry(struct node *node, uint64_t index, uint64_t key, uint64_t value)
{
    struct entry *entry = &node->entry[index];

    memmove(entry + 1, entry, (node->count - index) * sizeof(*entry));
    *entry = (struct entry){.key = key, .value = value};
    node->count++;
}

/* Commits if all went well, else takes everything back. */
static int end_mtr(struct tree *tree, int result)
{
    if (result == 0)
        return tarn_mtr_commit(tree->session, 0);
    tarn_mtr_abort(tree->session);
    return result;
}

/* Takes a new page into the mini-transaction. -ERANGE: the file has no more. */
static int allocate(struct tree *tree, uint64_t *ret_number, struct node **ret_node)
{
    struct tarn_writable_page meta, new_page;
    uint64_t *next_free;
    int result = tarn_mtr_write_range(tree->session, page(tree, META_PAGE), 0, 8, -1, &meta);

    if (result < 0)
        return result;
    next_free = meta.data;
    result = tarn_mtr_new(tree->session, page(tree, *next_free), -1, &new_page);
    if (result < 0)
        return result;
    *ret_number = (*next_free)++;
    *ret_node = new_page.data;
    return 0;
}

/* All entries of a full root move into a new node, its only child from now on. */
static void raise_root(struct node *root, struct node *child, uint64_t child_number)
{
    memcpy(child, root, sizeof(*root) + root->count * sizeof(struct entry));
    root->level++;
    root->count = 1;
    root->entry[0] = (struct entry){.key = 0, .value = child_number};
}

/* Half of the entries of a full node move into a new node to its right. */
static void divide(const struct tree *tree, struct node *parent, struct node *left,
                   struct node *right, uint64_t right_number)
{
    right->level = left->level;
    right->count = left->count / 2;
    left->count -= right->count;
    memcpy(right->entry, left->entry + left->count, right->count * sizeof(struct entry));
    insert_entry(parent, rank(tree, parent, right->entry[0].key), right->entry[0].key,
                 right_number);
}

/* Makes room in a full node; its parent has some. -EAGAIN, done or not: go down again. */
static int split(struct tree *tree, const struct place *place)
{
    struct tarn_writable_page full, parent;
    struct node *fresh;
    uint64_t number;
    int result = tarn_mtr_begin(tree->session, 4);

    if (result < 0)
        return result;
    result = tarn_mtr_write_if(tree->session, &place->node, -1, &full);
    if (result == 0)
        result = allocate(tree, &number, &fresh);
    if (result == 0 && tarn_page_number(place->node.id) == ROOT_PAGE) {
        raise_root(full.data, fresh, number);
    } else if (result == 0) {
        result = tarn_mtr_write_if(tree->session, &place->parent, -1, &parent);
        if (result == 0)
            divide(tree, parent.data, full.data, fresh, number);
    }
    result = end_mtr(tree, result);
    return result < 0 ? result : -EAGAIN;
}

/* From an inner node to the child that `key` belongs to. -EAGAIN: it has changed meanwhile. */
static int step_down(struct tree *tree, uint64_t key, struct place *place)
{
    const struct node *node = place->node.data;
    uint64_t index = rank(tree, node, key);
    uint64_t child = index > 0 ? peek(&node->entry[index - 1].value) : 0;
    uint64_t upper = index < count_of(tree, node) ? peek(&node->entry[index].key) : place->upper;
    int result;

    if (!tarn_optimistic_valid(tree->session, &place->node))
        return -EAGAIN;
    place->parent = place->node;
    place->upper = upper;
    result = tarn_optimistic_begin(tree->session, page(tree, child), &place->node);
    if (result < 0)
        return result;
    return tarn_optimistic_valid(tree->session, &place->parent) ? 0 : -EAGAIN;
}

/* Goes down to the leaf of `key`; splits full nodes if it is to have room. -EAGAIN: begin again. */
static int descend(struct tree *tree, uint64_t key, bool want_room, struct place *place)
{
    int result = tarn_optimistic_begin(tree->session, page(tree, ROOT_PAGE), &place->node);

    place->upper = NO_KEY;
    while (result == 0) {
        const struct node *node = place->node.data;

        if (want_room && count_of(tree, node) == tree->capacity)
            return split(tree, place);
        if (peek(&node->level) == 0)
            return 0;
        result = step_down(tree, key, place);
    }
    return result;
}

/* 1: found; 0: there is no such key. */
static int btree_find(struct tree *tree, uint64_t key, uint64_t *ret_value)
{
    struct place place;
    uint64_t value = 0;
    bool found = false;
    int result;

    do {
        result = descend(tree, key, false, &place);
        if (result == 0) {
            const struct node *leaf = place.node.data;
            uint64_t index = rank(tree, leaf, key);

            found = index > 0 && peek(&leaf->entry[index - 1].key) == key;
            value = found ? peek(&leaf->entry[index - 1].value) : 0;
            result = tarn_optimistic_valid(tree->session, &place.node) ? 0 : -EAGAIN;
        }
    } while (result == -EAGAIN);
    if (result == 0 && found)
        *ret_value = value;
    return result == 0 ? found : result;
}

/* btree_set() in the leaf, if it is still as it was seen. */
static int set_in_leaf(struct tree *tree, const struct tarn_optimistic *seen, uint64_t key,
                       const uint64_t *value)
{
    struct tarn_writable_page leaf_page;
    bool found = false;
    int result = tarn_mtr_begin(tree->session, 1);

    if (result < 0)
        return result;
    result = tarn_mtr_write_if(tree->session, seen, -1, &leaf_page);
    if (result == 0) {
        struct node *leaf = leaf_page.data;
        uint64_t index = rank(tree, leaf, key);

        found = index > 0 && leaf->entry[index - 1].key == key;
        if (found && value != NULL)
            leaf->entry[index - 1].value = *value;
        else if (found)
            memmove(&leaf->entry[index - 1], &leaf->entry[index],
                    (leaf->count-- - index) * sizeof(struct entry));
        else if (value != NULL)
            insert_entry(leaf, index, key, *value);
    }
    result = end_mtr(tree, result);
    return result < 0 ? result : found;
}

/* The file is used up: makes it longer, with nothing held. -EAGAIN: done. */
static int extend(struct tree *tree)
{
    uint64_t page_count;
    int result = tarn_file_page_count(tree->session, tree->file, &page_count);

    if (result == 0)
        result = tarn_file_extend(tree->session, tree->file, page_count + EXTEND_PAGES);
    return result < 0 ? result : -EAGAIN;
}

/* Sets the value of a key, or with `value` NULL deletes it. 1: the key was there; 0: it was not. */
static int btree_set(struct tree *tree, uint64_t key, const uint64_t *value)
{
    struct place place;
    int result;

    do {
        result = descend(tree, key, value != NULL, &place);
        if (result == 0)
            result = set_in_leaf(tree, &place.node, key, value);
        else if (result == -ERANGE)
            result = extend(tree);
    } while (result == -EAGAIN);
    return result;
}

/* Walks over copies of leaves, each as it stood at one moment; holds nothing meanwhile. Begins as
 * {tree, key}: at the least key from `key` on. */
struct cursor {
    struct tree *tree;
    uint64_t next_key; /* where the leaf after the copy begins; NO_KEY: there is none */
    uint64_t index;    /* next entry in the copy */
    union {
        struct node leaf;
        uint8_t bytes[65536];
    } copy;
};

static int fill_cursor(struct cursor *cursor)
{
    struct tree *tree = cursor->tree;
    struct node *leaf = &cursor->copy.leaf;
    struct place place;
    int result = descend(tree, cursor->next_key, false, &place);

    if (result == 0)
        result = tarn_page_copy(tree->session, place.node.id, 0, tree->page_bytes, leaf);
    if (result == 0 && !tarn_optimistic_valid(tree->session, &place.node))
        result = -EAGAIN;
    cursor->index = 0;
    if (result < 0) {
        leaf->count = 0;
        return result;
    }
    if (cursor->next_key > 0)
        cursor->index = rank(tree, leaf, cursor->next_key - 1);
    cursor->next_key = place.upper;
    return 0;
}

/* 1: the next entry; 0: there is none. */
static int cursor_next(struct cursor *cursor, struct entry *ret_entry)
{
    while (cursor->index == cursor->copy.leaf.count && cursor->next_key != NO_KEY) {
        int result = fill_cursor(cursor);

        if (result < 0 && result != -EAGAIN)
            return result;
    }
    if (cursor->index == cursor->copy.leaf.count)
        return 0;
    *ret_entry = cursor->copy.leaf.entry[cursor->index++];
    return 1;
}

/* Makes an empty tree in a new file, whose id is good in all processes. */
static int btree_create(struct tree *tree, const char *path)
{
    struct tarn_writable_page meta, root;
    int result =
        tarn_file_open(tree->session, path, TARN_FILE_CREATE | TARN_FILE_EXCLUSIVE, &tree->file);

    if (result == 0)
        result = tarn_file_extend(tree->session, tree->file, FIRST_FREE_PAGE);
    if (result == 0)
        result = tarn_mtr_begin(tree->session, 2);
    if (result < 0)
        return result;
    result = tarn_mtr_new(tree->session, page(tree, ROOT_PAGE), -1, &root);
    if (result == 0)
        result = tarn_mtr_new(tree->session, page(tree, META_PAGE), -1, &meta);
    if (result == 0)
        *(uint64_t *)meta.data = FIRST_FREE_PAGE;
    return end_mtr(tree, result);
}

/* The trial: processes insert, delete, find and scan; those killed are started again. */

struct job {
    const char *pool_name;
    uint64_t processes;
    uint64_t count; /* keys of each of them */
    uint64_t kills; /* how often each of them is killed */
};

static int check(struct tree *tree, int result)
{
    if (result < 0)
        errx(1, "%s", tarn_session_message(tree->session));
    return result;
}

/* A child has none of its parent's handles: each process attaches by itself. */
static struct tarn_pool *attach(const struct job *job, struct tree *tree)
{
    struct tarn_pool_info info = {.size = sizeof(info)};
    struct tarn_message message;
    struct tarn_pool *pool;

    if (tarn_attach(job->pool_name, NULL, &pool, &message) < 0)
        errx(1, "%s", message.text);
    if (tarn_pool_info(pool, &info) < 0 || tarn_session_open(pool, NULL, &tree->session) < 0)
        errx(1, "%s", tarn_pool_message(pool, &message) < 0 ? "no session" : message.text);
    tree->page_bytes = info.page_bytes;
    tree->capacity = (info.page_bytes - sizeof(struct node)) / sizeof(struct entry);
    return pool;
}

/* All different, in no order. */
static uint64_t key_of(const struct job *job, uint64_t process, uint64_t i)
{
    return (i * job->processes + process + 1) * 0x9e3779b97f4a7c15u;
}

static void expect(struct tree *tree, uint64_t key, bool present)
{
    uint64_t value = ~key;

    if (check(tree, btree_find(tree, key, &value)) != present || value != ~key)
        errx(1, "a key is lost, there again, or has another's value");
}

/* Counts up to `max` keys from `key` on. */
static uint64_t scan(struct tree *tree, uint64_t key, uint64_t max)
{
    struct cursor cursor = {.tree = tree, .next_key = key};
    struct entry entry;
    uint64_t count = 0;

    for (; count < max && check(tree, cursor_next(&cursor, &entry)) == 1; count++) {
        if (entry.key < key || entry.value != ~entry.key)
            errx(1, "a scan goes backwards, or a key has another's value");
        key = entry.key + 1;
    }
    return count;
}

/* Inserts all keys of a process, deletes every second again. Some of it may have been done. */
static int work(const struct job *job, struct tree tree, uint64_t process)
{
    struct tarn_pool *pool = attach(job, &tree);

    for (uint64_t i = 0; i < job->count; i++) {
        uint64_t key = key_of(job, process, i), value = ~key;

        check(&tree, btree_set(&tree, key, &value));
        if (i % 2 == 1)
            check(&tree, btree_set(&tree, key_of(job, process, i - 1), NULL));
        expect(&tree, key_of(job, process, i / 2), i / 2 % 2 == 1 || i == 0);
        if (i % 1000 == 0)
            scan(&tree, key, 1000);
    }
    return tarn_detach(pool) < 0;
}

/* Sees to it that one process's work gets done, however often it is killed. */
static int keep_working(const struct job *job, const struct tree *tree, uint64_t process)
{
    uint64_t kills = job->kills;
    int status;

    srand((unsigned)process);
    do {
        pid_t pid = fork();

        if (pid == 0)
            exit(work(job, *tree, process));
        if (kills > 0 && usleep(rand() % 100000) == 0 && kills-- > 0)
            kill(pid, SIGKILL);
        waitpid(pid, &status, 0);
    } while (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    return status != 0;
}

int main(int argc, char **argv)
{
    static const struct option options[] = {{"processes", required_argument, NULL, 0},
                                            {"count", required_argument, NULL, 1},
                                            {"kills", required_argument, NULL, 2},
                                            {0}};
    struct job job = {.processes = 4, .count = 100000};
    uint64_t *value[] = {&job.processes, &job.count, &job.kills};
    struct tarn_pool *pool;
    struct tree tree;
    int option, status;

    while ((option = getopt_long(argc, argv, "", options, NULL)) >= 0 && option <= 2)
        *value[option] = strtoull(optarg, NULL, 10);
    if (option >= 0 || optind == argc || job.processes == 0)
        errx(1, "usage: btree NAME [FILE] [--processes N] [--count N] [--kills N]");
    job.count += job.count % 2;
    job.pool_name = argv[optind];
    pool = attach(&job, &tree);
    check(&tree, btree_create(&tree, optind + 1 < argc ? argv[optind + 1] : "btree"));
    for (uint64_t process = 0; process < job.processes; process++) {
        if (fork() == 0)
            exit(keep_working(&job, &tree, process));
    }
    while (wait(&status) > 0)
        if (status != 0)
            errx(1, "a process has failed");
    for (uint64_t i = 0; i < job.processes * job.count; i++)
        expect(&tree, key_of(&job, i % job.processes, i / job.processes), i / job.processes % 2);
    if (scan(&tree, 0, UINT64_MAX) != job.processes * job.count / 2)
        errx(1, "there are keys that nobody has inserted");
    printf("%" PRIu64 " keys, in order\n", job.processes * job.count / 2);
    return tarn_detach(pool) < 0;
}
