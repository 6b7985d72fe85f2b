# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""
What holds for every command line, domain XML and value, tried with many that
hypothesis makes up.

Most run the installed functions in this process: openssl and gnutls-cli are
the real ones, asked once for each question. The models of QEMU's syntax are
written after QEMU's own parsers, not after the wrapper's.
"""

from __future__ import annotations

import json
import os
import pathlib
import posix
import re
import tempfile
import types
from collections.abc import (
    Callable,
    Collection,
    Iterable,
    Mapping,
    Sequence,
)
from typing import TYPE_CHECKING, Any, Optional
from unittest import mock
from xml.etree import ElementTree
from xml.sax import saxutils

import pytest

import support
from standin import hooking
from support import GOOD_CIPHERS, LIBVIRT_ENVIRONMENT

if TYPE_CHECKING:
    from conftest import Run

try:
    from hypothesis import HealthCheck, given, settings
    from hypothesis import strategies as st
    from hypothesis.configuration import set_hypothesis_home_dir
except ImportError:
    assert not support.IN_CI, 'hypothesis is missing'
    pytest.skip('needs hypothesis of tests/requirements.txt',
                allow_module_level=True)

# Not a folder in the source, where hypothesis would put its caches.
CACHES = tempfile.TemporaryDirectory()
set_hypothesis_home_dir(CACHES.name)


Environment = Mapping[bytes, bytes]
Parameters = list[tuple[str, str]]
# The name of an option, its value, the arguments that both are.
Option = tuple[Optional[str], str, list[str]]
# Of an object, which may be in JSON.
Members = list[tuple[str, Any]]
# By its key: whether a setting is required, and its value.
Wanted = dict[str, tuple[bool, str]]
# What an emulator gets: arguments, environment, what OPENSSL_CONF leads to.
Start = tuple[list[str], Environment, Optional[str]]


def examples(number: int) -> settings:
    """The settings of a property: the same examples in every run."""
    return settings(max_examples=number, deadline=None, derandomize=True,
                    database=None, print_blob=True, suppress_health_check=[
                        HealthCheck.function_scoped_fixture,
                        HealthCheck.too_slow])


# QEMU's syntax


def read_value(text: str) -> tuple[str, str]:
    """
    Read a value up to a lone comma, as get_opt_value() of QEMU does. Returns
    (value, rest of the text).
    """
    value = ''
    while text and not (text[0] == ',' and text[1:2] != ','):
        value += text[0]
        text = text[2 if text[0] == ',' else 1:]
    return value, text


def read_parameters(text: str, implied: str | None = None) -> Parameters:
    """
    Read key=value parameters as opts_do_parse() of QEMU does. Returns a list
    of (key, value); implied is the key of a first value without one.
    """
    parameters: Parameters = []
    while text:
        key = re.split('[=,]', text, maxsplit=1)[0]
        if text[len(key):len(key) + 1] == '=':
            value, text = read_value(text[len(key) + 1:])
        elif implied and not parameters:
            key = implied
            value, text = read_value(text)
        else:
            text = text[len(key):]
            value = 'on'
            if key.startswith('no'):
                key, value = key[2:], 'off'
        parameters.append((key, value))
        text = text[1:]
    return parameters


# Those that are made up below.
FLAGS = ('S', 'nodefaults', 'no-shutdown', 'enable-kvm', 'no-hpet', 'usb')
WITH_VALUE = ('name', 'append', 'kernel', 'm', 'k', 'device', 'msg', 'spice',
              'vnc', 'object', 'display', 'vdsm-tls', 'vdsm-tls-default')


def read_options(arguments: list[str]) -> list[Option] | None:
    """
    Read a command line as the loop in qemu_init() does. Returns a list of
    (name, value, arguments), or None where QEMU would not start.
    """
    options: list[Option] = []
    rest = list(arguments)
    while rest:
        first = rest.pop(0)
        name = re.match('--?(.*)', first, re.DOTALL)
        if name is None:
            options.append((None, first, [first]))
        elif name.group(1) in FLAGS:
            options.append((name.group(1), '', [first]))
        elif name.group(1) in WITH_VALUE and rest:
            value = rest.pop(0)
            options.append((name.group(1), value, [first, value]))
        else:
            return None
    return options


def last(parameters: Sequence[tuple[str, Any]], key: str,
         default: Any = None) -> Any:
    return dict(parameters).get(key, default)


class VM:
    """What QEMU makes of a command line."""

    def __init__(self, arguments: list[str]) -> None:
        options = read_options(arguments)
        self.runs = options is not None
        if options is None:
            return
        self.options = options
        objects = [read_object(value) for name, value, _ in self.options
                   if name == 'object']
        names = [last(members or [], 'id') for members in objects]
        if None in names or len(set(names)) < len(names):
            self.runs = False
            return
        self.objects = [members or [] for members in objects]
        self.spice = [parameter for name, value, _ in self.options
                      if name == 'spice'
                      for parameter in read_parameters(value)]
        self.has_spice = 'spice' in [name for name, _, _ in self.options]
        port = last(self.spice, 'tls-port', '0')
        self.has_tls_port = self.has_spice and port.strip('0') != ''
        # Without TLS.
        self.is_open = self.has_spice and (
            last(self.spice, 'port', '0').strip('0') != ''
            or last(self.spice, 'unix', 'off') not in ('off', 'no'))
        self.listens = self.has_tls_port or self.is_open
        if port in ('on', 'off'):
            self.runs = False  # A number is expected.
            return
        self.vnc: list[Parameters] = []
        for name, value, _ in self.options:
            if name == 'display' and value.startswith('vnc='):
                value = value[4:]
            elif name != 'vnc':
                continue
            parameters = read_parameters(value, 'vnc')
            if last(parameters, 'vnc', 'none') != 'none':
                self.vnc.append(parameters)
        self.credentials = {last(parameters, 'tls-creds')
                            for parameters in self.vnc}
        self.settings = [(name, value) for name, value, _ in self.options
                         if name and name.startswith('vdsm-tls')]
        self.others = [option for option in self.options
                       if option[0] != 'spice'
                       and not (option[0] or '').startswith('vdsm-tls')]

    def priorities(self) -> dict[str, Any]:
        """Return {name of credentials: priority, or None}."""
        return {last(members, 'id'): last(members, 'priority')
                for members in self.objects
                if last(members, 'qom-type') == 'tls-creds-x509'}


def read_object(value: str) -> Members | None:
    """Return the members (list of (key, value)) of an object, or None."""
    if value.startswith('{'):
        try:
            members: Members = json.loads(value, object_pairs_hook=list)
        except ValueError:
            return None
        # QEMU takes no name twice.
        return members if len(dict(members)) == len(members) else None
    return read_parameters(value, 'qom-type')


# The wrapper


class Refusal(Exception):
    """The line of a wrapper that starts no VM."""


class Process:
    """
    Stands for the module posix, whose environment and descriptors are those
    of the wrapper's process.
    """

    def __init__(self, environ: Environment) -> None:
        self.environ = dict(environ)
        self.exported = dict(environ)
        self.descriptors: list[int] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(posix, name)

    def putenv(self, name: bytes, value: bytes) -> None:
        self.exported[name] = value

    def unsetenv(self, name: bytes) -> None:
        self.exported.pop(name, None)

    def memfd_create(self, name: str, flags: int) -> int:
        self.descriptors.append(posix.memfd_create(name, flags))
        return self.descriptors[-1]

    def close(self, descriptor: int) -> None:
        if descriptor in self.descriptors:
            self.descriptors.remove(descriptor)
        posix.close(descriptor)


class Wrapper:
    """The wrapper's functions, in this process."""

    def __init__(self, path: pathlib.Path) -> None:
        self.names = support.run_file(path)
        self.real_ask = self.names['ask']
        self.notes: list[str] = []
        self.answers: dict[tuple[tuple[str, ...], bytes], Any] = {}
        # Each question is put when its answer is needed, and once.
        self.names.update(ask=self.ask, ask_ahead=lambda *_: None,
                          write=self.write)
        self.process = Process({})

    def write(self, line: str) -> None:
        self.notes.append(line)

    def ask(self, *question: str) -> Any:
        path = self.process.exported.get(b'OPENSSL_CONF', b'')
        configuration = b''
        if path.startswith(b'/proc/self/fd/'):
            with open(path, 'rb') as file:
                configuration = file.read()
        key = question, configuration
        if key not in self.answers:
            if configuration:
                posix.putenv(b'OPENSSL_CONF', path)
            try:
                self.answers[key] = self.real_ask(*question)
            finally:
                posix.unsetenv(b'OPENSSL_CONF')
        return self.answers[key]

    def run(self, arguments: list[str], environment: Environment) -> Start:
        """
        Return what the emulator gets: (arguments, environment (dict), what
        OPENSSL_CONF leads to (str) or None). Raises Refusal.
        """
        self.notes = []
        self.process = self.names['posix'] = Process(environment)
        try:
            self.names['restore_locale']()
            try:
                arguments = self.names['with_policy'](list(arguments))
            except self.names['Refused'] as refusal:
                raise Refusal(
                    'qemu-kvm-modified: %s' % refusal) from refusal
            environment = self.process.exported
            configuration = None
            if self.process.descriptors:
                descriptor, = self.process.descriptors
                assert environment[b'OPENSSL_CONF'] == (
                    b'/proc/self/fd/%d' % descriptor)
                with open('/proc/self/fd/%d' % descriptor) as file:
                    configuration = file.read()
            return arguments, environment, configuration
        finally:
            for descriptor in self.process.descriptors:
                posix.close(descriptor)


