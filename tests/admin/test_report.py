# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""The command report, and the page that it makes of scans."""

from __future__ import annotations

import copy
import hashlib
import json
import os
import pathlib
import random
import re
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Protocol
from xml.etree import ElementTree

import html5lib
import pytest

import scan_documents
import support
from scan_documents import (
    BROAD,
    CLOSED,
    INTERMEDIATE,
    MODERN,
    OFF,
    Console,
    Document,
    as_version_1,
    cluster,
    document,
    write,
)

if TYPE_CHECKING:
    from conftest import Command

COUNTS = ('consoles', 'passed', 'partly_checked', 'failed', 'not_scanned')
EARLIER, NOW = '2026-11-20T03:00:00Z', '2026-11-24T03:00:00Z'
SVG = '{http://www.w3.org/2000/svg}'
HOSTILE = ('</style></svg><script>alert(1)</script><img src=x onerror=y>'
           '"\' onload="z" &lt; %s {0} \\ \r\n\t\x1b[31m\x00\u202e\ud800')
# What is left of it: what cannot be printed becomes a question mark.
HARMLESS = ('</style></svg><script>alert(1)</script><img src=x onerror=y>'
            '"\' onload="z" &lt; %s {0} \\ ????[31m???')


class Page:
    """A page, read as browsers do; invalid HTML is an error."""

    def __init__(self, path: pathlib.Path) -> None:
        self.source = path.read_text(encoding='utf-8')
        self.root: ElementTree.Element = html5lib.HTMLParser(
            strict=True, namespaceHTMLElements=False).parse(self.source)
        self.body, = self.root.iterfind('body')

    def table(self, caption: str) -> list[list[str]]:
        """Return the rows (list of lists of str) of a table."""
        table, = [table for table in self.root.iter('table')
                  if words(table.find('caption')) == caption]
        return [[words(cell) for cell in row] for row in table.iter('tr')]

    def cards(self) -> list[ElementTree.Element]:
        """Return the parts of VMs (list of Element)."""
        return list(self.root.iter('article'))

    def card(self, title: str) -> ElementTree.Element:
        """Return the part (Element) of the VM of that name."""
        card, = [card for card in self.cards()
                 if words(card.find('h3')).startswith(title + ' ')]
        return card

    def consoles(self, title: str) -> dict[str, ElementTree.Element]:
        """Return the parts of a VM's consoles, by display."""
        return {words(section.find('h4')).split()[0]: section
                for section in self.card(title).iter('section')}


def words(element: ElementTree.Element | None) -> str:
    assert element is not None
    return ' '.join(''.join(element.itertext()).split())


def pictures(element: ElementTree.Element) -> list[str | None]:
    return [picture.get('aria-label') for picture in element.iter(SVG + 'svg')
            if picture.get('class') == 'picture']


class MakePage(Protocol):
    """What the fixture make is."""

    def __call__(self, *documents: Document, before: Iterable[Document] = ...,
                 status: int | None = ...,
                 options: Iterable[str] = ...) -> Page: ...


@pytest.fixture
def make(newest_command: Command, tmp_path: pathlib.Path) -> MakePage:
    """A function that makes a Page of documents."""
    def make(*documents: Document, before: Iterable[Document] = (),
             status: int | None = None, options: Iterable[str] = ()) -> Page:
        arguments = [*options, '--html', tmp_path / 'page.html',
                     *save(tmp_path, 'now', documents)]
        for path in save(tmp_path, 'before', before):
            arguments += ['--before', path]
        process = newest_command.run('report', *arguments)
        assert process.stderr == ''
        assert process.returncode in ((0, 1) if status is None else (status,))
        return Page(tmp_path / 'page.html')
    return make


def save(folder: pathlib.Path, name: str,
         documents: Iterable[Document]) -> list[pathlib.Path]:
    paths = []
    for number, each in enumerate(documents):
        paths.append(folder / ('%s%d.json' % (name, number)))
        paths[-1].write_text(json.dumps(each))
    return paths


def mixed() -> list[Document]:
    return [document('node1.example.com', [MODERN, BROAD, INTERMEDIATE]),
            document('node2.example.com', [OFF, CLOSED, MODERN, MODERN], 10),
            document('node3.example.com', [INTERMEDIATE], 20)]


# Keys of a document whose texts must be of some kind.
NOT_FREE = ('format', 'display', 'state', 'strength', 'against', 'time',
            'not_before', 'not_after', 'sha256', 'suite', 'code')


def strings(value: Any, change: Callable[[Any], object]) -> Any:
    """Return a document with each str that is free text changed."""
    if isinstance(value, dict):
        return {key: inner if key in NOT_FREE else strings(inner, change)
                for key, inner in value.items()}
    if isinstance(value, list):
        return [strings(inner, change) for inner in value]
    return change(value) if isinstance(value, str) else value


def test_each_python_makes_the_page(command: Command,
                                    tmp_path: pathlib.Path) -> None:
    folder = write(tmp_path / 'scans', mixed())
    process = command.run('report', '--html', tmp_path / 'page.html', folder)
    assert process.returncode == 1, process.stderr
    assert process.stdout == """\
host               consoles  passed  partly checked  failed  not scanned
node1.example.com         6       4               0       2            0
node2.example.com         8       4               0       2            2
node3.example.com         2       2               0       0            0
all of 3 scans           16      10               0       4            2
HTML report: %s
""" % (tmp_path / 'page.html')
    assert Page(tmp_path / 'page.html').table('Consoles')[1][:6] == [
        'Now', '16', '10', '0', '4', '2']


def test_page_needs_nothing_from_elsewhere_and_has_no_script(
        make: MakePage) -> None:
    page = make(*mixed(), before=mixed()[:1])
    policy, = page.root.iterfind('head/meta[@http-equiv]')
    assert policy.get('http-equiv') == 'Content-Security-Policy'
    assert policy.get('content') == (
        "default-src 'none'; style-src 'unsafe-inline'")
    assert not re.search(r'https?:|url\(|@import|src=|data:', page.source)
    names = {element.tag for element in page.root.iter()}
    assert not names & {'script', 'link', 'img', 'iframe', 'object', 'form',
                        SVG + 'script', SVG + 'image', SVG + 'foreignObject'}
    ids = [element.get('id') for element in page.root.iter()
           if element.get('id')]
    assert len(set(ids)) == len(ids)
    links = [element.attrib['href'] for element in page.root.iter()
             if element.get('href')]
    assert links
    assert {link[1:] for link in links} <= set(ids)
    assert {link[0] for link in links} == {'#'}


