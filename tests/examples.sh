#!/bin/sh
# SPDX-License-Identifier: MIT
# The examples do what they say; the B+tree also while its processes and the writer are killed.
# shellcheck disable=SC2317  # tap calls them all
. "${TARN_SOURCE_ROOT:?}/tests/tap"
examples=$TARN_BUILD_ROOT/examples
cd "$scratch" || exit 1

# A pool and its writers, gone when the test's shell ends, whichever way that comes.
begin_pool() { # SIZE WRITER-COUNT
    pool=test-examples-$$
    writers=
    "$TARN" init "$pool" --frames "$1"
    trap end_pool EXIT
    for _ in $(seq "$2"); do
        "$TARN" writer "$pool" &
        writers="$writers $!"
    done
}

end_pool() {
    set +e
    # shellcheck disable=SC2086  # the writers, one by one
    kill -9 $writers
    wait
    "$TARN" destroy --force --data "$pool"
}

kill_after() { # SECONDS PID
    (sleep "$1" && kill -9 "$2") &
}

embedded_pool_counts_its_runs() {
    [ "$("$examples/example-hello")" = "run 1" ]
    [ "$("$examples/example-hello")" = "run 2" ]
    [ "$(od -An -t u8 -N 8 hello.tarn/runs | tr -d ' ')" = 2 ]
}

processes_count_on_one_page() {
    begin_pool 1M 1
    "$examples/example-counter" "$pool"
    "$TARN" check "$pool"
}

tree_fits_the_pool() {
    begin_pool 64M 1
    "$examples/example-btree" "$pool" --processes 4 --count 20000
    "$TARN" check "$pool"
}

tree_outgrows_the_pool() {
    begin_pool 1M 1
    "$examples/example-btree" "$pool" tree --processes 3 --count 4000
    "$TARN" check "$pool"
}

tree_stays_whole_when_its_processes_are_killed() {
    begin_pool 4M 1
    "$examples/example-btree" "$pool" tree --processes 4 --count 20000 --kills 10
    "$TARN" check "$pool"
}

tree_stays_whole_when_the_writer_is_killed() {
    begin_pool 1M 3
    # shellcheck disable=SC2086  # the writers, one by one
    set -- $writers
    kill_after 0.3 "$1"
    kill_after 0.9 "$2"
    "$examples/example-btree" "$pool" tree --processes 3 --count 6000 --kills 5
    "$TARN" check "$pool"
}

second_tree_of_a_name_is_refused() {
    begin_pool 1M 1
    "$examples/example-btree" "$pool" tree --count 100
    if "$examples/example-btree" "$pool" tree --count 100 2>message; then
        return 1
    fi
    grep "tree" message
}

tap embedded_pool_counts_its_runs \
    processes_count_on_one_page \
    tree_fits_the_pool \
    tree_outgrows_the_pool \
    tree_stays_whole_when_its_processes_are_killed \
    tree_stays_whole_when_the_writer_is_killed \
    second_tree_of_a_name_is_refused
