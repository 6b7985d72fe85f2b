# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""The package comes, changes and goes on a node, with reboots in between."""

import pathlib

import pytest

import node as nodes
import support
from host import GCM, PLAIN_VM, Host, is_enforced
from support import EMULATOR, HOOK, WRAPPER

LABELS = {WRAPPER: 'qemu_exec_t', EMULATOR: 'bin_t', HOOK: 'bin_t'}
POLICY = [('spice', 'TLSv1.2', GCM, True),
          ('spice', 'TLSv1.2', 'ECDHE-RSA-AES128-GCM-SHA256', False)]


def modules(node: Host) -> list[str]:
    return node.read('semodule --list').split()


def label_of_manual_wrapper(node: Host) -> str:
    """Return the type that a file, not a link, would have at its path."""
    return node.read('matchpathcon -m file -n ' + EMULATOR).split(':')[2]


def check_installed(node: Host) -> None:
    """Labels and policy are as they should, and a VM gets its policy."""
    assert {path: node.label(path) for path in LABELS} == LABELS
    assert 'tlsciphers' in modules(node)
    assert label_of_manual_wrapper(node) == 'qemu_exec_t'
    assert node.read('restorecon -n -v -R /usr/libexec/vdsm '
                     '/usr/share/vdsm-hook-tlsciphers') == ''
    assert node.read('rpm --verify vdsm-hook-tlsciphers') == ''
    check_policy(node)


def check_policy(node: Host) -> None:
    node.mark()
    vm = node.start(node.hook(PLAIN_VM, tlsciphers=GCM))
    assert is_enforced(vm, POLICY)
    assert vm.context.startswith('system_u:system_r:svirt_t:s0:c')
    vm.destroy()
    assert node.denials() == []


@pytest.mark.soak
def test_take_over_update_and_removal_survive_reboots(
        bare_node: Host, newer_rpm: pathlib.Path,
        request: pytest.FixtureRequest) -> None:
    """All by dnf; first of a manual installation."""
    node = bare_node
    node.use_manual_wrapper()
    assert node.label(EMULATOR) == 'qemu_exec_t'
    manual_vm = PLAIN_VM.replace('/usr/libexec/qemu-kvm', EMULATOR)
    # One of the recipe's list, and one that it has not.
    expected = [('spice', 'TLSv1.2', 'AES256-SHA', True),
                ('spice', 'TLSv1.2', 'ECDHE-RSA-CHACHA20-POLY1305', False)]
    vm = node.start(manual_vm)
    assert is_enforced(vm, expected)

    node.send(support.TESTS / 'standin/hooking.py')
    assert 'Complete!' in node.install(request.config.getoption('rpm'))
    assert is_enforced(vm, expected)
    vm.destroy()
    check_installed(node)

    before = node.read('cat %s' % WRAPPER)
    vm = node.start(node.hook(PLAIN_VM, tlsciphers=GCM))
    assert 'Complete!' in node.install(newer_rpm)
    assert node.read('cat %s' % WRAPPER) == before + '\n# newer'
    # One that runs goes on.
    assert is_enforced(vm, POLICY)
    vm.destroy()
    node.reboot()
    check_installed(node)
    vm = node.start(manual_vm)
    assert is_enforced(vm, expected)
    vm.destroy()

    node.run("dnf remove --assumeyes --noplugins '--disablerepo=*' "
             'vdsm-hook-tlsciphers')
    node.reboot()
    assert 'tlsciphers' not in modules(node)
    assert 'qemu-kvm-modified' not in node.read('ls -R /usr/libexec')
    assert label_of_manual_wrapper(node) == 'bin_t'
    node.mark()
    with pytest.raises(nodes.Failed, match='unknown CPU feature: vdsm-tls'):
        node.start(support.guarded(PLAIN_VM))
    node.start(PLAIN_VM)
    assert node.denials() == []
