#!/bin/sh
# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later
#
# scriptlet install|remove|emulator-changed
#
# What the RPM's scriptlets do; each of them is one call of this. It is safe
# to run at any time, and again after it was interrupted. It always exits 0: a
# transaction with other packages must not fail because of it.

set -u

data=@PKGDATADIR@
wrapper=@WRAPPER@
emulator=@EMULATOR@
hook=@HOOK@
incoming=@INCOMING@
# Made by "vdsm-tlsciphers incoming --enable".
link=/etc/libvirt/hooks/qemu.d/50-tlsciphers
# Where %pre has put the files of a manual installation.
kept=/etc/vdsm/tlsciphers-manual
# EL7's libspice reads it, see report_spice_cnf.
spice_cnf=/etc/pki/tls/spice.cnf
# Where libvirt keeps the XML of each VM that runs.
running=/run/libvirt/qemu
# The wrong path that the original how-to names for its removal.
misplaced=@LIBEXECDIR@/vdsm/qemu-kvm-wrapper/qemu-kvm-modified
selinux_module=@SELINUX_MODULE@

say() {
    echo "vdsm-hook-tlsciphers: $*" >&2
}

complain() {
    say "$1; fix that, then: dnf reinstall vdsm-hook-tlsciphers"
}

# The policy store that the system uses, or failure: SELinux is not installed
# (a container), or without a policy.
find_store() {
    store=$(sed -n "s/^[[:space:]]*SELINUXTYPE=\([A-Za-z0-9_-]*\).*/\1/p" \
        /etc/selinux/config 2>/dev/null | tail -n 1)
    [ -n "$store" ] && [ -d "/etc/selinux/$store" ] &&
        command -v semodule >/dev/null
}

# Whether SELinux is enabled, and this root is the one that the system runs
# from: in another one (the next layer of oVirt Node, an image that is built)
# nothing may be loaded into the kernel, whatever is mounted there.
enabled_here() {
    command -v selinuxenabled >/dev/null && selinuxenabled &&
        [ "$(stat -L -c %d:%i / 2>/dev/null)" = \
            "$(stat -L -c %d:%i /proc/1/root 2>/dev/null)" ]
}

# -n: committed in any case, loaded only where SELinux is enabled.
commit() {
    semodule -n -s "$store" "$@" || {
        complain "semodule cannot change the SELinux policy store $store"
        return 1
    }
    if enabled_here; then
        load_policy || complain "the SELinux policy cannot be loaded"
    fi
}

# Always, even if the store lists the module: layers of oVirt Node share the
# store, but each has a policy of its own that was built from it.
install_module() {
    if find_store; then
        commit -i "$selinux_module"
    fi
    if enabled_here; then
        restorecon -F "$wrapper" "$emulator" "$hook" "$incoming" ||
            complain "restorecon cannot label the wrapper"
    fi
}

remove_module() {
    # Absent is what is wanted: the store may have been rebuilt.
    if find_store && semodule -s "$store" -l | grep -q "^tlsciphers\b"; then
        commit -r tlsciphers
    fi
}

# What the original how-to put at our paths: kept if it differs, and its
# cipher list shown as the property that stands for it.
report_manual_installation() {
    drop_if_same "$kept/50_emulator" "$hook"
    drop_if_same "$kept/qemu-kvm-modified" "$wrapper"
    if [ -d "$kept" ] && ! rmdir "$kept" 2>/dev/null; then
        say "files of the manually installed wrapper were replaced; they are kept in $kept (remove it when no longer needed)"
    fi
    for file in "$kept/qemu-kvm-modified" "$misplaced"; do
        [ -f "$file" ] || continue
        ciphers=$(find_ciphers "$file")
        if [ -n "$ciphers" ]; then
            say "$file has a cipher list; this custom property keeps it for a VM (without it, a VM that comes from a host with a manually installed wrapper gets the list of the original recipe until its next start):"
            echo "    tlsciphers=$ciphers" >&2
        fi
    done
    if [ -e "$misplaced" ]; then
        say "$misplaced is unused; when no VM runs through it: rm -r ${misplaced%/*}"
    fi
}

# A cipher list there takes the place of that of each VM, where libspice reads
# the file: then its path is in the library.
report_spice_cnf() {
    [ -r "$spice_cnf" ] || return 0
    cat /usr/lib64/libspice-server.so.1 /usr/lib/*/libspice-server.so.1 \
        2>/dev/null | grep -q -F "$spice_cnf" || return 0
    list=$(sed -n "s/^[[:space:]]*CipherString[[:space:]]*=[[:space:]]*//p" \
        "$spice_cnf" | tail -n 1)
    if [ -n "$list" ]; then
        say "$spice_cnf sets CipherString for the SPICE consoles of all VMs on this host, and SPICE reads it last: a VM whose property tlsciphers permits less is refused here; remedy: restrict that CipherString, or remove the line [spice-cnf]"
    fi
}

# The VMs that run with a policy of ours: they go on, but nothing can start
# them again from where they are.
report_running() {
    names=$(grep -l -s "arg value=.-vdsm-tls" "$running"/*.xml | while read -r file; do
        file=${file##*/}
        printf "%s" "${separator-}${file%.xml}"
        separator=", "
    done)
    if [ -n "$names" ]; then
        say "these VMs run with a policy, and go on running, but can neither be saved and restored nor migrate to this host without the package: $names; remedy: install it again, or shut them down and start them without their properties"
    fi
}

drop_if_same() {
    if [ -f "$1" ] && [ "$(sha256sum <"$1")" = "$(sha256sum <"$2")" ]; then
        rm -f "$1"
    fi
}

# The first word of a file that is a cipher list: at least two names or
# keywords with colons between, after "tls-ciphers=" or in quotes.
find_ciphers() {
    sed -n "s/.*tls-ciphers=\([A-Za-z0-9._=@!+-]*:[A-Za-z0-9._=@!+:-]*\).*/\1/p
        s/.*[\"\x27]\([A-Za-z0-9._=@!+-]*:[A-Za-z0-9._=@!+:-]*\)[\"\x27].*/\1/p" \
        "$1" | grep -E "AES|ECDH|RSA|HIGH|DEFAULT|CHACHA" | head -n 1
}

# Legacy oVirt Node forgets every file at a reboot that is not persisted.
for_each_file() {
    for file in "$hook" "$wrapper" "$emulator" "$incoming" "$data"/*.py \
        "$data/scriptlet" "$selinux_module" "$kept"/*; do
        [ -e "$file" ] || continue
        "$1" "$file" || say "$1 $file has failed; run it again by hand"
    done
}

case ${1-} in
    install)
        report_manual_installation
        report_spice_cnf
        install_module
        if command -v persist >/dev/null; then
            for_each_file persist
        fi
        ;;
    remove)
        report_running
        remove_module
        # To libvirt a link to nowhere is nothing, but it would be ours.
        if [ "$(readlink "$link")" = "$incoming" ]; then
            rm -f "$link"
        fi
        if command -v unpersist >/dev/null; then
            for_each_file unpersist
        fi
        ;;
    emulator-changed)
        # libvirt keeps what it knows of an emulator until the change time of
        # its file changes; for it the wrapper is the emulator.
        chmod 755 "$wrapper" || complain "cannot touch $wrapper"
        ;;
    *)
        echo "usage: scriptlet install|remove|emulator-changed" >&2
        exit 2
        ;;
esac
exit 0