def test_page_can_be_read_out(make: MakePage) -> None:
    page = make(*mixed())
    assert page.root.get('lang') == 'en'
    for table in page.root.iter('table'):
        assert words(table.find('caption'))
        assert {cell.get('scope') for cell in table.iterfind('thead/tr/*')
                } == {'col'}
        assert {row[0].tag + row[0].attrib['scope']
                for row in table.iterfind('tbody/*')} == {'throw'}
    for picture in page.body.iter(SVG + 'svg'):
        assert picture.get('aria-label') or picture.get('aria-hidden')
    levels = [int(element.tag[1]) for element in page.body.iter()
              if re.fullmatch('h[1-6]', element.tag)]
    assert levels[0] == 1
    assert 1 not in levels[1:]
    assert all(level - previous <= 1
               for previous, level in zip(levels, levels[1:]))


def test_numbers_are_those_of_the_documents(make: MakePage) -> None:
    documents = mixed()
    page = make(*documents)
    for row, each in zip(page.table('Hosts and their consoles')[1:],
                         documents):
        assert row[0] == each['host']
        assert row[2:7] == [str(each['summary'][key]) for key in COUNTS]
    assert page.table('Consoles')[1][1:6] == [
        str(sum(each['summary'][key] for each in documents))
        for key in COUNTS]
    suites = [suite['strength'] for each in documents
              for console in each['consoles']
              for suites in console['protocols'].values() for suite in suites]
    assert page.table('Accepted cipher suites')[1][1:] == [
        str(len(suites)), *[str(suites.count(strength)) for strength in (
            'strong', 'acceptable', 'weak', 'broken')]]
    assert words(page.body.find('header/p')) == (
        '10 of 16 consoles passed, 4 failed, 2 not scanned')


def test_every_vm_is_there_with_its_consoles(make: MakePage) -> None:
    documents = mixed()
    text = words(make(*documents).body)
    for each in documents:
        for console in each['consoles']:
            assert console['vm'] in text
            assert console['uuid'] in text
            assert '%(address)s:%(port)d' % console in text


def test_console_that_failed_is_shown_with_all_that_was_found(
        make: MakePage) -> None:
    page = make(document('node1.example.com', [BROAD]), status=1)
    vnc = page.consoles('vm00000')['VNC']
    assert words(vnc.find('h4')).endswith('Failed')
    assert pictures(vnc) == [
        'TLSv1: 6 weak; TLSv1.1: 6 weak; '
        'TLSv1.2: 3 strong, 9 acceptable, 6 weak; TLSv1.3: 4 strong']
    assert [words(item) for item in vnc.iter('li')] == [
        'Baseline (%(severity)s): %(finding)s' % finding
        for finding in scan_documents.FINDINGS[BROAD, 'vnc']]
    assert {words(row[0]): words(row[1]) for row in vnc.iter('div')
            if len(row) == 2 and row[0].tag == 'dt'} == {
        'Groups': ', '.join(scan_documents.EVERY_GROUP), 'Policy': 'none',
        'Signatures (TLS 1.2)': ', '.join(scan_documents.SIGNATURES),
        'Extended master secret': 'yes', 'Session tickets (TLS 1.2)': 'no',
        'Certificate': 'O=Example, CN=node1.example.com, RSA 2048, until '
        '2031-01-06 09:12 UTC'}
    groups, *others = page.table('Findings, the most frequent first')[1:]
    assert groups == [scan_documents.GROUPS_FINDING['finding'], 'low',
                      'Baseline', '2', '1']
    assert others == [
        [finding['finding'], finding['severity'], 'Baseline', '1', '1']
        for display in ('spice', 'vnc')
        for finding in scan_documents.FINDINGS[BROAD, display][:-1]]


def test_findings_are_counted_over_consoles_and_hosts(make: MakePage) -> None:
    page = make(document('node1.example.com', [BROAD] * 3),
                document('node2.example.com', [OFF], 10))
    assert [row[3:] for row in page.table(
        'Findings, the most frequent first')[1:]] == [
        ['7', '2'], ['4', '2'], ['3', '1'], ['3', '1'], ['3', '1'],
        ['1', '1']]


def test_picture_has_a_mark_for_each_suite(make: MakePage) -> None:
    page = make(document('node1.example.com', [BROAD]))
    vnc = page.consoles('vm00000')['VNC']
    link, = [use.attrib['href'] for use in vnc.iter(SVG + 'use')]
    symbol, = [symbol for symbol in page.body.iter(SVG + 'symbol')
               if symbol.get('id') == link[1:]]
    marks = [use.get('href') for use in symbol.iter(SVG + 'use')]
    assert (len(marks), marks.count('#strong'), marks.count('#acceptable'),
            marks.count('#weak')) == (34, 7, 9, 18)
    assert [words(text) for text in symbol.iter(SVG + 'text')] == [
        'TLSv1', '6', 'TLSv1.1', '6', 'TLSv1.2', '18', 'TLSv1.3', '4']
    # A mark can be told from others without its colour.
    assert [words(text) for mark in ('strong', 'acceptable', 'weak', 'broken')
            for symbol in page.body.iter(SVG + 'symbol')
            if symbol.get('id') == mark for text in symbol
            if text.tag == SVG + 'text'] == ['S', 'A', 'W', 'B']


def test_every_suite_is_there_by_name(make: MakePage) -> None:
    page = make(document('node1.example.com', [BROAD]))
    rows = page.table('34 suites accepted')
    assert rows[0] == ['Suite', 'Code', 'Key exchange', 'TLSv1', 'TLSv1.1',
                       'TLSv1.2', 'TLSv1.3']
    protocols = scan_documents.PROTOCOLS[BROAD, 'vnc']
    accepted = {(suite['suite'], suite['code'], suite['key_exchange'],
                 version): suite['strength']
                for version, suites in protocols.items() for suite in suites}
    assert {(*row[:3], version): cell for row in rows[1:]
            for version, cell in zip(rows[0][3:], row[3:]) if cell} == accepted


def test_policy_of_the_vm_is_shown(make: MakePage) -> None:
    scan = document('node1.example.com', [MODERN])
    scan['consoles'][0]['policy']['groups']['required'] = False
    page = make(scan, status=0)
    text = words(page.consoles('vm00000')['SPICE'])
    assert 'protocols=TLSv1.3' in text
    assert 'groups=X25519:prime256v1:secp384r1 (best effort)' in text


@pytest.mark.parametrize('baseline, words_for_it', [
    ('modern', 'and the baseline modern'), ('none', 'and no baseline')])
def test_page_says_what_consoles_were_checked_against(
        make: MakePage, baseline: str, words_for_it: str) -> None:
    page = make(document('node1.example.com', [MODERN]), status=0,
                options=['--baseline', baseline])
    assert 'Checked againstthe policy of each VM, ' + words_for_it in words(
        page.body)


def test_vms_with_the_same_results_share_a_description(make: MakePage) -> None:
    page = make(document('node1.example.com', [MODERN, BROAD] + [MODERN] * 3))
    assert [words(card.find('h3')) for card in page.cards()] == [
        'vm00001 Failed', '4 VMs with the same results Passed']
    assert [row[0] for row in page.table('VMs and their consoles')] == [
        'VM', 'vm00000', 'vm00002', 'vm00003', 'vm00004']


