#!/bin/sh
# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

set -eu
cd "$(dirname "$0")"
# --force: autom4te would otherwise reuse a version that it read from the spec before.
exec autoreconf --force --install
