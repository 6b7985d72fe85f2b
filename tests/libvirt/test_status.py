# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""vdsm-tlsciphers status on real VMs."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import jsonschema
import libvirt
import libvirt_qemu
import pytest

import support
from support import EMULATOR, GOOD_CIPHERS, SEED_CIPHERS

if TYPE_CHECKING:
    from conftest import VM, Host, RunHook, Start, Write

SCHEMA = json.loads((support.SOURCE / 'docs/status.schema.json').read_text())
TLS13 = 'NORMAL:-VERS-ALL:+VERS-TLS1.3'
BOTH = {'tlsciphers': GOOD_CIPHERS, 'tlspriority': TLS13}


def run(*arguments: str,
        enter: Sequence[str] = ()) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*enter, 'vdsm-tlsciphers', 'status', *arguments],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)


def status(*arguments: str, exit_status: int = 0,
           **keywords: Sequence[str]) -> dict[str, Any]:
    """Return the document, which must be as the schema says."""
    process = run('--json', *arguments, **keywords)
    assert (process.returncode, process.stderr) == (exit_status, '')
    document: dict[str, Any] = json.loads(process.stdout)
    jsonschema.validate(document, SCHEMA)
    # Nothing is in it that the schema does not describe.
    assert set(document) == set(SCHEMA['properties'])
    described = SCHEMA['$defs']['vm']['properties']
    for vm in document['vms']:
        assert set(vm) == set(described)
        for name in ('displays', 'settings', 'differences'):
            for item in vm[name]:
                assert set(item) == set(described[name]['items']['properties'])
    return document


def only_vm(*arguments: str, **keywords: Any) -> dict[str, Any]:
    vm: dict[str, Any]
    vm, = status(*arguments, **keywords)['vms']
    return vm


def settings(vm: dict[str, Any]) -> dict[str, tuple[Any, ...]]:
    return {setting['key']: (setting['asked'], setting['required'],
                             setting['in_force'], setting['source'])
            for setting in vm['settings']}


def differences(vm: dict[str, Any]) -> list[tuple[str | None, str]]:
    return [(item['display'], item['difference'].partition(';')[0])
            for item in vm['differences']]


def set_priority(domain: libvirt.virDomain, priority: str) -> None:
    libvirt_qemu.qemuMonitorCommand(domain, json.dumps({
        'execute': 'qom-set', 'arguments': {
            'path': '/objects/vnc-tls-creds0', 'property': 'priority',
            'value': priority}}), 0)


