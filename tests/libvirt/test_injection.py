# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""
Hostile values, command lines and domain XML: what a user of the engine, a
compromised source of a migration or a restored image could send, against the
installed package, libvirt and QEMU.

Each case ends in one of two ways. The VM does not start, and says why; or it
runs, whatever it listens at accepts the policy and nothing else, and QEMU has
got the command line and the environment that libvirt wrote to the VM's log,
but for the policy's own places.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import json
import os
import pathlib
import random
import re
import shlex
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Optional, TypedDict
from xml.etree import ElementTree
from xml.sax import saxutils

import libvirt
import pytest
import qmp

import servers
import support
import vencrypt
from support import EMULATOR, HOOK, object_members

if TYPE_CHECKING:
    from types import EllipsisType

    from conftest import Create, Host
    from typing_extensions import Unpack

    # ... stands for the policy's own.
    Word = str | EllipsisType
    # (who refuses, or "runs"; arguments; what else there is)
    CommandLine = tuple[str, list[Word], 'Extra']

Pair = tuple[str, str]
# {port: whether TLS begins at once there, None for SPICE without TLS}
Ports = dict[int, Optional[bool]]
Attempt = Callable[[str, list[Pair], dict[str, str], Ports], str]
RunOnBytes = Callable[[bytes, dict[str, bytes]], Optional[bytes]]
Case = Callable[..., contextlib.AbstractContextManager[None]]
Cases = Callable[[str], contextlib.AbstractContextManager[Case]]

QEMU = 'http://libvirt.org/schemas/domain/qemu/1.0'
UUID = '3e8a4f0b-52a1-4d7c-9a0e-0123456789ab'
LOG = pathlib.Path('/var/log/libvirt/qemu/lab.log')
HOST_DEFAULT = pathlib.Path('/etc/vdsm/tlsciphers.conf')
# Beside those of libvirt.
DISPLAY, PORT, OTHER_PORT = '127.0.0.1:77', 5977, 5988

SUITE = 'ECDHE-RSA-AES256-GCM-SHA384'
PRIORITY = 'NORMAL:-VERS-ALL:+VERS-TLS1.2:-CIPHER-ALL:+AES-256-GCM'
POLICY = {'ciphers': SUITE, 'ciphersuites': 'TLS_AES_256_GCM_SHA384',
          'protocols': 'TLSv1.2:TLSv1.3', 'groups': 'P-384',
          'priority': PRIORITY}
CIPHERS = {'ciphers': 'HIGH'}


def domain_xml(arguments: Iterable[str] = (),
               environment: Iterable[Pair] = ()) -> str:
    """Return a domain XML (str) with that much on QEMU's command line."""
    def elements(name: str, attributes: Iterable[dict[str, str]]) -> str:
        return ''.join('<q:%s %s/>' % (name, ' '.join(
            '%s=%s' % (key, saxutils.quoteattr(
                value, {'\n': '&#10;', '\t': '&#9;', '\r': '&#13;'}))
            for key, value in one.items())) for one in attributes)

    xml = support.lab_domain('spice', 'vnc').replace(
        '</name>', '</name><uuid>%s</uuid>' % UUID)
    if not arguments:
        return xml
    return xml.replace('<devices>', '<devices><emulator>%s</emulator>'
                       % EMULATOR).replace(
        '</domain>', '<q:commandline xmlns:q="%s">%s%s</q:commandline>'
        '</domain>' % (QEMU, elements('arg', [
            {'value': value} for value in arguments]), elements('env', [
                {'name': name, 'value': value}
                for name, value in environment])))


# What a policy means, as OpenSSL and GnuTLS have it


@functools.cache
def permits_tls11(ciphers: str, conf: str) -> bool:
    """
    Tell whether OpenSSL does with a list and a configuration ('' for that of
    the host): by the level of security, and MinProtocol.
    """
    with tempfile.TemporaryDirectory() as folder:
        certificate = servers.make_certificate(pathlib.Path(folder), 'server')
        with servers.openssl(certificate, '-cipher', ciphers,
                             conf=conf) as port:
            return support.handshake(port, 'TLSv1.1', '-cipher',
                                     'ALL:@SECLEVEL=0')


def spice_policy(settings: dict[str, str], conf: str) -> set[Pair]:
    """
    Return the set of (version, suite) that settings ({key: value}) mean, with
    a configuration of OpenSSL that is not the host's.
    """
    ciphers = settings.get('ciphers', 'DEFAULT')
    versions = settings.get('protocols', 'TLSv1.2:TLSv1.3').split(':')
    if 'protocols' not in settings and permits_tls11(ciphers, conf):
        versions.append('TLSv1.1')
    return {(version, suite) for version in set(versions) - {'TLSv1.3'}
            for suite in support.suites(
                ciphers, '-s', support.TLS_VERSIONS[version])
            if not re.search('^(DHE|ADH|AECDH)-|ECDSA|DSS', suite)} | {
        ('TLSv1.3', suite) for suite in settings.get(
            'ciphersuites', ':'.join(support.TLS13_SUITES[:3])).split(':')
        if 'TLSv1.3' in versions}


def vnc_policy(settings: dict[str, str]) -> set[Pair]:
    return support.gnutls_suites(settings.get('priority', 'NORMAL'))


def check_port(port: int, policy: set[Pair], groups: str = '') -> None:
    """Check that a port where TLS begins accepts a policy and no more."""
    for version in support.TLS_VERSIONS:
        # All at once: the server would take any one of them.
        outside = [suite for suite in support.every_suite(version)
                   if (version, suite) not in policy]
        assert not outside or not support.accepts(
            port, ':'.join(outside), version), version
    assert not policy or any(
        support.accepts(port, suite, version) for version, suite in policy)
    if groups:
        names = {'secp384r1': 'P-384'}
        others = set(support.known_groups()) - {
            names.get(group, group) for group in groups.split(':')}
        assert not support.accepts_group(port, ':'.join(sorted(others)))