def test_page_shows_before_and_after_side_by_side(make: MakePage) -> None:
    before = document('node1.example.com', [BROAD], time=EARLIER)
    page = make(document('node1.example.com', [MODERN]), before=[before],
                status=0)
    assert 'Suites accepted: 50 earlier, 6 now.' in words(
        page.card('vm00000'))
    vnc = page.consoles('vm00000')['VNC']
    assert words(vnc.find('p')) == (
        'Gone: 31 suites, TLSv1, TLSv1.1, TLSv1.2, %s. New: nothing.'
        % ', '.join(scan_documents.EVERY_GROUP[3:]))
    sides = [element for element in vnc.iter('div')
             if element.get('class') == 'side']
    assert [words(side.find('h5')) for side in sides] == [
        'Earlier Failed', 'Now Passed']
    # Without remedies: there is nothing to do about the past.
    assert [words(item) for item in sides[0].iter('li')] == [
        'Baseline (%(severity)s): %(text)s [%(code)s]' % finding
        for finding in scan_documents.FINDINGS[BROAD, 'vnc']]
    assert not list(sides[1].iter('li'))
    assert pictures(sides[1]) == ['TLSv1.3: 3 strong']
    cells = [cell for row in page.table(
        '3 suites accepted, 34 in the earlier scan')[1:] for cell in row[3:]
        if cell]
    assert (cells.count('strong'), len(cells)) == (3, 34)
    assert sum(cell.startswith('gone: ') for cell in cells) == 31
    assert [row[:5] for row in page.table('Consoles')[1:]] == [
        ['Earlier', '2', '0', '0', '2'], ['Now', '2', '2', '0', '0']]


def test_what_is_new_is_marked(make: MakePage) -> None:
    page = make(document('node1.example.com', [BROAD]), before=[
        document('node1.example.com', [MODERN], time=EARLIER)])
    vnc = page.consoles('vm00000')['VNC']
    assert words(vnc.find('p')) == (
        'Gone: nothing. New: 31 suites, TLSv1, TLSv1.1, TLSv1.2, %s.'
        % ', '.join(scan_documents.EVERY_GROUP[3:]))
    assert all(words(item).endswith('(new)') for item in vnc.iter('li'))
    cells = [cell for row in page.table(
        '34 suites accepted, 3 in the earlier scan') for cell in row[3:]]
    assert sum(cell.startswith('new: ') for cell in cells) == 31


def test_another_certificate_is_named(make: MakePage) -> None:
    now = document('node1.example.com', [MODERN])
    before = document('node2.example.com', [MODERN], time=EARLIER)
    now['consoles'][1]['certificate'] = None
    page = make(now, before=[before])
    assert [words(section.find('p')) for section
            in page.card('vm00000').iter('section')] == [
        'Gone: nothing. New: nothing. The certificate changed.',
        'Gone: nothing. New: nothing.']


def test_console_that_has_not_changed_is_shown_once(make: MakePage) -> None:
    page = make(document('node1.example.com', [BROAD]), before=[
        document('node1.example.com', [BROAD], time=EARLIER)])
    vnc = page.consoles('vm00000')['VNC']
    assert words(vnc.find('p')) == 'Same result as in the earlier scan.'
    assert len(pictures(vnc)) == 1
    assert not list(vnc.iter('ins'))


def test_console_that_cannot_be_reached_has_lost_nothing(
        make: MakePage) -> None:
    page = make(document('node1.example.com', [CLOSED]), before=[
        document('node1.example.com', [BROAD], time=EARLIER)], status=1)
    vnc = page.consoles('vm00000')['VNC']
    assert words(vnc.find('p')) == (
        'Not compared: one of the two scans is incomplete.')
    assert ('Unreachable: no answer within 5 seconds [unreachable]'
            in words(vnc))
    assert not re.search('[Gg]one:| 0 now', words(page.body))


def change_uuid(console: Console) -> None:
    console['uuid'] = 'f' + console['uuid'][1:]


def become_another(console: Console) -> None:
    change_uuid(console)
    console.update(vm='other')


def forget_vm(console: Console) -> None:
    console['vm'] = console['uuid'] = None


@pytest.mark.parametrize('what, change, is_found', [
    ('the UUID, on another host and port',
     lambda console: console.update(vm='renamed', port=6923), True),
    ('the name, with another UUID', change_uuid, True),
    ('the address, where there is no VM', None, True),
    ('not the address of another VM', become_another, False)])
def test_console_is_known_again_by(make: MakePage, what: str,
                                   change: Callable[[Any], object] | None,
                                   is_found: bool) -> None:
    now = document('node1.example.com', [MODERN])
    before = document('node2.example.com' if change else 'node1.example.com',
                      [BROAD], time=EARLIER)
    for new, old in zip(now['consoles'], before['consoles']):
        old['address'] = new['address']
        for console in (new, old) if change is None else ():
            forget_vm(console)
        if change:
            change(old)
    page = make(now, before=[before])
    assert ('Not in the earlier scan.' in words(page.body)) != is_found
    gone = [words(heading) for heading in page.body.iter('h2')
            if words(heading) == 'Only in the earlier scan']
    assert bool(gone) != is_found


def test_loopback_of_another_host_is_another_console(make: MakePage) -> None:
    now, before = (document(host, [kind], time=time) for host, kind, time in (
        ('node1.example.com', MODERN, '2026-11-24T03:00:00Z'),
        ('node2.example.com', BROAD, EARLIER)))
    for console in now['consoles'] + before['consoles']:
        forget_vm(console)
        console['address'] = '127.0.0.1'
    assert 'Not in the earlier scan.' in words(
        make(now, before=[before]).body)


def test_newest_of_earlier_scans_counts(make: MakePage) -> None:
    page = make(document('node1.example.com', [MODERN]), before=[
        document('node2.example.com', [INTERMEDIATE], time=EARLIER),
        document('node1.example.com', [BROAD], time='2026-01-01T03:00:00Z')])
    assert 'Suites accepted: 12 earlier, 6 now.' in words(page.body)
    assert 'Only in the earlier scan' not in words(page.body)


@pytest.mark.parametrize('times, is_later', [
    ((EARLIER, NOW), False), ((NOW, EARLIER), True), ((NOW, NOW), False)])
def test_scan_that_is_later_than_the_one_it_was_before_is_told(
        newest_command: Command, tmp_path: pathlib.Path,
        times: tuple[str, str], is_later: bool) -> None:
    before, now = [
        save(tmp_path, name, [document('node1.example.com', [BROAD],
                                       time=time)])[0]
        for name, time in zip(('before', 'now'), times)]
    html = tmp_path / 'page.html'
    process = newest_command.run('report', '--html', html, '--before', before,
                                 now)
    assert process.stderr.endswith(' [earlier-is-later]\n') is is_later
    assert ('(later than this scan)' in html.read_text()) is is_later
    assert process.returncode == 1