@contextlib.contextmanager
def instead_of(vm: VM, program: str,
               name: str = 'qemu-other') -> Iterator[None]:
    """
    Have libvirt's file of PIDs name another process than the emulator: the
    code (str) of Python, run by a program of that name. It has the VM's UUID
    among its arguments, and ends with the context.
    """
    pid_file = pathlib.Path('/run/libvirt/qemu/%s.pid' % vm.name)
    interpreter = pathlib.Path(os.environ['LAB'], name)
    shutil.copy(sys.executable, interpreter)
    uuid = vm.arguments[vm.arguments.index('-uuid') + 1]
    process = subprocess.Popen(
        [interpreter, '-c', 'import os, sys\n' + program % {'uuid': uuid}],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout
    assert process.stdout.readline() == b'ready\n'
    pid_file.write_text(str(process.pid))
    try:
        yield
    finally:
        process.communicate()
        pid_file.write_text(str(vm.pid))


# Becomes itself again, with the arguments and environment of an emulator.
POSE = r"""
def pose(arguments, environment):
    os.execve('/proc/self/exe', [
        b'qemu', b'-c', b'print("ready", flush=True); '
        b'open(0).read()', b'-uuid', b'%(uuid)s', *arguments], environment)
"""


class StartWith(Protocol):
    """What the fixture start_with is."""

    def __call__(self, *consoles: str, name: str = ...,
                 **properties: str) -> VM: ...


@pytest.fixture
def start_with(start: Start, run_hook: RunHook) -> StartWith:
    """A function that starts a VM with properties."""
    def start_with(
            *consoles: str, name: str = 'lab', **properties: str) -> VM:
        return start(run_hook(support.lab_domain(*consoles, name=name),
                              **properties))
    return start_with


def test_policy_of_a_vm_is_in_force(start_with: StartWith) -> None:
    vm = start_with('spice', 'vnc', tlsprofile='intermediate',
                    tlsciphers=GOOD_CIPHERS + ':TLS_AES_256_GCM_SHA384')
    found = only_vm()
    assert (found['vm'], found['pid'], found['state'], found['problem']) == (
        'lab', vm.pid, 'in force', None)
    priority = json.loads(vm.arguments[vm.arguments.index('-vnc') - 1]
                          )['priority']
    assert 'VERS-TLS1.2' in priority
    groups = 'X25519:prime256v1:secp384r1'
    suite = 'TLS_AES_256_GCM_SHA384'
    assert settings(found) == {
        'ciphers': (GOOD_CIPHERS, True, GOOD_CIPHERS, 'arguments'),
        'ciphersuites': (suite, True, suite, 'OpenSSL file'),
        'protocols': ('TLSv1.2:TLSv1.3', True, 'TLSv1.2:TLSv1.3',
                      'OpenSSL file'),
        'groups': (groups, True, groups, 'OpenSSL file'),
        'priority': (priority, True, priority, 'QEMU')}
    assert found['displays'] == [
        {'display': 'spice', 'tls': True, 'covered': True},
        {'display': 'vnc', 'tls': True, 'covered': True}]


@pytest.mark.parametrize('protocols', ['TLSv1.2', 'TLSv1.3'])
def test_protocols_in_force_are_those_of_the_openssl_file(
        start_with: StartWith, protocols: str) -> None:
    start_with('spice', tlsprotocols=protocols)
    assert settings(only_vm()) == {
        'protocols': (protocols, True, protocols, 'OpenSSL file')}


def test_default_of_the_host_is_told_from_a_requirement(
        start_with: StartWith, host_default: Write) -> None:
    host_default('[default]\ntlsprofile = modern\n')
    start_with('spice', 'vnc', tlspriority=TLS13)
    found = only_vm()
    assert found['state'] == 'in force'
    assert {key: setting[1] for key, setting in settings(found).items()} == {
        'ciphersuites': False, 'protocols': False, 'groups': False,
        'priority': True}
    text = run().stdout
    assert 'SPICE protocols    default   TLSv1.3\n' in text
    assert 'VNC   priority     required  %s\n' % TLS13 in text


def test_vm_without_a_policy_is_left_alone(start_with: StartWith) -> None:
    vm = start_with('spice', 'vnc')
    found = only_vm()
    assert (found['state'], found['settings'], found['differences']) == (
        'none', [], [])
    assert 'custom-monitor' not in vm.log
    text = run()
    assert (text.returncode, 'lab: none\n' in text.stdout) == (0, True)


def test_vm_with_a_policy_for_spice_alone_is_not_asked(
        start_with: StartWith) -> None:
    vm = start_with('spice', tlsciphers=GOOD_CIPHERS)
    assert only_vm()['state'] == 'in force'
    assert 'custom-monitor' not in vm.log
    # That what is looked for is what it writes:
    other = start_with('vnc', name='other', tlspriority=TLS13)
    assert only_vm('other')['state'] == 'in force'
    assert 'custom-monitor' in other.log


def test_priority_that_was_changed_at_run_time_is_a_difference(
        start_with: StartWith, connection: libvirt.virConnect) -> None:
    start_with('spice', 'vnc', **BOTH)
    assert only_vm()['state'] == 'in force'
    set_priority(connection.lookupByName('lab'), 'NORMAL')
    found = only_vm(exit_status=1)
    assert found['state'] == 'difference'
    assert settings(found)['priority'] == (TLS13, True, 'NORMAL', 'QEMU')
    assert differences(found) == [
        ('vnc', 'priority: another value is in force than is asked for')]
    text = run()
    assert text.returncode == 1
    assert 'lab: DIFFERENCE\n' in text.stdout
    assert 'asked for  %s\n' % TLS13 in text.stdout
    assert 'in force   NORMAL\n' in text.stdout


def test_priority_that_nobody_asked_for_is_a_difference(
        start: Start, run_hook: RunHook) -> None:
    start(run_hook(support.lab_domain('vnc')).replace('</domain>', """
        <qemu:commandline
            xmlns:qemu="http://libvirt.org/schemas/domain/qemu/1.0">
          <qemu:arg value="-object"/>
          <qemu:arg value="tls-creds-x509,id=own,endpoint=server,%s"/>
          <qemu:arg value="-vnc"/>
          <qemu:arg value="127.0.0.1:77,tls-creds=own"/>
        </qemu:commandline></domain>"""
        % 'dir=/etc/pki/vdsm/libvirt-vnc,priority=NORMAL:-VERS-TLS1.3'))
    found = only_vm(exit_status=1)
    assert settings(found) == {
        'priority': (None, None, 'NORMAL:-VERS-TLS1.3', 'QEMU')}
    assert differences(found) == [
        ('vnc', 'priority: the VM asks for nothing: another hook, or '
         'somebody, has set it')]


def test_console_that_no_setting_covers_is_a_difference(
        start_with: StartWith) -> None:
    start_with('spice', 'vnc', tlsciphers=GOOD_CIPHERS)
    found = only_vm(exit_status=1)
    assert differences(found) == [('vnc', 'this console is not covered')]
    assert [display['covered'] for display in found['displays']] == [
        True, False]


def test_default_for_a_console_without_encryption_is_a_difference(
        start: Start, run_hook: RunHook, host_default: Write,
        host_without_vnc_tls: Host) -> None:
    host_default('[default]\ntlsprofile = modern\n')
    start(run_hook(support.lab_domain('spice', 'vnc')), host_without_vnc_tls)
    pid = (host_without_vnc_tls.root / 'pid').read_text().strip()
    found = only_vm(enter=['nsenter', '--mount', '--target', pid],
                    exit_status=1)
    assert differences(found) == [
        ('vnc', 'priority: not in force: this console is not encrypted')]
    assert settings(found)['priority'][1:] == (False, None, None)
    assert settings(found)['protocols'] == ('TLSv1.3', False, 'TLSv1.3',
                                            'OpenSSL file')


def test_vm_of_a_manual_installation_is_named(start: Start,
                                              run_hook: RunHook) -> None:
    start(run_hook(support.lab_domain('spice')).replace(
        '<devices>', '<devices><emulator>%s</emulator>' % EMULATOR))
    found = only_vm(exit_status=1)
    assert settings(found) == {
        'ciphers': (None, None, SEED_CIPHERS, 'arguments')}
    assert differences(found) == [
        ('spice', 'ciphers: the VM asks for nothing: its cipher list comes '
         'from a manual installation')]


def test_vm_with_a_property_that_no_hook_has_seen_is_named(
        start: Start) -> None:
    """It was started on a host without the package."""
    start(support.lab_domain('spice').replace('<devices>', """<metadata>
        <ovirt-vm:vm xmlns:ovirt-vm="http://ovirt.org/vm/1.0">
          <ovirt-vm:custom>
            <ovirt-vm:tlsprofile>modern</ovirt-vm:tlsprofile>
          </ovirt-vm:custom></ovirt-vm:vm></metadata><devices>"""))
    found = only_vm(exit_status=1)
    assert differences(found) == [
        (None, 'the VM has the property tlsprofile, but was started without '
         'a policy: the host of its start had not the package')]


def test_many_vms_are_shown_by_name_and_counted(start_with: StartWith) -> None:
    for number in range(9):
        start_with('spice', 'vnc', name='vm%d' % (8 - number), **(
            [{}, BOTH, {'tlsciphers': GOOD_CIPHERS}][number % 3]))
    document = status(exit_status=1)
    assert [vm['vm'] for vm in document['vms']] == [
        'vm%d' % number for number in range(9)]
    assert document['summary'] == {'vms': 9, 'in_force': 3, 'difference': 3,
                                   'none': 3, 'unknown': 0}
    assert run().stdout.endswith(
        '\n9 VMs on %s: 3 in force, 3 with a difference, 3 without a '
        'policy\n' % document['host'])
    uuid = document['vms'][1]['uuid']
    assert [vm['vm'] for vm in status('vm7', uuid, 'vm7')['vms']] == [
        'vm7', 'vm1']


def test_host_without_vms_is_fine() -> None:
    assert status()['vms'] == []


def test_qemu_that_hangs_is_read_from_its_arguments(
        start_with: StartWith) -> None:
    vm = start_with('spice', 'vnc', **BOTH)
    os.kill(vm.pid, signal.SIGSTOP)
    try:
        found = only_vm()
    finally:
        os.kill(vm.pid, signal.SIGCONT)
    assert settings(found)['priority'] == (TLS13, True, TLS13, 'arguments')
    assert found['settings'][1]['note'] == (
        'QEMU could not be asked: it does not answer within 5 seconds')


def test_other_process_is_not_taken_for_the_emulator(
        start_with: StartWith) -> None:
    vm = start_with('spice', tlsciphers=GOOD_CIPHERS)
    pid_file = pathlib.Path('/run/libvirt/qemu/lab.pid')
    for content in (str(os.getpid()), '', 'x', '-1', '9' * 30):
        pid_file.write_text(content)
        found = only_vm(exit_status=2)
        assert (found['state'], found['pid']) == ('unknown', None)
        assert found['problem']
    text = run()
    assert text.returncode == 2
    assert 'lab: UNKNOWN\n  ' in text.stdout
    pid_file.write_text(str(vm.pid))
    assert only_vm()['state'] == 'in force'


def test_program_that_is_no_qemu_is_not_taken_for_the_emulator(
        start_with: StartWith) -> None:
    vm = start_with('spice', tlsciphers=GOOD_CIPHERS)
    with instead_of(vm, POSE + 'pose([], {})', name='python'):
        found = only_vm(exit_status=2)
    assert found['problem'].endswith(
        ' is not the emulator of this VM; does it just start or end? then '
        'ask again')


@pytest.mark.parametrize('arguments, environment, problem', [
    ("[b'-spice', b'tls-port=5900,tls-ciphers=\\x1b[2J\\xff\\n']", '{}', None),
    ("[b'-spice', b',,,=']", '{}', 'a parameter without a name'),
    ("[b'-vnc', b'0:1,tls-creds=x', b'-object', b'{' * 5000 + "
     "b'tls-creds-x509 \"x\"']", '{}', None),
    ("[b'-spice']", '{}', '-spice has no value'),
    ("[b'-chardev', b'-spice', b'-spice', b'x']", '{}', 'cannot tell'),
    ('[]', "{'OPENSSL_CONF': '/proc/self/fd/' + str(pipe)}", 'regular file'),
    ('[]', "{'OPENSSL_CONF': '/proc/self/fd/999999999'}", 'cannot be read'),
    ('[]', "{'OPENSSL_CONF': '/proc/self/fd/' + str(endless)}", 'too long'),
    ('[]', "{'OPENSSL_CONF': '/proc/self/fd/../../../etc/passwd'}", None)])
def test_emulator_that_was_taken_over_does_no_harm(
        start_with: StartWith, arguments: str, environment: str,
        problem: str | None) -> None:
    vm = start_with('spice', tlsciphers=GOOD_CIPHERS)
    with instead_of(vm, POSE + """
pipe = os.pipe()[0]
os.set_inheritable(pipe, True)
endless = os.memfd_create('endless', 0)
os.ftruncate(endless, 1 << 40)
pose(%s, %s)
""" % (arguments, environment)):
        found = only_vm(exit_status=2 if problem else 1)
        assert (problem or '') in (found['problem'] or '')
        text = run()
    assert 'Traceback' not in text.stderr
    assert text.returncode == (2 if problem else 1)
    assert '\x1b' not in text.stdout
    if 'x1b' in arguments:
        assert 'in force   ?[2J??\n' in text.stdout


@pytest.mark.parametrize('arguments, enter, line', [
    (['nobody'], [], 'nobody: no VM with that name or UUID runs on this '
     'host; "virsh -r list" shows those that do'),
    ([], ['setpriv', '--reuid=65534', '--clear-groups'],
     'status reads the command lines of emulators, which only root may; run '
     'it as root')])
def test_what_cannot_be_done_is_one_line(arguments: list[str],
                                         enter: list[str], line: str) -> None:
    process = run(*arguments, enter=enter)
    assert (process.returncode, process.stdout, process.stderr) == (
        2, '', 'vdsm-tlsciphers: %s\n' % line)
