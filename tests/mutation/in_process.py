# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""
A plugin of pytest: hook and wrapper run in forks of the tests' own process,
by the modules that are imported here, instead of in interpreters that begin
with the installed files. All else of a process is theirs: arguments,
environment, descriptors, signals, exit status, and the program that takes
over.
"""

from __future__ import annotations

import argparse  # noqa: F401 # these two for the forks, which need them
import configparser  # noqa: F401
import functools
import importlib
import io
import os
import re
import resource
import signal
import subprocess
import sys
import tempfile
from typing import TYPE_CHECKING, Any
from xml.dom import expatbuilder, minidom  # noqa: F401

import support

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Callable, Collection, Mapping
    from types import CodeType, FrameType

# Where a test starts one of the two, by the name of the file.
SCRIPTS = {'50_emulator': 'before_vm_start',
           'qemu-kvm-modified': 'qemu_kvm_modified'}
SHARED = {'hook_module': 'tlsciphers_hook', 'module': 'tlsciphers',
          'values_module': 'tlsciphers_values',
          'wrapper_module': 'tlsciphers_wrapper'}
MODULES = [importlib.import_module(name)
           for name in (*SCRIPTS.values(), *SHARED.values())]
PLACEHOLDER = re.compile('@([A-Z_]+)@')
# What "make install" puts paths into: {(module, name): text}.
TEMPLATES = {(module, name): value for module in MODULES
             for name, value in vars(module).items()
             if isinstance(value, str) and PLACEHOLDER.search(value)}

# Processor time (s) that a process may need, and time (s) until it is ended.
PROCESSOR_TIME = 5
TIME = 60

installations: dict[str, Installation] = {}


class Popen(subprocess.Popen):  # type: ignore[type-arg]
    """A process; that of hook or wrapper goes on as a fork of this one."""

    def __init__(self, args: Any, *, env: Mapping[Any, Any] | None = None,
                 preexec_fn: Callable[[], object] | None = None,
                 pass_fds: Collection[int] = (), **keywords: Any) -> None:
        installation = installations.get(os.fspath(args[0]))
        if installation:
            preexec_fn = functools.partial(
                become, installation, [os.fsdecode(arg) for arg in args],
                os.environ if env is None else env, set(pass_fds), preexec_fn)
        super().__init__(args, env=env, preexec_fn=preexec_fn,
                         pass_fds=pass_fds, **keywords)


def become(installation: Installation, arguments: list[str],
           environment: Mapping[Any, Any], descriptors: set[int],
           prepare: Callable[[], object] | None) -> None:
    """Do in a new process all that the interpreter would do there."""
    status = 70
    try:
        signal.alarm(TIME)
        signal.setitimer(signal.ITIMER_VIRTUAL, PROCESSOR_TIME)
        for name in os.listdir('/proc/self/fd'):
            if int(name) not in descriptors | {0, 1, 2, calls.descriptor}:
                try:
                    os.close(int(name))
                except OSError:
                    pass  # It was that of the folder.
        if prepare:
            prepare()
        status = interpret(installation, arguments, {
            os.fsencode(name): os.fsencode(value)
            for name, value in environment.items()})
    finally:
        os._exit(status)


def interpret(installation: Installation, arguments: list[str],
              environment: dict[bytes, bytes]) -> int:
    """Return the exit status, where no other program takes over."""
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    sys.stdout, sys.stderr = open_output(1), open_output(2)
    sys.argv = arguments
    set_environment(environment)
    set_paths(installation)
    import_from(installation)
    calls.begin()
    try:
        sys.modules[SCRIPTS[os.path.basename(arguments[0])]].main()
    except SystemExit as end:
        if isinstance(end.code, str):
            sys.stderr.write(end.code + '\n')
            return 1
        return end.code or 0
    except BaseException:  # noqa: BLE001 # as an interpreter does
        sys.excepthook(*sys.exc_info())
        return 1
    else:
        return 0
    finally:
        for stream in sys.stdout, sys.stderr:
            if stream:
                stream.flush()


def open_output(descriptor: int) -> Any:
    try:
        return open(descriptor, 'w', buffering=1, errors='backslashreplace',
                    closefd=False)
    except OSError:
        return None


def set_environment(environment: dict[bytes, bytes]) -> None:
    os.environb.clear()
    for name in 'LINES', 'COLUMNS':
        os.unsetenv(name)  # Those of readline, which Python does not see.
    os.environb.update(environment)
    # As PEP 538 has it.
    locale = next((environment[name] for name in (
        b'LC_ALL', b'LC_CTYPE', b'LANG') if environment.get(name)), b'C')
    if locale in (b'C', b'POSIX') and not environment.get(b'LC_ALL'):
        os.environb[b'LC_CTYPE'] = b'C.UTF-8'

    def open_as_if_started(path: Any, *options: Any) -> Any:
        if path == '/proc/self/environ':
            return io.BytesIO(b''.join(
                b'%s=%s\0' % pair for pair in environment.items()))
        return io.open(path, *options)  # noqa: UP020 # the other is ours

    vars(sys.modules['tlsciphers_wrapper'])['open'] = open_as_if_started


def set_paths(installation: Installation) -> None:
    for (module, name), text in TEMPLATES.items():
        setattr(module, name, PLACEHOLDER.sub(
            lambda match: str(installation.values[match.group(1)]), text))


def import_from(installation: Installation) -> None:
    """Have modules found where an interpreter would look for them."""
    here = os.path.dirname(str(MODULES[0].__file__))
    sys.path = os.environ.get('PYTHONPATH', '').split(':') + [
        path for path in sys.path if os.path.realpath(path) != here]
    for attribute, name in SHARED.items():
        if not getattr(installation, attribute).exists():
            del sys.modules[name]


class Calls:
    """
    Which functions a test calls, those calls in the forks included. They are
    written into a file that all of them share.

    functions ({code: name}): those that count; none is looked for at first.
    """

    def __init__(self) -> None:
        self.functions: dict[CodeType, str] = {}
        with tempfile.TemporaryFile() as file:
            # Above what a test may limit descriptors to.
            self.descriptor = resource.getrlimit(resource.RLIMIT_NOFILE)[0] - 1
            os.dup2(file.fileno(), self.descriptor, inheritable=False)

    def begin(self) -> None:
        """Look for them in this process from now on."""
        left = dict(self.functions)

        def profile(frame: FrameType, event: str, argument: object) -> None:
            name = left.pop(frame.f_code, '')
            if name:
                os.write(self.descriptor, name.encode() + b'\n')

        if left:
            sys.setprofile(profile)

    def take(self) -> set[str]:
        """Return the names (set) of those called since the last time."""
        size = os.fstat(self.descriptor).st_size
        names = set(os.pread(self.descriptor, size, 0).decode().split())
        os.ftruncate(self.descriptor, 0)
        os.lseek(self.descriptor, 0, os.SEEK_SET)
        return names


def substitute(source: pathlib.Path, values: Mapping[str, object]) -> bytes:
    return re.sub(b'@([A-Z_]+)@', lambda match: str(values.get(
        match.group(1).decode(), match.group().decode())).encode(),
        source.read_bytes())


class Installation(support.Installation):
    """One whose files are only looked at, and not run."""

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        for path in (self.hook, self.wrapper, self.emulator, self.module,
                     self.hook_module, self.wrapper_module):
            installations[str(path)] = self


def run_file(path: pathlib.Path) -> dict[str, Any]:
    """Return what the module defines that stands for an installed file."""
    set_paths(installations[str(path)])
    calls.begin()
    return vars(sys.modules[path.stem])


calls = Calls()
vars(subprocess)['Popen'] = Popen
vars(support)['Installation'] = Installation
support.run_file = run_file
support.substitute = substitute
vars(support)['TARGET_PYTHONS'] = ('%d.%d' % sys.version_info[:2],)
