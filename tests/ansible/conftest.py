# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""A controller, hosts and an engine."""

import pathlib
from collections.abc import Iterator

import pytest

import builds
import support
from controller import Controller
from engine import Engine
from roots import Root


@pytest.fixture
def controller(tmp_path: pathlib.Path) -> Controller:
    folder = tmp_path / 'controller'
    folder.mkdir()
    return Controller(folder)


@pytest.fixture
def engine(controller: Controller) -> Iterator[Engine]:
    """An engine, which playbooks of the controller are given."""
    with Engine().serve() as engine:
        controller.engine = engine
        yield engine


@pytest.fixture(scope='session')
def built(tmp_path_factory: pytest.TempPathFactory) -> builds.Build:
    """A Build with the RPM and a signed repository."""
    return builds.with_repository(tmp_path_factory, 'build')


@pytest.fixture(scope='session')
def system_rpm(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """An RPM that stands for what the package requires of a host."""
    return builds.rpm(support.DATA / 'host.rpmspec',
                      tmp_path_factory.mktemp('host'))


def make_host(root: Root, release: str = '9') -> None:
    """Make a root what Ansible takes for an oVirt host with that EL."""
    root.run('mkdir', '-p', '/etc/yum.repos.d', '/etc/pki/rpm-gpg')
    root.run('ln', '-s', '/usr/bin/qemu-system-x86_64',
             '/usr/libexec/qemu-kvm')
    root.write('/etc/libvirt/qemu.conf', 'vnc_tls = 1\nspice_tls = 1\n')
    # Without SELinux, whose policy takes each transaction two seconds.
    root.run('rm', '-f', '/etc/os-release', '/etc/debian_version',
             '/usr/bin/apt-get', '/etc/selinux/config')
    root.write('/etc/os-release', 'NAME="CentOS Stream"\nID="centos"\n'
               'ID_LIKE="rhel fedora"\nVERSION_ID="%s"\n' % release)
    root.write('/etc/redhat-release', 'CentOS Stream release %s\n' % release)


@pytest.fixture
def hosts(controller: Controller, built: builds.Build,
          system_rpm: pathlib.Path, tmp_path: pathlib.Path,
          tmp_path_factory: pytest.TempPathFactory,
          ) -> Iterator[tuple[Root, Root]]:
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
