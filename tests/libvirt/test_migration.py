# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""Policies, and clients, of VMs that migrate while they run."""

from __future__ import annotations

import concurrent.futures
import contextlib
import json
import os
import pathlib
import re
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, NamedTuple, Protocol

import libvirt
import libvirt_qemu
import pytest
from test_console import policy_suites
from test_policies import HYBRID_POLICIES, POLICIES, SPICE_ALL

import clients
import support
import vencrypt
from support import EMULATOR

if TYPE_CHECKING:
    from conftest import Files, Host, MakeHost, RunHook, Start, Write

    MakeFiles = Callable[[pathlib.Path], Files]

BOTH = support.lab_domain('spice', 'vnc')
WRAPPER_MODULE = '/usr/share/vdsm-hook-tlsciphers/tlsciphers_wrapper.py'
HOST_DEFAULT = '/etc/vdsm/tlsciphers.conf'
GNUTLS_CONFIG = '/etc/gnutls/config'
TROUBLESHOOTING = (support.SOURCE / 'docs/troubleshooting.md').read_text()

# All that a policy can have.
PRIORITY = 'NORMAL:-VERS-ALL:+VERS-TLS1.3:-CIPHER-ALL:+AES-128-GCM'
POLICY = {
    'tlsprotocols': 'TLSv1.2:TLSv1.3', 'tlsgroups': 'P-384',
    'tlsciphers': 'ECDHE-RSA-AES256-GCM-SHA384:TLS_AES_256_GCM_SHA384',
    'tlspriority': PRIORITY}


class Scan(NamedTuple):
    """What the consoles of a VM accept."""

    spice: set[tuple[str, str]]
    vnc: set[tuple[str, str]]
    groups: set[str]


EXPECTED = Scan({('TLSv1.2', 'ECDHE-RSA-AES256-GCM-SHA384'),
                 ('TLSv1.3', 'TLS_AES_256_GCM_SHA384')},
                {('TLSv1.3', 'TLS_AES_128_GCM_SHA256')}, {'P-384'})

WAYS = ('direct', 'peer to peer', 'tunnelled')
# MiB per second: the least that libvirt takes, and no limit at all.
SLOW, FAST = 1, 10000


def scan(domain: libvirt.virDomain) -> Scan:
    port = support.spice_tls_port(domain)
    return Scan(support.accepted(port),
                support.accepted(support.console_port(domain, 'vnc',
                                                      'websocket')),
                support.accepted_groups(port))


def migrate(
        domain: libvirt.virDomain, destination: Host, way: str,
        bandwidth: int = FAST, uri: str | None = None) -> libvirt.virDomain:
    """Return a libvirt domain as it is at a Host that it migrated to."""
    flags = libvirt.VIR_MIGRATE_LIVE | libvirt.VIR_MIGRATE_ABORT_ON_ERROR
    parameters: dict[str, int | str] = {
        libvirt.VIR_MIGRATE_PARAM_BANDWIDTH: bandwidth}
    if way != 'tunnelled':
        parameters[libvirt.VIR_MIGRATE_PARAM_URI] = 'tcp://127.0.0.1'
    if way == 'direct':
        return domain.migrate3(destination.connection, parameters, flags)
    # What vdsm asks for; its configuration says whether tunnelled.
    flags |= libvirt.VIR_MIGRATE_PEER2PEER
    if way == 'tunnelled':
        flags |= libvirt.VIR_MIGRATE_TUNNELLED
    else:
        parameters[libvirt.VIR_MIGRATE_PARAM_GRAPHICS_URI] = (
            'spice://127.0.0.1')
    domain.migrateToURI3(uri or destination.uri, parameters, flags)
    return destination.connection.lookupByUUID(domain.UUID())


class StartDomain(Protocol):
    """What the fixture start_domain is."""

    def __call__(self, xml: str, host: Host = ...) -> libvirt.virDomain: ...


@pytest.fixture
def start_domain(make_host: MakeHost, start: Start, lab: Host) -> StartDomain:
    """A function that starts a VM as "start" does: its libvirt domain."""
    # The other host, where it may start some, must outlive them.
    def start_domain(xml: str, host: Host = lab) -> libvirt.virDomain:
        return host.connection.lookupByName(start(xml, host).name)
    return start_domain


