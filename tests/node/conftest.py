# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""
Tests on nodes with SELinux enforcing, see README:

    python3 -m pytest tests/node --rpm RPM
"""

import contextlib
import pathlib
import re
import shlex
from xml.etree import ElementTree

import pytest

import builds
import node as nodes
import support

HOOK = '/usr/libexec/vdsm/hooks/before_vm_start/50_emulator'
AUDIT_LOG = '/var/log/audit/audit.log'
LOGS = """
ausearch --input-logs --message avc,user_avc,selinux_err --start recent -i
journalctl --no-pager --lines 100
tail -n 30 /var/log/libvirt/qemu/*.log
virsh list --all
"""


def pytest_addoption(parser):
    parser.addoption('--rpm', type=pathlib.Path, help='the RPM under test')


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item):
    """Show the logs of the nodes when a test fails."""
    report = (yield).get_result()
    if not report.failed:
        return
    for name in ('node', 'bare_node', 'peer'):
        node = item.funcargs.get(name)
        for command in LOGS.strip().splitlines() if node else []:
            with contextlib.suppress(Exception):
                report.sections.append(
                    ('%s: %s' % (node.directory.name, command),
                     node.run(command, check=False).stdout))


class Host:
    """What the tests do on a node (node.Node); its other names are there."""

    def __init__(self, node):
        self.node = node
        self.mark()

    def __getattr__(self, name):
        return getattr(self.node, name)

    def mark(self):
        """Count denials from here on."""
        self.audited = int(self.read('wc --lines <' + AUDIT_LOG))

    def denials(self):
        """
        Return what SELinux has denied since mark(), in order, each (str) like
        'qemu-kvm svirt_t -> cert_t file { ioctl }'.
        """
        lines = self.read('tail --lines +%d %s' % (
            self.audited + 1, AUDIT_LOG)).splitlines()
        assert not [line for line in lines if 'SELINUX_ERR' in line]
        return [re.sub(
            r'.*denied +(\{.*?\}) for .*?comm="([^"]*)".*scontext=(\S+) '
            r'tcontext=(\S+) tclass=(\w+).*', lambda match: '%s %s -> %s %s %s'
            % (match.group(2), domain(match.group(3)), domain(match.group(4)),
               match.group(5), match.group(1)), line)
            for line in lines if 'avc:  denied' in line]

    def label(self, path):
        """Return the SELinux type (str) of a file."""
        return domain(self.read('stat --format %%C %s' % path))

    def hook(self, xml, **properties):
        """
        Return what the hook makes of a domain XML, with the properties as
        vdsm gives them to it.
        """
        self.write('/root/domxml', xml)
        self.run('env _hook_domxml=/root/domxml PYTHONPATH=/root %s %s' % (
            ' '.join(shlex.quote('%s=%s' % pair)
                     for pair in properties.items()), HOOK))
        return self.read('cat /root/domxml')

    def start(self, xml):
        """Start a VM from a domain XML; return a VM."""
        self.node.start(xml)
        return VM(self, ElementTree.fromstring(xml).find('name').text)

    def use_manual_wrapper(self, path):
        """Do what the seed document does, but for its hook."""
        self.run('mkdir -p $(dirname %s)' % path)
        self.write(path, support.MANUAL_WRAPPER)
        self.run('chcon --reference /usr/libexec/qemu-kvm {0} && '
                 'chmod +x {0}'.format(path))


def domain(context):
    return context.split(':')[2]


class VM:
    """
    A VM that runs on a Host. Its consoles are at the local ports (int) spice
    and websocket (VNC's).
    """

    def __init__(self, host, name):
        self.host = host
        self.name = name
        self.xml = host.read('virsh dumpxml ' + name)
        self.pid = host.read('cat /run/libvirt/qemu/%s.pid' % name)
        self.context = host.read(
            'tr -d "\\0" </proc/%s/attr/current' % self.pid)

    def _port(self, console, attribute):
        return self.host.forward(int(ElementTree.fromstring(self.xml).find(
            'devices/graphics[@type="%s"]' % console).get(attribute)))

    @property
    def spice(self):
        return self._port('spice', 'tlsPort')

    @property
    def websocket(self):
        return self._port('vnc', 'websocket')

    @property
    def log(self):
        return self.host.read('cat /var/log/libvirt/qemu/%s.log' % self.name)

    def destroy(self):
        self.host.run('virsh destroy ' + self.name)


@pytest.fixture(scope='session')
def image():
    return nodes.get_image()


@pytest.fixture(scope='session')
def make_machine(image, tmp_path_factory, request):
    """
    A function that starts a node, by its name ("a" or "b"), with snapshots
    "clean" and, with the RPM under test, "installed".
    """
    directory = tmp_path_factory.mktemp('nodes')
    started = []

    def make(name, peer):
        host = Host(nodes.Node(image, directory, name, peer))
        started.append(host)
        host.send(support.TESTS / 'standin/hooking.py')
        host.output = host.install(request.config.getoption('rpm'))
        # libvirt learns of the new emulator here, and not in every test.
        VM(host, start_with_policy(host, tlsciphers='HIGH').name).destroy()
        host.save('installed')
        return host

    yield make
    for host in started:
        host.close()


def start_with_policy(host, xml=nodes.PLAIN_VM, **properties):
    return host.start(host.hook(xml, **properties))


@pytest.fixture(scope='session')
def machine(make_machine):
    return make_machine('a', 'b')


@pytest.fixture(scope='session')
def other_machine(make_machine):
    return make_machine('b', 'a')


def reset(host, snapshot):
    host.load(snapshot)
    host.mark()
    return host


@pytest.fixture
def node(machine):
    """A node (Host) with the package installed."""
    return reset(machine, 'installed')


@pytest.fixture
def peer(other_machine):
    """Another one (Host), which the first has a cable to."""
    return reset(other_machine, 'installed')


@pytest.fixture
def bare_node(machine):
    """A node (Host) without the package."""
    return reset(machine, 'clean')


@pytest.fixture(scope='session')
def newer_rpm(tmp_path_factory):
    return builds.newer_rpm(tmp_path_factory.mktemp('newer'))
