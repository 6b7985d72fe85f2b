# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""vdsm-tlsciphers check: what a value would do."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Protocol
from xml.sax import saxutils

import pytest

import servers
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


@pytest.fixture(scope='module')
def certificate(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    return servers.make_certificate(tmp_path_factory.mktemp('pki'), 'check')


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
        newest_command: Command, certificate: pathlib.Path) -> None:
    """With neither parameters for DHE nor an ECDSA certificate."""
    suites = check(newest_command, 'tlsciphers=' + SEED_CIPHERS, status=1)[
        'displays']['spice']['protocols']['TLSv1.2']
    with servers.openssl(certificate, '-cipher', SEED_CIPHERS, '-no_dhe',
                         conf='/etc/ssl/openssl.cnf') as port:
        assert set(suites) == {
            suite for suite in support.suites(SEED_CIPHERS, '-tls1_2')
            if support.accepts(port, suite)}


@pytest.mark.parametrize('value, name', [
    ('modern', 'tlsprofile'), ('none', 'tlsprofile'),
    ('TLSv1.3', 'tlsprotocols'), ('NORMAL:-VERS-TLS1.0', 'tlspriority'),
    ('SECURE256', 'tlspriority'), (GOOD_CIPHERS, 'tlsciphers'),
    ('normal:-VERS-ALL', 'tlspriority'), ('%COMPAT', 'tlspriority'),
    ('X25519:P-256', 'tlsgroups'), ('secp384r1', 'tlsgroups'),
    ('p-256', 'tlsgroups'), ('X25519MLKEM768', 'tlsgroups'),
    ('GROUP-FFDHE2048', 'tlsgroups'), ('brainpoolP256r1', 'tlsgroups'),
    ('TLSv1.1', 'tlsprotocols'), ('TLS1.3', 'tlsprotocols'),
    ('tls 1.2', 'tlsprotocols'), ('SSLv3', 'tlsprotocols'),
    ('TLSv1.3:TLSv1.2', 'tlsprotocols'), ('1.3', 'tlsprotocols'),
    ('Modern', 'tlsprofile'), ('TLSv1.2:!aNULL', 'tlsciphers'),
    ('TLS_AES_256_GCM_SHA384', 'tlsciphers'), ('AES128', 'tlsciphers'),
    ('@SECLEVEL=2:HIGH', 'tlsciphers'), ('tlsciphers=modern', 'tlsciphers'),
    ('+vdsm-tls', 'extra_cpu_flags'), ('vdsm-tls', 'extra_cpu_flags'),
    ('+vmx,-vdsm-tls', 'extra_cpu_flags'), ('+vdsm_tls', 'extra_cpu_flags'),
    ('@SECLEVEL=1', 'tlsciphers'), ('HIGH:@SECLEVEL=1', 'tlsciphers'),
    ('frobnicate', 'tlsciphers')])
def test_value_without_a_name_is_taken_for_what_it_looks_like(
        newest_command: Command, value: str, name: str) -> None:
    process = newest_command.run('check', '--json', value)
    assert list(json.loads(process.stdout)['properties']) == [name]


def test_console_in_the_metadata_is_none(newest_command: Command,
                                         xml_file: WriteFile) -> None:
    path = xml_file(SPICE.replace('</name>', (
        '</name><metadata><x:device xmlns:x="urn:x"><devices>'
        '<graphics type="vnc"/></devices><graphics type="vnc"/></x:device>'
        '</metadata>')))
    document = check(newest_command, '--xml', path, 'tlsprofile=modern')
    assert list(document['displays']) == ['spice']


def test_mistyped_value_is_refused_with_what_it_was_taken_for(
        newest_command: Command) -> None:
    document = check(newest_command, 'modren', status=1)
    assert document['refusal']['code'] == 'no-suite'
    note, = document['notes']
    assert 'taken for tlsciphers' in note
    assert 'intermediate, modern, none' in note
    # What is right is not known, so nothing is to be changed for it.
    assert document['start'] is None
    assert check(newest_command, 'tlsciphers=modren', status=1)['start']
    assert not check(newest_command, 'tlsciphers=modren', status=1)['notes']


@pytest.mark.parametrize('value', ['TLS_AES_128_GCM_SHA512', 'NORMAL:+FOO',
                                   'X25519:P-257', 'TLSv1.1'])
def test_nothing_is_to_be_changed_for_a_value_that_was_only_guessed(
        newest_command: Command, value: str) -> None:
    document = check(newest_command, value, '+vdsm-tls', status=1)
    name, = set(document['properties']) - {'extra_cpu_flags'}
    assert document['start'] is None
    assert check(newest_command, name + '=' + value, '+vdsm-tls', status=1)[
        'start']


@pytest.mark.parametrize('values', [
    ['extra_cpu_flag=+vdsm-tls', 'modern'], ['tls_profile=modern'],
    ['tls-profile=modern'], ['profile=modern'], ['tlsprofile =modern'],
    ['Extra_CPU_Flags=+vdsm-tls'], ['=modern']])
def test_name_that_is_no_property_is_no_cipher_list(
        newest_command: Command, values: list[str]) -> None:
    process = newest_command.run('check', *values)
    assert (process.returncode, process.stdout) == (2, '')
    line, = process.stderr.splitlines()
    assert line.endswith(' [no-such-property]')


@pytest.mark.parametrize('name, value', [
    ('tlsprofile', 'modern'), ('extra_cpu_flags', '+vdsm-tls'),
    ('tlspriority', 'NORMAL:-VERS-TLS1.2')])
@pytest.mark.parametrize('blank', [True, False])
def test_name_without_its_value_is_no_cipher_list(
        newest_command: Command, name: str, value: str, blank: bool) -> None:
    process = newest_command.run(
        'check', *([name + '=', value] if blank else [name]))
    assert (process.returncode, process.stdout) == (2, '')
    line, = process.stderr.splitlines()
    assert line.startswith('vdsm-tlsciphers: %s: ' % name)
    assert line.endswith('[no-value]')