@pytest.fixture(scope='module')
def wrapper(make_installation: support.MakeInstallation) -> Wrapper:
    installation = make_installation(support.available_pythons()[-1])
    return Wrapper(installation.wrapper_module)


# Any text that an argument can be; what is no UTF-8 arrives as surrogates.
TEXT = st.text(st.one_of(
    st.sampled_from('=,-: "\'\\{}azAZ09.\n\t'),
    st.sampled_from('\xe4\u20ac\udc80\udcff')), max_size=12)
SYNTAX = st.text(st.sampled_from('=,nospicetl-'), max_size=14)
ESCAPED = TEXT.map(lambda text: text.replace(',', ',,'))
PRIORITY = 'NORMAL:-VERS-ALL:+VERS-TLS1.2'
VALUES = {
    'ciphers': ['AES256-SHA', GOOD_CIPHERS, 'HIGH:!aNULL', '-AES:HIGH',
                'ALL:@SECLEVEL=0', 'NOSUCH', 'AES256-SHA,disable-ticketing=on',
                'TLS_AES_256_GCM_SHA384', 'A' * 256],
    'ciphersuites': ['TLS_AES_256_GCM_SHA384', 'TLS_NOSUCH', 'A,B',
                     'TLS_AES_128_GCM_SHA256:TLS_CHACHA20_POLY1305_SHA256'],
    'protocols': ['TLSv1.2', 'TLSv1.3', 'TLSv1.2:TLSv1.3', 'TLSv1.1'],
    'groups': ['X25519', 'P-256:P-384', 'X25519:X25519', 'x', 'A\nB'],
    'priority': [PRIORITY, 'NORMAL', 'NONE', 'NORMAL:+ANON-ECDH', '@SYSTEM',
                 'NORMAL,', 'NORMAL"'],
    'curves': ['X25519'],
}
GOOD = {
    'ciphers': VALUES['ciphers'][:4], 'ciphersuites':
        [VALUES['ciphersuites'][0], VALUES['ciphersuites'][3]],
    'protocols': VALUES['protocols'][:3], 'groups': VALUES['groups'][:2],
    'priority': VALUES['priority'][:2]}
# No channel works without TLS.
CLOSED = ('tls-channel', 'default')
# By a configuration of OpenSSL.
CONFIGURED = {'ciphersuites', 'protocols', 'groups'}
OPTION = st.sampled_from(['-vdsm-tls', '--vdsm-tls', '-vdsm-tls-default',
                          '--vdsm-tls-default'])


def pairs_of(
        values: dict[str, list[str]]) -> st.SearchStrategy[tuple[str, str]]:
    return st.sampled_from([(key, value) for key in sorted(values)
                            for value in values[key]])


GOOD_SETTING = st.builds(
    lambda option, pair: [option, '%s=%s' % pair], OPTION, pairs_of(GOOD))
SETTING = st.one_of(
    GOOD_SETTING, GOOD_SETTING, st.builds(
        lambda option, pair: [option, '%s=%s' % pair], OPTION,
        pairs_of(VALUES)),
    st.builds(lambda option, value: [option, value], OPTION, TEXT))
SPICE_PARAMETER = st.one_of(
    st.sampled_from(['port=5900', 'tls-port=5901', 'tls-port=5901',
                     'tls-port=0', 'tls-port=', 'addr=192.0.2.1', 'unix',
                     'x509-dir=/etc/pki', 'tls-channel=main', 'sasl',
                     'tls-channel=inputs', 'disable-ticketing',
                     'seamless-migration=on', 'tls-ciphers=ALL', 'tls-ciphers',
                     'notls-ciphers', 'password=a,,tls-ciphers=b', 'no',
                     'password=a,,,tls-ciphers=b', '']),
    st.builds('password={}'.format, ESCAPED), SYNTAX)
