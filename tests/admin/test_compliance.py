# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""What the assessment of a scan compares."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import pytest

import scan_documents
import support

SCRIPT = """
import json, sys
sys.path.insert(0, sys.argv[1])
from vdsm_tlsciphers.audit import compliance
from vdsm_tlsciphers.tls import certificate, handshake
print(json.dumps(eval(sys.argv[2], {
    'certificate': certificate, 'compliance': compliance,
    'handshake': handshake,
    'given': json.loads(sys.argv[3])})))
"""


def evaluate(installation: support.Installation, expression: str,
             given: object = None) -> Any:
    """Return what an expression of these modules comes to."""
    return json.loads(subprocess.run(
        [sys.executable, '-BIc', SCRIPT, installation.module.parent,
         expression, json.dumps(given)],
        check=True, capture_output=True, text=True).stdout)


@pytest.mark.parametrize('names', [
    ['P-256', 'prime256v1', 'secp256r1', 'SECP256R1', 'GROUP-SECP256R1'],
    ['P-384', 'secp384r1', 'GROUP-SECP384R1'],
    ['P-521', 'secp521r1', 'GROUP-SECP521R1'],
    ['P-224', 'secp224r1', 'GROUP-SECP224R1'],
    ['P-192', 'prime192v1', 'secp192r1', 'GROUP-SECP192R1'],
    ['X25519', 'x25519', 'GROUP-X25519'], ['X448', 'GROUP-X448'],
    ['ffdhe2048', 'FFDHE2048', 'GROUP-FFDHE2048'],
    ['GC512A', 'GROUP-GC512A'], ['sect163r2', 'B-163'],
    ['sect571k1', 'K-571'],
    ['X25519MLKEM768', 'GROUP-X25519-MLKEM768', 'x25519_mlkem768'],
    ['SecP256r1MLKEM768', 'GROUP-SECP256R1-MLKEM768', 'p256_mlkem768'],
    ['SecP384r1MLKEM1024', 'GROUP-SECP384R1-MLKEM1024', 'p384_mlkem1024'],
    ['X25519Kyber768Draft00', 'GROUP-X25519-KYBER768'],
    ['MLKEM768', 'GROUP-MLKEM768']], ids=lambda names: names[0])
def test_all_spellings_of_a_group_are_the_same(
        newest_installation: support.Installation,
        names: Sequence[str]) -> None:
    keys = evaluate(newest_installation,
                    'list(map(compliance.group_key, given))', names)
    assert len(set(keys)) == 1


def test_groups_that_a_scan_knows_are_different_ones(
        newest_installation: support.Installation) -> None:
    keys = evaluate(
        newest_installation,
        'list(map(compliance.group_key, handshake.GROUPS.values()))')
    assert len(keys) > 50
    assert len(set(keys)) == len(keys)


def test_hybrid_groups_of_gnutls_are_those_of_a_scan(
        newest_installation: support.Installation) -> None:
    """Such as a GnuTLS with leancrypto lists: none that is here."""
    bounds = (
        "compliance.AllowedSet(groups=set(map("
        "compliance.group_key, given[0].split(', '))))"
        '.violations({}, given[1], [])')
    assert evaluate(newest_installation, bounds, [
        'GROUP-X25519-MLKEM768, GROUP-SECP256R1-MLKEM768',
        ['X25519MLKEM768', 'SecP256r1MLKEM768']]) == []


@pytest.mark.parametrize('policy, found', [
    (':+DHE-RSA', ['dhe-outside-groups']),
    (':+DHE-RSA:+GROUP-FFDHE2048', []), ('', ['cipher-suite'])])
def test_dhe_with_a_prime_of_the_server_is_beyond_the_groups_of_a_policy(
        newest_installation: support.Installation, policy: str,
        found: list[str]) -> None:
    console = scan_documents.console(
        'host', 'vm', scan_documents.INTERMEDIATE, 'vnc', 5900)
    console['protocols'] = {'TLSv1.2': scan_documents.suites(
        'acceptable', 'DHE-RSA-AES128-GCM-SHA256')}
    console['groups'] = ['X25519']
    console['signatures'] = []
    console['policy'] = {'priority': {'required': True, 'value': (
        'NORMAL:-VERS-ALL:+VERS-TLS1.2:-KX-ALL:+ECDHE-RSA:-GROUP-ALL:'
        '+GROUP-X25519' + policy)}}
    assert evaluate(
        newest_installation,
        "[finding['code'] for finding in compliance.findings("
        "given[0], None, 'none', [])]", [console]) == found


NOT_CHECKED = 'the size of the certificate\'s key'
UNKNOWN_SIGNATURE = 'the certificate\'s signature'
GOOD_KEY, GOOD_SIGNATURE = 'RSA 2048', 'sha256WithRSAEncryption'


@pytest.mark.parametrize('key, signature, found', [
    (GOOD_KEY, GOOD_SIGNATURE, []), ('EC 256', 'ecdsa-with-SHA256', []),
    ('ED25519', 'ED25519', []), (GOOD_KEY, 'RSA-SHA256', []),
    *((GOOD_KEY, signature, ['certificate-signature']) for signature in (
        'md2WithRSAEncryption', 'md4WithRSAEncryption', 'RSA-MD5',
        'sha1WithRSAEncryption', 'RSA-SHA-1', 'rsa-sha-1', 'RSA-SHA1-2',
        'SHA1WITHRSA', 'ecdsa-with-SHA1', 'dsaWithSHA1', 'RSA-MD-5')),
    *((key, GOOD_SIGNATURE, ['certificate-key']) for key in (
        'RSA 1024', 'rsa 1024', 'rsaEncryption 1024', 'rsassaPss 1024',
        'RSASSA-PSS 1024', 'ec 160', 'dsaEncryption 1024')),
    *((key, GOOD_SIGNATURE, [NOT_CHECKED]) for key in (
        'rsa', 'rsassaPss', 'dhKeyAgreement 1024', 'other 100')),
    *((GOOD_KEY, signature, [UNKNOWN_SIGNATURE]) for signature in (
        'rsassaPss', 'sha', 'sha3', 'md22', 'ripemd160WithRSA'))])
def test_weak_certificate_is_told_under_any_name_or_not_checked(
        newest_installation: support.Installation, key: str, signature: str,
        found: list[str]) -> None:
    given = {**scan_documents.certificate('host'), 'key': key,
             'signature': signature}
    assert evaluate(
        newest_installation, '[code for code, _ in certificate.flaws('
        "given, ['2026-11-28T00:00:00Z'])] + certificate.unchecked(given)",
        given) == found
