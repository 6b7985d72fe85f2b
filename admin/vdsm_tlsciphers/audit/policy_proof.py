# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""
Handshakes that prove a policy: a console rejects all that is outside it, and
accepts something inside.

Each offer is for one version of TLS. A server that is offered several picks
the newest and rejects that, although it might accept an older one.
"""

import collections
import concurrent.futures
import socket
import time

from vdsm_tlsciphers import one_line
from vdsm_tlsciphers.tls import cipher_suites, handshake, probe, vencrypt
from vdsm_tlsciphers.tls.stream import ProtocolError, Stream

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import NamedTuple

    from vdsm_tlsciphers.audit.compliance import AllowedSet

VERSIONS = ('TLSv1', 'TLSv1.1', 'TLSv1.2', 'TLSv1.3')
# Ports at the same time; each has one connection at a time.
WORKERS = 32
# Seconds for a port, once it is its turn.
TIMEOUT = 5
# For HTTP, where a port gives no TLS response.
HTTP_TIMEOUT = 2
UNENCRYPTED = 'connections without encryption'
# Beside TLS with a certificate.
OFFERS = {vencrypt.ANONYMOUS_TLS: 'TLS without a certificate',
          vencrypt.NO_TLS: UNENCRYPTED}

if TYPE_CHECKING:
    class Offer(NamedTuple):
        """The offer of a client, and whether it is within the policy."""

        version: str
        suites: tuple[int, ...]
        groups: tuple[int, ...]
        within: bool
else:
    Offer = collections.namedtuple('Offer', 'version suites groups within')


class Proof:
    """
    The result of handshakes with a port: accepted (list of str: what it
    accepted from outside the policy, or offers beside TLS), usable (bool:
    whether it accepted something inside), problem (str: why they could not be
    finished, or None).
    """

    def __init__(self) -> None:
        self.accepted: list[str] = []
        self.usable = False
        self.problem: str | None = None

    @property
    def effective(self) -> 'bool | None':
        """Whether the policy is effective; None where unknown."""
        if self.accepted:
            return False
        return None if self.problem else self.usable


def offers(bounds: 'AllowedSet', display: str) -> 'list[Offer]':
    """
    Return the offers (list of Offer) that prove the AllowedSet of a
    console's policy: those outside it, then those inside, newest first.
    """
    found = []
    within = []
    permitted_groups = tuple(code for code, name in handshake.GROUPS.items()
                             if bounds.permits_group(name))
    outside_groups = tuple(code for code in handshake.GROUPS
                           if code not in permitted_groups)
    for version in VERSIONS:
        is_tls13 = version == 'TLSv1.3'
        every = cipher_suites.TLS13 if is_tls13 else cipher_suites.OLDER
        curves = tuple(handshake.GROUPS if is_tls13 else handshake.CURVES)
        bound = bounds.tls13 if is_tls13 else bounds.older
        permitted = tuple(
            code for code in every if bound is None or code in bound)
        if bounds.versions is not None and version not in bounds.versions:
            permitted = ()
        beyond = tuple(code for code in every if code not in permitted)
        if beyond:
            found.append(Offer(version, beyond, curves, False))
        # GnuTLS does DHE in its own group for clients that name none, and in
        # one of theirs otherwise (RFC 7919).
        dhe = tuple(filter(cipher_suites.is_dhe, beyond))
        if dhe and display != 'spice' and not is_tls13:
            found.append(Offer(version, dhe, tuple(handshake.GROUPS), False))
        # In its own group, where the policy permits none for DHE.
        dhe = tuple(filter(cipher_suites.is_dhe, permitted))
        if dhe and display != 'spice' and not bounds.permits_finite_field:
            found.append(Offer(version, dhe, tuple(handshake.CURVES), False))
        # Only these: other suites need no group.
        ephemeral = permitted if is_tls13 else tuple(
            code for code in permitted
            if 'ECDHE' in cipher_suites.key_exchange(code))
        groups = tuple(group for group in outside_groups if group in curves)
        if ephemeral and groups:
            found.append(Offer(version, ephemeral, groups, False))
        if permitted:
            within.append(Offer(version, permitted, permitted_groups, True))
    return found + within[::-1]


def prove_all(ports: 'Iterable[tuple[str, str, int, list[Offer]]]',
              ) -> 'list[Proof]':
    """
    Return the Proof of each of some (display, address, port, offers), several
    at a time.
    """
    with concurrent.futures.ThreadPoolExecutor(WORKERS) as executor:
        return list(executor.map(lambda given: prove(*given), ports))


def prove(display: str, address: str, number: int,
          given: 'list[Offer]') -> Proof:
    """
    Make handshakes with a port, after VeNCrypt where the display is 'vnc';
    return their Proof. Each ends with the server's answer: to the console no
    client has connected.
    """
    proof = Proof()
    deadline = time.monotonic() + TIMEOUT
    vnc = vencrypt.VeNCryptNegotiation() if display == 'vnc' else None
    try:
        for offer in given:
            if offer.within and proof.usable:
                break
            answer = _ask(address, number, vnc, offer, deadline)
            if answer is None:
                continue
            if offer.within:
                proof.usable = True
            elif answer.suite in offer.suites and (
                    answer.group is None or answer.group in offer.groups):
                proof.accepted.append(_describe(answer))
    except (handshake.NotTLS, vencrypt.NoTLS):
        proof.accepted.append(UNENCRYPTED)
    except (probe.Unreachable, ProtocolError) as problem:
        proof.problem = one_line(str(problem), '', problem.code)
    except socket.timeout:
        # Without TLS it waits for the end of an HTTP request.
        if display == 'websocket' and _speaks_http(address, number):
            proof.accepted.append(UNENCRYPTED)
        proof.problem = 'no response within %d seconds' % TIMEOUT
    except OSError as error:
        proof.problem = 'connection failed: %s' % (
            error.strerror or error)
    if vnc and vnc.subtypes:
        proof.accepted += [OFFERS[offer] for offer in vnc.unencrypted_offers()]
    return proof


def _ask(address: str, number: int,
         vnc: 'vencrypt.VeNCryptNegotiation | None', offer: Offer,
         deadline: float, whole: bool = True) -> 'handshake.Answer | None':
    """
    Return the handshake.Answer to an offer, None where it is rejected. Like
    probe.ServerProbe, it offers in parts what a rejection may not be about.
    """
    try:
        return _shake_hands(address, number, vnc, offer, deadline)
    except handshake.HandshakeRejected as error:
        rejection = error
    for part in _parts(offer, rejection, whole):
        answer = _ask(address, number, vnc, part, deadline, False)
        if answer is not None:
            return answer
    return None


def _parts(offer: Offer, rejection: handshake.HandshakeRejected,
           whole: bool) -> 'list[Offer]':
    """Return what is to be offered after a rejection."""
    # (QEMU's VNC closes the connection without an alert.)
    if not whole or rejection.is_of_version or rejection.is_plain:
        return []
    parts = cipher_suites.by_kind(offer.suites)
    return [offer._replace(suites=tuple(part)) for part in parts
            if len(parts) > 1]


def _shake_hands(address: str, number: int,
                 vnc: 'vencrypt.VeNCryptNegotiation | None', offer: Offer,
                 deadline: float) -> handshake.Answer:
    left = deadline - time.monotonic()
    if left <= 0:
        raise socket.timeout
    try:
        connection = socket.create_connection((address, number), left)
    except socket.timeout:
        raise
    except OSError as error:
        raise probe.Unreachable(error.strerror or str(error))
    with connection:
        probe.end_by_reset(connection)
        stream = Stream(connection, deadline)
        if vnc and vnc.subtypes:
            vnc.again(stream)
        elif vnc:
            vnc.begin(stream)
        try:
            stream.send(handshake.client_hello(offer.version, offer.suites,
                                               offer.groups))
            return handshake.read_answer(stream, offer.version, offer.suites)
        except ConnectionError:
            raise handshake.HandshakeRejected


def _speaks_http(address: str, number: int) -> bool:
    try:
        with socket.create_connection((address, number),
                                      HTTP_TIMEOUT) as connection:
            return Stream(connection, time.monotonic()
                          + HTTP_TIMEOUT).speaks_http()
    except (OSError, ProtocolError):
        return False


def _describe(answer: handshake.Answer) -> str:
    group = handshake.GROUPS.get(answer.group or 0)
    where = ' in the group ' + group if group else ''
    if answer.dh_bits:
        where = ' in a Diffie-Hellman group of %d bits' % answer.dh_bits
    return '%s with %s%s' % (answer.version, cipher_suites.NAMES[answer.suite],
                             where)
