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

try:
    import _signal as signal  # Python 3: "signal" itself imports much more.
except ImportError:
    import signal

OPENSSL = '@OPENSSL@'
GNUTLS_CLI = '@GNUTLS_CLI@'
HOST_OPENSSL_CONF = '@OPENSSL_CONF@'

REQUIREMENT = 'vdsm-tls'
BEST_EFFORT = 'vdsm-tls-default'

# The list of the manual installation, which this wrapper takes the place of.
MANUAL_CIPHERS = (
    'ECDH+AESGCM:DH+AESGCM:ECDH+AES256:DH+AES256:ECDH+AES128:DH+AES:ECDH+3DES:'
    'DH+3DESRSA+AESGCM:RSA+AES:RSA+3DES:!aNULL:!MD5:!DSS')

LETTERS_AND_DIGITS = (
    'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789')
# Of each setting's value. Never a comma: it would begin another parameter.
CHARACTERS = {
    'ciphers': LETTERS_AND_DIGITS + '._=@!+:-',
    'ciphersuites': LETTERS_AND_DIGITS + '_:',
    'protocols': LETTERS_AND_DIGITS + '.:',
    'groups': LETTERS_AND_DIGITS + '._:-',
    'priority': LETTERS_AND_DIGITS + '._@%!+:-',
}
PROPERTIES = {
    'ciphers': 'tlsciphers', 'ciphersuites': 'tlsciphers',
    'protocols': 'tlsprotocols', 'groups': 'tlsgroups',
    'priority': 'tlspriority',
}
PROTOCOLS = ('TLSv1.2', 'TLSv1.3', 'TLSv1.2:TLSv1.3')
# libspice (RedSSLParameters) holds a list in 256 bytes and drops the rest
# without a word: exclusions at the end first of all.
LONGEST_CIPHER_LIST = 255
# Errors of a file that is not there, or not to be read: ENOENT, EACCES,
# ENOTDIR, EISDIR, ELOOP.
LASTING = (2, 13, 20, 21, 40)
# Two that every OpenSSL with TLS 1.3 has, in FIPS mode as well.
PROOFS = ('TLS_AES_256_GCM_SHA384', 'TLS_AES_128_GCM_SHA256')

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
NEVER_A_VALUE = FREE_TEXT + (
    'add-fd', 'display', 'object', 'readconfig', 'set', 'spice', 'vnc',
    REQUIREMENT, BEST_EFFORT)


def final_arguments(arguments):
    """
    Return the real emulator's arguments (list of str) for those given by
    libvirt, and leave the environment as that one shall find it. Ends the
    process where a policy cannot be put into effect.
    """
    restore_locale()
    names = [option_name(argument) for argument in arguments]
    if REQUIREMENT not in names and BEST_EFFORT not in names and not (
            'spice' in names and 'tls-port=' in ','.join(arguments)):
        return arguments
    options = parse(arguments)
    settings = read_settings(options)
    if settings:
        options = [option for option in options
                   if option[0] not in (REQUIREMENT, BEST_EFFORT)]
        try:
            check_other_options(options, settings)
            options = with_vnc_policy(with_spice_policy(options, settings),
                                      settings)
        except EnvironmentError as error:
            # No descriptor, process or memory left, /proc not mounted.
            set_openssl_conf(posix.environ.get(b'OPENSSL_CONF'))
            give_up(settings, sorted(settings), 'cannot be put into effect: '
                    + printable(': '.join(part for part in (
                        error.filename, error.strerror) if part), 300),
                    'mend this host, or start the VM on another one')
    elif has_tls_port(spice_displays(options)):
        options = with_ciphers(
            options, MANUAL_CIPHERS, 'this VM comes from a host with a '
            'manual installation, whose cipher list it keeps: ')
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
        refuse('cannot tell whether QEMU takes %s for the value of -%s: this '
               'version does not know that option; remedy: update '
               'vdsm-hook-tlsciphers, or remove the option from the VM'
               % (printable(value), printable(name)))


def split_parameters(option, value):
    """
    Split the value of an option in QEMU's syntax, key=value,key=value with
    ",," for a comma in a value, into a list of (key, text of the parameter).
    A first value without a key is its own key.
    """
    if value is None:
        refuse('-%s has no value; remedy: correct the command line' % option)
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
            refuse('-%s %s: a parameter without a name; remedy: correct the '
                   'command line' % (option, printable(value)))
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


