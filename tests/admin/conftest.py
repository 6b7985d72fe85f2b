# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""The installed command, on every Python that it runs on."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

import pytest

import support

# Those of the hook that the command runs on as well.
PYTHONS = [version for version in support.available_pythons()
           if version != '2.7']

MEASURE = """
import resource, subprocess, sys
status = subprocess.run(sys.argv[1:]).returncode
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, end='')
sys.exit(status)
"""


class Command:
    """Runs the installed vdsm-tlsciphers."""

    def __init__(self, installation: support.Installation) -> None:
        self.installation = installation

    def run(self, *arguments: object,
            environment: Mapping[str, str] | None = None, **keywords: Any,
            ) -> subprocess.CompletedProcess[str]:
        """Run it; return the process (with stdout, stderr as str)."""
        process: subprocess.CompletedProcess[str] = subprocess.run(
            [self.installation.command, *map(str, arguments)],
            stdin=subprocess.DEVNULL, capture_output=True, text=True,
            env={'PATH': '/usr/bin:/bin', 'LC_ALL': 'C.UTF-8',
                 **(environment or {})}, **keywords)
        return process

    def measure(self, *arguments: object) -> tuple[int, str, float]:
        """Run it; return (exit status, stdout (str), peak memory in MiB)."""
        # A process counts what its parent had at the fork: a small one here.
        process = subprocess.run(
            [sys.executable, '-ISc', MEASURE, self.installation.command,
             *map(str, arguments)], stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, text=True)
        output, _, kilobytes = process.stdout.rpartition('\n')
        return process.returncode, output, int(kilobytes) / 1024

    def problem(self, *arguments: object, status: int = 2,
                **keywords: Any) -> str:
        """Run it, which must fail, and return its one line."""
        process = self.run(*arguments, **keywords)
        assert process.returncode == status, process.stderr
        line, = process.stderr.splitlines()
        return line

    def code(self, *arguments: object, status: int = 2,
             **keywords: Any) -> str:
        """Run it, which must fail, and return the code of its one line."""
        line = self.problem(*arguments, status=status, **keywords)
        assert line.startswith('vdsm-tlsciphers')
        found = re.search(r' \[([a-z0-9-]+)\]$', line)
        assert found, line
        return found.group(1)


@pytest.fixture(params=PYTHONS)
def command(request: pytest.FixtureRequest,
            make_installation: support.MakeInstallation) -> Command:
    """vdsm-tlsciphers, with each Python that a release of EL has for it."""
    return Command(make_installation(request.param))


@pytest.fixture
def newest_command(make_installation: support.MakeInstallation) -> Command:
    """The same, where the version of Python does not matter."""
    return Command(make_installation(PYTHONS[-1]))
