# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""What transactions of RPMs mean for a libvirtd and its VMs."""

from __future__ import annotations

import hashlib
import os
import pathlib
import subprocess
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING
from xml.etree import ElementTree

import libvirt
import pytest

import support
from support import SEED_CIPHERS
from support import lab_rpm as rpm

if TYPE_CHECKING:
    from conftest import Host, Start

NAME = 'vdsm-hook-tlsciphers'
EMULATOR = pathlib.Path(
    '/usr/libexec/vdsm/hooks/qemu-kvm-wrapper/qemu-kvm-modified')
QEMU_KVM = pathlib.Path('/usr/libexec/qemu-kvm')
DOMAIN = (support.DATA / 'domain-lab.xml').read_text()


def await_another_ctime() -> None:
    """libvirt compares the wrapper's change time in whole seconds."""
    # The clock of files may be some milliseconds behind.
    while time.time() < int(EMULATOR.stat().st_ctime) + 1.05:
        time.sleep(0.02)


def architecture(emulator: pathlib.Path) -> str:
    """Return the one that an emulator has, as libvirtd has learned it."""
    # It looks whether that still holds. What it answers is no proof: it takes
    # either architecture for good enough, libvirt 7.0 does so both ways.
    subprocess.run(
        ['virsh', '--connect', 'qemu:///system', 'domcapabilities',
         '--virttype', 'qemu', '--emulatorbin', emulator],
        capture_output=True)
    name = hashlib.sha256(os.fsencode(emulator)).hexdigest()
    learned = ElementTree.parse(
        '/var/cache/libvirt/qemu/capabilities/%s.xml' % name)
    return str(learned.findtext('arch'))


@pytest.fixture
def other_emulator(make_stub: support.MakeStub,
                   ) -> Iterator[Callable[[str], pathlib.Path]]:
    """
    A function that builds an RPM of a name, which brings another emulator:
    that of another architecture, to tell it from the one before.
    """
    before = os.readlink(QEMU_KVM)
    packages: list[str] = []

    def make(name: str) -> pathlib.Path:
        packages.append(name)
        # Not a link: libvirt would look at the time of what it leads to, and
        # one transaction may have installed both.
        return make_stub(name, install="""
            mkdir -p %%{buildroot}/usr/libexec
            cat >%%{buildroot}%s <<END
#!/bin/sh
exec %s "\\$@"
END
            chmod 755 %%{buildroot}%s""" % (QEMU_KVM, os.path.realpath(
                QEMU_KVM).replace('x86_64', 'i386'), QEMU_KVM),
            files=[str(QEMU_KVM)])

    yield make
    rpm('--erase', *packages)
    QEMU_KVM.symlink_to(before)
    await_another_ctime()
    EMULATOR.chmod(0o755)


@pytest.mark.parametrize('name', ['qemu-kvm', 'qemu-kvm-ev', 'qemu-kvm-rhev',
                                  'qemu-kvm-core'])
def test_update_of_the_emulator_is_noticed_through_the_wrapper(
        other_emulator: Callable[[str], pathlib.Path], name: str) -> None:
    assert architecture(EMULATOR) == 'x86_64'
    package = other_emulator(name)
    rpm('--upgrade', '--notriggers', package)
    # What libvirt would go on to believe without the trigger.
    assert architecture(QEMU_KVM) == 'i686'
    assert architecture(EMULATOR) == 'x86_64'
    await_another_ctime()
    rpm('--upgrade', '--replacepkgs', package)
    assert architecture(EMULATOR) == 'i686'
    assert rpm('--verify', '--nodeps', NAME).stdout == ''


@pytest.fixture
def manual_installation(package_rpm: pathlib.Path) -> Iterator[None]:
    """
    The state of a host where the manual recipe was followed. The package comes
    back after it.
    """
    rpm('--erase', NAME)
    EMULATOR.parent.mkdir(exist_ok=True)
    EMULATOR.write_text(support.MANUAL_WRAPPER)
    EMULATOR.chmod(0o755)
    yield
    if subprocess.run(['rpm', '--dbpath', os.environ['LAB'] + '/rpmdb',
                       '--query', NAME], capture_output=True).returncode:
        rpm('--install', '--nodeps', package_rpm)


@pytest.fixture
def package_rpm() -> pathlib.Path:
    return pathlib.Path(os.environ['LAB']) / 'package.rpm'


def test_vm_of_the_manual_wrapper_goes_on_and_can_migrate(
        manual_installation: None, package_rpm: pathlib.Path,
        connection: libvirt.virConnect, start: Start,
        destination: Host) -> None:
    vm = start(DOMAIN.replace(
        '<devices>', '<devices><emulator>%s</emulator>' % EMULATOR))
    assert 'tls-ciphers=%s,' % SEED_CIPHERS in vm.arguments[-1]
    rpm('--install', '--nodeps', package_rpm)
    assert EMULATOR.is_symlink()
    assert connection.lookupByName(vm.name).isActive()
    assert vm.accepts('AES256-SHA')
    migrated = connection.lookupByName(vm.name).migrate3(
        destination.connection,
        {libvirt.VIR_MIGRATE_PARAM_URI: 'tcp://127.0.0.1'},
        libvirt.VIR_MIGRATE_LIVE)
    try:
        assert migrated.isActive()
        port = support.spice_tls_port(migrated)
        # One of the recipe's list, and one that QEMU's own has as well.
        assert support.accepts(port, 'AES256-SHA')
        assert not support.accepts(port, 'ECDHE-RSA-CHACHA20-POLY1305')
    finally:
        migrated.destroy()


def test_rpm_of_the_lab_knows_the_package() -> None:
    assert subprocess.run(['rpm', '-q', NAME]).returncode == 0
