# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""
The wrapper and QEMU's own parser, on made-up command lines.

Each line is given to QEMU itself, with a harmless option in the place of each
setting, and to the installed wrapper. What QEMU then says of its consoles and
objects (through its monitor), and what the consoles agree to in handshakes,
must be the same both times but for the policy; and the policy must be in
force on each console that QEMU has. Where the wrapper refuses, QEMU refuses
the line too, or it is a refusal of STRICTER and what it says of the consoles
is what QEMU says.
"""

from __future__ import annotations

import collections
import concurrent.futures
import json
import pathlib
import random
import re
from collections.abc import Iterable, Sequence
from typing import TypeVar

import pytest
import qmp

import support
from support import QEMU_KVM, WRAPPER

Choice = TypeVar('Choice')

PKI = '/etc/pki/vdsm/libvirt-spice'

# None of these suites is one that the clients here and the libraries agree to
# without a policy.
SPICE_SETTINGS = (
    {'ciphers': 'AES128-SHA256', 'protocols': 'TLSv1.2'},
    {'ciphers': 'AES256-CCM'},
    {'ciphers': 'AES128-SHA', 'ciphersuites': 'TLS_AES_128_GCM_SHA256'},
    {'protocols': 'TLSv1.3', 'groups': 'P-384'})
PRIORITY = ('NORMAL:-VERS-ALL:+VERS-TLS1.2:-KX-ALL:+RSA:-CIPHER-ALL:'
            '+AES-128-CBC:-MAC-ALL:+SHA1')
VNC_SUITES = ('AES128-SHA', None)
# What the list for a VM without settings, from a manual installation, gives.
MANUAL = {'ciphers': 'ECDHE-RSA-AES256-GCM-SHA384'}
# The name of a socket that is given none.
RANDOM = '^./qemu-socket-.{6}$'

# What the wrapper refuses although QEMU would start, by its code, and what
# QEMU must say then (a function of Report), if anything.
STRICTER = {
    # Policies that the VM's consoles cannot have. Of several addresses the
    # last one is "none" in a spelling that libvirt does not use.
    'spice-without-tls': lambda report: report.spice['enabled']
        and 'tls-port' not in report.spice,
    'vnc-without-tls': lambda report: any(
        display['auth'] != 'vencrypt'
        for display in report.vnc) or report.closed,
    'spice-socket': None,
    'vnc-socket': None,
    'spice-channels': None,
    'host-priority': None,
    # A table that lacks a newer QEMU's option could look like this.
    'unknown-option': None,
    # Options that could add or change consoles unseen.
    'consoles-unknown': None,
    # An empty address before others; spellings of a number that libvirt does
    # not use.
    'command-line': None,
    # Spellings of credentials that libvirt does not use: JSON with
    # apostrophes or escapes, a type given twice.
    'vnc-credentials': None,
}


# Command lines

FOLDERS = (PKI, 'a,,b', 'c=d', './', './a,,b')
SPICE = ['addr=127.0.0.1', 'disable-ticketing=on', 'tls-channel=main',
         'tls-channel=inputs', 'seamless-migration=on', 'agent-mouse=off',
         'password=a,,tls-port=0', 'password=tls-port=0', 'password=,,',
         'disable-copy-paste', 'addr=127.0.0.1,ipv4=on',
         'image-compression=off',
         'tls-ciphers=AES256-SHA', 'tls-ciphers=HIGH', 'playback-compression',
         'x509-key-password=a,,,,b', 'nodisable-ticketing', 'noipv6']
ODD_SPICE = ['tls-port=0', 'tls-port=00', 'tls-port={:#x}', 'tls-port=0{:o}',
             'tls-port= {}', 'tls-port=+{}', 'tls-port={},,', 'tls-port=',
             'tls-port={}', 'port={}', 'tls-port', 'notls-port', 'no', '=x',
             '', 'Tls-port={}', 'x509-dir=/nonexistent', 'tls-ciphers',
             'notls-ciphers', 'tls-ciphers=', 'tls-ciphers=a,,b', 'unix',
             'nosuch=1', 'x509-dir', 'password-secret=s', 'id=a', 'help',
             'tls-channel=nosuch', 'ipv4=on', 'addr=::1', 'tls-port={}k']
ADDRESSES = ['127.0.0.1:{}', '127.0.0.1:{}', 'localhost:{}', ':{}',
             'vnc=127.0.0.1:{}', '127.0.0.1:{}', 'unix:a,,b-{}', 'none',
             '127.0.0.1:{},to={}', 'id=v{},vnc=127.0.0.1:{}',
             '127.0.0.1:{},vnc=127.0.0.1:{}']
ODD_ADDRESSES = ['', '{}', 'vnc=none', '127.0.0.1:{},vnc=none',
                 'none,vnc=127.0.0.1:{}', 'unix:', ',vnc=127.0.0.1:{}',
                 '127.0.0.1:{},,x', '[::1]:{}', 'vnc', 'novnc', 'help',
                 'none,']
VNC = ['share=ignore', 'password=on', 'password=off', 'lossy=on',
       'websocket={}', 'key-delay-ms=1', 'power-control=on',
       'nolossy', 'share=force-shared']
ODD_VNC = ['tls-creds', 'notls-creds', 'tls-creds=', 'tls', 'x509=/etc/pki',
           'x509verify', 'reverse', 'sasl=on', 'no', '=', '', 'nosuch=1',
           'tls-creds=none', 'tls-creds=a,,b', 'tls_creds=a', 'to=0',
           'audiodev=x', 'id=default', 'websocket', 'vnc=none', 'non-adaptive']
NAMES = ['vnc-tls-creds0', 'a', 'b']
KEYED = ['verify-peer=no', 'verify-peer=off', 'verify-peer=on',
         'priority=NORMAL', 'sanity-check=off', 'noverify-peer',
         'priority=NORMAL:%COMPAT,priority=NORMAL']
ODD_KEYED = ['priority', 'nopriority', 'priority=', 'id=c', 'nosuch=1', '',
             'qom-type=secret', 'qom-type=tls-creds-x509', 'no', '=',
             'endpoint=client', 'priority=a,,b', 'ID=a']
MEMBERS = [('verify-peer', False), ('verify-peer', True),
           ('priority', 'NORMAL'), ('sanity-check', False)]
ODD_MEMBERS = [('priority', ''), ('verify-peer', 'no'), ('nosuch', 1),
               ('priority', 'a"b'), ('priority', '\xe4'), ('priority', None),
               ('id', ['a']), ('priority', {'a': 1}), ('', '')]
OTHERS = [
    ['-S'], ['--S'], ['-no-shutdown'], ['-nodefaults'], ['--no-user-config'],
    ['-snapshot'], ['-only-migratable'], ['-enable-sync-profile'],
    ['-no-reboot'], ['-name', 'guest=a,,b,debug-threads=on'],
    ['-name', '-spice'], ['-name', '--vnc'], ['--name', '-vdsm-tls'],
    ['-name', '-object'], ['-dtb', '-spice'], ['-dtb', '-vdsm-tls'],
    ['-uuid', '3e8a4f0b-52a1-4d7c-9a0e-0123456789ab'], ['-L', 'x'],
    ['-k', 'de'], ['-msg', 'timestamp=on'], ['-rtc', 'base=utc'],
    ['-chardev', 'null,id=spice'], ['-chardev', 'file,id=c,path=-vnc'],
    ['-chardev', 'file,path=a,,c,id=d'], ['-D', 'tls-port=1'],
    ['-blockdev', '{"driver":"null-co","node-name":"n"}'],
    ['-drive', 'driver=null-co,if=none,id=drive'], ['-vga', 'none'],
    ['-audiodev', 'driver=none,id=x'], ['-global', 'VGA.vgamem_mb=8'],
    ['-boot', 'menu=on'], ['-action', 'panic=none'], ['-monitor', 'none'],
    ['-serial', 'none'], ['-overcommit', 'mem-lock=off'], ['-m', '64'],
    ['-object', 'secret,id=s,data=a,,tls-creds-x509'],
    ['-object', '{"qom-type":"secret","id":"t","data":"\\"tls-creds-x509"}'],
    ['-object', 'iothread,id=i'], ['-display', 'none'],
    ['-object', 'memory-backend-ram,id=m,size=1048576'],
    ['-readconfig', 'config']]
ODD_OTHERS = [
    ['-fw_cfg', 'name=opt/a,string=-spice'],
    ['-spice'], ['-vnc'], ['-object'], ['-name'], ['-'], ['--'], ['-nosuch'],
    ['disk.img'], ['-L', '-spice'], ['-D', '-vnc'], ['-pidfile', '-object'],
    ['-L', '--display'], ['-uuid', '-spice'], ['-k', '-set'],
    ['-append', '-spice'], ['-initrd', '-vnc'], ['-kernel', '-object'],
    ['-set', 'object.a.priority=NORMAL'], ['-set', 'chardev.spice.x=y'],
    ['-set', 'spice.default.tls-port=1'], ['-add-fd', 'fd=99,set=1'],
    ['-spice=tls-port=1'], ['---spice', 'tls-port=1'], ['-SPICE', 'x'],
    ['-display', 'vnc'], ['-display', 'vnc='], ['-display', 'sdl=vnc=:1'],
    ['-display', 'help'], ['-object', 'help'], ['-vnc', 'none', '-vnc'],
    ['-object', 'secret,id=vnc-tls-creds0,data=a'], ['-version'], ['-h']]


class Line:
    """
    A made-up command line: given, a list of words, ... standing for each of
    settings, a list of (option, key, value).
    """

    def __init__(self, number: int) -> None:
        self.chance = random.Random(number)
        # Each has ports of its own: two are tried at a time.
        # The websocket of a display is 200 below its port: where a line is
        # that does not run at the same time.
        self.port = 10000 + number * 7 % 150 * 100
        self.settings = self.make_settings()
        words = self.make_pieces() + [[...] for _ in self.settings]
        self.chance.shuffle(words)
        self.given = [word for piece in words for word in piece]
        while self.chance.random() < 0.1:
            self.spoil()

    def some(self, good: Sequence[Choice], odd: Sequence[Choice],
             most: int) -> list[Choice]:
        """Return a few of good, and now and then one of odd."""
        found = self.chance.sample(good, self.chance.randint(0, most))
        if self.chance.random() < 0.07:
            found.append(self.chance.choice(odd))
        return found

    def next_port(self) -> int:
        self.port += 1
        return self.port

    def make_settings(self) -> list[tuple[str, str, str]]:
        settings = dict(self.chance.choice((*SPICE_SETTINGS, {})))
        if self.chance.random() < 0.7:
            settings['priority'] = PRIORITY
        return [(self.chance.choice(('-vdsm-tls', '-vdsm-tls', '--vdsm-tls',
                                     '-vdsm-tls-default')), key, value)
                for key, value in settings.items()]

    def make_pieces(self) -> list[list[str]]:
        pieces = self.some(OTHERS, ODD_OTHERS, 4)
        if self.chance.random() < 0.75:
            pieces += self.make_spice()
        names = self.chance.sample(NAMES, self.chance.choice((0, 1, 1, 1, 2)))
        for name in names:
            pieces.append(['-object', self.chance.choice(
                (self.make_keyed, self.make_json))(name)])
        for _ in range(self.chance.choice((0, 1, 1, 2))):
            pieces.append(self.make_vnc(names))
        return [list(piece) for piece in pieces]

    def make_spice(self) -> list[list[str]]:
        parameters = ['tls-port=%d' % self.next_port(),
                      'x509-dir=' + self.chance.choice(FOLDERS)]
        parameters += self.some(SPICE, ODD_SPICE, 4)
        self.chance.shuffle(parameters)
        pieces: list[list[str]] = [[]]
        for parameter in parameters:
            pieces[-1].append(parameter.format(self.next_port())
                              if '{' in parameter else parameter)
            if self.chance.random() < 0.2:
                pieces.append([])
        return [[self.chance.choice(('-spice', '--spice')), ','.join(piece)]
                for piece in pieces]

    def make_vnc(self, names: list[str]) -> list[str]:
        address = self.chance.choice(
            ODD_ADDRESSES if self.chance.random() < 0.1 else ADDRESSES)
        # QEMU counts from 5900.
        number = self.next_port() - 5900
        parameters = [parameter.format(self.next_port()) for parameter in
                      self.some(VNC, ODD_VNC, 2)]
        if self.chance.random() < 0.85:
            parameters += ['tls-creds=' + name for name in self.chance.choices(
                names or NAMES, k=self.chance.choice((1, 1, 1, 2)))]
        self.chance.shuffle(parameters)
        parameters.insert(0, address.format(number, self.next_port() - 5900))
        option = self.chance.choice((
            ('-vnc', ''), ('-vnc', ''), ('--vnc', ''), ('-display', 'vnc='),
            ('--display', 'vnc=')))
        return [option[0], option[1] + ','.join(parameters)]

    def make_keyed(self, name: str) -> str:
        members = ['id=' + name, 'dir=' + self.chance.choice(FOLDERS),
                   'endpoint=server', *self.some(KEYED, ODD_KEYED, 2)]
        self.chance.shuffle(members)
        kind = 'tls-creds-x509'
        if self.chance.random() < 0.3:
            members.insert(self.chance.randint(0, len(members)),
                           'qom-type=' + kind)
        else:
            members.insert(0, kind)
        return ','.join(members)

    def make_json(self, name: str) -> str:
        members = [('qom-type', 'tls-creds-x509'), ('id', name), (
            'dir', self.chance.choice(FOLDERS).replace(',,', ',')),
            ('endpoint', 'server'), *self.some(MEMBERS, ODD_MEMBERS, 2)]
        self.chance.shuffle(members)
        text = '{%s}' % self.chance.choice((',', ', ', ',\n')).join(
            '%s:%s' % (json.dumps(key), json.dumps(
                value, ensure_ascii=self.chance.random() < 0.5))
            for key, value in members)
        if self.chance.random() < 0.1:
            text = self.chance.choice((
                text.replace('"', "'"), text.replace('tls', '\\u0074ls', 1),
                text + ' ', text[:-1] + ',}', ' ' + text, text + text,
                text.replace('/', '\\/')))
        return text

    def spoil(self) -> None:
        """Change something in the words, but for the settings."""
        places = [(place, word) for place, word in enumerate(self.given)
                  if isinstance(word, str)]
        if not places:
            return
        place, word = self.chance.choice(places)
        position = self.chance.randint(0, len(word))
        character = self.chance.choice(',,==-"\'{}\\: 0\xe4')
        self.given[place:place + 1] = self.chance.choice((
            [word[:position] + character + word[position:]],
            [word[:position] + word[position + 1:]],
            [word[:position] + word[position + 1:]],
            [word[:position]], [word, word], [], [word.upper()]))

    def words(self, settings: Iterable[tuple[str, str]]) -> list[str]:
        """Return the command line, with settings (pairs of words)."""
        unused = iter(settings)
        return [part for word in self.given for part in (
            [word] if isinstance(word, str) else next(unused))]

    def for_wrapper(self) -> list[str]:
        return self.words((option, '%s=%s' % (key, value))
                          for option, key, value in self.settings)

    def for_qemu(self) -> list[str]:
        return self.words(('-msg', 'guest-name=off') for _ in self.settings)


# What QEMU says


class Report:
    """
    What an emulator says of itself: spice, vnc and objects as the monitor has
    them, more about other options, and what its consoles agree to in
    handshakes: spice_suites, vnc_suites; closed is whether a VNC display has
    no address. Raises qmp.Ended.
    """

    def __init__(self, program: str, arguments: list[str],
                 folder: pathlib.Path) -> None:
        with qmp.Emulator(program, arguments, folder) as emulator:
            self.spice = emulator.ask('query-spice')
            displays = emulator.ask('query-vnc-servers')
            for display in displays:
                for server in display['server']:
                    server['service'] = re.sub(RANDOM, '', server['service'])
            self.vnc = [display for display in displays if display['server']]
            self.closed = self.vnc != displays
            self.objects = qmp.objects(emulator)
            self.more = [emulator.ask(command) for command in (
                'query-name', 'query-uuid', 'query-status', 'query-chardev')]
            self.spice_suites = qmp.spice_suites(emulator)
            self.vnc_suites = qmp.vnc_suites(emulator)
            self.said = emulator.said()


def ask_qemu(line: Line, folder: pathlib.Path) -> Report | None:
    """Return QEMU's Report of a line, or None where it does not start."""
    try:
        return Report(QEMU_KVM, line.for_qemu(), folder)
    except qmp.Ended:
        return None


