# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""Every command of the documents is run by something that there is."""

import pathlib
import re

import documents
import pytest

import support

# As on EL.
VALUES = {
    'WRAPPER': '/usr/libexec/qemu-kvm-modified',
    'EMULATOR':
        '/usr/libexec/vdsm/hooks/qemu-kvm-wrapper/qemu-kvm-modified',
    'HOOK': '/usr/libexec/vdsm/hooks/before_vm_start/50_emulator',
    'HOST_DEFAULT': '/etc/vdsm/tlsciphers.conf',
    'SELINUX_MODULE': '/usr/share/selinux/packages/tlsciphers.pp.bz2',
    'PKGDATADIR': '/usr/share/vdsm-hook-tlsciphers',
    'QEMU_KVM': '/usr/libexec/qemu-kvm', 'OPENSSL': '/usr/bin/openssl',
    'OPENSSL_CONF': '/etc/pki/tls/openssl.cnf',
    'GNUTLS_CLI': '/usr/bin/gnutls-cli', 'VERSION': '1'}
TABLES = (documents.ON_A_HOST, documents.ELSEWHERE, documents.NEEDS)


@pytest.mark.parametrize('path', documents.paths(), ids=lambda path: path.name)
def test_every_command_of_a_document_is_run(path: pathlib.Path) -> None:
    assert [command for command in documents.commands(path, VALUES)
            if sum(command in table for table in TABLES) != 1] == []


def test_what_is_run_stands_in_a_document() -> None:
    written = '\n'.join(
        '\n'.join(documents.commands(path, VALUES)) + path.read_text()
        for path in documents.paths())
    assert [command for table in TABLES for command in table
            if command not in written] == []


@pytest.mark.parametrize('runner', sorted(set(documents.ELSEWHERE.values())))
def test_what_runs_commands_exists(runner: str) -> None:
    name, _, test = runner.partition('::')
    if test:
        assert re.search(r'(?m)^def %s\(' % test,
                         (support.TESTS / name).read_text())
    else:
        assert (support.SOURCE / name).exists()
