# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""What properties do to the consoles of a VM, as a document for JSON."""

import functools
import os
import re

import tlsciphers_config
import tlsciphers_domain
import tlsciphers_host
import tlsciphers_values

from vdsm_tlsciphers import UserError
from vdsm_tlsciphers.audit import compliance, local_server
from vdsm_tlsciphers.audit.property_guess import mistyped_guards
from vdsm_tlsciphers.host import (
    domain_consoles,
    domains,
    last_start,
    next_start,
)
from vdsm_tlsciphers.host import wrapper as installed
from vdsm_tlsciphers.output import FORMAT_VERSION, as_remedy, without_package
from vdsm_tlsciphers.tls import libraries

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse

    from vdsm_tlsciphers import documents
    from vdsm_tlsciphers.host import checks

PROFILE, PRIORITY = 'tlsprofile', 'tlspriority'
# What resolve() says of a policy that is as it should be.
DESCRIPTION = 'tlsciphers: the '
# ... and of what follows from properties that are as they should be.
NOTES = ('does not apply to this VM', 'have no effect', 'nothing to do')
# What it says where a program is missing.
CANNOT_TELL = 'tlsciphers: cannot check the values'
WRAPPER_SAYS = 'qemu-kvm-modified: '
# Lines about what other hooks did, or what happened to this one.
CANNOT_REPEAT = re.compile(
    r'tlsciphers: (another hook|the domain XML|the attribute|unexpected|'
    r'cannot)|.*\[guard-other-console\]')
# The property for each key of a policy, and what in it lets clients in.
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
# Channels of SPICE that a VM of oVirt can have.
CHANNELS = ('main', 'display', 'inputs', 'cursor', 'playback', 'record',
            'smartcard', 'usbredir')


def add_last_start(document: 'documents.Check',
                   refusal: 'documents.LastStart',
                   vm: 'domains.VM | None') -> None:
    """Add how the last start of a VM was refused, and what to do."""
    document['last_start'] = refusal
    refusal['stands'] = still_stands(document, refusal, vm)
    if document['start'] is None and refusal['by'] != 'other' and (
            refusal['stands'] is not False):
        document['start'] = next_start.remedy(
            document['properties'], vm, refusal['line'], refusal['by'])


def still_stands(document: 'documents.Check',
                 refusal: 'documents.LastStart',
                 vm: 'domains.VM | None') -> 'bool | None':
    """Tell whether a refusal would be repeated, None where nothing tells."""
    if refusal['by'] == 'libvirt':
        from vdsm_tlsciphers.host import checks
        found = (checks.hook_files() if os.geteuid() else
                 checks.hook())
        return found is not None and found.state != checks.OK
    if refusal['by'] != 'hook':
        return True if refusal['by'] == 'wrapper' and refusal['line'] == (
            WRAPPER_SAYS + str(document['refused'])) else None
    if refusal['line'].startswith('tlsciphers: the wrapper'):
        try:
            tlsciphers_host.check_wrapper()
        except tlsciphers_values.Refused:
            return True
    if document['refused'] is None and CANNOT_REPEAT.match(refusal['line']):
        return None
    return None if vm is None else document['refused'] is not None


