# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""Playbooks on a host with VMs; tests/ansible has those on hosts without."""

from __future__ import annotations

import json
import pathlib
from typing import TYPE_CHECKING

import pytest

import support
from controller import Controller

if TYPE_CHECKING:
    from conftest import RunHook, Start

HERE = {'ansible_connection': 'local',
        'ansible_python_interpreter': '/usr/bin/python3'}


@pytest.fixture
def controller(tmp_path: pathlib.Path) -> Controller:
    controller = Controller(tmp_path)
    controller.hosts['ovirt_hosts'] = {'host1': HERE, 'host2': HERE}
    return controller


def test_audit_makes_one_page_of_all_hosts(
        controller: Controller, start: Start, run_hook: RunHook) -> None:
    start(support.lab_domain('spice', 'vnc', name='plain'))
    controller.play('audit', tlsciphers_audit=str(
        controller.folder / 'before'))
    start(run_hook(support.lab_domain('spice', name='strict'),
                   tlsprofile='modern'))
    outcome = controller.play('audit', tlsciphers_baseline='modern',
                              tlsciphers_before=str(
                                  controller.folder / 'before'))
    folder = controller.folder / 'tlsciphers-audit'
    assert 'The page is %s/report.html' % folder in outcome.text
    for host in 'host1', 'host2':
        scan = json.loads((folder / (host + '.json')).read_text())
        assert {console['vm'] for console in scan['consoles']} == {
            'plain', 'strict'}
    page = (folder / 'report.html').read_text()
    assert 'the policy of each VM, and the baseline modern' in page
    assert 'plain' in page
    assert 'strict' in page
    # It compares with the earlier one.
    assert page != (controller.folder / 'before/report.html').read_text()


def test_host_that_cannot_be_scanned_is_named(controller: Controller,
                                              start: Start) -> None:
    start(support.lab_domain('vnc'))
    controller.hosts['ovirt_hosts']['gone'] = {
        'ansible_connection': 'community.general.chroot',
        'ansible_host': '/nonexistent'}
    outcome = controller.play('audit', status=2)
    assert 'gone could not be scanned, and is not on it' in outcome.text
    assert (controller.folder / 'tlsciphers-audit/report.html').exists()


def test_package_is_not_removed_under_a_vm_with_a_policy(
        controller: Controller, start: Start, run_hook: RunHook) -> None:
    start(support.lab_domain('vnc', name='plain'))
    start(run_hook(support.lab_domain('vnc', name='strict'),
                   tlsprofile='modern'))
    outcome = controller.play('roll_back', status=2)
    assert 'VMs with a policy run here: strict; migrate' in ' '.join(
        outcome.text.split())
    assert 'host : Remove the package]' not in outcome.text
