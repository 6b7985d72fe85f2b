# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""
Tests on real VMs. They run inside tests/lab, which starts their libvirtd:

    tests/lab RPM python3 -m pytest tests/libvirt
"""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import pwd
import re
import shutil
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol, Union
from xml.etree import ElementTree

import libvirt
import libvirt_qemu
import pytest

import support

HOST_DEFAULT = pathlib.Path('/etc/vdsm/tlsciphers.conf')
GNUTLS_CONFIG = pathlib.Path('/etc/gnutls/config')
RUN_DIR = pathlib.Path('/run/vdsm')
# What lies where, instead of the machine's own.
Files = Mapping[str, Union[str, pathlib.Path]]
Write = Callable[[str], object]
SOCKET_URI = 'qemu+unix:///system?socket=%s/libvirt-sock'


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption('--userlands', action='store_true',
                     help='the tests that "check.sh userlands" runs')


def pytest_ignore_collect(collection_path: pathlib.Path,
                          config: pytest.Config) -> bool | None:
    """
    Leave out what needs userlands, or is for a release; and in a userland,
    which stands for a host, what runs on the machine that has Ansible.
    """
    if collection_path.name == 'test_ansible.py':
        return support.IN_USERLAND or None
    if collection_path.name in ('test_userlands.py', 'test_versions.py'):
        return not config.getoption('userlands')
    return None


def pytest_configure(config: pytest.Config) -> None:
    if 'LAB' not in os.environ:
        raise pytest.UsageError('run these tests with tests/lab')


class Host:
    """
    A libvirtd: uri, connection (libvirt.virConnect), root (pathlib.Path), the
    folder below which its run and var/log/libvirt are, and lab_uri, where it
    finds the lab's own.
    """

    def __init__(self, uri: str, root: pathlib.Path,
                 lab_uri: str = '') -> None:
        self.uri = uri
        self.connection = libvirt.open(uri)
        self.root = root
        self.lab_uri = lab_uri


@contextlib.contextmanager
def second_host(name: str, files: Files | None = None,
                **settings: str) -> Iterator[Host]:
    """
    Start a libvirtd (Host) beside the lab's own. Its state is its own, files
    ({path: path of what is there instead}) and settings (str) of qemu.conf
    are those that differ; what else is on the machine they share.
    """
    root = pathlib.Path(os.environ['LAB']) / name
    root.mkdir()
    (root / 'libvirtd.conf').write_text(
        'auth_unix_rw = "none"\nhost_uuid = "%s"\n' % uuid.uuid4())
    conf = pathlib.Path('/etc/libvirt/qemu.conf').read_text()
    for key, value in settings.items():
        conf, count = re.subn('(?m)^%s = .*' % key, '%s = %s' % (key, value),
                              conf)
        if not count:
            conf += '%s = %s\n' % (key, value)
    (root / 'qemu.conf').write_text(conf)
    # It may know what the lab's libvirtd has learned of the emulators.
    subprocess.run(
        ['unshare', '--mount', '--uts', 'sh', '-ec', """
         hostname "$1"
         shift
         for path
         do
             mount --bind "${path#*=}" "${path%%=*}"
         done
         mkdir -p "$0/lab" "$0/var/cache"
         mount --bind /run/libvirt "$0/lab"
         cp -a /var/cache/libvirt "$0/var/cache"
         for folder in run var/lib/libvirt var/log/libvirt var/cache/libvirt
         do
             mkdir -p "$0/$folder"
             mount --bind "$0/$folder" "/$folder"
         done
         mount --bind "$0/qemu.conf" /etc/libvirt/qemu.conf
         exec "$LAB/libvirtd" --daemon --config "$0/libvirtd.conf" \\
             --pid-file "$0/pid" """, root, name,
         *('%s=%s' % item for item in (files or {}).items())], check=True)
    host = Host(SOCKET_URI % (root / 'run/libvirt'), root,
                SOCKET_URI % (root / 'lab'))
    yield host
    host.connection.close()
    pid = (root / 'pid').read_text()
    subprocess.run(['kill', pid], check=True)
    subprocess.run(['tail', '--pid=' + pid, '--sleep-interval=0.1',
                    '--follow', '/dev/null'], check=True)
    shutil.rmtree(root)


@contextlib.contextmanager
def userland_host(release: str) -> Iterator[Host]:
    """
    Start a libvirtd (Host) in the userland of a release of Debian, with its
    own programs and libraries, and the lab's network.
    """
    folder = os.environ['LAB']
    found = list(pathlib.Path(folder, 'cache').glob(
        'userland-%s-*/complete' % release))
    assert found, 'make it: tests/userlands/build-root ' + release
    with subprocess.Popen(
            [support.TESTS / 'userlands/enter', '--bind', folder + '=outside',
             '--bind', '/run/libvirt=libvirt', found[0].parent, 'sh', '-ec',
             'mkdir /lab; LAB_NAME=%s exec tests/lab --inside /lab '
             '/outside/package.rpm sh -c "echo ready; cat"' % release],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            ) as process:
        assert process.stdout
        assert process.stdout.readline() == 'ready\n'
        first, = pathlib.Path('/proc/%d/task/%d/children' % (
            process.pid, process.pid)).read_text().split()
        root = pathlib.Path('/proc', first, 'root')
        host = Host(SOCKET_URI % (root / 'run/libvirt'), root,
                    SOCKET_URI % '/libvirt')
        yield host
        host.connection.close()
        # At the end of its input the command ends, and all in there with it.


class MakeHost(Protocol):
    """What the fixture make_host is."""

    def __call__(self, files: Files | None = ...,
                 **settings: str) -> Host: ...


class VM:
    """
    A running VM: name (str), host (Host), pid (int) of its emulator, log
    (str), and the ports (int, -1 where there is none) of its consoles:
    tls_port for SPICE, vnc_port, and websocket_port for VNC too.
    """

    def __init__(self, domain: libvirt.virDomain, host: Host) -> None:
        self.name = domain.name()
        self.host = host
        self.pid = int((host.root / 'run/libvirt/qemu' / (self.name + '.pid')
                        ).read_text())
        self.tls_port = support.spice_tls_port(domain)
        self.vnc_port = support.console_port(domain, 'vnc', 'port')
        self.websocket_port = support.console_port(domain, 'vnc', 'websocket')

    @property
    def log(self) -> str:
        return support.read_vm_log(self.name, self.host.root)

    @property
    def arguments(self) -> list[str]:
        """What the real emulator was given (list of str)."""
        cmdline = pathlib.Path('/proc/%d/cmdline' % self.pid).read_bytes()
        return os.fsdecode(cmdline).split('\0')[:-1]

    @property
    def credentials(self) -> dict[str, Any]:
        """The members (dict) of what libvirt makes for VNC with TLS."""
        found, = [members for members in map(support.object_members, [
            value for option, value in zip(self.arguments, self.arguments[1:])
            if option == '-object']) if members['id'] == 'vnc-tls-creds0']
        return found

    def move_vnc(self, port: int) -> bool:
        """
        Have QEMU listen at another port, without libvirt's knowledge. Tell
        whether it goes on with TLS: QEMU before 6.0, which knows a command
        for that, loses the credentials by it.
        """
        domain = self.host.connection.lookupByName(self.name)

        def ask(command: str, **arguments: Any) -> Any:
            return json.loads(libvirt_qemu.qemuMonitorCommand(
                domain, json.dumps({'execute': command,
                                    'arguments': arguments}), 0))['return']

        if {'name': 'display-update'} in ask('query-commands'):
            ask('display-update', type='vnc', addresses=[
                {'type': 'inet', 'host': '127.0.0.1', 'port': str(port)}])
            return True
        ask('change', device='vnc', target='127.0.0.1:%d' % (port - 5900))
        return False

    def accepts(self, suite: str) -> bool:
        return support.accepts(self.tls_port, suite)


Create = Callable[[Host, str], libvirt.virDomain]


class Start(Protocol):
    """What the fixture start is."""

    def __call__(self, xml: str, host: Host = ...) -> VM: ...


class RunHook(Protocol):
    """What the fixture run_hook is."""

    def __call__(self, xml: str, **properties: str) -> str: ...


class ResumeHook(Protocol):
    """What the fixture resume_hook is."""

    def __call__(self, properties: dict[str, str], start: bool = ...,
                 xml: str = ...) -> str: ...


StartDomain = Callable[[str], libvirt.virDomain]


@pytest.fixture(scope='session')
def lab() -> Iterator[Host]:
    """The lab's own libvirtd (Host)."""
    # Errors arrive as exceptions; they need not be printed as well.
    libvirt.registerErrorHandler(lambda *_: None, None)
    host = Host('qemu:///system', pathlib.Path('/'))
    yield host
    host.connection.close()


