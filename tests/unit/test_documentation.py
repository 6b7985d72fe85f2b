# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""What the documentation promises, and what is written down twice."""

from __future__ import annotations

import re
import string
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

import support
from support import GOOD_CIPHERS, SEED_CIPHERS

if TYPE_CHECKING:
    from conftest import Hook

README = (support.SOURCE / 'README.md').read_text()
LINE, = re.findall("UserDefinedVMProperties='(.*)' --cver", README)
# The engine's format: name=regex;name=regex.
DEFINITIONS = dict(pair.split('=', 1) for pair in LINE.split(';'))


@pytest.fixture(scope='module')
def module(make_installation: support.MakeInstallation) -> dict[str, Any]:
    return support.run_file(make_installation(
        support.available_pythons()[-1]).values_module)


@pytest.fixture(scope='module')
def wrapper(make_installation: support.MakeInstallation) -> dict[str, Any]:
    return support.run_file(make_installation(
        support.available_pythons()[-1]).wrapper_module)


def test_command_prints_the_lines_of_the_readme(
        newest_installation: support.Installation) -> None:
    printed = subprocess.run([newest_installation.command, 'engine-line',
                              '--cver', '4.7'],
                             capture_output=True, text=True, check=True)
    commands = [line for line in printed.stdout.splitlines()
                if not line.startswith('#')]
    assert ''.join('    %s\n' % line for line in commands) in README


def test_engine_defines_every_property(module: dict[str, Any]) -> None:
    assert tuple(DEFINITIONS) == module['PROPERTIES']


@pytest.mark.parametrize('name', ['tlsciphers', 'tlsgroups', 'tlspriority',
                                  'tlsprofile'])
def test_engine_permits_exactly_the_characters_of_the_hook(
        module: dict[str, Any], name: str) -> None:
    assert set(module['CHARACTERS'][name]) == {
        chr(code) for code in range(256)
        if re.match(DEFINITIONS[name], chr(code) + 'x')}


def test_engine_offers_exactly_the_protocols_of_the_hook(
        module: dict[str, Any]) -> None:
    assert DEFINITIONS['tlsprotocols'] == '^(%s)$' % '|'.join(
        module['PROTOCOLS'])


def test_hook_looks_for_the_properties_that_the_module_knows(
        newest_installation: support.Installation,
        module: dict[str, Any]) -> None:
    hook = support.run_file(newest_installation.hook)
    assert {name.decode() for name in hook['PROPERTIES']} == set(
        module['PROPERTIES'])
    assert hook['HOST_DEFAULT'] == support.run_file(
        newest_installation.config_module)['HOST_DEFAULT']


def test_vm_of_a_manual_installation_keeps_the_list_of_the_seed(
        wrapper: dict[str, Any]) -> None:
    assert wrapper['MANUAL_CIPHERS'] == SEED_CIPHERS


@pytest.mark.parametrize('name, value', [
    ('tlsciphers', GOOD_CIPHERS), ('tlsciphers', SEED_CIPHERS),
    ('tlsciphers', '-AES:HIGH'), ('tlsciphers', 'HIGH:!aNULL:@SECLEVEL=2'),
    ('tlsciphers', 'TLSv1.2'),
    ('tlsciphers', 'TLS_AES_256_GCM_SHA384:ECDHE+AESGCM'),
    ('tlsprotocols', 'TLSv1.2:TLSv1.3'), ('tlsgroups', 'X25519:P-256'),
    ('tlsgroups', 'X25519MLKEM768:ffdhe2048'),
    ('tlspriority', 'NORMAL:-VERS-ALL:+VERS-TLS1.3:%SERVER_PRECEDENCE'),
    ('tlspriority', '@SYSTEM:!3DES-CBC'), ('tlsprofile', 'modern'),
    ('tlsprofile', 'PCI_DSS-4.0')])
def test_engine_accepts_what_the_hook_accepts(name: str, value: str) -> None:
    assert re.match(DEFINITIONS[name], value)


@pytest.mark.parametrize('name', DEFINITIONS)
def test_definition_is_one_that_the_engine_can_hold(name: str) -> None:
    """Java and browsers read it."""
    assert re.match('[a-z_A-Z0-9]+$', name)
    assert set(DEFINITIONS[name]) <= set(string.ascii_letters + string.digits
                                         + '^[]()|$+-._=@!:%')
    # A regex of plain words becomes a list to choose from.
    assert DEFINITIONS[name].startswith('^(') == (name == 'tlsprotocols')


def test_profiles_fit_into_what_the_engine_and_spice_can_hold(
        newest_installation: support.Installation,
        module: dict[str, Any]) -> None:
    profiles = support.run_file(newest_installation.config_module)['PROFILES']
    for profile in profiles.values():
        assert tuple(sorted(profile)) == tuple(sorted(module['SETTINGS']))
        for name, value in profile.items():
            assert re.match(DEFINITIONS[name], value)


def documents() -> list[str]:
    """Return the paths (list) of all documents, relative to the source."""
    return sorted(
        str(path.relative_to(support.SOURCE)) for folder in ('.', 'docs')
        for path in (support.SOURCE / folder).glob('*.md'))


@pytest.mark.parametrize('name', documents())
def test_documents_and_sections_that_are_linked_exist(name: str) -> None:
    path = support.SOURCE / name
    for link, section in re.findall(r'\]\(([\w./-]*)(?:#([\w-]+))?\)',
                                    path.read_text()):
        target = path.parent / link if link else path
        assert target.exists(), link
        if section:
            # As GitHub makes an anchor of a heading.
            assert section in [
                re.sub(r'[^\w -]', '', heading).strip().lower().replace(
                    ' ', '-') for heading in re.findall(
                    '(?m)^#+ (.*)', target.read_text())], section


