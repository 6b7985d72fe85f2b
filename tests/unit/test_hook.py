# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""The hook, run as vdsm runs it, on domain XML as engines write it."""

from __future__ import annotations

import ast
import json
import os
import pathlib
import re
import resource
import shutil
import subprocess
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

import pytest

import support
from support import GOOD_CIPHERS, SEED_CIPHERS

if TYPE_CHECKING:
    from conftest import Hook, MakeHook

QEMU = '{http://libvirt.org/schemas/domain/qemu/1.0}'
X86 = (support.DATA / 'domain-x86_64.xml').read_text()
PPC = (support.DATA / 'domain-ppc64le.xml').read_text()
OTHER_HOOK = ('<qemu:commandline '
              'xmlns:qemu="http://libvirt.org/schemas/domain/qemu/1.0">'
              '<qemu:arg value="-cpu"/><qemu:arg value="host"/>'
              '<qemu:env name="A" value="B"/></qemu:commandline></domain>')
NS0 = ('<ns0:commandline><ns0:arg value="-S"/></ns0:commandline></domain>')
DEFAULT_NAMESPACE = (
    '<commandline xmlns="http://libvirt.org/schemas/domain/qemu/1.0">'
    '<arg value="-S"/></commandline></domain>')
NOTES = ('<metadata><note xmlns="urn:note" a="1&#10;2&#9;3&#13;4 &quot;&lt;">'
         '<![CDATA[<graphics type="vnc"/> & ]]>&amp;&#13;\n&#xe4;&lt;'
         '<graphics type="spice"/></note></metadata>')


def parse(xml: str) -> ElementTree.Element:
    return ElementTree.fromstring(xml, ElementTree.XMLParser(
        target=ElementTree.TreeBuilder(insert_comments=True)))


def canonical(tree: ElementTree.Element) -> str:
    for element in tree.iter():
        # ElementTree would write it bare, and its reader would drop it.
        element.text = element.text and element.text.replace('\r', '\ue00d')
        element.tail = element.tail and element.tail.replace('\r', '\ue00d')
    return ElementTree.canonicalize(ElementTree.tostring(tree),
                                    rewrite_prefixes=True)


def expected(xml: str, installation: support.Installation,
             ciphers: str) -> str:
    """Return, in canonical form, the XML that the hook should make."""
    domain = parse(xml)
    devices, = domain.iterfind('devices')
    emulator = devices.find('emulator')
    if emulator is None:
        emulator = ElementTree.Element('emulator')
        devices.insert(0, emulator)
    emulator.attrib.clear()
    emulator.text = str(installation.emulator)
    command_line = domain.find(QEMU + 'commandline')
    if command_line is None:
        command_line = ElementTree.SubElement(domain, QEMU + 'commandline')
    for position, value in enumerate(('-vdsm-tls', 'ciphers=' + ciphers)):
        command_line.insert(position, ElementTree.Element(
            QEMU + 'arg', value=value))
    return canonical(domain)


@pytest.mark.parametrize('xml', [
    pytest.param(X86, id='x86_64'),
    pytest.param(PPC, id='ppc64le'),
    pytest.param(X86.replace('</domain>', OTHER_HOOK), id='other hook'),
    pytest.param(X86.replace('</domain>', NS0).replace(
        '<domain ', '<domain xmlns:ns0='
        '"http://libvirt.org/schemas/domain/qemu/1.0" '), id='ns0'),
    pytest.param(X86.replace(
        '<domain ', '<domain xmlns:ns0='
        '"http://libvirt.org/schemas/domain/qemu/1.0" '), id='ns0 declared'),
    pytest.param(X86.replace('<domain ', '<domain xmlns:qemu="urn:other" ')
                 .replace('<metadata>', '<metadata><qemu:commandline/>'),
                 id='qemu is another namespace'),
    pytest.param(X86.replace('</domain>', DEFAULT_NAMESPACE),
                 id='default namespace'),
    pytest.param(X86.replace('<metadata>', NOTES + '<metadata>'),
                 id='CDATA, entities, references'),
    pytest.param(PPC.replace(' text="/usr/bin/qemu-system-ppc64le"/>',
                             '>/usr/bin/qemu-system-ppc64</emulator>'),
                 id='emulator of the distribution'),
    pytest.param(PPC.replace(' text="/usr/bin/qemu-system-ppc64le"/>', '/>'),
                 id='empty emulator'),
])
def test_domain_gets_the_wrapper_and_the_policy_and_nothing_else(
        hook: Hook, xml: str) -> None:
    changed, _ = hook.change(xml, tlsciphers=GOOD_CIPHERS)
    assert canonical(parse(changed)) == expected(xml, hook.installation,
                                                 GOOD_CIPHERS)
    # On its own output it changes nothing, not a byte.
    again, _ = hook.change(changed, tlsciphers=GOOD_CIPHERS)
    assert again == changed


def test_line_breaks_survive_in_utf_16(hook: Hook) -> None:
    xml = X86.replace('"UTF-8"', '"UTF-16"').replace(
        '</domain>', NOTES + '</domain>')
    changed, _ = hook.change(xml.encode('utf-16'), tlsciphers=GOOD_CIPHERS)
    assert canonical(parse(changed)) == expected(xml, hook.installation,
                                                 GOOD_CIPHERS)


