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
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import jsonschema
import libvirt
import libvirt_qemu
import pytest

import clients
import support
from support import EMULATOR, GOOD_CIPHERS, SEED_CIPHERS

if TYPE_CHECKING:
    from conftest import VM, Host, RunHook, Start, Write

SCHEMA = json.loads(
    (support.SOURCE / 'admin/schemas/status.schema.json').read_text())
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
        for name in ('displays', 'consoles', 'other_listeners', 'settings',
                     'differences'):
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
    """Return the differences of a VM by their codes."""
    for item in vm['differences']:
        assert item['difference'] == '%(text)s; %(remedy)s [%(code)s]' % item
    return [(item['display'], item['code']) for item in vm['differences']]


def consoles(vm: dict[str, Any]) -> dict[tuple[str, int | str | None], Any]:
    """Return what is effective, by kind and port (or socket, or None)."""
    return {(console['display'], console['port'] or console['socket']):
            console['effective'] for console in vm['consoles']}


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


def ask(connection: libvirt.virConnect, vm: VM, command: str,
        **arguments: Any) -> Any:
    """Return what a VM's QEMU returns to a command."""
    answer = json.loads(libvirt_qemu.qemuMonitorCommand(
        connection.lookupByName(vm.name), json.dumps({
            'execute': command, 'arguments': arguments}), 0))
    return answer['return']


def with_arguments(xml: str, *arguments: str) -> str:
    """Return a domain XML that has these arguments of QEMU as well."""
    added = ''.join('<qemu:arg value="%s"/>' % argument
                    for argument in arguments)
    if '<qemu:commandline>' in xml:
        return xml.replace('</qemu:commandline>',
                           added + '</qemu:commandline>')
    return xml.replace('</domain>', """<qemu:commandline
        xmlns:qemu="http://libvirt.org/schemas/domain/qemu/1.0">%s
        </qemu:commandline></domain>""" % added)


def with_property(xml: str, name: str, value: str) -> str:
    """Return a domain XML with a property in the metadata, as vdsm has it."""
    return xml.replace('<devices>', """<metadata>
        <ovirt-vm:vm xmlns:ovirt-vm="http://ovirt.org/vm/1.0">
          <ovirt-vm:custom><ovirt-vm:%s>%s</ovirt-vm:%s></ovirt-vm:custom>
        </ovirt-vm:vm></metadata><devices>""" % (name, value, name), 1)


def of_engine(xml: str, level: str = '4.7', **properties: str) -> str:
    """
    Return a domain XML with properties in the metadata, as the engine writes
    them, and with the guard where extra_cpu_flags has it.
    """
    guard = ('<cpu mode="custom" match="minimum"><model>qemu64</model>'
             '<feature name="vdsm-tls" policy="require"/></cpu>'
             if 'extra_cpu_flags' in properties else '')
    return xml.replace('<devices>', """<metadata>
        <ovirt-vm:vm xmlns:ovirt-vm="http://ovirt.org/vm/1.0">
          <ovirt-vm:clusterVersion>%s</ovirt-vm:clusterVersion>
          <ovirt-vm:custom>%s</ovirt-vm:custom>
        </ovirt-vm:vm></metadata>%s<devices>""" % (level, ''.join(
            '<ovirt-vm:%s>%s</ovirt-vm:%s>' % (name, value, name)
            for name, value in properties.items()), guard), 1)


def without_guard(xml: str) -> str:
    """Return a domain XML as another hook, or an old engine, has it."""
    return xml.replace('<feature name="vdsm-tls" policy="require"/>', '')


# Stands for a wrapper that loses, or sets in part only, what the domain XML
# requests of VNC: ours sets it on all credentials.
PARTIAL_WRAPPER = r"""#!/usr/bin/python3
import os, sys
arguments = sys.argv[1:]
for name in '-vdsm-tls', '-vdsm-tls-default':
    while name in arguments:
        at = arguments.index(name)
        del arguments[at:at + 2]
for at, argument in enumerate(arguments):
    if argument.startswith('{"qom-type":"tls-creds-x509"'):
        arguments[at] = argument.replace('"dir":', %r + '"dir":')
    elif argument.startswith('tls-creds-x509,id=vnc-tls-creds0,'):
        arguments[at] += %r
os.execv('/usr/libexec/qemu-kvm', ['/usr/libexec/qemu-kvm', *arguments])
"""


