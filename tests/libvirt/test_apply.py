# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""A policy for VMs that run, without a shutdown."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

import support
import vencrypt

if TYPE_CHECKING:
    from conftest import VM, RunHook, Start

MODERN = {('TLSv1.3', suite) for suite in (
    'TLS_AES_128_GCM_SHA256', 'TLS_AES_256_GCM_SHA384',
    'TLS_CHACHA20_POLY1305_SHA256')}


def run(*arguments: str, status: int = 0) -> subprocess.CompletedProcess[str]:
    process = subprocess.run(['vdsm-tlsciphers', *arguments],
                             capture_output=True, text=True)
    assert process.returncode == status, process.stdout + process.stderr
    return process


def apply(*arguments: str, status: int = 0) -> dict[str, Any]:
    """Return the document of apply, for one VM that of the VM."""
    vm: dict[str, Any]
    vm, = json.loads(run('apply', '--json', *arguments, status=status
                         ).stdout)['vms']
    return vm


def state(vm: VM) -> dict[str, Any]:
    """Return what status says of a VM."""
    process = subprocess.run(
        ['vdsm-tlsciphers', 'status', '--json', vm.name],
        capture_output=True, text=True)
    found: dict[str, Any]
    found, = json.loads(process.stdout)['vms']
    return found


def vnc_accepts(vm: VM) -> set[tuple[str, str]]:
    with vencrypt.relay(vm.vnc_port) as port:
        return support.accepted(port)


@pytest.fixture
def vm(start: Start) -> VM:
    return start(support.lab_domain('spice', 'vnc'))


def test_vnc_has_the_policy_at_once_and_spice_waits(vm: VM) -> None:
    before = vnc_accepts(vm)
    assert len(before) > len(MODERN)
    result = apply('--profile', 'modern', vm.name)
    assert result['outcome'] == 'applied'
    assert set(result['waiting']) == {'ciphersuites', 'protocols', 'groups'}
    assert vnc_accepts(vm) == MODERN
    assert support.accepted(vm.websocket_port) == MODERN
    assert vm.accepts('AES128-SHA')
    found = state(vm)
    assert found['statement'] == 'live', found
    assert {(mark['key'], mark['state']) for mark in found['marks']} == {
        ('priority', 'live'), ('ciphersuites', 'waiting'),
        ('protocols', 'waiting'), ('groups', 'waiting')}
    # Once more: nothing is to be done.
    assert apply('--profile', 'modern', vm.name)['outcome'] == 'unchanged'
    assert apply('--remove', vm.name)['outcome'] == 'removed'
    assert vnc_accepts(vm) == before
    assert state(vm)['marks'] == []
    assert apply('--remove', vm.name)['outcome'] == 'unchanged'


def test_dry_run_changes_nothing(vm: VM) -> None:
    before = vnc_accepts(vm)
    assert apply('--dry-run', '--profile', 'modern', vm.name)[
        'outcome'] == 'possible'
    assert vnc_accepts(vm) == before
    assert state(vm)['marks'] == []


@pytest.mark.parametrize('value, code', [
    ('NORMAL:+FOO', 'priority-refused'),
    # It is a policy, and the console's certificate has another kind of key.
    ('NORMAL:-VERS-ALL:+VERS-TLS1.2:-KX-ALL:+ECDHE-ECDSA',
     'apply-not-proven')])
def test_value_that_no_client_can_use_leaves_the_vm_as_it_was(
        vm: VM, value: str, code: str) -> None:
    before = vnc_accepts(vm)
    result = apply('tlspriority=' + value, vm.name, status=1)
    assert (result['outcome'], result['code']) == ('refused', code)
    assert vnc_accepts(vm) == before
    assert state(vm)['marks'] == []


def test_vm_that_was_started_with_a_policy_is_left_alone(
        start: Start, run_hook: RunHook) -> None:
    vm = start(run_hook(support.lab_domain('vnc'),
                        tlspriority='SECURE256'))
    before = vnc_accepts(vm)
    assert apply('--profile', 'modern', vm.name, status=1)['code'] == (
        'apply-has-policy')
    assert vnc_accepts(vm) == before
    assert apply('--replace', '--profile', 'modern', vm.name)['outcome'] == (
        'applied')
    assert vnc_accepts(vm) == MODERN
    apply('--remove', vm.name)
    assert vnc_accepts(vm) == before