def test_second_list_of_devices_changes_nothing(newest_hook: Hook) -> None:
    """libvirt takes the first emulator that there is."""
    xml = X86.replace('</domain>', '<devices><emulator>/usr/bin/qemu-kvm'
                      '</emulator></devices></domain>')
    changed, _ = newest_hook.change(xml, tlsciphers=GOOD_CIPHERS)
    again, _ = newest_hook.change(changed, tlsciphers=GOOD_CIPHERS)
    assert again == changed


def test_domain_of_one_megabyte_is_no_exception(newest_hook: Hook) -> None:
    xml = PPC.replace('<devices>', '<devices>' + (
        '<disk type="file" device="disk"><source file="/x\u00e4"/>'
        '<target dev="sda"/></disk>') * 14000)
    assert len(xml.encode()) > 2 ** 20
    changed, _ = newest_hook.change(xml, tlsciphers=GOOD_CIPHERS)
    assert canonical(parse(changed)) == expected(
        xml, newest_hook.installation, GOOD_CIPHERS)


def test_policy_takes_the_place_of_one_that_is_there(hook: Hook) -> None:
    old, _ = hook.change(X86.replace('</domain>', OTHER_HOOK),
                         tlsciphers='AES256-SHA')
    old = old.replace('</qemu:commandline>', '<qemu:arg value="-vdsm-tls"/>'
                      '<qemu:arg value="ciphers=AES128-SHA"/>'
                      '<qemu:arg value="-vdsm-tls-default"/>'
                      '<qemu:arg value="priority=NORMAL"/>'
                      '</qemu:commandline>')
    changed, _ = hook.change(old, tlsciphers=GOOD_CIPHERS)
    assert canonical(parse(changed)) == expected(
        X86.replace('</domain>', OTHER_HOOK), hook.installation, GOOD_CIPHERS)


def test_policy_that_is_there_in_two_parts_stays(newest_hook: Hook) -> None:
    """To libvirt the arguments of all command lines are one list."""
    changed, _ = newest_hook.change(X86, tlsciphers=GOOD_CIPHERS)
    start, found, end = changed.rpartition('<qemu:arg value="ciphers=')
    assert found
    parts = start + '</qemu:commandline><qemu:commandline>' + found + end
    assert newest_hook.change(parts, tlsciphers=GOOD_CIPHERS)[0] == parts


def test_vm_without_the_property_needs_nothing(hook: Hook) -> None:
    """The XML is not opened, vdsm's modules are not imported."""
    process = hook.run('', environment={
        '_hook_domxml': '/nonexistent', 'PYTHONPATH': '/nonexistent'})
    assert (process.returncode, process.stdout, process.stderr) == (0, '', '')


def test_vm_without_the_property_costs_nothing(hook: Hook) -> None:
    process = hook.run('', environment={'PYTHONVERBOSE': '1'})
    imported = set(re.findall(r"^import '?([\w.]+)", process.stderr,
                              re.MULTILINE))
    assert 'posix' in imported
    assert not imported & {'os', 'site', 'hooking', 'subprocess', 'tlsciphers',
                           'xml', 'xml.dom.minidom', 'argparse'}


def test_arguments_of_another_hook_do_not_swallow_the_policy(
        hook: Hook) -> None:
    """An option that lacks its value takes the argument behind it."""
    trailing = '<qemu:arg value="-name"/></qemu:commandline>'
    xml = X86.replace('</domain>', OTHER_HOOK.replace(
        '</qemu:commandline>', trailing))
    changed, _ = hook.change(xml, tlsciphers=GOOD_CIPHERS)
    assert canonical(parse(changed)) == expected(xml, hook.installation,
                                                 GOOD_CIPHERS)
    # Nor where an older version has put it last.
    policy = re.findall('<qemu:arg value="(?:-vdsm-tls|ciphers=[^"]*)"/>',
                        changed)
    assert len(policy) == 2
    last = changed.replace(''.join(policy), '').replace(
        trailing, trailing.replace('</', ''.join(policy) + '</'))
    assert last != changed
    assert canonical(parse(hook.change(last, tlsciphers=GOOD_CIPHERS)[0])) == (
        canonical(parse(changed)))


def test_vm_without_spice_carries_what_it_asks_for(hook: Hook) -> None:
    """Another hook may add the console by arguments for QEMU."""
    xml = X86.replace('type="spice"', 'type="sdl"')
    changed, log = hook.change(xml, tlsciphers=GOOD_CIPHERS)
    assert canonical(parse(changed)) == expected(xml, hook.installation,
                                                 GOOD_CIPHERS)
    assert len(log) == 2
    assert log[0].endswith(' [no-console]')
    assert 'VNC' in log[1]


def test_vnc_is_named_as_not_covered(hook: Hook) -> None:
    _, log = hook.change(X86, tlsciphers=GOOD_CIPHERS)
    assert ['VNC' in line for line in log
            if support.code_of(line) == 'console-not-covered'] == [True]
    _, log = hook.change(PPC, tlsciphers=GOOD_CIPHERS)
    assert support.codes_of(log) == ['policy-set']


