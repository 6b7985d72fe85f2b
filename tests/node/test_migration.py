# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""Live migration between two nodes with SELinux enforcing."""

import pytest

import node as nodes
import support
from host import PLAIN_VM, POLICIES, VM, Host, is_enforced

ADDRESSES = {'a': '192.0.2.1', 'b': '192.0.2.2'}


@pytest.fixture(scope='module')
def pair(two_nodes: tuple[Host, Host]) -> tuple[Host, Host]:
    """Two nodes that know each other as a and b."""
    for host in two_nodes:
        name = host.directory.name
        host.run("""
            hostnamectl set-hostname {name}
            printf '%s\n' '127.0.0.1 localhost' {hosts} >/etc/hosts
            echo 'host_uuid = "'$(cat /proc/sys/kernel/random/uuid)'"' \
                >>/etc/libvirt/libvirtd.conf
            ip link set eth1 address 52:54:00:00:01:0{digit} up
            ip address add {address}/24 dev eth1
            systemctl stop libvirtd libvirtd.socket libvirtd-ro.socket \
                libvirtd-admin.socket
            systemctl start libvirtd.socket libvirtd-tcp.socket
            virsh version""".format(
                name=name, digit=ADDRESSES[name][-1],
                address=ADDRESSES[name], hosts=' '.join(
                    "'%s %s'" % (address, other)
                    for other, address in ADDRESSES.items())))
    return two_nodes


def migrate(source: Host, destination: Host, vm: VM) -> VM:
    """Move a VM; return it at its destination."""
    source.run('virsh migrate --live --p2p %s qemu+tcp://%s/system' % (
        vm.name, destination.directory.name))
    return destination.adopt(vm.name)


def test_policy_migrates_between_nodes_that_enforce(
        pair: tuple[Host, Host], figure: support.Figure) -> None:
    source, destination = pair
    for host in pair:
        host.mark()
    properties, expected = POLICIES['profile']
    vm = source.start(source.hook(PLAIN_VM, **properties))
    assert is_enforced(vm, expected)
    there = migrate(source, destination, vm)
    assert is_enforced(there, expected)
    assert there.context.startswith('system_u:system_r:svirt_t:s0:c')
    back = migrate(destination, source, there)
    assert is_enforced(back, expected)

    denials = source.denials() + destination.denials()
    figure('denials, migration with a policy and back, both nodes',
           len(denials), '0')
    assert denials == []
    back.destroy()


def test_node_without_the_package_refuses_and_the_vm_goes_on(
        pair: tuple[Host, Host]) -> None:
    source, destination = pair
    properties, expected = POLICIES['cipher list']
    vm = source.start(source.hook(PLAIN_VM, **properties))
    # Without the scripts, which change the policy of SELinux for so long.
    destination.run('rpm --erase --noscripts vdsm-hook-tlsciphers')
    with pytest.raises(nodes.Failed, match='qemu-kvm-modified'):
        migrate(source, destination, vm)
    assert source.read('virsh domstate --reason ' + vm.name).startswith(
        'running')
    assert is_enforced(vm, expected)
