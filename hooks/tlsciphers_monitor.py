# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""
The way to a running QEMU: libvirt, as vdsm connects to it, and its monitor.

Private to vdsm-hook-tlsciphers. Runs on Python 2.7 and 3.6 and later, and
keeps to the syntax of 2.6, as the hook does.
"""

import json

URI = 'qemu:///system'
# Where vdsm keeps the password of its libvirt user.
VDSM_USER = 'vdsm@ovirt'
VDSM_PASSWORD = '/etc/pki/vdsm/keys/libvirt_password'  # nosec B105 # path


def connect():
    """
    Return a libvirt connection to this host that may change VMs. Raises what
    libvirt does.
    """
    import libvirt
    # It prints each error otherwise.
    libvirt.registerErrorHandler(lambda *_: None, None)
    return libvirt.openAuth(URI, [
        [libvirt.VIR_CRED_AUTHNAME, libvirt.VIR_CRED_PASSPHRASE], _answer,
        None], 0)


def _answer(credentials, _):
    import libvirt
    for credential in credentials:
        if credential[0] == libvirt.VIR_CRED_AUTHNAME:
            credential[4] = VDSM_USER
        else:
            try:
                with open(VDSM_PASSWORD) as password:
                    credential[4] = password.read().rstrip('\n')
            except EnvironmentError:
                return -1
    return 0


def ask(connection, uuid, command, arguments):
    """
    Return the answer (dict) of the QEMU of a VM to a command of QMP: it has
    'return', or 'error'. Raises what libvirt does, and ValueError.

    Arguments:
        connection (libvirt.virConnect)
        uuid, command (str)
        arguments (dict): of the command.
    """
    import libvirt_qemu
    return json.loads(libvirt_qemu.qemuMonitorCommand(
        connection.lookupByUUIDString(uuid), json.dumps(
            {'execute': command, 'arguments': arguments}), 0))


# Its last line: what imports this asks for it, so a file that was cut off is
# none.
COMPLETE = True
