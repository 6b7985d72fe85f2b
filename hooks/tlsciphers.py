# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""
TLS policies of consoles: judging their values, carrying them in a domain XML.

Private to vdsm-hook-tlsciphers. Runs on Python 2.7 and 3.6 and later, and
keeps to the syntax of 2.6, as the hook does.
"""

import os
import stat
import subprocess

OPENSSL = '@OPENSSL@'
QEMU_KVM = '@QEMU_KVM@'
WRAPPER = '@WRAPPER@'
# What a domain XML names as emulator: a link to the wrapper, at the path that
# manual installations use. Hosts migrate VMs to each other by this name.
EMULATOR = '@EMULATOR@'

QEMU_NAMESPACE = 'http://libvirt.org/schemas/domain/qemu/1.0'
XMLNS_NAMESPACE = 'http://www.w3.org/2000/xmlns/'
REQUIREMENT = '-vdsm-tls'
OPTIONS = (REQUIREMENT, '-vdsm-tls-default')

# What OpenSSL's cipher list syntax needs. Its other separators (comma, space,
# semicolon) stay out: in QEMU's syntax a comma would begin another option.
CIPHER_CHARACTERS = frozenset(
    'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._=@!+:-')
# libspice (RedSSLParameters) holds a cipher list in 256 bytes and drops the
# rest without a word: exclusions at the end first of all.
LONGEST_CIPHER_LIST = 255

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
    one line of ASCII without quotes and backslashes: the engine shows it as
    the repr of a bytes object.
    """


def printable(text, limit=60):
    """
    Return at most limit characters of text (a str) for a message: ASCII
    without quotes and backslashes, '?' standing for anything else.
    """
    shown = ''.join(c if ' ' <= c <= '~' and c not in '"\'\\' else '?'
                    for c in text[:limit])
    return shown + '...' if len(text) > limit else shown


def check_characters(name, value, permitted, remedy):
    """
    Refuse a value (str) of the property name that is empty or has a character
    that is not in permitted; remedy ends the message.
    """
    if not value:
        raise Refused('%s: the value is empty; give one or remove the '
                      'property from the VM' % name)
    for position, character in enumerate(value):
        if character not in permitted:
            if character in CHARACTER_NAMES:
                shown = CHARACTER_NAMES[character]
            elif character < ' ' or character == '\x7f':
                shown = 'control character 0x%02x' % ord(character)
            elif character > '~':
                shown = 'a non-ASCII character'
            else:
                shown = 'the character ' + character
            raise Refused('%s: %s is not allowed (position %d, after %s); %s'
                          % (name, shown, position + 1,
                             printable(value[max(0, position - 30):position])
                             or 'nothing', remedy))


def check_ciphers(value):
    """
    Judge a value of the property tlsciphers, an OpenSSL cipher list.

    Arguments:
        value (str): the list, as ciphers(1) describes it.

    Returns:
        list of str: one line for each thing that the administrator should
        know although the list is accepted.

    Raises:
        Refused: the list is too long, has a character or token that is not
            permitted, leaves no suite, or leaves one without encryption or
            authentication.
    """
    if len(value) > LONGEST_CIPHER_LIST:
        raise Refused('tlsciphers: the list has %d characters, and SPICE '
                      'silently ignores what follows the first %d; shorten '
                      'it: leave out DHE and ECDSA suites, which SPICE cannot '
                      'use, or use keywords such as ECDHE+AESGCM'
                      % (len(value), LONGEST_CIPHER_LIST))
    check_characters('tlsciphers', value, CIPHER_CHARACTERS,
                     'give OpenSSL cipher names separated by colons')
    tokens = [token for token in value.split(':') if token]
    for token in tokens:
        if token.lstrip('!+-').startswith('TLS_') or '+TLS_' in token:
            raise Refused('tlsciphers: %s: this version cannot set TLS 1.3 '
                          'suites (names that start with TLS_); remove it'
                          % printable(token))
    # As the library would take it: with the security level applied (-s), and
    # without the TLS 1.3 suites that are in every list otherwise (-tls1_2).
    known, suites = _openssl_ciphers(value, '-s', '-v', '-tls1_2')
    suites = [line.split() for line in suites]
    if not known or not suites:
        raise Refused('tlsciphers: %s: this leaves no cipher suite; correct '
                      'it (to see what a list means: openssl ciphers -s -v)'
                      % printable(_offending_token(value, tokens)))
    for suite in suites:
        for field, lacks in (('Au=None', 'authentication'),
                             ('Enc=None', 'encryption')):
            if field in suite:
                raise Refused('tlsciphers: %s: this permits %s, a suite '
                              'without %s; add !aNULL:!eNULL, or remove '
                              '@SECLEVEL=0'
                              % (printable(value), suite[0], lacks))
    return _cipher_warnings(value, tokens, suites)


