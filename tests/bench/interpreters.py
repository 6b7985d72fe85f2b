# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""
What the wrapper, the hook and the start of vdsm-tlsciphers add to the start
of their interpreter, on each Python that a release of EL has.
"""

from __future__ import annotations

import pathlib
import statistics
import tempfile
from collections.abc import Iterator

from measure import (
    ENVIRONMENT,
    EXEC,
    Command,
    Installation,
    Row,
    instructions,
    run,
    seconds,
    time_ratio,
)

import support

# libvirt's probe of an emulator.
PROBE = ['-S', '-no-user-config', '-nodefaults', '-nographic', '-machine',
         'none,accel=kvm:tcg', '-qmp', 'unix:/run/x,server=on,wait=off',
         '-pidfile', '/run/x.pid', '-daemonize']
# The least that VMs have of each option; the rest is only copied.
SPICE = ['-spice', 'tls-port=5900', '-vdsm-tls', 'ciphers=ECDHE+AESGCM']
VNC = ['-object', '{"qom-type":"tls-creds-x509","id":"vnc-tls-creds0",'
       '"dir":"/etc/pki","endpoint":"server","verify-peer":false}',
       '-vnc', '127.0.0.1:1,tls-creds=vnc-tls-creds0']
BOTH = [*VNC, *SPICE, '-vdsm-tls', 'protocols=TLSv1.2:TLSv1.3', '-vdsm-tls',
        'priority=NORMAL']

# The modules of the standard library that vdsm's "hooking" imports; those of
# vdsm itself, which cannot be had here, would come on top.
HOOKING = """
import contextlib, datetime, functools, glob, hashlib, io, itertools, json
import logging, os, pkgutil, subprocess, sys, tempfile, threading
from xml.dom import minidom
"""
SHORTEST = """
import os
from xml.dom import minidom
path = os.environ['_hook_domxml']
document = minidom.parse(path)
with open(path, 'wb') as domxml:
    domxml.write(document.toxml('utf-8'))
