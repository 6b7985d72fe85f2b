# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""
The RPM in every state that it may be in, by real transactions in roots of
their own. Their policy store is that of Debian, "default" until it is renamed.
"""

from __future__ import annotations

import os
import pathlib
import signal
from typing import TYPE_CHECKING

import pytest

import builds
import support
from roots import Root
from support import EMULATOR, HOOK, WRAPPER

if TYPE_CHECKING:
    from conftest import MakeRoot

NAME = 'vdsm-hook-tlsciphers'
SCRIPTLET = '/usr/share/vdsm-hook-tlsciphers/scriptlet'
KEPT = '/etc/vdsm/tlsciphers-manual'
FILES = {HOOK, WRAPPER, EMULATOR, SCRIPTLET, support.INCOMING,
         *support.ARRIVAL_HOOKS,
         '/usr/libexec/vdsm/hooks/qemu-kvm-wrapper',
         '/usr/share/selinux/packages/tlsciphers.pp.bz2',
         '/usr/share/vdsm-hook-tlsciphers',
         *('/usr/share/vdsm-hook-tlsciphers/' + name
           for name in builds.shared_files())}


def modules(root: Root, store: str = 'default') -> list[str]:
    """Return the lines of the modules in a root's policy store."""
    return root.run('semodule', '-s', store, '-l').stdout.splitlines()


def label_in_policy(root: Root, path: str, store: str = 'default') -> str:
    """Return the type that the policy on disk has for a regular file."""
    return root.run(
        'matchpathcon', '-n', '-m', 'file', '-f',
        '/etc/selinux/%s/contexts/files/file_contexts' % store, path
    ).stdout.split(':')[2]


def own_files(root: Root) -> set[str]:
    """Return what is there of the package or of its leftovers."""
    return set(root.run(
        'find', '/usr/libexec/vdsm/hooks', WRAPPER, support.INCOMING,
        '/usr/share/vdsm-hook-tlsciphers', '/usr/share/selinux/packages',
        '/etc/vdsm', '-mindepth', '0', check=False).stdout.splitlines()) - {
        # vdsm's, which is not here.
        '/usr/libexec/vdsm/hooks', *(os.path.dirname(path) for path in (
            HOOK, *support.ARRIVAL_HOOKS)),
        '/usr/share/selinux/packages', '/etc/vdsm'}


def assert_installed(root: Root, store: str = 'default') -> None:
    assert root.run('rpm', '--verify', NAME).stdout == ''
    assert own_files(root) == FILES
    assert 'tlsciphers' in modules(root, store)
    for path in (WRAPPER, EMULATOR):
        assert label_in_policy(root, path, store) == 'qemu_exec_t'


def assert_removed(root: Root, store: str = 'default') -> None:
    assert root.run('rpm', '--query', NAME, check=False).returncode != 0
    assert own_files(root) == set()
    assert 'tlsciphers' not in modules(root, store)
    # No label is left: this path has again what its folder has.
    assert label_in_policy(root, EMULATOR, store) == 'bin_t'


def complaints(output: str) -> list[str]:
    """Return what the scriptlets have to say in the output of dnf."""
    return [line for line in output.splitlines()
            if line.startswith(NAME + ': ')]


def test_life_of_the_package(root: Root, built_rpm: pathlib.Path,
                             newer_rpm: pathlib.Path) -> None:
    """Each transaction follows on the state that the one before it left."""
    for transaction, command, package, check in (
            ('first installation', 'install', built_rpm, assert_installed),
            ('reinstallation', 'reinstall', built_rpm, assert_installed),
            ('update', 'upgrade', newer_rpm, assert_installed),
            ('downgrade', 'downgrade', built_rpm, assert_installed),
            ('removal', 'remove', NAME, assert_removed),
            ('installation after a removal', 'install', newer_rpm,
             assert_installed),
            ('removal of the newer', 'remove', NAME, assert_removed)):
        output = root.dnf(command, package)
        assert complaints(output) == [], transaction
        check(root)


def test_update_keeps_the_module_all_the_time(
        root: Root, built_rpm: pathlib.Path, newer_rpm: pathlib.Path) -> None:
    root.dnf('install', built_rpm)
    # Every call of semodule is written down, and made.
    root.run('mv', '/usr/sbin/semodule', '/usr/sbin/semodule.real')
    root.write('/usr/sbin/semodule', '#!/bin/sh\n'
               'printf "%s " "$@" >>/semodule.log\n'
               'exec semodule.real "$@"\n', mode=0o755)
    root.dnf('upgrade', newer_rpm)
    calls = root.run('cat', '/semodule.log').stdout.splitlines()
    assert len(calls) == 1
    assert ' -i ' in calls[0]
    assert calls[0].startswith('-n ')


