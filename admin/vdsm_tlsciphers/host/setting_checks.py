# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""Whether profiles, the settings of a host and its VMs fit."""

import functools
import glob
import os
import re

import tlsciphers_config
from tlsciphers_config import HOST_DEFAULT
from tlsciphers_host import EMULATOR, QEMU_KVM
from tlsciphers_values import Refused

import tlsciphers
from vdsm_tlsciphers import UserError
from vdsm_tlsciphers.host import messages, qemu_conf
from vdsm_tlsciphers.host.accounts import (
    as_user,
    closed,
    qemu_user,
    vdsm_user,
    who,
)
from vdsm_tlsciphers.host.emulator import has_spice
from vdsm_tlsciphers.host.finding import (
    FAILED,
    FIX,
    OK,
    WARNING,
    Finding,
    ok,
)

RUNNING_VMS = 'running VMs'
# The code of a host without any.
NO_VMS = 'no-running-vms'
CAPABILITIES = '/var/cache/libvirt/qemu/capabilities/*.xml'
# What a display needs in qemu.conf.
TLS_SETTINGS = {'SPICE': 'spice_tls', 'VNC': 'vnc_tls'}
TLS_CODES = {'SPICE': 'spice-tls', 'VNC': 'vnc-tls'}
LEFT_OUT = 'left-out'


def profiles() -> Finding:
    check = 'profiles'
    left_out: list[str] = []
    for name in sorted(tlsciphers_config.PROFILES):
        try:
            _, notes = tlsciphers.resolve(
                {'tlsprofile': name}, ('spice', 'vnc'), lenient=True)
        except Refused as refusal:
            return Finding(check, FAILED, refusal.text, 'use other profiles '
                           'or properties on this host, or change its '
                           'crypto-policy', refusal.code)
        left_out.extend(note.text for note in notes if note.code == LEFT_OUT)
    if left_out:
        return Finding(check, WARNING, '; '.join(left_out), 'none is needed '
                       'unless VMs migrate to hosts that know it', LEFT_OUT)
    return ok(check, ' and '.join(sorted(tlsciphers_config.PROFILES))
              + ' are fully supported')


def host_default() -> Finding:
    check = 'host default'
    user = vdsm_user()
    if not os.path.lexists(HOST_DEFAULT):
        # vdsm must be able to find that out as well.
        folder = closed(HOST_DEFAULT, user)
        if folder:
            return Finding(
                check, FAILED, 'user %s cannot enter %s: VMs are refused '
                'unless their properties make every setting' % (
                    who(user), folder),
                'chmod a+rx ' + folder, 'not-permitted')
        return ok(check, 'there is no ' + HOST_DEFAULT)
    try:
        sections = tlsciphers_config.read_host_default()
        refused = as_user(user, read_as_vdsm)
        if refused:
            folder = closed(HOST_DEFAULT, user)
            return Finding(check, FAILED, 'vdsm cannot read it, so no VM that '
                           'needs it starts: ' + refused,
                           'chmod a+rx ' + folder if folder else
                           'chmod 644 ' + HOST_DEFAULT, 'host-default')
        notes = validate({})
        for section in sorted(sections):
            if section.startswith('profile '):
                notes += validate({'tlsprofile': section[len('profile '):]})
    except Refused as refusal:
        return Finding(check, FAILED, refusal.text,
                       refusal.remedy or 'correct it', refusal.code)
    if notes:
        return Finding(check, WARNING, '; '.join(map(str, notes)),
                       'correct %s unless that is intended' % HOST_DEFAULT,
                       'host-default')
    return ok(check, HOST_DEFAULT + ' is valid')


def read_as_vdsm() -> 'str | None':
    """Return why the host's default cannot be read, or None."""
    try:
        tlsciphers_config.read_host_default()
    except Refused as refusal:
        return str(refusal.text)
    return None


def validate(properties: 'dict[str, str]') -> 'list[Refused]':
    """Return the warnings about a policy (list of Refused)."""
    _, notes = tlsciphers.resolve(properties, ('spice', 'vnc'))
    return [note for note in notes if note.code not in messages.DESCRIPTIONS]


def encryption() -> 'Finding | list[Finding]':
    try:
        text = qemu_conf.read()
    except OSError as error:
        return Finding('encryption', WARNING, '%s cannot be read: %s' % (
            qemu_conf.PATH, error.strerror), 'install or repair libvirt',
            'encryption')
    displays = ['SPICE', 'VNC'] if has_spice() else ['VNC']
    off = [display for display in displays
           if not is_set(text, TLS_SETTINGS[display])]
    # Some sites use only one of them.
    state = FAILED if off == displays else WARNING
    remedies = {
        'SPICE': 'set spice_tls = 1 in %s and restart libvirtd (the engine '
        'does that when it installs a host)' % qemu_conf.PATH,
        'VNC': 'check Enable VNC Encryption in the engine (Compute > '
        'Clusters > Edit > Console) and reinstall this host'}
    return [Finding(display + ' TLS', state, '%s is off: a VM with a policy '
                    'for its %s console does not start' % (
                        TLS_SETTINGS[display], display), remedies[display],
                    TLS_CODES[display])
            if display in off else certificate(display, text)
            for display in displays]


