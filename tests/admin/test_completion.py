# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""What the shells offer to complete, asked of bash and zsh themselves."""

from __future__ import annotations

import pathlib
from collections.abc import Callable
from typing import TYPE_CHECKING

import commands
import pytest
import shells

import support

if TYPE_CHECKING:
    from conftest import Command

Complete = Callable[[str], set[str]]

@pytest.fixture(params=sorted(shells.SHELLS))
def complete(request: pytest.FixtureRequest, newest_command: Command,
             tmp_path: pathlib.Path) -> Complete:
    """A function that gives what a shell offers for a line (set of str)."""
    return shells.SHELLS[request.param](newest_command.installation.root,
                                        tmp_path).offers


def test_commands_are_offered(complete: Complete) -> None:
    assert complete('vdsm-tlsciphers ') == set(commands.names())
    assert complete('vdsm-tlsciphers eng') == {'engine-line'}
    assert complete('vdsm-tlsciphers nosuch') == set()


def test_general_options_are_offered(complete: Complete) -> None:
    assert complete('vdsm-tlsciphers --') == {'--help', '--version'}


@pytest.mark.parametrize('name', commands.modules())
def test_options_of_a_command_are_offered(
        complete: Complete, newest_command: Command, name: str) -> None:
    assert complete('vdsm-tlsciphers %s --' % name) == {'--help'} | {
        option.names[-1] for option in commands.options(
            newest_command.installation, name) if option.names}


def test_profiles_are_offered(complete: Complete,
                              newest_command: Command) -> None:
    installation = newest_command.installation
    profiles = {*support.run_file(installation.module)['PROFILES'], 'none'}
    assert complete('vdsm-tlsciphers check tlsprofile=') == profiles
    assert complete('vdsm-tlsciphers check tlsprofile=mo') == {'modern'}
    assert complete('vdsm-tlsciphers apply tlsprofile=mo') == {'modern'}
    assert complete('vdsm-tlsciphers apply --profile ') == profiles
    installation.host_default.parent.mkdir(parents=True, exist_ok=True)
    installation.host_default.write_text('[profile site-2026]\n')
    try:
        assert complete('vdsm-tlsciphers check tlsprofile='
                        ) == profiles | {'site-2026'}
    finally:
        installation.host_default.unlink()


def test_properties_are_offered(complete: Complete,
                                newest_command: Command) -> None:
    properties = support.run_file(newest_command.installation.values_module)[
        'PROPERTIES']
    assert {word.rstrip('=') for word in complete('vdsm-tlsciphers check ')
            } == {*properties, 'extra_cpu_flags'}
    # There are VMs beside them.
    assert {word.rstrip('=') for word in complete('vdsm-tlsciphers apply tls')
            } == set(properties)


def test_files_are_offered(complete: Complete, tmp_path: pathlib.Path) -> None:
    (tmp_path / 'scan-of-a-host.json').write_text('{}')
    assert complete('vdsm-tlsciphers report %s/scan-' % tmp_path) in (
        # bash does it by itself, after the script has named none.
        {'scan-of-a-host.json'}, {'%s/scan-of-a-host.json' % tmp_path})
    assert complete('vdsm-tlsciphers doctor ') == set()
