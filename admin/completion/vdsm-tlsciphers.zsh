#compdef vdsm-tlsciphers
# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Completion of vdsm-tlsciphers for zsh. Commands and options are those that
# its own help lists.

local asked help previous=$words[CURRENT-1] value
local -a vms profiles found

asked=${${(@)words[2,CURRENT-1]:#-*}[1]}
help=$($words[1] ${asked:+$asked} --help 2>/dev/null)
if [[ $PREFIX == *=* ]]; then
    previous=${PREFIX%%=*}
    compset -P '*='
fi
# What the help calls the value of the option that stands before.
value=$(sed -nE "s/^  (-.,? .*)?${previous//[^a-z-]/.} ([^ -][^ ]*).*/\2/p" \
    <<<$help | head -n 1)
vms=(${(f)"$(virsh -r list --name 2>/dev/null)"})
profiles=(modern intermediate none
    ${(f)"$(sed -n 's/^\[profile \(.*\)\]/\1/p' @HOST_DEFAULT@ 2>/dev/null)"})

case "$previous $value" in
    ("tlsprofile "* | "--baseline "* | -*" PROFILE")
        compadd -a profiles
        ;;
    ("--vm "* | -*" VM")
        compadd -a vms
        ;;
    (-*" {"*)
        compadd -- ${(s:,:)${value//[\{\}]/}}
        ;;
    (-*" FILE" | -*" SCAN")
        _files
        ;;
    (-*" "?*)
        ;;
    (*)
        if [[ $PREFIX == -* ]]; then
            found=(${(f)"$(grep -oE '^  (-.*, )?--[a-z-]+' <<<$help |
                grep -oE '[-][-].*')"})
            compadd -a -- found
            return
        fi
        case $asked in
            ("")
                found=(${(f)"$(sed -nE 's/^    ([a-z][a-z-]*) */\1:/p' \
                    <<<$help)"})
                _describe command found
                ;;
            (check)
                compadd -S = -- tlsciphers tlsprotocols tlsgroups \
                    tlspriority tlsprofile extra_cpu_flags
                ;;
            (apply)
                compadd -S = -- tlsciphers tlsprotocols tlsgroups \
                    tlspriority tlsprofile
                compadd -a vms
                ;;
            (scan | status)
                compadd -a vms
                ;;
            (report)
                _files
                ;;
        esac
        ;;
esac
