# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""Scan documents: what "vdsm-tlsciphers scan --json" prints, read again."""

import collections
import ipaddress
import json
import os

from vdsm_tlsciphers import Problem, files

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any, Literal, NamedTuple

    from typing_extensions import Self

    from vdsm_tlsciphers import documents

    Verdict = Literal['passed', 'failed', 'not scanned']

FORMAT = 'vdsm-tlsciphers scan'
# Those that can be read.
VERSIONS = (1, 2)
# A scan of 10,000 consoles is smaller.
LARGEST = 64 << 20

PROTOCOLS = ('SSLv3', 'TLSv1', 'TLSv1.1', 'TLSv1.2', 'TLSv1.3')
STRENGTHS: 'tuple[documents.Strength, ...]' = (
    'strong', 'acceptable', 'weak', 'broken')
DISPLAYS = ('spice', 'vnc', 'websocket', 'tls')
PASSED: 'Verdict' = 'passed'
FAILED: 'Verdict' = 'failed'
NOT_SCANNED: 'Verdict' = 'not scanned'
VERDICTS = (PASSED, FAILED, NOT_SCANNED)


class Maybe:
    """The shape of a value that can be null."""

    def __init__(self, shape: 'Shape') -> None:
        self.shape = shape


class Map:
    """The shape of a dict whose keys are among some (None: any)."""

    def __init__(self, keys: 'tuple[str, ...] | None',
                 shape: 'Shape') -> None:
        self.keys = keys
        self.shape = shape


if TYPE_CHECKING:
    Shape = (type | tuple[str, ...] | list['Shape'] | dict[str, 'Shape']
             | Maybe | Map)

# What a document must hold, so that a page can be made of it: a type, the
# values that there are (tuple), a list of things of a shape, or a dict. A
# dict can hold more.
SUITE: 'Shape' = {'suite': str, 'code': str, 'key_exchange': str,
                  'strength': STRENGTHS}
CERTIFICATE: 'dict[str, Shape]' = dict.fromkeys((
    'subject', 'issuer', 'not_before', 'not_after', 'key', 'signature',
    'sha256'), str)
SETTING: 'Shape' = {'value': str, 'required': bool}
CONSOLE: 'Shape' = {
    'vm': Maybe(str), 'uuid': Maybe(str), 'display': DISPLAYS,
    'address': str, 'port': int,
    'state': ('scanned', 'no TLS', 'unreachable', 'incomplete'),
    'problem': Maybe(str), 'protocols': Map(PROTOCOLS, [SUITE]),
    'groups': [str], 'certificate': Maybe(CERTIFICATE),
    'policy': Maybe(Map(None, SETTING)),
    'findings': [{'against': ('policy', 'baseline'), 'finding': str}]}
DOCUMENT: 'Shape' = {
    'tool': str, 'host': str, 'time': str, 'baseline': Maybe(str),
    'consoles': [CONSOLE]}


def read(paths: 'Iterable[str]') -> 'Iterator[documents.Scan]':
    """
    Yield the scan documents (dict) of files and of folders' files *.json,
    one at a time, so that only one is in memory. Raises Problem for one that
    is none.
    """
    for path in find(paths):
        text = files.read_bounded(path, LARGEST,
                                  'give what "scan --json" printed')
        if not text:
            raise Problem('%s: empty scan file; scan again' % path,
                          'scan-empty')
        try:
            document = json.loads(text.decode('utf-8-sig'))
        except (ValueError, RecursionError) as error:
            raise Problem('%s: no JSON (%s); give what "scan --json" printed'
                          % (path, error))
        check(document, path)
        yield document


def find(paths: 'Iterable[str]') -> 'Iterator[str]':
    """Yield the files that paths (list of str) stand for."""
    for path in paths:
        if not os.path.isdir(path):
            yield path
            continue
        try:
            names = sorted(name for name in os.listdir(path)
                           if name.endswith('.json'))
        except OSError as error:
            raise Problem('%s: cannot be read: %s' % (path, error.strerror))
        if not names:
            raise Problem('%s: no file *.json in this folder; put there what '
                          '"scan --json" printed' % path)
        for name in names:
            yield os.path.join(path, name)


def check(document: object, path: str) -> None:
    """Raise Problem unless this is a scan document that is complete."""
    if not isinstance(document, dict) or document.get('format') != FORMAT:
        raise Problem('%s: JSON, but no scan; give what "scan --json" printed'
                      % path)
    version = document.get('version')
    if type(version) is not int or version not in VERSIONS:
        raise Problem('%s: version %.20s of the scan format, and this '
                      'vdsm-tlsciphers reads versions 1 and 2; update it'
                      % (path, version), 'scan-version')
    flaw = find_flaw(document, DOCUMENT)
    if flaw:
        raise Problem('%s: a scan that is damaged: %s; scan again'
                      % (path, flaw))


def find_flaw(value: 'Any', shape: 'Shape', place: str = '') -> 'str | None':
    """Return what keeps a value from having that shape (str), or None."""
    if isinstance(shape, Maybe):
        return None if value is None else find_flaw(value, shape.shape, place)
    if not fits(value, shape):
        return '%s is not as expected' % (place.lstrip('.') or 'it')
    if isinstance(shape, list):
        flaws = (find_flaw(item, shape[0], place) for item in value)
    elif isinstance(shape, Map):
        flaws = (find_flaw(item, shape.shape, place)
                 for item in value.values())
    elif isinstance(shape, dict):
        flaws = ('%s is missing' % (place + '.' + key).lstrip('.')
                 if key not in value
                 else find_flaw(value[key], inner, place + '.' + key)
                 for key, inner in shape.items())
    else:
        return None
    return next((flaw for flaw in flaws if flaw), None)


