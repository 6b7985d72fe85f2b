# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""The role, on hosts that dnf installs the signed RPM on."""

import pathlib
from collections.abc import Callable
from typing import Any

import pytest

import builds
from controller import Controller, Outcome
from engine import Engine
from roots import Root

RollOut = Callable[..., Outcome]
NAME = 'vdsm-hook-tlsciphers'
DEFAULT = '/etc/vdsm/tlsciphers.conf'
HOST_DEFAULT = {'default': {'tlsprofile': 'site-2026'},
                'profile site-2026': {'tlsprotocols': 'TLSv1.3'}}


@pytest.fixture
def roll_out(controller: Controller, built: builds.Build) -> RollOut:
    """A function that rolls out from the repository."""
    def roll_out(*options: str, **keywords: Any) -> Outcome:
        repository = built.source / 'repo'
        variables = {
            'tlsciphers_host_repository': repository.as_uri(),
            'tlsciphers_host_gpg_key': str(repository / (
                'RPM-GPG-KEY-' + NAME)),
            'tlsciphers_host_default': HOST_DEFAULT, **keywords}
        if variables['tlsciphers_host_default'] is None:
            del variables['tlsciphers_host_default']
        return controller.play('roll_out', *options, **variables)
    return roll_out


def installed(root: Root) -> bool:
    return root.run('rpm', '--query', NAME, check=False).returncode == 0


def read(root: Root, path: str) -> str:
    return root.run('cat', path).stdout


def left(root: Root) -> list[str]:
    """Return the files (list of str) that a roll-out leaves on a host."""
    return root.run(
        'find', '/etc', '/usr/libexec', '/usr/bin', '/usr/share', '-newer',
        '/etc/rpm/macros', '(', '-name', '*tlsciphers*', '-o', '-name',
        '*qemu-kvm-modified', '-o', '-name', '50_emulator', ')'
        ).stdout.split()


def test_roll_out(hosts: tuple[Root, Root], roll_out: RollOut,
                  controller: Controller) -> None:
    """From nothing to all hosts and back again, each step twice."""
    outcome = roll_out('--check')
    assert outcome.changed['host1'] > 0
    assert not any(map(installed, hosts))
    assert left(hosts[0]) == left(hosts[1]) == []

    outcome = roll_out()
    assert outcome.text.index('host1') < outcome.text.index('host2')
    for host in hosts:
        assert installed(host)
        assert read(host, DEFAULT).endswith(
            '\n[default]\ntlsprofile = site-2026\n'
            '\n[profile site-2026]\ntlsprotocols = TLSv1.3\n')
        assert host.run('stat', '-c', '%U %a', DEFAULT).stdout == 'root 644\n'
        assert host.run('rpm', '--verify', NAME).stdout == ''

    assert roll_out().changed == {'host1': 0, 'host2': 0}

    # A host where libvirt does not tell which VMs run there is left alone.
    outcome = controller.play('roll_back', status=2)
    assert outcome.failed == {'host1': 1}
    assert all(map(installed, hosts))

    controller.play('roll_back', tlsciphers_host_remove_anyway=True)
    assert not any(map(installed, hosts))
    assert left(hosts[0]) == left(hosts[1]) == []
    assert controller.play('roll_back').changed == {'host1': 0, 'host2': 0}


def words(outcome: Outcome) -> str:
    """What a play printed, whatever the width of its lines."""
    return ' '.join(outcome.text.split())


def test_default_with_a_mistake_never_takes_effect(
        hosts: tuple[Root, Root], roll_out: RollOut, soak: bool) -> None:
    host = hosts[0]
    roll_out('--limit', 'host1')
    before = read(host, DEFAULT)
    for default, line in [
            ({'default': {'tlsciphers': 'AES256-SHA,x'}}, 'a comma'),
            ({'profile x': {'tlsprotocols': 'TLSv1.1'}}, 'TLSv1.1'),
            ({'defaults': {'tlsprofile': 'modern'}}, 'no such section')
            ][:None if soak else 1]:
        outcome = roll_out('--limit', 'host1', status=2,
                           tlsciphers_host_default=default)
        assert DEFAULT + ': line ' in outcome.text
        assert line in outcome.text
        assert 'Traceback' not in outcome.text
        assert read(host, DEFAULT) == before
    # Without one the file is left alone, and with an empty one removed.
    outcome = roll_out('--limit', 'host1', tlsciphers_host_default=None)
    assert outcome.changed == {'host1': 0}
    roll_out('--limit', 'host1', tlsciphers_host_default={})
    assert host.run('test', '-e', DEFAULT, check=False).returncode == 1


