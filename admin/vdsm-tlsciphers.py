#!@PYTHON@ -Es
# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""The command vdsm-tlsciphers: checks and audits TLS policies."""

import sys

# vdsm and other processes read the folder of the modules.
sys.dont_write_bytecode = True
sys.path.insert(0, '@PKGDATADIR@')

try:
    from vdsm_tlsciphers import cli
except ImportError as error:
    sys.stderr.write('vdsm-tlsciphers: the package is damaged: %s; dnf '
                     'reinstall vdsm-hook-tlsciphers [package-damaged]\n'
                     % error)
    sys.exit(2)

if __name__ == '__main__':
    cli.main()