def test_consoles_that_are_gone_are_listed(make: MakePage) -> None:
    page = make(document('node1.example.com', [MODERN]), before=[
        document('node1.example.com', [BROAD] * 3, time=EARLIER)])
    assert page.table('Consoles that are gone')[1:] == [
        [vm, display, 'node1.example.com'] for vm in ('vm00001', 'vm00002')
        for display in ('SPICE', 'VNC')]


def test_text_from_elsewhere_stays_text(make: MakePage) -> None:
    scan = document('node1.example.com', [BROAD, OFF])
    before = copy.deepcopy(scan)
    before['consoles'][0]['problem'] = 'earlier'
    harmless = make(scan, scan, before=[before])
    scan, before = (strings(each, lambda text: text if text in PROTOCOLS
                            else HOSTILE) for each in (scan, before))
    for each in (scan, before):
        for console in each['consoles']:
            console['problem'] = HOSTILE
            console['policy'] = {HOSTILE: {'value': HOSTILE,
                                           'required': True}}
    page = make(scan, scan, before=[before])

    def names(page: Page) -> set[str]:
        return {element.tag for element in page.root.iter()}

    def attributes(page: Page) -> set[str]:
        return {name for element in page.root.iter()
                for name in element.attrib}

    assert names(page) <= names(harmless) | {'br', 'ins'}
    assert attributes(page) <= attributes(harmless)
    text = ''.join(page.body.itertext())
    assert HARMLESS in text
    assert not re.search('[\x00-\x09\x0b-\x1f\x7f\u202e\ud800]', text)
    # Host, VM, UUID, address, group, certificate, policy, signature.
    assert text.count(HARMLESS) > 100


PROTOCOLS = ('SSLv3', 'TLSv1', 'TLSv1.1', 'TLSv1.2', 'TLSv1.3')


def test_hostile_names_stay_away_from_the_terminal(
        newest_command: Command, tmp_path: pathlib.Path) -> None:
    scan = document('node1.example.com', [BROAD])
    scan['host'] = 'node\x1b]0;x\x07\n\u202eexe'
    path, = save(tmp_path, 'now', [scan])
    process = newest_command.run('report', '--html', tmp_path / 'p.html',
                                 path, path)
    assert process.stdout.splitlines()[1].startswith('node?]0;x???exe, ')
    assert 'more than one scan of: node?]0;x???exe\n' in process.stdout


def good() -> Document:
    return document('node1.example.com', [MODERN])


def damaged(change: Callable[[Any], object]) -> str:
    scan = copy.deepcopy(good())
    change(scan)
    return json.dumps(scan)


@pytest.mark.parametrize('text, complaint', [
    ('', '[scan-empty]'),
    (' ', '[scan-no-json]'),
    ('{"format": ', '[scan-no-json]'),
    ('[' * 100000, '[scan-no-json]'),
    (b'\xff\xfe\x00', '[scan-no-json]'),
    ('[]', '[no-scan]'),
    ('{"vms": []}', '[no-scan]'),
    (damaged(lambda scan: scan.update(version=3)), '[scan-version]'),
    (damaged(lambda scan: scan.update(version=True)), '[scan-version]'),
    (damaged(lambda scan: scan.pop('host')), 'missing key host'),
    (damaged(lambda scan: scan.update(consoles={})),
     'invalid value of consoles'),
    (damaged(lambda scan: scan['consoles'].append(None)),
     'invalid value of consoles'),
    (damaged(lambda scan: scan.update(time=scan['time'] + '\n')),
     'invalid value of time'),
    (damaged(lambda scan: scan['consoles'][0]['groups'].append('x' * 201)),
     'invalid value of consoles.groups'),
    (damaged(lambda scan: scan['consoles'][0].update(port='5900')),
     'invalid value of consoles.port'),
    (damaged(lambda scan: scan['consoles'][0].update(port=True)),
     'invalid value of consoles.port'),
    (damaged(lambda scan: scan['consoles'][0].update(port=0)),
     'invalid value of consoles.port'),
    (damaged(lambda scan: scan['consoles'][0].update(port=65536)),
     'invalid value of consoles.port'),
    # ARABIC-INDIC DIGIT TWO.
    (damaged(lambda scan: scan.update(time='\u0662' + scan['time'][1:])),
     'invalid value of time'),
    (damaged(lambda scan: scan['consoles'][0].update(display=['x'])),
     'invalid value of consoles.display'),
    (damaged(lambda scan: scan['consoles'][0].update(code={})),
     'invalid value of consoles.code'),
    (damaged(lambda scan: scan['consoles'][0].update(policy={'x': 1})),
     'invalid value of consoles.policy'),
    (damaged(lambda scan: scan['consoles'][0]['certificate'].pop('key')),
     'missing key consoles.certificate.key'),
    (damaged(lambda scan: scan['consoles'][0]['protocols'].update(TLSv9=[])),
     'invalid value of consoles.protocols'),
    (damaged(lambda scan: scan['consoles'][1]['protocols']['TLSv1.3'][0]
             .update(strength='fine')),
     'invalid value of consoles.protocols.strength')],
    ids=lambda value: value if isinstance(value, str)
    and len(value) < 40 else '')
@pytest.mark.parametrize('option', [[], ['--before']])
def test_file_that_is_no_scan_is_named_in_one_line(
        newest_command: Command, tmp_path: pathlib.Path, text: str | bytes,
        complaint: str, option: list[str]) -> None:
    broken = tmp_path / 'broken.json'
    broken.write_bytes(text if isinstance(text, bytes) else text.encode())
    path, = save(tmp_path, 'now', [good()])
    line = newest_command.problem(
        'report', '--html', tmp_path / 'page.html', path, *option, broken)
    assert line.startswith('vdsm-tlsciphers: %s: ' % broken)
    assert complaint in line
    assert complaint[0] == '[' or line.endswith(' [scan-invalid]')
    assert not (tmp_path / 'page.html').exists()


def test_file_that_is_too_large_is_not_read(newest_command: Command,
                                            tmp_path: pathlib.Path) -> None:
    huge = tmp_path / 'huge.json'
    with open(huge, 'wb') as file:
        file.truncate(100 << 30)
    line = newest_command.problem('report', '--html', tmp_path / 'page.html',
                                  huge)
    assert line.endswith('[file-too-large]')


def test_device_is_not_read(newest_command: Command,
                            tmp_path: pathlib.Path) -> None:
    line = newest_command.problem('report', '--html', tmp_path / 'page.html',
                                  '/dev/zero')
    assert line.endswith('[not-a-regular-file]')


