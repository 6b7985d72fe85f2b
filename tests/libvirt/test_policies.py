# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""Every kind of policy on a real VM, seen from outside."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import subprocess
from collections.abc import Collection, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Protocol

import libvirt
import pytest
import qmp

import clients
import support
import vencrypt

if TYPE_CHECKING:
    from conftest import VM, Host, RunHook, Start, Write

Offer = tuple[str, str]

QEMU = 'http://libvirt.org/schemas/domain/qemu/1.0'
PKI = '/etc/pki/vdsm/libvirt-spice'
BOTH = support.lab_domain('spice', 'vnc')
# What QEMU and libspice, and GnuTLS, have without a policy.
DEFAULT_LIST = 'DEFAULT'
DEFAULT_SUITES = support.TLS13_SUITES[:3]
DEFAULT_PRIORITY = 'NORMAL'
ECDHE = 'ECDHE-RSA-AES256-GCM-SHA384'
MODERN = ('NORMAL:-VERS-ALL:+VERS-TLS1.3:-CIPHER-ALL:+AES-128-GCM:'
          '+AES-256-GCM:+CHACHA20-POLY1305')


def spice_suites(versions: Collection[str], cipher_list: str = DEFAULT_LIST,
                 suites: Iterable[str] = DEFAULT_SUITES) -> set[Offer]:
    """
    Return what a SPICE console should accept, as OpenSSL has it: it has no DH
    parameters, and its certificate is of the RSA kind.
    """
    return {('TLSv1.2', suite)
            for suite in support.suites(cipher_list, '-s', '-tls1_2')
            if 'TLSv1.2' in versions
            and not re.search('^(DHE|ADH|AECDH)-|ECDSA|DSS', suite)
            } | {('TLSv1.3', suite) for suite in suites
                 if 'TLSv1.3' in versions}


TLS12_ONLY = 'NORMAL:-VERS-ALL:+VERS-TLS1.2:-CIPHER-ALL:+AES-256-GCM'
TLS13_ONLY = 'NORMAL:-VERS-ALL:+VERS-TLS1.3:-CIPHER-ALL:+CHACHA20-POLY1305'
EVERY = ('TLSv1.2', 'TLSv1.3')
SPICE_ALL = spice_suites(EVERY)
VNC_ALL = support.gnutls_suites(DEFAULT_PRIORITY)
MOZILLA = ('X25519', 'P-256', 'P-384')
HYBRID = 'X25519MLKEM768'

