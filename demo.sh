#!/bin/bash
# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later
#
# demo.sh [--keep]
#
# Builds the RPM and shows what it does to the SPICE and VNC consoles of a VM:
# what a scanner sees without a property and with tlsprofile=modern, that a VM
# which runs gets it without a shutdown, and that a VM with the guard starts
# only where the hook runs. Everything happens on a
# copy of this machine that vanishes at the end (tests/lab), but for packages
# of the distribution, which stay installed, and the page for the auditor,
# demo-report.html in this folder.
#
# --keep leaves the VM running, and says how to look at it and how to stop it.

set -euo pipefail

profile=modern
bad_value=AES256-SHA,disable-ticketing=on
hook=/usr/libexec/vdsm/hooks/before_vm_start/50_emulator
emulator=/usr/libexec/vdsm/hooks/qemu-kvm-wrapper/qemu-kvm-modified
guard="<cpu match='exact'><model>Nehalem</model><feature name='vdsm-tls' policy='require'/></cpu>"

fail() {
    printf 'demo.sh: %s\n' "$*" >&2
    exit 1
}

step() {
    printf '\n%s== %s%s\n' "${bold-}" "$*" "${plain-}"
}

if [ -t 1 ] && [ -z "${NO_COLOR-}" ]; then
    bold=$'\e[1m' plain=$'\e[0m'
fi

# quietly LOG COMMAND...: run it with its output in a file, showing progress.
quietly() {
    local log=$1
    shift
    "$@" 2>&1 | tee "$log" | awk 'NR % 40 == 0 { printf "."; fflush() }' ||
        fail "$* failed: $(tail -n 20 "$log")"
    echo
}

packages() {
    if command -v apt-get >/dev/null; then
        echo autoconf automake bzip2 checkpolicy gnutls-bin iproute2 \
            libvirt-clients libvirt-daemon-system make openssl procps \
            python3 python3-libvirt qemu-system-gui qemu-system-x86 rpm \
            semodule-utils
        # From Debian 13 on SPICE is in a package of its own.
        apt-cache pkgnames qemu-system-modules-spice
    else
        echo autoconf automake bzip2 checkpolicy gnutls-utils iproute \
            libvirt-client libvirt-daemon libvirt-daemon-driver-qemu make \
            openssl policycoreutils procps-ng python3 python3-libvirt \
            qemu-kvm rpm-build
    fi
}

# What the commands below do runs inside the lab.

# as_vdsm PROPERTY=VALUE...: run the installed hook as vdsm does at a start.
as_vdsm() {
    mkdir -p /run/vdsm/demo
    echo 0 >/run/vdsm/demo/launchflags
    env -i PATH=/usr/bin:/bin vmId=demo _hook_domxml="$LAB/domain.xml" \
        PYTHONPATH="$source/tests/standin" "$@" "$hook"
}

# prepare_domain NAME: a VM with both consoles, as oVirt makes them.
prepare_domain() {
    PYTHONDONTWRITEBYTECODE=1 PYTHONPATH=$source/tests python3 -c "
import support
print(support.lab_domain('spice', 'vnc', name='$1').replace(
    '</name>', '</name><uuid>6b1ad32e-6bd2-4b3b-9f5c-5c02c9a7f1de</uuid>'))" \
        >"$LAB/domain.xml"
}

# Without a terminal it asks no polkit, which the lab has not got.
virsh() {
    setsid --wait virsh --quiet --connect qemu:///system "$@"
}

# scan NAME [ARGUMENT...]: keep what vdsm-tlsciphers says of the VM's consoles,
# which has findings in its exit status, and list it: display, version, suite.
scan() {
    local name=$1
    shift
    vdsm-tlsciphers scan --baseline "$profile" --json "$@" demo \
        >"$LAB/$name.json" || [ $? = 1 ]
    python3 -c "
import json, sys
for console in json.load(sys.stdin)['consoles']:
    for version, suites in console['protocols'].items():
        for suite in suites:
            print(console['display'], version, suite['suite'])
" <"$LAB/$name.json" >"$LAB/$name"
}

