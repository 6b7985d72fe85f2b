# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""
Functions of hook and wrapper in this process, for what a machine that runs
tests does not have: SELinux, kernels and Pythons without memfd_create, other
locales, programs that answer in strange ways.
"""

from __future__ import annotations

import calendar
import fcntl
import io
import os
import posix
import time
import types
from typing import TYPE_CHECKING, Any
from unittest import mock
from xml.dom import minidom

import pytest

import support

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Iterator


@pytest.fixture
def module(newest_installation: support.Installation) -> dict[str, Any]:
    """What the shared module defines."""
    return support.run_file(newest_installation.module)


@pytest.fixture
def wrapper(newest_installation: support.Installation) -> dict[str, Any]:
    """What the wrapper's module defines."""
    return support.run_file(newest_installation.wrapper_module)


@pytest.fixture
def values(newest_installation: support.Installation) -> dict[str, Any]:
    """What the module of the rules for values defines."""
    return support.run_file(newest_installation.values_module)


@pytest.fixture
def hook(newest_installation: support.Installation) -> dict[str, Any]:
    """What the hook's module defines."""
    return support.run_file(newest_installation.hook_module)


class Posix:
    """Stands for the module posix, less some names, with others instead."""

    def __init__(self, *missing: str, **instead: object) -> None:
        self.missing = missing
        self.instead = instead

    def __getattr__(self, name: str) -> object:
        if name in self.missing:
            raise AttributeError(name)
        return self.instead.get(name) or getattr(posix, name)


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
    line = ('tlsciphers: the wrapper has the SELinux label %s instead of '
            'qemu_exec_t; remedy: restorecon -v %s %s' % (
                shown, module['WRAPPER'], module['EMULATOR']))
    with mock.patch.dict(module, _selinux_enforcing=lambda: False), (
            getxattr(label)):
        assert module['check_wrapper']() == [line]
    with mock.patch.dict(module, _selinux_enforcing=lambda: True), (
            getxattr(label)), pytest.raises(module['Refused']) as refusal:
        module['check_wrapper']()
    assert str(refusal.value) == line


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


@pytest.fixture
def opened() -> Iterator[list[int]]:
    """Descriptors to be closed."""
    descriptors: list[int] = []
    yield descriptors
    for descriptor in descriptors:
        os.close(descriptor)


def test_file_of_the_policy_is_in_memory(
        wrapper: dict[str, Any], opened: list[int]) -> None:
    opened.append(wrapper['anonymous_file']())
    assert os.readlink('/proc/self/fd/%d' % opened[0]) == (
        '/memfd:vdsm-tls (deleted)')
    assert os.get_inheritable(opened[0])


@pytest.mark.parametrize('folders', [
    ['/tmp'], ['/tmp', '/dev/shm'], ['/tmp', '/dev/shm', '/var/tmp']])
def test_file_of_the_policy_has_no_name_without_memfd_create(
        wrapper: dict[str, Any], opened: list[int], tmp_path: pathlib.Path,
        folders: list[str]) -> None:
    asked = []

    def open_as_if(folder: str, flags: int, mode: int) -> int:
        asked.append(folder)
        if folder != folders[-1]:
            raise OSError(95, 'Operation not supported')
        return posix.open(tmp_path, flags, mode)

    # The constant's value is another on some machines.
    for missing, there in (([], {}), (['O_TMPFILE'], {}), (
            [], {'O_TMPFILE': os.O_TMPFILE | os.O_APPEND})):
        asked.clear()
        with mock.patch.dict(wrapper, posix=Posix(
                'memfd_create', *missing, open=open_as_if, **there)):
            descriptor = wrapper['anonymous_file']()
        opened.append(descriptor)
        assert asked == folders
        assert os.get_inheritable(descriptor)
        assert os.fstat(descriptor).st_mode & 0o777 == 0o600
        assert os.fstat(descriptor).st_nlink == 0
        flags = fcntl.fcntl(descriptor, fcntl.F_GETFL)
        assert flags & os.O_ACCMODE == os.O_RDWR
        assert bool(flags & os.O_APPEND) == bool(there)
    assert list(tmp_path.iterdir()) == []


