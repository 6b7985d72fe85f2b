# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""
Finds out by handshakes what consoles accept: the SPICE, VNC and websocket
ports of the VMs of this host, or any port. What they accept is judged against
the policy of the VM and against a baseline. No password is needed, and users
who are connected are not disturbed.
"""

import concurrent.futures
import re
import shutil
import socket
import sys
import textwrap
import time

from vdsm_tlsciphers import (
    FINDINGS,
    FINE,
    VERSION,
    Problem,
    certificate,
    domains,
    judge,
    port,
    suites,
    tls,
    vnc,
)
from vdsm_tlsciphers.terminal import clean, paint, print_json

EXAMPLES = """\
Exit status: 0 all consoles pass, 1 there are findings, or consoles that could
not be scanned, 2 nothing could be scanned (one line says why).

Examples:
  vdsm-tlsciphers scan
  vdsm-tlsciphers scan --baseline modern webserver1 webserver2
  vdsm-tlsciphers scan node1.example.com:5900 [fd00::7]:5901
  vdsm-tlsciphers scan --json >before.json
  vdsm-tlsciphers scan --before before.json --html after.html
"""
FORMAT = 'vdsm-tlsciphers scan'
# Ports at the same time; each has one connection at a time.
WORKERS = 16


class Target:
    """
    A port to be scanned: display ('spice', 'vnc', 'websocket', or 'tls' where
    it is not known), address (str), port (int), machine (domains.Machine or
    None).
    """

    def __init__(self, display, address, number, machine=None):
        self.display = display
        self.address = address
        self.port = number
        self.machine = machine


def add_arguments(parser):
    """Add what the command takes to its parser."""
    parser.add_argument(
        'targets', nargs='*', metavar='VM|HOST:PORT',
        help='the name or UUID of a VM, or a port, as in [::1]:5900 '
        '(default: all VMs that run on this host)')
    parser.add_argument(
        '--baseline', default='intermediate', metavar='NAME',
        help='judge against modern, intermediate (default), a profile of '
        'this host, or none')
    parser.add_argument('--json', action='store_true',
                        help='print a JSON document for programs')
    parser.add_argument('--html', metavar='FILE',
                        help='write a page for the files')
    parser.add_argument('--before', metavar='FILE',
                        help='an earlier "scan --json", to compare with on '
                        'the page')


def run(options):
    """Do the command's work; return its exit status."""
    baseline = judge.read_baseline(options.baseline)
    if options.before and not options.html:
        raise Problem('--before FILE is for the page; give --html FILE too')
    before = [read_document(options.before)] if options.before else []
    document = make_document(scan(find_targets(options.targets), baseline,
                                  options.baseline), options.baseline)
    if options.html:
        from vdsm_tlsciphers import report
        report.write_html(options.html, [document], before)
    if options.json:
        print_json(document)
    else:
        print_people(document)
        if options.html:
            print('The page is in %s.' % clean(options.html))
    return exit_status(document)


def read_document(path):
    """
    Return the scan (dict) that a file holds. Raises Problem where it holds
    none.
    """
    import json
    try:
        with open(path, encoding='utf-8') as file:
            document = json.load(file)
        if document['format'] == FORMAT and document['version'] == 1:
            return document
    except OSError as error:
        raise Problem('%s: %s' % (path, error.strerror))
    except (ValueError, TypeError, KeyError, RecursionError):
        pass
    raise Problem('%s: this is no scan; "vdsm-tlsciphers scan --json" prints '
                  'one' % path)


def find_targets(names):
    """
    Return what is to be scanned (list of Target) for the names (list of str)
    of the command line. Raises Problem.
    """
    if not names:
        return [target for machine in domains.running(domains.connect())
                for target in targets_of(machine)]
    targets = []
    connection = None
    for name in names:
        found = re.match(r'(?:\[([^\]]+)\]|([^:\[\]]+)):(\d{1,5})$', name)
        if found:
            number = int(found.group(3))
            if not 0 < number < 65536:
                raise Problem('%s: there is no such port; give 1 to 65535'
                              % name)
            targets.append(Target('tls', found.group(1) or found.group(2),
                                  number))
            continue
        connection = connection or domains.connect()
        consoles = targets_of(domains.find(connection, name))
        if not consoles:
            raise Problem('%s: it has no console that listens; is it running? '
                          '"virsh -r domdisplay %s" tells' % (name, name))
        targets.extend(consoles)
    # Never two connections to a port at the same time.
    return list({(target.address, target.port): target
                 for target in targets}.values())


def targets_of(machine):
    """Return the ports (list of Target) of a domains.Machine."""
    return [Target(*console, machine)
            for console in machine.consoles + machine.unencrypted]


def scan(targets, baseline, name):
    """
    Scan targets (list of Target), several at a time.

    Arguments:
        baseline (dict or None), name (str): as judge.findings() has them.

    Returns a list of dict, in the order of the targets.
    """
    executor = concurrent.futures.ThreadPoolExecutor(WORKERS)
    futures = [executor.submit(scan_target, target, baseline, name)
               for target in targets]
    try:
        for done, _ in enumerate(concurrent.futures.as_completed(futures), 1):
            show_progress('scanned %d of %d ports' % (done, len(targets)))
    except BaseException:
        port.interrupt()
        for future in futures:
            future.cancel()
        raise
    finally:
        show_progress('')
        executor.shutdown()
    return [future.result() for future in futures]


