# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""What commands write to a terminal, or to a file."""

import os
import re
import sys
import time

from vdsm_tlsciphers import VERSION

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TextIO

    from vdsm_tlsciphers import documents

# Of all documents: later versions add keys, and change none.
FORMAT_VERSION = 2
TIME = '%Y-%m-%dT%H:%M:%SZ'
# Where the word at the beginning of a line of the hook is the package, and not
# the property.
OF_THE_PACKAGE = (
    r'tlsciphers: (?=(the (SPICE|VNC) console|this VM|the wrapper|the domain '
    r'XML|the attribute|the package|another hook|cannot check the values)\b)')
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


def clean(text: str) -> str:
    """
    Return text that comes from elsewhere (a certificate, a domain XML) for a
    terminal: control characters become '?'.
    """
    return ''.join(c if c.isprintable() else '?' for c in text)


def without_package(line: str) -> str:
    """
    Return a line of the hook without the name of the package at its
    beginning, which its property has as well.
    """
    return re.sub(OF_THE_PACKAGE, '', line)


def as_remedy(text: str) -> str:
    """Return what follows the cause in a line, as what is to be done."""
    text = re.sub('^remedy: ', '', text)
    return re.sub('^(there are|known are|those of this host)', r'correct it: '
                  r'\1', text)


def note(line: str, code: str) -> None:
    """Print what is to be known of a result on standard error."""
    sys.stderr.write('vdsm-tlsciphers: %s [%s]\n' % (clean(line), code))


def head(command: str) -> 'documents.Head':
    """Return what the document of a command (str) begins with, for JSON."""
    return {'format': 'vdsm-tlsciphers ' + command,
            'version': FORMAT_VERSION, 'tool': VERSION,
            'host': os.uname().nodename,
            'time': time.strftime(TIME, time.gmtime())}


def print_json(document: object) -> None:
    """Print a document (of dict, list, str, ...) as JSON."""
    import json
    json.dump(document, sys.stdout, indent=2, sort_keys=False)
    sys.stdout.write('\n')


def count(number: int, noun: str) -> str:
    """Return '1 suite', '2 suites'."""
    return '%s %s%s' % (thousands(number), noun, '' if number == 1 else 's')


def thousands(number: int) -> str:
    """Return a number as people write it."""
    return f'{number:,}'
