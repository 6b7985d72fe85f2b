# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""
What check --vm finds in the logs of a host for a VM that does not run.

The logs are written here as vdsm and libvirt write theirs.
"""

from __future__ import annotations

import json
import pathlib
import subprocess
from collections.abc import Callable
from typing import Any

import pytest

import support

UUID = '27f1a8d4-1f81-49e6-bd83-4ecb0a462b54'
OTHER_UUID = '99999999-1f81-49e6-bd83-4ecb0a462b54'
TIME = '2026-11-28 03:02:11,%03d+0100 '
UNCOVERED = ('extra_cpu_flags: +vdsm-tls: no property of this VM covers its '
             'VNC console; set tlsprofile [guard-uncovered]')
WRAPPER_LINE = ('qemu-kvm-modified: priority: the VNC console of this VM is '
                'not encrypted; check it [vnc-without-tls]')
GUARD_LINE = 'unsupported configuration: unknown CPU feature: vdsm-tls'
LOOK = """
import json, sys
sys.path.insert(0, sys.argv[1])
from vdsm_tlsciphers.host import domains, last_start
last_start.VDSM_LOG = sys.argv[2] + '/vdsm.log'
domains.LOG = sys.argv[2] + '/%s.log'
last = last_start.LastStart(sys.argv[3])
print(json.dumps({
    'refusal': last.refusal, 'unread': list(map(str, last.unread)),
    'end': last.end,
    'properties': last.vm and last.vm.properties,
    'flags': last.vm and last.vm.flags,
    'displays': last.vm and sorted(last.vm.displays)}))