# A guest whose memory has something in it that takes its time to migrate: a
# multiboot kernel that fills its memory from FILLED on with a word, and halts.
FILLED, WORDS, WORD = 0x200000, 24 << 20, 0x2badb002


@pytest.fixture
def full_guest() -> Callable[[str], str]:
    """A function that makes a domain XML one of such a guest."""
    load, flags = 0x100000, 0x10000
    code = struct.pack('<BIBIBI', 0xb8, WORD, 0xbf, FILLED, 0xb9, WORDS)
    code += b'\xfc\xf3\xab\xf4\xeb\xfd'  # cld; rep stosd; hlt; jmp to it
    kernel = pathlib.Path(os.environ['LAB']) / 'full-guest'
    kernel.write_bytes(struct.pack(
        '<8I', 0x1badb002, flags, -(0x1badb002 + flags) & 0xffffffff, load,
        load, load + 32 + len(code), load + 32 + len(code), load + 32) + code)
    return lambda xml: xml.replace(
        '</os>', '<kernel>%s</kernel></os>' % kernel).replace(
            '<memory unit="MiB">64<', '<memory unit="MiB">128<')


def is_full(domain: libvirt.virDomain) -> bool:
    """Tell whether such a guest has filled its memory."""
    return bool(domain.memoryPeek(
        FILLED + 4 * (WORDS - 1), 4, libvirt.VIR_MEMORY_PHYSICAL
        ) == struct.pack('<I', WORD))


def wait_until(condition: Callable[[], object],
               state: Callable[[], object] = str) -> None:
    """Wait until a condition is true; if it never is, say what state() is."""
    deadline = threading.Event()
    for _ in range(3000):
        if condition():
            return
        deadline.wait(0.01)
    raise AssertionError('it did not come true within 30 s: %s' % state())


def processed(domain: libvirt.virDomain) -> int:
    """Return how much (int) of a domain's memory is at the destination."""
    return int(domain.jobStats().get('memory_processed', 0))


Migration = concurrent.futures.Future[libvirt.virDomain]


@contextlib.contextmanager
def held(domain: libvirt.virDomain, destination: Host, way: str,
         uri: str | None = None) -> Iterator[Migration]:
    """
    Migrate a domain whose guest is full, and hold it half-way until the end
    of the block; gives a Future of the domain at the destination.
    """
    wait_until(lambda: is_full(domain))
    with concurrent.futures.ThreadPoolExecutor(1) as executor:
        # With connections of its own: in libvirt's client (9.0) a call
        # sometimes waits for the end of one that another thread makes.
        apart = libvirt.open(domain.connect().getURI())
        migration = executor.submit(
            migrate, apart.lookupByUUID(domain.UUID()),
            type(destination)(destination.uri, destination.root), way, SLOW,
            uri)
        wait_until(lambda: migration.done() or processed(domain))
        assert not migration.done(), migration.result()
        try:
            yield migration
        finally:
            with contextlib.suppress(libvirt.libvirtError):
                domain.migrateSetMaxSpeed(FAST)


def arriving(destination: Host) -> libvirt.virDomain:
    """Return the domain that is on its way to a Host."""
    domain, = destination.connection.listAllDomains()
    assert domain.state()[1] == libvirt.VIR_DOMAIN_PAUSED_MIGRATION
    return domain


@pytest.mark.parametrize('way', WAYS)
def test_policy_holds_before_during_and_after_a_migration(
        start_domain: StartDomain, run_hook: RunHook,
        full_guest: Callable[[str], str], empty_destination: Host,
        figure: support.Figure, way: str) -> None:
    domain = start_domain(full_guest(run_hook(BOTH, **POLICY)))
    scans = [scan(domain)]
    with held(domain, empty_destination, way) as migration:
        scans += [scan(domain), scan(arriving(empty_destination))]
        assert not migration.done()
    migrated = migration.result()
    assert is_full(migrated)
    scans.append(scan(migrated))
    figure('consoles with another policy before, during, after a migration, '
           + way, sum(scan != EXPECTED for scan in scans), 0)
    assert scans == [EXPECTED] * 4
    with vencrypt.relay(support.console_port(migrated, 'vnc', 'port')) as port:
        assert support.accepted(port) == EXPECTED.vnc


