# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""Which ports of QEMU's options are listeners of its own, and no consoles."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

import support

SCRIPT = """
import json, sys, types
sys.path.insert(0, sys.argv[1])
from vdsm_tlsciphers.host import consoles
options = [(sys.argv[2], sys.argv[3], [])]
print(json.dumps(sorted(consoles._named(
    types.SimpleNamespace(options=options)))))
"""


@pytest.mark.parametrize('name, value, ports', [
    ('netdev', 'user,id=n,hostfwd=tcp:127.0.0.1:2222-:5950', [2222]),
    ('netdev', 'user,id=n,hostfwd=tcp::2222-10.0.2.15:5950,hostfwd=::23-:22',
     [23, 2222]),
    ('netdev', 'user,id=n,hostfwd=udp::5950-:53', []),
    ('netdev', '{"type":"user","hostfwd":[{"str":"tcp:[::1]:2222-:5950"}]}',
     [2222]),
    ('netdev', 'user,id=5950,hostfwd=tcp::2222-:22,restrict=on', [2222]),
    ('netdev', 'user,id=n,bootfile=a,,hostfwd=tcp::5950-:1', []),
    ('netdev', 'socket,id=n,listen=:5950', [5950]),
    ('netdev', 'socket,id=n,connect=127.0.0.1:5950', []),
    ('netdev', 'stream,id=n,server=on,addr.type=inet,addr.host=::,'
     'addr.port=5950', [5950]),
    ('netdev', '{"type":"stream","server":true,"addr":{"type":"inet",'
     '"host":"127.0.0.1","port":"5950"}}', [5950]),
    ('chardev', 'socket,id=c,host=127.0.0.1,port=6113,server=on,wait=off',
     [6113]),
    ('chardev', 'socket,id=server,host=127.0.0.1,port=5950,server=off', []),
    ('chardev', 'socket,id=c5950,path=/server/5950,server=on', []),
    ('serial', 'tcp:127.0.0.1:6113,server,nowait', [6113]),
    ('serial', 'tcp:127.0.0.1:5950', []),
    ('monitor', 'telnet:[::1]:6113,server,wait=off', [6113]),
    ('monitor', 'unix:/run/server/5950,server', []),
    ('gdb', 'tcp:127.0.0.1:6114', [6114]), ('gdb', 'tcp::6114', [6114]),
    ('incoming', 'tcp:[::]:49152', [49152]), ('incoming', '0:4444', [4444]),
    ('incoming', 'exec:cat 5950', []), ('s', '', [1234])])
def test_only_ports_of_the_host_name_a_listener(
        newest_installation: support.Installation, name: str, value: str,
        ports: list[int]) -> None:
    assert json.loads(subprocess.run(
        [sys.executable, '-Ic', SCRIPT, newest_installation.module.parent,
         name, value], check=True, capture_output=True,
        text=True).stdout) == ports