def is_set(text: str, name: str) -> bool:
    """Tell whether a line of libvirt's configuration sets a name to 1."""
    return qemu_conf.value(text, name) == '1'


def why_not_read(path: str) -> 'str | None':
    """Return why a file cannot be read, or None."""
    try:
        with open(path, 'rb'):
            return None
    except OSError as error:
        return error.strerror


def certificate(display: str, text: str) -> Finding:
    """
    Check that QEMU's user can read the certificate of a display, where
    qemu.conf (its text) names its folder.
    """
    check, setting = display + ' TLS', TLS_SETTINGS[display]
    folder = qemu_conf.value(text, setting + '_x509_cert_dir')
    user = qemu_user()
    for name in ('ca-cert.pem', 'server-cert.pem', 'server-key.pem'):
        path = os.path.join(folder or '/', name)
        if folder and as_user(user, functools.partial(
                why_not_read, path)):
            return Finding(
                check, FAILED, '%s is on, but user %s cannot read %s: no VM '
                'with a %s console starts' % (setting, who(user), path,
                                              display),
                'enroll the certificate of this host in the engine (Hosts > '
                'NAME > Installation > Enroll Certificate)', 'certificate')
    return ok(check, setting + ' is on')


def capabilities() -> Finding:
    """
    Check libvirt's cached capabilities of the wrapper as an emulator. libvirt
    probes it again when the wrapper's change time differs, but not when that
    of qemu-kvm, which the wrapper starts, does.
    """
    check = 'capabilities'
    for path in glob.glob(CAPABILITIES):
        try:
            with open(path, encoding='utf-8', errors='replace') as cache:
                text = cache.read(4096)
            asked = re.search(
                r'<emulator>%s</emulator>\s*<qemuctime>([0-9]+)'
                % re.escape(EMULATOR), text)
            # Only an entry that libvirt would go on using.
            if asked and (
                    int(asked.group(1)) == int(os.stat(EMULATOR).st_ctime)
                    and os.stat(path).st_mtime < os.stat(QEMU_KVM).st_ctime):
                return Finding(check, FAILED, 'libvirt\'s capability cache is '
                               'older than %s: VMs with a policy may not start'
                               % QEMU_KVM, FIX, 'capabilities')
        except OSError:
            continue  # It is just being replaced.
    return ok(check, 'libvirt\'s capability cache is current')


def incoming() -> 'Finding | list[Finding]':
    """Report whether a mark becomes a policy where its VM arrives."""
    check = 'incoming'
    from vdsm_tlsciphers.host import arrival
    try:
        enabled = arrival.is_enabled()
        marked = [] if enabled else arrival.marked_vms()
        if marked:
            return Finding(check, WARNING, 'off, and %s has been given a '
                           'policy that its next migration or suspension '
                           'loses' % ', '.join(marked[:5]),
                           'vdsm-tlsciphers incoming --enable, here and on '
                           'the hosts where it can go', 'mark-lost')
        if not enabled:
            return ok(check, 'off: where VMs arrive with a policy that was '
                      'applied, SPICE does not have it ("vdsm-tlsciphers '
                      'incoming")')
        arrival.test()
        notes = arrival.notes()
    except UserError as problem:
        return Finding(check, FAILED, problem.text, problem.remedy,
                       problem.code)
    return [Finding(check, WARNING, note.text, note.remedy, note.code)
            for note in notes] or ok(
                check, 'on: a mark becomes a policy where its VM arrives')


def running_vms() -> 'Finding | list[Finding]':
    """Report running VMs that would be refused at their next start."""
    check = RUNNING_VMS
    from vdsm_tlsciphers.host import domain_consoles, domains, next_start
    try:
        vms = domains.running(domains.connect())
    except UserError as problem:
        return Finding(check, WARNING, 'not checked: ' + problem.text,
                       problem.remedy, problem.code)
    if not vms:
        return Finding(check, OK, 'no VM runs here', '', NO_VMS)
    refused = []
    for vm in vms:
        try:
            settings, _ = next_start.settle(
                next_start.of_vm(vm), vm)
            refusal = domain_consoles.refusal(vm, settings)
        except Refused as error:
            refused.append((vm.name, error, 'vdsm-tlsciphers check --vm %s; '
                            'correct its properties in the engine' % vm.name))
        else:
            if refusal:
                refused.append((vm.name, refusal,
                                domain_consoles.without_removal(refusal)))
    return [Finding(check, WARNING, '%s would be refused at its next start: %s'
                    % (name, message.text), remedy,
                    # Where a tool fails, see lead_to_tool().
                    'cannot-run' if message.code == 'cannot-run' else
                    'next-start')
            for name, message, remedy in refused] or ok(
                check, 'none of %d would be refused at its next start'
                % len(vms))