def test_status_knows_the_consoles_of_a_vm_that_migrates(
        start_domain: StartDomain, run_hook: RunHook,
        full_guest: Callable[[str], str], empty_destination: Host) -> None:
    """The port through which a VM arrives is no console."""
    pid = (empty_destination.root / 'pid').read_text().strip()
    found = []
    with held(start_domain(full_guest(run_hook(BOTH, **POLICY))),
              empty_destination, 'direct') as migration:
        arrived = arriving(empty_destination)
        consoles = {
            support.console_port(arrived, 'spice', 'tlsPort'),
            support.console_port(arrived, 'vnc', 'port'),
            support.console_port(arrived, 'vnc', 'websocket')}
        # QEMU before 6.0 closes it once the source has connected.
        others = support.listening_ports(int((
            empty_destination.root / 'run/libvirt/qemu/lab.pid'
            ).read_text())) - consoles
        assert len(others) <= 1
        for enter in [], ['nsenter', '--mount', '--target', pid]:
            vm, = json.loads(subprocess.run(
                [*enter, 'vdsm-tlsciphers', 'status', '--json'], check=True,
                capture_output=True, timeout=60).stdout)['vms']
            found.append((vm['statement'], [
                other['what'] for other in vm['other_listeners']]))
        assert not migration.done()
    assert found == [('effective', []), (
        'effective', ['incoming migration'] * len(others))]


def test_each_policy_holds_there_and_back(
        start_domain: StartDomain, run_hook: RunHook, lab: Host,
        empty_destination: Host, soak: bool, figure: support.Figure) -> None:
    names = POLICIES if soak else (
        'profile modern', 'profile intermediate', *HYBRID_POLICIES)
    changed = []
    for name in names:
        properties, spice, vnc, groups = POLICIES[name]
        domain = start_domain(run_hook(BOTH, **properties))
        for host, uri in ((empty_destination, None),
                          (lab, empty_destination.lab_uri)) * (
                              5 if soak else 1):
            domain = migrate(domain, host, 'peer to peer', uri=uri)
            found = scan(domain)
            changed.append(found[:2] != (spice, vnc) or (
                groups is not None and found.groups != set(groups)))
        domain.destroy()
    figure('policies changed by a migration, of %d there and back'
           % len(changed), sum(changed), 0)
    assert not any(changed)


# Clients


def view(console: str, domain: libvirt.virDomain) -> clients.Viewer:
    return clients.Viewer(console, port_of(console, domain))


def port_of(console: str, domain: libvirt.virDomain) -> int:
    return support.console_port(
        domain, console, {'spice': 'tlsPort', 'vnc': 'port'}[console])


def connections(domain: libvirt.virDomain) -> set[tuple[str, int, bool]]:
    """
    Return the clients' connections to the SPICE console of a domain, as QEMU
    knows them: a set of (port of the client, channel, whether it has TLS).
    """
    answer = libvirt_qemu.qemuMonitorCommand(
        domain, '{"execute": "query-spice"}', 0)
    return {(channel['port'], channel['channel-type'], channel['tls'])
            for channel in json.loads(answer)['return']['channels']}


def established(port: int) -> int:
    """Return the number of connections to a local port."""
    lines = pathlib.Path('/proc/net/tcp').read_text().splitlines()
    return len([line for line in lines if re.match(
        r'\s*\d+: \w+:%04X \w+:\w+ 01 ' % port, line)])


def await_client(domain: libvirt.virDomain, host: Host, channels: int) -> int:
    """
    Wait, while a migration is held, until the client with so many channels is
    at the Host as well; returns the port (int) of the console there.
    """
    # It connects there early on. If all the memory arrives before, or the
    # migration is given up, SPICE starts anew with it, or loses it.
    port = port_of('spice', arriving(host))
    wait_until(lambda: established(port) >= channels)
    seen = set()

    def has_gone_on() -> bool:
        seen.add(processed(domain))
        return len(seen) > 8

    wait_until(has_gone_on)
    return port