# name: (properties, what SPICE accepts, what VNC accepts, groups of SPICE)
POLICIES: dict[str, tuple[dict[str, str], set[Offer], set[Offer],
                          tuple[str, ...] | None]] = {
    'TLS 1.2 only': (
        {'tlsprotocols': 'TLSv1.2', 'tlsciphers': support.GOOD_CIPHERS},
        spice_suites(['TLSv1.2'], support.GOOD_CIPHERS), VNC_ALL, ()),
    'TLS 1.3 only': (
        {'tlsprotocols': 'TLSv1.3'}, spice_suites(['TLSv1.3']), VNC_ALL,
        None),
    'both versions': (
        {'tlsprotocols': 'TLSv1.2:TLSv1.3',
         'tlsciphers': 'ECDHE+AES256:TLS_AES_256_GCM_SHA384:'
                       'TLS_AES_128_CCM_SHA256'},
        spice_suites(EVERY, 'ECDHE+AES256', [
            'TLS_AES_256_GCM_SHA384', 'TLS_AES_128_CCM_SHA256']), VNC_ALL,
        None),
    'a single suite of TLS 1.2': (
        {'tlsprotocols': 'TLSv1.2', 'tlsciphers': 'AES128-SHA256'},
        {('TLSv1.2', 'AES128-SHA256')}, VNC_ALL, ()),
    'a single suite of TLS 1.3': (
        {'tlsprotocols': 'TLSv1.3', 'tlsciphers': 'TLS_AES_128_CCM_SHA256'},
        {('TLSv1.3', 'TLS_AES_128_CCM_SHA256')}, VNC_ALL, None),
    'a suite of TLS 1.3, and those of QEMU': (
        {'tlsciphers': 'TLS_CHACHA20_POLY1305_SHA256'},
        spice_suites(EVERY, suites=['TLS_CHACHA20_POLY1305_SHA256']), VNC_ALL,
        None),
    'one group': (
        {'tlsgroups': 'P-384', 'tlsciphers': 'HIGH:!kRSA:!aNULL'},
        spice_suites(EVERY, 'HIGH:!kRSA:!aNULL'), VNC_ALL, ('P-384',)),
    'groups in an order': (
        {'tlsgroups': 'X448:X25519:P-521'}, SPICE_ALL, VNC_ALL,
        ('X448', 'X25519', 'P-521')),
    'profile modern': (
        {'tlsprofile': 'modern'}, spice_suites(['TLSv1.3']),
        support.gnutls_suites(MODERN), MOZILLA),
    'profile intermediate': (
        {'tlsprofile': 'intermediate'},
        spice_suites(EVERY, 'ECDHE+AESGCM:ECDHE+CHACHA20'),
        support.gnutls_suites(
            MODERN + ':+VERS-TLS1.2:-KX-ALL:+ECDHE-RSA'), MOZILLA),
    'VNC with TLS 1.2': (
        {'tlspriority': TLS12_ONLY}, SPICE_ALL,
        support.gnutls_suites(TLS12_ONLY), None),
    'VNC with TLS 1.3': (
        {'tlspriority': TLS13_ONLY}, SPICE_ALL,
        support.gnutls_suites(TLS13_ONLY), None),
    'SPICE and VNC differently': (
        {'tlsprotocols': 'TLSv1.2', 'tlsciphers': ECDHE,
         'tlspriority': TLS13_ONLY}, {('TLSv1.2', ECDHE)},
        support.gnutls_suites(TLS13_ONLY), None),
}
# As OpenSSL 3.5 and later have it.
HYBRID_POLICIES = {
    'a hybrid group alone': (
        {'tlsgroups': HYBRID, 'tlsprotocols': 'TLSv1.3'},
        spice_suites(['TLSv1.3']), VNC_ALL, (HYBRID,)),
    'a hybrid group before others': (
        {'tlsgroups': HYBRID + ':X25519:P-256'}, SPICE_ALL, VNC_ALL,
        (HYBRID, 'X25519', 'P-256')),
} if HYBRID in support.known_groups() else {}
POLICIES.update(HYBRID_POLICIES)


@pytest.mark.parametrize('name', POLICIES)
def test_console_accepts_exactly_the_policy(start: Start, run_hook: RunHook,
                                            name: str) -> None:
    properties, spice, vnc, groups = POLICIES[name]
    vm = start(run_hook(BOTH, **properties))
    assert support.accepted(vm.tls_port) == spice
    with vencrypt.relay(vm.vnc_port) as port:
        assert support.accepted(port) == vnc
    # noVNC
    assert support.accepted(vm.websocket_port) == vnc
    if groups is not None:
        assert support.accepted_groups(vm.tls_port) == set(groups)
    if groups == ('P-384',):
        assert support.accepted_groups(vm.tls_port, 'TLSv1.2', [
            'X25519', 'P-256', 'P-384']) == {'P-384'}
    if groups == MOZILLA:
        assert support.accepted_groups(vm.websocket_port) == set(groups)
    # QEMU itself says so, too.
    if 'tlspriority' in properties:
        assert qom_get(vm, 'priority') == properties['tlspriority']


