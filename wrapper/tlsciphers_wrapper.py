# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""
What the wrapper does for a VM with a policy: it reads the command line as
QEMU does, and puts the policy into effect.

Runs on Python 2.7 and 3.6 and later, and keeps to the syntax of 2.6, as the
hook does.
"""

import posix
import sys
import time

from tlsciphers_values import (
    BEST_EFFORT,
    CANNOT_ASK,
    GNUTLS_CLI,
    GROUPS_QUESTION,
    LETTERS_AND_DIGITS,
    LIST_QUESTION,
    OPENSSL,
    PROBE_SUITES,
    PROPERTY,
    REQUIREMENT,
    SPICE_KEYS,
    UNUSABLE,
    Refused,
    ask,
    ask_ahead,
    check_characters,
    check_cipher_list,
    check_groups,
    check_priority,
    check_protocols,
    check_suites,
    check_versions_and_groups,
    forget,
    has_static_rsa,
    offered_suites,
    openssl_ciphers,
    priority_question,
    unknown_suites,
    version_note,
)
from tlsciphers_values import (
    COMPLETE as COMPLETE_VALUES,  # noqa: F401
)

HOST_OPENSSL_CONF = '@OPENSSL_CONF@'
# What EL7's libspice reads at the end of its own settings, by a patch of that
# release; the path stands in the library.
SPICE_CONF = '/etc/pki/tls/spice.cnf'
LIBSPICE = ('/usr/lib64/libspice-server.so.1', '/usr/lib/libspice-server.so.1')

# As option_name() has them.
REQUIRED, DEFAULT = REQUIREMENT[1:], BEST_EFFORT[1:]

# The list of the manually installed wrapper, which this one replaces.
MANUAL_CIPHERS = (
    'ECDH+AESGCM:DH+AESGCM:ECDH+AES256:DH+AES256:ECDH+AES128:DH+AES:ECDH+3DES:'
    'DH+3DESRSA+AESGCM:RSA+AES:RSA+3DES:!aNULL:!MD5:!DSS')

# Of fcntl(2), which not every Python names: no more changes of a file's size
# and content, nor of this.
F_ADD_SEALS = 1033
ALL_SEALS = 0x1 | 0x2 | 0x4 | 0x8
MFD_ALLOW_SEALING = 2
# What of a file for SSL_CONF_cmd(3) would replace a setting.
SPICE_CONF_KEYS = {
    'cipherstring': 'ciphers', 'ciphersuites': 'ciphersuites',
    'protocol': 'protocols', 'minprotocol': 'protocols',
    'maxprotocol': 'protocols', 'groups': 'groups', 'curves': 'groups'}
# In -spice: no channel works without TLS, but for those that it names.
CLOSED = 'tls-channel=default'

# QEMU's options that take no value, from 0.12 to 11.1, and RHEL 6's own two;
# every other one takes the next argument, whatever that looks like.
WITHOUT_VALUE = frozenset((
    'S', 'alt-grab', 'async-teardown', 'audio-help', 'ctrl-grab', 'curses',
    'daemonize', 'enable-fips', 'enable-hax', 'enable-kqemu', 'enable-kvm',
    'enable-nesting', 'enable-sync-profile', 'fake-machine', 'full-screen',
    'h', 'help', 'jitdump', 'localtime', 'mem-prealloc', 'no-acpi',
    'no-fd-bootchk',
    'no-frame', 'no-hpet', 'no-kvm', 'no-kvm-irqchip', 'no-kvm-pit',
    'no-kvm-pit-reinjection', 'no-quit', 'no-reboot', 'no-shutdown',
    'no-user-config', 'nodefaults', 'nodefconfig', 'nographic', 'old-param',
    'only-migratable', 'perfmap', 'portrait', 'preconfig',
    'redhat-disable-KSM', 'rtc-td-hack', 's', 'sdl', 'semihosting',
    'show-cursor', 'singlestep', 'snapshot', 'tdf', 'usb', 'version',
    'virtfs_synth', 'win2k-hack', 'xen-attach', 'xen-create',
    'xen-domid-restrict'))
# Options whose value may be any text, one that looks like an option included.
FREE_TEXT = ('append', 'dtb', 'initrd', 'kernel', 'name')
# As the value of any other option these show that the table above lacks it.
NEVER_A_VALUE = FREE_TEXT + (
    'add-fd', 'display', 'object', 'readconfig', 'set', 'spice', 'vnc',
    REQUIRED, DEFAULT)

JSON_BLANKS = ' \t\r\n'

# Remedies, the first one with its code.
COMMAND_LINE = 'correct the command line', 'command-line'
CORRECT_HOOK = 'correct the hook that has added it, and start the VM again'


def final_arguments(arguments):
    """
    Return the real emulator's arguments (list of str) for those given by
    libvirt, and leave the environment as that one shall find it. Ends the
    process where a policy cannot be put into effect.
    """
    restore_locale()
    try:
        return with_policy(arguments)
    except Refused as refusal:
        write('qemu-kvm-modified: %s' % refusal)
        sys.exit(1)


def with_policy(arguments):
    """
    Return the arguments (list of str) with the policy in them in effect.
    Raises Refused where it cannot be put into effect.
    """
    names = [option_name(argument) for argument in arguments]
    if REQUIRED not in names and DEFAULT not in names and not (
            'spice' in names and 'tls-port=' in ','.join(arguments)):
        return arguments
    options = parse(arguments)
    settings = read_settings(options)
    if settings:
        options = [option for option in options
                   if option[0] not in (REQUIRED, DEFAULT)]
        arrives = 'incoming' in [option[0] for option in options]
        try:
            check_other_options(options, settings)
            if 'priority' in settings and vnc_displays(options) and (
                    not variables(b'GNUTLS_')):
                ask_ahead(GNUTLS_CLI, priority_question(
                    settings['priority'][1]), None)
            options = with_vnc_policy(
                with_spice_policy(options, settings, arrives), settings,
                arrives)
        except Refused as error:
            if error.kind != CANNOT_ASK:
                raise
            set_openssl_conf(posix.environ.get(b'OPENSSL_CONF'))
            drop(settings, sorted(settings), error, error.remedy)
        except EnvironmentError as error:
            # No descriptor, process or memory left, /proc not mounted.
            set_openssl_conf(posix.environ.get(b'OPENSSL_CONF'))
            give_up(settings, sorted(settings), 'cannot be put into effect: '
                    + printable(': '.join(part for part in (
                        error.filename, error.strerror) if part), 300),
                    'fix this host, or start the VM on another one',
                    'host-error')
        finally:
            # QEMU would have them as children.
            forget()
    elif has_tls_port(spice_parameters(options)):
        options = with_ciphers(
            options, MANUAL_CIPHERS, 'this VM comes from a host with a '
            'manually installed wrapper, whose cipher list it keeps: ',
            'manual-ciphers')
    return [argument for option in options for argument in option[2]]


# The command line


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
        raise Refused('cannot tell whether QEMU takes %s as value of -%s: '
                      'this version does not know that option' % (
                          printable(value), printable(name)),
                      'update vdsm-hook-tlsciphers, or remove the option from '
                      'the VM', 'unknown-option')


def split_parameters(option, value):
    """
    Split the value of an option in QEMU's syntax, key=value,key=value with
    ",," for a comma in a value, into a list of (key, text of the parameter).
    A first value without a key is its own key.
    """
    if value is None:
        raise Refused('-%s has no value' % option, *COMMAND_LINE)
    parameters = []
    start = 0
    while start < len(value):
        end = position_of_any('=,', value, start)
        while (start == 0 and option not in ('spice', 'add-fd')
               and value[end:end + 2] == ',,'):
            end = position_of_any(',', value, end + 2)
        key = value[start:end]
        if not key:
            # Merged with its neighbours, its commas would become ",,".
            raise Refused('-%s %s: a parameter without a name' % (
                option, printable(value)), *COMMAND_LINE)
        if value[end:end + 1] == '=':
            end = position_of_any(',', value, end)
            while value[end:end + 2] == ',,':
                end = position_of_any(',', value, end + 2)
        parameters.append((key, value[start:end]))
        start = end + 1
    return parameters


def position_of_any(characters, text, start):
    """Return where one of characters next is in text, or the end of text."""
    found = [text.find(character, start) for character in characters]
    return min([place for place in found if place >= 0] or [len(text)])


# The settings


def read_settings(options):
    """Return {key: (whether it is a requirement, value)}."""
    settings = {}
    for name, setting, _ in options:
        if name not in (REQUIRED, DEFAULT):
            continue
        key, equals, value = (setting or '').partition('=')
        if not equals or not value:
            raise Refused('-%s %s: KEY=VALUE is expected'
                          % (name, printable(setting or '')), CORRECT_HOOK,
                          'malformed-option')
        if key not in PROPERTY:
            raise Refused(printable(key) + ': this version cannot enforce it',
                          'update vdsm-hook-tlsciphers on this host',
                          'unknown-setting')
        if key in settings:
            raise Refused(key + ': given twice', CORRECT_HOOK,
                          'doubled-setting')
        check_setting(key, value)
        settings[key] = (name == REQUIRED, value)
    return settings


def check_setting(key, value):
    """Refuse (Refused) what can be told to be wrong without a library."""
    check_characters(key, value)
    if key == 'ciphers':
        for token in value.replace('+', ':').split(':'):
            if token.lstrip('!-').startswith('TLS_'):
                raise Refused('ciphers: %s: OpenSSL ignores TLS 1.3 suites in '
                              'this list' % printable(token), 'correct the '
                              'property tlsciphers of the VM',
                              'tls13-suite-in-list')
    if key == 'protocols':
        check_protocols(value, key)


def give_up(settings, keys, reason, remedy, code):
    """
    Refuse to start the VM if any of these settings is a requirement; else
    drop them, with a note.
    """
    drop(settings, keys, Refused('%s: %s' % (
        ', '.join(key for key in keys if key in settings), reason), remedy,
        code))


def drop(settings, keys, refusal, remedy=''):
    """
    As give_up(), with the refusal (Refused) in one; and with what is to be
    done (str) where it is the host's default.
    """
    required = [key for key in keys if key in settings
                and settings.pop(key)[0]]
    if required:
        raise Refused(refusal.text, refusal.remedy, refusal.code)
    note(refusal.text + ': host default ignored' + (
        remedy and '; ' + remedy), refusal.code)


def passes(settings, keys, arrives, check, *arguments):
    """
    Tell whether settings pass a check: a function that returns a list of
    Refused, or raises it. Those that do not are dropped, or refused.
    What only keeps clients from connecting does not stop a VM that arrives
    here (bool) with its memory: it would be lost.
    """
    try:
        problems = check(*arguments)
    except Refused as refusal:
        if refusal.kind == CANNOT_ASK:
            raise
        if refusal.kind != UNUSABLE:
            drop(settings, keys, refusal, refusal.remedy)
            return False
        problems = [refusal]
    for problem in problems:
        if not arrives:
            drop(settings, keys, problem, problem.remedy)
            return False
        note('%s (not refused: the VM comes from another host or a saved '
             'state); %s' % (problem.text, problem.remedy), problem.code)
    return True


def check_other_options(options, settings):
    """
    Give up where another option could undo a policy, or add a console beside
    it, in a way that cannot be seen here.
    """
    for name, value, _ in options:
        if name == 'readconfig' or (
                name == 'set' and (value or '')[:7] != 'device.') or (
                name == 'add-fd' and not is_inherited(value)):
            # What is set may be a password.
            shown = (value or '').partition('=' if name == 'set' else '\0')[0]
            give_up(settings, sorted(settings), '-%s %s may change what the '
                    'consoles of this VM accept' % (name, printable(shown)),
                    'remove that option from the VM', 'consoles-unknown')
            return


def is_inherited(value):
    """
    Tell whether the descriptor that an -add-fd option names is open. QEMU
    closes it: the number must not become that of our own file.
    """
    for key, text in split_parameters('add-fd', value):
        if key == 'fd':
            number = text[len('fd='):]
            try:
                # QEMU takes 010 for 8.
                if str(int(number)) != number:
                    return False
                posix.fstat(int(number))
            except (OSError, OverflowError, ValueError):
                return False
    return True


def variables(prefix):
    """Return the names (list of str) of the VM's environment that count."""
    return sorted(name.decode('latin-1') for name in posix.environ
                  if name.startswith(prefix) and name != b'OPENSSL_CONF')


