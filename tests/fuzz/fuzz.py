#!/usr/bin/env python3
# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""
Coverage-guided fuzzing of what reads input from others, with atheris.

    tests/fuzz/fuzz.py --cases NUMBER      all targets, NUMBER cases in all
    tests/fuzz/fuzz.py TARGET [OPTION...]  one, with options of libFuzzer, or
                                           a file with an input to try again

What must hold for every input is written in the targets below; where the
tests in tests/properties say it already, it is taken from there. Questions
to openssl and gnutls-cli are answered by the real ones: the first of each
run, later one of a hundred; the others are answered by a refusal.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import contextlib
import importlib
import os
import pathlib
import random
import re
import subprocess
import sys
import tempfile
import types
import zlib
from collections.abc import Callable, Iterable
from typing import Any
from xml.dom import minidom
from xml.etree import ElementTree
from xml.parsers import expat

import atheris

TESTS = pathlib.Path(__file__).resolve().parent.parent
sys.path[:0] = [str(TESTS), str(TESTS / 'properties')]

from hypothesis import given  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

import support  # noqa: E402
import test_properties as properties  # noqa: E402

# How many questions to the libraries are real ones: the first, then a share.
REAL_AT_FIRST, REAL_SHARE = 200, 100

# What asks a library: a program and its arguments.
Ask = Callable[..., Any]
# What takes an input and fails where something does not hold.
Target = Callable[[bytes], object]
# Exit status, cases, edges at the beginning and at the end, output.
Result = tuple[int, int, str, str, str]


def seldom(ask: Ask) -> Ask:
    """Return a function that asks a library seldom, and else refuses."""
    answers: dict[str, Any] = {}

    def answer(program: str, *arguments: str) -> Any:
        key = repr((program, arguments))
        if key not in answers:
            real = (len(answers) < REAL_AT_FIRST
                    or zlib.crc32(key.encode()) % REAL_SHARE == 0)
            answers[key] = ask(program, *arguments) if real else (
                1, ['made up'])
        return answers[key]

    return answer


def instrument(names: dict[str, Any]) -> None:
    """Have the functions of a namespace (dict) tell what they execute."""
    for function in list(names.values()):
        if isinstance(function, types.FunctionType) and (
                function.__globals__ is names):
            atheris.instrument_func(function)


