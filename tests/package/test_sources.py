# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""What every file of the project must have."""

import pytest

HEADER = ('SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors',
          'SPDX-License-Identifier: GPL-2.0-or-later')


GENERATED = {'configure', 'aclocal.m4', 'Makefile.in', 'install-sh',
             'missing'}


@pytest.fixture
def distribution(make_build):
    build = make_build()
    build.run('make', 'distdir')
    directory, = build.source.glob('vdsm-hook-tlsciphers-*')
    return directory


def test_every_file_names_its_licence(distribution):
    bare = []
    for path in distribution.rglob('*'):
        if path.is_dir() or path.name in GENERATED | {'COPYING'}:
            continue
        aside = path.with_name(path.name + '.license')
        head = (aside if aside.exists() else path).read_text()[:400]
        if not all(line in head for line in HEADER):
            bare.append(str(path.relative_to(distribution)))
    assert bare == []
