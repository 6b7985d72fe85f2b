# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""The wrapper, run as libvirt runs it, and what the real emulator gets."""

from __future__ import annotations

import contextlib
import os
import pathlib
import re
import resource
import signal
import subprocess
from typing import TYPE_CHECKING, Any, Callable

import pytest

import support
from support import GOOD_CIPHERS, LIBVIRT_ENVIRONMENT, SEED_CIPHERS

if TYPE_CHECKING:
    from conftest import Run

SPICE = 'tls-port=5900,addr=192.0.2.1,x509-dir=/etc/pki/vdsm/libvirt-spice'


def arguments_of(run: Run, *arguments: str) -> list[str]:
    outcome = run(*arguments)
    assert outcome.status == 0, outcome.stderr
    return [os.fsdecode(argument) for argument in outcome.arguments]


def refusal_of(run: Run, *arguments: str | bytes, **keywords: Any) -> str:
    """Run the wrapper, which must refuse, and return its one line."""
    outcome = run(*arguments, **keywords)
    assert not outcome.started
    assert outcome.status == 1
    lines = outcome.stderr.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith('qemu-kvm-modified: ')
    assert '; ' in lines[0]  # the remedy
    return lines[0]


def test_first_command_line_of_the_seed_becomes_its_second(
        run: Run, installation: support.Installation) -> None:
    given = support.read_arguments('seed-wrapper.args')[1:]
    expected = support.read_arguments('seed-emulator.args')[1:]
    outcome = run(*given, '-vdsm-tls', 'ciphers=' + SEED_CIPHERS)
    assert outcome.arguments == expected
    # The VM's log shows what libvirt did not write there itself.
    assert re.match(
        r'\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}\+0000: %d: info : '
        r'qemu-kvm-modified: QEMU gets -spice %s \[policy-applied\]\n$'
        % (outcome.pid, re.escape(expected[-1].decode())), outcome.stderr)


def test_vm_of_a_manual_installation_gets_the_list_of_the_seed(
        run: Run) -> None:
    given = support.read_arguments('seed-wrapper.args')[1:]
    expected = support.read_arguments('seed-emulator.args')[1:]
    outcome = run(*given)
    assert outcome.arguments == expected
    line, = outcome.stderr.splitlines()
    assert line.endswith(' QEMU gets -spice %s [manual-ciphers]'
                         % expected[-1].decode())


@pytest.mark.parametrize('arguments', [
    ['-version'],
    ['-S', '-no-user-config', '-nodefaults', '-nographic', '-machine',
     'none,accel=kvm:tcg', '-qmp', 'unix:/run/x,server=on,wait=off',
     '-pidfile', '/run/x.pid', '-daemonize'],
    [],
    [''],
    ['-spice', 'port=5900,disable-ticketing=on'],
    ['-spice', 'port=5900,tls-port=0'],
    ['-append', '-spice', '-kernel', 'tls-port=1'],
    ['-spice'],
    ['-unknown-to-the-table', '-spice', 'port=5900'],
    ['disk.img', '-name', '-spice'],
    ['xspice', 'tls-port=1'],
])
def test_without_an_option_of_ours_every_argument_is_kept(
        run: Run, arguments: list[str]) -> None:
    outcome = run(*arguments)
    assert [os.fsdecode(argument) for argument in outcome.arguments
            ] == arguments
    assert outcome.stderr == ''


def test_password_is_not_logged(run: Run) -> None:
    outcome = run('-spice', 'tls-port=1,password=s3cret,,x', '-vdsm-tls',
                  'ciphers=AES256-SHA')
    assert outcome.arguments[-1].endswith(b',password=s3cret,,x')
    assert 's3cret' not in outcome.stderr


@pytest.mark.parametrize('arguments', [
    ['-spice', 'tls-port=1,x509-key-password=s3cret'],
    ['-spice', 'password=s3cret,=,tls-port=1'],
    ['-spice', 'tls-port=1,,password=s3cret'],
    ['-vnc', ':1,password=s3cret,='],
    ['-set', 'object.sec0.data=s3cret', '-spice', 'tls-port=1'],
    ['-nosuch', '-object', 'secret,id=a,data=s3cret']])
def test_password_is_in_no_line(newest_run: Run, arguments: list[str]) -> None:
    outcome = newest_run(*arguments, '-vdsm-tls', 'ciphers=AES256-SHA',
                         '-vdsm-tls', 'priority=NORMAL')
    assert outcome.stderr
    assert 's3cret' not in outcome.stderr


def test_ciphers_of_a_vm_without_spice_are_taken_out(run: Run) -> None:
    assert arguments_of(
        run, '-name', 'a', '-vdsm-tls', 'ciphers=' + GOOD_CIPHERS, '-vnc',
        'none') == ['-name', 'a', '-vnc', 'none']


@pytest.mark.parametrize('given, parameters', [
    (['-spice', SPICE], SPICE),
    (['--spice', SPICE], SPICE),
    (['-spice', 'tls-port=1', '--spice', 'addr=::1', '-spice', 'x509-dir=/a'],
     'tls-port=1,addr=::1,x509-dir=/a'),
    (['-spice', 'tls-ciphers=ALL,tls-port=1'], 'tls-port=1'),
    (['-spice', 'tls-port=1,tls-ciphers=ALL', '-spice', 'tls-ciphers=LOW'],
     'tls-port=1'),
    (['-spice', 'tls-port=1,tls-ciphers'], 'tls-port=1'),
    (['-spice', 'notls-ciphers,tls-port=1'], 'tls-port=1'),
    (['-spice', 'tls-port=1,addr=a,,tls-ciphers=b'],
     'tls-port=1,addr=a,,tls-ciphers=b'),
    (['-spice', 'tls-port=1,addr=a,,,tls-ciphers=b'], 'tls-port=1,addr=a,,'),
    (['-spice', 'tls-port=1,', '-spice', 'addr=::1'], 'tls-port=1,addr=::1'),
    (['-spice', 'tls-port=1,password='], 'tls-port=1,password='),
    (['-spice', '', '-spice', 'tls-port=1'], 'tls-port=1'),
    (['-spice', 'tls-port=1,Xa=bXc,,X,Xx'], 'tls-port=1,Xa=bXc,,X,Xx'),
    (['-spice', 'tls-port=0', '-spice', 'tls-port=5901'],
     'tls-port=0,tls-port=5901'),
])
def test_spice_options_become_one_with_the_ciphers_first(
        run: Run, given: list[str], parameters: str) -> None:
    assert arguments_of(
        run, '-S', *given, '-vdsm-tls', 'ciphers=' + GOOD_CIPHERS, '-msg',
        'timestamp=on'
    ) == ['-S', '-msg', 'timestamp=on', '-spice',
          'tls-ciphers=%s,%s' % (GOOD_CIPHERS, parameters)]


@pytest.mark.parametrize('option', ['append', 'kernel', 'initrd', 'dtb',
                                    'name'])
@pytest.mark.parametrize('value', ['-spice', '--spice', '-vdsm-tls', '-vnc'])
def test_value_that_looks_like_an_option_stays_a_value(
        newest_run: Run, option: str, value: str) -> None:
    assert arguments_of(
        newest_run, '-' + option, value, '-spice', SPICE, '-vdsm-tls',
        'ciphers=' + GOOD_CIPHERS
    ) == ['-' + option, value, '-spice',
          'tls-ciphers=%s,%s' % (GOOD_CIPHERS, SPICE)]


