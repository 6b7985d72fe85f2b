# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""
Checks whether this host can enforce TLS policies: the package, its labels, the
hook, the wrapper, QEMU, OpenSSL and GnuTLS, libvirt, the host's default, and
leftovers of a manually installed wrapper. One line for each, with the remedy.
"""

import os

from vdsm_tlsciphers import FINDINGS, FINE, UserError, one_line
from vdsm_tlsciphers.output import paint, print_json

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse

    from vdsm_tlsciphers import documents

EXAMPLES = """\
failed: VMs with a policy do not start here, or start without it. warning: it
affects some VMs or some settings, or is cosmetic; the line says which.

--fix repairs what failed: it runs restorecon on the files of the package
(labels), and renews the change time of the wrapper (capabilities), as the
package does when qemu-kvm is updated. It reports what it did. No service is
restarted, no VM is disturbed.

Exit status: 0 nothing failed (there may be warnings); 1 something failed; 2
the command failed.

Examples:
  vdsm-tlsciphers doctor
  vdsm-tlsciphers doctor --fix
  vdsm-tlsciphers doctor --json
"""
COLOURS = {'ok': 'green', 'warning': 'yellow', 'failed': 'red'}


def add_arguments(parser: 'argparse.ArgumentParser') -> None:
    """Add what the command takes to its parser."""
    parser.add_argument('--fix', action='store_true',
                        help='repair labels, and libvirt\'s capability cache')
    parser.add_argument('--json', action='store_true',
                        help='print one JSON document instead of text')


def run(options: 'argparse.Namespace') -> int:
    """Do the command's work; return its exit status."""
    # What --help does not need.
    from vdsm_tlsciphers.host import checks, package_checks
    if not os.path.isdir(package_checks.HOOKS):
        raise UserError('this is not an oVirt host: %s does not exist'
                        % package_checks.HOOKS, 'run this on one', 'no-host')
    if os.geteuid():
        raise UserError('only root can read the SELinux policy store, and '
                        'the cache and configuration of libvirt',
                        'run this as root', 'not-root')
    findings = checks.check_host()
    fixed: list[str] = []
    if options.fix:
        fixed = checks.fix(findings)
        if fixed:
            findings = checks.check_host()
    document = checks.describe(findings, fixed)
    if options.json:
        print_json(document)
    else:
        if options.fix and not fixed:
            print('nothing to fix: no failed check can be repaired by --fix')
        show(document)
    return FINDINGS if document['summary']['failed'] else FINE


def show(document: 'documents.Examinations') -> None:
    """Print a document of doctor."""
    for line in document['fixed']:
        print('fixed    ' + line)
    width = max(len(check['check']) for check in document['checks'])
    for check in document['checks']:
        state = check['state']
        print('%s%s  %-*s  %s' % (
            paint(state, COLOURS[state]), ' ' * (7 - len(state)), width,
            check['check'], check['text'] if state == 'ok' else
            one_line(check['text'], check['remedy'], check['code'])))
    summary = document['summary']
    if summary['failed']:
        verdict = 'this host cannot enforce every policy'
    else:
        verdict = 'this host can enforce policies'
    print('\n%s: %d ok, %d warning%s, %d failed' % (
        verdict, summary['ok'], summary['warnings'],
        '' if summary['warnings'] == 1 else 's', summary['failed']))
