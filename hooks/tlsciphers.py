# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""
Which values of a policy hold for a VM, and whether they can be enforced here.

Private to vdsm-hook-tlsciphers. Runs on Python 2.7 and 3.6 and later, and
keeps to the syntax of 2.6, as the hook does.
"""

from tlsciphers_config import (
    HOST_DEFAULT,
    NO_PROFILE,
    PROFILES,
    empty_profiles,
    place_of,
    profile_names,
    read_host_default,
)
from tlsciphers_domain import consoles_of, display_of
from tlsciphers_values import (
    BEST_EFFORT,
    CHARACTERS,
    CLEAN,
    GNUTLS_CLI,
    GROUPS_QUESTION,
    KEYS,
    NOT_HERE,
    OPENSSL,
    PACKAGE,
    REQUIREMENT,
    SETTINGS,
    UNUSABLE,
    Refused,
    ask_ahead,
    check_characters,
    check_cipher_list,
    check_groups,
    check_priority,
    check_protocols,
    check_suites,
    check_versions_and_groups,
    counts_for,
    forget,
    has_key_exchange,
    has_static_rsa,
    knows_groups,
    only_ecdsa,
    openssl_ciphers,
    printable,
    priority_question,
    split_cipher_list,
    tls13_suites,
    unknown_suites,
    version_note,
)

HOST_ORIGIN = 'default of the host'

# Words of ciphers(1) that match nothing where OpenSSL is built without such
# suites: excluding them is right.
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
    profile. Then validate those for displays that the VM has. What the VM
    itself requests is passed on for the others as well, since another hook
    may add one: the wrapper validates it there.

    Arguments:
        properties (mapping of str): may hold the names of PROPERTIES.
        displays (collection of str): the VM's, such as 'spice' and 'vnc'.
        lenient (bool): whether what is wrong with the host's default is only
            said, not refused.

    Returns:
        (list of (option, 'KEY=VALUE') for the wrapper, list of Refused: notes
        for the administrator).

    Raises:
        Refused: a value is wrong, or cannot be enforced although it must be.
    """
    settings, notes = _choose(properties, displays, lenient)
    _ask_ahead(setting for setting in settings
               if display_of(setting.name) in displays)
    try:
        return _settle(settings, notes, displays, lenient)
    finally:
        forget()


def _ask_ahead(settings):
    """Ask ahead what the validators of these settings begin with."""
    for setting in settings:
        if set(setting.value) - set(CHARACTERS[setting.name]):
            continue  # It will be refused unasked.
        if setting.name == 'tlsgroups':
            ask_ahead(OPENSSL, GROUPS_QUESTION + (setting.value,), CLEAN)
        elif setting.name == 'tlspriority':
            ask_ahead(GNUTLS_CLI, priority_question(setting.value), CLEAN)


def _settle(settings, notes, displays, lenient):
    """Validate settings (list of Setting): what resolve() returns."""
    values = {}
    unseen = {}
    for setting in settings:
        if display_of(setting.name) not in displays:
            if setting.required:
                check_characters(setting.name, setting.value, setting.label)
                if setting.name == 'tlsprotocols':
                    check_protocols(setting.value, setting.label)
                unseen.update((key, (value, setting))
                              for key, value in _pairs(setting))
            continue
        try:
            pairs, warnings = VALIDATORS[setting.name](setting)
        except Refused as refusal:
            if setting.required or not (
                    lenient or refusal.kind in (NOT_HERE, UNUSABLE)):
                raise
            notes.append(host_default_ignored(refusal))
        else:
            notes.extend(warnings)
            values.update((key, (value, setting)) for key, value in pairs)
    notes.extend(_check_combination(values, lenient))
    if unseen:
        notes.append(_describe_unseen(unseen))
    if settings:
        notes.extend(_describe(values, displays))
        if not unseen and not consoles_of(displays):
            notes.append(Refused('this VM has no SPICE or VNC console, so '
                                 'there is nothing to do', '', 'no-console',
                                 prefix=PACKAGE))
    values.update(unseen)
    return [(REQUIREMENT if values[key][1].required else BEST_EFFORT,
             '%s=%s' % (key, values[key][0]))
            for key in KEYS if key in values], notes


