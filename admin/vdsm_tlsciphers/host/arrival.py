# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""
The script that libvirt runs where a VM arrives, and the link that makes it do
so: libvirt's own configuration is not touched, and a link to nowhere is
harmless.
"""

import os
import stat
import subprocess  # nosec B404 # the package's own script, by its path

import tlsciphers_domain
import tlsciphers_incoming
import tlsciphers_values

from vdsm_tlsciphers import UserError
from vdsm_tlsciphers.host import package_checks
from vdsm_tlsciphers.host.finding import INCOMING, REINSTALL

HOOKS = '/etc/libvirt/hooks'
LINK = HOOKS + '/qemu.d/50-tlsciphers'
# libvirt runs what is in qemu.d since 6.5.
OLDEST_LIBVIRT = 6005000
# Seconds: more than the script lets itself have.
TIMEOUT = 30
# As libvirt writes it. The hook's sample has no mark.
SAMPLE = """\
<domain type='kvm'>
  <name>sample</name>
  <metadata>
    <tlsciphers:policy xmlns:tlsciphers="%s">
      <tlsciphers:setting option="-vdsm-tls-default" value="priority=NORMAL"/>
    </tlsciphers:policy>
  </metadata>
  <devices>
    <graphics type='vnc' port='-1' autoport='yes'/>
  </devices>
</domain>
""" % tlsciphers_domain.PENDING_NAMESPACE
PLAIN = "<domain type='kvm'><name>sample</name></domain>\n"


def is_enabled() -> bool:
    """
    Tell whether libvirt runs the script. Raises UserError where something
    else has its name.
    """
    try:
        leads_to = os.readlink(LINK)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        leads_to = ''  # No link.
    if leads_to != INCOMING:
        raise UserError('%s is not the link to %s' % (LINK, INCOMING),
                        'remove it, then run vdsm-tlsciphers incoming '
                        '--enable', 'incoming-link')
    return True


def enable() -> bool:
    """
    Have libvirt run the script, if it passes test(). Returns whether that is
    a change. Raises UserError.
    """
    test()
    if is_enabled():
        return False
    try:
        os.makedirs(os.path.dirname(LINK), 0o755, exist_ok=True)
        os.symlink(INCOMING, LINK)
    except OSError as error:
        raise UserError('cannot make %s: %s' % (LINK, error.strerror), '',
                        'system-error')
    return True


def disable() -> bool:
    """
    Have libvirt run the script no more. Returns whether that is a change.
    Raises UserError.
    """
    if not is_enabled():
        return False
    os.unlink(LINK)
    return True


def test() -> None:
    """
    Run the script as libvirt does. Raises UserError where it could do harm,
    or would not turn a mark into a policy.
    """
    check_file()
    for operation, xml in (('reconnect', ''), ('migrate', PLAIN),
                           ('restore', PLAIN)):
        status, output = run(operation, xml)
        if status or output:
            # After such a status libvirtd, restarted, ends all VMs.
            raise UserError('%s: at "%s" of a VM without a mark: exit status '
                            '%d, %d bytes of output; expected: none' % (
                                INCOMING, operation, status, len(output)),
                            'at once: vdsm-tlsciphers incoming --disable; '
                            'then: ' + REINSTALL, 'incoming-harmful')
    try:
        expected, _ = tlsciphers_incoming.arriving(SAMPLE.encode())
    except tlsciphers_values.Refused as refusal:
        raise UserError.of(refusal)
    for operation in 'migrate', 'restore':
        status, output = run(operation, SAMPLE)
        if status or output.strip() != expected.strip():
            raise UserError('%s: a mark does not become a policy: exit status '
                            '%d, %d bytes of output' % (
                                INCOMING, status, len(output)),
                            REINSTALL, 'incoming')


def check_file() -> None:
    """Raise UserError unless the script is a file that everybody may run."""
    try:
        status = os.stat(INCOMING)
    except OSError as error:
        raise UserError('%s: %s' % (INCOMING, error.strerror), REINSTALL,
                        'incoming')
    if (not stat.S_ISREG(status.st_mode) or status.st_mode & 0o777 != 0o755
            or status.st_uid):
        raise UserError('%s is not a file of root with mode 755' % INCOMING,
                        REINSTALL, 'incoming')
    # libvirtd may then see it and not start it, which is a status not 0.
    label = package_checks.read_label(INCOMING)
    if label and label.split(':')[2:3] != ['bin_t']:
        raise UserError('%s has the SELinux label %s instead of bin_t' % (
            INCOMING, label), 'restorecon -v ' + INCOMING,
            'incoming-harmful')


def run(operation: str, xml: str) -> 'tuple[int, bytes]':
    """
    Return the exit status and output of the script for an operation of a VM
    with a domain XML. Raises UserError.
    """
    try:
        process = subprocess.run(  # nosec B603 # a constant path
            [INCOMING, 'sample', operation, 'begin', '-'], input=xml.encode(),
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            timeout=TIMEOUT)
    except OSError as error:
        raise UserError('%s cannot be run: %s' % (INCOMING, error.strerror),
                        'at once: vdsm-tlsciphers incoming --disable; then: '
                        + REINSTALL, 'incoming-harmful')
    except subprocess.TimeoutExpired:
        raise UserError('%s: no end after %d seconds' % (INCOMING, TIMEOUT),
                        'at once: vdsm-tlsciphers incoming --disable; then: '
                        + REINSTALL, 'incoming-harmful')
    return process.returncode, process.stdout


def marked_vms() -> 'list[str]':
    """Return the names of the VMs here to which something was applied."""
    from vdsm_tlsciphers.host import domains
    try:
        return [vm.name for vm in domains.running(domains.connect())
                if vm.is_marked]
    except UserError:
        return []  # The check of running VMs says why.


def notes() -> 'list[UserError]':
    """Return why libvirt may not run the script, although it is enabled."""
    from vdsm_tlsciphers.host import domains
    try:
        version = domains.connect().getLibVersion()
    except UserError as problem:
        return [UserError('whether libvirt runs scripts in qemu.d is unknown: '
                          + problem.text, problem.remedy, problem.code)]
    found = []
    if version < OLDEST_LIBVIRT:
        found.append(UserError(
            'libvirt %d.%d does not run scripts in qemu.d; 6.5 and later do'
            % (version // 1000000, version // 1000 % 1000),
            'a shutdown and start gives VMs of this host their policy',
            'libvirt-too-old'))
    elif not os.access(HOOKS + '/qemu', os.X_OK):
        found.append(UserError(
            'libvirt looks for scripts when it starts, and vdsm (which brings '
            'one) is not installed', 'systemctl reload libvirtd, if that was '
            'not done since',
            'libvirt-reload'))
    return found
