# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""The VMs of this host, by libvirt and their domain XML."""

import collections
import functools
import re
from xml.dom import minidom  # nosec B408 # see where it is used
from xml.parsers import expat

import tlsciphers_config
import tlsciphers_domain
import tlsciphers_monitor
import tlsciphers_values

from vdsm_tlsciphers import UserError, files
from vdsm_tlsciphers.host import qemu_conf
from vdsm_tlsciphers.output import clean

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import NamedTuple

    import libvirt

    from vdsm_tlsciphers import documents

OVIRT_VM = 'http://ovirt.org/vm/1.0'
# The engine's own property, which may hold the guard, and the first cluster
# level for which it writes CPU features from it.
FLAGS = 'extra_cpu_flags'
GUARD_LEVEL = (4, 6)
LOG = '/var/log/libvirt/qemu/%s.log'
# The key of a policy that QEMU can change while it runs.
LIVE_KEY = 'priority'
# Bytes that are read of it, from its end.
LONGEST_LOG = 4 << 20
OS_RELEASE = '/etc/os-release'
# What QEMU has for VNC, in EL and Fedora, and elsewhere.
DEFAULT_OF_EL = '@QEMU,SYSTEM'
DEFAULT = 'NORMAL'
ALL_OF_IPV4 = '0.0.0.0'  # nosec B104 # no bind

if TYPE_CHECKING:
    class Console(NamedTuple):
        """A port that listens, where it can be reached from this host."""

        display: documents.ScannedDisplay
        address: str
        port: int

    class Setting(NamedTuple):
        """A value of a policy: a requirement, or a default."""

        value: str
        required: bool
else:
    Console = collections.namedtuple('Console', 'display address port')
    Setting = collections.namedtuple('Setting', 'value required')


def settings_of(pairs: 'list[tuple[str, str]]') -> 'dict[str, Setting]':
    """Return {key: Setting} of pairs of an option and its 'KEY=VALUE'."""
    found = {}
    for option, setting in pairs:
        key, _, value = setting.partition('=')
        found[key] = Setting(value, option == tlsciphers_values.REQUIREMENT)
    return found


