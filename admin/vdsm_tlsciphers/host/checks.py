# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""The checks of doctor on a host."""

import codecs
import collections
import errno
import functools
import glob
import os
import pwd
import re
import stat

import tlsciphers_config
import tlsciphers_host
import tlsciphers_values
from tlsciphers_config import HOST_DEFAULT
from tlsciphers_host import EMULATOR, QEMU_KVM, WRAPPER
from tlsciphers_values import GNUTLS_CLI, OPENSSL, Refused

import tlsciphers
from vdsm_tlsciphers import VERSION, UserError, codes, programs
from vdsm_tlsciphers.host import messages
from vdsm_tlsciphers.host.emulator import has_spice
from vdsm_tlsciphers.output import clean, head
from vdsm_tlsciphers.programs import ask

TYPE_CHECKING = False
RUNNING_VMS = 'running VMs'
NONE_REFUSED = 'none of %d would be refused at its next start'
NO_VMS = NONE_REFUSED % 0
if TYPE_CHECKING:
    import subprocess  # nosec B404 # its type
    from collections.abc import Callable
    from typing import NamedTuple

    from vdsm_tlsciphers import documents

OK, WARNING, FAILED = 'ok', 'warning', 'failed'
if TYPE_CHECKING:
    class Finding(NamedTuple):
        """The result of a check: '' for no remedy."""

        check: str
        state: str
        text: str
        remedy: str
        code: str
else:
    Finding = collections.namedtuple('Finding', 'check state text remedy code')

PACKAGE = 'vdsm-hook-tlsciphers'
REINSTALL = 'dnf reinstall ' + PACKAGE
FIX = 'vdsm-tlsciphers doctor --fix'
HOOK = '@HOOK@'
HOOKS = os.path.dirname(os.path.dirname(HOOK))
PKGDATADIR = '@PKGDATADIR@'
SCRIPTLET = PKGDATADIR + '/scriptlet'
MISPLACED = '@LIBEXECDIR@/vdsm/qemu-kvm-wrapper'
BACKUP_DIR = '/etc/vdsm/tlsciphers-manual'
QEMU_CONF = '/etc/libvirt/qemu.conf'
CAPABILITIES = '/var/cache/libvirt/qemu/capabilities/*.xml'
SELINUXFS = '/sys/fs/selinux/enforce'
CUSTOMISATIONS = '/etc/selinux/*/contexts/files/file_contexts.local'
# What a display needs in qemu.conf.
TLS_SETTINGS = {'SPICE': 'spice_tls', 'VNC': 'vnc_tls'}
TLS_CODES = {'SPICE': 'spice-tls', 'VNC': 'vnc-tls'}
# Codes of messages that are treated in their own way.
LABEL = 'wrapper-label'
LEFT_OUT = 'left-out'
DESCRIPTIONS = ('policy-set', 'console-not-covered')
TRIAL_SPICE = {
    'ciphers': 'ECDHE-RSA-AES128-GCM-SHA256',
    'ciphersuites': 'TLS_AES_128_GCM_SHA256', 'protocols': 'TLSv1.2:TLSv1.3',
    'groups': 'P-256'}
TRIAL_VNC = {'priority': 'NORMAL:-VERS-ALL:+VERS-TLS1.2'}


# The users as whom hook and wrapper run on a host: vdsm's and QEMU's, unless
# qemu.conf names another one.
VDSM = 'vdsm'
QEMU = ('qemu', 'libvirt-qemu')


# The beginning of an answer of another user's process.
ANSWER = 'answer: '
# The codes of messages that depend on a program which validates values.
TOOLS = {
    'GnuTLS': ('cannot-run', 'insecure-suite', 'no-common-group',
               'priority-cut', 'priority-empty', 'priority-refused'),
    'OpenSSL': ('cannot-run', 'insecure-suite', 'no-common-group', 'no-suite',
                'no-tls13-suite', 'openssl-too-old', 'unknown-group',
                'unknown-suite')}


class NotTried(Exception):
    """A trial as another user could not be made: the user, and why."""


def ok(check: str, text: str) -> Finding:
    """Return a Finding without a problem."""
    return Finding(check, OK, text, '', code_of(check))


def check_host() -> 'list[Finding]':
    """Return the Findings (list), the most basic first."""
    findings: list[Finding] = []
    for function in (package, labels, module, users, hook, other_hooks,
                     emulator, wrapper, openssl, gnutls, profiles,
                     host_default, encryption, capabilities, running_vms,
                     leftovers):
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


def code_of(check: str) -> str:
    """Return the code (str) of a check, such as openssl-cnf."""
    return ''.join(c if c.isalnum() else '-' for c in check.lower())


