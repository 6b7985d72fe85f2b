# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""
Gives VMs that run on this host a policy without a shutdown. VNC has it at once
for new connections, proven by handshakes, until the VM moves or stops. For
SPICE, and for VNC afterwards, a mark in the live domain says what the VM is to
have. Properties in the engine remain what counts from the next start on.
"""

import os
import sys

from vdsm_tlsciphers import FINDINGS, FINE, UserError
from vdsm_tlsciphers.output import (
    clean,
    count,
    head,
    note,
    paint,
    print_json,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse

    import libvirt

    from vdsm_tlsciphers import documents
    from vdsm_tlsciphers.host import domains

EXAMPLES = """\
Without --profile and NAME=VALUE the default of this host is applied.
Connections that are open stay as they are.

With --all, VMs that have a policy from their start or their last arrival keep
it, unless --replace. What is applied replaces all that was applied before.

Exit status: 0 all is done; 1 a VM was refused, or its policy could not be
proven and all is as it was; 2 the command failed.

Examples:
  vdsm-tlsciphers apply --profile modern --dry-run --all
  vdsm-tlsciphers apply --profile modern webserver1 webserver2
  vdsm-tlsciphers apply --require tlspriority=SECURE256 webserver1
  vdsm-tlsciphers apply --again --all
  vdsm-tlsciphers apply --remove webserver1
"""
COLOURS = {'applied': 'green', 'unchanged': 'green', 'kept': 'yellow',
           'removed': 'green', 'possible': 'yellow', 'refused': 'red'}


def add_arguments(parser: 'argparse.ArgumentParser') -> None:
    """Add what the command takes to its parser."""
    parser.add_argument('names', nargs='*', metavar='VM|NAME=VALUE',
                        help='VMs by name or UUID, and values of properties, '
                        'as for check')
    parser.add_argument('--profile', metavar='PROFILE',
                        help='the same as tlsprofile=PROFILE')
    parser.add_argument('--all', action='store_true',
                        help='all VMs that run here, but for the hosted '
                        'engine')
    parser.add_argument('--require', action='store_true',
                        help='a requirement: where it cannot be enforced the '
                        'VM does not arrive (default: best effort)')
    parser.add_argument('--replace', action='store_true',
                        help='also VMs that have a policy of their own')
    parser.add_argument('--remove', action='store_true',
                        help='take back what was applied')
    parser.add_argument('--again', action='store_true',
                        help='what was applied before, where a migration or '
                        'resume has lost it')
    parser.add_argument('--dry-run', action='store_true',
                        help='only say what would be done')
    parser.add_argument('--json', action='store_true',
                        help='print one JSON document instead of text')


def run(options: 'argparse.Namespace') -> int:
    """Do the command's work; return its exit status."""
    # What --help does not need.
    from vdsm_tlsciphers.host import domains
    properties, names = split(options)
    if os.geteuid():
        raise UserError('only root can change a VM', 'run this as root',
                        'not-root')
    if not (options.remove or options.again):
        check(properties)
    connection = domains.connect(writable=True)
    vms = choose(connection, names)
    document: documents.Applied = {
        **head('apply'), 'properties': properties, 'dry_run': options.dry_run,
        'vms': []}
    for vm in vms:
        # What was done so far counts, whatever becomes of the rest.
        result = apply_to(vm, connection, properties, options)
        document['vms'].append(result)
        if not options.json:
            show(result)
            sys.stdout.flush()
        elif sys.stderr.isatty():
            sys.stderr.write('%d of %d VMs: %s %s\n' % (
                len(document['vms']), len(vms), result['vm'],
                result['outcome']))
    if options.json:
        print_json(document)
    else:
        show_end(document)
    return FINDINGS if any(vm['outcome'] == 'refused'
                           for vm in document['vms']) else FINE


