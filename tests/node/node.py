#!/usr/bin/python3
# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""
A node: a guest with SELinux enforcing that runs libvirt and QEMU of its own.

    node.py shell RPM    a shell in a node where the package is installed
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import pathlib
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from typing import Any

HERE = pathlib.Path(__file__).resolve().parent
CACHE = pathlib.Path('/var/cache/vdsm-hook-tlsciphers')
# In seconds. It is not a bound of anything: software emulation, in software
# emulation, on a busy machine.
PATIENCE = 300
# The first network card leads here, the second one to another node.
COMMAND = """
setpriv --pdeathsig KILL
qemu-system-x86_64 -accel tcg,thread=multi -machine q35 -cpu Nehalem -smp 2
-m 2048 -nodefaults -display none -no-user-config
-kernel {image}/vmlinuz -initrd {image}/initrd.img
-append 'root=/dev/vda rw console=ttyS0 security=selinux audit=1
net.ifnames=0 mitigations=off quiet'
-drive file={disk},if=virtio,format=qcow2,cache=unsafe
-netdev user,id=user,restrict=on
-device virtio-net-pci,netdev=user,mac=52:54:00:00:00:01
-netdev dgram,id=cable,local.type=unix,local.path={directory}/cable,remote.type=unix,remote.path={directory}/../{peer}/cable
-device virtio-net-pci,netdev=cable,mac=52:54:00:00:00:02
-device virtio-rng-pci -serial file:{directory}/console.log
-qmp unix:{directory}/qmp,server=on,wait=off
"""  # noqa: E501
# A VM with the consoles of oVirt, on the emulator that EL has.
PLAIN_VM = """
<domain type="qemu">
  <name>plain</name>
  <memory unit="MiB">64</memory>
  <os><type arch="x86_64" machine="q35">hvm</type></os>
  <devices>
    <emulator>/usr/libexec/qemu-kvm</emulator>
    <graphics type="spice" autoport="yes" defaultMode="secure">
      <listen type="address" address="0.0.0.0"/>
    </graphics>
    <graphics type="vnc" autoport="yes" websocket="-1">
      <listen type="address" address="0.0.0.0"/>
    </graphics>
    <video><model type="vga"/></video>
  </devices>
</domain>
"""


class Failed(Exception):
    """A command in the node failed; its output is the message."""


