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

# The key of a policy that this machine cannot resolve.
UNRESOLVED = 'profile'
# Why a policy is not effective, and the remedy.
WHY = {
    'vm-on-host-without-hook': (
        'the host does not have the package',
        'install the package there, then shut the VM down and start it'),
    'vm-started-before-policy': (
        'the VM started before the property or the package was there, or on a '
        'host without it',
        'shut the VM down and start it; if that does not help: '
        '"vdsm-tlsciphers status" on its host says why')}
EFFECTIVE: 'documents.Statement' = 'effective'
DIFFERENT: 'documents.Statement' = 'different'
UNKNOWN: 'documents.Statement' = 'unknown'
NONE: 'documents.Statement' = 'none'


class AssessedVM:
    """
    A VM of an inventory, and its policy: name, uuid (str), policy ({key:
    Setting}, as domains.VM has it), problem (UserError or None: why its
    policy cannot be resolved here).
    """

    def __init__(self, vm: 'inventory.VM') -> None:
        self.engine_vm = vm
        self.name = vm.name
        self.uuid = vm.uuid
        self.problem: UserError | None = None
        self.policy = self._resolve()

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
        return UNRESOLVED in self.policy or any(
            key in self.policy for key in compliance.governing_keys(display))


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
        consoles = vm.engine_vm.consoles
        alone = not any(console.display == 'spice' and not console.plaintext
                        for console in consoles)
        found += [Target(console.display, console.address, console.port,
                         vm, console.plaintext, alone)
                  for console in consoles]
    return sorted(found, key=lambda target: target.plaintext)


def statement(vm: AssessedVM,
              consoles: 'list[documents.Console]') -> 'documents.Statement':
    """
    Return whether the policy of a VM is effective, by the handshakes with its
    consoles (list of dict, of a scan).
    """
    if not vm.policy:
        return NONE
    covered = [console for console in consoles if vm.covers(
        console['display'])]
    if any(finding['against'] == 'policy' for console in covered
           for finding in console['findings']):
        # A value that cannot be evaluated says nothing of the console.
        return UNKNOWN if all(
            finding['code'] == 'not-evaluated' for console in covered
            for finding in console['findings']
            if finding['against'] == 'policy') else DIFFERENT
    if vm.problem or not covered or not all(
            console['state'] in (results.SCANNED, results.TLS_REQUIRED)
            for console in covered):
        return UNKNOWN
    return EFFECTIVE


def describe(vm: AssessedVM,
             consoles: 'list[documents.Console]') -> 'documents.EngineVM':
    """Return a VM for JSON, with what follows from its consoles."""
    known = vm.engine_vm
    said = statement(vm, consoles)
    reason = None
    code = None
    if said == UNKNOWN:
        reason, code = _unknown(vm, consoles)
    elif said == DIFFERENT and known.host and not known.host.hook:
        reason = '%s does not have the package' % known.host.name
        code = 'vm-on-host-without-hook'
    elif said == DIFFERENT:
        reason = ('it started%s without its policy: before the property or '
                  'the package was there, or on a host without it' % (
                      ' on ' + known.started if known.started else ''))
        code = 'vm-started-before-policy'
    return {
        'vm': vm.name, 'uuid': vm.uuid, 'cluster': known.cluster.name,
        'host': known.host.name if known.host else None,
        'status': known.status, 'started': known.started,
        'properties': known.properties, 'guard': known.has_guard,
        'next_start': known.waiting or None, 'statement': said,
        'reason': reason, 'code': code}


def _unknown(vm: AssessedVM, consoles: 'list[documents.Console]') -> (
        'tuple[str, str]'):
    """Return why it is unknown whether a policy is effective, and a code."""
    if vm.problem:
        return vm.problem.text, vm.problem.code
    if not consoles:
        return 'the engine names no port of a console', 'no-listening-console'
    for console in consoles:
        if console['problem']:
            return ('%s: %s' % (results.endpoint(console),
                                console['problem']),
                    console.get('code') or 'scan-incomplete')
        for finding in console['findings']:
            if finding['code'] == 'not-evaluated':
                return finding['text'], finding['code']
    return 'it has no console that its policy is for', 'console-not-covered'


