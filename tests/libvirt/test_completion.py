# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""What shells offer on a host: the names of VMs."""

from __future__ import annotations

import pathlib
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest
import shells

import support

if TYPE_CHECKING:
    from conftest import Create, Host, Start


@pytest.fixture(params=sorted(shells.SHELLS))
def complete(request: pytest.FixtureRequest,
             tmp_path: pathlib.Path) -> Callable[[str], set[str]]:
    return shells.SHELLS[request.param]('/usr', tmp_path).offers


@pytest.mark.parametrize('line', [
    'vdsm-tlsciphers scan ', 'vdsm-tlsciphers status la',
    'vdsm-tlsciphers apply la'])
def test_vms_of_the_host_are_offered(
        start: Start, complete: Callable[[str], set[str]], line: str) -> None:
    start(support.lab_domain('spice', name='lab'))
    assert complete(line) == {'lab'}


def test_name_of_a_vm_never_becomes_a_command(
        lab: Host, create: Create, complete: Callable[[str], set[str]],
        tmp_path: pathlib.Path) -> None:
    domain = create(lab, support.lab_domain('spice', name='a$(>made)'))
    try:
        completed = complete('vdsm-tlsciphers scan a')
    finally:
        domain.destroy()
    # bash shows it as it is put into the line; zsh does that afterwards.
    assert completed in ({'a\\$\\(\\>made\\)'}, {'a$(>made)'})
    assert not (tmp_path / 'made').exists()
