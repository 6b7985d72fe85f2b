# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""
The guard on real VMs: libvirt starts none that has it, and where the hook
takes it out, the VM has its policy and nothing of the guard is left.
"""

from __future__ import annotations

import os
import pathlib
import re
import shlex
import signal
import subprocess
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import libvirt
import pytest
from test_faults import restart
from test_migration import BOTH, WRAPPER_MODULE, migrate
from test_resume import domain_xml, resume, snapshot_of_memory, suspend

import support
from support import EMULATOR, GUARD, HOOK, guarded

if TYPE_CHECKING:
    from conftest import (
        Host,
        ResumeHook,
        RunHook,
        Start,
        StartDomain,
        Write,
    )

FLAG = {'extra_cpu_flags': '+vdsm-tls'}
PROFILE = {'tlsprofile': 'modern'}
UNKNOWN = 'unsupported configuration: unknown CPU feature: vdsm-tls'
# Each way to write a CPU that this libvirt knows; "maximum" is new in 7.1.
MAXIMUM = ['<cpu mode="maximum">%s</cpu>'] if "'maximum'" in subprocess.run(
    ['virsh', '--connect', 'qemu:///system', 'domcapabilities', '--virttype',
     'qemu'], check=True, capture_output=True, text=True).stdout else []
FORMS = (
    '<cpu mode="host-passthrough">%s</cpu>',
    '<cpu mode="host-passthrough" check="none" migratable="on">%s</cpu>',
    '<cpu mode="host-model">%s</cpu>',
    '<cpu mode="host-model" check="partial">%s</cpu>',
    *MAXIMUM,
    '<cpu match="exact"><model>Nehalem</model>%s</cpu>',
    *('<cpu mode="custom" match="%s" check="%s"><model>Nehalem</model>%%s'
      '</cpu>' % (match, check) for match in ('exact', 'minimum', 'strict')
      for check in ('none', 'partial', 'full')),
    '<cpu match="exact"><model>Nehalem</model><topology sockets="1" cores="1" '
    'threads="1"/><feature name="aes" policy="require"/>%s'
    '<feature name="sse4.2" policy="disable"/></cpu>')


@pytest.mark.parametrize('cpu', FORMS)
@pytest.mark.parametrize('policy', [
    ' policy="require"', ' policy="disable"', ''])
def test_host_without_the_package_starts_no_vm_with_a_guard(
        start: Start, cpu: str, policy: str) -> None:
    """There is no hook."""
    with pytest.raises(libvirt.libvirtError, match=UNKNOWN + '$'):
        start(guarded(BOTH, cpu, '<feature name="vdsm-tls"%s/>' % policy))


@pytest.fixture
def start_domain(start: Start,
                 connection: libvirt.virConnect) -> StartDomain:
    """A function that starts a VM: its libvirt domain."""
    return lambda xml: connection.lookupByName(start(xml).name)


@pytest.mark.parametrize('cpu, message', [
    ('<cpu>%s</cpu>', 'Non-empty feature list specified without CPU model'),
    ('<cpu match="exact"><model>Nehalem</model>%s' + GUARD + '</cpu>',
     "CPU feature 'vdsm-tls' specified more than once")])
def test_guard_that_libvirt_does_not_read_needs_the_hook_as_well(
        start_domain: StartDomain, run_hook: RunHook, cpu: str, message: str,
        ) -> None:
    xml = guarded(BOTH, cpu)
    with pytest.raises(libvirt.libvirtError, match=message):
        start_domain(xml)
    assert has_policy(start_domain(run_hook(xml, **FLAG, **PROFILE)))


def has_policy(domain: libvirt.virDomain) -> bool:
    """Tell whether the consoles accept the versions of PROFILE, no more."""
    return [support.handshake(port, version) for port in (
        support.spice_tls_port(domain),
        support.console_port(domain, 'vnc', 'websocket'))
        for version in ('TLSv1.2', 'TLSv1.3')] == [False, True] * 2


def has_guard(domain: libvirt.virDomain, *texts: str) -> bool:
    """
    Tell whether the guard is in some texts, or in what libvirt knows of a
    running VM.
    """
    return any(re.search('<feature[^>]*vdsm-tls', text) for text in (
        *texts, *(domain.XMLDesc(flags) for flags in (
            0, libvirt.VIR_DOMAIN_XML_INACTIVE,
            libvirt.VIR_DOMAIN_XML_MIGRATABLE))))


@pytest.mark.parametrize('cpu', [
    FORMS[2], *MAXIMUM, '<cpu match="exact"><model>Nehalem</model>%s</cpu>',
    FORMS[-1]])
def test_vm_with_a_guard_is_as_one_without_it_where_the_hook_runs(
        start: Start, run_hook: RunHook, connection: libvirt.virConnect,
        cpu: str) -> None:
    vm = start(run_hook(guarded(BOTH, cpu), **FLAG, **PROFILE))
    domain = connection.lookupByName(vm.name)
    assert has_policy(domain)
    assert not has_guard(domain)
    native = shlex.split(connection.domainXMLToNative(
        'qemu-argv', guarded(BOTH, cpu, '')))
    assert option('-cpu', vm.arguments) == option('-cpu', native)


def option(name: str, arguments: list[str]) -> str:
    return arguments[arguments.index(name) + 1]


def test_save_and_snapshot_bring_no_guard_back(
        define_domain: StartDomain, run_hook: RunHook,
        connection: libvirt.virConnect, disk: Callable[[str], str],
        folder: pathlib.Path) -> None:
    domain = define_domain(run_hook(guarded(disk(BOTH)), **FLAG, **PROFILE))
    domain.suspend()
    domain.resume()
    domain.managedSave()
    texts = [domain.managedSaveGetXMLDesc()]
    domain.create()
    policies = [has_policy(domain)]

    suspend(domain, folder / 'saved')
    texts.append(connection.saveImageGetXMLDesc(str(folder / 'saved')))
    connection.restore(str(folder / 'saved'))
    policies.append(has_policy(domain))

    snapshot = domain.snapshotCreateXML(
        '<domainsnapshot><name>first</name></domainsnapshot>')
    texts.append(snapshot.getXMLDesc())
    domain.destroy()
    domain.revertToSnapshot(snapshot)
    policies.append(has_policy(domain))

    memory = snapshot_of_memory(domain, folder)
    texts.append(connection.saveImageGetXMLDesc(str(memory)))
    xml = domain_xml(domain)
    domain.destroy()
    domain = resume(connection, memory, xml)
    assert not has_guard(domain, *texts)
    assert [*policies, has_policy(domain)] == [True] * 4


def test_migration_and_restart_of_libvirtd_bring_no_guard_back(
        start_domain: StartDomain, run_hook: RunHook, lab: Host,
        empty_destination: Host) -> None:
    host = empty_destination
    domain = start_domain(run_hook(guarded(BOTH), **FLAG, **PROFILE))
    domain = migrate(domain, host, 'peer to peer')
    there = has_guard(domain), has_policy(domain)
    restart(host, signal.SIGTERM, int(
        (host.root / 'run/libvirt/qemu/lab.pid').read_text()))
    domain = host.connection.lookupByName('lab')
    after_restart = has_guard(domain), has_policy(domain)
    domain = migrate(domain, lab, 'peer to peer', uri=host.lab_uri)
    back = has_guard(domain), has_policy(domain)
    domain.destroy()
    assert [there, after_restart, back] == [(False, True)] * 3


def test_vm_with_a_guard_resumes_though_its_properties_are_lost(
        start_domain: StartDomain, run_hook: RunHook, resume_hook: ResumeHook,
        connection: libvirt.virConnect, folder: pathlib.Path) -> None:
    """As vdsm does it; only a start is refused."""
    xml = guarded(BOTH)
    kept = suspend(start_domain(run_hook(xml, **FLAG, **PROFILE)),
                   folder / 'saved')
    with pytest.raises(subprocess.CalledProcessError):
        resume_hook(FLAG, start=True, xml=xml)
    assert '[guard-uncovered]' in resume_hook(FLAG, xml=xml)
    domain = resume(connection, folder / 'saved', kept)
    resumed = has_guard(domain, kept), has_policy(domain)
    domain.destroy()
    assert resumed == (False, True)


def test_vm_without_a_console_needs_no_policy(
        start_domain: StartDomain, run_hook: RunHook) -> None:
    assert not has_guard(start_domain(
        run_hook(guarded(support.lab_domain()), **FLAG)))


DEFAULT = '[default]\ntlsprofile = modern\n'


@pytest.mark.parametrize('default, properties, sign, code', [
    # What the VM had for itself is lost.
    ('', {}, '+', 'guard-uncovered'),
    (DEFAULT, {}, '+', 'guard-uncovered'),
    (DEFAULT, {'tlsprofile': 'none'}, '+', 'guard-uncovered'),
    (DEFAULT, {'tlsciphers': support.GOOD_CIPHERS}, '+', 'guard-uncovered'),
    (DEFAULT, {'tlspriority': 'NORMAL'}, '+', 'guard-uncovered'),
    (DEFAULT, PROFILE, '-', 'guard-policy')])
def test_vm_with_a_guard_and_without_a_policy_starts_nowhere(
        start: Start, host_default: Write, tmp_path: pathlib.Path,
        default: str, properties: dict[str, str], sign: str, code: str,
        ) -> None:
    """The hook refuses it, and libvirt what the hook then leaves behind."""
    host_default(default)
    domxml = tmp_path / 'domxml'
    domxml.write_text(guarded(BOTH, guard=GUARD.replace(
        'require', {'+': 'require', '-': 'disable'}[sign])))
    with pytest.raises(subprocess.CalledProcessError) as error:
        support.run_hooks(domxml, **properties,
                          extra_cpu_flags=sign + 'vdsm-tls')
    assert error.value.stderr.endswith(' [%s]\n' % code)
    with pytest.raises(libvirt.libvirtError, match=UNKNOWN):
        start(domxml.read_text())


# Other hooks in the place of ours


# A stand-in for the hook of the manual recipe, which is not published: it does
# what the seed document says of it.
MANUAL_HOOK = """#!/usr/bin/python3
import hooking
document = hooking.read_domxml()
emulator = document.createElement('emulator')
emulator.appendChild(document.createTextNode('%s'))
document.getElementsByTagName('devices')[0].appendChild(emulator)
hooking.write_domxml(document)
""" % EMULATOR


def without_its_run_bit(hook: str, _: pathlib.Path) -> tuple[str, int]:
    return hook, 0o644


def of_version_0_3(hook: str, folder: pathlib.Path) -> tuple[str, int]:
    """A stand-in: it is this version's, but does not look for a guard."""
    installed = os.path.dirname(WRAPPER_MODULE)
    for path in pathlib.Path(installed).glob('*.py'):
        (folder / path.name).write_text(path.read_text().replace(
            'guard = domain.check_guard(document, settings)', 'guard = []'))
    return hook.replace(installed, str(folder)), 0o755