def tried(check: str, function: 'Callable[[], Finding | list[Finding]]',
          ) -> 'Finding | list[Finding]':
    """Return the result of a check, or that it could not be made."""
    try:
        return function()
    except NotTried as error:
        return Finding(check, FAILED, 'cannot be tried as user %s: %s'
                       % error.args, 'run the installed vdsm-tlsciphers '
                       'doctor, with the Python of this host', 'not-tried')


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
        if broken and finding.check == RUNNING_VMS and finding.state == OK
        and finding.text != NO_VMS else finding for finding in findings]


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
    failed = {finding.check for finding in findings
              if finding.state == FAILED and finding.remedy == FIX}
    done = []
    if 'labels' in failed:
        paths = labelled_files()
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


# The package


def package() -> Finding:
    check = 'package'
    answer = ask('rpm', '-q', PACKAGE)
    if answer.returncode:
        return Finding(check, WARNING, 'version %s, not installed by rpm: '
                       'file integrity cannot be verified' % VERSION,
                       'install the RPM', 'package')
    name = first_line(answer.stdout)
    # Dependencies have checks of their own.
    answer = ask('rpm', '-V', '--nodeps', PACKAGE)
    changed = [line.split(None, 1) for line in answer.stdout.splitlines()
               if line.strip()]
    bad = [words[-1] for words in changed if not is_harmless(words)]
    if bad:
        return Finding(check, FAILED, '%s: modified files: %s' % (
            name, ', '.join(bad)), REINSTALL, 'package')
    if changed:
        return Finding(check, WARNING, '%s: modified documentation or dates: '
                       '%s' % (name, ', '.join(
                           words[-1] for words in changed)), REINSTALL,
                       'package')
    return ok(check, name + ', no modified files')


def is_harmless(words: 'list[str]') -> bool:
    """Tell whether a line of "rpm -V" is about documentation or dates."""
    return words[-1][:2] in ('d ', 'l ') or not words[0].strip('.T')


# SELinux


def selinux_enabled() -> bool:
    return os.path.exists(SELINUXFS)


def labelled_files() -> 'list[str]':
    """
    Return the files of the package (list of str) whose labels matter: those
    that vdsm and QEMU's user execute or read.
    """
    found = [path for path in (WRAPPER, EMULATOR, HOOK)
             if os.path.lexists(path)]
    for folder, folders, names in os.walk(PKGDATADIR):
        found += [os.path.join(folder, name) for name in sorted(names)]
        folders.sort()
    return found


def labels() -> Finding:
    check = 'labels'
    if not selinux_enabled():
        return ok(check, 'SELinux is not enabled: not needed')
    wrong = []
    paths = labelled_files()
    answers = ask('matchpathcon', '-n', *paths).stdout.split('\n')
    for path, expected in zip(paths, [*answers, *[''] * len(paths)]):
        if not expected.strip():
            return Finding(check, WARNING, 'unknown which label %s must have: '
                           'matchpathcon failed' % path,
                           'install libselinux-utils', 'labels')
        if path == WRAPPER and selinux_type(expected) != 'qemu_exec_t':
            return Finding(
                check, FAILED, 'the SELinux policy of this host gives %s the '
                'label %s instead of qemu_exec_t' % (
                    path, selinux_type(expected)),
                'semanage fcontext -d %s if this host sets it, else %s; then '
                'restorecon -v %s' % (path, REINSTALL, path), 'labels')
        label = read_label(path)
        if selinux_type(label) != selinux_type(expected):
            wrong.append('%s has %s instead of %s' % (
                path, selinux_type(label), selinux_type(expected)))
    if len(wrong) > 3:
        wrong[3:] = ['and %d more' % (len(wrong) - 3)]
    if wrong:
        return Finding(check, FAILED, ', '.join(wrong), FIX, 'labels')
    return ok(check, WRAPPER + ' has qemu_exec_t')


def selinux_type(label: str) -> str:
    return [*label.split(':'), '', '', ''][2] or 'no label'


def read_label(path: str) -> str:
    try:
        return os.getxattr(path, 'security.selinux', follow_symlinks=False
                           ).rstrip(b'\0').decode('ascii', 'replace')
    except OSError:
        return ''


def module() -> Finding:
    check = 'SELinux module'
    if not selinux_enabled():
        return ok(check, 'SELinux is not enabled: not needed')
    answer = ask('semodule', '-l')
    if answer.returncode:
        return Finding(check, WARNING, 'semodule -l failed: '
                       + first_line(answer.stderr), 'fix that, then '
                       + REINSTALL, 'selinux-module')
    if 'tlsciphers' not in [line.split()[0]
                            for line in answer.stdout.splitlines()
                            if line.strip()]:
        return Finding(check, WARNING, 'tlsciphers is not in the policy '
                       'store: only the base policy labels the wrapper',
                       REINSTALL, 'selinux-module')
    return ok(check, 'tlsciphers is in the policy store')


