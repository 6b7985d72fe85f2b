# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""
vdsm-tlsciphers doctor, with each Python of EL, on a machine that is no host.
What it finds on a host is in tests/libvirt/test_doctor.py.
"""

from __future__ import annotations

import json
import pathlib
import subprocess
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

import support

if TYPE_CHECKING:
    from conftest import Command

# Whatever this machine is: of its own files the command looks at these.
OF_THE_INSTALLATION = ('users', 'hook', 'QEMU', 'wrapper', 'OpenSSL',
                       'openssl.cnf', 'GnuTLS', 'profiles', 'host default')


@pytest.fixture
def qemu_kvm(command: Command) -> Iterator[pathlib.Path]:
    """A stand-in that tells a version, as the real one does."""
    path = command.installation.qemu_kvm
    path.write_text('#!/bin/sh\necho "QEMU emulator version 6.2.0"\n')
    path.chmod(0o755)
    yield path
    path.unlink()


# A machine that has neither vdsm's user nor QEMU's.
WITHOUT_USERS = """
grep -v -e qemu -e vdsm /etc/passwd >"$0"
mount --bind "$0" /etc/passwd
exec "$@"
"""


def states(command: Command) -> dict[str, str]:
    process = subprocess.run(
        ['unshare', '--mount', 'sh', '-ec', WITHOUT_USERS,
         command.installation.root / 'passwd', command.installation.command,
         'doctor', '--json'], stdin=subprocess.DEVNULL, capture_output=True,
        text=True)
    assert (process.returncode in (0, 1), process.stderr) == (True, '')
    return {check['check']: check['state']
            for check in json.loads(process.stdout)['checks']
            if check['check'] in OF_THE_INSTALLATION}


def test_files_of_the_installation_are_examined(
        command: Command, qemu_kvm: pathlib.Path) -> None:
    # The folders of tests are closed to others.
    folder = command.installation.root
    while folder.stat().st_mode & 0o5 != 0o5:
        folder.chmod(0o755)
        folder = folder.parent
    expected = dict.fromkeys(OF_THE_INSTALLATION, 'ok')
    expected['users'] = 'warning'
    if support.without_capabilities(command.installation.python):
        # Where QEMU is root, it could change what this Python cannot seal.
        expected['wrapper'] = 'failed'
    assert states(command) == expected


def test_machine_without_qemu_is_no_host(command: Command) -> None:
    found = states(command)
    assert (found['QEMU'], found['wrapper']) == ('failed', 'failed')
    process = command.run('doctor')
    assert (process.returncode, process.stderr) == (1, '')
    assert 'this host cannot enforce every policy' in process.stdout
    assert '; install or repair qemu-kvm [qemu]\n' in process.stdout
    assert command.run('doctor', '--fix').stdout == (
        'nothing to fix: no failed check can be repaired by --fix\n'
        + process.stdout)


# QEMU's user has no part of a Python that is in a folder of root's own.
UNTRIED = """
import sys
sys.path.insert(0, sys.argv[1])
from vdsm_tlsciphers.host import openssl_conf, program_checks
def unreadable(path):
    raise LookupError('unknown encoding: latin-1')
openssl_conf.unreadable = unreadable
print('\\n'.join(map(str, program_checks.openssl()[-1])))
"""


def test_what_went_wrong_in_a_trial_is_no_path(
        command: Command) -> None:
    """A stand-in fails as such a Python does."""
    process = subprocess.run(
        [command.installation.python, '-Bc', UNTRIED,
         command.installation.module.parent], stdin=subprocess.DEVNULL,
        capture_output=True, text=True)
    check, state, text, remedy, code = process.stdout.splitlines()
    assert (check, state, code) == ('openssl.cnf', 'failed', 'not-tried')
    assert text.endswith(': unknown encoding: latin-1')
    assert 'latin-1' not in remedy


# What the command has of libvirt on a machine without its Python module, and
# a default with a key that there is not.
REMEDIES = """
import sys
sys.path.insert(0, sys.argv[1])
sys.modules['libvirt'] = None
from vdsm_tlsciphers.host import setting_checks
for finding in setting_checks.running_vms(), setting_checks.host_default():
    print(finding.code, finding.text, finding.remedy, sep='\\n')
"""


def test_remedy_is_one_and_says_what_to_do(command: Command) -> None:
    path = command.installation.host_default
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text('[default]\ntlsprofil = modern\n')
    try:
        process = subprocess.run(
            [command.installation.python, '-Bc', REMEDIES,
             command.installation.module.parent], stdin=subprocess.DEVNULL,
            capture_output=True, text=True)
    finally:
        path.unlink()
    (no_module, missing, install, host_file, key,
     correct) = process.stdout.splitlines()
    assert (no_module, host_file) == ('no-libvirt-module', 'host-file')
    assert ';' not in missing
    assert install == 'install python3-libvirt'
    assert key.endswith('tlsprofil: no such key')
    assert correct.startswith('use one of tlsciphers, ')


# What rpm says of the package, and a host's /etc/os-release.
PACKAGE = """
import subprocess
import sys
sys.path.insert(0, sys.argv[1])
from vdsm_tlsciphers.host import package_checks
name = 'vdsm-hook-tlsciphers-0.4.0-1%s.noarch' % sys.argv[2]
package_checks.ask = lambda program, option, *_: subprocess.CompletedProcess(
    [], 0, name + '\\n' if option == '-q' else '', '')
package_checks.OS_RELEASE = sys.argv[3]
finding = package_checks.package()
print(finding.state, finding.text.partition('noarch')[2], finding.remedy)
"""
FINE = 'ok , built for %s, no modified files'


@pytest.mark.parametrize('tag, os_release, expected', [
    ('.el8', 'PLATFORM_ID="platform:el8"', FINE % 'el8'),
    ('.el9_5', 'VERSION_ID="4.5"\nPLATFORM_ID="platform:el9"', FINE % 'el9'),
    ('.el7.centos', 'ID="centos"', FINE % 'el7'),
    ('.fc42', 'PLATFORM_ID="platform:f42"', FINE % 'fc42'),
    ('', 'ID=debian', FINE % 'no particular release'),
    ('', "PLATFORM_ID='platform:el9'", 'warning : built for no particular '
     'release, but this host is el9 install the RPM of this release: .el9 in '
     'its name'),
    ('.el8', None, FINE % 'el8'),
    ('.el8', 'PLATFORM_ID="platform:el10"', 'warning : built for el8, but '
     'this host is el10 install the RPM of this release: .el10 in its name'),
], ids=str)
def test_release_that_the_package_was_built_for_is_said(
        newest_command: Command, tmp_path: pathlib.Path, tag: str,
        os_release: str | None, expected: str) -> None:
    """rpm is a stand-in: this machine has no package of another release."""
    path = tmp_path / 'os-release'
    if os_release:
        path.write_text(os_release + '\n')
    process = subprocess.run(
        [newest_command.installation.python, '-Bc', PACKAGE,
         newest_command.installation.module.parent, tag, path],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True)
    assert process.stdout.strip() == expected
