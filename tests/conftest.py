# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

import functools

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
