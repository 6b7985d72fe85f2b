# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""What vdsm-tlsciphers check promises, against what real consoles accept."""

from __future__ import annotations

import concurrent.futures
import contextlib
import json
import pathlib
import random
import re
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import libvirt
import pytest
import qmp

import support
from support import GOOD_CIPHERS, HOOK, SEED_CIPHERS, WRAPPER

if TYPE_CHECKING:
    from conftest import Create, Host, MakeHost, RunHook, Start, Write

BOTH = support.lab_domain('spice', 'vnc')
HYBRID = 'X25519MLKEM768'


def check(*arguments: str, host: Host | None = None) -> Any:
    """Return the document, on another Host where one is given."""
    answer = subprocess.run(
        [*on(host), 'vdsm-tlsciphers', 'check', '--json', *arguments],
        capture_output=True, text=True)
    document = json.loads(answer.stdout)
    # Never the status of a pass where there is something to say.
    assert answer.returncode or not any(
        vm['refused'] or vm['findings']
        for vm in document.get('vms', [document]))
    return document


def on(host: Host | None) -> list[str]:
    """Return what a command begins with to run on a Host."""
    return ['nsenter', '--mount', '--target', (
        host.root / 'pid').read_text().strip()] if host else []


def pairs(display: dict[str, Any]) -> set[tuple[str, str]]:
    return {(version, suite)
            for version, suites in display['protocols'].items()
            for suite in suites}


@pytest.mark.parametrize('properties', [
    {'tlsprofile': 'modern'}, {'tlsprofile': 'intermediate'},
    {'tlsciphers': SEED_CIPHERS, 'tlspriority': 'NORMAL'},
    {'tlsciphers': 'ALL:!aNULL:!eNULL:@SECLEVEL=0',
     'tlspriority': 'NORMAL:-VERS-ALL:+VERS-TLS1.1'},
    {'tlsciphers': GOOD_CIPHERS + ':TLS_AES_128_GCM_SHA256',
     'tlsgroups': 'P-384', 'tlspriority': 'SECURE256:%SERVER_PRECEDENCE'},
    {'tlsprotocols': 'TLSv1.2', 'tlspriority': 'PFS:-VERS-TLS1.3'},
    # TLS 1.2 has none of these groups.
    *({'tlsgroups': group, 'tlsprofile': profile}
      for group in ('ffdhe2048', 'X25519MLKEM768')
      for profile in ('modern', 'intermediate')
      if group in support.known_groups()),
    *({'tlsgroups': group, 'tlspriority': 'NORMAL'}
      for group in ('ffdhe2048', 'X25519MLKEM768', 'X25519MLKEM768:X25519')
      if set(group.split(':')) <= set(support.known_groups()))])
def test_consoles_accept_exactly_what_check_prints(
        start: Start, run_hook: RunHook, lab: Host,
        properties: dict[str, str]) -> None:
    promised = check(*map('='.join, properties.items()))
    vm = start(run_hook(BOTH, **properties))
    domain = lab.connection.lookupByName(vm.name)
    assert pairs(promised['displays']['spice']) == support.accepted(
        vm.tls_port)
    assert pairs(promised['displays']['vnc']) == support.accepted(
        support.console_port(domain, 'vnc', 'websocket'))
    # The same, of the VM that runs.
    of_vm = check('--vm', vm.name)
    for display in ('spice', 'vnc'):
        assert pairs(of_vm['displays'][display]) == pairs(
            promised['displays'][display])


WORDS = (
    'ALL COMPLEMENTOFALL DEFAULT COMPLEMENTOFDEFAULT HIGH MEDIUM LOW ECDHE '
    'EECDH kECDHE DHE EDH kDHE RSA kRSA aRSA ECDSA aECDSA DSS aDSS PSK SRP '
    'ADH aNULL eNULL AES AES128 AES256 AESGCM AESCCM AESCCM8 CHACHA20 '
    'CAMELLIA CAMELLIA256 ARIA ARIAGCM 3DES SEED SHA SHA1 SHA256 SHA384 MD5 '
    'TLSv1.2 TLSv1.0 SSLv3 NOSUCH').split()


