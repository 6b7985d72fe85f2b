# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""What scan finds out about real servers."""

from __future__ import annotations

import hashlib
import json
import os
import pathlib
import pty
import re
import select
import signal
import socket
import subprocess
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

import jsonschema
import pytest

import servers
import support

if TYPE_CHECKING:
    from conftest import Command

Console = dict[str, Any]

SCHEMA = json.loads(
    (support.SOURCE / 'admin/schemas/scan.schema.json').read_text())
MODERN = ('-tls1_3', '-groups', 'X25519:P-256')
# Real servers, each with what `openssl s_server` is given.
OPENSSL_SERVERS: dict[str, tuple[str, ...]] = {
    'default': (),
    'all': ('-cipher', 'ALL:COMPLEMENTOFALL:@SECLEVEL=0'),
    'modern': MODERN,
    'one suite': ('-tls1_2', '-cipher', 'ECDHE-RSA-AES256-GCM-SHA384'),
    'TLS 1.0': ('-tls1', '-cipher', 'DEFAULT:@SECLEVEL=0'),
    'every TLS 1.3 suite': ('-tls1_3', '-ciphersuites',
                            ':'.join(support.TLS13_SUITES)),
    'groups': ('-groups', ':'.join(
        filter(support.takes_groups,
               ('X448', 'brainpoolP384r1', 'ffdhe3072')))),
}
HYBRID_GROUPS = ('X25519MLKEM768', 'SecP256r1MLKEM768', 'SecP384r1MLKEM1024')
GNUTLS_SERVERS = {
    'default': 'NORMAL',
    'secure': 'SECURE256',
    'old': 'NORMAL:+ARCFOUR-128:+3DES-CBC:+MD5:+NULL:+ANON-ECDH:+ANON-DH:'
           '+CAMELLIA-128-GCM:+CAMELLIA-256-CBC',
    'one group': 'NORMAL:-GROUP-ALL:+GROUP-SECP384R1',
    'TLS 1.3': 'NORMAL:-VERS-ALL:+VERS-TLS1.3',
}


class Scan(Protocol):
    """What the fixture scan is."""

    def __call__(self, *ports: int, options: Sequence[str] = ...,
                 status: int = ...) -> list[Console]: ...


