# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""The result of a scan of a console, its verdict, and totals."""

import collections

from vdsm_tlsciphers.audit import compliance

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Literal, NamedTuple

    from typing_extensions import Self

    from vdsm_tlsciphers import documents

    Verdict = Literal['passed', 'partly checked', 'failed', 'not scanned']

PROTOCOLS = ('SSLv3', 'TLSv1', 'TLSv1.1', 'TLSv1.2', 'TLSv1.3')
STRENGTHS: 'tuple[documents.Strength, ...]' = (
    'strong', 'acceptable', 'weak', 'broken')
PASSED: 'Verdict' = 'passed'
PARTLY: 'Verdict' = 'partly checked'
FAILED: 'Verdict' = 'failed'
NOT_SCANNED: 'Verdict' = 'not scanned'
VERDICTS = (PASSED, PARTLY, FAILED, NOT_SCANNED)
# From the worst on.
SEVERITY = (FAILED, NOT_SCANNED, PARTLY, PASSED)
SCANNED: 'documents.ScanState' = 'scanned'
TLS_REQUIRED: 'documents.ScanState' = 'TLS required'

if TYPE_CHECKING:
    class Suite(NamedTuple):
        """As in a document."""

        suite: str
        code: str
        key_exchange: str
        strength: documents.Strength

    class Certificate(NamedTuple):
        """As in a document."""

        subject: str
        issuer: str
        not_before: str
        not_after: str
        key: str
        signature: str
        sha256: str

    Protocols = tuple[tuple[str, tuple[Suite, ...]], ...]
    Policy = tuple[tuple[str, str, bool], ...]

    class Finding(NamedTuple):
        """As in a document."""

        against: documents.Against
        severity: documents.Severity
        text: str
        remedy: str
        code: str

    class _Result(NamedTuple):
        verdict: Verdict
        state: documents.ScanState
        problem: str | None
        code: str | None
        protocols: Protocols
        groups: tuple[str, ...]
        certificate: Certificate | None
        policy: Policy | None
        signatures: tuple[str, ...]
        extended_master_secret: bool | None
        session_tickets: bool | None
        open_channels: tuple[str, ...] | None
        findings: tuple[Finding, ...]
        unchecked: tuple[str, ...]
else:
    Suite = collections.namedtuple('Suite', 'suite code key_exchange strength')
    Certificate = collections.namedtuple(
        'Certificate', 'subject issuer not_before not_after key signature '
        'sha256')
    Finding = collections.namedtuple('Finding',
                                     'against severity text remedy code')
    _Result = collections.namedtuple(
        'Result', 'verdict state problem code protocols groups certificate '
        'policy signatures extended_master_secret session_tickets '
        'open_channels findings unchecked')


class Result(_Result):
    """
    The result of a console, without its name and address, so that consoles
    with the same result share a description: verdict (of VERDICTS), state,
    problem and code as in the document, protocols (tuple of (version, tuple of
    Suite)), groups (tuple of str), certificate (Certificate or None), policy
    (tuple of (key, value, required); None: the VM is
    unknown), signatures (tuple of str), extended_master_secret,
    session_tickets, open_channels as in the document, findings (tuple of
    Finding), unchecked (tuple of str).
    """

    __slots__ = ()

    @property
    def is_whole(self) -> bool:
        """Whether the scan of the console is complete (bool)."""
        return self.state in (SCANNED, TLS_REQUIRED, compliance.NO_TLS)

    @property
    def offers(self) -> 'list[tuple[str, Suite]]':
        """The (version, Suite) pairs that the console accepted."""
        return [(version, suite) for version, suites in self.protocols
                for suite in suites]


def verdict(console: 'documents.Console') -> 'Verdict':
    """Return the verdict (of VERDICTS) of a console of a scan document."""
    if console['findings']:
        return FAILED
    if console['state'] not in (SCANNED, TLS_REQUIRED):
        return NOT_SCANNED
    return PARTLY if compliance.unchecked(console) else PASSED


def result(console: 'documents.Console') -> Result:
    """Return the Result of a console of a scan document."""
    certificate = console['certificate']
    channels = console.get('open_channels')
    return Result(
        verdict(console), console['state'], console['problem'],
        console.get('code'),
        tuple((version, tuple(
            Suite(suite['suite'], suite['code'], suite['key_exchange'],
                  suite['strength'])
            for suite in sorted(console['protocols'][version], key=by_rank)))
            for version in PROTOCOLS if console['protocols'].get(version)),
        tuple(console['groups']),
        certificate and Certificate(
            certificate['subject'], certificate['issuer'],
            certificate['not_before'], certificate['not_after'],
            certificate['key'], certificate['signature'],
            certificate['sha256']),
        tuple((key, setting['value'], setting['required'])
              for key, setting in (console['policy'] or {}).items())
        if console['vm'] else None,
        tuple(console.get('signatures') or ()),
        console.get('extended_master_secret'), console.get('session_tickets'),
        None if channels is None else tuple(channels),
        tuple(Finding(finding['against'], finding['severity'],
                      finding['text'], finding['remedy'], finding['code'])
              for finding in console['findings']),
        tuple(compliance.unchecked(console))
        if console['state'] in (SCANNED, TLS_REQUIRED) else ())


def by_rank(suite: 'documents.Suite') -> int:
    """Key to sort suites (dict) from strong to broken."""
    return STRENGTHS.index(suite['strength'])


class Totals:
    """
    Counts over consoles: consoles, verdicts and suites (Counters, by verdict
    and by strength).
    """

    def __init__(self) -> None:
        self.consoles = 0
        self.verdicts: collections.Counter[Verdict] = collections.Counter()
        self.suites: collections.Counter[documents.Strength] = (
            collections.Counter())

    def add(self, found: Result) -> None:
        """Count the Result of a console."""
        self.consoles += 1
        self.verdicts[found.verdict] += 1
        for _, suite in found.offers:
            self.suites[suite.strength] += 1

    def __iadd__(self, other: 'Self') -> 'Self':
        self.consoles += other.consoles
        self.verdicts += other.verdicts
        self.suites += other.suites
        return self


def endpoint(console: 'documents.Console') -> str:
    """Return a console's address and port (str)."""
    return ('[%s]:%d' if ':' in console['address'] else '%s:%d') % (
        console['address'], console['port'])
