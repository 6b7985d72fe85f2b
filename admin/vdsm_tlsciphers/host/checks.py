# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""What doctor looks at on a host."""

import codecs
import collections
import errno
import functools
import glob
import os
import pwd
import re
import stat
import subprocess  # nosec B404 # programs by absolute path, no shell

import tlsciphers_config
import tlsciphers_host
import tlsciphers_values
from tlsciphers_config import HOST_DEFAULT
from tlsciphers_host import EMULATOR, QEMU_KVM, WRAPPER

import tlsciphers
from vdsm_tlsciphers import VERSION, UserError
from vdsm_tlsciphers.host.programs import ask, ask_real, become, has_spice
from vdsm_tlsciphers.output import as_remedy, clean, head

TYPE_CHECKING = False
RUNNING_VMS = 'running VMs'
NONE_REFUSED = 'none of %d would be refused at its next start'
NO_VMS = NONE_REFUSED % 0
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NamedTuple

    from vdsm_tlsciphers import documents

OK, WARNING, FAILED = 'ok', 'warning', 'FAILED'
if TYPE_CHECKING:
    class Finding(NamedTuple):
        """
        What was looked at (check), and what was found (text); code: of the
        check, where it is not given.
        """

        check: str
        state: str
        text: str
        remedy: str | None
        code: str | None = None
else:
    Finding = collections.namedtuple('Finding', 'check state text remedy code')
    Finding.__new__.__defaults__ = (None,)

SEVERITIES: 'dict[str, documents.Severity]' = {
    OK: 'info', WARNING: 'medium', FAILED: 'high'}
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
# Of EL8 and later, and of the oVirt Nodes that are made of them.
OS_RELEASE = '/etc/os-release'
SELINUXFS = '/sys/fs/selinux/enforce'
CUSTOMISATIONS = '/etc/selinux/*/contexts/files/file_contexts.local'
# What a display needs in qemu.conf.
TLS_SETTINGS = {'SPICE': 'spice_tls', 'VNC': 'vnc_tls'}
TRIAL_SPICE = {
    'ciphers': 'ECDHE-RSA-AES128-GCM-SHA256',
    'ciphersuites': 'TLS_AES_128_GCM_SHA256', 'protocols': 'TLSv1.2:TLSv1.3',
    'groups': 'P-256'}
TRIAL_VNC = {'priority': 'NORMAL:-VERS-ALL:+VERS-TLS1.2'}


# What the hook and the wrapper run as, on a host: vdsm's user, and QEMU's,
# unless qemu.conf names another one.
VDSM = 'vdsm'
QEMU = ('qemu', 'libvirt-qemu')


# What an answer of the process of another user begins with.
ANSWER = 'answer: '
# The programs that validate values, and what lines are about that they decide.
TOOLS = {'GnuTLS': (tlsciphers_values.GNUTLS_CLI, 'priority', 'GnuTLS'),
         'OpenSSL': (tlsciphers_values.OPENSSL, 'ciphers: ', 'groups: ', 'OpenSSL')}


class NotTried(Exception):
    """What a user was to be asked for could not be tried: who, and why."""


def check_host() -> 'list[Finding]':
    """Return the Findings (list), in the order in which they matter."""
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


def tried(check: str, function: 'Callable[[], Finding | list[Finding]]',
          ) -> 'Finding | list[Finding]':
    """Return what a check finds, or that it could not be made."""
    try:
        return function()
    except NotTried as error:
        return Finding(check, FAILED, 'could not be tried as user %s: %s'
                       % error.args, 'run the installed vdsm-tlsciphers '
                       'doctor, with the Python of this host', 'not-tried')


def without_claims(findings: 'list[Finding]') -> 'list[Finding]':
    """
    Return the Findings, with no claim that VMs would start where what lets
    them start is broken.
    """
    broken = [finding.check for finding in findings
              if finding.state == FAILED and finding.check in ('hook',
                                                               'wrapper')]
    return [finding._replace(
        state=WARNING, text='not known whether any would be refused at its '
        'next start', remedy='see "%s"' % broken[0])
        if broken and finding.check == RUNNING_VMS and finding.state == OK
        and finding.text != NO_VMS else finding for finding in findings]


def lead_to_tool(finding: Finding, findings: 'list[Finding]') -> Finding:
    """
    Return a Finding, with a remedy that names the line of the program which
    has decided, where that program does not work.
    """
    failed = {other.check for other in findings if other.state == FAILED}
    if finding.state == FAILED and finding.check not in TOOLS:
        for check, words in TOOLS.items():
            if check in failed and any(word in finding.text
                                       for word in words):
                return finding._replace(remedy='see "%s"' % check)
    return finding


