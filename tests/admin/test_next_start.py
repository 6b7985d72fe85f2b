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
from vdsm_tlsciphers.host import next_start
print(json.dumps(next_start.remedy(json.loads(sys.argv[2]), None, sys.argv[3],
                               sys.argv[4])))
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
    ('priority: the VNC console of this VM is not encrypted; remedy: x',
     {'tlsciphers': 'ECDHE+AESGCM', 'tlspriority': 'NORMAL', **GUARD},
     {'tlsciphers': 'ECDHE+AESGCM', **NO_GUARD}, ['vnc']),
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
    # VNC encryption is that of a cluster.
    assert remedy['other_host'] == ('not encrypted' not in line)


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


def test_no_change_is_named_for_properties_that_are_not_known(
        newest_installation: support.Installation) -> None:
    for by in 'wrapper', 'QEMU', 'libvirt':
        assert ask(newest_installation, 'x', by)['ways'] == []