@pytest.fixture(scope='session')
def connection(lab: Host) -> libvirt.virConnect:
    return lab.connection


@pytest.fixture(scope='session')
def host_without_vnc_tls(lab: Host) -> Iterator[Host]:
    """A second libvirtd (Host), whose VNC consoles are not encrypted."""
    with second_host('without-vnc-tls', vnc_tls='0') as host:
        yield host


@pytest.fixture(scope='session')
def destination(lab: Host) -> Iterator[Host]:
    """A second libvirtd (Host), of another host, for migrations."""
    with second_host('destination') as host:
        yield host


@pytest.fixture
def empty_destination(destination: Host) -> Iterator[Host]:
    """The destination, whose VMs end with the test."""
    yield destination
    end_all(destination)


@pytest.fixture
def make_host(lab: Host) -> Iterator[MakeHost]:
    """A function that starts a second libvirtd, as second_host() does."""
    with contextlib.ExitStack() as stack:
        def make_host(files: Files | None = None, **settings: str) -> Host:
            host = stack.enter_context(second_host('other', files, **settings))
            stack.callback(end_all, host)
            return host
        yield make_host


@pytest.fixture
def other_host(make_host: MakeHost) -> Host:
    """A second libvirtd (Host), that a test may do anything to."""
    return make_host()


