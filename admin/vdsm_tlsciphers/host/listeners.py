# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""The TCP ports on which a process listens, from /proc."""

import collections
import os
import re
import socket
import struct

from vdsm_tlsciphers import UserError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import NamedTuple

LISTEN = '0A'
# An emulator has a dozen: more are hostile.
MOST_LISTENERS = 256
MOST_DESCRIPTORS = 1 << 18
CHECK_PROCESS = 'try again; then check the emulator of this VM'

if TYPE_CHECKING:
    class Listener(NamedTuple):
        """A port that listens, at a numeric address."""

        address: str
        port: int
else:
    Listener = collections.namedtuple('Listener', 'address port')


class Listeners:
    """Finds those of processes; a network namespace is read only once."""

    def __init__(self) -> None:
        self._networks: dict[str, dict[str, Listener]] = {}

    def find(self, pid: int) -> 'list[Listener]':
        """
        Return those (list of Listener, by port) of a process. Raises UserError
        where they cannot be read.
        """
        try:
            network = os.readlink('/proc/%d/ns/net' % pid)
            if network not in self._networks:
                self._networks[network] = dict(_listening(pid))
            known = self._networks[network]
            found = {known[inode] for inode in _sockets(pid)
                     if inode in known}
        except OSError as error:
            raise UserError('the ports of its emulator cannot be read: %s'
                            % (error.strerror or error), CHECK_PROCESS,
                            'listeners-unreadable')
        if len(found) > MOST_LISTENERS:
            raise UserError('its emulator listens on more than %d ports'
                            % MOST_LISTENERS, CHECK_PROCESS,
                            'too-many-listeners')
        return sorted(found, key=lambda listener: (listener.port,
                                                   listener.address))


def can_be_reached(pid: int) -> bool:
    """Tell whether a process is in the network namespace of this one."""
    try:
        return (os.readlink('/proc/%d/ns/net' % pid)
                == os.readlink('/proc/self/ns/net'))
    except OSError:
        return False


def _listening(pid: int) -> 'Iterator[tuple[str, Listener]]':
    """Yield the inode and Listener of each listener in its namespace."""
    for name in 'tcp', 'tcp6':
        try:
            table = open('/proc/%d/net/%s' % (pid, name))  # noqa: SIM115
        except FileNotFoundError:
            continue  # A kernel without IPv6.
        with table:
            for line in table:
                words = line.split()
                if len(words) > 9 and words[3] == LISTEN:
                    address, _, number = words[1].partition(':')
                    yield words[9], Listener(_address(address),
                                             int(number, 16))


def _address(words: str) -> str:
    """Return an address that the kernel wrote in native byte order."""
    packed = b''.join(struct.pack('=I', int(words[at:at + 8], 16))
                      for at in range(0, len(words), 8))
    family = socket.AF_INET if len(packed) == 4 else socket.AF_INET6
    return socket.inet_ntop(family, packed)


def _sockets(pid: int) -> 'Iterator[str]':
    """Yield the inodes (str) of the sockets that a process has open."""
    folder = '/proc/%d/fd' % pid
    for count, name in enumerate(os.listdir(folder)):
        if count >= MOST_DESCRIPTORS:
            raise UserError('its emulator has more than %d files open'
                            % MOST_DESCRIPTORS, CHECK_PROCESS,
                            'too-many-files')
        try:
            found = re.match(r'socket:\[(\d+)\]$', os.readlink(
                '%s/%s' % (folder, name)))
        except OSError:
            continue  # It has just been closed.
        if found:
            yield found.group(1)
