# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""Scan documents: what "vdsm-tlsciphers scan --json" prints, read again."""

import collections
import hashlib
import ipaddress
import json
import os
import re
import time

from vdsm_tlsciphers import Problem, files, judge, suites, terminal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any, Literal, NamedTuple

    from typing_extensions import Self

    from vdsm_tlsciphers import documents

    Verdict = Literal['passed', 'partly checked', 'failed', 'not scanned']

FORMAT = 'vdsm-tlsciphers scan'
# Those that can be read.
VERSIONS = (1, 2)
# A scan of 3,500 consoles that accept all is smaller: bytes, and values.
LARGEST = 64 << 20
MOST_VALUES = 2000000
MOST_SCANS = 10000
# Of a console; what a scan offers is less.
MOST_GROUPS = 200
# Of a policy.
MOST_KEYS, LONGEST_KEY = 20, 200
# Of a text; that of a cipher list is the longest.
LONGEST_TEXT = 20000

PROTOCOLS = ('SSLv3', 'TLSv1', 'TLSv1.1', 'TLSv1.2', 'TLSv1.3')
STRENGTHS: 'tuple[documents.Strength, ...]' = (
    'strong', 'acceptable', 'weak', 'broken')
DISPLAYS = ('spice', 'vnc', 'websocket', 'tls')
PASSED: 'Verdict' = 'passed'
PARTLY: 'Verdict' = 'partly checked'
FAILED: 'Verdict' = 'failed'
NOT_SCANNED: 'Verdict' = 'not scanned'
VERDICTS = (PASSED, PARTLY, FAILED, NOT_SCANNED)
# From the worst on.
SEVERITY = (FAILED, NOT_SCANNED, PARTLY, PASSED)
SCANNED: 'documents.ScanState' = 'scanned'
TLS_REQUIRED: 'documents.ScanState' = 'TLS required'


class Maybe:
    """The shape of a value that can be null."""

    def __init__(self, shape: 'Shape') -> None:
        self.shape = shape


class Optional:
    """The shape of a value that a dict need not have, or that is null."""

    def __init__(self, shape: 'Shape') -> None:
        self.shape = shape


class Text:
    """The shape of a text (str) that a regular expression matches."""

    def __init__(self, pattern: str) -> None:
        self.matches = re.compile(r'(?:%s)\Z' % pattern).match


class Number:
    """The shape of a number (int) from one to another."""

    def __init__(self, least: int, most: int) -> None:
        self.least = least
        self.most = most


class Many:
    """The shape of a list of at most so many things of a shape."""

    def __init__(self, most: int, shape: 'Shape') -> None:
        self.most = most
        self.shape = shape


class Map:
    """The shape of a dict whose keys are among some (None: any)."""

    def __init__(self, keys: 'tuple[str, ...] | None',
                 shape: 'Shape') -> None:
        self.keys = keys
        self.shape = shape


if TYPE_CHECKING:
    Shape = (type | tuple[str, ...] | list['Shape'] | dict[str, 'Shape']
             | Maybe | Map | Optional | Text | Number | Many)

# What a document must hold, so that a page can be made of it: a type, the
# values that there are (tuple), a list of things of a shape, or a dict. A
# dict can hold more.
TIME = Text('[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z')
CODE = Text('[0-9A-F]{4}')
# Of a group, an algorithm, a channel.
NAME = Text(r'[\s\S]{0,200}')
SUITE: 'Shape' = {'suite': str, 'code': CODE, 'key_exchange': str,
                  'strength': STRENGTHS, 'dh_bits': Optional(int)}
CERTIFICATE: 'dict[str, Shape]' = {
    'subject': str, 'issuer': str, 'not_before': TIME, 'not_after': TIME,
    'key': str, 'signature': str, 'sha256': Text('[0-9a-f]{64}')}
