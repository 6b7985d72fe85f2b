# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""What a scan has found, for people."""

import shutil
import textwrap

from vdsm_tlsciphers.audit import compliance as judge
from vdsm_tlsciphers.audit import scan_files as scans
from vdsm_tlsciphers.output import clean, paint
from vdsm_tlsciphers.report.markup import count

TYPE_CHECKING = False
if TYPE_CHECKING:
    from vdsm_tlsciphers.documents import Console, NewScan

COLOURS = {scans.PASSED: 'green', scans.PARTLY: 'yellow',
           scans.FAILED: 'red', scans.NOT_SCANNED: 'yellow'}


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
        colour = 'bold' if number == 0 else COLOURS[
            scans.verdict(consoles[number - 1])]
        print('%s  %s' % (line, paint(cells[-1], colour)))
    print_findings(consoles)
    summary = document['summary']
    print('\n%s: %d passed, %s%d with findings, %d not scanned '
          '(baseline: %s)' % (
              count(summary['consoles'], 'console'), summary['passed'],
              '%d partly checked, ' % summary['partly_checked']
              if summary['partly_checked'] else '', summary['failed'],
              summary['not_scanned'], document['baseline']))


def row(console: 'Console') -> 'tuple[str, ...]':
    """Return the cells (tuple of str) of a console."""
    accepted = [suite['strength']
                for found in console['protocols'].values() for suite in found]
    unchecked = judge.unchecked(console)
    result = 'passed'
    if unchecked:
        result = 'not checked: ' + ', '.join(unchecked)
    if console['findings']:
        result = count(len(console['findings']), 'finding')
    if console['state'] in ('unreachable', 'incomplete'):
        result = '%s: %s' % (console['state'], console['problem'])
    return (
        clean(console['vm'] or '-'), console['display'],
        clean(scans.endpoint(console)),
        ', '.join('%s (%d)' % (version, len(found)) for version, found
                  in console['protocols'].items())
        or (console['state'] if console['state'] == scans.TLS_REQUIRED
            else '-'),
        max(accepted, key=scans.STRENGTHS.index) if accepted else '-',
        clean(result))


def print_findings(consoles: 'list[Console]') -> None:
    """
    Print each finding once, with the consoles that have it; those of the
    same consoles stand together.
    """
    places: dict[tuple[str, str, str], list[str]] = {}
    for console in consoles:
        for finding in console['findings']:
            places.setdefault(
                ('%(against)s, %(severity)s' % finding, finding['text'],
                 finding['remedy']), []).append(place(console))
    blocks: dict[tuple[str, str], list[tuple[str, str]]] = {}
    for (kind, text, remedy), found_at in places.items():
        blocks.setdefault((remedy, ', '.join(found_at)),
                          []).append((kind, text))
    for (remedy, where), findings in blocks.items():
        print()
        for kind, text in findings:
            print_row('Finding (%s)' % kind, text)
        print_row('Remedy', remedy)
        print_row('Where', where)


def print_row(label: str, text: str) -> None:
    print(textwrap.fill(
        clean(text), min(shutil.get_terminal_size().columns, 100),
        initial_indent='%-27s ' % (label + ':'),
        subsequent_indent=' ' * 28, break_on_hyphens=False,
        break_long_words=False))


def place(console: 'Console') -> str:
    name = console['vm']
    return '%s%s' % (name + ' ' if name else '', scans.endpoint(console))
