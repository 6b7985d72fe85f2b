# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""Reads and writes the files that are named on the command line."""

import contextlib
import errno
import os
import secrets
import select
import stat
import time

from vdsm_tlsciphers import UserError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import IO

# Seconds, for data from a pipe.
TIMEOUT = 60
# The limit of Linux.
MOST_LINKS = 40
# Flags that open a name itself, even a link.
PLACE = os.O_PATH | os.O_NOFOLLOW
ANOTHER_NAME = 'give another name'


def read_bounded(path: str, limit: int, remedy: str) -> bytes:
    """
    Return the content of a regular file or a pipe, at most limit bytes, within
    TIMEOUT. Devices are not read. Raises UserError, with the remedy (str).
    """
    with _opened(path, remedy) as descriptor:
        mode = os.fstat(descriptor).st_mode
        if not stat.S_ISREG(mode) and not stat.S_ISFIFO(mode):
            raise UserError(path + ': not a regular file', remedy,
                            'not-a-regular-file')
        data = _read(descriptor, limit + 1)
    if data is None:
        raise UserError('%s: not read to its end within %d seconds'
                        % (path, TIMEOUT), remedy, 'file-timeout')
    if len(data) > limit:
        raise UserError('%s: larger than %d MiB' % (path, limit >> 20),
                        remedy, 'file-too-large')
    return data


def read_end(path: str, limit: int) -> bytes:
    """Return the end of a file, at most limit bytes. Raises UserError."""
    remedy = 'run this as root' if os.geteuid() else 'check that file'
    with _opened(path, remedy) as descriptor:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise UserError(path + ': not a regular file', remedy,
                            'not-a-regular-file')
        os.lseek(descriptor, max(0, status.st_size - limit), os.SEEK_SET)
        return _read(descriptor, limit) or b''


@contextlib.contextmanager
def _opened(path: str, remedy: str) -> 'Iterator[int]':
    """
    Open a file or a pipe for reading; yield its descriptor. Raises UserError,
    also where reading fails.
    """
    try:
        # Opening a pipe would wait for a writer.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
        try:
            yield descriptor
        finally:
            os.close(descriptor)
    except OSError as error:
        raise UserError('%s: cannot be read: %s' % (path, error.strerror),
                        remedy, 'file-unreadable')
    except ValueError:
        raise UserError(path + ': cannot be read: invalid file name', remedy,
                        'file-unreadable')


def _read(descriptor: int, limit: int) -> 'bytes | None':
    """Return at most limit bytes, None at a timeout."""
    parts: list[bytes] = []
    left = limit
    deadline = time.monotonic() + TIMEOUT
    while left:
        timeout = deadline - time.monotonic()
        if timeout <= 0:
            return None
        try:
            part = os.read(descriptor, min(left, 1 << 20))
        except BlockingIOError:
            select.select([descriptor], [], [], timeout)
            continue
        if not part:
            break
        parts.append(part)
        left -= len(part)
    return b''.join(parts)


@contextlib.contextmanager
def place(path: str) -> 'Iterator[tuple[int, str]]':
    """
    Yield (descriptor of a folder, name in it) for a file to be written. Links
    on the way are followed if root or the current user owns them; the folder
    cannot be replaced meanwhile. Raises UserError.
    """
    try:
        folder = os.open('/' if path.startswith('/') else '.', PLACE)
        links = 0
        try:
            names = path.split('/')
            while True:
                names = [name for name in names if name not in ('', '.')]
                name = names.pop(0) if names else '.'
                found = _open(name, folder)
                if found is None and not names:
                    break
                if found is None:
                    raise FileNotFoundError(errno.ENOENT,
                                            os.strerror(errno.ENOENT))
                status = os.fstat(found)
                if stat.S_ISLNK(status.st_mode):
                    target = os.readlink('', dir_fd=found)
                    os.close(found)
                    links += 1
                    _check_link(path, links, status.st_uid)
                    names = target.split('/') + names
                    found = os.open('/' if target.startswith('/') else '.',
                                    PLACE, dir_fd=folder)
                elif not names:
                    os.close(found)
                    if not stat.S_ISREG(status.st_mode):
                        raise UserError(path + ': not a regular file',
                                        ANOTHER_NAME, 'not-a-regular-file')
                    break
                os.close(folder)
                folder = found
            yield folder, name
        finally:
            os.close(folder)
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(path + ': its folder does not exist',
                        'create it, or ' + ANOTHER_NAME, 'no-folder')
    except OSError as error:
        raise UserError('%s: cannot be written: %s' % (path, error.strerror),
                        ANOTHER_NAME, 'file-unwritable')


def _open(name: str, folder: int) -> 'int | None':
    try:
        return os.open(name, PLACE, dir_fd=folder)
    except FileNotFoundError:
        return None


def _check_link(path: str, links: int, owner: int) -> None:
    if owner not in (0, os.geteuid()):
        raise UserError('%s: a symbolic link on the way belongs to another '
                        'user (UID %d)' % (path, owner), ANOTHER_NAME,
                        'foreign-link')
    if links > MOST_LINKS:
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))


@contextlib.contextmanager
def scratch(folder: int) -> 'Iterator[IO[bytes]]':
    """Yield an anonymous file in a folder (descriptor)."""
    name = _new_name()
    with open(os.open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600,
                      dir_fd=folder), 'w+b') as file:
        os.unlink(name, dir_fd=folder)
        yield file


@contextlib.contextmanager
def replacement(folder: int, name: str) -> 'Iterator[IO[bytes]]':
    """
    Yield a new file that replaces name in a folder (descriptor) at the end, as
    a whole or not at all, with the permissions of any new file.
    """
    new = _new_name()
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666,
                         dir_fd=folder)
    try:
        with open(descriptor, 'wb') as file:
            yield file
        os.rename(new, name, src_dir_fd=folder, dst_dir_fd=folder)
    except BaseException:
        os.unlink(new, dir_fd=folder)
        raise


def _new_name() -> str:
    return '.vdsm-tlsciphers-' + secrets.token_hex(8)
