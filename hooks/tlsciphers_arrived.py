# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""
Tells the QEMU of a VM that has arrived with a mark the VNC policy that it had.

Runs on Python 2.7 and 3.6 and later, and keeps to the syntax of 2.6, as the
hook does.
"""

from xml.dom import minidom  # nosec B408 # check_doctype() comes first

import tlsciphers_domain
import tlsciphers_hook
import tlsciphers_monitor
import tlsciphers_values

for module in tlsciphers_domain, tlsciphers_monitor, tlsciphers_values:
    if not hasattr(module, 'COMPLETE'):
        raise ImportError(module.__name__ + ' is cut off')

# As libvirt calls those of VNC.
CREDENTIALS = 'vnc-tls-creds'


def restore(xml):
    """
    Give VNC the priority of the mark in a domain XML (bytes), through QEMU's
    monitor: new connections have it. Returns a line (str) for vdsm.log, or
    ''.

    Raises:
        tlsciphers_values.Refused, and what libvirt raises: nothing was
            changed.
    """
    tlsciphers_hook.enable_imports()
    tlsciphers_domain.check_doctype(xml)
    document = minidom.parseString(xml)  # nosec B318 # see the import
    pending = tlsciphers_domain.read_pending(document)
    tlsciphers_domain.check_pending(pending)
    values = [setting.partition('=')[2] for _, setting in pending
              if setting.startswith('priority=')]
    if not values:
        return ''
    value, = values
    # QEMU takes any text, and would then reject every client.
    tlsciphers_values.check_priority(value, 'tlspriority')
    uuid, = [''.join(part.data for part in node.childNodes)
             for node in document.documentElement.childNodes
             if node.nodeName == 'uuid']
    connection = tlsciphers_monitor.connect()

    def ask(command, **arguments):
        answer = tlsciphers_monitor.ask(connection, uuid, command, arguments)
        if 'return' not in answer:
            raise tlsciphers_values.Refused(
                'QEMU does not take it: %s' % answer.get('error'),
                'run vdsm-tlsciphers apply on this host', 'no-qemu-answer')
        return answer['return']

    names = [item['name'] for item in ask('qom-list', path='/objects')
             if item['name'].startswith(CREDENTIALS)]
    for name in names:
        ask('qom-set', path='/objects/' + name, property='priority',
            value=value)
    if not names:
        return 'the mark of this VM stays without effect: VNC has no TLS here'
    return ('VNC has the policy of its mark again, until the VM moves or '
            'stops: priority=' + value)


# Its last line: what imports this asks for it, so a file that was cut off is
# none.
COMPLETE = True
