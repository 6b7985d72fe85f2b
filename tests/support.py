# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""What the tests of several folders share."""

from __future__ import annotations

import collections
import concurrent.futures
import contextlib
import functools
import glob
import importlib
import json
import os
import pathlib
import re
import shutil
import socket
import ssl
import subprocess
import sys
import types
from collections.abc import (
    Callable,
    Collection,
    Iterable,
    Iterator,
    Mapping,
)
from typing import TYPE_CHECKING, Any, Protocol, TypeVar
from xml.etree import ElementTree

if TYPE_CHECKING:
    import libvirt
    import pytest

Offer = TypeVar('Offer')

# Fixtures that are functions; conftest.py says what they do.
Figure = Callable[[str, object, object], None]
MakeInstallation = Callable[[str], 'Installation']

TESTS = pathlib.Path(__file__).resolve().parent
SOURCE = TESTS.parent
DATA = TESTS / 'data'

# The package's files on a host, and in tests/lab.
HOOK = '/usr/libexec/vdsm/hooks/before_vm_start/50_emulator'
# What vdsm, and libvirt, run where a VM arrives.
ARRIVAL_HOOKS = ('/usr/libexec/vdsm/hooks/after_vm_dehibernate/50_tlsciphers',
                 '/usr/libexec/vdsm/hooks/after_vm_migrate_destination/'
                 '50_tlsciphers')
INCOMING = '/usr/libexec/vdsm-tlsciphers-incoming'
WRAPPER = '/usr/libexec/qemu-kvm-modified'
EMULATOR = '/usr/libexec/vdsm/hooks/qemu-kvm-wrapper/qemu-kvm-modified'
QEMU_KVM = '/usr/libexec/qemu-kvm'

# Set where the tests run in a userland (tests/userlands), which has no
# stand-ins: it is what they stand for.
IN_USERLAND = 'USERLAND' in os.environ

# Those of EL7 to EL10, or others for a quick run.
TARGET_PYTHONS = tuple(
    os.environ.get('TEST_PYTHONS', '2.7 3.6 3.9 3.12').split())
IN_CI = os.environ.get('CI') == 'true'

# The cipher list of the seed's second command line.
SEED_CIPHERS = (
    'ECDH+AESGCM:DH+AESGCM:ECDH+AES256:DH+AES256:ECDH+AES128:DH+AES:ECDH+3DES:'
    'DH+3DESRSA+AESGCM:RSA+AES:RSA+3DES:!aNULL:!MD5:!DSS')
# A stand-in for the wrapper of a manual installation, which is not published:
# it does what the seed document shows of it.
MANUAL_WRAPPER = """#!/usr/bin/python3
import os, sys
arguments = sys.argv[1:]
if '-spice' in arguments:
    position = arguments.index('-spice')
    value = arguments[position + 1]
    del arguments[position:position + 2]
    arguments += ['-spice', 'tls-ciphers=%s,' + value]
os.execv('/usr/libexec/qemu-kvm', ['/usr/libexec/qemu-kvm'] + arguments)
""" % SEED_CIPHERS
GOOD_CIPHERS = 'ECDHE-RSA-AES256-GCM-SHA384:ECDHE-RSA-AES128-GCM-SHA256'
# What libvirt gives an emulator.
LIBVIRT_ENVIRONMENT = {b'LC_ALL': b'C', b'PATH': b'/usr/bin:/bin',
                       b'HOME': b'/'}

# What libvirt says where an emulator ended in the instant in which it looked:
# the emulator's own words are in the VM's log alone.
TOO_LATE = ('failed to connect to monitor socket',
            'Unable to read from monitor')

VM_ID = '3e8a4f0b-52a1-4d7c-9a0e-0123456789ab'
# What the engine writes for +vdsm-tls in extra_cpu_flags.
GUARD = '<feature name="vdsm-tls" policy="require"/>'
# VNC allows for 8 characters.
CONSOLE_PASSWORD = 'secret'

# The versions of TLS, and the client's option that leaves just that one.
TLS_VERSIONS = {'TLSv1': '-tls1', 'TLSv1.1': '-tls1_1',
                'TLSv1.2': '-tls1_2', 'TLSv1.3': '-tls1_3'}
