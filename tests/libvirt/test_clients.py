# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""Users' clients and real consoles: is there a picture?"""

from __future__ import annotations

import functools
import pathlib
import subprocess
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

import clients
import support

if TYPE_CHECKING:
    from conftest import VM, Start


Screenshot = Callable[..., clients.Picture]


@pytest.fixture
def vm(start: Start) -> VM:
    return start(support.lab_domain('spice', 'vnc'))


@pytest.fixture(params=['spice', 'vnc'])
def screenshot(request: pytest.FixtureRequest, vm: VM) -> Screenshot:
    """A function that gives the picture that a client gets."""
    if request.param == 'spice':
        return functools.partial(clients.spice_screenshot, vm.tls_port)
    return functools.partial(clients.vnc_screenshot, vm.vnc_port)


@pytest.fixture(scope='session')
def other_ca(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A CA (pathlib.Path of its certificate) that signed none of ours."""
    folder = tmp_path_factory.mktemp('ca')
    subprocess.run(
        ['openssl', 'req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-subj',
         '/CN=other CA', '-keyout', folder / 'key.pem', '-out',
         folder / 'ca.pem'], check=True, capture_output=True)
    return folder / 'ca.pem'


def test_client_shows_the_screen_of_the_guest(screenshot: Screenshot) -> None:
    picture = clients.await_picture(screenshot)
    assert len(clients.colours(picture)) > 1


def test_clients_of_both_kinds_show_the_same(vm: VM) -> None:
    for _ in range(100):
        spice = clients.await_picture(clients.spice_screenshot, vm.tls_port)
        vnc = clients.await_picture(clients.vnc_screenshot, vm.vnc_port)
        # In between the guest may have written, or its cursor blinked.
        if spice == vnc:
            return
    pytest.fail('SPICE and VNC never show the same')


def test_client_refuses_a_console_of_an_untrusted_ca(
        screenshot: Screenshot, other_ca: pathlib.Path) -> None:
    with pytest.raises(subprocess.CalledProcessError) as error:
        screenshot(ca=other_ca)
    assert error.value.returncode == 1
    assert b'certificate' in error.value.output


def test_client_gets_nothing_without_the_password(
        screenshot: Screenshot) -> None:
    with pytest.raises(subprocess.CalledProcessError) as error:
        screenshot(password='wrong')
    assert error.value.returncode == 1
