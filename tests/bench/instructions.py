#!/usr/bin/env python3
# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""
Instructions that the wrapper, the hook and the start of vdsm-tlsciphers need,
counted by valgrind: the same number each time, whatever else the machine
does. Those of the programs that judge values (openssl, gnutls-cli) are not in
it; they run as processes of their own.

    tests/bench/instructions.py
"""

import pathlib
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

import support

# libvirt's probe of an emulator.
PROBE = ['-S', '-no-user-config', '-nodefaults', '-nographic', '-machine',
         'none,accel=kvm:tcg', '-qmp', 'unix:/run/x,server=on,wait=off',
         '-pidfile', '/run/x.pid', '-daemonize']
BOTH = ['-object', '{"qom-type":"tls-creds-x509","id":"vnc-tls-creds0",'
        '"dir":"/etc/pki","endpoint":"server","verify-peer":false}',
        '-vnc', '127.0.0.1:1,tls-creds=vnc-tls-creds0', '-spice',
        'tls-port=5900', '-vdsm-tls', 'ciphers=ECDHE+AESGCM', '-vdsm-tls',
        'protocols=TLSv1.2:TLSv1.3', '-vdsm-tls', 'priority=NORMAL']


def count(command, environment):
    """Return the instructions (int) up to the process's end or its exec."""
    with tempfile.TemporaryDirectory() as directory:
        subprocess.run(
            ['valgrind', '--tool=callgrind', '--dump-before=execve',
             '--callgrind-out-file=%s/out' % directory, *map(str, command)],
            env=environment, capture_output=True, check=True)
        return max(
            int(line.split()[1])
            for path in pathlib.Path(directory).iterdir()
            for line in path.read_text(errors='replace').splitlines()
            if line.startswith(('summary:', 'totals:')))


def measure(version, directory):
    """Return ((name, instructions, those of the reference), ...)."""
    installation = support.Installation(directory,
                                        support.find_python(version))
    installation.byte_compile()
    installation.qemu_kvm.symlink_to('/bin/true')
    environment = {'LC_ALL': 'C', 'PATH': '/usr/bin:/bin'}
    domxml = directory / 'domxml'
    hook_environment = dict(environment, _hook_domxml=str(domxml), vmId='ID',
                            PYTHONPATH=str(support.TESTS / 'standin'))
    domxml.write_text((support.DATA / 'domain-x86_64.xml').read_text())
    python = installation.python
    execs = directory / 'execs'
    execs.write_text('import posix\nposix.execv("/bin/true", ["true"])\n')
    empty = directory / 'empty'
    empty.write_text('')
    wrapper = [python, '-ESs', installation.wrapper]
    bare = count([python, '-ESs', execs], environment)
    nothing = count([python, '-Ss', empty], hook_environment)
    hook = [python, '-Ss', installation.hook]
    rows = (
        ('wrapper, probe', count(wrapper + PROBE, environment), bare),
        ('wrapper, both displays', count(wrapper + BOTH, environment), bare),
        ('hook, idle', count(hook, hook_environment), nothing),
        ('hook, tlsciphers', count(hook, dict(
            hook_environment, tlsciphers='ECDHE+AESGCM')), nothing))
    return rows if version == '2.7' else rows + measure_command(installation,
                                                                environment)


# What any command line in Python needs.
ARGPARSE = """
import argparse
parser = argparse.ArgumentParser()
parser.add_argument('value', nargs='*')
parser.add_argument('--version', action='version', version='1')
parser.parse_args()
"""


def measure_command(installation, environment):
    bare = installation.root / 'bare'
    bare.write_text(ARGPARSE)
    start = [installation.python, '-Es']
    return tuple(
        ('command, ' + ' '.join(arguments),
         count([*start, installation.command, *arguments], environment),
         count([*start, bare, arguments[-1]], environment))
        for arguments in (['--version'], ['check', '--help'],
                          ['scan', '--help'], ['status', '--help']))


def main():
    print('%-7s %-24s %12s %12s %6s' % ('Python', 'what', 'instructions',
                                        'bare start', 'ratio'))
    for version in support.available_pythons():
        with tempfile.TemporaryDirectory() as directory:
            for row in measure(version, pathlib.Path(directory)):
                print('%-7s %-24s %12d %12d %6.2f' % (
                    version, *row, row[1] / row[2]))


if __name__ == '__main__':
    main()