def fits(value: object, shape: 'Shape') -> bool:
    """Tell whether a value is of the kind of a shape, on the outside."""
    if isinstance(shape, tuple):
        return isinstance(value, str) and value in shape
    if isinstance(shape, Map):
        return isinstance(value, dict) and (
            shape.keys is None or set(value) <= set(shape.keys))
    # By its very type: for isinstance() True is a number.
    return type(value) is (shape if isinstance(shape, type) else type(shape))


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
    Finding = tuple[documents.Against, str]

    class _Result(NamedTuple):
        verdict: Verdict
        state: documents.ScanState
        problem: str | None
        protocols: Protocols
        groups: tuple[str, ...]
        certificate: Certificate | None
        policy: Policy | None
        findings: tuple[Finding, ...]
else:
    Suite = collections.namedtuple('Suite', 'suite code key_exchange strength')
    Certificate = collections.namedtuple('Certificate', CERTIFICATE)
    _Result = collections.namedtuple(
        'Result', 'verdict state problem protocols groups certificate policy '
        'findings')


class Result(_Result):
    """
    What a scan found out about a console, but for who and where it is, so
    that those with the same result can share a description: verdict (of
    VERDICTS), state and problem as in the document, protocols (tuple of
    (version, tuple of Suite)), groups (tuple of str), certificate
    (Certificate or None), policy (tuple of (key, value, required); None: the
    VM is not known), findings (tuple of (against, finding)).
    """

    __slots__ = ()

    @property
    def is_whole(self) -> bool:
        """Whether the console could be asked all (bool)."""
        return self.state in ('scanned', 'no TLS')

    @property
    def offers(self) -> 'list[tuple[str, Suite]]':
        """The (version, Suite) pairs that the console accepted."""
        return [(version, suite) for version, suites in self.protocols
                for suite in suites]


def verdict(console: 'documents.Console') -> 'Verdict':
    """Return that of a console of a scan document (str, of VERDICTS)."""
    if console['findings']:
        return FAILED
    return PASSED if console['state'] == 'scanned' else NOT_SCANNED


def result(console: 'documents.Console') -> Result:
    """Return the Result of a console of a scan document."""
    certificate = console['certificate']
    return Result(
        verdict(console), console['state'], console['problem'],
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
        tuple((finding['against'], finding['finding'])
              for finding in console['findings']))


def by_rank(suite: 'documents.Suite') -> int:
    """Sort suites (dict) from strong to broken."""
    return STRENGTHS.index(suite['strength'])


class Tally:
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


if TYPE_CHECKING:
    # VM or address, display, host.
    Label = tuple[str, documents.ScannedDisplay, str]
    Key = tuple[str | int | None, ...]


class Entry:
    """
    A console of an earlier scan: time (str), result (Result), label (tuple:
    VM or address, display, host), found (bool: a later scan has it too).
    """

    def __init__(self, time: str, found: Result, label: 'Label') -> None:
        self.time = time
        self.result = found
        self.label = label
        self.found = False


class Earlier:
    """
    The consoles of earlier scans, to compare later ones with: tally (Tally),
    times (set of str).
    """

    def __init__(self, documents: 'Iterable[documents.Scan]') -> None:
        """Take scan documents (iterable of dict) in."""
        self.tally = Tally()
        self.times: set[str] = set()
        self._by_key: dict[Key, Entry] = {}
        results: dict[Result, Result] = {}
        for document in documents:
            self.times.add(document['time'])
            for console in document['consoles']:
                found = result(console)
                self.tally.add(found)
                entry = Entry(
                    document['time'], results.setdefault(found, found),
                    (console['vm'] or endpoint(console), console['display'],
                     document['host']))
                for key in keys(console, document['host']):
                    other = self._by_key.get(key)
                    if other is None or other.time <= entry.time:
                        self._by_key[key] = entry

    def find(self, console: 'documents.Console', host: str) -> 'Result | None':
        """Return the newest Result of the same console, or None."""
        entries = [self._by_key[key] for key in keys(console, host)
                   if key in self._by_key]
        for entry in entries:
            entry.found = True
        return entries[0].result if entries else None

    def gone(self) -> 'list[Label]':
        """Return the labels of consoles that nobody looked for (list)."""
        return [entry.label for entry in dict.fromkeys(self._by_key.values())
                if not entry.found]


def keys(console: 'documents.Console', host: str) -> 'list[Key]':
    """
    Return what a console can be known by again, the surest first. Ports are
    given to other VMs in the course of time, so an address counts only where
    there is no VM.
    """
    known: list[Key] = [(name, console[name], console['display'])
                        for name in ('uuid', 'vm') if console[name]]
    if known:
        return known
    # The same address on every host.
    local = host if is_loopback(console['address']) else None
    return [(local, console['address'], console['port'])]


def is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return address == 'localhost'


def endpoint(console: 'documents.Console') -> str:
    """Return a console's address and port (str)."""
    return ('[%s]:%d' if ':' in console['address'] else '%s:%d') % (
        console['address'], console['port'])
