# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""The RPM that rpmbuild makes, read by rpm and installed by it."""

from __future__ import annotations

import bz2
import os
import pathlib
import re
import stat
import struct
import subprocess
from typing import Any

import pytest
import rpm

import builds
import support
from support import EMULATOR, WRAPPER

NAME = 'vdsm-hook-tlsciphers'


def read_header(path: pathlib.Path) -> rpm.hdr:
    transaction = rpm.TransactionSet()
    # What was built a moment ago is not signed.
    transaction.setVSFlags(rpm.RPMVSF_MASK_NOSIGNATURES)
    with open(path, 'rb') as package:
        return transaction.hdrFromFdno(package)


@pytest.fixture(scope='module')
def header(built_rpm: pathlib.Path) -> rpm.hdr:
    return read_header(built_rpm)


def requirements(header: rpm.hdr) -> set[str]:
    return {name for name in header[rpm.RPMTAG_REQUIRENAME]
            if not name.startswith('rpmlib(')}


def test_package_is_noarch_and_has_its_name(header: rpm.hdr) -> None:
    assert header[rpm.RPMTAG_NAME] == NAME
    assert header[rpm.RPMTAG_ARCH] == 'noarch'
    assert header[rpm.RPMTAG_LICENSE] == 'GPL-2.0-or-later'


def test_files_modes_and_owners(header: rpm.hdr) -> None:
    files = {}
    for file in rpm.files(header):
        assert (file.user, file.group) == ('root', 'root')
        files[file.name] = stat.filemode(file.mode)
        if file.name == EMULATOR:
            assert file.linkto == '../../../qemu-kvm-modified'
    documents = {name for name in files
                 if name.startswith(('/usr/share/doc/', '/usr/share/man/',
                                     '/usr/share/licenses/'))}
    assert {pathlib.Path(name).name for name in documents} >= {
        'README.md', 'COPYING'}
    # rpm compresses pages on EL.
    assert {name.replace('.gz', '') for name in documents
            if name.startswith('/usr/share/man')} == {
        '/usr/share/man/man5/vdsm-tlsciphers.conf.5',
        '/usr/share/man/man8/tlsciphers_selinux.8',
        '/usr/share/man/man8/vdsm-tlsciphers.8'}
    assert {name: mode for name, mode in files.items()
            if name not in documents} == {
        **{'/usr/share/vdsm-hook-tlsciphers/' + name:
           '-rw-r--r--' if '.' in name else 'drwxr-xr-x'
           for name in builds.shared_files()},
        '/usr/bin/vdsm-tlsciphers': '-rwxr-xr-x',
        '/usr/share/bash-completion/completions/vdsm-tlsciphers':
            '-rw-r--r--',
        '/usr/share/zsh/site-functions/_vdsm-tlsciphers': '-rw-r--r--',
        WRAPPER: '-rwxr-xr-x',
        '/usr/libexec/vdsm/hooks/before_vm_start/50_emulator': '-rwxr-xr-x',
        support.INCOMING: '-rwxr-xr-x',
        **dict(zip(support.ARRIVAL_HOOKS, ('-rwxr-xr-x', 'lrwxrwxrwx'))),
        '/usr/libexec/vdsm/hooks/qemu-kvm-wrapper': 'drwxr-xr-x',
        EMULATOR: 'lrwxrwxrwx',
        '/usr/share/selinux/packages/tlsciphers.pp.bz2': '-rw-r--r--',
        '/usr/share/vdsm-hook-tlsciphers': 'drwxr-xr-x',
        '/usr/share/vdsm-hook-tlsciphers/scriptlet': '-rwxr-xr-x'}


def test_nothing_in_var(header: rpm.hdr) -> None:
    """It does not belong to the image layer of oVirt Node."""
    assert not [file.name for file in rpm.files(header)
                if file.name.startswith('/var')]


def test_requirements(header: rpm.hdr) -> None:
    assert requirements(header) == {
        'vdsm', '/usr/bin/python3', '/usr/bin/openssl', 'gnutls-utils',
        '/bin/sh', 'policycoreutils', 'libselinux-utils', 'coreutils', 'grep',
        'sed'}


