# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""
What only the engine's view shows: policies that are requested and not
effective, or wait for a VM's next start, and VMs, hosts and cluster levels
that are not ready for policies.
"""

import tlsciphers_domain
import tlsciphers_values
from tlsciphers_values import PROPERTIES

import tlsciphers
from vdsm_tlsciphers import UserError, codes, one_line
from vdsm_tlsciphers.audit import compliance, results
from vdsm_tlsciphers.audit.scanner import Target
from vdsm_tlsciphers.engine.inventory import FLAGS
from vdsm_tlsciphers.host.domains import GUARD_LEVEL, Setting

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from vdsm_tlsciphers import documents
    from vdsm_tlsciphers.engine import inventory

    # A VM and its description.
    Assessed = tuple['AssessedVM', documents.EngineVM]

# The key of a policy that this machine cannot resolve. It is none of those
# that compliance knows, so that a console with it is "not checked" at best.
UNRESOLVED = 'profile'
# Why a policy is not effective, and the remedy.
WHY = {
    'vm-on-host-without-hook': (
        'the host does not have the package',
        'install the package there, then shut the VM down and start it'),
    'vm-console-not-encrypted': (
        'a VNC console works without TLS',
        'check Enable VNC Encryption in the engine (Compute > Clusters > Edit '
        '> Console), reinstall the hosts, then shut the VM down and start it'),
    'vm-started-before-policy': (
        'the VM may have started before the property or the package was '
        'there, or on a host without it',
        'shut the VM down and start it; if that does not help: '
        '"vdsm-tlsciphers status" on its host says why')}
# Findings about a VNC console whose cluster does not encrypt it.
NOT_ENCRYPTED = frozenset(('anonymous-tls', 'no-tls', 'unencrypted-offer'))
COPY_PROFILES = ('copy /etc/vdsm/tlsciphers.conf of a host to this machine, '
                 'if it is a profile of your own; else correct the property')
EFFECTIVE: 'documents.Statement' = 'effective'
DIFFERENT: 'documents.Statement' = 'different'
UNKNOWN: 'documents.Statement' = 'unknown'
NONE: 'documents.Statement' = 'none'


class AssessedVM:
    """
    A VM of an inventory, and its policy: name, uuid (str), requested
    ({key: Setting}, as domains.VM has it), problem (UserError or None: why its
    policy cannot be resolved here).
    """

    def __init__(self, vm: 'inventory.VM') -> None:
        self.engine_vm = vm
        self.name = vm.name
        self.uuid = vm.uuid
        self.problem: UserError | None = None
        self.requested = self._resolve()

    def _resolve(self) -> 'dict[str, Setting]':
        properties = policy_properties(self.engine_vm.properties)
        try:
            values = tlsciphers.requested(properties)
        except tlsciphers_values.Refused as refusal:
            self.problem = UserError.of(refusal)
            values = {UNRESOLVED: properties.get('tlsprofile', '')}
        return {key: Setting(value, True) for key, value in values.items()}

    def covers(self, display: 'documents.ScannedDisplay') -> bool:
        """Tell whether the policy has something for a display."""
        return UNRESOLVED in self.requested or any(
            key in self.requested
            for key in compliance.governing_keys(display))


def policy_properties(properties: 'dict[str, str]') -> 'dict[str, str]':
    """Return those of a VM's properties that request a policy."""
    found = {name: value.strip() for name, value in properties.items()
             if name in PROPERTIES and value.strip()}
    if found.get('tlsprofile') == compliance.NO_BASELINE:
        del found['tlsprofile']
    return found


def targets(vms: 'Iterable[AssessedVM]') -> 'list[Target]':
    """Return the ports (list of Target) of VMs, those without TLS last."""
    found = []
    for vm in vms:
        ports = vm.engine_vm.ports
        alone = not any(port.display == 'spice' and not port.plaintext
                        for port in ports)
        found += [Target(port.display, port.address, port.port, vm,
                         port.plaintext, alone) for port in ports]
    return sorted(found, key=lambda target: target.plaintext)


