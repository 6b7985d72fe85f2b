# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""Whether what a console accepts is within its policy, and a baseline."""

import collections
import functools
import re

import tlsciphers
from vdsm_tlsciphers import Problem, certificate, libraries, suites

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from collections.abc import Set as AbstractSet
    from typing import NamedTuple

    from vdsm_tlsciphers import documents

NO_BASELINE = tlsciphers.NO_PROFILE

# Other names of curves (NIST's, X9.62's) than IANA's, as group_key() has them.
GROUP_ALIASES = {
    'prime192v1': 'secp192r1', 'p192': 'secp192r1', 'p224': 'secp224r1',
    'prime256v1': 'secp256r1', 'p256': 'secp256r1', 'p384': 'secp384r1',
    'p521': 'secp521r1', 'k163': 'sect163k1', 'b163': 'sect163r2',
    'k233': 'sect233k1', 'b233': 'sect233r1', 'k283': 'sect283k1',
    'b283': 'sect283r1', 'k409': 'sect409k1', 'b409': 'sect409r1',
    'k571': 'sect571k1', 'b571': 'sect571r1'}
# What stands behind a curve's name in that of a hybrid group.
KEMS = ('mlkem', 'kyber')
# What Mozilla's guidelines have beside the groups of our profiles.
HYBRID_GROUP = 'x25519mlkem768'


# The worst first.
SEVERITIES: 'tuple[documents.Severity, ...]' = (
    'critical', 'high', 'medium', 'low', 'info')
SUITE_SEVERITIES: 'dict[documents.Strength, documents.Severity]' = {
    'broken': 'high', 'weak': 'medium', 'acceptable': 'low', 'strong': 'low'}

if TYPE_CHECKING:
    class Violation(NamedTuple):
        """What is accepted beyond some bounds (text)."""

        code: str
        severity: documents.Severity
        text: str
else:
    Violation = collections.namedtuple('Violation', 'code severity text')


class Bounds:
    """
    What is permitted; None where anything is: versions (set of str), older
    (set of int: suites before TLS 1.3), tls13 (set of int), groups (set of
    str, as group_key() has them).
    """

    def __init__(self, versions: 'AbstractSet[str] | None' = None,
                 older: 'AbstractSet[int] | None' = None,
                 tls13: 'AbstractSet[int] | None' = None,
                 groups: 'set[str] | None' = None) -> None:
        self.versions = versions
        self.older = older
        self.tls13 = tls13
        self.groups = groups

    def violations(self, protocols: 'dict[str, list[documents.Suite]]',
                   groups: 'Iterable[str]') -> 'list[Violation]':
        """Return what is accepted (as a scan has it) beyond the bounds."""
        found: list[Violation] = []
        versions = [version for version in protocols
                    if self.versions is None or version in self.versions]
        beyond = [version for version in protocols
                  if version not in versions]
        if beyond:
            found.append(Violation(
                'protocol-version', min(map(_version_severity, beyond),
                                        key=SEVERITIES.index),
                '%s %s accepted' % (', '.join(beyond), 'are' if len(
                    beyond) > 1 else 'is')))
        for version in versions:
            permitted = self.tls13 if version == 'TLSv1.3' else self.older
            others = [suite for suite in protocols[version]
                      if permitted is not None
                      and int(suite['code'], 16) not in permitted]
            if others:
                found.append(Violation(
                    'cipher-suite', min(map(_suite_severity, others),
                                        key=SEVERITIES.index),
                    '%s is accepted with %s' % (version, ', '.join(
                        suite['suite'] for suite in others))))
        beyond = [group for group in groups if self.groups is not None
                  and group_key(group) not in self.groups]
        if beyond:
            found.append(Violation(
                'key-exchange-group', 'low',
                'keys are exchanged in the group%s %s' % (
                    's' if len(beyond) > 1 else '', ', '.join(beyond))))
        return found


def _version_severity(version: str) -> 'documents.Severity':
    if version == 'SSLv3':
        return 'high'
    return 'medium' if version in ('TLSv1', 'TLSv1.1') else 'low'


def _suite_severity(suite: 'documents.Suite') -> 'documents.Severity':
    return SUITE_SEVERITIES[suite['strength']]


