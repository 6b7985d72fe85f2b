# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""The man pages: their form, and that all they name is there."""

import bz2
import pathlib
import re
import subprocess
from collections.abc import Callable
from typing import Any

import commands
import pytest

import support

PAGES = ('tlsciphers_selinux.8', 'vdsm-tlsciphers.8', 'vdsm-tlsciphers.conf.5')
# What a host has by others, or its administrator. That hook and wrapper use
# it is shown by the tests on VMs.
OTHERS = {
    '/etc/libvirt/hooks/qemu.d/50-tlsciphers',
    '/etc/libvirt/qemu.conf', '/etc/pki/tls/openssl.cnf',
    '/etc/pki/vdsm/keys/libvirt_password',
    '/etc/selinux/config', '/etc/ssl/openssl.cnf', '/etc/vdsm/tlsciphers.conf',
    '/usr/bin/gnutls-cli', '/usr/bin/openssl', '/usr/libexec/qemu-kvm',
    '/var/log/libvirt/qemu/NAME.log', '/var/log/vdsm/vdsm.log'}
POLICY = [pathlib.Path('/usr/share/selinux/default', name + '.pp.bz2')
          for name in ('base', 'virt')]
OTHERS_PAGES = {'ciphers 1', 'gnutls-cli 1', 'restorecon 8', 'semodule 8'}


@pytest.fixture(scope='module')
def read(unpacked_rpm: pathlib.Path) -> Callable[[str], str]:
    """A function that reads a page (str) of the RPM."""
    def read(name: str) -> str:
        return subprocess.run(
            ['zcat', '--force', *(unpacked_rpm / 'usr/share/man').glob(
                'man?/%s*' % name)], check=True, capture_output=True,
            text=True).stdout
    return read


@pytest.fixture(params=PAGES)
def text(request: pytest.FixtureRequest, read: Callable[[str], str]) -> str:
    return read(request.param)


@pytest.fixture(scope='module')
def module(unpacked_rpm: pathlib.Path) -> dict[str, Any]:
    return support.run_file(unpacked_rpm / 'usr/share/vdsm-hook-tlsciphers'
                            / 'tlsciphers.py')


def test_hosts_get_the_pages_for_administrators_and_auditors(
        unpacked_rpm: pathlib.Path) -> None:
    folder, = (unpacked_rpm / 'usr/share/doc').iterdir()
    assert {str(path.relative_to(folder)) for path in folder.rglob('*')
            if path.suffix not in ('', '.json')} == {
        'README.md', 'NEWS.md', 'SECURITY.md', 'docs/auditing.md',
        'docs/installation.md', 'docs/migration.md', 'docs/policies.md',
        'docs/troubleshooting.md', 'docs/tlsciphers.conf.example'}


def test_mandoc_has_nothing_to_say_about_a_page(text: str) -> None:
    lint = subprocess.run(['mandoc', '-T', 'lint', '-W', 'style'], input=text,
                          capture_output=True, text=True)
    assert [line for line in (lint.stdout + lint.stderr).splitlines()
            # Whether they exist is looked at below.
            if 'referenced manual not found' not in line
            and 'mandoc.db' not in line] == []


def test_man_shows_a_page_without_a_warning(text: str,
                                            tmp_path: pathlib.Path) -> None:
    path = tmp_path / 'page.8'
    path.write_text(text)
    man = subprocess.run(
        ['man', '--warnings', '--local-file', path], check=True,
        capture_output=True, text=True,
        env={'PATH': '/usr/bin:/bin', 'LC_ALL': 'C.UTF-8', 'MANWIDTH': '80'})
    assert man.stderr == ''
    assert 'SEE ALSO' in man.stdout


def test_paths_on_a_page_are_those_of_the_package(
        text: str, unpacked_rpm: pathlib.Path) -> None:
    paths = set(re.findall(r'(?m)^\.(?:It )?Pa (\S+)', text))
    assert paths
    # Debian's rpm adds the version to the name of this folder.
    folder, = (unpacked_rpm / 'usr/share/doc').iterdir()
    found = {path: unpacked_rpm / path[1:].replace(
        'usr/share/doc/vdsm-hook-tlsciphers/', 'usr/share/doc/%s/'
        % folder.name) for path in paths - OTHERS}
    assert [path for path, place in found.items()
            if not place.exists() and not place.is_symlink()] == []


