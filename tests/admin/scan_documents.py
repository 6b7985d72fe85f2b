# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""
Scan documents like those of real hosts, generated: hosts with VMs that have
a SPICE and a VNC console each.
"""

import copy
import hashlib
import json
import pathlib
import uuid
from collections.abc import Iterable, Iterator
from typing import Any

# As admin/schemas/scan.schema.json has them.
Document = dict[str, Any]
Console = dict[str, Any]

BROAD, MODERN, INTERMEDIATE, OFF, CLOSED = (
    'without a policy', 'modern', 'intermediate', 'VNC not encrypted',
    'unreachable')

CODES = {
    'TLS_AES_128_GCM_SHA256': '1301', 'TLS_AES_256_GCM_SHA384': '1302',
    'TLS_CHACHA20_POLY1305_SHA256': '1303', 'TLS_AES_128_CCM_SHA256': '1304',
    'ECDHE-RSA-AES128-GCM-SHA256': 'C02F',
    'ECDHE-RSA-AES256-GCM-SHA384': 'C030',
    'ECDHE-RSA-CHACHA20-POLY1305': 'CCA8', 'ECDHE-RSA-AES128-SHA': 'C013',
    'ECDHE-RSA-AES128-SHA256': 'C027', 'ECDHE-RSA-AES256-SHA': 'C014',
    'ECDHE-RSA-AES256-SHA384': 'C028', 'DHE-RSA-AES128-CCM': 'C09E',
    'DHE-RSA-AES128-GCM-SHA256': '009E', 'DHE-RSA-AES128-SHA': '0033',
    'DHE-RSA-AES256-CCM': 'C09F', 'DHE-RSA-AES256-GCM-SHA384': '009F',
    'DHE-RSA-AES256-SHA': '0039', 'DHE-RSA-CHACHA20-POLY1305': 'CCAA',
    'AES128-CCM': 'C09C', 'AES128-GCM-SHA256': '009C', 'AES128-SHA': '002F',
    'AES128-SHA256': '003C', 'AES256-CCM': 'C09D',
    'AES256-GCM-SHA384': '009D', 'AES256-SHA': '0035',
    'AES256-SHA256': '003D'}
TLS13 = ['TLS_AES_128_GCM_SHA256', 'TLS_AES_256_GCM_SHA384',
         'TLS_CHACHA20_POLY1305_SHA256']
AEAD = ['ECDHE-RSA-AES128-GCM-SHA256', 'ECDHE-RSA-AES256-GCM-SHA384',
        'ECDHE-RSA-CHACHA20-POLY1305']
ECDHE_CBC = ['ECDHE-RSA-AES128-SHA', 'ECDHE-RSA-AES256-SHA']
DHE = [name for name in CODES if name.startswith('DHE')]
RSA = ['AES128-GCM-SHA256', 'AES128-SHA', 'AES256-GCM-SHA384', 'AES256-SHA']


def suites(strength: str, *names: str) -> list[dict[str, Any]]:
    """Return entries of a document for suites."""
    return [{'suite': name, 'code': CODES[name], 'strength': strength,
             'key_exchange': 'any' if name.startswith('TLS_') else
             name.split('-')[0] if 'DHE' in name else 'RSA',
             **({'dh_bits': 2048} if name in DHE else {})}
            for name in names]


STRONG = {'TLSv1.2': suites('strong', *AEAD),
          'TLSv1.3': suites('strong', *TLS13)}
OLD = suites('weak', *ECDHE_CBC, 'DHE-RSA-AES128-SHA', 'DHE-RSA-AES256-SHA',
             'AES128-SHA', 'AES256-SHA')
# What consoles accept, by kind and display: taken from a real VM.
PROTOCOLS: dict[tuple[str, str], dict[str, list[dict[str, Any]]]] = {
    (BROAD, 'spice'): {
        'TLSv1.2': STRONG['TLSv1.2'] + suites(
            'acceptable', *ECDHE_CBC, 'ECDHE-RSA-AES128-SHA256',
            'ECDHE-RSA-AES256-SHA384') + suites(
                'weak', *RSA, 'AES128-SHA256', 'AES256-SHA256'),
        'TLSv1.3': STRONG['TLSv1.3']},
    (BROAD, 'vnc'): {
        'TLSv1': OLD, 'TLSv1.1': OLD,
        'TLSv1.2': STRONG['TLSv1.2'] + suites(
            'acceptable', *DHE, *ECDHE_CBC) + suites(
                'weak', *RSA, 'AES128-CCM', 'AES256-CCM'),
        'TLSv1.3': STRONG['TLSv1.3'] + suites(
            'strong', 'TLS_AES_128_CCM_SHA256')},
    (MODERN, 'spice'): {'TLSv1.3': STRONG['TLSv1.3']},
    (MODERN, 'vnc'): {'TLSv1.3': STRONG['TLSv1.3']},
    (INTERMEDIATE, 'spice'): STRONG, (INTERMEDIATE, 'vnc'): STRONG,
    (OFF, 'vnc'): {}}
PROTOCOLS[OFF, 'spice'] = PROTOCOLS[BROAD, 'spice']
GROUPS = ['P-256', 'P-384', 'X25519']
EVERY_GROUP = [*GROUPS, 'P-521', 'X448', 'ffdhe2048', 'ffdhe3072', 'ffdhe4096',
               'ffdhe6144', 'ffdhe8192']
SIGNATURES = ['RSA+SHA256', 'RSA+SHA384', 'RSA+SHA512', 'rsa_pss_rsae_sha256']
REMEDY = 'set tlsprofile=intermediate on the VM, shut it down and start it'
ENCRYPT = ('check Enable VNC Encryption in the engine (Compute > Clusters > '
           'Edit > Console) and reinstall the hosts')
NOT_ENCRYPTED = 'this VNC console is not encrypted'


def finding(code: str, severity: str, text: str,
            remedy: str = REMEDY) -> dict[str, str]:
    """Return an entry of a document for a finding."""
    return {'against': 'baseline',
            'finding': '%s; %s [%s]' % (text, remedy, code),
            'code': code, 'text': text, 'remedy': remedy,
            'severity': severity}


def beyond(kind: str, display: str, version: str, severity: str,
           allowed: Iterable[str]) -> dict[str, str]:
    """Return the finding that names what is accepted beyond a baseline."""
    return finding('cipher-suite', severity, '%s is accepted with %s' % (
        version, ', '.join(
            suite['suite'] for suite in PROTOCOLS[kind, display][version]
            if suite['suite'] not in allowed)))


GROUPS_FINDING = finding(
    'key-exchange-group', 'low',
    'key-exchange groups %s accepted' % ', '.join(EVERY_GROUP[3:]))
FINDINGS = {
    (BROAD, 'spice'): [beyond(BROAD, 'spice', 'TLSv1.2', 'medium', AEAD),
                       GROUPS_FINDING],
    (BROAD, 'vnc'): [finding('protocol-version', 'medium',
                             'TLSv1, TLSv1.1 are accepted'),
                     beyond(BROAD, 'vnc', 'TLSv1.2', 'medium', AEAD),
                     beyond(BROAD, 'vnc', 'TLSv1.3', 'low', TLS13),
                     GROUPS_FINDING],
    (OFF, 'vnc'): [finding('no-tls', 'critical', NOT_ENCRYPTED, ENCRYPT)]}
FINDINGS[OFF, 'spice'] = FINDINGS[BROAD, 'spice']
COMMON = {'ciphersuites': ':'.join(TLS13),
          'groups': 'X25519:prime256v1:secp384r1'}
POLICIES = {
    MODERN: {'protocols': 'TLSv1.3', **COMMON},
    INTERMEDIATE: {'ciphers': ':'.join(AEAD),
                   'protocols': 'TLSv1.2:TLSv1.3', **COMMON}}


def certificate(host: str) -> dict[str, str]:
    """Return the certificate of a host."""
    return {'subject': 'O=Example, CN=%s' % host,
            'issuer': 'O=Example, CN=engine.example.com.31415',
            'not_before': '2026-01-07T09:12:44Z',
            'not_after': '2031-01-06T09:12:44Z', 'key': 'RSA 2048',
            'signature': 'sha256WithRSAEncryption',
            'sha256': hashlib.sha256(host.encode()).hexdigest()}


def console(host: str, vm: str, kind: str, display: str, port: int) -> Console:
    """Return a console of a document."""
    if kind == CLOSED:
        state, problem, code = (
            'unreachable', 'no answer within 5 seconds', 'unreachable')
    elif (kind, display) == (OFF, 'vnc'):
        state, problem, code = 'no TLS', NOT_ENCRYPTED, 'no-tls'
    else:
        state, problem, code = 'scanned', None, None
    # Lest a test changes those of others.
    protocols = copy.deepcopy(PROTOCOLS.get((kind, display), {}))
    return {
        'vm': vm, 'uuid': str(uuid.uuid5(uuid.NAMESPACE_DNS, vm)),
        'display': display, 'address': '10.20.%d.%d' % divmod(
            sum(host.encode()), 256), 'port': port,
        'state': state, 'problem': problem, 'code': code, 'remedy': None,
        'protocols': protocols,
        'groups': [] if not protocols else
        GROUPS if kind in POLICIES else EVERY_GROUP,
        'certificate': certificate(host) if protocols else None,
        'policy': {key: {'value': value, 'required': True}
                   for key, value in POLICIES[kind].items()}
        if kind in POLICIES else None,
        'signatures': [*SIGNATURES] if 'TLSv1.2' in protocols else [],
        'extended_master_secret': True if 'TLSv1.2' in protocols else None,
        'session_tickets': False if 'TLSv1.2' in protocols else None,
        'unencrypted_offers': [], 'open_channels': None,
        'findings': FINDINGS.get((kind, display), [])}


def document(host: str, kinds: Iterable[str], first: int = 0,
             time: str = '2026-11-24T03:00:00Z') -> Document:
    """
    Return the scan document of a host: a VM of each of the kinds, numbered
    from the first on.
    """
    consoles = [console(host, 'vm%05d' % (first + number), kind, display,
                        5900 + 2 * number + offset)
                for number, kind in enumerate(kinds)
                for offset, display in enumerate(('spice', 'vnc'))]
    failed = sum(bool(each['findings']) for each in consoles)
    not_scanned = sum(each['state'] == 'unreachable' for each in consoles)
    return {
        'format': 'vdsm-tlsciphers scan', 'version': 2, 'tool': '0.4.0',
        'host': host, 'time': time, 'baseline': 'intermediate',
        'consoles': consoles, 'summary': {
            'consoles': len(consoles), 'failed': failed,
            'not_scanned': not_scanned, 'partly_checked': 0,
            'passed': len(consoles) - failed - not_scanned}}


def as_version_1(scan: Document) -> Document:
    """Return what 0.3.0 would have printed in the place of a document."""
    old = copy.deepcopy(scan)
    old.update(version=1, tool='0.3.0')
    del old['summary']['partly_checked']
    for each in old['consoles']:
        for key in ('code', 'remedy', 'signatures', 'extended_master_secret',
                    'session_tickets', 'unencrypted_offers', 'open_channels'):
            del each[key]
        each['findings'] = [{key: found[key] for key in ('against', 'finding')}
                            for found in each['findings']]
    return old


def write(folder: pathlib.Path, documents: Iterable[Document]) -> pathlib.Path:
    """Write documents as files in a new folder; return it."""
    folder.mkdir()
    for each in documents:
        (folder / (each['host'] + '.json')).write_text(json.dumps(each))
    return folder


def cluster(hosts: int, machines: int, time: str = '2026-11-24T03:00:00Z',
            is_after: bool = True) -> Iterator[Document]:
    """
    Yield the documents of many hosts: before a roll-out, or during it, when
    two of three VMs have been started again.
    """
    for host in range(hosts):
        first = host * machines
        yield document(
            'node%03d.example.com' % (host + 1),
            [BROAD if not is_after else CLOSED if number % 997 == 0 else
             (BROAD, MODERN, INTERMEDIATE, MODERN, INTERMEDIATE, OFF)[
                 (number * 7 + number // 11) % 6]
             for number in range(first, first + machines)], first, time)
