# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""
vdsm-tlsciphers doctor on a host. Each test breaks one thing, and carries out
the remedy that it is told.
"""

from __future__ import annotations

import json
import os
import pathlib
import shlex
import subprocess
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import pytest

import support
from support import EMULATOR, GOOD_CIPHERS, HOOK, QEMU_KVM, WRAPPER

if TYPE_CHECKING:
    from conftest import RunHook, Start

PACKAGE = 'vdsm-hook-tlsciphers'
HOOKS = '/usr/libexec/vdsm/hooks'
REINSTALL = 'dnf reinstall ' + PACKAGE
FIX = 'vdsm-tlsciphers doctor --fix'
DEFAULT = '/etc/vdsm/tlsciphers.conf'
OPENSSL_CONF = '/etc/ssl/openssl.cnf'
CHECKS = {'package', 'labels', 'SELinux module', 'users', 'hook',
          'other hooks', 'running VMs', 'QEMU', 'wrapper', 'OpenSSL',
          'openssl.cnf', 'GnuTLS', 'profiles', 'host default',
          'SPICE TLS', 'VNC TLS', 'capabilities', 'incoming',
          'leftovers'}
# The kernel of this machine may have no SELinux: this is what a host with it
# shows of it.
WITH_SELINUX = ['unshare', '--mount', 'sh', '-ec', """
    mount -t tmpfs none /sys/fs
    mkdir /sys/fs/selinux
    echo 1 >/sys/fs/selinux/enforce
    exec "$@" """, 'sh']


def run(*arguments: str,
        enter: Sequence[str] = ()) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*enter, 'vdsm-tlsciphers', 'doctor', *arguments],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)


def doctor(*arguments: str, **keywords: Sequence[str]) -> dict[str, Any]:
    """Return the document of a run, whose exit status fits to it."""
    process = run('--json', *arguments, **keywords)
    assert process.stderr == ''
    document: dict[str, Any] = json.loads(process.stdout)
    assert process.returncode == (1 if document['summary']['failed'] else 0)
    return document


def checks(document: dict[str, Any]) -> dict[str, tuple[str, str, str]]:
    """Return those (dict) that are not ok, {check: (state, text, remedy)}."""
    return {check['check']: (check['state'], check['text'], check['remedy'])
            for check in document['checks'] if check['state'] != 'ok'}


def shell(command: str) -> None:
    subprocess.run(['bash', '-euc', command], check=True,
                   stdin=subprocess.DEVNULL)


def reinstall(*options: str) -> None:
    support.lab_rpm('--install', '--nodeps', '--replacepkgs', *options,
                    os.environ['LAB'] + '/package.rpm')


def carry_out(remedy: str) -> None:
    """Do what a remedy says, where it is a command."""
    command, then, remedy = remedy.rpartition(', then ')
    if then:
        shell(command)
    if remedy == REINSTALL:
        # The scripts build the SELinux policy again, which takes long.
        reinstall('--noscripts')
    else:
        shell(remedy.partition(', ')[0])


def put(path: str, content: str, mode: str = '644') -> str:
    """Return the command that writes a file, and keeps what was there."""
    return (f'mkdir -p {os.path.dirname(path)}; '
            f'[ ! -e {path} ] || cp -a {path} {path}.kept; rm -f {path}; '
            f'printf %s {shlex.quote(content)} >{path}; chmod {mode} {path}')


def put_back(path: str) -> str:
    return f'rm -f {path}; [ ! -e {path}.kept ] || mv {path}.kept {path}'


def stand_in(path: str, script: str) -> str:
    """Return the command that puts a script in the place of a program."""
    return put(path, '#!/bin/bash\n%s\nexec -a %s %s.kept "$@"\n' % (
        script, path, path), '755')


@pytest.fixture(autouse=True, scope='module')
def vdsm_user() -> None:
    """The user whom vdsm's package makes."""
    subprocess.run(['useradd', '--system', 'vdsm'], check=True)


@pytest.fixture(autouse=True)
def no_default() -> Iterator[None]:
    yield
    pathlib.Path(DEFAULT).unlink(missing_ok=True)