def fix(findings: 'list[Finding]') -> 'list[str]':
    """
    Repair what FAILED where that is safe. Returns what was done (list of
    str).
    """
    failed = {finding.check for finding in findings
              if finding.state == FAILED and finding.remedy == FIX}
    done = []
    if 'labels' in failed:
        paths = labelled_files()
        answer = ask('restorecon', '-F', '-v', *paths)
        if answer.returncode:
            raise UserError('restorecon has failed: %s; mend that and run it '
                            'again' % first_line(answer.stderr))
        done.append('labels: restorecon -F on %d files of the package'
                    % len(paths))
    if 'capabilities' in failed:
        # The same as when rpm updates qemu-kvm.
        answer = ask('/bin/sh', SCRIPTLET, 'emulator-changed')
        if answer.stderr:
            raise UserError(first_line(answer.stderr))
        done.append('capabilities: renewed the change time of ' + WRAPPER)
    return done


# The package


def package() -> Finding:
    check = 'package'
    answer = ask('rpm', '-q', PACKAGE)
    if answer.returncode:
        return Finding(check, WARNING, 'version %s, not installed by rpm: '
                       'nobody can tell whether its files are whole'
                       % VERSION, 'install the RPM')
    name = first_line(answer.stdout)
    match = re.search(r'\.((?:el|fc)\d+)', name)
    release = match.group(1) if match else 'no particular release'
    # What it needs of others is looked at below.
    answer = ask('rpm', '-V', '--nodeps', PACKAGE)
    changed = [line.split(None, 1) for line in answer.stdout.splitlines()
               if line.strip()]
    bad = [words[-1] for words in changed if not is_harmless(words)]
    if bad:
        return Finding(check, FAILED, '%s: not as they were installed: %s' % (
            name, ', '.join(bad)), REINSTALL)
    if changed:
        return Finding(check, WARNING, '%s: documentation or dates were '
                       'changed: %s' % (name, ', '.join(
                           words[-1] for words in changed)), REINSTALL)
    host = el_release()
    if match and host and release != host:
        return Finding(check, WARNING, '%s: built for %s, but this host is %s'
                       % (name, release, host), 'install the RPM of this '
                       'release: .%s in its name' % host)
    return Finding(check, OK, '%s, built for %s, all files as they were '
                   'installed' % (name, release), None)


def el_release() -> 'str | None':
    """Return the release of EL that this host has, such as el8, or None."""
    try:
        with open(OS_RELEASE, encoding='utf-8', errors='replace') as lines:
            match = re.search(r'(?m)^PLATFORM_ID="?platform:(el\d+)',
                              lines.read())
    except OSError:
        return None
    return match and match.group(1)


def is_harmless(words: 'list[str]') -> bool:
    """Tell whether a line of "rpm -V" is about documentation or dates."""
    return words[-1][:2] in ('d ', 'l ') or not words[0].strip('.T')


# SELinux


def selinux_enabled() -> bool:
    return os.path.exists(SELINUXFS)


