# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""The effect of properties on the consoles of a VM, as a dict for JSON."""

import functools
import os

import tlsciphers_config
import tlsciphers_domain
import tlsciphers_host
import tlsciphers_values
from tlsciphers_values import Refused

from vdsm_tlsciphers import UserError, codes, one_line
from vdsm_tlsciphers.audit import compliance, local_server
from vdsm_tlsciphers.audit.property_guess import mistyped_guards
from vdsm_tlsciphers.host import (
    domain_consoles,
    domains,
    last_start,
    messages,
    next_start,
    qemu_conf,
    qemu_process,
)
from vdsm_tlsciphers.host.finding import FAILED, OK
from vdsm_tlsciphers.output import clean, head
from vdsm_tlsciphers.tls import libraries

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse

    from vdsm_tlsciphers import documents
    from vdsm_tlsciphers.host.finding import Finding

PROFILE, PRIORITY = 'tlsprofile', 'tlspriority'
# Notes of resolve() that follow from correct properties.
NOTES = frozenset(('no-console', 'profile-none', 'suites-without-effect'))
# Refusals for what other hooks did, or what happened to this one.
CANNOT_REPEAT = frozenset((
    'cannot-run', 'domain-doctype', 'domain-xml', 'domain-xml-unwritable',
    'foreign-emulator', 'guard-other-console', 'internal-error', 'no-hooking',
    'prefix'))
WRAPPER_CODES = frozenset(('wrapper-label', 'wrapper-missing',
                           'wrapper-mode'))
# The property for each key of a policy, and a value that lets clients connect.
WORKING = {
    'protocols': ('tlsprotocols', 'TLSv1.2:TLSv1.3'),
    'groups': ('tlsgroups', 'X25519:prime256v1:secp384r1'),
    'ciphersuites': ('tlsciphers', 'TLS_AES_256_GCM_SHA384'),
    'ciphers': ('tlsciphers', 'ECDHE-RSA-AES256-GCM-SHA384'),
}
# The property that a finding of a scan is about, where it is about one.
BLAMED = {'protocol-version': 'tlsprotocols', 'cipher-suite': 'tlsciphers',
          'key-exchange-group': 'tlsgroups'}
# The same in a priority string.
WORKING_WORDS = ('+ECDHE-RSA, +AES-256-GCM, +GROUP-SECP256R1 and '
                 '+SIGN-RSA-PSS-RSAE-SHA256')


def add_last_start(document: 'documents.Check',
                   last: 'last_start.LastStart',
                   vm: 'domains.VM | None') -> None:
    """Add how the last start of a VM was refused, and what to do."""
    if last.refusal is None or last.message is None:
        return
    document['last_start'] = last.refusal
    last.refusal['stands'] = still_stands(document, last.refusal, vm)
    if document['start'] is None and last.refusal['by'] != 'other' and (
            last.refusal['stands'] is not False):
        document['start'] = next_start.remedy(
            document['properties'], vm, last.message, last.refusal['by'])


def still_stands(document: 'documents.Check',
                 refusal: 'documents.LastStart',
                 vm: 'domains.VM | None') -> 'bool | None':
    """Tell whether a refusal would be repeated, None where unknown."""
    if refusal['by'] == 'libvirt':
        from vdsm_tlsciphers.host import program_checks
        fault = (program_checks.hook_files() if os.geteuid() else
                 program_checks.hook())
        return fault is not None and fault.state != OK
    if refusal['by'] != 'hook':
        return True if is_repeated(document, refusal) else None
    if refusal['code'] in WRAPPER_CODES:
        try:
            tlsciphers_host.check_wrapper()
        except Refused:
            return True
    if document['refused'] is None and refusal['code'] in CANNOT_REPEAT:
        return None
    return None if vm is None else document['refused'] is not None


