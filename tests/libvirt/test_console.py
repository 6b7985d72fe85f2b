# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""What the consoles of real VMs accept, seen from outside."""

from __future__ import annotations

import os
import pathlib
import re
import struct
import subprocess
from collections.abc import Iterator
from typing import TYPE_CHECKING

import libvirt
import pytest

import support
from support import EMULATOR, GOOD_CIPHERS, QEMU_KVM, SEED_CIPHERS, read_vm_log

if TYPE_CHECKING:
    from conftest import VM, RunHook, Start

DOMAIN = (support.DATA / 'domain-lab.xml').read_text()


def usable(suite: str) -> bool:
    """
    Tell whether a SPICE console can use a suite at all: it has no DH
    parameters, and its certificate is of the RSA kind.
    """
    return not re.search('^(DHE|ADH|AECDH|NULL)-|ECDSA|DSS|-NULL-', suite)


def accepted_suites(vm: VM) -> set[str]:
    """Return those of TLS 1.2 (set) that a VM's SPICE console accepts."""
    return {suite for _, suite in support.accepted(vm.tls_port, ['TLSv1.2'])}


def policy_suites(cipher_list: str) -> set[str]:
    return {suite for suite in support.suites(cipher_list, '-s', '-tls1_2')
            if usable(suite)}


@pytest.mark.parametrize('ciphers', [
    GOOD_CIPHERS, SEED_CIPHERS, 'AES256-SHA', 'HIGH:!aNULL:!kRSA',
    'ECDHE+AES256:!SHA1:@STRENGTH',
    # The longest that libspice holds: its end counts.
    'AES'.ljust(255 - len(':!AES128:!SHA'), ':') + ':!AES128:!SHA'])
def test_console_accepts_exactly_the_policy(start: Start, run_hook: RunHook,
                                            ciphers: str) -> None:
    expected = policy_suites(ciphers)
    vm = start(run_hook(DOMAIN, tlsciphers=ciphers))
    accepted = accepted_suites(vm)
    assert accepted == expected
    assert len(accepted) < len(support.every_suite('TLSv1.2')) - 3


def test_same_vm_without_the_property_accepts_what_a_policy_refuses(
        start: Start, run_hook: RunHook) -> None:
    refused = ['AES256-SHA', 'ECDHE-RSA-AES128-SHA', 'AES128-GCM-SHA256']
    assert not policy_suites(GOOD_CIPHERS) & set(refused)
    assert run_hook(DOMAIN) == DOMAIN
    vm = start(DOMAIN)
    for suite in refused:
        assert vm.accepts(suite)


def test_emulator_is_the_process_that_libvirt_started(
        start: Start, run_hook: RunHook) -> None:
    vm = start(run_hook(DOMAIN, tlsciphers=GOOD_CIPHERS))
    assert os.readlink('/proc/%d/exe' % vm.pid) == os.path.realpath(QEMU_KVM)
    # No Python is left of the wrapper.
    for proc in pathlib.Path('/proc').glob('[0-9]*'):
        try:
            command = (proc / 'cmdline').read_bytes()
        except OSError:
            continue
        assert b'qemu-kvm-modified' not in command.split(b'\0')[:2]


def test_log_shows_the_final_command_line(start: Start,
                                          run_hook: RunHook) -> None:
    vm = start(run_hook(DOMAIN, tlsciphers=GOOD_CIPHERS))
    arguments = vm.arguments
    assert arguments[0] == QEMU_KVM
    assert arguments[-2] == '-spice'
    assert arguments[-1].startswith('tls-ciphers=%s,tls-port=%d,'
                                    % (GOOD_CIPHERS, vm.tls_port)) or (
        arguments[-1].startswith('tls-ciphers=%s,port=0,' % GOOD_CIPHERS))
    assert not [argument for argument in arguments if 'vdsm-tls' in argument]
    assert 'QEMU gets -spice %s [' % arguments[-1] in vm.log


def test_rest_of_the_command_line_is_what_libvirt_wrote(
        start: Start, run_hook: RunHook) -> None:
    plain = start(DOMAIN.replace('<name>lab', '<name>plain'))
    vm = start(run_hook(DOMAIN, tlsciphers=GOOD_CIPHERS))

    def comparable(vm: VM) -> list[str]:
        arguments = vm.arguments[1:]
        position = arguments.index('-spice')
        del arguments[position:position + 2]
        return [re.sub(r'/domain-\d+-\w+|UUID|guest=\w+|uuid',
                       '', argument) for argument in arguments]

    first, second = comparable(plain), comparable(vm)
    assert len(first) == len(second)
    differing = [pair for pair in zip(first, second) if pair[0] != pair[1]]
    assert len(differing) <= 2  # the VM's own UUID


def test_libvirt_sees_the_same_emulator_through_the_wrapper() -> None:
    def capabilities(emulator: str) -> str:
        return subprocess.run(
            ['virsh', '--connect', 'qemu:///system', 'domcapabilities',
             '--virttype', 'qemu', '--emulatorbin', emulator],
            check=True, capture_output=True, text=True).stdout

    real = capabilities(QEMU_KVM)
    assert '<path>%s</path>' % QEMU_KVM in real
    assert capabilities(EMULATOR) == real.replace(
        '<path>%s</path>' % QEMU_KVM, '<path>%s</path>' % EMULATOR)


@pytest.fixture
def manual_wrapper() -> Iterator[str]:
    path = pathlib.Path('/usr/libexec/vdsm/hooks/qemu-kvm-wrapper/manual')
    path.write_text(support.MANUAL_WRAPPER)
    path.chmod(0o755)
    yield str(path)
    path.unlink()


