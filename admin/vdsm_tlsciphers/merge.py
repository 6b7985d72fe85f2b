# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""Scans of many hosts, merged into one page."""

import collections

from vdsm_tlsciphers import (
    FINDINGS,
    FINE,
    Problem,
    files,
    judge,
    markup,
    page,
    scans,
    terminal,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable, Sequence
    from typing import IO

    from vdsm_tlsciphers import documents

# More hosts than these are folded on the page.
UNFOLDED = 20
# More hosts that did not pass are not printed, but are on the page.
PRINTED = 20


def run(options: 'argparse.Namespace') -> int:
    """Do the command's work; return its exit status."""
    baseline = judge.read_baseline(options.baseline)
    sources: list[scans.Source] = []
    earlier: list[scans.Source] = []
    report = write_html(
        options.html,
        scans.read(options.scans, baseline, options.baseline, sources),
        scans.read(options.before, baseline, options.baseline, earlier,
                   is_earlier=True), sources, earlier)
    print_summary(report, options.html)
    passed = report.tally.verdicts[scans.PASSED] == report.tally.consoles
    return FINE if passed else FINDINGS


def write_html(path: str, documents: 'Iterable[documents.Scan]',
               before: 'Iterable[documents.Scan]' = (),
               sources: 'Sequence[scans.Source]' = (),
               earlier_sources: 'Sequence[scans.Source]' = ()) -> 'Report':
    """
    Write the page of scan documents (iterable of dict; one at a time is in
    memory), compared with those of earlier scans, and the Sources that both
    are read from. It is there as a whole or not at all. Returns the Report.
    Raises Problem.
    """
    check_name(path)
    with files.place(path) as (folder, name):
        with files.scratch(folder) as parts:
            report = Report(parts, scans.Earlier(before))
            for document in documents:
                report.add(document)
            if sources and not report.tally.consoles:
                raise Problem('%s: no console in any of these scans; scan '
                              'where VMs run' % sources[0].path,
                              'no-consoles')
            report.sources = sources
            report.earlier_sources = earlier_sources
            with files.replacement(folder, name) as target:
                report.write(target)
        if report.earlier and report.earlier.is_later:
            terminal.note('the earlier scan is later than this one; give the '
                          'older one with --before', 'earlier-is-later')
        return report


def check_path(path: str) -> None:
    """
    Raise Problem where a page cannot be written: to be called before the
    work of a scan is done in vain.
    """
    check_name(path)
    with files.place(path):
        pass


def check_name(path: str) -> None:
    # Whoever names a scan here by mistake shall not lose it.
    if not path.endswith('.html'):
        raise Problem('%s: give the page a name that ends in .html' % path)


class Report:
    """
    Scans of hosts, merged: tally (scans.Tally), rows (list of (host, time,
    Tally)), findings (Counter of scans.Finding, over consoles), finding_hosts
    ({scans.Finding: set of str: the hosts that have it}), unchecked (Counter
    of str, over consoles), times, tools, baselines (sets of str), earlier
    (scans.Earlier or None), pictures (page.Pictures), sources and
    earlier_sources (sequences of scans.Source).
    """

    def __init__(self, parts: 'IO[bytes]', earlier: scans.Earlier) -> None:
        """Take a binary file to keep the hosts' parts of the page in."""
        self.tally = scans.Tally()
        self.rows: list[tuple[str, str, scans.Tally]] = []
        self.findings: collections.Counter[scans.Finding] = (
            collections.Counter())
        self.finding_hosts: dict[scans.Finding, set[str]] = (
            collections.defaultdict(set))
        self.unchecked: collections.Counter[str] = collections.Counter()
        self.times: set[str] = set()
        self.tools: set[str] = set()
        self.baselines: set[str] = set()
        self.earlier = earlier if earlier.times else None
        self.pictures = page.Pictures()
        self.sources: Sequence[scans.Source] = ()
        self.earlier_sources: Sequence[scans.Source] = ()
        self._parts = parts
        self._sizes: list[int] = []

    @property
    def subject(self) -> str:
        """What is reported of (str): a host, or how many hosts and scans."""
        hosts = {host for host, _, _ in self.rows}
        names = (self.rows[0][0] if len(hosts) == 1
                 else markup.count(len(hosts), 'host'))
        return names if len(hosts) == len(self.rows) else '%s, %s' % (
            names, markup.count(len(self.rows), 'scan'))

    @property
    def repeated(self) -> 'list[str]':
        """Those hosts (list of str) that have more than one scan here."""
        scanned = collections.Counter(host for host, _, _ in self.rows)
        return [host for host, times in scanned.items() if times > 1]

    @property
    def empty(self) -> 'list[str]':
        """Those hosts (list of str) whose scan has no console."""
        return [host for host, _, tally in self.rows if not tally.consoles]

    @property
    def folded(self) -> bool:
        """Whether the hosts are folded (bool)."""
        return len(self.rows) > UNFOLDED

    def add(self, document: 'documents.Scan') -> None:
        """Take a scan document in."""
        tally = scans.Tally()
        found: collections.Counter[scans.Finding] = collections.Counter()
        certificates: collections.Counter[scans.Certificate] = (
            collections.Counter())
        cards: dict[page.Consoles, list[list[documents.Console]]] = (
            collections.OrderedDict())
        for machine in machines(document):
            results = []
            for console in machine:
                result = scans.result(console)
                tally.add(result)
                found.update(dict.fromkeys(result.findings, 1))
                self.unchecked.update(result.unchecked)
                if result.certificate:
                    certificates[result.certificate] += 1
                results.append((
                    console['display'], result,
                    self.earlier.find(console, document['host'],
                                      document['time'])
                    if self.earlier else None))
            cards.setdefault(tuple(results), []).append(machine)
        self.rows.append((document['host'], document['time'], tally))
        self.tally += tally
        self.findings.update(found)
        for finding in found:
            self.finding_hosts[finding].add(document['host'])
        self.times.add(document['time'])
        self.tools.add(document['tool'])
        self.baselines.add(document['baseline'] or 'none')
        self._keep(page.host(len(self.rows), document, tally, [
            page.card(group, results, self.earlier is not None, self.pictures)
            for results, group in sorted(cards.items(), key=worst_first)],
            certificates))

    def _keep(self, part: str) -> None:
        self._sizes.append(self._parts.write(part.encode()))

    def write(self, target: 'IO[bytes]') -> None:
        """Write the page to a binary file."""
        target.write(page.front(self).encode())
        self._parts.seek(0)
        for size in self._sizes:
            target.write(page.fold(self.folded).encode())
            target.write(self._parts.read(size))
            target.write(b'</details>\n')
        for part in page.back(self):
            target.write(part.encode())


def machines(document: 'documents.Scan') -> 'list[list[documents.Console]]':
    """
    Return the consoles (list of lists) of a scan document by VM; where the
    VM is not known, each is by itself.
    """
    found: dict[str | int, list[documents.Console]] = (
        collections.OrderedDict())
    for number, console in enumerate(document['consoles']):
        found.setdefault(console['uuid'] or console['vm'] or number,
                         []).append(console)
    return list(found.values())


def worst_first(item: 'tuple[page.Consoles, object]') -> int:
    """Sort groups of VMs by the worst verdict of their consoles."""
    results, _ = item
    return min(scans.SEVERITY.index(result.verdict)
               for _, result, _ in results)


def print_summary(report: Report, path: str) -> None:
    """Print what a report says, in short, and where the page is."""
    rows: list[tuple[str, ...]] = [('host', 'consoles', *scans.VERDICTS)]
    bad = [each for each in report.rows
           if each[2].verdicts[scans.PASSED] < each[2].consoles]
    # Each console is in one of the rows.
    shown = report.rows if len(report.rows) <= PRINTED else bad[:PRINTED]
    repeated = set(report.repeated)
    rest = scans.Tally()
    for host, time, tally in report.rows:
        if any(tally is other for _, _, other in shown):
            rows.append(row(terminal.clean(
                '%s, %s' % (host, page.moment(time)) if host in repeated
                else host), tally))
        else:
            rest += tally
    if len(shown) < len(report.rows):
        rows.append(row(markup.count(len(report.rows) - len(shown),
                                     'other scan'), rest))
    rows.append(row('all of %s' % markup.count(len(report.rows), 'scan'),
                    report.tally))
    width = max(len(name) for name, *_ in rows)
    for name, *numbers in rows:
        print('%s  %8s  %6s  %14s  %6s  %11s' % (name.ljust(width), *numbers))
    if len(bad) > PRINTED:
        print('%s did not pass: see the page'
              % markup.count(len(bad) - PRINTED, 'more scan'))
    if report.repeated:
        print('more than one scan of: %s' % ', '.join(
            map(terminal.clean, report.repeated)))
    if report.empty:
        print('no console in the scan of: %s' % ', '.join(
            map(terminal.clean, report.empty)))
    for what, consoles in report.unchecked.most_common():
        print('not checked: %s (%s)' % (
            terminal.clean(what), markup.count(consoles, 'console')))
    print('page: %s' % terminal.clean(path))


def row(name: str, tally: scans.Tally) -> 'tuple[str, ...]':
    return (name, str(tally.consoles),
            *(str(tally.verdicts[verdict]) for verdict in scans.VERDICTS))