def test_suite_that_openssl_never_negotiates_starts_no_vm(
        start: Start, run_hook: RunHook) -> None:
    """It knows this one; since 3.2 it is too weak for the default level."""
    suite = 'TLS_AES_128_CCM_8_SHA256'
    policy = {'tlsprotocols': 'TLSv1.3', 'tlsciphers': suite}
    negotiated = subprocess.run(
        ['openssl', 'ciphers', '-s', '-tls1_3', '-ciphersuites', suite,
         'DEFAULT'], check=True, capture_output=True, text=True).stdout
    if negotiated.strip():
        vm = start(run_hook(BOTH, **policy))
        assert support.accepted(vm.tls_port) == {('TLSv1.3', suite)}
        return
    with pytest.raises(subprocess.CalledProcessError) as error:
        run_hook(BOTH, **policy)
    assert support.code_of(error.value.stderr.strip()) == (
        'suite-never-negotiated')


def qom_get(vm: VM, name: str) -> Any:
    answer = subprocess.run(
        ['virsh', '--connect', 'qemu:///system', 'qemu-monitor-command',
         vm.name, json.dumps({'execute': 'qom-get', 'arguments': {
             'path': '/objects/vnc-tls-creds0', 'property': name}})],
        check=True, capture_output=True, text=True).stdout
    return json.loads(answer)['return']


def test_vm_without_a_policy_has_what_the_libraries_have(
        start: Start, run_hook: RunHook) -> None:
    assert run_hook(BOTH) == BOTH
    vm = start(BOTH)
    assert support.accepted(vm.tls_port) == SPICE_ALL
    assert support.accepted(vm.websocket_port) == VNC_ALL


@pytest.mark.parametrize('properties', [
    {'tlsprofile': 'modern'}, {'tlsprofile': 'intermediate'},
    *({'tlsprofile': 'modern', 'tlsgroups': group} for group in [HYBRID]
      if group in support.known_groups())])
def test_users_clients_connect_to_a_console_with_a_profile(
        start: Start, run_hook: RunHook, properties: dict[str, str]) -> None:
    vm = start(run_hook(BOTH, **properties))
    for screenshot, port in ((clients.spice_screenshot, vm.tls_port),
                             (clients.vnc_screenshot, vm.vnc_port)):
        picture = clients.await_picture(screenshot, port)
        assert len(clients.colours(picture)) > 1


def test_log_shows_what_qemu_got(start: Start, run_hook: RunHook) -> None:
    vm = start(run_hook(BOTH, tlsprofile='modern'))
    assert re.search('QEMU gets OPENSSL_CONF with ciphersuites=TLS_AES_.* '
                     'protocols=TLSv1.3 groups=X25519:', vm.log)
    given, = re.findall(r'QEMU gets -object (.*) \[policy-applied\]', vm.log)
    assert given in vm.arguments
    members = support.object_members(given)
    assert members == vm.credentials
    assert members['priority'].startswith('NORMAL:')


@pytest.mark.parametrize('properties', [
    {'tlspriority': DEFAULT_PRIORITY}, {'tlsprofile': 'intermediate'}])
def test_vnc_without_encryption_starts_no_vm(
        start: Start, run_hook: RunHook, host_without_vnc_tls: Host,
        properties: dict[str, str]) -> None:
    """The default of a cluster: most administrators meet this line first."""
    with pytest.raises(libvirt.libvirtError) as error:
        start(run_hook(BOTH, **properties), host_without_vnc_tls)
    assert '[vnc-without-tls]' in str(error.value)
    assert 'Enable VNC Encryption' in str(error.value)


def with_arguments(xml: str, *values: str) -> str:
    """Return a domain XML with arguments of another hook for QEMU."""
    return xml.replace('</domain>', '<q:commandline xmlns:q="%s">%s'
                       '</q:commandline></domain>' % (QEMU, ''.join(
                           '<q:arg value="%s"/>' % value for value in values)))


