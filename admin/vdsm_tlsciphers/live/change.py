# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""
Gives a running VM a policy, or takes it away: VNC at once, through QEMU's
monitor and proven by handshakes; SPICE when the VM moves, by a mark.
"""

import re

import tlsciphers_domain
import tlsciphers_values
from tlsciphers_values import BEST_EFFORT, REQUIREMENT

import tlsciphers
from vdsm_tlsciphers import UserError
from vdsm_tlsciphers.audit import compliance, policy_proof
from vdsm_tlsciphers.host import consoles, domains, listeners, qemu_monitor
from vdsm_tlsciphers.live import mark

TYPE_CHECKING = False
if TYPE_CHECKING:
    import libvirt

    from vdsm_tlsciphers import documents
    from vdsm_tlsciphers.host.domains import Setting
    from vdsm_tlsciphers.live.mark import Pairs

OS_RELEASE = '/etc/os-release'
# What QEMU takes for VNC where nothing sets a priority, by how it is built:
# that of EL and Fedora, and that of others. It reads as empty, and written
# back so it would reject every client.
DEFAULT_OF_EL = '@QEMU,SYSTEM'
DEFAULT = 'NORMAL'


class Change:
    """
    A change of the policy of a running VM.

    Attributes:
        vm (domains.VM)
        settings (list of (option, 'KEY=VALUE')): all of the policy.
        running (consoles.RunningVM)
    """

    def __init__(self, vm: domains.VM, connection: 'libvirt.virConnect',
                 settings: 'Pairs') -> None:
        self.vm = vm
        self.settings = settings
        self._connection = connection
        self.running = consoles.RunningVM(vm, listeners.Listeners())

    @property
    def priority(self) -> 'str | None':
        """The value for VNC, or None."""
        found = domains.settings_of(self.settings).get(domains.LIVE_KEY)
        return found.value if found else None

    @property
    def waiting(self) -> 'dict[str, Setting]':
        """The settings for SPICE, which come when the VM moves."""
        found = domains.settings_of(self.settings)
        found.pop(domains.LIVE_KEY, None)
        return found

    @property
    def is_done(self) -> bool:
        """Whether the VM has the very same mark and values already."""
        return (self.vm.pending == domains.settings_of(self.settings)
                and all(value == self.priority
                        for value in self._values().values()))

    def _values(self) -> 'dict[str, str | None]':
        """
        Return the priorities of the VM's credentials as QEMU has them now.
        Raises UserError where they cannot be known.
        """
        if self.running.emulator is None:
            raise self.running.problem or consoles.MALFORMED
        found = {}
        for name in self.running.emulator.credentials:
            value = self._ask('qom-get', name)
            if not isinstance(value, str):
                raise consoles.MALFORMED
            found[name] = value or None
        return found

    def _ask(self, command: str, name: str, **arguments: str) -> object:
        import libvirt
        try:
            answer = qemu_monitor.ask(
                self._connection, self.vm.uuid, command,
                {'path': '/objects/' + name, 'property': 'priority',
                 **arguments})
        except libvirt.libvirtError as error:
            raise UserError('QEMU cannot be asked: %s' % error,
                            'run this again', 'no-qemu-answer')
        if isinstance(answer, UserError):
            raise answer
        return answer

    def check(self, replace: bool) -> None:
        """
        Raise UserError where the policy cannot be applied to this VM; replace
        (bool) is whether it may outrank the policy of its start.
        """
        if self.running.consoles is None:
            raise self.running.problem or consoles.MALFORMED
        if self.vm.policy and not replace:
            raise UserError(
                'it was started with a policy', 'change its properties, or '
                'give --replace', 'apply-has-policy')
        vnc = self._vnc()
        if self.priority and not vnc:
            # It says nothing of consoles that are not there.
            self.settings = pairs_of(self.waiting)
        if self.priority and not all(console.tls and console.credentials
                                     for console in vnc):
            raise UserError(
                'its VNC console is not encrypted', 'check Enable VNC '
                'Encryption in the engine (Compute > Clusters > Edit > '
                'Console), reinstall the host, shut the VM down and start it',
                'vnc-without-tls')
        if not self.settings:
            raise UserError('the policy has nothing for its consoles',
                            'give tlsprofile, or a setting for them',
                            'apply-nothing')

    def notes(self) -> 'list[UserError]':
        """Return what the administrator should know beside the result."""
        found = []
        unencrypted = [
            console for console in (self.running.consoles.consoles
                                    if self.running.consoles else ())
            if console.display == 'spice' and not console.tls]
        if unencrypted and not any(setting.required for setting
                                   in self.waiting.values()):
            found.append(UserError(
                'its SPICE port without TLS stays open', 'only --require '
                'closes it when the VM moves', 'spice-plaintext'))
        if not self.vm.wanted:
            found.append(UserError(
                'its next start brings no policy: it has no property',
                'set tlsprofile in the engine as well', 'apply-next-start'))
        return found

    def _vnc(self) -> 'list[consoles.Console]':
        assert self.running.consoles  # nosec B101 # for mypy
        return [console for console in self.running.consoles.consoles
                if console.display != 'spice' and console.port]

    def apply(self) -> None:
        """
        Mark the VM, set the priority of VNC, and prove it. Where that fails
        all is put back. Raises UserError.
        """
        old = self._values() if self.priority else {}
        marked = tlsciphers_domain.read_pending(self.vm.document)
        domain = self._connection.lookupByUUIDString(self.vm.uuid)
        mark.write(domain, self.settings)
        try:
            for name in old:
                self._ask('qom-set', name, value=self.priority or '')
            self._prove(self.priority)
        except BaseException:
            for name, value in old.items():
                self._ask('qom-set', name, value=value or default_priority())
            mark.write(domain, marked)
            raise

    def remove(self) -> None:
        """
        Take the mark away, and give VNC back what this QEMU has by default,
        proven by a handshake. Raises UserError; then all is as it was.
        """
        settings = domains.settings_of(self.settings)
        old = self._values() if domains.LIVE_KEY in settings else {}
        domain = self._connection.lookupByUUIDString(self.vm.uuid)
        at_start = self.vm.policy.get(domains.LIVE_KEY)
        value = at_start.value if at_start else default_priority()
        try:
            for name in old:
                self._ask('qom-set', name, value=value)
            self._prove(value if old else None, exactly=at_start is not None)
            mark.write(domain, [])
        except BaseException:
            for name, before in old.items():
                self._ask('qom-set', name, value=before or value)
            raise

    def _prove(self, priority: 'str | None', exactly: bool = True) -> None:
        """
        Raise UserError unless each VNC console accepts something within a
        priority string, and, if that is to be exact, nothing beyond it.
        """
        if not priority:
            return
        bounds = compliance.policy_bounds({domains.LIVE_KEY: priority}) if (
            exactly) else compliance.AllowedSet()
        for console in self._vnc():
            proof = policy_proof.prove(
                console.display, console.reachable_address, console.port or 0,
                policy_proof.offers(bounds, console.display))
            if proof.effective:
                continue
            raise UserError(
                '%s: not proven: %s; all is as it was' % (
                    console.place, proof.problem or (
                        'accepted outside the policy: '
                        + ', '.join(proof.accepted[:3]) if proof.accepted
                        else 'rejects all that the policy permits')),
                '"vdsm-tlsciphers check tlspriority=VALUE" tries a value',
                'apply-not-proven')


def pairs_of(settings: 'dict[str, Setting]') -> 'Pairs':
    """Return settings as pairs of an option and its 'KEY=VALUE'."""
    return [(REQUIREMENT if setting.required else BEST_EFFORT,
             '%s=%s' % (key, setting.value))
            for key, setting in settings.items()]


def default_priority() -> str:
    """Return what QEMU of this host takes for VNC by default."""
    try:
        with open(OS_RELEASE) as lines:
            text = lines.read(65536)
    except (OSError, UnicodeDecodeError):
        text = ''
    is_el = re.search(r'(?m)^ID(_LIKE)?=.*\b(rhel|fedora|centos)\b', text)
    return DEFAULT_OF_EL if is_el else DEFAULT


def resolve(vm: domains.VM, properties: 'dict[str, str]',
            required: bool) -> 'tuple[Pairs, list[UserError]]':
    """
    Return the settings for a VM's consoles that properties stand for, as the
    hook has them, and notes. Raises UserError.
    """
    try:
        settings, notes = tlsciphers.resolve(properties, vm.displays)
    except tlsciphers_values.Refused as refusal:
        raise UserError.of(refusal)
    option = REQUIREMENT if required else BEST_EFFORT
    return [(option, setting) for _, setting in settings], [
        UserError.of(note) for note in notes if note.code != 'policy-set']


def describe(settings: 'dict[str, Setting]') -> 'documents.Policy':
    """Return settings for JSON."""
    return {key: {'value': setting.value, 'required': setting.required}
            for key, setting in settings.items()}