def statement(vm: AssessedVM,
              consoles: 'list[documents.Console]') -> 'documents.Statement':
    """
    Return whether the policy of a VM is effective, by the handshakes with its
    consoles (list of dict, of a scan).
    """
    if not vm.requested or not vm.engine_vm.displays:
        return NONE
    covered = [console for console in consoles if vm.covers(
        console['display'])]
    against = {finding['code'] for console in covered
               for finding in console['findings']
               if finding['against'] == 'policy'}
    # A value that cannot be evaluated says nothing of the console.
    if against - {'not-evaluated'}:
        return DIFFERENT
    return UNKNOWN if _unknown(vm, consoles) else EFFECTIVE


def _unknown(vm: AssessedVM, consoles: 'list[documents.Console]') -> (
        'UserError | None'):
    """Return why it is unknown whether a policy is effective, or None."""
    if vm.problem:
        return UserError(vm.problem.text, COPY_PROFILES, vm.problem.code)
    displays = sorted(display for display in vm.engine_vm.displays
                      if vm.covers(display))
    if not displays:
        return UserError('it has no console that its policy is for',
                         'set tlsprofile, which is for both',
                         'console-not-covered')
    without_port = [display for display in vm.engine_vm.without_port
                    if display in displays]
    if without_port:
        return _no_port(without_port)
    for console in consoles:
        if not vm.covers(console['display']):
            continue
        if console['state'] not in (results.SCANNED, results.TLS_REQUIRED):
            return UserError(
                'a console was not scanned: %s' % (
                    console['problem'] or console['state']),
                console.get('remedy') or 'scan again',
                console.get('code') or 'scan-incomplete')
        for finding in console['findings']:
            if (finding['code'], finding['against']) == (
                    'not-evaluated', 'policy'):
                return UserError(finding['text'], finding['remedy'],
                                 finding['code'])
    for display in displays:
        # Without one a plaintext port is all there is.
        if not any((console['display'], console['state']) == (
                display, results.SCANNED) for console in consoles):
            return UserError('no handshake with its %s console'
                             % display.upper(), '"vdsm-tlsciphers status" on '
                             'its host says more', 'scan-incomplete')
    return None


def _no_port(displays: 'Iterable[str]') -> UserError:
    return UserError('the engine names no port of the %s console' % (
        ' and '.join(displays).upper()), 'scan again, since the VM may just '
        'have started; then look at it with "virsh -r domdisplay" on its host',
        'no-listening-console')


def describe(vm: AssessedVM,
             consoles: 'list[documents.Console]') -> 'documents.EngineVM':
    """Return a VM for JSON, with what follows from its consoles."""
    known = vm.engine_vm
    said = statement(vm, consoles)
    reason = code = None
    unknown = _unknown(vm, consoles) if said == UNKNOWN else None
    if unknown:
        reason, code = unknown.text, unknown.code
    elif said == DIFFERENT:
        code = _why(vm, consoles)
        reason = '%s (it started on %s)' % (WHY[code][0],
                                            known.started or 'a day unknown')
    return {
        'vm': vm.name, 'uuid': vm.uuid, 'cluster': known.cluster.name,
        'host': known.host.name if known.host else None,
        'status': known.status, 'started': known.started,
        'properties': known.properties, 'guard': known.has_guard,
        'next_start': known.waiting or None, 'statement': said,
        'reason': reason, 'code': code}


def _why(vm: AssessedVM, consoles: 'list[documents.Console]') -> str:
    """Return why a policy is not effective, as a key of WHY."""
    host = vm.engine_vm.host
    if host and not host.hook:
        return 'vm-on-host-without-hook'
    found = {finding['code'] for console in consoles
             if console['display'] == 'vnc' and vm.covers('vnc')
             for finding in console['findings']}
    return ('vm-console-not-encrypted' if found & NOT_ENCRYPTED
            else 'vm-started-before-policy')