def make_list(choice: random.Random) -> str:
    """Return a cipher list (str) that a random.Random makes up."""
    names = support.suites('ALL:COMPLEMENTOFALL')
    words = []
    for _ in range(choice.randint(1, 6)):
        word = choice.choice((choice.choice(WORDS), choice.choice(names)))
        if word in WORDS and choice.random() < 0.3:
            word += '+' + choice.choice(WORDS)
        words.append(choice.choice(['', '', '', '', '!', '-', '+']) + word)
    if choice.random() < 0.3:
        words.append('@STRENGTH')
    if choice.random() < 0.2:
        words.append('@SECLEVEL=%d' % choice.randint(0, 2))
    return ':'.join(words)


def what_a_list_does(number: int, folder: pathlib.Path) -> tuple[
        str, set[tuple[str, str]] | None, set[tuple[str, str]] | None]:
    """
    Return a made-up list, what "check" says that SPICE accepts, and what a
    SPICE port accepts, both None where the list is refused.
    """
    ciphers = make_list(random.Random(number))
    promised = check('tlsciphers=' + ciphers)['displays'].get('spice')
    port = 20000 + number
    try:
        with qmp.Emulator(WRAPPER, [
                '-spice', 'addr=127.0.0.1,disable-ticketing=on,tls-port=%d,'
                'x509-dir=/etc/pki/vdsm/libvirt-spice' % port,
                '-vdsm-tls', 'ciphers=' + ciphers], folder):
            found = support.sslscan_suites(
                support.sslscan(port, '--no-groups'))
    except qmp.Ended as refusal:
        assert str(refusal).startswith('qemu-kvm-modified: '), refusal
        found = None
    return ciphers, promised and pairs(promised), found


def test_spice_accepts_what_check_prints_for_each_made_up_list(
        tmp_path: pathlib.Path, soak: bool, figure: support.Figure) -> None:
    accepted = refused = 0
    numbers = iter(range(10000))
    with concurrent.futures.ThreadPoolExecutor(2) as executor:
        while accepted < (200 if soak else 8):
            for ciphers, promised, found in executor.map(
                    lambda number: what_a_list_does(number, tmp_path),
                    [next(numbers) for _ in range(10)]):
                assert promised == found, ciphers
                accepted += found is not None
                refused += found is None
    figure('made-up cipher lists whose suites on a SPICE port are not those '
           'that check prints (%d accepted, %d refused)'
           % (accepted, refused), 0, 0)


def test_each_running_vm_is_checked_and_the_worst_decides(
        start: Start, run_hook: RunHook) -> None:
    good = start(run_hook(BOTH, tlsprofile='modern'))
    process = subprocess.run(['vdsm-tlsciphers', 'check', '--running',
                              '--json'], capture_output=True, text=True)
    assert process.returncode == 0, process.stdout
    document, = json.loads(process.stdout)['vms']
    assert document['vm'] == good.name
    start(run_hook(support.lab_domain('spice', name='weak'),
                   tlsciphers=SEED_CIPHERS))
    process = subprocess.run(['vdsm-tlsciphers', 'check', '--running'],
                             capture_output=True, text=True)
    assert process.returncode == 1
    assert process.stdout.endswith(
        '\n2 running VMs: 0 refused at the next start, 1 with findings\n')


def test_port_that_libvirt_has_chosen_beside_that_with_tls_is_named(
        start: Start, run_hook: RunHook) -> None:
    xml = support.lab_domain('spice').replace(' defaultMode="secure"', '')
    for properties, found in (
            ({}, {'spice-plaintext', 'console-not-covered'}),
            ({'tlsprofile': 'modern'}, set())):
        vm = start(run_hook(xml, **properties))
        document = check('--vm', vm.name)
        assert codes(document) == found
        ports = {option[len('port='):] for option in vm.arguments[
            vm.arguments.index('-spice') + 1].split(',')
            if option.startswith('port=')}
        line, = [line for line in document['findings'] + document['notes']
                 if re.search(r'\[spice-(plaintext|tls-required)\]$', line)]
        assert 'port %s ' % ports.pop() in line
        vm.host.connection.lookupByName(vm.name).destroy()