def group_key(name: str) -> str:
    """
    Return what all names of a group have in common: those of OpenSSL, of
    GnuTLS (with GROUP- or without), and of IANA.
    """
    key = name.lower().replace('-', '').replace('_', '')
    if key.startswith('group'):
        key = key[len('group'):]
    if key.endswith('draft00'):
        key = key[:-len('draft00')]
    for kem in KEMS:
        if kem in key[1:]:
            curve, kem, size = key.partition(kem)
            return GROUP_ALIASES.get(curve, curve) + kem + size
    return GROUP_ALIASES.get(key, key)


def governing_keys(display: 'documents.ScannedDisplay') -> 'tuple[str, ...]':
    """Return those of tlsciphers.KEYS that are for a display."""
    if display in ('vnc', 'websocket'):
        return ('priority',)
    return tuple(key for key in tlsciphers.KEYS if key != 'priority')


def policy_bounds(values: 'dict[str, str]') -> Bounds:
    """
    Return the Bounds of a policy ({key of tlsciphers.KEYS: value}). Raises
    Problem where the libraries of this host do not understand it.
    """
    if 'priority' in values:
        return _priority_bounds(values['priority'])
    bounds = Bounds()
    if 'protocols' in values:
        bounds.versions = set(values['protocols'].split(':'))
    if 'ciphers' in values:
        bounds.older = _cipher_list(values['ciphers'])
    if 'ciphersuites' in values:
        bounds.tls13 = {suites.CODES[name] for name in
                        values['ciphersuites'].split(':')
                        if name in suites.CODES}
    if 'groups' in values:
        bounds.groups = set(map(group_key, values['groups'].split(':')))
    return bounds


@functools.lru_cache(maxsize=None)
def _cipher_list(ciphers: str) -> 'frozenset[int]':
    """Return the suites (frozenset of int) of an OpenSSL cipher list."""
    names = ciphers.split(':')
    if all(name in suites.CODES for name in names):
        # Whatever this host's OpenSSL can do.
        return frozenset(suites.CODES[name] for name in names)
    codes = re.findall(r'0x(\w\w),0x(\w\w) - ', libraries.ask(
        tlsciphers.OPENSSL, 'ciphers', '-s', '-V', '-tls1_2', '--', ciphers))
    if not codes:
        raise Problem('OpenSSL of this host knows no suite of %s'
                      % tlsciphers.printable(ciphers))
    return frozenset(int(first + second, 16) for first, second in codes)


@functools.lru_cache(maxsize=None)
def _priority_bounds(priority: str) -> Bounds:
    """Return the Bounds of a GnuTLS priority string."""
    versions, listed, groups = libraries.list_priority(priority)
    if not versions:
        raise Problem('GnuTLS of this host does not know %s'
                      % tlsciphers.printable(priority))
    codes = {int(code, 16) for _, code, _ in listed}
    return Bounds(set(versions), codes.difference(suites.TLS13),
                  codes.intersection(suites.TLS13),
                  set(map(group_key, groups)))


def read_baseline(name: str) -> 'dict[str, str] | None':
    """
    Return the settings ({name of tlsciphers.SETTINGS: value}) of a profile,
    None for "none". Raises Problem where there is no such profile.
    """
    if name == NO_BASELINE:
        return None
    if name in tlsciphers.PROFILES:
        return tlsciphers.PROFILES[name]
    try:
        sections = tlsciphers.read_host_default()
    except tlsciphers.Refused as refusal:
        raise Problem(str(refusal))
    if 'profile ' + name not in sections:
        raise Problem('--baseline %s: no such profile; known are %s; add '
                      '[profile %s] to %s or correct the name' % (
                          name, ', '.join(tlsciphers.profile_names(sections)),
                          name, tlsciphers.HOST_DEFAULT))
    return {key: value for key, (value, _)
            in sections['profile ' + name].items()}


