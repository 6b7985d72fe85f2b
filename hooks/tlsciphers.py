# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""
TLS policies of consoles: which values hold for a VM, what OpenSSL and GnuTLS
make of them, and how a domain XML carries them.

Private to vdsm-hook-tlsciphers. Runs on Python 2.7 and 3.6 and later, and
keeps to the syntax of 2.6, as the hook does.
"""

import errno
import io
import os
import stat

from tlsciphers_wrapper import (
    GNUTLS_CLI,
    LETTERS_AND_DIGITS,
    LONGEST_CIPHER_LIST,
    OPENSSL,
    PROTOCOLS,
    run,
    usable,
)

HOST_DEFAULT = '@HOST_DEFAULT@'
QEMU_KVM = '@QEMU_KVM@'
WRAPPER = '@WRAPPER@'
# What a domain XML names as emulator: a link to the wrapper, at the path that
# manual installations use. Hosts migrate VMs to each other by this name.
EMULATOR = '@EMULATOR@'

QEMU_NAMESPACE = 'http://libvirt.org/schemas/domain/qemu/1.0'
XMLNS_NAMESPACE = 'http://www.w3.org/2000/xmlns/'
REQUIREMENT = '-vdsm-tls'
BEST_EFFORT = '-vdsm-tls-default'

# What a VM can be given, as properties or in the host's default.
SETTINGS = ('tlsciphers', 'tlsprotocols', 'tlsgroups', 'tlspriority')
PROPERTIES = SETTINGS + ('tlsprofile',)

# What the syntax of each value needs. Other separators that the libraries
# take stay out: in QEMU's syntax a comma would begin another parameter.
CHARACTERS = {
    'tlsciphers': LETTERS_AND_DIGITS + '._=@!+:-',
    'tlsprotocols': LETTERS_AND_DIGITS + '.:',
    'tlsgroups': LETTERS_AND_DIGITS + '._:-',
    'tlspriority': LETTERS_AND_DIGITS + '._@%!+:-',
    'tlsprofile': LETTERS_AND_DIGITS + '._-',
}
SYNTAX = {
    'tlsciphers': 'give OpenSSL cipher names separated by colons',
    'tlsprotocols': 'give TLSv1.2, TLSv1.3 or TLSv1.2:TLSv1.3',
    'tlsgroups': 'give OpenSSL names of groups separated by colons, such as '
                 'X25519:P-256',
    'tlspriority': 'give a GnuTLS priority string, such as '
                   'NORMAL:-VERS-ALL:+VERS-TLS1.3',
    'tlsprofile': 'give the name of a profile, such as intermediate',
}

# Mozilla's Server Side TLS guidelines, version 6.0 (6 April 2026); version 5.8
# has the same for these two. Suites, versions and curves are theirs, but for
# the curve X25519MLKEM768: no host with a SPICE console knows it, and a VM
# that names it could migrate only to hosts whose libraries do. The priority
# strings say the same to GnuTLS.
PROFILES = {
    'modern': {
        'tlsciphers': 'TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:'
                      'TLS_CHACHA20_POLY1305_SHA256',
        'tlsprotocols': 'TLSv1.3',
        'tlsgroups': 'X25519:prime256v1:secp384r1',
        'tlspriority': 'NORMAL:-VERS-ALL:+VERS-TLS1.3:-CIPHER-ALL:'
                       '+AES-128-GCM:+AES-256-GCM:+CHACHA20-POLY1305:'
                       '-GROUP-ALL:+GROUP-X25519:+GROUP-SECP256R1:'
                       '+GROUP-SECP384R1',
    },
    'intermediate': {
        'tlsciphers': 'ECDHE-ECDSA-AES128-GCM-SHA256:'
                      'ECDHE-RSA-AES128-GCM-SHA256:'
                      'ECDHE-ECDSA-AES256-GCM-SHA384:'
                      'ECDHE-RSA-AES256-GCM-SHA384:'
                      'ECDHE-ECDSA-CHACHA20-POLY1305:'
                      'ECDHE-RSA-CHACHA20-POLY1305:TLS_AES_128_GCM_SHA256:'
                      'TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256',
        'tlsprotocols': 'TLSv1.2:TLSv1.3',
        'tlsgroups': 'X25519:prime256v1:secp384r1',
        'tlspriority': 'NORMAL:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2:'
                       '-KX-ALL:+ECDHE-ECDSA:+ECDHE-RSA:-CIPHER-ALL:'
                       '+AES-128-GCM:+AES-256-GCM:+CHACHA20-POLY1305:'
                       '-GROUP-ALL:+GROUP-X25519:+GROUP-SECP256R1:'
                       '+GROUP-SECP384R1:-SIGN-RSA-SHA1:-SIGN-ECDSA-SHA1',
    },
}
NO_PROFILE = 'none'
HOST_ORIGIN = 'default of the host'

# Words of ciphers(1) that match nothing where OpenSSL is built without such
# suites: excluding them is no mistake.
RETIRED_KEYWORDS = frozenset((
    '3DES', 'DES', 'EXP', 'EXPORT', 'EXPORT40', 'EXPORT56', 'FZA', 'GOST94',
    'GOST89MAC', 'IDEA', 'KRB5', 'LOW', 'MD5', 'MEDIUM', 'NULL', 'RC2', 'RC4',
    'SEED', 'SRP', 'SSLv2', 'SSLv3', 'aDH', 'aDSS', 'DSS', 'aECDH', 'aFZA',
    'aGOST', 'aGOST01', 'aGOST94', 'aKRB5', 'aSRP', 'eFZA', 'eNULL', 'kDH',
    'kDHd', 'kDHr', 'kECDH', 'kECDHe', 'kECDHr', 'kFZA', 'kGOST', 'kKRB5',
    'kSRP', 'PSK', 'kPSK', 'aPSK', 'ADH', 'AECDH', 'aNULL', 'CAMELLIA',
    'CAMELLIA128', 'CAMELLIA256', 'ARIA', 'ARIA128', 'ARIA256', 'CHACHA20'))

CHARACTER_NAMES = {
    ',': 'a comma', ';': 'a semicolon', ' ': 'a space', '\t': 'a tab',
    '\n': 'a line break', '\r': 'a carriage return', '\0': 'a NUL',
    '"': 'a double quote', "'": 'a single quote', '\\': 'a backslash'}


class Refused(Exception):
    """
    A policy that cannot be enforced, or that nobody can want. The message is
    one line of ASCII without quotes and backslashes, the cause first: the
    engine shows it as the repr of a bytes object. It ends with the code (str
    or None) in brackets, by which docs/troubleshooting.md is found.
    """

    def __init__(self, line, code=None):
        Exception.__init__(self, '%s [%s]' % (line, code) if code else line)
        self.code = code


class NotHere(Refused):
    """A value that the libraries of this host cannot enforce."""


class Setting(object):
    """
    A value (str) and where it comes from: name (of SETTINGS), label (str, for
    messages), origin (str: empty for a property of the VM), required (bool:
    it comes from the VM, not from the host), built_in (bool: of PROFILES, so
    that what this host's libraries lack is left out).
    """

    def __init__(self, name, value, label, origin='', required=True,
                 built_in=False):
        self.name = name
        self.value = value
        self.label = label
        self.origin = origin
        self.required = required
        self.built_in = built_in


def printable(text, limit=60):
    """
    Return at most limit characters of text (a str) for a message: ASCII
    without quotes and backslashes, '?' standing for anything else.
    """
    shown = ''.join(c if ' ' <= c <= '~' and c not in '"\'\\' else '?'
                    for c in text[:limit])
    return shown + '...' if len(text) > limit else shown


def resolve(properties, displays, lenient=False):
    """
    Settle, setting by setting, which value holds for a VM: that of its own
    property, of its tlsprofile, of the host's default, of the default's
    profile. Then judge them all.

    Arguments:
        properties (mapping of str): may hold the names of PROPERTIES.
        displays (collection of str): the VM's, such as 'spice' and 'vnc'.
        lenient (bool): whether what is wrong with the host's default is only
            said, not refused.

    Returns:
        (list of (option, 'KEY=VALUE') for the wrapper, list of str: lines for
        the administrator).

    Raises:
        Refused: a value is wrong, or cannot be enforced although it must be.
    """
    settings, lines = _choose(properties, lenient)
    any_policy = bool(settings)
    present = []
    for setting in settings:
        display = 'vnc' if setting.name == 'tlspriority' else 'spice'
        if display in displays:
            present.append(setting)
        elif setting.name in properties:
            lines.append('%s: this VM has no %s console; the property has no '
                         'effect' % (setting.name, display.upper()))
    values = {}
    for setting in present:
        try:
            pairs, warnings = JUDGES[setting.name](setting)
        except Refused as refusal:
            if setting.required or not (
                    lenient or isinstance(refusal, NotHere)):
                raise
            lines.append('%s; the default of the host does not apply'
                         % refusal)
        else:
            lines.extend(warnings)
            values.update((key, (value, setting)) for key, value in pairs)
    lines.extend(_check_combination(values, lenient))
    if any_policy:
        lines.extend(_describe(values, displays))
    return [(REQUIREMENT if values[key][1].required else BEST_EFFORT,
             '%s=%s' % (key, values[key][0]))
            for key in KEYS if key in values], lines


# In the order in which they are passed on.
KEYS = ('ciphers', 'ciphersuites', 'protocols', 'groups', 'priority')


def _choose(properties, lenient):
    """Return the settings (list of Setting) that hold, and lines (list)."""
    chosen = dict((name, Setting(name, properties[name], name))
                  for name in SETTINGS if name in properties)
    lines = []
    profile = properties.get('tlsprofile')
    if profile is not None:
        check_characters('tlsprofile', profile)
    if profile == NO_PROFILE:
        lines.append('tlsprofile: none: the default of this host does not '
                     'apply to this VM')
    else:
        sections = None
        if profile is not None:
            if profile not in PROFILES:
                sections = read_host_default()
            _add(chosen, _profile(profile, sections, 'tlsprofile: ' + profile,
                                  True))
        if len(chosen) < len(SETTINGS):
            try:
                if sections is None:
                    sections = read_host_default()
                _add(chosen, _host_default(sections))
            except Refused as refusal:
                if not lenient:
                    raise
                lines.append('%s; no default applies' % refusal)
    return [chosen[name] for name in SETTINGS if name in chosen], lines


def _add(chosen, settings):
    for setting in settings:
        chosen.setdefault(setting.name, setting)


def _profile(name, sections, label, required):
    """Return the settings (list of Setting) of a profile."""
    origin = 'profile ' + name if required else HOST_ORIGIN
    if name in PROFILES:
        return [Setting(setting, value, '%s: %s' % (label, setting), origin,
                        required, built_in=True)
                for setting, value in sorted(PROFILES[name].items())]
    if 'profile ' + name not in sections:
        raise Refused('%s: no such profile; known are %s; add [profile %s] to '
                      '%s or correct the name' % (
                          label, ', '.join(profile_names(sections)), name,
                          HOST_DEFAULT))
    return _section(sections, 'profile ' + name, origin, required)


def profile_names(sections):
    """Return the profiles (list of str) there are, given the host's file."""
    return sorted(PROFILES) + [NO_PROFILE] + sorted(
        section[len('profile '):] for section in sections
        if section.startswith('profile '))


def _section(sections, section, origin, required):
    return [Setting(name, value, _place(line, section, name), origin,
                    required)
            for name, (value, line) in sorted(sections[section].items())
            if name in SETTINGS]


def _host_default(sections):
    """Return the settings (list of Setting) of the host's default."""
    if 'default' not in sections:
        return []
    settings = _section(sections, 'default', HOST_ORIGIN, False)
    profile, line = sections['default'].get('tlsprofile', (NO_PROFILE, 0))
    if profile != NO_PROFILE:
        settings.extend(_profile(profile, sections, '%s: %s' % (
            _place(line, 'default', 'tlsprofile'), profile), False))
    return settings


def read_host_default():
    """
    Read the host's default and site profiles.

    Returns:
        {section: {key: (value, line number)}}, empty where there is no file.

    Raises:
        Refused: the file cannot be read, others than root may have written
            it, or it has a section or key that is not known.
    """
    text = _host_default_text()
    if not text:
        return {}
    try:
        import configparser
    except ImportError:  # Python 2
        import ConfigParser as configparser
    parser = configparser.RawConfigParser()
    try:
        getattr(parser, 'read_file', getattr(parser, 'readfp', None))(
            io.StringIO(text))
    except configparser.Error as error:
        line = getattr(error, 'lineno', None) or getattr(
            error, 'errors', [(0, '')])[0][0]
        raise Refused('%s: line %s: %s; write [section] lines and KEY = VALUE '
                      'lines, each only once' % (
                          HOST_DEFAULT, line or '?',
                          printable(str(error).replace('\n', ' '), 120)))
    if parser.defaults():
        raise Refused('%s: line %d: [DEFAULT]: no such section; write '
                      '[default]' % (HOST_DEFAULT, _lines(
                          parser, text, 'DEFAULT')[0]))
    sections = {}
    for section in parser.sections():
        profile = section.startswith('profile ')
        name = section[len('profile '):]
        if section != 'default' and not profile:
            raise Refused('%s: line %d: [%s]: no such section; there are '
                          '[default] and [profile NAME]' % (
                              HOST_DEFAULT, _lines(parser, text, section)[0],
                              printable(section)))
        if profile and (not name or set(name) - set(CHARACTERS['tlsprofile'])
                        or name in PROFILES or name == NO_PROFILE):
            raise Refused('%s: line %d: [%s]: a profile cannot have this '
                          'name; choose another of letters, digits, . _ -'
                          % (HOST_DEFAULT, _lines(parser, text, section)[0],
                             printable(section)))
        sections[str(section)] = {}
        for key, value in parser.items(section):
            lines = _lines(parser, text, section, key)
            place = _place(lines[-1], section, key)
            if len(lines) > 1:
                raise Refused('%s: the key stands in line %d already; remove '
                              'one' % (place, lines[0]))
            if key not in (SETTINGS if profile else PROPERTIES):
                raise Refused('%s: no such key; there are %s' % (
                    place, ', '.join(SETTINGS if profile else PROPERTIES)))
            check_characters(key, value, place)
            sections[str(section)][str(key)] = (str(value), lines[0])
    return sections


def _host_default_text():
    """Return the file's text (unicode), which is empty where there is none."""
    remedy = 'mend it, or remove it'
    try:
        # A pipe would keep the VM waiting.
        descriptor = os.open(HOST_DEFAULT, os.O_RDONLY | os.O_NONBLOCK)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR):
            return u''
        raise Refused('%s: cannot be read: %s; %s' % (
            HOST_DEFAULT, error.strerror, remedy))
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise Refused('%s: it is no regular file; %s' % (HOST_DEFAULT,
                                                             remedy))
        if status.st_uid not in (0, os.geteuid()) or (
                status.st_mode & stat.S_IWOTH) or (
                status.st_mode & stat.S_IWGRP
                and status.st_gid not in (0, os.getegid())):
            raise Refused('%s: others than root can write it; chown root:root '
                          'and chmod 644' % HOST_DEFAULT)
        with io.open(descriptor, 'rb', closefd=False) as host_default:
            return host_default.read().decode('utf-8')
    except UnicodeDecodeError as error:
        raise Refused('%s: it is no UTF-8 text (byte %d); %s' % (
            HOST_DEFAULT, error.start, remedy))
    finally:
        os.close(descriptor)


