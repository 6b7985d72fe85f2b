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

from tlsciphers_values import (
    CHARACTERS,
    GNUTLS_CLI,  # noqa: F401 (the command's)
    KEYS,
    LETTERS_AND_DIGITS,
    NOT_HERE,
    OPENSSL,  # noqa: F401 (the command's)
    PROPERTIES,
    PROTOCOLS,  # noqa: F401 (the command's)
    SETTINGS,
    UNUSABLE,
    Refused,
    check_characters,
    check_cipher_list,
    check_groups,
    check_priority,
    check_protocols,
    check_suites,
    check_versions_and_groups,
    counts_for,
    has_key_exchange,
    has_static_rsa,
    knows_groups,
    only_ecdsa,
    openssl_ciphers,
    printable,
    split_cipher_list,
    tls13_suites,
    unknown_suites,
    version_note,
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
# A CPU feature that no libvirt knows. The engine writes it for a VM whose
# extra_cpu_flags has it: only where this package takes it out the VM starts.
GUARD = 'vdsm-tls'
# Types of <graphics>, and of -display, that listen nowhere.
LOCAL_DISPLAYS = frozenset(('cocoa', 'curses', 'desktop', 'egl-headless',
                            'gtk', 'none', 'sdl'))

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


def resolve(properties, displays, lenient=False):
    """
    Settle, setting by setting, which value holds for a VM: that of its own
    property, of its tlsprofile, of the host's default, of the default's
    profile. Then judge those for displays that the VM has. What the VM itself
    asks for is passed on for the others as well, since another hook may add
    one: the wrapper judges it there.

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
    settings, lines = _choose(properties, displays, lenient)
    values = {}
    unseen = {}
    for setting in settings:
        if _display(setting.name) not in displays:
            if setting.required:
                check_characters(setting.name, setting.value, setting.label)
                if setting.name == 'tlsprotocols':
                    check_protocols(setting.value, setting.label)
                unseen.update((key, (value, setting))
                              for key, value in _pairs(setting))
            continue
        try:
            pairs, warnings = JUDGES[setting.name](setting)
        except Refused as refusal:
            if setting.required or not (
                    lenient or refusal.kind in (NOT_HERE, UNUSABLE)):
                raise
            lines.append('%s; the default of the host does not apply'
                         % refusal)
        else:
            lines.extend(warnings)
            values.update((key, (value, setting)) for key, value in pairs)
    lines.extend(_check_combination(values, lenient))
    if unseen:
        lines.append(_describe_unseen(unseen))
    if settings:
        lines.extend(_describe(values, displays))
        if not unseen and not _consoles(displays):
            lines.append('tlsciphers: this VM has no SPICE or VNC console, so '
                         'there is nothing to do')
    values.update(unseen)
    return [(REQUIREMENT if values[key][1].required else BEST_EFFORT,
             '%s=%s' % (key, values[key][0]))
            for key in KEYS if key in values], lines


def _display(name):
    """Return the display that one of SETTINGS is for."""
    return 'vnc' if name == 'tlspriority' else 'spice'


def _consoles(displays):
    return [display for display in ('spice', 'vnc') if display in displays]


def _pairs(setting):
    """Return a setting as (key, value) for the wrapper, without a judge."""
    if setting.name != 'tlsciphers':
        return [(setting.name[len('tls'):], setting.value)]
    ciphers, suites = split_cipher_list(setting.value, setting.label)
    pairs = [('ciphers', ciphers)] if ciphers else []
    return pairs + ([('ciphersuites', ':'.join(suites))] if suites else [])


def _choose(properties, displays, lenient):
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
            settings = _profile(profile, sections, 'tlsprofile: ' + profile,
                                True)
            _check_displays(profile, settings, displays)
            _add(chosen, settings)
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


def _check_displays(profile, settings, displays):
    """Refuse a profile (str) that sets nothing for the consoles there are."""
    consoles = _consoles(displays)
    if consoles and not [setting for setting in settings
                         if _display(setting.name) in consoles]:
        raise Refused('tlsprofile: %s: this profile sets nothing for %s, the '
                      'only console of this VM; add %s to [profile %s] in %s, '
                      'or name another profile' % (
                          profile, consoles[0].upper(),
                          'tlspriority' if consoles == ['vnc'] else
                          'tlsciphers', profile, HOST_DEFAULT),
                      'profile-other-console')


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
    if name in empty_profiles(sections):
        raise Refused('%s: this profile sets nothing; add a key to [profile '
                      '%s] in %s, or name another profile' % (
                          label, name, HOST_DEFAULT), 'empty-profile')
    return _section(sections, 'profile ' + name, origin, required)


def profile_names(sections):
    """Return the profiles (list of str) there are, given the host's file."""
    return sorted(PROFILES) + [NO_PROFILE] + sorted(
        section[len('profile '):] for section in sections
        if section.startswith('profile '))


def empty_profiles(sections):
    """Return the profiles (list of str) of the host's file without a key."""
    return sorted(section[len('profile '):] for section in sections
                  if section.startswith('profile ')
                  and not sections[section])


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
        Refused: others than root may have written the file, vdsm cannot read
            it, or it has a line, section or key that is not known.
    """
    sections = {}
    first_lines = {}
    section = last = None
    indent = 0
    # As Python reads lines of any system.
    lines = _host_default_text().replace(u'\r\n', u'\n').replace(
        u'\r', u'\n').split(u'\n')
    for number, text in enumerate(lines, 1):
        line = text.strip()
        if not line or line[0] in u'#;':
            continue
        column = text.index(line[0])
        if last and column > indent:
            # It continues the value above, which is refused.
            check_characters(last[0], last[1] + '\n', last[2])
        indent = column
        header, bracket, rest = line[1:].partition(u']')
        if line[0] == u'[' and header and bracket:
            if rest.strip() and rest.strip()[0] not in u'#;':
                raise Refused('%s: line %d: %s: text behind a section; write '
                              'it into a line of its own' % (
                                  HOST_DEFAULT, number, printable(line)),
                              'host-file')
            last = None
            section = _read_header(header, number)
            place = '%s: line %d: [%s]' % (HOST_DEFAULT, number, section)
            _check_first(first_lines, section, 'section', number, place)
            sections[section] = {}
            continue
        key, value = _read_key(line)
        if not key:
            raise Refused('%s: line %d: %s: it is neither [SECTION] nor KEY = '
                          'VALUE; correct it' % (
                              HOST_DEFAULT, number, printable(line)),
                          'host-file')
        if section is None:
            raise Refused('%s: line %d: %s: no section begins above it; begin '
                          'with [default] or [profile NAME]' % (
                              HOST_DEFAULT, number, printable(line)),
                          'host-file')
        place = _place(number, section, key)
        _check_first(first_lines, (section, key), 'key', number, place)
        known = PROPERTIES if section == 'default' else SETTINGS
        if key not in known:
            raise Refused('%s: no such key; there are %s' % (
                place, ', '.join(known)))
        check_characters(key, value, place)
        sections[section][str(key)] = (str(value), number)
        last = (key, value, place)
    return sections


def _read_header(header, number):
    """Return a section's name (str)."""
    place = '%s: line %d: [%s]' % (HOST_DEFAULT, number, printable(header))
    if header == u'DEFAULT':
        raise Refused('%s: no such section; write [default]' % place)
    kind, profile, name = header.partition(u'profile ')
    if header != u'default' and (kind or not profile):
        raise Refused('%s: no such section; there are [default] and [profile '
                      'NAME]' % place)
    if profile and (not name or set(name) - set(CHARACTERS['tlsprofile'])
                    or name in PROFILES or name == NO_PROFILE):
        raise Refused('%s: a profile cannot have this name; choose another of '
                      'letters, digits, . _ -' % place)
    return str(header)


def _read_key(line):
    """Return a line's (key, value), or two empty texts for no such line."""
    ends = [line.index(sign) for sign in u'=:' if sign in line]
    if not ends:
        return u'', u''
    # Python 2 has always taken what follows for a comment.
    value = line[min(ends) + 1:].partition(u' ;')[0]
    return line[:min(ends)].strip().lower(), value.strip()


def _check_first(first_lines, name, kind, number, place):
    if name in first_lines:
        raise Refused('%s: duplicate %s, first set on line %d; remove one' % (
            place, kind, first_lines[name]), 'host-file')
    first_lines[name] = number


def _host_default_text():
    """Return the file's text (unicode), which is empty where there is none."""
    remedy = 'fix it, or remove it'
    try:
        # A pipe would keep the VM waiting.
        descriptor = os.open(HOST_DEFAULT, os.O_RDONLY | os.O_NONBLOCK)
    except OSError as error:
        # A link that leads nowhere is no missing file.
        if error.errno in (errno.ENOENT, errno.ENOTDIR) and not (
                os.path.lexists(HOST_DEFAULT)):
            return u''
        raise Refused('%s: cannot be read: %s; %s' % (
            HOST_DEFAULT, error.strerror, remedy), 'host-file')
    try:
        _check_owner(os.fstat(descriptor), remedy)
        with io.open(descriptor, 'rb', closefd=False) as host_default:
            return host_default.read().decode('utf-8')
    except UnicodeDecodeError as error:
        raise Refused('%s: not valid UTF-8 (byte %d); %s' % (
            HOST_DEFAULT, error.start, remedy), 'host-file')
    finally:
        os.close(descriptor)


def _check_owner(status, remedy):
    """
    Refuse a file (os.stat_result) that is not root's alone, or that vdsm
    cannot read. A link counts as the file that it leads to.
    """
    if not stat.S_ISREG(status.st_mode):
        raise Refused('%s: not a regular file; %s' % (HOST_DEFAULT, remedy),
                      'host-file')
    # Root, and where the package is tried out, whoever has installed it.
    if status.st_uid not in (0, os.stat(__file__).st_uid) or (
            status.st_mode & stat.S_IWOTH) or (
            status.st_mode & stat.S_IWGRP and status.st_gid):
        raise Refused('%s: owned or writable by users other than root; chown '
                      'root:root and chmod 644' % HOST_DEFAULT,
                      'host-file-owner')
    # Root can read it in any case: the answer is to be that of the hook.
    if os.geteuid() == 0 and not (
            _vdsm_may(status, stat.S_IROTH)
            and _vdsm_may(os.stat(os.path.dirname(HOST_DEFAULT)),
                          stat.S_IXOTH)):
        raise Refused('%s: cannot be read by vdsm; chmod 644 %s, and 755 for '
                      'its folder' % (HOST_DEFAULT, HOST_DEFAULT),
                      'host-file-owner')


def _vdsm_may(status, permission):
    """
    Tell whether user vdsm has a permission (one of those for others) for a
    file (os.stat_result). Where there is no such user it is as any other.
    """
    import grp
    import pwd
    owner, group, others = [status.st_mode >> shift & permission
                            for shift in (6, 3, 0)]
    try:
        user = pwd.getpwnam('vdsm')
    except KeyError:
        return others
    if status.st_uid == user.pw_uid:
        return owner
    # Who is in which group can take long to find out.
    if group != others and status.st_gid in [user.pw_gid] + [
            entry.gr_gid for entry in grp.getgrall()
            if user.pw_name in entry.gr_mem]:
        return group
    return others


def _place(line, section, key):
    return '%s: line %d: [%s]: %s' % (HOST_DEFAULT, line, section,
                                      printable(key))


def judge_ciphers(setting):
    """
    Judge a value for tlsciphers: an OpenSSL cipher list for TLS 1.2 and older
    as ciphers(1) describes it, with TLS 1.3 suites (TLS_...) among its tokens.

    Returns:
        (list of (key, value) for the wrapper, list of str: what the
        administrator should know although the value is accepted).

    Raises:
        Refused: it is too long, has a character or token that is not
            permitted, leaves a suite without encryption or authentication, or
            names one that is never negotiated.
        Refused (NOT_HERE): OpenSSL does not know a TLS 1.3 suite, or no suite
            at all.
    """
    label = setting.label
    check_characters('tlsciphers', setting.value, label)
    ciphers, suites = split_cipher_list(setting.value, label)
    pairs = []
    lines = []
    if ciphers:
        lines.extend(_cipher_warnings(
            ciphers, check_cipher_list(ciphers, label), label))
        pairs.append(('ciphers', ciphers))
    if suites:
        known, left_out = _judge_suites(suites, setting)
        lines.extend(left_out)
        pairs.append(('ciphersuites', ':'.join(known)))
    return pairs, lines


def _judge_suites(suites, setting):
    """Return the known ones of TLS 1.3 suites (list), lines (list of str)."""
    unknown, problems = check_suites(suites, setting.label)
    known = [suite for suite in suites if suite not in unknown]
    if unknown and not (setting.built_in and known):
        raise unknown_suites(unknown, setting.label)
    if problems:
        raise problems[0]
    return known, _left_out(setting, unknown)


def _left_out(setting, unknown):
    return unknown and ['%s: left out, since this host does not know it: %s'
                        % (setting.label, ', '.join(unknown))]


def judge_protocols(setting):
    """
    Judge a value for tlsprotocols: one of PROTOCOLS.

    Returns as judge_ciphers does. Raises Refused, where OpenSSL is
    older than 1.1.1, which has no such setting.
    """
    check_characters('tlsprotocols', setting.value, setting.label)
    check_protocols(setting.value, setting.label)
    if not tls13_suites(['TLS_AES_256_GCM_SHA384']):
        raise Refused('%s: %s: this needs OpenSSL 1.1.1%s; remove the setting '
                      'or start the VM on a newer host' % (
                          setting.label, setting.value, version_note()),
                      'openssl-too-old', NOT_HERE)
    return [('protocols', setting.value)], []


def judge_groups(setting):
    """
    Judge a value for tlsgroups: groups for the key exchange of SPICE, under
    the names that OpenSSL has for them.

    Returns as judge_ciphers does. Raises Refused, also for a group that
    OpenSSL does not know.
    """
    value = setting.value
    check_characters('tlsgroups', value, setting.label)
    unknown = []
    if setting.built_in and not knows_groups(value):
        unknown = [group for group in value.split(':')
                   if not knows_groups(group)]
        value = ':'.join(group for group in value.split(':')
                         if group not in unknown) or value
    for problem in check_groups(value, setting.label):
        raise problem
    return [('groups', value)], _left_out(setting, unknown)


def judge_priority(setting):
    """
    Judge a value for tlspriority: a GnuTLS priority string, for VNC.

    Returns as judge_ciphers does. Raises Refused where it permits a suite
    without encryption or authentication, GnuTLS drops its end, or nothing
    could connect, or GnuTLS does not take it.
    """
    value = setting.value
    check_characters('tlspriority', value, setting.label)
    found, problems = check_priority(value, setting.label)
    for problem in problems:
        raise problem
    beginning = '%s: %s' % (setting.label, printable(value))
    versions = found.versions()
    warnings = []
    old = [version for version in versions
           if version not in ('TLS1.2', 'TLS1.3')]
    if old:
        warnings.append('%s: this permits %s; set tlsprofile to intermediate '
                        'instead [priority-old-versions]' % (
                            beginning, ', '.join(old)))
    dead = [version for version in versions
            if not has_key_exchange(found, version)]
    if dead:
        warnings.append('%s: no group or signature algorithm is left for %s, '
                        'so no client can connect with it; add '
                        '+GROUP-SECP256R1:+SIGN-RSA-PSS-RSAE-SHA256:'
                        '+SIGN-RSA-SHA256, or take it away [no-common-group]'
                        % (beginning, ', '.join(dead)))
    if [version for version in versions if only_ecdsa(found, version)]:
        warnings.append('%s: %s' % (beginning, _only_ecdsa(
            'VNC', 'ECDSA', '+ECDHE-RSA')))
    # Names such as TLS_DHE_RSA_AES_128_GCM_SHA256.
    if [suite for suite in found.suites for version in versions
            if version != 'TLS1.3' and '_DHE_' in suite
            and counts_for(suite, version)] and not [
                group for group in found.groups if 'FFDHE' in group]:
        warnings.append('%s: DHE suites without a group for them: VNC then '
                        'exchanges keys in a Diffie-Hellman group of its own, '
                        'none of this string; remove +DHE-RSA, or add '
                        '+GROUP-FFDHE2048 [dhe-outside-groups]' % beginning)
    return [('priority', value)], warnings


def _only_ecdsa(display, kinds, remedy):
    return ('only %s suites are left for TLS 1.2, which %s cannot use with '
            'the RSA certificates of the engine, so no TLS 1.2 client can '
            'connect; add %s [only-ecdsa]' % (kinds, display, remedy))


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
    lines.extend(_combination_warnings(values, lenient))
    return lines


def _combination_warnings(values, lenient):
    lines = _check_groups_of_versions(values, lenient)
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


def _check_groups_of_versions(values, lenient):
    """
    Refuse groups that the versions of TLS do not have; where they are the
    host's default, take them out. Returns lines (list of str).
    """
    if 'groups' not in values:
        return []
    groups, setting = values['groups']
    protocols, other = values.get('protocols', ('', setting))
    try:
        return check_versions_and_groups(
            protocols, groups, lambda: _has_static_rsa(values), setting.label)
    except Refused as refusal:
        if setting.required or not (other.required or lenient):
            raise
        del values['groups']
        return ['%s; the default of the host does not apply' % refusal]


def _has_static_rsa(values):
    return has_static_rsa(values.get('ciphers', (None,))[0])


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
    return lines


def _describe_unseen(values):
    """Return a line (str): what is passed on for displays not there."""
    settings = [values[key][1] for key in KEYS if key in values]
    displays = frozenset(_display(setting.name) for setting in settings)
    names = []
    for setting in settings:
        name = 'tlsprofile' if setting.origin else setting.name
        if name not in names:
            names.append(name)
    return ('tlsciphers: this VM has no %s console: the values for it (%s) '
            'have no effect so far [no-console]' % (
                ' or '.join(display.upper() for display in sorted(displays)),
                ', '.join(names)))


def _cipher_warnings(value, suites, label):
    tokens = [token for token in value.split(':') if token]
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
        warnings.append('%s: %s: %s' % (label, printable(value), _only_ecdsa(
            'SPICE', 'DHE or ECDSA', 'ECDHE-RSA suites')))
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
    Return the types ('spice', 'vnc', ...) of the graphics devices that
    libvirt sees in a domain XML (xml.dom.minidom.Document), as a frozenset of
    str. Raises Refused where libvirt could see others.
    """
    if document.doctype is not None:
        # It can give attributes to elements, which minidom leaves out.
        raise Refused('tlsciphers: the domain XML has a document type '
                      'declaration (DOCTYPE), which libvirt may read in '
                      'another way; remove it')
    found = []
    for devices in _children(document.documentElement, 'devices'):
        for emulator in _children(devices, 'emulator'):
            _refuse_prefixes(emulator)
        for graphics in _children(devices, 'graphics'):
            _refuse_prefixes(graphics)
            for element in graphics.getElementsByTagName('*'):
                _refuse_prefixes(element)
            found.append(graphics.getAttribute('type'))
    for argument in _arguments(document):
        _refuse_prefixes(argument)
    return frozenset(found)


def _refuse_prefixes(element):
    """
    Refuse attributes with a prefix: libvirt looks for an attribute's local
    name alone, and takes the first one that it finds.
    """
    for index in range(element.attributes.length):
        attribute = element.attributes.item(index)
        if attribute.namespaceURI not in (None, XMLNS_NAMESPACE):
            raise Refused('tlsciphers: the attribute %s of <%s> in the domain '
                          'XML has a prefix, which libvirt does not see; '
                          'remove the prefix' % (
                              printable(attribute.name),
                              printable(element.tagName)), 'prefix')


def is_hosted_engine(document):
    """
    Tell whether a domain XML (Document) is that of the VM in which the engine
    itself runs: without it nobody could fix a host's configuration.
    """
    return [_text(name) for name in _children(
        document.documentElement, 'name')] == ['HostedEngine']


def has_guard(flags):
    """Tell whether a VM's extra_cpu_flags (str) ask for the guard."""
    return GUARD in [flag[flag[:1] in ('+', '-'):]
                     for flag in flags.split(',')]


def check_guard(document, settings):
    """
    Refuse (Refused) a VM with a guard where a console gets no requirement.

    Arguments:
        document (xml.dom.minidom.Document): the domain XML.
        settings (list): pairs of an option and its 'KEY=VALUE', as resolve()
            returns them.

    Returns:
        list: the elements that are the guard, to be removed.
    """
    guard = [feature for cpu in _children(document.documentElement, 'cpu')
             for feature in _children(cpu, 'feature')
             if GUARD in _attributes(feature, 'name')]
    for feature in guard:
        for policy in _attributes(feature, 'policy'):
            if policy != 'require':
                raise Refused('extra_cpu_flags: the CPU feature %s has the '
                              'policy %s, with which it guards nothing; write '
                              '+%s, or remove it' % (
                                  GUARD, printable(policy), GUARD),
                              'guard-policy')
    if not guard:
        return []
    consoles = displays(document) | argument_displays(document)
    covered = [_display('tls' + value.partition('=')[0])
               for option, value in settings if option == REQUIREMENT]
    uncovered = [display.upper() for display in _consoles(consoles)
                 if display not in covered]
    if uncovered:
        raise Refused('extra_cpu_flags: +%s: no property of this VM covers '
                      'its %s console%s (a default of the host does not '
                      'count); set tlsprofile (modern and intermediate cover '
                      'both), or remove +%s from extra_cpu_flags' % (
                          GUARD, ' and '.join(uncovered),
                          's' if len(uncovered) > 1 else '', GUARD),
                      'guard-uncovered')
    others = consoles - LOCAL_DISPLAYS - frozenset(('spice', 'vnc'))
    if 'readconfig' in others:
        raise Refused('extra_cpu_flags: +%s: with -readconfig nobody can tell '
                      'which consoles this VM has; correct the hook that has '
                      'added it, or remove +%s from extra_cpu_flags' % (
                          GUARD, GUARD), 'guard-other-console')
    if others:
        raise Refused('extra_cpu_flags: +%s: no policy can cover the %s '
                      'console of this VM; remove that console, or remove '
                      '+%s from extra_cpu_flags' % (
                          GUARD, printable(', '.join(sorted(others)).upper()),
                          GUARD), 'guard-other-console')
    return guard


def describe_guard(document, flags):
    """
    Return lines (list of str): that a guard which a VM's extra_cpu_flags
    (str) ask for is not in its domain XML (Document).
    """
    # Behind this hook it is not there, but the policy is.
    if (not has_guard(flags) or read_policy(document)
            or not _consoles(displays(document))):
        return []
    return ['extra_cpu_flags: +%s: the domain XML has no such CPU feature: '
            'the engine writes none for cluster levels below 4.6, or another '
            'hook took it out; a host without this package would start this '
            'VM without its policy [guard-missing]' % GUARD]


def _attributes(element, name):
    """
    Return the values (list of str) of an element's attributes of that local
    name: libvirt finds them under any prefix.
    """
    attributes = [element.attributes.item(index)
                  for index in range(element.attributes.length)]
    return [attribute.value for attribute in attributes
            if attribute.localName == name]


def argument_displays(document):
    """
    Return the displays (set of str) that other hooks' arguments add, as types
    of <graphics>, and 'readconfig' for a file of them.
    """
    values = [argument.getAttribute('value')
              for argument in _arguments(document)]
    found = set()
    for option, value in zip(values, values[1:] + ['']):
        name = option.lstrip('-') if option[:1] == '-' else ''
        kind, _, text = value.partition(',')[0].partition('=')
        if (name in ('spice', 'vnc') and value != 'none') or (
                name == 'readconfig'):
            found.add(name)
        elif name == 'display':
            # One as JSON is none of those that are known.
            kind = text if kind == 'type' else kind
            found.add({'default': 'vnc', 'spice-app': 'spice'}.get(kind, kind))
    return found - LOCAL_DISPLAYS


def remove(elements):
    """Take elements (list) out of their document."""
    for element in elements:
        element.parentNode.removeChild(element)


def check_emulator(document):
    """
    Refuse (Refused) a domain XML (Document) whose emulator is neither QEMU's
    nor ours: it is another hook's wrapper, which ours would silently drop.
    """
    for path in _emulator_paths(document):
        if not (path in ('', QEMU_KVM, EMULATOR, WRAPPER, '/usr/bin/qemu-kvm')
                or (path.startswith('/usr/bin/qemu-system-') and not path[
                    len('/usr/bin/qemu-system-'):].strip(
                        LETTERS_AND_DIGITS + '_'))):
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
    values = [value for pair in settings for value in pair]
    first = [argument.getAttribute('value')
             for argument in _arguments(document)[:len(values)]]
    # libvirt takes the first emulator, as it is, and no attribute.
    emulator = [(_whole_text(emulator), emulator.hasAttribute('text'))
                for emulator in _emulators(document)[:1]]
    if (first == values and read_policy(document) == settings
            and emulator == [(EMULATOR, False)]):
        return False
    _set_emulator(document)
    for pair in _policy_arguments(document):
        remove(pair)
    _add_arguments(document, values)
    return True


def _children(parent, name, namespace=None):
    """
    Return the child elements of that name and namespace. What libvirt looks
    for is in none, whatever that of the domain is, but for QEMU's.
    """
    return [node for node in parent.childNodes
            if node.nodeType == node.ELEMENT_NODE
            and node.localName == name and node.namespaceURI == namespace]


def _create(document, parent, name):
    """Return a new element in no namespace, to be a child of parent."""
    element = document.createElementNS(None, name)
    if parent.hasAttribute('xmlns'):
        element.setAttributeNS(XMLNS_NAMESPACE, 'xmlns', '')
    return element


def _text(element):
    return _whole_text(element).strip()


def _whole_text(node):
    """Return the text of a node and all its children, as XPath has it."""
    if node.nodeType in (node.TEXT_NODE, node.CDATA_SECTION_NODE):
        return node.data
    return ''.join(_whole_text(child) for child in node.childNodes)


def _first_node(parent):
    """Return the first child that is no text, or None."""
    return next((node for node in parent.childNodes
                 if node.nodeType != node.TEXT_NODE), None)


def _emulators(document):
    return [emulator
            for devices in _children(document.documentElement, 'devices')
            for emulator in _children(devices, 'emulator')]


def _emulator_paths(document):
    """
    Return the paths (list of str) that the domain names as emulator. The
    engine writes one for ppc64 into an attribute "text".
    """
    paths = []
    for emulator in _emulators(document):
        if emulator.hasAttribute('text'):
            paths.append(emulator.getAttribute('text'))
        paths.append(_text(emulator))
    return paths


def _set_emulator(document):
    domain = document.documentElement
    if not _children(domain, 'devices'):
        domain.appendChild(_create(document, domain, 'devices'))
    devices = _children(domain, 'devices')[0]
    emulators = _children(devices, 'emulator')
    if emulators:
        emulator = emulators[0]
        while emulator.firstChild:
            emulator.removeChild(emulator.firstChild)
        if emulator.hasAttribute('text'):
            emulator.removeAttribute('text')
    else:
        emulator = _create(document, devices, 'emulator')
        devices.insertBefore(emulator, _first_node(devices))
    emulator.appendChild(document.createTextNode(EMULATOR))


def _arguments(document):
    """Return the <qemu:arg> elements: to libvirt all of them are one list."""
    arguments = []
    for command_line in _children(
            document.documentElement, 'commandline', QEMU_NAMESPACE):
        arguments.extend(_children(command_line, 'arg', QEMU_NAMESPACE))
    return arguments


def _policy_arguments(document):
    """Return the pairs (lists) of <qemu:arg> elements that are ours."""
    arguments = _arguments(document)
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
    """
    Add <qemu:arg> elements before all that are there: behind an option of
    another hook that lacks its value, the first would be taken for that.
    """
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
    first = _first_node(command_line)
    for value in values:
        argument = document.createElementNS(
            QEMU_NAMESPACE, _qualified(prefix, 'arg'))
        argument.setAttribute('value', value)
        command_line.insertBefore(argument, first)


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
