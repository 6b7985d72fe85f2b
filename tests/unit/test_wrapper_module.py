# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""
The wrapper's functions, for what a machine that runs tests does not have:
kernels and Pythons without memfd_create, other locales, failing hosts.
"""

from __future__ import annotations

import calendar
import fcntl
import io
import os
import posix
import time
from typing import TYPE_CHECKING, Any
from unittest import mock

import pytest

import support

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Iterator


@pytest.fixture
def wrapper(newest_installation: support.Installation) -> dict[str, Any]:
    """What the module defines."""
    return support.run_file(newest_installation.wrapper_module)


class Posix:
    """Stands for the module posix, less some names, with others instead."""

    def __init__(self, *missing: str, **instead: object) -> None:
        self.missing = missing
        self.instead = instead

    def __getattr__(self, name: str) -> object:
        if name in self.missing:
            raise AttributeError(name)
        return self.instead.get(name) or getattr(posix, name)


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


@pytest.mark.parametrize('text, shown', [
    (' ~', ' ~'), ('\x1f\x7f\x80', '???'), ('x' * 100, 'x' * 100),
    ('x' * 101, 'x' * 100 + '...')])
def test_wrapper_prints_what_a_line_may_hold(
        wrapper: dict[str, Any], text: str, shown: str) -> None:
    assert wrapper['printable'](text) == shown


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
    line, = said
    assert ': %s; ' % shown in line
    assert line.endswith(' [host-error]')


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
        wrapper['note']('x', 'y')
        after = time.time()
    finally:
        monkeypatch.undo()
        time.tzset()
    written, _, rest = said[0].partition('.000+0000: ')
    assert int(before) <= calendar.timegm(time.strptime(
        written, '%Y-%m-%d %H:%M:%S')) <= after
    assert rest == '%d: info : qemu-kvm-modified: x [y]' % os.getpid()


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
    for conf, codes in ((tmp_path, ['[host-openssl-conf-unreadable]']),
                        (tmp_path / 'x', [])):
        takes_effect = mock.Mock(return_value=True)
        said.clear()
        with mock.patch.dict(wrapper, host_openssl_conf=lambda path=conf: path,
                             takes_effect=takes_effect):
            assert wrapper['write_configuration'](3, '', '', 'G') == (
                True, None)
        takes_effect.assert_called_once_with(
            3, wrapper['section_chain']({}) + 'Groups = G\n', '', ())
        assert [line.rpartition(' ')[2] for line in said] == codes


PROBE_SUITES = ('TLS_AES_256_GCM_SHA384', 'TLS_AES_128_GCM_SHA256')


@pytest.mark.parametrize('wanted', ['', *PROBE_SUITES])
@pytest.mark.parametrize('offered', [*PROBE_SUITES, 'TLS_X', ''])
def test_suites_that_openssl_offers_anyway_prove_nothing(
        wrapper: dict[str, Any], opened: list[int], wanted: str, offered: str,
        ) -> None:
    opened.append(os.memfd_create('x'))
    with mock.patch.dict(wrapper, ask=lambda *_: (0, [offered])):
        assert wrapper['takes_effect'](opened[0], '', wanted) is None


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
            wrapper['check_persistent'](OSError(errno, 'x'))
    else:
        wrapper['check_persistent'](OSError(errno, 'x'))
