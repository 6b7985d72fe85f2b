# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""
Asks the engine for its VMs, their consoles, and its hosts, by its REST API,
version 4, with oVirt's own SDK. Nothing is changed there.
"""

import itertools
import os
import re
import sys
import time

import tlsciphers_domain
from tlsciphers_values import PROPERTIES

from vdsm_tlsciphers import UserError
from vdsm_tlsciphers.output import TIME, clean, count

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Any

    from vdsm_tlsciphers import documents

# Where the engine's CA is on the machine of the engine.
ENGINE_CA = '/etc/pki/ovirt-engine/ca.pem'
CA_ADDRESS = ('https://%s/ovirt-engine/services/pki-resource?resource='
              'ca-certificate&format=X509-PEM-CA')
# VMs of an answer, and seconds for one.
PAGE = 500
TIMEOUT = 300
# Requests about single VMs at the same time.
AT_ONCE = 8
# Errors of libcurl: what it cannot verify, and a CA file that is none.
UNVERIFIED = (35, 51, 58, 60, 77, 83)
TIMED_OUT = 28
# Addresses that are no place.
UNSPECIFIED = ('', '0.0.0.0', '::')  # nosec B104 # no bind
# Where a VM has no QEMU.
DOWN = ('down', 'suspended', 'image_locked')
# The engine's own VM, whose properties it locks.
HOSTED_ENGINE = ('hosted_engine', 'managed_hosted_engine')
FLAGS = 'extra_cpu_flags'
DEFINITIONS = 'UserDefinedVMProperties'
HOOK = ('before_vm_start', '50_emulator')


class Cluster:
    """A cluster: name (str), level (tuple of int, or None)."""

    def __init__(self, name: str, level: 'tuple[int, int] | None') -> None:
        self.name = name
        self.level = level


class Host:
    """
    A host: name, uuid, address, status (str), cluster (Cluster), hook (bool:
    it has a hook with the name of ours).
    """

    def __init__(self, found: 'Any', cluster: Cluster) -> None:
        self.name: str = found.name or found.id
        self.uuid: str = found.id
        self.address: str = found.address or self.name
        self.status: str = _text(found.status)
        self.cluster = cluster
        self.hook = any((each.event_name, each.name) == HOOK
                        for each in found.hooks or ())


class Port:
    """Of a console: display, address (str), port (int), plaintext (bool)."""

    def __init__(self, display: 'documents.ScannedDisplay', address: str,
                 port: int, plaintext: bool = False) -> None:
        self.display = display
        self.address = address
        self.port = port
        self.plaintext = plaintext


class VM:
    """
    A VM that runs: name, uuid, status (str), cluster (Cluster), host (Host,
    None where unknown), started (str as in TIME, or None), level (cluster
    level, tuple of int or None), ports (list of Port), properties (dict
    of str: those of PROPERTIES and FLAGS), next_run (the same of the next
    start, None where nothing waits), is_hosted_engine (bool), displays (set of
    str, 'spice' and 'vnc': all its types of consoles).
    """

    def __init__(self, found: 'Any', cluster: Cluster,
                 host: 'Host | None') -> None:
        self.name: str = found.name or found.id
        self.uuid: str = found.id
        self.status: str = _text(found.status)
        self.cluster = cluster
        self.host = host
        self.started = found.start_time and time.strftime(
            TIME, found.start_time.utctimetuple())
        self.level = _level(
            found.custom_compatibility_version) or cluster.level
        self.properties = _properties(found)
        self.next_run: dict[str, str] | None = None
        self.is_hosted_engine = _text(found.origin) in HOSTED_ENGINE
        self.displays: set[documents.ScannedDisplay] = set()
        self.ports: list[Port] = []
        self.add_consoles(found.graphics_consoles or ())

    def add_consoles(self, found: 'Iterable[Any]') -> None:
        """Read what the engine says of its consoles."""
        for each in found:
            display: documents.ScannedDisplay = (
                'spice' if _text(each.protocol) == 'spice' else 'vnc')
            self.displays.add(display)
            address = each.address or ''
            if address in UNSPECIFIED:
                address = self.host.address if self.host else ''
            for port, plaintext in ((each.tls_port, False),
                                    (each.port, display == 'spice')):
                if address and port and 0 < port < 65536:
                    self.ports.append(Port(display, address, port, plaintext))

    @property
    def without_port(self) -> 'list[documents.ScannedDisplay]':
        """Those of its displays for which the engine names no port."""
        return sorted(self.displays.difference(
            port.display for port in self.ports))

    @property
    def place(self) -> object:
        """Where its consoles are, and since when; equal where unchanged."""
        return (self.host and self.host.uuid, self.started, sorted(
            (port.display, port.address, port.port) for port in self.ports))

    @property
    def waiting(self) -> 'dict[str, str | None]':
        """
        Those properties (dict of str) that the next start changes; None: it
        removes one.
        """
        if self.next_run is None:
            return {}
        return {name: self.next_run.get(name)
                for name in (*PROPERTIES, FLAGS)
                if _wanted(name, self.next_run.get(name, ''))
                != _wanted(name, self.properties.get(name, ''))}

    @property
    def has_guard(self) -> bool:
        """Whether it has the guard, by its property."""
        return bool(tlsciphers_domain.has_guard(
            self.properties.get(FLAGS, '')))


class DataCenter:
    """
    What the engine knows: url (str), hosts (list of Host), vms (list of VM:
    those that run), down (int: how many do not), definitions ({cluster level:
    set of str: the custom properties of VMs}, None where unknown).
    """

    def __init__(self, url: str, hosts: 'list[Host]', vms: 'list[VM]',
                 down: int, definitions: 'dict[tuple[int, int], set[str]] | '
                 'None') -> None:
        self.url = url
        self.hosts = hosts
        self.vms = vms
        self.down = down
        self.definitions = definitions


def _text(value: object) -> str:
    """Return a member of one of the SDK's enumerations as the API has it."""
    return str(getattr(value, 'value', value) or '')


