# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""
QEMU without libvirt: it starts with the given arguments and no machine in it,
which takes a tenth of a second, and is asked through its monitor (QMP) and by
TLS clients what it made of them.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import pathlib
import socket
import ssl
import subprocess
import tempfile
import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Optional

import support
import vencrypt

if TYPE_CHECKING:
    from typing_extensions import Self

BASE = ('-machine', 'none,accel=tcg', '-no-user-config', '-nodefaults',
        '-display', 'none', '-qmp', 'stdio')
# What a client with TLS 1.2 and one with TLS 1.3 agree to with a server.
Suites = tuple[Optional[str], ...]
SUBTYPES = {'x509-none': vencrypt.X509_NONE, 'x509-vnc': vencrypt.X509_VNC,
            'x509-sasl': vencrypt.X509_SASL}


class Ended(Exception):
    """QEMU did not start, or ended. The message is its standard error."""


class Emulator:
    """A running QEMU, or a wrapper of it, until the end of a "with"."""

    def __init__(self, program: str | pathlib.Path,
                 arguments: Sequence[str | bytes],
                 folder: pathlib.Path) -> None:
        self.stderr = tempfile.TemporaryFile()  # noqa: SIM115
        self.process = subprocess.Popen(
            [program, *BASE, *arguments], stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=self.stderr, cwd=folder,
            env={'LC_ALL': 'C', 'PATH': '/usr/bin:/bin', 'HOME': '/',
                 'TMPDIR': '.'})
        self.watchdog = threading.Timer(60, self.process.kill)
        self.watchdog.start()

    def __enter__(self) -> Self:
        try:
            self.ask('qmp_capabilities')
        except Ended:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        with self.process:
            self.watchdog.cancel()
            self.stderr.close()

    def said(self) -> str:
        """Return what it has written to standard error (str)."""
        self.stderr.seek(0)
        return self.stderr.read().decode(errors='replace')

    def ask(self, command: str, **arguments: Any) -> Any:
        """Return the answer to a command. Raises Ended, LookupError."""
        assert self.process.stdin
        assert self.process.stdout
        with contextlib.suppress(BrokenPipeError):
            os.write(self.process.stdin.fileno(), json.dumps(
                {'execute': command, 'arguments': arguments}).encode())
        for line in self.process.stdout:
            # Some options have QEMU print help instead.
            answer = json.loads(line) if line[:1] == b'{' else {}
            if 'error' in answer:
                raise LookupError(answer['error']['desc'])
            if 'return' in answer:
                return answer['return']
        self.process.wait()
        raise Ended(self.said())


@functools.cache
def takes_json() -> bool:
    """Tell whether this QEMU takes -object as JSON, as it does since 6.0."""
    with contextlib.suppress(Ended), Emulator(
            support.QEMU_KVM, ['-object', '{"qom-type":"secret","id":"a",'
                               '"data":"b"}'], pathlib.Path('/')):
        return True
    return False


def objects(emulator: Emulator) -> dict[str, dict[str, Any]]:
    """Return {name: {property: value}} of what -object has made."""
    found: dict[str, dict[str, Any]] = {}
    try:
        listed = emulator.ask('qom-list', path='/objects')
    except LookupError:  # There is none.
        return found
    for child in listed:
        if child['type'].startswith('child<'):
            path = '/objects/' + child['name']
            found[child['name']] = {}
            for member in emulator.ask('qom-list', path=path):
                # Some can only be written, as the data of a secret.
                try:
                    value = emulator.ask('qom-get', path=path,
                                         property=member['name'])
                except LookupError:
                    value = None
                found[child['name']][member['name']] = value
    return found


def client(version: ssl.TLSVersion) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_ciphers('ALL:@SECLEVEL=0')
    context.minimum_version = context.maximum_version = version
    return context


CLIENTS = [client(ssl.TLSVersion.TLSv1_2), client(ssl.TLSVersion.TLSv1_3)]


def negotiated(connect: Callable[[], socket.socket]) -> Suites:
    """
    Return what a server agrees to with a client that prefers other suites
    than most policies: the suite (str) with TLS 1.2, and with TLS 1.3, None
    where there is none. connect gives a socket at the point where TLS begins.
    """
    suites: list[str | None] = []
    for context in CLIENTS:
        with connect() as connection:
            try:
                with context.wrap_socket(connection) as tls:
                    cipher = tls.cipher()
                    assert cipher
                    suites.append(cipher[0])
            except (ConnectionError, ssl.SSLError):
                suites.append(None)
    return tuple(suites)


def spice_suites(emulator: Emulator) -> Suites | None:
    """Return what its SPICE port with TLS agrees to, or None."""
    spice = emulator.ask('query-spice')
    if 'tls-port' not in spice:
        return None
    host = '127.0.0.1' if spice['host'] == '*' else spice['host']
    return negotiated(lambda: socket.create_connection(
        (host, spice['tls-port']), timeout=20))


def vnc_suites(emulator: Emulator) -> list[tuple[str, str, Suites | None]]:
    """
    Return what its VNC displays agree to: a list of (name of the display,
    port, suites, None without encryption), websockets included, sockets not.
    """
    found: list[tuple[str, str, Suites | None]] = []
    for display in emulator.ask('query-vnc-servers'):
        for server in display['server']:
            if server['family'] == 'unix':
                continue
            suites = None
            if display['auth'] == 'vencrypt' and server['family'] == 'ipv4':
                suites = negotiated(functools.partial(
                    connect_vnc, int(server['service']), server['websocket'],
                    SUBTYPES[display['vencrypt']]))
            found.append((display['id'], server['service'], suites))
    return sorted(found, key=str)


def connect_vnc(port: int, websocket: bool, subtype: int) -> socket.socket:
    if websocket:
        return socket.create_connection(('127.0.0.1', port), timeout=20)
    return vencrypt.connect(port, subtype)
