# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

# The documents that commands print as JSON, for mypy alone: it is not
# installed, and nothing imports it at run time.

from typing import Literal, TypeAlias, TypedDict

from typing_extensions import NotRequired

class Setting(TypedDict):
    value: str
    required: bool

# By the keys of tlsciphers_values.KEYS.
Policy: TypeAlias = dict[str, Setting]

# The beginning of each.
class Head(TypedDict):
    format: str
    version: int
    tool: str
    host: str
    time: str

# scan; its members are explained in schemas/scan.schema.json.

ScannedDisplay: TypeAlias = Literal['spice', 'vnc', 'websocket', 'tls']
ScanState: TypeAlias = Literal[
    'scanned', 'no TLS', 'TLS required', 'unreachable', 'incomplete']
Strength: TypeAlias = Literal['strong', 'acceptable', 'weak', 'broken']
Against: TypeAlias = Literal['policy', 'baseline']
Severity: TypeAlias = Literal['critical', 'high', 'medium', 'low', 'info']

class Suite(TypedDict):
    suite: str
    code: str
    key_exchange: str
    strength: Strength
    dh_bits: NotRequired[int]

class Certificate(TypedDict):
    subject: str
    issuer: str
    not_before: str
    not_after: str
    key: str
    signature: str
    sha256: str

# The keys that version 2 of the documents added to a finding, a difference, or
# a line of doctor.
class Message(TypedDict):
    code: str
    text: str
    remedy: str
    severity: Severity

class Finding(Message):
    against: Against
    # One line: the text, the remedy, and the code in brackets.
    finding: str

class Console(TypedDict):
    vm: str | None
    uuid: str | None
    display: ScannedDisplay
    address: str
    port: int
    state: ScanState
    problem: str | None
    protocols: dict[str, list[Suite]]
    groups: list[str]
    certificate: Certificate | None
    policy: Policy | None
    findings: list[Finding]
    # Since version 2.
    code: NotRequired[str | None]
    remedy: NotRequired[str | None]
    signatures: NotRequired[list[str] | None]
    extended_master_secret: NotRequired[bool | None]
    session_tickets: NotRequired[bool | None]
    unencrypted_offers: NotRequired[list[str] | None]
    open_channels: NotRequired[list[str] | None]
    # Of a scan of an engine's VMs.
    host: NotRequired[str | None]
    cluster: NotRequired[str]

class ScanSummary(TypedDict):
    consoles: int
    passed: int
    failed: int
    not_scanned: int
    partly_checked: int

# What is checked when a scan is read.
class Scan(TypedDict):
    version: int
    tool: str
    host: str
    time: str
    baseline: str | None
    consoles: list[Console]

class NewScan(Scan):
    format: str
    summary: ScanSummary

class EngineVM(TypedDict):
    vm: str
    uuid: str
    cluster: str
    host: str | None
    status: str
    started: str | None
    properties: dict[str, str]
    guard: bool
    # What the next start changes.
    next_start: dict[str, str | None] | None
    statement: Statement
    reason: str | None
    # Of the reason.
    code: str | None

class EngineHost(TypedDict):
    host: str
    uuid: str
    cluster: str
    status: str
    hook: bool

class EngineFinding(Message):
    finding: str
    cluster: str | None
    hosts: list[str]
    vms: list[str]

class Scope(TypedDict):
    search: str
    vms: int
    down: int
    without_console: int
    not_reached: int

class PolicyCounts(TypedDict):
    requested: int
    effective: int
    different: int
    unknown: int
    waiting: int
    without_guard: int

class EngineScan(NewScan):
    engine: str
    scope: Scope
    policies: PolicyCounts
    hosts: list[EngineHost]
    vms: list[EngineVM]
    engine_findings: list[EngineFinding]

# status; its members are explained in schemas/status.schema.json.

Display: TypeAlias = Literal['spice', 'vnc']
ConsoleDisplay: TypeAlias = Literal['spice', 'vnc', 'websocket']
VMState: TypeAlias = Literal['in force', 'difference', 'none', 'unknown']
Statement: TypeAlias = Literal[
    'effective', 'live', 'waiting', 'configured', 'different', 'none',
    'unknown']
LiveState: TypeAlias = Literal['live']
WaitingState: TypeAlias = Literal['waiting']
MarkState: TypeAlias = Literal['live', 'waiting', 'lost']
Source: TypeAlias = Literal['arguments', 'OpenSSL file', 'QEMU']

class VMDisplay(TypedDict):
    display: Display
    tls: bool
    covered: bool

