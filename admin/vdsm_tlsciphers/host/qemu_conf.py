# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""libvirt's configuration of QEMU."""

import re

PATH = '/etc/libvirt/qemu.conf'
# Characters: the file of a distribution has 40,000.
LONGEST = 4 << 20


def read() -> str:
    """Return the text of the file. Raises OSError."""
    with open(PATH, encoding='utf-8', errors='replace') as conf:
        return conf.read(LONGEST)


def value(text: str, name: str) -> 'str | None':
    """Return what the text sets a name to, or None."""
    found = re.findall(
        r'(?m)^[ \t]*%s[ \t]*=[ \t]*(?:"([^"\n]*)|\'([^\'\n]*)|'
        r'([^\s"\'#]*))' % name, text)
    return ''.join(found[-1]) if found else None