GNUTLS_VERSIONS = {'TLSv1': 'VERS-TLS1.0', 'TLSv1.1': 'VERS-TLS1.1',
                   'TLSv1.2': 'VERS-TLS1.2', 'TLSv1.3': 'VERS-TLS1.3'}
TLS13_SUITES = (
    'TLS_AES_256_GCM_SHA384', 'TLS_CHACHA20_POLY1305_SHA256',
    'TLS_AES_128_GCM_SHA256', 'TLS_AES_128_CCM_SHA256',
    'TLS_AES_128_CCM_8_SHA256')
# Groups that TLS 1.3 knows; those with ML-KEM came with OpenSSL 3.5.
GROUPS = ('X25519', 'X448', 'P-256', 'P-384', 'P-521', 'ffdhe2048',
          'ffdhe3072', 'ffdhe4096', 'ffdhe6144', 'ffdhe8192',
          'MLKEM512', 'MLKEM768', 'MLKEM1024', 'X25519MLKEM768',
          'SecP256r1MLKEM768', 'SecP384r1MLKEM1024')


def find_python(version: str) -> str:
    """
    Return the path of a Python of that version (like '3.6'). Raises
    LookupError if there is none.
    """
    python = _look_for_python(version)
    if python is None:
        raise LookupError('there is no Python %s' % version)
    return python


