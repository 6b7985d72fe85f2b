# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""
Shows the TLS policies of the VMs that run on this host: what each VM asks
for (in its domain XML, where the hook wrote it), and what is in force: for
SPICE in the arguments of its emulator and the file that its OpenSSL has read,
for VNC in QEMU itself.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse

EXAMPLES = """\
Each VM is one of:
  in force    all that it asks for is in force, on all its consoles
  DIFFERENCE  something is not in force, or in force and not asked for, or a
              console is not covered; a line says what
  none        it asks for nothing, and has what QEMU has by default
  UNKNOWN     its emulator could not be looked at; a line says why
"required" is what the VM asks for by its properties, "default" what comes
from the default of a host.

QEMU is asked through libvirt, which notes "tainted: custom-monitor" once in
the log of a VM that has a policy for VNC. A property that was changed in the
engine while the VM runs counts, and is seen here, from its next start.

Exit status: 0 no difference; 1 there are differences; 2 it could not be
done, or not for all VMs.

Examples:
  vdsm-tlsciphers status
  vdsm-tlsciphers status web1 db2
  vdsm-tlsciphers status --json
"""


def add_arguments(parser: 'argparse.ArgumentParser') -> None:
    """Add what the command takes to its parser."""
    parser.add_argument('vms', nargs='*', metavar='VM',
                        help='a name or UUID; default: all that run here')
    parser.add_argument('--json', action='store_true',
                        help='print one JSON document instead of text')


def run(options: 'argparse.Namespace') -> int:
    """Do the command's work; return its exit status."""
    # What --help does not need.
    from vdsm_tlsciphers import states
    return states.run(options)