@pytest.mark.parametrize('properties', [
    {'tlsprotocols': 'TLSv1.2',
     'tlsciphers': 'ECDHE-ECDSA-AES256-GCM-SHA384'},
    {'tlsprotocols': 'TLSv1.2:TLSv1.3',
     'tlsciphers': 'ECDHE+AESGCM:@SECLEVEL=3'},
    {'tlspriority': 'NORMAL:-VERS-ALL:+VERS-TLS1.2:-KX-ALL:+ECDHE-ECDSA'},
    {'tlspriority': 'NORMAL:-VERS-ALL:+VERS-TLS1.3:-CIPHER-ALL:'
     '+AES-128-CCM-8'}])
def test_console_that_lets_nobody_in_is_the_one_that_check_names(
        start: Start, run_hook: RunHook, lab: Host,
        properties: dict[str, str]) -> None:
    """And what it says of it holds for the real one."""
    details = check(*map('='.join, properties.items()))['details']
    assert 'no-client-can-connect' in {detail['code'] for detail in details}
    vm = start(run_hook(BOTH, **properties))
    port = vm.tls_port if 'tlsprotocols' in properties else vm.websocket_port
    for version in 'TLSv1.2', 'TLSv1.3':
        assert not support.handshake(port, version)


@pytest.mark.parametrize('profile, others', [
    ('modern', ''), ('intermediate', ':X25519')])
def test_hybrid_group_passes_where_openssl_knows_it(
        start: Start, run_hook: RunHook, profile: str, others: str) -> None:
    """As that of the hosts that have OpenSSL 3.5."""
    properties = {'tlsprofile': profile, 'tlsgroups': HYBRID + others}
    alone = check(*map('='.join, properties.items()))
    if HYBRID not in support.known_groups():
        assert alone['refusal']['code'] == 'unknown-group'
        return
    vm = start(run_hook(BOTH, **properties))
    for document in alone, check('--vm', vm.name):
        assert (document['refused'], document['findings']) == (None, [])
    scanned = subprocess.run(['vdsm-tlsciphers', 'scan', '--json', vm.name],
                             capture_output=True, text=True)
    assert scanned.returncode == 0
    assert [set(console['groups']) for console in json.loads(
        scanned.stdout)['consoles'] if console['display'] == 'spice'] == [
            set(properties['tlsgroups'].split(':'))]


# VMs that would not start, and consoles that are open


@contextlib.contextmanager
def turned(name: str, value: int,
           conf: pathlib.Path = pathlib.Path('/etc/libvirt/qemu.conf'),
           ) -> Iterator[None]:
    """Have libvirt's configuration of QEMU turn a setting on or off."""
    text = conf.read_text()
    conf.write_text(text + '%s = %d\n' % (name, value))
    try:
        yield
    finally:
        conf.write_text(text)


def codes(document: Any) -> set[str]:
    """Return the codes of the findings of a document."""
    return {detail['code'] for detail in document['details']}


@pytest.mark.parametrize('setting, xml', [
    ('vnc_tls', BOTH), ('spice_tls', BOTH),
    ('spice_tls', support.lab_domain('spice').replace(
        ' defaultMode="secure"', ''))], ids=['vnc', 'spice', 'any'])
def test_vm_that_would_not_start_again_is_refused_as_its_start_is(
        make_host: MakeHost, start: Start, run_hook: RunHook, setting: str,
        xml: str) -> None:
    xml = run_hook(xml, tlsprofile='modern')
    vm = start(xml)
    assert check('--vm', vm.name)['refused'] is None
    with turned(setting, 0):
        refused = check('--vm', vm.name)['refused']
        process = subprocess.run(['vdsm-tlsciphers', 'check', '--running'],
                                 capture_output=True, text=True)
    assert process.returncode == 1
    assert '1 running VM: 1 refused' in process.stdout
    with pytest.raises(libvirt.libvirtError) as error:
        start(xml.replace('>lab<', '>again<'),
              make_host(None, **{setting: '0'}))
    if refused.endswith(' [spice-tls-off]'):
        assert 'spice TLS is disabled in qemu.conf' in str(error.value)
    else:
        assert 'qemu-kvm-modified: ' + refused in str(error.value)