def labelled_files() -> 'list[str]':
    """
    Return the files of the package (list of str) whose labels count: what
    vdsm and QEMU's user execute or read.
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
        return Finding(check, OK, 'SELinux is not enabled: none is needed',
                       None)
    wrong = []
    paths = labelled_files()
    answers = ask('matchpathcon', '-n', *paths).stdout.split('\n')
    for path, expected in zip(paths, [*answers, *[''] * len(paths)]):
        if not expected.strip():
            return Finding(check, WARNING, 'matchpathcon does not tell which '
                           'label %s must have' % path,
                           'install libselinux-utils')
        if path == WRAPPER and selinux_type(expected) != 'qemu_exec_t':
            return Finding(
                check, FAILED, 'the policy of this host gives %s the label '
                '%s instead of qemu_exec_t' % (path, selinux_type(expected)),
                'semanage fcontext -d %s if that was set here, else %s; then '
                'restorecon -v %s' % (path, REINSTALL, path))
        label = read_label(path)
        if selinux_type(label) != selinux_type(expected):
            wrong.append('%s has %s instead of %s' % (
                path, selinux_type(label), selinux_type(expected)))
    if len(wrong) > 3:
        wrong[3:] = ['and %d more' % (len(wrong) - 3)]
    if wrong:
        return Finding(check, FAILED, ', '.join(wrong), FIX)
    return Finding(check, OK, '%s has qemu_exec_t' % WRAPPER, None)


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
        return Finding(check, OK, 'SELinux is not enabled: none is needed',
                       None)
    answer = ask('semodule', '-l')
    if answer.returncode:
        return Finding(check, WARNING, 'semodule -l has failed: '
                       + first_line(answer.stderr), 'mend that, then '
                       + REINSTALL)
    if 'tlsciphers' not in [line.split()[0]
                            for line in answer.stdout.splitlines()
                            if line.strip()]:
        return Finding(check, WARNING, 'tlsciphers is not in the policy '
                       'store; the label of the wrapper comes from the base '
                       'policy alone', REINSTALL)
    return Finding(check, OK, 'tlsciphers is in the policy store', None)


# Users


def account(names: 'tuple[str, ...]') -> 'pwd.struct_passwd | None':
    """Return the first user of these names that there is, or None."""
    for name in names:
        try:
            # libvirt takes +107 for a number.
            if re.match(r'\+?\d+$', name):
                return pwd.getpwuid(int(name))
            return pwd.getpwnam(name)
        except KeyError:
            continue
    return None


def vdsm_user() -> 'pwd.struct_passwd | None':
    return account((VDSM,))


def qemu_user() -> 'pwd.struct_passwd | None':
    """Return the user whom libvirt runs QEMU as, or None."""
    name = read_setting(read_qemu_conf(), 'user')
    return account((name,) if name else QEMU)


def users() -> 'Finding | list[Finding]':
    """Tell who the trials are made as, where that is not as on a host."""
    check = 'users'
    given = read_setting(read_qemu_conf(), 'user')
    remedy = 'run doctor on a host with vdsm'
    missing = [trial for trial in (
        (VDSM, 'hook', vdsm_user(), remedy),
        (given or QEMU[0], 'wrapper', qemu_user(), 'correct user in '
         + QEMU_CONF if given else remedy)) if trial[2] is None]
    if missing:
        return [Finding(check, WARNING, 'there is no user %s: the %s is tried '
                        'as root, who may do more' % (name, what), remedy,
                        'no-such-user')
                for name, what, _, remedy in missing]
    return Finding(check, OK, 'the hook is tried as %s, the wrapper as %s' % (
        VDSM, getattr(qemu_user(), 'pw_name', '')), None)


def as_user(user: 'pwd.struct_passwd | None',
            question: 'Callable[[], str | None]') -> str:
    """
    Return what a function returns (str; '' for None) in a process of a
    user's. Raises NotTried where anything goes wrong there.
    """
    # Who may not read this Python could not load it there.
    codecs.lookup('latin-1')
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        try:
            change = become(user)
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
    """
    Return that of the folders above a path which a user may not enter, or
    None.
    """
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
    Return what to say of a program that could not be run, with a remedy (str)
    for one that is not there.
    """
    if error.errno == errno.EACCES:
        folder = closed(path, user)
        remedy = 'chmod a+rx ' + (folder or path)
        if folder:
            return Finding(check, FAILED, 'user %s cannot enter %s, which %s '
                           'is in' % (who(user), folder, path), remedy,
                           'not-permitted')
        interpreter = interpreter_of(path)
        if interpreter and not as_user(user, lambda: '' if os.access(
                path, os.X_OK) else 'no'):
            # The script itself is not the obstacle.
            return cannot_run(check, interpreter, error, user, remedy)
        return Finding(check, FAILED, 'user %s cannot run %s: %s' % (
            who(user), path, error.strerror), remedy, 'not-permitted')
    return Finding(check, FAILED, '%s cannot be run: %s' % (
        path, error.strerror), remedy)


def cannot_read(check: str, path: str,
                user: 'pwd.struct_passwd | None') -> Finding:
    return Finding(check, FAILED, 'user %s cannot read %s' % (who(user), path),
                   'chmod a+rx ' + path if os.path.isdir(path) else REINSTALL,
                   'not-permitted')


def interpreter_of(path: str) -> 'str | None':
    """Return what the first line of a script names, or None."""
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


def see_tools(text: str, remedy: str) -> str:
    """
    Return the remedy, or where to look for it if it is the fault of a program
    that has a line of its own.
    """
    for program, check in ((tlsciphers_values.OPENSSL, 'OpenSSL'),
                           (tlsciphers_values.GNUTLS_CLI, 'GnuTLS')):
        if program in text and 'cannot' in text:
            return 'see "%s"' % check
    return remedy


