# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""The requested and effective policies of VMs, as a document for JSON."""

import concurrent.futures
import functools

import tlsciphers_config
import tlsciphers_domain
import tlsciphers_host
import tlsciphers_values

import tlsciphers
from vdsm_tlsciphers import UserError, codes, one_line
from vdsm_tlsciphers.audit import compliance, policy_proof
from vdsm_tlsciphers.host import (
    consoles,
    domains,
    listeners,
    qemu_conf,
    qemu_process,
)
from vdsm_tlsciphers.output import clean
from vdsm_tlsciphers.tls import probe, spice
from vdsm_tlsciphers.tls.stream import ProtocolError

TYPE_CHECKING = False
if TYPE_CHECKING:
    import libvirt

    from vdsm_tlsciphers import documents

    # The value of each key, and its source.
    Configured = dict[str, tuple[str, documents.Source]]

SPICE: 'documents.Display' = 'spice'
VNC: 'documents.Display' = 'vnc'
IN_FORCE: 'documents.VMState' = 'in force'
DIFFERENCE: 'documents.VMState' = 'difference'
NONE: 'documents.VMState' = 'none'
UNKNOWN: 'documents.VMState' = 'unknown'
# Of what was applied while the VM runs, and of such a VM.
LIVE: 'documents.LiveState' = 'live'
WAITING: 'documents.WaitingState' = 'waiting'
STATES = (IN_FORCE, DIFFERENCE, NONE, UNKNOWN)
# The settings that each property makes.
KEYS_OF_PROPERTIES = {
    'tlsciphers': ('ciphers', 'ciphersuites'), 'tlsprotocols': ('protocols',),
    'tlsgroups': ('groups',), 'tlspriority': ('priority',)}
RESTART = 'shut the VM down and start it'
# Characters of a value: no property of the engine has more.
LONGEST = 4096


def choose(vms: 'list[domains.VM]',
           names: 'list[str]') -> 'list[domains.VM]':
    """Return those of the VMs that have these names or UUIDs."""
    chosen: list[domains.VM] = []
    for name in names:
        found = [vm for vm in vms
                 if name in (vm.name, vm.uuid)]
        if not found:
            raise UserError(name + ': no VM with this name or UUID runs on '
                            'this host', '"virsh -r list" lists those that do',
                            'no-such-vm')
        chosen.extend(vm for vm in found if vm not in chosen)
    return chosen


def could_have_guard(vm: domains.VM) -> bool:
    """Tell whether a VM requires a policy, and has no guard."""
    return (vm.guard is False and vm.can_have_guard
            and any(setting.required for setting in vm.policy.values())
            and not tlsciphers_domain.is_hosted_engine(vm.document))


def is_running(connection: 'libvirt.virConnect', uuid: str) -> bool:
    """Tell whether a VM still runs on this host."""
    import libvirt
    try:
        return bool(connection.lookupByUUIDString(uuid).isActive())
    except libvirt.libvirtError:
        return False


# What is configured, and effective


class Shown:
    """
    The results of connections to consoles: proofs ({Console:
    policy_proof.Proof}) of those with TLS, and channels ({Console: list of
    str, or UserError}) of SPICE that are open on those without.
    """

    def __init__(self) -> None:
        self.proofs: dict[consoles.Console, policy_proof.Proof] = {}
        self.channels: dict[consoles.Console, list[str] | UserError] = {}

    def find_out(self, running_vms: 'list[consoles.RunningVM]') -> None:
        """Connect to the consoles of VMs that are not yet known."""
        tasks = [(running, console) for running in running_vms
                 for console in (running.consoles.consoles
                                 if running.consoles else ())
                 if console.port and policy_for(running, console.display)
                 and console not in self.proofs
                 and console not in self.channels]
        offers = [offers_for(running, console) for running, console in tasks]
        with concurrent.futures.ThreadPoolExecutor(
                policy_proof.WORKERS) as executor:
            found = list(executor.map(self._connect, *zip(*tasks), offers)
                         if tasks else ())
        for (_, console), result in zip(tasks, found):
            if isinstance(result, policy_proof.Proof):
                self.proofs[console] = result
            elif result is not None:
                self.channels[console] = result

    @staticmethod
    def _connect(running: consoles.RunningVM, console: consoles.Console,
                 offers: 'list[policy_proof.Offer] | UserError') -> (
                     'policy_proof.Proof | list[str] | UserError | None'):
        if not console.tls and console.display != SPICE:
            return None
        reason: UserError | None = None
        if running.emulator and not listeners.can_be_reached(
                running.emulator.pid):
            reason = UserError('its emulator is in another network namespace',
                               '', 'other-network')
        if not console.tls:
            try:
                return reason or spice.open_channels(
                    console.reachable_address, console.port or 0)
            except (probe.Unreachable, ProtocolError) as problem:
                return UserError(str(problem), problem.remedy, problem.code)
        if isinstance(offers, UserError):
            reason = offers
        if reason or isinstance(offers, UserError):
            proof = policy_proof.Proof()
            proof.problem = reason.reason if reason else None
            return proof
        return policy_proof.prove(console.display, console.reachable_address,
                                  console.port or 0, offers)