def end_all(host: Host) -> None:
    for domain in host.connection.listAllDomains():
        domain.destroy()


@pytest.fixture(scope='session')
def create() -> Create:
    """
    A function that starts a VM on a Host and returns its libvirt domain. It
    raises libvirtError with what the emulator said: where that ends just as
    libvirt connects to it, libvirt may find it not quite gone, and leave that
    to the log.
    """
    def create(host: Host, xml: str) -> libvirt.virDomain:
        try:
            return host.connection.createXML(xml)
        except libvirt.libvirtError as error:
            if str(error).startswith(support.TOO_LATE):
                said = said_in_log(ElementTree.fromstring(xml).findtext(
                    'name', ''), host.root)
                error.args = ('process exited while connecting to monitor: '
                              + said,)
            raise
    return create


def said_in_log(name: str, root: pathlib.Path) -> str:
    """Return what the emulator has written to its log at its last start."""
    log = support.read_vm_log(name, root)
    start = log.rpartition('-msg timestamp=on\n')[2]
    return '\n'.join(line for line in start.splitlines()
                     if not re.match(r'[\d-]{10} [\d:.+]+: ', line))


@pytest.fixture
def start(lab: Host, create: Create) -> Iterator[Start]:
    """
    A function that starts a VM from a domain XML, until the test ends: in
    the lab, or on another Host.
    """
    started: list[tuple[libvirt.virDomain, Host]] = []

    def start(xml: str, host: Host = lab) -> VM:
        domain = create(host, xml)
        started.append((domain, host))
        return VM(domain, host)

    yield start
    for domain, host in started:
        # One that has migrated is not there any more.
        if domain.UUID() in [other.UUID()
                             for other in host.connection.listAllDomains()]:
            domain.destroy()
    log = pathlib.Path('/var/log/libvirt/qemu/lab.log')
    log.unlink(missing_ok=True)


def remains() -> set[str]:
    """
    Return what a start leaves on this machine (set of str): processes, ports
    that somebody listens at, files of running VMs, and in the folders for
    temporary files those of the emulator's user.
    """
    users = [user.pw_uid for user in pwd.getpwall()
             if user.pw_name in ('qemu', 'libvirt-qemu')]
    found = {'port %d' % int(port, 16) for port in re.findall(
        r'(?m)^ +\d+: \w+:(\w+) \S+ 0A ',
        pathlib.Path('/proc/net/tcp').read_text())}
    found.update(map(str, pathlib.Path('/run/libvirt/qemu').glob('*.*')))
    found.update(map(str, pathlib.Path('/var/lib/libvirt/qemu').glob(
        'domain-*')))
    for folder in '/tmp', '/var/tmp', '/dev/shm', '/proc':
        for path in pathlib.Path(folder).iterdir():
            # Some end while we look.
            with contextlib.suppress(OSError):
                if path.stat().st_uid in users or (
                        folder == '/proc' and path.name.isdigit()):
                    found.add('%s %s' % (path, repr(
                        (path / 'cmdline').read_bytes())
                        if folder == '/proc' else 'is a file'))
    return found


