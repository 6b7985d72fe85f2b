# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""
Shows the TLS policies of the VMs that run on this host: what each VM requests
(in its domain XML, where the hook wrote it), what its emulator is configured
with, and, by handshakes with each listening console, whether the policy is
effective: all outside it is rejected, and something inside accepted.
"""

import os

from vdsm_tlsciphers import FAILED, FINDINGS, FINE, UserError
from vdsm_tlsciphers.output import clean, head, paint, print_json

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse

    from vdsm_tlsciphers import documents

EXAMPLES = """\
The state of a VM:
  effective   handshakes proved the policy on all its consoles
  configured  all that it requests is configured, but there was no handshake,
              no answer, or no listening console; a line says which
  live        handshakes proved what "apply" gave VNC while the VM runs, which
              is lost when the VM moves or stops
  waiting     what "apply" gave SPICE has no effect until the VM moves
  different   something is not as requested, or was not requested, or a
              console is open or not covered; a line says what
  none        it requests nothing; its consoles are encrypted with the
              defaults of QEMU
  unknown     its emulator could not be examined; a line says why
"required" marks what the properties of the VM request, "default" what comes
from the default of a host.

The line "guard" of a VM with a policy: yes, no, requested (the engine writes
none for its cluster level), or unknown (its domain XML has no metadata of
oVirt). VMs that could have a guard and have none are listed at the end: a host
without this package would start them without their policy.

The consoles are those on which the emulator listens, whether or not they are
in the domain XML. The handshakes do not disturb connected users; SPICE writes
a line about each to the log of the VM.

QEMU is queried through libvirt, which notes "tainted: custom-monitor" once in
the log of a VM that has a policy for VNC, or listens on a port that its
arguments do not explain. A property that is changed in the engine while the
VM runs takes effect, and is shown here, from its next start.

Exit status: 0 no differences; 1 differences, or a VM is waiting; 2 the command
failed, or some VMs are unknown.

Examples:
  vdsm-tlsciphers status
  vdsm-tlsciphers status web1 db2
  vdsm-tlsciphers status --json
"""
# By the state of a VM in texts.
COLOURS: 'dict[documents.Statement, str]' = {
    'effective': 'green', 'live': 'yellow', 'waiting': 'yellow',
    'configured': 'yellow', 'different': 'red',
    'none': 'bold', 'unknown': 'yellow'}
# By the state of what was applied while the VM runs.
MARKS = {'live': 'live until the VM moves or stops',
         'waiting': 'waits until the VM moves, or is suspended and resumed',
         'lost': 'lost'}
# Of VMs in one line.
MOST_NAMES = 10


def add_arguments(parser: 'argparse.ArgumentParser') -> None:
    """Add what the command takes to its parser."""
    parser.add_argument('vms', nargs='*', metavar='VM',
                        help='a name or UUID (default: all that run here)')
    parser.add_argument('--json', action='store_true',
                        help='print one JSON document instead of text')
    parser.add_argument('--no-handshake', action='store_false',
                        dest='handshake', help='do not connect to consoles: '
                        'policies are then "configured" at best')


def run(options: 'argparse.Namespace') -> int:
    """Do the command's work; return its exit status."""
    # What --help does not need.
    from vdsm_tlsciphers.audit import policy_status
    from vdsm_tlsciphers.host import domains
    if os.geteuid():
        raise UserError('only root can read the command lines of emulators',
                        'run this as root', 'not-root')
    connection = domains.connect()
    running = domains.running(connection)
    if options.vms:
        running = policy_status.choose(running, options.vms)
    vms = [vm for vm in policy_status.look_at(running, connection,
                                              options.handshake)
           if vm['state'] != policy_status.UNKNOWN
           or policy_status.is_running(connection, vm['uuid'])]
    unguarded = [vm.name for vm in running
                 if policy_status.could_have_guard(vm)]
    document: documents.Status = {
        **head('status'), 'vms': vms,
        'summary': {'vms': len(vms), **{
            state.replace(' ', '_'): len([vm for vm in vms
                                          if vm['state'] == state])
            for state in policy_status.STATES}, **{
            statement: len([vm for vm in vms if vm['statement'] == statement])
            for statement in COLOURS
            if statement not in policy_status.STATES}}}
    if options.json:
        print_json(document)
    else:
        show(document, unguarded)
    found = {vm['state'] for vm in vms}
    if policy_status.UNKNOWN in found:
        return FAILED
    return FINDINGS if policy_status.DIFFERENCE in found or any(
        vm['statement'] == policy_status.WAITING for vm in vms) else FINE


