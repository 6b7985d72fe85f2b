# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""Many VMs at once, and one VM many times."""

from __future__ import annotations

import collections
import concurrent.futures
import os
import pathlib
import re
import statistics
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import libvirt
import pytest

import support
import vencrypt

if TYPE_CHECKING:
    from conftest import VM, Host, RunHook, Start

Offer = tuple[str, str]
# Each is accepted under one policy only; the last two under none.
TLS12 = ('TLSv1.2', 'ECDHE-RSA-AES256-GCM-SHA384')
TLS13 = ('TLSv1.3', 'TLS_AES_256_GCM_SHA384')
VNC = ('TLSv1.2', 'AES128-SHA')
SPICE_OF_BOTH = ('TLSv1.3', 'TLS_CHACHA20_POLY1305_SHA256')
VNC_OF_BOTH = ('TLSv1.3', 'TLS_AES_128_GCM_SHA256')
OFFERS = (TLS12, TLS13, VNC, SPICE_OF_BOTH, VNC_OF_BOTH,
          ('TLSv1.2', 'AES256-SHA256'), ('TLSv1.3', 'TLS_AES_128_CCM_SHA256'))
# (consoles, properties, what SPICE accepts, its group, what VNC accepts)
POLICIES: tuple[tuple[tuple[str, ...], dict[str, str], Offer | None,
                      str | None, Offer | None], ...] = (
    (('spice',), {'tlsprotocols': 'TLSv1.2', 'tlsciphers': TLS12[1]},
     TLS12, None, None),
    (('spice',), {'tlsprotocols': 'TLSv1.3', 'tlsciphers': TLS13[1],
                  'tlsgroups': 'P-384'}, TLS13, 'P-384', None),
    (('vnc',), {'tlspriority': 'NORMAL:-VERS-ALL:+VERS-TLS1.2:-KX-ALL:+RSA:'
                '-CIPHER-ALL:+AES-128-CBC:-MAC-ALL:+SHA1'}, None, None, VNC),
    (('spice', 'vnc'), {
        'tlsprotocols': 'TLSv1.3', 'tlsciphers': SPICE_OF_BOTH[1],
        'tlsgroups': 'X448', 'tlspriority': 'NORMAL:-VERS-ALL:+VERS-TLS1.3:'
        '-CIPHER-ALL:+AES-128-GCM'}, SPICE_OF_BOTH, 'X448',
     VNC_OF_BOTH),
)


def what_ports_accept(
        vm: VM) -> tuple[set[Offer] | None, set[str] | None,
                         set[Offer] | None, set[Offer] | None]:
    """
    Return the offers (set) that a VM's consoles accept: those of SPICE, its
    groups, and those of VNC and of its websocket; None where there is none.
    """
    def accepted(port: int) -> set[Offer]:
        return {offer for offer in OFFERS if support.accepts(
            port, offer[1], offer[0])}

    spice = groups = vnc = websocket = None
    if vm.tls_port > 0:
        spice = accepted(vm.tls_port)
        if spice & {TLS13, SPICE_OF_BOTH}:
            groups = {group for group in ('P-384', 'X448', 'X25519')
                      if support.accepts_group(vm.tls_port, group)}
    if vm.vnc_port > 0:
        with vencrypt.relay(vm.vnc_port) as port:
            vnc = accepted(port)
        websocket = accepted(vm.websocket_port)
    return spice, groups, vnc, websocket


def libvirtd() -> int:
    return int((pathlib.Path(os.environ['LAB']) / 'libvirtd.pid').read_text())


def await_more_descriptors(pid: int, before: collections.Counter[str],
                           more: collections.Counter[str]) -> None:
    """Wait until a process has some (Counter) more open than before."""
    deadline = time.monotonic() + 60
    while support.descriptors(pid) - before != more:
        assert time.monotonic() < deadline, support.descriptors(pid) - before
        time.sleep(0.05)