def test_help_names_each_property_that_a_value_is_taken_for(
        newest_command: Command) -> None:
    words = newest_command.run('check', '--help').stdout.partition(
        'A value without a NAME')[2].partition('\n\n')[0]
    for name in ('tlsprofile', 'tlsprotocols', 'tlsgroups', 'tlspriority',
                 'tlsciphers', 'extra_cpu_flags'):
        assert name in words, name


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
    document = check(newest_command, 'intermediate', 'tlsciphers='
                     + GOOD_CIPHERS + ':FOO', status=1)
    detail, = document['details']
    assert (detail['code'], detail['severity']) == ('ignored-token', 'medium')


def test_what_follows_from_good_properties_is_a_note(
        newest_command: Command) -> None:
    document = check(newest_command, 'tlsprofile=intermediate',
                     'tlsprotocols=TLSv1.3')
    note, = document['notes']
    assert note.endswith(' [suites-without-effect]')
    assert document['findings'] == []
    note, = check(newest_command, 'none', status=1)['notes']
    assert note.endswith(' [profile-none]')
    assert '\nNote: ' + note in newest_command.run('check', 'none').stdout


def test_missing_program_is_no_refusal(tmp_path: pathlib.Path) -> None:
    """As on a laptop without gnutls-utils."""
    installation = support.Installation(
        tmp_path, sys.executable, gnutls_cli='/nonexistent/gnutls-cli')
    process = subprocess.run([installation.command, 'check', 'modern'],
                             capture_output=True, text=True)
    assert (process.returncode, process.stdout) == (2, '')
    assert process.stderr.endswith('; install gnutls-utils [cannot-run]\n')


def test_program_that_may_not_be_run_is_not_one_to_install(
        tmp_path: pathlib.Path) -> None:
    gnutls_cli = tmp_path / 'gnutls-cli'
    gnutls_cli.write_text('x')
    installation = support.Installation(tmp_path / 'root', sys.executable,
                                        gnutls_cli=gnutls_cli)
    process = subprocess.run([installation.command, 'check', 'modern'],
                             capture_output=True, text=True)
    assert process.returncode == 2
    assert 'Permission denied' in process.stderr
    assert 'install gnutls-utils' not in process.stderr


def test_refusal_is_that_of_the_hook(newest_command: Command,
                                     newest_hook: Hook) -> None:
    value = 'AES256-SHA,disable-ticketing=on'
    document = check(newest_command, 'tlsciphers=' + value, status=1)
    assert document['refused'] == newest_hook.refusal(BOTH, tlsciphers=value)
    assert document['displays'] == {}


@pytest.mark.parametrize('arguments, code', [
    (['tlsciphers=AES256-SHA,x'], 'character'),
    (['tlsprofile=Modern'], 'unknown-profile')])
def test_refusal_comes_with_code_and_remedy(
        newest_command: Command, arguments: list[str], code: str) -> None:
    document = check(newest_command, *arguments, status=1)
    assert document['refusal']['code'] == code
    assert document['refusal']['remedy']
    assert document['refusal']['severity'] == 'high'
    printed = newest_command.run('check', *arguments).stdout
    assert ': %s\n' % document['refusal']['finding'] in printed
    assert check(newest_command, 'modern')['refusal'] is None


@pytest.mark.parametrize('values', [
    ['tlsciphers=' + GOOD_CIPHERS + ':FOO'], ['tlsciphers=' + MODERN[1]],
    ['tlsgroups=X25519', 'tlsciphers=HIGH'], ['tlspriority=NORMAL'],
    ['tlsciphers=HIGH:@SECLEVEL=3'], ['tlsciphers=HIGH:@SECLEVEL=0:!aNULL'],
    ['tlspriority=NORMAL:-VERS-ALL:+VERS-TLS1.2:-KX-ALL:+DHE-RSA:+ECDHE-RSA'],
    ['tlsgroups=P-224']])
def test_each_finding_ends_with_its_code(newest_command: Command,
                                         values: list[str]) -> None:
    document = check(newest_command, *values, status=1)
    for detail in document['details']:
        assert detail['finding'].endswith(' [%s]' % detail['code'])
        assert '[' not in detail['text'] + (detail['remedy'] or '')
    assert document['findings'] == [
        detail['finding'] for detail in document['details']]


@pytest.mark.parametrize('xml, value', [
    (VNC, 'tlsprofile=modern'), (SPICE, 'tlsprofile=modern'),
    (BOTH, 'tlsciphers=' + GOOD_CIPHERS)], ids=['vnc', 'spice', 'both'])
def test_only_a_property_stands_before_its_line(
        newest_command: Command, xml_file: WriteFile, xml: str,
        value: str) -> None:
    """The package has the name of one of its properties."""
    process = newest_command.run('check', '--xml', xml_file(xml), value)
    assert ' of this VM is not covered' in process.stdout or (
        'Note: this VM has no ' in process.stdout)
    assert not re.search('vdsm-hook-tlsciphers: ', process.stdout)


def test_property_stays_before_what_is_wrong_with_it(
        newest_command: Command) -> None:
    document = check(newest_command, 'tlsciphers=' + 'AES256-SHA:' * 30,
                     status=1)
    assert document['refusal']['text'].startswith('tlsciphers: the list has ')


def test_file_that_the_hook_refuses_is_named_by_the_command_alone(
        newest_command: Command, xml_file: WriteFile) -> None:
    path = xml_file(VNC.replace('type="vnc"', 'xmlns:x="x" x:type="vnc"'))
    line = newest_command.problem('check', '--xml', path, 'modern')
    assert line.startswith('vdsm-tlsciphers: the attribute x:type ')
    assert line.endswith(' [prefix]')


def test_client_without_a_common_suite_is_a_finding(
        newest_command: Command) -> None:
    arguments = ('tlsciphers=AES256-SHA', 'tlsprotocols=TLSv1.2',
                 'tlspriority=NORMAL', '--baseline', 'none')
    before = codes(check(newest_command, *arguments, status=1))
    assert 'client-cannot-connect' not in before
    document = check(newest_command, *arguments, '--engine-ciphers',
                     'ECDHE+AESGCM', status=1)
    assert codes(document) - before == {'client-cannot-connect'}
    finding, = [detail['finding'] for detail in document['details']
                if detail['code'] == 'client-cannot-connect']
    assert 'CipherSuite ECDHE+AESGCM' in finding


