# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""Assesses what a console accepts against its policy and a baseline."""

import collections
import functools
import re

import tlsciphers_config
import tlsciphers_values
from tlsciphers_values import group_key

from vdsm_tlsciphers import UserError, codes, one_line
from vdsm_tlsciphers.output import clean
from vdsm_tlsciphers.tls import (
    certificate,
    cipher_suites,
    handshake,
    libraries,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from collections.abc import Set as AbstractSet
    from typing import NamedTuple

    from vdsm_tlsciphers import documents

NO_BASELINE = tlsciphers_config.NO_PROFILE

# Mozilla's guidelines permit it beside the groups of our profiles.
HYBRID_GROUP = 'x25519mlkem768'


NO_TLS: 'documents.ScanState' = 'no TLS'
# The code of a SPICE console whose only port has no TLS.
NO_TLS_PORT = 'no-tls-port'
SUITE_SEVERITIES: 'dict[documents.Strength, documents.Severity]' = {
    'broken': 'high', 'weak': 'medium', 'acceptable': 'low', 'strong': 'low'}

if TYPE_CHECKING:
    class Violation(NamedTuple):
        """What is accepted beyond an AllowedSet (text)."""

        code: str
        text: str
        severity: documents.Severity
else:
    Violation = collections.namedtuple('Violation', 'code text severity')


def violation(code: str, text: str) -> Violation:
    """Return a Violation whose severity does not depend on the facts."""
    return Violation(code, text, codes.SEVERITY[code])


# What a VNC port can offer beside TLS with a certificate.
UNENCRYPTED = {
    'anonymous TLS': violation('anonymous-tls', 'TLS without a certificate is '
                               'offered'),
    'no TLS': violation('unencrypted-offer', 'connections without encryption '
                        'are offered')}
# The usual remedy: with a profile, and what it replaces.
SET_PROFILE = 'set tlsprofile=%s on the VM%s, shut it down and start it'
# By display, the codes of findings that a profile ends: the usual remedy.
_USUAL = frozenset(('cipher-suite', 'dh-prime', 'key-exchange-group',
                    'protocol-version', 'signature-algorithm'))
OF_POLICY = {'spice': _USUAL, 'vnc': _USUAL | {'sha1-signature'}}
KNOWN_SIGNATURES = frozenset(handshake.SIGNATURE_NAMES.values())
# Different values of policies, each of which a program is run for.
MOST_VALUES = 1000
# Where the libraries of this host do not know a value.
ELSEWHERE = 'scan from a host whose libraries know its values'
# Longer than any that the hook accepts.
LONGEST_VALUE = 4096


class AllowedSet:
    """
    What is permitted; None where anything is: versions (set of str), older
    (set of int: suites before TLS 1.3), tls13 (set of int), groups (set of
    str, as group_key() has them), signatures (set of str, as
    handshake.SIGNATURE_NAMES has them; those of TLS 1.2).
    """

    def __init__(self, versions: 'AbstractSet[str] | None' = None,
                 older: 'AbstractSet[int] | None' = None,
                 tls13: 'AbstractSet[int] | None' = None,
                 groups: 'set[str] | None' = None,
                 signatures: 'set[str] | None' = None) -> None:
        self.versions = versions
        self.older = older
        self.tls13 = tls13
        self.groups = groups
        self.signatures = signatures

    def permits_group(self, name: str) -> bool:
        """Tell whether a group of handshake.GROUPS is permitted."""
        return self.groups is None or group_key(name) in self.groups

    @property
    def permits_finite_field(self) -> bool:
        """
        Whether a group for DHE is permitted. Where none is, a server can
        still do DHE with a prime of its own.
        """
        return any(self.permits_group(name)
                   for name in handshake.GROUPS.values()
                   if name.startswith('ffdhe'))

    def violations(self, protocols: 'dict[str, list[documents.Suite]]',
                   groups: 'Iterable[str]',
                   signatures: 'Iterable[str]') -> 'list[Violation]':
        """Return what is accepted (facts of a scan) beyond the set."""
        found: list[Violation] = []
        versions = [version for version in protocols
                    if self.versions is None or version in self.versions]
        beyond = [version for version in protocols
                  if version not in versions]
        if beyond:
            found.append(Violation(
                'protocol-version', '%s %s accepted' % (
                    ', '.join(beyond), 'are' if len(beyond) > 1 else 'is'),
                min(map(_version_severity, beyond),
                    key=codes.SEVERITIES.index)))
        for version in versions:
            permitted = self.tls13 if version == 'TLSv1.3' else self.older
            others = [suite for suite in protocols[version]
                      if permitted is not None
                      and int(suite['code'], 16) not in permitted]
            if others:
                found.append(Violation(
                    'cipher-suite', '%s is accepted with %s' % (
                        version, ', '.join(suite['suite']
                                           for suite in others)),
                    min(map(_suite_severity, others),
                        key=codes.SEVERITIES.index)))
        beyond = [group for group in groups if not self.permits_group(group)]
        if beyond:
            found.append(violation(
                'key-exchange-group', 'key-exchange group%s %s accepted' % (
                    's' if len(beyond) > 1 else '', ', '.join(beyond))))
        beyond = [name for name in signatures if self.signatures is not None
                  and name not in self.signatures]
        if beyond:
            found.append(violation(
                'signature-algorithm', 'TLS 1.2 signatures with %s accepted'
                % ', '.join(beyond)))
        return found


def _version_severity(version: str) -> 'documents.Severity':
    if version == 'SSLv3':
        return 'high'
    return 'medium' if version in ('TLSv1', 'TLSv1.1') else 'low'


def _suite_severity(suite: 'documents.Suite') -> 'documents.Severity':
    return SUITE_SEVERITIES[suite['strength']]


def governing_keys(display: 'documents.ScannedDisplay') -> 'tuple[str, ...]':
    """Return those of tlsciphers_values.KEYS that are for a display."""
    if display in ('vnc', 'websocket'):
        return ('priority',)
    return tuple(key for key in tlsciphers_values.KEYS if key != 'priority')


def policy_bounds(values: 'dict[str, str]') -> AllowedSet:
    """
    Return the AllowedSet of a policy ({key of tlsciphers_values.KEYS: value}).
    Raises UserError where the libraries of this host reject it.
    """
    for key, value in values.items():
        _check_value(key, value)
    if 'priority' in values:
        return _priority_bounds(values['priority'])
    bounds = AllowedSet()
    if 'protocols' in values:
        bounds.versions = set(values['protocols'].split(':'))
    if 'ciphers' in values:
        bounds.older = _cipher_list(values['ciphers'])
    if 'ciphersuites' in values:
        bounds.tls13 = {cipher_suites.CODES[name] for name in
                        values['ciphersuites'].split(':')
                        if name in cipher_suites.CODES}
    if 'groups' in values:
        bounds.groups = set(map(group_key, values['groups'].split(':')))
    return bounds


def _check_value(key: str, value: str) -> None:
    """Raise UserError unless a value for a key (str) is one of the hook's."""
    if (key, value) in _seen:
        return
    name = 'tls' + ('ciphers' if key == 'ciphersuites' else key)
    try:
        tlsciphers_values.check_characters(name, value[:LONGEST_VALUE])
    except tlsciphers_values.Refused as refusal:
        raise UserError.of(refusal)
    if len(value) > LONGEST_VALUE:
        raise UserError('%s: a value of %d characters' % (key, len(value)),
                        'scan that host again', 'value-too-long')
    if len(_seen) >= MOST_VALUES:
        raise UserError('%s: more than %d different values' % (
            key, MOST_VALUES), 'make several reports', 'too-many-values')
    _seen.add((key, value))


_seen: 'set[tuple[str, str]]' = set()


@functools.lru_cache(maxsize=None)
def _cipher_list(ciphers: str) -> 'frozenset[int]':
    """Return the suites (frozenset of int) of an OpenSSL cipher list."""
    names = ciphers.split(':')
    if all(name in cipher_suites.CODES for name in names):
        # Whether or not this host's OpenSSL knows them.
        return frozenset(cipher_suites.CODES[name] for name in names)
    codes = re.findall(r'0x(\w\w),0x(\w\w) - ', libraries.ask(
        tlsciphers_values.OPENSSL, 'ciphers', '-s', '-V', '-tls1_2', '--',
        ciphers))
    if not codes:
        raise UserError('ciphers: %s: no usable cipher suite remains'
                        % clean(ciphers, 60), ELSEWHERE, 'unknown-value')
    return frozenset(int(first + second, 16) for first, second in codes)


@functools.lru_cache(maxsize=None)
def _priority_bounds(priority: str) -> AllowedSet:
    """Return the AllowedSet of a GnuTLS priority string."""
    versions, listed, groups = libraries.list_priority(priority)
    if not versions:
        raise UserError('priority: %s: GnuTLS of this host rejects it'
                        % clean(priority, 60), ELSEWHERE, 'unknown-value')
    # It ignores the end of a string that has too many elements.
    left, _, _ = libraries.list_priority(priority + ':-VERS-TLS-ALL')
    if set(left).intersection(libraries.GNUTLS_VERSIONS):
        raise UserError('priority: %s: GnuTLS of this host does not read this '
                        'string to its end' % clean(priority, 60),
                        'shorten it', 'priority-cut')
    codes = {int(code, 16) for _, code in listed}
    return AllowedSet(set(versions), codes.difference(cipher_suites.TLS13),
                      codes.intersection(cipher_suites.TLS13),
                      set(map(group_key, groups)), _signatures(priority))


def _signatures(priority: str) -> 'set[str]':
    """Return the signature algorithms of TLS 1.2 in a priority string."""
    return {_signature(re.sub('^SIGN-', '', name))
            for name in libraries.read_priority(priority).signatures}


def _signature(name: str) -> str:
    """Return the name in handshake.SIGNATURE_NAMES of one of GnuTLS's."""
    name = name.upper()
    found = re.match('(RSA|DSA|ECDSA)-(?:SECP[0-9]+R1-)?(SHA[0-9]+|MD5)$',
                     name)
    if found:
        return '%s+%s' % found.groups()
    found = re.match('RSA-PSS-(RSAE-)?SHA([0-9]+)$', name)
    if found:
        return 'rsa_pss_%s_sha%s' % ('rsae' if found.group(1) else 'pss',
                                     found.group(2))
    return re.sub('^EDDSA-', '', name).lower()


def read_baseline(name: str) -> 'dict[str, str] | None':
    """
    Return the settings ({name of tlsciphers_values.SETTINGS: value}) of a
    profile, None for "none". Raises UserError where there is no such profile.
    """
    if name == NO_BASELINE:
        return None
    if name in tlsciphers_config.PROFILES:
        return tlsciphers_config.PROFILES[name]
    try:
        sections = tlsciphers_config.read_host_default()
    except tlsciphers_values.Refused as refusal:
        raise UserError.of(refusal)
    if 'profile ' + name not in sections:
        raise UserError('--baseline %s: no such profile' % name, 'use one of '
                        '%s, or add [profile %s] to %s' % (
                            ', '.join(tlsciphers_config.profile_names(
                                sections)), name,
                            tlsciphers_config.HOST_DEFAULT), 'unknown-profile')
    return {key: value for key, (value, _)
            in sections['profile ' + name].items()}


def baseline_bounds(settings: 'dict[str, str]',
                    display: 'documents.ScannedDisplay') -> AllowedSet:
    """
    Return the AllowedSet of a baseline (of read_baseline()) for a display.
    Raises UserError where it has none, or cannot be evaluated.
    """
    is_vnc = display in ('vnc', 'websocket')
    # Both libraries have the same suites and versions. A built-in profile
    # names them, so that it is the same on each host.
    openssl = {key: value for key, value in settings.items()
               if key != 'tlspriority'}
    built_in = settings in tlsciphers_config.PROFILES.values()
    if 'tlspriority' in settings and not built_in and (
            is_vnc or not openssl):
        return _priority_bounds(settings['tlspriority'])
    if not openssl:
        raise UserError('the profile sets nothing for this console',
                        'choose another baseline, or add the setting',
                        'no-setting')
    values = {key[len('tls'):]: value for key, value in openssl.items()}
    tokens = [token for token in values.pop('ciphers', '').split(':')
              if token]
    for key, is_tls13 in (('ciphers', False), ('ciphersuites', True)):
        chosen = [token for token in tokens
                  if token.startswith('TLS_') is is_tls13]
        if chosen:
            values[key] = ':'.join(chosen)
    bounds = policy_bounds(values)
    if built_in and bounds.groups is not None:
        bounds.groups.add(HYBRID_GROUP)
    return bounds


def findings(console: 'documents.Console',
             baseline: 'dict[str, str] | None', name: str,
             times: 'Sequence[str]') -> 'list[documents.Finding]':
    """
    Return the findings (list of dict) about a console, from its facts alone.

    Arguments:
        console (dict): of a scan; its "findings" are ignored.
        baseline (dict or None): of read_baseline().
        name (str): of the baseline.
        times (sequence of str): at each of which its certificate must be
            valid.
    """
    policy = console['policy']
    found = []
    if policy is not None:
        values = {key: setting['value'] for key, setting in policy.items()
                  if key in tlsciphers_values.KEYS}
        found = _compare('policy', console, lambda: policy_bounds(values),
                         'shut the VM down and start it; "vdsm-tlsciphers '
                         'status" on its host shows why the policy is not '
                         'effective')
    if baseline is not None:
        found += _compare('baseline', console, lambda: baseline_bounds(
            baseline, console['display']), _remedy(console, name))
        found += [_finding('baseline', each, remedy or _remedy(
            console, name)) for each, remedy in _flaws(console, times)]
    against: documents.Against = (
        'policy' if policy is not None else 'baseline')
    for offer in console.get('unencrypted_offers') or ():
        # Those that later versions report are not encrypted either.
        found.append(_finding(against, UNENCRYPTED.get(offer, Violation(
            'unencrypted-offer', '%s is offered' % offer, 'high')),
            _encryption(console, name)))
    channels = console.get('open_channels')
    if channels:
        found.append(_finding(against, violation(
            'spice-plaintext', 'SPICE channels work without TLS on this port: '
            + ', '.join(channels)), _encryption(console, name)))
    elif console['state'] == NO_TLS:
        found.append(_finding(
            against, violation('no-tls', console['problem'] or 'no TLS'),
            _encryption(console, name)))
    return found


def unchecked(console: 'documents.Console') -> 'list[str]':
    """
    Return what was not checked of a console (list of str): facts that a scan
    lacks, such as one of an older version.
    """
    found = []
    offers = [(version, suite) for version, accepted
              in console['protocols'].items() for suite in accepted]
    exchanges = {(version, cipher_suites.key_exchange(int(suite['code'], 16)))
                 for version, suite in offers}
    kinds = {exchange for _, exchange in exchanges}
    if (not console['groups'] and any(
            kind == 'any' or 'ECDHE' in kind for kind in kinds)):
        found.append('key-exchange groups')
    if any('dh_bits' not in suite for _, suite in offers
           if cipher_suites.is_dhe(int(suite['code'], 16))):
        found.append('Diffie-Hellman primes')
    # SHA-1 under an unknown name would be missed.
    if exchanges & {('TLSv1.2', 'ECDHE'), ('TLSv1.2', 'DHE')} and (
            not console.get('signatures')
            or not KNOWN_SIGNATURES.issuperset(console['signatures'] or ())):
        found.append('signature algorithms of TLS 1.2')
    if console.get('extended_master_secret') is None and {
            version for version, _ in exchanges} & {
                'TLSv1', 'TLSv1.1', 'TLSv1.2'}:
        found.append('extended master secret')
    if (console['display'] == 'vnc' and offers
            and console.get('unencrypted_offers') is None):
        found.append('unencrypted offers')
    if any(not kind.startswith(('anonymous', 'PSK')) for kind in kinds):
        found += certificate.unchecked(console['certificate'])
    found += ['the policy\'s ' + key for key in console['policy'] or ()
              if key not in tlsciphers_values.KEYS]
    return found


def _compare(against: 'documents.Against', console: 'documents.Console',
             make_bounds: 'Callable[[], AllowedSet]',
             remedy: str) -> 'list[documents.Finding]':
    if not console['protocols']:
        return []
    try:
        bounds = make_bounds()
    except UserError as problem:
        return [_finding(against, violation(
            'not-evaluated', 'the %s cannot be evaluated: %s' % (
                against, problem.reason)),
            problem.remedy or ELSEWHERE)]
    found = bounds.violations(console['protocols'], console['groups'],
                              console.get('signatures') or ())
    if against == 'policy':
        found += _own_primes(bounds, console['protocols'])
        # Users rely on a policy: any violation is serious.
        found = [each._replace(severity=min(
            each.severity, 'high', key=codes.SEVERITIES.index))
            for each in found]
    return [_finding(against, each, remedy) for each in found]


def _own_primes(bounds: AllowedSet,
                protocols: 'dict[str, list[documents.Suite]]') -> (
                    'list[Violation]'):
    """Return what is accepted with primes outside the permitted groups."""
    if bounds.permits_finite_field:
        return []
    # A suite that is not permitted is a violation of its own.
    names = {suite['suite'] for version, accepted in protocols.items()
             if bounds.versions is None or version in bounds.versions
             for suite in accepted
             if cipher_suites.is_dhe(int(suite['code'], 16)) and (
                 bounds.older is None
                 or int(suite['code'], 16) in bounds.older)}
    return [violation(
        'dhe-outside-groups', 'the server\'s own Diffie-Hellman group, '
        'outside the policy, is accepted with %s'
        % ', '.join(sorted(names)))] if names else []


def _flaws(console: 'documents.Console', times: 'Sequence[str]') -> (
        'Iterator[tuple[Violation, str | None]]'):
    """Yield what every baseline forbids, and a remedy (None: the usual)."""
    bits = [suite['dh_bits'] for accepted in console['protocols'].values()
            for suite in accepted if 'dh_bits' in suite]
    if bits and min(bits) < cipher_suites.LEAST_BITS:
        yield Violation(
            'dh-prime', 'Diffie-Hellman prime of %d bits accepted' % min(bits),
            'medium' if min(bits) >= 1024 else 'high'), None
    weak = [digest for digest in ('MD5', 'SHA-1') if any(
        name.endswith('+' + digest.replace('-', ''))
        for name in console.get('signatures') or ())]
    if weak:
        yield violation(
            'sha1-signature', 'TLS 1.2 signatures with %s accepted (RFC 9155)'
            % ' and '.join(weak)), (
                'set tlsprotocols=TLSv1.3 on the VM, or tlsciphers with '
                '@SECLEVEL=2, shut it down and start it'
                if console['display'] == 'spice' else None)
    if console.get('extended_master_secret') is False:
        yield violation(
            'no-extended-master-secret', 'no extended master secret '
            'with TLS 1.2 or older (RFC 7627)'), (
                'permit only TLS 1.3, or update the server')
    if console['certificate']:
        for code, flaw in certificate.flaws(console['certificate'], times):
            yield violation(code, flaw), (
                'enroll the certificate of the host again in the engine')


def _finding(against: 'documents.Against', found: Violation,
             remedy: str) -> 'documents.Finding':
    return {'against': against,
            'finding': one_line(found.text, remedy, found.code),
            'code': found.code, 'text': found.text, 'remedy': remedy,
            'severity': found.severity}


def _remedy(console: 'documents.Console', name: str) -> str:
    if console['display'] == 'tls':
        return ("restrict it in the server's configuration; that of an oVirt "
                'console is tlsprofile=%s on its VM' % (
                    name if name != NO_BASELINE else 'intermediate'))
    there = (' in place of its properties' if console['policy'] else '')
    return SET_PROFILE % (name, there)


def _encryption(console: 'documents.Console', name: str) -> str:
    if console['display'] in ('vnc', 'websocket'):
        return ('check Enable VNC Encryption in the engine (Compute > '
                'Clusters > Edit > Console) and reinstall the hosts')
    if console['display'] == 'spice':
        if console.get('code') == NO_TLS_PORT:
            return ('enable TLS for SPICE on the host (spice_tls in '
                    '/etc/libvirt/qemu.conf), shut the VM down and start it')
        # A default of the host does not change the channels.
        if any(setting['required']
               for setting in (console['policy'] or {}).values()):
            return ('shut the VM down and start it on a host with this '
                    'version of vdsm-hook-tlsciphers: every channel then '
                    'requires TLS')
        return SET_PROFILE % (name if name != NO_BASELINE else 'intermediate',
                              '') + ': every channel then requires TLS'
    return 'close the port, or put a TLS proxy in front'
