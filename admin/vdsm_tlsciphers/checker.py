# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""What properties do to the consoles of a VM, for people and for JSON."""

import difflib
import functools
import os
import re

from tlsciphers_values import group_key

import tlsciphers
from vdsm_tlsciphers import (
    FINDINGS,
    FINE,
    Problem,
    domains,
    endpoints,
    judge,
    last_start,
    libraries,
    rehearsal,
    starts,
)
from vdsm_tlsciphers import wrapper as installed
from vdsm_tlsciphers.terminal import (
    FORMAT_VERSION,
    as_remedy,
    clean,
    paint,
    print_json,
    without_package,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable

    from vdsm_tlsciphers import documents, examinations

PROFILE, PRIORITY, CIPHERS = 'tlsprofile', 'tlspriority', 'tlsciphers'
# What a GnuTLS priority string begins with (see "Priority strings" in its
# manual); a cipher list never does.
PRIORITY_WORDS = ('NORMAL', 'PERFORMANCE', 'SECURE128', 'SECURE192',
                  'SECURE256', 'SUITEB128', 'SUITEB192', 'PFS', 'LEGACY',
                  'NONE', 'SYSTEM')
# ... and what its other words look like.
PRIORITY_WORD = r'[-+!](VERS|KX|CIPHER|MAC|GROUP|CURVE|SIGN|COMP|CTYPE)-|%'
VERSION_WORD = r'((TLS|SSL)[-_ v]*)?\d\.\d$|(TLS|SSL)[-_ v]*\d$'
# Names of groups, in the form of group_key().
GROUP_WORD = (r'p\d{3}$|x\d{3,5}$|ffdhe|sec[pt]\d|brainpool|'
              r'.*(mlkem|kyber)\d')
# What resolve() says of a policy that is as it should be.
DESCRIPTION = 'tlsciphers: the '
# ... and of what follows from properties that are as they should be.
NOTES = ('does not apply to this VM', 'have no effect', 'nothing to do')
# What it says where a program is missing.
CANNOT_TELL = 'tlsciphers: cannot check the values'
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
# Who has refused a start.
BY = {'hook': 'by the hook', 'wrapper': 'by the wrapper',
      'libvirt': 'by libvirt, since nobody has taken the guard out',
      'QEMU': 'since there was no wrapper of this package'}
WRAPPER_SAYS = 'qemu-kvm-modified: '
# Lines about what other hooks did, or what happened to this one.
CANNOT_REPEAT = re.compile(
    r'tlsciphers: (another hook|the domain XML|the attribute|unexpected|'
    r'cannot)|.*\[guard-other-console\]')
# Channels of SPICE that a VM of oVirt can have.
CHANNELS = ('main', 'display', 'inputs', 'cursor', 'playback', 'record',
            'smartcard', 'usbredir')


def run(options: 'argparse.Namespace') -> int:
    """Do the command's work; return its exit status."""
    baseline = judge.read_baseline(options.baseline)
    given = list(map(parse_value, options.values))
    properties = dict(given)
    if len(properties) < len(options.values):
        for name, value in given:
            if not value:
                raise no_value(name)
        raise Problem('a property is given twice; give each once')
    if options.vm is None:
        checked = [examine_here(
            wanted(properties, machine), machine, options.engine_ciphers,
            baseline, options.baseline)
            for machine in find_machines(options, bool(properties))]
    else:
        checked = [check_vm(options, properties, baseline)]
    guessed = tuple(name + ': ' for argument, (name, value)
                    in zip(options.values, given)
                    if value == argument and name != domains.FLAGS)
    for document in checked:
        if (document['refused'] or '').startswith(guessed):
            document['start'] = None  # For what may be another property.
        if document['refusal'] and document['refusal']['code'] == 'no-suite':
            document['notes'] += [
                explain_guess(argument) for argument, (name, value)
                in zip(options.values, given)
                if name == CIPHERS and value == argument]
    if options.json:
        print_json({'format': 'vdsm-tlsciphers check',
                    'version': FORMAT_VERSION, 'vms': checked}
                   if options.running else checked[0])
    else:
        show_all(checked, options.running)
    return FINDINGS if any(
        document['refused'] or document['findings'] or refused_before(document)
        for document in checked) else FINE


def check_vm(options: 'argparse.Namespace', properties: 'dict[str, str]',
             baseline: 'dict[str, str] | None') -> 'documents.Check':
    """Return the document (dict) of the VM that --vm names."""
    found = domains.look_up(domains.connect(), options.vm)
    machine, runs = found or (None, False)
    if runs:
        return examine_here(wanted(properties, machine), machine,
                            options.engine_ciphers, baseline, options.baseline)
    last = last_start.LastStart(options.vm, machine)
    # While it fails, libvirt may have a domain that vdsm has not yet filled.
    if machine is None or not machine.displays:
        machine = last.machine or machine
    end = last.end and (last.end[0], 'ended: ' + last.end[1]
                        if last.end[1] else 'has no end in its log')
    if machine is None and last.refusal is None and not (end and properties):
        if end:
            raise Problem('%s: its last start here was not refused (%s, it '
                          '%s), and libvirt does not know its properties any '
                          'more; give them: check --vm NAME PROPERTY=VALUE'
                          % (options.vm, *end), 'start-not-refused')
        raise Problem('%s: libvirt of this host does not know this VM, and '
                      'the ends of its logs have no start of it%s; run this '
                      'on the host that its event names, or give what it has '
                      'in the engine: check NAME=VALUE' % (
                          options.vm, ' (%s)' % '; '.join(last.unread)
                          if last.unread else ''),
                      'no-such-vm')
    document = examine_here(wanted(properties, machine), machine,
                            options.engine_ciphers, baseline, options.baseline,
                            of_vm=True)
    if end:
        document['notes'].append(
            'its last start here was not refused (%s, it %s)' % end)
    document['vm'] = machine.name if machine else options.vm
    document['notes'] += last.unread
    if machine is None and not properties:
        document['displays'] = {}
        document['findings'], document['details'] = [], []
        document['notes'].append(
            'the log has not got what the engine sent for this VM; give its '
            'properties, as the engine has them: check --vm %s NAME=VALUE'
            % options.vm)
    if last.refusal:
        add_last_start(document, last.refusal, machine)
    return document


def add_last_start(document: 'documents.Check',
                   refusal: 'documents.LastStart',
                   machine: 'domains.Machine | None') -> None:
    """Add how the last start of a VM was refused, and what to do."""
    document['last_start'] = refusal
    refusal['stands'] = still_stands(document, refusal, machine)
    if document['start'] is None and refusal['by'] != 'other' and (
            refusal['stands'] is not False):
        document['start'] = starts.remedy(
            document['properties'], machine, refusal['line'], refusal['by'])


def still_stands(document: 'documents.Check',
                 refusal: 'documents.LastStart',
                 machine: 'domains.Machine | None') -> 'bool | None':
    """Tell whether a refusal would be repeated, None where nothing tells."""
    if refusal['by'] == 'libvirt':
        from vdsm_tlsciphers import examinations
        found = (examinations.hook_files() if os.geteuid() else
                 examinations.hook())
        return found is not None and found.state != examinations.OK
    if refusal['by'] != 'hook':
        return True if refusal['by'] == 'wrapper' and refusal['line'] == (
            WRAPPER_SAYS + str(document['refused'])) else None
    if refusal['line'].startswith('tlsciphers: the wrapper'):
        try:
            tlsciphers.check_wrapper()
        except tlsciphers.Refused:
            return True
    if document['refused'] is None and CANNOT_REPEAT.match(refusal['line']):
        return None
    return None if machine is None else document['refused'] is not None


def refused_before(document: 'documents.Check') -> bool:
    """Tell whether its last start was refused, and nothing has changed."""
    last = document['last_start']
    return bool(last and last['by'] != 'other'
                and last['stands'] is not False)


def find_machines(options: 'argparse.Namespace', has_values: bool,
                  ) -> 'list[domains.Machine] | list[None]':
    """Return the Machines that the options name; [None] for none of them."""
    if options.running:
        return domains.running(domains.connect())
    if options.xml is not None:
        return [domains.Machine(domains.read_file(options.xml), of_file=True)]
    if not has_values and not has_default():
        raise Problem('there is nothing to check; give [NAME=]VALUE, --vm, '
                      '--running or --xml')
    return [None]


def has_default() -> bool:
    """Tell whether this host has a default, or a file that is wrong."""
    try:
        return bool(tlsciphers.read_host_default().get('default'))
    except tlsciphers.Refused:
        return True  # resolve() says what is wrong.


def wanted(properties: 'dict[str, str]',
           machine: 'domains.Machine | None') -> 'dict[str, str]':
    """
    Return the properties (dict) to be checked: those that are given, with the
    guard that the Machine has anyway, or else the Machine's.
    """
    if machine is None:
        return properties
    if not properties:
        return of_machine(machine)
    flags = starts.own_properties(machine).get(domains.FLAGS)
    return properties if flags is None else {domains.FLAGS: flags,
                                             **properties}


def of_machine(machine: 'domains.Machine') -> 'dict[str, str]':
    """
    Return a Machine's own properties (dict), or the requirements that it was
    started with.
    """
    return starts.own_properties(machine) or properties_of({
        key: setting for key, setting in machine.policy.items()
        if setting.required})


def carried(machine: 'domains.Machine',
            policy: 'documents.Policy') -> 'documents.Policy':
    """
    Return what a Machine was started with by the default of a host, and this
    host's does not have, beside a policy of its next start.
    """
    found: documents.Policy = {}
    for key, setting in machine.policy.items():
        if (key in tlsciphers.KEYS and key not in policy
                and not setting.required):
            try:
                judge.policy_bounds({key: setting.value})
            except Problem:
                continue
            found[key] = {'value': setting.value, 'required': False}
    return found


def parse_value(argument: str) -> 'tuple[str, str]':
    """Return the (name, value) of a property that an argument stands for."""
    name, equals, value = argument.partition('=')
    if name in (*tlsciphers.PROPERTIES, domains.FLAGS):
        if not equals:
            raise no_value(name)
        return name, value
    # A cipher list has one in words such as @SECLEVEL=1 only.
    if equals and re.match(r'[\w\s-]*\Z', name):
        raise Problem('%s: no such property; there are %s, %s' % (
            name, ', '.join(tlsciphers.PROPERTIES), domains.FLAGS))
    return guess(argument), argument


def no_value(name: str) -> Problem:
    return Problem('%s: a property without its value; write %s=VALUE, without '
                   'a blank' % (name, name), 'no-value')


def guess(value: str) -> str:
    """
    Return the property that a value looks like; where it is mistyped, the one
    whose refusal says what would be right.
    """
    if tlsciphers.has_guard(value) or mistyped_guards(value):
        return domains.FLAGS
    words = value.split(':')
    if all(re.match(VERSION_WORD, word, re.IGNORECASE) for word in words):
        return 'tlsprotocols'
    if (value.lstrip('@').split(':')[0].split(',')[0] in PRIORITY_WORDS
            or any(re.match(PRIORITY_WORD, word) for word in words)):
        return PRIORITY
    if any(re.match(GROUP_WORD, group_key(word)) for word in words):
        return 'tlsgroups'
    return (PROFILE if value.lower() in map(str.lower, known_profiles())
            else CIPHERS)


def mistyped_guards(flags: str) -> 'list[str]':
    """Return those of extra_cpu_flags (str) that only look like the guard."""
    return [flag for flag in flags.split(',')
            if not tlsciphers.has_guard(flag) and (
                'vdsmtls' in re.sub('[^a-z]', '', flag.lower())
                or difflib.get_close_matches(
                    flag.strip(' +-').lower(), [tlsciphers.GUARD], 1, 0.8))]


def known_profiles() -> 'list[str]':
    try:
        return tlsciphers.profile_names(  # type: ignore[no-any-return]
            tlsciphers.read_host_default())
    except tlsciphers.Refused:
        # Where it counts, resolve() says what is wrong with it.
        return [*sorted(tlsciphers.PROFILES), tlsciphers.NO_PROFILE]


def explain_guess(value: str) -> str:
    """Return why a value that is refused was taken for a cipher list."""
    return ('%s: taken for %s, since it is no profile, version, group or '
            'priority string; known profiles are %s; or write NAME=VALUE' % (
                tlsciphers.printable(value), CIPHERS,
                ', '.join(known_profiles())))


def properties_of(policy: 'dict[str, domains.Setting]') -> 'dict[str, str]':
    """Return the properties (dict) that stand for a Machine's policy."""
    values = {key: setting.value for key, setting in policy.items()}
    lists = [values[key] for key in ('ciphers', 'ciphersuites')
             if key in values]
    properties = {'tlsciphers': ':'.join(lists)} if lists else {}
    for key in ('protocols', 'groups', 'priority'):
        if key in values:
            properties['tls' + key] = values[key]
    return properties


def examine(properties: 'dict[str, str]', machine: 'domains.Machine | None',
            engine_ciphers: str, baseline: 'dict[str, str] | None',
            name: str) -> 'documents.Check':
    """
    Return what properties (dict) do as a document (dict) for JSON: for a
    Machine, or where it is None for a VM with both displays.

    Arguments:
        engine_ciphers (str): the cipher list of SPICE clients.
        baseline (dict or None), name (str): as judge.findings() has them.
    """
    document: documents.Check = {
        'format': 'vdsm-tlsciphers check', 'version': FORMAT_VERSION,
        'vm': machine.name if machine else None,
        'properties': properties, 'baseline': name, 'refused': None,
        'refusal': None, 'findings': [], 'details': [], 'notes': [],
        'displays': {}, 'guard': guard_of(properties, machine),
        'last_start': None, 'start': None}
    flags = properties.get(domains.FLAGS,
                           (machine.flags if machine else None) or '')
    for flag in mistyped_guards(flags):
        add(document, 'guard-mistyped', 'high', '%s: %s: not the guard: '
            'libvirt of every host refuses such a CPU feature, or none is '
            'written' % (domains.FLAGS, tlsciphers.printable(flag)),
            'write +%s, without a blank' % tlsciphers.GUARD)
    displays = starts.displays_of(machine)
    try:
        settings, lines = starts.settle(properties, machine)
    except tlsciphers.Refused as refusal:
        if str(refusal).startswith(CANNOT_TELL):
            raise Problem(without_package(str(refusal)))
        document['refused'] = str(refusal)
        document['refusal'] = parts(without_package(str(refusal)),
                                    'hook-refuses', 'high')
        document['start'] = starts.remedy(properties, machine, str(refusal))
        return document
    if machine:
        document['refused'] = endpoints.refusal(machine, settings)
        if document['refused']:
            document['refusal'] = parts(document['refused'],
                                        'wrapper-refuses', 'high')
            document['start'] = starts.remedy(
                properties, machine,
                WRAPPER_SAYS + document['refused'], 'wrapper')
            return document
    policy: documents.Policy = {}
    for option, setting in settings:
        key, _, value = setting.partition('=')
        policy[key] = {'value': value,
                       'required': option == tlsciphers.REQUIREMENT}
    add_lines(document, lines)
    defaults = (carried(machine, policy) if machine
                and properties == of_machine(machine) else {})
    at_start, policy = policy, {**policy, **defaults}
    for display in ('spice', 'vnc'):
        if display in displays:
            described = describe(display, policy, engine_ciphers)
            document['displays'][display] = described
            if described['policy'] and rehearse(document, display, described,
                                                baseline, name):
                add_clients(document, display, described)
    add_consoles(document, machine, policy, at_start)
    if machine and machine.of_file and policy:
        document['notes'].append(
            'whether a host encrypts the consoles is not looked at: where it '
            'does not, this VM does not start')
    return document


def examine_here(properties: 'dict[str, str]',
                 machine: 'domains.Machine | None', engine_ciphers: str,
                 baseline: 'dict[str, str] | None', name: str,
                 of_vm: bool = False) -> 'documents.Check':
    """
    Return the same with what keeps hook and wrapper of this host from their
    work, for a Machine, or a VM that is not known (of_vm), whose properties
    need them.
    """
    document = examine(properties, machine, engine_ciphers, baseline, name)
    if (of_vm or (machine and not machine.of_file)) and (
            document['guard'] or any(
                value.strip() and (name, value.strip()) != (
                    PROFILE, tlsciphers.NO_PROFILE)
                for name, value in properties.items()
                if name != domains.FLAGS)):
        fault = host_fault()
        if fault:
            add_fault(document, machine, *fault)
    return document


@functools.lru_cache(maxsize=None)
def host_fault() -> 'tuple[examinations.Finding, bool] | None':
    """
    Return what keeps hook or wrapper of this host from their work, and
    whether the hook runs, or None.
    """
    from vdsm_tlsciphers import examinations
    found = examinations.hook_files()
    if found:
        return found, False
    found = examinations.wrapper_in_place('wrapper')
    if found:
        return found, True
    if os.geteuid():
        return None  # Only root can try it as vdsm.
    try:
        found = examinations.hook()
    except examinations.NotTried:
        return None
    if found.state == examinations.FAILED:
        return found, found.code != 'not-the-hook'
    return None


def add_fault(document: 'documents.Check',
              machine: 'domains.Machine | None',
              fault: 'examinations.Finding', hook_runs: bool) -> None:
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
        document['start'] = starts.remedy(
            document['properties'], machine, 'tlsciphers: ' + line,
            'hook' if hook_runs else 'libvirt')


def guard_of(properties: 'dict[str, str]',
             machine: 'domains.Machine | None') -> 'bool | None':
    """Tell whether a VM has the guard, None where nothing tells."""
    if domains.FLAGS in properties:
        return bool(tlsciphers.has_guard(properties[domains.FLAGS])) and (
            machine is None or machine.can_have_guard)
    return machine.guard if machine else None


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
        with rehearsal.server(values) as port:
            console = rehearsal.scan(port, display, baseline, name)
            dead = [version for version in versions
                    if not rehearsal.connects(port, version,
                                              display == 'vnc')]
    except installed.Refused as refusal:
        add(document, 'wrapper-refuses', 'high', '%s: the wrapper would not '
            'start the VM here: %s' % (display.upper(), refusal),
            'vdsm-tlsciphers doctor tells more')
        return True
    except rehearsal.Dead:
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
                with rehearsal.server(dict(values, **{key: WORKING[key][1]})
                                      ) as port:
                    if all(rehearsal.connects(port, version)
                           for version in dead):
                        found.append(key)
            except (installed.Refused, rehearsal.Dead):
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
    own = [name for name in given if name in tlsciphers.SETTINGS
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
                 machine: 'domains.Machine | None',
                 policy: 'documents.Policy',
                 at_start: 'documents.Policy') -> None:
    """
    Add what the consoles of a Machine lack with a policy, and with that of
    its next start (at_start).
    """
    if machine is None:
        for display, described in document['displays'].items():
            if not described['policy']:
                add_uncovered(document, display, '%s: not covered by these '
                              'properties: a VM with this console leaves it '
                              'open' % display.upper(), ', or give --vm for a '
                              'VM without it')
        return
    for endpoint in endpoints.endpoints(machine):
        add_endpoint(document, machine, endpoint, at_start)
    for other in sorted(machine.displays - tlsciphers.LOCAL_DISPLAYS
                        - {'spice', 'vnc'}):
        add(document, 'console-not-covered', 'high', 'the %s console is not '
            'covered: policies are for SPICE and VNC' % other.upper(),
            'remove it')
    if not any(detail['code'] == 'console-not-encrypted'
               and detail['text'].startswith('SPICE')
               for detail in document['details']):
        add_unencrypted(document, machine, policy)


def add_uncovered(document: 'documents.Check', display: 'documents.Display',
                  text: str, more: str = '') -> None:
    """Add that a display has no policy."""
    add(document, 'console-not-covered', 'high', text, 'set %s or tlsprofile%s'
        % (PRIORITY if display == 'vnc' else 'tlsciphers', more))


def add_endpoint(document: 'documents.Check', machine: 'domains.Machine',
                 endpoint: 'endpoints.Endpoint',
                 at_start: 'documents.Policy') -> None:
    """
    Add what a console of a Machine lacks: TLS, or a policy, now or at its
    next start with a policy (at_start).
    """
    display = endpoint.display
    name = display.upper()
    keys = judge.governing_keys(display)
    if not endpoint.place or endpoint.place.startswith('unix'):
        return  # No scanner reaches it.
    if endpoint.tls is False:
        add(document, 'console-not-encrypted', 'critical',
            '%s: this console is not encrypted%s' % (
                name, ': it has no TLS port' if display == 'spice' else ''),
            endpoints.remedy(machine, endpoint))
        return
    if endpoint.tls is None and not machine.of_file:
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
    elif machine.runs and document['properties'] == of_machine(machine) and (
            not set(machine.policy).intersection(keys)):
        add(document, 'console-not-covered', 'high', '%s: the VM runs without '
            'this policy, which counts from its next start' % name,
            'shut the VM down and start it')


# Ports without TLS


def add_unencrypted(document: 'documents.Check', machine: 'domains.Machine',
                    policy: 'documents.Policy') -> None:
    """Add what a Machine has, or will have, of ports without TLS."""
    required = any(setting['required'] for key, setting in policy.items()
                   if key != 'priority')
    runs_open = endpoints.running_channels(machine)
    for port, channels in domains.plaintext_ports(machine):
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
    keys = [key for key in tlsciphers.KEYS if key in policy
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


def show_all(checked: 'list[documents.Check]', with_summary: bool) -> None:
    """Print such documents for people."""
    for number, document in enumerate(checked):
        if number:
            print()
        show(document)
    if with_summary:
        print('%s%d running VM%s: %d refused at the next start, %d with '
              'findings' % (
                  '\n' if checked else '', len(checked),
                  '' if len(checked) == 1 else 's',
                  len([document for document in checked
                       if document['refused']]),
                  len([document for document in checked
                       if document['findings']])))


def show(document: 'documents.Check') -> None:
    """Print such a document for people."""
    if document['vm'] is not None:
        print('VM %s' % clean(document['vm']))
    for name, value in document['properties'].items():
        print('%s=%s' % (name, clean(value)))
    if not document['properties'] and not document['last_start']:
        print('no property; only the default of this host counts')
    if document['guard'] is not None:
        print('Guard: ' + ('yes' if document['guard'] else 'no'))
    for display, described in document['displays'].items():
        print('\n' + paint(display.upper(), 'bold') + (
            ' (where the host encrypts it: else a VM with this value does not '
            'start)' if display == 'vnc' and document['vm'] is None
            and described['policy'] else ''))
        if not described['policy']:
            print('  not covered by these properties: set %s or tlsprofile'
                  % ('tlspriority' if display == 'vnc' else 'tlsciphers'))
            continue
        show_row('enforced', [
            '%s=%s%s' % (key, setting['value'], '' if setting['required']
                         else ' (default of the host, best effort)')
            for key, setting in described['policy'].items()])
        accepted = described['accepted'] or {'protocols': {}, 'groups': []}
        for version, suites in described['protocols'].items():
            strengths = {suite['suite']: suite['strength'] for suite
                         in accepted['protocols'].get(version, ())}
            show_row(version, [
                suite if strengths.get(suite, 'strong') == 'strong' else
                '%s (%s)' % (suite, strengths[suite]) for suite in suites])
        show_row('groups', [' '.join(described['groups']
                                     or accepted['groups']) or 'none'])
        show_row('clients', [describe_client(client)
                             for client in described['clients']])
    for line in document['notes']:
        print('\nNote: ' + clean(line))
    for line in document['findings']:
        print('\n' + paint('Problem: ', 'yellow') + clean(line))
    if document['refusal']:
        print('\n' + paint('Refused; the VM does not start: ', 'red')
              + clean(document['refusal']['finding']))
    if document['last_start']:
        show_last_start(document['last_start'], document['refused'])
    if document['start']:
        show_remedy(document, document['start'])


def show_last_start(last: 'documents.LastStart',
                    refused: 'str | None') -> None:
    """Print how the last start of a VM on this host went."""
    where = '%s, %s' % (clean(last['time']), last['log'])
    if last['by'] == 'other':
        print('\n' + paint(
            'Its last start here failed in QEMU itself' if last['applied']
            else 'Its last start here failed, not by this package', 'red')
            + ' (%s): %s' % (where, clean(last['line'])))
        if last['applied']:
            print('QEMU had got the policy: no property of this package is '
                  'the cause, and removing one does not help')
        return
    print('\n' + paint('Its last start here was refused ' + BY[last['by']],
                       'red') + ' (%s): %s' % (
        where, 'for the same reason' if last['line'] in (
            refused, WRAPPER_SAYS + str(refused)) else clean(last['line'])))
    print('Today: ' + {
        True: 'it would be refused again',
        False: 'this is no longer so; start it',
        None: 'this command cannot repeat it'}[last['stands']])


def show_remedy(document: 'documents.Check',
                remedy: 'documents.Remedy') -> None:
    """Print what lets a VM start: first what leaves nothing open."""
    name = clean(document['vm'] or 'NAME')
    run_once = '%s > Run > Run Once > ' % name
    safe = [way for way in remedy['ways'] if not way['open']
            and (way['guard'] or not document['guard'])]
    ways: list[str] = []
    if remedy['other_host']:
        ways.append('on another host (%sHost > Specific Host(s)), where '
                    '"vdsm-tlsciphers doctor" finds nothing' % run_once)
    if remedy['host']:
        ways.append('on this host: ' + clean(remedy['host']))
    ways += [describe_way(document, run_once, way) for way in safe]
    ways += ['%sConsole > %s; its policy and guard stay' % (
        run_once, display.upper()) for display in remedy['consoles']]
    if remedy['headless']:
        ways.append('%sConsole > Headless Mode: without a console; its policy '
                    'and guard stay' % run_once)
    ways += [describe_way(document, run_once, way) for way in remedy['ways']
             if way not in safe]
    beginning = 'To start %s now' % ('it' if document['vm'] else 'such a VM')
    for way in ways:
        print('\n%s: %s' % (beginning, way))
        beginning = 'Or'
    print('\nTomorrow: ' + clean(remedy['tomorrow']))


def describe_way(document: 'documents.Check', run_once: str,
                 way: 'documents.Way') -> str:
    """Return a change of properties and what it leaves open."""
    lines = ['in the engine, %sCustom Properties (or Edit, to keep it):'
             % run_once]
    lines += ['%s: %s -> %s' % (
        change['property'], clean(change['from'] or '(not set)'),
        clean(change['to'] or '(remove it)')) for change in way['changes']]
    if way['weaker']:
        lines.append('weaker than %s meanwhile: %s' % (
            clean(document['properties'].get(PROFILE) or 'its own'),
            ' and '.join(version.replace('TLSv', 'TLS ')
                         for version in way['weaker'])))
    lines.append('without a policy of the VM meanwhile: %s%s%s' % (
        ' and '.join(display.upper() for display in way['open'])
        or 'no console', ''.join(
            '; %s then has no encryption at all' % display.upper()
            for display in way['unencrypted']), '' if way['guard'] else
        '; on a host without this package, every console'))
    return '\n  '.join(lines)


def show_row(title: str, lines: 'Iterable[str]') -> None:
    for line in lines:
        print('  %-9s %s' % (title, clean(line)))
        title = ''


def describe_client(client: 'documents.Client') -> str:
    if not client['protocols']:
        return client['client'] + ': nothing in common'
    return '%s: in common %s' % (client['client'], ', '.join(
        '%d of %s' % (len(suites), version)
        for version, suites in client['protocols'].items()))
