# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""What vdsm-tlsciphers check promises, against what real consoles accept."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

import support
from support import GOOD_CIPHERS, SEED_CIPHERS

if TYPE_CHECKING:
    from conftest import Host, RunHook, Start

BOTH = support.lab_domain('spice', 'vnc')


def check(*arguments: str) -> Any:
    answer = subprocess.run(['vdsm-tlsciphers', 'check', '--json', *arguments],
                            capture_output=True, text=True)
    return json.loads(answer.stdout)


def pairs(display: dict[str, Any]) -> set[tuple[str, str]]:
    return {(version, suite)
            for version, suites in display['protocols'].items()
            for suite in suites}


@pytest.mark.parametrize('properties', [
    {'tlsprofile': 'modern'}, {'tlsprofile': 'intermediate'},
    {'tlsciphers': SEED_CIPHERS, 'tlspriority': 'NORMAL'},
    {'tlsciphers': 'ALL:!aNULL:!eNULL:@SECLEVEL=0',
     'tlspriority': 'NORMAL:-VERS-ALL:+VERS-TLS1.1'},
    {'tlsciphers': GOOD_CIPHERS + ':TLS_AES_128_GCM_SHA256',
     'tlsgroups': 'P-384', 'tlspriority': 'SECURE256:%SERVER_PRECEDENCE'},
    {'tlsprotocols': 'TLSv1.2', 'tlspriority': 'PFS:-VERS-TLS1.3'}])
def test_consoles_accept_exactly_what_check_prints(
        start: Start, run_hook: RunHook, lab: Host,
        properties: dict[str, str]) -> None:
    promised = check(*map('='.join, properties.items()))
    vm = start(run_hook(BOTH, **properties))
    domain = lab.connection.lookupByName(vm.name)
    assert pairs(promised['displays']['spice']) == support.accepted(
        vm.tls_port)
    assert pairs(promised['displays']['vnc']) == support.accepted(
        support.console_port(domain, 'vnc', 'websocket'))
    # The same, of the VM that runs.
    of_vm = check('--vm', vm.name)
    for display in ('spice', 'vnc'):
        assert pairs(of_vm['displays'][display]) == pairs(
            promised['displays'][display])