@functools.cache
def _look_for_python(version: str) -> str | None:
    try:
        root = subprocess.run(['pyenv', 'root'], capture_output=True,
                              text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        root = None
    candidates = sorted(glob.glob('%s/versions/%s.*/bin/python'
                                  % (root, version))) if root else []
    on_path = shutil.which('python' + version)
    for candidate in [*candidates, on_path or sys.executable]:
        # A pyenv shim of a version that is not selected fails here.
        answer = subprocess.run(
            [candidate, '-c', 'import sys; print("%d.%d" % '
             'sys.version_info[:2])'], capture_output=True, text=True)
        if answer.stdout.strip() == version:
            return candidate
    return None


def missing_pythons() -> list[str]:
    return [version for version in TARGET_PYTHONS
            if not _look_for_python(version)]


def available_pythons() -> list[str]:
    """Return those (list of str, never empty) that tests can run with."""
    return [version for version in TARGET_PYTHONS
            if _look_for_python(version)] or ['%d.%d' % sys.version_info[:2]]


@functools.cache
def without_capabilities(python: str) -> list[str]:
    """
    Return what a command of that Python begins with to run as libvirt starts
    an emulator: without the right of root to write to all files. A Python
    that can seal the file of a policy needs it not.
    """
    sealed = subprocess.run([python, '-c', 'from os import memfd_create'],
                            capture_output=True).returncode == 0
    if sealed or os.geteuid():
        return []
    return ['setpriv', '--bounding-set', '-dac_override,-dac_read_search',
            '--']


class Installation:
    """
    The hook, its module, the wrapper and the command vdsm-tlsciphers as "make
    install" lays them out, in a root of their own, made by the same
    substitution.

    Attributes (pathlib.Path): hook, arrival_hook, incoming (the script for
    libvirt), wrapper, emulator (the link to the wrapper), their modules
    hook_module and wrapper_module, module (what they share), command,
    qemu_kvm and host_default (nothing is there yet), run_dir (vdsm's).
    """

    def __init__(self, root: pathlib.Path, python: str,
                 openssl: str | pathlib.Path = '/usr/bin/openssl',
                 gnutls_cli: str | pathlib.Path = '/usr/bin/gnutls-cli',
                 openssl_conf: str | pathlib.Path = '/etc/ssl/openssl.cnf',
                 ) -> None:
        self.root = root
        self.python = python
        libexec = root / 'libexec'
        self.hook = libexec / 'vdsm/hooks/before_vm_start/50_emulator'
        self.arrival_hook = (
            libexec / 'vdsm/hooks/after_vm_dehibernate/50_tlsciphers')
        self.incoming = libexec / 'vdsm-tlsciphers-incoming'
        self.wrapper = libexec / 'qemu-kvm-modified'
        self.emulator = (libexec / 'vdsm/hooks/qemu-kvm-wrapper'
                         / 'qemu-kvm-modified')
        self.module = root / 'share/vdsm-hook-tlsciphers/tlsciphers.py'
        self.config_module = self.module.parent / 'tlsciphers_config.py'
        self.domain_module = self.module.parent / 'tlsciphers_domain.py'
        self.hook_module = self.module.parent / 'tlsciphers_hook.py'
        self.host_module = self.module.parent / 'tlsciphers_host.py'
        self.values_module = self.module.parent / 'tlsciphers_values.py'
        self.wrapper_module = self.module.parent / 'tlsciphers_wrapper.py'
        self.qemu_kvm = libexec / 'qemu-kvm'
        self.run_dir = root / 'run/vdsm'
        self.host_default = root / 'etc/vdsm/tlsciphers.conf'
        self.values: dict[str, str | pathlib.Path] = {
            'PYTHON': python, 'OPENSSL': openssl, 'GNUTLS_CLI': gnutls_cli,
            'OPENSSL_CONF': openssl_conf, 'HOST_DEFAULT': self.host_default,
            'QEMU_KVM': self.qemu_kvm,
            'WRAPPER': self.wrapper, 'EMULATOR': self.emulator,
            'PKGDATADIR': self.module.parent, 'VDSM_RUN_DIR': self.run_dir,
            'VERSION': version(), 'HOOK': self.hook, 'LIBEXECDIR': libexec,
            'INCOMING': self.incoming,
            'SELINUX_MODULE':
                root / 'share/selinux/packages/tlsciphers.pp.bz2'}
        self._make('hooks/before_vm_start.py', self.hook)
        self._make('hooks/after_arrival.py', self.arrival_hook)
        self._make('hooks/incoming.sh', self.incoming)
        for module in [*SOURCE.glob('hooks/tlsciphers*.py'),
                       SOURCE / 'wrapper/tlsciphers_wrapper.py']:
            self._make(module, self.module.parent / module.name, mode=0o644)
        self._make('wrapper/qemu-kvm-modified.py', self.wrapper)
        self.emulator.parent.mkdir(parents=True)
        self.emulator.symlink_to(os.path.relpath(self.wrapper,
                                                 self.emulator.parent))
        self.command = root / 'bin/vdsm-tlsciphers'
        self._make('admin/vdsm-tlsciphers.py', self.command)
        for path in (SOURCE / 'admin/vdsm_tlsciphers').rglob('*.py'):
            self._make(path, self.module.parent / path.relative_to(
                SOURCE / 'admin'), mode=0o644)
        for kind, place in (
                ('bash', 'bash-completion/completions/vdsm-tlsciphers'),
                ('zsh', 'zsh/site-functions/_vdsm-tlsciphers')):
            self._make('admin/completion/vdsm-tlsciphers.' + kind,
                       root / 'share' / place, mode=0o644)

    def start(self, *arguments: str) -> list[str]:
        """Return the command that starts the wrapper as libvirt does."""
        return [*without_capabilities(self.python), str(self.emulator),
                *arguments]

    def byte_compile(self) -> None:
        """Compile the modules as "make install" does."""
        subprocess.run([self.python, SOURCE / 'build-aux/byte-compile',
                        self.module.parent, self.module.parent], check=True)

    def _make(self, source: str | pathlib.Path, path: pathlib.Path,
              mode: int = 0o755) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(substitute(SOURCE / source, self.values))
        path.chmod(mode)


class MakeStub(Protocol):
    """What the fixture make_stub is."""

    def __call__(self, name: str, version: str = ..., *,
                 provides: Iterable[str] = ..., install: str = ...,
                 files: Iterable[str] = ...) -> pathlib.Path: ...


@functools.cache
def version() -> str:
    """Return the version (str) of the package."""
    spec = (SOURCE / 'vdsm-hook-tlsciphers.spec').read_text()
    found, = re.findall('(?m)^Version: *(.*)', spec)
    return str(found)


def substitute(source: pathlib.Path, values: Mapping[str, object]) -> bytes:
    """Return a source file (bytes) with each @NAME@ of values replaced."""
    return subprocess.run(
        ['sh', str(SOURCE / 'build-aux/substitute')]
        + ['%s=%s' % pair for pair in values.items()],
        input=source.read_bytes(), check=True, capture_output=True).stdout


@contextlib.contextmanager
def fresh_modules(folder: pathlib.Path) -> Iterator[None]:
    """Find modules in a folder, not those of another installation."""
    known = {name: sys.modules.pop(name) for name in list(sys.modules)
             if name.startswith('tlsciphers')}
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))
        for name in list(sys.modules):
            if name.startswith('tlsciphers'):
                del sys.modules[name]
        sys.modules.update(known)