def test_file_of_the_policy_needs_a_folder(wrapper: dict[str, Any]) -> None:
    errors = [OSError(95, 'a'), OSError(2, 'b'), OSError(28, 'c')]
    with mock.patch.dict(wrapper, posix=Posix(
            'memfd_create', open=mock.Mock(side_effect=errors))), (
                pytest.raises(OSError, match='c')):
        wrapper['anonymous_file']()


def test_file_is_inherited_without_being_told_on_python_2(
        wrapper: dict[str, Any], opened: list[int], tmp_path: pathlib.Path,
        ) -> None:
    with mock.patch.dict(wrapper, posix=Posix(
            'memfd_create', 'set_inheritable',
            open=lambda _, flags, mode: posix.open(tmp_path, flags, mode))):
        opened.append(wrapper['anonymous_file']())


@pytest.mark.parametrize('now, before, after', [
    # Python makes it of nothing, or of C.
    (b'C.UTF-8', None, None), (b'C.utf8', None, None), (b'UTF-8', None, None),
    (b'C.UTF-8', b'C', b'C'), (b'UTF-8', b'', b''),
    # It was that, or is another.
    (b'C.UTF-8', b'C.UTF-8', b'C.UTF-8'), (b'UTF-8', b'UTF-8', b'UTF-8'),
    (b'C', None, b'C'), (None, None, None)])
def test_locale_is_as_libvirt_gave_it(
        wrapper: dict[str, Any], now: bytes | None, before: bytes | None,
        after: bytes | None) -> None:
    environment = {b'A': b'LC_CTYPE=a'}
    if now is not None:
        environment[b'LC_CTYPE'] = now
    exported = dict(environment)
    given = b'A=LC_CTYPE=a\0XLC_CTYPE=x\0' + (
        b'' if before is None else b'LC_CTYPE=' + before + b'\0')
    opened = mock.Mock(side_effect=lambda *_: io.BytesIO(given))
    with mock.patch.dict(wrapper, open=opened, posix=Posix(
            environ=environment, putenv=exported.__setitem__,
            unsetenv=exported.__delitem__)):
        wrapper['restore_locale']()
    assert exported.pop(b'LC_CTYPE', None) == after
    assert exported == {b'A': b'LC_CTYPE=a'}
    # Unbuffered: Python would ask a terminal's question of it.
    assert opened.call_args_list in (
        [], [mock.call('/proc/self/environ', 'rb', 0)])


def test_locale_stays_where_proc_is_not_mounted(
        wrapper: dict[str, Any]) -> None:
    with mock.patch.dict(
            wrapper, open=mock.Mock(side_effect=OSError), posix=Posix(
                environ={b'LC_CTYPE': b'C.UTF-8'}, putenv=pytest.fail,
                unsetenv=pytest.fail)):
        wrapper['restore_locale']()


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


def test_program_that_cannot_be_run_is_named(
        values: dict[str, Any], tmp_path: pathlib.Path) -> None:
    path = str(tmp_path / 'a\xe4b')
    environments: list[dict[str, str] | None] = [None, {}]
    for environment in environments:
        assert values['run'](path, (), environment) == (
            127, ['cannot run %s: No such file or directory'
                  % path.replace('\xe4', '?')])


def test_program_that_is_killed_is_named(values: dict[str, Any]) -> None:
    with pytest.raises(OSError, match='killed') as error:
        values['run']('/bin/sh', ('-c', 'kill -9 $$'))
    assert error.value.strerror == '/bin/sh was killed by signal 9'
    assert error.value.errno is None


@pytest.mark.parametrize('text, shown', [
    (' ~', ' ~'), ('\x1f\x7f\x80', '???'), ('x' * 100, 'x' * 100),
    ('x' * 101, 'x' * 100 + '...')])
def test_wrapper_prints_what_a_line_may_hold(
        wrapper: dict[str, Any], text: str, shown: str) -> None:
    assert wrapper['printable'](text) == shown


