# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""What the VNC consoles of real VMs accept, seen from outside."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

import support
import vencrypt

if TYPE_CHECKING:
    from conftest import VM, Host, Start

# What Debian's QEMU takes when nothing is said; EL's takes the host's.
DEFAULT_PRIORITY = 'NORMAL'


@pytest.fixture
def vm(start: Start) -> VM:
    return start(support.lab_domain('spice', 'vnc'))


@pytest.fixture
def vnc_port(vm: VM) -> Iterator[int]:
    """A port where TLS begins at once, as that of the VNC console."""
    with vencrypt.relay(vm.vnc_port) as port:
        yield port


def test_console_without_a_policy_accepts_the_defaults_of_gnutls(
        vnc_port: int) -> None:
    expected = support.gnutls_suites(DEFAULT_PRIORITY)
    # Much of it is what an administrator wants to be rid of.
    assert ('TLSv1.1', 'AES128-SHA') in expected
    assert support.accepted(vnc_port) == expected


def test_websocket_port_accepts_what_the_vnc_port_accepts(
        vm: VM, vnc_port: int) -> None:
    assert support.accepted(vm.websocket_port) == support.accepted(vnc_port)
    for version in ['TLSv1.2', 'TLSv1.3']:
        groups = support.accepted_groups(vnc_port, version)
        assert {'X25519', 'P-256', 'P-384', 'P-521'} <= groups
        assert support.accepted_groups(vm.websocket_port, version) == groups


@pytest.mark.parametrize('priority, status', [
    ('NORMAL', 0), ('NORMAL:-CIPHER-ALL:+3DES-CBC', 1)])
def test_other_tls_clients_come_through_the_relay(vnc_port: int, priority: str,
                                                  status: int) -> None:
    client = subprocess.run(
        ['gnutls-cli', '--insecure', '--priority', priority, '--port',
         str(vnc_port), '127.0.0.1'], stdin=subprocess.DEVNULL,
        capture_output=True, timeout=20)
    assert client.returncode == status, client.stdout + client.stderr
    assert (b'Handshake was completed' in client.stdout) == (status == 0)


def test_relay_goes_on_after_a_refused_handshake(vnc_port: int) -> None:
    for _ in range(3):
        assert not support.accepts(vnc_port, 'ADH-AES128-SHA')
        # Not TLS at all, and somebody who just looks in.
        with socket.create_connection(('127.0.0.1', vnc_port)) as client:
            client.sendall(b'GET / HTTP/1.0\r\n\r\n')
        socket.create_connection(('127.0.0.1', vnc_port)).close()
        assert support.accepts(vnc_port, 'AES128-SHA')


def test_console_with_a_password_asks_for_it_after_the_handshake(
        vm: VM, start: Start) -> None:
    with pytest.raises(vencrypt.Refused, match=r'sub-types \[261\]'):
        vencrypt.connect(vm.vnc_port, vencrypt.X509_NONE)
    other = start(support.lab_domain('vnc', name='open', password=None))
    vencrypt.connect(other.vnc_port, vencrypt.X509_NONE).close()


def test_console_without_encryption_has_no_tls(
        start: Start, host_without_vnc_tls: Host) -> None:
    vm = start(support.lab_domain('vnc'), host_without_vnc_tls)
    assert vm.host is host_without_vnc_tls
    assert 'tls-creds' not in ' '.join(vm.arguments)
    with pytest.raises(vencrypt.Refused, match='expected VeNCrypt'):
        vencrypt.connect(vm.vnc_port)
    # A scan through the relay ends as an error, not as "accepts nothing".
    with pytest.raises(vencrypt.Refused, match='expected VeNCrypt'):
        with vencrypt.relay(vm.vnc_port) as port:
            assert not support.accepts(port, 'AES128-SHA')


def test_scan_of_a_port_that_nobody_listens_at_is_an_error() -> None:
    with socket.create_server(('127.0.0.1', 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(ConnectionError):
        support.accepted(port)
