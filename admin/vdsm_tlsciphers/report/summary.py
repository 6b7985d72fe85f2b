# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""The summary of all scans in a report."""

import collections

from vdsm_tlsciphers.audit import earlier_scans, results, scan_files
from vdsm_tlsciphers.output import count

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from vdsm_tlsciphers import documents

# With more hosts than these, hosts are folded on the page.
UNFOLDED = 20


class Summary:
    """
    Scans of hosts, merged: totals (results.Totals), rows (list of (host, time,
    Totals)), findings (Counter of results.Finding, over consoles),
    finding_hosts ({results.Finding: set of str: the hosts that have it}),
    unchecked (Counter of str, over consoles), times, tools, baselines (sets
    of str), earlier (earlier_scans.PreviousScan or None), sources and
    earlier_sources (sequences of scan_files.Source), overview (dict: the scan
    of an engine's VMs, or None).
    """

    def __init__(self, earlier: earlier_scans.PreviousScan) -> None:
        self.totals = results.Totals()
        self.rows: list[tuple[str, str, results.Totals]] = []
        self.findings: collections.Counter[results.Finding] = (
            collections.Counter())
        self.finding_hosts: dict[results.Finding, set[str]] = (
            collections.defaultdict(set))
        self.unchecked: collections.Counter[str] = collections.Counter()
        self.times: set[str] = set()
        self.tools: set[str] = set()
        self.baselines: set[str] = set()
        self.earlier = earlier if earlier.times else None
        self.sources: Sequence[scan_files.Source] = ()
        self.earlier_sources: Sequence[scan_files.Source] = ()
        self.overview: documents.EngineScan | None = None

    @property
    def subject(self) -> str:
        """The subject of the report (str): a host, or how many hosts."""
        if self.overview:
            return '%s of %s' % (count(len(self.rows), 'host'),
                                 self.overview['engine'].split('/')[2])
        hosts = {host for host, _, _ in self.rows}
        names = (self.rows[0][0] if len(hosts) == 1
                 else count(len(hosts), 'host'))
        return names if len(hosts) == len(self.rows) else '%s, %s' % (
            names, count(len(self.rows), 'scan'))

    @property
    def repeated(self) -> 'list[str]':
        """Those hosts (list of str) that have more than one scan here."""
        scanned = collections.Counter(host for host, _, _ in self.rows)
        return [host for host, times in scanned.items() if times > 1]

    @property
    def empty(self) -> 'list[str]':
        """Those hosts (list of str) whose scan has no console."""
        return [host for host, _, totals in self.rows if not totals.consoles]

    @property
    def folded(self) -> bool:
        """Whether the hosts are folded (bool)."""
        return len(self.rows) > UNFOLDED
