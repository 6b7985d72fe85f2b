# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""
Scan documents like those of real hosts, generated: hosts with VMs that have
a SPICE and a VNC console each.
"""

import hashlib
import json
import uuid

BROAD, MODERN, INTERMEDIATE, OFF, CLOSED = KINDS = (
    'without a policy', 'modern', 'intermediate', 'VNC not encrypted',
    'unreachable')

TLS13 = [('TLS_AES_256_GCM_SHA384', '1302'),
         ('TLS_CHACHA20_POLY1305_SHA256', '1303'),
         ('TLS_AES_128_GCM_SHA256', '1301')]
CCM13 = ('TLS_AES_128_CCM_SHA256', '1304')
AEAD = [('ECDHE-RSA-AES256-GCM-SHA384', 'C030'),
        ('ECDHE-RSA-CHACHA20-POLY1305', 'CCA8'),
        ('ECDHE-RSA-AES128-GCM-SHA256', 'C02F')]
CCM = [('ECDHE-RSA-AES256-CCM', 'C0A3'), ('DHE-RSA-AES256-CCM', 'C09F'),
       ('DHE-RSA-AES128-CCM', 'C09E')]
DHE = [('DHE-RSA-AES256-GCM-SHA384', '009F'),
       ('DHE-RSA-CHACHA20-POLY1305', 'CCAA'),
       ('DHE-RSA-AES128-GCM-SHA256', '009E')]
CBC = [('ECDHE-RSA-AES256-SHA', 'C014'), ('ECDHE-RSA-AES128-SHA', 'C013')]
DHE_CBC = [('DHE-RSA-AES256-SHA', '0039'), ('DHE-RSA-AES128-SHA', '0033')]
RSA = [('AES256-GCM-SHA384', '009D'), ('AES128-GCM-SHA256', '009C'),
       ('AES256-SHA256', '003D'), ('AES128-SHA256', '003C')]
RSA_CBC = [('AES256-SHA', '0035'), ('AES128-SHA', '002F')]


def suites(names, strength, exchange=None):
    """Return entries of a document for suites (list of (name, code))."""
    return [{'suite': name, 'code': code, 'strength': strength,
             'key_exchange': exchange or (
                 'any' if name.startswith('TLS_') else
                 name.split('-')[0] if 'DHE' in name else 'RSA')}
            for name, code in names]


STRONG13 = suites(TLS13, 'strong')
OLD = suites(CBC + DHE_CBC + RSA_CBC, 'weak')
# What consoles accept, by kind and display: counted on real ones.
PROTOCOLS = {
    (BROAD, 'spice'): {
        'TLSv1.2': suites(AEAD, 'strong') + suites(
            DHE + CBC[:1], 'acceptable') + suites(RSA + RSA_CBC, 'weak'),
        'TLSv1.3': STRONG13},
    (BROAD, 'vnc'): {
        'TLSv1': OLD, 'TLSv1.1': OLD,
        'TLSv1.2': suites(AEAD + CCM[:1], 'strong') + suites(
            CCM[1:] + DHE + CBC + DHE_CBC, 'acceptable') + suites(
                RSA[:3] + RSA_CBC, 'weak'),
        'TLSv1.3': STRONG13 + suites([CCM13], 'strong')},
    (MODERN, 'spice'): {'TLSv1.3': STRONG13},
    (MODERN, 'vnc'): {'TLSv1.3': STRONG13},
    (INTERMEDIATE, 'spice'): {'TLSv1.2': suites(AEAD, 'strong'),
                              'TLSv1.3': STRONG13},
    (INTERMEDIATE, 'vnc'): {'TLSv1.2': suites(AEAD, 'strong'),
                            'TLSv1.3': STRONG13},
    (OFF, 'vnc'): {}}
PROTOCOLS[OFF, 'spice'] = PROTOCOLS[BROAD, 'spice']
FINDINGS = {
    (BROAD, 'spice'): [
        '6 suites without forward secrecy are accepted, such as AES256-SHA; '
        'set tlsprofile=intermediate or name suites in tlsciphers'],
    (BROAD, 'vnc'): [
        'TLSv1 is accepted; set tlsprofile=intermediate',
        'TLSv1.1 is accepted; set tlsprofile=intermediate',
        '5 suites without forward secrecy are accepted, such as AES256-SHA; '
        'set tlsprofile=intermediate'],
    (OFF, 'vnc'): [
        'the console has no TLS; check Enable VNC Encryption in the engine '
        'and reinstall the hosts of the cluster']}
FINDINGS[OFF, 'spice'] = FINDINGS[BROAD, 'spice']
COMMON = {'ciphersuites': ':'.join(name for name, _ in TLS13),
          'groups': 'X25519:prime256v1:secp384r1'}
POLICIES = {
    MODERN: {'protocols': 'TLSv1.3', **COMMON},
    INTERMEDIATE: {'ciphers': ':'.join(name for name, _ in AEAD),
                   'protocols': 'TLSv1.2:TLSv1.3', **COMMON}}


def certificate(host):
    """Return the certificate of a host."""
    return {'subject': 'O=Example, CN=%s' % host,
            'issuer': 'O=Example, CN=engine.example.com.31415',
            'not_before': '2026-01-07T09:12:44Z',
            'not_after': '2031-01-06T09:12:44Z', 'key': 'RSA 2048',
            'signature': 'sha256WithRSAEncryption',
            'sha256': hashlib.sha256(host.encode()).hexdigest()}


def console(host, vm, kind, display, port):
    """Return a console of a document."""
    if kind == CLOSED:
        state, problem = 'unreachable', 'no answer within 5 seconds'
    elif (kind, display) == (OFF, 'vnc'):
        state, problem = 'no TLS', None
    else:
        state, problem = 'scanned', None
    protocols = PROTOCOLS.get((kind, display), {})
    return {
        'vm': vm, 'uuid': str(uuid.uuid5(uuid.NAMESPACE_DNS, vm)),
        'display': display, 'address': '10.20.%d.%d' % divmod(
            sum(host.encode()), 256), 'port': port,
        'state': state, 'problem': problem, 'protocols': protocols,
        'groups': ['X25519', 'P-256', 'P-384'] if protocols else [],
        'certificate': certificate(host) if protocols else None,
        'policy': {key: {'value': value, 'required': True}
                   for key, value in POLICIES[kind].items()}
        if kind in POLICIES else None,
        'findings': [{'against': 'baseline', 'finding': finding}
                     for finding in FINDINGS.get((kind, display), ())]}


def document(host, kinds, first=0, time='2026-11-24T03:00:00Z'):
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
        'format': 'vdsm-tlsciphers scan', 'version': 1, 'tool': '0.3.0',
        'host': host, 'time': time, 'baseline': 'intermediate',
        'consoles': consoles, 'summary': {
            'consoles': len(consoles), 'failed': failed,
            'not_scanned': not_scanned,
            'passed': len(consoles) - failed - not_scanned}}


def write(folder, documents):
    """Write documents as files in a new folder; return it."""
    folder.mkdir()
    for each in documents:
        (folder / (each['host'] + '.json')).write_text(json.dumps(each))
    return folder


def cluster(hosts, machines, time='2026-11-24T03:00:00Z', is_after=True):
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