@pytest.fixture
def await_nothing_left(lab: Host) -> Callable[[], None]:
    """A function that waits until nothing is left of what a test starts."""
    before = remains()

    def await_nothing_left() -> None:
        deadline = time.monotonic() + 60
        while True:
            left = remains() - before
            if not left:
                return
            assert time.monotonic() < deadline, left
            time.sleep(0.01)
    return await_nothing_left


@pytest.fixture
def run_hook(tmp_path: pathlib.Path) -> RunHook:
    """A function that does to a domain XML what the hook does under vdsm."""
    def run_hook(xml: str, **properties: str) -> str:
        domxml = tmp_path / uuid.uuid4().hex
        domxml.write_text(xml)
        support.run_hooks(domxml, **properties)
        return domxml.read_text()
    return run_hook


@pytest.fixture
def resume_hook(tmp_path: pathlib.Path) -> ResumeHook:
    """
    A function that runs the hook as vdsm does for a resume (start: for a
    start), on an XML built afresh, which vdsm then throws away; returns what
    it says. A refusal is a subprocess.CalledProcessError.
    """
    def resume_hook(
            properties: dict[str, str], start: bool = False,
            xml: str = support.lab_domain('spice', 'vnc')) -> str:
        flags = RUN_DIR / support.VM_ID / 'launchflags'
        flags.parent.mkdir(parents=True, exist_ok=True)
        if start:
            flags.write_text('0')
        else:
            flags.unlink(missing_ok=True)
        domxml = tmp_path / 'resume'
        domxml.write_text(xml)
        return support.run_hooks(domxml, vmId=support.VM_ID, **properties)
    return resume_hook


@pytest.fixture
def folder() -> pathlib.Path:
    """A folder that the emulator's user can write."""
    path = pathlib.Path(os.environ['LAB']) / 'images'
    path.mkdir(exist_ok=True)
    path.chmod(0o777)
    return path


@pytest.fixture
def disk(folder: pathlib.Path) -> Iterator[Callable[[str], str]]:
    """A function that gives a domain XML a disk."""
    path = folder / 'disk.qcow2'
    subprocess.run(['qemu-img', 'create', '-q', '-f', 'qcow2', path, '1M'],
                   check=True)
    yield lambda xml: xml.replace('<devices>', """<devices>
        <disk type="file"><driver name="qemu" type="qcow2"/>
        <source file="%s"/><target dev="vda" bus="virtio"/></disk>"""
        % path)
    for path in folder.iterdir():
        path.unlink()


@pytest.fixture
def define_domain(connection: libvirt.virConnect) -> Iterator[StartDomain]:
    """A function that defines and starts a VM: its libvirt domain."""
    defined = []

    def define_domain(xml: str) -> libvirt.virDomain:
        domain = connection.defineXML(xml)
        defined.append(domain)
        domain.create()
        return domain

    yield define_domain
    for domain in defined:
        if domain.isActive():
            domain.destroy()
        domain.undefineFlags(libvirt.VIR_DOMAIN_UNDEFINE_MANAGED_SAVE
                             | libvirt.VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA)


@pytest.fixture
def host_default() -> Iterator[Write]:
    """A function that writes the host's default."""
    HOST_DEFAULT.parent.mkdir(exist_ok=True)
    yield HOST_DEFAULT.write_text
    HOST_DEFAULT.unlink()


@pytest.fixture
def gnutls_config() -> Iterator[Write]:
    """A function that writes the system's configuration of GnuTLS."""
    GNUTLS_CONFIG.parent.mkdir(exist_ok=True)
    yield GNUTLS_CONFIG.write_text
    GNUTLS_CONFIG.unlink()
