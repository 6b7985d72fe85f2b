#!/bin/bash
# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later
#
# check.sh [all|lint|unit|fuzz|coverage|soak|bench]
# check.sh userlands [RELEASE...]
#
# Installs what the tests need and runs them, on a copy of this folder that is
# removed at the end. "lint" runs the linters, "unit" tests/unit on the
# system's Python and on 2.7, "all" (as without an argument) everything, on
# RPMs, real VMs and nodes with SELinux as well, "fuzz" only fuzzing,
# "coverage" says what the quick tests run, "soak" is the long form: every case
# on every Python, load, faults and fuzzing; "bench" the benchmarks; "userlands"
# builds and tests on the libraries of other releases of Debian (bullseye and
# trixie, as on EL8 and EL10), of which "all" runs a part where their roots are
# there. Needs root on Debian 12; what stays is the packages that it installs,
# and in /var/cache/vdsm-hook-tlsciphers the image of the nodes and the roots of
# userlands ("make clean-cache" removes them).

set -euo pipefail

what=${1-all}
case $what in
    all | lint | unit | fuzz | coverage | soak | bench) ;;
    userlands) shift ;;
    *)
        echo "usage: check.sh [all|lint|unit|fuzz|coverage|soak|bench]" >&2
        echo "       check.sh userlands [RELEASE...]" >&2
        exit 2
        ;;
esac
releases=(bullseye trixie)
missing=() failed=
if [ "$what" = userlands ] && [ "$#" -gt 0 ]; then
    releases=("$@")
fi

cd "$(dirname "$0")"
work=$(mktemp -d /tmp/tlsciphers-check.XXXXXX)
# As the folders of a host are: doctor looks at what others may do.
chmod 755 "$work"
# What runs in the background: its process by the name of its log.
declare -A beside
end() {
    local name
    for name in "${!beside[@]}"; do
        kill -- "-${beside[$name]}" 2>/dev/null || :
        wait "${beside[$name]}" || :
        cat "$work/$name.log"
    done
    rm -rf "$work"
}
trap end EXIT

times=
step() {
    printf '\n== %s (after %d s)\n' "$*" "$SECONDS"
    times+=$SECONDS$'\t'$*$'\n'
}

# quietly COMMAND...: show what it prints only if it fails.
quietly() {
    "$@" >"$work/log" 2>&1 || {
        cat "$work/log"
        exit 1
    }
}

# in_background NAME COMMAND...: run it beside what follows, as a group of
# processes of its own.
in_background() {
    local name=$1
    shift
    set -m
    timed "$name" "$@" >"$work/$name.log" 2>&1 </dev/null &
    beside[$name]=$!
    set +m
}

timed() {
    local name=$1 begin=$SECONDS status=0
    shift
    "$@" || status=$?
    echo "$((SECONDS - begin))" >"$work/$name.seconds"
    return "$status"
}

# outcome NAME: wait for it, and show what it printed. Returns its status.
outcome() {
    local status=0
    wait "${beside[$1]}" || status=$?
    unset "beside[$1]"
    cat "$work/$1.log"
    return "$status"
}

# python3-pytest is for "make check" without this script.
packages=(autoconf automake bzip2 checkpolicy gnutls-bin make openssl
    python3-jsonschema python3-pip python3-pytest python3-pytest-xdist
    python3-rpm python3-setuptools semodule-utils shellcheck sslscan)
if [ "$what" = bench ]; then
    packages+=(gcc iproute2 libvirt-clients libvirt-daemon-system libxml2-dev
        nmap python3-dev python3-libvirt python3-wheel qemu-system-gui
        qemu-system-x86 rpm valgrind)
elif [ "$what" = coverage ]; then
    packages+=(policycoreutils procps python3-libvirt rpm zsh)
elif [ "$what" = all ] || [ "$what" = soak ] || [ "$what" = userlands ]; then
    packages+=(cpio createrepo-c debootstrap dnf e2fsprogs faketime
        gir1.2-gtk-vnc-2.0 gir1.2-spiceclientglib-2.0 git gnupg
        iproute2 libvirt-clients libvirt-daemon-system man-db mandoc
        openssh-client
        policycoreutils procps python3-gi python3-libvirt python3-yaml
        qemu-system-gui qemu-system-x86 qemu-utils rpm rpmlint
        selinux-policy-default selinux-utils spice-client-gtk strace
        systemd-container zsh)
    # ovirt-engine-sdk-python is compiled.
    packages+=(gcc libxml2-dev python3-dev python3-wheel)