# Users


def account(names: 'tuple[str, ...]') -> 'pwd.struct_passwd | None':
    """Return the first of these users that exists, or None."""
    for name in names:
        try:
            # To libvirt, +107 is a number.
            if re.match(r'\+?\d+$', name):
                return pwd.getpwuid(int(name))
            return pwd.getpwnam(name)
        except KeyError:
            continue
    return None


def vdsm_user() -> 'pwd.struct_passwd | None':
    return account((VDSM,))


def qemu_user() -> 'pwd.struct_passwd | None':
    """Return the user as whom libvirt runs QEMU, or None."""
    name = read_setting(read_qemu_conf(), 'user')
    return account((name,) if name else QEMU)


def users() -> 'Finding | list[Finding]':
    """Report as which users hook and wrapper are tried."""
    check = 'users'
    given = read_setting(read_qemu_conf(), 'user')
    remedy = 'run doctor on a host with vdsm'
    missing = [trial for trial in (
        (VDSM, 'hook', vdsm_user(), remedy),
        (given or QEMU[0], 'wrapper', qemu_user(), 'correct user in '
         + QEMU_CONF if given else remedy)) if trial[2] is None]
    if missing:
        return [Finding(check, WARNING, 'no user %s: the %s is tried as root, '
                        'who has more permissions' % (name, what), remedy,
                        'no-such-user')
                for name, what, _, remedy in missing]
    return ok(check, 'hook tried as %s, wrapper as %s' % (
        VDSM, getattr(qemu_user(), 'pw_name', '')))


def as_user(user: 'pwd.struct_passwd | None',
            question: 'Callable[[], str | None]') -> str:
    """
    Return what a function returns (str; '' for None) in a process of a
    user's. Raises NotTried where it fails.
    """
    # Loaded now: that user may not be able to read this Python.
    codecs.lookup('latin-1')
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        try:
            change = programs.become(user)
            if change:
                change()
            answer = ANSWER + (question() or '')
        except Exception as error:  # noqa: BLE001 (the other process's)
            answer = str(error) or type(error).__name__
        os.write(writer, answer.encode('utf-8', 'replace')[:4096])
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, 'rb') as answers:
        text = answers.read().decode('utf-8', 'replace')
    os.waitpid(child, 0)
    if not text.startswith(ANSWER):
        raise NotTried(who(user), text or 'no answer')
    return text[len(ANSWER):]


def closed(path: str, user: 'pwd.struct_passwd | None') -> 'str | None':
    """Return the folder above a path that a user cannot enter, or None."""
    def look() -> 'str | None':
        folder = '/'
        for name in os.path.dirname(path).split('/')[1:]:
            folder = os.path.join(folder, name)
            if not os.access(folder, os.X_OK) and os.path.isdir(folder):
                return folder
        return None
    return as_user(user, look) or None


def who(user: 'pwd.struct_passwd | None') -> str:
    return user.pw_name if user else 'root'


def cannot_run(check: str, path: str, error: OSError,
               user: 'pwd.struct_passwd | None', remedy: str) -> Finding:
    """
    Return the Finding about a program that cannot be run, with a remedy (str)
    for one that is missing.
    """
    if error.errno == errno.EACCES:
        folder = closed(path, user)
        remedy = 'chmod a+rx ' + (folder or path)
        if folder:
            return Finding(check, FAILED, 'user %s cannot enter %s, the '
                           'folder of %s' % (who(user), folder, path), remedy,
                           'not-permitted')
        interpreter = interpreter_of(path)
        if interpreter and not as_user(user, lambda: '' if os.access(
                path, os.X_OK) else 'no'):
            # The script itself is executable.
            return cannot_run(check, interpreter, error, user, remedy)
        return Finding(check, FAILED, 'user %s cannot run %s: %s' % (
            who(user), path, error.strerror), remedy, 'not-permitted')
    return Finding(check, FAILED, '%s cannot be run: %s' % (
        path, error.strerror), remedy, code_of(check))


def cannot_read(check: str, path: str,
                user: 'pwd.struct_passwd | None') -> Finding:
    return Finding(check, FAILED, 'user %s cannot read %s' % (who(user), path),
                   'chmod a+rx ' + path if os.path.isdir(path) else REINSTALL,
                   'not-permitted')


def interpreter_of(path: str) -> 'str | None':
    """Return the interpreter in a script's first line, or None."""
    try:
        with open(path, 'rb') as script:
            found = re.match(br'#! *(/\S+)', script.readline(256))
    except OSError:
        return None
    return found.group(1).decode('ascii', 'replace') if found else None