def test_host_with_the_package_is_fine() -> None:
    document = doctor()
    assert {check['check'] for check in document['checks']} == CHECKS
    assert checks(document) == {}
    assert document['summary'] == {'ok': len(CHECKS), 'warnings': 0,
                                   'failed': 0}
    assert (document['format'], document['version'], document['tool'],
            document['fixed']) == ('vdsm-tlsciphers doctor', 2,
                                   support.version(), [])


def test_lines_are_aligned_and_have_the_remedy() -> None:
    shell('chmod 644 ' + HOOK)
    process = run()
    carry_out(REINSTALL)
    *lines, empty, verdict = process.stdout.splitlines()
    assert (process.returncode, process.stderr, empty) == (1, '', '')
    assert {line[9:25].rstrip() for line in lines} == CHECKS
    assert {line[:9] for line in lines} == {'ok       ', 'failed   '}
    assert [line for line in lines if line[9:16] == 'hook   '] == [
        'failed   hook            %s is not a file that every user may '
        'execute: vdsm ignores it; %s [hook]' % (HOOK, REINSTALL)]
    assert verdict == ('this host cannot enforce every policy: %d ok, '
                       '0 warnings, 2 failed' % (len(CHECKS) - 2))


# name: what breaks it, the check that must not be ok then, its state, a part
# of its text, its remedy, and how it is carried out where it is no command.
BROKEN: dict[str, tuple[str, ...]] = {
    'file changed': (
        'echo "# x" >>' + WRAPPER, 'package', 'failed',
        'modified files: ' + WRAPPER, REINSTALL),
    'file missing': (
        'rm ' + HOOK, 'package', 'failed', HOOK, REINSTALL),
    'documentation changed': (
        'echo x >>$(ls /usr/share/doc/%s*/README.md)' % PACKAGE, 'package',
        'warning', 'modified documentation or dates', REINSTALL),
    'no database of packages': (
        'mv /etc/rpm/macros /etc/rpm/x', 'package', 'warning',
        'not installed by rpm', 'install the RPM',
        'mv /etc/rpm/x /etc/rpm/macros'),
    'hook missing': (
        'rm ' + HOOK, 'hook', 'failed', 'No such file', REINSTALL),
    'hook not executable': (
        'chmod 744 ' + HOOK, 'hook', 'failed', 'vdsm ignores it',
        REINSTALL),
    'folder of hooks closed': (
        'chmod 750 %s/before_vm_start' % HOOKS, 'hook', 'failed',
        'vdsm cannot access %s/before_vm_start' % HOOKS,
        'chmod o+rx %s/before_vm_start' % HOOKS),
    'hook without its interpreter': (
        "sed -i '1s/.*/#!\\/nonexistent/' " + HOOK, 'hook', 'failed',
        'is its interpreter missing?', REINSTALL),
    'hook damaged': (
        'echo "raise SystemExit(3)" >' + HOOK, 'hook', 'failed', '',
        REINSTALL),
    'another hook': (
        put(HOOKS + '/before_vm_start/60_other',
            "#!/bin/sh\nsed 's/<emulator>/&/'\n", '755'),
        'other hooks', 'warning', '/60_other seems to set the emulator',
        'use properties of only one of them on a VM, or remove that hook',
        put_back(HOOKS + '/before_vm_start/60_other')),
    'QEMU missing': (
        f'mv {QEMU_KVM} {QEMU_KVM}.kept', 'QEMU', 'failed',
        'No such file', 'install or repair qemu-kvm', put_back(QEMU_KVM)),
    'QEMU damaged': (
        stand_in(QEMU_KVM, 'echo broken >&2; exit 1'), 'QEMU', 'failed',
        'failed: broken', 'repair qemu-kvm', put_back(QEMU_KVM)),
    'QEMU missing, as the wrapper sees it': (
        f'mv {QEMU_KVM} {QEMU_KVM}.kept', 'wrapper', 'failed',
        'known-good test policy for VNC: cannot start ' + QEMU_KVM,
        'install or repair the package qemu-kvm', put_back(QEMU_KVM)),
    'manually installed wrapper': (
        put(EMULATOR, support.MANUAL_WRAPPER, '755') + '; rm -f %s.kept'
        % EMULATOR, 'wrapper', 'failed', 'is not the link of the package',
        REINSTALL),
    'wrapper not executable': (
        'chmod 700 ' + WRAPPER, 'wrapper', 'failed',
        'not a file that every user may execute', REINSTALL),
    'wrapper damaged': (
        'sed -i "/^QEMU_KVM = /d" ' + WRAPPER, 'wrapper', 'failed',
        'it rejects a known-good test policy for SPICE: NameError', REINSTALL),
    'OpenSSL missing': (
        'mv /usr/bin/openssl /usr/bin/openssl.kept', 'OpenSSL', 'failed',
        '/usr/bin/openssl cannot be run: No such file', 'install openssl',
        put_back('/usr/bin/openssl')),
    'old OpenSSL': (
        stand_in('/usr/bin/openssl', '[ "$1" != version ] || '
                 '{ echo OpenSSL 1.0.2k-fips; exit; }'),
        'OpenSSL', 'warning', '1.0.2k-fips has no TLS 1.3',
        'use newer hosts for tlsprotocols, tlsgroups and tlsprofile',
        put_back('/usr/bin/openssl')),
    'openssl.cnf that cannot be evaluated': (
        put(OPENSSL_CONF, 'openssl_conf = "a"\n'), 'openssl.cnf', 'failed',
        '/etc/ssl/openssl.cnf cannot be evaluated: openssl_conf = "a"',
        'write out variables, quotes, relative paths and names of sections '
        'there', put_back(OPENSSL_CONF)),
    'openssl.cnf that cannot be evaluated, as the wrapper sees it': (
        put(OPENSSL_CONF, 'openssl_conf = "a"\n'), 'wrapper', 'failed',
        '/etc/ssl/openssl.cnf cannot be evaluated',
        'see "openssl.cnf"', put_back(OPENSSL_CONF)),
    'openssl.cnf that QEMU cannot read': (
        'chmod 640 ' + OPENSSL_CONF, 'openssl.cnf', 'failed',
        'cannot be read by the user of QEMU', 'chmod o+r ' + OPENSSL_CONF),
    'configuration that is included and that QEMU cannot read': (
        put(OPENSSL_CONF, '.include /etc/ssl/site.cnf\n')
        + '; install -m 600 /dev/null /etc/ssl/site.cnf', 'openssl.cnf',
        'failed', '/etc/ssl/site.cnf cannot be read by the user of QEMU',
        'chmod o+r /etc/ssl/site.cnf', put_back(OPENSSL_CONF)),
    'GnuTLS that vdsm cannot run': (
        'chmod 750 /usr/bin/gnutls-cli', 'GnuTLS', 'failed',
        'user vdsm cannot run /usr/bin/gnutls-cli: Permission denied',
        'chmod a+rx /usr/bin/gnutls-cli'),
    'GnuTLS that vdsm cannot run, as the hook sees it': (
        'chmod 750 /usr/bin/gnutls-cli', 'hook', 'failed',
        'it rejects a known-good test policy', 'see "GnuTLS"',
        'chmod 755 /usr/bin/gnutls-cli'),
    'modules that vdsm cannot read': (
        'chmod -R go-rwx /usr/share/%s/tlsciphers*.py '
        '/usr/share/%s/__pycache__' % (PACKAGE, PACKAGE), 'hook', 'failed',
        'user vdsm cannot read /usr/share/' + PACKAGE, REINSTALL),
    'modules that QEMU cannot read': (
        'chmod -R go-rwx /usr/share/%s/tlsciphers*.py '
        '/usr/share/%s/__pycache__' % (PACKAGE, PACKAGE), 'wrapper',
        'failed', 'cannot read /usr/share/' + PACKAGE, REINSTALL),
    'folder of the wrapper closed': (
        'chmod 700 %s/qemu-kvm-wrapper' % HOOKS, 'wrapper', 'failed',
        'cannot enter %s/qemu-kvm-wrapper' % HOOKS,
        'chmod a+rx %s/qemu-kvm-wrapper' % HOOKS),
    'folder of the wrapper closed, as the hook sees it': (
        'chmod 700 %s/qemu-kvm-wrapper' % HOOKS, 'hook', 'failed',
        'as user vdsm: the wrapper', 'chmod a+rx %s/qemu-kvm-wrapper'
        % HOOKS),
    'folder of the wrapper that is a link': (
        f'mv {HOOKS}/qemu-kvm-wrapper /etc/moved; '
        f'ln -s /etc/moved {HOOKS}/qemu-kvm-wrapper', 'wrapper', 'failed',
        '%s/qemu-kvm-wrapper is a symbolic link to /etc/moved' % HOOKS,
        'rm %s/qemu-kvm-wrapper, then %s' % (HOOKS, REINSTALL)),
    'another program in place of the wrapper': (
        f'rm {WRAPPER}; cp /bin/true {WRAPPER}', 'wrapper', 'failed',
        'does not start QEMU: its output is ""', REINSTALL),
    'wrapper that drops policies': (
        put(WRAPPER, f'#!/bin/sh\nexec {QEMU_KVM} -version\n', '755'),
        'wrapper', 'failed',
        'starts QEMU without the policy for SPICE', REINSTALL,
        put_back(WRAPPER)),
    'hook that does nothing': (
        f'rm {HOOK}; cp /bin/true {HOOK}', 'hook', 'failed',
        'its output is not that of the hook', REINSTALL),
    'folder of the default closed': (
        'mkdir -p /etc/vdsm; chmod 700 /etc/vdsm', 'host default', 'failed',
        'user vdsm cannot enter /etc/vdsm', 'chmod a+rx /etc/vdsm'),
    'folder of a default closed': (
        put(DEFAULT, '[default]\ntlsprofile = modern\n')
        + '; chmod 700 /etc/vdsm', 'host default', 'failed',
        'cannot be read by vdsm', 'chmod 644 %s, and 755 for its folder'
        % DEFAULT, 'chmod 755 /etc/vdsm'),
    'interpreter that vdsm cannot run': (
        'chmod 750 $(readlink -e /usr/bin/python3)', 'hook', 'failed',
        'user vdsm cannot run /usr/bin/python3: Permission denied',
        'chmod a+rx /usr/bin/python3'),
    'folder of the modules closed': (
        'chmod 700 /usr/share/' + PACKAGE, 'hook', 'failed',
        'user vdsm cannot read /usr/share/' + PACKAGE,
        'chmod a+rx /usr/share/' + PACKAGE),
    'GnuTLS that answers nothing': (
        stand_in('/usr/bin/gnutls-cli', 'case "$*" in *--list*) exit 0; esac'),
        'GnuTLS', 'failed', 'does not list cipher suites',
        'dnf reinstall gnutls-utils', put_back('/usr/bin/gnutls-cli')),
    'GnuTLS that answers nothing, as the wrapper sees it': (
        stand_in('/usr/bin/gnutls-cli', 'case "$*" in *--list*) exit 0; esac'),
        'wrapper', 'failed', 'known-good test policy for VNC',
        'see "GnuTLS"', put_back('/usr/bin/gnutls-cli')),
    'OpenSSL that is another program': (
        'mv /usr/bin/openssl /usr/bin/openssl.kept; '
        'cp /bin/true /usr/bin/openssl', 'OpenSSL', 'failed',
        '/usr/bin/openssl does not list cipher suites',
        'dnf reinstall openssl', put_back('/usr/bin/openssl')),
    'certificate that QEMU cannot read': (
        'chmod 600 /etc/pki/vdsm/libvirt-spice/server-key.pem', 'SPICE TLS',
        'failed', 'cannot read /etc/pki/vdsm/libvirt-spice/server-key.pem',
        'enroll the certificate of this host in the engine (Hosts > NAME > '
        'Installation > Enroll Certificate)',
        'chmod 644 /etc/pki/vdsm/libvirt-spice/server-key.pem'),
    'GnuTLS missing': (
        'mv /usr/bin/gnutls-cli /usr/bin/gnutls-cli.kept', 'GnuTLS',
        'failed', '/usr/bin/gnutls-cli cannot be run: No such file',
        'install gnutls-utils', put_back('/usr/bin/gnutls-cli')),
    'old GnuTLS': (
        stand_in('/usr/bin/gnutls-cli', '[ "$1" != --version ] || '
                 '{ echo gnutls-cli 3.3.29; exit; }'),
        'GnuTLS', 'warning', '3.3.29 has no TLS 1.3',
        'use newer hosts for TLS 1.3 on VNC consoles',
        put_back('/usr/bin/gnutls-cli')),
    'host in FIPS mode': (
        stand_in('/usr/bin/openssl', 'case "$*" in *X25519*) exit 1; esac'),
        'profiles', 'warning', 'left out, since this host does not know it: '
        'X25519', 'none is needed unless VMs migrate to hosts that know it',
        put_back('/usr/bin/openssl')),
    'host without what profiles need': (
        stand_in('/usr/bin/gnutls-cli', 'case "$*" in *GROUP-X25519*) '
                 'echo Syntax error >&2; exit 1; esac'),
        'profiles', 'failed', 'GnuTLS says: Syntax error',
        'use other profiles or properties on this host, or change its '
        'crypto-policy', put_back('/usr/bin/gnutls-cli')),
    'default that is malformed': (
        put(DEFAULT, '[default]\ntlsciper = x\n'), 'host default', 'failed',
        DEFAULT + ': line 2: [default]: tlsciper: no such key',
        'use one of tlsciphers, tlsprotocols, tlsgroups, tlspriority, '
        'tlsprofile', put_back(DEFAULT)),
    'default that vdsm cannot read': (
        put(DEFAULT, '[default]\ntlsprofile = modern\n', '600'),
        'host default', 'failed', 'cannot be read by vdsm',
        'chmod 644 %s, and 755 for its folder' % DEFAULT),
    'default that others can write': (
        put(DEFAULT, '[default]\ntlsprofile = modern\n', '666'),
        'host default', 'failed', 'writable by users other than '
        'root', 'chown root:root and chmod 644',
        'chmod 644 ' + DEFAULT),
    'default of which a part does not apply': (
        put(DEFAULT, '[default]\ntlsgroups = P-999\n'), 'host default',
        'warning', 'P-999: OpenSSL does not know this group', 'correct %s '
        'unless that is intended' % DEFAULT, put_back(DEFAULT)),
    'profile of the site that cannot be enforced': (
        put(DEFAULT, '[profile site]\ntlspriority = NORMAL:+FOO\n'),
        'host default', 'failed', 'Syntax error at: +FOO',
        'correct it (to see what a string means: gnutls-cli --list '
        '--priority STRING)', put_back(DEFAULT)),
    'VNC without encryption': (
        'sed -i "s/^vnc_tls = 1/vnc_tls = 0/" /etc/libvirt/qemu.conf',
        'VNC TLS', 'warning', 'vnc_tls is off', 'check Enable VNC '
        'Encryption in the engine (Compute > Clusters > Edit > Console) and '
        'reinstall this host',
        'sed -i "s/^vnc_tls = 0/vnc_tls = 1/" /etc/libvirt/qemu.conf'),
    'no encryption at all': (
        'sed -i "s/^\\(vnc\\|spice\\)_tls =/#&/" /etc/libvirt/qemu.conf',
        'SPICE TLS', 'failed', 'spice_tls is off', 'set spice_tls = 1 in '
        '/etc/libvirt/qemu.conf and restart libvirtd (the engine does that '
        'when it installs a host)',
        'sed -i "s/^#\\(\\(vnc\\|spice\\)_tls =\\)/\\1/" '
        '/etc/libvirt/qemu.conf'),
    'files kept of a manually installed wrapper': (
        'mkdir -p /etc/vdsm/tlsciphers-manual', 'leftovers', 'warning',
        'kept in /etc/vdsm/tlsciphers-manual',
        'rm -r /etc/vdsm/tlsciphers-manual, once they are no longer needed'),
    'misplaced wrapper': (
        'mkdir /usr/libexec/vdsm/qemu-kvm-wrapper', 'leftovers', 'warning',
        '/usr/libexec/vdsm/qemu-kvm-wrapper is unused',
        'rm -r /usr/libexec/vdsm/qemu-kvm-wrapper, once no running VM uses '
        'it'),
    'file beside the wrapper': (
        'touch %s.old' % EMULATOR, 'leftovers', 'warning',
        '%s.old does not belong to the package' % EMULATOR,
        'rm -r %s.old' % EMULATOR),
    'compiled hook': (
        'mkdir %s/before_vm_start/__pycache__' % HOOKS, 'leftovers',
        'warning', 'vdsm of oVirt 4.3 would run its files',
        'rm -r %s/before_vm_start/__pycache__' % HOOKS),
}


