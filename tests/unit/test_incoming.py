# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""
The script that libvirt runs where a VM arrives, and the hook that vdsm runs
then: what they do with a mark, and that they never do harm.
"""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING
from xml.etree import ElementTree

import pytest

import support

if TYPE_CHECKING:
    import pathlib

PENDING = 'http://ovirt.org/vdsm-hook-tlsciphers/pending/1.0'
QEMU = '{http://libvirt.org/schemas/domain/qemu/1.0}'
PRIORITY = ('-vdsm-tls-default', 'priority=SECURE256')
CIPHERS = ('-vdsm-tls', 'ciphers=ECDHE+AESGCM')


def domain(*settings: tuple[str, str], inside: str = '', before: str = '',
           policy: str = '', mark: str | None = None) -> str:
    """Return a domain XML with a mark of settings, as libvirt writes it."""
    if mark is None:
        mark = '<x:policy xmlns:x="%s" process="b 1 2">%s</x:policy>' % (
            PENDING, ''.join('<x:setting option="%s" value="%s"/>' % setting
                             for setting in settings))
    return """%s<domain type='kvm' id='7'>
  <name>web1</name>
  <metadata>
    <other xmlns='http://example.org/1'><policy>&#10;&lt;</policy>
      <in xmlns=''>none</in></other>
    %s
  </metadata>
  <devices>
    <graphics type='spice' tlsPort='-1' passwd='verysecret'/>
    <graphics type='vnc' port='-1'/><!-- kept -->
    %s
  </devices>
  <description>a &amp; b&#9;\u00e9</description>%s
