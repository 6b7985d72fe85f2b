# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""
The wrapper's module: how QEMU's command line and OpenSSL's configuration are
read is written there alone.
"""

import contextlib

import tlsciphers_wrapper

TYPE_CHECKING = False
if TYPE_CHECKING:
    import types
    from collections.abc import Callable, Iterator


def ignore(text: str, code: str) -> None:
    """Drop what the wrapper would write to the log of a VM."""


tlsciphers_wrapper.note = ignore


def load() -> 'types.ModuleType':
    """Return the wrapper's module, which writes to no log here."""
    return tlsciphers_wrapper


@contextlib.contextmanager
def noting(note: 'Callable[[str, str], object]') -> 'Iterator[None]':
    """
    Meanwhile, call note with the text and the code of what the wrapper would
    write to the log of a VM.
    """
    tlsciphers_wrapper.note = note
    try:
        yield
    finally:
        tlsciphers_wrapper.note = ignore
