# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""
What OpenSSL and GnuTLS of other releases answer, and programs that answer in
strange ways.
"""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING, Any
from unittest import mock

import pytest

import support

if TYPE_CHECKING:
    import pathlib


@pytest.fixture
def values(newest_installation: support.Installation) -> dict[str, Any]:
    """What the module defines."""
    return support.run_file(newest_installation.values_module)


PRINTS = r"printf 'a \377\n\n  b \n'; printf '\303\244' >&2; %s"


@pytest.mark.parametrize('errors, end, lines', [
    (True, '', ['a ?', 'b', '??']), (False, 'exit 3', ['a ?', 'b']),
    (True, 'cat', ['a ?', 'b', '??'])])
def test_answer_of_a_program_is_lines_of_ascii(
        values: dict[str, Any], errors: bool, end: str, lines: list[str],
        ) -> None:
    assert values['run']('/bin/sh', ('-c', PRINTS % end), {}, errors) == (
        3 if end == 'exit 3' else 0, lines)


def test_program_has_nothing_to_read(values: dict[str, Any]) -> None:
    reader, writer = os.pipe()
    os.write(writer, b'x')
    os.close(writer)
    standard_input = os.dup(0)
    os.dup2(reader, 0)
    try:
        assert values['run']('/bin/cat', ()) == (0, [])
    finally:
        os.dup2(standard_input, 0)
        os.close(standard_input)
        os.close(reader)


def test_answer_may_be_long(values: dict[str, Any]) -> None:
    status, lines = values['run'](
        '/bin/sh', ('-c', 'head -c 300000 /dev/zero | tr "\\0" x'))
    assert status == 0
    assert [len(line) for line in lines] == [300000]


def test_program_gets_the_environment_that_it_is_given(
        values: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv('A', 'b')
    assert values['run']('/usr/bin/env', (), {'C': 'd'}) == (0, ['C=d'])
    assert 'A=b' in values['run']('/usr/bin/env', ())[1]


def test_program_that_is_killed_is_named(values: dict[str, Any]) -> None:
    with pytest.raises(OSError, match='killed') as error:
        values['run']('/bin/sh', ('-c', 'kill -9 $$'))
    assert error.value.strerror == '/bin/sh was killed by signal 9'
    assert error.value.errno is None


@pytest.mark.parametrize('text, shown', [
    (' ~', ' ~'), ('\x1f\x7f\x80"\'\\', '??????'), ('x' * 60, 'x' * 60),
    ('x' * 61, 'x' * 60 + '...')])
def test_hook_prints_what_a_line_may_hold(
        values: dict[str, Any], text: str, shown: str) -> None:
    assert values['printable'](text) == shown


@pytest.mark.parametrize('suite, versions', [
    (['a', 'TLS1.3'], ['TLS1.3']), (['a', 'SSL3.0'], ['1.0', '1.1', '1.2']),
    (['a', 'TLS1.0'], ['1.0', '1.1', '1.2']), (['a', 'TLS1.2'], ['1.2']),
    (['a_PSK_b', 'TLS1.3'], []), (['a_SRP_b', 'SSL3.0'], []),
    (['PSK_SRP', 'TLS1.2'], ['1.2'])])
def test_suite_counts_for_versions_from_its_own_on(
        values: dict[str, Any], suite: list[str], versions: list[str],
        ) -> None:
    every = ['TLS1.0', 'TLS1.1', 'TLS1.2', 'TLS1.3']
    priority = values['Priority']([
        '%s 0xc0, 0x2f %s' % tuple(suite),
        'Protocols: ' + ', '.join('VERS-' + version for version in every)])
    expected = [version if version.startswith('TLS') else 'TLS' + version
                for version in versions]
    assert priority.versions() == expected
    assert [version for version in every
            if values['has_suite'](priority, version)] == expected


# As GnuTLS 3.3 of EL7 answers.
GNUTLS_3_3 = (
    'Cipher suites for NORMAL\n'
    'TLS_DHE_RSA_AES_128_GCM_SHA256   \t0x00, 0x9e\tTLS1.2\n'
    'TLS_RSA_ARCFOUR_128_SHA1         \t0x00, 0x05\tSSL3.0\n'
    'Certificate types: CTYPE-X.509\n'
    'Protocols: VERS-TLS1.2, VERS-TLS1.1, VERS-DTLS1.2\n'
    'Elliptic curves: CURVE-SECP256R1, CURVE-SECP384R1\n'
    'PK-signatures: SIGN-RSA-SHA256, SIGN-ECDSA-SHA256\n').split('\n')


def assess(values: dict[str, Any], status: int,
              lines: list[str]) -> tuple[list[str], str | None]:
    """
    Return the versions of TLS that an answer of gnutls-cli has, and the code
    of the refusal. To another question it says that the string leaves none.
    """
    answers = [(status, lines), (1, ['Error in priorities: none'])]
    with mock.patch.dict(values, ask=lambda *_: answers.pop(0)):
        try:
            found, problems = values['check_priority']('X', 'x')
        except values['Refused'] as refusal:
            return [], refusal.code
    return found.versions(), problems[0].code if problems else None


def test_answer_of_an_older_gnutls_is_understood(
        values: dict[str, Any]) -> None:
    assert assess(values, 0, GNUTLS_3_3) == (['TLS1.2', 'TLS1.1'], None)


@pytest.mark.parametrize('line', [4, 5, 6])
@pytest.mark.parametrize('text', [None, 'none', ''])
def test_answer_that_leaves_nothing_is_understood(
        values: dict[str, Any], line: int, text: str | None) -> None:
    lines = list(GNUTLS_3_3)
    lines[line] = '' if text is None else (
        lines[line].partition(': ')[0] + ': ' + text)
    assert assess(values, 0, lines) == ([], 'priority-empty')


@pytest.mark.parametrize('lines, shown', [
    ([], 'status 1'), (['Cipher suites for X'], 'status 1'),
    (['Cipher suites for X', 'x' * 101, 'y'], 'says: %s...' % ('x' * 100))])
def test_refusal_of_gnutls_is_shown(values: dict[str, Any], lines: list[str],
                                    shown: str) -> None:
    with mock.patch.dict(values, ask=lambda *_: (1, lines)), (
            pytest.raises(values['Refused'])) as refusal:
        values['check_priority']('X', 'x')
    assert shown in str(refusal.value)


@pytest.mark.parametrize('lines, old', [
    (['OpenSSL 1.0.2k-fips  26 Jan 2017'], '1.0.2k-fips'),
    (['OpenSSL 1.0.2k'], '1.0.2k'), (['OpenSSL', '1.1.0h x'], '1.1.0h'),
    (['OpenSSL 1.1.1k  FIPS 25 Mar 2021'], ''), (['OpenSSL 1.1.1'], ''),
    (['OpenSSL 3.0.2'], ''), (['OpenSSL'], ''), ([], '')])
def test_openssl_that_is_too_old_is_named(
        values: dict[str, Any], lines: list[str], old: str) -> None:
    with mock.patch.dict(values, ask=lambda *_: (0, lines)):
        assert values['version_note']() == (
            old and ' (OpenSSL %s is older than 1.1.1)' % old)


def test_cipher_list_is_no_option_of_old_openssl(
        values: dict[str, Any]) -> None:
    for given, asked in ('-X', ':-X'), ('X-', 'X-'):
        run = mock.Mock(return_value=(1, []))
        with mock.patch.dict(values, run=run):
            values['openssl_ciphers'](given, ('-v',))
        run.assert_called_once_with(
            values['OPENSSL'], ('ciphers', '-v', '--', asked),
            {'LC_ALL': 'C'}, False)


@pytest.mark.parametrize('answer, shown', [
    ((127, ['x' * 201, 'y']), 'x' * 200 + '...; fix this host'),
    ((127, ['cannot run x: Permission denied']), '; let every user run it'),
    ((127, ['cannot run x: No such file or directory']), '; install openssl'),
    (OSError(24, 'Too many open files'), 'Too many open files; fix')])
def test_program_that_gives_no_answer_is_named(
        values: dict[str, Any], answer: object, shown: str) -> None:
    with mock.patch.dict(values, run=mock.Mock(side_effect=[answer])), (
            pytest.raises(values['Refused'])) as refusal:
        values['openssl_ciphers']('X')
    assert shown in str(refusal.value)


def test_what_is_asked_ahead_leaves_room_where_there_is_little(
        values: dict[str, Any]) -> None:
    real, failures = values['start'], [OSError(11, 'no room')]

    def start(*question: Any) -> Any:
        if values['STARTED'] and failures:
            raise failures.pop()
        return real(*question)

    values['ask_ahead']('/bin/sleep', ('60',), {})
    with mock.patch.dict(values, start=start):
        assert values['ask']('/bin/echo', ('x',), {}) == (0, ['x'])
    assert not failures
    assert not values['STARTED']
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


def test_what_is_asked_ahead_runs_once_and_leaves_nothing(
        values: dict[str, Any], tmp_path: pathlib.Path) -> None:
    program = tmp_path / 'program'
    program.write_text('#!/bin/sh\ncase $1 in first) exec sleep 60;;\n'
                       'second) sleep 0.3;; esac\n'
                       'echo $1 >>%s/asked\necho answer $1\n' % tmp_path)
    program.chmod(0o755)
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        for word in 'first', 'second':
            values['ask_ahead'](str(program), (word,), {})
        assert values['ask'](str(program), ('third',), {}) == (
            0, ['answer third'])
        assert values['ask'](str(program), ('second',), {}) == (
            0, ['answer second'])
        values['forget']()
        with pytest.raises(ChildProcessError):
            os.waitpid(-1, os.WNOHANG)
        assert signal.getsignal(signal.SIGCHLD) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGCHLD, before)
    assert sorted((tmp_path / 'asked').read_text().split()) == [
        'second', 'third']


@pytest.mark.parametrize('names', [
    ['P-256', 'prime256v1', 'secp256r1', 'GROUP-SECP256R1', 'CURVE-SECP256R1'],
    ['X25519MLKEM768', 'GROUP-X25519-MLKEM768'],
    ['SecP256r1MLKEM768', 'GROUP-SECP256R1-MLKEM768'],
    ['ffdhe2048', 'GROUP-FFDHE2048'], ['P-521', 'secp521r1'],
    ['K-233', 'sect233k1'], ['X25519', 'x25519', 'GROUP-X25519']])
def test_group_is_the_same_under_all_its_names(values: dict[str, Any],
                                               names: list[str]) -> None:
    assert len({values['group_key'](name) for name in names}) == 1
    assert values['group_key']('P-384') != values['group_key'](names[0])
