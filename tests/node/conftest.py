# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""
Tests on nodes with SELinux enforcing, see README:

    python3 -m pytest tests/node --rpm RPM
"""

import contextlib
import pathlib
from collections.abc import Generator, Iterator

import pluggy
import pytest

import builds
import node as nodes
import support
from host import Host

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
    for value in item.funcargs.values():
        for node in value if isinstance(value, tuple) else [value]:
            if isinstance(node, Host):
                node.changed = True
                for command in LOGS.strip().splitlines():
                    with contextlib.suppress(Exception):
                        report.sections.append((
                            '%s: %s' % (node.directory.name, command),
                            node.run(command, check=False).stdout))


@pytest.fixture(scope='session')
def image() -> pathlib.Path:
    return nodes.get_image()


@pytest.fixture(scope='session')
def directory(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    return tmp_path_factory.mktemp('nodes')


@pytest.fixture(scope='session')
def disk(image: pathlib.Path, directory: pathlib.Path,
         request: pytest.FixtureRequest) -> pathlib.Path:
    """A disk with snapshots "clean" and, with the package, "installed"."""
    host = Host(image, directory, 'first')
    try:
        host.send(support.TESTS / 'standin/hooking.py')
        assert 'Complete!' in host.install(request.config.getoption('rpm'))
        # libvirt learns of the new emulator here, and not in every test.
        host.start(host.hook(nodes.PLAIN_VM, tlsciphers='HIGH')).destroy()
        host.save('installed')
        host.quit()
    finally:
        host.close()
    return host.disk


@pytest.fixture(scope='session')
def machine(image: pathlib.Path, disk: pathlib.Path, directory: pathlib.Path,
            ) -> Iterator[Host]:
    with contextlib.closing(Host(image, directory, 'a', 'b', disk,
                                 'installed')) as host:
        yield host


@pytest.fixture(scope='session')
def other_machine(image: pathlib.Path, disk: pathlib.Path,
                  directory: pathlib.Path) -> Iterator[Host]:
    with contextlib.closing(Host(image, directory, 'b', 'a', disk,
                                 'installed')) as host:
        yield host


def reset(host: Host, snapshot: str) -> Host:
    host.load(snapshot)
    host.mark()
    host.changed = True
    return host


@pytest.fixture
def fresh_node(machine: Host) -> Host:
    """A node (Host) with the package installed, that a test may change."""
    return reset(machine, 'installed')


@pytest.fixture
def node(machine: Host) -> Iterator[Host]:
    """
    The same for tests that leave it as it was, but for VMs: they share it, for
    it is slow after each return to a snapshot.
    """
    if machine.changed:
        reset(machine, 'installed')
        machine.changed = False
    machine.mark()
    yield machine
    if not machine.changed:
        machine.destroy_all()


@pytest.fixture(scope='module')
def two_nodes(machine: Host, other_machine: Host) -> tuple[Host, Host]:
    """Two nodes (Host) with a cable in between."""
    return reset(machine, 'installed'), reset(other_machine, 'installed')


@pytest.fixture
def bare_node(machine: Host) -> Host:
    """A node (Host) without the package."""
    return reset(machine, 'clean')


@pytest.fixture(scope='session')
def newer_rpm(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    return builds.newer_rpm(tmp_path_factory.mktemp('newer'))