def expected_spice(report: Report,
                   settings: dict[str, str]) -> qmp.Suites | None:
    """Return what SPICE should agree to with settings ({key: value})."""
    if 'tls-port' not in report.spice:
        return None
    assert report.spice_suites
    old, new = report.spice_suites
    if 'ciphers' in settings:
        old = settings['ciphers']
    if 'ciphersuites' in settings:
        new = settings['ciphersuites']
    protocols = settings.get('protocols')
    return (None if protocols == 'TLSv1.3' else old,
            None if protocols == 'TLSv1.2' else new)


def check_policy(plain: Report | None, report: Report,
                 settings: dict[str, str], required: set[str]) -> None:
    """
    Check a Report of the wrapper's QEMU, given that without it (or None):
    the settings ({key: value}), of which some (keys) are required.
    """
    spice = {key: value for key, value in settings.items()
             if key != 'priority'}
    if set(spice) & required and report.spice['enabled']:
        assert 'tls-port' in report.spice
    if 'tls-port' in report.spice and (spice or plain):
        assert report.spice_suites == expected_spice(
            plain or report, spice)
    if 'priority' in settings:
        for display in report.vnc:
            assert display['auth'] == 'vencrypt'
        assert all(suites in (VNC_SUITES, None)
                   for _, _, suites in report.vnc_suites)
    elif plain:
        assert report.vnc_suites == plain.vnc_suites
    if plain:
        assert report.spice == plain.spice
        assert report.vnc == plain.vnc
        assert report.more == plain.more
        assert report.objects.keys() == plain.objects.keys()
        for name, members in plain.objects.items():
            changed = report.objects[name]
            if changed.get('priority') != members.get('priority'):
                assert changed['priority'] == settings['priority']
                members = {**members, 'priority': changed['priority']}
            assert changed == members