class VMConsole(TypedDict):
    display: ConsoleDisplay
    address: str | None
    port: int | None
    socket: str | None
    tls: bool
    covered: bool
    effective: bool | None
    proof: Literal['handshakes', 'none']
    open_channels: list[str] | None
    note: str | None

class OtherListener(TypedDict):
    address: str
    port: int
    what: str

class VMSetting(TypedDict):
    display: Display
    key: str
    asked: str | None
    required: bool | None
    in_force: str | None
    source: Source | None
    live: bool
    note: str | None

class Mark(TypedDict):
    display: Display
    key: str
    value: str
    required: bool
    state: MarkState

class Difference(Message):
    display: Display | None
    difference: str

class VM(TypedDict):
    vm: str
    uuid: str
    pid: int | None
    state: VMState
    statement: Statement
    problem: str | None
    # Of the problem.
    code: str | None
    remedy: str | None
    displays: list[VMDisplay]
    consoles: list[VMConsole]
    other_listeners: list[OtherListener]
    settings: list[VMSetting]
    differences: list[Difference]
    # What was applied to it while it runs.
    marks: list[Mark]
    guard: bool | None
    # Also where its cluster level has none.
    guard_requested: bool | None

class Status(Head):
    vms: list[VM]
    # How many there are ("vms"), and how many in each state and statement.
    summary: dict[str, int]

# apply

Outcome: TypeAlias = Literal[
    'applied', 'unchanged', 'kept', 'removed', 'possible', 'refused']

class AppliedVM(TypedDict):
    vm: str
    uuid: str
    outcome: Outcome
    # Whether it is a requirement; null where nothing was to be done.
    required: bool | None
    # The priority that VNC has now.
    live: str | None
    # What SPICE will have.
    waiting: Policy
    notes: list[str]
    problem: str | None
    # Of the problem.
    code: str | None
    remedy: str | None

class Applied(Head):
    properties: dict[str, str]
    dry_run: bool
    vms: list[AppliedVM]

# check

# {version of TLS: [suite]}
Protocols: TypeAlias = dict[str, list[str]]

class Client(TypedDict):
    client: str
    protocols: Protocols

# As a scan has them.
class Accepted(TypedDict):
    protocols: dict[str, list[Suite]]
    groups: list[str]

class CheckedDisplay(TypedDict):
    policy: Policy
    protocols: Protocols
    groups: list[str]
    # By handshakes; None where there is no policy.
    accepted: Accepted | None
    clients: list[Client]

# The parts of a line of "findings".
class Detail(TypedDict):
    finding: str
    code: str
    text: str
    remedy: str | None
    severity: Severity

# How to start a VM that is refused.

Change = TypedDict('Change', {
    'property': str, 'from': str | None, 'to': str | None})

class Way(TypedDict):
    changes: list[Change]
    # The consoles that no requirement covers then, on this host.
    open: list[Display]
    # Whether it has the guard: without one, a host that lacks the package
    # starts it with all consoles open.
    guard: bool
    # Those of "open" that have no encryption either.
    unencrypted: list[Display]
    # Versions of TLS that are permitted only then.
    weaker: list[str]

class Remedy(TypedDict):
    ways: list[Way]
    # With Run Once > Console: those with which alone it starts, covered; and
    # whether it starts without one.
    consoles: list[Display]
    headless: bool
    host: str | None
    other_host: bool
    tomorrow: str

RefusedBy: TypeAlias = Literal['hook', 'wrapper', 'libvirt', 'QEMU', 'other']

class LastStart(TypedDict):
    log: str
    time: str
    by: RefusedBy
    line: str
    code: str | None
    # Whether it would be refused again; None where unknown.
    stands: bool | None
    # Whether QEMU had the policy when it failed; None where the VM was
    # refused, or that is unknown.
    applied: bool | None

# The parts of a line of "notes".
class NoteDetail(TypedDict):
    note: str
    code: str
    text: str
    remedy: str | None
    severity: Severity

class Check(Head):
    vm: str | None
    properties: dict[str, str]
    baseline: str
    refused: str | None
    # The parts of that, as in "details".
    refusal: Detail | None
    findings: list[str]
    details: list[Detail]
    notes: list[str]
    note_details: list[NoteDetail]
    displays: dict[Display, CheckedDisplay]
    guard: bool | None
    # Of a VM that does not run: its last start, from the logs of this host.
    last_start: LastStart | None
    start: Remedy | None

# doctor

class Examination(TypedDict):
    check: str
    state: str
    text: str
    remedy: str | None
    code: str
    severity: Severity

class ExaminationSummary(TypedDict):
    ok: int
    warnings: int
    failed: int

class Examinations(Head):
    checks: list[Examination]
    fixed: list[str]
    summary: ExaminationSummary
