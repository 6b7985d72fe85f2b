# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""
What becomes of a start when something breaks: the console has its policy, or
there is none.
"""

from __future__ import annotations

import collections
import concurrent.futures
import contextlib
import os
import pathlib
import re
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import libvirt
import pytest

import builds
import support
from support import EMULATOR, HOOK

if TYPE_CHECKING:
    from conftest import VM, Host, RunHook, Start, Write

BOTH = support.lab_domain('spice', 'vnc')
QEMU_KVM = pathlib.Path('/usr/libexec/qemu-kvm')
# All that a policy can have.
EVERYTHING = {'tlsprofile': 'intermediate'}

Step = tuple[str, int]
# Options of its displays, and what its OpenSSL reads.
Policy = tuple[list[str], str]
Undisturbed = tuple[str, Policy, list[Step]]


class Around:
    """
    An emulator that runs the wrapper in the way that lines of shell say,
    where "$@" is the wrapper's command line: libvirt starts it in the same
    process. trace is a file that the emulator's user can write.
    """

    def __init__(self, folder: pathlib.Path) -> None:
        folder.mkdir()
        folder.chmod(0o777)
        self.lines = folder / 'lines'
        self.lines.write_text('')
        self.trace = folder / 'trace'
        self.emulator = pathlib.Path(EMULATOR).parent / 'around'
        self.emulator.write_text(
            '#!/bin/sh\nset -- %s "$@"\n. %s\nexec "$@"\n' % (
                EMULATOR, self.lines))
        self.emulator.chmod(0o755)

    def __call__(self, lines: str, xml: str) -> str:
        """Return the domain XML for a start with these lines of shell."""
        self.lines.write_text(lines)
        return xml.replace(EMULATOR, str(self.emulator))

    def strace(self, xml: str, *options: str) -> str:
        """
        The same, with the wrapper under strace, which can make system calls
        fail. It stays the process that libvirt has started.
        """
        self.trace.unlink(missing_ok=True)
        return self('set -- strace -D -o %s %s "$@"' % (
            self.trace, ' '.join(options)), xml)


@pytest.fixture(scope='module')
def around(connection: libvirt.virConnect) -> Iterator[Around]:
    around = Around(pathlib.Path(os.environ['LAB']) / 'around')
    # libvirt asks an emulator once what it can do.
    connection.getDomainCapabilities(str(around.emulator), None, None, 'qemu')
    yield around
    around.emulator.unlink()
    shutil.rmtree(around.lines.parent)


def policy_of(vm: VM) -> Policy:
    """
    Return what makes a VM's policy: the options of its displays, and what its
    OpenSSL reads. They differ in the ports only.
    """
    arguments = vm.arguments
    options = [re.sub('(port|websocket)=[0-9]+|:[0-9]+,', '', value)
               for name, value in zip(arguments, arguments[1:])
               if name in ('-spice', '-vnc') or 'tls-creds-x509' in value]
    environment = pathlib.Path('/proc/%d/environ' % vm.pid).read_text()
    file = re.search(r'OPENSSL_CONF=/proc/self(/fd/\d+)\0', environment)
    assert len(options) == 3
    assert file
    return options, pathlib.Path(
        '/proc/%d%s' % (vm.pid, file.group(1))).read_text()


def steps_of(trace: pathlib.Path) -> list[Step]:
    """
    Return the system calls of a wrapper up to the start of QEMU, a list of
    (name, how many of this name there were by then).
    """
    calls = collections.Counter[str]()
    steps = []
    # The first is its own start.
    for line in trace.read_text().splitlines()[1:]:
        name = re.match(r'(\w+)\(', line)
        if name:
            calls[name.group(1)] += 1
            steps.append((name.group(1), calls[name.group(1)]))
        if line.startswith('execve("%s"' % QEMU_KVM):
            return steps
    raise AssertionError('QEMU was not started')


def stop(vm: VM) -> None:
    vm.host.connection.lookupByName(vm.name).destroy()


@pytest.fixture
def undisturbed(start: Start, run_hook: RunHook,
                around: Around) -> Undisturbed:
    """
    A start that nothing happens to: its domain XML, the policy of the VM, and
    the steps of the wrapper.
    """
    xml = run_hook(BOTH, **EVERYTHING)
    vm = start(around.strace(xml))
    try:
        return xml, policy_of(vm), steps_of(around.trace)
    finally:
        stop(vm)


# What has an effect outside of the wrapper's own memory.
EFFECTS = ('clone', 'execve', 'ftruncate', 'memfd_create', 'pipe2', 'wait4',
           'write')
# What a process needs of these differs from one start to the next.
VARIABLE = ('brk', 'mmap', 'munmap', 'read')


def sample(steps: list[Step], soak: bool) -> list[Step]:
    """Return all steps, or some from each part of the wrapper's life."""
    return [step for number, step in enumerate(steps)
            if soak or step[0] in EFFECTS or number % 20 == 0]