# The settings


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
        if key not in PROPERTIES:
            refuse('%s: this version cannot enforce it; remedy: update '
                   'vdsm-hook-tlsciphers on this host' % printable(key))
        if key in settings:
            refuse('%s: given twice; remedy: shut the VM down and start it '
                   'anew' % key)
        check_setting(key, value)
        settings[key] = (name == REQUIREMENT, value)
    return settings


def check_setting(key, value):
    remedy = 'remedy: correct the property %s of the VM' % PROPERTIES[key]
    for character in value:
        if character not in CHARACTERS[key]:
            refuse('%s: %s: %s is not allowed; %s' % (
                key, printable(value), 'a comma' if character == ',' else
                'the character ' + printable(character), remedy))
    if key == 'ciphers':
        if len(value) > LONGEST_CIPHER_LIST:
            refuse('ciphers: the list has %d characters, and SPICE silently '
                   'ignores what follows the first %d; remedy: shorten the '
                   'property tlsciphers of the VM'
                   % (len(value), LONGEST_CIPHER_LIST))
        for token in value.replace('+', ':').split(':'):
            if token.lstrip('!-').startswith('TLS_'):
                refuse('ciphers: %s: OpenSSL ignores TLS 1.3 suites in this '
                       'list; %s' % (printable(token), remedy))
    if key == 'protocols' and value not in PROTOCOLS:
        refuse('protocols: %s is none of %s; %s'
               % (printable(value), ', '.join(PROTOCOLS), remedy))


def give_up(settings, keys, reason, remedy):
    """
    Refuse to start the VM if any of these settings is a requirement; else
    drop them, with a note.
    """
    keys = [key for key in keys if key in settings]
    line = '%s: %s' % (', '.join(keys), reason)
    if [key for key in keys if settings.pop(key)[0]]:
        refuse('%s; remedy: %s' % (line, remedy))
    note(line + '; the default of the host does not apply')


def check_other_options(options, settings):
    """
    Give up where another option could undo a policy, or add a console beside
    it, in a way that cannot be seen here.
    """
    for name, value, _ in options:
        if name == 'readconfig' or (
                name == 'set' and (value or '')[:7] != 'device.') or (
                name == 'add-fd' and not is_inherited(value)):
            give_up(settings, sorted(settings), 'with -%s %s nobody can tell '
                    'what the consoles of this VM accept' % (
                        name, printable(value or '')),
                    'remove that option from the VM')
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


def has_variables(prefix, settings, keys):
    """
    Tell whether the VM's environment could change what these settings mean
    to a TLS library, whose variables begin with prefix, and give up if so.
    """
    names = sorted(name.decode('latin-1') for name in posix.environ
                   if name.startswith(prefix) and name != b'OPENSSL_CONF')
    if names:
        give_up(settings, keys, 'the environment of this VM has %s, which '
                'could change what that means' % printable(', '.join(names)),
                'remove <qemu:env> from the VM')
    return bool(names)


# SPICE


def with_spice_policy(options, settings):
    """Return the options with the settings for SPICE in effect."""
    keys = [key for key in ('ciphers', 'ciphersuites', 'protocols', 'groups')
            if key in settings]
    displays = spice_displays(options)
    if not keys or not displays:
        return options
    if not has_tls_port(displays):
        give_up(settings, keys, 'the SPICE console of this VM has no TLS port',
                'enable TLS for SPICE on this host (spice_tls in qemu.conf), '
                'or remove the properties %s and tlsprofile from the VM'
                % PROPERTIES[keys[0]])
        return options
    if has_variables(b'OPENSSL_', settings, keys):
        return options
    # That of the VM could lead the judges and QEMU to different settings.
    set_openssl_conf(None)
    configure_openssl(settings)
    reason = 'ciphers' in settings and judge_ciphers(settings['ciphers'][1])
    if reason:
        give_up(settings, ['ciphers'], reason,
                'correct the property tlsciphers of the VM')
    if b'OPENSSL_CONF' in posix.environ:
        given = posix.environ[b'OPENSSL_CONF']
        if [key for key in keys if key in settings]:
            note('OPENSSL_CONF=%s of the VM is replaced'
                 % printable(given.decode('latin-1')))
        else:
            set_openssl_conf(given)
    if 'ciphers' in settings:
        return with_ciphers(options, settings['ciphers'][1])
    return options


def spice_displays(options):
    return [value for name, value, _ in options if name == 'spice']