def has_variables(prefix, settings, keys):
    """
    Tell whether the VM's environment could change what these settings mean
    to a TLS library, whose variables begin with prefix, and give up if so.
    """
    names = variables(prefix)
    if names:
        give_up(settings, keys, 'the environment of this VM has %s, which '
                'could change what that means' % printable(', '.join(names)),
                'remove <qemu:env> from the VM', 'environment-variables')
    return bool(names)


# SPICE


def with_spice_policy(options, settings, arrives):
    """
    Return the options with the settings for SPICE in effect; arrives (bool)
    says whether the VM migrates here or is restored.
    """
    keys = [key for key in SPICE_KEYS if key in settings]
    if not keys:
        return options
    parameters = spice_parameters(options)
    if not parameters and 'spice-app' in other_displays(options):
        give_up(settings, keys, 'with -display spice-app SPICE listens on a '
                'socket without TLS', 'remove that option from the VM',
                'spice-socket')
    if not parameters:
        return options
    open_port = plaintext_port(parameters)
    if not has_tls_port(parameters):
        return without_tls_port(options, settings, keys, open_port)
    for name in ('id', 'plaintext-channel'):
        if name in dict(parameters):
            give_up(settings, keys, 'with %s in -spice it is unknown which '
                    'channels work without TLS' % name,
                    'remove %s from -spice' % name, 'spice-channels')
            return options
    if has_variables(b'OPENSSL_', settings, keys):
        return options
    # That of the VM could give our programs and QEMU different settings.
    set_openssl_conf(None)
    check_spice_conf(settings)
    ask_about_spice(settings)
    configure_openssl(settings, arrives)
    passes(settings, ['ciphers'], arrives, usable_ciphers, settings)
    keys = [key for key in keys if key in settings]
    if b'OPENSSL_CONF' in posix.environ:
        given = posix.environ[b'OPENSSL_CONF']
        if keys:
            note('OPENSSL_CONF=%s of the VM is replaced'
                 % printable(given.decode('latin-1')),
                 'openssl-conf-replaced')
        else:
            set_openssl_conf(given)
    closing = ''
    if keys and open_port and ('tls-channel', CLOSED) not in parameters:
        closing = closing_parameter(settings, keys, open_port)
    if 'ciphers' in settings:
        return with_ciphers(options, settings['ciphers'][1], closing=closing)
    return with_closed_channels(options) if closing else options


