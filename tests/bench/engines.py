# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""
"vdsm-tlsciphers scan --engine" of 400 hosts with 50 VMs each, which the
stand-in for the engine knows, and of a tenth of them: consoles with TLS 1.3
alone, and with what QEMU's libraries accept by default. Each port of a server
is a console of every host. The reference is sslscan, on as many ports at a
time.
"""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import subprocess
import sys
import tempfile
from collections.abc import Iterator

import ports
from measure import HERE, Figure, Installation, Row, seconds

import servers
from engine import Engine

VMS = 50
HOSTS: tuple[int, ...] = (40, 400)
CONSOLES = {
    'TLS 1.3 only': ('-tls1_3', '-ciphersuites', 'TLS_AES_128_GCM_SHA256:'
                     'TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256',
                     '-groups', 'X25519:P-256:P-384'),
    "QEMU's defaults": ()}
# What --help does not need is not imported by the one file either.
RUN = """
import resource, sys
sys.path.insert(0, sys.argv[1])
from vdsm_tlsciphers import cli
try:
    cli.run(sys.argv[2:])
finally:
    sys.stderr.write(str(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss))
"""


def rows(rounds: int) -> Iterator[Row | Figure]:
    with contextlib.ExitStack() as stack:
        folder = pathlib.Path(stack.enter_context(
            tempfile.TemporaryDirectory()))
        installation = Installation(folder / 'root', sys.executable)
        console = servers.make_certificate(folder, 'console')
        authority = servers.make_certificate(
            folder, 'engine', '-newkey', 'rsa:2048', '-addext',
            'subjectAltName=IP:127.0.0.1')
        for kind, options in CONSOLES.items():
            with contextlib.ExitStack() as consoles:
                found = [consoles.enter_context(servers.openssl(
                    console, *options)) for _ in range(VMS)]
                reference = seconds(lambda: ports.sslscan(found)) / VMS  # noqa: B023 (run at once)
                for hosts in HOSTS:
                    taken, memory = scan(installation, authority, found, hosts)
                    name = '`scan --engine`, %d consoles, %s' % (
                        hosts * VMS, kind)
                    yield Row(name, 'sslscan, for a console', HERE, None,
                              taken / hosts / VMS / reference, 1.0)
                    yield Figure(name, '%.0f consoles a second, %d MB' % (
                        hosts * VMS / taken, memory))


def scan(installation: Installation, authority: pathlib.Path,
         found: list[int], hosts: int) -> tuple[float, int]:
    """Return the seconds and the MB that it takes."""
    engine = Engine()
    cluster = engine.add_cluster('Default')
    for number in range(hosts):
        host = engine.add_host('node%03d' % number, cluster)
        for port in found:
            engine.run_vm('vm%03d-%d' % (number, port), host, {'spice': (
                '127.1.%d.%d' % divmod(number + 256, 256), 0, port)})
    with engine.serve(authority), tempfile.TemporaryFile('w+') as output:
        begin = os.times().elapsed
        process = subprocess.run(
            [sys.executable, '-c', RUN, installation.module.parent, 'scan',
             '--engine', '--json'], check=True, text=True, stdout=output,
            stderr=subprocess.PIPE, env={
                **os.environ, 'OVIRT_URL': engine.url,
                'OVIRT_USERNAME': 'admin@internal',
                'OVIRT_PASSWORD': engine.password,
                'OVIRT_CAFILE': '%s.pem' % authority})
        taken = os.times().elapsed - begin
        output.seek(0)
        # A line for each console: they would fill the memory.
        summary = json.loads(''.join(
            line for line in output if not line.startswith('    {"vm"')
            ))['summary']
    if summary['consoles'] - summary['not_scanned'] != hosts * len(found):
        sys.exit('not all consoles were scanned: %r' % summary)
    return taken, int(process.stderr) // 1024


if __name__ == '__main__':
    # For a look at one size: engines.py HOSTS
    HOSTS = (int(sys.argv[1]),)
    for row in rows(1):
        print(*row)
