# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""vdsm-tlsciphers scan and the consoles of real VMs."""

from __future__ import annotations

import json
import os
import pathlib
import signal
import subprocess
from typing import TYPE_CHECKING, Any

import jsonschema
import libvirt
import libvirt_qemu
import pytest

import clients
import support
import vencrypt

if TYPE_CHECKING:
    from conftest import VM, Host, RunHook, Start

SCHEMA = json.loads(
    (support.SOURCE / 'admin/schemas/scan.schema.json').read_text())
BOTH = support.lab_domain('spice', 'vnc')
DISPLAYS = ('spice', 'vnc', 'websocket')
# Bytes that the log of a VM may grow by with a scan of both its consoles.
LOG = 10000


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(['vdsm-tlsciphers', 'scan', *map(str, arguments)],
                          capture_output=True, text=True, timeout=60)


def scan(*arguments: str, status: int = 1) -> dict[str, Any]:
    """Return the consoles ({display: dict}) that a scan finds."""
    process = run('--json', *arguments)
    assert process.returncode == status, process.stderr
    document = json.loads(process.stdout)
    jsonschema.validate(document, SCHEMA)
    return {console['display']: console for console in document['consoles']}


def accepted(console: dict[str, Any]) -> set[tuple[str, str]]:
    return {(version, suite['suite'])
            for version, suites in console['protocols'].items()
            for suite in suites}


def ask(connection: libvirt.virConnect, vm: VM, command: str) -> Any:
    """Return the answer of a VM's QEMU to a command (str)."""
    return json.loads(libvirt_qemu.qemuMonitorCommand(
        connection.lookupByName(vm.name), command, 0))['return']


POLICIES = {
    'none': {},
    'intermediate': {'tlsprofile': 'intermediate'},
    'one group': {'tlsciphers': 'ECDHE+AES256', 'tlsgroups': 'P-384',
                  'tlspriority': 'NORMAL:-VERS-ALL:+VERS-TLS1.2'},
}
if 'X25519MLKEM768' in support.known_groups():
    POLICIES.update({
        'hybrid': {'tlsprofile': 'modern', 'tlsgroups': 'X25519MLKEM768'},
        'hybrid first': {'tlsprofile': 'intermediate',
                         'tlsgroups': 'X25519MLKEM768:X25519'}})


@pytest.mark.parametrize('properties', POLICIES.values(), ids=POLICIES)
def test_it_finds_what_handshakes_one_by_one_find(
        start: Start, run_hook: RunHook, properties: dict[str, str]) -> None:
    vm = start(run_hook(BOTH, **properties))
    consoles = scan(vm.name, status=int('tlsprofile' not in properties))
    assert tuple(consoles) == DISPLAYS
    with vencrypt.relay(vm.vnc_port) as vnc_port:
        ports = dict(zip(DISPLAYS, (vm.tls_port, vnc_port,
                                    vm.websocket_port)))
        for display, port in ports.items():
            console = consoles[display]
            assert console['state'] == 'scanned'
            assert accepted(console) == support.accepted(port)
            groups = support.accepted_groups(port)
            if 'TLSv1.2' in console['protocols']:
                groups |= support.accepted_groups(port, 'TLSv1.2')
            assert set(console['groups']) == groups
            assert not [finding for finding in console['findings']
                        if finding['against'] == 'policy']


def test_the_vms_of_the_host_are_scanned_and_those_that_comply_pass(
        start: Start, run_hook: RunHook) -> None:
    start(support.lab_domain('spice', 'vnc', name='plain'))
    start(run_hook(support.lab_domain('spice', 'vnc', name='modern'),
                   tlsprofile='modern'))
    process = run('--baseline', 'modern')
    assert process.returncode == 1
    assert process.stderr == ''
    results = {tuple(line.split()[:2]): line.split('  ')[-1].strip()
               for line in process.stdout.splitlines()[1:7]}
    assert {key: result == 'passed' for key, result in results.items()} == {
        (name, display): name == 'modern'
        for name in ('modern', 'plain') for display in DISPLAYS}
    assert '6 consoles: 3 passed, 3 with findings' in process.stdout