def baseline_bounds(settings: 'dict[str, str]',
                    display: 'documents.ScannedDisplay') -> Bounds:
    """
    Return the Bounds of a baseline (as read_baseline() has it) for a display.
    Raises Problem where it has none, or is not understood.
    """
    is_vnc = display in ('vnc', 'websocket')
    # Suites and versions are the same to both libraries. A built-in profile
    # names them, so that it means the same on each host.
    openssl = {key: value for key, value in settings.items()
               if key != 'tlspriority'}
    built_in = settings in tlsciphers.PROFILES.values()
    if 'tlspriority' in settings and not built_in and (
            is_vnc or not openssl):
        return _priority_bounds(settings['tlspriority'])
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


def findings(console: 'documents.Console', exposed: 'list[str]',
             baseline: 'dict[str, str] | None',
             name: str) -> 'list[documents.Finding]':
    """
    Return the findings (list of dict) about a console.

    Arguments:
        console (dict): as a scan has it, but for "findings".
        exposed (list of str): what is open beside TLS.
        baseline (dict or None): as read_baseline() has it.
        name (str): of the baseline.
    """
    policy = console['policy']
    found = []
    if policy is not None:
        values = {key: setting['value'] for key, setting in policy.items()}
        found = _judge('policy', console, lambda: policy_bounds(values),
                       'the policy is not in force: vdsm-tlsciphers status '
                       'tells more; shut the VM down and start it')
    if baseline is not None:
        found += _judge('baseline', console, lambda: baseline_bounds(
            baseline, console['display']), _remedy(console, name))
        bits = [suite['dh_bits'] for accepted in console['protocols'].values()
                for suite in accepted if 'dh_bits' in suite]
        if bits and min(bits) < suites.LEAST_BITS:
            found.append(_finding(
                'baseline', Violation(
                    'dh-prime', 'medium' if min(bits) >= 1024 else 'high',
                    'keys are exchanged with a Diffie-Hellman prime of %d '
                    'bits' % min(bits)), _remedy(console, name)))
        if console['certificate']:
            found += [_finding('baseline', Violation(code, 'medium', flaw),
                               'enroll the certificate of the host anew in '
                               'the engine')
                      for code, flaw in certificate.flaws(
                          console['certificate'])]
    against: documents.Against = (
        'policy' if policy is not None else 'baseline')
    if console['state'] == 'no TLS':
        found.append(_finding(
            against, Violation('no-tls', 'critical',
                               console['problem'] or 'no TLS'),
            _encryption(console)))
    return found + [_finding(against, Violation(
        'unencrypted-offer', 'critical', exposure), _encryption(console))
        for exposure in exposed]


def _judge(against: 'documents.Against', console: 'documents.Console',
           make_bounds: 'Callable[[], Bounds]',
           remedy: str) -> 'list[documents.Finding]':
    if not console['protocols']:
        return []
    try:
        bounds = make_bounds()
    except Problem as problem:
        return [_finding(against, Violation(
            'not-evaluated', 'high', 'it cannot be judged: %s' % problem),
            'scan from a host that knows it')]
    found = bounds.violations(console['protocols'], console['groups'])
    if against == 'policy':
        # Who relies on a policy is worse off than who has none.
        found = [violation._replace(severity=min(
            violation.severity, 'high', key=SEVERITIES.index))
            for violation in found]
    return [_finding(against, violation, remedy) for violation in found]


def _finding(against: 'documents.Against', violation: Violation,
             remedy: str) -> 'documents.Finding':
    return {'against': against,
            'finding': '%s; %s' % (violation.text, remedy),
            'code': violation.code, 'text': violation.text, 'remedy': remedy,
            'severity': violation.severity}


def _remedy(console: 'documents.Console', name: str) -> str:
    if console['display'] == 'tls':
        return 'narrow it down in the settings of what listens'
    there = (' in place of its properties' if console['policy'] else '')
    return ('set tlsprofile=%s on the VM%s, shut it down and start it'
            % (name, there))


def _encryption(console: 'documents.Console') -> str:
    if console['display'] in ('vnc', 'websocket'):
        return ('check Enable VNC Encryption in the engine (Compute > '
                'Clusters > Edit > Console) and reinstall the hosts')
    if console['display'] == 'spice':
        return ('reinstall the host from the engine, which gives SPICE its '
                'certificate')
    return 'close the port, or put TLS before it'
