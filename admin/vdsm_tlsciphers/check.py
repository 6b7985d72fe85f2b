# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""
Shows what properties would do to the consoles of a VM: the suites that are
left for each version of TLS, the words that the libraries ignore, what clients
have in common with them, and what "scan" would find, by handshakes with a
server of this machine's own OpenSSL or GnuTLS under exactly that policy. Needs
no host: the libraries of the machine that it runs on decide.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse

EXAMPLES = """\
A value without a NAME is taken for that of tlsprofile, tlsprotocols,
tlsgroups, tlspriority, extra_cpu_flags (with the guard) or tlsciphers,
whichever it looks like; the first line says which.

Without a value and a VM it is the default of this host. Where no VM is given,
one with both consoles is assumed, on a host that encrypts them.

Where a VM is refused, it says how to start it: which property to change in the
engine, and which consoles have no policy then; what to fix on this host; or
that another host may take it. For a VM that does not run, --vm looks at the
ends of /var/log/vdsm/vdsm.log and /var/log/libvirt/qemu/NAME.log, as root: how
its last start here was refused, and whether it would be again.

Exit status: 0 such a VM starts, clients can connect, no console of it is
open, and all that they accept is in the baseline; 1 the VM does not start, or
its last start was refused and may be again, or there are findings; 2 it could
not be checked. With --running it is that of the worst VM.

Examples:
  vdsm-tlsciphers check tlsprofile=modern
  vdsm-tlsciphers check intermediate ECDHE+AESGCM:TLS_AES_256_GCM_SHA384
  vdsm-tlsciphers check --baseline modern tlsprofile=modern
  vdsm-tlsciphers check --vm web1
  vdsm-tlsciphers check extra_cpu_flags=+vdsm-tls tlsprofile=modern
  vdsm-tlsciphers check --running
  vdsm-tlsciphers check --xml web1.xml tlsprofile=intermediate
"""


def add_arguments(parser: 'argparse.ArgumentParser') -> None:
    """Add what the command takes to its parser."""
    parser.add_argument(
        'values', nargs='*', metavar='[NAME=]VALUE',
        help='a custom property: tlsciphers, tlsprotocols, tlsgroups, '
        'tlspriority, tlsprofile, or extra_cpu_flags, which has the guard')
    machine = parser.add_mutually_exclusive_group()
    machine.add_argument(
        '--vm', metavar='NAME', help='for the displays of this VM; without a '
        'value, its own properties; of one that does not run, also why its '
        'last start on this host was refused')
    machine.add_argument(
        '--running', action='store_true', help='the same for each VM that '
        'runs on this host')
    machine.add_argument(
        '--xml', metavar='FILE', help='the same for a domain XML, such as '
        '"virsh -r dumpxml" prints')
    parser.add_argument(
        '--baseline', metavar='NAME', default='intermediate',
        help='what to assess against: intermediate (the default), modern, a '
        'profile of this host, or none')
    parser.add_argument(
        '--engine-ciphers', metavar='LIST', default='DEFAULT',
        help='what the engine hands to SPICE clients (engine-config -g '
        'CipherSuite); default: DEFAULT')
    parser.add_argument('--json', action='store_true',
                        help='print one JSON document instead of text')


def run(options: 'argparse.Namespace') -> int:
    """Do the command's work; return its exit status."""
    # What --help does not need.
    from vdsm_tlsciphers import checker
    return checker.run(options)