def load_modules(folder: pathlib.Path, *names: str) -> list[types.ModuleType]:
    """Return modules of a folder, as they import each other."""
    with fresh_modules(folder):
        return [importlib.import_module(name) for name in names]


def run_file(path: pathlib.Path) -> dict[str, Any]:
    """Return the names (dict) that an installed file of Python defines."""
    names: dict[str, Any] = {'__name__': path.stem, '__file__': str(path)}
    with fresh_modules(path.parent):
        exec(compile(path.read_bytes(), str(path), 'exec'), names)
    return names


def read_arguments(name: str) -> list[bytes]:
    """Return the arguments (list of bytes) of a file in tests/data."""
    return (DATA / name).read_bytes().split(b'\n')[:-1]


@functools.cache
def openssl_version() -> tuple[int, ...]:
    """Return the version of this machine's OpenSSL, like (3, 0)."""
    answer = subprocess.run(['openssl', 'version'], capture_output=True,
                            text=True, check=True).stdout
    return tuple(map(int, answer.split()[1].split('.')[:2]))


@functools.cache
def gnutls_version() -> tuple[int, ...]:
    """Return the version of this machine's GnuTLS, like (3, 7, 9)."""
    answer = subprocess.run(['gnutls-cli', '--version'], capture_output=True,
                            text=True, check=True).stdout
    return tuple(map(int, answer.split()[1].split('.')))


@functools.cache
def suites(cipher_list: str, *options: str) -> tuple[str, ...]:
    """Return the suites (tuple) of a list as `openssl ciphers` has them."""
    answer = subprocess.run(
        ['openssl', 'ciphers', *options, '-ciphersuites', '', '--',
         cipher_list], capture_output=True, text=True, check=True)
    return tuple(re.split(r'[:\n]', answer.stdout.strip()))


def lab_domain(*consoles: str, name: str = 'lab',
               password: str | None = CONSOLE_PASSWORD) -> str:
    """
    Return the domain XML (str) of tests/data/domain-lab.xml with consoles
    like those of oVirt: "spice", "vnc" or both, in this order. A password of
    None leaves them open.
    """
    root = ElementTree.parse(DATA / 'domain-lab.xml').getroot()
    label, = root.iterfind('name')
    label.text = name
    devices, = root.iterfind('devices')
    spice, = devices.iterfind('graphics')
    devices.remove(spice)
    vnc = ElementTree.fromstring(
        '<graphics type="vnc" autoport="yes" websocket="-1">'
        '<listen type="address" address="127.0.0.1"/></graphics>')
    for position, console in enumerate(consoles):
        graphics = {'spice': spice, 'vnc': vnc}[console]
        if password is not None:
            graphics.set('passwd', password)
        devices.insert(position, graphics)
    return ElementTree.tostring(root, encoding='unicode')


def guarded(xml: str, cpu: str = '<cpu match="exact"><model>Nehalem</model>'
            '%s</cpu>', guard: str = GUARD) -> str:
    """
    Return a domain XML (str) without a <cpu> with this one, that has a guard
    in it.
    """
    return xml.replace('<devices>', cpu % guard + '<devices>')


@functools.cache
def suite_codes() -> dict[str, tuple[int, int]]:
    """Return the codes that suites have on the wire, by OpenSSL's names."""
    answer = subprocess.run(
        ['openssl', 'ciphers', '-V', '-ciphersuites', ':'.join(TLS13_SUITES),
         'ALL:COMPLEMENTOFALL:@SECLEVEL=0'], capture_output=True, text=True,
        check=True)
    return {name: (int(first, 16), int(second, 16))
            for first, second, name in re.findall(
                r'0x(\w\w),0x(\w\w) - (\S+)', answer.stdout)}


