# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""
The RPM where somebody has followed the manual recipe before. Its two files
are not published: these stand-ins do what the recipe shows of them.
"""

from __future__ import annotations

import pathlib
from typing import TYPE_CHECKING

import pytest
from test_life_cycle import (
    FILES,
    KEPT,
    NAME,
    assert_installed,
    assert_removed,
    complaints,
    own_files,
)

import support
from roots import Root
from support import EMULATOR, HOOK, SEED_CIPHERS, WRAPPER

if TYPE_CHECKING:
    from conftest import MakeRoot

EDITED = 'ECDHE+AESGCM:ECDHE+AES256:!aNULL'
MISPLACED = '/usr/libexec/vdsm/qemu-kvm-wrapper/qemu-kvm-modified'
MANUAL_HOOK = ('#!/usr/bin/python\nimport hooking\n'
               '# sets the emulator: %s\n' % EMULATOR)


def manual_wrapper(ciphers: str,
                   line: str = "value = 'tls-ciphers=%s,' + value") -> str:
    return '#!/usr/bin/python\nimport sys\n%s\n' % (line % ciphers)


def follow_recipe(root: Root, wrapper: str, path: str = EMULATOR) -> None:
    root.write(HOOK, MANUAL_HOOK, mode=0o755)
    root.write(path, wrapper, mode=0o755)


def content(root: Root, path: str) -> str:
    return root.run('cat', path).stdout


@pytest.mark.parametrize('ciphers, line', [
    (SEED_CIPHERS, "value = 'tls-ciphers=%s,' + value"),
    (EDITED, "value = 'tls-ciphers=%s,' + value"),
    (EDITED, 'CIPHERS = "%s"'),
    (EDITED, "    args.append('spice,tls-ciphers=%s')"),
])
def test_files_are_kept_and_the_list_is_shown_as_a_property(
        plain_root: Root, built_rpm: pathlib.Path, ciphers: str,
        line: str) -> None:
    root = plain_root
    wrapper = manual_wrapper(ciphers, line)
    follow_recipe(root, wrapper)
    output = root.dnf('install', built_rpm)
    assert '    tlsciphers=' + ciphers in output.splitlines()
    assert any('they are kept in ' + KEPT in line
               for line in complaints(output))
    assert content(root, KEPT + '/qemu-kvm-modified') == wrapper
    assert content(root, KEPT + '/50_emulator') == MANUAL_HOOK
    # Nothing executable: neither vdsm nor a person starts it by mistake.
    assert root.run('find', KEPT, '-type', 'f', '-perm', '/111').stdout == ''
    assert root.run('readlink', '-f', EMULATOR).stdout.strip() == WRAPPER
    # And it is never lost: not at an update, not at a removal.
    root.dnf('reinstall', built_rpm)
    root.dnf('remove', NAME)
    assert content(root, KEPT + '/qemu-kvm-modified') == wrapper


@pytest.mark.parametrize('label', [None, 'bin_t', 'qemu_exec_t'])
def test_label_of_the_manual_files_does_not_matter(
        root: Root, built_rpm: pathlib.Path, label: str | None) -> None:
    follow_recipe(root, manual_wrapper(EDITED))
    if label:
        for path in (HOOK, EMULATOR):
            root.set_label(path, label)
    root.dnf('install', built_rpm)
    root.run('rm', '-r', KEPT)
    assert_installed(root)
    root.dnf('remove', NAME)
    assert_removed(root)


def test_copies_of_our_own_files_are_not_kept(
        plain_root: Root, built_rpm: pathlib.Path) -> None:
    """As from an installation by "make install"."""
    root = plain_root
    root.dnf('install', built_rpm)
    root.run('sh', '-c', 'cp %s /hook && cp %s /wrapper' % (HOOK, WRAPPER))
    root.dnf('remove', NAME)
    root.run('sh', '-c', 'mkdir %s && mv /hook %s && mv /wrapper %s'
             % (EMULATOR.rpartition('/')[0], HOOK, EMULATOR))
    assert complaints(root.dnf('install', built_rpm)) == []
    assert root.run('rpm', '--verify', NAME).stdout == ''
    assert own_files(root) == FILES


def test_only_the_wrapper_is_left_by_the_wrong_clean_up_path(
        root: Root, built_rpm: pathlib.Path) -> None:
    """The recipe removes the hook, but misses the wrapper's folder."""
    follow_recipe(root, manual_wrapper(EDITED))
    root.run('rm', '-f', HOOK)
    output = root.dnf('install', built_rpm)
    assert '    tlsciphers=' + EDITED in output.splitlines()
    root.run('rm', '-r', KEPT)
    assert_installed(root)


