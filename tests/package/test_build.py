# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""The build system, run as a packager runs it."""

from __future__ import annotations

import bz2
import contextlib
import os
import pathlib
import re
import subprocess
import tempfile
import zipfile
from typing import TYPE_CHECKING

import pytest

import builds
import servers
import support

if TYPE_CHECKING:
    from conftest import MakeBuild

SPEC = 'vdsm-hook-tlsciphers.spec'


def installed_files(root: pathlib.Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.rglob('*')
                  if path.is_symlink() or path.is_file())


def test_install_and_uninstall_are_complete(make_build: MakeBuild,
                                            tmp_path: pathlib.Path) -> None:
    build = make_build('--prefix=/usr')
    root = tmp_path / 'root'
    printed = build.run('make', 'install', 'DESTDIR=%s' % root)
    assert 'not compiled' not in printed
    assert installed_files(root) == sorted([
        'usr/bin/vdsm-tlsciphers',
        'usr/libexec/qemu-kvm-modified',
        *(path[1:] for path in (support.INCOMING, *support.ARRIVAL_HOOKS)),
        'usr/libexec/vdsm/hooks/before_vm_start/50_emulator',
        'usr/libexec/vdsm/hooks/qemu-kvm-wrapper/qemu-kvm-modified',
        'usr/share/bash-completion/completions/vdsm-tlsciphers',
        'usr/share/man/man5/vdsm-tlsciphers.conf.5',
        'usr/share/man/man8/tlsciphers_selinux.8',
        'usr/share/man/man8/vdsm-tlsciphers.8',
        'usr/share/selinux/packages/tlsciphers.pp.bz2',
        'usr/share/vdsm-hook-tlsciphers/scriptlet',
        *('usr/share/vdsm-hook-tlsciphers/' + name
          for name in builds.shared_files() if '.' in name),
        'usr/share/zsh/site-functions/_vdsm-tlsciphers'])
    hooks = root / 'usr/libexec/vdsm/hooks'
    assert os.readlink(hooks / 'qemu-kvm-wrapper/qemu-kvm-modified') == (
        '../../../qemu-kvm-modified')
    build.run('make', 'uninstall', 'DESTDIR=%s' % root)
    assert installed_files(root) == []
    assert not (hooks / 'qemu-kvm-wrapper').exists()


def test_what_configure_is_told_arrives_in_the_files(
        make_build: MakeBuild, tmp_path: pathlib.Path) -> None:
    build = make_build(
        '--prefix=/opt/a_b', '--with-qemu-kvm=/opt/qemu',
        '--with-vdsm-hooksdir=/srv/hooks', '--with-openssl=/opt/openssl',
        '--with-gnutls-cli=/opt/gnutls', '--with-openssl-conf=/opt/conf',
        '--with-python=/opt/python')
    root = tmp_path / 'root'
    build.run('make', 'install', 'DESTDIR=%s' % root)
    hook = (root / 'srv/hooks/before_vm_start/50_emulator').read_text()
    wrapper = (root / 'opt/a_b/libexec/qemu-kvm-modified').read_text()
    share = root / 'opt/a_b/share'
    modules = {
        name: (share / 'vdsm-hook-tlsciphers' / (name + '.py')).read_text()
        for name in builds.MODULES}
    assert hook.startswith('#!/opt/python -Ss\n')
    assert wrapper.startswith('#!/opt/python -ESs\n')
    assert "QEMU_KVM = '/opt/qemu'" in wrapper
    assert "QEMU_KVM = '/opt/qemu'" in modules['tlsciphers_host']
    values = modules['tlsciphers_values']
    assert "\nOPENSSL = '/opt/openssl'" in values
    assert "\nGNUTLS_CLI = '/opt/gnutls'" in values
    assert "OPENSSL_CONF = '/opt/conf'" in modules['tlsciphers_wrapper']
    for text in hook, wrapper:
        assert "PKGDATADIR = '/opt/a_b/share/vdsm-hook-tlsciphers'" in text
    for text in hook, modules['tlsciphers_config']:
        assert "HOST_DEFAULT = '/etc/vdsm/tlsciphers.conf'" in text
    assert ("EMULATOR = '/srv/hooks/qemu-kvm-wrapper/qemu-kvm-modified'"
            in modules['tlsciphers_host'])
    package = bz2.decompress(
        (share / 'selinux/packages/tlsciphers.pp.bz2').read_bytes())
    for path in (b'/opt/a_b/libexec/qemu-kvm-modified',
                 b'/srv/hooks/qemu-kvm-wrapper/qemu-kvm-modified'):
        assert re.search(re.escape(path) + rb'\s+--\s+system_u:object_r:'
                         rb'qemu_exec_t:s0\n', package)


