# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""What scan makes of servers that answer in bad faith, or not at all."""

from __future__ import annotations

import contextlib
import json
import random
import socket
import struct
import subprocess
import time
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest

import servers
import support

if TYPE_CHECKING:
    from conftest import Command

Console = dict[str, Any]
SCHEMA = json.loads(
    (support.SOURCE / 'admin/schemas/scan.schema.json').read_text())
REFUSAL = b'\x15\x03\x01\0\2\2\x28'
NOTICE = b'\x15\x03\x01\0\2\1\x70'
# Megabytes that the scan of all of these may have in memory.
MOST_MEMORY = 60


def record(data: bytes, kind: int = 22, version: int = 0x0303) -> bytes:
    return struct.pack('>BHH', kind, version, len(data)) + data


def message(kind: int, body: bytes) -> bytes:
    return bytes([kind]) + len(body).to_bytes(3, 'big') + body


def server_hello(suite: int, version: int = 0x0303,
                 extensions: bytes = b'') -> bytes:
    return message(2, struct.pack('>H', version) + bytes(32) + b'\0'
                   + struct.pack('>H', suite) + b'\0'
                   + struct.pack('>H', len(extensions)) + extensions)


def read_hello(client: socket.socket) -> tuple[int, list[int]]:
    """Return the version and the suites (list) that a client offers."""
    data = client.recv(65536)
    version, = struct.unpack_from('>H', data, 9)
    if b'\0\x2b\0\3\2\3\4' in data:
        version = 0x0304
    length, = struct.unpack_from('>H', data, 44)
    return version, list(struct.unpack_from('>%dH' % (length // 2), data, 46))


def say(*parts: bytes) -> servers.Answer:
    """Return a server that reads something, says this and ends."""
    def answer(client: socket.socket) -> None:
        client.recv(65536)
        for part in parts:
            client.sendall(part)
    return answer


def say_for_tls12(*parts: bytes) -> servers.Answer:
    """The same for TLS 1.2; with what is older or newer it refuses."""
    def answer(client: socket.socket) -> None:
        version, suites = read_hello(client)
        if version == 0x0303 and 0x002f in suites:
            for part in parts:
                client.sendall(part)
            # Lest a reset takes it away from who has not read it.
            client.recv(1)
        else:
            client.sendall(REFUSAL)
    return answer


def stall(client: socket.socket) -> None:
    while client.recv(65536):
        pass


def drip(client: socket.socket) -> None:
    client.recv(65536)
    client.sendall(b'\x16\x03\x03\x40\0')
    while True:
        client.sendall(b'\0')
        time.sleep(0.1)


def accept_all(client: socket.socket) -> None:
    version, suites = read_hello(client)
    if version == 0x0304:
        client.sendall(REFUSAL)
    else:
        client.sendall(record(server_hello(suites[0], version)
                              + certificate_message(b'x') + message(14, b'')))


def take_twice(client: socket.socket) -> None:
    read_hello(client)
    client.sendall(record(server_hello(0x1301, extensions=(
        b'\0\x2b\0\2\3\4\0\x33\0\2\0\x1d'))))


def fail_at(bad: set[int], end: bytes, good: int) -> servers.Answer:
    """
    Return a server that chooses the bad suites first and then fails, saying
    this or nothing, with any version; with TLS 1.2 it has a good one.
    """
    def answer(client: socket.socket) -> None:
        version, suites = read_hello(client)
        if bad.intersection(suites) or version == 0x0304:
            client.sendall(end)
        elif version == 0x0303 and good in suites:
            client.sendall(record(server_hello(good))
                           + record(certificate_message(b'x')))
            client.recv(1)
        else:
            client.sendall(REFUSAL)
    return answer


def only_ssl3(client: socket.socket) -> None:
    version, suites = read_hello(client)
    if version == 0x0300 and 0x0005 in suites:
        client.sendall(record(server_hello(0x0005, 0x0300)
                              + certificate_message(b'x'), version=0x0300))
    else:
        client.sendall(b'\x15\x03\0\0\2\2\x28')


def certificate_message(der: bytes) -> bytes:
    entry = len(der).to_bytes(3, 'big') + der
    return message(11, len(entry).to_bytes(3, 'big') + entry)


def tire() -> servers.Answer:
    """Return a server that accepts a single suite, and nothing afterwards."""
    accepted: list[list[int]] = []

    def answer(client: socket.socket) -> None:
        version, suites = read_hello(client)
        if version == 0x0303 and 0x002f in suites and not accepted:
            accepted.append(suites)
            client.sendall(RSA_HELLO + record(certificate_message(b'x')))
            client.recv(1)
    return answer


def echo(client: socket.socket) -> None:
    client.sendall(client.recv(65536))


def vnc(*parts: bytes) -> servers.Answer:
    """Return a server that says this, one after each word of the client."""
    def answer(client: socket.socket) -> None:
        client.sendall(b'RFB 003.008\n')
        # The client may say all words but the last at once.
        for length, part in zip((12, 1, 2, 4, 65536), parts):
            client.recv(length)
            client.sendall(part)
        stall(client)
    return answer


def old_vnc(client: socket.socket) -> None:
    client.sendall(b'RFB 003.003\n')
    stall(client)


def say_endlessly(part: bytes) -> servers.Answer:
    """Return a server that says the same until the client ends."""
    def answer(client: socket.socket) -> None:
        client.recv(65536)
        while True:
            client.sendall(part * 1000)
    return answer


NOISE = random.Random(7).randbytes(100000)
RSA_HELLO = record(server_hello(0x002f))
# name: (server, state, the problem)
SERVERS: dict[str, tuple[servers.Answer, str, str | None]] = {
    'ends at once': (lambda client: None, 'no TLS',
                     'no TLS response'),
    'stalls': (stall, 'incomplete', 'no full answer within 10 seconds'),
    'drips': (drip, 'incomplete', 'no full answer within 10 seconds'),
    'noise': (say(b'\1' + NOISE), 'no TLS',
              'this port does not speak TLS'),
    'noise after a header': (
        say(record(NOISE[:9000])), 'no TLS', 'no TLS response'),
    'noise in a hello': (
        say(record(message(2, NOISE[:300]))), 'incomplete', None),
    'an endless message': (
        say(*[record(b'\2\xff\xff\xff' + bytes(16000))] * 40), 'incomplete',
        'malformed TLS message: too long'),
    'a record that is too long': (
        say(b'\x16\3\3\xff\xff' + bytes(70000)), 'incomplete',
        'malformed TLS message'),
    'an empty record': (say(record(b'')), 'incomplete',
                        'malformed TLS message'),
    'a short alert': (say(record(b'\1', 21)), 'incomplete',
                      'malformed TLS message'),
    'a record that is cut off': (say(RSA_HELLO[:20]), 'no TLS',
                                 'no TLS response'),
    'a message that is cut off': (
        say(record(message(2, server_hello(0x002f)[4:30]))), 'incomplete',
        'malformed TLS message'),
    'an extension that is cut off': (
        say(record(server_hello(0x1301, extensions=b'\0\x2b\0'))),
        'incomplete', 'malformed TLS message'),
    'warnings without end': (
        say_endlessly(NOTICE), 'incomplete',
        'malformed TLS message: too many records'),
    'records without end': (say_endlessly(record(b'\2')), 'incomplete', None),
    'an unknown suite': (
        say(record(server_hello(0x0a0a, extensions=b'\0\x2b\0\2\3\4'))),
        'incomplete',
        'the server chose cipher suite 0A0A, which was not offered'),
    'an unknown version': (
        say(record(server_hello(0x002f, 0x0505))), 'incomplete',
        'the server chose TLS version 0505, which was not offered'),
    'the same suite again': (
        take_twice, 'incomplete',
        'the server chose cipher suite 1301, which was not offered'),
    'all that is offered': (
        accept_all, 'incomplete', 'connection limit reached: 1000'),
    'refusals': (say(REFUSAL), 'incomplete',
                 'no common cipher suite'),
    'no more answers': (tire(), 'incomplete',
                        'results not reproducible'),
    'an echo': (echo, 'incomplete',
                'unexpected TLS message 1'),
    'SSL 3.0': (only_ssl3, 'incomplete',
                'OpenSSL cannot read the certificate'),
    'a certificate that is none': (
        say_for_tls12(RSA_HELLO, record(certificate_message(NOISE[:800]))),
        'incomplete', 'OpenSSL cannot read the certificate'),
    'a certificate that is cut off': (
        say_for_tls12(RSA_HELLO, record(message(
            11, b'\0\0\x09\0\0\x09abc'))), 'incomplete',
        'truncated certificate'),
    'SPICE': (say(b'REDQ' + bytes(30)), 'no TLS',
              'this SPICE port is not encrypted, and its channels cannot be '
              'probed: malformed SPICE response'),
    'HTTP': (say(b'HTTP/1.1 400 Bad Request\r\n\r\n'), 'no TLS',
             'this port speaks HTTP without TLS'),
    'half a banner': (lambda client: client.sendall(b'RFB '), 'incomplete',
                      'connection closed before TLS'),
    'a strange banner': (
        lambda client: client.sendall(b'RFB what is this?\n' + NOISE),
        'incomplete', 'no RFB banner'),
    'an old VNC': (old_vnc, 'no TLS',
                   'RFB version 3.3 is too old for TLS'),
    'a VNC without VeNCrypt': (vnc(b'\2\1\2'), 'no TLS',
                               'this VNC console is not encrypted'),
    'a VNC that rejects clients': (vnc(b'\0\0\0\0\4busy'), 'incomplete',
                              'server rejected the client'),
    'a VNC of an old VeNCrypt': (vnc(b'\1\x13', b'\0\1'), 'incomplete',
                                 'VeNCrypt version older than 0.2'),
    'a VNC that refuses VeNCrypt': (
        vnc(b'\1\x13', b'\0\2', b'\1\0'), 'incomplete',
        'server rejected VeNCrypt 0.2'),
    'a VNC without TLS': (
        vnc(b'\1\x13', b'\0\2', b'\0\1\0\0\1\0'), 'no TLS',
        'VeNCrypt without TLS'),
    'a VNC that refuses a sub-type': (
        vnc(b'\1\x13', b'\0\2', b'\0\2\0\0\1\5\xff\xff\xff\xff', b'\0'),
        'incomplete', 'server rejected sub-type 261'),
    'a VNC that stalls': (vnc(b'\xff'), 'incomplete',
                          'no full answer within 10 seconds'),
    'a VNC with noise for TLS': (
        vnc(b'\1\x13', b'\0\2', b'\0\1\0\0\1\5', b'\1', NOISE),
        'incomplete', 'malformed TLS message'),
}


@pytest.fixture(scope='module')
def results(make_installation: support.MakeInstallation) -> dict[str, Console]:
    """What one scan of all of them finds: {name: console}."""
    installation = make_installation(support.available_pythons()[-1])
    with contextlib.ExitStack() as stack:
        ports = {name: stack.enter_context(servers.fake(server))[1]
                 for name, (server, *_) in SERVERS.items()}
        command = subprocess.run(
            [installation.command, 'scan', '--json', *(
                '127.0.0.1:%d' % port for port in ports.values())],
            capture_output=True, text=True, env={'PATH': '/usr/bin'})
    assert command.stderr == ''
    assert command.returncode == 1
    document = json.loads(command.stdout)
    jsonschema.validate(document, SCHEMA)
    return dict(zip(ports, document['consoles']))


@pytest.mark.parametrize('name, state, problem', [
    (name, state, problem) for name, (_, state, problem) in SERVERS.items()],
    ids=SERVERS)
def test_one_line_says_why_a_server_is_not_scanned(
        results: dict[str, Console], name: str, state: str,
        problem: str | None) -> None:
    console = results[name]
    assert console['state'] == state
    assert console['problem']
    assert '\n' not in console['problem']
    if problem is not None:
        assert console['problem'] == problem
    assert console['code']
    assert console['remedy']
    assert state != 'no TLS' or console['findings']


def test_what_was_found_until_then_is_kept_and_assessed(
        results: dict[str, Console]) -> None:
    assert list(results['SSL 3.0']['protocols']) == ['SSLv3']
    suite, = results['SSL 3.0']['protocols']['SSLv3']
    assert suite['suite'] == 'RC4-SHA'
    assert suite['strength'] == 'broken'
    assert results['SSL 3.0']['findings'][0]['code'] == 'protocol-version'


@pytest.mark.parametrize('end', [
    b'', b'\x15\x03\x01\0\2\2\x50', b'\x15\x03\x01\0\2\2\x2f'],
    ids=['no alert', 'internal_error', 'illegal_parameter'])
def test_failure_at_a_choice_does_not_hide_what_is_accepted(
        newest_command: Command, end: bytes) -> None:
    """Stands for servers that choose a kind that they cannot do."""
    with servers.fake(fail_at({0x0033}, end, 0x0035)) as (_, port):
        process = newest_command.run('scan', '127.0.0.1:%d' % port, '--json')
    console, = json.loads(process.stdout)['consoles']
    # Its certificate is invalid.
    assert console['problem'] == 'OpenSSL cannot read the certificate'
    suite, = console['protocols']['TLSv1.2']
    assert suite['code'] == '0035'


def test_encryption_that_is_optional_is_a_finding(
        newest_command: Command) -> None:
    # A scan of a real VM shows that such a console passes otherwise.
    with servers.fake(vnc(
            b'\2\2\x13', b'\0\2', b'\0\3\0\0\1\0\0\0\1\2\0\0\1\5', b'\1',
            REFUSAL)) as (_, port):
        process = newest_command.run('scan', '127.0.0.1:%d' % port, '--json')
    console, = json.loads(process.stdout)['consoles']
    assert [finding['code'] for finding in console['findings']] == [
        'anonymous-tls', 'unencrypted-offer']


def test_servers_cannot_fill_the_memory(newest_command: Command) -> None:
    def flood(client: socket.socket) -> None:
        client.recv(65536)
        while True:
            client.sendall(record(b'\2\xff\xff\xff' + bytes(16000)) * 100)

    with contextlib.ExitStack() as stack:
        ports = [stack.enter_context(servers.fake(flood))[1]
                 for _ in range(50)]
        status, output, megabytes = newest_command.measure(
            'scan', *('127.0.0.1:%d' % port for port in ports))
    assert status == 2
    assert output.count('TLS message: too long') == 50
    assert megabytes < MOST_MEMORY
