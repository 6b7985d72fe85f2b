# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""VMs with a policy where SELinux is enforcing."""

import re
from xml.etree import ElementTree

import pytest

import node as nodes
import support
from host import GCM, PLAIN_VM, POLICIES, VM, Host, is_enforced
from support import EMULATOR, WRAPPER


def start_with_emulator(host: Host) -> VM:
    """Start a VM that comes from a host which was set up by hand."""
    return host.start(PLAIN_VM.replace('/usr/libexec/qemu-kvm', EMULATOR))


def test_plain_vm_is_denied_nothing(node: Host,
                                    figure: support.Figure) -> None:
    vm = node.start(PLAIN_VM)
    for port in (vm.spice, vm.websocket):
        assert support.accepts(port, GCM)
        assert support.accepts(port, 'AES128-GCM-SHA256')
    assert node.read('getenforce') == 'Enforcing'
    figure('denials, start of a VM without a policy',
           len(node.denials()), '0')
    assert node.denials() == []


@pytest.mark.parametrize('name', POLICIES)
def test_vm_with_a_policy_is_denied_nothing(node: Host, figure: support.Figure,
                                            name: str) -> None:
    properties, expected = POLICIES[name]
    vm = node.start(node.hook(PLAIN_VM, **properties))
    assert '<emulator>%s</emulator>' % EMULATOR in vm.xml
    assert is_enforced(vm, expected)
    assert re.match(r'system_u:system_r:svirt_t:s0:c\d+,c\d+$', vm.context)
    figure('denials, start of a VM with a policy (%s)' % name,
           len(node.denials()), '0')
    assert node.denials() == []


def test_vm_with_a_guard_starts_by_the_hook_alone_and_is_denied_nothing(
        node: Host) -> None:
    xml = support.guarded(PLAIN_VM)
    with pytest.raises(nodes.Failed, match='unknown CPU feature: vdsm-tls'):
        node.start(xml)
    properties, expected = POLICIES['profile']
    vm = node.start(node.hook(xml, extra_cpu_flags='+vdsm-tls', **properties))
    assert is_enforced(vm, expected)
    assert node.denials() == []


def test_vm_of_a_manual_installation_is_denied_nothing(node: Host) -> None:
    vm = start_with_emulator(node)
    assert is_enforced(vm, [
        ('spice', 'TLSv1.2', 'AES256-SHA', True),
        ('spice', 'TLSv1.2', 'ECDHE-RSA-CHACHA20-POLY1305', False)])
    assert domain_of(vm) == 'svirt_t'
    assert node.denials() == []


def domain_of(vm: VM) -> str:
    return vm.context.split(':')[2]


def test_emulator_takes_its_openssl_configuration(node: Host) -> None:
    """The kernel does not call it a process with more rights (AT_SECURE)."""
    vm = node.start(node.hook(PLAIN_VM, tlsprotocols='TLSv1.3'))
    assert 'OPENSSL_CONF=/proc/self/fd/' in node.read(
        'tr "\\0" "\\n" </proc/%s/environ' % vm.pid)
    auxiliary = node.read('od --format d8 --address-radix n --width=16 '
                          '--output-duplicates /proc/%s/auxv' % vm.pid)
    at_secure = 23
    assert {int(kind): int(value) for kind, value in
            map(str.split, auxiliary.splitlines())}[at_secure] == 0


def test_two_vms_cannot_read_each_others_policy(node: Host) -> None:
    vms = [node.start(node.hook(PLAIN_VM.replace('plain', name),
                                tlsprotocols='TLSv1.3'))
           for name in ('first', 'second')]
    assert len({vm.context for vm in vms}) == 2
    label, = set(node.read(
        'stat --dereference --format %%C $(find /proc/%s/fd -lname "/memfd*")'
        % vms[0].pid).splitlines())
    # A VM's categories are on it.
    assert label.split(':')[3:] == vms[0].context.split(':')[3:]


def test_configuration_of_a_python_without_memfd_is_isolated_as_well(
        fresh_node: Host, figure: support.Figure) -> None:
    """As on EL8 (Python 3.6): OpenSSL reads it from a file in /tmp."""
    node = fresh_node
    node.run('sed -i s/memfd_create/memfd_of_python_3_8/ '
             '/usr/share/vdsm-hook-tlsciphers/tlsciphers_wrapper.py')
    properties, expected = POLICIES['profile']
    vm = node.start(node.hook(PLAIN_VM, **properties))
    assert is_enforced(vm, expected)
    label, = node.read(
        'stat --dereference --format %%C $(find /proc/%s/fd -lname "/tmp/#*")'
        % vm.pid).splitlines()
    assert label.split(':')[2] == 'svirt_tmp_t'
    assert label.split(':')[3:] == vm.context.split(':')[3:]
    figure('denials, start of a VM with a policy, Python without memfd',
           len(node.denials()), '0')
    assert node.denials() == []


def test_saved_vm_resumes_with_its_policy(node: Host) -> None:
    properties, expected = POLICIES['TLS 1.3']
    vm = node.start(node.hook(PLAIN_VM, **properties))
    saved = '/var/lib/libvirt/qemu/save/plain'
    node.run('virsh save %s %s' % (vm.name, saved))
    node.run('virsh restore ' + saved)
    resumed = node.adopt(vm.name)
    assert is_enforced(resumed, expected)
    assert domain_of(resumed) == 'svirt_t'
    assert node.denials() == []