# What the policy means: OpenSSL and GnuTLS themselves say it.
expected() {
    openssl ciphers -s -tls1_3 -ciphersuites "$(setting ciphersuites)" ECDHE |
        tr : '\n' | sed 's/^/spice TLSv1.3 /'
    PYTHONDONTWRITEBYTECODE=1 PYTHONPATH=$source/tests python3 -c "
import support
for pair in support.gnutls_suites('$(setting priority)'):
    print('vnc %s %s' % pair)
    print('websocket %s %s' % pair)
"
}

# setting KEY: print what the hook has put into the XML.
setting() {
    sed -n "s/.*value=\"$1=\([^\"]*\)\".*/\1/p" "$LAB/policy.xml"
}

show_table() {
    local console version
    printf '\n%-10s %-9s %-19s %s\n' console version "without property" \
        "with tlsprofile=$profile"
    cut -d " " -f 1,2 "$LAB/without" "$LAB/with" | sort -u |
        while read -r console version; do
            printf '%-10s %-9s %-19s %s\n' "$console" "$version" \
                "$(count "$LAB/without" "$console $version ")" \
                "$(count "$LAB/with" "$console $version ")"
        done
    printf '%-20s %-19s %s\n\n' "suites in all" \
        "$(wc -l <"$LAB/without")" "$(wc -l <"$LAB/with")"
    echo "What is left:"
    sed 's/^/    /' "$LAB/with"
}

count() {
    local number
    number=$(grep -c "^$2" "$1") && echo "$number suites" || echo -
}