def check_consoles(domain: libvirt.virDomain, pid: int,
                   settings: dict[str, str], others: Ports) -> None:
    """Check all ports of a VM: libvirt's, and others."""
    spice = support.spice_tls_port(domain)
    vnc = {support.console_port(domain, 'vnc', 'port'): False,
           support.console_port(domain, 'vnc', 'websocket'): True}
    vnc.update((port, begins) for port, begins in others.items()
               if begins is not None)
    assert support.listening_ports(pid) == {spice} | set(vnc) | set(others)
    # Another than the wrapper's, which begins with the host's.
    conf = re.search(rb'\0OPENSSL_CONF=(?!/proc/self/fd/)([^\0]*)', b'\0' + (
        pathlib.Path('/proc/%d/environ' % pid).read_bytes()))
    check_port(spice, spice_policy(
        settings, os.fsdecode(conf.group(1)) if conf else ''),
        settings.get('groups', ''))
    for port, begins in vnc.items():
        subtype = vencrypt.X509_NONE if port in others else vencrypt.X509_VNC
        with (contextlib.nullcontext(port) if begins
              else vencrypt.relay(port, subtype)) as tls_port:
            check_port(tls_port, vnc_policy(settings))


# What QEMU got


def read_log() -> tuple[list[str], list[str]]:
    """
    Return what libvirt started, as its log of the VM has it: (environment,
    arguments).
    """
    lines = LOG.read_bytes().decode().split('\n')[1:]
    for end in range(1, len(lines) + 1):
        with contextlib.suppress(ValueError):  # an open quotation mark
            if not lines[end - 1].endswith(' \\'):
                words = shlex.split('\n'.join(lines[:end]).replace(
                    ' \\\n', ' '))
                break
    start = words.index(EMULATOR)
    return words[:start], words[start + 1:]


def without_spice(arguments: list[str]) -> tuple[list[str], list[str]]:
    """Return (arguments without -spice, values of -spice)."""
    rest, values = [], []
    unread = iter(arguments)
    for argument in unread:
        if argument in ('-spice', '--spice'):
            values.append(next(unread))
        else:
            rest.append(argument)
            if argument in ('-append', '-name'):
                rest.append(next(unread))
    return rest, values


def check_process(pid: int, pairs: list[Pair],
                  settings: dict[str, str]) -> None:
    proc = pathlib.Path('/proc/%d' % pid)
    environment, given = read_log()
    for pair in pairs:
        position = next(position for position in range(len(given))
                        if given[position:position + 2] == list(pair))
        del given[position:position + 2]
    final = os.fsdecode((proc / 'cmdline').read_bytes()).split('\0')[1:-1]
    others, values = without_spice(given)
    if 'ciphers' in settings:
        parameters = [parameter for parameter in ','.join(values).split(',')
                      if parameter.partition('=')[0] not in (
                          'tls-ciphers', 'notls-ciphers')]
        assert final[-2] == '-spice'
        # A comma in the list would make more than one parameter of it.
        assert final[-1].split(',') == [
            'tls-ciphers=' + settings['ciphers'], *parameters]
        final = final[:-2]
    else:
        assert without_spice(final)[1] == values
        final = without_spice(final)[0]
    assert len(final) == len(others)
    for old, new in zip(others, final):
        if old != new:
            assert object_members(new) == {
                **object_members(old), 'priority': settings['priority']}
    final = os.fsdecode((proc / 'environ').read_bytes()).split('\0')[:-1]
    if {'ciphersuites', 'protocols', 'groups'} & set(settings):
        path, = [entry for entry in final
                 if entry.startswith('OPENSSL_CONF=')]
        assert re.fullmatch(r'OPENSSL_CONF=/proc/self/fd/\d+', path)
        final.remove(path)
    if set(settings) - {'priority'}:
        environment = [entry for entry in environment
                       if not entry.startswith('OPENSSL_CONF=')]
    assert sorted(final) == sorted(environment)


@pytest.fixture
def attempt(lab: Host, create: Create) -> Iterator[Attempt]:
    """
    A function that starts a VM, checks that its policy (settings, and the
    pairs of arguments that ask for it) is in force and all that has changed,
    and ends it. Returns who refused, or "runs".
    """
    def attempt(xml: str, pairs: list[Pair], settings: dict[str, str],
                ports: Ports) -> str:
        LOG.unlink(missing_ok=True)
        try:
            domain = create(lab, xml)
        except libvirt.libvirtError as error:
            return who_refused(str(error))
        try:
            pid = int(pathlib.Path('/run/libvirt/qemu/lab.pid').read_text())
            check_process(pid, pairs, settings)
            check_consoles(domain, pid, settings, ports)
        finally:
            domain.destroy()
        return 'runs'

    yield attempt
    LOG.unlink(missing_ok=True)


def who_refused(error: str) -> str:
    """Return "libvirt", "wrapper" or "qemu", which must have said why."""
    if not LOG.exists():
        return 'libvirt'
    lines = LOG.read_text().split('\n')
    ours = [line for line in lines if 'qemu-kvm-modified: ' in line
            and ': info : ' not in line]
    if ours:
        assert re.fullmatch('qemu-kvm-modified: [ -~]*; [ -~]+',
                            ours[0])
        assert error.startswith(support.TOO_LATE) or (
            error.endswith((ours[0] + '\n', ours[0])))
        return 'wrapper'
    # QEMU before 6.0 says of -D only what it is about.
    assert [line for line in lines if re.search(
        r'qemu-kvm: |/proc/self/fd/\d+: ', line)]
    return 'qemu'