def test_emulator_put_back_to_the_real_one_starts_no_vm(
        start: Start, run_hook: RunHook) -> None:
    xml = run_hook(DOMAIN, tlsciphers=GOOD_CIPHERS)
    with pytest.raises(libvirt.libvirtError, match='invalid option'):
        start(xml.replace(EMULATOR, QEMU_KVM))


def test_manual_wrapper_starts_no_vm_of_ours(start: Start, run_hook: RunHook,
                                             manual_wrapper: str) -> None:
    xml = run_hook(DOMAIN, tlsciphers=GOOD_CIPHERS)
    with pytest.raises(libvirt.libvirtError, match='invalid option'):
        start(xml.replace(EMULATOR, manual_wrapper))


def test_vm_of_a_manual_installation_keeps_its_list(
        start: Start, manual_wrapper: str) -> None:
    xml = DOMAIN.replace('<devices>',
                         '<devices><emulator>%s</emulator>' % EMULATOR)
    vm = start(xml)
    assert accepted_suites(vm) == policy_suites(SEED_CIPHERS)
    assert '[manual-ciphers]' in vm.log


def test_comma_starts_no_vm(start: Start, run_hook: RunHook) -> None:
    xml = run_hook(DOMAIN, tlsciphers='AES256-SHA').replace(
        'ciphers=AES256-SHA', 'ciphers=AES256-SHA,disable-ticketing=on')
    with pytest.raises(libvirt.libvirtError, match='a comma is not allowed'):
        start(xml)
    assert ' [character]' in read_vm_log('lab')


def test_console_without_tls_starts_no_vm(start: Start,
                                          run_hook: RunHook) -> None:
    xml = run_hook(DOMAIN, tlsciphers='AES256-SHA')
    xml = xml.replace('autoport="yes" defaultMode="secure"',
                      'autoport="no" port="5999"')
    with pytest.raises(libvirt.libvirtError, match='has no TLS port'):
        start(xml)


def takes_a_value(option: str) -> bool | None:
    """Return what QEMU makes of an option: a bool, or None: unknown to it."""
    error = subprocess.run([QEMU_KVM, '-' + option, '-next', '-after-next'],
                           capture_output=True, text=True).stderr
    rejected = re.findall(r'-([\w-]+): invalid option', error)[0]
    return {'next': False, 'after-next': True, option: None}[rejected]


def test_table_of_options_without_a_value_is_that_of_this_qemu() -> None:
    table = support.run_file(pathlib.Path(
        '/usr/share/vdsm-hook-tlsciphers/tlsciphers_wrapper.py'
        ))['WITHOUT_VALUE']
    text = subprocess.run([QEMU_KVM, '-help'], check=True,
                          capture_output=True, text=True).stdout
    # "-fda/-fdb file  use ...", "-h or -help     display ..."
    options = {option for names in re.findall(
                   r'^--?([\w-]+(?:(?:/| or )-[\w-]+)*)', text, re.MULTILINE)
               for option in re.split('/-| or -', names)}
    assert len(options) > 100
    without_value = {option for option in options
                     if takes_a_value(option) is False}
    assert {'S', 'nodefaults', 'no-shutdown'} < without_value
    assert without_value == table & options
    assert not {option for option in table if takes_a_value(option)}


def test_kernel_argument_that_looks_like_an_option_is_left_alone(
        start: Start, run_hook: RunHook) -> None:
    # A kernel for QEMU: a multiboot header, and an endless loop.
    address, flags = 0x100000, 0x10000
    kernel = pathlib.Path(os.environ['LAB']) / 'kernel'
    kernel.write_bytes(struct.pack(
        '<8I', 0x1badb002, flags, -(0x1badb002 + flags) & 0xffffffff, address,
        address, address + 34, address + 34, address + 32) + b'\xeb\xfe')
    vm = start(run_hook(DOMAIN.replace(
        '</os>', '<kernel>%s</kernel><cmdline>-spice</cmdline></os>'
        % kernel), tlsciphers=GOOD_CIPHERS))
    position = vm.arguments.index('-append')
    assert vm.arguments[position + 1] == '-spice'
    assert vm.arguments[-1].startswith('tls-ciphers=' + GOOD_CIPHERS)
    assert vm.accepts(GOOD_CIPHERS.split(':')[0])
    assert not vm.accepts('AES256-SHA')


def test_error_of_qemu_is_not_buried(start: Start, run_hook: RunHook) -> None:
    """What the wrapper tells of a start is in the log, not in the error."""
    xml = run_hook(DOMAIN.replace(
        '</os>', '<kernel>/etc/hostname</kernel></os>'),
        tlsciphers=GOOD_CIPHERS)
    with pytest.raises(libvirt.libvirtError, match='kernel') as error:
        start(xml)
    assert 'qemu-kvm-modified' not in str(error.value)
    assert 'qemu-kvm-modified: QEMU gets -spice ' in read_vm_log('lab')


def test_list_that_libspice_would_cut_starts_no_vm(start: Start,
                                                   run_hook: RunHook) -> None:
    """One character more, and the exclusion at the end would be lost."""
    xml = run_hook(DOMAIN, tlsciphers='AES').replace(
        '"ciphers=AES"', '"ciphers=%s"' % ('AES:'.ljust(249, ':') + '!AES128'))
    with pytest.raises(libvirt.libvirtError, match='256 characters'):
        start(xml)


@pytest.mark.parametrize('option', ['append', 'kernel', 'initrd', 'name'])
def test_qemu_takes_what_looks_like_an_option_for_a_value(option: str) -> None:
    """QEMU itself, asked with the same command line that the wrapper reads."""
    process = subprocess.run(
        [QEMU_KVM, '-nographic', '-machine', 'none', '-' + option, '-spice',
         '-no-such-option'], capture_output=True, text=True)
    assert '-no-such-option: invalid option' in process.stderr