def test_novnc_without_a_common_version_is_a_finding(
        newest_command: Command) -> None:
    document = check(newest_command,
                     'tlspriority=NORMAL:-VERS-ALL:+VERS-TLS1.1', status=1)
    assert [detail for detail in document['details']
            if 'noVNC' in detail['text']
            and detail['code'] == 'client-cannot-connect']


def test_vm_shows_only_its_own_displays(newest_command: Command,
                                        xml_file: WriteFile) -> None:
    document = check(newest_command, '--xml', xml_file(VNC), 'modern')
    assert list(document['displays']) == ['vnc']
    assert document['vm'] == 'lab'


def test_display_of_a_vm_that_is_not_covered_is_a_finding(
        newest_command: Command, xml_file: WriteFile) -> None:
    arguments = GOOD_CIPHERS, '--baseline', 'none'
    finding, = check(newest_command, '--xml', xml_file(BOTH), *arguments,
                     status=1)['findings']
    assert 'the VNC console of this VM is not covered' in finding
    check(newest_command, '--xml', xml_file(SPICE), *arguments)


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
    document = check(newest_command, '--xml', xml_file(xml), '--baseline',
                     'none')
    assert document['properties'] == policy


@pytest.mark.parametrize('text, code', [
    ('', 'xml-malformed'), ('<a/>', 'xml-no-domain'), ('\0', 'xml-malformed'),
    ('<domain>&nothing;</domain>', 'xml-malformed'),
    ('<?xml version="1.0" encoding="utf-7"?><domain/>', 'xml-malformed'),
    ('<?xml version="1.0" encoding="no-such"?><domain/>', 'xml-malformed'),
    ('<?xml version="1.0" encoding="gb2312"?><domain/>', 'xml-malformed'),
    ('<!DOCTYPE a><domain/>', 'xml-doctype'),
    ('<!DOCTYPE a [<!ENTITY b "%s">]><domain>&b;</domain>' % ('b' * 999),
     'xml-doctype'),
    ('<domain>%s</domain>' % ('<a>' * 3000 + '</a>' * 3000), 'xml-too-large'),
    ('<domain>%s</domain>' % ('<a/>' * 200000), 'xml-too-large'),
    ('<domain>%s</domain>' % (' ' * (5 << 20)), 'file-too-large')],
    ids=map(str, range(12)))
def test_file_that_is_no_domain_xml_is_a_problem(
        newest_command: Command, xml_file: WriteFile, text: str,
        code: str) -> None:
    line = newest_command.problem('check', '--xml', xml_file(text), 'modern')
    assert line.endswith(' [%s]' % code)
    assert len(line) < 300


def test_input_without_an_end_is_read_to_a_bound(newest_command: Command,
                                                 ) -> None:
    process = subprocess.run(
        ['sh', '-c', 'ulimit -v 400000; exec "$0" check --xml /dev/zero '
         'modern', newest_command.installation.command], capture_output=True,
        text=True)
    assert (process.returncode, process.stdout) == (2, '')
    assert process.stderr.endswith(' [not-a-regular-file]\n')


@pytest.mark.parametrize('arguments, code', [
    ((), 'nothing-to-check'), (('modern', 'intermediate'), 'property-twice'),
    (('tlscipher=AES',), 'no-such-property'),
    (('--xml', '/nonexistent', 'modern'), 'file-unreadable'),
    (('modern', '--engine-ciphers', 'FOO'), 'no-client-suite')])
def test_errors_have_codes(newest_command: Command, arguments: Sequence[str],
                           code: str) -> None:
    assert newest_command.code('check', *arguments) == code


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


# Found by handshakes


def codes(document: Any) -> set[str]:
    """Return the codes (set of str) of the findings of a document."""
    return {detail['code'] for detail in document['details']}


@pytest.mark.parametrize('values', [
    ['tlsprotocols=TLSv1.2'], ['tlsciphers=' + GOOD_CIPHERS],
    ['tlspriority=NORMAL:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2'],
    ['tlsciphers=ECDHE+AESGCM:TLS_AES_256_GCM_SHA384',
     'tlspriority=SECURE256:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2']])
def test_what_a_scan_would_find_is_a_finding(
        newest_command: Command, values: list[str]) -> None:
    document = check(newest_command, *values, status=1)
    found = codes(document) - {'console-not-covered'}
    assert found
    assert found <= {'protocol-version', 'cipher-suite',
                     'key-exchange-group', 'sha1-signature'}
    assert [detail['finding'] for detail in document['details']
            ] == document['findings']
    assert document['baseline'] == 'intermediate'
    document = check(newest_command, *values, '--baseline', 'none',
                     status=0 if len(values) == 2 else 1)
    assert codes(document) <= {'console-not-covered'}


def test_baseline_can_be_chosen(newest_command: Command) -> None:
    check(newest_command, 'intermediate')
    document = check(newest_command, 'intermediate', '--baseline', 'modern',
                     status=1)
    for display in 'SPICE', 'VNC':
        assert [line for line in document['findings'] if line.startswith(
            display + ': against modern: TLSv1.2 is accepted')]
    assert newest_command.code('check', 'modern', '--baseline', 'no-such'
                               ) == 'unknown-profile'


def test_suites_come_with_their_strength(newest_command: Command) -> None:
    document = check(newest_command, 'tlsciphers=AES256-SHA:' + GOOD_CIPHERS,
                     'tlsprotocols=TLSv1.2', status=1)
    accepted = document['displays']['spice']['accepted']
    assert {suite['suite']: suite['strength']
            for suite in accepted['protocols']['TLSv1.2']} == {
        'AES256-SHA': 'weak', **dict.fromkeys(GOOD_CIPHERS.split(':'),
                                              'strong')}
    assert 'P-521' in accepted['groups']
    assert 'AES256-SHA (weak)\n' in newest_command.run(
        'check', 'tlsciphers=AES256-SHA').stdout


