# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""
What is made of a SPICE port without TLS. tests/libvirt has real ones; the
servers here stand for such as answer in bad faith.
"""

from __future__ import annotations

import socket
import struct
import subprocess
from typing import TYPE_CHECKING

import pytest

import servers

if TYPE_CHECKING:
    from conftest import Command

    import support

PROGRAM = """
import sys
sys.path.insert(0, sys.argv[1])
from vdsm_tlsciphers.tls import probe, spice, stream
try:
    print(*spice.open_channels('127.0.0.1', *map(int, sys.argv[2:])))
except (probe.Unreachable, stream.ProtocolError) as error:
    print('%s: %s' % (type(error).__name__, error))
"""


def open_channels(command: Command, number: int,
                  patience: int = 20) -> str:
    installation: support.Installation = command.installation
    return subprocess.run(
        [installation.python, '-c', PROGRAM, installation.module.parent,
         str(number), str(patience)], capture_output=True, text=True,
        check=True, timeout=30).stdout.strip()


def reply(error: int) -> bytes:
    return struct.pack('<4sIIII', b'REDQ', 2, 2, 178, error) + bytes(174)


def channel(client: socket.socket) -> int:
    """Read how a client begins; return the number of the channel."""
    data = client.recv(34, socket.MSG_WAITALL)
    assert data[:16] == struct.pack('<4sIII', b'REDQ', 2, 2, 18)
    return data[20]


def test_channels_that_are_open_in_clear_are_named(command: Command) -> None:
    """Nothing is said once it is known."""
    more = []

    def answer(client: socket.socket) -> None:
        number = channel(client)
        # The last three are not there; three demand TLS.
        if number > 8:
            return
        client.sendall(reply({1: 5, 3: 5, 4: 5, 6: 7}.get(number, 0)))
        try:
            more.append(client.recv(1))
        except ConnectionResetError:
            more.append(b'')

    with servers.fake(answer) as (_, number):
        assert open_channels(command, number) == (
            'display playback record tunnel smartcard')
    assert set(more) == {b''}


@pytest.mark.parametrize('said, problem', [
    (b'', 'no SPICE response'),
    (b'REDQ', 'no SPICE response'),
    (b'RFB 003.008\n' + bytes(20), 'no SPICE response'),
    (struct.pack('<4sIII', b'REDQ', 2, 2, 0) + bytes(9),
     'malformed SPICE response'),
    (struct.pack('<4sIII', b'REDQ', 2, 2, 1 << 31) + bytes(9),
     'malformed SPICE response'),
    (struct.pack('<4sIII', b'REDQ', 2, 2, 178) + bytes(3),
     'malformed SPICE response')])
def test_other_answer_is_none_of_spice(newest_command: Command, said: bytes,
                                       problem: str) -> None:
    def answer(client: socket.socket) -> None:
        channel(client)
        client.sendall(said)

    with servers.fake(answer) as (_, number):
        assert open_channels(newest_command, number) == (
            'ProtocolError: ' + problem)


def test_server_that_says_nothing_is_given_up(newest_command: Command) -> None:
    with servers.fake(lambda client: client.recv(99, socket.MSG_WAITALL)) as (
            server, number):
        assert open_channels(newest_command, number, 1) == (
            'ProtocolError: no SPICE response in time')
    assert server.connections == 1
    assert open_channels(newest_command, number) == (
        'Unreachable: Connection refused')
