# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""Which policy holds for a VM, and what the hook refuses, run as by vdsm."""

from __future__ import annotations

import os
import pathlib
import re
import stat
import subprocess
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from unittest import mock

import pytest

import support

if TYPE_CHECKING:
    from conftest import Hook, MakeHook, WriteDefault

X86 = (support.DATA / 'domain-x86_64.xml').read_text()
SPICE = (support.DATA / 'domain-ppc64le.xml').read_text()
VNC = X86.replace('type="spice"', 'type="sdl"')
HEADLESS = VNC.replace('type="vnc"', 'type="sdl"')
HOSTED_ENGINE = re.sub('<name>.*</name>', '<name>HostedEngine</name>', X86)
TLS12 = 'ECDHE-RSA-AES256-GCM-SHA384'
TLS13 = 'TLS_AES_256_GCM_SHA384'
PRIORITY = 'NORMAL:-VERS-ALL:+VERS-TLS1.2'


@pytest.mark.parametrize('properties, policy', [
    ({'tlsciphers': TLS13}, {'ciphersuites': TLS13}),
    ({'tlsciphers': '%s:%s:TLS_AES_128_GCM_SHA256:HIGH' % (TLS13, TLS12)},
     {'ciphers': TLS12 + ':HIGH',
      'ciphersuites': TLS13 + ':TLS_AES_128_GCM_SHA256'}),
    ({'tlsciphers': '%s:%s' % (TLS13, TLS13)}, {'ciphersuites': TLS13}),
    ({'tlsprotocols': 'TLSv1.2'}, {'protocols': 'TLSv1.2'}),
    ({'tlsprotocols': 'TLSv1.3'}, {'protocols': 'TLSv1.3'}),
    ({'tlsprotocols': 'TLSv1.2:TLSv1.3'}, {'protocols': 'TLSv1.2:TLSv1.3'}),
    ({'tlsgroups': 'X25519:P-256'}, {'groups': 'X25519:P-256'}),
    ({'tlspriority': PRIORITY}, {'priority': PRIORITY}),
    ({'tlspriority': 'NORMAL:%SERVER_PRECEDENCE:!AES-128-CBC'},
     {'priority': 'NORMAL:%SERVER_PRECEDENCE:!AES-128-CBC'}),
    ({'tlsciphers': TLS12, 'tlspriority': PRIORITY, 'tlsgroups': 'P-256',
      'tlsprotocols': 'TLSv1.2'},
     {'ciphers': TLS12, 'protocols': 'TLSv1.2', 'groups': 'P-256',
      'priority': PRIORITY}),
])
def test_properties_reach_the_wrapper_as_requirements(
        newest_hook: Hook, properties: dict[str, str],
        policy: dict[str, str]) -> None:
    assert newest_hook.policy(X86, **properties)[0] == policy


# OpenSSL 1.1.1 knows curves alone, and so no group that only TLS 1.3 has.
KNOWS_FFDHE = support.takes_groups('ffdhe2048')
# More than tests/data/messages.txt has.
REFUSALS = [
    ({'tlsciphers': TLS13 + ':TLS_NOSUCH'}, 'unknown-suite'),
    ({'tlsciphers': '!' + TLS13}, 'suite-with-sign'),
    ({'tlsciphers': 'ALL:!TLS_RSA_WITH_3DES_EDE_CBC_SHA'}, 'iana-name'),
    ({'tlsciphers': 'TLS_NOSUCH_WITH_NULL'}, 'iana-name'),
    ({'tlsprotocols': ''}, 'empty-value'),
    ({'tlsprotocols': 'TLSv1.1'}, 'unknown-protocols'),
    ({'tlsprotocols': 'TLSv1.3:TLSv1.2'}, 'unknown-protocols'),
    ({'tlsprotocols': 'tlsv1.2'}, 'unknown-protocols'),
    ({'tlsprotocols': 'TLSv1.3', 'tlsciphers': TLS12},
     'suites-of-other-version'),
    ({'tlsprotocols': 'TLSv1.2', 'tlsciphers': TLS13},
     'suites-of-other-version'),
    ({'tlsprofile': 'modern', 'tlsciphers': TLS12}, 'suites-of-other-version'),
    ({'tlsgroups': ''}, 'empty-value'),
    ({'tlsgroups': 'X25518'}, 'unknown-group'),
    ({'tlsgroups': '-groups'}, 'no-group'),
    ({'tlsgroups': 'X25519:-X25519'}, 'no-group'),
    ({'tlsgroups': 'default'}, 'no-group'),
    ({'tlsgroups': 'brainpoolP256r1', 'tlsprotocols': 'TLSv1.3'},
     'no-common-group'),
    ({'tlsgroups': 'ffdhe2048', 'tlsprotocols': 'TLSv1.2',
      'tlsciphers': 'ECDHE+AESGCM'},
     'no-common-group' if KNOWS_FFDHE else 'unknown-group'),
    ({'tlspriority': 'NORMAL:-VERS-ALL:+VERS-TLS1.2:-KX-ALL:+ECDHE-RSA:'
                     '-GROUP-ALL:+GROUP-FFDHE2048'}, 'no-common-group'),
    ({'tlspriority': 'NORMAL:-VERS-ALL:+VERS-TLS1.3:-SIGN-ALL:'
                     '+SIGN-RSA-SHA256'}, 'no-common-group'),
    ({'tlspriority': 'NORMAL' + 130 * ':+CIPHER-ALL' + ':-VERS-TLS1.0'},
     'priority-cut'),
    ({'tlspriority': ''}, 'empty-value'),
    ({'tlspriority': 'NONE'}, 'priority-refused'),
    ({'tlspriority': '@SYSTEM'}, 'priority-refused'),
    ({'tlspriority': '--version'}, 'priority-refused'),
    ({'tlspriority': 'NORMAL:-VERS-ALL'}, 'priority-refused'),
    ({'tlspriority': 'NORMAL:-KX-ALL:+PSK:-VERS-TLS1.3'}, 'priority-empty'),
    ({'tlspriority': 'NORMAL:-VERS-ALL:+VERS-TLS1.2:-CIPHER-ALL:'
                     '-MAC-ALL:+AES-256-GCM'}, 'priority-refused'),
    ({'tlspriority': 'NORMAL:+GROUP-X25519-MLKEM768'}, 'priority-refused'),
    ({'tlspriority': 'NORMAL,disable-ticketing=on'}, 'character'),
    ({'tlspriority': 'NORMAL"}'}, 'character'),
    ({'tlsprofile': ''}, 'empty-value'),
    ({'tlsprofile': 'modern intermediate'}, 'character'),
]