def _lines(parser, text, section, key=None):
    """Return the numbers (list) of the lines with a section, or with a key."""
    numbers = []
    current = None
    for number, line in enumerate(text.split('\n'), 1):
        header = parser.SECTCRE.match(line.strip())
        if header:
            current = header.group('header')
            found = key is None
        else:
            name = line.replace(':', '=').partition('=')[0]
            found = name.strip().lower() == key
        if found and current == section:
            numbers.append(number)
    return numbers


def _place(line, section, key):
    return '%s: line %d: [%s]: %s' % (HOST_DEFAULT, line, section,
                                      printable(key))


def check_characters(name, value, label=None):
    """
    Refuse a value (str) for one of PROPERTIES that is empty or has a
    character that it may not have. Messages begin with label.
    """
    label = label or name
    if not value:
        raise Refused('%s: the value is empty; give one or remove the '
                      '%s' % (label, 'property from the VM' if label == name
                              else 'line'))
    for position, character in enumerate(value):
        if character not in CHARACTERS[name]:
            if character in CHARACTER_NAMES:
                shown = CHARACTER_NAMES[character]
            elif character < ' ' or character == '\x7f':
                shown = 'control character 0x%02x' % ord(character)
            elif character > '~':
                shown = 'a non-ASCII character'
            else:
                shown = 'the character ' + character
            raise Refused('%s: %s is not allowed (position %d, after %s); %s'
                          % (label, shown, position + 1,
                             printable(value[max(0, position - 30):position])
                             or 'nothing', SYNTAX[name]))


