# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""Shells on a terminal of their own, which are asked to complete a line."""

from __future__ import annotations

import os
import pathlib
import pty
import re
import select
import time

PROMPT = 'ready: '
# Control-O puts all that is offered into the line, Control-T writes it down.
BASH = r"""
PS1=$PROMPT
source "$SHARE/bash-completion/completions/vdsm-tlsciphers"
bind '"\C-o": insert-completions'
bind -x '"\C-t": printf %s "$READLINE_LINE" >"$OFFERS"; exit'
"""
# What is offered is written down, and the shell ends.
ZSH = r"""
PS1=$PROMPT
fpath=($SHARE/zsh/site-functions $fpath)
autoload -Uz compinit
compinit -D -u
compadd() {
    local -a offered
    if [[ ${@[1,(i)(-|--)]} != *-(O|A|D)\ * ]]; then
        builtin compadd -A offered "$@"
        print -rl -- $offered >>$OFFERS
    fi
    builtin compadd "$@"
}
finish() { : >>$OFFERS; exit }
comppostfuncs=(finish)
bindkey '^I' complete-word
"""


class Shell:
    """
    A shell with the completion of vdsm-tlsciphers as it is installed below a
    prefix, such as /usr. It is started for each line, in a folder.
    """

    COMMAND: tuple[str, ...]
    KEYS: str

    def __init__(self, prefix: str | pathlib.Path,
                 directory: pathlib.Path) -> None:
        self.directory = directory
        self.environment = {
            'PATH': '%s/bin:/usr/bin:/bin' % prefix,
            'HOME': str(directory), 'ZDOTDIR': str(directory),
            'TERM': 'dumb', 'LC_ALL': 'C.UTF-8', 'PROMPT': PROMPT,
            'SHARE': '%s/share' % prefix,
            'OFFERS': str(directory / 'offers')}

    def offers(self, line: str) -> set[str]:
        """Return what it offers for a line (set of str)."""
        offers = self.directory / 'offers'
        offers.unlink(missing_ok=True)
        self._type(line)
        return self._read(line, offers.read_text())

    def _read(self, line: str, given: str) -> set[str]:
        raise NotImplementedError

    def _type(self, line: str) -> None:
        pid, terminal = pty.fork()
        if pid == 0:
            try:
                os.chdir(self.directory)
                os.execvpe(self.COMMAND[0], self.COMMAND, self.environment)
            finally:
                os._exit(127)
        shown = b''
        typed = False
        deadline = time.monotonic() + 10
        try:
            while select.select([terminal], [], [],
                                deadline - time.monotonic())[0]:
                shown += os.read(terminal, 65536)
                if not typed and PROMPT.encode() in shown:
                    os.write(terminal, (line + self.KEYS).encode())
                    typed = True
            raise TimeoutError('the shell does not end: %r' % shown)
        except OSError:
            pass  # It has ended.
        finally:
            os.close(terminal)
            os.waitpid(pid, 0)


class Bash(Shell):
    """bash, with a file of its own at its start."""

    COMMAND = ('bash', '--rcfile', 'rc', '-i')
    KEYS = '\x0f\x14'

    def __init__(self, prefix: str | pathlib.Path,
                 directory: pathlib.Path) -> None:
        super().__init__(prefix, directory)
        (self.directory / 'rc').write_text(BASH)

    def _read(self, line: str, given: str) -> set[str]:
        # It breaks words at "=", too.
        start = len(re.sub('[^ =]*$', '', line))
        return set() if given == line else set(given[start:].split())


class Zsh(Shell):
    """zsh, with a file of its own at its start."""

    COMMAND = ('zsh', '-i')
    KEYS = '\t'

    def __init__(self, prefix: str | pathlib.Path,
                 directory: pathlib.Path) -> None:
        super().__init__(prefix, directory)
        (self.directory / '.zshrc').write_text(ZSH)

    def _read(self, line: str, given: str) -> set[str]:
        return set(given.split())


SHELLS: dict[str, type[Shell]] = {'bash': Bash, 'zsh': Zsh}
