# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""The wrapper, on consoles as the libvirt of each release spells them."""

from __future__ import annotations

import configparser
import os
from typing import TYPE_CHECKING

import pytest

import support

if TYPE_CHECKING:
    from conftest import Run

SPELLINGS = configparser.RawConfigParser(delimiters='=', comment_prefixes='#',
                                         empty_lines_in_values=False)
SPELLINGS.read(support.DATA / 'spellings.ini', encoding='ascii')


def arguments(text: str) -> list[str]:
    """Return the arguments (list of str) of lines "-option value"."""
    return [argument for line in text.split('\n') if line
            for argument in line.split(' ', 1)]


@pytest.mark.parametrize('name', SPELLINGS.sections())
def test_policy_reaches_the_console_however_libvirt_spells_it(
        run: Run, name: str) -> None:
    spelling = SPELLINGS[name]
    outcome = run(*arguments(spelling['given']))
    assert outcome.started == ('expected' in spelling), outcome.stderr
    if 'refused' in spelling:
        line, = outcome.stderr.splitlines()
        assert line.startswith('qemu-kvm-modified: ')
        assert spelling['refused'] in line
        return
    assert [os.fsdecode(argument) for argument in outcome.arguments
            ] == arguments(spelling['expected'])
    assert spelling.get('noted', '') in outcome.stderr
