# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""
The guard: the CPU feature vdsm-tls, which the engine writes for +vdsm-tls in
extra_cpu_flags, and which the hook, run as vdsm runs it, takes out of the XML
of a VM whose consoles all have a policy of the VM's own.
"""

from __future__ import annotations

import re
import subprocess
from typing import TYPE_CHECKING
from xml.etree import ElementTree
from xml.sax import saxutils

import pytest

import support

if TYPE_CHECKING:
    from conftest import Hook, WriteDefault

X86 = (support.DATA / 'domain-x86_64.xml').read_text()
SPICE = X86.replace('type="vnc"', 'type="sdl"')
VNC = X86.replace('type="spice"', 'type="egl-headless"')
HEADLESS = VNC.replace('type="vnc"', 'type="desktop"')
PPC = (support.DATA / 'domain-ppc64le.xml').read_text().replace(
    '<devices>', '<cpu mode="host-model"><model>power9</model></cpu><devices>')
FEATURE = '<feature name="vdsm-tls" policy="require"/>'
GUARD = '+vdsm-tls'
MODERN = {'tlsprofile': 'modern'}
PRIORITY = {'tlspriority': 'NORMAL:-VERS-ALL:+VERS-TLS1.3'}
CIPHERS = {'tlsciphers': support.GOOD_CIPHERS}
QEMU_ARGUMENTS = (
    '<qemu:commandline '
    'xmlns:qemu="http://libvirt.org/schemas/domain/qemu/1.0">'
    '%s</qemu:commandline></domain>')


def guarded(xml: str, features: str = FEATURE) -> str:
    """Return a domain XML with features as the engine writes them."""
    return re.sub('(</model>)', r'\1' + features, xml, count=1) if (
        '</model>' in xml.partition('</cpu>')[0]) else xml.replace(
            '</cpu>', features + '</cpu>', 1)


@pytest.mark.parametrize('features, rest', [
    (FEATURE, ''),
    ('<feature name="vdsm-tls"/>', ''),
    ("<feature policy = 'require'\n name='vdsm-tls' ></feature>", ''),
    ('<feature name="vdsm-&#116;ls"/>', ''),
    ('<feature xmlns:q="urn:q" q:name="vdsm-tls"/>', ''),
    ('<feature name="vdsm-tls"><!-- a --> b <c/></feature>', ''),
    (FEATURE + FEATURE, ''),
    ('<feature name="vmx" policy="require"/>%s<!--a-->'
     '<feature name="svm" policy="disable"/><feature name="pcid"/>%s'
     % (FEATURE, FEATURE),
     '<feature name="vmx" policy="require"/><!--a-->'
     '<feature name="svm" policy="disable"/><feature name="pcid"/>'),
])
def test_guard_is_taken_out_and_nothing_else(
        hook: Hook, features: str, rest: str) -> None:
    changed, _ = hook.change(guarded(X86, features), extra_cpu_flags=GUARD,
                             **MODERN)
    assert changed == hook.change(guarded(X86, rest), **MODERN)[0]
    # On its own output it changes nothing, and has no more to say.
    again, log = hook.change(changed, extra_cpu_flags=GUARD, **MODERN)
    assert again == changed
    assert not [line for line in log if '[guard-' in line]


@pytest.mark.parametrize('xml', [
    X86.replace('<model>Nehalem</model>', ''),
    re.sub('(?s)<cpu .*?</cpu>', '<cpu></cpu>', X86),
    X86.replace('</cpu>', '</cpu><cpu></cpu>'),
    X86.replace('match="exact"', 'mode="host-passthrough"')])
def test_cpu_element_stays(hook: Hook, xml: str) -> None:
    changed, _ = hook.change(guarded(xml), extra_cpu_flags=GUARD, **MODERN)
    assert changed == hook.change(xml, **MODERN)[0]
    assert '<cpu' in changed


@pytest.mark.parametrize('xml', [
    X86.replace('</cpu>', '</cpu>' + FEATURE),
    X86.replace('</cpu>', '<numa>%s</numa></cpu>' % FEATURE),
    X86.replace('</metadata>', '<cpu>%s</cpu></metadata>' % FEATURE),
    guarded(X86, FEATURE.replace('-tls', '-tls2')),
    guarded(X86, FEATURE.replace('vdsm', 'VDSM')),
    guarded(X86, FEATURE.replace('feature', 'q:feature xmlns:q="urn:q"'))])
def test_what_only_looks_like_the_guard_stays(newest_hook: Hook,
                                              xml: str) -> None:
    assert newest_hook.change(xml, extra_cpu_flags=GUARD)[0] == xml


@pytest.mark.parametrize('flags', [
    'vdsm-tls', '+vdsm-tls', '+vmx,+vdsm-tls', 'vdsm-tls,-svm', 'a,vdsm-tls,b',
    '-vdsm-tls'])
def test_guard_among_other_flags_is_seen(hook: Hook, flags: str) -> None:
    assert hook.refusal(guarded(X86), extra_cpu_flags=flags).endswith(
        ' [guard-uncovered]')


@pytest.mark.parametrize('flags', [
    '', '+vmx', 'vdsm-tls2', '+xvdsm-tls', '++vdsm-tls', '+vdsm-tls-', '+-',
    'vdsm+tls', 'vdsm,tls'])
def test_vm_with_other_flags_pays_nothing(hook: Hook, flags: str) -> None:
    process = hook.run('', extra_cpu_flags=flags, environment={
        '_hook_domxml': '/nonexistent', 'PYTHONPATH': '/nonexistent'})
    assert (process.returncode, process.stdout, process.stderr) == (0, '', '')


@pytest.mark.parametrize('xml, properties', [
    (X86, MODERN), (X86, {**CIPHERS, **PRIORITY}),
    (X86, {**PRIORITY, 'tlsgroups': 'X25519'}), (SPICE, CIPHERS),
    (VNC, PRIORITY), (VNC, {'tlsprofile': 'none', **PRIORITY}), (PPC, CIPHERS),
    (HEADLESS, {}), (HEADLESS, MODERN),
    (SPICE, {'tlsprotocols': 'TLSv1.3'})])
def test_vm_with_a_policy_on_each_console_starts(
        hook: Hook, xml: str, properties: dict[str, str]) -> None:
    changed, _ = hook.change(guarded(xml), extra_cpu_flags=GUARD, **properties)
    # Where there is no policy, nothing is written without the guard.
    assert ElementTree.canonicalize(changed) == ElementTree.canonicalize(
        hook.change(xml, **properties)[0])


@pytest.mark.parametrize('xml, properties, consoles', [
    (X86, {}, 'SPICE and VNC consoles'), (X86, CIPHERS, 'VNC console'),
    (X86, PRIORITY, 'SPICE console'), (VNC, CIPHERS, 'VNC console'),
    (X86, {'tlsprofile': 'none'}, 'SPICE and VNC consoles'),
    (X86, {'tlsprofile': 'none', **CIPHERS}, 'VNC console'),
    (SPICE, {}, 'SPICE console'), (PPC, PRIORITY, 'SPICE console'),
    (VNC.replace('</graphics>', '<listen type="none"/></graphics>'), {},
     'VNC console')])
@pytest.mark.parametrize('default', ['', '[default]\ntlsprofile = modern\n'])
def test_console_without_a_policy_of_the_vm_is_refused(
        newest_hook: Hook, xml: str, properties: dict[str, str],
        consoles: str, default: str,
        newest_host_default: WriteDefault) -> None:
    if default:
        newest_host_default(default)
    line = newest_hook.refusal(guarded(xml), extra_cpu_flags=GUARD,
                               **properties)
    assert line.endswith(' [guard-uncovered]')
    assert ' %s (' % consoles in line


def test_guard_is_seen_where_only_the_default_of_the_host_has_to_do(
        newest_hook: Hook, newest_host_default: WriteDefault) -> None:
    """Then nobody told the hook of the guard, but it reads the XML."""
    newest_host_default('[default]\ntlsprofile = modern\n')
    assert '[guard-uncovered]' in newest_hook.refusal(guarded(X86))
    assert FEATURE not in newest_hook.change(guarded(HEADLESS))[0]


def with_arguments(*arguments: str) -> str:
    return guarded(HEADLESS).replace('</domain>', QEMU_ARGUMENTS % ''.join(
        '<qemu:arg value=%s/>' % saxutils.quoteattr(argument)
        for argument in arguments))


@pytest.mark.parametrize('argument, value', [
    ('-vnc', ':9'), ('--vnc', ':9'), ('-display', 'vnc=:9'),
    # Without another display QEMU may open VNC by itself.
    ('-display', 'default'), ('-display', 'default,show-cursor=on')])
def test_console_that_another_hook_adds_is_refused(
        newest_hook: Hook, argument: str, value: str) -> None:
    xml = with_arguments(argument, value)
    assert '[guard-uncovered]' in newest_hook.refusal(
        xml, extra_cpu_flags=GUARD, **CIPHERS)
    newest_hook.change(xml, extra_cpu_flags=GUARD, **MODERN)


@pytest.mark.parametrize('argument, value', [
    ('-spice', 'port=1'), ('-display', 'spice-app'),
    ('--display', 'type=spice-app,gl=on')])
def test_spice_that_another_hook_adds_is_refused(
        newest_hook: Hook, argument: str, value: str) -> None:
    assert '[guard-uncovered]' in newest_hook.refusal(
        with_arguments(argument, value), extra_cpu_flags=GUARD, **PRIORITY)


@pytest.mark.parametrize('argument, value', [
    ('-display', 'dbus,p2p=on'), ('-display', '{"type":"dbus"}'),
    ('-display', '{"type":"none"}'), ('--readconfig', '/x'),
    ('-readconfig', 'vnc')])
def test_argument_that_hides_consoles_is_refused(
        newest_hook: Hook, argument: str, value: str) -> None:
    assert newest_hook.refusal(
        with_arguments(argument, value), extra_cpu_flags=GUARD,
        **MODERN).endswith(' [guard-other-console]')


@pytest.mark.parametrize('arguments', [
    ('-display', 'none'), ('-display', 'egl-headless,rendernode=/dev/x'),
    ('-vnc', 'none'), ('-name', 'vnc'), ('-device', 'VGA')])
def test_argument_without_a_console_is_no_matter(
        newest_hook: Hook, arguments: tuple[str, ...]) -> None:
    newest_hook.change(with_arguments(*arguments), extra_cpu_flags=GUARD)


@pytest.mark.parametrize('kind', ['rdp', 'dbus', 'x', ''])
def test_console_that_no_policy_can_cover_is_refused(newest_hook: Hook,
                                                     kind: str) -> None:
    xml = X86.replace('type="vnc"', 'type="%s"' % kind)
    assert newest_hook.refusal(
        guarded(xml), extra_cpu_flags=GUARD, **MODERN).endswith(
            ' [guard-other-console]')
    newest_hook.change(xml, extra_cpu_flags=GUARD, **MODERN)


@pytest.mark.parametrize('policy', [
    'disable', 'optional', 'force', 'forbid', '', 'Require', 'require '])
def test_guard_that_guards_nothing_is_refused(newest_hook: Hook,
                                              policy: str) -> None:
    xml = guarded(X86, FEATURE.replace('require', policy))
    assert newest_hook.refusal(
        xml, extra_cpu_flags='-vdsm-tls', **MODERN).endswith(' [guard-policy]')


def test_value_that_is_refused_leaves_the_guard_in(hook: Hook) -> None:
    assert '[guard' not in hook.refusal(
        guarded(X86), extra_cpu_flags=GUARD, tlsciphers='NOSUCH')


def test_guard_without_its_feature_is_only_named(newest_hook: Hook) -> None:
    changed, log = newest_hook.change(X86, extra_cpu_flags=GUARD)
    assert changed == X86
    assert [line for line in log if line.endswith(' [guard-missing]')] == log


def test_resume_of_a_vm_with_a_guard_is_never_refused(hook: Hook) -> None:
    changed, log = hook.change(guarded(X86), start=False,
                               extra_cpu_flags=GUARD)
    assert changed == guarded(X86)
    assert support.codes_of(
        line for line in log if ' (not refused: ' in line) == [
            'guard-uncovered']


def test_without_hooking_a_vm_with_a_guard_does_not_start(hook: Hook) -> None:
    process = hook.run(X86, extra_cpu_flags=GUARD,
                       environment={'PYTHONPATH': '/nonexistent'})
    assert process.returncode == 2
    assert process.stderr.endswith(' [no-hooking]\n')


def test_damaged_package_does_not_start_a_vm_with_a_guard(
        hook: Hook) -> None:
    module = hook.installation.hook_module
    module.rename(module.with_suffix('.away'))
    try:
        assert 'dnf reinstall' in hook.refusal(
            guarded(X86), extra_cpu_flags=GUARD)
        hook.change(X86, extra_cpu_flags='+vmx')
    finally:
        module.with_suffix('.away').rename(module)


@pytest.mark.parametrize('name', ['hook_module', 'module', 'domain_module',
                                  'values_module'])
@pytest.mark.parametrize('content', ['', 'x = (', 'raise ValueError\n'])
def test_module_without_what_it_had_is_a_damaged_package(
        hook: Hook, name: str, content: str) -> None:
    module = getattr(hook.installation, name)
    away = module.rename(module.with_suffix('.away'))
    module.write_text(content)
    try:
        line = hook.refusal(guarded(X86), extra_cpu_flags=GUARD)
    finally:
        away.replace(module)
    assert support.code_of(line) == 'package-damaged'


def test_policy_of_another_hook_keeps_no_vm_without_a_console_from_starting(
        newest_hook: Hook) -> None:
    xml = guarded(HEADLESS).replace(
        '</domain>', '<q:commandline xmlns:q="http://libvirt.org/schemas/'
        'domain/qemu/1.0"><q:arg value="-vdsm-tls"/><q:arg '
        'value="groups=P-256"/></q:commandline></domain>')
    changed, _ = newest_hook.change(xml, extra_cpu_flags=GUARD)
    assert 'feature name="vdsm-tls"' not in changed
    assert changed.count('vdsm-tls') == 1


@pytest.mark.parametrize('name', [
    'module', 'config_module', 'domain_module', 'hook_module', 'host_module',
    'values_module'])
def test_module_that_was_cut_off_sets_and_removes_nothing(
        hook: Hook, name: str) -> None:
    module = getattr(hook.installation, name)
    text = module.read_text()
    whole = text.splitlines(keepends=True)
    assert whole[-1] == 'COMPLETE = True\n'
    module.write_text(''.join(whole[:-1]))
    try:
        line = hook.refusal(guarded(X86), extra_cpu_flags=GUARD, **MODERN)
        # Nothing that is only the host's default keeps a VM from starting.
        hook.installation.host_default.parent.mkdir(parents=True,
                                                    exist_ok=True)
        hook.installation.host_default.write_text(
            '[default]\ntlsprofile = modern\n')
        changed, log = hook.change(X86)
    finally:
        module.write_text(text)
        hook.installation.host_default.unlink(missing_ok=True)
    assert support.code_of(line) == 'package-damaged'
    assert changed == X86
    assert support.codes_of(log) == ['package-damaged']


@pytest.mark.parametrize('environment, code', [
    ({'extra_cpu_flags': '-vdsm-tls', **MODERN}, 'guard-policy'),
    ({'extra_cpu_flags': GUARD}, 'guard-uncovered'),
    ({'extra_cpu_flags': '+vmx,' + GUARD, **CIPHERS}, 'guard-uncovered')])
def test_test_refuses_a_guard_as_a_start_would(
        hook: Hook, environment: dict[str, str], code: str) -> None:
    process = subprocess.run([hook.installation.hook, '--test'],
                             env=environment, capture_output=True, text=True)
    assert (process.returncode, process.stdout) == (1, '')
    assert process.stderr.endswith(' [%s]\n' % code)


@pytest.mark.parametrize('flags', [GUARD, 'vdsm-tls', '+vmx,+vdsm-tls'])
def test_test_shows_how_the_guard_is_taken_out(
        hook: Hook, flags: str) -> None:
    process = subprocess.run(
        [hook.installation.hook, '--test'], capture_output=True, text=True,
        env={'extra_cpu_flags': flags, **MODERN})
    assert process.returncode == 0, process.stderr
    before, _, after = process.stdout.partition('After:')
    assert '<feature name="vdsm-tls"' in before
    assert '<feature' not in after
    assert '[guard-' not in after


def helped_without_a_console() -> list[str]:
    """Return the codes for which the page recommends Headless Mode."""
    page = (support.SOURCE / 'docs/troubleshooting.md').read_text()
    section = page.partition('\n#### Without a console, once\n')[2]
    return re.findall(r'`\[([\w-]+)\]`', section.partition('\n#### ')[0])


@pytest.mark.parametrize('properties, default, code', [
    ({'tlsprofile': 'x'}, '', 'unknown-profile'),
    ({'tlsprofile': 'x'}, '[profile x]\n', 'empty-profile'),
    ({'tlsciphers': 'a,b'}, '', 'character'),
    ({'tlsciphers': ''}, '', 'empty-value'),
    ({'tlsprotocols': 'TLSv1.1'}, '', 'unknown-protocols'),
    ({'extra_cpu_flags': '-vdsm-tls', **MODERN}, '', 'guard-policy'),
    ({}, 'nonsense', 'host-file')])
def test_page_promises_no_start_without_a_console(
        newest_hook: Hook, properties: dict[str, str], default: str,
        code: str) -> None:
    properties = {'extra_cpu_flags': GUARD, **properties}
    path = newest_hook.installation.host_default
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(default)
    try:
        refusal = newest_hook.refusal(guarded(HEADLESS, FEATURE.replace(
            'require', 'disable' if '-vdsm-tls' in properties[
                'extra_cpu_flags'].split(',') else 'require')), **properties)
    finally:
        path.unlink()
    assert '[%s]' % code in refusal
    assert code not in helped_without_a_console()


@pytest.mark.parametrize('properties, code', [
    ({}, 'guard-uncovered'), ({'tlsciphers': 'FOO'}, 'no-suite'),
    ({'tlsgroups': 'FOO'}, 'unknown-group'),
    ({'tlspriority': 'NORMAL:+FOO'}, 'priority-refused')])
def test_without_a_console_a_value_that_is_unknown_here_does_no_harm(
        newest_hook: Hook, properties: dict[str, str], code: str) -> None:
    assert code in helped_without_a_console()
    changed, _ = newest_hook.change(guarded(HEADLESS), extra_cpu_flags=GUARD,
                                    **properties)
    assert 'feature name="vdsm-tls"' not in changed


def test_profile_that_is_built_in_starts_a_vm_where_the_file_is_broken(
        newest_hook: Hook) -> None:
    path = newest_hook.installation.host_default
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text('nonsense')
    try:
        changed, _ = newest_hook.change(guarded(X86), extra_cpu_flags=GUARD,
                                        tlsprofile='intermediate')
        newest_hook.refusal(guarded(X86), extra_cpu_flags=GUARD,
                            tlsprofile='none')
    finally:
        path.unlink()
    assert 'feature name="vdsm-tls"' not in changed
    rows = [row for row in (
        support.SOURCE / 'docs/troubleshooting.md').read_text().splitlines()
        if row.startswith('| `host-file`')]
    assert len(rows) == 2
    for row in rows:
        assert 'intermediate' in row
        assert 'none' not in row


def test_damaged_module_keeps_no_vm_without_properties_from_starting(
        hook: Hook) -> None:
    """A host's default is best effort."""
    path = hook.installation.host_default
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text('[default]\ntlsprofile = modern\n')
    module = hook.installation.module
    text = module.read_bytes()
    module.write_text('')
    try:
        changed, log = hook.change(X86)
        assert changed == X86
        assert support.codes_of(log) == ['package-damaged']
        assert support.code_of(hook.refusal(X86, **MODERN)) == (
            'package-damaged')
    finally:
        module.write_bytes(text)
        path.unlink()
