# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""Builds of copies of this source, and of RPMs that stand for others."""

from __future__ import annotations

import fcntl
import os
import pathlib
import re
import shutil
import subprocess
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import support

if TYPE_CHECKING:
    import pytest

# What hook and wrapper import, in /usr/share/vdsm-hook-tlsciphers.
MODULES = ('tlsciphers', 'tlsciphers_arrived', 'tlsciphers_config',
           'tlsciphers_domain', 'tlsciphers_hook', 'tlsciphers_host',
           'tlsciphers_incoming', 'tlsciphers_monitor', 'tlsciphers_values',
           'tlsciphers_wrapper')


def compiled(module: str, python: str = '/usr/bin/python3') -> str:
    """Return the path of a module's compiled form, beside the module."""
    tag = subprocess.run(
        [python, '-c', 'import sys; print(sys.implementation.cache_tag)'],
        check=True, capture_output=True, text=True).stdout.strip()
    return '__pycache__/%s.%s.pyc' % (module, tag)


def shared_files() -> list[str]:
    """
    Return what the package has in /usr/share/vdsm-hook-tlsciphers (list of
    str: folders and files, but for the scriptlet).
    """
    return [
        '__pycache__', 'schemas', 'schemas/scan.schema.json',
        'schemas/status.schema.json', 'vdsm_tlsciphers',
        *(name for module in MODULES
          for name in (module + '.py', compiled(module))),
        *(str(path.relative_to(support.SOURCE / 'admin'))
          for path in (support.SOURCE / 'admin/vdsm_tlsciphers').rglob('*')
          if path.suffix == '.py' or (path.is_dir()
                                      and path.name != '__pycache__'))]


class Build:
    """A copy of the source (pathlib.Path source) that was configured."""

    def __init__(self, source: pathlib.Path) -> None:
        self.source = source

    def run(self, *command: str, **keywords: Any) -> str:
        """Run a command there; return its standard output (str)."""
        process: subprocess.CompletedProcess[str] = subprocess.run(
            command, cwd=self.source, text=True, capture_output=True,
            **keywords)
        assert process.returncode == 0, process.stdout + process.stderr
        return process.stdout

    def set_version(self, version: str) -> None:
        """Make it another version, as a release does: in the spec."""
        spec = self.source / 'vdsm-hook-tlsciphers.spec'
        spec.write_text(re.sub('(?m)^(Version: +).*', r'\g<1>' + version,
                               spec.read_text()))

    def rpm(self) -> pathlib.Path:
        """Build the RPM; return its path."""
        self.run('make', 'rpm')
        path, = self.source.glob('rpmbuild/RPMS/noarch/*.rpm')
        return path

    def rpm_again(self, directory: pathlib.Path, *flags: str) -> pathlib.Path:
        """
        Build the RPM of the archive that is there, in a folder (pathlib.Path)
        and with flags for rpmbuild; return its path.
        """
        self.run('make', 'rpm', '--assume-old=dist',
                 'abs_builddir=%s' % directory,
                 'RPMBUILD_FLAGS=' + ' '.join(flags))
        path, = directory.glob('rpmbuild/RPMS/noarch/*.rpm')
        return path


def copy(directory: pathlib.Path) -> pathlib.Path:
    source = directory / 'source'
    shutil.copytree(support.SOURCE, source, ignore=shutil.ignore_patterns(
        '.git', '__pycache__', 'repo', 'repo-gnupg', 'rpmbuild', '*.tar.gz'))
    return source


def make(directory: pathlib.Path, *options: str) -> Build:
    build = Build(copy(directory))
    # check.sh has run it already, on what is copied.
    if not (build.source / 'configure').exists():
        build.run('./autogen.sh')
    # If it was built where it was copied from.
    build.run('./configure', *options)
    build.run('make', 'clean')
    return build


def once(factory: pytest.TempPathFactory, name: str,
         build: Callable[[pathlib.Path], object]) -> pathlib.Path:
    """
    Return a folder (pathlib.Path) in which build was called, by the first of
    the processes among which the tests are divided.
    """
    folder = factory.getbasetemp()
    if 'PYTEST_XDIST_WORKER' in os.environ:
        folder = folder.parent
    folder /= name
    with open(str(folder) + '.lock', 'w') as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            folder.mkdir()
            build(folder)
    return folder


def with_repository(factory: pytest.TempPathFactory, name: str) -> Build:
    """Return a Build with the RPM and a signed repository, made once()."""
    folder = once(factory, name,
                  lambda folder: make(folder).run('make', 'repo'))
    return Build(folder / 'source')


def newer_rpm(directory: pathlib.Path) -> pathlib.Path:
    """
    Build the RPM of a later version in a folder (pathlib.Path); it differs in
    its files as well. Return its path.
    """
    newer = make(directory)
    newer.set_version('99.0')
    for name in ('hooks/before_vm_start.py', 'wrapper/qemu-kvm-modified.py'):
        with open(newer.source / name, 'a') as source:
            source.write('# newer\n')
    return newer.rpm()


def rpm(spec: pathlib.Path, directory: pathlib.Path) -> pathlib.Path:
    """
    Build the RPM (noarch) of a spec (pathlib.Path) that needs no source, in a
    folder (pathlib.Path); return its path.
    """
    subprocess.run(['rpmbuild', '-bb', '--define', '_topdir %s' % directory,
                    spec], check=True, capture_output=True)
    path, = directory.glob('RPMS/noarch/*.rpm')
    return path


def unpack(package: pathlib.Path, directory: pathlib.Path) -> None:
    """Put the files of an RPM (its path) below a directory."""
    content = subprocess.run(['rpm2cpio', package], check=True,
                             capture_output=True).stdout
    subprocess.run(['cpio', '--extract', '--make-directories', '--quiet'],
                   input=content, check=True, cwd=directory)