class VM:
    """
    A VM: name, uuid (str), document (xml.dom.minidom.Document), displays
    (frozenset: its types of graphics), consoles (list of Console: those that
    listen and can have TLS), unencrypted (list of Console: SPICE ports that
    cannot), properties (dict: the custom properties of the engine that are
    ours, which vdsm keeps in the metadata), wanted (dict: those of them that
    request a policy), flags (str: its property extra_cpu_flags, None where
    there is no metadata of oVirt), cluster_level (tuple of int, or None),
    policy ({key of tlsciphers_values.KEYS: Setting}: that of its start),
    pending (the same: one that was applied while it runs, see live/),
    marked_process (str: the identity of the emulator that it was applied to),
    mark_problem (UserError: why its mark is none of ours, or None),
    of_file (bool: its host is unknown), runs (bool).
    """

    def __init__(self, xml: 'str | bytes', of_file: bool = False) -> None:
        """
        Read a domain XML (str or bytes). Raises UserError where it is not
        one, or one that the hook would refuse.
        """
        try:
            check_bounds(xml)
            # libvirt wrote it, or the caller has chosen the file.
            self.document = minidom.parseString(xml)  # nosec B318
            self.displays: frozenset[str] = tlsciphers_domain.displays(
                self.document)
        except (expat.ExpatError, LookupError, UnicodeError,
                ValueError) as error:
            # An unknown encoding is a LookupError or a ValueError.
            raise UserError('the domain XML is not well-formed: '
                            + clean(str(error), 100), DUMPXML,
                            'xml-malformed')
        except tlsciphers_values.Refused as refusal:
            raise UserError.of(refusal)
        domain = self.document.documentElement
        if domain is None or domain.tagName != 'domain':
            raise UserError('not a domain XML: it begins with <%s>' % (
                domain and clean(domain.tagName, 60)), DUMPXML,
                'xml-no-domain')
        self.of_file = of_file
        self.runs = not of_file and domain.hasAttribute('id')
        self.name = child_text(domain, 'name')
        self.uuid = child_text(domain, 'uuid')
        self.consoles = self._find_consoles(PORTS)
        self.unencrypted = self._find_consoles(UNENCRYPTED_PORTS)
        found = self._find_properties()
        self.flags = None if found is None else found.pop(FLAGS, '')
        self.properties: dict[str, str] = found or {}
        self.cluster_level = self._find_cluster_level()
        self.wanted = {
            name: value for name, value in self.properties.items()
            if value.strip() and (name, value.strip()) != (
                'tlsprofile', tlsciphers_config.NO_PROFILE)}
        self.policy = settings_of(tlsciphers_domain.read_policy(
            self.document))
        self.pending = settings_of(tlsciphers_domain.read_pending(
            self.document))
        self.mark_problem = self._check_mark()
        self.marked_process = next((
            mark.getAttribute('process')
            for mark in tlsciphers_domain.marks(self.document)), '')

    def _check_mark(self) -> 'UserError | None':
        try:
            if self.is_marked:
                tlsciphers_domain.check_pending(
                    tlsciphers_domain.read_pending(self.document))
        except tlsciphers_values.Refused as refusal:
            return UserError.of(refusal)
        return None

    @property
    def is_marked(self) -> bool:
        """Whether it has a mark, be there anything in it or not."""
        return bool(tlsciphers_domain.marks(self.document))

    @property
    def emulator(self) -> str:
        """The path of the emulator that the domain XML names, or ''."""
        return next((text_of(emulator).strip()
                     for devices in _devices(self.document)
                     for emulator in children(devices, 'emulator')), '')

    @property
    def requested(self) -> 'dict[str, Setting]':
        """
        Its policy as an administrator wants it: that of its start, with what
        is pending in its place.
        """
        pairs: list[tuple[str, str]] = tlsciphers_domain.with_pending(
            tlsciphers_domain.read_policy(self.document),
            tlsciphers_domain.read_pending(self.document))
        return settings_of(pairs)

    @property
    def requested_now(self) -> 'dict[str, Setting]':
        """
        Its policy as it should be effective now: that of its start, and of
        what is pending that which needs no start.
        """
        return {**self.policy, **{key: setting for key, setting
                                  in self.pending.items() if key == LIVE_KEY}}

    @property
    def can_have_guard(self) -> bool:
        """Whether the engine writes a guard for its cluster level."""
        return self.cluster_level is None or self.cluster_level >= GUARD_LEVEL

    @property
    def guard_requested(self) -> 'bool | None':
        """Whether it has or requests the guard; None where unknown."""
        if self.flags is not None and tlsciphers_domain.has_guard(self.flags):
            return True
        return self.guard

    @property
    def guard(self) -> 'bool | None':
        """Whether it has the guard; None where unknown."""
        try:
            if tlsciphers_domain.check_guard(self.document, COVERED):
                return True
        except tlsciphers_values.Refused:
            return True  # Only a guard that is there is refused.
        return None if self.flags is None else (
            self.can_have_guard and tlsciphers_domain.has_guard(self.flags))

    def _find_properties(self) -> 'dict[str, str] | None':
        """Return those in oVirt's metadata, None where there is none."""
        found: dict[str, str] | None = None
        for vm in self.document.getElementsByTagNameNS(OVIRT_VM, 'vm'):
            found = found or {}
            # Devices have some as well.
            for custom in children(vm, 'custom'):
                for node in custom.childNodes:
                    if node.localName in (*tlsciphers_values.PROPERTIES,
                                          FLAGS):
                        found[node.localName] = text_of(node)
        return found

    def _find_cluster_level(self) -> 'tuple[int, ...] | None':
        for vm in self.document.getElementsByTagNameNS(OVIRT_VM, 'vm'):
            for node in children(vm, 'clusterVersion'):
                if re.match(r'[0-9]{1,3}\.[0-9]{1,3}\Z', text_of(node)):
                    return tuple(map(int, text_of(node).split('.')))
        return None

    def at_start(self, flags: 'str | None') -> minidom.Document:
        """
        Return its domain XML as the engine writes it for the next start with
        flags (str) as extra_cpu_flags; None where they are unknown: a running
        VM does not have the guard any more.
        """
        if flags is None:
            return self.document
        document = with_guard(self.document,
                              flags if self.can_have_guard else '')
        # Without the policy that the hook set for the last start.
        for argument in list(document.getElementsByTagNameNS(
                tlsciphers_domain.QEMU_NAMESPACE, 'arg')):
            if argument.getAttribute('value') in (
                    tlsciphers_values.REQUIREMENT,
                    tlsciphers_values.BEST_EFFORT):
                tlsciphers_domain.remove([argument])
        return document

    def _find_consoles(self, ports: 'Ports') -> 'list[Console]':
        consoles = []
        for graphics in tlsciphers_domain.graphics(self.document):
            address = graphics.getAttribute('listen')
            for listen in graphics.getElementsByTagName('listen'):
                address = listen.getAttribute('address') or address
            # An address for all can be reached through the loopback.
            address = {'': '127.0.0.1', ALL_OF_IPV4: '127.0.0.1',
                       '::': '::1'}.get(address, address)
            for display, attribute in ports.get(
                    graphics.getAttribute('type'), ()):
                port = graphics.getAttribute(attribute)
                if re.match('[1-9][0-9]{0,4}$', port):
                    consoles.append(Console(display, address, int(port)))
        return consoles


