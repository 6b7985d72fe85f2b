# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""The repository of "make repo", installed from by dnf."""

import os
import pathlib
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator

import pytest

import support
from builds import Build
from roots import Root

NAME = 'vdsm-hook-tlsciphers'

@pytest.fixture
def repo(built: Build, tmp_path: pathlib.Path) -> pathlib.Path:
    """A copy of the repository, which says that it is there."""
    repo = tmp_path / 'repo'
    shutil.copytree(built.source / 'repo', repo)
    path = repo / (NAME + '.repo')
    path.write_text(path.read_text().replace(
        str(built.source / 'repo'), str(repo)))
    return repo


@pytest.fixture
def host(root: Root, repo: pathlib.Path) -> Root:
    """A root where the .repo file is installed."""
    root.run('sh', '-c', 'mkdir -p /etc/yum.repos.d && '
             'cp "$0"/*.repo /etc/yum.repos.d', repo)
    return root


def dnf(root: Root, *arguments: str,
        check: bool = True) -> subprocess.CompletedProcess[str]:
    return root.run('dnf', '--assumeyes', '--releasever=9',
                    '--setopt=skip_if_unavailable=False', *arguments,
                    check=check)


def installed(root: Root) -> bool:
    return root.run('rpm', '--query', NAME, check=False).returncode == 0


def package(repo: pathlib.Path) -> pathlib.Path:
    path, = repo.glob('*.rpm')
    return path


def change_a_byte(repo: pathlib.Path, built: Build) -> None:
    """Change a byte near the end, which is in the payload."""
    with open(package(repo), 'r+b') as file:
        file.seek(-100, os.SEEK_END)
        byte = file.read(1)
        file.seek(-100, os.SEEK_END)
        file.write(bytes([byte[0] ^ 1]))


def remove_signature(repo: pathlib.Path, built: Build) -> None:
    subprocess.run(['rpmsign', '--delsign', str(package(repo))], check=True)


def sign_with_another_key(repo: pathlib.Path, built: Build) -> None:
    another = repo.with_name('another')
    built.run('build-aux/make-repo', str(another), '', '', str(package(repo)))
    shutil.copy(package(another), repo)


def describe_anew(repo: pathlib.Path) -> None:
    """Make the metadata anew; they have the old signature."""
    signature = repo / 'repodata/repomd.xml.asc'
    content = signature.read_bytes()
    subprocess.run(['createrepo_c', '--quiet', str(repo)], check=True)
    signature.write_bytes(content)


@pytest.fixture
def keyring(built: Build) -> Iterator[dict[str, str]]:
    """An environment (dict) where gpg has the key that make repo made."""
    # tmp_path is too long for gpg-agent's sockets.
    with tempfile.TemporaryDirectory() as directory:
        home = os.path.join(directory, 'gnupg')
        os.symlink(built.source / 'repo-gnupg', home)
        environment = dict(os.environ, GNUPGHOME=home)
        yield environment
        subprocess.run(['gpgconf', '--kill', 'gpg-agent'], check=True,
                       env=environment)


def sign_metadata(repo: pathlib.Path, keyring: dict[str, str]) -> None:
    subprocess.run(['gpg', '--batch', '--yes', '--armor', '--detach-sign',
                    str(repo / 'repodata/repomd.xml')], check=True,
                   env=keyring)


def test_dnf_installs_what_is_signed(host: Root) -> None:
    dnf(host, 'install', NAME)
    assert installed(host)
    assert host.run('rpm', '--verify', NAME).stdout == ''


def test_the_one_file_is_vouched_for(repo: pathlib.Path,
                                     keyring: dict[str, str]) -> None:
    text = (support.SOURCE / 'docs/development.md').read_text()
    commands = re.findall(r'(?m)^    ((?:sha256sum|gpg) -.*)', text)

    def statuses() -> list[int]:
        return [subprocess.run(command.split(), cwd=repo, env=keyring,
                               capture_output=True).returncode
                for command in commands]

    assert statuses() == [0, 0]
    with open(repo / 'vdsm-tlsciphers.pyz', 'ab') as program:
        program.write(b'x')
    assert statuses() == [1, 1]


