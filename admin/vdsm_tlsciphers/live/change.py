# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""
Gives a running VM a policy, or takes it away: VNC at once, through QEMU's
monitor and proven by handshakes; SPICE when the VM moves, by a mark.
"""

import signal

import tlsciphers_domain
import tlsciphers_values
from tlsciphers_values import BEST_EFFORT, REQUIREMENT

import tlsciphers
from vdsm_tlsciphers import UserError
from vdsm_tlsciphers.audit import compliance, policy_proof
from vdsm_tlsciphers.host import (
    consoles,
    domains,
    listeners,
    qemu_conf,
    qemu_monitor,
)
from vdsm_tlsciphers.live import mark

TYPE_CHECKING = False
if TYPE_CHECKING:
    import libvirt

    from vdsm_tlsciphers import documents
    from vdsm_tlsciphers.host.domains import Setting
    from vdsm_tlsciphers.live.mark import Pairs


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
        if self.running.consoles is None:
            raise self.running.problem or consoles.MALFORMED

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
        """
        Whether nothing is to be done: the running QEMU has it and the VM has
        the mark for later, or all of it is the policy of its start.
        """
        wanted = domains.settings_of(self.settings)
        values = set(self._values().values()) if self._concerns_vnc else set()
        if self.vm.pending:
            return (self.vm.pending == wanted and values <= {self.priority}
                    and self.vm.marked_process == self._process)
        return values <= {self.priority} and all(
            key in self.vm.policy
            and self.vm.policy[key].value == setting.value
            and self.vm.policy[key].required >= setting.required
            for key, setting in wanted.items())

    @property
    def _process(self) -> str:
        assert self.running.emulator  # nosec B101 # for mypy
        return self.running.emulator.identity

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
        # With a limit: a QEMU that hangs never answers.
        monitor = qemu_monitor.Monitor({self.vm.uuid: [(
            command, {'path': '/objects/' + name, 'property': 'priority',
                      **arguments})]})
        answers = monitor.wait()[self.vm.uuid]
        if answers.problem or isinstance(answers.values[0], UserError):
            problem = answers.problem or answers.values[0]
            raise UserError('QEMU cannot be asked: ' + problem.text,
                            'run this again', 'no-qemu-answer')
        return answers.values[0]

    def _set(self, values: 'dict[str, str | None]') -> None:
        """
        Set priorities, for None the default: an empty one rejects every
        client.
        """
        for name, value in values.items():
            self._ask('qom-set', name,
                      value=value or domains.default_priority())

    def check_mark(self) -> None:
        """
        Raise UserError where the mark, which is to be applied again, is none,
        or this host's GnuTLS does not take its value.
        """
        if self.vm.mark_problem:
            raise self.vm.mark_problem
        try:
            if self.priority:
                tlsciphers_values.check_priority(self.priority, 'tlspriority')
        except tlsciphers_values.Refused as refusal:
            raise UserError.of(refusal)

    def check(self, replace: bool) -> None:
        """
        Raise UserError where the policy cannot be applied to this VM; replace
        (bool) is whether it may outrank the policy of its start.
        """
        if self.vm.policy and not replace:
            raise UserError(
                'it has a policy already, from its start or its last arrival',
                'change its properties, or give --replace',
                'apply-has-policy')
        vnc = self._vnc()
        if self.priority and not vnc:
            # It says nothing of consoles that are not there.
            self.settings = pairs_of(self.waiting)
            self.check_covers()
        if self.priority and not all(console.tls and console.credentials
                                     for console in vnc):
            raise UserError(
                'its VNC console is not encrypted', 'check Enable VNC '
                'Encryption in the engine (Compute > Clusters > Edit > '
                'Console), reinstall the host, shut the VM down and start '
                'it; for SPICE alone give tlsciphers, tlsprotocols, tlsgroups',
                'vnc-without-tls')
        spice = [console for console in (
            self.running.consoles.consoles if self.running.consoles else ())
            if console.display == 'spice']
        if spice and not any(console.tls for console in spice) and any(
                setting.required for setting in self.waiting.values()):
            raise UserError(
                'its SPICE console is not encrypted, so it could not migrate '
                'with a requirement', 'set spice_tls = 1 in %s (the engine '
                'does that when it installs a host)' % qemu_conf.PATH,
                'console-not-encrypted')

    def check_covers(self) -> None:
        """Raise UserError where there is nothing for the VM's consoles."""
        if not self.settings:
            raise UserError('the policy has nothing for its consoles',
                            'give --profile, or a setting for them',
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
        uncovered = [display.upper() for display in ('spice', 'vnc')
                     if any((console.display == 'spice') == (
                         display == 'spice') for console in (
                             self.running.consoles.consoles
                             if self.running.consoles else ()))
                     and not any(tlsciphers_domain.is_of_vnc(pair) == (
                         display == 'vnc') for pair in self.settings)]
        if uncovered:
            found.append(UserError(
                'its %s console is not covered' % uncovered[0],
                'give --profile, or a setting for it',
                'console-not-covered'))
        return found + self._at_next_start()

    def _at_next_start(self) -> 'list[UserError]':
        """
        Return how the policy of the VM's next start differs: the properties
        are those of its last one.
        """
        remedy = 'set its properties in the engine, if that is not done'
        if not self.vm.wanted:
            return [UserError('the properties of its last start bring no '
                              'policy', remedy, 'apply-next-start')]
        try:
            settings, _ = tlsciphers.resolve(self.vm.properties,
                                             self.vm.displays)
        except tlsciphers_values.Refused as refusal:
            return [UserError('the properties of its last start would be '
                              'refused now: %s' % refusal, remedy,
                              'apply-next-start')]
        at_start, now = (
            {key: setting.value for key, setting in domains.settings_of(
                shown(self.vm, pairs)).items()}
            for pairs in (settings, tlsciphers_domain.with_pending(
                tlsciphers_domain.read_policy(self.vm.document),
                self.settings)))
        other = sorted(key for key in set(now) | set(at_start)
                       if now.get(key) != at_start.get(key))
        return [UserError('the properties of its last start are for another '
                          'policy: %s differ%s' % (
                              ', '.join(other), 's' if len(other) == 1
                              else ''), remedy, 'apply-next-start')
                ] if other else []

    def _vnc(self) -> 'list[consoles.Console]':
        assert self.running.consoles  # nosec B101 # for mypy
        return [console for console in self.running.consoles.consoles
                if console.display != 'spice' and console.port]

    def apply(self) -> None:
        """
        Mark the VM, set the priority of VNC, and prove it. Where that fails
        all is put back. Raises UserError.
        """
        old = self._values() if self._concerns_vnc else {}
        # What was applied before, and is not any more, is taken back.
        new = {name: self.priority or value
               for name, value in self._at_start.items() if name in old}
        marked = tlsciphers_domain.read_pending(self.vm.document)
        self._mark(self.settings, self._process)
        try:
            self._change(new)
        except BaseException as error:
            self._put_back(old, error, marked)
            raise

    def remove(self) -> None:
        """
        Take the mark away, and give VNC back what it had at its start, proven
        by handshakes. Raises UserError; then all is as it was.
        """
        old = self._values()
        new = {name: value for name, value in self._at_start.items()
               if name in old and old[name] != value}
        try:
            self._change(new)
            self._mark([], '')
        except BaseException as error:
            self._put_back({name: old[name] for name in new}, error, None)
            raise

    @property
    def _concerns_vnc(self) -> bool:
        return bool(self.priority) or domains.LIVE_KEY in self.vm.pending

    @property
    def _at_start(self) -> 'dict[str, str | None]':
        """The priorities of the credentials in the emulator's arguments."""
        assert self.running.emulator  # nosec B101 # for mypy
        return {name: self.running.emulator.priorities.get(name)
                for name in self.running.emulator.credentials}

    def _change(self, values: 'dict[str, str | None]') -> None:
        self._set(values)
        for value in set(values.values()):
            # Of the default of this QEMU only that it lets clients in.
            self._prove(value or domains.default_priority(),
                        exactly=value is not None)

    def _put_back(self, values: 'dict[str, str | None]', error: BaseException,
                  marked: 'Pairs | None') -> None:
        """
        Set what was before an error, and the mark unless that is None; nothing
        that ends the command may interrupt it.
        """
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, (
            signal.SIGINT, signal.SIGTERM, signal.SIGHUP))
        try:
            try:
                self._set(values)
            finally:
                if marked is not None:
                    self._mark(marked, self.vm.marked_process)
        except UserError as problem:
            raise UserError(
                '%s; and what was before could not be put back: %s' % (
                    error, problem.text), 'look with "vdsm-tlsciphers status '
                '%s", then apply a policy, or --remove' % self.vm.name,
                'apply-not-undone')
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, blocked)

    def _mark(self, settings: 'Pairs', process: str) -> None:
        mark.write(self._connection, self.vm.uuid, settings, process)

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