def test_wrapper_that_is_killed_at_any_step_leaves_nothing(
        start: Start, around: Around, undisturbed: Undisturbed, soak: bool,
        await_nothing_left: Callable[[], None],
        figure: support.Figure) -> None:
    xml, policy, steps = undisturbed
    chosen = sample(steps, soak)
    assert len(chosen) > 40
    assert ('execve', 1) in chosen
    killed = 0
    for name, number in chosen:
        injected = around.strace(
            xml, '--trace=' + name, '--inject=%s:signal=KILL:when=%d' % (
                name, number))
        try:
            vm = start(injected)
        except libvirt.libvirtError:
            await_nothing_left()
            assert 'killed by SIGKILL' in around.trace.read_text()
            killed += 1
        else:
            # It did not come to this step.
            assert name in VARIABLE
            assert policy_of(vm) == policy
            stop(vm)
    await_nothing_left()
    assert killed > len(chosen) - 10
    figure('steps of a start where the wrapper was killed: VMs, files and '
           'processes left', '0 of %d' % killed, 0)


def test_system_call_that_fails_leaves_no_vm_without_its_policy(
        start: Start, around: Around, undisturbed: Undisturbed, soak: bool,
        await_nothing_left: Callable[[], None],
        figure: support.Figure) -> None:
    xml, policy, steps = undisturbed
    # From here on it is the wrapper itself that judges.
    judging = steps.index(('pipe2', 1))
    chosen = sample(steps if soak else steps[judging:], soak)
    refused = kept = 0
    for name, number in chosen:
        injected = around.strace(
            xml, '--trace=' + name, '--inject=%s:error=EMFILE:when=%d' % (
                name, number))
        try:
            vm = start(injected)
        except libvirt.libvirtError as error:
            assert (name, number) not in steps[judging:] or (
                name in VARIABLE or 'qemu-kvm-modified: ' in str(error))
            refused += 1
        else:
            assert policy_of(vm) == policy, (name, number)
            stop(vm)
            kept += 1
    await_nothing_left()
    figure('system calls of the wrapper that failed (%d refused, %d in vain): '
           'VMs without their policy' % (refused, kept), 0, 0)


@pytest.fixture
def host_openssl_conf() -> Iterator[Write]:
    """A function that writes the host's openssl.cnf."""
    path = pathlib.Path('/etc/ssl/openssl.cnf')
    before = path.read_bytes()
    yield path.write_text
    path.write_bytes(before)


def test_host_whose_own_policy_cannot_be_read_now_starts_no_vm(
        start: Start, run_hook: RunHook, around: Around,
        host_openssl_conf: Write) -> None:
    """QEMU could read it, and without it the console would accept more."""
    host_openssl_conf('openssl_conf = a\n[a]\nssl_conf = b\n[b]\n'
                      'system_default = c\n[c]\nMinProtocol = TLSv1.3\n')
    xml = run_hook(support.lab_domain('spice'), tlsgroups='P-384')
    assert not start(around('', xml)).accepts('ECDHE-RSA-AES128-SHA')
    xml = around.strace(
        xml.replace('lab', 'other'), '--trace-path=/etc/ssl/openssl.cnf',
        '--inject=openat:error=EMFILE:when=1')
    with pytest.raises(libvirt.libvirtError, match=r'/etc/ssl/openssl\.cnf: '
                       r'Too many open files; .* \[host-error\]'):
        start(xml)


