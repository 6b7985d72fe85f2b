# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""
The last start, on this host, of a VM that does not run, from the ends of the
logs: libvirt does not know it any more.
"""

import ast
import datetime
import re
from xml.sax import saxutils  # nosec B406 # escapes only

import tlsciphers_config
import tlsciphers_domain
import tlsciphers_host
import tlsciphers_values
from tlsciphers_values import Refused

from vdsm_tlsciphers import UserError, files
from vdsm_tlsciphers.host import domains, messages
from vdsm_tlsciphers.host.messages import WRAPPER

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from vdsm_tlsciphers import documents

VDSM_LOG = '/var/log/vdsm/vdsm.log'
# Bytes that are read of each log, from its end. vdsm's is rotated at 15 MB.
MOST_OF_VDSM_LOG = 16 << 20
MOST_OF_VM_LOG = 1 << 20
# Records with the name of the VM, counted from the end.
MOST_RECORDS = 50
# Characters of a record that may have a domain XML, and of a line.
LONGEST_RECORD = 4 << 20
LONGEST_LINE = 1500
# A record of vdsm begins with the time.
RECORD = re.compile(
    rb'(?m)^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3}[+-]\d{4} ')
# What the engine sent, as Python's repr.
CREATED = b'START create('
LITERAL = re.compile(
    r"""u?('<[^'\\]*(?:\\.[^'\\]*)*'|"<[^"\\]*(?:\\.[^"\\]*)*")""", re.DOTALL)
XML = re.compile(r'<domain[\s>]')
DOWN = "[virt.vm] (vmId='%s') Changed state to Down: "
# What precedes it. A property of another VM may look like the rest.
HEADER = re.compile(r'\S+ \S+ +[A-Z]+ +\([^()\n]*\) \Z')
HOOK_ERROR = 'Hook Error: ('
NO_WRAPPER = ('-vdsm-tls: invalid option', 'Cannot check QEMU binary '
              + tlsciphers_host.EMULATOR)
# Lines of the wrapper that refuse nothing, and lines of QEMU.
NOTE = re.compile(r' info : %s|%sQEMU gets ' % (WRAPPER, WRAPPER))
APPLIED = WRAPPER + 'QEMU gets '
OF_QEMU = re.compile(r'(?:^|[\s:])qemu-(?:kvm|system-\w+): ')
STARTING, ENDED = ': starting up ', re.compile(
    r': shutting down, reason=([a-z-]+)')
TIME = re.compile(
    r'(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d)[.,](\d{3})([+-]\d{4})')
# libvirt's line about the guard, and QEMU's where libvirt does not check.
GUARD_REFUSED = re.compile(
    r'unknown CPU feature: %s\b|Property \S{0,100}\.%s\S{0,9} not found'
    % (tlsciphers_domain.GUARD, tlsciphers_domain.GUARD))
# What a line must never show.
SECRET = re.compile(
    r'(?i)((?:passw(?:or)?d?|ticket|secret)[\w-]*["\']?'
    r'(?:\s*[=:]|\s+is\b|\s+(?=["\']))|\bdata=).*', re.DOTALL)


class LastStart:
    """
    The last start of a VM on this host: vm (domains.VM: as the
    engine sent it, or None), refusal (dict for JSON, or None where nothing
    was refused), message (Refused: that of the refusal, or None), end (its
    time and how it ended, both str, where nothing was refused; or None), and
    unread (list of UserError: why a log was not read).
    """

    def __init__(self, name: str,
                 known: 'domains.VM | None' = None) -> None:
        """Look for a name or UUID; known is what libvirt has of the VM."""
        self.vm: domains.VM | None = None
        self.refusal: documents.LastStart | None = None
        self.message: Refused | None = None
        self.end: tuple[str, str] | None = None
        self.unread: list[UserError] = []
        self._created: datetime.datetime | None = None
        self._uuid = known.uuid if known else ''
        self._name = known.name if known else name
        text = self._read(VDSM_LOG, MOST_OF_VDSM_LOG)
        if text:
            self._find_vm(text, name)
            self._find_in_vdsm_log(text)
        if self.vm:
            self._name = self.vm.name
        if self.refusal is None or self.refusal['by'] == 'other':
            self._find_in_vm_log()

    def _read(self, path: str, limit: int) -> bytes:
        try:
            return files.read_end(path, limit)
        except UserError as problem:
            self.unread.append(problem)
            return b''

    def _find_vm(self, text: bytes, name: str) -> None:
        wanted = saxutils.escape(name).encode(errors='replace')
        token = (b'<uuid>%s</uuid>' if re.match(r'[0-9a-fA-F-]{36}\Z', name)
                 else b'<name>%s</name>') % wanted
        final = None
        for record in records(text, token):
            vm = vm_in(record)
            if vm is None or name not in (vm.name, vm.uuid) or (
                    self._uuid and vm.uuid != self._uuid):
                continue
            if CREATED.decode() in record:
                self.vm = vm
                self._created = when(record)
                break
            final = final or vm
        self.vm = self.vm or final
        if self.vm:
            self._uuid = self.vm.uuid

    def _find_in_vdsm_log(self, text: bytes) -> None:
        if not re.match(r'[0-9a-fA-F-]{36}\Z', self._uuid):
            return
        down = DOWN % self._uuid
        for record in records(text, down.encode()):
            if not HEADER.match(record.partition(down)[0]):
                continue
            # No failure of a newer start is known.
            newer = text[text.rfind(down.encode()):]
            if not any(CREATED.decode() in other for other in records(
                    newer, b'<uuid>%s</uuid>' % self._uuid.encode())):
                self._explain(record, record.partition(down)[2])
            return

    def _explain(self, record: str, said: str) -> None:
        """Read what vdsm says about why a VM is down."""
        lines = [line[:LONGEST_LINE] for line in said.splitlines()]
        begin, end = said.find(HOOK_ERROR), said.rfind(',)')
        if 0 <= begin < end:
            line = hook_line(said[begin + len(HOOK_ERROR):end])
            self._refuse(VDSM_LOG, record,
                         'hook' if is_ours(line) else 'other', line)
            return
        found = find_refusal(lines)
        if found:
            self._refuse(VDSM_LOG, record, *found)
        elif lines and '(code=1)' in said:
            self._refuse(VDSM_LOG, record, 'other', lines[0])

    def _find_in_vm_log(self) -> None:
        if '/' in self._name or self._name in ('', '.', '..'):
            return
        path = domains.LOG % self._name
        text = self._read(path, MOST_OF_VM_LOG).decode(errors='replace')
        begin = text.rfind(STARTING)
        start = text[text.rfind('\n', 0, max(0, begin)) + 1:]
        time = when(start)
        # The log of an earlier start says nothing about the last.
        if begin < 0 or (time and self._created and time < self._created):
            return
        ended = ENDED.search(start)
        if ended is None or ended.group(1) != 'failed':
            if self.refusal is None:
                self.end = (time_of(start), ended.group(1) if ended else '')
            return
        lines = [line[:LONGEST_LINE] for line in start.splitlines()]
        applied = any(APPLIED in line for line in lines)
        found = find_refusal(lines)
        own = [line for line in lines if OF_QEMU.search(line)]
        if found:
            self._refuse(path, start, *found)
        elif own and (applied or self.refusal is None):
            self._refuse(path, start, 'other', own[-1])
        if self.refusal and not found:
            self.refusal['applied'] = applied

    def _refuse(self, log: str, record: str, by: 'documents.RefusedBy',
                line: str) -> None:
        if by == 'wrapper':
            line = line[line.index(WRAPPER):]
        line = re.sub(r' \(code=\d+\)( \(\w+:\d+\))?\s*$', '', line)
        line = SECRET.sub(r'\1***', line.strip()[:LONGEST_LINE])
        self.message = messages.parse(line)
        if by == 'libvirt':
            self.message.code = 'guard-not-removed'
        self.refusal = {
            'log': log, 'by': by, 'line': line,
            'time': time_of(record), 'applied': None,
            'code': self.message.code or None, 'stands': None}


def time_of(record: str) -> str:
    """Return the time that a record of a log begins with, or ''."""
    return (re.match(r'[\d-]{10} [\d:]{8}(?:[.,]\d+)?(?:[+-]\d{4})?',
                     record) or [''])[0]


def when(record: str) -> 'datetime.datetime | None':
    """Return the same as a datetime, or None."""
    found = TIME.match(record)
    try:
        return found and datetime.datetime.strptime(
            '%s.%s000 %s' % found.groups(), '%Y-%m-%d %H:%M:%S.%f %z')
    except ValueError:
        return None


def records(text: bytes, token: bytes) -> 'Iterator[str]':
    """Yield the records of vdsm's log that have a token, the last first."""
    position = len(text)
    for _ in range(MOST_RECORDS):
        position = text.rfind(token, 0, position)
        if position < 0:
            return
        start = max(0, position - LONGEST_RECORD)
        for header in RECORD.finditer(text, start, position + 1):
            start = header.start()
        following = RECORD.search(text, position)
        end = following.start() if following else len(text)
        yield text[start:end].decode(errors='surrogateescape')
        position = start


def vm_in(record: str) -> 'domains.VM | None':
    """Return the VM whose domain XML a record of vdsm's log has, or None."""
    found = [record]
    if len(record) > LONGEST_RECORD:
        found = []
    elif CREATED.decode() in record:
        # The XML is the longest value that the engine sends.
        found = sorted((literal.group(0) for literal
                        in LITERAL.finditer(record)), key=len)[-2:]
        found = [evaluate(literal) or '' for literal in found]
    for text in found:
        xml = XML.search(text)
        end = text.rfind('</domain>')
        if xml and xml.start() < end:
            try:
                return domains.VM(text[xml.start():end + len(
                    '</domain>')].encode(errors='surrogateescape'))
            except UserError:
                continue
    return None


def evaluate(literal: str) -> 'str | None':
    """Return the text of a literal of Python (a str), or None."""
    try:
        value = ast.literal_eval(literal.strip())
    except (MemoryError, RecursionError, SyntaxError, ValueError):
        return None
    if isinstance(value, bytes):
        return value.decode(errors='replace')
    return value if isinstance(value, str) else None


def hook_line(literal: str) -> str:
    """Return the line of the hook in the repr of its standard error."""
    found = re.match(r"""[bu]?('(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")""",
                     literal.strip())
    said = (found and evaluate(found.group(0))) or literal
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    ours = [line for line in lines if is_ours(line)]
    # The line that stopped the start is the last.
    return ((ours or lines)[-1:] or [''])[0]


def is_ours(line: str) -> bool:
    """Tell whether a line is one of this package's hook."""
    return line.startswith((
        tlsciphers_values.PACKAGE, tlsciphers_config.HOST_DEFAULT, *(
            name + ': '
            for name in (*tlsciphers_values.PROPERTIES, domains.FLAGS))))


def find_refusal(lines: 'list[str]') -> (
        'tuple[documents.RefusedBy, str] | None'):
    """
    Return who refused a VM with one of the lines of a log, and that line, or
    None.
    """
    for line in reversed(lines):
        by = who_refused(line)
        if by:
            return by, line
        if OF_QEMU.search(line):
            return None  # QEMU never sees what the wrapper refused.
    return None


def who_refused(line: str) -> 'documents.RefusedBy | None':
    """Tell who refused the VM with a line of a log."""
    if GUARD_REFUSED.search(line):
        return 'libvirt'
    if any(words in line for words in NO_WRAPPER):
        return 'QEMU'
    return 'wrapper' if WRAPPER in line and not NOTE.search(line) else None