@pytest.mark.parametrize('macros, python', [
    ({'rhel': 6}, '/usr/bin/python2'), ({'rhel': 7}, '/usr/bin/python2'),
    ({'rhel': 8}, '/usr/libexec/platform-python'),
    ({'rhel': 9, 'dist': '.el9_5'}, '/usr/bin/python3'),
    ({'rhel': 10, 'dist': '.el10'}, '/usr/bin/python3'),
    ({'fedora': 42, 'dist': '.fc42'}, '/usr/bin/python3')], ids=str)
def test_each_release_gets_what_it_can_use(
        built: builds.Build, tmp_path: pathlib.Path, macros: dict[str, Any],
        python: str) -> None:
    package = built.rpm_again(tmp_path, *(
        '--define "%s %s"' % macro for macro in macros.items()))
    assert package.name.endswith('-1%s.noarch.rpm' % macros.get(
        'dist', '.el%s' % macros.get('rhel')))
    header = read_header(package)
    assert {name for name in requirements(header) if 'python' in name
            } == {python}
    # Only for an interpreter that is here, and not where vdsm looks.
    assert {file.name for file in rpm.files(header)
            if file.name.endswith(('.pyc', '.pyo'))} == {
        '/usr/share/vdsm-hook-tlsciphers/' + builds.compiled(module)
        for module in builds.MODULES if os.path.exists(python)}
    builds.unpack(package, tmp_path)
    for name in ('qemu-kvm-modified',
                 'vdsm/hooks/before_vm_start/50_emulator'):
        with open(tmp_path / 'usr/libexec' / name) as script:
            assert script.readline().startswith('#!%s -' % python)
    assert "OPENSSL_CONF = '/etc/pki/tls/openssl.cnf'" in (
        tmp_path / 'usr/share/vdsm-hook-tlsciphers/tlsciphers_wrapper.py'
    ).read_text()
    # The command needs a newer Python than that of EL6 and EL7.
    for name in 'bin/vdsm-tlsciphers', 'share/man/man8/vdsm-tlsciphers.8':
        assert bool(list((tmp_path / 'usr').glob(name + '*'))) == (
            macros.get('rhel', 8) >= 8)
    assert list((tmp_path / 'usr/share/man').glob('man8/tlsciphers_*.8*'))
    # The newest module format that EL7's libsepol reads.
    module = bz2.decompress((
        tmp_path / 'usr/share/selinux/packages/tlsciphers.pp.bz2'
    ).read_bytes())
    end = module.index(b'SE Linux Module') + len(b'SE Linux Module')
    assert struct.unpack_from('<2I', module, end)[1] == 17


@pytest.mark.parametrize('macros, release', [
    ({}, '1'), ({'rhel': 8}, '1.el8'), ({'rhel': 8, 'dist': '.el8'}, '1.el8'),
    ({'rhel': 7, 'dist': '.el7.centos'}, '1.el7.centos'),
    # For another release than that of the machine.
    ({'rhel': 8, 'dist': '.el9'}, '1.el8'),
    ({'rhel': 1, 'dist': '.el10'}, '1.el1')], ids=str)
def test_name_of_the_file_says_for_which_release_it_is(
        macros: dict[str, Any], release: str) -> None:
    process = subprocess.run(
        ['rpmspec', '-q', '--qf', '%{release}', *(
            '--define=%s %s' % macro for macro in macros.items()),
         support.SOURCE / (NAME + '.spec')], capture_output=True, text=True,
        check=True)
    assert process.stdout == release


@pytest.mark.parametrize('flags, said, warned', [
    ('', '-1 for /usr/bin/python3', True),
    ('--define "rhel 8"', '-1.el8 for /usr/libexec/platform-python', False),
    ('--define "fedora 42" --define "dist .fc42"',
     '-1.fc42 for /usr/bin/python3', False)])
