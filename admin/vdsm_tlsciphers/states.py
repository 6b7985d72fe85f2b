# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""The policies asked for and in force of VMs, for people and for JSON."""

import json
import os
import queue
import threading

import tlsciphers
from vdsm_tlsciphers import (
    FAILED,
    FINDINGS,
    FINE,
    Problem,
    domains,
    emulators,
)
from vdsm_tlsciphers.terminal import clean, head, paint, print_json

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse

    import libvirt

    from vdsm_tlsciphers import documents

    # The value of each key, and its source.
    InForce = dict[str, tuple[str, documents.Source]]

SPICE: 'documents.Display' = 'spice'
VNC: 'documents.Display' = 'vnc'
IN_FORCE: 'documents.VMState' = 'in force'
DIFFERENCE: 'documents.VMState' = 'difference'
NONE: 'documents.VMState' = 'none'
UNKNOWN: 'documents.VMState' = 'unknown'
COLOURS = {IN_FORCE: 'green', DIFFERENCE: 'red', NONE: 'bold',
           UNKNOWN: 'yellow'}
# How long QEMU may take to answer. One that hangs never does.
PATIENCE = 5
LOG = '/var/log/libvirt/qemu/%s.log'


def run(options: 'argparse.Namespace') -> int:
    """Do the command's work; return its exit status."""
    if os.geteuid():
        raise Problem('status reads the command lines of emulators, which '
                      'only root may; run it as root')
    connection = domains.connect()
    machines = domains.running(connection)
    if options.vms:
        machines = choose(machines, options.vms)
    monitor = Monitor()
    vms = [vm for vm in (examine(machine, monitor) for machine in machines)
           if vm['state'] != UNKNOWN or is_running(connection, vm['uuid'])]
    document: documents.Status = {
        **head('status'), 'vms': vms,
        'summary': {'vms': len(vms), **{
            state.replace(' ', '_'): len([vm for vm in vms
                                          if vm['state'] == state])
            for state in COLOURS}}}
    if options.json:
        print_json(document)
    else:
        show(document)
    states = {vm['state'] for vm in vms}
    if UNKNOWN in states:
        return FAILED
    return FINDINGS if DIFFERENCE in states else FINE


def choose(machines: 'list[domains.Machine]',
           names: 'list[str]') -> 'list[domains.Machine]':
    """Return those of the Machines that have these names or UUIDs."""
    chosen: list[domains.Machine] = []
    for name in names:
        found = [machine for machine in machines
                 if name in (machine.name, machine.uuid)]
        if not found:
            raise Problem('%s: no VM with that name or UUID runs on this '
                          'host; "virsh -r list" shows those that do' % name)
        chosen.extend(machine for machine in found if machine not in chosen)
    return chosen


def is_running(connection: 'libvirt.virConnect', uuid: str) -> bool:
    """Tell whether a VM has not ended, or left, while it was looked at."""
    import libvirt
    try:
        return bool(connection.lookupByUUIDString(uuid).isActive())
    except libvirt.libvirtError:
        return False


# What is in force


class Monitor:
    """Asks QEMU itself, through libvirt; the connection is made for it."""

    def __init__(self) -> None:
        self.connection: libvirt.virConnect | None = None

    def priority(self, machine: domains.Machine,
                 credentials: str) -> 'str | None':
        """
        Return the priority (str, or None) of a credentials object of a
        Machine. Raises Problem where QEMU cannot be asked.
        """
        if self.connection is None:
            self.connection = domains.connect(writable=True)
        answers: queue.Queue[str | Exception | None] = queue.Queue()
        threading.Thread(target=self._ask, daemon=True, args=(
            self.connection, machine, credentials, answers)).start()
        try:
            answer = answers.get(timeout=PATIENCE)
        except queue.Empty:
            raise Problem('it does not answer within %d seconds' % PATIENCE)
        if isinstance(answer, Exception):
            raise Problem(str(answer))
        return answer

    @staticmethod
    def _ask(connection: 'libvirt.virConnect', machine: domains.Machine,
             credentials: str,
             answers: 'queue.Queue[str | Exception | None]') -> None:
        try:
            import libvirt_qemu
            answer = json.loads(libvirt_qemu.qemuMonitorCommand(
                connection.lookupByUUIDString(machine.uuid), json.dumps({
                    'execute': 'qom-get', 'arguments': {
                        'path': '/objects/' + credentials,
                        'property': 'priority'}}), 0))
            if not isinstance(answer.get('return', ''), str):
                raise TypeError('it answers with something else than a text')
            if 'error' in answer:
                raise ValueError(str(answer['error'].get('desc')))
            answers.put(answer.get('return') or None)
        except Exception as error:  # noqa: BLE001 (the other thread's)
            answers.put(error)