def judge_ciphers(setting):
    """
    Judge a value for tlsciphers: an OpenSSL cipher list for TLS 1.2 and older
    as ciphers(1) describes it, with TLS 1.3 suites (TLS_...) among its tokens.

    Returns:
        (list of (key, value) for the wrapper, list of str: what the
        administrator should know although the value is accepted).

    Raises:
        Refused: it is too long, has a character or token that is not
            permitted, or leaves a suite without encryption or authentication.
        NotHere: OpenSSL does not know a TLS 1.3 suite, or no suite at all.
    """
    value = setting.value
    label = setting.label
    check_characters('tlsciphers', value, label)
    tokens = [token for token in value.split(':') if token]
    suites = []
    for token in tokens:
        if token.startswith('TLS_'):
            if token not in suites:
                suites.append(token)
        elif token.lstrip('!+-').startswith('TLS_') or '+TLS_' in token:
            raise Refused('%s: %s: OpenSSL ignores a TLS 1.3 suite with a '
                          'sign before it; name the suites that are wanted'
                          % (label, printable(token)))
    if suites:
        others = [token for token in tokens if token not in suites]
        ciphers = ':'.join(others)
    else:
        others = tokens
        ciphers = value
    pairs = []
    lines = []
    if ciphers:
        lines.extend(_judge_cipher_list(ciphers, others, label))
        pairs.append(('ciphers', ciphers))
    if suites:
        known, left_out = _judge_suites(suites, setting)
        lines.extend(left_out)
        pairs.append(('ciphersuites', ':'.join(known)))
    return pairs, lines


