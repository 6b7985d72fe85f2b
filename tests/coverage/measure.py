# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""
Coverage of what is installed, subprocesses included. Hook, wrapper and
command start with -S or -E, so no variable and no .pth file reaches them: as a
plugin of pytest this puts a launcher into their first lines, in place of the
interpreter. It measures what it runs, up to the moment when QEMU takes over.
"""

import os
import posix
import shlex
import sys
import types

TESTS = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
SOURCE = os.path.dirname(TESTS)
# The names under which the two are installed.
SCRIPTS = {'50_emulator': 'hooks/before_vm_start.py',
           'qemu-kvm-modified': 'wrapper/qemu-kvm-modified.py',
           'vdsm-tlsciphers': 'admin/vdsm-tlsciphers.py'}
LAUNCHER = """#!{python} -IS
import sys
sys.path += {path!r}
import measure
measure.launch({python!r}, {data!r})
"""


def pytest_load_initial_conftests(early_config):
    """Have what the tests install start with the launcher."""
    import support
    data = os.environ['COVERAGE_FILE']
    launcher = os.path.join(os.path.dirname(data), 'python')
    # Workers of pytest-xdist do the same.
    new = '%s.%d' % (launcher, os.getpid())
    with open(new, 'w') as file:
        file.write(LAUNCHER.format(python=sys.executable, data=data, path=[
            os.path.dirname(__file__), *(path for path in sys.path if path)]))
    os.chmod(new, 0o755)
    os.rename(new, launcher)
    support.TARGET_PYTHONS = ('%d.%d' % sys.version_info[:2],)
    support.find_python = lambda version: launcher


def launch(python, data):
    """Be the interpreter that runs a script, or another's words."""
    arguments = sys.argv[1:]
    script = next((argument for argument in arguments
                   if not argument.startswith('-')), '')
    source = SCRIPTS.get(os.path.basename(script))
    if not source or '-c' in ''.join(arguments[:1]):
        os.execv(python, [python, *arguments])
    import coverage
    measured = coverage.Coverage(
        data_file=data, data_suffix=True, config_file=os.path.join(
            os.path.dirname(__file__), 'coveragerc'))
    save_at_end(measured)
    sys.argv = arguments[arguments.index(script):]
    sys.path[:0] = [os.path.dirname(script)] + (
        [] if 'E' in arguments[0]
        else os.environ.get('PYTHONPATH', '').split(':'))
    with open(script, 'rb') as file:
        code = compile(file.read(), os.path.join(SOURCE, source), 'exec',
                       dont_inherit=True)
    main = types.ModuleType('__main__')
    main.__file__ = script
    sys.modules['__main__'] = main
    measured.start()
    exec(code, vars(main))


def save_at_end(measured):
    """Save what was measured at the end, and where another program begins."""
    import atexit
    atexit.register(lambda: (measured.stop(), measured.save()))
    forks = []
    os.register_at_fork(before=lambda: forks.append(None))
    process = os.getpid()

    def saving(function):
        def save_and_call(*arguments):
            # Of the forks, one of each process is enough.
            if os.getpid() == process or len(forks) == 1:
                measured.save()
            function(*arguments)
        return save_and_call

    for name in 'execv', 'execve', '_exit':
        setattr(posix, name, saving(getattr(posix, name)))