@pytest.mark.parametrize('properties, code', REFUSALS)
def test_value_that_cannot_be_enforced_is_refused(
        newest_hook: Hook, properties: dict[str, str], code: str) -> None:
    line = newest_hook.refusal(X86, **properties)
    assert support.code_of(line) == code
    assert line.split(':')[0] in properties
    # What is wrong, and what to do about it.
    assert '; ' in line


def test_priority_for_srp_alone_is_refused(newest_hook: Hook) -> None:
    """VNC has no SRP; GnuTLS need not have it either."""
    priority = 'NORMAL:-KX-ALL:+SRP:-VERS-TLS1.3'
    assert support.code_of(newest_hook.refusal(X86, tlspriority=priority)) == (
        'priority-empty' if support.takes_priority(priority)
        else 'priority-refused')


def with_elements(number: int) -> str:
    """Return a priority string of so many elements, the last without 1.2."""
    return 'NORMAL%s:-VERS-TLS1.2' % (':+CIPHER-ALL' * (number - 2))


def reads(priority: str) -> bool:
    """Tell whether GnuTLS reads the last element of such a string."""
    answer = subprocess.run(['gnutls-cli', '--list', '--priority', priority],
                            check=True, capture_output=True, text=True).stdout
    return not re.search(r'(?m)^Protocols: .*\bVERS-TLS1\.2\b', answer)


def test_priority_may_have_as_many_elements_as_gnutls_reads(
        newest_hook: Hook) -> None:
    """64 of them in GnuTLS 3.7.1, later 128; it takes two more to see that."""
    limit = next(number for number in range(32, 1000)
                 if not reads(with_elements(number + 1)))
    newest_hook.change(X86, tlspriority=with_elements(limit - 2))
    for number in limit + 1, limit + 2:
        assert support.code_of(newest_hook.refusal(
            X86, tlspriority=with_elements(number))) == 'priority-cut'


def test_iana_name_is_translated(newest_hook: Hook) -> None:
    line = newest_hook.refusal(
        X86, tlsciphers='TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384')
    assert line.endswith('write ECDHE-RSA-AES256-GCM-SHA384 [iana-name]')


def test_every_python_refuses_alike(hook: Hook, newest_hook: Hook) -> None:
    for properties, _ in REFUSALS[::4]:
        assert hook.refusal(X86, **properties).replace(
            str(hook.installation.root), '') == newest_hook.refusal(
                X86, **properties).replace(
                    str(newest_hook.installation.root), '')


@pytest.mark.parametrize('properties, code', [
    ({'tlsciphers': TLS13}, 'tls12-default-suites'),
    ({'tlsciphers': TLS13 + ':' + TLS12, 'tlsprotocols': 'TLSv1.3'},
     'suites-without-effect'),
    ({'tlsciphers': TLS13 + ':' + TLS12, 'tlsprotocols': 'TLSv1.2'},
     'suites-without-effect'),
    ({'tlsgroups': 'X25519'}, 'static-rsa-fallback'),
    ({'tlsgroups': 'X25519', 'tlsciphers': 'HIGH'}, 'static-rsa-fallback'),
    ({'tlspriority': 'NORMAL'}, 'priority-old-versions'),
    ({'tlspriority': 'NORMAL:-VERS-ALL:+VERS-TLS1.2:-KX-ALL:+ECDHE-ECDSA'},
     'only-ecdsa'),
    ({'tlspriority': 'NORMAL:-VERS-ALL:+VERS-TLS1.2:-GROUP-ALL:+GROUP-X25519:'
                     '+DHE-RSA'}, 'dhe-outside-groups'),
    ({'tlsciphers': 'ECDHE-ECDSA-AES256-GCM-SHA384'}, 'only-ecdsa'),
    ({'tlsgroups': 'P-192'}, 'no-common-group'),
    # TLS 1.2 has RSA key exchange.
    *[({'tlsgroups': group, 'tlsprotocols': 'TLSv1.2'}, 'static-rsa-fallback')
      for group in ['ffdhe2048'] if KNOWS_FFDHE],
    *[({'tlsgroups': group, 'tlsciphers': 'ECDHE+AESGCM'}, 'no-common-group')
      for group in ['ffdhe2048'] if KNOWS_FFDHE],
    ({'tlspriority': 'NORMAL:-SIGN-ALL:+SIGN-RSA-SHA256'},
     'no-common-group'),
])
def test_what_may_surprise_is_said(
        newest_hook: Hook, properties: dict[str, str], code: str) -> None:
    _, log = newest_hook.policy(X86, **properties)
    assert support.codes_of(log).count(code) == 1