@pytest.mark.parametrize('values, display, named, remedy', [
    ('tlsgroups=P-192', 'SPICE', 'by TLSv1.3 with tlsgroups=P-192',
     'tlsgroups'),
    ('tlsciphers=ECDHE-ECDSA-AES256-GCM-SHA384 tlsprotocols=TLSv1.2', 'SPICE',
     'with tlsciphers=ECDHE-ECDSA', 'tlsciphers'),
    ('tlsciphers=ECDHE+AESGCM:@SECLEVEL=3', 'SPICE', 'with tlsciphers=',
     'tlsciphers'),
    ('tlspriority=NORMAL:-VERS-ALL:+VERS-TLS1.3:-CIPHER-ALL:+AES-128-CCM-8',
     'VNC', 'with tlspriority=', 'tlspriority'),
    ('tlspriority=NORMAL:-VERS-ALL:+VERS-TLS1.2:-KX-ALL:+ECDHE-ECDSA', 'VNC',
     'with tlspriority=', 'tlspriority')])
def test_policy_with_which_no_client_can_connect_has_its_setting(
        newest_command: Command, values: str, display: str, named: str,
        remedy: str) -> None:
    document = check(newest_command, *values.split(), '--baseline', 'none',
                     status=1)
    detail, = [detail for detail in document['details']
               if detail['code'] == 'no-client-can-connect']
    assert detail['severity'] == 'high'
    assert detail['text'].startswith(display + ': ')
    assert named in detail['text']
    assert remedy in detail['remedy']
    # Said once, not of each kind of client as well.
    assert 'client-cannot-connect' not in codes(document)


@pytest.mark.parametrize('values', [
    'tlsprotocols=TLSv1.3 tlsgroups=brainpoolP256r1',
    # OpenSSL 1.1.1 does not know this group.
    *['tlsprotocols=TLSv1.2 tlsgroups=%s tlsciphers=ECDHE+AESGCM' % group
      for group in ['ffdhe2048'] if support.takes_groups(group)],
    'tlspriority=NORMAL:-VERS-ALL:+VERS-TLS1.2:-KX-ALL:+ECDHE-RSA:-GROUP-ALL:'
    '+GROUP-FFDHE2048',
    'tlspriority=NORMAL:-VERS-ALL:+VERS-TLS1.3:-SIGN-ALL:+SIGN-RSA-SHA256'])
def test_what_rules_can_tell_of_such_a_policy_is_a_refusal(
        newest_command: Command, values: str) -> None:
    document = check(newest_command, *values.split(), status=1)
    assert document['refused'].endswith(' [no-common-group]')


@pytest.mark.parametrize('value', [
    'tlspriority=SECURE256', 'tlspriority=NORMAL:-VERS-ALL:+VERS-TLS1.1'])
def test_old_version_by_which_no_client_can_connect_is_no_finding(
        newest_command: Command, value: str) -> None:
    process = newest_command.run('check', '--json', '--baseline', 'none',
                                 value)
    assert 'no-client-can-connect' not in codes(json.loads(process.stdout))


@pytest.mark.parametrize('group', ['ffdhe2048', 'ffdhe8192'])
def test_group_that_no_client_has_by_default_is_named(
        newest_command: Command, certificate: pathlib.Path,
        group: str) -> None:
    """As it is with the large ones from OpenSSL 3.5 on."""
    process = newest_command.run('check', '--json', '--baseline', 'none',
                                 'tlsgroups=' + group)
    document = json.loads(process.stdout)
    if not support.takes_groups(group):
        assert document['refused'].endswith(' [unknown-group]')
        return
    with servers.openssl(certificate, '-groups', group) as port:
        assert support.handshake(port, 'TLSv1.3') == (
            'no-client-can-connect' not in codes(document))


def test_host_without_a_suite_for_tls13_is_named(
        tmp_path: pathlib.Path) -> None:
    """As crypto-policies have it for FIPS:OSPP."""
    conf = tmp_path / 'openssl.cnf'
    conf.write_text('openssl_conf = a\n[a]\nssl_conf = b\n[b]\n'
                    'system_default = c\n[c]\nCiphersuites =\n')
    installation = support.Installation(tmp_path / 'root', sys.executable,
                                        openssl_conf=conf)
    process = subprocess.run(
        [installation.command, 'check', '--json', '--baseline', 'none',
         'tlsprotocols=TLSv1.3'], capture_output=True, text=True)
    document = json.loads(process.stdout)
    assert process.returncode == 1
    assert document['refused'] or codes(document) & {
        'no-client-can-connect', 'wrapper-refuses'}


@pytest.mark.parametrize('least, expected', [
    ('TLSv1', {'TLSv1.1', 'TLSv1.2', 'TLSv1.3'}),
    ('TLSv1.2', {'TLSv1.2', 'TLSv1.3'})])
def test_old_version_that_the_host_removes_is_not_listed(
        tmp_path: pathlib.Path, least: str, expected: set[str]) -> None:
    """As crypto-policies of EL8 remove it."""
    conf = tmp_path / 'openssl.cnf'
    conf.write_text('openssl_conf = a\n[a]\nssl_conf = b\n[b]\n'
                    'system_default = c\n[c]\nMinProtocol = %s\n' % least)
    installation = support.Installation(tmp_path / 'root', sys.executable,
                                        openssl_conf=conf)
    spice = json.loads(subprocess.run(
        [installation.command, 'check', '--json', 'tlsgroups=X25519:P-256',
         'tlsciphers=AES:!aNULL:@SECLEVEL=0'], capture_output=True,
        text=True).stdout)['displays']['spice']
    assert set(spice['protocols']) == expected
    # From OpenSSL 3.5 on no client has TLS 1.1 by itself.
    assert set(spice['clients'][0]['protocols']) <= expected


