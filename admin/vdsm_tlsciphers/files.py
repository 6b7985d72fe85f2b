# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""Files that whoever runs the command names, to be read or written."""

import os
import select
import stat
import time

from vdsm_tlsciphers import Problem

# Seconds, for what comes through a pipe.
TIMEOUT = 60


def read_bounded(path: str, limit: int, remedy: str) -> bytes:
    """
    Return what a regular file, or a pipe, holds: at most limit bytes. A
    device is not read, and nothing is waited for without an end. Raises
    Problem, with the remedy (str) where it is another kind of file.
    """
    try:
        # Opening a pipe would wait for somebody to write to it.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
        try:
            mode = os.fstat(descriptor).st_mode
            if not stat.S_ISREG(mode) and not stat.S_ISFIFO(mode):
                raise Problem('%s: not a regular file; %s' % (path, remedy),
                              'not-a-regular-file')
            data = _read(descriptor, limit + 1)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise Problem('%s: cannot be read: %s' % (path, error.strerror),
                      'file-unreadable')
    except ValueError:
        raise Problem('%s: cannot be read: no file can have this name'
                      % path, 'file-unreadable')
    if data is None:
        raise Problem('%s: not read to its end within %d seconds; %s'
                      % (path, TIMEOUT, remedy), 'file-timeout')
    if len(data) > limit:
        raise Problem('%s: larger than %d MiB; %s' % (path, limit >> 20,
                                                      remedy),
                      'file-too-large')
    return data


def _read(descriptor: int, limit: int) -> 'bytes | None':
    """Return at most limit bytes, None where they do not come in time."""
    parts: list[bytes] = []
    left = limit
    deadline = time.monotonic() + TIMEOUT
    while left:
        patience = deadline - time.monotonic()
        if patience <= 0:
            return None
        try:
            part = os.read(descriptor, min(left, 1 << 20))
        except BlockingIOError:
            select.select([descriptor], [], [], patience)
            continue
        if not part:
            break
        parts.append(part)
        left -= len(part)
    return b''.join(parts)