def has_tls_port(displays):
    """Tell whether -spice options (their values) ask for a TLS port."""
    port = ''
    for display in displays:
        for key, text in split_parameters('spice', display):
            if key == 'tls-port':
                port = text[len('tls-port='):]
    if port.strip('0123456789'):
        refuse('-spice %s: no decimal number; remedy: correct the command '
               'line' % printable('tls-port=' + port))
    return port.strip('0') != ''


def with_ciphers(options, ciphers, reason=''):
    """Return the options with one -spice option, the last, for ciphers."""
    name, value, _ = options[-1]
    if name is not None and value is None and name not in WITHOUT_VALUE:
        refuse('-%s has no value; remedy: correct the command line'
               % printable(name))
    parameters = ['tls-ciphers=' + ciphers]
    for name, value, _ in options:
        if name == 'spice':
            parameters.extend(
                text for key, text in split_parameters('spice', value)
                if key not in ('tls-ciphers', 'notls-ciphers'))
    # For the VM's log, where libvirt writes only what it started itself.
    note(reason + 'QEMU gets -spice ' + ','.join(
        'password=*' if text.startswith('password=') else printable(text, 4096)
        for text in parameters))
    value = ','.join(parameters)
    return [option for option in options if option[0] != 'spice'] + [
        ('spice', value, ['-spice', value])]


def judge_ciphers(ciphers):
    """Return why no console may have this cipher list, or None."""
    # What begins with "-" would be an option for OpenSSL 1.0.2.
    status, lines = ask(OPENSSL, 'ciphers', '-s', '-v', '-tls1_2', '--',
                        ':' + ciphers if ciphers[0] == '-' else ciphers)
    suites = [line.split() for line in lines if ' Enc=' in line]
    if status == 127:
        return lines[0]
    if status or not suites:
        return 'this host\'s OpenSSL finds no suite in ' + printable(ciphers)
    for suite in suites:
        if 'Au=None' in suite or 'Enc=None' in suite:
            return ('%s permits %s, a suite without authentication or '
                    'encryption' % (printable(ciphers), printable(suite[0])))
    return None


# TLS 1.3 suites, protocols and groups: QEMU has no option for them. Its
# OpenSSL reads a configuration, whose "system_default" section counts for
# every connection. A mistake there would leave it with its defaults, so what
# it makes of ours is looked at before QEMU starts.


def configure_openssl(settings):
    """Put into effect what OpenSSL reads from a configuration file."""
    keys = [key for key in ('ciphersuites', 'protocols', 'groups')
            if key in settings]
    if not keys:
        return
    ciphersuites, protocols, groups = [
        settings.get(key, (None, ''))[1]
        for key in ('ciphersuites', 'protocols', 'groups')]
    reason = groups and judge_groups(groups)
    if reason:
        keys = ['groups']
    else:
        descriptor = nameless_file()
        try:
            path = '/proc/self/fd/%d' % descriptor
            posix.stat(path)
            set_openssl_conf(path.encode('ascii'))
            reason = write_configuration(descriptor, ciphersuites, protocols,
                                         groups)
            if not reason:
                make_read_only(descriptor)
        except EnvironmentError:
            posix.close(descriptor)
            raise
        if not reason:
            note('QEMU gets OPENSSL_CONF with ' + ' '.join(
                '%s=%s' % (key, settings[key][1]) for key in keys))
            return
        set_openssl_conf(None)
        posix.close(descriptor)
        unknown = unknown_suites(ciphersuites)
        if unknown:
            reason = unknown
            keys = ['ciphersuites']
    give_up(settings, keys, reason, 'correct %s of the VM, or %s of this '
            'host' % (' and '.join(PROPERTIES[key] for key in keys),
                      HOST_OPENSSL_CONF))
    configure_openssl(settings)


def set_openssl_conf(path):
    """Have QEMU find a path (bytes) in OPENSSL_CONF, or no such variable."""
    if path is None:
        posix.unsetenv(b'OPENSSL_CONF')
    else:
        posix.putenv(b'OPENSSL_CONF', path)


def judge_groups(groups):
    """Return why OpenSSL would not take these groups, or None."""
    # Where the groups are good it goes on, to a connection that must fail.
    status, lines = ask(OPENSSL, 's_client', '-no-CAfile', '-no-CApath',
                        '-unix', '/nonexistent', '-groups', groups)
    if 'connect:errno=' in '\n'.join(lines):
        return None
    if status == 127:
        return lines[0]
    return ('this host\'s OpenSSL does not know all of the groups %s, or one '
            'is given twice%s' % (printable(groups), too_old()))