def ask_about_spice(settings):
    """Ask ahead what usable_groups() and usable_ciphers() begin with."""
    if 'groups' in settings:
        ask_ahead(OPENSSL, GROUPS_QUESTION + (settings['groups'][1],), None)
    if 'ciphers' in settings and settings['ciphers'][1][:1] != '-':
        ask_ahead(OPENSSL, LIST_QUESTION + (settings['ciphers'][1],), None)


def closing_parameter(settings, keys, open_port):
    """
    Return what -spice needs beside a port without TLS, so that no channel
    works there: a default of the host adds nothing.
    """
    if [key for key in keys if settings[key][0]]:
        return CLOSED
    note('SPICE listens without TLS as well (%s): each channel works there '
         'that no tls-channel names; only a policy of the VM itself closes '
         'them' % printable(open_port), 'spice-plaintext')
    return ''


def usable_ciphers(settings):
    """Check the cipher list, if there is one: see passes()."""
    if 'ciphers' in settings:
        try:
            check_cipher_list(settings['ciphers'][1], 'ciphers', None)
        except Refused:
            # It was asked ahead, under the host's configuration, which may
            # take away a version that the policy brings back.
            check_cipher_list(settings['ciphers'][1], 'ciphers', None)
    return []


def plaintext_port(parameters):
    """Return the parameter of -spice that opens a port without TLS, or ''."""
    found = ''
    for key, text in parameters:
        if key == 'port':
            found = '' if text[len('port='):].strip('0') == '' else text
    if is_on(parameters, 'unix'):
        found = 'unix=on'
    return found


def is_on(parameters, name):
    """Tell whether a parameter that is on or off may be on."""
    value = 'off'
    for key, text in parameters:
        if key == name:
            value = text.partition('=')[2] or 'on'
        elif key == 'no' + name:
            value = 'off'
    return value not in ('off', 'no', 'false', 'n')


