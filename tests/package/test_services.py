# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""What the build services COPR and Packit run, run as they run it."""

from __future__ import annotations

import os
import pathlib
import re
import shlex
import subprocess
from typing import TYPE_CHECKING

import pytest
import yaml

import support

if TYPE_CHECKING:
    from conftest import CopySource

NAME = 'vdsm-hook-tlsciphers'
COPR = ['make', '-f', '.copr/Makefile', 'srpm', 'spec=%s.spec' % NAME]


@pytest.fixture
def clone(copy_source: CopySource, tmp_path: pathlib.Path) -> pathlib.Path:
    """The source as in a clone of it: not configured."""
    return copy_source(tmp_path)


def test_copr_gets_an_srpm_that_can_be_rebuilt(clone: pathlib.Path,
                                               tmp_path: pathlib.Path) -> None:
    outdir = tmp_path / 'outdir'
    outdir.mkdir()
    subprocess.run([*COPR, 'outdir=%s' % outdir], cwd=clone, check=True,
                   capture_output=True)
    srpm, = outdir.iterdir()
    # rpm's database does not know Debian's packages.
    subprocess.run(['rpmbuild', '--define', '_topdir %s' % tmp_path,
                    '--nodeps', '--rebuild', str(srpm)], check=True,
                   capture_output=True)
    assert list(tmp_path.glob('RPMS/noarch/%s-*.rpm' % NAME))


def test_copr_installs_the_tools_that_are_missing(
        clone: pathlib.Path, tmp_path: pathlib.Path) -> None:
    """The dnf here is a stand-in for that of COPR's chroot; it fails."""
    dnf = tmp_path / 'dnf'
    dnf.write_text('#!/bin/sh\necho dnf "$@"\nexit 1\n')
    dnf.chmod(0o755)
    process = subprocess.run(
        [*COPR, 'tools=sh nosuch other'], cwd=clone, capture_output=True,
        text=True, env=dict(os.environ, PATH='%s:%s' % (
            tmp_path, os.environ['PATH'])))
    assert process.returncode != 0
    assert process.stdout.splitlines()[-1] == (
        'dnf --assumeyes install /usr/bin/nosuch /usr/bin/other')


def test_packit_finds_the_version_and_the_archive(clone: pathlib.Path) -> None:
    configuration = yaml.safe_load((clone / '.packit.yaml').read_text())
    spec = (clone / configuration['specfile_path']).read_text()
    version, = re.findall('(?m)^Version: +(.*)', spec)

    def act(name: str) -> str:
        # Packit splits the commands; no shell runs them.
        for command in configuration['actions'][name]:
            process = subprocess.run(shlex.split(command), cwd=clone,
                                     check=True, capture_output=True,
                                     text=True)
        return process.stdout.strip()

    assert act('get-current-version') == version
    archive = act('create-archive')
    assert archive == '%s-%s.tar.gz' % (NAME, version)
    assert (clone / archive).exists()
    assert set(configuration['actions']) == {'get-current-version',
                                             'create-archive'}


def test_packit_builds_releases_by_their_tag() -> None:
    configuration = yaml.safe_load(
        (support.SOURCE / '.packit.yaml').read_text())
    # The tag that release-check expects.
    assert configuration['upstream_tag_template'].format(
        version='1.2') == 'v1.2'
    assert [job['trigger'] for job in configuration['jobs']] == ['release']
