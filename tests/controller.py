# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""Runs the playbooks of the collection."""

from __future__ import annotations

import json
import os
import pathlib
import re
import subprocess
import sys
from typing import Any, Protocol

import support


class Engine(Protocol):
    """Where an engine is, and what a user who may do all types in there."""

    password: str

    @property
    def url(self) -> str: ...


class Controller:
    """
    Where ansible-playbook runs, with the collection.

    Attributes:
        folder (pathlib.Path): where the inventory is, and what plays leave.
        enter (list of str): the command that leads into the namespaces where
            the roots of the hosts are.
        engine (Engine or None): the engine whose address playbooks are given.
    """

    def __init__(self, folder: pathlib.Path) -> None:
        self.folder = folder
        self.enter: list[str] = []
        self.engine: Engine | None = None
        self.hosts: dict[str, dict[str, dict[str, Any]]] = {}
        collections = folder / 'collections/ansible_collections/vdsm_hooks'
        collections.mkdir(parents=True)
        (collections / 'tlsciphers').symlink_to(support.SOURCE / 'ansible')
        self.environment = {
            **os.environ, 'ANSIBLE_HOME': str(folder / 'home'),
            'ANSIBLE_COLLECTIONS_PATH': str(folder / 'collections'),
            'ANSIBLE_PIPELINING': '1', 'ANSIBLE_NOCOLOR': '1',
            'ANSIBLE_LOCALHOST_WARNING': '0', 'PWD': str(folder),
            'ANSIBLE_INVENTORY_UNPARSED_WARNING': '0', 'LC_ALL': 'C.UTF-8'}

    def play(self, playbook: str | pathlib.Path, *options: str,
             status: int = 0, **variables: Any) -> Outcome:
        """
        Run a playbook of the collection (its name), or another (its path);
        return the Outcome.
        """
        if isinstance(playbook, str):
            playbook = 'vdsm_hooks.tlsciphers.' + playbook
        if self.engine:
            variables['tlsciphers_engine'] = {
                'url': self.engine.url, 'username': 'admin@internal',
                'password': self.engine.password}
        inventory = self.folder / 'inventory.json'
        inventory.write_text(json.dumps({
            group: {'hosts': hosts} for group, hosts in self.hosts.items()}))
        process = subprocess.run(
            [*self.enter, sys.executable, '-m', 'ansible', 'playbook',
             '--inventory', inventory, playbook, '--extra-vars',
             json.dumps(variables), *options],
            cwd=self.folder, env=self.environment, capture_output=True,
            text=True)
        assert process.returncode == status, process.stdout + process.stderr
        if self.engine:
            assert self.engine.password not in process.stdout + process.stderr
        return Outcome(process.stdout)


class Outcome:
    """What a play printed: text (str); changed and failed by host (dict)."""

    def __init__(self, text: str) -> None:
        self.text = text
        recap = {host: dict(re.findall(r'(\w+)=(\d+)', counts))
                 for host, counts in re.findall(
                     r'(?m)^(\S+)\s+: (ok=.*)$', text)}
        self.changed = {host: int(counts['changed'])
                        for host, counts in recap.items()}
        self.failed = {host: int(counts['failed'])
                       for host, counts in recap.items()}