def test_nothing_is_left_of_what_was_tried(newest_command: Command,
                                           tmp_path: pathlib.Path) -> None:
    process = newest_command.run(
        'check', 'modern', environment={'TMPDIR': str(tmp_path)})
    assert process.returncode == 0
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGHUP])
def test_nothing_is_left_where_it_is_ended(
        newest_installation: support.Installation, tmp_path: pathlib.Path,
        number: signal.Signals) -> None:
    process = subprocess.Popen(
        # Who runs the tests may ignore the signal, as nohup does.
        ['env', '--default-signal', newest_installation.command, 'check',
         'modern'], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        env={'PATH': '/usr/bin:/bin', 'TMPDIR': str(tmp_path)})
    children = pathlib.Path('/proc/%d/task/%d/children' % (
        process.pid, process.pid))
    while not (list(tmp_path.iterdir()) and children.read_text()):
        assert process.poll() is None
    started = children.read_text().split()
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (128 + number, b'')
    assert list(tmp_path.iterdir()) == []
    # What makes the key ends by itself, a server would not.
    deadline = time.monotonic() + 20
    while [pid for pid in started if os.path.exists('/proc/' + pid)]:
        assert time.monotonic() < deadline


LISTENING = """
import re, sys
sys.path.insert(0, sys.argv[1])
from vdsm_tlsciphers.audit import local_server
with local_server.server({sys.argv[2]: sys.argv[3]}) as port:
    for table in 'tcp', 'tcp6':
        with open('/proc/net/' + table) as lines:
            for address in re.findall(r'(\\w+):%04X \\w+:\\w+ 0A' % port,
                                      lines.read()):
                print(address)
"""


@pytest.mark.parametrize('key, value', [
    ('ciphers', GOOD_CIPHERS), ('priority', 'NORMAL')])
def test_server_listens_on_the_loopback_only(
        newest_command: Command, key: str, value: str) -> None:
    installation = newest_command.installation
    process = subprocess.run(
        [installation.python, '-c', LISTENING, installation.module.parent,
         key, value], capture_output=True, text=True, check=True)
    assert process.stdout == '0100007F\n'


# Ports without TLS


def spice(attributes: str, channels: str = '') -> str:
    """Return a domain XML (str) with such a SPICE console."""
    return re.sub('(?s)<graphics type="spice".*?</graphics>',
                  '<graphics type="spice" %s>%s</graphics>' % (attributes,
                                                               channels),
                  SPICE)


ALL_SECURE = ''.join(
    '<channel name="%s" mode="secure"/>' % name for name in (
        'main', 'display', 'inputs', 'cursor', 'playback', 'record',
        'smartcard', 'usbredir'))


@pytest.mark.parametrize('attributes, channels, words', [
    ('port="5902" tlsPort="5903"', '', 'port 5902 without TLS'),
    ('port="-1" tlsPort="-1" autoport="yes"', '', 'a port without TLS'),
    ('tlsPort="-1" port="5902"', '<channel name="main" mode="secure"/>',
     ': display, inputs, cursor'),
    ('port="5902" tlsPort="5903" defaultMode="secure"',
     '<channel name="inputs" mode="insecure"/>', ': inputs')])
def test_spice_port_without_tls_is_a_finding(
        newest_command: Command, xml_file: WriteFile, attributes: str,
        channels: str, words: str) -> None:
    document = check(newest_command, '--xml', xml_file(
        spice(attributes, channels)), 'none', status=1)
    uncovered, detail = document['details']
    assert uncovered['code'] == 'console-not-covered'
    assert (detail['code'], detail['severity']) == ('spice-plaintext',
                                                    'critical')
    assert words in detail['text']


@pytest.mark.parametrize('attributes, channels', [
    ('port="5902" tlsPort="5903" defaultMode="secure"', ''),
    ('tlsPort="5903" autoport="yes" port="-1" defaultMode="secure"', ''),
    ('port="0" tlsPort="5903"', ''), ('tlsPort="5903"', ''),
    ('port="5902" autoport="yes"', '<listen type="none"/>'),
    ('', '<listen type="socket" socket="/x"/>')])
def test_console_without_such_a_port_is_none(
        newest_command: Command, xml_file: WriteFile, attributes: str,
        channels: str) -> None:
    process = newest_command.run('check', '--json', '--xml', xml_file(
        spice(attributes, channels)), 'none')
    document = json.loads(process.stdout)
    assert codes(document) <= {'console-not-covered'}
    assert process.returncode == len(codes(document))
    assert not [note for note in document['notes'] if 'without TLS' in note]


@pytest.mark.parametrize('value, channels', [
    ('modern', ''), ('none', ALL_SECURE)])
def test_port_on_which_all_channels_require_tls_is_a_note(
        newest_command: Command, xml_file: WriteFile, value: str,
        channels: str) -> None:
    document = check(newest_command, '--xml', xml_file(
        spice('port="5902" tlsPort="5903"', channels)), value,
        status=0 if value == 'modern' else 1)
    assert 'spice-plaintext' not in codes(document)
    note, = [note for note in document['notes'] if 'port 5902' in note]
    assert note.endswith(' [spice-tls-required]')


DHE = ('tlspriority=NORMAL:-VERS-ALL:+VERS-TLS1.2:-KX-ALL:+ECDHE-RSA:'
       '+DHE-RSA:-CIPHER-ALL:+AES-128-GCM:+AES-128-CBC:-GROUP-ALL:'
       '+GROUP-X25519:-SIGN-RSA-SHA1:-SIGN-ECDSA-SHA1')


@pytest.mark.parametrize('value', [
    DHE, DHE.replace('+VERS-TLS1.2', '+VERS-TLS1.3:+VERS-TLS1.2')])
def test_dhe_without_a_group_for_it_is_accepted_as_qemu_does(
        newest_command: Command, value: str) -> None:
    document = check(newest_command, value, status=1)
    accepted = document['displays']['vnc']['accepted']
    assert {suite['suite'] for suite in accepted['protocols']['TLSv1.2']} == {
        'DHE-RSA-AES128-GCM-SHA256', 'DHE-RSA-AES128-SHA',
        'ECDHE-RSA-AES128-GCM-SHA256', 'ECDHE-RSA-AES128-SHA'}
    # The second is the warning of the hook.
    assert codes(document) == {'cipher-suite', 'dhe-outside-groups',
                               'console-not-covered'}


# Consoles without a policy, or without TLS


