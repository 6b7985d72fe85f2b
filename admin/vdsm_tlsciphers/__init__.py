# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""
The command vdsm-tlsciphers. Private to vdsm-hook-tlsciphers; runs on Python
3.6 and later.

Each command is a module of commands/, imported only where it is asked for,
that has add_arguments(parser), run(options), which returns an exit status,
and EXAMPLES (str) for its help. It is light: what --help does not need is
imported in its functions. TYPE_CHECKING is what mypy takes for true: a start
does without typing.
"""

VERSION = '@VERSION@'

# Exit statuses.
FINE = 0
FINDINGS = 1
FAILED = 2
INTERNAL_ERROR = 3


class UserError(Exception):
    """
    What keeps a command from its work: a line that names the thing, what is
    wrong with it, and the remedy; at its end the code (str or None) in
    brackets.
    """

    def __init__(self, line: str, code: 'str | None' = None) -> None:
        super().__init__('%s [%s]' % (line, code) if code else line)
        self.code = code
