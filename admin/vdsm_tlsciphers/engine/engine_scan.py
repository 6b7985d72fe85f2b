# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""Scans the consoles of all VMs that an engine finds."""

import collections

from vdsm_tlsciphers import UserError
from vdsm_tlsciphers.audit import scanner
from vdsm_tlsciphers.engine import assessment, inventory

TYPE_CHECKING = False
if TYPE_CHECKING:
    from vdsm_tlsciphers import documents


def scan(url: str, search: str, baseline: 'dict[str, str] | None',
         name: str) -> 'documents.EngineScan':
    """
    Return the scan (dict for JSON) of the VMs that an engine finds.

    Arguments:
        url (str): of the engine, '' for that of OVIRT_URL.
        search (str): as in the engine, '' for all VMs.
        baseline (dict or None), name (str): as for compliance.findings().

    Raises UserError.
    """
    def progress(line: str) -> None:
        scanner.show_progress('asked the engine: ' + line)

    engine = inventory.Engine(url)
    try:
        center = engine.read(search, progress)
        if not center.vms and not center.down:
            raise UserError('the engine finds no VM%s' % (
                ' with --search ' + search if search else ''), 'try the '
                'search in Compute > Virtual Machines', 'engine-no-vms')
        vms = [assessment.AssessedVM(vm) for vm in sorted(
            center.vms, key=lambda vm: (
                vm.cluster.name, vm.host.name if vm.host else '', vm.name))]
        consoles = scanner.scan_all(assessment.targets(vms), baseline, name,
                                    many_hosts=True)
        by_now = engine.read_again(search, progress)
    finally:
        engine.close()
        scanner.show_progress('')
    places = {vm.uuid: vm.place for vm in by_now}
    forget(consoles, {vm.uuid for vm in center.vms
                      if places.get(vm.uuid) != vm.place},
           'the VM moved, stopped or was started again during the scan')
    forget(consoles, of_shared_ports(consoles),
           'the engine gives this port to several VMs')
    known = {vm.uuid for vm in center.vms}
    return make_document(center, search, vms, consoles, name, [
        vm for vm in by_now if vm.uuid not in known])


def of_shared_ports(consoles: 'list[documents.Console]') -> 'set[str]':
    """
    Return the UUIDs of VMs with a console (of a list of dict) that has the
    port of another VM: only one of them can have it.
    """
    owners: dict[tuple[str, int], set[str]] = {}
    for console in consoles:
        # What nobody reached proves nothing anyway.
        if console['state'] != 'unreachable':
            owners.setdefault((console['address'], console['port']),
                              set()).add(console['uuid'] or '')
    return {uuid for uuids in owners.values() if len(uuids) > 1
            for uuid in uuids}


def forget(consoles: 'list[documents.Console]', uuids: 'set[str]',
           reason: str) -> None:
    """
    Take back the results of those of the consoles (list of dict) whose VMs
    have these UUIDs: they may be another VM's.
    """
    for number, console in enumerate(consoles):
        if console['uuid'] in uuids:
            nothing = scanner.without_result(
                console['vm'], console['uuid'], console['display'],
                console['address'], console['port'])
            nothing['policy'] = console['policy']
            nothing['state'] = 'incomplete'
            nothing['problem'] = reason
            nothing['code'] = 'scan-incomplete'
            nothing['remedy'] = 'scan again'
            consoles[number] = nothing


def make_document(center: 'inventory.DataCenter', search: str,
                  vms: 'list[assessment.AssessedVM]',
                  consoles: 'list[documents.Console]', name: str,
                  new: 'list[inventory.VM]') -> 'documents.EngineScan':
    """
    Return the scan (dict for JSON) of consoles (list of dict); new (list of
    VM) are those that were not there when it began.
    """
    by_vm: dict[str, list[documents.Console]] = {}
    for console in consoles:
        by_vm.setdefault(console['uuid'] or '', []).append(console)
    described = [(vm, assessment.describe(vm, by_vm.get(vm.uuid, [])))
                 for vm in vms]
    for _, each in described:
        for console in by_vm.get(each['uuid'], ()):
            console['host'] = each['host']
            console['cluster'] = each['cluster']
    findings = assessment.findings(center, described, by_vm, new)
    said = collections.Counter(each['statement'] for _, each in described)

    def count_of(code: str) -> int:
        return sum(len(each['vms']) for each in findings
                   if each['code'] == code)
    # Those of a VM stand together, as in the order of VMs.
    ordered = [console for vm in vms for console in by_vm.get(vm.uuid, ())]
    return {
        **scanner.make_document(ordered, name),
        'engine': center.url,
        'scope': {
            'search': search, 'vms': len(vms), 'down': center.down,
            'without_console': sum(not vm.engine_vm.displays for vm in vms),
            'not_reached': sum(console['state'] == 'unreachable'
                               for console in consoles)},
        'policies': {
            'requested': len(vms) - said[assessment.NONE],
            'effective': said[assessment.EFFECTIVE],
            'different': said[assessment.DIFFERENT],
            'unknown': said[assessment.UNKNOWN],
            'waiting': count_of('vm-policy-waits'),
            'without_guard': count_of('vm-without-guard')},
        'hosts': [
            {'host': host.name, 'uuid': host.uuid,
             'cluster': host.cluster.name, 'status': host.status,
             'hook': host.hook} for host in sorted(
                 center.hosts, key=lambda host: (host.cluster.name,
                                                 host.name))],
        'vms': [each for _, each in described],
        'engine_findings': findings}


def passed(document: 'documents.EngineScan') -> bool:
    """Tell whether all consoles passed, and nothing else was found."""
    summary = document['summary']
    return (not document['engine_findings']
            and summary['passed'] == summary['consoles'])