def without_tls_port(options, settings, keys, open_port):
    """The same for a SPICE console that has none."""
    if not open_port:
        note('SPICE does not listen: its policy has no effect',
             'spice-not-listening')
    elif open_port == 'unix=on':
        give_up(settings, keys, 'the SPICE console of this VM listens on a '
                'socket of the host, without TLS', 'give it an address in '
                'place of the socket, or remove the properties %s and '
                'tlsprofile from the VM' % PROPERTY[keys[0]], 'spice-socket')
    else:
        give_up(settings, keys, 'the SPICE console of this VM has no TLS port',
                'enable TLS for SPICE on this host (spice_tls in qemu.conf), '
                'or remove the properties %s and tlsprofile from the VM'
                % PROPERTY[keys[0]], 'spice-without-tls')
    return options


def other_displays(options):
    """
    Return the types (list of str) of -display options, in each spelling; all
    that matter where one cannot be read.
    """
    types = []
    for name, value, _ in options:
        if name == 'display' and value and value[0] == '{':
            members = read_json(value)
            types.extend([text[1:-1] for key, text in members if key == 'type']
                         or ['dbus', 'default', 'spice-app'])
        elif name == 'display' and value:
            types.extend(text.partition('=')[2] if key == 'type' else key
                         for key, text in split_parameters(name, value))
    return types


def spice_displays(options):
    return [value for name, value, _ in options if name == 'spice']


def spice_parameters(options):
    """Return the parameters of all -spice options, as split_parameters()."""
    return [pair for display in spice_displays(options)
            for pair in split_parameters('spice', display)]


def has_tls_port(parameters):
    """Tell whether parameters of -spice options ask for a TLS port."""
    port = ''
    for key, text in parameters:
        if key == 'tls-port':
            port = text[len('tls-port='):]
    if port.strip('0123456789'):
        raise Refused('-spice %s: not a decimal number' % printable(
            'tls-port=' + port), *COMMAND_LINE)
    return port.strip('0') != ''


def with_closed_channels(options):
    """Return the options with every channel of SPICE on the TLS port."""
    last = max(position for position, option in enumerate(options)
               if option[0] == 'spice')
    _, value, given = options[last]
    parameters = [text for _, text in split_parameters('spice', value)]
    parameters.append(CLOSED)
    note('QEMU gets -spice ' + masked(parameters), 'policy-applied')
    value = ','.join(parameters)
    return options[:last] + [('spice', value, [given[0], value])] + (
        options[last + 1:])


def masked(parameters):
    """Return parameters of -spice for a log, without the password."""
    return ','.join(printable(text, 4096) for text in parameters)


def with_ciphers(options, ciphers, reason='', code='policy-applied',
                 closing=''):
    """
    Return the options with one -spice option, the last, for ciphers, and with
    closing (str: a parameter) at its end; the log says the reason (str) and
    the code (str).
    """
    name, value, _ = options[-1]
    if name is not None and value is None and name not in WITHOUT_VALUE:
        raise Refused('-%s has no value' % printable(name), *COMMAND_LINE)
    parameters = ['tls-ciphers=' + ciphers]
    for name, value, _ in options:
        if name == 'spice':
            parameters.extend(
                text for key, text in split_parameters('spice', value)
                if key not in ('tls-ciphers', 'notls-ciphers'))
    if closing:
        parameters.append(closing)
    # For the VM's log, where libvirt writes only what it started itself.
    note(reason + 'QEMU gets -spice ' + masked(parameters), code)
    value = ','.join(parameters)
    return [option for option in options if option[0] != 'spice'] + [
        ('spice', value, ['-spice', value])]


def check_spice_conf(settings):
    """
    Give up where a file of the host that libspice reads last would permit
    more than the policy.
    """
    if not posix.access(SPICE_CONF, posix.R_OK) or not reads_spice_conf():
        return
    with open(SPICE_CONF, 'rb', 0) as configuration:
        text = configuration.read()
    for line in str(text.decode('latin-1').encode(
            'ascii', 'replace').decode('ascii')).split('\n'):
        name, _, value = line.partition('#')[0].partition('=')
        key = SPICE_CONF_KEYS.get(name.strip().rpartition('.')[2].lower())
        if key in settings and not (
                key == 'ciphers' and is_within(value.strip(),
                                               settings[key][1])):
            give_up(settings, [key], '%s of this host has %s, which libspice '
                    'puts in place of the policy' % (
                        SPICE_CONF, printable(line.strip())),
                    'remove that line, or have it permit no more than the '
                    'policy; the engine writes it at the installation of a '
                    'host (host_deploy_spice_cipher_string)', 'spice-cnf')


def reads_spice_conf():
    """
    Tell whether libspice reads that file: its path stands in the library
    then. Where no library is found, it may.
    """
    found = False
    for path in LIBSPICE:
        try:
            with open(path, 'rb', 0) as library:
                if SPICE_CONF.encode('ascii') in library.read():
                    return True
        except EnvironmentError as error:
            check_persistent(error)
        else:
            found = True
    return not found


def is_within(ciphers, permitted):
    """Tell whether a cipher list has no suite that another has not."""
    options = ('-s', '-tls1_2')
    suites, others = [
        ':'.join(openssl_ciphers(text, options, None)[1]).split(':')
        for text in (ciphers, permitted)]
    return suites != [''] and not set(suites) - set(others)


# TLS 1.3 suites, protocols and groups: QEMU has no option for them. Its
# OpenSSL reads a configuration, whose "system_default" section counts for
# every connection. An error there would leave it with its defaults, so what
# it makes of ours is looked at before QEMU starts.


