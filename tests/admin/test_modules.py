# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""Modules of the command, one at a time, without a host or a server."""

from __future__ import annotations

import collections
import importlib
import itertools
import os
import signal
import subprocess
import sys
import threading
import time
import types
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import servers
import support

Load = Callable[[str], types.ModuleType]
XML = """<domain xmlns:v="http://ovirt.org/vm/1.0">
<name>a</name><uuid>b</uuid><metadata><v:vm>
<v:clusterVersion>%s</v:clusterVersion><v:custom>%s</v:custom>
</v:vm></metadata><devices>%s</devices></domain>"""
GRAPHICS = ('<graphics type="spice" port="5902" tlsPort="5903" '
            'listen="0.0.0.0"><channel name="main" mode="secure"/></graphics>'
            '<graphics type="vnc" port="5904" websocket="-1"/>')


@pytest.fixture(scope='module')
def load(make_installation: support.MakeInstallation) -> Iterator[Load]:
    """A function that imports a module of the installed command."""
    folder = str(make_installation(
        support.available_pythons()[-1]).module.parent)

    def forget() -> None:
        for name in list(sys.modules):
            if 'tlsciphers' in name:
                del sys.modules[name]

    forget()
    sys.path.insert(0, folder)
    sys.dont_write_bytecode = True
    yield lambda name: importlib.import_module('vdsm_tlsciphers.' + name)
    sys.path.remove(folder)
    forget()


# tls/cipher_suites.py


@pytest.mark.parametrize('name, version, bits, strength', [
    ('ECDHE-RSA-AES256-GCM-SHA384', 'TLSv1.2', None, 'strong'),
    ('TLS_AES_128_GCM_SHA256', 'TLSv1.3', None, 'strong'),
    ('ECDHE-RSA-AES128-SHA', 'TLSv1.2', None, 'acceptable'),
    ('DHE-RSA-AES128-GCM-SHA256', 'TLSv1.2', 2048, 'acceptable'),
    ('DHE-RSA-AES128-GCM-SHA256', 'TLSv1.2', 1024, 'weak'),
    ('ECDHE-RSA-AES128-SHA', 'TLSv1', None, 'weak'),
    ('AES256-GCM-SHA384', 'TLSv1.2', None, 'weak'),
    ('DES-CBC3-SHA', 'TLSv1.2', None, 'weak'),
    ('ADH-AES128-SHA', 'TLSv1.2', None, 'broken'),
    ('NULL-SHA', 'TLSv1.2', None, 'broken'),
    ('ECDHE-RSA-AES128-SHA', 'SSLv3', None, 'broken')])
def test_strength_of_a_suite(load: Load, name: str, version: str,
                             bits: int | None, strength: str) -> None:
    suites = load('tls.cipher_suites')
    assert suites.strength(suites.CODES[name], version, bits) == strength


def test_parts_of_suites_hold_each_once(load: Load) -> None:
    suites = load('tls.cipher_suites')
    parts = suites.by_kind(suites.NAMES)
    assert sorted(itertools.chain(*parts)) == sorted(suites.NAMES)
    assert len(parts) < 8


@pytest.mark.parametrize('name, exchange', [
    ('ECDHE-RSA-AES128-SHA', 'ECDHE'), ('AES128-SHA', 'RSA'),
    ('ADH-AES128-SHA', 'anonymous DHE'), ('DHE-PSK-NULL-SHA', 'DHE-PSK'),
    ('TLS_AES_128_GCM_SHA256', 'any')])
def test_key_exchange_of_a_suite(load: Load, name: str,
                                 exchange: str) -> None:
    suites = load('tls.cipher_suites')
    assert suites.key_exchange(suites.CODES[name]) == exchange


# tls/libraries.py

TLS13 = ['TLS_AES_128_GCM_SHA256']