@functools.lru_cache(maxsize=None)
def host_priority() -> 'str | None':
    """
    Return the priority of VNC consoles in the configuration of this host's
    libvirt (11.6 and later), None where it has none.
    """
    try:
        text = qemu_conf.read()
    except OSError:
        return None
    priority = qemu_conf.value(text, 'vnc_tls_priority')
    return priority if priority is not None else qemu_conf.value(
        text, 'default_tls_priority')


@functools.lru_cache(maxsize=None)
def default_priority() -> str:
    """
    Return what QEMU of this host takes for VNC where nothing sets a priority,
    by how it is built. It reads as empty, and an empty one written back would
    reject every client.
    """
    try:
        with open(OS_RELEASE) as lines:
            text = lines.read(65536)
    except (OSError, UnicodeDecodeError):
        text = ''
    is_el = re.search(r'(?m)^ID(_LIKE)?=.*\b(rhel|fedora|centos)\b', text)
    return DEFAULT_OF_EL if is_el else DEFAULT


DUMPXML = 'give what "virsh -r dumpxml NAME" prints'
# A domain XML has some 20 kB.
MOST_BYTES = 4 * 1024 * 1024
MOST_DEPTH = 100
# Elements and attributes.
MOST_NODES = 100 * 1000


def read_file(path: str) -> bytes:
    """Return a domain XML (bytes) that is in a file. Raises UserError."""
    return files.read_bounded(path, MOST_BYTES, DUMPXML)


def check_bounds(xml: 'str | bytes') -> None:
    """
    Refuse (UserError) what no domain XML has: elements that are nested too
    deep, too many of them, or entities, before a parser makes a tree of them.
    Raises what expat does.
    """
    depth = nodes = 0

    def start(_: str, attributes: 'dict[str, str]') -> None:
        nonlocal depth, nodes
        depth += 1
        nodes += 1 + len(attributes)
        if depth > MOST_DEPTH or nodes > MOST_NODES:
            raise UserError('the domain XML has ' + (
                'more than %d elements and attributes' % MOST_NODES
                if nodes > MOST_NODES else
                'elements nested more than %d deep' % MOST_DEPTH), DUMPXML,
                'xml-too-large')

    def end(_: str) -> None:
        nonlocal depth
        depth -= 1

    def doctype(*_: object) -> None:
        raise UserError('the domain XML has a document type declaration '
                        '(DOCTYPE), which libvirt never writes', 'remove it',
                        'xml-doctype')

    parser = expat.ParserCreate()
    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.StartDoctypeDeclHandler = doctype
    parser.Parse(xml, True)


def plaintext_ports(vm: VM) -> (
        'list[tuple[int | None, dict[str, str]]]'):
    """
    Return the ports without TLS of the SPICE consoles of a VM (None for one
    that libvirt will choose at its start), each with the modes of its channels
    ({name: mode}, '' for all others).
    """
    found = []
    for graphics in spice_graphics(vm.document):
        if listen_types(graphics) & {'none', 'socket'}:
            continue  # It listens at no port.
        modes = channel_modes(graphics)
        port = graphics.getAttribute('port')
        given = int(port) if re.match('[1-9][0-9]{0,4}$', port) else None
        # libvirt chooses one unless all channels are secure.
        chosen = (port == '-1' or graphics.getAttribute('autoport') == 'yes')
        if (given or chosen) and set(modes.values()) != {'secure'} and (
                modes[''] != 'secure' or 'insecure' in modes.values()):
            found.append((given, modes))
    return found


