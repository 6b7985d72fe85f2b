# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""
Finds out by handshakes what consoles accept: the SPICE, VNC and websocket
ports of the VMs of this host, or any port. What they accept is checked against
the policy of the VM and against a baseline. No password is needed, and users
who are connected are not disturbed.
"""

from vdsm_tlsciphers import FINDINGS, FINE, Problem

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse

    from vdsm_tlsciphers import documents

EXAMPLES = """\
Exit status: 0 all consoles pass, or no VM with a console runs here; 1 there
are findings, or consoles that could not be scanned; 2 nothing could be
scanned, or there is nothing for the page of --html (one line says why).

Examples:
  vdsm-tlsciphers scan
  vdsm-tlsciphers scan --baseline modern webserver1 webserver2
  vdsm-tlsciphers scan node1.example.com:5900 [fd00::7]:5901
  vdsm-tlsciphers scan --json >before.json
  vdsm-tlsciphers scan --before before.json --html after.html
"""


def add_arguments(parser: 'argparse.ArgumentParser') -> None:
    """Add what the command takes to its parser."""
    parser.add_argument(
        'targets', nargs='*', metavar='VM|HOST:PORT',
        help='the name or UUID of a VM, or a port, as in [::1]:5900 '
        '(default: all VMs that run on this host)')
    parser.add_argument(
        '--baseline', default='intermediate', metavar='NAME',
        help='check against modern, intermediate (default), a profile of '
        'this host, or none')
    parser.add_argument('--json', action='store_true',
                        help='print a JSON document for programs')
    parser.add_argument('--html', metavar='FILE',
                        help='write an HTML report')
    parser.add_argument('--before', metavar='FILE',
                        help='an earlier "scan --json", to compare with on '
                        'the page')


def run(options: 'argparse.Namespace') -> int:
    """Do the command's work; return its exit status."""
    # What --help does not need.
    from vdsm_tlsciphers import output as terminal
    from vdsm_tlsciphers.audit import compliance as judge
    from vdsm_tlsciphers.audit import scan_files as scans
    from vdsm_tlsciphers.audit import scanner
    from vdsm_tlsciphers.commands import scan_text
    baseline = judge.read_baseline(options.baseline)
    if options.before and not options.html:
        raise Problem('--before FILE is for the page; give --html FILE too')
    earlier: list[scans.Source] = []
    before = list(scans.read(
        [options.before] if options.before else [], baseline,
        options.baseline, earlier, is_earlier=True))
    if options.html is not None:
        from vdsm_tlsciphers.report import writer as merge
        merge.check_path(options.html)
    document = scanner.scan(scanner.find_targets(options.targets), baseline,
                            options.baseline)
    if options.html and not document['consoles']:
        raise Problem('no VM with a console runs on this host, so there is '
                      'nothing for the page; scan when VMs run',
                      'no-consoles')
    if options.html:
        merge.write_html(options.html, [document], before,
                         earlier_sources=earlier)
    if options.json:
        terminal.print_json(document)
    else:
        scan_text.write(document)
        if options.html:
            print('The report is in %s.' % terminal.clean(options.html))
        elif document['consoles']:
            print('Suites by name, groups and certificates: --html FILE, or '
                  '--json')
    return exit_status(document)


def exit_status(document: 'documents.NewScan') -> int:
    """
    Return the exit status for a scan. Raises Problem where nothing could be
    scanned.
    """
    from vdsm_tlsciphers.audit import scan_files as scans
    summary = document['summary']
    if summary['consoles'] and summary['not_scanned'] == summary['consoles']:
        console = document['consoles'][0]
        raise Problem('nothing could be scanned: %s: %s; %s' % (
            scans.endpoint(console), console['problem'],
            console.get('remedy') or 'scan again'), console.get('code'))
    return FINE if summary['passed'] == summary['consoles'] else FINDINGS
