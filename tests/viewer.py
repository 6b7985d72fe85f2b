# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""
viewer.py spice PORT CA PASSWORD [PLAINTEXT_PORT]
viewer.py vnc PORT CA PASSWORD [PICTURE]

A user's client without a screen, made of the libraries that remote-viewer is
made of. It connects to a local console over TLS, stays, and says on standard
output what happens: "CHANNEL EVENT". SPICE begins at the port without TLS
where it is given one. A VNC console has one channel; where it is given a file,
the first picture of the screen is written there (PPM), and that ends it.
"""

import ctypes
import pathlib
import sys
from collections.abc import Callable
from typing import Any

import gi

import vencrypt


def say(channel: str, event: str) -> None:
    print(channel, event, flush=True)


def on(thing: Any, signal: str, function: Callable[..., object]) -> None:
    """Have a GObject call function with what comes with a signal."""
    # Session and channels have another method of the name connect.
    GObject.Object.connect(thing, signal, lambda _, *rest: function(*rest))


def view_spice(port: str, ca: str, password: str, *plaintext: str) -> Any:
    session = Spice.Session(host='127.0.0.1', tls_port=port, ca_file=ca,
                            password=password)
    for plaintext_port in plaintext:
        session.props.port = plaintext_port
    on(session, 'channel-new', lambda channel: watch(session, channel))
    session.connect()
    return session


def watch(session: Any, channel: Any) -> None:
    name = type(channel).__name__[:-len('Channel')].lower()
    on(channel, 'channel-event', lambda event: say(name, event.value_nick))
    if name == 'display':
        drawn: list[str] = []

        def draw(*_: object) -> None:
            # The guest, or its cursor, draws all the time. The port changes
            # where the session follows a VM that migrates.
            if drawn[-1:] != [session.props.tls_port]:
                drawn.append(session.props.tls_port)
                say(name, 'drawn through port ' + drawn[-1])

        on(channel, 'display-invalidate', draw)
    if name != 'main':
        channel.connect()


def view_vnc(port: str, password: str) -> Any:
    connection = GVnc.Connection()

    def give_credentials(_: object) -> None:
        # It looks for the CA in a fixed place.
        connection.set_credential(GVnc.ConnectionCredential.CLIENTNAME, 'lab')
        connection.set_credential(GVnc.ConnectionCredential.PASSWORD, password)

    on(connection, 'vnc-auth-choose-type',
       lambda _: connection.set_auth_type(vencrypt.VENCRYPT))
    on(connection, 'vnc-auth-choose-subtype',
       lambda *_: connection.set_auth_subtype(vencrypt.X509_VNC))
    on(connection, 'vnc-auth-credential', give_credentials)
    on(connection, 'vnc-initialized',
       lambda: say('vnc', 'opened through port ' + port))
    on(connection, 'vnc-disconnected', lambda: say('vnc', 'closed'))
    connection.open_host('127.0.0.1', port)
    return connection


class PixelFormat(ctypes.Structure):
    """GVnc's VncPixelFormat."""

    _fields_ = [
        ('bits_per_pixel', ctypes.c_uint8), ('depth', ctypes.c_uint8),
        ('byte_order', ctypes.c_uint16), ('true_color', ctypes.c_uint8),
        *((colour + '_max', ctypes.c_uint16)
          for colour in ('red', 'green', 'blue')),
        *((colour + '_shift', ctypes.c_uint8)
          for colour in ('red', 'green', 'blue'))]


def photograph(connection: Any, path: str) -> None:
    """Write the first picture of the screen, and end."""
    held: list[Any] = []

    def begin() -> None:
        size = connection.get_width(), connection.get_height()
        # Red first in memory; the fourth byte of each pixel is nothing.
        pixels = ctypes.create_string_buffer(4 * size[0] * size[1])
        little = PixelFormat(32, 24, 1234, 1, 255, 255, 255, 0, 8, 16)
        library = ctypes.CDLL('libgvnc-1.0.so.0')
        create = library.vnc_base_framebuffer_new
        create.restype = ctypes.c_void_p
        # Introspection would free the memory at once.
        framebuffer = create(pixels, *size, 4 * size[0], ctypes.byref(little),
                             ctypes.byref(little))
        library.vnc_connection_set_framebuffer(
            ctypes.c_void_p(hash(connection)), ctypes.c_void_p(framebuffer))
        held.extend((size, pixels))
        connection.set_encodings([0])
        connection.set_pixel_format(connection.get_pixel_format())
        connection.framebuffer_update_request(False, 0, 0, *size)

    def write(*_: int) -> None:
        size, pixels = held
        data = bytearray(3 * size[0] * size[1])
        for colour in range(3):
            data[colour::3] = pixels.raw[colour::4]
        pathlib.Path(path).write_bytes(b'P6 %d %d 255\n' % size + data)
        sys.exit()

    on(connection, 'vnc-initialized', begin)
    on(connection, 'vnc-framebuffer-update', write)
    on(connection, 'vnc-error', lambda text: say('vnc', 'error: ' + text))
    on(connection, 'vnc-disconnected', lambda: sys.exit(1))


if __name__ == '__main__':
    console, port, ca, password, *rest = sys.argv[1:]
    if console == 'spice':
        gi.require_version('SpiceClientGLib', '2.0')
        from gi.repository import GLib, GObject
        from gi.repository import SpiceClientGLib as Spice
        viewer = view_spice(port, ca, password, *rest)
    else:
        gi.require_version('GVnc', '1.0')
        from gi.repository import GLib, GObject, GVnc
        viewer = view_vnc(port, password)
        if rest:
            photograph(viewer, rest[0])
    GLib.MainLoop().run()
