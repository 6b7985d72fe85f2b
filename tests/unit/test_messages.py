# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""
docs/troubleshooting.md explains every message: those of hook, wrapper and
command by their codes, those of the package's scriptlets by their words.
"""

from __future__ import annotations

import re

from test_codes import listed

import support

PAGE = (support.SOURCE / 'docs/troubleshooting.md').read_text()
SCRIPTLETS = ('rpm/scriptlet.sh', 'vdsm-hook-tlsciphers.spec')


def rows(header: str) -> list[str]:
    """Return the first cells of the tables of the page with that header."""
    return [re.split(r'(?<!\\)\|', row)[1]
            for table in re.findall(r'(?m)^\| %s \|.*\n\|[-| ]+\n((?:\|.*\n)+)'
                                    % header, PAGE)
            for row in table.splitlines()]


def explained() -> list[str]:
    """Return the codes that have a row on the page."""
    return [code for cell in rows('code')
            for code in re.findall('`([^`]+)`', cell)]


def key(message: str) -> str:
    """Return the longest run of words before a message's remedy, or ''."""
    runs = re.split(r'%\{\w+\}|\$\{?[\w*#/%]+\}?|[][:;,()<>="`|\n]',
                    message.partition('; ')[0])
    longest = max((run.strip() for run in runs), key=len)
    return longest if ' ' in longest else ''


def scriptlet_messages() -> set[str]:
    """Return the keys of the messages of the package's scriptlets."""
    return {key(text) for name in SCRIPTLETS for text in re.findall(
        r'\b(?:say|complain|echo|stderr:write\()[ (]?"([^"\n]*)',
        (support.SOURCE / name).read_text())} - {''}


def test_every_code_has_a_row() -> None:
    assert sorted(set(listed()) - set(explained())) == []


def test_every_row_has_codes_of_messages() -> None:
    assert sorted(set(explained()) - set(listed())) == []


def test_every_message_of_the_package_has_a_row() -> None:
    messages = scriptlet_messages()
    assert 'restorecon cannot label the wrapper' in messages
    pieces = [piece for cell in rows('the line says')
              for piece in re.findall('`([^`]+)`', cell)]
    assert [message for message in messages
            if not [piece for piece in pieces if message in piece]] == []
    assert [piece for piece in pieces
            if not [message for message in messages if message in piece]] == []
