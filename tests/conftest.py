# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

import functools
import subprocess

import pytest

import support


def pytest_configure(config):
    missing = support.missing_pythons()
    if missing and support.IN_CI:
        raise pytest.UsageError('Python %s is missing; install it with pyenv'
                                % ', '.join(missing))


def pytest_report_header(config):
    missing = support.missing_pythons()
    if missing:
        return 'not tested, since they are not here: Python ' + ', '.join(
            missing)
    return 'with Python ' + ', '.join(support.TARGET_PYTHONS)


@pytest.fixture(scope='session')
def make_installation(tmp_path_factory):
    """A function that installs for a version of Python, once for each."""
    @functools.lru_cache(maxsize=None)
    def make(version):
        return support.Installation(
            tmp_path_factory.mktemp('python' + version),
            support.find_python(version))
    return make


@pytest.fixture(params=support.available_pythons())
def installation(request, make_installation):
    """The installed files, for each Python that a release of EL has."""
    return make_installation(request.param)


@pytest.fixture
def newest_installation(make_installation):
    """The installed files, where the version of Python does not matter."""
    return make_installation(support.available_pythons()[-1])


STUB = """
Name: %(name)s
Version: %(version)s
Release: 1
Summary: A stand-in
License: GPL-2.0-or-later
BuildArch: noarch
AutoReq: no
%(provides)s
%%description
A stand-in.
%%install
%(install)s
%%files
%(files)s
"""


@pytest.fixture(scope='session')
def make_stub(tmp_path_factory):
    """
    A function that builds an RPM that stands for packages of EL, which are
    not here: it provides their names, and files made by the shell commands
    "install".
    """
    def make_stub(name, version='1', provides=(), install='', files=()):
        directory = tmp_path_factory.mktemp('stub')
        (directory / 'stub.spec').write_text(STUB % {
            'name': name, 'version': version, 'install': install,
            'provides': '\n'.join('Provides: ' + item for item in provides),
            'files': '\n'.join(files)})
        subprocess.run(['rpmbuild', '-bb', '--define',
                        '_topdir %s' % directory, 'stub.spec'],
                       cwd=directory, check=True, capture_output=True)
        path, = directory.glob('RPMS/noarch/*.rpm')
        return path
    return make_stub
