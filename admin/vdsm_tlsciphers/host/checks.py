# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""All checks of doctor on a host, as a document for JSON; and its repairs."""

from tlsciphers_host import WRAPPER

from vdsm_tlsciphers import UserError, codes
from vdsm_tlsciphers.host import package_checks, program_checks, setting_checks
from vdsm_tlsciphers.host.accounts import tried
from vdsm_tlsciphers.host.finding import (
    FAILED,
    OK,
    SCRIPTLET,
    WARNING,
    Finding,
    first_line,
)
from vdsm_tlsciphers.output import clean, head
from vdsm_tlsciphers.programs import ask

TYPE_CHECKING = False
if TYPE_CHECKING:
    from vdsm_tlsciphers import documents

# The codes of messages that depend on a program which validates values.
TOOLS = {
    'GnuTLS': ('cannot-run', 'insecure-suite', 'no-common-group',
               'priority-cut', 'priority-empty', 'priority-refused'),
    'OpenSSL': ('cannot-run', 'insecure-suite', 'no-common-group', 'no-suite',
                'no-tls13-suite', 'openssl-too-old', 'unknown-group',
                'unknown-suite')}


def check_host() -> 'list[Finding]':
    """Return the Findings (list), the most basic first."""
    findings: list[Finding] = []
    for function in (
            package_checks.package, package_checks.labels,
            package_checks.module, program_checks.users, program_checks.hook,
            package_checks.other_hooks, program_checks.emulator,
            program_checks.wrapper, program_checks.openssl,
            program_checks.gnutls, setting_checks.profiles,
            setting_checks.host_default, setting_checks.encryption,
            setting_checks.capabilities, setting_checks.incoming,
            setting_checks.running_vms,
            package_checks.leftovers):
        found = tried(function.__name__.replace('_', ' '), function)
        findings.extend(found if isinstance(found, list) else [found])
    return [lead_to_tool(finding, findings)
            for finding in without_claims(findings)]


def describe(findings: 'list[Finding]',
             fixed: 'list[str]') -> 'documents.Examinations':
    """Return a document (dict) for JSON."""
    states = [finding.state for finding in findings]
    return {
        **head('doctor'),
        'checks': [{
            'check': finding.check, 'state': finding.state,
            'text': clean(finding.text),
            'remedy': clean(finding.remedy) or None, 'code': finding.code,
            'severity': severity(finding)}
            for finding in findings],
        'fixed': [clean(line) for line in fixed],
        'summary': {'ok': states.count(OK),
                    'warnings': states.count(WARNING),
                    'failed': states.count(FAILED)}}


def severity(finding: Finding) -> 'documents.Severity':
    if finding.state == OK:
        return 'info'
    if finding.state == WARNING:
        return codes.of_warning(finding.code)
    return codes.SEVERITY[finding.code]


def without_claims(findings: 'list[Finding]') -> 'list[Finding]':
    """
    Return the Findings, without a claim that VMs would start where the hook or
    the wrapper is broken.
    """
    broken = [finding.check for finding in findings
              if finding.state == FAILED and finding.check in ('hook',
                                                               'wrapper')]
    return [finding._replace(
        state=WARNING, text='unknown whether any would be refused at its '
        'next start', remedy='see "%s"' % broken[0], code='next-start')
        if broken and finding.check == setting_checks.RUNNING_VMS
        and finding.state == OK and finding.code != setting_checks.NO_VMS
        else finding for finding in findings]


def lead_to_tool(finding: Finding, findings: 'list[Finding]') -> Finding:
    """
    Return a Finding, with a remedy that names the check of the program that it
    depends on, where that program does not work.
    """
    failed = [other.check for other in findings
              if other.state == FAILED and finding.code in TOOLS.get(
                  other.check, ())]
    if finding.state != OK and failed and finding.check not in TOOLS:
        return finding._replace(remedy='see ' + ' and '.join(
            '"%s"' % check for check in failed))
    return finding


def fix(findings: 'list[Finding]') -> 'list[str]':
    """
    Repair what failed where that is safe. Returns what was done (list of
    str).
    """
    failed = {finding.code for finding in findings
              if finding.state == FAILED}
    done = []
    if 'labels' in failed:
        paths = package_checks.labelled_files()
        answer = ask('restorecon', '-F', '-v', *paths)
        if answer.returncode:
            raise UserError('restorecon failed: '
                            + first_line(answer.stderr),
                            'fix that, then run this again',
                            'restorecon-failed')
        done.append('labels: restorecon -F on %d files of the package'
                    % len(paths))
    if 'capabilities' in failed:
        # The same as when rpm updates qemu-kvm.
        answer = ask('/bin/sh', SCRIPTLET, 'emulator-changed')
        if answer.stderr:
            raise UserError(first_line(answer.stderr), '', 'scriptlet')
        done.append('capabilities: renewed the change time of ' + WRAPPER)
    return done
