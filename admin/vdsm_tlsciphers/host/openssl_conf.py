# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""
Whether OpenSSL accepts the host's configuration together with that of a
policy, as the wrapper writes it, and the host's line that it rejects.
"""

import contextlib
import os
import re
import tempfile

from tlsciphers_values import Refused

from vdsm_tlsciphers import UserError
from vdsm_tlsciphers.host import wrapper as installed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

KEYS = ('ciphersuites', 'protocols', 'groups')
# The code where OpenSSL ignores the host's file.
MALFORMED = 'host-openssl-conf-malformed'
# Of the host's settings: no real file has more.
MOST_LINES = 500
# Of files that include each other.
MOST_DEPTH = 9


@contextlib.contextmanager
def written(policy: 'dict[str, str]', path: str,
            note: 'Callable[[str, str], object]' = installed.ignore) -> (
                'Iterator[tuple[int, Refused | None]]'):
    """
    Write the configuration that the wrapper gives to QEMU's OpenSSL into a new
    file. Yields its descriptor, and why it would not take effect or None;
    note is called with the text and code of what the wrapper notes. Raises
    UserError.
    """
    module = installed.load()
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        module.set_openssl_conf(os.fsencode(path))
        with installed.noting(note):
            problem = module.write_configuration(
                descriptor, *(policy.get(key, '') for key in KEYS))[1]
        yield descriptor, problem and Refused(*problem)
    except Refused as refusal:
        raise UserError.of(refusal)
    except OSError as error:
        raise UserError('%s: %s' % (error.filename or path, error.strerror),
                        'fix this host', 'system-error')
    finally:
        os.close(descriptor)
        # From here on the programs run in this process's environment again.
        module.set_openssl_conf(os.environb.get(b'OPENSSL_CONF'))


def fault(policy: 'dict[str, str]') -> (
        'tuple[Refused | None, str | None, str | None]'):
    """
    Return why OpenSSL would not accept a policy ({key of
    tlsciphers_values.KEYS: value}) on this host, or None; and where it rejects
    a line of the host's, 'FILE: line N' and that line. Raises UserError.
    """
    notes: list[Refused] = []
    with tempfile.TemporaryDirectory(
            prefix='vdsm-tlsciphers-') as folder, written(
                policy, os.path.join(folder, 'openssl.cnf'),
                lambda text, code: notes.append(Refused(text, '', code))) as (
                    descriptor, problem):
        problem = problem or next(
            (note for note in notes if note.code == MALFORMED), None)
        if problem is None:
            return None, None, None
        return (problem, *find_line(descriptor))


def host_file() -> str:
    """Return the path of the configuration of this host's OpenSSL."""
    return str(installed.load().host_openssl_conf())


def unreadable(path: str, depth: int = 0) -> 'str | None':
    """
    Return a file of the configuration, or one that it includes, that this
    process cannot read although it is there, or None.
    """
    try:
        with open(path, encoding='latin-1') as file:
            text = file.read()
    except PermissionError:
        return path
    except OSError:
        return None
    for included in includes(text) if depth < MOST_DEPTH else ():
        try:
            names = [os.path.join(included, name)
                     for name in sorted(os.listdir(included))]
        except PermissionError:
            return included
        except OSError:
            names = [included]  # It is no folder.
        for name in names:
            there = unreadable(name, depth + 1)
            if there:
                return there
    return None


def includes(text: str) -> 'list[str]':
    return re.findall(r'(?m)^\s*\.include\s*=?\s*(/\S+)', text)


def find_line(descriptor: int) -> 'tuple[str | None, str | None]':
    """
    Return ('FILE: line N', the line) of the host's configuration without
    which OpenSSL accepts it, (None, None) where no single line is at fault.
    """
    module = installed.load()
    try:
        text, chain = module.read_host_configuration()
    except ValueError:
        return None, None  # What it means cannot be evaluated.
    lines = text.split('\n')
    for number, line in enumerate(lines[:MOST_LINES]):
        setting = line.partition('#')[0].strip()
        if '=' not in setting:
            continue
        rest = '\n'.join(lines[:number] + lines[number + 1:])
        # Without a name of the chain there is no section to add to.
        if setting.partition('=')[0].strip() in (
                'openssl_conf', 'ssl_conf', 'system_default'):
            continue
        if module.takes_effect(descriptor, rest + chain, '') is not None:
            return place(module.host_openssl_conf(), line, 0), setting
    return None, None


def place(path: str, line: str, depth: int) -> 'str | None':
    """Return 'FILE: line N' of a line in a file, or in one it includes."""
    try:
        with open(path, encoding='latin-1') as file:
            lines = file.read().replace('\r', '').split('\n')
    except OSError:
        return None
    if line in lines:
        return '%s: line %d' % (path, lines.index(line) + 1)
    for included in includes('\n'.join(lines)) if depth < MOST_DEPTH else ():
        names = ([os.path.join(included, name)
                  for name in sorted(os.listdir(included))]
                 if os.path.isdir(included) else [included])
        for name in names:
            there = place(name, line, depth + 1)
            if there:
                return there
    return None
