# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

import subprocess

import pytest

import support

# Those of the hook that the command runs on as well.
PYTHONS = [version for version in support.available_pythons()
           if version != '2.7']


class Command:
    """Runs the installed vdsm-tlsciphers."""

    def __init__(self, installation):
        self.installation = installation

    def run(self, *arguments, environment=(), **keywords):
        """Run it; return the process (with stdout, stderr as str)."""
        return subprocess.run(
            [self.installation.command, *map(str, arguments)],
            stdin=subprocess.DEVNULL, capture_output=True, text=True,
            env={'PATH': '/usr/bin:/bin', 'LC_ALL': 'C.UTF-8',
                 **dict(environment)}, **keywords)

    def problem(self, *arguments, status=2, **keywords):
        """Run it, which must fail, and return its one line."""
        process = self.run(*arguments, **keywords)
        assert process.returncode == status, process.stderr
        line, = process.stderr.splitlines()
        return line


@pytest.fixture(params=PYTHONS)
def command(request, make_installation):
    """vdsm-tlsciphers, with each Python that a release of EL has for it."""
    return Command(make_installation(request.param))


@pytest.fixture
def newest_command(make_installation):
    """The same, where the version of Python does not matter."""
    return Command(make_installation(PYTHONS[-1]))