@pytest.mark.parametrize('text, shown', [
    (' ~', ' ~'), ('\x1f\x7f\x80"\'\\', '??????'), ('x' * 60, 'x' * 60),
    ('x' * 61, 'x' * 60 + '...')])
def test_hook_prints_what_a_line_may_hold(
        module: dict[str, Any], text: str, shown: str) -> None:
    assert module['printable'](text) == shown


@pytest.mark.parametrize('suite, versions', [
    (['a', 'TLS1.3'], ['TLS1.3']), (['a', 'SSL3.0'], ['1.0', '1.1', '1.2']),
    (['a', 'TLS1.0'], ['1.0', '1.1', '1.2']), (['a', 'TLS1.2'], ['1.2']),
    (['a_PSK_b', 'TLS1.3'], []), (['a_SRP_b', 'SSL3.0'], []),
    (['PSK_SRP', 'TLS1.2'], ['1.2'])])
def test_suite_counts_for_versions_from_its_own_on(
        values: dict[str, Any], suite: list[str], versions: list[str],
        ) -> None:
    suite = [suite[0], '0xc0,', '0x2f', suite[1]]
    assert [version for version in ('TLS1.0', 'TLS1.1', 'TLS1.2', 'TLS1.3')
            if values['usable'](suite, version)] == [
                version if version.startswith('TLS') else 'TLS' + version
                for version in versions]


# As GnuTLS 3.3 of EL7 answers.
GNUTLS_3_3 = (
    'Cipher suites for NORMAL\n'
    'TLS_DHE_RSA_AES_128_GCM_SHA256   \t0x00, 0x9e\tTLS1.2\n'
    'TLS_RSA_ARCFOUR_128_SHA1         \t0x00, 0x05\tSSL3.0\n'
    'Certificate types: CTYPE-X.509\n'
    'Protocols: VERS-TLS1.2, VERS-TLS1.1, VERS-DTLS1.2\n'
    'Elliptic curves: CURVE-SECP256R1, CURVE-SECP384R1\n'
    'PK-signatures: SIGN-RSA-SHA256, SIGN-ECDSA-SHA256\n').split('\n')


def judgement(values: dict[str, Any], status: int,
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
    assert judgement(values, 0, GNUTLS_3_3) == (['TLS1.2', 'TLS1.1'], None)


@pytest.mark.parametrize('line', [4, 5, 6])
@pytest.mark.parametrize('text', [None, 'none', ''])
def test_answer_that_leaves_nothing_is_understood(
        values: dict[str, Any], line: int, text: str | None) -> None:
    lines = list(GNUTLS_3_3)
    lines[line] = '' if text is None else (
        lines[line].partition(': ')[0] + ': ' + text)
    assert judgement(values, 0, lines) == ([], 'priority-empty')


@pytest.mark.parametrize('lines, shown', [
    ([], 'status 1'), (['Cipher suites for X'], 'status 1'),
    (['Cipher suites for X', 'x' * 101, 'y'], 'says: %s...' % ('x' * 100))])
def test_refusal_of_gnutls_is_shown(values: dict[str, Any], lines: list[str],
                                    shown: str) -> None:
    with mock.patch.dict(values, ask=lambda *_: (1, lines)), (
            pytest.raises(values['NotHere'])) as refusal:
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


@pytest.mark.parametrize('error, line', [
    (ImportError('No module named x'),
     'tlsciphers: the package is damaged: No module named x; remedy: dnf '
     'reinstall vdsm-hook-tlsciphers'),
    (ValueError(' X~"\'\\\x1f\x7f\xe4'),
     'tlsciphers: unexpected error: ValueError:  X~??????'),
    (ValueError('x' * 400),
     'tlsciphers: unexpected error: ValueError: ' + 'x' * 370)])
def test_every_error_of_the_hook_is_one_line(
        hook: dict[str, Any], error: Exception, line: str) -> None:
    assert hook['one_line'](error) == line


def test_domain_xml_that_cannot_be_read_is_not_the_hosted_engine(
        hook: dict[str, Any], tmp_path: pathlib.Path) -> None:
    domxml = tmp_path / 'domxml'
    with mock.patch.dict(hook, posix=Posix(
            environ={b'_hook_domxml': os.fsencode(domxml)})):
        assert not hook['is_default_of_hosted_engine'](False)
        domxml.write_text('<name>HostedEngine</name>')
        assert hook['is_default_of_hosted_engine'](False)


def test_refusal_of_the_hook_stays_as_it_is(
        hook: dict[str, Any], module: dict[str, Any]) -> None:
    for kind in 'Refused', 'NotHere', 'Unusable':
        assert hook['one_line'](module[kind]('"x"')) == '"x"'


def test_write_that_cannot_be_undone_says_so(
        hook: dict[str, Any], module: dict[str, Any],
        tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hooking = mock.Mock()
    hooking.write_domxml.side_effect = OSError(28, 'x' * 200)
    policy = types.SimpleNamespace(**module)
    path = tmp_path / 'domxml'
    path.write_text('half')
    for name, outcome in (
            (str(path), 'it is as it was'),
            ('/nonexistent/' + 'y' * 100, 'nor could it be put back as it '
                                          'was')):
        monkeypatch.setenv('_hook_domxml', name)
        with pytest.raises(policy.Refused) as refusal:
            hook['write'](hooking, policy, 'document', b'before')
        hooking.write_domxml.assert_called_with('document')
        assert str(refusal.value) == (
            'tlsciphers: cannot write the domain XML: [Errno 28] %s...; %s; '
            'make room in the folder of %s' % (
                'x' * 89, outcome, policy.printable(name, 100)))
    assert path.read_bytes() == b'before'


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
    ((127, ['x' * 201, 'y']), 'x' * 200 + '...; mend this host'),
    ((127, ['cannot run x: Permission denied']), '; let every user run it'),
    ((127, ['cannot run x: No such file or directory']), '; install openssl'),
    (OSError(24, 'Too many open files'), 'Too many open files; mend')])