def started(xml: str, **policy: str) -> str:
    """Return a domain XML that a host's default has given a policy."""
    return xml.replace('</domain>', (
        '<qemu:commandline xmlns:qemu='
        '"http://libvirt.org/schemas/domain/qemu/1.0">%s'
        '</qemu:commandline></domain>') % ''.join(
            '<qemu:arg value="-vdsm-tls-default"/><qemu:arg value="%s=%s"/>'
            % (key, saxutils.escape(value))
            for key, value in policy.items()))


def uncovered(document: Any) -> list[str]:
    """Return the texts of what a document says is not covered."""
    return [detail['text'] for detail in document['details']
            if detail['code'] == 'console-not-covered']


@pytest.mark.parametrize('values, displays', [
    (['tlsprofile=none'], ['SPICE', 'VNC']),
    (['tlsciphers=ECDHE+AESGCM', 'tlsprotocols=TLSv1.2',
      'tlsgroups=X25519:P-256'], ['VNC']),
    (['tlspriority=SECURE256:-VERS-ALL:+VERS-TLS1.3:-GROUP-ALL'
      ':+GROUP-SECP384R1'], ['SPICE'])])
def test_display_that_properties_leave_open_is_a_finding(
        newest_command: Command, values: list[str],
        displays: list[str]) -> None:
    document = check(newest_command, *values, status=1)
    assert codes(document) == {'console-not-covered'}
    assert [text.partition(':')[0] for text in uncovered(document)
            ] == displays


@pytest.mark.parametrize('xml', [SPICE, VNC, BOTH])
@pytest.mark.parametrize('arguments', [(), ('none',)])
def test_console_of_a_vm_without_a_policy_is_a_finding(
        newest_command: Command, xml_file: WriteFile, xml: str,
        arguments: tuple[str, ...]) -> None:
    document = check(newest_command, '--xml', xml_file(xml), *arguments,
                     status=1)
    assert codes(document) == {'console-not-covered'}
    assert len(uncovered(document)) == len(document['displays'])


def test_console_that_no_policy_is_for_is_a_finding(
        newest_command: Command, xml_file: WriteFile) -> None:
    xml = VNC.replace('</devices>', '<graphics type="rdp"/></devices>')
    document = check(newest_command, '--xml', xml_file(xml), 'modern',
                     status=1)
    text, = uncovered(document)
    assert 'RDP' in text


@contextlib.contextmanager
def default(command: Command, text: str) -> Iterator[None]:
    """Have a host's default."""
    path = command.installation.host_default
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    yield
    path.unlink()


def test_vm_without_a_console_has_nothing_to_find(
        newest_command: Command, xml_file: WriteFile) -> None:
    with default(newest_command, '[default]\ntlsprofile = modern\n'):
        document = check(newest_command, '--xml', xml_file(
            support.lab_domain()))
    assert document['details'] == []


def test_default_of_the_host_can_be_tried_alone(
        newest_command: Command) -> None:
    with default(newest_command, '[default]\ntlsprofile = modern\n'):
        document = check(newest_command)
    assert document['properties'] == {}
    assert document['displays']['vnc']['protocols'] == {'TLSv1.3': MODERN}
    with default(newest_command, '[default]\ntlsprotocols = TLSv1.3\n'):
        assert len(uncovered(check(newest_command, status=1))) == 1
    with default(newest_command, '[default]\ntlsprofil = modern\n'):
        assert check(newest_command, status=1)['refusal']['code'] == (
            'host-file')
    # A profile has no effect unless it is requested.
    with default(newest_command, '[profile x]\ntlsprotocols = TLSv1.3\n'):
        assert newest_command.code('check') == 'nothing-to-check'


NO_TLS_PORT = 'port="5990" autoport="no"'


def test_spice_without_a_tls_port_is_refused_as_the_wrapper_does(
        newest_command: Command, xml_file: WriteFile) -> None:
    document = check(newest_command, '--xml', xml_file(spice(NO_TLS_PORT)),
                     'tlsprofile=modern', status=1)
    assert document['refusal']['code'] == 'spice-without-tls'
    socket = spice('', '<listen type="socket" socket="/x"/>')
    document = check(newest_command, '--xml', xml_file(socket),
                     'tlsprofile=modern', status=1)
    assert document['refused'].endswith('[spice-socket]')


@pytest.mark.parametrize('default', [False, True])
def test_spice_without_a_tls_port_is_a_finding_where_nothing_is_required(
        newest_command: Command, xml_file: WriteFile, default: bool) -> None:
    xml = spice(NO_TLS_PORT)
    document = check(newest_command, '--xml', xml_file(
        started(xml, ciphers='ECDHE+AESGCM') if default else xml), status=1)
    assert 'console-not-encrypted' in codes(document)
    assert 'spice-plaintext' not in codes(document)
    assert 'beside the TLS port' not in json.dumps(document)


def test_default_of_a_host_is_no_property_of_the_vm(
        newest_command: Command, xml_file: WriteFile) -> None:
    """Best effort: no channel demands TLS for it."""
    for metadata in '', '<metadata><v:vm xmlns:v="%s"/></metadata>' % (
            'http://ovirt.org/vm/1.0'):
        xml = started(spice('port="5904" tlsPort="5905"').replace(
            '</name>', '</name>' + metadata),
            ciphers='ECDHE+AESGCM', protocols='TLSv1.2')
        document = check(newest_command, '--xml', xml_file(xml), status=1)
        assert document['properties'] == {}
        policy = document['displays']['spice']['policy']
        assert policy['ciphers'] == {'value': 'ECDHE+AESGCM',
                                     'required': False}
        assert 'spice-plaintext' in codes(document)
        # Which host it will be from its next start is not known.
        text, = uncovered(document)
        assert 'next start' in text
    text = newest_command.run('check', '--xml', xml_file(xml)).stdout
    assert 'ECDHE+AESGCM (default of the host, best effort)' in text