def listen_types(graphics: minidom.Element) -> 'set[str]':
    """Return the types of a console's <listen> elements."""
    return {listen.getAttribute('type')
            for listen in graphics.getElementsByTagName('listen')}


def channel_modes(graphics: minidom.Element) -> 'dict[str, str]':
    """Return {channel of SPICE, '' for all others: its mode}."""
    modes = {'': graphics.getAttribute('defaultMode') or 'any'}
    for channel in graphics.getElementsByTagName('channel'):
        modes[channel.getAttribute('name')] = channel.getAttribute('mode')
    return modes


def spice_graphics(
        document: minidom.Document) -> 'list[minidom.Element]':
    """Return the SPICE consoles of a domain XML."""
    return [graphics for graphics in tlsciphers_domain.graphics(document)
            if graphics.getAttribute('type') == 'spice']


def is_tainted(connection: 'libvirt.virConnect', vm: VM) -> bool:
    """
    Tell whether libvirt knows that the QEMU of a VM was queried, or changed,
    through its monitor.
    """
    import libvirt
    try:
        return any('monitor' in message for message in (
            connection.lookupByUUIDString(vm.uuid).messages(
                libvirt.VIR_DOMAIN_MESSAGE_TAINTING)))
    except AttributeError:
        return _log_says_tainted(vm)  # Before libvirt 7.1.
    except libvirt.libvirtError:
        return False  # It has just ended, or migrated away.


def arrives(connection: 'libvirt.virConnect', vm: VM) -> bool:
    """Tell whether a VM is still migrating to this host."""
    import libvirt
    try:
        return connection.lookupByUUIDString(vm.uuid).state() in (
            [libvirt.VIR_DOMAIN_PAUSED, libvirt.VIR_DOMAIN_PAUSED_MIGRATION],
            [libvirt.VIR_DOMAIN_PAUSED, libvirt.VIR_DOMAIN_PAUSED_STARTING_UP])
    except libvirt.libvirtError:
        return False  # It has just ended, or migrated away.


def _log_says_tainted(vm: VM) -> bool:
    try:
        with open(LOG % vm.name, 'rb') as log:
            log.seek(max(0, log.seek(0, 2) - LONGEST_LOG))
            return b'tainted: custom-monitor' in log.read(
                LONGEST_LOG).rpartition(b'starting up')[2]
    except OSError:
        return False


def with_guard(document: minidom.Document, flags: str) -> minidom.Document:
    """
    Return a domain XML with the CPU features that the engine writes for a
    guard in extra_cpu_flags (str), in place of any that it has.
    """
    document = document.cloneNode(True)  # type: ignore[assignment]
    domain = document.documentElement
    assert domain is not None  # nosec B101 # for mypy
    for cpu in domain.getElementsByTagName('cpu'):
        for feature in list(cpu.getElementsByTagName('feature')):
            if feature.getAttribute('name') == tlsciphers_domain.GUARD:
                tlsciphers_domain.remove([feature])
    for flag in flags.split(','):
        if tlsciphers_domain.has_guard(flag):
            feature = document.createElementNS(None, 'feature')
            feature.setAttribute('name', tlsciphers_domain.GUARD)
            if flag[:1] in POLICIES:
                feature.setAttribute('policy', POLICIES[flag[:1]])
            cpu = document.createElementNS(None, 'cpu')
            cpu.appendChild(feature)
            domain.appendChild(cpu)
    return document


def with_console(vm: 'VM | None',
                 display: 'documents.Display | None') -> VM:
    """
    Return a VM (None: any VM) with this display as its only one for
    SPICE or VNC, None for neither, as Run Once of the engine starts it.
    """
    document = vm.document if vm else minidom.parseString(
        '<domain><devices/></domain>')  # nosec B318 # a constant
    document = document.cloneNode(True)  # type: ignore[assignment]
    found = False
    for graphics in tlsciphers_domain.graphics(document):
        if graphics.getAttribute('type') == display:
            found = True
        elif graphics.getAttribute('type') in ('spice', 'vnc'):
            assert graphics.parentNode is not None  # nosec B101 # for mypy
            graphics.parentNode.removeChild(graphics)
    devices = _devices(document)
    if display and not found and devices:
        graphics = document.createElementNS(None, 'graphics')
        graphics.setAttribute('type', display)
        graphics.setAttribute('autoport', 'yes')
        devices[0].appendChild(graphics)
    return VM(document.toxml('utf-8'),
              vm is None or vm.of_file)