def _level(version: 'Any') -> 'tuple[int, int] | None':
    if version is None or version.major is None:
        return None
    return int(version.major), int(version.minor or 0)


def _properties(found: 'Any') -> 'dict[str, str]':
    return {each.name: each.value or ''
            for each in found.custom_properties or ()
            if each.name in PROPERTIES or each.name == FLAGS}


def _wanted(name: str, value: str) -> object:
    """Return what counts of a property, whatever its spelling."""
    if name == FLAGS:
        return tlsciphers_domain.has_guard(value)
    return value.strip()


def address_of(url: str) -> str:
    """
    Return the address of the API of an engine, of which its host's name is
    enough. Raises UserError.
    """
    given = url or os.environ.get('OVIRT_URL', '')
    if not given:
        raise UserError('--engine: no address', 'give one, as in '
                        'https://engine.example.com/ovirt-engine/api, or set '
                        'OVIRT_URL', 'engine-address')
    found = re.match(r'(?:(https?)://)?([^/@?#\s]+)(/[^?#\s]*)?$', given)
    if found is None or found.group(1) == 'http' or '@' in given:
        # It may hold a password.
        shown = clean(re.sub('//.*@', '//...@', given), 100)
        raise UserError('--engine %s: not the https:// address of an engine'
                        % shown, 'give one as in '
                        'https://engine.example.com/ovirt-engine/api',
                        'engine-address')
    path = (found.group(3) or '').rstrip('/')
    if path in ('', '/ovirt-engine'):
        path = '/ovirt-engine/api'
    return 'https://%s%s' % (found.group(2), path)


def _from_environment(name: str) -> str:
    value = os.environ.get(name, '')
    if not value and name == 'OVIRT_PASSWORD' and sys.stdin.isatty():
        import getpass
        try:
            value = getpass.getpass('Password of %s: ' % clean(
                os.environ['OVIRT_USERNAME'], 100))
        except EOFError:
            value = ''
    if not value:
        raise UserError('%s is not set' % name, 'export OVIRT_USERNAME (with '
                        'its profile, as in admin@internal) and '
                        'OVIRT_PASSWORD', 'engine-login')
    return value