SPICE = st.builds(
    lambda option, parameters: [option, ','.join(parameters)],
    st.sampled_from(['-spice', '--spice']),
    st.lists(SPICE_PARAMETER, max_size=4).map(
        lambda parameters: parameters + ['tls-port=5900'][:len(parameters)]))
IDENTITY = st.sampled_from(['vnc-tls-creds0', 'a', 'vnc-tls-creds0', 'b'])
VNC_PARAMETER = st.one_of(
    st.builds('tls-creds={}'.format, IDENTITY),
    st.builds('tls-creds={}'.format, IDENTITY),
    st.sampled_from(['password', 'password=on', 'sasl', 'websocket=5700',
                     'share=ignore', 'audiodev=a', 'tls', 'x509=/etc/pki']),
    SYNTAX)
VNC = st.builds(
    lambda option, address, parameters: [
        option[0], option[1] + ','.join([address, *parameters])],
    st.sampled_from([('-vnc', ''), ('--vnc', ''), ('-display', 'vnc=')]),
    st.sampled_from(['192.0.2.1:0', '[2001:db8::1]:0', 'none', '', ':0',
                     'vnc=unix:/run/a=b', 'unix:/run/a,,b']),
    st.lists(VNC_PARAMETER, min_size=1, max_size=3))
KIND = st.sampled_from(['tls-creds-x509', 'tls-creds-x509', 'secret'])
KEYED_OBJECT = st.builds(
    lambda kind, identity, members: ['-object', ','.join(
        [kind, 'id=' + identity, *members])],
    st.one_of(KIND, KIND.map('qom-type={}'.format)), IDENTITY, st.lists(
        st.one_of(st.builds('dir={}'.format, ESCAPED), st.sampled_from([
            'endpoint=server', 'verify-peer=no', 'priority=NORMAL',
            'priority', 'nopriority', 'data=9eao5F8=='])), max_size=4))
MEMBER = st.one_of(
    st.tuples(st.just('dir'), st.one_of(
        st.just('/etc/pki'), st.text(st.sampled_from('a,=\xe4"\\\udc80'),
                                     max_size=4))),
    st.sampled_from([('endpoint', 'server'), ('verify-peer', False),
                     ('verify-peer', True), ('priority', 'NORMAL'),
                     ('size', 1), ('list', [{}]), ('none', None)]))
JSON_OBJECT = st.builds(
    lambda kind, identity, members, style, is_ascii: ['-object', json.dumps(
        dict([('qom-type', kind), ('id', identity), *members]),
        separators=style, ensure_ascii=is_ascii)],
    KIND, IDENTITY, st.lists(MEMBER, max_size=4),
    st.sampled_from([(',', ':'), (', ', ': ')]), st.booleans())
OTHER = st.one_of(
    st.sampled_from([
        ['-S'], ['-nodefaults'], ['--no-shutdown'], ['-enable-kvm'],
        ['-name', 'guest=a,debug-threads=on'], ['-append', '-spice'],
        ['-kernel', '-vdsm-tls'], ['-name', '-vnc'], ['-m', '1024'],
        ['-k', 'en-us'], ['disk.img'], ['-display', 'none'],
        ['-msg', 'timestamp=on'], ['-device', 'usb,id=-spice']]),
    st.builds(lambda name, value: [name, value],
              st.sampled_from(['-name', '-device', '-append', '-object']),
              TEXT),
    TEXT.filter(lambda text: text[:1] != '-').map(lambda text: [text]))
NOISE = st.one_of(OTHER, st.sampled_from(
    [['-spice'], ['-object'], ['-vdsm-tls'], ['-'], ['--'], ['-new', '-spice'],
     ['-new', '-m'], ['---spice', 'tls-port=1']]), TEXT.map(lambda t: [t]))


def command_lines(*parts: st.SearchStrategy[list[list[str]]],
                  ) -> st.SearchStrategy[list[str]]:
    return st.tuples(*parts).map(lambda parts: [
        argument for part in parts for piece in part for argument in piece])


PIECES = st.lists(st.one_of(OTHER, SPICE, VNC, KEYED_OBJECT, JSON_OBJECT),
                  max_size=6)
MORE = st.lists(st.one_of(OTHER, OTHER, NOISE), max_size=2)
COMMAND_LINE = command_lines(
    PIECES, st.lists(SETTING, min_size=1, max_size=3), MORE)
WITHOUT_SETTINGS = command_lines(PIECES, MORE)
WITH_PRIORITY = command_lines(
    st.lists(st.one_of(KEYED_OBJECT, JSON_OBJECT), min_size=1, max_size=3),
    st.sampled_from([':0,tls-creds=vnc-tls-creds0',
                     ':0,tls-creds=vnc-tls-creds0,tls-creds=a',
                     ':0,tls-creds=vnc-tls-creds0,notls-creds']).map(
        lambda value: [['-vnc', value],
                       ['-vdsm-tls', 'priority=' + PRIORITY]]))
ENVIRONMENT = st.sampled_from([
    LIBVIRT_ENVIRONMENT, {}, {b'OPENSSL_CONF': b'/etc/mine'},
    {b'A\xff': b'\xff=', b'LC_ALL': b'C'}])


def check_refusal(line: str) -> None:
    assert line.startswith('qemu-kvm-modified: ')
    assert '; ' in line  # the remedy
    assert re.fullmatch('[ -~]+', line)


def check_started(arguments: list[str], environment: Environment,
                  outcome: Start,
                  good: dict[str, list[str]] | None = GOOD) -> None:
    """
    Check what the emulator got against what it was asked to get; good are the
    values that can be enforced, None where that is not known.
    """
    final, exported, configuration = outcome
    asked, got = VM(arguments), VM(final)
    if not asked.runs:
        # Behind an option that lacks its value "-spice" is that value, and
        # what follows a disk image, which is not there.
        assert not got.runs or got.options[-1][:2] == (None, final[-1])
        return
    assert got.runs
    assert not got.settings
    wanted = {}
    for option, setting in asked.settings:
        key, _, value = setting.partition('=')
        assert key not in wanted
        wanted[key] = (option == 'vdsm-tls', value)
    assert set(wanted) <= set(GOOD)
    check_spice(asked, got, wanted)
    check_vnc(asked, got, wanted)
    enforced = check_environment(asked, wanted, environment, exported,
                                 configuration)
    if good:
        assert enforced == {
            key for key in enforced | (set(wanted) & CONFIGURED)
            if asked.has_tls_port and wanted[key][1] in good[key]}