@pytest.mark.parametrize('fault', ['replaced', 'not to be opened'])
def test_file_of_the_host_that_changes_now_takes_no_policy_away(
        start: Start, run_hook: RunHook, around: Around,
        host_openssl_conf: Write, fault: str) -> None:
    """Between the wrapper's judgement and QEMU's start."""
    xml = run_hook(support.lab_domain('spice'), **CONFIGURED)
    if fault == 'not to be opened':
        vm = start(around.strace(
            xml, '--trace-path=/etc/ssl/openssl.cnf',
            '--inject=openat:error=ENFILE:when=2+'))
    else:
        xml = around.strace(xml, '--trace=execve',
                            '--inject=execve:signal=STOP:when=1')
        with concurrent.futures.ThreadPoolExecutor(1) as executor:
            starting = executor.submit(start, xml)
            wrapper = await_stopped(around, starting)
            host_openssl_conf('[half a section')
            os.kill(wrapper, signal.SIGCONT)
            vm = starting.result()
    assert has_policy(vm.tls_port)


@pytest.fixture
def qemu_kvm() -> Iterator[pathlib.Path]:
    """The real emulator (pathlib.Path), to be replaced."""
    before = os.readlink(QEMU_KVM)
    yield QEMU_KVM
    QEMU_KVM.unlink(missing_ok=True)
    QEMU_KVM.symlink_to(before)


def replace(path: pathlib.Path, new: str) -> None:
    """Replace a file as rpm does: there always is one."""
    copy = path.with_name(path.name + ';new')
    shutil.copy(new, copy)
    copy.rename(path)


@pytest.mark.parametrize('state, reason', [
    ('missing', 'No such file or directory'),
    ('not executable', 'Permission denied'),
    ('empty', 'Exec format error'),
    ('being written', 'Text file busy')])
def test_emulator_that_cannot_be_started_is_named(
        start: Start, run_hook: RunHook, qemu_kvm: pathlib.Path,
        await_nothing_left: Callable[[], None], state: str,
        reason: str) -> None:
    xml = run_hook(BOTH, **EVERYTHING)
    real = os.path.realpath(qemu_kvm)
    qemu_kvm.unlink()
    if state == 'not executable':
        shutil.copyfile(real, qemu_kvm)
    elif state != 'missing':
        qemu_kvm.touch(0o755)
    with open('/dev/null' if state != 'being written' else qemu_kvm, 'ab'):
        with pytest.raises(libvirt.libvirtError, match=r'%s: %s; .* '
                           r'\[qemu-missing\]' % (qemu_kvm, reason)):
            start(xml)
    await_nothing_left()