def _judge_cipher_list(value, tokens, label):
    """Judge a list for TLS 1.2 and older. Returns lines (list of str)."""
    if len(value) > LONGEST_CIPHER_LIST:
        raise Refused('%s: the list has %d characters, and SPICE '
                      'silently ignores what follows the first %d; shorten '
                      'it: leave out DHE and ECDSA suites, which SPICE cannot '
                      'use, or use keywords such as ECDHE+AESGCM'
                      % (label, len(value), LONGEST_CIPHER_LIST))
    # As the library would take it: with the security level applied (-s), and
    # without the TLS 1.3 suites that are in every list otherwise (-tls1_2).
    known, suites = openssl_ciphers(value, '-s', '-v', '-tls1_2')
    suites = [line.split() for line in suites]
    if not known or not suites:
        raise NotHere('%s: %s: this leaves no cipher suite; correct '
                      'it (to see what a list means: openssl ciphers -s -v)'
                      % (label, printable(_offending_token(value, tokens))))
    for suite in suites:
        for field, lacks in (('Au=None', 'authentication'),
                             ('Enc=None', 'encryption')):
            if field in suite:
                raise Refused('%s: %s: this permits %s, a suite '
                              'without %s; add !aNULL:!eNULL, or remove '
                              '@SECLEVEL=0'
                              % (label, printable(value), suite[0], lacks))
    return _cipher_warnings(value, tokens, suites, label)


def _judge_suites(suites, setting):
    """Return the known ones of TLS 1.3 suites (list), lines (list of str)."""
    known = suites
    if _tls13_suites(suites) != suites:
        known = [suite for suite in suites if _tls13_suites([suite])]
    unknown = [suite for suite in suites if suite not in known]
    if unknown and not (setting.built_in and known):
        raise NotHere('%s: %s: OpenSSL does not know this TLS 1.3 suite%s; '
                      'those of this host: %s' % (
                          setting.label, printable(', '.join(unknown)),
                          _version_note(),
                          ', '.join(_tls13_suites([])) or 'none'))
    return known, _left_out(setting, unknown)


def _left_out(setting, unknown):
    return unknown and ['%s: left out, since this host does not know it: %s'
                        % (setting.label, ', '.join(unknown))]


