# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""
Checks values, or the properties of a VM, before they are used: the cipher
suites that remain for each version of TLS, words that the libraries ignore,
clients without a common cipher suite, and what "scan" would find, by
handshakes with a server of this machine's OpenSSL or GnuTLS under exactly that
policy. It needs no oVirt host: the libraries of this machine decide.
"""

from vdsm_tlsciphers import FINDINGS, FINE, UserError
from vdsm_tlsciphers.output import clean, head, paint, print_json

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable

    from vdsm_tlsciphers import documents

EXAMPLES = """\
A value without a NAME is taken for that of tlsprofile, tlsprotocols,
tlsgroups, tlspriority, extra_cpu_flags (with the guard) or tlsciphers,
whichever it looks like; the output names it.

Without a value and a VM, the default of this host is checked. Without a VM,
one with both consoles is assumed, on a host that encrypts them.

For a VM that does not start, the output says how to start it: which property
to change in the engine, and which consoles have no policy then; what to fix on
this host; or that another host may start it. For a VM that does not run, --vm
reads the ends of /var/log/vdsm/vdsm.log and /var/log/libvirt/qemu/NAME.log, as
root: why its last start on this host was refused, and whether the next would
be.

Exit status: 0 the VM starts, clients can connect, no console is open, and
nothing outside the baseline is accepted; 1 the VM does not start, or its last
start was refused and the next may be, or there are findings; 2 the command
failed. With --running it is that of the worst VM.

Examples:
  vdsm-tlsciphers check tlsprofile=modern
  vdsm-tlsciphers check intermediate ECDHE+AESGCM:TLS_AES_256_GCM_SHA384
  vdsm-tlsciphers check --baseline modern tlsprofile=modern
  vdsm-tlsciphers check --vm web1
  vdsm-tlsciphers check extra_cpu_flags=+vdsm-tls tlsprofile=modern
  vdsm-tlsciphers check --running
  vdsm-tlsciphers check --xml web1.xml tlsprofile=intermediate
"""
# How a start was refused.
BY = {'hook': 'by the hook', 'wrapper': 'by the wrapper',
      'libvirt': 'by libvirt: the hook did not remove the guard',
      'QEMU': 'by QEMU: it was started without the wrapper of this package'}


def add_arguments(parser: 'argparse.ArgumentParser') -> None:
    """Add what the command takes to its parser."""
    parser.add_argument(
        'values', nargs='*', metavar='[NAME=]VALUE',
        help='a custom property: tlsciphers, tlsprotocols, tlsgroups, '
        'tlspriority, tlsprofile, or extra_cpu_flags (with the guard)')
    vm = parser.add_mutually_exclusive_group()
    vm.add_argument(
        '--vm', metavar='NAME', help='check for the consoles of this VM; '
        'without a value, its own properties; if it does not run, also why '
        'its last start on this host was refused')
    vm.add_argument(
        '--running', action='store_true', help='the same for each VM that '
        'runs on this host')
    vm.add_argument(
        '--xml', metavar='FILE', help='the same for a domain XML, as "virsh '
        '-r dumpxml" prints it')
    parser.add_argument(
        '--baseline', metavar='NAME', default='intermediate',
        help='check against intermediate (default), modern, a profile of this '
        'host, or none')
    parser.add_argument(
        '--engine-ciphers', metavar='LIST', default='DEFAULT',
        help='the cipher list that the engine gives SPICE clients '
        '(engine-config -g CipherSuite; default: DEFAULT)')
    parser.add_argument('--json', action='store_true',
                        help='print one JSON document instead of text')


def run(options: 'argparse.Namespace') -> int:
    """Do the command's work; return its exit status."""
    # What --help does not need.
    from vdsm_tlsciphers.audit import compliance, policy_check, property_guess
    from vdsm_tlsciphers.host import domains, messages
    baseline = compliance.read_baseline(options.baseline)
    given = list(map(property_guess.parse_value, options.values))
    properties = dict(given)
    if len(properties) < len(options.values):
        for name, value in given:
            if not value:
                raise property_guess.no_value(name)
        raise UserError('a property is given twice', 'give each once',
                        'property-twice')
    if options.vm is None:
        checked = [policy_check.check_here(
            policy_check.wanted(properties, vm), vm,
            options.engine_ciphers, baseline, options.baseline)
            for vm in policy_check.find_vms(options, bool(properties))]
    else:
        checked = [policy_check.check_vm(
            options.vm, properties, options.engine_ciphers, baseline,
            options.baseline)]
    guessed = {name for argument, (name, value) in zip(options.values, given)
               if value == argument and name != domains.FLAGS}
    for document in checked:
        if document['refusal'] and guessed.intersection(
                messages.subjects(document['refusal']['text'])):
            document['start'] = None  # It may be another property's value.
        if document['refusal'] and document['refusal']['code'] == 'no-suite':
            for argument, (name, value) in zip(options.values, given):
                if name == property_guess.CIPHERS and value == argument:
                    policy_check.add_note(
                        document, *property_guess.explain_guess(argument),
                        'guessed-property')
    if options.json:
        print_json({**head('check'), 'vms': checked}
                   if options.running else checked[0])
    else:
        show_all(checked, options.running)
    return FINDINGS if any(
        document['refused'] or document['findings']
        or policy_check.refused_before(document)
        for document in checked) else FINE