def check_spice(asked: VM, got: VM, wanted: Wanted) -> None:
    required = any(wanted[key][0] for key in wanted if key != 'priority')
    given = [option for option in asked.options if option[0] == 'spice']
    left = [option for option in got.options if option[0] == 'spice']
    if not asked.has_tls_port:
        assert not required or not asked.listens
        assert left == given
        return
    has_to, ciphers = wanted.get('ciphers', (False, None))
    if not wanted:
        has_to, ciphers = True, support.SEED_CIPHERS
    closing = [CLOSED] if required and asked.is_open and (
        CLOSED not in asked.spice) else []
    if has_to or ciphers in GOOD['ciphers']:
        assert left == got.options[-1:]
        assert (left[0][1] + ',').startswith('tls-ciphers=%s,' % ciphers)
        assert got.spice == [('tls-ciphers', ciphers)] + [
            parameter for parameter in asked.spice
            if parameter[0] != 'tls-ciphers'] + closing
    elif closing:
        assert left[:-1] == given[:-1]
        assert left[-1][2] == [given[-1][2][0], left[-1][1]]
        assert got.spice == asked.spice + closing
    else:
        assert left == given


def check_vnc(asked: VM, got: VM, wanted: Wanted) -> None:
    required, priority = wanted.get('priority', (False, None))
    assert len(asked.others) == len(got.others)
    for old, new in zip(asked.others, got.others):
        if old == new:
            continue
        assert priority
        assert old[0] == 'object'
        assert new[2] == ['-object', new[1]]
        members = read_object(old[1]) or []
        assert last(members, 'qom-type') == 'tls-creds-x509'
        assert last(members, 'id') in asked.credentials
        changed = read_object(new[1]) or []
        assert last(changed, 'priority') == priority
        assert [member for member in changed if member[0] != 'priority'] == [
            member for member in members if member[0] != 'priority']
    if required:
        given = got.priorities()
        assert all(given[name] == priority for name in asked.credentials)


def check_environment(asked: VM, wanted: Wanted, environment: Environment,
                      exported: Environment,
                      configuration: str | None) -> set[str]:
    keys = CONFIGURED & set(wanted)
    environment = dict(environment)
    exported = dict(exported)
    if configuration is not None:
        assert keys
        assert asked.has_tls_port
        exported.pop(b'OPENSSL_CONF')
        environment.pop(b'OPENSSL_CONF', None)
    enforced = set()
    for key in keys:
        value = wanted[key][1]
        lines = {
            'ciphersuites': ['Ciphersuites = ' + value],
            'protocols': ['MinProtocol = ' + value.split(':')[0],
                          'MaxProtocol = ' + value.split(':')[-1]],
            'groups': ['Groups = ' + value]}[key]
        if set(lines) <= set((configuration or '').split('\n')):
            enforced.add(key)
    assert bool(enforced) == (configuration is not None)
    if asked.has_tls_port and wanted.get('ciphers', (False, None))[1] in (
            GOOD['ciphers']):
        environment.pop(b'OPENSSL_CONF', None)
    required = {key for key in keys if wanted[key][0]}
    assert required <= enforced or not asked.listens
    assert exported == environment
    return enforced


def check_wrapper(wrapper: Wrapper, arguments: list[str],
                  environment: Environment) -> None:
    try:
        outcome = wrapper.run(arguments, environment)
    except Refusal as refusal:
        check_refusal(str(refusal))
    else:
        check_started(arguments, environment, outcome)


@examples(1000)
@given(arguments=COMMAND_LINE, environment=ENVIRONMENT)
def test_wrapper_refuses_or_enforces_and_changes_nothing_else(
        wrapper: Wrapper, arguments: list[str],
        environment: Environment) -> None:
    check_wrapper(wrapper, arguments, environment)


@examples(300)
@given(arguments=WITHOUT_SETTINGS, environment=ENVIRONMENT)
def test_without_settings_only_a_manual_installation_is_continued(
        wrapper: Wrapper, arguments: list[str],
        environment: Environment) -> None:
    check_wrapper(wrapper, arguments, environment)


@examples(400)
@given(arguments=WITH_PRIORITY)
def test_priority_is_all_that_changes_in_credentials(
        wrapper: Wrapper, arguments: list[str]) -> None:
    check_wrapper(wrapper, arguments, {})


@pytest.mark.parametrize('option', ['-vdsm-tls', '-vdsm-tls-default'])
@pytest.mark.parametrize('key', sorted(VALUES))
def test_value_that_cannot_be_enforced_never_holds(
        wrapper: Wrapper, option: str, key: str) -> None:
    for value in VALUES[key]:
        arguments = ['-spice', 'tls-port=1', option, '%s=%s' % (key, value),
                     '-object', 'tls-creds-x509,id=a',
                     '-vnc', ':0,tls-creds=a']
        try:
            outcome = wrapper.run(arguments, {})
        except Refusal as refusal:
            check_refusal(str(refusal))
            assert value not in GOOD.get(key, ())
        else:
            check_started(arguments, {}, outcome)
            assert option == '-vdsm-tls-default' or value in GOOD[key]


# VMs as libvirt starts them


SPICE_TAIL = 'addr=192.0.2.1,x509-dir=/etc/pki/a,,b,tls-channel=main'
VNC_TAIL = ',password=on,audiodev=audio1'
CREDENTIALS = {
    'keyed': ('tls-creds-x509,id=vnc-tls-creds0,dir=/a,,b,verify-peer=no{}',
              ',priority='),
    'JSON': ('{{"qom-type":"tls-creds-x509","id":"vnc-tls-creds0",'
             '"dir":"/a,b","verify-peer":false{}}}', ',"priority":"'),
}


