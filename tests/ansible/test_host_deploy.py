# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""
The tasks for the engine's own Ansible. What stands for the engine is a play
with the few lines that include its administrator's tasks; Ansible, dnf, the
signed RPM and its repository are real.
"""

import json
import pathlib
import shutil
from collections.abc import Callable
from typing import Any

import pytest

import builds
import support
from controller import Controller, Outcome
from roots import Root

Deploy = Callable[..., Outcome]
NAME = 'vdsm-hook-tlsciphers'
# As in ovirt-host-deploy.yml of ovirt-engine: the file is looked for on the
# engine's machine, and its tasks are those of the host.
ENGINE = """
- hosts: all
  remote_user: root
  tasks:
    - stat:
        path: "{{ host_deploy_post_tasks }}"
      delegate_to: localhost
      register: post_tasks
    - include_tasks: "{{ host_deploy_post_tasks }}"
      when: post_tasks.stat.exists
    - debug:
        msg: the host goes into service
"""


@pytest.fixture
def repository(built: builds.Build) -> dict[str, str]:
    """The variables that name the signed repository."""
    folder = built.source / 'repo'
    return {'tlsciphers_host_repository': folder.as_uri(),
            'tlsciphers_host_gpg_key': str(folder / ('RPM-GPG-KEY-' + NAME))}


@pytest.fixture
def deploy(hosts: tuple[Root, Root], controller: Controller) -> Deploy:
    """A function that adds host1 to the engine, with variables of ours."""
    folder = controller.folder / 'etc/ovirt-engine/ansible'
    folder.mkdir(parents=True)
    ours = folder / (NAME + '.yml')
    shutil.copy(support.SOURCE / 'ansible/playbooks/tasks/host_deploy.yml',
                ours)
    play = controller.folder / 'ovirt-host-deploy.yml'
    play.write_text(ENGINE)
    post_tasks = folder / 'ovirt-host-deploy-post-tasks.yml'

    def deploy(status: int = 0, **variables: Any) -> Outcome:
        post_tasks.write_text(json.dumps([{
            'name': 'Install ' + NAME, 'include_tasks': str(ours),
            'vars': variables}]))
        outcome = controller.play(play, '--limit', 'host1', status=status,
                                  host_deploy_post_tasks=str(post_tasks))
        assert ('the host goes into service' in outcome.text) == (status == 0)
        return outcome
    return deploy


def installed(root: Root) -> bool:
    return root.run('rpm', '--query', NAME, check=False).returncode == 0


def words(outcome: Outcome) -> str:
    """What a play printed, whatever the width of its lines."""
    return ' '.join(outcome.text.split())


def test_only_a_host_with_the_package_goes_into_service(
        hosts: tuple[Root, Root], deploy: Deploy, repository: dict[str, str],
        tmp_path: pathlib.Path) -> None:
    host = hosts[0]
    # No repository of the host has it.
    assert NAME in words(deploy(status=2))
    # A version that refuses VMs with the guard.
    spec = tmp_path / 'older.rpmspec'
    spec.write_text('Name: %s\nVersion: 0.3.0\nRelease: 1\nSummary: old\n'
                    'License: x\nBuildArch: noarch\n%%description\n'
                    '%%files\n' % NAME)
    host.dnf('install', builds.rpm(spec, tmp_path / 'older'))
    outcome = deploy(status=2, **repository)
    assert 'host1 has %s 0.3.0, and 0.4.0 or later' % NAME in words(outcome)
    host.dnf('remove', NAME)
    # It could not enforce a policy.
    host.run('mv', '/usr/libexec/qemu-kvm', '/usr/libexec/away')
    outcome = deploy(status=2, **repository)
    assert '/usr/libexec/qemu-kvm cannot be run' in outcome.text
    # It is reinstalled, and later repaired: the package is there already.
    for variables in {'tlsciphers_host_verify': False}, {}:
        outcome = deploy(**repository, **variables)
        assert outcome.changed == {'host1': 0}
        host.run('cp', '-a', '/usr/libexec/away', '/usr/libexec/qemu-kvm')
    assert host.run('rpm', '--verify', NAME).stdout == ''


def test_package_is_installed_only_where_a_key_vouches_for_it(
        hosts: tuple[Root, Root], deploy: Deploy, built: builds.Build,
        repository: dict[str, str]) -> None:
    key = repository.pop('tlsciphers_host_gpg_key')
    outcome = deploy(status=2, **repository)
    assert 'without tlsciphers_host_gpg_key' in words(outcome)
    # An RPM instead of a repository.
    rpm, = (built.source / 'repo').glob('*.rpm')
    deploy(status=2, tlsciphers_host_package=str(rpm))
    assert not installed(hosts[0])
    deploy(tlsciphers_host_package=str(rpm), tlsciphers_host_gpg_key=key)
    assert installed(hosts[0])
