# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""vdsm-tlsciphers engine-line."""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Sequence
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from conftest import Command

# What an engine may hold since a version was published. Those of a newer
# version must accept it all.
PUBLISHED = {
    'tlsciphers': '^[A-Za-z0-9._=@!+:-]+$',
    'tlsprotocols': '^(TLSv1.2|TLSv1.3|TLSv1.2:TLSv1.3)$',
    'tlsgroups': '^[A-Za-z0-9._:-]+$',
    'tlspriority': '^[A-Za-z0-9._@%!+:-]+$',
    'tlsprofile': '^[A-Za-z0-9._-]+$',
}
DEFAULT_PAIRS = ';'.join('%s=%s' % pair for pair in PUBLISHED.items())


def lines_of(process: subprocess.CompletedProcess[str]) -> list[str]:
    """Return the commands (list of str) that were printed."""
    assert (process.returncode, process.stderr) == (0, '')
    return [line for line in process.stdout.splitlines()
            if not line.startswith('#')]


def read(line: str) -> list[str]:
    """Return the words of a command as a shell has them."""
    return subprocess.run(
        ['bash', '-c', 'engine-config() { printf "%s\\n" "$@"; }\n' + line],
        capture_output=True, text=True, check=True).stdout.splitlines()


def test_engine_gets_every_property_and_a_restart(command: Command) -> None:
    definition, restart = lines_of(command.run('engine-line', '--cver',
                                               '4.7'))
    assert restart == 'systemctl restart ovirt-engine'
    # A shell does not change the regexes.
    assert read(definition) == [
        '-m', 'UserDefinedVMProperties=' + DEFAULT_PAIRS, '--cver=4.7']


def test_every_level_that_an_engine_may_have_gets_its_line(
        newest_command: Command) -> None:
    process = newest_command.run('engine-line')
    assert [shlex.split(line)[-1] for line in lines_of(process)[:-1]] == [
        '--cver=4.%d' % number for number in range(2, 9)]
    hint = 'a level that this engine does not know'
    assert hint in process.stdout
    assert hint not in newest_command.run('engine-line', '--cver', '4.7'
                                          ).stdout


@pytest.mark.parametrize('arguments', [
    ['--cver', '4.6', '4.7', '4.8'],
    ['--cver=4.6', '--cver=4.7', '--cver', '4.8', '4.6']])
def test_each_cluster_level_gets_its_line_once(
        newest_command: Command, arguments: Sequence[str]) -> None:
    *definitions, restart = lines_of(newest_command.run('engine-line',
                                                        *arguments))
    assert [shlex.split(line)[-1] for line in definitions] == [
        '--cver=4.6', '--cver=4.7', '--cver=4.8']
    assert len({line.rpartition(' ')[0] for line in definitions}) == 1
    assert restart.startswith('systemctl restart')


def test_some_of_the_properties_can_be_chosen(newest_command: Command) -> None:
    definition, *_ = lines_of(newest_command.run(
        'engine-line', '--properties', 'tlsprofile,tlsciphers'))
    assert read(definition)[1] == (
        'UserDefinedVMProperties=tlsciphers=%s;tlsprofile=%s'
        % (PUBLISHED['tlsciphers'], PUBLISHED['tlsprofile']))


def test_output_says_what_happens_to_a_level_without_the_line(
        newest_command: Command) -> None:
    output = newest_command.run('engine-line').stdout
    assert 'a level without it drops the properties' in output.replace(
        '\n# ', ' ')
    # It can be given to a shell as it is.
    assert subprocess.run(
        ['bash', '-euc', 'engine-config() { :; }\nsystemctl() { :; }\n'
         + output], capture_output=True).returncode == 0


def test_guard_needs_no_definition_and_is_for_newer_levels(
        newest_command: Command) -> None:
    for levels, newer in ((['4.3', '4.5'], False), (['4.5', '4.6'], True),
                          (['5.0'], True)):
        output = newest_command.run('engine-line', '--cver', *levels).stdout
        commands, _, said = output.partition('systemctl restart ovirt-engine')
        assert 'extra_cpu_flags' not in commands
        assert 'property of the engine: do not define it' in said
        # Only where there is one, what to do; hosts first.
        assert ('on\n# all hosts first, then set tlsprofile' in said) == newer
    assert newest_command.code('engine-line', '--properties',
                               'extra_cpu_flags') == 'bad-argument'


@pytest.mark.parametrize('arguments', [
    ['--cver', '4'], ['--cver', "4.7' x"], ['--properties', 'tlscipher'],
    ['--properties', '']])
def test_errors_are_one_line(newest_command: Command,
                             arguments: Sequence[str]) -> None:
    assert newest_command.code('engine-line', *arguments) == 'bad-argument'


def test_no_regex_is_narrower_than_a_published_one(
        newest_command: Command) -> None:
    definition, *_ = lines_of(newest_command.run('engine-line'))
    definitions = dict(pair.split('=', 1) for pair in read(definition)[1]
                       .partition('=')[2].split(';'))
    assert set(definitions) >= set(PUBLISHED)
    for name, published in PUBLISHED.items():
        values = [chr(code) * 2 for code in range(32, 127)] + [
            'TLSv1.2', 'TLSv1.3', 'TLSv1.2:TLSv1.3', 'a' * 4000]
        accepted = [value for value in values if re.match(published, value)]
        assert len(accepted) > 2
        for value in accepted:
            assert re.match(definitions[name], value)
