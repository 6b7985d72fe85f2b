# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""
SPICE's own protocol on a port without TLS: which channels work there. The
messages are defined in spice/protocol.h of spice-protocol.
"""

import socket
import struct
import time

from vdsm_tlsciphers.tls import probe
from vdsm_tlsciphers.tls.stream import ProtocolError, Stream

# By their numbers on the wire, which begin with 1.
CHANNELS = ('main', 'display', 'inputs', 'cursor', 'playback', 'record',
            'tunnel', 'smartcard', 'usbredir', 'port', 'webdav')
MAGIC = b'REDQ'
# An unencrypted connection to a channel that requires TLS.
NEED_SECURED = 5
# A reply without capabilities has 178 bytes.
LONGEST_REPLY = 4096
TIMEOUT = 5


def open_channels(address: str, number: int,
                  timeout: float = TIMEOUT) -> 'list[str]':
    """
    Return those of CHANNELS (list of str) that a port takes without TLS. A
    channel that the VM does not have is not among them, nor one that requires
    TLS. Nothing is sent after the message that names the channel, and no
    ticket: connected clients are not disturbed.

    Arguments:
        address (str), number (int): of the port.
        timeout (float): seconds for all of it.

    Raises probe.Unreachable, and ProtocolError where the answer is
    not SPICE's.
    """
    deadline = time.monotonic() + timeout
    found = []
    for kind, name in enumerate(CHANNELS, 1):
        error = _ask(address, number, kind, deadline)
        # Every SPICE server has a main channel.
        if error is None and name == 'main':
            raise ProtocolError('no SPICE response')
        if error not in (None, NEED_SECURED):
            found.append(name)
    return found


def link_message(kind: int) -> bytes:
    """Return the first message of a client on a channel of a kind (int)."""
    message = struct.pack('<IBBIII', 0, kind, 0, 0, 0, 18)
    return struct.pack('<4sIII', MAGIC, 2, 2, len(message)) + message


def _ask(address: str, number: int, kind: int,
         deadline: float) -> 'int | None':
    """
    Return the error (int, 0 for none) of a server's reply to a channel's first
    message; None where it only closes the connection, as for a channel that
    does not exist.
    """
    try:
        connection = socket.create_connection(
            (address, number), max(0.001, deadline - time.monotonic()))
    except OSError as error:
        raise probe.Unreachable(error.strerror or str(error),
                                isinstance(error, socket.timeout))
    with connection:
        probe.end_by_reset(connection)
        stream = Stream(connection, deadline)
        try:
            stream.send(link_message(kind))
            header = stream.read(16)
            if not header:
                return None
            if len(header) < 16 or not header.startswith(MAGIC):
                raise ProtocolError('no SPICE response')
            length, = struct.unpack_from('<I', header, 12)
            reply = stream.read(4) if 4 <= length <= LONGEST_REPLY else b''
            if len(reply) < 4:
                raise ProtocolError('malformed SPICE response')
        except socket.timeout:
            raise ProtocolError('no SPICE response in time')
        except ConnectionError:
            return None
        except OSError as error:
            raise ProtocolError('connection failed: %s'
                                          % (error.strerror or error))
    return int(struct.unpack('<I', reply)[0])
