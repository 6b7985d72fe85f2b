# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""What doctor looks at on a host."""

import collections
import errno
import glob
import os
import re
import stat
import subprocess  # nosec B404 # programs by absolute path, no shell

import tlsciphers
from tlsciphers import EMULATOR, HOST_DEFAULT, QEMU_KVM, WRAPPER
from vdsm_tlsciphers import VERSION, Problem

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NamedTuple

OK, WARNING, FAILED = 'ok', 'warning', 'FAILED'
if TYPE_CHECKING:
    class Finding(NamedTuple):
        """What was looked at (check), and what was found (text)."""

        check: str
        state: str
        text: str
        remedy: str | None
else:
    Finding = collections.namedtuple('Finding', 'check state text remedy')

PACKAGE = 'vdsm-hook-tlsciphers'
REINSTALL = 'dnf reinstall ' + PACKAGE
FIX = 'vdsm-tlsciphers doctor --fix'
HOOK = '@HOOK@'
HOOKS = os.path.dirname(os.path.dirname(HOOK))
SCRIPTLET = '@PKGDATADIR@/scriptlet'
MISPLACED = '@LIBEXECDIR@/vdsm/qemu-kvm-wrapper'
KEPT = '/etc/vdsm/tlsciphers-manual'
QEMU_CONF = '/etc/libvirt/qemu.conf'
CAPABILITIES = '/var/cache/libvirt/qemu/capabilities/*.xml'
SELINUXFS = '/sys/fs/selinux/enforce'
CUSTOMISATIONS = '/etc/selinux/*/contexts/files/file_contexts.local'
# What a display needs in qemu.conf.
TLS_SETTINGS = {'SPICE': 'spice_tls', 'VNC': 'vnc_tls'}
TRIAL_SPICE = {
    'ciphers': 'ECDHE-RSA-AES128-GCM-SHA256',
    'ciphersuites': 'TLS_AES_128_GCM_SHA256', 'protocols': 'TLSv1.2:TLSv1.3',
    'groups': 'P-256'}
TRIAL_VNC = {'priority': 'NORMAL:-VERS-ALL:+VERS-TLS1.2'}


def examine() -> 'list[Finding]':
    """Return the Findings (list), in the order in which they matter."""
    findings: list[Finding] = []
    for examination in (package, labels, module, hook, other_hooks, emulator,
                        wrapper, openssl, gnutls, profiles, host_default,
                        encryption, capabilities, leftovers):
        found = examination()
        findings.extend(found if isinstance(found, list) else [found])
    return findings


def fix(findings: 'list[Finding]') -> 'list[str]':
    """
    Repair what FAILED where that is safe. Returns what was done (list of
    str).
    """
    failed = {finding.check for finding in findings
              if finding.state == FAILED and finding.remedy == FIX}
    done = []
    if 'labels' in failed:
        paths = [path for path in (WRAPPER, EMULATOR, HOOK)
                 if os.path.lexists(path)]
        answer = ask('restorecon', '-F', '-v', *paths)
        if answer.returncode:
            raise Problem('restorecon has failed: %s; mend that and run it '
                          'again' % first_line(answer.stderr))
        done.append('labels: restorecon -F ' + ' '.join(paths))
    if 'capabilities' in failed:
        # The same as when rpm updates qemu-kvm.
        answer = ask('/bin/sh', SCRIPTLET, 'emulator-changed')
        if answer.stderr:
            raise Problem(first_line(answer.stderr))
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
    return Finding(check, OK, name + ', all files as they were installed',
                   None)


def is_harmless(words: 'list[str]') -> bool:
    """Tell whether a line of "rpm -V" is about documentation or dates."""
    return words[-1][:2] in ('d ', 'l ') or not words[0].strip('.T')


# SELinux


def selinux_enabled() -> bool:
    return os.path.exists(SELINUXFS)


def labels() -> Finding:
    check = 'labels'
    if not selinux_enabled():
        return Finding(check, OK, 'SELinux is not enabled: none is needed',
                       None)
    wrong = []
    for path in (WRAPPER, EMULATOR, HOOK):
        if not os.path.lexists(path):
            continue  # The package's or the wrapper's line says so.
        expected = first_line(ask('matchpathcon', '-n', path).stdout)
        if not expected:
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


# vdsm


def hook() -> Finding:
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
            return Finding(check, FAILED, 'vdsm may not look into %s'
                           % folder, 'chmod o+rx ' + folder)
        folder = os.path.dirname(folder)
    try:
        answer = subprocess.run(  # nosec B603 # constants
            [HOOK, '--test'], stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            universal_newlines=True, env={
                'PATH': '/usr/bin:/bin', 'LC_ALL': 'C.UTF-8',
                # Whatever the default of this host is.
                'tlsprofile': tlsciphers.NO_PROFILE,
                'tlsciphers': TRIAL_SPICE['ciphers'],
                'tlspriority': TRIAL_VNC['priority']})
    except OSError as error:
        return Finding(check, FAILED, '%s cannot be run: %s: is its '
                       'interpreter there?' % (HOOK, error.strerror),
                       REINSTALL)
    if answer.returncode:
        return Finding(check, FAILED, 'it does not take a good policy: '
                       + last_line(answer.stderr), REINSTALL)
    return Finding(check, OK, '%s: vdsm sees it, it works' % HOOK, None)


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