def refused_before(document: 'documents.Check') -> bool:
    """Tell whether its last start was refused, and nothing has changed."""
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
    Return what a VM was started with by the default of a host, and this
    host's does not have, beside a policy of its next start.
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
    Return what properties (dict) do as a document (dict) for JSON: for a
    VM, or where it is None for a VM with both displays.

    Arguments:
        engine_ciphers (str): the cipher list of SPICE clients.
        baseline (dict or None), name (str): as compliance.findings() has them.
    """
    document: documents.Check = {
        'format': 'vdsm-tlsciphers check', 'version': FORMAT_VERSION,
        'vm': vm.name if vm else None,
        'properties': properties, 'baseline': name, 'refused': None,
        'refusal': None, 'findings': [], 'details': [], 'notes': [],
        'displays': {}, 'guard': guard_of(properties, vm),
        'last_start': None, 'start': None}
    flags = properties.get(domains.FLAGS,
                           (vm.flags if vm else None) or '')
    for flag in mistyped_guards(flags):
        add(document, 'guard-mistyped', 'high', '%s: %s: not the guard: '
            'libvirt of every host refuses such a CPU feature, or none is '
            'written' % (domains.FLAGS, tlsciphers_values.printable(flag)),
            'write +%s, without a blank' % tlsciphers_domain.GUARD)
    displays = next_start.displays_of(vm)
    try:
        settings, lines = next_start.settle(properties, vm)
    except tlsciphers_values.Refused as refusal:
        if str(refusal).startswith(CANNOT_TELL):
            raise UserError(without_package(str(refusal)))
        document['refused'] = str(refusal)
        document['refusal'] = parts(without_package(str(refusal)),
                                    'hook-refuses', 'high')
        document['start'] = next_start.remedy(properties, vm,
                                              str(refusal))
        return document
    if vm:
        document['refused'] = domain_consoles.refusal(vm, settings)
        if document['refused']:
            document['refusal'] = parts(document['refused'],
                                        'wrapper-refuses', 'high')
            document['start'] = next_start.remedy(
                properties, vm,
                WRAPPER_SAYS + document['refused'], 'wrapper')
            return document
    policy: documents.Policy = {}
    for option, setting in settings:
        key, _, value = setting.partition('=')
        policy[key] = {'value': value,
                       'required': option == tlsciphers_values.REQUIREMENT}
    add_lines(document, lines)
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
        document['notes'].append(
            'whether a host encrypts the consoles is not looked at: where it '
            'does not, this VM does not start')
    return document


def check_here(properties: 'dict[str, str]',
               vm: 'domains.VM | None', engine_ciphers: str,
               baseline: 'dict[str, str] | None', name: str,
               of_vm: bool = False) -> 'documents.Check':
    """
    Return the same with what keeps hook and wrapper of this host from their
    work, for a VM, or a VM that is not known (of_vm), whose properties
    need them.
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
    """Return the same (dict) for the name of a VM, which may not run."""
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
                        if last.end[1] else 'has no end in its log')
    if vm is None and last.refusal is None and not (end and properties):
        if end:
            raise UserError('%s: its last start here was not refused (%s, it '
                            '%s), and libvirt does not know its properties '
                            'any more; give them: check --vm NAME '
                            'PROPERTY=VALUE' % (vm_name, *end),
                            'start-not-refused')
        raise UserError('%s: libvirt of this host does not know this VM, and '
                        'the ends of its logs have no start of it%s; run this '
                        'on the host that its event names, or give what it '
                        'has in the engine: check NAME=VALUE' % (
                            vm_name, ' (%s)' % '; '.join(last.unread)
                            if last.unread else ''),
                        'no-such-vm')
    document = check_here(wanted(properties, vm), vm, engine_ciphers, baseline,
                          name, of_vm=True)
    if end:
        document['notes'].append(
            'its last start here was not refused (%s, it %s)' % end)
    document['vm'] = vm.name if vm else vm_name
    document['notes'] += last.unread
    if vm is None and not properties:
        document['displays'] = {}
        document['findings'], document['details'] = [], []
        document['notes'].append(
            'the log has not got what the engine sent for this VM; give its '
            'properties, as the engine has them: check --vm %s NAME=VALUE'
            % vm_name)
    if last.refusal:
        add_last_start(document, last.refusal, vm)
    return document


def find_vms(options: 'argparse.Namespace', has_values: bool,
             ) -> 'list[domains.VM] | list[None]':
    """Return the VMs that the options name; [None] for none of them."""
    if options.running:
        return domains.running(domains.connect())
    if options.xml is not None:
        return [domains.VM(domains.read_file(options.xml), of_file=True)]
    if not has_values and not has_default():
        raise UserError('there is nothing to check; give [NAME=]VALUE, --vm, '
                        '--running or --xml')
    return [None]


def has_default() -> bool:
    """Tell whether this host has a default, or a file that is wrong."""
    try:
        return bool(tlsciphers_config.read_host_default().get('default'))
    except tlsciphers_values.Refused:
        return True  # resolve() says what is wrong.


