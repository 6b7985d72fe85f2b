#!@PYTHON@ -Es
# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""The command vdsm-tlsciphers: which TLS policy consoles have, and why."""

import sys

# vdsm and others read the folder of the shared module.
sys.dont_write_bytecode = True
sys.path.insert(0, '@PKGDATADIR@')

try:
    from vdsm_tlsciphers import cli
except ImportError as error:
    sys.stderr.write('vdsm-tlsciphers: a file of it is missing: %s; dnf '
                     'reinstall vdsm-hook-tlsciphers\n' % error)
    sys.exit(2)

if __name__ == '__main__':
    cli.main()
