# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""
Where OpenSSL 1.1.1 differs from later versions, and whether the stand-in for
it answers as the program does. In a userland the programs are its own.
"""

from __future__ import annotations

import os
import pathlib
import subprocess
from collections.abc import Callable, Iterator
from typing import NamedTuple, Protocol

import pytest
from test_configuration import HERE, NEW, OLD, VERSIONS

import support
from standin import openssl111, openssl_cnf

CHAIN = ('openssl_conf = a\n[a]\nssl_conf = b\n[b]\nsystem_default = c\n'
         '[c]\n%s\n')
TLS13 = 'TLS_AES_256_GCM_SHA384'
GROUPS = ('s_client', '-no-CAfile', '-no-CApath', '-unix', '/nonexistent',
          '-groups')
# What every version answers: the exit status, whether there is output, and
# whether it goes on to connect.
COMMANDS = {
    ('ciphers',): (0, True, False),
    ('ciphers', '-v', '--', 'ECDHE'): (0, True, False),
    ('ciphers', '-s', '-tls1_2', '-ciphersuites', '', '--', 'HIGH:!aNULL'):
        (0, True, False),
    ('ciphers', '-s', '--', 'AES256-GCM-SHA384:@SECLEVEL=5'):
        (0, True, False),
    ('ciphers', '-s', '-tls1_3', '-ciphersuites', TLS13, 'ECDHE'):
        (0, True, False),
    ('ciphers', '-ciphersuites', 'TLS_NONE', 'ECDHE'): (1, False, False),
    ('ciphers', '--', 'NONE'): (1, False, False),
    ('ciphers', '--', '-ALL'): (1, False, False),
    ('ciphers', '-ALL'): (1, False, False),
    ('ciphers', 'ECDHE', 'RSA'): (1, False, False),
    (*GROUPS, 'P-256:X25519'): (1, False, True),
    (*GROUPS, 'P-256:P-257'): (1, False, False),
}


class Programs(NamedTuple):
    """Programs with an OpenSSL: version is OLD or NEW, qemu stands for one."""

    version: str
    openssl: pathlib.Path
    qemu: pathlib.Path


def make_programs(version: str, folder: pathlib.Path,
                  certificate: pathlib.Path) -> Programs:
    libraries = None
    openssl = pathlib.Path('/usr/bin/openssl')
    if version != HERE:
        libraries = openssl111.find_libraries()
        if not libraries:
            assert not support.IN_CI, 'psycopg2-binary is missing'
            pytest.skip('needs psycopg2-binary of tests/requirements.txt')
        openssl = folder / 'openssl'
        openssl111.write_openssl(openssl, libraries)
    openssl111.write_qemu(folder / 'qemu', libraries, certificate)
    return Programs(version, openssl, folder / 'qemu')


@pytest.fixture(scope='module', params=VERSIONS)
def programs(request: pytest.FixtureRequest,
             tmp_path_factory: pytest.TempPathFactory,
             certificate: pathlib.Path) -> Programs:
    """Those of each version that is there."""
    return make_programs(request.param, tmp_path_factory.mktemp('programs'),
                         certificate)


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
def test_stand_in_answers_as_the_program_of_the_same_version(
        tmp_path: pathlib.Path, command: tuple[str, ...]) -> None:
    openssl111.write_openssl(tmp_path / 'openssl', None)
    real = run('openssl', *command)
    answer = run(tmp_path / 'openssl', *command)
    assert answer.returncode == real.returncode
    assert answer.stdout == real.stdout
    assert ('connect:errno=' in answer.stderr) == (
        'connect:errno=' in real.stderr)
    assert bool(answer.stderr) == bool(real.stderr)


@pytest.mark.parametrize('command', COMMANDS, ids=' '.join)
def test_versions_agree_on_what_is_known(programs: Programs,
                                         command: tuple[str, ...]) -> None:
    answer = run(programs.openssl, *command)
    assert (answer.returncode, bool(answer.stdout),
            'connect:errno=' in answer.stderr) == COMMANDS[command]


def test_version(programs: Programs) -> None:
    answer = run(programs.openssl, 'version').stdout
    assert answer.startswith('OpenSSL ')
    assert answer.startswith('OpenSSL 1.1.1') == (programs.version == OLD)


def test_configuration_of_the_environment_applies(
        programs: Programs, configure: Callable[[str], pathlib.Path]) -> None:
    path = configure('Ciphersuites = %s\nCipherString = AES256-SHA' % TLS13)
    assert suites(programs.openssl, path) == [TLS13, 'AES256-SHA']


def test_unknown_suite_drops_the_old_version_s_whole_line(
        programs: Programs, configure: Callable[[str], pathlib.Path]) -> None:
    path = configure('CipherString = AES256-SHA\n'
                     'Ciphersuites = %s:TLS_NONE' % TLS13)
    found = suites(programs.openssl, path)
    if programs.version == OLD:
        assert len(found) == 4
    else:
        assert found == [TLS13, 'AES256-SHA']


@pytest.mark.parametrize('mistake', ['None = 1', 'Groups = ffdhe2048x',
                                     'MinProtocol = TLSv9'])
def test_mistake_in_the_section_stops_the_old_version(
        programs: Programs, configure: Callable[[str], pathlib.Path],
        mistake: str) -> None:
    path = configure('CipherString = AES256-SHA\n%s\nCiphersuites = %s'
                     % (mistake, TLS13))
    found = suites(programs.openssl, path)
    if programs.version == OLD:
        assert len(found) == 4
    else:
        assert found == [TLS13, 'AES256-SHA']


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
        programs: Programs, tmp_path: pathlib.Path,
        configure: Callable[[str], pathlib.Path], before: str, line: str,
        number: int) -> None:
    """As "doctor" names it, with the file that it stands in."""
    if '%s' in before:
        included = tmp_path / 'included.cnf'
        included.write_text('# Of the site\n[c]\n%s\n' % line)
        path = configure(before % included)
    else:
        included = path = configure('%s\n%s' % (before, line))
    python = support.find_python(support.available_pythons()[-1])
    installation = support.Installation(
        tmp_path / 'root', python, openssl=programs.openssl,
        openssl_conf=path)
    process = subprocess.run(
        [python, '-c', FAULT, installation.module.parent],
        stdout=subprocess.PIPE, text=True, check=True)
    assert process.stdout == '%s\n' % ((
        ('%s: line %d' % (included, number), line)
        if programs.version == OLD else (None, None)),)


def test_include_that_is_missing_is_ignored(
        programs: Programs, configure: Callable[[str], pathlib.Path]) -> None:
    path = configure('.include /nonexistent\nCiphersuites = %s\n'
                     'CipherString = AES256-SHA' % TLS13)
    assert suites(programs.openssl, path) == [TLS13, 'AES256-SHA']


def test_include_that_is_malformed_drops_everything(
        programs: Programs, configure: Callable[[str], pathlib.Path],
        tmp_path: pathlib.Path) -> None:
    (tmp_path / 'malformed').write_text('no sign\n')
    path = configure('CipherString = AES256-SHA\n.include %s'
                     % (tmp_path / 'malformed'))
    assert 'AES128-SHA' in suites(programs.openssl, path)


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
        programs: Programs, start: Start) -> None:
    port = start(programs.qemu, '-spice', 'tls-ciphers=AES128-SHA',
                 '-spice', 'tls-port=1,tls-ciphers=AES256-SHA')
    assert not support.accepts(port, 'AES128-SHA')
    assert support.accepts(port, 'AES256-SHA')
    assert support.handshake(port, 'TLSv1.3')


def test_port_does_not_come_up_without_a_known_suite(
        programs: Programs) -> None:
    answer = run(programs.qemu, '-spice', 'tls-ciphers=NONE')
    assert answer.returncode == 1
    assert 'failed to initialize spice server' in answer.stderr


@pytest.mark.parametrize('programs, release', [
    (version, release) for version, release in (
        (OLD, 'el8'), (NEW, 'el9'), (NEW, 'el10')) if version in VERSIONS],
    indirect=['programs'])
@pytest.mark.parametrize('policy', openssl_cnf.POLICIES)
def test_port_obeys_the_policies(
        programs: Programs, start: Start, tmp_path: pathlib.Path,
        policy: str, release: str) -> None:
    port = start(programs.qemu, configuration=(
        openssl_cnf.write_openssl_cnf(tmp_path, release, policy)))
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
        programs: Programs, start: Start, tmp_path: pathlib.Path, name: str,
        tls12: bool, tls13: bool) -> None:
    port = start(programs.qemu, configuration=openssl_cnf.write_openssl_cnf(
        tmp_path, name))
    assert support.accepts(port, 'AES128-GCM-SHA256') == tls12
    assert support.handshake(port, 'TLSv1.3') == tls13
