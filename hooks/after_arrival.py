#!@PYTHON@ -Ss
# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""
vdsm hook: a VM with a mark of "vdsm-tlsciphers apply" has arrived.

Installed as after_vm_migrate_destination/50_tlsciphers and
after_vm_dehibernate/50_tlsciphers. A mark that is still there has not become
the VM's policy on the way (see "vdsm-tlsciphers incoming"), and what QEMU was
told for VNC was lost. This tells it again. It changes no domain XML, and never
fails: vdsm only logs what it says.
"""

# These are part of the interpreter, as in before_vm_start/50_emulator.
import posix
import sys

NAMESPACE = b'http://ovirt.org/vdsm-hook-tlsciphers/pending/1.0'
PKGDATADIR = '@PKGDATADIR@'
# A domain XML has some 20 kB.
MOST_BYTES = 4 * 1024 * 1024
# Seconds.
LIMIT = 30


def main():
    xml = read(posix.environ.get(b'_hook_domxml', b''))
    if NAMESPACE not in xml:
        return
    sys.dont_write_bytecode = True
    sys.path.insert(0, PKGDATADIR)
    try:
        # A QEMU that hangs never answers, and vdsm waits for this.
        import signal
        signal.alarm(LIMIT)
        from tlsciphers_arrived import COMPLETE, restore  # noqa: F401
        line = restore(xml)
    except Exception as error:
        line = 'the mark of this VM stays without effect: %s' % error
    if line:
        sys.stderr.write('vdsm-hook-tlsciphers: %s\n' % ''.join(
            c if ' ' <= c <= '~' and c not in '"\'\\' else '?'
            for c in line[:1000]))


def read(path):
    try:
        descriptor = posix.open(path, posix.O_RDONLY)
        parts = [b'']
        while len(parts) * 65536 <= MOST_BYTES:
            parts.append(posix.read(descriptor, 65536))
            if not parts[-1]:
                return b''.join(parts)
    except (OSError, TypeError):
        pass
    return b''


if __name__ == '__main__':
    main()