# More than tests/data/messages.txt has.
BAD_VALUES = [
    (' ', 'character'),
    ('AES256-SHA,disable-ticketing=on', 'character'),
    ('AES256-SHA\n', 'character'),
    ('AES\u00e4', 'character'),
    ('AES256-SHA:' * 5958, 'list-too-long'),
    ('-V', 'no-suite'),
    ('-v', 'no-suite'),
    ('-help', 'no-suite'),
    ('eNULL', 'no-suite'),
    ('AES256-SHA:NULL-SHA256:@SECLEVEL=0', 'insecure-suite'),
    ('ALL:@SECLEVEL=0', 'insecure-suite'),
    ('HIGH@SECLEVEL=0', 'insecure-suite'),
    (':', 'no-suite'),
    ('PROFILE=SYSTEM', 'no-suite'),
    ('TLS_NOSUCH', 'unknown-suite'),
    ('AES256-SHA:TLS_RSA_WITH_AES_256_CBC_SHA', 'iana-name'),
]
# What is named of a list without which it would do.
OFFENDING = [
    ('AES256-SHA:!AES', '!AES'),
    ('AES256-GCM-SHA384:@SECLEVEL=5', '@SECLEVEL=5'),
    ('AES256-SHA:@NOSUCH', '@NOSUCH'),
    ('TLS_AES_256_GCM_SHA384:NOSUCH', 'NOSUCH'),
]


@pytest.mark.parametrize('value, code', BAD_VALUES)
def test_bad_value_is_refused(newest_hook: Hook, value: str,
                              code: str) -> None:
    line = newest_hook.refusal(X86, tlsciphers=value)
    assert line.startswith('tlsciphers: ')
    assert support.code_of(line) == code


@pytest.mark.parametrize('value, token', OFFENDING)
def test_token_that_leaves_no_suite_is_named(newest_hook: Hook, value: str,
                                             token: str) -> None:
    line = newest_hook.refusal(X86, tlsciphers=value)
    assert line.startswith('tlsciphers: %s: ' % token)
    assert support.code_of(line) == 'no-suite'


def test_token_with_an_underscore_is_named(newest_hook: Hook) -> None:
    """Before 3.5 OpenSSL takes no list that has one."""
    value = 'AES256-SHA:ECDHE_RSA'
    if subprocess.run(['openssl', 'ciphers', value],
                      capture_output=True).returncode:
        line = newest_hook.refusal(X86, tlsciphers=value)
        assert line.startswith('tlsciphers: ECDHE_RSA: ')
        assert support.code_of(line) == 'no-suite'
    else:
        log = newest_hook.change(X86, tlsciphers=value)[1]
        assert ' ECDHE_RSA: ' in log[0]
        assert support.code_of(log[0]) == 'ignored-token'


@pytest.mark.parametrize('byte', [b'\xff', b'\x80', b'\xc3'])
def test_value_that_is_no_text_is_refused(hook: Hook, byte: bytes) -> None:
    assert support.code_of(hook.refusal(
        X86, environment={'tlsciphers': b'AES256-SHA' + byte})) == 'character'


def test_nul_is_refused(installation: support.Installation) -> None:
    """An environment cannot carry one: here the module alone is asked."""
    process = subprocess.run(
        [installation.python, '-Bc', 'import sys; sys.path.insert(0, %r); '
         'from tlsciphers import *; '
         'validate_ciphers(Setting("tlsciphers", "AES256-SHA\\0", "x"))'
         % str(installation.module.parent)], capture_output=True, text=True)
    assert 'Refused: x: a NUL is not allowed (position 11' in process.stderr
    assert process.stderr.endswith(' [character]\n')


GOOD_VALUES = [
    GOOD_CIPHERS, SEED_CIPHERS, 'HIGH', 'ALL', 'DEFAULT', 'HIGH:!aNULL:!eNULL',
    '-AES:HIGH', 'ECDHE+AESGCM:@STRENGTH', 'HIGH:@SECLEVEL=1', 'TLSv1.2',
    ':ECDHE+AESGCM::', 'HIGH:+AES', 'SUITEB128',
    'AES256-SHA'.ljust(255, ':')]


@pytest.mark.parametrize('value', GOOD_VALUES)
def test_list_that_openssl_takes_is_accepted(newest_hook: Hook,
                                             value: str) -> None:
    changed, _ = newest_hook.change(PPC, tlsciphers=value)
    assert 'value="ciphers=%s"' % value in changed


IGNORED = [
    ('AES256-SHA:NOSUCH:AES', 'NOSUCH'),
    ('AES256-SHA:DEFAULT', 'DEFAULT'),
    (':DEFAULT:AES256-SHA', 'DEFAULT'),
    ('AES256-SHA:PROFILE=SYSTEM', 'PROFILE=SYSTEM'),
    ('HIGH:!NOSUCH:-ANOTHER:!MD5:!RC4:!EXPORT', '!NOSUCH, -ANOTHER'),
    ('DEFAULT:NOSUCH:NOSUCH', 'NOSUCH'),
]