def hidden_module(user: 'pwd.struct_passwd | None') -> 'str | None':
    """
    Return the folder above the package's modules that a user cannot enter, or
    the first of them that they cannot read, or None.
    """
    folder = closed(SCRIPTLET, user)
    if folder:
        return folder

    def look() -> 'str | None':
        return next((path for path in labelled_files()
                     if not os.access(path, os.R_OK)), None)
    return as_user(user, look) or None


# vdsm


def hook() -> Finding:
    return hook_files() or hook_trial('hook', vdsm_user())


def hook_files() -> 'Finding | None':
    """Return why vdsm cannot run the hook, or None."""
    check = 'hook'
    try:
        status = os.stat(HOOK)
    except OSError as error:
        return Finding(check, FAILED, '%s: %s' % (HOOK, error.strerror),
                       REINSTALL, 'hook')
    # vdsm, which is not root, lists the folder and runs what is executable.
    if not stat.S_ISREG(status.st_mode) or status.st_mode & 0o555 != 0o555:
        return Finding(check, FAILED, '%s is not a file that every user may '
                       'execute: vdsm ignores it' % HOOK, REINSTALL, 'hook')
    folder = os.path.dirname(HOOK)
    while folder != '/':
        if os.stat(folder).st_mode & 0o005 != 0o005:
            return Finding(check, FAILED, 'vdsm cannot access ' + folder,
                           'chmod o+rx ' + folder, 'hook')
        folder = os.path.dirname(folder)
    return None


def hook_trial(check: str, user: 'pwd.struct_passwd | None') -> Finding:
    """Run the hook as vdsm does."""
    try:
        answer = run_hook(user, tlsprofile=tlsciphers_config.NO_PROFILE,
                          tlsciphers=TRIAL_SPICE['ciphers'],
                          tlspriority=TRIAL_VNC['priority'])
    except OSError as error:
        if error.errno == errno.EACCES:
            return cannot_run(check, HOOK, error, user, REINSTALL)
        return Finding(check, FAILED, '%s cannot be run: %s (is its '
                       'interpreter missing?)' % (HOOK, error.strerror),
                       REINSTALL, 'hook')
    if answer.returncode:
        hidden = hidden_module(user)
        if hidden:
            return cannot_read(check, hidden, user)
        refusal = messages.parse(last_line(answer.stderr))
        return Finding(check, FAILED, 'it rejects a known-good test policy: '
                       + refusal.text, REINSTALL, known(refusal, check))
    if ('priority=' + TRIAL_VNC['priority'] not in answer.stdout
            or EMULATOR not in answer.stdout):
        return Finding(check, FAILED, 'its output is not that of the hook: it '
                       'does not set a known-good test policy', REINSTALL,
                       'not-the-hook')
    # The hook also checks the wrapper at the start of a VM.
    line = as_user(user, check_wrapper)
    if line:
        hidden = closed(EMULATOR, user)
        return Finding(check, FAILED, 'as user %s: %s' % (
            who(user), messages.parse(line).text),
            'chmod a+rx ' + hidden if hidden else 'see "wrapper"',
            'not-permitted' if hidden else 'hook')
    return ok(check, '%s: works as user %s' % (HOOK, who(user)))


def known(message: Refused, check: str) -> str:
    """Return the code of a message of another process, or of the check."""
    return message.code if message.code in codes.SEVERITY else code_of(check)


def check_wrapper() -> 'str | None':
    """Return why the wrapper cannot be used, but for its label, or None."""
    try:
        tlsciphers_host.check_wrapper()
    except Refused as refusal:
        return None if refusal.code == LABEL else str(refusal)
    return None


def run_hook(user: 'pwd.struct_passwd | None',
             **properties: str) -> 'subprocess.CompletedProcess[str]':
    """Have the hook change a sample, as a user; raises OSError."""
    return programs.run(HOOK, '--test', user=user, environment={
        **properties, 'PATH': '/usr/bin:/bin', 'LC_ALL': 'C.UTF-8'})


def other_hooks() -> 'Finding | list[Finding]':
    check = 'other hooks'
    findings = []
    folder = os.path.dirname(HOOK)
    for path in sorted(glob.glob(folder + '/*')):
        if path == HOOK or not os.path.isfile(path) or not os.access(
                path, os.X_OK):
            continue
        try:
            with open(path, 'rb') as other:
                text = other.read(1 << 20)
        except OSError:
            continue
        if re.search(rb'<emulator\b|[\'"]emulator[\'"]', text):
            findings.append(Finding(
                check, WARNING, path + ' seems to set the emulator as well: '
                'only one hook can do that for a VM', 'use properties of only '
                'one of them on a VM, or remove that hook', 'other-hooks'))
    return findings or ok(check, 'none sets the emulator')


