# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""
docs/troubleshooting.md explains every message that the package can print, and
no other.

A message is known by its key: the longest run of words that it always has
before its remedy. A table of the page whose first column is headed "the line
says" explains it there, with a piece of code that holds the key.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

import support

PAGE = (support.SOURCE / 'docs/troubleshooting.md').read_text()
# In these every text of several words is a message, or a part of one ...
HOST_CODE = ('hooks/before_vm_start.py', 'hooks/tlsciphers.py',
             'hooks/tlsciphers_hook.py', 'hooks/tlsciphers_values.py',
             'wrapper/tlsciphers_wrapper.py',
             'wrapper/qemu-kvm-modified.py')
# ... but for what only completes another one,
COMPLETIONS = {'CHARACTER_NAMES', 'SYNTAX', 'remedy', 'shown'}
# and for words of other programs that it reads.
NO_MESSAGES = {'Cipher suites for', 'Elliptic curves', 'OpenSSL cipher name',
               'No such file or directory', 'Permission denied',
               'Syntax error'}
# In the command, messages are what these are called with.
CALLS_OF_THE_COMMAND = {'ArgumentTypeError', 'UserError', 'end', 'error',
                        'note'}
SHELL_CODE = ('rpm/scriptlet.sh', 'vdsm-hook-tlsciphers.spec')


def key(message: str) -> str:
    """Return the key (str) of a message's template, '' where it has none."""
    message = message.replace('qemu-kvm-modified: ', '')
    for text in (message.split('; ')[0], message):
        runs = re.split(r'%\(?[\w.]*\)?[a-z]|%\{\w+\}|\$\{?[\w*#/%]+\}?'
                        r'|[][:;,()<>="`|\n]', text)
        longest = max((run.strip() for run in runs), key=len)
        if re.search(r'[A-Za-z] +[A-Za-z]', longest):
            return longest
    return ''


def template(node: ast.AST) -> str | None:
    """Return the text of an expression with %s for its parts, or None."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return ''.join(template(part) or '%s' for part in node.values)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mod):
        return template(node.left)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return '%s%s' % (template(node.left) or '%s',
                         template(node.right) or '%s')
    return None


def called(node: ast.Call) -> str | None:
    return getattr(node.func, 'id', getattr(node.func, 'attr', None))


def texts(node: ast.AST) -> Iterator[str]:
    """Yield the templates (str) of the messages in a tree of Python."""
    text = template(node)
    if text is not None:
        yield text
        return
    skipped: list[ast.expr] = []
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        return  # A docstring.
    if isinstance(node, ast.Assign):
        if COMPLETIONS & {getattr(target, 'id', '')
                          for target in node.targets}:
            return
    elif isinstance(node, ast.Call) and called(node) == 'give_up':
        skipped = node.args[3:]  # The remedy.
    for child in ast.iter_child_nodes(node):
        if child not in skipped:
            yield from texts(child)


def messages() -> dict[str, tuple[str, str]]:
    """Return {key: (file, template)} of all messages there are."""
    found: dict[str, tuple[str, str]] = {}

    def add(name: str, text: str) -> None:
        if key(text) and key(text) not in NO_MESSAGES:
            found.setdefault(key(text), (name, text))

    for name in HOST_CODE:
        for text in texts(ast.parse((support.SOURCE / name).read_text())):
            if not text.startswith('<'):
                add(name, text)
    for path in (support.SOURCE / 'admin/vdsm_tlsciphers').rglob('*.py'):
        for node in ast.walk(ast.parse(path.read_text())):
            if (isinstance(node, ast.Call)
                    and called(node) in CALLS_OF_THE_COMMAND):
                for argument in node.args:
                    for text in texts(argument):
                        add(str(path.relative_to(support.SOURCE)), text)
    for name in SHELL_CODE:
        for text in re.findall(
                r'\b(?:say|complain|echo|stderr:write\()[ (]?"([^"\n]*)',
                (support.SOURCE / name).read_text()):
            add(name, text)
    return found


def explained() -> list[str]:
    """Return the pieces of code (list of str) that explain messages."""
    pieces: list[str] = []
    for table in re.findall(r'(?m)^\| the line says \|.*\n\|[-| ]+\n'
                            r'((?:\|.*\n)+)', PAGE):
        for row in table.splitlines():
            pieces.extend(piece for piece in re.findall(
                r'`([^`]+)`', re.split(r'(?<!\\)\|', row)[1])
                if not re.match(r'\[[a-z0-9-]+\]$', piece))
    return pieces


def test_every_message_is_explained() -> None:
    pieces = explained()
    missing = sorted((name, text) for key, (name, text) in messages().items()
                     if not [piece for piece in pieces if key in piece])
    assert not missing, 'rows for docs/troubleshooting.md:\n' + '\n'.join(
        '| `%s` | (%s) | |' % (re.sub(
            r'%\(?[\w.]*\)?[a-z]', '...', text.split('; ')[0]).strip(), name)
        for name, text in missing)


def test_every_line_that_is_explained_is_one_that_can_be_printed() -> None:
    keys = messages()
    assert [piece for piece in explained()
            if not [key for key in keys if key in piece]] == []


def test_every_difference_of_status_is_explained_by_its_code() -> None:
    states = (support.SOURCE
              / 'admin/vdsm_tlsciphers/audit/policy_status.py').read_text()
    codes = set(re.findall(
        r"'([a-z]+(?:-[a-z]+)+)',\s+'(?:critical|high|medium|low|info)'",
        states))
    assert 'policy-not-effective' in codes
    assert codes == {code for first in re.findall(
        r'(?m)^\| (`[a-z-]+`(?:, `[a-z-]+`)*) \|', PAGE.partition(
            '| code | what is different |')[2].partition('\n\n')[0])
        for code in re.findall('`([^`]+)`', first)}


def test_messages_of_each_part_are_seen() -> None:
    """The search itself: some that must be among them."""
    found = messages()
    for expected in (
            'which vdsm puts on PYTHONPATH', 'this leaves no cipher suite',
            'the VNC console of this VM is not encrypted',
            'restorecon cannot label the wrapper',
            'of a manual installation in', 'is read-only',
            'no VM of this host has that name'):
        assert [key for key in found if expected in key], expected
