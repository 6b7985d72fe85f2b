# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""Writes the HTML report of the scans of many hosts."""

import collections

from vdsm_tlsciphers import UserError, files, output
from vdsm_tlsciphers.audit import earlier_scans, results, scan_files
from vdsm_tlsciphers.report import page, summary

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import IO

    from vdsm_tlsciphers import documents


def write_html(path: str, documents: 'Iterable[documents.Scan]',
               before: 'Iterable[documents.Scan]' = (),
               sources: 'Sequence[scan_files.Source]' = (),
               earlier_sources: 'Sequence[scan_files.Source]' = (),
               overview: 'documents.EngineScan | None' = None) -> 'Report':
    """
    Write the HTML report of scan documents (iterable of dict; one at a time is
    in memory), compared with earlier ones, and of the Sources of both; with
    the overview of an engine's VMs, whose hosts these are. It is written as a
    whole or not at all. Returns the Report. Raises UserError.
    """
    check_name(path)
    with files.place(path) as (folder, name):
        with files.scratch(folder) as parts:
            report = Report(parts, earlier_scans.PreviousScan(before))
            for document in documents:
                report.add(document)
            if sources and not report.totals.consoles:
                raise UserError(sources[0].path + ': no console in any of '
                                'these scans', 'scan where VMs run',
                                'no-consoles')
            report.sources = sources
            report.earlier_sources = earlier_sources
            report.overview = overview
            with files.replacement(folder, name) as target:
                report.write(target)
        if report.earlier and report.earlier.is_later:
            output.note('the earlier scan is later than this one',
                        'give the older one with --before',
                        'earlier-is-later')
        return report


def check_path(path: str) -> None:
    """
    Raise UserError where a report cannot be written: to be called before the
    scan.
    """
    check_name(path)
    with files.place(path):
        pass


def check_name(path: str) -> None:
    # A scan that is named here accidentally must not be overwritten.
    if not path.endswith('.html'):
        raise UserError(path + ': not a name for an HTML report',
                        'give one that ends in .html', 'no-html-name')


class Report(summary.Summary):
    """An HTML report in the making: a Summary and pictures (Pictures)."""

    def __init__(self, parts: 'IO[bytes]',
                 earlier: earlier_scans.PreviousScan) -> None:
        """Use a binary file to store the hosts' parts of the page."""
        super().__init__(earlier)
        self.pictures = page.Pictures()
        self._parts = parts
        self._sizes: list[int] = []

    def add(self, document: 'documents.Scan') -> None:
        """Add a scan document."""
        totals = results.Totals()
        found: collections.Counter[results.Finding] = collections.Counter()
        certificates: collections.Counter[results.Certificate] = (
            collections.Counter())
        cards: dict[page.Consoles, list[list[documents.Console]]] = (
            collections.OrderedDict())
        for vm in by_vm(document):
            consoles = []
            for console in vm:
                result = results.result(console)
                totals.add(result)
                found.update(dict.fromkeys(result.findings, 1))
                self.unchecked.update(result.unchecked)
                if result.certificate:
                    certificates[result.certificate] += 1
                consoles.append((
                    console['display'], result,
                    self.earlier.find(console, document['host'],
                                      document['time'])
                    if self.earlier else None))
            cards.setdefault(tuple(consoles), []).append(vm)
        self.rows.append((document['host'], document['time'], totals))
        self.totals += totals
        self.findings.update(found)
        for finding in found:
            self.finding_hosts[finding].add(document['host'])
        self.times.add(document['time'])
        self.tools.add(document['tool'])
        self.baselines.add(document['baseline'] or 'none')
        self._keep(page.host(len(self.rows), document, totals, [
            page.card(group, consoles, self.earlier is not None, self.pictures)
            for consoles, group in sorted(cards.items(), key=by_severity)],
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
        for part in page.back(self, self.pictures):
            target.write(part.encode())


def by_vm(document: 'documents.Scan') -> 'list[list[documents.Console]]':
    """
    Return the consoles (list of lists) of a scan document by VM; where the
    VM is unknown, each stands alone.
    """
    found: dict[str | int, list[documents.Console]] = (
        collections.OrderedDict())
    for number, console in enumerate(document['consoles']):
        found.setdefault(console['uuid'] or console['vm'] or number,
                         []).append(console)
    return list(found.values())


def by_severity(item: 'tuple[page.Consoles, object]') -> int:
    """Key to sort groups of VMs by the worst verdict of their consoles."""
    consoles, _ = item
    return min(results.SEVERITY.index(result.verdict)
               for _, result, _ in consoles)
