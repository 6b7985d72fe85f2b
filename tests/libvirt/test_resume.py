# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""Policies of VMs that are suspended to a file and resume from it."""

from __future__ import annotations

import pathlib
import subprocess
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import libvirt
import pytest
from test_migration import BOTH, EXPECTED, POLICY, PRIORITY, scan

import support

if TYPE_CHECKING:
    from conftest import ResumeHook, RunHook, Start, StartDomain, Write


@pytest.fixture
def start_domain(start: Start,
                 connection: libvirt.virConnect) -> Iterator[StartDomain]:
    """A function that starts a VM: its libvirt domain."""
    yield lambda xml: connection.lookupByName(start(xml).name)
    for domain in connection.listAllDomains():
        domain.destroy()


def domain_xml(domain: libvirt.virDomain) -> str:
    """Return the domain XML that vdsm keeps, to start the VM from later."""
    return str(domain.XMLDesc(libvirt.VIR_DOMAIN_XML_SECURE
                              | libvirt.VIR_DOMAIN_XML_MIGRATABLE))


def suspend(domain: libvirt.virDomain, path: pathlib.Path) -> str:
    """Suspend a VM as vdsm does; returns the XML that vdsm keeps."""
    xml = domain_xml(domain)
    domain.save(str(path))
    return xml


def resume(connection: libvirt.virConnect, path: pathlib.Path,
           xml: str) -> libvirt.virDomain:
    connection.restoreFlags(str(path), xml, 0)
    return connection.lookupByName('lab')


def snapshot_of_memory(domain: libvirt.virDomain,
                       folder: pathlib.Path) -> pathlib.Path:
    """Take a snapshot as vdsm does; returns the file with the memory."""
    domain.snapshotCreateXML("""<domainsnapshot>
        <memory snapshot="external" file="%s/memory"/>
        <disks><disk name="vda" snapshot="external">
        <source file="%s/overlay"/></disk></disks></domainsnapshot>"""
                             % (folder, folder),
                             libvirt.VIR_DOMAIN_SNAPSHOT_CREATE_NO_METADATA)
    return folder / 'memory'


# What the host's file can be when a VM resumes that had its policy from there.
SITE = '[default]\ntlsprofile = site\n[profile site]\n' + ''.join(
    '%s = %s\n' % item for item in POLICY.items())
PROFILE_GONE = '[default]\ntlsprofile = modern\n'
UNKNOWN_SUITE = SITE.replace('TLS_AES_256', 'TLS_AES_512')
FILES = (SITE, SITE.replace('P-384', 'P-256'), PROFILE_GONE, UNKNOWN_SUITE,
         '[default]\ntlsprofile = site\n', 'nobody can read this\n', '')


@pytest.mark.parametrize('properties, refused', [
    ({'tlsprofile': 'site'}, [PROFILE_GONE, UNKNOWN_SUITE, *FILES[-3:]]),
    # The host's default is refused only where it is malformed.
    ({}, FILES[-3:-1])])
def test_vm_resumes_with_what_was_saved_whatever_the_hosts_file_is_now(
        start_domain: StartDomain, connection: libvirt.virConnect,
        run_hook: RunHook, resume_hook: ResumeHook, host_default: Write,
        folder: pathlib.Path, soak: bool, figure: support.Figure,
        properties: dict[str, str], refused: Sequence[str]) -> None:
    host_default(SITE)
    xml = suspend(start_domain(run_hook(BOTH, **properties)), folder / 'saved')
    blocked = 0
    for text in FILES:
        host_default(text)
        try:
            said = resume_hook(properties)
        except subprocess.CalledProcessError:
            blocked += 1
            continue
        assert ('not refused: the VM resumes' in said) == (text in refused)
        if text in refused:
            with pytest.raises(subprocess.CalledProcessError):
                resume_hook(properties, start=True)
        if soak or text in (SITE, UNKNOWN_SUITE, FILES[-2]):
            domain = resume(connection, folder / 'saved', xml)
            assert scan(domain) == EXPECTED
            domain.destroy()
    figure('resumes refused by the hook, of %d where it refuses a start'
           % len(refused), blocked, 0)
    assert blocked == 0


