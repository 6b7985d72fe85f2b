# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""What the documentation promises."""

import re
import runpy
import string
import subprocess

import pytest

import support
from support import GOOD_CIPHERS, SEED_CIPHERS

README = (support.SOURCE / 'README.md').read_text()


@pytest.fixture
def definition():
    """The engine's definition of the property, as the README has it."""
    return re.search("UserDefinedVMProperties='tlsciphers=(.*)' --cver",
                     README).group(1)


def test_engine_permits_exactly_the_characters_of_the_hook(
        definition, newest_installation):
    judge = subprocess.run(
        [newest_installation.python, '-Bc',
         'import sys; sys.path.insert(0, %r); import tlsciphers; '
         'print("".join(tlsciphers.CIPHER_CHARACTERS))'
         % str(newest_installation.module.parent)],
        capture_output=True, text=True, check=True)
    permitted = set(judge.stdout.strip())
    assert permitted == {chr(code) for code in range(256)
                         if re.match(definition, chr(code) + 'x')}


def test_wrapper_and_hook_permit_the_same(newest_installation):
    """Each has it written down: the wrapper reads no other file."""
    wrapper, module = (runpy.run_path(str(path)) for path in (
        newest_installation.wrapper, newest_installation.module))
    for name in ('CIPHER_CHARACTERS', 'LONGEST_CIPHER_LIST'):
        assert wrapper[name] == module[name]


@pytest.mark.parametrize('value', [GOOD_CIPHERS, SEED_CIPHERS, '-AES:HIGH',
                                   'HIGH:!aNULL:@SECLEVEL=2', 'TLSv1.2'])
def test_engine_accepts_what_the_hook_accepts(definition, value):
    assert re.match(definition, value)


def test_definition_is_one_that_the_engine_can_hold(definition):
    """Its format: name=regex;name=regex. Java and browsers read it."""
    assert ';' not in definition
    assert set(definition) <= set(string.ascii_letters + string.digits
                                  + '^[]$+-._=@!:')
    # A regex of plain words would become a list to choose from.
    assert not re.match(r'\^\(', definition)


def test_documents_that_are_linked_exist():
    for name in re.findall(r'\]\((docs/[\w.-]+)\)', README):
        assert (support.SOURCE / name).exists()
