# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""
The handshakes of status, with servers that are real ones of OpenSSL and
GnuTLS, and such as answer in bad faith. tests/libvirt has consoles.
"""

from __future__ import annotations

import contextlib
import json
import pathlib
import socket
import struct
import subprocess
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

import servers
import support

if TYPE_CHECKING:
    from conftest import Command

OPENSSL = {'ciphers': 'ECDHE-RSA-AES256-GCM-SHA384',
           'ciphersuites': 'TLS_AES_256_GCM_SHA384',
           'protocols': 'TLSv1.2:TLSv1.3', 'groups': 'X25519:prime256v1'}
EXACT = ('-cipher', 'ECDHE-RSA-AES256-GCM-SHA384', '-ciphersuites',
         'TLS_AES_256_GCM_SHA384', '-groups', 'X25519:P-256')
NEW = ('-no_tls1', '-no_tls1_1')
GNUTLS = ('NORMAL:-VERS-ALL:+VERS-TLS1.2:+VERS-TLS1.3:-CIPHER-ALL:'
          '+AES-256-GCM:-KX-ALL:+ECDHE-RSA:-GROUP-ALL:+GROUP-X25519')
# Prints a proof of each port: (what is accepted, whether anything within is,
# problem), and the seconds for all of them.
PROGRAM = """
import json, sys, time
sys.path.insert(0, sys.argv[1])
from vdsm_tlsciphers.audit import compliance
from vdsm_tlsciphers.audit import policy_proof
policy = json.loads(sys.argv[2])
given = policy_proof.offers(compliance.policy_bounds(policy), sys.argv[3])
begin = time.perf_counter()
found = policy_proof.prove_all([
    (sys.argv[3], '127.0.0.1', int(port), given) for port in sys.argv[4:]])
print(json.dumps([time.perf_counter() - begin, [
    [proof.effective, proof.accepted, proof.problem] for proof in found]]))
"""

Prove = Callable[..., Any]


@pytest.fixture(scope='module')
def certificate(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    return servers.make_certificate(tmp_path_factory.mktemp('pki'), 'proofs')


def run(command: Command, policy: dict[str, str], display: str,
        ports: list[int]) -> tuple[float, list[Any]]:
    installation: support.Installation = command.installation
    process = subprocess.run(
        [installation.python, '-c', PROGRAM, installation.module.parent,
         json.dumps(policy), display, *map(str, ports)], capture_output=True,
        text=True, check=True, timeout=60)
    seconds, found = json.loads(process.stdout)
    return seconds, found


def prove(command: Command, policy: dict[str, str], display: str,
          port: int) -> Any:
    return run(command, policy, display, [port])[1][0]


def test_console_with_exactly_the_policy_is_effective(
        command: Command, certificate: pathlib.Path) -> None:
    with servers.openssl(certificate, *EXACT, *NEW) as port:
        assert prove(command, OPENSSL, 'spice', port) == [True, [], None]
    with servers.gnutls(certificate, GNUTLS) as port:
        assert prove(command, {'priority': GNUTLS}, 'websocket', port) == [
            True, [], None]


@pytest.mark.parametrize('options, accepted', [
    # Each is the one thing that is too much.
    ((*EXACT[2:], '-cipher', 'ECDHE-RSA-AES256-GCM-SHA384:AES128-SHA', *NEW),
     ['TLSv1.2 with AES128-SHA']),
    ((*EXACT[2:], '-cipher', 'ECDHE-RSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-SHA'
      ':@SECLEVEL=0', '-no_tls1', '-no_tls1_2'),
     ['TLSv1.1 with ECDHE-RSA-AES256-SHA in the group P-256']),
    # Of two groups it depends on OpenSSL which it takes.
    ((*EXACT[:2], '-groups', 'X25519', *NEW),
     ['TLSv1.3 with TLS_AES_128_GCM_SHA256 in the group X25519']),
    ((*EXACT[:4], '-groups', 'X25519:P-256:P-384', *NEW), [
        'TLSv1.2 with ECDHE-RSA-AES256-GCM-SHA384 in the group P-384',
        'TLSv1.3 with TLS_AES_256_GCM_SHA384 in the group P-384'])])
def test_whatever_is_accepted_beyond_the_policy_is_named(
        newest_command: Command, certificate: pathlib.Path,
        options: tuple[str, ...], accepted: list[str]) -> None:
    with servers.openssl(certificate, *options) as port:
        assert prove(newest_command, OPENSSL, 'spice', port) == [
            False, accepted, None]


@pytest.mark.parametrize('more, accepted', [
    (':+VERS-TLS1.1:+AES-256-CBC:+SHA1',
     'TLSv1.1 with ECDHE-RSA-AES256-SHA in the group X25519'),
    (':+GROUP-FFDHE2048',
     'TLSv1.3 with TLS_AES_256_GCM_SHA384 in the group ffdhe2048'),
    # Only for clients that name such a group.
    (':+DHE-RSA:+GROUP-FFDHE2048', 'TLSv1.2 with DHE-RSA-AES256-GCM-SHA384 '
     'in a Diffie-Hellman group of 2048 bits')])
def test_what_gnutls_accepts_beyond_the_policy_is_named(
        newest_command: Command, certificate: pathlib.Path, more: str,
        accepted: str) -> None:
    with servers.gnutls(certificate, GNUTLS + more) as port:
        effective, found, problem = prove(
            newest_command, {'priority': GNUTLS}, 'websocket', port)
    assert (effective, problem) == (False, None)
    assert accepted in found


# Diffie-Hellman parameters that GnuTLS has no group for.
PARAMETERS = ('--dhparams', str(support.DATA / 'dh-modp-2048.pem'))


def test_dhe_for_clients_that_name_no_group_is_named(
        newest_command: Command, certificate: pathlib.Path) -> None:
    """As QEMU's VNC does it where a host has parameters of its own."""
    with servers.gnutls(certificate, GNUTLS + ':+DHE-RSA',
                        *PARAMETERS) as port:
        assert prove(newest_command, {'priority': GNUTLS}, 'websocket',
                     port) == [False, [
                         'TLSv1.2 with DHE-RSA-AES256-GCM-SHA384 in a '
                         'Diffie-Hellman group of 2048 bits'], None]