@st.composite
def virtual_machines(draw: st.DrawFn) -> tuple[list[str], list[str] | None]:
    """
    Returns (the arguments of a VM that has nothing odd, those that its
    emulator should get with its settings or None if it should not start).
    """
    wanted = draw(st.fixed_dictionaries({}, optional={
        key: st.tuples(st.booleans(), st.sampled_from(GOOD[key]))
        for key in GOOD}))
    spice = draw(st.sampled_from(['', 'port=5900,', 'tls-port=5901,',
                                  'port=5900,tls-port=5901,']))
    vnc = draw(st.sampled_from(['', '-', 'x509', 'keyed', 'JSON']))
    others = draw(st.lists(st.sampled_from([
        ['-S'], ['-nodefaults'], ['-name', 'guest=a'], ['-append', '-spice'],
        ['-object', 'secret,id=masterKey0,file=/a,,b'], ['disk.img'],
        ['-object', '{"qom-type": "secret", "id": "secret0"}'],
        ['-object', 'tls-creds-x509,id=migration,dir=/a'],
        ['-m', '1024']]), max_size=4, unique_by=str))
    before, after = [], []

    def add(given: list[str], got: list[str] | None = None) -> None:
        before.extend(given)
        after.extend(given if got is None else got)

    def holds(key: str) -> bool:
        return key in wanted

    def is_required(keys: Iterable[str]) -> bool:
        return any(wanted[key][0] for key in keys if key in wanted)

    starts = True
    for other in others:
        add(other)
    last_option = []
    if spice:
        option = ['-spice', spice + SPICE_TAIL]
        closing = ',tls-channel=default' if spice.startswith('port=') and (
            is_required(set(GOOD) - {'priority'})) else ''
        if 'tls-port' not in spice:
            starts = not is_required(set(GOOD) - {'priority'})
            add(option)
        elif wanted and not holds('ciphers'):
            add(option, [option[0], option[1] + closing])
        else:
            ciphers = wanted.get('ciphers', (0, support.SEED_CIPHERS))[1]
            add(option, [])
            last_option = ['-spice', 'tls-ciphers=%s,%s%s' % (
                ciphers, option[1], closing)]
    if vnc in CREDENTIALS:
        text, separator = CREDENTIALS[vnc]
        priority = wanted.get('priority', (0, ''))[1]
        add(['-object', text.format('')], ['-object', text.format(
            priority and separator + priority + '"' * (vnc == 'JSON'))])
        add(['-vnc', '192.0.2.1:0,tls-creds=vnc-tls-creds0' + VNC_TAIL])
    elif vnc:
        starts = starts and not is_required(['priority'])
        add(['-vnc', '192.0.2.1:0' + {'-': '', 'x509': ',tls,x509=/a'}[vnc]])
    for key in draw(st.permutations(sorted(wanted))):
        required, value = wanted[key]
        add(['-vdsm-tls' + '-default' * (not required),
             '%s=%s' % (key, value)], [])
    add(['-msg', 'timestamp=on'])
    return before, after + last_option if starts else None


@examples(300)
@given(machine=virtual_machines())
def test_machine_of_libvirt_starts_exactly_as_asked(
        wrapper: Wrapper, machine: tuple[list[str], list[str] | None]) -> None:
    given, expected = machine
    try:
        outcome = wrapper.run(given, LIBVIRT_ENVIRONMENT)
    except Refusal as refusal:
        check_refusal(str(refusal))
        assert expected is None
    else:
        assert outcome[0] == expected
        check_started(given, LIBVIRT_ENVIRONMENT, outcome)


@examples(40)
@given(arguments=st.one_of(COMMAND_LINE, virtual_machines().map(
    lambda machine: machine[0])), environment=ENVIRONMENT)
def test_process_does_as_its_functions(newest_run: Run, wrapper: Wrapper,
                                       arguments: list[str],
                                       environment: Environment) -> None:
    outcome = newest_run(*map(os.fsencode, arguments),
                         environment=environment)
    try:
        expected, _, configuration = wrapper.run(arguments, environment)
    except Refusal as refusal:
        *notes, line = outcome.stderr.splitlines()
        assert (outcome.status, line) == (1, str(refusal))
        # libvirt knows those for lines of the log, and reports only the last.
        assert all(': info : ' in note for note in notes)
    else:
        assert outcome.arguments == list(map(os.fsencode, expected))
        environment = {name: value for name, value in environment.items()
                       if not (name == b'OPENSSL_CONF' and configuration)}
        assert sorted(entry for entry in outcome.environment
                      if not entry.startswith(b'OPENSSL_CONF=/proc/')
                      ) == sorted(b'='.join(pair)
                                  for pair in environment.items())
        assert (configuration is not None) == any(
            entry.startswith(b'OPENSSL_CONF=/proc/self/fd/')
            for entry in outcome.environment)


OPTIONS = st.one_of(
    SYNTAX, st.text(st.sampled_from('=,a'), max_size=8),
    st.lists(st.one_of(SPICE_PARAMETER, TEXT), max_size=4).map(','.join))


@examples(500)
@given(values=st.lists(OPTIONS, min_size=1, max_size=3))
def test_parameters_joined_with_commas_mean_the_same(
        wrapper: Wrapper, values: list[str]) -> None:
    try:
        parameters = [parameter for value in values for parameter in
                      wrapper.names['split_parameters']('spice', value)]
    except wrapper.names['Refused'] as refusal:
        assert refusal.code == 'command-line'
        # "no" alone is a parameter that is switched off, without a name too.
        assert any(key == '' for value in values
                   for key, _ in read_parameters(value))
        return
    assert [read_parameters(text) for _, text in parameters] == [
        [parameter] for value in values
        for parameter in read_parameters(value)]
    assert read_parameters(','.join(text for _, text in parameters)) == [
        parameter for value in values for parameter in read_parameters(value)]
    for key, text in parameters:
        name = read_parameters(text)[0][0]
        assert key == name or (key == 'no' + name and '=' not in text)


# The hook


class Module:
    """The modules of the hook, in this process."""

    def __init__(self, installation: support.Installation) -> None:
        self.emulator = str(installation.emulator)
        hook, policy, domain, host, config, values = support.load_modules(
            installation.module.parent, 'tlsciphers_hook', 'tlsciphers',
            'tlsciphers_domain', 'tlsciphers_host', 'tlsciphers_config',
            'tlsciphers_values')
        self.modules = policy, domain, host
        self.enforce = hook.enforce
        # The libraries are asked by the module with the rules. What the
        # functions themselves see, so that it can be replaced.
        self.values = vars(values)
        self.values['ask'] = self.remembering(self.values['ask'])
        # Each question is put when its answer is needed, and once.
        vars(policy)['ask_ahead'] = lambda *_: None
        self.names = types.SimpleNamespace(**{
            **vars(values), **vars(config), **vars(host), **vars(domain),
            **vars(policy)})

    def remembering(self, ask: Callable[..., Any]) -> Callable[..., Any]:
        """Return what asks each question once."""
        answers: dict[str, Any] = {}

        def remembered(*question: Any) -> Any:
            key = repr(question)
            if key not in answers:
                answers[key] = ask(*question)
            return answers[key]
        return remembered

    def run(self, path: pathlib.Path, properties: dict[str, str]) -> list[str]:
        """Do what the hook does. Returns lines; may raise Refused."""
        with mock.patch.dict(os.environ, dict(properties, _hook_domxml=str(
                path)), clear=True):
            return [str(note)
                    for note in self.enforce(hooking, *self.modules)]

    def check_message(self, message: object) -> None:
        message = str(message)
        assert re.fullmatch('[ -~]+', message)
        assert not set(message) & set('"\'\\')


@pytest.fixture(scope='module')
def module(make_installation: support.MakeInstallation) -> Module:
    return Module(make_installation(support.available_pythons()[-1]))


