# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""
Playbooks, and "scan --engine", on a host with VMs; tests/ansible has both on
hosts without.
"""

from __future__ import annotations

import json
import os
import pathlib
import re
import shutil
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
from conftest import VM
from test_apply import MODERN, vnc_accepts
from test_migration import migrate

import servers
import support
from controller import Controller
from engine import Engine, Item

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conftest import Host, MakeHost, RunHook, Start

HERE = {'ansible_connection': 'local',
        'ansible_python_interpreter': '/usr/bin/python3'}


@pytest.fixture
def controller(tmp_path: pathlib.Path) -> Controller:
    controller = Controller(tmp_path)
    controller.hosts['ovirt_hosts'] = {'host1': HERE, 'host2': HERE}
    return controller


def test_package_is_not_removed_under_a_vm_with_a_policy(
        controller: Controller, start: Start, run_hook: RunHook) -> None:
    start(support.lab_domain('vnc', name='plain'))
    start(run_hook(support.lab_domain('vnc', name='strict'),
                   tlsprofile='modern'))
    outcome = controller.play('roll_back', status=2)
    assert 'VMs with a policy run here: strict; migrate' in ' '.join(
        outcome.text.split())
    assert 'host : Remove the package]' not in outcome.text


RUN = """
import sys
sys.path.insert(0, '/usr/share/vdsm-hook-tlsciphers')
from vdsm_tlsciphers import cli
cli.main()
"""


def test_scan_of_an_engine_finds_the_vm_without_its_policy(
        start: Start, run_hook: RunHook, tmp_path: pathlib.Path) -> None:
    """Both have the same property; one started before the package came."""
    certificate = servers.make_certificate(
        tmp_path, 'engine', '-newkey', 'rsa:2048', '-addext',
        'subjectAltName=IP:127.0.0.1')
    with Engine().serve(certificate) as engine:
        host = engine.add_host('node1', engine.add_cluster('Default'))
        for vm in (start(support.lab_domain('spice', 'vnc', name='early')),
                   start(run_hook(support.lab_domain(
                       'spice', 'vnc', name='strict'), tlsprofile='modern'))):
            engine.run_vm(vm.name, host, {
                'spice': ('127.0.0.1', 0, vm.tls_port),
                'vnc': ('127.0.0.1', vm.vnc_port, 0)},
                tlsprofile='modern', extra_cpu_flags='+vdsm-tls')
        process = subprocess.run(
            ['/usr/bin/python3', '-Bc', RUN, 'scan', '--engine', '--json',
             '--baseline', 'modern'],
            capture_output=True, text=True, env={
                **os.environ, 'OVIRT_URL': engine.url,
                'OVIRT_USERNAME': 'admin@internal',
                'OVIRT_PASSWORD': engine.password,
                'OVIRT_CAFILE': '%s.pem' % certificate})
    assert process.returncode == 1, process.stderr
    document = json.loads(process.stdout)
    assert {vm['vm']: vm['statement'] for vm in document['vms']} == {
        'early': 'different', 'strict': 'effective'}
    assert {(console['vm'], console['display'], bool(console['findings']))
            for console in document['consoles']} == {
        (name, display, name == 'early') for name in ('early', 'strict')
        for display in ('spice', 'vnc')}


# What a host has from vdsm: where it is there, libvirt looks for other scripts
# at each call.
HOOK_OF_VDSM = '#!/bin/sh\nexit 0\n'
# Python of Ansible where the second host's files are.
ENTER = """#!/bin/sh
exec nsenter --mount --uts --target %s /usr/bin/python3 "$@"
"""


class Cluster:
    """
    Two hosts (list of Host), the lab's own and another, that an engine
    (Engine) migrates VMs between when one is put into maintenance mode.
    """

    def __init__(self, engine: Engine, hosts: list[Host]) -> None:
        self.engine = engine
        self.hosts = hosts
        cluster = engine.add_cluster('Default')
        self.items = [engine.add_host('host%d' % number, cluster)
                      for number in (1, 2)]
        engine.on_maintenance = self.migrate_all

    def migrate_all(self, item: Item) -> bool:
        source = self.items.index(item)
        there = self.hosts[1 - source]
        for domain in self.hosts[source].connection.listAllDomains():
            migrate(domain, there, 'peer to peer',
                    uri=self.hosts[1].lab_uri if source else None)
        return True

    def vms(self) -> dict[str, VM]:
        return {domain.name(): VM(domain, host) for host in self.hosts
                for domain in host.connection.listAllDomains()}

    def endings(self, name: str) -> set[str]:
        """Return why processes of a VM ended, as libvirt has it."""
        return {reason for host in self.hosts for reason in re.findall(
            r'shutting down, reason=(\w+)',
            support.read_vm_log(name, host.root))}


@pytest.fixture
def cluster(controller: Controller, lab: Host, make_host: MakeHost,
            tmp_path: pathlib.Path) -> Iterator[Cluster]:
    """A Cluster whose engine the playbooks are given."""
    ours = pathlib.Path('/etc/libvirt/hooks')
    theirs = tmp_path / 'hooks'
    for folder in ours, theirs:
        folder.mkdir(exist_ok=True)
        (folder / 'qemu').write_text(HOOK_OF_VDSM)
        (folder / 'qemu').chmod(0o755)
    pid = pathlib.Path(os.environ['LAB'], 'libvirtd.pid').read_text().strip()
    subprocess.run(['kill', '-HUP', pid], check=True)
    other = make_host({str(ours): theirs})
    python = tmp_path / 'python'
    python.write_text(ENTER % (other.root / 'pid').read_text().strip())
    python.chmod(0o755)
    controller.hosts['ovirt_hosts']['host2'] = {
        **HERE, 'ansible_python_interpreter': str(python)}
    with Engine().serve() as engine:
        controller.engine = engine
        cluster = Cluster(engine, [lab, other])
        yield cluster
    for domain in lab.connection.listAllDomains():
        domain.destroy()
    shutil.rmtree(ours)
    subprocess.run(['kill', '-HUP', pid], check=True)


def test_cluster_gets_a_policy_without_a_shutdown(
        controller: Controller, cluster: Cluster, start: Start) -> None:
    """The VMs move between two libvirtds, there and back."""
    lab, other = cluster.hosts
    for name, host in ('web1', lab), ('db1', other):
        start(support.lab_domain('spice', 'vnc', name=name), host)
    before = cluster.vms()
    assert all(vm.accepts('AES128-SHA') for vm in before.values())

    variables: dict[str, Any] = {
        'tlsciphers_profile': 'modern', 'tlsciphers_require': True,
        # There is no dnf here.
        'tlsciphers_install': False, 'tlsciphers_host_verify': False}
    outcome = controller.play('without_shutdown', '--check', **variables)
    assert 'would get the policy: web1' in outcome.text
    assert cluster.engine.changes == []
    assert all(vm.accepts('AES128-SHA') for vm in before.values())

    controller.play('without_shutdown', **variables)
    after = cluster.vms()
    assert set(after) == set(before)
    for name, vm in after.items():
        assert support.accepted(vm.tls_port) == MODERN
        assert vnc_accepts(vm) == MODERN
        assert support.accepted(vm.websocket_port) == MODERN
        assert vm.pid != before[name].pid
        assert cluster.endings(name) == {'migrated'}
    paths = ['hosts/' + item['id'] for item in cluster.items]
    assert cluster.engine.changes == [
        ('POST', '%s/%s' % (path, action)) for path in paths
        for action in ('deactivate', 'activate')]

    cluster.engine.changes.clear()
    outcome = controller.play('without_shutdown', **variables)
    assert outcome.changed == {'host1': 0, 'host2': 0}
    assert cluster.engine.changes == []
    assert {name: vm.pid for name, vm in cluster.vms().items()} == {
        name: vm.pid for name, vm in after.items()}