# It has no prime for DHE without a group, and chooses that all the same.
FAILS_AT_DHE = (
    'NORMAL:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2:+VERS-TLS1.1:+VERS-TLS1.0:'
    '-KX-ALL:+ECDHE-RSA:+DHE-RSA:-CIPHER-ALL:+AES-128-GCM:+AES-128-CBC:'
    '+3DES-CBC:-GROUP-ALL:+GROUP-X25519')
TLS13_ONLY = FAILS_AT_DHE.replace(
    ':+VERS-TLS1.2:+VERS-TLS1.1:+VERS-TLS1.0', '').replace(
        '+AES-128-CBC:+3DES-CBC:', '')


def test_server_that_fails_at_its_choice_does_not_hide_the_rest(
        newest_command: Command, certificate: pathlib.Path) -> None:
    with servers.gnutls(certificate, FAILS_AT_DHE) as port:
        effective, found, problem = prove(
            newest_command, {'priority': TLS13_ONLY}, 'websocket', port)
    assert (effective, problem) == (False, None)
    assert {text.split()[0] for text in found} == {
        'TLSv1', 'TLSv1.1', 'TLSv1.2'}


def test_dhe_outside_of_the_groups_of_a_policy_is_a_difference(
        newest_command: Command, certificate: pathlib.Path) -> None:
    """As QEMU's VNC does it, with parameters of its own."""
    policy = GNUTLS + ':+DHE-RSA'
    with servers.gnutls(certificate, policy, *PARAMETERS) as port:
        assert prove(newest_command, {'priority': policy}, 'websocket',
                     port) == [False, [
                         'TLSv1.2 with DHE-RSA-AES256-GCM-SHA384 in a '
                         'Diffie-Hellman group of 2048 bits'], None]


def test_a_server_that_prefers_the_newest_version_is_asked_for_each(
        newest_command: Command, certificate: pathlib.Path) -> None:
    """
    One hello with all versions would be refused: with TLS 1.3, which it
    picks, it has nothing else than the policy.
    """
    with servers.openssl(certificate, *EXACT[2:], '-cipher',
                         'ALL:@SECLEVEL=0') as port:
        effective, found, _ = prove(newest_command, OPENSSL, 'spice', port)
    assert effective is False
    assert {text.split()[0] for text in found} == {
        'TLSv1', 'TLSv1.1', 'TLSv1.2'}


def test_a_policy_that_no_client_can_use_is_not_effective(
        newest_command: Command, certificate: pathlib.Path) -> None:
    with servers.openssl(certificate, '-cipher', 'AES128-SHA', '-tls1_2'
                         ) as port:
        assert prove(newest_command, {
            'protocols': 'TLSv1.3'}, 'spice', port) == [
                False, ['TLSv1.2 with AES128-SHA'], None]
        assert prove(newest_command, {
            'ciphers': 'AES128-SHA', 'protocols': 'TLSv1.2'}, 'spice',
            port) == [True, [], None]
    with refusing() as (_, port):
        assert prove(newest_command, OPENSSL, 'spice', port) == [
            False, [], None]