def follow(
        domain: libvirt.virDomain, host: Host, way: str,
        viewer: clients.Viewer, uri: str | None = None) -> libvirt.virDomain:
    """
    Migrate a domain, whose guest is full, with a client connected that
    follows; returns it as it is at the Host.
    """
    channels = len(connections(domain))
    with held(domain, host, way, uri) as migration:
        port = await_client(domain, host, channels)
    domain = migration.result()
    viewer.await_screen(port)
    assert len(connections(domain)) == channels >= 4
    assert all(tls for _, _, tls in connections(domain))
    return domain


@pytest.mark.parametrize('way', WAYS)
def test_spice_client_is_carried_over_as_without_a_policy(
        start_domain: StartDomain, run_hook: RunHook,
        full_guest: Callable[[str], str], lab: Host, empty_destination: Host,
        figure: support.Figure, way: str) -> None:
    """There, and as vdsm migrates back again."""
    back = lab, empty_destination.lab_uri
    views = []
    for xml in BOTH, run_hook(BOTH, **POLICY):
        domain = start_domain(full_guest(xml))
        with view('spice', domain) as viewer:
            for host, uri in ((empty_destination, None), back)[
                    :2 if way == 'peer to peer' else 1]:
                domain = follow(domain, host, way, viewer, uri)
        domain.destroy()
        views.append({channel: [re.sub(r'\d+', 'N', event) for event in events]
                      for channel, events in viewer.events.items()})
    plain, ours = views
    figure('SPICE clients carried over otherwise than without a policy, '
           + way, int(ours != plain), 0)
    assert ours == plain
    # What it sees through another port, it sees in the same channels.
    assert ours['main'] == ['opened']
    assert ours['display'][:3] == ['opened'] + ['drawn through port N'] * 2


@pytest.mark.parametrize('way', WAYS)
def test_vnc_client_is_cut_as_without_a_policy(
        start_domain: StartDomain, run_hook: RunHook, empty_destination: Host,
        way: str) -> None:
    """VNC cannot follow; who connects anew is served."""
    views = []
    for xml in BOTH, run_hook(BOTH, **POLICY):
        domain = start_domain(xml)
        with view('vnc', domain) as viewer:
            migrated = migrate(domain, empty_destination, way)
            viewer.await_events('vnc closed')
        views.append([re.sub(r'\d+', 'N', event)
                      for event in viewer.events['vnc']])
        with view('vnc', migrated):
            migrated.destroy()
    plain, ours = views
    assert ours == plain
    # Some versions of the client say that there is an error, too.
    assert [event for event in ours if not event.startswith('error')] == [
        'opened through port N', 'closed']


# Destinations that cannot enforce a policy


def without_the_package(folder: pathlib.Path) -> Files:
    (folder / 'empty').mkdir()
    return {os.path.dirname(EMULATOR): folder / 'empty'}


def with_a_manual_installation(folder: pathlib.Path) -> Files:
    wrapper = folder / 'manual' / os.path.basename(EMULATOR)
    wrapper.parent.mkdir()
    wrapper.write_text(support.MANUAL_WRAPPER)
    wrapper.chmod(0o755)
    return {os.path.dirname(EMULATOR): wrapper.parent}


def with_version_0_1(folder: pathlib.Path) -> Files:
    """It knows cipher lists only."""
    text = pathlib.Path(WRAPPER_MODULE).read_text()
    older = text.replace('if key not in PROPERTY:',
                         "if key not in ('ciphers',):")
    assert older != text
    (folder / 'older').write_text(older)
    return {WRAPPER_MODULE: folder / 'older'}


def with_another_openssl_conf(folder: pathlib.Path) -> Files:
    (folder / 'openssl.cnf').write_text('openssl_conf = $ENV::LAB\n')
    return {'/etc/ssl/openssl.cnf': folder / 'openssl.cnf'}