def of_the_manual_recipe(_: str, __: pathlib.Path) -> tuple[str, int]:
    return MANUAL_HOOK, 0o755


@pytest.fixture
def replace_hook() -> Iterator[Callable[[str, int], None]]:
    """A function that puts a text, with a mode, in the place of the hook."""
    hook = pathlib.Path(HOOK)
    kept = hook.parent.with_name('kept')

    def replace(text: str, mode: int) -> None:
        hook.rename(kept)
        hook.write_text(text)
        hook.chmod(mode)

    yield replace
    kept.rename(hook)


@pytest.mark.parametrize('make', [without_its_run_bit, of_version_0_3,
                                  of_the_manual_recipe])
def test_hook_that_does_not_take_the_guard_out_starts_no_vm_with_one(
        start: Start, run_hook: RunHook, tmp_path: pathlib.Path,
        replace_hook: Callable[[str, int], None],
        make: Callable[[str, pathlib.Path], tuple[str, int]]) -> None:
    replace_hook(*make(pathlib.Path(HOOK).read_text(), tmp_path))
    xml = run_hook(guarded(BOTH), **FLAG, **PROFILE)
    assert (EMULATOR in xml) == (make is not without_its_run_bit)
    with pytest.raises(libvirt.libvirtError, match=UNKNOWN):
        start(xml)