def _devices(document: minidom.Document) -> 'list[minidom.Element]':
    assert document.documentElement is not None  # nosec B101 # for mypy
    return children(document.documentElement, 'devices')


def text_of(element: minidom.Node) -> str:
    """Return an element's own text: not its comments, not its children's."""
    return ''.join(child.data for child in element.childNodes
                   if isinstance(child, minidom.Text))


def children(parent: minidom.Element, name: str) -> 'list[minidom.Element]':
    """Return an element's children of a local name."""
    return [node for node in parent.childNodes
            if isinstance(node, minidom.Element) and node.localName == name]


def child_text(element: minidom.Element, name: str) -> str:
    """Return the text of an element's first child of that name."""
    return next((text_of(child).strip() for child in element.childNodes
                 if child.nodeName == name), '')


# The policies of CPU features by the engine's signs.
POLICIES = {'+': 'require', '-': 'disable'}
# Settings for both consoles.
COVERED = [(tlsciphers_values.REQUIREMENT, 'ciphers='),
           (tlsciphers_values.REQUIREMENT, 'priority=')]
# {type of graphics: pairs of a display and the attribute that has its port}
if TYPE_CHECKING:
    Ports = dict[str, Sequence[tuple[documents.ScannedDisplay, str]]]
PORTS: 'Ports' = {
    'spice': (('spice', 'tlsPort'),),
    'vnc': (('vnc', 'port'), ('websocket', 'websocket'))}
UNENCRYPTED_PORTS: 'Ports' = {'spice': (('spice', 'port'),)}


def connect(writable: bool = False) -> 'libvirt.virConnect':
    """
    Return a libvirt connection to this host, read-only unless writable, which
    is needed to query QEMU. Raises UserError.
    """
    try:
        import libvirt
    except ImportError:
        raise UserError('the Python module libvirt is missing (oVirt hosts '
                        'have it)', 'install python3-libvirt',
                        'no-libvirt-module')
    # It prints each error otherwise.
    libvirt.registerErrorHandler(lambda *_: None, None)
    try:
        if not writable:
            return libvirt.openReadOnly(tlsciphers_monitor.URI)
        connection: libvirt.virConnect = tlsciphers_monitor.connect()
        return connection
    except libvirt.libvirtError as error:
        raise UserError('cannot connect to libvirt: %s' % error,
                        'run this as root on a host where libvirt runs',
                        'libvirt-unavailable')


def running(connection: 'libvirt.virConnect') -> 'list[VM]':
    """Return the VMs that run on this host, by name."""
    import libvirt
    vms = []
    for domain in connection.listAllDomains(
            libvirt.VIR_CONNECT_LIST_DOMAINS_ACTIVE):
        try:
            vms.append(VM(domain.XMLDesc()))
        except libvirt.libvirtError:
            continue  # It has just ended, or migrated away.
        except UserError as problem:
            raise UserError('%s: %s' % (domain.name(), problem.text),
                            problem.remedy, problem.code)
    return sorted(vms, key=lambda vm: vm.name)


def look_up(connection: 'libvirt.virConnect',
            name: str) -> 'tuple[VM, bool] | None':
    """Return the VM of that name or UUID and whether it runs, or None."""
    import libvirt
    for look in (connection.lookupByName, connection.lookupByUUIDString):
        try:
            domain = look(name)
            return VM(domain.XMLDesc()), bool(domain.isActive())
        except (libvirt.libvirtError, UnicodeEncodeError):
            continue
    return None


def find(connection: 'libvirt.virConnect', name: str) -> VM:
    """
    Return the VM (running or not) with that name or UUID. Raises
    UserError where there is none.
    """
    found = look_up(connection, name)
    if found is None:
        raise UserError(name + ': no VM of this host has this name or UUID',
                        '"virsh -r list --all" lists them', 'no-such-vm')
    return found[0]
