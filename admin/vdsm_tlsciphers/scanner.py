# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""Scans of several ports at a time, and what they find as JSON."""

import collections
import concurrent.futures
import re
import sys
import time

import tlsciphers
from vdsm_tlsciphers import (
    Problem,
    certificate,
    consoles,
    domains,
    judge,
    listeners,
    port,
    scans,
    spice,
    suites,
    terminal,
    tls,
    vnc,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    import libvirt

    from vdsm_tlsciphers import documents

# Ports at the same time; each has one connection at a time.
WORKERS = 16
# VMs in a line.
MOST_NAMES = 10


class Target:
    """
    A port to be scanned: display ('spice', 'vnc', 'websocket', or 'tls' where
    it is not known), address (str), port (int), machine (domains.Machine or
    None), plaintext (bool: whether it is a SPICE port without TLS), alone
    (bool: and its VM has none with TLS).
    """

    def __init__(self, display: 'documents.ScannedDisplay', address: str,
                 number: int, machine: 'domains.Machine | None' = None,
                 plaintext: bool = False, alone: bool = False) -> None:
        self.display = display
        self.address = address
        self.port = number
        self.machine = machine
        self.plaintext = plaintext
        self.alone = plaintext and alone


def find_targets(names: 'list[str]') -> 'list[Target]':
    """
    Return what is to be scanned (list of Target) for the names (list of str)
    of the command line. Raises Problem.
    """
    if not names:
        connection = domains.connect()
        return targets_of(domains.running(connection), connection)
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
        try:
            connection = connection or domains.connect()
            found_there = targets_of([domains.find(connection, name)],
                                     connection)
        except Problem as problem:
            if is_address(name):
                raise Problem(
                    '%s: give HOST:PORT, as in node1.example.com:5900 or '
                    '[fd00::7]:5901; for the name of a VM: %s'
                    % (name, problem), 'no-port')
            raise Problem('%s; or give a port, as HOST:PORT' % problem)
        if not found_there:
            raise Problem('%s: it has no console that listens; is it running? '
                          '"virsh -r domdisplay %s" tells' % (name, name))
        targets.extend(found_there)
    # Never two connections to a port at the same time.
    return list({(target.address, target.port): target
                 for target in targets}.values())


def is_address(name: str) -> bool:
    """Tell whether a name (str) is more like an address than like a VM's."""
    return bool(re.search('[][:/]', name)
                or re.match(r'\d+(\.\d+){3}$', name))


def targets_of(machines: 'list[domains.Machine]',
               connection: 'libvirt.virConnect') -> 'list[Target]':
    """
    Return the ports (list of Target) of domains.Machines: at which their
    emulators listen for SPICE and VNC. Where that cannot be found out, they
    are those of the domain XML, and a line on standard error says so.
    """
    table = listeners.Listeners()
    vms = [consoles.VM(machine, table) for machine in machines]
    consoles.hear(vms, consoles.ask(vms, connection, False))
    targets = []
    unseen = []
    for vm in vms:
        if vm.consoles is None:
            given = _targets_of_xml(vm.machine)
            unseen.extend([vm] if given else [])
            targets.extend(given)
            continue
        targets.extend(Target(
            console.display, console.reachable_address, console.port,
            vm.machine, console.display == 'spice' and not console.tls,
            not any(other.tls for other in vm.consoles.consoles
                    if other.display == 'spice'))
            for console in vm.consoles.consoles if console.port)
        for listener in vm.consoles.unclear:
            terminal.note(
                '%s: port %d is not scanned: QEMU could not be asked whether '
                'it is a console: %s' % (vm.machine.name, listener.port,
                                         vm.note), 'listener-unknown')
    if unseen:
        terminal.note(
            '%s: the ports are those of the domain XML, others that are open '
            'are not seen: %s' % (', '.join(
                vm.machine.name for vm in unseen[:MOST_NAMES]) + (
                    ', ...' if len(unseen) > MOST_NAMES else ''),
                unseen[0].problem), 'ports-of-xml')
    return sorted(targets, key=lambda target: target.plaintext)


def _targets_of_xml(machine: domains.Machine) -> 'list[Target]':
    alone = 'spice' not in [console.display for console in machine.consoles]
    return [Target(*console, machine) for console in machine.consoles] + [
        Target(*console, machine, True, alone)
        for console in machine.unencrypted]


def scan(targets: 'list[Target]', baseline: 'dict[str, str] | None',
         name: str) -> 'documents.NewScan':
    """
    Scan targets (list of Target), several at a time.

    Arguments:
        baseline (dict or None), name (str): as judge.findings() has them.

    Returns a dict for JSON, with the consoles in the order of the targets.
    """
    executor = concurrent.futures.ThreadPoolExecutor(WORKERS)
    futures = []
    try:
        for target in targets:
            futures.append(executor.submit(scan_target, target, baseline,
                                           name))
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
    return make_document([future.result() for future in futures], name)


def show_progress(line: str) -> None:
    """Put a line in place of the last one, if somebody is there to see it."""
    if sys.stderr.isatty():
        sys.stderr.write('\r\x1b[K' + line)
        sys.stderr.flush()


def scan_target(target: Target, baseline: 'dict[str, str] | None',
                name: str) -> 'documents.Console':
    """Return what a scan of a Target has found, as a dict for JSON."""
    machine = target.machine
    console: documents.Console = {
        'vm': machine.name if machine else None,
        'uuid': machine.uuid if machine else None,
        'display': target.display, 'address': target.address,
        'port': target.port, 'state': scans.SCANNED, 'problem': None,
        'code': None, 'remedy': None, 'protocols': {}, 'groups': [],
        'signatures': [], 'extended_master_secret': None,
        'session_tickets': None,  # nosec B105 # no password
        'certificate': None,
        'unencrypted_offers': [], 'open_channels': None,
        'policy': None, 'findings': []}
    probe = port.Port(target.address, target.port, target.display)
    try:
        if target.plaintext:
            raise port.SpicePlaintext
        console['state'], console['problem'] = examine(probe, console)
    except port.SpicePlaintext:
        console['display'] = 'spice'
        find_channels(console)
        if target.alone and console['state'] == judge.NO_TLS:
            console['code'] = judge.NO_TLS_PORT
    describe(probe, console)
    if machine:
        console['policy'] = policy_of(machine, console['display'])
    console['findings'] = judge.findings(
        console, baseline, name,
        [time.strftime(terminal.TIME, time.gmtime())])
    return console


def examine(probe: port.Port, console: 'documents.Console | None' = None) -> (
        'tuple[documents.ScanState, str | None]'):
    """
    Examine a port.Port; return its state, and a problem (str or None). Its
    code and remedy are added to the console (dict), if one is given. Raises
    port.SpicePlaintext.
    """
    try:
        probe.examine()
    except port.SpicePlaintext:
        raise
    except port.NoTLS as reason:
        return judge.NO_TLS, str(reason)
    except (port.Unreachable, tls.Broken) as reason:
        if console is not None:
            console['code'], console['remedy'] = reason.code, reason.remedy
        return ('unreachable' if isinstance(reason, port.Unreachable)
                else 'incomplete'), str(reason)
    return scans.SCANNED, None


def find_channels(console: 'documents.Console') -> None:
    """Add to a console (dict) what a SPICE port without TLS has open."""
    try:
        channels = spice.open_channels(console['address'], console['port'])
    except port.Unreachable as reason:
        console['state'], console['problem'] = 'unreachable', str(reason)
        console['code'], console['remedy'] = reason.code, reason.remedy
        return
    except tls.Broken as reason:
        # That all demand TLS is not known.
        console['state'] = judge.NO_TLS
        console['problem'] = ('this SPICE port is not encrypted; its channels '
                              'cannot be tried: %s' % reason)
        return
    console['open_channels'] = channels
    console['state'] = judge.NO_TLS if channels else scans.TLS_REQUIRED
    if channels:
        console['problem'] = 'this SPICE port is not encrypted'


def describe(probe: port.Port, console: 'documents.Console') -> None:
    """Add to a console (dict) what a port.Port has found out."""
    if console['display'] == 'tls' and probe.vnc:
        console['display'] = 'vnc'
    console['protocols'] = {
        version: list_suites(version, probe.suites[version])
        for version in tls.VERSIONS if version in probe.suites}
    console['groups'] = [group for number, group in tls.GROUPS.items()
                         if number in probe.groups]
    console['signatures'] = [
        name for number, name in tls.SIGNATURE_NAMES.items()
        if number in probe.signatures]
    console['extended_master_secret'] = probe.extended_master_secret
    console['session_tickets'] = probe.session_tickets
    console['unencrypted_offers'] = unencrypted_offers(probe)
    if probe.certificate:
        try:
            console['certificate'] = certificate.describe(probe.certificate)
        except Problem as unreadable:
            if console['state'] == scans.SCANNED:
                console['state'] = 'incomplete'
                console['problem'] = str(unreadable)


def list_suites(version: str, accepted: 'dict[int, int | None]') -> (
        'list[documents.Suite]'):
    """Return the suites of a version for JSON, the strongest first."""
    found = []
    for code, bits in accepted.items():
        suite: documents.Suite = {
            'suite': suites.NAMES[code], 'code': '%04X' % code,
            'key_exchange': suites.key_exchange(code),
            'strength': suites.strength(code, version, bits)}
        if bits is not None:
            suite['dh_bits'] = bits
        found.append(suite)
    return sorted(found, key=lambda suite: (
        scans.STRENGTHS.index(suite['strength']), suite['suite']))


def policy_of(machine: domains.Machine,
              display: 'documents.ScannedDisplay') -> (
                  'documents.Policy | None'):
    """
    Return the part of a VM's policy for a display, or None. What this version
    does not know may be for any.
    """
    others = set(tlsciphers.KEYS).difference(judge.governing_keys(display))
    # Known ones first: a domain XML can have any number, and any length.
    keys = sorted(set(machine.policy).difference(others),
                  key=lambda key: (key not in tlsciphers.KEYS, key))
    return {key[:scans.LONGEST_KEY]: {
        'value': machine.policy[key].value[:scans.LONGEST_TEXT],
        'required': machine.policy[key].required}
        for key in keys[:scans.MOST_KEYS]} or None


def unencrypted_offers(probe: port.Port) -> 'list[str]':
    """
    Return what a VNC port has open beside TLS with a certificate (list of
    keys of judge.UNENCRYPTED).
    """
    if probe.vnc is None or not probe.vnc.subtypes:
        return []
    found = []
    if any(number in vnc.ANONYMOUS for number in probe.vnc.subtypes):
        found.append('anonymous TLS')
    if (vnc.PLAIN in probe.vnc.subtypes
            or probe.vnc.types != [vnc.VENCRYPT]):
        found.append('no TLS')
    return found


def make_document(consoles: 'list[documents.Console]',
                  baseline: str) -> 'documents.NewScan':
    """Return the scan (dict) of consoles (list of dict), for JSON."""
    verdicts = collections.Counter(map(scans.verdict, consoles))
    return {
        **terminal.head('scan'), 'baseline': baseline, 'consoles': consoles,
        'summary': {'consoles': len(consoles),
                    'passed': verdicts[scans.PASSED],
                    'partly_checked': verdicts[scans.PARTLY],
                    'failed': verdicts[scans.FAILED],
                    'not_scanned': verdicts[scans.NOT_SCANNED]}}