def configure_openssl(settings, arrives):
    """
    Put the settings into effect that QEMU has no option for: in a file of our
    own, whose descriptor stays open for QEMU.
    """
    keys = [key for key in ('ciphersuites', 'protocols', 'groups')
            if key in settings]
    if not keys:
        return
    if 'groups' in settings and not passes(settings, ['groups'], arrives,
                                           usable_groups, settings):
        # They are no more among the settings.
        configure_openssl(settings, arrives)
        return
    descriptor = anonymous_file()
    try:
        path = '/proc/self/fd/%d' % descriptor
        posix.stat(path)
        set_openssl_conf(path.encode('ascii'))
        offered, problem = write_policy(descriptor, path, settings, arrives)
        keys = [key for key in keys if key in settings]
        if keys and not problem and not make_read_only(descriptor, path):
            remedy = ('run QEMU as a user of its own (user in '
                      '/etc/libvirt/qemu.conf), or update Python to 3.8')
            problem = (
                'QEMU runs as a user who can change the file that carries the '
                'policy, and this Python cannot seal it', remedy,
                'policy-not-sealed')
        if keys and not problem and passes(
                settings, keys, arrives, has_tls13_suite, offered,
                settings.get('protocols', (None, ''))[1]):
            note('QEMU gets OPENSSL_CONF with ' + ' '.join(
                '%s=%s' % (key, settings[key][1]) for key in keys),
                'policy-applied')
            return
    except (Refused, EnvironmentError):
        posix.close(descriptor)
        raise
    set_openssl_conf(None)
    posix.close(descriptor)
    if keys and problem:
        give_up(settings, keys, *problem)


def write_policy(descriptor, path, settings, arrives):
    """
    Write the configuration for the settings to a file (with its path in
    /proc). Returns as write_configuration().
    """
    values = [settings.get(key, (None, ''))[1]
              for key in ('ciphersuites', 'protocols', 'groups')]
    # Those of the policy must be negotiated; the host's may depend on a
    # security level that the cipher list changes.
    offered, problem = write_configuration(
        descriptor, *values, options=('-s',) if values[0] else ())
    if not problem or not values[0]:
        return offered, problem
    # The suites may be why: these questions are asked only then.
    set_openssl_conf(None)
    if not passes(settings, ['ciphersuites'], arrives, usable_suites,
                  settings):
        values[0] = ''
    if values == ['', '', '']:
        return None, None
    set_openssl_conf(path.encode('ascii'))
    # A VM that arrives may have suites that are never negotiated.
    return write_configuration(descriptor, *values)


def usable_groups(settings):
    """Check the groups: see passes()."""
    groups = settings['groups'][1]
    problems = check_groups(groups, 'groups', None)
    check_versions_and_groups(
        settings.get('protocols', (None, ''))[1], groups,
        lambda: has_static_rsa(settings.get('ciphers', (None, None))[1],
                               None), 'groups')
    return problems


def usable_suites(settings):
    """Check the TLS 1.3 suites: see passes()."""
    suites = [suite for suite in settings['ciphersuites'][1].split(':')
              if suite]
    unknown, problems = check_suites(suites, 'ciphersuites', None)
    if unknown:
        raise unknown_suites(unknown, 'ciphersuites', None)
    return problems


def has_tls13_suite(offered, protocols):
    """
    Check that TLS 1.3, where the policy permits it, has a suite: the host's
    configuration may have taken all of them away.
    """
    if offered or 'TLSv1.3' not in protocols:
        return []
    return [Refused(
        'protocols: %s: %s of this host leaves no TLS 1.3 suite (an empty '
        'Ciphersuites, for example), so no client could connect'
        % (protocols, host_openssl_conf()),
        'add TLS_AES_256_GCM_SHA384 to the property tlsciphers of the VM',
        'no-tls13-suite', UNUSABLE)]


def set_openssl_conf(path):
    """Have QEMU find a path (bytes) in OPENSSL_CONF, or no such variable."""
    if path is None:
        posix.unsetenv(b'OPENSSL_CONF')
    else:
        posix.putenv(b'OPENSSL_CONF', path)


def write_configuration(descriptor, ciphersuites, protocols, groups,
                        options=()):
    """
    Write the configuration that QEMU's OpenSSL will read. Returns the TLS 1.3
    suites that are left (list of str, not known: None), and either None, or
    why it would not take effect, the remedy, and the message's code. With the
    options ('-s',) it counts only those that are negotiated.
    """
    commands = ''
    if protocols:
        versions = protocols.split(':')
        # The host's section may have taken a version out by "Protocol".
        commands += ('Protocol = ALL\nMinProtocol = %s\nMaxProtocol = %s\n'
                     % (versions[0], versions[-1]))
    if groups:
        commands += 'Groups = %s\n' % groups
    # Not included: what we check is to be what QEMU reads a moment later,
    # whatever becomes of the host's file, or of an attempt to open it.
    path = host_openssl_conf()
    try:
        host, chain = read_host_configuration(path)
    except EnvironmentError as error:
        check_persistent(error)
        host, chain = '', section_chain({})
        if not is_missing(error):
            note('OpenSSL cannot read %s: %s; only the policy counts'
                 % (path, error.strerror), 'host-openssl-conf-unreadable')
    except ValueError as error:
        remedy = ('write out variables, quotes, relative paths and names of '
                  'sections there')
        return None, ('%s cannot be evaluated: %s' % (
            path, printable(str(error))), remedy, 'host-openssl-conf')
    offered = takes_effect(descriptor, host + chain + commands, ciphersuites,
                           options)
    if offered is not None:
        return offered, None
    if takes_effect(descriptor, section_chain({}) + commands, ciphersuites,
                    options) is None:
        remedy = ('remove the properties tlsprotocols, tlsgroups and '
                  'tlsprofile from the VM')
        return None, ('OpenSSL of this host has no such settings'
                      + version_note(None), remedy, 'openssl-too-old')
    # So the host's own file is one that OpenSSL cannot read: all of it, and
    # so ignores it in every program, or a line of the section we add to.
    if takes_effect(descriptor, host + section_chain({}), '') is None:
        note('%s is malformed and OpenSSL ignores it; only the policy counts'
             % path, 'host-openssl-conf-malformed')
        return takes_effect(descriptor, section_chain({}) + commands,
                            ciphersuites, options), None
    remedy = 'correct that file, or the one that it includes'
    line = offending_line(descriptor, host, chain)
    return None, ('OpenSSL rejects %s of this host%s, which the policy is '
                  'added to' % (path, line), remedy, 'host-openssl-conf')


