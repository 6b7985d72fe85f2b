# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""The command line: what there is, and how it ends."""

import argparse
import importlib
import os
import sys

from vdsm_tlsciphers import (
    FAILED,
    FINDINGS,
    FINE,
    INTERNAL_ERROR,
    VERSION,
    UserError,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

# Characters of a line on standard error.
LONGEST_LINE = 2000

COMMANDS = {
    'check': 'what a value, or the properties of a VM, would do',
    'status': 'whether the policies of the VMs of this host are effective',
    'scan': 'what consoles accept, by handshakes with them',
    'report': 'one page of the scans of many hosts',
    'doctor': 'whether this host can enforce policies',
    'engine-line': 'the commands that define the properties in the engine',
}
EPILOG = """\
Exit status: %d all is well, %d there are findings, %d it could not be done
(one line says why), %d internal error (bug).

Examples:
  vdsm-tlsciphers doctor
  vdsm-tlsciphers check tlsprofile=modern
  vdsm-tlsciphers status
  vdsm-tlsciphers scan --json >before.json
"vdsm-tlsciphers COMMAND --help" has those of a command.
""" % (FINE, FINDINGS, FAILED, INTERNAL_ERROR)


class Parser(argparse.ArgumentParser):
    """An ArgumentParser whose errors are one line."""

    def error(self, message: str) -> 'NoReturn':
        self.exit(FAILED, shorten('%s: %s; see %s --help' % (
            self.prog, message.replace('\n', ' '), self.prog)) + '\n')

    def exit(self, status: int = 0,
             message: 'str | None' = None) -> 'NoReturn':
        # What --help has printed: run() says where it cannot be written.
        sys.stdout.flush()
        super().exit(status, message)


def main() -> 'NoReturn':
    """Do what the process's arguments say, and end the process."""
    # None where whoever runs this has closed it.
    sys.stdout = sys.stdout or open(os.devnull, 'w')  # noqa: SIM115 (kept)
    sys.stderr = sys.stderr or open(os.devnull, 'w')  # noqa: SIM115 (kept)
    sys.exit(run(sys.argv[1:]))


def run(arguments: 'list[str]') -> int:
    """Run the command that arguments (list of str) name: the exit status."""
    try:
        options = parse(arguments)
        status: int = options.run(options)
        sys.stdout.flush()
        return status
    except UserError as problem:
        return end('vdsm-tlsciphers: %s' % problem, FAILED)
    except KeyboardInterrupt:
        return end('vdsm-tlsciphers: interrupted', 130)
    except BrokenPipeError:
        # Whoever read what this prints has seen enough.
        finish_output()
        return FAILED
    except OSError as error:
        finish_output()
        return end('vdsm-tlsciphers: %s' % (
            str(error).partition('] ')[2] or error), FAILED)
    except ImportError as error:
        return end('vdsm-tlsciphers: a file of it is missing: %s; dnf '
                   'reinstall vdsm-hook-tlsciphers' % error, FAILED)
    except (MemoryError, RecursionError) as error:
        return end('vdsm-tlsciphers: there is not enough memory'
                   if isinstance(error, MemoryError) else
                   'vdsm-tlsciphers: what was given is nested too deeply; '
                   'give another file [nested-too-deeply]', FAILED)
    except Exception as error:  # noqa: BLE001 (none may be a traceback)
        return end('vdsm-tlsciphers: internal error (bug): %s: %s (%s); '
                   'please report it [internal-error]' % (
                       type(error).__name__, error, place(error)),
                   INTERNAL_ERROR)


def finish_output() -> None:
    """
    Write what standard output still holds; drop it where that fails, before
    the interpreter complains of it.
    """
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def end(line: str, status: int) -> int:
    sys.stderr.write(shorten(line) + '\n')
    return status


def shorten(line: str) -> str:
    """
    Return a line as it can be printed everywhere. What comes from elsewhere
    may be long: what is left out of it stands in the middle, since the
    remedy and the code come last.
    """
    if len(line) > LONGEST_LINE:
        line = '%s ... %s' % (line[:LONGEST_LINE - 500], line[-500:])
    printable = ''.join(c if c.isprintable() else '?' for c in line)
    return printable.encode('ascii', 'backslashreplace').decode()


def place(error: Exception) -> str:
    """Return where an exception comes from, as 'scan line 12'."""
    path, line = '', 0
    traceback = error.__traceback__
    while traceback:
        path = traceback.tb_frame.f_code.co_filename
        line = traceback.tb_lineno
        traceback = traceback.tb_next
    return '%s line %d' % (
        os.path.splitext(os.path.basename(path))[0], line)


def parse(arguments: 'list[str]') -> argparse.Namespace:
    parser = Parser(
        prog='vdsm-tlsciphers', usage='%(prog)s [-h] [--version] COMMAND ...',
        epilog=EPILOG,
        description='Tells administrators and auditors which TLS policy the '
        'consoles of oVirt\nvirtual machines have, and why.',
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--version', action='version',
                        version='vdsm-tlsciphers ' + VERSION)
    # argparse would break the line of the longest name.
    commands = parser.add_subparsers(
        prog='vdsm-tlsciphers', title='commands', metavar='COMMAND',
        dest='command', help=argparse.SUPPRESS, description='\n'.join(
            '  %-13s%s' % command for command in COMMANDS.items()))
    # Only the command that is asked for is imported.
    asked = next((argument for argument in arguments
                  if not argument.startswith('-')), None)
    for name in COMMANDS:
        if name != asked:
            commands.add_parser(name, add_help=False)
            continue
        module = importlib.import_module('vdsm_tlsciphers.commands.'
                                         + name.replace('-', '_'))
        command = commands.add_parser(
            name, description=module.__doc__, epilog=module.EXAMPLES,
            formatter_class=argparse.RawDescriptionHelpFormatter)
        module.add_arguments(command)
        command.set_defaults(run=module.run)
    options = parser.parse_args(arguments)
    if options.command is None:
        parser.error('no command is given')
    return options