@functools.cache
def gnutls_suites(priority: str) -> set[tuple[str, str]]:
    """
    Return the set of (version, suite) that a VNC console with a priority
    string should accept, as `gnutls-cli` has it: those that work with a
    certificate of the RSA kind and that our client can try.
    """
    answer = subprocess.run(
        ['gnutls-cli', '--priority', priority, '--list'],
        capture_output=True, text=True, check=True).stdout
    codes = {(int(first, 16), int(second, 16))
             for name, first, second in re.findall(
                 r'(?m)^(TLS_\w+)\s+0x(\w\w), 0x(\w\w)', answer)
             if 'ECDSA' not in name}
    protocols, = re.findall('(?m)^Protocols: (.*)', answer)
    return {(version, suite) for version in TLS_VERSIONS
            if GNUTLS_VERSIONS[version] in protocols.split(', ')
            for suite in every_suite(version) if suite_codes()[suite] in codes}


def takes_groups(groups: str, openssl: str | pathlib.Path = 'openssl') -> bool:
    """
    Tell whether OpenSSL takes a list (str) of groups. It knows ever more of
    them, and from 3.5 on takes one that is named twice.
    """
    answer = subprocess.run(
        [openssl, 's_client', '-no-CAfile', '-no-CApath', '-unix',
         '/nonexistent', '-groups', groups], capture_output=True, text=True)
    return 'connect:errno=' in answer.stderr


@functools.cache
def takes_priority(priority: str) -> bool:
    """Tell whether GnuTLS takes a priority string."""
    return subprocess.run(['gnutls-cli', '--list', '--priority', priority],
                          capture_output=True).returncode == 0


def hook_environment(domxml: pathlib.Path,
                     **properties: str) -> dict[str, str]:
    """Return the environment in which vdsm runs the hook at a VM's start."""
    return {'PATH': '/usr/bin:/bin', '_hook_domxml': str(domxml),
            'PYTHONPATH': str(TESTS / 'standin'), **properties}


def code_of(line: str) -> str | None:
    """Return the code (str) of a message's line, None where it has none."""
    found = re.search(r' \[([a-z0-9-]+)\]$', line)
    return found and found.group(1)


def codes_of(lines: Iterable[str]) -> list[str | None]:
    """Return the codes of messages' lines, in their order."""
    return [code_of(line) for line in lines]


def run_hooks(domxml: pathlib.Path, **properties: str) -> str:
    """
    Do to the file of a domain XML what vdsm does before a start: it runs each
    hook that it may run, in the order of their names. Return what they say; a
    refusal is a subprocess.CalledProcessError. vdsm would also run the file
    that rpm is just about to put in place of one (NAME;ID): where that goes
    away in between, the start fails, and the engine tries another host.
    """
    return ''.join(
        subprocess.run(
            [hook], check=True, stderr=subprocess.PIPE, text=True,
            env=hook_environment(domxml, **properties)).stderr
        for hook in sorted(pathlib.Path(HOOK).parent.iterdir())
        if ';' not in hook.name and os.access(hook, os.X_OK))


def lab_rpm(*arguments: str | pathlib.Path,
            ) -> subprocess.CompletedProcess[str]:
    """Run rpm on the database of the lab; return the process."""
    return subprocess.run(
        [*os.environ['LAB_RPM'].split(), *map(str, arguments)], check=True,
        capture_output=True, text=True)


def read_vm_log(name: str, root: str | pathlib.Path = '/') -> str:
    """
    Return the log (str) that libvirt keeps of a VM and its emulator, on the
    host whose files are below root.
    """
    return pathlib.Path(root, 'var/log/libvirt/qemu/%s.log' % name).read_text()


def refusal(error: Exception, name: str, root: str | pathlib.Path) -> str:
    """
    Return why a VM did not start on the host whose files are below root:
    libvirt's error, or the VM's log where libvirt 7.0 just missed QEMU's end,
    and says that its monitor refuses a connection.
    """
    text = str(error)
    return read_vm_log(name, root) if 'monitor socket' in text else text