class Targets:
    """
    The functions that take an input (bytes) and fail where something does not
    hold, and what they need.
    """

    def __init__(self, folder: pathlib.Path) -> None:
        self.installation = support.Installation(folder, sys.executable)
        self.installation.qemu_kvm.symlink_to('/bin/true')
        self.file = folder / 'domxml'
        self.wrapper = properties.Wrapper(self.installation.wrapper_module)
        self.module = properties.Module(self.installation)
        instrument(self.wrapper.names)
        for module in self.module.modules:
            instrument(vars(module))
        instrument(self.module.names.read_host_default.__globals__)
        instrument(self.module.values)
        instrument(self.module.enforce.__globals__)

    def sparing(self) -> None:
        """Ask the libraries seldom."""
        self.wrapper.real_ask = seldom(self.wrapper.real_ask)
        values = self.module.values
        values['ask'] = seldom(values['ask'])

    def structured(self, function: Callable[..., None],
                   **strategies: st.SearchStrategy[Any]) -> Target:
        """Return a target whose inputs hypothesis makes of the bytes."""
        test: Any = given(**strategies)(function)
        target: Target = test.hypothesis.fuzz_one_input
        return target

    # The wrapper

    def command_line(self) -> Target:
        """Command lines as in tests/properties."""
        def check(arguments: list[str],
                  environment: properties.Environment) -> None:
            properties.check_wrapper(self.wrapper, arguments, environment)

        return self.structured(check, arguments=properties.COMMAND_LINE,
                               environment=properties.ENVIRONMENT)

    def arguments(self) -> Target:
        """Whatever: arguments, each behind a NUL."""
        self.sparing()

        def check(data: bytes) -> None:
            arguments = [os.fsdecode(argument)
                         for argument in data.split(b'\0')]
            try:
                outcome = self.wrapper.run(arguments, {})
            except properties.Refusal as refusal:
                properties.check_refusal(str(refusal))
            else:
                properties.check_started(arguments, {}, outcome, None)

        return check

    # The hook

    def domain(self) -> Target:
        """Domain XML as in tests/properties."""
        def check(data: str, values: dict[str, str]) -> None:
            properties.check_hook(self.module, self.file, data, values)

        return self.structured(check, data=properties.domains(),
                               values=properties.HOOK_PROPERTIES)

    def xml(self) -> Target:
        """Whatever stands in the file with the domain XML."""
        self.sparing()
        values = {'tlsciphers': support.GOOD_CIPHERS, 'tlspriority': 'NORMAL'}

        def check(data: bytes) -> None:
            # vdsm's own module parses it; a hook that fails there refuses.
            try:
                properties.parse(data.decode())
                document = minidom.parseString(data)
            except (ElementTree.ParseError, expat.ExpatError, ValueError,
                    LookupError):
                return
            self.file.write_bytes(data)
            try:
                lines = self.module.run(self.file, values)
            except self.module.names.Refused as refusal:
                self.module.check_message(str(refusal))
                assert self.file.read_bytes() == data
                return
            for line in lines:
                self.module.check_message(line)
            changed = self.file.read_bytes()
            assert self.module.run(self.file, values) == lines
            assert self.file.read_bytes() == changed
            names = self.module.names
            policy, _ = names.resolve(values, names.displays(document))
            if changed != data or policy:
                assert properties.meaning(properties.parse(changed)) == (
                    properties.meaning(properties.with_policy(
                        data.decode(), self.module.emulator, policy)))

        return check

    def default(self) -> Target:
        """Whatever stands in the file with the host's default."""
        self.sparing()
        path = self.installation.host_default
        path.parent.mkdir(parents=True)
        names = self.module.names

        def check(data: bytes) -> None:
            path.write_bytes(data)
            try:
                sections = names.read_host_default()
                for section, keys in sections.items():
                    assert section == 'default' or re.fullmatch(
                        'profile [A-Za-z0-9._-]+', section)
                    for key, (value, line) in keys.items():
                        names.check_characters(key, value)
                        assert 0 < line <= len(
                            data.decode().splitlines())
                options, lines = names.resolve({}, ['spice', 'vnc'])
            except names.Refused as refusal:
                self.module.check_message(str(refusal))
                return
            assert {option for option, _ in options} <= {'-vdsm-tls-default'}
            self.check_settings(options, lines)

        return check

    def values(self) -> Target:
        """Whatever the properties are, each behind a NUL."""
        self.sparing()
        names = self.module.names

        def check(data: bytes) -> None:
            texts = data.decode('utf-8', 'surrogateescape').split('\0')
            values = dict(zip(names.PROPERTIES, texts))
            values = {name: value for name, value in values.items() if value}
            try:
                options, lines = names.resolve(values, ['spice', 'vnc'])
            except names.Refused as refusal:
                self.module.check_message(str(refusal))
                return
            assert {option for option, _ in options} <= {'-vdsm-tls'}
            self.check_settings(options, lines)

        return check

    def check_settings(self, options: Iterable[tuple[str, str]],
                       lines: Iterable[str]) -> None:
        for line in lines:
            self.module.check_message(line)
        for _, setting in options:
            key, _, value = setting.partition('=')
            assert re.fullmatch('[!-~]+', value)
            assert not set(value) & set(',"\'\\;$`')
            self.wrapper.names['check_setting'](key, value)

    # The command

    def admin(self, name: str) -> Any:
        """Return a module of the command."""
        sys.path.insert(0, str(self.installation.module.parent))
        with atheris.instrument_imports(include=['vdsm_tlsciphers']):
            return importlib.import_module('vdsm_tlsciphers.' + name)

    def tls(self) -> Target:
        """What a server answers to a hello, in pieces of any size."""
        tls, stream = self.admin('tls.handshake'), self.admin('tls.stream')
        suites = self.admin('tls.cipher_suites')
        offered = {*suites.OLDER, *suites.TLS13}
        versions = sorted(tls.VERSIONS)

        def check(data: bytes) -> None:
            answering = Answering(data[2:], data[1:2])
            version = versions[sum(data[:1]) % len(versions)]
            try:
                answer = tls.read_answer(
                    stream.Stream(answering, float('inf')), version, offered,
                    True)
            except (tls.HandshakeRejected, tls.NotTLS) as refusal:
                assert getattr(refusal, 'alert', None) in {None, *range(256)}
            except stream.ProtocolError as broken:
                assert re.fullmatch('[ -~]+', str(broken))
            else:
                assert answer.version == version
                assert answer.suite in offered
                assert answer.group in {None, *range(65536)}
            assert answering.read <= stream.LONGEST_ANSWER + 65536

        return check

    def vencrypt(self) -> Target:
        """What a VNC server says before TLS begins, to two clients."""
        stream, vnc = self.admin('tls.stream'), self.admin('tls.vencrypt')

        def check(data: bytes) -> None:
            negotiation = vnc.VeNCryptNegotiation()
            first = Answering(data[1:], data[:1])
            try:
                negotiation.begin(stream.Stream(first, float('inf')))
            except (vnc.NoTLS, stream.ProtocolError) as broken:
                assert re.fullmatch('[ -~]+', str(broken))
                return
            assert set(negotiation.subtypes) & {*vnc.X509, *vnc.ANONYMOUS}
            again = Answering(data[1:], b'')
            negotiation.again(stream.Stream(again, float('inf')))
            assert first.said == again.said

        return check

    def process(self) -> Target:
        """What /proc has of an emulator: command line, environment, file."""
        emulators = self.admin('host.qemu_process')
        consoles = self.admin('host.consoles')
        listener = self.admin('host.listeners').Listener
        problem = self.admin('cli').UserError
        files: dict[str, bytes] = {}
        emulators.find_pid = lambda vm: 1
        emulators.read = lambda pid, name: files.get(
            name, files['configuration'])

        def check(data: bytes) -> None:
            parts = [*data.split(b'\n\n', 2), b'', b'']
            files.update(cmdline=parts[0], environ=parts[1],
                         configuration=parts[2])
            try:
                emulator = emulators.Emulator(None)
            except problem as said:
                assert '\n' not in str(said)
                return
            assert all(isinstance(name, str) for name in emulator.credentials)
            assert len(emulator.consoles) <= emulators.MOST_CONSOLES
            found = consoles.Consoles(emulator, [
                listener('127.0.0.1', 5900), listener('::', 6000)])
            assert len(found.unclear + found.others) + len([
                console for console in found.consoles if console.port]) == 2
            assert isinstance(emulators.protocols(emulator.openssl or {}),
                              str)

        return check


