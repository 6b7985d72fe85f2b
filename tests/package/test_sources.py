# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""What every file of the project must have."""

import pathlib
import subprocess
import sys

import builds


def test_every_file_names_its_copyright_and_its_licence(
        tmp_path: pathlib.Path) -> None:
    """REUSE: https://reuse.software. What is built here is left out."""
    source = builds.copy(tmp_path)
    # So that it knows from .gitignore what is built.
    for command in ['init', '--quiet'], ['add', '--all']:
        subprocess.run(['git', *command], cwd=source, check=True)
    lint = subprocess.run([sys.executable, '-m', 'reuse', 'lint', '--lines'],
                          cwd=source, capture_output=True, text=True)
    assert lint.returncode == 0, lint.stdout + lint.stderr