def findings(center: 'inventory.DataCenter',
             vms: 'list[tuple[AssessedVM, documents.EngineVM]]') -> (
                 'list[documents.EngineFinding]'):
    """Return what is wrong beside what the consoles accept, by severity."""
    found = [*_not_effective(vms), *_waiting(vms), *_without_guard(vms),
             *_hosts_without_hook(center, vms), *_undefined(center, vms)]
    return sorted(found, key=lambda each: codes.SEVERITIES.index(
        each['severity']))


def _finding(code: str, text: str, remedy: str, cluster: 'str | None' = None,
             hosts: 'Iterable[str]' = (), vms: 'Iterable[str]' = ()) -> (
                 'documents.EngineFinding'):
    return {'finding': one_line(text, remedy, code), 'code': code,
            'text': text, 'remedy': remedy, 'severity': codes.SEVERITY[code],
            'cluster': cluster, 'hosts': sorted(hosts), 'vms': sorted(vms)}


def _not_effective(
        vms: 'list[tuple[AssessedVM, documents.EngineVM]]') -> (
            'list[documents.EngineFinding]'):
    groups: dict[tuple[str, str], list[documents.EngineVM]] = {}
    for _, vm in vms:
        if vm['statement'] == DIFFERENT:
            groups.setdefault((vm['code'] or '', vm['cluster']),
                              []).append(vm)
    return [_finding(
        code, 'policy requested, not effective: ' + WHY[code][0],
        WHY[code][1], cluster, {vm['host'] or '-' for vm in some},
        [vm['vm'] for vm in some]) for (code, cluster), some in groups.items()]


def _waiting(vms: 'list[tuple[AssessedVM, documents.EngineVM]]') -> (
        'list[documents.EngineFinding]'):
    """Policies that come with the next start of VMs."""
    groups: dict[tuple[str, bool], list[str]] = {}
    for vm, described in vms:
        change = described['next_start'] or {}
        if any(name in PROPERTIES for name in change):
            removed = not policy_properties(vm.engine_vm.next_run or {})
            groups.setdefault((described['cluster'], removed),
                              []).append(vm.name)
    return [_finding(
        'vm-policy-waits',
        'policy removed, which waits for the next start of the VM' if removed
        else 'policy requested, which waits for the next start of the VM',
        'reboot the guest, or wait for it: its own reboot is enough',
        cluster, (), names) for (cluster, removed), names in groups.items()]


def _without_guard(vms: 'list[tuple[AssessedVM, documents.EngineVM]]') -> (
        'list[documents.EngineFinding]'):
    groups: dict[str, list[str]] = {}
    for vm, described in vms:
        then = (vm.engine_vm.next_run if vm.engine_vm.next_run is not None
                else vm.engine_vm.properties)
        level = vm.engine_vm.level
        if (policy_properties(then) and not vm.engine_vm.is_hosted_engine
                and not tlsciphers_domain.has_guard(then.get(FLAGS, ''))
                and (level is None or level >= GUARD_LEVEL)):
            groups.setdefault(described['cluster'], []).append(vm.name)
    return [_finding(
        'vm-without-guard', 'policy without the guard: a host without the '
        'package would start the VM without its policy', 'add +%s to %s' % (
            tlsciphers_domain.GUARD, FLAGS), cluster, (), names)
        for cluster, names in groups.items()]


def _hosts_without_hook(
        center: 'inventory.DataCenter',
        vms: 'list[tuple[AssessedVM, documents.EngineVM]]') -> (
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
               vms: 'list[tuple[AssessedVM, documents.EngineVM]]') -> (
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
    for level, names in sorted(center.definitions.items()):
        missing = [name for name in wanted if name not in names]
        # A cluster can be raised to any later one.
        if missing and used and level >= min(used):
            found.append(_finding(
                'property-undefined', 'cluster level %d.%d does not define '
                '%s, and drops them from its VMs' % (
                    *level, ', '.join(missing)), '"vdsm-tlsciphers '
                'engine-line --cver %d.%d" prints the command' % level))
    return found