TOKENS = {
    'tlsciphers': [
        'ECDHE-RSA-AES256-GCM-SHA384', 'AES256-SHA', 'HIGH', 'ALL', '!aNULL',
        'DEFAULT', 'NOSUCH', 'eNULL', '@SECLEVEL=0', '@SECLEVEL=1', '-AES',
        'TLS_AES_256_GCM_SHA384', 'TLS_AES_128_GCM_SHA256', 'TLS_NOSUCH',
        '!TLS_AES_256_GCM_SHA384', 'A' * 250],
    'tlsprotocols': ['TLSv1.2', 'TLSv1.3', 'TLSv1.1'],
    'tlsgroups': ['X25519', 'P-256', 'prime256v1', 'secp384r1', 'x25519'],
    'tlspriority': ['NORMAL', '-VERS-ALL', '+VERS-TLS1.2', '+VERS-TLS1.3',
                    '-CIPHER-ALL', '+AES-256-GCM', '%SERVER_PRECEDENCE',
                    '+ANON-ECDH', '-GROUP-ALL', '@SYSTEM', 'NONE', 'SECURE256',
                    '!AES-128-CBC'],
    'tlsprofile': ['modern', 'intermediate', 'none', 'old'],
}
# Behind one of these most tokens mean something.
BEGINNINGS = {'tlsciphers': 'AES256-SHA', 'tlspriority': 'NORMAL'}
CHARACTER = st.one_of(st.sampled_from(', ;:+-"\'\\\n\t$`'),
                      st.characters(exclude_characters='\0'))


def values_of(name: str) -> st.SearchStrategy[str]:
    """Values for a property: whatever, and such as mean something."""
    tokens = st.sampled_from(TOKENS[name])
    beginning = BEGINNINGS.get(name)
    lists = st.builds(
        lambda first, rest: ':'.join(first + rest),
        st.sampled_from([[beginning], [beginning], []] if beginning else [[]]),
        st.lists(tokens, min_size=1, max_size=3, unique=True))
    return st.one_of(
        lists, lists, tokens,
        st.builds(lambda value, character, position: (
            value[:position] + character + value[position:]),
            lists, CHARACTER, st.sampled_from([0, 6, 10, 1000])),
        st.integers(250, 260).map(
            lambda length: (beginning or 'X25519').ljust(length, ':')),
        st.text(st.sampled_from('TLSv1.23:+-!@%=_A'), max_size=5),
        st.text(CHARACTER, max_size=5))


PROPERTIES = st.fixed_dictionaries({}, optional={
    name: values_of(name) for name in TOKENS})
DISPLAYS = st.sampled_from([['spice'], ['vnc'], ['spice', 'vnc'], ['sdl'], []])


def check_settings(wrapper: Wrapper, pairs: Iterable[tuple[str, str]],
                   unseen: Collection[str] = ()) -> None:
    """
    Check what the hook wants of the wrapper: (key, value) pairs; unseen are
    the keys for displays that are not there, whose values are not validated.
    """
    for key, value in pairs:
        assert re.fullmatch('[!-~]+', value)
        assert not set(value) & set(',"\'\\;$`')
        if key not in unseen:
            # The libraries it asks with the functions of the hook.
            wrapper.names['check_setting'](key, value)


@pytest.mark.parametrize('name', sorted(set(TOKENS) - {'tlsprofile'}))
def test_wrapper_takes_every_value_that_the_hook_accepts(
        module: Module, wrapper: Wrapper, name: str) -> None:
    @examples(150)
    @given(value=values_of(name))
    def check(value: str) -> None:
        try:
            pairs, lines = module.names.VALIDATORS[name](
                module.names.Setting(name, value, name))
        except module.names.Refused as refusal:
            module.check_message(str(refusal))
            return
        for line in lines:
            module.check_message(line)
        check_settings(wrapper, pairs)

    check()


@examples(300)
@given(properties=PROPERTIES, displays=DISPLAYS)
def test_properties_become_settings_or_are_refused(
        module: Module, wrapper: Wrapper, properties: dict[str, str],
        displays: list[str]) -> None:
    try:
        options, lines = module.names.resolve(properties, displays)
    except module.names.Refused as refusal:
        module.check_message(str(refusal))
        return
    for line in lines:
        module.check_message(line)
    # A start is never silent where the VM asks for something.
    assert bool(lines) == bool(properties)
    assert {option for option, _ in options} <= {'-vdsm-tls'}
    pairs = [tuple(setting.split('=', 1)) for _, setting in options]
    assert len(dict(pairs)) == len(pairs)
    unseen = {key for key in dict(pairs)
              if ('vnc' if key == 'priority' else 'spice') not in displays}
    check_settings(wrapper, pairs, unseen)
    assert [note.code for note in lines].count('no-console') == bool(unseen)
    for name, keys in (('tlsciphers', {'ciphers', 'ciphersuites'}),
                       ('tlsprotocols', {'protocols'}),
                       ('tlsgroups', {'groups'}),
                       ('tlspriority', {'priority'})):
        if name in properties:
            assert keys & set(dict(pairs))


# Values that this host can enforce, in any combination, for some settings.
SETTINGS = {
    'tlsciphers': st.sampled_from(['HIGH:!kRSA', 'AES256-SHA']),
    'tlsprotocols': st.just('TLSv1.2:TLSv1.3'),
    'tlsgroups': st.sampled_from(['P-256', 'X25519']),
    'tlspriority': st.sampled_from(['NORMAL', PRIORITY])}
PROFILE = {'tlsprofile': st.sampled_from(['a', 'a', 'b', 'intermediate',
                                          'none', 'missing'])}
SECTION = st.fixed_dictionaries({}, optional=SETTINGS)
WITH_PROFILE = st.fixed_dictionaries({}, optional={**SETTINGS, **PROFILE})


def display_of(name: str) -> str:
    return 'vnc' if name == 'tlspriority' else 'spice'


def settle(own: dict[str, str], profiles: dict[str, dict[str, str]],
           default: dict[str, str], displays: list[str],
           ) -> dict[str, tuple[str, bool]] | None:
    """
    Return {setting: (value, whether it is required)} of what holds for a VM,
    as docs/policies.md has it, or None where the VM is refused.
    """
    def of_profile(section: dict[str, str]) -> dict[str, str] | None:
        name = section.get('tlsprofile', 'none')
        return {} if name == 'none' else profiles.get(name) or None

    values = {name: (value, True) for name, value in own.items()
              if name != 'tlsprofile'}
    profile = of_profile(own)
    consoles = {'spice', 'vnc'} & set(displays)
    if profile is None or (
            profile and consoles and not consoles & set(map(display_of,
                                                            profile))):
        return None
    for name, value in profile.items():
        values.setdefault(name, (value, True))
    if own.get('tlsprofile') != 'none' and len(values) < len(SETTINGS):
        of_default = of_profile(default)
        if of_default is None:
            return None
        for name, value in [*default.items(), *of_default.items()]:
            if name != 'tlsprofile' and display_of(name) in displays:
                values.setdefault(name, (value, False))
    return values