def is_repeated(document: 'documents.Check',
                last: 'documents.LastStart') -> bool:
    """Tell whether the next start would be refused as the last one was."""
    now = document['refusal']
    return document['refused'] == last['line'] or bool(
        now and last['by'] == 'wrapper' and now['code'] == last['code'])


def refused_before(document: 'documents.Check') -> bool:
    """Tell whether its last start was refused, and may be again."""
    last = document['last_start']
    return bool(last and last['by'] != 'other'
                and last['stands'] is not False)


def wanted(properties: 'dict[str, str]',
           vm: 'domains.VM | None') -> 'dict[str, str]':
    """
    Return the properties (dict) to be checked: those that are given, with the
    guard that the VM has anyway, or else the VM's.
    """
    if vm is None:
        return properties
    if not properties:
        return next_start.of_vm(vm)
    flags = next_start.own_properties(vm).get(domains.FLAGS)
    return properties if flags is None else {domains.FLAGS: flags,
                                             **properties}


def carried(vm: 'domains.VM',
            policy: 'documents.Policy') -> 'documents.Policy':
    """
    Return the settings that a VM was started with by the default of a host,
    and that are neither in this host's nor in the policy of its next start.
    """
    found: documents.Policy = {}
    for key, setting in vm.policy.items():
        if (key in tlsciphers_values.KEYS and key not in policy
                and not setting.required):
            try:
                compliance.policy_bounds({key: setting.value})
            except UserError:
                continue
            found[key] = {'value': setting.value, 'required': False}
    return found


def check(properties: 'dict[str, str]', vm: 'domains.VM | None',
          engine_ciphers: str, baseline: 'dict[str, str] | None',
          name: str) -> 'documents.Check':
    """
    Return the effect of properties (dict) as a document (dict) for JSON: for
    a VM, or where it is None for a VM with both displays.

    Arguments:
        engine_ciphers (str): the cipher list of SPICE clients.
        baseline (dict or None), name (str): as for compliance.findings().
    """
    document: documents.Check = {
        **head('check'),
        'vm': vm.name if vm else None,
        'properties': properties, 'baseline': name, 'refused': None,
        'refusal': None, 'findings': [], 'details': [], 'notes': [],
        'note_details': [], 'displays': {}, 'guard': guard_of(properties, vm),
        'last_start': None, 'start': None}
    flags = properties.get(domains.FLAGS,
                           (vm.flags if vm else None) or '')
    for flag in mistyped_guards(flags):
        add(document, 'guard-mistyped', '%s: %s: not the guard: libvirt '
            'refuses this CPU feature on every host, or the engine does not '
            'write it' % (domains.FLAGS, clean(flag, 60)),
            'write +%s, without a blank' % tlsciphers_domain.GUARD)
    displays = next_start.displays_of(vm)
    try:
        settings, notes = next_start.settle(properties, vm)
    except Refused as refusal:
        if refusal.kind == tlsciphers_values.CANNOT_ASK:
            raise UserError.of(refusal)
        refuse(document, vm, refusal, 'hook')
        return document
    if vm:
        refused = domain_consoles.refusal(vm, settings)
        if refused:
            refuse(document, vm, refused, 'wrapper')
            return document
    policy: documents.Policy = {}
    for option, setting in settings:
        key, _, value = setting.partition('=')
        policy[key] = {'value': value,
                       'required': option == tlsciphers_values.REQUIREMENT}
    add_notes(document, notes)
    if vm and vm.pending:
        add_note(document, 'what "apply" gave the running VM ends with its '
                 'next start, which is assessed here', '', 'apply-next-start')
    defaults = (carried(vm, policy) if vm
                and properties == next_start.of_vm(vm) else {})
    at_start, policy = policy, {**policy, **defaults}
    for display in ('spice', 'vnc'):
        if display in displays:
            described = describe(display, policy, engine_ciphers)
            document['displays'][display] = described
            if described['policy'] and rehearse(document, display, described,
                                                baseline, name):
                add_clients(document, display, described)
    add_consoles(document, vm, policy, at_start)
    if vm and vm.of_file and policy:
        add_note(document, 'unknown whether the host encrypts the consoles: '
                 'on one that does not, this VM does not start', '',
                 'host-unknown')
    return document


