# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""Hosts with other configurations of OpenSSL."""

import pathlib
import subprocess

import pytest


@pytest.fixture(scope='session')
def certificate(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A key and its certificate; FUTURE refuses a key of 2048 bits."""
    folder = tmp_path_factory.mktemp('certificate')
    subprocess.run(
        ['openssl', 'req', '-x509', '-newkey', 'rsa:3072', '-nodes', '-subj',
         '/CN=host', '-out', 'pem', '-keyout', 'key'],
        cwd=folder, check=True, capture_output=True)
    pem = folder / 'pem'
    pem.write_text(pem.read_text() + (folder / 'key').read_text())
    return pem
