# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""Whether hook, wrapper, QEMU, OpenSSL and GnuTLS of a host work."""

import errno
import os
import re
import stat

import tlsciphers_config
import tlsciphers_host
import tlsciphers_values
from tlsciphers_host import EMULATOR, QEMU_KVM, WRAPPER
from tlsciphers_values import GNUTLS_CLI, OPENSSL, Refused

from vdsm_tlsciphers import UserError, programs
from vdsm_tlsciphers.host import messages, qemu_conf
from vdsm_tlsciphers.host.accounts import (
    QEMU,
    VDSM,
    as_user,
    closed,
    given_qemu_user,
    qemu_user,
    tried,
    vdsm_user,
    who,
)
from vdsm_tlsciphers.host.emulator import has_spice
from vdsm_tlsciphers.host.finding import (
    FAILED,
    HOOK,
    LABEL,
    REINSTALL,
    SCRIPTLET,
    WARNING,
    Finding,
    code_of,
    first_line,
    known,
    last_line,
    ok,
)
from vdsm_tlsciphers.host.package_checks import labelled_files
from vdsm_tlsciphers.programs import ask

TYPE_CHECKING = False
if TYPE_CHECKING:
    import pwd
    import subprocess  # nosec B404 # its type

TRIAL_SPICE = {
    'ciphers': 'ECDHE-RSA-AES128-GCM-SHA256',
    'ciphersuites': 'TLS_AES_128_GCM_SHA256', 'protocols': 'TLSv1.2:TLSv1.3',
    'groups': 'P-256'}
TRIAL_VNC = {'priority': 'NORMAL:-VERS-ALL:+VERS-TLS1.2'}


def users() -> 'Finding | list[Finding]':
    """Report as which users hook and wrapper are tried."""
    check = 'users'
    given = given_qemu_user()
    remedy = 'run doctor on a host with vdsm'
    missing = [trial for trial in (
        (VDSM, 'hook', vdsm_user(), remedy),
        (given or QEMU[0], 'wrapper', qemu_user(), 'correct user in '
         + qemu_conf.PATH if given else remedy)) if trial[2] is None]
    if missing:
        return [Finding(check, WARNING, 'no user %s: the %s is tried as root, '
                        'who has more permissions' % (name, what), remedy,
                        'no-such-user')
                for name, what, _, remedy in missing]
    return ok(check, 'hook tried as %s, wrapper as %s' % (
        VDSM, getattr(qemu_user(), 'pw_name', '')))


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
    # The XML afterwards, not what vdsm.log would have.
    after = answer.stdout.partition('After:')[2].partition('vdsm.log: ')[0]
    if [text for text in ('value="ciphers=' + TRIAL_SPICE['ciphers'],
                          'value="priority=' + TRIAL_VNC['priority'], EMULATOR)
            if text not in after]:
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
