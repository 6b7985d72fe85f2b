# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""
"vdsm-tlsciphers scan" of 100 ports, against sslscan and nmap, which do the
same on the same servers, as many ports at a time. All three must find the
same.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import functools
import json
import pathlib
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator

from measure import HERE, Installation, Row

import servers
import support

PORTS = 100
WORKERS = 16
# What a scanner finds: for each port the set of (version, code).
Findings = dict[int, set[tuple[str, str]]]


def rows(rounds: int) -> Iterator[Row]:
    with contextlib.ExitStack() as stack:
        directory = pathlib.Path(stack.enter_context(
            tempfile.TemporaryDirectory()))
        certificate = servers.make_certificate(directory, 'bench')
        ports = [stack.enter_context(servers.openssl(certificate))
                 for _ in range(PORTS)]
        installation = Installation(directory / 'root', sys.executable)
        taken: list[list[float]] = []
        for _ in range(max(3, rounds // 10)):
            answers = [timed(scanner, ports) for scanner in (
                functools.partial(scan, installation.command), sslscan, nmap)]
            taken.append([seconds for seconds, _ in answers])
            ours, *others = [findings for _, findings in answers]
            if others != [ours, ours]:
                sys.exit('the scanners do not find the same: %r, %r' % (
                    ours, others))
        for number, name in ((1, 'sslscan, its extras off'),
                             (2, "nmap's ssl-enum-ciphers")):
            yield Row('`vdsm-tlsciphers scan` of %d ports' % PORTS, name,
                      HERE, None, statistics.median(
                          times[0] / times[number] for times in taken), 1.0)


def timed(scanner: Callable[[list[int]], Findings],
          ports: list[int]) -> tuple[float, Findings]:
    begin = time.perf_counter()
    findings = scanner(ports)
    return time.perf_counter() - begin, findings


def scan(command: pathlib.Path, ports: list[int]) -> Findings:
    process = subprocess.run(
        [sys.executable, '-Es', command, 'scan', '--baseline', 'none',
         '--json', *('127.0.0.1:%d' % port for port in ports)],
        check=True, stdout=subprocess.PIPE)
    return {console['port']: {
        (version, suite['code'])
        for version, suites in console['protocols'].items()
        for suite in suites} for console in json.loads(process.stdout)[
            'consoles']}


def sslscan(ports: list[int]) -> Findings:
    def scan_one(port: int) -> set[tuple[str, str]]:
        return support.sslscan_suites(
            support.sslscan(port, '--no-groups'), 'id')

    with concurrent.futures.ThreadPoolExecutor(WORKERS) as executor:
        return dict(zip(ports, executor.map(scan_one, ports)))


def nmap(ports: list[int]) -> Findings:
    text = subprocess.run(
        ['nmap', '-n', '-Pn', '-p', ','.join(map(str, ports)), '--script',
         'ssl-enum-ciphers', '127.0.0.1'], check=True, text=True,
        stdout=subprocess.PIPE).stdout
    codes = standard_names()
    found: Findings = {}
    port, version = 0, ''
    for line in text.splitlines():
        words = line.strip('|_ ').split()
        if re.match(r'\d+/tcp ', line):
            port = int(words[0].partition('/')[0])
            found[port] = set()
        elif re.match(r'\|   \S+: $', line):
            version = words[0].rstrip(':').replace('TLSv1.0', 'TLSv1')
        elif words and words[0].startswith('TLS_'):
            # Its name for what RFC 8446 leaves open.
            found[port].add((version, codes[words[0].replace('_AKE_WITH',
                                                             '')]))
    return found


def standard_names() -> dict[str, str]:
    """Return the codes of suites as on the wire, by IANA's names."""
    lines = subprocess.run(
        ['openssl', 'ciphers', '-stdname', '-V',
         'ALL:COMPLEMENTOFALL:@SECLEVEL=0'], check=True, text=True,
        stdout=subprocess.PIPE).stdout
    return {name: first + second for first, second, name in re.findall(
        r'0x(\w\w),0x(\w\w) - (\S+)', lines)}