def test_console_without_encryption_is_a_finding(
        make_host: MakeHost, start: Start) -> None:
    host = make_host(vnc_tls='0')
    vm = start(support.lab_domain('vnc'), host)
    document, = check('--running', host=host)['vms']
    assert codes(document) == {'console-not-encrypted'}
    refusal = check('--vm', vm.name, 'tlsprofile=modern', host=host)['refusal']
    assert refusal['code'] == 'vnc-without-tls'
    # It is, from the next start on, and not yet.
    with turned('vnc_tls', 1, host.root / 'qemu.conf'):
        document = check('--vm', vm.name, 'tlsprofile=modern', host=host)
    assert document['refused'] is None
    assert codes(document) == {'console-not-encrypted'}


def test_vm_without_a_policy_does_not_pass(start: Start) -> None:
    vm = start(BOTH)
    document, = check('--running')['vms']
    assert codes(document) == {'console-not-covered'}
    assert len(document['details']) == 2
    # What would cover it is a try.
    assert codes(check('--vm', vm.name, 'tlsprofile=modern')) == set()


def test_default_that_came_after_the_start_of_a_vm_does_not_cover_it(
        start: Start, host_default: Write) -> None:
    vm = start(BOTH)
    host_default('[default]\ntlsprofile = modern\n')
    document = check('--vm', vm.name)
    assert [(detail['code'], detail['remedy'])
            for detail in document['details']] == [
        ('console-not-covered', 'shut the VM down and start it')] * 2


def test_default_of_the_host_has_no_channel_demand_tls(
        start: Start, run_hook: RunHook, host_default: Write) -> None:
    host_default('[default]\ntlsprofile = modern\n')
    xml = run_hook(support.lab_domain('spice').replace(
        ' defaultMode="secure"', ''))
    vm = start(xml)
    document = check('--vm', vm.name)
    assert codes(document) == {'spice-plaintext'}
    assert document['properties'] == {}
    assert {setting['required'] for setting in document['displays']['spice'][
        'policy'].values()} == {False}
    scanned = json.loads(subprocess.run(
        ['vdsm-tlsciphers', 'scan', '--json', vm.name], capture_output=True,
        text=True).stdout)['consoles']
    remedy, = [finding['remedy'] for console in scanned
               for finding in console['findings']
               if finding['code'] == 'spice-plaintext']
    assert 'set tlsprofile=' in remedy
    # Its next start is without it.
    host_default('')
    assert codes(check('--vm', vm.name)) == {'spice-plaintext',
                                             'console-not-covered'}


def test_channels_that_a_running_vm_has_open_are_named(
        start: Start, run_hook: RunHook) -> None:
    """An older version of the wrapper let them be, beside a policy."""
    older = pathlib.Path(support.EMULATOR).with_name('older')
    older.write_text('#!/bin/sh\nfor argument; do\nshift\n'
                     'case $argument in -vdsm-tls | *protocols*) ;;\n'
                     '*) set -- "$@" "$argument" ;; esac\ndone\n'
                     'exec %s "$@"\n' % support.QEMU_KVM)
    older.chmod(0o755)
    try:
        vm = start(run_hook(support.lab_domain('spice').replace(
            ' defaultMode="secure"', ''), tlsprotocols='TLSv1.3').replace(
                support.EMULATOR, str(older)))
        document = check('--vm', vm.name, '--baseline', 'none')
    finally:
        older.unlink()
    assert codes(document) == {'spice-plaintext'}
    assert document['details'][0]['remedy'].startswith(
        'shut the VM down and start it')


