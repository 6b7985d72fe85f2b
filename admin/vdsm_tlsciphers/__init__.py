# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""
The command vdsm-tlsciphers. Private to vdsm-hook-tlsciphers; runs on Python
3.6 and later.

Each command is a module of commands/ with add_arguments(parser),
run(options), which returns an exit status, and EXAMPLES (str) for its help.
Only the requested one is imported, and it imports in its functions what
--help does not need. TYPE_CHECKING is true to mypy only: a start does without
typing.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from tlsciphers_values import Refused

VERSION = '@VERSION@'

# Exit statuses.
FINE = 0
FINDINGS = 1
FAILED = 2
INTERNAL_ERROR = 3


class UserError(Exception):
    """
    What keeps a command from its work: text (str: what is wrong, with what),
    remedy (str: '' for none), and code (str, of codes.SEVERITY), by which
    docs/troubleshooting.md is found. As a str it is one line.
    """

    def __init__(self, text: str, remedy: str, code: str) -> None:
        super().__init__(one_line(text, remedy, code))
        self.text = text
        self.remedy = remedy
        self.code = code

    def __reduce__(self) -> 'tuple[type, tuple[str, str, str]]':
        # It may come from another process.
        return type(self), (self.text, self.remedy, self.code)

    @classmethod
    def of(cls, refusal: 'Refused') -> 'UserError':
        """Return the same message, of a refusal by hook or wrapper."""
        return cls(refusal.text, refusal.remedy, refusal.code)

    @property
    def reason(self) -> str:
        """The text and the code, for what says more about it."""
        return one_line(self.text, '', self.code)


def one_line(text: str, remedy: 'str | None', code: str) -> str:
    """Return the line of a message."""
    return '%s%s [%s]' % (text, '; ' + remedy if remedy else '', code)
