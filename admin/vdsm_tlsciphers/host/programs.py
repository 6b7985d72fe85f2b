# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""Runs programs of the system, as root or as another user."""

import os
import subprocess  # nosec B404 # programs by absolute path, no shell

from tlsciphers_host import QEMU_KVM

TYPE_CHECKING = False
if TYPE_CHECKING:
    import pwd
    from collections.abc import Callable


def ask(program: str,
        *arguments: str) -> 'subprocess.CompletedProcess[str]':
    """Run a program of the system; a missing one answers with status 127."""
    try:
        return ask_real(program, *arguments)
    except OSError as error:
        return subprocess.CompletedProcess(
            [program], 127, '', '%s: %s' % (program, error.strerror))


def ask_real(program: str, *arguments: str,
             user: 'pwd.struct_passwd | None' = None,
             ) -> 'subprocess.CompletedProcess[str]':
    """Run a program, as root or as another user; raises OSError."""
    # What doctor runs is written in this file.
    return subprocess.run(  # nosec B603
        [program, *arguments], stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        universal_newlines=True, errors='replace', cwd='/',
        preexec_fn=become(user), env={
            'PATH': '/usr/sbin:/usr/bin:/sbin:/bin', 'LC_ALL': 'C'})


def become(user: 'pwd.struct_passwd | None') -> 'Callable[[], None] | None':
    """Return what makes a new process one of a user's; None stays root."""
    if user is None or not user.pw_uid:
        return None

    def change() -> None:
        assert user  # nosec B101 # for mypy
        os.initgroups(user.pw_name, user.pw_gid)
        os.setgid(user.pw_gid)
        os.setuid(user.pw_uid)
    return change


def has_spice() -> bool:
    try:
        # It reads its arguments in order: -version ends it.
        return ask_real(QEMU_KVM, '-spice', 'tls-port=5900', '-version'
                        ).returncode == 0
    except OSError:
        return False
