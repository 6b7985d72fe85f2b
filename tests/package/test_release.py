# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""What is checked before a release."""

from __future__ import annotations

import os
import pathlib
import re
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

import support
from builds import Build

if TYPE_CHECKING:
    from conftest import MakeBuild

SPEC = 'vdsm-hook-tlsciphers.spec'
CHECK_VERSIONS = support.SOURCE / 'build-aux/check-versions'


def commit(build: Build) -> None:
    build.run('git', 'init', '--quiet')
    build.run('git', 'add', '--all')
    build.run('git', '-c', 'user.name=test', '-c', 'user.email=test@localhost',
              'commit', '--quiet', '--message', 'test')


def test_release_check_passes(make_build: MakeBuild) -> None:
    """distcheck builds, checks, installs and uninstalls what dist packs."""
    build = make_build()
    commit(build)
    # Those that start most processes have run on the same files already.
    output = build.run(
        'sh', '-c', 'make release-check 2>&1', env=dict(
            os.environ, PYTEST_ADDOPTS=' '.join(
                '--deselect=unit/test_%s.py' % name
                for name in ('commands', 'guard', 'hook', 'lines', 'policy',
                             'wrapper'))))
    assert 'archives ready for distribution' in output
    # The tests ran on the distribution, not on nothing.
    assert re.search(r'\d{3,} passed', output)
    assert ' 0 errors, 0 warnings' in output
    assert re.search(r'reproducible: \w{64} .*\.tar\.gz\n', output)
    assert re.search(r'reproducible: \w{64} .*\.noarch\.rpm\n', output)
    assert 'warning: no tag v' in output


def test_what_is_not_committed_is_not_released(make_build: MakeBuild) -> None:
    build = make_build()
    commit(build)
    (build.source / 'hooks/new.py').touch()
    process = subprocess.run(['make', 'release-check'], cwd=build.source,
                             capture_output=True, text=True)
    assert process.returncode != 0
    assert 'not committed: ?? hooks/new.py' in process.stderr
    assert 'distcheck' not in process.stdout


def test_build_that_depends_on_the_day_is_found(make_build: MakeBuild) -> None:
    build = make_build()
    with open(build.source / 'build-aux/substitute', 'a') as substitute:
        substitute.write('date "+# %F"\n')
    process = subprocess.run(['make', 'reproducible'], cwd=build.source,
                             capture_output=True, text=True)
    assert process.returncode != 0
    assert re.search(r'a later build makes another .*\.noarch\.rpm\n',
                     process.stderr)


@pytest.fixture
def documents(tmp_path: pathlib.Path) -> pathlib.Path:
    (tmp_path / 'ansible').mkdir()
    for name in ('NEWS.md', 'README.md', 'ansible/galaxy.yml', SPEC):
        shutil.copy(support.SOURCE / name, tmp_path / name)
    return tmp_path


def test_versions_agree(documents: pathlib.Path) -> None:
    subprocess.run([CHECK_VERSIONS], cwd=documents, check=True)


@pytest.mark.parametrize('name, pattern, replacement', [
    ('NEWS.md', r'^## .*', '## 98.7'),
    ('README.md', r'tlsciphers-[0-9.]+-', 'tlsciphers-98.7-'),
    ('ansible/galaxy.yml', r'^version: .*', 'version: 98.7'),
    (SPEC, r'^(\* .*) - [0-9.]+-', r'\1 - 98.7-'),
    (SPEC, r'^(\* .*) - ([0-9.]+)-.*', r'\1 - \2-65'),
])
def test_file_that_names_another_version_is_named(
        documents: pathlib.Path, name: str, pattern: str,
        replacement: str) -> None:
    path = documents / name
    before = path.read_text()
    after = re.sub(pattern, replacement, before, count=1, flags=re.MULTILINE)
    assert after != before
    path.write_text(after)
    process = subprocess.run([CHECK_VERSIONS], cwd=documents,
                             capture_output=True, text=True)
    assert process.returncode != 0
    line = process.stderr.splitlines()[0]
    assert line.startswith(name + ': ')
    assert '98.7' in line or '65' in line
