# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""What the commands of vdsm-tlsciphers take, as their own parsers say it."""

import json
import re
import subprocess
from typing import NamedTuple

import support


class Option(NamedTuple):
    """
    What a command takes: names (of an option, empty for what has no name),
    value (how the help calls it; empty where there is none).
    """

    names: list[str]
    value: str


ASK = """
import argparse, importlib, json, sys
sys.dont_write_bytecode = True
sys.path.insert(0, sys.argv[1])
parser = argparse.ArgumentParser(add_help=False)
importlib.import_module(
    'vdsm_tlsciphers.commands.' + sys.argv[2]).add_arguments(parser)
print(json.dumps([
    (action.option_strings, action.metavar or (
        '' if action.nargs == 0 else '{%s}' % ','.join(action.choices)
        if action.choices else action.dest.upper() if action.option_strings
        else action.dest))
    for action in parser._actions]))
"""


def names() -> list[str]:
    """Return the commands (list of str) in the order of the help."""
    text = (support.SOURCE / 'admin/vdsm_tlsciphers/cli.py').read_text()
    table, = re.findall(r'(?s)\nCOMMANDS = \{\n(.*?)\n\}', text)
    return re.findall(r"(?m)^    '([a-z-]+)'", table)


def modules() -> list[str]:
    """Return the names (list of str) of the commands that have a module."""
    return sorted(
        path.stem.replace('_', '-') for path in
        (support.SOURCE / 'admin/vdsm_tlsciphers/commands').glob('*.py')
        if '\ndef add_arguments(' in path.read_text())


def options(installation: support.Installation, name: str) -> list[Option]:
    """Return what a command takes (list of Option)."""
    answer = subprocess.run(
        [installation.python, '-c', ASK, installation.module.parent,
         name.replace('-', '_')], capture_output=True, text=True, check=True)
    return [Option(*given) for given in json.loads(answer.stdout)]