@pytest.mark.parametrize('arguments', [
    ['-new-in-qemu-20', '-spice', SPICE],
    ['-new-in-qemu-20', '--spice', SPICE],
    ['-new-in-qemu-20', '-vdsm-tls', 'ciphers=AES256-SHA', '-spice', SPICE],
    # The next pair would be read one argument too late.
    ['-new-in-qemu-20', '-append', '-spice', SPICE],
    ['-new-in-qemu-20', '-object', 'x', '-spice', SPICE],
    ['-new-in-qemu-20', '-display', 'vnc=:1', '-spice', SPICE],
    ['-new-in-qemu-20', '-readconfig', 'x', '-spice', SPICE],
    ['-new-in-qemu-20', '-set', 'vnc.a.b=c', '-spice', SPICE],
    ['-new-in-qemu-20', '-add-fd', 'fd=9', '-spice', SPICE],
])
def test_option_that_the_table_may_not_know_is_refused(
        newest_run: Run, arguments: list[str]) -> None:
    line = refusal_of(newest_run, *arguments, '-vdsm-tls',
                      'ciphers=AES128-SHA')
    assert '-new-in-qemu-20' in line


def test_vm_of_a_manual_installation_is_refused_where_the_table_ends(
        run: Run) -> None:
    assert '-new-in-qemu-20' in refusal_of(run, '-new-in-qemu-20', '-spice',
                                           SPICE)


@pytest.mark.parametrize('arguments, offending', [
    (['-vdsm-tls', 'curves=X25519'], 'curves'),
    (['-vdsm-tls', 'Ciphers=AES256-SHA'], 'Ciphers'),
    (['-vdsm-tls-default', 'Groups=X25519'], 'Groups'),
    (['-vdsm-tls', 'ciphers=AES256-SHA', '-vdsm-tls', 'ciphers=AES256-SHA'],
     'ciphers: given twice'),
    (['-vdsm-tls', 'ciphers=AES256-SHA', '-vdsm-tls-default',
      'ciphers=AES256-SHA'], 'ciphers: given twice'),
    (['-vdsm-tls', 'ciphers='], 'ciphers='),
    (['-vdsm-tls', 'ciphers'], 'ciphers'),
    (['-vdsm-tls', ''], 'KEY=VALUE'),
    (['-vdsm-tls'], 'KEY=VALUE'),
    (['-vdsm-tls', 'ciphers=AES256-SHA,disable-ticketing=on'], 'a comma'),
    (['-vdsm-tls', 'ciphers=AES256-SHA,,disable-ticketing=on'], 'a comma'),
    (['-vdsm-tls-default', 'ciphers=AES256-SHA,x=y'], 'a comma'),
    (['-vdsm-tls', 'ciphers=AES256-SHA AES128-SHA'], 'not allowed'),
    (['-vdsm-tls', 'ciphers=AES256-SHA\n'], 'not allowed'),
    (['-vdsm-tls', b'ciphers=\xff'], 'not allowed'),
    (['-vdsm-tls', 'ciphers=' + 'AES256-SHA'.ljust(256, ':')],
     '256 characters'),
    (['-vdsm-tls', 'ciphers=TLS_AES_256_GCM_SHA384'], 'TLS_AES_256_GCM'),
    (['-vdsm-tls', 'ciphers=AES256-SHA:!TLS_AES_256_GCM_SHA384'],
     'TLS_AES_256_GCM'),
])
def test_setting_that_cannot_be_enforced_is_refused(
        run: Run, arguments: list[str | bytes], offending: str) -> None:
    assert offending in refusal_of(run, '-spice', SPICE, *arguments)


@pytest.mark.parametrize('spice', [
    'port=5900', 'port=5900,tls-port=0', 'port=5900,addr=a,,tls-port=5901'])
def test_spice_without_tls_is_refused(run: Run, spice: str) -> None:
    assert 'no TLS port' in refusal_of(
        run, '-spice', spice, '-vdsm-tls', 'ciphers=AES256-SHA')


@pytest.mark.parametrize('console, policy', [
    (['-spice', 'unix,addr=/run/spice'], 'ciphers=AES256-SHA'),
    (['-spice', 'unix=on,addr=/run/spice'], 'protocols=TLSv1.3'),
    (['-display', 'spice-app'], 'ciphers=AES256-SHA'),
    (['-display', 'type=spice-app,gl=on'], 'ciphers=AES256-SHA'),
    (['-display', '{"type":"spice-app"}'], 'ciphers=AES256-SHA'),
    (['-vnc', 'unix:/run/vnc'], 'priority=NORMAL'),
    (['-vnc', 'vnc=unix:/run/vnc'], 'priority=NORMAL')])
def test_console_on_a_socket_without_tls_is_refused_as_such(
        newest_run: Run, console: list[str], policy: str) -> None:
    assert '-socket]' in refusal_of(newest_run, *console, '-vdsm-tls', policy)


def test_console_that_does_not_listen_needs_no_policy(run: Run) -> None:
    outcome = run('-spice', 'port=0,tls-port=0', '-vdsm-tls',
                  'ciphers=AES256-SHA')
    assert outcome.arguments == [b'-spice', b'port=0,tls-port=0']
    assert outcome.stderr.endswith(' [spice-not-listening]\n')


@pytest.mark.parametrize('policy, given, expected', [
    (['ciphers=AES256-SHA'], ['port=5902,tls-port=5903,addr=::1'],
     'tls-ciphers=AES256-SHA,port=5902,tls-port=5903,addr=::1,'
     'tls-channel=default'),
    (['ciphers=AES256-SHA'], ['tls-port=5903,port=0'],
     'tls-ciphers=AES256-SHA,tls-port=5903,port=0'),
    (['ciphers=AES256-SHA'], ['tls-port=5903,port=1', 'port=0'],
     'tls-ciphers=AES256-SHA,tls-port=5903,port=1,port=0'),
    (['ciphers=AES256-SHA'], ['port=1,tls-port=5903,tls-channel=default'],
     'tls-ciphers=AES256-SHA,port=1,tls-port=5903,tls-channel=default'),
    (['protocols=TLSv1.3'], ['port=5902,tls-port=5903,tls-channel=main'],
     'port=5902,tls-port=5903,tls-channel=main,tls-channel=default'),
    (['protocols=TLSv1.3'], ['tls-port=5903'], 'tls-port=5903'),
    (['groups=P-256'], ['tls-port=5903,unix=on,addr=/a,,b,'],
     'tls-port=5903,unix=on,addr=/a,,b,tls-channel=default'),
    (['protocols=TLSv1.3'], ['tls-port=5903', 'port=5902'],
     'port=5902,tls-channel=default')])
def test_requirement_leaves_no_channel_of_spice_in_clear(
        newest_run: Run, policy: list[str], given: list[str],
        expected: str) -> None:
    words = [word for display in given for word in ('-spice', display)]
    settings = [word for setting in policy for word in ('-vdsm-tls', setting)]
    arguments = arguments_of(newest_run, *words, '-S', *settings)
    assert [before for before, value in zip(arguments, arguments[1:])
            if value == expected] == ['-spice']
    if 'ciphers' not in policy[0]:
        # All else stays, byte for byte.
        words[-1] = expected
        assert arguments == [*words, '-S']