SETTING: 'Shape' = {'value': str, 'required': bool}
CONSOLE: 'Shape' = {
    'vm': Maybe(str), 'uuid': Maybe(str), 'display': DISPLAYS,
    'address': str, 'port': Number(1, 65535),
    # Later versions may have others: of none of them is it known that it is
    # good.
    'state': Text('[A-Za-z ]{1,40}'),
    'problem': Maybe(str),
    'protocols': Map(PROTOCOLS, Many(len(suites.NAMES), SUITE)),
    'groups': Many(MOST_GROUPS, NAME), 'certificate': Maybe(CERTIFICATE),
    'policy': Maybe(Map(None, SETTING)),
    'signatures': Optional(Many(MOST_GROUPS, NAME)),
    'extended_master_secret': Optional(bool),
    'session_tickets': Optional(bool),
    'unencrypted_offers': Optional(Many(10, NAME)),
    'open_channels': Optional(Many(MOST_GROUPS, NAME)),
    'findings': [{'against': ('policy', 'baseline'), 'finding': str}]}
DOCUMENT: 'Shape' = {
    'tool': str, 'host': str, 'time': TIME, 'baseline': Maybe(str),
    'consoles': [CONSOLE]}


class Source:
    """A file that was read: path (str), sha256 (str)."""

    def __init__(self, path: str, data: bytes) -> None:
        self.path = path
        self.sha256 = hashlib.sha256(data).hexdigest()


def read(paths: 'Iterable[str]', baseline: 'dict[str, str] | None',
         name: str, sources: 'list[Source]', is_earlier: bool = False) -> (
             'Iterator[documents.Scan]'):
    """
    Yield the scan documents (dict) of files and of folders' files *.json,
    one at a time, so that only one is in memory. Their findings are those of
    now: see assess(). Raises Problem for a file that holds no scan.

    Arguments:
        baseline (dict or None), name (str): as judge.findings() has them.
        sources (list): each file is added to it as a Source.
        is_earlier (bool): whether certificates are looked at as of the time
            of the scan alone, and not as of now.
    """
    for number, path in enumerate(find(paths)):
        if number >= MOST_SCANS:
            raise Problem('%s: more than %d scans; make several reports'
                          % (path, MOST_SCANS), 'too-many-scans')
        data = files.read_bounded(path, LARGEST,
                                  'give what "scan --json" printed')
        if not data:
            raise Problem('%s: empty scan file; scan again' % path,
                          'scan-empty')
        document = parse(data, path)
        check(document, path)
        sources.append(Source(path, data))
        times = [document['time']]
        if not is_earlier:
            times.append(time.strftime(terminal.TIME, time.gmtime()))
        assess(document, baseline, name, times)
        yield document


def parse(data: bytes, path: str) -> 'Any':
    """Return what a file of JSON (bytes) holds. Raises Problem."""
    if data[:200].lstrip(b'\xef\xbb\xbf\r\n\t ')[:1] == b'<':
        raise Problem('%s: this is a page for people, and no scan; give what '
                      '"scan --json" printed' % path, 'scan-is-a-page')
    # Before any of it takes up memory as a value.
    if sum(map(data.count, (b',', b'[', b'{'))) > MOST_VALUES:
        raise Problem('%s: more than %d values; scan fewer consoles at a time'
                      % (path, MOST_VALUES), 'scan-too-large')
    try:
        return json.loads(data.decode('utf-8-sig'), parse_int=parse_number)
    except (ValueError, RecursionError) as error:
        raise Problem('%s: no JSON (%s); give what "scan --json" printed'
                      % (path, error))


def parse_number(digits: str) -> int:
    # Others would take longer the longer they are, squared.
    if len(digits) > 20:
        raise ValueError('a number of %d digits' % len(digits))
    return int(digits)


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
        raise Problem('%s: invalid scan file: %s; scan again' % (path, flaw),
                      'scan-invalid')
    for console in document['consoles']:
        flaw = contradiction(console)
        if flaw:
            raise Problem('%s: invalid scan file: console %s: %s; scan again'
                          % (path, endpoint(console), flaw),
                          'scan-contradiction')