def test_pipe_that_nobody_writes_to_is_not_waited_for(
        newest_command: Command, tmp_path: pathlib.Path) -> None:
    os.mkfifo(tmp_path / 'now.json')
    line = newest_command.problem('report', '--html', tmp_path / 'page.html',
                                  tmp_path / 'now.json', timeout=20)
    assert line.endswith('[scan-empty]')


def test_scan_can_come_through_a_pipe(newest_command: Command,
                                      tmp_path: pathlib.Path) -> None:
    path, = save(tmp_path, 'now', [good()])
    process = subprocess.run(
        ['bash', '-c', '"$1" report --html "$2" <(sleep 1; cat "$3")', '-',
         newest_command.installation.command, tmp_path / 'page.html', path],
        capture_output=True, text=True)
    assert process.returncode == 0, process.stderr


@pytest.mark.parametrize('name, code', [
    ('missing.json', 'file-unreadable'), ('-', 'file-unreadable'),
    ('empty', 'no-scan-files')])
def test_scan_that_is_not_there_is_named(newest_command: Command,
                                         tmp_path: pathlib.Path, name: str,
                                         code: str) -> None:
    (tmp_path / 'empty').mkdir()
    (tmp_path / 'empty/readme.txt').write_text('')
    line = newest_command.problem('report', '--html', 'page.html', name,
                                  cwd=tmp_path)
    assert line.startswith('vdsm-tlsciphers: %s: ' % name)
    assert line.endswith(' [%s]' % code)


def test_report_needs_a_scan(newest_command: Command) -> None:
    assert 'SCAN' in newest_command.problem('report', '--html', 'x.html')


def test_scan_without_a_console_is_no_pass(newest_command: Command,
                                           tmp_path: pathlib.Path) -> None:
    paths = save(tmp_path, 'now', [document('node1.example.com', []),
                                   document('node2.example.com', [])])
    line = newest_command.problem('report', '--html', tmp_path / 'page.html',
                                  *paths)
    assert line.endswith('[no-consoles]')
    assert not (tmp_path / 'page.html').exists()


def test_host_without_a_console_among_others_is_named(
        newest_command: Command, tmp_path: pathlib.Path) -> None:
    paths = save(tmp_path, 'now', [document('node1.example.com', []),
                                   document('node2.example.com', [MODERN])])
    process = newest_command.run('report', '--html', tmp_path / 'page.html',
                                 *paths)
    assert process.returncode == 0
    assert 'no console in the scan of: node1.example.com\n' in process.stdout
    page = Page(tmp_path / 'page.html')
    assert 'No console onnode1.example.com' in words(page.body.find('header'))


def test_hosts_with_several_scans_are_named(make: MakePage) -> None:
    page = make(good(), good(), document('node2.example.com', [MODERN]))
    assert words(page.root.find('head/title')) == (
        'TLS of the consoles of 2 hosts, 3 scans')
    assert 'Several scans of node1.example.com' in words(
        page.body.find('header')).replace('ofnode', 'of node')


def test_scans_of_one_host_are_not_two_hosts(
        newest_command: Command, tmp_path: pathlib.Path) -> None:
    paths = save(tmp_path, 'now', [
        document('node1.example.com', [MODERN]),
        {**document('node1.example.com', [BROAD, BROAD]), 'time': EARLIER},
        document('node1.example.com', [BROAD])])
    process = newest_command.run('report', '--html', tmp_path / 'page.html',
                                 *paths)
    rows = [re.split('  +', line)
            for line in process.stdout.splitlines()[1:5]]
    assert rows[1][0] == 'node1.example.com, 2026-11-20 03:00 UTC'
    assert len({name for name, *_ in rows}) >= 3
    for column in range(1, 6):
        assert sum(int(row[column]) for row in rows[:3]) == int(
            rows[3][column])
    page = Page(tmp_path / 'page.html')
    assert words(page.body.find('header/h1')) == (
        'TLS of the consoles of node1.example.com, 3 scans')
    assert {row[4] for row in page.table(
        'Findings, the most frequent first')[1:]} == {'1'}


def test_each_console_is_in_a_row_of_many_scans(
        newest_command: Command, tmp_path: pathlib.Path) -> None:
    paths = save(tmp_path, 'now', [
        document('node%d.example.com' % number,
                 [BROAD if number % 2 else MODERN]) for number in range(50)])
    process = newest_command.run('report', '--html', tmp_path / 'page.html',
                                 *paths)
    rows = [re.split('  +', line)
            for line in process.stdout.splitlines()[1:23]]
    assert [name for name, *_ in rows[-2:]] == ['30 other scans',
                                                'all of 50 scans']
    for column in range(1, 6):
        assert sum(int(row[column]) for row in rows[:-1]) == int(
            rows[-1][column])
    assert '5 more scans did not pass: see the HTML report\n' in process.stdout


def test_page_that_is_there_stays_whole_when_a_scan_is_broken(
        newest_command: Command, tmp_path: pathlib.Path) -> None:
    (tmp_path / 'page.html').write_text('the old page')
    paths = save(tmp_path, 'now', [good(), good()])
    paths[1].write_text('{')
    newest_command.problem('report', '--html', tmp_path / 'page.html', *paths)
    assert (tmp_path / 'page.html').read_text() == 'the old page'
    assert sorted(os.listdir(tmp_path)) == ['now0.json', 'now1.json',
                                            'page.html']


@pytest.mark.parametrize('size', [1000, 15000, 20000])
def test_page_that_cannot_be_written_in_whole_is_not_written(
        newest_command: Command, tmp_path: pathlib.Path, size: int) -> None:
    """Limits stand for a full disk: of the parts, and of the page."""
    (tmp_path / 'page.html').write_text('the old page')
    path, = save(tmp_path, 'now', [document('node1.example.com', [BROAD])])
    line = newest_command.problem(
        'report', '--html', tmp_path / 'page.html', path,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE,
                                              (size, size)))
    assert line.endswith('[file-unwritable]')
    assert (tmp_path / 'page.html').read_text() == 'the old page'
    assert sorted(os.listdir(tmp_path)) == ['now0.json', 'page.html']


@pytest.mark.parametrize('name, code', [
    ('no/page.html', 'no-folder'), ('now0.json/page.html', 'no-folder'),
    ('folder.html', 'not-a-regular-file'), ('fifo.html', 'not-a-regular-file'),
    ('link.html', 'not-a-regular-file'), ('loop.html', 'file-unwritable')])
