# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""What the tests of several folders share."""

import functools
import glob
import os
import pathlib
import re
import runpy
import shutil
import subprocess
import sys
from xml.etree import ElementTree

TESTS = pathlib.Path(__file__).resolve().parent
SOURCE = TESTS.parent
DATA = TESTS / 'data'

TARGET_PYTHONS = ('2.7', '3.6', '3.9', '3.12')
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


@functools.lru_cache(maxsize=None)
def find_python(version):
    """Return the path of a Python of that version (like '3.6'), or None."""
    try:
        root = subprocess.run(['pyenv', 'root'], capture_output=True,
                              text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        root = None
    candidates = sorted(glob.glob('%s/versions/%s.*/bin/python'
                                  % (root, version))) if root else []
    on_path = shutil.which('python' + version)
    for candidate in candidates + [on_path or sys.executable]:
        # A pyenv shim of a version that is not selected fails here.
        answer = subprocess.run(
            [candidate, '-c', 'import sys; print("%d.%d" % '
             'sys.version_info[:2])'], capture_output=True, text=True)
        if answer.stdout.strip() == version:
            return candidate
    return None


def missing_pythons():
    return [version for version in TARGET_PYTHONS if not find_python(version)]


def available_pythons():
    """Return those (list of str, never empty) that tests can run with."""
    return [version for version in TARGET_PYTHONS if find_python(version)] or [
        '%d.%d' % sys.version_info[:2]]


class Installation:
    """
    The hook, its module and the wrapper as "make install" lays them out, in
    a root of their own, made by the same substitution.

    Attributes (pathlib.Path): hook, wrapper, emulator (the link to the
    wrapper), module, qemu_kvm and host_default (nothing is there yet),
    run_dir (vdsm's).
    """

    def __init__(self, root, python, openssl='/usr/bin/openssl',
                 gnutls_cli='/usr/bin/gnutls-cli',
                 openssl_conf='/etc/ssl/openssl.cnf'):
        self.root = root
        self.python = python
        libexec = root / 'libexec'
        self.hook = libexec / 'vdsm/hooks/before_vm_start/50_emulator'
        self.wrapper = libexec / 'qemu-kvm-modified'
        self.emulator = (libexec / 'vdsm/hooks/qemu-kvm-wrapper'
                         / 'qemu-kvm-modified')
        self.module = root / 'share/vdsm-hook-tlsciphers/tlsciphers.py'
        self.qemu_kvm = libexec / 'qemu-kvm'
        self.run_dir = root / 'run/vdsm'
        self.host_default = root / 'etc/vdsm/tlsciphers.conf'
        self.values = {
            'PYTHON': python, 'OPENSSL': openssl, 'GNUTLS_CLI': gnutls_cli,
            'OPENSSL_CONF': openssl_conf, 'HOST_DEFAULT': self.host_default,
            'QEMU_KVM': self.qemu_kvm,
            'WRAPPER': self.wrapper, 'EMULATOR': self.emulator,
            'PKGDATADIR': self.module.parent, 'VDSM_RUN_DIR': self.run_dir}
        self._make('hooks/before_vm_start.py', self.hook)
        self._make('hooks/tlsciphers.py', self.module, mode=0o644)
        self._make('wrapper/qemu-kvm-modified.py', self.wrapper)
        self.emulator.parent.mkdir(parents=True)
        self.emulator.symlink_to(os.path.relpath(self.wrapper,
                                                 self.emulator.parent))

    def _make(self, source, path, mode=0o755):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(substitute(SOURCE / source, self.values))
        path.chmod(mode)


def substitute(source, values):
    """Return a source file (bytes) with each @NAME@ of values replaced."""
    return subprocess.run(
        ['sh', str(SOURCE / 'build-aux/substitute')]
        + ['%s=%s' % pair for pair in values.items()],
        input=source.read_bytes(), check=True, capture_output=True).stdout


def run_file(path):
    """Return the names (dict) that an installed file of Python defines."""
    return runpy.run_path(str(path))


def run_wrapper(path):
    """Return the names (dict) that the whole wrapper defines."""
    names = run_file(path)
    exec(compile(names['DEFERRED'], str(path), 'exec'), names)
    return names


def read_arguments(name):
    """Return the arguments (list of bytes) of a file in tests/data."""
    return (DATA / name).read_bytes().split(b'\n')[:-1]


@functools.lru_cache(maxsize=None)
def suites(cipher_list, *options):
    """Return the suites (tuple) of a list as `openssl ciphers` has them."""
    answer = subprocess.run(
        ['openssl', 'ciphers', *options, '-ciphersuites', '', '--',
         cipher_list], capture_output=True, text=True, check=True)
    return tuple(re.split(r'[:\n]', answer.stdout.strip()))


def read_vm_log(name):
    """Return the log (str) that libvirt keeps of a VM and its emulator."""
    return pathlib.Path('/var/log/libvirt/qemu/%s.log' % name).read_text()


def spice_tls_port(domain):
    """Return the TLS port (int) of the SPICE console of a libvirt domain."""
    graphics = ElementTree.fromstring(domain.XMLDesc()).find(
        'devices/graphics[@type="spice"]')
    return int(graphics.get('tlsPort', -1))


def accepts(port, suite):
    """Tell whether a local port makes a TLS 1.2 handshake with a suite."""
    return subprocess.run(
        ['openssl', 's_client', '-connect', '127.0.0.1:%d' % port, '-tls1_2',
         '-cipher', suite + ':@SECLEVEL=0'], stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode == 0