"""

Look = Callable[..., Any]


def of_engine(name: str = 'web1', uuid: str = UUID,
              **properties: str) -> str:
    """Return a domain XML (str) as the engine sends it, in one line."""
    return (
        '<?xml version="1.0" encoding="UTF-8"?><domain type="kvm" '
        'xmlns:ovirt-vm="http://ovirt.org/vm/1.0"><name>%s</name><uuid>%s'
        '</uuid><cpu><feature name="vdsm-tls" policy="require"/></cpu>'
        '<metadata><ovirt-vm:vm><ovirt-vm:clusterVersion>4.7'
        '</ovirt-vm:clusterVersion><ovirt-vm:device devtype="disk">'
        '<ovirt-vm:payload><ovirt-vm:file path="user-data">S3CR3T'
        '</ovirt-vm:file></ovirt-vm:payload></ovirt-vm:device>'
        '<ovirt-vm:custom>%s</ovirt-vm:custom></ovirt-vm:vm></metadata>'
        '<devices><graphics type="vnc" passwd="*****"/></devices></domain>' % (
            name, uuid, ''.join(
                '<ovirt-vm:%s>%s</ovirt-vm:%s>' % (key, value, key)
                for key, value in properties.items())))


def created(xml: str, uuid: str = UUID) -> str:
    return TIME % 1 + (
        'INFO  (jsonrpc/1) [api.virt] START create(vmParams=%r) from='
        '::ffff:192.0.2.1,42000, flow_id=1, vmId=%s (api:48)\n' % (
            {'xml': xml, 'vmId': uuid}, uuid))


def down(said: str, uuid: str = UUID, code: int = 1) -> str:
    return TIME % 9 + (
        "INFO  (vm/%s) [virt.vm] (vmId='%s') Changed state to Down: %s "
        '(code=%d) (vm:1712)\n' % (uuid[:8], uuid, said, code))


def hook_error(*lines: str) -> str:
    """Return what vdsm makes of what a hook has written."""
    return 'Hook Error: %r' % ((''.join(
        line + '\n' for line in lines).encode(),),)


NOTE = '2026-11-28 02:02:11.000+0000: 77: info : qemu-kvm-modified: '
APPLIED = NOTE + 'QEMU gets -object {"qom-type": "tls-creds-x509"}'
QEMU_LINE = ('2026-11-28T02:02:12.000000Z qemu-kvm: cannot set up guest '
             'memory \'pc.ram\': Cannot allocate memory')


def vm_log(*lines: str, reason: str = 'failed') -> str:
    return (
        '2026-11-28 02:02:11.500+0000: starting up libvirt version: 9.0.0\n'
        'LC_ALL=C \\\n/usr/libexec/qemu-kvm-modified \\\n-name guest=web1 \\\n'
        '%s\n2026-11-28 02:02:12.500+0000: shutting down, reason=%s\n'
        % ('\n'.join(lines), reason))


@pytest.fixture
def look(newest_installation: support.Installation,
         tmp_path: pathlib.Path) -> Look:
    """A function that looks for web1 in logs of these contents."""
    def look(vdsm: str | None = None, libvirt: str | None = None,
             name: str = 'web1') -> Any:
        for file, text in (('vdsm.log', vdsm), ('web1.log', libvirt)):
            (tmp_path / file).unlink(missing_ok=True)
            if text is not None:
                (tmp_path / file).write_text(text)
        process = subprocess.run(
            [newest_installation.python, '-c', LOOK,
             newest_installation.module.parent, tmp_path, name],
            capture_output=True, text=True)
        assert process.returncode == 0, process.stderr
        assert 'S3CR3T' not in process.stdout
        return json.loads(process.stdout)
    return look


@pytest.mark.parametrize('name', ['web1', UUID])
def test_refusal_of_the_hook_and_what_the_engine_sent_are_found(
        look: Look, name: str) -> None:
    found = look(
        created(of_engine('web2', OTHER_UUID, tlsprofile='modern'),
                OTHER_UUID)
        + created(of_engine(tlsciphers="a'b", extra_cpu_flags='+vdsm-tls'))
        + down(hook_error('tlsciphers: a warning', UNCOVERED))
        + created(of_engine('web2', OTHER_UUID), OTHER_UUID)
        + down(GUARD_LINE, OTHER_UUID), name=name)
    assert (found['refusal']['by'], found['refusal']['code']) == (
        'hook', 'guard-uncovered')
    assert found['refusal']['line'] == UNCOVERED
    assert found['refusal']['time'] == '2026-11-28 03:02:11,009+0100'
    assert found['properties'] == {'tlsciphers': "a'b"}
    assert found['flags'] == '+vdsm-tls'
    assert found['displays'] == ['vnc']


@pytest.mark.parametrize('said, by, code', [
    (GUARD_LINE, 'libvirt', 'guard-not-removed'),
    ("internal error: QEMU says: Property 'host-powerpc64-cpu.vdsm-tls' not "
     'found', 'libvirt', 'guard-not-removed'),
    ('internal error: process exited while connecting to monitor: '
     '2026-11-28T02:02:12Z x\n' + WRAPPER_LINE, 'wrapper',
     'vnc-without-tls'),
    ('internal error: qemu unexpectedly closed the monitor: qemu-kvm: '
     '-vdsm-tls: invalid option', 'QEMU', None),
    (hook_error('extra: 50_other says no'), 'other', None),
    ("Bad volume specification {'password': 'S3CR3T'}", 'other', None)])
def test_who_has_refused_is_told(look: Look, said: str, by: str,
                                 code: str | None) -> None:
    found = look(created(of_engine()) + down(said))
    assert (found['refusal']['by'], found['refusal']['code']) == (by, code)


def test_refusal_of_the_wrapper_is_found_where_libvirt_looked_too_early(
        look: Look) -> None:
    log = vm_log('qemu-kvm-modified: QEMU gets x', WRAPPER_LINE)
    for vdsm in None, created(of_engine()) + down(
            'failed to connect to monitor socket: Connection refused'):
        refusal = look(vdsm, log)['refusal']
        assert (refusal['by'], refusal['code']) == ('wrapper',
                                                    'vnc-without-tls')
        assert refusal['line'] == WRAPPER_LINE


@pytest.mark.parametrize('vdsm', [
    None, 'internal error: process exited while connecting to monitor: '
    + QEMU_LINE, 'internal error: qemu unexpectedly closed the monitor: %s\n%s'
    % (APPLIED, QEMU_LINE),
    'failed to connect to monitor socket: Connection refused'])
def test_failure_of_qemu_itself_is_no_refusal_of_the_wrapper(
        look: Look, vdsm: str | None) -> None:
    for applied in True, False:
        found = look(vdsm and created(of_engine()) + down(vdsm), vm_log(
            APPLIED if applied else '', NOTE + 'SPICE listens without TLS',
            # As an older version has written it.
            'qemu-kvm-modified: x; the default of the host does not apply',
            QEMU_LINE))['refusal']
        assert (found['by'], found['applied']) == ('other', applied)
        if applied:
            assert found['line'] == QEMU_LINE


@pytest.mark.parametrize('reason', ['crashed', 'destroyed', 'shutdown'])
def test_start_that_was_not_refused_comes_with_how_it_ended(
        look: Look, reason: str) -> None:
    log = vm_log(APPLIED, reason=reason)
    for vdsm in None, created(of_engine()):
        found = look(vdsm, log)
        assert found['refusal'] is None
        assert found['end'] == ['2026-11-28 02:02:11.500+0000', reason]
    unfinished = log.rpartition('2026-11-28')[0]
    assert look(None, unfinished)['end'] == [
        '2026-11-28 02:02:11.500+0000', '']


def test_log_of_an_earlier_start_tells_nothing_of_the_last(
        look: Look) -> None:
    for log in vm_log(WRAPPER_LINE), vm_log(APPLIED, reason='crashed'):
        earlier = log.replace('02:02:1', '01:02:1')
        found = look(created(of_engine()) + down('Bad volume'), earlier)
        assert found['refusal']['by'] == 'other'
        assert look(created(of_engine()), earlier)['end'] is None


@pytest.mark.parametrize('vdsm, libvirt', [
    # A later start went well.
    (created(of_engine()) + down(GUARD_LINE) + created(of_engine()), None),
    (created(of_engine()) + down('User shut down from within the guest',
                                 code=7), None),
    (None, vm_log(WRAPPER_LINE) + vm_log('qemu-kvm-modified: QEMU gets x',
                                         reason='shutdown')),
    (created(of_engine()), ''), ('', ''), ('\0' * 9999 + '<name>web1</name>',
                                           '\n\0: starting up \0')])
def test_start_that_went_well_is_no_refusal(
        look: Look, vdsm: str | None, libvirt: str | None) -> None:
    assert look(vdsm, libvirt)['refusal'] is None


def test_logs_that_cannot_be_read_are_named(look: Look,
                                            tmp_path: pathlib.Path) -> None:
    for line in look()['unread']:
        assert line.startswith(str(tmp_path))
        assert line.endswith(' [file-unreadable]')
    assert look(name='../web1')['refusal'] is None


def test_only_the_end_of_a_log_is_read(look: Look) -> None:
    begin = created(of_engine()) + down(GUARD_LINE)
    noise = (TIME % 1 + 'INFO  (jsonrpc/1) [x] ' + 'y' * 900 + '\n') * 9000
    assert look(begin + noise)['refusal']['by'] == 'libvirt'
    assert look(begin + noise * 3)['refusal'] is None


def test_many_records_without_an_end_are_read_in_bounded_time(
        look: Look) -> None:
    one = '<name>web1</name><domain ' + "'<" * 50
    found = look((TIME % 1 + 'x START create(') + one * 40000
                 + down(GUARD_LINE))
    assert found['refusal'] is None


@pytest.mark.parametrize('said', [
    "passwd='S3CR3T'", 'password="my S3CR3T"', "cannot set password 'S3CR3T'",
    'the ticket is S3CR3T', '-object secret,id=a,data=S3CR3T',
    '{"password": "a S3CR3T"}'])
def test_no_password_is_shown(look: Look, said: str) -> None:
    line = look(created(of_engine()) + down('it failed: ' + said))[
        'refusal']['line']
    assert line.startswith('it failed: ')
    assert 'S3CR3T' not in line


def test_property_of_another_vm_is_no_record_of_this_one(look: Look) -> None:
    forged = "[virt.vm] (vmId='%s') Changed state to Down: %s (code=1)" % (
        UUID, hook_error('tlsciphers: x; remedy: y'))
    other = of_engine('evil', UUID[::-1], note=forged)
    for record in (
            "%sINFO  (vm/1) [virt.vm] (vmId='%s') %s (vm:2700)\n" % (
                TIME % 5, UUID[::-1], other),
            '%sINFO  (jsonrpc/1) [api.virt] START x(%s) (api:48)\n' % (
                TIME % 5, forged)):
        assert look(created(of_engine()) + record)['refusal'] is None


@pytest.mark.parametrize('vdsm, libvirt', [
    (None, vm_log('Property .vdsm-tls' * 30000)),
    (None, vm_log('Property .vdsm-tls ' * 30000)),
    ('<domain ' * 100000, None), (created('<domain ' * 100000), None),
    (created(of_engine()) + down('Hook Error: (' * 100000), None),
    (created(of_engine()) + '\n' * (16 << 20) + down('x'), None)],
    ids=range(6))
def test_hostile_logs_are_read_in_bounded_time(
        look: Look, vdsm: str | None, libvirt: str | None) -> None:
    """What is not bounded takes minutes, longer than a test may."""
    look(vdsm, libvirt)