@pytest.mark.parametrize('value, ignored', IGNORED)
def test_token_that_openssl_ignores_is_named(newest_hook: Hook, value: str,
                                             ignored: str) -> None:
    _, log = newest_hook.change(PPC, tlsciphers=value)
    warnings = [line for line in log if 'ignores' in line]
    assert len(warnings) == 1
    assert 'OpenSSL ignores %s: ' % ignored in warnings[0]


def test_token_without_a_colon_in_the_list_of_the_seed_is_named(
        newest_hook: Hook) -> None:
    _, log = newest_hook.change(PPC, tlsciphers=SEED_CIPHERS)
    line, = [line for line in log if 'ignores' in line]
    assert 'DH+3DESRSA+AESGCM' in line
    assert '!' not in line


def test_list_of_names_is_accepted_without_a_warning(
        newest_hook: Hook) -> None:
    _, log = newest_hook.change(PPC, tlsciphers=GOOD_CIPHERS)
    assert len(log) == 1


SURPRISES = [
    ('DHE-RSA-AES256-GCM-SHA384', 'only DHE or ECDSA'),
    ('ECDHE-ECDSA-AES256-GCM-SHA384:DHE-RSA-AES128-SHA', 'only DHE or ECDSA'),
    ('HIGH:@SECLEVEL=3', '2048'),
    ('HIGH:!aNULL:@SECLEVEL=0', 'TLS 1.1'),
    ('DEFAULT@SECLEVEL=0:!SHA1', 'TLS 1.1'),
]


@pytest.mark.parametrize('value, warning', SURPRISES)
def test_list_that_is_no_mistake_but_a_surprise_is_warned_of(
        newest_hook: Hook, value: str, warning: str) -> None:
    _, log = newest_hook.change(PPC, tlsciphers=value)
    assert [line for line in log if warning in line]


def test_environment_of_the_host_does_not_sway_the_check(
        newest_hook: Hook, tmp_path: pathlib.Path) -> None:
    """The emulator does not inherit what vdsm runs with."""
    # A library without any cipher.
    config = tmp_path / 'openssl.cnf'
    config.write_text('openssl_conf = a\n[a]\nproviders = b\n[b]\nbase = c\n'
                      '[c]\nactivate = 1\n')
    newest_hook.change(PPC, tlsciphers=GOOD_CIPHERS, environment={
        'OPENSSL_CONF': str(config)})


def test_value_is_never_an_option_of_openssl(make_hook: MakeHook,
                                             tmp_path: pathlib.Path) -> None:
    """
    OpenSSL 1.0.2, which is not here, reads options behind "--" too: a
    stand-in refuses what would be one, and asks the real one else.
    """
    openssl = tmp_path / 'openssl'
    openssl.write_text('#!/bin/sh\nfor last; do :; done\ncase $last in -*) '
                       'exit 99;; esac\nexec openssl "$@"\n')
    openssl.chmod(0o755)
    installation = support.Installation(
        tmp_path / 'root', support.find_python(
            support.available_pythons()[-1]), openssl=openssl)
    make_hook(installation).change(PPC, tlsciphers='-AES:HIGH')


VALIDATE = """
import json, sys
sys.path.insert(0, sys.argv[1])
import tlsciphers
answers = []
for value in json.load(sys.stdin):
    try:
        # As an environment variable: bytes on Python 2.
        pairs, notes = tlsciphers.validate_ciphers(
            tlsciphers.Setting('tlsciphers', str(value), 'tlsciphers'))
        answers.append((pairs, [str(note) for note in notes]))
    except tlsciphers.Refused as refusal:
        answers.append(str(refusal))
print(json.dumps(answers))
"""


def test_every_python_says_the_same(
        installation: support.Installation,
        newest_installation: support.Installation) -> None:
    values = GOOD_VALUES + [value for value, _ in
                            BAD_VALUES + OFFENDING + SURPRISES + IGNORED
                            if value.isascii()]

    def ask(installation: support.Installation) -> Any:
        process = subprocess.run(
            [installation.python, '-Bc', VALIDATE, installation.module.parent],
            input=json.dumps(values), capture_output=True, text=True)
        assert process.returncode == 0, process.stderr
        return json.loads(process.stdout)

    assert ask(installation) == ask(newest_installation)


@pytest.mark.parametrize('path', [
    '/usr/libexec/vdsm/hooks/faqemu', '/usr/local/bin/qemu-kvm',
    '/usr/bin/qemu', '/opt/qemu-system-x86_64',
    '/usr/bin/qemu-system-numa-wrapper', '/usr/bin/qemu-system-../x'])
def test_wrapper_of_another_hook_is_not_dropped(newest_hook: Hook,
                                                path: str) -> None:
    for emulator in ('<emulator>%s</emulator>', '<emulator text="%s"/>',
                     '<emulator><a/><a>%s</a></emulator>'):
        xml = X86.replace('<devices>', '<devices>' + emulator % path)
        assert path in newest_hook.refusal(xml, tlsciphers=GOOD_CIPHERS)


@pytest.mark.parametrize('declared, prefix', [
    ('', 'qemu'), ('xmlns:qemu="urn:a"', 'qemu_'),
    ('xmlns:qemu="urn:a" xmlns:qemu_="urn:b" xmlns:a="urn:c"', 'qemu__'),
    ('xmlns:a="http://libvirt.org/schemas/domain/qemu/1.0"', 'a')])
