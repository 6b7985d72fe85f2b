#!/usr/bin/env python3
# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""
What the wrapper and the hook add to a bare start of their interpreter: an
empty script with the same options. Each measured against its reference in
turns, so that a ratio does not depend on what else the machine does.

    tests/bench/start.py [ROUNDS]
"""

import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from typing import Union

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

import support

Command = Sequence[Union[str, bytes, pathlib.Path]]


def seconds(command: Command, environment: dict[str, str]) -> float:
    begin = time.perf_counter()
    subprocess.run(command, env=environment, stdout=subprocess.DEVNULL,
                   stderr=subprocess.DEVNULL, check=True)
    return time.perf_counter() - begin


def ratio(rounds: int, command: Command, reference: Command,
          environment: dict[str, str]) -> float:
    """Return the median of the ratios of command's time to reference's."""
    return statistics.median(
        seconds(command, environment) / seconds(reference, environment)
        for _ in range(rounds))


def measure(version: str, rounds: int, directory: pathlib.Path) -> list[float]:
    installation = support.Installation(directory,
                                        support.find_python(version))
    # Starts at once and ends at once.
    installation.qemu_kvm.symlink_to('/bin/true')
    empty = directory / 'empty'
    empty.write_text('')
    environment = {'LC_ALL': 'C', 'PATH': '/usr/bin:/bin'}
    wrapper = [installation.emulator]
    policy = (wrapper + support.read_arguments('seed-wrapper.args')[1:]
              + ['-vdsm-tls', 'ciphers=' + support.SEED_CIPHERS])
    bare_wrapper = [installation.python, '-ESs', str(empty)]
    domxml = directory / 'domxml'
    hook_environment = dict(environment, _hook_domxml=str(domxml), vmId='ID',
                            PYTHONPATH=str(support.TESTS / 'standin'))
    bare_hook = [installation.python, '-Ss', str(empty)]
    hook = [installation.hook]
    domxml.write_text((support.DATA / 'domain-x86_64.xml').read_text())
    return [
        ratio(rounds, wrapper, bare_wrapper, environment),
        ratio(rounds, policy, bare_wrapper, environment),
        ratio(rounds, hook, bare_hook, hook_environment),
        ratio(rounds, hook, bare_hook, dict(
            hook_environment, tlsciphers=support.GOOD_CIPHERS))]


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    print('times a bare start, median of %d; %s processors'
          % (rounds, os.cpu_count()))
    print('Python  wrapper: probe  with policy  hook: idle  with policy')
    for version in support.available_pythons():
        with tempfile.TemporaryDirectory() as directory:
            ratios = measure(version, rounds, pathlib.Path(directory))
            print('%-6s ' % version,
                  '%14.2f %12.2f %11.2f %12.2f' % tuple(ratios))


if __name__ == '__main__':
    main()