def test_wrapper_at_the_wrong_path_is_named_and_left(
        plain_root: Root, built_rpm: pathlib.Path) -> None:
    root = plain_root
    follow_recipe(root, manual_wrapper(EDITED), path=MISPLACED)
    output = root.dnf('install', built_rpm)
    assert '    tlsciphers=' + EDITED in output.splitlines()
    assert any('rm -r ' + MISPLACED.rpartition('/')[0] in line
               for line in complaints(output))
    assert content(root, MISPLACED) == manual_wrapper(EDITED)


def test_what_cannot_be_kept_is_not_replaced(
        plain_root: Root, built_rpm: pathlib.Path,
        make_stub: support.MakeStub) -> None:
    root = plain_root
    follow_recipe(root, manual_wrapper(EDITED))
    # In the place of the folder to keep it in: a file.
    root.write(KEPT, 'occupied')
    output = root.dnf('install', built_rpm, make_stub('other'), check=False)
    assert 'cannot keep %s of a manual installation' % HOOK in output
    assert content(root, EMULATOR) == manual_wrapper(EDITED)
    assert content(root, HOOK) == MANUAL_HOOK
    assert root.run('rpm', '--query', NAME, check=False).returncode != 0
    # Other packages of the transaction are not held up.
    assert root.run('rpm', '--query', 'other').returncode == 0


def test_read_only_root_is_told(root: Root, built_rpm: pathlib.Path) -> None:
    """As on a legacy oVirt Node; its rpm database is writable."""
    root.run('sh', '-c', 'mv /usr/share/rpm /var/lib/rpmdb && '
             'echo "%_dbpath /var/lib/rpmdb" >/etc/rpm/macros')
    process = root.outside(
        'unshare', '--mount', 'sh', '-c',
        'mount --bind "$0/usr" "$0/usr" && mount -o remount,ro,bind "$0/usr" '
        '&& exec chroot "$0" rpm --install --force-debian "$1"', root.path,
        built_rpm, check=False)
    assert process.returncode != 0
    assert 'mount -o remount,rw /' in process.stderr


# Stand-ins for the programs of a legacy node, as it documents them: what is
# persisted is copied to /config, and comes back from there at a reboot.
PERSIST = '#!/bin/sh\nmkdir -p /config && cp -a --parents "$1" /config\n'
UNPERSIST = '#!/bin/sh\nrm "/config$1"\n'


def test_legacy_node_has_the_files_after_a_reboot(
        make_root: MakeRoot, plain_root: Root,
        built_rpm: pathlib.Path) -> None:
    root = plain_root
    root.write('/usr/sbin/persist', PERSIST, mode=0o755)
    root.write('/usr/sbin/unpersist', UNPERSIST, mode=0o755)
    follow_recipe(root, manual_wrapper(EDITED))
    root.dnf('install', built_rpm)
    # As restorecon leaves it where SELinux is enabled.
    root.set_label(WRAPPER, 'qemu_exec_t')
    root.run('/bin/sh', '/usr/share/vdsm-hook-tlsciphers/scriptlet', 'install')
    persisted = root.run('sh', '-c', 'cd /config && tar --create --xattrs '
                         '--xattrs-include=* --file /dev/stdout . | base64'
                         ).stdout
    rebooted = make_root()
    rebooted.outside('sh', '-c', 'base64 --decode | tar --extract --xattrs '
                     '--xattrs-include=* --directory "$0"', rebooted.path,
                     input=persisted)
    for path in (HOOK, WRAPPER, EMULATOR, KEPT + '/qemu-kvm-modified'):
        assert content(rebooted, path) == content(root, path)
    assert rebooted.run('readlink', '-f', EMULATOR).stdout.strip() == WRAPPER
    assert rebooted.label(WRAPPER) == 'qemu_exec_t'
    rebooted.run(HOOK, '--test')
    root.dnf('remove', NAME)
    left = root.run('find', '/config', '!', '-type', 'd').stdout
    assert left == ''
