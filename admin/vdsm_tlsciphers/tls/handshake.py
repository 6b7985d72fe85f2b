# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""
The beginning of a TLS handshake, as a client: its offer and the answer of the
server. RFC 8446, 5246 and 6101 define the messages.

No library offers all that a server may still accept, so the messages are
written here. Whatever a server sends is read in bounds.
"""

import collections
import os
import struct

from vdsm_tlsciphers.tls import cipher_suites
from vdsm_tlsciphers.tls.stream import ProtocolError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator
    from typing import NamedTuple

    from vdsm_tlsciphers.tls.stream import Stream

VERSIONS = {'SSLv3': 0x0300, 'TLSv1': 0x0301, 'TLSv1.1': 0x0302,
            'TLSv1.2': 0x0303, 'TLSv1.3': 0x0304}

# OpenSSL's names, of curves that it does not know IANA's.
CURVES = dict(enumerate(
    'sect163k1 sect163r1 sect163r2 sect193r1 sect193r2 sect233k1 sect233r1 '
    'sect239k1 sect283k1 sect283r1 sect409k1 sect409r1 sect571k1 sect571r1 '
    'secp160k1 secp160r1 secp160r2 secp192k1 P-192 secp224k1 P-224 secp256k1 '
    'P-256 P-384 P-521 brainpoolP256r1 brainpoolP384r1 brainpoolP512r1 '
    'X25519 X448 brainpoolP256r1tls13 brainpoolP384r1tls13 '
    'brainpoolP512r1tls13 GC256A GC256B GC256C GC256D GC512A GC512B GC512C '
    'curveSM2'.split(), 1))
GROUPS = dict(CURVES)
GROUPS.update({
    0x0100: 'ffdhe2048', 0x0101: 'ffdhe3072', 0x0102: 'ffdhe4096',
    0x0103: 'ffdhe6144', 0x0104: 'ffdhe8192', 0x0200: 'MLKEM512',
    0x0201: 'MLKEM768', 0x0202: 'MLKEM1024', 0x11eb: 'SecP256r1MLKEM768',
    0x11ec: 'X25519MLKEM768', 0x11ed: 'SecP384r1MLKEM1024',
    0x6399: 'X25519Kyber768Draft00', 0x639a: 'SecP256r1Kyber768Draft00'})
X25519, P_256 = 29, 23
# The curve's generator: no secret key is needed.
P_256_POINT = bytes.fromhex(
    '046b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296'
    '4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5')

# What a hello offers unless signatures are what is probed.
SIGNATURES = (0x0403, 0x0503, 0x0603, 0x0807, 0x0808, 0x081a, 0x081b, 0x081c,
              0x0809, 0x080a, 0x080b, 0x0804, 0x0805, 0x0806, 0x0401, 0x0501,
              0x0601, 0x0303, 0x0301, 0x0302, 0x0402, 0x0502, 0x0602, 0x0203,
              0x0201, 0x0202, 0x0708, 0x0904, 0x0905, 0x0906)

# OpenSSL's names of signature algorithms of TLS 1.2; with MD5, which no hello
# offers otherwise.
SIGNATURE_NAMES = {
    digest << 8 | kind: '%s+%s' % (key, name)
    for digest, name in ((1, 'MD5'), (2, 'SHA1'), (3, 'SHA224'),
                         (4, 'SHA256'), (5, 'SHA384'), (6, 'SHA512'))
    for kind, key in ((1, 'RSA'), (2, 'DSA'), (3, 'ECDSA'))}
SIGNATURE_NAMES.update({
    0x0708: 'sm2sig_sm3', 0x0804: 'rsa_pss_rsae_sha256',
    0x0805: 'rsa_pss_rsae_sha384', 0x0806: 'rsa_pss_rsae_sha512',
    0x0807: 'ed25519', 0x0808: 'ed448', 0x0809: 'rsa_pss_pss_sha256',
    0x080a: 'rsa_pss_pss_sha384', 0x080b: 'rsa_pss_pss_sha512',
    0x081a: 'ecdsa_brainpoolP256r1tls13_sha256',
    0x081b: 'ecdsa_brainpoolP384r1tls13_sha384',
    0x081c: 'ecdsa_brainpoolP512r1tls13_sha512',
    0x0904: 'mldsa44', 0x0905: 'mldsa65', 0x0906: 'mldsa87'})

# Among the suites: renegotiation is secure (RFC 5746).
RENEGOTIATION = 0x00ff
# The random bytes of a HelloRetryRequest (RFC 8446, section 4.1.3).
RETRY = bytes.fromhex(
    'cf21ad74e59a6111be1d8c021e65b891c2a211167abb8c5e079e09e2c8a8339c')

ALERT, HANDSHAKE = 21, 22
# Extensions.
EXTENDED_MASTER_SECRET, TICKET = 23, 35
SERVER_HELLO, CERTIFICATE, SERVER_KEY_EXCHANGE, SERVER_HELLO_DONE = (
    2, 11, 12, 14)
WARNING, CLOSE_NOTIFY = 1, 0
HANDSHAKE_FAILURE, PROTOCOL_VERSION, INSUFFICIENT_SECURITY = 40, 70, 71
# Bytes of a record on the wire, and records of an answer.
LONGEST_RECORD = 2 ** 14 + 2048
MOST_RECORDS = 256

if TYPE_CHECKING:
    class Answer(NamedTuple):
        """
        What a server chose, None where unknown; the certificate is in DER.
        Whether it has the extended master secret (RFC 7627) and session
        tickets (RFC 5077) of TLS before 1.3.
        """

        version: str
        suite: int
        group: int | None
        dh_bits: int | None
        certificate: bytes | None
        signature: int | None
        extended_master_secret: bool
        session_ticket: bool
else:
    Answer = collections.namedtuple(
        'Answer', 'version suite group dh_bits certificate signature '
        'extended_master_secret session_ticket')


class HandshakeRejected(Exception):
    """
    The server rejected the offer. alert (int or None): the TLS alert that it
    sent, if any, before it ended the connection. chosen (bool): whether it had
    already chosen something.
    """

    def __init__(self, alert: 'int | None' = None,
                 chosen: bool = False) -> None:
        super().__init__(alert)
        self.alert = alert
        self.chosen = chosen

    @property
    def is_plain(self) -> bool:
        """
        Whether it is about the whole offer. Otherwise the server may have
        failed at what it chose, and might accept the rest.
        """
        return not self.chosen and self.alert in (
            HANDSHAKE_FAILURE, PROTOCOL_VERSION, INSUFFICIENT_SECURITY)

    @property
    def is_of_version(self) -> bool:
        """Whether it is about the version, whatever was offered with it."""
        return not self.chosen and self.alert == PROTOCOL_VERSION


class NotTLS(Exception):
    """The server speaks another protocol: start (bytes) of its answer."""

    def __init__(self, start: bytes) -> None:
        super().__init__(start)
        self.start = start


def client_hello(version: str, offered: 'Iterable[int]',
                 groups: 'Iterable[int]', host: 'str | None' = None,
                 shares: bool = False,
                 signatures: 'Iterable[int]' = SIGNATURES) -> bytes:
    """
    Return the record (bytes) that begins a handshake.

    Arguments:
        version (str): the only one of VERSIONS that it offers.
        offered (iterable of int): suites.
        groups (iterable of int): of GROUPS.
        host (str): the server's name, if it has one.
        shares (bool): whether TLS 1.3 comes with keys for two groups, so that
            the server need not ask for one with a HelloRetryRequest.
        signatures (iterable of int): algorithms, from TLS 1.2 on; without
            any, the hello has no such extension.
    """
    number = min(VERSIONS[version], VERSIONS['TLSv1.2'])
    # GnuTLS can require it with TLS 1.3 too (%SAFE_RENEGOTIATION).
    codes = _numbers(offered) + struct.pack('>H', RENEGOTIATION)
    body = (struct.pack('>H', number) + os.urandom(32) + b'\0'
            + _block(codes) + b'\1\0')
    # Servers that know SSL 3.0 only may know no extensions.
    if version != 'SSLv3':
        body += _block(_extensions(version, groups, host, shares, signatures))
    return struct.pack('>BHHBBH', HANDSHAKE, min(number, VERSIONS['TLSv1']),
                       len(body) + 4, 1, 0, len(body)) + body


def _extensions(version: str, groups: 'Iterable[int]', host: 'str | None',
                shares: bool, signatures: 'Iterable[int]') -> bytes:
    extensions = [(10, _block(_numbers(groups))), (11, b'\1\0'),
                  (22, b''), (EXTENDED_MASTER_SECRET, b'')]
    if host:
        name = host.encode('ascii', 'replace')
        extensions.insert(0, (0, _block(b'\0' + _block(name))))
    # Without it, servers may take SHA-1 for granted (RFC 5246).
    signatures = tuple(signatures)
    if signatures and VERSIONS[version] >= VERSIONS['TLSv1.2']:
        extensions.append((13, _block(_numbers(signatures))))
    if version != 'TLSv1.3':
        extensions.append((TICKET, b''))
    else:
        keys = b''
        if shares:
            keys = b''.join(struct.pack('>H', group) + _block(key)
                            for group, key in ((X25519, os.urandom(32)),
                                               (P_256, P_256_POINT)))
        extensions += [(43, b'\2' + _numbers([VERSIONS[version]])),
                       (51, _block(keys))]
    return b''.join(struct.pack('>H', number) + _block(data)
                    for number, data in extensions)


def _numbers(numbers: 'Iterable[int]') -> bytes:
    numbers = tuple(numbers)
    return struct.pack('>%dH' % len(numbers), *numbers)


def _block(data: bytes) -> bytes:
    """Return data behind its length, as TLS writes vectors."""
    return struct.pack('>H', len(data)) + data


def read_answer(stream: 'Stream', version: str, offered: 'Collection[int]',
                certificate: bool = False) -> Answer:
    """
    Read the answer of a server to a client_hello().

    Arguments:
        stream (Stream)
        version (str), offered (collection of int): as in the hello.
        certificate (bool): whether to read up to it, before TLS 1.3.

    Returns an Answer. Raises HandshakeRejected, NotTLS, ProtocolError, and
    OSError.
    """
    chosen: list[Answer] = []
    try:
        return _read_answer(stream, version, offered, certificate, chosen)
    except (ConnectionError, HandshakeRejected) as refusal:
        raise HandshakeRejected(getattr(refusal, 'alert', None), bool(chosen))
    except (IndexError, struct.error):
        raise ProtocolError('malformed TLS message')


def _read_answer(stream: 'Stream', version: str, offered: 'Collection[int]',
                 certificate: bool, chosen: 'list[Answer]') -> Answer:
    answer = None
    for kind, body in _messages(stream):
        if answer is None:
            if kind != SERVER_HELLO:
                raise ProtocolError('unexpected TLS message %d' % kind)
            answer = _server_hello(body)
            if answer.version != version:
                # Older versions are offered later.
                raise HandshakeRejected(PROTOCOL_VERSION)
            if answer.suite not in offered:
                raise ProtocolError('the server chose cipher suite %04X, '
                                    'which was not offered' % answer.suite)
            chosen.append(answer)
        elif kind == CERTIFICATE:
            answer = answer._replace(certificate=_first_certificate(body))
        elif kind == SERVER_KEY_EXCHANGE:
            return _add_key_exchange(answer, body)
        elif kind == SERVER_HELLO_DONE:
            return answer
        if version == 'TLSv1.3' or not (
                (certificate and answer.certificate is None)
                or cipher_suites.is_ephemeral(answer.suite)):
            return answer
    raise HandshakeRejected


def _messages(stream: 'Stream') -> 'Iterator[tuple[int, bytes]]':
    """Yield the messages (type, body) of a handshake until its records end."""
    data = b''
    for record in _records(stream):
        data += record
        while len(data) >= 4:
            end = 4 + int.from_bytes(data[1:4], 'big')
            if len(data) < end:
                break
            yield data[0], data[4:end]
            data = data[end:]


def _records(stream: 'Stream') -> 'Iterator[bytes]':
    for number in range(MOST_RECORDS):
        first = number == 0
        header = stream.read(5)
        if len(header) < 5 and not (first and header):
            return
        if (len(header) < 5 or header[0] not in (ALERT, HANDSHAKE)
                or header[1] != 3):
            if first:
                raise NotTLS(header + stream.buffer[:59])
            raise ProtocolError('malformed TLS message')
        length = struct.unpack('>H', header[3:])[0]
        if not 0 < length <= LONGEST_RECORD:
            raise ProtocolError('malformed TLS message')
        data = stream.read(length)
        if len(data) < length:
            return
        if header[0] == HANDSHAKE:
            yield data
        elif data[0] != WARNING or data[1] == CLOSE_NOTIFY:
            raise HandshakeRejected(data[1])
    raise ProtocolError('malformed TLS message: too many records')


def _server_hello(body: bytes) -> Answer:
    number, = struct.unpack_from('>H', body)
    random = body[2:34]
    at = 35 + body[34]
    suite, _ = struct.unpack_from('>HB', body, at)
    group = None
    extensions = dict(_read_extensions(body[at + 3:]))
    for extension, data in extensions.items():
        if extension == 43:
            number, = struct.unpack('>H', data)
        elif extension == 51:
            group, = struct.unpack_from('>H', data)
            if random == RETRY and len(data) != 2:
                raise ProtocolError('malformed TLS message')
    for version, value in VERSIONS.items():
        if value == number:
            return Answer(version, suite, group, None, None, None,
                          EXTENDED_MASTER_SECRET in extensions,
                          TICKET in extensions)
    raise ProtocolError('the server chose TLS version %04X, which was not '
                        'offered' % number)


def _read_extensions(data: bytes) -> 'Iterator[tuple[int, bytes]]':
    at = 2
    while at < len(data):
        number, length = struct.unpack_from('>HH', data, at)
        yield number, data[at + 4:at + 4 + length]
        at += 4 + length


def _first_certificate(body: bytes) -> bytes:
    length = int.from_bytes(body[3:6], 'big')
    certificate = body[6:6 + length]
    if not certificate or len(certificate) < length:
        raise ProtocolError('truncated certificate')
    return certificate


def _add_key_exchange(answer: Answer, body: bytes) -> Answer:
    exchange = cipher_suites.key_exchange(answer.suite)
    at = 0
    if 'PSK' in exchange:
        at = 2 + struct.unpack_from('>H', body)[0]
    if 'ECDHE' in exchange:
        # Other kinds of curves have no name.
        if body[at] == 3:
            answer = answer._replace(
                group=struct.unpack_from('>H', body, at + 1)[0])
            at += 4 + body[at + 3]
        else:
            return answer
    elif 'DHE' in exchange:
        length, = struct.unpack_from('>H', body, at)
        prime = int.from_bytes(body[at + 2:at + 2 + length], 'big')
        answer = answer._replace(dh_bits=prime.bit_length())
        # The prime, the generator, the server's key.
        for _ in range(3):
            at += 2 + struct.unpack_from('>H', body, at)[0]
    if answer.version == 'TLSv1.2' and exchange in ('ECDHE', 'DHE'):
        answer = answer._replace(
            signature=struct.unpack_from('>H', body, at)[0])
    return answer
