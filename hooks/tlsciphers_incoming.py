# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""
Turns the mark that "vdsm-tlsciphers apply" left in the domain XML of a VM into
its policy, where the VM arrives: libvirt runs the script "incoming" at
migrations and restores, with the XML as input, and takes what it prints for
the XML of the VM. What prints nothing changes nothing.

Runs on Python 2.7 and 3.6 and later, and keeps to the syntax of 2.6, as the
hook does.
"""

import sys

# Of tlsciphers_domain.PENDING_NAMESPACE: most VMs have no mark, and need no
# more than this.
NAMESPACE = b'http://ovirt.org/vdsm-hook-tlsciphers/pending/1.0'
# A domain XML has some 20 kB.
MOST_BYTES = 4 * 1024 * 1024


def main():
    """
    Print the domain XML on standard input with the policy of its mark, or
    nothing. The command line has the VM's name.
    """
    try:
        xml = getattr(sys.stdin, 'buffer', sys.stdin).read(MOST_BYTES + 1)
        if NAMESPACE not in xml:
            return
        found, said = arriving(xml)
        output = getattr(sys.stdout, 'buffer', sys.stdout)
        output.write(found)
        output.flush()
    except Exception as error:
        said = 'the mark stays, without effect: %s' % error
    write_down(said)


def arriving(xml):
    """
    Return the domain XML (bytes) of a VM that arrives with the policy of its
    mark, which is taken out of it, and what is to be written down (str).

    Raises:
        tlsciphers_values.Refused: this VM, or this host, cannot have it.
    """
    import tlsciphers_domain as domain
    import tlsciphers_host
    import tlsciphers_values as values
    for module in domain, tlsciphers_host, values:
        if not hasattr(module, 'COMPLETE'):
            raise ImportError(module.__name__ + ' is cut off')
    if len(xml) > MOST_BYTES:
        raise values.Refused('the domain XML has more than %d bytes'
                             % MOST_BYTES, '', 'domain-xml')
    domain.check_doctype(xml)
    document = parse(xml)
    # What libvirt would read in another way is refused.
    domain.displays(document)
    pending = domain.read_pending(document)
    domain.check_pending(pending)
    domain.check_emulator(document)
    tlsciphers_host.check_wrapper()
    # minidom has None for xmlns="", and cannot write that.
    for element in document.getElementsByTagName('*'):
        if element.hasAttribute('xmlns') and not element.getAttribute('xmlns'):
            element.getAttributeNode('xmlns').value = ''
    settings = domain.with_pending(domain.read_policy(document), pending)
    domain.set_policy(document, settings)
    domain.remove(domain.marks(document))
    if b'&#' in xml:
        for _, stand_in, _ in domain.ExactDocument.REFERENCES:
            if stand_in.encode('utf-8') in xml:
                raise values.Refused('the domain XML has characters that are '
                                     'none', '', 'domain-xml')
        document = domain.ExactDocument(document)
    result = document.toxml(encoding='utf-8')
    again = parse(result)
    if domain.read_policy(again) != settings or domain.marks(again):
        raise values.Refused('the policy did not get into the domain XML',
                             'dnf reinstall vdsm-hook-tlsciphers',
                             'package-damaged')
    return result, 'its policy arrives: ' + ' '.join(
        setting for _, setting in settings)


def parse(xml):
    from xml.dom import minidom  # nosec B408 # check_doctype() comes first
    return minidom.parseString(xml)  # nosec B318 # the same


def write_down(text):
    """Write a line about the VM into the host's log."""
    import syslog
    line = '%s: %s' % (sys.argv[1] if len(sys.argv) > 1 else 'VM', text)
    syslog.openlog('vdsm-tlsciphers', syslog.LOG_PID, syslog.LOG_DAEMON)
    syslog.syslog(syslog.LOG_NOTICE, ''.join(
        c if ' ' <= c <= '~' else '?' for c in line[:4000]))


# Its last line: what imports this asks for it, so a file that was cut off is
# none.
COMPLETE = True

if __name__ == '__main__':
    sys.dont_write_bytecode = True
    main()
