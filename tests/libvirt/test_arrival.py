# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""
What was applied to running VMs, where they arrive: by migrations, and from
saved images, on hosts whose libvirt turns marks into policies, and others.
"""

from __future__ import annotations

import json
import pathlib
import re
import signal
import subprocess
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import libvirt
import libvirt_qemu
import pytest
from test_apply import MODERN, apply
from test_faults import enter, restart
from test_migration import (
    arriving,
    full_guest,
    held,
    is_full,
    migrate,
    scan,
    wait_until,
)

import support

if TYPE_CHECKING:
    from conftest import Files, Host, MakeHost, RunHook, Start

    Arrange = Callable[..., Host]

# The fixture.
__all__ = ['full_guest']

BOTH = support.lab_domain('spice', 'vnc')
SCRIPT = '/usr/libexec/vdsm-tlsciphers-incoming'
MODULES = '/usr/share/vdsm-hook-tlsciphers/'
HELPER = MODULES + 'tlsciphers_incoming.py'
PENDING = 'http://ovirt.org/vdsm-hook-tlsciphers/pending/1.0'
HOOKS = '/usr/libexec/vdsm/hooks/'
# A console of QEMU and libspice without a policy accepts more.
ALL_MODERN = (MODERN, MODERN)
# What vdsm's own script does with the XML of each VM that arrives, in place
# of its /etc/libvirt/hooks/qemu: it reads and writes it with ElementTree.
VDSMS_SCRIPT = """#!/usr/bin/python3
import sys
import xml.etree.ElementTree as ET
if sys.argv[2] in ('migrate', 'restore') and sys.argv[3] == 'begin':
    ET.parse(sys.stdin).write(sys.stdout, encoding='unicode')