def resolve(vm: domains.VM, properties: 'dict[str, str]',
            required: bool) -> 'tuple[Pairs, list[UserError]]':
    """
    Return the settings for a VM's consoles that properties stand for, as the
    hook has them, and notes. What takes the place of a requirement is one.
    Raises UserError.
    """
    try:
        settings, notes = tlsciphers.resolve(properties, vm.displays)
    except tlsciphers_values.Refused as refusal:
        raise UserError.of(refusal)
    are_required = {key == domains.LIVE_KEY
                    for known in (vm.policy, vm.pending)
                    for key, setting in known.items() if setting.required}
    return [(REQUIREMENT if required or tlsciphers_domain.is_of_vnc(pair)
             in are_required else BEST_EFFORT, pair[1])
            for pair in shown(vm, settings)], [
        UserError.of(note) for note in notes
        if note.code not in ('policy-set', 'console-not-covered',
                             'no-console')]


def shown(vm: domains.VM, settings: 'Pairs') -> 'Pairs':
    """Return those for consoles that a VM has: a running one gets no other."""
    return [pair for pair in settings if (
        'vnc' if tlsciphers_domain.is_of_vnc(pair) else 'spice')
        in vm.displays]


def describe(settings: 'dict[str, Setting]') -> 'documents.Policy':
    """Return settings for JSON."""
    return {key: {'value': setting.value, 'required': setting.required}
            for key, setting in settings.items()}