def check_here(properties: 'dict[str, str]',
               vm: 'domains.VM | None', engine_ciphers: str,
               baseline: 'dict[str, str] | None', name: str,
               of_vm: bool = False) -> 'documents.Check':
    """
    Return the same with what is wrong with hook and wrapper of this host, for
    a VM, or an unknown VM (of_vm), whose properties need them.
    """
    document = check(properties, vm, engine_ciphers, baseline, name)
    if (of_vm or (vm and not vm.of_file)) and (
            document['guard'] or any(
                value.strip() and (name, value.strip()) != (
                    PROFILE, tlsciphers_config.NO_PROFILE)
                for name, value in properties.items()
                if name != domains.FLAGS)):
        fault = host_fault()
        if fault:
            add_fault(document, vm, *fault)
    return document


def check_vm(vm_name: str, properties: 'dict[str, str]', engine_ciphers: str,
             baseline: 'dict[str, str] | None', name: str,
             ) -> 'documents.Check':
    """Return the same (dict) for the name of a VM, running or not."""
    found = domains.look_up(domains.connect(), vm_name)
    vm, runs = found or (None, False)
    if runs:
        return check_here(wanted(properties, vm), vm, engine_ciphers,
                          baseline, name)
    last = last_start.LastStart(vm_name, vm)
    # While it fails, libvirt may have a domain that vdsm has not yet filled.
    if vm is None or not vm.displays:
        vm = last.vm or vm
    end = last.end and (last.end[0], 'ended: ' + last.end[1]
                        if last.end[1] else 'has no end in the log')
    if vm is None and last.refusal is None and not (end and properties):
        if end:
            raise UserError('%s: its last start on this host was not refused '
                            '(%s, it %s), and libvirt does not know its '
                            'properties any more' % (vm_name, *end),
                            'give them: check --vm NAME PROPERTY=VALUE',
                            'start-not-refused')
        raise UserError('%s: libvirt of this host does not know this VM, and '
                        'the ends of the logs have no start of it%s' % (
                            vm_name, ' (%s)' % ', '.join(
                                problem.reason for problem in last.unread)
                            if last.unread else ''),
                        'run this on the host that its event in the engine '
                        'names, or give its properties: check NAME=VALUE',
                        'no-such-vm')
    document = check_here(wanted(properties, vm), vm, engine_ciphers, baseline,
                          name, of_vm=True)
    if end:
        add_note(document, 'its last start on this host was not refused (%s, '
                 'it %s)' % end, '', 'start-not-refused')
    document['vm'] = vm.name if vm else vm_name
    for unread in last.unread:
        add_note(document, unread.text, unread.remedy, unread.code)
    if vm is None and not properties:
        document['displays'] = {}
        document['findings'], document['details'] = [], []
        add_note(document, 'the log does not have the properties of this VM',
                 'give those that it has in the engine: check --vm %s '
                 'NAME=VALUE' % vm_name, 'properties-unknown')
    add_last_start(document, last, vm)
    return document


def find_vms(options: 'argparse.Namespace', has_values: bool,
             ) -> 'list[domains.VM] | list[None]':
    """Return the VMs that the options name; [None] for none of them."""
    if options.running:
        return domains.running(domains.connect())
    if options.xml is not None:
        return [domains.VM(domains.read_file(options.xml), of_file=True)]
    if not has_values and not has_default():
        raise UserError('nothing to check', 'give [NAME=]VALUE, --vm, '
                        '--running or --xml', 'nothing-to-check')
    return [None]


def has_default() -> bool:
    """Tell whether this host has a default, or an invalid file."""
    try:
        return bool(tlsciphers_config.read_host_default().get('default'))
    except Refused:
        return True  # resolve() reports it.