@functools.lru_cache(maxsize=None)
def host_fault() -> 'tuple[checks.Finding, bool] | None':
    """
    Return what keeps hook or wrapper of this host from their work, and
    whether the hook runs, or None.
    """
    from vdsm_tlsciphers.host import checks
    found = checks.hook_files()
    if found:
        return found, False
    found = checks.wrapper_in_place('wrapper')
    if found:
        return found, True
    if os.geteuid():
        return None  # Only root can try it as vdsm.
    try:
        found = checks.hook()
    except checks.NotTried:
        return None
    if found.state == checks.FAILED:
        return found, found.code != 'not-the-hook'
    return None


def add_fault(document: 'documents.Check',
              vm: 'domains.VM | None',
              fault: 'checks.Finding', hook_runs: bool) -> None:
    """Add what keeps the hook or the wrapper of this host from its work."""
    text = 'the %s of this host is not in order: %s' % (fault.check,
                                                        fault.text)
    if document['refused'] or not (hook_runs or document['guard']):
        add(document, 'host-not-in-order', 'critical', text if hook_runs else
            text + ': without the guard a VM starts here without its policy',
            'vdsm-tlsciphers doctor')
    line = '%s; %s [host-not-in-order]' % (text, 'vdsm-tlsciphers doctor')
    if not document['refused'] and (hook_runs or document['guard']):
        document['refused'] = line
        document['refusal'] = parts(line, 'host-not-in-order', 'high')
    if document['refused']:
        # Nothing that needs the hook is a way to start it here.
        document['start'] = next_start.remedy(
            document['properties'], vm, 'tlsciphers: ' + line,
            'hook' if hook_runs else 'libvirt')


def guard_of(properties: 'dict[str, str]',
             vm: 'domains.VM | None') -> 'bool | None':
    """Tell whether a VM has the guard, None where nothing tells."""
    if domains.FLAGS in properties:
        return bool(tlsciphers_domain.has_guard(properties[domains.FLAGS])) and (
            vm is None or vm.can_have_guard)
    return vm.guard if vm else None


def add(document: 'documents.Check', code: str,
        severity: 'documents.Severity', text: str,
        remedy: 'str | None' = None) -> None:
    """Add a finding to a document, with its code at the end of its line."""
    line = text + ('; ' + remedy if remedy else '')
    document['findings'].append('%s [%s]' % (line, code))
    document['details'].append({
        'finding': document['findings'][-1], 'code': code, 'text': text,
        'remedy': remedy, 'severity': severity})


def add_lines(document: 'documents.Check', lines: 'list[str]') -> None:
    """Add lines of the hook, as notes or as findings."""
    for line in lines:
        if any(words in line for words in NOTES):
            document['notes'].append(without_package(line))
        elif not line.startswith(DESCRIPTION):
            add_line(document, line)


def add_line(document: 'documents.Check', line: str) -> None:
    """Add a line of the hook, in which all is said, as a finding."""
    detail = parts(without_package(line), 'hook-warning', 'medium')
    document['findings'].append(detail['finding'])
    document['details'].append(detail)


def parts(line: str, code: str,
          severity: 'documents.Severity') -> 'documents.Detail':
    """
    Return a line of the hook in parts; where it has no code (str) of its own,
    it gets this one.
    """
    found = re.search(r' \[([a-z0-9-]+)\]$', line)
    if found:
        line, code = line[:found.start()], found.group(1)
    text, _, remedy = line.partition('; ')
    return {'finding': '%s [%s]' % (line, code), 'code': code, 'text': text,
            'remedy': as_remedy(remedy) or None,
            'severity': severity}


# By handshakes


