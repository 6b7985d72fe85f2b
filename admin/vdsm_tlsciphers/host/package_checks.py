# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""Whether the package is complete and labelled, and alone on a host."""

import glob
import os
import re

from tlsciphers_host import EMULATOR, WRAPPER

from vdsm_tlsciphers import VERSION
from vdsm_tlsciphers.host.finding import (
    FAILED,
    FIX,
    HOOK,
    INCOMING,
    PACKAGE,
    PKGDATADIR,
    REINSTALL,
    WARNING,
    Finding,
    first_line,
    ok,
)
from vdsm_tlsciphers.programs import ask

HOOKS = os.path.dirname(os.path.dirname(HOOK))
MISPLACED = '@LIBEXECDIR@/vdsm/qemu-kvm-wrapper'
BACKUP_DIR = '/etc/vdsm/tlsciphers-manual'
SELINUXFS = '/sys/fs/selinux/enforce'
# Of EL8 and later, and of the oVirt Nodes that are made of them.
OS_RELEASE = '/etc/os-release'
CUSTOMISATIONS = '/etc/selinux/*/contexts/files/file_contexts.local'


def package() -> Finding:
    check = 'package'
    answer = ask('rpm', '-q', PACKAGE)
    if answer.returncode:
        return Finding(check, WARNING, 'version %s, not installed by rpm: '
                       'file integrity cannot be verified' % VERSION,
                       'install the RPM', 'package')
    name = first_line(answer.stdout)
    match = re.search(r'\.((?:el|fc)\d+)', name)
    release = match.group(1) if match else 'no particular release'
    # Dependencies have checks of their own.
    answer = ask('rpm', '-V', '--nodeps', PACKAGE)
    changed = [line.split(None, 1) for line in answer.stdout.splitlines()
               if line.strip()]
    bad = [words[-1] for words in changed if not is_harmless(words)]
    if bad:
        return Finding(check, FAILED, '%s: modified files: %s' % (
            name, ', '.join(bad)), REINSTALL, 'package')
    host = el_release()
    if host and release != host:
        return Finding(check, WARNING, '%s: built for %s, but this host is %s'
                       % (name, release, host), 'install the RPM of this '
                       'release: .%s in its name' % host, 'package')
    if changed:
        return Finding(check, WARNING, '%s: modified documentation or dates: '
                       '%s' % (name, ', '.join(
                           words[-1] for words in changed)), REINSTALL,
                       'package')
    return ok(check, '%s, built for %s, no modified files' % (name, release))


def el_release() -> 'str | None':
    """Return the release of EL that this host has, such as el8, or None."""
    try:
        with open(OS_RELEASE, encoding='utf-8', errors='replace') as lines:
            match = re.search(r'(?m)^PLATFORM_ID=["\']?platform:(el\d+)',
                              lines.read())
    except OSError:
        return None
    return match and match.group(1)


def is_harmless(words: 'list[str]') -> bool:
    """Tell whether a line of "rpm -V" is about documentation or dates."""
    return words[-1][:2] in ('d ', 'l ') or not words[0].strip('.T')


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
                'restorecon -v %s' % (path, REINSTALL, path),
                'label-in-policy')
        label = read_label(path)
        if selinux_type(label) != selinux_type(expected):
            wrong.append('%s has %s instead of %s' % (
                path, selinux_type(label), selinux_type(expected)))
    if len(wrong) > 3:
        wrong[3:] = ['and %d more' % (len(wrong) - 3)]
    if wrong:
        return Finding(check, FAILED, ', '.join(wrong), FIX, 'labels')
    return ok(check, WRAPPER + ' has qemu_exec_t')


def labelled_files() -> 'list[str]':
    """
    Return the files of the package (list of str) whose labels matter: those
    that vdsm and QEMU's user execute or read.
    """
    found = [path for path in (WRAPPER, EMULATOR, HOOK, INCOMING)
             if os.path.lexists(path)]
    for folder, folders, names in os.walk(PKGDATADIR):
        found += [os.path.join(folder, name) for name in sorted(names)]
        folders.sort()
    return found


def selinux_enabled() -> bool:
    return os.path.exists(SELINUXFS)


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