@pytest.mark.parametrize('name', BROKEN)
def test_remedy_of_what_is_broken_makes_it_ok_again(name: str) -> None:
    break_it, check, state, text, remedy, *by_hand = BROKEN[name]
    shell(break_it)
    try:
        found = checks(doctor())
    finally:
        carry_out(*by_hand or [remedy])
    assert (found[check][0], found[check][2]) == (state, remedy)
    assert text in found[check][1]
    assert checks(doctor()) == {}


@pytest.mark.parametrize('name', [
    'default that is malformed', 'default that vdsm cannot read',
    'another hook', 'documentation changed', 'VNC without encryption',
    'compiled hook', 'old GnuTLS'])
def test_nothing_else_is_wrong_then(name: str) -> None:
    break_it, check, _, _, remedy, *by_hand = BROKEN[name]
    shell(break_it)
    try:
        assert list(checks(doctor())) == [check]
    finally:
        carry_out(*by_hand or [remedy])


def test_host_whose_qemu_has_no_spice_needs_encryption_of_vnc() -> None:
    """As those of EL9 and EL10."""
    shell(stand_in(QEMU_KVM, 'case "$*" in *-spice*) exit 1; esac'))
    try:
        document = doctor()
        assert checks(document) == {}
        texts = {check['check']: check['text']
                 for check in document['checks']}
        assert 'SPICE TLS' not in texts
        assert texts['QEMU'].endswith('without SPICE: VNC is the only '
                                      'console')
        assert 'accepts policies for VNC and starts QEMU' in texts['wrapper']
        shell(BROKEN['VNC without encryption'][0])
        assert checks(doctor())['VNC TLS'][0] == 'failed'
    finally:
        shell(put_back(QEMU_KVM))
        shell(BROKEN['VNC without encryption'][5])


