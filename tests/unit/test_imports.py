# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""The command's modules import each other in one direction only."""

from __future__ import annotations

import ast
import graphlib
from collections.abc import Iterator

import pytest

import support

PACKAGE = 'vdsm_tlsciphers'
FOLDER = support.SOURCE / 'admin'


def modules() -> dict[str, ast.Module]:
    """Return {name: tree} of the modules, packages among them."""
    return {
        '.'.join(path.relative_to(FOLDER).with_suffix('').parts).replace(
            '.__init__', ''): ast.parse(path.read_text())
        for path in (FOLDER / PACKAGE).rglob('*.py')}


def imported(tree: ast.Module) -> Iterator[str]:
    """
    Yield the names (str) that a module imports: in functions and for types as
    well, and by import_module(), where a name ends with '*' for any.
    """
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0
            yield str(node.module)
            for alias in node.names:
                yield '%s.%s' % (node.module, alias.name)
        elif isinstance(node, ast.Call) and getattr(
                node.func, 'attr', '') == 'import_module':
            first = next(ast.walk(node.args[0]))
            while isinstance(first, ast.BinOp):
                first = first.left
            assert isinstance(first, ast.Constant)
            yield str(first.value) + '*'


def graph(trees: dict[str, ast.Module]) -> dict[str, set[str]]:
    """Return {module: those that it imports} for trees of modules()."""
    found: dict[str, set[str]] = {}
    for name, tree in trees.items():
        found[name] = set()
        for other in imported(tree):
            found[name].update(
                module for module in trees
                if module == other or (other.endswith('*') and
                                       module.startswith(other[:-1])))
        # Each imports the packages that it is in, which import nothing.
        found[name].discard(name)
    return found


def circle(imports: dict[str, set[str]]) -> list[str]:
    """Return the modules (list of str) of a circle of imports, or none."""
    try:
        graphlib.TopologicalSorter(imports).prepare()
    except graphlib.CycleError as error:
        return list(error.args[1])
    return []


def stage(module: str) -> str:
    """Return the folder of a module, or the module where it has none."""
    return '.'.join(module.split('.')[:2])


def test_no_modules_import_each_other() -> None:
    imports = graph(modules())
    assert imports[PACKAGE + '.cli'] > {PACKAGE + '.commands.check'}
    assert imports[PACKAGE] == set()
    assert circle(imports) == []


def test_no_folders_import_each_other() -> None:
    imports: dict[str, set[str]] = {}
    for module, others in graph(modules()).items():
        imports.setdefault(stage(module), set()).update(map(stage, others))
    for name, others in imports.items():
        others.discard(name)
    assert circle(imports) == []


@pytest.mark.parametrize('way', [
    'from vdsm_tlsciphers.report import writer',
    'import vdsm_tlsciphers.report.writer',
    'def lazily():\n    from vdsm_tlsciphers.report.writer import Report',
    'if TYPE_CHECKING:\n    from vdsm_tlsciphers.report import writer',
    'importlib.import_module("vdsm_tlsciphers.report." + name)'])
def test_circle_is_found_however_it_is_imported(way: str) -> None:
    trees = modules()
    trees[PACKAGE + '.report.page'].body += ast.parse(way).body
    found = circle(graph(trees))
    assert found
    assert {stage(module) for module in found} == {PACKAGE + '.report'}
