# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""What all commands of vdsm-tlsciphers have in common."""

from __future__ import annotations

import os
import pathlib
import pty
import re
import shutil
import subprocess
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import pytest

import support

if TYPE_CHECKING:
    from conftest import Command

RunCopy = Callable[..., tuple[int, str]]
COMMANDS = ('check', 'apply', 'incoming', 'status', 'scan', 'report', 'doctor',
            'engine-line')


def test_version_is_that_of_the_package(command: Command) -> None:
    process = command.run('--version')
    assert process.stdout == 'vdsm-tlsciphers %s\n' % support.version()


@pytest.mark.parametrize('name', COMMANDS)
def test_help_of_each_command_has_examples_and_exit_statuses(
        command: Command, name: str) -> None:
    process = command.run(name, '--help')
    assert (process.returncode, process.stderr) == (0, '')
    assert 'Examples:\n  vdsm-tlsciphers %s' % name in process.stdout
    assert 'Exit status: 0 ' in process.stdout


def test_help_of_check_names_every_property(newest_command: Command) -> None:
    """It has them written down, to be quick."""
    module = support.run_file(newest_command.installation.values_module)
    words = newest_command.run('check', '--help').stdout.split()
    assert ' '.join(words).count(', '.join(module['PROPERTIES'])) == 1


def test_help_names_every_command(command: Command) -> None:
    process = command.run('--help')
    assert process.returncode == 0
    assert tuple(re.findall(r'(?m)^    ([a-z][a-z-]+) +\w', process.stdout)
                 ) == COMMANDS


@pytest.mark.parametrize('arguments', [
    (), ('frobnicate',), ('--frobnicate',), ('check', '--frobnicate'),
    ('check', '--vm'), ('check', '--vm', 'a', '--xml', 'b'),
    ('check', '\udcff'), ('check', 'tlsciphers=\x1b[2J')])
def test_errors_in_the_command_line_are_one_line(
        command: Command, arguments: Sequence[str]) -> None:
    process = subprocess.run(
        [command.installation.command, *map(os.fsencode, arguments)],
        capture_output=True, stdin=subprocess.DEVNULL,
        env={'PATH': '/usr/bin:/bin'})
    assert process.returncode in (1, 2)
    assert b'Traceback' not in process.stderr
    assert b'\x1b' not in process.stdout + process.stderr
    if process.returncode == 2:
        line, = process.stderr.decode('ascii').splitlines()
        assert line.startswith('vdsm-tlsciphers')
        assert line.endswith(']')


@pytest.fixture
def copy(newest_command: Command, tmp_path: pathlib.Path) -> RunCopy:
    """The command in tmp_path, where its modules can be changed."""
    folder = newest_command.installation.module.parent
    shutil.copytree(folder, tmp_path / 'modules')
    program = tmp_path / 'program'
    program.write_text(
        newest_command.installation.command.read_text().replace(
            str(folder), str(tmp_path / 'modules')))
    program.chmod(0o755)

    def run(*arguments: str) -> tuple[int, str]:
        process = subprocess.run([program, *arguments], capture_output=True,
                                 text=True)
        return process.returncode, process.stderr

    return run


def test_internal_error_is_one_line_with_its_place(
        copy: RunCopy, tmp_path: pathlib.Path) -> None:
    """No traceback."""
    module = tmp_path / 'modules/vdsm_tlsciphers/commands/check.py'
    module.write_text(module.read_text().replace(
        'show_all(checked, options.running)', 'options.nothing'))
    status, said = copy('check', 'modern')
    assert status == 3
    assert re.fullmatch(
        r'vdsm-tlsciphers: .*: AttributeError: .*nothing.* '
        r'\(check line \d+\); .* \[internal-error\]\n', said)


@pytest.mark.parametrize('arguments', [
    ['scan', '%s:5900'], ['check', '--xml', '%s'], ['status', '--%s'], ['%s']])
def test_long_argument_does_not_make_a_long_line(
        newest_command: Command, arguments: Sequence[str]) -> None:
    line = newest_command.problem(*[
        argument.replace('%s', 'x' * 100000) for argument in arguments])
    assert len(line) < 3000


@pytest.mark.parametrize('missing', [
    'tlsciphers.py', 'vdsm_tlsciphers/cli.py',
    'vdsm_tlsciphers/commands/check.py',
    'vdsm_tlsciphers/audit/policy_check.py'])
