# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""Whether the hook lets a VM start, and what to do where it does not."""

import re
from xml.dom import minidom  # nosec B408 # a constant

import tlsciphers
from vdsm_tlsciphers import domains

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
# Properties without which the VNC console has no policy.
FOR_VNC = ('tlspriority', PROFILE)
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


def settle(properties: 'dict[str, str]', machine: 'domains.Machine | None',
           ) -> 'tuple[list[tuple[str, str]], list[str]]':
    """
    Return what the hook would make of properties (dict, maybe with
    extra_cpu_flags) for a Machine, or where it is None for a VM with both
    consoles: (settings, lines) as tlsciphers.resolve() does. Raises
    tlsciphers.Refused.
    """
    flags = properties.get(FLAGS)
    if machine:
        document = machine.at_start(flags)
    else:
        document = domains.with_guard(
            minidom.parseString(BOTH_CONSOLES), flags or '')  # nosec B318
    settings, lines = tlsciphers.resolve(
        properties, displays_of(machine),
        machine is not None and tlsciphers.is_hosted_engine(machine.document))
    if not tlsciphers.check_guard(document, settings):
        lines += tlsciphers.describe_guard(document, flags or '')
    return settings, lines


def displays_of(machine: 'domains.Machine | None') -> 'Collection[str]':
    return machine.displays if machine else ('spice', 'vnc')


def own_properties(machine: domains.Machine) -> 'dict[str, str]':
    """
    Return a Machine's own properties (dict), with extra_cpu_flags where that
    has the guard.
    """
    flags = machine.flags
    if flags is not None and tlsciphers.has_guard(flags):
        return {**machine.properties, FLAGS: flags}
    return dict(machine.properties)


# What lets it start


def remedy(properties: 'dict[str, str]', machine: 'domains.Machine | None',
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
        tomorrow = 'put back what was changed, once this host is in order'
        # Its clusters have that in common.
        elsewhere = VNC_WITHOUT_TLS not in line
    elif blamed:
        tomorrow = ('correct %s: "vdsm-tlsciphers check %s=VALUE" tells '
                    'whether a host takes a value; then put back what was '
                    'changed' % (blamed[0], blamed[0]))
    return {'ways': list(_ways(properties, machine, blamed,
                               VNC_WITHOUT_TLS in line, by == 'libvirt')),
            'host': host, 'other_host': elsewhere, 'tomorrow': tomorrow}


def _ways(properties: 'dict[str, str]', machine: 'domains.Machine | None',
          blamed: 'list[str]', no_vnc: bool, no_guard: bool,
          ) -> 'Iterator[documents.Way]':
    """
    Yield the changes of properties with which the hook lets the VM start:
    first one that leaves no console open, then one that may. no_vnc: its VNC
    console can have no policy here. no_guard: the guard must go.
    """
    flags = properties.get(FLAGS)
    if flags is None and machine and machine.guard:
        flags = '+' + tlsciphers.GUARD  # It is in the domain XML.
    ours = {name: value for name, value in properties.items()
            if name != FLAGS}
    if no_vnc:
        blamed = list(FOR_VNC)
    kept = [ours, {name: value for name, value in ours.items()
                   if name not in blamed}, {}]
    if no_vnc:
        del kept[0]
    unguarded = flags and ','.join(flag for flag in flags.split(',')
                                   if not tlsciphers.has_guard(flag))
    # The sign that guards nothing is refused.
    signed = flags and ','.join(
        '+' + flag[1:] if flag[:1] == '-' and tlsciphers.has_guard(flag)
        else flag for flag in flags.split(','))
    groups = [] if no_vnc or no_guard else [
        [(ours, signed), *(({**some, PROFILE: SUGGESTED}, signed)
                           for some in kept)]]
    groups.append([(some, unguarded) for some in kept])
    seen = []
    for group in groups:
        for some, value in group:
            new = dict(some) if value is None else {**some, FLAGS: value}
            try:
                settings, _ = settle(new, machine)
            except tlsciphers.Refused:
                continue
            changes: list[documents.Change] = [
                {'property': name, 'from': old.get(name) or None,
                 'to': new.get(name) or None}
                for old in [properties if flags is None else
                            {**properties, FLAGS: flags}]
                for name in (*tlsciphers.PROPERTIES, FLAGS)
                if (old.get(name) or None) != (new.get(name) or None)]
            if changes not in seen:
                seen.append(changes)
                yield {'changes': changes,
                       'open': _open(settings, displays_of(machine))}
            break


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