class Tally:
    """Counts cases and keeps those that break the promise."""

    def __init__(self) -> None:
        self.number = 0
        self.violations: list[tuple[object, str]] = []

    @contextlib.contextmanager
    def case(self, *name: object) -> Iterator[None]:
        self.number += 1
        try:
            yield
        except Exception as error:  # noqa: BLE001 (all are reported)
            self.violations.append((name, repr(error)))


@pytest.fixture
def cases(figure: support.Figure) -> Cases:
    """
    A context manager for many cases of a kind (str): it gives another one,
    for each of them, and fails at the end if any has.
    """
    @contextlib.contextmanager
    def cases(kind: str) -> Iterator[Case]:
        tally = Tally()
        yield tally.case
        figure('%s: violations, %d cases' % (kind, tally.number),
               len(tally.violations), 0)
        assert not tally.violations, '\n'.join(
            '%s: %s' % violation for violation in tally.violations)

    return cases


# Values

HOSTILE = [
    '', ' ', '\t', '\n', '\r\n', '\x01', '\x7f', '\x85', '\u2028', '\ufeff',
    ',', ',,', ',disable-ticketing=on', 'AES256-SHA,disable-ticketing=on',
    'AES256-SHA,,disable-ticketing=on', 'AES256-SHA\uff0cdisable-ticketing=on',
    'AES256-SHA\u200b', '=', '=on', 'ciphers=AES256-SHA',
    'disable-ticketing=on',
    'ID=vnc-tls-creds0', '"', "'", '","qom-type":"secret', 'NORMAL"}', '\\',
    'NORMAL\\u0022', 'NORMAL","dir":"/tmp', '<!--', ']]>', '&quot;', '&#44;',
    '&e;', '"/><q:arg value="-S', '$(id)', '`id`', '${IFS}', '$HOME',
    '${ENV::HOME}', '$ENV::HOME', '%s%n', '%00', '%2C', '{0}', '\u0410ES256',
    '\xe9', '\U0001f512', 'AES256-SHA AES128-SHA', 'AES256-SHA;AES128-SHA',
    '-', '--', '-V', '-spice', '--help', '-vdsm-tls', '-readconfig', '@file',
    '.include /etc/hostname', '.include=/etc/hostname', '.pragma x:y', '[a]',
    '[system_default]', 'TLSv1.3\nMinProtocol = TLSv1',
    'P-384\nCiphersuites = TLS_AES_128_GCM_SHA256', 'P-384\\\n', '# x',
    'TLSv1.3\n[openssl_init]\nssl_conf = none', '../x', '/etc/hostname', '..',
    '@', '@SYSTEM', '@SYSTEM,NORMAL', '@SECLEVEL', '@SECLEVEL=9', '@STRENGTH',
    'PROFILE=SYSTEM', 'profile=DEFAULT', 'ALL:@SECLEVEL=0', 'eNULL', 'aNULL',
    'COMPLEMENTOFALL', 'DEFAULT:eNULL', 'AES256-SHA:AECDH-AES256-SHA',
    'AES256-SHA:@SECLEVEL=0:aNULL', 'NULL', 'NONE', 'none:', '%COMPAT',
    'NORMAL:%NOSUCH', 'NORMAL:+ANON-ECDH', 'NORMAL:+NULL', 'NORMAL:-GROUP-ALL',
    'NORMAL:-VERS-ALL', 'NORMAL:-VERS-ALL:+VERS-SSL3.0', 'NORMAL:-SIGN-ALL',
    'NORMAL:+CTYPE-NONE', 'NORMAL:-KX-ALL:+PSK', 'normal:', ':', '::::', '!',
    '!ALL', '-ALL', '+', '*', '?', '|', '#', ';', '(', '~', '^',
    'AES256-SHA:' * 24, 'X' * 256, 'NORMAL:' + 'X' * 5000, 'Z' * 100000,
    'TLSv1', 'TLSv1.1', 'SSLv3', 'TLSv1.1:TLSv1.3', 'TLSv1.3:TLSv1.2',
    'TLSv1.2:', 'tlsv1.3', 'TLSv1.2:TLSv1.2', 'ALL:-TLSv1.3', 'X25519:X25519',
    'x25519:nosuch', 'P-384:NOSUCH', 'P-384:?NOSUCH', '*P-384', 'ffdhe1024',
    'TLS_NOSUCH', 'TLS_AES_256_GCM_SHA384:TLS_NOSUCH',
    '!TLS_AES_256_GCM_SHA384',
    'AES256-SHA:!TLS_AES_128_GCM_SHA256', 'tls_aes_256_gcm_sha384',
    'TLS_AES_256_GCM_SHA384;', 'DEFAULT=', '__class__', 'id', 'true', '0']
# Odd, but policies.
STRANGE = {
    'ciphers': ['DEFAULT', 'HIGH:!kRSA', '-ALL:AES256-SHA',
                'NOSUCH:AES256-SHA', 'AES256-SHA:@SECLEVEL=0', 'AES128-SHA:::',
                '+AES:AES256-SHA', 'AES256-SHA'.ljust(255, ':')],
    'ciphersuites': ['TLS_AES_128_CCM_SHA256'],
    'protocols': ['TLSv1.2', 'TLSv1.3'],
    'groups': ['secp384r1', 'X448'],
    'priority': ['NORMAL:%COMPAT', 'SECURE256', 'PFS:%SERVER_PRECEDENCE',
                 'NORMAL:-VERS-ALL:+VERS-TLS1.3', 'NORMAL:+VERS-SSL3.0']}