def test_summary_shows_what_was_chosen_and_found(
        make_build: MakeBuild) -> None:
    build = make_build()
    summary = build.run('./configure', '--with-qemu-kvm=/nonexistent/qemu')
    assert '/nonexistent/qemu (not on this machine)' in summary
    assert re.search(r'openssl +/usr/bin/openssl \(found\)', summary)
    assert '/usr/local/libexec/vdsm/hooks\n' in summary
    assert re.search(r'interpreter +/usr/bin/python3 \(found\)', summary)


def test_help_names_what_can_be_made(built: builds.Build) -> None:
    makefile = (built.source / 'Makefile.am').read_text()
    targets, = re.findall(r'(?s)\n\.PHONY: (.*)', makefile)
    text = built.run('make', 'help')
    assert [target for target in targets.replace('\\\n', ' ').split()
            if target not in text] == ['help']


def test_install_says_where_it_does_not_compile(
        make_build: MakeBuild, tmp_path: pathlib.Path) -> None:
    build = make_build('--with-python=/nonexistent/python')
    printed = build.run('make', 'install', 'DESTDIR=%s' % (tmp_path / 'root'))
    assert 'not compiled: /nonexistent/python' in printed
    assert list(tmp_path.rglob('root/**/*.pyc')) == []


def test_relative_path_is_refused(built: builds.Build) -> None:
    process = subprocess.run(['./configure', '--with-qemu-kvm=qemu-kvm'],
                             cwd=built.source, capture_output=True, text=True)
    assert process.returncode != 0
    assert 'needs an absolute path, not "qemu-kvm"' in process.stderr


def test_version_is_that_of_the_spec(make_build: MakeBuild) -> None:
    build = make_build()
    spec = build.source / SPEC
    version, = re.findall(r'(?m)^Version: +(.*)', spec.read_text())
    assert version in build.run('./configure', '--version')
    spec.write_text(spec.read_text().replace(version, '12.34'))
    build.run('make', 'dist')
    assert (build.source / 'vdsm-hook-tlsciphers-12.34.tar.gz').exists()


def test_a_name_without_a_value_is_no_result(tmp_path: pathlib.Path) -> None:
    source = tmp_path / 'source'
    source.write_text('#!@PYTHON@ @NOSUCH@\n')
    with pytest.raises(subprocess.CalledProcessError) as failure:
        support.substitute(source, {'PYTHON': '/x'})
    assert failure.value.stdout == b''
    assert b'@NOSUCH@' in failure.value.stderr


def test_values_are_taken_literally(tmp_path: pathlib.Path) -> None:
    source = tmp_path / 'source'
    source.write_text('a @PYTHON@ b\n\n')
    assert support.substitute(source, {'PYTHON': r'/x|y&z\1'}) == (
        b'a /x|y&z\\1 b\n\n')


def test_command_is_also_one_file_for_machines_that_are_no_hosts(
        make_build: MakeBuild, tmp_path: pathlib.Path) -> None:
    build = make_build()
    build.run('make', 'pyz')
    program = build.source / 'admin/vdsm-tlsciphers.pyz'
    program.rename(tmp_path / 'program')
    build.run('make', 'clean')
    process = subprocess.run([tmp_path / 'program', 'check', 'AES256-SHA,x'],
                             capture_output=True, text=True, cwd='/')
    assert process.returncode == 1
    assert 'tlsciphers: a comma is not allowed' in process.stdout
    assert not (build.source / 'admin/pyz').exists()


def pythons_of_desks() -> list[str]:
    """Return those of the command, and a newer one where it is here."""
    versions = [version for version in support.available_pythons()
                if version != '2.7']
    with contextlib.suppress(LookupError):
        support.find_python('3.13')
        versions.append('3.13')
    return versions


