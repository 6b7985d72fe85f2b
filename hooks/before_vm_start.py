#!@PYTHON@ -Ss
# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""
vdsm hook: the TLS policy of a VM's console.

Installed as before_vm_start/50_emulator. It reads the VM's custom properties

  tlsciphers    SPICE: an OpenSSL cipher list; names that begin with TLS_ are
                suites for TLS 1.3
  tlsprotocols  SPICE: TLSv1.2, TLSv1.3 or TLSv1.2:TLSv1.3
  tlsgroups     SPICE: groups for the key exchange, as in X25519:P-256
  tlspriority   VNC: a GnuTLS priority string
  tlsprofile    both: modern, intermediate, a profile of this host's
                @HOST_DEFAULT@, or none, which
                opts out of the default there

checks what they say, and makes libvirt start the VM through the wrapper that
enforces it. A value that cannot be enforced stops the start; so does a console
without one where the property extra_cpu_flags has the guard, +vdsm-tls.

vdsm runs it. On a command line it takes only:

  --test    show what it does to a sample domain XML, with the properties that
            are in the environment, or a sample one
  --help    show this text
"""

# These are part of the interpreter. What else is needed is imported where a VM
# has a policy: all others start with nothing but this file.
import errno
import posix
import sys

PROPERTIES = frozenset((b'tlsciphers', b'tlsprotocols', b'tlsgroups',
                        b'tlspriority', b'tlsprofile'))
HOST_DEFAULT = '@HOST_DEFAULT@'
PKGDATADIR = '@PKGDATADIR@'


def main():
    if (len(sys.argv) > 1 or b'_hook_domxml' not in posix.environ
            or asks_for_policy() or has_host_default()):
        load()(__doc__, asks_for_policy())


def asks_for_policy():
    # The guard is a flag of its own, with a sign or without.
    flags = b',%s,' % posix.environ.get(b'extra_cpu_flags', b'')
    return not PROPERTIES.isdisjoint(posix.environ) or (
        b',vdsm-tls,' in flags.replace(b',+', b',').replace(b',-', b','))


def has_host_default():
    try:
        # Not what a link leads to: one to nowhere is an error.
        posix.lstat(HOST_DEFAULT)
    except OSError as error:
        # Only where there surely is none: not there, or in no folder.
        return error.errno not in (errno.ENOENT, errno.ENOTDIR)
    return True


def load():
    # Nothing is to be written beside what is imported.
    sys.dont_write_bytecode = True
    sys.path.insert(0, PKGDATADIR)
    try:
        # One that is empty, or was cut off, has not got both.
        from tlsciphers_hook import COMPLETE, main  # noqa: F401
    except Exception as error:
        sys.stderr.write(
            'vdsm-hook-tlsciphers: the package is damaged: %s; dnf reinstall '
            'vdsm-hook-tlsciphers [package-damaged]\n' % ''.join(
                c if ' ' <= c <= '~' and c not in '"\'\\' else '?'
                for c in str(error)[:400]))
        # The default of a host is best effort.
        sys.exit(2 if asks_for_policy() else 0)
    return main


if __name__ == '__main__':
    main()