# vdsm


def hook() -> Finding:
    return hook_files() or hook_trial('hook', vdsm_user())


def hook_files() -> 'Finding | None':
    """Return what keeps vdsm from the hook, or None."""
    check = 'hook'
    try:
        status = os.stat(HOOK)
    except OSError as error:
        return Finding(check, FAILED, '%s: %s' % (HOOK, error.strerror),
                       REINSTALL)
    # vdsm, which is not root, lists the folder and runs what is executable.
    if not stat.S_ISREG(status.st_mode) or status.st_mode & 0o555 != 0o555:
        return Finding(check, FAILED, '%s is not a file that everybody may '
                       'execute: vdsm does not see it' % HOOK, REINSTALL)
    folder = os.path.dirname(HOOK)
    while folder != '/':
        if os.stat(folder).st_mode & 0o005 != 0o005:
            return Finding(check, FAILED, 'vdsm cannot access %s'
                           % folder, 'chmod o+rx ' + folder)
        folder = os.path.dirname(folder)
    return None


def hook_trial(check: str, user: 'pwd.struct_passwd | None') -> Finding:
    """Have the hook do its work as vdsm has it do it."""
    try:
        answer = run_hook(user, tlsprofile=tlsciphers_config.NO_PROFILE,
                          tlsciphers=TRIAL_SPICE['ciphers'],
                          tlspriority=TRIAL_VNC['priority'])
    except OSError as error:
        if error.errno == errno.EACCES:
            return cannot_run(check, HOOK, error, user, REINSTALL)
        return Finding(check, FAILED, '%s cannot be run: %s: is its '
                       'interpreter there?' % (HOOK, error.strerror),
                       REINSTALL)
    if answer.returncode:
        line, _, code = split(last_line(answer.stderr))
        hidden = hidden_module(user)
        if hidden:
            return cannot_read(check, hidden, user)
        return Finding(check, FAILED, 'it rejects a known-good test policy: '
                       + line, see_tools(line, REINSTALL), code)
    if ('priority=' + TRIAL_VNC['priority'] not in answer.stdout
            or EMULATOR not in answer.stdout):
        return Finding(check, FAILED, 'its output is not that of the hook: it '
                       'does not set a known-good test policy', REINSTALL,
                       'not-the-hook')
    # What it does besides at the start of a VM.
    problem = as_user(user, check_wrapper)
    if problem and 'SELinux label' not in problem:
        hidden = closed(EMULATOR, user)
        return Finding(check, FAILED, 'as user %s: %s' % (
            who(user), problem.partition('; remedy: ')[0]),
            'chmod a+rx ' + hidden if hidden else 'see "wrapper"',
            'not-permitted' if hidden else None)
    return Finding(check, OK, '%s: %s sees it, it works' % (HOOK, who(user)),
                   None)


def check_wrapper() -> 'str | None':
    try:
        tlsciphers_host.check_wrapper()
    except tlsciphers_values.Refused as refusal:
        return message(refusal)
    return None


def run_hook(user: 'pwd.struct_passwd | None',
             **properties: str) -> 'subprocess.CompletedProcess[str]':
    """Have the hook change a sample, as a user; raises OSError."""
    return subprocess.run(  # nosec B603 # constants
        [HOOK, '--test'], stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        universal_newlines=True, preexec_fn=become(user), cwd='/',
        env=dict(properties, PATH='/usr/bin:/bin', LC_ALL='C.UTF-8'))


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
                check, WARNING, '%s seems to set the emulator, too: only one '
                'of the hooks can, for a VM' % path, 'use properties of '
                'only one of them on a VM, or remove that hook'))
    return findings or Finding(check, OK, 'none sets the emulator', None)


# What enforces


def emulator() -> Finding:
    check = 'QEMU'
    try:
        answer = ask_real(QEMU_KVM, '-version')
    except OSError as error:
        return Finding(check, FAILED, '%s cannot be run: %s' % (
            QEMU_KVM, error.strerror), 'install or repair qemu-kvm')
    if answer.returncode:
        return Finding(check, FAILED, '%s -version has failed: %s' % (
            QEMU_KVM, first_line(answer.stderr)), 'repair qemu-kvm')
    version = re.sub('^QEMU emulator version ', '',
                     first_line(answer.stdout))
    return Finding(check, OK, '%s: %s, %s' % (
        QEMU_KVM, version, 'with SPICE and VNC' if has_spice() else
        'without SPICE: VNC is the only console'), None)