def _tls13_suites(suites):
    """Return those suites that OpenSSL offers; its own for none."""
    options = ('-ciphersuites', ':'.join(suites)) if suites else ()
    return [suite for suite in ':'.join(
                openssl_ciphers('ECDHE', *options)[1]).split(':')
            if suite.startswith('TLS_')]


def _version_note():
    """Return what to say where OpenSSL is too old for TLS 1.3, or ''."""
    words = ' '.join(ask(OPENSSL, 'version')[1]).split()
    if words[1:] and words[1] < '1.1.1':
        return ' (OpenSSL %s is older than 1.1.1)' % printable(words[1])
    return ''


def judge_protocols(setting):
    """
    Judge a value for tlsprotocols: one of PROTOCOLS.

    Returns as judge_ciphers does. Raises Refused, and NotHere where OpenSSL is
    older than 1.1.1, which has no such setting.
    """
    check_characters('tlsprotocols', setting.value, setting.label)
    if setting.value not in PROTOCOLS:
        raise Refused('%s: %s: no such value; %s' % (
            setting.label, printable(setting.value), SYNTAX['tlsprotocols']))
    if not _tls13_suites(['TLS_AES_256_GCM_SHA384']):
        raise NotHere('%s: %s: this needs OpenSSL 1.1.1%s; remove the setting '
                      'or start the VM on a newer host' % (
                          setting.label, setting.value, _version_note()))
    return [('protocols', setting.value)], []


def judge_groups(setting):
    """
    Judge a value for tlsgroups: groups for the key exchange of SPICE, under
    the names that OpenSSL has for them.

    Returns as judge_ciphers does. Raises Refused, and NotHere for a group that
    OpenSSL does not know.
    """
    check_characters('tlsgroups', setting.value, setting.label)
    groups = setting.value.split(':')
    if _knows_groups(setting.value):
        return [('groups', setting.value)], []
    known = [group for group in groups if group and _knows_groups(group)]
    unknown = [group for group in groups if group not in known]
    if not unknown:
        raise Refused('%s: %s: a group is given twice, maybe under two names; '
                      'name each once' % (setting.label,
                                          printable(setting.value)))
    if not (setting.built_in and known):
        raise NotHere('%s: %s: OpenSSL does not know this group%s; give names '
                      'such as X25519:P-256:P-384 (capitals count)' % (
                          setting.label,
                          printable(', '.join(unknown)) or 'an empty name',
                          _version_note()))
    return ([('groups', ':'.join(known))],
            _left_out(setting, unknown))


def _knows_groups(groups):
    # Where they are good it goes on, to a connection that must fail.
    return 'connect:errno=' in '\n'.join(ask(
        OPENSSL, 's_client', '-no-CAfile', '-no-CApath', '-unix',
        '/nonexistent', '-groups', groups)[1])


def judge_priority(setting):
    """
    Judge a value for tlspriority: a GnuTLS priority string, for VNC.

    Returns as judge_ciphers does. Raises Refused where it permits a suite
    without encryption or authentication, or nothing could connect, and
    NotHere where GnuTLS does not take it.
    """
    value = setting.value
    label = setting.label
    check_characters('tlspriority', value, label)
    status, lines = ask(GNUTLS_CLI, '--priority=' + value, '--list')
    if status:
        errors = [line for line in lines
                  if not line.startswith('Cipher suites for ')]
        raise NotHere('%s: %s: GnuTLS says: %s; correct it (to see what a '
                      'string means: gnutls-cli --list --priority STRING)'
                      % (label, printable(value),
                         printable((errors or ['no'])[0], 100)))
    lists = dict((line.partition(': ')[0], line.partition(': ')[2].split(', '))
                 for line in lines)
    suites = [line.split() for line in lines if '0x' in line]
    for suite in suites:
        if '_NULL_' in suite[0] or '_ANON_' in suite[0]:
            raise Refused('%s: %s: this permits %s, a suite without '
                          'encryption or authentication; remove +NULL and '
                          '+ANON' % (label, printable(value), suite[0]))
    versions = [name[len('VERS-'):] for name in lists.get('Protocols', [])
                if name.startswith('VERS-TLS')
                and any(usable(suite, name[len('VERS-'):])
                        for suite in suites)]
    for what, there in (
            ('TLS version with a cipher suite', versions),
            # Before GnuTLS 3.6 the groups are curves.
            ('group', lists.get('Groups', lists.get('Elliptic curves'))),
            ('signature algorithm', lists.get('PK-signatures'))):
        if there in ([], ['none'], [''], None):
            raise Refused('%s: %s: this leaves no %s, so no client could '
                          'connect; begin with NORMAL and take away what is '
                          'not wanted' % (label, printable(value), what))
    warnings = []
    old = [version for version in versions
           if version not in ('TLS1.2', 'TLS1.3')]
    if old:
        warnings.append('%s: %s: this permits %s; add -VERS-ALL:+VERS-TLS1.3:'
                        '+VERS-TLS1.2' % (label, printable(value),
                                          ', '.join(old)))
    return [('priority', value)], warnings


JUDGES = {'tlsciphers': judge_ciphers, 'tlsprotocols': judge_protocols,
          'tlsgroups': judge_groups, 'tlspriority': judge_priority}