def test_default_of_the_host_says_what_stays_in_clear(newest_run: Run) -> None:
    given = ['-spice', 'port=5902,tls-port=5903']
    outcome = newest_run(*given, '-vdsm-tls-default', 'protocols=TLSv1.3')
    assert outcome.arguments == [word.encode() for word in given]
    assert '[spice-plaintext]' in outcome.stderr
    assert 'port=5902' in outcome.stderr


@pytest.mark.parametrize('spice', [
    'tls-port=1,plaintext-channel=default',
    'plaintext-channel=main,tls-port=1', 'id=x,tls-port=1', 'tls-port=1,id=x'])
def test_spice_whose_channels_cannot_be_seen_is_refused(
        newest_run: Run, spice: str) -> None:
    assert '[spice-' in refusal_of(newest_run, '-spice', 'port=0', '-spice',
                                   spice, '-vdsm-tls', 'protocols=TLSv1.3')


@pytest.mark.parametrize('value', [
    'dbus,p2p=on', 'dbus', 'type=dbus,p2p=on', 'p2p=on,type=dbus',
    '{"type":"dbus","p2p":true}', '{"type": "dbus", "p2p": {}}'])
def test_vnc_that_another_process_serves_is_refused(newest_run: Run,
                                                    value: str) -> None:
    run, dbus = newest_run, ['-display', value]
    assert refusal_of(run, *dbus, '-vdsm-tls', 'priority=NORMAL').endswith(
        ' [vnc-elsewhere]')
    assert arguments_of(run, *dbus, '-vdsm-tls-default',
                        'priority=NORMAL') == dbus


@pytest.mark.parametrize('value', [
    'default', 'default,show-cursor=on', 'type=default', '{"type":"default"}',
    '{"type": "x", "p": {}}'])
def test_vnc_that_qemu_opens_by_itself_is_refused(newest_run: Run,
                                                  value: str) -> None:
    run, display = newest_run, ['-display', 'none', '-display', value]
    assert refusal_of(run, *display, '-vdsm-tls', 'priority=NORMAL').endswith(
        (' [vnc-default]', ' [vnc-elsewhere]'))
    assert arguments_of(run, *display, '-vdsm-tls-default', 'priority=NORMAL',
                        ) == display
    # It does not where there is SPICE, or another VNC.
    assert arguments_of(run, '-display', 'default', '-spice', 'tls-port=1',
                        '-vdsm-tls', 'priority=NORMAL') == [
        '-display', 'default', '-spice', 'tls-port=1']


def test_default_of_the_host_leaves_spice_without_tls_alone(run: Run) -> None:
    outcome = run('-spice', 'port=5900', '-S', '-vdsm-tls-default',
                  'ciphers=AES256-SHA')
    assert outcome.arguments == [b'-spice', b'port=5900', b'-S']
    assert len(outcome.stderr.splitlines()) == 1


def test_default_of_the_host_applies_to_spice_with_tls(run: Run) -> None:
    assert arguments_of(
        run, '-spice', SPICE, '-vdsm-tls-default', 'ciphers=AES256-SHA'
    ) == ['-spice', 'tls-ciphers=AES256-SHA,' + SPICE]


@pytest.mark.parametrize('spice', [
    ['-spice'], ['-spice', ',tls-port=1'], ['-spice', 'unix,,tls-port=1'],
    ['-spice', '=x,tls-port=1']])
def test_spice_option_that_qemu_would_not_take_is_refused(
        newest_run: Run, spice: list[str]) -> None:
    assert '-spice' in refusal_of(
        newest_run, '-vdsm-tls', 'ciphers=AES256-SHA', *spice)


def test_bytes_that_are_no_text_survive(run: Run) -> None:
    every_byte = bytes(range(1, 256))
    environment = dict(LIBVIRT_ENVIRONMENT)
    environment[b'X\xff\xc3'] = every_byte
    outcome = run('-name', every_byte, '-vdsm-tls', 'ciphers=AES256-SHA',
                  '-spice', b'tls-port=1,password=' + every_byte.replace(
                      b',', b',,'), environment=environment)
    assert outcome.arguments[:2] == [b'-name', every_byte]
    assert outcome.arguments[-1].endswith(every_byte.replace(b',', b',,'))
    assert b'X\xff\xc3=' + every_byte in outcome.environment


@pytest.mark.parametrize('environment', [
    {}, LIBVIRT_ENVIRONMENT, {b'LC_CTYPE': b'C'}, {b'LC_CTYPE': b'C.UTF-8'},
    {b'LANG': b'C'}, {b'LC_ALL': b'POSIX'}, {b'PYTHONUTF8': b'0'},
    {b'LC_ALL': b'', b'LC_CTYPE': b'\xff'},
    {b'PYTHONPATH': b'/nonexistent', b'PYTHONHOME': b'/nonexistent',
     b'PYTHONSTARTUP': b'/nonexistent', b'PYTHONINSPECT': b'1'}])
def test_environment_arrives_as_it_was(
        run: Run, environment: dict[bytes, bytes]) -> None:
    outcome = run('-S', environment=environment)
    assert outcome.status == 0, outcome.stderr
    assert sorted(outcome.environment) == sorted(
        name + b'=' + value for name, value in environment.items())


def test_process_is_the_one_that_libvirt_started(run: Run) -> None:
    # It is this process that stopped, not a child of it.
    assert run('-S').started


def test_signals_are_as_libvirt_left_them(run: Run) -> None:
    outcome = run('-S', restore_signals=True)
    assert not outcome.ignored & {signal.SIGPIPE, signal.SIGXFSZ}

    def ignore_hangup() -> None:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)

    outcome = run('-S', preexec_fn=ignore_hangup)
    assert signal.SIGHUP in outcome.ignored


def test_inherited_descriptors_arrive_and_no_others(
        run: Run, tmp_path: pathlib.Path) -> None:
    with contextlib.ExitStack() as stack:
        files = {file.fileno(): file.name for file in (
            stack.enter_context(open(tmp_path / name, 'w'))
            for name in 'abc')}
        outcome = run('-S', stdin=subprocess.DEVNULL,
                      stdout=subprocess.DEVNULL, pass_fds=files)
        assert outcome.files.pop(2).startswith('pipe:')
        assert outcome.files == {**files, 0: '/dev/null', 1: '/dev/null'}


def test_closed_standard_descriptors_stay_closed(run: Run) -> None:
    def close() -> None:
        os.close(0)
        os.close(1)

    outcome = run('-S', preexec_fn=close)
    assert outcome.status == 0, outcome.stderr
    assert set(outcome.files) == {2}


def test_missing_emulator_is_named(installation: support.Installation) -> None:
    assert not installation.qemu_kvm.exists()
    process = subprocess.run([str(installation.emulator), '-version'],
                             capture_output=True, text=True)
    assert process.returncode == 1
    assert process.stdout == ''
    line, = process.stderr.splitlines()
    assert '%s: No such file or directory; ' % installation.qemu_kvm in line
    assert support.code_of(line) == 'qemu-missing'


@pytest.mark.parametrize('name, damage', [
    ('wrapper_module', None), ('wrapper_module', lambda text: ''),
    *((name, lambda text: text.replace('COMPLETE = True\n', ''))
      for name in ('wrapper_module', 'values_module'))],
    ids=['missing', 'empty', 'cut off', 'values cut off'])