def test_page_that_cannot_be_there_is_named(
        newest_command: Command, tmp_path: pathlib.Path, name: str,
        code: str) -> None:
    (tmp_path / 'folder.html').mkdir()
    os.mkfifo(tmp_path / 'fifo.html')
    (tmp_path / 'link.html').symlink_to('fifo.html')
    (tmp_path / 'loop.html').symlink_to('loop.html')
    path, = save(tmp_path, 'now', [good()])
    line = newest_command.problem('report', '--html', tmp_path / name, path)
    assert line.startswith('vdsm-tlsciphers: %s: ' % (tmp_path / name))
    assert line.endswith('[%s]' % code)
    assert (tmp_path / 'fifo.html').is_fifo()


@pytest.mark.skipif(os.geteuid() != 0, reason='needs links of another user')
@pytest.mark.parametrize('name', ['page.html', 'folder/page.html'])
def test_link_that_another_user_made_is_not_followed(
        newest_command: Command, tmp_path: pathlib.Path, name: str) -> None:
    (tmp_path / 'inside').mkdir()
    target = tmp_path / 'inside/page.html'
    target.write_text('of root')
    for link, to in (('page.html', 'inside/page.html'), ('folder', 'inside')):
        (tmp_path / link).symlink_to(to)
        os.lchown(tmp_path / link, 65534, 65534)
    path, = save(tmp_path, 'now', [good()])
    line = newest_command.problem('report', '--html', tmp_path / name, path)
    assert line.endswith('[foreign-link]')
    assert target.read_text() == 'of root'


def test_scan_is_not_taken_for_the_page(newest_command: Command,
                                        tmp_path: pathlib.Path) -> None:
    """As in "report --html *.json"."""
    paths = save(tmp_path, 'now', [good(), good()])
    before = paths[0].read_bytes()
    assert newest_command.code('report', '--html', *paths) == 'no-html-name'
    assert paths[0].read_bytes() == before


def test_new_page_has_the_permissions_of_a_new_file(
        newest_command: Command, tmp_path: pathlib.Path) -> None:
    path, = save(tmp_path, 'now', [good()])
    newest_command.run('report', '--html', tmp_path / 'page.html', path,
                       preexec_fn=lambda: os.umask(0o027))
    assert (tmp_path / 'page.html').stat().st_mode & 0o777 == 0o640


def test_link_to_a_page_stays_a_link(newest_command: Command,
                                     tmp_path: pathlib.Path) -> None:
    path, = save(tmp_path, 'now', [good()])
    (tmp_path / 'latest.html').symlink_to('page.html')
    newest_command.run('report', '--html', tmp_path / 'latest.html', path)
    assert (tmp_path / 'latest.html').is_symlink()
    Page(tmp_path / 'page.html')


def test_many_hosts_are_folded(make: MakePage) -> None:
    page = make(*cluster(21, 2))
    assert {details.get('open') for details in page.body.iter('details')} == {
        None}
    page = make(*cluster(20, 2))
    assert {details.get('open') for details in page.body.iter('details')} == {
        ''}
    # A link opens a host if it leads to what is folded away.
    assert all(details.find('p').get('id')
               for details in page.body.iter('details'))


def luminance(colour: str) -> float:
    """https://www.w3.org/TR/WCAG21/#dfn-relative-luminance"""
    colour = colour[1:] if len(colour) == 7 else ''.join(
        2 * digit for digit in colour[1:])
    parts = [int(colour[i:i + 2], 16) / 255 for i in (0, 2, 4)]
    red, green, blue = (
        part / 12.92 if part <= .03928 else ((part + .055) / 1.055) ** 2.4
        for part in parts)
    return .2126 * red + .7152 * green + .0722 * blue


@pytest.mark.parametrize('scheme', ['light', 'dark'])
def test_contrast_is_enough_to_read(make: MakePage, scheme: str) -> None:
    """WCAG's level AA: 4.5 to 1."""
    source = make(good()).source
    light, dark = (dict(re.findall(r'--([a-z-]+): (#\w+);', block))
                   for block in re.findall(r'(?s):root {(.*?)}', source))
    colours = light if scheme == 'light' else {**light, **dark}
    assert set(light) == set(dark)
    for ink, paper in [
            ('ink', 'page'), ('quiet', 'page'), ('link', 'page'),
            ('passed', 'passed-soft'), ('failed', 'failed-soft'),
            ('not-scanned', 'not-scanned-soft'), ('page', 'strong'),
            ('acceptable', 'page'), ('ink', 'weak-soft'), ('page', 'broken')]:
        brighter, darker = sorted((luminance(colours[ink]),
                                   luminance(colours[paper])), reverse=True)
        assert (brighter + .05) / (darker + .05) >= 4.5, (ink, paper)


def test_merge_of_many_hosts_needs_little_memory(
        newest_command: Command, tmp_path: pathlib.Path, soak: bool,
        figure: support.Figure) -> None:
    """Of each 50 VMs, now and before."""
    hosts, most = (400, 500) if soak else (100, 180)
    folders = [write(tmp_path / name, cluster(hosts, 50, time, is_after))
               for name, time, is_after in (
                   ('before', EARLIER, False),
                   ('now', '2026-11-24T03:00:00Z', True))]
    page = tmp_path / 'page.html'
    status, output, megabytes = newest_command.measure(
        'report', '--html', page, '--before', *folders)
    assert status == 1
    totals = output.splitlines()[22].split()
    assert totals[:5] == ['all', 'of', str(hosts), 'scans', str(hosts * 100)]
    figure('report: memory to merge %d hosts of 50 VMs, before and after'
           % hosts, '%.0f MB' % megabytes, '< %d MB' % most)
    figure('report: the page of %d hosts of 50 VMs' % hosts,
           '%.1f MB' % (page.stat().st_size / 1e6), '-')
    assert megabytes < most
    source = page.read_text()
    assert source.count('<details class="host">') == hosts
    assert set(re.findall(r'>(vm\d+)[ <]', source)) == {
        'vm%05d' % number for number in range(hosts * 50)}


def test_what_a_scan_of_version_1_lacks_is_not_passed(
        make: MakePage) -> None:
    new = document('node1.example.com', [MODERN, INTERMEDIATE])
    old = as_version_1(document('node2.example.com', [MODERN, INTERMEDIATE]))
    page = make(new, old, status=1)
    assert [row[1:7] for row in page.table(
        'Hosts and their consoles')[1:]] == [
        ['2026-11-24 03:00 UTC', '4', '4', '0', '0', '0'],
        ['2026-11-24 03:00 UTC', '4', '1', '3', '0', '0']]
    header = words(page.body.find('header'))
    for line in ('signature algorithms of TLS 1.2: 2 consoles',
                 'extended master secret: 2 consoles',
                 'unencrypted offers: 2 consoles'):
        assert line in header
    consoles = [words(section) for section in page.body.iter('section')
                if 'Not checked: ' in words(section)
                and section.find('h4') is not None]
    assert len(consoles) == 3
    assert all('Partly checked' in console for console in consoles)


