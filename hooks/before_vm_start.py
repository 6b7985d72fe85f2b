#!@PYTHON@ -Ss
# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""
vdsm hook: the TLS policy of a VM's console.

Installed as before_vm_start/50_emulator. It reads the VM's custom property
tlsciphers, an OpenSSL cipher list for TLS 1.2 and older on the SPICE display
(for example ECDHE-RSA-AES256-GCM-SHA384:ECDHE-RSA-AES128-GCM-SHA256), checks
it, and makes libvirt start the VM through the wrapper that enforces it. A
value that cannot be enforced stops the start.

vdsm runs it; it is of no use from a command line, except:

  --test    show what it does to a sample domain XML, with the cipher list of
            the environment variable tlsciphers, or a sample one
  --help    show this text
"""

# posix and sys are part of the interpreter. What else is needed is imported
# where a VM has a policy: all others start with nothing but this file.
import posix
import sys

# Nothing is to be written beside what is imported.
sys.dont_write_bytecode = True

PROPERTIES = ('tlsciphers',)
# Properties of later versions. Ignoring one would leave a console open that
# the administrator believes to be closed.
LATER_PROPERTIES = ('tlsgroups', 'tlspriority', 'tlsprofile', 'tlsprotocols')

SAMPLE_CIPHERS = 'ECDHE-RSA-AES256-GCM-SHA384:ECDHE-RSA-AES128-GCM-SHA256'
SAMPLE_XML = """\
<domain type="kvm">
  <name>sample</name>
  <devices>
    <graphics type="spice" port="-1" tlsPort="-1" autoport="yes"/>
    <graphics type="vnc" port="-1" autoport="yes"/>
  </devices>
