#!/usr/bin/env python3
# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""
What this package costs: one table, each row a ratio to a reference that was
run in the same minute. "make bench" runs all of it, in tests/lab.

    tests/bench/bench.py [--rounds N] [PART...]
"""

from __future__ import annotations

import argparse
import importlib
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

import measure

PARTS = ('interpreters', 'profiles', 'vms', 'ports', 'engines')
HEADER = ('what', 'against', 'Python', 'instructions', 'time', 'goal')


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--rounds', type=int, default=50, metavar='N')
    parser.add_argument('parts', nargs='*', metavar='PART',
                        help='of %s (default: all)' % ', '.join(PARTS))
    options = parser.parse_args()
    print('| %s |' % ' | '.join(HEADER))
    print('| --- | --- | --- | ---: | ---: | ---: |')
    missed = 0
    figures = []
    for part in options.parts or PARTS:
        for row in importlib.import_module(part).rows(options.rounds):
            if isinstance(row, measure.Figure):
                figures.append(row)
                continue
            ratios = ['-' if ratio is None else '%.2f' % ratio for ratio in
                      (row.instructions, row.time, row.goal)]
            if row.missed():
                missed += 1
                ratios[2] += ' (missed)'
            print('| %s |' % ' | '.join([*row[:3], *ratios]), flush=True)
    print('\nGoals that were missed: %d' % missed)
    for figure in figures:
        print('%s: %s' % figure)


if __name__ == '__main__':
    main()
