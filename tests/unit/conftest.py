# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

import subprocess
from xml.etree import ElementTree

import pytest

import support

QEMU = '{http://libvirt.org/schemas/domain/qemu/1.0}'


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