def policy_for(running: consoles.RunningVM,
               display: 'documents.ConsoleDisplay') -> 'dict[str, str]':
    """Return the part {key: value} of a VM's policy for a display."""
    policy = running.vm.requested_now
    return {key: (not policy[key].required and key == 'priority'
                  and running.host_priority) or policy[key].value
            for key in compliance.governing_keys(display) if key in policy}


def offers_for(running: consoles.RunningVM, console: consoles.Console) -> (
        'list[policy_proof.Offer] | UserError'):
    """Return the offers that prove a VM's policy, or why there are none."""
    if not console.tls:
        return []
    try:
        return _offers(tuple(policy_for(running, console.display).items()),
                       console.display)
    except UserError as problem:
        return problem


@functools.lru_cache(maxsize=None)
def _offers(policy: 'tuple[tuple[str, str], ...]',
            display: 'documents.ConsoleDisplay') -> 'list[policy_proof.Offer]':
    return policy_proof.offers(compliance.policy_bounds(dict(policy)), display)


def look_at(vms: 'list[domains.VM]',
            connection: 'libvirt.virConnect',
            handshake: bool) -> 'list[documents.VM]':
    """Return a dict for each VM, see schemas/status.schema.json."""
    table = listeners.Listeners()
    running_vms = [consoles.RunningVM(vm, table) for vm in vms]
    shown = Shown()
    asked = consoles.ask(running_vms, connection, True)
    if handshake:
        shown.find_out(running_vms)
    consoles.hear(running_vms, asked)
    if handshake:
        # Consoles that only the monitor knows.
        shown.find_out(running_vms)
    return [Description(running, shown).vm for running in running_vms]


def spice_configured(emulator: qemu_process.Emulator) -> 'Configured':
    """Return {key: (value, source)} for SPICE."""
    found: Configured = {}
    if 'tls-ciphers' in emulator.spice:
        found['ciphers'] = emulator.spice['tls-ciphers'], 'arguments'
    settings = emulator.openssl or {}
    for key in ('ciphersuites', 'groups'):
        if key in settings:
            found[key] = settings[key], 'OpenSSL file'
    if 'minprotocol' in settings or 'maxprotocol' in settings:
        found['protocols'] = qemu_process.protocols(settings), 'OpenSSL file'
    return found


def vnc_configured(running: consoles.RunningVM) -> 'Configured':
    """Return {key: (value, source)} for the VNC consoles of a VM."""
    values = set(running.priorities.values())
    texts = sorted({value for value, _ in values if value})
    if not texts:
        return {}
    return {'priority': (' and '.join(texts), 'QEMU' if any(
        is_qemu for _, is_qemu in values) else 'arguments')}


# The description of a VM


