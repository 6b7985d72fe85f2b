# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""
What hook and wrapper say, and whether the VM starts: as the rows of
tests/data/messages.txt have it.
"""

from __future__ import annotations

import functools
import os
import re
from typing import TYPE_CHECKING, Any, Callable, NamedTuple

import pytest
from test_policy import HOSTED_ENGINE, OLD_OPENSSL, X86

import support

if TYPE_CHECKING:
    import pathlib

CONSOLES = 'spice,vnc'


class Case(NamedTuple):
    """A row: outcome is "starts", "refused" or "required" (str)."""

    name: str
    context: dict[str, str]
    given: list[str]
    outcome: str
    lines: list[str]


def read_cases(part: str) -> list[Case]:
    """Return the rows for a part ("hook", "wrapper")."""
    text = (support.DATA / 'messages.txt').read_text(encoding='ascii')
    rows = text.partition('[%s]\n' % part)[2].partition('\n\n')[0]
    cases = []
    for row in rows.splitlines():
        name, context, given, outcome, lines = [
            column.strip() for column in row.split('|', 4)]
        cases.append(Case(
            name, {key: unescape(value) for key, _, value in (
                pair.partition('=') for pair in context.split())},
            [unescape(word) for word in given.split()], outcome,
            lines.split(' // ') if lines else []))
    return cases


def unescape(text: str) -> str:
    return text.encode().decode('unicode_escape')


HOOK = read_cases('hook')
WRAPPER = read_cases('wrapper')
BY_DEFAULT = [case for case in WRAPPER if case.outcome == 'required']


def name_of(case: Case) -> str:
    return case.name


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


def check_lines(lines: list[str], case: Case,
                installation: support.Installation) -> None:
    patterns = ['.*'.join(map(re.escape, line.replace(
        '{root}', os.fspath(installation.root)).split(' ... ')))
        for line in case.lines]
    assert len(lines) == len(patterns)
    for line, pattern in zip(lines, patterns):
        assert re.fullmatch(pattern, line)


@pytest.mark.parametrize('case', HOOK, ids=name_of)
def test_hook_says(make_host: Callable[[str], support.Installation],
                   make_hook: Callable[[support.Installation], Any],
                   case: Case) -> None:
    installation = make_host(case.context.get('host', ''))
    xml = HOSTED_ENGINE if case.context.get('name') else X86
    for console in set(CONSOLES.split(',')) - set(
            case.context.get('consoles', CONSOLES).split(',')):
        xml = xml.replace('type="%s"' % console, 'type="sdl"')
    path = installation.host_default
    if 'default' in case.context:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(case.context['default'] + '\n')
    try:
        process = make_hook(installation).run(xml, **{
            name: value for name, _, value in (
                setting.partition('=') for setting in case.given)})
    finally:
        path.unlink(missing_ok=True)
    assert process.returncode == (0 if case.outcome == 'starts' else 2)
    check_lines(process.stderr.splitlines(), case, installation)


def start(run: Callable[..., Any], installation: support.Installation,
          case: Case) -> tuple[bool, list[str]]:
    """Return whether the VM starts, and the lines of the wrapper."""
    if case.context.get('host') == 'conf':
        conf = installation.root / 'openssl.cnf'
        conf.unlink(missing_ok=True)
        if 'conf' in case.context:
            conf.write_text(case.context['conf'].format(
                root=installation.root), encoding='latin-1')
    outcome = run(*(argument.encode('latin-1') for argument in case.given))
    return outcome.started, [
        re.sub(r'^\d{4}(-\d\d){2} (\d\d:){2}\d\d\.000\+0000: %d: info : '
               % outcome.pid, 'note: ', line)
        for line in outcome.stderr.splitlines()]


@pytest.mark.parametrize('case', WRAPPER, ids=name_of)
def test_wrapper_says(make_host: Callable[[str], support.Installation],
                      run_on: Callable[[support.Installation], Any],
                      case: Case) -> None:
    installation = make_host(case.context.get('host', ''))
    started, lines = start(run_on(installation), installation, case)
    assert started == (case.outcome == 'starts')
    check_lines(lines, case, installation)


@pytest.mark.parametrize('case', BY_DEFAULT, ids=name_of)
def test_default_of_the_host_is_ignored_with_a_note_of_the_same_code(
        make_host: Callable[[str], support.Installation],
        run_on: Callable[[support.Installation], Any], case: Case) -> None:
    installation = make_host(case.context.get('host', ''))
    started, lines = start(run_on(installation), installation, case._replace(
        given=['-vdsm-tls-default' if word == '-vdsm-tls' else word
               for word in case.given]))
    code = case.lines[0].rpartition(' ')[2]
    assert started
    assert [line for line in lines if line.startswith('note: ')] == lines
    assert [line.rpartition(' ')[2] for line in lines] == [code]