def test_spice_without_a_tls_port_is_no_port_beside_one(
        start: Start, run_hook: RunHook) -> None:
    xml = support.lab_domain('spice').replace(
        ' defaultMode="secure"', '').replace(
        'autoport="yes"', 'autoport="no" port="5990"')
    vm = start(xml)
    document = check('--vm', vm.name)
    assert codes(document) == {'console-not-encrypted'}
    refused = check('--vm', vm.name, 'tlsprofile=modern')['refused']
    with pytest.raises(libvirt.libvirtError) as error:
        start(run_hook(xml.replace('>lab<', '>other<').replace(
            '5990', '5991'), tlsprofile='modern'))
    assert 'qemu-kvm-modified: ' + refused in str(error.value)
    console, = json.loads(subprocess.run(
        ['vdsm-tlsciphers', 'scan', '--json', vm.name], capture_output=True,
        text=True).stdout)['consoles']
    assert console['code'] == 'no-tls-port'
    finding, = console['findings']
    assert 'spice_tls' in finding['remedy']
    assert 'tlsprofile' not in finding['remedy']


# VMs that do not run

VDSM_LOG = pathlib.Path('/var/log/vdsm/vdsm.log')
GUARD = {'extra_cpu_flags': '-pcid,+vdsm-tls'}
Vdsm = Callable[..., bool]


def of_engine(xml: str, properties: Mapping[str, str]) -> str:
    """
    Return a domain XML as the engine sends it: properties in the metadata,
    and the guard where extra_cpu_flags has it.
    """
    feature = ('<feature name="vdsm-tls" policy="require"/>'
               if '+vdsm-tls' in properties.get('extra_cpu_flags', '') else '')
    return xml.replace('<devices>', """<metadata>
        <ovirt-vm:vm xmlns:ovirt-vm="http://ovirt.org/vm/1.0">
        <ovirt-vm:custom>%s</ovirt-vm:custom></ovirt-vm:vm></metadata>
        <cpu mode="custom" match="minimum"><model>qemu64</model>%s</cpu>
        <devices>""" % (''.join(
            '<ovirt-vm:%s>%s</ovirt-vm:%s>' % (name, value, name)
            for name, value in properties.items()), feature), 1).replace(
                '</name>', '</name><uuid>%s</uuid>' % uuid.uuid4(), 1)


def record(text: str) -> None:
    now = time.time()
    with VDSM_LOG.open('a') as log:
        log.write('%s,%03d+0000 INFO  %s\n' % (
            time.strftime('%Y-%m-%d %H:%M:%S', time.gmtime(now)),
            now % 1 * 1000, text))


@pytest.fixture
def vdsm(lab: Host, create: Create, tmp_path: pathlib.Path) -> Iterator[Vdsm]:
    """
    Stands for vdsm: a function that starts a VM with properties, the hook's
    work included where vdsm would find it, and tells whether it runs. It
    writes to vdsm's log what vdsm writes there.
    """
    VDSM_LOG.parent.mkdir(exist_ok=True)

    def vdsm(xml: str, properties: Mapping[str, str]) -> bool:
        xml = of_engine(xml, properties)
        vm_id = xml.partition('<uuid>')[2].partition('<')[0]
        record('(jsonrpc/1) [api.virt] START create(vmParams=%r) from='
               '::1,42000, vmId=%s (api:48)' % (
                   {'xml': xml, 'vmId': vm_id}, vm_id))
        beginning = "(vm/%s) [virt.vm] (vmId='%s') " % (vm_id[:8], vm_id)
        domxml = tmp_path / 'domxml'
        domxml.write_text(xml)
        if pathlib.Path(HOOK).stat().st_mode & 0o100:
            process = subprocess.run(
                [HOOK], stderr=subprocess.PIPE,
                env=support.hook_environment(domxml, **properties))
            record('(vm/%s) [root] %s: rc=%d err=%r (hooks:114)' % (
                vm_id[:8], HOOK, process.returncode, process.stderr))
            if process.returncode:
                record('%sChanged state to Down: Hook Error: %r (code=1) '
                       '(vm:1712)' % (beginning, (process.stderr,)))
                return False
        record('%s%s (vm:2700)' % (beginning, domxml.read_text()))
        try:
            domain = create(lab, domxml.read_text())
        except libvirt.libvirtError as error:
            record('%sChanged state to Down: %s (code=1) (vm:1712)' % (
                beginning, error))
            return False
        domain.destroy()
        return True

    yield vdsm
    VDSM_LOG.unlink(missing_ok=True)


