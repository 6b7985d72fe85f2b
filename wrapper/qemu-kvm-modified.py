#!@PYTHON@ -ESs
# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""
Starts QEMU with the TLS policy that the VM's command line asks for.

libvirt starts this as the VM's emulator. Options of its own (-vdsm-tls and
-vdsm-tls-default, each with KEY=VALUE) are taken out and put into effect, and
the real emulator takes over this process. What cannot be put into effect
keeps the VM from starting, with one line on standard error.
"""

import posix
import sys
import time

try:
    import _signal as signal  # Python 3: "signal" itself imports much more.
except ImportError:
    import signal

QEMU_KVM = '@QEMU_KVM@'

REQUIREMENT = 'vdsm-tls'
BEST_EFFORT = 'vdsm-tls-default'

# The list of the manual installation, which this wrapper takes the place of.
MANUAL_CIPHERS = (
    'ECDH+AESGCM:DH+AESGCM:ECDH+AES256:DH+AES256:ECDH+AES128:DH+AES:ECDH+3DES:'
    'DH+3DESRSA+AESGCM:RSA+AES:RSA+3DES:!aNULL:!MD5:!DSS')

CIPHER_CHARACTERS = frozenset(
    'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._=@!+:-')
# libspice drops the rest of a longer list without a word.
LONGEST_CIPHER_LIST = 255

# QEMU's options that take no value, from 0.12 to 10.0; every other one takes
# the next argument, whatever that looks like.
WITHOUT_VALUE = frozenset((
    'S', 'alt-grab', 'async-teardown', 'audio-help', 'ctrl-grab', 'curses',
    'daemonize', 'enable-fips', 'enable-hax', 'enable-kqemu', 'enable-kvm',
    'enable-nesting', 'enable-sync-profile', 'full-screen', 'h', 'help',
    'jitdump', 'localtime', 'mem-prealloc', 'no-acpi', 'no-fd-bootchk',
    'no-frame', 'no-hpet', 'no-kvm', 'no-kvm-irqchip', 'no-kvm-pit',
    'no-kvm-pit-reinjection', 'no-quit', 'no-reboot', 'no-shutdown',
    'no-user-config', 'nodefaults', 'nodefconfig', 'nographic', 'old-param',
    'only-migratable', 'perfmap', 'portrait', 'preconfig', 'rtc-td-hack', 's',
    'sdl', 'semihosting', 'show-cursor', 'singlestep', 'snapshot', 'tdf',
    'usb', 'version', 'virtfs_synth', 'win2k-hack', 'xen-attach',
    'xen-create', 'xen-domid-restrict'))
# Options whose value may be any text, one that looks like an option included.
FREE_TEXT = ('append', 'dtb', 'initrd', 'kernel', 'name')
# As the value of any other option these show that the table above lacks it.
NEVER_A_VALUE = FREE_TEXT + ('object', 'spice', 'vnc', REQUIREMENT,
                             BEST_EFFORT)


def main():
    arguments = [QEMU_KVM] + final_arguments(sys.argv[1:])
    restore_signals()
    restore_locale()
    try:
        posix.execv(QEMU_KVM, arguments)
    except OSError as error:
        refuse('cannot start %s: %s; remedy: install or repair the package '
               'qemu-kvm' % (QEMU_KVM, error.strerror))


def final_arguments(arguments):
    """Return the real emulator's arguments for those given by libvirt."""
    names = [option_name(argument) for argument in arguments]
    if REQUIREMENT not in names and BEST_EFFORT not in names and not (
            'spice' in names and 'tls-port=' in ','.join(arguments)):
        return arguments
    options = parse(arguments)
    settings = read_settings(options)
    displays = [value for name, value, _ in options if name == 'spice']
    if not settings:
        if not has_tls_port(displays):
            return arguments
        return with_ciphers(options, MANUAL_CIPHERS,
                            'this VM comes from a host with a manual '
                            'installation, whose cipher list it keeps: ')
    requirement, ciphers = settings['ciphers']
    if displays and not has_tls_port(displays):
        if requirement:
            refuse('ciphers: the SPICE console of this VM has no TLS port; '
                   'remedy: enable TLS for SPICE on this host (spice_tls in '
                   'qemu.conf), or remove the property tlsciphers from the '
                   'VM')
        note('ciphers: the SPICE console of this VM has no TLS port; the '
             'default of the host does not apply')
        displays = []
    if not displays:
        return [argument for name, _, given in options for argument in given
                if name not in (REQUIREMENT, BEST_EFFORT)]
    return with_ciphers(options, ciphers)


def option_name(argument):
    """Return the name of the option that QEMU sees here, or None."""
    if argument[:2] == '--':
        return argument[2:]
    return argument[1:] if argument[:1] == '-' else None


def parse(arguments):
    """
    Read a command line as QEMU's argument loop does.

    Returns a list of (name, value, given): name is None for a disk image,
    value is None where there is none, given are the arguments as they are.
    """
    options = []
    position = 0
    while position < len(arguments):
        name = option_name(arguments[position])
        end = position + 1
        value = None
        if name is not None and name not in WITHOUT_VALUE:
            end = position + 2
            if end <= len(arguments):
                value = arguments[position + 1]
                check_value(name, value)
        options.append((name, value, arguments[position:end]))
        position = end
    return options