def contradiction(console: 'documents.Console') -> 'str | None':
    """Return how a console claims what its facts do not bear out, or None."""
    if console['state'] == SCANNED and not any(console['protocols'].values()):
        return 'scanned, and no protocol with a cipher suite'
    if console['state'] == TLS_REQUIRED and (
            console['display'] != 'spice' or console['protocols']
            or console.get('open_channels') != []):
        return 'TLS required, and not a SPICE port whose channels were tried'
    for version, accepted in console['protocols'].items():
        codes = [int(suite['code'], 16) for suite in accepted]
        if len(set(codes)) < len(codes):
            return '%s: a cipher suite twice' % version
        for code, suite in zip(codes, accepted):
            if code not in suites.NAMES:
                return 'unknown cipher suite %s' % suite['code']
            if suite['suite'] not in (suites.NAMES[code],
                                      'TLS_' + suites.IANA_NAMES[code]):
                return 'cipher suite %s is not %s' % (
                    suite['code'], shorten(suite['suite']))
            if (code in suites.TLS13) != (version == 'TLSv1.3'):
                return '%s with cipher suite %s' % (version, suite['suite'])
    return None


def shorten(text: str) -> str:
    return text if len(text) < 80 else text[:80] + '...'


def assess(document: 'documents.Scan', baseline: 'dict[str, str] | None',
           name: str, times: 'list[str]') -> None:
    """
    Put in the place of what a document says of strengths and findings what
    its facts come to. Arguments as judge.findings() has them.
    """
    version = document['version']
    document['baseline'] = name
    for console in document['consoles']:
        for accepted in console['protocols'].values():
            for suite in accepted:
                code = int(suite['code'], 16)
                suite['key_exchange'] = suites.key_exchange(code)
        for tls, accepted in console['protocols'].items():
            for suite in accepted:
                suite['strength'] = suites.strength(
                    int(suite['code'], 16), tls, suite.get('dh_bits'))
        bad = bad_news(console) if version == 1 else []
        console['findings'] = judge.findings(
            {**console, 'unencrypted_offers': bad} if bad else console,
            baseline, name, times)


def bad_news(console: 'documents.Console') -> 'list[str]':
    """
    Return which unencrypted offers the findings of a console tell of:
    version 1 has them nowhere else. That there are none is no fact there.
    """
    said = [finding['finding'] for finding in console['findings']]
    return [offer for offer, violation in judge.UNENCRYPTED.items()
            if any(line.startswith(violation.text) for line in said)]


def find_flaw(value: 'Any', shape: 'Shape', place: str = '') -> 'str | None':
    """Return what keeps a value from having that shape (str), or None."""
    if isinstance(shape, type):
        # By its very type: for isinstance() True is a number.
        if type(value) is shape and not (isinstance(value, str)
                                         and len(value) > LONGEST_TEXT):
            return None
        return '%s is not as expected' % (place.lstrip('.') or 'it')
    if isinstance(shape, (Maybe, Optional)):
        return None if value is None else find_flaw(value, shape.shape, place)
    if not fits(value, shape):
        return '%s is not as expected' % (place.lstrip('.') or 'it')
    if isinstance(shape, list):
        flaws = (find_flaw(item, shape[0], place) for item in value)
    elif isinstance(shape, Many):
        flaws = (find_flaw(item, shape.shape, place) for item in value)
    elif isinstance(shape, Map):
        flaws = (find_flaw(item, shape.shape, place)
                 for item in value.values())
    elif isinstance(shape, dict):
        flaws = ('%s is missing' % (place + '.' + key).lstrip('.')
                 if key not in value and not isinstance(inner, Optional)
                 else find_flaw(value.get(key), inner, place + '.' + key)
                 for key, inner in shape.items())
    else:
        return None
    return next((flaw for flaw in flaws if flaw), None)


