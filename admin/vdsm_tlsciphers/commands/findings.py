# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""What was found on this host, for people and for JSON."""

import os

from vdsm_tlsciphers import FINDINGS, FINE, Problem
from vdsm_tlsciphers.host import checks as examinations
from vdsm_tlsciphers.host.checks import FAILED, OK, WARNING
from vdsm_tlsciphers.output import clean, head, paint, print_json

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse

    from vdsm_tlsciphers import documents

SEVERITIES: 'dict[str, documents.Severity]' = {
    OK: 'info', WARNING: 'medium', FAILED: 'high'}
COLOURS = {OK: 'green', WARNING: 'yellow', FAILED: 'red'}


def run(options: 'argparse.Namespace') -> int:
    """Do the command's work; return its exit status."""
    if os.geteuid():
        raise Problem('doctor reads what only root may (the policy store, '
                      'the cache and the configuration of libvirt); run it '
                      'as root')
    findings = examinations.examine()
    fixed: list[str] = []
    if options.fix:
        fixed = examinations.fix(findings)
        if fixed:
            findings = examinations.examine()
    document = describe(findings, fixed)
    if options.json:
        print_json(document)
    else:
        if options.fix and not fixed:
            print('fixed    nothing: it is the remedy of no check')
        show(document)
    return FINDINGS if document['summary']['failed'] else FINE


def describe(findings: 'list[examinations.Finding]',
             fixed: 'list[str]') -> 'documents.Examinations':
    """Return a document (dict) for JSON."""
    states = [finding.state for finding in findings]
    return {
        **head('doctor'),
        'checks': [{
            'check': finding.check, 'state': finding.state.lower(),
            'text': clean(finding.text),
            'remedy': finding.remedy and clean(finding.remedy),
            'code': finding.code or code_of(finding.check),
            'severity': SEVERITIES[finding.state]}
            for finding in findings],
        'fixed': [clean(line) for line in fixed],
        'summary': {'ok': states.count(OK),
                    'warnings': states.count(WARNING),
                    'failed': states.count(FAILED)}}


def code_of(check: str) -> str:
    """Return the code (str) of a check, such as openssl-cnf."""
    return ''.join(c if c.isalnum() else '-' for c in check.lower())


def show(document: 'documents.Examinations') -> None:
    """Print a document of doctor."""
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
            '' if code == code_of(check['check']) else ' [%s]' % code))
    summary = document['summary']
    if summary['failed']:
        verdict = 'this host cannot enforce every policy'
    else:
        verdict = 'this host can enforce policies'
    print('\n%s: %d ok, %d warning%s, %d FAILED' % (
        verdict, summary['ok'], summary['warnings'],
        '' if summary['warnings'] == 1 else 's', summary['failed']))