def requested(properties):
    """
    Return what a VM itself requests, for each display, not validated.

    Arguments:
        properties (mapping of str): may hold the names of PROPERTIES.

    Returns:
        {key of KEYS: value}, empty where it requests nothing.

    Raises:
        Refused: a value has a character that is not permitted, or the profile
            is not known on this host.
    """
    chosen = dict((name, Setting(name, properties[name], name))
                  for name in SETTINGS if name in properties)
    profile = properties.get('tlsprofile', NO_PROFILE)
    check_characters('tlsprofile', profile)
    if profile != NO_PROFILE:
        _add(chosen, _profile(
            profile, {} if profile in PROFILES else read_host_default(),
            'tlsprofile: ' + profile, True))
    for setting in chosen.values():
        check_characters(setting.name, setting.value)
    return dict(pair for setting in chosen.values()
                for pair in _pairs(setting))


def host_default_ignored(refusal):
    """Return what to note (Refused) of a refused default of the host."""
    return Refused(refusal.text + ': host default ignored', refusal.remedy,
                   refusal.code, prefix=refusal.prefix)


def _pairs(setting):
    """Return a setting as (key, value) for the wrapper, not validated."""
    if setting.name != 'tlsciphers':
        return [(setting.name[len('tls'):], setting.value)]
    ciphers, suites = split_cipher_list(setting.value, setting.label)
    pairs = [('ciphers', ciphers)] if ciphers else []
    return pairs + ([('ciphersuites', ':'.join(suites))] if suites else [])


def _choose(properties, displays, lenient):
    """Return the settings (list of Setting) that hold, and notes (list)."""
    chosen = dict((name, Setting(name, properties[name], name))
                  for name in SETTINGS if name in properties)
    notes = []
    profile = properties.get('tlsprofile')
    if profile is not None:
        check_characters('tlsprofile', profile)
    if profile == NO_PROFILE:
        notes.append(Refused('tlsprofile: none: host default ignored', '',
                             'profile-none'))
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
                notes.append(host_default_ignored(refusal))
    return [chosen[name] for name in SETTINGS if name in chosen], notes


def _add(chosen, settings):
    for setting in settings:
        chosen.setdefault(setting.name, setting)


def _check_displays(profile, settings, displays):
    """Refuse a profile (str) that sets nothing for the consoles there are."""
    consoles = consoles_of(displays)
    name = 'tlspriority' if consoles == ['vnc'] else 'tlsciphers'
    if consoles and not [setting for setting in settings
                         if display_of(setting.name) in consoles]:
        raise Refused('tlsprofile: %s: this profile sets nothing for %s, the '
                      'only console of this VM' % (
                          profile, consoles[0].upper()),
                      'add %s to [profile %s] in %s, or name another profile'
                      % (name, profile, HOST_DEFAULT),
                      'profile-other-console')


def _profile(name, sections, label, required):
    """Return the settings (list of Setting) of a profile."""
    origin = 'profile ' + name if required else HOST_ORIGIN
    if name in PROFILES:
        return [Setting(setting, value, '%s: %s' % (label, setting), origin,
                        required, built_in=True)
                for setting, value in sorted(PROFILES[name].items())]
    if 'profile ' + name not in sections:
        raise Refused(label + ': no such profile', 'use one of %s, or add '
                      '[profile %s] to %s' % (
                          ', '.join(profile_names(sections)), name,
                          HOST_DEFAULT), 'unknown-profile')
    if name in empty_profiles(sections):
        raise Refused(label + ': this profile sets nothing',
                      'add a key to [profile %s] in %s, or name another '
                      'profile' % (name, HOST_DEFAULT), 'empty-profile')
    return _section(sections, 'profile ' + name, origin, required)


def _section(sections, section, origin, required):
    return [Setting(name, value, place_of(line, section, name), origin,
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
            place_of(line, 'default', 'tlsprofile'), profile), False))
    return settings


