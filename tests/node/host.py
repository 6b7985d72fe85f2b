# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""What tests do on a node, and the policies that they try."""

from __future__ import annotations

import re
import shlex
from typing import Any
from xml.etree import ElementTree

import node as nodes
import support
from support import EMULATOR, HOOK

AUDIT_LOG = '/var/log/audit/audit.log'
PLAIN_VM = nodes.PLAIN_VM
GCM = 'ECDHE-RSA-AES256-GCM-SHA384'
# What SPICE and the websocket of VNC accept, and refuse.
Expected = list[tuple[str, str, str, bool]]
# name: (properties, what they accept and refuse)
POLICIES: dict[str, tuple[dict[str, str], Expected]] = {
    'cipher list': (
        {'tlsciphers': GCM, 'tlsprotocols': 'TLSv1.2'},
        [('spice', 'TLSv1.2', GCM, True),
         ('spice', 'TLSv1.2', 'ECDHE-RSA-AES128-GCM-SHA256', False),
         ('spice', 'TLSv1.3', 'TLS_AES_256_GCM_SHA384', False)]),
    'TLS 1.3': (
        {'tlsciphers': 'TLS_AES_128_CCM_SHA256', 'tlsprotocols': 'TLSv1.3',
         'tlsgroups': 'P-384'},
        [('spice', 'TLSv1.2', GCM, False),
         ('spice', 'TLSv1.3', 'TLS_AES_128_CCM_SHA256', True),
         ('spice', 'TLSv1.3', 'TLS_AES_256_GCM_SHA384', False)]),
    'priority': (
        {'tlspriority': 'NORMAL:-VERS-ALL:+VERS-TLS1.2:-CIPHER-ALL:'
                        '+AES-256-GCM'},
        [('websocket', 'TLSv1.2', GCM, True),
         ('websocket', 'TLSv1.2', 'ECDHE-RSA-AES128-GCM-SHA256', False),
         ('websocket', 'TLSv1.3', 'TLS_AES_256_GCM_SHA384', False)]),
    'profile': (
        {'tlsprofile': 'modern'},
        [(console, version, suite, version == 'TLSv1.3')
         for console in ('spice', 'websocket') for version, suite in (
            ('TLSv1.2', GCM), ('TLSv1.3', 'TLS_AES_256_GCM_SHA384'))]),
}


def is_enforced(vm: VM, expected: Expected) -> bool:
    """Tell whether the consoles of a VM accept just what they should."""
    return [support.accepts(getattr(vm, console), suite, version)
            for console, version, suite, _ in expected] == [
                accepted for _, _, _, accepted in expected]


class Host(nodes.Node):
    """
    A node, and what the tests do on it. "changed" (bool): it is not any more
    as its snapshot was.
    """

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        self.changed = False
        self.mark()

    def mark(self) -> None:
        """Count denials from here on."""
        self.audited = int(self.read('wc --lines <' + AUDIT_LOG))

    def denials(self) -> list[str]:
        """
        Return what SELinux has denied since mark(), in order, each (str) like
        'qemu-kvm svirt_t -> cert_t file { ioctl }'.
        """
        lines = self.read('tail --lines +%d %s' % (
            self.audited + 1, AUDIT_LOG)).splitlines()
        assert not [line for line in lines if 'SELINUX_ERR' in line]
        return [re.sub(
            r'.*denied +(\{.*?\}) for .*?comm="?([^" ]*).*scontext=(\S+) '
            r'tcontext=(\S+) tclass=(\w+).*', lambda match: '%s %s -> %s %s %s'
            % (match.group(2), domain(match.group(3)), domain(match.group(4)),
               match.group(5), match.group(1)), line)
            for line in lines if 'avc:  denied' in line]

    def label(self, path: str) -> str:
        """Return the SELinux type (str) of a file."""
        return domain(self.read('stat --format %%C %s' % path))

    def hook(self, xml: str, **properties: str) -> str:
        """
        Return what the hook makes of a domain XML, with the properties as
        vdsm gives them to it.
        """
        self.write('domxml', xml)
        self.run('env _hook_domxml=domxml PYTHONPATH=. %s %s' % (
            ' '.join(shlex.quote('%s=%s' % pair)
                     for pair in properties.items()), HOOK))
        return self.read('cat domxml')

    def start(self, xml: str) -> VM:
        """Start a VM from a domain XML; return a VM."""
        self.create(xml)
        return self.adopt(ElementTree.fromstring(xml).findtext('name', ''))

    def adopt(self, name: str) -> VM:
        """Return a VM that runs here already."""
        return VM(self, name)

    def destroy_all(self) -> None:
        """End all VMs."""
        self.run('for vm in $(virsh list --name); do virsh destroy $vm; done')

    def use_manual_wrapper(self) -> None:
        """Do what the seed document does, but for its hook."""
        self.run('mkdir -p $(dirname %s)' % EMULATOR)
        self.write(EMULATOR, support.MANUAL_WRAPPER)
        self.run(f'chcon --reference /usr/libexec/qemu-kvm {EMULATOR} && '
                 f'chmod +x {EMULATOR}')


def domain(context: str) -> str:
    return context.split(':')[2]


class VM:
    """
    A VM that runs on a Host. Its consoles are at the local ports (int) spice
    and websocket (VNC's).
    """

    def __init__(self, host: Host, name: str) -> None:
        self.host = host
        self.name = name
        self.xml = host.read('virsh dumpxml ' + name)
        self.pid = host.read('cat /run/libvirt/qemu/%s.pid' % name)
        self.context = host.read(
            'tr -d "\\0" </proc/%s/attr/current' % self.pid)

    def _port(self, console: str, attribute: str) -> int:
        graphics = ElementTree.fromstring(self.xml).find(
            'devices/graphics[@type="%s"]' % console)
        assert graphics is not None
        return self.host.forward(int(graphics.attrib[attribute]))

    @property
    def spice(self) -> int:
        return self._port('spice', 'tlsPort')

    @property
    def websocket(self) -> int:
        return self._port('vnc', 'websocket')

    @property
    def log(self) -> str:
        return self.host.read('cat /var/log/libvirt/qemu/%s.log' % self.name)

    def destroy(self) -> None:
        self.host.run('virsh destroy ' + self.name)