inside() {
    step "1. The package is installed, by rpm, from the RPM that was built"
    rpm --dbpath "$LAB/rpmdb" --query vdsm-hook-tlsciphers
    ls -l "$hook" "$emulator"
    echo "rpm -V finds nothing to say:" \
        "$(rpm --dbpath "$LAB/rpmdb" --verify --nodeps vdsm-hook-tlsciphers)"

    step "2. A VM without a property: the hook leaves it alone"
    prepare_domain demo
    cp "$LAB/domain.xml" "$LAB/before.xml"
    as_vdsm
    cmp -s "$LAB/before.xml" "$LAB/domain.xml" ||
        fail "the hook has changed the XML of a VM without a property"
    virsh create "$LAB/domain.xml"
    echo "Scanning its consoles: vdsm-tlsciphers scan demo"
    scan without

    step "3. Without a shutdown: a policy for the VM that runs"
    echo "vdsm-tlsciphers apply --profile $profile demo:"
    vdsm-tlsciphers apply --profile "$profile" demo 2>&1 | cut -c 1-110 |
        sed 's/^/    /'
    echo "The host where it arrives: vdsm-tlsciphers incoming --enable"
    vdsm-tlsciphers incoming --enable >"$LAB/incoming" 2>&1 ||
        fail "it cannot be enabled: $(cat "$LAB/incoming")"
    # As it says: here is no vdsm, whose own script libvirt has found before.
    kill -HUP "$(cat "$LAB/libvirtd.pid")"
    echo "Suspended and resumed; a live migration does the same. The same guest runs on:"
    virsh save demo "$LAB/demo.save"
    virsh restore "$LAB/demo.save"
    vdsm-tlsciphers status demo >"$LAB/status" || :
    grep -E "^demo|port" "$LAB/status" | sed 's/^/    /'
    grep -q "^demo: effective" "$LAB/status" ||
        fail "its policy is not effective: $(cat "$LAB/status")"
    virsh destroy demo

    step "4. The same VM with tlsprofile=$profile"
    echo "What it would do: vdsm-tlsciphers check --xml demo.xml tlsprofile=$profile"
    prepare_domain demo
    vdsm-tlsciphers check --xml "$LAB/domain.xml" "tlsprofile=$profile" |
        cut -c 1-110 | sed 's/^/    /'
    echo "What the hook says in vdsm.log:"
    as_vdsm "tlsprofile=$profile" 2>&1 | sed 's/^/    /'
    echo "What it has put into the domain XML:"
    grep -oE '<emulator>.*</emulator>|<qemu:commandline.*' "$LAB/domain.xml" |
        sed 's/></>\n</g' | sed 's/^/    /'
    cp "$LAB/domain.xml" "$LAB/policy.xml"
    virsh create "$LAB/domain.xml"
    echo "Scanning its consoles again: vdsm-tlsciphers scan --before before.json --html report.html demo"
    scan with --before "$LAB/without.json" --html "$LAB/report.html"
    cat "$LAB/report.html" >"$report"

    step "5. The process that runs the VM: QEMU itself, no Python in between"
    echo "vdsm-tlsciphers status:"
    vdsm-tlsciphers status | cut -c 1-110 | sed 's/^/    /'
    pid=$(cat /run/libvirt/qemu/demo.pid)
    sed -n 's/.*qemu-kvm-modified: /    /p' /var/log/libvirt/qemu/demo.log
    echo "    and what its OpenSSL reads, after the host's own settings, is:"
    tail -n 9 "/proc/$pid/fd/$(tr '\0' '\n' <"/proc/$pid/environ" |
        sed -n 's|^OPENSSL_CONF=/proc/self/fd/||p')" | sed 's/^/        /'
    [ "$(readlink "/proc/$pid/exe")" = "$(readlink -f /usr/libexec/qemu-kvm)" ] ||
        fail "the process that libvirt started is not QEMU"
    ! pgrep --full "^[^ ]*python[^ ]* .*qemu-kvm-modified" >/dev/null ||
        fail "a process of the wrapper is left"

    step "6. A value that would switch the console's password off: $bad_value"
    prepare_domain bad-value
    cp "$LAB/domain.xml" "$LAB/before.xml"
    status=0
    as_vdsm "tlsciphers=$bad_value" 2>"$LAB/refusal" || status=$?
    sed 's/^/    /' "$LAB/refusal"
    if [ "$status" != 2 ] || ! cmp -s "$LAB/before.xml" "$LAB/domain.xml"; then
        fail "the hook has not refused it"
    fi
    echo "The hook's exit status is 2, so vdsm starts no VM; the XML is untouched."

    step "7. The VM of step 4 with its emulator put back: nothing would enforce it"
    sed "s|<name>demo|<name>put-back|; s|<uuid>[^<]*</uuid>||
        s|<emulator>[^<]*|<emulator>/usr/libexec/qemu-kvm|" \
        "$LAB/policy.xml" >"$LAB/put-back.xml"
    if virsh create "$LAB/put-back.xml" 2>"$LAB/put-back"; then
        fail "QEMU has started a VM whose policy is not enforced"
    fi
    grep -o '[^ ]* invalid option.*' "$LAB/put-back" | sed 's/^/    /' ||
        fail "not for the expected reason: $(cat "$LAB/put-back")"

    step "8. A VM with the guard: extra_cpu_flags=+vdsm-tls, and tlsprofile=$profile"
    prepare_domain guarded
    sed -i "s|<uuid>.*</uuid>|$guard|" "$LAB/domain.xml"
    echo "What the engine writes for it: $guard"
    echo "On a host without the package, where the hook does not run:"
    if virsh create "$LAB/domain.xml" 2>"$LAB/guard"; then
        fail "libvirt has started a VM with the guard"
    fi
    grep "unknown CPU feature: vdsm-tls" "$LAB/guard" | sed 's/^/    /' ||
        fail "not for the expected reason: $(cat "$LAB/guard")"
    echo "Here, where the hook takes it out:"
    as_vdsm extra_cpu_flags=+vdsm-tls "tlsprofile=$profile" 2>"$LAB/hook" ||
        fail "the hook refuses it: $(cat "$LAB/hook")"
    virsh create "$LAB/domain.xml"
    if ! vdsm-tlsciphers status guarded >"$LAB/status" ||
        ! grep -q "^guarded: effective" "$LAB/status"; then
        fail "its policy is not effective: $(cat "$LAB/status")"
    fi
    grep -E "^guarded|port" "$LAB/status" | sed 's/^/    /'
    virsh destroy guarded

    step "What a scanner sees"
    show_table
    diff <(sort "$LAB/with") <(expected | sort) ||
        fail "the consoles do not accept exactly what the profile names"
    [ "$(wc -l <"$LAB/without")" -gt "$(wc -l <"$LAB/with")" ] ||
        fail "the policy has taken nothing away"
    cat <<END

