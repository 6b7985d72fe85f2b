# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""
A policy for a whole cluster: what stops the playbook, and what it leaves
behind then. A program in PATH stands for vdsm-tlsciphers; tests/libvirt has
the real one, with VMs that move.
"""

from __future__ import annotations

import json
import os
import pathlib
from typing import Any

import pytest

from controller import Controller, Outcome
from engine import Engine, FaultError, Item

# Writes down how it is run, and answers with the files of its host.
COMMAND = """#!/bin/sh
cd "$(dirname "$0")" || exit 2
echo "$*" >>"$TLSCIPHERS_HOST.calls"
case $* in
incoming\\ --test) echo ok; echo "not enabled: run it"; exit 1 ;;
incoming*) echo enabled ;;
apply*) cat apply.json; ! grep -q '"refused"' apply.json ;;
status*) cat "$TLSCIPHERS_HOST.json" ;;
esac
"""


class Cluster:
    """Two hosts with VMs, as the command (in folder) and the engine know."""

    def __init__(self, folder: pathlib.Path, engine: Engine) -> None:
        self.folder = folder
        cluster = engine.add_cluster('Default')
        self.hosts = [engine.add_host('host%d' % number, cluster)
                      for number in (1, 2)]
        self.vms = [engine.run_vm('web1', self.hosts[0], {})]
        self.applied('web1', 'applied')
        self.say('host1', 'web1', 'live')
        self.say('host2')

    def applied(self, name: str, outcome: str, **more: str) -> None:
        (self.folder / 'apply.json').write_text(json.dumps({'vms': [{
            'vm': name, 'outcome': outcome, 'problem': None, 'code': None,
            'remedy': None, **more}]}))

    def say(self, host: str, name: str = '', statement: str = '',
            mark: str = '', difference: str = '') -> None:
        (self.folder / (host + '.json')).write_text(json.dumps({'vms': [{
            'vm': name, 'statement': statement, 'displays': [{}],
            'marks': [{'state': mark}] if mark else [],
            'differences': [{'difference': difference}] if difference else [],
            }] if name else []}))

    def move(self, host: Item) -> bool:
        self.say('host1')
        self.say('host2', 'web1', 'effective')
        return True

    def calls(self, host: str) -> list[str]:
        return (self.folder / (host + '.calls')).read_text().splitlines()


@pytest.fixture
def cluster(controller: Controller, engine: Engine,
            tmp_path: pathlib.Path) -> Cluster:
    folder = tmp_path / 'bin'
    folder.mkdir()
    command = folder / 'vdsm-tlsciphers'
    command.write_text(COMMAND)
    command.chmod(0o755)
    controller.environment['PATH'] = '%s:%s' % (folder, os.environ['PATH'])
    for number in 1, 2:
        python = folder / ('python%d' % number)
        python.write_text('#!/bin/sh\nTLSCIPHERS_HOST=host%d '
                          'exec /usr/bin/python3 "$@"\n' % number)
        python.chmod(0o755)
        controller.hosts.setdefault('ovirt_hosts', {})['host%d' % number] = {
            'ansible_connection': 'local',
            'ansible_python_interpreter': str(python)}
    cluster = Cluster(folder, engine)
    engine.on_maintenance = cluster.move
    return cluster


def play(controller: Controller, *options: str, **keywords: Any) -> Outcome:
    return controller.play(
        'without_shutdown', *options, tlsciphers_install=False,
        tlsciphers_host_verify=False, tlsciphers_profile='modern',
        **keywords)


def words(outcome: Outcome) -> str:
    """What a play printed, whatever the width of its lines."""
    return ' '.join(outcome.text.split())


def changes(engine: Engine) -> list[str]:
    """Return what hosts went through (list of str)."""
    return [path.rpartition('/')[2] for _, path in engine.changes]


def test_host_is_in_maintenance_mode_once(
        controller: Controller, cluster: Cluster, engine: Engine) -> None:
    play(controller)
    assert changes(engine) == ['deactivate', 'activate']
    assert cluster.hosts[0]['status'] == 'up'
    assert 'apply --json --all --profile modern' in cluster.calls('host1')
    cluster.applied('web1', 'kept')
    engine.changes.clear()
    play(controller)
    assert engine.changes == []


def test_check_mode_says_what_it_would_do(
        controller: Controller, cluster: Cluster, engine: Engine) -> None:
    cluster.applied('web1', 'possible')
    cluster.say('host1', 'web1', 'none')
    outcome = play(controller, '--check')
    assert 'VMs that would get the policy: web1' in words(outcome)
    assert 'would go into maintenance mode' in words(outcome)
    assert outcome.changed['host1'] > 0
    assert engine.changes == []
    assert {call.partition(' ')[0] for call in cluster.calls('host1')
            if '--dry-run' not in call and '--test' not in call
            } <= {'status', '--version'}


def test_vm_that_is_refused_stops_it_before_any_change(
        controller: Controller, cluster: Cluster, engine: Engine) -> None:
    cluster.applied('web1', 'refused', problem='no TLS', remedy='enable it',
                    code='vnc-without-tls')
    outcome = play(controller, status=2)
    assert 'were refused: web1: no TLS; enable it' in words(outcome)
    assert all('--dry-run' in call for call in cluster.calls('host1')
               if call.startswith('apply'))
    assert engine.changes == []


@pytest.mark.parametrize('statement, mark', [
    ('live', 'lost'), ('different', 'waiting')])
def test_vm_that_has_lost_its_policy_stops_it(
        controller: Controller, cluster: Cluster, engine: Engine,
        statement: str, mark: str) -> None:
    cluster.say('host1', 'web1', statement, mark, 'lost; apply again')
    outcome = play(controller, status=2)
    assert 'lost or different: web1: lost; apply again' in words(outcome)
    assert engine.changes == []


def test_policy_that_is_lost_on_the_way_stops_it_before_the_next_host(
        controller: Controller, cluster: Cluster, engine: Engine) -> None:
    def move(host: Item) -> bool:
        cluster.say('host1')
        cluster.say('host2', 'web1', 'different', 'lost', 'lost; apply again')
        return True
    engine.on_maintenance = move
    outcome = play(controller, status=2)
    assert 'on host2 the policy of these VMs is lost' in words(outcome)
    assert changes(engine) == ['deactivate', 'activate']
    assert cluster.hosts[0]['status'] == 'up'


def test_pinned_vm_is_named_and_its_host_left_alone(
        controller: Controller, cluster: Cluster, engine: Engine) -> None:
    cluster.vms[0]['affinity'] = 'pinned'
    outcome = play(controller, status=2)
    assert 'cannot go into maintenance mode: web1;' in words(outcome)
    assert engine.changes == []


def test_host_that_the_engine_refuses_stays_up(
        controller: Controller, cluster: Cluster, engine: Engine) -> None:
    def refuse(host: Item) -> bool:
        raise FaultError('[Host has a VM of an image transfer]')
    engine.on_maintenance = refuse
    outcome = play(controller, status=2)
    assert 'these VMs are still there' in words(outcome)
    assert 'image transfer' in words(outcome)
    assert cluster.hosts[0]['status'] == 'up'


def test_host_whose_vm_does_not_leave_is_activated_again(
        controller: Controller, cluster: Cluster, engine: Engine) -> None:
    engine.on_maintenance = lambda host: False
    outcome = play(controller, status=2, tlsciphers_maintenance_timeout=1)
    assert 'still there without their whole policy: web1;' in words(outcome)
    assert changes(engine) == ['deactivate', 'activate']
    assert cluster.hosts[0]['status'] == 'up'


def test_host_in_maintenance_mode_is_left_so(
        controller: Controller, cluster: Cluster, engine: Engine) -> None:
    cluster.hosts[1]['status'] = 'maintenance'
    play(controller)
    assert cluster.hosts[1]['status'] == 'maintenance'
    assert changes(engine) == ['deactivate', 'activate']
