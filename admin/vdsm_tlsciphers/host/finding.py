# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""The result of a check of doctor, and what all checks share."""

import collections

from tlsciphers_values import Refused

from vdsm_tlsciphers import codes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NamedTuple

OK, WARNING, FAILED = 'ok', 'warning', 'failed'
if TYPE_CHECKING:
    class Finding(NamedTuple):
        """The result of a check: '' for no remedy."""

        check: str
        state: str
        text: str
        remedy: str
        code: str
else:
    Finding = collections.namedtuple('Finding', 'check state text remedy code')

PACKAGE = 'vdsm-hook-tlsciphers'
REINSTALL = 'dnf reinstall ' + PACKAGE
FIX = 'vdsm-tlsciphers doctor --fix'
HOOK = '@HOOK@'
INCOMING = '@INCOMING@'
PKGDATADIR = '@PKGDATADIR@'
SCRIPTLET = PKGDATADIR + '/scriptlet'
# Codes of messages that are treated in their own way.
LABEL = 'wrapper-label'


def ok(check: str, text: str) -> Finding:
    """Return a Finding without a problem."""
    return Finding(check, OK, text, '', code_of(check))


def code_of(check: str) -> str:
    """Return the code (str) of a check, such as openssl-cnf."""
    return ''.join(c if c.isalnum() else '-' for c in check.lower())


def known(message: Refused, check: str) -> str:
    """Return the code of a message of another process, or of the check."""
    return message.code if message.code in codes.SEVERITY else code_of(check)


def first_line(text: str) -> str:
    return (text.strip().splitlines() or [''])[0].strip()


def last_line(text: str) -> str:
    return (text.strip().splitlines() or ['no reason'])[-1].strip()