def findings(center: 'inventory.DataCenter', vms: 'list[Assessed]',
             consoles: 'dict[str, list[documents.Console]]',
             new: 'list[inventory.VM]') -> 'list[documents.EngineFinding]':
    """
    Return what is wrong beside what the consoles accept, by severity.

    Arguments:
        center (inventory.DataCenter)
        vms (list of (AssessedVM, its description))
        consoles ({UUID of a VM: list of dict, of a scan})
        new (list of inventory.VM): that were not scanned
    """
    found = [*_not_effective(vms), *_unknown_policies(vms, consoles),
             *_without_port(vms), *_not_covered(vms), *_waiting(vms),
             *_without_guard(vms), *_new(new),
             *_hosts_without_hook(center, vms), *_undefined(center, vms)]
    return sorted(found, key=lambda each: codes.SEVERITIES.index(
        each['severity']))


def by_text(found: 'list[documents.EngineFinding]') -> (
        'dict[tuple[str, str, str], list[documents.EngineFinding]]'):
    """Return findings by their severity, text with code, and remedy."""
    groups: dict[tuple[str, str, str], list[documents.EngineFinding]] = {}
    for finding in found:
        groups.setdefault((finding['severity'], one_line(
            finding['text'], '', finding['code']), finding['remedy']),
            []).append(finding)
    return groups


def _finding(code: str, text: str, remedy: str, cluster: 'str | None' = None,
             hosts: 'Iterable[str]' = (), vms: 'Iterable[str]' = ()) -> (
                 'documents.EngineFinding'):
    return {'finding': one_line(text, remedy, code), 'code': code,
            'text': text, 'remedy': remedy, 'severity': codes.SEVERITY[code],
            'cluster': cluster, 'hosts': sorted(hosts), 'vms': sorted(vms)}


def _by_cluster(
        code: str, found: 'Iterable[tuple[str, str, documents.EngineVM]]') -> (
            'list[documents.EngineFinding]'):
    """Return a finding for each cluster, of (text, remedy, VM)."""
    groups: dict[tuple[str, str, str], list[documents.EngineVM]] = {}
    for text, remedy, vm in found:
        groups.setdefault((text, remedy, vm['cluster']), []).append(vm)
    return [_finding(code, text, remedy, cluster,
                     {vm['host'] or '-' for vm in some},
                     [vm['vm'] for vm in some])
            for (text, remedy, cluster), some in groups.items()]


def _not_effective(vms: 'list[Assessed]') -> 'list[documents.EngineFinding]':
    return [finding for code, (text, remedy) in WHY.items()
            for finding in _by_cluster(code, (
                ('policy requested, not effective: ' + text, remedy, vm)
                for _, vm in vms
                if (vm['statement'], vm['code']) == (DIFFERENT, code)))]


def _unknown_policies(vms: 'list[Assessed]',
                      consoles: 'dict[str, list[documents.Console]]') -> (
                          'list[documents.EngineFinding]'):
    found = []
    for vm, described in vms:
        if described['statement'] == UNKNOWN:
            reason = _unknown(vm, consoles.get(vm.uuid, []))
            assert reason  # nosec B101 # for mypy
            found.append(('policy requested, unknown whether it is effective: '
                          + reason.reason, reason.remedy, described))
    return _by_cluster('vm-policy-unknown', found)


def _without_port(vms: 'list[Assessed]') -> 'list[documents.EngineFinding]':
    """Consoles that were not scanned, since nobody knows where they are."""
    found = []
    for vm, described in vms:
        if vm.engine_vm.without_port:
            reason = _no_port(vm.engine_vm.without_port)
            found.append((reason.text, reason.remedy, described))
    return _by_cluster('no-listening-console', found)