def fits(value: object, shape: 'Shape') -> bool:
    """Tell whether a value is of the kind of a shape, on the outside."""
    if isinstance(shape, tuple):
        return isinstance(value, str) and value in shape
    if isinstance(shape, Map):
        return (isinstance(value, dict) and len(value) <= MOST_KEYS
                and not any(len(key) > LONGEST_KEY for key in value)
                and (shape.keys is None or set(value) <= set(shape.keys)))
    if isinstance(shape, Many):
        return isinstance(value, list) and len(value) <= shape.most
    if isinstance(shape, Number):
        # By its very type: for isinstance() True is a number.
        return type(value) is int and shape.least <= value <= shape.most
    if isinstance(shape, Text):
        return isinstance(value, str) and shape.matches(value) is not None
    return type(value) is type(shape)


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

    class _Result(NamedTuple):
        verdict: Verdict
        state: documents.ScanState
        problem: str | None
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
    Certificate = collections.namedtuple('Certificate', CERTIFICATE)
    Finding = collections.namedtuple('Finding', 'against severity text remedy')
    _Result = collections.namedtuple(
        'Result', 'verdict state problem protocols groups certificate policy '
        'signatures extended_master_secret session_tickets open_channels '
        'findings unchecked')


class Result(_Result):
    """
    What a scan found out about a console, but for who and where it is, so
    that those with the same result can share a description: verdict (of
    VERDICTS), state and problem as in the document, protocols (tuple of
    (version, tuple of Suite)), groups (tuple of str), certificate
    (Certificate or None), policy (tuple of (key, value, required); None: the
    VM is not known), signatures (tuple of str), extended_master_secret,
    session_tickets, open_channels as in the document, findings (tuple of
    Finding), unchecked (tuple of str).
    """

    __slots__ = ()

    @property
    def is_whole(self) -> bool:
        """Whether the console could be asked all (bool)."""
        return self.state in (SCANNED, TLS_REQUIRED, judge.NO_TLS)

    @property
    def offers(self) -> 'list[tuple[str, Suite]]':
        """The (version, Suite) pairs that the console accepted."""
        return [(version, suite) for version, suites in self.protocols
                for suite in suites]


def verdict(console: 'documents.Console') -> 'Verdict':
    """Return that of a console of a scan document (str, of VERDICTS)."""
    if console['findings']:
        return FAILED
    if console['state'] not in (SCANNED, TLS_REQUIRED):
        return NOT_SCANNED
    return PARTLY if judge.unchecked(console) else PASSED


def result(console: 'documents.Console') -> Result:
    """Return the Result of a console of a scan document."""
    certificate = console['certificate']
    channels = console.get('open_channels')
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
        tuple(console.get('signatures') or ()),
        console.get('extended_master_secret'), console.get('session_tickets'),
        None if channels is None else tuple(channels),
        tuple(Finding(finding['against'], finding['severity'],
                      finding['text'], finding['remedy'])
              for finding in console['findings']),
        tuple(judge.unchecked(console))
        if console['state'] in (SCANNED, TLS_REQUIRED) else ())


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
    times (set of str), is_later (bool: one that was compared is later than
    what it was compared with).
    """

    def __init__(self, documents: 'Iterable[documents.Scan]') -> None:
        """Take scan documents (iterable of dict) in."""
        self.tally = Tally()
        self.times: set[str] = set()
        self.is_later = False
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

    def find(self, console: 'documents.Console', host: str,
             time: str) -> 'Result | None':
        """
        Return the newest Result of the same console, or None, for a scan of
        a host at a time (both str).
        """
        entries = [self._by_key[key] for key in keys(console, host)
                   if key in self._by_key]
        for entry in entries:
            entry.found = True
        self.is_later = self.is_later or bool(entries
                                              and entries[0].time > time)
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