@functools.lru_cache(maxsize=None)
def host_fault() -> 'tuple[Finding, bool] | None':
    """
    Return what is wrong with hook or wrapper of this host, and whether the
    hook runs, or None.
    """
    from vdsm_tlsciphers.host import accounts, program_checks
    found = program_checks.hook_files()
    if found:
        return found, False
    found = program_checks.wrapper_in_place('wrapper')
    if found:
        return found, True
    if os.geteuid():
        return None  # Only root can try it as vdsm.
    try:
        found = program_checks.hook()
    except accounts.NotTried:
        return None
    if found.state == FAILED:
        return found, found.code != 'not-the-hook'
    return None


def add_fault(document: 'documents.Check',
              vm: 'domains.VM | None',
              fault: 'Finding', hook_runs: bool) -> None:
    """Add what is wrong with the hook or the wrapper of this host."""
    refusal = Refused(
        'the %s of this host is damaged: %s' % (fault.check, fault.text),
        'vdsm-tlsciphers doctor', 'host-not-in-order',
        prefix=tlsciphers_values.PACKAGE)
    if document['refused'] or not (hook_runs or document['guard']):
        add(document, refusal.code, refusal.text if hook_runs else
            refusal.text + ': without a guard a VM starts here without its '
            'policy', refusal.remedy)
    if not document['refused'] and (hook_runs or document['guard']):
        refuse(document, vm, refusal, 'hook' if hook_runs else 'libvirt')
    elif document['refused']:
        # No remedy that needs the hook works on this host.
        document['start'] = next_start.remedy(
            document['properties'], vm, refusal,
            'hook' if hook_runs else 'libvirt')


def guard_of(properties: 'dict[str, str]',
             vm: 'domains.VM | None') -> 'bool | None':
    """Tell whether a VM has the guard, None where unknown."""
    if domains.FLAGS in properties:
        return (vm is None or vm.can_have_guard) and bool(
            tlsciphers_domain.has_guard(properties[domains.FLAGS]))
    return vm.guard if vm else None


def refuse(document: 'documents.Check', vm: 'domains.VM | None',
           refusal: Refused, by: 'documents.RefusedBy') -> None:
    """Say that a VM does not start, and how to start it."""
    document['refused'] = str(refusal)
    document['refusal'] = detail(refusal.code, refusal.text, refusal.remedy,
                                 'high')
    document['start'] = next_start.remedy(document['properties'], vm, refusal,
                                          by)


def detail(code: str, text: str, remedy: 'str | None',
           severity: 'documents.Severity') -> 'documents.Detail':
    """Return a message as a dict for JSON."""
    return {'finding': one_line(text, remedy, code), 'code': code,
            'text': text, 'remedy': remedy or None, 'severity': severity}


def add(document: 'documents.Check', code: str, text: str,
        remedy: 'str | None' = None,
        severity: 'documents.Severity | None' = None) -> None:
    """Add a finding, by default with the severity of its code."""
    found = detail(code, text, remedy, severity or codes.SEVERITY[code])
    document['findings'].append(found['finding'])
    document['details'].append(found)


def add_note(document: 'documents.Check', text: str, remedy: str,
             code: str) -> None:
    """Add what the reader should know and need not change."""
    line = one_line(text, remedy, code)
    document['notes'].append(line)
    document['note_details'].append({
        'note': line, 'code': code, 'text': text, 'remedy': remedy or None,
        'severity': 'info'})


def add_notes(document: 'documents.Check', notes: 'list[Refused]') -> None:
    """Add the notes of the hook, as notes or as findings."""
    for note in notes:
        if note.code in NOTES:
            add_note(document, note.text, note.remedy, note.code)
        elif note.code not in messages.DESCRIPTIONS:
            add(document, note.code, note.text, note.remedy,
                codes.of_warning(note.code))


# By handshakes


