# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""
Finds out by handshakes what consoles accept: the SPICE, VNC and websocket
ports of the VMs of this host, any port, or the consoles of all VMs of an
engine. The result is checked against the policy of the VM and against a
baseline. Connected users are not disturbed. No console wants a password; only
the engine does.
"""

import collections

from vdsm_tlsciphers import FINDINGS, FINE, UserError, one_line
from vdsm_tlsciphers.output import clean, count, paint, thousands

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable

    from vdsm_tlsciphers import documents

EXAMPLES = """\
Exit status: 0 all consoles passed, or no VM with a console runs; 1 there are
findings, or consoles that were not scanned; with --engine also where a VM runs
without its policy, or waits for it; 2 no console could be scanned, or --html
has nothing to report (one line on standard error says why).

Examples:
  vdsm-tlsciphers scan
  vdsm-tlsciphers scan --baseline modern webserver1 webserver2
  vdsm-tlsciphers scan node1.example.com:5900 [fd00::7]:5901
  vdsm-tlsciphers scan --json >before.json
  vdsm-tlsciphers scan --before before.json --html after.html
  vdsm-tlsciphers scan --engine engine.example.com --html all.html
  vdsm-tlsciphers scan --engine engine.example.com --search "tag=pci"
"""
# With --engine: consoles that have a row each, hosts that have one, and names
# in a line on a terminal.
MOST_CONSOLES = 20
MOST_HOSTS = 20
MOST_NAMES = 5
COLOURS = {'passed': 'green', 'partly checked': 'yellow', 'failed': 'red',
           'not scanned': 'yellow'}


def add_arguments(parser: 'argparse.ArgumentParser') -> None:
    """Add what the command takes to its parser."""
    parser.add_argument(
        'targets', nargs='*', metavar='VM|HOST:PORT',
        help='the name or UUID of a VM, or a port, as in [::1]:5900 '
        '(default: all VMs that run on this host)')
    parser.add_argument(
        '--engine', metavar='URL', nargs='?', const='',
        help='scan all VMs of an engine, from here: its address (default: '
        'that of OVIRT_URL); needs OVIRT_USERNAME, and OVIRT_CAFILE unless '
        'its CA is trusted here; OVIRT_PASSWORD, or it asks for it')
    parser.add_argument(
        '--search', metavar='QUERY',
        help='with --engine: only VMs that the engine finds with this, as in '
        'its web page: "cluster=Default and tag=pci"')
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
    check_options(options)
    earlier: list[scan_files.Source] = []
    before = list(scan_files.read(
        [options.before] if options.before else [], baseline,
        options.baseline, earlier, is_earlier=True))
    if options.html is not None:
        from vdsm_tlsciphers.report import writer
        writer.check_path(options.html)
    document: documents.NewScan
    overview: documents.EngineScan | None = None
    parts: Iterable[documents.Scan]
    if options.engine is not None:
        from vdsm_tlsciphers.engine import engine_scan
        document = overview = engine_scan.scan(
            options.engine, options.search or '', baseline, options.baseline)
        parts = scan_files.by_host(overview)
        is_fine = engine_scan.passed(overview)
    else:
        document = scanner.scan(scanner.find_targets(options.targets),
                                baseline, options.baseline)
        parts = [document]
        is_fine = (document['summary']['passed']
                   == document['summary']['consoles'])
    if options.html and not document['consoles']:
        raise UserError('no VM with a console runs%s: nothing to report' % (
            '' if overview else ' on this host'), 'scan when VMs run',
            'no-consoles')
    if options.html:
        writer.write_html(options.html, parts, before,
                          earlier_sources=earlier, overview=overview)
    if options.json:
        print_scan(document)
    else:
        if overview:
            show_overview(overview)
        else:
            show(document)
        if options.html:
            print('HTML report: %s' % clean(options.html))
        elif document['consoles']:
            print('For cipher suites, groups and certificates: --html FILE or '
                  '--json')
    check_reached(document)
    return FINE if is_fine else FINDINGS


def check_options(options: 'argparse.Namespace') -> None:
    """Raise UserError for options that make no sense together."""
    if options.before and not options.html:
        raise UserError('--before without --html', 'give --html FILE as well',
                        'no-html')
    if options.search is not None and options.engine is None:
        raise UserError('--search without --engine', 'give --engine URL as '
                        'well', 'no-engine')
    if options.targets and options.engine is not None:
        raise UserError('%s: --engine scans the VMs of an engine' % (
            options.targets[0]), 'to scan some of them, give --search '
            '"name=%s"' % options.targets[0], 'engine-and-targets')


def check_reached(document: 'documents.NewScan') -> None:
    """Raise UserError where no console of a scan was scanned."""
    from vdsm_tlsciphers.audit import results
    summary = document['summary']
    if summary['consoles'] and summary['not_scanned'] == summary['consoles']:
        console = document['consoles'][0]
        raise UserError('no console could be scanned: %s: %s' % (
            results.endpoint(console), console['problem']),
            console.get('remedy') or 'scan again',
            console.get('code') or 'scan-incomplete')


def print_scan(document: 'documents.NewScan') -> None:
    """
    Print a scan as JSON. Each console has a line of its own, so that there
    need be no more of them in memory as text.
    """
    import json
    import sys
    head = json.dumps({**document, 'consoles': []}, indent=2)
    before, after = head.split('"consoles": []')
    sys.stdout.write(before + '"consoles": [')
    for number, console in enumerate(document['consoles']):
        sys.stdout.write(',\n    ' if number else '\n    ')
        sys.stdout.write(json.dumps(console))
    sys.stdout.write('%s]%s\n' % ('\n  ' if document['consoles'] else '',
                                  after))


# Text output


def show(document: 'documents.NewScan') -> None:
    """Print a scan (dict of scanner.scan()) on standard output."""
    consoles = document['consoles']
    if not consoles:
        print('No VM with a console runs on this host.')
        return
    print_consoles(consoles)
    print_findings(consoles)
    print('\n%s (baseline: %s)' % (in_words(document['summary']),
                                   document['baseline']))


def print_consoles(consoles: 'list[documents.Console]') -> None:
    """Print a table of consoles, a row for each."""
    from vdsm_tlsciphers.audit import results
    print_table([('VM', 'DISPLAY', 'ADDRESS', 'ACCEPTS', 'WEAKEST', 'RESULT'),
                 *map(row, consoles)], ['bold', *(
                     COLOURS[results.verdict(console)]
                     for console in consoles)])


def print_table(rows: 'list[tuple[str, ...]]', colours: 'list[str]') -> None:
    """Print rows of cells, the last of each in a colour."""
    widths = [max(map(len, column)) for column in zip(*rows)]
    for cells, colour in zip(rows, colours):
        line = '  '.join(cell.ljust(width) for cell, width in zip(
            cells[:-1], widths))
        print('%s  %s' % (line, paint(cells[-1], colour)))


def in_words(summary: 'documents.ScanSummary') -> str:
    """Return how many consoles passed, and how many did not."""
    return '%s: %s passed, %s%s with findings, %s not scanned' % (
        count(summary['consoles'], 'console'), thousands(summary['passed']),
        '%s partly checked, ' % thousands(summary['partly_checked'])
        if summary['partly_checked'] else '', thousands(summary['failed']),
        thousands(summary['not_scanned']))


def show_overview(document: 'documents.EngineScan') -> None:
    """Print the scan of an engine's VMs on standard output."""
    import sys

    from vdsm_tlsciphers.engine import assessment
    # What is no terminal, such as a journal, gets every name.
    most = MOST_NAMES if sys.stdout.isatty() else None
    consoles = document['consoles']
    if consoles and len(consoles) <= MOST_CONSOLES:
        print_consoles(consoles)
        print()
    print_hosts(document)
    for (severity, text, remedy), some in assessment.by_text(
            document['engine_findings']).items():
        print()
        print_row('Finding (engine, %s)' % severity, text)
        print_row('Remedy', remedy)
        for label, names in (
                ('Clusters', [each['cluster'] or '' for each in some]),
                ('Hosts', [name for each in some for name in each['hosts']]),
                ('VMs', [name for each in some for name in each['vms']])):
            if any(names):
                print_row(label, enumeration(names, most))
    print_findings(consoles, most)
    print_not_assessed(consoles, most)
    scope = document['scope']
    policies = document['policies']
    print('\n%s (%s not reached); baseline: %s' % (
        in_words(document['summary']), thousands(scope['not_reached']),
        document['baseline']))
    print('Policies: %s requested: %s effective, %s not effective, %s unknown;'
          ' %s wait for the next start' % tuple(
              thousands(policies[key]) for key in (
                  'requested', 'effective', 'different', 'unknown',
                  'waiting')))
    print('Scope: %s run, %s of them without a console; %s down, not looked '
          'at' % (count(scope['vms'], 'VM'),
                  thousands(scope['without_console']),
                  thousands(scope['down'])))