def rehearse(document: 'documents.Check', display: 'documents.Display',
             described: 'documents.CheckedDisplay',
             baseline: 'dict[str, str] | None', name: str) -> bool:
    """
    Add the findings of a scan of a console with the policy of a display. Tell
    whether any client can connect.
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
    except installed.Refused as refusal:
        add(document, 'wrapper-refuses', 'high', '%s: the wrapper would not '
            'start the VM here: %s' % (display.upper(), refusal),
            'vdsm-tlsciphers doctor tells more')
        return True
    except local_server.Dead:
        add_dead(document, display, values, versions, True)
        return False
    described['accepted'] = {'protocols': console['protocols'],
                             'groups': console['groups']}
    for finding in console['findings']:
        add_of_scan(document, display, finding)
    if dead:
        add_dead(document, display, values, dead, len(dead) == len(versions))
    elif console['state'] != 'scanned':
        add(document, 'not-assessed', 'medium', '%s: cannot be evaluated: %s'
            % (display.upper(), console['problem']))
    return len(dead) < len(versions)


def add_dead(document: 'documents.Check', display: 'documents.Display',
             values: 'dict[str, str]', dead: 'list[str]', whole: bool) -> None:
    """Add that nobody can connect (whole), or not with versions (dead)."""
    if display == 'vnc':
        given = 'tlspriority=' + values['priority']
        remedy = ('set tlsprofile=intermediate in place of tlspriority, or '
                  'have %s in it' % WORKING_WORDS)
    else:
        blamed = blame(values, dead) or list(values)
        given = ' '.join('%s=%s' % (WORKING[key][0],
                                    values.get(key, '(of the host)'))
                         for key in blamed)
        remedy = ' or '.join(
            'set %s to %s' % WORKING[key] if key in ('protocols', 'groups')
            else 'add %s to %s' % WORKING[key][::-1] for key in blamed)
    add(document, 'no-client-can-connect', 'high', '%s: no client can connect'
        '%s with %s' % (display.upper(), '' if whole else ' by '
                        + ' and '.join(dead), given), remedy)


def add_clients(document: 'documents.Check', display: 'documents.Display',
                described: 'documents.CheckedDisplay') -> None:
    """Add the clients that have nothing in common with a policy."""
    for client in described['clients']:
        if not client['protocols']:
            add(document, 'client-cannot-connect', 'medium', '%s: %s has '
                'nothing in common with this policy; it cannot connect'
                % (display.upper(), client['client']))


def permitted_versions(values: 'dict[str, str]',
                       described: 'documents.CheckedDisplay') -> 'list[str]':
    """
    Return the versions of TLS (list of str) by which clients should be able
    to connect with a policy. That nobody can by an old one is no loss.
    """
    if 'priority' in values:
        given = libraries.list_priority(values['priority'])[0]
    else:
        given = values.get('protocols', 'TLSv1.3:TLSv1.2').split(':')
    return [version for version in ('TLSv1.3', 'TLSv1.2') if version in given
            ] or list(described['protocols'])


def blame(values: 'dict[str, str]', dead: 'list[str]') -> 'list[str]':
    """
    Return those keys of a policy for SPICE (list of str), or else those that
    it lacks, of which any one with a value that works lets clients in with
    the versions (dead) by which they cannot connect.
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
            except (installed.Refused, local_server.Dead):
                continue
        if found:
            return found
    return []


def add_of_scan(document: 'documents.Check', display: 'documents.Display',
                finding: 'documents.Finding') -> None:
    """Add a finding that a scan would have, with all that it says of it."""
    if finding['against'] == 'baseline':
        add(document, finding['code'], finding['severity'],
            '%s: against %s: %s' % (display.upper(), document['baseline'],
                                    finding['text']),
            remedy_here(document, display, finding))


def remedy_here(document: 'documents.Check', display: 'documents.Display',
                finding: 'documents.Finding') -> str:
    """Return the remedy of a finding, with the properties there are."""
    given = document['properties']
    own = [name for name in given if name in tlsciphers_values.SETTINGS
           and (name == PRIORITY) == (display == 'vnc')]
    usual = 'set %s=%s on the VM, ' % (PROFILE, document['baseline'])
    if not own or not finding['remedy'].startswith(usual):
        return finding['remedy']
    own = [name for name in own if name == BLAMED.get(finding['code'])] or own
    return '%s, %s' % (
        'remove %s from the VM (%s=%s is set)' % (
            ' and '.join(own), PROFILE, given[PROFILE])
        if given.get(PROFILE) == document['baseline'] else
        'set %s=%s on the VM in place of %s' % (
            PROFILE, document['baseline'], ' and '.join(own)),
        finding['remedy'][len(usual):])


# Consoles without a policy, or without TLS