def check_reason(code: str, plain: Report) -> None:
    """Check why the wrapper gives up, with a line that QEMU starts with."""
    assert code in STRICTER
    told = STRICTER[code]
    assert told is None or told(plain)


def check_line(line: Line, folder: pathlib.Path) -> str:
    """Check a Line. Returns who takes it: "both", "QEMU" alone..."""
    plain = ask_qemu(line, folder)
    settings = {key: value for _, key, value in line.settings} or MANUAL
    required = {key for option, key, _ in line.settings
                if not option.endswith('-default')}
    try:
        report = Report(WRAPPER, line.for_wrapper(), folder)
    except qmp.Ended as ended:
        refusal = re.search(r'(?m)^qemu-kvm-modified: .* \[(.*)\]$',
                            str(ended))
        if not refusal:
            assert plain is None, ended
            return 'neither: QEMU refuses'
        if plain is None:
            return 'neither: the wrapper refuses'
        check_reason(refusal.group(1), plain)
        return 'QEMU alone'
    for keys, code in re.findall(
            r'info : qemu-kvm-modified: ([a-z, ]+): .*: host default ignored'
            r'.* \[(.*)\]', report.said):
        if plain:
            check_reason(code, plain)
        for key in keys.split(', '):
            assert key not in required
            del settings[key]
    check_policy(plain, report, settings, required)
    if plain:
        return 'both'
    # A list or priority that QEMU does not take, which the policy replaced.
    assert re.search('tls-ciphers|priority', ' '.join(line.for_qemu()))
    return 'the wrapper alone'