def with_another_gnutls_config(folder: pathlib.Path) -> Files:
    return {GNUTLS_CONFIG: os.devnull}


REFUSALS: dict[str, tuple[MakeFiles | None, dict[str, str], str]] = {
    'no package': (
        without_the_package, {}, 'Cannot check QEMU binary %s: No such file '
        'or directory' % EMULATOR),
    'manual installation': (
        with_a_manual_installation, {}, 'qemu-kvm: -vdsm-tls: invalid option'),
    'version 0.1': (
        with_version_0_1, {}, 'ciphersuites: this version cannot enforce it'),
    'VNC without encryption': (
        None, {'vnc_tls': '0'},
        '[vnc-without-tls]'),
    'an openssl.cnf that cannot be parsed': (
        with_another_openssl_conf, {}, '[host-openssl-conf]'),
}


LifeCycle = Callable[[], list[int]]
# A process of its own: in libvirt's client (9.0) an event may be lost where
# several threads use it.
PRINT_EVENTS = """
import sys

import libvirt

libvirt.virEventRegisterDefaultImpl()
connection = libvirt.openReadOnly(sys.argv[1])
connection.domainEventRegisterAny(
    None, libvirt.VIR_DOMAIN_EVENT_ID_LIFECYCLE,
    lambda _, domain, event, *rest: print(event, flush=True), None)
print('ready', flush=True)
while True:
    libvirt.virEventRunDefaultImpl()
"""


@pytest.fixture
def life_cycle(lab: Host, tmp_path: pathlib.Path) -> Iterator[LifeCycle]:
    """A function that returns what befell the VMs of the lab (list)."""
    path = tmp_path / 'events'
    with path.open('w') as file:
        process = subprocess.Popen(
            [sys.executable, '-c', PRINT_EVENTS, lab.uri], stdout=file)

    def read() -> list[int]:
        return [int(line) for line in path.read_text().splitlines()[1:]]

    wait_until(lambda: path.read_text() or process.poll() is not None)
    assert process.poll() is None
    yield read
    process.kill()
    process.wait()


def pauses(domain: libvirt.virDomain, life_cycle: LifeCycle) -> int:
    """
    Return how often (int) a domain was paused since its start, by what
    life_cycle has.
    """
    assert domain.state() == [libvirt.VIR_DOMAIN_RUNNING,
                              libvirt.VIR_DOMAIN_RUNNING_BOOTED]
    # A pause would be there, as this one is.
    pause = [libvirt.VIR_DOMAIN_EVENT_SUSPENDED,
             libvirt.VIR_DOMAIN_EVENT_RESUMED]
    domain.suspend()
    domain.resume()
    wait_until(lambda: life_cycle()[-2:] == pause, life_cycle)
    return life_cycle().count(pause[0]) - 1


@pytest.mark.parametrize('name', REFUSALS)
def test_host_that_cannot_enforce_refuses_and_the_guest_never_pauses(
        start_domain: StartDomain, run_hook: RunHook, make_host: MakeHost,
        life_cycle: LifeCycle, tmp_path: pathlib.Path, figure: support.Figure,
        name: str) -> None:
    make_files, settings, message = REFUSALS[name]
    host = make_host(make_files(tmp_path) if make_files else None, **settings)
    domain = start_domain(run_hook(BOTH, **POLICY))
    with view('spice', domain):
        before = connections(domain)
        for way in WAYS:
            with pytest.raises(libvirt.libvirtError) as error:
                migrate(domain, host, way)
            assert message in support.refusal(error.value, domain.name(),
                                              host.root)
            assert not host.connection.listAllDomains()
        assert connections(domain) == before
        assert scan(domain) == EXPECTED
        paused = pauses(domain, life_cycle)
    figure('guests paused, migration to a host that refuses: ' + name, paused,
           0)
    assert paused == 0
    assert message.strip('[]') in TROUBLESHOOTING