@pytest.mark.parametrize('properties', [
    {'tlsciphers': TLS13, 'tlsprotocols': 'TLSv1.3', 'tlsgroups': 'X25519'},
    {'tlsciphers': 'HIGH:!kRSA', 'tlsgroups': 'X25519'},
    {'tlspriority': 'NORMAL:-VERS-ALL:+VERS-TLS1.2:+DHE-RSA'},
    {'tlspriority': 'NORMAL:-VERS-ALL:+VERS-TLS1.3:+DHE-RSA:-GROUP-ALL:'
                    '+GROUP-X25519'},
    {'tlsprofile': 'intermediate'}, {'tlsprofile': 'modern'}])
def test_policy_without_a_surprise_needs_no_warning(
        newest_hook: Hook, properties: dict[str, str]) -> None:
    _, log = newest_hook.policy(X86, **properties)
    for line in log:
        assert re.search(': the (SPICE|VNC) console ', line)
    assert len(log) == 2


def test_display_that_no_property_covers_is_named(newest_hook: Hook) -> None:
    _, log = newest_hook.policy(X86, tlspriority=PRIORITY)
    assert ['SPICE' in line for line in log
            if support.code_of(line) == 'console-not-covered'] == [True]
    _, log = newest_hook.policy(X86, tlsgroups='X25519',
                                tlsciphers='HIGH:!kRSA')
    assert ['VNC' in line for line in log
            if support.code_of(line) == 'console-not-covered'] == [True]
    _, log = newest_hook.policy(X86, tlsprofile='modern')
    assert 'console-not-covered' not in support.codes_of(log)


@pytest.mark.parametrize('xml, properties, policy', [
    (VNC, {'tlsciphers': 'NOSUCH:TLS_NOSUCH::A:TLS_NOSUCH:TLS_B'},
     {'ciphers': 'NOSUCH:A', 'ciphersuites': 'TLS_NOSUCH:TLS_B'}),
    (VNC, {'tlsciphers': 'NOSUCH:'}, {'ciphers': 'NOSUCH:'}),
    (VNC, {'tlsciphers': ':' + TLS13}, {'ciphersuites': TLS13}),
    (SPICE, {'tlspriority': 'NOSUCH'}, {'priority': 'NOSUCH'}),
    (HEADLESS, {'tlsgroups': 'NOSUCH', 'tlsprotocols': 'TLSv1.2'},
     {'groups': 'NOSUCH', 'protocols': 'TLSv1.2'}),
    # Together this leaves nothing; the wrapper says so where SPICE is.
    (HEADLESS, {'tlsciphers': TLS12, 'tlsprotocols': 'TLSv1.3'},
     {'ciphers': TLS12, 'protocols': 'TLSv1.3'})])
def test_vm_carries_what_it_asks_for_displays_that_are_not_there(
        newest_hook: Hook, xml: str, properties: dict[str, str],
        policy: dict[str, str]) -> None:
    """No library is asked: the wrapper does that where the display is."""
    found, log = newest_hook.policy(xml, **properties)
    assert found == policy
    said, = [line for line in log if line.endswith(' [no-console]')]
    for name in properties:
        assert name in said


def test_profile_is_carried_whole_for_displays_that_are_not_there(
        make_hook: MakeHook, newest_hook: Hook, tmp_path: pathlib.Path,
        ) -> None:
    """What this host does not know is left out only where it is asked."""
    hook = make_hook(support.Installation(
        tmp_path / 'root', support.find_python(
            support.available_pythons()[-1]), openssl='/nonexistent/openssl',
        gnutls_cli='/nonexistent/gnutls'))
    for profile in 'modern', 'intermediate':
        whole, _ = newest_hook.policy(X86, tlsprofile=profile)
        policy, log = hook.policy(HEADLESS, tlsprofile=profile)
        assert policy == whole
        line, = log
        assert 'tlsprofile' in line
        assert line.endswith(' [no-console]')


@pytest.mark.parametrize('xml, properties', [
    (VNC, {'tlsciphers': 'A,B'}), (SPICE, {'tlspriority': 'A"B'}),
    (HEADLESS, {'tlsgroups': ''})])
def test_characters_count_for_displays_that_are_not_there(
        newest_hook: Hook, xml: str, properties: dict[str, str]) -> None:
    newest_hook.refusal(xml, **properties)


def test_default_is_carried_only_for_displays_that_are_there(
        newest_hook: Hook, newest_host_default: WriteDefault) -> None:
    newest_host_default(FILE)
    assert newest_hook.policy(VNC)[0] == {'priority?': PRIORITY}
    policy, _ = newest_hook.policy(VNC, tlsgroups='P-256')
    assert policy == {'priority?': PRIORITY, 'groups': 'P-256'}
    policy, _ = newest_hook.policy(HEADLESS, tlsgroups='P-256')
    assert policy == {'groups': 'P-256'}


EMPTY = '[profile a]\n[profile b]\ntlsgroups = P-256\n'


