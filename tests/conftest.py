# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""Fixtures for all tests: the installed wrapper and hook, and figures."""

from __future__ import annotations

import contextlib
import functools
import os
import pathlib
import re
import signal
import subprocess
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Protocol
from xml.etree import ElementTree

import pytest

import builds
import support
from support import LIBVIRT_ENVIRONMENT


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption('--soak', action='store_true',
                     help='the long form of the tests under load')


def pytest_configure(config: pytest.Config) -> None:
    missing = support.missing_pythons()
    if missing and support.IN_CI:
        raise pytest.UsageError('Python %s is missing; install it with pyenv'
                                % ', '.join(missing))


def pytest_report_header(config: pytest.Config) -> str:
    missing = support.missing_pythons()
    if missing:
        return 'not tested, since they are not here: Python ' + ', '.join(
            missing)
    return 'with Python ' + ', '.join(support.TARGET_PYTHONS)


def pytest_collection_modifyitems(config: pytest.Config,
                                  items: list[pytest.Item]) -> None:
    """
    Run each test, and each case of one with a table, with one Python, in
    turn; with all of them where there are no more than two, and in the long
    form, which also has the tests that are marked so.
    """
    if config.getoption('soak'):
        return
    pythons = {'installation': support.available_pythons()}
    pythons['command'] = [version for version in pythons['installation']
                          if version != '2.7']
    turns: dict[object, int] = {}
    left_out: list[pytest.Item] = []
    kept: list[pytest.Item] = []
    for item in items:
        if item.get_closest_marker('soak'):
            left_out.append(item)
            continue
        spec = getattr(item, 'callspec', None)
        params = spec.params if spec else {}
        runs = True
        for fixture, versions in pythons.items():
            if spec and len(pythons['installation']) > 2 and (
                    fixture in params):
                case = (item.nodeid.partition('[')[0], *sorted(
                    pair for pair in spec.indices.items()
                    if pair[0] != fixture))
                turn = turns.setdefault(case, len(turns))
                runs = versions[turn % len(versions)] == params[fixture]
        (kept if runs else left_out).append(item)
    config.hook.pytest_deselected(items=left_out)
    items[:] = kept


def pytest_terminal_summary(
        terminalreporter: pytest.TerminalReporter) -> None:
    """The figures, also added to the file that FIGURES names."""
    lines = [tuple(value) for reports in terminalreporter.stats.values()
             for report in reports if getattr(report, 'when', '') == 'call'
             for name, value in report.user_properties if name == 'figure']
    if lines:
        terminalreporter.section('figures')
        for line in lines:
            terminalreporter.line('%s: %s (bound: %s)' % line)
    if 'FIGURES' in os.environ:
        with open(os.environ['FIGURES'], 'a') as table:
            table.writelines('%s\t%s\t%s\n' % line for line in lines)


@pytest.fixture
def figure(record_property: Callable[[str, object], None]) -> support.Figure:
    """
    A function that puts a line into the table that a run closes with: what
    was measured, the figure, and its bound. It asserts nothing.
    """
    def figure(what: str, value: object, bound: object) -> None:
        record_property('figure', (what, str(value), str(bound)))
    return figure


@pytest.fixture(scope='session')
def soak(request: pytest.FixtureRequest) -> bool:
    """Whether this is the long form of the tests under load (bool)."""
    return bool(request.config.getoption('soak'))


@pytest.fixture(scope='session')
def make_installation(tmp_path_factory: pytest.TempPathFactory,
                      ) -> support.MakeInstallation:
    """A function that installs for a version of Python, once for each."""
    @functools.cache
    def make(version: str) -> support.Installation:
        return support.Installation(
            tmp_path_factory.mktemp('python' + version),
            support.find_python(version))
    return make


@pytest.fixture(params=support.available_pythons())
def installation(request: pytest.FixtureRequest,
                 make_installation: support.MakeInstallation,
                 ) -> support.Installation:
    """The installed files, for each Python that a release of EL has."""
    return make_installation(request.param)


@pytest.fixture
def newest_installation(make_installation: support.MakeInstallation,
                        ) -> support.Installation:
    """The installed files, where the version of Python does not matter."""
    return make_installation(support.available_pythons()[-1])


