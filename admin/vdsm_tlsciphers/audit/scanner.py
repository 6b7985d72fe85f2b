# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""Scans several ports at a time; the result is a document for JSON."""

import collections
import functools
import re
import sys
import time

import tlsciphers_values

from vdsm_tlsciphers import UserError, output
from vdsm_tlsciphers.audit import compliance, results, scan_files, workers
from vdsm_tlsciphers.host import consoles, domains, listeners
from vdsm_tlsciphers.tls import (
    certificate,
    cipher_suites,
    handshake,
    probe,
    spice,
)
from vdsm_tlsciphers.tls.stream import ProtocolError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    import libvirt

    from vdsm_tlsciphers import documents

    class NamedVM(Protocol):
        """What a scan says of a VM, such as a domains.VM."""

        name: str
        uuid: str

        @property
        def requested(self) -> dict[str, domains.Setting]: ...

# Consoles whose results are shared: of many, most have the same.
MOST_SHARED = 4096
# VMs in a line.
MOST_NAMES = 10


class Target:
    """
    A port to scan: display ('spice', 'vnc', 'websocket', or 'tls' where it is
    unknown), address (str), port (int), vm (NamedVM or None), plaintext
    (bool: a SPICE port without TLS), alone (bool: whose VM has none with TLS).
    """

    def __init__(self, display: 'documents.ScannedDisplay', address: str,
                 number: int, vm: 'NamedVM | None' = None,
                 plaintext: bool = False, alone: bool = False) -> None:
        self.display = display
        self.address = address
        self.port = number
        self.vm = vm
        self.plaintext = plaintext
        self.alone = plaintext and alone


def find_targets(names: 'list[str]') -> 'list[Target]':
    """
    Return the ports to scan (list of Target) for the names (list of str) of
    the command line. Raises UserError.
    """
    if not names:
        try:
            connection = domains.connect()
        except UserError as problem:
            raise or_a_port(problem)
        return targets_of(domains.running(connection), connection)
    targets = []
    connection = None
    for name in names:
        found = re.match(r'(?:\[([^\]]+)\]|([^:\[\]]+)):(\d{1,5})$', name)
        if found:
            number = int(found.group(3))
            if not 0 < number < 65536:
                raise UserError(name + ': invalid port', 'give 1 to 65535',
                                'bad-port')
            targets.append(Target('tls', found.group(1) or found.group(2),
                                  number))
            continue
        try:
            connection = connection or domains.connect()
            found_there = targets_of([domains.find(connection, name)],
                                     connection)
        except UserError as problem:
            if is_address(name):
                raise UserError(
                    '%s: no port, and no VM: %s' % (name, problem.text),
                    'give HOST:PORT, as in node1.example.com:5900 or '
                    '[fd00::7]:5901', 'no-port')
            raise or_a_port(problem)
        if not found_there:
            raise UserError(name + ': no console of this VM listens', 'check '
                            'that it runs: "virsh -r domdisplay %s" shows its '
                            'consoles' % name, 'no-listening-console')
        targets.extend(found_there)
    # Never two connections to a port at the same time.
    return list({(target.address, target.port): target
                 for target in targets}.values())


def or_a_port(problem: UserError) -> UserError:
    """Return a message that also names what needs no libvirt."""
    return UserError(problem.text, problem.remedy + ', or give HOST:PORT',
                     problem.code)


def is_address(name: str) -> bool:
    """Tell whether a name (str) is more like an address than like a VM's."""
    return bool(re.search('[][:/]', name)
                or re.match(r'\d+(\.\d+){3}$', name))


def targets_of(vms: 'list[domains.VM]',
               connection: 'libvirt.virConnect') -> 'list[Target]':
    """
    Return the ports (list of Target) on which the emulators of domains.VMs
    listen for SPICE and VNC. Where they are unknown, they are those of the
    domain XML, and a line on standard error says so.
    """
    table = listeners.Listeners()
    running_vms = [consoles.RunningVM(vm, table) for vm in vms]
    consoles.hear(running_vms, consoles.ask(running_vms, connection, False))
    targets = []
    unseen = []
    for running in running_vms:
        if running.consoles is None:
            given = _targets_of_xml(running.vm)
            unseen.extend([running] if given else [])
            targets.extend(given)
            continue
        targets.extend(Target(
            console.display, console.reachable_address, console.port,
            running.vm, console.display == 'spice' and not console.tls,
            not any(other.tls for other in running.consoles.consoles
                    if other.display == 'spice'))
            for console in running.consoles.consoles if console.port)
        for listener in running.consoles.unclear:
            output.note(
                '%s: port %d is not scanned: QEMU cannot be asked whether it '
                'is a console: %s' % (
                    running.vm.name, listener.port,
                    running.note.reason if running.note else 'no answer'), '',
                'listener-unknown')
    if unseen:
        output.note(
            '%s: only the ports in the domain XML are scanned: %s' % (
                ', '.join(running.vm.name for running
                          in unseen[:MOST_NAMES]) + (
                    ', ...' if len(unseen) > MOST_NAMES else ''),
                unseen[0].problem and unseen[0].problem.reason), '',
            'ports-of-xml')
    return sorted(targets, key=lambda target: target.plaintext)