class Engine:
    """A connection to an engine, to be closed."""

    def __init__(self, url: str) -> None:
        """
        Connect to an engine (str: its address, '' for that of OVIRT_URL) as
        OVIRT_USERNAME, OVIRT_PASSWORD and OVIRT_CAFILE of the environment say.
        Raises UserError.
        """
        self._clusters: dict[str, Cluster] = {}
        self._hosts: dict[str, Host] = {}
        self.url = address_of(url)
        try:
            import ovirtsdk4
            from ovirtsdk4 import services
        except ImportError as error:
            raise UserError('ovirtsdk4, which --engine needs, cannot be '
                            'imported: %s' % error, 'install '
                            'python3-ovirt-engine-sdk4 (dnf) or '
                            'ovirt-engine-sdk-python (pip)', 'no-sdk')
        self._sdk = ovirtsdk4
        authority = os.environ.get('OVIRT_CAFILE') or None
        if authority is None and os.path.exists(ENGINE_CA):
            authority = ENGINE_CA
        if authority and not os.access(authority, os.R_OK):
            raise UserError('%s: this CA file cannot be read' % clean(
                authority), 'set OVIRT_CAFILE to a file with what %s has' % (
                    CA_ADDRESS % self._name), 'engine-ca')
        self._connection: Any = ovirtsdk4.Connection(
            self.url, _from_environment('OVIRT_USERNAME'),
            _from_environment('OVIRT_PASSWORD'), ca_file=authority,
            timeout=TIMEOUT, connections=AT_ONCE)
        # Not system_service(), which imports in the middle of a request.
        self._system: Any = services.SystemService(self._connection, '')

    @property
    def _name(self) -> str:
        return self.url.split('/')[2]

    def close(self) -> None:
        """Log out, if need be."""
        try:
            self._connection.close()
        except Exception:  # noqa: BLE001 # nosec B110 # all is known by now
            pass

    def _ask(self, question: 'Callable[[], Any]') -> 'Any':
        """Return an answer of the SDK. Raises UserError."""
        import pycurl
        try:
            return question()
        except self._sdk.AuthError as error:
            raise UserError('engine %s: login rejected: %s' % (
                self._name, clean(str(error), 200)), 'check OVIRT_USERNAME '
                '(with its profile, as in admin@internal) and OVIRT_PASSWORD',
                'engine-login')
        except (self._sdk.Error, pycurl.error, ValueError) as error:
            raise self._problem(error)

    def _problem(self, error: Exception) -> UserError:
        cause: Any = error
        while cause.__context__ is not None and not _curl_code(cause):
            cause = cause.__context__
        number = _curl_code(cause)
        if number in UNVERIFIED:
            return UserError(
                'engine %s: its certificate cannot be verified: %s' % (
                    self._name, clean(str(cause.args[-1]), 200)),
                'set OVIRT_CAFILE to a file with its CA (%s), and give the '
                'name that the certificate has' % (CA_ADDRESS % self._name),
                'engine-ca')
        if number == TIMED_OUT:
            return UserError('engine %s: no answer within %d seconds' % (
                self._name, TIMEOUT), 'try again, or ask for fewer VMs with '
                '--search', 'engine-timeout')
        if number or isinstance(error, ValueError):
            return UserError('engine %s: cannot be reached: %s' % (
                self._name, clean(str(cause.args[-1]), 200)),
                'check the address, and the firewalls on the way',
                'engine-unreachable')
        if getattr(error, 'code', None) == 404 or 'content type' in str(error):
            return UserError('%s: not the API of an engine' % self.url, 'give '
                             'the name of the engine alone',
                             'engine-address')
        return UserError('engine %s: %s' % (self._name, clean(
            str(error).replace('\n', ' '), 300)), 'check --search in the '
            'engine (Compute > Virtual Machines) and the roles of this user',
            'engine-error')

    def read(self, search: str,
             progress: 'Callable[[str], None]') -> DataCenter:
        """
        Return the DataCenter with the VMs that the engine finds with a search
        (str, '' for all), and all its hosts. Raises UserError.
        """
        self._clusters = {
            each.id: Cluster(each.name or each.id, _level(each.version))
            for each in self._ask(self._system.clusters_service().list)}
        self._hosts = {
            each.id: Host(each, self._cluster(each))
            for each in self._ask(lambda: self._system.hosts_service().list(
                follow='hooks'))}
        vms, changed, down = self._running(search, progress)
        for vm, found in self._of_each(changed, lambda vm: self._service(
                vm).get(next_run=True, wait=False)):
            vm.next_run = _properties(found)
        return DataCenter(self.url, list(self._hosts.values()), vms, down,
                          self._find_definitions())

    def read_again(self, search: str,
                   progress: 'Callable[[str], None]') -> 'list[VM]':
        """Return the VMs that run by now, after read(). Raises UserError."""
        return self._running(search, progress)[0]

    def _running(self, search: str, progress: 'Callable[[str], None]') -> (
            'tuple[list[VM], list[VM], int]'):
        """
        Return the VMs that run, those of them that change with their next
        start, and how many do not run.
        """
        vms: list[VM] = []
        changed: list[VM] = []
        down = 0
        for each in self._find_vms(search):
            if _text(each.status) in DOWN:
                down += 1
                continue
            vms.append(VM(each, self._cluster(each), self._hosts.get(
                each.host.id) if each.host else None))
            if each.next_run_configuration_exists:
                changed.append(vms[-1])
            progress(count(len(vms), 'VM'))
        # A VM that is just starting has no ports, and one without consoles
        # looks the same.
        incomplete = [vm for vm in vms if vm.without_port or not vm.displays]
        for current in True, False:
            for vm, found in self._of_each(incomplete, lambda vm: (
                    self._service(vm).graphics_consoles_service().list(
                        current=current, wait=False))):  # noqa: B023 (asked at once)
                if current:
                    vm.ports.clear()
                vm.add_consoles(found)
        return vms, changed, down

    def _service(self, vm: VM) -> 'Any':
        return self._system.vms_service().vm_service(vm.uuid)

    def _cluster(self, found: 'Any') -> Cluster:
        uuid = found.cluster.id if found.cluster else ''
        return self._clusters.setdefault(uuid, Cluster(uuid or '-', None))

    def _find_vms(self, search: str) -> 'Iterator[Any]':
        """Yield the SDK's VMs, of one page after the other."""
        order = '' if re.search(r'\bsortby\b', search, re.IGNORECASE) else (
            ' sortby name asc')
        seen: set[str] = set()
        # An engine may have smaller pages: the end is where nothing is new.
        for number in itertools.count(1):
            page = '%s%s page %d' % (search, order, number)
            # "current" is what gives followed consoles their ports.
            found = self._ask(lambda: self._system.vms_service().list(
                search=page.strip(), max=PAGE, follow='graphics_consoles',  # noqa: B023 (asked at once)
                query={'current': 'true'}))
            new = [vm for vm in found if vm.id not in seen]
            if not new:
                return
            seen.update(vm.id for vm in new)
            yield from new

    def _of_each(self, vms: 'list[VM]', question: 'Callable[[VM], Any]') -> (
            'Iterator[tuple[VM, Any]]'):
        """Yield VMs and the answers to a question, several at a time."""
        for begin in range(0, len(vms), AT_ONCE):
            some = vms[begin:begin + AT_ONCE]
            futures = [self._ask(lambda: question(vm)) for vm in some]  # noqa: B023 (asked at once)
            for vm, future in zip(some, futures):
                answer = self._ask(lambda: self._unless_gone(future.wait))  # noqa: B023 (asked at once)
                if answer is not None:
                    yield vm, answer

    def _unless_gone(self, question: 'Callable[[], Any]') -> 'Any':
        """Return an answer, or None where the VM was removed meanwhile."""
        try:
            return question()
        except self._sdk.NotFoundError:
            return None

    def _find_definitions(self) -> (
            'dict[tuple[int, int], set[str]] | None'):
        try:
            option = self._ask(self._system.options_service().option_service(
                DEFINITIONS).get)
        except UserError as problem:
            if problem.code not in ('engine-error', 'engine-login'):
                raise
            return None
        found = {}
        for each in option.values or ():
            level = re.match(r'(\d+)\.(\d+)$', each.version or '')
            if level:
                found[int(level.group(1)), int(level.group(2))] = {
                    definition.partition('=')[0].strip()
                    for definition in (each.value or '').split(';')}
        return found or None


def _curl_code(error: 'Any') -> int:
    """Return the number of an error of libcurl, 0 for others."""
    import pycurl
    if isinstance(error, pycurl.error) and error.args:
        return int(error.args[0])
    return 0