@examples(300)
@given(own=WITH_PROFILE, a=SECTION, b=SECTION, default=WITH_PROFILE,
       displays=DISPLAYS)
def test_value_that_holds_is_the_first_of_four(
        module: Module, own: dict[str, str], a: dict[str, str],
        b: dict[str, str], default: dict[str, str],
        displays: list[str]) -> None:
    names = module.names
    text = ''.join('[%s]\n%s' % (section, ''.join(
        '%s = %s\n' % item for item in keys.items())) for section, keys in (
            ('default', default), ('profile a', a), ('profile b', b)))
    expected = settle(own, {'a': a, 'b': b, 'intermediate': names.PROFILES[
        'intermediate']}, default, displays)
    with mock.patch.dict(names.read_host_default.__globals__,
                         _host_default_text=lambda: text):
        try:
            options, lines = names.resolve(own, displays)
        except names.Refused as refusal:
            module.check_message(str(refusal))
            assert expected is None
            return
    assert expected is not None
    found: dict[str, list[tuple[str, bool]]] = {}
    for option, setting in options:
        key, _, value = setting.partition('=')
        found.setdefault('tlsciphers' if key == 'ciphersuites' else
                         'tls' + key, []).append(
                             (value, option == '-vdsm-tls'))
    assert {name: (':'.join(value for value, _ in values),
                   {required for _, required in values})
            for name, values in found.items()} == {
                name: (value, {required})
                for name, (value, required) in expected.items()}
    if own:
        assert lines


QEMU = '{http://libvirt.org/schemas/domain/qemu/1.0}'
QEMU_NAMESPACE = QEMU[1:-1]
XML_TEXT = st.text(st.sampled_from('a<>&"\'\n\t\r \xe4\u20ac\U0001f600]-'),
                   max_size=8)


def escape(text: str, quote: str = '"') -> str:
    """Return an attribute's value as XML, with references."""
    return quote + saxutils.escape(text, {
        quote: '&#%d;' % ord(quote), '\n': '&#10;', '\t': '&#x9;',
        '\r': '&#xD;'}) + quote


@st.composite
def elements(draw: st.DrawFn, name: str, attributes: dict[str, str],
             content: Sequence[str] = ()) -> str:
    """An element with its attributes in any order."""
    quote = draw(st.sampled_from('"\''))
    pairs = draw(st.permutations(sorted(attributes.items())))
    text = ''.join(content)
    start = '<%s%s' % (name, ''.join(
        '%s%s=%s' % (draw(st.sampled_from([' ', '\n  '])), key,
                     escape(value, quote)) for key, value in pairs))
    return start + ('>%s</%s>' % (text, name) if text or draw(st.booleans())
                    else '/>')


def noise(text: st.SearchStrategy[str] = XML_TEXT) -> st.SearchStrategy[str]:
    return st.one_of(
        st.just('\n  '), text.map(lambda value: '<!--%s-->' % value.replace(
            '-', '')), text.map(lambda value: '<?pi %s?>' % value.replace(
                '?', '').lstrip()), st.just(''))


MARKUP = st.one_of(
    XML_TEXT.map(lambda text: saxutils.escape(text, {'\r': '&#13;'})),
    XML_TEXT.map(lambda text: '<![CDATA[%s]]>' % text.replace(']', '')),
    st.sampled_from(['<graphics type="spice"/>', '<emulator>/x</emulator>',
                     '<commandline><arg value="-vdsm-tls"/></commandline>',
                     '&amp;', '&#228;']))
METADATA = st.lists(MARKUP, max_size=3).map(
    lambda parts: '<metadata><n:a xmlns:n="urn:n">%s</n:a>%s</metadata>' % (
        ''.join(parts), '<emulator>/x</emulator>' * (len(parts) % 2)))
ARGUMENT = st.one_of(st.sampled_from([
    '-cpu', 'host', '-vdsm-tls', '-vdsm-tls-default', 'ciphers=AES256-SHA',
    '-spice', 'priority=NORMAL']), XML_TEXT)


@st.composite
def command_line_elements(draw: st.DrawFn) -> str:
    """A <commandline> of QEMU's namespace, under some prefix."""
    prefix = draw(st.sampled_from(['qemu', 'ns0', '', 'q', 'declared']))
    colon = prefix and prefix + ':'
    children = [draw(noise())]
    for kind in draw(st.lists(st.sampled_from(['arg', 'arg', 'env']),
                              max_size=4)):
        attributes = {'value': draw(ARGUMENT)}
        if kind == 'env':
            attributes['name'] = 'A'
        children.append(draw(elements(colon + kind, attributes)))
        children.append(draw(noise()))
    namespace = '' if prefix == 'declared' else ' xmlns%s="%s"' % (
        prefix and ':' + prefix, QEMU_NAMESPACE)
    return '<%scommandline%s>%s</%scommandline>' % (
        colon, namespace, ''.join(children), colon)


@st.composite
def cpus(draw: st.DrawFn) -> str:
    """A <cpu> with features, the guard among them."""
    features = [draw(elements(
        draw(st.sampled_from(['feature', 'feature', 'model'])), {
            'name': draw(st.sampled_from(['vdsm-tls', 'vdsm-tls', 'vmx'])),
            **draw(st.sampled_from([{'policy': 'require'}, {}, {},
                                    {'policy': 'disable'}]))},
        [draw(noise())])) for _ in range(draw(st.integers(0, 3)))]
    return draw(elements('cpu', {'mode': 'host-model'}, [
        draw(noise()) + feature for feature in features]))


@st.composite
def domains(draw: st.DrawFn) -> str:
    """A domain XML (str) as engines, vdsm and other hooks may write it."""
    emulator = draw(st.sampled_from([
        '', '', '<emulator text="/usr/bin/qemu-system-ppc64le"/>',
        '<emulator/>', '<emulator a="b"> /usr/bin/qemu-kvm </emulator>',
        '<emulator>/usr/local/bin/other</emulator>',
        '<emulator>@</emulator>', '<emulator>/o\'"\\\xe4\n</emulator>']))
    graphics = [draw(elements('graphics', {
        'type': draw(st.sampled_from(['spice', 'vnc', 'sdl', 'vnc'])),
        'port': '-1', 'keymap': draw(XML_TEXT)}))
        for _ in range(draw(st.sampled_from([1, 2, 0, 3])))]
    devices = ''.join(draw(noise()) + device for device in draw(
        st.permutations([emulator, *graphics])))
    parts = ['<name>%s</name>' % saxutils.escape(draw(XML_TEXT)).replace(
        '\r', '&#13;'), '<devices>%s</devices>' % devices, draw(METADATA)]
    parts += draw(st.lists(command_line_elements(), max_size=2))
    parts += draw(st.lists(cpus(), max_size=1))
    content = ''.join(draw(noise()) + part
                      for part in draw(st.permutations(parts)))
    namespaces = draw(st.permutations([
        'xmlns:declared="%s"' % QEMU_NAMESPACE, 'type="kvm"',
        draw(st.sampled_from(['xmlns:qemu="urn:other"', 'id="1"',
                              'xmlns:qemu="%s"' % QEMU_NAMESPACE]))]))
    if 'declared:' not in content and draw(st.booleans()):
        namespaces = [part for part in namespaces if 'declared' not in part]
    declaration = draw(st.sampled_from(
        ['', '<?xml version="1.0" encoding="UTF-8"?>']))
    start = '%s%s<domain %s>' % (declaration, draw(noise()),
                                 ' '.join(namespaces))
    return start + content + '</domain>'