def test_stale_capability_cache_of_libvirt_is_renewed(
        start: Start, run_hook: RunHook) -> None:
    xml = run_hook(support.lab_domain('spice'), tlsciphers=GOOD_CIPHERS)
    start(xml)
    assert checks(doctor()) == {}
    # As an update that rpm does not do.
    shell(f'chmod --reference {QEMU_KVM} $(readlink -e {QEMU_KVM})')
    assert checks(doctor()) == {'capabilities': (
        'failed', 'libvirt\'s capability cache is older than %s: VMs with a '
        'policy may not start' % QEMU_KVM, FIX)}
    process = run('--fix')
    assert process.returncode == 0
    assert process.stdout.startswith(
        'fixed    capabilities: renewed the change time of %s\n' % WRAPPER)
    assert checks(doctor()) == {}
    # What it has learned then is newer than QEMU.
    start(xml.replace('lab<', 'other<'))
    assert checks(doctor()) == {}


@pytest.mark.parametrize('program, line', [
    ('openssl', 'OpenSSL'), ('gnutls-cli', 'GnuTLS')])
@pytest.mark.parametrize('break_it, fix_it', [
    ('mv {0} {0}.kept', 'mv {0}.kept {0}'),
    ('chmod 750 {0}', 'chmod 755 {0}')])
