#!/usr/bin/env python3
# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""
Mutation testing of what is installed on hosts: mutmut changes each expression
of hook and wrapper, one at a time, and a test of tests/unit must fail then.

MUTANT is a name as it is printed, or a pattern of them: only those are tried.
The exit status is 1 where fewer than 90 % of a file's mutants are killed,
where a survivor is not explained in survivors.txt, and where one is explained
there that does not survive.
"""

from __future__ import annotations

import argparse
import collections
import difflib
import fnmatch
import gc
import json
import os
import pathlib
import random
import resource
import shutil
import signal
import sys
import tempfile
import textwrap
import time
import traceback
import types
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import pytest

HERE = pathlib.Path(__file__).resolve().parent
TESTS = HERE.parent
MODULES = {
    'before_vm_start': 'hooks/before_vm_start.py',
    'tlsciphers_hook': 'hooks/tlsciphers_hook.py',
    'tlsciphers': 'hooks/tlsciphers.py',
    'tlsciphers_values': 'hooks/tlsciphers_values.py',
    'qemu_kvm_modified': 'wrapper/qemu-kvm-modified.py',
    'tlsciphers_wrapper': 'wrapper/tlsciphers_wrapper.py'}
SELECTED = [str(TESTS / 'unit' / ('test_%s.py' % name))
            for name in ('functions', 'hook', 'lines', 'policy',
                             'spellings', 'wrapper')]
# What looks at the start of an interpreter, or compares two.
LEFT_OUT = ('compiled_modules_count_for_their_own_source_alone',
            'every_python_finds_the_same_line', 'every_python_judges_alike',
            'every_python_refuses_alike', 'nul_is_refused',
            'vm_without_the_property_costs_nothing')
BOUND = 90  # percent
# Processor time (s) for the tests of one mutant, and time (s) for one test.
PROCESSOR_TIME = 120
TIME = 120


class Mutant(NamedTuple):
    """A mutant of a function: source is its whole text, lines what differs."""

    module: str
    function: str
    source: str
    lines: list[str]

    def __str__(self) -> str:
        return '%s.%s: %s' % (self.module, self.function, ' '.join(
            line[0] + line[1:].strip() for line in self.lines))

    def put_in_place(self) -> None:
        """Have the function do in this process what the mutant does."""
        names = dict(vars(sys.modules[self.module]))
        exec(self.source, names)
        function = find(self.module, self.function)
        function.__code__ = names['mutant'].__code__
        function.__defaults__ = names['mutant'].__defaults__


def find(module: str, name: str) -> types.FunctionType:
    found: Any = sys.modules[module]
    for part in name.split('.'):
        found = getattr(found, part)
    assert isinstance(found, types.FunctionType)
    return found


def generate() -> dict[str, Mutant]:
    """Return all mutants by their names, in an order of no meaning."""
    from mutmut.mutation import file_mutation

    mutants = {}
    for module, path in MODULES.items():
        made = file_mutation.mutate_file_contents(
            path, (TESTS.parent / path).read_text())
        code = made.code.splitlines(keepends=True)
        sources = {name: textwrap.dedent(''.join(
                       code[span.start - 1:span.end])).replace(name, 'mutant')
                   for name, span in made.line_span_by_function_name.items()}
        for name in made.mutant_names:
            mangled = name.partition('__mutmut_')[0]
            mutants['%s.%s' % (module, name)] = Mutant(
                module, mangled.replace('x_', '', 1).replace(
                    '\u01c1', '.').replace('x.', ''), sources[name], [
                    line for line in difflib.unified_diff(
                        sources[mangled + '__mutmut_orig'].splitlines(),
                        sources[name].splitlines(), n=0, lineterm='')
                    if line[:2] not in ('--', '++', '@@')])
    names = sorted(mutants)
    random.Random(0).shuffle(names)
    return {name: mutants[name] for name in names}


class Trial:
    """
    A plugin of pytest: runs the tests once, and then, for each mutant, those
    that call its function until one fails, in a process of its own.
    """

    def __init__(self, mutants: dict[str, Mutant], workers: int,
                 results: pathlib.Path) -> None:
        self.mutants = mutants
        self.workers = workers
        self.results = results
        self.items: dict[str, list[pytest.Item]] = (
            collections.defaultdict(list))

    def pytest_collection_modifyitems(
            self, config: pytest.Config, items: list[pytest.Item]) -> None:
        import support
        support.leave_out(config, items, LEFT_OUT)

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        self.find_items(session)
        if session.testsfailed:
            raise session.Failed('without a mutant, too')
        workers = [self.start_worker(number, session)
                   for number in range(self.workers)]
        for worker in workers:
            if os.waitpid(worker, 0)[1]:
                raise session.Failed('a worker ended')
        return True

    def find_items(self, session: pytest.Session) -> None:
        """Find the tests of each function, those first that take least."""
        from in_process import calls
        # Else a fork would copy each page on which an object is.
        gc.freeze()
        for mutant in self.mutants.values():
            calls.functions[find(mutant.module, mutant.function).__code__] = (
                '%s.%s' % mutant[:2])
        times = {}
        for item, following in zip(session.items,
                                   [*session.items[1:], None]):
            start = time.monotonic()
            session.config.hook.pytest_runtest_protocol(
                item=item, nextitem=following)
            times[item] = time.monotonic() - start
            sys.setprofile(None)
            for function in calls.take():
                self.items[function].append(item)
        calls.functions.clear()
        for items in self.items.values():
            items.sort(key=times.__getitem__)

    def start_worker(self, number: int, session: pytest.Session) -> int:
        parent = os.getpid()
        worker = os.fork()
        if worker:
            return worker
        try:
            # Its own fixtures of the session: two would share a folder.
            run_item(session.items[0], session)
            assert killer(None, session.items[-9:]) is None
            with open(self.results, 'a', buffering=1) as results:
                for name in list(self.mutants)[number::self.workers]:
                    if os.getppid() != parent:
                        break  # That was interrupted.
                    mutant = self.mutants[name]
                    items = self.items['%s.%s' % mutant[:2]]
                    position = killer(mutant, items)
                    results.write(json.dumps([name, position is None]) + '\n')
                    if position:
                        # It will kill others of that function as well.
                        items.insert(0, items.pop(position))
            os._exit(0)
        except BaseException:  # noqa: BLE001 # the fork must end here
            traceback.print_exc()
        finally:
            os._exit(2)


def run_item(item: pytest.Item,
             following: pytest.Item | pytest.Session | None) -> bool:
    """Run a test; return whether it failed."""
    from _pytest.runner import runtestprotocol
    return any(report.failed for report in runtestprotocol(
        item, log=False, nextitem=following))  # type: ignore[arg-type]


def killer(mutant: Mutant | None, items: list[pytest.Item]) -> int | None:
    """Return the position of the first test that fails with a mutant."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setsid()
            resource.setrlimit(resource.RLIMIT_CPU, (PROCESSOR_TIME,) * 2)
            if mutant:
                mutant.put_in_place()
            for position, item in enumerate(items):
                os.write(writer, b'%d\n' % position)
                signal.alarm(TIME)
                if run_item(item, (*items[position + 1:], None)[0]):
                    os._exit(1)
            os.write(writer, b'end\n')
            os._exit(0)
        except BaseException:  # noqa: BLE001 # the fork must end here
            traceback.print_exc()
        finally:
            os._exit(2)
    os.close(writer)
    os.waitpid(child, 0)
    try:
        os.killpg(child, signal.SIGKILL)
    except ProcessLookupError:
        pass
    with open(reader) as tried:
        last = (tried.read().split() or ['0'])[-1]
    # It is not there where a mutant made another program of that process.
    return None if last == 'end' else int(last)