def test_damaged_module_is_named(
        installation: support.Installation, name: str,
        damage: Callable[[str], str] | None) -> None:
    path = getattr(installation, name)
    away = path.rename(path.with_name('away'))
    if damage:
        path.write_text(damage(away.read_text()))
    try:
        process = subprocess.run(
            [installation.emulator, '-spice', 'tls-port=1'],
            env=LIBVIRT_ENVIRONMENT, capture_output=True, text=True)
    finally:
        away.replace(path)
    assert process.returncode == 1
    line, = process.stderr.splitlines()
    assert damage or 'tlsciphers_wrapper' in line
    assert support.code_of(line) == 'package-damaged'


def test_emulator_that_cannot_be_executed_is_named(
        installation: support.Installation) -> None:
    installation.qemu_kvm.write_text('')
    try:
        process = subprocess.run([str(installation.emulator)],
                                 capture_output=True, text=True)
    finally:
        installation.qemu_kvm.unlink()
    assert process.returncode == 1
    assert 'Permission denied' in process.stderr


def test_nothing_is_written_beside_the_wrapper(
        run: Run, installation: support.Installation) -> None:
    modules = sorted(installation.wrapper_module.parent.iterdir())
    run(*(argument.format('-vdsm-tls') for argument in POLICY))
    assert sorted(installation.wrapper_module.parent.iterdir()) == modules
    assert sorted(path.name for path in installation.wrapper.parent.iterdir()
                  ) == ['qemu-kvm', 'qemu-kvm-modified', 'vdsm',
                      'vdsm-tlsciphers-incoming']


POLICY = ['-spice', SPICE, '{0}', 'ciphers=ECDHE+AESGCM', '{0}',
          'protocols=TLSv1.3']


@pytest.mark.parametrize('option', ['-vdsm-tls', '-vdsm-tls-default'])
def test_host_without_a_descriptor_left_is_named(
        run: Run, installation: support.Installation, option: str) -> None:
    # Python 2.7 holds a module while it reads those that this one imports.
    files = 6 if '/2.7' in str(installation.python) else 5

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))

    outcome = run(*(argument.format(option) for argument in POLICY),
                  preexec_fn=limit)
    lines = outcome.stderr.splitlines()
    assert 'Too many open files' in lines[0]
    assert support.code_of(lines[0]) in {'host-error', 'cannot-run'}
    if option == '-vdsm-tls':
        assert len(lines) == 1
        assert lines[0].startswith('qemu-kvm-modified: ')
    else:
        # It goes on; the shell that stands for QEMU cannot.
        assert ': host default ignored' in lines[0]
        assert lines[1].startswith('/bin/sh: ')


def test_host_whose_own_settings_cannot_be_read_now_is_named(run: Run) -> None:
    """They count as soon as a descriptor is free again."""
    for number in range(3, 12):
        def limit(number: int = number) -> None:
            resource.setrlimit(resource.RLIMIT_NOFILE, (number, number))

        outcome = run(*(argument.format('-vdsm-tls') for argument in POLICY),
                      preexec_fn=limit)
        assert outcome.started or outcome.stderr
        assert '[host-openssl-conf' not in outcome.stderr, number


@pytest.mark.parametrize('version', support.available_pythons())
@pytest.mark.parametrize('setting', ['ciphers=HIGH', 'protocols=TLSv1.3',
                                     'ciphersuites=TLS_AES_256_GCM_SHA384',
                                     'groups=P-256'])
def test_judge_that_is_killed_is_named(tmp_path: pathlib.Path, version: str,
                                       setting: str) -> None:
    """As by the kernel, when no memory is left."""
    openssl = tmp_path / 'openssl'
    openssl.write_text('#!/bin/sh\nkill -KILL $$\n')
    openssl.chmod(0o755)
    installation = support.Installation(
        tmp_path / 'root', support.find_python(version), openssl=openssl)
    installation.qemu_kvm.symlink_to('/bin/true')
    process = subprocess.run(
        installation.start('-spice', SPICE, '-vdsm-tls', setting),
        env=LIBVIRT_ENVIRONMENT, capture_output=True, text=True)
    assert process.returncode == 1
    line, = process.stderr.splitlines()
    assert '%s was killed by signal 9' % openssl in line
    assert line.endswith(' [cannot-run]')


@pytest.mark.parametrize('version', support.available_pythons())
@pytest.mark.parametrize('setting, added', [
    ('groups=P-256', b'Groups = P-256\n'),
    ('protocols=TLSv1.2', b'Protocol = ALL\nMinProtocol = TLSv1.2\n'
                          b'MaxProtocol = TLSv1.2\n'),
    ('protocols=TLSv1.2:TLSv1.3',
     b'Protocol = ALL\nMinProtocol = TLSv1.2\nMaxProtocol = TLSv1.3\n'),
    *(('ciphersuites=' + suites, b'Ciphersuites = %s\n' % suites.encode())
      for suites in ('TLS_AES_256_GCM_SHA384', 'TLS_AES_128_GCM_SHA256',
                     'TLS_CHACHA20_POLY1305_SHA256:TLS_AES_128_GCM_SHA256'))])
def test_qemu_reads_what_was_judged(tmp_path: pathlib.Path, version: str,
                                    setting: str, added: bytes) -> None:
    """The text of the host's files, not their names: they may change."""
    conf = tmp_path / 'openssl.cnf'
    included = tmp_path / 'included.cnf'
    conf.write_bytes(b'openssl_conf = a\r\n# caf\xc3\xa9 \xff\n'
                     b'.include %s\n.include /nonexistent\n'
                     b'[c]\nMinProtocol = \\\nTLSv1.2' % bytes(included))
    included.write_bytes(b'[a]\nssl_conf = b\n[b]\nsystem_default = c')
    installation = support.Installation(
        tmp_path / 'root', support.find_python(version), openssl_conf=conf)
    installation.qemu_kvm.write_text('#!/bin/sh\ncat "$OPENSSL_CONF"\n')
    installation.qemu_kvm.chmod(0o755)
    process = subprocess.run(
        installation.start('-spice', SPICE, '-vdsm-tls', setting),
        env=LIBVIRT_ENVIRONMENT, capture_output=True)
    assert process.stdout == (
        b'openssl_conf = a\n# caf\xc3\xa9 \xff\n'
        b'[a]\nssl_conf = b\n[b]\nsystem_default = c\n'
        b'[c]\nMinProtocol = TLSv1.2\n[c]\n' + added)


@pytest.mark.parametrize('end', ['\\', 'a = b\\\\\nc = d\n'])
def test_backslash_that_may_swallow_a_line_is_refused(tmp_path: pathlib.Path,
                                                      end: str) -> None:
    conf = tmp_path / 'openssl.cnf'
    conf.write_text('[a]\n' + end)
    installation = support.Installation(
        tmp_path / 'root', support.find_python(
            support.available_pythons()[-1]), openssl_conf=conf)
    process = subprocess.run(
        installation.start('-spice', SPICE, '-vdsm-tls', 'groups=P-256'),
        env=LIBVIRT_ENVIRONMENT, capture_output=True, text=True)
    assert process.returncode == 1
    assert str(conf) in process.stderr
    assert process.stderr.endswith(' [host-openssl-conf]\n')


def test_ignored_children_do_no_harm(run: Run) -> None:
    def ignore_children() -> None:
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)

    outcome = run(*(argument.format('-vdsm-tls') for argument in POLICY),
                  preexec_fn=ignore_children)
    assert outcome.started, outcome.stderr


