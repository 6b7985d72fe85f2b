# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""
Finds out by handshakes what consoles accept: the SPICE, VNC and websocket
ports of the VMs of this host, or any port. The result is checked against the
policy of the VM and against a baseline. No password is needed, and connected
users are not disturbed.
"""

from vdsm_tlsciphers import FINDINGS, FINE, UserError, one_line
from vdsm_tlsciphers.output import clean, count, paint, print_json

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse

    from vdsm_tlsciphers import documents

EXAMPLES = """\
Exit status: 0 all consoles passed, or no VM with a console runs here; 1 there
are findings, or consoles that were not scanned; 2 no console could be scanned,
or --html has nothing to report (one line on standard error says why).

Examples:
  vdsm-tlsciphers scan
  vdsm-tlsciphers scan --baseline modern webserver1 webserver2
  vdsm-tlsciphers scan node1.example.com:5900 [fd00::7]:5901
  vdsm-tlsciphers scan --json >before.json
  vdsm-tlsciphers scan --before before.json --html after.html
"""
COLOURS = {'passed': 'green', 'partly checked': 'yellow', 'failed': 'red',
           'not scanned': 'yellow'}


def add_arguments(parser: 'argparse.ArgumentParser') -> None:
    """Add what the command takes to its parser."""
    parser.add_argument(
        'targets', nargs='*', metavar='VM|HOST:PORT',
        help='the name or UUID of a VM, or a port, as in [::1]:5900 '
        '(default: all VMs that run on this host)')
    parser.add_argument(
        '--baseline', default='intermediate', metavar='NAME',
        help='check against modern, intermediate (default), a profile of '
        'this host, or none')
    parser.add_argument('--json', action='store_true',
                        help='print one JSON document instead of text')
    parser.add_argument('--html', metavar='FILE',
                        help='write an HTML report')
    parser.add_argument('--before', metavar='FILE',
                        help='compare with an earlier "scan --json" in the '
                        'HTML report')


def run(options: 'argparse.Namespace') -> int:
    """Do the command's work; return its exit status."""
    # What --help does not need.
    from vdsm_tlsciphers.audit import compliance, scan_files, scanner
    baseline = compliance.read_baseline(options.baseline)
    if options.before and not options.html:
        raise UserError('--before without --html', 'give --html FILE as well',
                        'no-html')
    earlier: list[scan_files.Source] = []
    before = list(scan_files.read(
        [options.before] if options.before else [], baseline,
        options.baseline, earlier, is_earlier=True))
    if options.html is not None:
        from vdsm_tlsciphers.report import writer
        writer.check_path(options.html)
    document = scanner.scan(scanner.find_targets(options.targets), baseline,
                            options.baseline)
    if options.html and not document['consoles']:
        raise UserError('no VM with a console runs on this host: nothing to '
                        'report', 'scan when VMs run', 'no-consoles')
    if options.html:
        writer.write_html(options.html, [document], before,
                          earlier_sources=earlier)
    if options.json:
        print_json(document)
    else:
        show(document)
        if options.html:
            print('HTML report: %s' % clean(options.html))
        elif document['consoles']:
            print('For cipher suites, groups and certificates: --html FILE or '
                  '--json')
    return exit_status(document)


def exit_status(document: 'documents.NewScan') -> int:
    """
    Return the exit status for a scan. Raises UserError where no console was
    scanned.
    """
    from vdsm_tlsciphers.audit import results
    summary = document['summary']
    if summary['consoles'] and summary['not_scanned'] == summary['consoles']:
        console = document['consoles'][0]
        raise UserError('no console could be scanned: %s: %s' % (
            results.endpoint(console), console['problem']),
            console.get('remedy') or 'scan again',
            console.get('code') or 'scan-incomplete')
    return FINE if summary['passed'] == summary['consoles'] else FINDINGS


# Text output


def show(document: 'documents.NewScan') -> None:
    """Print a scan (dict of scanner.scan()) on standard output."""
    from vdsm_tlsciphers.audit import results
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
            results.verdict(consoles[number - 1])]
        print('%s  %s' % (line, paint(cells[-1], colour)))
    print_findings(consoles)
    summary = document['summary']
    print('\n%s: %d passed, %s%d with findings, %d not scanned '
          '(baseline: %s)' % (
              count(summary['consoles'], 'console'), summary['passed'],
              '%d partly checked, ' % summary['partly_checked']
              if summary['partly_checked'] else '', summary['failed'],
              summary['not_scanned'], document['baseline']))


def row(console: 'documents.Console') -> 'tuple[str, ...]':
    """Return the cells (tuple of str) of a console."""
    from vdsm_tlsciphers.audit import compliance, results
    accepted = [suite['strength']
                for found in console['protocols'].values() for suite in found]
    unchecked = compliance.unchecked(console)
    result = 'passed'
    if unchecked:
        result = 'not checked: ' + ', '.join(unchecked)
    if console['findings']:
        result = count(len(console['findings']), 'finding')
    if console['state'] in ('unreachable', 'incomplete'):
        result = '%s: %s' % (console['state'], one_line(
            console['problem'] or 'no reason', '',
            console.get('code') or 'scan-incomplete'))
    return (
        clean(console['vm'] or '-'), console['display'],
        clean(results.endpoint(console)),
        ', '.join('%s (%d)' % (version, len(found)) for version, found
                  in console['protocols'].items())
        or (console['state'] if console['state'] == results.TLS_REQUIRED
            else '-'),
        max(accepted, key=results.STRENGTHS.index) if accepted else '-',
        clean(result))


def print_findings(consoles: 'list[documents.Console]') -> None:
    """
    Print each finding once, with its consoles; findings of the same consoles
    are grouped.
    """
    places: dict[tuple[str, str, str], list[str]] = {}
    for console in consoles:
        for finding in console['findings']:
            places.setdefault(
                ('%(against)s, %(severity)s' % finding,
                 one_line(finding['text'], '', finding['code']),
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
    import shutil
    import textwrap
    print(textwrap.fill(
        clean(text), min(shutil.get_terminal_size().columns, 100),
        initial_indent='%-27s ' % (label + ':'),
        subsequent_indent=' ' * 28, break_on_hyphens=False,
        break_long_words=False))


def place(console: 'documents.Console') -> str:
    from vdsm_tlsciphers.audit import results
    name = console['vm']
    return '%s%s' % (name + ' ' if name else '', results.endpoint(console))
