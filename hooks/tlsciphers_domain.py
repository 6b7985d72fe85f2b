# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""
The domain XML of a VM: its consoles, its guard, and the policy in it.

Private to vdsm-hook-tlsciphers. Runs on Python 2.7 and 3.6 and later, and
keeps to the syntax of 2.6, as the hook does.
"""

from tlsciphers_host import EMULATOR, QEMU_KVM, WRAPPER
from tlsciphers_values import (
    BEST_EFFORT,
    KEYS,
    LETTERS_AND_DIGITS,
    PACKAGE,
    REQUIREMENT,
    Refused,
    check_characters,
    printable,
)

QEMU_NAMESPACE = 'http://libvirt.org/schemas/domain/qemu/1.0'
XMLNS_NAMESPACE = 'http://www.w3.org/2000/xmlns/'
# Of the mark for a policy that waits in the metadata of a running VM.
PENDING_NAMESPACE = 'http://ovirt.org/vdsm-hook-tlsciphers/pending/1.0'
APPLY_AGAIN = 'apply a policy again'
# A CPU feature that no libvirt knows. The engine writes it for a VM whose
# extra_cpu_flags has it: only where this package takes it out the VM starts.
GUARD = 'vdsm-tls'
# Types of <graphics>, and of -display, that listen nowhere.
LOCAL_DISPLAYS = frozenset(('cocoa', 'curses', 'desktop', 'egl-headless',
                            'gtk', 'none', 'sdl'))


def display_of(setting):
    """Return the display ('spice', 'vnc') that one of SETTINGS is for."""
    return 'vnc' if setting == 'tlspriority' else 'spice'


def consoles_of(displays):
    """Return those of displays (of str) that a policy is for, as a list."""
    return [display for display in ('spice', 'vnc') if display in displays]


def check_doctype(xml):
    """
    Refuse a domain XML (bytes) with a document type, before what parses all
    of it: expat before 2.4 expands entities without bounds.
    """
    # In UTF-16 zero bytes stand between the characters.
    if b'<!DOCTYPE' not in xml.replace(b'\0', b''):
        return
    from xml.parsers import expat  # nosec B405 # it ends before any entity
    parser = expat.ParserCreate()
    parser.StartDoctypeDeclHandler = _refuse_doctype
    try:
        parser.Parse(xml, True)
    except expat.ExpatError:
        # vdsm reads it as UTF-8, whatever encoding it names, and may come to
        # the declaration where this parser did not.
        _refuse_doctype()


def _refuse_doctype(*_):
    # It can also give attributes to elements, which minidom leaves out.
    raise Refused('the domain XML has a document type declaration (DOCTYPE), '
                  'which libvirt may read in another way', 'remove it',
                  'domain-doctype', prefix=PACKAGE)


def displays(document):
    """
    Return the types ('spice', 'vnc', ...) of the graphics devices that
    libvirt sees in a domain XML (xml.dom.minidom.Document), as a frozenset of
    str. Raises Refused where libvirt could see others.
    """
    if document.doctype is not None:
        _refuse_doctype()
    found = []
    for devices in _children(document.documentElement, 'devices'):
        for emulator in _children(devices, 'emulator'):
            _refuse_prefixes(emulator)
    for console in graphics(document):
        _refuse_prefixes(console)
        for element in console.getElementsByTagName('*'):
            _refuse_prefixes(element)
        found.append(console.getAttribute('type'))
    for argument in _arguments(document):
        _refuse_prefixes(argument)
    return frozenset(found)


def graphics(document):
    """
    Return the <graphics> elements (list) that libvirt sees in a domain XML
    (Document): others, as those in its metadata, are no consoles.
    """
    return [element
            for devices in _children(document.documentElement, 'devices')
            for element in _children(devices, 'graphics')]


def _refuse_prefixes(element):
    """
    Refuse attributes with a prefix: libvirt looks for an attribute's local
    name alone, and takes the first one that it finds.
    """
    for index in range(element.attributes.length):
        attribute = element.attributes.item(index)
        if attribute.namespaceURI not in (None, XMLNS_NAMESPACE):
            raise Refused('the attribute %s of <%s> in the domain XML has a '
                          'prefix, which libvirt ignores' % (
                              printable(attribute.name),
                              printable(element.tagName)),
                          'remove the prefix', 'prefix', prefix=PACKAGE)


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
                              'policy %s, with which it guards nothing'
                              % (GUARD, printable(policy)),
                              'write +%s, or remove it' % GUARD,
                              'guard-policy')
    if not guard:
        return []
    found = displays(document) | argument_displays(document)
    covered = [display_of('tls' + value.partition('=')[0])
               for option, value in settings if option == REQUIREMENT]
    uncovered = [display.upper() for display in consoles_of(found)
                 if display not in covered]
    remove_guard = 'or remove +%s from extra_cpu_flags' % GUARD
    if uncovered:
        raise Refused('extra_cpu_flags: +%s: no property of this VM covers '
                      'its %s console%s (a default of the host does not '
                      'count)' % (GUARD, ' and '.join(uncovered),
                                  's' if len(uncovered) > 1 else ''),
                      'set tlsprofile (modern and intermediate cover both), '
                      + remove_guard, 'guard-uncovered')
    others = found - LOCAL_DISPLAYS - frozenset(('spice', 'vnc'))
    if 'readconfig' in others:
        raise Refused('extra_cpu_flags: +%s: -readconfig hides which consoles '
                      'this VM has' % GUARD, 'correct the hook that has added '
                      'it, ' + remove_guard, 'guard-other-console')
    if others:
        raise Refused('extra_cpu_flags: +%s: no policy can cover the %s '
                      'console of this VM' % (GUARD, printable(
                          ', '.join(sorted(others)).upper())),
                      'remove that console, ' + remove_guard,
                      'guard-other-console')
    return guard


def describe_guard(document, flags):
    """
    Note (list of Refused) that a guard which a VM's extra_cpu_flags (str) ask
    for is not in its domain XML (Document).
    """
    # Behind this hook it is not there, but the policy is.
    if (not has_guard(flags) or read_policy(document)
            or not consoles_of(displays(document))):
        return []
    return [Refused('extra_cpu_flags: +%s: the domain XML has no such CPU '
                    'feature, so a host without this package would start this '
                    'VM without its policy: the engine writes none for '
                    'cluster levels below 4.6, or another hook removed it'
                    % GUARD, 'raise the cluster level, or correct that hook',
                    'guard-missing')]


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
            raise Refused('another hook has set the emulator to %s, which '
                          'this hook would drop' % printable(path, 200),
                          'use only one of the two for this VM',
                          'foreign-emulator', prefix=PACKAGE)


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


def read_pending(document):
    """
    Return the policy that waits in a domain XML (Document) until its VM moves
    or resumes: a list of pairs of an option and its 'KEY=VALUE'.
    """
    return [(setting.getAttribute('option'), setting.getAttribute('value'))
            for mark in marks(document)
            for setting in _children(mark, 'setting', PENDING_NAMESPACE)]


def marks(document):
    """
    Return the elements (list) in the metadata of a domain XML (Document) that
    hold a policy which waits.
    """
    return [mark for metadata in _children(document.documentElement,
                                           'metadata')
            for mark in _children(metadata, 'policy', PENDING_NAMESPACE)]


def check_pending(pending):
    """
    Refuse (Refused) a policy that waits, as read_pending() returns it, where
    it is none that the command writes: a domain XML comes from elsewhere.
    """
    found = []
    for option, setting in pending:
        key, _, value = setting.partition('=')
        if option not in (REQUIREMENT, BEST_EFFORT) or key not in KEYS or (
                key in found):
            raise Refused('mark: %s %s: unknown, or given twice' % (
                printable(option), printable(key)), APPLY_AGAIN,
                          'mark-malformed', prefix=PACKAGE)
        check_characters(key, value)
        found.append(key)
    if not found:
        raise Refused('mark: it has no settings', APPLY_AGAIN,
                      'mark-malformed', prefix=PACKAGE)


def with_pending(policy, pending):
    """
    Return a policy (list of pairs) with one that waits in place of its
    settings for the same console: half of each would be none that anybody
    chose. What takes the place of a requirement is one.
    """
    displays = [is_of_vnc(pair) for pair in pending]
    required = [is_of_vnc(pair) for pair in policy if pair[0] == REQUIREMENT]
    pending = [(REQUIREMENT, setting) if is_of_vnc((option, setting))
               in required else (option, setting)
               for option, setting in pending]
    return sorted([pair for pair in policy if is_of_vnc(pair) not in displays]
                  + pending, key=is_of_vnc)


def is_of_vnc(pair):
    """Tell whether a pair of an option and its 'KEY=VALUE' is for VNC."""
    return pair[1].partition('=')[0] == 'priority'


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
                # minidom has None for xmlns="".
                value = attribute.value or ''
                for character, stand_in, _ in self.REFERENCES:
                    value = value.replace(character, stand_in)
                if value != attribute.value:
                    attribute.value = value
            for child in node.childNodes:
                self._protect(child)


# Its last line: what imports this asks for it, so a file that was cut off is
# none.
COMPLETE = True
