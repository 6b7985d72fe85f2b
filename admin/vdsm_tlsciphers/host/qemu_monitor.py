# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""Queries running QEMUs through libvirt, in parallel, with one deadline."""

import queue
import threading
import time

import tlsciphers_monitor

from vdsm_tlsciphers import UserError
from vdsm_tlsciphers.host import domains

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    import libvirt

    # A command of QMP, and its arguments.
    Command = tuple[str, dict[str, str]]

# Seconds. A QEMU that hangs never answers.
TIMEOUT = 5
# Each occupies one of libvirt's 20 threads.
WORKERS = 12


class Answers:
    """
    The answers of a QEMU: values (list: what it returned to each command, or
    the UserError that it reported), problem (UserError: why there are no more,
    or None).
    """

    def __init__(self) -> None:
        self.values: list[Any] = []
        self.problem: UserError | None = UserError(
            'no answer within %d seconds' % TIMEOUT, '',
            'no-qemu-answer')


class Monitor:
    """The answers of QEMUs by the UUIDs of their VMs."""

    def __init__(self, questions: 'dict[str, list[Command]]') -> None:
        """
        Begin to send the questions ({UUID: commands}), in their order: QEMUs
        that may hang should be the last. Raises UserError where libvirt does
        not take them.
        """
        self._answers = {uuid: Answers() for uuid in questions}
        self._done: queue.Queue[str] = queue.Queue()
        self._questions: queue.Queue[tuple[str, list[Command]]] = queue.Queue()
        self._deadline = time.monotonic() + TIMEOUT
        for item in questions.items():
            self._questions.put(item)
        for _ in range(min(WORKERS, len(questions))):
            # libvirt serves five calls of a connection at a time.
            threading.Thread(target=self._work, daemon=True, args=(
                domains.connect(writable=True),)).start()

    def wait(self) -> 'dict[str, Answers]':
        """Return the answers once all are there, or at the deadline."""
        try:
            for _ in self._answers:
                self._done.get(timeout=max(
                    0, self._deadline - time.monotonic()))
        except queue.Empty:
            pass
        return self._answers

    def _work(self, connection: 'libvirt.virConnect') -> None:
        while True:
            try:
                uuid, commands = self._questions.get_nowait()
            except queue.Empty:
                return
            answers = self._answers[uuid]
            try:
                for command in commands:
                    answers.values.append(ask(connection, uuid, *command))
                answers.problem = None
            except Exception as error:  # noqa: BLE001 (the other thread's)
                answers.problem = (
                    error if isinstance(error, UserError) else
                    UserError(str(error), '', 'no-qemu-answer'))
            self._done.put(uuid)


def ask(connection: 'libvirt.virConnect', uuid: str, command: str,
        arguments: 'dict[str, str]') -> 'Any':
    """
    Return what a command of QMP returns, or the UserError that QEMU reports.
    Raises what libvirt does.
    """
    answer = tlsciphers_monitor.ask(connection, uuid, command, arguments)
    if 'error' in answer:
        return UserError(str(answer['error'].get('desc')), '',
                         'no-qemu-answer')
    return answer.get('return')