def test_suites_that_a_console_cannot_use_are_left_out(load: Load) -> None:
    libraries = load('tls.libraries')
    found = libraries.spice_suites({
        'ciphers': 'ECDHE-RSA-AES128-GCM-SHA256:DHE-RSA-AES128-GCM-SHA256:'
        'ECDHE-ECDSA-AES128-GCM-SHA256', 'protocols': 'TLSv1.2'})
    assert found == {'TLSv1.2': ['ECDHE-RSA-AES128-GCM-SHA256']}
    versions, groups = libraries.vnc_suites(
        'NORMAL:-VERS-ALL:+VERS-TLS1.2:-GROUP-ALL:+GROUP-SECP384R1')
    assert list(versions) == ['TLSv1.2']
    assert groups == ['SECP384R1']
    assert not [name for name in versions['TLSv1.2'] if 'ECDSA' in name]


@pytest.mark.parametrize('groups, expected', [
    ('X25519MLKEM768', {'TLSv1.2': ['AES128-SHA'], 'TLSv1.3': TLS13}),
    ('ffdhe2048', {'TLSv1.2': ['AES128-SHA'], 'TLSv1.3': TLS13}),
    ('X25519MLKEM768:X25519', {
        'TLSv1.2': ['ECDHE-RSA-AES128-SHA', 'AES128-SHA'], 'TLSv1.3': TLS13}),
    ('sect283k1', {'TLSv1.2': ['ECDHE-RSA-AES128-SHA', 'AES128-SHA']})])
def test_suites_for_which_there_is_no_group_are_left_out(
        load: Load, groups: str, expected: dict[str, list[str]]) -> None:
    assert load('tls.libraries').spice_suites({
        'ciphers': 'ECDHE-RSA-AES128-SHA:AES128-SHA', 'groups': groups,
        'protocols': 'TLSv1.2:TLSv1.3', 'ciphersuites': ':'.join(TLS13),
        }) == expected


def test_priority_that_is_rejected_has_no_versions(load: Load) -> None:
    assert load('tls.libraries').list_priority('NORMAL:+FOO') == ([], [], [])


def test_client_without_a_suite_is_an_error(load: Load) -> None:
    libraries = load('tls.libraries')
    with pytest.raises(Exception, match=r'\[no-client-suite\]$'):
        libraries.spice_client_suites('NO-SUCH')


# host/wrapper.py


def test_notes_of_the_wrapper_are_kept_while_arguments_are_read(
        load: Load) -> None:
    wrapper = load('host.wrapper')
    notes: list[tuple[str, str]] = []
    with wrapper.noting(lambda *note: notes.append(note)):
        wrapper.load().note('a', 'b')
        wrapper.load().note('c', 'd')
    wrapper.load().note('e', 'f')
    assert notes == [('a', 'b'), ('c', 'd')]


# host/checks.py


@pytest.mark.parametrize('code, state', [
    ('running-vms', 'warning'), ('no-running-vms', 'ok')])
def test_broken_hook_leaves_open_whether_running_vms_would_start(
        load: Load, code: str, state: str) -> None:
    finding = load('host.finding')
    found = load('host.checks').without_claims([
        finding.Finding('hook', finding.FAILED, 'x', 'y', 'hook'),
        finding.Finding('running VMs', finding.OK, 'z', '', code)])
    assert found[1].state == state
    assert load('host.setting_checks').NO_VMS == 'no-running-vms'


def test_label_that_the_host_sets_is_not_repaired(load: Load) -> None:
    finding = load('host.finding')
    assert load('host.checks').fix([finding.Finding(
        'labels', finding.FAILED, 'x', finding.FIX, 'label-in-policy')]) == []


# host/qemu_conf.py


@pytest.mark.parametrize('line, value', [
    ('user = "qemu"', 'qemu'), ("user='a b'  # c", 'a b'), ('user = 1#', '1'),
    ('  user=""', ''), ('#user = "qemu"', None), ('users = "x"', None),
    ('user = "a"\nuser = "b"', 'b'), ('user =\nvnc_tls = 1', '')])
