# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""A policy for VMs that run, without a shutdown."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

import libvirt
import libvirt_qemu
import pytest
from test_faults import enter, restart
from test_status import of_engine

import support
import vencrypt

if TYPE_CHECKING:
    import pathlib

    from conftest import VM, Host, RunHook, Start

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
    assert found['statement'] == 'waiting', found
    assert {(mark['key'], mark['state']) for mark in found['marks']} == {
        ('priority', 'live'), ('ciphersuites', 'waiting'),
        ('protocols', 'waiting'), ('groups', 'waiting')}
    # Once more: nothing is to be done.
    assert apply('--profile', 'modern', vm.name)['outcome'] == 'unchanged'
    assert apply('--remove', vm.name)['outcome'] == 'removed'
    assert vnc_accepts(vm) == before
    found = state(vm)
    # QEMU now has its default by name.
    assert (found['statement'], found['marks']) == ('none', [])
    assert apply('--remove', vm.name)['outcome'] == 'unchanged'


def test_dry_run_changes_nothing(vm: VM) -> None:
    before = vnc_accepts(vm)
    assert apply('--dry-run', '--profile', 'modern', vm.name)[
        'outcome'] == 'possible'
    assert vnc_accepts(vm) == before
    assert state(vm)['marks'] == []


@pytest.mark.parametrize('value, code', [
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


@pytest.mark.parametrize('display, statement', [
    ('vnc', 'live'), ('spice', 'waiting')])
def test_statement_is_that_of_the_console_which_has_least(
        start: Start, display: str, statement: str) -> None:
    vm = start(support.lab_domain(display))
    apply('--profile', 'modern', vm.name)
    assert state(vm)['statement'] == statement
    assert '1 ' + {'live': 'live until they move or stop',
                   'waiting': 'waiting until they move'}[statement] in run(
        'status', status={'live': 0, 'waiting': 1}[statement]).stdout


PENDING = 'http://ovirt.org/vdsm-hook-tlsciphers/pending/1.0'


@pytest.mark.parametrize('settings', [
    '', '<setting option="-vdsm-tls" value="ciphers=HIGH,id=x"/>',
    '<setting option="-vdsm-tls" value="foo=HIGH"/>',
    '<setting option="-drive" value="ciphers=HIGH"/>',
    '<setting option="-vdsm-tls" value="ciphers=HIGH"/>' * 2])
def test_mark_that_is_none_of_ours_is_said_and_can_be_removed(
        vm: VM, settings: str) -> None:
    before = vnc_accepts(vm)
    vm.host.connection.lookupByName(vm.name).setMetadata(
        libvirt.VIR_DOMAIN_METADATA_ELEMENT,
        '<policy>%s</policy>' % settings, 'x', PENDING,
        libvirt.VIR_DOMAIN_AFFECT_LIVE)
    found = state(vm)
    assert found['statement'] == 'different'
    code = 'character' if 'id=x' in settings else 'mark-malformed'
    assert code in {each['code'] for each in found['differences']}
    assert apply('--again', vm.name, status=1)['code'] == code
    assert apply('--remove', vm.name)['outcome'] == 'removed'
    assert state(vm)['statement'] == 'none'
    assert vnc_accepts(vm) == before


def test_vm_that_started_before_its_property_counted_needs_no_requirement(
        start: Start) -> None:
    """The metadata has the property, the XML no policy: no package then."""
    xml = of_engine(support.lab_domain('vnc'), tlsprofile='modern')
    vm = start(xml)
    assert {each['code'] for each in state(vm)['differences']} == {
        'property-not-applied'}
    assert apply('--profile', 'modern', vm.name)['notes'] == []
    assert state(vm)['differences'] == []
    # Another one would not last.
    notes = apply('--profile', 'intermediate', vm.name)['notes']
    assert any('[apply-next-start]' in note for note in notes)


def test_all_leaves_out_the_hosted_engine_and_what_has_a_policy(
        start: Start, run_hook: RunHook) -> None:
    start(support.lab_domain('vnc', name='HostedEngine'))
    start(support.lab_domain('vnc', name='plain'))
    start(run_hook(support.lab_domain('vnc', name='strict'),
                   tlspriority='SECURE256'))
    document = json.loads(run('apply', '--json', '--all', '--profile',
                              'modern').stdout)
    assert {vm['vm']: vm['outcome'] for vm in document['vms']} == {
        'plain': 'applied', 'strict': 'kept'}


def test_failure_of_one_vm_does_not_stop_the_others(
        start: Start, host_without_vnc_tls: Host) -> None:
    for name, display in ('a-open', 'vnc'), ('b-fine', 'spice'):
        start(support.lab_domain(display, name=name), host_without_vnc_tls)
    pid = (host_without_vnc_tls.root / 'pid').read_text().strip()
    process = subprocess.run(
        ['nsenter', '--target', pid, '--mount', '--uts', 'vdsm-tlsciphers',
         'apply', '--json', '--all', '--profile', 'modern'],
        capture_output=True, text=True)
    assert process.returncode == 1
    assert [(vm['vm'], vm['outcome'], vm['code'])
            for vm in json.loads(process.stdout)['vms']] == [
        ('a-open', 'refused', 'vnc-without-tls'), ('b-fine', 'applied', None)]


def refusal(*arguments: str) -> str | None:
    """Return the code of the one line with which the command failed."""
    line, = run('apply', *arguments, status=2).stderr.splitlines()
    return support.code_of(line)


def test_what_is_wrong_for_every_vm_is_said_once(start: Start) -> None:
    start(support.lab_domain('vnc'))
    for arguments, code in (
            (['lab'], 'apply-nothing'), (['--all'], 'apply-nothing'),
            (['--profile', 'none', 'lab'], 'apply-nothing'),
            (['--profile', '', 'lab'], 'bad-argument'),
            (['--profile', 'modern', 'tlsprofile=intermediate', 'lab'],
             'bad-argument'),
            (['--profile', 'modern', '--all', 'lab'], 'bad-argument'),
            (['--profil', 'modern', 'lab'], 'bad-argument'),
            (['tlspriority=NORMAL:+FOO', '--all'], 'priority-refused'),
            (['--profile', 'modern'], 'apply-no-vm')):
        assert refusal(*arguments) == code, arguments
    # Nothing of this is for its console.
    assert apply('tlsciphers=ECDHE+AESGCM', 'lab', status=1)['code'] == (
        'apply-nothing')


def test_second_policy_takes_back_what_the_first_gave_vnc(vm: VM) -> None:
    before = vnc_accepts(vm)
    apply('--require', '--profile', 'modern', vm.name)
    assert apply('tlsciphers=ECDHE+AESGCM', vm.name)['required'] is True
    assert vnc_accepts(vm) == before
    assert {mark['key'] for mark in state(vm)['marks']} == {'ciphers'}
    apply('--remove', vm.name)
    assert state(vm)['statement'] == 'none'


def test_emulator_that_hangs_is_refused_and_the_others_get_the_policy(
        start: Start) -> None:
    vms = [start(support.lab_domain('vnc', name=name)) for name in 'ab']
    os.kill(vms[0].pid, signal.SIGSTOP)
    try:
        document = json.loads(run('apply', '--json', '--all', '--profile',
                                  'modern', status=1).stdout)
    finally:
        os.kill(vms[0].pid, signal.SIGCONT)
    assert [(vm['outcome'], vm['code']) for vm in document['vms']] == [
        ('refused', 'no-qemu-answer'), ('applied', None)]
    assert state(vms[0])['marks'] == []


def set_password(domain: libvirt.virDomain) -> None:
    """As vdsm's set_ticket does."""
    graphics, = ElementTree.fromstring(domain.XMLDesc(
        libvirt.VIR_DOMAIN_XML_SECURE)).iter('graphics')
    graphics.set('passwd', 'another1')
    domain.updateDeviceFlags(ElementTree.tostring(
        graphics, encoding='unicode'), libvirt.VIR_DOMAIN_AFFECT_LIVE)


def reload_certificates(domain: libvirt.virDomain) -> None:
    """QEMU has a command for it since 6.0."""
    libvirt_qemu.qemuMonitorCommand(domain, json.dumps({
        'execute': 'display-reload', 'arguments': {
            'type': 'vnc', 'tls-certs': True}}), 0)


@pytest.mark.parametrize('event', [
    set_password, libvirt.virDomain.reset, reload_certificates])
def test_vnc_keeps_what_it_was_given(
        start: Start, event: Callable[[libvirt.virDomain], object]) -> None:
    vm = start(support.lab_domain('vnc'))
    apply('--profile', 'modern', vm.name)
    event(vm.host.connection.lookupByName(vm.name))
    assert state(vm)['statement'] == 'live'
    assert vnc_accepts(vm) == MODERN


def test_vnc_keeps_what_it_was_given_while_libvirtd_is_restarted(
        other_host: Host, start: Start) -> None:
    vm = start(support.lab_domain('vnc'), other_host)
    enter(other_host, 'vdsm-tlsciphers', 'apply', '--profile', 'modern', 'lab')
    restart(other_host, signal.SIGTERM, vm.pid)
    enter(other_host, 'vdsm-tlsciphers', 'status', 'lab')
    assert vnc_accepts(vm) == MODERN
    other_host.connection.lookupByName('lab').destroy()


def test_vnc_keeps_what_it_was_given_and_loses_it_with_a_restored_image(
        start: Start, tmp_path: pathlib.Path) -> None:
    """Nothing turns the mark into a policy here: "incoming" is off."""
    vm = start(support.lab_domain('vnc'))
    apply('--profile', 'modern', vm.name)
    domain = vm.host.connection.lookupByName(vm.name)
    domain.snapshotCreateXML(
        '<domainsnapshot><memory snapshot="external" file="%s/memory"/>'
        '</domainsnapshot>' % tmp_path,
        libvirt.VIR_DOMAIN_SNAPSHOT_CREATE_NO_METADATA)
    assert state(vm)['statement'] == 'live'
    domain.destroy()
    vm.host.connection.restore(str(tmp_path / 'memory'))
    found = state(vm)
    assert found['statement'] == 'different'
    assert {mark['state'] for mark in found['marks']} == {'lost'}
    assert apply('--again', vm.name)['outcome'] == 'applied'
    assert state(vm)['statement'] == 'live'
    vm.host.connection.lookupByName(vm.name).destroy()
