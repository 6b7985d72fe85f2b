# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""What the documentation promises, and what is written down twice."""

from __future__ import annotations

import re
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

import support

if TYPE_CHECKING:
    pass

README = (support.SOURCE / 'README.md').read_text()
LINE, = re.findall("UserDefinedVMProperties='(.*)' --cver", README)
# The engine's format: name=regex;name=regex.
DEFINITIONS = dict(pair.split('=', 1) for pair in LINE.split(';'))


@pytest.fixture(scope='module')
def module(make_installation: support.MakeInstallation) -> dict[str, Any]:
    return support.run_file(make_installation(
        support.available_pythons()[-1]).values_module)


def test_command_prints_the_lines_of_the_readme(
        newest_installation: support.Installation) -> None:
    printed = subprocess.run([newest_installation.command, 'engine-line',
                              '--cver', '4.7'],
                             capture_output=True, text=True, check=True)
    commands = [line for line in printed.stdout.splitlines()
                if not line.startswith('#')]
    assert ''.join('    %s\n' % line for line in commands) in README


def test_engine_defines_every_property(module: dict[str, Any]) -> None:
    assert tuple(DEFINITIONS) == module['PROPERTIES']


@pytest.mark.parametrize('name', ['tlsciphers', 'tlsgroups', 'tlspriority',
                                  'tlsprofile'])
def test_engine_permits_exactly_the_characters_of_the_hook(
        module: dict[str, Any], name: str) -> None:
    assert set(module['CHARACTERS'][name]) == {
        chr(code) for code in range(256)
        if re.match(DEFINITIONS[name], chr(code) + 'x')}


def test_engine_offers_exactly_the_protocols_of_the_hook(
        module: dict[str, Any]) -> None:
    assert DEFINITIONS['tlsprotocols'] == '^(%s)$' % '|'.join(
        module['PROTOCOLS'])


def test_hook_looks_for_the_properties_that_the_module_knows(
        newest_installation: support.Installation,
        module: dict[str, Any]) -> None:
    hook = support.run_file(newest_installation.hook)
    assert {name.decode() for name in hook['PROPERTIES']} == set(
        module['PROPERTIES'])
    assert hook['HOST_DEFAULT'] == support.run_file(
        newest_installation.config_module)['HOST_DEFAULT']