def test_prefix_is_one_that_is_free(newest_hook: Hook, declared: str,
                                    prefix: str) -> None:
    changed, _ = newest_hook.change(
        X86.replace('<domain ', '<domain %s ' % declared),
        tlsciphers=GOOD_CIPHERS)
    assert changed.count('xmlns:%s="%s"' % (prefix, QEMU.strip('{}'))) == 1
    assert '<%s:arg value="-vdsm-tls"/>' % prefix in changed


@pytest.mark.parametrize('xml, covered', [
    ('<d:domain xmlns:d="urn:d"><name>a</name><devices><emulator/>'
     '<graphics type="spice"/></devices></d:domain>', True),
    ('<d:domain xmlns:d="urn:d"><d:devices><emulator/><graphics type="spice"/>'
     '</d:devices></d:domain>', False),
    ('<domain><devices xmlns:d="urn:d"><d:graphics type="spice"/></devices>'
     '</domain>', False),
    ('<domain><devices><graphics xmlns="urn:d" type="spice"/></devices>'
     '</domain>', False),
    ('<domain xmlns="urn:d"><devices xmlns=""><graphics type="spice"/>'
     '</devices></domain>', True),
    ('<domain xmlns="urn:d"/>', False), ('<domain/>', False)])
def test_domain_is_seen_as_libvirt_sees_it(
        newest_hook: Hook, xml: str, covered: bool) -> None:
    """
    libvirt looks for children in no namespace, whatever that of the domain
    is; tests/libvirt/test_libvirt_parser.py compares the two.
    """
    changed, log = newest_hook.change(xml, tlsciphers=GOOD_CIPHERS)
    domain = parse(changed)
    assert [element.text for element in domain.findall('devices/emulator')
            ] == [str(newest_hook.installation.emulator)]
    assert [argument.get('value') for argument in domain.findall(
        '%scommandline/%sarg' % (QEMU, QEMU))] == [
            '-vdsm-tls', 'ciphers=' + GOOD_CIPHERS]
    assert len(log) == 1
    assert ('the SPICE console gets ' in log[0]) == covered
    assert newest_hook.change(changed, tlsciphers=GOOD_CIPHERS) == (
        changed, log)


PREFIXED = '<domain xmlns:x="urn:x"><devices>%s</devices>%s</domain>'


@pytest.mark.parametrize('xml', [
    PREFIXED % ('<graphics x:type="spice" tlsPort="5931"/>', ''),
    PREFIXED % ('<graphics type="sdl" x:type="spice"/>', ''),
    PREFIXED % ('<graphics xml:type="spice"/>', ''),
    PREFIXED % ('<graphics type="spice"><listen x:type="none"/></graphics>',
                ''),
    PREFIXED % ('<graphics type="spice"><a><channel x:mode="secure"/></a>'
                '</graphics>', ''),
    PREFIXED % ('<emulator x:text="/opt/x"/>', ''),
    PREFIXED % ('', '<commandline xmlns="%s"><arg x:value="-vnc"/>'
                '</commandline>' % QEMU.strip('{}'))])
def test_attribute_with_a_prefix_is_refused(hook: Hook, xml: str) -> None:
    """libvirt takes the first attribute of a local name, with any prefix."""
    line = hook.refusal(xml, tlsciphers=GOOD_CIPHERS)
    assert line.endswith(' [prefix]')
    assert re.search(' (x|xml):[a-z]+ of <[a-z]+> ', line)


def test_attributes_with_a_prefix_elsewhere_are_no_matter(
        newest_hook: Hook) -> None:
    newest_hook.change(PREFIXED % (
        '<graphics xmlns:y="urn:y" type="spice"/><x:graphics x:type="vnc"/>'
        '<disk x:a="b"/>', '<metadata><x:a x:b="c"/></metadata>'),
        tlsciphers=GOOD_CIPHERS)


# Each entity is ten of the one before.
LAUGHS = '<!DOCTYPE domain [<!ENTITY l0 "ha">%s]>' % ''.join(
    '<!ENTITY l%d "%s">' % (number + 1, '&l%d;' % number * 10)
    for number in range(12))


@pytest.mark.parametrize('encoding', ['utf-8', 'utf-16'])
@pytest.mark.parametrize('declaration', ['<!DOCTYPE domain>', LAUGHS])
def test_document_type_declaration_is_refused(
        hook: Hook, declaration: str, encoding: str) -> None:
    """Before what parses all of it: expat before 2.4 has no bounds."""
    xml = X86.replace('UTF-8', encoding).replace(
        '<domain ', declaration + '<domain ').replace(
        '</name>', '</name><title>%s</title>' % (
            '&l11;' if declaration == LAUGHS else ''))
    process = hook.run(xml.encode(encoding), tlsciphers=GOOD_CIPHERS)
    assert process.returncode == 2
    assert support.code_of(process.stderr.strip()) == 'domain-doctype'