def wrapper() -> Finding:
    """
    Let the wrapper start QEMU with a policy, as QEMU's user, until it says
    its version.
    """
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
            arguments += [tlsciphers_values.REQUIREMENT, '%s=%s' % (key, value)]
        try:
            answer = ask_real(EMULATOR, *arguments, '-version', user=user)
        except OSError as error:
            return cannot_run(check, EMULATOR, error, user, REINSTALL)
        if answer.returncode:
            line, remedy, code = split(last_line(answer.stderr),
                                       '; remedy: ')
            hidden = hidden_module(user)
            if hidden:
                return cannot_read(check, hidden, user)
            if 'openssl.cnf' in line + remedy or (
                    'does not take the configuration' in line):
                remedy = 'see "openssl.cnf"'
            return Finding(check, FAILED, 'it rejects a known-good test '
                           'policy for %s: %s' % (display, line.replace(
                               'qemu-kvm-modified: ', '')),
                           see_tools(line, remedy or REINSTALL), code)
        version = ask(QEMU_KVM, '-version').stdout
        if not answer.stdout.strip() or answer.stdout != version:
            return Finding(check, FAILED, '%s does not start QEMU: its '
                           'output is "%s", and that of %s "%s"' % (
                               EMULATOR, first_line(answer.stdout)[:60],
                               QEMU_KVM, first_line(version)[:60]), REINSTALL,
                           'not-the-wrapper')
        if note not in answer.stderr:
            return Finding(check, FAILED, '%s starts QEMU without the policy '
                           'for %s' % (EMULATOR, display), REINSTALL,
                           'not-the-wrapper')
    return Finding(check, OK, '%s takes policies for %s, and starts QEMU as '
                   'user %s' % (WRAPPER, ' and '.join(
                       trial[0] for trial in trials), who(user)), None)


def wrapper_in_place(check: str) -> 'Finding | None':
    """Return what is wrong with the link that VMs name, and its file."""
    folder = os.path.dirname(EMULATOR)
    while folder not in ('/', os.path.dirname(WRAPPER)):
        if os.path.islink(folder):
            return Finding(
                check, FAILED, '%s is a symbolic link to %s: the link of the '
                'package in it leads astray' % (folder, os.readlink(folder)),
                'rm %s, then %s' % (folder, REINSTALL), 'folder-is-a-link')
        folder = os.path.dirname(folder)
    try:
        tlsciphers_host.check_wrapper()
    except tlsciphers_values.Refused as refusal:
        if 'SELinux label' not in str(refusal):
            text, _, _ = message(refusal).partition('; remedy: ')
            return Finding(check, FAILED, text, REINSTALL)
    if not os.path.islink(EMULATOR) or (
            os.path.realpath(EMULATOR) != os.path.realpath(WRAPPER)):
        return Finding(check, FAILED, '%s is not the link of the package to '
                       '%s: a manual installation has been put there'
                       % (EMULATOR, WRAPPER), REINSTALL)
    return None


def openssl() -> 'Finding | list[Finding]':
    check = 'OpenSSL'
    found = tool(check, tlsciphers_values.OPENSSL, 'openssl', 'version')
    if isinstance(found, Finding):
        return found
    if 'ECDHE-' not in ask(tlsciphers_values.OPENSSL, 'ciphers', 'ECDHE').stdout:
        return no_answer(check, tlsciphers_values.OPENSSL, 'openssl')
    version = [*found.split(), '', ''][1]
    if not version:
        return Finding(check, FAILED, '%s does not tell its version'
                       % tlsciphers_values.OPENSSL, 'repair openssl')
    if version < '1.1.1':
        line = Finding(check, WARNING, '%s has no TLS 1.3, and no setting '
                       'for versions and groups: only tlsciphers with '
                       'suites for TLS 1.2 can be enforced' % version,
                       'use newer hosts for tlsprotocols, tlsgroups and '
                       'tlsprofile')
    else:
        line = Finding(check, OK, version + ': TLS 1.2 and 1.3', None)
    tried_conf = tried('openssl.cnf', openssl_conf)
    return [line, *(tried_conf if isinstance(tried_conf, list)
                    else [tried_conf])]