def with_partial_wrapper(xml: str, priority: str = '') -> str:
    """
    Return a domain XML whose emulator gives libvirt's own credentials a
    priority, and nothing else of the policy.
    """
    path = pathlib.Path(os.environ['LAB'], 'partial-wrapper')
    path.write_text(PARTIAL_WRAPPER % (
        priority and '"priority":"%s",' % priority,
        priority and ',priority=' + priority))
    path.chmod(0o755)
    assert EMULATOR in xml
    return xml.replace(EMULATOR, str(path))


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
    assert (found['vm'], found['pid'], found['state'], found['statement'],
            found['problem']) == (
                'lab', vm.pid, 'in force', 'effective', None)
    priority = vm.credentials['priority']
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
    assert consoles(found) == {('spice', vm.tls_port): True,
                               ('vnc', vm.vnc_port): True,
                               ('websocket', vm.websocket_port): True}
    assert run().stdout.startswith('lab: effective\n')


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
    assert differences(found) == [('vnc', 'live-value'), *[
        ('vnc', 'policy-not-effective')] * 2]
    text = run()
    assert text.returncode == 1
    assert 'lab: different\n' in text.stdout
    assert 'requested   %s\n' % TLS13 in text.stdout
    assert 'configured  NORMAL\n' in text.stdout
    assert '(set live)\n' in text.stdout