def split(options: 'argparse.Namespace') -> (
        'tuple[dict[str, str], list[str]]'):
    """
    Return the properties and the names of VMs on the command line. Raises
    UserError.
    """
    from tlsciphers_values import PROPERTIES
    properties = {}
    names = []
    for given in options.names:
        name, equals, value = given.partition('=')
        if not equals:
            names.append(given)
        elif name not in PROPERTIES:
            raise UserError('%s: no such property' % name, 'use one of '
                            + ', '.join(PROPERTIES), 'no-such-property')
        else:
            properties[name] = value
    if options.profile is not None:
        if properties.get('tlsprofile', options.profile) != options.profile:
            raise UserError('--profile and tlsprofile differ',
                            'give one of them', 'bad-argument')
        if not options.profile:
            raise UserError('--profile is empty', 'name a profile, such as '
                            'modern', 'bad-argument')
        properties['tlsprofile'] = options.profile
    if options.remove + options.again + bool(properties) > 1:
        raise UserError('more than one of --remove, --again and a policy',
                        'give one of them', 'apply-and-remove')
    if bool(names) == options.all:
        raise UserError('--all and VMs' if names else 'no VM', 'name VMs, or '
                        'give --all', 'bad-argument' if names
                        else 'apply-no-vm')
    return properties, names


def check(properties: 'dict[str, str]') -> None:
    """Refuse (UserError) what is wrong for every VM, once."""
    import tlsciphers_values

    import tlsciphers
    try:
        settings, _ = tlsciphers.resolve(properties, ('spice', 'vnc'))
    except tlsciphers_values.Refused as refusal:
        raise UserError.of(refusal)
    if not settings:
        raise UserError(
            'no policy: %s' % ('it sets nothing' if properties else
                               'none is given, and this host has no default'),
            'give --profile, or --remove to take one back', 'apply-nothing')


def choose(connection: 'libvirt.virConnect',
           names: 'list[str]') -> 'list[domains.VM]':
    """Return the VMs of these names or UUIDs, without names all."""
    import tlsciphers_domain

    from vdsm_tlsciphers.audit import policy_status
    from vdsm_tlsciphers.host import domains
    running = domains.running(connection)
    if names:
        return policy_status.choose(running, names)
    return [vm for vm in running
            if not tlsciphers_domain.is_hosted_engine(vm.document)]


def apply_to(vm: 'domains.VM', connection: 'libvirt.virConnect',
             properties: 'dict[str, str]',
             options: 'argparse.Namespace') -> 'documents.AppliedVM':
    """Apply the options to a VM; return a dict for JSON."""
    result: documents.AppliedVM = {
        'vm': clean(vm.name), 'uuid': clean(vm.uuid), 'outcome': 'refused',
        'required': None, 'live': None, 'waiting': {}, 'notes': [],
        'problem': None, 'code': None, 'remedy': None}
    try:
        left_alone = leave_alone(vm, options)
        if left_alone:
            result['outcome'] = left_alone
            if vm.policy and options.remove:
                result['notes'] = ['its policy is its own: remove its '
                                   'properties and restart it, or give it '
                                   'another one with --replace']
        elif options.remove:
            remove(vm, connection, options, result)
        else:
            put(vm, connection, properties, options, result)
    except UserError as problem:
        result['outcome'] = 'refused'
        result['problem'] = clean(problem.text)
        result['code'] = problem.code
        result['remedy'] = clean(problem.remedy)
    return result


def leave_alone(vm: 'domains.VM', options: 'argparse.Namespace') -> (
        'documents.Outcome | None'):
    """Return the outcome for a VM that is not touched, else None."""
    if options.remove or options.again:
        return None if vm.is_marked else 'unchanged'
    if options.all and vm.policy and not options.replace:
        return 'kept'
    if options.all and not vm.displays & {'spice', 'vnc'}:
        return 'unchanged'
    return None


