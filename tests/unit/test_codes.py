# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""The codes of messages in the sources are those that codes.py lists."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from typing import Any

import support

LIST = 'admin/vdsm_tlsciphers/codes.py'
CODE = re.compile(r'[a-z0-9]+(-[a-z0-9]+)*')
# Where the code stands among the arguments of what makes a message.
CALLS = {'Finding': 4, 'ProtocolError': 2, 'Refused': 2, 'UserError': 2,
         'Violation': 0, '_add': 1, 'add': 1, 'add_note': 3, 'detail': 0,
         'give_up': 4, 'one_line': 2, 'violation': 0, 'with_ciphers': 3}


def sources() -> dict[str, ast.Module]:
    """Return {path: tree} of what can print a message."""
    return {str(path.relative_to(support.SOURCE)): ast.parse(path.read_text())
            for folder in ('hooks', 'wrapper', 'admin')
            for path in (support.SOURCE / folder).rglob('*.py')
            if 'built' not in path.parts and 'pyz' not in path.parts}


def listed() -> dict[str, str]:
    """Return codes.SEVERITY."""
    names: dict[str, Any] = {}
    exec((support.SOURCE / LIST).read_text(), names)
    found: dict[str, str] = names['SEVERITY']
    return found


def text(node: ast.AST) -> str:
    """Return the constant beginning of the text of an expression, or ''."""
    while isinstance(node, ast.BinOp):
        node = node.left
    return node.value if isinstance(node, ast.Constant) and isinstance(
        node.value, str) else ''


def alternatives(node: ast.AST) -> Iterator[str]:
    """Yield the codes that an argument can be, as far as they are constant."""
    if isinstance(node, ast.IfExp):
        yield from alternatives(node.body)
        yield from alternatives(node.orelse)
    elif isinstance(node, ast.Constant) and node.value:
        yield str(node.value)


def code_of(call: ast.Call, path: str) -> Iterator[str]:
    """Yield the constant codes in a call that makes a message."""
    name = getattr(call.func, 'id', getattr(call.func, 'attr', ''))
    place = CALLS.get(name)
    if name == 'note':
        place = 1 if path.startswith('wrapper') else 2
    if place is None or (name == 'add' and 'policy_check' not in path):
        return
    yield from (code for keyword in call.keywords if keyword.arg == 'code'
                for code in alternatives(keyword.value))
    if place < len(call.args):
        yield from alternatives(call.args[place])


def raised() -> Iterator[tuple[str, str]]:
    """Yield each (path, code) of a message in the sources."""
    for path, tree in sources().items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call):
                for code in code_of(node, path):
                    yield path, code
            # A message on its way to such a call.
            elif isinstance(node, ast.Tuple) and any(
                    ' ' in text(part) for part in node.elts):
                for part in node.elts:
                    if '-' in text(part) and CODE.fullmatch(text(part)):
                        yield path, text(part)
            elif isinstance(node, ast.Assign) and 'code' in [
                    getattr(target, 'id', '') for target in node.targets]:
                for code in alternatives(node.value):
                    yield path, code
            # A line that is written without one.
            elif isinstance(node, ast.Constant) and isinstance(
                    node.value, str):
                for code in re.findall(r' \[([a-z]+-[a-z-]+[a-z])\](?:\n|$)',
                                       node.value):
                    yield path, code


def test_each_code_that_is_raised_is_listed() -> None:
    found = set(raised())
    assert ('hooks/tlsciphers_values.py', 'no-group') in found
    assert ('hooks/tlsciphers_hook.py', 'no-hooking') in found
    assert ('wrapper/tlsciphers_wrapper.py', 'vnc-socket') in found
    assert ('admin/vdsm_tlsciphers/audit/policy_status.py',
            'live-value') in found
    codes = listed()
    assert sorted((path, code) for path, code in found
                  if code not in codes) == []


def test_each_listed_code_is_one_of_a_message() -> None:
    constants = {node.value for path, tree in sources().items()
                 if path != LIST for node in ast.walk(tree)
                 if isinstance(node, ast.Constant)}
    constants.update(code for _, code in raised())
    assert sorted(set(listed()) - constants) == []


def test_each_code_is_short_and_easy_to_search() -> None:
    for code, severity in listed().items():
        assert CODE.fullmatch(code), code
        assert len(code) <= 30, code
        assert severity in ('critical', 'high', 'medium', 'low')