def parse(xml: str | bytes) -> ElementTree.Element:
    return ElementTree.fromstring(xml, ElementTree.XMLParser(
        target=ElementTree.TreeBuilder(insert_comments=True,
                                       insert_pis=True)))


Meaning = tuple[str, dict[str, str], str, list[Any], str]


def meaning(element: ElementTree.Element) -> Meaning:
    """Return all that an element says, however it is written."""
    return (element.tag, element.attrib, element.text or '',
            [meaning(child) for child in element], element.tail or '')


def remove(parent: ElementTree.Element, element: ElementTree.Element) -> None:
    """Remove an element and leave the text that follows it."""
    position = list(parent).index(element)
    if position:
        before = parent[position - 1]
        before.tail = (before.tail or '') + (element.tail or '')
    else:
        parent.text = (parent.text or '') + (element.tail or '')
    parent.remove(element)


def without_guard(domain: ElementTree.Element) -> list[str]:
    """Take the guard out; return the policies that it had."""
    found = [(cpu, feature) for cpu in domain.findall('cpu')
             for feature in cpu.findall('feature')
             if feature.get('name') == 'vdsm-tls']
    for cpu, feature in found:
        remove(cpu, feature)
    return [feature.get('policy', 'require') for _, feature in found]


def with_policy(xml: str, emulator: str,
                settings: Sequence[tuple[str, str]]) -> ElementTree.Element:
    """Return the domain (Element) that the hook should make."""
    domain = parse(xml)
    without_guard(domain)
    if not settings:
        return domain
    arguments = [(parent, argument)
                 for parent in domain.findall(QEMU + 'commandline')
                 for argument in parent.findall(QEMU + 'arg')]
    first = [argument.get('value') for _, argument in arguments]
    pairs = []
    while arguments:
        pair = [arguments.pop(0)]
        if pair[0][1].get('value') in ('-vdsm-tls', '-vdsm-tls-default'):
            pair += arguments[:1]
            del arguments[:1]
            pairs.append(pair)
    devices = domain.find('devices')
    if devices is None:
        devices = ElementTree.SubElement(domain, 'devices')
    element = devices.find('emulator')
    if element is None:
        element = ElementTree.Element('emulator')
        devices.insert(0, element)
    elif (element.text == emulator and not len(element)
          and 'text' not in element.attrib
          and [tuple(argument.get('value') for _, argument in pair)
               for pair in pairs] == list(settings)
          and first[:2 * len(pairs)] == [text for setting in settings
                                         for text in setting]):
        return domain  # It is there, if in several command lines.
    element.attrib.pop('text', None)
    for child in list(element):
        element.remove(child)
    element.text = emulator
    for pair in pairs:
        for parent, argument in pair:
            remove(parent, argument)
    command_line = domain.find(QEMU + 'commandline')
    if command_line is None:
        command_line = ElementTree.SubElement(domain, QEMU + 'commandline')
    for position, text in enumerate(
            text for setting in settings for text in setting):
        command_line.insert(position, ElementTree.Element(
            QEMU + 'arg', value=text))
    return domain


HOOK_PROPERTIES = st.one_of(
    st.fixed_dictionaries({}, optional={
        'tlsciphers': st.sampled_from([GOOD_CIPHERS, 'HIGH', 'NOSUCH']),
        'tlspriority': st.sampled_from(['NORMAL', PRIORITY]),
        'tlsprofile': st.sampled_from(['modern', 'none', 'old']),
        'extra_cpu_flags': st.sampled_from(['+vmx', '+vmx,vdsm-tls'])}),
    *[st.sampled_from([{'tlsprofile': 'intermediate'},
                       {'tlsciphers': GOOD_CIPHERS, 'tlspriority': PRIORITY}])
      ] * 2)


@examples(300)
@given(data=domains(), properties=HOOK_PROPERTIES)
def test_hook_refuses_or_adds_the_policy_and_nothing_else(
        module: Module, tmp_path_factory: pytest.TempPathFactory, data: str,
        properties: dict[str, str]) -> None:
    check_hook(module, tmp_path_factory.getbasetemp() / 'domxml', data,
               properties)


def check_hook(module: Module, path: pathlib.Path, data: str,
               properties: dict[str, str]) -> None:
    xml = data.replace('<emulator>@<', '<emulator>%s<' % module.emulator)
    path.write_bytes(xml.encode())
    displays = frozenset(element.get('type') for element in parse(
        xml).findall('devices/graphics'))
    others = [element for element in parse(xml).findall('devices/emulator')
              if '/usr/bin/qemu-' not in str(element.attrib) + (
                  element.text or '/usr/bin/qemu-')
              and element.text != module.emulator]
    guard = without_guard(parse(xml))
    # A console may also come from another hook.
    consoles = {'spice', 'vnc'} & displays | ({'spice'} & {
        argument.get('value', '').lstrip('-') for argument in parse(
            xml).findall('%scommandline/%sarg' % (QEMU, QEMU))
        if argument.get('value', '').startswith('-')})
    try:
        policy = module.names.resolve(properties, displays)[0]
        if guard and (set(guard) != {'require'} or consoles - {
                display_of('tls' + setting.partition('=')[0])
                for _, setting in policy}):
            policy = None
    except module.names.Refused:
        policy = None
    try:
        lines = module.run(path, properties)
    except module.names.Refused as refusal:
        module.check_message(str(refusal))
        assert path.read_bytes() == xml.encode()
        assert policy is None or others
        return
    for line in lines:
        module.check_message(line)
    changed = path.read_bytes()
    assert policy is not None
    assert meaning(parse(changed)) == meaning(with_policy(
        xml, module.emulator, policy))
    if policy:
        assert not others
        # That the guard is not there is no news behind this hook.
        assert module.run(path, properties) == [
            line for line in lines if not line.endswith(' [guard-missing]')]
        assert path.read_bytes() == changed
    elif not guard:
        assert changed == xml.encode()