@pytest.mark.parametrize('text, xml, properties', [
    (EMPTY, X86, {'tlsprofile': 'a'}), (EMPTY, HEADLESS, {'tlsprofile': 'a'}),
    (EMPTY, X86, {'tlsprofile': 'a', 'tlsciphers': TLS12, 'tlsgroups': 'P-256',
                  'tlsprotocols': 'TLSv1.2', 'tlspriority': PRIORITY}),
    (EMPTY + '[default]\ntlspriority = NORMAL\n', X86, {'tlsprofile': 'a'}),
    (EMPTY + '[default]\ntlsprofile = a\n', X86, {}),
    (EMPTY + '[default]\ntlsprofile = a\ntlspriority = NORMAL\n', X86, {}),
    (EMPTY + '[default]\ntlsprofile = a\n', X86, {'tlsprofile': 'b'})])
def test_profile_that_sets_nothing_is_refused(
        hook: Hook, host_default: WriteDefault, text: str, xml: str,
        properties: dict[str, str]) -> None:
    host_default(text)
    line = hook.refusal(xml, **properties)
    assert ': a: ' in line
    assert line.endswith(' [empty-profile]')


def test_profile_that_sets_nothing_matters_only_where_it_is_named(
        newest_hook: Hook, newest_host_default: WriteDefault) -> None:
    newest_host_default(EMPTY)
    assert newest_hook.change(X86) == (X86, [])
    assert newest_hook.policy(SPICE, tlsprofile='b')[0] == {'groups': 'P-256'}
    newest_host_default(EMPTY + '[default]\ntlsprofile = a\n')
    _, log = newest_hook.change(HOSTED_ENGINE)
    assert '[empty-profile]' in ' '.join(log)


ONE_SIDED = ('[profile v]\ntlspriority = %s\n[profile s]\ntlsgroups = P-256\n'
             % PRIORITY)


@pytest.mark.parametrize('xml, properties', [
    (SPICE, {'tlsprofile': 'v'}), (VNC, {'tlsprofile': 's'}),
    # Its own property covers the console, the profile does nothing for it.
    (SPICE, {'tlsprofile': 'v', 'tlsciphers': TLS12})])
def test_profile_for_the_other_console_is_refused(
        newest_hook: Hook, newest_host_default: WriteDefault, xml: str,
        properties: dict[str, str]) -> None:
    newest_host_default(ONE_SIDED)
    assert newest_hook.refusal(xml, **properties).endswith(
        ' [profile-other-console]')


@pytest.mark.parametrize('xml, profile, policy', [
    (SPICE, 's', {'groups': 'P-256'}), (VNC, 'v', {'priority': PRIORITY}),
    (X86, 's', {'groups': 'P-256'}), (X86, 'v', {'priority': PRIORITY}),
    (HEADLESS, 's', {'groups': 'P-256'}),
    (HEADLESS, 'v', {'priority': PRIORITY})])
def test_profile_for_one_of_the_consoles_is_accepted(
        newest_hook: Hook, newest_host_default: WriteDefault, xml: str,
        profile: str, policy: dict[str, str]) -> None:
    newest_host_default(ONE_SIDED)
    assert newest_hook.policy(xml, tlsprofile=profile)[0] == policy
    # A default is for VMs of all kinds.
    newest_host_default(ONE_SIDED + '[default]\ntlsprofile = v\n')
    newest_hook.change(SPICE)


def test_profile_covers_both_displays(newest_hook: Hook) -> None:
    policy, log = newest_hook.policy(X86, tlsprofile='modern')
    assert policy == {
        'ciphersuites': 'TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:'
                        'TLS_CHACHA20_POLY1305_SHA256',
        'protocols': 'TLSv1.3', 'groups': 'X25519:prime256v1:secp384r1',
        'priority': policy['priority']}
    assert '+VERS-TLS1.3:' in policy['priority']
    assert log[0].endswith(' groups=X25519:prime256v1:secp384r1 (profile '
                           'modern) [policy-set]')
    assert log[0].count('(profile modern)') == 1
    policy, _ = newest_hook.policy(X86, tlsprofile='intermediate')
    assert set(policy) == {'ciphers', 'ciphersuites', 'protocols', 'groups',
                           'priority'}


FILE = """
# Comments are welcome.
[default]
tlsciphers = HIGH:!kRSA
tlspriority = %s

[profile site]
tlsgroups = P-384
tlspriority = SECURE256:-VERS-ALL:+VERS-TLS1.2
""" % PRIORITY


@pytest.mark.parametrize('properties, policy', [
    ({}, {'ciphers?': 'HIGH:!kRSA', 'priority?': PRIORITY}),
    ({'tlsciphers': TLS12}, {'ciphers': TLS12, 'priority?': PRIORITY}),
    ({'tlsprofile': 'site'},
     {'ciphers?': 'HIGH:!kRSA', 'groups': 'P-384',
      'priority': 'SECURE256:-VERS-ALL:+VERS-TLS1.2'}),
    ({'tlsprofile': 'site', 'tlspriority': 'NORMAL'},
     {'ciphers?': 'HIGH:!kRSA', 'groups': 'P-384', 'priority': 'NORMAL'}),
    ({'tlsprofile': 'none'}, {}),
    ({'tlsprofile': 'none', 'tlsgroups': 'P-256'}, {'groups': 'P-256'}),
])
def test_value_is_settled_setting_by_setting(
        hook: Hook, host_default: WriteDefault, properties: dict[str, str],
        policy: dict[str, str]) -> None:
    host_default(FILE)
    assert hook.policy(X86, **properties)[0] == policy