KEYS = tuple(STRANGE)


def hostile_values(keys: Iterable[str], soak: bool) -> Iterator[Pair]:
    """
    Yield (key, value): the values that could leave their place with each key,
    and so all others in the long form; else some with one key in turn.
    """
    turn = itertools.cycle(keys)
    others = itertools.cycle([True, False, False])
    for value in HOSTILE:
        if soak or set(',\n"') & set(value):
            for key in keys:
                yield key, value
        elif next(others):
            yield next(turn), value


def test_hostile_value_in_the_xml_is_a_policy_or_no_vm(
        attempt: Attempt, cases: Cases, soak: bool) -> None:
    strange = [(key, value) for key in KEYS for value in STRANGE[key]]
    with cases('hostile values in the XML') as case:
        for key, value in strange + list(hostile_values(KEYS, soak)):
            with case(key, value):
                pair = ('-vdsm-tls', '%s=%s' % (key, value))
                outcome = attempt(domain_xml(pair), [pair], {key: value}, {})
                if (key, value) in strange:
                    assert outcome == 'runs'
                elif re.search('[\x01-\x08]', value):
                    assert outcome == 'libvirt'
                else:
                    # Some are words of OpenSSL and GnuTLS, as SSLv3 is.
                    assert outcome in ('wrapper', 'runs')


# Command lines

class Extra(TypedDict, total=False):
    """What else there is to a command line; settings instead of POLICY."""

    settings: dict[str, str]
    environment: list[Pair]
    ports: Ports


CREDENTIALS = ('tls-creds-x509,id=%s,endpoint=server,verify-peer=no,'
               'dir=/etc/pki/vdsm/libvirt-vnc')
HOSTILE_FILE = pathlib.Path('/var/tmp/hostile')
# A configuration of OpenSSL that needs no file: QEMU's own command line or
# environment is one, where the lines before it can be read as well.
WEAK = ('\nx = y\nopenssl_conf = a\n[a]\nssl_conf = b\n[b]\n'
        'system_default = c\n[c]\nCipherString = DEFAULT@SECLEVEL=0\n'
        'MinProtocol = TLSv1\n')
WEAK_QEMU = '[vnc "x"]\n  vnc = "%s"\n' % DISPLAY


def ask(settings: dict[str, str], option: str = '-vdsm-tls') -> list[Pair]:
    """Return the pairs of arguments that ask for settings."""
    return [(option, '%s=%s' % pair) for pair in settings.items()]


def variables(**names: str) -> Extra:
    return {'environment': list(names.items())}


def lines_with(expected: str, lines: Iterable[list[Word]],
               extra: Extra | None = None) -> list[CommandLine]:
    """Return COMMAND_LINES that end in the same way."""
    return [(expected, arguments, extra or {}) for arguments in lines]


