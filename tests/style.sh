#!/bin/sh
# SPDX-License-Identifier: MIT
# The rules of CONTRIBUTING.md that a program can check.
# shellcheck disable=SC2317  # tap calls them all
. "${TARN_SOURCE_ROOT:?}/tests/tap"
cd "$TARN_SOURCE_ROOT" || exit 1

sources() { # DIRECTORY...
    find "$@" -name '*.[ch]'
}

texts() {
    find .ci docs examples lib shm tests tools ./*.md ./meson* .clang-format .gitignore -type f \
        ! -name '*.csv' ! -name '*.json' ! -path '*/__pycache__/*' ! -path '*/fuzz/seeds/*'
}

# Fails, showing the places, if grep finds the pattern in the files on standard input.
none_has() { # PATTERN
    xargs -r grep -nHE "$1" | nothing
}

shm_includes_shm_and_string_h_alone() {
    grep -rnE '^ *# *include' shm --include='*.[ch]' |
        grep -vE '<(assert|atomic_ops|errno|limits|stdalign|stdbool|stddef|stdint|string)\.h>' |
        grep -vE '"shm/[a-z_]+\.h"' | nothing
}

lib_includes_nothing_above_it() {
    sources lib | none_has '^ *# *include *["<](tools|tests|examples)/'
}

tools_include_nothing_above_them() {
    sources tools | none_has '^ *# *include *["<](tests|examples)/'
}

examples_include_the_public_header_alone() {
    sources examples | none_has '^ *# *include *"'
}

includes_start_at_the_top() {
    grep -rnE '^ *# *include *"' shm lib tools tests --include='*.[ch]' |
        grep -vE '"(shm|lib|tools|tests)/[a-z0-9_/]+\.h"' | nothing
}

# And what a test answers in its place.
only_uring_c_includes_liburing() {
    sources . | grep -v '^\./build' | grep -vE '^\./(lib/io/uring|tests/calls)\.c$' |
        none_has '# *include *<liburing'
}

# Tests and examples may have one accessor of their own for optimistic reads, and tests may set up
# shared memory by hand; what the library and the command do with shared words stands in one header.
only_atomic_h_makes_atomic_accesses() {
    sources shm lib tools | grep -v '^shm/atomic\.h$' |
        none_has '\bAO_|\bvolatile\b|__atomic_|__sync_|stdatomic|\b_Atomic\b'
}

# With clang these two become mfence, three times the price of a locked instruction, and
# ThreadSanitizer does not see them. An add or a CAS is the full barrier where one is needed.
full_barriers_are_locked_instructions() {
    sources shm | none_has '^[^*]*\bAO_(nop_full|store_full)\b'
}

lines_have_at_most_100_columns() {
    texts | grep -v '\.pml$' | while read -r file; do
        awk -v file="$file" 'length($0) > 100 { print file ":" NR ": " length($0) " columns" }' \
            "$file"
    done | nothing
}

# A function's body stands between a { and a } in the first column.
functions_fit_a_screen() {
    sources shm lib tools tests examples | xargs awk '
        FNR == 1 { start = 0 }
        /^{/ { start = FNR }
        /^}/ {
            if (start && FNR - start + 1 > 70)
                print FILENAME ":" start ": " FNR - start + 1 " lines"
            start = 0
        }' | nothing
}

no_tabs_and_no_trailing_blanks() {
    sources shm lib tools tests examples | none_has "$(printf '\t')|[[:blank:]]\$"
}

every_file_names_its_license() {
    texts | grep -vE '\.(md|map|N)$|^\.gitignore|/\.gitignore' | while read -r file; do
        head -n 3 "$file" | grep -q 'SPDX-License-Identifier: MIT' || echo "$file"
    done | nothing
}

build_leaves_no_file_out() {
    find shm lib tools examples docs tests/*.c tests/*.sh -name '*.c' -o -name '*.sh' \
        -o -name '*.[1-9]' | while read -r file; do
        grep -q "'${file#*/}'" "${file%%/*}/meson.build" || echo "$file"
    done | nothing
}

# A name of the machine something was written on helps nobody else.
no_paths_of_one_machine() {
    texts | none_has '(^|[^[:alnum:].])/(work|home|root|Users)/'
}

tap shm_includes_shm_and_string_h_alone \
    lib_includes_nothing_above_it \
    tools_include_nothing_above_them \
    examples_include_the_public_header_alone \
    includes_start_at_the_top \
    only_uring_c_includes_liburing \
    only_atomic_h_makes_atomic_accesses \
    full_barriers_are_locked_instructions \
    lines_have_at_most_100_columns \
    functions_fit_a_screen \
    no_tabs_and_no_trailing_blanks \
    every_file_names_its_license \
    build_leaves_no_file_out \
    no_paths_of_one_machine
