# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""The emulator of this host."""

from tlsciphers_host import QEMU_KVM

from vdsm_tlsciphers import programs


def has_spice() -> bool:
    """Tell whether QEMU of this host has SPICE."""
    try:
        # QEMU reads its arguments in order: -version ends it.
        return programs.run(QEMU_KVM, '-spice', 'tls-port=5900', '-version'
                            ).returncode == 0
    except OSError:
        return False