def test_the_document_names_vm_certificate_and_policy(
        connection: libvirt.virConnect, start: Start,
        run_hook: RunHook) -> None:
    vm = start(run_hook(BOTH, tlsprotocols='TLSv1.3'))
    consoles = scan(vm.name)
    fingerprint = subprocess.run(
        ['openssl', 'x509', '-noout', '-fingerprint', '-sha256', '-in',
         '/etc/pki/vdsm/libvirt-spice/server-cert.pem'], check=True,
        capture_output=True, text=True).stdout.partition('=')[2]
    for console in consoles.values():
        assert console['vm'] == 'lab'
        assert console['uuid'] == connection.lookupByName('lab').UUIDString()
        assert console['certificate']['subject'] == 'CN=localhost'
        assert console['certificate']['issuer'] == 'CN=lab CA'
        assert console['certificate']['key'] == 'RSA 2048'
        assert console['certificate']['sha256'] == (
            fingerprint.strip().replace(':', '').lower())
    assert consoles['spice']['policy'] == {
        'protocols': {'value': 'TLSv1.3', 'required': True}}
    assert consoles['vnc']['policy'] is None


def test_a_policy_that_is_not_in_force_is_a_finding(
        connection: libvirt.virConnect, start: Start,
        run_hook: RunHook) -> None:
    vm = start(run_hook(BOTH, tlsprofile='intermediate'))
    # QEMU lets it be changed, for new connections.
    ask(connection, vm, json.dumps({'execute': 'qom-set', 'arguments': {
        'path': '/objects/vnc-tls-creds0', 'property': 'priority',
        'value': 'NORMAL:-VERS-ALL:+VERS-TLS1.1:+VERS-TLS1.2'}}))
    consoles = scan(vm.name)
    assert consoles['spice']['findings'] == []
    against_policy = [finding['finding'] for finding in consoles['vnc'][
        'findings'] if finding['against'] == 'policy']
    assert against_policy[0].startswith('TLSv1.1 is accepted; ')
    assert against_policy[1].startswith('TLSv1.2 is accepted with DHE-RSA-')
    assert 'signature-algorithm' in [
        finding['code'] for finding in consoles['vnc']['findings']
        if finding['against'] == 'policy']


def test_a_port_tells_by_itself_what_it_is(start: Start) -> None:
    vm = start(BOTH)
    ports = (vm.tls_port, vm.vnc_port, vm.websocket_port)
    by_vm = scan(vm.name)
    document = json.loads(run('--json', *(
        '127.0.0.1:%d' % port for port in ports)).stdout)
    found = document['consoles']
    assert [console['display'] for console in found] == ['tls', 'vnc', 'tls']
    for console, display in zip(found, DISPLAYS):
        assert console['protocols'] == by_vm[display]['protocols']
        assert console['groups'] == by_vm[display]['groups']


def test_consoles_without_encryption_are_findings(
        start: Start, host_without_vnc_tls: Host) -> None:
    vm = start(support.lab_domain('vnc'), host_without_vnc_tls)
    vnc = scan('127.0.0.1:%d' % vm.vnc_port)['vnc']
    assert vnc['state'] == 'no TLS'
    assert vnc['problem'] == 'this VNC console is not encrypted'
    assert vnc['findings'][0]['finding'] == (
        'this VNC console is not encrypted; check Enable VNC Encryption in '
        'the engine (Compute > Clusters > Edit > Console) and reinstall the '
        'hosts [no-tls]')
    websocket = scan('127.0.0.1:%d' % vm.websocket_port)['tls']
    assert websocket['state'] == 'no TLS'
    assert websocket['problem'] == 'this port speaks HTTP without TLS'


def test_a_websocket_without_encryption_is_known_at_once(
        host_without_vnc_tls: Host, start: Start) -> None:
    # What only the VM's XML tells: the command asks another libvirt for it.
    vm = start(support.lab_domain('vnc'), host_without_vnc_tls)
    script = (
        'import sys; sys.path.insert(0, "/usr/share/vdsm-hook-tlsciphers"); '
        'from vdsm_tlsciphers.audit import scanner; '
        'from vdsm_tlsciphers.tls import probe; '
        'console = {}; '
        'target = scanner.Target("websocket", "127.0.0.1", %d); '
        'server = probe.ServerProbe("127.0.0.1", target.port, "websocket"); '
        'scanner.probe_port(server, target, console); '
        'print(*console.values(), server.connections)' % vm.websocket_port)
    said = subprocess.run(['/usr/bin/python3', '-Bc', script], check=True,
                          capture_output=True, text=True).stdout
    assert said == 'no TLS this port speaks HTTP without TLS 1\n'


