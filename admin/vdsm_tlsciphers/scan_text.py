# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""What a scan has found, for people."""

import shutil
import textwrap

from vdsm_tlsciphers import scans
from vdsm_tlsciphers.terminal import clean, paint

TYPE_CHECKING = False
if TYPE_CHECKING:
    from vdsm_tlsciphers.documents import Console, NewScan


def write(document: 'NewScan') -> None:
    """Print a scan (dict, as scanner.scan() has it) on standard output."""
    consoles = document['consoles']
    if not consoles:
        print('No VM with a console runs on this host.')
        return
    rows: list[tuple[str, ...]] = [
        ('VM', 'DISPLAY', 'ADDRESS', 'ACCEPTS', 'WEAKEST', 'RESULT')]
    rows += map(row, consoles)
    widths = [max(map(len, column)) for column in zip(*rows)]
    for number, cells in enumerate(rows):
        line = '  '.join(cell.ljust(width) for cell, width in zip(
            cells[:-1], widths))
        colour = 'bold' if number == 0 else colour_of(consoles[number - 1])
        print('%s  %s' % (line, paint(cells[-1], colour)))
    print_findings(consoles)
    summary = document['summary']
    print('\n%d consoles: %d passed, %d with findings, %d not scanned '
          '(baseline: %s)' % (
              summary['consoles'], summary['passed'], summary['failed'],
              summary['not_scanned'], document['baseline']))


def row(console: 'Console') -> 'tuple[str, ...]':
    """Return the cells (tuple of str) of a console."""
    accepted = [suite['strength']
                for found in console['protocols'].values() for suite in found]
    result = 'passed'
    if console['findings']:
        result = '%d finding%s' % (len(console['findings']), 's' * (
            len(console['findings']) > 1))
    if console['state'] in ('unreachable', 'incomplete'):
        result = '%s: %s' % (console['state'], console['problem'])
    return (
        clean(console['vm'] or '-'), console['display'], address_of(console),
        ', '.join('%s (%d)' % (version, len(found)) for version, found
                  in console['protocols'].items()) or '-',
        max(accepted, key=scans.STRENGTHS.index) if accepted else '-',
        clean(result))


def address_of(console: 'Console') -> str:
    address = clean(console['address'])
    return '%s:%d' % ('[%s]' % address if ':' in address else address,
                      console['port'])


def colour_of(console: 'Console') -> str:
    if console['findings']:
        return 'red'
    return 'green' if console['state'] == 'scanned' else 'yellow'


def print_findings(consoles: 'list[Console]') -> None:
    """Print each finding once, with the consoles that have it."""
    found: dict[tuple[str, str], list[Console]] = {}
    for console in consoles:
        for finding in console['findings']:
            found.setdefault((finding['against'], finding['finding']),
                             []).append(console)
    width = min(shutil.get_terminal_size().columns, 100)
    for (against, line), where in found.items():
        what, _, remedy = line.rpartition('; ')
        print()
        for label, text in (
                ('Finding (%s)' % against, what), ('Remedy', remedy),
                ('Where', ', '.join(map(place, where)))):
            print(textwrap.fill(
                clean(text), width, initial_indent='%-19s ' % (label + ':'),
                subsequent_indent=' ' * 20, break_on_hyphens=False,
                break_long_words=False))


def place(console: 'Console') -> str:
    return '%s %s' % (clean(console['vm'] or console['display']),
                      address_of(console))
