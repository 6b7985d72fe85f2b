# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""
Shows the TLS policies of the VMs that run on this host: what each VM requests
(in its domain XML, where the hook wrote it), what its emulator is configured
with, and, by handshakes with each console that listens, whether the policy is
effective: whatever is outside it is rejected, and something within accepted.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse

EXAMPLES = """\
Each VM is one of:
  effective   handshakes have proven its policy on all its consoles
  configured  all that it requests is configured; there was no handshake, or
              no answer, or no console listens; a line says which
  different   something is not as requested, or was not requested, or a
              console is open or not covered; a line says what
  none        it requests nothing; its consoles are encrypted, with what
              QEMU has by default
  unknown     its emulator could not be looked at; a line says why
"required" is what the VM requests by its properties, "default" what comes
from the default of a host.

A VM with a policy has a line "guard": yes, no, requested where the engine
writes none for its cluster level, or unknown where its domain XML has no
metadata of oVirt. Those that could have one and have none are named
once: a host without this package would start them without their policy.

The consoles are those that the emulator listens at, whether or not they are
in the domain XML. Users who are connected notice nothing of the handshakes;
SPICE writes a line about each to the log of the VM.

QEMU is asked through libvirt, which notes "tainted: custom-monitor" once in
the log of a VM that has a policy for VNC, or listens at a port that its
arguments do not explain. A property that was changed in the engine while the
VM runs counts, and is seen here, from its next start.

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
    parser.add_argument('--no-handshake', action='store_false',
                        dest='handshake', help='do not connect to consoles; '
                        'policies are "configured" at best')


def run(options: 'argparse.Namespace') -> int:
    """Do the command's work; return its exit status."""
    # What --help does not need.
    from vdsm_tlsciphers import states
    return states.run(options)
