# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""
What a console with a policy would accept, by handshakes with a server of this
machine's libraries under exactly that policy. It listens on the loopback only,
with a temporary certificate of oVirt's kind (RSA, 2048 bits).
"""

import atexit
import contextlib
import fcntl
import functools
import os
import re
import signal
import socket
import subprocess  # nosec B404 # programs by absolute path, no shell
import sys
import tempfile

from tlsciphers_values import GNUTLS_CLI, OPENSSL

from vdsm_tlsciphers import UserError, programs
from vdsm_tlsciphers.audit import compliance, scanner
from vdsm_tlsciphers.host import openssl_conf

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from vdsm_tlsciphers import documents

ADDRESS = '127.0.0.1'
# Seconds, for one program.
TIMEOUT = 20
# What "openssl req" reads besides its arguments.
REQUEST = '[req]\ndistinguished_name = name\n[name]\n'
CLIENT_VERSIONS = {'TLSv1': '-tls1', 'TLSv1.1': '-tls1_1',
                   'TLSv1.2': '-tls1_2', 'TLSv1.3': '-tls1_3'}
GNUTLS_SERVER = (
    'import sys; sys.path.insert(0, sys.argv[1]); '
    'from vdsm_tlsciphers.audit import gnutls_server; '
    'gnutls_server.serve(int(sys.argv[2]), *sys.argv[3:])')


ENDING = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM)
# All that were started (list of subprocess.Popen).
SERVERS: 'list[subprocess.Popen[bytes]]' = []


class Dead(Exception):
    """
    The library accepts the policy, but not together with a certificate of
    oVirt's kind: no client could connect.
    """


@contextlib.contextmanager
def server(policy: 'dict[str, str]') -> 'Iterator[int]':
    """
    Yield the port (int) of a server with a policy ({key of
    tlsciphers_values.KEYS: value}), for SPICE or, where it has a priority, for
    VNC. Raises UserError, Dead, and Refused where the wrapper would refuse it.
    """
    with tempfile.TemporaryDirectory(prefix='vdsm-tlsciphers-') as folder:
        certificate = os.path.join(folder, 'certificate')
        with open(certificate, 'wb') as file:
            file.write(make_certificate())
        start = _start_gnutls if 'priority' in policy else _start_openssl
        process, port = start(policy, certificate, folder)
        with process:
            try:
                yield port
            finally:
                process.kill()


@functools.lru_cache(maxsize=None)
def make_certificate() -> bytes:
    """Return a new certificate and its key (bytes, PEM)."""
    with tempfile.TemporaryDirectory(prefix='vdsm-tlsciphers-') as folder:
        configuration = os.path.join(folder, 'cnf')
        key = os.path.join(folder, 'key')
        with open(configuration, 'w') as file:
            file.write(REQUEST)
        pem = _run(OPENSSL, 'req', '-config', configuration, '-x509',
                   '-newkey', 'rsa:2048', '-sha256', '-nodes', '-subj',
                   '/CN=vdsm-tlsciphers', '-days', '2', '-keyout', key).stdout
        try:
            with open(key, 'rb') as file:
                return pem + file.read()
        except OSError as error:
            raise UserError('openssl cannot make a test certificate: %s'
                            % error.strerror, 'repair openssl',
                            'no-certificate')


def _run(*command: str, environment: 'dict[str, str]' = programs.CLEAN,
         ) -> 'subprocess.CompletedProcess[bytes]':
    try:
        return programs.run_bytes(*command, environment=environment,
                                  timeout=TIMEOUT)
    except OSError as error:
        raise programs.cannot_run(command[0], error)
    except subprocess.TimeoutExpired:
        raise UserError('%s timed out after %d seconds' % (
            command[0], TIMEOUT), 'run this again', 'timed-out')


def _start_openssl(policy: 'dict[str, str]', certificate: str, folder: str,
                   ) -> 'tuple[subprocess.Popen[bytes], int]':
    environment = {'LC_ALL': 'C'}
    if any(key in policy for key in openssl_conf.KEYS):
        environment['OPENSSL_CONF'] = _configure(policy, folder)
    # Like libspice: no parameters for DHE, no TLS 1.0 (reds.cpp).
    command = [OPENSSL, 's_server', '-accept', ADDRESS + ':0', '-cert',
               certificate, '-www', '-no_dhe', '-no_tls1']
    if 'ciphers' in policy:
        command += ['-cipher', policy['ciphers']]
    process = _popen(command, env=environment)
    assert process.stdout  # nosec B101 # for mypy
    for line in iter(process.stdout.readline, b''):
        found = re.search(br'^ACCEPT .*:(\d+)$', line.strip())
        if found:
            return process, int(found.group(1))
    with process:
        raise Dead


def _configure(policy: 'dict[str, str]', folder: str) -> str:
    """
    Write the configuration that the wrapper gives to QEMU's OpenSSL; return
    its path.
    """
    path = os.path.join(folder, 'openssl.cnf')
    with openssl_conf.written(policy, path) as (_, problem):
        refusal = problem
    if refusal:
        raise refusal
    return path


def _start_gnutls(policy: 'dict[str, str]', certificate: str, _: str,
                  ) -> 'tuple[subprocess.Popen[bytes], int]':
    with socket.socket() as listener:
        listener.bind((ADDRESS, 0))
        listener.listen(16)
        # Where this process's standard files are closed, those of the server
        # would get the number.
        descriptor = fcntl.fcntl(listener, fcntl.F_DUPFD_CLOEXEC, 10)
        process = _popen(
            [sys.executable, '-EsSBc', GNUTLS_SERVER,
             os.path.abspath(__file__ + '/../../..'),
             str(descriptor), policy['priority'], certificate],
            env={'LC_ALL': 'C'}, pass_fds=[descriptor])
        os.close(descriptor)
        return process, int(listener.getsockname()[1])


def _popen(command: 'list[str]', env: 'dict[str, str]',
           pass_fds: 'Iterable[int]' = ()) -> 'subprocess.Popen[bytes]':
    # A signal that ends this process waits until it knows the server.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
    try:
        process = subprocess.Popen(  # nosec B603
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL, env=env, pass_fds=tuple(pass_fds))
        SERVERS.append(process)
    except OSError as error:
        raise programs.cannot_run(command[0], error)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return process


@atexit.register
def end_servers() -> None:
    """End what an exception in between has left."""
    for process in SERVERS:
        process.kill()
        process.wait()


def connects(port: int, version: str, gnutls: bool = False) -> bool:
    """
    Tell whether a client of this machine's OpenSSL, with its defaults but
    without the host's restrictions, completes a handshake of a version of TLS;
    where gnutls, a client of its GnuTLS counts as well.
    """
    clients = [[OPENSSL, 's_client', '-connect', '%s:%d' % (ADDRESS, port),
                CLIENT_VERSIONS[version], '-cipher', 'ALL:@SECLEVEL=0']
               ] if version in CLIENT_VERSIONS else []
    if gnutls:
        from vdsm_tlsciphers.tls.libraries import GNUTLS_VERSIONS
        clients.append([GNUTLS_CLI, '--insecure', '--port', str(port),
                        '--priority', 'NORMAL:-VERS-ALL:+VERS-'
                        + GNUTLS_VERSIONS[version], ADDRESS])
    # A client elsewhere may do what this host forbids its programs.
    return any(_run(*client, environment={
        **programs.CLEAN, 'OPENSSL_CONF': os.devnull}).returncode == 0
        for client in clients)


def scan(port: int, display: 'documents.Display',
         baseline: 'dict[str, str] | None', name: str) -> 'documents.Console':
    """
    Return what "scan" finds on a port, as a dict for JSON, without the
    certificate, which is ours; baseline and name as for compliance.findings().
    """
    console = scanner.scan_target(
        # On a websocket's port TLS begins at once.
        scanner.Target('spice' if display == 'spice' else 'websocket',
                       ADDRESS, port), None, compliance.NO_BASELINE)
    console['certificate'] = None
    console['findings'] = compliance.findings(console, baseline, name, ())
    return console