COMMAND_LINES: list[CommandLine] = [
    ('runs', [], {}),
    ('runs', [], {'settings': CIPHERS}),
    ('runs', ['-global', 'VGA.vgamem_mb=8', ..., '-msg', 'timestamp=on'], {}),
    # What could be taken for ours, and is not.
    ('qemu', [..., '-vdsm-tls=ciphers=ALL'], {}),
    ('wrapper', ['-vdsm-tls=ciphers=ALL', ...], {}),
    ('qemu', ['---vdsm-tls', 'ciphers=ALL'], {}),
    ('qemu', ['-VDSM-TLS', 'ciphers=ALL'], {}),
    ('qemu', ['-vdsm-tls ', 'ciphers=ALL'], {}),
    ('qemu', ['-vdsm-tls\n', 'ciphers=ALL'], {}),
    ('qemu', ['-vdsm\u2010tls', 'ciphers=ALL'], {}),
    ('wrapper', ['--', ...], {}),
    ('wrapper', ['-', ...], {}),
    ('runs', ['-name', '-vdsm-tls', ...], {}),
    ('runs', ['-name', '--vdsm-tls-default', ..., '-name', '-vdsm-tls'], {}),
    ('qemu', ['-append', '-vdsm-tls', ...], {}),
    ('qemu', ['-append', ...], {}),
    ('qemu', ['-name', ...], {}),
    ('wrapper', ['-device', ...], {}),
    ('qemu', [..., '-m'], {}),
    ('wrapper', ['-no-such-option', ...], {}),
    # What is ours, and is wrong.
    *lines_with('wrapper', ([..., *extra] for extra in (
        ['-vdsm-tls'], ['-vdsm-tls', ''], ['-vdsm-tls', 'ciphers'],
        ['-vdsm-tls', 'ciphers='], ['-vdsm-tls', '=AES256-SHA'],
        ['-vdsm-tls', ' ciphers=AES256-SHA'], ['-vdsm-tls', 'Ciphers=ALL'],
        ['-vdsm-tls', 'ciphers =AES256-SHA'], ['-vdsm-tls', 'new=x'],
        ['-vdsm-tls', 'ciphers=ALL'], ['--vdsm-tls', 'ciphers=ALL'],
        ['-vdsm-tls-default', 'ciphers=ALL'],
        ['--vdsm-tls-default', 'priority=NORMAL'],
        ['-vdsm-tls', '-vdsm-tls'], ['-vdsm-tls', '-vdsm-tls-default']))),
    # Options of QEMU's own for the same consoles.
    ('runs', ['-spice', 'tls-ciphers=ALL', ..., '-spice', 'tls-ciphers=LOW'],
     {}),
    ('runs', [..., '--spice', 'notls-ciphers,agent-mouse=off'], {}),
    ('runs', ['-spice', 'tls-ciphers=ALL', ...], {'settings': {
        'protocols': 'TLSv1.3'}}),
    ('runs', [..., '-spice', 'port=%d' % OTHER_PORT],
     {'ports': {OTHER_PORT: None}}),
    # It does not listen then.
    ('qemu', ['-spice', 'tls-port=0', ...], {}),
    ('wrapper', ['-spice', 'tls-port=0x0', ...], {}),
    ('wrapper', ['-spice', ',tls-ciphers=ALL', ...], {}),
    ('qemu', ['-spice', 'notls-port', ...], {'settings': {
        'priority': PRIORITY}}),
    ('wrapper', ['-vnc', DISPLAY, ...], {}),
    ('wrapper', ['-display', 'vnc=' + DISPLAY, ...], {}),
    ('wrapper', ['-vnc', DISPLAY + ',websocket=%d' % OTHER_PORT, ...], {}),
    ('wrapper', ['-vnc', 'unix:/var/tmp/vnc', ...], {}),
    ('qemu', ['-vnc', 'none,vnc=' + DISPLAY, ...], {}),
    ('runs', ['-vnc', 'none', ...], {}),
    ('runs', ['-vnc', DISPLAY + ',websocket=%d,tls-creds=vnc-tls-creds0'
              % OTHER_PORT, ...], {'ports': {PORT: False, OTHER_PORT: True}}),
    ('runs', ['-object', CREDENTIALS % 'other' + ',priority=NORMAL', '-vnc',
              DISPLAY + ',tls-creds=no,tls-creds=other', ...],
     {'ports': {PORT: False}}),
    # QEMU before 6.0 knows no JSON there.
    ('runs' if qmp.takes_json() else 'qemu', ['-object', json.dumps({
        **object_members(CREDENTIALS % 'other'), 'priority': 'NORMAL',
        'verify-peer': False}),
              '-display', 'vnc=%s,tls-creds=other' % DISPLAY, ...],
     {'ports': {PORT: False}}),
    *lines_with('wrapper', (
        ['-object', credentials, '-vnc', DISPLAY + end, ...]
        for credentials, end in (
            (CREDENTIALS % 'off', ',tls-creds=vnc-tls-creds0,notls-creds'),
            (CREDENTIALS % 'on', ',tls-creds'),
            (CREDENTIALS % 'on', ',tls-creds=vnc-tls-creds0,tls-creds'),
            ('tls-creds-anon,endpoint=server,id=a', ',tls-creds=a'),
            ('{\'qom-type\':\'tls-creds-x509\',\'id\':\'a\'}',
             ',tls-creds=a'),
            ('{"qom-type":"tls-creds-x509","id":"\\u0061"}',
             ',tls-creds=a')))),
    ('qemu', ['-object', CREDENTIALS % 'vnc-tls-creds0', ...], {}),
    ('runs', ['-object', CREDENTIALS % 'unused' + ',priority=NORMAL', ...],
     {}),
    ('runs', ['-global', 'tls-creds-x509.priority=NORMAL', ...], {}),
    # What changes them behind our back.
    *lines_with('wrapper', (
        [*before, *option, *after]
        for before, after in (([...], []), ([], [...]))
        for option in (
            ['-readconfig', str(HOSTILE_FILE)], ['--readconfig', '/dev/null'],
            ['-object', CREDENTIALS % 'other', '-set',
             'vnc.default.tls-creds=other'],
            ['-set', 'vnc.default.vnc=' + DISPLAY],
            ['-set', 'spice.x.tls-ciphers=ALL'],
            ['-set', 'object.vnc-tls-creds0.priority=NORMAL']))),
    ('wrapper', [..., '-readconfig', str(HOSTILE_FILE)],
     {'settings': CIPHERS}),
    *lines_with('wrapper', (
        ['-add-fd', 'fd=%s,set=9' % number, ...]
        for number in ('3', '4', '03', '0x3')),
        {'settings': {'protocols': 'TLSv1.3'}}),
    *lines_with('qemu', (
        [..., option, '/proc/self/fd/%d' % number]
        for option in ('-D', '-pidfile') for number in (3, 4)),
        {'settings': {'protocols': 'TLSv1.3'}}),
    # It can be shown as it is, and as what it is not.
    ('runs', ['-fw_cfg', 'name=opt/x,string=x' + WEAK, ...],
     {'settings': CIPHERS, **variables(OPENSSL_CONF='/proc/self/cmdline')}),
    ('runs', [], {'settings': CIPHERS, **variables(
        OPENSSL_CONF='/proc/self/environ', A=WEAK)}),
    ('runs', [], variables(OPENSSL_CONF='/proc/self/environ', A=WEAK)),
    ('runs', [], variables(OPENSSL_CONF='/nonexistent')),
    ('runs', [], {'settings': {'priority': PRIORITY}, **variables(
        OPENSSL_CONF='/dev/null', OPENSSL_MODULES='/nonexistent')}),
    ('wrapper', [], {'settings': {'priority': '@SYSTEM'}, **variables(
        GNUTLS_SYSTEM_PRIORITY_FILE=str(HOSTILE_FILE))}),
    ('runs', [], {'settings': CIPHERS, **variables(
        GNUTLS_SYSTEM_PRIORITY_FILE='/dev/null')}),
    *[('wrapper', [], variables(**{name: '/dev/null'})) for name in (
        'GNUTLS_SYSTEM_PRIORITY_FILE', 'GNUTLS_FORCE_FIPS_MODE',
        'GNUTLS_SYSTEM_PRIORITY_FAIL_ON_INVALID', 'GNUTLS_DEBUG_LEVEL',
        'GNUTLS_NO_EXPLICIT_INIT', 'OPENSSL_MODULES', 'OPENSSL_ENGINES',
        'OPENSSL_CONF_INCLUDE', 'OPENSSL_SYSTEM_CIPHERS_OVERRIDE',
        'OPENSSL_ia32cap')],
    # None of these is read by the wrapper's interpreter.
    ('runs', [], variables(**dict.fromkeys((
        'PYTHONPATH', 'PYTHONHOME', 'PYTHONSTARTUP', 'PYTHONINSPECT',
        'PYTHONWARNINGS', 'PYTHONUTF8', 'PYTHONPLATLIBDIR', 'PYTHONMALLOC',
        'PYTHONCOERCECLOCALE', 'PYTHONIOENCODING', 'PYTHONHASHSEED',
        'PYTHONEXECUTABLE', 'PYTHONUSERBASE', 'PYTHONCASEOK', 'BASH_ENV',
        'ENV', 'PATH', 'LD_LIBRARY_PATH', 'SSL_CERT_FILE', 'SSL_CERT_DIR',
        'LC_CTYPE', 'LANG'), '/dev/null'))),
    ('runs', [], variables(LC_ALL='C.UTF-8', LC_CTYPE='C.UTF-8'))]