# QEMU, the wrapper and the libraries


def emulator() -> Finding:
    check = 'QEMU'
    try:
        answer = programs.run(QEMU_KVM, '-version')
    except OSError as error:
        return Finding(check, FAILED, '%s cannot be run: %s' % (
            QEMU_KVM, error.strerror), 'install or repair qemu-kvm', 'qemu')
    if answer.returncode:
        return Finding(check, FAILED, '%s -version failed: %s' % (
            QEMU_KVM, first_line(answer.stderr)), 'repair qemu-kvm', 'qemu')
    version = re.sub('^QEMU emulator version ', '',
                     first_line(answer.stdout))
    return ok(check, '%s: %s, %s' % (
        QEMU_KVM, version, 'with SPICE and VNC' if has_spice() else
        'without SPICE: VNC is the only console'))


def wrapper() -> Finding:
    """Have the wrapper start "QEMU -version" with a policy, as QEMU's user."""
    check = 'wrapper'
    user = qemu_user()
    found = wrapper_in_place(check)
    if found:
        return found
    trials = [('VNC', TRIAL_VNC, 'QEMU gets -object ', [
        '-object', 'tls-creds-x509,id=trial,dir=/',
        '-vnc', '127.0.0.1:0,tls-creds=trial'])]
    if has_spice():
        trials.insert(0, ('SPICE', TRIAL_SPICE, 'QEMU gets -spice ',
                          ['-spice', 'tls-port=5900']))
    for display, policy, note, arguments in trials:
        for key, value in sorted(policy.items()):
            arguments += [tlsciphers_values.REQUIREMENT,
                          '%s=%s' % (key, value)]
        try:
            answer = programs.run(EMULATOR, *arguments, '-version', user=user)
        except OSError as error:
            return cannot_run(check, EMULATOR, error, user, REINSTALL)
        if answer.returncode:
            hidden = hidden_module(user)
            if hidden:
                return cannot_read(check, hidden, user)
            refusal = messages.parse(last_line(answer.stderr))
            return Finding(
                check, FAILED, 'it rejects a known-good test policy for %s: %s'
                % (display, refusal.text), 'see "openssl.cnf"'
                if refusal.code == 'host-openssl-conf' else
                refusal.remedy or REINSTALL, known(refusal, check))
        version = ask(QEMU_KVM, '-version').stdout
        if not answer.stdout.strip() or answer.stdout != version:
            return Finding(check, FAILED, '%s does not start QEMU: its output '
                           'is "%s", that of %s is "%s"' % (
                               EMULATOR, first_line(answer.stdout)[:60],
                               QEMU_KVM, first_line(version)[:60]), REINSTALL,
                           'not-the-wrapper')
        if note not in answer.stderr:
            return Finding(check, FAILED, '%s starts QEMU without the policy '
                           'for %s' % (EMULATOR, display), REINSTALL,
                           'not-the-wrapper')
    return ok(check, '%s accepts policies for %s and starts QEMU as user %s'
              % (WRAPPER, ' and '.join(trial[0] for trial in trials),
                 who(user)))


def wrapper_in_place(check: str) -> 'Finding | None':
    """Return what is wrong with the emulator in domain XML, or None."""
    folder = os.path.dirname(EMULATOR)
    while folder not in ('/', os.path.dirname(WRAPPER)):
        if os.path.islink(folder):
            return Finding(
                check, FAILED, '%s is a symbolic link to %s: the relative '
                'link of the package in it is broken' % (
                    folder, os.readlink(folder)),
                'rm %s, then %s' % (folder, REINSTALL), 'folder-is-a-link')
        folder = os.path.dirname(folder)
    try:
        tlsciphers_host.check_wrapper()
    except Refused as refusal:
        if refusal.code != LABEL:
            return Finding(check, FAILED, refusal.text, REINSTALL,
                           refusal.code)
    if not os.path.islink(EMULATOR) or (
            os.path.realpath(EMULATOR) != os.path.realpath(WRAPPER)):
        return Finding(check, FAILED, '%s is not the link of the package to '
                       '%s: a manually installed wrapper replaced it'
                       % (EMULATOR, WRAPPER), REINSTALL, 'wrapper')
    return None


