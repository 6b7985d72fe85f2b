#!/bin/sh
trap 'exit 0' EXIT HUP INT PIPE TERM
# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later
#
# What libvirt runs, by a link in /etc/libvirt/hooks/qemu.d that
# "vdsm-tlsciphers incoming --enable" makes, as NAME VM OPERATION PHASE. When a
# VM arrives, its domain XML is standard input, and what this prints takes its
# place: tlsciphers_incoming.py.
#
# It must never fail: were its exit status not 0 where libvirtd, after a
# restart, finds its running VMs (reconnect), libvirt would end each of them.
# So the trap comes first: it makes this end with 0 even where it is cut off.
case ${2-},${3-} in
(migrate,begin | restore,begin) ;;
(*) exit 0 ;;
esac
# All of the output, or nothing; and libvirt waits without a limit. (A group of
# processes of its own would be denied to libvirtd by some SELinux policies.)
xml=$(/usr/bin/timeout --foreground -k 1 20 @PYTHON@ -ESs \
    @PKGDATADIR@/tlsciphers_incoming.py "$1" 2>/dev/null) &&
    [ -n "$xml" ] && printf '%s\n' "$xml" 2>/dev/null
exit 0