def join(arguments: list[Word], pairs: list[Pair]) -> list[str]:
    """Put the policy's pairs into arguments, by default at the end."""
    words: list[str] = []
    for argument in arguments if ... in arguments else [*arguments, ...]:
        if isinstance(argument, str):
            words.append(argument)
        else:
            words.extend(itertools.chain.from_iterable(pairs))
    return words


@pytest.fixture
def hostile_file() -> Iterator[None]:
    HOSTILE_FILE.write_text(WEAK_QEMU)
    yield
    HOSTILE_FILE.unlink()


def test_policy_is_in_force_whatever_else_the_xml_asks_of_qemu(
        attempt: Attempt, cases: Cases, hostile_file: None) -> None:
    with cases('hostile command lines and environments') as case:
        for expected, arguments, extra in COMMAND_LINES:
            settings = extra.get('settings', POLICY)
            pairs = ask(settings)
            with case(arguments, extra):
                assert attempt(
                    domain_xml(join(arguments, pairs),
                               extra.get('environment', ())), pairs, settings,
                    extra.get('ports', {})) == expected


def test_nor_do_several_of_these_undo_it_together(
        attempt: Attempt, cases: Cases, hostile_file: None,
        soak: bool) -> None:
    chance = random.Random(1)
    # Without those that end in an option that would take the next for its
    # value.
    choices = [case for case in COMMAND_LINES if 'settings' not in case[2]
               and len(case[1]) != 2]
    with cases('hostile command lines, combined') as case:
        for _ in range(400 if soak else 10):
            chosen = chance.sample(choices, chance.randint(2, 4))
            parts: list[list[Word]] = [
                [word for word in arguments if word is not ...]
                for _, arguments, _ in chosen]
            parts.append([...])
            chance.shuffle(parts)
            arguments = list(itertools.chain.from_iterable(parts))
            environment: dict[str, str] = {}
            ports: Ports = {}
            for _, _, extra in chosen:
                environment.update(extra.get('environment', ()))
                ports.update(extra.get('ports', {}))
            with case(arguments, environment):
                outcome = attempt(domain_xml(
                    join(arguments, ask(POLICY)), environment.items()),
                    ask(POLICY), POLICY, ports)
                if {expected for expected, _, _ in chosen} != {'runs'}:
                    assert outcome != 'runs'


# The hook

PROPERTIES = {'tlsciphers': SUITE + ':TLS_AES_256_GCM_SHA384',
              'tlsprotocols': 'TLSv1.2:TLSv1.3', 'tlsgroups': 'P-384',
              'tlspriority': PRIORITY}
NAMES = (*PROPERTIES, 'tlsprofile')


@pytest.fixture
def hook(tmp_path: pathlib.Path) -> RunOnBytes:
    """
    A function that runs the hook as vdsm does, on a domain XML (bytes) with
    properties ({name: bytes}). Returns the XML, or None where it refused.
    """
    def hook(xml: bytes, properties: dict[str, bytes]) -> bytes | None:
        domxml = tmp_path / 'domxml'
        domxml.write_bytes(xml)
        process = subprocess.run(
            [HOOK], stderr=subprocess.PIPE,
            env={**support.hook_environment(domxml),
                 **{name: os.fsdecode(value)
                    for name, value in properties.items()}})
        result = domxml.read_bytes()
        if process.returncode == 0:
            return result
        assert process.returncode == 2
        assert result == xml
        # In the engine's event it stands as the repr of a bytes object.
        assert re.fullmatch(rb'(vdsm-hook-)?tls\w+: [ !#-&(-\[\]-~]+\n',
                            process.stderr)
        return None

    return hook


def pairs_in(xml: bytes | str) -> list[Pair]:
    """Return the pairs of arguments that are ours in a domain XML."""
    values = [argument.get('value', '')
              for argument in ElementTree.fromstring(xml).iterfind(
                  '{%s}commandline/{%s}arg' % (QEMU, QEMU))]
    return [(value, values[position + 1])
            for position, value in enumerate(values)
            if value in ('-vdsm-tls', '-vdsm-tls-default')]


def check_meaning(pairs: list[Pair], properties: dict[str, str]) -> None:
    """Check that pairs of arguments say the same as properties do."""
    assert {option for option, _ in pairs} == {'-vdsm-tls'}
    said = dict(setting.split('=', 1) for _, setting in pairs)
    assert len(said) == len(pairs)
    tokens = ':'.join(said.pop(key, '') for key in ('ciphers', 'ciphersuites'))
    assert sorted(filter(None, tokens.split(':'))) == sorted(filter(
        None, properties.get('tlsciphers', '').split(':')))
    assert said == {name[len('tls'):]: value for name, value
                    in properties.items() if name != 'tlsciphers'}