def changed(properties: Mapping[str, str],
            way: dict[str, Any]) -> dict[str, str]:
    """Return the properties that a VM has after a way to start it."""
    new = dict(properties)
    for change in way['changes']:
        assert new.pop(change['property'], None) == change['from']
        if change['to'] is not None:
            new[change['property']] = change['to']
    return new


@contextlib.contextmanager
def without_run_bit(hook: pathlib.Path) -> Iterator[None]:
    hook.chmod(0o644)
    try:
        yield
    finally:
        hook.chmod(0o755)


@contextlib.contextmanager
def replaced(hook: pathlib.Path) -> Iterator[None]:
    """Have a hook in its place that knows nothing of the guard."""
    # With its time, and where vdsm looks for no hooks.
    kept = hook.rename(hook.parent.with_name('kept'))
    hook.write_text('#!/bin/sh\n')
    hook.chmod(0o755)
    try:
        yield
    finally:
        kept.rename(hook)


@pytest.mark.parametrize('properties, code', [
    (GUARD, 'guard-uncovered'),
    ({**GUARD, 'tlsciphers': GOOD_CIPHERS}, 'guard-uncovered'),
    ({**GUARD, 'tlsprofile': 'none'}, 'guard-uncovered'),
    ({**GUARD, 'tlsprofile': 'modern', 'tlsgroups': 'no-such'},
     'unknown-group'),
    ({'tlsciphers': 'NULL', 'tlsprofile': 'modern'}, 'no-suite')])
def test_vm_that_the_hook_has_refused_starts_as_check_says(
        vdsm: Vdsm, properties: dict[str, str], code: str) -> None:
    xml = support.lab_domain('spice', 'vnc', name='web1')
    assert not vdsm(xml, properties)
    # Another one that runs is not mistaken for it.
    assert vdsm(support.lab_domain('vnc', name='web10'),
                {**GUARD, 'tlsprofile': 'modern'})
    document = check('--vm', 'web1')
    last = document['last_start']
    assert (last['by'], last['code'], last['stands']) == ('hook', code, True)
    assert document['refused'] == last['line']
    assert document['properties'] == properties
    assert document['start']['ways'][0]['open'] == []
    for way in document['start']['ways']:
        assert vdsm(xml, changed(properties, way)), way
    # Now its last start was none that was refused.
    assert check('--vm', 'web1')['last_start'] is None


@pytest.mark.parametrize('break_it', [without_run_bit, replaced])
def test_vm_whose_guard_was_not_removed_can_start_once_the_hook_runs(
        vdsm: Vdsm, break_it: Callable[
            [pathlib.Path], contextlib.AbstractContextManager[None]]) -> None:
    properties = {**GUARD, 'tlsprofile': 'modern'}
    xml = support.lab_domain('spice', 'vnc', name='web1')
    with break_it(pathlib.Path(HOOK)):
        assert not vdsm(xml, properties)
        document = check('--vm', 'web1')
        assert (document['last_start']['by'], document['last_start']['code'],
                document['last_start']['stands']) == (
                    'libvirt', 'guard-not-removed', True)
        assert document['start']['other_host']
        way, = document['start']['ways']
        assert [change['property'] for change in way['changes']
                ] == ['extra_cpu_flags']
        # Without its guard it starts here, and without its policy.
        assert (way['open'], way['guard']) == (['spice', 'vnc'], False)
        assert vdsm(xml, changed(properties, way))
        assert not vdsm(xml, properties)
    process = subprocess.run(['vdsm-tlsciphers', 'check', '--vm', 'web1'],
                             capture_output=True, text=True)
    assert process.returncode == 0, process.stdout
    assert 'Now: the cause is gone; start it\n' in process.stdout
    assert vdsm(xml, properties)


