# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""
Lines that hook and wrapper wrote in other processes, such as those in the
logs of a VM's last start, as messages again. Nothing else reads a message out
of its text.
"""

import re

from tlsciphers_config import HOST_DEFAULT
from tlsciphers_values import CANNOT_ASK, NOT_HERE, PACKAGE, Refused

WRAPPER = 'qemu-kvm-modified: '
CODE = re.compile(r' \[([a-z0-9-]+)\]$')
# Before 0.4.0; a property has the same name.
OLD_PACKAGE = 'tlsciphers: '
# What is wrong is the host, or another hook.
OF_HOST = frozenset((
    'cannot-run', 'domain-doctype', 'domain-xml', 'domain-xml-unwritable',
    'foreign-emulator', 'host-not-in-order', 'internal-error', 'no-hooking',
    'package-damaged', 'prefix', 'wrapper-label', 'wrapper-missing',
    'wrapper-mode'))
# What another host may be able to enforce: in a line the kind is lost.
OF_LIBRARIES = frozenset((
    'no-suite', 'openssl-too-old', 'priority-refused', 'unknown-group',
    'unknown-setting', 'unknown-suite'))
# Notes of resolve() about a policy as it was requested.
DESCRIPTIONS = frozenset(('policy-set', 'console-not-covered'))
# The codes of lines of versions that wrote none, by their words.
WORDS = (
    ('tlsciphers: the wrapper .* has the SELinux label', 'wrapper-label'),
    ('tlsciphers: the wrapper .* is not a file', 'wrapper-mode'),
    ('tlsciphers: the wrapper', 'wrapper-missing'),
    ('tlsciphers: the domain XML has a document type', 'domain-doctype'),
    ('tlsciphers: the domain XML', 'domain-xml'),
    ('tlsciphers: the attribute', 'prefix'),
    ('tlsciphers: another hook', 'foreign-emulator'),
    ('tlsciphers: cannot import hooking', 'no-hooking'),
    ('tlsciphers: cannot write the domain XML', 'domain-xml-unwritable'),
    ('tlsciphers: (the package|the hook)', 'package-damaged'),
    ('tlsciphers: (cannot|could not)', 'cannot-run'),
    ('tlsciphers: unexpected', 'internal-error'),
    (re.escape(HOST_DEFAULT), 'host-file'),
    ('qemu-kvm-modified: cannot start ', 'qemu-missing'),
    ('qemu-kvm-modified: .*this version cannot enforce it',
     'unknown-setting'),
    ('.*no such profile', 'unknown-profile'),
    ('.*(needs OpenSSL|no such settings)', 'openssl-too-old'),
    ('.*does not know this group', 'unknown-group'),
    ('.*does not know', 'unknown-suite'))


def parse(line: str) -> Refused:
    """Return a line of hook or wrapper (str) as a message."""
    found = CODE.search(line)
    code = found.group(1) if found else next(
        (code for words, code in WORDS if re.match(words, line)), '')
    text, _, remedy = line[:found.start() if found else None].partition('; ')
    prefix = ''
    if text.startswith(WRAPPER):
        prefix = WRAPPER
    elif text.startswith(PACKAGE):
        prefix = PACKAGE
    elif text.startswith(OLD_PACKAGE) and code in OF_HOST:
        prefix = OLD_PACKAGE
    # Versions up to 0.3.0 wrote "; remedy: " in some lines.
    return Refused(text[len(prefix):], re.sub('^remedy: ', '', remedy), code,
                   CANNOT_ASK if code == 'cannot-run' else
                   NOT_HERE if code in OF_LIBRARIES else '', prefix)


def subjects(text: str) -> 'list[str]':
    """
    Return the properties, or settings, that a message is about: those that
    its text begins with, such as ['tlsciphers'].
    """
    found = re.match(r'([a-z_]+(?:, [a-z_]+)*): ', text)
    return found.group(1).split(', ') if found else []


def is_of_host_file(message: Refused) -> bool:
    """Tell whether a message is about the host's default or its profiles."""
    return bool(message.text.startswith(HOST_DEFAULT))


def is_of_host(message: Refused) -> bool:
    """Tell whether a message of the hook is about the host or another hook."""
    return message.code in OF_HOST
