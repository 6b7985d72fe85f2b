# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""
What the emulator of a running VM was given, from /proc. A guest may have
taken its emulator over: what stands there is read with care, and never run.
"""

import os
import re
import stat

from vdsm_tlsciphers import Problem, wrapper

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from vdsm_tlsciphers.domains import Machine

PID_FILE = '/run/libvirt/qemu/%s.pid'
# More than a VM with hundreds of devices has.
LONGEST = 4 << 20
OPENSSL_CONF = re.compile('/proc/self/fd/([0-9]{1,9})$')
VERSIONS = ('TLSv1', 'TLSv1.1', 'TLSv1.2', 'TLSv1.3')


class Emulator:
    """
    The emulator of a VM: pid (int), spice (dict of str: the parameters of
    its -spice options, empty where there is none), openssl (dict of str: the
    settings that OpenSSL takes from the wrapper's file, None where there is
    none), vnc (list of dict of str: the parameters of each VNC display), and
    priorities ({name of a credentials object: its priority, or None}).

    Raises Problem where it cannot be found, or its command line not be read.
    """

    def __init__(self, machine: 'Machine') -> None:
        self.pid = find_pid(machine)
        arguments = [os.fsdecode(argument) for argument in read(
            self.pid, 'cmdline').split(b'\0')[1:-1]]
        try:
            options = wrapper.load().parse(arguments)
            self.spice: dict[str, str] = {}
            for value in wrapper.load().spice_displays(options):
                self.spice.update(parameters('spice', value))
            self.vnc = [plain(display)
                        for display in wrapper.load().vnc_displays(options)]
            self.priorities = dict(
                credentials(value) for name, value, _ in options
                if name == 'object' and value and 'tls-creds-x509' in value)
        except wrapper.Refused as refusal:
            raise Problem('its command line cannot be read: %s' % refusal)
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
        return [display['tls-creds'] for display in self.vnc
                if display.get('tls-creds')]


def find_pid(machine: 'Machine') -> int:
    """
    Return the PID of a Machine's emulator. Raises Problem where libvirt names
    a process that is not, or not yet, that.
    """
    path = PID_FILE % machine.name
    try:
        with open(path) as pid_file:
            pid = int(pid_file.read(20))
        program = os.readlink('/proc/%d/exe' % pid)
    except (OSError, ValueError) as error:
        raise Problem('its emulator cannot be found: %s: %s'
                      % (path, getattr(error, 'strerror', None) or error))
    arguments = read(pid, 'cmdline').split(b'\0')
    if not os.path.basename(program).startswith('qemu-') or (
            machine.uuid.encode() not in [
                value for option, value in zip(arguments, arguments[1:])
                if option == b'-uuid']):
        raise Problem('process %d is not the emulator of this VM; does it '
                      'just start or end? then ask again' % pid)
    return pid


def read(pid: int, name: str) -> bytes:
    """Return what a file (str: its name) of a process in /proc holds."""
    path = '/proc/%d/%s' % (pid, name)
    try:
        # Behind a descriptor could be a pipe, on which we would wait, or a
        # device, which may act when it is opened.
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise Problem('%s is no regular file' % path)
        with open(path, 'rb', 0) as file:
            content = b''
            while len(content) <= LONGEST:
                part = file.read(LONGEST)
                if not part:
                    return content
                content += part
    except OSError as error:
        raise Problem('%s cannot be read: %s' % (path, error.strerror))
    raise Problem('%s is too long to be read' % path)


def parameters(option: str, value: str) -> 'dict[str, str]':
    """Return the parameters (dict) of an option in QEMU's syntax."""
    return plain(wrapper.load().split_parameters(option, value))


def plain(pairs: 'Iterable[tuple[str, str]]') -> 'dict[str, str]':
    return {key: text.partition('=')[2].replace(',,', ',')
            for key, text in pairs}


def credentials(value: str) -> 'tuple[str, str | None]':
    """Return the name and priority (or None) of a credentials object."""
    if value.startswith('{'):
        # The wrapper keeps a text in the quotes of JSON.
        members = {key: text.strip('"')
                   for key, text in wrapper.load().read_json(value)}
    else:
        members = parameters('object', value)
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
    """Return what settings of OpenSSL (dict) say in a policy's words."""
    lowest = settings.get('minprotocol', 'TLSv1')
    highest = settings.get('maxprotocol', 'TLSv1.3')
    if lowest not in VERSIONS or highest not in VERSIONS:
        return '%s to %s' % (lowest, highest)
    return ':'.join(VERSIONS[VERSIONS.index(lowest):
                             VERSIONS.index(highest) + 1])
