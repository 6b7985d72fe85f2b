# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""
The rules for values of a policy: keys, characters, limits, and what OpenSSL
and GnuTLS make of a value. Hook, wrapper and command ask here.

Private to vdsm-hook-tlsciphers. Runs on Python 2.7 and 3.6 and later, keeps
to the syntax of 2.6, and imports only what the interpreter has built in: the
wrapper reads it in every start of a VM with a policy.
"""

import posix

try:
    import _signal as signal  # Python 3: "signal" itself imports much more.
except ImportError:
    import signal

OPENSSL = '@OPENSSL@'
GNUTLS_CLI = '@GNUTLS_CLI@'

# The keys of a policy, in the order in which they are passed on, and the
# property that each comes from. The display is VNC for priority, else SPICE.
KEYS = ('ciphers', 'ciphersuites', 'protocols', 'groups', 'priority')
SPICE_KEYS = KEYS[:4]
PROPERTY = {'ciphers': 'tlsciphers', 'ciphersuites': 'tlsciphers',
            'protocols': 'tlsprotocols', 'groups': 'tlsgroups',
            'priority': 'tlspriority'}
# What a VM can be given, as properties or in the host's default.
SETTINGS = ('tlsciphers', 'tlsprotocols', 'tlsgroups', 'tlspriority')
PROPERTIES = SETTINGS + ('tlsprofile',)
# The options with which a policy is passed to the wrapper.
REQUIREMENT = '-vdsm-tls'
BEST_EFFORT = '-vdsm-tls-default'

LETTERS_AND_DIGITS = (
    'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789')
# What the syntax of each value needs, by key or property. Other separators
# that the libraries take stay out: in QEMU's syntax a comma would begin
# another parameter.
CHARACTERS = {
    'tlsciphers': LETTERS_AND_DIGITS + '._=@!+:-',
    'tlsprotocols': LETTERS_AND_DIGITS + '.:',
    'tlsgroups': LETTERS_AND_DIGITS + '._:-',
    'tlspriority': LETTERS_AND_DIGITS + '._@%!+:-',
    'tlsprofile': LETTERS_AND_DIGITS + '._-',
    'ciphersuites': LETTERS_AND_DIGITS + '_:',
}
SYNTAX = {
    'tlsciphers': 'give OpenSSL cipher names separated by colons',
    'tlsprotocols': 'give TLSv1.2, TLSv1.3 or TLSv1.2:TLSv1.3',
    'tlsgroups': 'give OpenSSL names of groups separated by colons, such as '
                 'X25519:P-256',
    'tlspriority': 'give a GnuTLS priority string, or remove it and set '
                   'tlsprofile to intermediate',
    'tlsprofile': 'give the name of a profile, such as intermediate',
}
CHARACTER_NAMES = {
    ',': 'a comma', ';': 'a semicolon', ' ': 'a space', '\t': 'a tab',
    '\n': 'a line break', '\r': 'a carriage return', '\0': 'a NUL',
    '"': 'a double quote', "'": 'a single quote', '\\': 'a backslash'}
# Of a priority string's elements GnuTLS reads 48 or more, by its version; a
# keyword (@SYSTEM) may stand for many.
SURELY_READ = 32
BEGIN_WITH_NORMAL = 'begin with NORMAL and remove what is not wanted'
PROTOCOLS = ('TLSv1.2', 'TLSv1.3', 'TLSv1.2:TLSv1.3')
# libspice (RedSSLParameters) holds a list in 256 bytes and drops the rest
# without a word: exclusions at the end first of all.
LONGEST_CIPHER_LIST = 255

# Other names of groups: OpenSSL's and IANA's, in the form of group_key().
GROUP_ALIASES = {
    'prime192v1': 'p192', 'secp192r1': 'p192', 'secp224r1': 'p224',
    'prime256v1': 'p256', 'secp256r1': 'p256', 'secp384r1': 'p384',
    'secp521r1': 'p521', 'k163': 'sect163k1', 'b163': 'sect163r2',
    'k233': 'sect233k1', 'b233': 'sect233r1', 'k283': 'sect283k1',
    'b283': 'sect283r1', 'k409': 'sect409k1', 'b409': 'sect409r1',
    'k571': 'sect571k1', 'b571': 'sect571r1'}
# What stands behind a curve's name in that of a hybrid group.
KEMS = ('mlkem', 'kyber')
# Beginnings, in that form, of curves that TLS 1.3 does not have (RFC 8446,
# section 4.2.7), and of groups that older versions do not have as curves.
ONLY_BEFORE_TLS13 = ('sect', 'secp', 'p192', 'p224', 'brainpool')
NO_CURVES = ('ffdhe', 'mlkem')

# Two that every OpenSSL with TLS 1.3 has, in FIPS mode as well.
PROBE_SUITES = ('TLS_AES_256_GCM_SHA384', 'TLS_AES_128_GCM_SHA256')

# Of "openssl ciphers": the suites of TLS 1.2 at the list's security level.
TLS12 = ('-s', '-v', '-tls1_2')
# The value that is asked for stands behind these.
LIST_QUESTION = ('ciphers',) + TLS12 + ('--',)
GROUPS_QUESTION = ('s_client', '-no-CAfile', '-no-CApath', '-unix',
                   '/nonexistent', '-groups')

# The environment of hook and command: that of the emulator, as far as the
# libraries care for it. The wrapper asks in its own (None).
CLEAN = {'LC_ALL': 'C'}

# What programs have answered in CLEAN: {(program, arguments): (status,
# lines)}.
ANSWERS = {}
# What ask_ahead() has started: {(program, arguments): what start() returned}.
# A process asks ahead in one environment only.
STARTED = {}
# That of SIGCHLD before the first program was started (list, of one while any
# runs).
DISPOSITION = []

# What a message begins with that is about no property.
PACKAGE = 'vdsm-hook-tlsciphers: '
# Kinds of refusals: the libraries of this host cannot enforce a value; a
# program that knows the answer cannot be run here; a value opens nothing, but
# leaves a console to which no client can connect (where a VM arrives with it,
# that is only said). All others: a value that is wrong, or insecure.
NOT_HERE, CANNOT_ASK, UNUSABLE = 'not-here', 'cannot-ask', 'unusable'


class Refused(Exception):
    """
    A message: an insecure or unusable policy, or one that cannot be enforced.
    As a str it is one line of ASCII without quotes and backslashes, since the
    engine shows it as the repr of a bytes object: the text (what is wrong,
    with what), the remedy, and in brackets the code, by which the message is
    found in docs/troubleshooting.md. One about no property begins with a
    prefix that says whose it is (PACKAGE). Its kind is one of those above, or
    ''. What is only noted is one, too: each class costs a start.
    """

    def __init__(self, text, remedy, code, kind='', prefix=''):
        Exception.__init__(self, text)
        self.prefix = prefix
        self.text = text
        self.remedy = remedy
        self.code = code
        self.kind = kind

    def __str__(self):
        return '%s%s%s [%s]' % (
            self.prefix, self.text, self.remedy and '; ' + self.remedy,
            self.code)


def printable(text, limit=60):
    """
    Return at most limit characters of text (a str) for a message: ASCII
    without quotes and backslashes, '?' standing for anything else.
    """
    shown = ''.join(c if ' ' <= c <= '~' and c not in '"\'\\' else '?'
                    for c in text[:limit])
    return shown + '...' if len(text) > limit else shown


def check_characters(name, value, label=None):
    """
    Refuse a value (str) for a key or property that is empty or has a
    character that it may not have. Messages begin with label.
    """
    label = label or name
    if not value:
        raise Refused('%s: the value is empty' % label,
                      'give one or remove the ' + (
                          'property from the VM' if label == name else 'line'),
                      'empty-value')
    known = PROPERTY.get(name, name)
    allowed = CHARACTERS[name if name in CHARACTERS else known]
    for position, character in enumerate(value):
        if character not in allowed:
            if character in CHARACTER_NAMES:
                shown = CHARACTER_NAMES[character]
            elif character < ' ' or character == '\x7f':
                shown = 'control character 0x%02x' % ord(character)
            elif character > '~':
                shown = 'a non-ASCII character'
            else:
                shown = 'the character ' + character
            raise Refused('%s: %s is not allowed (position %d, after %s)'
                          % (label, shown, position + 1,
                             printable(value[max(0, position - 30):position])
                             or 'nothing'), SYNTAX[known], 'character')


# SPICE, so OpenSSL


def split_cipher_list(value, label, environment=CLEAN):
    """
    Return the (list for TLS 1.2 and older: str, TLS 1.3 suites: list of str)
    that a value for tlsciphers names. Raises Refused for a token that OpenSSL
    would pass over in silence.
    """
    tokens = [token for token in value.split(':') if token]
    suites = []
    for token in tokens:
        for name in token.split('+'):
            name = name.lstrip('!-')
            if name.startswith('TLS_') and '_WITH_' in name:
                raise Refused('%s: %s is the IANA name, which OpenSSL does '
                              'not accept' % (label, printable(name)),
                              'write ' + _openssl_name(name, environment),
                              'iana-name')
        if token.startswith('TLS_') and '+' not in token:
            if token not in suites:
                suites.append(token)
        elif token.lstrip('!+-').startswith('TLS_') or '+TLS_' in token:
            raise Refused('%s: %s: OpenSSL ignores a TLS 1.3 suite with a +, '
                          '- or ! prefix' % (label, printable(token)),
                          'name the suites that are wanted',
                          'suite-with-sign')
    if not suites:
        return value, suites
    return ':'.join(token for token in tokens if token not in suites), suites


def _openssl_name(name, environment):
    """Return OpenSSL's name (str) for a suite of TLS 1.2 with IANA's."""
    lines = ask(OPENSSL, ('ciphers', '-convert', name), environment)[1]
    found = ''.join(lines).rpartition('OpenSSL cipher name: ')[2].strip()
    if not found or found == '(NONE)':
        return 'the name that OpenSSL has for it, see ciphers(1)'
    return printable(found)


def check_cipher_list(value, label, environment=CLEAN):
    """
    Check an OpenSSL cipher list (str) for TLS 1.2 and older.

    Returns:
        list of lists of str: its suites, as the words of openssl ciphers -v.

    Raises:
        Refused: it is too long, or leaves a suite without encryption or
            authentication.
        Refused (NOT_HERE): OpenSSL knows no suite in it.
    """
    if len(value) > LONGEST_CIPHER_LIST:
        raise Refused('%s: the list has %d characters, and SPICE silently '
                      'ignores what follows the first %d'
                      % (label, len(value), LONGEST_CIPHER_LIST),
                      'shorten it: leave out DHE and ECDSA suites, which '
                      'SPICE cannot use, or use keywords such as '
                      'ECDHE+AESGCM',
                      'list-too-long')
    # As the library would take it: with the security level applied (-s), and
    # without the TLS 1.3 suites that are in every list otherwise (-tls1_2).
    known, suites = openssl_ciphers(value, TLS12, environment)
    suites = [line.split() for line in suites]
    if not known or not suites:
        raise Refused('%s: %s: no usable cipher suite remains' % (
                          label, printable(_offending_token(value,
                                                            environment))),
                      'correct it (to see what a list means: openssl ciphers '
                      '-s -v)', 'no-suite', NOT_HERE)
    for suite in suites:
        for field, lacks in (('Au=None', 'authentication'),
                             ('Enc=None', 'encryption')):
            if field in suite:
                raise Refused('%s: %s: this permits %s, a suite without %s'
                              % (label, printable(value),
                                 printable(suite[0]), lacks),
                              'add !aNULL:!eNULL, or remove @SECLEVEL=0',
                              'insecure-suite')
    return suites


def _offending_token(value, environment):
    """Return the token without which a list would do, or the whole value."""
    tokens = [token for token in value.split(':') if token]
    for token in tokens:
        others = ':'.join(other for other in tokens if other != token)
        if others and all(openssl_ciphers(others, ('-s', '-tls1_2'),
                                          environment)):
            return token
    return value


def check_suites(suites, label, environment=CLEAN):
    """
    Check names of TLS 1.3 suites (list of str).

    Returns:
        (list of str: those that OpenSSL does not know, list of Refused:
        about those that it lists and never negotiates).
    """
    negotiated = tls13_suites(suites, ('-s', '-tls1_3'), environment)
    if negotiated == suites:
        return [], []
    unknown = [suite for suite in suites if suite not in negotiated
               and tls13_suites([suite], (), environment) != [suite]]
    if not tls13_suites(list(PROBE_SUITES), ('-s', '-tls1_3'), environment):
        # The host's configuration takes TLS 1.3 away: nothing can be told.
        return unknown, []
    return unknown, [
        Refused('%s: %s: OpenSSL of this host lists this suite, but never '
                'negotiates it' % (label, printable(suite)), 'remove it',
                'suite-never-negotiated', UNUSABLE)
        for suite in suites if suite not in unknown and tls13_suites(
            [suite], ('-s', '-tls1_3'), environment) != [suite]]


def unknown_suites(unknown, label, environment=CLEAN):
    """Return the refusal (Refused) of TLS 1.3 suites (list of str)."""
    known = ', '.join(tls13_suites([], (), environment))
    return Refused('%s: %s: OpenSSL does not know this TLS 1.3 suite%s' % (
                       label, printable(', '.join(unknown)),
                       version_note(environment)),
                   'this host has %s' % (known or 'none'), 'unknown-suite',
                   NOT_HERE)


def tls13_suites(suites, options=(), environment=CLEAN):
    """
    Return those (list of str) of TLS 1.3 suites that OpenSSL offers; its own
    where suites is empty.
    """
    if suites:
        options += ('-ciphersuites', ':'.join(suites))
    return offered_suites(openssl_ciphers('ECDHE', options, environment)[1])


def offered_suites(lines):
    """Return the TLS 1.3 suites (list) in what "openssl ciphers" prints."""
    return [suite for suite in ':'.join(lines).split(':')
            if suite.startswith('TLS_')]


def check_protocols(value, label):
    """Refuse (Refused) a value (str) that is none of PROTOCOLS."""
    if value not in PROTOCOLS:
        raise Refused('%s: %s: no such value' % (label, printable(value)),
                      SYNTAX['tlsprotocols'], 'unknown-protocols')


def group_key(name):
    """
    Return a name of a group (str), OpenSSL's, IANA's or GnuTLS's, in the form
    in which names are compared.
    """
    name = name.lower()
    for prefix in ('group-', 'curve-'):
        if name.startswith(prefix):
            name = name[len(prefix):]
    name = name.replace('-', '').replace('_', '')
    if name.endswith('draft00'):
        name = name[:-len('draft00')]
    for kem in KEMS:
        if kem in name[1:]:
            curve, kem, size = name.partition(kem)
            return GROUP_ALIASES.get(curve, curve) + kem + size
    return GROUP_ALIASES.get(name, name)


def check_groups(value, label, environment=CLEAN):
    """
    Check groups (str: OpenSSL's names, separated by colons).

    Returns:
        list of Refused: OpenSSL takes them, but not as groups to choose.

    Raises:
        Refused (NOT_HERE): OpenSSL would drop the whole list.
    """
    names = value.split(':')
    problems = []
    for position, name in enumerate(names):
        if name.lower() == 'default' or name.startswith('-'):
            problems.append(('%s: %s is not a group'
                             % (label, printable(name)),
                             'name each group that is wanted', 'no-group'))
        elif group_key(name) in map(group_key, names[:position]):
            problems.append(('%s: %s: a group is given twice, maybe under two '
                             'names' % (label, printable(value)),
                             'name each once', 'group-twice'))
    if not knows_groups(value, environment):
        # From 3.5 on OpenSSL takes them.
        if problems:
            raise Refused(*problems[0], kind=NOT_HERE)
        unknown = [name for name in names
                   if not name or not knows_groups(name, environment)]
        raise Refused('%s: %s: OpenSSL does not know this group%s' % (
                          label, printable(', '.join(unknown))
                          or 'an empty name', version_note(environment)),
                      'give names such as X25519:P-256:P-384 (case-sensitive)',
                      'unknown-group', NOT_HERE)
    return [Refused(*problem, kind=UNUSABLE) for problem in problems]


def knows_groups(groups, environment=CLEAN):
    """Tell whether OpenSSL takes a list (str) of groups."""
    # Where they are good it goes on, to a connection that must fail.
    return 'connect:errno=' in '\n'.join(ask(
        OPENSSL, GROUPS_QUESTION + (groups,), environment)[1])


def groups_by_version(groups):
    """
    Return the groups (str: separated by colons) that TLS 1.2 and older have,
    and those that TLS 1.3 has, in the form of group_key(): two lists of str.
    """
    keys = [group_key(name) for name in groups.split(':')]
    return ([key for key in keys if not key.endswith('tls13') and
             not key.startswith(NO_CURVES) and 'mlkem' not in key],
            [key for key in keys if key.endswith('tls13') or
             not key.startswith(ONLY_BEFORE_TLS13) or 'mlkem' in key])


def check_versions_and_groups(protocols, groups, static_rsa, label):
    """
    Check what versions of TLS and groups leave together: what can be told
    without asking a library.

    Arguments:
        protocols (str): one of PROTOCOLS, or '' where they are not set.
        groups (str): separated by colons.
        static_rsa (callable): tells (bool) whether TLS 1.2 can do without
            groups.
        label (str): of the groups.

    Returns:
        list of Refused: what is worth a warning.

    Raises:
        Refused (UNUSABLE): no client can connect.
    """
    for12, for13 = groups_by_version(groups)
    text = '%s: %s: TLS 1.%s has none of these groups' % (
        label, printable(groups), '%d')
    remedy = 'add X25519 or P-256'
    if not for13 and protocols == PROTOCOLS[1]:
        raise Refused(text % 3 + ', so no client could connect', remedy,
                      'no-common-group', UNUSABLE)
    if not for12 and protocols == PROTOCOLS[0] and not static_rsa():
        raise Refused(text % 2 + ', so no client could connect', remedy,
                      'no-common-group', UNUSABLE)
    warning = text + ': clients with TLS 1.%d cannot connect'
    remedy += ', or give tlsprotocols TLSv1.%d'
    if not for13 and protocols != PROTOCOLS[0]:
        return [Refused(warning % (3, 3), remedy % 2, 'no-common-group')]
    if not for12 and protocols != PROTOCOLS[1] and not static_rsa():
        return [Refused(warning % (2, 2), remedy % 3, 'no-common-group')]
    return []


def openssl_ciphers(cipher_list, options=(), environment=CLEAN):
    """
    Ask `openssl ciphers` about a list (str); return (bool: exit status 0,
    list of str: lines that it printed).
    """
    if cipher_list.startswith('-'):
        # OpenSSL 1.0.2 takes it for an option even after "--".
        cipher_list = ':' + cipher_list
    status, lines = ask(OPENSSL, ('ciphers',) + tuple(options)
                        + ('--', cipher_list), environment)
    return status == 0, lines


def has_static_rsa(ciphers, environment=CLEAN):
    """
    Tell whether a cipher list (str, None for OpenSSL's own) lets TLS 1.2 do
    without groups.
    """
    return 'Kx=RSA' in ' '.join(openssl_ciphers(
        ciphers or 'DEFAULT', TLS12, environment)[1]).split()


def version_note(environment=CLEAN):
    """Return what to say where OpenSSL is too old for TLS 1.3, or ''."""
    words = ' '.join(ask(OPENSSL, ('version',), environment)[1]).split()
    if words[1:] and words[1] < '1.1.1':
        return ' (OpenSSL %s is older than 1.1.1)' % printable(words[1])
    return ''


# VNC, so GnuTLS


class Priority(object):
    """
    What GnuTLS makes of a priority string: suites (list of str: a name, its
    bytes and its first version), protocols, groups, signatures (lists of str).
    """

    def __init__(self, lines):
        self.suites = []
        lists = {}
        for line in lines:
            name, colon, text = line.partition(': ')
            if colon:
                lists[name] = ([] if text in ('', 'none') else
                               text.split(', '))
            elif '\t0x' in line or ' 0x' in line:
                self.suites.append(line)
        self.protocols = lists.get('Protocols', [])
        # Before GnuTLS 3.6 the groups are curves.
        self.groups = lists.get('Groups', lists.get('Elliptic curves', []))
        self.signatures = lists.get('PK-signatures', [])

    def versions(self):
        """Return the versions of TLS (list of str) that have a suite."""
        # Those that suites begin with: SSL3.0 comes before all of them.
        first = set([suite.split()[-1] for suite in self.suites
                     if is_usable(suite)])
        return [name[5:] for name in self.protocols
                if name.startswith('VERS-TLS') and (
                    name[5:] in first or (name != 'VERS-TLS1.3' and min(
                        first or ['TLS1.3']) < name[5:]))]


def is_usable(suite):
    """Tell whether VNC can have a suite (str) of a Priority."""
    return '_PSK_' not in suite and '_SRP_' not in suite


def counts_for(suite, version):
    """Tell whether a suite (str) of a Priority counts for a version of TLS."""
    # SSL3.0 comes before all of them, TLS1.3 behind.
    first = suite.split()[-1]
    return is_usable(suite) and (
        first == version or (version != 'TLS1.3' and first < version))


def has_suite(priority, version, *words):
    """
    Tell whether a Priority has a suite for a version of TLS whose name has
    none of these words.
    """
    for suite in priority.suites:
        if counts_for(suite, version) and not [
                word for word in words if word in suite]:
            return True
    return False


def priority_question(value):
    return '--priority=' + value, '--list'


def list_priority(value, label, environment=CLEAN):
    """
    Return what GnuTLS makes of a priority string (str), a Priority. Raises
    Refused (NOT_HERE) where GnuTLS does not take it.
    """
    status, lines = ask(GNUTLS_CLI, priority_question(value), environment)
    if status:
        errors = [line for line in lines
                  if not line.startswith('Cipher suites for ')]
        raise Refused('%s: %s: GnuTLS says: %s' % (
                          label, printable(value),
                          printable(errors[0], 100) if errors else
                          'no reason (status %d)' % status),
                      'correct it (to see what a string means: gnutls-cli '
                      '--list --priority STRING)', 'priority-refused',
                      NOT_HERE)
    return Priority(lines)


def check_priority(value, label, environment=CLEAN):
    """
    Check a GnuTLS priority string (str).

    Returns:
        (Priority, list of Refused: where no client could connect).

    Raises:
        Refused: it permits a suite without encryption or authentication, or
            GnuTLS does not read it to its end.
        Refused (NOT_HERE): GnuTLS does not take it.
    """
    found = list_priority(value, label, environment)
    for suite in found.suites:
        if '_NULL_' in suite or '_ANON_' in suite:
            raise Refused('%s: %s: this permits %s, a suite without '
                          'encryption or authentication' % (
                              label, printable(value), suite.split()[0]),
                          'remove +NULL and +ANON', 'insecure-suite')
    versions = found.versions()
    for what, there in (
            ('TLS version with a cipher suite', versions),
            ('group', found.groups),
            ('signature algorithm', found.signatures)):
        if not there:
            raise Refused('%s: %s: this leaves no %s, so no client could '
                          'connect' % (label, printable(value), what),
                          BEGIN_WITH_NORMAL, 'priority-empty')
    if not is_read_to_its_end(value, environment):
        raise Refused('%s: %s: this string has more elements than GnuTLS is '
                      'sure to read: it ignores the rest'
                      % (label, printable(value)), 'shorten it',
                      'priority-cut')
    if not [version for version in versions if has_key_exchange(
            found, version)]:
        return found, [Refused(
            '%s: %s: the groups and signature algorithms that this leaves do '
            'not go with its versions and suites, so no client could connect'
            % (label, printable(value)), BEGIN_WITH_NORMAL, 'no-common-group',
            UNUSABLE)]
    return found, []


def is_read_to_its_end(value, environment=CLEAN):
    """
    Tell whether GnuTLS reads a priority string (str) to its end: it drops,
    without a word, what follows so many elements.
    """
    if value.count(':') < SURELY_READ and '@' not in value:
        return True
    # If it reads the first of these, too, no version of TLS is left.
    status, lines = ask(GNUTLS_CLI, priority_question(
        value + ':-VERS-TLS-ALL:-VERS-DTLS-ALL'), environment)
    if status:
        return 'Syntax error' not in '\n'.join(lines)
    return not [line for line in lines if line.startswith('Protocols: ')
                and 'VERS-TLS' in line]


def has_key_exchange(priority, version):
    """
    Tell whether the groups and signature algorithms of a Priority go with a
    version of TLS and its suites.
    """
    if version == 'TLS1.3':
        # RFC 8446, section 4.2.3: no PKCS #1, no SHA-1, no DSA.
        return bool([
            name for name in priority.signatures
            if not name.endswith('-SHA1') and not name.startswith('SIGN-DSA')
            and (not name.startswith('SIGN-RSA-')
                 or name.startswith('SIGN-RSA-PSS'))])
    if [name for name in priority.groups
            if not name.startswith('GROUP-FFDHE')]:
        return True
    return has_suite(priority, version, '_ECDHE_')


def only_ecdsa(priority, version):
    """
    Tell whether every suite of a Priority for a version of TLS before 1.3
    wants an ECDSA certificate; those of oVirt have RSA keys.
    """
    return version != 'TLS1.3' and not has_suite(
        priority, version, '_ECDSA_', '_DSS_')


# Programs of the host


def ask(program, arguments, environment=CLEAN):
    """
    Run a program of this host.

    Arguments:
        program (str): its path.
        arguments (tuple of str): those behind its name.
        environment (dict of str): None for that of this process.

    Returns:
        (its exit status, list of str: the lines that it printed; the errors
        of "openssl ciphers", which would stand among its suites, are not).

    Raises:
        Refused (CANNOT_ASK): it cannot be run, was killed, or this host has
            no room.
    """
    question = program, arguments
    if environment is CLEAN and question in ANSWERS:
        return ANSWERS[question]
    try:
        status, lines = answer(program, arguments, environment)
    except EnvironmentError as error:
        status, lines = None, [error.strerror]
    if status in (None, 127):
        reason = lines[0] if lines else program + ': status 127'
        remedy = 'fix this host, or start the VM on another one'
        if reason.endswith('No such file or directory'):
            remedy = 'install ' + (
                'openssl' if program == OPENSSL else 'gnutls-utils')
        elif reason.endswith('Permission denied'):
            remedy = 'let every user run it (chmod a+rx)'
        raise Refused('cannot check the values: ' + printable(reason, 200),
                      remedy, 'cannot-run', CANNOT_ASK, PACKAGE)
    if environment is CLEAN:
        ANSWERS[question] = status, lines
    return status, lines


def answer(program, arguments, environment):
    """Return what run() returns, of what was asked ahead or now."""
    if (program, arguments) in STARTED:
        return finish(program, STARTED.pop((program, arguments)))
    # The errors of "openssl ciphers" would stand among its suites.
    errors = arguments[0] != 'ciphers'
    try:
        return run(program, arguments, environment, errors)
    except EnvironmentError:
        if not STARTED:
            raise
    # There may be room for one program at a time.
    forget()
    return run(program, arguments, environment, errors)


def ask_ahead(program, arguments, environment):
    """
    Start a program whose answer ask() will be asked for later: it may work in
    the meantime. At the end forget() is to be called.
    """
    try:
        STARTED[program, arguments] = start(program, arguments, environment,
                                            arguments[0] != 'ciphers')
    except EnvironmentError:
        pass  # ask() tries again, and says why.


def forget():
    """
    End the programs that were asked ahead and whose answers nobody took: no
    child is left.
    """
    while STARTED:
        (program, _), started = STARTED.popitem()
        posix.kill(started[1], signal.SIGKILL)
        try:
            finish(program, started)
        except EnvironmentError:
            pass  # Nobody cares for the answer.


def run(program, arguments, environment=None, errors=True):
    """
    Run a program of this host, as ask() does; errors (bool) says whether its
    standard error counts as output. Where it cannot be run the exit status is
    127 and the line says why.
    """
    return finish(program, start(program, arguments, environment, errors))


def start(program, arguments, environment, errors):
    """
    Start a program, as run() does. Returns what finish() needs: the
    descriptor of its output, and its process ID.
    """
    reader, writer = posix.pipe()
    # Where it is ignored there would be no status to wait for.
    if not DISPOSITION:
        DISPOSITION.append(signal.signal(signal.SIGCHLD, signal.SIG_DFL))
    try:
        child = posix.fork()
    except OSError:
        posix.close(reader)
        posix.close(writer)
        restore_disposition()
        raise
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
    return reader, child


def restore_disposition():
    """Restore that of SIGCHLD, where no other program runs."""
    if not STARTED:
        signal.signal(signal.SIGCHLD, DISPOSITION.pop())


def finish(program, started):
    """Return what a program that start() has started answers: see run()."""
    reader, child = started
    output = b''
    while True:
        part = posix.read(reader, 65536)
        if not part:
            break
        output += part
    posix.close(reader)
    status = posix.waitpid(child, 0)[1]
    restore_disposition()
    if status & 127:
        raise EnvironmentError(None, '%s was killed by signal %d'
                               % (program, status & 127))
    lines = str(output.decode('ascii', 'replace').encode(
        'ascii', 'replace').decode('ascii')).split('\n')
    return status >> 8, [line for line in map(str.strip, lines) if line]


# Its last line: what imports this asks for it, so a file that was cut off is
# none.
COMPLETE = True