def print_not_assessed(consoles: 'list[documents.Console]',
                       most: 'int | None') -> None:
    """Print which consoles were not scanned, or only in part, and why."""
    from vdsm_tlsciphers.audit import compliance
    groups: dict[tuple[str, str, str], list[str]] = {}
    for console in consoles:
        if console['state'] in ('unreachable', 'incomplete'):
            key = ('Not scanned', one_line(
                console['problem'] or 'no reason', '',
                console.get('code') or 'scan-incomplete'),
                console.get('remedy') or '')
        elif not console['findings'] and compliance.unchecked(console):
            key = ('Not checked', ', '.join(compliance.unchecked(console)),
                   '')
        else:
            continue
        groups.setdefault(key, []).append(place(console))
    for (kind, text, remedy), where in groups.items():
        print()
        print_row(kind, text)
        if remedy:
            print_row('Remedy', remedy)
        print_row('Where', enumeration(where, most))


def print_hosts(document: 'documents.EngineScan') -> None:
    """Print a table of hosts, the worst first; of many, the worst."""
    from vdsm_tlsciphers.audit import results
    hosts: dict[tuple[str, str], collections.Counter[str]] = {}
    hooks: dict[tuple[str, str], str] = {}
    for host in document['hosts']:
        hosts[host['cluster'], host['host']] = collections.Counter()
        hooks[host['cluster'], host['host']] = 'yes' if host['hook'] else 'no'
    for vm in document['vms']:
        counted = hosts.setdefault((vm['cluster'], vm['host'] or '-'),
                                   collections.Counter())
        counted['VMs'] += 1
        counted[vm['statement']] += 1
    for console in document['consoles']:
        counted = hosts[console['cluster'], console.get('host') or '-']
        counted['consoles'] += 1
        counted[results.verdict(console)] += 1
    order = sorted(hosts, key=lambda key: (
        -hosts[key]['different'], -hosts[key][results.FAILED],
        -hosts[key]['unknown'], -hosts[key][results.NOT_SCANNED],
        hooks.get(key) != 'no', key))
    rows: list[tuple[str, ...]] = [
        ('CLUSTER', 'HOST', 'HOOK', 'VMS', 'CONSOLES', 'PASSED',
         'POLICIES EFFECTIVE')]
    colours = ['bold']
    for key in order[:MOST_HOSTS]:
        counted = hosts[key]
        requested = (counted['effective'] + counted['different']
                     + counted['unknown'])
        rows.append((
            clean(key[0]), clean(key[1]), hooks.get(key, '-'),
            *(thousands(counted[name]) for name in (
                'VMs', 'consoles', results.PASSED)),
            '%d of %d' % (counted['effective'], requested)
            if requested else '-'))
        colours.append('red' if counted['different'] else (
            'yellow' if counted['unknown'] else 'green'))
    if order:
        print_table(rows, colours)
    if len(order) > MOST_HOSTS:
        print('and %s: --html has all of them' % count(
            len(order) - MOST_HOSTS, 'more host'))