class Description:
    """Makes the dict (vm) of a VM, see schemas/status.schema.json."""

    def __init__(self, running: consoles.RunningVM, shown: Shown) -> None:
        vm = running.vm
        self.vm: documents.VM = {
            'vm': clean(vm.name), 'uuid': clean(vm.uuid),
            'pid': None, 'state': UNKNOWN, 'statement': 'unknown',
            'problem': None, 'code': None, 'remedy': None,
            'displays': [], 'consoles': [],
            'other_listeners': [], 'settings': [], 'differences': [],
            'marks': [], 'guard': vm.guard,
            'guard_requested': vm.guard_requested}
        self._domain = vm
        self._shown = shown
        self._given = running
        if running.emulator is None or running.consoles is None:
            if running.problem:
                self.vm['problem'] = clean(str(running.problem))
                self.vm['code'] = running.problem.code
                self.vm['remedy'] = clean(running.problem.remedy) or None
            return
        self._emulator = running.emulator
        self._consoles = running.consoles
        self.vm['pid'] = running.emulator.pid
        for display in (SPICE, VNC):
            there = [console for console in running.consoles.consoles
                     if (console.display == SPICE) == (display == SPICE)]
            if there or display in vm.displays:
                self._describe(display, there)
        self._add_marks()
        self._add_general_differences()
        if vm.guard_requested:
            self._add_guard_differences()
        self._add_others()
        self.vm['state'] = (DIFFERENCE if self.vm['differences'] else
                            IN_FORCE if vm.requested_now else NONE)
        self.vm['statement'] = self._statement()

    @property
    def _apply_again(self) -> str:
        return ('run "vdsm-tlsciphers apply --again %s", and enable '
                '"incoming" where it goes' % self._domain.name)

    def _statement(self) -> 'documents.Statement':
        if self.vm['state'] == DIFFERENCE:
            return 'different'
        if any(mark['state'] == WAITING for mark in self.vm['marks']):
            return WAITING  # Whatever VNC has: SPICE has not got it.
        if self.vm['state'] != IN_FORCE:
            return 'none'
        proven = [console['effective'] for console in self.vm['consoles']
                  if console['port'] or console['note']]
        if not proven or not all(proven):
            return 'configured'
        return LIVE if self.vm['marks'] else 'effective'

    def _describe(self, display: 'documents.Display',
                  there: 'list[consoles.Console]') -> None:
        """Describe the consoles (list) of one kind."""
        # Also where nothing listens on the ports in the arguments.
        has_tls = any(console.tls for console in there) or any(
            given.tls for given in self._emulator.consoles
            if (given.display == SPICE) == (display == SPICE))
        found: Configured = {}
        if has_tls:
            found = (spice_configured(self._emulator) if display == SPICE
                     else vnc_configured(self._given))
        keys = [key for key in tlsciphers_values.KEYS
                if (key == 'priority') == (display == VNC)
                and (key in self._domain.requested_now or (
                    # The host's own OpenSSL file is not a policy.
                    key in found and key in ('ciphers', 'priority')))]
        self.vm['displays'].append({
            'display': display, 'covered': bool(keys),
            'tls': has_tls and (display == SPICE or all(
                console.tls for console in there))})
        for key in keys:
            self._add_setting(display, key, found, has_tls)
        for console in there or self._silent(display):
            self._add_console(console, display, bool(keys))
        waits = any((key == domains.LIVE_KEY) == (display == VNC)
                    for key in self._domain.pending)
        if self._domain.requested_now and not keys and not waits and any(
                console.port or console.peer for console in there):
            self._add(
                display, 'console-not-covered',
                'this console is not covered%s' % (
                    '' if has_tls else ', and not encrypted'),
                'set %s or tlsprofile on the VM and %s' % (
                    'tlspriority' if display == VNC else 'tlsciphers',
                    RESTART))
        elif self._domain.requested_now:
            self._add_elsewhere(display, there)

    def _silent(self, display: 'documents.Display') -> (
            'list[consoles.Console]'):
        """Return a console of the domain XML on which nothing listens."""
        if [known for known in self._domain.consoles
                + self._domain.unencrypted
                if (known.display == SPICE) == (display == SPICE)]:
            return []
        return [consoles.Console(qemu_process.Given(
            display, '', '', 0, 0, None, False, None, None))]

    def _add_setting(self, display: 'documents.Display', key: str,
                     found: 'Configured', has_tls: bool) -> None:
        requested, required = self._domain.requested_now.get(key, (None, None))
        value, source = found.get(key, (None, None))
        live = key == 'priority' and any(
            is_qemu and known != self._emulator.priorities.get(name)
            for name, (known, is_qemu) in self._given.priorities.items())
        of_host = (key == 'priority' and not required
                   and self._given.host_priority)
        note = self._given.note if display == VNC and has_tls else None
        reason = 'cannot query QEMU: ' + cut(note.reason) if note else None
        if of_host:
            reason = 'set for all VMs in ' + qemu_conf.PATH
        self.vm['settings'].append({
            'display': display, 'key': key,
            'asked': requested and clean(requested), 'required': required,
            'in_force': value and cut(value), 'source': source,
            'live': live,
            'note': reason})
        if requested != value and (has_tls or value) and not of_host:
            self._add(display, *self._explain(key, value, live))

    def _add_marks(self) -> None:
        """Add what was applied to the VM while it runs, and its state."""
        if self._domain.mark_problem:
            self._add(None, self._domain.mark_problem.code,
                      self._domain.mark_problem.text,
                      'run "vdsm-tlsciphers apply --remove %s", and apply a '
                      'policy again' % self._domain.name)
        priorities = [value for value, _ in self._given.priorities.values()]
        for key, setting in self._domain.pending.items():
            is_live = key == domains.LIVE_KEY
            display: documents.Display = VNC if is_live else SPICE
            state: documents.MarkState = LIVE if is_live else WAITING
            if set(priorities) != {setting.value} if is_live else (
                    self._domain.marked_process != self._emulator.identity):
                state = 'lost'
                # That of VNC is found where the settings are compared.
                if not is_live or not priorities:
                    self._add(display, *self._explain(key, None, False))
            self.vm['marks'].append({
                'display': display, 'key': cut(key),
                'value': cut(setting.value),
                'required': setting.required, 'state': state})

    def _explain(self, key: str, value: 'str | None', live: bool) -> (
            'tuple[str, str, str]'):
        """
        Return (code, text, remedy) of a setting that is not configured as
        requested.
        """
        if key in self._domain.pending:
            return ('mark-lost', '%s: applied while the VM ran, and lost: it '
                    'was migrated or resumed since then' % key,
                    self._apply_again)
        if live:
            return ('live-value', '%s: changed in the running QEMU '
                    'to %s, which the VM does not request; a restart, '
                    'suspension or migration discards it' % (
                        key, value or 'nothing'),
                    'set tlspriority on the VM, or ' + RESTART)
        if key not in self._domain.policy:
            if key == 'ciphers' and self._domain.emulator == (
                    tlsciphers_host.EMULATOR):
                return ('manual-ciphers', 'ciphers: not requested: '
                        'the cipher list of a manually installed wrapper',
                        'to keep it, set the property tlsciphers before the '
                        'VM is restarted')
            return ('value-not-requested', '%s: not requested: not '
                    'set by this package' % key,
                    'check the other hooks of this host')
        if value is None:
            return ('value-missing', '%s: requested, and not '
                    'configured' % key, '%s; %s may say why' % (
                        RESTART, domains.LOG % self._domain.name))
        return ('value-differs', '%s: the configured value is not the '
                'requested one' % key, RESTART)

    def _add_console(self, console: consoles.Console,
                     display: 'documents.Display', covered: bool) -> None:
        proof = self._shown.proofs.get(console)
        channels = self._shown.channels.get(console)
        problem = channels if isinstance(channels, UserError) else None
        note = problem.reason if problem else proof.problem if proof else None
        effective = proof.effective if proof else None
        if isinstance(channels, list):
            effective = not channels
        described: documents.VMConsole = {
            'display': console.display, 'address': console.address,
            'port': console.port,
            'socket': console.socket and cut(console.socket),
            'tls': console.tls, 'covered': covered, 'effective': effective,
            'proof': 'none' if effective is None else 'handshakes',
            'open_channels': channels if isinstance(channels, list) else None,
            'note': note and cut(note)}
        self.vm['consoles'].append(described)
        if console.peer is not None:
            described['note'] = cut('connects to ' + console.peer)
        requested = bool(policy_for(self._given, console.display))
        if not (console.port or console.peer):
            return
        if not requested and (console.tls or self._domain.policy):
            return  # Nothing to prove, or _describe() reports it.
        if console.tls:
            self._add_proof(console, display, proof)
            self._add_missing_priority(console)
        elif console.display == SPICE:
            if described['open_channels'] is None:
                channels = qemu_process.open_by_arguments(self._emulator)
            if channels and isinstance(channels, list):
                self._add_plaintext(console, channels)
        else:
            self._add_unencrypted(console, display)

    def _add_proof(self, console: consoles.Console,
                   display: 'documents.Display',
                   proof: 'policy_proof.Proof | None') -> None:
        if proof and proof.accepted:
            self._add(display, 'policy-not-effective',
                      '%s: accepted outside the policy: %s%s' % (
                          console.place, ', '.join(proof.accepted[:3]),
                          ', ...' if len(proof.accepted) > 3 else ''),
                      (self._apply_again if display == VNC
                       and domains.LIVE_KEY in self._domain.pending
                       else RESTART) + '; "vdsm-tlsciphers scan" shows all '
                      'that it accepts')
        elif proof and proof.effective is False:
            self._add(display, 'policy-unusable',
                      '%s: rejects all that the policy permits: no client can '
                      'connect' % console.place, 'see "vdsm-tlsciphers check '
                      '--vm %s" and %s' % (
                          self._domain.name,
                          domains.LOG % self._domain.name))

    def _add_missing_priority(self, console: consoles.Console) -> None:
        """Report one of several VNC displays that has no priority."""
        known = self._given.priorities
        if console.credentials is None or known.get(
                console.credentials, (None, False))[0] or not any(
                value for value, _ in known.values()):
            return
        self._add(VNC, 'credentials-without-priority',
                  '%s: its credentials %s have no priority' % (
                      console.place, console.credentials),
                  'correct the hook that added them, and ' + RESTART)

    def _add_plaintext(self, console: consoles.Console,
                       channels: 'list[str]') -> None:
        if not [other for other in self._consoles.consoles
                if other.display == SPICE and other.tls]:
            self._add(SPICE, 'console-not-encrypted',
                      '%s: this SPICE console is not encrypted'
                      % console.place,
                      'set spice_tls = 1 in %s (the engine does that when it '
                      'installs a host), and %s' % (qemu_conf.PATH,
                                                    RESTART))
            return
        required = any(setting.required and key != 'priority'
                       for key, setting in self._domain.policy.items())
        self._add(SPICE, 'spice-plaintext',
                  '%s: these channels work without TLS: %s' % (
                      console.place, ', '.join(channels)),
                  RESTART + ': this version requires TLS on all channels'
                  if required else 'set tlsprofile on the VM, which requires '
                  'TLS on all channels, and ' + RESTART)

    def _add_unencrypted(self, console: consoles.Console,
                         display: 'documents.Display') -> None:
        known = console.port in [
            known.port for known in self._domain.consoles]
        self._add(display, 'console-not-encrypted',
                  '%s: this %s console is not encrypted%s' % (
                      console.place, 'noVNC' if console.display == 'websocket'
                      else 'VNC', '' if known else
                      ', and not in the domain XML'),
                  'check Enable VNC Encryption in the engine (Compute > '
                  'Clusters > Edit > Console) and reinstall the host'
                  if known else 'remove it from the hook, or <qemu:arg>, that '
                  'added it')

    def _add_elsewhere(self, display: 'documents.Display',
                       there: 'list[consoles.Console]') -> None:
        """Report consoles of the domain XML that another process may serve."""
        ports = {console.port for console in there}
        for known in self._domain.consoles + self._domain.unencrypted:
            if (known.display == SPICE) == (display == SPICE) and (
                    known.port not in ports):
                self._add(display, 'console-of-another-process',
                          'port %d: the emulator does not listen on this '
                          'port of the domain XML: if another process does, '
                          'no policy covers it' % known.port,
                          'find that process with "ss -tlnp", and update '
                          'vdsm-hook-tlsciphers')

    def _add_others(self) -> None:
        for listener, what in self._consoles.others:
            self._add_other(listener, what)
        for listener in self._consoles.unclear:
            self._add_other(listener, 'unknown')
            if self._domain.policy:
                self._add(None, 'listener-unknown',
                          'port %d: unknown whether this is a console: QEMU '
                          'does not answer' % listener.port,
                          'run this again when it does')

    def _add_other(self, listener: 'listeners.Listener', what: str) -> None:
        self.vm['other_listeners'].append({
            'address': listener.address, 'port': listener.port, 'what': what})

    def _add_general_differences(self) -> None:
        policy = self._domain.policy
        unknown = sorted(set(policy) - set(tlsciphers_values.KEYS))
        if unknown:
            self._add(None, 'unknown-setting',
                      '%s: unknown to this version' % ', '.join(unknown),
                      'update vdsm-hook-tlsciphers')
        if 'rdp' in self._domain.displays and policy:
            self._add(None, 'console-not-covered', 'the RDP console '
                      'is not covered: policies are for SPICE and VNC',
                      'remove this console')
        for name in self._unmet_properties():
            reason, remedy = self._why_unmet(name)
            self._add(None, 'property-not-applied',
                      'the VM has the property %s=%s, but was started without '
                      'this policy: %s' % (name, self._domain.wanted[name],
                                           reason), remedy)

    def _add_guard_differences(self) -> None:
        """Report the consoles that run uncovered in spite of the guard."""
        required = {VNC if key == 'priority' else SPICE
                    for key, setting in self._domain.policy.items()
                    if setting.required}
        # Properties that were not applied have a difference of their own.
        asked = {VNC if key == 'priority' else SPICE
                 for name in self._unmet_properties()
                 for key in KEYS_OF_PROPERTIES.get(name,
                                                   tlsciphers_values.KEYS)}
        level = self._domain.cluster_level
        for display in [found['display'] for found in self.vm['displays']]:
            if display in required or display in asked:
                continue
            if display not in self._domain.displays:
                reason = 'another hook added this console'
            elif level and not self._domain.can_have_guard:
                reason = 'the engine writes no guard for cluster level %s' % (
                    '.'.join(map(str, level)))
            else:
                reason = ('the engine wrote no guard, or another hook removed '
                          'it')
            self._add(display, 'guard-not-kept',
                      'the VM has +%s in %s, but no property covers this '
                      'console: %s' % (tlsciphers_domain.GUARD, domains.FLAGS,
                                       reason),
                      'set tlsprofile on the VM and ' + RESTART)

    def _unmet_properties(self) -> 'list[str]':
        """Return the properties whose policy the VM does not require."""
        required = {key for key, setting in self._domain.policy.items()
                    if setting.required}
        displays = {display['display'] for display in self.vm['displays']}
        unmet = []
        for name in sorted(self._domain.wanted):
            keys = KEYS_OF_PROPERTIES.get(name, tlsciphers_values.KEYS)
            relevant = displays & {VNC if key == 'priority' else SPICE
                                   for key in keys}
            if relevant and not required.intersection(keys) and (
                    not self._has(name, relevant)):
                unmet.append(name)
        return unmet

    def _has(self, name: str, displays: 'set[documents.Display]') -> bool:
        """
        Tell whether the VM has just what a property requests for displays, if
        not as a requirement: "apply" gave it. What waits, or got lost, is
        said in its own way.
        """
        try:
            wanted = tlsciphers.requested({name: self._domain.wanted[name]})
        except tlsciphers_values.Refused:
            return False
        found = {**self._domain.policy, **self._domain.pending}
        return all(key in found and found[key].value == value
                   for key, value in wanted.items()
                   if (VNC if key == 'priority' else SPICE) in displays)

    def _why_unmet(self, name: str) -> 'tuple[str, str]':
        """Return the likely reason, and the remedy."""
        value = self._domain.wanted[name]
        if name == 'tlsprofile' and _is_empty_profile(value):
            return ('this profile sets nothing in %s'
                    % tlsciphers_config.HOST_DEFAULT,
                    'add settings to it, and ' + RESTART)
        if not self._domain.displays & {SPICE, VNC}:
            return ('the domain XML has no console, but the emulator has one',
                    RESTART + ': this version passes the policy on')
        if self._domain.policy:
            return ('the domain XML has only other settings',
                    RESTART + '; vdsm.log of its last start may say why')
        return ('it was started on a host without the package, or the hook '
                'had nothing to set', RESTART + ' on a host with the package')

    def _add(self, display: 'documents.Display | None', code: str, text: str,
             remedy: str) -> None:
        text, remedy = cut(text), cut(remedy)
        severity = codes.SEVERITY[code]
        if severity != 'low' and code not in (
                'console-not-encrypted', 'mark-lost',
                'mark-malformed') and not (
                self._domain.wanted
                or self._domain.guard_requested) and not any(
                setting.required
                for setting in self._domain.policy.values()):
            severity = 'medium'  # The host's default is best effort.
        self.vm['differences'].append({
            'display': display, 'difference': one_line(text, remedy, code),
            'code': code, 'severity': severity, 'text': text,
            'remedy': remedy})


def _is_empty_profile(name: str) -> bool:
    """Tell whether a profile of this host's file sets nothing."""
    try:
        sections = tlsciphers_config.read_host_default()
        return 'profile ' + name in sections and not sections[
            'profile ' + name]
    except tlsciphers_values.Refused:
        return False


def cut(text: str) -> str:
    """Return text of a VM's emulator for a document: in bounds, printable."""
    return clean(text, LONGEST)