def _check_combination(values, lenient):
    """
    Refuse values ({key: (value, Setting)}) for SPICE that contradict each
    other; where one is the host's default, that is taken out.

    Returns lines (list of str).
    """
    lines = []
    protocols = values.get('protocols', (None, None))[0]
    for version, key, other in (('TLSv1.3', 'ciphers', 'ciphersuites'),
                                ('TLSv1.2', 'ciphersuites', 'ciphers')):
        if protocols != version or key not in values or other in values:
            continue
        setting, list_setting = values['protocols'][1], values[key][1]
        line = '%s: %s: %s has suites for %s only, so this leaves nothing' % (
            setting.label, protocols, list_setting.label,
            'TLS 1.2' if key == 'ciphers' else 'TLS 1.3')
        if setting.required == list_setting.required and (
                setting.required or not lenient):
            raise Refused('%s; add suites for the other version, or give '
                          'tlsprotocols TLSv1.2:TLSv1.3' % line)
        # What the VM itself asks for has precedence.
        del values[key if setting.required else 'protocols']
        lines.append('%s; the default of the host does not apply' % line)
    lines.extend(_combination_warnings(values))
    return lines


def _combination_warnings(values):
    lines = []
    protocols = values.get('protocols', (None, None))[0]
    for version, key in (('TLSv1.3', 'ciphers'), ('TLSv1.2', 'ciphersuites')):
        if protocols == version and key in values:
            lines.append('%s: the suites for %s have no effect, since '
                         'tlsprotocols is %s' % (
                             values[key][1].label, 'TLS 1.2'
                             if key == 'ciphers' else 'TLS 1.3', version))
    if protocols == 'TLSv1.3':
        return lines
    if 'ciphersuites' in values and 'ciphers' not in values:
        lines.append('%s: only TLS 1.3 suites are given: TLS 1.2 keeps the '
                     'suites of QEMU; add suites for TLS 1.2, or give '
                     'tlsprotocols TLSv1.3'
                     % values['ciphersuites'][1].label)
    if 'groups' in values and _has_static_rsa(values):
        lines.append('%s: TLS 1.2 clients without one of these groups fall '
                     'back to RSA key exchange; add !kRSA to tlsciphers'
                     % values['groups'][1].label)
    return lines


def _has_static_rsa(values):
    ciphers = values['ciphers'][0] if 'ciphers' in values else 'DEFAULT'
    return 'Kx=RSA' in ' '.join(
        openssl_ciphers(ciphers, '-s', '-v', '-tls1_2')[1]).split()


def _describe(values, displays):
    """Return lines (list of str): what each display gets."""
    lines = []
    for display in ('spice', 'vnc'):
        keys = [key for key in KEYS if key in values
                and (key == 'priority') == (display == 'vnc')]
        if display not in displays:
            continue
        if keys:
            given = ''
            for key, following in zip(keys, keys[1:] + [None]):
                given += ' %s=%s' % (key, values[key][0])
                origin = values[key][1].origin
                if origin and (following is None or
                               values[following][1].origin != origin):
                    given += ' (%s)' % origin
            lines.append('tlsciphers: the %s console gets%s' % (
                display.upper(), given))
        else:
            lines.append('tlsciphers: the %s console of this VM is not '
                         'covered: set %s or tlsprofile' % (
                             display.upper(), 'tlspriority'
                             if display == 'vnc' else 'tlsciphers'))
    if not frozenset(('spice', 'vnc')) & frozenset(displays):
        lines.append('tlsciphers: this VM has no SPICE or VNC console, so '
                     'there is nothing to do')
    return lines


def _offending_token(value, tokens):
    """Return the token without which a list would do, or the whole value."""
    for token in tokens:
        others = ':'.join(other for other in tokens if other != token)
        if others and all(openssl_ciphers(others, '-s', '-tls1_2')):
            return token
    return value


def _cipher_warnings(value, tokens, suites, label):
    warnings = []
    names = frozenset(suite[0] for suite in suites)
    checked = {}
    for position, token in enumerate(tokens):
        if token not in checked and token[0] != '@' and token not in names:
            checked[token] = _is_ignored(
                token, position == 0 and value.startswith(token))
    ignored = [token for token in tokens if checked.pop(token, False)]
    if ignored:
        warnings.append('%s: OpenSSL ignores %s: no suite here has '
                        'that name' % (label,
                                       printable(', '.join(ignored), 400)))
    # libspice has no DH parameters, and consoles have an RSA certificate.
    if all('Kx=DH' in suite or 'Au=ECDSA' in suite or 'Au=DSS' in suite
           for suite in suites):
        warnings.append('%s: %s: only DHE or ECDSA suites are left; '
                        'SPICE can use neither, so no TLS 1.2 client can '
                        'connect; add ECDHE-RSA suites'
                        % (label, printable(value)))
    # It may follow a name without a colon, as in DEFAULT@SECLEVEL=0.
    _, command, level = value.rpartition('@SECLEVEL=')
    level = level[:1] if command else None
    if level == '0':
        warnings.append('%s: @SECLEVEL=0 permits TLS 1.1 and 1.0' % label)
    elif level in ('3', '4', '5'):
        warnings.append('%s: @SECLEVEL=%s: certificates with RSA keys '
                        'of 2048 bits, as the engine issues them, are too '
                        'weak for this level; with them no client can connect'
                        % (label, level))
    return warnings