STUB = """
Name: %(name)s
Version: %(version)s
Release: 1
Summary: A stand-in
License: GPL-2.0-or-later
BuildArch: noarch
AutoReq: no
%(provides)s
%%description
A stand-in.
%%install
%(install)s
%%files
%(files)s
"""


@pytest.fixture(scope='session')
def make_stub(tmp_path_factory: pytest.TempPathFactory) -> support.MakeStub:
    """
    A function that builds an RPM that stands for packages of EL, which are
    not here: it provides their names, and files made by the shell commands
    "install".
    """
    def make_stub(name: str, version: str = '1', provides: Iterable[str] = (),
                  install: str = '', files: Iterable[str] = (),
                  ) -> pathlib.Path:
        directory = tmp_path_factory.mktemp('stub')
        (directory / 'stub.spec').write_text(STUB % {
            'name': name, 'version': version, 'install': install,
            'provides': '\n'.join('Provides: ' + item for item in provides),
            'files': '\n'.join(files)})
        return builds.rpm(directory / 'stub.spec', directory)
    return make_stub


# A stand-in for qemu-kvm: a shell that stops, to be looked at from outside.
STAND_IN = '#!/bin/sh\nkill -STOP $$\n'


class Outcome:
    """
    How a run of the wrapper ended: status, stderr (str), pid, started; and of
    the real emulator, if it was started: arguments (list of bytes),
    environment (list of bytes), files ({descriptor: path}), writable (set of
    descriptors: those through which, or through whose path in /proc, the
    process can write), ignored (set of signals), children (str: their pids).
    """

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.pid = process.pid
        event = os.waitid(os.P_PID, self.pid,
                          os.WSTOPPED | os.WEXITED | os.WNOWAIT)
        assert event
        self.started = event.si_code == os.CLD_STOPPED
        if self.started:
            self._look(pathlib.Path('/proc/%d' % self.pid))
            os.kill(self.pid, signal.SIGCONT)
        self.stderr = process.communicate()[1].decode()
        self.status = process.returncode

    def _look(self, proc: pathlib.Path) -> None:
        # The kernel puts the interpreter before a script's own path.
        self.arguments = (proc / 'cmdline').read_bytes().split(b'\0')[2:-1]
        self.environment = (proc / 'environ').read_bytes().split(b'\0')[:-1]
        mask, = re.findall(r'SigIgn:\t(\w+)', (proc / 'status').read_text())
        ignored = int(mask, 16)
        self.ignored = {number for number in range(1, 65)
                        if ignored >> (number - 1) & 1}
        self.children = (proc / 'task' / str(self.pid) / 'children'
                         ).read_text()
        self.files = {int(link.name): os.readlink(link)
                      for link in (proc / 'fd').iterdir()}
        self.writable = {
            int(link.name) for link in (proc / 'fd').iterdir()
            if link.lstat().st_mode & 0o222 or link.stat().st_mode & 0o222}
        # Those of the shell, which puts its script at 10 or higher.
        self.files = {number: path for number, path in self.files.items()
                      if not path.endswith('/libexec/qemu-kvm')}


class Run(Protocol):
    """What the fixture run is; the keywords are those of Popen."""

    def __call__(self, *arguments: str | bytes,
                 environment: Mapping[bytes, bytes] = ...,
                 **keywords: Any) -> Outcome: ...


@pytest.fixture
def run(installation: support.Installation) -> Iterator[Run]:
    """A function that runs the wrapper with the arguments that it is given."""
    yield from run_with_stand_in(installation)


@pytest.fixture
def newest_run(newest_installation: support.Installation) -> Iterator[Run]:
    yield from run_with_stand_in(newest_installation)


@pytest.fixture
def run_on() -> Iterator[Callable[[support.Installation], Run]]:
    """A function that gives a "run" for an Installation."""
    with contextlib.ExitStack() as stack:
        yield lambda installation: stack.enter_context(
            contextlib.contextmanager(run_with_stand_in)(installation))


def run_with_stand_in(installation: support.Installation) -> Iterator[Run]:
    installation.qemu_kvm.write_text(STAND_IN)
    installation.qemu_kvm.chmod(0o755)

    def run(*arguments: str | bytes,
            environment: Mapping[bytes, bytes] = LIBVIRT_ENVIRONMENT,
            **keywords: Any) -> Outcome:
        return Outcome(subprocess.Popen(
            [*installation.start(), *arguments], stderr=subprocess.PIPE,
            env=environment, **keywords))

    yield run
    installation.qemu_kvm.unlink()


