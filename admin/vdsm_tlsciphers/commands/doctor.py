# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""
Tells whether this host can enforce TLS policies: the package, its labels, the
hook, the wrapper, QEMU, OpenSSL and GnuTLS, libvirt, the host's default, and
what a manual installation may have left. One line for each, with the remedy.
"""

import os

from vdsm_tlsciphers import FINDINGS, FINE, UserError
from vdsm_tlsciphers.output import paint, print_json

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse

    from vdsm_tlsciphers import documents

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
COLOURS = {'ok': 'green', 'warning': 'yellow', 'FAILED': 'red'}


def add_arguments(parser: 'argparse.ArgumentParser') -> None:
    """Add what the command takes to its parser."""
    parser.add_argument('--fix', action='store_true',
                        help='repair labels, and what libvirt has cached')
    parser.add_argument('--json', action='store_true',
                        help='print one JSON document instead of text')


def run(options: 'argparse.Namespace') -> int:
    """Do the command's work; return its exit status."""
    # What --help does not need.
    from vdsm_tlsciphers.host import checks
    if os.geteuid():
        raise UserError('doctor reads what only root may (the policy store, '
                        'the cache and the configuration of libvirt); run it '
                        'as root')
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
            print('fixed    nothing: it is the remedy of no check')
        show(document)
    return FINDINGS if document['summary']['failed'] else FINE


def show(document: 'documents.Examinations') -> None:
    """Print a document of doctor."""
    from vdsm_tlsciphers.host import checks
    for line in document['fixed']:
        print('fixed    ' + line)
    width = max(len(check['check']) for check in document['checks'])
    for check in document['checks']:
        state = {state.lower(): state for state in COLOURS}[check['state']]
        code = check['code']
        print('%s%s  %-*s  %s%s%s' % (
            paint(state, COLOURS[state]), ' ' * (7 - len(state)), width,
            check['check'], check['text'],
            '; remedy: ' + check['remedy'] if check['remedy'] else '',
            '' if code == checks.code_of(check['check'])
            else ' [%s]' % code))
    summary = document['summary']
    if summary['failed']:
        verdict = 'this host cannot enforce every policy'
    else:
        verdict = 'this host can enforce policies'
    print('\n%s: %d ok, %d warning%s, %d FAILED' % (
        verdict, summary['ok'], summary['warnings'],
        '' if summary['warnings'] == 1 else 's', summary['failed']))