@pytest.fixture
def folder(tmp_path: pathlib.Path) -> pathlib.Path:
    """Where QEMU runs: with files that command lines name."""
    for path in pathlib.Path(PKI).iterdir():
        (tmp_path / path.name).symlink_to(path)
    for name in 'a,b', 'c=d':
        (tmp_path / name).symlink_to(PKI)
    (tmp_path / 'config').write_text('[name]\n  guest = "x"\n')
    return tmp_path


def test_wrapper_reads_a_command_line_as_qemu_does(
        folder: pathlib.Path, soak: bool, figure: support.Figure) -> None:
    lines = [Line(number) for number in range(2000 if soak else 100)]
    outcomes = collections.Counter[str]()
    different = []

    def check(line: Line) -> str:
        try:
            return check_line(line, folder)
        except Exception as error:  # noqa: BLE001
            different.append((line.for_wrapper(), repr(error)))
            return 'different'

    with concurrent.futures.ThreadPoolExecutor(2) as executor:
        outcomes.update(executor.map(check, lines))
    figure('command lines that QEMU and the wrapper read differently, of %d'
           % len(lines), len(different), 0)
    for outcome, number in sorted(outcomes.items()):
        figure('command lines taken by ' + outcome, number, '-')
    assert not different, '\n'.join('%s: %s' % pair for pair in different)
