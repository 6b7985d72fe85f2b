# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""The hook's functions, where a domain XML cannot be read or written."""

from __future__ import annotations

import os
import types
from typing import TYPE_CHECKING, Any
from unittest import mock
from xml.dom import minidom

import pytest

import support

if TYPE_CHECKING:
    import pathlib


@pytest.fixture
def hook(newest_installation: support.Installation) -> dict[str, Any]:
    """What the module defines."""
    return support.run_file(newest_installation.hook_module)


@pytest.mark.parametrize('error, text, code', [
    (ImportError('No module named x'), 'No module named x', 'package-damaged'),
    (ValueError(' X~"\'\\\x1f\x7f\xe4%'), 'ValueError:  X~??????%',
     'internal-error'),
    (ValueError('x' * 400), 'ValueError: ' + 'x' * 366, 'internal-error'),
    (RuntimeError('maximum recursion depth'), 'too deeply', 'domain-xml')])
def test_every_error_of_the_hook_is_one_line(
        hook: dict[str, Any], error: Exception, text: str, code: str) -> None:
    line = hook['describe'](error) % ''
    assert line.startswith('vdsm-hook-tlsciphers: ')
    assert text + '; ' in line
    assert line.endswith(' [%s]' % code)


def test_domain_xml_that_cannot_be_read_is_not_the_hosted_engine(
        hook: dict[str, Any], tmp_path: pathlib.Path) -> None:
    domxml = tmp_path / 'domxml'
    with mock.patch.dict(hook, posix=types.SimpleNamespace(
            environ={b'_hook_domxml': os.fsencode(domxml)})):
        assert not hook['is_default_of_hosted_engine'](False)
        domxml.write_text('<name>HostedEngine</name>')
        assert hook['is_default_of_hosted_engine'](False)


def test_write_that_cannot_be_undone_says_so(
        hook: dict[str, Any], newest_installation: support.Installation,
        tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hooking = mock.Mock()
    hooking.write_domxml.side_effect = OSError(28, 'x' * 200)
    policy = types.SimpleNamespace(
        **support.run_file(newest_installation.module))
    path = tmp_path / 'domxml'
    path.write_text('half')
    for name, outcome in ((str(path), 'unchanged'),
                          ('/nonexistent/' + 'y' * 100, 'failed')):
        monkeypatch.setenv('_hook_domxml', name)
        with pytest.raises(policy.Refused) as refusal:
            hook['write'](hooking, policy, 'document', b'before')
        hooking.write_domxml.assert_called_with('document')
        assert refusal.value.code == 'domain-xml-unwritable'
        assert '[Errno 28] %s...' % ('x' * 89) in refusal.value.text
        assert outcome in refusal.value.text
        assert policy.printable(name, 100) in refusal.value.remedy
    assert path.read_bytes() == b'before'


def test_policy_that_is_not_in_the_domain_xml_is_not_written(
        hook: dict[str, Any], newest_installation: support.Installation,
        tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / 'domxml'
    path.write_text('<domain/>')
    monkeypatch.setenv('_hook_domxml', str(path))
    monkeypatch.setenv('tlspriority', 'NORMAL')
    policy, domain, host = support.load_modules(
        newest_installation.module.parent, 'tlsciphers', 'tlsciphers_domain',
        'tlsciphers_host')
    monkeypatch.setattr(domain, '_add_arguments', lambda *_: None)
    monkeypatch.setattr(host, 'check_wrapper', list)
    hooking = mock.Mock()
    hooking.read_domxml.return_value = minidom.parseString('<domain/>')
    with pytest.raises(policy.Refused) as refusal:
        hook['enforce'](hooking, policy, domain, host)
    assert refusal.value.code == 'package-damaged'
    hooking.write_domxml.assert_not_called()