class Answering:
    """A connection on which these bytes come, in pieces."""

    def __init__(self, data: bytes, size: bytes) -> None:
        self.data = data
        self.size = sum(size) * 16 or 65536
        self.read = 0
        self.said = b''

    def settimeout(self, seconds: float) -> None:
        pass

    def sendall(self, data: bytes) -> None:
        self.said += data

    def recv(self, most: int) -> bytes:
        piece = self.data[:min(self.size, most)]
        self.data = self.data[len(piece):]
        self.read += len(piece)
        return piece


HELLO = (b'\x16\x03\x03\0\x3d\2\0\0\x39\3\3' + bytes(32) + b'\0\xc0\x30\0'
         b'\0\x11\xff\1\0\1\0\0\x0b\0\4\3\0\1\2\0\x17\0\0')
CERTIFICATE = b'\x16\3\3\0\x0d\x0b\0\0\t\0\0\6\0\0\3abc'
KEY_EXCHANGE = b'\x16\3\3\0\x0b\x0c\0\0\7\3\0\x1d\3abc'
TLS13 = (b'\x16\x03\x03\0\x56\2\0\0\x52\3\3' + b'r' * 32 + b'\0\x13\2\0'
         b'\0\x2a\0+\0\2\3\4\0003\0\x24\0\x1d\0\x20' + bytes(32))
VNC = (b'RFB 003.008\n\1\x13\0\2\0\2\0\0\1\5\0\0\1\4\1')


