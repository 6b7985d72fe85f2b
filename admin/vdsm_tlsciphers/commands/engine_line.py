# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""
Prints the commands that define the custom properties of VMs in the engine, to
be run on its machine: one for each cluster level from 4.2 to 4.8, or for those
of --cver.
"""

import argparse
import re

from vdsm_tlsciphers import FINE

EXAMPLES = """\
Exit status: 0 the commands were printed; 2 an argument is invalid.

Examples:
  vdsm-tlsciphers engine-line
  vdsm-tlsciphers engine-line --cver 4.6 4.7 4.8
  vdsm-tlsciphers engine-line --properties tlsprofile --cver 4.7
"""

# The engine's format is NAME=REGEX;NAME=REGEX. Java and browsers evaluate the
# regexes; one of plain words becomes a drop-down list. They may become wider,
# never narrower: VMs keep their values.
DEFINITIONS = {
    'tlsciphers': '^[A-Za-z0-9._=@!+:-]+$',
    'tlsprotocols': '^(TLSv1.2|TLSv1.3|TLSv1.2:TLSv1.3)$',
    'tlsgroups': '^[A-Za-z0-9._:-]+$',
    'tlspriority': '^[A-Za-z0-9._@%!+:-]+$',
    'tlsprofile': '^[A-Za-z0-9._-]+$',
}
# Those of oVirt 4.2 to 4.5, whose hosts this package is for.
LEVELS = ('4.2', '4.3', '4.4', '4.5', '4.6', '4.7', '4.8')


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes to its parser."""
    parser.add_argument(
        '--cver', metavar='LEVEL', nargs='+', action='append',
        type=cluster_level,
        help='the cluster levels (Compute > Clusters, Compatibility Version; '
        'default: all from %s to %s); a level without the definition drops '
        'the properties from its VMs' % (LEVELS[0], LEVELS[-1]))
    parser.add_argument(
        '--properties', metavar='NAME,...', type=property_names,
        default=list(DEFINITIONS), help='the properties to define, separated '
        'by commas (default: all, %s)' % ', '.join(DEFINITIONS))


def cluster_level(text: str) -> str:
    if not re.match(r'[0-9]+\.[0-9]+\Z', text):
        raise argparse.ArgumentTypeError(
            'invalid cluster level: %r; give one such as 4.7' % text)
    return text


def property_names(text: str) -> 'list[str]':
    given = text.split(',')
    for name in given:
        if name not in DEFINITIONS:
            raise argparse.ArgumentTypeError(
                'no such property: %r; use %s'
                % (name, ','.join(DEFINITIONS)))
    return [name for name in DEFINITIONS if name in given]


def run(options: argparse.Namespace) -> int:
    """Print the commands; return the exit status."""
    levels: list[str] = []
    for given in options.cver or [LEVELS]:
        levels.extend(level for level in given if level not in levels)
    print('# Run these commands on the machine of the engine, as root. Each '
          'cluster level needs its\n# own: a level without it drops the '
          'properties from its VMs, also when a cluster is\n# raised to it.')
    if not options.cver:
        print('# For a level that this engine does not know the command fails '
              'and changes nothing.')
    for level in levels:
        print(command(options.properties, level))
    print('systemctl restart ovirt-engine')
    print(describe_guard(levels))
    return FINE


def describe_guard(levels: 'list[str]') -> str:
    """Return comments (str) about the guard for VMs of these levels."""
    newer = any(tuple(map(int, level.split('.'))) >= (4, 6)
                for level in levels)
    return ('# The guard, +vdsm-tls in extra_cpu_flags, needs cluster level '
            '4.6 or later (engine 4.4.6 or later)%s.\n# extra_cpu_flags is a '
            'property of the engine: do not define it here.' % (
                ': install this version on\n# all hosts first, then set '
                'tlsprofile on the VM and add +vdsm-tls to its '
                'extra_cpu_flags (separated by commas)' if newer else ''))


def command(properties: 'list[str]', level: str) -> str:
    """Return the command (str) that defines properties (names) for a level."""
    # -m adds to the properties of other hooks, which -s would replace.
    return "engine-config -m UserDefinedVMProperties='%s' --cver=%s" % (
        ';'.join('%s=%s' % (name, DEFINITIONS[name]) for name in properties),
        level)
