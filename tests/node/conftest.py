# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""
Tests on nodes with SELinux enforcing, see README:

    python3 -m pytest tests/node --rpm RPM
"""

import contextlib
import pathlib
from collections.abc import Callable, Generator, Iterator

import pluggy
import pytest

import builds
import node as nodes
import support
from host import Host

MakeMachine = Callable[[str, str], Host]
LOGS = """
ausearch --input-logs --message avc,user_avc,selinux_err --start recent -i
journalctl --no-pager --lines 100
tail -n 30 /var/log/libvirt/qemu/*.log
virsh list --all
"""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption('--rpm', type=pathlib.Path, help='the RPM under test')


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(
        item: pytest.Function
        ) -> Generator[None, pluggy.Result[pytest.TestReport], None]:
    """Show the logs of the nodes when a test fails."""
    report = (yield).get_result()
    if not report.failed:
        return
    for name in ('node', 'bare_node', 'peer'):
        node = item.funcargs.get(name)
        if not isinstance(node, Host):
            continue
        for command in LOGS.strip().splitlines():
            with contextlib.suppress(Exception):
                report.sections.append(
                    ('%s: %s' % (node.directory.name, command),
                     node.run(command, check=False).stdout))


@pytest.fixture(scope='session')
def image() -> pathlib.Path:
    return nodes.get_image()


@pytest.fixture(scope='session')
def make_machine(image: pathlib.Path, tmp_path_factory: pytest.TempPathFactory,
                 request: pytest.FixtureRequest) -> Iterator[MakeMachine]:
    """
    A function that starts a node, by its name ("a" or "b"), with snapshots
    "clean" and, with the RPM under test, "installed".
    """
    directory = tmp_path_factory.mktemp('nodes')
    started: list[Host] = []

    def make(name: str, peer: str) -> Host:
        host = Host(image, directory, name, peer)
        started.append(host)
        host.send(support.TESTS / 'standin/hooking.py')
        host.output = host.install(request.config.getoption('rpm'))
        # libvirt learns of the new emulator here, and not in every test.
        host.start(host.hook(nodes.PLAIN_VM, tlsciphers='HIGH')).destroy()
        host.save('installed')
        return host

    yield make
    for host in started:
        host.close()


@pytest.fixture(scope='session')
def machine(make_machine: MakeMachine) -> Host:
    return make_machine('a', 'b')


@pytest.fixture(scope='session')
def other_machine(make_machine: MakeMachine) -> Host:
    return make_machine('b', 'a')


def reset(host: Host, snapshot: str) -> Host:
    host.load(snapshot)
    host.mark()
    return host


@pytest.fixture
def node(machine: Host) -> Host:
    """A node (Host) with the package installed."""
    return reset(machine, 'installed')


@pytest.fixture
def peer(other_machine: Host) -> Host:
    """Another one (Host), which the first has a cable to."""
    return reset(other_machine, 'installed')


@pytest.fixture
def bare_node(machine: Host) -> Host:
    """A node (Host) without the package."""
    return reset(machine, 'clean')


@pytest.fixture(scope='session')
def newer_rpm(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    return builds.newer_rpm(tmp_path_factory.mktemp('newer'))
