# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""
VNC consoles for clients that know nothing of VNC.

On a VNC port TLS begins only after a talk between the two, called VeNCrypt
(https://github.com/rfbproto/rfbproto/blob/master/rfbproto.rst#vencrypt).
"""

import contextlib
import select
import socket
import struct
import threading
from collections.abc import Iterator

VENCRYPT = 19
X509_NONE = 260  # no password after the handshake
X509_VNC = 261  # a password, as oVirt's consoles have
X509_SASL = 263


class Refused(Exception):
    """A VNC server does not let TLS begin."""


def connect(port: int, subtype: int = X509_VNC) -> socket.socket:
    """
    Return a socket to a local VNC port at the point where TLS begins. Raise
    Refused if that does not come.
    """
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(
            socket.create_connection(('127.0.0.1', port), timeout=20))
        _talk(server, subtype)
        server.settimeout(None)
        stack.pop_all()
        return server


def _talk(server: socket.socket, subtype: int) -> None:
    version = _read(server, 12)
    if version != b'RFB 003.008\n':
        raise Refused('expected RFB 003.008, got %r' % version)
    server.sendall(version)
    types = _read(server, _read(server, 1)[0])
    if VENCRYPT not in types:
        raise Refused('expected VeNCrypt among the security types %s'
                      % list(types))
    server.sendall(bytes([VENCRYPT]))
    version = _read(server, 2)
    if version != b'\0\2':
        raise Refused('expected VeNCrypt 0.2, got %d.%d' % tuple(version))
    server.sendall(version)
    status, count = _read(server, 2)
    if status != 0:
        raise Refused('VeNCrypt 0.2 is not accepted')
    subtypes = struct.unpack('>%dI' % count, _read(server, 4 * count))
    if subtype not in subtypes:
        raise Refused('expected %d among the sub-types %s'
                      % (subtype, list(subtypes)))
    server.sendall(struct.pack('>I', subtype))
    if _read(server, 1) != b'\1':
        raise Refused('sub-type %d is not accepted' % subtype)


def _read(server: socket.socket, length: int) -> bytes:
    data = b''
    while len(data) < length:
        part = server.recv(length - len(data))
        if not part:
            raise Refused('the server ended the connection')
        data += part
    return data


@contextlib.contextmanager
def relay(port: int, subtype: int = X509_VNC) -> Iterator[int]:
    """
    Give a local port (int) where TLS begins at once, as that of a VNC port:
    each of its connections goes to one of its own at the VNC port. At the end
    raise Refused if TLS did not begin for one of them.
    """
    with socket.create_server(('127.0.0.1', 0), backlog=64) as listener:
        state = _Relay(listener, port, subtype)
        acceptor = threading.Thread(target=state.accept)
        acceptor.start()
        try:
            yield listener.getsockname()[1]
        finally:
            state.close(acceptor)
    if state.errors:
        raise state.errors[0]


class _Relay:
    def __init__(self, listener: socket.socket, port: int, subtype: int,
                 ) -> None:
        self.listener = listener
        self.port = port
        self.subtype = subtype
        self.errors: list[Exception] = []
        self.threads: list[threading.Thread] = []
        self.pairs: set[tuple[socket.socket, socket.socket]] = set()

    def accept(self) -> None:
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            # Here, not in a thread: QEMU does not queue many connections.
            try:
                server = connect(self.port, self.subtype)
            except (OSError, Refused) as error:
                self.errors.append(error)
                client.close()
                continue
            self.pairs.add((client, server))
            thread = threading.Thread(target=self.pass_on,
                                      args=(client, server))
            thread.start()
            self.threads.append(thread)

    def pass_on(self, client: socket.socket, server: socket.socket) -> None:
        other = {client: server, server: client}
        sources = [client, server]
        # A reset by one of them ends both.
        with client, server, contextlib.suppress(OSError):
            while sources:
                for source in select.select(sources, [], [])[0]:
                    data = source.recv(65536)
                    if data:
                        other[source].sendall(data)
                    else:
                        other[source].shutdown(socket.SHUT_WR)
                        sources.remove(source)
        self.pairs.discard((client, server))

    def close(self, acceptor: threading.Thread) -> None:
        # Ends what the threads wait for.
        self.listener.shutdown(socket.SHUT_RDWR)
        acceptor.join()
        for end in [end for pair in list(self.pairs) for end in pair]:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        for thread in self.threads:
            thread.join()
