# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""
A stand-in for vdsm's module "hooking", which cannot be had here. It keeps to
what vdsm documents for hooks: the domain XML is in the file that _hook_domxml
names, messages go to standard error, a hook fails with exit status 2. As in
vdsm, the file is truncated before anything is written, and launch flags are
those of a start.
"""

import io
import os
import sys
from xml.dom import minidom


def read_domxml():
    with io.open(os.environ['_hook_domxml'], 'rb') as domxml:
        return minidom.parseString(domxml.read())


def write_domxml(document):
    with io.open(os.environ['_hook_domxml'], 'wb') as domxml:
        domxml.write(document.toxml(encoding='utf-8'))


def log(message):
    sys.stderr.write(message + '\n')


def exit_hook(message, return_code=2):
    sys.stderr.write(message + '\n')
    sys.exit(return_code)


def load_vm_launch_flags_from_file(vm_id):
    raise NotImplementedError('no test needs the flags themselves')