@pytest.fixture
def site_profile() -> Iterator[None]:
    HOST_DEFAULT.parent.mkdir(exist_ok=True)
    HOST_DEFAULT.write_text('[profile site]\ntlsprotocols = TLSv1.3\n')
    yield
    HOST_DEFAULT.unlink()


@pytest.mark.usefixtures('site_profile')
def test_hostile_property_is_a_policy_or_no_vm(
        hook: RunOnBytes, attempt: Attempt, cases: Cases, soak: bool) -> None:
    xml = domain_xml()
    values: list[tuple[dict[str, str], str | None]] = [
        ({name: value}, name) for name, value in hostile_values(NAMES, soak)]
    # One that is bad among four that are good.
    values += [({**PROPERTIES, name: value}, name) for name, value
               in zip(itertools.cycle(NAMES[::-1]), HOSTILE)]
    values += [({'tlsprofile': value}, None) for value in (
        'DEFAULT', 'default', 'Modern', 'profile site', 'modern ', 'site]',
        'profile', '__init__', 'tlsprotocols')]
    values += [(dict.fromkeys(NAMES, value), None)
               for value in HOSTILE[::None if soak else 8]]
    values += [({name: value}, name) for name in NAMES
               for value in ('\udcff', 'AES256-SHA\udcc3', '\udcc0\udcac')]
    with cases('hostile properties') as case:
        for properties, name in values:
            with case(properties):
                result = hook(xml.encode(), {
                    key: os.fsencode(value)
                    for key, value in properties.items()})
                if result is not None:
                    pairs = pairs_in(result)
                    check_meaning(pairs, properties)
                    assert name in PROPERTIES
                    assert attempt(result.decode(), pairs, dict(
                        setting.split('=', 1) for _, setting in pairs),
                        {}) == 'runs'


def command_line(*values: str, prefix: str = 'q') -> str:
    return '<%scommandline xmlns%s="%s">%s</%scommandline></domain>' % (
        prefix and prefix + ':', prefix and ':' + prefix, QEMU, ''.join(
            '<%sarg value="%s"/>' % (prefix and prefix + ':', value)
            for value in values), prefix and prefix + ':')


def doctype(declarations: str, xml: str = '') -> Pair:
    return ('<domain ', '<!DOCTYPE domain [%s]>%s<domain ' % (
        declarations, xml))


def lines_of_laughs() -> str:
    return '<!ENTITY l0 "ha">' + ''.join(
        '<!ENTITY l%d "%s">' % (number + 1, '&l%d;' % number * 10)
        for number in range(12))


END = '</domain>'
DEVICES = '<devices>'
TITLE = '</name><title>%s</title>'
HARMLESS = ('-global', 'VGA.vgamem_mb=8')
OTHER_WRAPPER = '<emulator>/usr/libexec/other-wrapper</emulator>'
REAL = '/usr/bin/qemu-system-x86_64'
# (who refuses, or "runs"; (what of the XML, what instead), ...)
DOMAINS: list[tuple[str, Unpack[tuple[Pair, ...]]]] = [
    ('runs',),
    *[('runs', (END, command_line(*HARMLESS, prefix=prefix)))
      for prefix in ('q', 'qemu', 'ns0', '')],
    ('runs', (END, command_line(*HARMLESS)), (END, command_line(*HARMLESS))),
    ('runs', ('<domain ', '<domain xmlns:qemu="urn:other" ')),
    ('runs', ('<domain ', '<domain xmlns:qemu="%s" ' % QEMU),
     (END, '<qemu:commandline xmlns:qemu="urn:other"><qemu:arg value="-S"/>'
      '</qemu:commandline></domain>')),
    ('runs', (END, '<commandline><arg value="-vdsm-tls"/></commandline>'
              '</domain>')),
    ('runs', (END, command_line('-fw_cfg',
                                'name=opt/x,string=a&#10;b&#9;c&#13;&lt;'))),
    # A policy that is there already, or half of one.
    ('runs', (END, command_line('-vdsm-tls', 'ciphers=ALL'))),
    ('runs', (END, command_line('-vdsm-tls-default', 'priority=NORMAL')),
     (END, command_line('-vdsm-tls', 'new=x', *HARMLESS))),
    ('runs', (END, command_line('-vdsm-tls')),
     (END, command_line('ciphers=ALL', *HARMLESS))),
    ('runs', (END, command_line(*HARMLESS, '-vdsm-tls'))),
    # The policy is before them: what QEMU lacks is not of ours.
    ('qemu', (END, command_line('-name'))),
    ('qemu', (END, command_line('-device'))),
    # The emulator.
    *[('runs', (DEVICES, DEVICES + '<emulator%s</emulator>' % text))
      for text in ('>', ' text="%s">' % REAL, '>%s' % REAL, '>\n %s\n' % REAL,
                   '><![CDATA[%s]]>' % REAL, '>/usr/bin/<!-- - -->qemu-kvm',
                   '>/usr/bin/qemu-<?a b?>kvm', '>%s' % EMULATOR)],
    *[('hook', (DEVICES, DEVICES + text)) for text in (
        OTHER_WRAPPER,
        '<emulator>/usr/bin/qemu-system-/../../../bin/true</emulator>',
        '<emulator text="/x">%s</emulator>' % REAL,
        '<emulator>%s</emulator>%s' % (REAL, OTHER_WRAPPER),
        '<emulator><![CDATA[/usr/libexec/]]>other</emulator>',
        '<emulator>%s&#10;x</emulator>' % EMULATOR)],
    ('runs', (DEVICES, '<devices/>' + DEVICES)),
    ('runs', (DEVICES, '<devices><emulator>%s</emulator></devices>%s'
              % (REAL, DEVICES))),
    ('runs', (END, '<devices><emulator>%s</emulator></devices></domain>'
              % REAL)),
    ('hook', (END, '<devices>%s</devices></domain>' % OTHER_WRAPPER)),
    ('runs', (END, '<metadata><a xmlns="urn:a">%s<devices>%s</devices></a>'
              '</metadata></domain>' % (OTHER_WRAPPER, OTHER_WRAPPER))),
    # What only looks like a display, or like none.
    ('runs', (DEVICES, '<!-- <graphics type="sdl"/> -->' + DEVICES)),
    ('runs', ('</name>', TITLE % '<![CDATA[<graphics type="vnc"/>&amp;]]>')),
    ('libvirt', (DEVICES, DEVICES + '<graphics type="nosuch"/>')),
    ('libvirt', (DEVICES, DEVICES + '<graphics/>')),
    ('libvirt', ('<domain ', '<domain xmlns="urn:other" ')),
    ('libvirt', ('<domain ', '<domain xmlns="%s" ' % QEMU)),
    # Entities, and attributes that no element shows.
    *[('hook', doctype(declaration), ('"spice"', '"&t;"'))
      for declaration in (
          '<!ENTITY t "spice">', '<!ENTITY t SYSTEM "file:///etc/hostname">',
          "<!ENTITY % p '<!ENTITY t \"spice\">'> %p;")],
    *[('hook', doctype(declaration), ('<graphics type="spice" ', '<graphics '))
      for declaration in (
          '<!ATTLIST graphics type CDATA "spice">',
          "<!ENTITY % p '<!ATTLIST graphics type CDATA \"spice\">'> %p;")],
    ('hook', doctype(lines_of_laughs()), ('</name>', TITLE % '&l11;')),
    ('hook', doctype('')),
    ('hook', ('</name>', TITLE % '&nosuch;')),
    ('hook', doctype('<!ENTITY t "&t;">'), ('</name>', TITLE % '&t;')),
    # Processing instructions, and what is no XML.
    ('runs', ('<domain ', '<?xml-stylesheet href="a"?><domain '),
     (END, END + '<!-- x --><?x y?>')),
    *[('hook', change) for change in (
        (END, ''), (END, END + '<a/>'), (END, '<q:commandline/></domain>'),
        ('<domain ', 'x<domain '), ('<domain ', '<domain a="1" a="2" '),
        ('</name>', TITLE % '\x01'), ('</name>', TITLE % '&#0;'))]]


