# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""
A TLS server like QEMU's VNC display: GnuTLS with a priority string and a
certificate. The program gnutls-serv listens on every address; this one on the
socket that it inherits.

It is a process of its own, see local_server.py: the library reads the
environment when it is loaded.
"""

import ctypes
import socket

LIBRARY = 'libgnutls.so.30'
# Of gnutls.h.
SERVER = 1
CERTIFICATE = 1
PEM = 1
# For a handshake, and for the client to leave afterwards.
SECONDS = 5


def serve(descriptor: int, priority: str, certificate: str) -> None:
    """
    Shake hands with one client after the other, until the process is ended.

    Arguments:
        descriptor (int): of a socket that listens.
        priority (str): a priority string.
        certificate (str): the path of a file with a certificate and its key.
    """
    gnutls = ctypes.CDLL(LIBRARY)
    credentials = ctypes.c_void_p()
    gnutls.gnutls_certificate_allocate_credentials(ctypes.byref(credentials))
    path = certificate.encode()
    if gnutls.gnutls_certificate_set_x509_key_file(credentials, path, path,
                                                   PEM):
        raise SystemExit('GnuTLS cannot read the certificate')
    set_prime(gnutls, credentials)
    with socket.socket(fileno=descriptor) as listener:
        while True:
            connection, _ = listener.accept()
            with connection:
                answer(gnutls, credentials, connection, priority.encode())


class Datum(ctypes.Structure):
    """gnutls_datum_t."""

    _fields_ = (('data', ctypes.c_void_p), ('size', ctypes.c_uint))


def set_prime(gnutls: ctypes.CDLL, credentials: ctypes.c_void_p) -> None:
    """
    Use a prime of 2048 bits for DHE whatever groups are permitted, as QEMU
    does. QEMU generates one, which takes long; a known one is as good here.
    gnutls_certificate_set_known_dh_params() sets one for permitted groups
    only.
    """
    parameters = ctypes.c_void_p()
    gnutls.gnutls_dh_params_init(ctypes.byref(parameters))
    prime, generator = (
        ctypes.byref(Datum.in_dll(gnutls, 'gnutls_ffdhe_2048_group_' + name))
        for name in ('prime', 'generator'))
    if gnutls.gnutls_dh_params_import_raw(parameters, prime, generator):
        raise SystemExit('GnuTLS does not take its own prime')
    gnutls.gnutls_certificate_set_dh_params(credentials, parameters)


def answer(gnutls: ctypes.CDLL, credentials: ctypes.c_void_p,
           connection: socket.socket, priority: bytes) -> None:
    """Shake hands with a client, and wait until it leaves."""
    # The library needs a blocking socket; its timeouts end it.
    connection.setblocking(True)
    number = ctypes.c_int(connection.fileno())
    session = ctypes.c_void_p()
    gnutls.gnutls_init(ctypes.byref(session), SERVER)
    try:
        if gnutls.gnutls_priority_set_direct(session, priority, None):
            return
        gnutls.gnutls_credentials_set(session, CERTIFICATE, credentials)
        gnutls.gnutls_transport_set_int2(session, number, number)
        gnutls.gnutls_handshake_set_timeout(session, SECONDS * 1000)
        while True:
            status = gnutls.gnutls_handshake(session)
            if not status:
                gnutls.gnutls_record_set_timeout(session, SECONDS * 1000)
                gnutls.gnutls_record_recv(
                    session, ctypes.create_string_buffer(16384), 16384)
                return
            if gnutls.gnutls_error_is_fatal(status):
                # The client is told why.
                gnutls.gnutls_alert_send_appropriate(session, status)
                return
    finally:
        gnutls.gnutls_deinit(session)
