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


def load(note: 'Callable[[str, str], object] | None' = None) -> (
        'types.ModuleType'):
    """
    Return the wrapper's module, whose messages for a VM's log (a text and a
    code) go to note, if anywhere.
    """
    tlsciphers_wrapper.note = note or ignore
    return tlsciphers_wrapper


def ignore(text: str, code: str) -> None:
    """What it would write to the log of a VM."""