@pytest.fixture(scope='session')
def certificate(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    return servers.make_certificate(tmp_path_factory.mktemp('rsa'), 'rsa')


@pytest.fixture
def scan(newest_command: Command) -> Scan:
    """
    A function that scans local ports, and returns the consoles of a document
    that the schema allows for.
    """
    def scan(*ports: int, options: Sequence[str] = (),
             status: int = 1) -> list[Console]:
        process = newest_command.run(
            'scan', '--json', *options,
            *('127.0.0.1:%d' % port for port in ports))
        assert process.returncode == status, process.stderr
        document = json.loads(process.stdout)
        jsonschema.validate(document, SCHEMA)
        assert [console['port'] for console in document['consoles']] == list(
            ports)
        consoles: list[Console] = document['consoles']
        return consoles
    return scan


def accepted(console: Console) -> set[tuple[str, str]]:
    """Return the set of (version, code as on the wire) of a console."""
    return {(version, suite['code'])
            for version, found in console['protocols'].items()
            for suite in found}


def sslscan(port: int) -> tuple[set[tuple[str, str]], set[str]]:
    """
    Return what sslscan finds: the set of (version, code), and the groups
    (set of str: their names as OpenSSL has them).
    """
    test = support.sslscan(port)
    return (support.sslscan_suites(test, 'id'),
            {re.sub(r'.*\((?:NIST )?(.*)\)', r'\1',
                    group.attrib['name']).replace('x', 'X')
             for group in test.iter('group')})


@pytest.mark.parametrize('options', OPENSSL_SERVERS.values(),
                         ids=OPENSSL_SERVERS)
def test_of_an_openssl_server_it_finds_what_sslscan_finds(
        scan: Scan, certificate: pathlib.Path, options: Sequence[str]) -> None:
    with servers.openssl(certificate, *options) as port:
        console, = scan(port, options=['--baseline', 'none'], status=0)
        suites, groups = sslscan(port)
        # sslscan knows none of the hybrid groups, OpenSSL 3.5 has some.
        groups |= {group for group in HYBRID_GROUPS
                   if support.takes_groups(group)
                   and support.accepts_group(port, group)}
    assert suites
    assert accepted(console) == suites
    assert set(console['groups']) == groups


@pytest.mark.parametrize('priority', GNUTLS_SERVERS.values(),
                         ids=GNUTLS_SERVERS)
def test_of_a_gnutls_server_it_finds_what_gnutls_lists(
        scan: Scan, certificate: pathlib.Path, priority: str) -> None:
    listed = subprocess.run(
        ['gnutls-cli', '--priority', priority, '--list'], check=True,
        capture_output=True, text=True).stdout
    codes = {(first + second).upper() for name, first, second in re.findall(
        r'(?m)^(TLS_\w+)\s+0x(\w\w), 0x(\w\w)', listed)
        if 'ECDSA' not in name}
    line, = re.findall('(?m)^Groups: (.*)', listed)
    groups = line.split(', ')
    if priority == GNUTLS_SERVERS['one group']:
        # It chooses DHE, and has no prime for it.
        codes -= {'009E', '009F', '0033', '0039', 'C09E', 'C09F', 'CCAA'}
    if 'VERS-TLS1.3' not in listed:
        groups = [name for name in groups if 'FFDHE' not in name]
    with servers.gnutls(certificate, priority) as port:
        console, = scan(port, options=['--baseline', 'none'], status=0)
        suites, sslscan_groups = sslscan(port)
    assert {code for _, code in accepted(console)} == codes
    # Its library has not all that GnuTLS has.
    assert suites <= accepted(console)
    assert set(console['groups']) == sslscan_groups
    assert len(console['groups']) == len(groups)


FAILS_AT_DHE = (
    'NORMAL:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2:+VERS-TLS1.1:+VERS-TLS1.0:'
    '-KX-ALL:+ECDHE-RSA:+DHE-RSA:-CIPHER-ALL:+AES-128-GCM:+AES-128-CBC:'
    '+3DES-CBC:-GROUP-ALL:+GROUP-X25519')


def test_server_that_fails_at_its_choice_does_not_hide_whole_versions(
        scan: Scan, certificate: pathlib.Path) -> None:
    """It chooses DHE, and has no prime for it."""
    with servers.gnutls(certificate, FAILS_AT_DHE) as port:
        console, = scan(port)
    older = {'C012', 'C013'}
    assert {version: {suite['code'] for suite in found} for version, found
            in console['protocols'].items()} == {
                'TLSv1': older, 'TLSv1.1': older,
                'TLSv1.2': older | {'C02F'}, 'TLSv1.3': {'1301'}}


def test_suites_that_a_server_cannot_sign_do_not_hide_others(
        scan: Scan, certificate: pathlib.Path, tmp_path: pathlib.Path,
        ) -> None:
    """It chooses one for RSA, and may sign with ECDSA only."""
    ec = servers.make_certificate(tmp_path, 'ec', '-newkey', 'ec', '-pkeyopt',
                                  'ec_paramgen_curve:P-256')
    with servers.openssl(
            certificate, '-dcert', '%s.pem' % ec, '-dkey', '%s.key' % ec,
            '-sigalgs', 'ECDSA+SHA256', '-tls1_2') as port:
        console, = scan(port)
    names = {suite['suite'] for suite in console['protocols']['TLSv1.2']}
    assert {'ECDHE-ECDSA-AES256-GCM-SHA384', 'ECDHE-ECDSA-AES128-SHA'} <= names


def test_server_that_demands_safe_renegotiation_has_tls_1_3_too(
        scan: Scan, certificate: pathlib.Path) -> None:
    with servers.gnutls(certificate, 'NORMAL:-VERS-ALL:+VERS-TLS1.2:'
                        '+VERS-TLS1.3:%SAFE_RENEGOTIATION') as port:
        console, = scan(port)
    assert {'TLSv1.2', 'TLSv1.3'} == set(console['protocols'])


def test_each_suite_that_openssl_knows_has_its_name_there(
        newest_installation: support.Installation) -> None:
    names = load_table(newest_installation)
    for name, (first, second) in support.suite_codes().items():
        number = first << 8 | second
        # Left out: those that need more than a scan has.
        assert names.get(number) == name or re.search('SRP|GOST', name)


def load_table(installation: support.Installation) -> dict[int, str]:
    names: dict[int, str] = support.run_file(
        installation.module.parent
        / 'vdsm_tlsciphers/tls/cipher_suites.py')['NAMES']
    return names


def test_a_server_within_the_baseline_passes(
        command: Command, certificate: pathlib.Path) -> None:
    with servers.openssl(certificate, *MODERN) as port:
        process = command.run('scan', '--baseline', 'modern',
                              '127.0.0.1:%d' % port)
    assert process.returncode == 0
    assert process.stderr == ''
    assert process.stdout == """\
VM  DISPLAY  ADDRESS%s  ACCEPTS      WEAKEST  RESULT
-   tls      127.0.0.1:%d  TLSv1.3 (3)  strong   passed

1 console: 1 passed, 0 with findings, 0 not scanned (baseline: modern)
For cipher suites, groups and certificates: --html FILE or --json
""" % (' ' * (len(str(port)) + 3), port)


def test_what_is_beyond_the_baseline_is_a_finding_with_its_remedy(
        command: Command, certificate: pathlib.Path) -> None:
    with servers.gnutls(certificate) as port:
        process = command.run('scan', '127.0.0.1:%d' % port)
    assert process.returncode == 1
    text = re.sub(r'\s+', ' ', process.stdout)
    assert ('Finding (baseline, medium): TLSv1, TLSv1.1 are accepted '
            '[protocol-version] Finding ' in text)
    assert 'Finding (baseline, medium): TLSv1.2 is accepted with DHE-' in text
    # Once for all of them.
    assert len(re.findall(' Remedy: [^:]+ Where: 127.0.0.1:%d ' % port,
                          text)) == 1
    assert 'key-exchange groups P-521, X448, ffdhe2048' in text


def test_a_finding_has_a_code_a_severity_and_its_two_parts(
        scan: Scan, certificate: pathlib.Path) -> None:
    with servers.gnutls(certificate) as port:
        console, = scan(port)
    assert {(finding['code'], finding['severity'])
            for finding in console['findings']} == {
        ('protocol-version', 'medium'), ('cipher-suite', 'medium'),
        ('cipher-suite', 'low'), ('key-exchange-group', 'low'),
        ('sha1-signature', 'medium')}
    for finding in console['findings']:
        assert finding['finding'] == (
            '%(text)s; %(remedy)s [%(code)s]' % finding)


def test_a_weak_certificate_is_a_finding(scan: Scan,
                                         tmp_path: pathlib.Path) -> None:
    weak = servers.make_weak_certificate(tmp_path)
    with servers.openssl(weak, '-tls1_3', '-groups', 'X25519', '-cipher',
                         'ALL:@SECLEVEL=0') as port:
        console, = scan(port)
    assert console['certificate'] == {
        'subject': 'CN=weak', 'issuer': 'CN=weak',
        'not_before': '2020-01-01T00:00:00Z',
        'not_after': '2020-02-01T00:00:00Z', 'key': 'RSA 1024',
        'signature': 'sha1WithRSAEncryption',
        'sha256': fingerprint(weak)}
    assert [finding['code'] for finding in console['findings']] == [
        'certificate-key', 'certificate-signature', 'certificate-expired']


def fingerprint(certificate: pathlib.Path) -> str:
    said = subprocess.run(
        ['openssl', 'x509', '-in', '%s.pem' % certificate, '-noout',
         '-fingerprint', '-sha256'], check=True, capture_output=True,
        text=True).stdout
    return said.partition('=')[2].strip().replace(':', '').lower()


def test_a_certificate_of_another_kind_is_described(
        scan: Scan, tmp_path: pathlib.Path) -> None:
    ec = servers.make_certificate(
        tmp_path, 'ec', '-newkey', 'ec', '-pkeyopt',
        'ec_paramgen_curve:P-256', '-subj', '/CN=\x1b[31mred')
    with servers.openssl(ec, '-groups', 'P-256') as port:
        console, = scan(port)
    assert console['certificate']['key'] == 'EC 256'
    assert console['certificate']['signature'] == 'ecdsa-with-SHA256'
    assert console['certificate']['subject'] == r'CN=\1B[31mred'
    assert console['certificate']['sha256'] == fingerprint(ec)


def test_a_short_diffie_hellman_prime_is_a_finding(
        scan: Scan, certificate: pathlib.Path) -> None:
    with servers.openssl(certificate, '-tls1_2', '-cipher',
                         'ADH-AES128-SHA:@SECLEVEL=0') as port:
        console, = scan(port)
    suite, = console['protocols']['TLSv1.2']
    assert suite == {'suite': 'ADH-AES128-SHA', 'code': '0034',
                     'key_exchange': 'anonymous DHE', 'strength': 'broken',
                     'dh_bits': 1024}
    assert console['certificate'] is None
    assert any('prime of 1024 bits' in finding['finding']
               for finding in console['findings'])


STRENGTHS = {
    'TLS_AES_128_GCM_SHA256': 'strong', 'TLS_AES_128_CCM_8_SHA256':
    'acceptable', 'ECDHE-RSA-AES128-GCM-SHA256': 'strong',
    'ECDHE-ECDSA-CHACHA20-POLY1305': 'strong',
    'ECDHE-RSA-AES256-SHA384': 'acceptable',
    'DHE-RSA-AES256-GCM-SHA384': 'acceptable',
    'ECDHE-ECDSA-AES128-CCM8': 'acceptable', 'AES256-GCM-SHA384': 'weak',
    'ECDH-RSA-AES128-GCM-SHA256': 'weak', 'EDH-RSA-DES-CBC3-SHA': 'weak',
    'ECDHE-RSA-DES-CBC3-SHA': 'weak', 'IDEA-CBC-SHA': 'weak',
    'PSK-AES128-GCM-SHA256': 'weak', 'DES-CBC-SHA': 'broken',
    'ECDHE-RSA-RC4-SHA': 'broken', 'ECDHE-RSA-NULL-SHA': 'broken',
    'AECDH-AES128-SHA': 'broken', 'EXP-RC4-MD5': 'broken',
    'TLS_SHA256_SHA256': 'broken',
}


def test_strength_follows_the_guidelines(
        newest_installation: support.Installation) -> None:
    table = support.run_file(newest_installation.module.parent
                             / 'vdsm_tlsciphers/tls/cipher_suites.py')
    strength = table['strength']
    found = {name: strength(table['CODES'][name], 'TLSv1.3' if name.startswith(
        'TLS_') else 'TLSv1.2') for name in STRENGTHS}
    assert found == STRENGTHS
    good = table['CODES']['ECDHE-RSA-AES128-GCM-SHA256']
    assert strength(good, 'TLSv1.1') == 'weak'
    assert strength(good, 'SSLv3') == 'broken'
    dhe = table['CODES']['DHE-RSA-AES256-GCM-SHA384']
    assert strength(dhe, 'TLSv1.2', 1024) == 'weak'


def test_ipv6_and_a_name_are_addresses_too(newest_command: Command,
                                           certificate: pathlib.Path,
                                           tmp_path: pathlib.Path) -> None:
    named = servers.make_certificate(tmp_path, 'named')
    with servers.openssl(certificate, *MODERN, '-servername', 'localhost',
                         '-cert2', '%s.pem' % named, '-key2',
                         '%s.key' % named) as port:
        process = newest_command.run(
            'scan', '--json', '[::1]:%d' % port, 'localhost:%d' % port)
    assert process.returncode == 0
    consoles = json.loads(process.stdout)['consoles']
    # The server has one certificate for its name, and another one.
    assert {console['address']: console['certificate']['subject']
            for console in consoles} == {'::1': 'CN=rsa',
                                         'localhost': 'CN=named'}


def test_a_port_has_one_connection_at_a_time(
        scan: Scan, certificate: pathlib.Path) -> None:
    with servers.openssl(certificate) as port:
        def relay(client: socket.socket) -> None:
            with socket.create_connection(('127.0.0.1', port)) as target:
                other = {client: target, target: client}
                while True:
                    for end in select.select(list(other), [], [])[0]:
                        data = end.recv(65536)
                        if not data:
                            return
                        with server.lock:
                            other[end].sendall(data)

        with servers.fake(relay) as (server, relayed):
            console, twice = scan(relayed, port)
    assert console['protocols'] == twice['protocols']
    assert server.most == 1
    # One for each suite of each version; what is refused, in parts; groups.
    # This server fails at TLS 1.1 instead of refusing it: more parts.
    assert server.connections < 200


def test_the_same_port_is_scanned_once(newest_command: Command,
                                       certificate: pathlib.Path) -> None:
    with servers.openssl(certificate) as port:
        process = newest_command.run(
            'scan', '--json', *['127.0.0.1:%d' % port] * 2)
    assert len(json.loads(process.stdout)['consoles']) == 1


def test_without_anybody_who_answers_one_line_says_so(
        newest_command: Command) -> None:
    with socket.create_server(('127.0.0.1', 0)) as free:
        port = free.getsockname()[1]
    line = newest_command.problem('scan', '127.0.0.1:%d' % port)
    assert '127.0.0.1:%d: Connection refused; ' % port in line
    assert line.endswith('[unreachable]')


def test_server_that_refuses_all_is_not_taken_for_a_firewall(
        newest_command: Command, certificate: pathlib.Path) -> None:
    # Its certificate is of the RSA kind.
    with servers.openssl(certificate, '-tls1_2', '-cipher', 'aECDSA') as port:
        line = newest_command.problem('scan', '127.0.0.1:%d' % port)
    assert line.endswith('[no-common-suite]')
    assert 'firewall' not in line


# Names as OpenSSL has them, of what a server signs with for TLS 1.2.
GOOD_SIGNATURES = {'RSA+SHA256', 'RSA+SHA384', 'RSA+SHA512',
                   'rsa_pss_rsae_sha256', 'rsa_pss_rsae_sha384',
                   'rsa_pss_rsae_sha512'}


@pytest.mark.parametrize('priority, signatures', [
    ('NORMAL', GOOD_SIGNATURES | {'RSA+SHA1'}),
    ('NORMAL:-SIGN-RSA-SHA1:-SIGN-ECDSA-SHA1', GOOD_SIGNATURES),
    ('NORMAL:-KX-ALL:+DHE-RSA:-VERS-ALL:+VERS-TLS1.2',
     GOOD_SIGNATURES | {'RSA+SHA1'}),
    ('NORMAL:-SIGN-ALL:+SIGN-RSA-SHA512:-VERS-ALL:+VERS-TLS1.2',
     {'RSA+SHA512'})])
def test_signature_algorithms_are_found_and_sha1_is_a_finding(
        scan: Scan, certificate: pathlib.Path, priority: str,
        signatures: set[str]) -> None:
    with servers.gnutls(certificate, priority) as port:
        console, = scan(port)
        assert accepts_only_sha1(port) == ('RSA+SHA1' in signatures)
    assert set(console['signatures']) == signatures
    assert ('sha1-signature' in [
        finding['code'] for finding in console['findings']]) == (
            'RSA+SHA1' in signatures)


def accepts_only_sha1(port: int) -> bool:
    """Tell whether a port signs with SHA-1 for an s_client."""
    said = subprocess.run(
        ['openssl', 's_client', '-connect', '127.0.0.1:%d' % port, '-tls1_2',
         '-sigalgs', 'RSA+SHA1', '-cipher', 'ALL:@SECLEVEL=0'],
        stdin=subprocess.DEVNULL, capture_output=True, errors='replace',
        env={'PATH': '/usr/bin', 'OPENSSL_CONF': '/dev/null'}).stdout
    return 'Peer signing digest: SHA1' in said


def test_server_that_signs_with_sha1_whatever_is_offered_has_the_finding(
        newest_command: Command, certificate: pathlib.Path) -> None:
    """
    Hexadecimal 0201 in the place of what a real server signs with: such as
    servers of the time before TLS 1.2 was common may do. No library that is
    here still can.
    """
    with servers.openssl(certificate, '-tls1_2', '-cipher',
                         'ECDHE-RSA-AES128-GCM-SHA256') as port:
        def spoil(client: socket.socket) -> None:
            with socket.create_connection(('127.0.0.1', port)) as target:
                target.sendall(client.recv(65536))
                data = b''
                while part := target.recv(65536):
                    data += part
                    if data[-9:-4] == b'\x16\3\3\0\4' or len(data) < 10:
                        break
                # The algorithm, and a signature of 256 bytes, at the end.
                client.sendall(re.sub(
                    b'(?s)..\x01\0(?=.{256}\x16\3\3\0\4)',
                    b'\2\1\1\0', data))
                client.recv(1)

        with servers.fake(spoil) as (_, relayed):
            process = newest_command.run('scan', '--json',
                                         '127.0.0.1:%d' % relayed)
    console, = json.loads(process.stdout)['consoles']
    assert console['signatures'] == ['RSA+SHA1']
    assert 'sha1-signature' in [
        finding['code'] for finding in console['findings']]


@pytest.mark.parametrize('priority, found', [
    ('NORMAL', (True, True)), ('NORMAL:%NO_SESSION_HASH', (False, True)),
    ('NORMAL:%NO_TICKETS', (True, False)),
    ('NORMAL:-VERS-ALL:+VERS-TLS1.3', (None, None))])
def test_extended_master_secret_and_tickets_are_found(
        scan: Scan, certificate: pathlib.Path, priority: str,
        found: tuple[bool | None, bool | None]) -> None:
    with servers.gnutls(certificate, priority) as port:
        console, = scan(port)
    assert (console['extended_master_secret'],
            console['session_tickets']) == found
    assert ('no-extended-master-secret' in [
        finding['code'] for finding in console['findings']]) == (
            found[0] is False)


def test_who_does_not_answer_spoils_a_pass(newest_command: Command,
                                           certificate: pathlib.Path) -> None:
    with socket.create_server(('127.0.0.1', 0)) as free:
        closed = free.getsockname()[1]
    with servers.openssl(certificate, *MODERN) as port:
        process = newest_command.run('scan', '127.0.0.1:%d' % port,
                                     '127.0.0.1:%d' % closed)
    assert process.returncode == 1
    assert ('unreachable: Connection refused [unreachable]\n'
            in process.stdout)
    assert '1 passed, 0 with findings, 1 not scanned' in process.stdout


@pytest.mark.parametrize('arguments, line', [
    (['--baseline', 'old', 'a:1'],
     '--baseline old: no such profile; use one of intermediate, modern, none, '
     'or add [profile old] to HOST_DEFAULT [unknown-profile]'),
    (['a:0'], 'a:0: invalid port; give 1 to 65535 [bad-port]'),
    (['a:65536'], 'a:65536: invalid port; give 1 to 65535 [bad-port]'),
    (['a..b:1'], 'no console could be scanned: a..b:1: invalid host name; '
     'check the address, and the firewalls on the way [unreachable]'),
    (['--before', 'x', 'a:1'], '--before without --html; give --html FILE as '
     'well [no-html]'),
    (['--html', 'y.html', '--before', os.devnull, 'a:1'],
     '/dev/null: not a regular file; give what "scan --json" printed '
     '[not-a-regular-file]'),
    (['--html', 'y', 'a:1'], 'y: not a name for an HTML report; give one that '
     'ends in .html [no-html-name]'),
])
def test_error_is_one_line(newest_command: Command,
                           arguments: Sequence[str], line: str) -> None:
    host_default = str(newest_command.installation.host_default)
    assert newest_command.problem('scan', *arguments) == (
        'vdsm-tlsciphers: ' + line.replace('HOST_DEFAULT', host_default))


def test_missing_port_is_in_the_remedy(newest_command: Command) -> None:
    assert ', or give HOST:PORT [' in newest_command.problem(
        'scan', 'node1.example.com')


@pytest.mark.parametrize('name', [
    '127.0.0.1', '127.0.0.1:abc', 'https://127.0.0.1:17001', 'fd00::7',
    '[fd00::7]', 'fd00::7:5901', 'a:', 'a:123456', 'a/b'])
def test_port_of_what_looks_like_an_address_is_asked_for_first(
        newest_command: Command, name: str) -> None:
    assert newest_command.code('scan', name) == 'no-port'


def test_page_is_told_from_a_scan(newest_command: Command,
                                  tmp_path: pathlib.Path) -> None:
    (tmp_path / 'before.html').write_text('<!DOCTYPE html>\n<html></html>')
    for arguments in (['scan', '--before', 'before.html', 'a:1'],
                      ['report', 'before.html']):
        assert newest_command.code(*arguments, '--html', 'after.html',
                                   cwd=tmp_path) == 'scan-is-a-page'


def test_scan_of_the_first_help_is_one_to_compare_with(
        newest_command: Command) -> None:
    assert '  vdsm-tlsciphers scan --json >before.json\n' in (
        newest_command.run('--help').stdout)


# What newer releases of OpenSSL have by themselves.
STRICT = ('-cipher', 'DEFAULT:@SECLEVEL=2', '-no_tls1', '-no_tls1_1')


def test_a_site_profile_is_a_baseline(
        scan: Scan, certificate: pathlib.Path,
        newest_installation: support.Installation) -> None:
    path = newest_installation.host_default
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        '[profile site]\ntlsciphers = ECDHE+AESGCM:TLS_AES_256_GCM_SHA384\n'
        'tlsprotocols = TLSv1.2:TLSv1.3\n'
        '[profile vnc]\ntlspriority = NORMAL:-VERS-ALL:+VERS-TLS1.2\n')
    try:
        with servers.openssl(certificate, *STRICT) as port:
            site, = scan(port, options=['--baseline', 'site'])
            priority, = scan(port, options=['--baseline', 'vnc'])
    finally:
        path.unlink()
    old, new = [finding['finding'] for finding in site['findings']]
    assert old.startswith('TLSv1.2 is accepted with ECDHE-RSA-CHACHA20-')
    assert 'ECDHE-RSA-AES128-GCM-SHA256' not in old
    assert new.startswith('TLSv1.3 is accepted with TLS_AES_128_GCM_SHA256, '
                          'TLS_CHACHA20_POLY1305_SHA256;')
    assert priority['findings'][0]['finding'].startswith(
        'TLSv1.3 is accepted;')