def test_lines_that_follow_from_a_program_name_its_line(
        program: str, line: str, break_it: str, fix_it: str) -> None:
    shell(put(DEFAULT, '[default]\ntlsprofile = modern\n'))
    shell(break_it.format('/usr/bin/' + program))
    try:
        found = checks(doctor())
    finally:
        shell(fix_it.format('/usr/bin/' + program))
    assert found.pop(line)[0] == 'failed'
    assert 'hook' in found
    assert {remedy for _, _, remedy in found.values()} == {'see "%s"' % line}


def test_vm_that_would_be_refused_at_its_next_start_is_named(
        start: Start, run_hook: RunHook) -> None:
    start(run_hook(support.lab_domain('spice'), tlsciphers=GOOD_CIPHERS))
    # As a VM whose property an older version accepted.
    xml = support.lab_domain('spice', name='old').replace('</name>', (
        '</name><metadata><v:vm xmlns:v="http://ovirt.org/vm/1.0"><v:custom>'
        '<v:tlsciphers>NULL</v:tlsciphers></v:custom></v:vm></metadata>'))
    start(xml)
    found = checks(doctor())
    state, text, remedy = found.pop('running VMs')
    assert found == {}
    assert state == 'warning'
    assert text.startswith('old would be refused at its next start: '
                           'tlsciphers: NULL: ')
    assert remedy.startswith('vdsm-tlsciphers check --vm old; ')