def seeds(target: str) -> list[bytes]:
    """Return inputs (list of bytes) to begin with."""
    text = (support.TESTS.parent / 'docs/tlsciphers.conf.example').read_text()
    manual = b'\0'.join(support.read_arguments('seed-emulator.args'))
    policy = (b'-object\0tls-creds-x509,id=a,dir=/a\0-vnc\0:1,tls-creds=a\0'
              b'-spice\0tls-port=5900,password=a,,b\0-vdsm-tls\0'
              b'ciphers=ECDHE+AESGCM\0-vdsm-tls-default\0'
              b'protocols=TLSv1.2:TLSv1.3\0-vdsm-tls\0groups=X25519\0'
              b'-vdsm-tls\0ciphersuites=TLS_AES_256_GCM_SHA384\0-vdsm-tls\0'
              b'priority=NORMAL')
    credentials = (b'-object\0{"qom-type":"tls-creds-x509","id":"a",'
                   b'"dir":"/a","verify-peer":false}\0-vnc\0:1,tls-creds=a\0'
                   b'-vdsm-tls\0priority=NORMAL')
    choice = random.Random(target)
    return {
        'arguments': [manual, policy, credentials],
        'xml': [path.read_bytes() for path in
                sorted(support.DATA.glob('domain-*.xml'))],
        'default': [re.sub(r'(?m)^# ?(?=[\[a-z])', '', text).encode(),
                    b'[default]\ntlsprofile = site\n[profile site]\n'
                    b'tlsciphers = ECDHE+AESGCM\ntlspriority: NORMAL\n'],
        'values': [b'ECDHE+AESGCM:TLS_AES_256_GCM_SHA384\0TLSv1.2:TLSv1.3\0'
                   b'X25519:P-256\0NORMAL:-VERS-ALL:+VERS-TLS1.3\0modern',
                   b'HIGH:!aNULL:@SECLEVEL=0\0TLSv1.3\0\0PFS\0intermediate'],
        'tls': [bytes([number, 0]) + answer for number in range(6) for answer
                in (HELLO + CERTIFICATE + KEY_EXCHANGE, TLS13,
                    b'\x15\3\3\0\2\2\x28')],
        'vencrypt': [b'\0' + VNC, b'\1' + VNC, b'\0RFB 003.003\n'],
        'process': [b'qemu\0' + line + b'\0\n\nA=b\0OPENSSL_CONF='
                    b'/proc/self/fd/3\0\n\n[a]\nb = c\nssl_conf = x\n[x]\n'
                    b'system_default = y\n[y]\nMinProtocol = TLSv1.2\n'
                    for line in (policy, credentials)],
    }.get(target, [bytes(choice.randrange(256) for _ in range(size))
                   for size in (200, 400, 800, 1600, 3200)])


# The share of each in the cases. Those that hypothesis makes are slow.
SHARES = {'arguments': 28, 'xml': 10, 'default': 14, 'values': 12, 'tls': 18,
          'vencrypt': 6, 'process': 6, 'command_line': 4, 'domain': 2}


def run(target: str, options: list[str]) -> None:
    """Fuzz one target in this process, which ends with it."""
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        corpus = folder / 'corpus'
        corpus.mkdir()
        for number, seed in enumerate(seeds(target)):
            (corpus / str(number)).write_bytes(seed)
        check = getattr(Targets(folder / 'root'), target)()
        given_files = [option for option in options if option[:1] != '-']
        atheris.Setup([sys.argv[0], *options,
                       *([] if given_files else [str(corpus)])], check)
        with contextlib.suppress(SystemExit):
            atheris.Fuzz()


def run_all(cases: int, folder: pathlib.Path) -> dict[str, Result]:
    """
    Fuzz all targets, two at a time, with so many cases. Returns {target: (exit
    status, cases, edges at the beginning, edges at the end, output)}.
    """
    def fuzz(target: str) -> tuple[str, Result]:
        share = cases * SHARES[target] // sum(SHARES.values())
        process = subprocess.run(
            [sys.executable, __file__, target, '-runs=%d' % share, '-seed=1',
             '-max_len=4096', '-len_control=0', '-timeout=60',
             '-rss_limit_mb=4096',
             '-artifact_prefix=%s/%s-' % (folder, target)],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            errors='replace')
        edges = re.findall(r'cov: (\d+)', process.stdout)
        done = re.search(r'Done (\d+) ', process.stdout)
        return target, (process.returncode, int(done.group(1)) if done else 0,
                        *((edges or ['0'])[::len(edges) - 1 or 1])[:1],
                        (edges or ['0'])[-1], process.stdout)

    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        return dict(pool.map(fuzz, SHARES))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, usage='fuzz.py --cases NUMBER | TARGET ...',
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--cases', type=int, metavar='NUMBER')
    parser.add_argument('target', nargs='?', choices=SHARES)
    options, others = parser.parse_known_args()
    if options.target:
        run(options.target, others)
        return
    if not options.cases:
        parser.error('give --cases, or a target')
    folder = pathlib.Path(tempfile.mkdtemp(prefix='fuzz-findings-'))
    failed = []
    total = 0
    results = run_all(options.cases, folder)
    for target, (status, cases, first, final, output) in results.items():
        print('%-14s %8d cases, edges %5s to %5s%s' % (
            target, cases, first, final, '' if status == 0 else ', FAILED'))
        total += cases
        if status:
            print(output[-4000:])
            print('again: tests/fuzz/fuzz.py %s %s' % (
                target, ' '.join(map(str, folder.glob(target + '-*')))))
            failed.append(target)
    if not failed:
        folder.rmdir()
    figures = os.environ.get('FIGURES')
    if figures:
        with open(figures, 'a') as lines:
            lines.write('fuzzing: findings in %d cases of %d targets\t%d\t0\n'
                        % (total, len(results), len(failed)))
    sys.exit(1 if failed else 0)


if __name__ == '__main__':
    main()