def test_make_rpm_says_for_what_it_builds(
        built: builds.Build, flags: str, said: str, warned: bool) -> None:
    process = subprocess.run(
        ['make', 'rpm', '--assume-old=dist', 'rpmbuild=true',
         'RPMBUILD_FLAGS=' + flags], cwd=built.source, check=True,
        capture_output=True, text=True)
    assert re.search('(?m)^building %s-[0-9.]+%s$' % (NAME, re.escape(said)),
                     process.stdout)
    assert ('warning: neither rhel nor fedora is defined'
            in process.stderr) == warned


@pytest.mark.parametrize('platform, required', [
    ('platform:el9', {'/usr/bin/python3'}), ('platform:el8', set()),
    ('', set())])
def test_interpreter_is_needed_where_the_rpm_is_for_the_same_release(
        tmp_path: pathlib.Path, platform: str, required: set[str]) -> None:
    (tmp_path / 'os-release').write_text('PLATFORM_ID="%s"\n' % platform)
    process = subprocess.run(
        ['unshare', '--mount', 'sh', '-ec', 'mount --bind "$1" "$(readlink -f '
         '/etc/os-release)"; exec rpmspec -q --buildrequires --define '
         '"rhel 9" "$2"', 'sh', tmp_path / 'os-release',
         support.SOURCE / (NAME + '.spec')],
        capture_output=True, text=True, check=True)
    assert {name for name in process.stdout.split()
            if 'python' in name} == required


def test_every_filter_of_rpmlint_is_needed(built: builds.Build,
                                           tmp_path: pathlib.Path) -> None:
    filters = re.findall(r'(?m)^addFilter\("(.+)"\)', (
        support.SOURCE / (NAME + '.rpmlintrc')).read_text())
    (tmp_path / 'none').touch()
    findings = subprocess.run(
        ['rpmlint', '--rpmlintrc', tmp_path / 'none', NAME + '.spec',
         *built.source.glob('rpmbuild/RPMS/noarch/*.rpm')], cwd=built.source,
        capture_output=True, text=True).stdout
    assert [name for name in filters if not re.search(name, findings)] == []


def test_scriptlets_are_calls_of_the_helper(header: rpm.hdr) -> None:
    helper = '/bin/sh /usr/share/vdsm-hook-tlsciphers/scriptlet '
    scriptlets = {'install': header[rpm.RPMTAG_POSTIN],
                  'remove': header[rpm.RPMTAG_PREUN],
                  'emulator-changed': ''.join(header[rpm.RPMTAG_TRIGGERSCRIPTS]
                                              )}
    for command, text in scriptlets.items():
        assert helper + command in text
    # oVirt Node runs scriptlets again that hold one of these words, in a
    # form that single quotes break.
    for text in [*scriptlets.values(), header[rpm.RPMTAG_PREIN]]:
        assert not re.search("restorecon|semodule|semanage|fixfiles|chcon|'",
                             text)
    for tag in (rpm.RPMTAG_POSTUN, rpm.RPMTAG_POSTTRANS):
        assert not header[tag]


@pytest.mark.parametrize('tag', [
    'PREIN', 'POSTIN', 'PREUN', 'POSTUN', 'POSTTRANS', 'TRIGGERSCRIPTS',
    'FILETRIGGERSCRIPTS', 'TRANSFILETRIGGERSCRIPTS'])
def test_shellcheck_has_nothing_to_say_about_a_scriptlet(header: rpm.hdr,
                                                         tag: str) -> None:
    scripts = header[getattr(rpm, 'RPMTAG_' + tag)] or []
    for script in [scripts] if isinstance(scripts, str) else scripts:
        lint = subprocess.run(['shellcheck', '--shell=sh', '-'], input=script,
                              stdout=subprocess.PIPE, text=True)
        assert lint.stdout == ''
        assert lint.returncode == 0


def test_every_package_of_the_emulator_has_a_trigger(header: rpm.hdr) -> None:
    assert set(header[rpm.RPMTAG_TRIGGERNAME]) == {
        'qemu-kvm', 'qemu-kvm-ev', 'qemu-kvm-rhev', 'qemu-kvm-core'}