@pytest.mark.parametrize('consoles', [(), ('spice',)])
@pytest.mark.parametrize('earlier', [True, False])
def test_vnc_that_another_hook_adds_starts_no_vm_without_encryption(
        start: Start, run_hook: RunHook, earlier: bool,
        consoles: tuple[str, ...]) -> None:
    """Before this hook runs, or after it."""
    xml = support.lab_domain(*consoles)
    vnc = '-vnc', '127.0.0.1:77'
    xml = (run_hook(with_arguments(xml, *vnc), tlsprofile='modern') if earlier
           else with_arguments(run_hook(xml, tlsprofile='modern'), *vnc))
    with pytest.raises(libvirt.libvirtError, match='the VNC console of this '
                       'VM is not encrypted'):
        start(xml)


def test_consoles_that_another_hook_adds_have_the_policy(
        start: Start, run_hook: RunHook) -> None:
    """The domain XML, and so libvirt, knows nothing of them."""
    start(run_hook(with_arguments(
        support.lab_domain(), '-object', 'tls-creds-x509,id=other,endpoint='
        'server,verify-peer=off,dir=' + PKI, '-vnc',
        '127.0.0.1:77,tls-creds=other,password=on', '-spice',
        'tls-port=5988,disable-ticketing=on,x509-dir=' + PKI),
        tlsprofile='modern'))
    assert support.accepted(5988) == spice_suites(['TLSv1.3'])
    with vencrypt.relay(5977) as port:
        assert support.accepted(port) == support.gnutls_suites(MODERN)


def test_spice_that_another_hook_adds_beside_vnc_has_the_policy(
        start: Start, run_hook: RunHook) -> None:
    start(run_hook(with_arguments(
        support.lab_domain('vnc'), '-spice',
        'tls-port=5988,disable-ticketing=on,x509-dir=' + PKI),
        tlsciphers=ECDHE, tlsprotocols='TLSv1.2'))
    assert support.accepted(5988) == {('TLSv1.2', ECDHE)}


def test_value_for_a_console_that_is_not_there_stops_nothing(
        start: Start, run_hook: RunHook) -> None:
    assert start(run_hook(support.lab_domain('vnc'), tlsciphers='NOSUCH',
                          tlsgroups='P-999')).pid
    assert start(run_hook(support.lab_domain('spice', name='other'),
                          tlspriority='NOSUCH')).pid


@pytest.mark.parametrize('name', ['d:domain', 'domain xmlns="urn:d"'])
def test_domain_with_a_namespace_of_its_own_has_the_policy(
        start: Start, run_hook: RunHook, name: str) -> None:
    """libvirt finds what is in no namespace, and a VM in it."""
    xml = BOTH.replace('<domain ', '<%s xmlns:d="urn:d" ' % name)
    if name == 'd:domain':
        xml = xml.replace('</domain>', '</d:domain>')
    else:
        xml = re.sub('(?m)^  <(name|memory|vcpu|os|devices)(?=[ >])',
                     r'  <\1 xmlns=""', xml)
    vm = start(run_hook(xml, tlsprofile='modern'))
    assert support.accepted(vm.tls_port) == spice_suites(['TLSv1.3'])
    assert support.accepted(vm.websocket_port) == support.gnutls_suites(MODERN)


def test_option_of_another_hook_without_its_value_swallows_no_policy(
        start: Start, run_hook: RunHook) -> None:
    with pytest.raises(libvirt.libvirtError) as error:
        start(run_hook(with_arguments(BOTH, '-name'), tlsprofile='modern'))
    # QEMU complains of what libvirt puts behind it.
    assert 'vdsm-tls' not in str(error.value)
    assert 'QEMU gets OPENSSL_CONF with ciphersuites=' in (
        support.read_vm_log('lab'))


def test_default_of_the_host_holds_for_a_vm_without_a_policy(
        start: Start, run_hook: RunHook, host_default: Write) -> None:
    host_default('[default]\ntlsprofile = modern\n')
    vm = start(run_hook(BOTH))
    assert support.accepted(vm.tls_port) == spice_suites(['TLSv1.3'])
    assert support.accepted(vm.websocket_port) == support.gnutls_suites(MODERN)


