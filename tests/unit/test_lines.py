# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""
What hook and wrapper say, word for word, and whether the VM starts: as
tests/data/lines.ini has it.
"""

from __future__ import annotations

import configparser
import functools
import os
import re
from typing import TYPE_CHECKING, Any, Callable

import pytest
from test_policy import HOSTED_ENGINE, OLD_OPENSSL, X86

import support

if TYPE_CHECKING:
    import pathlib

LINES = configparser.RawConfigParser(
    delimiters='=', comment_prefixes='#', empty_lines_in_values=False,
    default_section='')
LINES.read(support.DATA / 'lines.ini', encoding='ascii')
CONSOLES = 'spice vnc'


def unescape(text: str) -> str:
    return text.encode().decode('unicode_escape')


def lines_of(case: configparser.SectionProxy, key: str) -> list[str]:
    return [line for line in case.get(key, '').split('\n') if line]


@pytest.fixture(scope='session')
def make_host(make_installation: Callable[[str], support.Installation],
              tmp_path_factory: pytest.TempPathFactory,
              ) -> Callable[[str], support.Installation]:
    """A function that installs on a host of a kind, once for each."""
    @functools.cache
    def make(kind: str) -> support.Installation:
        version = support.available_pythons()[-1]
        if not kind:
            return make_installation(version)
        root: pathlib.Path = tmp_path_factory.mktemp(kind)
        program = root / 'openssl'
        if kind == 'old':
            program.write_text(OLD_OPENSSL)
            program.chmod(0o755)
            return support.Installation(
                root / 'root', support.find_python(version), openssl=program)
        if kind == 'conf':
            return support.Installation(
                root, support.find_python(version),
                openssl_conf=root / 'openssl.cnf')
        return support.Installation(
            root, support.find_python(version),
            openssl='/nonexistent/openssl', gnutls_cli='/nonexistent/gnutls')
    return make


def hook_says(make_hook: Callable[[support.Installation], Any],
              installation: support.Installation,
              case: configparser.SectionProxy) -> tuple[bool, list[str]]:
    xml = HOSTED_ENGINE if case.get('name') == 'HostedEngine' else X86
    for console in set(CONSOLES.split()) - set(
            case.get('consoles', CONSOLES).split()):
        xml = xml.replace('type="%s"' % console, 'type="sdl"')
    path = installation.host_default
    if 'default' in case:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(''.join(
            line[1:] + '\n' for line in lines_of(case, 'default')))
    try:
        process = make_hook(installation).run(xml, **{
            name: unescape(value) for name, _, value in (
                line.partition('=')
                for line in lines_of(case, 'properties'))})
    finally:
        path.unlink(missing_ok=True)
    assert process.returncode in {0, 2}
    return not process.returncode, process.stderr.splitlines()


def wrapper_says(run: Callable[..., Any], installation: support.Installation,
                 case: configparser.SectionProxy) -> tuple[bool, list[str]]:
    if case.get('host') == 'conf':
        conf = installation.root / 'openssl.cnf'
        conf.unlink(missing_ok=True)
        if 'conf' in case:
            conf.write_text(''.join(
                unescape(line[1:]).format(root=installation.root) + '\n'
                for line in lines_of(case, 'conf')).rstrip('\n'),
                encoding='latin-1')
    outcome = run(*(unescape(argument).encode('latin-1')
                    for line in lines_of(case, 'given')
                    for argument in line.split(' ', 1)))
    return outcome.started, [
        re.sub(r'^\d{4}(-\d\d){2} (\d\d:){2}\d\d\.000\+0000: %d: info : '
               % outcome.pid, 'note: ', line)
        for line in outcome.stderr.splitlines()]


@pytest.mark.parametrize('name', LINES.sections())
def test_line_is_the_one_that_administrators_know(
        make_host: Callable[[str], support.Installation],
        make_hook: Callable[[support.Installation], Any],
        run_on: Callable[[support.Installation], Any], name: str) -> None:
    case = LINES[name]
    installation = make_host(case.get('host', ''))
    starts, lines = (wrapper_says(run_on(installation), installation, case)
                     if 'given' in case
                     else hook_says(make_hook, installation, case))
    assert lines == [line.replace('{root}', os.fspath(installation.root))
                     for line in lines_of(case, 'says')]
    assert starts == case.getboolean('starts', True)
