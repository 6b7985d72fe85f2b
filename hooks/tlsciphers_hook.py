# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""
What the hook does for a VM with a policy, given its properties and domain XML
by vdsm.

Runs on Python 2.7 and 3.6 and later, and keeps to the syntax of 2.6.
"""

import errno
import os
import posix
import sys

VDSM_RUN_DIR = '@VDSM_RUN_DIR@'
UNREADABLE = ('the domain XML, as vdsm or another hook left it, cannot be '
              'read: ')
BROKEN_BY = 'look in vdsm.log for the hook that ran before'

SAMPLE_CIPHERS = 'ECDHE-RSA-AES256-GCM-SHA384:ECDHE-RSA-AES128-GCM-SHA256'
SAMPLE_XML = """\
<domain type="kvm">
  <name>sample</name>
  <devices>
    <graphics type="spice" port="-1" tlsPort="-1" autoport="yes"/>
    <graphics type="vnc" port="-1" autoport="yes"/>
  </devices>
</domain>"""


def main(description, has_properties):
    """
    Do the hook's work, or what its command line requests.

    Arguments:
        description (str): what --help shows.
        has_properties (bool): whether the VM has properties of ours, or the
            guard.
    """
    if len(sys.argv) > 1:
        command_line(description)
    elif b'_hook_domxml' not in posix.environ:
        sys.stderr.write(
            '50_emulator: there is no _hook_domxml in the environment: this '
            'is a hook that vdsm runs [no-hooking]\n' + description)
        sys.exit(2)
    else:
        run(has_properties)


def command_line(description):
    enable_imports()
    import argparse
    parser = argparse.ArgumentParser(
        prog='50_emulator', usage='50_emulator [--help] [--test]',
        description=description, add_help=False,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('-h', '--help', action='help',
                        help=argparse.SUPPRESS)
    parser.add_argument('-t', '--test', action='store_true',
                        help=argparse.SUPPRESS)
    parser.parse_args()
    test()


def test():
    """
    Show a sample domain XML before and after, without vdsm; with the guard
    where extra_cpu_flags has it.
    """
    from xml.dom import minidom  # nosec B408 # the sample
    try:
        tlsciphers, tlsciphers_domain, _ = load_modules()
    except ImportError as error:
        sys.exit('50_emulator: ' + describe(error) % '')
    from tlsciphers_values import PROPERTIES, Refused
    properties = dict((name, os.environ[name]) for name in PROPERTIES
                      if name in os.environ)
    features = ''.join(
        '<feature name="%s"%s/>' % (tlsciphers_domain.GUARD, {
            '+': ' policy="require"', '-': ' policy="disable"',
        }.get(flag[:1], ''))
        for flag in os.environ.get('extra_cpu_flags', '').split(',')
        if tlsciphers_domain.has_guard(flag))
    before = SAMPLE_XML
    if features:
        before = before.replace('  <devices>', '  <cpu>%s</cpu>\n'
                                '  <devices>' % features)
    elif not properties:
        properties = {'tlsciphers': SAMPLE_CIPHERS}
    document = minidom.parseString(before)  # nosec B318 # the sample
    try:
        settings, notes = tlsciphers.resolve(
            properties, tlsciphers_domain.displays(document))
        guard = tlsciphers_domain.check_guard(document, settings)
    except Refused as refusal:
        sys.exit('50_emulator: %s' % refusal)
    tlsciphers_domain.remove(guard)
    if settings:
        tlsciphers_domain.set_policy(document, settings)
    print('Before:\n%s\n\nAfter:\n%s\n' % (
        before, document.documentElement.toxml()))
    for note in notes:
        print('vdsm.log: %s' % note)


def run(has_properties):
    """Do a hook's work: vdsm gives the VM's properties and domain XML."""
    enable_imports()
    try:
        import hooking
    except Exception as error:
        sys.stderr.write('vdsm-hook-tlsciphers: cannot import hooking, which '
                         'vdsm puts on PYTHONPATH: %s [no-hooking]\n'
                         % plain(error))
        sys.exit(0 if is_default_of_hosted_engine(has_properties) else 2)
    try:
        notes = enforce(hooking, *load_modules())
    except Exception as error:
        message = describe(error)
        if is_default_of_hosted_engine(has_properties):
            line = message % ' (not refused: it is the hosted engine)'
        elif not (has_properties or type(error).__name__ == 'Refused'):
            # That is best effort.
            line = message % ': host default ignored'
        elif is_resume(hooking):
            line = message % (' (not refused: the VM resumes, with the policy '
                              'that was saved)')
        else:
            hooking.exit_hook(message % '')
        notes = [line]
    for note in notes:
        hooking.log(str(note))


def load_modules():
    """Return the modules for a policy; where one is damaged: ImportError."""
    try:
        import tlsciphers_config
        import tlsciphers_domain
        import tlsciphers_host
        import tlsciphers_values

        import tlsciphers
        for module in (tlsciphers, tlsciphers_config, tlsciphers_domain,
                       tlsciphers_host, tlsciphers_values):
            if not hasattr(module, 'COMPLETE'):
                raise ImportError(module.__name__ + ' is cut off')
    except Exception as error:
        raise ImportError(str(error))
    return tlsciphers, tlsciphers_domain, tlsciphers_host


def describe(error):
    """
    Return an exception as a line (str) with one %s, for what is to be said
    before the remedy: a traceback would bury the cause.
    """
    # A module that is empty, or ends too early, lacks names.
    if isinstance(error, (ImportError, NameError)) or (
            isinstance(error, AttributeError) and 'module' in str(error)):
        parts = ('the package is damaged: %s' % error,
                 'dnf reinstall vdsm-hook-tlsciphers', 'package-damaged')
    elif type(error).__name__ == 'Refused':
        return '%s%%s%s [%s]' % tuple(part.replace('%', '%%') for part in (
            error.prefix + error.text,
            error.remedy and '; ' + error.remedy, error.code))
    elif isinstance(error, RuntimeError) and 'recursion' in str(error):
        # libvirt does not go that deep either.
        parts = UNREADABLE + 'it is nested too deeply', BROKEN_BY, 'domain-xml'
    else:
        parts = ('internal error (bug): %s: %s' % (
            type(error).__name__, error), 'report it', 'internal-error')
    return 'vdsm-hook-tlsciphers: %s%%s; %s [%s]' % (
        (plain(parts[0]).replace('%', '%%'),) + parts[1:])


def plain(text):
    """Return text, or an error, as a line may hold it."""
    return ''.join(c if ' ' <= c <= '~' and c not in '"\'\\' else '?'
                   for c in str(text)[:400])


def enforce(hooking, policy, domain, host):
    """
    Write the policy of this VM into its domain XML.

    Arguments:
        hooking, policy, domain, host (module): vdsm's, tlsciphers,
            tlsciphers_domain and tlsciphers_host.

    Returns:
        list: notes for vdsm.log.

    Raises:
        policy.Refused: the VM must not start; the XML is untouched.
    """
    try:
        with open(os.environ['_hook_domxml'], 'rb') as domxml:
            before = domxml.read()
        domain.check_doctype(before)
        document = hooking.read_domxml()
    except policy.Refused:
        raise
    except Exception as error:
        # Its text can hold anything that the file holds.
        raise policy.Refused(UNREADABLE + '%s: %s' % (
            type(error).__name__, policy.printable(str(error), 200)),
            BROKEN_BY, 'domain-xml', prefix=policy.PACKAGE)
    settings, notes = policy.resolve(os.environ, domain.displays(document),
                                     domain.is_hosted_engine(document))
    guard = domain.check_guard(document, settings)
    if not guard:
        notes.extend(domain.describe_guard(
            document, os.environ.get('extra_cpu_flags', '')))
    try:
        if settings:
            domain.check_emulator(document)
            notes.extend(host.check_wrapper())
    except policy.Refused as refusal:
        if policy.REQUIREMENT in [option for option, _ in settings]:
            raise
        return [policy.host_default_ignored(refusal)]
    domain.remove(guard)
    changed = settings and domain.set_policy(document, settings)
    if changed and domain.read_policy(document) != settings:
        raise policy.Refused('the policy did not get into the domain XML',
                             'dnf reinstall vdsm-hook-tlsciphers',
                             'package-damaged', prefix=policy.PACKAGE)
    if changed or guard:
        # In UTF-16 a zero byte stands between the two.
        if b'&#' in before.replace(b'\0', b''):
            document = domain.ExactDocument(document)
        write(hooking, policy, document, before)
    return notes


def write(hooking, policy, document, before):
    """
    Write the domain XML, or put back the bytes that were there before: vdsm
    parses the file even when a hook fails, and would report what is wrong
    with half a file instead of the cause.
    """
    try:
        hooking.write_domxml(document)
    except Exception as error:
        outcome = 'it is unchanged'
        try:
            with open(os.environ['_hook_domxml'], 'wb') as domxml:
                domxml.write(before)
        except EnvironmentError:
            outcome = 'and restoring it failed'
        if isinstance(error, RuntimeError):
            raise error  # noqa: TRY201 (Python 2: which one?)
        raise policy.Refused(
            'cannot write the domain XML: %s (%s)' % (
                policy.printable(str(error), 100), outcome),
            'make room in the folder of ' + policy.printable(
                os.environ['_hook_domxml'], 100), 'domain-xml-unwritable',
            prefix=policy.PACKAGE)


def is_default_of_hosted_engine(has_properties):
    """
    Tell whether it is only the host's default that brought us here, and the
    VM is the one in which the engine runs: nothing may keep that from
    starting.
    """
    if has_properties:
        return False
    try:
        with open(posix.environ[b'_hook_domxml'], 'rb') as domxml:
            return b'<name>HostedEngine</name>' in domxml.read()
    except EnvironmentError:
        return False


def is_resume(hooking):
    """
    Tell whether the VM resumes from a saved state: vdsm then runs this hook
    on an XML that it throws away. Since 4.2 it writes launch flags just
    before a real start, and only then. Where they are not surely missing, it
    is a start.
    """
    vm_id = os.environ.get('vmId', '')
    folder = os.path.join(VDSM_RUN_DIR, vm_id)
    return (hasattr(hooking, 'load_vm_launch_flags_from_file')
            and is_uuid(vm_id) and os.access(VDSM_RUN_DIR, os.R_OK | os.X_OK)
            and os.path.isdir(VDSM_RUN_DIR)
            and (is_missing(folder) or (
                os.path.isdir(folder)
                and is_missing(os.path.join(folder, 'launchflags')))))


def is_uuid(text):
    return [len(part) for part in text.split('-')] == [8, 4, 4, 4, 12] and (
        not text.strip('-0123456789abcdefABCDEF'))


def is_missing(path):
    """Tell whether there surely is nothing, not even a link to nowhere."""
    try:
        os.lstat(path)
    except OSError as error:
        return error.errno == errno.ENOENT
    return False


def enable_imports():
    """
    Undo the -S of the first line: find installed modules. Python 3 then still
    runs no sitecustomize (vdsm's reads its whole configuration).
    """
    import site
    site.addsitepackages(set())


# Its last line: what imports this asks for it, so a file that was cut off is
# none.
COMPLETE = True
