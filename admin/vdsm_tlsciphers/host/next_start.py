# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""Whether the hook lets a VM start, and how to start it where it does not."""

from xml.dom import minidom  # nosec B408 # a constant

import tlsciphers_config
import tlsciphers_domain
import tlsciphers_values
from tlsciphers_values import Refused

import tlsciphers
from vdsm_tlsciphers.host import (
    domain_consoles,
    domains,
    emulator,
    messages,
)
from vdsm_tlsciphers.tls import libraries

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from vdsm_tlsciphers import documents

# A VM of which nothing is known has both consoles.
BOTH_CONSOLES = ('<domain><devices><graphics type="spice"/>'
                 '<graphics type="vnc"/></devices></domain>')
PROFILE = 'tlsprofile'
# Covers both consoles, and is in no file of a host.
SUGGESTED = 'intermediate'
FLAGS = domains.FLAGS
SET_PROFILE = ('set tlsprofile on the VM (if the engine does not offer it: '
               'vdsm-tlsciphers engine-line)')
# No VM starts on a host without QEMU, whatever consoles it has.
NO_QEMU = 'qemu-missing'


def settle(properties: 'dict[str, str]', vm: 'domains.VM | None',
           ) -> 'tuple[list[tuple[str, str]], list[Refused]]':
    """
    Return what the hook would make of properties (dict, maybe with
    extra_cpu_flags) for a VM, or where it is None for a VM with both
    consoles: (settings, notes) as tlsciphers.resolve() does. Raises Refused.
    """
    flags = properties.get(FLAGS)
    if vm:
        document = vm.at_start(flags)
    else:
        document = domains.with_guard(
            minidom.parseString(BOTH_CONSOLES), flags or '')  # nosec B318
    settings, notes = tlsciphers.resolve(
        properties, displays_of(vm),
        vm is not None and tlsciphers_domain.is_hosted_engine(vm.document))
    if not tlsciphers_domain.check_guard(document, settings):
        notes += tlsciphers_domain.describe_guard(document, flags or '')
    # The emulator that a VM has now is not what the engine sends next.
    if vm and vm.of_file and tlsciphers_values.REQUIREMENT in [
            option for option, _ in settings]:
        tlsciphers_domain.check_emulator(document)
    return settings, notes


def displays_of(vm: 'domains.VM | None') -> 'Collection[str]':
    return vm.displays if vm else ('spice', 'vnc')


def own_properties(vm: domains.VM) -> 'dict[str, str]':
    """
    Return a VM's own properties (dict), with extra_cpu_flags where that
    has the guard.
    """
    flags = vm.flags
    if flags is not None and tlsciphers_domain.has_guard(flags):
        return {**vm.properties, FLAGS: flags}
    return dict(vm.properties)


def of_vm(vm: 'domains.VM') -> 'dict[str, str]':
    """
    Return a VM's own properties (dict), or the requirements that it was
    started with.
    """
    return own_properties(vm) or properties_of({
        key: setting for key, setting in vm.policy.items()
        if setting.required})


def properties_of(policy: 'dict[str, domains.Setting]') -> 'dict[str, str]':
    """Return the properties (dict) that stand for a VM's policy."""
    values = {key: setting.value for key, setting in policy.items()}
    lists = [values[key] for key in ('ciphers', 'ciphersuites')
             if key in values]
    properties = {'tlsciphers': ':'.join(lists)} if lists else {}
    for key in ('protocols', 'groups', 'priority'):
        if key in values:
            properties['tls' + key] = values[key]
    return properties


# How to start it


def remedy(properties: 'dict[str, str]', vm: 'domains.VM | None',
           message: Refused, by: 'documents.RefusedBy' = 'hook',
           ) -> 'documents.Remedy':
    """
    Return how to start a VM that was refused with a message by the hook, the
    wrapper or libvirt.
    """
    subjects = messages.subjects(message.text)
    blamed = [name for name in tlsciphers_values.PROPERTIES
              if name in subjects]
    host: str | None = None
    # A profile may be in the file of another host.
    elsewhere = (message.kind == tlsciphers_values.NOT_HERE
                 or message.code == 'unknown-profile')
    tomorrow = SET_PROFILE
    if by == 'libvirt':
        blamed = []
        host = ('repair vdsm-hook-tlsciphers on this host: vdsm-tlsciphers '
                'doctor')
        tomorrow = 'install this version on every host of the cluster'
        elsewhere = True
    elif by != 'hook' or _is_of_host(message):
        blamed = []
        host = (_host_file_remedy(message)
                if messages.is_of_host_file(message) else
                domain_consoles.without_removal(message)
                or 'vdsm-tlsciphers doctor')
        tomorrow = 'fix each host of the cluster'
        elsewhere = True
    elif blamed:
        tomorrow = ('correct %s in Edit: "vdsm-tlsciphers check %s=VALUE" '
                    'tells whether a host accepts a value' % (
                        blamed[0], blamed[0]))
    elif message.code == 'guard-policy':
        tomorrow = 'write +%s in Edit' % tlsciphers_domain.GUARD
    elif message.code == 'guard-other-console':
        tomorrow = 'remove what adds that console'
    ways = list(_ways(properties, vm, message, by, blamed))
    back = sorted({change['property'] for way in ways
                   for change in way['changes'] if change['from']}
                  - set(blamed))
    if back and message.code != 'guard-policy':
        tomorrow += '; restore %s where it was changed in Edit' % (
            ' and '.join(back))
    consoles, headless = _other_consoles(properties, vm, message, by)
    return {'ways': ways, 'host': host, 'other_host': elsewhere,
            'tomorrow': tomorrow, 'headless': headless,
            # Where a corrected property covers all, no console has to go.
            'consoles': [] if any(not way['open'] for way in ways) else
                        consoles}