def _offending_token(value, tokens):
    """Return the token without which a list would do, or the whole value."""
    for token in tokens:
        others = ':'.join(other for other in tokens if other != token)
        if others and all(_openssl_ciphers(others, '-s', '-tls1_2')):
            return token
    return value


def _cipher_warnings(value, tokens, suites):
    warnings = []
    names = frozenset(suite[0] for suite in suites)
    checked = {}
    for position, token in enumerate(tokens):
        if token not in checked and token[0] != '@' and token not in names:
            checked[token] = _is_ignored(
                token, position == 0 and value.startswith(token))
    ignored = [token for token in tokens if checked.pop(token, False)]
    if ignored:
        warnings.append('tlsciphers: OpenSSL ignores %s: no suite here has '
                        'that name' % printable(', '.join(ignored), 400))
    # libspice has no DH parameters, and consoles have an RSA certificate.
    if all('Kx=DH' in suite or 'Au=ECDSA' in suite or 'Au=DSS' in suite
           for suite in suites):
        warnings.append('tlsciphers: %s: only DHE or ECDSA suites are left; '
                        'SPICE can use neither, so no TLS 1.2 client can '
                        'connect; add ECDHE-RSA suites' % printable(value))
    # It may follow a name without a colon, as in DEFAULT@SECLEVEL=0.
    _, command, level = value.rpartition('@SECLEVEL=')
    level = level[:1] if command else None
    if level == '0':
        warnings.append('tlsciphers: @SECLEVEL=0 permits TLS 1.1 and 1.0')
    elif level in ('3', '4', '5'):
        warnings.append('tlsciphers: @SECLEVEL=%s: certificates with RSA keys '
                        'of 2048 bits, as the engine issues them, are too '
                        'weak for this level; with them no client can connect'
                        % level)
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
    return not word or not _openssl_ciphers(word if first else ':' + word)[0]


def _openssl_ciphers(cipher_list, *options):
    """Return (bool: exit status 0, list of str: lines that it printed)."""
    if cipher_list.startswith('-'):
        # OpenSSL 1.0.2 takes it for an option even after "--".
        cipher_list = ':' + cipher_list
    command = [OPENSSL, 'ciphers'] + list(options) + ['--', cipher_list]
    try:
        with open(os.devnull) as nothing:
            # The emulator's environment, as far as OpenSSL cares for it.
            process = subprocess.Popen(
                command, stdin=nothing, stdout=subprocess.PIPE,
                stderr=subprocess.PIPE, env={'LC_ALL': 'C'}, close_fds=True)
            output = process.communicate()[0]
    except OSError as error:
        raise Refused('tlsciphers: cannot check the value: %s: %s; install '
                      'openssl' % (OPENSSL, error.strerror))
    lines = output.decode('ascii', 'replace').splitlines()
    return process.returncode == 0, [line for line in lines if line.strip()]


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
    XML (xml.dom.minidom.Document), as a frozenset of str.
    """
    return frozenset(
        graphics.getAttribute('type')
        for devices in _children(document.documentElement, 'devices')
        for graphics in _children(devices, 'graphics'))


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
        settings (list of str): each 'KEY=VALUE', a requirement.

    Returns:
        bool: whether anything had to be changed.
    """
    wanted = []
    for setting in settings:
        wanted.extend((REQUIREMENT, setting))
    present = [argument.getAttribute('value')
               for pair in _policy_arguments(document) for argument in pair]
    if present == wanted and _emulators(document) == [EMULATOR]:
        return False
    _set_emulator(document)
    for pair in _policy_arguments(document):
        for argument in pair:
            argument.parentNode.removeChild(argument)
    _add_arguments(document, wanted)
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
    pairs = []
    for command_line in _children(
            document.documentElement, 'commandline', QEMU_NAMESPACE):
        arguments = _children(command_line, 'arg', QEMU_NAMESPACE)
        position = 0
        while position < len(arguments):
            if arguments[position].getAttribute('value') in OPTIONS:
                pairs.append(arguments[position:position + 2])
                position += 1
            position += 1
    return pairs


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
    declared = {}
    for index in range(domain.attributes.length):
        attribute = domain.attributes.item(index)
        if attribute.prefix == 'xmlns':
            declared[attribute.localName] = attribute.value
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
