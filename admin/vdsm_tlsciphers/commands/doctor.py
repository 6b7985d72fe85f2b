# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""
Tells whether this host can enforce TLS policies: the package, its labels, the
hook, the wrapper, QEMU, OpenSSL and GnuTLS, libvirt, the host's default, and
what a manual installation may have left. One line for each, with the remedy.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse

EXAMPLES = """\
FAILED: VMs with a policy do not start here, or would not have it. warning:
it concerns some VMs or some settings, or is untidy; the line says which.

--fix runs, where the check FAILED, restorecon on the files of the package
(labels), and renews the change time of the wrapper (capabilities), as the
package itself does when qemu-kvm is updated. It says what it did, and does
nothing else: no service is restarted, no VM is disturbed.

Exit status: 0 nothing FAILED (there may be warnings); 1 something FAILED; 2
it could not be done.

Examples:
  vdsm-tlsciphers doctor
  vdsm-tlsciphers doctor --fix
  vdsm-tlsciphers doctor --json
"""


def add_arguments(parser: 'argparse.ArgumentParser') -> None:
    """Add what the command takes to its parser."""
    parser.add_argument('--fix', action='store_true',
                        help='repair labels, and what libvirt has cached')
    parser.add_argument('--json', action='store_true',
                        help='print one JSON document instead of text')


def run(options: 'argparse.Namespace') -> int:
    """Do the command's work; return its exit status."""
    # What --help does not need.
    from vdsm_tlsciphers.commands import findings
    return findings.run(options)