# Text output


def show_all(checked: 'list[documents.Check]', with_summary: bool) -> None:
    """Print documents as text."""
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
    """Print a document as text."""
    if document['vm'] is not None:
        print('VM %s' % clean(document['vm']))
    for name, value in document['properties'].items():
        print('%s=%s' % (name, clean(value)))
    if not document['properties'] and not document['last_start']:
        print('No properties: only the default of this host applies')
    if document['guard'] is not None:
        print('Guard: ' + ('yes' if document['guard'] else 'no'))
    for display, described in document['displays'].items():
        print('\n' + paint(display.upper(), 'bold') + (
            ' (on a host that encrypts it: on others the VM does not start)'
            if display == 'vnc' and document['vm'] is None
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
        print('\n' + paint('Refused, the VM does not start: ', 'red')
              + clean(document['refusal']['finding']))
    if document['last_start']:
        show_last_start(document, document['last_start'])
    if document['start']:
        show_remedy(document, document['start'])


def show_last_start(document: 'documents.Check',
                    last: 'documents.LastStart') -> None:
    """Print the outcome of the last start of a VM on this host."""
    from vdsm_tlsciphers.audit import policy_check
    where = '%s, %s' % (clean(last['time']), last['log'])
    if last['by'] == 'other':
        print('\n' + paint(
            'The last start on this host failed in QEMU' if last['applied']
            else 'The last start on this host failed, but not because of this '
            'package', 'red') + ' (%s): %s' % (where, clean(last['line'])))
        if last['applied']:
            print('QEMU had the policy: no property of this package is the '
                  'cause, and removing one does not help')
        return
    print('\n' + paint('The last start on this host was refused '
                       + BY[last['by']], 'red') + ' (%s): %s' % (
        where, 'for the same reason'
        if policy_check.is_repeated(document, last) else clean(last['line'])))
    print('Now: ' + {
        True: 'it would be refused again',
        False: 'the cause is gone; start it',
        None: 'unknown: this command cannot check it'}[last['stands']])


def show_remedy(document: 'documents.Check',
                remedy: 'documents.Remedy') -> None:
    """Print how to start a VM: first the ways that leave no console open."""
    name = clean(document['vm'] or 'NAME')
    run_once = '%s > Run > Run Once > ' % name
    safe = [way for way in remedy['ways'] if not way['open']
            and (way['guard'] or not document['guard'])]
    ways: list[str] = []
    if remedy['other_host']:
        ways.append('on another host (%sHost > Specific Host(s)) on which '
                    '"vdsm-tlsciphers doctor" reports no problem' % run_once)
    if remedy['host']:
        ways.append('on this host: ' + clean(remedy['host']))
    ways += [describe_way(document, run_once, way) for way in safe]
    stays = 'policy and guard stay' if document['guard'] else 'policy stays'
    ways += ['%sConsole > %s; %s' % (run_once, display.upper(), stays)
             for display in remedy['consoles']]
    if remedy['headless']:
        ways.append('%sConsole > Headless Mode, without a console; %s' % (
            run_once, stays))
    ways += [describe_way(document, run_once, way) for way in remedy['ways']
             if way not in safe]
    beginning = 'To start %s now' % ('it' if document['vm'] else 'such a VM')
    for way in ways:
        print('\n%s: %s' % (beginning, way))
        beginning = 'Or'
    print('\nPermanent fix: ' + clean(remedy['tomorrow']))


def describe_way(document: 'documents.Check', run_once: str,
                 way: 'documents.Way') -> str:
    """Return a change of properties and the consoles that it leaves open."""
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
    lines.append('consoles without a policy of the VM meanwhile: %s%s%s' % (
        ' and '.join(display.upper() for display in way['open'])
        or 'none', ''.join(
            '; %s is then not encrypted' % display.upper()
            for display in way['unencrypted']), '' if way['guard'] else
        '; on a host without this package: all'))
    return '\n  '.join(lines)


def show_row(title: str, lines: 'Iterable[str]') -> None:
    for line in lines:
        print('  %-9s %s' % (title, clean(line)))
        title = ''


def describe_client(client: 'documents.Client') -> str:
    if not client['protocols']:
        return client['client'] + ': no common cipher suite'
    return '%s: common cipher suites: %s' % (client['client'], ', '.join(
        '%d of %s' % (len(suites), version)
        for version, suites in client['protocols'].items()))