def validate_ciphers(setting):
    """
    Validate a value for tlsciphers: an OpenSSL cipher list for TLS 1.2 and
    older as ciphers(1) describes it, with TLS 1.3 suites (TLS_...) among its
    tokens.

    Returns:
        (list of (key, value) for the wrapper, list of Refused: what the
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
    notes = []
    if ciphers:
        notes.extend(_cipher_warnings(
            ciphers, check_cipher_list(ciphers, label), label))
        pairs.append(('ciphers', ciphers))
    if suites:
        known, left_out = _validate_suites(suites, setting)
        notes.extend(left_out)
        pairs.append(('ciphersuites', ':'.join(known)))
    return pairs, notes


def _validate_suites(suites, setting):
    """Return the known ones of TLS 1.3 suites (list), notes (list)."""
    unknown, problems = check_suites(suites, setting.label)
    known = [suite for suite in suites if suite not in unknown]
    if unknown and not (setting.built_in and known):
        raise unknown_suites(unknown, setting.label)
    if problems:
        raise problems[0]
    return known, _left_out(setting, unknown)


def _left_out(setting, unknown):
    return unknown and [Refused(
        '%s: left out, since this host does not know it: %s' % (
            setting.label, ', '.join(unknown)), '', 'left-out')]


def validate_protocols(setting):
    """
    Validate a value for tlsprotocols: one of PROTOCOLS.

    Returns as validate_ciphers does. Raises Refused, where OpenSSL is
    older than 1.1.1, which has no such setting.
    """
    check_characters('tlsprotocols', setting.value, setting.label)
    check_protocols(setting.value, setting.label)
    if not tls13_suites(['TLS_AES_256_GCM_SHA384']):
        raise Refused('%s: %s: this needs OpenSSL 1.1.1%s' % (
                          setting.label, setting.value, version_note()),
                      'remove the setting or start the VM on a newer host',
                      'openssl-too-old', NOT_HERE)
    return [('protocols', setting.value)], []


def validate_groups(setting):
    """
    Validate a value for tlsgroups: groups for the key exchange of SPICE, under
    the names that OpenSSL has for them.

    Returns as validate_ciphers does. Raises Refused, also for a group that
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


def validate_priority(setting):
    """
    Validate a value for tlspriority: a GnuTLS priority string, for VNC.

    Returns as validate_ciphers does. Raises Refused where it permits a suite
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
        warnings.append(Refused(
            '%s: this permits %s' % (beginning, ', '.join(old)),
            'set tlsprofile to intermediate instead',
            'priority-old-versions'))
    dead = [version for version in versions
            if not has_key_exchange(found, version)]
    if dead:
        warnings.append(Refused(
            '%s: no group or signature algorithm remains for %s, so no client '
            'can connect with it' % (beginning, ', '.join(dead)),
            'add +GROUP-SECP256R1:+SIGN-RSA-PSS-RSAE-SHA256:+SIGN-RSA-SHA256, '
            'or remove that version', 'no-common-group'))
    if [version for version in versions if only_ecdsa(found, version)]:
        warnings.append(_only_ecdsa(beginning, 'VNC', 'ECDSA', '+ECDHE-RSA'))
    # Names such as TLS_DHE_RSA_AES_128_GCM_SHA256.
    if [suite for suite in found.suites for version in versions
            if version != 'TLS1.3' and '_DHE_' in suite
            and counts_for(suite, version)] and not [
                group for group in found.groups if 'FFDHE' in group]:
        warnings.append(Refused(
            '%s: DHE suites without an FFDHE group: VNC then uses its own '
            'Diffie-Hellman parameters, outside the groups of this string'
            % beginning, 'remove +DHE-RSA, or add +GROUP-FFDHE2048',
            'dhe-outside-groups'))
    return [('priority', value)], warnings


def _only_ecdsa(beginning, display, kinds, missing):
    return Refused('%s: only %s suites remain for TLS 1.2, which %s cannot '
                   'use with the RSA certificates of the engine, so no TLS '
                   '1.2 client can connect' % (beginning, kinds, display),
                   'add ' + missing, 'only-ecdsa')


VALIDATORS = {
    'tlsciphers': validate_ciphers, 'tlsprotocols': validate_protocols,
    'tlsgroups': validate_groups, 'tlspriority': validate_priority}


def _check_combination(values, lenient):
    """
    Refuse values ({key: (value, Setting)}) for SPICE that contradict each
    other; where one is the host's default, that is removed.

    Returns notes (list of Refused).
    """
    notes = []
    protocols = values.get('protocols', (None, None))[0]
    for version, key, other in (('TLSv1.3', 'ciphers', 'ciphersuites'),
                                ('TLSv1.2', 'ciphersuites', 'ciphers')):
        if protocols != version or key not in values or other in values:
            continue
        setting, list_setting = values['protocols'][1], values[key][1]
        refusal = Refused(
            '%s: %s: %s has suites for %s only, so no cipher suite remains'
            % (setting.label, protocols, list_setting.label,
               'TLS 1.2' if key == 'ciphers' else 'TLS 1.3'),
            'add suites for the other version, or give tlsprotocols '
            'TLSv1.2:TLSv1.3', 'suites-of-other-version')
        if setting.required == list_setting.required and (
                setting.required or not lenient):
            raise refusal
        # What the VM itself requests has precedence.
        del values[key if setting.required else 'protocols']
        notes.append(host_default_ignored(refusal))
    notes.extend(_combination_warnings(values, lenient))
    return notes


def _combination_warnings(values, lenient):
    notes = _check_groups_of_versions(values, lenient)
    protocols = values.get('protocols', (None, None))[0]
    for version, key in (('TLSv1.3', 'ciphers'), ('TLSv1.2', 'ciphersuites')):
        if protocols == version and key in values:
            notes.append(Refused(
                '%s: the suites for %s have no effect, since tlsprotocols is '
                '%s' % (values[key][1].label, 'TLS 1.2' if key == 'ciphers'
                        else 'TLS 1.3', version), '',
                'suites-without-effect'))
    if protocols == 'TLSv1.3':
        return notes
    if 'ciphersuites' in values and 'ciphers' not in values:
        notes.append(Refused(
            '%s: only TLS 1.3 suites are given: TLS 1.2 keeps the suites of '
            'QEMU' % values['ciphersuites'][1].label,
            'add suites for TLS 1.2, or give tlsprotocols TLSv1.3',
            'tls12-default-suites'))
    if 'groups' in values and _has_static_rsa(values):
        notes.append(Refused(
            '%s: TLS 1.2 clients without one of these groups fall back to RSA '
            'key exchange' % values['groups'][1].label,
            'add !kRSA to tlsciphers', 'static-rsa-fallback'))
    return notes


def _check_groups_of_versions(values, lenient):
    """
    Refuse groups that the versions of TLS do not have; where they are the
    host's default, remove them. Returns notes (list of Refused).
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
        return [host_default_ignored(refusal)]