"""


def accepted(domain: libvirt.virDomain) -> tuple[set[tuple[str, str]],
                                                set[tuple[str, str]]]:
    """Return what the SPICE and the VNC console of a VM accept."""
    found = scan(domain)
    return found.spice, found.vnc


def accepts_more(domain: libvirt.virDomain) -> tuple[bool, bool]:
    """Tell whether SPICE and VNC accept a suite that "modern" has not got."""
    return (support.accepts(support.spice_tls_port(domain), 'AES128-SHA'),
            support.accepts(support.console_port(domain, 'vnc', 'websocket'),
                            'AES128-SHA'))


def on(host: Host, *command: str, status: int = 0) -> str:
    """Return what the command prints on a Host."""
    pid = (host.root / 'pid').read_text().strip()
    process = subprocess.run(
        ['nsenter', '--target', pid, '--mount', '--uts', 'vdsm-tlsciphers',
         *command], capture_output=True, text=True)
    assert process.returncode == status, process.stdout + process.stderr
    return process.stdout


def state(host: Host, status: int) -> dict[str, Any]:
    """Return what status says of the one VM on a Host."""
    vm: dict[str, Any]
    vm, = json.loads(on(host, 'status', '--json', status=status))['vms']
    return vm


def states(vm: dict[str, Any]) -> dict[str, str]:
    return {mark['key']: mark['state'] for mark in vm['marks']}


def has_mark(domain: libvirt.virDomain) -> bool:
    return PENDING in domain.XMLDesc()


@pytest.fixture
def arrange(make_host: MakeHost, tmp_path: pathlib.Path) -> Arrange:
    """
    A function that starts a host with vdsm's script for libvirt, and files
    ({path: content, or path of what is there instead}) that differ.
    """
    def arrange(files: Files | None = None, enable: bool = True) -> Host:
        folder = tmp_path / 'hooks'
        (folder / 'qemu.d').mkdir(parents=True)
        (folder / 'qemu').write_text(VDSMS_SCRIPT)
        (folder / 'qemu').chmod(0o755)
        pathlib.Path('/etc/libvirt/hooks').mkdir(exist_ok=True)
        host = make_host({'/etc/libvirt/hooks': folder, **(files or {})})
        if enable:
            on(host, 'incoming', '--enable')
        return host
    return arrange


@pytest.mark.parametrize('way', ['direct', 'peer to peer'])
def test_policy_comes_with_a_migration_without_a_shutdown(
        start: Start, lab: Host, arrange: Arrange, full_guest: Callable[
            [str], str], way: str) -> None:
    host = arrange()
    vm = start(full_guest(BOTH))
    domain = lab.connection.lookupByName(vm.name)
    wait_until(lambda: is_full(domain))
    without, _ = accepted(domain)
    assert without > MODERN
    apply('--profile', 'modern', vm.name)
    found = [accepted(domain)]
    with held(domain, host, way) as migration:
        found += [accepted(domain), accepted(arriving(host))]
    arrived = migration.result()
    found.append(accepted(arrived))
    assert found == [(without, MODERN)] * 2 + [ALL_MODERN] * 2
    # It is the very same guest.
    assert is_full(arrived)
    assert not has_mark(arrived)
    vm_there = state(host, 0)
    assert (vm_there['statement'], vm_there['marks']) == ('effective', [])
    # From then on it carries its policy with it, to any host.
    back = migrate(arrived, lab, 'peer to peer', uri=host.lab_uri)
    assert accepted(back) == ALL_MODERN
    assert is_full(back)
    assert state_of_lab()['statement'] == 'effective'
    assert apply('--profile', 'modern', vm.name)['outcome'] == 'unchanged'


def state_of_lab() -> dict[str, Any]:
    vm: dict[str, Any]
    vm, = json.loads(subprocess.run(
        ['vdsm-tlsciphers', 'status', '--json'], capture_output=True,
        text=True, check=True).stdout)['vms']
    return vm


def test_policy_comes_with_a_resume(arrange: Arrange, start: Start,
                                    tmp_path: pathlib.Path) -> None:
    host = arrange()
    start(BOTH, host)
    domain = host.connection.lookupByName('lab')
    on(host, 'apply', '--profile', 'modern', 'lab')
    domain.save(str(tmp_path / 'image'))
    host.connection.restore(str(tmp_path / 'image'))
    domain = host.connection.lookupByName('lab')
    assert accepted(domain) == ALL_MODERN
    assert not has_mark(domain)
    assert state(host, 0)['statement'] == 'effective'


def test_managed_image_gets_the_policy_as_well(
        arrange: Arrange, start: Start) -> None:
    host = arrange()
    host.connection.defineXML(BOTH)
    domain = host.connection.lookupByName('lab')
    domain.create()
    on(host, 'apply', '--profile', 'modern', 'lab')
    domain.managedSave()
    domain.create()
    assert accepted(domain) == ALL_MODERN
    domain.undefineFlags(0)


@pytest.mark.parametrize('options, works', [((), False),
                                            (('--require',), True)])
def test_spice_port_without_tls_is_closed_by_a_requirement_alone(
        arrange: Arrange, start: Start, lab: Host,
        options: tuple[str, ...], works: bool) -> None:
    host = arrange()
    vm = start(support.lab_domain('spice').replace(
        ' defaultMode="secure"', ''))
    result = apply('--profile', 'modern', *options, vm.name)
    assert any('[spice-plaintext]' in note
               for note in result['notes']) is not works
    domain = migrate(lab.connection.lookupByName(vm.name), host,
                     'peer to peer')
    assert not has_mark(domain)
    found = state(host, 0 if works else 1)
    assert (found['statement'] == 'effective') is works
    assert ('spice-plaintext' in {each['code'] for each in found[
        'differences']}) is not works


def test_policy_in_place_of_one_is_a_requirement_where_that_was(
        arrange: Arrange, start: Start, lab: Host,
        run_hook: RunHook) -> None:
    host = arrange()
    vm = start(run_hook(BOTH, tlsprofile='intermediate'))
    apply('--replace', '--profile', 'modern', vm.name)
    domain = migrate(lab.connection.lookupByName(vm.name), host,
                     'peer to peer')
    assert accepted(domain) == ALL_MODERN
    assert set(re.findall("arg value='(-vdsm[^']*)'", domain.XMLDesc())) == {
        '-vdsm-tls'}


def test_where_it_is_not_enabled_vnc_is_put_back_and_the_rest_is_lost(
        arrange: Arrange, start: Start, lab: Host,
        tmp_path: pathlib.Path) -> None:
    host = arrange(enable=False)
    vm = start(BOTH)
    apply('--profile', 'modern', vm.name)
    domain = migrate(lab.connection.lookupByName(vm.name), host,
                     'peer to peer')
    # A policy that is not in effect is never said to be.
    assert accepts_more(domain) == (True, True)
    found = state(host, 1)
    assert set(states(found).values()) == {'lost'}
    assert found['statement'] == 'different'
    assert 'mark-lost' in {each['code'] for each in found['differences']}
    # vdsm runs this just after the migration.
    said = run_arrival_hook(host, 'after_vm_migrate_destination',
                            domain.XMLDesc(), tmp_path)
    assert 'VNC has the policy of its mark again' in said
    assert accepts_more(domain) == (True, False)
    assert accepted(domain)[1] == MODERN
    found = state(host, 1)
    assert states(found) == {'priority': 'live', 'ciphersuites': 'lost',
                             'protocols': 'lost', 'groups': 'lost'}
    # The command does all of it, for this host; SPICE waits once more.
    assert 'applied' in on(host, 'apply', '--again', '--all')
    found = state(host, 1)
    assert found['statement'] == 'waiting'
    assert states(found) == {'priority': 'live', 'ciphersuites': 'waiting',
                             'protocols': 'waiting', 'groups': 'waiting'}
    assert 'unchanged' in on(host, 'apply', '--again', '--all')


def run_arrival_hook(host: Host, event: str, xml: str,
                     folder: pathlib.Path) -> str:
    """
    Run the hook of an event as vdsm does on a Host, with the live domain XML
    (str): as a user without rights. The lab's libvirt asks for no password.
    Return what vdsm logs.
    """
    domxml = folder / 'domxml'
    domxml.write_text(xml)
    domxml.chmod(0o644)
    for parent in list(domxml.parents)[:-2]:
        parent.chmod(0o755)
    pid = (host.root / 'pid').read_text().strip()
    process = subprocess.run(
        ['nsenter', '--target', pid, '--mount', '--uts', 'setpriv',
         '--reuid=nobody', '--regid=nogroup', '--clear-groups',
         HOOKS + event + '/50_tlsciphers'], capture_output=True, text=True,
        env=support.hook_environment(domxml))
    assert process.returncode == 0
    assert domxml.read_text() == xml
    assert process.stdout == ''
    return process.stderr


@pytest.mark.parametrize('priority, said', [
    ('NORMAL:+FOO', '[priority-refused]'), ('NORMAL,id=x', '[character]')])
def test_value_that_would_end_the_console_is_not_put_back(
        arrange: Arrange, start: Start, tmp_path: pathlib.Path, priority: str,
        said: str) -> None:
    host = arrange(enable=False)
    start(BOTH, host)
    domain = host.connection.lookupByName('lab')
    domain.setMetadata(
        libvirt.VIR_DOMAIN_METADATA_ELEMENT,
        '<policy><setting option="-vdsm-tls" value="priority=%s"/></policy>'
        % priority, 'x', PENDING, libvirt.VIR_DOMAIN_AFFECT_LIVE)
    assert said in run_arrival_hook(host, 'after_vm_dehibernate',
                                    domain.XMLDesc(), tmp_path)
    assert accepts_more(domain) == (True, True)


# What must do no harm


def fails(text: str) -> str:
    return '#!/bin/sh\n%s\n' % text


# The helper, which the script runs: its interpreter is not sh.
BROKEN_HELPERS = {
    'exit status': 'raise SystemExit(1)',
    'signal': 'import os; os.kill(os.getpid(), 9)',
    'garbage': 'print("<domain")',
    'another machine': 'import sys; print(sys.stdin.read().replace('
                       '"KiB\'>65536", "KiB\'>99999").replace("lab<", "x<"))',
    'half of it': 'import sys; print(sys.stdin.read()[:200]); '
                  'raise SystemExit(1)',
    'hang': 'import time; time.sleep(999)',
    'syntax': '(', 'nothing': ''}


def broken(name: str, folder: pathlib.Path) -> dict[str, pathlib.Path]:
    """Return the files ({path: instead}) of a host that is broken."""
    instead = folder / 'instead'
    if name in BROKEN_HELPERS:
        instead.write_text(BROKEN_HELPERS[name])
        files = {HELPER: instead}
        if name == 'hang':
            # It would wait for 20 seconds, four times.
            script = folder / 'script'
            text = pathlib.Path(SCRIPT).read_text()
            assert '-k 1 20 ' in text
            script.write_text(text.replace('-k 1 20 ', '-k 1 1 '))
            script.chmod(0o755)
            files[SCRIPT] = script
        return files
    if name == 'missing module':
        instead.write_text('')
        return {MODULES + 'tlsciphers_domain.py': instead}
    instead.write_text(pathlib.Path(SCRIPT).read_text())
    if name == 'no interpreter of the helper':
        instead.write_text(re.sub(r'\S*python3?\S* -ESs', '/nowhere -ESs',
                                  instead.read_text()))
        assert '/nowhere' in instead.read_text()
    elif name == 'no timeout':
        instead.write_text(instead.read_text().replace(
            '/usr/bin/timeout', '/nowhere'))
    elif name == 'cut off':
        instead.write_text(instead.read_text()[:-60])
    instead.chmod(0o644 if name == 'no run bit' else 0o755)
    return {SCRIPT: instead}


def is_running(host: Host, name: str) -> bool:
    """Tell whether a VM runs on a Host whose libvirtd was just started."""
    # Its answer comes once libvirt has found the VM again.
    answer = libvirt_qemu.qemuMonitorCommand(
        host.connection.lookupByName(name), '{"execute": "query-status"}', 0)
    return bool(json.loads(answer)['return']['running'])


@pytest.mark.parametrize('name', [
    *BROKEN_HELPERS, 'missing module', 'no interpreter of the helper',
    'no timeout', 'cut off', 'no run bit', 'dangling link', 'full disk'])
def test_nothing_that_breaks_ends_a_vm_or_keeps_one_from_arriving(
        name: str, arrange: Arrange, start: Start, lab: Host,
        tmp_path: pathlib.Path) -> None:
    host = arrange({} if name in ('dangling link', 'full disk')
                   else broken(name, tmp_path), enable=False)
    link = tmp_path / 'hooks/qemu.d/50-tlsciphers'
    link.symlink_to('/nowhere' if name == 'dangling link' else SCRIPT)
    if name == 'full disk':
        enter(host, 'sh', '-ec', """
            for folder; do
                mount -t tmpfs -o size=4k full "$folder"
                ! cat /dev/zero >"$folder/file" 2>/dev/null
            done""", 'sh', '/var/tmp', '/dev/shm', '/var/log')
    plain = start(support.lab_domain('spice', name='plain'), host)
    # libvirtd is restarted beside it: with "reconnect" it asks the script.
    restart(host, signal.SIGTERM, plain.pid)
    assert is_running(host, 'plain')
    # And a marked VM arrives, as it is.
    vm = start(BOTH)
    apply('--profile', 'modern', '--require', vm.name)
    source = lab.connection.lookupByName(vm.name)
    if name in ('garbage', 'another machine'):
        # libvirt refuses such an XML; at the source nothing has changed.
        with pytest.raises(libvirt.libvirtError):
            migrate(source, host, 'peer to peer')
        assert source.isActive()
        assert accepts_more(source) == (True, False)
    else:
        domain = migrate(source, host, 'peer to peer')
        works = name == 'full disk'
        assert has_mark(domain) is not works
        assert accepts_more(domain) == (not works, not works)
    restart(host, signal.SIGTERM, plain.pid)
    assert is_running(host, 'plain')
    host.connection.lookupByName('plain').destroy()


def test_vm_that_another_hook_starts_keeps_its_mark(
        arrange: Arrange, start: Start, lab: Host,
        tmp_path: pathlib.Path) -> None:
    emulator = pathlib.Path('/usr/local/bin/another-wrapper')
    emulator.write_text('#!/bin/sh\nexec /usr/libexec/qemu-kvm "$@"\n')
    emulator.chmod(0o755)
    host = arrange()
    vm = start(BOTH.replace('<devices>', '<devices><emulator>%s</emulator>'
                            % emulator))
    apply('--profile', 'modern', vm.name)
    domain = migrate(lab.connection.lookupByName(vm.name), host,
                     'peer to peer')
    assert has_mark(domain)
    assert str(emulator) in domain.XMLDesc()
    assert 'mark-lost' in json.dumps(state(host, 1))


@pytest.mark.parametrize('wrapper', ['missing', 'mode'])
def test_where_the_wrapper_is_not_in_order_the_vm_arrives_as_it_is(
        arrange: Arrange, start: Start, lab: Host, tmp_path: pathlib.Path,
        wrapper: str) -> None:
    host = arrange()
    instead = tmp_path / 'wrapper'
    instead.write_text('')
    instead.chmod(0o644)
    if wrapper == 'missing':
        instead.unlink()
        instead.mkdir()
        enter(host, 'mount', '--bind', str(instead),
              '/usr/libexec/vdsm/hooks/qemu-kvm-wrapper')
    else:
        enter(host, 'mount', '--bind', str(instead),
              '/usr/libexec/qemu-kvm-modified')
    vm = start(BOTH)
    apply('--profile', 'modern', vm.name)
    domain = migrate(lab.connection.lookupByName(vm.name), host,
                     'peer to peer')
    assert has_mark(domain)
    assert 'failed' in on(host, 'incoming', '--test', status=1)
