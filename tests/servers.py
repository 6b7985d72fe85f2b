# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""Servers on local ports, real ones and such as answer in bad faith."""

from __future__ import annotations

import contextlib
import os
import pathlib
import re
import select
import socket
import socketserver
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

# What a server does with a connection.
Answer = Callable[[socket.socket], object]


def make_certificate(folder: pathlib.Path, name: str, *options: str,
                     ) -> pathlib.Path:
    """
    Make folder/NAME.pem and NAME.key with `openssl req -x509` and these
    options; return their path without the suffix.
    """
    path = folder / name
    subprocess.run(
        ['openssl', 'req', '-x509', '-nodes', '-days', '2', '-subj',
         '/CN=' + name, '-keyout', '%s.key' % path, '-out', '%s.pem' % path,
         *(options or ('-newkey', 'rsa:2048'))],
        check=True, capture_output=True)
    return path


def make_weak_certificate(folder: pathlib.Path) -> pathlib.Path:
    """The same, with a short key, SHA-1, and long expired."""
    (folder / 'ca.conf').write_text(
        '[ca]\ndefault_ca = a\n[a]\ndatabase = %s/index\nnew_certs_dir = %s\n'
        'serial = %s/serial\npolicy = b\n[b]\ncommonName = supplied\n'
        % (folder, folder, folder))
    (folder / 'index').write_text('')
    (folder / 'serial').write_text('01\n')
    path = folder / 'weak'
    commands: tuple[list[str | pathlib.Path], ...] = (
        ['req', '-new', '-newkey', 'rsa:1024', '-nodes', '-subj',
         '/CN=weak', '-keyout', '%s.key' % path, '-out', '%s.csr' % path],
        ['ca', '-config', folder / 'ca.conf', '-selfsign', '-batch',
         '-notext', '-md', 'sha1', '-keyfile', '%s.key' % path, '-in',
         '%s.csr' % path, '-startdate', '20200101000000Z', '-enddate',
         '20200201000000Z', '-out', '%s.pem' % path])
    for command in commands:
        subprocess.run(['openssl', *command], check=True, capture_output=True)
    return path


@contextlib.contextmanager
def openssl(certificate: pathlib.Path, *options: str,
            conf: str = os.devnull) -> Iterator[int]:
    """
    Run `openssl s_server` with these options and this configuration (str),
    not that of this machine; give its port (int).
    """
    with _run(['openssl', 's_server', '-accept', '0', '-cert',
               '%s.pem' % certificate, '-key', '%s.key' % certificate,
               *options], r'ACCEPT .*:(\d+)\n', OPENSSL_CONF=conf) as port:
        yield port


@contextlib.contextmanager
def gnutls(certificate: pathlib.Path, priority: str = 'NORMAL',
           *options: str) -> Iterator[int]:
    """Run `gnutls-serv` with a priority string; give its port (int)."""
    with socket.create_server(('127.0.0.1', 0)) as free:
        port = free.getsockname()[1]
    with _run(['stdbuf', '--output=L', 'gnutls-serv', '--port', str(port),
               '--priority', priority, '--x509certfile',
               '%s.pem' % certificate, '--x509keyfile',
               '%s.key' % certificate, *options],
              r'listening on IPv4 \S+ port (\d+)\.\.\.done\n') as port:
        yield port


@contextlib.contextmanager
def _run(command: Sequence[str], listening: str,
         **environment: str) -> Iterator[int]:
    server = subprocess.Popen(command, stdin=subprocess.PIPE,
                              stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True,
                              env={**os.environ, **environment})
    assert server.stdout
    said = ''
    try:
        found = None
        while not found:
            line = server.stdout.readline()
            assert line, said
            said += line
            found = re.search(listening, said)
        # It must not come to wait for somebody who reads what it says.
        reader = threading.Thread(target=server.stdout.read)
        reader.start()
        yield int(found.group(1))
    finally:
        # What unshare of Debian 11 starts ignores SIGTERM.
        server.kill()
        server.wait()
    reader.join()


class Fake(socketserver.ThreadingTCPServer):
    """
    A server that treats each connection (socket) as a function does.
    connections (int) counts them, most (int) is how many there were at once.
    The lock is held while that is found out: who answers in between could
    bring an earlier connection to its end.
    """

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, answer: Answer) -> None:
        super().__init__(('127.0.0.1', 0), socketserver.BaseRequestHandler)
        self.answer = answer
        self.connections = 0
        self.most = 0
        self.lock = threading.Lock()
        self._clients: list[socket.socket] = []

    def process_request(self, request: Any, client_address: Any) -> None:
        with self.lock:
            self._clients = [*filter(stays_open, self._clients), request]
        self.connections += 1
        self.most = max(self.most, len(self._clients))
        super().process_request(request, client_address)

    def finish_request(self, request: Any, client_address: Any) -> None:
        # The other end goes away as it likes.
        with contextlib.suppress(OSError):
            self.answer(request)


def stays_open(connection: socket.socket) -> bool:
    """
    Tell whether the other side has not ended a connection. A second is for
    the kernel, which may be slow to say so.
    """
    if connection.fileno() < 0:
        return False
    poll = select.poll()
    poll.register(connection, select.POLLRDHUP)
    return not poll.poll(1000)


@contextlib.contextmanager
def fake(answer: Answer) -> Iterator[tuple[Fake, int]]:
    """Run a Fake on a local port; give it with its port (int)."""
    with Fake(answer) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield server, server.server_address[1]
        finally:
            server.shutdown()
            thread.join()