def test_profile_of_the_default_comes_after_its_keys(
        newest_hook: Hook, newest_host_default: WriteDefault) -> None:
    newest_host_default('[default]\ntlsprofile = site\ntlsgroups = P-256\n'
                        '[profile site]\ntlsgroups = P-384\n'
                        'tlsprotocols = TLSv1.3\n')
    assert newest_hook.policy(SPICE)[0] == {
        'groups?': 'P-256', 'protocols?': 'TLSv1.3'}
    newest_host_default('[default]\ntlsprofile = modern\n')
    policy, log = newest_hook.policy(X86)
    assert set(policy) == {'ciphersuites?', 'protocols?', 'groups?',
                           'priority?'}
    assert '(default of the host)' in ' '.join(log)
    newest_host_default('[default]\ntlsprofile = none\n')
    assert newest_hook.change(X86) == (X86, [])


@pytest.mark.parametrize('text', ['', '# nothing\n', '[default]\n',
                                  '[profile site]\ntlsgroups = P-384\n'])
def test_file_without_a_default_changes_nothing(
        hook: Hook, host_default: WriteDefault, text: str) -> None:
    host_default(text)
    assert hook.change(X86) == (X86, [])


@pytest.mark.parametrize('xml', [HEADLESS, HEADLESS.replace('sdl', 'none')])
def test_vm_without_a_console_starts_under_a_default(
        hook: Hook, host_default: WriteDefault, xml: str) -> None:
    host_default(FILE)
    changed, log = hook.change(xml)
    assert changed == xml
    assert support.codes_of(log) == ['no-console']


# Text, the place that is named, the code.
MALFORMED = [
    ('tlsciphers = HIGH\n', 'line 1', 'host-file'),
    ('[default]\ntlsciphers HIGH\n', 'line 2', 'host-file'),
    ('[default]\n\ntlscipher = HIGH\n', 'line 3: [default]: tlscipher',
     'host-file'),
    ('[DEFAULT]\ntlsciphers = HIGH\n', 'line 1: [DEFAULT]', 'host-file'),
    ('[defaults]\ntlsciphers = HIGH\n', 'line 1: [defaults]', 'host-file'),
    ('[default]\n[profile ]\n', 'line 2: [profile ]', 'host-file'),
    ('[default]\n[profile modern]\n', 'line 2: [profile modern]',
     'host-file'),
    ('[default]\n[profile none]\n', 'line 2: [profile none]', 'host-file'),
    ('[default]\n[profile a b]\n', 'line 2: [profile a b]', 'host-file'),
    ('[profile x]\ntlsprofile = modern\n', 'line 2: [profile x]: tlsprofile',
     'host-file'),
    ('[default]\ntlsciphers = \n', 'line 2: [default]: tlsciphers',
     'empty-value'),
    ('[default]\ntlsciphers = AES,HIGH\n', 'line 2: [default]: tlsciphers',
     'character'),
    ('[default]\ntlsciphers = A\n HIGH\n', 'line 2: [default]: tlsciphers',
     'character'),
    ('[default]\ntlsciphers = ALL:@SECLEVEL=0\n',
     'line 2: [default]: tlsciphers: ALL:@SECLEVEL=0', 'insecure-suite'),
    ('[default]\ntlsprotocols = TLSv1.1\n', 'line 2: [default]: tlsprotocols',
     'unknown-protocols'),
    ('[default]\ntlspriority = NORMAL:-GROUP-ALL\n', 'line 2: [default]: '
     'tlspriority: NORMAL:-GROUP-ALL', 'priority-empty'),
    ('[default]\ntlsprofile = site\n', 'line 2: [default]: tlsprofile: site',
     'unknown-profile'),
    ('[default]\ntlsciphers = HIGH\ntlsgroups = P-256\nTLSciphers = AES\n',
     'line 4', 'host-file'),
    ('[default]\ntlsgroups = P-256\n[default]\ntlsgroups = P-384\n',
     'line 3', 'host-file'),
    ('[default]\ntlsprotocols = TLSv1.3\ntlsciphers = AES256-SHA\n',
     'line 2: [default]: tlsprotocols: TLSv1.3', 'suites-of-other-version'),
    (b'[default]\ntlsciphers = \xff\n', 'UTF-8 (byte 23)', 'host-file'),
    ('[default\n', 'line 1: [default', 'host-file'),
    ('[default\x00\x1b\u20ac\n', 'line 1: [default???', 'host-file'),
    ('[default]\n= HIGH\n', 'line 2: = HIGH', 'host-file'),
    ('[]\n', 'line 1: []', 'host-file'),
    ('[default]\ntlsgroups =\tP-256\n\n  # x\n\tP-384\n',
     'line 2: [default]: tlsgroups', 'character'),
    ('[default] tlsprofile = modern\n', 'line 1: [default] tlsprofile = ',
     'host-file'),
    ('# x\r[default]\rtlsciphers HIGH\r', 'line 3', 'host-file'),
    # No section without its "]", found by fuzzing.
    ('[default]\n[prof = HIGH\n', 'line 2: [default]: [prof', 'host-file'),
]


@pytest.mark.parametrize('text, place, code', MALFORMED)
def test_malformed_default_stops_the_start(
        newest_hook: Hook, newest_host_default: WriteDefault,
        text: str | bytes, place: str, code: str) -> None:
    path = newest_host_default(text)
    line = newest_hook.refusal(X86)
    assert line.startswith(path + ': ')
    assert place in line
    assert '; ' in line
    assert support.code_of(line) == code


