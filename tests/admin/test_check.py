# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""vdsm-tlsciphers check: what a value would do."""

from __future__ import annotations

import json
import pathlib
import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol
from xml.sax import saxutils

import pytest

import support
from support import GOOD_CIPHERS, SEED_CIPHERS

if TYPE_CHECKING:
    from conftest import Command

SPICE, VNC = (support.lab_domain(console) for console in ('spice', 'vnc'))
BOTH = support.lab_domain('spice', 'vnc')
MODERN = ['TLS_AES_128_GCM_SHA256', 'TLS_AES_256_GCM_SHA384',
          'TLS_CHACHA20_POLY1305_SHA256']


WriteFile = Callable[[str], pathlib.Path]


class Hook(Protocol):
    """What the tests use of the fixture newest_hook."""

    def change(self, xml: str, **properties: str) -> tuple[str, list[str]]: ...

    def refusal(self, xml: str, **properties: str) -> str: ...


def check(command: Command, *arguments: str | pathlib.Path,
          status: int = 0) -> Any:
    process = command.run('check', '--json', *arguments)
    assert process.returncode == status, process.stderr + process.stdout
    assert process.stderr == ''
    return json.loads(process.stdout)


@pytest.fixture
def xml_file(tmp_path: pathlib.Path) -> WriteFile:
    """A function that makes a file of a domain XML: its path."""
    def xml_file(xml: str) -> pathlib.Path:
        path = tmp_path / 'domain.xml'
        path.write_text(xml)
        return path
    return xml_file


def of_engine(xml: str, **properties: str) -> str:
    """Return a domain XML with custom properties, as the engine sends it."""
    return xml.replace('</name>', (
        '</name><metadata xmlns:ovirt-vm="http://ovirt.org/vm/1.0">'
        '<ovirt-vm:vm><ovirt-vm:device devtype="disk"><ovirt-vm:custom>'
        '<ovirt-vm:tlsprofile>of-a-device</ovirt-vm:tlsprofile>'
        '</ovirt-vm:custom></ovirt-vm:device><ovirt-vm:custom>%s'
        '</ovirt-vm:custom></ovirt-vm:vm></metadata>') % ''.join(
            '<ovirt-vm:%s>%s</ovirt-vm:%s>' % (name, saxutils.escape(value),
                                               name)
            for name, value in properties.items()))


def test_profile_shows_the_suites_of_both_displays(command: Command) -> None:
    document = check(command, 'tlsprofile=modern')
    for display in ('spice', 'vnc'):
        assert document['displays'][display]['protocols'] == {
            'TLSv1.3': MODERN}
    assert document['findings'] == []
    assert document['displays']['spice']['groups'] == [
        'X25519', 'prime256v1', 'secp384r1']


def test_list_shows_what_a_console_can_use_of_it(
        newest_command: Command) -> None:
    suites = check(newest_command, 'tlsciphers=' + SEED_CIPHERS, status=1)[
        'displays']['spice']['protocols']['TLSv1.2']
    assert len(suites) == 16
    assert not [suite for suite in suites if suite.startswith('DHE')
                or 'ECDSA' in suite]


@pytest.mark.parametrize('value, name', [
    ('modern', 'tlsprofile'), ('none', 'tlsprofile'),
    ('TLSv1.3', 'tlsprotocols'), ('NORMAL:-VERS-TLS1.0', 'tlspriority'),
    ('SECURE256', 'tlspriority'), (GOOD_CIPHERS, 'tlsciphers'),
    ('@SECLEVEL=2:HIGH', 'tlsciphers'), ('tlsciphers=modern', 'tlsciphers'),
    ('frobnicate', 'tlsciphers')])
def test_value_without_a_name_is_taken_for_what_it_looks_like(
        newest_command: Command, value: str, name: str) -> None:
    process = newest_command.run('check', '--json', value)
    assert list(json.loads(process.stdout)['properties']) == [name]


def test_property_is_the_text_of_its_element_alone(
        newest_command: Command, xml_file: WriteFile) -> None:
    xml = of_engine(BOTH, tlsprofile='modern').replace(
        '>modern<', '>mod<!-- not this -->e<b>nor this</b><![CDATA[rn]]><')
    assert check(newest_command, '--xml', xml_file(xml))['properties'] == {
        'tlsprofile': 'modern'}


@pytest.mark.parametrize('port', ['\u00b2', '5' * 5000],
                         ids=['superscript', 'long'])
def test_impossible_port_is_passed_over(
        newest_command: Command, xml_file: WriteFile, port: str) -> None:
    xml = VNC.replace('websocket="-1"', 'websocket="%s"' % port)
    assert list(check(newest_command, '--xml', xml_file(xml),
                      'tlsprofile=modern')['displays']) == ['vnc']


def test_ignored_words_are_findings(newest_command: Command) -> None:
    document = check(newest_command, GOOD_CIPHERS + ':FOO', status=1)
    assert document['findings'] == [
        'tlsciphers: OpenSSL ignores FOO: no suite here has that name']