def test_a_spice_port_beside_the_encrypted_one_is_a_finding(
        start: Start) -> None:
    vm = start(support.lab_domain('spice').replace(
        'defaultMode="secure"', 'defaultMode="any"'))
    document = json.loads(run('--json', vm.name).stdout)
    scanned, plaintext = document['consoles']
    assert (scanned['state'], plaintext['state']) == ('scanned', 'no TLS')
    assert {'main', 'display', 'inputs'} <= set(plaintext['open_channels'])
    finding, = plaintext['findings']
    assert (finding['code'], finding['severity']) == ('spice-plaintext',
                                                      'critical')
    assert 'main, display, inputs' in finding['text']
    # SPICE has its certificate, as the other port shows.
    assert 'certificate' not in finding['remedy']
    by_port, = json.loads(run('--json', '127.0.0.1:%d' % plaintext[
        'port']).stdout)['consoles']
    assert by_port['display'] == 'spice'
    assert by_port['open_channels'] == plaintext['open_channels']


def test_a_spice_port_where_every_channel_demands_tls_passes(
        start: Start) -> None:
    vm = start(support.lab_domain('spice').replace(
        'defaultMode="secure"', 'defaultMode="any"').replace('</domain>', """
        <qemu:commandline
            xmlns:qemu="http://libvirt.org/schemas/domain/qemu/1.0">
          <qemu:arg value="-spice"/><qemu:arg value="tls-channel=default"/>
        </qemu:commandline></domain>"""))
    process = run('--json', '--baseline', 'none', vm.name)
    assert process.returncode == 0, process.stdout
    document = json.loads(process.stdout)
    jsonschema.validate(document, SCHEMA)
    assert [(console['state'], console['open_channels'])
            for console in document['consoles']] == [
        ('scanned', None), ('TLS required', [])]
    assert 'TLS required' in run('--baseline', 'none', vm.name).stdout


def signs_with_sha1(port: int) -> bool:
    """Tell whether a port signs for a client that knows SHA-1 alone."""
    said = subprocess.run(
        ['openssl', 's_client', '-connect', '127.0.0.1:%d' % port, '-tls1_2',
         '-sigalgs', 'RSA+SHA1', '-cipher', 'ALL:@SECLEVEL=0'],
        stdin=subprocess.DEVNULL, capture_output=True, errors='replace',
        env={'PATH': '/usr/bin', 'OPENSSL_CONF': '/dev/null'}).stdout
    return 'Peer signing digest: SHA1' in said


@pytest.mark.parametrize('properties, accepted', [
    ({'tlsprofile': 'intermediate'}, False), ({}, True)])
def test_vnc_signs_with_sha1_only_without_a_policy(
        start: Start, run_hook: RunHook, properties: dict[str, str],
        accepted: bool) -> None:
    vm = start(run_hook(BOTH, **properties))
    consoles = scan(vm.name, status=int(accepted))
    with vencrypt.relay(vm.vnc_port) as vnc_port:
        assert signs_with_sha1(vnc_port) == accepted
    for display in 'vnc', 'websocket':
        assert ('RSA+SHA1' in consoles[display]['signatures']) == accepted
        assert ('sha1-signature' in [
            finding['code']
            for finding in consoles[display]['findings']]) == accepted
        assert 'RSA+SHA256' in consoles[display]['signatures']
        assert consoles[display]['extended_master_secret'] is True


def with_vnc(xml: str, address: str) -> str:
    """Return a domain XML to which another hook has added a VNC console."""
    return xml.replace('</domain>', """<qemu:commandline
        xmlns:qemu="http://libvirt.org/schemas/domain/qemu/1.0">
        <qemu:arg value="-vnc"/><qemu:arg value="%s"/></qemu:commandline>
        </domain>""" % address)


def test_a_console_that_is_not_in_the_domain_xml_is_scanned(
        start: Start) -> None:
    vm = start(with_vnc(support.lab_domain('spice'), '127.0.0.1:77'))
    document = json.loads(run('--json', vm.name).stdout)
    assert {console['port']: (console['display'], console['state'])
            for console in document['consoles']} == {
                vm.tls_port: ('spice', 'scanned'), 5977: ('vnc', 'no TLS')}
    # ... nor does a VM without any hide one.
    start(with_vnc(support.lab_domain(name='headless'), '127.0.0.1:78'))
    assert scan('headless')['vnc']['port'] == 5978
    assert len(json.loads(run('--json').stdout)['consoles']) == 3