def rehearse(document: 'documents.Check', display: 'documents.Display',
             described: 'documents.CheckedDisplay',
             baseline: 'dict[str, str] | None', name: str) -> bool:
    """
    Add the findings of a scan of a console with the policy of a display.
    Returns whether any client can connect.
    """
    values = {key: setting['value']
              for key, setting in described['policy'].items()}
    versions = permitted_versions(values, described)
    try:
        with local_server.server(values) as port:
            console = local_server.scan(port, display, baseline, name)
            dead = [version for version in versions
                    if not local_server.connects(port, version,
                                                 display == 'vnc')]
    except Refused as refusal:
        add(document, 'wrapper-refuses', '%s: the wrapper would not start the '
            'VM on this host: %s' % (display.upper(), refusal.text),
            refusal.remedy or 'vdsm-tlsciphers doctor')
        return True
    except local_server.Dead:
        add_dead(document, display, values, versions, True)
        return False
    described['accepted'] = {'protocols': console['protocols'],
                             'groups': console['groups']}
    if console['state'] == 'scanned':
        # What MinProtocol in openssl.cnf removes, and libraries.py cannot see.
        for version in set(described['protocols']) - set(
                console['protocols']) - {'TLSv1.2', 'TLSv1.3'}:
            for listed in (described, *described['clients']):
                listed['protocols'].pop(version, None)
    for finding in console['findings']:
        add_of_scan(document, display, finding)
    if dead:
        add_dead(document, display, values, dead, len(dead) == len(versions))
    elif console['state'] != 'scanned':
        add(document, 'not-assessed', '%s: cannot be evaluated: %s'
            % (display.upper(), console['problem']))
    return len(dead) < len(versions)


def add_dead(document: 'documents.Check', display: 'documents.Display',
             values: 'dict[str, str]', dead: 'list[str]', whole: bool) -> None:
    """Add that no client can connect (whole), or not by versions (dead)."""
    if display == 'vnc':
        given = 'tlspriority=' + values['priority']
        remedy = ('set tlsprofile=intermediate in place of tlspriority, or '
                  'add %s to it' % WORKING_WORDS)
    else:
        blamed = blame(values, dead) or list(values)
        given = ' '.join('%s=%s' % (WORKING[key][0],
                                    values.get(key, '(of the host)'))
                         for key in blamed)
        remedy = ' or '.join(
            'set %s to %s' % WORKING[key] if key in ('protocols', 'groups')
            else 'add %s to %s' % WORKING[key][::-1] for key in blamed)
    add(document, 'no-client-can-connect', '%s: no client can connect%s with '
        '%s' % (display.upper(), '' if whole else ' by ' + ' and '.join(dead),
                given), remedy)


def add_clients(document: 'documents.Check', display: 'documents.Display',
                described: 'documents.CheckedDisplay') -> None:
    """Add the clients without a common cipher suite."""
    for client in described['clients']:
        if not client['protocols']:
            add(document, 'client-cannot-connect', '%s: no common cipher '
                'suite with %s: it cannot connect' % (
                    display.upper(), client['client']))


def permitted_versions(values: 'dict[str, str]',
                       described: 'documents.CheckedDisplay') -> 'list[str]':
    """
    Return the versions of TLS (list of str) by which clients should be able
    to connect with a policy. No client needs an old one.
    """
    if 'priority' in values:
        given = libraries.list_priority(values['priority'])[0]
    else:
        given = values.get('protocols', 'TLSv1.3:TLSv1.2').split(':')
    return [version for version in ('TLSv1.3', 'TLSv1.2') if version in given
            ] or list(described['protocols'])


def blame(values: 'dict[str, str]', dead: 'list[str]') -> 'list[str]':
    """
    Return the keys of a policy for SPICE (list of str), or else those that it
    lacks, any of which with another value lets clients connect by the versions
    (dead) by which they cannot.
    """
    for keys in values, [key for key in WORKING if key not in values]:
        found = []
        for key in keys:
            try:
                with local_server.server(dict(values, **{key: WORKING[key][1]})
                                         ) as port:
                    if all(local_server.connects(port, version)
                           for version in dead):
                        found.append(key)
            except (Refused, local_server.Dead):
                continue
        if found:
            return found
    return []