def check_value(name, value):
    if name not in FREE_TEXT and option_name(value) in NEVER_A_VALUE:
        refuse('cannot tell whether QEMU takes %s for the value of -%s: this '
               'version does not know that option; remedy: update '
               'vdsm-hook-tlsciphers, or remove the option from the VM'
               % (printable(value), printable(name)))


def read_settings(options):
    """Return {key: (whether it is a requirement, value)}."""
    settings = {}
    for name, setting, _ in options:
        if name not in (REQUIREMENT, BEST_EFFORT):
            continue
        key, equals, value = (setting or '').partition('=')
        if not equals or not value:
            refuse('-%s %s: KEY=VALUE is expected; remedy: shut the VM down '
                   'and start it anew' % (name, printable(setting or '')))
        if key != 'ciphers':
            refuse('%s: this version cannot enforce it; remedy: update '
                   'vdsm-hook-tlsciphers on this host' % printable(key))
        if key in settings:
            refuse('%s: given twice; remedy: shut the VM down and start it '
                   'anew' % key)
        check_ciphers(value)
        settings[key] = (name == REQUIREMENT, value)
    return settings


def check_ciphers(value):
    if len(value) > LONGEST_CIPHER_LIST:
        refuse('ciphers: the list has %d characters, and SPICE silently '
               'ignores what follows the first %d; remedy: shorten the '
               'property tlsciphers of the VM'
               % (len(value), LONGEST_CIPHER_LIST))
    for character in value:
        if character not in CIPHER_CHARACTERS:
            refuse('ciphers: %s: %s is not allowed in a cipher list; remedy: '
                   'correct the property tlsciphers of the VM'
                   % (printable(value),
                      'a comma' if character == ',' else
                      'the character ' + printable(character)))
    for token in value.replace('+', ':').split(':'):
        if token.lstrip('!-').startswith('TLS_'):
            refuse('ciphers: %s: this version cannot set TLS 1.3 suites; '
                   'remedy: update vdsm-hook-tlsciphers on this host'
                   % printable(token))


def with_ciphers(options, ciphers, reason=''):
    """Return the arguments with one -spice option, the last, for ciphers."""
    parameters = ['tls-ciphers=' + ciphers]
    arguments = []
    for name, value, given in options:
        if name == 'spice':
            parameters.extend(
                text for key, text in split_parameters(value)
                if key not in ('tls-ciphers', 'notls-ciphers'))
        elif name not in (REQUIREMENT, BEST_EFFORT):
            arguments.extend(given)
    # For the VM's log, where libvirt writes only what it started itself.
    note(reason + 'QEMU gets -spice ' + ','.join(
        'password=*' if text.startswith('password=') else printable(text, 4096)
        for text in parameters))
    return arguments + ['-spice', ','.join(parameters)]


def has_tls_port(displays):
    """Tell whether -spice options (their values) ask for a TLS port."""
    port = ''
    for display in displays:
        for key, text in split_parameters(display):
            if key == 'tls-port':
                port = text[len('tls-port='):]
    return port.strip('0') != ''


def split_parameters(value):
    """
    Split a value in QEMU's syntax, key=value,key=value with ",," for a comma
    in a value, into a list of (key, text of the whole parameter).
    """
    if value is None:
        refuse('-spice has no value; remedy: correct the command line')
    parameters = []
    start = 0
    while start < len(value):
        end = position_of_any('=,', value, start)
        key = value[start:end]
        if not key:
            # Merged with its neighbours, its commas would become ",,".
            refuse('-spice %s: a parameter without a name; remedy: correct '
                   'the command line' % printable(value))
        if value[end:end + 1] == '=':
            end = position_of_any(',', value, end)
            while value[end:end + 2] == ',,':
                end = position_of_any(',', value, end + 2)
        parameters.append((key, value[start:end]))
        start = end + 1
    return parameters


def position_of_any(characters, text, start):
    """Return where one of characters next is in text, or the end of text."""
    while start < len(text) and text[start] not in characters:
        start += 1
    return start


def restore_signals():
    """Undo what Python ignores at its start and exec would pass on."""
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)


def restore_locale():
    """
    Undo PEP 538: Python 3.7 and later, started in the C locale without
    LC_ALL, set LC_CTYPE, and the emulator would inherit it.
    """
    name = b'LC_CTYPE'
    if posix.environ.get(name) not in (b'C.UTF-8', b'C.utf8', b'UTF-8'):
        return
    try:
        with open('/proc/self/environ', 'rb') as environ:
            given = environ.read().split(b'\0')
    except EnvironmentError:
        return
    values = [entry[len(name) + 1:] for entry in given
              if entry.startswith(name + b'=')]
    if not values:
        posix.unsetenv(name)
    elif values[0] != posix.environ[name]:
        posix.putenv(name, values[0])


def printable(text, limit=100):
    """Return text for a message: ASCII, in one line, not too long."""
    shown = ''.join(c if ' ' <= c <= '~' else '?' for c in text[:limit])
    return shown + '...' if len(text) > limit else shown


def note(line):
    """
    Write a line to the VM's log, in the format of libvirt's own messages:
    libvirt keeps those out of the error that it reports when QEMU fails.
    """
    write('%s: %d: info : qemu-kvm-modified: %s' % (
        time.strftime('%Y-%m-%d %H:%M:%S.000+0000', time.gmtime()),
        posix.getpid(), line))


def refuse(line):
    write('qemu-kvm-modified: ' + line)
    sys.exit(1)


def write(line):
    try:
        posix.write(2, (line + '\n').encode('ascii'))
    except OSError:
        pass


if __name__ == '__main__':
    main()