def test_damaged_package_is_one_line(copy: RunCopy, tmp_path: pathlib.Path,
                                     missing: str) -> None:
    (tmp_path / 'modules' / missing).unlink()
    status, said = copy('check', 'modern')
    assert status == 2
    assert re.fullmatch(r'vdsm-tlsciphers: .*; dnf reinstall '
                        r'vdsm-hook-tlsciphers \[package-damaged\]\n', said)


def test_reader_that_has_seen_enough_ends_it_quietly(
        newest_command: Command) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, 'wb') as output:
        process = subprocess.run(
            [newest_command.installation.command, 'check', 'modern'],
            stdout=output, stderr=subprocess.PIPE)
    assert (process.returncode, process.stderr) == (2, b'')


@pytest.mark.parametrize('arguments', [('check', 'modern'), ('--help',)])
def test_output_that_cannot_be_written_is_one_line(
        command: Command, arguments: tuple[str, ...]) -> None:
    with open('/dev/full', 'wb') as output:
        process = subprocess.run(
            [command.installation.command, *arguments], stdout=output,
            stderr=subprocess.PIPE, text=True)
    assert (process.returncode, process.stderr) == (
        2, 'vdsm-tlsciphers: No space left on device [system-error]\n')


@pytest.mark.parametrize('arguments, status', [
    ('check modern >&-', 0), ('check tlsciphers=NULL >&-', 1),
    ('frobnicate 2>&-', 2)])
def test_output_that_was_closed_is_no_error(
        command: Command, arguments: str, status: int) -> None:
    process = subprocess.run(
        ['sh', '-c', '"$0" ' + arguments, command.installation.command],
        capture_output=True)
    assert (process.returncode, process.stdout, process.stderr) == (
        status, b'', b'')


@pytest.mark.parametrize('environment, coloured', [
    ({}, True), ({'NO_COLOR': '1'}, False), ({'TERM': 'dumb'}, False)])
def test_colours_are_for_terminals_and_those_who_want_them(
        newest_command: Command, environment: dict[str, str],
        coloured: bool) -> None:
    master, slave = pty.openpty()
    subprocess.run(
        [newest_command.installation.command, 'check', 'modern'],
        stdout=slave, env={'PATH': '/usr/bin', 'TERM': 'xterm', **environment})
    os.close(slave)
    assert (b'\x1b[' in os.read(master, 65536)) == coloured
    os.close(master)
    assert '\x1b[' not in newest_command.run('check', 'modern').stdout


# What of the package is loaded after a command line was parsed.
LOADED = """
import sys
sys.path.insert(0, sys.argv[1])
from vdsm_tlsciphers import cli
try:
    cli.parse(sys.argv[2:])
except SystemExit:
    pass
print(*(name for name in sys.modules if 'tlsciphers' in name))
"""


@pytest.mark.parametrize('arguments', [
    '--version', '--help', *(name + ' --help' for name in COMMANDS)])
def test_help_loads_no_more_than_it_needs(newest_command: Command,
                                          arguments: str) -> None:
    process = subprocess.run(
        [newest_command.installation.python, '-Bc', LOADED,
         newest_command.installation.module.parent, *arguments.split()],
        capture_output=True, text=True, check=True)
    name = arguments.split(maxsplit=1)[0].replace('-', '_')
    assert set(process.stdout.splitlines()[-1].split()) <= {
        'vdsm_tlsciphers', 'vdsm_tlsciphers.cli', *([] if name[0] == '_' else [
            'vdsm_tlsciphers.commands', 'vdsm_tlsciphers.commands.' + name,
            'vdsm_tlsciphers.output'])}


def test_nothing_is_left_beside_the_modules(command: Command) -> None:
    for name in ('check', 'engine-line'):
        command.run(name, '--help')
    command.run('check', 'modern')
    folder = command.installation.module.parent
    assert not [path for path in folder.rglob('*')
                if path.name == '__pycache__' or path.suffix == '.pyc']


def test_environment_of_python_does_not_count(newest_command: Command,
                                              tmp_path: pathlib.Path) -> None:
    (tmp_path / 'argparse.py').write_text('raise SystemExit(42)')
    process = newest_command.run('--version', environment={
        'PYTHONPATH': str(tmp_path), 'PYTHONHOME': '/nonexistent'})
    assert process.returncode == 0
