# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""Whether the hook lets a VM start, and what to do where it does not."""

import re
from xml.dom import minidom  # nosec B408 # a constant

import tlsciphers
from vdsm_tlsciphers.host import domain_consoles, domains

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
# Lines about what this host lacks and another may have.
NOT_HERE = re.compile('does not know|no such profile|needs OpenSSL|no such '
                      'settings')
# Lines of the hook about the host, not about a property.
OF_HOST = re.compile(r'tlsciphers: (the (wrapper|package|domain XML|attribute)'
                     r' |another hook |cannot |unexpected )|'
                     + re.escape(tlsciphers.HOST_DEFAULT))
VNC_WITHOUT_TLS = 'the VNC console of this VM is not encrypted'
GUARD_AGAIN = ('set tlsprofile on the VM (if the engine does not offer it: '
               'vdsm-tlsciphers engine-line), then +vdsm-tls again')


def settle(properties: 'dict[str, str]', vm: 'domains.VM | None',
           ) -> 'tuple[list[tuple[str, str]], list[str]]':
    """
    Return what the hook would make of properties (dict, maybe with
    extra_cpu_flags) for a VM, or where it is None for a VM with both
    consoles: (settings, lines) as tlsciphers.resolve() does. Raises
    tlsciphers.Refused.
    """
    flags = properties.get(FLAGS)
    if vm:
        document = vm.at_start(flags)
    else:
        document = domains.with_guard(
            minidom.parseString(BOTH_CONSOLES), flags or '')  # nosec B318
    settings, lines = tlsciphers.resolve(
        properties, displays_of(vm),
        vm is not None and tlsciphers.is_hosted_engine(vm.document))
    if not tlsciphers.check_guard(document, settings):
        lines += tlsciphers.describe_guard(document, flags or '')
    return settings, lines


def displays_of(vm: 'domains.VM | None') -> 'Collection[str]':
    return vm.displays if vm else ('spice', 'vnc')


def own_properties(vm: domains.VM) -> 'dict[str, str]':
    """
    Return a VM's own properties (dict), with extra_cpu_flags where that
    has the guard.
    """
    flags = vm.flags
    if flags is not None and tlsciphers.has_guard(flags):
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


# What lets it start


def remedy(properties: 'dict[str, str]', vm: 'domains.VM | None',
           line: str, by: 'documents.RefusedBy' = 'hook',
           ) -> 'documents.Remedy':
    """
    Return how to start a VM that was refused with a line by the hook, the
    wrapper or libvirt.
    """
    blamed = [name for name in tlsciphers.PROPERTIES
              if line.startswith(name + ': ')]
    own = re.sub(r' \[[a-z0-9-]+\]$', '', line).partition('; ')[2]
    own = own[len('remedy: '):] if own.startswith('remedy: ') else own
    host: str | None = None
    tomorrow = GUARD_AGAIN
    elsewhere = bool(NOT_HERE.search(line))
    if by == 'libvirt':
        host = ('have this version of vdsm-hook-tlsciphers in order here: '
                'vdsm-tlsciphers doctor')
        tomorrow = ('install this version on every host of the cluster, then '
                    'set +vdsm-tls again')
        elsewhere = True
    elif by != 'hook' or OF_HOST.match(line):
        blamed = []
        host = own or 'vdsm-tlsciphers doctor'
        tomorrow = ('put back what was changed with Edit, once this host is '
                    'in order')
        # Its clusters have that in common.
        elsewhere = VNC_WITHOUT_TLS not in line
    elif blamed:
        tomorrow = ('correct %s: "vdsm-tlsciphers check %s=VALUE" tells '
                    'whether a host takes a value' % (blamed[0], blamed[0]))
    return {'ways': list(_ways(properties, vm, line, by, blamed)),
            'host': host, 'other_host': elsewhere, 'tomorrow': tomorrow}


def _ways(properties: 'dict[str, str]', vm: 'domains.VM | None',
          line: str, by: 'documents.RefusedBy',
          blamed: 'list[str]') -> 'Iterator[documents.Way]':
    """
    Yield the changes of properties with which the VM starts: first those that
    leave no console open, then those that may.
    """
    flags = properties.get(FLAGS)
    if flags is None and vm and vm.guard:
        flags = '+' + tlsciphers.GUARD  # It is in the domain XML.
    old = properties if flags is None else {**properties, FLAGS: flags}
    seen: list[list[documents.Change]] = [[]]
    for group in _candidates(properties, flags, line, by, blamed):
        for some, value in group:
            new = dict(some) if value is None else {**some, FLAGS: value}
            changes: list[documents.Change] = [
                {'property': name, 'from': old.get(name) or None,
                 'to': new.get(name) or None}
                for name in (*tlsciphers.PROPERTIES, FLAGS)
                if (old.get(name) or None) != (new.get(name) or None)]
            if changes in seen:
                continue
            try:
                settings, _ = settle(new, vm)
            except tlsciphers.Refused:
                continue
            if vm and by != 'libvirt' and domain_consoles.refusal(
                    vm, settings):
                continue
            seen.append(changes)
            # Where nobody takes the guard out, nobody sets the policy.
            yield {'changes': changes, 'open': _open(
                       [] if by == 'libvirt' else settings,
                       displays_of(vm)),
                   'guard': tlsciphers.has_guard(value or '')}
            break


def _candidates(properties: 'dict[str, str]', flags: 'str | None', line: str,
                by: 'documents.RefusedBy', blamed: 'list[str]') -> (
                    'list[list[tuple[dict[str, str], str | None]]]'):
    """
    Return groups (list) of what to try in turn: properties and extra_cpu_flags
    of which the first that the hook takes is a way to start the VM.
    """
    def signed(flag: str) -> str:
        # The sign that guards nothing is refused.
        return ('+' + flag[1:] if flag[:1] == '-'
                and tlsciphers.has_guard(flag) else flag)

    def without(names: 'Collection[str]') -> 'dict[str, str]':
        return {name: value for name, value in properties.items()
                if name not in names and name != FLAGS}

    guarded = flags and ','.join(map(signed, flags.split(',')))
    unguarded = flags and ','.join(flag for flag in flags.split(',')
                                   if not tlsciphers.has_guard(flag))
    if by == 'wrapper':
        # It has named the settings that it cannot enforce here.
        some = without(_properties_for(line))
        return [[(some, guarded), (some, unguarded)]]
    if by == 'QEMU' or (OF_HOST.match(line) and not line.startswith(
            tlsciphers.HOST_DEFAULT)):
        return [[({}, unguarded)]]  # No policy can be enforced here.
    kept = [without(()), without(blamed), {}]
    covered = [] if by == 'libvirt' else [
        [(kept[0], guarded), *(({**some, PROFILE: SUGGESTED}, guarded)
                               for some in kept)]]
    return [*covered, [(some, unguarded) for some in kept]]


def _properties_for(line: str) -> 'set[str]':
    """Return the properties that make the settings in a wrapper's line."""
    found = re.search(r'qemu-kvm-modified: ([a-z]+(?:, [a-z]+)*): ', line)
    keys = set(found.group(1).split(', ') if found else ())
    keys = keys.intersection(tlsciphers.KEYS) or set(tlsciphers.KEYS)
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
                if option == tlsciphers.REQUIREMENT}
    found: list[documents.Display] = []
    if 'spice' in displays and not required - {'priority'}:
        found.append('spice')
    if 'vnc' in displays and 'priority' not in required:
        found.append('vnc')
    return found
