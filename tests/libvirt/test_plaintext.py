# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""
Consoles that would be open beside their policy, on real VMs: a SPICE port
without TLS, a second console, credentials under two names, a priority string
that GnuTLS cuts, and a QEMU that may write to every file.
"""

from __future__ import annotations

import pathlib
import re
import socket
import struct
import subprocess
from typing import TYPE_CHECKING

import libvirt
import pytest

import clients
import support

if TYPE_CHECKING:
    from conftest import MakeHost, RunHook, Start, Write



def with_open_channels(xml: str) -> str:
    """Return a domain XML whose SPICE console has a port without TLS."""
    return re.sub('<channel [^>]*/>', '', xml).replace(
        ' defaultMode="secure"', '')


PLAIN = with_open_channels(support.lab_domain('spice'))
QEMU = 'http://libvirt.org/schemas/domain/qemu/1.0'
# Their numbers on the wire, and SPICE_LINK_ERR_NEED_SECURED.
CHANNELS = {'main': 1, 'display': 2, 'inputs': 3, 'cursor': 4}
NEED_SECURED = 5


def plaintext_port(vm_name: str) -> int:
    domain = libvirt.openReadOnly('qemu:///system').lookupByName(vm_name)
    return support.console_port(domain, 'spice', 'port')


def link_error(port: int, channel: int) -> int:
    """Return what SPICE says to the beginning of a channel without TLS."""
    message = struct.pack('<IBBIII', 0, channel, 0, 0, 0, 18)
    with socket.create_connection(('127.0.0.1', port), 10) as connection:
        connection.sendall(struct.pack('<4sIII', b'REDQ', 2, 2, len(message))
                           + message)
        answer = connection.recv(20, socket.MSG_WAITALL)
    assert answer[:4] == b'REDQ'
    error, = struct.unpack('<I', answer[16:20])
    return int(error)


def with_arguments(xml: str, *arguments: str) -> str:
    return xml.replace('</domain>', '<q:commandline xmlns:q="%s">%s'
                       '</q:commandline></domain>' % (QEMU, ''.join(
                           '<q:arg value="%s"/>' % argument
                           for argument in arguments)))


@pytest.mark.parametrize('properties', [
    {'tlsprofile': 'modern'}, {'tlsciphers': 'ECDHE+AESGCM'},
    {'tlsprotocols': 'TLSv1.3'}, {'tlsgroups': 'P-384'}])
def test_no_channel_works_without_tls_beside_a_policy(
        start: Start, run_hook: RunHook, properties: dict[str, str]) -> None:
    vm = start(run_hook(PLAIN, **properties))
    port = plaintext_port(vm.name)
    assert {name: link_error(port, number) for name, number
            in CHANNELS.items()} == dict.fromkeys(CHANNELS, NEED_SECURED)
    # The client is told so, and turns to the TLS port.
    width, height, _ = clients.spice_screenshot(vm.tls_port,
                                                plaintext_port=port)
    assert width
    assert height


def test_default_of_the_host_leaves_channels_as_they_are_and_says_so(
        start: Start, run_hook: RunHook, host_default: Write) -> None:
    host_default('[default]\ntlsprotocols = TLSv1.3\n')
    vm = start(run_hook(PLAIN))
    assert link_error(plaintext_port(vm.name), CHANNELS['main']) == 0
    assert '[spice-plaintext]' in vm.log


@pytest.mark.parametrize('arguments', [
    ['-spice', 'plaintext-channel=default'],
    ['-spice', 'id=x,port=6111'],
    ['-object', 'tls-creds-x509,id=decoy,id=evil,dir=/etc/pki/vdsm/libvirt-vnc'
     ',endpoint=server', '-object', 'tls-creds-x509,id=evil,dir=/etc/pki/vdsm/'
     'libvirt-vnc,endpoint=server', '-vnc', '127.0.0.1:77,tls-creds=evil'],
    ['-vnc', '127.0.0.1:77']])
def test_console_that_would_be_open_beside_the_policy_starts_no_vm(
        start: Start, run_hook: RunHook, arguments: list[str]) -> None:
    with pytest.raises(libvirt.libvirtError) as error:
        start(run_hook(with_arguments(PLAIN, *arguments),
                       tlsprofile='modern'))
    assert 'qemu-kvm-modified: ' in str(error.value)


def test_priority_that_gnutls_cuts_starts_no_vm(start: Start,
                                                run_hook: RunHook) -> None:
    """Its end would take the old versions of TLS away."""
    priority = ('NORMAL' + 130 * ':+CIPHER-ALL'
                + ':-VERS-TLS1.0:-VERS-TLS1.1:-VERS-TLS1.2')
    xml = with_arguments(
        support.lab_domain('vnc').replace(
            '<devices>', '<devices><emulator>%s</emulator>'
            % support.EMULATOR), '-vdsm-tls', 'priority=' + priority)
    with pytest.raises(libvirt.libvirtError, match='priority-cut'):
        start(xml)
    with pytest.raises(subprocess.CalledProcessError):
        run_hook(support.lab_domain('vnc'), tlspriority=priority)


def test_qemu_that_runs_as_root_cannot_empty_the_policy(
        make_host: MakeHost, start: Start) -> None:
    """With -D it would open its log there, which empties the file."""
    host = make_host(user='"root"', group='"root"',
                     clear_emulator_capabilities='0')
    xml = PLAIN.replace('<devices>', '<devices><emulator>%s</emulator>'
                        % support.EMULATOR)
    policy = ['-vdsm-tls', 'protocols=TLSv1.3']
    vm = start(with_arguments(xml, *policy), host)
    path = re.search(
        r'\0OPENSSL_CONF=(/proc/self/fd/\d+)\0', pathlib.Path(
            '/proc/%d/environ' % vm.pid).read_text())
    assert path
    host.connection.lookupByName(vm.name).destroy()
    with pytest.raises(libvirt.libvirtError, match='Operation not permitted'):
        start(with_arguments(xml, *policy, '-D', path.group(1)), host)
