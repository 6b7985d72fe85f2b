# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""What commands write to a terminal, or to a file."""

import os
import sys
import time

from vdsm_tlsciphers import VERSION, one_line

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TextIO

    from vdsm_tlsciphers import documents

# Of all documents: later versions add keys, and change none.
FORMAT_VERSION = 2
TIME = '%Y-%m-%dT%H:%M:%SZ'
COLOURS = {'red': '31', 'green': '32', 'yellow': '33', 'bold': '1'}


def paint(text: str, colour: str, stream: 'TextIO | None' = None) -> str:
    """
    Return text in a colour of COLOURS, where the stream (standard output by
    default) is a terminal and NO_COLOR (https://no-color.org) is not set.
    """
    stream = stream or sys.stdout
    if (not stream.isatty() or os.environ.get('NO_COLOR')
            or os.environ.get('TERM') == 'dumb'):
        return text
    return '\x1b[%sm%s\x1b[0m' % (COLOURS[colour], text)


def clean(text: str, limit: 'int | None' = None) -> str:
    """
    Return untrusted text (of a certificate, a domain XML) in a form that is
    safe to print: control characters become '?', and what is longer than
    limit (int: characters) ends in '...'.
    """
    if limit is not None and len(text) > limit:
        text = text[:limit] + '...'
    return ''.join(c if c.isprintable() else '?' for c in text)


def note(text: str, remedy: str, code: str) -> None:
    """Print on standard error what the reader of a result should know."""
    sys.stderr.write('vdsm-tlsciphers: %s\n' % clean(
        one_line(text, remedy, code)))


def head(command: str) -> 'documents.Head':
    """Return the beginning of the JSON document of a command (str)."""
    return {'format': 'vdsm-tlsciphers ' + command,
            'version': FORMAT_VERSION, 'tool': VERSION,
            'host': os.uname().nodename,
            'time': time.strftime(TIME, time.gmtime())}


def print_json(document: object) -> None:
    """Print a document (of dict, list, str, ...) as JSON."""
    import json
    json.dump(document, sys.stdout, indent=2, sort_keys=False)
    sys.stdout.write('\n')


def count(number: int, noun: str, plural: str = '') -> str:
    """Return '1 suite', '2 suites', or with the plural of a noun."""
    return '%s %s' % (thousands(number), noun if number == 1
                      else plural or noun + 's')


def thousands(number: int) -> str:
    """Return a number with separators, such as '1,234'."""
    return f'{number:,}'