def add_of_scan(document: 'documents.Check', display: 'documents.Display',
                finding: 'documents.Finding') -> None:
    """Add a finding that a scan would have."""
    if finding['against'] == 'baseline':
        add(document, finding['code'], '%s: against %s: %s' % (
            display.upper(), document['baseline'], finding['text']),
            remedy_here(document, display, finding), finding['severity'])


def remedy_here(document: 'documents.Check', display: 'documents.Display',
                finding: 'documents.Finding') -> str:
    """Return the remedy of a finding, for the properties that are given."""
    given = document['properties']
    own = [name for name in given if name in tlsciphers_values.SETTINGS
           and (name == PRIORITY) == (display == 'vnc')]
    baseline = document['baseline']
    if not own or finding['code'] not in compliance.OF_POLICY[display]:
        return finding['remedy']
    own = [name for name in own if name == BLAMED.get(finding['code'])] or own
    if given.get(PROFILE) == baseline:
        return ('remove %s from the VM (%s=%s is set), shut it down and start '
                'it' % (' and '.join(own), PROFILE, baseline))
    return compliance.SET_PROFILE % (baseline,
                                     ' in place of ' + ' and '.join(own))


# Consoles without a policy, or without TLS


def add_consoles(document: 'documents.Check',
                 vm: 'domains.VM | None',
                 policy: 'documents.Policy',
                 at_start: 'documents.Policy') -> None:
    """
    Add what the consoles of a VM lack with its policy, and with that of its
    next start (at_start).
    """
    if vm is None:
        for display, described in document['displays'].items():
            if not described['policy']:
                add_uncovered(document, display, '%s: not covered by these '
                              'properties: this console of a VM stays open'
                              % display.upper(), ', or give --vm for a VM '
                              'without it')
        return
    endpoints = domain_consoles.endpoints(vm)
    for endpoint in endpoints:
        add_endpoint(document, vm, endpoint, at_start)
    for other in sorted(vm.displays - tlsciphers_domain.LOCAL_DISPLAYS
                        - {'spice', 'vnc'}):
        add(document, 'console-not-covered', 'the %s console is not covered: '
            'policies are for SPICE and VNC' % other.upper(),
            'remove this console')
    if not any(endpoint.display == 'spice' and is_open(endpoint)
               for endpoint in endpoints):
        add_unencrypted(document, vm, policy)


def is_reachable(endpoint: 'domain_consoles.Endpoint') -> bool:
    """Tell whether a console listens on a port."""
    return bool(endpoint.place) and not endpoint.place.startswith('unix')


def is_open(endpoint: 'domain_consoles.Endpoint') -> bool:
    """Tell whether a console listens on a port without TLS."""
    return endpoint.tls is False and is_reachable(endpoint)


def add_uncovered(document: 'documents.Check', display: 'documents.Display',
                  text: str, more: str = '') -> None:
    """Add that a display has no policy."""
    add(document, 'console-not-covered', text, 'set %s or tlsprofile%s'
        % (PRIORITY if display == 'vnc' else 'tlsciphers', more))