def _not_covered(vms: 'list[Assessed]') -> 'list[documents.EngineFinding]':
    """Consoles that the policy of their VM has nothing for."""
    found = []
    for vm, described in vms:
        uncovered = sorted(display.upper() for display
                           in vm.engine_vm.displays if not vm.covers(display))
        if vm.requested and uncovered:
            found.append(('policy requested that has nothing for the %s '
                          'console' % ' and '.join(uncovered),
                          'set tlsprofile, which is for both', described))
    return _by_cluster('console-not-covered', found)


def _waiting(vms: 'list[Assessed]') -> 'list[documents.EngineFinding]':
    """Policies that come with the next start of VMs."""
    found = []
    for vm, described in vms:
        change = described['next_start'] or {}
        if not any(name in PROPERTIES for name in change):
            continue
        removed = not policy_properties(vm.engine_vm.next_run or {})
        host = vm.engine_vm.host
        remedy = 'reboot the guest, or wait for it: its own reboot is enough'
        if host and not host.hook and not removed:
            remedy = ('install the package on its host, then ' + remedy)
        found.append((
            'policy %s, which waits for the next start of the VM' % (
                'removed' if removed else 'requested'), remedy, described))
    return _by_cluster('vm-policy-waits', found)


def _without_guard(vms: 'list[Assessed]') -> 'list[documents.EngineFinding]':
    found = []
    for vm, described in vms:
        then = (vm.engine_vm.next_run if vm.engine_vm.next_run is not None
                else vm.engine_vm.properties)
        level = vm.engine_vm.level
        if (policy_properties(then) and not vm.engine_vm.is_hosted_engine
                and not tlsciphers_domain.has_guard(then.get(FLAGS, ''))
                and (level is None or level >= GUARD_LEVEL)):
            found.append((
                'policy without the guard: a host without the package would '
                'start the VM without its policy', 'when all hosts have the '
                'package, and the policy is for all consoles of the VM: add '
                '+%s to %s' % (tlsciphers_domain.GUARD, FLAGS), described))
    return _by_cluster('vm-without-guard', found)


def _new(vms: 'list[inventory.VM]') -> 'list[documents.EngineFinding]':
    groups: dict[str, list[inventory.VM]] = {}
    for vm in vms:
        groups.setdefault(vm.cluster.name, []).append(vm)
    return [_finding(
        'vm-not-scanned', 'the VM was started during the scan, and is not in '
        'it', 'scan again', cluster,
        {vm.host.name for vm in some if vm.host}, [vm.name for vm in some])
        for cluster, some in groups.items()]


def _hosts_without_hook(
        center: 'inventory.DataCenter',
        vms: 'list[Assessed]') -> (
            'list[documents.EngineFinding]'):
    groups: dict[str, list[str]] = {}
    # Now or to come.
    clusters = {described['cluster'] for vm, described in vms
                if policy_properties(vm.engine_vm.properties)
                or policy_properties(vm.engine_vm.next_run or {})}
    for host in center.hosts:
        if not host.hook and host.cluster.name in clusters:
            groups.setdefault(host.cluster.name, []).append(host.name)
    return [_finding(
        'host-without-hook', 'no package on the host, although VMs of its '
        'cluster have a policy',
        'install the package there', cluster, names)
        for cluster, names in groups.items()]


def _undefined(center: 'inventory.DataCenter',
               vms: 'list[Assessed]') -> (
                   'list[documents.EngineFinding]'):
    """Cluster levels that would drop properties which others have."""
    if center.definitions is None:
        return []
    wanted = [name for name in PROPERTIES if any(
        name in names for names in center.definitions.values())]
    used = {level for level in (
        *(host.cluster.level for host in center.hosts),
        *(vm.engine_vm.level for vm, _ in vms)) if level}
    found = []
    for level in sorted(used):
        missing = [name for name in wanted
                   if name not in center.definitions.get(level, ())]
        if missing:
            found.append(_finding(
                'property-undefined', 'cluster level %d.%d does not define '
                '%s, and drops them from its VMs' % (
                    *level, ', '.join(missing)), '"vdsm-tlsciphers '
                'engine-line --cver %d.%d" prints the command' % level))
    return found