def test_vm_that_the_wrapper_has_refused_is_explained(vdsm: Vdsm) -> None:
    properties = {**GUARD, 'tlsprofile': 'modern'}
    xml = support.lab_domain('spice', name='web1').replace(
        '</domain>', """<qemu:commandline
        xmlns:qemu="http://libvirt.org/schemas/domain/qemu/1.0">
        <qemu:arg value="-spice"/><qemu:arg value="plaintext-channel=main"/>
        </qemu:commandline></domain>""")
    assert not vdsm(xml, properties)
    way, = check('--vm', 'web1')['start']['ways']
    for only_of_libvirt in False, True:
        if only_of_libvirt:
            VDSM_LOG.unlink()
        document = check('--vm', 'web1')
        assert document['start']['ways'] == ([] if only_of_libvirt else [way])
        assert document['start']['host'] == (
            'remove plaintext-channel from -spice')
        last = document['last_start']
        assert (last['by'], last['code'], last['stands']) == (
            'wrapper', 'spice-channels', None)
        assert last['line'].startswith('qemu-kvm-modified: ')
        assert subprocess.run(
            ['vdsm-tlsciphers', 'check', '--vm', 'web1'],
            stdout=subprocess.DEVNULL).returncode == 1
    assert document['displays'] == {}
    assert way['open'] == ['spice']
    assert vdsm(xml, changed(properties, way))


def test_vm_whose_qemu_itself_has_failed_keeps_its_policy_and_guard(
        vdsm: Vdsm) -> None:
    xml = support.lab_domain('spice', 'vnc', name='web1').replace(
        '</domain>', """<qemu:commandline
        xmlns:qemu="http://libvirt.org/schemas/domain/qemu/1.0">
        <qemu:arg value="-nosuchoption"/></qemu:commandline></domain>""")
    assert not vdsm(xml, {**GUARD, 'tlsprofile': 'intermediate'})
    for only_of_libvirt in False, True:
        if only_of_libvirt:
            VDSM_LOG.unlink()
        document = check('--vm', 'web1', 'tlsprofile=intermediate',
                         'extra_cpu_flags=+vdsm-tls')
        last = document['last_start']
        assert (last['by'], last['applied']) == ('other', True)
        assert last['line'].endswith('-nosuchoption: invalid option')
        assert document['start'] is None


def test_vm_that_was_destroyed_had_a_start_that_was_not_refused(
        vdsm: Vdsm) -> None:
    assert vdsm(support.lab_domain('spice', 'vnc', name='web1'),
                {**GUARD, 'tlsprofile': 'modern'})
    assert [note for note in check('--vm', 'web1')['notes']
            if note.endswith('it ended: destroyed) [start-not-refused]')]
    VDSM_LOG.unlink()
    process = subprocess.run(['vdsm-tlsciphers', 'check', '--vm', 'web1'],
                             capture_output=True, text=True)
    assert process.returncode == 2
    assert process.stderr.endswith(' [start-not-refused]\n')
    assert check('--vm', 'web1', 'tlsprofile=modern')['refused'] is None


def test_vm_starts_with_its_guard_where_its_vnc_console_is_not_encrypted(
        make_host: MakeHost, start: Start, run_hook: RunHook) -> None:
    host = make_host(vnc_tls='0')
    properties = {**GUARD, 'tlsprofile': 'modern'}
    vm = start(BOTH, host)
    given = list(map('='.join, properties.items()))
    remedy = check('--vm', vm.name, *given, host=host)['start']
    assert (remedy['other_host'], remedy['consoles'],
            remedy['headless']) == (True, ['spice'], True)
    assert 'remove the propert' not in remedy['host']
    way, = remedy['ways']
    assert (way['open'], way['unencrypted'], way['guard']) == (
        ['spice', 'vnc'], ['vnc'], False)
    # Safe ways first, and the worst said.
    text = subprocess.run(
        [*on(host), 'vdsm-tlsciphers', 'check', '--vm', vm.name, *given],
        capture_output=True, text=True).stdout
    order = [text.index(words) for words in (
        'on another host', 'Console > SPICE', 'Console > Headless Mode',
        '(remove it)', 'VNC is then not encrypted')]
    assert order == sorted(order)
    # All as it says.
    for displays in (('spice', 'vnc'), ('spice',), ()):
        xml = run_hook(of_engine(support.lab_domain(
            *displays, name='with-%d' % len(displays)), properties),
            **properties)
        if displays == ('spice', 'vnc'):
            with pytest.raises(libvirt.libvirtError):
                start(xml, host)
        else:
            start(xml, host)