def test_setting_of_libvirt_is_read(load: Load, line: str,
                                    value: str | None) -> None:
    assert load('host.qemu_conf').value(line + '\n', 'user') == value


# tls/certificate.py


def test_certificate_is_described(load: Load,
                                  certificate: object) -> None:
    module = load('tls.certificate')
    der = subprocess.run(
        ['openssl', 'x509', '-in', '%s.pem' % certificate, '-outform', 'DER'],
        check=True, capture_output=True).stdout
    found = module.describe(der)
    assert found['key'] == 'RSA 2048'
    assert len(found['sha256']) == 64
    assert module.flaws(found, [found['not_before']]) == []
    with pytest.raises(Exception, match=r'\[certificate-unreadable\]$'):
        module.describe(b'x')


@pytest.fixture(scope='module')
def certificate(tmp_path_factory: pytest.TempPathFactory) -> object:
    return servers.make_certificate(tmp_path_factory.mktemp('certificate'),
                                    'server')


@pytest.mark.parametrize('change, codes', [
    ({}, []), ({'key': 'RSA 1024'}, ['certificate-key']),
    ({'key': 'id-ecPublicKey 192'}, ['certificate-key']),
    ({'signature': 'sha1WithRSAEncryption'}, ['certificate-signature']),
    ({'signature': 'RSA-SHA1'}, ['certificate-signature']),
    ({'not_after': '2026-01-01T00:00:00Z'}, ['certificate-expired']),
    ({'not_before': '2026-12-31T00:00:00Z'}, ['certificate-not-yet-valid'])])
def test_flaws_of_a_certificate_have_codes(
        load: Load, change: dict[str, str], codes: list[str]) -> None:
    given = {'key': 'RSA 2048', 'signature': 'sha256WithRSAEncryption',
             'not_before': '2026-01-01T00:00:00Z',
             'not_after': '2027-01-01T00:00:00Z', **change}
    found = load('tls.certificate').flaws(given, ['2026-11-28T00:00:00Z'])
    assert [code for code, _ in found] == codes


# host/domains.py


def test_vm_has_its_properties_and_consoles(load: Load) -> None:
    domains = load('host.domains')
    vm = domains.VM(XML % ('4.7', '<v:tlsprofile>modern</v:tlsprofile>'
                           '<v:other>x</v:other>', GRAPHICS))
    assert (vm.name, vm.uuid, vm.cluster_level) == ('a', 'b', (4, 7))
    assert vm.properties == vm.wanted == {'tlsprofile': 'modern'}
    assert [tuple(console) for console in vm.consoles] == [
        ('spice', '127.0.0.1', 5903), ('vnc', '127.0.0.1', 5904)]
    assert [console.port for console in vm.unencrypted] == [5902]
    (port, modes), = domains.plaintext_ports(vm)
    assert (port, modes) == (5902, {'': 'any', 'main': 'secure'})


@pytest.mark.parametrize('level, flags, guard', [
    ('4.7', '+vdsm-tls', True), ('4.5', '+vdsm-tls', False),
    ('4.7', '+vmx', False), ('4.10', '-x,+vdsm-tls', True)])
def test_guard_needs_its_cluster_level(load: Load, level: str, flags: str,
                                       guard: bool) -> None:
    vm = load('host.domains').VM(XML % (
        level, '<v:extra_cpu_flags>%s</v:extra_cpu_flags>' % flags, ''))
    assert vm.guard is guard


def test_only_console_of_run_once_is_the_one_that_is_left(load: Load) -> None:
    domains = load('host.domains')
    vm = domains.VM(XML % ('', '', GRAPHICS))
    assert domains.with_console(vm, 'vnc').displays == {'vnc'}
    assert domains.with_console(vm, None).displays == set()
    assert domains.with_console(None, 'spice').displays == {'spice'}


@pytest.mark.parametrize('xml, code', [
    ('<a/>', 'xml-no-domain'), ('', 'xml-malformed'),
    ('<!DOCTYPE a><domain/>', 'xml-doctype')])
