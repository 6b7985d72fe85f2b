# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""
The installed wrapper as a module: how it reads command lines and OpenSSL's
configuration is written there and nowhere else.
"""

import functools
import types

import tlsciphers
from vdsm_tlsciphers import Problem


class Refused(Exception):
    """What the wrapper would refuse to start a VM for: its line."""


@functools.lru_cache(maxsize=None)
def load():
    """
    Return the wrapper (module), whose functions raise Refused where it would
    end. Raises Problem where it is missing or damaged.
    """
    module = types.ModuleType('qemu_kvm_modified')
    try:
        # A file of the package, as importing one would be.
        with open(tlsciphers.WRAPPER, 'rb') as source:
            exec(compile(source.read(), tlsciphers.WRAPPER,  # nosec B102
                         'exec'), module.__dict__)
        exec(compile(module.DEFERRED, tlsciphers.WRAPPER,  # nosec B102
                     'exec'), module.__dict__)
    except (OSError, SyntaxError, ValueError, AttributeError) as error:
        raise Problem('the wrapper %s cannot be read: %s; dnf reinstall '
                      'vdsm-hook-tlsciphers' % (tlsciphers.WRAPPER, error))
    module.refuse = refuse
    return module


def refuse(line):
    raise Refused(line)
