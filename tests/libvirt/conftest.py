# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""
Tests on real VMs. They run inside tests/lab, which starts their libvirtd:

    tests/lab RPM python3 -m pytest tests/libvirt
"""

import os
import pathlib
import subprocess

import libvirt
import pytest

import support

HOOK = '/usr/libexec/vdsm/hooks/before_vm_start/50_emulator'


def pytest_configure(config):
    if 'LAB' not in os.environ:
        raise pytest.UsageError('run these tests with tests/lab')


class VM:
    """
    A running VM: name (str), pid (int) of its emulator, tls_port (int) of its
    SPICE console, log (str).
    """

    def __init__(self, domain):
        self.name = domain.name()
        self.pid = int(pathlib.Path(
            '/run/libvirt/qemu/%s.pid' % self.name).read_text())
        self.tls_port = support.spice_tls_port(domain)

    @property
    def log(self):
        return support.read_vm_log(self.name)

    @property
    def arguments(self):
        """What the real emulator was given (list of str)."""
        cmdline = pathlib.Path('/proc/%d/cmdline' % self.pid).read_bytes()
        return os.fsdecode(cmdline).split('\0')[:-1]

    def accepts(self, suite):
        return support.accepts(self.tls_port, suite)


@pytest.fixture(scope='session')
def connection():
    # Errors arrive as exceptions; they need not be printed as well.
    libvirt.registerErrorHandler(lambda *_: None, None)
    connection = libvirt.open('qemu:///system')
    yield connection
    connection.close()


@pytest.fixture
def start(connection, request):
    """A function that starts a VM from a domain XML, until the test ends."""
    domains = []

    def start(xml):
        domain = connection.createXML(xml)
        domains.append(domain)
        return VM(domain)

    yield start
    for domain in domains:
        # One that has migrated is not there any more.
        if domain.UUID() in [other.UUID()
                             for other in connection.listAllDomains()]:
            domain.destroy()
    log = pathlib.Path('/var/log/libvirt/qemu/lab.log')
    log.unlink(missing_ok=True)


@pytest.fixture
def run_hook(tmp_path):
    """A function that does to a domain XML what the hook does under vdsm."""
    def run_hook(xml, **properties):
        domxml = tmp_path / 'domxml'
        domxml.write_text(xml)
        subprocess.run(
            [HOOK], check=True, stderr=subprocess.PIPE,
            env={'PATH': '/usr/bin:/bin', '_hook_domxml': str(domxml),
                 'PYTHONPATH': str(support.TESTS / 'standin'), **properties})
        return domxml.read_text()
    return run_hook