def openssl() -> 'Finding | list[Finding]':
    check = 'OpenSSL'
    found = tool(check, OPENSSL, 'openssl', 'version')
    if isinstance(found, Finding):
        return found
    if 'ECDHE-' not in ask(OPENSSL, 'ciphers', 'ECDHE').stdout:
        return no_answer(check, OPENSSL, 'openssl')
    version = [*found.split(), '', ''][1]
    if not version:
        return Finding(check, FAILED, OPENSSL + ' does not print its version',
                       'repair openssl', 'openssl')
    if version < '1.1.1':
        line = Finding(check, WARNING, '%s has no TLS 1.3, and no setting '
                       'for versions and groups: only tlsciphers with '
                       'suites for TLS 1.2 can be enforced' % version,
                       'use newer hosts for tlsprotocols, tlsgroups and '
                       'tlsprofile', 'openssl')
    else:
        line = ok(check, version + ': TLS 1.2 and 1.3')
    tried_conf = tried('openssl.cnf', openssl_conf)
    return [line, *(tried_conf if isinstance(tried_conf, list)
                    else [tried_conf])]


def tool(check: str, program: str, package_name: str,
         *arguments: str) -> 'Finding | str':
    """
    Return the version (str) that a program prints, run as vdsm and as QEMU's
    user, or a Finding where it cannot be run.
    """
    for user in vdsm_user(), qemu_user():
        try:
            printed = programs.run(program, *arguments, user=user).stdout
        except OSError as error:
            return cannot_run(check, program, error, user,
                              'install ' + package_name)
    return first_line(printed)


def no_answer(check: str, program: str, package_name: str) -> Finding:
    return Finding(check, FAILED, '%s does not list cipher suites: no value '
                   'can be validated' % program,
                   'dnf reinstall ' + package_name, 'no-answer')


def openssl_conf() -> Finding:
    """Try whether OpenSSL accepts the host's file with a policy."""
    check = 'openssl.cnf'
    from vdsm_tlsciphers.host import openssl_conf
    path = openssl_conf.host_file()
    try:
        status = os.stat(path)
    except OSError as error:
        if error.errno == errno.ENOENT:
            return ok(check, 'there is no ' + path)
        return Finding(
            check, WARNING, '%s cannot be read: %s: only the policies apply'
            % (path, error.strerror), 'dnf reinstall openssl-libs',
            'openssl-cnf')
    try:
        reason, place, line = openssl_conf.fault(TRIAL_SPICE)
    except UserError as problem:
        return Finding(check, FAILED, problem.text,
                       problem.remedy or REINSTALL, problem.code)
    if place:
        return Finding(
            check, FAILED, '%s: %s: OpenSSL rejects this setting of the host, '
            'so no VM can have tlsprotocols, tlsgroups or TLS 1.3 suites' % (
                place, line), 'correct or remove that line',
            'host-openssl-cnf')
    if reason and reason.code == openssl_conf.MALFORMED:
        return Finding(check, WARNING, reason.text, 'correct %s: "openssl '
                       'version" prints what is wrong with it' % path,
                       'host-openssl-cnf')
    if reason:
        return Finding(check, FAILED, '%s: %s' % (path, reason.text),
                       reason.remedy, 'host-openssl-cnf')
    user = qemu_user()
    hidden = as_user(user, lambda: openssl_conf.unreadable(path))
    # Where there is no such user, its mode decides.
    if not hidden and not status.st_mode & stat.S_IROTH:
        hidden = path
    if hidden:
        folder = closed(hidden, user)
        return Finding(
            check, FAILED, '%s cannot be read by the user of QEMU: its '
            'settings do not apply to VMs' % hidden,
            'chmod a+rx ' + folder if folder else 'chmod o+r%s %s' % (
                'x' if os.path.isdir(hidden) else '', hidden), 'openssl-cnf')
    return ok(check, path + ': OpenSSL accepts it together with a policy')


def gnutls() -> Finding:
    check = 'GnuTLS'
    found = tool(check, GNUTLS_CLI, 'gnutls-utils', '--version')
    if isinstance(found, Finding):
        return found
    if 'Protocols: VERS-' not in ask(GNUTLS_CLI, '--list',
                                     '--priority=NORMAL').stdout:
        return no_answer(check, GNUTLS_CLI, 'gnutls-utils')
    words = found.split()
    numbers = [int(number) for number in re.findall(
        '[0-9]+', words[-1] if words else '')]
    if not numbers:
        return Finding(check, FAILED, GNUTLS_CLI + ' does not print its '
                       'version', 'repair gnutls-utils', 'gnutls')
    if numbers < [3, 6, 5]:
        return Finding(check, WARNING, words[-1] + ' has no TLS 1.3',
                       'use newer hosts for TLS 1.3 on VNC consoles', 'gnutls')
    return ok(check, words[-1] + ': TLS 1.2 and 1.3')


# Policies


