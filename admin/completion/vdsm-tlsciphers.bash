# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Completion of vdsm-tlsciphers for bash. Commands and options are those that
# its own help lists.

_vdsm_tlsciphers_vms() {
    virsh -r list --name 2>/dev/null
}

_vdsm_tlsciphers_profiles() {
    printf '%s\n' modern intermediate none
    sed -n 's/^\[profile \(.*\)\]/\1/p' @HOST_DEFAULT@ 2>/dev/null
}

_vdsm_tlsciphers_properties() {
    printf '%s=\n' tlsciphers tlsprotocols tlsgroups tlspriority tlsprofile
}

# Keep those of the lines on standard input that begin as the current word.
# They may come from elsewhere, and must not become a command: %q.
_vdsm_tlsciphers_offer() {
    local line
    while read -r line; do
        if [[ -n $line && $line == "$1"* ]]; then
            COMPREPLY+=("$(printf %q "$line")")
        fi
    done
}

_vdsm_tlsciphers() {
    local current=${COMP_WORDS[COMP_CWORD]}
    local previous=${COMP_WORDS[COMP_CWORD - 1]}
    local word asked help value
    COMPREPLY=()
    # An equals sign is a word of its own.
    if [[ $current == "=" ]]; then
        current=
    elif [[ $previous == "=" ]]; then
        previous=${COMP_WORDS[COMP_CWORD - 2]}
    fi
    for word in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
        if [[ $word != -* ]]; then
            asked=$word
            break
        fi
    done
    help=$("$1" ${asked:+"$asked"} --help 2>/dev/null)
    # What the help calls the value of the option that stands before.
    value=$(sed -nE "s/^  (-.,? .*)?${previous//[^a-z-]/.} ([^ -][^ ]*).*/\2/p" \
        <<<"$help" | head -n 1)
    case "$previous $value" in
        "tlsprofile "* | "--baseline "* | -*" PROFILE")
            _vdsm_tlsciphers_offer "$current" < <(_vdsm_tlsciphers_profiles)
            return
            ;;
        "--vm "* | -*" VM")
            _vdsm_tlsciphers_offer "$current" < <(_vdsm_tlsciphers_vms)
            return
            ;;
        -*" {"*)
            _vdsm_tlsciphers_offer "$current" < <(tr -s '{,}' '\n' <<<"$value")
            return
            ;;
        -*" FILE" | -*" SCAN")
            compopt -o default 2>/dev/null
            return
            ;;
        -*" "?*)
            return
            ;;
    esac
    if [[ $current == -* ]]; then
        _vdsm_tlsciphers_offer "$current" < <(
            grep -oE '^  (-.*, )?--[a-z-]+' <<<"$help" | grep -oE '[-][-].*')
        return
    fi
    case $asked in
        "")
            _vdsm_tlsciphers_offer "$current" < <(
                sed -nE 's/^    ([a-z][a-z-]*)( .*)?$/\1/p' <<<"$help")
            ;;
        check)
            _vdsm_tlsciphers_offer "$current" < <(
                _vdsm_tlsciphers_properties
                printf 'extra_cpu_flags=\n')
            compopt -o nospace 2>/dev/null
            ;;
        apply)
            _vdsm_tlsciphers_offer "$current" < <(
                _vdsm_tlsciphers_properties
                _vdsm_tlsciphers_vms)
            if [[ ${COMPREPLY[0]-} == *= ]]; then
                compopt -o nospace 2>/dev/null
            fi
            ;;
        scan | status)
            _vdsm_tlsciphers_offer "$current" < <(_vdsm_tlsciphers_vms)
            ;;
        report)
            compopt -o default 2>/dev/null
            ;;
    esac
}

complete -F _vdsm_tlsciphers vdsm-tlsciphers
