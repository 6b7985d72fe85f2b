# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

import os
import pathlib
import re
import signal
import subprocess
from xml.etree import ElementTree

import pytest

import support
from support import LIBVIRT_ENVIRONMENT

QEMU = '{http://libvirt.org/schemas/domain/qemu/1.0}'
# A stand-in for qemu-kvm: a shell that stops, to be looked at from outside.
STAND_IN = '#!/bin/sh\nkill -STOP $$\n'


class Hook:
    """Runs the installed hook; the XML file is vdsm's temporary file."""

    def __init__(self, installation, directory):
        self.installation = installation
        self.domxml = directory / 'domxml'

    def run(self, xml, environment=(), start=True, **properties):
        self.domxml.write_text(xml)
        flags = self.installation.run_dir / 'VMID' / 'launchflags'
        flags.parent.mkdir(parents=True, exist_ok=True)
        if start:
            flags.write_text('0')
        else:
            flags.unlink(missing_ok=True)
        return subprocess.run(
            [self.installation.hook], capture_output=True, text=True,
            env=dict({'PATH': '/usr/bin:/bin', 'vmId': 'VMID',
                      'PYTHONPATH': str(support.TESTS / 'standin'),
                      '_hook_domxml': str(self.domxml)},
                     **properties, **dict(environment)))

    def change(self, xml, **properties):
        """Run it, successfully, and return (new XML, lines of its log)."""
        process = self.run(xml, **properties)
        assert process.returncode == 0, process.stderr
        assert process.stdout == ''
        return self.domxml.read_text(), process.stderr.splitlines()

    def refusal(self, xml, **keywords):
        """Run it, which must refuse, and return its one line."""
        process = self.run(xml, **keywords)
        assert process.returncode == 2, process.stderr
        assert self.domxml.read_text() == xml
        lines = process.stderr.splitlines()
        assert len(lines) == 1, lines
        # The engine shows the line as the repr of a bytes object.
        assert repr(lines[0].encode('ascii')) == "b'%s'" % lines[0]
        return lines[0]

    def policy(self, xml, **properties):
        """
        Run it, successfully, and return (what it adds for the wrapper, as a
        dict {'KEY': 'VALUE'} with keys ending in "?" where it is best effort;
        lines of its log).
        """
        changed, log = self.change(xml, **properties)
        added = [argument.get('value') for argument in
                 ElementTree.fromstring(changed).iter(QEMU + 'arg')]
        policy = {}
        for option, setting in zip(added[::2], added[1::2]):
            mark = {'-vdsm-tls': '', '-vdsm-tls-default': '?'}[option]
            key, _, value = setting.partition('=')
            policy[key + mark] = value
        return policy, log


@pytest.fixture
def make_hook(tmp_path):
    """A function that gives the Hook of an Installation."""
    return lambda installation: Hook(installation, tmp_path)


@pytest.fixture
def hook(make_hook, installation):
    return make_hook(installation)


@pytest.fixture
def newest_hook(make_hook, newest_installation):
    return make_hook(newest_installation)


class Outcome:
    """
    How a run of the wrapper ended: status, stderr (str), pid, started; and of
    the real emulator, if it was started: arguments (list of bytes),
    environment (list of bytes), files ({descriptor: path}), ignored (set of
    signals), children (str: their pids).
    """

    def __init__(self, process):
        self.pid = process.pid
        event = os.waitid(os.P_PID, self.pid,
                          os.WSTOPPED | os.WEXITED | os.WNOWAIT)
        self.started = event.si_code == os.CLD_STOPPED
        if self.started:
            self._look(pathlib.Path('/proc/%d' % self.pid))
            os.kill(self.pid, signal.SIGCONT)
        self.stderr = process.communicate()[1].decode()
        self.status = process.returncode

    def _look(self, proc):
        # The kernel puts the interpreter before a script's own path.
        self.arguments = (proc / 'cmdline').read_bytes().split(b'\0')[2:-1]
        self.environment = (proc / 'environ').read_bytes().split(b'\0')[:-1]
        ignored = int(re.search(r'SigIgn:\t(\w+)',
                                (proc / 'status').read_text()).group(1), 16)
        self.ignored = {number for number in range(1, 65)
                        if ignored >> (number - 1) & 1}
        self.children = (proc / 'task' / str(self.pid) / 'children'
                         ).read_text()
        self.files = {int(link.name): os.readlink(link)
                      for link in (proc / 'fd').iterdir()}
        # Those of the shell, which puts its script at 10 or higher.
        self.files = {number: path for number, path in self.files.items()
                      if not path.endswith('/libexec/qemu-kvm')}


@pytest.fixture
def run(installation):
    """A function that runs the wrapper with the arguments that it is given."""
    yield from run_with_stand_in(installation)


@pytest.fixture
def newest_run(newest_installation):
    yield from run_with_stand_in(newest_installation)


def run_with_stand_in(installation):
    installation.qemu_kvm.write_text(STAND_IN)
    installation.qemu_kvm.chmod(0o755)

    def run(*arguments, environment=LIBVIRT_ENVIRONMENT, **keywords):
        return Outcome(subprocess.Popen(
            [installation.emulator, *arguments], stderr=subprocess.PIPE,
            env=environment, **keywords))

    yield run
    installation.qemu_kvm.unlink()