def profiles() -> Finding:
    check = 'profiles'
    left_out: list[str] = []
    for name in sorted(tlsciphers_config.PROFILES):
        try:
            _, notes = tlsciphers.resolve(
                {'tlsprofile': name}, ('spice', 'vnc'), lenient=True)
        except Refused as refusal:
            return Finding(check, FAILED, refusal.text, 'use other profiles '
                           'or properties on this host, or change its '
                           'crypto-policy', refusal.code)
        left_out.extend(note.text for note in notes if note.code == LEFT_OUT)
    if left_out:
        return Finding(check, WARNING, '; '.join(left_out), 'none is needed '
                       'unless VMs migrate to hosts that know it', LEFT_OUT)
    return ok(check, ' and '.join(sorted(tlsciphers_config.PROFILES))
              + ' are fully supported')


def host_default() -> Finding:
    check = 'host default'
    user = vdsm_user()
    if not os.path.lexists(HOST_DEFAULT):
        # vdsm must be able to find that out as well.
        folder = closed(HOST_DEFAULT, user)
        if folder:
            return Finding(
                check, FAILED, 'user %s cannot enter %s: VMs are refused '
                'unless their properties make every setting' % (
                    who(user), folder),
                'chmod a+rx ' + folder, 'not-permitted')
        return ok(check, 'there is no ' + HOST_DEFAULT)
    try:
        sections = tlsciphers_config.read_host_default()
        refused = as_user(user, read_as_vdsm)
        if refused:
            folder = closed(HOST_DEFAULT, user)
            return Finding(check, FAILED, 'vdsm cannot read it, so no VM that '
                           'needs it starts: ' + refused,
                           'chmod a+rx ' + folder if folder else
                           'chmod 644 ' + HOST_DEFAULT, 'host-default')
        notes = validate({})
        for section in sorted(sections):
            if section.startswith('profile '):
                notes += validate({'tlsprofile': section[len('profile '):]})
    except Refused as refusal:
        return Finding(check, FAILED, refusal.text,
                       refusal.remedy or 'correct it', refusal.code)
    if notes:
        return Finding(check, WARNING, '; '.join(map(str, notes)),
                       'correct %s unless that is intended' % HOST_DEFAULT,
                       'host-default')
    return ok(check, HOST_DEFAULT + ' is valid')


def read_as_vdsm() -> 'str | None':
    """Return why the host's default cannot be read, or None."""
    try:
        tlsciphers_config.read_host_default()
    except Refused as refusal:
        return str(refusal.text)
    return None


def validate(properties: 'dict[str, str]') -> 'list[Refused]':
    """Return the warnings about a policy (list of Refused)."""
    _, notes = tlsciphers.resolve(properties, ('spice', 'vnc'))
    return [note for note in notes if note.code not in DESCRIPTIONS]


# libvirt


def read_qemu_conf() -> str:
    """Return libvirt's configuration of QEMU, '' where there is none."""
    try:
        with open(QEMU_CONF, encoding='utf-8', errors='replace') as conf:
            return conf.read()
    except OSError:
        return ''


def encryption() -> 'Finding | list[Finding]':
    try:
        with open(QEMU_CONF, encoding='utf-8', errors='replace') as conf:
            text = conf.read()
    except OSError as error:
        return Finding('encryption', WARNING, '%s cannot be read: %s' % (
            QEMU_CONF, error.strerror), 'install or repair libvirt',
            'encryption')
    displays = ['SPICE', 'VNC'] if has_spice() else ['VNC']
    off = [display for display in displays
           if not is_set(text, TLS_SETTINGS[display])]
    # Some sites use only one of them.
    state = FAILED if off == displays else WARNING
    remedies = {
        'SPICE': 'set spice_tls = 1 in %s and restart libvirtd (the engine '
        'does that when it installs a host)' % QEMU_CONF,
        'VNC': 'check Enable VNC Encryption in the engine (Compute > '
        'Clusters > Edit > Console) and reinstall this host'}
    return [Finding(display + ' TLS', state, '%s is off: a VM with a policy '
                    'for its %s console does not start' % (
                        TLS_SETTINGS[display], display), remedies[display],
                    TLS_CODES[display])
            if display in off else certificate(display, text)
            for display in displays]


def why_not_read(path: str) -> 'str | None':
    """Return why a file cannot be read, or None."""
    try:
        with open(path, 'rb'):
            return None
    except OSError as error:
        return error.strerror


def certificate(display: str, text: str) -> Finding:
    """
    Check that QEMU's user can read the certificate of a display, where
    qemu.conf (its text) names its folder.
    """
    check, setting = display + ' TLS', TLS_SETTINGS[display]
    folder = read_setting(text, setting + '_x509_cert_dir')
    user = qemu_user()
    for name in ('ca-cert.pem', 'server-cert.pem', 'server-key.pem'):
        path = os.path.join(folder or '/', name)
        if folder and as_user(user, functools.partial(
                why_not_read, path)):
            return Finding(
                check, FAILED, '%s is on, but user %s cannot read %s: no VM '
                'with a %s console starts' % (setting, who(user), path,
                                              display),
                'enroll the certificate of this host in the engine (Hosts > '
                'NAME > Installation > Enroll Certificate)', 'certificate')
    return ok(check, setting + ' is on')


