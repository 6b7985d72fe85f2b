# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""Reads scan documents, which "vdsm-tlsciphers scan --json" printed."""

import hashlib
import json
import os
import re
import time

from vdsm_tlsciphers import UserError, files, output
from vdsm_tlsciphers.audit import compliance, results
from vdsm_tlsciphers.tls import cipher_suites

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any

    from vdsm_tlsciphers import documents

FORMAT = 'vdsm-tlsciphers scan'
# Those that can be read.
VERSIONS = (1, 2)
# Bytes and values: a scan of 3,500 consoles that accept everything is smaller.
LARGEST = 64 << 20
MOST_VALUES = 2000000
MOST_SCANS = 10000
# Of a console: a scan offers fewer.
MOST_GROUPS = 200
# Of a policy.
MOST_KEYS, LONGEST_KEY = 20, 200
# Of a text: cipher lists are the longest.
LONGEST_TEXT = 20000

GIVE_A_SCAN = 'give what "scan --json" printed'
DISPLAYS = ('spice', 'vnc', 'websocket', 'tls')


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

# What a document must hold, so that a report can be made of it: a type, the
# permitted values (tuple), a list of things of a shape, or a dict, which can
# have more keys.
TIME = Text('[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z')
CODE = Text('[0-9A-F]{4}')
# Of a group, an algorithm, a channel.
NAME = Text(r'[\s\S]{0,200}')
SUITE: 'Shape' = {'suite': str, 'code': CODE, 'key_exchange': str,
                  'strength': results.STRENGTHS, 'dh_bits': Optional(int)}
CERTIFICATE: 'dict[str, Shape]' = {
    'subject': str, 'issuer': str, 'not_before': TIME, 'not_after': TIME,
    'key': str, 'signature': str, 'sha256': Text('[0-9a-f]{64}')}
SETTING: 'Shape' = {'value': str, 'required': bool}
CONSOLE: 'Shape' = {
    'vm': Maybe(str), 'uuid': Maybe(str), 'display': DISPLAYS,
    'address': str, 'port': Number(1, 65535),
    # Later versions may have others, none of which counts as passed.
    'state': Text('[A-Za-z ]{1,40}'),
    'problem': Maybe(str),
    'protocols': Map(results.PROTOCOLS, Many(len(cipher_suites.NAMES), SUITE)),
    'groups': Many(MOST_GROUPS, NAME), 'certificate': Maybe(CERTIFICATE),
    'policy': Maybe(Map(None, SETTING)),
    'signatures': Optional(Many(MOST_GROUPS, NAME)),
    'extended_master_secret': Optional(bool),
    'session_tickets': Optional(bool),
    'unencrypted_offers': Optional(Many(10, NAME)),
    'open_channels': Optional(Many(MOST_GROUPS, NAME)),
    'code': Optional(Text('[a-z0-9-]{1,60}')),
    'host': Optional(str), 'cluster': Optional(str),
    'findings': [{'against': ('policy', 'baseline'), 'finding': str}]}
