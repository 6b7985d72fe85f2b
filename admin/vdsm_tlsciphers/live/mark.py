# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""
The mark that a policy which was applied to a running VM leaves in the metadata
of its live domain. It migrates with the VM and is in its saved image; nothing
is written to a file of a host.
"""

from xml.sax import saxutils  # nosec B406 # it writes, and reads nothing

from tlsciphers_domain import PENDING_NAMESPACE

from vdsm_tlsciphers import UserError

TYPE_CHECKING = False
if TYPE_CHECKING:
    import libvirt

    # An option of the wrapper, and its 'KEY=VALUE'.
    Pairs = list[tuple[str, str]]

# libvirt writes it before the names of the elements.
PREFIX = 'tlsciphers'


def write(connection: 'libvirt.virConnect', uuid: str, settings: 'Pairs',
          process: str) -> None:
    """
    Mark the running VM of a UUID with settings, in place of any mark; without
    settings take the mark away. process is the qemu_process.identity() that
    they were applied to: in another one VNC does not have them any more.
    Raises UserError.
    """
    import libvirt
    text = None
    if settings:
        text = '<policy process=%s>%s</policy>' % (
            saxutils.quoteattr(process), ''.join(
                '<setting option=%s value=%s/>' % (
                    saxutils.quoteattr(option), saxutils.quoteattr(value))
                for option, value in settings))
    try:
        connection.lookupByUUIDString(uuid).setMetadata(
            libvirt.VIR_DOMAIN_METADATA_ELEMENT, text, PREFIX,
            PENDING_NAMESPACE, libvirt.VIR_DOMAIN_AFFECT_LIVE)
    except libvirt.libvirtError as error:
        if text is None and error.get_error_code() == (
                libvirt.VIR_ERR_NO_DOMAIN_METADATA):
            return
        raise UserError('its metadata cannot be changed: %s' % error,
                        'if it just ended or migrates, run this again',
                        'apply-metadata')