def test_wrapper_with_another_label_starts_no_vm(
        node: Host, figure: support.Figure) -> None:
    xml = node.hook(PLAIN_VM, tlsciphers=GCM)
    node.run('chcon --type bin_t ' + WRAPPER)
    node.mark()
    with pytest.raises(nodes.Failed, match='|'.join(
            ('Permission denied', *support.TOO_LATE))):
        node.start(xml)
    denials = node.denials()
    assert [re.sub('^[^ ]+', '', denial) for denial in denials] == [
        ' svirt_t -> bin_t file { entrypoint }']
    figure('denials, wrapper labelled bin_t', len(denials), '1')
    # The hook says so before, with the remedy.
    with pytest.raises(nodes.Failed, match='restorecon -v ' + WRAPPER):
        node.hook(PLAIN_VM, tlsciphers=GCM)
    node.run('restorecon -v %s %s' % (WRAPPER, EMULATOR))
    assert is_enforced(node.start(node.hook(PLAIN_VM, tlsciphers=GCM)),
                       POLICIES['cipher list'][1][:2])


def test_wrapper_never_needs_executable_memory(fresh_node: Host) -> None:
    """
    Only the emulator does, for it emulates. So the VM does not start, and
    the log shows how far it came.
    """
    node = fresh_node
    xml = node.hook(PLAIN_VM, tlsprofile='intermediate')
    node.run('setsebool virt_use_execmem off')
    node.mark()
    with pytest.raises(nodes.Failed, match='mprotect failed'):
        node.start(xml)
    log = node.read('cat /var/log/libvirt/qemu/plain.log')
    assert 'qemu-kvm-modified: QEMU gets -spice ' in log
    assert node.denials() == [
        'qemu-kvm svirt_t -> svirt_t process { execmem }']


# Where libvirt looks, once it has started with something there.
ENABLE = 'vdsm-tlsciphers incoming --enable && systemctl restart libvirtd'
SCRIPT = '/usr/libexec/vdsm-tlsciphers-incoming'
PENDING = 'http://ovirt.org/vdsm-hook-tlsciphers/pending/1.0'
# What breaks the script, or what it needs.
BREAK = {
    'nothing': 'true', 'no run bit': 'chmod 644 ' + SCRIPT,
    'missing module': 'chmod 755 %s; rm /usr/share/vdsm-hook-tlsciphers/'
                      'tlsciphers_incoming.py' % SCRIPT,
    'cut off': 'truncate --size=900 ' + SCRIPT,
    'dangling link': 'rm ' + SCRIPT}


def test_mark_becomes_a_policy_and_is_denied_nothing(
        fresh_node: Host, figure: support.Figure) -> None:
    node = fresh_node
    _, expected = POLICIES['profile']
    vm = node.start(PLAIN_VM)
    node.run(ENABLE)
    assert node.adopt(vm.name).pid == vm.pid
    # As "apply" does, which needs a Python module that is not here.
    settings = ElementTree.fromstring(node.hook(
        PLAIN_VM, tlsprofile='modern')).findall('{*}commandline/{*}arg')
    values = [argument.get('value') for argument in settings]
    node.run('virsh metadata %s %s --key x --live --set \'<policy>%s'
             '</policy>\'' % (vm.name, PENDING, ''.join(
                 '<setting option="%s" value="%s"/>' % pair
                 for pair in zip(values[::2], values[1::2]))))
    assert support.accepts(vm.spice, GCM)
    node.mark()
    saved = '/var/lib/libvirt/qemu/save/plain'
    node.run('virsh save %s %s' % (vm.name, saved))
    node.run('virsh restore ' + saved)
    resumed = node.adopt(vm.name)
    assert is_enforced(resumed, expected)
    assert domain_of(resumed) == 'svirt_t'
    figure('denials, a VM arrives with a mark', len(node.denials()), '0')
    assert node.denials() == []


def test_libvirtd_restarts_beside_any_script_without_ending_a_vm(
        fresh_node: Host) -> None:
    node = fresh_node
    vm = node.start(PLAIN_VM)
    node.run(ENABLE)
    for name, command in BREAK.items():
        # So often is more than systemd takes.
        node.run('%s; systemctl reset-failed libvirtd; systemctl restart '
                 'libvirtd' % command)
        # It answers once libvirt has found it again.
        assert '"running":true' in node.read(
            'virsh qemu-monitor-command %s \'{"execute": "query-status"}\''
            % vm.name).replace(' ', ''), name
        assert node.adopt(vm.name).pid == vm.pid, name


def test_script_that_libvirtd_may_not_start_is_not_enabled(
        fresh_node: Host) -> None:
    """To libvirtd it would fail, and at its restart libvirtd ends VMs."""
    fresh_node.run('chcon --type etc_t ' + SCRIPT)
    with pytest.raises(nodes.Failed, match='restorecon -v ' + SCRIPT):
        fresh_node.run('vdsm-tlsciphers incoming --enable')
    fresh_node.run('restorecon %s; vdsm-tlsciphers incoming --enable' % SCRIPT)
