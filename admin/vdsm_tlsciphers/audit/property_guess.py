# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""Which property a value on the command line is for."""

import difflib
import re

import tlsciphers_config
import tlsciphers_domain
import tlsciphers_values
from tlsciphers_values import group_key

from vdsm_tlsciphers import UserError
from vdsm_tlsciphers.host import domains
from vdsm_tlsciphers.output import clean

PROFILE, PRIORITY, CIPHERS = 'tlsprofile', 'tlspriority', 'tlsciphers'
# A GnuTLS priority string begins with one of these (see "Priority strings" in
# its manual); a cipher list never does.
PRIORITY_WORDS = ('NORMAL', 'PERFORMANCE', 'SECURE128', 'SECURE192',
                  'SECURE256', 'SUITEB128', 'SUITEB192', 'PFS', 'LEGACY',
                  'NONE', 'SYSTEM')
# Its other words look like this.
PRIORITY_WORD = r'[-+!](VERS|KX|CIPHER|MAC|GROUP|CURVE|SIGN|COMP|CTYPE)-|%'
VERSION_WORD = r'((TLS|SSL)[-_ v]*)?\d\.\d$|(TLS|SSL)[-_ v]*\d$'
# Names of groups, in the form of group_key().
GROUP_WORD = (r'p\d{3}$|x\d{3,5}$|ffdhe|sec[pt]\d|brainpool|'
              r'.*(mlkem|kyber)\d')


def parse_value(argument: str) -> 'tuple[str, str]':
    """Return the (name, value) of a property that an argument stands for."""
    name, equals, value = argument.partition('=')
    if name in (*tlsciphers_values.PROPERTIES, domains.FLAGS):
        if not equals:
            raise no_value(name)
        return name, value
    # A cipher list has one in words such as @SECLEVEL=1 only.
    if equals and re.match(r'[\w\s-]*\Z', name):
        raise UserError(name + ': no such property', 'use one of %s, %s' % (
            ', '.join(tlsciphers_values.PROPERTIES), domains.FLAGS),
            'no-such-property')
    return guess(argument), argument


def no_value(name: str) -> UserError:
    return UserError(name + ': a property without a value',
                     'write %s=VALUE, without a blank' % name, 'no-value')


def guess(value: str) -> str:
    """
    Return the property that a value looks like; where it is mistyped, the one
    whose refusal names what is correct.
    """
    if tlsciphers_domain.has_guard(value) or mistyped_guards(value):
        return domains.FLAGS
    words = value.split(':')
    if all(re.match(VERSION_WORD, word, re.IGNORECASE) for word in words):
        return 'tlsprotocols'
    if (value.lstrip('@').split(':')[0].split(',')[0] in PRIORITY_WORDS
            or any(re.match(PRIORITY_WORD, word) for word in words)):
        return PRIORITY
    if any(re.match(GROUP_WORD, group_key(word)) for word in words):
        return 'tlsgroups'
    return (PROFILE if value.lower() in map(str.lower, known_profiles())
            else CIPHERS)


def mistyped_guards(flags: str) -> 'list[str]':
    """Return those of extra_cpu_flags (str) that only look like the guard."""
    return [flag for flag in flags.split(',')
            if not tlsciphers_domain.has_guard(flag) and (
                'vdsmtls' in re.sub('[^a-z]', '', flag.lower())
                or difflib.get_close_matches(
                    flag.strip(' +-').lower(), [tlsciphers_domain.GUARD], 1,
                    0.8))]


def known_profiles() -> 'list[str]':
    try:
        return tlsciphers_config.profile_names(  # type: ignore[no-any-return]
            tlsciphers_config.read_host_default())
    except tlsciphers_values.Refused:
        # Where it matters, resolve() reports it.
        return [*sorted(tlsciphers_config.PROFILES),
                tlsciphers_config.NO_PROFILE]


def explain_guess(value: str) -> 'tuple[str, str]':
    """Return (text, remedy): why a value was taken for a cipher list."""
    return ('%s: taken for %s, since it is no profile (%s), version, group or '
            'priority string' % (clean(value, 60), CIPHERS,
                                 ', '.join(known_profiles())),
            'write NAME=VALUE for another property')