def tool(check: str, program: str, package_name: str,
         *arguments: str) -> 'Finding | str':
    """
    Return what a program prints of its version (str) to vdsm and to QEMU's
    user, or a Finding where it cannot be run.
    """
    for user in vdsm_user(), qemu_user():
        try:
            printed = ask_real(program, *arguments, user=user).stdout
        except OSError as error:
            return cannot_run(check, program, error, user,
                              'install ' + package_name)
    return first_line(printed)


def no_answer(check: str, program: str, package_name: str) -> Finding:
    return Finding(check, FAILED, '%s does not list suites when asked: no '
                   'value can be validated' % program,
                   'dnf reinstall ' + package_name, 'no-answer')


def openssl_conf() -> Finding:
    """Try whether OpenSSL takes the host's file together with a policy."""
    check = 'openssl.cnf'
    from vdsm_tlsciphers.host import openssl_conf
    path = openssl_conf.host_file()
    try:
        status = os.stat(path)
    except OSError as error:
        if error.errno == errno.ENOENT:
            return Finding(check, OK, 'there is no %s' % path, None)
        return Finding(
            check, WARNING, '%s cannot be read: %s: only the policies count'
            % (path, error.strerror), 'dnf reinstall openssl-libs')
    try:
        reason, place, line = openssl_conf.fault(TRIAL_SPICE)
    except UserError as problem:
        text, remedy, code = split(str(problem))
        return Finding(check, FAILED, text, remedy or REINSTALL, code)
    if place:
        return Finding(
            check, FAILED, '%s: %s: OpenSSL does not take this setting of the '
            'host, so no VM can have tlsprotocols, tlsgroups or TLS 1.3 '
            'suites' % (place, line), 'correct or remove that line of %s'
            % place.partition(': ')[0], 'host-openssl-cnf')
    if reason and 'is malformed' in reason:
        return Finding(check, WARNING, reason, 'correct %s: openssl version '
                       'tells what is wrong with it' % path,
                       'host-openssl-cnf')
    if reason:
        return Finding(
            check, FAILED, reason if path in reason else '%s: %s' % (
                path, reason),
            'write out variables, quotes and relative paths where it names '
            'its sections' if 'cannot tell what' in reason else
            'correct %s, or the files that it includes' % path,
            'host-openssl-cnf')
    user = qemu_user()
    hidden = as_user(user, lambda: openssl_conf.unreadable(path))
    # Where there is no such user, its mode has to tell.
    if not hidden and not status.st_mode & stat.S_IROTH:
        hidden = path
    if hidden:
        folder = closed(hidden, user)
        return Finding(
            check, FAILED, '%s cannot be read by the user of QEMU: its '
            'settings do not count for VMs' % hidden,
            'chmod a+rx ' + folder if folder else 'chmod o+r%s %s' % (
                'x' if os.path.isdir(hidden) else '', hidden))
    return Finding(check, OK, '%s: OpenSSL takes it together with a policy'
                   % path, None)


def gnutls() -> Finding:
    check = 'GnuTLS'
    found = tool(check, tlsciphers_values.GNUTLS_CLI, 'gnutls-utils', '--version')
    if isinstance(found, Finding):
        return found
    if 'Protocols: VERS-' not in ask(tlsciphers_values.GNUTLS_CLI, '--list',
                                     '--priority=NORMAL').stdout:
        return no_answer(check, tlsciphers_values.GNUTLS_CLI, 'gnutls-utils')
    words = found.split()
    numbers = [int(number) for number in re.findall(
        '[0-9]+', words[-1] if words else '')]
    if not numbers:
        return Finding(check, FAILED, '%s does not tell its version'
                       % tlsciphers_values.GNUTLS_CLI, 'repair gnutls-utils')
    if numbers < [3, 6, 5]:
        return Finding(check, WARNING, '%s has no TLS 1.3' % words[-1],
                       'use newer hosts for TLS 1.3 on VNC consoles')
    return Finding(check, OK, words[-1] + ': TLS 1.2 and 1.3', None)


# Policies


def profiles() -> Finding:
    check = 'profiles'
    lines: list[str] = []
    for name in sorted(tlsciphers_config.PROFILES):
        try:
            _, notes = tlsciphers.resolve(
                {'tlsprofile': name}, ('spice', 'vnc'), lenient=True)
        except tlsciphers_values.Refused as refusal:
            line, _, code = split(message(refusal), ' [')
            return Finding(check, FAILED, line, see_tools(
                line, 'use other profiles or properties here, or '
                'change the crypto-policy of this host'), code)
        lines.extend(line for line in notes if 'left out' in line)
    if lines:
        return Finding(check, WARNING, '; '.join(lines), 'none is needed, '
                       'if VMs need not migrate to hosts that know it')
    return Finding(check, OK, ' and '.join(sorted(tlsciphers_config.PROFILES))
                   + ' can be enforced whole', None)