def add_endpoint(document: 'documents.Check', vm: 'domains.VM',
                 endpoint: 'domain_consoles.Endpoint',
                 at_start: 'documents.Policy') -> None:
    """
    Add what a console of a VM lacks: TLS, or a policy, now or at its
    next start with a policy (at_start).
    """
    display = endpoint.display
    name = display.upper()
    keys = compliance.governing_keys(display)
    if not is_reachable(endpoint):
        return
    if is_open(endpoint):
        add(document, 'console-not-encrypted', '%s: this console is not '
            'encrypted%s' % (name, ': it has no TLS port'
                             if display == 'spice' else ''),
            domain_consoles.remedy(vm, endpoint))
        return
    if endpoint.tls is None and not vm.of_file:
        add(document, 'not-assessed', '%s: unknown whether this console is '
            'encrypted: %s cannot be read' % (name, qemu_conf.PATH),
            'run this as root')
    if not document['displays'][display]['policy']:
        add_uncovered(document, display, 'the %s console of this VM is not '
                      'covered' % name)
    elif not set(at_start).intersection(keys):
        add(document, 'console-not-covered', '%s: covered only by the default '
            'of the host of its start: not covered after its next start on '
            'this host' % name,
            'set tlsprofile on the VM')
    elif vm.runs and document['properties'] == next_start.of_vm(
            vm) and not set(vm.requested_now).intersection(keys):
        add(document, 'console-not-covered', '%s: the VM runs without this '
            'policy, which takes effect at its next start' % name,
            'shut the VM down and start it')


# Ports without TLS


def add_unencrypted(document: 'documents.Check', vm: 'domains.VM',
                    policy: 'documents.Policy') -> None:
    """Add the ports without TLS that a VM has, or will have."""
    required = any(setting['required'] for key, setting in policy.items()
                   if key != 'priority')
    runs_open = domain_consoles.running_channels(vm)
    for port, channels in domains.plaintext_ports(vm):
        number = 'a port' if port is None else 'port %d' % port
        clear = [channel for channel in qemu_process.SECURED_CHANNELS
                 if channels.get(channel, channels['']) != 'secure']
        insecure = sorted(channel for channel, mode in channels.items()
                          if mode == 'insecure')
        if required and not insecure and not runs_open:
            add_note(document, 'SPICE: %s without TLS beside the TLS port: '
                     'with this policy every channel requires TLS there'
                     % number, '', 'spice-tls-required')
        elif clear:
            add(document, 'spice-plaintext', 'SPICE: %s without TLS beside '
                'the TLS port: these channels work there: %s' % (
                    number, ', '.join(insecure or clear)),
                'remove mode=insecure from its channels' if insecure else
                'shut the VM down and start it: every channel then requires '
                'TLS' if required else 'set tlsprofile on the VM: every '
                'channel then requires TLS')
        else:
            add_note(document, 'SPICE: %s without TLS beside the TLS port: '
                     'all channels (%s) require TLS there' % (
                         number, ', '.join(qemu_process.SECURED_CHANNELS)), '',
                     'spice-tls-required')


# What a display accepts


def describe(display: 'documents.Display', policy: 'documents.Policy',
             engine_ciphers: str) -> 'documents.CheckedDisplay':
    """Return what a display accepts with a policy, as a dict for JSON."""
    keys = [key for key in tlsciphers_values.KEYS if key in policy
            and (key == 'priority') == (display == 'vnc')]
    described: documents.CheckedDisplay = {
        'policy': {key: policy[key] for key in keys},
        'protocols': {}, 'groups': [], 'accepted': None,
        'clients': []}
    if not keys:
        return described
    values = {key: policy[key]['value'] for key in keys}
    if display == 'spice':
        described['protocols'] = libraries.spice_suites(values)
        described['groups'] = (values['groups'].split(':')
                               if 'groups' in values else [])
        clients = [('a SPICE client with CipherSuite %s of the engine'
                    % engine_ciphers,
                    libraries.spice_client_suites(engine_ciphers))]
    else:
        described['protocols'], described['groups'] = libraries.vnc_suites(
            values['priority'])
        clients = [
            ('a VNC client with the GnuTLS of this machine',
             libraries.vnc_suites('NORMAL')[0]),
            ('noVNC through a websocket proxy with the Python of this machine',
             libraries.python_suites())]
    for name, suites in clients:
        common = {version: [suite for suite in accepted
                            if suite in suites.get(version, ())]
                  for version, accepted in described['protocols'].items()}
        described['clients'].append({
            'client': name, 'protocols': libraries.without_empty(common)})
    return described
