# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""
Does the same with many targets, several at a time: by threads, and for those
of many hosts by processes as well, since the threads of one Python run one at
a time.
"""

import collections
import os
import queue
import signal
import threading

from vdsm_tlsciphers import UserError
from vdsm_tlsciphers.tls import probe

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from multiprocessing.connection import Connection
    from multiprocessing.context import ForkProcess
    from typing import Any, Protocol

    class Target(Protocol):
        """What is worked on: a port of a host."""

        address: str

    # What is done with one; it can be told that its host does not answer.
    Work = Callable[[Any, 'Hosts | None'], object]

# Targets at the same time, and of a host among many.
WORKERS = 16
PER_HOST = 4
MOST_PROCESSES = 4
# Targets of a host among many that time out before it counts as hidden.
MOST_TIMEOUTS = 3
# Seconds in which an interrupt is noticed.
TICK = 0.2


class Hosts:
    """Which hosts (addresses) answer at all, as far as it is known."""

    def __init__(self) -> None:
        self._timeouts: collections.Counter[str] = collections.Counter()
        self._answering: set[str] = set()

    def check(self, address: str) -> None:
        """Raise probe.Unreachable for one whose ports have all timed out."""
        if (address not in self._answering
                and self._timeouts[address] >= MOST_TIMEOUTS):
            raise probe.Unreachable('not tried, since %d other ports of this '
                                    'host did not answer' % MOST_TIMEOUTS)

    def note(self, address: str, reason: 'probe.Unreachable | None') -> None:
        """Remember that a port has answered, or why not."""
        if reason is None:
            self._answering.add(address)
        elif reason.is_timeout:
            self._timeouts[address] += 1


class Schedule:
    """
    Gives targets to several workers: at most so many of an address at the same
    time, and of all addresses in turn.
    """

    def __init__(self, targets: 'Sequence[Target]', per_address: int) -> None:
        self._left: dict[str, collections.deque[int]] = {}
        for number, target in enumerate(targets):
            self._left.setdefault(target.address,
                                  collections.deque()).append(number)
        # An address stands here once for each worker that may take it.
        self._free = collections.deque(
            address for turn in range(per_address)
            for address, numbers in self._left.items() if len(numbers) > turn)
        self._busy = 0
        self._changed = threading.Condition()

    def take(self) -> 'int | None':
        """Return the number of the next target, None where none is left."""
        with self._changed:
            while not self._free and self._busy:
                self._changed.wait()
            if not self._free:
                return None
            self._busy += 1
            return self._left[self._free.popleft()].popleft()

    def finish(self, address: str) -> None:
        """Say that a target with an address, which was taken, is done."""
        with self._changed:
            self._busy -= 1
            # Others may be free to take what is left.
            if len(self._left[address]) > self._free.count(address):
                self._free.append(address)
            self._changed.notify_all()

    def stop(self) -> None:
        """Give no more targets."""
        with self._changed:
            self._free.clear()
            for numbers in self._left.values():
                numbers.clear()
            self._changed.notify_all()


def results(targets: 'Sequence[Target]', work: 'Work',
            many_hosts: bool = False) -> 'Iterator[tuple[int, Any]]':
    """
    Yield (number of a target, result of work(target, Hosts or None)) as they
    come. Among many hosts each gets few connections at a time, and results
    come from other processes. Raises what the work raises.
    """
    if not many_hosts:
        return _by_threads(targets, work, WORKERS, WORKERS, None)
    shares = _shares(targets)
    if len(shares) < 2:
        return _by_threads(targets, work, WORKERS, PER_HOST, Hosts())
    return _by_processes(targets, work, shares)


def _by_threads(targets: 'Sequence[Target]', work: 'Work', threads: int,
                per_address: int, hosts: 'Hosts | None') -> (
                    'Iterator[tuple[int, Any]]'):
    schedule = Schedule(targets, per_address)
    done: queue.Queue[tuple[int, Any]] = queue.Queue()

    def run() -> None:
        number = schedule.take()
        while number is not None:
            target = targets[number]
            try:
                done.put((number, work(target, hosts)))
            except BaseException as error:  # noqa: BLE001 (raised below)
                done.put((-1, error))
            schedule.finish(target.address)
            number = schedule.take()

    for _ in range(min(threads, len(targets))):
        threading.Thread(target=run, daemon=True).start()
    try:
        for _ in targets:
            number, result = _next(done)
            if number < 0:
                raise result
            yield number, result
    except BaseException:
        schedule.stop()
        probe.interrupt()
        raise


def _next(done: 'queue.Queue[tuple[int, Any]]') -> 'tuple[int, Any]':
    while True:
        try:
            # Without a limit it would keep a signal from being handled.
            return done.get(timeout=TICK)
        except queue.Empty:
            continue


def _shares(targets: 'Sequence[Target]') -> 'list[list[int]]':
    """Share out the numbers of targets among processes, host by host."""
    processes = min(len(os.sched_getaffinity(0)), MOST_PROCESSES)
    hosts: dict[str, list[int]] = {}
    for number, target in enumerate(targets):
        hosts.setdefault(target.address, []).append(number)
    shares: list[list[int]] = [[] for _ in range(processes)]
    # The largest first, each to whom has least.
    for numbers in sorted(hosts.values(), key=len, reverse=True):
        min(shares, key=len).extend(numbers)
    return [sorted(share) for share in shares if share]


def _by_processes(targets: 'Sequence[Target]', work: 'Work',
                  shares: 'list[list[int]]') -> 'Iterator[tuple[int, Any]]':
    import multiprocessing
    from multiprocessing import connection
    context = multiprocessing.get_context('fork')
    processes: list[ForkProcess] = []
    readers: list[Connection] = []
    left = len(targets)
    try:
        for share in shares:
            reader, writer = context.Pipe(duplex=False)
            processes.append(context.Process(
                target=_serve, daemon=True, args=(
                    targets, work, share, max(1, WORKERS // len(shares)),
                    writer, [*readers, reader])))
            processes[-1].start()
            writer.close()
            readers.append(reader)
        while left:
            for ready in connection.wait(readers):
                assert isinstance(ready, connection.Connection)  # nosec B101 # for mypy
                try:
                    number, result = ready.recv()
                except EOFError:
                    readers.remove(ready)
                    continue
                if number < 0:
                    raise result
                yield number, result
                left -= 1
            if left and not readers:
                raise UserError('a process of the scan has ended early',
                                'scan again', 'scan-ended')
    finally:
        for process in processes:
            process.terminate()
            process.join()


def _serve(targets: 'Sequence[Target]', work: 'Work', share: 'list[int]',
           threads: int, writer: 'Connection',
           readers: 'list[Connection]') -> None:
    """Work on a share of the targets, and write the results to a pipe."""
    # Its parent ends it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    for reader in readers:
        # Else writing would go on where the parent is gone.
        reader.close()
    try:
        for number, result in _by_threads(
                [targets[number] for number in share], work, threads, PER_HOST,
                Hosts()):
            writer.send((share[number], result))
    except BrokenPipeError:
        return
    except Exception as error:  # noqa: BLE001 (raised by the parent)
        writer.send((-1, error))