def enumeration(names: 'list[str]', most: 'int | None' = None) -> str:
    """Return names in a line, of many the first."""
    rest = len(names) - len(names[:most])
    return ', '.join(names[:most]) + (
        ', and %s more' % thousands(rest) if rest else '')


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


def print_findings(consoles: 'list[documents.Console]',
                   most: 'int | None' = None) -> None:
    """
    Print each finding once, with its consoles (of many the first); findings of
    the same consoles are grouped.
    """
    from vdsm_tlsciphers import codes
    places: dict[tuple[str, str, str], list[str]] = {}
    for console in consoles:
        for finding in console['findings']:
            places.setdefault(
                ('%(against)s, %(severity)s' % finding,
                 one_line(finding['text'], '', finding['code']),
                 finding['remedy']), []).append(place(console))
    blocks: dict[tuple[str, tuple[str, ...]], list[tuple[str, str]]] = {}
    order = sorted(places, key=lambda key: codes.SEVERITIES.index(
        key[0].rpartition(', ')[2]))
    for (kind, text, remedy), found_at in ((key, places[key])
                                           for key in order):
        blocks.setdefault((remedy, tuple(found_at)), []).append((kind, text))
    for (remedy, where), findings in blocks.items():
        print()
        for kind, text in findings:
            print_row('Finding (%s)' % kind, text)
        print_row('Remedy', remedy)
        print_row('Where', enumeration(list(where), most))


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