def test_emulator_that_is_half_written_starts_no_vm(
        start: Start, run_hook: RunHook, qemu_kvm: pathlib.Path,
        await_nothing_left: Callable[[], None]) -> None:
    half = pathlib.Path(os.path.realpath(qemu_kvm)).read_bytes()
    qemu_kvm.unlink()
    qemu_kvm.write_bytes(half[:len(half) // 2])
    qemu_kvm.chmod(0o755)
    with pytest.raises(libvirt.libvirtError):
        start(run_hook(BOTH, **EVERYTHING))
    await_nothing_left()


def test_update_of_the_emulator_leaves_vms_their_policy(
        start: Start, run_hook: RunHook, around: Around,
        qemu_kvm: pathlib.Path) -> None:
    """One VM runs, one is half started, and one starts afterwards."""
    xml = run_hook(support.lab_domain('spice'), tlsprotocols='TLSv1.3')
    running = start(xml)
    half_started = around.strace(xml.replace('>lab', '>half'),
                                 '--trace=clone,execve',
                                 '--inject=clone:signal=STOP:when=1')
    with concurrent.futures.ThreadPoolExecutor(1) as executor:
        starting = executor.submit(start, half_started)
        wrapper = await_stopped(around, starting)
        replace(qemu_kvm, os.path.realpath(qemu_kvm))
        os.kill(wrapper, signal.SIGCONT)
        vms = [running, starting.result(), start(xml.replace('>lab', '>new'))]
    assert [os.readlink('/proc/%d/exe' % vm.pid) == str(qemu_kvm)
            for vm in vms] == [False, True, True]
    for vm in vms:
        assert support.accepts(vm.tls_port, 'TLS_AES_128_GCM_SHA256',
                               'TLSv1.3')
        assert not vm.accepts('ECDHE-RSA-AES128-SHA')


def await_stopped(around: Around,
                  starting: concurrent.futures.Future[VM]) -> int:
    """Return the pid of the wrapper, when strace has stopped it."""
    while not starting.done():
        for proc in pathlib.Path('/proc').glob('[0-9]*'):
            # Some end while we look.
            with contextlib.suppress(OSError):
                if re.search('State:.*stop', (
                        proc / 'status').read_text()) and (
                        'stopped by SIGSTOP' in around.trace.read_text()):
                    return int(proc.name)
        time.sleep(0.01)
    raise AssertionError('the wrapper was not stopped')


@pytest.fixture
def newer_rpm(tmp_path: pathlib.Path) -> pathlib.Path:
    """The RPM of a later version, whose wrapper says so."""
    build = builds.make(tmp_path)
    build.set_version('99.0')
    wrapper = build.source / 'wrapper/tlsciphers_wrapper.py'
    before = wrapper.read_text()
    wrapper.write_text(before.replace('info : qemu-kvm-modified: ',
                                      'info : qemu-kvm-modified 99: '))
    assert wrapper.read_text() != before
    return build.rpm()


def test_update_of_the_package_leaves_starting_vms_their_policy(
        start: Start, run_hook: RunHook, newer_rpm: pathlib.Path,
        figure: support.Figure) -> None:
    """There and back again, as long as VMs start."""
    rpms = [newer_rpm, pathlib.Path(os.environ['LAB']) / 'package.rpm']
    barrier = threading.Barrier(5)

    def start_with_policy(number: int) -> VM:
        if number < 4:
            barrier.wait()
        return start(run_hook(support.lab_domain('spice', name='vm%d' % number
                                                 ), tlsprotocols='TLSv1.3'))

    transactions = 0
    with concurrent.futures.ThreadPoolExecutor(4) as executor:
        starting = [executor.submit(start_with_policy, number)
                    for number in range(20)]
        barrier.wait()
        while (not all(future.done() for future in starting)
               or transactions % 2):
            # The scriptlets, which take seconds, replace no file.
            support.lab_rpm('--upgrade', '--oldpackage', '--nodeps',
                            '--noscripts', rpms[transactions % 2])
            transactions += 1
    vms = [future.result() for future in starting]
    newer = 0
    for vm in vms:
        assert support.accepts(vm.tls_port, 'TLS_AES_128_GCM_SHA256',
                               'TLSv1.3')
        assert not vm.accepts('ECDHE-RSA-AES128-SHA')
        line, = re.findall(r'qemu-kvm-modified( 99)?: QEMU gets OPENSSL_CONF '
                           'with protocols=TLSv1.3 ', vm.log)
        newer += bool(line)
    assert transactions >= 2
    figure('20 VMs that started during %d updates of the package (%d by the '
           'new wrapper): without a policy' % (transactions, newer), 0, 0)


# A policy that is nothing without the configuration that OpenSSL reads.
CONFIGURED = {'tlsprotocols': 'TLSv1.3',
              'tlsciphers': 'TLS_AES_128_CCM_SHA256'}


def has_policy(port: int) -> bool:
    """Tell whether a SPICE port accepts CONFIGURED and nothing else."""
    return [support.accepts(port, suite, version) for version, suite in (
        ('TLSv1.3', 'TLS_AES_128_CCM_SHA256'),
        ('TLSv1.3', 'TLS_AES_256_GCM_SHA384'),
        ('TLSv1.2', 'ECDHE-RSA-AES128-SHA'))] == [True, False, False]


def test_few_descriptors_leave_no_vm_without_its_policy(
        start: Start, run_hook: RunHook, around: Around, soak: bool,
        await_nothing_left: Callable[[], None],
        figure: support.Figure) -> None:
    """The fewest with which QEMU starts, and all numbers below."""
    xml = run_hook(support.lab_domain('spice'), **CONFIGURED)
    refused = []
    held = []
    for limit in range(3, 64 if soak else 24):
        try:
            vm = start(around('ulimit -n %d\n' % limit, xml))
        except libvirt.libvirtError as error:
            # Whoever it is that says why.
            assert re.search(r'monitor( \(vm=.*\))?: \S', str(error))
            refused.append(limit)
            continue
        taken = {int(path.name) for path in pathlib.Path(
            '/proc/%d/fd' % vm.pid).iterdir()}
        # With none left for a connection there is no console.
        if set(range(limit)) - taken:
            assert has_policy(vm.tls_port), limit
            held.append(limit)
        stop(vm)
    await_nothing_left()
    assert min(refused) == 3
    assert max(refused) < min(held)
    figure('limits of open files from 3 to %d (%d start no VM): consoles '
           'without their policy' % (limit, len(refused)), 0, 0)


@pytest.mark.parametrize('seconds', ['1979-12-31 23:59:59',
                                     '1970-01-01 00:00:00'])
def test_clock_before_1980_does_not_matter(
        start: Start, run_hook: RunHook, around: Around, seconds: str) -> None:
    library, = pathlib.Path('/usr/lib').glob('*/faketime/libfaketimeMT.so.1')
    clock = ('export TZ=UTC LD_PRELOAD=%s FAKETIME="@%s"\n'
             % (library, seconds))
    vm = start(around(clock, run_hook(support.lab_domain('spice'),
                                      **CONFIGURED)))
    assert has_policy(vm.tls_port)
    # The clock was that of the wrapper, too.
    assert re.search('(?m)^%s.*qemu-kvm-modified: QEMU gets OPENSSL_CONF'
                     % seconds[:8], vm.log)
    stop(vm)
    # QEMU looks at the validity of certificates for VNC.
    with pytest.raises(libvirt.libvirtError, match='not yet active'):
        start(around(clock, run_hook(BOTH, **EVERYTHING)))


def test_wrapper_without_proc_starts_no_vm(start: Start, run_hook: RunHook,
                                           around: Around) -> None:
    """OpenSSL could not read its configuration."""
    without_proc = """set -- unshare --user --map-root-user --mount sh -c '
        mount -t tmpfs none /proc && exec "$@"' sh "$@"\n"""
    xml = run_hook(support.lab_domain('spice'), **CONFIGURED)
    with pytest.raises(libvirt.libvirtError, match=r'/proc/self/fd/\d+: No '
                       r'such file or directory; .* \[host-error\]'):
        start(around(without_proc, xml))
    # What needs no /proc holds.
    vm = start(around(without_proc, run_hook(
        support.lab_domain('spice', name='other'), tlsciphers='AES256-SHA')))
    assert vm.accepts('AES256-SHA')
    assert not vm.accepts('AES128-SHA')


def enter(host: Host, *command: str) -> None:
    """Run a command with a Host's mounts and name."""
    pid = (host.root / 'pid').read_text().strip()
    subprocess.run(['nsenter', '--target', pid, '--mount', '--uts', *command],
                   check=True)


FULL = """
for folder; do
    mount -t tmpfs -o size=4k full "$folder"
    ! cat /dev/zero >"$folder/file" 2>/dev/null
done
"""
FOLDERS = '/tmp', '/var/tmp', '/dev/shm'


def test_full_disks_do_not_matter(other_host: Host, start: Start,
                                  run_hook: RunHook) -> None:
    xml = run_hook(BOTH, **dict(EVERYTHING, **CONFIGURED))
    enter(other_host, 'sh', '-ec', FULL, 'sh', *FOLDERS,
          '/var/log/libvirt')
    vm = start(xml, other_host)
    assert has_policy(vm.tls_port)
    stop(vm)
    # The line that says why has nowhere to go.
    with pytest.raises(libvirt.libvirtError):
        start(xml.replace('CCM', 'NOSUCH'), other_host)


@pytest.mark.parametrize('version', support.available_pythons())
def test_full_disks_start_no_vm_where_a_file_is_needed(version: str) -> None:
    """Python has no files without a name in memory before 3.8."""
    installation = support.Installation(
        pathlib.Path('/usr/local/full-' + version),
        support.find_python(version))
    installation.qemu_kvm.symlink_to('/bin/true')
    process = subprocess.run(
        ['unshare', '--mount', 'sh', '-ec', FULL + 'exec "$0" '
         '-spice tls-port=5900 -vdsm-tls protocols=TLSv1.3',
         installation.wrapper, *FOLDERS], capture_output=True, text=True)
    if version in ('2.7', '3.6'):
        assert process.returncode == 1
        line, = process.stderr.splitlines()
        assert 'No space left on device' in line
        assert support.code_of(line) == 'host-error'
    else:
        assert process.returncode == 0


@pytest.mark.parametrize('sent', [signal.SIGTERM, signal.SIGKILL])
def test_libvirtd_that_starts_anew_finds_vms_with_their_policy(
        other_host: Host, start: Start, run_hook: RunHook,
        sent: signal.Signals) -> None:
    xml = run_hook(support.lab_domain('spice'), **CONFIGURED)
    vm = start(xml, other_host)
    arguments = re.findall('<qemu:arg value=.*/>',
                           other_host.connection.lookupByName('lab').XMLDesc())
    assert len(arguments) == 4
    restart(other_host, sent, vm.pid)
    domain = other_host.connection.lookupByName('lab')
    assert domain.isActive()
    assert re.findall('<qemu:arg value=.*/>', domain.XMLDesc()) == arguments
    assert '<emulator>%s</emulator>' % EMULATOR in domain.XMLDesc()
    assert has_policy(vm.tls_port)
    # It starts others, too.
    assert has_policy(start(xml.replace('>lab', '>other'), other_host
                            ).tls_port)
    domain.destroy()


def restart(host: Host, sent: signal.Signals, inside: int) -> None:
    """Send a signal to a Host's libvirtd; start it where a process is."""
    pid = (host.root / 'pid').read_text().strip()
    uri = host.connection.getURI()
    subprocess.run(['kill', '-%d' % sent, pid], check=True)
    subprocess.run(['tail', '--pid=' + pid, '--sleep-interval=0.1',
                    '--follow', '/dev/null'], check=True)
    with contextlib.suppress(libvirt.libvirtError):
        host.connection.close()
    subprocess.run(
        ['nsenter', '--target', str(inside), '--mount', '--uts',
         os.environ['LAB'] + '/libvirtd', '--daemon', '--config',
         host.root / 'libvirtd.conf', '--pid-file', host.root / 'pid'],
        check=True)
    host.connection = libvirt.open(uri)


# The hook


@pytest.fixture
def domxml(tmp_path: pathlib.Path) -> Iterator[pathlib.Path]:
    """
    The file (pathlib.Path) of a domain XML that fills its disk, which has no
    room for a policy.
    """
    folder = tmp_path / 'disk'
    folder.mkdir()
    subprocess.run(['mount', '-t', 'tmpfs', '-o', 'size=4k', 'full', folder],
                   check=True)
    path = folder / 'domxml'
    path.write_text(BOTH.replace('<devices>', '<!--%s--><devices>' % (
        (4080 - len(BOTH)) * '.')))
    yield path
    subprocess.run(['umount', folder], check=True)


def call_hook(domxml: pathlib.Path,
              *around: str) -> subprocess.CompletedProcess[str]:
    """Run the hook as vdsm does; return the process."""
    return subprocess.run(
        [*around, HOOK], capture_output=True, text=True,
        env=support.hook_environment(domxml, **CONFIGURED))


def test_full_disk_leaves_the_xml_as_it_was(domxml: pathlib.Path) -> None:
    before = domxml.read_bytes()
    assert 4000 < len(before) <= 4096
    hook = call_hook(domxml)
    assert hook.returncode == 2
    assert '[Errno 28] No space left on device (it is unchanged); ' in (
        hook.stderr)
    assert hook.stderr.endswith(' [domain-xml-unwritable]\n')
    assert domxml.read_bytes() == before


def test_hook_with_few_descriptors_writes_the_policy_or_nothing(
        tmp_path: pathlib.Path) -> None:
    domxml = tmp_path / 'domxml'
    outcomes = []
    for limit in range(3, 16):
        domxml.write_text(BOTH)
        hook = call_hook(domxml, 'prlimit', '--nofile=%d' % limit)
        if hook.returncode:
            assert hook.stderr
            assert domxml.read_text() == BOTH
        else:
            assert domxml.read_text().count('"-vdsm-tls"') == 2
        outcomes.append(hook.returncode == 0)
    assert outcomes == sorted(outcomes)
    assert outcomes[0] is False
    assert outcomes[-1] is True


@pytest.mark.parametrize('around', [
    ('faketime', '1979-12-31 23:59:59'),
    ('unshare', '--mount', 'sh', '-ec',
     'mount -t tmpfs none /proc; exec "$0"')])
def test_hook_needs_no_clock_and_no_proc(tmp_path: pathlib.Path,
                                         around: tuple[str, ...]) -> None:
    domxml = tmp_path / 'domxml'
    domxml.write_text(BOTH)
    hook = call_hook(domxml, *around)
    assert hook.returncode == 0, hook.stderr
    assert domxml.read_text().count('"-vdsm-tls"') == 2
