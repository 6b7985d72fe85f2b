# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""Roots of their own, where packages are installed as on a host."""

from __future__ import annotations

import pathlib
import subprocess
from typing import Any

import support

SELINUX = ('var/lib/selinux', 'etc/selinux')


def small_policy(shared: pathlib.Path) -> pathlib.Path:
    """
    Return a folder in shared with this machine's SELinux policy as
    slim-policy leaves it, made at the first call.
    """
    folder = shared / 'policy'
    if not folder.exists():
        folder.mkdir()
        subprocess.run(
            ['unshare', '--mount', 'sh', '-ec', """
                mount --make-rprivate /
                slim=$1
                cd "$2"
                shift 2
                for part; do
                    cp -a --parents "/$part" .
                    mount --bind "$part" "/$part"
                done
                "$slim"
            """, 'sh', support.TESTS / 'slim-policy', folder, *SELINUX],
            check=True, capture_output=True)
    return folder


class Root:
    """
    A root of its own: this machine's files with a small_policy, and all that
    is written to them kept apart, in namespaces for mounts and processes.
    They end with the process "holder", and with them what was started there
    (dnf's gpg starts a daemon).

    The folder "shared" of the test is there at the same path.

    Attributes:
        path (pathlib.Path): where it is, inside that namespace.
    """

    MOUNT = """
        base=$1
        mount -t tmpfs -o "size=$2" upper "$base"
        mkdir "$base/upper" "$base/work" "$base/merged"
        cp -a "$4/." "$base/upper"
        # As on a host: "cp --parents" leaves folders that only root may enter.
        (cd "$base/upper" && find . -type d | while read -r folder
            do chmod --reference "/$folder" "$folder"; done)
        mount -t overlay root -o "lowerdir=/,upperdir=$base/upper" \
            -o "workdir=$base/work" "$base/merged"
        mount -t proc proc "$base/merged/proc"
        mount --rbind /dev "$base/merged/dev"
        mount -t tmpfs run "$base/merged/run"
        mkdir -p "$base/merged$3"
        mount --bind "$3" "$base/merged$3"
        """

    def __init__(self, directory: pathlib.Path, shared: pathlib.Path,
                 size: str = '2g', beside: Root | None = None) -> None:
        base = directory / 'root'
        base.mkdir(parents=True)
        self.path = base / 'merged'
        self.beside = beside
        self.enter: list[str] = beside.enter if beside else []
        arguments = base, size, shared, small_policy(shared)
        if beside:
            self.outside('sh', '-ec', self.MOUNT, 'sh', *arguments)
        else:
            self.holder = subprocess.Popen(
                ['unshare', '--mount', '--pid', '--fork', '--kill-child', 'sh',
                 '-ec', 'mount --make-rprivate /; mount -t proc proc /proc; '
                 '%s echo ready; read end' % self.MOUNT,
                 'sh', *arguments],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            assert self.holder.stdout
            assert self.holder.stdout.readline() == 'ready\n'
            pid = self.holder.pid
            children = pathlib.Path(
                f'/proc/{pid}/task/{pid}/children').read_text()
            self.enter = ['nsenter', '--target', children.strip(), '--mount',
                          '--pid']
        # Where oVirt Node has it: each layer knows its own packages.
        self.run('sh', '-c', 'mkdir -p /etc/rpm && '
                 'echo "%_dbpath /usr/share/rpm" >/etc/rpm/macros && '
                 'rpm --initdb')

    def close(self) -> None:
        if not self.beside:
            self.holder.communicate('end\n')

    def outside(self, *command: str | pathlib.Path, check: bool = True,
                **keywords: Any) -> subprocess.CompletedProcess[str]:
        """Run a command that sees the root at its path; return a process."""
        process: subprocess.CompletedProcess[str] = subprocess.run(
            [*self.enter, *map(str, command)], capture_output=True, text=True,
            **keywords)
        assert not check or process.returncode == 0, (
            process.stdout + process.stderr)
        return process

    def run(self, *command: str | pathlib.Path, check: bool = True,
            ) -> subprocess.CompletedProcess[str]:
        """Run a command in the root; return the process."""
        return self.outside('chroot', self.path, *command, check=check)

    def boot(self, *command: str | pathlib.Path,
             ) -> subprocess.CompletedProcess[str]:
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

    def dnf(self, *arguments: str | pathlib.Path, check: bool = True) -> str:
        """Do a transaction as the administrator; return its output (str)."""
        process = self.run('dnf', '--assumeyes', '--noplugins',
                           '--disablerepo=*', *arguments, check=check)
        return process.stdout + process.stderr

    def label(self, path: str | pathlib.Path) -> str | None:
        """Return the SELinux type in a file's attribute on disk, or None."""
        answer = self.run('/usr/bin/python3', '-c',
                          'import os, sys; print(os.getxattr(sys.argv[1], '
                          '"security.selinux", follow_symlinks=False).decode()'
                          ')', path, check=False).stdout
        return answer.split(':')[2] if answer else None

    def set_label(self, path: str | pathlib.Path, selinux_type: str) -> None:
        self.run('/usr/bin/python3', '-c', 'import os, sys; os.setxattr('
                 'sys.argv[1], "security.selinux", sys.argv[2].encode())',
                 path, 'system_u:object_r:%s:s0' % selinux_type)

    def write(self, path: str | pathlib.Path, content: str,
              mode: int = 0o644) -> None:
        """Make a file there."""
        self.outside('sh', '-c', 'mkdir -p "$(dirname "$0")" && cat >"$0" && '
                     'chmod "$1" "$0"', '%s%s' % (self.path, path),
                     '%o' % mode, input=content)