@pytest.mark.parametrize('version', pythons_of_desks())
def test_one_file_runs_on_each_python(
        built: builds.Build, tmp_path: pathlib.Path, version: str) -> None:
    """As a user who is not root, without vdsm, libvirt and the SDK."""
    python = support.find_python(version)
    program = built.source / 'admin/vdsm-tlsciphers.pyz'
    desk = ['setpriv', '--reuid=65534', '--regid=65534', '--clear-groups',
            # What is tested is where root alone may read.
            '--inh-caps=+dac_read_search', '--ambient-caps=+dac_read_search',
            python, program]

    def run(*arguments: object, status: int = 0) -> str:
        process = subprocess.run(
            [*map(str, [*desk, *arguments])], capture_output=True, text=True,
            cwd='/', env={'PATH': '/usr/bin:/bin', 'TMPDIR': '/tmp'})
        assert process.returncode == status, process.stderr
        return process.stdout or process.stderr

    assert 'TLSv1.3' in run('check', 'tlsprofile=modern')
    assert "UserDefinedVMProperties='tlsprofile=" in run(
        'engine-line', '--properties', 'tlsprofile')
    certificate = servers.make_certificate(tmp_path, 'console')
    scan = tmp_path / 'scan.json'
    with servers.openssl(certificate, '-tls1_3') as port:
        scan.write_text(run('scan', '--baseline', 'none', '--json',
                            '127.0.0.1:%d' % port))
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o777)
        page = folder + '/report.html'
        assert page in run('report', '--baseline', 'none', '--html', page,
                           scan)
        assert '1 of 1 console passed' in pathlib.Path(page).read_text()
    for command, code in (('doctor', 'no-host'), ('status', 'not-root'),
                          ('scan', 'no-libvirt-module'),
                          (('scan', '--engine', 'engine'), 'no-sdk'),
                          (('check', '--running'), 'no-libvirt-module')):
        line, = run(*([command] if isinstance(command, str) else command),
                    status=2).splitlines()
        assert line.endswith(' [%s]' % code)


def test_one_file_needs_no_tools_of_a_packager(tmp_path: pathlib.Path) -> None:
    """A desk has no SELinux policy to compile."""
    tools = tmp_path / 'bin'
    tools.mkdir()
    for path in pathlib.Path('/usr/bin').iterdir():
        if path.name not in ('checkmodule', 'semodule_package', 'rpmbuild'):
            (tools / path.name).symlink_to(path)
    build = builds.Build(builds.copy(tmp_path))
    environment = {**os.environ, 'PATH': str(tools)}
    for name in 'CHECKMODULE', 'SEMODULE_PACKAGE':
        environment.pop(name, None)
    if not (build.source / 'configure').exists():
        build.run('./autogen.sh', env=environment)
    build.run('./configure', env=environment)
    build.run('make', 'pyz', env=environment)
    assert (build.source / 'admin/vdsm-tlsciphers.pyz').exists()
    # All of it needs them, and says so.
    process = subprocess.run(['make'], cwd=build.source, env=environment,
                             capture_output=True, text=True)
    assert process.returncode != 0
    assert 'missing-checkmodule' in process.stderr


def test_one_file_holds_its_schemas_and_is_reproducible(
        built: builds.Build, make_build: MakeBuild) -> None:
    program = built.source / 'admin/vdsm-tlsciphers.pyz'
    with zipfile.ZipFile(program) as archive:
        assert archive.read('schemas/scan.schema.json') == (
            support.SOURCE / 'admin/schemas/scan.schema.json').read_bytes()
    other = make_build()
    other.run('make', 'pyz')
    assert (other.source / 'admin/vdsm-tlsciphers.pyz').read_bytes() == (
        program.read_bytes())


@pytest.mark.parametrize('options, hooks', [
    ((), '/usr/libexec/vdsm/hooks'),
    (('--prefix=/opt/a_b',), '/opt/a_b/libexec/vdsm/hooks'),
    (('--with-vdsm-hooksdir=/srv/hooks',), '/srv/hooks')])
def test_one_file_looks_for_a_host_where_the_rpm_has_it(
        make_build: MakeBuild, options: tuple[str, ...], hooks: str) -> None:
    build = make_build(*options)
    build.run('make')
    build.run('make', 'pyz')
    process = subprocess.run(
        [build.source / 'admin/vdsm-tlsciphers.pyz', 'doctor'],
        capture_output=True, text=True, cwd='/')
    # This machine is no host.
    assert ': %s does not exist; ' % hooks in process.stderr
    assert '/usr/local/' not in process.stderr
    # What "make install" installs is not touched by it.
    built = build.source / 'admin/built/vdsm_tlsciphers/host/finding.py'
    assert build.run('make', '-n', 'all').count('GEN') == 0
    assert ("'/usr/local/" in built.read_text()) == (
        '--prefix=/opt/a_b' not in options)


def test_lab_takes_one_rpm(tmp_path: pathlib.Path) -> None:
    """As where RPMS/noarch/*.rpm matches those of several releases."""
    rpms = [tmp_path / name for name in ('a.el8.rpm', 'a.el9.rpm')]
    for path in rpms:
        path.touch()
    process = subprocess.run([support.TESTS / 'lab', *rpms, 'true'],
                             capture_output=True, text=True)
    assert process.returncode == 1
    assert process.stderr.startswith('lab: give one RPM: ')
