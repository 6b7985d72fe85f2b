# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""The definitions of the properties, set with engine-config."""

import json
import pathlib
import re

import pytest

import support
from controller import Controller

README = (support.SOURCE / 'README.md').read_text()
OURS, = re.findall("UserDefinedVMProperties='(.*)' --cver", README)
OTHERS = 'macspoof=(true|false);qemu_cmdline=^.*$'
CONFIG = pathlib.Path(__file__).with_name('engine_config.py')


class EngineMachine:
    """
    Where the engine runs: engine-config, with the values that it has, and a
    systemctl that writes down what it is asked for.
    """

    def __init__(self, folder: pathlib.Path) -> None:
        self.folder = folder
        self._write('engine-config', CONFIG.read_text())
        # What Ansible's module looks at before it restarts something.
        self._write('systemctl', '#!/bin/sh\necho "$@" >>"$0.log"\n'
                    'echo LoadState=loaded\necho ActiveState=active\n')
        self.set({'4.6': '', '4.7': OTHERS})

    def _write(self, name: str, text: str) -> None:
        (self.folder / name).write_text(text)
        (self.folder / name).chmod(0o755)

    def set(self, values: dict[str, str]) -> None:
        (self.folder / 'engine-config.json').write_text(json.dumps(values))

    def get(self) -> dict[str, str]:
        values: dict[str, str] = json.loads(
            (self.folder / 'engine-config.json').read_text())
        return values

    def restarts(self) -> int:
        log = self.folder / 'systemctl.log'
        return log.read_text().count('restart ovirt-engine') if (
            log.exists()) else 0


@pytest.fixture
def machine(controller: Controller, newest_installation: support.Installation,
            tmp_path: pathlib.Path) -> EngineMachine:
    folder = tmp_path / 'engine'
    folder.mkdir()
    (folder / 'vdsm-tlsciphers').symlink_to(newest_installation.command)
    here = {'ansible_connection': 'local',
            'ansible_python_interpreter': '/usr/bin/python3'}
    controller.hosts = {'ovirt_hosts': {'host1': here},
                        'ovirt_engine': {'engine': here}}
    controller.environment['PATH'] = '%s:%s' % (
        folder, controller.environment['PATH'])
    return EngineMachine(folder)


def test_properties_are_defined_for_each_level_beside_those_of_others(
        controller: Controller, machine: EngineMachine) -> None:
    machine.set({'4.6': '', '4.7': OTHERS, '4.8': OTHERS + ';' + OURS})
    outcome = controller.play('engine_properties', '--check')
    assert outcome.changed['engine'] > 0
    assert machine.get()['4.6'] == ''
    assert machine.restarts() == 0
    controller.play('engine_properties')
    assert machine.get() == {'4.6': OURS, '4.7': OTHERS + ';' + OURS,
                             '4.8': OTHERS + ';' + OURS}
    assert machine.restarts() == 1
    # Nothing is left to do, and the engine is not restarted.
    assert controller.play('engine_properties').changed == {'engine': 0}
    assert machine.restarts() == 1


@pytest.mark.soak
def test_definition_of_an_older_version_is_replaced(
        controller: Controller, machine: EngineMachine) -> None:
    """engine-config -m would leave both there."""
    machine.set({'4.7': 'tlsciphers=^[A-Z:]+$;' + OTHERS})
    controller.play('engine_properties')
    assert machine.get() == {'4.7': OTHERS + ';' + OURS}


@pytest.mark.soak
def test_definition_that_stands_twice_is_mended(
        controller: Controller, machine: EngineMachine) -> None:
    machine.set({'4.7': 'tlsciphers=^[A-Z:]+$;%s;%s' % (OTHERS, OURS)})
    controller.play('engine_properties')
    assert machine.get() == {'4.7': OTHERS + ';' + OURS}


def test_other_levels_than_those_asked_for_stay(
        controller: Controller, machine: EngineMachine) -> None:
    controller.play('engine_properties', tlsciphers_levels=['4.7'])
    assert machine.get() == {'4.6': '', '4.7': OTHERS + ';' + OURS}


def test_level_that_the_engine_does_not_have_is_named(
        controller: Controller, machine: EngineMachine) -> None:
    outcome = controller.play('engine_properties', status=2,
                              tlsciphers_levels=['4.7', '5.0'])
    assert 'has no cluster level 5.0; it has 4.6, 4.7' in ' '.join(
        outcome.text.split())
    assert machine.get()['4.7'] == OTHERS
