# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

import functools
import pathlib
import subprocess

import pytest

import builds
import support


@pytest.fixture
def copy_source():
    """A function that copies the source into a folder; returns its path."""
    return builds.copy


@pytest.fixture
def make_build(tmp_path):
    """A function that makes a Build with the options of configure."""
    return functools.partial(builds.make, tmp_path)


@pytest.fixture(scope='session')
def built(tmp_path_factory):
    """
    A Build with the RPM and a repository. Its path is so long that gpg-agent
    could not make a socket there.
    """
    built = builds.make(tmp_path_factory.mktemp('long' * 25))
    built.run('make', 'repo')
    return built


@pytest.fixture(scope='session')
def built_rpm(built):
    """The RPM (pathlib.Path), built from this source by rpmbuild."""
    path, = built.source.glob('rpmbuild/RPMS/noarch/*.rpm')
    return path


@pytest.fixture(scope='session')
def unpacked_rpm(built_rpm, tmp_path_factory):
    """A folder (pathlib.Path) with the RPM's files."""
    directory = tmp_path_factory.mktemp('unpacked')
    builds.unpack(built_rpm, directory)
    return directory


@pytest.fixture(scope='session')
def newer_rpm(tmp_path_factory):
    """The RPM of a later version, which differs in its files as well."""
    return builds.newer_rpm(tmp_path_factory.mktemp('newer'))


@pytest.fixture(scope='session')
def system_rpm(tmp_path_factory):
    """An RPM that stands for what the package requires of a host."""
    return builds.rpm(support.DATA / 'host.rpmspec',
                     tmp_path_factory.mktemp('host'))


class Root:
    """
    A root of its own: this machine's files, with all that is written to them
    kept apart, in namespaces for mounts and processes. They end with the
    process "holder", and with them what was started there (dnf's gpg starts
    a daemon).

    The folder "shared" of the test is there at the same path.

    Attributes:
        path (pathlib.Path): where it is, inside that namespace.
    """

    MOUNT = """
        base=$1
        mount -t tmpfs -o "size=$2" upper "$base"
        mkdir "$base/upper" "$base/work" "$base/merged"
        mount -t overlay root -o "lowerdir=/,upperdir=$base/upper" \
            -o "workdir=$base/work" "$base/merged"
        mount -t proc proc "$base/merged/proc"
        mount --rbind /dev "$base/merged/dev"
        mount -t tmpfs run "$base/merged/run"
        mkdir -p "$base/merged$3"
        mount --bind "$3" "$base/merged$3"
        """

    def __init__(self, directory, shared, size='2g', beside=None):
        base = directory / 'root'
        base.mkdir(parents=True)
        self.path = base / 'merged'
        self.beside = beside
        if beside:
            self.enter = beside.enter
            self.outside('sh', '-ec', self.MOUNT, 'sh', base, size, shared)
        else:
            self.holder = subprocess.Popen(
                ['unshare', '--mount', '--pid', '--fork', '--kill-child', 'sh',
                 '-ec', 'mount --make-rprivate /; mount -t proc proc /proc; '
                 '%s echo ready; read end' % self.MOUNT,
                 'sh', base, size, shared],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            assert self.holder.stdout.readline() == 'ready\n'
            children = pathlib.Path('/proc/{0}/task/{0}/children'.format(
                self.holder.pid)).read_text()
            self.enter = ['nsenter', '--target', children.strip(), '--mount',
                          '--pid']
        # Where oVirt Node has it: each layer knows its own packages.
        self.run('sh', '-c', 'mkdir -p /etc/rpm && '
                 'echo "%_dbpath /usr/share/rpm" >/etc/rpm/macros && '
                 'rpm --initdb')

    def close(self):
        if not self.beside:
            self.holder.communicate('end\n')

    def outside(self, *command, check=True, **keywords):
        """Run a command that sees the root at its path; return a process."""
        process = subprocess.run(
            [*self.enter, *map(str, command)], capture_output=True, text=True,
            **keywords)
        assert not check or process.returncode == 0, (
            process.stdout + process.stderr)
        return process

    def run(self, *command, check=True):
        """Run a command in the root; return the process."""
        return self.outside('chroot', self.path, *command, check=check)

    def boot(self, *command):
        """
        Run a command in a container: there, unlike in a chroot, the root is
        that of the first process.
        """
        binds = ['--bind-ro=%s' % argument for argument in command
                 if isinstance(argument, pathlib.Path)]
        # It mounts these itself.
        return self.outside(
            'unshare', '--mount', 'sh', '-ec',
            'umount --recursive "$0/dev" "$0/proc" "$0/run"; exec "$@"',
            self.path, 'systemd-nspawn', '--quiet', '--register=no',
            '--keep-unit', '--as-pid2', *binds, '--directory',
            self.path, *command)

    def dnf(self, *arguments, check=True):
        """Do a transaction as the administrator; return its output (str)."""
        process = self.run('dnf', '--assumeyes', '--noplugins',
                           '--disablerepo=*', *arguments, check=check)
        return process.stdout + process.stderr

    def label(self, path):
        """Return the SELinux type in a file's attribute on disk, or None."""
        answer = self.run('/usr/bin/python3', '-c',
                          'import os, sys; print(os.getxattr(sys.argv[1], '
                          '"security.selinux", follow_symlinks=False).decode()'
                          ')', path, check=False).stdout
        return answer.split(':')[2] if answer else None

    def set_label(self, path, selinux_type):
        self.run('/usr/bin/python3', '-c', 'import os, sys; os.setxattr('
                 'sys.argv[1], "security.selinux", sys.argv[2].encode())',
                 path, 'system_u:object_r:%s:s0' % selinux_type)

    def write(self, path, content, mode=0o644):
        """Make a file there."""
        self.outside('sh', '-c', 'mkdir -p "$(dirname "$0")" && cat >"$0" && '
                     'chmod "$1" "$0"', '%s%s' % (self.path, path),
                     '%o' % mode, input=content)


@pytest.fixture
def make_root(tmp_path, tmp_path_factory):
    """A function that makes a Root, which goes with the test."""
    roots = []

    def make_root(**keywords):
        roots.append(Root(tmp_path / str(len(roots)),
                          tmp_path_factory.getbasetemp(), **keywords))
        return roots[-1]

    yield make_root
    for root in roots:
        root.close()


@pytest.fixture
def root(make_root, system_rpm):
    """A root with what the package requires."""
    root = make_root()
    root.dnf('install', system_rpm)
    return root
