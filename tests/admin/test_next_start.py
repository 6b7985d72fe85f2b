# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""How to start a VM that something else than the hook has refused."""

from __future__ import annotations

import json
import subprocess
from typing import Any

import pytest

import support

ASK = """
import json, sys
sys.path.insert(0, sys.argv[1])
from vdsm_tlsciphers.host import messages, next_start
print(json.dumps(next_start.remedy(
    json.loads(sys.argv[2]), None, messages.parse(sys.argv[3]), sys.argv[4])))
"""
PARSE = """
import json, sys
sys.path.insert(0, sys.argv[1])
from vdsm_tlsciphers.host import messages
message = messages.parse(sys.argv[2])
print(json.dumps([message.code, message.prefix, message.remedy]))
"""
GUARD = {'extra_cpu_flags': '-pcid,+vdsm-tls'}
NO_GUARD = {'extra_cpu_flags': '-pcid'}


def ask(installation: support.Installation, line: str, by: str,
        **properties: str) -> Any:
    process = subprocess.run(
        [installation.python, '-c', ASK, installation.module.parent,
         json.dumps(properties), line, by], capture_output=True, text=True)
    assert process.returncode == 0, process.stderr
    return json.loads(process.stdout)


@pytest.mark.parametrize('line, given, left, unprotected', [
    ('priority: the VNC console of this VM is not encrypted; x '
     '[vnc-without-tls]',
     {'tlsciphers': 'ECDHE+AESGCM', 'tlspriority': 'NORMAL', **GUARD},
     {'tlsciphers': 'ECDHE+AESGCM', **NO_GUARD}, ['vnc']),
    # As version 0.3.0 wrote it.
    ('priority: the VNC console of this VM is not encrypted; remedy: x',
     {'tlsprofile': 'modern'}, {}, ['spice', 'vnc']),
    ('ciphersuites, groups: this version cannot enforce it; remedy: x',
     {'tlsprofile': 'modern', 'tlspriority': 'NORMAL', **GUARD},
     {'tlspriority': 'NORMAL', **NO_GUARD}, ['spice']),
    ('cannot start /usr/libexec/qemu-kvm: No such file or directory',
     {'tlsciphers': 'ECDHE+AESGCM', 'tlspriority': 'NORMAL'}, {},
     ['spice', 'vnc'])])
def test_settings_that_the_wrapper_cannot_enforce_are_to_be_removed(
        newest_installation: support.Installation, line: str,
        given: dict[str, str], left: dict[str, str],
        unprotected: list[str]) -> None:
    remedy = ask(newest_installation, 'qemu-kvm-modified: ' + line, 'wrapper',
                 **given)
    way, = remedy['ways']
    new = {**given, **{change['property']: change['to']
                       for change in way['changes']}}
    assert {name: value for name, value in new.items() if value} == left
    assert (way['open'], way['guard']) == (unprotected, False)
    assert remedy['other_host']
    # Nothing starts without QEMU.
    assert remedy['headless'] == ('cannot start' not in line)


@pytest.mark.parametrize('line, by', [
    ('qemu-kvm: -vdsm-tls: invalid option', 'QEMU'),
    ('tlsciphers: the wrapper x cannot be used: No such file; dnf reinstall '
     'vdsm-hook-tlsciphers', 'hook'),
    ('tlsciphers: another hook has set the emulator to x; use one', 'hook')])
def test_no_policy_is_promised_where_none_can_be_enforced(
        newest_installation: support.Installation, line: str,
        by: str) -> None:
    remedy = ask(newest_installation, line, by, tlsprofile='modern', **GUARD)
    way, = remedy['ways']
    assert {change['property']: change['to'] for change in way['changes']} == {
        'tlsprofile': None, **NO_GUARD}
    assert way['open'] == ['spice', 'vnc']
    assert remedy['other_host']
    assert remedy['host']