def add_consoles(document: 'documents.Check',
                 vm: 'domains.VM | None',
                 policy: 'documents.Policy',
                 at_start: 'documents.Policy') -> None:
    """
    Add what the consoles of a VM lack with a policy, and with that of
    its next start (at_start).
    """
    if vm is None:
        for display, described in document['displays'].items():
            if not described['policy']:
                add_uncovered(document, display, '%s: not covered by these '
                              'properties: a VM with this console leaves it '
                              'open' % display.upper(), ', or give --vm for a '
                              'VM without it')
        return
    for endpoint in domain_consoles.endpoints(vm):
        add_endpoint(document, vm, endpoint, at_start)
    for other in sorted(vm.displays - tlsciphers_domain.LOCAL_DISPLAYS
                        - {'spice', 'vnc'}):
        add(document, 'console-not-covered', 'high', 'the %s console is not '
            'covered: policies are for SPICE and VNC' % other.upper(),
            'remove it')
    if not any(detail['code'] == 'console-not-encrypted'
               and detail['text'].startswith('SPICE')
               for detail in document['details']):
        add_unencrypted(document, vm, policy)


def add_uncovered(document: 'documents.Check', display: 'documents.Display',
                  text: str, more: str = '') -> None:
    """Add that a display has no policy."""
    add(document, 'console-not-covered', 'high', text, 'set %s or tlsprofile%s'
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
    if not endpoint.place or endpoint.place.startswith('unix'):
        return  # No scanner reaches it.
    if endpoint.tls is False:
        add(document, 'console-not-encrypted', 'critical',
            '%s: this console is not encrypted%s' % (
                name, ': it has no TLS port' if display == 'spice' else ''),
            domain_consoles.remedy(vm, endpoint))
        return
    if endpoint.tls is None and not vm.of_file:
        add(document, 'not-assessed', 'medium', '%s: cannot tell whether this '
            'console is encrypted: %s cannot be read' % (
                name, domains.QEMU_CONF), 'run it as root')
    if not document['displays'][display]['policy']:
        add_uncovered(document, display, 'the %s console of this VM is not '
                      'covered' % name)
    elif not set(at_start).intersection(keys):
        add(document, 'console-not-covered', 'high', '%s: covered by a '
            'default with which the VM was started, and which this host has '
            'not: from its next start here it is not covered' % name,
            'set tlsprofile on the VM')
    elif vm.runs and document['properties'] == next_start.of_vm(
            vm) and not set(vm.policy).intersection(keys):
        add(document, 'console-not-covered', 'high', '%s: the VM runs without '
            'this policy, which counts from its next start' % name,
            'shut the VM down and start it')


# Ports without TLS


def add_unencrypted(document: 'documents.Check', vm: 'domains.VM',
                    policy: 'documents.Policy') -> None:
    """Add what a VM has, or will have, of ports without TLS."""
    required = any(setting['required'] for key, setting in policy.items()
                   if key != 'priority')
    runs_open = domain_consoles.running_channels(vm)
    for port, channels in domains.plaintext_ports(vm):
        number = 'a port' if port is None else 'port %d' % port
        clear = [channel for channel in CHANNELS
                 if channels.get(channel, channels['']) != 'secure']
        insecure = sorted(channel for channel, mode in channels.items()
                          if mode == 'insecure')
        if required and not insecure and not runs_open:
            document['notes'].append(
                'SPICE: %s without TLS beside the TLS port: the policy has '
                'every channel demand TLS there' % number)
        elif clear:
            add(document, 'spice-plaintext', 'high',
                'SPICE: %s without TLS beside the TLS port: %s' % (
                    number, '%s work%s in clear' % (
                        ', '.join(insecure),
                        's' if len(insecure) == 1 else '') if insecure else
                    'of the channels that a VM can have, these work in clear: '
                    + ', '.join(clear)),
                'remove mode=insecure from its channels' if insecure else
                'shut the VM down and start it: the policy then has every '
                'channel demand TLS'
                if required else 'set tlsprofile on the VM: every channel '
                'then demands TLS')
        else:
            document['notes'].append(
                'SPICE: %s without TLS beside the TLS port: the channels %s '
                'demand TLS there' % (number, ', '.join(CHANNELS)))


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
        clients = [('a SPICE client with the engine\'s CipherSuite '
                    + engine_ciphers,
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