def show_progress(line):
    """Put a line in place of the last one, if somebody is there to see it."""
    if sys.stderr.isatty():
        sys.stderr.write('\r\x1b[K' + line)
        sys.stderr.flush()


def scan_target(target, baseline, name):
    """Return what a scan of a Target has found, as a dict for JSON."""
    examined = port.Port(target.address, target.port, target.display)
    state, problem = examine(examined)
    machine = target.machine
    display = target.display
    if display == 'tls' and examined.vnc:
        display = 'vnc'
    console = {
        'vm': machine.name if machine else None,
        'uuid': machine.uuid if machine else None,
        'display': display, 'address': target.address, 'port': target.port,
        'state': state, 'problem': problem,
        'protocols': {version: list_suites(version, examined.suites[version])
                      for version in tls.VERSIONS
                      if version in examined.suites},
        'groups': [group for number, group in tls.GROUPS.items()
                   if number in examined.groups],
        'certificate': None,
        'policy': policy_of(machine, display) if machine else None}
    if examined.certificate:
        try:
            console['certificate'] = certificate.describe(
                examined.certificate)
        except Problem as unreadable:
            if state == 'scanned':
                console['state'] = 'incomplete'
                console['problem'] = str(unreadable)
    console['findings'] = judge.findings(console, exposed(examined), baseline,
                                         name)
    return console


def examine(examined):
    """Examine a port.Port; return its state, and a problem (str or None)."""
    try:
        examined.examine()
    except port.Unreachable as reason:
        return 'unreachable', str(reason)
    except port.NoTLS as reason:
        return 'no TLS', str(reason)
    except tls.Broken as reason:
        return 'incomplete', str(reason)
    return 'scanned', None


def list_suites(version, accepted):
    """Return the suites of a version for JSON, the strongest first."""
    found = []
    for code, bits in accepted.items():
        suite = {'suite': suites.NAMES[code], 'code': '%04X' % code,
                 'key_exchange': suites.key_exchange(code),
                 'strength': suites.strength(code, version, bits)}
        if bits is not None:
            suite['dh_bits'] = bits
        found.append(suite)
    return sorted(found, key=lambda suite: (
        suites.STRENGTHS.index(suite['strength']), suite['suite']))


def policy_of(machine, display):
    """Return the part of a VM's policy for a display, or None."""
    return {key: {'value': machine.policy[key].value,
                  'required': machine.policy[key].required}
            for key in judge.governing_keys(display)
            if key in machine.policy} or None


def exposed(examined):
    """Return what a VNC port has open beside TLS with a certificate."""
    if examined.vnc is None or not examined.vnc.subtypes:
        return []
    found = []
    if any(number in vnc.ANONYMOUS for number in examined.vnc.subtypes):
        found.append('TLS without a certificate is on offer')
    if (vnc.PLAIN in examined.vnc.subtypes
            or examined.vnc.types != [vnc.VENCRYPT]):
        found.append('connections without encryption are on offer')
    return found


def make_document(consoles, baseline):
    """Return the scan (dict) of consoles (list of dict), for JSON."""
    failed = sum(1 for console in consoles if console['findings'])
    passed = sum(1 for console in consoles if not console['findings']
                 and console['state'] == 'scanned')
    return {
        'format': FORMAT, 'version': 1, 'tool': VERSION,
        'host': socket.gethostname(),
        'time': time.strftime(certificate.TIME, time.gmtime()),
        'baseline': baseline, 'consoles': consoles,
        'summary': {'consoles': len(consoles), 'passed': passed,
                    'failed': failed,
                    'not_scanned': len(consoles) - passed - failed}}


def exit_status(document):
    """
    Return the exit status for a scan. Raises Problem where nothing could be
    scanned.
    """
    summary = document['summary']
    if summary['consoles'] and summary['not_scanned'] == summary['consoles']:
        console = document['consoles'][0]
        raise Problem('nothing could be scanned: %s: %s; check the address, '
                      'and firewalls in between' % (address_of(console),
                                                    console['problem']))
    return FINE if summary['passed'] == summary['consoles'] else FINDINGS


def print_people(document):
    """Print a scan for people."""
    consoles = document['consoles']
    if not consoles:
        print('No VM with a console runs on this host.')
        return
    rows = [('VM', 'DISPLAY', 'ADDRESS', 'ACCEPTS', 'WEAKEST', 'RESULT')]
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


def row(console):
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
        max(accepted, key=suites.STRENGTHS.index) if accepted else '-',
        clean(result))


def address_of(console):
    address = clean(console['address'])
    return '%s:%d' % ('[%s]' % address if ':' in address else address,
                      console['port'])


def colour_of(console):
    if console['findings']:
        return 'red'
    return 'green' if console['state'] == 'scanned' else 'yellow'


def print_findings(consoles):
    """Print each finding once, with the consoles that have it."""
    found = {}
    for console in consoles:
        for finding in console['findings']:
            found.setdefault((finding['against'], finding['finding']),
                             []).append(console)
    width = min(shutil.get_terminal_size().columns, 100)
    for (against, finding), where in found.items():
        what, _, remedy = finding.rpartition('; ')
        print()
        for label, text in (
                ('Finding (%s)' % against, what), ('Remedy', remedy),
                ('Where', ', '.join(map(place, where)))):
            print(textwrap.fill(
                clean(text), width, initial_indent='%-19s ' % (label + ':'),
                subsequent_indent=' ' * 20, break_on_hyphens=False,
                break_long_words=False))


def place(console):
    return '%s %s' % (clean(console['vm'] or console['display']),
                      address_of(console))