def host_default() -> Finding:
    check = 'host default'
    user = vdsm_user()
    if not os.path.lexists(HOST_DEFAULT):
        # vdsm must be able to tell as well.
        folder = closed(HOST_DEFAULT, user)
        if folder:
            return Finding(
                check, FAILED, 'user %s cannot enter %s: each VM whose '
                'properties leave a setting open is refused' % (
                    who(user), folder), 'chmod a+rx ' + folder,
                'not-permitted')
        return Finding(check, OK, 'there is no %s' % HOST_DEFAULT, None)
    try:
        sections = tlsciphers_config.read_host_default()
        refused = as_user(user, read_as_vdsm)
        if refused:
            folder = closed(HOST_DEFAULT, user)
            return Finding(check, FAILED, 'vdsm cannot read it, so no VM '
                           'starts that needs it: ' + refused,
                           'chmod a+rx ' + folder if folder else
                           'chmod 644 ' + HOST_DEFAULT)
        lines = validate({})
        for section in sorted(sections):
            if section.startswith('profile '):
                lines += validate({'tlsprofile': section[len('profile '):]})
    except tlsciphers_values.Refused as refusal:
        text, remedy, code = split(message(refusal))
        return Finding(check, FAILED, text, see_tools(
            text, remedy or 'correct it'), code)
    if lines:
        return Finding(check, WARNING, '; '.join(lines),
                       'correct %s, or leave it' % HOST_DEFAULT)
    return Finding(check, OK, '%s is valid' % HOST_DEFAULT, None)


def read_as_vdsm() -> 'str | None':
    try:
        tlsciphers_config.read_host_default()
    except tlsciphers_values.Refused as refusal:
        return split(message(refusal))[0]
    return None


def validate(properties: 'dict[str, str]') -> 'list[str]':
    """Return what there is to say of a policy (list of str)."""
    return [line for line in tlsciphers.resolve(
                properties, ('spice', 'vnc'))[1]
            if not re.match('tlsciphers: the (SPICE|VNC) console', line)]


def split(line: str,
          separator: str = '; ') -> 'tuple[str, str, str | None]':
    """Return a message's text, its remedy ('' for none), and its code."""
    found = re.search(r' \[([a-z0-9-]+)\]$', line)
    if found:
        line = line[:found.start()]
    text, _, remedy = line.partition(separator)
    return text, as_remedy(remedy), found.group(1) if found else None