DOCUMENT: 'Shape' = {
    'tool': str, 'host': str, 'time': TIME, 'baseline': Maybe(str),
    'consoles': [CONSOLE],
    # Of an engine.
    'hosts': Optional([{'cluster': str, 'host': str}])}


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
    one at a time, so that only one is in memory. They are assessed again: see
    assess(). Raises UserError for a file that is not a scan.

    Arguments:
        baseline (dict or None), name (str): as for compliance.findings().
        sources (list): each file is added to it as a Source.
        is_earlier (bool): whether certificates must be valid at the time of
            the scan only, and not now.
    """
    for number, path in enumerate(find(paths)):
        if number >= MOST_SCANS:
            raise UserError('%s: more than %d scans' % (path, MOST_SCANS),
                            'make several reports', 'too-many-scans')
        data = files.read_bounded(path, LARGEST, GIVE_A_SCAN)
        if not data:
            raise UserError(path + ': empty scan file', 'scan again',
                            'scan-empty')
        document = parse(data, path)
        check(document, path)
        sources.append(Source(path, data))
        times = [document['time']]
        if not is_earlier:
            times.append(time.strftime(output.TIME, time.gmtime()))
        assess(document, baseline, name, times)
        yield from by_host(document)


def by_host(document: 'documents.Scan') -> 'Iterator[documents.Scan]':
    """
    Yield the scan of each host, by cluster and host, where a document is that
    of an engine's VMs; else the document.
    """
    groups: dict[tuple[str, str], list[documents.Console]] = {}
    # Only that of an engine has it.
    hosts: Any = document.get('hosts') or ()
    for host in hosts:
        groups[host['cluster'], host['host']] = []
    if not groups and not any('cluster' in console
                              for console in document['consoles']):
        yield document
        return
    for console in document['consoles']:
        groups.setdefault((console.get('cluster') or '-',
                           console.get('host') or '-'), []).append(console)
    for (cluster, host_name), consoles in sorted(groups.items()):
        yield {
            'version': document['version'], 'tool': document['tool'],
            'host': '%s / %s' % (cluster, host_name), 'time': document['time'],
            'baseline': document['baseline'], 'consoles': consoles}


def parse(data: bytes, path: str) -> 'Any':
    """Return the content of a JSON file (bytes). Raises UserError."""
    if data[:200].lstrip(b'\xef\xbb\xbf\r\n\t ')[:1] == b'<':
        raise UserError(path + ': an HTML report, not a scan', GIVE_A_SCAN,
                        'scan-is-a-page')
    # Counted before values take up memory.
    if sum(map(data.count, (b',', b'[', b'{'))) > MOST_VALUES:
        raise UserError('%s: more than %d values' % (path, MOST_VALUES),
                        'scan fewer consoles at a time', 'scan-too-large')
    try:
        return json.loads(data.decode('utf-8-sig'), parse_int=parse_number)
    except (ValueError, RecursionError) as error:
        raise UserError('%s: not JSON: %s' % (path, error), GIVE_A_SCAN,
                        'scan-no-json')


def parse_number(digits: str) -> int:
    # Longer ones take quadratic time.
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
            raise UserError('%s: cannot be read: %s' % (path, error.strerror),
                            'check its permissions', 'file-unreadable')
        if not names:
            raise UserError(path + ': no file *.json in this folder',
                            GIVE_A_SCAN, 'no-scan-files')
        for name in names:
            yield os.path.join(path, name)


def check(document: object, path: str) -> None:
    """Raise UserError unless this is a scan document that is complete."""
    if not isinstance(document, dict) or document.get('format') != FORMAT:
        raise UserError(path + ': JSON, but not a scan', GIVE_A_SCAN,
                        'no-scan')
    version = document.get('version')
    if type(version) is not int or version not in VERSIONS:
        raise UserError('%s: unsupported version of the scan format: %.20s '
                        '(supported: 1 and 2)' % (path, version),
                        'update vdsm-hook-tlsciphers', 'scan-version')
    flaw = find_flaw(document, DOCUMENT)
    if flaw:
        raise UserError('%s: invalid scan file: %s' % (path, flaw),
                        'scan again', 'scan-invalid')
    for console in document['consoles']:
        flaw = contradiction(console)
        if flaw:
            raise UserError('%s: invalid scan file: console %s: %s' % (
                path, results.endpoint(console), flaw), 'scan again',
                'scan-contradiction')


def contradiction(console: 'documents.Console') -> 'str | None':
    """Return how the facts of a console contradict each other, or None."""
    if console['state'] == results.SCANNED and not any(
            console['protocols'].values()):
        return 'state "scanned" without an accepted cipher suite'
    if console['state'] == results.TLS_REQUIRED and (
            console['display'] != 'spice' or console['protocols']
            or console.get('open_channels') != []):
        return 'state "TLS required" without a probe of SPICE channels'
    for version, accepted in console['protocols'].items():
        codes = [int(suite['code'], 16) for suite in accepted]
        if len(set(codes)) < len(codes):
            return '%s: duplicate cipher suite' % version
        for code, suite in zip(codes, accepted):
            if code not in cipher_suites.NAMES:
                return 'unknown cipher suite %s' % suite['code']
            if suite['suite'] not in (cipher_suites.NAMES[code],
                                      'TLS_' + cipher_suites.IANA_NAMES[code]):
                return 'cipher suite %s is not %s' % (
                    suite['code'], output.clean(suite['suite'], 80))
            if (code in cipher_suites.TLS13) != (version == 'TLSv1.3'):
                return '%s with cipher suite %s' % (version, suite['suite'])
    return None


def assess(document: 'documents.Scan', baseline: 'dict[str, str] | None',
           name: str, times: 'list[str]') -> None:
    """
    Replace the strengths and findings in a document by those that follow from
    its facts. Arguments as for compliance.findings().
    """
    version = document['version']
    document['baseline'] = name
    for console in document['consoles']:
        for accepted in console['protocols'].values():
            for suite in accepted:
                code = int(suite['code'], 16)
                suite['key_exchange'] = cipher_suites.key_exchange(code)
        for tls, accepted in console['protocols'].items():
            for suite in accepted:
                suite['strength'] = cipher_suites.strength(
                    int(suite['code'], 16), tls, suite.get('dh_bits'))
        offers = offers_of_findings(console) if version == 1 else []
        console['findings'] = compliance.findings(
            {**console, 'unencrypted_offers': offers} if offers else console,
            baseline, name, times)


# How findings of version 1 of the format begin.
FINDINGS_OF_VERSION_1 = {
    'anonymous TLS': 'TLS without a certificate is on offer',
    'no TLS': 'connections without encryption are on offer'}


def offers_of_findings(console: 'documents.Console') -> 'list[str]':
    """
    Return the unencrypted offers in the findings of a console: version 1 has
    them nowhere else. Without such a finding they are unknown.
    """
    findings = [finding['finding'] for finding in console['findings']]
    return [offer for offer, beginning in FINDINGS_OF_VERSION_1.items()
            if any(line.startswith(beginning) for line in findings)]


def find_flaw(value: 'Any', shape: 'Shape', place: str = '') -> 'str | None':
    """Return how a value differs from a shape (str), or None."""
    if isinstance(shape, type):
        # The exact type: to isinstance(), True is a number.
        if type(value) is shape and not (isinstance(value, str)
                                         and len(value) > LONGEST_TEXT):
            return None
        return 'invalid value of ' + (place.lstrip('.') or 'the document')
    if isinstance(shape, (Maybe, Optional)):
        return None if value is None else find_flaw(value, shape.shape, place)
    if not fits(value, shape):
        return 'invalid value of ' + (place.lstrip('.') or 'the document')
    if isinstance(shape, list):
        flaws = (find_flaw(item, shape[0], place) for item in value)
    elif isinstance(shape, Many):
        flaws = (find_flaw(item, shape.shape, place) for item in value)
    elif isinstance(shape, Map):
        flaws = (find_flaw(item, shape.shape, place)
                 for item in value.values())
    elif isinstance(shape, dict):
        flaws = ('missing key ' + (place + '.' + key).lstrip('.')
                 if key not in value and not isinstance(inner, Optional)
                 else find_flaw(value.get(key), inner, place + '.' + key)
                 for key, inner in shape.items())
    else:
        return None
    return next((flaw for flaw in flaws if flaw), None)


def fits(value: object, shape: 'Shape') -> bool:
    """Tell whether a value, but not its content, has a shape."""
    if isinstance(shape, tuple):
        return isinstance(value, str) and value in shape
    if isinstance(shape, Map):
        return (isinstance(value, dict) and len(value) <= MOST_KEYS
                and not any(len(key) > LONGEST_KEY for key in value)
                and (shape.keys is None or set(value) <= set(shape.keys)))
    if isinstance(shape, Many):
        return isinstance(value, list) and len(value) <= shape.most
    if isinstance(shape, Number):
        # The exact type: to isinstance(), True is a number.
        return type(value) is int and shape.least <= value <= shape.most
    if isinstance(shape, Text):
        return isinstance(value, str) and shape.matches(value) is not None
    return type(value) is type(shape)