def test_what_follows_from_good_properties_is_a_note(
        newest_command: Command) -> None:
    document = check(newest_command, 'tlsprofile=intermediate',
                     'tlsprotocols=TLSv1.3')
    note, = document['notes']
    assert 'the suites for TLS 1.2 have no effect' in note
    assert document['findings'] == []
    note, = check(newest_command, 'none')['notes']
    assert 'the default of this host does not apply to this VM' in note
    assert '\nNote: ' + note in newest_command.run('check', 'none').stdout


def test_missing_program_is_no_refusal(tmp_path: pathlib.Path) -> None:
    """As on a laptop without gnutls-utils."""
    installation = support.Installation(
        tmp_path, sys.executable, gnutls_cli='/nonexistent/gnutls-cli')
    process = subprocess.run([installation.command, 'check', 'modern'],
                             capture_output=True, text=True)
    assert (process.returncode, process.stdout, process.stderr) == (
        2, '', 'vdsm-tlsciphers: cannot check the values: cannot run '
        '/nonexistent/gnutls-cli: No such file or directory; install '
        'gnutls-utils\n')


def test_refusal_is_that_of_the_hook(newest_command: Command,
                                     newest_hook: Hook) -> None:
    value = 'AES256-SHA,disable-ticketing=on'
    document = check(newest_command, 'tlsciphers=' + value, status=1)
    assert document['refused'] == newest_hook.refusal(BOTH, tlsciphers=value)
    assert document['displays'] == {}


def test_client_without_a_common_suite_is_a_finding(
        newest_command: Command) -> None:
    arguments = ('tlsciphers=AES256-SHA', 'tlsprotocols=TLSv1.2')
    assert not check(newest_command, *arguments)['findings']
    finding, = check(newest_command, *arguments, '--engine-ciphers',
                     'ECDHE+AESGCM', status=1)['findings']
    assert 'CipherSuite ECDHE+AESGCM has nothing in common' in finding


def test_novnc_without_a_common_version_is_a_finding(
        newest_command: Command) -> None:
    document = check(newest_command,
                     'tlspriority=NORMAL:-VERS-ALL:+VERS-TLS1.1', status=1)
    assert [finding for finding in document['findings']
            if 'noVNC' in finding and 'nothing in common' in finding]


def test_vm_shows_only_its_own_displays(newest_command: Command,
                                        xml_file: WriteFile) -> None:
    document = check(newest_command, '--xml', xml_file(VNC), 'modern')
    assert list(document['displays']) == ['vnc']
    assert document['vm'] == 'lab'


def test_display_of_a_vm_that_is_not_covered_is_a_finding(
        newest_command: Command, xml_file: WriteFile) -> None:
    finding, = check(newest_command, '--xml', xml_file(BOTH), GOOD_CIPHERS,
                     status=1)['findings']
    assert 'the VNC console of this VM is not covered' in finding
    check(newest_command, '--xml', xml_file(SPICE), GOOD_CIPHERS)


def test_properties_of_a_vm_are_those_of_the_engine(
        newest_command: Command, xml_file: WriteFile) -> None:
    document = check(newest_command, '--xml', xml_file(
        of_engine(BOTH, tlsprofile='modern')))
    assert document['properties'] == {'tlsprofile': 'modern'}


def test_policy_that_a_vm_carries_is_checked(newest_command: Command,
                                             newest_hook: Hook,
                                             xml_file: WriteFile) -> None:
    policy = {'tlsciphers': GOOD_CIPHERS + ':' + MODERN[0],
              'tlsgroups': 'P-384', 'tlspriority': 'NORMAL:-VERS-TLS1.0'
              ':-VERS-TLS1.1', 'tlsprotocols': 'TLSv1.2:TLSv1.3'}
    xml, _ = newest_hook.change(BOTH, **policy)
    document = check(newest_command, '--xml', xml_file(xml))
    assert document['properties'] == policy


@pytest.mark.parametrize('text, words', [
    ('', 'cannot be read'), ('<a/>', 'no domain XML'), ('\0', 'cannot be'),
    ('<!DOCTYPE a><domain/>', 'DOCTYPE')])
def test_file_that_is_no_domain_xml_is_a_problem(
        newest_command: Command, xml_file: WriteFile, text: str,
        words: str) -> None:
    assert words in newest_command.problem('check', '--xml', xml_file(text),
                                           'modern')


@pytest.mark.parametrize('arguments, words', [
    ((), 'nothing to check'), (('modern', 'intermediate'), 'given twice'),
    (('tlscipher=AES',), 'no such property'),
    (('--xml', '/nonexistent', 'modern'), 'No such file'),
    (('modern', '--engine-ciphers', 'FOO'), 'no suite at all')])
def test_problems_are_named(newest_command: Command, arguments: Sequence[str],
                            words: str) -> None:
    assert words in newest_command.problem('check', *arguments)


def test_default_of_the_host_counts_where_there_is_one(
        newest_command: Command) -> None:
    path = newest_command.installation.host_default
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text('[default]\ntlsprofile = modern\n')
    try:
        document = check(newest_command, 'tlsprotocols=TLSv1.3')
    finally:
        path.unlink()
    assert document['displays']['vnc']['protocols'] == {'TLSv1.3': MODERN}
    assert not document['displays']['vnc']['policy']['priority']['required']
