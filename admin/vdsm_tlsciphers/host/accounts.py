# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""The users as whom vdsm runs the hook and libvirt QEMU, and trials as one."""

import codecs
import os
import pwd
import re

from vdsm_tlsciphers import programs
from vdsm_tlsciphers.host import qemu_conf
from vdsm_tlsciphers.host.finding import FAILED, Finding

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

# The users as whom hook and wrapper run on a host: vdsm's and QEMU's, unless
# qemu.conf names another one.
VDSM = 'vdsm'
QEMU = ('qemu', 'libvirt-qemu')
# The beginning of an answer of another user's process.
ANSWER = 'answer: '


class NotTried(Exception):
    """A trial as another user could not be made: the user, and why."""


def account(names: 'tuple[str, ...]') -> 'pwd.struct_passwd | None':
    """Return the first of these users that exists, or None."""
    for name in names:
        try:
            # To libvirt, +107 is a number.
            if re.match(r'\+?\d+$', name):
                return pwd.getpwuid(int(name))
            return pwd.getpwnam(name)
        except KeyError:
            continue
    return None


def vdsm_user() -> 'pwd.struct_passwd | None':
    return account((VDSM,))


def qemu_user() -> 'pwd.struct_passwd | None':
    """Return the user as whom libvirt runs QEMU, or None."""
    name = given_qemu_user()
    return account((name,) if name else QEMU)


def tried(check: str, function: 'Callable[[], Finding | list[Finding]]',
          ) -> 'Finding | list[Finding]':
    """Return the result of a check, or that it could not be made."""
    try:
        return function()
    except NotTried as error:
        return Finding(check, FAILED, 'cannot be tried as user %s: %s'
                       % error.args, 'run the installed vdsm-tlsciphers '
                       'doctor, with the Python of this host', 'not-tried')


def as_user(user: 'pwd.struct_passwd | None',
            question: 'Callable[[], str | None]') -> str:
    """
    Return what a function returns (str; '' for None) in a process of a
    user's. Raises NotTried where it fails.
    """
    # Loaded now: that user may not be able to read this Python.
    codecs.lookup('latin-1')
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        try:
            change = programs.become(user)
            if change:
                change()
            answer = ANSWER + (question() or '')
        except Exception as error:  # noqa: BLE001 (the other process's)
            answer = str(error) or type(error).__name__
        os.write(writer, answer.encode('utf-8', 'replace')[:4096])
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, 'rb') as answers:
        text = answers.read().decode('utf-8', 'replace')
    os.waitpid(child, 0)
    if not text.startswith(ANSWER):
        raise NotTried(who(user), text or 'no answer')
    return text[len(ANSWER):]


def closed(path: str, user: 'pwd.struct_passwd | None') -> 'str | None':
    """Return the folder above a path that a user cannot enter, or None."""
    def look() -> 'str | None':
        folder = '/'
        for name in os.path.dirname(path).split('/')[1:]:
            folder = os.path.join(folder, name)
            if not os.access(folder, os.X_OK) and os.path.isdir(folder):
                return folder
        return None
    return as_user(user, look) or None


def who(user: 'pwd.struct_passwd | None') -> str:
    return user.pw_name if user else 'root'


def given_qemu_user() -> 'str | None':
    """Return the user that libvirt's configuration sets, or None."""
    try:
        return qemu_conf.value(qemu_conf.read(), 'user')
    except OSError:
        return None