def test_default_of_the_host_leaves_vnc_without_encryption_alone(
        start: Start, run_hook: RunHook, host_default: Write,
        host_without_vnc_tls: Host) -> None:
    host_default('[default]\ntlsprofile = modern\n')
    vm = start(run_hook(BOTH), host_without_vnc_tls)
    assert support.accepted(vm.tls_port) == spice_suites(['TLSv1.3'])
    assert vm.log.count(': host default ignored [vnc-without-tls]') == 1


@pytest.mark.parametrize('consoles', [(), ('vnc',), ('spice',)])
def test_any_console_starts_under_a_default(
        start: Start, run_hook: RunHook, host_default: Write,
        host_without_vnc_tls: Host, consoles: tuple[str, ...]) -> None:
    host_default('[default]\ntlsprofile = intermediate\n')
    xml = run_hook(support.lab_domain(*consoles))
    assert start(xml).pid
    assert start(xml.replace('lab', 'elsewhere'), host_without_vnc_tls).pid


def test_setting_of_a_newer_version_starts_no_vm(start: Start,
                                                 run_hook: RunHook) -> None:
    xml = run_hook(BOTH, tlsgroups='P-384').replace('groups=', 'curves=')
    with pytest.raises(libvirt.libvirtError, match=r'curves: .* '
                       r'\[unknown-setting\]'):
        start(xml)


def test_openssl_conf_in_the_xml_does_not_undo_a_policy(
        start: Start, run_hook: RunHook) -> None:
    xml = run_hook(BOTH, tlsprotocols='TLSv1.3')
    prefix, = re.findall(r'<(\w+):commandline', xml)
    xml = xml.replace('</%s:commandline>' % prefix,
                      '<%s:env name="OPENSSL_CONF" value="/dev/null"/>'
                      '</%s:commandline>' % (prefix, prefix))
    vm = start(xml)
    assert support.accepted(vm.tls_port) == spice_suites(['TLSv1.3'])
    assert '[openssl-conf-replaced]' in vm.log


@pytest.mark.parametrize('value', ['@SYSTEM', '@OVIRT',
                                   '@SYSTEM:-AES-128-GCM'])
def test_keyword_of_the_system_is_a_policy(
        start: Start, run_hook: RunHook, gnutls_config: Write,
        value: str) -> None:
    """As crypto-policies have it on EL."""
    gnutls_config('[priorities]\nSYSTEM = %s\nOVIRT = %s\n'
                  % (TLS12_ONLY + ':+AES-128-GCM', TLS13_ONLY))
    vm = start(run_hook(BOTH, tlspriority=value))
    expected = support.gnutls_suites.__wrapped__(value)
    assert len(expected) < 7
    assert support.accepted(vm.websocket_port) == expected


def test_keyword_without_its_file_starts_no_vm(start: Start, run_hook: RunHook,
                                               gnutls_config: Write) -> None:
    """The destination of a migration may lack what the source has."""
    gnutls_config('[priorities]\nSYSTEM = NORMAL\n')
    xml = run_hook(BOTH, tlspriority='@SYSTEM')
    gnutls_config('')
    with pytest.raises(libvirt.libvirtError, match='GnuTLS says: Syntax error '
                       'at: @SYSTEM'):
        start(xml)


ALLOWLIST = """
[global]
override-mode = allowlist
[overrides]
enabled-version = TLS1.2
tls-enabled-cipher = AES-256-GCM
tls-enabled-kx = ECDHE-RSA
tls-enabled-mac = AEAD
enabled-curve = SECP384R1
tls-enabled-group = GROUP-SECP384R1
secure-sig = RSA-SHA256
secure-sig = RSA-PSS-RSAE-SHA256
secure-sig-for-cert = RSA-SHA256
secure-hash = SHA256
secure-hash = SHA384
"""


