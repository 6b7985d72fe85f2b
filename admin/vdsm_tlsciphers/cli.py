# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""The command line: the commands, their errors and exit statuses."""

import argparse
import importlib
import os
import signal
import sys

from vdsm_tlsciphers import (
    FAILED,
    FINDINGS,
    FINE,
    INTERNAL_ERROR,
    VERSION,
    UserError,
    one_line,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

# Characters of a line on standard error.
LONGEST_LINE = 2000

COMMANDS = {
    'check': 'check values, or the properties of a VM, before they are used',
    'apply': 'give running VMs a policy without a shutdown',
    'incoming': 'let arriving VMs have the policy that was applied',
    'status': 'show whether the policies of running VMs are effective',
    'scan': 'find out by handshakes what consoles accept',
    'report': 'write one HTML report of the scans of many hosts',
    'doctor': 'check whether this host can enforce policies',
    'engine-line': 'print the commands that define the properties in the '
                   'engine',
}
EPILOG = """\
Exit status: %d no findings, %d findings, %d the command failed (one line on
standard error says why), %d internal error (bug).

Examples:
  vdsm-tlsciphers doctor
  vdsm-tlsciphers check tlsprofile=modern
  vdsm-tlsciphers status
  vdsm-tlsciphers scan --json >before.json
"vdsm-tlsciphers COMMAND --help" shows those of a command.
""" % (FINE, FINDINGS, FAILED, INTERNAL_ERROR)


class Parser(argparse.ArgumentParser):
    """An ArgumentParser whose errors are one line."""

    def error(self, message: str, code: str = 'bad-argument') -> 'NoReturn':
        self.exit(FAILED, shorten('%s: %s' % (self.prog, one_line(
            message.replace('\n', ' '), 'see %s --help' % self.prog, code))
            ) + '\n')

    def exit(self, status: int = 0,
             message: 'str | None' = None) -> 'NoReturn':
        # --help may have printed: run() reports where that cannot be written.
        sys.stdout.flush()
        super().exit(status, message)


def main() -> 'NoReturn':
    """Run the command of this process's arguments, and end the process."""
    # Either is None where the caller has closed it.
    sys.stdout = sys.stdout or open(os.devnull, 'w')  # noqa: SIM115 (kept)
    sys.stderr = sys.stderr or open(os.devnull, 'w')  # noqa: SIM115 (kept)
    for number in signal.SIGTERM, signal.SIGHUP:
        # Servers and folders of a trial go with the process. nohup ignores it.
        if signal.getsignal(number) == signal.SIG_DFL:
            signal.signal(number, end)
    sys.exit(run(sys.argv[1:]))


def end(number: int, _: object) -> 'NoReturn':
    """End the process that got a signal, with the status that shells give."""
    raise SystemExit(128 + number)


def run(arguments: 'list[str]') -> int:
    """Run the command that arguments (list of str) name: the exit status."""
    try:
        options = parse(arguments)
        status: int = options.run(options)
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader of the output has closed it.
        finish_output()
        return FAILED
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 (no traceback)
        if isinstance(error, OSError):
            finish_output()
        problem = describe(error)
        sys.stderr.write(shorten('vdsm-tlsciphers: %s' % problem) + '\n')
        return STATUSES.get(problem.code, FAILED)
    return status


# Exit statuses by code; of all others it is FAILED.
STATUSES = {'interrupted': 130, 'internal-error': INTERNAL_ERROR}


def describe(error: BaseException) -> UserError:
    """Return the message about an exception."""
    if isinstance(error, UserError):
        return error
    if isinstance(error, OSError):
        return UserError(': '.join(str(part) for part in (
            error.filename, error.strerror or error) if part), '',
            'system-error')
    for kind, problem in (
            (KeyboardInterrupt, UserError('interrupted', '', 'interrupted')),
            (ImportError, UserError('the package is damaged: %s' % error,
                                    'dnf reinstall vdsm-hook-tlsciphers',
                                    'package-damaged')),
            (MemoryError, UserError('not enough memory', '', 'no-memory')),
            (RecursionError, UserError('the input is nested too deeply',
                                       'give another file',
                                       'nested-too-deeply'))):
        if isinstance(error, kind):
            return problem
    return UserError('internal error (bug): %s: %s (%s)' % (
        type(error).__name__, error, place(error)), 'report this bug',
        'internal-error')


def finish_output() -> None:
    """
    Write what standard output still holds; discard it where that fails, or
    the interpreter would report it at its end.
    """
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def shorten(line: str) -> str:
    """
    Return a line that any terminal can show, in bounds. It is cut in the
    middle: the remedy and the code come last.
    """
    if len(line) > LONGEST_LINE:
        line = '%s ... %s' % (line[:LONGEST_LINE - 500], line[-500:])
    # --help does without.
    from vdsm_tlsciphers.output import clean
    return clean(line).encode('ascii', 'backslashreplace').decode()


def place(error: BaseException) -> str:
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
        description='Checks and audits the TLS policies of the consoles of '
        'oVirt virtual machines.',
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--version', action='version',
                        version='vdsm-tlsciphers ' + VERSION)
    # argparse would break the line of the longest name.
    commands = parser.add_subparsers(
        prog='vdsm-tlsciphers', title='commands', metavar='COMMAND',
        dest='command', help=argparse.SUPPRESS, description='\n'.join(
            '  %-13s%s' % command for command in COMMANDS.items()))
    # Only the requested command is imported.
    requested = next((argument for argument in arguments
                      if not argument.startswith('-')), None)
    for name in COMMANDS:
        if name != requested:
            commands.add_parser(name, add_help=False)
            continue
        module = importlib.import_module('vdsm_tlsciphers.commands.'
                                         + name.replace('-', '_'))
        command = commands.add_parser(
            name, description=module.__doc__, epilog=module.EXAMPLES,
            # What changes VMs guesses no option.
            allow_abbrev=name != 'apply',
            formatter_class=argparse.RawDescriptionHelpFormatter)
        module.add_arguments(command)
        command.set_defaults(run=module.run)
    options = parser.parse_args(arguments)
    if options.command is None:
        parser.error('no command given', 'no-command')
    return options
