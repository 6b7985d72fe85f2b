# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""
What a built-in profile costs at a start of a VM with both displays, with the
programs that are asked: in time alone, so that it needs no more than a
userland has.
"""

from __future__ import annotations

import pathlib
import re
import tempfile
from collections.abc import Iterator

from interpreters import SHORTEST, SPICE, VNC, Interpreter
from measure import ENVIRONMENT, EXEC, Command, Row, run, time_ratio

import support

GOALS = {'3.6': 2.1, '3.9': 2.3}


def rows(rounds: int) -> Iterator[Row]:
    for version in support.available_pythons():
        with tempfile.TemporaryDirectory() as directory:
            yield from profile(Interpreter(version, pathlib.Path(directory),
                                           rounds))


def profile(interpreter: Interpreter) -> Iterator[Row]:
    python, version = interpreter.python, interpreter.version
    hook: Command = [python, '-Ss', interpreter.installation.hook]
    shortest: Command = [python, interpreter.script('shortest', SHORTEST)]
    environment = dict(interpreter.hook_environment,
                       tlsprofile='intermediate')
    xml = support.lab_domain('spice', 'vnc').ljust(4000)

    def run_on_xml(command: Command) -> None:
        # One that has the policy already would not be written.
        interpreter.domxml.write_text(xml)
        run(command, environment)

    yield Row('hook: `tlsprofile=intermediate`, 4 kB of XML',
              'the shortest hook with minidom', version, None,
              time_ratio(interpreter.rounds, lambda: run_on_xml(hook),
                         lambda: run_on_xml(shortest)), GOALS.get(version))

    run_on_xml(hook)
    policy = re.findall('arg value="([^"]*)"', interpreter.domxml.read_text())
    assert '-vdsm-tls' in policy
    wrapper: Command = [python, '-ESs', interpreter.installation.wrapper,
                        *VNC, *SPICE[:2], *policy]
    bare: Command = [python, '-ESs', interpreter.script('execs', EXEC)]
    yield Row('wrapper: `tlsprofile=intermediate`, both displays',
              '`python -ESs`, exec', version, None,
              time_ratio(interpreter.rounds,
                         lambda: run(wrapper, ENVIRONMENT),
                         lambda: run(bare, ENVIRONMENT)))