QEMU = '{http://libvirt.org/schemas/domain/qemu/1.0}'


class Hook:
    """Runs the installed hook; the XML file is vdsm's temporary file."""

    def __init__(self, installation: support.Installation,
                 directory: pathlib.Path) -> None:
        self.installation = installation
        self.domxml = directory / 'domxml'

    def run(self, xml: str | bytes,
            environment: Mapping[str, str | bytes] | None = None,
            start: bool = True, **properties: str,
            ) -> subprocess.CompletedProcess[str]:
        self.domxml.write_bytes(
            xml if isinstance(xml, bytes) else xml.encode())
        flags = self.installation.run_dir / support.VM_ID / 'launchflags'
        flags.parent.mkdir(parents=True, exist_ok=True)
        if start:
            flags.write_text('0')
        else:
            flags.unlink(missing_ok=True)
        return subprocess.run(
            [self.installation.hook], capture_output=True, text=True,
            env={**support.hook_environment(self.domxml,
                                            vmId=support.VM_ID),
                 **properties, **(environment or {})})

    def change(self, xml: str | bytes, **properties: Any,
               ) -> tuple[str, list[str]]:
        """Run it, successfully, and return (new XML, lines of its log)."""
        process = self.run(xml, **properties)
        assert process.returncode == 0, process.stderr
        assert process.stdout == ''
        return self.domxml.read_text(), process.stderr.splitlines()

    def refusal(self, xml: str, **keywords: Any) -> str:
        """Run it, which must refuse, and return its one line."""
        process = self.run(xml, **keywords)
        assert process.returncode == 2, process.stderr
        assert self.domxml.read_text() == xml
        lines = process.stderr.splitlines()
        assert len(lines) == 1, lines
        # The engine shows the line as the repr of a bytes object.
        assert repr(lines[0].encode('ascii')) == "b'%s'" % lines[0]
        return lines[0]

    def policy(self, xml: str | bytes, **properties: Any,
               ) -> tuple[dict[str, str], list[str]]:
        """
        Run it, successfully, and return (what it adds for the wrapper, as a
        dict {'KEY': 'VALUE'} with keys ending in "?" where it is best effort;
        lines of its log).
        """
        changed, log = self.change(xml, **properties)
        added = [argument.attrib['value'] for argument in
                 ElementTree.fromstring(changed).iter(QEMU + 'arg')]
        policy = {}
        for option, setting in zip(added[::2], added[1::2]):
            mark = {'-vdsm-tls': '', '-vdsm-tls-default': '?'}[option]
            key, _, value = setting.partition('=')
            policy[key + mark] = value
        return policy, log


MakeHook = Callable[[support.Installation], Hook]


@pytest.fixture
def make_hook(tmp_path: pathlib.Path) -> MakeHook:
    """A function that gives the Hook of an Installation."""
    return lambda installation: Hook(installation, tmp_path)


@pytest.fixture
def hook(make_hook: MakeHook, installation: support.Installation) -> Hook:
    return make_hook(installation)


@pytest.fixture
def newest_hook(make_hook: MakeHook,
                newest_installation: support.Installation) -> Hook:
    return make_hook(newest_installation)


class WriteDefault(Protocol):
    """What the fixture host_default is; it returns the path of the file."""

    def __call__(self, text: str | bytes, mode: int = ...) -> str: ...


@pytest.fixture
def host_default(hook: Hook) -> Iterator[WriteDefault]:
    """A function that writes the host's default of a hook's installation."""
    yield from write_and_remove(hook.installation)


@pytest.fixture
def newest_host_default(newest_hook: Hook) -> Iterator[WriteDefault]:
    yield from write_and_remove(newest_hook.installation)


def write_and_remove(
        installation: support.Installation) -> Iterator[WriteDefault]:
    path = installation.host_default

    def write(text: str | bytes, mode: int = 0o644) -> str:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        path.chmod(mode)
        return str(path)

    yield write
    path.unlink(missing_ok=True)
