# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

import json
import os
import re
import subprocess
import sys

import pytest

import builds
import support
from engine import PASSWORD, Engine
from roots import Root


class Controller:
    """
    Where ansible-playbook runs, with the collection.

    Attributes:
        folder (pathlib.Path): where the inventory is, and what plays leave.
        enter (list of str): the command that leads into the namespaces where
            the roots of the hosts are.
        engine (Engine or None): the engine whose address playbooks are given.
    """

    def __init__(self, folder):
        self.folder = folder
        self.enter = []
        self.engine = None
        self.hosts = {}
        collections = folder / 'collections/ansible_collections/vdsm_hooks'
        collections.mkdir(parents=True)
        (collections / 'tlsciphers').symlink_to(support.SOURCE / 'ansible')
        self.environment = {
            **os.environ, 'ANSIBLE_HOME': str(folder / 'home'),
            'ANSIBLE_COLLECTIONS_PATH': str(folder / 'collections'),
            'ANSIBLE_PIPELINING': '1', 'ANSIBLE_NOCOLOR': '1',
            'ANSIBLE_LOCALHOST_WARNING': '0', 'PWD': str(folder),
            'ANSIBLE_INVENTORY_UNPARSED_WARNING': '0', 'LC_ALL': 'C.UTF-8'}

    def play(self, playbook, *options, status=0, **variables):
        """Run a playbook of the collection; return the Outcome."""
        if self.engine:
            variables['tlsciphers_engine'] = {
                'url': self.engine.url, 'username': 'admin@internal',
                'password': PASSWORD}
        inventory = self.folder / 'inventory.json'
        inventory.write_text(json.dumps({
            group: {'hosts': hosts} for group, hosts in self.hosts.items()}))
        process = subprocess.run(
            [*self.enter, sys.executable, '-m', 'ansible', 'playbook',
             '--inventory', inventory, 'vdsm_hooks.tlsciphers.' + playbook,
             '--extra-vars', json.dumps(variables), *options],
            cwd=self.folder, env=self.environment, capture_output=True,
            text=True)
        assert process.returncode == status, process.stdout + process.stderr
        assert PASSWORD not in process.stdout + process.stderr
        return Outcome(process.stdout)


class Outcome:
    """What a play printed: text (str); changed and failed by host (dict)."""

    def __init__(self, text):
        self.text = text
        recap = {host: dict(re.findall(r'(\w+)=(\d+)', counts))
                 for host, counts in re.findall(
                     r'(?m)^(\S+)\s+: (ok=.*)$', text)}
        self.changed = {host: int(counts['changed'])
                        for host, counts in recap.items()}
        self.failed = {host: int(counts['failed'])
                       for host, counts in recap.items()}


@pytest.fixture
def controller(tmp_path):
    folder = tmp_path / 'controller'
    folder.mkdir()
    return Controller(folder)


@pytest.fixture
def engine(controller):
    """An engine, which playbooks of the controller are given."""
    with Engine().serve() as engine:
        controller.engine = engine
        yield engine


@pytest.fixture(scope='session')
def built(tmp_path_factory):
    """A Build with the RPM and a signed repository."""
    built = builds.make(tmp_path_factory.mktemp('build'))
    built.run('make', 'repo')
    return built


@pytest.fixture(scope='session')
def system_rpm(tmp_path_factory):
    """An RPM that stands for what the package requires of a host."""
    return builds.rpm(support.DATA / 'host.rpmspec',
                      tmp_path_factory.mktemp('host'))


def make_host(root, release='9'):
    """Make a root what Ansible takes for an oVirt host with that EL."""
    root.run('mkdir', '-p', '/etc/yum.repos.d', '/etc/pki/rpm-gpg')
    root.run('ln', '-s', '/usr/bin/qemu-system-x86_64',
             '/usr/libexec/qemu-kvm')
    root.write('/etc/libvirt/qemu.conf', 'vnc_tls = 1\nspice_tls = 1\n')
    root.run('rm', '-f', '/etc/os-release', '/etc/debian_version',
             '/usr/bin/apt-get')
    root.write('/etc/os-release', 'NAME="CentOS Stream"\nID="centos"\n'
               'ID_LIKE="rhel fedora"\nVERSION_ID="%s"\n' % release)
    root.write('/etc/redhat-release', 'CentOS Stream release %s\n' % release)


@pytest.fixture
def hosts(controller, built, system_rpm, tmp_path, tmp_path_factory):
    """Two hosts (Roots) without the package, which the controller knows."""
    shared = tmp_path_factory.getbasetemp()
    first = Root(tmp_path / 'host1', shared)
    second = Root(tmp_path / 'host2', shared, beside=first)
    controller.enter = first.enter
    controller.hosts['ovirt_hosts'] = {
        'host%d' % number: {
            'ansible_connection': 'community.general.chroot',
            'ansible_host': str(root.path),
            'ansible_python_interpreter': '/usr/bin/python3'}
        for number, root in enumerate((first, second), 1)}
    for root in first, second:
        root.dnf('install', system_rpm)
        make_host(root)
    yield first, second
    first.close()