@contextlib.contextmanager
def moved(path: pathlib.Path) -> Iterator[None]:
    other = path.rename(path.with_name('moved'))
    try:
        yield
    finally:
        other.rename(path)


@pytest.mark.parametrize('break_it, path', [
    (without_run_bit, HOOK), (replaced, HOOK), (moved, support.WRAPPER)])
def test_host_with_a_broken_hook_or_wrapper_passes_no_vm(
        start: Start, run_hook: RunHook, break_it: Callable[
            [pathlib.Path], contextlib.AbstractContextManager[None]],
        path: str) -> None:
    properties = {**GUARD, 'tlsprofile': 'modern'}
    vm = start(run_hook(of_engine(BOTH, properties), **properties))
    assert check('--vm', vm.name)['refused'] is None
    with break_it(pathlib.Path(path)):
        document = check('--vm', vm.name)
        assert document['refusal']['code'] == 'host-not-in-order'
        assert document['start']['other_host']
        way, = document['start']['ways']
        assert (way['open'], way['guard']) == (['spice', 'vnc'], False)
        # Refused for its own properties as well, it does not start headless.
        uncovered = check('--vm', vm.name, GOOD_CIPHERS)
        assert uncovered['refusal']['code'] == 'guard-uncovered'
        assert 'host-not-in-order' in codes(uncovered)
        assert uncovered['start']['headless'] is False
        running, = check('--running')['vms']
        assert running['refused'] == document['refused']
        unguarded = check('--vm', vm.name, 'tlsprofile=modern',
                          'extra_cpu_flags=')
        assert 'host-not-in-order' in codes(unguarded) | {
            (unguarded['refusal'] or {}).get('code')}
        # A VM that requests nothing does not need them.
        assert 'host-not-in-order' not in codes(check(
            '--vm', vm.name, 'tlsprofile=none', 'extra_cpu_flags='))
        answer = subprocess.run(['vdsm-tlsciphers', 'doctor', '--json'],
                                stdout=subprocess.PIPE, text=True)
        line, = [line for line in json.loads(answer.stdout)['checks']
                 if line['check'] == 'running VMs']
        assert line['state'] == 'warning'
        assert line['remedy'].startswith('see "')


def test_domain_that_vdsm_has_not_filled_yet_is_looked_for_in_the_log(
        vdsm: Vdsm, lab: Host) -> None:
    assert not vdsm(support.lab_domain('spice', 'vnc', name='web1'), GUARD)
    domain = lab.connection.defineXML(
        '<domain type="qemu"><name>web1</name><uuid>%s</uuid><memory>1024'
        '</memory><os><type>hvm</type></os></domain>'
        % VDSM_LOG.read_text().partition('<uuid>')[2].partition('<')[0])
    with contextlib.ExitStack() as stack:
        stack.callback(domain.undefine)
        document = check('--vm', 'web1')
    assert document['refused'].endswith(' [guard-uncovered]')
    assert document['properties'] == GUARD


def test_vm_of_which_nothing_is_known_is_one_line(lab: Host) -> None:
    process = subprocess.run(['vdsm-tlsciphers', 'check', '--vm', 'nosuch'],
                             capture_output=True, text=True)
    assert (process.returncode, process.stdout) == (2, '')
    line, = process.stderr.splitlines()
    assert line.endswith(' [no-such-vm]')
    assert '/var/log/libvirt/qemu/nosuch.log: cannot be read' in line


def test_guard_of_a_running_vm_counts_for_its_next_start(
        start: Start, run_hook: RunHook) -> None:
    properties = {**GUARD, 'tlsprofile': 'modern'}
    vm = start(run_hook(of_engine(BOTH, properties), **properties))
    document = check('--vm', vm.name)
    assert (document['properties'], document['refused'], document['guard'],
            document['last_start']) == (properties, None, True, None)
    assert check('--vm', vm.name, GOOD_CIPHERS)['refused'].endswith(
        ' [guard-uncovered]')