def has_spice() -> bool:
    try:
        # It reads its arguments in order: -version ends it.
        return ask_real(QEMU_KVM, '-spice', 'tls-port=5900', '-version'
                        ).returncode == 0
    except OSError:
        return False


def wrapper() -> Finding:
    """Let the wrapper start QEMU with a policy, until it says its version."""
    check = 'wrapper'
    try:
        tlsciphers.check_wrapper()
    except tlsciphers.Refused as refusal:
        if 'SELinux label' not in str(refusal):
            text, _, _ = message(refusal).partition('; remedy: ')
            return Finding(check, FAILED, text, REINSTALL)
    if not os.path.islink(EMULATOR) or (
            os.path.realpath(EMULATOR) != os.path.realpath(WRAPPER)):
        return Finding(check, FAILED, '%s is not the link of the package to '
                       '%s: a manual installation has been put there'
                       % (EMULATOR, WRAPPER), REINSTALL)
    trials = [('VNC', TRIAL_VNC, [
        '-object', 'tls-creds-x509,id=trial,dir=/',
        '-vnc', '127.0.0.1:0,tls-creds=trial'])]
    if has_spice():
        trials.insert(0, ('SPICE', TRIAL_SPICE, ['-spice', 'tls-port=5900']))
    for display, policy, arguments in trials:
        for key, value in sorted(policy.items()):
            arguments += [tlsciphers.REQUIREMENT, '%s=%s' % (key, value)]
        try:
            answer = ask_real(EMULATOR, *arguments, '-version')
        except OSError as error:
            return Finding(check, FAILED, '%s cannot be run: %s'
                           % (EMULATOR, error.strerror), REINSTALL)
        if answer.returncode:
            line, _, remedy = last_line(answer.stderr).partition('; remedy: ')
            if 'openssl.cnf' in line:
                remedy = 'see "openssl.cnf" below'
            return Finding(check, FAILED, 'it refuses a good policy for %s: '
                           '%s' % (display, line.replace(
                               'qemu-kvm-modified: ', '')),
                           remedy or REINSTALL)
    return Finding(check, OK, '%s takes policies for %s, and starts QEMU' % (
        WRAPPER, ' and '.join(trial[0] for trial in trials)), None)


def openssl() -> 'Finding | list[Finding]':
    from vdsm_tlsciphers import wrapper as installed
    check = 'OpenSSL'
    try:
        words = ask_real(tlsciphers.OPENSSL, 'version').stdout.split()
    except OSError as error:
        return Finding(check, FAILED, '%s cannot be run: %s' % (
            tlsciphers.OPENSSL, error.strerror), 'install openssl')
    if not words[1:]:
        return Finding(check, FAILED, '%s does not tell its version'
                       % tlsciphers.OPENSSL, 'repair openssl')
    if words[1] < '1.1.1':
        found = Finding(check, WARNING, '%s has no TLS 1.3, and no setting '
                        'for versions and groups: only tlsciphers with '
                        'suites for TLS 1.2 can be enforced' % words[1],
                        'use newer hosts for tlsprotocols, tlsgroups and '
                        'tlsprofile')
    else:
        found = Finding(check, OK, words[1] + ': TLS 1.2 and 1.3', None)
    check = 'openssl.cnf'
    path = '@OPENSSL_CONF@'
    try:
        installed.load().read_host_configuration()
    except ValueError as error:
        return [found, Finding(
            check, FAILED, 'cannot tell what %s means: %s' % (path, error),
            'write out variables, quotes and relative paths where it names '
            'its sections')]
    except OSError as error:
        if error.errno == errno.ENOENT:
            return [found, Finding(check, OK, 'there is no %s' % path, None)]
        return [found, Finding(
            check, WARNING, '%s cannot be read: %s: only the policies count'
            % (path, error.strerror), 'dnf reinstall openssl-libs')]
    except Problem as problem:
        return [found, Finding(check, FAILED, str(problem), REINSTALL)]
    # Its mode, for QEMU's user.
    if not os.stat(path).st_mode & stat.S_IROTH:
        return [found, Finding(
            check, FAILED, '%s cannot be read by the user of QEMU: its '
            'settings do not count for VMs' % path, 'chmod o+r ' + path)]
    return [found, Finding(check, OK, '%s can be followed' % path, None)]


