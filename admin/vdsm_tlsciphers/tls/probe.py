# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""What a port accepts, found out by a series of handshakes."""

import contextlib
import re
import socket
import struct
import threading
import time

from vdsm_tlsciphers.tls import cipher_suites, handshake, vencrypt
from vdsm_tlsciphers.tls.stream import ProtocolError, Stream

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from vdsm_tlsciphers import documents

# Seconds for a connection and all that it carries, and for a port.
TIMEOUT = 10
PORT_TIMEOUT = 120
# The same for HTTP, where a port gives no TLS response.
HTTP_TIMEOUT = 3
# For a port. Consoles need some 60: those that need more are hostile.
MOST_CONNECTIONS = 1000
# Of a host name: its owner may have given it any number.
MOST_ADDRESSES = 8

SLOW = 'the server or the network is overloaded or stopped: scan again'
HTTP = 'this port speaks HTTP without TLS'

_interrupted = threading.Event()
_connections: 'set[socket.socket]' = set()


class Unreachable(Exception):
    """
    The port accepts no connection; as a str: why. is_timeout (bool): nothing
    answers, as where a firewall discards what is sent.
    """

    code = 'unreachable'
    remedy = 'check the address, and the firewalls on the way'

    def __init__(self, reason: str, is_timeout: bool = False) -> None:
        super().__init__(reason)
        self.is_timeout = is_timeout


class NoTLS(Exception):
    """The server has no TLS; as a str: what is known of it."""


class SpicePlaintext(NoTLS):
    """It is a SPICE port without TLS."""


def end_by_reset(connection: socket.socket) -> None:
    """
    Have a connection end by a reset: SPICE then writes one line to the VM's
    log instead of two, and no socket lingers.
    """
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER,
                          struct.pack('ii', 1, 0))


def interrupt() -> None:
    """End all connections."""
    _interrupted.set()
    for connection in list(_connections):
        try:
            connection.shutdown(socket.SHUT_RDWR)
        except OSError:
            continue  # It has just ended.


