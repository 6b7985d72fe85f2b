# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""
Stand-ins for programs of EL8, whose OpenSSL 1.1.1 Debian does not package:
the program "openssl" (the commands that the wrapper runs) and QEMU's SPICE
port. What answers is a real library, of the Python package psycopg2-binary
or of the system. This is upstream's 1.1.1: it has none of EL8's patches, so
PROFILE=SYSTEM is unknown to it and its default security level is 1.
"""

from __future__ import annotations

import argparse
import ctypes
import glob
import os
import pathlib
import socket
import struct
import sys
from typing import NoReturn

# From the headers <openssl/ssl.h> and <openssl/crypto.h>.
INIT_LOAD_CONFIG = 0x40
INIT_ENGINE_ALL_BUILTIN = 0x7e00
SET_GROUPS_LIST = 92
SET_MIN_PROTO_VERSION = 123
SET_MAX_PROTO_VERSION = 124
FILETYPE_PEM = 1
# SSL_OP_NO_SSLv3 and SSL_OP_NO_COMPRESSION, as libspice sets them.
SPICE_OPTIONS = 0x02000000 | 0x00020000
PROTOCOLS = {'tls1': 0x0301, 'tls1_1': 0x0302, 'tls1_2': 0x0303,
             'tls1_3': 0x0304}

TEXT, POINTER, INT, LONG = (ctypes.c_char_p, ctypes.c_void_p, ctypes.c_int,
                            ctypes.c_long)
FUNCTIONS = {
    'ERR_clear_error': (None,),
    'ERR_print_errors_fp': (None, POINTER),
    'OPENSSL_init_ssl': (INT, ctypes.c_uint64, POINTER),
    'OPENSSL_sk_num': (INT, POINTER),
    'OPENSSL_sk_value': (POINTER, POINTER, INT),
    'OpenSSL_version': (TEXT, INT),
    'SSL_CIPHER_description': (TEXT, POINTER, TEXT, INT),
    'SSL_CIPHER_get_name': (TEXT, POINTER),
    'SSL_CTX_ctrl': (LONG, POINTER, INT, LONG, TEXT),
    'SSL_CTX_new': (POINTER, POINTER),
    'SSL_CTX_set_cipher_list': (INT, POINTER, TEXT),
    'SSL_CTX_set_ciphersuites': (INT, POINTER, TEXT),
    'SSL_CTX_set_options': (ctypes.c_ulong, POINTER, ctypes.c_ulong),
    'SSL_CTX_use_PrivateKey_file': (INT, POINTER, TEXT, INT),
    'SSL_CTX_use_certificate_chain_file': (INT, POINTER, TEXT),
    'SSL_accept': (INT, POINTER),
    'SSL_free': (None, POINTER),
    'SSL_get1_supported_ciphers': (POINTER, POINTER),
    'SSL_get_ciphers': (POINTER, POINTER),
    'SSL_new': (POINTER, POINTER),
    'SSL_read': (INT, POINTER, TEXT, INT),
    'SSL_set_fd': (INT, POINTER, INT),
    'SSL_shutdown': (INT, POINTER),
    'TLS_client_method': (POINTER,),
    'TLS_server_method': (POINTER,),
}
SCRIPT = """#!%s -ESs
import sys
sys.dont_write_bytecode = True
sys.path.insert(0, %r)
import openssl111
sys.exit(openssl111.%s(%s))
"""


def find_libraries() -> str | None:
    """Return the folder (str) with OpenSSL 1.1.1's libraries, or None."""
    for folder in sys.path:
        libraries = os.path.join(folder, 'psycopg2_binary.libs')
        if glob.glob(os.path.join(libraries, 'libssl*.so.1.1')):
            return libraries
    return None


def write_openssl(path: pathlib.Path, libraries: str | None) -> None:
    """
    Write a program that answers as "openssl" does.

    path (pathlib.Path): where to write it.
    libraries (str): as for Library.
    """
    write_script(path, 'openssl', libraries)