def _is_ignored(token, first):
    """Tell whether OpenSSL passes over a token (str) of a cipher list."""
    word = token.lstrip('!+-')
    # An exclusion is asked for as if it were included: alone it leaves
    # nothing, known or not.
    if word != token and word in RETIRED_KEYWORDS:
        return False
    # DEFAULT and some others count only at the beginning of a list: what
    # stands further back is asked for behind a separator.
    return not word or not openssl_ciphers(word if first else ':' + word)[0]


def openssl_ciphers(cipher_list, *options):
    """
    Ask `openssl ciphers` about a list (str); return (bool: exit status 0,
    list of str: lines that it printed). Raises Refused where it cannot be
    asked.
    """
    if cipher_list.startswith('-'):
        # OpenSSL 1.0.2 takes it for an option even after "--".
        cipher_list = ':' + cipher_list
    status, lines = ask(
        OPENSSL, *(('ciphers',) + options + ('--', cipher_list)))
    return status == 0, lines


def ask(program, *arguments):
    """
    Return a program's (exit status, list of str: lines that it printed).
    Raises Refused where it cannot be run.
    """
    try:
        # The emulator's environment, as far as the libraries care for it. The
        # errors of "openssl ciphers" would stand among its suites.
        status, lines = run(
            program, arguments, {'LC_ALL': 'C'}, arguments[0] != 'ciphers')
    except EnvironmentError as error:
        status, lines = 127, [error.strerror]
    if status == 127:
        raise Refused('tlsciphers: cannot check the values: %s; install %s' % (
            printable(lines[0], 200),
            'openssl' if program == OPENSSL else 'gnutls-utils'))
    return status, lines


def check_wrapper():
    """
    Refuse (Refused) to name the wrapper as emulator where a VM could not
    start through it. Returns a list of lines worth a warning.
    """
    remedy = 'dnf reinstall vdsm-hook-tlsciphers'
    try:
        status = os.stat(EMULATOR)
    except OSError as error:
        raise Refused('tlsciphers: the wrapper %s cannot be used: %s; '
                      'remedy: %s' % (EMULATOR, error.strerror, remedy))
    # Not os.access(): the emulator runs as another user than this hook.
    if not stat.S_ISREG(status.st_mode) or status.st_mode & 0o555 != 0o555:
        raise Refused('tlsciphers: the wrapper %s is not a file that '
                      'everybody may execute; remedy: %s'
                      % (EMULATOR, remedy))
    if not hasattr(os, 'getxattr'):
        return []
    enforcing = _selinux_enforcing()
    if enforcing is None:
        return []
    try:
        label = os.getxattr(EMULATOR, 'security.selinux')
    except OSError as error:
        label = error.strerror.encode('ascii', 'replace')
    label = label.rstrip(b'\0').decode('ascii', 'replace')
    if label.split(':')[2:3] == ['qemu_exec_t']:
        return []
    line = ('tlsciphers: the wrapper has the SELinux label %s instead of '
            'qemu_exec_t; remedy: restorecon -v %s %s'
            % (printable(label), WRAPPER, EMULATOR))
    if enforcing:
        raise Refused(line)
    return [line]


def _selinux_enforcing():
    """Return True, False (permissive) or None (SELinux is not enabled)."""
    try:
        with open('/sys/fs/selinux/enforce') as enforce:
            return enforce.read(1) == '1'
    except (IOError, OSError):
        return None


def displays(document):
    """
    Return the types ('spice', 'vnc', ...) of the graphics devices in a domain
    XML (xml.dom.minidom.Document), as a frozenset of str. Raises Refused
    where libvirt could see others.
    """
    if document.doctype is not None:
        # It can give attributes to elements, which minidom leaves out.
        raise Refused('tlsciphers: the domain XML has a document type '
                      'declaration (DOCTYPE), which libvirt may read in '
                      'another way; remove it')
    return frozenset(
        graphics.getAttribute('type')
        for devices in _children(document.documentElement, 'devices')
        for graphics in _children(devices, 'graphics'))


def is_hosted_engine(document):
    """
    Tell whether a domain XML (Document) is that of the VM in which the engine
    itself runs: without it nobody could mend a host's configuration.
    """
    return [_text(name) for name in _children(
        document.documentElement, 'name')] == ['HostedEngine']


def check_emulator(document):
    """
    Refuse (Refused) a domain XML (Document) whose emulator is neither QEMU's
    nor ours: it is another hook's wrapper, which ours would silently drop.
    """
    for path in _emulators(document):
        if not (path in ('', QEMU_KVM, EMULATOR, WRAPPER, '/usr/bin/qemu-kvm')
                or path.startswith('/usr/bin/qemu-system-')):
            raise Refused('tlsciphers: another hook has set the emulator to '
                          '%s, which this hook would drop; use only one of '
                          'the two for this VM' % printable(path, 200))


def set_policy(document, settings):
    """
    Make a domain XML start its VM through the wrapper with a policy.

    Arguments:
        document (xml.dom.minidom.Document): changed in place.
        settings (list): pairs of an option and its 'KEY=VALUE'.

    Returns:
        bool: whether anything had to be changed.
    """
    if (read_policy(document) == settings
            and _emulators(document)[:1] == [EMULATOR]):
        return False
    _set_emulator(document)
    for pair in _policy_arguments(document):
        for argument in pair:
            argument.parentNode.removeChild(argument)
    _add_arguments(document, [value for pair in settings for value in pair])
    return True


