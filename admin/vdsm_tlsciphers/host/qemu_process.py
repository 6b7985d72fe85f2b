# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""
The arguments and environment of a running VM's emulator, from /proc. A guest
may control its emulator: what is read there is untrusted.
"""

import collections
import os
import re
import stat

from tlsciphers_values import Refused

from vdsm_tlsciphers import UserError
from vdsm_tlsciphers.host import wrapper

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import NamedTuple

    from vdsm_tlsciphers import documents
    from vdsm_tlsciphers.host.domains import VM

    # The parameters of an option: (key, text), as the wrapper splits them.
    Parameters = list[tuple[str, str]]

AGAIN = 'if the VM is just starting or ending, run this again'
BOOT_ID = '/proc/sys/kernel/random/boot_id'
PID_FILE = '/run/libvirt/qemu/%s.pid'
# More than a VM with hundreds of devices has.
LONGEST = 4 << 20
OPENSSL_CONF = re.compile('/proc/self/fd/([0-9]{1,9})$')
VERSIONS = ('TLSv1', 'TLSv1.1', 'TLSv1.2', 'TLSv1.3')
# A VM has two or three: more are hostile.
MOST_CONSOLES = 64
# The options that open a monitor, through which QEMU can be changed.
MONITORS = ('mon', 'monitor', 'qmp', 'qmp-pretty', 'gdb', 's')
# All channels there are, but for those of "-chardev spiceport". With the
# engine's settings they require TLS.
SECURED_CHANNELS = ('main', 'display', 'inputs', 'cursor', 'playback',
                    'record', 'smartcard', 'usbredir')

if TYPE_CHECKING:
    class Given(NamedTuple):
        """
        Where a console listens by the arguments: name (of a VNC display),
        host ('' for all addresses), the first and last port that it may use,
        or a UNIX socket. Without ports and socket it does not listen; peer is
        what it then connects to by itself, or None.
        """

        display: documents.ConsoleDisplay
        name: str
        host: str
        port: int
        last: int
        socket: str | None
        tls: bool
        credentials: str | None
        peer: str | None
else:
    Given = collections.namedtuple(
        'Given', 'display name host port last socket tls credentials peer')


class Emulator:
    """
    The emulator of a VM: pid (int), options (list of (name, value, given), as
    the wrapper parses them), spice (dict of str: the parameters of its -spice
    options, empty where there is none), channels ({channel of SPICE, or
    "default": whether it requires TLS}), openssl (dict of str: the settings
    that OpenSSL takes from the wrapper's file, None where there is none),
    priorities ({name of a credentials object: its priority, or None}), and
    consoles (list of Given).

    Raises UserError where it cannot be found, or its command line cannot be
    read.
    """

    def __init__(self, vm: 'VM') -> None:
        self.pid = find_pid(vm)
        arguments = [os.fsdecode(argument) for argument in read(
            self.pid, 'cmdline').split(b'\0')[1:-1]]
        try:
            self.options: list[tuple[str | None, str | None, list[str]]] = (
                wrapper.load().parse(arguments))
            spice = [pair for value in wrapper.load().spice_displays(
                self.options) for pair in wrapper.load().split_parameters(
                    'spice', value)]
            displays = wrapper.load().vnc_displays(self.options)
            self.priorities = dict(
                credentials(value) for name, value, _ in self.options
                if name == 'object' and value and 'tls-creds-x509' in value)
        except Refused as refusal:
            raise UserError('its command line cannot be read: '
                            + refusal.text, refusal.remedy, refusal.code)
        self.spice = plain(spice)
        self.channels = {
            value_of(text) or 'default': key == 'tls-channel'
            for key, text in spice if key in ('tls-channel',
                                              'plaintext-channel')}
        self.consoles = list(_spice_consoles(self.spice))
        names: list[str] = []
        for display in displays:
            self.consoles.extend(_vnc_consoles(display, names))
            if len(self.consoles) > MOST_CONSOLES:
                raise UserError('its command line has more than %d consoles'
                                % MOST_CONSOLES, '', 'too-many-consoles')
        self.openssl = self._read_openssl()

    def _read_openssl(self) -> 'dict[str, str] | None':
        for entry in read(self.pid, 'environ').split(b'\0'):
            name, _, value = os.fsdecode(entry).partition('=')
            number = OPENSSL_CONF.match(value)
            if name == 'OPENSSL_CONF' and number:
                return openssl_settings(read(
                    self.pid, 'fd/' + number.group(1)).decode('latin-1'))
        return None

    @property
    def credentials(self) -> 'list[str]':
        """The names (list) of the credentials that VNC displays use."""
        return list(dict.fromkeys(
            console.credentials for console in self.consoles
            if console.credentials))

    @property
    def has_other_monitor(self) -> bool:
        """
        Whether QEMU can be changed while it runs in another way than through
        libvirt, which marks the VM then.
        """
        found = [name for name, value, _ in self.options
                 if name in MONITORS or (value or '').startswith('mon:')]
        return len(found) > 1

    @property
    def identity(self) -> str:
        """
        What no other process has, on any host: the boot of this one, its pid
        and start time. '' where it has ended.
        """
        try:
            # The 22nd field; the name of the program may have blanks.
            started = read(self.pid, 'stat').rpartition(b') ')[2].split()[19]
            with open(BOOT_ID) as boot:
                return '%s %d %d' % (boot.read(60).strip(), self.pid,
                                     int(started))
        except (UserError, OSError, ValueError, IndexError):
            return ''

    @property
    def is_stopped(self) -> bool:
        """Whether the process is stopped by a signal, and cannot answer."""
        try:
            state = read(self.pid, 'stat').rpartition(b') ')[2][:1]
        except UserError:
            return False
        return state in (b'T', b't')


def find_pid(vm: 'VM') -> int:
    """
    Return the PID of a VM's emulator. Raises UserError where the process that
    libvirt names is another one.
    """
    path = PID_FILE % vm.name
    try:
        with open(path) as pid_file:
            pid = int(pid_file.read(20))
        program = os.readlink('/proc/%d/exe' % pid)
    except (OSError, ValueError) as error:
        raise UserError('its emulator cannot be found: %s: %s'
                        % (path, getattr(error, 'strerror', None) or error),
                        AGAIN, 'no-emulator')
    arguments = read(pid, 'cmdline').split(b'\0')
    if not os.path.basename(program).startswith('qemu-') or (
            vm.uuid.encode() not in [
                value for option, value in zip(arguments, arguments[1:])
                if option == b'-uuid']):
        raise UserError('process %d is not the emulator of this VM' % pid,
                        AGAIN, 'no-emulator')
    return pid


def read(pid: int, name: str) -> bytes:
    """Return the content of a file (str: its name) of a process in /proc."""
    path = '/proc/%d/%s' % (pid, name)
    try:
        # A descriptor can be that of a pipe, on which we would wait, or of a
        # device, which may act when it is opened.
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise UserError(path + ': not a regular file', AGAIN,
                            'emulator-unreadable')
        with open(path, 'rb', 0) as file:
            content = b''
            while len(content) <= LONGEST:
                part = file.read(LONGEST)
                if not part:
                    return content
                content += part
    except OSError as error:
        raise UserError('%s: cannot be read: %s' % (path, error.strerror),
                        AGAIN, 'emulator-unreadable')
    raise UserError('%s: larger than %d MiB' % (path, LONGEST >> 20),
                    AGAIN, 'emulator-unreadable')


def plain(pairs: 'Iterable[tuple[str, str]]') -> 'dict[str, str]':
    return {key: value_of(text) for key, text in pairs}


def value_of(text: str) -> str:
    """Return the value in the text of a parameter in QEMU's syntax."""
    return text.partition('=')[2].replace(',,', ',')


def number_of(text: str) -> int:
    """Return a port as QEMU reads its number; 0 where it is invalid."""
    if not re.match('(0[xX][0-9a-fA-F]{1,6}|[0-9]{1,6})$', text):
        return 0
    try:
        number = int(text, 8 if re.match('0[0-7]', text) else 0)
    except ValueError:
        return 0
    return number if number < 65536 else 0


def _spice_consoles(spice: 'dict[str, str]') -> 'Iterator[Given]':
    if not spice:
        return
    host = spice.get('addr', '')
    if spice.get('unix', 'off') != 'off':
        yield Given('spice', '', '', 0, 0, host, False, None, None)
        return
    ports = [(number_of(spice.get(key, '')), key == 'tls-port')
             for key in ('tls-port', 'port')]
    for number, tls in ports:
        if number:
            yield Given('spice', '', host, number, number, None, tls, None,
                        None)
    if not any(number for number, _ in ports):
        yield Given('spice', '', '', 0, 0, None, False, None, None)


def _vnc_consoles(display: 'Parameters',
                  names: 'list[str]') -> 'Iterator[Given]':
    """
    Yield the Given of a VNC display; its name, or the one that QEMU gives it,
    is added to names.
    """
    values = plain(display)
    name = values.get('id') or next(
        candidate for candidate in ['default', *(
            'vnc%d' % number for number in range(2, len(names) + 3))]
        if candidate not in names)
    names.append(name)
    key, text = display[0]
    addresses = [value_of(text) if '=' in text and key == 'vnc' else
                 text.replace(',,', ',')]
    addresses += [value_of(text) for key, text in display[1:] if key == 'vnc']
    credentials = values.get('tls-creds') or None
    tls = bool(credentials or {'tls', 'x509', 'x509verify'} & set(values))
    more = number_of(values.get('to', ''))
    first = 0
    for address in addresses:
        host, _, number = address.rpartition(':')
        # Decimal, with or without leading zeros.
        port = number_of(number.lstrip('0')) + 5900
        if address.startswith('unix:'):
            yield Given('vnc', name, '', 0, 0, address[len('unix:'):], tls,
                        credentials, None)
        elif values.get('reverse', 'off') != 'off':
            yield Given('vnc', name, '', 0, 0, None, tls, credentials, address)
        else:
            first = first or port
            yield Given('vnc', name, host.strip('[]'), port, port + more,
                        None, tls, credentials, None)
    for key, text in display[1:]:
        if key == 'websocket' and value_of(text) != 'off':
            host, _, number = value_of(text).rpartition(':')
            port = (first - 200 if number in ('', 'on')
                    else number_of(number.lstrip('0')))
            yield Given('websocket', name, host.strip('[]'), port,
                        port + more, None, tls, credentials, None)


def credentials(value: str) -> 'tuple[str, str | None]':
    """Return the name and priority (or None) of a credentials object."""
    if value.startswith('{'):
        # The wrapper keeps a text in the quotes of JSON.
        members = {key: text.strip('"')
                   for key, text in wrapper.load().read_json(value)}
    else:
        # QEMU takes the first name, and the last of all else.
        pairs = wrapper.load().split_parameters('object', value)
        members = {**plain(pairs), **plain(
            [pair for pair in pairs if pair[0] == 'id'][:1])}
    return members.get('id', ''), members.get('priority')


def openssl_settings(text: str) -> 'dict[str, str]':
    """
    Return the settings (dict) of the "system_default" section in a file that
    the wrapper wrote, by names in lower case.
    """
    values: dict[tuple[str | None, str], str] = {}
    section: str | None = 'default'
    for line in text.replace('\\\n', '').split('\n'):
        line = line.split('#')[0].strip()
        key, equals, value = (part.strip() for part in line.partition('='))
        if line.startswith('['):
            section = line[1:].partition(']')[0].strip()
        elif equals:
            values[section, key] = value
    section = 'default'
    for key in ('openssl_conf', 'ssl_conf', 'system_default'):
        section = values.get((section, key))
    return {key.lower(): value for (where, key), value in values.items()
            if where == section}


def protocols(settings: 'dict[str, str]') -> str:
    """Return the versions in settings of OpenSSL as a policy names them."""
    lowest = settings.get('minprotocol', 'TLSv1')
    highest = settings.get('maxprotocol', 'TLSv1.3')
    if lowest not in VERSIONS or highest not in VERSIONS:
        return '%s to %s' % (lowest, highest)
    return ':'.join(VERSIONS[VERSIONS.index(lowest):
                             VERSIONS.index(highest) + 1])


def open_by_arguments(emulator: Emulator) -> 'list[str]':
    """Return the channels that the arguments leave open without TLS."""
    default = emulator.channels.get('default', False)
    there = SECURED_CHANNELS + tuple(
        name for name in ('port', 'webdav') for option, value, _
        in emulator.options
        if option == 'chardev' and (value or '').startswith('spiceport'))
    return [name for name in dict.fromkeys(there)
            if not emulator.channels.get(name, default)]