def _targets_of_xml(vm: domains.VM) -> 'list[Target]':
    alone = 'spice' not in [console.display for console in vm.consoles]
    return [Target(*console, vm) for console in vm.consoles] + [
        Target(*console, vm, True, alone)
        for console in vm.unencrypted]


def scan(targets: 'list[Target]', baseline: 'dict[str, str] | None',
         name: str) -> 'documents.NewScan':
    """
    Scan targets (list of Target), several at a time.

    Arguments:
        baseline (dict or None), name (str): as for compliance.findings().

    Returns a dict for JSON, with the consoles in the order of the targets.
    """
    return make_document(scan_all(targets, baseline, name), name)


def scan_all(targets: 'list[Target]', baseline: 'dict[str, str] | None',
             name: str, many_hosts: bool = False) -> (
                 'list[documents.Console]'):
    """
    The same; returns the consoles (list of dict). Among many hosts each gets
    few connections at a time, and one that does not answer on a few ports is
    not asked on the others.
    """
    consoles: list[documents.Console | None] = [None] * len(targets)
    try:
        for done, (number, (console, server)) in enumerate(workers.results(
                targets, probe_target, many_hosts), 1):
            consoles[number] = describe_target(targets[number], console,
                                               server, baseline, name)
            show_progress('scanned %d of %d ports' % (done, len(targets)))
    finally:
        show_progress('')
    return [console for console in consoles if console is not None]


def show_progress(line: str) -> None:
    """Replace the last line on standard error, if it is a terminal."""
    if sys.stderr.isatty():
        sys.stderr.write('\r\x1b[K' + line)
        sys.stderr.flush()


def scan_target(target: Target, baseline: 'dict[str, str] | None',
                name: str) -> 'documents.Console':
    """Return the result of the scan of a Target, as a dict for JSON."""
    return describe_target(target, *probe_target(target, None), baseline, name)


def without_result(vm: 'str | None', uuid: 'str | None',
                   display: 'documents.ScannedDisplay', address: str,
                   number: int) -> 'documents.Console':
    """Return a console (dict for JSON) of which nothing is known so far."""
    return {
        'vm': vm, 'uuid': uuid, 'display': display, 'address': address,
        'port': number, 'state': results.SCANNED, 'problem': None,
        'code': None, 'remedy': None, 'protocols': {}, 'groups': [],
        'signatures': [], 'extended_master_secret': None,
        'session_tickets': None,  # nosec B105 # no password
        'certificate': None,
        'unencrypted_offers': [], 'open_channels': None,
        'policy': None, 'findings': []}


def probe_target(target: Target, hosts: 'workers.Hosts | None') -> (
        'tuple[documents.Console, probe.ServerProbe]'):
    """
    Scan a Target; return the beginning of its result as a dict for JSON, and
    what else was found. One of Hosts that do not answer is not tried.
    """
    vm = target.vm
    console = without_result(
        vm.name if vm else None, vm.uuid if vm else None, target.display,
        target.address, target.port)
    server = probe.ServerProbe(target.address, target.port, target.display)
    reason = None
    try:
        if hosts:
            hosts.check(target.address)
        probe_port(server, target, console)
    except probe.Unreachable as error:
        reason = error
        console['state'], console['problem'] = 'unreachable', str(reason)
        console['code'], console['remedy'] = reason.code, reason.remedy
    if hosts:
        hosts.note(target.address, reason)
    return console, server


def describe_target(target: Target, console: 'documents.Console',
                    server: probe.ServerProbe,
                    baseline: 'dict[str, str] | None',
                    name: str) -> 'documents.Console':
    """Return the whole result of probe_target(), as a dict for JSON."""
    vm = target.vm
    describe(server, console)
    if vm:
        console['policy'] = policy_of(vm, console['display'])
    console['findings'] = assess(console, baseline, name)
    if console['state'] == compliance.NO_TLS:
        # The last finding says so as well.
        found = console['findings'][-1]
        console['code'] = console['code'] or found['code']
        console['remedy'] = console['remedy'] or found['remedy']
    return console


def probe_port(server: probe.ServerProbe, target: Target,
               console: 'documents.Console') -> None:
    """
    Run a probe.ServerProbe of a Target, and add its state, and any problem,
    to a console (dict). Raises probe.Unreachable.
    """
    try:
        if target.plaintext:
            raise probe.SpicePlaintext
        server.probe()
    except probe.SpicePlaintext:
        console['display'] = 'spice'
        find_channels(console)
        if target.alone and console['state'] == compliance.NO_TLS:
            console['code'] = compliance.NO_TLS_PORT
    except probe.NoTLS as reason:
        console['state'], console['problem'] = compliance.NO_TLS, str(reason)
    except ProtocolError as reason:
        console['state'], console['problem'] = 'incomplete', str(reason)
        console['code'], console['remedy'] = reason.code, reason.remedy