def _has_static_rsa(values):
    return has_static_rsa(values.get('ciphers', (None,))[0])


def _describe(values, displays):
    """Note (list of Refused) what each display gets."""
    notes = []
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
            notes.append(Refused('the %s console gets%s' % (
                display.upper(), given), '', 'policy-set', prefix=PACKAGE))
        else:
            notes.append(Refused(
                'the %s console of this VM is not covered' % display.upper(),
                'set %s or tlsprofile' % ('tlspriority' if display == 'vnc'
                                          else 'tlsciphers'),
                'console-not-covered', prefix=PACKAGE))
    return notes


def _describe_unseen(values):
    """Note (Refused) what is passed on for displays that are not there."""
    settings = [values[key][1] for key in KEYS if key in values]
    displays = frozenset(display_of(setting.name) for setting in settings)
    names = []
    for setting in settings:
        name = 'tlsprofile' if setting.origin else setting.name
        if name not in names:
            names.append(name)
    return Refused('this VM has no %s console: the values for it (%s) have no '
                   'effect so far' % (
                       ' or '.join(display.upper()
                                   for display in sorted(displays)),
                       ', '.join(names)), '', 'no-console', prefix=PACKAGE)


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
        warnings.append(Refused(
            '%s: OpenSSL ignores %s: no suite has that name here'
            % (label, printable(', '.join(ignored), 400)), 'correct the list',
            'ignored-token'))
    # libspice has no DH parameters, and consoles have an RSA certificate.
    if all('Kx=DH' in suite or 'Au=ECDSA' in suite or 'Au=DSS' in suite
           for suite in suites):
        warnings.append(_only_ecdsa(
            '%s: %s' % (label, printable(value)), 'SPICE', 'DHE or ECDSA',
            'ECDHE-RSA suites'))
    # It may follow a name without a colon, as in DEFAULT@SECLEVEL=0.
    _, command, level = value.rpartition('@SECLEVEL=')
    level = level[:1] if command else None
    if level == '0':
        warnings.append(Refused(
            '%s: @SECLEVEL=0 permits TLS 1.1 and 1.0' % label,
            'remove @SECLEVEL=0', 'seclevel-0'))
    elif level in ('3', '4', '5'):
        warnings.append(Refused(
            '%s: @SECLEVEL=%s: RSA keys of 2048 bits, as the engine issues '
            'them, are too weak for this level, so no client can connect'
            % (label, level), 'write @SECLEVEL=2', 'seclevel-3'))
    return warnings


def _is_ignored(token, first):
    """Tell whether OpenSSL passes over a token (str) of a cipher list."""
    word = token.lstrip('!+-')
    # An exclusion is looked up as if it were included: alone it leaves
    # nothing, known or not.
    if word != token and word in RETIRED_KEYWORDS:
        return False
    # DEFAULT and some others count only at the beginning of a list: what
    # stands further back is looked up behind a separator.
    return not word or not openssl_ciphers(word if first else ':' + word)[0]


# Its last line: what imports this asks for it, so a file that was cut off is
# none.
COMPLETE = True