def test_profile_without_a_setting_passes_nothing(
        scan: Scan, certificate: pathlib.Path,
        newest_installation: support.Installation) -> None:
    path = newest_installation.host_default
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text('[profile empty]\n')
    try:
        with servers.openssl(certificate, *STRICT) as port:
            console, = scan(port, options=['--baseline', 'empty'])
    finally:
        path.unlink()
    assert [finding['code'] for finding in console['findings']] == [
        'not-evaluated']


def test_certificate_with_a_long_name_is_one_that_report_reads(
        newest_command: Command, tmp_path: pathlib.Path) -> None:
    config = tmp_path / 'long.conf'
    config.write_text('[req]\ndistinguished_name = d\nprompt = no\n[d]\n%s'
                      % ''.join('%d.OU = %s\n' % (number, 'x' * 60)
                                for number in range(500)))
    certificate = servers.make_certificate(
        tmp_path, 'long', '-newkey', 'rsa:2048', '-config', str(config),
        '-subj', '/' + '/'.join('OU=' + 'x' * 60 for _ in range(500)))
    with servers.openssl(certificate, *MODERN) as port:
        said = newest_command.run('scan', '--json', '127.0.0.1:%d' % port)
    (tmp_path / 'now.json').write_text(said.stdout)
    process = newest_command.run('report', '--html', tmp_path / 'page.html',
                                 tmp_path / 'now.json')
    assert (process.returncode, process.stderr) == (0, '')