def test_program_that_gives_no_answer_is_named(
        values: dict[str, Any], answer: object, shown: str) -> None:
    with mock.patch.dict(values, run=mock.Mock(side_effect=[answer])), (
            pytest.raises(values['CannotAsk'])) as refusal:
        values['openssl_ciphers']('X')
    assert shown in str(refusal.value)


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


def test_all_that_is_left_out_is_named(module: dict[str, Any]) -> None:
    assert module['_left_out'](module['Setting']('a', 'b', 'c'), [
        'd', 'e']) == [
            'c: left out, since this host does not know it: d, e']


def test_emulator_with_a_long_name_is_named(module: dict[str, Any]) -> None:
    for path, shown in ('/' * 200, '/' * 200), ('/' * 201, '/' * 200 + '...'):
        with pytest.raises(module['Refused']) as refusal:
            module['check_emulator'](minidom.parseString(
                '<domain><devices><emulator>%s</emulator></devices></domain>'
                % path))
        assert str(refusal.value) == (
            'tlsciphers: another hook has set the emulator to %s, which this '
            'hook would drop; use only one of the two for this VM' % shown)


@pytest.fixture
def said(wrapper: dict[str, Any]) -> Iterator[list[str]]:
    """The lines that the wrapper writes."""
    lines: list[str] = []
    with mock.patch.dict(wrapper, write=lines.append):
        yield lines


@pytest.mark.parametrize('error, shown', [
    (OSError(2, 'No such file', '/proc/x'), '/proc/x: No such file'),
    (OSError(24, 'Too many'), 'Too many'), (OSError(), ''),
    (OSError(None, 'x' * 301), 'x' * 300 + '...')])
def test_error_of_the_host_is_named(
        wrapper: dict[str, Any], said: list[str], error: OSError, shown: str,
        ) -> None:
    with mock.patch.dict(wrapper, configure_openssl=mock.Mock(
            side_effect=error)), pytest.raises(SystemExit) as end:
        wrapper['final_arguments'](['-spice', 'tls-port=1', '-vdsm-tls',
                                    'protocols=TLSv1.2'])
    assert end.value.code == 1
    assert said == [
        'qemu-kvm-modified: protocols: cannot be put into effect: %s; remedy: '
        'mend this host, or start the VM on another one' % shown]


