# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""
The profiles that every host has, and those of this host, with its default, in
its configuration file.

Private to vdsm-hook-tlsciphers. Runs on Python 2.7 and 3.6 and later, and
keeps to the syntax of 2.6, as the hook does.
"""

import errno
import io
import os
import stat

from tlsciphers_values import (
    CHARACTERS,
    PROPERTIES,
    SETTINGS,
    Refused,
    check_characters,
    printable,
)

HOST_DEFAULT = '@HOST_DEFAULT@'

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
                raise Refused('%s: line %d: %s: text after a section header'
                              % (HOST_DEFAULT, number, printable(line)),
                              'write it into a line of its own', 'host-file')
            last = None
            section = _read_header(header, number)
            place = '%s: line %d: [%s]' % (HOST_DEFAULT, number, section)
            _check_first(first_lines, section, 'section', number, place)
            sections[section] = {}
            continue
        key, value = _read_key(line)
        if not key:
            raise Refused('%s: line %d: %s: neither [SECTION] nor KEY = VALUE'
                          % (HOST_DEFAULT, number, printable(line)),
                          'correct it', 'host-file')
        if section is None:
            raise Refused('%s: line %d: %s: no section header above it'
                          % (HOST_DEFAULT, number, printable(line)),
                          'begin with [default] or [profile NAME]',
                          'host-file')
        place = place_of(number, section, key)
        _check_first(first_lines, (section, key), 'key', number, place)
        known = PROPERTIES if section == 'default' else SETTINGS
        if key not in known:
            raise Refused(place + ': no such key', 'use one of '
                          + ', '.join(known), 'host-file')
        check_characters(key, value, place)
        sections[section][str(key)] = (str(value), number)
        last = (key, value, place)
    return sections


def _read_header(header, number):
    """Return a section's name (str)."""
    place = '%s: line %d: [%s]' % (HOST_DEFAULT, number, printable(header))
    if header == u'DEFAULT':
        raise Refused(place + ': no such section', 'write [default]',
                      'host-file')
    kind, profile, name = header.partition(u'profile ')
    if header != u'default' and (kind or not profile):
        raise Refused(place + ': no such section',
                      'use [default] or [profile NAME]', 'host-file')
    if profile and (not name or set(name) - set(CHARACTERS['tlsprofile'])
                    or name in PROFILES or name == NO_PROFILE):
        raise Refused(place + ': invalid profile name', 'choose another of '
                      'letters, digits, . _ -', 'host-file')
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
        raise Refused('%s: duplicate %s, first set on line %d' % (
            place, kind, first_lines[name]), 'remove one', 'host-file')
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
        raise Refused('%s: cannot be read: %s' % (
            HOST_DEFAULT, error.strerror), remedy, 'host-file')
    try:
        _check_owner(os.fstat(descriptor), remedy)
        with io.open(descriptor, 'rb', closefd=False) as host_default:
            return host_default.read().decode('utf-8')
    except UnicodeDecodeError as error:
        raise Refused('%s: not valid UTF-8 (byte %d)' % (
            HOST_DEFAULT, error.start), remedy, 'host-file')
    finally:
        os.close(descriptor)


def _check_owner(status, remedy):
    """
    Refuse a file (os.stat_result) that is not root's alone, or that vdsm
    cannot read. A link counts as the file that it leads to.
    """
    if not stat.S_ISREG(status.st_mode):
        raise Refused(HOST_DEFAULT + ': not a regular file', remedy,
                      'host-file')
    # Root, and where the package is tried out, whoever has installed it.
    if status.st_uid not in (0, os.stat(__file__).st_uid) or (
            status.st_mode & stat.S_IWOTH) or (
            status.st_mode & stat.S_IWGRP and status.st_gid):
        raise Refused(HOST_DEFAULT + ': owned or writable by users other than '
                      'root', 'chown root:root and chmod 644',
                      'host-file-owner')
    # Root can read it in any case: the answer is to be that of the hook.
    if os.geteuid() == 0 and not (
            _vdsm_may(status, stat.S_IROTH)
            and _vdsm_may(os.stat(os.path.dirname(HOST_DEFAULT)),
                          stat.S_IXOTH)):
        raise Refused(HOST_DEFAULT + ': cannot be read by vdsm', 'chmod 644 '
                      '%s, and 755 for its folder' % HOST_DEFAULT,
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


def place_of(line, section, key):
    return '%s: line %d: [%s]: %s' % (HOST_DEFAULT, line, section,
                                      printable(key))


# Its last line: what imports this asks for it, so a file that was cut off is
# none.
COMPLETE = True
