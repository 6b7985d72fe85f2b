# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""
"scan --engine", by the one file that needs no installation, as a user who is
not root: real TLS servers for consoles, the real SDK, and a stand-in for the
engine, which has TLS.
"""

from __future__ import annotations

import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import zipfile
from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest

import builds
import engine as engines
import servers
import support
from engine import Item

GUARD = {'extra_cpu_flags': '+vdsm-tls'}
MODERN = ('-tls1_3', '-ciphersuites', 'TLS_AES_128_GCM_SHA256:'
          'TLS_AES_256_GCM_SHA384', '-groups', 'X25519:P-256')
NOBODY = ('setpriv', '--reuid=65534', '--regid=65534', '--clear-groups')
SCHEMA = json.loads((support.SOURCE / 'admin/schemas/scan.schema.json'
                     ).read_text())


class Desk:
    """
    Runs the program; environment (dict of str) is what it gets. engine
    (Engine), modern and default (ports (int) of servers).
    """

    def __init__(self, program: pathlib.Path, folder: pathlib.Path,
                 engine: engines.Engine, environment: dict[str, str],
                 modern: int, default: int) -> None:
        self.program = program
        self.folder = folder
        self.engine = engine
        self.environment = environment
        self.modern = modern
        self.default = default

    def scan(self, *arguments: str, status: int = 1,
             **changes: str | None) -> subprocess.CompletedProcess[str]:
        """
        Run "scan --engine" with these changes of the environment; the password
        must not be printed.
        """
        environment = {name: value for name, value in {
            **self.environment, **changes}.items() if value is not None}
        process: subprocess.CompletedProcess[str] = subprocess.run(
            [*NOBODY, '/usr/bin/python3', self.program, 'scan', *(
                arguments if '--engine' in arguments
                else ('--engine', *arguments))],
            env=environment, capture_output=True, text=True, cwd='/')
        assert process.returncode == status, process.stdout + process.stderr
        assert engines.Engine.password not in process.stdout + process.stderr
        return process

    def document(self, *arguments: str, status: int = 1) -> dict[str, Any]:
        """Return the document of "scan --engine --json"."""
        document: dict[str, Any] = json.loads(self.scan(
            '--json', *arguments, status=status).stdout)
        jsonschema.validate(document, SCHEMA)
        return document

    def line(self, *arguments: str, **changes: str | None) -> str:
        """Run it, which must fail; return its one line."""
        process = self.scan(*arguments, status=2, **changes)
        line, = process.stderr.splitlines()
        assert process.stdout == ''
        return line


@pytest.fixture(scope='session')
def certificates(tmp_path_factory: pytest.TempPathFactory,
                 ) -> tuple[pathlib.Path, pathlib.Path]:
    """Certificates of consoles, and of an engine."""
    folder = tmp_path_factory.mktemp('certificates')
    return (servers.make_certificate(folder, 'console'),
            servers.make_certificate(
                folder, 'engine', '-newkey', 'rsa:2048', '-addext',
                'subjectAltName=IP:127.0.0.1'))


@pytest.fixture
def folder() -> Iterator[pathlib.Path]:
    """A folder that every user may read, and where each may write."""
    with tempfile.TemporaryDirectory() as name:
        os.chmod(name, 0o777)
        yield pathlib.Path(name)


@pytest.fixture
def desk(built: builds.Build, certificates: tuple[pathlib.Path, pathlib.Path],
         folder: pathlib.Path) -> Iterator[Desk]:
    console, of_engine = certificates
    program = folder / 'vdsm-tlsciphers.pyz'
    shutil.copy(built.source / 'admin/vdsm-tlsciphers.pyz', program)
    authority = folder / 'ca.pem'
    shutil.copy('%s.pem' % of_engine, authority)
    with servers.openssl(console, *MODERN) as modern, \
            servers.openssl(console) as default, \
            engines.Engine().serve(of_engine) as engine:
        yield Desk(program, folder, engine, {
            'PATH': '/usr/bin:/bin', 'LC_ALL': 'C.UTF-8',
            'PYTHONPATH': os.environ.get('PYTHONPATH', ''),
            'OVIRT_URL': engine.url, 'OVIRT_USERNAME': 'admin@internal',
            'OVIRT_PASSWORD': engine.password,
            'OVIRT_CAFILE': str(authority)}, modern, default)


def spice(address: str, port: int) -> engines.Ports:
    return {'spice': (address, 0, port)}


@pytest.fixture
def center(desk: Desk) -> dict[str, Item]:
    """VMs, each in another state, by name."""
    engine = desk.engine
    cluster = engine.add_cluster('Default')
    old = engine.add_cluster('Old', (4, 5))
    node1, node2, node3 = (
        engine.add_host('node1', cluster),
        engine.add_host('node2', cluster, hook=False),
        engine.add_host('node3', old))
    vms = [
        engine.run_vm('effective', node1, spice('127.0.0.1', desk.modern),
                      tlsprofile='modern', **GUARD),
        engine.run_vm('no-hook', node2, spice('127.0.0.2', desk.default),
                      tlsprofile='modern', **GUARD),
        engine.run_vm('too-early', node1, spice('127.0.0.1', desk.default),
                      tlsciphers='ECDHE+AESGCM'),
        engine.run_vm('waits', node1, spice('127.0.0.3', desk.default)),
        engine.run_vm('hidden', node3, {'vnc': ('127.0.0.4', 1, 0)},
                      tlsprofile='modern'),
        engine.run_vm('site', node3, spice('127.0.0.4', desk.modern),
                      tlsprofile='site-2026'),
        engine.run_vm('headless', node3, {}),
        engine.add_vm('down', cluster, tlsprofile='modern')]
    by_name = {vm['name']: vm for vm in vms}
    by_name['waits']['next_run'] = {'tlsprofile': 'modern', **GUARD}
    return by_name


@pytest.fixture
def ready(desk: Desk, center: dict[str, Item]) -> dict[str, Item]:
    """The same VMs, after the package was installed on all hosts."""
    for host in desk.engine.hosts:
        host['hooks'] = desk.engine.hosts[0]['hooks']
    return center


def test_each_vm_is_assessed_against_its_own_property(
        desk: Desk, center: dict[str, Item]) -> None:
    document = desk.document()
    vms = {vm['vm']: vm for vm in document['vms']}
    assert {name: (vm['statement'], vm['code'])
            for name, vm in vms.items()} == {
        'effective': ('effective', None),
        'no-hook': ('different', 'vm-on-host-without-hook'),
        'too-early': ('different', 'vm-started-before-policy'),
        'waits': ('none', None), 'hidden': ('unknown', 'unreachable'),
        'site': ('unknown', 'unknown-profile'), 'headless': ('none', None)}
    assert vms['too-early']['reason'].endswith(
        ' (it started on 2026-11-01T08:00:00Z)')
    assert vms['waits']['next_start'] == {'tlsprofile': 'modern', **GUARD}
    assert document['policies'] == {
        'requested': 5, 'effective': 1, 'different': 2, 'unknown': 2,
        'waiting': 1, 'without_guard': 1}
    assert document['scope'] == {
        'search': '', 'vms': 7, 'down': 1, 'without_console': 1,
        'not_reached': 1}
    consoles = {console['vm']: console for console in document['consoles']}
    # What this machine cannot assess is no pass.
    assert document['summary']['passed'] == 1
    assert consoles['site']['findings'] == []
    assert document['summary']['partly_checked'] == 1
    assert (consoles['hidden']['host'], consoles['hidden']['cluster']) == (
        'node3', 'Old')
    # It asks, and changes nothing.
    assert desk.engine.changes == []


def test_findings_that_only_the_engine_shows(
        desk: Desk, center: dict[str, Item]) -> None:
    desk.engine.definitions['4.7'] = 'tlsprofile=.*'
    desk.engine.definitions['4.8'] = ''
    found = desk.document()['engine_findings']
    reasons = [finding['text'].partition(': ')[2] for finding in found
               if finding['code'] == 'vm-policy-unknown']
    assert sorted(reasons) == [
        'a console was not scanned: Connection refused [unreachable]',
        'tlsprofile: site-2026: no such profile [unknown-profile]']
    findings = {finding['code']: finding for finding in found
                if finding['code'] != 'vm-policy-unknown'}
    assert {code: (finding['hosts'], finding['vms'])
            for code, finding in findings.items()} == {
        'vm-on-host-without-hook': (['node2'], ['no-hook']),
        'vm-started-before-policy': (['node1'], ['too-early']),
        'vm-policy-waits': (['node1'], ['waits']),
        # Below cluster level 4.6 there is none.
        'vm-without-guard': (['node1'], ['too-early']),
        'host-without-hook': (['node2'], []),
        'property-undefined': ([], [])}
    assert findings['property-undefined']['text'] == (
        'cluster level 4.7 does not define tlsciphers, tlsprotocols, '
        'tlsgroups, tlspriority, and drops them from its VMs')


def test_a_visitor_without_any_policy_sees_consoles_alone(desk: Desk) -> None:
    engine = desk.engine
    engine.definitions = dict.fromkeys(engine.definitions, 'macspoof=.*')
    host = engine.add_host('node1', engine.add_cluster('Default'), hook=False)
    engine.run_vm('web', host, spice('127.0.0.1', desk.default))
    text = desk.scan().stdout
    assert 'Finding (engine' not in text
    assert re.search(r'\nDefault +node1 +no +1 +1 +0 +-\n', text)
    assert re.search(r'\nweb +spice +127.0.0.1:\d+ +TLSv1.2 \(\d+\)', text)
    assert 'Policies: 0 requested' in text


def test_exit_status_is_0_where_all_policies_are_effective(
        desk: Desk, ready: dict[str, Item]) -> None:
    text = desk.scan('--search', 'name=effective', status=0).stdout
    assert 'Policies: 1 requested: 1 effective' in text
    assert 'Scope: 1 VM run, 0 of them without a console; 0 down' in text


def test_console_that_the_policy_is_not_for_is_a_finding(
        desk: Desk, ready: dict[str, Item]) -> None:
    ready['effective'].update(properties={
        'tlsciphers': 'TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384', **GUARD
    }, consoles=('spice', 'vnc'))
    ready['effective']['ports']['vnc'] = '127.0.0.1', 1, 0
    document = desk.document('--search', 'name=effective', '--baseline',
                             'none')
    vm, = document['vms']
    assert vm['statement'] == 'effective'
    finding, = document['engine_findings']
    assert (finding['code'], finding['vms']) == ('console-not-covered',
                                                 ['effective'])


def test_console_without_a_port_is_not_proven(
        desk: Desk, ready: dict[str, Item]) -> None:
    """The engine says that the VM has one, and not where."""
    ready['effective']['ports']['vnc'] = '127.0.0.1', 0, 0
    vm, = desk.document('--search', 'name=effective')['vms']
    assert (vm['statement'], vm['code']) == ('unknown',
                                             'no-listening-console')


def test_vm_that_is_just_starting_is_not_without_a_console(
        desk: Desk, ready: dict[str, Item]) -> None:
    """The engine has no ports of it yet, and so no current console."""
    vm = ready['effective']
    vm.update(status='powering_up', ports={})
    document = desk.document('--search', 'name=effective')
    assert document['vms'][0]['statement'] == 'unknown'
    assert document['scope']['without_console'] == 0
    # Also where it has no policy.
    vm['properties'] = {}
    finding, = desk.document('--search', 'name=effective')['engine_findings']
    assert finding['code'] == 'no-listening-console'


@pytest.mark.parametrize('port', [0, -1, 65536])
def test_console_without_a_usable_port_is_a_finding(
        desk: Desk, ready: dict[str, Item], port: int) -> None:
    vm = ready['effective']
    vm['properties'] = {}
    vm['ports']['vnc'] = '127.0.0.1', port, 0
    finding, = desk.document('--search', 'name=effective')['engine_findings']
    assert finding['text'] == 'the engine names no port of the VNC console'


def test_port_that_two_vms_have_proves_nothing(
        desk: Desk, ready: dict[str, Item]) -> None:
    for name in 'effective', 'waits':
        ready[name].update(ports=spice('127.0.0.1', desk.modern),
                           tags=['here'])
    document = desk.document('--search', 'tag=here', status=2)
    assert {console['problem'] for console in document['consoles']} == {
        'the engine gives this port to several VMs'}
    assert document['policies']['effective'] == 0


def test_address_for_all_is_that_of_the_host(
        desk: Desk, ready: dict[str, Item]) -> None:
    """Else it would be that of the machine which scans."""
    ready['effective']['ports'] = spice('0.0.0.0', desk.modern)
    desk.engine.hosts[0]['address'] = '127.0.0.9'
    console, = desk.document('--search', 'name=effective',
                             status=0)['consoles']
    assert console['address'] == '127.0.0.9'


def test_next_start_that_cannot_be_read_is_no_success(
        desk: Desk, ready: dict[str, Item]) -> None:
    ready['effective']['next_run'] = {}
    desk.engine.hides_next_run = True
    assert desk.line('--search', 'name=effective').endswith(
        ' [engine-error]')


def test_vm_without_a_console_needs_no_policy(
        desk: Desk, ready: dict[str, Item]) -> None:
    ready['headless']['properties'] = {'tlsprofile': 'modern'}
    assert 'Policies: 0 requested' in desk.scan(
        '--search', 'name=headless', status=0).stdout


def test_vnc_without_encryption_is_the_reason(
        desk: Desk, ready: dict[str, Item]) -> None:
    def old_vnc(connection: socket.socket) -> None:
        connection.sendall(b'RFB 003.008\n')
        connection.recv(12)
        connection.sendall(b'\1\2')
        connection.recv(1)

    with servers.fake(old_vnc) as (_, port):
        ready['effective'].update(
            consoles=('vnc',), ports={'vnc': ('127.0.0.1', port, 0)})
        vm, = desk.document('--search', 'name=effective')['vms']
    assert (vm['statement'], vm['code']) == ('different',
                                             'vm-console-not-encrypted')


def test_number_of_waiting_vms_falls_with_each_reboot(
        desk: Desk, ready: dict[str, Item]) -> None:
    vm = ready['waits']
    options = '--search', 'name=waits', '--baseline', 'none'
    assert desk.document(*options)['policies']['waiting'] == 1
    # The engine starts it anew when the guest reboots.
    vm.update(properties=vm['next_run'], next_run=None,
              ports=spice('127.0.0.1', desk.modern))
    document = desk.document(*options, status=0)
    assert document['policies']['waiting'] == 0
    assert document['policies']['effective'] == 1
    assert document['engine_findings'] == []


def test_a_policy_that_is_being_removed_waits_as_well(
        desk: Desk, ready: dict[str, Item]) -> None:
    ready['effective']['next_run'] = {}
    document = desk.document('--search', 'name=effective')
    finding, = document['engine_findings']
    assert finding['text'].startswith('policy removed, which waits')
    # What else waits is no matter of this program.
    ready['effective']['next_run'] = dict(ready['effective']['properties'],
                                           macspoof='true')
    desk.scan('--search', 'name=effective', status=0)


def test_vm_that_moves_meanwhile_has_no_result(
        desk: Desk, ready: dict[str, Item]) -> None:
    """Its port may have become that of another VM."""
    vm, other = ready['effective'], ready['waits']
    host = desk.engine.hosts[1]

    def moves(connection: socket.socket) -> None:
        # When the scan has begun; it is slow to answer.
        other.update(host=host)
        if ready['down']['status'] == 'down':
            ready['down'].update(status='up', host=host, name='effective2')

    with servers.fake(moves) as (_, port):
        other['ports'] = spice('127.0.0.1', port)
        vm['tags'] = other['tags'] = ready['down']['tags'] = ['here']
        document = desk.document('--search', 'tag=here')
    consoles = {console['vm']: console for console in document['consoles']}
    assert consoles['effective']['state'] == 'scanned'
    assert consoles['waits']['state'] == 'incomplete'
    assert consoles['waits']['problem'].startswith('the VM moved, stopped or')
    assert 'vm-not-scanned' in {finding['code'] for finding
                                in document['engine_findings']}


def test_vms_come_in_pages(desk: Desk) -> None:
    cluster = desk.engine.add_cluster('Default')
    for number in range(1101):
        desk.engine.add_vm('vm%04d' % number, cluster)
    assert 'Scope: 0 VMs run, 0 of them without a console; 1,101 down' in (
        desk.scan(status=0).stdout)
    asked = [question for question in desk.engine.questions
             if '/vms?' in question]
    # Until a page has nothing new, and once more at the end.
    assert len(asked) == 8
    assert all('max=500' in question for question in asked)


def test_ports_are_asked_for_where_the_list_has_none(
        desk: Desk, ready: dict[str, Item]) -> None:
    desk.engine.follows_current = False
    document = desk.document('--search', 'name=effective', status=0)
    assert document['policies']['effective'] == 1
    assert any(re.search(r'/graphicsconsoles\?current=true$', question)
               for question in desk.engine.questions)


def test_desk_without_openssl_says_what_it_cannot_assess(
        desk: Desk, ready: dict[str, Item]) -> None:
    with zipfile.ZipFile(desk.program) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    module = 'tlsciphers_values.py'
    files[module] = files[module].replace(b"'/usr/bin/openssl'",
                                          b"'/nonexistent/openssl'")
    with zipfile.ZipFile(desk.program, 'w') as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    process = desk.scan('--json', '--search', 'name=effective', status=2)
    vm, = json.loads(process.stdout)['vms']
    assert (vm['statement'], vm['code']) == ('unknown', 'cannot-run')
    assert '/nonexistent/openssl cannot be run' in vm['reason']
    assert process.stderr.endswith('install openssl [cannot-run]\n')


def test_page_has_clusters_hosts_and_what_is_wrong(
        desk: Desk, center: dict[str, Item]) -> None:
    before = desk.folder / 'before.json'
    before.write_text(desk.scan('--json').stdout)
    center['no-hook']['ports'] = spice('127.0.0.2', desk.modern)
    page = desk.folder / 'all.html'
    desk.scan('--before', str(before), '--html', str(page))
    text = page.read_text()
    assert text.index('Default / node1') < text.index('Default / node2') < (
        text.index('Old / node3'))
    assert '2 of 5 policies effective' in text
    assert '[vm-started-before-policy]' in text
    assert '7 VMs that run, 1 of them without a console; 1 VM down' in text
    assert 'Same result as in the earlier scan.' in text
    assert re.search('Suites accepted: [0-9]+ earlier, 2 now', text)
    # The document can be reported with others, and has its hosts.
    process = subprocess.run(
        [desk.program, 'report', '--html', desk.folder / 'report.html',
         before], env=desk.environment, capture_output=True, text=True)
    assert process.returncode == 1, process.stderr
    report = (desk.folder / 'report.html').read_text()
    assert '[vm-started-before-policy]' not in report
    assert 'Old / node3' in report


@pytest.mark.parametrize('changes, words, code', [
    ({'OVIRT_URL': None}, '--engine: no address', 'engine-address'),
    ({'OVIRT_URL': 'http://engine'}, 'not the https:// address',
     'engine-address'),
    ({'OVIRT_URL': 'https://me:engine-secret@engine'},
     'https://...@engine: not the https:// address', 'engine-address'),
    ({'OVIRT_USERNAME': None}, 'OVIRT_USERNAME is not set', 'engine-login'),
    ({'OVIRT_PASSWORD': 'wrong'}, 'login rejected', 'engine-login'),
    ({'OVIRT_CAFILE': None}, 'certificate cannot be verified', 'engine-ca'),
    ({'OVIRT_CAFILE': '/nonexistent'}, '/nonexistent: this CA file cannot be '
     'read', 'engine-ca'),
    ({'OVIRT_CAFILE': '/dev/null'}, 'certificate cannot be verified',
     'engine-ca'),
    ({'OVIRT_URL': '127.0.0.1:1'}, 'cannot be reached', 'engine-unreachable'),
    ({'PYTHONPATH': None}, 'ovirtsdk4, which --engine needs', 'no-sdk')])
def test_one_line_says_why_the_engine_cannot_be_asked(
        desk: Desk, changes: dict[str, str | None], words: str,
        code: str) -> None:
    line = desk.line(**changes)
    assert words in line
    assert line.endswith(' [%s]' % code)


def test_certificate_of_another_engine_is_refused(
        desk: Desk, certificates: tuple[pathlib.Path, pathlib.Path]) -> None:
    """The login, with the password in it, is not sent there."""
    console, _ = certificates
    with engines.Engine().serve(console) as other:
        line = desk.line(OVIRT_URL=other.url)
        assert line.endswith(' [engine-ca]')
        assert other.questions == []


def test_what_is_no_engine_is_said_to_be_none(desk: Desk) -> None:
    line = desk.line(OVIRT_URL=desk.engine.url + '/nothing')
    assert line.endswith(' [engine-address]')


@pytest.mark.parametrize('options, code', [
    (('--search', 'name=nothing'), 'engine-no-vms'),
    (('--search', 'colour=red'), 'engine-error'),
    (('--engine', '', 'web'), 'engine-and-targets')])
def test_search_that_finds_nothing_is_no_success(
        desk: Desk, center: dict[str, Item], options: tuple[str, ...],
        code: str) -> None:
    assert desk.line(*options).endswith(' [%s]' % code)


def test_400_consoles_of_40_hosts(desk: Desk, figure: support.Figure) -> None:
    cluster = desk.engine.add_cluster('Default')
    for number in range(40):
        host = desk.engine.add_host('node%02d' % number, cluster)
        for vm in range(10):
            desk.engine.run_vm('vm%02d-%d' % (number, vm), host, spice(
                '127.0.%d.%d' % (vm + 1, number + 1), desk.modern),
                tlsprofile='modern', **GUARD)
    begin = time.monotonic()
    assert desk.document(status=0)['policies']['effective'] == 400
    figure('scan --engine: consoles a second, of 400',
           '%.0f' % (400 / (time.monotonic() - begin)), '-')


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGKILL])
def test_no_process_is_left_of_a_scan_that_is_ended(
        desk: Desk, number: signal.Signals) -> None:
    # Connections are made, and nobody answers.
    with socket.create_server(('0.0.0.0', 0), backlog=100) as silent:
        port = silent.getsockname()[1]
        for name in range(20):
            host = desk.engine.add_host('node%d' % name,
                                        desk.engine.add_cluster('Default'))
            desk.engine.run_vm('vm%d' % name, host, spice(
                '127.0.0.%d' % (name + 1), port))
        process = subprocess.Popen(
            ['/usr/bin/python3', desk.program, 'scan', '--engine'],
            env=desk.environment, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL)
        children = pathlib.Path('/proc/%d/task/%d/children' % (
            process.pid, process.pid))
        # On a machine with one processor it does all itself.
        processors = min(4, len(os.sched_getaffinity(0)))
        while processors > 1 and len(
                children.read_text().split()) < processors:
            assert process.poll() is None
        started = children.read_text().split()
        process.send_signal(number)
        process.wait(timeout=60)
        deadline = time.monotonic() + 60
        while any(os.path.exists('/proc/' + pid) for pid in started):
            assert time.monotonic() < deadline


def test_a_host_that_hides_its_ports_is_not_waited_for_on_each(
        desk: Desk) -> None:
    """Its ports do not answer, as behind a firewall that discards packets."""
    host = desk.engine.add_host('node1', desk.engine.add_cluster('Default'))
    with socket.socket() as full:
        # A queue that is full: Linux discards what is beyond.
        full.bind(('127.0.0.7', 0))
        full.listen(0)
        port = full.getsockname()[1]
        waiting = [socket.socket() for _ in range(4)]
        for each in waiting:
            each.setblocking(False)
            each.connect_ex(('127.0.0.7', port))
        for number in range(30):
            desk.engine.run_vm('vm%d' % number, host, spice(
                '127.0.0.7', port))
        line = desk.scan(status=2).stderr
        for each in waiting:
            each.close()
    assert line.endswith(' [unreachable]\n')