def test_page_of_a_scan_lists_the_earlier_one_with_its_digest(
        newest_command: Command, certificate: pathlib.Path,
        tmp_path: pathlib.Path) -> None:
    before = tmp_path / 'before.json'
    with servers.openssl(certificate, *MODERN) as port:
        target = '127.0.0.1:%d' % port
        before.write_text(newest_command.run('scan', '--json', target).stdout)
        newest_command.run('scan', '--before', before, '--html',
                           tmp_path / 'page.html', target)
        digest = hashlib.sha256(before.read_bytes()).hexdigest()
        assert digest in (tmp_path / 'page.html').read_text()
        # One that is later is told.
        before.write_text(before.read_text().replace('"time": "2', '"time": "3'
                                                     ))
        process = newest_command.run('scan', '--before', before, '--html',
                                     tmp_path / 'page.html', target)
    assert process.stderr.endswith(' [earlier-is-later]\n')


def run_on_terminal(command: Command, *arguments: str,
                    **environment: str) -> str:
    """Run the command on a terminal; return what it writes (str)."""
    terminal, end = pty.openpty()
    process = subprocess.Popen(
        [command.installation.command, *arguments], stdin=end, stdout=end,
        stderr=end, env={'PATH': '/usr/bin', 'TERM': 'xterm', **environment})
    os.close(end)
    said = b''
    try:
        while data := os.read(terminal, 4096):
            said += data
    except OSError:
        # That is how a terminal ends.
        pass
    os.close(terminal)
    process.wait()
    return said.decode()


