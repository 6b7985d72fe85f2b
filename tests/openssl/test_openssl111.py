# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""
Whether the stand-in for EL8's OpenSSL answers as the program does, and where
OpenSSL 1.1.1 differs from 3.0.
"""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Protocol

import pytest

import support
from standin import openssl111, openssl_cnf

CHAIN = ('openssl_conf = a\n[a]\nssl_conf = b\n[b]\nsystem_default = c\n'
         '[c]\n%s\n')
TLS13 = 'TLS_AES_256_GCM_SHA384'
GROUPS = ('s_client', '-no-CAfile', '-no-CApath', '-unix', '/nonexistent',
          '-groups')
COMMANDS = (
    ('ciphers',),
    ('ciphers', '-v', '--', 'ECDHE'),
    ('ciphers', '-s', '-tls1_2', '-ciphersuites', '', '--', 'HIGH:!aNULL'),
    ('ciphers', '-s', '--', 'AES256-GCM-SHA384:@SECLEVEL=5'),
    ('ciphers', '-s', '-tls1_3', '-ciphersuites', TLS13, 'ECDHE'),
    ('ciphers', '-ciphersuites', 'TLS_NONE', 'ECDHE'),
    ('ciphers', '--', 'NONE'),
    ('ciphers', '--', '-ALL'),
    ('ciphers', '-ALL'),
    ('ciphers', 'ECDHE', 'RSA'),
    (*GROUPS, 'P-256:X25519'),
    (*GROUPS, 'P-256:P-257'),
)


@pytest.fixture(scope='module')
def old(tmp_path_factory: pytest.TempPathFactory,
        certificate: pathlib.Path) -> pathlib.Path:
    """A folder with the stand-ins "openssl" and "qemu" of EL8."""
    libraries = openssl111.find_libraries()
    if not libraries:
        assert not support.IN_CI, 'psycopg2-binary is missing'
        pytest.skip('needs psycopg2-binary of tests/requirements.txt')
    return make_programs(tmp_path_factory.mktemp('old'), libraries,
                         certificate)


@pytest.fixture(scope='module')
def new(tmp_path_factory: pytest.TempPathFactory,
        certificate: pathlib.Path) -> pathlib.Path:
    """A folder with the same programs on the library of this machine."""
    return make_programs(tmp_path_factory.mktemp('new'), None, certificate)


def make_programs(folder: pathlib.Path, libraries: str | None,
                  certificate: pathlib.Path) -> pathlib.Path:
    openssl111.write_openssl(folder / 'openssl', libraries)
    openssl111.write_qemu(folder / 'qemu', libraries, certificate)
    return folder


def run(program: str | pathlib.Path, *arguments: str,
        **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([program, *arguments], capture_output=True,
                          text=True, env={'PATH': os.environ['PATH'],
                                          **environment})


def suites(program: str | pathlib.Path,
           configuration: pathlib.Path) -> list[str]:
    """Return the first suites (list) under a configuration."""
    answer = run(program, 'ciphers', OPENSSL_CONF=str(configuration))
    return answer.stdout.strip().split(':')


@pytest.fixture
def configure(tmp_path: pathlib.Path) -> Callable[[str], pathlib.Path]:
    """A function that writes a file with settings, and returns its path."""
    def configure(settings: str) -> pathlib.Path:
        path = tmp_path / 'openssl.cnf'
        path.write_text(CHAIN % settings)
        return path
    return configure


@pytest.mark.parametrize('command', COMMANDS, ids=' '.join)
def test_answers_as_the_program_of_the_same_version(
        new: pathlib.Path, command: tuple[str, ...]) -> None:
    real = run('openssl', *command)
    answer = run(new / 'openssl', *command)
    assert answer.returncode == real.returncode
    assert answer.stdout == real.stdout
    assert ('connect:errno=' in answer.stderr) == (
        'connect:errno=' in real.stderr)
    assert bool(answer.stderr) == bool(real.stderr)


@pytest.mark.parametrize('command', COMMANDS, ids=' '.join)
def test_old_version_agrees_on_what_is_known(old: pathlib.Path,
                                             command: tuple[str, ...]) -> None:
    real = run('openssl', *command)
    answer = run(old / 'openssl', *command)
    assert answer.returncode == real.returncode
    assert bool(answer.stdout) == bool(real.stdout)
    assert ('connect:errno=' in answer.stderr) == (
        'connect:errno=' in real.stderr)


def test_version(old: pathlib.Path) -> None:
    assert run(old / 'openssl', 'version').stdout.startswith('OpenSSL 1.1.1')


def test_configuration_of_the_environment_applies(
        old: pathlib.Path, new: pathlib.Path,
        configure: Callable[[str], pathlib.Path]) -> None:
    path = configure('Ciphersuites = %s\nCipherString = AES256-SHA' % TLS13)
    for program in old / 'openssl', new / 'openssl', 'openssl':
        assert suites(program, path) == [TLS13, 'AES256-SHA']


def test_unknown_suite_drops_the_old_version_s_whole_line(
        old: pathlib.Path, new: pathlib.Path,
        configure: Callable[[str], pathlib.Path]) -> None:
    path = configure('CipherString = AES256-SHA\n'
                     'Ciphersuites = %s:TLS_NONE' % TLS13)
    assert suites(new / 'openssl', path) == [TLS13, 'AES256-SHA']
    assert len(suites(old / 'openssl', path)) == 4


def test_mistake_in_the_section_stops_the_old_version(
        old: pathlib.Path, new: pathlib.Path,
        configure: Callable[[str], pathlib.Path]) -> None:
    for mistake in 'None = 1', 'Groups = ffdhe2048x', 'MinProtocol = TLSv9':
        path = configure('CipherString = AES256-SHA\n%s\nCiphersuites = %s'
                         % (mistake, TLS13))
        assert suites(new / 'openssl', path) == [TLS13, 'AES256-SHA']
        assert len(suites(old / 'openssl', path)) == 4


FAULT = """
import sys
sys.path.insert(0, sys.argv[1])
from vdsm_tlsciphers.host import openssl_conf
print(openssl_conf.fault({'protocols': 'TLSv1.2:TLSv1.3'})[1:])
"""


@pytest.mark.parametrize('before, line, number', [
    ('CipherString = AES256-SHA', 'TLS.MinProtocol = TLSv1.0', 8),
    ('MinProtocol = TLSv1.2', 'None = 1', 8),
    ('[d]\n.include %s\n[c]', 'Bogus = x', 3)])
def test_line_of_the_host_that_the_old_version_does_not_take_is_named(
        old: pathlib.Path, new: pathlib.Path, tmp_path: pathlib.Path,
        configure: Callable[[str], pathlib.Path], before: str, line: str,
        number: int) -> None:
    """As "doctor" names it, with the file that it stands in."""
    if '%s' in before:
        included = tmp_path / 'included.cnf'
        included.write_text('# Of the site\n[c]\n%s\n' % line)
        path = configure(before % included)
    else:
        included = path = configure('%s\n%s' % (before, line))
    for programs, expected in (
            (old, ('%s: line %d' % (included, number), line)),
            (new, (None, None))):
        installation = support.Installation(
            tmp_path / programs.name, sys.executable,
            openssl=programs / 'openssl', openssl_conf=path)
        process = subprocess.run(
            [sys.executable, '-c', FAULT, installation.module.parent],
            capture_output=True, text=True, check=True)
        assert process.stdout == '%s\n' % (expected,)


def test_include_that_is_missing_is_ignored(
        old: pathlib.Path, new: pathlib.Path,
        configure: Callable[[str], pathlib.Path]) -> None:
    path = configure('.include /nonexistent\nCiphersuites = %s\n'
                     'CipherString = AES256-SHA' % TLS13)
    for program in old / 'openssl', new / 'openssl':
        assert suites(program, path) == [TLS13, 'AES256-SHA']


def test_include_that_is_malformed_drops_everything(
        old: pathlib.Path, new: pathlib.Path,
        configure: Callable[[str], pathlib.Path],
        tmp_path: pathlib.Path) -> None:
    (tmp_path / 'malformed').write_text('no sign\n')
    path = configure('CipherString = AES256-SHA\n.include %s'
                     % (tmp_path / 'malformed'))
    for program in old / 'openssl', new / 'openssl':
        assert 'AES128-SHA' in suites(program, path)


class Start(Protocol):
    """Starts a QEMU and returns its port."""

    def __call__(self, program: pathlib.Path, *arguments: str,
                 configuration: str | pathlib.Path = ...) -> int: ...


@pytest.fixture
def start() -> Iterator[Start]:
    """A function that starts a QEMU and returns its port."""
    processes = []

    def start(program: pathlib.Path, *arguments: str,
              configuration: str | pathlib.Path = '/nonexistent') -> int:
        process = subprocess.Popen(
            [program, *arguments], stdout=subprocess.PIPE, text=True,
            env={'OPENSSL_CONF': str(configuration)})
        processes.append(process)
        assert process.stdout
        return int(process.stdout.readline())
    yield start
    for process in processes:
        process.kill()
        process.communicate()


def test_port_has_the_last_list_of_the_command_line(
        old: pathlib.Path, new: pathlib.Path, start: Start) -> None:
    for programs in old, new:
        port = start(programs / 'qemu', '-spice', 'tls-ciphers=AES128-SHA',
                     '-spice', 'tls-port=1,tls-ciphers=AES256-SHA')
        assert not support.accepts(port, 'AES128-SHA')
        assert support.accepts(port, 'AES256-SHA')
        assert support.handshake(port, 'TLSv1.3')


def test_port_does_not_come_up_without_a_known_suite(
        old: pathlib.Path, new: pathlib.Path) -> None:
    for programs in old, new:
        answer = run(programs / 'qemu', '-spice', 'tls-ciphers=NONE')
        assert answer.returncode == 1
        assert 'failed to initialize spice server' in answer.stderr


@pytest.mark.parametrize('policy, version', [
    (policy, version) for version in openssl_cnf.RELEASES
    for policy in openssl_cnf.POLICIES])
def test_port_obeys_the_policies(
        request: pytest.FixtureRequest, start: Start, tmp_path: pathlib.Path,
        policy: str, version: str) -> None:
    programs = request.getfixturevalue('old' if version == 'el8' else 'new')
    port = start(programs / 'qemu', configuration=(
        openssl_cnf.write_openssl_cnf(tmp_path, version, policy)))
    assert support.accepts(port, 'ECDHE-RSA-AES256-GCM-SHA384')
    assert support.accepts(port, 'AES128-GCM-SHA256') == (policy == 'DEFAULT')
    assert not support.handshake(port, 'TLSv1.1', '-cipher', 'ALL:@SECLEVEL=0')
    assert support.accepts(port, 'TLS_CHACHA20_POLY1305_SHA256', 'TLSv1.3'
                           ) == (policy != 'FIPS')
    assert support.accepts(port, 'TLS_AES_128_CCM_SHA256', 'TLSv1.3'
                           ) == (policy != 'FUTURE')


@pytest.mark.parametrize('name, tls12, tls13', [
    ('debian12', True, True), ('malformed', True, True),
    ('options', True, False), ('tls13', False, True),
    ('variables', False, True)])
def test_port_obeys_other_configurations(
        old: pathlib.Path, new: pathlib.Path, start: Start,
        tmp_path: pathlib.Path, name: str, tls12: bool, tls13: bool) -> None:
    path = openssl_cnf.write_openssl_cnf(tmp_path, name)
    for programs in old, new:
        port = start(programs / 'qemu', configuration=path)
        assert support.accepts(port, 'AES128-GCM-SHA256') == tls12
        assert support.handshake(port, 'TLSv1.3') == tls13
