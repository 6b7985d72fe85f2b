# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""Runs programs of this machine."""

import errno
import os
import subprocess  # nosec B404 # programs by absolute path, no shell

from tlsciphers_values import GNUTLS_CLI, OPENSSL

from vdsm_tlsciphers import UserError

TYPE_CHECKING = False
if TYPE_CHECKING:
    import pwd
    from collections.abc import Callable, Mapping

# The packages of the programs that validate values.
PACKAGES = {OPENSSL: 'openssl', GNUTLS_CLI: 'gnutls-utils'}
CLEAN = {'PATH': '/usr/sbin:/usr/bin:/sbin:/bin', 'LC_ALL': 'C'}


def run_bytes(program: str, *arguments: str, data: bytes = b'',
              user: 'pwd.struct_passwd | None' = None,
              environment: 'Mapping[str, str]' = CLEAN,
              timeout: 'float | None' = None,
              ) -> 'subprocess.CompletedProcess[bytes]':
    """
    Run a program and return what it printed.

    Arguments:
        data (bytes): its standard input.
        user (pwd.struct_passwd): whose process it is; None for this one's.
        environment (mapping of str): all that it gets.
        timeout (float): in seconds; None for none.

    Raises OSError where it cannot be run, subprocess.TimeoutExpired.
    """
    # Programs and arguments are written in this package.
    return subprocess.run(  # nosec B603
        [program, *arguments], input=data, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, cwd='/', env=dict(environment),
        preexec_fn=become(user), timeout=timeout)


def run(program: str, *arguments: str,
        user: 'pwd.struct_passwd | None' = None,
        environment: 'Mapping[str, str]' = CLEAN,
        ) -> 'subprocess.CompletedProcess[str]':
    """The same with text in place of bytes; raises OSError."""
    process = run_bytes(program, *arguments, user=user,
                        environment=environment)
    return subprocess.CompletedProcess(
        process.args, process.returncode,
        process.stdout.decode('utf-8', 'replace'),
        process.stderr.decode('utf-8', 'replace'))


def ask(program: str,
        *arguments: str) -> 'subprocess.CompletedProcess[str]':
    """The same; a missing program has the exit status 127."""
    try:
        return run(program, *arguments)
    except OSError as error:
        return subprocess.CompletedProcess(
            [program], 127, '', '%s: %s' % (program, error.strerror))


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


def cannot_run(program: str, error: OSError) -> UserError:
    """Return the message about a program that cannot be run."""
    package = PACKAGES.get(program, program)
    return UserError(
        '%s cannot be run: %s' % (program, error.strerror),
        'install ' + package if error.errno == errno.ENOENT else
        'let every user run it (chmod a+rx), or reinstall ' + package,
        'cannot-run')