def gnutls() -> Finding:
    check = 'GnuTLS'
    try:
        words = first_line(ask_real(tlsciphers.GNUTLS_CLI, '--version').stdout
                           ).split()
    except OSError as error:
        return Finding(check, FAILED, '%s cannot be run: %s' % (
            tlsciphers.GNUTLS_CLI, error.strerror), 'install gnutls-utils')
    numbers = [int(number) for number in re.findall(
        '[0-9]+', words[-1] if words else '')]
    if not numbers:
        return Finding(check, FAILED, '%s does not tell its version'
                       % tlsciphers.GNUTLS_CLI, 'repair gnutls-utils')
    if numbers < [3, 6, 5]:
        return Finding(check, WARNING, '%s has no TLS 1.3' % words[-1],
                       'use newer hosts for TLS 1.3 on VNC consoles')
    return Finding(check, OK, words[-1] + ': TLS 1.2 and 1.3', None)


# Policies


def profiles() -> Finding:
    check = 'profiles'
    lines: list[str] = []
    for name in sorted(tlsciphers.PROFILES):
        try:
            _, notes = tlsciphers.resolve(
                {'tlsprofile': name}, ('spice', 'vnc'), lenient=True)
        except tlsciphers.Refused as refusal:
            return Finding(check, FAILED, message(refusal),
                           'use other profiles or properties here, or '
                           'change the crypto-policy of this host')
        lines.extend(line for line in notes if 'left out' in line)
    if lines:
        return Finding(check, WARNING, '; '.join(lines), 'none is needed, '
                       'if VMs need not migrate to hosts that know it')
    return Finding(check, OK, ' and '.join(sorted(tlsciphers.PROFILES))
                   + ' can be enforced whole', None)


def host_default() -> Finding:
    check = 'host default'
    if not os.path.lexists(HOST_DEFAULT):
        return Finding(check, OK, 'there is no %s' % HOST_DEFAULT, None)
    try:
        sections = tlsciphers.read_host_default()
        mode = os.stat(HOST_DEFAULT).st_mode
        if not mode & stat.S_IROTH:
            return Finding(check, FAILED, '%s: vdsm cannot read it, so no VM '
                           'starts that needs it' % HOST_DEFAULT,
                           'chmod 644 ' + HOST_DEFAULT)
        lines = judge({})
        for section in sorted(sections):
            if section.startswith('profile '):
                lines += judge({'tlsprofile': section[len('profile '):]})
    except tlsciphers.Refused as refusal:
        text, _, remedy = message(refusal).partition('; ')
        return Finding(check, FAILED, text, remedy or 'correct it')
    if lines:
        return Finding(check, WARNING, '; '.join(lines),
                       'correct %s, or leave it' % HOST_DEFAULT)
    return Finding(check, OK, '%s is valid' % HOST_DEFAULT, None)


def judge(properties: 'dict[str, str]') -> 'list[str]':
    """Return what there is to say of a policy (list of str)."""
    return [line for line in tlsciphers.resolve(
                properties, ('spice', 'vnc'))[1]
            if not re.match('tlsciphers: the (SPICE|VNC) console', line)]


def message(refusal: tlsciphers.Refused) -> str:
    return re.sub('^tlsciphers: (?!TLS_)', '', str(refusal))


# libvirt


def encryption() -> 'Finding | list[Finding]':
    try:
        with open(QEMU_CONF, encoding='utf-8', errors='replace') as conf:
            text = conf.read()
    except OSError as error:
        return Finding('encryption', WARNING, '%s cannot be read: %s' % (
            QEMU_CONF, error.strerror), 'check libvirt')
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
            if display in off else
            Finding(display + ' TLS', OK, TLS_SETTINGS[display] + ' is on',
                    None)
            for display in displays]


def is_set(text: str, name: str) -> bool:
    """Tell whether a line of libvirt's configuration sets a name to 1."""
    values = re.findall(r'(?m)^[ \t]*%s[ \t]*=[ \t]*"?([^\s"#]*)' % name, text)
    return values[-1:] == ['1']


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


# What was there before


def leftovers() -> 'Finding | list[Finding]':
    check = 'leftovers'
    found = []
    if os.path.isdir(KEPT):
        found.append(('files of a manual installation are kept in ' + KEPT,
                      'rm -r %s, when you need them no more' % KEPT))
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


def ask(program: str,
        *arguments: str) -> 'subprocess.CompletedProcess[str]':
    """Run a program of the system; a missing one answers with status 127."""
    try:
        return ask_real(program, *arguments)
    except OSError as error:
        return subprocess.CompletedProcess(
            [program], 127, '', '%s: %s' % (program, error.strerror))


def ask_real(program: str,
             *arguments: str) -> 'subprocess.CompletedProcess[str]':
    """Run a program; raises OSError where it cannot be."""
    # What doctor runs is written in this file.
    return subprocess.run(  # nosec B603
        [program, *arguments], stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        universal_newlines=True, errors='replace', env={
            'PATH': '/usr/sbin:/usr/bin:/sbin:/bin', 'LC_ALL': 'C'})


def first_line(text: str) -> str:
    return (text.strip().splitlines() or [''])[0].strip()


def last_line(text: str) -> str:
    return (text.strip().splitlines() or ['no reason'])[-1].strip()