def offending_line(descriptor, host, chain):
    """Return where the host's section (text) has a line that is not taken."""
    section = chain.rstrip('\n').rpartition('[')[2].rstrip(']')
    current = 'default'
    for line in host.replace('\\\n', '').split('\n'):
        line = line.partition('#')[0].strip()
        if line[:1] == '[':
            current = line[1:].partition(']')[0].strip()
        elif current == section and '=' in line and takes_effect(
                descriptor, section_chain({}) + line + '\n', '') is None:
            return ' (%s in [%s])' % (printable(line), printable(section))
    return ''


def takes_effect(descriptor, configuration, ciphersuites, options=()):
    """
    Write a configuration, whose last section is open, with the TLS 1.3 suites
    (if any). Returns the suites (list of str) that OpenSSL then offers for
    TLS 1.3, or None where it does not take all of the configuration; options
    as for write_configuration().
    """
    # Two different lists of suites, one after the other: if OpenSSL offers
    # each, they come from here. They stand last: OpenSSL 1.1.1 stops at the
    # first line that it does not take.
    proof = PROBE_SUITES[ciphersuites == PROBE_SUITES[0]]
    if try_configuration(descriptor, configuration, proof) != [proof]:
        return None
    offered = try_configuration(descriptor, configuration, ciphersuites,
                                options)
    if ciphersuites:
        if offered != ciphersuites.split(':'):
            return None
    elif offered == [proof]:
        # The host has just that one.
        if try_configuration(descriptor, configuration, PROBE_SUITES[1]) != (
                [PROBE_SUITES[1]]):
            return None
        try_configuration(descriptor, configuration, '')
    return offered


def try_configuration(descriptor, configuration, ciphersuites, options=()):
    """
    Write a configuration with TLS 1.3 suites (if any). Returns those (list of
    str) that OpenSSL then offers, None where it cannot read just that;
    options as for write_configuration().
    """
    if ciphersuites:
        configuration += 'Ciphersuites = %s\n' % ciphersuites
    text = encoded(configuration)
    posix.ftruncate(descriptor, 0)
    posix.lseek(descriptor, 0, 0)
    if posix.write(descriptor, text) != len(text):
        raise EnvironmentError(None, 'no room for the OpenSSL configuration')
    with open('/proc/self/fd/%d' % descriptor, 'rb', 0) as handed_over:
        if handed_over.read() != text:
            return None
    return offered_suites(ask(OPENSSL, ('ciphers',) + options, None)[1])


def anonymous_file():
    """Return the descriptor of a new file without a name; QEMU inherits it."""
    if hasattr(posix, 'memfd_create'):
        return posix.memfd_create('vdsm-tls', MFD_ALLOW_SEALING)
    for folder in ('/tmp', '/dev/shm', '/var/tmp'):  # nosec B108 # no name
        try:
            descriptor = posix.open(
                folder, posix.O_RDWR | getattr(posix, 'O_TMPFILE', 0o20200000),
                0o600)
        except OSError as error:
            failure = error
        else:
            if hasattr(posix, 'set_inheritable'):
                posix.set_inheritable(descriptor, True)
            return descriptor
    raise failure


def make_read_only(descriptor, path):
    """
    Make an anonymous file (with its path in /proc) one that QEMU cannot
    change, whatever its options (-D, for instance) have it write to there.
    Returns whether that is so.
    """
    if hasattr(posix, 'memfd_create'):
        import fcntl
        fcntl.fcntl(descriptor, F_ADD_SEALS, ALL_SEALS)
    posix.chmod(path, 0o400)
    reader = posix.open(path, posix.O_RDONLY)
    posix.dup2(reader, descriptor)
    posix.close(reader)
    if hasattr(posix, 'memfd_create'):
        return True
    try:
        # As root it would still be possible.
        posix.close(posix.open(path, posix.O_WRONLY))
    except OSError as error:
        check_persistent(error)
        return True
    return False


def section_chain(values):
    """
    Return the beginning of a configuration that is to be added to values
    ({(section, key): value}), up to the open "system_default" section: the
    host's own, or one of ours where the host has none.
    """
    text = ''
    section = 'default'
    for key in ('openssl_conf', 'ssl_conf', 'system_default'):
        name = values.get((section, key))
        if name is None:
            name = 'vdsm_tls_' + key
            text += '[%s]\n%s = %s\n' % (section, key, name)
        elif not name or name.strip(LETTERS_AND_DIGITS + '_-'):
            raise ValueError('%s = %s' % (key, name))
        section = name
    return text + '[%s]\n' % section


def encoded(text):
    return text if str is bytes else text.encode('latin-1')


def host_openssl_conf():
    """Return the path of the file that this host's OpenSSL reads."""
    try:
        posix.stat(HOST_OPENSSL_CONF)
    except OSError as error:
        # The package may have been built for another distribution.
        lines = ask(OPENSSL, ('version', '-d'), None)[1]
        folder = ''.join(lines).partition('"')[2].partition('"')[0]
        if is_missing(error) and folder[:1] == '/':
            return folder + '/openssl.cnf'
    return HOST_OPENSSL_CONF