@pytest.mark.parametrize('setting, words, remedy', [
    ('vnc_tls', 'priority: the VNC console of this VM is not encrypted',
     'check Enable VNC Encryption in the engine'),
    ('spice_tls', 'SPICE: spice_tls is off in /etc/libvirt/qemu.conf, and '
     'libvirt starts no VM', 'set spice_tls = 1')], ids=['vnc', 'spice'])
def test_vm_for_which_the_host_has_no_tls_any_more_is_named(
        start: Start, run_hook: RunHook, setting: str, words: str,
        remedy: str) -> None:
    start(run_hook(support.lab_domain('spice', 'vnc'), tlsprofile='modern'))
    assert checks(doctor()) == {}
    shell('sed -i "s/^%s = 1/%s = 0/" /etc/libvirt/qemu.conf'
          % (setting, setting))
    try:
        state, text, found = checks(doctor())['running VMs']
    finally:
        shell('sed -i "s/^%s = 0/%s = 1/" /etc/libvirt/qemu.conf'
              % (setting, setting))
    assert state == 'warning'
    assert text.startswith('lab would be refused at its next start: ' + words)
    assert found.startswith(remedy)


def test_guarded_vm_that_would_be_refused_at_its_next_start_is_named(
        start: Start) -> None:
    """As one that was started on a host without the guard's check."""
    start(support.lab_domain('vnc', name='lost').replace('</name>', (
        '</name><metadata><v:vm xmlns:v="http://ovirt.org/vm/1.0"><v:custom>'
        '<v:extra_cpu_flags>+vdsm-tls</v:extra_cpu_flags></v:custom></v:vm>'
        '</metadata>')))
    text = checks(doctor())['running VMs'][1]
    assert text.startswith('lost would be refused at its next start: '
                           'extra_cpu_flags: +vdsm-tls: ')