def write_configuration(descriptor, ciphersuites, protocols, groups):
    """
    Write the configuration that QEMU's OpenSSL will read. Returns why it
    would not take effect, or None.
    """
    commands = ''
    if protocols:
        versions = protocols.split(':')
        # The host's section may have taken a version out by "Protocol".
        commands += ('Protocol = ALL\nMinProtocol = %s\nMaxProtocol = %s\n'
                     % (versions[0], versions[-1]))
    if groups:
        commands += 'Groups = %s\n' % groups
    # Not included: what we judge is to be what QEMU reads a moment later,
    # whatever becomes of the host's file, or of an attempt to open it.
    try:
        host, chain = read_host_configuration()
    except EnvironmentError as error:
        check_lasting(error)
        host, chain = '', section_chain({})
        if error.errno != 2:
            note('OpenSSL cannot read %s: %s; only the policy counts'
                 % (HOST_OPENSSL_CONF, error.strerror))
    except ValueError as error:
        return 'cannot tell what %s means: %s' % (HOST_OPENSSL_CONF,
                                                  printable(str(error)))
    if takes_effect(descriptor, host + chain + commands, ciphersuites):
        return None
    # Is it what we add, or is the host's own file one that OpenSSL cannot
    # read, and so ignores in every program?
    if host and not takes_effect(descriptor, host + section_chain({}), ''):
        if takes_effect(descriptor, section_chain({}) + commands,
                        ciphersuites):
            note('%s is malformed and OpenSSL ignores it; only the policy '
                 'counts' % HOST_OPENSSL_CONF)
            return None
    return ('this host\'s OpenSSL does not take the configuration%s'
            % too_old())


def takes_effect(descriptor, configuration, ciphersuites):
    """
    Write a configuration, whose last section is open, with the TLS 1.3 suites
    (if any), and tell whether OpenSSL takes all of it.
    """
    # Two different lists of suites, one after the other: if OpenSSL offers
    # each, they come from here. They stand last: OpenSSL 1.1.1 stops at the
    # first line that it does not take.
    trials = [PROOFS[0], ciphersuites or PROOFS[1]]
    if trials[0] == trials[1]:
        trials[0] = PROOFS[1]
    for suites in trials:
        text = encoded(configuration + 'Ciphersuites = %s\n' % suites)
        posix.ftruncate(descriptor, 0)
        posix.lseek(descriptor, 0, 0)
        posix.write(descriptor, text)
        status, lines = ask(OPENSSL, 'ciphers')
        if status == 127:
            raise EnvironmentError(None, lines[0])
        if offered_suites(lines) != suites.split(':'):
            return False
    if not ciphersuites:
        text = encoded(configuration)
        posix.ftruncate(descriptor, len(text))
    with open('/proc/self/fd/%d' % descriptor, 'rb', 0) as handed_over:
        return handed_over.read() == text


def offered_suites(lines):
    """Return the TLS 1.3 suites (list) in what "openssl ciphers" prints."""
    return [suite for suite in ':'.join(lines).split(':')
            if suite.startswith('TLS_')]


def unknown_suites(ciphersuites):
    unknown = [suite for suite in ciphersuites.split(':') if suite
               and offered_suites(ask(OPENSSL, 'ciphers', '-ciphersuites',
                                      suite, 'ECDHE')[1]) != [suite]]
    return unknown and ('this host\'s OpenSSL does not know the TLS 1.3 '
                        'suites %s%s' % (printable(':'.join(unknown)),
                                         too_old()))


def too_old():
    status, lines = ask(OPENSSL, 'version')
    if status == 127:
        return ': ' + lines[0]
    words = ' '.join(lines).split()
    if words[1:] and words[1] < '1.1.1':
        return ': OpenSSL %s is older than 1.1.1' % printable(words[1])
    return ''


def nameless_file():
    """Return the descriptor of a new file that QEMU inherits."""
    if hasattr(posix, 'memfd_create'):
        return posix.memfd_create('vdsm-tls', 0)
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


def make_read_only(descriptor):
    """
    Make a nameless file one that QEMU cannot empty, whatever its options
    (-D, for instance) have it write to /proc/self/fd.
    """
    path = '/proc/self/fd/%d' % descriptor
    posix.chmod(path, 0o400)
    reader = posix.open(path, posix.O_RDONLY)
    posix.dup2(reader, descriptor)
    posix.close(reader)


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