def write_qemu(path: pathlib.Path, libraries: str | None,
               certificate: pathlib.Path) -> None:
    """
    Write a program that stands for a QEMU with a TLS port for SPICE: it takes
    QEMU's command line, writes the number of its port on 127.0.0.1 to
    standard output, and makes TLS handshakes there until it is killed.

    path (pathlib.Path): where to write it.
    libraries (str): as for Library.
    certificate (pathlib.Path): a PEM file with certificate and private key.
    """
    write_script(path, 'qemu', libraries, str(certificate))


def write_script(path: pathlib.Path, function: str,
                 *settings: str | None) -> None:
    path.write_text(SCRIPT % (
        sys.executable, os.path.dirname(os.path.abspath(__file__)), function,
        ', '.join(map(repr, settings))))
    path.chmod(0o755)


class Library(ctypes.CDLL):
    """
    An OpenSSL library, whose functions are attributes.

    folder (str): where libcrypto and libssl are, or None for the system's.
    """

    def __init__(self, folder: str | None) -> None:
        libcrypto, libssl = [
            glob.glob(os.path.join(folder, name + '*.so.*') if folder else
                      '/usr/lib/*/%s.so.[0-9]*' % name)[0]
            for name in ('libcrypto', 'libssl')]
        ctypes.CDLL(libcrypto, mode=ctypes.RTLD_GLOBAL)
        super().__init__(libssl)
        for name, (result, *arguments) in FUNCTIONS.items():
            function = getattr(self, name)
            function.restype, function.argtypes = result, arguments

    def print_errors(self) -> None:
        standard_error = POINTER.in_dll(ctypes.CDLL(None), 'stderr')
        self.ERR_print_errors_fp(standard_error)

    def set_range(self, context: int, version: int) -> None:
        """Allow one version of the protocol, or with 0 all of them."""
        for command in SET_MIN_PROTO_VERSION, SET_MAX_PROTO_VERSION:
            self.SSL_CTX_ctrl(context, command, version, None)


class Parser(argparse.ArgumentParser):
    """Options as openssl's programs have them: exit status 1 on an error."""

    def __init__(self, name: str) -> None:
        super().__init__(prog=name, add_help=False, allow_abbrev=False)

    def error(self, message: str) -> NoReturn:
        fail('%s: %s\n%s: Use -help for summary.' % (self.prog, message,
                                                     self.prog))


def fail(message: str, library: Library | None = None) -> NoReturn:
    print(message, file=sys.stderr, flush=True)
    if library:
        library.print_errors()
    sys.exit(1)


def openssl(libraries: str | None) -> None:
    """Do what the command line says, as apps/openssl.c does."""
    library = Library(libraries)
    if not library.OPENSSL_init_ssl(
            INIT_ENGINE_ALL_BUILTIN | INIT_LOAD_CONFIG, None):
        fail('FATAL: Startup failure (dev note: apps_startup() failed)',
             library)
    commands = {'ciphers': ciphers, 's_client': s_client, 'version': version}
    name = sys.argv[1] if len(sys.argv) > 1 else ''
    if name not in commands:
        fail("Invalid command '%s'; type \"help\" for a list." % name)
    commands[name](library, sys.argv[2:])


def version(library: Library, arguments: list[str]) -> None:
    print(library.OpenSSL_version(0).decode())


