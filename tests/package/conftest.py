# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

import functools
import pathlib
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


class Root:
    """
    A root of its own: this machine's files with everything that is written
    kept apart, in namespaces for mounts and processes. They end with the
    process "holder", and with them what was started there (dnf's gpg starts
    a daemon).
    """

    def __init__(self, directory):
        self.path = directory / 'root'
        self.path.mkdir()
        self.holder = subprocess.Popen(
            ['unshare', '--mount', '--pid', '--fork', '--kill-child',
             'sh', '-ec', '''
             mount --make-rprivate /
             mount -t tmpfs upper "$1"
             mkdir "$1/upper" "$1/work" "$1/merged"
             mount -t overlay root -o "lowerdir=/,upperdir=$1/upper" \
                 -o "workdir=$1/work" "$1/merged"
             mount -t proc proc "$1/merged/proc"
             mount --rbind /dev "$1/merged/dev"
             echo ready
             read end''', 'sh', str(self.path)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.holder.stdout.readline() == 'ready\n'
        children = pathlib.Path('/proc/{0}/task/{0}/children'.format(
            self.holder.pid)).read_text()
        self.enter = ['nsenter', '--target', children.strip(), '--mount',
                      '--pid']

    def close(self):
        self.holder.communicate('end\n')

    def run(self, *command, check=True):
        """Run a command there, in the root; return the process."""
        process = subprocess.run(
            [*self.enter, 'chroot', str(self.path / 'merged'), *command],
            capture_output=True, text=True)
        assert not check or process.returncode == 0, (
            process.stdout + process.stderr)
        return process

    def show(self, path):
        """Show what is in a folder outside, at the same path in the root."""
        inside = '%s/merged%s' % (self.path, path)
        subprocess.run(
            [*self.enter, 'sh', '-ec', 'mkdir -p "$2"; mount --bind "$1" "$2"',
             'sh', str(path), inside], check=True)

    def rpm(self, *arguments, check=True):
        """Run rpm on the root from outside of it, with its own database."""
        process = subprocess.run(
            [*self.enter, 'rpm', '--root', str(self.path / 'merged'),
             '--dbpath', '/var/lib/testdb', *arguments],
            capture_output=True, text=True)
        assert not check or process.returncode == 0, (
            process.stdout + process.stderr)
        return process

    def files(self):
        return set(self.run(
            'find', '/usr/libexec', '/usr/share/vdsm-hook-tlsciphers',
            '/usr/share/selinux', '/etc', check=False).stdout.splitlines())


def copy(directory):
    source = directory / 'source'
    shutil.copytree(support.SOURCE, source, ignore=shutil.ignore_patterns(
        '.git', '__pycache__', 'repo', 'repo-gnupg', 'rpmbuild', '*.tar.gz'))
    return source


def make(directory, *options):
    build = Build(copy(directory))
    build.run('./autogen.sh')
    # If it was built where it was copied from.
    build.run('./configure', *options)
    build.run('make', 'clean')
    return build


@pytest.fixture
def copy_source():
    """A function that copies the source into a folder; returns its path."""
    return copy


@pytest.fixture
def make_build(tmp_path):
    """A function that makes a Build with the options of configure."""
    return functools.partial(make, tmp_path)


@pytest.fixture(scope='session')
def built(tmp_path_factory):
    """
    A Build with the RPM and a repository. Its path is so long that gpg-agent
    could not make a socket there.
    """
    build = make(tmp_path_factory.mktemp('long' * 25))
    build.run('make', 'repo')
    return build


@pytest.fixture(scope='session')
def built_rpm(built):
    """The RPM (pathlib.Path), built from this source by rpmbuild."""
    path, = built.source.glob('rpmbuild/RPMS/noarch/*.rpm')
    return path


@pytest.fixture
def root(tmp_path):
    root = Root(tmp_path)
    root.rpm('--initdb')
    yield root
    root.close()