def console_port(domain: libvirt.virDomain, console: str, attribute: str,
                 ) -> int:
    """
    Return a port (int) of a libvirt domain's console ("spice", "vnc"), that
    of the attribute: "tlsPort" of SPICE, "port" or "websocket" of VNC. It is
    -1 if there is none.
    """
    graphics = ElementTree.fromstring(domain.XMLDesc()).find(
        'devices/graphics[@type="%s"]' % console)
    return -1 if graphics is None else int(graphics.get(attribute, -1))


def spice_tls_port(domain: libvirt.virDomain) -> int:
    """Return the TLS port (int) of the SPICE console of a libvirt domain."""
    return console_port(domain, 'spice', 'tlsPort')


@functools.cache
def every_suite(version: str) -> tuple[str, ...]:
    """
    Return the suites (tuple of str) that a client can try with a version of
    TLS: what its own library has.
    """
    if version == 'TLSv1.3':
        return TLS13_SUITES
    return suites('ALL:COMPLEMENTOFALL:@SECLEVEL=0', '-s',
                  TLS_VERSIONS[version])


def handshake(port: int, version: str, *options: str) -> bool:
    """
    Tell whether a local port makes a handshake of that version of TLS with
    `openssl s_client` and these options of it. Raise ConnectionError if there
    is nobody to make one with.
    """
    # Neither does the client judge the certificate, nor do settings of this
    # machine hold it back.
    client = subprocess.run(
        ['openssl', 's_client', '-connect', '127.0.0.1:%d' % port,
         *_without_trust(), TLS_VERSIONS[version], *options],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE, env={**os.environ, 'OPENSSL_CONF': os.devnull},
        timeout=20)
    if b'connect:errno=' in client.stderr:
        raise ConnectionError('nothing listens at port %d' % port)
    return client.returncode == 0


@functools.cache
def _without_trust() -> list[str]:
    """Return options of s_client (list of str) with which it reads no CA."""
    answer = subprocess.run(['openssl', 's_client', '-help'],
                            capture_output=True, text=True)
    # 1.1.1 has no stores.
    return [option for option in ('-no-CAfile', '-no-CApath', '-no-CAstore')
            if re.search('(?m)^ %s ' % option, answer.stdout + answer.stderr)]


def accepts(port: int, suite: str, version: str = 'TLSv1.2') -> bool:
    """
    Tell whether a local port makes a TLS handshake with a suite. Raise
    ConnectionError if there is nobody to make one with.
    """
    if version == 'TLSv1.3':
        # Those Python cannot choose.
        return handshake(port, version, '-ciphersuites', suite)
    # In this process: there are hundreds of them.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.minimum_version = context.maximum_version = ssl.TLSVersion[
        version.replace('.', '_')]
    try:
        context.set_ciphers(suite + ':@SECLEVEL=0')
    except ssl.SSLError:
        return False
    with socket.create_connection(('127.0.0.1', port), 20) as connection:
        try:
            context.wrap_socket(connection).close()
        except (ssl.SSLError, ConnectionError):
            return False
    return True


@functools.cache
def known_groups() -> tuple[str, ...]:
    """Return those of GROUPS (tuple of str) that OpenSSL knows here."""
    return tuple(filter(takes_groups, GROUPS))


def accepts_group(port: int, group: str, version: str = 'TLSv1.3') -> bool:
    """
    Tell whether a local port exchanges keys in a group. With TLS 1.2 and
    older this can be an elliptic curve only: for the others the server alone
    decides there.
    """
    if group.startswith('ffdhe') and group not in known_groups():
        # OpenSSL 1.1.1 has none of them, GnuTLS has all.
        return _gnutls_handshake(port, 'NORMAL:-VERS-ALL:+%s:-KX-ALL:'
                                 '+ECDHE-RSA:-GROUP-ALL:+GROUP-%s' % (
                                     GNUTLS_VERSIONS[version], group.upper()))
    # Without a common group the rest would do without one.
    return handshake(port, version, '-groups', group, '-cipher',
                     'kECDHE:@SECLEVEL=0')


def _gnutls_handshake(port: int, priority: str) -> bool:
    client = subprocess.run(
        ['gnutls-cli', '--insecure', '--priority', priority, '--port',
         str(port), '127.0.0.1'], stdin=subprocess.DEVNULL,
        capture_output=True, timeout=20)
    if b'Could not connect' in client.stderr:
        raise ConnectionError('nothing listens at port %d' % port)
    assert b'Syntax error' not in client.stderr, priority
    return client.returncode == 0


