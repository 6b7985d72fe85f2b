# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""
What the hook makes of the wrapper's SELinux label. The labels are real
attributes of the file; only /sys/fs/selinux is a stand-in, since this kernel
does not run SELinux.
"""

from __future__ import annotations

import os
import pathlib
import subprocess
from typing import Protocol

import pytest

import support
from support import GOOD_CIPHERS

DOMAIN = (support.DATA / 'domain-lab.xml').read_text()


class Run(Protocol):
    """What the fixture run is."""

    def __call__(self, selinux_type: str | None, enforcing: bool | None
                 ) -> subprocess.CompletedProcess[str]: ...


@pytest.fixture
def run(newest_installation: support.Installation,
        tmp_path: pathlib.Path) -> Run:
    """
    A function that runs the hook with a wrapper that has an SELinux type (or
    None), where enforcing is True, False, or None (SELinux is disabled).
    """
    domxml = tmp_path / 'domxml'
    wrapper = newest_installation.wrapper

    def run(selinux_type: str | None,
            enforcing: bool | None) -> subprocess.CompletedProcess[str]:
        if selinux_type:
            os.setxattr(wrapper, 'security.selinux',
                        b'system_u:object_r:%s:s0\0' % selinux_type.encode())
        domxml.write_text(DOMAIN)
        enforce = '' if enforcing is None else (
            'mount -t tmpfs none /sys/fs && mkdir /sys/fs/selinux && '
            'echo %d >/sys/fs/selinux/enforce && ' % enforcing)
        try:
            return subprocess.run(
                ['unshare', '--mount', 'sh', '-c', enforce + 'exec "$0"',
                 newest_installation.hook], capture_output=True, text=True,
                env={'PATH': os.environ['PATH'], '_hook_domxml': str(domxml),
                     'PYTHONPATH': str(support.TESTS / 'standin'),
                     'tlsciphers': GOOD_CIPHERS})
        finally:
            if selinux_type:
                os.removexattr(wrapper, 'security.selinux')

    return run


@pytest.mark.parametrize('enforcing', [True, False])
def test_label_of_an_emulator_is_right(run: Run, enforcing: bool) -> None:
    process = run('qemu_exec_t', enforcing)
    assert process.returncode == 0
    assert 'label' not in process.stderr


@pytest.mark.parametrize('selinux_type, shown', [('bin_t', 'bin_t'),
                                                 (None, 'No data')])
def test_other_label_is_refused_with_the_remedy(
        run: Run, selinux_type: str | None, shown: str,
        newest_installation: support.Installation) -> None:
    process = run(selinux_type, True)
    assert process.returncode == 2
    line, = process.stderr.splitlines()
    assert shown in line
    assert 'restorecon -v %s %s' % (
        newest_installation.wrapper, newest_installation.emulator) in line
    assert support.code_of(line) == 'wrapper-label'


def test_other_label_is_a_warning_in_permissive_mode(run: Run) -> None:
    process = run('bin_t', False)
    assert process.returncode == 0
    assert 'restorecon' in process.stderr


def test_label_does_not_matter_without_selinux(run: Run) -> None:
    process = run('bin_t', None)
    assert process.returncode == 0
    assert 'label' not in process.stderr