</domain>""" % (before, mark, inside, policy)


def arguments(*settings: tuple[str, str]) -> str:
    return '<q:commandline xmlns:q="%s">%s</q:commandline>' % (
        QEMU[1:-1], ''.join('<q:arg value="%s"/><q:arg value="%s"/>' % setting
                            for setting in settings))


def run(installation: support.Installation, xml: str | bytes,
        operation: str = 'migrate', **keywords: object) -> str:
    """Return what the script prints; it must succeed, whatever happens."""
    process = subprocess.run(
        [installation.incoming, 'web1', operation, 'begin', '-'],
        input=xml.encode() if isinstance(xml, str) else xml,
        capture_output=True, timeout=60)
    assert (process.returncode, process.stderr) == (0, b'')
    return process.stdout.decode()


def policy(xml: str) -> list[tuple[str, str]]:
    values = [argument.get('value', '') for argument
              in ElementTree.fromstring(xml).iter(QEMU + 'arg')]
    return list(zip(values[::2], values[1::2]))


def canonical(xml: str) -> str:
    """Return all but mark, emulator and arguments, in one form."""
    root = ElementTree.fromstring(xml)
    metadata = root.find('metadata')
    devices = root.find('devices')
    assert metadata is not None
    assert devices is not None
    for parent, names in ((metadata, ['{%s}policy' % PENDING]),
                          (devices, ['emulator']),
                          (root, [QEMU + 'commandline'])):
        for child in list(parent):
            if child.tag in names:
                parent.remove(child)
    return ElementTree.canonicalize(ElementTree.tostring(root),
                                    strip_text=True)


@pytest.mark.parametrize('operation', ['migrate', 'restore'])
def test_mark_becomes_the_policy_and_nothing_else_changes(
        installation: support.Installation, operation: str) -> None:
    xml = domain(CIPHERS, PRIORITY)
    found = run(installation, xml, operation)
    assert policy(found) == [CIPHERS, PRIORITY]
    assert ElementTree.fromstring(found).findtext('devices/emulator') == str(
        installation.emulator)
    assert PENDING not in found
    assert canonical(found) == canonical(xml)
    # libvirt calls it four times for one arrival.
    assert run(installation, found, operation) == ''


@pytest.mark.parametrize('before, mark, after', [
    # Of the other console it stays as it is.
    ([CIPHERS], [PRIORITY], [CIPHERS, PRIORITY]),
    # Half of each would be none that anybody chose; a requirement stays one.
    ([CIPHERS, ('-vdsm-tls', 'groups=P-256')],
     [('-vdsm-tls-default', 'ciphersuites=TLS_AES_256_GCM_SHA384')],
     [('-vdsm-tls', 'ciphersuites=TLS_AES_256_GCM_SHA384')]),
    ([('-vdsm-tls-default', 'priority=NORMAL')], [PRIORITY], [PRIORITY])])
def test_mark_takes_the_place_of_a_policy_for_the_same_console(
        newest_installation: support.Installation,
        before: list[tuple[str, str]], mark: list[tuple[str, str]],
        after: list[tuple[str, str]]) -> None:
    assert policy(run(newest_installation, domain(
        *mark, policy=arguments(*before)))) == after


@pytest.mark.parametrize('operation', [
    'reconnect', 'start', 'prepare', 'stopped', 'attach', ''])
def test_nothing_is_read_at_other_events(
        newest_installation: support.Installation, operation: str) -> None:
    assert run(newest_installation, domain(CIPHERS), operation) == ''
    for given in [], ['web1'], ['web1', operation, 'end'], [
            'web1', 'migrate', 'end', '-']:
        process = subprocess.run([newest_installation.incoming, *given],
                                 input=domain(CIPHERS), text=True,
                                 capture_output=True)
        assert (process.returncode, process.stdout) == (0, '')


HOSTILE = {
    'no mark': domain(mark=''),
    'empty': domain(),
    'unknown option': domain(('-drive', 'ciphers=HIGH')),
    'unknown key': domain(('-vdsm-tls', 'foo=HIGH')),
    'no value': domain(('-vdsm-tls', 'ciphers=')),
    'comma': domain(('-vdsm-tls', 'ciphers=HIGH,disable-ticketing=on')),
    'line': domain(('-vdsm-tls', 'ciphers=HIGH&#10;x')),
    'doubled': domain(CIPHERS, CIPHERS),
    'two marks': domain(CIPHERS).replace('</metadata>', (
        '<x:policy xmlns:x="%s"><x:setting option="-vdsm-tls" '
        'value="ciphers=HIGH"/></x:policy></metadata>') % PENDING),
    'document type': domain(CIPHERS, before='<!DOCTYPE domain [<!ENTITY e '
                            '"web1">]>'),
    'not well-formed': domain(CIPHERS)[:-3],
    'other emulator': domain(CIPHERS, inside='<emulator>/opt/x</emulator>'),
    'attribute with a prefix': domain(
        CIPHERS, inside='<graphics xmlns:y="u:v" y:type="vnc"/>'),
    'no domain': '<x xmlns="%s"/>' % PENDING,
    'too long': domain(CIPHERS, inside='<!--%s-->' % ('x' * (4 << 20))),
    'too deep': domain(CIPHERS, inside='<a>' * 20000 + '</a>' * 20000),
    'character that is none': domain(CIPHERS, inside='<a>\ufdd0&#10;</a>'),
    'no XML': PENDING}


@pytest.mark.parametrize('name', HOSTILE)
def test_what_is_not_surely_right_stays_as_it_is(
        newest_installation: support.Installation, name: str) -> None:
    assert run(newest_installation, HOSTILE[name]) == ''


@pytest.mark.parametrize('name', ['two marks', 'too deep'])
def test_each_python_leaves_alone_what_is_hostile(
        installation: support.Installation, name: str) -> None:
    assert run(installation, HOSTILE[name]) == ''


@pytest.mark.parametrize('shell', ['sh', 'bash'])
def test_script_that_is_cut_off_anywhere_is_harmless(
        newest_installation: support.Installation, shell: str,
        tmp_path: pathlib.Path) -> None:
    """Behind its second line: a trap gives it its exit status."""
    text = newest_installation.incoming.read_bytes()
    first = text.index(b'\n', text.index(b'trap'))
    script = tmp_path / 'script'
    for length in range(first, len(text), 5):
        script.write_bytes(text[:length])
        process = subprocess.run([shell, script, 'x', 'reconnect', 'begin'],
                                 stdin=subprocess.DEVNULL, capture_output=True)
        assert (process.returncode, process.stdout) == (0, b''), length


@pytest.mark.parametrize('redirection', ['<&-', '>&-', '>/dev/full', '2>&-'])
def test_no_descriptor_that_is_missing_or_full_makes_it_fail(
        newest_installation: support.Installation, redirection: str) -> None:
    process = subprocess.run(
        ['sh', '-c', '"$0" web1 migrate begin - ' + redirection,
         newest_installation.incoming], input=domain(CIPHERS), text=True,
        stdout=subprocess.DEVNULL)
    assert process.returncode == 0


def arrival(installation: support.Installation, xml: str,
            folder: pathlib.Path) -> str:
    """Return what the hook says; it must succeed, whatever happens."""
    path = folder / 'domxml'
    path.write_text(xml)
    process = subprocess.run(
        [installation.arrival_hook], capture_output=True, text=True,
        env={**os.environ, '_hook_domxml': str(path)})
    assert (process.returncode, process.stdout) == (0, '')
    assert path.read_text() == xml
    return process.stderr


def test_hook_does_nothing_for_a_vm_without_a_mark(
        installation: support.Installation, tmp_path: pathlib.Path) -> None:
    assert arrival(installation, domain(mark=''), tmp_path) == ''


@pytest.mark.parametrize('name', ['comma', 'empty', 'not well-formed',
                                  'document type', 'doubled'])
def test_hook_leaves_a_hostile_mark_without_effect(
        installation: support.Installation, name: str,
        tmp_path: pathlib.Path) -> None:
    line, = arrival(installation, HOSTILE[name], tmp_path).splitlines()
    assert line.startswith('vdsm-hook-tlsciphers: the mark of this VM stays '
                           'without effect: ')