def test_vm_resumes_only_where_its_policy_can_be_enforced(
        start_domain: StartDomain, connection: libvirt.virConnect,
        run_hook: RunHook, resume_hook: ResumeHook, gnutls_config: Write,
        folder: pathlib.Path) -> None:
    """What GnuTLS knows has changed meanwhile; what was saved is kept."""
    properties = {'tlspriority': '@LAB', 'tlsciphers': 'AES256-SHA'}
    known = '[priorities]\nLAB = %s\n' % PRIORITY
    gnutls_config(known)
    xml = suspend(start_domain(run_hook(BOTH, **properties)), folder / 'saved')
    gnutls_config('')
    with pytest.raises(subprocess.CalledProcessError):
        resume_hook(properties, start=True)
    assert 'not refused: the VM resumes' in resume_hook(properties)
    with pytest.raises(libvirt.libvirtError, match='qemu-kvm-modified: '
                       'priority: @LAB: GnuTLS says: Syntax error at: @LAB'):
        resume(connection, folder / 'saved', xml)
    gnutls_config(known)
    domain = resume(connection, folder / 'saved', xml)
    assert support.accepted(support.console_port(
        domain, 'vnc', 'websocket')) == EXPECTED.vnc


def test_default_that_cannot_be_enforced_any_more_does_not_stop_a_resume(
        start_domain: StartDomain, connection: libvirt.virConnect,
        run_hook: RunHook, resume_hook: ResumeHook, host_default: Write,
        gnutls_config: Write, folder: pathlib.Path) -> None:
    gnutls_config('[priorities]\nLAB = %s\n' % PRIORITY)
    host_default('[default]\ntlspriority = @LAB\n')
    xml = suspend(start_domain(run_hook(BOTH, tlsciphers='AES256-SHA')),
                  folder / 'saved')
    gnutls_config('')
    resume_hook({'tlsciphers': 'AES256-SHA'})
    domain = resume(connection, folder / 'saved', xml)
    assert ': host default ignored' in support.read_vm_log('lab')
    assert {suite for version, suite in scan(domain).spice
            if version == 'TLSv1.2'} == {'AES256-SHA'}


def test_managed_save_keeps_the_policy(define_domain: StartDomain,
                                       run_hook: RunHook) -> None:
    domain = define_domain(run_hook(BOTH, **POLICY))
    domain.managedSave()
    assert not domain.isActive()
    domain.create()
    assert domain.state()[1] == libvirt.VIR_DOMAIN_RUNNING_RESTORED
    assert scan(domain) == EXPECTED


def test_internal_snapshot_keeps_the_policy(
        define_domain: StartDomain, run_hook: RunHook,
        disk: Callable[[str], str]) -> None:
    domain = define_domain(run_hook(disk(BOTH), **POLICY))
    snapshot = domain.snapshotCreateXML(
        '<domainsnapshot><name>first</name></domainsnapshot>')
    domain.destroy()
    domain.revertToSnapshot(snapshot)
    assert domain.state()[0] == libvirt.VIR_DOMAIN_RUNNING
    assert scan(domain) == EXPECTED


def test_external_snapshot_with_memory_keeps_the_policy(
        start_domain: StartDomain, connection: libvirt.virConnect,
        run_hook: RunHook, resume_hook: ResumeHook, disk: Callable[[str], str],
        folder: pathlib.Path) -> None:
    """As vdsm starts a VM from its memory."""
    domain = start_domain(run_hook(disk(BOTH), **POLICY))
    xml = domain_xml(domain)
    memory = snapshot_of_memory(domain, folder)
    assert scan(domain) == EXPECTED
    domain.destroy()
    resume_hook(POLICY)
    assert scan(resume(connection, memory, xml)) == EXPECTED
