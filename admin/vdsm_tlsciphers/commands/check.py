# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""
Shows what properties would do to the consoles of a VM: the suites that are
left for each version of TLS, the words that the libraries ignore, what clients
have in common with them, and what "scan" would find, by handshakes with a
server of this machine's own OpenSSL or GnuTLS under exactly that policy. Needs
no host: the libraries of the machine that it runs on decide.
"""

from vdsm_tlsciphers import FINDINGS, FINE, UserError
from vdsm_tlsciphers.output import FORMAT_VERSION, clean, paint, print_json

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable

    from vdsm_tlsciphers import documents

EXAMPLES = """\
A value without a NAME is taken for that of tlsprofile, tlsprotocols,
tlsgroups, tlspriority, extra_cpu_flags (with the guard) or tlsciphers,
whichever it looks like; the first line says which.

Without a value and a VM it is the default of this host. Where no VM is given,
one with both consoles is assumed, on a host that encrypts them.

Where a VM is refused, it says how to start it: which property to change in the
engine, and which consoles have no policy then; what to fix on this host; or
that another host may take it. For a VM that does not run, --vm looks at the
ends of /var/log/vdsm/vdsm.log and /var/log/libvirt/qemu/NAME.log, as root: how
its last start here was refused, and whether it would be again.

Exit status: 0 such a VM starts, clients can connect, no console of it is
open, and all that they accept is in the baseline; 1 the VM does not start, or
its last start was refused and may be again, or there are findings; 2 it could
not be checked. With --running it is that of the worst VM.

Examples:
  vdsm-tlsciphers check tlsprofile=modern
  vdsm-tlsciphers check intermediate ECDHE+AESGCM:TLS_AES_256_GCM_SHA384
  vdsm-tlsciphers check --baseline modern tlsprofile=modern
  vdsm-tlsciphers check --vm web1
  vdsm-tlsciphers check extra_cpu_flags=+vdsm-tls tlsprofile=modern
  vdsm-tlsciphers check --running
  vdsm-tlsciphers check --xml web1.xml tlsprofile=intermediate
"""
# Who has refused a start.
BY = {'hook': 'by the hook', 'wrapper': 'by the wrapper',
      'libvirt': 'by libvirt, since nobody has taken the guard out',
      'QEMU': 'since there was no wrapper of this package'}


def add_arguments(parser: 'argparse.ArgumentParser') -> None:
    """Add what the command takes to its parser."""
    parser.add_argument(
        'values', nargs='*', metavar='[NAME=]VALUE',
        help='a custom property: tlsciphers, tlsprotocols, tlsgroups, '
        'tlspriority, tlsprofile, or extra_cpu_flags, which has the guard')
    vm = parser.add_mutually_exclusive_group()
    vm.add_argument(
        '--vm', metavar='NAME', help='for the displays of this VM; without a '
        'value, its own properties; of one that does not run, also why its '
        'last start on this host was refused')
    vm.add_argument(
        '--running', action='store_true', help='the same for each VM that '
        'runs on this host')
    vm.add_argument(
        '--xml', metavar='FILE', help='the same for a domain XML, such as '
        '"virsh -r dumpxml" prints')
    parser.add_argument(
        '--baseline', metavar='NAME', default='intermediate',
        help='what to assess against: intermediate (the default), modern, a '
        'profile of this host, or none')
    parser.add_argument(
        '--engine-ciphers', metavar='LIST', default='DEFAULT',
        help='what the engine hands to SPICE clients (engine-config -g '
        'CipherSuite); default: DEFAULT')
    parser.add_argument('--json', action='store_true',
                        help='print one JSON document instead of text')


def run(options: 'argparse.Namespace') -> int:
    """Do the command's work; return its exit status."""
    # What --help does not need.
    from vdsm_tlsciphers.audit import compliance, policy_check, property_guess
    from vdsm_tlsciphers.host import domains
    baseline = compliance.read_baseline(options.baseline)
    given = list(map(property_guess.parse_value, options.values))
    properties = dict(given)
    if len(properties) < len(options.values):
        for name, value in given:
            if not value:
                raise property_guess.no_value(name)
        raise UserError('a property is given twice; give each once')
    if options.vm is None:
        checked = [policy_check.check_here(
            policy_check.wanted(properties, vm), vm,
            options.engine_ciphers, baseline, options.baseline)
            for vm in policy_check.find_vms(options, bool(properties))]
    else:
        checked = [policy_check.check_vm(
            options.vm, properties, options.engine_ciphers, baseline,
            options.baseline)]
    guessed = tuple(name + ': ' for argument, (name, value)
                    in zip(options.values, given)
                    if value == argument and name != domains.FLAGS)
    for document in checked:
        if (document['refused'] or '').startswith(guessed):
            document['start'] = None  # For what may be another property.
        if document['refusal'] and document['refusal']['code'] == 'no-suite':
            document['notes'] += [
                property_guess.explain_guess(argument)
                for argument, (name, value) in zip(options.values, given)
                if name == property_guess.CIPHERS and value == argument]
    if options.json:
        print_json({'format': 'vdsm-tlsciphers check',
                    'version': FORMAT_VERSION, 'vms': checked}
                   if options.running else checked[0])
    else:
        show_all(checked, options.running)
    return FINDINGS if any(
        document['refused'] or document['findings']
        or policy_check.refused_before(document)
        for document in checked) else FINE


# For people


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
    from vdsm_tlsciphers.audit.policy_check import WRAPPER_SAYS
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
            clean(document['properties'].get('tlsprofile') or 'its own'),
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