# Text output


def show(document: 'documents.Status', unguarded: 'list[str]') -> None:
    """Print a document of status, and the VMs that could have a guard."""
    import tlsciphers_domain

    from vdsm_tlsciphers.host import domains
    for vm in document['vms']:
        statement = vm['statement']
        print('%s: %s' % (vm['vm'], paint(statement, COLOURS[statement])))
        for setting in vm['settings']:
            show_setting(setting)
        for mark in vm['marks']:
            print('  %-6s%-13s%s: %s' % (
                mark['display'].upper(), mark['key'], MARKS[mark['state']],
                clean(mark['value'])))
        for console in vm['consoles']:
            show_console(console)
        if statement == 'configured' and not vm['consoles']:
            print('  no console listens')
        if vm['settings'] or vm['guard_requested']:
            print('  guard        ' + (
                'requested, but none at cluster levels below 4.6'
                if vm['guard_requested'] and not vm['guard'] else
                {True: 'yes', False: 'no', None: 'unknown'}[vm['guard']]))
        for other in vm['other_listeners']:
            print('  other port %-8d%s' % (other['port'], other['what']))
        for difference in vm['differences']:
            print('  %-6s%s' % ((difference['display'] or '').upper(), paint(
                difference['difference'], 'red')))
        if vm['problem']:
            print('  ' + paint(vm['problem'], 'yellow'))
    if unguarded:
        print('\nWithout a guard: %s%s: a host without this package would '
              'start them without their policy; add +%s to %s [no-guard]' % (
                  clean(', '.join(unguarded[:MOST_NAMES])),
                  ' and %d more' % (len(unguarded) - MOST_NAMES)
                  if len(unguarded) > MOST_NAMES else '',
                  tlsciphers_domain.GUARD, domains.FLAGS))
    # One that waits may have no other policy.
    summary = {**document['summary'], 'none': len(
        [vm for vm in document['vms'] if vm['statement'] == 'none'])}
    print('%s%d VM%s on %s: %s' % (
        '\n' if document['vms'] else '', summary['vms'],
        '' if summary['vms'] == 1 else 's', clean(document['host']),
        ', '.join('%d %s' % (summary[key], words) for key, words in (
            ('effective', 'effective'),
            ('live', 'live until they move or stop'),
            ('waiting', 'waiting until they move'),
            ('configured', 'configured'),
            ('difference', 'different'), ('none', 'without a policy'),
            ('unknown', 'unknown'))
            if summary[key] or key not in (
                'live', 'waiting', 'configured', 'unknown'))))


def show_setting(setting: 'documents.VMSetting') -> None:
    beginning = '  %-6s%-13s%-10s' % (
        setting['display'].upper(), setting['key'],
        {True: 'required', False: 'default', None: '-'}[setting['required']])
    if setting['asked'] and setting['asked'] == setting['in_force']:
        print(beginning + setting['asked'])
    else:
        print('%srequested   %s' % (beginning, setting['asked'] or 'nothing'))
        print('%sconfigured  %s' % (' ' * len(beginning), paint(
            setting['in_force'] or 'nothing', 'red')))
    if setting['live']:
        print('%s(set live)' % (' ' * len(beginning)))
    if setting['note']:
        print('%s(%s)' % (' ' * len(beginning), setting['note']))


def show_console(console: 'documents.VMConsole') -> None:
    place = ('port %d' % console['port'] if console['port'] else
             'UNIX socket %s' % console['socket']
             if console['socket'] is not None else 'no listener')
    if not console['port']:
        words = ''
    elif console['effective'] is None:
        words = ('configured' if console['covered'] and console['tls'] else
                 'TLS with the defaults of QEMU' if console['tls'] else
                 'not encrypted')
    elif console['tls']:
        words = 'effective' if console['effective'] else 'not effective'
    else:
        words = ('not encrypted' if console['open_channels'] else
                 'effective: all channels require TLS')
    if console['display'] == 'websocket':
        words += ' (noVNC)'
    if console['note'] and not console['port']:
        place = console['note']
        words = 'TLS' if console['tls'] else 'not encrypted'
    elif console['note']:
        words += ' (not proven: %s)' % console['note']
    print(('  %-6s%-13s%s' % (
        'SPICE' if console['display'] == 'spice' else 'VNC', place,
        words)).rstrip())
