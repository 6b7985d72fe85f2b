# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""
The layers of oVirt Node 4.x: two roots, each with its /etc and /usr and its
own database of packages, and one /var/lib/selinux. What imgbased does to them
at an image update is done here as it does it (osupdater.py).
"""

from __future__ import annotations

import pathlib
import re
import subprocess
from typing import TYPE_CHECKING

import pytest
from test_life_cycle import (
    NAME,
    assert_installed,
    complaints,
    label_in_policy,
    modules,
)

from roots import Root
from support import EMULATOR, WRAPPER

if TYPE_CHECKING:
    from conftest import MakeRoot

FILE_CONTEXTS = '/etc/selinux/default/contexts/files/file_contexts'


class Layers:
    """The running layer "old", and the next one, "new"."""

    def __init__(self, make_root: MakeRoot, system_rpm: pathlib.Path) -> None:
        self.old = make_root()
        self.new = make_root(beside=self.old)
        for layer in (self.old, self.new):
            layer.dnf('install', system_rpm)
        self.old.outside('mount', '--bind', self.old.path / 'var/lib/selinux',
                         self.new.path / 'var/lib/selinux')

    def carry_over(self, package: pathlib.Path) -> str:
        """Install a persisted RPM into the new layer."""
        process = self.new.boot('dnf', '--assumeyes', '--noplugins',
                                '--disablerepo=*', 'install', package)
        return process.stdout + process.stderr


def relabel(layer: Root) -> None:
    """Relabel as imgbased does after it; here only where our files are."""
    # As a new layer comes: unlabelled, or with the label of the folder.
    layer.set_label(WRAPPER, 'bin_t')
    # -m: a kernel that does not run SELinux tells of no mount that it has
    # labels. A list of files: in an overlay they are on another device than
    # their folders, where setfiles would not follow.
    layer.outside('sh', '-ec', 'find "$0/usr/libexec" | '
                  'setfiles -F -m -r "$0" -f - "$0$1"', layer.path,
                  FILE_CONTEXTS)


@pytest.fixture
def layers(make_root: MakeRoot, system_rpm: pathlib.Path) -> Layers:
    return Layers(make_root, system_rpm)


def assert_labelled(layer: Root) -> None:
    relabel(layer)
    assert label_in_policy(layer, WRAPPER) == 'qemu_exec_t'
    assert layer.label(WRAPPER) == 'qemu_exec_t'
    # The link and the folder stay as their neighbours are.
    assert layer.label(EMULATOR) == 'bin_t'


def test_persisted_package_is_labelled_in_both_layers(
        layers: Layers, built_rpm: pathlib.Path) -> None:
    layers.old.dnf('install', built_rpm)
    # The store is shared, the policy that was built from it is not.
    assert 'tlsciphers' in modules(layers.new)
    assert label_in_policy(layers.new, EMULATOR) == 'bin_t'
    assert complaints(layers.carry_over(built_rpm)) == []
    for layer in (layers.old, layers.new):
        assert_installed(layer)
        assert_labelled(layer)


def test_rollback_after_a_removal_in_the_new_layer(
        layers: Layers, built_rpm: pathlib.Path) -> None:
    layers.old.dnf('install', built_rpm)
    layers.carry_over(built_rpm)
    layers.new.dnf('remove', NAME)
    # Back in the old layer: its own policy is as it was ...
    assert 'tlsciphers' not in modules(layers.old)
    assert label_in_policy(layers.old, EMULATOR) == 'qemu_exec_t'
    assert_labelled(layers.old)
    # ... until something there builds it anew, without our module.
    layers.old.run('semodule', '-n', '-s', 'default', '--build')
    assert label_in_policy(layers.old, EMULATOR) == 'bin_t'
    assert_labelled(layers.old)
    layers.old.dnf('reinstall', built_rpm)
    assert_installed(layers.old)


@pytest.mark.parametrize('old_has_it', [True, False])
def test_part_of_the_image_with_the_policy_of_the_old_layer(
        layers: Layers, built_rpm: pathlib.Path, old_has_it: bool) -> None:
    """imgbased copies the old layer's policy over the new one's on EL9."""
    if old_has_it:
        layers.old.dnf('install', built_rpm)
    # An image build: a chroot, where nothing of the host is to be touched.
    layers.new.dnf('install', built_rpm)
    layers.new.outside(
        'cp', '-a', '--no-target-directory',
        layers.old.path / 'etc/selinux', layers.new.path / 'etc/selinux')
    assert (label_in_policy(layers.new, EMULATOR) == 'qemu_exec_t'
            ) == old_has_it
    assert_labelled(layers.new)


def scriptlet(package: pathlib.Path, tag: str) -> str:
    return subprocess.run(
        ['rpm', '--query', '--package', '--queryformat', '%%{%s}' % tag,
         package], check=True, capture_output=True, text=True).stdout


@pytest.mark.parametrize('tag', ['POSTIN', 'POSTTRANS'])
def test_node_does_not_pick_our_scriptlets_to_run_again(
        built_rpm: pathlib.Path, tag: str) -> None:
    assert not re.search('restorecon|semodule|semanage|fixfiles|chcon',
                         scriptlet(built_rpm, tag))


def test_scriptlet_run_again_in_the_form_of_python_2(
        layers: Layers, built_rpm: pathlib.Path) -> None:
    layers.new.dnf('install', built_rpm)
    process = layers.old.outside(
        'nsenter', '--root=%s' % layers.new.path, '--wd=%s' % layers.new.path,
        'bash', '-c', scriptlet(built_rpm, 'POSTIN'), '--', '1')
    assert complaints(process.stdout + process.stderr) == []
    assert_installed(layers.new)
    assert_labelled(layers.new)


def test_scriptlet_run_again_in_the_form_of_python_3(
        layers: Layers, built_rpm: pathlib.Path) -> None:
    """Mangled into bytes objects: nothing of it runs on the running host."""
    layers.new.dnf('install', built_rpm)
    # Where imgbased has the new layer while the old one runs.
    layers.old.run('mkdir', '/new-layer')
    layers.old.outside('mount', '--rbind', layers.new.path,
                       layers.old.path / 'new-layer')
    upper = layers.old.path.parent / 'upper'
    before = layers.old.outside('find', upper).stdout
    lines = scriptlet(built_rpm, 'POSTIN').splitlines()
    mangled = ''.join('%r\n' % line.encode() for line in lines)
    layers.old.run('/bin/sh', '-c', "nsenter --root=/new-layer "
                   "--wd=/new-layer bash -c '%s' -- 1" % mangled, check=False)
    assert layers.old.outside('find', upper).stdout == before
    assert_installed(layers.new)
    assert_labelled(layers.new)