def accepted(port: int, versions: Iterable[str] = tuple(TLS_VERSIONS),
             ) -> set[tuple[str, str]]:
    """
    Return what a local port accepts, a set of (version, suite), each shown by
    a handshake that offers nothing else.
    """
    return _filter_parallel(
        lambda pair: accepts(port, pair[1], pair[0]),
        [(version, suite) for version in versions
         for suite in every_suite(version)])


def accepted_groups(port: int, version: str = 'TLSv1.3',
                    groups: Collection[str] | None = None) -> set[str]:
    """
    Return those (set of str) of the groups, by default all that a client here
    knows, that a local port accepts.
    """
    if groups is None:
        groups = [group for group in GROUPS
                  if group in known_groups() or group.startswith('ffdhe')]
    return _filter_parallel(
        lambda group: accepts_group(port, group, version), groups)


def _filter_parallel(accepts: Callable[[Offer], bool],
                     offers: Collection[Offer]) -> set[Offer]:
    # QEMU makes one handshake after the other, and two more connections can
    # wait at a VNC port. A third would try again after a second.
    with concurrent.futures.ThreadPoolExecutor(max_workers=2) as executor:
        answers = executor.map(accepts, offers)
        return {offer for offer, answer in zip(offers, answers) if answer}


def sslscan(port: int, *options: str) -> ElementTree.Element:
    """
    Return what sslscan, with these options and without its other extras,
    finds at a local port: its element "ssltest".
    """
    # Settings of this machine would hold it back.
    xml = subprocess.run(
        ['sslscan', '--no-heartbleed', '--no-renegotiation',
         '--no-compression', '--no-fallback', '--no-check-certificate',
         *options, '--xml=-', '127.0.0.1:%d' % port], check=True,
        stdout=subprocess.PIPE,
        env={**os.environ, 'OPENSSL_CONF': os.devnull}).stdout
    test, = ElementTree.fromstring(xml).iterfind('ssltest')
    return test


def sslscan_suites(test: ElementTree.Element, name: str = 'cipher'
                   ) -> set[tuple[str, str]]:
    """
    Return the set of (version, suite) in what sslscan() finds; suites have
    OpenSSL's names, or, where name is "id", codes as on the wire (in hex).
    """
    return {(cipher.attrib['sslversion'].replace('TLSv1.0', 'TLSv1'),
             cipher.attrib[name].replace('0x', ''))
            for cipher in test.iter('cipher')}


def descriptors(pid: int) -> collections.Counter[str]:
    """Return what a process has open, a Counter, without any numbers."""
    found = collections.Counter[str]()
    for link in pathlib.Path('/proc/%d/fd' % pid).iterdir():
        try:
            found[re.sub(r'\d+|/[\w-]+\.(log|pid)$', 'N',
                         os.readlink(link))] += 1
        except FileNotFoundError:
            pass
    return found


def listening_ports(pid: int) -> set[int]:
    """Return the TCP ports (set of int) that a process listens at."""
    sockets = {os.readlink(link) for link in
               pathlib.Path('/proc/%d/fd' % pid).iterdir()}
    lines = [line.split() for name in ('tcp', 'tcp6') for line in
             pathlib.Path('/proc/net', name).read_text().splitlines()[1:]]
    return {int(line[1].rpartition(':')[2], 16) for line in lines
            if line[3] == '0A' and 'socket:[%s]' % line[9] in sockets}


def object_members(argument: str) -> dict[str, Any]:
    """
    Return the members (dict) of an argument of -object, which libvirt writes
    as JSON, or as key=value for QEMU before 6.0.
    """
    if argument.startswith('{'):
        return dict(json.loads(argument))
    return dict((value if '=' in value else 'qom-type=' + value
                 ).split('=', 1) for value in argument.split(','))


def leave_out(config: pytest.Config, items: list[pytest.Item],
              names: Collection[str]) -> None:
    """Deselect the tests whose names, without "test_", are among these."""
    left_out = [item for item in items
                if item.name[len('test_'):].partition('[')[0] in names]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in left_out]
