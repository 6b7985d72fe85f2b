# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""
What an emulator listens at is told by its arguments, as QEMU reads them: by
QEMU itself, without libvirt.
"""

from __future__ import annotations

import json
import pathlib
import socket
import subprocess
from typing import Any

import pytest
import qmp

import support

PKI = '/etc/pki/vdsm/libvirt-spice'
CREDS = ('-object', 'tls-creds-x509,id=c,endpoint=server,verify-peer=off,dir='
         + PKI)
SPICE = 'disable-ticketing=on'
# What it has of a process: [display, address, port, UNIX socket, TLS] each,
# and what its arguments do not tell.
PROGRAM = """
import json, sys
sys.path.insert(0, '/usr/share/vdsm-hook-tlsciphers')
from vdsm_tlsciphers.host import consoles, listeners
from vdsm_tlsciphers.host import qemu_process
qemu_process.find_pid = lambda vm: int(sys.argv[1])
found = consoles.Consoles(qemu_process.Emulator(None),
                          listeners.Listeners().find(int(sys.argv[1])))
print(json.dumps([[[console.display, console.address, console.port,
                    console.socket, console.tls]
                   for console in found.consoles], found.unclear,
                  found.others]))
"""


def consoles_of_qemu(emulator: qmp.Emulator) -> list[list[Any]]:
    """Return [display, address, port] of what QEMU says of itself."""
    found = []
    for display in emulator.ask('query-vnc-servers'):
        for server in display['server']:
            if server['family'] != 'unix':
                found.append(['websocket' if server['websocket'] else 'vnc',
                              server['host'], int(server['service'])])
    try:
        spice = emulator.ask('query-spice')
    except LookupError:  # It has none.
        return found
    for key in 'port', 'tls-port':
        if spice.get(key):
            # SPICE takes the first address of a name.
            host = '0.0.0.0' if spice['host'] == '*' else socket.getaddrinfo(
                spice['host'], 0, type=socket.SOCK_STREAM)[0][4][0]
            found.append(['spice', host, spice[key]])
    return found


@pytest.mark.parametrize('arguments', [
    ('-vnc', ':17'), ('-vnc', 'vnc=127.0.0.1:17'), ('-vnc', '127.0.0.1:017'),
    ('-vnc', '[::1]:17'), ('-vnc', 'localhost:17'),
    ('-vnc', ':17,ipv4=on'), ('-vnc', ':17,ipv6=on'),
    ('-display', 'vnc=127.0.0.1:17'),
    ('-vnc', '127.0.0.1:17,websocket=on'),
    ('-vnc', '127.0.0.1:17,websocket=5799,websocket=127.0.0.1:5798'),
    ('-vnc', 'vnc=127.0.0.1:17,vnc=127.0.0.1:18'),
    ('-vnc', '127.0.0.1:17,id=vnc2', '-vnc', '127.0.0.1:18', '-vnc',
     '127.0.0.1:19'),
    ('-vnc', 'unix:console.sock,websocket=5799'), ('-vnc', 'none'),
    (*CREDS, '-vnc', '127.0.0.1:17,tls-creds=c,websocket=5799'),
    ('-spice', 'port=6017,' + SPICE),
    ('-spice', 'port=0x1781,addr=::1,' + SPICE),
    ('-spice', 'port=013601,addr=localhost,' + SPICE),
    ('-spice', 'port=6017,' + SPICE, '-spice', 'port=6018,addr=127.0.0.1'),
    ('-spice', 'port=6017,tls-port=6018,x509-dir=%s,%s' % (PKI, SPICE)),
    ('-spice', 'unix,addr=console.sock,' + SPICE),
    ('-spice', 'port=0,' + SPICE)], ids=' '.join)
def test_arguments_tell_what_qemu_listens_at(
        tmp_path: pathlib.Path, arguments: tuple[str, ...]) -> None:
    with qmp.Emulator(support.QEMU_KVM, arguments, tmp_path) as emulator:
        found, unclear, others = json.loads(subprocess.run(
            ['/usr/bin/python3', '-Bc', PROGRAM, str(emulator.process.pid)],
            capture_output=True, check=True).stdout)
        expected = consoles_of_qemu(emulator)
    assert (unclear, others) == ([], [])
    assert sorted(console[:3] for console in found if console[2]) == sorted(
        expected)
    sockets = [console[3] for console in found if console[3]]
    assert sockets == ['console.sock'] * ('console.sock' in str(arguments))
    assert {console[4] for console in found if console[0] == 'vnc'} <= {
        CREDS[1] in arguments}