def explanations() -> set[str]:
    """
    Return the mutants that survivors.txt explains, by their functions and
    what they make of a line: line numbers change too easily.
    """
    return {line for line in (HERE / 'survivors.txt').read_text().splitlines()
            if line and not line.startswith('#')}


def report(mutants: dict[str, Mutant], results: pathlib.Path,
           everything: bool) -> int:
    """Print the survivors that nobody explains, and the table."""
    outcome = dict(map(json.loads, results.read_text().splitlines()))
    explained = explanations()
    survivors = {name: str(mutants[name]) for name in mutants
                 if outcome.get(name, True)}
    for name, text in survivors.items():
        if text not in explained:
            print('\nsurvives: %s\n%s' % (name, text))
    print()
    good = set(survivors.values()) <= explained
    if everything:
        for text in sorted(explained - set(survivors.values())):
            good = False
            print('explained, but does not survive: ' + text)
    row = '%-32s %8s %8s %8s %9s %7s'
    print(row % ('file', 'mutants', 'killed', 'survived', 'explained',
                 'score'))
    for module, path in MODULES.items():
        tried = [name for name in mutants if mutants[name].module == module]
        left = [survivors[name] for name in tried if name in survivors]
        score = 100 * (1 - len(left) / max(1, len(tried)))
        good = good and score >= BOUND
        print(row % (path, len(tried), len(tried) - len(left), len(left),
                     sum(text in explained for text in left),
                     '%.1f %%' % score))
    return 0 if good else 1


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--workers', type=int, default=os.cpu_count(),
                        help='how many mutants are tried at once')
    parser.add_argument('mutants', nargs='*', metavar='MUTANT')
    options = parser.parse_args()
    import pytest
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        # mutmut looks for a project to read its settings from.
        os.chdir(folder)
        (folder / 'src').mkdir()
        mutants = generate()
        if options.mutants:
            mutants = {name: mutant for name, mutant in mutants.items() if any(
                fnmatch.fnmatch(name, pattern)
                for pattern in options.mutants)}
        for module, path in MODULES.items():
            shutil.copy(TESTS.parent / path, folder / 'src' / (module + '.py'))
        sys.path[:0] = [str(folder / 'src'), str(HERE), str(TESTS)]
        # Other plugins have nothing to do here.
        os.environ['PYTEST_DISABLE_PLUGIN_AUTOLOAD'] = '1'
        results = folder / 'results'
        results.touch()
        status = pytest.main(
            ['-q', '-x', '-p', 'in_process', '--rootdir', str(TESTS),
             '--config-file', str(TESTS / 'pytest.ini'), *SELECTED],
            plugins=[Trial(mutants, options.workers, results)])
        return status or report(mutants, results, not options.mutants)


if __name__ == '__main__':
    sys.exit(main())