"""
# What any command line in Python needs.
ARGPARSE = """
import argparse
parser = argparse.ArgumentParser()
parser.add_argument('value', nargs='*')
parser.add_argument('--version', action='version', version='1')
parser.parse_args()
"""
# kB of domain XML: the usual size is some 15, the most that was seen 40.
USUAL = 40
SIZES = (4, 40, 400, 4000)
MOST_COUNTED = 400
DISK = """
    <disk type="block" device="disk" snapshot="no">
      <target dev="sd%d" bus="scsi"/>
      <source dev="/rhev/data-center/mnt/blockSD/ce3769f2/images/%d">
        <seclabel model="dac" type="none" relabel="no"/>
      </source>
      <driver name="qemu" iothread="1" io="native" type="qcow2"/>
      <alias name="ua-%d"/>
    </disk>"""


def rows(rounds: int) -> Iterator[Row]:
    for version in support.available_pythons():
        with tempfile.TemporaryDirectory() as directory:
            yield from Interpreter(version, pathlib.Path(directory),
                                   rounds).rows()


class Interpreter:
    """A Python, and what is installed for it."""

    def __init__(self, version: str, directory: pathlib.Path,
                 rounds: int) -> None:
        self.version = version
        self.rounds = rounds
        self.installation = Installation(directory,
                                         support.find_python(version))
        self.script = self.installation.script
        self.python = self.installation.python
        self.domxml = directory / 'domxml'
        # Whether the guard is among its CPU flags is asked for each VM.
        self.hook_environment = support.hook_environment(
            self.domxml, LC_ALL='C', vmId='ID', extra_cpu_flags='+vmx,-svm')

    def rows(self) -> Iterator[Row]:
        yield from self.wrapper()
        yield from self.idle_hook()
        yield from self.busy_hook()
        if self.version != '2.7':
            yield from self.command()

    def row(self, what: str, command: Command, reference: str,
            bare: Command, environment: dict[str, str],
            goal: float | None = None) -> Row:
        return Row(
            what, reference, self.version,
            instructions(command, environment)
            / instructions(bare, environment),
            time_ratio(self.rounds, lambda: run(command, environment),
                       lambda: run(bare, environment)), goal)

    def wrapper(self) -> Iterator[Row]:
        wrapper: Command = [self.python, '-ESs', self.installation.wrapper]
        bare: Command = [self.python, '-ESs', self.script('execs', EXEC)]
        for what, arguments, goal in (
                ('a probe by libvirt', PROBE, 1.15),
                ('start with `tlsciphers`', SPICE, 1.35),
                ('start, both displays', BOTH, 1.40)):
            yield self.row('wrapper: ' + what, [*wrapper, *arguments],
                           '`python -ESs`, exec', bare, ENVIRONMENT, goal)

    def idle_hook(self) -> Iterator[Row]:
        self.domxml.write_text(
            (support.DATA / 'domain-x86_64.xml').read_text())
        hook: Command = [self.python, '-Ss', self.installation.hook]
        empty = self.script('empty', '')
        references: tuple[tuple[str, Command, float | None], ...] = (
            ('`python` of an empty file', [self.python, empty], 1.0),
            ('`python -Ss` of an empty file', [self.python, '-Ss', empty],
             None),
            ('a hook that imports what `hooking` does',
             [self.python, self.script('hooking', HOOKING)], 0.25))
        for reference, bare, goal in references:
            yield self.row('hook: no property', hook, reference, bare,
                           self.hook_environment, goal)

    def busy_hook(self) -> Iterator[Row]:
        hook: Command = [self.python, '-Ss', self.installation.hook]
        shortest: Command = [self.python, self.script('shortest', SHORTEST)]
        environment = dict(self.hook_environment,
                           tlsciphers=support.GOOD_CIPHERS)

        def give(xml: str) -> None:
            # One that has the policy already would not be written.
            self.domxml.write_text(xml)

        def time(command: Command, xml: str) -> float:
            give(xml)
            return seconds(lambda: run(command, environment))

        growth = []
        for size in SIZES:
            xml = domain(size)
            counts = []
            for command in (hook, shortest):
                # valgrind would need minutes for more.
                if size <= MOST_COUNTED:
                    give(xml)
                    counts.append(instructions(command, environment))
            pairs = [(time(hook, xml), time(shortest, xml)) for _ in range(
                max(3, self.rounds * USUAL // (USUAL + size)))]
            growth.append(statistics.median(ours for ours, _ in pairs))
            yield Row(
                'hook: `tlsciphers`, %d kB of XML' % size,
                'the shortest hook with minidom', self.version,
                counts[0] / counts[1] if counts else None,
                statistics.median(ours / least for ours, least in pairs),
                1.3 if size == USUAL else None)
        usual, large, largest = SIZES[1:]
        yield Row(
            'hook: time for each kB from %d to %d' % (large, largest),
            'from %d to %d' % (usual, large), self.version, None,
            (growth[3] - growth[2]) / (largest - large)
            / ((growth[2] - growth[1]) / (large - usual)))

    def command(self) -> Iterator[Row]:
        bare = self.script('argparse-alone', ARGPARSE)
        start = [self.python, '-Es']
        for arguments in (['--version'], ['check', '--help'],
                          ['scan', '--help'], ['status', '--help']):
            yield self.row(
                '`vdsm-tlsciphers %s`' % ' '.join(arguments),
                [*start, self.installation.command, *arguments],
                'argparse alone', [*start, bare, arguments[-1]],
                ENVIRONMENT, 1.5)


def domain(size: int) -> str:
    """Return a domain XML of so many kB."""
    xml = (support.DATA / 'domain-x86_64.xml').read_text()
    disks = (size * 1000 - len(xml)) // len(DISK)
    return xml.replace('<devices>', '<devices>' + ''.join(
        DISK % (number, number, number) for number in range(disks)))
