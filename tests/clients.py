# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""
What users see a console with, run without a screen.

The pictures are (width, height, pixels): int, int, and bytes of red, green
and blue. Where a client fails, subprocess.CalledProcessError has its status
and what it wrote.
"""

from __future__ import annotations

import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import support

if TYPE_CHECKING:
    from typing_extensions import Self

Picture = tuple[int, int, bytes]
LAB_CA = '/etc/pki/vdsm/libvirt-spice/ca-cert.pem'
# The only place where gtk-vnc looks for one.
VNC_CA = pathlib.Path('/etc/pki/CA/cacert.pem')
# The size of 80 times 25 characters.
TEXT_SCREEN = (720, 400)
# Seconds.
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
    trust(ca)
    with tempfile.TemporaryDirectory() as folder:
        picture = pathlib.Path(folder) / 'picture.ppm'
        subprocess.run(
            [sys.executable, support.TESTS / 'viewer.py', 'vnc', str(port),
             ca, password, picture], check=True, timeout=PATIENCE,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT)
        return read_ppm(picture.read_bytes())


def trust(ca: str | pathlib.Path) -> None:
    """Have VNC's clients trust the CA of a PEM file."""
    VNC_CA.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(ca, VNC_CA)


class Viewer:
    """
    A client that stays connected to a console ("spice" or "vnc") with a local
    port: events ({channel: list of str}), as far as they were awaited. SPICE
    begins at the port without TLS where it is given one.
    """

    def __init__(self, console: str, port: int,
                 password: str = support.CONSOLE_PASSWORD,
                 plaintext_port: int | None = None) -> None:
        trust(LAB_CA)
        self.console = console
        self.events: dict[str, list[str]] = {}
        self.process = subprocess.Popen(
            ['timeout', '60', sys.executable, support.TESTS / 'viewer.py',
             console, str(port), LAB_CA, password,
             *([str(plaintext_port)] if plaintext_port else [])],
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