@pytest.mark.parametrize('value', ['@SYSTEM', 'NORMAL', MODERN])
def test_judge_and_console_agree_where_the_system_allows_little(
        start: Start, run_hook: RunHook, gnutls_config: Write,
        value: str) -> None:
    """As crypto-policies have it on EL9 and later."""
    gnutls_config(ALLOWLIST)
    if value == '@SYSTEM' and support.gnutls_version() < (3, 7, 3):
        # It has no allowlists, and so no @SYSTEM here.
        with pytest.raises(subprocess.CalledProcessError) as error:
            run_hook(BOTH, tlspriority=value)
        assert error.value.stderr.startswith('tlspriority: @SYSTEM: ')
        return
    expected = support.gnutls_suites.__wrapped__(value)
    vm = start(run_hook(BOTH, tlspriority=value))
    assert support.accepted(vm.websocket_port) == expected
    if value == '@SYSTEM':
        assert expected == {('TLSv1.2', ECDHE)}


def test_system_that_allows_nothing_starts_no_vm(run_hook: RunHook,
                                                 gnutls_config: Write) -> None:
    gnutls_config(ALLOWLIST.replace('enabled-version = TLS1.2\n', ''))
    with pytest.raises(subprocess.CalledProcessError) as error:
        run_hook(BOTH, tlspriority='@SYSTEM')
    assert error.value.returncode == 2
    assert error.value.stderr.startswith('tlspriority: @SYSTEM: ')


class StartQemu(Protocol):
    """What the fixture qemu is."""

    def __call__(self, last: int, *arguments: str) -> None: ...


@pytest.fixture
def qemu() -> Iterator[StartQemu]:
    """
    A function that starts QEMU through the wrapper, without libvirt, on
    given arguments with VNC displays :70 and maybe :71, when the last of
    them is there.
    """
    processes = []

    def qemu(last: int, *arguments: str) -> None:
        process = subprocess.Popen(
            ['/usr/libexec/qemu-kvm-modified', '-nodefaults', '-machine',
             'q35,accel=tcg', '-vga', 'std', '-S', *arguments])
        processes.append(process)
        while True:
            assert process.poll() is None
            with contextlib.suppress(ConnectionRefusedError):
                socket.create_connection(('127.0.0.1', last)).close()
                return

    yield qemu
    for process in processes:
        process.terminate()
        process.wait()


CREDENTIALS = 'dir=/etc/pki/vdsm/libvirt-vnc,endpoint=server,verify-peer=no'


def test_only_the_credentials_of_a_display_are_touched(
        qemu: StartQemu) -> None:
    """In the spelling of libvirt before 7.0, and with a stranger's objects."""
    qemu(
        5970, '-object', 'tls-creds-x509,id=vnc-tls-creds0,' + CREDENTIALS,
        '-object', 'tls-creds-x509,id=other,priority=%s,%s' % (
            TLS13_ONLY, CREDENTIALS),
        '-vnc', '127.0.0.1:70,tls-creds=vnc-tls-creds0', '-vdsm-tls',
        'priority=' + TLS12_ONLY)
    with vencrypt.relay(5970, vencrypt.X509_NONE) as port:
        assert support.accepted(port) == support.gnutls_suites(TLS12_ONLY)


def test_each_of_several_displays_gets_the_policy(qemu: StartQemu) -> None:
    other = json.dumps({
        'qom-type': 'tls-creds-x509', 'id': 'b', 'endpoint': 'server',
        'dir': '/etc/pki/vdsm/libvirt-vnc', 'verify-peer': False})
    if not qmp.takes_json():
        other = 'tls-creds-x509,id=b,' + CREDENTIALS
    qemu(
        5971, '-object', 'tls-creds-x509,id=a,priority=NORMAL,' + CREDENTIALS,
        '-object', other,
        '-vnc', '127.0.0.1:70,tls-creds=a',
        '-vnc', '127.0.0.1:71,id=two,tls-creds=b',
        '-vdsm-tls', 'priority=' + TLS13_ONLY)
    for display in 5970, 5971:
        with vencrypt.relay(display, vencrypt.X509_NONE) as port:
            assert support.accepted(port) == support.gnutls_suites(TLS13_ONLY)
