# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""
Makes libvirt turn the mark that "apply" leaves in a VM into its policy, where
the VM arrives on this host, by a migration or from suspension. It is off until
it is enabled, by one link: /etc/libvirt/hooks/qemu.d/50-tlsciphers. Enable it
on all hosts of a cluster.
"""

import os

from vdsm_tlsciphers import FINDINGS, FINE, UserError
from vdsm_tlsciphers.output import note, paint

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse

EXAMPLES = """\
Nothing is restarted, and no VM is touched. Where a mark cannot become a policy
(the wrapper is not in order, another hook has set the emulator) the VM arrives
as it is, the mark stays, and "vdsm-tlsciphers status" says so.

Exit status: 0 done, or the test passed; 1 --test found that it is not enabled,
or does not work; 2 the command failed.

Examples:
  vdsm-tlsciphers incoming --enable
  vdsm-tlsciphers incoming --test
  vdsm-tlsciphers incoming --disable
"""


def add_arguments(parser: 'argparse.ArgumentParser') -> None:
    """Add what the command takes to its parser."""
    group = parser.add_mutually_exclusive_group(required=True)
    group.add_argument('--enable', action='store_true',
                       help='make the link, if the test passes')
    group.add_argument('--disable', action='store_true',
                       help='remove the link')
    group.add_argument('--test', action='store_true',
                       help='run the script as libvirt does, on a sample')


def run(options: 'argparse.Namespace') -> int:
    """Do the command's work; return its exit status."""
    from vdsm_tlsciphers.host import arrival
    if os.geteuid() and not options.test:
        raise UserError('only root can change what libvirt runs',
                        'run this as root', 'not-root')
    if options.disable:
        print('disabled' if arrival.disable() else 'not enabled, unchanged')
        return FINE
    if options.enable:
        print('enabled' if arrival.enable() else 'enabled, unchanged')
        for each in arrival.notes():
            note(each.text, each.remedy, each.code)
        return FINE
    try:
        arrival.test()
        print('%s: a mark becomes a policy, and nothing else happens'
              % paint('ok', 'green'))
        enabled = arrival.is_enabled()
    except UserError as problem:
        print('%s: %s' % (paint('failed', 'red'), problem))
        return FINDINGS
    print('enabled' if enabled else 'not enabled: run vdsm-tlsciphers '
          'incoming --enable')
    for each in arrival.notes() if enabled else ():
        note(each.text, each.remedy, each.code)
    return FINE if enabled else FINDINGS
