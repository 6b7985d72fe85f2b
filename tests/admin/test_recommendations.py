# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""
Whatever a text of ours recommends passes our own check: values in documents,
man pages, examples, and in the messages of hook, wrapper and command.

A value for one setting of SPICE is checked beside tlsprofile=intermediate, as
the documents say; the file of the host as it is.
"""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

import support

if TYPE_CHECKING:
    from conftest import Command

PRIORITY = (r'(?<![\w:])(?:NORMAL|PERFORMANCE|SECURE\d+|SUITEB\d+|PFS|LEGACY)'
            r'(?::[-+!%@][A-Za-z0-9_.%-]+)+')
CIPHERS = (r'(?<![\w:!+-])(?:ECDHE|HIGH|AES|TLS)[A-Z0-9_+-]*'
           r'(?::[!@A-Za-z0-9_+=-]+)+')
KEYWORDS = r'(?<![\w:!+-])ECDHE\+[A-Z0-9]+(?![\w:+])'
GROUPS = r'(?<![\w:])(?:X25519|P-256|prime256v1)(?::[A-Za-z0-9-]+)+'
# What is shown, and not recommended.
SHOWN = {
    # A refusal, and a client that offers what a console must refuse.
    'NORMAL:+FOO', 'NORMAL:-VERS-ALL:+VERS-TLS1.1', 'AES128-SHA:@SECLEVEL=0',
    # The original how-to, as an administrator may have configured it.
    'ECDHE+AESGCM:ECDHE+AES256:!aNULL'}


def texts() -> Iterator[tuple[str, str]]:
    """Yield (path, text) of all that an administrator reads."""
    for pattern in ('README.md', 'docs/*.md', 'docs/*.example', 'man/*.[58]',
                    'ansible/*.md', 'ansible/**/*.yml'):
        for path in sorted(support.SOURCE.glob(pattern)):
            yield str(path.relative_to(support.SOURCE)), path.read_text()
    for pattern in ('hooks/*.py', 'wrapper/*.py',
                    'admin/vdsm_tlsciphers/**/*.py'):
        for path in sorted(support.SOURCE.glob(pattern)):
            # Texts in pieces are one here; a value alone is no text.
            yield str(path.relative_to(support.SOURCE)), '\n'.join(
                node.value for node in ast.walk(ast.parse(path.read_text()))
                if isinstance(node, ast.Constant)
                and isinstance(node.value, str) and ' ' in node.value)


def recommended(prefix: str = '') -> dict[tuple[str, str], str]:
    """
    Return {(property, value): where it stands}, of the files whose paths begin
    with a prefix.
    """
    found: dict[tuple[str, str], str] = {}
    for name, text in texts():
        if not name.startswith(prefix):
            continue
        for setting, pattern in (
                ('tlspriority', PRIORITY), ('tlsciphers', CIPHERS),
                ('tlsciphers', KEYWORDS), ('tlsgroups', GROUPS)):
            for value in re.findall(pattern, text):
                if value not in SHOWN:
                    found.setdefault((setting, value), name)
    return found


RECOMMENDED = recommended()


@pytest.mark.parametrize('setting, value', RECOMMENDED, ids=[
    '%s %.60s' % (where, value)
    for (_, value), where in RECOMMENDED.items()])
def test_value_that_a_text_recommends_passes_check(
        newest_command: Command, setting: str, value: str) -> None:
    process = newest_command.run(
        'check', 'tlsprofile=intermediate', '%s=%s' % (setting, value))
    # The documents say of a hybrid group that most libraries lack it.
    known = 'MLKEM' not in value or support.takes_priority(value)
    assert (process.returncode == 0) == known, process.stdout + process.stderr


def test_recommendations_are_found() -> None:
    """The search itself."""
    for setting in 'tlspriority', 'tlsciphers', 'tlsgroups':
        assert len([1 for name, _ in RECOMMENDED if name == setting]) >= 2
    for prefix in 'hooks/', 'admin/', 'docs/', 'man/':
        assert recommended(prefix), prefix


def host_files() -> Iterator[tuple[str, str]]:
    """Yield (path, text) of each example of the host's file."""
    name = 'docs/tlsciphers.conf.example'
    yield name, re.sub(r'(?m)^#(\[|tls\w+ = )', r'\1', (
        support.SOURCE / name).read_text())
    for name, end in (('man/vdsm-tlsciphers.conf.5', r'\n\.Ed'),
                      ('docs/policies.md', r'\n(?=\S)')):
        text = (support.SOURCE / name).read_text()
        for block in re.findall(r'(?s)\n *\[default\]\n.*?(?=%s)' % end, text):
            yield name, re.sub('(?m)^ +', '', block)


@pytest.mark.parametrize('name, text', list(host_files()), ids=[
    name for name, _ in host_files()])
def test_file_of_a_host_that_a_text_shows_passes_check(
        newest_command: Command, name: str, text: str) -> None:
    profiles = re.findall(r'(?m)^\[profile (\S+)\]', text)
    assert profiles
    domain = newest_command.installation.root / 'domain.xml'
    domain.write_text(support.lab_domain('spice', 'vnc'))
    path = newest_command.installation.host_default
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    try:
        for arguments in (['--xml', domain], *(
                ['tlsprofile=' + profile] for profile in profiles)):
            process = newest_command.run('check', *arguments)
            assert process.returncode == 0, process.stdout + process.stderr
    finally:
        path.unlink()


def examples() -> dict[str, str]:
    """Return {command line: where it stands} of check with values."""
    return {line.strip(): name for name, text in texts()
            for line in re.findall(r'(?m)^ *vdsm-tlsciphers check .*$', text)
            if not re.search('--(vm|xml|running|help)', line)}


@pytest.mark.parametrize('line', list(examples()))
def test_example_of_check_passes(newest_command: Command, line: str) -> None:
    process = newest_command.run(*shlex.split(line)[1:])
    assert process.returncode == 0, process.stdout + process.stderr