def _is_of_host(message: Refused) -> bool:
    return messages.is_of_host(message) or messages.is_of_host_file(message)


def _host_file_remedy(message: Refused) -> str:
    """Return how to fix the host's file, which the hook refuses."""
    path = tlsciphers_config.HOST_DEFAULT
    if message.code == 'host-file-owner':
        return str(message.remedy if path in message.remedy else
                   '%s %s' % (message.remedy, path))
    return 'correct %s%s, or copy the file from a host where VMs start' % (
        path, ' (%s)' % message.remedy if message.remedy else '')


def _other_consoles(properties: 'dict[str, str]',
                    vm: 'domains.VM | None', message: Refused,
                    by: 'documents.RefusedBy',
                    ) -> 'tuple[list[documents.Display], bool]':
    """
    Return the consoles (SPICE or VNC) with which alone a VM starts, with a
    policy and encrypted, and whether it starts without any: what Run Once can
    give it, with all its properties.
    """
    if by in ('libvirt', 'QEMU') or message.code == NO_QEMU or (
            messages.is_of_host(message)):
        return [], False
    refused = _refused_displays(message) if by == 'wrapper' else set()
    found: list[documents.Display] = []
    displays: list[documents.Display] = ['spice', 'vnc']
    for display in displays:
        if display in refused or displays_of(vm) == {display} or (
                vm and not vm.of_file
                and display == 'spice' not in vm.displays
                and not emulator.has_spice()):
            continue
        alone = domains.with_console(vm, display)
        try:
            settings, _ = settle(properties, alone)
        except Refused:
            continue
        if not _open(settings, {display}) and (
                vm is None or (not domain_consoles.refusal(alone, settings)
                               and not _unencrypted(alone))):
            found.append(display)
    try:
        settle(properties, domains.with_console(vm, None))
    except Refused:
        return found, False
    return found, True


def _refused_displays(message: Refused) -> 'set[documents.Display]':
    """Return the displays that a wrapper's message is about."""
    if message.code == domain_consoles.SPICE_TLS_OFF.code:
        return {'spice'}
    keys = _keys_in(message)
    found: set[documents.Display] = set()
    if 'priority' in keys:
        found.add('vnc')
    if keys - {'priority'}:
        found.add('spice')
    return found


def _unencrypted(vm: domains.VM) -> 'set[documents.Display]':
    """Return the displays that have no TLS at the next start."""
    return {endpoint.display for endpoint in domain_consoles.endpoints(vm)
            if endpoint.at_start is False and endpoint.place}


def _ways(properties: 'dict[str, str]', vm: 'domains.VM | None',
          message: Refused, by: 'documents.RefusedBy',
          blamed: 'list[str]') -> 'Iterator[documents.Way]':
    """
    Yield the changes of properties with which the VM starts: first those that
    leave no console open, then those that may.
    """
    flags = properties.get(FLAGS)
    if flags is None and vm and vm.guard:
        flags = '+' + tlsciphers_domain.GUARD  # It is in the domain XML.
    old = properties if flags is None else {**properties, FLAGS: flags}
    corrected = _corrected(properties, vm)
    seen: list[list[documents.Change]] = [[]]
    for number, group in enumerate(_candidates(
            properties, flags, message, by, blamed, corrected)):
        for some, value in group:
            new = dict(some) if value is None else {**some, FLAGS: value}
            changes: list[documents.Change] = [
                {'property': name, 'from': old.get(name) or None,
                 'to': new.get(name) or None}
                for name in (*tlsciphers_values.PROPERTIES, FLAGS)
                if (old.get(name) or None) != (new.get(name) or None)]
            if changes in seen:
                continue
            try:
                settings, _ = settle(new, vm)
            except Refused:
                continue
            if vm and by != 'libvirt' and domain_consoles.refusal(
                    vm, settings):
                continue
            # A hook that does not remove the guard sets no policy either.
            uncovered = _open([] if by == 'libvirt' else settings, [
                *displays_of(vm), *(tlsciphers_domain.argument_displays(
                    vm.document) if vm else ())])
            if some == corrected and blamed and number == 0 and uncovered:
                continue  # There may be one that covers all.
            seen.append(changes)
            yield {'changes': changes, 'open': uncovered,
                   'guard': tlsciphers_domain.has_guard(value or ''),
                   'weaker': _weaker(properties, settings, uncovered),
                   'unencrypted': [
                       display for display in uncovered
                       if vm and display in _unencrypted(vm)]}
            if number == 0 and not uncovered and not any(
                    change['to'] for change in changes):
                return  # Without the refused property it starts, covered.
            break


