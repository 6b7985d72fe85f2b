# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""
Lays out what stands for a host's configuration of OpenSSL, from the files in
tests/data/openssl.
"""

from __future__ import annotations

import pathlib
import shutil

import support

FOLDER = support.DATA / 'openssl'
RELEASES = ('el8', 'el9', 'el10')
POLICIES = ('DEFAULT', 'FUTURE', 'FIPS')
OTHERS = tuple(sorted(path.stem for path in FOLDER.glob('*.cnf')))


def write_openssl_cnf(etc: pathlib.Path, name: str,
                      policy: str | None = None) -> pathlib.Path:
    """
    Write a host's openssl.cnf and what it includes.

    etc (pathlib.Path): a folder, which stands for /etc; it is made.
    name (str): one of RELEASES, which have a policy, or of OTHERS.
    policy (str): one of POLICIES.

    Returns the path of openssl.cnf (pathlib.Path).
    """
    shape = FOLDER / name
    tls = etc / 'pki/tls'
    if policy:
        back_ends = etc / 'crypto-policies/back-ends'
        back_ends.mkdir(parents=True)
        shutil.copy(shape / (policy + '.config'),
                    back_ends / 'opensslcnf.config')
        main = shape / 'openssl.cnf'
    else:
        main = FOLDER / (name + '.cnf')
    tls.mkdir(parents=True)
    if (shape / 'openssl.d').is_dir():
        shutil.copytree(shape / 'openssl.d', tls / 'openssl.d')
    path = tls / 'openssl.cnf'
    path.write_bytes(support.substitute(main, {'ETC': etc}))
    return path