def changed(xml: str, changes: Iterable[Pair]) -> str:
    for old, new in changes:
        assert old in xml
        xml = new.join(xml.rsplit(old, 1) if old == END
                       else xml.split(old, 1))
    return xml


def describe(connection: libvirt.virConnect, xml: str) -> str | None:
    """
    Return what libvirt reads in a domain XML, less the emulator and what is
    ours, or None where it does not take it.
    """
    try:
        domain = connection.defineXML(xml)
    except libvirt.libvirtError:
        return None
    description = ElementTree.fromstring(domain.XMLDesc(
        libvirt.VIR_DOMAIN_XML_INACTIVE | libvirt.VIR_DOMAIN_XML_SECURE))
    domain.undefine()
    devices = description.find('devices')
    assert devices is not None
    emulator = devices.find('emulator')
    assert emulator is not None
    devices.remove(emulator)
    for lines in description.findall('{%s}commandline' % QEMU):
        arguments = list(lines)
        while arguments:
            pair = [arguments.pop(0)]
            if pair[0].get('value') in ('-vdsm-tls', '-vdsm-tls-default'):
                for argument in pair + arguments[:1]:
                    lines.remove(argument)
                del arguments[:1]
        if not len(lines):
            description.remove(lines)
    return ElementTree.canonicalize(ElementTree.tostring(
        description, encoding='unicode'), strip_text=True)


def run_domain(
        hook: RunOnBytes, attempt: Attempt, connection: libvirt.virConnect,
        xml: str, encoding: str = 'utf-8', start: str = '') -> str:
    """Return who refuses a domain XML to which the hook has been."""
    result = hook((start + xml).encode(encoding), {
        name: value.encode() for name, value in PROPERTIES.items()})
    if result is None:
        return 'hook'
    text = result.decode()
    pairs = pairs_in(text)
    check_meaning(pairs, PROPERTIES)
    # libvirt may not take the emulator that the hook has replaced.
    assert describe(connection, xml) in (None, describe(connection, text))
    return attempt(text, pairs, POLICY, {})


def test_hook_and_libvirt_read_the_same_in_a_hostile_xml(
        hook: RunOnBytes, attempt: Attempt, cases: Cases,
        connection: libvirt.virConnect) -> None:
    with cases('hostile domain XML') as case:
        for expected, *changes in DOMAINS:
            with case(changes):
                assert run_domain(hook, attempt, connection, changed(
                    domain_xml(), changes)) == expected
        for encoding, name in (('utf-8', 'UTF-8'), ('utf-8-sig', 'UTF-8'),
                               ('utf-16', 'UTF-16'), ('latin-1', 'ISO-8859-1'),
                               ('latin-1', 'UTF-8'), ('utf-8', 'UTF-7')):
            with case(encoding, name):
                assert run_domain(
                    hook, attempt, connection, changed(
                        domain_xml(), [('</name>', TITLE % '\xe9')]),
                    encoding, '<?xml version="1.0" encoding="%s"?>' % name
                ) == ('hook' if (encoding, name) in (
                    ('latin-1', 'UTF-8'), ('utf-8', 'UTF-7')) else 'runs')