def test_policy_that_needs_no_default_does_not_read_it(
        newest_hook: Hook, newest_host_default: WriteDefault) -> None:
    newest_host_default('nonsense')
    for properties in ({'tlsprofile': 'modern'}, {'tlsprofile': 'none'},
                       {'tlsprofile': 'none', 'tlsgroups': 'P-256'},
                       {'tlsciphers': 'HIGH', 'tlsprotocols': 'TLSv1.2',
                        'tlsgroups': 'P-256', 'tlspriority': PRIORITY}):
        newest_hook.change(X86, **properties)
    for properties in {'tlsgroups': 'P-256'}, {'tlsprofile': 'site'}:
        assert 'line 1' in newest_hook.refusal(X86, **properties)


@pytest.mark.parametrize('text, place, code', MALFORMED[::6])
def test_every_python_finds_the_same_line(
        hook: Hook, host_default: WriteDefault, text: str | bytes,
        place: str, code: str) -> None:
    host_default(text)
    line = hook.refusal(X86)
    assert place in line
    assert support.code_of(line) == code


@pytest.mark.parametrize('text, place, code',
                         MALFORMED[::3] + MALFORMED[-2:])
def test_malformed_default_does_not_stop_the_hosted_engine(
        newest_hook: Hook, newest_host_default: WriteDefault,
        text: str | bytes, place: str, code: str) -> None:
    newest_host_default(text)
    _, log = newest_hook.policy(HOSTED_ENGINE)
    note, = [line for line in log if support.code_of(line) == code]
    assert place in note
    assert ': host default ignored' in note
    # Its own property is one like that of any other VM.
    policy, log = newest_hook.policy(HOSTED_ENGINE, tlsciphers=TLS12)
    assert policy['ciphers'] == TLS12
    policy, _ = newest_hook.policy(HOSTED_ENGINE, tlsgroups='P-256:X448')
    assert policy['groups'] == 'P-256:X448'
    newest_hook.refusal(HOSTED_ENGINE, tlsciphers='NOSUCH')


@pytest.mark.parametrize('damage', ['hook_module', 'module', 'domain_module',
                                    'host_module', 'wrapper'])
def test_damaged_package_does_not_stop_the_hosted_engine(
        hook: Hook, host_default: WriteDefault, damage: str) -> None:
    host_default(FILE)
    path = getattr(hook.installation, damage)
    away = path.rename(path.with_name('away'))
    try:
        changed, log = hook.change(HOSTED_ENGINE)
        own = hook.refusal(HOSTED_ENGINE, tlsciphers=TLS12)
    finally:
        away.rename(path)
    assert changed == HOSTED_ENGINE
    assert len(log) == 1
    code = 'wrapper-missing' if damage == 'wrapper' else 'package-damaged'
    assert support.codes_of([own, log[0]]) == [code, code]
    assert 'dnf reinstall' in own


@pytest.mark.parametrize('mode', [0o646, 0o666, 0o602])
def test_default_that_anybody_may_write_is_refused(
        hook: Hook, host_default: WriteDefault, mode: int) -> None:
    path = host_default(FILE, mode=mode)
    line = hook.refusal(X86)
    assert line.startswith(path + ': ')
    assert line.endswith(' [host-file-owner]')


def test_default_of_another_user_is_refused(
        hook: Hook, host_default: WriteDefault) -> None:
    path = host_default(FILE)
    if os.geteuid() != 0:
        pytest.skip('only root can give a file away')
    os.chown(path, 1, 0)
    assert 'chown root:root' in hook.refusal(X86)
    os.chown(path, 0, 1)
    assert hook.policy(X86)[0]
    os.chmod(path, 0o664)
    assert hook.refusal(X86).endswith(' [host-file-owner]')
    os.chown(path, 0, 0)
    assert hook.policy(X86)[0]


def test_default_of_vdsm_itself_is_refused_by_vdsm(
        hook: Hook, tmp_path: pathlib.Path) -> None:
    """As the hook runs on a host: by another user than root."""
    if os.geteuid() != 0:
        pytest.skip('only root can give a file away')
    names = support.run_file(hook.installation.config_module)
    path = tmp_path / 'file'
    path.write_text('')
    path.chmod(0o644)
    os.chown(path, 36, 36)
    with mock.patch('os.geteuid', return_value=36), pytest.raises(
            names['Refused']) as refusal:
        names['_check_owner'](path.stat(), '')
    assert str(refusal.value).endswith(' [host-file-owner]')


@pytest.mark.parametrize('mode, groups, folder, readable', [
    (0o644, (), 0o755, True), (0o640, (), 0o755, False),
    (0o600, (), 0o755, False), (0o640, (0,), 0o755, True),
    (0o604, (0,), 0o755, False), (0o604, (), 0o755, True),
    (0o644, (), 0o700, True), (0o644, (), 0o655, False)])
def test_root_says_of_the_default_what_vdsm_would(
        newest_hook: Hook, mode: int, groups: tuple[int, ...], folder: int,
        readable: bool) -> None:
    """
    The command runs as root, which can read everything. Here the file is
    root's, and its folder is vdsm's.
    """
    names = support.run_file(newest_hook.installation.config_module)

    def status(mode: int, owner: int) -> os.stat_result:
        return os.stat_result((mode, 0, 0, 1, owner, 0, 0, 0, 0, 0))

    stat_of = {str(newest_hook.installation.host_default.parent): status(
        stat.S_IFDIR | folder, 36), names['__file__']:
        status(stat.S_IFREG | 0o644, 0)}
    user = mock.Mock(pw_uid=36, pw_gid=36, pw_name='vdsm')
    with mock.patch('os.geteuid', return_value=0), mock.patch(
            'pwd.getpwnam', return_value=user), mock.patch(
                'grp.getgrall', return_value=[
                    mock.Mock(gr_gid=group, gr_mem=['vdsm'])
                    for group in groups]), mock.patch(
                        'os.stat', side_effect=stat_of.__getitem__):
        try:
            names['_check_owner'](status(stat.S_IFREG | mode, 0), '')
        except names['Refused'] as refusal:
            assert str(refusal).endswith(' [host-file-owner]')
            assert not readable
        else:
            assert readable


