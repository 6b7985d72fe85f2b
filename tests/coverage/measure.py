# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""
Coverage of what is installed, subprocesses included. Hook, wrapper and
command start with -S or -E, so no variable and no .pth file reaches them: as a
plugin of pytest this puts a launcher into their first lines, in place of the
interpreter. It measures what it runs, up to the moment when QEMU takes over.
"""

from __future__ import annotations

import os
import posix
import sys
import types

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable

    import coverage
    import pytest

TESTS = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
SOURCE = os.path.dirname(TESTS)
# The names under which the two are installed.
SCRIPTS = {'50_emulator': 'hooks/before_vm_start.py',
           'qemu-kvm-modified': 'wrapper/qemu-kvm-modified.py',
           'vdsm-tlsciphers': 'admin/vdsm-tlsciphers.py'}
# Where the launcher is in the way: what an interpreter reads, which
# descriptors it finds, and how large a file may be.
LEFT_OUT = ('closed_standard_descriptors_stay_closed',
            'compiled_modules_count_for_their_own_source_alone',
            'page_that_cannot_be_written_in_whole_is_not_written',
            'vm_without_the_property_costs_nothing',
            'write_that_fails_puts_the_old_bytes_back')
LAUNCHER = """#!{python} -IS
import sys
sys.path += {path!r}
import measure
measure.launch({python!r}, {data!r})
"""


def pytest_load_initial_conftests(early_config: pytest.Config) -> None:
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
    vars(support)['TARGET_PYTHONS'] = ('%d.%d' % sys.version_info[:2],)
    vars(support)['find_python'] = lambda version: launcher
    # Some tests call functions themselves.
    own = start(data)

    class Saver:
        def pytest_unconfigure(self) -> None:
            own.stop()
            own.save()

    early_config.pluginmanager.register(Saver())


def start(data: str) -> coverage.Coverage:
    """Measure this process from now on."""
    import coverage
    measured = coverage.Coverage(
        data_file=data, data_suffix=True, config_file=os.path.join(
            os.path.dirname(__file__), 'coveragerc'))
    measured.start()
    return measured


def pytest_collection_modifyitems(
        config: pytest.Config, items: list[pytest.Item]) -> None:
    import support
    support.leave_out(config, items, LEFT_OUT)


def launch(python: str, data: str) -> None:
    """Be the interpreter that runs a script, or another's words."""
    arguments = sys.argv[1:]
    script = next((argument for argument in arguments
                   if not argument.startswith('-')), '')
    source = SCRIPTS.get(os.path.basename(script))
    if not source or '-c' in ''.join(arguments[:1]):
        os.execv(python, [python, *arguments])
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
    save_at_end(start(data))
    exec(code, vars(main))


def save_at_end(measured: coverage.Coverage) -> None:
    """Save what was measured at the end, and where another program begins."""
    import atexit
    atexit.register(measured.save)
    atexit.register(measured.stop)
    forks: list[None] = []
    os.register_at_fork(before=lambda: forks.append(None))
    process = os.getpid()

    def saving(function: Callable[..., Any]) -> Callable[..., None]:
        def save_and_call(*arguments: Any) -> None:
            # Of the forks, one of each process is enough.
            if os.getpid() == process or len(forks) == 1:
                measured.save()
            function(*arguments)
        return save_and_call

    for name in 'execv', 'execve', '_exit':
        setattr(posix, name, saving(getattr(posix, name)))