def _corrected(properties: 'dict[str, str]',
               vm: 'domains.VM | None') -> 'dict[str, str] | None':
    """
    Return the properties (dict, without extra_cpu_flags) less those that the
    hook refuses, or None where that is not enough.
    """
    some = {name: value for name, value in properties.items()
            if name != FLAGS}
    while True:
        try:
            settle({**some, FLAGS: ''}, vm)
        except Refused as refusal:
            subjects = messages.subjects(refusal.text)
            refused = [name for name in some if name in subjects]
            if not refused:
                return None
            del some[refused[0]]
        else:
            return some


def _weaker(properties: 'dict[str, str]',
            settings: 'list[tuple[str, str]]',
            uncovered: 'list[documents.Display]') -> 'list[str]':
    """
    Return the versions of TLS (list of str) that settings permit, beyond what
    properties name (refused or not), on the consoles that they cover.
    """
    profile = tlsciphers_config.PROFILES.get(
        properties.get(PROFILE, '').strip(), {})
    before = _versions([(tlsciphers_values.REQUIREMENT, '%s=%s' % (
        name[len('tls'):], value)) for name, value in profile.items()])
    own = properties.get('tlsprotocols', '').strip()
    if set(own.split(':')) <= {'TLSv1.2', 'TLSv1.3'}:
        before['spice'] = own.split(':')
    before['vnc'] = libraries.list_priority(properties.get(
        'tlspriority', '').strip())[0] or before.get('vnc', [])
    found: set[str] = set()
    for display, versions in _versions(settings).items():
        if before.get(display) and display not in uncovered:
            found.update(set(versions) - set(before[display]))
    return sorted(found)


def _versions(settings: 'list[tuple[str, str]]') -> 'dict[str, list[str]]':
    """Return {display: versions of TLS} of settings that are required."""
    found: dict[str, list[str]] = {}
    for option, setting in settings:
        key, _, value = setting.partition('=')
        if option != tlsciphers_values.REQUIREMENT:
            continue
        if key == 'priority':
            found['vnc'] = libraries.list_priority(value)[0]
        elif key == 'protocols':
            found['spice'] = value.split(':')
        else:
            found.setdefault('spice', ['TLSv1.2', 'TLSv1.3'])
    return found


def _candidates(properties: 'dict[str, str]', flags: 'str | None',
                message: Refused, by: 'documents.RefusedBy',
                blamed: 'list[str]',
                corrected: 'dict[str, str] | None') -> (
                    'list[list[tuple[dict[str, str], str | None]]]'):
    """
    Return groups (list) of what to try in turn: properties and extra_cpu_flags
    of which the first that the hook accepts is a way to start the VM.
    """
    def signed(flag: str) -> str:
        # With any other sign the guard is refused.
        return ('+' + flag[1:] if flag[:1] == '-'
                and tlsciphers_domain.has_guard(flag) else flag)

    def without(names: 'Collection[str]') -> 'dict[str, str]':
        return {name: value for name, value in properties.items()
                if name not in names and name != FLAGS}

    guarded = flags and ','.join(map(signed, flags.split(',')))
    unguarded = flags and ','.join(flag for flag in flags.split(',')
                                   if not tlsciphers_domain.has_guard(flag))
    if by == 'wrapper':
        # It names the settings that it cannot enforce here.
        some = without(_properties_for(message))
        return [[(some, guarded), (some, unguarded)]]
    if by == 'QEMU' or (by != 'libvirt' and messages.is_of_host(message)):
        return [[({}, unguarded)]]  # No policy can be enforced here.
    kept = [without(()), without(blamed) if corrected is None else corrected,
            {}]
    covered = [] if by == 'libvirt' else [
        [*((some, guarded) for some in kept[:2]),
         *(({**some, PROFILE: SUGGESTED}, guarded) for some in kept)]]
    return [*covered, [(some, unguarded) for some in kept]]


def _keys_in(message: Refused) -> 'set[str]':
    """Return the settings that a wrapper's message is about."""
    every = set(tlsciphers_values.KEYS)
    return every.intersection(messages.subjects(message.text)) or every


def _properties_for(message: Refused) -> 'set[str]':
    """Return the properties that make the settings in a wrapper's message."""
    keys = _keys_in(message)
    names = {PROFILE}
    if 'priority' in keys:
        names.add('tlspriority')
    if keys - {'priority'}:
        names.update(('tlsciphers', 'tlsprotocols', 'tlsgroups'))
    return names


def _open(settings: 'list[tuple[str, str]]',
          displays: 'Collection[str]') -> 'list[documents.Display]':
    """Return the displays that no requirement covers."""
    required = {value.partition('=')[0] for option, value in settings
                if option == tlsciphers_values.REQUIREMENT}
    found: list[documents.Display] = []
    if 'spice' in displays and not required - {'priority'}:
        found.append('spice')
    if 'vnc' in displays and 'priority' not in required:
        found.append('vnc')
    return found