@pytest.mark.soak
def test_host_that_cannot_enforce_ends_the_roll_out(hosts: tuple[Root, Root],
                                                    roll_out: RollOut) -> None:
    hosts[0].run('rm', '/usr/libexec/qemu-kvm')
    outcome = roll_out(status=2)
    assert '/usr/libexec/qemu-kvm cannot be run' in outcome.text
    assert 'host1 cannot enforce policies' in words(outcome)
    assert not installed(hosts[1])
    outcome = roll_out('--limit', 'host1', tlsciphers_host_verify=False)
    assert '/usr/libexec/qemu-kvm cannot be run' in outcome.text


@pytest.mark.soak
def test_what_is_not_signed_is_not_installed(
        hosts: tuple[Root, Root], roll_out: RollOut, built: builds.Build,
        tmp_path: pathlib.Path) -> None:
    """The key vouches for the packages, not who serves them."""
    another = tmp_path / 'key'
    built.run('build-aux/make-repo', str(tmp_path / 'repo'), '', '',
              *map(str, built.source.glob('rpmbuild/RPMS/noarch/*.rpm')))
    key, = (tmp_path / 'repo').glob('RPM-GPG-KEY-*')
    key.rename(another)
    roll_out('--limit', 'host1', status=2,
             tlsciphers_host_gpg_key=str(another))
    assert not installed(hosts[0])
    outcome = roll_out('--limit', 'host1', status=2,
                       tlsciphers_host_gpg_key='')
    assert 'without tlsciphers_host_gpg_key' in outcome.text


def test_release_without_the_command_is_refused(hosts: tuple[Root, Root],
                                                roll_out: RollOut) -> None:
    hosts[0].write('/etc/redhat-release', 'CentOS Linux release 7.9 (Core)\n')
    hosts[0].write('/etc/os-release', 'ID="centos"\nVERSION_ID="7"\n')
    outcome = roll_out(status=2)
    assert 'host1 is EL7; this role is for EL8 and later' in words(outcome)
    assert not any(map(installed, hosts))


def test_host_that_changes_is_in_maintenance_mode_meanwhile(
        hosts: tuple[Root, Root], roll_out: RollOut, engine: Engine,
        controller: Controller) -> None:
    cluster = engine.add_cluster('Default')
    first = engine.add_host('host1', cluster)
    second = engine.add_host('host2', cluster)
    second['status'] = 'maintenance'
    roll_out('--check')
    assert engine.changes == []
    roll_out()
    path = 'hosts/' + first['id']
    assert engine.changes == [('POST', path + '/deactivate'),
                              ('POST', path + '/activate')]
    assert first['status'] == 'up'
    # It was its administrator who took that one out.
    assert second['status'] == 'maintenance'
    assert all(map(installed, hosts))
    engine.changes.clear()
    assert roll_out().changed == {'host1': 0, 'host2': 0}
    assert engine.changes == []


def test_host_that_fails_stays_in_maintenance_mode(
        hosts: tuple[Root, Root], roll_out: RollOut, engine: Engine) -> None:
    cluster = engine.add_cluster('Default')
    engine.add_host('host1', cluster)
    engine.add_host('host2', cluster)
    hosts[0].run('rm', '/usr/libexec/qemu-kvm')
    roll_out(status=2)
    assert [host['status'] for host in engine.hosts] == ['maintenance', 'up']
    assert not installed(hosts[1])


def test_host_that_the_engine_does_not_know_is_named(
        hosts: tuple[Root, Root], roll_out: RollOut, engine: Engine) -> None:
    outcome = roll_out(status=2)
    assert 'set tlsciphers_engine_name' in words(outcome)
    assert not any(map(installed, hosts))
