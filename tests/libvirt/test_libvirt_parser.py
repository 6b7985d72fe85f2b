# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""
The hook and libvirt's own parser, on made-up domain XML.

libvirt reads each XML twice, as it is and as the hook leaves it: it defines
the VM and describes it, and it translates the XML to QEMU's command line.
What it then has for the emulator and for QEMU's further arguments must be
what the VM's properties ask for, given the displays that libvirt sees; and
all else must be the same both times.
"""

from __future__ import annotations

import collections
import concurrent.futures
import itertools
import pathlib
import random
import re
import shlex
import subprocess
from collections.abc import Sequence
from typing import TypeVar
from xml.dom import minidom
from xml.etree import ElementTree

import libvirt

import support
from support import DATA, EMULATOR, HOOK

Choice = TypeVar('Choice')

QEMU = '/usr/bin/qemu-system-x86_64'
NAMESPACE = 'http://libvirt.org/schemas/domain/qemu/1.0'
UUID = '<uuid>3e8a4f0b-52a1-4d7c-9a0e-%012d</uuid>'
OURS = ('-vdsm-tls', '-vdsm-tls-default')

SUITE = 'ECDHE-RSA-AES256-GCM-SHA384'
PRIORITY = 'NORMAL:-VERS-ALL:+VERS-TLS1.2:%SERVER_PRECEDENCE'
# (property, its value, the display, what the wrapper is to be given), in the
# order in which the hook gives it.
SETTINGS = (
    ('tlsciphers', SUITE, 'spice', 'ciphers=' + SUITE),
    ('tlsprotocols', 'TLSv1.2', 'spice', 'protocols=TLSv1.2'),
    ('tlsgroups', 'P-384:X448', 'spice', 'groups=P-384:X448'),
    ('tlspriority', PRIORITY, 'vnc', 'priority=' + PRIORITY))


# Domain XML

TEXTS = ('', 'plain', 'a & b', '<emulator>/x</emulator>', '"\'', '\xe4\u20ac',
         '\U0001f512', ']] >', '<graphics type="vnc"/>', 'a\nb', ' -vdsm-tls ')
DEVICES = (
    '<disk type="file" device="disk"><driver name="qemu" type="raw"/>'
    '<source file="/var/tmp/a&amp;b,c=&apos;d&apos;.img"/>'
    '<target dev="vda" bus="virtio"/><serial>a b&#95;c</serial></disk>',
    '<disk type="file" device="cdrom"><target dev="sda" bus="sata"/>'
    '<readonly/></disk>',
    '<disk type="network"><source protocol="nbd" name="x"><host name="::1" '
    'port="10809"/></source><target dev="vdb"/></disk>',
    '<interface type="user"><mac address="52:54:00:00:00:01"/>'
    '<model type="virtio"/></interface>',
    '<channel type="unix"><source mode="bind" path="/run/a,b"/><target '
    'type="virtio" name="ovirt-guest-agent.0"/></channel>',
    '<serial type="file"><source path="/var/tmp/&quot;a b&quot;"/></serial>',
    '<console type="null"><target type="virtio"/></console>',
    '<controller type="virtio-serial" index="3"/>',
    '<controller type="usb" model="qemu-xhci"/>', '<sound model="ich9"/>',
    '<input type="tablet" bus="virtio"/>', '<memballoon model="none"/>',
    '<rng model="virtio"><backend model="random">/dev/urandom</backend></rng>',
    '<watchdog model="i6300esb" action="reset"/>', '<panic model="isa"/>',
    '<video><model type="virtio"/><alias name="ua-emulator"/></video>',
    '<filesystem type="mount"><source dir="/tmp"/><target dir="a,b"/>'
    '</filesystem>', '<shmem name="s"><model type="ivshmem-plain"/></shmem>',
    '<hub type="usb"/>', '<vsock model="virtio"><cid address="5"/></vsock>',
    # To libvirt these are no devices.
    '<Emulator>/x</Emulator>', '<other><graphics type="vnc"/></other>',
    '<x:emulator xmlns:x="urn:x">/x</x:emulator>',
    '<x:graphics xmlns:x="urn:x" type="vnc"/>')
PARTS = (
    '<features><acpi/><apic/></features>', '<iothreads>2</iothreads>',
    '<cpu mode="custom" match="exact"><model>Nehalem</model></cpu>',
    '<clock offset="variable" adjustment="0"><timer name="rtc" '
    'tickpolicy="catchup"/></clock>', '<on_poweroff>destroy</on_poweroff>',
    '<cputune><shares>100</shares></cputune>', '<seclabel type="none"/>',
    '<sysinfo type="smbios"><system><entry name="manufacturer">oVirt &amp; '
    '&lt;co&gt;</entry></system></sysinfo>', '<emulator>/x</emulator>',
    '<memoryBacking><locked/></memoryBacking>', '<graphics type="vnc"/>',
    '<pm><suspend-to-mem enabled="no"/></pm>', '<unknown a="b">c</unknown>',
    '<commandline><arg value="-vdsm-tls"/></commandline>',
    '<q:commandline xmlns:q="urn:q"><q:arg value="-S"/></q:commandline>',
    '<q:capabilities xmlns:q="%s"><q:del capability="blockdev"/>'
    '</q:capabilities>' % NAMESPACE,
    '<q:deprecation xmlns:q="%s" behavior="none"/>' % NAMESPACE)
SPICE = (
    '<graphics type="spice" autoport="yes"/>',
    '<graphics type="spice" port="-1" tlsPort="-1" autoport="yes" '
    'passwd="&lt;a&apos;,b" defaultMode="secure"><listen type="address" '
    'address="127.0.0.1"/><channel name="main" mode="secure"/></graphics>',
    '<graphics type="spice" tlsPort="5999" listen="::1"><image '
    'compression="off"/><clipboard copypaste="no"/></graphics>')
VNC = (
    '<graphics type="vnc" port="-1"/>',
    '<graphics type="vnc" autoport="yes" websocket="-1" passwd="a,,b" '
    'keymap="en-us"><listen type="address" address="127.0.0.1"/></graphics>',
    '<graphics type="vnc"><listen type="socket" socket="/run/a,b"/>'
    '</graphics>')
OTHER_DISPLAYS = ('<graphics type="sdl" display=":1"/>',
                  '<graphics type="egl-headless"><gl rendernode="/dev/null"/>'
                  '</graphics>',
                  '<graphics type="dbus"/>')
EMULATORS = ('', '', '<emulator/>', '<emulator>%s</emulator>' % QEMU,
             '<emulator text="%s"/>' % QEMU, '<emulator><![CDATA[%s]]>'
             '</emulator>' % QEMU, '<emulator a="b">/usr/bin<!-- x -->'
             '/qemu-system-x86&#95;64</emulator>', '<emulator>%s</emulator>'
             '<emulator>%s</emulator>' % (QEMU, EMULATOR),
             '<emulator>/usr/bin/qemu-system-<?x y?>x86_64</emulator>',
             '<emulator>%s</emulator>' % EMULATOR)
ARGUMENTS = (
    ('-global', 'VGA.vgamem_mb=8'), ('-name', 'a & <b> "c" \'d\''),
    ('-fw_cfg', 'name=opt/x,string=a\nb\tc\rd'), ('', ' '), ('-S',),
    ('-append', '\xe4\u20ac\U0001f512'), ('%s', '$HOME `id` \\'),
    ('-vdsm-tls', 'ciphers=ALL'), ('-vdsm-tls-default', 'priority=NORMAL'),
    ('-vdsm-tls-', '-Vdsm-tls'), ('-name',))
# Of the domain itself, which libvirt's own lookups do not care for.
ROOTS = ('domain', 'domain', 'domain', 'd:domain')
# What is written in a way in which few others read it; the hook may refuse.
ODD = (
    ('<graphics type="spice"', '<graphics x:type="spice"'),
    ('<graphics type="vnc"', '<graphics x:type="vnc" type="spice"'),
    ('<graphics type="vnc"', '<graphics type="sdl" xml:type="vnc"'),
    ('<graphics type="', '<graphics xmlns:y="urn:y" y:type="spice" type="'),
    (' tlsPort="', ' x:tlsPort="'), ('<listen type="', '<listen x:type="'),
    ('<channel name="', '<channel x:name="'),
    ('<listen ', '<listen xmlns="urn:x" '),
    ('<emulator>', '<emulator x:text="/opt/x">'),
    (':arg value="', ':arg x:value="'), (':arg value="', ':arg x:a="'))
NOISE = ('', '', '', '\n  ', '<!-- <emulator>/x</emulator> -->', '\r\n\t',
         '<?emulator /x?>', ' ')
ENCODINGS = (('utf-8', None), ('utf-8', None), ('utf-8', 'UTF-8'),
             ('utf-8-sig', 'UTF-8'), ('utf-16', 'UTF-16'), ('latin-1',
             'ISO-8859-1'), ('ascii', 'US-ASCII'))


class Domain:
    """
    A made-up domain: text, its XML as engines, vdsm, other hooks or people may
    write it, xml (the same in some encoding), is_odd (whether the hook may
    refuse it), and the VM's properties ({name: value}).
    """

    def __init__(self, number: int) -> None:
        self.chance = random.Random(number)
        self.number = number
        chosen = self.chance.sample(SETTINGS, self.chance.randint(1, 4))
        self.properties = {name: value for name, value, _, _ in chosen}
        namespaces = self.chance.sample((
            'xmlns:%s="%s"' % (self.chance.choice(('qemu', 'ns0', 'q')),
                               NAMESPACE),
            'xmlns:ovirt-vm="http://ovirt.org/vm/1.0"', 'xmlns:x="urn:x"',
            'id="7"'), self.chance.randint(0, 4))
        root = self.chance.choice(ROOTS)
        if root != 'domain':
            namespaces.append('xmlns:d="urn:d"')
        start = ' '.join(['<%s type="qemu"' % root, *namespaces])
        xml = '%s>%s</%s>' % (start, ''.join(self.parts()), root)
        self.is_odd = False
        if self.chance.random() < 0.3:
            odd = xml.replace(*self.chance.choice(ODD))
            self.is_odd = odd != xml
            xml = odd if 'xmlns:x=' in start else odd.replace(
                start, start + ' xmlns:x="urn:x"')
        xml = self.rewritten(re.sub('<[A-Za-z][^<>]*>', self.restyled, xml))
        self.text = re.sub('(?<=[^/]>)(?=<[A-Za-z])',
                           lambda _: self.chance.choice(NOISE), xml)
        self.xml = self.encoded()

    def some(self, choices: Sequence[Choice], most: int) -> list[Choice]:
        return self.chance.sample(choices, self.chance.randint(0, most))

    def written(self, text: str) -> str:
        """Return a text as XML, in one of the ways that there are."""
        style = self.chance.randint(0, 3)
        if style == 0 and ']]>' not in text and text.isascii():
            return '<![CDATA[%s]]>' % text
        if style == 1:
            return ''.join('&#%d;' % ord(character) for character in text)
        return ''.join(character if character.isalnum() and character.isascii()
                       else '&#x%x;' % ord(character) for character in text)

    def parts(self) -> list[str]:
        parts = ['<name>%s</name>' % self.written('vm%d%s' % (
            self.number, self.chance.choice((
                '', '', ' & <co>', '\xe4\u20ac', '"\'', ']]')))),
            UUID % self.number,
            '<memory unit="MiB">64</memory>', '<vcpu>1</vcpu>',
            '<os><type arch="x86_64" machine="%s">hvm</type></os>'
            % self.chance.choice(('q35', 'pc')), self.devices()]
        parts += self.some(PARTS, 5)
        for name in self.some(('title', 'description'), 2):
            text = self.chance.choice(TEXTS).replace('\n', ' ')
            parts.append('<%s>%s</%s>' % (name, self.written(text), name))
        if self.chance.random() < 0.5:
            parts.append('<metadata><m:a xmlns:m="urn:m"><m:devices>'
                         '<m:emulator>/x</m:emulator></m:devices>%s</m:a>'
                         '<n:vm xmlns:n="urn:n"><graphics type="vnc"/>'
                         '<devices><emulator>/x</emulator></devices></n:vm>'
                         '</metadata>' % self.written(
                             self.chance.choice(TEXTS)))
        parts += [self.command_line()
                  for _ in range(self.chance.choice((0, 0, 1, 1, 2)))]
        self.chance.shuffle(parts)
        return parts

    def devices(self) -> str:
        devices = self.some(DEVICES, 7) + [
            self.chance.choice(choices) for choices, share in (
                (SPICE, 0.7), (VNC, 0.7), (OTHER_DISPLAYS, 0.1))
            if self.chance.random() < share]
        devices.append(self.chance.choice(EMULATORS))
        self.chance.shuffle(devices)
        return '<devices>%s</devices>' % ''.join(devices)

    def command_line(self) -> str:
        """Return a <commandline> as other hooks may leave it."""
        prefix = self.chance.choice(('qemu', 'ns0', 'z', ''))
        colon = prefix and prefix + ':'
        children = ['<%sarg value="%s"/>' % (colon, self.attribute(value))
                    for pair in self.some(ARGUMENTS, 4) for value in pair]
        children += ['<%senv name="%s" value="%s"/>' % (
            colon, name, self.attribute(self.chance.choice(TEXTS)))
            for name in self.some(('A', 'B_1'), 2)]
        return '<%scommandline xmlns%s="%s">%s</%scommandline>' % (
            colon, prefix and ':' + prefix, NAMESPACE, ''.join(children),
            colon)

    def attribute(self, value: str) -> str:
        return ''.join(
            character if (character.isalnum() and character.isascii())
            or character in '-=.,_/$:' else '&#%d;' % ord(character)
            for character in value)

    def restyled(self, tag: re.Match[str]) -> str:
        """Return a start tag (re.Match) as somebody else might write it."""
        text = tag.group()
        style = self.chance.randint(0, 6)
        if style == 0 and "'" not in text:
            text = text.replace('"', "'")
        elif style == 1:
            text = re.sub('" (?=[a-zA-Z:]+=)', '"\n\t', text)
        elif style == 2:
            text = re.sub('([a-z])="', '\\1 = "', text)
        elif style == 3 and text.endswith('/>'):
            name, = re.findall('^<([^ /]+)', text)
            text = '%s></%s>' % (text[:-2], name)
        return text

    def rewritten(self, xml: str) -> str:
        """Return the XML, maybe as other hooks write it."""
        style = self.chance.randint(0, 9)
        if style == 0:
            return ElementTree.tostring(ElementTree.fromstring(xml),
                                        encoding='unicode')
        if style == 1:
            root = minidom.parseString(xml).documentElement
            assert root is not None
            return root.toxml()
        return xml

    def encoded(self) -> bytes:
        encoding, name = self.chance.choice(ENCODINGS)
        start = self.chance.choice(('', '<!-- x -->', '<?x y?>\n'))
        if name:
            start = '<?xml version="1.0" encoding="%s"?>%s' % (name, start)
        return (start + self.text).encode(encoding, 'xmlcharrefreplace')


# Those of the tests, for hosts that are not here.
ADAPTED = (('type="kvm"', 'type="qemu"'), ('pc-q35-rhel8.4.0', 'q35'),
           ('<maxMemory slots="16">4194304</maxMemory>', ''))


def example(path: pathlib.Path, number: int) -> Domain:
    """Return a file of tests/data as a Domain."""
    domain = Domain(number)
    xml = path.read_text()
    for old, new in ADAPTED:
        xml = xml.replace(old, new)
    if '<uuid>' not in xml:
        xml = xml.replace('</name>', '</name>' + UUID % number)
    domain.text, domain.xml = xml, xml.encode()
    domain.properties = {name: value for name, value, _, _ in SETTINGS}
    return domain


# What libvirt reads


class Reading:
    """
    What libvirt reads in a domain XML (str): emulator, arguments (a list:
    those of <qemu:arg>), displays (set), rest (str: all else), and native,
    the words of QEMU's environment and command line (where libvirt cannot
    translate it, for want of a device of this machine, say, of its error).
    Raises libvirtError.
    """

    def __init__(self, connection: libvirt.virConnect, xml: str) -> None:
        domain = connection.defineXML(xml)
        try:
            root = ElementTree.fromstring(domain.XMLDesc(
                libvirt.VIR_DOMAIN_XML_INACTIVE
                | libvirt.VIR_DOMAIN_XML_SECURE))
        finally:
            domain.undefine()
        devices = root.find('devices')
        assert devices is not None
        emulator = devices.find('emulator')
        assert emulator is not None
        self.emulator = emulator.text
        devices.remove(emulator)
        self.displays = {graphics.get('type')
                         for graphics in devices.findall('graphics')}
        self.arguments: list[str] = []
        for lines in root.findall('{%s}commandline' % NAMESPACE):
            for argument in lines.findall('{%s}arg' % NAMESPACE):
                self.arguments.append(argument.attrib['value'])
                lines.remove(argument)
            if not len(lines):
                root.remove(lines)
        self.rest = ElementTree.canonicalize(ElementTree.tostring(
            root, encoding='unicode'), strip_text=True)
        try:
            native = connection.domainXMLToNative('qemu-argv', xml, 0)
            self.is_translated = True
        except libvirt.libvirtError as error:
            native = shlex.quote(str(error))
            self.is_translated = False
        # The time of day is in there.
        self.native = shlex.split(re.sub('base=[-:T0-9]+', 'base=', native))


def separate(arguments: list[str]) -> tuple[list[str], list[str]]:
    """Return (those for the wrapper, all others), as the wrapper reads it."""
    ours, others = [], []
    unread = iter(arguments)
    for argument in unread:
        if argument in OURS:
            ours += [argument, *itertools.islice(unread, 1)]
        else:
            others.append(argument)
    return ours, others


def read(connection: libvirt.virConnect, xml: str) -> Reading | str:
    try:
        return Reading(connection, xml)
    except libvirt.libvirtError as error:
        return str(error)


def run_hook(xml: bytes, properties: dict[str, str],
             path: pathlib.Path) -> tuple[bytes, set[str]]:
    """Return what the hook makes of an XML, and the displays that it sees."""
    path.write_bytes(xml)
    said = subprocess.run(
        [HOOK], check=True, stderr=subprocess.PIPE,
        env=support.hook_environment(path, **properties)).stderr.decode()
    return path.read_bytes(), {display.lower() for display in re.findall(
        '(?m)^vdsm-hook-tlsciphers: the (SPICE|VNC) console ', said)}


def check_domain(domain: Domain, connection: libvirt.virConnect,
                 path: pathlib.Path) -> str:
    """Check a Domain. Returns what became of it, for counting."""
    plain = read(connection, domain.text)
    try:
        result, displays = run_hook(domain.xml, domain.properties, path)
    except subprocess.CalledProcessError as error:
        assert domain.is_odd
        assert re.fullmatch(rb'vdsm-hook-tlsciphers: .* \[prefix\]\n',
                            error.stderr)
        assert path.read_bytes() == domain.xml
        return 'refused by the hook'
    if isinstance(plain, str):
        # What it does not take it does not take with a policy either.
        assert result == domain.xml or isinstance(
            read(connection, result.decode()), str)
        return 'refused by libvirt'
    assert displays == plain.displays & {'spice', 'vnc'}
    # For displays that are not there as well: another hook may add them.
    wanted = [word for name, _, _, setting in SETTINGS
              if name in domain.properties
              for word in ('-vdsm-tls', setting)]
    changed = Reading(connection, result.decode())
    assert changed.emulator == EMULATOR
    others = separate(plain.arguments)[1]
    assert changed.arguments == wanted + others
    assert changed.rest == plain.rest
    ours, native = separate(changed.native)
    assert changed.is_translated == plain.is_translated
    if changed.is_translated:
        assert ours == wanted
    assert native == [EMULATOR if word == plain.emulator else word
                      for word in separate(plain.native)[1]]
    return 'with a policy, ' + ('defined and translated'
                                if plain.is_translated else 'defined')


def test_libvirt_reads_the_policy_in_a_domain_xml_and_nothing_else_new(
        connection: libvirt.virConnect, tmp_path: pathlib.Path, soak: bool,
        figure: support.Figure) -> None:
    domains = [Domain(number) for number in range(2000 if soak else 100)]
    domains += [example(path, len(domains) + number) for number, path
                in enumerate(DATA.glob('domain-*.xml'))]
    different = []

    def check(domain: Domain) -> str:
        try:
            return check_domain(domain, connection,
                                tmp_path / str(domain.number))
        except Exception as error:  # noqa: BLE001
            different.append((domain.text, repr(error)))
            return 'different'

    with concurrent.futures.ThreadPoolExecutor(2) as executor:
        outcomes = collections.Counter(executor.map(check, domains))
    figure('domain XML that libvirt and the hook read differently, of %d'
           % len(domains), len(different), 0)
    for outcome, number in sorted(outcomes.items()):
        figure('domain XML ' + outcome, number, '-')
    assert not different, '\n'.join('%s: %s' % pair for pair in different)
