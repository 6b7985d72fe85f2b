# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""The commands that the documents tell people to type on a host."""

from __future__ import annotations

import pathlib
import subprocess
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import commands
import documents
import pytest

import support

if TYPE_CHECKING:
    from conftest import RunHook, Start

HOST_DEFAULT = pathlib.Path('/etc/vdsm/tlsciphers.conf')


TypeIn = Callable[[str], subprocess.CompletedProcess[str]]


@pytest.fixture
def type_in(start: Start, run_hook: RunHook, tmp_path: pathlib.Path,
            line: str) -> Iterator[TypeIn]:
    """
    A function that types a command on a host with a VM of tlsprofile=modern
    (for apply: without a policy), in a folder with what the commands need;
    returns the process.
    """
    xml = support.lab_domain('spice', 'vnc', name='webserver1')
    vm = start(xml if line.startswith('vdsm-tlsciphers apply ')
               else run_hook(xml, tlsprofile='modern'))
    # vdsm has brought this one.
    HOST_DEFAULT.parent.mkdir(exist_ok=True)
    (tmp_path / 'tlsciphers.conf').write_text(
        (support.SOURCE / 'docs/tlsciphers.conf.example').read_text())

    def type_in(command: str) -> subprocess.CompletedProcess[str]:
        for word, value in (('HOST:PORT', '127.0.0.1:%d' % vm.tls_port),
                            ('node1.example.com:5900',
                             '127.0.0.1:%d' % vm.tls_port),
                            ('[fd00::7]:5901', '127.0.0.1:%d' % vm.vnc_port),
                            ('PORT HOST', '%d 127.0.0.1' % vm.tls_port),
                            ('NAME.log', vm.name + '.log'),
                            ('dumpxml NAME', 'dumpxml ' + vm.name),
                            ('--vm NAME', '--vm ' + vm.name)):
            command = command.replace(word, value)
        return subprocess.run(command, shell=True, cwd=tmp_path,
                              capture_output=True, text=True)

    yield type_in
    HOST_DEFAULT.unlink(missing_ok=True)


def of_the_command(line: str) -> bool:
    return line.startswith('vdsm-tlsciphers ')


@pytest.mark.parametrize('line', [
    line for line in documents.ON_A_HOST if not of_the_command(line)])
def test_command_on_a_host_does_what_the_documents_say(type_in: TypeIn,
                                                       line: str) -> None:
    process = type_in(line)
    assert process.returncode in documents.ON_A_HOST[line], process.stderr


@pytest.mark.parametrize('line', [
    line for line in documents.ON_A_HOST if of_the_command(line)
    and line.split()[1] in commands.modules()])
def test_example_of_the_command_works_on_a_host(
        type_in: TypeIn, tmp_path: pathlib.Path, line: str) -> None:
    for needed in '>before.json', '>scans/host.json':
        (tmp_path / 'scans').mkdir(exist_ok=True)
        if needed[1:] in line or 'scans/' in line:
            assert type_in('vdsm-tlsciphers scan --json %s' % needed
                           ).returncode in (0, 1)
    if line.endswith('incoming --test'):
        type_in('vdsm-tlsciphers incoming --enable')
    process = type_in(line)
    assert process.returncode in documents.ON_A_HOST[line], (
        process.stdout + process.stderr)
    for page in tmp_path.glob('*.html'):
        assert page.read_text().lstrip().startswith('<!DOCTYPE html>')