def test_pages_that_a_page_refers_to_exist(text: str) -> None:
    ours = {'%s %s' % tuple(page.rsplit('.', 1)) for page in PAGES}
    references = set(re.findall(r'(?m)^\.Xr (\S+ \d)', text))
    assert references & ours
    assert references <= ours | OTHERS_PAGES


def test_settings_and_profiles_are_those_that_the_hook_knows(
        read: Callable[[str], str], module: dict[str, Any]) -> None:
    text = read('vdsm-tlsciphers.conf.5')
    settings, profiles = [
        re.findall(r'(?m)^\.It Cm (\S+)', body)
        for section in ('SETTINGS', 'PROFILES')
        for body in re.findall(r'(?s)\n\.Sh %s\n(.*?)\n\.Sh ' % section, text)]
    rules = module['check_cipher_list'].__globals__
    assert tuple(settings) == rules['PROPERTIES']
    assert set(profiles) == {*module['PROFILES'], module['NO_PROFILE']}
    assert 'at most %d characters' % rules['LONGEST_CIPHER_LIST'] in text


def test_contexts_on_the_page_are_those_of_the_module(
        read: Callable[[str], str], unpacked_rpm: pathlib.Path) -> None:
    text = read('tlsciphers_selinux.8')
    module = unpacked_rpm / 'usr/share/selinux/packages/tlsciphers.pp.bz2'
    contexts = re.findall(rb'(?m)^(/\S+)\s+--\s+(\S+)$', bz2.decompress(
        module.read_bytes()))
    assert len(contexts) == 2
    for path, context in contexts:
        assert '.It Pa %s\n.Li %s ,\nwhere it is a regular file' % (
            path.decode(), context.decode()) in text


def test_types_and_booleans_on_the_page_exist(
        read: Callable[[str], str]) -> None:
    """In the policy of this distribution."""
    named = set(re.findall(r'(?m)^\.Li (\w+)', read('tlsciphers_selinux.8')))
    named.discard('system_u')
    assert named == {'svirt_t', 'qemu_exec_t', 'bin_t', 'virt_use_execmem'}
    policy = b''.join(bz2.decompress(path.read_bytes()) for path in POLICY)
    assert [name for name in named if name.encode() not in policy] == []


@pytest.mark.parametrize('name', commands.modules())
def test_page_of_the_command_has_exactly_the_options_that_there_are(
        read: Callable[[str], str], newest_installation: support.Installation,
        name: str) -> None:
    text = read('vdsm-tlsciphers.8')
    section, = re.findall(r'(?s)\n\.Ss %s\n(.*?)\n\.S[sh] ' % name, text)
    documented = {
        (option.replace('Fl ', '-').replace(' , ', ', '), value)
        for option, value in re.findall(
            r'(?m)^\.It (Fl \S+(?: , Fl \S+)*)'
            r'(?:(?: Op)? Ar (\S+)(?: \.\.\.)?)?$',
            section)}
    assert documented == {
        (', '.join(option.names), option.value)
        for option in commands.options(newest_installation, name)
        if option.names}


@pytest.mark.parametrize('name', commands.modules())
def test_synopsis_of_the_command_has_all_that_a_command_takes(
        read: Callable[[str], str], newest_installation: support.Installation,
        name: str) -> None:
    text = read('vdsm-tlsciphers.8')
    synopsis, = re.findall(
        r'(?s)\n\.Nm\n\.Cm %s\n(.*?)(?=\n\.Nm|\n\.Sh)' % name, text + '\n')
    for option in commands.options(newest_installation, name):
        if option.names:
            assert 'Fl ' + option.names[-1][1:] in synopsis
        else:
            assert 'Ar ' + option.value in synopsis


def test_page_has_all_commands_and_exit_statuses(
        read: Callable[[str], str],
        newest_installation: support.Installation) -> None:
    text = read('vdsm-tlsciphers.8')
    assert re.findall(r'(?m)^\.Ss (\S+)', text) == commands.names()
    frame = support.run_file(newest_installation.module.parent
                             / 'vdsm_tlsciphers/__init__.py')
    statuses = [int(status) for status in re.findall(r'\.It (\d+)\n', text)]
    assert statuses == [frame[name] for name in (
        'FINE', 'FINDINGS', 'FAILED', 'INTERNAL_ERROR')] + [130]
