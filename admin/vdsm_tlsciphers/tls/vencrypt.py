# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""
The negotiation on a VNC port after which TLS begins, called VeNCrypt:
https://github.com/rfbproto/rfbproto/blob/master/rfbproto.rst#vencrypt
"""

import re
import struct

from vdsm_tlsciphers.tls.stream import ProtocolError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from vdsm_tlsciphers.tls.stream import Stream

BANNER = b'RFB '
VENCRYPT = 19
# Sub-types, each with and without a password and more: with a certificate
# (what oVirt's consoles have first), without, and without TLS at all. The
# numbers are QEMU's.
X509 = (261, 260, 262, 263)
ANONYMOUS = (258, 257, 259, 264)
PLAIN = 256
# What a server can offer beside TLS with a certificate.
ANONYMOUS_TLS, NO_TLS = 'anonymous TLS', 'no TLS'


class NoTLS(Exception):
    """The server has no TLS; as a str: why."""


class VeNCryptNegotiation:
    """
    The offer of a VNC server: types (list of int: its security types),
    subtypes (tuple of int: those of VeNCrypt).

    The first negotiation, begin(), waits for each answer. Later ones, again(),
    send the same bytes at once: one round trip instead of five.
    """

    def __init__(self) -> None:
        self.types: list[int] = []
        self.subtypes: tuple[int, ...] = ()
        self._sent = b''
        self._received = b''

    def unencrypted_offers(self) -> 'list[str]':
        """Return ANONYMOUS_TLS and NO_TLS where the server offers them."""
        found = []
        if any(number in ANONYMOUS for number in self.subtypes):
            found.append(ANONYMOUS_TLS)
        if PLAIN in self.subtypes or self.types != [VENCRYPT]:
            found.append(NO_TLS)
        return found

    def begin(self, stream: 'Stream') -> None:
        """
        Negotiate with the server of a Stream. Raises NoTLS,
        ProtocolError and OSError.
        """
        version = self._receive(stream, 12)
        found = re.match(br'RFB (\d{3})\.(\d{3})\n$', version)
        if not found:
            raise ProtocolError('no RFB banner')
        if tuple(map(int, found.groups())) < (3, 7):
            raise NoTLS('RFB version %s.%s is too old for TLS'
                        % tuple(int(part) for part in found.groups()))
        self._send(stream, b'RFB 003.00%s\n' % (
            b'7' if version == b'RFB 003.007\n' else b'8'))
        self.types = list(self._receive(stream, self._receive(stream, 1)[0]))
        if not self.types:
            raise ProtocolError('server rejected the client')
        if VENCRYPT not in self.types:
            raise NoTLS('this VNC console is not encrypted')
        self._send(stream, bytes([VENCRYPT]))
        if tuple(self._receive(stream, 2)) < (0, 2):
            raise ProtocolError('VeNCrypt version older than 0.2')
        self._send(stream, b'\0\2')
        status, count = self._receive(stream, 2)
        if status:
            raise ProtocolError('server rejected VeNCrypt 0.2')
        self.subtypes = struct.unpack('>%dI' % count,
                                      self._receive(stream, 4 * count))
        chosen = [number for number in X509 + ANONYMOUS
                  if number in self.subtypes]
        if not chosen:
            raise NoTLS('VeNCrypt without TLS')
        self._send(stream, struct.pack('>I', chosen[0]))
        if self._receive(stream, 1) != b'\1':
            raise ProtocolError('server rejected sub-type %d' % chosen[0])

    def again(self, stream: 'Stream') -> None:
        """The same for another connection; raises as begin() does."""
        stream.send(self._sent)
        if stream.read(len(self._received)) != self._received:
            raise ProtocolError('VeNCrypt negotiation changed between '
                                'connections')

    def _send(self, stream: 'Stream', data: bytes) -> None:
        stream.send(data)
        self._sent += data

    def _receive(self, stream: 'Stream', length: int) -> bytes:
        data = stream.read(length)
        if len(data) < length:
            raise ProtocolError('connection closed before TLS')
        self._received += data
        return data