def test_what_was_not_checked_is_in_the_summary(
        newest_command: Command, tmp_path: pathlib.Path) -> None:
    path, = save(tmp_path, 'now', [as_version_1(document(
        'node1.example.com', [INTERMEDIATE]))])
    process = newest_command.run('report', '--html', tmp_path / 'p.html', path)
    assert process.returncode == 1
    assert ('not checked: signature algorithms of TLS 1.2 (2 consoles)\n'
            in process.stdout)


def test_unencrypted_offer_of_version_1_counts(make: MakePage) -> None:
    old = as_version_1(document('node1.example.com', [MODERN]))
    old['consoles'][1]['findings'] = [{
        'against': 'baseline', 'finding': 'connections without encryption are '
        'on offer; check Enable VNC Encryption'}]
    page = make(old, status=1)
    assert words(page.consoles('vm00000')['VNC'].find('h4')).endswith('Failed')


@pytest.mark.parametrize('version', [1, 2])
def test_findings_come_from_facts_and_not_from_what_the_scan_says(
        make: MakePage, version: int) -> None:
    scan = document('node1.example.com', [BROAD])
    for console in scan['consoles']:
        console['findings'] = []
        for suites in console['protocols'].values():
            for suite in suites:
                suite['strength'] = 'strong'
    page = make(as_version_1(scan) if version == 1 else scan, status=1)
    assert [row[0] for row in page.table(
        'Findings, the most frequent first')[1:]] == [
        finding['finding'] for finding in (
            scan_documents.GROUPS_FINDING,
            *scan_documents.FINDINGS[BROAD, 'spice'][:-1],
            *scan_documents.FINDINGS[BROAD, 'vnc'][:-1])]
    assert page.table('Accepted cipher suites')[1][2:] == [
        '13', '13', '24', '0']


def test_findings_that_the_facts_do_not_bear_out_are_not_there(
        make: MakePage) -> None:
    scan = document('node1.example.com', [MODERN])
    scan['consoles'][0]['findings'] = [scan_documents.GROUPS_FINDING]
    make(scan, status=0)


def test_baseline_is_the_one_of_the_report(make: MakePage) -> None:
    scan = document('node1.example.com', [INTERMEDIATE])
    scan['baseline'] = 'none'
    make(scan, status=0)
    page = make(scan, status=1, options=['--baseline', 'modern'])
    assert 'TLSv1.2 is accepted' in words(page.body)
    assert 'the baseline modern' in words(page.body.find('header'))


def test_policy_of_the_vm_counts_whatever_the_baseline(
        make: MakePage) -> None:
    scan = document('node1.example.com', [INTERMEDIATE])
    scan['consoles'][0]['policy']['protocols']['value'] = 'TLSv1.3'
    page = make(scan, status=1, options=['--baseline', 'none'])
    assert 'Policy (high): TLSv1.2 is accepted' in words(page.body)


def test_state_of_a_later_version_is_no_pass(make: MakePage) -> None:
    scan = document('node1.example.com', [MODERN])
    scan['consoles'][0]['state'] = 'half open'
    page = make(scan, status=1)
    spice = page.consoles('vm00000')['SPICE']
    assert words(spice.find('h4')).endswith('Not scanned')
    assert 'half open' in words(spice)


def test_offer_of_a_later_version_is_a_finding(make: MakePage) -> None:
    scan = document('node1.example.com', [MODERN])
    scan['consoles'][1]['unencrypted_offers'] = ['TLS 0.9']
    assert 'TLS 0.9 is offered' in words(make(scan, status=1).body)


def test_signature_algorithm_that_is_not_known_is_not_checked(
        make: MakePage) -> None:
    scan = document('node1.example.com', [INTERMEDIATE])
    scan['consoles'][0]['signatures'].append('rsa_pkcs1_sha1')
    assert 'Not checked: signature algorithms of TLS 1.2' in words(
        make(scan, status=1).consoles('vm00000')['SPICE'])


def test_policy_of_a_later_version_is_not_checked(make: MakePage) -> None:
    scan = document('node1.example.com', [MODERN])
    scan['consoles'][0]['policy']['tickets'] = {'value': 'no',
                                                'required': True}
    assert "Not checked: the policy's tickets" in words(
        make(scan, status=1).body)


@pytest.mark.parametrize('value, code', [
    ('-help', 'unknown-value'), ('x' * 5000, 'value-too-long'),
    ('HIGH\0', 'character'), ('', 'empty-value'), ('NOPE', 'unknown-value')])
def test_policy_that_cannot_be_evaluated_is_a_finding(
        make: MakePage, value: str, code: str) -> None:
    scan = document('node1.example.com', [MODERN])
    scan['consoles'][0]['policy']['ciphers'] = {'value': value,
                                                'required': True}
    text = words(make(scan, status=1, options=['--baseline', 'none']).body)
    assert 'Policy (high): the policy cannot be evaluated: ' in text
    assert ' [%s]; ' % code in text
    assert ' [not-evaluated]' in text


def test_policy_whose_end_gnutls_does_not_read_is_no_pass(
        make: MakePage) -> None:
    scan = document('node1.example.com', [MODERN])
    scan['consoles'][1]['policy'] = {'priority': {
        'value': 'NORMAL' + 130 * ':+CIPHER-ALL' + ':-VERS-TLS1.2',
        'required': True}}
    text = words(make(scan, status=1, options=['--baseline', 'none']).body)
    assert 'Policy (high): the policy cannot be evaluated: priority' in text
    assert ' [priority-cut]; shorten it [not-evaluated]' in text


def test_certificate_that_has_expired_since_the_scan_is_a_finding(
        make: MakePage) -> None:
    scan, earlier = (document('node1.example.com', [MODERN], time=time)
                     for time in ('2020-06-02T00:00:00Z',
                                  '2020-06-01T00:00:00Z'))
    for each in (scan, earlier):
        for console in each['consoles']:
            console['certificate'] = {
                **console['certificate'],
                'not_before': '2020-01-01T00:00:00Z',
                'not_after': '2020-07-01T00:00:00Z'}
    page = make(scan, before=[earlier], status=1)
    # At the time of the earlier scan it was good.
    assert [row[:5] for row in page.table('Consoles')[1:]] == [
        ['Earlier', '2', '2', '0', '0'], ['Now', '2', '0', '0', '2']]


def test_each_file_is_listed_with_its_digest(
        newest_command: Command, tmp_path: pathlib.Path) -> None:
    now, = save(tmp_path, 'now', [good()])
    before, = save(tmp_path, 'before', [document(
        'node1.example.com', [BROAD], time=EARLIER)])
    newest_command.run('report', '--html', tmp_path / 'page.html', now,
                       '--before', before)
    page = Page(tmp_path / 'page.html')
    for caption, path in (
            ('Files of this report', now),
            ('Files of the earlier scan', before)):
        assert page.table(caption)[1:] == [
            [str(path), hashlib.sha256(path.read_bytes()).hexdigest()]]