def test_priority_that_was_not_requested_is_a_difference(
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
    assert differences(found) == [('vnc', 'value-not-requested')]


def test_console_that_no_setting_covers_is_a_difference(
        start_with: StartWith) -> None:
    start_with('spice', 'vnc', tlsciphers=GOOD_CIPHERS)
    found = only_vm(exit_status=1)
    assert differences(found) == [('vnc', 'console-not-covered')]
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
    assert differences(found) == [('vnc', 'console-not-encrypted')] * 2
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
    assert differences(found) == [('spice', 'manual-ciphers')]


def test_vm_with_a_property_that_no_hook_has_seen_is_named(
        start: Start) -> None:
    """It was started on a host without the package."""
    start(support.lab_domain('spice').replace('<devices>', """<metadata>
        <ovirt-vm:vm xmlns:ovirt-vm="http://ovirt.org/vm/1.0">
          <ovirt-vm:custom>
            <ovirt-vm:tlsprofile>modern</ovirt-vm:tlsprofile>
          </ovirt-vm:custom></ovirt-vm:vm></metadata><devices>"""))
    found = only_vm(exit_status=1)
    assert differences(found) == [(None, 'property-not-applied')]
    assert 'a host without the package' in found['differences'][0]['text']


def test_many_vms_are_shown_by_name_and_counted(start_with: StartWith) -> None:
    for number in range(9):
        start_with('spice', 'vnc', name='vm%d' % (8 - number), **(
            [{}, BOTH, {'tlsciphers': GOOD_CIPHERS}][number % 3]))
    document = status(exit_status=1)
    assert [vm['vm'] for vm in document['vms']] == [
        'vm%d' % number for number in range(9)]
    assert document['summary'] == {'vms': 9, 'live': 0, 'waiting': 0,
                                   'in_force': 3, 'difference': 3,
                                   'none': 3, 'unknown': 0, 'effective': 3,
                                   'configured': 0, 'different': 3}
    assert run().stdout.endswith(
        '\n9 VMs on %s: 3 effective, 3 different, 3 without a policy\n'
        % document['host'])
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
        text = run().stdout
    finally:
        os.kill(vm.pid, signal.SIGCONT)
    assert (found['state'], found['statement']) == ('in force', 'configured')
    assert set(consoles(found).values()) == {None}
    assert text.startswith('lab: configured\n')
    assert settings(found)['priority'] == (TLS13, True, TLS13, 'arguments')
    assert found['settings'][1]['note'] == (
        'cannot query QEMU: no answer within 5 seconds [no-qemu-answer]')


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
    assert 'lab: unknown\n  ' in text.stdout
    pid_file.write_text(str(vm.pid))
    assert only_vm()['state'] == 'in force'


def test_program_that_is_no_qemu_is_not_taken_for_the_emulator(
        start_with: StartWith) -> None:
    vm = start_with('spice', tlsciphers=GOOD_CIPHERS)
    with instead_of(vm, POSE + 'pose([], {})', name='python'):
        found = only_vm(exit_status=2)
    assert found['problem'].endswith(' [no-emulator]')
    assert found['code'] == 'no-emulator'
    assert found['remedy'] in found['problem']


@pytest.mark.parametrize('arguments, environment, problem', [
    ("[b'-spice', b'tls-port=5900,tls-ciphers=\\x1b[2J\\xff\\n']", '{}', None),
    ("[b'-spice', b',,,=']", '{}', '[command-line]'),
    ("[b'-vnc', b'0:1,tls-creds=x', b'-object', b'{' * 5000 + "
     "b'tls-creds-x509 \"x\"']", '{}', None),
    ("[b'-spice']", '{}', '[command-line]'),
    ("[b'-chardev', b'-spice', b'-spice', b'x']", '{}', '[unknown-option]'),
    ('[]', "{'OPENSSL_CONF': '/proc/self/fd/' + str(pipe)}",
     'not a regular file; '),
    ('[]', "{'OPENSSL_CONF': '/proc/self/fd/999999999'}",
     '[emulator-unreadable]'),
    ('[]', "{'OPENSSL_CONF': '/proc/self/fd/' + str(endless)}",
     'MiB; '),
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
        assert 'configured  ?[2J??\n' in text.stdout


def test_spice_port_without_tls_is_a_difference(
        start: Start, run_hook: RunHook, host_default: Write) -> None:
    """The host's default adds nothing to -spice."""
    host_default('[default]\ntlsprofile = modern\n')
    vm = start(run_hook(support.lab_domain('spice').replace(
        'defaultMode="secure"', 'defaultMode="any"')))
    plain = support.console_port(
        vm.host.connection.lookupByName('lab'), 'spice', 'port')
    found = only_vm(exit_status=1)
    assert differences(found) == [('spice', 'spice-plaintext')]
    assert consoles(found) == {('spice', vm.tls_port): True,
                               ('spice', plain): False}
    channels = {console['port']: console['open_channels']
                for console in found['consoles']}
    assert channels == {vm.tls_port: None, plain: [
        'main', 'display', 'inputs', 'cursor']}
    configured = only_vm('--no-handshake', exit_status=1)
    assert differences(configured) == [('spice', 'spice-plaintext')]


@pytest.mark.parametrize('console, mode, code', [
    ('spice', 'any', 'spice-plaintext'),
    ('spice', 'insecure', 'console-not-encrypted'),
    ('vnc', '', 'console-not-encrypted')])
@pytest.mark.parametrize('arguments', [(), ('--no-handshake',)])
def test_console_without_tls_is_a_difference_without_a_policy_too(
        host_without_vnc_tls: Host, start: Start, console: str, mode: str,
        code: str, arguments: tuple[str, ...]) -> None:
    start(support.lab_domain(console).replace('"secure"', '"%s"' % mode),
          host_without_vnc_tls)
    pid = (host_without_vnc_tls.root / 'pid').read_text().strip()
    found = only_vm(*arguments, enter=['nsenter', '--mount', '--target', pid],
                    exit_status=1)
    assert set(differences(found)) == {(console, code)}
    assert found['statement'] == 'different'


def test_policy_of_a_vm_without_a_console_says_why_it_is_only_configured(
        start_with: StartWith) -> None:
    start_with(tlsprofile='modern')
    assert only_vm()['statement'] == 'configured'
    assert 'lab: configured\n  no console listens\n' in run().stdout


def test_spice_port_on_which_all_channels_demand_tls_is_none(
        start: Start, run_hook: RunHook) -> None:
    """The wrapper has them do so where the VM itself requires a policy."""
    vm = start(run_hook(support.lab_domain('spice').replace(
        'defaultMode="secure"', 'defaultMode="any"'), tlsprofile='modern'))
    found = only_vm()
    assert found['statement'] == 'effective'
    assert sorted(consoles(found).values()) == [True, True]
    assert 'effective: all channels require TLS\n' in run().stdout
    configured = only_vm('--no-handshake')
    assert (configured['statement'], set(consoles(configured).values())) == (
        'configured', {None})
    assert vm.tls_port


def test_channel_that_is_opened_beside_a_policy_is_a_difference(
        start: Start, run_hook: RunHook, host_default: Write) -> None:
    host_default('[default]\ntlsprofile = modern\n')
    start(with_arguments(run_hook(support.lab_domain('spice')), '-spice',
                         'port=6111,plaintext-channel=default'))
    # The wrapper may drop the default as well, and say so.
    found = only_vm(exit_status=1)
    assert ('spice', 'spice-plaintext') in differences(found)
    assert consoles(found)['spice', 6111] is False
    assert ('spice', 'spice-plaintext') in differences(
        only_vm('--no-handshake', exit_status=1))


def test_console_that_another_hook_adds_is_a_difference(
        start: Start, run_hook: RunHook, host_default: Write) -> None:
    start(with_arguments(run_hook(support.lab_domain(
        'spice'), tlsciphers=GOOD_CIPHERS), '-vnc', '127.0.0.1:77'))
    found = only_vm(exit_status=1)
    assert differences(found) == [('vnc', 'console-not-covered')]
    assert consoles(found)['vnc', 5977] is None
    # ... also where it is beside one that the policy covers.
    host_default('[default]\ntlsprofile = modern\n')
    start(with_arguments(run_hook(support.lab_domain(
        'vnc', name='other')), '-vnc', '127.0.0.1:78'))
    found = only_vm('other', exit_status=1)
    assert ('vnc', 'console-not-encrypted') in differences(found)


def test_console_that_connects_to_somebody_is_a_difference(
        start: Start, run_hook: RunHook) -> None:
    with socket.create_server(('127.0.0.1', 0)) as viewer:
        peer = '127.0.0.1:%d' % viewer.getsockname()[1]
        vm = start(with_arguments(run_hook(
            support.lab_domain('spice'), tlsciphers=GOOD_CIPHERS), '-vnc',
            peer + ',reverse=on'))
        found = only_vm(exit_status=1)
    assert differences(found) == [('vnc', 'console-not-covered')]
    assert [console['note'] for console in found['consoles']] == [
        None, 'connects to ' + peer]
    assert consoles(found)['spice', vm.tls_port] is True


def test_display_whose_credentials_have_no_priority_is_a_difference(
        start: Start, run_hook: RunHook) -> None:
    vm = start(with_partial_wrapper(with_arguments(
        run_hook(support.lab_domain('vnc'), tlspriority=TLS13), '-object',
        'tls-creds-x509,id=own,endpoint=server,verify-peer=off,'
        'dir=/etc/pki/vdsm/libvirt-vnc', '-vnc', '127.0.0.1:77,tls-creds=own'),
        TLS13))
    found = only_vm(exit_status=1)
    assert differences(found) == [
        ('vnc', 'policy-not-effective'),
        ('vnc', 'credentials-without-priority')]
    assert consoles(found) == {
        ('vnc', vm.vnc_port): True, ('websocket', vm.websocket_port): True,
        ('vnc', 5977): False}
    assert differences(only_vm('--no-handshake', exit_status=1)) == [
        ('vnc', 'credentials-without-priority')]


@pytest.mark.parametrize('default', [False, True])
def test_priority_that_libvirt_gives_all_consoles_is_none(
        start: Start, run_hook: RunHook, host_default: Write,
        tmp_path: pathlib.Path, default: bool) -> None:
    """
    libvirt 11.6 and later have such a setting; here another emulator adds
    what they would. It outranks the host's default, and no requirement.
    """
    conf = pathlib.Path('/etc/libvirt/qemu.conf')
    before = conf.read_text()
    host_default('[default]\ntlspriority = NORMAL:-VERS-TLS1.0\n'
                 if default else '')
    xml = run_hook(support.lab_domain('vnc'))
    if EMULATOR not in xml:
        xml = xml.replace('<devices>', '<devices><emulator>%s</emulator>'
                          % EMULATOR)
    start(with_partial_wrapper(xml, TLS13))
    assert only_vm(exit_status=1)['state'] == 'difference'
    conf.write_text(before + 'vnc_tls_priority = "%s"\n' % TLS13)
    try:
        found = only_vm()
    finally:
        conf.write_text(before)
    assert (found['state'], found['statement']) == (
        ('in force', 'effective') if default else ('none', 'none'))
    assert found['settings'][0]['note'] == (
        'set for all VMs in /etc/libvirt/qemu.conf')


def test_credentials_that_were_replaced_are_found_by_handshakes(
        start: Start, run_hook: RunHook,
        connection: libvirt.virConnect) -> None:
    """QEMU tells of the new object, and VNC goes on with the old one."""
    vm = start(with_partial_wrapper(run_hook(
        support.lab_domain('vnc'), tlspriority=TLS13)))
    ask(connection, vm, 'object-del', id='vnc-tls-creds0')
    ask(connection, vm, 'object-add', **{
        'qom-type': 'tls-creds-x509', 'id': 'vnc-tls-creds0',
        'dir': '/etc/pki/vdsm/libvirt-vnc', 'endpoint': 'server',
        'verify-peer': False, 'priority': TLS13})
    found = only_vm(exit_status=1)
    assert settings(found)['priority'] == (TLS13, True, TLS13, 'QEMU')
    assert differences(found) == [('vnc', 'policy-not-effective')] * 2
    assert set(consoles(found).values()) == {False}
    assert only_vm('--no-handshake')['statement'] == 'configured'


def test_priority_that_was_set_live_is_shown_as_such(
        start_with: StartWith, connection: libvirt.virConnect) -> None:
    start_with('spice', 'vnc')
    assert only_vm()['state'] == 'none'
    set_priority(connection.lookupByName('lab'), TLS13)
    found = only_vm(exit_status=1)
    assert settings(found) == {'priority': (None, None, TLS13, 'QEMU')}
    assert [setting['live'] for setting in found['settings']] == [True]
    assert differences(found) == [('vnc', 'live-value')]
    assert '(set live)\n' in run().stdout


def test_console_that_was_moved_live_is_found(start_with: StartWith) -> None:
    vm = start_with('vnc', **BOTH)
    encrypted = vm.move_vnc(5999)
    found = only_vm(exit_status=1)
    # The domain XML, and with it the engine, has the old one.
    elsewhere = 'vnc', 'console-of-another-process'
    if encrypted:
        assert consoles(found)['vnc', 5999] is True
        assert differences(found) == [elsewhere]
    else:
        # Its websocket is gone, too.
        assert consoles(found) == {('vnc', 5999): None}
        assert differences(found) == [
            ('vnc', 'console-not-encrypted'), elsewhere, elsewhere]


def test_port_of_a_qemu_that_hangs_is_no_proven_console(
        start_with: StartWith) -> None:
    vm = start_with('spice', 'vnc', **BOTH)
    vm.move_vnc(5999)
    os.kill(vm.pid, signal.SIGSTOP)
    try:
        found = only_vm(exit_status=1)
    finally:
        os.kill(vm.pid, signal.SIGCONT)
    assert (None, 'listener-unknown') in differences(found)
    assert {'address': '127.0.0.1', 'port': 5999, 'what': 'unknown'} in (
        found['other_listeners'])


def test_headless_vm_with_a_console_of_another_hook_is_a_difference(
        start: Start) -> None:
    """Its start was with 0.3.0, whose hook found nothing to do."""
    start(with_property(with_arguments(support.lab_domain(), '-vnc',
                                       '127.0.0.1:77'), 'tlsprofile',
                        'modern'))
    found = only_vm(exit_status=1)
    assert differences(found) == [('vnc', 'console-not-encrypted'),
                                  (None, 'property-not-applied')]
    assert 'has no console' in found['differences'][1]['text']
    assert consoles(found) == {('vnc', 5977): None}


def test_spice_of_another_hook_beside_a_policy_for_vnc_is_a_difference(
        start: Start, run_hook: RunHook) -> None:
    start(with_arguments(run_hook(support.lab_domain('vnc'),
                                  tlspriority=TLS13), '-spice',
                         'tls-port=6112,addr=127.0.0.1,disable-ticketing=on,'
                         'x509-dir=/etc/pki/vdsm/libvirt-spice'))
    found = only_vm(exit_status=1)
    assert differences(found) == [('spice', 'console-not-covered')]
    assert consoles(found)['spice', 6112] is None


@pytest.mark.parametrize('default', [False, True])
def test_profile_without_a_setting_is_named(
        start: Start, run_hook: RunHook, host_default: Write,
        default: bool) -> None:
    host_default('[profile a]\n' + (
        '[default]\ntlspriority = NORMAL:-VERS-ALL:+VERS-TLS1.3\n'
        if default else ''))
    start(with_property(run_hook(support.lab_domain('vnc')), 'tlsprofile',
                        'a'))
    found = only_vm(exit_status=1)
    assert differences(found) == [(None, 'property-not-applied')]
    assert 'this profile sets nothing in /etc/vdsm/tlsciphers.conf' in (
        found['differences'][0]['text'])
    assert len(found['settings']) == default


@pytest.mark.parametrize('is_socket', [False, True])
def test_console_without_a_port_is_named_and_no_difference(
        start: Start, run_hook: RunHook, is_socket: bool) -> None:
    place, listen = None, '<listen type="none"/>'
    if is_socket:
        folder = pathlib.Path(os.environ['LAB'], 'sockets')
        folder.mkdir()
        # The emulator's user makes it.
        folder.chmod(0o777)
        place = '%s/vnc' % folder
        listen = '<listen type="socket" socket="%s"/>' % place
    xml = support.lab_domain('spice', 'vnc').replace(
        '<graphics type="vnc" autoport="yes" websocket="-1"',
        '<graphics type="vnc"')
    before, vnc, after = xml.partition('<graphics type="vnc"')
    vm = start(run_hook(before + vnc + after.replace(
        '<listen type="address" address="127.0.0.1" />', listen, 1),
        tlsciphers=GOOD_CIPHERS))
    found = only_vm()
    assert (found['state'], found['statement']) == ('in force', 'effective')
    assert consoles(found) == {('spice', vm.tls_port): True,
                               ('vnc', place): None}
    text = run().stdout
    assert 'VNC   %s\n' % ('UNIX socket ' + place if place else
                           'no listener') in text
    assert 'not encrypted' not in text


def test_spice_without_a_port_is_named(start: Start, run_hook: RunHook,
                                       ) -> None:
    vm = start(run_hook(support.lab_domain('spice', 'vnc').replace(
        '<graphics type="spice" autoport="yes" defaultMode="secure"',
        '<graphics type="spice"').replace(
        '<listen type="address" address="127.0.0.1" />',
        '<listen type="none"/>', 1), tlspriority=TLS13))
    found = only_vm()
    assert found['statement'] == 'effective'
    assert consoles(found)['spice', None] is None
    assert consoles(found)['vnc', vm.vnc_port] is True
    assert 'SPICE no listener\n' in run().stdout


def test_other_listeners_are_listed_and_not_counted(
        start: Start, run_hook: RunHook,
        connection: libvirt.virConnect) -> None:
    vm = start(with_arguments(run_hook(support.lab_domain(
        'spice').replace('</devices>', """<serial type="tcp">
            <source mode="bind" host="127.0.0.1" service="6113"/>
            <protocol type="raw"/></serial></devices>"""),
        tlsciphers=GOOD_CIPHERS), '-gdb', 'tcp:127.0.0.1:6114'))
    found = only_vm()
    assert found['statement'] == 'effective'
    assert {(other['port'], other['what'])
            for other in found['other_listeners']} == {
                (6113, 'character device'), (6114, 'gdb')}
    # QEMU is not queried about what its arguments show.
    assert 'custom-monitor' not in vm.log
    ask(connection, vm, 'nbd-server-start', addr={
        'type': 'inet', 'data': {'host': '127.0.0.1', 'port': '6115'}})
    found = only_vm()
    assert found['statement'] == 'effective'
    assert {'address': '127.0.0.1', 'port': 6115, 'what': 'no console'} in (
        found['other_listeners'])
    assert 'other port 6115    no console\n' in run().stdout


def test_vms_that_hang_are_asked_side_by_side(start_with: StartWith) -> None:
    vms = [start_with('spice', 'vnc', name='vm%d' % number, **BOTH)
           for number in range(3)]
    other = start_with('vnc', name='well', **BOTH)
    for vm in vms:
        os.kill(vm.pid, signal.SIGSTOP)
    try:
        # Less than one after the other would take.
        process = subprocess.run(['vdsm-tlsciphers', 'status', '--json'],
                                 capture_output=True, timeout=14, check=True)
    finally:
        for vm in vms:
            os.kill(vm.pid, signal.SIGCONT)
    found = {vm['vm']: vm['statement']
             for vm in json.loads(process.stdout)['vms']}
    assert found == {'vm0': 'configured', 'vm1': 'configured',
                     'vm2': 'configured', other.name: 'effective'}


def test_consoles_of_another_network_are_not_proven(
        start_with: StartWith) -> None:
    """Another process may listen on their ports here."""
    start_with('spice', 'vnc', **BOTH)
    found = only_vm(enter=['unshare', '--net'])
    assert (found['state'], found['statement']) == ('in force', 'configured')
    assert {console['note'] for console in found['consoles']} == {
        'its emulator is in another network namespace [other-network]'}


def test_headless_vm_with_a_policy_is_not_without_one(
        start: Start, run_hook: RunHook) -> None:
    """The hook has passed it on, for consoles of other hooks."""
    start(run_hook(support.lab_domain(), tlsprofile='modern'))
    found = only_vm()
    assert (found['state'], found['statement'], found['consoles']) == (
        'in force', 'configured', [])


def test_without_handshakes_nobody_connects(start_with: StartWith) -> None:
    vm = start_with('spice', 'vnc', **BOTH)
    found = only_vm('--no-handshake')
    assert (found['state'], found['statement']) == ('in force', 'configured')
    assert {console['proof'] for console in found['consoles']} == {'none'}
    assert run('--no-handshake').stdout.startswith('lab: configured\n')
    assert 'SSL_accept' not in vm.log
    # That what is looked for is what it writes:
    assert only_vm()['statement'] == 'effective'
    assert 'SSL_accept' in vm.log


def test_handshakes_leave_connected_users_alone(
        start: Start, run_hook: RunHook, host_default: Write,
        connection: libvirt.virConnect, figure: support.Figure) -> None:
    """... also those with a SPICE port without TLS."""
    host_default('[default]\ntlsprofile = intermediate\n')
    vm = start(run_hook(support.lab_domain('spice', 'vnc').replace(
        'defaultMode="secure"', 'defaultMode="any"')))

    def connected() -> set[Any]:
        return {(client['connection-id'], client['port']) for client in ask(
            connection, vm, 'query-spice').get('channels', ())} | {
                client['service'] for client in ask(
                    connection, vm, 'query-vnc')['clients']}

    with clients.Viewer('spice', vm.tls_port) as on_spice, clients.Viewer(
            'vnc', vm.vnc_port) as on_vnc:
        before = connected()
        assert len(before) >= 5
        written = len(vm.log)
        for _ in range(5):
            only_vm(exit_status=1)
            assert before <= connected()
        figure('status: log of a VM after handshakes with SPICE (with and '
               'without TLS) and VNC, bytes', (len(vm.log) - written) // 5,
               '-')
        for viewer in (on_spice, on_vnc):
            assert viewer.process.poll() is None
            viewer.process.terminate()
            assert viewer.process.stdout
            said = viewer.process.stdout.read()
            assert 'closed' not in said
            assert 'error' not in said


# Sockets that survive, of a process that answers nobody.
LISTEN = """
import socket
def listen(count):
    ports = []
    for _ in range(count):
        server = socket.create_server(('127.0.0.1', 0))
        server.set_inheritable(True)
        sockets.append(server)
        ports.append(server.getsockname()[1])
    return ports
sockets = []
"""


@pytest.mark.parametrize('program, problem, codes', [
    ('listen(257)\npose([], {})', '[too-many-listeners]', []),
    ("pose([b'-vnc', b','.join([b'vnc=0:1'] * 5000)], {})",
     '[too-many-consoles]', []),
    ("ports = listen(100)\npose([b'-vnc', b'127.0.0.1:%%d,to=%%d' %% ("
     "min(ports) - 5900, max(ports) - min(ports))], {})",
     '[too-many-consoles]', []),
    # QEMU, which libvirt still reaches, has other consoles.
    ('listen(3)\npose([], {})', None, ['console-of-another-process']),
    ("port, = listen(1)\npose([b'-spice', b'tls-port=%%d' %% port], {})",
     None, ['value-missing', 'console-of-another-process']),
    ("port, = listen(1)\npose([b'-spice', b'tls-port=' + b'9' * 100000], {})",
     None, ['console-of-another-process']),
    ("port, = listen(1)\npose([b'-chardev', b'server' + b':%%d' %% port + "
     "b'9' * 100000], {})", None, ['console-of-another-process'])])
def test_emulator_that_was_taken_over_and_listens_does_no_harm(
        start_with: StartWith, program: str, problem: str | None,
        codes: list[str]) -> None:
    vm = start_with('spice', tlsciphers=GOOD_CIPHERS)
    with instead_of(vm, LISTEN + POSE + program):
        found = only_vm(exit_status=2 if problem else 1)
        assert (problem or '') in (found['problem'] or '')
        text = run()
    assert 'Traceback' not in text.stderr
    assert found['statement'] == ('unknown' if problem else 'different')
    if not problem:
        assert {code for _, code in differences(found)} == set(codes)


@pytest.mark.parametrize('arguments, enter, line', [
    (['nobody'], [], 'nobody: no VM with this name or UUID runs on this '
     'host; "virsh -r list" lists those that do [no-such-vm]'),
    ([], ['setpriv', '--reuid=65534', '--clear-groups'],
     'only root can read the command lines of emulators; run this as root '
     '[not-root]')])
def test_what_cannot_be_done_is_one_line(arguments: list[str],
                                         enter: list[str], line: str) -> None:
    process = run(*arguments, enter=enter)
    assert (process.returncode, process.stdout, process.stderr) == (
        2, '', 'vdsm-tlsciphers: %s\n' % line)


# The guard

GUARD = {'extra_cpu_flags': '-pcid,+vdsm-tls'}


def test_policies_without_a_guard_are_advice_and_no_difference(
        start: Start, run_hook: RunHook, host_default: Write) -> None:
    host_default('[default]\ntlsprofile = modern\n')
    modern = {'tlsprofile': 'modern'}
    for name, level, properties in (
            ('guarded', '4.7', {**modern, **GUARD}), ('bare', '4.7', modern),
            ('old', '4.5', modern), ('default', '4.7', {})):
        start(run_hook(of_engine(support.lab_domain('vnc', name=name), level,
                                 **properties), **properties))
    # Not the engine's.
    start(run_hook(support.lab_domain('vnc'), **modern))
    document = status()
    assert {vm['vm']: vm['guard'] for vm in document['vms']} == {
        'guarded': True, 'bare': False, 'old': False, 'default': False,
        'lab': None}
    text = run().stdout
    advice, = [line for line in text.splitlines() if '[no-guard]' in line]
    assert advice.startswith('Without a guard: bare: ')
    assert [line.split()[1] for line in text.splitlines()
            if line.startswith('  guard ')] == [
                'no', 'no', 'yes', 'unknown', 'no']


def test_vm_that_runs_in_spite_of_its_guard_is_a_difference(
        start: Start, run_hook: RunHook) -> None:
    properties = {'tlsciphers': GOOD_CIPHERS, **GUARD}
    both = support.lab_domain('spice', 'vnc')
    start(run_hook(without_guard(of_engine(both, **properties)),
                   **properties))
    found = only_vm(exit_status=1)
    assert ('vnc', 'guard-not-kept') in differences(found)
    assert 'spice' not in {display for display, _ in differences(found)}
    assert 'another hook removed it' in json.dumps(found)
    # One that has lost its policy as well.
    start(without_guard(of_engine(
        support.lab_domain('spice', 'vnc', name='lost'), '4.5', **GUARD)))
    found = only_vm('lost', exit_status=1)
    assert differences(found) == [('spice', 'guard-not-kept'),
                                  ('vnc', 'guard-not-kept')]
    for difference in found['differences']:
        assert 'no guard for cluster level 4.5' in difference['text']
        assert difference['severity'] == 'critical'
    assert (found['guard'], found['guard_requested']) == (False, True)


def test_property_that_was_not_applied_is_one_difference(
        start: Start) -> None:
    properties = {'tlsprofile': 'modern', **GUARD}
    start(without_guard(of_engine(support.lab_domain('spice', 'vnc'),
                                  **properties)))
    assert [code for _, code in differences(only_vm(exit_status=1))] == [
        'property-not-applied']
    # Of a property for one of the two, the other is still to be named.
    start(without_guard(of_engine(
        support.lab_domain('spice', 'vnc', name='half'), **GUARD,
        tlsciphers=GOOD_CIPHERS)))
    assert differences(only_vm('half', exit_status=1)) == [
        (None, 'property-not-applied'), ('vnc', 'guard-not-kept')]


@pytest.mark.parametrize('level, guard, words', [
    ('4.5', False, 'requested, but none at cluster levels below 4.6'),
    ('4.6', True, 'yes')])
def test_guard_at_a_level_for_which_the_engine_writes_none(
        start: Start, run_hook: RunHook, level: str, guard: bool,
        words: str) -> None:
    properties = {'tlsprofile': 'modern', **GUARD}
    xml = of_engine(support.lab_domain('spice', 'vnc'), level, **properties)
    start(run_hook(xml if guard else without_guard(xml), **properties))
    found = only_vm()
    assert (found['guard'], found['guard_requested']) == (guard, True)
    text = run().stdout
    assert '  guard        %s\n' % words in text
    assert '[no-guard]' not in text
    process = subprocess.run(
        ['vdsm-tlsciphers', 'check', '--json', '--vm', 'lab'],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)
    assert json.loads(process.stdout)['guard'] is guard
    assert ('[guard-missing]' in process.stdout) is not guard


def test_console_that_another_hook_has_added_is_told_of_a_guarded_vm(
        start: Start, run_hook: RunHook) -> None:
    properties = {'tlsciphers': GOOD_CIPHERS, **GUARD}
    start(with_arguments(run_hook(of_engine(
        support.lab_domain('spice'), **properties), **properties),
        '-vnc', '127.0.0.1:77'))
    found = only_vm(exit_status=1)
    text, = [item['text'] for item in found['differences']
             if item['code'] == 'guard-not-kept']
    assert text.endswith(': another hook added this console')