def _children(parent, name, namespace=None):
    """Return the child elements of that name, by default of the domain's."""
    if namespace is None:
        namespace = parent.namespaceURI
    return [node for node in parent.childNodes
            if node.nodeType == node.ELEMENT_NODE
            and node.localName == name and node.namespaceURI == namespace]


def _text(element):
    return ''.join(node.data for node in element.childNodes
                   if node.nodeType in (node.TEXT_NODE,
                                        node.CDATA_SECTION_NODE)).strip()


def _emulators(document):
    """
    Return the paths (list of str) that the domain names as emulator. The
    engine writes one for ppc64 into an attribute "text".
    """
    paths = []
    for devices in _children(document.documentElement, 'devices'):
        for emulator in _children(devices, 'emulator'):
            if emulator.hasAttribute('text'):
                paths.append(emulator.getAttribute('text'))
            paths.append(_text(emulator))
    return paths


def _set_emulator(document):
    devices = _children(document.documentElement, 'devices')[0]
    emulators = _children(devices, 'emulator')
    if emulators:
        emulator = emulators[0]
        while emulator.firstChild:
            emulator.removeChild(emulator.firstChild)
        if emulator.hasAttribute('text'):
            emulator.removeAttribute('text')
    else:
        emulator = document.createElementNS(
            devices.namespaceURI, _qualified(devices.prefix, 'emulator'))
        devices.insertBefore(emulator, next(
            (node for node in devices.childNodes
             if node.nodeType != node.TEXT_NODE), None))
    emulator.appendChild(document.createTextNode(EMULATOR))


def _policy_arguments(document):
    """Return the pairs (lists) of <qemu:arg> elements that are ours."""
    arguments = []
    for command_line in _children(
            document.documentElement, 'commandline', QEMU_NAMESPACE):
        arguments.extend(_children(command_line, 'arg'))
    # To libvirt all of them are one list.
    pairs = []
    position = 0
    while position < len(arguments):
        if arguments[position].getAttribute('value') in (
                REQUIREMENT, BEST_EFFORT):
            pairs.append(arguments[position:position + 2])
            position += 1
        position += 1
    return pairs


def read_policy(document):
    """
    Return the policy that a domain XML (Document) carries: a list of pairs of
    an option and its 'KEY=VALUE'.
    """
    return [tuple(argument.getAttribute('value') for argument in pair)
            for pair in _policy_arguments(document)]


def _add_arguments(document, values):
    domain = document.documentElement
    command_lines = _children(domain, 'commandline', QEMU_NAMESPACE)
    if command_lines:
        command_line = command_lines[0]
        prefix = command_line.prefix
    else:
        prefix = _qemu_prefix(domain)
        command_line = document.createElementNS(
            QEMU_NAMESPACE, _qualified(prefix, 'commandline'))
        domain.appendChild(command_line)
    for value in values:
        argument = document.createElementNS(
            QEMU_NAMESPACE, _qualified(prefix, 'arg'))
        argument.setAttribute('value', value)
        command_line.appendChild(argument)


def _qemu_prefix(domain):
    """Return the prefix of QEMU's namespace, declaring it if need be."""
    declared = set()
    for index in range(domain.attributes.length):
        attribute = domain.attributes.item(index)
        if attribute.prefix == 'xmlns':
            declared.add(attribute.localName)
            if attribute.value == QEMU_NAMESPACE:
                return attribute.localName
    prefix = 'qemu'
    while prefix in declared:
        prefix += '_'
    domain.setAttributeNS(XMLNS_NAMESPACE, 'xmlns:' + prefix, QEMU_NAMESPACE)
    return prefix


def _qualified(prefix, name):
    return '%s:%s' % (prefix, name) if prefix else name


class ExactDocument(object):
    """
    A document whose toxml() keeps line breaks and tabs that came in as
    character references. minidom (before Python 3.13) writes them bare, so
    that the next reader takes them for spaces.
    """

    # Noncharacters stand in for them while minidom writes.
    REFERENCES = ((u'\n', u'\ufdd0', b'&#10;'), (u'\t', u'\ufdd1', b'&#9;'),
                  (u'\r', u'\ufdd2', b'&#13;'))

    def __init__(self, document):
        self._document = document

    def toxml(self, encoding):
        """Return the XML as bytes in that encoding, which must be UTF-8."""
        self._protect(self._document.documentElement)
        xml = self._document.toxml(encoding=encoding)
        for _, stand_in, reference in self.REFERENCES:
            xml = xml.replace(stand_in.encode('utf-8'), reference)
        return xml

    def _protect(self, node):
        if node.nodeType == node.TEXT_NODE:
            if u'\r' in node.data:
                node.data = node.data.replace(u'\r', u'\ufdd2')
        elif node.nodeType == node.ELEMENT_NODE:
            for index in range(node.attributes.length):
                attribute = node.attributes.item(index)
                value = attribute.value
                for character, stand_in, _ in self.REFERENCES:
                    value = value.replace(character, stand_in)
                if value != attribute.value:
                    attribute.value = value
            for child in node.childNodes:
                self._protect(child)