def read_host_configuration():
    """
    Return the text of the host's configuration, with the files that it
    includes in their places, and the section_chain to be added to it.
    """
    values = {}
    lines = []
    read_configuration(HOST_OPENSSL_CONF, 'default', values, lines, 0)
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
    given = text.replace('\\\n', '').split('\n')
    done = 0
    for number, line in enumerate(given):
        # All else means the same behind our own lines as without them.
        if not ('[' in line or '.include' in line or 'ssl_conf' in line
                or 'system_default' in line):
            continue
        line = line.partition('#')[0].strip()
        if line[:1] == '[':
            section = line[1:].partition(']')[0].strip()
        elif line[:8] == '.include':
            lines.extend(given[done:number])
            done = number + 1
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
    lines.extend(given[done:])
    return section


def read_included(path, section, values, lines, depth):
    if path[:1] != '/' or set('"\'\\$') & set(path) or depth > 9:
        raise ValueError('.include ' + path)
    try:
        names = ['/' + name for name in posix.listdir(path)
                 if name.endswith(('.cnf', '.conf'))]
    except OSError as error:
        check_lasting(error)
        names = ['']  # It is no folder.
    for name in names:
        try:
            section = read_configuration(path + name, section, values, lines,
                                         depth + 1)
        except EnvironmentError as error:
            check_lasting(error)  # OpenSSL goes on, too.
    return section


def check_lasting(error):
    """
    Raise an error that OpenSSL need not meet when it reads the same file: no
    descriptor or memory left, say.
    """
    if error.errno not in LASTING:
        raise error


# VNC


def with_vnc_policy(options, settings):
    """Return the options with the setting for VNC in effect."""
    displays = vnc_displays(options)
    if 'priority' not in settings or not displays:
        return options
    wanted = set()
    for parameters in displays:
        # To QEMU "notls-creds" is tls-creds=off; nothing here is named so.
        names = [text.partition('=')[2] for key, text in parameters
                 if key in ('tls-creds', 'notls-creds')]
        if names:
            wanted.add(names[-1])
        elif set(('tls', 'x509', 'x509verify')) & set(
                key for key, _ in parameters):
            give_up(settings, ['priority'], 'this host\'s libvirt is too old '
                    'for a TLS policy of VNC',
                    'remove the properties tlspriority and tlsprofile from '
                    'the VM')
            return options
        else:
            give_up(settings, ['priority'], 'the VNC console of this VM is '
                    'not encrypted',
                    'check Enable VNC Encryption in the engine (Compute > '
                    'Clusters > Edit > Console) and reinstall the hosts of '
                    'the cluster, or remove the properties tlspriority and '
                    'tlsprofile from the VM')
            return options
    if has_variables(b'GNUTLS_', settings, ['priority']):
        return options
    priority = settings['priority'][1]
    reason = judge_priority(priority)
    if reason:
        give_up(settings, ['priority'], reason,
                'correct the property tlspriority of the VM')
        return options
    changed = [with_priority(option, wanted, priority) for option in options]
    if wanted:
        give_up(settings, ['priority'], 'the command line has no '
                'tls-creds-x509 object %s that can be read'
                % printable(', '.join(sorted(wanted))),
                'update vdsm-hook-tlsciphers on this host')
        return options
    return changed


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


def with_priority(option, wanted, priority):
    """
    Return an option with the priority, if it is the credentials object whose
    name is in wanted; the name is then taken out of that set.
    """
    name, value, _ = option
    if name != 'object' or not value or not [
            creds for creds in wanted if creds in value]:
        return option
    if value[0] == '{':
        given = [(key, text, '"%s":%s' % (key, text))
                 for key, text in read_json(value)]
        kind = dict((key, text[1:-1]) for key, text, _ in given)
        value = '{%s,"priority":"%s"}'
    else:
        given = [(key, text.partition('=')[2], text)
                 for key, text in split_parameters('object', value)]
        kind = {'qom-type': given[0][0]}
        kind.update((key, text) for key, text, _ in given)
        value = '%s,priority=%s'
    # QEMU has no object with an empty name; the keyword alone is id=on.
    if kind.get('qom-type') != 'tls-creds-x509' or (
            not kind.get('id') or kind['id'] not in wanted):
        return option
    wanted.remove(kind['id'])
    value %= (','.join(text for key, _, text in given if key != 'priority'),
              priority)
    note('QEMU gets -object ' + printable(value, 4096))
    return name, value, ['-object', value]


