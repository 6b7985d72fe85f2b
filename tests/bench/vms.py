# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""
What a policy costs where libvirt starts real VMs, and what is left of it in
one that runs. In tests/lab, whose libvirtd starts them.
"""

from __future__ import annotations

import collections
import concurrent.futures
import functools
import pathlib
import shlex
import statistics
import sys
import tempfile
from collections.abc import Iterator, Mapping

import libvirt
from measure import (
    ENVIRONMENT,
    EXEC,
    HERE,
    Command,
    Figure,
    Installation,
    Row,
    run,
    seconds,
    time_ratio,
)

import support
from support import HOOK

AT_ONCE = 40
POLICIES: Mapping[str, Mapping[str, str]] = {
    '`tlsciphers`': {'tlsciphers': support.GOOD_CIPHERS},
    '`tlspriority`': {'tlspriority': 'NORMAL:-VERS-ALL:+VERS-TLS1.2'},
    '`tlsprofile=intermediate`': {'tlsprofile': 'intermediate'},
}
NO_POLICY = 'without a policy'


def rows(rounds: int) -> Iterator[Row | Figure]:
    with tempfile.TemporaryDirectory() as directory:
        host = Host(pathlib.Path(directory))
        # libvirt probes an emulator once.
        plain = host.domain()
        host.start(plain)
        yield Row('start of a VM by libvirt: none (the noise)', NO_POLICY,
                  HERE, None, statistics.median(
                      one / other for one, other in host.start_in_turns(
                          plain, plain, rounds)))
        for name, properties in POLICIES.items():
            yield from one_start(host, name, properties, rounds)
        yield many_starts(host, max(3, rounds // 10))
        yield host.left()


class Host:
    """The lab's libvirtd, with the hook and the wrapper that rpm installed."""

    def __init__(self, directory: pathlib.Path) -> None:
        self.directory = directory
        self.connection = libvirt.open('qemu:///system')
        self.installation = Installation(directory / 'root', sys.executable)

    def domain(self, name: str = 'bench', **properties: str) -> str:
        """Return a domain XML as the hook leaves it."""
        path = self.directory / (name + '.xml')
        path.write_text(support.lab_domain('spice', 'vnc', name=name))
        run([HOOK], support.hook_environment(path, **properties))
        return path.read_text()

    def create(self, xml: str) -> libvirt.virDomain:
        # Guests would run while others start.
        return self.connection.createXML(xml, libvirt.VIR_DOMAIN_START_PAUSED)

    def start(self, xml: str) -> float:
        """Return the seconds that a start takes; the VM is gone afterwards."""
        started = []
        taken = seconds(lambda: started.append(self.create(xml)))
        started[0].destroy()
        return taken

    def start_in_turns(self, xml: str, reference: str, rounds: int
                       ) -> Iterator[tuple[float, float]]:
        """
        Give the seconds of a start of each VM, a pair a round. One starts
        right after the other is gone, which takes longer: each as often.
        """
        for number in range(rounds):
            if number % 2:
                taken = self.start(xml)
                yield taken, self.start(reference)
            else:
                without = self.start(reference)
                yield self.start(xml), without

    def start_all(self, documents: list[str]) -> float:
        """Return the seconds until all VMs have started."""
        with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as executor:
            started: list[libvirt.virDomain] = []
            taken = seconds(lambda: started.extend(
                executor.map(self.create, documents)))
            list(executor.map(lambda domain: domain.destroy(), started))
        return taken

    def wrapper_command(self, xml: str) -> list[str]:
        """
        Return what libvirt runs for a domain XML, with a wrapper of the same
        code that starts no QEMU.
        """
        words = shlex.split(self.connection.domainXMLToNative(
            'qemu-argv', xml).replace('\\\n', ' '))
        position = next(number for number, word in enumerate(words)
                        if word.startswith('/'))
        return [str(self.installation.emulator), *words[position + 1:]]

    def left(self) -> Figure:
        """Return what a VM with a policy has that one without has not."""
        def look(xml: str) -> tuple[int, set[str], collections.Counter[str]]:
            domain = self.create(xml)
            try:
                pid = int(pathlib.Path(
                    '/run/libvirt/qemu/bench.pid').read_text())
                maps = pathlib.Path('/proc/%d/maps' % pid).read_text()
                return (
                    sum(path.name.isdigit()
                        for path in pathlib.Path('/proc').iterdir()),
                    {line.split(None, 5)[5] for line in maps.splitlines()
                     if '/' in line}, support.descriptors(pid))
            finally:
                domain.destroy()

        plain = look(self.domain())
        policy = look(self.domain(tlsprofile='intermediate'))
        descriptors = list((policy[2] - plain[2]).elements())
        return Figure(
            'Of ours in a running VM with a profile: processes, files mapped '
            'into memory, descriptors',
            '%d, %d, %d (%s)' % (
                policy[0] - plain[0],
                len([path for path in policy[1] - plain[1]
                     if 'python' in path or 'tlsciphers' in path]),
                len(descriptors), ', '.join(descriptors)))


def one_start(host: Host, name: str, properties: Mapping[str, str],
              rounds: int) -> Iterator[Row]:
    plain, policy = host.domain(), host.domain(**properties)
    wrapper = host.wrapper_command(policy)
    bare: Command = [host.installation.python, '-ESs',
                     host.installation.script('execs', EXEC)]
    starts, shares, interpreter = [], [], []
    for taken, without in host.start_in_turns(policy, plain, rounds):
        starts.append(taken / without)
        shares.append(seconds(lambda: run(wrapper, ENVIRONMENT)) / without)
        interpreter.append(seconds(lambda: run(bare, ENVIRONMENT)) / without)
    yield Row('start of a VM by libvirt: ' + name, NO_POLICY, HERE, None,
              statistics.median(starts))
    yield Row('of that, the wrapper with all that it runs: ' + name,
              NO_POLICY, HERE, None, statistics.median(shares), 0.01)
    yield Row('the least that a wrapper in Python takes', NO_POLICY, HERE,
              None, statistics.median(interpreter))


def many_starts(host: Host, rounds: int) -> Row:
    names = ['bench%d' % number for number in range(AT_ONCE)]
    plain = [host.domain(name) for name in names]
    policy = [host.domain(name, tlsprofile='intermediate') for name in names]
    return Row('%d VMs at once: `tlsprofile=intermediate`' % AT_ONCE,
               NO_POLICY, HERE, None, time_ratio(
                   rounds, functools.partial(host.start_all, policy),
                   functools.partial(host.start_all, plain)))