def test_user_that_there_is_not_is_a_warning() -> None:
    shell('usermod --login other vdsm')
    try:
        document = doctor()
    finally:
        shell('usermod --login vdsm other')
    assert checks(document)['users'][0] == 'warning'
    assert {check['code'] for check in document['checks']
            if check['check'] == 'users'} == {'no-such-user'}


def test_lines_have_a_code_and_a_severity() -> None:
    shell('chmod 750 /usr/bin/gnutls-cli')
    try:
        document = doctor()
        printed = run().stdout
    finally:
        shell('chmod 755 /usr/bin/gnutls-cli')
    lines = {check['check']: (check['code'], check['severity'])
             for check in document['checks']}
    assert lines['openssl.cnf'] == ('openssl-cnf', 'info')
    assert lines['GnuTLS'] == ('not-permitted', 'high')
    assert '; chmod a+rx /usr/bin/gnutls-cli [not-permitted]\n' in printed


def test_fix_touches_nothing_where_nothing_is_wrong_that_it_could_fix(
        ) -> None:
    shell('chmod 744 ' + HOOK)
    before = [os.stat(path).st_ctime_ns for path in (WRAPPER, HOOK)]
    document = doctor('--fix')
    assert document['fixed'] == []
    assert checks(document)['hook'][0] == 'failed'
    assert before == [os.stat(path).st_ctime_ns for path in (WRAPPER, HOOK)]
    carry_out(REINSTALL)


