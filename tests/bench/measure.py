# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""How costs are measured, and the row that each becomes."""

from __future__ import annotations

import pathlib
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, Union

import support

# The Python that runs this, as the installed package does.
HERE = '%d.%d' % sys.version_info[:2]

Command = Sequence[Union[str, pathlib.Path]]

ENVIRONMENT = {'LC_ALL': 'C', 'PATH': '/usr/bin:/bin'}
# The least that a wrapper in Python does.
EXEC = 'import posix\nposix.execv("/bin/true", ["true"])\n'


class Row(NamedTuple):
    """
    What something costs, as ratios to a reference: in instructions, in time.
    The goal is for the first of the two that is there.
    """

    what: str
    reference: str
    python: str
    instructions: float | None
    time: float | None
    goal: float | None = None

    def missed(self) -> bool:
        ratio = self.time if self.instructions is None else self.instructions
        return (self.goal is not None and ratio is not None
                and round(ratio, 2) > self.goal)


class Installation(support.Installation):
    """
    What is installed for an interpreter, compiled, in a folder. Its QEMU
    starts at once and ends at once.
    """

    def __init__(self, directory: pathlib.Path, python: str) -> None:
        super().__init__(directory, python)
        self.byte_compile()
        self.qemu_kvm.symlink_to('/bin/true')

    def script(self, name: str, text: str) -> pathlib.Path:
        """Write a script beside what is installed; return its path."""
        path = self.root / name
        path.write_text(text)
        return path


class Figure(NamedTuple):
    """What is no ratio: a line below the table."""

    what: str
    value: str


def instructions(command: Command, environment: Mapping[str, str]) -> int:
    """
    Return the instructions of a command's own process up to its end or its
    exec, counted by valgrind: almost the same number each time, whatever else
    the machine does. Those of the programs that it runs are not in it.
    """
    with tempfile.TemporaryDirectory() as directory:
        subprocess.run(
            [*support.without_capabilities(str(command[0])),
             'valgrind', '--tool=callgrind', '--dump-before=execve',
             '--callgrind-out-file=%s/out' % directory, *map(str, command)],
            env=environment, capture_output=True, check=True)
        return max(
            int(line.split()[1])
            for path in pathlib.Path(directory).iterdir()
            for line in path.read_text(errors='replace').splitlines()
            if line.startswith(('summary:', 'totals:')))


def seconds(action: Callable[[], object]) -> float:
    begin = time.perf_counter()
    action()
    return time.perf_counter() - begin


def run(command: Command, environment: Mapping[str, str]) -> None:
    subprocess.run([*support.without_capabilities(str(command[0])), *command],
                   env=environment, stdout=subprocess.DEVNULL,
                   stderr=subprocess.DEVNULL, check=True)


def time_ratio(rounds: int, action: Callable[[], object],
               reference: Callable[[], object]) -> float:
    """Return the median of the ratios of the two actions' times."""
    return statistics.median(
        seconds(action) / seconds(reference) for _ in range(rounds))