def spice_in_force(emulator: emulators.Emulator) -> 'InForce':
    """Return {key: (value, source)} for SPICE."""
    found: InForce = {}
    if 'tls-ciphers' in emulator.spice:
        found['ciphers'] = emulator.spice['tls-ciphers'], 'arguments'
    settings = emulator.openssl or {}
    for key in ('ciphersuites', 'groups'):
        if key in settings:
            found[key] = settings[key], 'OpenSSL file'
    if 'minprotocol' in settings or 'maxprotocol' in settings:
        found['protocols'] = emulators.protocols(settings), 'OpenSSL file'
    return found


def vnc_in_force(machine: domains.Machine, emulator: emulators.Emulator,
                 monitor: Monitor) -> 'tuple[InForce, str | None]':
    """
    Return {key: (value, source)} for VNC, and why (str) QEMU could not be
    asked, or None. Where a VM has nothing to do with priorities it is not.
    """
    values: list[tuple[str, documents.Source]] = []
    note = None
    for name in emulator.credentials:
        value = emulator.priorities.get(name)
        source: documents.Source = 'arguments'
        if value is not None or 'priority' in machine.policy:
            try:
                value, source = monitor.priority(machine, name), 'QEMU'
            except Problem as problem:
                note = str(problem)
        if value is not None:
            values.append((value, source))
    if not values:
        return {}, note
    texts = sorted({value for value, _ in values})
    return {'priority': (' and '.join(texts), values[0][1])}, note


def has_tls(emulator: emulators.Emulator,
            display: 'documents.Display') -> bool:
    if display == SPICE:
        return emulator.spice.get('tls-port', '').strip('0') != ''
    return bool(emulator.vnc) and all(vnc.get('tls-creds')
                                      for vnc in emulator.vnc)


# Asked for, and in force


def examine(machine: domains.Machine, monitor: Monitor) -> 'documents.VM':
    """Return a dict for a Machine, as docs/status.schema.json has it."""
    vm: documents.VM = {
        'vm': clean(machine.name), 'uuid': clean(machine.uuid), 'pid': None,
        'state': UNKNOWN, 'problem': None, 'displays': [], 'settings': [],
        'differences': []}
    try:
        emulator = emulators.Emulator(machine)
    except Problem as problem:
        vm['problem'] = clean(str(problem))
        return vm
    vm['pid'] = emulator.pid
    for display in (SPICE, VNC):
        if display in machine.displays:
            examine_display(vm, display, machine, emulator, monitor)
    add_general_differences(vm, machine)
    vm['state'] = (DIFFERENCE if vm['differences'] else
                   IN_FORCE if vm['settings'] else NONE)
    return vm


def examine_display(vm: 'documents.VM', display: 'documents.Display',
                    machine: domains.Machine, emulator: emulators.Emulator,
                    monitor: Monitor) -> None:
    tls = has_tls(emulator, display)
    note = None
    if not tls:
        found = {}
    elif display == SPICE:
        found = spice_in_force(emulator)
    else:
        found, note = vnc_in_force(machine, emulator, monitor)
    keys = [key for key in tlsciphers.KEYS
            if (key == 'priority') == (display == VNC)
            and (key in machine.policy or (key in found and key in (
                # What the host's own OpenSSL file has is nobody's policy.
                'ciphers', 'priority')))]
    vm['displays'].append({'display': display, 'tls': tls,
                           'covered': bool(keys)})
    for key in keys:
        asked, required = machine.policy.get(key, (None, None))
        value, source = found.get(key, (None, None))
        vm['settings'].append({
            'display': display, 'key': key,
            'asked': asked and clean(asked), 'required': required,
            'in_force': value and clean(value), 'source': source,
            'note': note and 'QEMU could not be asked: ' + clean(note)})
        if asked != value:
            add_difference(vm, display, explain(machine, key, value, tls))
    if machine.policy and not keys:
        add_difference(vm, display, 'this console is not covered%s; set %s or '
                       'tlsprofile on the VM, shut it down and start it' % (
                           '' if tls else ', and not encrypted',
                           'tlspriority' if display == VNC else 'tlsciphers'))


