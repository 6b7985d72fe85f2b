# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""
VMs that migrate between hosts with other libraries: OpenSSL 1.1.1 as on EL8
(Debian 11), 3.0 (the lab), and 3.5 as on EL10 (Debian 13). Run by "check.sh
userlands", which makes the userlands.
"""

from __future__ import annotations

import pathlib
import subprocess
from collections.abc import Iterator
from typing import TYPE_CHECKING

import libvirt
import pytest
from conftest import end_all, userland_host
from test_migration import migrate, scan

import support

if TYPE_CHECKING:
    from conftest import Host

Offers = set[tuple[str, str]]

# A machine type that QEMU 5.2 to 10.0 have.
BOTH = support.lab_domain('spice', 'vnc').replace(
    'machine="q35"', 'machine="pc-q35-5.2"')
LIST = 'ECDHE-RSA-AES256-GCM-SHA384'
SUITE = 'TLS_CHACHA20_POLY1305_SHA256'
PRIORITY = ('NORMAL:-VERS-ALL:+VERS-TLS1.3:-CIPHER-ALL:+AES-128-GCM:'
            '-GROUP-ALL:+GROUP-SECP384R1')
SPICE = {('TLSv1.2', LIST), ('TLSv1.3', SUITE)}
MODERN = {('TLSv1.3', suite) for suite in support.TLS13_SUITES[:3]}
INTERMEDIATE = MODERN | {('TLSv1.2', suite) for suite in (
    'ECDHE-RSA-AES128-GCM-SHA256', LIST, 'ECDHE-RSA-CHACHA20-POLY1305')}
MOZILLA = {'X25519', 'P-256', 'P-384'}
# What a policy settles whatever the libraries have by themselves: suites of
# SPICE and of VNC, groups of SPICE; None where it does not.
POLICIES: dict[str, tuple[dict[str, str], Offers | None, Offers | None,
                          set[str] | None]] = {
    'list and suite': ({'tlsciphers': '%s:%s' % (LIST, SUITE),
                        'tlsprotocols': 'TLSv1.2:TLSv1.3'}, SPICE, None, None),
    'TLS 1.2': ({'tlsciphers': LIST, 'tlsprotocols': 'TLSv1.2'},
                {('TLSv1.2', LIST)}, None, set()),
    'TLS 1.3': ({'tlsciphers': SUITE, 'tlsprotocols': 'TLSv1.3'},
                {('TLSv1.3', SUITE)}, None, None),
    'groups': ({'tlsgroups': 'P-384:X25519',
                'tlsciphers': '%s:%s' % (LIST, SUITE)}, SPICE, None,
               {'P-384', 'X25519'}),
    'priority': ({'tlspriority': PRIORITY}, None,
                 {('TLSv1.3', 'TLS_AES_128_GCM_SHA256')}, None),
    'modern': ({'tlsprofile': 'modern'}, MODERN, MODERN, MOZILLA),
    'intermediate': ({'tlsprofile': 'intermediate'}, INTERMEDIATE,
                     INTERMEDIATE, MOZILLA),
}


@pytest.fixture(scope='module')
def bullseye(lab: Host) -> Iterator[Host]:
    with userland_host('bullseye') as host:
        yield host


@pytest.fixture(scope='module')
def trixie(lab: Host) -> Iterator[Host]:
    with userland_host('trixie') as host:
        yield host


@pytest.fixture
def empty(bullseye: Host, lab: Host, trixie: Host) -> Iterator[None]:
    yield
    for host in bullseye, lab, trixie:
        end_all(host)


def run_hook(host: Host, xml: str, **properties: str) -> str:
    """Do to a domain XML what the hook does on a Host."""
    path = host.root / 'tmp/domain.xml'
    path.write_text(xml)
    enter = ['nsenter', '--target', host.root.parent.name, '--mount', '--pid',
             '--root'] if host.root.parent.name else []
    environment = support.hook_environment(pathlib.Path('/tmp/domain.xml'),
                                           **properties)
    if enter:
        environment['PYTHONPATH'] = '/source/tests/standin'
    subprocess.run([*enter, support.HOOK], check=True, env=environment,
                   stderr=subprocess.PIPE)
    return path.read_text()


def start(host: Host, xml: str, **properties: str) -> libvirt.virDomain:
    return host.connection.createXML(run_hook(host, xml, **properties))


def kept(domain: libvirt.virDomain, name: str) -> bool:
    """Tell whether the consoles of a domain accept what a policy settles."""
    return all(expected is None or found == expected for found, expected
               in zip(scan(domain), POLICIES[name][1:]))


def test_hosts_have_libvirt_and_qemu_of_their_own(
        bullseye: Host, lab: Host, trixie: Host) -> None:
    for what in 'getLibVersion', 'getVersion':
        versions = [getattr(host.connection, what)()
                    for host in (bullseye, lab, trixie)]
        assert versions == sorted(set(versions))


@pytest.mark.parametrize('name', POLICIES)
def test_policy_holds_from_one_userland_to_the_next_and_back(
        empty: None, bullseye: Host, lab: Host, trixie: Host,
        figure: support.Figure, name: str) -> None:
    domain = start(bullseye, BOTH, **POLICIES[name][0])
    changed = [not kept(domain, name)]
    for host in lab, trixie, lab, bullseye:
        domain = migrate(domain, host, 'direct')
        changed.append(not kept(domain, name))
    figure('userlands 1.1.1, 3.0, 3.5, 3.0, 1.1.1: consoles with another '
           'policy, ' + name, sum(changed), 0)
    assert not any(changed)


@pytest.mark.parametrize('host, destination, properties, code', [
    ('trixie', 'lab', {'tlsgroups': 'X25519MLKEM768:X25519'},
     'unknown-group'),
    ('trixie', 'lab', {'tlsgroups': 'X25519MLKEM768'}, 'unknown-group'),
    ('lab', 'bullseye', {'tlsgroups': 'X25519:ffdhe3072'}, 'unknown-group'),
    ('lab', 'bullseye', {'tlspriority': 'NORMAL' + 70 * ':+AES-256-GCM'
                         + ':-VERS-ALL:+VERS-TLS1.3'}, 'priority-cut')])
def test_host_whose_libraries_lack_a_value_refuses_and_the_guest_goes_on(
        request: pytest.FixtureRequest, empty: None, host: str,
        destination: str, properties: dict[str, str], code: str) -> None:
    source, target = map(request.getfixturevalue, (host, destination))
    xml = run_hook(source, BOTH, **properties)
    domain = source.connection.createXML(xml)
    before = scan(domain)
    for way in 'direct', 'peer to peer':
        with pytest.raises(libvirt.libvirtError) as error:
            migrate(domain, target, way, uri=source.lab_uri or None)
        assert code in support.refusal(error.value, domain.name(),
                                       target.root)
        assert not target.connection.listAllDomains()
        assert domain.state() == [libvirt.VIR_DOMAIN_RUNNING,
                                  libvirt.VIR_DOMAIN_RUNNING_BOOTED]
    assert scan(domain) == before
    # A default of the host would be left out, with a line.
    domain.destroy()
    domain = source.connection.createXML(xml.replace(
        '"-vdsm-tls"', '"-vdsm-tls-default"'))
    migrate(domain, target, 'direct')
    log = support.read_vm_log('lab', target.root)
    assert [support.code_of(line) for line in log.splitlines()
            if 'host default ignored' in line][-1] == code