def test_default_that_only_root_can_read_is_refused(
        hook: Hook, host_default: WriteDefault) -> None:
    """By root as well, whose answer is to be that of vdsm."""
    path = host_default(FILE, mode=0o600)
    if os.geteuid() != 0:
        pytest.skip('its owner can read it')
    assert hook.refusal(X86).endswith(' [host-file-owner]')
    os.chmod(path, 0o644)
    folder = pathlib.Path(path).parent
    folder.chmod(0o700)
    try:
        assert hook.refusal(X86).endswith(' [host-file-owner]')
    finally:
        folder.chmod(0o755)
    assert hook.policy(X86)[0]


def test_link_counts_as_the_default_that_it_leads_to(
        hook: Hook, host_default: WriteDefault) -> None:
    path = pathlib.Path(host_default(FILE))
    target = path.rename(path.with_name('target'))
    path.symlink_to('target')
    try:
        assert hook.policy(X86)[0]
        target.chmod(0o646)
        assert hook.refusal(X86).endswith(' [host-file-owner]')
    finally:
        target.unlink()
    # Now it leads nowhere: that is no host without a default.
    assert hook.refusal(X86).endswith(' [host-file]')


@pytest.mark.parametrize('make', [os.mkdir, os.mkfifo])
def test_default_that_is_no_file_is_refused(
        newest_hook: Hook, newest_host_default: WriteDefault,
        make: Callable[[str], None]) -> None:
    path = newest_host_default('')
    os.unlink(path)
    make(path)
    try:
        line = newest_hook.refusal(X86)
        assert line.startswith(path + ': ')
        assert support.code_of(line) == 'host-file'
    finally:
        (os.rmdir if make is os.mkdir else os.unlink)(path)


def test_default_that_cannot_be_read_is_refused(
        newest_hook: Hook, newest_host_default: WriteDefault) -> None:
    path = newest_host_default('')
    os.unlink(path)
    os.symlink(os.path.basename(path), path)
    line = newest_hook.refusal(X86)
    assert 'Too many levels of symbolic links' in line
    assert support.code_of(line) == 'host-file'


@pytest.mark.parametrize('text', [
    '[default]\n  tlsciphers : HIGH:!kRSA\n  # x\n\n ; y\n'
    '  TLSprotocols=TLSv1.2\n',
    '[default] ; x\r\ntlsciphers = HIGH:!kRSA ; x\r\n'
    'tlsprotocols = TLSv1.2\r\n'])
def test_default_can_be_written_as_files_of_its_kind_are(
        hook: Hook, host_default: WriteDefault, text: str) -> None:
    host_default(text)
    assert hook.policy(SPICE)[0] == {'ciphers?': 'HIGH:!kRSA',
                                     'protocols?': 'TLSv1.2'}


def test_file_with_many_profiles_is_read_in_linear_time(
        newest_hook: Hook) -> None:
    """By lines that are executed, since those are the same every time."""
    names = support.run_file(newest_hook.installation.config_module)

    def steps(profiles: int) -> int:
        text = ''.join('[profile p%d]\n%s' % (number, ''.join(
            '%s = A\n' % name for name in names['SETTINGS']))
            for number in range(profiles))
        count = 0

        def trace(*_: object) -> Callable[..., Any]:
            nonlocal count
            count += 1
            return trace

        with mock.patch.dict(names, _host_default_text=lambda: text):
            before = sys.gettrace()
            sys.settrace(trace)
            try:
                assert len(names['read_host_default']()) == profiles
            finally:
                sys.settrace(before)
        return count

    assert steps(1000) < 11 * steps(100)


def test_default_in_a_folder_that_is_none_is_not_there(
        newest_hook: Hook) -> None:
    folder = newest_hook.installation.host_default.parent
    if folder.exists():
        folder.rmdir()
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.write_text('')
    try:
        process = newest_hook.run(
            X86, environment={'PYTHONPATH': '/nonexistent'})
        assert (process.returncode, process.stderr) == (0, '')
        newest_hook.change(X86, tlsgroups='P-256')
    finally:
        folder.unlink()


@pytest.mark.parametrize('line', [
    'tlsciphers = NOSUCH', 'tlsciphers = TLS_NOSUCH', 'tlsgroups = P-257',
    'tlspriority = NORMAL:+NOSUCH'])
def test_default_that_this_host_cannot_enforce_is_left_out(
        newest_hook: Hook, newest_host_default: WriteDefault,
        line: str) -> None:
    """Another host may well know it: best effort."""
    path = newest_host_default(
        '[default]\n%s\ntlsprotocols = TLSv1.3\n' % line)
    policy, log = newest_hook.policy(X86)
    assert policy == {'protocols?': 'TLSv1.3'}
    left_out, = [line for line in log if ': host default ignored' in line]
    assert left_out.startswith(path + ': line 2: [default]: tls')


def test_profile_of_the_site_must_be_enforced(
        newest_hook: Hook, newest_host_default: WriteDefault) -> None:
    path = newest_host_default('[profile site]\ntlsgroups = P-257\n')
    assert newest_hook.refusal(SPICE, tlsprofile='site').startswith(
        path + ': line 2: [profile site]: tlsgroups: P-257: ')