def test_document_type_of_a_file_that_names_a_wrong_encoding_is_refused(
        newest_hook: Hook) -> None:
    """vdsm reads UTF-8 whatever is named, and would expand entities."""
    for encoding in 'utf-16', 'cp037', 'nosuch':
        xml = X86.replace('UTF-8', encoding).replace(
            '<domain ', LAUGHS + '<domain ')
        assert support.code_of(newest_hook.refusal(
            xml, tlsciphers=GOOD_CIPHERS)) == (
                'domain-xml' if encoding == 'nosuch' else 'domain-doctype')


def test_text_that_looks_like_a_document_type_is_none(
        newest_hook: Hook) -> None:
    newest_hook.change(X86.replace('</name>', (
        '</name><title><![CDATA[<!DOCTYPE a>]]></title><!-- <!DOCTYPE a> -->'
        )), tlsciphers=GOOD_CIPHERS)


@pytest.mark.parametrize('emulator', [
    '<emulator text="%s"/>',
    '<emulator text="%s">/usr/bin/qemu-kvm</emulator>',
    '<emulator>\n%s</emulator>', ''])
def test_emulator_is_ours_only_where_libvirt_takes_it_for_ours(
        newest_hook: Hook, emulator: str) -> None:
    changed, _ = newest_hook.change(X86, tlsciphers=GOOD_CIPHERS)
    path = str(newest_hook.installation.emulator)
    others = changed.replace('<emulator>%s</emulator>' % path,
                             emulator.replace('%s', path))
    assert others != changed
    assert canonical(parse(newest_hook.change(
        others, tlsciphers=GOOD_CIPHERS)[0])) == canonical(parse(changed))


@pytest.mark.parametrize('path', ['/usr/bin/qemu-kvm', '{0.qemu_kvm}',
                                  '{0.emulator}', '{0.wrapper}',
                                  '\n  /usr/bin/qemu-system-x86_64\n',
                                  '/usr/bin/<![CDATA[qemu-kvm]]>'])
def test_emulator_of_the_distribution_is_replaced(hook: Hook,
                                                  path: str) -> None:
    path = path.format(hook.installation)
    xml = X86.replace('<devices>', '<devices><emulator>%s</emulator>' % path)
    changed, _ = hook.change(xml, tlsciphers=GOOD_CIPHERS)
    assert parse(changed).findtext('devices/emulator') == str(
        hook.installation.emulator)


def test_missing_wrapper_is_named(hook: Hook) -> None:
    wrapper = hook.installation.wrapper
    away = wrapper.rename(wrapper.with_name('away'))
    try:
        line = hook.refusal(X86, tlsciphers=GOOD_CIPHERS)
    finally:
        away.rename(wrapper)
    assert str(hook.installation.emulator) in line
    assert support.code_of(line) == 'wrapper-missing'


def test_wrapper_that_is_not_executable_is_named(hook: Hook) -> None:
    wrapper = hook.installation.wrapper
    wrapper.chmod(0o644)
    try:
        line = hook.refusal(X86, tlsciphers=GOOD_CIPHERS)
    finally:
        wrapper.chmod(0o755)
    assert str(hook.installation.emulator) in line
    assert support.code_of(line) == 'wrapper-mode'


def test_write_that_fails_puts_the_old_bytes_back(hook: Hook) -> None:
    def limit_file_size() -> None:
        size = len(X86.encode()) + 10
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))

    hook.domxml.write_text(X86)
    process = subprocess.run(
        [hook.installation.hook], capture_output=True, text=True,
        preexec_fn=limit_file_size,
        env={'PATH': '/usr/bin:/bin', 'tlsciphers': GOOD_CIPHERS,
             'PYTHONPATH': str(support.TESTS / 'standin'),
             '_hook_domxml': str(hook.domxml)})
    assert process.returncode == 2
    assert hook.domxml.read_text() == X86
    line, = process.stderr.splitlines()
    assert support.code_of(line) == 'domain-xml-unwritable'
    assert 'unchanged' in line


@pytest.mark.parametrize('xml', [
    '', '<domain>', '<domain><\x00/></domain>',
    '<domain x:y="\'"/>', '<?xml version="1.0" encoding="UTF-7"?><domain/>',
    '<?xml version="1.0" encoding="no-such"?><domain/>',
    '<?xml version="1.0" encoding="idna"?><domain/>',
    *['<domain>%s</domain>' % part % ('<a>' * 3000 + '</a>' * 3000) for part in
      ('%s', '<devices><graphics>%s</graphics></devices>',
       '<devices><emulator>%s</emulator></devices>')]],
    ids=range(10))
def test_xml_that_cannot_be_parsed_is_not_our_mistake(
        hook: Hook, xml: str) -> None:
    line = hook.refusal(xml, tlsciphers=GOOD_CIPHERS)
    assert line.endswith(' [domain-xml]')


def test_xml_that_is_not_there_is_not_our_mistake(hook: Hook) -> None:
    process = hook.run('', tlsciphers=GOOD_CIPHERS,
                       environment={'_hook_domxml': '/nonexistent'})
    assert process.returncode == 2
    assert process.stderr.endswith(' [domain-xml]\n')


@pytest.mark.parametrize('xml, properties', [
    (X86, {'tlsciphers': 'NOSUCH'}), (X86, {'tlsgroups': 'X25518'}),
    ('<domain>', {'tlsciphers': GOOD_CIPHERS})])
