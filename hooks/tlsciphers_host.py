# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""
The wrapper of this host: is it there, and does SELinux let it start QEMU?

Private to vdsm-hook-tlsciphers. Runs on Python 2.7 and 3.6 and later, and
keeps to the syntax of 2.6, as the hook does.
"""

import os
import stat

from tlsciphers_values import PACKAGE, Refused, printable

QEMU_KVM = '@QEMU_KVM@'
WRAPPER = '@WRAPPER@'
# What a domain XML names as emulator: a link to the wrapper, at the path that
# the original how-to uses. Hosts migrate VMs to each other by this name.
EMULATOR = '@EMULATOR@'


def check_wrapper():
    """
    Refuse (Refused) to name the wrapper as emulator where a VM could not
    start through it. Returns what is worth a warning (list of Refused).
    """
    remedy = 'dnf reinstall vdsm-hook-tlsciphers'
    try:
        status = os.stat(EMULATOR)
    except OSError as error:
        raise Refused('the wrapper %s cannot be used: %s' % (
            EMULATOR, error.strerror), remedy, 'wrapper-missing',
                      prefix=PACKAGE)
    # Not os.access(): the emulator runs as another user than this hook.
    if not stat.S_ISREG(status.st_mode) or status.st_mode & 0o555 != 0o555:
        raise Refused('the wrapper %s is not a file that every user may '
                      'execute' % EMULATOR, remedy, 'wrapper-mode',
                      prefix=PACKAGE)
    if not hasattr(os, 'getxattr'):
        return []
    enforcing = _selinux_enforcing()
    if enforcing is None:
        return []
    try:
        label = os.getxattr(EMULATOR, 'security.selinux')
    except OSError as error:
        label = error.strerror.encode('ascii', 'replace')
    label = label.rstrip(b'\0').decode('ascii', 'replace')
    if label.split(':')[2:3] == ['qemu_exec_t']:
        return []
    refusal = Refused('the wrapper has the SELinux label %s instead of '
                      'qemu_exec_t' % printable(label), 'restorecon -v %s %s'
                      % (WRAPPER, EMULATOR), 'wrapper-label', prefix=PACKAGE)
    if enforcing:
        raise refusal
    return [refusal]


def _selinux_enforcing():
    """Return True, False (permissive) or None (SELinux is not enabled)."""
    try:
        with open('/sys/fs/selinux/enforce') as enforce:
            return enforce.read(1) == '1'
    except (IOError, OSError):
        return None


# Its last line: what imports this asks for it, so a file that was cut off is
# none.
COMPLETE = True
