#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Counts the single tests in meson's testlog.json, and shows those that failed or were skipped.

A program that ended badly without a failed test of its own (a crash, its time limit, a result
missing from its plan) counts as one failed test.
"""
import json
import re
import sys

RESULT = re.compile(r'^(ok|not ok)\b(?:\s+\d+)?\s*-?\s*(.*?)(?:\s#\s*SKIP\b\s*(.*))?$', re.I)


def results(output):
    """The (verdict, name) of each TAP line: passed, failed or skipped."""
    for line in output.splitlines():
        match = RESULT.match(line)
        if match:
            verdict, name, reason = match.groups()
            if reason is not None:
                yield 'skipped', f'{name} ({reason})' if reason else name
            else:
                yield 'passed' if verdict == 'ok' else 'failed', name


def main():
    counts = {'passed': 0, 'failed': 0, 'skipped': 0}
    listed = {'failed': [], 'skipped': []}
    outputs = []
    with open(sys.argv[1], encoding='utf-8') as log:
        programs = [json.loads(line) for line in log]

    for program in programs:
        name = program['name'].rpartition(' / ')[2]
        found = list(results(program.get('stdout', '')))
        bad = program['result'] not in ('OK', 'SKIP')
        if bad and not any(verdict == 'failed' for verdict, _ in found):
            found.append(('failed', f'ended with {program["result"]}, '
                                    f'exit status {program["returncode"]}'))
        if bad or any(verdict == 'failed' for verdict, _ in found):
            outputs.append((name, program.get('stdout', ''), program.get('stderr', '')))
        if not found:
            found.append(('skipped', 'all of it'))
        for verdict, test in found:
            counts[verdict] += 1
            if verdict in listed:
                listed[verdict].append(f'{name}: {test}')

    for name, stdout, stderr in outputs:
        print(f'--- output of {name}')
        print(stdout.rstrip('\n'))
        if stderr:
            print(f'--- {name}, standard error')
            print(stderr.rstrip('\n'))
    for verdict, lines in listed.items():
        for line in lines:
            print(f'{verdict}: {line}')
    print('{passed} passed, {failed} failed, {skipped} skipped'.format(**counts))


main()
