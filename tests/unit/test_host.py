# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""The label of the wrapper on a host with SELinux."""

from __future__ import annotations

import io
import os
from typing import TYPE_CHECKING, Any
from unittest import mock

import pytest

import support

if TYPE_CHECKING:
    pass


@pytest.fixture
def module(newest_installation: support.Installation) -> dict[str, Any]:
    """What the module defines."""
    return support.run_file(newest_installation.host_module)


GOOD_LABEL = b'system_u:object_r:qemu_exec_t:s0\0'


BIN_LABEL = b'system_u:object_r:bin_t:s0\0'


def getxattr(label: bytes | OSError) -> Any:
    """Stand in for os.getxattr(): a machine without SELinux has no labels."""
    return mock.patch.object(os, 'getxattr', mock.Mock(
        side_effect=[label]), create=True)


@pytest.mark.parametrize('enforcing', [True, False])
def test_wrapper_with_the_label_of_qemu_is_good(
        module: dict[str, Any], enforcing: bool) -> None:
    with mock.patch.dict(module, _selinux_enforcing=lambda: enforcing), (
            getxattr(GOOD_LABEL)) as asked:
        assert module['check_wrapper']() == []
    asked.assert_called_once_with(module['EMULATOR'], 'security.selinux')


@pytest.mark.parametrize('label, shown', [
    (BIN_LABEL, 'system_u:object_r:bin_t:s0'), (b'', ''), (b'a:b\xff', 'a:b?'),
    (b'qemu_exec_t:qemu_exec_t:x:qemu_exec_t',
     'qemu_exec_t:qemu_exec_t:x:qemu_exec_t'),
    (OSError(61, 'No \xe4 available'), 'No ? available')])
def test_wrapper_with_another_label_is_refused_where_it_counts(
        module: dict[str, Any], label: bytes | OSError, shown: str) -> None:
    with mock.patch.dict(module, _selinux_enforcing=lambda: False), (
            getxattr(label)):
        note, = module['check_wrapper']()
    with mock.patch.dict(module, _selinux_enforcing=lambda: True), (
            getxattr(label)), pytest.raises(module['Refused']) as refusal:
        module['check_wrapper']()
    assert str(refusal.value) == str(note) == (
        'vdsm-hook-tlsciphers: the wrapper has the SELinux label %s instead '
        'of qemu_exec_t; restorecon -v %s %s [wrapper-label]' % (
            shown, module['WRAPPER'], module['EMULATOR']))


def test_label_does_not_count_without_selinux(module: dict[str, Any]) -> None:
    with mock.patch.dict(module, _selinux_enforcing=lambda: None), (
            getxattr(BIN_LABEL)) as asked:
        assert module['check_wrapper']() == []
    asked.assert_not_called()


def test_label_does_not_count_where_python_cannot_tell_it(
        module: dict[str, Any]) -> None:
    """Python 2.7 has no os.getxattr()."""
    with mock.patch.dict(module, _selinux_enforcing=lambda: True), (
            getxattr(BIN_LABEL)):
        del os.getxattr
        assert module['check_wrapper']() == []


@pytest.mark.parametrize('text, enforcing', [
    ('1', True), ('0', False), ('10', True), (None, None)])
def test_kernel_says_whether_selinux_enforces(
        module: dict[str, Any], text: str | None, enforcing: bool | None,
        ) -> None:
    opened = mock.Mock(side_effect=[
        OSError() if text is None else io.StringIO(text)])
    with mock.patch.dict(module, open=opened):
        assert module['_selinux_enforcing']() is enforcing
    opened.assert_called_once_with('/sys/fs/selinux/enforce')
