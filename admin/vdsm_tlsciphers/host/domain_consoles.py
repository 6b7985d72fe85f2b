# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""
Where the consoles of a VM will listen, and whether with TLS, by its domain XML
and the configuration of this host's libvirt; and whether the wrapper or
libvirt refuses its next start for that.
"""

import collections
import re

import tlsciphers_domain
import tlsciphers_values
from tlsciphers_values import Refused

from vdsm_tlsciphers import UserError
from vdsm_tlsciphers.host import domains, qemu_conf, qemu_process
from vdsm_tlsciphers.host import wrapper as installed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import NamedTuple
    from xml.dom import minidom  # nosec B408 # its type

    from vdsm_tlsciphers import documents

    class Endpoint(NamedTuple):
        """
        A console: display, place (as in QEMU's option for it, '' where it does
        not listen), at_start (whether it has TLS at the next start), and tls
        (whether now as well). None where that depends on an unknown host.
        """

        display: documents.Display
        place: str
        at_start: bool | None
        tls: bool | None
else:
    Endpoint = collections.namedtuple('Endpoint',
                                      'display place at_start tls')

SETTINGS = {'spice': 'spice_tls', 'vnc': 'vnc_tls'}
SPICE_TLS_OFF = Refused(
    'SPICE: spice_tls is off in %s, and libvirt starts no VM whose SPICE '
    'console requires a TLS port' % qemu_conf.PATH,
    'set spice_tls = 1 in %s and restart libvirtd (the engine does that when '
    'it installs a host)' % qemu_conf.PATH, 'spice-tls-off')
ENABLE_VNC = ('check Enable VNC Encryption in the engine (Compute > Clusters '
              '> Edit > Console) and reinstall ')
# What to do about messages of the wrapper whose remedies end with the last
# resort, to remove the policy: a guard does not allow that. By code.
KEEPING_THE_POLICY = {
    'openssl-too-old': '', 'vnc-elsewhere': '', 'vnc-libvirt-too-old': '',
    'spice-socket': 'give the console an address in place of the socket',
    'spice-without-tls': 'enable TLS for SPICE on this host (spice_tls in %s)'
                         % qemu_conf.PATH,
    'vnc-socket': 'give the console an address in place of the socket',
    'vnc-without-tls': ENABLE_VNC + 'the hosts of the cluster'}


def host_tls(vm: domains.VM) -> 'dict[str, bool | None]':
    """
    Return whether libvirt of the host of a VM gives {display} TLS; None
    where that cannot be told here.
    """
    unknown: dict[str, bool | None] = dict.fromkeys(SETTINGS)
    if vm.of_file:
        return unknown
    try:
        text = qemu_conf.read()
    except FileNotFoundError:
        text = ''  # libvirt uses its defaults.
    except OSError:
        return unknown
    return {display: qemu_conf.value(text, name) == '1'
            for display, name in SETTINGS.items()}


def endpoints(vm: domains.VM) -> 'list[Endpoint]':
    """Return the consoles (SPICE and VNC) of a VM."""
    host = host_tls(vm)
    found = [_spice(graphics, vm, host['spice'])
             for graphics in domains.spice_graphics(vm.document)]
    runs_open = None
    for graphics in tlsciphers_domain.graphics(vm.document):
        if graphics.getAttribute('type') == 'vnc':
            if runs_open is None:
                runs_open = _runs_open(vm)
            listens = domains.listen_types(graphics)
            place = '' if 'none' in listens else (
                'unix:/' if 'socket' in listens
                or graphics.getAttribute('socket') else '127.0.0.1:0')
            found.append(Endpoint('vnc', place, host['vnc'],
                                  host['vnc'] and not runs_open))
    return found


def _spice(graphics: 'minidom.Element', vm: domains.VM,
           host: 'bool | None') -> Endpoint:
    listens = domains.listen_types(graphics)
    if listens & {'none', 'socket'}:
        return Endpoint('spice', 'unix=on' if 'socket' in listens else '',
                        False, False)
    modes = domains.channel_modes(graphics)
    port, tls_port = map(graphics.getAttribute, ('port', 'tlsPort'))
    automatic = (graphics.getAttribute('autoport') == 'yes'
                 or port == tls_port == '-1')
    place = 'port' if (automatic or port == '-1' or is_number(port)
                       or tls_port == '-1' or is_number(tls_port)) else ''
    if requires_tls(graphics):
        return Endpoint('spice', place, True, True)
    # libvirt chooses the ports by what the host has.
    at_start = host if automatic and modes[''] == 'any' else False
    return Endpoint('spice', place, at_start, at_start and bool(
        is_number(tls_port) or not vm.runs))


def requires_tls(graphics: 'minidom.Element') -> bool:
    """Tell whether a SPICE console has TLS, or its VM does not start."""
    tls_port = graphics.getAttribute('tlsPort')
    if graphics.getAttribute('autoport') == 'yes' or (
            graphics.getAttribute('port') == tls_port == '-1'):
        return 'secure' in domains.channel_modes(graphics).values()
    return tls_port == '-1' or is_number(tls_port)


def is_number(port: str) -> bool:
    return bool(re.match('[1-9][0-9]{0,4}$', port))


def _emulator(vm: domains.VM) -> 'qemu_process.Emulator | None':
    """Return the emulator of a VM, None where none runs or can be read."""
    if not vm.runs:
        return None
    try:
        return qemu_process.Emulator(vm)
    except UserError:
        return None  # It is ending, or we are not root.


def _runs_open(vm: domains.VM) -> bool:
    """Tell whether a VNC console of a running VM has no TLS."""
    emulator = _emulator(vm)
    return emulator is not None and any(
        not console.tls for console in emulator.consoles
        if console.display != 'spice' and console.port)


def running_channels(vm: domains.VM) -> 'list[str]':
    """
    Return the channels of SPICE (list of str) that work without TLS in a
    running VM, by its arguments.
    """
    emulator = _emulator(vm)
    if emulator is None:
        return []
    return qemu_process.open_by_arguments(emulator)


def remedy(vm: domains.VM, endpoint: Endpoint) -> str:
    """Return how a console gets TLS."""
    if endpoint.at_start:
        return 'shut the VM down and start it'
    if endpoint.display == 'vnc':
        return ENABLE_VNC + 'the hosts'
    if host_tls(vm)['spice'] is False:
        return ('enable TLS for SPICE on this host (spice_tls in %s), shut '
                'the VM down and start it' % qemu_conf.PATH)
    return ('let libvirt choose its ports, as the engine does: '
            'autoport="yes" in the domain XML')


def without_removal(message: Refused) -> str:
    """Return the remedy of a message of the wrapper, or '': see above."""
    return str(KEEPING_THE_POLICY.get(message.code, message.remedy))


def refusal(vm: domains.VM,
            settings: 'Iterable[tuple[str, str]]') -> 'Refused | None':
    """
    Return the message with which the wrapper, or libvirt, would refuse to
    start a VM whose policy are settings, as tlsciphers.resolve() returns them;
    None where neither would.
    """
    listens = [graphics for graphics in domains.spice_graphics(
        vm.document) if not domains.listen_types(graphics) & {
            'none', 'socket'}]
    if host_tls(vm)['spice'] is False and any(map(requires_tls, listens)):
        return SPICE_TLS_OFF
    wanted = {}
    for option, setting in settings:
        key, _, value = setting.partition('=')
        wanted[key] = (option == tlsciphers_values.REQUIREMENT, value)
    spice = [key for key in wanted if key != 'priority']
    wrapper = installed.load()
    try:
        for endpoint in endpoints(vm):
            if endpoint.at_start is not False or not endpoint.place:
                continue
            if endpoint.display == 'spice' and spice:
                wrapper.without_tls_port([], dict(wanted), spice,
                                         endpoint.place)
            elif endpoint.display == 'vnc' and 'priority' in wanted:
                wrapper.wanted_credentials(wrapper.vnc_displays(
                    [('vnc', endpoint.place, [])]), dict(wanted))
    except Refused as refused:
        return refused
    return None