def test_colours_and_progress_are_for_terminals(
        newest_command: Command, certificate: pathlib.Path) -> None:
    with servers.openssl(certificate, *MODERN) as port:
        arguments = ['scan', '127.0.0.1:%d' % port]
        on_terminal = run_on_terminal(newest_command, *arguments)
        plain = run_on_terminal(newest_command, *arguments, NO_COLOR='1')
        to_file = newest_command.run(*arguments)
    assert '\r\x1b[Kscanned 1 of 1 ports\r\x1b[K' in on_terminal
    assert '\x1b[32mpassed\x1b[0m' in on_terminal
    assert '\x1b[3' not in plain
    assert '\x1b' not in to_file.stdout + to_file.stderr


def test_an_interrupted_scan_ends_at_once(newest_command: Command) -> None:
    arrived = threading.Event()

    def stall(client: socket.socket) -> None:
        arrived.set()
        client.recv(65536)
        client.recv(65536)

    with servers.fake(stall) as (_, port):
        process = subprocess.Popen(
            # Tests that run in the background may ignore it.
            ['env', '--default-signal=INT',
             newest_command.installation.command, 'scan',
             '127.0.0.1:%d' % port], stderr=subprocess.PIPE, text=True)
        assert arrived.wait(20)
        process.send_signal(signal.SIGINT)
        # Less than its timeout.
        assert process.communicate(timeout=9)[1] == (
            'vdsm-tlsciphers: interrupted [interrupted]\n')
    assert process.returncode == 130