def test_readme_links_to_every_document() -> None:
    for name in documents():
        if name != 'README.md':
            assert '(%s)' % name in README, name


# The pages that hosts get, beside README.md, NEWS.md and SECURITY.md.
SHIPPED = ('auditing', 'installation', 'migration', 'policies',
           'troubleshooting')


@pytest.mark.parametrize('name', ['SECURITY.md', *(
    'docs/%s.md' % page for page in SHIPPED)])
def test_page_on_hosts_links_to_nothing_that_is_in_the_source_alone(
        name: str) -> None:
    path = support.SOURCE / name
    shipped = {support.SOURCE / other for other in (
        'README.md', 'NEWS.md', 'SECURITY.md', 'docs/tlsciphers.conf.example',
        *('docs/%s.md' % page for page in SHIPPED))}
    assert [link for link in re.findall(r'\]\(([\w./-]+)(?:#[\w-]+)?\)',
                                        path.read_text())
            if (path.parent / link).resolve() not in shipped] == []


@pytest.mark.parametrize('name', documents())
def test_text_of_a_document_is_wrapped(name: str) -> None:
    """At 100 columns; rows of tables, commands and output may be longer."""
    assert [line for line in (support.SOURCE / name).read_text().splitlines()
            if len(line) > 100
            and not line.lstrip().startswith(('|', '!['))
            and not line.startswith('    ')] == []


@pytest.mark.parametrize('name', documents())
def test_rows_of_a_table_are_lines(name: str) -> None:
    """Who wraps a page may join them."""
    assert [line for line in (support.SOURCE / name).read_text().splitlines()
            if ' | --- |' in line and not line.lstrip(' >').startswith(
                '| ---')] == []


def test_tests_that_the_threat_model_names_exist() -> None:
    text = (support.SOURCE / 'SECURITY.md').read_text()
    names = re.findall(r'`(?:(\w+/\w+\.py)(?:::(\w+))?|::(\w+))`', text)
    assert len(names) > 25
    for path, first, other in names:
        if path:
            tests = (support.TESTS / path).read_text()
        if first or other:
            assert 'def %s(' % (first or other) in tests


DEVELOPMENT = (support.SOURCE / 'docs/development.md').read_text()


@pytest.mark.parametrize('folder', ['hooks', 'wrapper'])
def test_tree_names_every_module_of_hook_and_wrapper(folder: str) -> None:
    row, = re.findall(r'(?m)^\| `%s/` \| (.*)' % folder, DEVELOPMENT)
    assert set(re.findall(r'`([\w-]+\.py)`', row)) == {
        path.name for path in (support.SOURCE / folder).glob('*.py')}


COMMAND = support.SOURCE / 'admin/vdsm_tlsciphers'


@pytest.mark.parametrize('folder', ['', *(sorted(
    path.parent.name for path in COMMAND.glob('*/__init__.py')))])
def test_tree_names_every_module_of_the_command(folder: str) -> None:
    row, = re.findall(r'(?m)^\| %s \| (.*)' % re.escape(
        '`%s/`' % folder if folder else '(top)'), DEVELOPMENT)
    assert set(re.findall(r'`(\w+)(?:\.pyi)?`', row)) == {
        path.stem for path in (COMMAND / folder).glob('*.py*')} - {'__init__'}


EXAMPLE = (support.SOURCE / 'docs/tlsciphers.conf.example').read_text()


@pytest.mark.parametrize('example', [
    re.sub(r'(?m)^#(\[|tls\w+ = )', r'\1', EXAMPLE),
    *re.findall(r'(?s)\n\[default\]\n.*?(?=\n\.Ed)', (
        support.SOURCE / 'man/vdsm-tlsciphers.conf.5').read_text())],
    ids=['of the file', 'of the man page'])
def test_example_of_the_hosts_default_is_a_good_one(newest_hook: Hook,
                                                    example: str) -> None:
    path = newest_hook.installation.host_default
    path.parent.mkdir(parents=True, exist_ok=True)
    xml = (support.DATA / 'domain-x86_64.xml').read_text()
    try:
        path.write_text(EXAMPLE)
        assert newest_hook.change(xml) == (xml, [])
        path.write_text(example)
        policy, log = newest_hook.policy(xml)
        assert not [line for line in log if ' gets ' not in line]
        assert set(policy) == {'ciphers?', 'ciphersuites?', 'protocols?',
                               'groups?', 'priority?'}
        policy, _ = newest_hook.policy(xml, tlsprofile='site-2026')
        assert set(policy) == {'ciphers', 'ciphersuites', 'protocols',
                               'groups', 'priority'}
    finally:
        path.unlink()


def test_commands_of_the_documentation_answer_as_it_says(
        newest_installation: support.Installation) -> None:
    """Those of the hook, which need no host."""
    text = (support.SOURCE / 'docs/policies.md').read_text()
    commands = re.findall(r'(?m)^    \$ (\w+)=(\S+) \S+/50_emulator --test\n'
                          r'((?:    [^$\n].*\n)*)', text)
    assert len(commands) == 2
    for name, value, answer in commands:
        process = subprocess.run(
            [newest_installation.hook, '--test'], env={name: value},
            capture_output=True, text=True)
        assert process.returncode == (1 if answer else 0)
        assert process.stderr == re.sub('(?m)^    ', '', answer)
