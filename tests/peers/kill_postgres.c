/* SPDX-License-Identifier: MIT */
/* PostgreSQL under the load of kill_load.c: a page is a row, a change a transaction. Who gets the
 * signal is the server's process that works for a client, the one that has shared memory mapped; a
 * client whose connection is gone connects again. The server is started by tests/peers/kill, its
 * socket is in the directory. */
#include <libpq-fe.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/peers/kill_load.h"

static void say_nothing(void *context, const char *message)
{
    (void)context, (void)message;
}

static PGconn *connect_to(const char *directory)
{
    char options[600];
    snprintf(options, sizeof options, "host=%s dbname=postgres user=postgres", directory);
    PGconn *connection = PQconnectdb(options);
    PQsetNoticeProcessor(connection, say_nothing, NULL);
    if (PQstatus(connection) == CONNECTION_OK)
        return connection;
    PQfinish(connection);
    return NULL;
}

static bool run(PGconn *connection, const char *command)
{
    PGresult *result = PQexec(connection, command);
    bool good = PQresultStatus(result) == PGRES_COMMAND_OK;
    PQclear(result);
    return good;
}

/* A prepared statement with the page's number, and perhaps its bytes. */
static PGresult *run_prepared(PGconn *connection, const char *name, uint32_t page,
                              const void *bytes)
{
    char number[16];
    const char *values[] = {number, bytes};
    int lengths[] = {0, KILL_PAGE_BYTES}, formats[] = {0, 1};
    snprintf(number, sizeof number, "%u", page);
    return PQexecPrepared(connection, name, bytes == NULL ? 1 : 2, values, lengths, formats, 1);
}

static bool prepare(PGconn *connection)
{
    static const char *const statements[][2] = {
        {"read", "select bytes from pages where id = $1"},
        {"lock", "select bytes from pages where id = $1 for update"},
        {"write", "update pages set bytes = $2 where id = $1"},
        {"make", "insert into pages values ($1, $2)"},
    };
    bool good = true;
    for (unsigned i = 0; i < sizeof statements / sizeof statements[0]; i++) {
        PGresult *result = PQprepare(connection, statements[i][0], statements[i][1], 0, NULL);
        good = good && PQresultStatus(result) == PGRES_COMMAND_OK;
        PQclear(result);
    }
    return good;
}

static void make_postgres(const char *directory)
{
    uint64_t bytes[KILL_PAGE_BYTES / 8];
    PGconn *connection = connect_to(directory);
    if (connection == NULL || !run(connection, "drop table if exists pages") ||
        !run(connection, "create table pages (id int primary key, bytes bytea)") ||
        !prepare(connection) || !run(connection, "begin"))
        kill_die(directory, "no table");
    for (uint32_t page = 0; page < KILL_PAGES; page++) {
        kill_page_make(bytes, page);
        PQclear(run_prepared(connection, "make", page, bytes));
    }
    if (!run(connection, "commit"))
        kill_die(directory, "no pages");
    PQfinish(connection);
}

static void *open_postgres(const char *directory)
{
    PGconn *connection = connect_to(directory);
    if (connection == NULL || prepare(connection))
        return connection;
    PQfinish(connection);
    return NULL;
}

static void close_postgres(void *handle)
{
    PQfinish(handle);
}

static pid_t backend_of(void *handle)
{
    return PQbackendPID(handle);
}

static int get(PGconn *connection, const char *statement, uint32_t page, void *ret_copy)
{
    PGresult *result = run_prepared(connection, statement, page, NULL);
    bool good = PQresultStatus(result) == PGRES_TUPLES_OK && PQntuples(result) == 1 &&
                PQgetlength(result, 0, 0) == KILL_PAGE_BYTES;
    if (good)
        memcpy(ret_copy, PQgetvalue(result, 0, 0), KILL_PAGE_BYTES);
    PQclear(result);
    return good ? KILL_DONE : KILL_LOST;
}

static int read_postgres(void *handle, uint32_t page, void *ret_copy)
{
    return get(handle, "read", page, ret_copy);
}

static int change_postgres(void *handle, uint32_t page, uint64_t *ret_sequence)
{
    uint64_t bytes[KILL_PAGE_BYTES / 8];
    if (!run(handle, "begin") || get(handle, "lock", page, bytes) != KILL_DONE)
        return KILL_LOST;
    *ret_sequence = kill_page_change(bytes, page);
    PGresult *result = run_prepared(handle, "write", page, bytes);
    bool good = PQresultStatus(result) == PGRES_COMMAND_OK;
    PQclear(result);
    return good && run(handle, "commit") ? KILL_DONE : KILL_LOST;
}

const struct kill_peer kill_peer = {
    .make = make_postgres,
    .open = open_postgres,
    .close = close_postgres,
    .victim = backend_of,
    .read = read_postgres,
    .change = change_postgres,
    .notice_ms = 200,
};