def find_channels(console: 'documents.Console') -> None:
    """
    Add to a console (dict) the open channels of a port without TLS. Raises
    probe.Unreachable.
    """
    try:
        channels = spice.open_channels(console['address'], console['port'])
    except ProtocolError as reason:
        # Whether all of them require TLS is unknown.
        console['state'] = compliance.NO_TLS
        console['problem'] = ('this SPICE port is not encrypted, and its '
                              'channels cannot be probed: %s' % reason)
        return
    console['open_channels'] = channels
    console['state'] = compliance.NO_TLS if channels else results.TLS_REQUIRED
    if channels:
        console['problem'] = 'this SPICE port is not encrypted'


def assess(console: 'documents.Console', baseline: 'dict[str, str] | None',
           name: str) -> 'list[documents.Finding]':
    """
    Return the findings about a console that was just scanned. Arguments as for
    compliance.findings(). Consoles with the same facts share them.
    """
    moment = time.strftime(output.TIME, time.gmtime())
    facts = repr([console[key] for key in (
        'display', 'state', 'problem', 'code', 'groups', 'signatures',
        'extended_master_secret', 'unencrypted_offers', 'open_channels',
        'certificate', 'policy')] + [
            (version, id(suites)) for version, suites
            in console['protocols'].items()] + [moment[:13], name])
    if facts not in _assessed:
        if len(_assessed) >= MOST_SHARED:
            _assessed.clear()
        # With what its identity stands for, which is thus kept.
        _assessed[facts] = (compliance.findings(
            console, baseline, name, [moment]), console['protocols'])
    return _assessed[facts][0]


_assessed: ('dict[str, tuple[list[documents.Finding], '
            'dict[str, list[documents.Suite]]]]') = {}


def describe(server: probe.ServerProbe, console: 'documents.Console') -> None:
    """Add to a console (dict) the results of a probe.ServerProbe."""
    if console['display'] == 'tls' and server.vnc:
        console['display'] = 'vnc'
    console['protocols'] = {
        version: list_suites(version, tuple(sorted(
            server.suites[version].items())))
        for version in handshake.VERSIONS if version in server.suites}
    console['groups'] = [group for number, group in handshake.GROUPS.items()
                         if number in server.groups]
    console['signatures'] = [
        name for number, name in handshake.SIGNATURE_NAMES.items()
        if number in server.signatures]
    console['extended_master_secret'] = server.extended_master_secret
    console['session_tickets'] = server.session_tickets
    if server.vnc and server.vnc.subtypes:
        console['unencrypted_offers'] = server.vnc.unencrypted_offers()
    if server.certificate:
        try:
            console['certificate'] = certificate.describe(server.certificate)
        except UserError as unreadable:
            if console['state'] == results.SCANNED:
                console['state'] = 'incomplete'
                console['problem'] = unreadable.text
                console['code'] = unreadable.code
                console['remedy'] = unreadable.remedy


@functools.lru_cache(maxsize=MOST_SHARED)
def list_suites(version: str,
                accepted: 'tuple[tuple[int, int | None], ...]') -> (
                    'list[documents.Suite]'):
    """
    Return the suites of a version for JSON, the strongest first. Consoles with
    the same ones share them.
    """
    found = []
    for code, bits in accepted:
        suite: documents.Suite = {
            'suite': cipher_suites.NAMES[code], 'code': '%04X' % code,
            'key_exchange': cipher_suites.key_exchange(code),
            'strength': cipher_suites.strength(code, version, bits)}
        if bits is not None:
            suite['dh_bits'] = bits
        found.append(suite)
    return sorted(found, key=lambda suite: (
        results.STRENGTHS.index(suite['strength']), suite['suite']))


def policy_of(vm: 'NamedVM',
              display: 'documents.ScannedDisplay') -> (
                  'documents.Policy | None'):
    """
    Return the part of a VM's policy for a display, or None. A setting that
    this version does not know may be for any display.
    """
    others = set(tlsciphers_values.KEYS).difference(
        compliance.governing_keys(display))
    # Known ones first: a domain XML can have any number, of any length.
    requested = vm.requested
    keys = sorted(set(requested).difference(others),
                  key=lambda key: (key not in tlsciphers_values.KEYS, key))
    return {key[:scan_files.LONGEST_KEY]: {
        'value': requested[key].value[:scan_files.LONGEST_TEXT],
        'required': requested[key].required}
        for key in keys[:scan_files.MOST_KEYS]} or None


def make_document(consoles: 'list[documents.Console]',
                  baseline: str) -> 'documents.NewScan':
    """Return the scan (dict) of consoles (list of dict), for JSON."""
    verdicts = collections.Counter(map(results.verdict, consoles))
    return {
        **output.head('scan'), 'baseline': baseline, 'consoles': consoles,
        'summary': {'consoles': len(consoles),
                    'passed': verdicts[results.PASSED],
                    'partly_checked': verdicts[results.PARTLY],
                    'failed': verdicts[results.FAILED],
                    'not_scanned': verdicts[results.NOT_SCANNED]}}
