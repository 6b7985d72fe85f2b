# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""The bytes of a connection to a server, read in bounds."""

import socket
import time

# Bytes of all that a server sends.
LONGEST_ANSWER = 2 ** 18


class ProtocolError(Exception):
    """What ends the scan of a port: text (also as a str), remedy and code."""

    def __init__(self, text: str,
                 remedy: str = 'check the server on that port and scan again',
                 code: str = 'scan-incomplete') -> None:
        super().__init__(text)
        self.text = text
        self.remedy = remedy
        self.code = code


class Stream:
    """
    The bytes from a server's socket: at most LONGEST_ANSWER, until the
    deadline (time.monotonic).
    """

    def __init__(self, connection: socket.socket, deadline: float) -> None:
        self.connection = connection
        self.deadline = deadline
        self.buffer = b''
        self.total = 0

    def send(self, data: bytes) -> None:
        """Send data (bytes). Raises OSError (socket.timeout among them)."""
        self._set_timeout()
        self.connection.sendall(data)

    def read(self, length: int) -> bytes:
        """
        Return so many bytes, or fewer at the end of the connection. Raises
        ProtocolError and OSError (socket.timeout among them).
        """
        while len(self.buffer) < length:
            self._set_timeout()
            data = self.connection.recv(65536)
            if not data:
                break
            self.total += len(data)
            if self.total > LONGEST_ANSWER:
                raise ProtocolError('malformed TLS message: too long')
            self.buffer += data
        data, self.buffer = self.buffer[:length], self.buffer[length:]
        return data

    def speaks_http(self) -> bool:
        """
        Send an HTTP request; tell whether the answer begins as HTTP does.
        Raises as read().
        """
        self.send(b'GET / HTTP/1.0\r\n\r\n')
        return self.read(5) == b'HTTP/'

    def _set_timeout(self) -> None:
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise socket.timeout()
        self.connection.settimeout(left)