def message(refusal: tlsciphers_values.Refused) -> str:
    return re.sub('^tlsciphers: (?!TLS_)', '', str(refusal))


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
            QEMU_CONF, error.strerror), 'install or repair libvirt')
    displays = ['SPICE', 'VNC'] if has_spice() else ['VNC']
    off = [display for display in displays
           if not is_set(text, TLS_SETTINGS[display])]
    # Some sites have but one of the two: only with none nothing can be done.
    state = FAILED if off == displays else WARNING
    remedies = {
        'SPICE': 'set spice_tls = 1 in %s and restart libvirtd (the engine '
        'does that when it installs a host)' % QEMU_CONF,
        'VNC': 'check Enable VNC Encryption in the engine (Compute > '
        'Clusters > Edit > Console) and reinstall this host'}
    return [Finding(display + ' TLS', state, '%s is off: a VM whose %s '
                    'console must have a policy does not start' % (
                        TLS_SETTINGS[display], display), remedies[display])
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
    Look whether QEMU's user can read what a display's TLS needs, where
    qemu.conf (its text) says where it is.
    """
    check, setting = display + ' TLS', TLS_SETTINGS[display]
    folder = read_setting(text, setting + '_x509_cert_dir')
    user = qemu_user()
    for name in ('ca-cert.pem', 'server-cert.pem', 'server-key.pem'):
        path = os.path.join(folder or '/', name)
        if folder and as_user(user, functools.partial(
                why_not_read, path)):
            return Finding(
                check, FAILED, '%s is on, and user %s cannot read %s: no VM '
                'with a %s console starts' % (setting, who(user), path,
                                              display),
                'enroll the certificate of this host in the engine (Hosts > '
                'NAME > Installation > Enroll Certificate)', 'certificate')
    return Finding(check, OK, setting + ' is on', None)


def is_set(text: str, name: str) -> bool:
    """Tell whether a line of libvirt's configuration sets a name to 1."""
    return read_setting(text, name) == '1'


def read_setting(text: str, name: str) -> 'str | None':
    """Return what libvirt's configuration (str) sets a name to, or None."""
    values = re.findall(r'(?m)^[ \t]*%s[ \t]*=[ \t]*"?([^\s"#]*)' % name, text)
    return values[-1] if values else None


def capabilities() -> Finding:
    """
    Look at what libvirt keeps of the wrapper as an emulator. It asks anew
    where the wrapper's change time is another; that of qemu-kvm, which the
    wrapper starts, it does not see.
    """
    check = 'capabilities'
    for path in glob.glob(CAPABILITIES):
        try:
            with open(path, encoding='utf-8', errors='replace') as cache:
                text = cache.read(4096)
            asked = re.search(
                r'<emulator>%s</emulator>\s*<qemuctime>([0-9]+)'
                % re.escape(EMULATOR), text)
            # Only what libvirt would go on using.
            if asked and (
                    int(asked.group(1)) == int(os.stat(EMULATOR).st_ctime)
                    and os.stat(path).st_mtime < os.stat(QEMU_KVM).st_ctime):
                return Finding(check, FAILED, 'libvirt knows of an older %s: '
                               'VMs with a policy may not start' % QEMU_KVM,
                               FIX)
        except OSError:
            continue  # It is just being replaced.
    return Finding(check, OK, 'libvirt knows of no older QEMU', None)


def running_vms() -> 'Finding | list[Finding]':
    """Name the VMs that run here and would be refused at their next start."""
    check = RUNNING_VMS
    from vdsm_tlsciphers.host import domain_consoles, domains, next_start
    try:
        vms = domains.running(domains.connect())
    except UserError as problem:
        text, remedy, _ = split(str(problem))
        return Finding(check, WARNING, 'not looked at: ' + text,
                       remedy or None)
    refused = []
    for vm in vms:
        try:
            settings, _ = next_start.settle(
                next_start.of_vm(vm), vm)
            line = domain_consoles.refusal(vm, settings)
        except tlsciphers_values.Refused as refusal:
            line = str(refusal)
            refused.append((vm.name, line, see_tools(
                line, 'vdsm-tlsciphers check --vm %s; correct its properties '
                'in the engine' % vm.name)))
        else:
            if line:
                text, remedy, _ = split(line)
                refused.append((vm.name, text, re.sub(
                    '^remedy: ', '', domain_consoles.without_removal(remedy))))
    return [Finding(check, WARNING, '%s would be refused at its next start: %s'
                    % (name, text), remedy, 'next-start')
            for name, text, remedy in refused] or Finding(
                check, OK, NONE_REFUSED % len(vms), None)


# What was there before


def leftovers() -> 'Finding | list[Finding]':
    check = 'leftovers'
    found = []
    if os.path.isdir(BACKUP_DIR):
        found.append(('files of a manual installation are kept in '
                      + BACKUP_DIR, 'rm -r %s, when you need them no more'
                      % BACKUP_DIR))
    if os.path.lexists(MISPLACED):
        found.append(('%s is of no use' % MISPLACED,
                      'rm -r %s, when no VM runs through it' % MISPLACED))
    folder = os.path.dirname(EMULATOR)
    for path in sorted(glob.glob(folder + '/*')):
        if path != EMULATOR:
            found.append(('%s is not of the package' % path, 'rm -r ' + path))
    for path in sorted(glob.glob(HOOKS + '/*/__pycache__')):
        found.append(('%s: vdsm of oVirt 4.3 would run what is in it' % path,
                      'rm -r ' + path))
    for path in glob.glob(CUSTOMISATIONS):
        with open(path, encoding='utf-8', errors='replace') as contexts:
            for line in contexts:
                if line.split()[:1] and 'qemu-kvm-' in line.split()[0]:
                    name = line.split()[0]
                    found.append((
                        'a label of this host\'s own for %s' % name,
                        'semanage fcontext -d \'%s\'' % name))
    return [Finding(check, WARNING, *pair) for pair in found] or Finding(
        check, OK, 'none of a manual installation', None)


# Programs


def first_line(text: str) -> str:
    return (text.strip().splitlines() or [''])[0].strip()


def last_line(text: str) -> str:
    return (text.strip().splitlines() or ['no reason'])[-1].strip()