class ServerProbe:
    """
    A port and what it accepts, as far as probe() has found out.

    Attributes:
        vnc (vencrypt.VeNCryptNegotiation): what comes before TLS, or None.
        suites ({version: {suite: bits of DH or None}}): those accepted.
        groups (list of int): those accepted, with TLS 1.3 and ECDHE.
        signatures (list of int): those accepted, with TLS 1.2.
        extended_master_secret, session_tickets (bool or None): with TLS 1.2
            and older: whether always, whether ever; None without these.
        certificate (bytes): the first one of the server, DER, or None.
        connections (int): how many were made.
    """

    def __init__(self, host: str, port: int,
                 display: 'documents.ScannedDisplay' = 'tls') -> None:
        self.vnc = vencrypt.VeNCryptNegotiation() if display == 'vnc' else None
        self._display = display
        self.suites: dict[str, dict[int, int | None]] = {}
        self.groups: list[int] = []
        self.signatures: list[int] = []
        self.extended_master_secret: bool | None = None
        self.session_tickets: bool | None = None
        self.certificate: bytes | None = None
        self.connections = 0
        self._address = (host, port)
        # A server can have one certificate for each of its names.
        is_name = re.match('[A-Za-z0-9._-]*[A-Za-z_-][A-Za-z0-9._-]*$', host)
        self._name = host if is_name else None
        self._deadline = time.monotonic() + PORT_TIMEOUT
        self._speaks_tls = False
        # Whether no more signatures come with suites.
        self._all_signatures = False
        # Whether a rejection came without an alert; the last rejection.
        self._silent = False
        self._refusal = handshake.HandshakeRejected()

    def probe(self) -> None:
        """
        Find out all of the attributes. Raises Unreachable, NoTLS, and
        ProtocolError where it cannot go on.
        """
        # QEMU's websocket without TLS would wait for the end of a request.
        if self._display == 'websocket' and self._speaks_http():
            raise NoTLS(HTTP)
        for version in reversed(list(handshake.VERSIONS)):
            self._find_suites(version)
        if not self.suites:
            if self._speaks_tls or self.vnc:
                raise ProtocolError(
                    'no common cipher suite', 'check the TLS settings, the '
                    'certificate and the log of the server: they leave '
                    'nothing that the scan offers', 'no-common-suite')
            raise NoTLS('no TLS response')
        self._find_groups()
        self._find_signatures()
        if self._silent:
            self._check_it_still_answers()
        if self.certificate is None and not self._is_anonymous():
            self.certificate = self._shake_hands()

    def _find_suites(self, version: str) -> None:
        if version == 'TLSv1.3':
            self._find_suites_of(version, cipher_suites.TLS13,
                                 handshake.GROUPS)
            return
        self._find_suites_of(version, cipher_suites.OLDER, handshake.CURVES)
        # Some servers do DHE in the client's groups only (RFC 7919). SSL 3.0
        # names none.
        if version in self.suites or not (
                self._refusal.is_of_version or version == 'SSLv3'):
            self._find_suites_of(version, [
                suite for suite in cipher_suites.OLDER
                if cipher_suites.is_dhe(suite)
                and suite not in self.suites.get(version, ())],
                handshake.GROUPS)

    def _find_suites_of(self, version: str, offered: 'Iterable[int]',
                        groups: 'Iterable[int]', whole: bool = True) -> None:
        """
        Find the suites that a version is accepted with. A server may fail at a
        suite that it chose (without a prime for DHE, or a key to sign with),
        which would hide what else it accepts: unless the rejection is about
        all of them, each kind is offered again by itself.
        """
        left = list(offered)
        while left:
            # With TLS 1.3 one full answer, then HelloRetryRequests.
            answer = self._ask_for_both(version, left, groups) or self._ask(
                version, left, groups, version not in self.suites)
            if answer is None:
                break
            left.remove(answer.suite)
            if answer.signature in handshake.SIGNATURE_NAMES:
                self._add_signature(answer.signature)
            self.suites.setdefault(version, {})[
                answer.suite] = answer.dh_bits
            self._add_group(answer.group)
        if not whole or self._refusal.is_of_version:
            return
        # Other libraries than QEMU's send this alert after a choice, too.
        if self._refusal.is_plain and (self._display != 'tls' or not (
                version == 'TLSv1.2' or version in self.suites)):
            return
        parts = cipher_suites.by_kind(left)
        if len(parts) > 1:
            for part in parts:
                self._find_suites_of(version, part, groups, False)

    def _ask_for_both(self, version: str, offered: 'list[int]',
                      groups: 'Iterable[int]') -> 'handshake.Answer | None':
        """
        Offer suites with signature algorithms that are still unknown, so that
        one answer tells one of each. Where that is rejected, nothing is known.
        """
        left = [signature for signature in handshake.SIGNATURE_NAMES
                if signature not in self.signatures]
        if version != 'TLSv1.2' or not self.signatures or self._all_signatures:
            return None
        answer = self._ask(version, offered, groups, signatures=left)
        if answer is None or answer.signature not in left:
            self._all_signatures = answer is None or (
                answer.signature is not None)
            return answer
        self._add_signature(answer.signature)
        return answer

    def _find_groups(self) -> None:
        if 'TLSv1.3' in self.suites:
            self._find_groups_of('TLSv1.3', list(self.suites['TLSv1.3']),
                                 handshake.GROUPS)
        for version in 'TLSv1.2', 'TLSv1.1', 'TLSv1':
            offered = [suite for suite in self.suites.get(version, ())
                       if 'ECDHE' in cipher_suites.key_exchange(suite)]
            if offered:
                self._find_groups_of(version, offered, handshake.CURVES)
                break

    def _find_groups_of(self, version: str, offered: 'list[int]',
                        groups: 'Iterable[int]') -> None:
        left = [group for group in groups if group not in self.groups]
        while left:
            answer = self._ask(version, offered, left)
            if answer is None:
                break
            if answer.group not in left:
                raise ProtocolError(
                    'the server chose a group that was not offered')
            left.remove(answer.group)
            self._add_group(answer.group)
        if len(left) > 1 and not self._refusal.is_plain:
            for group in left:
                self._find_groups_of(version, offered, [group])

    def _add_group(self, group: 'int | None') -> None:
        if group in handshake.GROUPS and group not in self.groups:
            self.groups.append(group)

    def _find_signatures(self) -> None:
        left = [signature for signature in handshake.SIGNATURE_NAMES
                if signature not in self.signatures]
        # First without the extension.
        signatures: list[int] = []
        for exchange in 'ECDHE', 'DHE':
            offered = [suite for suite in self.suites.get('TLSv1.2', ())
                       if cipher_suites.key_exchange(suite) == exchange]
            while offered and left:
                answer = self._ask('TLSv1.2', offered, handshake.GROUPS,
                                   signatures=signatures)
                if answer is not None:
                    self._add_signature(answer.signature)
                    # Some servers ignore the offer.
                    if signatures and answer.signature not in signatures:
                        return
                    left = [signature for signature in left
                            if signature != answer.signature]
                elif signatures:
                    if len(signatures) > 1 and not self._refusal.is_plain:
                        self._find_each_signature(offered, signatures)
                    break
                signatures = left

    def _find_each_signature(self, offered: 'list[int]',
                             signatures: 'list[int]') -> None:
        for signature in signatures:
            answer = self._ask('TLSv1.2', offered, handshake.GROUPS,
                               signatures=[signature])
            if answer is not None:
                self._add_signature(answer.signature)

    def _add_signature(self, signature: 'int | None') -> None:
        if signature not in handshake.SIGNATURE_NAMES:
            raise ProtocolError('the server chose a signature '
                                          'algorithm that was not offered')
        if signature not in self.signatures:
            self.signatures.append(signature)

    def _check_it_still_answers(self) -> None:
        # A connection may have been closed for another reason.
        version, accepted = next(iter(self.suites.items()))
        if self._ask(version, list(accepted), handshake.GROUPS) is None:
            raise ProtocolError('results not reproducible')

    def _is_anonymous(self) -> bool:
        return not any(version == 'TLSv1.3' or not cipher_suites.key_exchange(
            suite).startswith(('anonymous', 'PSK'))
            for version, accepted in self.suites.items()
            for suite in accepted)

    def _ask(self, version: str, offered: 'list[int]',
             groups: 'Iterable[int]', shares: bool = False,
             signatures: 'Iterable[int]' = handshake.SIGNATURES) -> (
                 'handshake.Answer | None'):
        """
        Return the handshake.Answer to an offer, with the certificate unless it
        is known, or None where the offer is rejected.
        """
        try:
            with self._connection() as connection:
                stream = Stream(connection,
                                          time.monotonic() + TIMEOUT)
                self._begin(stream)
                try:
                    stream.send(handshake.client_hello(
                        version, offered, groups, self._name, shares,
                        signatures))
                    answer = handshake.read_answer(stream, version, offered,
                                                   self.certificate is None)
                except ConnectionError:
                    raise handshake.HandshakeRejected
        except handshake.HandshakeRejected as refusal:
            self._speaks_tls |= refusal.alert is not None or refusal.chosen
            self._silent |= refusal.alert is None
            self._refusal = refusal
            return None
        except handshake.NotTLS as other:
            if self.suites or self._speaks_tls or self.vnc:
                raise ProtocolError('malformed TLS message')
            if not other.start.startswith(vencrypt.BANNER):
                raise _describe(other.start)
            self.vnc = vencrypt.VeNCryptNegotiation()
            return self._ask(version, offered, groups, shares, signatures)
        except socket.timeout:
            if self.connections == 1 and self._speaks_http():
                raise NoTLS(HTTP)
            raise ProtocolError(
                'no full answer within %d seconds' % TIMEOUT, SLOW,
                'scan-timeout')
        except OSError as error:
            raise ProtocolError('connection failed: %s'
                                          % (error.strerror or error))
        self._speaks_tls = True
        self.certificate = self.certificate or answer.certificate
        if version in ('TLSv1.2', 'TLSv1.1', 'TLSv1'):
            self.extended_master_secret = (
                self.extended_master_secret is not False
                and answer.extended_master_secret)
            self.session_tickets = bool(self.session_tickets
                                        or answer.session_ticket)
        return answer

    def _speaks_http(self) -> bool:
        try:
            with self._connection() as connection:
                return Stream(connection, time.monotonic()
                              + HTTP_TIMEOUT).speaks_http()
        except OSError:
            return False

    def _begin(self, stream: Stream) -> None:
        if self.vnc is None:
            return
        if self.vnc.subtypes:
            self.vnc.again(stream)
            return
        try:
            self.vnc.begin(stream)
        except vencrypt.NoTLS as reason:
            raise NoTLS(str(reason))

    @contextlib.contextmanager
    def _connection(self) -> 'Iterator[socket.socket]':
        with self._connect() as connection:
            _connections.add(connection)
            try:
                # interrupt() may have run before it was known.
                if _interrupted.is_set():
                    raise ProtocolError('interrupted')
                yield connection
            finally:
                _connections.discard(connection)

    def _connect(self) -> socket.socket:
        if _interrupted.is_set():
            raise ProtocolError('interrupted')
        if self.connections >= MOST_CONNECTIONS:
            raise ProtocolError('connection limit reached: %d'
                                          % MOST_CONNECTIONS)
        if time.monotonic() > self._deadline:
            raise ProtocolError('time limit reached: %d seconds'
                                          % PORT_TIMEOUT, SLOW, 'scan-timeout')
        self.connections += 1
        try:
            connection = self._open()
        except (OSError, UnicodeError) as error:
            reason = 'invalid host name'
            if isinstance(error, OSError):
                reason = error.strerror or str(error)
            if self.connections == 1:
                raise Unreachable(reason, isinstance(error, socket.timeout))
            raise ProtocolError('no more connections accepted: '
                                          + reason)
        end_by_reset(connection)
        if self._name:
            # The same address from now on: the name is looked up once.
            self._address = connection.getpeername()[:2]
        return connection

    def _open(self) -> socket.socket:
        """Connect to the first of some addresses that takes it."""
        error = OSError('no address')
        for family, kind, protocol, _, address in socket.getaddrinfo(
                *self._address, type=socket.SOCK_STREAM)[:MOST_ADDRESSES]:
            connection = socket.socket(family, kind, protocol)
            try:
                connection.settimeout(TIMEOUT)
                connection.connect(address)
            except OSError as reason:
                connection.close()
                error = reason
            else:
                return connection
        raise error

    def _shake_hands(self) -> 'bytes | None':
        """
        Return the certificate (bytes, DER) from a full handshake: TLS 1.3
        encrypts it.
        """
        import ssl
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        # It is checked elsewhere, and may have what this host forbids.
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        context.set_ciphers('ALL:@SECLEVEL=0')
        try:
            with self._connection() as connection:
                stream = Stream(connection,
                                          time.monotonic() + TIMEOUT)
                self._begin(stream)
                connection.settimeout(TIMEOUT)
                with context.wrap_socket(
                        connection, server_hostname=self._name) as secured:
                    return secured.getpeercert(True)
        except OSError as error:
            raise ProtocolError(
                'the certificate cannot be read: %s' % (
                    getattr(error, 'reason', None) or error.strerror or error))


def _describe(start: bytes) -> NoTLS:
    """Return what is known of a server whose answer begins so (bytes)."""
    if start.startswith(b'REDQ'):
        return SpicePlaintext('this SPICE port is not encrypted')
    return NoTLS(HTTP if start.startswith(b'HTTP/') else
                 'this port does not speak TLS')