def test_each_of_many_vms_started_at_once_has_its_own_policy(
        start: Start, run_hook: RunHook, connection: libvirt.virConnect,
        await_nothing_left: Callable[[], None],
        figure: support.Figure) -> None:
    plain = {}
    for consoles in {policy[0] for policy in POLICIES}:
        plain[consoles] = support.descriptors(start(support.lab_domain(
            *consoles, name='plain' + '-'.join(consoles))).pid)
    of_libvirtd = support.descriptors(libvirtd())
    vms = list(POLICIES) * 10

    def start_with_policy(number: int) -> VM:
        consoles, properties = vms[number][:2]
        return start(run_hook(support.lab_domain(
            *consoles, name='vm%d' % number), **properties))

    with concurrent.futures.ThreadPoolExecutor(len(vms)) as executor:
        started = list(executor.map(start_with_policy, range(len(vms))))
    assert len({vm.pid for vm in started}) == len(vms) == 40

    for vm, (consoles, properties, *_) in zip(started, vms):
        # The configuration that OpenSSL reads, where there is one.
        await_more_descriptors(vm.pid, plain[consoles], collections.Counter(
            ['/memfd:vdsm-tls (deleted)'] if 'tlsprotocols' in properties
            else []))

    mixed_up = handshakes = 0
    with concurrent.futures.ThreadPoolExecutor(2) as executor:
        answers = list(executor.map(what_ports_accept, started))
    for answer, (_, _, spice, group, vnc) in zip(answers, vms):
        expected = tuple(None if offer is None else {offer}
                         for offer in (spice, group, vnc, vnc))
        mixed_up += answer != expected
        handshakes += sum(len(OFFERS) for item in answer if item is not None)
    figure('40 VMs of four policies at once: policies mixed up (%d handshakes)'
           % handshakes, mixed_up, 0)
    assert not mixed_up, answers

    with concurrent.futures.ThreadPoolExecutor(8) as executor:
        list(executor.map(lambda domain: domain.destroy(),
                          connection.listAllDomains()))
    await_nothing_left()
    await_more_descriptors(libvirtd(), of_libvirtd, collections.Counter())
    figure('40 VMs of four policies at once: processes, ports and files left',
           0, 0)


def memory(pid: int) -> int:
    """Return the kB of memory that a process has to itself."""
    text = pathlib.Path('/proc/%d/smaps_rollup' % pid).read_text()
    return sum(map(int, re.findall(r'Private_\w+: +(\d+) kB', text)))


@pytest.fixture
def frugal_host(monkeypatch: pytest.MonkeyPatch,
                request: pytest.FixtureRequest) -> Host:
    """
    A libvirtd (Host) that gives back at once what memory it does not need;
    else it may have megabytes more or less from one start to the next.
    """
    for variable, value in (('ARENA_MAX', '1'), ('TRIM_THRESHOLD_', '0'),
                            ('TOP_PAD_', '0'), ('MMAP_THRESHOLD_', '131072')):
        monkeypatch.setenv('MALLOC_' + variable, value)
    host: Host = request.getfixturevalue('other_host')
    return host


def test_many_starts_leave_libvirtd_as_it_was(
        run_hook: RunHook, frugal_host: Host, soak: bool,
        await_nothing_left: Callable[[], None],
        figure: support.Figure) -> None:
    libvirtd = int((frugal_host.root / 'pid').read_text())
    plain = support.lab_domain('spice', 'vnc')
    policy = run_hook(plain, tlsprofile='intermediate')

    def start_and_stop(xml: str) -> tuple[float, int]:
        """Return (seconds that the start took, kB by which libvirtd grew)."""
        before = memory(libvirtd)
        begin = time.perf_counter()
        domain = frugal_host.connection.createXML(xml)
        seconds = time.perf_counter() - begin
        domain.destroy()
        return seconds, memory(libvirtd) - before

    # The first few fill what libvirtd keeps for later.
    for xml in (plain, policy) * 3:
        start_and_stop(xml)
    open_files = support.descriptors(libvirtd)
    rounds = 500 if soak else 20
    # In turns, so that what else the machine does counts for both.
    pairs = [(start_and_stop(plain), start_and_stop(policy))
             for _ in range(rounds)]
    figure('start of a VM, median of %d: with a policy / without' % rounds,
           '%.2f' % statistics.median(with_policy[0] / without[0]
                                      for without, with_policy in pairs), '-')
    growth = sum(part[1] for pair in pairs for part in pair)
    # Forgotten bytes would come to a page for each start, or soon would. The
    # rest is what free memory among memory in use comes to.
    bound = 4 * rounds + 256
    figure('libvirtd after %d starts with a policy, %d without: kB more'
           % (rounds, rounds), growth, '%d: a page each, and 256' % bound)
    assert growth < bound
    await_more_descriptors(libvirtd, open_files, collections.Counter())
    await_nothing_left()