def test_profile_with_less_than_modern_is_weaker(
        newest_installation: support.Installation) -> None:
    remedy = ask(newest_installation, 'tlsprofile: modern: GnuTLS does not '
                 'know it', 'hook', tlsprofile='modern', **GUARD)
    assert [way['weaker'] for way in remedy['ways']
            if {'property': 'tlsprofile', 'from': 'modern',
                'to': 'intermediate'} in way['changes']] == [['TLSv1.2']]


def test_no_change_is_named_for_properties_that_are_not_known(
        newest_installation: support.Installation) -> None:
    for by in 'wrapper', 'QEMU', 'libvirt':
        assert ask(newest_installation, 'x', by)['ways'] == []


@pytest.mark.parametrize('line, host', [
    ('line 2: [default]: tlscipher: no such key; use tlsciphers [host-file]',
     'correct %s (use tlsciphers), or copy the file from a host where VMs '
     'start'),
    ('line 2: [default]: tlscipher: no such key',
     'correct %s, or copy the file from a host where VMs start'),
    ('owned or writable by users other than root; chown root:root and chmod '
     '644 [host-file-owner]', 'chown root:root and chmod 644 %s')])
def test_file_of_a_host_that_is_to_be_corrected_is_named(
        newest_installation: support.Installation, line: str,
        host: str) -> None:
    path = subprocess.run(
        [newest_installation.python, '-c', 'import sys\n'
         'sys.path.insert(0, sys.argv[1])\nimport tlsciphers_config'
         '\nprint(tlsciphers_config.HOST_DEFAULT)',
         newest_installation.module.parent], capture_output=True,
        text=True).stdout.strip()
    assert ask(newest_installation, '%s: %s' % (path, line), 'hook')[
        'host'] == host % path


def test_nothing_is_restored_that_was_not_changed(
        newest_installation: support.Installation) -> None:
    for line in ('SPICE: spice_tls is off; set it [spice-tls-off]',
                 'ciphers: this version cannot enforce it; remedy: update x'):
        assert 'restore' not in ask(
            newest_installation, 'qemu-kvm-modified: ' + line, 'wrapper')[
                'tomorrow']


def test_remedy_of_the_wrapper_does_not_take_a_policy_away(
        newest_installation: support.Installation) -> None:
    for code, beginning in (
            ('vnc-without-tls', 'check Enable VNC Encryption'),
            ('vnc-socket', 'give the console an address'),
            ('vnc-libvirt-too-old', 'vdsm-tlsciphers doctor'),
            ('host-error', 'fix this host')):
        host = ask(newest_installation, 'qemu-kvm-modified: priority: x; fix '
                   'this host, or remove the properties from the VM [%s]'
                   % code, 'wrapper')['host']
        assert host.startswith(beginning)
        assert 'remove' not in host or code == 'host-error'


@pytest.mark.parametrize('line, code, prefix, remedy', [
    ('tlsciphers: the list has 300 characters; shorten it [list-too-long]',
     'list-too-long', '', 'shorten it'),
    ('tlsciphers: the wrapper x cannot be used: y; z [wrapper-missing]',
     'wrapper-missing', 'tlsciphers: ', 'z'),
    ('qemu-kvm-modified: groups: x [unknown-group]', 'unknown-group',
     'qemu-kvm-modified: ', ''),
    # As version 0.3.0 wrote them.
    ('tlsciphers: the wrapper x cannot be used: y; remedy: z',
     'wrapper-missing', 'tlsciphers: ', 'z'),
    ('tlsciphers: another hook has set the emulator to x; use one',
     'foreign-emulator', 'tlsciphers: ', 'use one'),
    ('tlsgroups: x: OpenSSL does not know this group; y', 'unknown-group', '',
     'y'),
    ('qemu-kvm-modified: cannot start /x: y', 'qemu-missing',
     'qemu-kvm-modified: ', ''), ('x', '', '', '')])
def test_line_of_a_log_is_read_as_a_message(
        newest_installation: support.Installation, line: str, code: str,
        prefix: str, remedy: str) -> None:
    process = subprocess.run(
        [newest_installation.python, '-c', PARSE,
         newest_installation.module.parent, line], capture_output=True,
        text=True, check=True)
    assert json.loads(process.stdout) == [code, prefix, remedy]
