# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""
The wrapper's functions: the only code that reads QEMU's command line and
OpenSSL's configuration.
"""

import tlsciphers_wrapper

TYPE_CHECKING = False
if TYPE_CHECKING:
    import types
    from collections.abc import Callable


def load(note: 'Callable[[str, str], object] | None' = None) -> (
        'types.ModuleType'):
    """
    Return the wrapper's module. What it would write to a VM's log goes to
    note, a function of a text and a code; None drops it.
    """
    tlsciphers_wrapper.note = note or ignore
    return tlsciphers_wrapper


def ignore(text: str, code: str) -> None:
    """Drop what the wrapper would write to the log of a VM."""
