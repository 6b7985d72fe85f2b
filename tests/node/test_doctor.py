# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""vdsm-tlsciphers doctor where SELinux is enforcing."""

import json
from typing import Any

from host import GCM, PLAIN_VM, POLICIES, Host, is_enforced
from support import EMULATOR, HOOK, WRAPPER


def run_doctor(node: Host, *options: str) -> Any:
    return json.loads(node.run(' '.join((
        'vdsm-tlsciphers doctor --json', *options)), check=False).stdout)


def doctor(node: Host, *options: str) -> tuple[dict[str, str], list[str]]:
    """
    Return what is not ok, {check: text}, and what was fixed (list). The node
    has no libvirt-python, by which running VMs are looked at.
    """
    document = run_doctor(node, *options)
    return {check['check']: check['text'] for check in document['checks']
            if check['state'] != 'ok' and check['check'] != 'running VMs'
            }, document['fixed']


def make_vdsm_user(node: Host) -> None:
    """The user whom vdsm's package makes."""
    node.run('id vdsm || useradd --system vdsm')


def test_node_with_the_package_is_fine(node: Host) -> None:
    make_vdsm_user(node)
    checks = {check['check']: (check['state'], check['text'])
              for check in run_doctor(node)['checks']}
    del checks['running VMs']
    assert {state for state, _ in checks.values()} == {'ok'}
    assert checks['labels'][1] == '%s has qemu_exec_t' % WRAPPER
    assert checks['SELinux module'][1] == 'tlsciphers is in the policy store'
    assert node.denials() == []


def test_wrong_labels_are_repaired(node: Host) -> None:
    make_vdsm_user(node)
    node.run('chcon --type bin_t ' + WRAPPER)
    node.run('chcon --no-dereference --type user_tmp_t %s %s' % (EMULATOR,
                                                                 HOOK))
    wrong = ('%s has bin_t instead of qemu_exec_t, %s has user_tmp_t instead '
             'of bin_t, %s has user_tmp_t instead of bin_t' % (
                 WRAPPER, EMULATOR, HOOK))
    assert doctor(node) == ({'labels': wrong}, [])
    found, (fixed,) = doctor(node, '--fix')
    assert found == {}
    assert fixed.startswith('labels: restorecon -F on ')
    assert node.label(WRAPPER) == 'qemu_exec_t'
    vm = node.start(node.hook(PLAIN_VM, tlsciphers=GCM))
    assert is_enforced(vm, POLICIES['cipher list'][1][:2])


def test_module_that_is_missing_is_a_warning_and_vms_start(
        fresh_node: Host) -> None:
    """With the label of the base policy alone."""
    node = fresh_node
    make_vdsm_user(node)
    node.run('semodule --remove tlsciphers')
    node.run('restorecon -F -R /usr/libexec')
    assert 'tlsciphers' not in node.read('semodule --list')
    found, _ = doctor(node)
    assert found == {'SELinux module': 'tlsciphers is not in the policy '
                     'store: only the base policy labels the wrapper'}
    assert node.label(WRAPPER) == 'qemu_exec_t'
    assert node.label(EMULATOR) == 'bin_t'
    node.mark()
    vm = node.start(node.hook(PLAIN_VM, tlsciphers=GCM))
    assert vm.context.split(':')[2] == 'svirt_t'
    assert is_enforced(vm, POLICIES['cipher list'][1][:2])
    assert node.denials() == []