def test_resume_is_never_refused(hook: Hook, xml: str,
                                 properties: dict[str, str]) -> None:
    changed, log = hook.change(xml, start=False, **properties)
    assert changed == xml
    assert len(log) == 1
    assert ' (not refused: the VM resumes' in log[0]
    assert support.code_of(log[0])


def test_resume_without_a_folder_of_its_own_is_one(hook: Hook) -> None:
    hook.change(X86, tlsciphers='NOSUCH', environment={
        'vmId': support.VM_ID.replace('3', '4').upper()})


@pytest.mark.parametrize('vm_id', [
    None, '', '.', '..', '../x', '/etc', 'VMID', support.VM_ID + '/../x',
    support.VM_ID + '\n', support.VM_ID.replace('-', ''), '----',
    support.VM_ID.replace('3', 'g')])
def test_vm_without_a_good_id_starts(hook: Hook, vm_id: str | None) -> None:
    """So a refusal stays one."""
    environment = support.hook_environment(
        hook.domxml, tlsciphers='NOSUCH',
        **({} if vm_id is None else {'vmId': vm_id}))
    hook.domxml.write_text(X86)
    hook.installation.run_dir.mkdir(parents=True, exist_ok=True)
    process = subprocess.run([hook.installation.hook], capture_output=True,
                             text=True, env=environment)
    assert process.returncode == 2, process.stderr


def no_run_dir(run_dir: pathlib.Path) -> None:
    shutil.rmtree(run_dir)


def run_dir_is_a_file(run_dir: pathlib.Path) -> None:
    shutil.rmtree(run_dir)
    run_dir.write_text('')


def folder_is_a_file(run_dir: pathlib.Path) -> None:
    shutil.rmtree(run_dir / support.VM_ID)
    (run_dir / support.VM_ID).write_text('')


def folder_is_a_dangling_link(run_dir: pathlib.Path) -> None:
    shutil.rmtree(run_dir / support.VM_ID)
    (run_dir / support.VM_ID).symlink_to('nowhere')


def flags_are_a_dangling_link(run_dir: pathlib.Path) -> None:
    (run_dir / support.VM_ID / 'launchflags').symlink_to('nowhere')


def flags_are_a_folder(run_dir: pathlib.Path) -> None:
    (run_dir / support.VM_ID / 'launchflags').mkdir()


def folder_cannot_be_read(run_dir: pathlib.Path) -> None:
    (run_dir / support.VM_ID).chmod(0)


def run_dir_cannot_be_read(run_dir: pathlib.Path) -> None:
    run_dir.chmod(0o100)


@pytest.mark.parametrize('make', [
    no_run_dir, run_dir_is_a_file, folder_is_a_file, folder_is_a_dangling_link,
    flags_are_a_dangling_link, flags_are_a_folder, folder_cannot_be_read,
    run_dir_cannot_be_read])
def test_where_a_resume_cannot_be_told_it_is_a_start(
        hook: Hook, make: Callable[[pathlib.Path], None]) -> None:
    run_dir = hook.installation.run_dir
    hook.change(X86, tlsciphers='NOSUCH', start=False)
    make(run_dir)
    # Root can read everything, as long as it has its capabilities.
    drop = (['setpriv', '--bounding-set=-all'] if os.geteuid() == 0 else [])
    try:
        process = subprocess.run(
            [*drop, hook.installation.hook], capture_output=True, text=True,
            env=support.hook_environment(hook.domxml, vmId=support.VM_ID,
                                         tlsciphers='NOSUCH'))
    finally:
        if run_dir.is_file():
            run_dir.unlink()
        if run_dir.exists():
            run_dir.chmod(0o755)
            folder = run_dir / support.VM_ID
            if folder.is_dir():
                folder.chmod(0o755)
            shutil.rmtree(run_dir)
    assert process.returncode == 2, process.stderr
    assert 'NOSUCH' in process.stderr


def test_missing_openssl_is_named(make_hook: MakeHook,
                                  tmp_path: pathlib.Path) -> None:
    installation = support.Installation(
        tmp_path / 'root', support.find_python(
            support.available_pythons()[-1]), openssl='/nonexistent/openssl')
    line = make_hook(installation).refusal(X86, tlsciphers=GOOD_CIPHERS)
    assert '/nonexistent/openssl: No such file' in line


@pytest.mark.parametrize('environment', [{}, {'_hook_domxml': '/a'}])
@pytest.mark.parametrize('option', ['-h', '--help'])
def test_help_explains(installation: support.Installation, option: str,
                       environment: dict[str, str]) -> None:
    process = subprocess.run([installation.hook, option], env=environment,
                             capture_output=True, text=True)
    assert process.returncode == 0
    text = str(ast.get_docstring(ast.parse(
        installation.hook.read_text()), clean=False))
    assert process.stdout == (
        'usage: 50_emulator [--help] [--test]\n' + text)
    assert process.stderr == ''


def test_run_by_hand_it_explains(installation: support.Installation) -> None:
    process = subprocess.run([installation.hook], env={},
                             capture_output=True, text=True)
    assert process.returncode == 2
    assert process.stderr.startswith(
        '50_emulator: there is no _hook_domxml in the environment: this is a '
        'hook that vdsm runs [no-hooking]\n\nvdsm hook: ')


