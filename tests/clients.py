# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""
What users see a console with, run without a screen.

The pictures are (width, height, pixels): int, int, and bytes of red, green
and blue. Where a client fails, subprocess.CalledProcessError has its status
and what it wrote.
"""

from __future__ import annotations

import fcntl
import os
import pathlib
import pty
import re
import shutil
import struct
import subprocess
import sys
import tempfile
import termios
import time
import zlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import support

if TYPE_CHECKING:
    from typing_extensions import Self

Picture = tuple[int, int, bytes]
LAB_CA = '/etc/pki/vdsm/libvirt-spice/ca-cert.pem'
# The only place where gvnccapture looks for one.
VNC_CA = pathlib.Path('/etc/pki/CA/cacert.pem')
# The size of 80 times 25 characters.
TEXT_SCREEN = (720, 400)
# Seconds. gvnccapture waits forever for an answer.
PATIENCE = 20


def spice_screenshot(port: int, ca: str | pathlib.Path = LAB_CA,
                     password: str = support.CONSOLE_PASSWORD,
                     plaintext_port: int | None = None) -> Picture:
    """
    Return the picture that a SPICE client gets of the screen of a guest whose
    console has a local TLS port. It trusts the CA of a PEM file. Where it is
    given the port without TLS as well, it begins there.
    """
    with tempfile.TemporaryDirectory() as folder:
        picture = pathlib.Path(folder) / 'picture.ppm'
        subprocess.run(
            ['spicy-screenshot', '--host', '127.0.0.1', '--secure-port',
             str(port), '--password', password, '--out-file', picture,
             *(['--port', str(plaintext_port)] if plaintext_port else [])],
            env={**os.environ, 'SSL_CERT_FILE': str(ca)}, check=True,
            timeout=PATIENCE, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        return read_ppm(picture.read_bytes())


def vnc_screenshot(port: int, ca: str | pathlib.Path = LAB_CA,
                   password: str = support.CONSOLE_PASSWORD) -> Picture:
    """
    Return the picture that a VNC client gets of the screen of a guest whose
    console has a local port. It trusts the CA of a PEM file.
    """
    VNC_CA.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(ca, VNC_CA)
    with tempfile.TemporaryDirectory() as folder:
        picture = pathlib.Path(folder) / 'picture.png'
        log = pathlib.Path(folder) / 'log'
        # It reads a password from a terminal only.
        terminal, end = pty.openpty()
        try:
            fcntl.ioctl(terminal, termios.TIOCPKT, struct.pack('i', 1))
            with log.open('wb') as output:
                # It says why it fails only with --debug.
                client = subprocess.Popen(
                    ['timeout', '--foreground', str(PATIENCE), 'gvnccapture',
                     '--debug', '127.0.0.1:%d' % (port - 5900), picture],
                    stdin=end, stdout=output, stderr=output)
            os.close(end)
            _type_in(terminal, password)
            client.wait()
        finally:
            os.close(terminal)
        if client.returncode:
            raise subprocess.CalledProcessError(client.returncode, client.args,
                                                log.read_bytes())
        return read_png(picture.read_bytes())


def _type_in(terminal: int, password: str) -> None:
    """Answer a program that asks for a password, if it does."""
    # First it throws away what came too early.
    try:
        while not os.read(terminal, 1024)[0] & termios.TIOCPKT_FLUSHREAD:
            pass
        os.write(terminal, password.encode() + b'\n')
    except OSError:
        # It ended and did not ask.
        pass


class Viewer:
    """
    A client that stays connected to a console ("spice" or "vnc") with a local
    port: events ({channel: list of str}), as far as they were awaited.
    """

    def __init__(self, console: str, port: int,
                 password: str = support.CONSOLE_PASSWORD) -> None:
        VNC_CA.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(LAB_CA, VNC_CA)
        self.console = console
        self.events: dict[str, list[str]] = {}
        self.process = subprocess.Popen(
            ['timeout', '60', sys.executable, support.TESTS / 'viewer.py',
             console, str(port), LAB_CA, password],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
        # SPICE carries over only who has all of these.
        self.await_events(self._screen(port), *(
            '%s opened' % channel for channel in (
                'main', 'display', 'inputs', 'cursor')
            if console == 'spice'))

    def _screen(self, port: int) -> str:
        return {'spice': 'display drawn through port %d',
                'vnc': 'vnc opened through port %d'}[self.console] % port

    def await_screen(self, port: int) -> None:
        """Wait until it shows what comes through another port."""
        self.await_events(self._screen(port))

    def await_events(self, *awaited: str) -> None:
        assert self.process.stdout
        missing = set(awaited)
        while missing:
            line = self.process.stdout.readline().strip()
            assert line, (self.events, missing)
            channel, _, event = line.partition(' ')
            self.events.setdefault(channel, []).append(event)
            missing.discard(line)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.process.communicate()


def await_picture(screenshot: Callable[..., Picture], *arguments: Any,
                  **options: Any) -> Picture:
    """
    Return the first picture that one of the functions above gets with
    something on it that the guest's firmware has written.
    """
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        picture = screenshot(*arguments, **options)
        # Before that, QEMU shows a message of its own in another size.
        if picture[:2] == TEXT_SCREEN and len(colours(picture)) > 1:
            return picture
    raise AssertionError('there is no text on the screen')


def colours(picture: Picture) -> set[bytes]:
    """Return the set of colours (bytes of length 3) of a picture."""
    pixels = picture[2]
    return {pixels[at:at + 3] for at in range(0, len(pixels), 3)}


def read_ppm(data: bytes) -> Picture:
    header = re.match(rb'P6\s+(\d+)\s+(\d+)\s+255\s', data)
    assert header
    width, height = map(int, header.groups())
    pixels = data[header.end():]
    assert len(pixels) == width * height * 3
    return width, height, pixels


def read_png(data: bytes) -> Picture:
    """Read 8 bits per channel, RGB or RGBA, not interlaced."""
    chunks, at = [], 8
    while at < len(data):
        length, kind = struct.unpack_from('>I4s', data, at)
        chunks.append((kind, data[at + 8:at + 8 + length]))
        at += length + 12
    width, height, depth, colour, _, _, interlaced = struct.unpack(
        '>IIBBBBB', dict(chunks)[b'IHDR'])
    assert depth == 8
    assert colour in (2, 6)
    assert not interlaced
    channels = {2: 3, 6: 4}[colour]
    packed = zlib.decompress(b''.join(part for kind, part in chunks
                                      if kind == b'IDAT'))
    stride = width * channels
    pixels, above = bytearray(), bytes(stride)
    for start in range(0, len(packed), stride + 1):
        above = _unfilter(packed[start], packed[start + 1:start + 1 + stride],
                          above, channels)
        for at in range(0, stride, channels):
            pixels += above[at:at + 3]
    return width, height, bytes(pixels)


def _unfilter(kind: int, packed: bytes, above: bytes, channels: int) -> bytes:
    line = bytearray(packed)
    for at, value in enumerate(line):
        left = line[at - channels] if at >= channels else 0
        corner = above[at - channels] if at >= channels else 0
        line[at] = (value + _predict(kind, left, above[at], corner)) & 255
    return bytes(line)


def _predict(kind: int, left: int, up: int, corner: int) -> int:
    if kind == 4:
        estimate = left + up - corner
        return min((left, up, corner),
                   key=lambda value: abs(estimate - value))
    return (0, left, up, (left + up) // 2)[kind]