def test_signing_does_not_change_the_payload(built: Build) -> None:
    text = (support.SOURCE / 'docs/development.md').read_text()
    command, = re.findall(r'(?m)^    (rpm -qp .*)', text)
    first, second = built.run('sh', '-c', command).split()
    assert first == second
    signed, = (built.source / 'repo').glob('*.rpm')
    unsigned, = built.source.glob('rpmbuild/RPMS/noarch/*.rpm')
    assert signed.read_bytes() != unsigned.read_bytes()


def assert_refused(host: Root, reason: str) -> None:
    process = dnf(host, 'install', NAME, check=False)
    assert process.returncode != 0
    assert reason in process.stdout + process.stderr
    assert not installed(host)


def test_package_with_another_byte_is_refused(host: Root, repo: pathlib.Path,
                                              built: Build) -> None:
    change_a_byte(repo, built)
    assert_refused(host, 'has incorrect checksum')


@pytest.mark.parametrize('change, reason', [
    (change_a_byte, 'Problem opening package'),
    (remove_signature, 'is not signed'),
    (sign_with_another_key, 'wrong key(s)?')])
def test_signed_metadata_do_not_vouch_for_a_package(
        host: Root, repo: pathlib.Path, built: Build, keyring: dict[str, str],
        change: Callable[[pathlib.Path, Build], None], reason: str) -> None:
    change(repo, built)
    describe_anew(repo)
    sign_metadata(repo, keyring)
    assert_refused(host, reason)


def test_changed_metadata_are_refused(host: Root, repo: pathlib.Path,
                                      built: Build) -> None:
    change_a_byte(repo, built)
    describe_anew(repo)
    assert_refused(host, 'repomd.xml GPG signature verification error')


def test_metadata_without_a_signature_are_refused(host: Root,
                                                  repo: pathlib.Path) -> None:
    (repo / 'repodata/repomd.xml.asc').unlink()
    assert_refused(host, 'repomd.xml.asc')


def test_packager_names_the_key_and_the_place(
        built: Build, keyring: dict[str, str], tmp_path: pathlib.Path) -> None:
    # Into another folder, without building the RPM again.
    output = built.run('make', '--assume-old=rpm', 'repo',
                       'abs_builddir=%s' % tmp_path, 'GPG_KEY=' + NAME,
                       'REPO_URL=https://example.org/el9', env=keyring)
    fingerprint = output.split()[-1]
    repo = tmp_path / 'repo'
    assert {path.name for path in repo.iterdir()} == {
        package(repo).name, 'RPM-GPG-KEY-' + NAME, NAME + '.repo', 'repodata',
        *('vdsm-tlsciphers.pyz' + end for end in ('', '.sha256', '.asc'))}
    assert not (tmp_path / 'repo-gnupg').exists()
    signature = subprocess.run(
        ['gpg', '--batch', '--status-fd=1', '--verify',
         'repodata/repomd.xml.asc', 'repodata/repomd.xml'], cwd=repo,
        capture_output=True, text=True, env=keyring).stdout
    assert 'VALIDSIG ' + fingerprint in signature
    settings = (repo / (NAME + '.repo')).read_text().splitlines()
    assert 'baseurl=https://example.org/el9' in settings
    assert 'gpgkey=file:///etc/pki/rpm-gpg/RPM-GPG-KEY-' + NAME in settings


def test_key_that_is_not_there_is_named(built: Build, keyring: dict[str, str],
                                        tmp_path: pathlib.Path) -> None:
    process = subprocess.run(
        ['make', '--assume-old=rpm', 'repo', 'abs_builddir=%s' % tmp_path,
         'GPG_KEY=nobody@example.org'], cwd=built.source, env=keyring,
        capture_output=True, text=True)
    assert process.returncode != 0
    assert 'no secret key "nobody@example.org"' in process.stderr
    assert not (tmp_path / 'repo').exists()