def test_unknown_option_is_refused(installation: support.Installation) -> None:
    process = subprocess.run([installation.hook, '--tset'], env={},
                             capture_output=True, text=True)
    assert process.returncode == 2
    assert process.stderr == (
        'usage: 50_emulator [--help] [--test]\n'
        '50_emulator: error: unrecognized arguments: --tset\n')


@pytest.mark.parametrize('option', ['-t', '--test'])
@pytest.mark.parametrize('environment, shown', [
    ({}, 'ECDHE-RSA-AES256-GCM-SHA384:ECDHE-RSA-AES128-GCM-SHA256'),
    ({'tlsciphers': 'AES256-SHA'}, 'AES256-SHA'),
])
def test_test_shows_a_sample_before_and_after(
        installation: support.Installation, environment: dict[str, str],
        shown: str, option: str) -> None:
    process = subprocess.run([installation.hook, option], env=environment,
                             capture_output=True, text=True)
    assert process.returncode == 0, process.stderr
    before, after = process.stdout.split('\n\nAfter:\n')
    assert before.startswith('Before:\n<domain type="kvm">\n')
    assert 'vdsm-tls' not in before
    assert 'value="ciphers=%s"' % shown in after
    assert str(installation.emulator) in after
    log = after.split('</domain>\n\n')[1]
    assert [line.partition(': ')[0] for line in log.splitlines()] == [
        'vdsm.log', 'vdsm.log']
    assert support.codes_of(log.splitlines()) == [
        'policy-set', 'console-not-covered']


def test_test_shows_what_changes_nothing(
        newest_installation: support.Installation) -> None:
    process = subprocess.run([newest_installation.hook, '--test'],
                             env={'tlsprofile': 'none'}, capture_output=True,
                             text=True)
    before, after = process.stdout.split('\n\nAfter:\n')
    xml, log = after.split('\n\n')
    # Before Python 3.8 the attributes come in another order.
    assert canonical(parse(xml)) == canonical(parse(
        before.replace('Before:\n', '')))
    assert support.codes_of(log.splitlines()) == ['profile-none']


def test_test_refuses_as_a_start_would(
        installation: support.Installation) -> None:
    process = subprocess.run([installation.hook, '--test'],
                             env={'tlsciphers': 'eNULL:@SECLEVEL=0'},
                             capture_output=True, text=True)
    assert process.returncode == 1
    line, = process.stderr.splitlines()
    assert line.startswith('50_emulator: tlsciphers: eNULL:@SECLEVEL=0: ')
    assert support.code_of(line) == 'insecure-suite'


@pytest.mark.parametrize('name, properties, status', [
    ('HostedEngine', {}, 0), ('HostedEngine', {'tlsciphers': 'HIGH'}, 2),
    ('a', {}, 2)])
def test_vdsm_without_hooking_is_named(
        hook: Hook, name: str, properties: dict[str, str], status: int,
        ) -> None:
    host_default = hook.installation.host_default
    host_default.parent.mkdir(parents=True, exist_ok=True)
    host_default.write_text('[default]\n')
    try:
        process = hook.run(
            '<domain><name>%s</name></domain>' % name,
            environment={'PYTHONPATH': '/nonexistent', **properties})
    finally:
        host_default.unlink()
    assert process.returncode == status
    line, = process.stderr.splitlines()
    assert support.code_of(line) == 'no-hooking'


def test_nothing_is_left_beside_what_the_hook_reads(
        hook: Hook, tmp_path: pathlib.Path) -> None:
    hooking = tmp_path / 'hooking' / 'hooking.py'
    hooking.parent.mkdir()
    hooking.write_bytes((support.TESTS / 'standin/hooking.py').read_bytes())
    folders = [path.parent for path in (
        hook.installation.hook, hook.installation.module, hooking)]
    before = [set(folder.iterdir()) for folder in folders]
    hook.change(X86, tlsciphers=GOOD_CIPHERS,
                environment={'PYTHONPATH': str(hooking.parent)})
    assert [set(folder.iterdir()) for folder in folders] == before


def test_compiled_modules_count_for_their_own_source_alone(
        tmp_path: pathlib.Path, make_hook: MakeHook,
        installation: support.Installation) -> None:
    hook = make_hook(support.Installation(tmp_path, installation.python))
    hook.installation.byte_compile()
    module = hook.installation.values_module

    def refusal(**environment: str) -> str:
        return hook.run(X86, environment=environment, tlsciphers='A,B').stderr

    assert re.search('(precompiled from|code object from) .?%s.*[.]pyc'
                     % module.parent, refusal(PYTHONVERBOSE='1'))
    assert 'a comma is not allowed' in refusal()
    status = module.stat()
    module.write_text(module.read_text().replace("'a comma'", "'A COMMA'"))
    # Before Python 3.7 only the time tells a source of the same size.
    knows_hashes = subprocess.run(
        [installation.python, '-c', 'import py_compile; '
         'py_compile.PycInvalidationMode'], capture_output=True)
    later = 10 if knows_hashes.returncode else 0
    os.utime(module, (status.st_atime, status.st_mtime + later))
    assert 'A COMMA is not allowed' in refusal()