def test_helper_run_again_changes_nothing(root: Root,
                                          built_rpm: pathlib.Path) -> None:
    root.dnf('install', built_rpm)
    for _ in range(2):
        process = root.run('/bin/sh', SCRIPTLET, 'install')
        assert complaints(process.stdout + process.stderr) == []
        assert_installed(root)


def test_module_taken_out_by_hand_comes_back_and_may_be_gone(
        root: Root, built_rpm: pathlib.Path) -> None:
    root.dnf('install', built_rpm)
    root.run('semodule', '-n', '-s', 'default', '-r', 'tlsciphers')
    root.dnf('reinstall', built_rpm)
    assert_installed(root)
    root.run('semodule', '-n', '-s', 'default', '-r', 'tlsciphers')
    assert complaints(root.dnf('remove', NAME)) == []
    assert_removed(root)


def test_without_the_module_the_base_policy_has_the_label(
        root: Root, built_rpm: pathlib.Path) -> None:
    root.dnf('install', built_rpm)
    root.run('semodule', '-n', '-s', 'default', '-r', 'tlsciphers')
    assert label_in_policy(root, WRAPPER) == 'qemu_exec_t'
    # What the module adds: the path of the manual installation.
    assert label_in_policy(root, EMULATOR) == 'bin_t'


@pytest.mark.parametrize('state', ['enforcing', 'permissive', 'disabled'])
def test_module_is_committed_whatever_the_state(
        root: Root, built_rpm: pathlib.Path, state: str) -> None:
    root.run('sed', '-i', 's/^SELINUX=.*/SELINUX=%s/' % state,
             '/etc/selinux/config')
    assert complaints(root.dnf('install', built_rpm)) == []
    assert_installed(root)


@pytest.mark.parametrize('store', ['targeted', 'mls'])
def test_store_is_the_one_that_the_system_uses(
        root: Root, built_rpm: pathlib.Path, store: str) -> None:
    root.run('sh', '-c', 'mv /etc/selinux/default /etc/selinux/%s && '
             'mv /var/lib/selinux/default /var/lib/selinux/%s && '
             'sed -i "s/^SELINUXTYPE=.*/SELINUXTYPE=%s/" /etc/selinux/config'
             % (store, store, store))
    assert complaints(root.dnf('install', built_rpm)) == []
    assert_installed(root, store)
    root.dnf('remove', NAME)
    assert_removed(root, store)


@pytest.mark.parametrize('missing', [
    ['/etc/selinux', '/usr/sbin/semodule'], ['/etc/selinux/config'],
    ['/etc/selinux/default'], ['/usr/sbin/semodule']])
def test_without_selinux_nothing_is_said(
        root: Root, built_rpm: pathlib.Path, newer_rpm: pathlib.Path,
        missing: list[str]) -> None:
    """As in a container."""
    root.run('rm', '-rf', *missing)
    for arguments in (['install', built_rpm], ['upgrade', newer_rpm],
                      ['remove', NAME]):
        assert complaints(root.dnf(*arguments)) == []
    assert own_files(root) == set()


def test_store_that_cannot_be_changed_is_a_line_not_a_failure(
        root: Root, built_rpm: pathlib.Path,
        make_stub: support.MakeStub) -> None:
    root.run('sh', '-c', 'echo broken >/etc/selinux/semanage.conf')
    output = root.dnf('install', built_rpm, make_stub('other'))
    assert complaints(output) == [
        NAME + ': semodule cannot change the SELinux policy store default; '
        'fix that, then: dnf reinstall ' + NAME]
    assert root.run('rpm', '--query', NAME, 'other').returncode == 0
    root.run('rm', '/etc/selinux/semanage.conf')
    root.dnf('reinstall', built_rpm)
    assert_installed(root)


# Stand-ins for a kernel that runs SELinux, which is not to be had here: what
# they are asked for is written down.
ENABLED = '#!/bin/sh\nexit 0\n'
RECORD = '#!/bin/sh\necho ${0##*/} "$@" >>/calls\n'


def pretend_selinux(root: Root) -> None:
    root.write('/usr/sbin/selinuxenabled', ENABLED, mode=0o755)
    for name in ('load_policy', 'restorecon'):
        root.run('rm', '-f', '/usr/sbin/' + name)
        root.write('/usr/sbin/' + name, RECORD, mode=0o755)


def calls(root: Root) -> list[str]:
    return root.run('sh', '-c', 'cat /calls 2>/dev/null; rm -f /calls'
                    ).stdout.splitlines()


def test_policy_is_loaded_and_files_labelled_where_selinux_is_enabled(
        root: Root, built_rpm: pathlib.Path) -> None:
    pretend_selinux(root)
    root.boot('dnf', '--assumeyes', '--noplugins', '--disablerepo=*',
              'install', built_rpm)
    assert calls(root) == ['load_policy', 'restorecon -F %s %s %s %s'
                           % (WRAPPER, EMULATOR, HOOK, support.INCOMING)]
    root.boot('rpm', '--erase', '--force-debian', NAME)
    assert calls(root) == ['load_policy']