def test_migration_given_up_half_way_leaves_the_source_as_it_was(
        start_domain: StartDomain, run_hook: RunHook,
        full_guest: Callable[[str], str], empty_destination: Host,
        life_cycle: LifeCycle) -> None:
    domain = start_domain(full_guest(run_hook(BOTH, **POLICY)))
    with view('spice', domain):
        before = connections(domain)
        with held(domain, empty_destination, 'peer to peer') as migration:
            await_client(domain, empty_destination, len(before))
            domain.abortJob()
            with pytest.raises(libvirt.libvirtError, match='cancel'):
                migration.result()
        assert not empty_destination.connection.listAllDomains()
        assert connections(domain) == before
        assert scan(domain) == EXPECTED
        assert pauses(domain, life_cycle) == 0


@pytest.mark.parametrize('make_files, settings, default, code', [
    (None, {'vnc_tls': '0'}, 'tlspriority = ' + PRIORITY,
     'vnc-without-tls'),
    (with_another_gnutls_config, {}, 'tlspriority = @LAB', 'priority-refused'),
    (with_another_openssl_conf, {}, 'tlsgroups = P-384',
     'host-openssl-conf')])
def test_default_of_the_source_that_cannot_be_enforced_is_a_line_in_the_log(
        start_domain: StartDomain, run_hook: RunHook, make_host: MakeHost,
        host_default: Write, gnutls_config: Write, tmp_path: pathlib.Path,
        make_files: MakeFiles | None, settings: dict[str, str], default: str,
        code: str) -> None:
    gnutls_config('[priorities]\nLAB = %s\n' % PRIORITY)
    host_default('[default]\n%s\n' % default)
    host = make_host(make_files(tmp_path) if make_files else None, **settings)
    # What the VM asks for itself is a requirement, and holds.
    domain = start_domain(run_hook(BOTH, tlsciphers='AES256-SHA'))
    migrated = migrate(domain, host, 'peer to peer')
    log = support.read_vm_log('lab', host.root)
    assert re.findall(r': host default ignored.* \[(.*)\]', log) == [code]
    assert {suite for version, suite in support.accepted(
        support.spice_tls_port(migrated)) if version == 'TLSv1.2'
        } == {'AES256-SHA'}


@pytest.mark.parametrize('text', [
    '[default]\ntlsprofile = intermediate\n', 'nobody can read this\n'])
def test_default_of_the_source_holds_whatever_the_destination_has(
        start_domain: StartDomain, run_hook: RunHook, make_host: MakeHost,
        host_default: Write, tmp_path: pathlib.Path, text: str) -> None:
    host_default(''.join(['[default]\n'] + [
        '%s = %s\n' % item for item in POLICY.items()]))
    (tmp_path / 'default').write_text(text)
    host = make_host({HOST_DEFAULT: tmp_path / 'default'})
    domain = start_domain(run_hook(BOTH))
    assert scan(migrate(domain, host, 'peer to peer')) == EXPECTED


def test_vm_without_a_policy_gets_none_where_it_arrives(
        start_domain: StartDomain, run_hook: RunHook, make_host: MakeHost,
        host_default: Write, tmp_path: pathlib.Path) -> None:
    """Nor is a default of the destination for VMs that started elsewhere."""
    host_default('')
    (tmp_path / 'default').write_text('[default]\ntlsprofile = modern\n')
    host = make_host({HOST_DEFAULT: tmp_path / 'default'})
    domain = start_domain(run_hook(BOTH))
    assert scan(migrate(domain, host, 'peer to peer')).spice == SPICE_ALL


def test_vm_of_a_manual_installation_keeps_its_list_there_and_back(
        start_domain: StartDomain, lab: Host, make_host: MakeHost,
        tmp_path: pathlib.Path) -> None:
    """Before, here, and back where its host has not changed."""
    host = make_host(with_a_manual_installation(tmp_path))
    domain = start_domain(BOTH.replace(
        '<devices>', '<devices><emulator>%s</emulator>' % EMULATOR), host)
    for destination in (None, lab, host):
        if destination:
            domain = migrate(domain, destination, 'direct')
        assert {suite for _, suite in support.accepted(
            support.spice_tls_port(domain), ['TLSv1.2'])
            } == policy_suites(support.SEED_CIPHERS)
    assert '[manual-ciphers]' in support.read_vm_log('lab')