class Node:
    """
    A guest of an image (pathlib.Path, see get_image), that runs until
    close() or the end of this process. Its files are in directory/name
    (pathlib.Path, str); its cable leads to directory/peer.

    It starts from a snapshot (str) on a copy of a disk (pathlib.Path; the
    image's own), or boots on the disk itself.
    """

    def __init__(
            self, image: pathlib.Path, directory: pathlib.Path,
            name: str = 'a', peer: str = 'b',
            disk: pathlib.Path | None = None,
            snapshot: str | None = 'clean') -> None:
        self.directory = directory / name
        self.directory.mkdir()
        self.image = image
        self.disk = disk or image / 'node.qcow2'
        options: list[str] = []
        if snapshot:
            self.disk = self.directory / 'disk.qcow2'
            shutil.copyfile(disk or image / 'node.qcow2', self.disk)
            options = ['-loadvm', snapshot]
        self.process = subprocess.Popen(
            shlex.split(COMMAND.format(
                image=image, disk=self.disk, directory=self.directory,
                peer=peer))
            + options, stdin=subprocess.DEVNULL)
        self.monitor = self._connect()
        self.answers = self.monitor.makefile()
        self.ports: dict[int, int] = {}
        self._ask('qmp_capabilities')
        self.forward(22)
        if options:
            self.set_clock()

    def _connect(self) -> socket.socket:
        path = self.directory / 'qmp'
        deadline = time.monotonic() + PATIENCE
        while True:
            monitor = socket.socket(socket.AF_UNIX)
            try:
                monitor.connect(str(path))
                return monitor
            except OSError:
                monitor.close()
                if self.process.poll() is not None or (
                        time.monotonic() > deadline):
                    raise
                time.sleep(0.02)

    def _ask(self, command: str, **arguments: object) -> Any:
        self.monitor.sendall(json.dumps(
            {'execute': command, 'arguments': arguments}).encode())
        for line in self.answers:
            answer = json.loads(line)
            if 'error' in answer:
                raise Failed(answer['error']['desc'])
            if 'return' in answer:
                return answer['return']
        raise Failed('the node has gone')

    def hmp(self, line: str) -> None:
        """Say a line to QEMU's monitor."""
        answer = self._say(line)
        if answer:
            raise Failed('%s: %s' % (line, answer))

    def _say(self, line: str) -> str:
        answer: str = self._ask('human-monitor-command',
                                **{'command-line': line})
        return answer

    def forward(self, port: int) -> int:
        """Return the local port (int) that leads to a port of the node."""
        if port not in self.ports:
            before = self._forwarded()
            self.hmp('hostfwd_add user tcp:127.0.0.1:0-:%d' % port)
            self.ports[port], = self._forwarded() - before
        return self.ports[port]

    def _forwarded(self) -> set[int]:
        return {int(line.split()[3])
                for line in self._say('info usernet').splitlines()
                if 'HOST_FORWARD' in line}

    @property
    def _ssh(self) -> list[str]:
        return ['-F', 'none', '-i', str(self.image / 'key'),
                '-o', 'UserKnownHostsFile=%s/known_hosts' % self.image,
                '-o', 'HostKeyAlias=node', '-o', 'LogLevel=ERROR',
                '-o', 'ControlPath=%s/ssh' % self.directory,
                '-o', 'ControlMaster=auto', '-o', 'ControlPersist=yes',
                '-o', 'ConnectTimeout=20', '-o', 'ServerAliveInterval=30',
                '-o', 'Port=%d' % self.forward(22)]

    def run(self, command: str, check: bool = True,
            input: str = '',  # noqa: A002
            ) -> subprocess.CompletedProcess[str]:
        """
        Run a shell command as root; return the process, with its output.
        Raise Failed with that if it fails.
        """
        process = subprocess.run(
            ['ssh', *self._ssh, 'root@localhost', command], text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            timeout=PATIENCE, input=input)
        if check and process.returncode:
            raise Failed('%s: %s' % (command, process.stdout))
        return process

    def read(self, command: str) -> str:
        """Return the output (str) of a shell command, without its newline."""
        return self.run(command).stdout.rstrip('\n')

    def shell(self) -> None:
        """Give the user a shell there."""
        subprocess.run(['ssh', *self._ssh, '-t', 'root@localhost'])

    def send(self, *files: pathlib.Path) -> None:
        """Copy files there."""
        subprocess.run(['scp', '-q', *self._ssh, *map(str, files),
                        'root@localhost:'], check=True)

    def write(self, path: str, content: str) -> None:
        self.run('cat >%s' % path, input=content)

    def await_boot(self) -> None:
        """Wait until systemd is done with the boot."""
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                self.run('systemctl is-system-running --wait', check=False)
                self.run('true')
                return
            except Failed as error:
                if time.monotonic() > deadline:
                    console = self.directory / 'console.log'
                    raise Failed('%s\n%s' % (error, console.read_text(
                        errors='replace')[-3000:])) from error
                time.sleep(0.5)

    def reboot(self) -> None:
        """Reboot, and wait until it is up again."""
        boot = 'cat /proc/sys/kernel/random/boot_id'
        before = self.read(boot)
        self.run('systemctl reboot', check=False)
        deadline = time.monotonic() + PATIENCE
        while True:
            self._hang_up()
            self.await_boot()
            # It may be on its way down still.
            after = self.run(boot, check=False)
            if after.returncode == 0 and before not in after.stdout:
                return
            if time.monotonic() > deadline:
                raise Failed('it does not reboot')

    def _hang_up(self) -> None:
        subprocess.run(['ssh', *self._ssh, '-O', 'exit', 'root@localhost'],
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def save(self, snapshot: str) -> None:
        """Keep the state of the whole node under a name."""
        self._hang_up()
        self.hmp('savevm ' + snapshot)

    def load(self, snapshot: str) -> None:
        """Go back to a state that was kept."""
        self._hang_up()
        self.hmp('loadvm ' + snapshot)
        self.set_clock()

    def set_clock(self) -> None:
        self.run('date --set=@%d' % time.time())

    def close(self) -> None:
        self._hang_up()
        self.process.kill()
        self.process.wait()
        self.monitor.close()

    def quit(self) -> None:
        """End it, with all of its snapshots on its disk."""
        self._hang_up()
        with contextlib.suppress(Failed):
            self.hmp('quit')
        self.process.wait()
        self.monitor.close()

    def create(self, xml: str) -> str:
        """Start a VM from a domain XML; return the answer of virsh (str)."""
        self.write('domain.xml', xml)
        return self.run('virsh create domain.xml').stdout

    def install(self, *packages: pathlib.Path) -> str:
        """Do a transaction of RPMs as the administrator; return its output."""
        self.send(*packages)
        return self.run("dnf install --assumeyes --noplugins '--disablerepo=*'"
                        + ''.join(' ./' + path.name for path in packages)
                        ).stdout


def get_image() -> pathlib.Path:
    """
    Return the folder (pathlib.Path) of the image, made by build-image unless
    it is there. Its disk has a snapshot "clean": booted, libvirtd and
    virtlogd running, the emulator probed, and no VM.
    """
    inputs = [subprocess.run(command, check=True, capture_output=True).stdout
              for command in ([str(HERE / 'build-image'), '--inputs'],
                              ['qemu-system-x86_64', '--version'])]
    inputs += [COMMAND.encode(), PLAIN_VM.encode()]
    digest = hashlib.sha256(b'\0'.join(inputs)).hexdigest()
    image = CACHE / ('node-' + digest[:16])
    CACHE.mkdir(parents=True, exist_ok=True)
    with open(CACHE / 'lock', 'w') as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (image / 'complete').exists():
            # There, too, is what an earlier source needed.
            for old in CACHE.glob('node-*'):
                shutil.rmtree(old)
            # Whatever ends it, nothing stays mounted, and nothing runs on.
            subprocess.run(
                ['setpriv', '--pdeathsig', 'KILL', 'unshare', '--mount',
                 '--pid', '--fork', '--kill-child', HERE / 'build-image',
                 image], check=True)
            _take_snapshot(image)
            (image / 'complete').touch()
    return image


def _take_snapshot(image: pathlib.Path) -> None:
    disk = image / 'node.qcow2'
    subprocess.run(['qemu-img', 'create', '-q', '-f', 'qcow2', '-F', 'raw',
                    '-b', image / 'disk.img', disk], check=True)
    with tempfile.TemporaryDirectory() as directory:
        node = Node(image, pathlib.Path(directory), disk=disk,
                    snapshot=None)
        try:
            node.await_boot()
            node.create(PLAIN_VM)
            node.run('virsh destroy plain')
            node.save('clean')
        finally:
            node.close()


def main(command: str, *arguments: str) -> None:
    if command == 'shell':
        with tempfile.TemporaryDirectory() as directory:
            node = Node(get_image(), pathlib.Path(directory))
            try:
                node.install(*map(pathlib.Path, arguments))
                node.shell()
            finally:
                node.close()
    else:
        sys.exit(__doc__)


if __name__ == '__main__':
    main(*sys.argv[1:] or ['help'])
