#!/bin/sh
# SPDX-License-Identifier: MIT
# What "meson install" puts down is enough to compile, link and run programs against.
# shellcheck disable=SC2317  # tap calls them all
. "${TARN_SOURCE_ROOT:?}/tests/tap"
cd "$TARN_SOURCE_ROOT" || exit 1

cc=${CC:-cc}
root=$scratch/root
meson install -C "$TARN_BUILD_ROOT" --no-rebuild --destdir "$root" >"$scratch/install.log" 2>&1 || {
    echo "Bail out! meson install failed"
    sed 's/^/# /' "$scratch/install.log"
    exit 1
}
pc=$(find "$root" -name tarn.pc)
libdir=$(dirname "$(dirname "$pc")")
header=$(find "$root" -name tarn.h)
prefix=$(dirname "$(dirname "$header")")
PKG_CONFIG_PATH=$(dirname "$pc")
PKG_CONFIG_SYSROOT_DIR=$root
LD_LIBRARY_PATH=$libdir
export PKG_CONFIG_PATH PKG_CONFIG_SYSROOT_DIR LD_LIBRARY_PATH

# The names of the functions that the header declares.
declared() {
    $cc -E -P "$header" | sed 's/__attribute__((visibility("default")))//' |
        tr '\n' ' ' | tr ';' '\n' | sed -n 's/^[^(]*\b\(tarn_[a-z0-9_]*\) *(.*/\1/p' | sort
}

# The names of the global symbols that a library defines; in the shared one, without its version.
exported() { # NM-OPTION... LIBRARY
    nm --defined-only "$@" | awk 'NF == 3 { sub(/@.*/, "", $3); print $3 }' | sort -u
}

exported_symbols_are_the_declared_ones() {
    declared >"$scratch/declared"
    exported -D "$libdir/libtarn.so" | grep -v '^TARN_' >"$scratch/exported"
    [ -s "$scratch/declared" ]
    diff "$scratch/declared" "$scratch/exported"
}

version_map_lists_the_declared_functions() {
    sed -n 's/^ *\(tarn_[a-z0-9_]*\);$/\1/p' lib/tarn.map | sort >"$scratch/map"
    declared | diff - "$scratch/map"
}

exported_symbols_have_a_version() {
    nm -D --defined-only "$libdir/libtarn.so" | grep -v ' A TARN_' | grep -v '@@TARN_0\.1$' |
        nothing
}

static_library_defines_nothing_outside_its_names() {
    exported -g "$libdir/libtarn.a" | grep -v '^tarn_' | nothing
}

nothing_is_left_of_the_planted_bugs() {
    nm "$libdir/libtarn.a" "$libdir/libtarn.so" 2>&1 | grep -i planted | nothing
}

shared_library_needs_liburing_and_libc_alone() {
    readelf -d "$libdir/libtarn.so" | grep NEEDED | grep -vE 'liburing|libc\.so|ld-linux' | nothing
    readelf -d "$libdir/libtarn.so" | grep 'SONAME.*libtarn\.so\.0\]'
}

header_compiles_as_cpp() {
    # shellcheck disable=SC2046  # options
    g++ -std=c++17 -Wall -Wextra -Werror -fsyntax-only -x c++ $(pkg-config --cflags tarn) "$header"
}

header_compiles_as_strict_c() {
    # shellcheck disable=SC2046
    $cc -std=c11 -Wall -Wextra -Wpedantic -Werror -fsyntax-only -x c $(pkg-config --cflags tarn) \
        "$header"
}

compile_examples() { # WAY OPTION...
    way=$1
    shift
    for source in examples/*.c; do
        program=$scratch/$way-$(basename "$source" .c)
        $cc -std=c17 -D_GNU_SOURCE -Wall -Wextra -Werror "$source" -o "$program" "$@"
    done
}

examples_compile_against_the_shared_library() {
    # shellcheck disable=SC2046
    compile_examples shared -pthread $(pkg-config --cflags --libs tarn)
    for program in "$scratch"/shared-*; do
        readelf -d "$program" | grep 'NEEDED.*libtarn\.so\.0\]'
    done
}

examples_compile_against_the_static_library() {
    # shellcheck disable=SC2046
    compile_examples static -static -pthread $(pkg-config --static --cflags --libs tarn)
}

installed_command_runs() {
    "$prefix/bin/tarn" --help
    readelf -d "$prefix/bin/tarn" | grep 'NEEDED.*libtarn' | nothing
}

linked_either_way_a_program_runs() {
    cd "$scratch"
    [ "$(./shared-hello)" = "run 1" ]
    [ "$(./static-hello)" = "run 2" ]
}

man_pages_format_without_complaints() {
    command -v groff >/dev/null || skip "no groff"
    find "$prefix/share/man" -name '*.[0-9]*' >"$scratch/pages"
    [ -s "$scratch/pages" ]
    while read -r page; do
        case $page in
        *.gz) gzip -dc "$page" ;;
        *) cat "$page" ;;
        esac | groff -man -Tutf8 -ww -z 2>&1
    done <"$scratch/pages" | nothing
}

tap exported_symbols_are_the_declared_ones \
    version_map_lists_the_declared_functions \
    exported_symbols_have_a_version \
    static_library_defines_nothing_outside_its_names \
    nothing_is_left_of_the_planted_bugs \
    shared_library_needs_liburing_and_libc_alone \
    header_compiles_as_cpp \
    header_compiles_as_strict_c \
    examples_compile_against_the_shared_library \
    examples_compile_against_the_static_library \
    installed_command_runs \
    linked_either_way_a_program_runs \
    man_pages_format_without_complaints
