#!@PYTHON@ -ESs
# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""
Starts QEMU with the TLS policy that the VM's command line requests.

libvirt starts this as the VM's emulator. Options of its own (-vdsm-tls and
-vdsm-tls-default, each with KEY=VALUE) are taken out and put into effect, and
the real emulator takes over this process. What cannot be put into effect
keeps the VM from starting, with one line on standard error.

A probe by libvirt, or a VM without a policy, needs nothing but this file.
"""

import posix
import sys

try:
    import _signal as signal  # Python 3: "signal" itself imports much more.
except ImportError:
    import signal

QEMU_KVM = '@QEMU_KVM@'
PKGDATADIR = '@PKGDATADIR@'


def main():
    arguments = sys.argv[1:]
    # Python ignores these from its start on, and exec would pass that on.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    text = '\n'.join(arguments)
    if ('-vdsm-tls' in text or 'tls-port=' in text
            or b'LC_CTYPE' in posix.environ):
        arguments = load_wrapper()(arguments)
    try:
        posix.execv(QEMU_KVM, [QEMU_KVM] + arguments)
    except OSError as error:
        sys.exit('qemu-kvm-modified: cannot start %s: %s; install or repair '
                 'the package qemu-kvm [qemu-missing]'
                 % (QEMU_KVM, error.strerror))


def load_wrapper():
    # Nothing is to be written beside what is imported.
    sys.dont_write_bytecode = True
    sys.path.insert(0, PKGDATADIR)
    try:
        # One that is empty, or was cut off, has not got both.
        from tlsciphers_wrapper import (  # noqa: F401
            COMPLETE,
            final_arguments,
        )
    except Exception as error:
        sys.exit('qemu-kvm-modified: the policy of this VM cannot be put into '
                 'effect: %s; fix this host, or dnf reinstall '
                 'vdsm-hook-tlsciphers [package-damaged]' % error)
    return final_arguments


if __name__ == '__main__':
    main()