def read_json(value):
    """
    Return the members of a JSON object as a list of (name, JSON of value), an
    empty one where it is not as plain as libvirt writes credentials.
    """
    try:
        # The C part of the package json, which costs more to import than all
        # else here. As that package does, it takes its options from an object.
        import _json
        pairs, end = _json.make_scanner(JSONOptions)(value, 0)
        if value[end:].strip():
            return []
        return [(json_text(key)[1:-1], json_text(member))
                for key, member in pairs]
    except (AttributeError, ImportError, RuntimeError, StopIteration,
            SystemError, TypeError, ValueError):
        # SystemError: the exception that it wants is in the package json.
        return []


class JSONOptions(object):
    encoding = 'utf-8'
    memo = {}
    object_hook = parse_constant = parse_float = parse_int = None
    object_pairs_hook = list
    strict = True


def json_text(member):
    if isinstance(member, bool):
        return str(member).lower()
    if not isinstance(member, type(u'')) or [
            character for character in member
            if character in '"\\' or character < ' ']:
        raise ValueError(member)
    return '"%s"' % str(member)


def judge_priority(priority):
    """Return why no console may have this priority string, or None."""
    status, lines = ask(GNUTLS_CLI, '--priority=' + priority, '--list')
    if status:
        errors = [line for line in lines
                  if not line.startswith('Cipher suites for ')]
        return 'GnuTLS: %s' % printable((errors or ['no answer'])[0])
    lists = dict((line.partition(': ')[0], line.partition(': ')[2].split(', '))
                 for line in lines)
    suites = [line.split() for line in lines if ' 0x' in line]
    for suite in suites:
        if '_NULL_' in suite[0] or '_ANON_' in suite[0]:
            return ('%s permits %s, a suite without authentication or '
                    'encryption' % (printable(priority), suite[0]))
    versions = [name for name in lists.get('Protocols', [])
                if name.startswith('VERS-TLS')
                and any(usable(suite, name[5:]) for suite in suites)]
    for what, there in (
            ('TLS version with a cipher suite', versions),
            ('group', lists.get('Groups', lists.get('Elliptic curves'))),
            ('signature algorithm', lists.get('PK-signatures'))):
        if there in ([], ['none'], [''], None):
            return '%s leaves no %s, so no client could connect' % (
                printable(priority), what)
    return None


def usable(suite, version):
    """Tell whether a suite counts for that version of TLS."""
    if '_PSK_' in suite[0] or '_SRP_' in suite[0]:
        return False
    if version == 'TLS1.3':
        return suite[-1] == version
    # SSL3.0 comes before all of them, TLS1.3 behind.
    return suite[-1] <= version


# What all parts need


def refuse(line):
    write('qemu-kvm-modified: ' + line)
    sys.exit(1)


def write(line):
    try:
        posix.write(2, (line + '\n').encode('ascii'))
    except OSError:
        pass


def ask(program, *arguments):
    """Run a program in the environment that QEMU gets, see run()."""
    return run(program, arguments)


def run(program, arguments, environment=None, errors=True):
    """
    Run a program of this host.

    Arguments:
        program (str): its path.
        arguments (tuple of str): those behind its name.
        environment (dict of str): by default that which QEMU gets.
        errors (bool): whether its standard error counts as output.

    Returns:
        (its exit status, list of str: the lines that it printed); 127 and why
        where it cannot be run.

    Raises:
        EnvironmentError: it was killed, or this host has no room for it.
    """
    reader, writer = posix.pipe()
    # Where it is ignored there would be no status to wait for.
    disposition = signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    child = posix.fork()
    if child == 0:
        try:
            nothing = posix.open('/dev/null', posix.O_RDWR)
            posix.dup2(nothing, 0)
            posix.dup2(writer, 1)
            posix.dup2(writer if errors else nothing, 2)
            if environment is None:
                posix.execv(program, (program,) + arguments)
            posix.execve(program, (program,) + arguments, environment)
        except OSError as error:
            posix.write(writer, ('cannot run %s: %s' % (
                program, error.strerror)).encode('ascii', 'replace'))
        finally:
            posix._exit(127)
    posix.close(writer)
    output = b''
    while True:
        part = posix.read(reader, 65536)
        if not part:
            break
        output += part
    posix.close(reader)
    status = posix.waitpid(child, 0)[1]
    signal.signal(signal.SIGCHLD, disposition)
    if status & 127:
        raise EnvironmentError(None, '%s was killed by signal %d'
                               % (program, status & 127))
    lines = str(output.decode('ascii', 'replace').encode(
        'ascii', 'replace').decode('ascii')).split('\n')
    return status >> 8, [line.strip() for line in lines if line.strip()]


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