def test_policy_leaves_one_descriptor_and_no_process(run: Run) -> None:
    outcome = run(*(argument.format('-vdsm-tls') for argument in POLICY),
                  stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    assert outcome.started, outcome.stderr
    extra = set(outcome.files) - {0, 1, 2}
    assert len(extra) == 1
    # Whatever QEMU's own options may write to, it is not this.
    assert not extra & outcome.writable
    assert outcome.files[extra.pop()].endswith(' (deleted)')
    assert outcome.children == ''


PRIORITY = ['-vdsm-tls', 'priority=NORMAL']
CREDENTIALS = ['-object', 'tls-creds-x509,id=c,dir=/a']


@pytest.mark.parametrize('port', ['0x0', '0x1', '-0', '+0', ' 0', '5901x'])
def test_port_that_is_no_decimal_number_is_refused(newest_run: Run,
                                                   port: str) -> None:
    """QEMU may take it for 0, and then there is no TLS."""
    assert 'tls-port' in refusal_of(
        newest_run, '-spice', 'port=1,tls-port=' + port, '-vdsm-tls',
        'ciphers=AES256-SHA')


@pytest.mark.parametrize('arguments', [
    ['-spice', SPICE, '-vdsm-tls-default', 'groups=x'],
    ['-spice', SPICE, '-vdsm-tls-default', 'ciphersuites=TLS_x'],
    ['-spice', SPICE, '-vdsm-tls-default', 'ciphers=x'],
    ['-spice', 'port=1', '-vdsm-tls-default', 'groups=X25519'],
    ['-vnc', 'none', '-vdsm-tls', 'ciphers=AES256-SHA']])
def test_openssl_conf_of_the_vm_stays_where_spice_has_no_policy(
        newest_run: Run, arguments: list[str]) -> None:
    environment = dict(LIBVIRT_ENVIRONMENT)
    environment[b'OPENSSL_CONF'] = b'/dev/null'
    outcome = newest_run(*arguments, environment=environment)
    assert b'OPENSSL_CONF=/dev/null' in outcome.environment
    assert '[openssl-conf-replaced]' not in outcome.stderr
    assert set(outcome.files) <= {0, 1, 2}


def test_replaced_openssl_conf_of_the_vm_is_named(
        newest_run: Run) -> None:
    environment = dict(LIBVIRT_ENVIRONMENT)
    environment[b'OPENSSL_CONF'] = b'/x\xe4' + 98 * b'x'
    outcome = newest_run('-spice', SPICE, '-vdsm-tls', 'protocols=TLSv1.3',
                         environment=environment)
    assert re.search(r': OPENSSL_CONF=/x\?x{97}\.\.\. .* '
                     r'\[openssl-conf-replaced\]\n', outcome.stderr)
    assert [line for line in outcome.environment
            if line.startswith(b'OPENSSL_CONF=/proc/self/fd/')]


ENFORCED = ['-spice', SPICE, '-vnc', ':1,tls-creds=c', *CREDENTIALS,
            '-vdsm-tls', 'protocols=TLSv1.3', *PRIORITY]


@pytest.mark.parametrize('option', [
    ['-readconfig', '/a'], ['--readconfig', '/a'],
    ['-set', 'vnc.default.tls-creds=a'], ['-set', 'object.c.priority=NORMAL'],
    ['-set', 'add-fd.a.fd=9'], ['-set', 'devices.a.b=c'], ['-set', ''],
    ['-add-fd', 'fd=9,set=1'], ['-add-fd', 'set=1,fd=0,fd=9'],
    ['-add-fd', 'fd=00,set=1'], ['-add-fd', 'fd=0x1,set=1'],
    ['-add-fd', 'fd= 1,set=1'], ['-add-fd', 'opaque=a,,b,fd=9'],
    ['-add-fd', 'fd=%s,set=1' % (9 ** 99)], ['-add-fd', 'fd,set=1']])
def test_option_that_could_undo_a_policy_is_refused(run: Run,
                                                    option: list[str]) -> None:
    line = refusal_of(run, *option, *ENFORCED)
    assert ' -%s ' % option[0].lstrip('-') in line
    assert line.endswith(' [consoles-unknown]')
    assert arguments_of(
        run, *option, '-spice', SPICE, '-vdsm-tls-default', 'groups=X25519'
    ) == [*option, '-spice', SPICE]


@pytest.mark.parametrize('option', [
    ['-set', 'device.video0.vgamem_mb=16'], ['-append', '-readconfig'],
    ['-add-fd', 'fd=0,set=1,opaque=a,,fd=9'], ['-global', 'a.b=c']])
def test_option_that_undoes_no_policy_is_kept(run: Run,
                                              option: list[str]) -> None:
    arguments = ['-spice', SPICE, '-vdsm-tls', 'protocols=TLSv1.3']
    assert arguments_of(run, *option, *arguments) == [*option, '-spice', SPICE]


@pytest.mark.parametrize('arguments, name', [
    (['-vdsm-tls', 'priority=@SYSTEM'], 'GNUTLS_SYSTEM_PRIORITY_FILE'),
    (['-vdsm-tls', 'priority=NORMAL'], 'GNUTLS_FORCE_FIPS_MODE'),
    (['-vdsm-tls', 'ciphers=AES256-SHA'], 'OPENSSL_MODULES'),
    (['-vdsm-tls', 'groups=X25519'], 'OPENSSL_SYSTEM_CIPHERS_OVERRIDE')])
def test_variable_that_changes_what_a_policy_means_is_refused(
        run: Run, arguments: list[str], name: str) -> None:
    environment = {**LIBVIRT_ENVIRONMENT, name.encode(): b'/a'}
    displays = ENFORCED[:ENFORCED.index('-vdsm-tls')]
    line = refusal_of(run, *displays, *arguments, environment=environment)
    assert line.startswith('qemu-kvm-modified: %s: '
                           % arguments[1].partition('=')[0])
    assert ' %s, ' % name in line
    assert support.code_of(line) == 'environment-variables'
    assert ' %s, %sZ, ' % (name, name) in refusal_of(
        run, *displays, *arguments,
        environment={**environment, name.encode() + b'Z': b''})
    outcome = run(*displays, arguments[0] + '-default', arguments[1],
                  environment=environment)
    assert [os.fsdecode(argument) for argument in outcome.arguments
            ] == displays
    assert name.encode() + b'=/a' in outcome.environment


@pytest.mark.parametrize('display', [
    'unix:/run/a,,b,tls-creds=c', 'vnc=:1,tls-creds=c', ':1,,,tls-creds=c',
    ':1,tls-creds=d,tls-creds=c', '[::1]:1,share=ignore,tls-creds=c'])
def test_credentials_of_a_display_are_found(run: Run, display: str) -> None:
    assert arguments_of(run, '-vnc', display, '-object', 'secret,,',
                        *CREDENTIALS, *PRIORITY) == [
        '-vnc', display, '-object', 'secret,,', '-object',
        'tls-creds-x509,id=c,dir=/a,priority=NORMAL']


def test_option_that_only_looks_like_credentials_is_kept(
        newest_run: Run) -> None:
    given = ['-append', 'a=c,=x', '-device', 'c', *BOTH]
    arguments = arguments_of(newest_run, *given, *PRIORITY)
    assert arguments[:-1] == given[:-1]
    assert arguments[-1] == given[-1] + ',priority=NORMAL'


def test_priority_that_is_there_is_replaced(newest_run: Run) -> None:
    given = 'tls-creds-x509,id=c=d,dir=/a'
    assert arguments_of(newest_run, '-vnc', ':1,tls-creds=c=d', '-object',
                        given, *PRIORITY)[-1] == given + ',priority=NORMAL'
    for given, expected in (
            ('tls-creds-x509,priority=LOW,id=c,dir=/a',
             'tls-creds-x509,id=c,dir=/a,priority=NORMAL'),
            ('{"qom-type":"tls-creds-x509","priority":"LOW","id":"c","d":" "}',
             '{"qom-type":"tls-creds-x509","id":"c","d":" ",'
             '"priority":"NORMAL"}')):
        assert arguments_of(newest_run, '-vnc', ':1,tls-creds=c', '-object',
                            given, *PRIORITY)[-1] == expected


def test_display_option_may_be_of_vnc(run: Run) -> None:
    assert arguments_of(run, '-display', 'vnc=:1,tls-creds=c', *CREDENTIALS,
                        *PRIORITY)[-1].endswith(',priority=NORMAL')


@pytest.mark.parametrize('arguments', [
    ['-vnc', 'none'], ['-vnc', 'vnc=none'], ['-display', 'none'], [],
    ['-display', 'gtk']])
def test_priority_of_a_vm_without_vnc_is_taken_out(
        newest_run: Run, arguments: list[str]) -> None:
    assert arguments_of(newest_run, *arguments, *CREDENTIALS, *PRIORITY) == (
        arguments + CREDENTIALS)


@pytest.mark.parametrize('credentials', [
    'tls-creds-anon,id=c', 'tls-creds-x509,id=d,dir=c', 'secret,id=c',
    '{"qom-type":"tls-creds-x509","id":"c","dir":"/a\\\\b"}',
    '{"qom-type":"tls-creds-x509","id":"c","dir":"/a\\n"}',
    '{"qom-type":"tls-creds-x509","id":"c","n":1}',
    '{\'qom-type\':\'tls-creds-x509\',\'id\':\'c\'}',
    '{"qom-type":"tls-creds-x509","id":"c",}', '{"id":"c","n":"a\tb"}',
    '{"id":"c" "n":"a"}', '{"id":"c","n":"\\u12"}',
    '{"qom-type":"tls-creds-x509","id":"c","n":null}',
    '{"qom-type":"tls-creds-x509","id":"c","k\\":\\"v":"x"}',
    '{"qom-type":"tls-creds-x509","id":"c"}{}',
    '{"qom-type":\2tls-creds-x509","id":"c"}',
    '{"qom-type":"tls-creds-x509",\x0b"id":"c"}',
    '{"qom-type":"tls-creds-x509","id":"c"', '{"id":"c"}', '["c"]',
    '{"c":' + '[' * 30000])
def test_credentials_that_cannot_be_read_are_refused(run: Run,
                                                     credentials: str) -> None:
    arguments = ['-vnc', ':1,tls-creds=c', '-object', credentials]
    assert 'tls-creds-x509 object c' in refusal_of(run, *arguments, *PRIORITY)


@pytest.mark.parametrize('credentials', [
    'tls-creds-x509,id', 'tls-creds-x509,id=',
    '{"qom-type":"tls-creds-x509","id":""}'])
def test_credentials_without_a_name_are_refused(run: Run,
                                                credentials: str) -> None:
    arguments = ['-vnc', ':1,tls-creds=', '-object', credentials]
    assert 'tls-creds-x509 object ' in refusal_of(run, *arguments, *PRIORITY)
    assert arguments_of(run, *arguments, '-vdsm-tls-default',
                        'priority=NORMAL') == arguments


def test_last_option_without_its_value_is_refused(run: Run) -> None:
    """It would take the one that is put behind it."""
    assert '-m has no value' in refusal_of(
        run, '-vdsm-tls', 'ciphers=AES256-SHA', '-spice', SPICE, '-m')


UNWANTED = [
    ('ciphers', 'NOSUCH', 'no-suite'),
    ('ciphers', 'AES256-GCM-SHA384:@SECLEVEL=5', 'no-suite'),
    ('ciphers', 'ALL:@SECLEVEL=0', 'insecure-suite'),
    ('ciphers', '-AES:eNULL:@SECLEVEL=0', 'insecure-suite'),
    ('ciphersuites', 'TLS_NOSUCH', 'unknown-suite'),
    ('groups', 'X25518', 'unknown-group'),
    ('groups', 'P-256:X25519:prime256v1', 'group-twice'),
    ('groups', 'X25519:-X25519', 'no-group'),
    ('groups', 'X25519:DEFAULT', 'no-group'),
    ('protocols', 'TLSv1.1', 'unknown-protocols'),
    ('priority', 'NORMAL:+NOSUCH', 'priority-refused'),
    ('priority', 'NONE', 'priority-refused'),
    ('priority', '@SYSTEM', 'priority-refused'),
    ('priority', 'NORMAL:+NULL', 'insecure-suite'),
    ('priority', 'NORMAL:+ANON-ECDH', 'insecure-suite'),
    ('priority', 'NORMAL:-GROUP-ALL', 'priority-empty'),
    ('priority', 'NORMAL:-SIGN-ALL', 'priority-empty'),
    ('priority', 'NORMAL:-VERS-TLS-ALL', 'priority-empty'),
    ('priority', 'NORMAL:-KX-ALL:+PSK:-VERS-TLS1.3', 'priority-empty'),
    # What this GnuTLS does not read takes the older versions away.
    ('priority', 'NORMAL' + 130 * ':+CIPHER-ALL'
     + ':-VERS-TLS1.0:-VERS-TLS1.1:-VERS-TLS1.2', 'priority-cut'),
    ('priority', 'NORMAL:-VERS-ALL:+VERS-TLS1.2:-KX-ALL:+ECDHE-RSA:-GROUP-ALL:'
     '+GROUP-FFDHE2048', 'no-common-group'),
    ('priority', 'NORMAL:-VERS-ALL:+VERS-TLS1.3:-SIGN-ALL:+SIGN-RSA-SHA256',
     'no-common-group'),
]
BOTH = ['-spice', SPICE, '-vnc', ':1,tls-creds=c', *CREDENTIALS]


@pytest.mark.parametrize('key, value, code', UNWANTED)
def test_policy_that_the_libraries_do_not_take_starts_no_vm(
        newest_run: Run, key: str, value: str, code: str) -> None:
    """The hook judged it on another host, or nobody did."""
    setting = '%s=%s' % (key, value)
    line = refusal_of(newest_run, *BOTH, '-vdsm-tls', setting)
    assert line.startswith('qemu-kvm-modified: %s: ' % key)
    assert line.endswith(' [%s]' % code)


@pytest.mark.parametrize('key, value, code', [
    unwanted for unwanted in UNWANTED if unwanted[0] != 'protocols'])
def test_default_that_the_libraries_do_not_take_is_left_out(
        newest_run: Run, key: str, value: str, code: str) -> None:
    outcome = newest_run(*BOTH, '-vdsm-tls-default', '%s=%s' % (key, value))
    assert outcome.arguments == [argument.encode() for argument in BOTH]
    line, = outcome.stderr.splitlines()
    assert ': host default ignored; ' in line
    assert support.code_of(line) == code


@pytest.mark.parametrize('value', [
    'NORMAL', 'SECURE256:-VERS-ALL:+VERS-TLS1.2', 'PERFORMANCE',
    'NORMAL:-VERS-ALL:+VERS-TLS1.3', 'NORMAL:-KX-ALL:+RSA:-VERS-TLS1.3',
    'NONE:+VERS-TLS1.3:+AES-256-GCM:+AEAD:+GROUP-SECP256R1:+SIGN-ALL',
    'NONE:+VERS-TLS1.3:+VERS-TLS1.2:+AES-256-GCM:+AEAD:+GROUP-SECP256R1:'
    '+SIGN-ALL'])
def test_priority_that_the_libraries_take_starts_the_vm(newest_run: Run,
                                                        value: str) -> None:
    assert arguments_of(newest_run, *BOTH, '-vdsm-tls', 'priority=' + value
                        )[-1].endswith(',priority=' + value)


@pytest.mark.parametrize('program', ['openssl', 'gnutls_cli'])
def test_library_that_cannot_be_asked_starts_no_vm(tmp_path: pathlib.Path,
                                                   program: str) -> None:
    installation = support.Installation(
        tmp_path / 'root', support.find_python(
            support.available_pythons()[-1]), **{program: '/nonexistent/x'})
    for setting in ({'openssl': ['ciphers=HIGH', 'groups=X25519',
                                 'protocols=TLSv1.2'],
                     'gnutls_cli': ['priority=NORMAL']}[program]):
        process = subprocess.run(
            installation.start(*BOTH, '-vdsm-tls', setting),
            capture_output=True, text=True)
        assert process.returncode == 1
        line, = process.stderr.splitlines()
        assert 'cannot run /nonexistent/x: No such file' in line
        assert '; install ' in line


@pytest.mark.parametrize('objects', [
    ['tls-creds-x509,id=decoy,id=c', 'tls-creds-x509,id=c'],
    ['tls-creds-x509,id=c,id=decoy'],
    ['tls-creds-x509,dir=/x,,id=c', 'tls-creds-x509,id=c'],
    ['tls-creds-x509,qom-type=secret,id=c', 'tls-creds-x509,id=c'],
    ['qom-type=secret,id=c,qom-type=tls-creds-x509'],
    ['{"qom-type":"tls-creds-x509","id":"decoy","id":"c"}']])
def test_credentials_under_two_names_are_refused(
        newest_run: Run, objects: list[str]) -> None:
    """Which of them counts depends on the version of QEMU."""
    words = [word for text in objects for word in ('-object', text)]
    assert 'tls-creds-x509 object c ' in refusal_of(
        newest_run, *words, '-vnc', ':1,tls-creds=c', *PRIORITY)


@pytest.mark.parametrize('credentials', [
    'tls-creds-x509,id=c,priority=@SYSTEM',
    '{"qom-type":"tls-creds-x509","id":"c","priority":"@SYSTEM"}'])
def test_priority_of_the_hosts_libvirt_outranks_our_default_alone(
        newest_run: Run, credentials: str) -> None:
    """As libvirt 11.6 and later write it from their qemu.conf."""
    given = ['-vnc', ':1,tls-creds=c', '-object', credentials]
    outcome = newest_run(*given, '-vdsm-tls-default', 'priority=NORMAL')
    assert outcome.arguments == [word.encode() for word in given]
    assert '@SYSTEM' in outcome.stderr
    assert '@SYSTEM' not in arguments_of(newest_run, *given, '-vdsm-tls',
                                         'priority=NORMAL')[-1]


@pytest.mark.parametrize('key, value, code', [
    ('groups', 'brainpoolP256r1', 'no-common-group'),
    ('priority', 'NORMAL:-VERS-ALL:+VERS-TLS1.3:-SIGN-ALL:+SIGN-RSA-SHA256',
     'no-common-group')])
def test_what_only_kills_a_console_does_not_lose_a_vm_that_arrives(
        newest_run: Run, key: str, value: str, code: str) -> None:
    given = [*BOTH, '-vdsm-tls', '%s=%s' % (key, value)]
    if key == 'groups':
        given += ['-vdsm-tls', 'protocols=TLSv1.3']
    assert refusal_of(newest_run, *given).endswith(' [%s]' % code)
    outcome = newest_run(*given, '-incoming', 'defer')
    assert outcome.status == 0
    line = outcome.stderr.splitlines()[0]
    assert ' (not refused: ' in line
    assert support.code_of(line) == code
    # What would open it is refused all the same.
    assert refusal_of(newest_run, *BOTH, '-vdsm-tls', 'groups=X25519:P-257',
                      '-incoming', 'defer').endswith(' [unknown-group]')


def test_doubled_group_is_refused_where_a_vm_arrives_only_if_it_opens_it(
        newest_run: Run) -> None:
    """Before 3.5 OpenSSL drops such a list; from then on it is as without."""
    groups = 'X25519:P-256:prime256v1'
    given = [*BOTH, '-vdsm-tls', 'groups=' + groups]
    assert refusal_of(newest_run, *given).endswith(' [group-twice]')
    outcome = newest_run(*given, '-incoming', 'defer')
    assert outcome.started == support.takes_groups(groups)
    assert support.code_of(outcome.stderr.splitlines()[0]) == 'group-twice'


def with_openssl(tmp_path: pathlib.Path, script: str,
                 **keywords: Any) -> support.Installation:
    """Install hook and wrapper with an openssl of their own."""
    openssl = tmp_path / 'openssl'
    openssl.write_text('#!/bin/sh\n' + script)
    openssl.chmod(0o755)
    installation = support.Installation(
        tmp_path / 'root', support.find_python(
            support.available_pythons()[-1]), openssl=openssl, **keywords)
    installation.qemu_kvm.write_text('#!/bin/sh\ncat "$OPENSSL_CONF"\n')
    installation.qemu_kvm.chmod(0o755)
    return installation


def started(installation: support.Installation, *arguments: str,
            ) -> subprocess.CompletedProcess[str]:
    return subprocess.run(installation.start(*arguments),
                          env=LIBVIRT_ENVIRONMENT, capture_output=True,
                          text=True)


@pytest.mark.parametrize('suites', [
    'TLS_AES_128_CCM_8_SHA256',
    'TLS_AES_256_GCM_SHA384:TLS_AES_128_CCM_8_SHA256'])
def test_suite_that_is_listed_and_never_negotiated_is_refused(
        tmp_path: pathlib.Path, suites: str) -> None:
    """
    As OpenSSL 3.5 has this one: without -s it lists it. An older one is made
    to say the same.
    """
    name = 'TLS_AES_128_CCM_8_SHA256'
    negotiated = subprocess.run(
        ['openssl', 'ciphers', '-s', '-tls1_3', '-ciphersuites', name],
        capture_output=True, text=True, check=True).stdout
    installation = with_openssl(tmp_path, (
        'case " $* " in *" -s "*) openssl "$@" | sed s/:*%s//; exit;; esac\n'
        % name if name in negotiated else '') + 'exec openssl "$@"\n')
    setting = ['-spice', SPICE, '-vdsm-tls', 'ciphersuites=' + suites]
    process = started(installation, *setting)
    assert process.returncode == 1
    assert process.stderr.endswith(' [suite-never-negotiated]\n')
    arrived = started(installation, *setting, '-incoming', 'defer')
    assert arrived.returncode == 0
    assert 'Ciphersuites = %s\n' % suites in arrived.stdout


OSPP = """openssl_conf = a
[a]
ssl_conf = b
[b]
system_default = c
[c]
Ciphersuites =
TLS.MaxProtocol = TLSv1.2
"""


@pytest.mark.parametrize('protocols', ['TLSv1.3', 'TLSv1.2:TLSv1.3'])
def test_host_that_leaves_no_tls_1_3_suite_is_named(tmp_path: pathlib.Path,
                                                    protocols: str) -> None:
    """As crypto-policies write it for FIPS:OSPP."""
    conf = tmp_path / 'openssl.cnf'
    conf.write_text(OSPP)
    installation = with_openssl(tmp_path, 'exec openssl "$@"\n',
                                openssl_conf=conf)
    setting = ['-spice', SPICE, '-vdsm-tls', 'protocols=' + protocols]
    process = started(installation, *setting)
    assert process.returncode == 1
    assert str(conf) in process.stderr
    assert process.stderr.endswith(' [no-tls13-suite]\n')
    assert started(installation, *setting, '-vdsm-tls',
                   'ciphersuites=TLS_AES_256_GCM_SHA384').returncode == 0
    assert started(installation, '-spice', SPICE, '-vdsm-tls',
                   'protocols=TLSv1.2').returncode == 0


def test_configuration_that_this_hosts_openssl_reads_counts(
        tmp_path: pathlib.Path) -> None:
    """The package was built where OpenSSL's folder is another one."""
    folder = tmp_path / 'tls'
    folder.mkdir()
    (folder / 'openssl.cnf').write_text(OSPP.replace('Ciphersuites', '# '))
    installation = with_openssl(
        tmp_path, 'if [ "$*" = "version -d" ]; then\n'
        'echo \'OPENSSLDIR: "%s"\'; exit; fi\nexec openssl "$@"\n' % folder,
        openssl_conf=tmp_path / 'not-there.cnf')
    process = started(installation, '-spice', SPICE, '-vdsm-tls',
                      'groups=P-256')
    assert process.stdout == (
        OSPP.replace('Ciphersuites', '# ') + '\n[c]\nGroups = P-256\n')


@pytest.mark.parametrize('line, ciphers, refused', [
    ('CipherString = DEFAULT', 'ECDHE+AESGCM', True),
    ('Spice.CipherString=kRSA+FIPS:!eNULL:!aNULL', 'ECDHE+AESGCM', True),
    ('CipherString = ECDHE-RSA-AES256-GCM-SHA384', 'ECDHE+AESGCM', False),
    ('CipherString = NOSUCH', 'ECDHE+AESGCM', True),
    ('# CipherString = DEFAULT', 'ECDHE+AESGCM', False),
    ('Protocol = ALL,-SSLv3', 'ECDHE+AESGCM', False)])
def test_list_that_libspice_puts_in_place_of_the_policy_is_refused(
        tmp_path: pathlib.Path, line: str, ciphers: str,
        refused: bool) -> None:
    """A stand-in for EL7's libspice, which has the path of its file in it."""
    installation = with_openssl(tmp_path, 'exec openssl "$@"\n')
    conf, library = tmp_path / 'spice.cnf', tmp_path / 'libspice'
    conf.write_text('[spice]\n%s\n' % line)
    module = installation.wrapper_module
    module.write_text(module.read_text().replace(
        '/etc/pki/tls/spice.cnf', str(conf)).replace(
            '/usr/lib64/libspice-server.so.1', str(library)))
    policy = ['-spice', SPICE, '-vdsm-tls', 'ciphers=' + ciphers]
    library.write_bytes(b'\0' + bytes(conf) + b'\0')
    process = started(installation, *policy)
    assert process.stderr.endswith(' [spice-cnf]\n') == refused
    assert (str(conf) in process.stderr) == refused
    # Where no library is found, it may be one that reads the file.
    library.unlink()
    assert started(installation, *policy).stderr.endswith(
        ' [spice-cnf]\n') == refused
    library.write_bytes(b'another libspice')
    assert 'spice.cnf' not in started(installation, *policy).stderr


@pytest.mark.skipif(os.geteuid() != 0, reason='it is about root')
@pytest.mark.parametrize('version', support.available_pythons())
def test_policy_stays_where_qemu_may_write_to_every_file(
        tmp_path: pathlib.Path, version: str) -> None:
    installation = support.Installation(tmp_path / 'root',
                                        support.find_python(version))
    installation.qemu_kvm.write_text(
        '#!/bin/sh\n(: >"$OPENSSL_CONF")\ncat "$OPENSSL_CONF"\n')
    installation.qemu_kvm.chmod(0o755)
    process = subprocess.run(
        [installation.emulator, '-spice', SPICE, '-vdsm-tls',
         'protocols=TLSv1.3'], env=LIBVIRT_ENVIRONMENT, capture_output=True,
        text=True)
    if version in ('2.7', '3.6'):
        assert process.stderr.endswith(' [policy-not-sealed]\n')
        assert not process.stdout
    else:
        assert 'MinProtocol = TLSv1.3\n' in process.stdout


@pytest.mark.parametrize('option', ['-redhat-disable-KSM', '-fake-machine'])
def test_options_of_rhel_6_take_no_value(newest_run: Run,
                                         option: str) -> None:
    assert arguments_of(newest_run, option, '-spice', SPICE, '-vdsm-tls',
                        'ciphers=AES256-SHA')[0] == option


def test_engine_that_a_host_lacks_is_no_fault_of_the_policy(
        tmp_path: pathlib.Path) -> None:
    """Behind it OpenSSL reads nothing of its file, in no program."""
    conf = tmp_path / 'openssl.cnf'
    conf.write_text('openssl_conf = a\n[a]\nengines = e\nssl_conf = b\n[e]\n'
                    'x = y\n[y]\ndynamic_path = /nonexistent/x.so\ninit = 1\n'
                    '[b]\nsystem_default = c\n[c]\nMinProtocol = TLSv1.2\n')
    process = started(with_openssl(tmp_path, 'exec openssl "$@"\n',
                                   openssl_conf=conf),
                      '-spice', SPICE, '-vdsm-tls', 'protocols=TLSv1.3')
    assert process.returncode == 1
    assert process.stderr.endswith(' [host-openssl-conf]\n')
    assert str(conf) in process.stderr
    assert 'tlsprotocols' not in process.stderr


def test_host_without_tls_1_3_does_not_make_its_suites_unusable(
        tmp_path: pathlib.Path) -> None:
    """The policy itself opens TLS 1.3 again."""
    conf = tmp_path / 'openssl.cnf'
    conf.write_text('openssl_conf = a\n[a]\nssl_conf = b\n[b]\n'
                    'system_default = c\n[c]\nProtocol = -TLSv1.3\n')
    installation = with_openssl(
        tmp_path, 'export OPENSSL_CONF="${OPENSSL_CONF-%s}"\n'
        'exec openssl "$@"\n' % conf, openssl_conf=conf)
    process = started(installation, '-spice', SPICE, '-vdsm-tls',
                      'protocols=TLSv1.3', '-vdsm-tls',
                      'ciphersuites=TLS_AES_256_GCM_SHA384')
    assert process.returncode == 0, process.stderr
