# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""
Merges the scans of many hosts, each what "vdsm-tlsciphers scan --json"
printed there, into one page that can be filed and printed: what each console
accepts, what is wrong with it, and, where earlier scans are given, what has
changed. What the scans say of findings is not relied on: their facts are
assessed again. What a scan of an older version has not looked at is listed as
not checked.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse

EXAMPLES = """\
Examples:
  vdsm-tlsciphers report --html report.html node1.json node2.json
  vdsm-tlsciphers report --html report.html scans/
  vdsm-tlsciphers report --html report.html --before march/ april/

Exit status: 0 all consoles passed, 1 some did not pass, were checked in part
only, or were not scanned, 2 it could not be done, such as a file that is no
scan, or scans without a console: there is no page then.
"""


def add_arguments(parser: 'argparse.ArgumentParser') -> None:
    """Add what the command takes to its parser."""
    parser.add_argument('--html', metavar='FILE', required=True,
                        help='the page to write; ends in .html')
    parser.add_argument('--before', metavar='SCAN', action='append',
                        default=[], help='an earlier scan to compare with, or '
                        'a folder of them; can be given more than once')
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
    from vdsm_tlsciphers.report import writer as merge
    return merge.run(options)