def test_openssl_conf_of_the_vm_stays_after_an_error(
        wrapper: dict[str, Any], said: list[str]) -> None:
    exported: dict[bytes, bytes] = {}
    environments: list[dict[bytes, bytes]] = [{b'OPENSSL_CONF': b'/x'}, {}]
    for environment in environments:
        exported[b'OPENSSL_CONF'] = b'/proc/self/fd/3'
        with mock.patch.dict(
                wrapper, configure_openssl=mock.Mock(side_effect=OSError),
                posix=Posix(environ=environment, putenv=exported.__setitem__,
                            unsetenv=lambda name: exported.pop(name, None))):
            arguments = ['-spice', 'tls-port=1']
            assert wrapper['final_arguments']([
                *arguments, '-vdsm-tls-default', 'groups=X']) == arguments
        assert exported == environment


def test_note_is_in_the_format_of_libvirt(
        wrapper: dict[str, Any], said: list[str],
        monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv('TZ', 'AAA-5')
    time.tzset()
    try:
        before = time.time()
        wrapper['note']('x')
        after = time.time()
    finally:
        monkeypatch.undo()
        time.tzset()
    written, _, rest = said[0].partition('.000+0000: ')
    assert int(before) <= calendar.timegm(time.strptime(
        written, '%Y-%m-%d %H:%M:%S')) <= after
    assert rest == '%d: info : qemu-kvm-modified: x' % os.getpid()


def test_commas_that_are_doubled_end_nothing(
        wrapper: dict[str, Any]) -> None:
    assert wrapper['split_parameters']('object', 'a,,bX=c,d=e,,fX=g,h') == [
        ('a,,bX=c', 'a,,bX=c'), ('d', 'd=e,,fX=g'), ('h', 'h')]


def test_other_displays_are_not_vnc(wrapper: dict[str, Any]) -> None:
    for name, value in (('display', 'gtk,gl=on'), ('display', None),
                        ('name', 'vnc=x')):
        assert wrapper['vnc_displays']([(name, value, [])]) == []
    assert wrapper['vnc_displays']([('display', 'vnc=:1,tls', [])]) == [
        [(':1', ':1'), ('tls', 'tls')]]


def test_vm_without_policy_and_tls_may_have_any_option(
        wrapper: dict[str, Any]) -> None:
    for first in (['-spice', 'port=1'], ['-name', 'tls-port=1']):
        arguments = [*first, '-unknown', '-vnc']
        assert wrapper['final_arguments'](arguments) is arguments


def test_cipher_that_only_ends_like_a_suite_of_tls_1_3_is_one(
        wrapper: dict[str, Any]) -> None:
    wrapper['check_setting']('ciphers', 'XTLS_A:!XTLS_A')


def test_file_of_the_policy_cannot_be_changed_any_more(
        wrapper: dict[str, Any], opened: list[int]) -> None:
    descriptor = wrapper['anonymous_file']()
    opened.append(descriptor)
    os.write(descriptor, b'x')
    path = '/proc/self/fd/%d' % descriptor
    assert wrapper['make_read_only'](descriptor, path)
    assert os.fstat(descriptor).st_mode & 0o777 == 0o400
    assert os.pread(descriptor, 9, 0) == b'x'
    with pytest.raises(OSError, match='Bad file descriptor'):
        os.write(descriptor, b'y')
    with pytest.raises(OSError, match=r'not permitted|denied'):
        os.truncate(path, 0)


def test_host_file_that_cannot_be_read_is_named(
        wrapper: dict[str, Any], said: list[str], tmp_path: pathlib.Path,
        ) -> None:
    for conf, lines in (
            (tmp_path, [' info : qemu-kvm-modified: OpenSSL cannot read %s: '
                        'Is a directory; only the policy counts' % tmp_path]),
            (tmp_path / 'x', [])):
        takes_effect = mock.Mock(return_value=True)
        said.clear()
        with mock.patch.dict(wrapper, host_openssl_conf=lambda path=conf: path,
                             takes_effect=takes_effect):
            assert wrapper['write_configuration'](3, '', '', 'G') is None
        takes_effect.assert_called_once_with(
            3, wrapper['section_chain']({}) + 'Groups = G\n', '')
        assert [line[line.index(' info'):] for line in said] == lines


PROOFS = ('TLS_AES_256_GCM_SHA384', 'TLS_AES_128_GCM_SHA256')


@pytest.mark.parametrize('wanted', ['', *PROOFS])
@pytest.mark.parametrize('offered', [*PROOFS, 'TLS_X', ''])
def test_suites_that_openssl_offers_anyway_prove_nothing(
        wrapper: dict[str, Any], opened: list[int], wanted: str, offered: str,
        ) -> None:
    opened.append(os.memfd_create('x'))
    with mock.patch.dict(wrapper, ask=lambda *_: (0, [offered])):
        assert not wrapper['takes_effect'](opened[0], '', wanted)


def test_file_of_the_policy_is_read_without_a_buffer(
        wrapper: dict[str, Any], opened: list[int]) -> None:
    opened.append(os.memfd_create('x'))
    read = mock.Mock(side_effect=open)
    with mock.patch.dict(wrapper, open=read, ask=mock.Mock(
            side_effect=[(0, [suite]) for suite in PROOFS])):
        assert wrapper['takes_effect'](opened[0], 'a = b\n', '')
    read.assert_called_once_with('/proc/self/fd/%d' % opened[0], 'rb', 0)


NONE = '[default]\nopenssl_conf = vdsm_tls_openssl_conf\n'
CHAINS = [
    ('', NONE + '[vdsm_tls_openssl_conf]\nssl_conf = vdsm_tls_ssl_conf\n'
     '[vdsm_tls_ssl_conf]\nsystem_default = vdsm_tls_system_default\n'
     '[vdsm_tls_system_default]\n'),
    ('openssl_conf = a\n', '[a]\nssl_conf = vdsm_tls_ssl_conf\n'
     '[vdsm_tls_ssl_conf]\nsystem_default = vdsm_tls_system_default\n'
     '[vdsm_tls_system_default]\n'),
    ('openssl_conf = a\n[ a ] # b\nssl_conf=b # c\n[b]\nsystem_default = '
     'a_B-9', '[a_B-9]\n'),
    ('default::openssl_conf = a\n[x]\na::ssl_conf = b\nb::system_default = c',
     '[c]\n'),
    ('openssl_conf = x\nopenssl_conf =\ta\n[a] ]\nssl_conf = b\n[b]\n'
     '#system_default = d\nsystem_default = c', '[c]\n'),
    ('[default]\nopenssl_conf = a\r\n[a]\nssl_conf = \\\nb\n'
     '[b]\nsystem_default = c', '[c]\n'),
]


@pytest.mark.parametrize('text, chain', CHAINS)
def test_section_of_the_host_is_found(
        wrapper: dict[str, Any], tmp_path: pathlib.Path, text: str,
        chain: str) -> None:
    conf = tmp_path / 'openssl.cnf'
    conf.write_bytes(text.encode('latin-1'))
    with mock.patch.dict(wrapper, HOST_OPENSSL_CONF=str(conf)):
        assert wrapper['read_host_configuration']() == (
            text.replace('\r', '').replace('\\\n', '').rstrip('\n') + '\n' * (
                1 + text.endswith('\n')), chain)


def test_files_that_are_included_take_their_places(
        wrapper: dict[str, Any], tmp_path: pathlib.Path) -> None:
    folder = tmp_path / 'd'
    folder.mkdir()
    (folder / 'a.cnf').write_text('[a]\n1')
    (folder / 'b.txt').write_text('[b]\n2')
    (folder / 'c.conf').write_text('3\n')
    (tmp_path / 'X').write_text('[e]\n\xe4', encoding='latin-1')
    conf = tmp_path / 'openssl.cnf'
    for sign in ' ', '=', ' =\t', '\t= ':
        conf.write_text('x\n.include%s%s\ny\n.include /nonexistent\n'
                        '.include %s # z\nopenssl_conf = f\nz' % (
                            sign, folder, tmp_path / 'X'))
        with mock.patch.dict(wrapper, HOST_OPENSSL_CONF=str(conf)), (
                mock.patch.dict(wrapper, posix=Posix(
                    listdir=lambda path: sorted(os.listdir(path))))):
            text, chain = wrapper['read_host_configuration']()
        assert text == ('x\n[a]\n1\n3\n\ny\n[e]\n\xe4\nopenssl_conf = f\nz\n')
        # It stands in the section that is open at the end of what it follows.
        assert chain.startswith(NONE)


def test_section_goes_on_in_files_that_are_included(
        wrapper: dict[str, Any], tmp_path: pathlib.Path) -> None:
    (tmp_path / 'a').write_text('ssl_conf = b\n[b]')
    conf = tmp_path / 'openssl.cnf'
    conf.write_text('openssl_conf = a\n[a]\n.include %s\nsystem_default = c'
                    % (tmp_path / 'a'))
    with mock.patch.dict(wrapper, HOST_OPENSSL_CONF=str(conf)):
        assert wrapper['read_host_configuration']()[1] == '[c]\n'


def test_include_needs_a_separator_and_an_absolute_path(
        wrapper: dict[str, Any], tmp_path: pathlib.Path) -> None:
    conf = tmp_path / 'openssl.cnf'
    for separator in '', ' ', '=':
        conf.write_text('.include%sX/nonexistent' % separator)
        with mock.patch.dict(wrapper, HOST_OPENSSL_CONF=str(conf)), (
                pytest.raises(ValueError, match=r'^.include X/nonexistent$')):
            wrapper['read_host_configuration']()


def test_file_that_includes_itself_is_refused(
        wrapper: dict[str, Any], tmp_path: pathlib.Path) -> None:
    conf = tmp_path / 'openssl.cnf'
    conf.write_text('.include %s' % conf)
    with mock.patch.dict(wrapper, HOST_OPENSSL_CONF=str(conf)), (
            pytest.raises(ValueError, match=r'^[.]include')) as error:
        wrapper['read_host_configuration']()
    assert str(error.value) == '.include %s' % conf
    # Ten files deep is no mistake.
    for number in range(10):
        (tmp_path / str(number)).write_text(
            '.include %s' % (tmp_path / str(number + 1)))
    (tmp_path / '10').write_text('x')
    with mock.patch.dict(wrapper, HOST_OPENSSL_CONF=str(tmp_path / '0')):
        assert wrapper['read_host_configuration']()[0] == 'x\n'
    (tmp_path / '10').write_text('.include %s' % (tmp_path / '11'))
    with mock.patch.dict(wrapper, HOST_OPENSSL_CONF=str(tmp_path / '0')), (
            pytest.raises(ValueError, match=r'^[.]include')):
        wrapper['read_host_configuration']()


@pytest.mark.parametrize('errno', [2, 13, 20, 21, 40, 5, 12, 24])
def test_error_that_openssl_need_not_meet_is_one(
        wrapper: dict[str, Any], errno: int) -> None:
    if errno in {5, 12, 24}:
        with pytest.raises(OSError, match='x'):
            wrapper['check_lasting'](OSError(errno, 'x'))
    else:
        wrapper['check_lasting'](OSError(errno, 'x'))


def test_host_file_is_read_without_a_buffer(
        wrapper: dict[str, Any]) -> None:
    """Python would ask a terminal's question of it, which SELinux logs."""
    opened = mock.Mock(side_effect=lambda *_: io.BytesIO(b''))
    with mock.patch.dict(wrapper, open=opened):
        wrapper['read_host_configuration']()
    opened.assert_called_once_with(wrapper['HOST_OPENSSL_CONF'], 'rb', 0)


def test_mistake_in_a_long_line_of_the_default_is_cut_short(
        module: dict[str, Any]) -> None:
    with mock.patch.dict(module, _host_default_text=lambda: 'x' * 200), (
            pytest.raises(module['Refused'])) as refusal:
        module['read_host_default']()
    shown = str(refusal.value).partition(': line 1: ')[2].partition(': ')[0]
    assert len(shown) == 63
    assert shown.endswith('xx...')
