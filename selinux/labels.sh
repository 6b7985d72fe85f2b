#!/bin/sh
# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later
#
# labels install|remove
#
# The RPM's scriptlets call this: it puts the SELinux module tlsciphers into
# the policy store, or takes it out, and labels the wrapper. It always exits 0:
# a transaction with other packages must not fail because of it, and the base
# policy labels the wrapper as well.

set -u

module=@PKGDATADIR@/../selinux/packages/tlsciphers.pp.bz2
hint="after mending the cause, run: dnf reinstall vdsm-hook-tlsciphers"

complain() {
    echo "vdsm-hook-tlsciphers: $1; $hint" >&2
}

# The store that the system uses, or none: SELinux is not installed.
find_store() {
    store=$(sed -n "s/^SELINUXTYPE=\([A-Za-z0-9_-]*\).*/\1/p" \
        /etc/selinux/config 2>/dev/null | tail -n 1)
    [ -n "$store" ] && [ -d "/etc/selinux/$store" ] &&
        command -v semodule >/dev/null
}

enabled() {
    command -v selinuxenabled >/dev/null && selinuxenabled
}

# -n: committed in any case, loaded only where SELinux is enabled.
commit() {
    semodule -n -s "$store" "$@" || {
        complain "semodule cannot change the SELinux policy store $store"
        return 1
    }
    if enabled; then
        load_policy || complain "the SELinux policy cannot be loaded"
    fi
}

install_module() {
    if find_store; then
        commit -i "$module"
    fi
    if enabled; then
        restorecon -F "@WRAPPER@" "@EMULATOR@" ||
            complain "restorecon cannot label the wrapper"
    fi
}

remove_module() {
    # Absent is what is wanted: the store may have been made anew since.
    if find_store && semodule -s "$store" -l | grep -q "^tlsciphers\b"; then
        commit -r tlsciphers
    fi
}

case ${1-} in
    install) install_module ;;
    remove) remove_module ;;
    *)
        echo "usage: labels install|remove" >&2
        exit 2
        ;;
esac
exit 0