@pytest.fixture
def labelled() -> None:
    """Labels as on a host with SELinux, which this machine may not give."""
    for path, name in ((WRAPPER, 'qemu_exec_t'), (EMULATOR, 'bin_t'),
                       (HOOK, 'bin_t'), (support.INCOMING, 'bin_t')):
        set_label(path, name)
    for path in MODULES:
        set_label(path, 'usr_t')


# As doctor goes through them.
MODULES = [os.path.join(folder, name)
           for folder, _, names in sorted(os.walk('/usr/share/' + PACKAGE))
           for name in sorted(names)]


def set_label(path: str, name: str) -> None:
    os.setxattr(path, 'security.selinux',
                b'system_u:object_r:%s:s0\0' % name.encode(),
                follow_symlinks=False)


def test_wrong_label_of_a_file_is_named(labelled: None) -> None:
    assert checks(doctor(enter=WITH_SELINUX)) == {}
    for path, right in ((WRAPPER, 'qemu_exec_t'), (EMULATOR, 'bin_t'),
                        (HOOK, 'bin_t'), (support.INCOMING, 'bin_t')):
        set_label(path, 'user_tmp_t')
        assert checks(doctor(enter=WITH_SELINUX)) == {'labels': (
            'failed', '%s has user_tmp_t instead of %s' % (path, right),
            FIX)}
        set_label(path, right)
    for name in MODULES[:2]:
        set_label(name, 'user_tmp_t')
    assert checks(doctor(enter=WITH_SELINUX)) == {'labels': (
        'failed', ', '.join('%s has user_tmp_t instead of usr_t' % name
                            for name in MODULES[:2]), FIX)}
    for name in MODULES[:2]:
        set_label(name, 'usr_t')
    os.removexattr(WRAPPER, 'security.selinux')
    assert checks(doctor(enter=WITH_SELINUX))['labels'][1] == (
        WRAPPER + ' has no label instead of qemu_exec_t')


def test_label_that_was_customised_is_named(labelled: None) -> None:
    customisations = pathlib.Path(
        '/etc/selinux/default/contexts/files/file_contexts.local')
    kept = customisations.read_text() if customisations.exists() else ''
    customisations.write_text(
        kept + WRAPPER + '\t--\tsystem_u:object_r:bin_t:s0\n')
    try:
        found = checks(doctor(enter=WITH_SELINUX))
        given = subprocess.run(['matchpathcon', '-n', WRAPPER], check=True,
                               capture_output=True, text=True).stdout
    finally:
        customisations.write_text(kept)
    # For libselinux 3.8 the entry of the policy has precedence.
    assert ('labels' in found) == (':bin_t:' in given)
    if 'labels' in found:
        state, text, remedy = found['labels']
        assert state == 'failed'
        assert text.startswith('the SELinux policy of this host gives '
                               + WRAPPER)
        assert remedy.startswith('semanage fcontext -d %s ' % WRAPPER)
    assert found['leftovers'][1:] == (
        'this host sets a label of its own for ' + WRAPPER,
        'semanage fcontext -d \'%s\'' % WRAPPER)
    assert checks(doctor(enter=WITH_SELINUX)) == {}


def test_host_that_cannot_tell_labels_is_named(labelled: None) -> None:
    shell('mv /usr/sbin/matchpathcon /usr/sbin/matchpathcon.kept')
    try:
        assert checks(doctor(enter=WITH_SELINUX)) == {'labels': (
            'warning', 'unknown which label %s must have: matchpathcon failed'
            % WRAPPER, 'install libselinux-utils')}
    finally:
        shell(put_back('/usr/sbin/matchpathcon'))


def test_module_that_is_missing_is_named(labelled: None) -> None:
    shell('semodule -n -r tlsciphers')
    found = checks(doctor(enter=WITH_SELINUX))
    assert found['SELinux module'][0] == 'warning'
    assert found['SELinux module'][2] == REINSTALL
    reinstall()
    assert 'SELinux module' not in checks(doctor(enter=WITH_SELINUX))


def test_only_root_can_ask() -> None:
    process = run(enter=['setpriv', '--reuid=65534', '--clear-groups'])
    assert (process.returncode, process.stdout) == (2, '')
    assert process.stderr.endswith('; run this as root [not-root]\n')
