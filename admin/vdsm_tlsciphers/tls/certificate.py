# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""What is in a server's certificate, read by OpenSSL."""

import functools
import hashlib
import re
import subprocess  # nosec B404 # programs by absolute path, no shell
import time

from tlsciphers_values import OPENSSL

from vdsm_tlsciphers import UserError, programs
from vdsm_tlsciphers.output import TIME, clean

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from vdsm_tlsciphers import documents

# Only the fields that are read below: no text that the owner chose.
OPTIONS = ('no_header,no_version,no_serial,no_issuer,no_validity,no_subject,'
           'no_extensions,no_sigdump,no_aux')
# Seconds.
TIMEOUT = 10
CHECK = 'check the certificate on the host'
# Characters of a name, which the owner chose.
LONGEST = 1000

# Bits that keys of other kinds than RSA's need for the same strength.
LEAST_BITS = {'RSA': 2048, 'DSA': 2048, 'EC': 224}
# Kinds of a single size.
FIXED_KEYS = ('ED25519', 'ED448', 'ML-DSA-44', 'ML-DSA-65', 'ML-DSA-87')
# Names of signatures that tell their digest.
KNOWN_SIGNATURES = ('(?i)md-?[245](?![0-9])|sha-?(1|224|256|384|512)(?![0-9])'
                    '|ed25519|ed448|sm3|ml-?dsa')
# Broken digests: the name, and as signatures spell it.
BROKEN_DIGESTS = (('MD2', 'md-?2'), ('MD4', 'md-?4'), ('MD5', 'md-?5'),
                  ('SHA-1', 'sha-?1'))
# Other names of kinds of keys, in lower case.
KEY_KINDS = {
    'rsa': 'RSA', 'rsaencryption': 'RSA', 'rsassapss': 'RSA',
    'rsassa-pss': 'RSA', 'rsa-pss': 'RSA', 'rsaesoaep': 'RSA', 'dsa': 'DSA',
    'dsaencryption': 'DSA', 'ec': 'EC', 'ecdsa': 'EC',
    'id-ecpublickey': 'EC'}


@functools.lru_cache(maxsize=1024)
def describe(der: bytes) -> 'documents.Certificate':
    """
    Return the fields of a certificate (bytes, DER). Raises UserError where
    OpenSSL cannot read it.
    """
    try:
        # The certificate is on its standard input, not among its arguments.
        process = programs.run_bytes(
            OPENSSL, 'x509', '-inform', 'DER', '-noout', '-subject', '-issuer',
            '-dates', '-nameopt', 'RFC2253', '-text', '-certopt', OPTIONS,
            data=der, timeout=TIMEOUT)
    except OSError as error:
        raise programs.cannot_run(OPENSSL, error)
    except subprocess.TimeoutExpired:
        raise UserError('openssl timed out reading the certificate', CHECK,
                        'certificate-timeout')
    lines = process.stdout.decode('utf-8', 'replace').split('\n')
    text = '\n'.join(map(clean, lines))
    try:
        return {
            'subject': _find('subject= ?(.*)', text),
            'issuer': _find('issuer= ?(.*)', text),
            'not_before': _time(_find('notBefore=(.*)', text)),
            'not_after': _time(_find('notAfter=(.*)', text)),
            'key': _key(text),
            'signature': _find(' *Signature Algorithm: (.*)', text),
            'sha256': hashlib.sha256(der).hexdigest()}
    except ValueError:
        raise UserError('OpenSSL cannot read the certificate', CHECK,
                        'certificate-unreadable')


def _find(pattern: str, text: str) -> str:
    found = re.search('(?m)^%s$' % pattern, text)
    if found is None:
        raise ValueError(pattern)
    return found.group(1).strip()[:LONGEST]


def _time(text: str) -> str:
    return time.strftime(TIME, time.strptime(
        text, '%b %d %H:%M:%S %Y %Z')).zfill(len('0000-00-00T00:00:00Z'))


def _key(text: str) -> str:
    kind = _find(' *Public Key Algorithm: (.*)', text)
    kind = {'rsaEncryption': 'RSA', 'id-ecPublicKey': 'EC',
            'dsaEncryption': 'DSA'}.get(kind, kind)
    bits = re.search(r'(?m)^ *(?:RSA )?Public-Key: \((\d+) bit', text)
    return '%s %s' % (kind, bits.group(1)) if bits else kind


def _size(key: str) -> 'tuple[str, int | None]':
    """Return the kind of a key and its bits, None where unknown."""
    found = re.match('(.*) ([0-9]{1,6})$', key)
    kind, bits = found.groups() if found else (key, None)
    kind = KEY_KINDS.get(kind.lower(), kind.upper())
    return kind, None if bits is None else int(bits)


def unchecked(certificate: 'documents.Certificate | None') -> 'list[str]':
    """Return what flaws() cannot check (list of str)."""
    if certificate is None:
        return ['the certificate']
    found = []
    kind, bits = _size(certificate['key'])
    # How many bits an unknown kind needs is unknown, too.
    if kind not in FIXED_KEYS and (bits is None or kind not in LEAST_BITS):
        found.append("the size of the certificate's key")
    if not re.search(KNOWN_SIGNATURES, certificate['signature']):
        found.append("the certificate's signature")
    return found


def flaws(
        certificate: 'documents.Certificate',
        times: 'Sequence[str]') -> 'list[tuple[str, str]]':
    """
    Return what is wrong with a certificate, as describe() has it, at any of
    some times (sequence of str, as in TIME): a list of (code, line).
    """
    found = []
    kind, bits = _size(certificate['key'])
    if bits is not None and bits < LEAST_BITS.get(kind, 0):
        found.append(('certificate-key', 'the key of the certificate has '
                      'only %d bits' % bits))
    for digest, spelling in BROKEN_DIGESTS:
        if re.search('(?i)' + spelling + '(?![0-9])',
                     certificate['signature']):
            found.append(('certificate-signature', 'the certificate is '
                          'signed with %s' % digest))
    # In this form the order of text is that of time.
    if certificate['not_after'] < max(times):
        found.append(('certificate-expired', 'the certificate expired on %s'
                      % certificate['not_after'][:10]))
    if certificate['not_before'] > min(times):
        found.append(('certificate-not-yet-valid', 'the certificate is not '
                      'valid before %s' % certificate['not_before'][:10]))
    return found
