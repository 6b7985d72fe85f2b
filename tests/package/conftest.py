# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

import functools
import shutil
import subprocess

import pytest

import support


class Build:
    """A copy of the source (pathlib.Path source) that was configured."""

    def __init__(self, source):
        self.source = source

    def run(self, *command, **keywords):
        """Run a command there; return its standard output (str)."""
        process = subprocess.run(command, cwd=self.source, text=True,
                                 capture_output=True, **keywords)
        assert process.returncode == 0, process.stdout + process.stderr
        return process.stdout

    def rpm(self, *flags):
        """Build the RPM with flags for rpmbuild; return its path."""
        self.run('make', 'rpm', 'RPMBUILD_FLAGS=' + ' '.join(flags))
        path, = self.source.glob('rpmbuild/RPMS/noarch/*.rpm')
        return path


def make(directory, *options):
    source = directory / 'source'
    shutil.copytree(support.SOURCE, source, ignore=shutil.ignore_patterns(
        '.git', '__pycache__', 'rpmbuild', '*.tar.gz'))
    build = Build(source)
    build.run('./autogen.sh')
    # If it was built where it was copied from.
    build.run('./configure', *options)
    build.run('make', 'clean')
    return build


@pytest.fixture
def make_build(tmp_path):
    """A function that makes a Build with the options of configure."""
    return functools.partial(make, tmp_path)


@pytest.fixture(scope='session')
def built_rpm(tmp_path_factory):
    """The RPM (pathlib.Path), built from this source by rpmbuild."""
    return make(tmp_path_factory.mktemp('rpm')).rpm()