Proven: of $(wc -l <"$LAB/without") pairs of version and suite the consoles of the VM accept $(wc -l <"$LAB/with"), exactly those that
OpenSSL and GnuTLS list for the profile; the emulator is one process; what
cannot be enforced does not start, and with the guard no host without the
package starts it.
END
}

keep=no
case ${1-} in
    "") ;;
    --keep) keep=yes ;;
    --inside)
        source=$2 keep=$3 report=$4
        inside
        if [ "$keep" = yes ]; then
            echo kept >"$source/kept"
            exec tail --follow /dev/null
        fi
        exit
        ;;
    *) fail "usage: demo.sh [--keep]" ;;
esac

[ "$(id -u)" = 0 ] || fail "needs root: it starts a libvirtd of its own"
if [ -e /usr/libexec/vdsm ] || [ -e /usr/libexec/qemu-kvm-modified ] ||
    { command -v rpm >/dev/null &&
        rpm --query --quiet vdsm vdsm-hook-tlsciphers 2>/dev/null; }; then
    fail "vdsm or this package is installed here: this is no place to play"
fi
work=$(mktemp -d /tmp/tlsciphers-demo.XXXXXX)
trap 'rm -rf "$work"' EXIT
cd "$(dirname "$0")"
report=$PWD/demo-report.html
: >"$report" || fail "cannot write $report"

step "Packages that are needed from the distribution"
# shellcheck disable=SC2046 # one word each
quietly "$work/install.log" tests/install-packages $(packages)
grep "^Installing" "$work/install.log" || echo "All are here."
qemu=/usr/libexec/qemu-kvm
[ -x $qemu ] || qemu="qemu-system-x86_64"
grep -q -- "^-spice" <($qemu -help) ||
    fail "the QEMU of this distribution has no SPICE"

step "Building the RPM (autogen.sh, configure, make rpm)"
mkdir "$work/source"
tar --create --exclude=.git --exclude=rpmbuild . |
    tar --extract --directory "$work/source"
(
    cd "$work/source"
    quietly "$work/build.log" sh -c "./autogen.sh && ./configure && make rpm"
)
rpm=$(echo "$work"/source/rpmbuild/RPMS/noarch/*.rpm)
echo "Built: ${rpm##*/}"

step "A copy of this machine, with a libvirtd of its own"
if [ "$keep" = no ]; then
    "$work/source/tests/lab" "$rpm" \
        "$work/source/demo.sh" --inside "$work/source" no "$report"
else
    setsid "$work/source/tests/lab" "$rpm" \
        "$work/source/demo.sh" --inside "$work/source" yes "$report" &
    lab=$!
    while ! [ -e "$work/source/kept" ]; do
        kill -0 $lab 2>/dev/null || wait $lab
        sleep 0.2
    done
    # The first process of the namespaces is a child of "unshare", the lab's.
    first=$(pgrep --parent "$(pgrep --parent $lab --exact unshare)")
    cat <<END

The VM keeps running, in namespaces of its own. To look at it:
    nsenter --all --target $first virsh --connect qemu:///system list
    nsenter --all --target $first cat /var/log/libvirt/qemu/demo.log
To stop it and leave nothing behind:
    kill $lab
END
fi

step "The page for the auditor"
echo "$report"
