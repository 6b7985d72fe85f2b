# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""
The wrapper's functions: how it reads command lines and OpenSSL's configuration
is written there and nowhere else.
"""

import tlsciphers_wrapper

TYPE_CHECKING = False
if TYPE_CHECKING:
    import types
    from collections.abc import Callable
    from typing import NoReturn


class Refused(Exception):
    """What the wrapper would refuse to start a VM for: its line."""


def load(note: 'Callable[[str], object] | None' = None) -> (
        'types.ModuleType'):
    """
    Return the wrapper's module, whose functions raise Refused where it would
    end the process, and whose lines for a VM's log go to note, if anywhere.
    """
    tlsciphers_wrapper.refuse = refuse
    tlsciphers_wrapper.note = note or ignore
    return tlsciphers_wrapper


def refuse(line: str) -> 'NoReturn':
    raise Refused(line)


def ignore(line: str) -> None:
    """What it would write to the log of a VM."""