@contextlib.contextmanager
def refusing() -> Iterator[tuple[servers.Fake, int]]:
    """A server that refuses whatever it is offered."""
    def answer(client: socket.socket) -> None:
        client.recv(65536)
        client.sendall(b'\x15\x03\x01\0\2\2\x28')

    with servers.fake(answer) as server:
        yield server


@pytest.mark.parametrize('display, said, problem', [
    ('spice', b'\x16\x03\x03\0\x04\x02\0\0\0',
     'malformed TLS message'),
    ('vnc', b'HTTP/1.0 200 OK\r\n\r\n', 'no RFB banner')])
def test_a_server_that_is_none_proves_nothing(
        newest_command: Command, display: str, said: bytes,
        problem: str) -> None:
    policy = OPENSSL if display == 'spice' else {'priority': GNUTLS}
    def answer(client: socket.socket) -> None:
        client.sendall(said)
        client.recv(65536)

    with servers.fake(answer) as (server, port):
        assert prove(newest_command, policy, display, port) == [
            None, [], problem + ' [scan-incomplete]']
        # Never two at a time, and no more than is needed.
        assert server.most == server.connections == 1


@pytest.mark.parametrize('display, said', [
    ('spice', b'REDQ\2\0\0\0\2\0\0\0'),
    ('spice', b'HTTP/1.0 400 Bad Request\r\n\r\n'),
    # What QEMU before 6.0 makes of "change vnc" without credentials.
    ('vnc', b'RFB 003.008\n\1\2'), ('vnc', b'RFB 003.003\n')])
def test_a_server_that_answers_without_tls_is_not_effective(
        newest_command: Command, display: str, said: bytes) -> None:
    policy = OPENSSL if display == 'spice' else {'priority': GNUTLS}

    def answer(client: socket.socket) -> None:
        client.sendall(said)
        client.recv(65536)

    with servers.fake(answer) as (_, port):
        assert prove(newest_command, policy, display, port) == [
            False, ['connections without encryption'], None]


def test_a_websocket_that_waits_for_a_request_is_not_effective(
        newest_command: Command) -> None:
    """QEMU's without TLS reads until the end of one."""
    def answer(client: socket.socket) -> None:
        data = b''
        while b'\r\n\r\n' not in data:
            data += client.recv(65536)
        client.sendall(b'HTTP/1.1 400 Bad Request\r\n\r\n')

    with servers.fake(answer) as (_, port):
        assert prove(newest_command, {'priority': GNUTLS}, 'websocket',
                     port)[:2] == [False, ['connections without encryption']]


@pytest.mark.parametrize('types, subtypes, accepted', [
    (b'\1\x13', [260, 256], ['connections without encryption']),
    (b'\2\x13\2', [260], ['connections without encryption']),
    (b'\1\x13', [257, 261], ['TLS without a certificate'])])
def test_what_vnc_offers_beside_tls_is_not_effective(
        newest_command: Command, types: bytes, subtypes: list[int],
        accepted: list[str]) -> None:
    def answer(client: socket.socket) -> None:
        client.sendall(b'RFB 003.008\n' + types + b'\0\2\0' + struct.pack(
            '>B%dI' % len(subtypes), len(subtypes), *subtypes) + b'\1')
        client.recv(18, socket.MSG_WAITALL)
        client.recv(65536)
        client.sendall(b'\x15\x03\x01\0\2\2\x28')

    with servers.fake(answer) as (_, port):
        assert prove(newest_command, {'priority': GNUTLS}, 'vnc', port) == [
            False, accepted, None]


def test_a_server_that_is_silent_is_given_up(newest_command: Command) -> None:
    with servers.fake(lambda client: client.recv(99, socket.MSG_WAITALL)
                      and client.recv(65536, socket.MSG_WAITALL)) as (
            server, port):
        assert prove(newest_command, OPENSSL, 'spice', port) == [
            None, [], 'no response within 5 seconds']
    assert server.connections == 1
    assert prove(newest_command, OPENSSL, 'spice', port) == [
        None, [], 'Connection refused [unreachable]']


def test_200_ports_are_proven_in_one_go(
        newest_command: Command, certificate: pathlib.Path,
        figure: support.Figure) -> None:
    with contextlib.ExitStack() as stack:
        ports = [stack.enter_context(servers.openssl(
            certificate, *EXACT, *NEW)) for _ in range(200)]
        seconds, found = run(newest_command, OPENSSL, 'spice', ports)
    assert found == [[True, [], None]] * 200
    figure('status: handshakes with 200 ports, seconds', '%.2f' % seconds, 3)
