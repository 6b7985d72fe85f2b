# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""
Which versions of TLS and suites a policy permits, by the OpenSSL and GnuTLS of
this machine: {version: [suite]}, newest version first, with OpenSSL's names of
suites where it has one.
"""

import functools
import re

import tlsciphers_values
from tlsciphers_values import GNUTLS_CLI, OPENSSL

from vdsm_tlsciphers import UserError, programs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from vdsm_tlsciphers.documents import Protocols

# The client's option of openssl that leaves just that version.
OPENSSL_VERSIONS = {'TLSv1.2': '-tls1_2', 'TLSv1.1': '-tls1_1',
                    'TLSv1': '-tls1'}
GNUTLS_VERSIONS = {'TLSv1.3': 'TLS1.3', 'TLSv1.2': 'TLS1.2',
                   'TLSv1.1': 'TLS1.1', 'TLSv1': 'TLS1.0', 'SSLv3': 'SSL3.0'}
EVERY_TLS13_SUITE = (
    'TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256:'
    'TLS_AES_128_GCM_SHA256:TLS_AES_128_CCM_SHA256:TLS_AES_128_CCM_8_SHA256')


def ask(*command: str) -> str:
    """
    Return the standard output (str) of a program, whatever its exit status.
    Raises UserError where it cannot be run.
    """
    try:
        return programs.run(*command).stdout
    except OSError as error:
        raise programs.cannot_run(command[0], error)


def spice_suites(policy: 'dict[str, str]') -> 'Protocols':
    """
    Return what a SPICE console with a policy ({key: value}) accepts: what
    OpenSSL lists, without suites that libspice (it has no DH parameters), the
    RSA certificate of a console or the policy's groups cannot be used with.
    """
    curves, for13 = (tlsciphers_values.groups_by_version(policy['groups'])
                     if 'groups' in policy else (['any'], ['any']))
    # libspice itself switches TLS 1.0 off (reds.cpp, SSL_OP_NO_TLSv1).
    protocols = policy.get('protocols', 'TLSv1.1:TLSv1.2:TLSv1.3')
    suites = {}
    if for13 and 'TLSv1.3' in protocols.split(':'):
        suites['TLSv1.3'] = tls13_suites(policy.get('ciphersuites'))
    for version, option in OPENSSL_VERSIONS.items():
        if version in protocols.split(':') and permits(
                policy.get('ciphers', ''), version):
            suites[version] = [
                words[0] for words in list_suites(
                    policy.get('ciphers'), option)
                if 'Au=RSA' in words and 'Kx=DH' not in words
                and (curves or 'Kx=ECDH' not in words)]
    return without_empty(suites)


def permits(cipher_list: str, version: str) -> bool:
    """
    Tell whether the security level of a list permits a version of TLS, which
    "openssl ciphers" does not check. MinProtocol in openssl.cnf is left out:
    that can only remove versions, which handshakes then show.
    """
    if version == 'TLSv1.2':
        return True
    _, command, level = cipher_list.rpartition('@SECLEVEL=')
    if not command:
        # This machine's default: a suite without encryption needs level 0.
        level = '1' if not list_suites('eNULL', '-tls1_2') else '0'
    # ssl_security_default_callback() of OpenSSL, since 3.0 and before.
    is_old = ask(OPENSSL, 'version').startswith('OpenSSL 1.')
    return level[:1] in ('0123' if is_old else '0')


def spice_client_suites(cipher_list: str) -> 'Protocols':
    """
    Return what a SPICE client with a cipher list for TLS 1.2 can use. Raises
    UserError where no suite remains.
    """
    suites = without_empty({
        version: [words[0] for words in list_suites(cipher_list, option)]
        for version, option in OPENSSL_VERSIONS.items()})
    if not suites:
        raise UserError('--engine-ciphers %s: no usable cipher suite remains'
                        % cipher_list, 'give what "engine-config -g '
                        'CipherSuite" prints on the engine', 'no-client-suite')
    return dict(suites, **{'TLSv1.3': tls13_suites()})


def without_empty(suites: 'Protocols') -> 'Protocols':
    return {version: names for version, names in suites.items() if names}


def list_suites(cipher_list: 'str | None', option: str) -> 'list[list[str]]':
    """
    Return the words of the line of "openssl ciphers -v" for each suite of a
    list; of this machine's default where the list is None.
    """
    lists = () if cipher_list is None else ('--', cipher_list)
    output = ask(OPENSSL, 'ciphers', '-s', '-v', option, '-ciphersuites', '',
                 *lists)
    return [line.split() for line in output.splitlines() if line.strip()]


def tls13_suites(ciphersuites: 'str | None' = None) -> 'list[str]':
    """Return the known suites (list) of TLS 1.3 among some, or by default."""
    options = () if ciphersuites is None else ('-ciphersuites', ciphersuites)
    output = ask(OPENSSL, 'ciphers', '-s', '-tls1_3', *options)
    return [name for name in output.strip().split(':')
            if name.startswith('TLS_')]


def vnc_suites(priority: str) -> 'tuple[Protocols, list[str]]':
    """
    Return what a VNC console with a priority string accepts, and its groups
    (list of str): what GnuTLS lists, without suites that the RSA certificate
    of a console cannot be used with.
    """
    versions, listed, groups = list_priority(priority)
    return without_empty({
        version: [suite_names().get(code, suite.split()[0])
                  for suite, code in listed
                  if is_usable(suite, GNUTLS_VERSIONS[version])]
        for version in GNUTLS_VERSIONS if version in versions}), groups


@functools.lru_cache(maxsize=64)
def read_priority(priority: str) -> tlsciphers_values.Priority:
    """
    Return what GnuTLS lists for a priority string, as the hook reads it; empty
    lists where it rejects the string.
    """
    return tlsciphers_values.Priority([
        line.strip() for line in ask(
            GNUTLS_CLI, '--list', '--priority=' + priority).splitlines()])


def list_priority(priority: str) -> (
        'tuple[list[str], list[tuple[str, str]], list[str]]'):
    """
    Return what GnuTLS lists for a priority string: versions (list of str),
    suites (list of (line of GnuTLS, code such as 'C030')) and groups (list of
    str). All are empty where it rejects the string.
    """
    found = read_priority(priority)
    versions = {'VERS-' + name: version
                for version, name in GNUTLS_VERSIONS.items()}
    return (
        [versions.get(name, name) for name in found.protocols],
        [(suite, ''.join(re.findall(r'\b0x(\w\w)\b', suite)).upper())
         for suite in found.suites],
        [re.sub('^GROUP-', '', name) for name in found.groups])


def is_usable(suite: str, version: str) -> bool:
    """Tell whether a VNC console can use a suite (a line of GnuTLS)."""
    return not re.search('_(ANON|ECDSA|DSS)_', suite) and bool(
        tlsciphers_values.counts_for(suite, version))


@functools.lru_cache(maxsize=None)
def suite_names() -> 'dict[str, str]':
    """Return OpenSSL's names of suites by their codes, such as 'C030'."""
    output = ask(OPENSSL, 'ciphers', '-V', '-ciphersuites', EVERY_TLS13_SUITE,
                 'ALL:COMPLEMENTOFALL:@SECLEVEL=0')
    return {first + second: name for first, second, name in re.findall(
        r'0x(\w\w),0x(\w\w) - (\S+)', output)}


def python_suites() -> 'Protocols':
    """Return the suites of TLS clients written in Python."""
    import ssl
    context = ssl.create_default_context()
    suites: Protocols = {}
    for cipher in context.get_ciphers():
        name = suite_names().get('%04X' % (cipher['id'] & 0xffff))
        version = ('TLSv1.3' if cipher['protocol'] == 'TLSv1.3'
                   else 'TLSv1.2')
        suites.setdefault(version, []).append(name or cipher['name'])
    return suites
