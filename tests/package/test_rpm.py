# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""The RPM that rpmbuild makes, read by rpm and installed by it."""

import pathlib
import re
import stat
import subprocess

import pytest
import rpm

NAME = 'vdsm-hook-tlsciphers'
WRAPPER = '/usr/libexec/qemu-kvm-modified'
EMULATOR = '/usr/libexec/vdsm/hooks/qemu-kvm-wrapper/qemu-kvm-modified'
# rpm on Debian warns that its database is not that of the system.
DEBIAN = (['--force-debian']
          if pathlib.Path('/etc/debian_version').exists() else [])


def read_header(path):
    transaction = rpm.TransactionSet()
    # What was built a moment ago is not signed.
    transaction.setVSFlags(rpm.RPMVSF_MASK_NOSIGNATURES)
    with open(path, 'rb') as package:
        return transaction.hdrFromFdno(package)


@pytest.fixture(scope='module')
def header(built_rpm):
    return read_header(built_rpm)


def requirements(header):
    return {name for name in header[rpm.RPMTAG_REQUIRENAME]
            if not name.startswith('rpmlib(')}


def test_package_is_noarch_and_has_its_name(header):
    assert header[rpm.RPMTAG_NAME] == NAME
    assert header[rpm.RPMTAG_ARCH] == 'noarch'
    assert header[rpm.RPMTAG_LICENSE] == 'GPL-2.0-or-later'


def test_files_modes_and_owners(header):
    files = {}
    for file in rpm.files(header):
        assert (file.user, file.group) == ('root', 'root')
        assert '__pycache__' not in file.name
        assert not file.name.endswith(('.pyc', '.pyo'))
        files[file.name] = stat.filemode(file.mode)
        if file.name == EMULATOR:
            assert file.linkto == '../../../qemu-kvm-modified'
    documents = {name for name in files
                 if name.startswith(('/usr/share/doc/',
                                     '/usr/share/licenses/'))}
    assert {pathlib.Path(name).name for name in documents} >= {
        'README.md', 'COPYING'}
    assert {name: mode for name, mode in files.items()
            if name not in documents} == {
        WRAPPER: '-rwxr-xr-x',
        '/usr/libexec/vdsm/hooks/before_vm_start/50_emulator': '-rwxr-xr-x',
        '/usr/libexec/vdsm/hooks/qemu-kvm-wrapper': 'drwxr-xr-x',
        EMULATOR: 'lrwxrwxrwx',
        '/usr/share/selinux/packages/tlsciphers.pp.bz2': '-rw-r--r--',
        '/usr/share/vdsm-hook-tlsciphers': 'drwxr-xr-x',
        '/usr/share/vdsm-hook-tlsciphers/labels': '-rwxr-xr-x',
        '/usr/share/vdsm-hook-tlsciphers/tlsciphers.py': '-rw-r--r--'}


def test_nothing_in_var(header):
    """It does not belong to the image layer of oVirt Node."""
    assert not [file.name for file in rpm.files(header)
                if file.name.startswith('/var')]


def test_requirements(header):
    assert requirements(header) == {
        'vdsm', '/usr/bin/python3', '/usr/bin/openssl', '/bin/sh',
        'policycoreutils', 'libselinux-utils'}


@pytest.mark.parametrize('release, python', [
    (7, '/usr/bin/python2'), (8, '/usr/libexec/platform-python'),
    (9, '/usr/bin/python3'), (10, '/usr/bin/python3')])
def test_interpreter_is_that_of_the_release(make_build, tmp_path, release,
                                            python):
    path = make_build().rpm('--define "rhel %d"' % release)
    required = {name for name in requirements(read_header(path))
                if 'python' in name}
    assert required == {python}
    subprocess.run('rpm2cpio %s | cpio -id --quiet' % path, shell=True,
                   check=True, cwd=tmp_path)
    for name in ('qemu-kvm-modified',
                 'vdsm/hooks/before_vm_start/50_emulator'):
        with open(tmp_path / 'usr/libexec' / name) as script:
            assert script.readline().startswith('#!%s -' % python)


def test_scriptlets_are_calls_of_the_helper(header):
    post = header[rpm.RPMTAG_POSTIN]
    preun = header[rpm.RPMTAG_PREUN]
    helper = '/bin/sh /usr/share/vdsm-hook-tlsciphers/labels '
    assert helper + 'install' in post
    assert helper + 'remove' in preun
    # oVirt Node runs scriptlets again that hold one of these words, in a
    # form that single quotes break.
    for scriptlet in (post, preun):
        assert not re.search("restorecon|semodule|semanage|fixfiles|chcon|'",
                             scriptlet)
    for tag in (rpm.RPMTAG_PREIN, rpm.RPMTAG_POSTUN, rpm.RPMTAG_POSTTRANS):
        assert not header[tag]


def test_installed_by_rpm_it_is_labelled_and_removed_without_a_trace(
        root, built_rpm):
    # Folders of vdsm and of selinux-policy.
    root.run('mkdir', '-p', '/usr/libexec/vdsm/hooks/before_vm_start',
             '/usr/share/selinux/packages')
    before = root.files()
    install = root.rpm('--install', '--nodeps', *DEBIAN, str(built_rpm))
    assert 'vdsm-hook-tlsciphers: ' not in install.stdout + install.stderr
    assert root.rpm('--verify', '--nodeps', NAME).stdout == ''
    # Debian's store; that of EL is "targeted".
    assert 'tlsciphers\n' in root.run('semodule', '-s', 'default',
                                      '-l').stdout
    for path in (WRAPPER, EMULATOR):
        contexts = '/etc/selinux/default/contexts/files/file_contexts'
        label = root.run('matchpathcon', '-n', '-f', contexts, '-m', 'file',
                         path).stdout
        assert label.split(':')[2] == 'qemu_exec_t'
    root.rpm('--erase', *DEBIAN, NAME)
    assert 'tlsciphers' not in root.run('semodule', '-s', 'default',
                                        '-l').stdout
    assert root.files() == before


def test_requirements_are_real(root, built_rpm):
    """rpm refuses it where vdsm is missing."""
    process = root.rpm('--install', *DEBIAN, str(built_rpm), check=False)
    assert process.returncode != 0
    assert 'vdsm is needed by ' + NAME in process.stderr


def test_without_selinux_it_installs_and_says_nothing(root, built_rpm):
    """As in a container: no configuration, no store, no programs."""
    root.run('rm', '-rf', '/etc/selinux', '/usr/sbin/semodule')
    install = root.rpm('--install', '--nodeps', *DEBIAN, str(built_rpm))
    assert 'vdsm-hook-tlsciphers: ' not in install.stdout + install.stderr
    erase = root.rpm('--erase', *DEBIAN, NAME)
    assert 'vdsm-hook-tlsciphers: ' not in erase.stdout + erase.stderr


def test_module_that_cannot_be_committed_is_a_line_not_a_failure(
        root, built_rpm):
    root.run('sh', '-c', 'echo broken >/etc/selinux/semanage.conf')
    install = root.rpm('--install', '--nodeps', *DEBIAN, str(built_rpm))
    output = install.stdout + install.stderr
    assert 'semodule cannot change the SELinux policy store default' in output
    assert 'dnf reinstall vdsm-hook-tlsciphers' in output
    assert root.rpm('--query', NAME).returncode == 0