fi
case $what in
    unit) requirements=(--constraint tests/requirements.txt
        pytest pytest-xdist) ;;
    all | soak) requirements=(--requirement tests/requirements.txt
        --requirement tests/ansible/requirements.txt) ;;
    bench) requirements=(--requirement tests/requirements.txt
        --constraint tests/ansible/requirements.txt
        ovirt-engine-sdk-python) ;;
    *) requirements=(--requirement tests/requirements.txt) ;;
esac
step "Packages of the distribution"
quietly tests/install-packages "${packages[@]}"
grep "^Installing" "$work/log" || echo "all are here"

in_background pip /usr/bin/python3 -m pip install -qq \
    --no-build-isolation --root-user-action ignore \
    --disable-pip-version-check --target "$work/python" "${requirements[@]}"
export PYTHONPATH=$work/python PYTHONDONTWRITEBYTECODE=1
export TEST_PYTHON=/usr/bin/python3 TMPDIR=$work/tmp
mkdir "$work/tmp" "$work/source"
tar --create --exclude=.git --exclude=rpmbuild . |
    tar --extract --directory "$work/source"
cd "$work/source"

step "Build"
quietly ./autogen.sh
quietly ./configure
sed -n '/^configure:$/,$p' "$work/log"
quietly make
if [ "$what" = all ] || [ "$what" = soak ] || [ "$what" = userlands ]; then
    step "RPM and rpmlint"
    quietly make rpmlint
    rpm=$(echo rpmbuild/RPMS/noarch/*.rpm)
    echo "$rpm"
    tail -n 1 "$work/log"
    # What was unpacked is not to be looked at by linters.
    rm -r rpmbuild/BUILD
fi

step "Python packages"
outcome pip

fuzz() {
    step "Fuzzing, $1 cases"
    $TEST_PYTHON tests/fuzz/fuzz.py --cases "$1"
}

if [ "$what" = fuzz ]; then
    fuzz 100000
    exit
fi

if [ "$what" = coverage ]; then
    step "Quick tests, measured"
    export COVERAGE_FILE=$work/coverage/data
    export COVERAGE_RCFILE=$PWD/tests/coverage/coveragerc
    export PYTHONPATH=$PWD/tests/coverage:$PYTHONPATH
    mkdir "$work/coverage"
    $TEST_PYTHON -m pytest -q -n auto -p measure tests/unit tests/openssl \
        tests/admin tests/properties
    quietly $TEST_PYTHON -m coverage combine
    step "Coverage of lines and branches, and what was not run"
    $TEST_PYTHON -m coverage report
    exit
fi

if [ "$what" = bench ]; then
    step "Benchmarks"
    quietly make rpm
    tests/lab rpmbuild/RPMS/noarch/*.rpm $TEST_PYTHON tests/bench/bench.py
    exit
fi

if [ "$what" = unit ]; then
    step "Quick tests"
    version=$($TEST_PYTHON -c "import sys; print(\"%d.%d\" % sys.version_info[:2])")
    TEST_PYTHONS="2.7 $version" $TEST_PYTHON -m pytest -q -n auto tests/unit
    exit
fi

lint() {
    step "shellcheck, ruff, bandit, mypy, and the syntax of Python 2.6"
    mapfile -t scripts < <(grep -rlE '^#!/bin/(ba)?sh' --exclude='*.py' . |
        grep -vE '^./(configure|config.status|build-aux/(install-sh|missing))$')
    shellcheck "${scripts[@]}" admin/completion/vdsm-tlsciphers.bash
    "$work/python/bin/ruff" check --no-cache .
    $TEST_PYTHON -m bandit --quiet --recursive --exclude "*/built/*" \
        hooks wrapper admin build-aux/byte-compile
    types() {
        $TEST_PYTHON -m mypy --cache-dir "$work/mypy" --no-error-summary "$@"
    }
    types
    for folder in $(dirname tests/*/*.py | uniq); do
        types "$folder"
    done
    /usr/bin/python3 "$work/python/bin/vermin" --quiet --no-tips \
        --target=2.6- --target=3.6- --exclude argparse --exclude os.getxattr \
        --exclude configparser --exclude ConfigParser --exclude str.decode \
        --exclude ConfigParser.RawConfigParser \
        hooks/*.py wrapper/*.py
}

if [ "$what" = lint ]; then
    lint
    exit
fi

# userland RELEASE part|whole: its rows of the matrix go to a file.
userland() {
    local root status=0
    root=$(tests/userlands/build-root "$1")
    tests/userlands/enter "$root" tests/userlands/inside "$2" \
        3>"$work/$1.rows" || status=$?
    return "$status"
}

matrix() {
    local rows release
    for rows in "$work"/*.rows; do
        [ -e "$rows" ] || continue
        release=$(basename "$rows" .rows)
        while IFS=$'\t' read -r part outcome seconds; do
            printf '%-10s  %-28s  %-40s  %5d s\n' "$release" "$part" \
                "$outcome" "$seconds"
        done <"$rows"
    done
}

export FIGURES=$work/figures
closing_table() {
    step "Figures: what was measured, the figure, its bound"
    sort "$FIGURES" | awk -F '\t' '
        { lines[NR] = $0
          for (i = 1; i < 3; i++)
              if (length($i) > width[i]) width[i] = length($i) }
        END { for (n = 1; n <= NR; n++) {
                  split(lines[n], part)
                  printf "%-*s  %-*s  %s\n", width[1], part[1],
                      width[2], part[2], part[3] } }
        '
    step "All tests passed"
    printf %s "$times" | awk -F '\t' '
        NR > 1 { printf "%5d s  %s\n", $1 - begin, part }
        { begin = $1; part = $2 }'
    for log in "$work"/*.seconds; do
        [ ! -e "$log" ] || printf '%5d s  in the background: %s\n' \
            "$(cat "$log")" "$(basename "$log" .seconds)"
    done
}

if [ "$what" = soak ]; then
    step "Tests of the hook, the wrapper and the command, on every Python"
    $TEST_PYTHON -m pytest -q -n auto --soak tests/unit tests/openssl \
        tests/admin
    step "Tests of the playbooks, the long form"
    $TEST_PYTHON -m pytest -q -n auto --soak tests/ansible
    step "Load and faults on real VMs, the long form"
    tests/lab "$rpm" $TEST_PYTHON -m pytest -q --soak tests/libvirt
    step "Tests on nodes, the long form"
    $TEST_PYTHON -m pytest -q --soak tests/node --rpm "$rpm"
    fuzz 1000000
    closing_table
    exit
fi

if [ "$what" = userlands ]; then
    for release in "${releases[@]}"; do
        step "Userland $release: its root"
        tests/userlands/build-root "$release"
        in_background "$release" userland "$release" whole
    done
    for release in "${releases[@]}"; do
        step "Userland $release"
        outcome "$release" || failed=yes
    done
    step "Migration between versions, and between bullseye and trixie"
    tests=(tests/libvirt/test_versions.py)
    if [[ " ${releases[*]} " == *" bullseye "*"trixie "* ]]; then
        tests+=(tests/libvirt/test_userlands.py)
    else
        echo "only between versions: it takes bullseye and trixie"
    fi
    tests/lab "$rpm" $TEST_PYTHON -m pytest -q --userlands "${tests[@]}" ||
        failed=yes
    step "Userlands: part, outcome, time"
    matrix
    [ -z "$failed" ] || exit 1
    closing_table
    exit
fi

# They have namespaces and guests of their own, and wait for much of the time.
step "In the background: tests on real VMs, and on nodes with SELinux enforcing"
in_background nodes $TEST_PYTHON -m pytest -q tests/node --rpm "$rpm"
in_background vms tests/lab "$rpm" $TEST_PYTHON -m pytest -q tests/libvirt
for release in "${releases[@]}"; do
    if tests/userlands/build-root --find "$release"; then
        in_background "$release" userland "$release" part
    else
        missing+=("$release")
    fi
done

lint

step "Tests of the hook, the wrapper and the command"
$TEST_PYTHON -m pytest -q -n auto tests/unit tests/openssl tests/admin

step "Tests of the playbooks"
$TEST_PYTHON -m pytest -q -n auto tests/ansible

step "Tests of the build, the RPM and of properties"
$TEST_PYTHON -m pytest -q -n auto --dist loadfile tests/properties tests/package

fuzz 30000

step "Tests on real VMs"
outcome vms

step "Tests on nodes with SELinux enforcing"
outcome nodes

for release in "${releases[@]}"; do
    [[ ! -v beside[$release] ]] || {
        step "Userland $release, in part"
        outcome "$release"
    }
done
closing_table
matrix
if [ "${#missing[@]}" -gt 0 ]; then
    echo "NOT TESTED, SINCE THEIR ROOTS ARE NOT HERE: THE LIBRARIES OF" \
        "${missing[*]^^}. ./check.sh userlands MAKES THEM AND TESTS ALL."
fi