</domain>"""


def main():
    if len(sys.argv) > 1:
        command_line()
    elif b'_hook_domxml' not in posix.environ:
        sys.stderr.write(
            '50_emulator: there is no _hook_domxml in the environment: this '
            'is a hook that vdsm runs\n' + __doc__)
        sys.exit(2)
    elif any(name.encode() in posix.environ
             for name in PROPERTIES + LATER_PROPERTIES):
        run()


def command_line():
    enable_imports()
    import argparse
    parser = argparse.ArgumentParser(
        prog='50_emulator', usage='50_emulator [--help] [--test]',
        description=__doc__, add_help=False,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('-h', '--help', action='help',
                        help=argparse.SUPPRESS)
    parser.add_argument('-t', '--test', action='store_true',
                        help=argparse.SUPPRESS)
    parser.parse_args()
    test()


def test():
    """Show a sample domain XML before and after, without vdsm."""
    import os
    from xml.dom import minidom
    policy = load_policy_module()
    environment = dict(os.environ)
    environment.setdefault('tlsciphers', SAMPLE_CIPHERS)
    document = minidom.parseString(SAMPLE_XML)
    try:
        settings, notes = read_settings(policy, environment)
    except policy.Refused as refusal:
        sys.exit('50_emulator: ' + str(refusal))
    notes.extend(edit(policy, document, settings)[1])
    print('Before:\n%s\n\nAfter:\n%s\n' % (
        SAMPLE_XML, document.documentElement.toxml()))
    for note in notes:
        print('vdsm.log: ' + note)


def run():
    """Do a hook's work: vdsm gives the VM's properties and domain XML."""
    enable_imports()
    try:
        import hooking
    except ImportError as error:
        sys.stderr.write('tlsciphers: cannot import hooking, which vdsm puts '
                         'on PYTHONPATH: %s\n' % error)
        sys.exit(2)
    try:
        policy = load_policy_module()
    except ImportError as error:
        hooking.exit_hook('tlsciphers: the package is damaged: %s; remedy: '
                          'dnf reinstall vdsm-hook-tlsciphers' % error)
    try:
        notes = enforce(hooking, policy)
    except Exception as error:
        line = str(error)
        if not isinstance(error, policy.Refused):
            # A traceback would bury the cause in the engine's event.
            line = policy.printable('tlsciphers: unexpected error: %s: %s'
                                    % (type(error).__name__, error), 400)
        if not is_resume(hooking):
            hooking.exit_hook(line)
        notes = [line + ' (not refused: the VM resumes, with the policy that '
                 'was saved)']
    for note in notes:
        hooking.log(note)


def enforce(hooking, policy):
    """
    Write the policy of this VM's properties into its domain XML.

    Returns:
        list of str: lines for vdsm.log.

    Raises:
        policy.Refused: the VM must not start; the XML is untouched.
    """
    import os
    settings, notes = read_settings(policy, os.environ)
    with open(os.environ['_hook_domxml'], 'rb') as domxml:
        before = domxml.read()
    document = hooking.read_domxml()
    changed, lines = edit(policy, document, settings)
    notes.extend(lines)
    if 'spice' in policy.displays(document):
        notes.extend(policy.check_wrapper())
    if changed:
        if b'&#' in before:
            document = policy.ExactDocument(document)
        write(hooking, policy, document, before)
    return notes


def read_settings(policy, environment):
    """
    Return the wrapper's settings ('KEY=VALUE') and lines for vdsm.log, both
    lists of str, for the properties in environment (a mapping).

    Raises policy.Refused.
    """
    for name in LATER_PROPERTIES:
        if name in environment:
            raise policy.Refused(
                '%s: this version of vdsm-hook-tlsciphers cannot enforce it; '
                'update the package, or remove the property from the VM'
                % name)
    ciphers = environment['tlsciphers']
    return ['ciphers=' + ciphers], policy.check_ciphers(ciphers)


def edit(policy, document, settings):
    """
    Put settings into a domain XML (xml.dom.minidom.Document).

    Returns whether it changed (bool), and lines for vdsm.log (list of str).
    Raises policy.Refused.
    """
    displays = policy.displays(document)
    changed = False
    lines = []
    if 'spice' in displays:
        policy.check_emulator(document)
        changed = policy.set_policy(document, settings)
        lines.append('tlsciphers: the SPICE console gets '
                     + ' '.join(settings))
    else:
        lines.append('tlsciphers: this VM has no SPICE console; the property '
                     'has no effect')
    if 'vnc' in displays:
        lines.append('tlsciphers: the VNC console of this VM is not covered: '
                     'tlsciphers is for SPICE')
    return changed, lines


def write(hooking, policy, document, before):
    """
    Write the domain XML, or put back the bytes that were there before: vdsm
    parses the file even when a hook fails, and would report what is wrong
    with half a file instead of the cause.
    """
    import os
    try:
        hooking.write_domxml(document)
    except Exception as error:
        outcome = 'it is as it was'
        try:
            with open(os.environ['_hook_domxml'], 'wb') as domxml:
                domxml.write(before)
        except EnvironmentError:
            outcome = 'nor could it be put back as it was'
        raise policy.Refused(
            'tlsciphers: cannot write the domain XML: %s; %s; make room in '
            'the folder of %s' % (
                policy.printable(str(error), 100), outcome,
                policy.printable(os.environ['_hook_domxml'], 100)))


def is_resume(hooking):
    """
    Tell whether the VM resumes from a saved state: vdsm then runs this hook
    on an XML that it throws away. Since 4.2 it writes launch flags just
    before a real start, and only then. Where this cannot be told, it is a
    start.
    """
    import os
    return (hasattr(hooking, 'load_vm_launch_flags_from_file')
            and os.path.isdir('@VDSM_RUN_DIR@') and 'vmId' in os.environ
            and not os.path.exists(os.path.join(
                '@VDSM_RUN_DIR@', os.environ['vmId'], 'launchflags')))


def enable_imports():
    """
    Undo the -S of the first line: find installed modules. Python 3 then still
    runs no sitecustomize (vdsm's reads its whole configuration).
    """
    import site
    site.addsitepackages(set())


def load_policy_module():
    sys.path.insert(0, '@PKGDATADIR@')
    try:
        import tlsciphers
    finally:
        del sys.path[0]
    return tlsciphers


if __name__ == '__main__':
    main()