def give_another_name(console: Console) -> None:
    suite = console['protocols']['TLSv1.3'][0]
    suite['suite'] = 'TLS_CHACHA20_POLY1305_SHA256'
    suite['code'] = '0005'


def require_tls(console: Console) -> None:
    console.update(state='TLS required', protocols={})


@pytest.mark.parametrize('change', [
    lambda console: console.update(protocols={}),
    lambda console: console.update(protocols={'TLSv1.3': []}),
    lambda console: console['protocols']['TLSv1.3'][0].update(code='0A0A'),
    give_another_name, require_tls,
    lambda console: console['protocols'].update(
        TLSv1=console['protocols']['TLSv1.3']),
    lambda console: console['protocols']['TLSv1.3'].append(
        console['protocols']['TLSv1.3'][0])])
def test_console_whose_claims_its_facts_do_not_bear_out_is_refused(
        newest_command: Command, tmp_path: pathlib.Path,
        change: Callable[[Any], object]) -> None:
    scan = good()
    change(scan['consoles'][0])
    path, = save(tmp_path, 'now', [scan])
    line = newest_command.problem('report', '--html', tmp_path / 'page.html',
                                  path)
    assert line.startswith('vdsm-tlsciphers: %s: ' % path)
    assert '%(address)s:%(port)d' % scan['consoles'][0] in line
    assert line.endswith('[scan-contradiction]')
    assert not (tmp_path / 'page.html').exists()


def test_spice_port_whose_channels_all_require_tls_passes(
        make: MakePage) -> None:
    scan = document('node1.example.com', [MODERN])
    console = copy.deepcopy(scan['consoles'][0])
    console.update(state='TLS required', protocols={}, groups=[],
                   certificate=None, open_channels=[], port=5999)
    scan['consoles'].append(console)
    page = make(scan, status=0)
    assert 'every SPICE channel requires' in words(page.body)
    console.update(state='no TLS', open_channels=['main', 'usbredir'])
    page = make(scan, status=1)
    assert 'SPICE channels work without TLS on this port: main, usbredir' in (
        words(page.body))


@pytest.mark.parametrize('change, code', [
    (lambda scan: scan.update(version={'x': ['y' * 100000]}), 'scan-version'),
    (lambda scan: scan.update(version='9' * 100000), 'scan-version'),
    (lambda scan: scan['consoles'][0].update(groups=['a'] * 8000000),
     'scan-too-large'),
    (lambda scan: scan['consoles'][0].update(groups=['X25519'] * 201),
     'scan-invalid'),
    (lambda scan: scan.update(host='x' * 100000), 'scan-invalid'),
    (lambda scan: scan['consoles'][0].update(policy={
        str(number): {'value': 'x', 'required': True}
        for number in range(100)}), 'scan-invalid')])
def test_scan_without_measure_is_refused_in_a_line(
        newest_command: Command, tmp_path: pathlib.Path,
        change: Callable[[Any], object], code: str) -> None:
    scan = good()
    change(scan)
    path, = save(tmp_path, 'now', [scan])
    line = newest_command.problem('report', '--html', tmp_path / 'page.html',
                                  path)
    assert line.endswith('[%s]' % code)
    assert len(line) < 3000


def test_scan_without_measure_needs_little_time_and_memory(
        newest_command: Command, tmp_path: pathlib.Path) -> None:
    """As many values as can be, in the form that takes up most memory."""
    path = tmp_path / 'now.json'
    path.write_text('[%s0]' % ('{"":0},' * 999999))
    start = time.monotonic()
    status, _, megabytes = newest_command.measure(
        'report', '--html', tmp_path / 'page.html', path)
    assert status == 2
    assert megabytes < 500
    assert time.monotonic() - start < 20


def test_long_number_takes_no_time(command: Command,
                                   tmp_path: pathlib.Path) -> None:
    """Python before 3.11 takes hours for it."""
    path = tmp_path / 'now.json'
    path.write_text('[%s]' % ('9' * 10000000))
    assert 'a number of 10000000 digits' in command.problem(
        'report', '--html', tmp_path / 'page.html', path, timeout=60)


def test_policies_without_number_are_not_all_looked_up(
        make: MakePage) -> None:
    """Each by a program: 1,000, and no more."""
    scan = document('node1.example.com', [MODERN] * 1100)
    for number, console in enumerate(scan['consoles'][::2]):
        console['policy']['ciphers'] = {'value': 'HIGH:!X%d' % number,
                                        'required': True}
    page = make(scan, status=1)
    assert 'more than 1000 different values' in words(page.body)


# Runs report in one process for each of some files: {path: exit status}.
REPORTS = """
import contextlib, io, json, sys
sys.path.insert(0, sys.argv[1])
from vdsm_tlsciphers import cli
statuses = {}
for path in sys.argv[3:]:
    with contextlib.redirect_stderr(io.StringIO()) as said, (
            contextlib.redirect_stdout(io.StringIO())):
        statuses[path] = cli.run(['report', '--html', sys.argv[2], path])
    assert statuses[path] < 3, said.getvalue()
    assert said.getvalue().count('\\n') == (statuses[path] == 2)
print(json.dumps(statuses))
"""
STRANGE: tuple[Any, ...] = (
    None, True, -1, 0, 10 ** 19, 1e308, '', 'x' * 300, '\ud800', [], {},
           [None], 'TLSv1.3', '2026-01-01T00:00:00Z', 'RSA', 'RSA 0', '1301',
           'scanned', 'no TLS', 'TLS required', 'vnc', 'rsassaPss', ['main'])


def places(value: Any, place: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the ways (list of tuples of keys) to all within a document."""
    items = (value.items() if isinstance(value, dict) else enumerate(value)
             if isinstance(value, list) else ())
    return [place, *(deeper for key, inner in items
                     for deeper in places(inner, (*place, key)))]


def test_scan_that_is_changed_at_random_is_a_page_or_one_line(
        newest_installation: support.Installation,
        tmp_path: pathlib.Path) -> None:
    """And no pass, where it is that of consoles that do not pass."""
    random_numbers = random.Random(17)
    paths = []
    for number in range(500):
        scan = copy.deepcopy(document('node1.example.com', [BROAD, OFF]))
        if number % 3 == 0:
            scan = as_version_1(scan)
        *way, last = random_numbers.choice(places(scan)[1:])
        inner = scan
        for key in way:
            inner = inner[key]
        inner[last] = random_numbers.choice(STRANGE)
        paths += save(tmp_path, 'now%d-' % number, [scan])
    statuses = json.loads(subprocess.run(
        [sys.executable, '-Ic', REPORTS, newest_installation.module.parent,
         tmp_path / 'page.html', *paths],
        check=True, capture_output=True, text=True).stdout)
    assert set(statuses.values()) == {1, 2}