def test_what_is_not_a_domain_xml_has_a_code(load: Load, xml: str,
                                             code: str) -> None:
    with pytest.raises(Exception, match=r' \[%s\]$' % code):
        load('host.domains').VM(xml)


# audit/compliance.py, results.py and scan_files.py


def suite(name: str, code: str, strength: str) -> dict[str, str]:
    return {'suite': name, 'code': code, 'key_exchange': 'ECDHE',
            'strength': strength}


def test_what_is_not_permitted_is_a_violation_with_its_severity(
        load: Load) -> None:
    compliance = load('audit.compliance')
    allowed = compliance.AllowedSet({'TLSv1.2', 'TLSv1.3'}, {0xC030}, None,
                                    {'x25519'}, {'RSA+SHA256'})
    protocols = {
        'TLSv1': [suite('x', '002F', 'weak')],
        'TLSv1.2': [suite('y', 'C030', 'strong'),
                    suite('z', '0005', 'broken')]}
    assert [(found.code, found.severity) for found in allowed.violations(
        protocols, ['X25519', 'P-256'], ['RSA+SHA1'])] == [
        ('protocol-version', 'medium'), ('cipher-suite', 'high'),
        ('key-exchange-group', 'low'), ('signature-algorithm', 'low')]
    assert allowed.violations({'TLSv1.2': protocols['TLSv1.2'][:1]},
                              ['X25519'], []) == []


@pytest.mark.parametrize('policy, code', [
    ({'ciphers': 'a,b'}, 'character'), ({'ciphers': 'NOPE'}, 'unknown-value'),
    ({'priority': 'NORMAL:+FOO'}, 'unknown-value'),
    ({'ciphers': 'A' * 5000}, 'value-too-long')])
def test_policy_that_cannot_be_evaluated_has_a_code(
        load: Load, policy: dict[str, str], code: str) -> None:
    with pytest.raises(Exception, match=r' \[%s\]$' % code):
        load('audit.compliance').policy_bounds(policy)


def console(state: str, *findings: str) -> dict[str, object]:
    return {'state': state, 'findings': list(findings), 'protocols': {},
            'groups': [], 'certificate': None, 'policy': None,
            'display': 'spice'}


@pytest.mark.parametrize('state, findings, verdict', [
    ('scanned', [], 'passed'), ('TLS required', [], 'passed'),
    ('scanned', ['x'], 'failed'), ('unreachable', [], 'not scanned'),
    ('no TLS', ['x'], 'failed'), ('a later one', [], 'not scanned')])
def test_verdict_follows_from_state_and_findings(
        load: Load, state: str, findings: list[str], verdict: str) -> None:
    results = load('audit.results')
    assert results.verdict(console(state, *findings)) == verdict


def test_totals_can_be_added(load: Load) -> None:
    results = load('audit.results')
    totals, others = results.Totals(), results.Totals()
    others.consoles = 2
    others.verdicts['passed'] = 2
    totals += others
    totals += others
    assert (totals.consoles, totals.verdicts['passed']) == (4, 4)


@pytest.mark.parametrize('value, shape, flaw', [
    ({'a': 1}, {'a': int}, None), ({}, {'a': int}, 'missing key a'),
    ({'a': True}, {'a': int}, 'invalid value of a'),
    ({'a': [1, 'x']}, {'a': [int]}, 'invalid value of a'),
    ('x', ('y', 'z'), 'invalid value of the document')])
def test_value_is_compared_with_its_shape(
        load: Load, value: object, shape: object, flaw: str | None) -> None:
    assert load('audit.scan_files').find_flaw(value, shape) == flaw


def test_unencrypted_offers_of_version_1_are_in_its_findings(
        load: Load) -> None:
    files = load('audit.scan_files')
    assert files.offers_of_findings({'findings': [
        {'finding': 'TLS without a certificate is on offer; fix it'},
        {'finding': 'x'}]}) == ['anonymous TLS']


# programs.py


