# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""
What a SPICE port accepts on hosts with different configurations of OpenSSL,
with a policy and without. The wrapper starts a stand-in for QEMU, which has
the real library: that of this machine, or 1.1.1, as EL8 has it.
"""

from __future__ import annotations

import contextlib
import os
import pathlib
import subprocess
from collections.abc import Iterator
from typing import Protocol

import pytest

import support
from standin import openssl111, openssl_cnf

TLS12 = ('ECDHE-RSA-AES256-GCM-SHA384', 'ECDHE-RSA-AES128-SHA256',
         'ECDHE-RSA-AES128-SHA', 'AES256-GCM-SHA384', 'AES128-SHA')
GROUPS = ('X25519', 'P-256', 'P-384', 'P-521')
# The library of this machine, and where that is a newer one, 1.1.1 as well.
OLD, NEW = '1.1.1', '3 and later'
HERE = NEW if support.openssl_version() > (3,) else OLD
VERSIONS = [HERE] if support.IN_USERLAND else [NEW, OLD]
# A host's configuration, and the versions of OpenSSL that may meet it.
HOSTS = [host for host in [
    *((NEW, release, policy) for release in openssl_cnf.RELEASES
      for policy in openssl_cnf.POLICIES),
    *((OLD, 'el8', policy) for policy in openssl_cnf.POLICIES),
    *((version, name, None) for version in (NEW, OLD)
      for name in ('debian12', 'tls13', 'options', 'missing')
      # 1.1.1 has no providers.
      if (version, name) != (OLD, 'debian12'))] if host[0] in VERSIONS]


class Host:
    """
    The package on a host with a version of OpenSSL and a configuration.

    start(*SETTINGS) is a context manager that starts a VM with requirements
    for the wrapper and gives its port; without any, QEMU is started alone,
    and reads what OpenSSL reads by default.
    """

    def __init__(self, root: pathlib.Path, version: str,
                 certificate: pathlib.Path, conf: pathlib.Path) -> None:
        self.conf = conf
        libraries = None
        openssl = pathlib.Path('/usr/bin/openssl')
        root.mkdir()
        if version != HERE:
            libraries = openssl111.find_libraries()
            assert libraries, 'psycopg2-binary is missing'
            openssl = root / 'openssl'
            openssl111.write_openssl(openssl, libraries)
        self.openssl = openssl
        self.installation = support.Installation(
            root, support.find_python(support.available_pythons()[-1]),
            openssl=openssl, openssl_conf=conf)
        openssl111.write_qemu(self.installation.qemu_kvm, libraries,
                              certificate)

    def popen(self, *settings: str, option: str = '-vdsm-tls',
              environment: dict[str, str] | None = None,
              arrives: bool = False) -> subprocess.Popen[str]:
        """Start a VM (subprocess.Popen), or one that arrives here."""
        program = self.installation.start()
        environment = {'LC_ALL': 'C', **(environment or {})}
        if not settings:
            program = [str(self.installation.qemu_kvm)]
            # Where it is missing, the one that OpenSSL has by default counts.
            if self.conf.exists():
                environment['OPENSSL_CONF'] = str(self.conf)
        policy = [word for setting in settings for word in (option, setting)]
        return subprocess.Popen(
            [*program, '-spice', 'tls-port=5900', *policy,
             *['-incoming', 'defer'][:2 * arrives]], env=environment,
            text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    @contextlib.contextmanager
    def start(self, *settings: str, option: str = '-vdsm-tls',
              arrives: bool = False) -> Iterator[int]:
        with self.popen(*settings, option=option, arrives=arrives) as process:
            assert process.stdout
            assert process.stderr
            port = process.stdout.readline()
            try:
                assert port, process.stderr.read()
                yield int(port)
            finally:
                process.kill()

    def refusal(self, *settings: str, arrives: bool = False) -> str:
        process = self.popen(*settings, arrives=arrives)
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 1
        return errors.splitlines()[-1]


def versions(port: int) -> list[str]:
    return [version for version in support.TLS_VERSIONS
            if support.handshake(port, version, '-cipher', 'ALL:@SECLEVEL=0')]


def suites(port: int) -> list[str]:
    return [suite for suite in TLS12 if support.accepts(port, suite)] + [
        suite for suite in support.TLS13_SUITES
        if support.accepts(port, suite, 'TLSv1.3')]


def groups(port: int) -> list[str]:
    return [group for group in GROUPS if support.accepts_group(port, group)]


class MakeHost(Protocol):
    """Makes a Host from a name in tests/data/openssl."""

    def __call__(self, version: str, name: str,
                 policy: str | None = None) -> Host: ...


@pytest.fixture
def make_host(tmp_path: pathlib.Path, certificate: pathlib.Path) -> MakeHost:
    """A function that makes a Host from a name in tests/data/openssl."""
    def make_host(version: str, name: str, policy: str | None = None) -> Host:
        etc = tmp_path / 'etc'
        conf = etc / 'pki/tls/openssl.cnf'
        if name != 'missing':
            conf = openssl_cnf.write_openssl_cnf(etc, name, policy)
        return Host(tmp_path / 'root', version, certificate, conf)
    return make_host


@pytest.mark.parametrize('version, name, policy', HOSTS)
def test_what_the_policy_does_not_name_stays_as_the_host_has_it(
        make_host: MakeHost, version: str, name: str,
        policy: str | None) -> None:
    host = make_host(version, name, policy)
    with host.start() as port:
        own = versions(port), suites(port), groups(port)
    assert own[0]
    assert own[1]

    with host.start('ciphersuites=TLS_AES_256_GCM_SHA384') as port:
        assert versions(port) == own[0]
        assert suites(port) == [
            suite for suite in own[1] if not suite.startswith('TLS_')
        ] + (['TLS_AES_256_GCM_SHA384'] if 'TLSv1.3' in own[0] else [])

    with host.start('groups=P-384') as port:
        assert versions(port) == own[0]
        assert groups(port) == (['P-384'] if 'TLSv1.3' in own[0] else [])
        assert set(suites(port)) == set(own[1])

    for protocols, expected in (
            ('TLSv1.2', ['TLSv1.2']), ('TLSv1.3', ['TLSv1.3']),
            ('TLSv1.2:TLSv1.3', ['TLSv1.2', 'TLSv1.3'])):
        with host.start('protocols=' + protocols) as port:
            assert versions(port) == expected


@pytest.mark.parametrize('version, policy', [
    (version, policy) for version, policy in (
        (OLD, 'DEFAULT'), (NEW, 'DEFAULT'), (NEW, 'FUTURE'))
    if version in VERSIONS])
def test_policy_wins_over_what_the_host_says_of_the_same(
        make_host: MakeHost, version: str, policy: str) -> None:
    host = make_host(version, 'el8', policy)
    with host.start('ciphersuites=TLS_AES_128_CCM_SHA256:'
                    'TLS_AES_128_GCM_SHA256', 'groups=P-521',
                    'protocols=TLSv1.3') as port:
        assert versions(port) == ['TLSv1.3']
        assert suites(port) == ['TLS_AES_128_GCM_SHA256',
                                'TLS_AES_128_CCM_SHA256']
        assert groups(port) == ['P-521']


@pytest.mark.parametrize('version', VERSIONS)
@pytest.mark.parametrize('damage', ['malformed', 'unreadable', 'undefined',
                                    'included'])
def test_file_that_openssl_ignores_does_not_weaken_a_policy(
        make_host: MakeHost, version: str, damage: str) -> None:
    host = make_host(version, 'malformed' if damage == 'malformed' else 'el8',
                     None if damage == 'malformed' else 'DEFAULT')
    back_end = host.conf.parents[2] / (
        'crypto-policies/back-ends/opensslcnf.config')
    if damage == 'unreadable':
        host.conf.unlink()
        host.conf.mkdir()
    elif damage == 'undefined':
        host.conf.write_text(host.conf.read_text() + 'x = $undefined\n')
    elif damage == 'included':
        back_end.write_text('no equals sign\n')
    with host.start('protocols=TLSv1.2', 'groups=P-384',
                    'ciphersuites=TLS_AES_256_GCM_SHA384') as port:
        assert versions(port) == ['TLSv1.2']
    with host.start('ciphersuites=TLS_AES_256_GCM_SHA384') as port:
        assert [suite for suite in suites(port) if suite.startswith('TLS_')
                ] == ['TLS_AES_256_GCM_SHA384']


@pytest.mark.parametrize('name, note', [
    ('malformed', '[host-openssl-conf-malformed]'),
    ('unreadable', '[host-openssl-conf-unreadable]'), ('missing', '')])
def test_log_says_where_the_hosts_file_does_not_count(
        make_host: MakeHost, name: str, note: str) -> None:
    host = make_host(HERE, 'missing' if name == 'missing' else 'malformed')
    if name == 'unreadable':
        host.conf.unlink()
        host.conf.mkdir()
    with host.popen('protocols=TLSv1.2') as process:
        assert process.stdout
        assert process.stderr
        process.stdout.readline()
        process.kill()
        lines = process.stderr.read().splitlines()
    assert [note in line for line in lines if str(host.conf) in line] == (
        [True] if note else [])


@pytest.mark.parametrize('version', VERSIONS)
def test_mistake_in_the_hosts_section_stops_the_start_on_1_1_1(
        make_host: MakeHost, version: str) -> None:
    """Behind it that reads nothing, so nothing of ours; later ones go on."""
    host = make_host(version, 'el8', 'DEFAULT')
    back_end = host.conf.parents[2] / (
        'crypto-policies/back-ends/opensslcnf.config')
    back_end.write_text(back_end.read_text() + 'NoSuchCommand = 1\n')
    if version == NEW:
        with host.start('protocols=TLSv1.2') as port:
            assert versions(port) == ['TLSv1.2']
        return
    # Those that it has anyway: they would prove nothing.
    own = ('ciphersuites=TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256:'
           'TLS_AES_128_GCM_SHA256')
    for settings in (['protocols=TLSv1.2'], ['groups=P-384'],
                     [own, 'protocols=TLSv1.3']):
        line = host.refusal(*settings)
        assert '(NoSuchCommand = 1 in [crypto_policy])' in line
        assert str(host.conf) in line
    with host.start('protocols=TLSv1.2', option='-vdsm-tls-default') as port:
        assert 'TLSv1.3' in versions(port)


@pytest.mark.parametrize('text', [
    None, '\ufeffopenssl_conf = a\n', 'openssl_conf = "a"\n[a]\n',
    'openssl_conf = a\n[a]\nssl_conf.1 = b\n[b]\nsystem_default = c\n[c]\n'
    'MinProtocol = TLSv1.3\n', '.include $file\n', '.include relative.cnf\n'])
def test_file_that_cannot_be_followed_stops_the_start(
        make_host: MakeHost, text: str | None) -> None:
    """Our section in the wrong place would undo what the host forbids."""
    host = make_host(HERE, 'variables')
    if text:
        host.conf.write_text(text)
    line = host.refusal('protocols=TLSv1.2')
    assert str(host.conf) in line
    assert support.code_of(line.rstrip()) == 'host-openssl-conf'


@pytest.mark.parametrize('version', VERSIONS)
@pytest.mark.parametrize('text', [
    'openssl_conf = a\r\n[ a ] # comment\r\nssl_conf=b # comment\r\n'
    '[b]\r\nsystem_default=missing\r\n[c]\r\nMinProtocol = TLSv1.3\r\n'
    'b::system_default = c',
    'openssl_conf = x\nopenssl_conf = \\\na\n[a]\nssl_conf = b\n[c]\n'
    'MinProtocol = TLSv1.3\n[b]\nsystem_default = c\n[a]\n# [b]',
    '[default]\nopenssl_conf = a\n[a]\nssl_conf = b\n.include = %s/inc\n'
    'system_default = c\n[c]\nMinProtocol = TLSv1.3'])
def test_hosts_own_section_is_found(
        make_host: MakeHost, tmp_path: pathlib.Path, version: str,
        text: str) -> None:
    host = make_host(version, 'el8', 'DEFAULT')
    (tmp_path / 'inc').mkdir()
    (tmp_path / 'inc/1.cnf').write_text('[b]\n')
    for number in range(2, 20):
        (tmp_path / 'inc' / str(number)).write_text('[x]\n')
    host.conf.write_text(text.replace('%s', str(tmp_path)))
    with host.start() as port:
        assert versions(port) == ['TLSv1.3']
    with host.start('ciphersuites=TLS_AES_128_GCM_SHA256') as port:
        assert versions(port) == ['TLSv1.3']
        assert suites(port) == ['TLS_AES_128_GCM_SHA256']


@pytest.mark.parametrize('version', VERSIONS)
@pytest.mark.parametrize('setting, named', [
    ('ciphersuites=TLS_AES_256_GCM_SHA384:TLS_NOSUCH', ': TLS_NOSUCH: '),
    ('groups=X25519:P-257', 'groups: P-257: '),
    ('groups=P-256:prime256v1', '[group-twice]')])
def test_name_that_the_library_does_not_know_stops_the_start(
        make_host: MakeHost, version: str, setting: str, named: str) -> None:
    """QEMU would listen with all that the library has."""
    host = make_host(version, 'el8', 'DEFAULT')
    assert named in host.refusal(setting, 'protocols=TLSv1.3')
    # What is only a default is left out, the rest holds.
    command = host.installation.start(
        '-spice', 'tls-port=5900', '-vdsm-tls-default', setting, '-vdsm-tls',
        'protocols=TLSv1.3')
    with subprocess.Popen(command, env={'LC_ALL': 'C'}, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE
                          ) as process:
        assert process.stdout
        assert process.stderr
        try:
            assert versions(int(process.stdout.readline())) == ['TLSv1.3']
        finally:
            process.kill()
        assert ': host default ignored' in process.stderr.read()


@pytest.mark.parametrize('version', VERSIONS)
@pytest.mark.parametrize('given, left, code', [
    ('X25519:P-256:prime256v1', ['X25519', 'P-256'], 'group-twice'),
    ('X25519:-X25519', [], 'no-group')])
def test_what_openssl_takes_for_groups_opens_nothing_where_a_vm_arrives(
        make_host: MakeHost, version: str, given: str, left: list[str],
        code: str) -> None:
    """From 3.5 on; an older one would drop the whole list."""
    host = make_host(version, 'el8', 'DEFAULT')
    setting = 'groups=' + given
    assert support.code_of(host.refusal(setting)) == code
    if not support.takes_groups(given, host.openssl):
        assert support.code_of(host.refusal(setting, arrives=True)) == code
        return
    with host.start(setting, 'protocols=TLSv1.3', arrives=True) as port:
        assert groups(port) == left
        assert versions(port) == (['TLSv1.3'] if left else [])


@pytest.mark.parametrize('version', VERSIONS)
def test_suite_that_is_never_negotiated_opens_nothing_where_a_vm_arrives(
        make_host: MakeHost, version: str) -> None:
    """OpenSSL 3.5 has one, which it lists like any other."""
    suite = 'TLS_AES_128_CCM_8_SHA256'
    host = make_host(version, 'el8', 'DEFAULT')
    policy = 'protocols=TLSv1.3', 'ciphersuites=' + suite
    if suite not in subprocess.run(
            [host.openssl, 'ciphers', '-s', '-tls1_3', '-ciphersuites', suite],
            capture_output=True, text=True, check=True).stdout:
        assert support.code_of(host.refusal(*policy)) == (
            'suite-never-negotiated')
        with host.start(*policy, arrives=True) as port:
            assert suites(port) == []
        return
    with host.start(*policy) as port:
        assert suites(port) == [suite]


def test_list_counts_for_a_version_that_the_host_takes_away(
        make_host: MakeHost, tmp_path: pathlib.Path) -> None:
    """
    The policy brings it back. A stand-in for a host whose own file has
    "Protocol = -TLSv1.2".
    """
    host = make_host(HERE, 'el8', 'DEFAULT')
    strict = tmp_path / 'strict'
    strict.write_text('#!/bin/sh\n[ -n "$OPENSSL_CONF" ] || case "$*" in '
                      '*-tls1_2*) exit 1;; esac\nexec openssl "$@"\n')
    strict.chmod(0o755)
    qemu = host.installation.qemu_kvm.read_text()
    host.installation = support.Installation(
        tmp_path / 'strict root', host.installation.python, openssl=strict,
        openssl_conf=host.conf)
    host.installation.qemu_kvm.write_text(qemu)
    host.installation.qemu_kvm.chmod(0o755)
    for option in '-vdsm-tls', '-vdsm-tls-default':
        with host.start('ciphers=AES256-SHA', 'protocols=TLSv1.2',
                        option=option) as port:
            assert suites(port) == []
            assert support.accepts(port, 'AES256-SHA')


def test_openssl_conf_of_the_vm_is_replaced(make_host: MakeHost,
                                            tmp_path: pathlib.Path) -> None:
    other = tmp_path / 'other.cnf'
    other.write_text('openssl_conf = a\n[a]\nssl_conf = b\n[b]\n'
                     'system_default = c\n[c]\nMaxProtocol = TLSv1.2\n')
    host = make_host(HERE, 'el8', 'DEFAULT')
    with host.popen('ciphersuites=TLS_AES_256_GCM_SHA384',
                    environment={'OPENSSL_CONF': str(other)}) as process:
        assert process.stdout
        assert process.stderr
        try:
            assert 'TLSv1.3' in versions(int(process.stdout.readline()))
        finally:
            process.kill()
        process.stderr.readline()
        line = process.stderr.readline()
        # The path may be too long for a line.
        assert 'OPENSSL_CONF=%s' % str(other)[:100] in line
        assert line.endswith(' [openssl-conf-replaced]\n')


def test_openssl_without_such_a_configuration_is_named(
        tmp_path: pathlib.Path, make_host: MakeHost) -> None:
    """A stand-in for OpenSSL 1.0.2, which is not here."""
    host = make_host(HERE, 'el8', 'DEFAULT')
    old = tmp_path / 'old'
    old.write_text('#!/bin/sh\n[ "$1" = version ] && '
                   'echo "OpenSSL 1.0.2k-fips" && exit\n'
                   'echo ECDHE-RSA-AES128-SHA\n')
    old.chmod(0o755)
    host.installation = support.Installation(
        tmp_path / 'old root', host.installation.python, openssl=old)
    host.installation.qemu_kvm.symlink_to('/bin/true')
    for setting in ('protocols=TLSv1.2', 'groups=P-256',
                    'ciphersuites=TLS_AES_256_GCM_SHA384'):
        assert 'OpenSSL 1.0.2k-fips is older than 1.1.1' in host.refusal(
            setting)
        process = host.popen(setting, option='-vdsm-tls-default')
        assert ': host default ignored' in process.communicate()[1]
        assert process.returncode == 0


def test_nothing_is_left_on_disk_and_the_file_can_be_read_later(
        make_host: MakeHost) -> None:
    host = make_host(HERE, 'el8', 'DEFAULT')
    with host.popen('protocols=TLSv1.2') as process:
        assert process.stdout
        try:
            process.stdout.readline()
            with open('/proc/%d/environ' % process.pid) as environ:
                path, = (line.partition('=')[2]
                         for line in environ.read().split('\0')
                         if line.startswith('OPENSSL_CONF='))
            path = path.replace('self', str(process.pid))
            assert os.stat(path).st_nlink == 0
            with open(path) as file:
                text = file.read()
            # Nothing but the policy is added to what the host has.
            assert text.endswith(
                '\n[crypto_policy]\nProtocol = ALL\n'
                'MinProtocol = TLSv1.2\nMaxProtocol = TLSv1.2\n')
            assert '\nCiphersuites = TLS_AES_256_GCM_SHA384:' in text
        finally:
            process.kill()