def ciphers(library: Library, arguments: list[str]) -> None:
    """
    List suites, as apps/ciphers.c does: whatever protocols the configuration
    allows, those of the options count, and without options all of them.
    """
    parser = Parser('ciphers')
    parser.add_argument('-s', action='store_true')
    parser.add_argument('-v', action='store_true')
    for name, number in PROTOCOLS.items():
        parser.add_argument('-' + name, dest='protocol', const=number,
                            action='store_const', default=0)
    parser.add_argument('-ciphersuites', type=os.fsencode)
    parser.add_argument('list', nargs='?', type=os.fsencode)
    options = parser.parse_args(arguments)

    context = library.SSL_CTX_new(library.TLS_server_method())
    library.set_range(context, options.protocol)
    if options.ciphersuites is not None:
        if not library.SSL_CTX_set_ciphersuites(context,
                                                options.ciphersuites):
            fail('Error setting TLSv1.3 ciphersuites', library)
    if options.list is not None:
        if not library.SSL_CTX_set_cipher_list(context, options.list):
            fail('Error in cipher list', library)
    connection = library.SSL_new(context)
    suites = (library.SSL_get1_supported_ciphers(connection) if options.s
              else library.SSL_get_ciphers(connection))
    suites = [library.OPENSSL_sk_value(suites, position)
              for position in range(library.OPENSSL_sk_num(suites))]
    if options.v:
        text = ctypes.create_string_buffer(512)
        for suite in suites:
            description = library.SSL_CIPHER_description(suite, text, 512)
            sys.stdout.write(description.decode())
    else:
        print(':'.join(library.SSL_CIPHER_get_name(suite).decode()
                       for suite in suites))


def s_client(library: Library, arguments: list[str]) -> None:
    """Set the groups and connect; for lack of need, nothing more."""
    parser = Parser('s_client')
    parser.add_argument('-no-CAfile', action='store_true')
    parser.add_argument('-no-CApath', action='store_true')
    parser.add_argument('-unix', required=True)
    parser.add_argument('-groups')
    options = parser.parse_args(arguments)

    context = library.SSL_CTX_new(library.TLS_client_method())
    if options.groups is not None:
        if library.SSL_CTX_ctrl(context, SET_GROUPS_LIST, 0,
                                os.fsencode(options.groups)) != 1:
            fail('Error with command: "-groups %s"' % options.groups, library)
    with socket.socket(socket.AF_UNIX) as connection:
        try:
            connection.connect(options.unix)
        except OSError as error:
            fail('connect:errno=%s' % error.errno)
    fail('this stand-in makes no connections')


def qemu(libraries: str | None, certificate: str) -> None:
    """Serve as libspice does, for a command line of QEMU's."""
    library = Library(libraries)
    library.OPENSSL_init_ssl(0, None)
    context = library.SSL_CTX_new(library.TLS_server_method())
    path = os.fsencode(certificate)
    cipher_list = find_cipher_list(sys.argv[1:])
    if not (context
            and library.SSL_CTX_set_options(context, SPICE_OPTIONS)
            and library.SSL_CTX_use_certificate_chain_file(context, path) == 1
            and library.SSL_CTX_use_PrivateKey_file(context, path,
                                                    FILETYPE_PEM) == 1
            and (not cipher_list or library.SSL_CTX_set_cipher_list(
                context, os.fsencode(cipher_list)))):
        fail('qemu-kvm: failed to initialize spice server', library)
    with socket.create_server(('127.0.0.1', 0)) as port:
        print(port.getsockname()[1], flush=True)
        while True:
            serve(library, context, port.accept()[0])


def find_cipher_list(arguments: list[str]) -> str | None:
    """Return the cipher list (str) for SPICE, or None: the last one wins."""
    cipher_list = None
    for option, value in zip(arguments, arguments[1:]):
        if option == '-spice':
            for parameter in value.split(','):
                name, _, text = parameter.partition('=')
                if name == 'tls-ciphers':
                    cipher_list = text
    return cipher_list


def serve(library: Library, context: int, client: socket.socket) -> None:
    """Make one handshake and wait, 5 seconds at most, for its client."""
    with client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO,
                          struct.pack('ll', 5, 0))
        connection = library.SSL_new(context)
        library.SSL_set_fd(connection, client.fileno())
        if library.SSL_accept(connection) == 1:
            library.SSL_read(connection, ctypes.create_string_buffer(1), 1)
            library.SSL_shutdown(connection)
        library.SSL_free(connection)
        library.ERR_clear_error()