@pytest.mark.parametrize('values, remedy', [
    ('tlsprofile=intermediate tlspriority=NORMAL', 'remove tlspriority '),
    ('tlsprofile=intermediate tlsgroups=P-521', 'remove tlsgroups '),
    ('tlsprofile=intermediate tlsciphers=HIGH:!aNULL', 'remove tlsciphers '),
    ('tlsprofile=modern tlsprotocols=TLSv1.2:TLSv1.3 --baseline modern',
     'remove tlsprotocols '),
    ('tlspriority=NORMAL', 'in place of tlspriority,'),
    ('tlsprofile=modern tlsciphers=HIGH:!aNULL tlsprotocols=TLSv1.2:TLSv1.3',
     'in place of tlsciphers,')])
def test_remedy_is_about_the_property_that_is_the_cause(
        newest_command: Command, values: str, remedy: str) -> None:
    document = check(newest_command, *values.split(), status=1)
    remedies = {detail['remedy'] for detail in document['details']
                if detail['code'] in ('protocol-version', 'cipher-suite',
                                      'key-exchange-group')}
    assert remedies
    for found in remedies:
        assert remedy in found


# The guard


def guarded(xml: str, **properties: str) -> str:
    """Return a domain XML with a guard, as the engine sends it."""
    return of_engine(xml, extra_cpu_flags='+vdsm-tls', **properties).replace(
        '<devices>', '<cpu><feature name="vdsm-tls" policy="require"/></cpu>'
        '<devices>', 1)


@pytest.mark.parametrize('flags', ['+vdsm-tls', 'vdsm-tls',
                                   '-pcid,+vdsm-tls,+vmx'])
def test_guard_is_kept_where_each_console_has_a_policy(
        newest_command: Command, flags: str) -> None:
    document = check(newest_command, 'extra_cpu_flags=' + flags, 'modern')
    assert document['properties']['extra_cpu_flags'] == flags
    assert (document['guard'], document['start']) == (True, None)
    assert check(newest_command, 'modern', 'extra_cpu_flags=-pcid')[
        'guard'] is False
    assert check(newest_command, 'modern')['guard'] is None


@pytest.mark.parametrize('xml, properties', [
    (BOTH, {'tlsciphers': GOOD_CIPHERS}), (BOTH, {}),
    (BOTH, {'tlsprofile': 'none'}), (VNC, {'tlsciphers': GOOD_CIPHERS}),
    (VNC.replace('"vnc"', '"rdp"'), {'tlsprofile': 'modern'})])
def test_refusal_of_a_guarded_vm_is_that_of_the_hook(
        newest_command: Command, newest_hook: Hook, xml_file: WriteFile,
        xml: str, properties: dict[str, str]) -> None:
    refusal = newest_hook.refusal(guarded(xml, **properties),
                                  extra_cpu_flags='+vdsm-tls', **properties)
    assert ' [guard-' in refusal
    # In the engine's XML, and once the hook has taken the guard out of it.
    for written in (guarded(xml, **properties), of_engine(
            xml, extra_cpu_flags='+vdsm-tls', **properties)):
        document = check(newest_command, '--xml', xml_file(written), status=1)
        assert document['refused'] == refusal
        assert document['guard'] is True


MISTYPED = ['+vdsm_tls', '+vdsmtls', '+vmx,+VDSM-TLS', '+vdsm-tls2',
            '+vmx, +vdsm-tls', '++vdsm-tls', '+vmx;+vdsm-tls', '+vsdm-tls']


@pytest.mark.parametrize('flags', MISTYPED)
def test_name_that_looks_like_the_guard_is_a_finding(
        newest_command: Command, xml_file: WriteFile, flags: str) -> None:
    given = 'extra_cpu_flags=' + flags
    document = check(newest_command, given, 'tlsprofile=modern', status=1)
    assert document['guard'] is False
    detail, = document['details']
    assert detail['code'] == 'guard-mistyped'
    assert 'write +vdsm-tls' in detail['remedy']
    lines = newest_command.run('check', given, 'tlsprofile=modern').stdout
    assert '\nGuard: no\n' in lines
    # Where a VM has it.
    path = xml_file(of_engine(BOTH, extra_cpu_flags=flags,
                              tlsprofile='modern'))
    assert 'guard-mistyped' in {detail['code'] for detail in check(
        newest_command, '--xml', path, status=1)['details']}


@pytest.mark.parametrize('flags', [
    '+vdsm-tls', 'vdsm-tls', '+vmx,vdsm-tls,-svm', '+vmx', '+tsc-deadline',
    '-vme', ''])
def test_guard_and_other_flags_are_no_finding(
        newest_command: Command, flags: str) -> None:
    given = 'extra_cpu_flags=' + flags
    document = check(newest_command, given, 'tlsprofile=modern')
    guard = 'vdsm-tls' in flags
    assert (document['details'], document['guard']) == ([], guard)
    assert '\nGuard: %s\n' % ('yes' if guard else 'no') in (
        newest_command.run('check', given, 'tlsprofile=modern').stdout)


def test_guard_of_a_vm_counts_for_other_values_as_well(
        newest_command: Command, xml_file: WriteFile) -> None:
    path = xml_file(guarded(BOTH, tlsprofile='modern'))
    assert check(newest_command, '--xml', path)['refused'] is None
    assert check(newest_command, '--xml', path, GOOD_CIPHERS, status=1)[
        'refused'].endswith(' [guard-uncovered]')
    assert check(newest_command, '--xml', path, 'tlsprofile=modern',
                 'extra_cpu_flags=-pcid')['guard'] is False
    # Without metadata it is in the XML alone.
    bare = BOTH.replace('<devices>', '<cpu><feature name="vdsm-tls"/></cpu>'
                        '<devices>', 1)
    assert check(newest_command, '--xml', xml_file(bare), status=1)['guard']


def test_level_for_which_the_engine_writes_no_guard_is_named(
        newest_command: Command, xml_file: WriteFile) -> None:
    xml = of_engine(BOTH, tlsprofile='modern', extra_cpu_flags='+vdsm-tls')
    xml = xml.replace('<ovirt-vm:vm>', '<ovirt-vm:vm><ovirt-vm:clusterVersion>'
                      '%s</ovirt-vm:clusterVersion>')
    assert codes(check(newest_command, '--xml', xml_file(xml % '4.5'),
                       status=1)) == {'guard-missing'}
    assert codes(check(newest_command, '--xml', xml_file(xml % '4.10')
                       )) == set()