def test_program_that_cannot_be_run_has_a_remedy(load: Load) -> None:
    programs = load('programs')
    missing = programs.cannot_run('/usr/bin/openssl', FileNotFoundError(
        2, 'No such file or directory'))
    assert (missing.remedy, missing.code) == ('install openssl', 'cannot-run')
    closed = programs.cannot_run('/usr/bin/gnutls-cli', PermissionError(
        13, 'Permission denied'))
    assert closed.remedy.endswith('reinstall gnutls-utils')
    assert programs.ask('/nonexistent').returncode == 127


# audit/workers.py


class Port:
    """A target."""

    def __init__(self, address: str) -> None:
        self.address = address


@pytest.mark.parametrize('hosts', [1, 10])
def test_few_targets_of_a_host_are_worked_on_at_a_time(
        load: Load, monkeypatch: pytest.MonkeyPatch, hosts: int) -> None:
    workers = load('audit.workers')
    # Threads alone, so that this process can look at them.
    monkeypatch.setattr(workers, 'MOST_PROCESSES', 1)
    targets = [Port('host%d' % (number % hosts)) for number in range(100)]
    busy: collections.Counter[str] = collections.Counter()
    most: collections.Counter[str] = collections.Counter()
    lock = threading.Lock()

    def work(target: Port, _: object) -> str:
        with lock:
            for name in target.address, 'all':
                busy[name] += 1
                most[name] = max(most[name], busy[name])
        # Others would begin now.
        time.sleep(0.005)
        with lock:
            busy.subtract([target.address, 'all'])
        return target.address

    found = dict(workers.results(targets, work, many_hosts=True))
    assert found == {number: target.address
                     for number, target in enumerate(targets)}
    assert most.pop('all') == min(4 * hosts, 16)
    assert max(most.values()) <= 4


def test_a_host_that_never_answers_is_not_asked_again(
        load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    workers, probe = load('audit.workers'), load('tls.probe')
    monkeypatch.setattr(workers, 'MOST_PROCESSES', 1)
    asked: collections.Counter[str] = collections.Counter()

    def work(target: Port, hosts: Any) -> bool:
        try:
            hosts.check(target.address)
        except probe.Unreachable:
            return False
        asked[target.address] += 1
        answers = target.address == 'fine' or asked[target.address] == 2
        # One that has answered once may time out.
        hosts.note(target.address, None if answers and (
            target.address != 'hidden') else probe.Unreachable('', True))
        return True

    targets = [Port(address) for address in ('hidden', 'fine', 'slow')
               for _ in range(50)]
    found = dict(workers.results(targets, work, many_hosts=True))
    assert sum(found.values()) == sum(asked.values())
    assert 3 <= asked.pop('hidden') <= 6
    assert asked == {'fine': 50, 'slow': 50}


def test_results_come_from_several_processes(
        load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    workers = load('audit.workers')
    monkeypatch.setattr(workers, 'MOST_PROCESSES', 4)
    targets = [Port('host%d' % (number % 7)) for number in range(70)]
    found = dict(workers.results(
        targets, lambda target, _: (target.address, os.getpid()), True))
    assert [found[number][0] for number in range(70)] == [
        target.address for target in targets]
    processes = {process for _, process in found.values()}
    assert len(processes) == min(4, len(os.sched_getaffinity(0)))
    assert os.getpid() not in processes or len(processes) == 1
    # A host belongs to one of them, which counts its connections.
    assert len(set(found.values())) == 7


def test_a_process_that_is_killed_is_no_success(
        load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    workers = load('audit.workers')
    monkeypatch.setattr(workers, 'MOST_PROCESSES', 2)

    def work(target: Port, _: object) -> None:
        if target.address == 'a':
            os.kill(os.getpid(), signal.SIGKILL)

    if len(os.sched_getaffinity(0)) > 1:
        with pytest.raises(workers.UserError, match='scan-ended'):
            list(workers.results([Port('a'), Port('b')], work, True))
