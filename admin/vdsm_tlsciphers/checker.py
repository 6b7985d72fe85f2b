# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""What properties do to the consoles of a VM, for people and for JSON."""

import tlsciphers
from vdsm_tlsciphers import FINDINGS, FINE, Problem, domains, libraries
from vdsm_tlsciphers.terminal import (
    FORMAT_VERSION,
    clean,
    paint,
    print_json,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    from collections.abc import Collection, Iterable

    from vdsm_tlsciphers import documents

PROFILE, PRIORITY = 'tlsprofile', 'tlspriority'
# What a GnuTLS priority string begins with (see "Priority strings" in its
# manual); a cipher list never does.
PRIORITY_WORDS = ('NORMAL', 'PERFORMANCE', 'SECURE128', 'SECURE192',
                  'SECURE256', 'SUITEB128', 'SUITEB192', 'PFS', 'LEGACY',
                  'NONE', 'SYSTEM')
# What resolve() says of a policy that is as it should be.
DESCRIPTION = 'tlsciphers: the '
# ... and of what follows from properties that are as they should be.
NOTES = ('does not apply to this VM', 'have no effect')
# What it says where a program is missing.
CANNOT_TELL = 'tlsciphers: cannot check the values'


def run(options: 'argparse.Namespace') -> int:
    """Do the command's work; return its exit status."""
    machine = find_machine(options)
    properties = dict(map(parse_value, options.values))
    if len(properties) < len(options.values):
        raise Problem('a property is given twice; give each once')
    if not properties and machine:
        properties = machine.properties or properties_of(machine.policy)
    if not properties and not machine:
        raise Problem('there is nothing to check; give [NAME=]VALUE, --vm or '
                      '--xml')
    document = examine(properties, machine, options.engine_ciphers)
    if options.json:
        print_json(document)
    else:
        show(document)
    return FINDINGS if document['refused'] or document['findings'] else FINE


def find_machine(options: 'argparse.Namespace') -> 'domains.Machine | None':
    """Return the Machine that the options name, or None."""
    if options.vm is not None:
        return domains.find(domains.connect(), options.vm)
    if options.xml is None:
        return None
    try:
        with open(options.xml, 'rb') as xml:
            return domains.Machine(xml.read())
    except OSError as error:
        raise Problem('%s: cannot be read: %s' % (options.xml,
                                                  error.strerror))


def parse_value(argument: str) -> 'tuple[str, str]':
    """Return the (name, value) of a property that an argument stands for."""
    name, equals, value = argument.partition('=')
    if equals and name in tlsciphers.PROPERTIES:
        return name, value
    if equals and name.startswith('tls') and name.isalpha():
        raise Problem('%s: no such property; there are %s' % (
            name, ', '.join(tlsciphers.PROPERTIES)))
    if argument in tlsciphers.PROTOCOLS:
        return 'tlsprotocols', argument
    first = argument.lstrip('@').split(':')[0].split(',')[0]
    if first in PRIORITY_WORDS:
        return PRIORITY, argument
    profiles = [*tlsciphers.PROFILES, tlsciphers.NO_PROFILE]
    try:
        profiles = tlsciphers.profile_names(tlsciphers.read_host_default())
    except tlsciphers.Refused:
        pass  # Where it counts, resolve() says what is wrong with it.
    return (PROFILE if argument in profiles else 'tlsciphers'), argument


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
            engine_ciphers: str) -> 'documents.Check':
    """
    Return what properties (dict) do as a document (dict) for JSON: for a
    Machine, or where it is None for a VM with both displays.
    """
    document: documents.Check = {
        'format': 'vdsm-tlsciphers check', 'version': FORMAT_VERSION,
        'vm': machine.name if machine else None,
        'properties': properties, 'refused': None, 'findings': [],
        'notes': [], 'displays': {}}
    displays: Collection[str] = (
        machine.displays if machine else ('spice', 'vnc'))
    try:
        settings, lines = tlsciphers.resolve(
            properties, displays,
            machine is not None
            and tlsciphers.is_hosted_engine(machine.document))
    except tlsciphers.Refused as refusal:
        if str(refusal).startswith(CANNOT_TELL):
            raise Problem(str(refusal)[len('tlsciphers: '):])
        document['refused'] = str(refusal)
        return document
    policy: documents.Policy = {}
    for option, setting in settings:
        key, _, value = setting.partition('=')
        policy[key] = {'value': value,
                       'required': option == tlsciphers.REQUIREMENT}
    for line in lines:
        if any(words in line for words in NOTES):
            document['notes'].append(line)
        elif not line.startswith(DESCRIPTION):
            document['findings'].append(line)
        elif machine and 'is not covered' in line:
            document['findings'].append(line[len('tlsciphers: '):])
    for display in ('spice', 'vnc'):
        if display in displays:
            described = describe(display, policy, engine_ciphers)
            document['displays'][display] = described
            document['findings'].extend(
                '%s: %s has nothing in common with this policy; it cannot '
                'connect' % (display.upper(), client['client'])
                for client in described['clients']
                if not client['protocols'])
    return document


def describe(display: 'documents.Display', policy: 'documents.Policy',
             engine_ciphers: str) -> 'documents.CheckedDisplay':
    """Return what a display accepts with a policy, as a dict for JSON."""
    keys = [key for key in tlsciphers.KEYS if key in policy
            and (key == 'priority') == (display == 'vnc')]
    described: documents.CheckedDisplay = {
        'policy': {key: policy[key] for key in keys},
        'protocols': {}, 'groups': [], 'clients': []}
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


def show(document: 'documents.Check') -> None:
    """Print such a document for people."""
    if document['vm'] is not None:
        print('VM %s' % clean(document['vm']))
    for name, value in document['properties'].items():
        print('%s=%s' % (name, clean(value)))
    if not document['properties']:
        print('no property; only the default of this host counts')
    for display, described in document['displays'].items():
        print('\n' + paint(display.upper(), 'bold'))
        if not described['policy']:
            print('  not covered by these properties: set %s or tlsprofile'
                  % ('tlspriority' if display == 'vnc' else 'tlsciphers'))
            continue
        show_row('enforced', [
            '%s=%s%s' % (key, setting['value'], '' if setting['required']
                         else ' (default of the host, best effort)')
            for key, setting in described['policy'].items()])
        for version, suites in described['protocols'].items():
            show_row(version, suites)
        show_row('groups', [' '.join(described['groups'])
                            or 'the default of OpenSSL'])
        show_row('clients', [describe_client(client)
                             for client in described['clients']])
    for line in document['notes']:
        print('\nNote: ' + clean(line))
    for line in document['findings']:
        print('\n' + paint('To correct: ', 'yellow') + clean(line))
    if document['refused']:
        print('\n' + paint('Refused; the VM does not start: ', 'red')
              + clean(document['refused']))


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
