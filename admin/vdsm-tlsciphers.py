#!@PYTHON@ -Es
# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""The command vdsm-tlsciphers: which TLS policy consoles have, and why."""

import sys

# vdsm and others read the folder of the shared module.
sys.dont_write_bytecode = True
sys.path.insert(0, '@PKGDATADIR@')

from vdsm_tlsciphers import main  # noqa: E402

if __name__ == '__main__':
    main.main()