def test_nothing_is_loaded_into_the_kernel_from_another_root(
        root: Root, built_rpm: pathlib.Path) -> None:
    """As in the next layer of oVirt Node, where /sys may be mounted."""
    pretend_selinux(root)
    root.dnf('install', built_rpm)
    root.dnf('remove', NAME)
    assert calls(root) == []


SPICE_CNF = '/etc/pki/tls/spice.cnf'
LIBSPICE = '/usr/lib64/libspice-server.so.1'


@pytest.mark.parametrize('library, text, is_said', [
    ('x' + SPICE_CNF + '\0', 'CipherString = HIGH:!aNULL\n', True),
    ('x' + SPICE_CNF + '\0', '# CipherString = HIGH\nProtocol = ALL\n', False),
    ('no such path', 'CipherString = HIGH:!aNULL\n', False)],
    ids=['EL7', 'without a list', 'not read'])
def test_cipher_list_of_the_host_that_wins_over_ours_is_named(
        root: Root, built_rpm: pathlib.Path, library: str, text: str,
        is_said: bool) -> None:
    """A stand-in for EL7's libspice, which has the path in it."""
    root.run('sh', '-c', 'rm -f /usr/lib/*/libspice-server.so.1')
    root.write(LIBSPICE, library)
    root.write(SPICE_CNF, text)
    lines = complaints(root.dnf('install', built_rpm))
    assert [line for line in lines if SPICE_CNF in line
            and line.endswith(' [spice-cnf]')] == lines
    assert bool(lines) == is_said


def test_vms_with_a_policy_that_run_at_a_removal_are_named(
        plain_root: Root, built_rpm: pathlib.Path,
        newer_rpm: pathlib.Path) -> None:
    root = plain_root
    root.dnf('install', built_rpm)
    for name, option in (('web 1', '-vdsm-tls'), ('plain', '-other'),
                         ('db', '-vdsm-tls-default')):
        root.write('/run/libvirt/qemu/%s.xml' % name, '<domstatus><domain>'
                   "<qemu:arg value='%s'/></domain></domstatus>\n" % option)
    assert complaints(root.dnf('upgrade', newer_rpm)) == []
    line, = complaints(root.dnf('remove', NAME))
    assert ': db, web 1; ' in line
    assert own_files(root) == set()


# Stands before semodule: in the middle of its transaction it is killed, and so
# is everything up to rpm.
KILLER = """#!/bin/sh
semodule.real "$@" &
until [ -e /var/lib/selinux/default/tmp/policy.linked ]; do
    kill -0 $! || exit 0
done
kill -KILL $!
pid=$$
while [ "$(cat /proc/$pid/comm)" != rpm ]; do
    pid=$(sed -n 's/^PPid:.//p' /proc/$pid/status)
    killed="$pid ${killed-}"
done
kill -KILL $killed $$
"""


@pytest.mark.parametrize('state', ['first installation', 'update'])
def test_killed_in_the_middle_it_is_repaired_by_running_it_again(
        root: Root, built_rpm: pathlib.Path, newer_rpm: pathlib.Path,
        state: str) -> None:
    if state == 'update':
        root.dnf('install', built_rpm)
    root.run('mv', '/usr/sbin/semodule', '/usr/sbin/semodule.real')
    root.write('/usr/sbin/semodule', KILLER, mode=0o755)
    killed = root.run('rpm', '--upgrade', '--force-debian', newer_rpm,
                      check=False)
    assert killed.returncode == -signal.SIGKILL
    root.run('mv', '/usr/sbin/semodule.real', '/usr/sbin/semodule')
    root.run('rpm', '--upgrade', '--replacepkgs', '--force-debian', newer_rpm)
    assert root.run('rpm', '--query', NAME).stdout.count(NAME) == 1
    assert_installed(root)


def test_disk_that_is_full_leaves_the_old_state_at_work(
        make_root: MakeRoot, system_rpm: pathlib.Path, built_rpm: pathlib.Path,
        newer_rpm: pathlib.Path) -> None:
    root = make_root(size='80m')
    root.dnf('install', system_rpm, built_rpm)
    root.run('sh', '-c', 'cat /dev/zero >/fill; sync', check=False)
    output = root.dnf('upgrade', newer_rpm, check=False)
    assert 'space' in output
    root.run('rm', '/fill')
    assert_installed(root)
    assert '# newer' not in root.run('cat', HOOK).stdout
    root.dnf('upgrade', newer_rpm)
    assert_installed(root)
    assert '# newer' in root.run('cat', HOOK).stdout