def read_host_configuration(path=None):
    """
    Return the text of the host's configuration, with the files that it
    includes in their places, and the section_chain to be added to it.
    """
    values = {}
    lines = []
    read_configuration(path or host_openssl_conf(), 'default', values, lines,
                       0)
    return '\n'.join(lines + ['']), section_chain(values)


def read_configuration(path, section, values, lines, depth):
    """
    Read a file in the syntax of config(5) into values and lines. Returns the
    section that is open at its end. Raises ValueError for what could mean
    something else to OpenSSL, EnvironmentError.
    """
    # Unbuffered: Python would ask a terminal's question of the file, which a
    # policy of SELinux that lets a VM only read it denies, and logs.
    with open(path, 'rb', 0) as configuration:
        text = configuration.read()
    if text[:3] == b'\xef\xbb\xbf':
        # OpenSSL skips it in its own file, and not in one that is included.
        raise ValueError('a byte order mark')
    if str is not bytes:
        text = text.decode('latin-1')
    text = text.replace('\r', '')
    if '\\\\\n' in text or text[-1:] == '\\':
        raise ValueError('a backslash at the end of a line')
    text = text.replace('\\\n', '')
    done = 0
    for start in lines_that_count(text):
        end = text.find('\n', start) % (len(text) + 1)
        line = text[start:end].partition('#')[0].strip()
        if line[:1] == '[':
            section = line[1:].partition(']')[0].strip()
        elif line[:8] == '.include':
            if start > done:
                lines.append(text[done:start - 1])
            done = end + 1
            section = read_included(line[8:].strip().lstrip('= \t'), section,
                                    values, lines, depth)
        elif '=' in line:
            key, _, value = line.partition('=')
            key = key.rstrip()
            if key[:9] == 'ssl_conf.':
                raise ValueError(line)
            named, colons, rest = key.partition('::')
            values[(named, rest) if colons else (section, key)] = (
                value.lstrip())
    if done <= len(text):
        lines.append(text[done:])
    return section


def lines_that_count(text):
    """
    Return where (list of int) a configuration's lines begin that all else
    depends on. The others mean the same behind our own lines as without them.
    """
    starts = set()
    for word in '[', '.include', 'ssl_conf', 'system_default':
        place = text.find(word)
        while place >= 0:
            starts.add(text.rfind('\n', 0, place) + 1)
            place = text.find(word, place + 1)
    return sorted(starts)


def read_included(path, section, values, lines, depth):
    if path[:1] != '/' or set('"\'\\$') & set(path) or depth > 9:
        raise ValueError('.include ' + path)
    try:
        names = ['/' + name for name in posix.listdir(path)
                 if name.endswith(('.cnf', '.conf'))]
    except OSError as error:
        check_persistent(error)
        names = ['']  # It is no folder.
    for name in names:
        try:
            section = read_configuration(path + name, section, values, lines,
                                         depth + 1)
        except EnvironmentError as error:
            check_persistent(error)  # OpenSSL goes on, too.
    return section


def check_persistent(error):
    """
    Raise an error that OpenSSL need not meet when it reads the same file: no
    descriptor or memory left, say.
    """
    import errno  # It costs a start, and few need it.
    if error.errno not in (errno.ENOENT, errno.EACCES, errno.ENOTDIR,
                           errno.EISDIR, errno.ELOOP):
        raise error


def is_missing(error):
    import errno
    return error.errno in (errno.ENOENT, errno.ENOTDIR)


# VNC


def with_vnc_policy(options, settings, arrives):
    """
    Return the options with the setting for VNC in effect; arrives as for
    with_spice_policy().
    """
    displays = vnc_displays(options)
    if 'priority' not in settings:
        return options
    if not displays and 'dbus' in other_displays(options):
        give_up(settings, ['priority'], 'with -display dbus another '
                'process of this host may serve VNC, which takes no '
                'policy', 'remove the properties tlspriority and '
                'tlsprofile from the VM', 'vnc-elsewhere')
    if not displays and not spice_displays(options) and (
            'default' in other_displays(options)):
        give_up(settings, ['priority'], 'with -display default QEMU may open '
                'VNC without TLS', 'remove that option from the VM',
                'vnc-default')
    wanted = wanted_credentials(displays, settings)
    if not wanted or has_variables(b'GNUTLS_', settings, ['priority']):
        return options
    required, priority = settings['priority']
    if not passes(settings, ['priority'], arrives, usable_priority, priority):
        return options
    found = []
    missing = set(wanted)
    try:
        for position, option in enumerate(options):
            creds = credentials(option, wanted)
            if creds:
                found.append((position,) + creds)
                missing.discard(creds[0])
    except ValueError:
        missing = wanted
    if missing:
        give_up(settings, ['priority'], 'the command line has no '
                'tls-creds-x509 object %s that can be read'
                % printable(', '.join(sorted(missing))),
                'update vdsm-hook-tlsciphers on this host, or remove the '
                'object that another hook has added', 'vnc-credentials')
        return options
    given = [own for _, _, own, _, _ in found if own]
    if given and not required:
        note('priority: the one that this host gives all consoles holds '
             '(vnc_tls_priority or default_tls_priority in qemu.conf): %s: '
             'host default ignored' % printable(given[0]), 'host-priority')
        return options
    changed = list(options)
    for position, _, _, beginning, end in found:
        value = beginning + priority + end
        note('QEMU gets -object ' + printable(value, 4096), 'policy-applied')
        changed[position] = ('object', value, ['-object', value])
    return changed


