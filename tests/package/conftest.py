# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""Builds of the source, and roots to install RPMs in."""

from __future__ import annotations

import functools
import pathlib
from collections.abc import Callable, Iterator
from typing import Protocol

import pytest

import builds
import support
from roots import Root

CopySource = Callable[[pathlib.Path], pathlib.Path]


class MakeBuild(Protocol):
    """What the fixture make_build is."""

    def __call__(self, *options: str) -> builds.Build: ...


class MakeRoot(Protocol):
    """What the fixture make_root is."""

    def __call__(self, size: str = ...,
                 beside: Root | None = ...) -> Root: ...


@pytest.fixture
def copy_source() -> CopySource:
    """A function that copies the source into a folder; returns its path."""
    return builds.copy


@pytest.fixture
def make_build(tmp_path: pathlib.Path) -> MakeBuild:
    """A function that makes a Build with the options of configure."""
    return functools.partial(builds.make, tmp_path)


@pytest.fixture(scope='session')
def built(tmp_path_factory: pytest.TempPathFactory) -> builds.Build:
    """
    A Build with the RPM and a repository. Its path is so long that gpg-agent
    could not make a socket there.
    """
    return builds.with_repository(tmp_path_factory, 'long' * 25)


@pytest.fixture(scope='session')
def built_rpm(built: builds.Build) -> pathlib.Path:
    """The RPM (pathlib.Path), built from this source by rpmbuild."""
    path, = built.source.glob('rpmbuild/RPMS/noarch/*.rpm')
    return path


@pytest.fixture(scope='session')
def unpacked_rpm(built_rpm: pathlib.Path,
                 tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A folder (pathlib.Path) with the RPM's files."""
    directory = tmp_path_factory.mktemp('unpacked')
    builds.unpack(built_rpm, directory)
    return directory


@pytest.fixture(scope='session')
def newer_rpm(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """The RPM of a later version, which differs in its files as well."""
    folder = builds.once(tmp_path_factory, 'newer', builds.newer_rpm)
    path, = folder.glob('source/rpmbuild/RPMS/noarch/*.rpm')
    return path


@pytest.fixture(scope='session')
def system_rpm(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """An RPM that stands for what the package requires of a host."""
    return builds.rpm(support.DATA / 'host.rpmspec',
                     tmp_path_factory.mktemp('host'))


@pytest.fixture
def make_root(tmp_path: pathlib.Path,
              tmp_path_factory: pytest.TempPathFactory) -> Iterator[MakeRoot]:
    """A function that makes a Root, which goes with the test."""
    roots: list[Root] = []

    def make_root(size: str = '2g', beside: Root | None = None) -> Root:
        roots.append(Root(tmp_path / str(len(roots)),
                          tmp_path_factory.getbasetemp(), size, beside))
        return roots[-1]

    yield make_root
    for root in roots:
        root.close()


@pytest.fixture
def root(make_root: MakeRoot, system_rpm: pathlib.Path) -> Root:
    """A root with what the package requires."""
    root = make_root()
    root.dnf('install', system_rpm)
    return root


@pytest.fixture
def plain_root(root: Root) -> Root:
    """
    The same without a policy, which takes each transaction two seconds: where
    a test is not about it.
    """
    root.run('rm', '/etc/selinux/config')
    return root