def is_set(text: str, name: str) -> bool:
    """Tell whether a line of libvirt's configuration sets a name to 1."""
    return read_setting(text, name) == '1'


def read_setting(text: str, name: str) -> 'str | None':
    """Return what libvirt's configuration (str) sets a name to, or None."""
    values = re.findall(r'(?m)^[ \t]*%s[ \t]*=[ \t]*"?([^\s"#]*)' % name, text)
    return values[-1] if values else None


def capabilities() -> Finding:
    """
    Check libvirt's cached capabilities of the wrapper as an emulator. libvirt
    probes it again when the wrapper's change time differs, but not when that
    of qemu-kvm, which the wrapper starts, does.
    """
    check = 'capabilities'
    for path in glob.glob(CAPABILITIES):
        try:
            with open(path, encoding='utf-8', errors='replace') as cache:
                text = cache.read(4096)
            asked = re.search(
                r'<emulator>%s</emulator>\s*<qemuctime>([0-9]+)'
                % re.escape(EMULATOR), text)
            # Only an entry that libvirt would go on using.
            if asked and (
                    int(asked.group(1)) == int(os.stat(EMULATOR).st_ctime)
                    and os.stat(path).st_mtime < os.stat(QEMU_KVM).st_ctime):
                return Finding(check, FAILED, 'libvirt\'s capability cache is '
                               'older than %s: VMs with a policy may not start'
                               % QEMU_KVM, FIX, 'capabilities')
        except OSError:
            continue  # It is just being replaced.
    return ok(check, 'libvirt\'s capability cache is current')


def running_vms() -> 'Finding | list[Finding]':
    """Report running VMs that would be refused at their next start."""
    check = RUNNING_VMS
    from vdsm_tlsciphers.host import domain_consoles, domains, next_start
    try:
        vms = domains.running(domains.connect())
    except UserError as problem:
        return Finding(check, WARNING, 'not checked: ' + problem.text,
                       problem.remedy, problem.code)
    refused = []
    for vm in vms:
        try:
            settings, _ = next_start.settle(
                next_start.of_vm(vm), vm)
            refusal = domain_consoles.refusal(vm, settings)
        except Refused as error:
            refused.append((vm.name, error, 'vdsm-tlsciphers check --vm %s; '
                            'correct its properties in the engine' % vm.name))
        else:
            if refusal:
                refused.append((vm.name, refusal,
                                domain_consoles.without_removal(refusal)))
    return [Finding(check, WARNING, '%s would be refused at its next start: %s'
                    % (name, message.text), remedy,
                    # Where a tool fails, see lead_to_tool().
                    'cannot-run' if message.code == 'cannot-run' else
                    'next-start')
            for name, message, remedy in refused] or ok(
                check, NONE_REFUSED % len(vms))


# Leftovers


def leftovers() -> 'Finding | list[Finding]':
    check = 'leftovers'
    found = []
    if os.path.isdir(BACKUP_DIR):
        found.append(('files of a manually installed wrapper are kept in '
                      + BACKUP_DIR, 'rm -r %s, once they are no longer needed'
                      % BACKUP_DIR))
    if os.path.lexists(MISPLACED):
        found.append((MISPLACED + ' is unused',
                      'rm -r %s, once no running VM uses it' % MISPLACED))
    folder = os.path.dirname(EMULATOR)
    for path in sorted(glob.glob(folder + '/*')):
        if path != EMULATOR:
            found.append((path + ' does not belong to the package',
                          'rm -r ' + path))
    for path in sorted(glob.glob(HOOKS + '/*/__pycache__')):
        found.append((path + ': vdsm of oVirt 4.3 would run its files',
                      'rm -r ' + path))
    for path in glob.glob(CUSTOMISATIONS):
        with open(path, encoding='utf-8', errors='replace') as contexts:
            for line in contexts:
                if line.split()[:1] and 'qemu-kvm-' in line.split()[0]:
                    name = line.split()[0]
                    found.append((
                        'this host sets a label of its own for %s' % name,
                        'semanage fcontext -d \'%s\'' % name))
    return [Finding(check, WARNING, text, remedy, 'leftovers')
            for text, remedy in found] or ok(
                check, 'none of a manually installed wrapper')


# Programs


def first_line(text: str) -> str:
    return (text.strip().splitlines() or [''])[0].strip()


def last_line(text: str) -> str:
    return (text.strip().splitlines() or ['no reason'])[-1].strip()