@pytest.mark.parametrize('default, own, policy', [
    ('tlsprotocols = TLSv1.3', {'tlsciphers': TLS12}, {'ciphers': TLS12}),
    ('tlsciphers = HIGH', {'tlsprotocols': 'TLSv1.3'},
     {'protocols': 'TLSv1.3'}),
    ('tlsciphers = ' + TLS13, {'tlsprotocols': 'TLSv1.2'},
     {'protocols': 'TLSv1.2'})])
def test_default_gives_way_to_what_the_vm_asks_for(
        newest_hook: Hook, newest_host_default: WriteDefault, default: str,
        own: dict[str, str], policy: dict[str, str]) -> None:
    newest_host_default('[default]\n%s\n' % default)
    found, log = newest_hook.policy(SPICE, **own)
    assert found == policy
    assert len([line for line in log if ': host default ignored' in line]) == 1


def test_default_gives_way_to_the_wrapper_of_another_hook(
        newest_hook: Hook, newest_host_default: WriteDefault) -> None:
    newest_host_default(FILE)
    xml = X86.replace('<devices>', '<devices><emulator>/opt/x</emulator>')
    changed, log = newest_hook.change(xml)
    assert changed == xml
    line = newest_hook.refusal(xml, tlsgroups='P-256')
    assert '/opt/x' in line
    assert support.codes_of([line, *log]) == ['foreign-emulator'] * 2


def test_test_refuses_a_malformed_default(
        newest_hook: Hook, newest_host_default: WriteDefault) -> None:
    newest_host_default('nonsense')
    process = subprocess.run([newest_hook.installation.hook, '--test'],
                             capture_output=True, text=True, env={})
    assert process.returncode == 1
    assert 'line 1: ' in process.stderr


def test_test_shows_every_kind_of_policy(newest_hook: Hook) -> None:
    process = subprocess.run(
        [newest_hook.installation.hook, '--test'], capture_output=True,
        text=True, env={'tlsprofile': 'modern'})
    assert process.returncode == 0, process.stderr
    for key in 'ciphersuites', 'protocols', 'groups', 'priority':
        assert 'value="%s=' % key in process.stdout


OLD_OPENSSL = """#!/bin/sh
[ "$1" = version ] && echo "OpenSSL 1.0.2k-fips  26 Jan 2017" && exit
for last; do :; done
exec openssl ciphers -tls1_2 "$last" | sed "s/TLS_[^:]*:*//g"
"""


def test_openssl_without_tls_1_3_is_named(make_hook: MakeHook,
                                          tmp_path: pathlib.Path) -> None:
    """A stand-in for that of EL7, which knows no TLS 1.3 and no groups."""
    openssl = tmp_path / 'openssl'
    openssl.write_text(OLD_OPENSSL)
    openssl.chmod(0o755)
    hook = make_hook(support.Installation(
        tmp_path / 'root', support.find_python(
            support.available_pythons()[-1]), openssl=openssl))
    for properties in ({'tlsprotocols': 'TLSv1.2'}, {'tlsgroups': 'P-256'},
                       {'tlsciphers': TLS13}, {'tlsprofile': 'intermediate'}):
        line = hook.refusal(X86, **properties)
        assert 'OpenSSL 1.0.2k-fips is older than 1.1.1' in line
        # Where there is no SPICE console it does not matter.
        hook.change(VNC.replace('vnc', 'sdl'), **properties)
    hook.installation.host_default.parent.mkdir(parents=True)
    hook.installation.host_default.write_text('[default]\ntlsprofile = modern')
    policy, log = hook.policy(X86)
    assert set(policy) == {'priority?'}
    assert len([line for line in log if '1.0.2k' in line]) == 3


@pytest.mark.parametrize('name, program', [('openssl', 'openssl'),
                                           ('gnutls_cli', 'gnutls-utils')])
def test_missing_program_is_named(make_hook: MakeHook, tmp_path: pathlib.Path,
                                name: str, program: str) -> None:
    hook = make_hook(support.Installation(
        tmp_path / 'root', support.find_python(
            support.available_pythons()[-1]), **{name: '/nonexistent/x'}))
    line = hook.refusal(X86, tlspriority='NORMAL', tlsgroups='P-256')
    assert '/nonexistent/x: No such file' in line
    assert 'install ' + program in line
    assert support.code_of(line) == 'cannot-run'


def test_profile_leaves_out_what_this_host_does_not_know(
        make_hook: MakeHook, tmp_path: pathlib.Path) -> None:
    """A stand-in for the OpenSSL of a host in FIPS mode."""
    openssl = tmp_path / 'openssl'
    openssl.write_text('#!/bin/sh\ncase "$*" in *X25519*) exit 1;; esac\n'
                       'exec openssl "$@" | sed '
                       '"s/:*TLS_CHACHA20_POLY1305_SHA256//"\n')
    openssl.chmod(0o755)
    hook = make_hook(support.Installation(
        tmp_path / 'root', support.find_python(
            support.available_pythons()[-1]), openssl=openssl))
    policy, log = hook.policy(SPICE, tlsprofile='modern')
    assert policy['ciphersuites'] == (
        'TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384')
    assert policy['groups'] == 'prime256v1:secp384r1'
    assert support.codes_of(log[:2]) == ['left-out', 'left-out']
    assert 'TLS_CHACHA20_POLY1305_SHA256' in log[0]
    assert 'X25519' in log[1]
    hook.refusal(SPICE, tlsgroups='X25519:prime256v1')