def explain(machine: domains.Machine, key: str, value: 'str | None',
            tls: bool) -> str:
    """Return why what a VM asks for and what is in force may differ."""
    if key not in machine.policy:
        if key == 'ciphers' and tlsciphers.EMULATOR in [
                domains.text_of(node).strip()
                for node in machine.document.getElementsByTagName(
                    'emulator')]:
            return ('ciphers: the VM asks for nothing: its cipher list comes '
                    'from a manual installation; set the property tlsciphers '
                    'to keep it, before the VM is started anew')
        return ('%s: the VM asks for nothing: another hook, or somebody, has '
                'set it' % key)
    if not tls:
        return ('%s: not in force: this console is not encrypted; %s' % (
            key, 'check Enable VNC Encryption in the engine (Compute > '
            'Clusters > Edit > Console) and reinstall the host'
            if key == 'priority' else 'set spice_tls = 1 in '
            '/etc/libvirt/qemu.conf'))
    if value is None:
        return ('%s: not in force; %s may say why; shut the VM down and '
                'start it' % (key, LOG % machine.name))
    return ('%s: another value is in force than is asked for; shut the VM '
            'down and start it' % key)


def add_general_differences(vm: 'documents.VM',
                            machine: domains.Machine) -> None:
    unknown = sorted(set(machine.policy) - set(tlsciphers.KEYS))
    if unknown:
        add_difference(vm, None, '%s: this version cannot tell what that is; '
                       'update vdsm-hook-tlsciphers' % ', '.join(unknown))
    wanted = {name: value for name, value in machine.properties.items()
              if (name, value) != ('tlsprofile', tlsciphers.NO_PROFILE)}
    if wanted and not machine.policy and machine.displays & {SPICE, VNC}:
        add_difference(
            vm, None, 'the VM has the property %s, but was started without a '
            'policy: the host of its start had not the package; shut it down '
            'and start it on a host that has' % ', '.join(sorted(wanted)))


def add_difference(vm: 'documents.VM', display: 'documents.Display | None',
                   line: str) -> None:
    vm['differences'].append({'display': display, 'difference': clean(line)})


# For people


def show(document: 'documents.Status') -> None:
    """Print a document of status."""
    for vm in document['vms']:
        state = vm['state']
        print('%s: %s' % (vm['vm'], paint(
            state.upper() if state in (DIFFERENCE, UNKNOWN) else state,
            COLOURS[state])))
        for setting in vm['settings']:
            show_setting(setting)
        if state == NONE:
            for display in vm['displays']:
                print('  %-6s%s' % (
                    display['display'].upper(), 'defaults of QEMU'
                    if display['tls'] else 'not encrypted'))
        for difference in vm['differences']:
            print('  %-6s%s' % ((difference['display'] or '').upper(), paint(
                difference['difference'], 'red')))
        if vm['problem']:
            print('  ' + paint(vm['problem'], 'yellow'))
    summary = document['summary']
    print('%s%d VM%s on %s: %d in force, %d with a difference, %d without a '
          'policy%s' % (
              '\n' if document['vms'] else '', summary['vms'],
              '' if summary['vms'] == 1 else 's', clean(document['host']),
              summary['in_force'], summary['difference'], summary['none'],
              ', %d unknown' % summary['unknown'] if summary['unknown']
              else ''))


def show_setting(setting: 'documents.VMSetting') -> None:
    beginning = '  %-6s%-13s%-10s' % (
        setting['display'].upper(), setting['key'],
        {True: 'required', False: 'default', None: '-'}[setting['required']])
    if setting['asked'] and setting['asked'] == setting['in_force']:
        print(beginning + setting['asked'])
    else:
        print('%sasked for  %s' % (beginning, setting['asked'] or 'nothing'))
        print('%sin force   %s' % (' ' * len(beginning), paint(
            setting['in_force'] or 'nothing', 'red')))
    if setting['note']:
        print('%s(%s)' % (' ' * len(beginning), setting['note']))
