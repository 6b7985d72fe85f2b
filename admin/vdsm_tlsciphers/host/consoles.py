# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""
The consoles of a running VM: the ports on which its emulator listens, and
which of them are SPICE, VNC or a websocket, by its arguments or else by QEMU.
"""

import ipaddress
import re

from vdsm_tlsciphers import UserError
from vdsm_tlsciphers.host import domains, listeners, qemu_monitor, qemu_process

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    import libvirt

    from vdsm_tlsciphers import documents
    from vdsm_tlsciphers.host.qemu_monitor import Command

DISPLAYS = ('spice', 'vnc', 'websocket')
# An address for all can be reached through the loopback.
LOOPBACKS = {'0.0.0.0': '127.0.0.1', '::': '::1'}  # nosec B104 # no bind
# Options whose ports are not consoles.
OTHERS = {
    'chardev': 'character device', 'serial': 'serial port',
    'parallel': 'parallel port', 'monitor': 'monitor', 'qmp': 'monitor',
    'qmp-pretty': 'monitor', 'gdb': 'gdb', 'incoming': 'incoming migration',
    'netdev': 'network', 'net': 'network', 'nic': 'network'}
GDB = 1234
# Those that can be client or server are servers with this.
SERVER = re.compile(r',server(=(on|yes|true|y))?(,|$)|"server": *true')
# Where their values have the port on which QEMU itself listens, not that of a
# guest or of another machine. QEMU is queried about all other ports.
HOST = r'(?:\[[^]]*\]|[^:,\[\]]*)'
ADDRESS = re.compile(
    '^(?:mon:)?(?:tcp|telnet|telnets|tn3270|websocket):%s:([0-9]{1,5})(?=,|$)'
    % HOST)
LISTENING = {
    'gdb': [ADDRESS],
    'incoming': [ADDRESS, re.compile('^%s:([0-9]{1,5})$' % HOST)],
    'network': [
        re.compile('(?:(?:^|,)hostfwd=|"str": *")(?:tcp)?:%s:([0-9]{1,5})-'
                   % HOST),
        re.compile('^socket,(?:.*,)?listen=(?:%s:)?([0-9]{1,5})(?=,|$)'
                   % HOST)]}
# The same for servers.
SERVING = [
    ADDRESS, re.compile('^socket,(?:.*,)?port=([0-9]{1,5})(?=,|$)'),
    re.compile('^stream,(?:.*,)?addr.port=([0-9]{1,5})(?=,|$)'),
    re.compile('"port": *"([0-9]{1,5})"')]
# Characters of a value of QEMU's.
LONGEST = 4096
# What only the monitor knows: "display-update" can move a VNC display.
QUESTIONS: 'list[Command]' = [('query-vnc-servers', {}), ('query-spice', {})]
MALFORMED = UserError('malformed answer of QEMU', '', 'no-qemu-answer')


class Console:
    """
    A console: display ('spice', 'vnc' or 'websocket'), name (str: of a VNC
    display), address (str) and port (int), None where it does not listen at
    one, socket (str: of the UNIX socket that it listens at, or None), tls
    (bool), credentials (str: the name of VNC's, or None), and peer (str: to
    which QEMU itself connects, or None).
    """

    def __init__(self, given: qemu_process.Given,
                 listener: 'listeners.Listener | None' = None) -> None:
        self.display: documents.ConsoleDisplay = given.display
        self.name: str = given.name
        self.address = listener and listener.address
        self.port = listener and listener.port
        self.socket = given.socket
        self.tls = given.tls
        self.credentials = given.credentials
        self.peer = given.peer

    @property
    def place(self) -> str:
        """Where it listens, as text."""
        if self.port:
            return 'port %d' % self.port
        if self.socket is not None:
            return 'UNIX socket %s' % self.socket
        if self.peer is not None:
            return 'connection to %s' % self.peer
        return 'no listener'

    @property
    def reachable_address(self) -> str:
        """Where a client on this host finds it."""
        return LOOPBACKS.get(self.address or '', self.address or '')


class Consoles:
    """
    What a qemu_process.Emulator listens on: consoles (list of Console),
    others (list of (listeners.Listener, what it is)), and unclear (list of
    listeners.Listener), which its arguments do not explain; resolve() sorts
    them into the first two.
    """

    def __init__(self, emulator: qemu_process.Emulator,
                 found: 'list[listeners.Listener]') -> None:
        self.consoles: list[Console] = []
        self.others: list[tuple[listeners.Listener, str]] = []
        self.unclear: list[listeners.Listener] = []
        self._given = emulator.consoles
        named = _named(emulator)
        for listener in found:
            given = _choose(emulator.consoles, listener)
            if given:
                self.consoles.append(Console(given, listener))
            elif listener.port in named:
                self.others.append((listener, named[listener.port]))
            else:
                self.unclear.append(listener)
        self.consoles.extend(
            Console(given) for given in emulator.consoles
            if not given.port)
        # More than one listens where it may choose its port.
        if len(self.consoles) > qemu_process.MOST_CONSOLES:
            raise UserError('its emulator has more than %d consoles'
                            % qemu_process.MOST_CONSOLES, '',
                            'too-many-consoles')
        self._sort()

    def set_aside(self, what: str) -> None:
        """Count the unclear among the others."""
        self.others.extend((listener, what) for listener in self.unclear)
        self.unclear = []

    def _sort(self) -> None:
        self.consoles.sort(key=lambda console: (
            DISPLAYS.index(console.display), console.port or 0))

    def resolve(self, vnc_servers: 'Any', spice: 'Any') -> None:
        """
        Sort the unclear by what QEMU returned to QUESTIONS. Raises UserError
        where that is malformed.
        """
        try:
            # A QEMU without VNC, or without SPICE, lacks the command.
            told = [*([] if isinstance(vnc_servers, UserError) else
                      _told_vnc(vnc_servers)),
                    *([] if isinstance(spice, UserError) else
                      _told_spice(spice))]
        except (AttributeError, KeyError, TypeError, ValueError):
            raise MALFORMED
        for listener in self.unclear:
            known = _choose(told, listener)
            if known is None:
                self.others.append((listener, 'no console'))
                continue
            same = next((given for given in self._given
                         if given.name == known.name
                         and given.display != 'spice'), None)
            if known.display != 'spice' and same:
                known = known._replace(
                    credentials=same.credentials,
                    tls=known.tls or (known.display == 'websocket'
                                      and same.tls))
            self.consoles.append(Console(known, listener))
        self.unclear = []
        self._sort()


class RunningVM:
    """
    A domains.VM, its emulator and its consoles: emulator
    (qemu_process.Emulator) and consoles (Consoles), None where problem
    (UserError) says why; and priorities ({name of VNC credentials: (value or
    None, whether QEMU reported it)}), with note (UserError): why QEMU could
    not be queried.
    """

    def __init__(self, vm: domains.VM,
                 table: listeners.Listeners) -> None:
        self.vm = vm
        self.emulator: qemu_process.Emulator | None = None
        self.consoles: Consoles | None = None
        self.priorities: dict[str, tuple[str | None, bool]] = {}
        self.problem: UserError | None = None
        self.note: UserError | None = None
        self._credentials: list[str] = []
        try:
            emulator = qemu_process.Emulator(vm)
            self.consoles = Consoles(emulator, table.find(emulator.pid))
            self.emulator = emulator
            self.priorities = {
                name: (emulator.priorities.get(name), False)
                for name in emulator.credentials}
        except UserError as problem:
            self.problem = problem

    def questions(self, connection: 'libvirt.virConnect',
                  priorities: bool) -> 'list[Command]':
        """
        Return what QEMU is to be asked (list of Command), maybe about
        priorities as well. That marks a VM as tainted, once: one that
        requests nothing, and whose QEMU cannot have been changed, is spared.
        """
        if self.emulator is None or self.consoles is None:
            return []
        found: list[Command] = []
        if priorities and self.emulator.credentials and (
                'priority' in self.vm.requested_now
                or any(value for value, _ in self.priorities.values())
                or self.emulator.has_other_monitor
                or domains.is_tainted(connection, self.vm)):
            self._credentials = self.emulator.credentials
            found = [('qom-get', {'path': '/objects/' + name,
                                  'property': 'priority'})
                     for name in self._credentials]
        if self.consoles.unclear and domains.arrives(connection,
                                                     self.vm):
            # libvirt takes no queries before the VM has arrived.
            self.consoles.set_aside(OTHERS['incoming'])
        if self.consoles.unclear and (
                self.vm.requested_now or self.vm.wanted
                or not priorities):
            found += QUESTIONS
        return found

    @property
    def host_priority(self) -> 'str | None':
        """
        The priority that all its VNC consoles have from this host's libvirt,
        or None. It has precedence over the host's default of this package.
        """
        if domains.LIVE_KEY in self.vm.pending:
            return None  # What was applied has precedence over all.
        known = domains.host_priority()
        configured = {value for value, _ in self.priorities.values()}
        return known if known and configured == {known} else None

    def take(self, answers: qemu_monitor.Answers) -> None:
        """Take the answers of QEMU to the questions()."""
        self.note = answers.problem
        values = answers.values
        for name, value in zip(self._credentials, values):
            if isinstance(value, UserError):
                self.note = value
            elif not isinstance(value, str) or len(value) > LONGEST:
                self.note = MALFORMED
            elif (value == domains.default_priority()
                  and not self.priorities[name][0]
                  and domains.LIVE_KEY not in self.vm.requested_now):
                # By name, where something else was taken back.
                self.priorities[name] = None, True
            else:
                self.priorities[name] = value or None, True
        values = values[len(self._credentials):]
        if len(values) == len(QUESTIONS) and self.consoles:
            try:
                self.consoles.resolve(*values)
            except UserError as problem:
                self.note = problem


def ask(running_vms: 'list[RunningVM]', connection: 'libvirt.virConnect',
        priorities: bool) -> 'qemu_monitor.Monitor | None':
    """
    Begin to query the QEMUs of VMs about what their arguments do not explain,
    and maybe about the priorities of VNC; return None where nothing is open.
    """
    questions = {}
    # Those that cannot answer come last: they keep no other waiting.
    for running in sorted(running_vms, key=lambda running: bool(
            running.emulator and running.emulator.is_stopped)):
        commands = running.questions(connection, priorities)
        if commands:
            questions[running.vm.uuid] = commands
    return qemu_monitor.Monitor(questions) if questions else None


def hear(running_vms: 'list[RunningVM]',
         asked: 'qemu_monitor.Monitor | None') -> None:
    """Wait for the answers to ask(), and give them to the VMs."""
    answers = asked.wait() if asked else {}
    for running in running_vms:
        if running.vm.uuid in answers:
            running.take(answers[running.vm.uuid])


def _choose(known: 'list[qemu_process.Given]',
            listener: 'listeners.Listener') -> 'qemu_process.Given | None':
    """Return the console that listens there, or None."""
    fitting = [given for given in known
               if given.port and given.port <= listener.port <= given.last
               and _is_at(given.host, listener.address)]
    exact = [given for given in fitting if given.port == listener.port]
    return next(iter(exact or fitting), None)


def _is_at(host: str, address: str) -> bool:
    """Tell whether an address is that of a host in the arguments."""
    try:
        return ipaddress.ip_address(host) == ipaddress.ip_address(address)
    except ValueError:
        return True  # A name, or any address.


def _named(emulator: qemu_process.Emulator) -> 'dict[int, str]':
    """Return {port: what it is} of the ports in other options."""
    found = {}
    for name, value, _ in emulator.options:
        if name == 's':
            found[GDB] = OTHERS['gdb']
        elif name in OTHERS and value:
            # A doubled comma stands within a value.
            text = value.replace(',,', ' ')
            what = OTHERS[name]
            patterns = list(LISTENING.get(
                'network' if what == 'network' else name, []))
            if SERVER.search(text) or text.startswith('telnet:'):
                patterns += SERVING
            found.update((int(number), what) for pattern in patterns
                         for number in pattern.findall(text))
    return found


def _told_vnc(servers: 'Any') -> 'list[qemu_process.Given]':
    told = []
    for display in servers:
        for server in display['server']:
            if server['family'] == 'unix':
                continue
            number = qemu_process.number_of(str(server['service']))
            told.append(qemu_process.Given(
                'websocket' if server.get('websocket') else 'vnc',
                str(display['id']), str(server['host']), number, number, None,
                server.get('auth') == 'vencrypt', None, None))
    return told


def _told_spice(spice: 'Any') -> 'list[qemu_process.Given]':
    told = []
    for key in 'tls-port', 'port':
        number = qemu_process.number_of(str(spice.get(key)))
        if number:
            told.append(qemu_process.Given(
                'spice', '', str(spice.get('host', '')), number, number, None,
                key == 'tls-port', None, None))
    return told