def test_a_console_that_was_moved_live_is_scanned(start: Start) -> None:
    vm = start(support.lab_domain('vnc'))
    state = 'scanned' if vm.move_vnc(5999) else 'no TLS'
    console = scan(vm.name)['vnc']
    assert (console['port'], console['state']) == (5999, state)
    # A QEMU that hangs cannot tell, and that is reported.
    os.kill(vm.pid, signal.SIGSTOP)
    try:
        process = run(vm.name)
    finally:
        os.kill(vm.pid, signal.SIGCONT)
    assert process.returncode
    line = process.stderr.splitlines()[0]
    assert line.startswith('vdsm-tlsciphers: lab: port 5999 is not scanned: ')
    assert line.endswith(' [listener-unknown]')


def test_who_may_not_look_at_emulators_scans_what_the_xml_has(
        start: Start) -> None:
    """Root without that right stands for a user whom libvirt knows."""
    vm = start(support.lab_domain('spice', 'vnc'))
    process = subprocess.run(
        ['setpriv', '--bounding-set=-sys_ptrace', '--inh-caps=-sys_ptrace',
         'vdsm-tlsciphers', 'scan', '--json', vm.name], capture_output=True,
        text=True, timeout=60)
    document = json.loads(process.stdout)
    assert {console['port'] for console in document['consoles']} == {
        vm.tls_port, vm.vnc_port, vm.websocket_port}
    line, = process.stderr.splitlines()
    assert line.startswith('vdsm-tlsciphers: lab: ')
    assert line.endswith(' [ports-of-xml]')
    assert line.endswith(' [ports-of-xml]')


def connected(connection: libvirt.virConnect, vm: VM) -> set[Any]:
    """Return who is connected to a VM's consoles, as QEMU has it (set)."""
    found = {(client['connection-id'], client['port']) for client in ask(
        connection, vm, '{"execute": "query-spice"}').get('channels', ())}
    return found | {client['service'] for client in ask(
        connection, vm, '{"execute": "query-vnc"}')['clients']}


def test_users_who_are_connected_stay_so(connection: libvirt.virConnect,
                                         start: Start) -> None:
    vm = start(BOTH)
    with clients.Viewer('spice', vm.tls_port) as spice, clients.Viewer(
            'vnc', vm.vnc_port) as vnc:
        before = connected(connection, vm)
        # Four channels of SPICE at least, and one of VNC.
        assert len(before) >= 5
        for _ in range(5):
            scan(vm.name)
            # QEMU takes some time to forget those who have gone.
            assert before <= connected(connection, vm)
        for viewer in (spice, vnc):
            assert viewer.process.poll() is None
            viewer.process.terminate()
            assert viewer.process.stdout
            said = viewer.process.stdout.read()
            assert 'closed' not in said
            assert 'error' not in said


def test_a_scan_leaves_little_in_the_log_of_a_vm(
        start: Start, figure: support.Figure) -> None:
    vm = start(BOTH)
    before = vm.log
    scan(vm.name)
    written = vm.log[len(before):]
    assert 'SSL_accept failed' in written
    figure('log of a VM after a scan of SPICE and VNC, bytes', len(written),
           LOG)
    assert len(written) < LOG
    assert all('Spice' in line for line in written.splitlines())


def test_a_vm_that_is_not_there_is_one_line(
        connection: libvirt.virConnect) -> None:
    process = run('nobody')
    assert process.returncode == 2
    assert process.stdout == ''
    assert process.stderr == (
        'vdsm-tlsciphers: nobody: no VM of this host has this name or UUID; '
        '"virsh -r list --all" lists them, or give HOST:PORT '
        '[no-such-vm]\n')


def test_a_host_without_consoles_has_nothing_to_scan(
        connection: libvirt.virConnect) -> None:
    process = run()
    assert process.returncode == 0
    assert process.stdout == 'No VM with a console runs on this host.\n'


def test_a_host_without_consoles_has_no_page(
        connection: libvirt.virConnect, tmp_path: pathlib.Path) -> None:
    process = run('--html', str(tmp_path / 'page.html'))
    assert (process.returncode, process.stdout) == (2, '')
    assert process.stderr.endswith(' [no-consoles]\n')
    assert not list(tmp_path.iterdir())
