# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""
Writes one HTML report of the scans of many hosts, each printed there by
"vdsm-tlsciphers scan --json": what each console accepts, the findings, and,
with earlier scans, what changed. The findings in the scans are not relied on:
their facts are assessed again. Facts that a scan of an older version lacks are
listed as not checked.
"""

from vdsm_tlsciphers import FINDINGS, FINE
from vdsm_tlsciphers.output import clean, count

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse

    from vdsm_tlsciphers.audit import results
    from vdsm_tlsciphers.report import writer

EXAMPLES = """\
Examples:
  vdsm-tlsciphers report --html report.html node1.json node2.json
  vdsm-tlsciphers report --html report.html scans/
  vdsm-tlsciphers report --html report.html --before march/ april/

Exit status: 0 all consoles passed; 1 some failed, were only partly checked, or
were not scanned; 2 the command failed, and wrote no report: a file is not a
scan, for example, or no scan has a console.
"""
# Hosts that did not pass: the HTML report has all of them.
PRINTED = 20


def add_arguments(parser: 'argparse.ArgumentParser') -> None:
    """Add what the command takes to its parser."""
    parser.add_argument('--html', metavar='FILE', required=True,
                        help='the HTML report to write; ends in .html')
    parser.add_argument('--before', metavar='SCAN', action='append',
                        default=[], help='compare with an earlier scan, or a '
                        'folder of them; can be repeated')
    parser.add_argument(
        '--baseline', default='intermediate', metavar='NAME',
        help='check against modern, intermediate (default), a profile of '
        'this host, or none')
    parser.add_argument('scans', metavar='SCAN', nargs='+',
                        help='a file that "scan --json" printed, or a folder '
                        'with files *.json')


def run(options: 'argparse.Namespace') -> int:
    """Do the command's work; return its exit status."""
    # What --help does not need.
    from vdsm_tlsciphers.audit import compliance, results, scan_files
    from vdsm_tlsciphers.report import writer
    baseline = compliance.read_baseline(options.baseline)
    sources: list[scan_files.Source] = []
    earlier: list[scan_files.Source] = []
    report = writer.write_html(
        options.html,
        scan_files.read(options.scans, baseline, options.baseline, sources),
        scan_files.read(options.before, baseline, options.baseline, earlier,
                        is_earlier=True), sources, earlier)
    print_summary(report, options.html)
    passed = report.totals.verdicts[results.PASSED] == report.totals.consoles
    return FINE if passed else FINDINGS


def print_summary(report: 'writer.Report', path: str) -> None:
    """Print a summary of a report, and its path."""
    from vdsm_tlsciphers.audit import results
    from vdsm_tlsciphers.report import page
    rows: list[tuple[str, ...]] = [('host', 'consoles', *results.VERDICTS)]
    bad = [each for each in report.rows
           if each[2].verdicts[results.PASSED] < each[2].consoles]
    # Each console is in one of the rows.
    shown = report.rows if len(report.rows) <= PRINTED else bad[:PRINTED]
    repeated = set(report.repeated)
    rest = results.Totals()
    for host, time, totals in report.rows:
        if any(totals is other for _, _, other in shown):
            rows.append(row(clean(
                '%s, %s' % (host, page.moment(time)) if host in repeated
                else host), totals))
        else:
            rest += totals
    if len(shown) < len(report.rows):
        rows.append(row(count(len(report.rows) - len(shown),
                                     'other scan'), rest))
    rows.append(row('all of %s' % count(len(report.rows), 'scan'),
                    report.totals))
    width = max(len(name) for name, *_ in rows)
    for name, *numbers in rows:
        print('%s  %8s  %6s  %14s  %6s  %11s' % (name.ljust(width), *numbers))
    if len(bad) > PRINTED:
        print('%s did not pass: see the HTML report'
              % count(len(bad) - PRINTED, 'more scan'))
    if report.repeated:
        print('more than one scan of: %s' % ', '.join(
            map(clean, report.repeated)))
    if report.empty:
        print('no console in the scan of: %s' % ', '.join(
            map(clean, report.empty)))
    for what, consoles in report.unchecked.most_common():
        print('not checked: %s (%s)' % (
            clean(what), count(consoles, 'console')))
    print('HTML report: %s' % clean(path))


def row(name: str, totals: 'results.Totals') -> 'tuple[str, ...]':
    from vdsm_tlsciphers.audit import results
    return (name, str(totals.consoles),
            *(str(totals.verdicts[verdict]) for verdict in results.VERDICTS))
