# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""Faults of the machine that cannot be had here: mocks stand for them."""

import os
import pathlib
import posix
import types

import mock
import pytest

import support


def test_write_and_restore_that_both_fail_are_said(
        newest_installation: support.Installation,
        tmp_path: pathlib.Path) -> None:
    hook = support.run_file(newest_installation.hook_module)
    policy = types.SimpleNamespace(**support.run_file(
        newest_installation.module))
    hooking = mock.Mock()
    hooking.write_domxml.side_effect = OSError(28, 'No space left on device')
    gone = str(tmp_path / 'gone' / 'domxml')
    with mock.patch.dict(os.environ, _hook_domxml=gone):
        with pytest.raises(policy.Refused) as refusal:
            hook['write'](hooking, policy, mock.sentinel.document, b'before')
    assert 'No space left on device (and restoring it failed)' in (
        refusal.value.text)


def test_broken_module_is_one_line(newest_installation: support.Installation,
                                   tmp_path: pathlib.Path) -> None:
    """The package is damaged: its module cannot be loaded."""
    hook = support.run_file(newest_installation.hook_module)
    hooking = mock.Mock()
    hooking.exit_hook.side_effect = SystemExit
    with mock.patch.dict('sys.modules', hooking=hooking, tlsciphers=None), \
            mock.patch.dict(posix.environ, {b'tlsciphers': b'HIGH'}):
        with pytest.raises(SystemExit):
            hook['run'](True)
    hooking.exit_hook.assert_called_once()
    line, = hooking.exit_hook.call_args.args
    assert line.endswith(' [package-damaged]')
    assert 'dnf reinstall vdsm-hook-tlsciphers' in line