def wanted_credentials(displays, settings):
    """
    Return the names (set of str) of the credentials that VNC displays use; an
    empty one where a display has none, and so no policy.
    """
    wanted = set()
    for parameters in displays:
        # To QEMU "notls-creds" is tls-creds=off; nothing here is named so.
        names = [text.partition('=')[2] for key, text in parameters
                 if key in ('tls-creds', 'notls-creds')]
        if names:
            wanted.add(names[-1])
            continue
        code = 'vnc-without-tls'
        remedy = 'remove the properties tlspriority and tlsprofile from the VM'
        if set(('tls', 'x509', 'x509verify')) & set(
                key for key, _ in parameters):
            reason = ('the libvirt of this host is too old for a TLS policy '
                      'of VNC')
            code = 'vnc-libvirt-too-old'
        elif parameters[0][1].startswith(('unix:', 'vnc=unix:')):
            reason = ('the VNC console of this VM listens on a socket of the '
                      'host, without TLS')
            remedy = 'give it an address in place of the socket, or ' + remedy
            code = 'vnc-socket'
        else:
            reason = 'the VNC console of this VM is not encrypted'
            remedy = ('check Enable VNC Encryption in the engine (Compute > '
                      'Clusters > Edit > Console) and reinstall the hosts of '
                      'the cluster, or ' + remedy)
        give_up(settings, ['priority'], reason, remedy, code)
        return set()
    return wanted


def usable_priority(priority):
    return check_priority(priority, 'priority', None)[1]


def vnc_displays(options):
    """Return the parameters of each VNC display."""
    displays = []
    for name, value, _ in options:
        if name == 'display' and value and value.startswith('vnc='):
            value = value[len('vnc='):]
        elif name != 'vnc':
            continue
        parameters = split_parameters('vnc', value)
        if parameters and parameters[0][1] not in ('none', 'vnc=none'):
            displays.append(parameters)
    return displays


def credentials(option, wanted):
    """
    Return what there is of a tls-creds-x509 object that an option makes, if
    its name is in wanted (a set of str), else None: name (str), priority (str:
    what it has already, or None), and what stands before and behind another
    one in the option's value (str). Raises ValueError where one QEMU might
    take the first, another the last of two names.
    """
    name, value, _ = option
    if name != 'object' or not value or not [
            creds for creds in wanted if creds in value]:
        return None
    if value[0] == '{':
        texts = [(key, '"%s":%s' % (key, text), text[1:-1])
                 for key, text in read_json(value)]
        form = '{%s,"priority":"', '"}'
    else:
        texts = [(key, text, text.partition('=')[2])
                 for key, text in split_parameters('object', value)]
        if '=' not in texts[0][1]:
            texts[0] = 'qom-type', texts[0][1], texts[0][0]
        form = '%s,priority=', ''
    for key in ('id', 'qom-type'):
        # Before 5.2 QEMU took what stands behind a doubled comma for a key.
        if [found for found, _, _ in texts].count(key) > 1 or (
                value[0] != '{' and ',,%s=' % key in value):
            raise ValueError(key)
    members = dict((key, text) for key, _, text in texts)
    # QEMU has no object with an empty name; the keyword alone is id=on.
    if members.get('qom-type') != 'tls-creds-x509' or (
            not members.get('id') or members['id'] not in wanted):
        return None
    return members['id'], members.get('priority'), form[0] % ','.join(
        text for key, text, _ in texts if key != 'priority'), form[1]


def read_json(value):
    """
    Return the members of a JSON object as a list of (name, JSON of value), an
    empty one where it is not as plain as libvirt writes credentials: texts
    without escapes, true and false. The package json costs more to import
    than all else here.
    """
    members = []
    rest = value[1:].lstrip(JSON_BLANKS)
    while True:
        name, end, rest = rest.partition('":')
        rest = rest.lstrip(JSON_BLANKS)
        text = [word for word in ('true', 'false') if rest.startswith(word)]
        if text:
            text = text[0]
            rest = rest[len(text):]
        else:
            quote, (text, end_quote, rest) = rest[:1], rest[1:].partition('"')
            text = quote + text + end_quote
        if not end or not is_plain(name[1:]) or name[:1] != '"' or (
                text not in ('true', 'false') and not (
                    text[:1] == text[-1:] == '"' and is_plain(text[1:-1]))):
            return []
        members.append((name[1:], text))
        rest = rest.lstrip(JSON_BLANKS)
        if rest[:1] != ',':
            return members if rest.rstrip(JSON_BLANKS) == '}' else []
        rest = rest[1:].lstrip(JSON_BLANKS)


def is_plain(text):
    return '"' not in text and '\\' not in text and min(text or ' ') >= ' '


# What all parts need


def write(line):
    try:
        posix.write(2, (line + '\n').encode('ascii'))
    except OSError:
        pass


def restore_locale():
    """
    Undo PEP 538: Python 3.7 and later, started in the C locale without
    LC_ALL, set LC_CTYPE, and the emulator would inherit it.
    """
    name = b'LC_CTYPE'
    if posix.environ.get(name) not in (b'C.UTF-8', b'C.utf8', b'UTF-8'):
        return
    try:
        with open('/proc/self/environ', 'rb', 0) as environ:
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
    """
    Return text for a message: ASCII, in one line, not too long, and cut where
    a password begins.
    """
    for secret in ('password=', 'data=', 'opaque='):
        if secret in text:
            text = text.partition(secret)[0] + secret + '*'
    shown = ''.join(c if ' ' <= c <= '~' else '?' for c in text[:limit])
    return shown + '...' if len(text) > limit else shown


def note(text, code):
    """
    Write a line to the VM's log, with the code of its message, in the format
    of libvirt's own messages: libvirt keeps those out of the error that it
    reports when QEMU fails.
    """
    write('%s: %d: info : qemu-kvm-modified: %s [%s]' % (
        time.strftime('%Y-%m-%d %H:%M:%S.000+0000', time.gmtime()),
        posix.getpid(), text, code))


# Its last line: what imports this asks for it, so a file that was cut off is
# none.
COMPLETE = True
