# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""The page of a report, in parts: HTML without scripts or external content."""

import collections
import re

from vdsm_tlsciphers import VERSION, one_line
from vdsm_tlsciphers.audit import results
from vdsm_tlsciphers.engine import assessment
from vdsm_tlsciphers.output import count, thousands
from vdsm_tlsciphers.report import stylesheet
from vdsm_tlsciphers.report.markup import (
    NEWLINE,
    Markup,
    element,
    facts,
    join,
    opening,
    table,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from vdsm_tlsciphers import documents
    from vdsm_tlsciphers.report.summary import Summary

    # Of a VM: (display, Result, earlier Result or None).
    Consoles = tuple[tuple[documents.ScannedDisplay, results.Result,
                           results.Result | None], ...]

DISPLAYS = {'spice': 'SPICE', 'vnc': 'VNC', 'websocket': 'Websocket (noVNC)',
            'tls': 'TLS'}
# Rows of a table of findings, or of consoles that are gone; names in a cell.
LONGEST_LIST = 200
# Suites in a line of a picture, the width and height of each, and the place of
# the first.
PER_LINE, CELL, LINE, LABEL = 20, 15, 20, 50


def moment(time: str) -> str:
    """Return a time of a scan document as text."""
    match = re.match(r'(\d{4}-\d\d-\d\d)T(\d\d:\d\d)(:\d\d)?(\.\d+)?Z$', time)
    return '%s %s UTC' % match.group(1, 2) if match else time


def period(times: 'Collection[str]') -> str:
    """Return the first and the last of some times as text."""
    first, last = moment(min(times)), moment(max(times))
    return first if first == last else '%s to %s' % (first, last)


def badge(verdict: 'results.Verdict') -> Markup:
    """Return the mark of a verdict."""
    return element('span', verdict.capitalize(),
                   class_='badge ' + verdict.replace(' ', '-'))


def share(totals: results.Totals) -> Markup:
    """Return a bar of the verdicts, to be shown beside the numbers."""
    width, position, parts = 120, 0.0, []
    for verdict in results.VERDICTS:
        part = width * totals.verdicts[verdict] / max(totals.consoles, 1)
        if part:
            parts.append(element(
                'rect', class_=verdict.replace(' ', '-'),
                x='%.1f' % position, width='%.1f' % part, height=12))
        position += part
    return element('svg', *parts, class_='share', viewBox='0 0 120 12',
                   width=width, height=12, aria_hidden='true')


def totals_row(name: str, totals: results.Totals) -> 'list[str]':
    """Return the cells that a row of a summary has."""
    return [name, thousands(totals.consoles),
            *[thousands(totals.verdicts[verdict])
              for verdict in results.VERDICTS], share(totals)]


TOTALS = ['#Consoles', '#Passed', '#Partly checked', '#Failed', '#Not scanned',
          'Share']


class Pictures:
    """
    What consoles accepted, each result drawn once, however many consoles share
    it: a picture of its suites (a reusable <symbol>), and a comparison by name
    with what was accepted earlier.
    """

    def __init__(self) -> None:
        self._symbols: dict[results.Protocols, int] = {}
        self._comparisons: (
            dict[tuple[results.Protocols | None, results.Protocols], int]) = {}

    def picture(self, protocols: 'results.Protocols') -> Markup:
        """Return the picture of the protocols of a Result."""
        if not protocols:
            return Markup('')
        number = self._symbols.setdefault(protocols, len(self._symbols) + 1)
        width, height = size(protocols)
        return element(
            'svg', element('use', href='#p%d' % number), class_='picture',
            role='img', width=width * 6 // 5, height=height * 6 // 5,
            viewBox='0 0 %d %d' % (width, height),
            aria_label=describe(protocols))

    def comparison(self, earlier: 'results.Protocols | None',
                   protocols: 'results.Protocols') -> Markup:
        """
        Return a link to the names of the suites of a Result's protocols, and
        of those that were accepted earlier (None: unknown).
        """
        number = self._comparisons.setdefault(
            (earlier, protocols), len(self._comparisons) + 1)
        return element('a', 'Result %d' % number, href='#r%d' % number)

    def symbols(self) -> Markup:
        """Return the pictures, for other parts of the page to use."""
        cells = [element('symbol', shape, element(
            'text', strength[0].upper(), x='6.5', y='10'), id=strength,
            class_=strength) for strength, shape in SHAPES.items()]
        return element('svg', *cells, *[
            draw(protocols, number)
            for protocols, number in self._symbols.items()],
            class_='symbols', width=0, height=0, aria_hidden='true')

    def comparisons(self) -> 'Iterator[Markup]':
        """Yield each of the comparisons (Markup)."""
        for (earlier, now), number in self._comparisons.items():
            yield element('section', compare(earlier, now, number), NEWLINE,
                          class_='result', id='r%d' % number)


# Told apart by shape and by letter as well as by colour.
SHAPES = {
    'strong': Markup('<rect width="13" height="13" rx="3"/>'),
    'acceptable': Markup('<rect x=".75" y=".75" width="11.5" height="11.5"'
                         ' rx="3"/>'),
    'weak': Markup('<rect x=".5" y=".5" width="12" height="12"/>'
                   '<path d="M0 4 4 0M0 7 7 0M6 13 13 6M9 13 13 9"/>'),
    'broken': Markup('<path d="M4 0H9L13 4V9L9 13H4L0 9V4Z"/>')}


def size(protocols: 'results.Protocols') -> 'tuple[int, int]':
    """Return the width and height of a picture."""
    lines = sum(-(-len(suites) // PER_LINE) for _, suites in protocols)
    return LABEL + PER_LINE * CELL + 25, lines * LINE


def draw(protocols: 'results.Protocols', number: int) -> Markup:
    """Return the symbol of a picture: a line for each version of TLS."""
    width, height = size(protocols)
    parts: list[Markup] = []
    line = 0
    for version, suites in protocols:
        parts += [element('text', version, y=line * LINE + 12),
                  element('text', len(suites), y=line * LINE + 12,
                          x=LABEL + min(len(suites), PER_LINE) * CELL + 4)]
        for position, suite in enumerate(suites):
            parts.append(element(
                'use', href='#' + suite.strength,
                x=LABEL + position % PER_LINE * CELL,
                y=(line + position // PER_LINE) * LINE + 2))
        line += -(-len(suites) // PER_LINE)
    return element('symbol', *parts, id='p%d' % number,
                   viewBox='0 0 %d %d' % (width, height))


def describe(protocols: 'results.Protocols') -> str:
    """Return a picture in words."""
    return '; '.join('%s: %s' % (version, ', '.join(
        '%d %s' % (sum(suite.strength == strength for suite in suites),
                   strength)
        for strength in results.STRENGTHS
        if any(suite.strength == strength for suite in suites)))
        for version, suites in protocols)


def compare(earlier: 'results.Protocols | None', now: 'results.Protocols',
            number: int) -> Markup:
    """Return the heading and table of a comparison: suites by versions."""
    here, before = by_version(now), by_version(earlier or ())
    versions = [version for version in results.PROTOCOLS
                if version in here or version in before]
    accepted = set().union(*here.values())
    rows = [[element('code', suite), element('code', code), key_exchange,
             *[cell(before.get(version, {}).get((suite, code, key_exchange)),
                    here.get(version, {}).get((suite, code, key_exchange)),
                    earlier is not None) for version in versions]]
            for suite, code, key_exchange in sorted(
                accepted.union(*before.values()),
                key=lambda suite: (suite not in accepted, min(
                    results.STRENGTHS.index(suites[suite])
                    for suites in (*here.values(), *before.values())
                    if suite in suites), suite))]
    summary = '%s accepted' % count(sum(map(len, here.values())), 'suite')
    if earlier is not None:
        summary += ', %d in the earlier scan' % sum(map(len, before.values()))
    return join([element('h3', 'Result %d' % number), table(
        summary,
        ['Suite', 'Code', 'Key exchange', *versions], rows)])


def by_version(protocols: 'results.Protocols') -> (
        'dict[str, dict[tuple[str, str, str], documents.Strength]]'):
    """Return {version: {(suite, code, key exchange): strength}}."""
    return {version: {
        (suite.suite, suite.code, suite.key_exchange): suite.strength
        for suite in suites} for version, suites in protocols}


def cell(before: 'str | None', now: 'str | None',
         is_comparison: bool) -> 'str | None':
    """Return a comparison's cell: strengths (str), or None."""
    if not before and not now:
        return Markup('')
    if not is_comparison or (before and now):
        return now
    if now:
        return element('ins', 'new: ' + now)
    return join(['gone: ', element('del', before)])


def side(title: str, result: results.Result, pictures: Pictures,
         others: 'Collection[results.Finding] | None' = None) -> Markup:
    """
    Return the result of a console: title (str), result (results.Result),
    others (findings that are not new; None: unknown).
    """
    parts = [element('h5', title, ' ', badge(result.verdict))] if title else []
    if result.protocols:
        parts.append(pictures.picture(result.protocols))
    if result.problem or result.state != 'scanned':
        state = STATES.get(result.state, result.state)
        problem = result.problem and ': ' + (one_line(
            result.problem, '', result.code) if result.code
            else result.problem)
        parts.append(element('p', state, problem or '', class_='problem'))
    if result.findings:
        parts.append(element('ul', *[element(
            'li', element('b', '%s (%s): ' % (AGAINST[finding.against],
                                              finding.severity)),
            one_line(finding.text, finding.remedy, finding.code),
            '' if others is None or finding in others
            else element('ins', ' (new)'))
            for finding in result.findings], class_='findings'))
    if result.unchecked:
        parts.append(element('p', 'Not checked: ' + ', '.join(
            result.unchecked), class_='problem'))
    return element('div', *parts, facts([
        ('Groups', ', '.join(result.groups)),
        ('Signatures (TLS 1.2)', ', '.join(result.signatures)),
        ('Extended master secret', YES_OR_NO[result.extended_master_secret]),
        ('Session tickets (TLS 1.2)', YES_OR_NO[result.session_tickets]),
        ('Policy', policy(result.policy)),
        ('Certificate', result.certificate and '%s, %s, until %s' % (
            result.certificate.subject, result.certificate.key,
            moment(result.certificate.not_after)))]), class_='side')


STATES = {'scanned': 'Scanned', 'no TLS': 'No TLS on this port',
          'TLS required': 'No TLS on this port, but every SPICE channel '
          'requires it', 'unreachable': 'Unreachable',
          'incomplete': 'Scan incomplete'}
YES_OR_NO = {True: 'yes', False: 'no', None: None}
AGAINST = {'policy': 'Policy', 'baseline': 'Baseline'}


def policy(settings: 'tuple[tuple[str, str, bool], ...] | None') -> (
        'str | None'):
    """Return the policy of a Result, a line for each key."""
    if not settings:
        return None if settings is None else 'none'
    return join([
        element('span', key, '=', element('code', breakable(value)),
                '' if required else ' (best effort)')
        for key, value, required in settings], Markup('<br>'))


def breakable(value: str) -> Markup:
    """Return text with colons that can be broken after each."""
    return join(value.split(':'), Markup(':<wbr>'))


def console(title: str, result: results.Result,
            earlier: 'results.Result | None', pictures: Pictures) -> Markup:
    """Return a console's part of a card: its results, now and before."""
    before = None
    if (earlier is not None and earlier != result
            and earlier.is_whole and result.is_whole):
        before = earlier.protocols
    link = ''
    if result.protocols or before:
        link = element('p', 'Cipher suites by name: ', pictures.comparison(
            before, result.protocols), class_='quiet')
    if earlier is None or earlier == result:
        return element(
            'section', element('h4', title, ' ', badge(result.verdict)),
            element('p', 'Same result as in the earlier scan.')
            if earlier else '',
            side('', result, pictures), link)
    return element(
        'section', element('h4', title),
        element('p', change(earlier, result) if before is not None
                else 'Not compared: one of the two scans is incomplete.'),
        element('div', side('Earlier', without_remedies(earlier), pictures),
                side('Now', result, pictures, earlier.findings),
                class_='pair'), link)


def without_remedies(result: results.Result) -> results.Result:
    """Return a Result without remedies, which an earlier one does not need."""
    return result._replace(findings=tuple(
        finding._replace(remedy='') for finding in result.findings))


def change(earlier: results.Result, now: results.Result) -> str:
    """Return in words what changed between two Results."""
    line = 'Gone: %s. New: %s.' % (difference(earlier, now),
                                   difference(now, earlier))
    if (earlier.certificate and now.certificate
            and earlier.certificate != now.certificate):
        line += ' The certificate changed.'
    return line


def difference(first: results.Result, second: results.Result) -> str:
    """Return in words what only the first of two Results has."""
    offers = [{(version, suite.code) for version, suite in result.offers}
              for result in (first, second)]
    names = [count(len(offers[0] - offers[1]), 'suite')] * bool(
        offers[0] - offers[1])
    others = dict(second.protocols)
    names += [version for version, _ in first.protocols
              if version not in others]
    names += [group for group in first.groups if group not in second.groups]
    return ', '.join(names) or 'nothing'


def card(vms: 'list[list[documents.Console]]', consoles: 'Consoles',
         has_earlier: bool, pictures: Pictures) -> Markup:
    """
    Return the card of VMs of a host with the same results: vms (list of lists
    of consoles of a scan document), consoles (tuple of (display, Result,
    earlier Result or None)).
    """
    verdict = next(verdict for verdict in results.SEVERITY if any(
        result.verdict == verdict for _, result, _ in consoles))
    first = vms[0]
    if len(vms) > 1:
        title = count(len(vms), 'VM' if first[0]['vm'] else 'console'
                      ) + ' with the same results'
        names: str | None = table(
            'VMs and their consoles', ['VM', 'UUID', *[
                DISPLAYS[display] for display, _, _ in consoles]], [
                [vm[0]['vm'] or '-', vm[0]['uuid'] or '-',
                 *[results.endpoint(each) for each in vm]]
                for vm in vms])
        titles = [DISPLAYS[display] for display, _, _ in consoles]
    else:
        title = first[0]['vm'] or results.endpoint(first[0])
        names = first[0]['uuid'] and element(
            'p', 'UUID ', element('code', first[0]['uuid']), class_='quiet')
        titles = ['%s %s' % (DISPLAYS[each['display']], results.endpoint(each))
                  for each in first]
    return element(
        'article', element('h3', title, ' ', badge(verdict)), names or '',
        element('p', totals(consoles)) if has_earlier else '',
        *[console(name, result, earlier, pictures)
          for name, (_, result, earlier) in zip(titles, consoles)],
        class_='card ' + verdict.replace(' ', '-'))


def totals(consoles: 'Consoles') -> str:
    """Return in words how many suites the consoles of a VM accepted."""
    missing = [DISPLAYS[display] for display, _, earlier in consoles
               if not earlier]
    if len(missing) == len(consoles):
        return 'Not in the earlier scan.'
    if missing:
        return 'Not in the earlier scan: %s.' % ', '.join(missing)
    pairs = [(earlier, now) for _, now, earlier in consoles if earlier]
    if not all(earlier.is_whole and now.is_whole for earlier, now in pairs):
        return ''
    return 'Suites accepted: %d earlier, %d now.' % (
        sum(len(earlier.offers) for earlier, _ in pairs),
        sum(len(now.offers) for _, now in pairs))


def fold(is_folded: bool) -> Markup:
    """Return the start tag of a host's part."""
    return Markup('<details class="host"%s>\n' % (
        '' if is_folded else ' open'))


def host(number: int, document: 'documents.Scan', totals: results.Totals,
         cards: 'list[Markup]',
         certificates: 'dict[results.Certificate, int]') -> Markup:
    """
    Return the inside of a host's part: its number (int), document, totals
    (results.Totals), cards (list of Markup), certificates
    ({results.Certificate: how many consoles have it}).
    """
    parts = [element('summary', element('h2', document['host']),
                     element('span', verdicts(totals), class_='counts'),
                     share(totals)),
             element('p', 'Scanned on %s with vdsm-tlsciphers %s; baseline: '
                     '%s.' % (moment(document['time']), document['tool'],
                              document['baseline'] or 'none'),
                     # The target is inside, so that a link unfolds it.
                     id='h%d' % number, class_='quiet')]
    if not cards:
        parts.append(element('p', 'This scan has no consoles.'))
    parts += cards
    parts += [element(
        'section', element('h3', 'Certificate of %s'
                           % count(consoles, 'console')),
        facts([('Subject', each.subject), ('Issuer', each.issuer),
               ('Valid', '%s to %s' % (moment(each.not_before),
                                       moment(each.not_after))),
               ('Key', each.key), ('Signature', each.signature),
               ('SHA-256', element('code', each.sha256))]),
        class_='certificate') for each, consoles in certificates.items()]
    return join(parts, NEWLINE)


def verdicts(totals: results.Totals) -> str:
    """Return the verdicts of a Totals in words."""
    return ', '.join('%s %s' % (thousands(totals.verdicts[verdict]), verdict)
                     for verdict in results.VERDICTS
                     if totals.verdicts[verdict]
                     ) or 'no consoles'


def conclusion(totals: results.Totals) -> str:
    """Return the result of the whole report in a line."""
    if not totals.consoles:
        return 'No consoles'
    passed = '%s of %s passed' % (
        thousands(totals.verdicts[results.PASSED]),
        count(totals.consoles, 'console'))
    return ', '.join([passed] + [
        '%s %s' % (thousands(totals.verdicts[verdict]), verdict)
        for verdict in (results.PARTLY, results.FAILED, results.NOT_SCANNED)
        if totals.verdicts[verdict]])


def front(report: 'Summary') -> Markup:
    """
    Return the page up to the hosts' parts (Markup), of a finished
    Summary.
    """
    totals = report.totals
    heading = 'TLS of the consoles of ' + report.subject
    state = next((verdict for verdict in results.SEVERITY
                  if totals.verdicts[verdict]), results.PASSED)
    if report.overview and report.overview['engine_findings']:
        state = results.FAILED
    return join([
        Markup('<!DOCTYPE html>\n<html lang="en">\n<head>\n'
               '<meta charset="utf-8">\n<meta http-equiv='
               '"Content-Security-Policy" content="default-src \'none\'; '
               'style-src \'unsafe-inline\'">\n<meta name="viewport" '
               'content="width=device-width, initial-scale=1">\n'
               '<meta name="color-scheme" content="light dark">'),
        element('title', heading), element('style', Markup(stylesheet.STYLE)),
        Markup('</head>\n<body>\n<header>'),
        element('h1', heading),
        element('p', conclusion(totals), *(
            [Markup('<br>'), policies(report.overview)]
            if report.overview else ()),
            class_='conclusion ' + state.replace(' ', '-')),
        facts([
            ('Engine', report.overview and report.overview['engine']),
            ('Search', report.overview and report.overview['scope']['search']),
            ('Scope', report.overview and scope(report.overview)),
            ('Scanned', report.times and period(report.times)),
            ('Earlier scan', report.earlier and report.earlier.times
             and period(report.earlier.times) + (
                 ' (later than this scan)'
                 if report.earlier.is_later else '')),
            ('Checked against', compared_with(report.baselines)),
            ('Not checked', join([
                element('span', '%s: %s' % (what, count(consoles, 'console')))
                for what, consoles in report.unchecked.most_common()],
                Markup('<br>'))),
            ('No console on', ', '.join(report.empty)),
            ('Scanned with', 'vdsm-tlsciphers '
             + ', '.join(sorted(report.tools))),
            ('Several scans of', ', '.join(report.repeated))]),
        Markup('</header>\n<main>'),
        summary(report), engine_findings(report), findings(report),
        hosts(report)], NEWLINE)


def policies(document: 'documents.EngineScan') -> str:
    """Return in a line how many policies are effective."""
    counted = document['policies']
    if not counted['requested'] and not counted['waiting']:
        return 'No VM requests a policy'
    line = '%s of %s effective' % (
        thousands(counted['effective']),
        count(counted['requested'], 'policy', 'policies'))
    for key, text in (('different', 'not effective'), ('unknown', 'unknown'),
                      ('waiting', 'waiting for the next start of a VM')):
        if counted[key]:  # type: ignore[literal-required]
            line += ', %s %s' % (
                thousands(counted[key]), text)  # type: ignore[literal-required]
    return line


def scope(document: 'documents.EngineScan') -> str:
    """Return in words which VMs were scanned."""
    found = document['scope']
    return ('%s that run, %s of them without a console; %s down; %s not '
            'reached' % (count(found['vms'], 'VM'),
                         thousands(found['without_console']),
                         count(found['down'], 'VM'),
                         count(found['not_reached'], 'console')))


def engine_findings(report: 'Summary') -> Markup:
    """Return the part with what only the engine's view shows."""
    if not report.overview or not report.overview['engine_findings']:
        return Markup('')
    parts = []
    for (severity, text, remedy), some in assessment.by_text(
            report.overview['engine_findings']).items():
        columns = [name for name, key in (
            ('Cluster', 'cluster'), ('Hosts', 'hosts'), ('VMs', 'vms'))
            if any(each[key] for each in some)]  # type: ignore[literal-required]
        cells = [{'Cluster': each['cluster'] or '',
                  'Hosts': names_in_line(each['hosts']),
                  'VMs': names_in_line(each['vms'])} for each in some]
        parts.append(element(
            'section', element('h3', text),
            element('p', '%s. Remedy: %s.' % (severity.capitalize(), remedy)),
            table('Where', columns, [[cell[name] for name in columns]
                                     for cell in cells]) if columns else '',
            class_='result'))
    return element(
        'section', element('h2', 'Policies, hosts and cluster levels'),
        element('p', 'What the engine and the handshakes show together.',
                class_='quiet'), *parts)


def names_in_line(names: 'list[str]') -> str:
    """Return names in a line; of very many the first."""
    rest = len(names) - LONGEST_LIST
    return ', '.join(names[:LONGEST_LIST]) + (
        ', and %s more, which --json has' % thousands(rest)
        if rest > 0 else '')


def compared_with(baselines: 'set[str]') -> str:
    """Return in words what consoles are checked against."""
    names = ', '.join(sorted(baselines - {'none'}))
    return 'the policy of each VM' + (
        ', and the baseline ' + names if names else ', and no baseline')


def summary(report: 'Summary') -> Markup:
    """Return the part that counts over all hosts."""
    rows = [('Now', report.totals)]
    if report.earlier is not None:
        rows.insert(0, ('Earlier', report.earlier.totals))
    strengths = ['#' + strength.capitalize() for strength in results.STRENGTHS]
    return element(
        'section', element('h2', 'Summary'),
        element('div', table(
            'Consoles', ['Scan', *TOTALS], [totals_row(*row) for row in rows]),
            table('Accepted cipher suites',
                  ['Scan', '#All', *strengths],
                  [[name, thousands(sum(totals.suites.values())),
                    *[thousands(totals.suites[strength])
                      for strength in results.STRENGTHS]]
                   for name, totals in rows]), class_='beside'),
        legend())


def legend() -> Markup:
    """Return the legend of the pictures."""
    return element('ul', *[element(
        'li', element('svg', element('use', href='#' + strength), width=13,
                      height=13, aria_hidden='true'), ' ',
        element('b', strength), ' ', MEANING[strength])
        for strength in results.STRENGTHS], class_='legend')


MEANING = {
    'strong': 'recommended by the guidelines',
    'acceptable': 'no longer recommended',
    'weak': 'should be disabled',
    'broken': 'no protection'}


def findings(report: 'Summary') -> Markup:
    """Return the part with the findings, the most frequent first."""
    if not report.findings:
        return Markup('')
    rows = [[one_line(finding.text, finding.remedy, finding.code),
             finding.severity, AGAINST[finding.against], thousands(consoles),
             thousands(len(report.finding_hosts[finding]))]
            for finding, consoles
            in report.findings.most_common(LONGEST_LIST)]
    rest = len(report.findings) - len(rows)
    return element(
        'section', element('h2', 'Findings'),
        table('Findings, the most frequent first',
              ['Finding', 'Severity', 'Against', '#Consoles', '#Hosts'], rows),
        element('p', '%s more: see the hosts below.' % count(rest, 'finding'))
        if rest else '')


def hosts(report: 'Summary') -> Markup:
    """Return the table of hosts, where there is more than one."""
    if len(report.rows) < 2:
        return Markup('')
    columns = ['Host', 'Scanned', *TOTALS]
    rows = [[element('a', name, href='#h%d' % number), moment(time),
             *totals_row(name, totals)[1:]]
            for number, (name, time, totals) in enumerate(report.rows, 1)]
    if report.overview:
        columns[1:2] = ['Hook', 'Policies effective']
        known = hooks_and_policies(report.overview)
        for row, (name, _, _) in zip(rows, report.rows):
            row[1:2] = known.get(name, ('-', '-'))
    return element(
        'section', element('h2', 'Hosts'),
        table('Hosts and their consoles', columns, rows),
        element('p', 'The hosts below are folded. Unfold those that you want '
                'to read: only these are printed.')
        if report.folded else '')


def hooks_and_policies(document: 'documents.EngineScan') -> (
        'dict[str, tuple[str, str]]'):
    """
    Return {name of a host's scan: whether the host has the hook, and how many
    of the policies of its VMs are effective}.
    """
    effective: collections.Counter[str] = collections.Counter()
    requested: collections.Counter[str] = collections.Counter()
    for vm in document['vms']:
        name = '%s / %s' % (vm['cluster'], vm['host'] or '-')
        effective[name] += vm['statement'] == assessment.EFFECTIVE
        requested[name] += vm['statement'] != assessment.NONE
    return {name: ('yes' if host['hook'] else 'no', '%d of %d' % (
        effective[name], requested[name]) if requested[name] else '-')
        for host in document['hosts']
        for name in ['%s / %s' % (host['cluster'], host['host'])]}


def back(report: 'Summary', pictures: Pictures) -> 'Iterator[Markup]':
    """Yield the page from the hosts' parts on (Markup)."""
    gone = report.earlier.gone() if report.earlier else []
    if gone:
        rest = len(gone) - LONGEST_LIST
        yield element(
            'section', element('h2', 'Only in the earlier scan'),
            table('Consoles that are gone', ['VM', 'Console', 'Host'],
                  [[vm, DISPLAYS[display], host]
                   for vm, display, host in gone[:LONGEST_LIST]]),
            element('p', '%s more.' % count(rest, 'console'))
            if rest > 0 else '')
    tables = [table(caption, ['File', 'SHA-256'],
                    [[source.path, element('code', source.sha256)]
                     for source in sources]) for caption, sources in (
        ('Files of this report', report.sources),
        ('Files of the earlier scan', report.earlier_sources)) if sources]
    if tables:
        yield element('section', element('h2', 'Scan files'), *tables)
    yield opening('section', id='results')
    yield element('h2', 'Cipher suites by name')
    yield from pictures.comparisons()
    yield Markup('</section>\n</main>\n')
    yield element('footer', element('p', (
        'Each cipher suite, version and group on this page was accepted in a '
        'handshake with the console. A console passed if it accepted nothing '
        'outside the policy of its VM and the baseline. It is "partly '
        'checked" if its scan lacks facts for that, and "not scanned" if the '
        'scan could not be completed. Findings and strengths are assessed by '
        'vdsm-tlsciphers %s from the facts in the scans; certificates must be '
        'valid at the time of the scan and of the report. Strengths, and the '
        'baselines modern and intermediate, follow Mozilla\'s Server Side TLS '
        'guidelines, version 6.0. Generated by vdsm-tlsciphers %s.'
        % (VERSION, VERSION))))
    yield pictures.symbols()
    yield Markup('\n</body>\n</html>\n')
