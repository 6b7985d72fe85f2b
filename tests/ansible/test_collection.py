# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""The collection as a whole, and what is written about it."""

import importlib.util
import os
import pathlib
import re
import subprocess
import sys

import pytest

import builds
import support

COLLECTION = support.SOURCE / 'ansible'
# Where pip has put Ansible, its programs and the collections that it brings.
ANSIBLE_LINT = importlib.util.find_spec('ansiblelint')
assert ANSIBLE_LINT
assert ANSIBLE_LINT.origin
PACKAGES = pathlib.Path(ANSIBLE_LINT.origin).parents[1]


@pytest.fixture
def environment(tmp_path: pathlib.Path) -> dict[str, str]:
    return {**os.environ, 'ANSIBLE_HOME': str(tmp_path / 'home'),
            'ANSIBLE_COLLECTIONS_PATH': str(PACKAGES),
            'PATH': '%s/bin:%s' % (PACKAGES, os.environ['PATH'])}


def test_ansible_lint_has_nothing_to_say(environment: dict[str, str],
                                         tmp_path: pathlib.Path) -> None:
    # A folder of its own: ansible-lint writes into it.
    folder = tmp_path / 'ansible'
    subprocess.run(['cp', '-r', COLLECTION, folder], check=True)
    # The schema of galaxy.yml demands the address of a repository; there is
    # none to be given.
    process = subprocess.run(
        [sys.executable, '-m', 'ansiblelint', '--offline', '--strict',
         '--profile', 'production', '--nocolor', '--exclude', 'galaxy.yml'],
        cwd=folder,
        env=environment, capture_output=True, text=True)
    assert process.returncode == 0, process.stdout + process.stderr
    assert "Profile 'production' was required, and it passed" in (
        process.stdout + process.stderr)


def test_collection_can_be_built_and_installed(built: builds.Build,
                                               environment: dict[str, str],
                                               tmp_path: pathlib.Path) -> None:
    built.run('make', 'collection', env=environment)
    tarball, = built.source.glob('vdsm_hooks-tlsciphers-*.tar.gz')
    assert tarball.name == 'vdsm_hooks-tlsciphers-%s.tar.gz' % (
        support.version())
    subprocess.run(
        ['ansible-galaxy', 'collection', 'install', '--no-deps', '--offline',
         '--collections-path', tmp_path, tarball], check=True,
        env=environment, capture_output=True)
    installed = tmp_path / 'ansible_collections/vdsm_hooks/tlsciphers'
    assert files(installed) == files(COLLECTION) - {'galaxy.yml'} | {
        'MANIFEST.json', 'FILES.json'}


def files(folder: pathlib.Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob('*')
            if path.is_file()}


@pytest.mark.parametrize('path', [
    support.SOURCE / 'docs/installation.md', COLLECTION / 'README.md'])
def test_documents_name_playbooks_and_variables_that_exist(
        path: pathlib.Path) -> None:
    text = path.read_text()
    for name in re.findall(r'ansible-playbook vdsm_hooks\.tlsciphers\.(\w+)',
                           text):
        assert (COLLECTION / 'playbooks' / (name + '.yml')).exists()
    sources = ''.join(source.read_text()
                      for source in COLLECTION.rglob('*.yml'))
    for name in re.findall(r'\btlsciphers_\w+', text):
        assert re.search(r'\b%s\b' % name, sources), name
