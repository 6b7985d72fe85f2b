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
import subprocess
from typing import TYPE_CHECKING

import pytest

import servers
import support
from controller import Controller
from engine import Engine

if TYPE_CHECKING:
    from conftest import RunHook, Start

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
