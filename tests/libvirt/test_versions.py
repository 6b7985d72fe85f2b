# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""
Hosts with version 0.3.0 of the package beside hosts with this one: VMs
migrate between them, and are restored on the other one. Run by "check.sh
userlands".
"""

from __future__ import annotations

import pathlib
import subprocess
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import libvirt
import pytest
from conftest import Host, end_all, second_host
from test_migration import (
    BOTH,
    await_client,
    connections,
    full_guest,
    held,
    migrate,
    scan,
)
from test_plaintext import (
    CHANNELS,
    NEED_SECURED,
    link_error,
    with_open_channels,
)
from test_policies import POLICIES

import clients
import support

if TYPE_CHECKING:
    from conftest import RunHook

__all__ = ['full_guest']

OLD_RPM = support.DATA / 'vdsm-hook-tlsciphers-0.3.0-1.noarch.rpm'
# What runs at a VM's start.
INSTALLED = (support.HOOK, support.WRAPPER,
             '/usr/share/vdsm-hook-tlsciphers')


@pytest.fixture(scope='module')
def old_host(lab: Host, tmp_path_factory: pytest.TempPathFactory,
             ) -> Iterator[Host]:
    """A second libvirtd (Host), with version 0.3.0."""
    folder = tmp_path_factory.mktemp('old')
    folder.parent.chmod(0o755)
    folder.chmod(0o755)
    subprocess.run(['sh', '-ec', 'rpm2cpio "$0" | cpio -idm --quiet', OLD_RPM],
                   cwd=folder, check=True)
    with second_host('old', {path: str(folder) + path
                             for path in INSTALLED}) as host:
        yield host


@pytest.fixture
def empty(lab: Host, old_host: Host) -> Iterator[None]:
    yield
    for host in lab, old_host:
        end_all(host)


def run_old_hook(host: Host, folder: pathlib.Path, xml: str,
                 **properties: str) -> str:
    """Do to a domain XML what the hook of 0.3.0 does."""
    path = folder / 'domain.xml'
    path.write_text(xml)
    subprocess.run(
        ['nsenter', '--target', (host.root / 'pid').read_text().strip(),
         '--mount', support.HOOK], check=True, stderr=subprocess.PIPE,
        env=support.hook_environment(path, **properties))
    return path.read_text()


@pytest.mark.parametrize('name', POLICIES)
def test_policy_holds_from_one_version_to_the_other_and_back(
        empty: None, lab: Host, old_host: Host, run_hook: RunHook,
        tmp_path: pathlib.Path, figure: support.Figure, name: str) -> None:
    properties, spice, vnc, groups = POLICIES[name]
    changed = []
    for source, destination, xml in (
            (old_host, lab, run_old_hook(old_host, tmp_path, BOTH,
                                         **properties)),
            (lab, old_host, run_hook(BOTH, **properties))):
        domain = source.connection.createXML(xml)
        for host in destination, source:
            domain = migrate(domain, host, 'direct')
            found = scan(domain)
            changed.append(found[:2] != (spice, vnc) or (
                groups is not None and found.groups != set(groups)))
        domain.destroy()
    # It was indeed another version that ran there.
    assert '[policy-applied]' not in support.read_vm_log('lab', old_host.root)
    figure('0.3.0 and this version: consoles with another policy, ' + name,
           sum(changed), 0)
    assert not any(changed)


def test_guarded_vm_migrates_to_the_old_version_and_back(
        empty: None, lab: Host, old_host: Host, run_hook: RunHook) -> None:
    properties, spice, vnc, _ = POLICIES['profile intermediate']
    domain = lab.connection.createXML(run_hook(
        support.guarded(BOTH), extra_cpu_flags='+vdsm-tls', **properties))
    for host in old_host, lab:
        domain = migrate(domain, host, 'peer to peer',
                         uri=old_host.lab_uri if host is lab else None)
        assert scan(domain)[:2] == (spice, vnc)


def test_old_version_starts_no_vm_with_a_guard(
        empty: None, old_host: Host, tmp_path: pathlib.Path) -> None:
    xml = run_old_hook(old_host, tmp_path, support.guarded(BOTH),
                       extra_cpu_flags='+vdsm-tls', tlsprofile='modern')
    with pytest.raises(libvirt.libvirtError, match='unknown CPU feature: '
                       'vdsm-tls'):
        old_host.connection.createXML(xml)


@pytest.mark.parametrize('saves', ['old', 'new'])
@pytest.mark.parametrize('name', POLICIES)
def test_saved_vm_is_restored_by_the_other_version(
        empty: None, lab: Host, old_host: Host, run_hook: RunHook,
        folder: pathlib.Path, tmp_path: pathlib.Path, name: str, saves: str,
        ) -> None:
    properties, spice, vnc, _ = POLICIES[name]
    if saves == 'old':
        source, destination = old_host, lab
        xml = run_old_hook(old_host, tmp_path, BOTH, **properties)
    else:
        source, destination = lab, old_host
        xml = run_hook(BOTH, **properties)
    source.connection.createXML(xml).save(str(folder / 'saved'))
    destination.connection.restore(str(folder / 'saved'))
    domain = destination.connection.lookupByName('lab')
    assert domain.state() == [libvirt.VIR_DOMAIN_RUNNING,
                              libvirt.VIR_DOMAIN_RUNNING_RESTORED]
    assert scan(domain)[:2] == (spice, vnc)


def test_channels_are_open_again_on_the_way_back(
        empty: None, lab: Host, old_host: Host, run_hook: RunHook) -> None:
    """As docs/migration.md says."""
    domain = lab.connection.createXML(run_hook(
        with_open_channels(BOTH), tlsprofile='modern'))
    channel = CHANNELS['main']
    assert link_error(support.console_port(domain, 'spice', 'port'),
                      channel) == NEED_SECURED
    domain = migrate(domain, old_host, 'direct')
    assert link_error(support.console_port(domain, 'spice', 'port'),
                      channel) == 0


def test_client_of_open_channels_is_carried_over_to_tls(
        empty: None, lab: Host, old_host: Host, tmp_path: pathlib.Path,
        full_guest: Callable[[str], str]) -> None:
    """0.3.0 left them open beside a policy; where the VM arrives none is."""
    domain = old_host.connection.createXML(run_old_hook(
        old_host, tmp_path, with_open_channels(full_guest(BOTH)),
        tlsprofile='intermediate'))
    with clients.Viewer(
            'spice', support.spice_tls_port(domain),
            plaintext_port=support.console_port(domain, 'spice', 'port'),
            ) as viewer:
        before = connections(domain)
        assert {tls for _, _, tls in before} == {False}
        with held(domain, lab, 'direct') as migration:
            port = await_client(domain, lab, len(before))
        viewer.await_screen(port)
        after = connections(migration.result())
        assert {tls for _, _, tls in after} == {True}
        assert {channel for _, channel, _ in after} == {
            channel for _, channel, _ in before}
        assert viewer.events['main'] == ['opened']