# How to start what is refused


def changes(way: Any) -> dict[str, tuple[str | None, str | None]]:
    return {change['property']: (change['from'], change['to'])
            for change in way['changes']}


@pytest.mark.parametrize('values, covered, uncovered', [
    # A lost definition.
    ('extra_cpu_flags=-pcid,+vdsm-tls,+vmx',
     {'tlsprofile': (None, 'intermediate')},
     {'extra_cpu_flags': ('-pcid,+vdsm-tls,+vmx', '-pcid,+vmx')}),
    ('extra_cpu_flags=+vdsm-tls tlsprofile=none',
     {'tlsprofile': ('none', 'intermediate')},
     {'extra_cpu_flags': ('+vdsm-tls', None)}),
    ('extra_cpu_flags=-vdsm-tls tlsprofile=modern',
     {'extra_cpu_flags': ('-vdsm-tls', '+vdsm-tls')},
     {'extra_cpu_flags': ('-vdsm-tls', None)}),
    ('extra_cpu_flags=+vdsm-tls tlsprofile=no-such',
     {'tlsprofile': ('no-such', 'intermediate')},
     {'tlsprofile': ('no-such', None),
      'extra_cpu_flags': ('+vdsm-tls', None)}),
    ('tlsciphers=NULL tlspriority=NORMAL',
     {'tlsciphers': ('NULL', None), 'tlsprofile': (None, 'intermediate')},
     {'tlsciphers': ('NULL', None)})])
def test_refusal_comes_with_the_changes_that_let_the_vm_start(
        newest_command: Command, values: str,
        covered: dict[str, tuple[str | None, str | None]],
        uncovered: dict[str, tuple[str | None, str | None]]) -> None:
    given = dict(value.split('=', 1) for value in values.split())
    ways = check(newest_command, *values.split(), status=1)['start']['ways']
    assert list(map(changes, ways)) == [covered, uncovered]
    assert ways[0]['open'] == []
    for way in ways:
        new = {**given, **{name: to for name, (_, to)
                           in changes(way).items()}}
        assert way['guard'] == ('+vdsm-tls' in (new.get('extra_cpu_flags')
                                                or ''))
        document = json.loads(newest_command.run(
            'check', '--json', '--baseline', 'none', *[
                '%s=%s' % item for item in new.items() if item[1]]
            or ['tlsprofile=none']).stdout)
        assert document['refused'] is None
        assert way['open'] == [
            display for display in ('spice', 'vnc') if not any(
                setting['required'] for setting
                in document['displays'][display]['policy'].values())]


@pytest.mark.parametrize('wrong', [
    'tlspriority=NORMAL:+FOO', 'tlsciphers=NULL', 'tlsprotocols=TLSv1.1'])
def test_only_the_refused_property_goes_where_that_is_enough(
        newest_command: Command, wrong: str) -> None:
    start = check(newest_command, 'tlsprofile=modern', wrong,
                  'extra_cpu_flags=+vdsm-tls', status=1)['start']
    name, value = wrong.split('=', 1)
    way, = start['ways']
    assert changes(way) == {name: (value, None)}
    assert (way['open'], way['guard'], way['weaker']) == ([], True, [])
    assert 'restore' not in start['tomorrow']


def test_weaker_versions_of_a_way_to_start_are_named(
        newest_command: Command) -> None:
    for values, weaker in (
            ('tlsprotocols=TLSv1.3 tlspriority=NORMAL:+FOO', []),
            ('tlsprotocols=TLSv1.3 tlsciphers=ECDHE+AESGCM tlspriority=NORMAL',
             ['TLSv1.2'])):
        way = check(newest_command, *values.split(),
                    'extra_cpu_flags=+vdsm-tls', status=1)['start']['ways'][0]
        assert (way['open'], way['guard'], way['weaker']) == ([], True, weaker)


def test_sign_of_a_guard_is_all_that_has_to_be_corrected(
        newest_command: Command) -> None:
    start = check(newest_command, 'extra_cpu_flags=-vdsm-tls',
                  'tlsprofile=modern', status=1)['start']
    assert start['tomorrow'] == 'write +vdsm-tls in Edit'


def test_xml_file_is_of_no_host_whose_encryption_is_known(
        newest_command: Command, xml_file: WriteFile) -> None:
    document = check(newest_command, '--xml', xml_file(of_engine(
        BOTH, tlsprofile='modern')))
    note, = [note for note in document['note_details']
             if note['code'] == 'host-unknown']
    assert note['note'] == note['text'] + ' [host-unknown]'
    assert note['note'] in document['notes']
    assert (note['remedy'], note['severity']) == (None, 'info')


def test_document_says_when_and_by_what_it_was_made(
        newest_command: Command) -> None:
    document = check(newest_command, 'tlsprofile=modern')
    assert (document['format'], document['version']) == (
        'vdsm-tlsciphers check', 2)
    assert document['host'] == os.uname().nodename
    assert 'vdsm-tlsciphers ' + document['tool'] in newest_command.run(
        '--version').stdout
    assert re.match(r'\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$', document['time'])


def test_what_another_host_may_know_can_start_there(
        newest_command: Command) -> None:
    for value, elsewhere in (('tlsgroups=no-such', True),
                             ('tlsprofile=no-such', True),
                             ('tlsciphers=no-such', True),
                             ('tlspriority=NORMAL:+no-such', True),
                             ('tlsciphers=eNULL:@SECLEVEL=0', False)):
        start = check(newest_command, value, status=1)['start']
        assert (start['other_host'], start['host']) == (elsewhere, None)


@pytest.mark.parametrize('flags, stays', [
    ('', 'policy stays'), ('+vdsm-tls', 'policy and guard stay')])
def test_headless_start_keeps_what_the_vm_has(newest_command: Command,
                                              flags: str, stays: str) -> None:
    text = newest_command.run('check', 'tlsciphers=no-such',
                              'tlspriority=SECURE256',
                              'extra_cpu_flags=' + flags).stdout
    assert 'Console > Headless Mode, without a console; %s\n' % stays in text