def remove(vm: 'domains.VM', connection: 'libvirt.virConnect',
           options: 'argparse.Namespace',
           result: 'documents.AppliedVM') -> None:
    """Take back what was applied to a VM. Raises UserError."""
    from vdsm_tlsciphers.live import change
    wanted = change.Change(vm, connection, change.pairs_of(vm.pending))
    result['outcome'] = 'possible'
    if not options.dry_run:
        wanted.remove()
        result['outcome'] = 'removed'
        write_down('%s: what was applied is removed' % vm.name)


def put(vm: 'domains.VM', connection: 'libvirt.virConnect',
        properties: 'dict[str, str]', options: 'argparse.Namespace',
        result: 'documents.AppliedVM') -> None:
    """Apply a policy to a VM, or the one of its mark. Raises UserError."""
    from vdsm_tlsciphers.host import domains
    from vdsm_tlsciphers.live import change
    notes: list[UserError] = []
    if options.again:
        settings = change.pairs_of(vm.pending)
    else:
        settings, notes = change.resolve(vm, properties, options.require)
    wanted = change.Change(vm, connection, settings)
    if options.again:
        wanted.check_mark()
    wanted.check_covers()
    if wanted.is_done:
        result['outcome'] = 'unchanged'
    else:
        wanted.check(options.replace or options.again)
        result['notes'] = [clean(str(each)) for each in
                           notes + wanted.notes()]
        result['outcome'] = 'possible'
        if not options.dry_run:
            wanted.apply()
            result['outcome'] = 'applied'
            write_down('%s: applied: %s' % (vm.name, ' '.join(
                setting for _, setting in wanted.settings)))
    result['required'] = any(setting.required for setting in
                             domains.settings_of(wanted.settings).values())
    result['live'] = wanted.priority
    result['waiting'] = change.describe(wanted.waiting)


def write_down(text: str) -> None:
    """Write into the journal what was done, and who did it."""
    import syslog
    syslog.openlog('vdsm-tlsciphers', syslog.LOG_PID, syslog.LOG_AUTHPRIV)
    syslog.syslog(syslog.LOG_NOTICE, '%s (by %s)' % (
        clean(text, 4096), who()))


def who() -> str:
    """Return who has logged in, and become root since then."""
    import pwd
    try:
        with open('/proc/self/loginuid') as file:
            number = int(file.read(20))
        return pwd.getpwuid(number).pw_name
    except (OSError, ValueError, KeyError, OverflowError):
        return 'nobody who has logged in'  # A service, a container.


# Text output


def show(vm: 'documents.AppliedVM') -> None:
    """Print the result of a VM."""
    outcome = vm['outcome']
    print('%s: %s%s' % (vm['vm'], paint(outcome, COLOURS[outcome]), {
        True: ', required', False: ', best effort', None: ''}[
            vm['required']]))
    if vm['problem']:
        print('  %s; %s [%s]' % (vm['problem'], vm['remedy'], vm['code']))
        return
    if outcome == 'kept':
        print('  it has a policy already, from its start or its last arrival; '
              '--replace would change it')
    if vm['live']:
        print('  VNC    priority=%s: new connections, until the VM moves or '
              'stops' % clean(vm['live']))
    for key, setting in vm['waiting'].items():
        print('  SPICE  %s=%s: waits for a migration, or for suspend and '
              'resume' % (key, clean(setting['value'])))
    for each in vm['notes']:
        print('  note   ' + each)


def show_end(document: 'documents.Applied') -> None:
    """Print what all VMs have in common."""
    outcomes = [vm['outcome'] for vm in document['vms']]
    print('%s%s: %s' % (
        '\n' if outcomes else '', count(len(outcomes), 'VM'),
        ', '.join('%d %s' % (outcomes.count(outcome), outcome)
                  for outcome in COLOURS if outcome in outcomes) or 'none'))
    if 'applied' in outcomes:
        note('open connections stay as they are. These VMs need hosts with '
             'this package from their next migration on', 'enable "incoming" '
             'there; for the next start set their properties in the engine',
             'apply-hosts')
